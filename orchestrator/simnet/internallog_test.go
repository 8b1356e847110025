package simnet_test

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/orchestrator/simnet"
)

const flushLogs = `mutation($end: Int!) { flushInternalLogs(endLogId: $end) }`

// ids returns the IDs of entries.
func ids(entries []logEntry) []int {
	var list []int
	for _, entry := range entries {
		list = append(list, entry.ID)
	}
	return list
}

func sequence(from, to int) []int {
	var list []int
	for id := from; id <= to; id++ {
		list = append(list, id)
	}
	return list
}

func TestLogIsABoundedQueue(t *testing.T) {
	senders := keys(t, 1)
	inVirtualTime(t, simnet.Options{Nodes: 1, MaxLogs: 10, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		node := w.client(w.Nodes()[0])
		if got := ids(node.logs(0)); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("a fresh log has %v", got)
		}
		// Each payment is four entries: 2 + 5·4 = 22.
		node.text(schedulePayments, payments(senders, map[string]any{"tps": 1.0, "durationMin": 1}))
		w.pass(4500 * time.Millisecond)
		if got := ids(node.logs(1)); !slices.Equal(got, sequence(13, 22)) {
			t.Errorf("the oldest entries beyond ten are dropped, but there are %v", got)
		}
		if got := ids(node.logs(20)); !slices.Equal(got, []int{20, 21, 22}) {
			t.Errorf("from 20 on, inclusive: %v", got)
		}
		if got := node.logs(23); len(got) != 0 {
			t.Errorf("nothing new: %v", ids(got))
		}
		for _, step := range []struct {
			end  int
			text string
			left []int
		}{
			{12, "Deleted 0 log", sequence(13, 22)}, {13, "Deleted 1 log", sequence(14, 22)}, {20, "Deleted 7 logs", []int{21, 22}},
			{-5, "Deleted 0 log", []int{21, 22}}, {1000, "Deleted 2 logs", nil},
		} {
			if text := node.text(flushLogs, map[string]any{"end": step.end}); text != step.text {
				t.Errorf("flush up to %d: %s, want %s", step.end, text, step.text)
			}
			if got := ids(node.logs(1)); !slices.Equal(got, step.left) {
				t.Errorf("after the flush up to %d there are %v, want %v", step.end, got, step.left)
			}
		}
		w.pass(time.Second)
		if got := ids(node.logs(1)); !slices.Equal(got, sequence(23, 26)) {
			t.Errorf("after a flush of everything the IDs go on with %v", got)
		}
		reads, flushes := facts[simnet.LogsRead](w.History()), facts[simnet.LogsFlushed](w.History())
		if diff := cmp.Diff(simnet.LogsRead{Start: 20, First: 20, Last: 22, Count: 3, Retained: 13}, reads[2]); diff != "" || len(flushes) != 5 {
			t.Errorf("journal: %v", diff)
		}
	})
}

