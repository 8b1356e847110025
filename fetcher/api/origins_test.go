package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"provingground/fetcher/api"
)

// TestForeignPagesChangeNothing: whatever page a browser shows may read; only this port's own pages, those of sites that were named, and
// programs may change something.
func TestForeignPagesChangeNothing(t *testing.T) {
	t.Parallel()
	collector := &fakeCollector{}
	server, err := api.New(api.Options{
		Collector: collector, Pool: newPool(t, "postgres:///x?host="+t.TempDir()), Deployment: func() int64 { return 1 },
		NewDeployment:  func(context.Context, json.RawMessage) (int64, error) { return 2, nil },
		AllowedOrigins: []string{"https://dashboard.example.org"},
	})
	if err != nil {
		t.Fatal(err)
	}
	answer := func(method, path, origin string) int {
		request := httptest.NewRequest(method, "http://fetcher:4000"+path, strings.NewReader(`{"data": {"x": 1}}`))
		if origin != "" {
			request.Header.Set("Origin", origin)
		}
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, request)
		if recorder.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s %s does not say to %s's page what it is about", method, path, origin)
		}
		if recorder.Code == http.StatusForbidden && !strings.Contains(recorder.Body.String(), "--allow-origin") {
			t.Errorf("%s %s: %s", method, path, recorder.Body)
		}
		return recorder.Code
	}
	changing := []string{"/freeze", "/unfreeze", "/reset", "/api/deployments", "/api/node-restarts", "/api/tracing/cleanup"}
	for origin, allowed := range map[string]bool{
		"": true, "http://fetcher:4000": true, "http://FETCHER:4000": true, "https://dashboard.example.org": true,
		"http://evil.example": false, "null": false, "http://fetcher": false, "http://fetcher:4001": false, "https://dashboard.example.org.evil.example": false,
		"http://evil.example/fetcher:4000": false, "::": false,
	} {
		for _, path := range changing {
			collector.frozen = path == "/unfreeze"
			resets := collector.resets
			if code := answer("POST", path, origin); (code != http.StatusForbidden) != allowed {
				t.Errorf("%s for a page of %q: %d", path, origin, code)
			}
			if changed := collector.resets != resets || collector.frozen != (path == "/unfreeze"); changed && !allowed {
				t.Errorf("%s was done for a page of %q", path, origin)
			}
		}
		for _, path := range []string{"/nodes", "/gaps", "/graphql", "/"} {
			if code := answer("GET", path, origin); code == http.StatusForbidden {
				t.Errorf("GET %s is refused to a page of %q", path, origin)
			}
		}
		if code := answer("POST", "/graphql", origin); code == http.StatusForbidden {
			t.Errorf("a query is refused to a page of %q", origin)
		}
		if code := answer("OPTIONS", "/freeze", origin); code != http.StatusOK {
			t.Errorf("a preflight of a page of %q: %d", origin, code)
		}
	}
}

// onePipe is a listener of one connection in memory, whose deadlines a bubble's time knows.
type onePipe struct {
	made   chan net.Conn
	closed chan struct{}
}

func (p onePipe) Accept() (net.Conn, error) {
	select {
	case conn := <-p.made:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p onePipe) Close() error   { close(p.closed); return nil }
func (p onePipe) Addr() net.Addr { return &net.TCPAddr{} }

// TestABodyThatDoesNotCome is told so, whether the path wants one or not, and its connection ends; one that comes late, but comes, is no trouble,
// and neither is what comes after it on the same connection.
func TestABodyThatDoesNotCome(t *testing.T) {
	server := deaf(t, &fakeCollector{})
	for _, test := range []struct {
		method, path string
		status       int
	}{{"POST", "/freeze", 200}, {"POST", "/graphql", 400}, {"GET", "/nodes", 200}, {"POST", "/nowhere", 404}} {
		for _, whole := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s whole %t", test.path, whole), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					listener := onePipe{make(chan net.Conn), make(chan struct{})}
					httpServer := &http.Server{Handler: server} // as little as possible is left to its time-outs
					served := make(chan error, 1)
					go func() { served <- httpServer.Serve(listener) }()
					conn, theirs := net.Pipe()
					listener.made <- theirs
					go func() {
						_, _ = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", test.method, test.path)
						if timer := time.NewTimer(10 * time.Second); whole {
							<-timer.C
							_, _ = io.WriteString(conn, `"a": 1  }`)
						}
					}()
					began := time.Now()
					reader := bufio.NewReader(conn)
					response, err := http.ReadResponse(reader, nil)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := io.Copy(io.Discard, response.Body); err != nil {
						t.Error(err)
					}
					if want := map[bool]int{true: test.status, false: http.StatusBadRequest}[whole]; response.StatusCode != want || time.Since(began) > time.Minute {
						t.Errorf("%d after %s, want %d", response.StatusCode, time.Since(began), want)
					}
					if !whole {
						if _, err := reader.ReadByte(); !errors.Is(err, io.EOF) {
							t.Errorf("the connection goes on: %v", err)
						}
					} else {
						later := time.NewTimer(time.Minute)
						<-later.C
						go func() { _, _ = io.WriteString(conn, "GET /nodes HTTP/1.1\r\nHost: x\r\n\r\n") }()
						if response, err := http.ReadResponse(reader, nil); err != nil || response.StatusCode != http.StatusOK {
							t.Errorf("the next request: %v, %v", response, err)
						}
					}
					_ = httpServer.Close()
					_ = conn.Close()
					if err := <-served; !errors.Is(err, http.ErrServerClosed) {
						t.Error(err)
					}
				})
			})
		}
	}
}
