package evidence_test

import (
	"fmt"
	"math/big"
	"testing"
	"time"

	"go.uber.org/zap"

	"provingground/dsl"
	"provingground/orchestrator/evidence"
)

// busy stores a run of 1,000 nodes with many transactions in 40 loads, 203 blocks, and a trace of each block by each node.
func busy(b *testing.B, transactions int) (*stored, evidence.Run) {
	b.Helper()
	s := newStored(b)
	s.began = time.Now().UTC().Add(-12 * time.Hour).Truncate(slot)
	d, each := s.deployment(1000), transactions/40
	s.exec(`INSERT INTO unique_txs (hash, deployment_id, type, memo, time, sent_at, outcome)
		SELECT 'hash of ' || l || '-' || i, $1, 'payment', 'bench-0-' || l || '-' || i, t, t, CASE WHEN i % 100 = 7 THEN 'rejected' ELSE 'accepted' END
		FROM generate_series(0, 39) AS l, generate_series(0, $3::int - 1) AS i, LATERAL (SELECT $2::timestamptz + i * interval '10 hours' / $3 AS t) AS times`, d, s.began, each)
	s.exec("ANALYZE unique_txs")
	s.exec(`INSERT INTO block (deployment_id, state_hash, previous_state_hash, blockchain_length, global_slot, first_received, canonical, settled)
		SELECT $1, 'block ' || n, 'block ' || n - 1, n, n, $2::timestamptz + n * interval '3 minutes' + interval '1 second', true, true FROM generate_series(0, 202) AS n`, d, s.began)
	s.exec(`INSERT INTO block_txs (hash, deployment_id, type, memo, block_received, result, state_hash, blockchain_length, global_slot, exp, round, batch)
		SELECT u.hash, deployment_id, type, memo, b.first_received, 'Applied', b.state_hash, n, n, exp, round, u.batch
		FROM (SELECT *, 2 + ix * 200 / $2 AS n FROM unique_txs WHERE deployment_id = $1 AND ix % 100 <> 7) AS u JOIN block b USING (deployment_id) WHERE b.blockchain_length = n`, d, each)
	s.exec(`INSERT INTO block_trace (deployment_id, node_name, block_id, trace_started_at, trace_completed_at, total_time, source, status, blockchain_length, global_slot, metadata_json)
		SELECT $1, '-10.0.0.' || i || '-3085', 'block ' || n, e + n * 180 + i % 7, e + n * 180 + i % 7 + 2, 2 + (i * n % 100) / 100.0, CASE WHEN i = n % 1000 + 1 THEN 'Internal' ELSE 'External' END, 'Success',
			n, n, '{"transactions": []}' FROM generate_series(1, 1000) AS i, generate_series(0, 202) AS n, LATERAL (SELECT extract(epoch FROM $2::timestamptz) AS e) AS epoch`, d, s.began)
	s.exec("UPDATE log_node SET read_at = now() + interval '1 day'") // however long the benchmark takes
	s.exec("ANALYZE")
	run := s.run()
	for l := range 40 {
		run.Loads = append(run.Loads, evidence.Load{
			Name: "bench-0", Batch: l, Kind: evidence.Payments, Node: fmt.Sprintf("10.0.0.%d:3085", l+1), TPS: big.NewRat(int64(each), 36_000),
			From: s.began, Until: s.began.Add(10 * time.Hour),
		})
	}
	return s, run
}

// BenchmarkMeasure is what a question costs that reads the database, and one that follows in the same moment.
func BenchmarkMeasure(b *testing.B) {
	for _, transactions := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(transactions), func(b *testing.B) { benchmarkMeasure(b, transactions) })
	}
}

func benchmarkMeasure(b *testing.B, transactions int) {
	b.Helper()
	s, run := busy(b, transactions)
	for _, metric := range []string{"tx.included", "tx.latency.p95", "block.application.p95", "snark.received", "log.lag"} {
		ask := func(b *testing.B, database *evidence.Database) {
			b.Helper()
			if m := database.Measure(b.Context(), evidence.Question{Metric: metric, Scope: dsl.Scope{}, Run: run}); m.Low == nil || m.High == nil {
				b.Fatalf("%s: %+v", metric, m)
			}
		}
		b.Run("first/"+metric, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				database := s.connect(zap.NewNop())
				b.StartTimer()
				ask(b, database)
				b.StopTimer()
				database.Close()
				b.StartTimer()
			}
		})
		b.Run("again/"+metric, func(b *testing.B) {
			database := s.connect(zap.NewNop())
			ask(b, database)
			b.ReportAllocs()
			for b.Loop() {
				ask(b, database)
			}
		})
	}
}
