package control_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"provingground/snarkpool/control"
)

// TestRefusals sends what must not be done, over HTTPS, and looks at the answer, at the audit and at what was done.
func TestRefusals(t *testing.T) {
	t.Parallel()
	drain := control.Command{Operation: control.OpDrain}
	type request struct {
		method, mediaType, authorization string
		body                             []byte
	}
	sign := func(who func(*world) signer, command control.Command) func(*testing.T, *world, *request) {
		return func(t *testing.T, w *world, r *request) {
			t.Helper()
			identity := w.identity(t, who(w))
			r.body = body(t, command)
			r.authorization = who(w).sequenced(identity.ServerUUID, identity.SequenceNumber, r.body)
		}
	}
	operatorKey := func(w *world) signer { return w.operatorKey }
	reader := func(w *world) signer { return w.reader }
	// raw is a body that is signed as it is.
	raw := func(text string) func(*testing.T, *world, *request) {
		return func(t *testing.T, w *world, r *request) {
			t.Helper()
			identity := w.identity(t, w.admin)
			r.body = []byte(strings.ReplaceAll(text, "EXPIRY", time.Now().Add(time.Minute).Format(time.RFC3339)))
			r.authorization = w.admin.sequenced(identity.ServerUUID, identity.SequenceNumber, r.body)
		}
	}
	tests := map[string]struct {
		prepare func(*testing.T, *world, *request)
		status  int
		reason  control.Reason
		who     string // in the audit
	}{
		"not signed": {func(t *testing.T, _ *world, r *request) { t.Helper(); r.body = body(t, drain) }, 401, control.Unauthorized, ""},
		"another scheme": {func(t *testing.T, _ *world, r *request) {
			t.Helper()
			r.body, r.authorization = body(t, drain), "Bearer abc"
		}, 401, control.Unauthorized, ""},
		"unknown key": {func(t *testing.T, w *world, r *request) {
			t.Helper()
			identity := w.identity(t, w.admin)
			r.body = body(t, drain)
			r.authorization = newSigner(t).sequenced(identity.ServerUUID, identity.SequenceNumber, r.body)
		}, 401, control.Unauthorized, ""},
		"signed by another": {func(t *testing.T, w *world, r *request) {
			t.Helper()
			sign(reader, drain)(t, w, r)
			r.authorization = strings.Replace(r.authorization, w.reader.key.PublicKey(), w.admin.key.PublicKey(), 1)
		}, 401, control.Unauthorized, ""},
		"tampered": {func(t *testing.T, w *world, r *request) {
			t.Helper()
			sign(operatorKey, drain)(t, w, r)
			r.body = bytes.Replace(r.body, []byte("drain"), []byte("apply"), 1)
		}, 401, control.Unauthorized, ""},
		"without a number": {func(t *testing.T, w *world, r *request) {
			t.Helper()
			r.body = body(t, drain)
			r.authorization = w.operatorKey.unsequenced(r.body)
		}, 401, control.Unauthorized, "otto"},
		"replayed": {func(t *testing.T, w *world, r *request) {
			t.Helper()
			sign(operatorKey, control.Command{Operation: control.OpStatus})(t, w, r)
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+w.address+"/command", bytes.NewReader(r.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			request.Header.Set("Authorization", r.authorization)
			response, err := w.httpClient(t).Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Fatalf("the first time: status %d", response.StatusCode)
			}
		}, 412, control.OutOfNumber, "otto"},
		"a number ahead": {func(t *testing.T, w *world, r *request) {
			t.Helper()
			identity := w.identity(t, w.operatorKey)
			r.body = body(t, drain)
			r.authorization = w.operatorKey.sequenced(identity.ServerUUID, identity.SequenceNumber+1, r.body)
		}, 412, control.OutOfNumber, "otto"},
		"another run of the server": {func(t *testing.T, w *world, r *request) {
			t.Helper()
			r.body = body(t, drain)
			r.authorization = w.operatorKey.sequenced("24511be6-320d-4ef2-8dff-89916bcb6751", 0, r.body)
		}, 412, control.OutOfNumber, "otto"},
		"expired": {sign(operatorKey, control.Command{Operation: control.OpDrain, Expiry: time.Now().Add(-time.Second)}), 403, control.Expired, "otto"},
		"expiry too far ahead": {
			sign(operatorKey, control.Command{Operation: control.OpDrain, Expiry: time.Now().Add(control.MaxLifetime + time.Minute)}), 403, control.Expired, "otto",
		},
		"another agent":       {sign(operatorKey, control.Command{Operation: control.OpDrain, Agent: "bm8"}), 403, control.WrongAgent, "otto"},
		"a reader drains":     {sign(reader, drain), 403, control.NotAllowed, "rita"},
		"an operator applies": {sign(operatorKey, control.Command{Operation: control.OpApply}), 403, control.NotAllowed, "otto"},
		"an operator loses proofs": {
			sign(operatorKey, control.Command{Operation: control.OpStop, Arguments: control.Arguments{Now: true}}), 403, control.NotAllowed, "otto",
		},
		"a dry run of a reader": {sign(reader, control.Command{Operation: control.OpDrain, DryRun: true}), 403, control.NotAllowed, "rita"},
		"a GET": {func(t *testing.T, w *world, r *request) {
			t.Helper()
			sign(operatorKey, drain)(t, w, r)
			r.method = http.MethodGet
		}, 405, control.BadMethod, ""},
		"another media type": {func(t *testing.T, w *world, r *request) {
			t.Helper()
			sign(operatorKey, drain)(t, w, r)
			r.mediaType = "text/plain"
		}, 415, control.BadMediaType, ""},
		"too large":               {raw(`{"operation":"drain","agent":"bm7","expiry":"EXPIRY","arguments":{"reason":"` + strings.Repeat("x", 70_000) + `"}}`), 413, control.TooLarge, ""},
		"an unknown field":        {raw(`{"operation":"drain","agent":"bm7","expiry":"EXPIRY","force":true}`), 400, control.Malformed, "anna"},
		"a key twice":             {raw(`{"operation":"drain","agent":"bm7","expiry":"EXPIRY","operation":"stop"}`), 400, control.Malformed, "anna"},
		"another case":            {raw(`{"Operation":"drain","agent":"bm7","expiry":"EXPIRY"}`), 400, control.Malformed, "anna"},
		"two commands":            {raw(`{"operation":"drain","agent":"bm7","expiry":"EXPIRY"}{}`), 400, control.Malformed, "anna"},
		"no object":               {raw(`[]`), 400, control.Malformed, "anna"},
		"nothing":                 {raw(``), 400, control.Malformed, "anna"},
		"null":                    {raw(`null`), 400, control.Malformed, "anna"},
		"unknown operation":       {raw(`{"operation":"explode","agent":"bm7","expiry":"EXPIRY"}`), 400, control.Malformed, "anna"},
		"bad target":              {raw(`{"operation":"drain","target":"a/b/c/d","agent":"bm7","expiry":"EXPIRY"}`), 400, control.Malformed, "anna"},
		"no agent":                {raw(`{"operation":"drain","expiry":"EXPIRY"}`), 400, control.Malformed, "anna"},
		"no expiry":               {raw(`{"operation":"drain","agent":"bm7"}`), 400, control.Malformed, "anna"},
		"an argument for another": {raw(`{"operation":"drain","agent":"bm7","expiry":"EXPIRY","arguments":{"follow":true}}`), 400, control.Malformed, "anna"},
		"a negative time":         {raw(`{"operation":"pause","agent":"bm7","expiry":"EXPIRY","arguments":{"max":"-5s"}}`), 400, control.Malformed, "anna"},
		"a freeze without an end": {raw(`{"operation":"freeze","agent":"bm7","expiry":"EXPIRY"}`), 400, control.Malformed, "anna"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			r := request{method: http.MethodPost, mediaType: "application/json"}
			test.prepare(t, w, &r)
			before := len(w.audit.all())
			sent, err := http.NewRequestWithContext(t.Context(), r.method, "https://"+w.address+"/command", bytes.NewReader(r.body))
			if err != nil {
				t.Fatal(err)
			}
			sent.Header.Set("Content-Type", r.mediaType)
			if r.authorization != "" {
				sent.Header.Set("Authorization", r.authorization)
			}
			response, err := w.httpClient(t).Do(sent)
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(response.Body)
			if err := errors.Join(err, response.Body.Close()); err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != test.status || !strings.Contains(string(content), fmt.Sprintf(`"reason":%q`, test.reason)) {
				t.Errorf("answered %d %s, want %d for the reason %s", response.StatusCode, content, test.status, test.reason)
			}
			if did := w.operator.did(); len(did) > 0 {
				t.Errorf("it was done all the same: %v", did)
			}
			if entries := w.audit.all(); len(entries) != before+1 {
				t.Fatalf("audited %v, want one more", entries)
			}
			entry := w.audit.last(t)
			if entry.Outcome != control.OutcomeRefused || entry.Reason != test.reason || entry.Who != test.who || entry.Message == "" || entry.Via != "https" ||
				entry.Remote == "" || entry.ID == "" || entry.At.IsZero() || entry.Agent != "bm7" {
				t.Errorf("audited %+v", entry)
			}
			noSignature(t, r.authorization, string(content), entry)
		})
	}
}

