package evidence_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"provingground/dsl"
	"provingground/internal/clock"
	"provingground/internal/privatepg/pgtest"
	"provingground/orchestrator/evidence"
	"provingground/schema"
)

// stored is a database with rows written by hand, as the fetcher would.
type stored struct {
	t     testing.TB
	uri   string
	conn  *pgx.Conn
	began time.Time // of the run, an hour ago
}

const slot = 3 * time.Minute

func newStored(t testing.TB) *stored {
	t.Helper()
	uri := pgtest.Database(t)
	if err := schema.Migrate(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &stored{t: t, uri: uri, conn: conn, began: time.Now().UTC().Add(-time.Hour).Truncate(slot)}
}

func (s *stored) exec(query string, arguments ...any) {
	s.t.Helper()
	if _, err := s.conn.Exec(s.t.Context(), query, arguments...); err != nil {
		s.t.Fatalf("%v\n%s", err, query)
	}
}

// deployment makes one with nodes that are read now, and returns it.
func (s *stored) deployment(nodes int) int {
	s.t.Helper()
	var id int
	if err := s.conn.QueryRow(s.t.Context(), "SELECT create_deployment('{}')").Scan(&id); err != nil {
		s.t.Fatal(err)
	}
	for i := range nodes {
		s.exec(`INSERT INTO log_node (deployment_id, node_name, host, port, state, listed, read_at) VALUES ($1, $2, $3, 3085, 'running', true, now())`,
			id, fmt.Sprintf("-10.0.0.%d-3085", i+1), fmt.Sprintf("10.0.0.%d", i+1))
	}
	s.exec(`INSERT INTO log_cursor (deployment_id, node_id, server_uuid, next_id, entries, started_at)
		SELECT deployment_id, node_id, gen_random_uuid(), 100, 99, $2 FROM log_node WHERE deployment_id = $1`, id, s.at(-600))
	s.exec("INSERT INTO log_reader (deployment_id, node_id, server_uuid) SELECT deployment_id, node_id, server_uuid FROM log_cursor WHERE deployment_id = $1", id)
	return id
}

func (s *stored) at(seconds float64) time.Time {
	return s.began.Add(time.Duration(seconds * float64(time.Second)))
}

// block stores a block and its traces: the producer's, and those of the other nodes, 6 seconds after the slot began.
func (s *stored) block(deployment, nodes, height, slotNumber, producer int, hash, previous string, memos ...string) {
	s.t.Helper()
	at := float64(slotNumber) * slot.Seconds()
	var hashes, types, results []string
	for _, memo := range memos {
		hashes, types = append(hashes, "hash of "+memo), append(types, "payment")
		result := "Applied"
		if strings.HasSuffix(memo, "-3") {
			result = "Failed"
		}
		results = append(results, result)
	}
	for i := range nodes {
		source, start, took := "External", at+6, 2.0
		if i == producer {
			source, start, took = "Internal", at+0.5, 5.0
		}
		s.exec(`INSERT INTO block_trace (deployment_id, node_name, block_id, trace_started_at, trace_completed_at, total_time, source, status, blockchain_length, global_slot, metadata_json)
			VALUES ($1, $2, $3, extract(epoch FROM $4::timestamptz), extract(epoch FROM $4::timestamptz) + $5::float8, $5, $6, 'Success', $7, $8, '{"transactions": []}')`,
			deployment, fmt.Sprintf("-10.0.0.%d-3085", i+1), hash, s.at(start), took, source, height, slotNumber)
	}
	s.exec("SELECT store_block($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", deployment, hash, previous, height, slotNumber, s.at(at+0.5), hashes, types, memos, results)
	s.exec("SELECT settle_chain($1)", deployment)
}

// sent stores a transaction: when it was received, and what the sending node said of it.
func (s *stored) sent(deployment int, memo string, second float64, outcome string) {
	s.t.Helper()
	hash := "hash of " + memo
	s.exec("SELECT store_received_txs($1, $2, $3, $4, $5)", deployment, []string{hash}, []string{"payment"}, []string{memo}, []time.Time{s.at(second)})
	s.exec("SELECT store_own_txs($1, $2, $3, $4, $5, $6)", deployment, []string{hash, hash}, []string{"payment", "payment"}, []string{memo, memo},
		[]time.Time{s.at(second), s.at(second)}, []*string{nil, &outcome})
}

func (s *stored) run(loads ...evidence.Load) evidence.Run {
	return evidence.Run{Clock: clock.Wall(), Began: s.began, Genesis: s.began, Slot: slot, Loads: loads}
}

func (s *stored) connect(log *zap.Logger) *evidence.Database {
	s.t.Helper()
	database, err := evidence.Connect(s.t.Context(), s.uri, log)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(database.Close)
	return database
}

// load is one that sends a payment each 30 seconds.
func (s *stored) load(name string, node int, count int) evidence.Load {
	return evidence.Load{
		Name: name, Kind: evidence.Payments, Node: fmt.Sprintf("10.0.0.%d:3085", node), TPS: big.NewRat(1, 30),
		From: s.at(20), Until: s.at(20 + 30*float64(count)),
	}
}

// quiet stores a run of three nodes whose logs are complete.
func (s *stored) quiet() evidence.Run {
	s.t.Helper()
	const nodes = 3
	d := s.deployment(nodes)
	for i := range 4 {
		s.sent(d, fmt.Sprintf("churn-0-0-%d", i), 20+30*float64(i), "accepted")
	}
	s.sent(d, "churn-0-0-4", 140, "rejected")
	s.sent(d, "churn-0-0-5", 170, "accepted")
	for i := range 2 {
		s.sent(d, fmt.Sprintf("plain-0-%d", i), 20+30*float64(i), "accepted") // no round: no memo of an experiment
	}
	s.sent(d, "churn-0-01-0", 30, "accepted") // somebody else's
	s.block(d, nodes, 100, -1, 0, "3Nbase", "3Nbefore")
	s.block(d, nodes, 101, 1, 1, "3Na", "3Nbase", "churn-0-0-0", "churn-0-0-1", "plain-0-0")
	s.block(d, nodes, 102, 2, 0, "3Nb", "3Na", "churn-0-0-2", "churn-0-0-3")
	s.block(d, nodes, 102, 3, 2, "3Norphan", "3Na", "churn-0-0-5")
	s.block(d, nodes, 103, 7, 0, "3Nc", "3Nb")
	s.exec(`INSERT INTO uniq_sws (deployment_id, fst_work_id, time_added, time_received) VALUES ($1, 1, $2, $3), ($1, 2, $2, $4), ($1, 3, $2, NULL)`, d, s.at(10), s.at(40), s.at(60))
	s.exec(`INSERT INTO sw_interruptions (block_trace_id, deployment_id, time, at, reason) VALUES (1, $1, $2, 0, 'r')`, d, s.at(200))
	return s.run(s.load("churn-0", 1, 6), s.load("plain", 2, 2))
}

func TestMeasureOfCompleteLogs(t *testing.T) {
	s := newStored(t)
	run := s.quiet()
	database := s.connect(zap.NewNop())
	round := int64(0)
	for _, test := range []struct {
		metric string
		scope  dsl.Scope
		want   string
	}{
		{"tx.submitted", dsl.Scope{}, "8"},
		{"tx.submitted", dsl.Scope{Round: &round}, "6"},
		{"tx.included", dsl.Scope{}, "5/8"},
		{"tx.failed", dsl.Scope{}, "1/8"},
		{"tx.rejected", dsl.Scope{}, "1/8"},
		{"tx.missing", dsl.Scope{}, "1/4"},
		{"tx.included", dsl.Scope{Kind: "payments", Round: &round}, "2/3"},
		{"tx.latency.min", dsl.Scope{}, "261/2"}, // churn-0-0-1: sent at 50, in the block of 180.5
		{"tx.latency.max", dsl.Scope{}, "561/2"}, // churn-0-0-2: 80 to 360.5
		{"tx.latency.p50", dsl.Scope{}, "321/2"},
		{"tx.latency.mean", dsl.Scope{}, "393/2"},
		{"block.count", dsl.Scope{}, "4"},
		{"block.orphaned", dsl.Scope{}, "1/4"},
		{"block.application.p95", dsl.Scope{}, "2"},
		{"block.production.max", dsl.Scope{}, "5"},
		{"chain.reorganisation", dsl.Scope{}, "0..1"}, // of 3Nb and 3Norphan nobody knows which a node took
		{"chain.tips", dsl.Scope{}, "1"},
		{"snark.received", dsl.Scope{}, "2"},
		{"snark.latency.p50", dsl.Scope{}, "30"},
		{"snark.interruptions", dsl.Scope{}, "1"},
		{"log.gaps", dsl.Scope{}, "0"},
		{"log.lost", dsl.Scope{}, "0"},
	} {
		m := database.Measure(t.Context(), evidence.Question{Metric: test.metric, Scope: test.scope, Run: run})
		if got := shown(m); got != test.want {
			t.Errorf("%s %v is %s, want %s: %+v", test.metric, test.scope, got, test.want, m)
		}
	}
	m := database.Measure(t.Context(), evidence.Question{Metric: "tx.included", Run: run})
	if !strings.HasPrefix(m.Window, "5 of 8 transactions, slots 0..") {
		t.Errorf("the window is %q", m.Window)
	}
}

// shown is a value, or its bounds.
func shown(m dsl.Measured) string {
	text := func(r *big.Rat) string {
		if r == nil {
			return "?"
		}
		return r.RatString()
	}
	if low, high := text(m.Low), text(m.High); low != high {
		return low + ".." + high
	}
	return text(m.Low)
}

// The node that sends stops with its last entries unread, and never comes back: what it sent until its load ended is bounded, and the rest stays decided.
func TestMeasureOfStoppedNode(t *testing.T) {
	s := newStored(t)
	run := s.quiet()
	// Node 1 was last read at second 145, and was stopped at 175.
	s.exec("UPDATE log_node SET read_at = $1, state = 'backoff', last_error = 'connection refused' WHERE host = '10.0.0.1'", s.at(160))
	s.exec("UPDATE unique_txs SET sent_at = NULL, outcome = NULL WHERE memo = 'churn-0-0-5'") // others received it
	run.Loads[0].Until = s.at(205)
	database := s.connect(zap.NewNop())
	for _, test := range []struct{ metric, want, missing string }{
		{"tx.submitted", "8..9", "10.0.0.1:3085"},
		{"tx.included", "5/9..5/8", "up to 1 more transaction may be in no log, sent by 10.0.0.1:3085; not read lately: 10.0.0.1:3085"},
		{"tx.rejected", "1/8..2/9", "10.0.0.1:3085"},
		{"tx.latency.p95", "561/2", ""},
		{"block.count", "4", ""},
		{"chain.longest-gap", "", ""},
	} {
		m := database.Measure(t.Context(), evidence.Question{Metric: test.metric, Run: run})
		if got := shown(m); test.want != "" && got != test.want || !strings.Contains(m.Missing, test.missing) || test.missing == "" && m.Missing != "" {
			t.Errorf("%s is %s, want %s: %+v", test.metric, got, test.want, m)
		}
	}
}

func TestMeasureOfNothing(t *testing.T) {
	for _, test := range []struct {
		name, metric, want string
		prepare            func(s *stored)
	}{
		{"no deployment", "tx.included", "no node of any deployment", func(*stored) {}},
		{"never read", "block.count", "has read no log yet", func(s *stored) { s.deployment(2); s.exec("UPDATE log_node SET read_at = NULL") }},
		{"not running", "tx.included", "has read no log since", func(s *stored) { s.quiet(); s.exec("UPDATE log_node SET read_at = $1", s.at(1800)) }},
		{"not since the run began", "tx.included", "since this run began", func(s *stored) { s.quiet(); s.exec("UPDATE log_node SET read_at = $1", s.at(-60)) }},
		{"no transaction", "tx.included", "no log shows a transaction", func(s *stored) { s.deployment(2) }},
		{"no block", "block.orphaned", "no log shows a block", func(s *stored) { s.deployment(2) }},
		{"no trace", "block.application.p95", "no log shows a trace", func(s *stored) { s.deployment(2) }},
		{"no such metric", "tx.beauty", "nothing measures tx.beauty", func(s *stored) { s.quiet() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStored(t)
			test.prepare(s)
			m := s.connect(zap.NewNop()).Measure(t.Context(), evidence.Question{Metric: test.metric, Run: s.run(s.load("churn-0", 1, 6))})
			if m.Low != nil || m.High != nil || !strings.Contains(m.Missing, test.want) {
				t.Errorf("got %+v, want %q", m, test.want)
			}
		})
	}
}

// The newest deployment with nodes counts, and one made since, empty, does not.
func TestNewestDeployment(t *testing.T) {
	s := newStored(t)
	s.quiet()
	d := s.deployment(1)
	s.sent(d, "churn-0-0-0", 20, "accepted")
	s.exec("SELECT create_deployment('{}')")
	m := s.connect(zap.NewNop()).Measure(t.Context(), evidence.Question{Metric: "tx.submitted", Run: s.run(s.load("churn-0", 1, 6))})
	if got := shown(m); got != "1..7" || !strings.Contains(m.Missing, "deployment was made at") {
		t.Errorf("submitted is %s: %+v", got, m)
	}
	s.exec("UPDATE deployment SET created_at = $1", s.at(-60))
	m = s.connect(zap.NewNop()).Measure(t.Context(), evidence.Question{Metric: "tx.submitted", Run: s.run(s.load("churn-0", 1, 6))})
	if got := shown(m); got != "1" {
		t.Errorf("submitted in a deployment that was there before the run is %s: %+v", got, m)
	}
}

// An answer is not made of what was read before a load's end.
func TestMeasureReadsAgainWhenALoadEnds(t *testing.T) {
	s := newStored(t)
	run := s.quiet()
	network := clock.NewVirtual(time.Now())
	run.Clock = network.Clock()
	run.Loads[0].Until = time.Now().Add(time.Minute)
	s.exec("UPDATE log_node SET read_at = $1", time.Now().Add(-time.Second))
	database := s.connect(zap.NewNop())
	network.Run(func() {
		if m := database.Measure(t.Context(), evidence.Question{Metric: "tx.submitted", Run: run}); shown(m) != "8" {
			t.Errorf("while the load goes on %s are submitted: %+v", shown(m), m)
		}
		if err := run.Clock.Sleep(t.Context(), 59*time.Second+999*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		run.Loads[0].Until = run.Clock.Now()
		if m := database.Measure(t.Context(), evidence.Question{Metric: "tx.submitted", Run: run}); m.Missing == "" || shown(m) == "8" {
			t.Errorf("after its end %s are submitted: %+v", shown(m), m)
		}
	})
}

// Whose clock is wrong is told, and what it says decides nothing.
func TestMeasureOfWrongClocks(t *testing.T) {
	for name, wrong := range map[string]func(s *stored){
		"slow": func(s *stored) { // all was received long ago, by the third node
			s.exec("UPDATE unique_txs SET time = time - interval '2 hours'")
			s.exec("UPDATE unique_txs SET sent_at = NULL WHERE memo = 'churn-0-0-0'")
			s.exec("UPDATE block SET first_received = first_received - interval '2 hours'")
			s.exec("UPDATE block_trace SET trace_started_at = trace_started_at - 7200, trace_completed_at = trace_completed_at - 7200 WHERE node_name = '-10.0.0.3-3085'")
		},
		"fast": func(s *stored) {
			s.exec("UPDATE log_cursor SET last_time = now() + interval '1 hour', updated_at = now() WHERE node_id = (SELECT node_id FROM log_node WHERE host = '10.0.0.3')")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStored(t)
			run := s.quiet()
			wrong(s)
			database := s.connect(zap.NewNop())
			for _, test := range []struct{ metric, want string }{
				{"block.count", "4"}, {"tx.latency.p50", "?"}, {"snark.received", "?"},
				{"tx.submitted", map[string]string{"slow": "7..8", "fast": "8"}[name]},
				{"tx.included", map[string]string{"slow": "1/2..5/8", "fast": "5/8"}[name]},
			} {
				m := database.Measure(t.Context(), evidence.Question{Metric: test.metric, Run: run})
				if got := shown(m); got != test.want || strings.Contains(test.want, "?") && !strings.Contains(m.Missing, "10.0.0.3:3085 (by about") {
					t.Errorf("%s is %s, want %s: %+v", test.metric, got, test.want, m)
				}
			}
		})
	}
}

// The indexes of memos have no leading zeros, nor signs.
func TestMeasureOfMemosOfOthers(t *testing.T) {
	s := newStored(t)
	run := s.quiet()
	for _, memo := range []string{"churn-0-0-007", "churn-0-0-00", "churn-0-0-+1", "churn-0-0-"} {
		s.sent(1, memo, 30, "accepted")
	}
	m := s.connect(zap.NewNop()).Measure(t.Context(), evidence.Question{Metric: "tx.submitted", Run: run})
	if got := shown(m); got != "8" {
		t.Errorf("submitted is %s: %+v", got, m)
	}
}

func TestMeasureSharesASnapshot(t *testing.T) {
	s := newStored(t)
	run := s.quiet()
	database := s.connect(zap.NewNop())
	first := database.Measure(t.Context(), evidence.Question{Metric: "tx.included", Run: run})
	s.exec("DELETE FROM block_txs")
	if again := database.Measure(t.Context(), evidence.Question{Metric: "tx.included", Run: run}); shown(again) != shown(first) {
		t.Errorf("the next answer of the same moment is %s, not %s", shown(again), shown(first))
	}
	run.Loads = run.Loads[:1] // another question
	if other := database.Measure(t.Context(), evidence.Question{Metric: "tx.included", Run: run}); shown(other) == shown(first) {
		t.Errorf("the answer for other loads is the same, %s", shown(other))
	}
}

// secret is what no text may show.
const secret = "s3cr%40t-word"

func TestConnectShowsNoPassword(t *testing.T) {
	closed := closedPort(t)
	for _, uri := range []string{
		"postgres://me:" + secret + "@" + closed + "/db",
		"postgres://me:" + secret + "@" + closed + ":port/db",
		"postgres://me:" + secret + "@[::1/db",
		"postgres://me:" + secret + "@" + closed + "/db?sslmode=" + secret,
		"host=127.0.0.1 port=1 user=me password=" + secret + " broken",
	} {
		core, logs := observer.New(zapcore.DebugLevel)
		_, err := evidence.Connect(t.Context(), uri, zap.New(core))
		if err == nil {
			t.Fatalf("no error")
		}
		var text strings.Builder
		fmt.Fprintf(&text, "%v %+v %#v %q", err, err, err, errors.Unwrap(err))
		for _, entry := range logs.All() {
			fmt.Fprint(&text, entry)
		}
		for _, word := range []string{secret, "s3cr@t-word", "s3cr"} {
			if strings.Contains(text.String(), word) {
				t.Errorf("the password shows: %s", text.String())
			}
		}
	}
}

// closedPort returns an address on which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func TestConnectRefusesOtherVersions(t *testing.T) {
	if _, err := evidence.Connect(t.Context(), pgtest.Database(t), zap.NewNop()); !errors.Is(err, schema.ErrNotMigrated) || !strings.Contains(err.Error(), "fetcher migrate --db-uri") {
		t.Errorf("an empty database gives %v", err)
	}
}

