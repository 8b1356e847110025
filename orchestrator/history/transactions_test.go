package history_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"provingground/orchestrator/history"
)

// logs is a database with what a fetcher has stored of a deployment.
type logs struct {
	testing.TB
	conn *pgx.Conn
	uri  string
	next int // id of the next pool event
}

// begun is when the runs of these tests begin; their networks' time is that of the wall.
func begun() time.Time { return time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC) }

func newLogs(t testing.TB) *logs {
	t.Helper()
	l := &logs{TB: t, uri: migrated(t)}
	l.conn = connect(t, l.uri)
	l.exec("SELECT create_deployment('{}')")
	l.exec("UPDATE deployment SET created_at = $1", begun().Add(-time.Hour))
	l.exec("SELECT ensure_day(1, '2024-05-01')")
	return l
}

func (l *logs) exec(sql string, args ...any) {
	l.Helper()
	if _, err := l.conn.Exec(l.Context(), sql, args...); err != nil {
		l.Fatalf("%s: %v", sql, err)
	}
}

// node adds a node whose log was read to its end an hour after the beginning.
func (l *logs) node(host string) {
	l.Helper()
	l.exec("INSERT INTO log_node (deployment_id, node_name, host, port, read_at) VALUES (1, $1, $2, 3086, $3)", "-"+host+"-3086", host, begun().Add(time.Hour))
	l.exec(`INSERT INTO log_cursor (deployment_id, node_id, server_uuid, next_id)
		SELECT 1, node_id, '00000000-0000-0000-0000-000000000001', 100 FROM log_node WHERE host = $1`, host)
}

// gap says that entries of a node are lost, of so many seconds after the beginning.
func (l *logs) gap(host string, from, to int) {
	l.Helper()
	l.exec(`INSERT INTO log_gap (deployment_id, node_id, server_uuid, from_id, to_id, time_before, time_after)
		SELECT 1, node_id, '00000000-0000-0000-0000-000000000001', 5, 9, $2, $3 FROM log_node WHERE host = $1`,
		host, begun().Add(time.Duration(from)*time.Second), begun().Add(time.Duration(to)*time.Second))
}

// event adds a pool event of a node, so many seconds after the beginning; a local one has no sender. The signature of a transaction is "sig-" and its
// memo.
func (l *logs) event(host, action string, second int, local bool, reason string, memos ...string) {
	l.Helper()
	var sender, why *string
	if !local {
		sender = new("peer")
	}
	if reason != "" {
		why = &reason
	}
	diff := [][]string{}
	var hashes, types []string
	for _, memo := range memos {
		diff = append(diff, []string{"payment", "sig-" + memo, memo})
		hashes, types = append(hashes, "sig-"+memo), append(types, "payment")
	}
	at := begun().Add(time.Duration(second) * time.Second)
	l.next++
	l.exec(`INSERT INTO tx_traces (block_trace_checkpoint_id, node_name, action, time, diff, sender, reason, deployment_id, loaded_on)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 1, '2024-05-01')`, l.next, "-"+host+"-3086", action, at, diff, sender, why)
	if action == "received" {
		times := make([]time.Time, len(memos))
		for i := range times {
			times[i] = at
		}
		l.exec("SELECT store_received_txs(1, $1, $2, $3, $4)", hashes, types, memos, times)
	}
}

// block adds a block with transactions.
func (l *logs) block(hash, previous string, length, slot, second int, result string, memos ...string) {
	l.Helper()
	hashes, types, results := []string{}, []string{}, []string{}
	for _, memo := range memos {
		hashes, types, results = append(hashes, "sig-"+memo), append(types, "payment"), append(results, result)
	}
	l.exec("SELECT store_block(1, $1, $2, $3, $4, $5, $6, $7, $8, $9)", hash, previous, length, slot, begun().Add(time.Duration(second)*time.Second), hashes, types, append([]string{}, memos...), results)
	l.exec("SELECT settle_chain(1)")
}

