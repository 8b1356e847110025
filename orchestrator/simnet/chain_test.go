package simnet_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/internal/mina"
	"provingground/orchestrator/simnet"
)

const (
	stopDaemon = `mutation($clean: Boolean) { stopDaemon(delaySeconds: 5, cleanConfig: $clean) }`
	setLimit   = `mutation($limit: Int) { zkAppCommandLimit(limit: $limit) }`
	slotsWon   = `{ slotsWon }`
)

func TestThreeOfFourSlotsAreWon(t *testing.T) {
	for _, producers := range []int{1, 5, 40} {
		inVirtualTime(t, simnet.Options{Nodes: 40, Producers: producers, Slot: time.Second, Seed: uint64(producers)}, func(w *world) {
			const slots = 2000
			w.pass(slots*time.Second + 500*time.Millisecond)
			won := make(map[int]int)
			for _, block := range facts[simnet.BlockProduced](w.History()) {
				won[block.Slot]++
			}
			// Three of four, give or take four standard deviations.
			if share := float64(len(won)) / slots; math.Abs(share-0.75) > 4*math.Sqrt(0.75*0.25/slots) {
				t.Errorf("%d producers won %.3f of the slots, want 0.75", producers, share)
			}
			several := 0
			for _, winners := range won {
				if winners > 1 {
					several++
				}
			}
			if (several > 0) != (producers > 1) {
				t.Errorf("%d producers: %d slots had several winners", producers, several)
			}
		})
	}
}

func TestSlotsWonIsTheTruth(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 3, Producers: 2, Slot: time.Second}, func(w *world) {
		w.pass(300*time.Second + 500*time.Millisecond)
		for i, address := range w.Nodes()[:2] {
			var claimed, made []int
			decode(t, w.client(address).must(slotsWon, nil), &claimed)
			for _, entry := range w.History() {
				if block, ok := entry.Fact.(simnet.BlockProduced); ok && entry.Node == address {
					made = append(made, block.Slot)
				}
			}
			passed, _ := slices.BinarySearch(claimed, 301)
			if diff := cmp.Diff(made, claimed[:passed]); diff != "" {
				t.Errorf("producer %d (-made +claimed):\n%s", i, diff)
			}
			if len(claimed) < 1000 || claimed[len(claimed)-1] >= 7140 {
				t.Errorf("producer %d claims %d slots up to %d, want those of the whole epoch", i, len(claimed), claimed[len(claimed)-1])
			}
		}
		if message := w.client(w.Nodes()[2]).refused(slotsWon, nil); message != "Not a block producing node" {
			t.Errorf("a node without stake answers %s", message)
		}
	})
}

// chainRules checks what holds of any history: a chain without gaps, commands once and in the order of their nonces, and a definite end of
// each block that was ever produced.
func chainRules(t testing.TB, h simnet.History) {
	t.Helper()
	nonces := make(map[string]uint32)
	seen := make(map[string]bool)
	parent, slot := "", 0
	for i, block := range h.Chain() {
		if block.Height != i+2 || block.Slot <= slot || i > 0 && block.Parent != parent {
			t.Fatalf("block %d of the chain does not follow the one before: %+v", i, block)
		}
		parent, slot = block.Hash, block.Slot
		for _, c := range block.Commands {
			if c.Nonce != nonces[c.Sender] {
				t.Fatalf("in block %d %s has the nonce %d after %d", i, c.Sender, c.Nonce, nonces[c.Sender])
			}
			nonces[c.Sender]++
			if c.Memo != "" && seen[c.Memo] {
				t.Fatalf("%s is included twice", c.Memo)
			}
			seen[c.Memo] = true
		}
	}
	// A block is on the chain or orphaned, never both, and every block was told to be one of them.
	state := make(map[string]string)
	for _, entry := range h {
		switch fact := entry.Fact.(type) {
		case simnet.BlockProduced:
			state[fact.Hash] = "produced"
		case simnet.BlockIncluded:
			if state[fact.Hash] == "included" || state[fact.Hash] == "" {
				t.Fatalf("%s was included when it was %q", fact.Hash, state[fact.Hash])
			}
			state[fact.Hash] = "included"
		case simnet.BlockOrphaned:
			if state[fact.Hash] == "orphaned" || state[fact.Hash] == "" {
				t.Fatalf("%s was orphaned when it was %q", fact.Hash, state[fact.Hash])
			}
			state[fact.Hash] = "orphaned"
		}
	}
	for hash, end := range state {
		if end == "produced" {
			t.Errorf("nobody said what became of block %s", hash)
		}
	}
}

