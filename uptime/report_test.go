package uptime

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"provingground/internal/mina"
)

func TestSignRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Report)
		says   string
	}{
		{"no block", func(r *Report) { r.Block = nil }, "no block"},
		{"no peer ID", func(r *Report) { r.PeerID = "" }, "no peer ID"},
		{"a quote in the peer ID", func(r *Report) { r.PeerID = `"` }, "letters and digits"},
		{"a long peer ID", func(r *Report) { r.PeerID = strings.Repeat("1", 129) }, "letters and digits"},
		{"a commit that is none", func(r *Report) { r.BuiltWithCommitSHA = "main" }, "hexadecimal"},
		{"a year of five digits", func(r *Report) { r.CreatedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "not a time"},
		{"version 2", func(r *Report) { r.Version = 2 }, "no version 2"},
		{"version -2", func(r *Report) { r.Version = -2 }, "no version -2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := someReport
			c.change(&r)
			if body, err := r.Sign(mina.Testnet, knownKey(t)); err == nil || !strings.Contains(err.Error(), c.says) || body != nil {
				t.Errorf("%s, %v; want an error that says %q", body, err, c.says)
			}
		})
	}
	if body, err := someReport.Sign(mina.Testnet, mina.PrivateKey{}); err == nil {
		t.Errorf("signed without a key: %s", body)
	}
}

func TestSubmit(t *testing.T) {
	body := []byte(someBody(t))
	tests := []struct {
		name    string
		handler http.HandlerFunc
		status  int
		message string
		says    string
	}{
		{"taken", func(w http.ResponseWriter, r *http.Request) {
			sent, err := io.ReadAll(r.Body)
			if err != nil || string(sent) != string(body) || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" ||
				r.ContentLength != int64(len(body)) {
				t.Errorf("%s %v with %d bytes announced: %v", r.Method, r.Header, r.ContentLength, err)
			}
			write(t, w, "{\"status\":\"ok\"}\n")
		}, 200, `{"status":"ok"}`, ""},
		{"refused", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			write(t, w, `{"error":"Invalid signature"}`)
		}, 401, `{"error":"Invalid signature"}`, ""},
		{"no text", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusLengthRequired) }, 411, "", ""},
		{"moved", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/")
			w.WriteHeader(http.StatusFound)
		}, 302, "", ""},
		{"a long text", func(w http.ResponseWriter, _ *http.Request) { write(t, w, strings.Repeat("x", maxReply+1)) }, 200, strings.Repeat("x", maxReply), ""},
		{"an answer that breaks off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			write(t, w, "begun")
		}, 200, "begun", "broke off"},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, "", "submitting an uptime report to 127.0.0.1:"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(test.handler)
			defer server.Close()
			status, message, err := Submit(t.Context(), server.Client().Transport, server.URL+"/v1/submit?token=tok3n", body)
			if status != test.status || message != test.message {
				t.Errorf("%d %.100q; want %d %.100q", status, message, test.status, test.message)
			}
			switch {
			case test.says == "" && err != nil:
				t.Error(err)
			case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "tok3n")):
				t.Errorf("%v; want an error that says %q and not the token", err, test.says)
			}
		})
	}
	if _, _, err := Submit(t.Context(), http.NewFileTransport(nil), "http://alice:hunter2@host:port", body); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("an address that is none: %v", err)
	}
}
