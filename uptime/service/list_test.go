package service

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"
)

func get(tb testing.TB, s *Service, path string, header http.Header) reply {
	tb.Helper()
	request := httptest.NewRequest(http.MethodGet, path, nil)
	maps.Copy(request.Header, header)
	out := httptest.NewRecorder()
	s.ServeHTTP(out, request)
	return reply{status: out.Code, header: out.Header(), body: out.Body.String()}
}

// put has the store know a node.
func (f *fakeStore) put(nodes ...Online) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, node := range nodes {
		f.nodes[node.Submitter+"/"+node.PeerID] = node
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if got := get(t, w.service, "/v1/online", nil); got.status != 200 || got.body != `[]` || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("nobody: %v", got)
	}
	created, seen := noon().Add(-time.Minute), noon().Add(-59500*time.Millisecond)
	w.store.put(
		Online{Submitter: "B62b", RemoteAddr: "10.0.0.8", PeerID: "p1", CreatedAt: created, LastSeen: seen},
		Online{Submitter: "B62a", RemoteAddr: "2001:db8::1", ControlPort: 3086, PeerID: "p2", BuiltWithCommitSHA: "36e0198c", CreatedAt: created, LastSeen: seen},
		Online{Submitter: "B62a", RemoteAddr: "2001:db8::1", ControlPort: 3086, PeerID: "p3", CreatedAt: created, LastSeen: seen},
		Online{Submitter: "B62c", RemoteAddr: "10.0.0.9", ControlPort: 1, PeerID: "p4", CreatedAt: created, LastSeen: noon().Add(-20 * time.Minute)},
	)
	w.clock.advance(time.Second)
	got := get(t, w.service, "/v1/online", nil)
	const want = `[{"graphql_control_port":3086,"remote_addr":"2001:db8::1","submitter":"B62a"},{"remote_addr":"10.0.0.8","submitter":"B62b"}]`
	if got.body != want {
		t.Errorf("plain: %s", got.body)
	}
	detailed := get(t, w.service, "/v1/online?details=true", nil)
	const times = `"created_at":"2026-03-01T11:59:00Z","last_seen":"2026-03-01T11:59:00.5Z"`
	const wantDetails = `[{"graphql_control_port":3086,"remote_addr":"2001:db8::1","submitter":"B62a","peer_id":"p2",` + times + `,"built_with_commit_sha":"36e0198c"},` +
		`{"graphql_control_port":3086,"remote_addr":"2001:db8::1","submitter":"B62a","peer_id":"p3",` + times + `},` +
		`{"remote_addr":"10.0.0.8","submitter":"B62b","peer_id":"p1",` + times + `}]`
	if detailed.body != wantDetails {
		t.Errorf("details: %s", detailed.body)
	}
	// As in existing services, what is not known does not matter.
	for query, wants := range map[string]string{"?details=false": want, "?x": want, "?_=17&x=%22": want, "?Details=true": want, "?%zz": want, "?x=1&details=true": wantDetails} {
		if got := get(t, w.service, "/v1/online"+query, nil); got.status != 200 || got.body != wants {
			t.Errorf("%s: %v", query, got)
		}
	}
	for _, query := range []string{"?details=", "?details", "?details=1", "?details=True", "?details=true&details=true", "?details=true&details=false"} {
		if got := get(t, w.service, "/v1/online"+query, nil); got.status != 400 || got.body != `{"error":"The query is not understood: details is true or false"}` {
			t.Errorf("%s: %v", query, got)
		}
	}
}

func TestEntityTag(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	node := Online{Submitter: "B62a", RemoteAddr: "10.0.0.8", PeerID: "p1", CreatedAt: noon(), LastSeen: noon()}
	w.store.put(node)
	first := get(t, w.service, "/v1/online", nil)
	tag := first.header.Get("ETag")
	ask := func(path, tags string) int {
		return get(t, w.service, path, http.Header{"If-None-Match": {tags}}).status
	}
	for tags, want := range map[string]int{tag: 304, "W/" + tag: 304, `"x", ` + tag: 304, "*": 304, `"x"`: 200, "": 200} {
		if got := ask("/v1/online", tags); got != want {
			t.Errorf("If-None-Match: %s: got %d, want %d", tags, got, want)
		}
	}
	if got := get(t, w.service, "/v1/online", http.Header{"If-None-Match": {tag}}); got.body != "" || got.header.Get("ETag") != tag {
		t.Errorf("not modified: %v", got)
	}
	if got := ask("/v1/online?details=true", tag); got != 200 {
		t.Error("details have the tag of the plain list")
	}
	detailed := get(t, w.service, "/v1/online?details=true", nil).header.Get("ETag")
	node.LastSeen = noon().Add(time.Second)
	w.store.put(node)
	w.clock.advance(time.Second)
	if ask("/v1/online", tag) != 304 || ask("/v1/online?details=true", detailed) != 200 {
		t.Error("a later report changes the details, and not the list")
	}
	node.RemoteAddr = "10.0.0.9"
	w.store.put(node)
	w.clock.advance(time.Second)
	if ask("/v1/online", tag) != 200 {
		t.Error("a node that moved changes the list")
	}
}

