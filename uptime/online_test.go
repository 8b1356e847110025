package uptime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a service that answers with handler, and returns the address of its list.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL + "/v1/online"
}

func newOnlineList(t *testing.T, address string, transport http.RoundTripper, timeout time.Duration) *OnlineList {
	t.Helper()
	list, err := NewOnlineList(address, transport, timeout)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Error(err)
	}
}

const twoNodes = `[{"graphql_control_port":3086,"remote_addr":"10.0.0.8:40000","submitter":"B62b"},{"remote_addr":"10.0.0.7","submitter":"B62a"}]`

func TestOnlineList(t *testing.T) {
	tests := []struct {
		name    string
		handler http.HandlerFunc
		want    []Node
	}{
		{"empty", func(w http.ResponseWriter, _ *http.Request) { write(t, w, `[]`) }, []Node{}},
		{
			"plain text, as existing services label it, and one entry without a port",
			func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet || r.URL.RequestURI() != "/v1/online" || !r.Close {
					t.Errorf("asked %s %s, and to close the connection: %t", r.Method, r.URL, r.Close)
				}
				w.Header().Set("Content-Type", "text/plain; charset=utf-8")
				write(t, w, twoNodes)
			},
			[]Node{{Submitter: "B62a", RemoteAddr: "10.0.0.7"}, {Submitter: "B62b", RemoteAddr: "10.0.0.8", ControlPort: 3086}},
		},
		{
			"moved",
			func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/online" {
					http.Redirect(w, r, "/elsewhere", http.StatusMovedPermanently)
					return
				}
				write(t, w, `[{"submitter":"B62a"}]`)
			},
			[]Node{{Submitter: "B62a"}},
		},
		{
			"as long as is allowed",
			func(w http.ResponseWriter, _ *http.Request) { write(t, w, `[]`+strings.Repeat(" ", maxAnswer-2)) },
			[]Node{},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			list := newOnlineList(t, serve(t, test.handler), nil, 0)
			for range 2 {
				got, err := list.List(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("nodes (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestOnlineListUnchanged lets a service answer with what the list was before.
func TestOnlineListUnchanged(t *testing.T) {
	type answer struct {
		status    int
		etag      string
		body      string
		wantMatch string // If-None-Match of the request
		want      []Node // nil for an error
	}
	one, other := []Node{{Submitter: "B62a"}}, []Node{{Submitter: "B62b"}}
	var next answer
	list := newOnlineList(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("If-None-Match"); got != next.wantMatch {
			t.Errorf("If-None-Match: %s; want %q", got, next.wantMatch)
		}
		if next.etag != "" {
			w.Header().Set("ETag", next.etag)
		}
		w.WriteHeader(next.status)
		if next.body != "" {
			write(t, w, next.body)
		}
	}), nil, 0)
	for i, a := range []answer{
		{200, ``, `[{"submitter":"B62a"}]`, ``, one},
		{304, `"1"`, ``, ``, nil}, // nobody asked for that
		{200, `"1"`, `[{"submitter":"B62a"}]`, ``, one},
		{304, `"1"`, ``, `"1"`, one},
		{500, `"5"`, `[]`, `"1"`, nil},
		{200, `"6"`, `[{"submitter":`, `"1"`, nil},
		{304, ``, ``, `"1"`, one},
		{200, `W/"2"`, `[{"submitter":"B62b"}]`, `"1"`, other},
		{304, `W/"2"`, ``, `W/"2"`, other},
		{200, `"3"`, `[]`, `W/"2"`, []Node{}},
		{304, `"3"`, ``, `"3"`, []Node{}},
		{200, ``, `[{"submitter":"B62a"}]`, `"3"`, one},
		{304, ``, ``, ``, nil},
	} {
		next = a
		got, err := list.List(t.Context())
		if diff := cmp.Diff(a.want, got); diff != "" || (err != nil) != (a.want == nil) {
			t.Errorf("answer %d: error %v, nodes (-want +got):\n%s", i, err, diff)
		}
		for i := range got {
			got[i].Submitter = "the caller's own" // which must not change what the list remembers
		}
	}
}

func TestOnlineListRefusals(t *testing.T) {
	answer := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			write(t, w, body)
		}
	}
	const page = `<!DOCTYPE html><html><title>error</title></html>`
	tests := []struct {
		name      string
		handler   http.HandlerFunc
		status    int
		temporary bool
		says      string
	}{
		{"HTML page with 502", answer(502, "text/html", page), 502, true, "answered 502 Bad Gateway"},
		{"HTML page with 200", answer(200, "text/html", page), 200, false, `of type "text/html", is no online list`},
		{"a good list with 500", answer(500, "application/json", twoNodes), 500, true, "answered 500"},
		{"503", answer(503, "text/plain", ""), 503, true, "answered 503"},
		{"429", answer(429, "text/plain", ""), 429, true, "answered 429"},
		{"408", answer(408, "text/plain", ""), 408, true, "answered 408"},
		{"401", answer(401, "application/json", twoNodes), 401, false, "answered 401"},
		{"404", answer(404, "text/plain", "404 page not found"), 404, false, "answered 404 Not Found"},
		{"204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, 204, false, "answered 204"},
		{"the same as before, where nothing was", answer(304, "text/plain", ""), 304, false, "answered 304"},
		{"no body", answer(200, "application/json", ""), 200, false, "is no online list"},
		{"an object", answer(200, "application/json", `{"nodes":[]}`), 200, false, "is no online list"},
		{"a list cut off, yet complete as HTTP", answer(200, "application/json", twoNodes[:60]), 200, false, "is no online list"},
		{"one entry of the wrong shape", answer(200, "application/json", `[{"submitter":"B62a"},{"submitter":1}]`), 200, false, "entry 1"},
		{"too long", answer(200, "application/json", `[]`+strings.Repeat(" ", maxAnswer-1)), 200, false, "longer than 16777216 bytes"},
		{
			"a body that breaks off",
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "1000")
				write(t, w, twoNodes)
			},
			200, true, fmt.Sprintf("broke off after %d bytes", len(twoNodes)),
		},
		{
			"a connection that breaks off",
			func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			0, true, "no answer",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			address := serve(t, test.handler)
			got, err := newOnlineList(t, address, nil, 0).List(t.Context())
			var listErr *ListError
			if !errors.As(err, &listErr) || got != nil {
				t.Fatalf("List = %v, %v; want a ListError alone", got, err)
			}
			if listErr.StatusCode != test.status || listErr.Temporary != test.temporary || listErr.Source != address {
				t.Errorf("got %+v; want status %d, temporary %t", listErr, test.status, test.temporary)
			}
			advice := "trying again will not help"
			if test.temporary {
				advice = "try again"
			}
			for _, part := range []string{test.says, address, advice} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v; want it to say %q", err, part)
				}
			}
		})
	}
}

