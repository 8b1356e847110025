package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"provingground/internal/clock"
	"provingground/orchestrator"
	"provingground/orchestrator/record"
	"provingground/orchestrator/simnet"
)

// faulty returns a change of a network's options: these faults, and so many older nodes.
func faulty(t *testing.T, faults string, old int) func(*simnet.Options) {
	t.Helper()
	parsed, err := simnet.ParseFaults(faults)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *simnet.Options) { o.Faults, o.Old = parsed, old }
}

// placedLine is what a run records of the rate that a step placed.
type placedLine struct {
	Asked, Placed, Unknown, Unplaced string
	Nodes                            int
}

// TestARefusedShareGoesToAnUnusedNode: three of six nodes are to carry the load, and the first two that are asked refuse (D34 to D36).
func TestARefusedShareGoesToAnUnusedNode(t *testing.T) {
	n, keys := newLoadNetwork(t, 7, faulty(t, "refuse-schedule:*/schedulePayments#2", 0))
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(params{"minTps": 0.2})), trial{}).mustEnd(t, orchestrator.CodeOK)
	n.mustBeTrue(t, e)
	running := n.mustRun(t, 3)
	if on := nodesOf(running); len(on) != 3 {
		t.Errorf("schedules on %v, want three nodes with one each", on)
	}
	for _, refusal := range toldOf[simnet.ScheduleRefused](n) {
		if slices.ContainsFunc(running, func(s simnet.Schedule) bool { return s.Node == refusal.node }) {
			t.Errorf("node %s refused and was asked again", refusal.node)
		}
	}
	mustEqual(t, "keys in use", sorted(keys), sendersOf(running))
	mustEqual(t, "report", []placedLine{{Asked: "0.6", Placed: "0.6", Nodes: 3}}, outputsOf[placedLine](t, e, 2, "_placed"))
	mustEqual(t, "receipts", 3, len(outputsOf[orchestrator.Receipt](t, e, 2, "receipt")))
	mustEqual(t, "requests", 5, n.countOf("schedulePayments"))
}

// TestSecondBatches: all six nodes are to carry the load, two refuse, and no other is left but those that carry a share already.
func TestSecondBatches(t *testing.T) {
	n, keys := newLoadNetwork(t, 12, faulty(t, "refuse-schedule:127.0.0.2; refuse-schedule:127.0.0.5", 0))
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil)), trial{}).mustEnd(t, orchestrator.CodeOK)
	n.mustBeTrue(t, e)
	running := n.mustRun(t, 6)
	most := slices.Max(slices.Collect(maps.Values(nodesOf(running))))
	if len(nodesOf(running)) != 4 || most != 2 {
		t.Errorf("schedules on %v, want four nodes, two of them with two", nodesOf(running))
	}
	mustEqual(t, "keys in use", sorted(keys), sendersOf(running))
	mustEqual(t, "requests", 8, n.countOf("schedulePayments"))
}

// TestTooLittlePlaced: two of three nodes refuse, so that one share finds no place. What was placed is stopped, and reported (D37).
func TestTooLittlePlaced(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) {
		faulty(t, "refuse-schedule:127.0.0.2; refuse-schedule:127.0.0.3", 0)(o)
		o.Nodes = 3
	})
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil)), trial{}).mustEnd(t, orchestrator.CodeStep)
	mustSay(t, e.Err.Error(), "only 0.4 of 0.6 tps", "minPlaced", "step 2")
	mustEqual(t, "report", []placedLine{{Asked: "0.6", Placed: "0.4", Unplaced: "0.2", Nodes: 1}}, outputsOf[placedLine](t, e, 2, "_placed"))
	mustEqual(t, "undone", []string{"step 2 (payments): undone on 2/2"}, e.Undone)
	n.mustBeTrue(t, e)
	n.mustRun(t, 0)

	e = n.try(script(discoverAndLoadKeys(), paymentsOn(params{"experimentName": "few", "minPlaced": 0.6})), trial{}).mustEnd(t, orchestrator.CodeOK)
	n.mustBeTrue(t, e)
	n.mustRun(t, 2)
}