func TestForksAreResolvedAndOrphansComeBack(t *testing.T) {
	senders := keys(t, 20)
	inVirtualTime(t, simnet.Options{Nodes: 12, Producers: 10, Slot: time.Second, Latency: 900 * time.Millisecond, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		for i := range 4 {
			w.client(w.Nodes()[i]).text(schedulePayments, payments(senders[5*i:5*i+5], map[string]any{
				"tps": 0.5, "durationMin": 5, "memoPrefix": fmt.Sprintf("fork-0-%d", i),
			}))
		}
		w.pass(7 * time.Minute)
		h := w.History()
		chainRules(t, h)
		if orphans := len(facts[simnet.BlockOrphaned](h)); orphans < 20 {
			t.Errorf("only %d blocks were orphaned in seven minutes of slow gossip", orphans)
		}
		// Nothing that was sent is lost, although many of the blocks that held it were.
		sent := facts[simnet.CommandSent](h)
		included := h.Memos()
		if len(sent) != 4*150 || len(included) != len(sent) {
			t.Errorf("%d commands were sent and %d included, want 600 of each", len(sent), len(included))
		}
	})
}

func TestBlocksTakeTheBestFees(t *testing.T) {
	senders := keys(t, 6)
	options := simnet.Options{Nodes: 1, Producers: 1, Slot: time.Minute, BlockCapacity: 3, Accounts: accounts(senders, 1000*aMina)}
	inVirtualTime(t, options, func(w *world) {
		node := w.client(w.Nodes()[0])
		for i, sender := range senders {
			fee := fmt.Sprint(100_000_000 * (i%3 + 1))
			node.text(schedulePayments, payments([]mina.PrivateKey{sender}, map[string]any{
				"tps": 0.001, "durationMin": 1, "minFee": fee, "maxFee": fee, "memoPrefix": fmt.Sprintf("sender%d", i),
			}))
		}
		w.pass(10 * time.Minute)
		chain := w.History().Chain()
		var got [][]string
		for _, block := range chain {
			var memos []string
			for _, c := range block.Commands {
				memos = append(memos, c.Memo)
			}
			if memos != nil {
				got = append(got, memos)
			}
		}
		want := [][]string{{"sender2-0", "sender5-0", "sender1-0"}, {"sender4-0", "sender0-0", "sender3-0"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("blocks (-want +got):\n%s", diff)
		}
	})
}

func TestLimitOfZkappCommands(t *testing.T) {
	payers := keys(t, 8)
	inVirtualTime(t, simnet.Options{Nodes: 1, Producers: 1, Slot: time.Minute, Accounts: accounts(payers, 10_000*aMina)}, func(w *world) {
		node := w.client(w.Nodes()[0])
		if answer := string(node.must(setLimit, map[string]any{"limit": 2})); answer != "2" {
			t.Errorf("the limit is answered as %s", answer)
		}
		node.text(scheduleZkapps, zkapps(payers, map[string]any{"numZkappsToDeploy": 8, "tps": 1.0, "durationMin": 30}))
		w.pass(10 * time.Minute)
		perBlock := func(h simnet.History) []int {
			var counts []int
			for _, block := range h.Chain() {
				counts = append(counts, len(block.Commands))
			}
			return counts
		}
		if counts := perBlock(w.History()); slices.Max(counts) != 2 {
			t.Errorf("commands per block under the limit of 2: %v", counts)
		}
		if limits := w.History().Limits(); !maps.Equal(limits, map[string]int{w.Nodes()[0]: 2}) {
			t.Errorf("limits in force: %v", limits)
		}
		if answer := string(node.must(setLimit, map[string]any{"limit": nil})); answer != "null" {
			t.Errorf("no limit is answered as %s", answer)
		}
		w.pass(20 * time.Minute)
		if counts := perBlock(w.History()); slices.Max(counts) <= 2 {
			t.Errorf("commands per block without limit: %v", counts)
		}
		if limits := w.History().Limits(); len(limits) != 0 {
			t.Errorf("limits in force after clearing: %v", limits)
		}
	})
}

func TestAFailedTransferPaysItsFee(t *testing.T) {
	senders, nobody := keys(t, 3)[:2], keys(t, 3)[2]
	inVirtualTime(t, simnet.Options{Nodes: 1, Producers: 1, Slot: 10 * time.Second, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		// 0.000001 MINA do not pay for the receiver's account.
		w.client(w.Nodes()[0]).text(schedulePayments, payments(senders[:1], map[string]any{
			"receiver": nobody.PublicKey().String(), "tps": 0.01, "durationMin": 1, "minFee": "100000000", "maxFee": "100000000",
		}))
		w.pass(2 * time.Minute)
		var commands []simnet.BlockCommand
		for _, block := range w.History().Chain() {
			commands = append(commands, block.Commands...)
		}
		if len(commands) != 1 || commands[0].Failure != "Amount_insufficient_to_create_account" {
			t.Fatalf("included: %+v, want one failed command", commands)
		}
		if balance, err := w.Balance(t.Context(), "", senders[0].PublicKey()); err != nil || balance != 1000*aMina-100_000_000 {
			t.Errorf("the sender owns %v (%v), want its 1000 less the fee", balance, err)
		}
		if _, err := w.Balance(t.Context(), "", nobody.PublicKey()); err == nil {
			t.Error("the receiver's account exists")
		}
	})
}

// Money neither appears nor vanishes: what all accounts own is what they owned at genesis, and the coinbase of each block, less the fee of
// each account's creation. Loads, forks, restarts, isolation and funding are drawn at random.
func TestMoneyIsConserved(t *testing.T) {
	senders := keys(t, 12)
	rapid.Check(t, func(rt *rapid.T) {
		options := simnet.Options{
			Nodes: rapid.IntRange(1, 6).Draw(rt, "nodes"), Slot: time.Second, Seed: rapid.Uint64().Draw(rt, "seed"),
			Latency:  time.Duration(rapid.IntRange(1, 1500).Draw(rt, "latency")) * time.Millisecond,
			PoolSize: rapid.IntRange(1, 60).Draw(rt, "pool"), BlockCapacity: rapid.IntRange(1, 20).Draw(rt, "capacity"),
			Accounts: accounts(senders, 500*aMina),
		}
		options.Producers = rapid.IntRange(1, options.Nodes).Draw(rt, "producers")
		steps := rapid.IntRange(1, 12).Draw(rt, "steps")
		inVirtualTime(t, options, func(w *world) {
			atGenesis := w.Supply()
			for step := range steps {
				at := w.Nodes()[rapid.IntRange(0, options.Nodes-1).Draw(rt, "node")]
				if !slices.Contains(w.History().Down(), at) {
					w.randomStep(rt, at, senders, step)
				}
				w.pass(time.Duration(rapid.IntRange(1, 20_000).Draw(rt, "pause")) * time.Millisecond)
			}
			chainRules(t, w.History())
			w.conserved(t, atGenesis)
		})
	})
}

func (w *world) randomStep(rt *rapid.T, at string, senders []mina.PrivateKey, step int) {
	w.Helper()
	node := w.client(at)
	first := rapid.IntRange(0, len(senders)-3).Draw(rt, "first sender")
	some := senders[first : first+3]
	tps := float64(rapid.IntRange(1, 40).Draw(rt, "tps")) / 10
	prefix := fmt.Sprintf("m-%d", step)
	var err error
	switch rapid.SampledFrom([]string{"payments", "zkapps", "create", "stop", "isolate", "open"}).Draw(rt, "kind") {
	case "payments":
		_, err = node.send(true, schedulePayments, payments(some, map[string]any{
			"tps": tps, "memoPrefix": prefix, "amount": fmt.Sprint(rapid.Uint64Range(0, 5_000_000_000).Draw(rt, "amount")),
			"receiver": keys(w, 40)[rapid.IntRange(0, 39).Draw(rt, "receiver")].PublicKey().String(),
		}))
	case "zkapps":
		_, err = node.send(true, scheduleZkapps, zkapps(some, map[string]any{"tps": tps, "memoPrefix": prefix, "numNewAccounts": 3}))
	case "create":
		_, err = node.send(true, createAccounts, map[string]any{"input": map[string]any{
			"amount": "50000000000", "fee": "10000000", "numAccounts": rapid.IntRange(1, 30).Draw(rt, "count"), "feePayer": some[0].Base58(),
		}})
	case "stop":
		_, err = node.send(true, stopDaemon, map[string]any{"clean": rapid.Bool().Draw(rt, "clean")})
	case "isolate":
		_, err = node.send(true, updateGating, gating(true))
	case "open":
		_, err = node.send(true, updateGating, gating(false))
	}
	if err != nil {
		w.Fatal(err)
	}
}

// conserved compares what all accounts own on the best chain with what they must.
func (w *world) conserved(t testing.TB, supply mina.Nanomina) {
	t.Helper()
	for _, block := range w.History().Chain() {
		supply += mina.Nanomina(block.Coinbase)
		supply -= mina.Nanomina(len(block.Created)) * aMina
	}
	if owned := w.Supply(); owned != supply {
		t.Fatalf("all accounts own %v, want %v", owned, supply)
	}
}

func TestANetworkMayBeOlderThanItsSimulation(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 1, Producers: 1, Slot: time.Second, Genesis: genesis().Add(-7150*time.Second - 300*time.Millisecond)}, func(w *world) {
		w.pass(20 * time.Second)
		chain := w.History().Chain()
		if len(chain) < 5 || chain[0].Slot < 7151 || chain[len(chain)-1].Slot > 7170 {
			t.Errorf("20 slots from slot 7150 on gave the blocks %+v", chain)
		}
		if at := w.Genesis().Add(time.Duration(chain[0].Slot) * time.Second); !at.After(genesis()) {
			t.Errorf("the first block is of %v, before the network began", at)
		}
		var won []int
		decode(t, w.client(w.Nodes()[0]).must(slotsWon, nil), &won)
		if won[0] < 7140 || won[len(won)-1] >= 2*7140 {
			t.Errorf("slots won from %d to %d, want those of the second epoch", won[0], won[len(won)-1])
		}
	})
}

