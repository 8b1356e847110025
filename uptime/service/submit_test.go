package service

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/internal/mina"
	"provingground/uptime"
)

// oddBody hides its length, so that the client sends it in chunks.
type oddBody struct{ io.Reader }

func TestAnswers(t *testing.T) {
	t.Parallel()
	now := noon()
	key, foreign := newKey(t, 1), newKey(t, 2)
	const ours = `{"error":"Unexpected server error"}`
	signed := func(change func(*uptime.Report)) []byte {
		r := report(now)
		if change != nil {
			change(&r)
		}
		return sign(t, key, r)
	}
	good := signed(nil)
	for _, test := range []struct {
		name    string
		method  string // POST unless given
		path    string // that of submissions unless given
		body    []byte
		prepare func(*world)
		request func(*http.Request)
		status  int
		answer  string
		outcome outcome // empty: not counted as a submission
	}{
		{name: "taken", body: good, status: 200, answer: `{"status":"ok"}`, outcome: taken},
		{name: "method", method: "GET", status: 405, answer: `{"error":"This path allows POST"}`},
		{name: "method with a body", method: "PUT", body: good, status: 405, answer: `{"error":"This path allows POST"}`},
		{name: "path", path: "/v1/submitt", body: good, status: 404,
			answer: `{"error":"Nothing is served at this path: POST /v1/submit takes submissions, GET /v1/online lists the nodes online"}`},
		{name: "two slashes", path: "//v1/submit", body: good, status: 404,
			answer: `{"error":"Nothing is served at this path: POST /v1/submit takes submissions, GET /v1/online lists the nodes online"}`},
		{name: "no length", body: good, request: func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(oddBody{bytes.NewReader(good)}), -1 },
			status: 411, outcome: noLength},
		{name: "too long", body: bytes.Repeat([]byte{' '}, 200_001), status: 413, outcome: tooLong},
		{name: "as long as may be", body: append(good, bytes.Repeat([]byte{' '}, 200_000-len(good))...), status: 200, answer: `{"status":"ok"}`, outcome: taken},
		{name: "empty", body: []byte{}, status: 400, answer: `{"error":"Error decoding payload"}`, outcome: malformed},
		{name: "not JSON", body: []byte("{"), status: 400, answer: `{"error":"Error decoding payload"}`, outcome: malformed},
		{name: "field missing", body: []byte(`{"data":{}}`), status: 400, answer: `{"error":"One of required fields wasn't provided"}`, outcome: fieldMissing},
		{name: "stranger", body: sign(t, foreign, report(now)), status: 401, answer: `{"error":"Submitter is not registered"}`, outcome: stranger},
		{name: "stranger with a bad time", body: sign(t, foreign, report(now.Add(time.Hour))), status: 401, answer: `{"error":"Submitter is not registered"}`, outcome: stranger},
		{name: "nobody is registered", body: good, prepare: func(w *world) { clear(w.whitelist.keys) }, status: 401, answer: `{"error":"Submitter is not registered"}`, outcome: stranger},
		{name: "no whitelist", body: good, prepare: func(w *world) { clear(w.whitelist.keys); w.whitelist.err = errFault },
			status: 503, answer: `{"error":"The whitelist is not loaded"}`, outcome: noWhitelist},
		{name: "stale whitelist", body: good, prepare: func(w *world) { w.whitelist.err = errFault }, status: 200, answer: `{"status":"ok"}`, outcome: taken},
		{name: "five minutes ahead", body: signed(func(r *uptime.Report) { r.CreatedAt = now.Add(5 * time.Minute) }), status: 200, answer: `{"status":"ok"}`, outcome: taken},
		{name: "in the future", body: signed(func(r *uptime.Report) { r.CreatedAt = now.Add(5*time.Minute + time.Second) }),
			status: 400, answer: `{"error":"Field created_at is a timestamp in future"}`, outcome: future},
		{name: "just young enough", body: signed(func(r *uptime.Report) { r.CreatedAt = now.Add(-20*time.Minute + time.Second) }), status: 200, answer: `{"status":"ok"}`, outcome: taken},
		{name: "too old", body: signed(func(r *uptime.Report) { r.CreatedAt = now.Add(-20 * time.Minute) }),
			status: 400, answer: `{"error":"Field created_at is too old: send a new report, and compare the node's clock"}`, outcome: tooOld},
		{name: "bad signature", body: bytes.Replace(good, []byte("12D3KooWnode"), []byte("12D3KooWnodf"), 1), status: 401, answer: `{"error":"Invalid signature"}`, outcome: badSignature},
		{name: "another network's signature", body: func() []byte {
			body, err := report(now).Sign(mina.Mainnet, key)
			if err != nil {
				t.Fatal(err)
			}
			return body
		}(), status: 401, answer: `{"error":"Invalid signature"}`, outcome: badSignature},
		{name: "too many", body: good, prepare: func(w *world) { w.store.perHour = 0 }, status: 429, answer: `{"error":"Too many requests per hour"}`, outcome: tooMany},
		{name: "store full", body: good, prepare: func(w *world) { w.store.fail = fmt.Errorf("x: %w", ErrFull) }, status: 503, answer: `{"error":"The service is full"}`, outcome: full},
		{name: "store away", body: good, prepare: func(w *world) { w.store.fail = fmt.Errorf("x: %w", ErrUnavailable) },
			status: 503, answer: `{"error":"The service cannot store submissions just now"}`, outcome: unavailable},
		{name: "store broken", body: good, prepare: func(w *world) { w.store.fail = errFault }, status: 500, answer: ours, outcome: failed},
		{name: "archive broken", body: good, prepare: func(w *world) { w.archive.err = errFault }, status: 500, answer: ours, outcome: archiveFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(o *Options) { o.MaxBody = 200_000 })
			if test.prepare != nil {
				test.prepare(w)
			}
			method, path := "POST", submitPath
			if test.method != "" {
				method = test.method
			}
			if test.path != "" {
				path = test.path
			}
			request := newRequest(t, method, w.listen(t)+path, test.body)
			if test.request != nil {
				test.request(request)
			}
			got := send(t, clientFrom(t, "127.0.0.1"), request)
			if got.status != test.status || got.body != test.answer {
				t.Errorf("got %d %s, want %d %s", got.status, got.body, test.status, test.answer)
			}
			if kind := got.header.Get("Content-Type"); got.body != "" && kind != "application/json" {
				t.Errorf("content type %q", kind)
			}
			if allow := got.header.Get("Allow"); got.status == 405 && allow != "POST" {
				t.Errorf("Allow: %q", allow)
			}
			if retry := got.header.Get("Retry-After"); got.status == 503 && retry != "5" {
				t.Errorf("Retry-After: %q", retry)
			}
			want := map[string]int{}
			if test.outcome != "" {
				want[string(test.outcome)] = 1
			}
			if diff := cmp.Diff(want, w.submitted(t)); diff != "" {
				t.Errorf("outcomes (-want +got):\n%s", diff)
			}
			w.checkLogs(t)
		})
	}
}

