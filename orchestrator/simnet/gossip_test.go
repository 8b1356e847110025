package simnet_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/orchestrator/simnet"
)

// peer is a node as another node's gating names it.
func (w *world) peer(address string) map[string]any {
	w.Helper()
	read, err := w.client(address).send(false, `{ auth { peerId libp2pPort } }`, nil)
	if err != nil {
		w.Fatal(err)
	}
	var auth struct{ PeerID string }
	decode(w, read.Data["auth"], &auth)
	return map[string]any{"peerId": auth.PeerID, "host": strings.TrimSuffix(address, ":3086"), "libp2pPort": 8302}
}

// isolate does to a group of nodes what the orchestrator's step of that name does.
func (w *world) isolate(group ...string) {
	w.Helper()
	peers := make(map[string]any)
	for _, address := range group {
		peers[address] = w.peer(address)
	}
	for _, address := range group {
		others := []any{}
		for _, other := range group {
			if other != address {
				others = append(others, peers[other])
			}
		}
		w.client(address).text(updateGating, map[string]any{"input": map[string]any{
			"trustedPeers": others, "bannedPeers": []any{}, "isolate": true, "cleanAddedPeers": true, "addedPeers": others,
		}})
	}
}

func TestIsolationSplitsTheChainAndHeals(t *testing.T) {
	senders := keys(t, 2)
	inVirtualTime(t, simnet.Options{Nodes: 6, Producers: 6, Slot: 10 * time.Second, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		left, right := w.Nodes()[:2], w.Nodes()[2:]
		w.pass(105 * time.Second)
		if w.Tip(left[0]) != w.Tip(right[0]) {
			t.Fatal("the nodes disagree from the start")
		}
		w.isolate(left...)
		if isolated := w.History().Gating(); len(isolated) != 2 || !isolated[left[0]].Isolate || isolated[left[0]].Trusted[0] != left[1] {
			t.Errorf("gating in force: %+v", isolated)
		}
		w.client(left[0]).text(schedulePayments, payments(senders[:1], map[string]any{"tps": 0.1, "durationMin": 2, "memoPrefix": "left"}))
		w.client(right[0]).text(schedulePayments, payments(senders[1:], map[string]any{"tps": 0.1, "durationMin": 2, "memoPrefix": "right"}))
		w.pass(5 * time.Minute)
		if w.Tip(left[0]) == w.Tip(right[0]) {
			t.Error("the isolated nodes still agree with the others")
		}
		if w.Tip(left[0]) != w.Tip(left[1]) || w.Tip(right[0]) != w.Tip(right[3]) {
			t.Error("the nodes of one side disagree")
		}
		for _, memo := range w.History().Memos() { // the right side has more stake, so its chain is the longer one
			if strings.HasPrefix(memo, "left") {
				t.Fatalf("%s of the isolated side is on the best chain", memo)
			}
		}

		for _, address := range left {
			w.client(address).text(updateGating, gating(false))
		}
		if inForce := w.History().Gating(); len(inForce) != 0 {
			t.Errorf("gating in force after its reset: %+v", inForce)
		}
		w.pass(2 * time.Minute)
		for _, address := range w.Nodes() {
			if w.Tip(address) != w.Tip(right[0]) {
				t.Errorf("%s has another tip after the reset", address)
			}
		}
		// What the lost side had included comes back into its pools, and gets around.
		counts := map[string]int{}
		for _, memo := range w.History().Memos() {
			counts[strings.Split(memo, "-")[0]]++
		}
		if diff := cmp.Diff(map[string]int{"left": 12, "right": 12}, counts); diff != "" {
			t.Errorf("included (-want +got):\n%s", diff)
		}
		chainRules(t, w.History())
	})
}

// A fork that is longer than what the nodes remember is settled all the same.
func TestALongForkIsSettled(t *testing.T) {
	senders := keys(t, 2)
	inVirtualTime(t, simnet.Options{Nodes: 9, Producers: 9, Slot: time.Second, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		apart := w.Nodes()[0]
		w.client(apart).text(updateGating, gating(true))
		w.client(apart).text(schedulePayments, payments(senders[:1], map[string]any{"tps": 0.5, "durationMin": 30, "memoPrefix": "lost"}))
		w.client(w.Nodes()[1]).text(schedulePayments, payments(senders[1:], map[string]any{"tps": 0.5, "durationMin": 30, "memoPrefix": "kept"}))
		w.pass(20 * time.Minute)
		if lag := w.Height(w.Nodes()[1]) - w.Height(apart); lag < 320 {
			t.Fatalf("the isolated node lags by %d blocks only", lag)
		}
		if linked := w.LinkedBlocks(apart); linked > 300 {
			t.Errorf("the isolated node keeps %d blocks", linked)
		}
		w.client(apart).text(updateGating, gating(false))
		w.pass(20 * time.Minute)
		if w.Tip(apart) != w.Tip(w.Nodes()[1]) {
			t.Error("the node did not change over")
		}
		// What the others included is untouched.
		kept := 0
		for _, memo := range w.History().Memos() {
			if strings.HasPrefix(memo, "kept") {
				kept++
			}
		}
		if kept != 900 {
			t.Errorf("%d payments of the others are included, want 900", kept)
		}
		chainRules(t, w.History())
	})
}