// TestEveryNodeRefuses: nothing is placed, and each node was asked once.
func TestEveryNodeRefuses(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, faulty(t, "refuse-schedule:*", 0))
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(params{"minTps": 0.2})), trial{}).mustEnd(t, orchestrator.CodeStep)
	mustSay(t, e.Err.Error(), "no node carries any of the load of 0.6 tps")
	mustEqual(t, "requests", 6, n.countOf("schedulePayments"))
	n.mustBeTrue(t, e)
	n.mustRun(t, 0)
}

// TestARefusalThatEveryNodeWouldRepeat ends the step with the request that met it.
func TestARefusalThatEveryNodeWouldRepeat(t *testing.T) {
	n, _ := newLoadNetwork(t, 3, nil)
	var asked atomic.Int32
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(params{"minTps": 0.6})), trial{between: func(x exchange) (*http.Response, error) {
		if x.schedules() {
			asked.Add(1)
			return answered(x, http.StatusOK, `{"errors":[{"message":"Maximum fee less than mininum fee","path":["schedulePayments"]}],"data":null}`)
		}
		return x.pass()
	}}).mustEnd(t, orchestrator.CodeStep)
	mustSay(t, e.Err.Error(), "Maximum fee less than mininum fee")
	if asked.Load() != 1 {
		t.Errorf("%d nodes were asked for what none will do", asked.Load())
	}

	// A memo that cannot fit is seen before anything is sent, also where the name is known at run time only.
	long := `{"time":"2024-05-01T10:00:00Z","step":0,"name":"experiment","value":"` + strings.Repeat("long", 8) + "\"}\n"
	if err := os.WriteFile("earlier.out", []byte(long), 0o600); err != nil {
		t.Fatal(err)
	}
	name := output(0, "experiment").with(params{"file": "earlier.out"})
	e = n.try(script(discoverAndLoadKeys(), paymentsOn(params{"experimentName": name})), trial{}).mustEnd(t, orchestrator.CodeStep)
	mustSay(t, e.Err.Error(), "shorten experimentName")
	mustEqual(t, "requests", 0, n.countOf("schedulePayments"))
	n.mustBeTrue(t, e)
}

// TestNobodyListens: one of the addresses is that of no node.
func TestNobodyListens(t *testing.T) {
	n, keys := newLoadNetwork(t, 7, nil)
	_, port, err := net.SplitHostPort(n.Nodes()[0])
	if err != nil {
		t.Fatal(err)
	}
	nowhere := net.JoinHostPort("127.0.0.250", port)
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(params{"nodes": append(n.Nodes(), nowhere)})), trial{}).mustEnd(t, orchestrator.CodeOK)
	n.mustBeTrue(t, e)
	mustEqual(t, "keys in use", sorted(keys), sendersOf(n.mustRun(t, 6)))
	mustSay(t, e.log, "does not carry its share", nowhere)
}

// TestAHungNode answers nothing to a scheduling request: the request ends after its time-out (D25), and the node is asked what became of it.
func TestAHungNode(t *testing.T) {
	n, keys := newLoadNetwork(t, 6, faulty(t, "hang:127.0.0.4/schedulePayments", 0))
	n.config.RequestTimeout = time.Second
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil)), trial{}).mustEnd(t, orchestrator.CodeOK)
	n.mustBeTrue(t, e)
	mustEqual(t, "keys in use", sorted(keys), sendersOf(n.mustRun(t, 6)))
	mustSay(t, e.log, "did not answer schedulePayments within 1s", "not accepted")
}

