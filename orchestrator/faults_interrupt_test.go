package orchestrator_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
)

// setsLimit is a step that leaves a trace in the journal if it is ever begun.
func (n *network) setsLimit() string {
	return step("set-zkapp-soft-limit", params{"nodes": n.Nodes()[:1], "limit": 1})
}

// mustNotHaveBegun fails the test if the step of setsLimit was begun.
func (n *network) mustNotHaveBegun(t *testing.T) {
	t.Helper()
	if set := toldOf[simnet.LimitSet](n); len(set) > 0 {
		t.Errorf("a step was begun after the interruption: %v", set)
	}
}

// TestInterruptedBeforeTheFirstStep sends nothing (D4).
func TestInterruptedBeforeTheFirstStep(t *testing.T) {
	n := newNetwork(t, nil)
	ctx, interrupt := interruption(t, syscall.SIGINT)
	interrupt()
	n.try(n.setsLimit(), trial{ctx: ctx}).mustBeInterrupted(t, 130)
	mustEqual(t, "requests", 0, len(toldOf[simnet.RequestAnswered](n)))
}

// TestInterruptedWhileItWaits ends the wait at once, and stops the load (D10).
func TestInterruptedWhileItWaits(t *testing.T) {
	for signal, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		n, _ := newLoadNetwork(t, 6, nil)
		ctx, interrupt := interruption(t, signal)
		e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil), step("wait", params{"min": 100_000}), n.setsLimit()), trial{
			ctx: ctx, waiting: func(time.Time) { interrupt() },
		})
		e.mustBeInterrupted(t, code)
		n.mustNotHaveBegun(t)
		n.mustBeTrue(t, e)
		n.mustRun(t, 0)
		mustEqual(t, "undone", []string{"step 2 (payments): undone on 6/6"}, e.Undone)
		mustSay(t, e.out, `"name":"_end"`, signal.String())
	}
}

// TestInterruptedWhileItPlacesLoad: no further request is made, and the answers that are under way are waited for: what they say may be
// the only way to stop the load that they tell of.
func TestInterruptedWhileItPlacesLoad(t *testing.T) {
	for _, old := range []int{0, 6} {
		n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) { o.Old = old })
		n.config.Concurrency = 3
		ctx, interrupt := interruption(t, syscall.SIGINT)
		var asked atomic.Int32
		all := make(chan struct{}) // closed when three requests are under way
		e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil), n.setsLimit()), trial{ctx: ctx, between: func(x exchange) (*http.Response, error) {
			if !x.schedules() {
				return x.pass()
			}
			response, err := x.pass()
			if asked.Add(1) == 3 {
				interrupt()
				close(all)
			}
			<-all
			if x.Context().Err() != nil { // the answer comes too late
				return nil, x.Context().Err()
			}
			return response, err
		}})
		e.mustBeInterrupted(t, 130)
		n.mustNotHaveBegun(t)
		n.mustBeTrue(t, e)
		n.mustRun(t, 0)
		mustEqual(t, "schedules", 3, len(n.History().Schedules()))
		mustEqual(t, "receipts", 3, len(outputsOf[orchestrator.Receipt](t, e, 2, "receipt")))
		mustEqual(t, "remains", 0, len(e.Remains))
	}
}

// TestInterruptedWhileNodesRefuse: the end of such a step is the interruption's, not the nodes' fault.
func TestInterruptedWhileNodesRefuse(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	ctx, interrupt := interruption(t, syscall.SIGINT)
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil)), trial{ctx: ctx, between: func(x exchange) (*http.Response, error) {
		if x.schedules() {
			interrupt()
			return answered(x, http.StatusOK, `{"errors":[{"message":"Simulated refusal","path":["schedulePayments"]}],"data":null}`)
		}
		return x.pass()
	}})
	e.mustBeInterrupted(t, 130)
	n.mustBeTrue(t, e)
}

