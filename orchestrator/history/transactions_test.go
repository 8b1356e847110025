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

// node adds a node whose log is there from a minute before the beginning, was read to its end an hour after it, and tells of blocks.
func (l *logs) node(host string) {
	l.Helper()
	l.exec("INSERT INTO log_node (deployment_id, node_name, host, port, read_at) VALUES (1, $1, $2, 3086, $3)", "-"+host+"-3086", host, begun().Add(time.Hour))
	l.exec(`INSERT INTO log_cursor (deployment_id, node_id, server_uuid, next_id, started_at)
		SELECT 1, node_id, '00000000-0000-0000-0000-000000000001', 100, $2 FROM log_node WHERE host = $1`, host, begun().Add(-time.Minute))
	l.exec(`INSERT INTO block_trace (deployment_id, node_name, block_id, source, status, blockchain_length, trace_completed_at)
		VALUES (1, $1, 'D', 'External', 'Success', 12, extract(epoch FROM $2::timestamptz))`, "-"+host+"-3086", begun().Add(501*time.Second))
}

// gap says that entries of a node are lost, of so many seconds after the beginning.
func (l *logs) gap(host string, from, to int) {
	l.Helper()
	after := begun().Add(time.Duration(to) * time.Second)
	l.exec(`INSERT INTO log_gap (deployment_id, node_id, server_uuid, from_id, to_id, time_before, time_after, found_at)
		SELECT 1, node_id, '00000000-0000-0000-0000-000000000001', 5, 9, $2, $3, $3 FROM log_node WHERE host = $1`,
		host, begun().Add(time.Duration(from)*time.Second), after)
}