// TestLostReplies: one node's answer to a scheduling request does not arrive. Whether it did what it was asked for decides what becomes of
// the share (D26, D35).
func TestLostReplies(t *testing.T) {
	for _, test := range []struct {
		fault string
		acted bool
	}{
		{"lose-request", false}, {"status", false},
		{"lose-reply", true}, {"status-after", true}, {"cut-body", true},
	} {
		for _, old := range []int{0, 6} {
			t.Run(fmt.Sprintf("%s, %d older nodes", test.fault, old), func(t *testing.T) {
				text := test.fault + ":127.0.0.3/schedulePayments"
				if strings.HasPrefix(test.fault, "status") {
					text += "=502"
				}
				n, keys := newLoadNetwork(t, 6, faulty(t, text+"#1", old))
				e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil)), trial{}).mustEnd(t, orchestrator.CodeOK)
				n.mustBeTrue(t, e)
				running := n.mustRun(t, 6)
				mustEqual(t, "keys in use", sorted(keys), sendersOf(running))
				mustEqual(t, "report", []placedLine{{Asked: "0.6", Placed: "0.6", Nodes: len(nodesOf(running))}},
					outputsOf[placedLine](t, e, 2, "_placed"))

				wantNodes, wantReceipts := 6, 6
				switch {
				case !test.acted: // the share went to a node that has one already
					wantNodes = 5
				case old > 0: // the node accepted it and told its handle to nobody
					wantReceipts = 5
				}
				mustEqual(t, "nodes", wantNodes, len(nodesOf(running)))
				receipts := outputsOf[orchestrator.Receipt](t, e, 2, "receipt")
				mustEqual(t, "receipts", wantReceipts, len(receipts))
				mustEqual(t, "participants", 6, len(outputsOf[string](t, e, 2, "participant")))
				for _, r := range receipts {
					if !slices.ContainsFunc(running, func(s simnet.Schedule) bool { return s.Node == r.Address && s.Handle == r.Handle }) {
						t.Errorf("the receipt %+v is of nothing that runs", r)
					}
				}

				// stop stops all of it but what has no handle, and that is reported with its end.
				result, _ := n.stop(e.path, trial{})
				n.mustBeReported(t, result)
				if want := 6 - wantReceipts; len(result.Remains) != want || len(n.History().Unstopped()) != want {
					t.Errorf("remains %v, runs %v, want %d of each", result.Remains, n.History().Unstopped(), want)
				}
				for _, r := range result.Remains {
					mustSay(t, r.String(), "127.0.0.3", "handle is not known", "ends by itself at")
				}
			})
		}
	}
}

// TestTheReplyToARefusalIsLost: that the daemon has accepted a request's number does not mean that it does what was asked.
func TestTheReplyToARefusalIsLost(t *testing.T) {
	n, keys := newLoadNetwork(t, 6, faulty(t, "refuse-schedule:127.0.0.3; lose-reply:127.0.0.3/schedulePayments#1", 0))
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil)), trial{}).mustEnd(t, orchestrator.CodeOK)
	n.mustBeTrue(t, e)
	mustEqual(t, "keys in use", sorted(keys), sendersOf(n.mustRun(t, 6)))
	mustEqual(t, "receipts", 6, len(outputsOf[orchestrator.Receipt](t, e, 2, "receipt")))
}

// TestSequencing: a number that is refused once is put right, one that is refused twice is a refusal by that node.
func TestSequencing(t *testing.T) {
	for _, test := range []struct {
		faults string
		nodes  int // at least
	}{
		{"412:127.0.0.3/schedulePayments#1", 6},
		{"412:127.0.0.3/schedulePayments#2", 5},
		{"restart-before:127.0.0.3/schedulePayments#1", 5}, // 412, unless the connection breaks with the daemon
		{"status:127.0.0.3/schedulePayments=400#1", 5},
	} {
		t.Run(test.faults, func(t *testing.T) {
			n, keys := newLoadNetwork(t, 6, faulty(t, test.faults, 0))
			e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil)), trial{}).mustEnd(t, orchestrator.CodeOK)
			n.mustBeTrue(t, e)
			running := n.mustRun(t, 6)
			mustEqual(t, "keys in use", sorted(keys), sendersOf(running))
			if len(nodesOf(running)) < test.nodes {
				t.Errorf("%d nodes carry load, want at least %d", len(nodesOf(running)), test.nodes)
			}
			mustEqual(t, "report", []placedLine{{Asked: "0.6", Placed: "0.6", Nodes: len(nodesOf(running))}}, outputsOf[placedLine](t, e, 2, "_placed"))
		})
	}
}