func TestLogsAreInTheRealForm(t *testing.T) {
	senders := keys(t, 1)
	inVirtualTime(t, simnet.Options{Nodes: 2, Producers: 1, MaxLogs: 100_000, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		w.client(w.Nodes()[0]).text(schedulePayments, payments(senders, map[string]any{"tps": 0.1, "durationMin": 10}))
		w.pass(30*time.Minute + 300*time.Millisecond)
		now := w.clock.Now()
		form := regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}Z$`)
		for i, address := range w.Nodes() {
			entries := w.client(address).logs(1)
			if !slices.Equal(ids(entries), sequence(1, len(entries))) {
				t.Fatal("the IDs have gaps")
			}
			for _, entry := range entries {
				at, err := time.Parse("2006-01-02 15:04:05.000000Z", entry.Timestamp)
				if err != nil || !form.MatchString(entry.Timestamp) || at.After(now) || at.Before(genesis()) {
					t.Fatalf("timestamp %s at %s (%v)", entry.Timestamp, now, err)
				}
				if (entry.Message == "@control") != (len(entry.Metadata) > 0) || entry.Process != nil && *entry.Process != "prover" && *entry.Process != "verifier" {
					t.Fatalf("neither checkpoint nor control record: %+v", entry)
				}
			}
			blocks := traces(t, entries)
			chain := w.History().Chain()
			if len(blocks) < len(chain) || len(chain) < 3 {
				t.Fatalf("%d blocks traced of %d", len(blocks), len(chain))
			}
			for _, block := range chain {
				trace := blocks[block.Hash]
				if len(trace.checkpoints) == 0 {
					t.Fatalf("block %s was not traced by %s", block.Hash, address)
				}
				if last := trace.checkpoints[len(trace.checkpoints)-1]; i == 1 && last != "Breadcrumb_integrated" {
					t.Errorf("the trace of a received block ends with %s", last)
				}
				if produced := slices.Contains(trace.checkpoints, "Begin_block_production"); produced != (i == 0) {
					t.Errorf("node %d traced the block as produced: %v", i, produced)
				}
				if !slices.IsSorted(trace.times) {
					t.Errorf("the checkpoints' times go back: %v", trace.times)
				}
				var transactions [][]any
				decode(t, trace.metadata["transactions"], &transactions)
				if len(transactions) != len(block.Commands)+1+min(len(block.Commands), 1) {
					t.Errorf("%d transactions are traced, %d commands are in the block", len(transactions), len(block.Commands))
				}
				for j, c := range block.Commands {
					if transactions[j][0] != c.Type || transactions[j][1] != c.Signature || transactions[j][2] != c.Memo || !strings.HasPrefix(c.Signature, "7m") {
						t.Errorf("transaction %v, command %+v", transactions[j], c)
					}
				}
			}
			if i == 1 {
				continue
			}
			// The length of a produced block's trace is that of its production: five seconds of a slot of three minutes.
			for _, block := range chain {
				trace := blocks[block.Hash]
				integrated := slices.Index(trace.checkpoints, "Breadcrumb_integrated")
				if took := trace.times[integrated] - trace.times[0]; took < 4.9 || took > 5.1 {
					t.Errorf("the production took %v s", took)
				}
			}
		}
		// The sender's own pool saw each payment without a sender, the other one with it.
		for i, address := range w.Nodes() {
			accepted := 0
			entries := w.client(address).logs(1)
			for j, entry := range entries {
				if entry.Message != "Transaction_diff_accepted" {
					continue
				}
				accepted++
				var diff struct {
					Diff   [][]string
					Sender string
				}
				decode(t, entries[j+1].Metadata[0].Value, &diff)
				if len(diff.Diff) != 1 || diff.Diff[0][0] != "payment" || !strings.HasPrefix(diff.Diff[0][2], "exp-0-0-") || (diff.Sender == "127.0.0.2") != (i == 1) {
					t.Errorf("diff %s", entries[j+1].Metadata[0].Value)
				}
			}
			if sent := len(facts[simnet.CommandSent](w.History())); accepted != sent {
				t.Errorf("node %d traced %d payments of %d", i, accepted, sent)
			}
		}
	})
}

// trace is what the entries of a log say of one block, reconstructed by the rules of internal-trace, section 3, as far as this test needs
// them: without gossip, child processes, and what repeats or follows the integration of a block.
type trace struct {
	checkpoints []string
	times       []float64
	metadata    map[string]json.RawMessage
}

func traces(t *testing.T, entries []logEntry) map[string]*trace {
	t.Helper()
	blocks := make(map[string]*trace)
	current, bySlot, tag := "0", "", false
	for _, entry := range entries {
		if entry.Process != nil {
			continue
		}
		if entry.Message != "@control" {
			b := blocks[current]
			if strings.HasPrefix(entry.Message, "Transaction_diff") || strings.HasPrefix(entry.Message, "Snark_work") ||
				b != nil && slices.Contains(b.checkpoints, "Breadcrumb_integrated") && (tag || strings.HasPrefix(entry.Message, "Verify_transaction_snarks")) {
				continue
			}
			at, err := time.Parse("2006-01-02 15:04:05.000000Z", entry.Timestamp)
			if err != nil {
				t.Fatal(err)
			}
			if b == nil {
				b = &trace{metadata: make(map[string]json.RawMessage)}
				blocks[current] = b
			}
			b.checkpoints = append(b.checkpoints, entry.Message)
			b.times = append(b.times, float64(at.UnixMicro())/1e6)
			continue
		}
		for _, datum := range entry.Metadata {
			switch datum.Item {
			case "current_call_id":
				tag = len(entry.Metadata) > 1
			case "current_block":
				decode(t, datum.Value, &current)
				if !strings.HasPrefix(current, "3N") {
					bySlot = current
				}
			case "produced_block_state_hash":
				var hash string
				decode(t, datum.Value, &hash)
				blocks[hash] = blocks[bySlot]
			case "block_metadata":
				var fields map[string]json.RawMessage
				decode(t, datum.Value, &fields)
				b := blocks[current]
				if b == nil {
					b = &trace{metadata: make(map[string]json.RawMessage)}
					blocks[current] = b
				}
				maps.Copy(b.metadata, fields)
			}
		}
	}
	return blocks
}

func TestCaughtUpBlocksAreTracedAsSuch(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 2, Producers: 1, Slot: 10 * time.Second, MaxLogs: 10_000}, func(w *world) {
		w.client(w.Nodes()[1]).text(stopDaemon, map[string]any{"clean": true})
		w.pass(3 * time.Minute)
		entries, found := w.client(w.Nodes()[1]).logs(1), false
		for _, entry := range entries {
			found = found || entry.Message == "To_download"
		}
		if !slices.Equal(ids(entries), sequence(1, len(entries))) {
			t.Error("the IDs have gaps")
		}
		if !found {
			t.Error("the missed chain was not traced as downloaded")
		}
	})
}
