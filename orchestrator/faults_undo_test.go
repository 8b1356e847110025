package orchestrator_test

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"provingground/internal/clock"
	"provingground/orchestrator"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/simnet"
)

// TestUndoneInReverseOrder: load, a limit, an isolation, in this order; the failure of the next step undoes the isolation first and stops
// the load last.
func TestUndoneInReverseOrder(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil), // 2
		step("set-zkapp-soft-limit", params{"nodes": output(0, "participant"), "limit": 3}),
		step("isolate", params{"nodes": n.Nodes()[:3]}),
		failing(),
	), trial{}).mustEnd(t, orchestrator.CodeStep)
	n.mustBeTrue(t, e)
	mustEqual(t, "undone", []string{
		"step 4 (isolate): undone on 3/3", "step 3 (set-zkapp-soft-limit): undone on 6/6", "step 2 (payments): undone on 6/6",
	}, e.Undone)
	var order []string
	for _, entry := range n.History() {
		what := ""
		switch fact := entry.Fact.(type) {
		case simnet.GatingSet:
			if !fact.Isolate {
				what = "gating"
			}
		case simnet.LimitSet:
			if fact.Limit == nil {
				what = "limit"
			}
		case simnet.StopRequested:
			what = "load"
		}
		if what != "" {
			order = append(order, what)
		}
	}
	mustEqual(t, "order", []string{"gating", "limit", "load"}, slices.Compact(order))
}

// TestPeersAreGivenBack: a node whose isolation is cleared is told of the other nodes that the run knows.
func TestPeersAreGivenBack(t *testing.T) {
	for _, test := range []struct {
		name string
		undo func(n *network, e ending)
	}{
		{"in the same run", func(*network, ending) {}},
		{"by stop", func(n *network, e ending) { n.stop(e.path, trial{}) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNetwork(t, nil)
			text := script(step("discovery", params{}), step("isolate", params{"nodes": n.Nodes()[:2]}))
			code := orchestrator.CodeOK
			if test.name == "in the same run" {
				text, code = script(text, failing()), orchestrator.CodeStep
			}
			test.undo(n, n.try(text, trial{}).mustEnd(t, code))
			given := map[string]int{}
			for _, set := range toldOf[simnet.GatingSet](n) {
				if !set.fact.Isolate {
					given[set.node] = max(given[set.node], len(set.fact.Added))
				}
			}
			mustEqual(t, "peers given back", map[string]int{n.Nodes()[0]: 5, n.Nodes()[1]: 5}, given)
			mustEqual(t, "gating", 0, len(n.History().Gating()))
		})
	}
}

// TestAnIsolationThatIsRefusedInPart: when a peer cannot be added the daemon says no, and the isolation is in force all the same
// (itn-graphql, section 4.4; D33).
func TestAnIsolationThatIsRefusedInPart(t *testing.T) {
	n := newNetwork(t, nil)
	group := n.Nodes()[:3]
	e := n.try(script(step("discovery", params{}), step("isolate", params{"nodes": group})), trial{step: func(_ int, action string) {
		if action == "isolate" {
			n.restartNode(t, "127.0.0.4", false)
		}
	}, cleanup: 2 * time.Second}).mustEnd(t, orchestrator.CodeStep)
	mustSay(t, e.Err.Error(), "failed to add peers")
	if isolated := toldOf[simnet.GatingSet](n); !slices.ContainsFunc(isolated, func(set told[simnet.GatingSet]) bool { return set.fact.Isolate && len(set.fact.Failed) > 0 }) {
		t.Fatalf("no isolation was refused in part: %v", isolated)
	}
	n.mustBeTrue(t, e)
}

// restartNode restarts a node, and returns when it is down or, if that is waited for, back again.
func (n *network) restartNode(tb testing.TB, host string, wait bool) {
	tb.Helper()
	before := len(toldOf[simnet.DaemonStarted](n))
	if err := n.Restart(tb.Context(), host, false); err != nil {
		tb.Error(err)
	}
	for wait && len(toldOf[simnet.DaemonStarted](n)) == before {
		if err := n.clock.Sleep(tb.Context(), time.Minute); err != nil {
			tb.Error(err)
			return
		}
	}
}

