package schema_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// blocksOf returns the blocks of SQL of a file of the docs, by the headings of the second level, or deeper, above them.
func blocksOf(t *testing.T, name string) map[string][]string {
	t.Helper()
	content, err := os.ReadFile("../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	heading, block, inside := "", "", false
	for line := range strings.Lines(string(content)) {
		switch {
		case inside && line == "```\n":
			found[heading], inside = append(found[heading], strings.TrimSuffix(block, ";\n")), false
		case inside:
			block += line
		case line == "```sql\n":
			block, inside = "", true
		case strings.HasPrefix(line, "##"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
	}
	if inside {
		t.Fatalf("the last block of SQL of %s does not end", name)
	}
	return found
}

// queries returns the queries of docs/queries.md by the headings above them.
func queries(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for heading, blocks := range blocksOf(t, "queries.md") {
		if len(blocks) > 1 {
			t.Fatalf("%q wants one block of SQL", heading)
		}
		found[heading] = blocks[0]
	}
	return found
}

// answers are what the queries say of the network that observe makes, worked out by hand.
var answers = map[string]string{
	// Round 0: 20 payments, received second after second and all included at 100: 81 to 100 s. By rank the p50 is the 10th, the p95 the 19th.
	"Inclusion latency per round": `{"exp":"load","round":0,"submitted":20,"included":20,"p50":"00:01:30","p95":"00:01:39","longest":"00:01:40"}
{"exp":"load","round":1,"submitted":4,"included":3,"p50":"00:00:30","p95":"00:00:30","longest":"00:00:30"}
{"exp":"z","round":0,"submitted":1,"included":1,"p50":"00:00:20","p95":"00:00:20","longest":"00:00:20"}`,
	"All rounds at a glance": `{"exp":"load","round":0,"start":"2026-11-20T12:00:00+00:00","duration":"00:00:19","total":20,"zkapps":0,"rate_min":63.16,"missed":0.00,"failed":0.05,"successful":0.95,"max_latency":"00:01:40"}
{"exp":"load","round":1,"start":"2026-11-20T12:03:20+00:00","duration":"00:00:00","total":4,"zkapps":0,"rate_min":null,"missed":0.25,"failed":0.00,"successful":0.75,"max_latency":"00:00:30"}
{"exp":"z","round":0,"start":"2026-11-20T12:03:30+00:00","duration":"00:00:00","total":1,"zkapps":1,"rate_min":null,"missed":0.00,"failed":0.00,"successful":1.00,"max_latency":"00:00:20"}`,
	"Transactions never included": `{"memo":"load-1-0-3","type":"payment","first_received":"2026-11-20T12:03:20+00:00","nodes":2,"seen_by":"a, b","rejected_by":"b: pool is full"}
{"memo":"by hand","type":"payment","first_received":"2026-11-20T12:04:00+00:00","nodes":0,"seen_by":null,"rejected_by":null}`,
	// In a: Build_breadcrumb 1 s and 3 s, Apply_diff 2.5 s once. In b: Apply_diff.
	"Slowest checkpoint in block application per node": `{"node_name":"a","checkpoint":"Apply_diff","times":1,"mean_seconds":2.500000,"longest_seconds":2.500000}
{"node_name":"b","checkpoint":"Build_breadcrumb","times":1,"mean_seconds":0.250000,"longest_seconds":0.250000}`,
	"Block application time per node": `{"node_name":"a","blocks":2,"mean_seconds":4.250000,"p95_seconds":4.500000,"longest_seconds":4.500000}
{"node_name":"b","blocks":1,"mean_seconds":0.500000,"p95_seconds":0.500000,"longest_seconds":0.500000}`,
	"Blocks, orphans and full blocks per hour": `{"hour":"2026-11-20T12:00:00+00:00","blocks":3,"orphaned":1,"transactions":25,"fullest":20}
{"hour":"2026-11-20T13:00:00+00:00","blocks":1,"orphaned":0,"transactions":0,"fullest":0}`,
	"SNARK work latency per round": `{"exp":"load","round":0,"works":3,"received":2,"p50":"00:00:04","p95":"00:00:09","longest":"00:00:09"}`,
	"Gaps per node": `{"node_name":"b","gaps":2,"lost":25,"unknown":1,"lost_percent":25.000,"first_from":"2026-11-20T12:00:10+00:00","last_until":"2026-11-20T12:00:20+00:00"}
{"node_name":"a","gaps":0,"lost":0,"unknown":0,"lost_percent":0.000,"first_from":null,"last_until":null}
{"node_name":"c","gaps":0,"lost":0,"unknown":0,"lost_percent":null,"first_from":null,"last_until":null}`,
	"Nodes that lag": `{"node_name":"c","display_name":null,"state":"connecting","behind":null,"last_error":null}
{"node_name":"b","display_name":"Bob","state":"backoff","behind":"01:00:00","last_error":"refused"}`,
	"Restarts": `{"node_name":"b","restarts":3,"last":"2026-11-20T12:01:40+00:00","reasons":"Completed (exit code 0); new server UUID"}
{"node_name":"a","restarts":2,"last":"2026-11-20T12:01:40+00:00","reasons":"OOMKilled (exit code 137); unknown"}`,
	"What a node logged": `{"node_name":"a","log_id":2,"logged_at":null,"process":null,"message":"Two","metadata":null}
{"node_name":"a","log_id":3,"logged_at":"2026-11-20T12:00:03+00:00","process":"prover","message":"Three","metadata":null}
{"node_name":"a","log_id":4,"logged_at":"2026-11-20T12:00:04+00:00","process":null,"message":"@control","metadata":{"current_block": "0"}}`,
	"What is running now": `{"run_id":"now","experiment":"churn","script_name":"churn.exp","started_at":"2026-11-20T12:10:00+00:00","told_at":"2026-11-20T12:11:00+00:00","step":2,"name":"second","action":"wait"}`,
	"Verdicts of the last runs": `{"run_id":"now","experiment":"churn","script_name":"churn.exp","outcome":null,"line":null,"claim":null,"verdict":null,"actual":null,"evidence":null}
{"run_id":"old","experiment":null,"script_name":"load.exp","outcome":"claim failed","line":7,"claim":"tx.missing < 1%","verdict":"pass","actual":"0.4%","evidence":[]}
{"run_id":"old","experiment":null,"script_name":"load.exp","outcome":"claim failed","line":8,"claim":"tx.latency.p95 < 3 slots","verdict":"fail","actual":"3.5 slots","evidence":["25 entries of b are lost"]}`,
}

// Every query of the docs answers its question, of the newest deployment alone.
func TestQueriesOfTheDocs(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	execute(t, n.conn, "SET timezone = 'UTC'")
	older := n.deployment()
	n.fill([]int{older}, "2026-11-20") // of which no answer says anything
	n.observe(n.deployment())
	found := queries(t)
	for heading := range answers {
		if found[heading] == "" {
			t.Errorf("no query with the heading %q", heading)
		}
	}
	// One moment for all queries, so that "behind" is what observe said.
	execute(t, n.conn, "BEGIN")
	execute(t, n.conn, "UPDATE log_node SET read_at = now() - interval '1 hour' WHERE node_name = 'b'")
	for heading, query := range found {
		want, known := answers[heading]
		if !known {
			t.Errorf("nobody knows the answer to %q", heading)
		}
		if diff := cmp.Diff(want, n.table(query)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", heading, diff)
		}
	}
	execute(t, n.conn, "ROLLBACK")
}

// The queries of docs/evidence.md tell of the last run.
func TestQueriesOfTheEvidence(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	execute(t, n.conn, "SET timezone = 'UTC'")
	n.observe(n.deployment())
	execute(t, n.conn, "DELETE FROM run WHERE run_id = 'now'")
	execute(t, n.conn, `INSERT INTO run_load (run_id, call, step, experiment, batch, kind, node, tps, interval_ms, from_time, until_time, intended, result)
		VALUES ('old', 0, 0, 'load-1', 0, 'payments', 'a:1', 1, 1000, $1, $2, 4, 'done')`, at(150), at(300))
	// a is the node that was to send them; its log is there, and tells of a block since then.
	execute(t, n.conn, "UPDATE log_node SET host = 'a', port = 1, read_at = $1 WHERE node_name = 'a'", at(600))
	execute(t, n.conn, "UPDATE log_node SET read_at = $1 WHERE node_name = 'b'", at(599))
	execute(t, n.conn, "UPDATE log_cursor SET started_at = $1", start)
	execute(t, n.conn, "UPDATE block_trace SET trace_completed_at = extract(epoch FROM $1::timestamptz), blockchain_length = 9 WHERE source = 'Internal'", at(230))
	want := map[string][]string{
		"Runs": {`{"kind":"expect","line":7,"claim":"tx.missing < 1%","verdict":"pass","actual":"0.4%","expected":null,"evidence":[]}
{"kind":"expect","line":8,"claim":"tx.latency.p95 < 3 slots","verdict":"fail","actual":"3.5 slots","expected":null,"evidence":["25 entries of b are lost"]}`},
		"What became of every transaction": {`{"experiment":"load-1","batch":0,"ix":3,"node":"a:1","state":"missing","reason":null,"seen_by":2,"as_of":"2026-11-20T12:10:00+00:00"}`},
	}
	got := map[string][]string{}
	for heading, blocks := range blocksOf(t, "evidence.md") {
		for _, query := range blocks {
			got[heading] = append(got[heading], n.table(query))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// observe is a small network of the nodes a, b and c.
func (n network) observe(d int) {
	n.Helper()
	execute(n.T, n.conn, "SELECT ensure_day($1, '2026-11-20')", d)
	n.transactions(d)
	n.traces(d)
	n.runs(d)

	for node, values := range map[string]string{
		"a": "'running', true, now(), NULL, NULL", "b": "'backoff', true, now() - interval '1 hour', 'refused', 'Bob'", "c": "'connecting', true, NULL, NULL, NULL",
		"gone": "'stopped', false, NULL, NULL, NULL",
	} {
		execute(n.T, n.conn, "INSERT INTO log_node (deployment_id, node_name, state, listed, read_at, last_error, display_name) VALUES ($1, $2, "+values+")", d, node)
	}
	execute(n.T, n.conn, "DELETE FROM log_node WHERE deployment_id = $1 AND node_name = 'gone'", d)
	execute(n.T, n.conn, `INSERT INTO log_cursor (deployment_id, node_id, server_uuid, next_id, entries, lost)
		SELECT deployment_id, node_id, ('00000000-0000-0000-0000-00000000000' || life)::uuid, 100, entries, 0
		FROM log_node JOIN (VALUES ('a', 1, 10), ('a', 2, 20), ('b', 1, 75)) AS c(node_name, life, entries) USING (node_name) WHERE deployment_id = $1`, d)
	execute(n.T, n.conn, `INSERT INTO log_gap (deployment_id, node_id, server_uuid, from_id, to_id, time_before, time_after)
		SELECT deployment_id, node_id, '00000000-0000-0000-0000-000000000001', from_id, to_id, $2::timestamptz + before * interval '1 s', $2::timestamptz + after * interval '1 s'
		FROM log_node CROSS JOIN (VALUES (11, 35, 10, 20), (101, NULL, 30, NULL)) AS g(from_id, to_id, before, after) WHERE deployment_id = $1 AND node_name = 'b'`, d, start)
	execute(n.T, n.conn, `INSERT INTO log_reader (deployment_id, node_id, server_uuid)
		SELECT deployment_id, node_id, '00000000-0000-0000-0000-000000000002' FROM log_node WHERE deployment_id = $1 AND node_name = 'a'`, d)
	execute(n.T, n.conn, `INSERT INTO log_entry (deployment_id, node_id, server_uuid, log_id, loaded_on, fetched_at, logged_at, process, message, metadata)
		SELECT deployment_id, node_id, ('00000000-0000-0000-0000-00000000000' || life)::uuid, log_id, '2026-11-20', now(), $2::timestamptz + after * interval '1 s', process, message, metadata::jsonb
		FROM log_node CROSS JOIN (VALUES (1, 9, 0, NULL, 'An earlier life', NULL), (2, 1, 1, NULL, 'One', NULL), (2, 2, NULL, NULL, 'Two', NULL),
			(2, 3, 3, 'prover', 'Three', NULL), (2, 4, 4, NULL, '@control', '{"current_block": "0"}')) AS e(life, log_id, after, process, message, metadata)
		WHERE deployment_id = $1 AND node_name = 'a'`, d, start)
	execute(n.T, n.conn, `INSERT INTO node_restarts (deployment_id, node_name, time, reason, code)
		VALUES ($1, 'a', $2, 'OOMKilled', 137), ($1, 'a', $3, NULL, NULL), ($1, 'b', $2, 'Completed', 0),
		($1, 'b', $2, 'server UUID 6ba7b810-9dad-11d1-80b4-00c04fd430c8 became 6ba7b811-9dad-11d1-80b4-00c04fd430c8', NULL),
		($1, 'b', $3, 'server UUID 6ba7b811-9dad-11d1-80b4-00c04fd430c8 became 6ba7b812-9dad-11d1-80b4-00c04fd430c8', NULL)`, d, start, at(100))
}

// transactions are 20 payments of round 0, four of round 1 of which one is lost, a zkApp command, and one that belongs to no experiment.
func (n network) transactions(d int) {
	n.Helper()
	var round0 []string
	for i := range 20 {
		round0 = append(round0, fmt.Sprint("load-0-0-", i))
		n.received(d, i, round0[i])
	}
	n.received(d, 200, "load-1-0-0", "load-1-0-1", "load-1-0-2", "load-1-0-3")
	n.received(d, 210, "z-0-0-0")
	n.received(d, 240, "by hand")
	included := append([]string{"!" + round0[0]}, round0[1:]...)
	n.block(d, 100, "A", "genesis", 1, included...)
	n.block(d, 230, "B", "A", 2, "load-1-0-0", "load-1-0-1", "load-1-0-2", "z-0-0-0")
	n.block(d, 235, "C", "A", 2, "load-1-0-3") // orphaned
	n.block(d, 3600, "D", "B", 3)
	n.settle(d)

	execute(n.T, n.conn, `INSERT INTO tx_traces (block_trace_checkpoint_id, node_name, action, time, diff, sender, reason, deployment_id, loaded_on)
		SELECT id, node, action, $2::timestamptz + after * interval '1 s', jsonb_build_array(jsonb_build_array('payment', '7mX-' || memo, memo)), sender, reason, $1, '2026-11-20'
		FROM (VALUES (1, 'a', 'received', 200, 'load-1-0-3', NULL, NULL), (2, 'a', 'accepted', 201, 'load-1-0-3', NULL, NULL),
			(3, 'b', 'received', 202, 'load-1-0-3', 'a', NULL), (4, 'b', 'rejected', 203, 'load-1-0-3', 'a', 'pool is full'),
			(5, 'a', 'received', 200, 'load-1-0-2', NULL, NULL)) AS e(id, node, action, after, memo, sender, reason)`, d, start)
	execute(n.T, n.conn, `INSERT INTO uniq_sws (deployment_id, fst_work_id, fst_work_tx_memo, time_added, time_received)
		VALUES ($1, 1, 'load-0-0-0', $2, $3), ($1, 2, 'load-0-0-1', $2, $4), ($1, 3, 'load-0-0-2', $2, NULL), ($1, 4, 'by hand', $2, $5)`,
		d, start, at(4), at(9), at(99))
}

// traces are two blocks in a, one in b; besides a block that a made, one that failed, a repeated processing and gossip, all of which take long.
func (n network) traces(d int) {
	n.Helper()
	id := 0
	for i, block := range []struct {
		node, source, status string
		total                float64
		checkpoints          string // name@seconds; * marks a repeated processing, ~ gossip
	}{
		{"a", "External", "Success", 4.5, "External_block_received@0 Build_breadcrumb@0.5 Apply_diff@1.5 *Build_breadcrumb@2 ~Snark_work_received@3 Add@4 Breadcrumb_integrated@4.5 Late@99"},
		{"a", "External", "Success", 4, "External_block_received@0 Build_breadcrumb@0.25 Add@3.25 Breadcrumb_integrated@4"},
		{"a", "Internal", "Success", 50, "Begin_block_production@0 Breadcrumb_integrated@50"},
		{"b", "External", "Failure", 60, "External_block_received@0 Build_breadcrumb@1 Failure@60"},
		{"b", "External", "Success", 0.5, "External_block_received@0 Build_breadcrumb@0.25 Breadcrumb_integrated@0.5"},
	} {
		began := float64(start.Unix() + int64(100*i))
		number := one[int](n.T, n.conn, `INSERT INTO block_trace (deployment_id, node_name, block_id, source, status, trace_started_at, trace_completed_at, total_time)
			VALUES ($1, $2, $3, $4, $5, $6, $6::float8 + $7::float8, $7) RETURNING block_trace_id`, d, block.node, fmt.Sprint("3N", i), block.source, block.status, began, block.total)
		for checkpoint := range strings.FieldsSeq(block.checkpoints) {
			name, after, _ := strings.Cut(checkpoint, "@")
			id++
			execute(n.T, n.conn, `INSERT INTO block_trace_checkpoint (block_trace_checkpoint_id, block_trace_id, source, main_trace, is_control, gossip, name, started_at, deployment_id, loaded_on)
				VALUES ($1, $2, 'M', $3, false, $4, $5, $6::float8 + $7::text::float8, $8, '2026-11-20')`,
				id, number, name[0] != '*', name[0] == '~', strings.TrimLeft(name, "*~"), began, after, d)
		}
	}
}

func (n network) runs(d int) {
	n.Helper()
	execute(n.T, n.conn, `INSERT INTO run (run_id, deployment_id, script_name, experiment, started_at, told_at, ended_at, outcome) VALUES
		('old', $1, 'load.exp', NULL, $2, $3, $3, 'claim failed'), ('now', $1, 'churn.exp', 'churn', $4, $5, NULL, NULL)`, d, start, at(300), at(600), at(660))
	execute(n.T, n.conn, `INSERT INTO run_step (run_id, step, attempt, name, action, told_at) VALUES
		('now', 0, 1, 'first', 'load', $1), ('now', 2, 1, 'second', 'wait', $1), ('now', 1, 1, NULL, 'wait', $1), ('old', 9, 1, NULL, 'wait', $1)`, at(600))
	execute(n.T, n.conn, `INSERT INTO run_verdict (run_id, seq, kind, line, claim, verdict, actual, evidence, time) VALUES
		('old', 12, 'expect', 8, 'tx.latency.p95 < 3 slots', 'fail', '3.5 slots', '{25 entries of b are lost}', $1),
		('old', 11, 'expect', 7, 'tx.missing < 1%', 'pass', '0.4%', '{}', $1)`, at(300))
}

// No query of the docs does more than its share when there is more data: with four times the rows, its plan handles at most six times as many.
func TestQueriesOfTheDocsGrowWithTheData(t *testing.T) {
	t.Parallel()
	small, large := grown(t, 3000), grown(t, 12000)
	all := queries(t)
	for heading, query := range all {
		if before, after := small.handled(query), large.handled(query); after > 6*before+1000 {
			t.Errorf("%s: %.0f rows handled, and %.0f with four times the data", heading, before, after)
		}
	}
	if len(all) == 0 {
		t.Error("no query")
	}
	// What such a query looks like.
	const squared = "SELECT count(*) FROM txs AS a WHERE EXISTS (SELECT FROM txs AS b WHERE b.time > a.time + interval '1 year') AND ix < 3"
	if before, after := small.handled(squared), large.handled(squared); after <= 6*before+1000 {
		t.Errorf("a quadratic query handled %.0f rows, and %.0f with four times the data: the test sees no difference", before, after)
	}
}

// grown is a network with a number of transactions, checkpoints and so on.
func grown(t *testing.T, rows int) network {
	t.Helper()
	n := newNetwork(t)
	d := n.deployment()
	execute(t, n.conn, "SELECT ensure_day($1, '2026-11-20')", d)
	for _, sql := range []string{
		`SELECT store_received_txs($1, array_agg('7mX' || i), array_agg('payment'::text), array_agg(format('exp-%s-%s-%s', i / 1000, i / 100 % 10, i % 100)),
			array_agg('2026-11-20 12:00Z'::timestamptz + i * interval '1 s')) FROM generate_series(1, $2::int) AS i`,
		`INSERT INTO block_txs (hash, deployment_id, type, memo, block_received, result, state_hash, blockchain_length, global_slot, exp, round, batch)
			SELECT hash, deployment_id, type, memo, time + interval '1 min', 'Applied', '3N' || ix % 30, 1, 1, exp, round, batch FROM unique_txs WHERE deployment_id = $1 AND ix % 10 < 9 AND $2::int > 0`,
		`INSERT INTO tx_traces (block_trace_checkpoint_id, node_name, action, time, diff, deployment_id, loaded_on)
			SELECT 4 * i + k, 'node' || k % 2, CASE WHEN k < 2 THEN 'received' ELSE 'accepted' END, '2026-11-20 12:00Z', jsonb_build_array(jsonb_build_array('payment', '7mX' || i, 'memo')), $1, '2026-11-20'
			FROM generate_series(1, $2::int) AS i, generate_series(0, 3) AS k`,
		`INSERT INTO block (deployment_id, state_hash, blockchain_length, global_slot, first_received, canonical)
			SELECT $1, '3N' || i, i, i, '2026-11-20 12:00Z'::timestamptz + i * interval '1 min', i % 7 > 0 FROM generate_series(1, $2::int / 10) AS i`,
		`INSERT INTO block_tx (deployment_id, state_hash, hash, type, memo, result)
			SELECT $1, '3N' || i, '7mX' || k * i, 'payment', 'memo', 'Applied' FROM generate_series(1, $2::int / 10) AS i, generate_series(1, 10) AS k`,
		`INSERT INTO block_trace (deployment_id, node_name, block_id, source, status, trace_started_at, trace_completed_at, total_time, block_trace_id)
			SELECT $1, 'node' || i % 10, '3N' || i, 'External', 'Success', 1.7e9, 1.7e9 + 10, 10, i FROM generate_series(1, $2::int / 10) AS i`,
		`INSERT INTO block_trace_checkpoint (block_trace_id, block_trace_checkpoint_id, source, main_trace, is_control, name, started_at, deployment_id, loaded_on)
			SELECT i, 10 * i + k, 'M', true, false, 'Step' || k, 1.7e9 + k, $1, '2026-11-20' FROM generate_series(1, $2::int / 10) AS i, generate_series(1, 10) AS k`,
		`INSERT INTO uniq_sws (deployment_id, fst_work_id, fst_work_tx_memo, time_added, time_received)
			SELECT $1, i, format('exp-%s-0-%s', i / 1000, i), now(), now() FROM generate_series(1, $2::int) AS i`,
		"INSERT INTO log_node (deployment_id, node_name, listed) SELECT $1, 'node' || i, true FROM generate_series(1, $2::int / 10) AS i",
		"INSERT INTO log_cursor (deployment_id, node_id, server_uuid, next_id) SELECT deployment_id, node_id, '00000000-0000-0000-0000-000000000001', 1 FROM log_node WHERE deployment_id = $1 AND $2::int > 0",
		"INSERT INTO log_reader (deployment_id, node_id, server_uuid) SELECT deployment_id, node_id, server_uuid FROM log_cursor WHERE deployment_id = $1 AND $2::int > 0",
		"INSERT INTO log_gap (deployment_id, node_id, server_uuid, from_id, to_id) SELECT deployment_id, node_id, server_uuid, k, k FROM log_cursor, generate_series(1, 10) AS k WHERE deployment_id = $1 AND $2::int > 0",
		`INSERT INTO log_entry (deployment_id, node_id, server_uuid, log_id, loaded_on, fetched_at, message)
			SELECT deployment_id, node_id, server_uuid, k, '2026-11-20', now(), 'message' FROM log_cursor, generate_series(1, 10) AS k WHERE deployment_id = $1 AND $2::int > 0`,
		"INSERT INTO node_restarts (deployment_id, node_name, reason) SELECT $1, 'node' || i % 10, 'restart' FROM generate_series(1, $2::int) AS i",
		"INSERT INTO run (run_id, deployment_id, started_at) SELECT i, $1, now() + i * interval '1 s' FROM generate_series(1, $2::int / 10) AS i",
		"INSERT INTO run_step (run_id, step, attempt, action, told_at) SELECT run_id, k, 1, 'wait', now() FROM run, generate_series(1, 10) AS k WHERE deployment_id = $1 AND $2::int > 0",
		"INSERT INTO run_verdict (run_id, seq, kind, line, claim, verdict, evidence, time) SELECT run_id, k, 'expect', 1, 'claim', 'pass', '{}', now() FROM run, generate_series(1, 10) AS k WHERE deployment_id = $1 AND $2::int > 0",
	} {
		execute(t, n.conn, sql, d, rows)
	}
	execute(t, n.conn, "ANALYZE")
	return n
}

// plan is a node of what EXPLAIN (ANALYZE, FORMAT JSON) prints.
type plan struct {
	Rows       float64 `json:"Actual Rows"` // on average per loop, as are the others
	Loops      float64 `json:"Actual Loops"`
	Filtered   float64 `json:"Rows Removed by Filter"`
	JoinFilter float64 `json:"Rows Removed by Join Filter"`
	Rechecked  float64 `json:"Rows Removed by Index Recheck"`
	Plans      []plan  `json:"Plans"`
}

func (p plan) handled() float64 {
	sum := (p.Rows + p.Filtered + p.JoinFilter + p.Rechecked) * math.Max(p.Loops, 1)
	for _, below := range p.Plans {
		sum += below.handled()
	}
	return sum
}

// handled is how many rows the parts of a query's plan give or drop, all together.
func (n network) handled(query string) float64 {
	n.Helper()
	text := one[string](n.T, n.conn, "EXPLAIN (ANALYZE, TIMING off, FORMAT JSON) "+query)
	var explained []struct{ Plan plan }
	if err := json.Unmarshal([]byte(text), &explained); err != nil {
		n.Fatal(err)
	}
	return explained[0].Plan.handled()
}
