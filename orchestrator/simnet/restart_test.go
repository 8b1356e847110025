package simnet_test

import (
	"errors"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/orchestrator/simnet"
)

// refusesConnections reports whether a connection to a node fails as one to a closed port does.
func (w *world) refusesConnections(address string) bool {
	w.Helper()
	_, err := (&client{TB: w.TB, address: address, transport: w.Transport()}).send(false, `{ auth { serverUuid } }`, nil)
	var dial *net.OpError
	if err != nil && (!errors.As(err, &dial) || dial.Op != "dial" || !errors.Is(err, syscall.ECONNREFUSED)) {
		w.Fatalf("the connection failed otherwise: %v", err)
	}
	return err != nil
}

func TestRestartForgetsEverything(t *testing.T) {
	senders := keys(t, 2)
	inVirtualTime(t, simnet.Options{Nodes: 3, Producers: 2, Slot: 10 * time.Second, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		address := w.Nodes()[0]
		node := w.client(address)
		before := *node
		handle := node.text(schedulePayments, payments(senders, nil))
		node.must(setLimit, map[string]any{"limit": 3})
		node.text(updateGating, gating(true))
		if text := node.text(stopDaemon, map[string]any{"clean": nil}); text != "Stopping daemon in 5 seconds" {
			t.Errorf("answered %s", text)
		}
		w.pass(4999 * time.Millisecond)
		if w.refusesConnections(address) {
			t.Error("the daemon stopped before its delay was over")
		}
		w.pass(time.Millisecond)
		stopped := w.clock.Now()
		if !w.refusesConnections(address) {
			t.Fatal("the daemon still runs after its delay")
		}
		if down := w.History().Down(); !slices.Equal(down, []string{address}) {
			t.Errorf("down: %v", down)
		}
		if running := w.History().Running(); len(running) != 0 {
			t.Errorf("a schedule outlived its daemon: %+v", running)
		}
		ended := facts[simnet.ScheduleEnded](w.History())
		if len(ended) != 1 || ended[0].Handle != handle || ended[0].Reason != simnet.EndKilled {
			t.Errorf("ends: %+v", ended)
		}
		if len(w.History().Limits()) != 0 || len(w.History().Gating()) != 0 {
			t.Error("limit or gating outlived the daemon in the journal")
		}
		w.pass(20*time.Second - time.Millisecond)
		if !w.refusesConnections(address) {
			t.Error("the node came back before two slots were over")
		}
		w.pass(time.Millisecond)
		node = w.client(address)
		if node.uuid == before.uuid || node.next != 0 {
			t.Errorf("after the restart UUID %s (before %s) and number %d", node.uuid, before.uuid, node.next)
		}
		if text := string(node.must(listScheduled, nil)); text != "[]" {
			t.Errorf("schedules after the restart: %s", text)
		}
		if first := node.logs(1)[0]; first.ID != 1 || first.Timestamp != stopped.Add(20*time.Second).Format("2006-01-02 15:04:05.000000Z") {
			t.Errorf("the new log begins with %+v", first)
		}
		// It catches up after the latency.
		w.pass(time.Second)
		if w.Tip(address) != w.Tip(w.Nodes()[2]) {
			t.Error("the node did not catch up")
		}
		if after := before; !after.isSequencingRefused() {
			t.Error("the old UUID is still good")
		}
		if starts := len(facts[simnet.DaemonStarted](w.History())); starts != 4 {
			t.Errorf("%d daemons were started, want 3 at the start and 1 again", starts)
		}
	})
}

// isSequencingRefused reports whether a request with the client's UUID and number is answered 412.
func (c *client) isSequencingRefused() bool {
	read, err := c.send(true, listScheduled, nil)
	if err != nil {
		c.Fatal(err)
	}
	return read.status == 412
}

func TestCleaningThrowsTheChainAway(t *testing.T) {
	senders := keys(t, 1)
	inVirtualTime(t, simnet.Options{Nodes: 2, Producers: 1, Slot: 10 * time.Second, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		w.pass(time.Minute)
		address := w.Nodes()[1]
		if text := w.client(address).text(stopDaemon, map[string]any{"clean": true}); !strings.HasPrefix(text, "Stopping daemon in 5 seconds, will clean configuration directory ") {
			t.Errorf("answered %s", text)
		}
		w.pass(5*time.Second + 100*time.Second - time.Millisecond)
		if !w.refusesConnections(address) {
			t.Error("the node came back before ten slots were over")
		}
		w.pass(time.Millisecond)
		node := w.client(address)
		if message := node.refused(schedulePayments, payments(senders, nil)); message != "Could not get best tip ledger" {
			t.Errorf("a node without chain answers %s", message)
		}
		zkapp := zkapps(senders, nil)
		if message := node.refused(scheduleZkapps, zkapp); message != "Could not get best tip ledger" {
			t.Errorf("a node without chain answers %s", message)
		}
		w.pass(time.Second)
		if w.Tip(address) == "" || w.Tip(address) != w.Tip(w.Nodes()[0]) {
			t.Error("the node did not fetch the chain")
		}
		node.text(schedulePayments, payments(senders, nil))
	})
}