// The private PostgreSQL of a fetcher goes with it.
func TestConnectToASocketThatIsGone(t *testing.T) {
	_, err := evidence.Connect(t.Context(), "host="+t.TempDir()+" user=me dbname=x", zap.NewNop())
	if err == nil || !strings.Contains(err.Error(), "lives only while the fetcher runs") {
		t.Errorf("got %v", err)
	}
}

// A database that goes away makes answers unknown, and nothing else; it is asked again, and answers again.
func TestDatabaseAway(t *testing.T) {
	s := newStored(t)
	run := s.quiet()
	core, logs := observer.New(zapcore.InfoLevel)
	database := s.connect(zap.New(core))
	ask := func(metric string) dsl.Measured {
		return database.Measure(t.Context(), evidence.Question{Metric: metric, Run: run})
	}
	s.exec("ALTER TABLE log_node RENAME TO gone")
	for range 2 {
		if m := ask("tx.included"); m.Low != nil || m.High != nil || !strings.Contains(m.Missing, "cannot be asked") {
			t.Errorf("without its table: %+v", m)
		}
	}
	s.exec("ALTER TABLE gone RENAME TO log_node")
	s.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	_ = ask("block.count") // the connection that was cut may be the one that is used
	if m := ask("tx.included"); shown(m) != "5/8" {
		t.Errorf("back again: %+v", m)
	}
	var said []string
	for _, entry := range logs.All() {
		said = append(said, entry.Message)
	}
	if len(said) == 0 || said[len(said)-1] != "the database with the evidence answers again" {
		t.Errorf("the log says %q", said)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if m := database.Measure(ended, evidence.Question{Metric: "snark.received", Run: run}); m.Low != nil || m.Missing == "" {
		t.Errorf("after the end: %+v", m)
	}
}

func TestGather(t *testing.T) {
	s := newStored(t)
	d := s.deployment(2)
	s.exec("UPDATE log_node SET listed = false, read_at = NULL WHERE host = '10.0.0.2'")
	s.exec("SELECT ensure_day($1, now()::date)", d)
	life := "11111111-1111-4111-8111-111111111111"
	s.exec("INSERT INTO log_cursor (deployment_id, node_id, server_uuid, next_id) SELECT $1, node_id, $2, 9 FROM log_node WHERE host = '10.0.0.1'", d, life)
	write := func(id int, at float64, process *string, message string, metadata any) {
		t.Helper()
		s.exec(`INSERT INTO log_entry (deployment_id, node_id, server_uuid, log_id, loaded_on, fetched_at, logged_at, process, message, metadata)
			SELECT $1, node_id, $2, $3, now()::date, now(), $4, $5, $6, $7 FROM log_node WHERE host = '10.0.0.1'`, d, life, id, s.at(at), process, message, metadata)
	}
	prover := "prover"
	write(1, -900, nil, "Too_old", nil)
	write(2, -1, nil, "@control", `{"current_block": "3Nblock"}`)
	write(3, 1.5, nil, "External_block_received", nil)
	write(4, 1.5, nil, "@control", `{"metadata": {"x": 1}}`)
	write(5, 2, &prover, "Prover_extend_blockchain", nil)
	write(6, 3, nil, "Breadcrumb_integrated", nil)
	write(7, 5000, nil, "Too_new", nil)
	s.exec(`INSERT INTO log_gap (deployment_id, node_id, server_uuid, from_id, to_id, time_before, time_after, reason)
		SELECT $1, node_id, $2, 8, 9, $3, $4, 'dropped' FROM log_node WHERE host = '10.0.0.1'`, d, life, s.at(4), s.at(6))
	dir := filepath.Join(t.TempDir(), "logs")
	gathered, err := s.connect(zap.NewNop()).Gather(t.Context(), evidence.Gathering{
		Nodes: []string{"10.0.0.1:3085", "10.0.0.2:3085", "10.9.9.9:1"}, From: s.at(0), To: s.at(60), Dir: dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []evidence.Gathered{
		{Node: "10.0.0.1:3085", Name: "-10.0.0.1-3085", Entries: 4, Traces: 1, Lost: 2, Missing: "2 entries lost: see gaps.json"},
		{Node: "10.0.0.2:3085", Name: "-10.0.0.2-3085", Missing: "its log was not read to the end of the time that is wanted; it has no entry of that time"},
		{Node: "10.9.9.9:1", Missing: "the fetcher does not know the node: see that it is in the list of nodes"},
	}
	if diff := cmp.Diff(want, gathered); diff != "" {
		t.Error(diff)
	}
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, "-10.0.0.1-3085", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	second := func(at float64) string { return fmt.Sprintf("%.6f", float64(s.at(at).UnixMicro())/1e6) }
	lines := `["External_block_received",` + second(1.5) + "]\n" + `{"metadata":{"x":1}}` + "\n" + `["Breadcrumb_integrated",` + second(3) + "]\n"
	if diff := cmp.Diff(normal(lines), normal(read("internal-trace.jsonl"))); diff != "" {
		t.Error(diff)
	}
	if got := read("prover-internal-trace.jsonl"); !strings.HasPrefix(got, `["Prover_extend_blockchain",`) {
		t.Error(got)
	}
	var traces []struct{ Block, Source, Status string }
	if err := json.Unmarshal([]byte(read("traces.json")), &traces); err != nil {
		t.Fatal(err)
	}
	if len(traces) != 1 || traces[0].Block != "3Nblock" || traces[0].Source != "External" || traces[0].Status != "Success" {
		t.Errorf("the traces are %+v", traces)
	}
	if got := read("gaps.json"); !strings.Contains(got, `"lost": 2`) || !strings.Contains(got, `"reason": "dropped"`) {
		t.Error(got)
	}
}

// normal spells numbers in one way: those of the files have as many decimals as they need.
func normal(lines string) (list []any) {
	for line := range strings.Lines(lines) {
		var value any
		if err := json.Unmarshal([]byte(line), &value); err != nil {
			return []any{line}
		}
		list = append(list, value)
	}
	return list
}

// What nodes say of commands of their own comes in any order and more than once.
func TestOwnTransactions(t *testing.T) {
	s := newStored(t)
	d := s.deployment(1)
	tell := func(at float64, outcomes map[string]string) {
		t.Helper()
		for memo, outcome := range outcomes {
			var said *string
			if outcome != "received" {
				said = &outcome
			}
			s.exec("SELECT store_own_txs($1, $2, $3, $4, $5, $6)", d, []string{memo}, []string{"payment"}, []string{memo}, []time.Time{s.at(at)}, []*string{said})
		}
	}
	tell(2, map[string]string{"x-0-0-0": "received", "x-0-0-1": "rejected", "x-0-0-2": "accepted"})
	tell(1, map[string]string{"x-0-0-0": "received", "x-0-0-1": "accepted", "x-0-0-2": "rejected"})
	tell(3, map[string]string{"x-0-0-0": "received", "x-0-0-3": "rejected"})
	rows, err := s.conn.Query(t.Context(), "SELECT memo || ' ' || coalesce(extract(epoch FROM sent_at - $1)::int::text, '-') || ' ' || coalesce(outcome, '-') FROM unique_txs ORDER BY memo", s.began)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"x-0-0-0 1 -", "x-0-0-1 - accepted", "x-0-0-2 - accepted", "x-0-0-3 - rejected"}, got); diff != "" {
		t.Error(diff)
	}
	var total int
	if err := s.conn.QueryRow(t.Context(), "SELECT total FROM experiments WHERE exp = 'x'").Scan(&total); err != nil || total != 4 {
		t.Errorf("the experiment has %d transactions (%v)", total, err)
	}
}