// TestANodeRestartsBetweenAuthAndCall: the next request meets another daemon, which says 412; it is asked again under the new number.
func TestANodeRestartsBetweenAuthAndCall(t *testing.T) {
	n, keys := newLoadNetwork(t, 6, nil)
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil)), trial{step: func(_ int, action string) {
		if action == "payments" {
			n.restartNode(t, "127.0.0.3", true)
		}
	}}).mustEnd(t, orchestrator.CodeOK)
	n.mustBeTrue(t, e)
	running := n.mustRun(t, 6)
	mustEqual(t, "nodes", 6, len(nodesOf(running)))
	mustEqual(t, "keys in use", sorted(keys), sendersOf(running))
	if !slices.ContainsFunc(toldOf[simnet.RequestAnswered](n), func(a told[simnet.RequestAnswered]) bool {
		return a.fact.Outcome == simnet.OutcomeSequencing && strings.HasPrefix(a.node, "127.0.0.3:")
	}) {
		t.Error("no request was refused for its number")
	}
	mustEqual(t, "intents of the restarted node", 2, strings.Count(e.out, `"node":"`+n.Nodes()[1]+`"`))
}

// silence makes one node take a scheduling request and then say nothing of use, so that nobody knows what became of it, until it is over.
type silence struct {
	node string
	acts bool // it does what it was asked
	over atomic.Bool
	fell atomic.Bool
}

func (s *silence) between(x exchange) (*http.Response, error) {
	switch {
	case x.node != s.node || s.over.Load():
		return x.pass()
	case s.fell.Load():
		return answered(x, http.StatusUnauthorized, "Unauthorized") // somebody else listens there now
	case x.schedules():
		s.fell.Store(true)
		if s.acts {
			return lostReply(x)
		}
		return nil, errors.New("connection reset by peer")
	}
	return x.pass()
}

// TestNobodyKnows: a node takes a share's request and is not heard of again. The share's keys are used nowhere else; what may run is
// reported with its end, and when the node is back the clean-up finds out.
func TestNobodyKnows(t *testing.T) {
	for _, test := range []struct {
		acts bool
		old  int
		left int // load that stop cannot stop
	}{{true, 0, 0}, {false, 0, 0}, {true, 6, 1}, {false, 6, 0}} {
		t.Run(fmt.Sprintf("acted %v, %d older nodes", test.acts, test.old), func(t *testing.T) {
			n, keys := newLoadNetwork(t, 6, func(o *simnet.Options) { o.Old = test.old })
			quiet := &silence{node: n.Nodes()[2], acts: test.acts}
			e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil)), trial{between: quiet.between, cleanup: time.Second}).
				mustEnd(t, orchestrator.CodeRemains)
			mustSay(t, e.Err.Error(), "only 0.5 of 0.6 tps")
			mustEqual(t, "report", []placedLine{{Asked: "0.6", Placed: "0.5", Unknown: "0.1", Nodes: 5}}, outputsOf[placedLine](t, e, 2, "_placed"))
			n.mustBeTrue(t, e)
			used := map[string]bool{}
			for _, s := range n.History().Schedules() {
				for _, key := range s.Senders {
					if used[key] {
						t.Errorf("the key %s was used again", key)
					}
					used[key] = true
				}
			}
			want := len(keys)
			if !test.acts {
				want--
			}
			mustEqual(t, "keys used", want, len(used))
			if len(e.Remains) != 1 || e.Remains[0].Node != quiet.node || e.Remains[0].Ends.IsZero() {
				t.Fatalf("remains %v, want what the silent node may run, with its end", e.Remains)
			}

			quiet.over.Store(true)
			for range 2 { // asking twice claims nothing else
				result, _ := n.stop(e.path, trial{between: quiet.between})
				n.mustBeReported(t, result)
				n.mustRun(t, test.left)
				if len(result.Remains) != test.left {
					t.Errorf("remains %v, want %d", result.Remains, test.left)
				}
			}
			written, err := os.ReadFile(e.path)
			if err != nil {
				t.Fatal(err)
			}
			if test.left > 0 { // what was found out is written down, for asking uses up the request's number
				mustSay(t, string(written), `"result":"accepted"`)
			}
		})
	}
}