func TestWhatEndsADaemonEarlierStillCleans(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 2, Producers: 1, Slot: time.Minute}, func(w *world) {
		address := w.Nodes()[1]
		w.client(address).text(stopDaemon, map[string]any{"clean": true})
		if err := w.Restart(t.Context(), strings.TrimSuffix(address, ":3086"), false); err != nil {
			t.Fatal(err)
		}
		stopped := facts[simnet.DaemonStopped](w.History())
		if len(stopped) != 1 || !stopped[0].Clean || w.Tip(address) != "" {
			t.Errorf("stopped: %+v, tip %q", stopped, w.Tip(address))
		}
		w.pass(9*time.Minute + 59*time.Second)
		if !w.refusesConnections(address) {
			t.Error("a cleaned node came back before ten slots were over")
		}
	})
}

func TestControl(t *testing.T) {
	inVirtualTime(t, simnet.Options{
		Nodes: 3, Producers: 1, Slot: time.Minute, RestartAfter: -1, RestartAfterClean: -1, Faults: []simnet.Fault{{Kind: simnet.FaultDie, Node: "127.0.0.4", Slot: 1}},
	}, func(w *world) {
		first := w.Nodes()[0]
		w.client(first).text(stopDaemon, map[string]any{"clean": nil})
		w.pass(24 * time.Hour)
		if down := w.History().Down(); !slices.Equal(down, []string{first, w.Nodes()[2]}) {
			t.Fatalf("down a day later: %v, want the two that never return", down)
		}
		// The control program brings back what its supervisor leaves alone.
		if err := w.Restart(t.Context(), "127.0.0.2", false); err != nil {
			t.Fatal(err)
		}
		w.pass(2 * time.Minute)
		if w.refusesConnections(first) {
			t.Error("the node did not come back")
		}
		// A second order replaces the first one.
		for range 2 {
			if err := w.Restart(t.Context(), "127.0.0.3", false); err != nil {
				t.Fatal(err)
			}
			w.pass(time.Minute)
		}
		if !w.refusesConnections(w.Nodes()[1]) {
			t.Error("the second order was not heeded")
		}
		w.pass(time.Minute)
		if w.refusesConnections(w.Nodes()[1]) {
			t.Error("the node did not come back after the second order")
		}
		var unknown *simnet.UnknownNodeError
		if err := w.Restart(t.Context(), "10.0.0.1", false); !errors.As(err, &unknown) || unknown.Host != "10.0.0.1" {
			t.Errorf("an unknown host: %v", err)
		}
		var dead *simnet.DeadNodeError
		if err := w.Restart(t.Context(), "127.0.0.4", true); !errors.As(err, &dead) {
			t.Errorf("a dead node: %v", err)
		}
		if err := w.Restart(t.Context(), "127.0.0.2", true); err != nil {
			t.Fatal(err)
		}
		reasons := make(map[simnet.StopReason]int)
		for _, stopped := range facts[simnet.DaemonStopped](w.History()) {
			reasons[stopped.Reason]++
		}
		want := map[simnet.StopReason]int{simnet.StoppedByRequest: 1, simnet.StoppedByControl: 2, simnet.StoppedByFault: 1}
		if diff := cmp.Diff(want, reasons); diff != "" {
			t.Errorf("why daemons stopped (-want +got):\n%s", diff)
		}
	})
}

func TestDelayOfStop(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 1}, func(w *world) {
		node := w.client(w.Nodes()[0])
		if message := node.refused(`mutation { stopDaemon(delaySeconds: 4) }`, nil); message != "Delay of 4 seconds is less than minimum 5" {
			t.Errorf("answered %s", message)
		}
		if text := node.text(`mutation { stopDaemon(delaySeconds: 60) }`, nil); text != "Stopping daemon in 60 seconds" {
			t.Errorf("answered %s", text)
		}
		if text := node.text(`mutation { stopDaemon }`, nil); text != "Stopping daemon in 5 seconds" {
			t.Errorf("answered %s", text)
		}
		w.pass(5 * time.Second)
		if !w.refusesConnections(w.Nodes()[0]) {
			t.Error("the earlier of two stops was not heeded")
		}
	})
}

// A producer that is down wins slots, but makes no blocks.
func TestDownProducersProduceNothing(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 1, Producers: 1, Slot: time.Second, RestartAfter: time.Minute}, func(w *world) {
		w.pass(30 * time.Second)
		w.client(w.Nodes()[0]).text(stopDaemon, map[string]any{"clean": nil})
		w.pass(5 * time.Second)
		from := len(w.History().Chain())
		w.pass(59 * time.Second)
		if made := len(w.History().Chain()) - from; made != 0 {
			t.Errorf("%d blocks were made while nobody was up", made)
		}
		w.pass(30 * time.Second)
		if made := len(w.History().Chain()) - from; made < 10 {
			t.Errorf("%d blocks were made in half a minute after the restart", made)
		}
	})
}