// noSignature looks for the signature of a header where it must not be.
func noSignature(t *testing.T, authorization, content string, entry control.Entry) {
	t.Helper()
	words := strings.Split(authorization, " ")
	if len(words) < 3 {
		return
	}
	encoded, err := json.Marshal(entry)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(content, words[2]) || strings.Contains(string(encoded), words[2]) || strings.Contains(fmt.Sprintf("%+v", entry), words[2]) {
		t.Error("the signature is shown")
	}
}

// TestEveryBitCounts flips each bit of a signed command and of its header, one at a time: none of these is done, and the command as it was signed still is.
func TestEveryBitCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	identity := w.identity(t, w.admin)
	command := body(t, control.Command{Operation: control.OpStop, Target: target(t, "bm7/gpu/0"), Arguments: control.Arguments{Reason: "moving house"}})
	authorization := w.admin.sequenced(identity.ServerUUID, identity.SequenceNumber, command)
	send := func(body []byte, authorization string) int {
		request := httptest.NewRequest(http.MethodPost, "/command", bytes.NewReader(body))
		request.Header["Content-Type"] = []string{"application/json"}
		request.Header["Authorization"] = []string{authorization}
		recorder := httptest.NewRecorder()
		w.server.ServeHTTP(recorder, request)
		return recorder.Code
	}
	flipped := func(text []byte, bit int) []byte {
		changed := bytes.Clone(text)
		changed[bit/8] ^= 1 << (bit % 8)
		return changed
	}
	for bit := range 8 * len(command) {
		if code := send(flipped(command, bit), authorization); code != http.StatusUnauthorized {
			t.Fatalf("bit %d of the body flipped: answered %d", bit, code)
		}
	}
	for bit := range 8 * len(authorization) {
		code := send(command, string(flipped([]byte(authorization), bit)))
		if code != http.StatusUnauthorized {
			t.Fatalf("bit %d of the header flipped: answered %d", bit, code)
		}
	}
	for at := range command { // and a byte less
		if code := send(append(bytes.Clone(command[:at]), command[at+1:]...), authorization); code != http.StatusUnauthorized {
			t.Fatalf("without byte %d: answered %d", at, code)
		}
	}
	if did := w.operator.did(); len(did) > 0 {
		t.Fatalf("done: %v", did)
	}
	if code := send(command, authorization); code != http.StatusOK || len(w.operator.did()) != 1 {
		t.Errorf("as it was signed: answered %d, done %v", code, w.operator.did())
	}
	if code := send(command, authorization); code != http.StatusPreconditionFailed || len(w.operator.did()) != 1 {
		t.Errorf("once more: answered %d, done %v", code, w.operator.did())
	}
}

func TestStrangersDoNotFillTheAudit(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	w := newWorld(t, func(options *control.Options) { options.Now = func() time.Time { return now } })
	send := func() {
		recorder := httptest.NewRecorder()
		request := httptest.NewRequest(http.MethodPost, "/command", strings.NewReader("{}"))
		request.Header.Set("Content-Type", "application/json")
		w.server.ServeHTTP(recorder, request)
		if recorder.Code != http.StatusUnauthorized {
			t.Fatalf("answered %d", recorder.Code)
		}
	}
	for range 100 {
		send()
	}
	if entries := w.audit.all(); len(entries) != 60 {
		t.Errorf("%d entries, want 60", len(entries))
	}
	now = now.Add(time.Minute)
	send()
	if entry := w.audit.last(t); len(w.audit.all()) != 61 || entry.Omitted != 40 {
		t.Errorf("%d entries, the last says %d were left out", len(w.audit.all()), entry.Omitted)
	}
}