// TestWhatMayRunIsOverAtItsEnd: exit code 5 stands as long as load may run, and not after its end.
func TestWhatMayRunIsOverAtItsEnd(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) { o.Old = 6 })
	quiet := &silence{node: n.Nodes()[2], acts: true}
	short := params{"durationMin": 1}
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(short)), trial{between: quiet.between, cleanup: time.Millisecond}).mustEnd(t, orchestrator.CodeRemains)
	n.mustBeReported(t, e.Result)
	if err := n.clock.Until(t.Context(), n.clock.FromWall(e.Remains[0].Ends)); err != nil {
		t.Fatal(err)
	}
	n.mustRun(t, 0) // or its end was told too early
	result, _ := n.stop(e.path, trial{between: quiet.between})
	if result.Code != orchestrator.CodeOK || len(result.Remains) > 0 {
		t.Errorf("after the end of the load: code %d, %v remains", result.Code, result.Remains)
	}
}

// TestLoadThatEndsDuringTheCleanUp remains no longer when the clean-up is over, also where it could not be stopped.
func TestLoadThatEndsDuringTheCleanUp(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) { o.Old = 6 })
	var lost, down atomic.Bool
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(params{"durationMin": 5}), failing()), trial{
		step: func(number int, _ string) { down.Store(number == 3) },
		between: func(x exchange) (*http.Response, error) {
			switch {
			case x.node == n.Nodes()[2] && x.schedules() && !lost.Swap(true): // it runs, and nobody knows its handle
				return lostReply(x)
			case x.node == n.Nodes()[3] && down.Load(): // it is asked again a second later, when all load is over
				return refusedConnection()
			}
			return x.pass()
		},
	}).mustEnd(t, orchestrator.CodeStep)
	n.mustBeTrue(t, e)
	mustEqual(t, "undone", []string{"step 2 (payments): undone on 6/6"}, e.Undone)
}

// TestAShareThatArrivesLate: a slow node begins its load long after the run wrote down its intent; the end that is reported must not be
// too early for it.
func TestAShareThatArrivesLate(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) { o.Old = 6 })
	n.config.RequestTimeout = time.Second
	node := n.Nodes()[2]
	var turnedAway, lost atomic.Bool
	hold := func(x exchange) {
		timer := time.NewTimer(700 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-x.Context().Done():
		}
	}
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(params{"durationMin": 1}), failing()), trial{between: func(x exchange) (*http.Response, error) {
		switch {
		case x.node != node || lost.Load() || !x.schedules() && !turnedAway.Load():
			return x.pass()
		case x.schedules() && !turnedAway.Swap(true):
			hold(x)
			return answered(x, http.StatusPreconditionFailed, "Invalid sequence number")
		case x.schedules():
			hold(x)
			lost.Store(true)
			return lostReply(x)
		}
		hold(x)
		return x.pass()
	}, cleanup: time.Millisecond}).mustEnd(t, orchestrator.CodeRemains)
	n.mustBeTrue(t, e)
}

// TestANodeRestartsUnderItsLoad: its load is gone with the daemon, and neither the script's stop nor the clean-up minds (D39).
func TestANodeRestartsUnderItsLoad(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	restart := func(_ int, action string) {
		if action == "wait" {
			if err := n.Restart(t.Context(), "127.0.0.3", false); err != nil {
				t.Error(err)
			}
		}
	}
	text := script(discoverAndLoadKeys(), paymentsOn(nil), step("wait", params{"min": 10}), step("stop", params{"receipts": output(2, "receipt")}))
	e := n.try(text, trial{step: restart}).mustEnd(t, orchestrator.CodeOK)
	n.mustBeTrue(t, e)
	n.mustRun(t, 0)

	e = n.try(script(discoverAndLoadKeys(), paymentsOn(params{"experimentName": "b"}), step("wait", params{"min": 10}), failing()), trial{step: restart}).
		mustEnd(t, orchestrator.CodeStep)
	n.mustBeTrue(t, e)
	mustEqual(t, "undone", []string{"step 2 (payments): undone on 6/6"}, e.Undone)
}

