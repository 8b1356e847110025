package orchestrator_test

import (
	"fmt"
	"testing"
	"time"

	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
)

func TestStop(t *testing.T) {
	t.Run("load that runs", func(t *testing.T) {
		n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) { o.Old = 2 }) // older nodes choose the handles themselves
		e := n.run(script(
			discoverAndLoadKeys(),
			step("payments", somePayments()),
			step("stop", params{"receipts": output(2, "receipt")}),
			step("wait", params{"min": 2}), // a stop is heeded at the schedule's next tick, 20 s later
		)).mustEnd(t, orchestrator.CodeOK)
		schedules := n.History().Schedules()
		mustGiveOut(t, e, 2, schedules)
		for _, s := range schedules {
			if s.Ended == nil || s.Ended.Reason != simnet.EndStopped {
				t.Errorf("%s on %s ended with %v", s.Handle, s.Node, s.Ended)
			}
		}
	})

	t.Run("load that has ended (D39)", func(t *testing.T) {
		n, _ := newLoadNetwork(t, 6, nil)
		first := n.run(script(
			discoverAndLoadKeys(),
			step("payments", somePayments().with(params{"durationMin": 1, "tps": 6})),
			step("wait", params{"min": 3}),
			step("stop", params{"receipts": output(2, "receipt")}),
		)).mustEnd(t, orchestrator.CodeOK)
		// Another run does not know when the load ends, and has to ask.
		writeFile(t, "first.out", first.out)
		n.run(step("stop", params{"receipts": output(2, "receipt").with(params{"file": "first.out"})})).mustEnd(t, orchestrator.CodeOK)
		for _, s := range n.History().Schedules() {
			if s.Ended == nil || s.Ended.Reason != simnet.EndExpired {
				t.Errorf("%s on %s ended with %v", s.Handle, s.Node, s.Ended)
			}
		}
	})

	t.Run("load that was stopped before", func(t *testing.T) {
		n, _ := newLoadNetwork(t, 2, nil)
		n.run(script(
			discoverAndLoadKeys(),
			step("payments", somePayments()),
			step("join", params{"group1": output(2, "receipt"), "group2": output(2, "receipt")}), // each twice
			step("stop", params{"receipts": output(3, "group")}),
			step("stop", params{"receipts": output(3, "group")}),
		)).mustEnd(t, orchestrator.CodeOK)
		if left := n.History().Unstopped(); len(left) > 0 {
			t.Errorf("not stopped: %v", left)
		}
	})

	t.Run("load whose daemon the script stopped", func(t *testing.T) {
		n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) { o.RestartAfter = -1 })
		down := n.Nodes()[4]
		n.run(script(
			discoverAndLoadKeys(),
			step("payments", somePayments()),
			step("stop-daemon", params{"nodes": []string{down}}),
			step("wait", params{"min": 1}),
			step("stop", params{"receipts": output(2, "receipt")}),
		)).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "down", []string{down}, n.History().Down())
		if left := n.History().Unstopped(); len(left) > 0 {
			t.Errorf("not stopped: %v", left)
		}
	})

	t.Run("load that has ended on a node that is down", func(t *testing.T) {
		n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) { o.RestartAfter = 1000 * time.Hour })
		n.run(script(
			discoverAndLoadKeys(),
			step("payments", somePayments().with(params{"durationMin": 1, "tps": 6})),
			step("wait", params{"min": 3}),
			step("stop", params{"receipts": output(2, "receipt")}),
		), when("load placed", func() {
			if err := n.Restart(t.Context(), n.Hosts()[2], false); err != nil {
				t.Error(err)
			}
		})).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "down", n.Nodes()[2:3], n.History().Down())
	})

	t.Run("all are tried", func(t *testing.T) {
		n, _ := newLoadNetwork(t, 2, nil)
		nobody := fmt.Sprintf("127.0.0.1:%d", freePort(t))
		e := n.run(script(
			discoverAndLoadKeys(),
			step("payments", somePayments()),
			step("join", params{
				"group1": []orchestrator.Receipt{{Address: nobody, Handle: "00000000-0000-4000-8000-000000000000"}, {Address: n.Nodes()[0], Handle: "no-handle"}},
				"group2": output(2, "receipt"),
			}),
			step("stop", params{"receipts": output(3, "group")}),
		)).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), nobody, "no-handle")
		if left := n.History().Unstopped(); len(left) > 0 {
			t.Errorf("not stopped: %v", left)
		}
		requested := map[string]int{}
		for _, stop := range toldOf[simnet.StopRequested](n) {
			requested[stop.fact.Handle]++
		}
		for handle, times := range requested {
			if times != 1 {
				t.Errorf("%s was stopped %d times: the step did not do it", handle, times)
			}
		}
	})
}