// TestOneSilentNodeDoesNotHoldUpTheOthers: a node that hangs in the latest step leaves the clean-up time for all other steps and nodes.
func TestOneSilentNodeDoesNotHoldUpTheOthers(t *testing.T) {
	for name, silent := range map[string]func(exchange) (*http.Response, error){
		"hangs": func(x exchange) (*http.Response, error) {
			<-x.Context().Done()
			return nil, x.Context().Err()
		},
		"is down": func(exchange) (*http.Response, error) { return refusedConnection() },
	} {
		t.Run(name, func(t *testing.T) {
			n, _ := newLoadNetwork(t, 6, nil)
			var fell atomic.Bool
			var asked atomic.Int32
			node := n.Nodes()[2]
			e := n.try(script(discoverAndLoadKeys(),
				step("isolate", params{"nodes": n.Nodes()[:3]}), // 2, the silent node among them
				step("set-zkapp-soft-limit", params{"nodes": output(0, "participant"), "limit": 3}),
				paymentsOn(nil), // 4
				failing(),
			), trial{step: func(number int, _ string) { fell.Store(number == 5) }, between: func(x exchange) (*http.Response, error) {
				if x.node == node && fell.Load() {
					asked.Add(1)
					return silent(x)
				}
				return x.pass()
			}, cleanup: 3 * time.Second}).mustEnd(t, orchestrator.CodeRemains)
			if name == "is down" && (asked.Load() < 2 || asked.Load() > 3) { // once in each round; the pauses are 1 s and 2 s
				t.Errorf("the silent node was asked %d times, want once in each of 2 or 3 rounds", asked.Load())
			}
			n.mustBeTrue(t, e)
			mustEqual(t, "undone", []string{
				"step 4 (payments): undone on 5/6", "step 3 (set-zkapp-soft-limit): undone on 5/6", "step 2 (isolate): undone on 2/3",
			}, e.Undone)
			mustEqual(t, "running", map[string]int{node: 1}, nodesOf(n.History().Unstopped()))
			mustEqual(t, "limits", []string{node}, slices.Collect(maps.Keys(n.History().Limits())))
			mustEqual(t, "isolated", []string{node}, slices.Collect(maps.Keys(n.History().Gating())))
			var steps []int
			for _, r := range e.Remains {
				steps = append(steps, r.Step)
				if r.Node != node || r.Why == "" {
					t.Errorf("remains %v, want what is on %s, with a reason", r, node)
				}
			}
			slices.Sort(steps)
			mustEqual(t, "steps of which something remains", []int{2, 3, 4}, steps)
			mustSay(t, e.Err.Error(), "nowhere") // the clean-up's failure does not take the place of the run's
		})
	}
}

// TestANodeComesBackDuringTheCleanUp: it is asked again until it answers.
func TestANodeComesBackDuringTheCleanUp(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	var down atomic.Int32
	node := n.Nodes()[2]
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil), failing()), trial{step: func(number int, _ string) {
		if number == 3 {
			down.Store(3)
		}
	}, between: func(x exchange) (*http.Response, error) {
		if x.node == node && down.Load() > 0 {
			down.Add(-1)
			return refusedConnection()
		}
		return x.pass()
	}, cleanup: time.Minute}).mustEnd(t, orchestrator.CodeStep)
	n.mustBeTrue(t, e)
	n.mustRun(t, 0)
}

// TestAKeyThatIsRefusedIsNotTriedAgain: 401 is final (itn-graphql, section 2.4), so the clean-up does not use up its time on it.
func TestAKeyThatIsRefusedIsNotTriedAgain(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	var fell atomic.Bool
	var asked atomic.Int32
	node := n.Nodes()[2]
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil), failing()), trial{step: func(number int, _ string) { fell.Store(number == 3) },
		between: func(x exchange) (*http.Response, error) {
			if x.node == node && fell.Load() {
				asked.Add(1)
				return answered(x, http.StatusUnauthorized, "Unauthorized")
			}
			return x.pass()
		}}).mustEnd(t, orchestrator.CodeRemains)
	n.mustBeTrue(t, e)
	mustEqual(t, "requests", 1, int(asked.Load()))
	mustEqual(t, "remains", 1, len(e.Remains))
	mustSay(t, e.Remains[0].String(), "--itn-keys", node)
}

// TestStoppedNodesDoNotHoldUpTheCleanUp: what lay in a daemon that the run itself stopped is gone with it, whether it answers or not, and
// though the stop's own reply is lost.
func TestStoppedNodesDoNotHoldUpTheCleanUp(t *testing.T) {
	for name, reply := range map[string]func(n *network, x exchange) (*http.Response, error){
		"answered": func(_ *network, x exchange) (*http.Response, error) { return x.pass() },
		"lost":     func(_ *network, x exchange) (*http.Response, error) { return lostReply(x) },
		"lost behind a restart": func(n *network, x exchange) (*http.Response, error) { // the supervisor was quick
			_, _ = lostReply(x)
			n.restartNode(n.t, x.URL.Hostname(), true)
			return nil, errors.New("connection reset by peer")
		},
	} {
		t.Run(name, func(t *testing.T) {
			var slow *clock.Clock // the ten seconds until a daemon ends must be long enough to ask it what became of the request
			n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) {
				if name == "lost behind a restart" {
					return
				}
				var err error
				if slow, err = clock.Scaled(o.Genesis, 20); err != nil {
					t.Fatal(err)
				}
				o.Clock, o.RestartAfter = slow, -1
			})
			if slow != nil {
				n.clock, n.config.ClockScale = slow, 20
			}
			e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil),
				step("set-zkapp-soft-limit", params{"nodes": output(0, "participant"), "limit": 3}),
				step("stop-daemon", params{"nodes": n.Nodes()[:3]}),
				step("wait", params{"sec": 15}),
				failing(),
			), trial{between: func(x exchange) (*http.Response, error) {
				if x.operation == "stopDaemon" {
					return reply(n, x)
				}
				return x.pass()
			}}).mustEnd(t, orchestrator.CodeStep)
			mustSay(t, e.Err.Error(), "nowhere")
			n.mustBeTrue(t, e)
			mustEqual(t, "undone", []string{"step 3 (set-zkapp-soft-limit): undone on 3/3", "step 2 (payments): undone on 3/3"}, e.Undone)
		})
	}
}