// closedAddress returns a URL at which nobody listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	return server.URL
}

func TestOnlineListUnreachable(t *testing.T) {
	closed := closedAddress(t) + "/v1/online"
	noTLS := strings.Replace(serve(t, func(http.ResponseWriter, *http.Request) {}), "http:", "https:", 1)
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of the broken handshake
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	fails := func(err error) http.RoundTripper {
		return roundTripper(func(*http.Request) (*http.Response, error) { return nil, err })
	}
	tests := []struct {
		name, address string
		transport     http.RoundTripper
		temporary     bool
	}{
		{"connection refused", closed, nil, true},
		{"time-out", closed, fails(&net.OpError{Op: "read", Err: errTimeout{}}), true},
		{"name server out of order", closed, fails(&net.DNSError{Err: "server misbehaving", Name: "x", IsTemporary: true}), true},
		{"no such host", closed, fails(&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}), false},
		{"no TLS there", noTLS, nil, false},
		{"no trust", untrusted.URL, nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := newOnlineList(t, test.address, test.transport, 0).List(t.Context())
			var listErr *ListError
			if !errors.As(err, &listErr) || got != nil || listErr.Temporary != test.temporary || listErr.StatusCode != 0 {
				t.Errorf("List = %v, %v; want a ListError without status, temporary %t", got, err, test.temporary)
			}
		})
	}
}

type errTimeout struct{}

func (errTimeout) Error() string   { return "i/o timeout" }
func (errTimeout) Timeout() bool   { return true }
func (errTimeout) Temporary() bool { return true }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// slowly answers nothing until the request's context ends: not even a status, or not the rest of the body.
func slowly(started bool) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if !started {
			<-r.Context().Done()
			return nil, context.Cause(r.Context())
		}
		return &http.Response{
			StatusCode: 200, Request: r, Header: http.Header{},
			Body: io.NopCloser(io.MultiReader(strings.NewReader(`[{"submitter":"B62a"}`), blocked(r.Context().Done()))),
		}, nil
	})
}

