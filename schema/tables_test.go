package schema_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"provingground/internal/privatepg/pgtest"
	"provingground/schema"
)

// queriedToday is what people's queries and dashboards rely on: internal-trace, section 6, with the types of the existing schema.
// varchar and text are the same to a query. The action of pool events was an enumeration, which refused new names (section 7).
const queriedToday = `
deployment: deployment_id int4, metadata_json jsonb
block_trace: block_trace_id int4, deployment_id int4, node_name text, block_id text, trace_started_at float8, trace_completed_at float8, total_time float8, source text, status text, blockchain_length int4, global_slot int4, metadata_json jsonb
block_trace_checkpoint: block_trace_checkpoint_id int8, block_trace_id int4, source bpchar, main_trace bool, is_control bool, name text, started_at float8, metadata_json jsonb, call_id int4, gossip bool
data: key text, deployment_id int4, node_name text, value text
tx_traces: block_trace_checkpoint_id int8, node_name text, action text, time timestamptz, diff jsonb, sender text, reason text
sw_traces: block_trace_checkpoint_id int8, node_name text, action text, time timestamptz, fst_work_id int4, snd_work_id int4, fee text, prover text, sender text, reason text, fst_work_type text, snd_work_type text, fst_work_tx_hash text, snd_work_tx_hash text, fst_work_tx_memo text, snd_work_tx_memo text
unique_txs: hash text, deployment_id int4, type text, memo text, time timestamptz
block_txs: hash text, deployment_id int4, type text, memo text, block_received timestamptz, result text
uniq_sws: deployment_id int4, fst_work_id int4, snd_work_id int4, fee text, prover text, sender text, fst_work_type text, snd_work_type text, fst_work_tx_hash text, snd_work_tx_hash text, fst_work_tx_memo text, snd_work_tx_memo text, time_added timestamptz, time_received timestamptz, time_scheduled timestamptz
sw_interruptions: block_trace_id int4, deployment_id int4, time timestamptz, at int4, reason text, fst_work_id int4, snd_work_id int4
node_restarts: id int4, deployment_id int4, node_name text, time timestamptz, reason text, code int4, object_name text, object_namespace text, container_name text, restart_count int4
experiment_state: name text, description text, created_at timestamp, updated_at timestamp, ended_at timestamp, status text, comment text, setup_json jsonb, current_step_no int4, current_step_name text, warnings _text, errors _text, logs _text
tx_diffs: time timestamptz, diff jsonb, node_name text, sender text, outcome text, reason text, outcome_time timestamptz
received_txs: node_name text, time timestamptz, sender text, outcome_time timestamptz, outcome text, reason text, type text, hash text, memo text
txs: hash text, deployment_id int4, type text, memo text, time timestamptz, block_received timestamptz, latency interval, result text
experiments: exp text, round int4, deployment_id int4, rate_min numeric, zkapp_rate_min numeric, payment_rate_min numeric, duration interval, max_latency interval, missed numeric, failed numeric, successful numeric, start timestamptz, total int8, zkapps int8
sw_experiments: exp text, round int4, deployment_id int4, fst_tx_type text, snd_tx_type text, total_sws int8, min_received_scheduled_sec numeric, avg_received_scheduled_sec numeric, max_received_scheduled_sec numeric, min_received_added_sec numeric, avg_received_added_sec numeric, max_received_added_sec numeric
`

// readElsewhere is what programs beside the existing uptime service read: uptime, section 6.2, which knows the names alone.
const readElsewhere = `
submissions: submitted_at_date date, submitted_at timestamptz, submitter text, created_at timestamptz, block_hash text, remote_addr text, peer_id text, graphql_control_port int4, built_with_commit_sha text
`