// batchOf is the record of a run with batches of load of 12 transactions each: one in 5 seconds for a minute.
func batchOf(nodes ...string) string {
	var text strings.Builder
	text.WriteString(`{"time":"2024-05-01T10:00:00Z","step":-1,"name":"_run","value":{"id":"r","seed":1,"genesis":"2024-05-01T09:00:00Z","clockScale":1}}` + "\n")
	for i, node := range nodes {
		fmt.Fprintf(&text, `{"time":"2024-05-01T10:00:00Z","step":0,"action":"payments","name":"_intent","value":{"call":%d,"kind":"payments","node":"%s:3086","handle":"h","experiment":"churn-0","batch":%d,"tps":"0.2","durationMin":1,"ends":"2024-05-01T10:02:00Z"}}`+"\n", i, node, i)
		fmt.Fprintf(&text, `{"time":"2024-05-01T10:00:00Z","step":0,"action":"payments","name":"_settled","value":{"call":%d,"result":"done","handle":"h","ends":"2024-05-01T10:01:05Z"}}`+"\n", i)
	}
	return text.String()
}

// ledger returns what the ledger says of the run, one transaction a line.
func (l *logs) ledger(states ...history.State) string {
	l.Helper()
	ledger, err := history.OpenLedger(l.Context(), l.uri, "r")
	if err != nil {
		l.Fatal(err)
	}
	var text strings.Builder
	if err := ledger.Each(l.Context(), states, func(t history.Transaction) error {
		fmt.Fprintf(&text, "%s %s seen by %d", t.Memo(), t.State, t.SeenBy)
		if t.Received != nil {
			fmt.Fprintf(&text, ", received %v", t.Received.Sub(begun()))
		}
		if t.Accepted != nil {
			fmt.Fprintf(&text, ", accepted %v", t.Accepted.Sub(begun()))
		}
		if t.Slot != nil {
			fmt.Fprintf(&text, ", slot %d of %s, %v", *t.Slot, t.Block, t.Included.Sub(begun()))
		}
		if t.Reason != "" {
			fmt.Fprintf(&text, ": %s", t.Reason)
		}
		text.WriteString("\n")
		return nil
	}); err != nil {
		l.Fatal(err)
	}
	batches, err := ledger.Batches(l.Context())
	if err != nil {
		l.Fatal(err)
	}
	if len(states) == 0 {
		var counted, listed int64
		for _, b := range batches {
			for _, n := range b.Count {
				counted += n
			}
		}
		if listed = int64(strings.Count(text.String(), "\n")); counted != listed {
			l.Errorf("%d transactions in the batches, %d in the list", counted, listed)
		}
	}
	if err := ledger.Close(l.Context()); err != nil {
		l.Fatal(err)
	}
	return text.String()
}

// story gives a deployment of three nodes transactions of every kind.
func (l *logs) story() {
	for _, host := range []string{"a", "b", "c"} {
		l.node(host)
	}
	l.event("a", "received", 0, true, "", "churn-0-0-0")
	l.event("a", "accepted", 1, true, "", "churn-0-0-0")
	for _, host := range []string{"b", "c"} { // b has it in two diffs, and counts once
		l.event(host, "received", 2, false, "", "churn-0-0-0")
		l.event(host, "accepted", 3, false, "", "churn-0-0-0")
	}
	l.event("b", "received", 4, false, "", "churn-0-0-0", "churn-0-0-1")
	l.event("a", "received", 5, true, "", "churn-0-0-1")
	l.event("a", "accepted", 6, true, "", "churn-0-0-1")
	l.event("a", "received", 10, true, "", "churn-0-0-2")
	l.event("a", "rejected", 11, true, "Insufficient_fee", "churn-0-0-2")
	l.event("a", "received", 15, true, "", "churn-0-0-3")
	l.event("a", "accepted", 16, true, "", "churn-0-0-3")
	l.event("c", "received", 17, false, "", "churn-0-0-3")
	l.event("c", "rejected", 18, false, "Overloaded", "churn-0-0-3") // a pool that is full elsewhere is no rejection
	l.event("a", "received", 20, true, "", "churn-0-0-4")            // in an orphaned block only
	l.event("b", "received", 25, false, "", "churn-0-0-x", "churn-0-0-05", "churn-0-01-5", "other-0-0-5", "churn-0-0-")
	l.event("a", "received", -3600, true, "", "churn-0-0-6") // of an earlier run with the same name
	l.block("A", "0", 10, 100, 30, "Applied", "churn-0-0-0")
	l.block("B", "A", 11, 101, 210, "Failed", "churn-0-0-1")
	l.block("C", "A", 11, 102, 400, "Applied", "churn-0-0-4")
	l.block("D", "B", 12, 103, 500, "Applied", "churn-0-0-7") // which no log told of before
}