// blocked is a body of which no more comes.
type blocked <-chan struct{}

func (ended blocked) Read([]byte) (int, error) {
	<-ended
	return 0, errors.New("connection closed")
}

func TestOnlineListTimeout(t *testing.T) {
	for _, started := range []bool{false, true} {
		for _, timeout := range []time.Duration{0, 7 * time.Second} {
			t.Run(fmt.Sprintf("started=%t/timeout=%s", started, timeout), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					list := newOnlineList(t, "http://uptime.example.org/v1/online", slowly(started), timeout)
					want := timeout
					if want == 0 {
						want = 30 * time.Second
					}
					begin := time.Now()
					got, err := list.List(t.Context())
					if took := time.Since(begin); took != want {
						t.Errorf("List took %s; want %s", took, want)
					}
					var listErr *ListError
					if !errors.As(err, &listErr) || !listErr.Temporary || got != nil {
						t.Fatalf("List = %v, %v; want a temporary ListError", got, err)
					}
					if !strings.Contains(err.Error(), "no complete answer within "+want.String()) {
						t.Errorf("%v; want it to name the time-out", err)
					}
				})
			})
		}
	}
}

func TestOnlineListCancelled(t *testing.T) {
	stopped := errors.New("the run was stopped")
	for _, started := range []bool{false, true} {
		t.Run(fmt.Sprintf("started=%t", started), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				list := newOnlineList(t, "http://uptime.example.org/v1/online", slowly(started), 0)
				done := make(chan error)
				go func() {
					_, err := list.List(ctx)
					done <- err
				}()
				synctest.Wait()
				cancel(stopped)
				if err := <-done; !errors.Is(err, stopped) || errors.As(err, new(*ListError)) {
					t.Errorf("List: %v; want the cause of the context's end", err)
				}
			})
		})
	}
}

// TestOnlineListSlowServer waits for a real server, and leaves nothing behind.
func TestOnlineListSlowServer(t *testing.T) {
	address := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	_, err := newOnlineList(t, address, nil, 20*time.Millisecond).List(t.Context())
	var listErr *ListError
	if !errors.As(err, &listErr) || !listErr.Temporary {
		t.Errorf("List: %v; want a temporary ListError", err)
	}
}

func TestNewOnlineListRefuses(t *testing.T) {
	for _, address := range []string{
		"", "uptime.example.org/v1/online", "ftp://uptime.example.org", "http://", "http:///v1/online", "http://:8080/", "://x", "http://a b/",
	} {
		if _, err := NewOnlineList(address, nil, 0); err == nil || !strings.Contains(err.Error(), "http://HOST:8080/v1/online") {
			t.Errorf("NewOnlineList(%q): %v; want an error that shows an address", address, err)
		}
	}
	if _, err := NewOnlineList("http://uptime.example.org", nil, -time.Second); err == nil {
		t.Error("a negative time-out was accepted")
	}
}

// TestOnlineListKeepsSecrets puts credentials into the address, which are sent, and looks for them in every error.
func TestOnlineListKeepsSecrets(t *testing.T) {
	var listErrs []error
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "alice" || password != "hunter2" || r.URL.Query().Get("token") != "tok3n" {
			t.Errorf("the request came with %q, %q, %q", user, password, r.URL.RawQuery)
		}
		w.WriteHeader(http.StatusForbidden)
	})
	withSecrets := strings.Replace(address, "http://", "http://alice:hunter2@", 1) + "?token=tok3n"
	_, err := newOnlineList(t, withSecrets, nil, 0).List(t.Context())
	listErrs = append(listErrs, err)
	refused := roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") })
	_, err = newOnlineList(t, withSecrets, refused, 0).List(t.Context())
	listErrs = append(listErrs, err)
	for _, malformed := range []string{
		"http://alice:hunter2@host:port/?token=tok3n", "http://alice:hunter2/more@host/?token=tok3n",
		"ftp://alice:hunter2@host/?token=tok3n", "http://alice:hunter2@/\x00?token=tok3n",
	} {
		_, err = NewOnlineList(malformed, nil, 0)
		listErrs = append(listErrs, err)
	}
	for _, err := range listErrs {
		if err == nil {
			t.Error("no error")
			continue
		}
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
			if strings.Contains(text, "hunter2") || strings.Contains(text, "tok3n") {
				t.Errorf("an error tells a secret: %s", text)
			}
		}
	}
}