func TestOldBlocksAreLetGo(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 2, Producers: 2, Slot: time.Second}, func(w *world) {
		w.pass(1000 * time.Second)
		if linked := w.LinkedBlocks(w.Nodes()[0]); linked < 280 || linked > 300 {
			t.Errorf("from its tip a node reaches %d blocks, want about 290", linked)
		}
		chainRules(t, w.History())
	})
}

func TestSameSeedSameJournal(t *testing.T) {
	run := func(seed uint64) []string {
		var lines []string
		senders := keys(t, 6)
		inVirtualTime(t, simnet.Options{Nodes: 5, Producers: 3, Old: 1, Slot: time.Second, Seed: seed, Accounts: accounts(senders, 5000*aMina)}, func(w *world) {
			w.client(w.Nodes()[0]).text(schedulePayments, payments(senders[:3], nil))
			w.client(w.Nodes()[1]).text(scheduleZkapps, zkapps(senders[3:], map[string]any{"numNewAccounts": 2}))
			w.pass(time.Minute)
			w.client(w.Nodes()[1]).text(stopDaemon, map[string]any{"clean": true})
			w.pass(2 * time.Minute)
			for _, entry := range w.History() {
				lines = append(lines, fmt.Sprintf("%s %s %s %+v", entry.Time, entry.Wall, entry.Node, entry.Fact))
			}
		})
		return lines
	}
	first := run(1)
	if diff := cmp.Diff(first, run(1)); diff != "" {
		t.Errorf("the same seed gave another journal:\n%s", diff)
	}
	if slices.Equal(first, run(2)) {
		t.Error("another seed gave the same journal")
	}
}
