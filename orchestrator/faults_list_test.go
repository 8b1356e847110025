package orchestrator_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
	"provingground/uptime"
)

// TestTheOnlineListFails in ways that pass: the discovery tries again, and gives each node out once (D16 to D18).
func TestTheOnlineListFails(t *testing.T) {
	for _, test := range []struct{ faults, said string }{
		{"list-empty#2", "no node is online"},
		{"list-status=503#2", "503 Service Unavailable"},
		{"list-status=429#1", "429 Too Many Requests"},
		{"list-slow=1500ms#1", "no complete answer within 1s"},
		{"list-no-port", "left out of the discovery"},
		{"list-empty#1; list-status=502#2; list-no-port", "502 Bad Gateway"},
	} {
		t.Run(test.faults, func(t *testing.T) {
			n := newNetwork(t, faulty(t, test.faults, 0))
			n.config.RequestTimeout = time.Second
			e := n.try(step("discovery", params{}), trial{}).mustEnd(t, orchestrator.CodeOK)
			mustEqual(t, "participants", sorted(n.Nodes()), outputsOf[string](t, e, 0, "participant"))
			mustSay(t, e.log, test.said)
		})
	}
}

// serving returns a change of the world: the online list is what a handler serves.
func (n *network) serving(t *testing.T, handler http.HandlerFunc) func(*orchestrator.World) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	online, err := uptime.NewOnlineList(server.URL+"/v1/online", nil, n.config.RequestTimeout)
	if err != nil {
		t.Fatal(err)
	}
	return func(w *orchestrator.World) { w.Online = online }
}

// TestTheOnlineListIsNone: what somebody must mend ends the step at once, without a second request.
func TestTheOnlineListIsNone(t *testing.T) {
	n := newNetwork(t, nil)
	for name, test := range map[string]struct {
		status     int
		body, said string
	}{
		"cut JSON":      {http.StatusOK, `[{"remote_addr":"127.`, "is no online list"},
		"HTML":          {http.StatusOK, "<!DOCTYPE html><html><body>It works!</body></html>", "is no online list"},
		"an object":     {http.StatusOK, `{"nodes":[]}`, "is no online list"},
		"nothing there": {http.StatusNotFound, "404", "404 Not Found"},
		"forbidden":     {http.StatusForbidden, "no", "403 Forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			e := n.try(step("discovery", params{}), trial{world: n.serving(t, func(w http.ResponseWriter, _ *http.Request) {
				asked.Add(1)
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})}).mustEnd(t, orchestrator.CodeStep)
			mustSay(t, e.Err.Error(), test.said, "step 0", "trying again will not help")
			mustEqual(t, "requests", 1, int(asked.Load()))
		})
	}
	t.Run("simulated", func(t *testing.T) {
		n := newNetwork(t, faulty(t, "list-malformed", 0))
		n.try(step("discovery", params{}), trial{}).mustEnd(t, orchestrator.CodeStep)
	})
}

// interruption returns a context that a test may end as a signal does, and how.
func interruption(t *testing.T, signal os.Signal) (ctx context.Context, interrupt func()) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	return ctx, func() { cancel(&orchestrator.Interrupted{Signal: signal}) }
}

// mustBeInterrupted fails the test unless the run ended as one that a signal ended, and says so.
func (e ending) mustBeInterrupted(t *testing.T, code int) {
	t.Helper()
	e.mustEnd(t, code)
	var interrupted *orchestrator.Interrupted
	if !errors.As(e.Err, &interrupted) {
		t.Errorf("%v does not say that a signal ended the run", e.Err)
	}
}

// TestInterruptedWhileTheListIsEmpty: the pauses of the discovery, which are long on a real network, end at once (D18).
func TestInterruptedWhileTheListIsEmpty(t *testing.T) {
	n := newNetwork(t, nil)
	ctx, interrupt := interruption(t, syscall.SIGTERM)
	var asked atomic.Int32
	world := n.serving(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, "[]")
	})
	e := n.try(script(step("discovery", params{}), step("set-zkapp-soft-limit", params{"nodes": n.Nodes(), "limit": 1})),
		trial{ctx: ctx, world: world, waiting: func(until time.Time) { interrupt() }})
	e.mustBeInterrupted(t, 128+15)
	mustEqual(t, "requests for the list", 1, int(asked.Load()))
	mustEqual(t, "limits set", 0, len(toldOf[simnet.LimitSet](n)))

	// So does a request for the list that hangs.
	ctx, interrupt = interruption(t, syscall.SIGINT)
	world = n.serving(t, func(_ http.ResponseWriter, r *http.Request) {
		interrupt()
		<-r.Context().Done()
	})
	n.try(step("discovery", params{}), trial{ctx: ctx, world: world}).mustBeInterrupted(t, 128+2)
}