func TestStopAllScheduled(t *testing.T) {
	// Two loads: that of an earlier run, which is somebody else's, and the run's own.
	start := func(t *testing.T, older int) (n *network, theirs []simnet.Schedule) {
		t.Helper()
		n, _ = newLoadNetwork(t, 12, func(o *simnet.Options) { o.Old = older })
		load := step("load-keys", params{"dir": "keys", "limit": 6})
		n.run(script(step("discovery", params{}), load, step("payments", somePayments()))).mustEnd(t, orchestrator.CodeOK)
		theirs = n.History().Schedules()
		mustEqual(t, "schedules of the earlier run", 6, len(theirs))
		return n, theirs
	}
	own := script(
		discoverAndLoadKeys(),
		step("payments", somePayments().with(params{"experimentName": "own"})),
	)
	handles := func(schedules []simnet.Schedule, choose func(simnet.Schedule) bool) []string {
		var found []string
		for _, s := range schedules {
			if choose(s) {
				found = append(found, s.Node+" "+s.Handle)
			}
		}
		return sorted(found)
	}
	isOwn := func(s simnet.Schedule) bool { return s.MemoPrefix[:3] == "own" }
	stoppedBy := func(t *testing.T, e ending, step int) []string {
		t.Helper()
		var found []string
		for _, r := range outputsOf[orchestrator.Receipt](t, e, step, "receipt") {
			found = append(found, r.Address+" "+r.Handle)
		}
		return sorted(found)
	}

	t.Run("without nodes, the run's own load", func(t *testing.T) {
		n, theirs := start(t, 2)
		e := n.run(script(own, step("stop-all-scheduled", params{}))).mustEnd(t, orchestrator.CodeOK)
		history := n.History()
		mustEqual(t, "given out as stopped", handles(history.Schedules(), isOwn), stoppedBy(t, e, 3))
		all := func(simnet.Schedule) bool { return true }
		mustEqual(t, "still running", handles(theirs, all), handles(history.Unstopped(), all))
	})

	t.Run("with nodes, all that they list", func(t *testing.T) {
		n, _ := start(t, 0)
		nodes := n.Nodes()[:2]
		e := n.run(script(own, step("stop-all-scheduled", params{"nodes": nodes}))).mustEnd(t, orchestrator.CodeOK)
		history := n.History()
		onThem := func(s simnet.Schedule) bool { return s.Node == nodes[0] || s.Node == nodes[1] }
		notOnThem := func(s simnet.Schedule) bool { return !onThem(s) }
		mustEqual(t, "given out as stopped", handles(history.Schedules(), onThem), stoppedBy(t, e, 3))
		mustEqual(t, "still running", handles(history.Schedules(), notOnThem), handles(history.Unstopped(), notOnThem))
		mustEqual(t, "still running on the nodes", nil, handles(history.Unstopped(), onThem))
	})

	t.Run("with older nodes, the run's own load on them", func(t *testing.T) {
		n, _ := start(t, 2)
		nodes := n.Nodes()[3:5] // the second one is older
		e := n.run(script(own, step("stop-all-scheduled", params{"nodes": nodes}))).mustEnd(t, orchestrator.CodeOK)
		history := n.History()
		want := func(s simnet.Schedule) bool { return s.Node == nodes[0] || s.Node == nodes[1] && isOwn(s) }
		mustEqual(t, "given out as stopped", handles(history.Schedules(), want), stoppedBy(t, e, 3))
		mustEqual(t, "still running", handles(history.Schedules(), func(s simnet.Schedule) bool { return !want(s) }),
			handles(history.Unstopped(), func(simnet.Schedule) bool { return true }))
		mustSay(t, e.log, "an older daemon does not list its load")
	})

	t.Run("with a list without nodes, nothing", func(t *testing.T) {
		n, _ := start(t, 0)
		n.run(script(
			own,
			step("except", params{"group": n.Nodes(), "except": n.Nodes()}),
			step("stop-all-scheduled", params{"nodes": output(-1, "group").or([]string{})}),
		)).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "still running", 12, len(n.History().Unstopped()))
	})

	t.Run("a node that does not answer fails the step", func(t *testing.T) {
		n, _ := start(t, 0)
		nobody := fmt.Sprintf("127.0.0.1:%d", freePort(t))
		e := n.run(step("stop-all-scheduled", params{"nodes": []string{nobody, n.Nodes()[0]}})).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), nobody)
		mustEqual(t, "still running", 5, len(n.History().Unstopped()))
	})
}