// What a submission is recorded as.
func TestRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.clock.advance(1500 * time.Millisecond)
	url := w.listen(t)
	if got := send(t, clientFrom(t, "127.0.0.7"), newRequest(t, "POST", url+submitPath, sign(t, w.key, report(noon())))); got.status != 200 {
		t.Fatal(got)
	}
	want := []Online{{
		Submitter: w.key.PublicKey().String(), RemoteAddr: "127.0.0.7", ControlPort: 3086, PeerID: "12D3KooWnode", BuiltWithCommitSHA: "36e0198c",
		CreatedAt: noon(), LastSeen: noon().Add(1500 * time.Millisecond),
	}}
	got, err := w.store.Online(t.Context(), noon())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]netip.Addr{netip.MustParseAddr("127.0.0.7")}, w.archive.puts, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
}

// A recorded submission is of no use to anybody: while it is remembered it is known, and then it is too old.
func TestReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	url := w.listen(t)
	body := sign(t, w.key, report(noon().Add(4*time.Minute))) // of a clock that is ahead
	if got := send(t, clientFrom(t, "127.0.0.1"), newRequest(t, "POST", url+submitPath, body)); got.status != 200 {
		t.Fatal(got)
	}
	before := send(t, clientFrom(t, "127.0.0.1"), newRequest(t, "GET", url+onlinePath+"?details=true", nil))
	thief := clientFrom(t, "127.0.0.66")
	respelled := bytes.Replace(body, []byte(`"data"`), []byte(` "extra":1, "data" `), 1)
	for minute := range 30 {
		for _, again := range [][]byte{body, respelled} {
			got := send(t, thief, newRequest(t, "POST", url+submitPath, again))
			if minute < 24 && (got.status != 409 || got.body != `{"error":"This submission was received before"}`) {
				t.Errorf("after %d minutes: %v", minute, got)
			}
			if minute >= 24 && (got.status != 400 || !strings.Contains(got.body, "too old")) {
				t.Errorf("after %d minutes: %v", minute, got)
			}
		}
		if minute < 19 {
			after := send(t, clientFrom(t, "127.0.0.1"), newRequest(t, "GET", url+onlinePath+"?details=true", nil))
			if after.body != before.body {
				t.Fatalf("a replay changed the list from %s to %s", before.body, after.body)
			}
		}
		w.clock.advance(time.Minute)
	}
	if len(w.archive.puts) != 1 {
		t.Errorf("%d submissions are in the archive", len(w.archive.puts))
	}
}