// TestInterruptedWhileItFunds: a run of the mina executable that is cut short leaves accounts that nobody knows of, so it is given time;
// and no other one is begun (D40).
func TestInterruptedWhileItFunds(t *testing.T) {
	fund := func(name string) string {
		return step("fund-keys", params{"amount": 20_000_000_000, "fee": 1_000_000, "prefix": name + "/key", "num": 2, "privkeys": []string{"private-keys/key-0"}})
	}
	t.Run("it comes to its end", func(t *testing.T) {
		n := newNetwork(t, nil)
		ctx, interrupt := interruption(t, syscall.SIGINT)
		p := &watchedPrograms{Programs: programs{n}, begins: func(context.Context) error {
			interrupt()
			return nil
		}}
		e := n.try(script(fund("a"), n.setsLimit(), fund("b")), trial{ctx: ctx, world: p.in, cleanup: time.Minute})
		e.mustBeInterrupted(t, 130)
		n.mustNotHaveBegun(t)
		mustEqual(t, "runs of the executable", 1, int(p.calls.Load()))
		mustEqual(t, "accounts created", 2, len(toldOf[simnet.AccountCreated](n)))
		mustSay(t, e.out, `"result":"done"`)
	})
	t.Run("it hangs", func(t *testing.T) {
		n := newNetwork(t, nil)
		ctx, interrupt := interruption(t, syscall.SIGINT)
		p := &watchedPrograms{Programs: programs{n}, begins: func(ctx context.Context) error {
			if err := os.MkdirAll("a", 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join("a", "key-0-0"), []byte("{}"), 0o600); err != nil {
				return err
			}
			interrupt()
			<-ctx.Done()
			return context.Cause(ctx)
		}}
		e := n.try(script(fund("a"), n.setsLimit()), trial{ctx: ctx, world: p.in, cleanup: 400 * time.Millisecond})
		e.mustBeInterrupted(t, 130)
		n.mustNotHaveBegun(t)
		mustSay(t, e.Err.Error(), "nobody knows whether these accounts were funded", "a/key-0-0")
	})
}

// watchedPrograms tells when an executable begins.
type watchedPrograms struct {
	orchestrator.Programs
	begins func(context.Context) error
	calls  atomic.Int32
}

func (p *watchedPrograms) in(w *orchestrator.World) { w.Programs = p }

func (p *watchedPrograms) Run(ctx context.Context, c orchestrator.Command) error {
	p.calls.Add(1)
	if err := p.begins(ctx); err != nil {
		return err
	}
	return p.Programs.Run(ctx, c)
}

// TestInterruptedWhileItCleansUp: the clean-up of a failed run goes on, and the failure stays what it was.
func TestInterruptedWhileItCleansUp(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	ctx, interrupt := interruption(t, syscall.SIGINT)
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil), failing()), trial{ctx: ctx, cleaning: interrupt}).mustEnd(t, orchestrator.CodeStep)
	n.mustBeTrue(t, e)
	n.mustRun(t, 0)
}

// TestInterruptedAndNotCleanedUp: what the clean-up of an interrupted run could not undo makes its code 5.
func TestInterruptedAndNotCleanedUp(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	ctx, interrupt := interruption(t, syscall.SIGINT)
	node := n.Nodes()[3]
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil), step("wait", params{"min": 100_000})), trial{
		ctx: ctx, waiting: func(time.Time) { interrupt() }, cleanup: 200 * time.Millisecond,
		between: func(x exchange) (*http.Response, error) {
			if x.node == node && ctx.Err() != nil {
				return refusedConnection()
			}
			return x.pass()
		},
	})
	e.mustBeInterrupted(t, orchestrator.CodeRemains)
	n.mustBeTrue(t, e)
	n.mustRun(t, 1)
}

// TestTheTimeOfTheRunIsOver: a limit of the caller's (the flag -timeout) is a failure, and cleaned up after.
func TestTheTimeOfTheRunIsOver(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil), step("wait", params{"min": 100_000}), n.setsLimit()), trial{
		ctx: ctx, waiting: func(time.Time) { cancel(errors.New("the run did not finish within 1h")) },
	}).mustEnd(t, orchestrator.CodeStep)
	mustSay(t, e.Err.Error(), "did not finish within 1h")
	n.mustNotHaveBegun(t)
	n.mustBeTrue(t, e)
	n.mustRun(t, 0)
}

// TestInterruptedWhileItWaitsForTheNextStep of a stream that is piped in by hand.
func TestInterruptedWhileItWaitsForTheNextStep(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	ctx, interrupt := interruption(t, syscall.SIGINT)
	silent, input := io.Pipe()
	defer input.Close()
	e := n.try("", trial{ctx: ctx, stream: &starving{Reader: silent, text: script(discoverAndLoadKeys(), paymentsOn(nil), ""), empty: interrupt}})
	e.mustBeInterrupted(t, 130)
	n.mustBeTrue(t, e)
	n.mustRun(t, 0)
	mustEqual(t, "undone", []string{"step 2 (payments): undone on 6/6"}, e.Undone)
}

// starving is an input that gives its text, and then nothing any more, without an end.
type starving struct {
	io.Reader
	text  string
	once  sync.Once
	empty func() // called when it is asked for more than there is
}

func (s *starving) Read(p []byte) (int, error) {
	if s.text != "" {
		n := copy(p, s.text)
		s.text = s.text[n:]
		return n, nil
	}
	s.once.Do(s.empty)
	return s.Reader.Read(p)
}