func TestHead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	got := send(t, clientFrom(t, "127.0.0.1"), newRequest(t, "HEAD", w.listen(t)+onlinePath, nil))
	if got.status != 200 || got.header.Get("Content-Length") != "2" || got.header.Get("ETag") == "" {
		t.Errorf("got %v", got)
	}
}

// A list that cannot be had is never an empty one.
func TestListFailing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fail         error
		status       int
		retry, wants string
	}{
		{fmt.Errorf("secret dsn: %w", ErrUnavailable), 503, "5", `{"error":"The list of nodes online cannot be had just now"}`},
		{errFault, 500, "", `{"error":"Unexpected server error"}`},
	} {
		w := newWorld(t, nil)
		w.store.fail = test.fail
		got := get(t, w.service, "/v1/online", nil)
		if got.status != test.status || got.header.Get("Retry-After") != test.retry || got.body != test.wants {
			t.Errorf("%v: %v", test.fail, got)
		}
		w.store.set(func(f *fakeStore) { f.fail = nil })
		w.clock.advance(time.Second)
		if got := get(t, w.service, "/v1/online", nil); got.status != 200 {
			t.Errorf("afterwards: %v", got)
		}
	}
}

// Readers at once ask the store once; a submission is seen by those who ask a little later.
func TestListShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	started, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.store.hold = func(context.Context) error {
		once.Do(func() { close(started) })
		<-release
		return nil
	}
	var readers sync.WaitGroup
	for range 50 {
		readers.Go(func() {
			if got := get(t, w.service, "/v1/online", nil); got.body != "[]" {
				t.Errorf("got %v", got)
			}
		})
	}
	<-started
	close(release)
	readers.Wait()
	if _, reads := w.store.count(); reads != 1 {
		t.Errorf("the store was asked %d times", reads)
	}
	if got := send(t, clientFrom(t, "127.0.0.1"), newRequest(t, "POST", w.listen(t)+submitPath, sign(t, w.key, report(noon())))); got.status != 200 {
		t.Fatal(got)
	}
	w.clock.advance(listFloor - 1)
	if got := get(t, w.service, "/v1/online", nil); got.body != "[]" {
		t.Error("the list was made anew before its time")
	}
	w.clock.advance(1)
	if got := get(t, w.service, "/v1/online", nil); got.body == "[]" {
		t.Error("the submission is not seen")
	}
	// What others have recorded is seen a second later, and so is what has expired.
	w.store.set(func(f *fakeStore) { clear(f.nodes) })
	w.clock.advance(time.Second - 1)
	if got := get(t, w.service, "/v1/online", nil); got.body == "[]" {
		t.Error("the store was asked again within a second")
	}
	w.clock.advance(1)
	if got := get(t, w.service, "/v1/online", nil); got.body != "[]" {
		t.Error("the list is older than a second")
	}
}

// A node is online until its retention has passed since its last submission was received.
func TestExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Retention = 3 * time.Minute })
	url := w.listen(t)
	if got := send(t, clientFrom(t, "127.0.0.1"), newRequest(t, "POST", url+submitPath, sign(t, w.key, report(noon().Add(-time.Minute))))); got.status != 200 {
		t.Fatal(got)
	}
	var lengths []int
	for range 4 {
		w.clock.advance(time.Minute)
		nodes, err := w.service.nodes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lengths = append(lengths, len(nodes.nodes))
	}
	if diff := cmp.Diff([]int{1, 1, 0, 0}, lengths); diff != "" {
		t.Error(diff)
	}
}

