package evidence

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/fetcher"
	"provingground/internal/clock"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/simnet/simnettest"
)

// handLog writes a node's log by hand.
type handLog struct {
	node, uuid string
	next       int
	entries    []itn.Log
	gaps       []fetcher.Gap
	last       time.Time
}

func handTime(millis int) time.Time {
	return simnettest.Genesis().Add(time.Duration(millis) * time.Millisecond)
}

func (l *handLog) add(at time.Time, message string, metadata ...itn.LogMetadatum) {
	l.next++
	l.last = at
	l.entries = append(l.entries, itn.Log{ID: l.next, Timestamp: at, Message: message, Metadata: metadata})
}

func (l *handLog) control(at time.Time, item, value string) {
	l.add(at, "@control", itn.LogMetadatum{Item: item, Value: json.RawMessage(value)})
}

// lose leaves entries out.
func (l *handLog) lose(count int, after time.Time) {
	l.gaps = append(l.gaps, fetcher.Gap{
		ServerUUID: l.uuid, From: l.next + 1, To: l.next + count, Before: l.last, After: after, Reason: fetcher.GapDropped,
	})
	l.next += count
}

// pool adds what the node's pool said of a payment; sender is empty for the node's own.
func (l *handLog) pool(millis int, action, signature, memo, sender string) {
	metadata := fmt.Sprintf(`{"diff":[["payment",%q,%q]]`, signature, memo)
	if sender != "" {
		metadata += fmt.Sprintf(`,"sender":%q`, sender)
	}
	l.add(handTime(millis), "Transaction_diff_"+action)
	l.control(handTime(millis), "metadata", metadata+"}")
}

func (l *handLog) work(millis int, action string, ids string) {
	l.add(handTime(millis), "Snark_work_"+action)
	l.control(handTime(millis), "metadata", `{"work_ids":`+ids+`,"fee":"0.01","prover":"B62q","txs":[]}`)
}

// block adds the reception and integration of a block.
func (l *handLog) block(from, to int, hash, previous string, height, slot int, transactions string) {
	l.control(handTime(from), "current_block", fmt.Sprintf("%q", hash))
	l.control(handTime(from), "block_metadata", fmt.Sprintf(
		`{"blockchain_length":"%d","global_slot":"%d","previous_state_hash":%q,"transactions":%s}`, height, slot, previous, transactions))
	l.add(handTime(from), "External_block_received")
	l.add(handTime(to), "Breadcrumb_integrated")
	l.control(handTime(to), "current_block", `"0"`)
}

// batch hands over what was written since the last one.
func (l *handLog) batch() fetcher.Batch {
	batch := fetcher.Batch{
		Node: l.node, Entries: l.entries, Gaps: l.gaps, Cursor: fetcher.Cursor{ServerUUID: l.uuid, Next: l.next + 1, LastTime: l.last},
	}
	l.entries, l.gaps = nil, nil
	return batch
}

// inMemory runs f at a virtual minute after the beginning.
func inMemory(t *testing.T, f func(m *Memory)) {
	t.Helper()
	virtual := clock.NewVirtual(handTime(60_000))
	virtual.Run(func() {
		m := NewMemory(virtual.Clock())
		m.Nodes = func() []fetcher.NodeStatus {
			return []fetcher.NodeStatus{
				{IP: "127.0.0.2", GraphQLPort: 3086, NodeName: "a", Active: true, LastSuccess: handTime(60_000)},
				{IP: "127.0.0.3", GraphQLPort: 3086, NodeName: "b", Active: true, State: fetcher.Stopped, LastSuccess: handTime(50_000)},
			}
		}
		f(m)
	})
}

func handInstant(millis int) Instant { return InstantOf(handTime(millis)) }