func TestForgottenPeersAreNotFoundAgain(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 4, Producers: 4, Slot: 10 * time.Second}, func(w *world) {
		left, right := w.Nodes()[:2], w.Nodes()[2:]
		w.isolate(left...)
		w.isolate(right...)
		w.pass(2 * time.Minute)
		for _, address := range w.Nodes() {
			w.client(address).text(updateGating, gating(false))
		}
		w.pass(2 * time.Minute)
		// Both sides forgot their seeds: nobody is banned, but nobody knows the other side either.
		if w.Tip(left[0]) == w.Tip(right[0]) {
			t.Error("two sides that do not know each other found together")
		}
		again := gating(false)
		again["input"].(map[string]any)["addedPeers"] = []any{w.peer(right[0])}
		w.client(left[0]).text(updateGating, again)
		w.pass(time.Minute)
		for _, address := range w.Nodes() {
			if w.Tip(address) != w.Tip(left[0]) {
				t.Errorf("%s was not reached through the added peer", address)
			}
		}
	})
}

func TestBannedAndTrusted(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 3, Producers: 2, Slot: 10 * time.Second}, func(w *world) {
		first, second := w.Nodes()[0], w.Nodes()[1]
		// Bans by address cut the direct way; the third node still carries the blocks.
		set := func(address string, banned, trusted []any) {
			w.client(address).text(updateGating, map[string]any{"input": map[string]any{
				"trustedPeers": trusted, "bannedPeers": banned, "isolate": false, "cleanAddedPeers": false, "addedPeers": []any{},
			}})
		}
		byHost := func(address string) []any {
			return []any{map[string]any{"peerId": "unknown", "host": strings.TrimSuffix(address, ":3086"), "libp2pPort": 1}}
		}
		set(first, byHost(second), []any{})
		w.pass(2 * time.Minute)
		if w.Tip(first) != w.Tip(second) {
			t.Error("a ban of one peer cut the way around it")
		}
		set(first, append(byHost(second), byHost(w.Nodes()[2])...), []any{})
		w.pass(2 * time.Minute)
		if w.Tip(first) == w.Tip(second) {
			t.Error("a ban of all peers had no effect")
		}
		// Trust wins over the ban.
		set(first, append(byHost(second), byHost(w.Nodes()[2])...), byHost(second))
		w.pass(time.Minute)
		if w.Tip(first) != w.Tip(second) {
			t.Error("a trusted peer stayed banned")
		}
	})
}

func TestPeersThatCannotBeAdded(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 4, Slot: 10 * time.Second}, func(w *world) {
		down, closed := w.Nodes()[2], w.Nodes()[3]
		downPeer, closedPeer := w.peer(down), w.peer(closed)
		w.client(down).text(stopDaemon, map[string]any{"clean": nil})
		w.client(closed).text(updateGating, gating(true))
		w.pass(6 * time.Second)
		stranger := map[string]any{"peerId": "12D3KooWnobody", "host": "10.0.0.1", "libp2pPort": 8302}
		wrongPort := w.peer(w.Nodes()[1])
		wrongPort["libp2pPort"] = 1
		message := w.client(w.Nodes()[0]).refused(updateGating, map[string]any{"input": map[string]any{
			"trustedPeers": []any{}, "bannedPeers": []any{}, "isolate": false, "cleanAddedPeers": false,
			"addedPeers": []any{stranger, downPeer, wrongPort, closedPeer, w.peer(w.Nodes()[1])},
		}})
		if !strings.HasPrefix(message, "failed to add peers: ") || strings.Count(message, "failed to dial") != 4 {
			t.Errorf("answered %s", message)
		}
		isolating := map[string]any{"input": map[string]any{
			"trustedPeers": []any{}, "bannedPeers": []any{}, "isolate": true, "cleanAddedPeers": false, "addedPeers": []any{w.peer(w.Nodes()[1])},
		}}
		if message := w.client(w.Nodes()[0]).refused(updateGating, isolating); !strings.Contains(message, "gater disallows") {
			t.Errorf("an untrusted peer was added under isolation: %s", message)
		}
		// Refused or not, the lists are in force.
		if !w.History().Gating()[w.Nodes()[0]].Isolate {
			t.Error("the failed update is not in force")
		}
		if message := w.client(w.Nodes()[1]).refused(updateGating, map[string]any{"input": map[string]any{
			"trustedPeers": []any{map[string]any{"peerId": "x", "host": "name.example", "libp2pPort": 1}}, "bannedPeers": []any{}, "isolate": true,
			"cleanAddedPeers": false, "addedPeers": []any{},
		}}); message != "Invalid format for NetworkPeer.host" {
			t.Errorf("a host name is answered with %s", message)
		}
	})
}

func TestGossipArrivesAfterTheLatency(t *testing.T) {
	senders := keys(t, 1)
	options := simnet.Options{Nodes: 3, Slot: time.Minute, Latency: 2 * time.Second, Accounts: accounts(senders, 1000*aMina)}
	inVirtualTime(t, options, func(w *world) {
		first := w.client(w.Nodes()[0])
		first.text(schedulePayments, payments(senders, map[string]any{"tps": 0.001, "durationMin": 1}))
		if diffs := countDiffs(w, w.Nodes()[0]); diffs != 1 {
			t.Errorf("the sending node traced %d diffs at once, want 1", diffs)
		}
		w.pass(1999 * time.Millisecond)
		if diffs := countDiffs(w, w.Nodes()[2]); diffs != 0 {
			t.Error("the payment arrived before the latency was over")
		}
		w.pass(time.Millisecond)
		if diffs := countDiffs(w, w.Nodes()[2]); diffs != 1 {
			t.Error("the payment did not arrive after the latency")
		}
	})
}

// countDiffs counts the commands that a node's internal log says it accepted.
func countDiffs(w *world, address string) int {
	w.Helper()
	accepted := 0
	for _, entry := range w.client(address).logs(1) {
		if entry.Message == "Transaction_diff_accepted" {
			accepted++
		}
	}
	return accepted
}