func TestColumnsPeopleQueryAreThere(t *testing.T) {
	t.Parallel()
	conn := migrated(t)
	for line := range strings.Lines(strings.TrimSpace(queriedToday) + strings.TrimRight(readElsewhere, "\n")) {
		table, want, _ := strings.Cut(strings.TrimSpace(line), ": ")
		got := one[string](t, conn, `SELECT coalesce(string_agg(column_name || ' ' || CASE udt_name WHEN 'varchar' THEN 'text' ELSE udt_name END, ', ' ORDER BY ordinal_position), '')
			FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1`, table)
		// Further columns come after those, so that SELECT * keeps its first ones.
		if got != want && !strings.HasPrefix(got, want+", ") {
			t.Errorf("%s has %s\nwant %s", table, got, want)
		}
	}
	if got := one[*int](t, conn, "SELECT get_max_deployment_id()"); got != nil {
		t.Errorf("newest deployment of an empty database is %d", *got)
	}
}

// network is a database to which a test plays the loader.
type network struct {
	*testing.T
	conn *pgx.Conn
}

var start = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// at is a time in seconds after the start.
func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func newNetwork(t *testing.T) network {
	t.Helper()
	return network{t, migrated(t)}
}

func (n network) deployment() int {
	n.Helper()
	return one[int](n.T, n.conn, "SELECT create_deployment('{}')")
}

// received tells of payments, named by their memos, that some node received at a time.
func (n network) received(deployment, seconds int, memos ...string) {
	n.Helper()
	types, times := make([]string, len(memos)), make([]time.Time, len(memos))
	for i, memo := range memos {
		types[i], times[i] = kind(memo), at(seconds)
	}
	execute(n.T, n.conn, "SELECT store_received_txs($1, $2, $3, $4, $5)", deployment, hashes(memos), types, memos, times)
}

// block tells of a block: its name, its parent's, its length, and its payments as memo or !memo for a failed one.
func (n network) block(deployment, seconds int, name, parent string, length int, memos ...string) {
	n.Helper()
	results, types := make([]string, len(memos)), make([]string, len(memos))
	plain := make([]string, len(memos))
	for i, memo := range memos {
		results[i] = "Applied"
		if strings.HasPrefix(memo, "!") {
			results[i] = "Failed"
		}
		plain[i] = strings.TrimPrefix(memo, "!")
		types[i] = kind(plain[i])
	}
	execute(n.T, n.conn, "SELECT store_block($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", deployment, name, parent, length, 2*length, at(seconds),
		hashes(plain), types, plain, results)
}

func (n network) settle(deployment int) {
	n.Helper()
	execute(n.T, n.conn, "SELECT settle_chain($1)", deployment)
}

// hashes gives a transaction the same hash whenever and wherever its memo is the same.
func hashes(memos []string) []string {
	list := make([]string, len(memos))
	for i, memo := range memos {
		list[i] = "7mX-" + memo
	}
	return list
}

// kind lets a memo that begins with z be that of a zkApp command.
func kind(memo string) string {
	if strings.HasPrefix(memo, "z") {
		return "zkapp:2:1"
	}
	return "payment"
}