// What two nodes logged comes to these statistics, however it is cut into batches and handed over again.
func TestMemoryFillsStatistics(t *testing.T) {
	write := func(save func(*handLog)) {
		a, b := &handLog{node: "a", uuid: "run-a"}, &handLog{node: "b", uuid: "run-b"}
		b.block(900, 1100, "3Nbefore", "3Ngenesis", 7, 1, `[["coinbase","720",["Applied"]]]`)
		save(b)
		a.pool(2000, "received", "sig0", "exp-0-0-0", "")
		a.pool(2000, "accepted", "sig0", "exp-0-0-0", "")
		a.pool(2500, "received", "sig1", "exp-0-0-1", "")
		a.pool(2500, "rejected", "sig1", "exp-0-0-1", "")
		a.pool(2600, "received", "sig9", "no load", "")
		save(a)
		b.pool(2100, "received", "sig0", "exp-0-0-0", "127.0.0.2")
		b.pool(2100, "accepted", "sig0", "exp-0-0-0", "127.0.0.2")
		b.work(3000, "added", "[4,5]")
		b.work(8000, "received", "[4,5]")
		b.work(9000, "received", "[6]")
		save(b)
		a.block(10_000, 10_400, "3Nx", "3Nbefore", 8, 2, `[["payment","sig0","exp-0-0-0",["Failed",[["no"]]]],["payment","sig2","exp-0-0-2",["Applied"]]]`)
		save(a)
		b.block(10_100, 10_300, "3Nx", "3Nbefore", 8, 2, `[]`)
		b.block(12_000, 12_250, "3Ny", "3Nbefore", 8, 3, `[["payment","sig3","exp-0-0-3",["Applied"]]]`)
		b.lose(3, handTime(14_000))
		b.add(handTime(14_000), "Other")
		save(b)
	}
	want := &Statistics{
		Asked: handInstant(60_000), Began: handInstant(1500), Genesis: handInstant(0), Slot: time.Second, Patience: patience,
		Nodes: []NodeLog{
			{Address: "127.0.0.2:3086", Name: "a", Since: handInstant(2000), Hears: handInstant(10_400), ReadTo: handInstant(60_000) - 1, Listed: true, Traced: 1, Tips: []string{"3Nx"}},
			{
				Address: "127.0.0.3:3086", Name: "b", Since: handInstant(900), Hears: handInstant(1100), ReadTo: handInstant(50_000) - 1, Lag: 10 * time.Second, Listed: true, Traced: 2, Tips: []string{"3Nx", "3Ny"},
				Gaps: []Gap{{From: handInstant(12_250), To: handInstant(60_000), Lost: 3}},
			},
		},
		Loads: []LoadLog{{Transactions: []Transaction{
			{Index: 0, Received: handInstant(2000), Sent: handInstant(2000), Outcome: Accepted, Height: 8, Failed: true},
			{Index: 1, Received: handInstant(2500), Sent: handInstant(2500), Outcome: Rejected},
			{Index: 2, Height: 8},
			{Index: 3},
		}}, {Transactions: []Transaction{}}},
		Blocks: []Block{
			{Hash: "3Nbefore", Previous: "3Ngenesis", Height: 7, Slot: 1, Received: handInstant(1000), Canonical: true},
			{Hash: "3Nx", Previous: "3Nbefore", Height: 8, Slot: 2, Received: handInstant(10_000), Canonical: true},
			{Hash: "3Ny", Previous: "3Nbefore", Height: 8, Slot: 3, Received: handInstant(12_000)},
		},
		Integrations: []Integration{{"b", "3Nbefore"}, {"b", "3Nx"}, {"a", "3Nx"}, {"b", "3Ny"}},
		Applications: []time.Duration{200 * time.Millisecond, 250 * time.Millisecond, 400 * time.Millisecond},
		Works:        []Work{{Added: handInstant(3000), Received: handInstant(8000)}, {Received: handInstant(9000)}},
	}
	question := Question{Metric: "tx.submitted", Run: Run{
		Began: handTime(1500), Genesis: handTime(0), Slot: time.Second, Loads: []Load{{Name: "exp-0", Batch: 0}, {Name: "exp-0", Batch: 1}},
	}}
	for name, feed := range map[string]func(m *Memory, batch fetcher.Batch){
		"batch by batch": func(m *Memory, batch fetcher.Batch) { save(t, m, batch) },
		"each twice": func(m *Memory, batch fetcher.Batch) {
			save(t, m, batch)
			save(t, m, batch)
		},
		"entry by entry": func(m *Memory, batch fetcher.Batch) {
			for i, entry := range batch.Entries {
				one := batch
				one.Entries, one.Gaps = batch.Entries[i:i+1], nil
				for _, gap := range batch.Gaps {
					if gap.To == entry.ID-1 {
						one.Gaps = append(one.Gaps, gap)
					}
				}
				one.Cursor.Next, one.Cursor.LastTime = entry.ID+1, entry.Timestamp
				save(t, m, one)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(m *Memory) {
				write(func(l *handLog) { feed(m, l.batch()) })
				if diff := cmp.Diff(want, m.statistics(question)); diff != "" {
					t.Errorf("statistics (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func save(t *testing.T, m *Memory, batch fetcher.Batch) {
	t.Helper()
	if err := m.Save(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if cursor, err := m.Cursor(t.Context(), batch.Node); err != nil || cursor != batch.Cursor {
		t.Fatalf("the cursor is %+v after %+v: %v", cursor, batch.Cursor, err)
	}
}