func TestTransactions(t *testing.T) {
	t.Parallel()
	const rest = `churn-0-0-0 included seen by 3, received 0s, accepted 1s, slot 100 of A, 30s
churn-0-0-1 failed seen by 2, received 4s, accepted 6s, slot 101 of B, 3m30s
churn-0-0-2 rejected seen by 1, received 10s: Insufficient_fee
churn-0-0-3 missing seen by 2, received 15s, accepted 16s
churn-0-0-4 missing seen by 1, received 20s
churn-0-0-5 unseen seen by 0
churn-0-0-6 unseen seen by 0
churn-0-0-7 included seen by 0, slot 103 of D, 8m20s
churn-0-0-8 unseen seen by 0
churn-0-0-9 unseen seen by 0
churn-0-0-10 unseen seen by 0
churn-0-0-11 unseen seen by 0
`
	const silent = "the sending node's log is not complete, or not read to the end of the batch"
	unknown := strings.NewReplacer("unseen seen by 0", "unknown seen by 0: "+silent, // only a has received the fourth, and may have refused it
		"missing seen by 1, received 20s", "unknown seen by 1, received 20s: "+silent+": it may have refused it").Replace(rest)
	const lost = "unknown seen by 1, received 20s: no node's log is complete, so the block with it may be missing"
	for _, test := range []struct {
		name   string
		change func(*logs)
		want   string
	}{
		{"complete logs", func(*logs) {}, rest},
		{"a gap of another node", func(l *logs) { l.gap("b", 10, 20) }, rest},
		{"a gap before the run", func(l *logs) { l.gap("a", -500, -400) }, rest},
		{"a gap of the sending node", func(l *logs) { l.gap("a", 10, 20) }, unknown},
		{"the sending node was not read to the end", func(l *logs) {
			l.exec("UPDATE log_node SET read_at = $1 WHERE host = 'a'", begun().Add(time.Minute))
		}, unknown},
		{"malformed entries", func(l *logs) {
			l.exec(`INSERT INTO log_malformed SELECT 1, node_id, '00000000-0000-0000-0000-000000000001', 3, 'no', '' FROM log_node WHERE host = 'a'`)
		}, unknown},
		{"gaps everywhere", func(l *logs) {
			for _, host := range []string{"a", "b", "c"} {
				l.gap(host, 10, 20)
			}
		}, strings.NewReplacer(
			"rejected seen by 1, received 10s: Insufficient_fee", strings.Replace(lost, "20s", "10s", 1),
			"missing seen by 2, received 15s, accepted 16s", strings.Replace(lost, "1, received 20s", "2, received 15s, accepted 16s", 1), "unknown seen by 1, received 20s: "+silent+": it may have refused it", lost,
		).Replace(unknown)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLogs(t)
			mustImport(t, l.uri, batchOf("a"))
			l.story()
			test.change(l)
			if diff := cmp.Diff(test.want, l.ledger()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if got := l.ledger(history.Failed, history.Included); strings.Count(got, "\n") != 3 {
				t.Errorf("of two states\n%s", got)
			}
		})
	}
}