// table returns the rows of a query as text, one per line.
func (n network) table(sql string, arguments ...any) string {
	n.Helper()
	rows, err := n.conn.Query(n.Context(), "SELECT row_to_json(q)::text FROM ("+sql+") AS q", arguments...)
	if err != nil {
		n.Fatalf("%s: %v", sql, err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		n.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(lines, "\n")
}

func (n network) wants(want, sql string, arguments ...any) {
	n.Helper()
	if diff := cmp.Diff(want, n.table(sql, arguments...)); diff != "" {
		n.Errorf("%s (-want +got):\n%s", sql, diff)
	}
}

func TestExperiments(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	d := n.deployment()
	n.received(d, 30, "exp-1-0-1")
	n.received(d, 0, "exp-1-0-0", "exp-1-0-1") // the second one again, earlier, from another node
	n.received(d, 60, "exp-1-1-0", "zk-2-0-0", "no experiment", "exp-1-1-9999999999")
	n.received(d, 60, "zk-2-0-1")
	n.block(d, 90, "a", "genesis", 1, "exp-1-0-0", "!exp-1-0-1", "zk-2-0-0")
	n.block(d, 80, "a", "genesis", 1, "exp-1-0-0", "!exp-1-0-1", "zk-2-0-0") // earlier, by another node
	n.settle(d)
	n.wants(`{"exp":"exp","round":1,"deployment_id":1,"rate_min":3.00,"zkapp_rate_min":0.00,"payment_rate_min":3.00,"duration":"00:01:00","max_latency":"00:01:20","missed":0.33,"failed":0.33,"successful":0.33,"total":3,"zkapps":0}
{"exp":"zk","round":2,"deployment_id":1,"rate_min":null,"zkapp_rate_min":null,"payment_rate_min":null,"duration":"00:00:00","max_latency":"00:00:20","missed":0.50,"failed":0.00,"successful":0.50,"total":2,"zkapps":2}`,
		"SELECT exp, round, deployment_id, rate_min, zkapp_rate_min, payment_rate_min, duration, max_latency, missed, failed, successful, total, zkapps FROM experiments")
	n.wants(`{"memo":"exp-1-0-1","latency":"00:01:20","result":"Failed","exp":"exp","round":1,"batch":0,"ix":1}
{"memo":"no experiment","latency":null,"result":null,"exp":null,"round":null,"batch":null,"ix":null}`,
		"SELECT memo, latency, result, exp, round, batch, ix FROM txs WHERE memo IN ('exp-1-0-1', 'no experiment') ORDER BY memo")
}

func TestOneExperimentNameInTwoDeployments(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	first, second := n.deployment(), n.deployment()
	n.received(first, 0, "exp-1-0-0", "exp-1-0-1")
	n.received(second, 0, "exp-1-0-0", "exp-1-0-1") // the very same transactions
	n.block(second, 10, "a", "genesis", 1, "exp-1-0-0", "exp-1-0-1")
	n.settle(second)
	const shares = "SELECT deployment_id, missed, successful, total FROM experiments ORDER BY deployment_id"
	n.wants(`{"deployment_id":1,"missed":1.00,"successful":0.00,"total":2}
{"deployment_id":2,"missed":0.00,"successful":1.00,"total":2}`, shares)
	// Late data of the first deployment, after the second began.
	n.block(first, 20, "a", "genesis", 1, "exp-1-0-0")
	n.settle(first)
	n.wants(`{"deployment_id":1,"missed":0.50,"successful":0.50,"total":2}
{"deployment_id":2,"missed":0.00,"successful":1.00,"total":2}`, shares)
	n.wants(`{"deployment_id":1,"latency":"00:00:20"}
{"deployment_id":2,"latency":"00:00:10"}`, "SELECT deployment_id, latency FROM txs WHERE memo = 'exp-1-0-0' ORDER BY 1")
}

func TestOrphanedBlockIsNoInclusion(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	d := n.deployment()
	n.received(d, 0, "exp-1-0-0", "exp-1-0-1", "exp-1-0-2")
	n.block(d, 10, "a1", "genesis", 1, "exp-1-0-0")
	n.block(d, 20, "a2", "a1", 2, "exp-1-0-1", "!exp-1-0-2")
	n.settle(d)
	const result = "SELECT memo, result, latency FROM txs ORDER BY memo"
	n.wants(`{"memo":"exp-1-0-0","result":"Applied","latency":"00:00:10"}
{"memo":"exp-1-0-1","result":"Applied","latency":"00:00:20"}
{"memo":"exp-1-0-2","result":"Failed","latency":"00:00:20"}`, result)
	// A rival of the same length, received later, changes nothing.
	n.block(d, 25, "b2", "a1", 2, "exp-1-0-2")
	n.settle(d)
	n.wants(`{"state_hash":"a1","canonical":true}
{"state_hash":"a2","canonical":true}
{"state_hash":"b2","canonical":false}`, "SELECT state_hash, canonical FROM block ORDER BY 1")
	// Its successor makes it win: one transaction is not included any more, another one has succeeded after all.
	n.block(d, 40, "b3", "b2", 3)
	n.settle(d)
	n.wants(`{"memo":"exp-1-0-0","result":"Applied","latency":"00:00:10"}
{"memo":"exp-1-0-1","result":null,"latency":null}
{"memo":"exp-1-0-2","result":"Applied","latency":"00:00:25"}`, result)
	n.wants(`{"missed":0.33,"failed":0.00,"successful":0.67}`, "SELECT missed, failed, successful FROM experiments")
	n.wants(`{"hash":"7mX-exp-1-0-1"}`, `SELECT t.hash FROM block_tx t JOIN block b USING (deployment_id, state_hash)
		WHERE NOT canonical AND hash NOT IN (SELECT hash FROM block_txs)`)
}

func TestBlocksThatComeLate(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	d := n.deployment()
	n.block(d, 10, "a1", "genesis", 1, "exp-1-0-1")
	n.block(d, 11, "b2", "b1", 2)
	n.block(d, 30, "a3", "a2", 3, "exp-1-0-3")
	n.settle(d) // a2 is unknown: the best block below takes its place
	const canonical = "SELECT string_agg(state_hash, ' ' ORDER BY state_hash) AS canonical FROM block WHERE canonical"
	n.wants(`{"canonical":"a1 a3 b2"}`, canonical)
	n.block(d, 20, "a2", "a1", 2, "exp-1-0-2")
	n.settle(d)
	n.wants(`{"canonical":"a1 a2 a3"}`, canonical)
	n.wants(`{"n":3}`, "SELECT count(*) AS n FROM block_txs")
	// In a block, though no node told that it received them.
	n.wants(`{"total":3,"missed":0.00,"successful":1.00,"start":null}`, "SELECT total, missed, successful, start FROM experiments")
	n.received(d, 5, "exp-1-0-1", "exp-1-0-2", "exp-1-0-3")
	n.wants(`{"total":3,"max_latency":"00:00:25"}`, "SELECT total, max_latency FROM experiments")
	// Another node, whose log comes only now, had the last block earlier.
	n.block(d, 15, "a3", "a2", 3, "exp-1-0-3")
	n.settle(d)
	n.wants(`{"total":3,"max_latency":"00:00:15"}`, "SELECT total, max_latency FROM experiments")
}

// TestAnyOrderGivesTheSame plays the same chain in several orders and batches.
func TestAnyOrderGivesTheSame(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	type told func(d int)
	events := []told{
		func(d int) { n.received(d, 1, "exp-1-0-0", "exp-1-1-0", "zed-1-0-0") },
		func(d int) { n.received(d, 2, "exp-1-0-0", "exp-2-0-0") },
		func(d int) { n.block(d, 10, "a1", "genesis", 1, "exp-1-0-0") },
		func(d int) { n.block(d, 20, "a2", "a1", 2, "!exp-1-1-0") },
		func(d int) { n.block(d, 21, "b2", "a1", 2, "exp-2-0-0") },
		func(d int) { n.block(d, 30, "b3", "b2", 3, "zed-1-0-0") },
	}
	const query = `SELECT (SELECT json_agg(b ORDER BY state_hash) FROM (SELECT state_hash, canonical FROM block WHERE deployment_id = $1) b) AS blocks,
		(SELECT json_agg(t ORDER BY hash) FROM (SELECT hash, time, block_received, result FROM txs WHERE deployment_id = $1) t) AS txs,
		(SELECT json_agg(e ORDER BY exp, round) FROM (SELECT exp, round, missed, failed, successful, total, start, max_latency FROM experiments WHERE deployment_id = $1) e) AS experiments`
	var want string
	for order, turn := range [][]int{{0, 1, 2, 3, 4, 5}, {5, 4, 3, 2, 1, 0}, {3, 0, 5, 2, 1, 4}, {4, 5, 1, 3, 0, 2}, {2, 4, 0, 3, 5, 1}} {
		d := n.deployment()
		for i, event := range turn {
			events[event](d)
			if (i+order)%2 == 0 {
				n.settle(d)
			}
		}
		n.settle(d)
		got := n.table(query, d)
		if want == "" {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("order %v gives something else (-first +this):\n%s", turn, diff)
		}
	}
	if !strings.Contains(want, `"state_hash":"b3", "canonical":true`) && !strings.Contains(want, `"state_hash":"b3","canonical":true`) {
		t.Errorf("b3 should be on the best chain: %s", want)
	}
}

func TestSnarkWork(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	d := n.deployment()
	execute(t, n.conn, "SELECT ensure_day($1, '2026-11-20')", d)
	id := 0
	work := func(action string, seconds, fst int, snd *int, fstMemo, sndMemo *string) {
		t.Helper()
		id++
		execute(t, n.conn, `INSERT INTO sw_traces (block_trace_checkpoint_id, node_name, action, time, fst_work_id, snd_work_id, fst_work_type, snd_work_type,
			fst_work_tx_memo, snd_work_tx_memo, deployment_id, loaded_on) VALUES ($1, 'n', $2, $3, $4, $5, $6, $7, $8, $9, $10, '2026-11-20')`,
			id, action, at(seconds), fst, snd, "payment", map[bool]any{true: "payment"}[snd != nil], fstMemo, sndMemo, d)
	}
	ptr := func(text string) *string { return &text }
	two, four := 2, 4
	work("scheduled", 0, 1, &two, ptr("exp-1-0-0"), ptr("exp-1-0-1"))
	work("received", 7, 1, &two, ptr("exp-1-0-0"), ptr("exp-1-0-1"))
	work("received", 5, 1, &two, nil, nil)                           // older daemons tell no transactions
	work("added", 4, 3, &four, ptr("exp-1-0-2"), ptr("other-7-0-0")) // two rounds
	work("received", 6, 3, &four, ptr("exp-1-0-2"), ptr("other-7-0-0"))
	work("received", 9, 5, nil, ptr("exp-2-0-0"), nil) // a single transaction
	execute(t, n.conn, "SELECT store_sws($1, '2026-11-20', ARRAY[1, 2, 3])", d)
	execute(t, n.conn, "SELECT store_sws($1, '2026-11-20', (SELECT array_agg(i) FROM generate_series(4, $2::bigint) AS i))", d, id)
	execute(t, n.conn, "SELECT store_sws($1, '2026-11-20', (SELECT array_agg(i) FROM generate_series(1, $2::bigint) AS i))", d, id) // again changes nothing
	n.wants(`{"exp":"exp","round":1,"snd_tx_type":"payment","total_sws":2,"min_received_scheduled_sec":5.000000,"min_received_added_sec":2.000000}
{"exp":"exp","round":2,"snd_tx_type":null,"total_sws":1,"min_received_scheduled_sec":null,"min_received_added_sec":null}`,
		"SELECT exp, round, snd_tx_type, total_sws, min_received_scheduled_sec, min_received_added_sec FROM sw_experiments")
}

func TestReceivedTransactionsWithTheirOutcome(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	first, second := n.deployment(), n.deployment()
	id := 0
	for _, d := range []int{first, second} {
		execute(t, n.conn, "SELECT ensure_day($1, '2026-11-20')", d)
	}
	event := func(d int, node, action string, seconds int, reason any) {
		t.Helper()
		id++
		execute(t, n.conn, `INSERT INTO tx_traces (block_trace_checkpoint_id, node_name, action, time, diff, sender, reason, deployment_id, loaded_on)
			VALUES ($1, $2, $3, $4, '[["payment","7mX","memo"],["payment","7mY",null]]', 'peer', $5, $6, '2026-11-20')`, id, node, action, at(seconds), reason, d)
	}
	event(first, "n", "received", 0, nil)
	event(first, "m", "received", 1, nil)
	event(second, "n", "accepted", 2, nil) // the same diff, node name and sender, but another network
	event(first, "n", "rejected", 3, "too late")
	n.wants(`{"node_name":"m","hash":"7mX","outcome":null,"reason":null,"memo":"memo"}
{"node_name":"m","hash":"7mY","outcome":null,"reason":null,"memo":null}
{"node_name":"n","hash":"7mX","outcome":"rejected","reason":"too late","memo":"memo"}
{"node_name":"n","hash":"7mY","outcome":"rejected","reason":"too late","memo":null}`,
		"SELECT node_name, hash, outcome, reason, memo FROM received_txs ORDER BY node_name, hash")
}

// fill writes a log entry and a checkpoint for each deployment and day.
func (n network) fill(deployments []int, days ...string) {
	n.Helper()
	for _, d := range deployments {
		node := one[int](n.T, n.conn, "INSERT INTO log_node (deployment_id, node_name) VALUES ($1, 'n') RETURNING node_id", d)
		execute(n.T, n.conn, "INSERT INTO log_cursor (deployment_id, node_id, server_uuid, next_id) VALUES ($1, $2, gen_random_uuid(), 1)", d, node)
		execute(n.T, n.conn, "INSERT INTO log_gap (deployment_id, node_id, server_uuid, from_id, to_id) VALUES ($1, $2, gen_random_uuid(), 1, 3)", d, node)
		for i, day := range days {
			execute(n.T, n.conn, "SELECT ensure_day($1, $2)", d, day)
			execute(n.T, n.conn, `INSERT INTO log_entry (deployment_id, node_id, server_uuid, log_id, loaded_on, fetched_at, message)
				VALUES ($1, $2, gen_random_uuid(), $3, $4, now(), '@control')`, d, node, i, day)
			execute(n.T, n.conn, `WITH b AS (INSERT INTO block_trace (deployment_id, node_name, block_id, trace_completed_at)
					VALUES ($1, 'n', $2::text, extract(epoch FROM $3::date::timestamp + '1 hour')) RETURNING block_trace_id)
				INSERT INTO block_trace_checkpoint (block_trace_id, source, main_trace, is_control, name, started_at, deployment_id, loaded_on)
				SELECT block_trace_id, 'M', true, false, 'Failure', 0, $1, $3 FROM b`, d, fmt.Sprint("3N", i), day)
		}
		n.received(d, 0, "exp-1-0-0")
		n.block(d, 1, "a", "genesis", 1, "exp-1-0-0")
		n.settle(d)
	}
}

const counts = `SELECT deployment_id, (SELECT count(*) FROM log_entry l WHERE l.deployment_id = d.deployment_id) AS entries,
	(SELECT count(*) FROM block_trace l WHERE l.deployment_id = d.deployment_id) AS traces,
	(SELECT count(*) FROM block_trace_checkpoint l WHERE l.deployment_id = d.deployment_id) AS checkpoints,
	(SELECT count(*) FROM txs l WHERE l.deployment_id = d.deployment_id) AS txs,
	(SELECT count(*) FROM log_gap l WHERE l.deployment_id = d.deployment_id) AS gaps,
	(SELECT count(*) FROM experiments l WHERE l.deployment_id = d.deployment_id) AS experiments FROM deployment d ORDER BY 1`

func TestDropDeployment(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	first, second := n.deployment(), n.deployment()
	n.fill([]int{first, second}, "2026-11-19", "2026-11-20")
	execute(t, n.conn, "INSERT INTO run (run_id, deployment_id, started_at) VALUES ('r', $1, now())", first)
	execute(t, n.conn, "SELECT drop_deployment($1)", first)
	n.wants(`{"deployment_id":2,"entries":2,"traces":2,"checkpoints":2,"txs":1,"gaps":1,"experiments":1}`, counts)
	n.wants(`{"left":0}`, "SELECT count(*) AS left FROM pg_class WHERE relname LIKE '%\\_1' OR relname LIKE '%\\_1\\_2%'")
	n.wants(`{"run_id":"r","deployment_id":null}`, "SELECT run_id, deployment_id FROM run")
	if third := n.deployment(); third != 3 {
		t.Errorf("the next deployment is %d, want 3: numbers are not used twice", third)
	}
}

func TestDropOldDays(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	d := n.deployment()
	n.fill([]int{d}, "2026-11-18", "2026-11-19", "2026-11-20")
	other := one[string](t, n.conn, "SELECT pg_relation_filepath('log_entry_1_20261120')")
	execute(t, n.conn, "SELECT drop_days_before('2026-11-20')")
	n.wants(`{"deployment_id":1,"entries":1,"traces":1,"checkpoints":1,"txs":1,"gaps":1,"experiments":1}`, counts)
	if got := one[string](t, n.conn, "SELECT pg_relation_filepath('log_entry_1_20261120')"); got != other {
		t.Errorf("the table that stays was rewritten: %s is now %s", other, got)
	}
}

func TestAnEntryIsStoredOnce(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	d := n.deployment()
	execute(t, n.conn, "SELECT ensure_day($1, '2026-11-20')", d)
	const insert = `INSERT INTO log_entry (deployment_id, node_id, server_uuid, log_id, loaded_on, fetched_at, message)
		VALUES ($1, 1, '6ba7b810-9dad-11d1-80b4-00c04fd430c8', 7, '2026-11-20', now(), '@control')`
	execute(t, n.conn, insert, d)
	if _, err := n.conn.Exec(t.Context(), insert, d); err == nil {
		t.Error("the same entry was stored twice")
	}
}

// TestPartitionsAreMadeAtOnce lets several loaders find out at the same moment that a day has begun.
func TestPartitionsAreMadeAtOnce(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	d := n.deployment()
	results := make(chan error)
	const loaders = 8
	for range loaders {
		conn := connect(t, n.conn.Config().ConnString())
		go func() {
			_, err := conn.Exec(t.Context(), "SELECT ensure_day($1, '2026-11-21')", d)
			results <- err
		}()
	}
	for range loaders {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

func TestMemoOfAnExperiment(t *testing.T) {
	t.Parallel()
	conn := migrated(t)
	for memo, want := range map[string]string{
		"exp-1-2-3":                          "exp 1 2 3",
		"a-b-10-20-30":                       "a-b 10 20 30",
		"1-2-3-4-5":                          "1-2 3 4 5",
		"-1-2-3":                             " 1 2 3",
		"exp-007-2-3":                        "exp 7 2 3",
		"line\nbreak-1-2-3":                  "line\nbreak 1 2 3",
		"zażółć-1-2-3":                       "zażółć 1 2 3",
		"exp-999999999-2-3":                  "exp 999999999 2 3",
		"exp-9999999999-2-3":                 "none", // more digits than a round has
		"exp-1-2":                            "none",
		"exp-1-2-":                           "none",
		"exp-1-2-3x":                         "none",
		"exp-1--2-3":                         "none",
		"1-2-3":                              "none",
		"":                                   "none",
		strings.Repeat("x", 250) + "-1-2-3":  "none", // longer than a memo, and than an index takes
		strings.Repeat("x", 249) + "-1-2-3":  strings.Repeat("x", 249) + " 1 2 3",
		strings.Repeat("-1", 1<<16) + "-1-2": "none",
	} {
		got := one[string](t, conn, "SELECT coalesce(memo_exp(m) || ' ' || memo_number(m, -3) || ' ' || memo_number(m, -2) || ' ' || memo_number(m, -1), 'none') FROM (SELECT $1::text) AS q(m)", memo)
		if got != want {
			t.Errorf("memo %.60q is %q, want %q", memo, got, want)
		}
	}
}

// BenchmarkStoreBatch stores batches of 1000 transactions, each received and included in a block of its own, into tables that grow.
// An operation whose time grows with their number reads more than the batch.
func BenchmarkStoreBatch(b *testing.B) {
	uri := pgtest.Database(b)
	if err := schema.Migrate(b.Context(), uri); err != nil {
		b.Fatal(err)
	}
	conn, err := pgx.Connect(b.Context(), uri)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(b.Context())
	var deployment int
	if err := conn.QueryRow(b.Context(), "SELECT create_deployment('{}')").Scan(&deployment); err != nil {
		b.Fatal(err)
	}
	const size = 1000
	memos, types, results, times := make([]string, size), make([]string, size), make([]string, size), make([]time.Time, size)
	b.ReportAllocs()
	for batch := 0; b.Loop(); batch++ {
		for i := range memos {
			memos[i], types[i], results[i], times[i] = fmt.Sprintf("exp-%d-%d-%d", batch/100, batch%100, i), "payment", "Applied", at(batch)
		}
		queue := &pgx.Batch{}
		queue.Queue("SELECT store_received_txs($1, $2, $3, $4, $5)", deployment, hashes(memos), types, memos, times)
		queue.Queue("SELECT store_block($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", deployment, fmt.Sprint("b", batch), fmt.Sprint("b", batch-1),
			batch+1, 2*batch, at(batch+5), hashes(memos), types, memos, results)
		queue.Queue("SELECT settle_chain($1)", deployment)
		if err := conn.SendBatch(b.Context(), queue).Close(); err != nil {
			b.Fatal(err)
		}
	}
}