// restart says that a node was restarted: nothing was read of what it logged from so many seconds after the beginning on, and somebody noticed then.
func (l *logs) restart(host string, last, noticed int) {
	l.Helper()
	l.exec(`INSERT INTO log_gap (deployment_id, node_id, server_uuid, from_id, time_before, found_at, reason)
		SELECT 1, node_id, '00000000-0000-0000-0000-000000000000', 50, $2, $3, 'restart' FROM log_node WHERE host = $1`,
		host, begun().Add(time.Duration(last)*time.Second), begun().Add(time.Duration(noticed)*time.Second))
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
churn-0-0-5 unseen seen by 0: the sending node's log is complete and has no such index
churn-0-0-6 unseen seen by 0: the sending node's log is complete and has no such index
churn-0-0-7 included seen by 0, slot 103 of D, 8m20s
churn-0-0-8 unseen seen by 0: the sending node's log is complete and has no such index
churn-0-0-9 unseen seen by 0: the sending node's log is complete and has no such index
churn-0-0-10 unseen seen by 0: the sending node's log is complete and has no such index
churn-0-0-11 unseen seen by 0: the sending node's log is complete and has no such index
`
	// unknown is what is left when the sending node's log cannot tell: of what only that node has received, it may have refused the fourth.
	unknown := func(why string) string {
		return strings.NewReplacer("unseen seen by 0: the sending node's log is complete and has no such index", "unknown seen by 0: "+why,
			"missing seen by 1, received 20s", "unknown seen by 1, received 20s: "+why+": it may have refused it").Replace(rest)
	}
	const gap = "the sending node's log has a gap in the time of the batch"
	// blind is what is left of a ledger when besides no log tells of all blocks.
	const lost = ": no log that tells of blocks is complete since the batch began: the block with it may be missing"
	blind := func(ledger string) string {
		var lines strings.Builder
		for line := range strings.Lines(ledger) {
			for _, state := range []string{"rejected", "missing", "unknown"} {
				if before, after, is := strings.Cut(line, " "+state+" seen by "); is && after[0] != '0' {
					after, _, _ = strings.Cut(strings.TrimSpace(after), ": ")
					line = before + " unknown seen by " + after + lost + "\n"
				}
			}
			lines.WriteString(line)
		}
		return lines.String()
	}
	for _, test := range []struct {
		name   string
		change func(*logs)
		want   string
	}{
		{"complete logs", func(*logs) {}, rest},
		{"a gap of another node", func(l *logs) { l.gap("b", 10, 20) }, rest},
		{"a gap before the run", func(l *logs) { l.gap("a", -500, -400) }, rest},
		{"a gap of the sending node", func(l *logs) { l.gap("a", 10, 20) }, unknown(gap)},
		{"the sending node was not read to the end", func(l *logs) {
			l.exec("UPDATE log_node SET read_at = $1 WHERE host = 'a'", begun().Add(time.Minute))
		}, unknown("the sending node's log is not read to the end of the batch yet")},
		{"malformed entries", func(l *logs) {
			l.exec(`INSERT INTO log_malformed SELECT 1, node_id, '00000000-0000-0000-0000-000000000001', 3, 'no', '' FROM log_node WHERE host = 'a'`)
		}, unknown(gap)},
		{"malformed entries from before the run", func(l *logs) {
			l.exec(`INSERT INTO log_malformed SELECT 1, node_id, '00000000-0000-0000-0000-000000000001', 3, 'no', '', $1 FROM log_node WHERE host = 'a'`, begun().Add(-time.Second))
		}, rest},
		{"gaps everywhere", func(l *logs) {
			for _, host := range []string{"a", "b", "c"} {
				l.gap(host, 10, 20)
			}
		}, blind(unknown(gap))},
		{"all were restarted before the run", func(l *logs) {
			for _, host := range []string{"a", "b", "c"} {
				l.restart(host, -500, -400)
			}
		}, rest},
		{"all are restarted during the batch", func(l *logs) {
			for _, host := range []string{"a", "b", "c"} {
				l.restart(host, -10, 20)
			}
		}, blind(unknown(gap))},
		{"all are restarted after the batch", func(l *logs) {
			for _, host := range []string{"a", "b", "c"} {
				l.restart(host, 70, 80)
			}
		}, blind(rest)},
		{"only a node that died was read without a gap", func(l *logs) {
			l.exec("UPDATE log_node SET read_at = $1 WHERE host = 'a'", begun().Add(10*time.Minute))
			l.gap("b", 10, 20)
			l.gap("c", 10, 20)
		}, blind(rest)},
		{"the fetcher stopped soon after the batch", func(l *logs) { // what is so is so as of then
			l.exec("UPDATE log_node SET read_at = $1", begun().Add(10*time.Minute))
		}, rest},
		{"only files of one node were loaded", func(l *logs) {
			l.exec("UPDATE log_node SET read_at = NULL, host = NULL, port = NULL")
		}, blind(unknown("the fetcher has not read the sending node's log"))},
		{"no node was read to its end yet", func(l *logs) { l.exec("UPDATE log_node SET read_at = NULL") }, blind(unknown("the fetcher has not read the sending node's log"))},
		{"all logs begin after the batch", func(l *logs) {
			l.exec("UPDATE log_cursor SET started_at = $1", begun().Add(2*time.Minute))
		}, blind(unknown("the sending node's log begins after the batch"))},
		{"what all logged before they were met is there", func(l *logs) {
			l.exec("UPDATE log_cursor SET started_at = $1", begun().Add(2*time.Minute))
			l.exec(`INSERT INTO log_entry (deployment_id, node_id, server_uuid, log_id, loaded_on, fetched_at, logged_at, message)
				SELECT 1, node_id, server_uuid, 1, '2024-05-01', started_at, $1, 'First' FROM log_cursor`, begun().Add(-time.Second))
		}, rest},
		{"no node tells of blocks", func(l *logs) { l.exec("UPDATE block_trace SET status = 'Pending'") }, blind(rest)},
		{"nobody knows when the batch ends", func(l *logs) { l.exec("UPDATE run_load SET until_time = NULL") }, unknown("nobody knows when the batch ends")},
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

// What is missing or rejected is so up to the last reading of a log that is complete.
func TestLedgerAsOf(t *testing.T) {
	t.Parallel()
	l := newLogs(t)
	mustImport(t, l.uri, batchOf("a"))
	l.story()
	l.exec("UPDATE log_node SET read_at = read_at - interval '30 seconds' WHERE host = 'a'") // as new as any
	for _, test := range []struct {
		gaps []string
		want time.Duration
	}{{nil, time.Hour}, {[]string{"b", "c"}, time.Hour - 30*time.Second}} {
		for _, host := range test.gaps {
			l.gap(host, 10, 20)
		}
		ledger, err := history.OpenLedger(t.Context(), l.uri, "r")
		if err != nil {
			t.Fatal(err)
		}
		want := begun().Add(test.want)
		if ledger.AsOf == nil || !ledger.AsOf.Equal(want) {
			t.Errorf("gaps of %v: as of %v, want %v", test.gaps, ledger.AsOf, want)
		}
		if err := ledger.Each(t.Context(), nil, func(tx history.Transaction) error {
			told := tx.State == history.Missing || tx.State == history.Rejected
			if (tx.AsOf != nil) != told || told && !tx.AsOf.Equal(want) {
				t.Errorf("gaps of %v: %s is %s as of %v", test.gaps, tx.Memo(), tx.State, tx.AsOf)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := ledger.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Where network time runs 60 times as fast as the wall's, the wall's times of readings, gaps and first meetings are converted.
func TestLedgerOfAFasterNetwork(t *testing.T) {
	t.Parallel()
	const batch = 5 * time.Second                                        // of the wall's time, 5 minutes of the network's
	genesis := time.Now().UTC().Truncate(time.Hour).Add(-24 * time.Hour) // no clock runs as fast for years
	wall := func(d time.Duration) time.Time { return genesis.Add(d / 60) }
	for _, test := range []struct {
		name                 string
		met, read            time.Duration // network time after genesis
		lost, noticed        time.Duration // of a restart; 0 for none
		missing, unseen, all int
	}{
		{"complete", time.Minute, time.Hour, 0, 0, 1, 4, 5},
		{"read to before the end", time.Minute, 14 * time.Minute, 0, 0, 1, 0, 5}, // by the wall that is long before
		{"met after the beginning", 11 * time.Minute, time.Hour, 0, 0, 0, 0, 5},
		{"restarted before the beginning", time.Minute, time.Hour, 2 * time.Minute, 3 * time.Minute, 1, 4, 5},
		{"restarted in the middle", time.Minute, time.Hour, 2 * time.Minute, 12 * time.Minute, 0, 0, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLogs(t)
			l.exec("UPDATE deployment SET created_at = $1", genesis)
			from := genesis.Add(10 * time.Minute)
			line := func(at time.Time, rest string) string {
				return fmt.Sprintf(`{"time":%q,%s}`+"\n", at.Format(time.RFC3339Nano), rest)
			}
			mustImport(t, l.uri, line(wall(10*time.Minute), fmt.Sprintf(`"step":-1,"name":"_run","value":{"id":"r","seed":1,"genesis":%q,"clockScale":60}`, genesis.Format(time.RFC3339)))+
				line(wall(10*time.Minute), `"step":0,"action":"payments","name":"_intent","value":{"call":0,"kind":"payments","node":"a:3086","handle":"h","experiment":"churn-0","batch":0,"tps":"1/60","durationMin":5}`)+
				line(wall(10*time.Minute), fmt.Sprintf(`"step":0,"action":"payments","name":"_settled","value":{"call":0,"result":"done","handle":"h","ends":%q}`, from.Add(60*batch).Format(time.RFC3339))))
			l.node("a")
			l.exec("UPDATE log_node SET read_at = $1", wall(test.read))
			l.exec("UPDATE log_cursor SET started_at = $1", wall(test.met))
			l.exec("UPDATE block_trace SET trace_completed_at = extract(epoch FROM $1::timestamptz)", from.Add(time.Minute))
			if test.noticed > 0 {
				l.exec(`INSERT INTO log_gap (deployment_id, node_id, server_uuid, from_id, time_before, found_at, reason)
					SELECT 1, node_id, '00000000-0000-0000-0000-000000000000', 50, $1, $2, 'restart' FROM log_node`, genesis.Add(test.lost), wall(test.noticed))
			}
			sent := int(from.Add(time.Second).Sub(begun()).Seconds())
			l.event("a", "received", sent, true, "", "churn-0-0-0")
			l.event("a", "accepted", sent, true, "", "churn-0-0-0")
			got := l.ledger()
			if strings.Count(got, " missing ") != test.missing || strings.Count(got, " unseen ") != test.unseen || strings.Count(got, "\n") != test.all {
				t.Errorf("want %d missing and %d unseen of %d\n%s", test.missing, test.unseen, test.all, got)
			}
		})
	}
}

// The batches come in the order of rounds and numbers, the tenth round after the second, however they were asked for.
func TestOrderOfBatches(t *testing.T) {
	t.Parallel()
	l := newLogs(t)
	var text strings.Builder
	text.WriteString(batchOf())
	for call, name := range []string{"churn-10 0", "churn-2 1", "churn-2 0", "churn-0 11", "churn-0 9", "alone 0"} {
		experiment, batch, _ := strings.Cut(name, " ")
		fmt.Fprintf(&text, `{"time":"2024-05-01T10:00:00Z","step":0,"action":"payments","name":"_intent","value":{"call":%d,"kind":"payments","node":"a:3086","handle":"h","experiment":%q,"batch":%s,"tps":"1","durationMin":1}}`+"\n", call, experiment, batch)
	}
	mustImport(t, l.uri, text.String())
	ledger, err := history.OpenLedger(t.Context(), l.uri, "r")
	if err != nil {
		t.Fatal(err)
	}
	batches, err := ledger.Batches(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rounds, err := ledger.Rounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range batches {
		got = append(got, fmt.Sprint(b.Experiment, " ", b.Batch))
	}
	for _, r := range rounds {
		got = append(got, r.Experiment)
	}
	want := []string{"alone 0", "churn-0 9", "churn-0 11", "churn-2 0", "churn-2 1", "churn-10 0", "alone", "churn-0", "churn-2", "churn-10"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := ledger.Close(t.Context()); err != nil {
		t.Fatal(err)
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