// TestANodeDiesUnderItsLoad and does not come back: the others' load is stopped, its own is reported with its end.
func TestANodeDiesUnderItsLoad(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	var dead atomic.Bool
	node := n.Nodes()[1]
	e := n.try(script(discoverAndLoadKeys(), paymentsOn(nil), step("wait", params{"min": 1}), step("stop", params{"receipts": output(2, "receipt")})), trial{
		step: func(_ int, action string) { dead.Store(action == "wait" || action == "stop") },
		between: func(x exchange) (*http.Response, error) {
			if x.node == node && dead.Load() {
				return refusedConnection()
			}
			return x.pass()
		},
		cleanup: 2 * time.Second,
	}).mustEnd(t, orchestrator.CodeRemains)
	n.mustBeTrue(t, e)
	n.mustRun(t, 1)
	if len(e.Remains) != 1 || e.Remains[0].Node != node || e.Remains[0].Handle == "" || e.Remains[0].Ends.IsZero() {
		t.Errorf("remains %v, want the dead node's load with handle and end", e.Remains)
	}
	mustSay(t, e.Remains[0].String(), "connection refused")
	result, _ := n.stop(e.path, trial{})
	if result.Code != orchestrator.CodeOK {
		t.Errorf("when the node is back, stop ends with %d: %v", result.Code, result.Remains)
	}
	n.mustRun(t, 0)
}

// TestKeysOfLoadThatNobodyCanStop: a later step leaves them out as long as that load may run, also when it is resumed half way (D35).
func TestKeysOfLoadThatNobodyCanStop(t *testing.T) {
	for name, losing := range map[string]func(node string) func(exchange) (*http.Response, error){
		"unknown": func(node string) func(exchange) (*http.Response, error) {
			return (&silence{node: node, acts: true}).between
		},
		"accepted": func(node string) func(exchange) (*http.Response, error) {
			var lost atomic.Bool
			return func(x exchange) (*http.Response, error) {
				if x.node == node && x.schedules() && !lost.Swap(true) {
					return lostReply(x)
				}
				return x.pass()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, keys := newLoadNetwork(t, 6, func(o *simnet.Options) { o.Old = 6 })
			mostly := params{"minPlaced": 0.5}
			text := script(discoverAndLoadKeys(), paymentsOn(mostly), step("stop", params{"receipts": output(2, "receipt")}), paymentsOn(mostly))
			between := losing(n.Nodes()[2])
			ctx, kill := context.WithCancel(t.Context())
			m := &mortal{kill: kill, when: func(line string) bool {
				return strings.Contains(line, `"step":4`) && strings.Contains(line, "_settled")
			}}
			n.try(text, trial{
				ctx: ctx, cleanup: time.Millisecond, file: func(record.File) record.File { return m },
				between: func(x exchange) (*http.Response, error) {
					if m.dead.Load() {
						return m.between(x)
					}
					return between(x)
				},
			})
			if err := os.WriteFile("cut.record", m.text.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			recorded, err := orchestrator.ReadRecord("cut.record")
			if err != nil {
				t.Fatal(err)
			}
			// By the time it goes on that load may be over; the shares of the step must be the same all the same.
			later, err := clock.Scaled(n.config.Genesis.Add(-time.Hour), n.config.ClockScale)
			if err != nil {
				t.Fatal(err)
			}
			e := n.try(text, trial{between: between, resume: recorded, world: func(w *orchestrator.World) { w.Clock = later }}).
				mustEnd(t, orchestrator.CodeOK)
			n.mustBeTrue(t, e)
			mustEqual(t, "keys in use", sorted(keys), sendersOf(n.History().Unstopped())) // each once, the lost one in the first load
			held := outputsOf[[]string](t, e, 4, "_held")
			if len(held) != 1 || len(held[0]) != 1 {
				t.Errorf("left out %v, want one key", held)
			}
			mustSay(t, e.log, "fee payers are left out")
			mustEqual(t, "report", "0.6", outputsOf[placedLine](t, e, 4, "_placed")[0].Placed)

			// When no other is left, the step says so, and until when.
			n, _ = newLoadNetwork(t, 1, func(o *simnet.Options) { o.Old = 6 })
			alone := params{"minPlaced": 0, "nodes": n.Nodes()[2:3]}
			e = n.try(script(discoverAndLoadKeys(), paymentsOn(alone), paymentsOn(alone)), trial{between: losing(n.Nodes()[2]), cleanup: time.Millisecond})
			if name == "accepted" {
				e.mustEnd(t, orchestrator.CodeRemains)
				mustSay(t, e.Err.Error(), "step 3", "load that nobody can stop may use all the fee payers, until 20")
			}
			n.mustBeTrue(t, e)
		})
	}
}