// TestTheCleanUpsTimeIsOver: what remains is listed in words that help.
func TestTheCleanUpsTimeIsOver(t *testing.T) {
	n, _ := newLoadNetwork(t, 3, nil)
	var fell atomic.Bool
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil), failing()), trial{step: func(number int, _ string) { fell.Store(number == 3) },
		between: func(x exchange) (*http.Response, error) {
			if fell.Load() {
				<-x.Context().Done()
				return nil, x.Context().Err()
			}
			return x.pass()
		}, cleanup: 300 * time.Millisecond}).mustEnd(t, orchestrator.CodeRemains)
	n.mustBeTrue(t, e)
	mustEqual(t, "remains", 3, len(e.Remains))
	for _, r := range e.Remains {
		mustSay(t, r.String(), "step 2 (payments) on 127.0.0.", "clean-up", "handle "+r.Handle, "ends by itself at 20")
	}
	mustEqual(t, "undone", []string{"step 2 (payments): undone on 0/3"}, e.Undone)
}

// TestAPanicInAnAction ends the run with the code of an error inside the program, cleaned up.
func TestAPanicInAnAction(t *testing.T) {
	n, _ := newLoadNetwork(t, 3, nil)
	nodes := n.Nodes()[:3]
	for name, test := range map[string]struct {
		step  string
		world func(*orchestrator.World)
	}{
		"onestep": {step("load-keys", params{"dir": "broken"}), func(w *orchestrator.World) { w.Files = brokenFiles{w.Files} }},
		"onenode": {step("set-zkapp-soft-limit", params{"nodes": append(nodes, "127.0.0.99:1"), "limit": 4}), func(w *orchestrator.World) {
			dial := w.Dial
			w.Dial = func(address string) *itn.Client {
				if strings.HasPrefix(address, "127.0.0.99:") {
					panic("no such thing as " + address)
				}
				return dial(address)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e := n.try(script(discoverAndLoadKeys(), paymentsOn(params{"experimentName": name}), test.step), trial{world: test.world}).
				mustEnd(t, orchestrator.CodeInternal)
			mustSay(t, e.Err.Error(), "error inside the program", "step 3")
			mustSay(t, e.log, "goroutine ", "_test.go") // where it was
			n.mustBeTrue(t, e)
			n.mustRun(t, 0)
		})
	}
}

// brokenFiles panics over one directory.
type brokenFiles struct{ orchestrator.Files }

func (f brokenFiles) ReadDir(path string) ([]string, error) {
	if path == "broken" {
		panic("the disk is on fire")
	}
	return f.Files.ReadDir(path)
}

// TestAPanicDuringTheCleanUp is an error inside the program too; what it kept from being undone is reported.
func TestAPanicDuringTheCleanUp(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	var fell atomic.Bool
	node := n.Nodes()[2]
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil), failing()), trial{step: func(number int, _ string) { fell.Store(number == 3) },
		between: func(x exchange) (*http.Response, error) {
			if x.node == node && fell.Load() {
				panic("no way to " + node)
			}
			return x.pass()
		}}).mustEnd(t, orchestrator.CodeRemains)
	n.mustBeTrue(t, e)
	mustEqual(t, "running", map[string]int{node: 1}, nodesOf(n.History().Unstopped()))
	mustSay(t, e.Remains[0].String(), "error inside the program")
}

// TestLostRepliesOfOtherCalls: that a node did what it was asked is found out, and is no failure.
func TestLostRepliesOfOtherCalls(t *testing.T) {
	n, _ := newLoadNetwork(t, 1, func(o *simnet.Options) { o.Nodes = 3 })
	node := n.Nodes()[1]
	seen := map[string]bool{}
	e := n.try(script(step("discovery", params{}),
		step("isolate", params{"nodes": n.Nodes()}),
		step("set-zkapp-soft-limit", params{"nodes": n.Nodes(), "limit": 3}),
	), trial{between: func(x exchange) (*http.Response, error) {
		if x.node == node && (x.operation == "updateGating" || x.operation == "zkAppCommandLimit") && !seen[x.operation] { // one at a time on a node
			seen[x.operation] = true
			return lostReply(x)
		}
		return x.pass()
	}}).mustEnd(t, orchestrator.CodeOK)
	mustEqual(t, "isolated", 3, len(n.History().Gating()))
	mustEqual(t, "limits", map[string]int{n.Nodes()[0]: 3, n.Nodes()[1]: 3, n.Nodes()[2]: 3}, n.History().Limits())
	if len(seen) != 2 {
		t.Errorf("replies were lost of %v, want both operations", seen)
	}
	result, _ := n.stop(e.path, trial{})
	mustEqual(t, "gating and limits", 0, len(n.History().Gating())+len(n.History().Limits()))
	mustEqual(t, "code", orchestrator.CodeOK, result.Code)
}