// BenchmarkLedger takes the transactions of a run, and measures how large the heap is while they are read: it does not grow with their number.
func BenchmarkLedger(b *testing.B) {
	for _, size := range []struct{ batches, transactions, nodes int }{{10, 1000, 20}, {10, 10_000, 4}, {40, 10_000, 1}} {
		b.Run(fmt.Sprintf("transactions=%d/nodes=%d", size.batches*size.transactions, size.nodes), func(b *testing.B) {
			benchmarkLedger(b, size.batches, size.transactions, size.nodes)
		})
	}
}

func benchmarkLedger(b *testing.B, batches, transactions, nodes int) {
	b.Helper()
	l := newLogs(b)
	var text strings.Builder
	text.WriteString(`{"time":"2024-05-01T10:00:00Z","step":-1,"name":"_run","value":{"id":"r","seed":1,"genesis":"2024-05-01T09:00:00Z","clockScale":1}}` + "\n")
	for i := range batches {
		fmt.Fprintf(&text, `{"time":"2024-05-01T10:00:00Z","step":0,"action":"payments","name":"_intent","value":{"call":%d,"kind":"payments","node":"n%d:3086","handle":"h","experiment":"churn-0","batch":%d,"tps":"%d/60","durationMin":1,"ends":"2024-05-01T10:02:00Z"}}`+"\n", i, i, i, transactions)
		fmt.Fprintf(&text, `{"time":"2024-05-01T10:00:00Z","step":0,"action":"payments","name":"_settled","value":{"call":%d,"result":"done","handle":"h"}}`+"\n", i)
	}
	mustImport(b, l.uri, text.String())
	for i := range nodes {
		l.node(fmt.Sprint("n", i))
	}
	l.exec(`INSERT INTO unique_txs (hash, deployment_id, type, memo, time)
		SELECT 'sig-' || b || '-' || i, 1, 'payment', 'churn-0-' || b || '-' || i, $1::timestamptz + i * interval '1 ms'
		FROM generate_series(0, $2::int - 1) b, generate_series(0, $3::int - 1) i`, begun(), batches, transactions)
	l.exec(`INSERT INTO block_txs (hash, deployment_id, type, memo, block_received, result, state_hash, blockchain_length, global_slot)
		SELECT hash, 1, type, memo, time + interval '3 min', 'Applied', 'A', 10, 100 FROM unique_txs WHERE ix % 10 > 0`)
	l.exec(`INSERT INTO tx_traces (block_trace_checkpoint_id, node_name, action, time, diff, sender, deployment_id, loaded_on)
		SELECT row_number() OVER (), '-n' || n || '-3086', a, u.time + n * interval '10 ms', jsonb_build_array(jsonb_build_array(type, hash, memo)),
			CASE WHEN n <> u.batch THEN 'peer' END, 1, '2024-05-01'
		FROM unique_txs u, generate_series(0, $1::int - 1) n, unnest('{received,accepted}'::text[]) a`, nodes)
	l.exec("ANALYZE")
	b.ReportAllocs()
	var heap uint64
	for b.Loop() {
		ledger, err := history.OpenLedger(b.Context(), l.uri, "r")
		if err != nil {
			b.Fatal(err)
		}
		listed := 0
		if err := ledger.Each(b.Context(), nil, func(history.Transaction) error {
			if listed++; listed%5000 == 0 {
				var now runtime.MemStats
				runtime.ReadMemStats(&now)
				heap = max(heap, now.HeapInuse)
			}
			return nil
		}); err != nil || listed < batches*transactions {
			b.Fatalf("%d transactions, %v", listed, err)
		}
		if err := ledger.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(heap)/(1<<20), "heap-MiB")
	b.ReportMetric(float64(batches*transactions*b.N)/b.Elapsed().Seconds(), "transactions/s")
}