// Of many equal submissions at once, one is taken.
func TestReplayAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	url := w.listen(t)
	body := sign(t, w.key, report(noon()))
	client := clientFrom(t, "127.0.0.1")
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() { send(t, client, newRequest(t, "POST", url+submitPath, body)) })
	}
	wait.Wait()
	if diff := cmp.Diff(map[string]int{"accepted": 1, "replayed": 19}, w.submitted(t)); diff != "" {
		t.Error(diff)
	}
}

// A submission that waited too long for its turn is refused, although it was in time when it came.
func TestTooOldInTurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := &arrival{from: netip.MustParseAddr("10.0.0.1")}
	created := noon().Add(-20*time.Minute + time.Second)
	if got := w.service.timely(created, w.clock.Now()); got != taken {
		t.Fatal(got)
	}
	w.clock.advance(time.Second)
	got, err := w.service.keep(t.Context(), a, Accepted{CreatedAt: created})
	if got != tooOld || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	if accepted, _ := w.store.count(); accepted != 0 {
		t.Error("it was stored")
	}
}

// The address that fails too often is refused before its body is read, others are not, and it is forgiven.
func TestFailuresOfAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.Failures = 3; o.Limits.FailuresPerSecond = 0.5 })
	url := w.listen(t)
	bad, good := clientFrom(t, "127.0.0.2"), clientFrom(t, "127.0.0.3")
	for range 3 {
		if got := send(t, bad, newRequest(t, "POST", url+submitPath, []byte("{"))); got.status != 400 {
			t.Fatal(got)
		}
	}
	// Two a second are looked at all the same, unless they are large: an honest node may be behind the same address.
	large := append(sign(t, w.key, report(noon().Add(time.Second))), bytes.Repeat([]byte{' '}, firstPart)...)
	if got := send(t, bad, newRequest(t, "POST", url+submitPath, large)); got.status != 429 {
		t.Errorf("a large one: %v", got)
	}
	for i, want := range []int{200, 200, 429} {
		r := report(noon().Add(time.Duration(2+i) * time.Second))
		if got := send(t, bad, newRequest(t, "POST", url+submitPath, sign(t, w.key, r))); got.status != want {
			t.Errorf("honest submission %d: %v", i, got)
		}
	}
	body := sign(t, w.key, report(noon()))
	// A body that never comes: the answer does not wait for it.
	pipe, _ := io.Pipe()
	t.Cleanup(func() { _ = pipe.Close() })
	request := newRequest(t, "POST", url+submitPath, nil)
	request.Body, request.ContentLength = pipe, int64(len(body))
	got := send(t, bad, request)
	if got.status != 429 || got.header.Get("Retry-After") != "2" || got.body != `{"error":"Too many refused submissions from this address"}` {
		t.Errorf("got %v", got)
	}
	if got := send(t, good, newRequest(t, "POST", url+submitPath, body)); got.status != 200 {
		t.Errorf("another address: %v", got)
	}
	w.clock.advance(2 * time.Second)
	if got := send(t, bad, newRequest(t, "POST", url+submitPath, body)); got.status != 409 {
		t.Errorf("after a while: %v", got)
	}
	// What is no fault of the address is not on its account.
	w.clock.advance(time.Minute)
	w.store.set(func(f *fakeStore) { f.perHour = 0 })
	for i := range 10 {
		r := report(noon().Add(time.Minute + time.Duration(i)*time.Second))
		if got := send(t, good, newRequest(t, "POST", url+submitPath, sign(t, w.key, r))); got.status != 429 || got.header.Get("Retry-After") != "" {
			t.Errorf("submission %d: %v", i, got)
		}
	}
	// What is large is, though it is too many: a key could have such verified without end.
	r := report(noon().Add(2 * time.Minute))
	r.Block = make([]byte, 3<<20)
	if got := send(t, good, newRequest(t, "POST", url+submitPath, sign(t, w.key, r))); got.status != 429 || got.header.Get("Retry-After") != "" {
		t.Errorf("a large one: %v", got)
	}
	if got := send(t, good, newRequest(t, "POST", url+submitPath, append(sign(t, w.key, r), ' '))); got.status != 429 || got.header.Get("Retry-After") == "" {
		t.Errorf("after a large one: %v", got)
	}
	w.checkLogs(t)
}