// Who waits for a list that does not come is told so.
func TestListWaiting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.service.list.recent.turn <- struct{}{} // somebody asks
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.service.nodes(ctx); err == nil {
		t.Error("no error")
	}
}

// The store's answer serves others when the one who asked has gone: no question is broken off.
func TestAskerGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		release := make(chan struct{})
		w.store.hold = func(ctx context.Context) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		ctx, leave := context.WithCancel(t.Context())
		answers := make(chan error, 2)
		ask := func(ctx context.Context) {
			_, err := w.service.nodes(ctx)
			answers <- err
		}
		go ask(ctx)
		synctest.Wait()
		leave()
		go ask(t.Context())
		synctest.Wait()
		close(release)
		for range 2 {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
		if _, reads := w.store.count(); reads != 1 {
			t.Errorf("the store was asked %d times", reads)
		}
	})
}

// A store that does not answer is given up by all who wait at the same time, whoever asked it.
func TestStoreSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.store.hold = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		began := time.Now()
		var readers sync.WaitGroup
		for range 3 {
			readers.Go(func() {
				if got := get(t, w.service, "/v1/online", nil); got.status != 503 {
					t.Errorf("got %v", got)
				}
			})
		}
		readers.Wait()
		if took := time.Since(began); took != listTime {
			t.Errorf("it took %s", took)
		}
	})
}

// slowReader asks for the list and reads nothing of it.
func slowReader(tb testing.TB, network *pipes, from string) visitor {
	tb.Helper()
	v := network.visit(tb, from)
	if _, err := io.WriteString(v, "GET /v1/online HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		tb.Fatal(err)
	}
	synctest.Wait()
	return v
}

// fill has so many nodes online that the list does not fit into the server's buffers.
func (w *world) fill() {
	for i := range 200 {
		w.store.put(Online{Submitter: fmt.Sprintf("B62%060d", i), RemoteAddr: "10.0.0.8", PeerID: "p", CreatedAt: time.Now(), LastSeen: time.Now()})
	}
}

// However fast the list changes, and however slowly it is read: old lists do not pile up.
func TestOldLists(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, network := visited(t, func(o *Options) { o.Now = time.Now })
		w.fill()
		var versions []weak.Pointer[byte]
		alive := func() (count int) {
			runtime.GC()
			for _, version := range versions {
				if version.Value() != nil {
					count++
				}
			}
			return count
		}
		most := 0
		for i := range 1000 { // in 50 s
			w.store.put(Online{Submitter: "B62a", RemoteAddr: fmt.Sprint(i), PeerID: "p", CreatedAt: time.Now(), LastSeen: time.Now()})
			w.service.list.changed()
			slowReader(t, network, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
			online, err := w.service.nodes(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			document, err := online.plain()
			if err != nil {
				t.Fatal(err)
			}
			if last := weak.Make(&document.content[0]); len(versions) == 0 || versions[len(versions)-1] != last {
				versions = append(versions, last)
			}
			if i%100 == 99 {
				most = max(most, alive())
			}
			pass(50 * time.Millisecond)
		}
		if made := int(50 * time.Second / listFloor); len(versions) != made {
			t.Errorf("%d lists were made, want %d", len(versions), made)
		}
		// Those of whom nothing is read are held for readingTime; more would not come of it if nobody held any.
		if limit := int(readingTime/listFloor) + 2; most > limit || most < limit/2 {
			t.Errorf("%d lists were held at once, at most %d should be", most, limit)
		}
	})
}

// An address that reads slowly has so many lists under way and no more; others have theirs.
func TestListsOfAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, network := visited(t, func(o *Options) { o.Now = time.Now })
		w.fill()
		for range listsPerAddress {
			slowReader(t, network, "10.0.0.1")
		}
		ask := func(from string) (int, string) {
			v := slowReader(t, network, from)
			answer, err := http.ReadResponse(v.in, nil)
			if err != nil {
				t.Fatal(err)
			}
			return answer.StatusCode, answer.Header.Get("Retry-After")
		}
		if status, retry := ask("10.0.0.1"); status != 503 || retry != "5" {
			t.Errorf("one too many: %d, Retry-After %q", status, retry)
		}
		if status, _ := ask("10.0.0.2"); status != 200 {
			t.Errorf("another address: %d", status)
		}
		pass(readingTime)
		if status, _ := ask("10.0.0.1"); status != 200 {
			t.Errorf("afterwards: %d", status)
		}
	})
}