// At most as many signatures are verified at once as are allowed, and who waits too long is told to come again.
func TestVerificationInTurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.Verifications = 1 })
	w.service.turns <- struct{}{} // somebody else's
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBusy)
	submission, err := uptime.ParseSubmission(sign(t, w.key, report(noon())))
	if err != nil {
		t.Fatal(err)
	}
	a := &arrival{submission: submission}
	if _, err := w.service.verify(ctx, a); outcomeOf(err) != busy || err == nil {
		t.Errorf("got %v", err)
	}
	<-w.service.turns
	if _, err := w.service.verify(t.Context(), a); err != nil {
		t.Errorf("got %v", err)
	}
	if len(w.service.turns) != 0 {
		t.Error("the turn was not given back")
	}
}

// A body of which the rest never comes.
func TestIncompleteBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	conn := dial(t, w.listen(t), "127.0.0.1")
	fmt.Fprintf(conn, "POST /v1/submit HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || !strings.HasSuffix(string(answer), `{"error":"Error reading the body"}`) {
		t.Errorf("got %s", answer)
	}
	if diff := cmp.Diff(map[string]int{"body_incomplete": 1}, w.submitted(t)); diff != "" {
		t.Error(diff)
	}
}

// Who waits in vain, for a turn or for the store, is told to come again.
func TestWaitingInVain(t *testing.T) {
	t.Parallel()
	for want, prepare := range map[outcome]func(*world){
		busy: func(w *world) { w.service.turns <- struct{}{} },
		unavailable: func(w *world) {
			w.store.hold = func(ctx context.Context) error {
				<-ctx.Done()
				return fmt.Errorf("asking the database: %w", ctx.Err())
			}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(o *Options) { o.Limits.Verifications = 1 })
			prepare(w)
			network := newPipes()
			stop := network.serve(t, w.service)
			conn := network.dial(t, "192.0.2.1")
			body := sign(t, w.key, report(noon()))
			began := time.Now()
			go func() {
				fmt.Fprintf(conn, "POST /v1/submit HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			}()
			answer, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 503 ") || !strings.Contains(string(answer), want.verdict().message) {
				t.Errorf("%s: got %s, %v", want, answer, err)
			}
			if took, limit := time.Since(began), map[outcome]time.Duration{busy: verifyTime, unavailable: storeTime}[want]; took < limit || took > limit+time.Second {
				t.Errorf("%s: it took %s", want, took)
			}
			if diff := cmp.Diff(map[string]int{string(want): 1}, w.submitted(t)); diff != "" {
				t.Error(diff)
			}
			stop()
		})
	}
}

// A fault in one request is the end of its connection alone, and leaves nothing behind.
func TestPanic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits.Verifications = 1 })
	url := w.listen(t)
	client := clientFrom(t, "127.0.0.1")
	body := sign(t, w.key, report(noon()))
	w.store.set(func(f *fakeStore) { f.hold = func(context.Context) error { panic("of the store") } })
	if got, err := exchange(client, newRequest(t, "POST", url+submitPath, body)); err == nil {
		t.Errorf("got %v", got)
	}
	w.store.set(func(f *fakeStore) { f.hold = nil })
	if got := send(t, client, newRequest(t, "POST", url+submitPath, body)); got.status != 200 {
		t.Errorf("afterwards: %v", got)
	}
	if first, rest := w.service.memory.inUse(); first != 0 || rest != 0 {
		t.Errorf("held: %d, %d", first, rest)
	}
	if lines := w.logs.FilterMessage("the HTTP server reports"); lines.Len() != 1 {
		t.Errorf("%d lines", lines.Len())
	}
}
