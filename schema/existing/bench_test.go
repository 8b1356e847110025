package existing_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"provingground/internal/privatepg/pgtest"
	"provingground/schema"
)

// The transactions of $1/1000 rounds, ten to an experiment: ten batches of 100 in each; every fourth a zkApp command, one in 20 failed, one in 20 in
// no block.
const transactions = `SELECT '7mX' || md5(n::text) || md5('b' || n::text) AS hash, 1 AS deployment_id,
	CASE n % 4 WHEN 0 THEN 'zkapp:2:1' ELSE 'payment' END AS type,
	format('exp%s-%s-%s-%s', n / 10000, n / 1000 % 10, n / 100 % 10, n % 100) AS memo,
	timestamptz '2026-11-20 12:00Z' + n * interval '100 ms' AS time,
	timestamptz '2026-11-20 12:03Z' + n * interval '101 ms' AS block_received,
	CASE n % 20 WHEN 0 THEN 'Failed' ELSE 'Applied' END AS result, n % 20 <> 7 AS included
	FROM generate_series(0, $1::int - 1) AS n`

// both returns connections to a database with the existing schema and to one with ours, with the same transactions.
func both(t testing.TB, count int) (theirs, ours *pgx.Conn) {
	t.Helper()
	theirs = open(t)
	execute(t, theirs, "INSERT INTO unique_txs SELECT hash, deployment_id, type, memo, time FROM ("+transactions+") AS tx", count)
	execute(t, theirs, "INSERT INTO block_txs SELECT hash, deployment_id, type, memo, block_received, result FROM ("+transactions+") AS tx WHERE included", count)
	execute(t, theirs, "VACUUM ANALYZE")

	uri := pgtest.Database(t)
	if err := schema.Migrate(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	ours, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ours.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	execute(t, ours, "SELECT create_deployment('{}')")
	execute(t, ours, `INSERT INTO block_txs (hash, deployment_id, type, memo, block_received, result, state_hash, blockchain_length, global_slot, exp, round, batch)
		SELECT hash, deployment_id, type, memo, block_received, result, '3N', 1, 1, memo_exp(memo), memo_number(memo, -3), memo_number(memo, -2)
		FROM (`+transactions+") AS tx WHERE included", count)
	execute(t, ours, `SELECT store_received_txs(1, array_agg(hash), array_agg(type), array_agg(memo), array_agg(time))
		FROM (`+transactions+") AS tx GROUP BY split_part(memo, '-', 1)", count) // an experiment at a time
	execute(t, ours, "VACUUM ANALYZE")
	return theirs, ours
}

const experiments = "SELECT row_to_json(e)::text FROM experiments e"

// With one deployment and no late data, where the existing view is right, ours says the same.
func TestExperimentsSayTheSame(t *testing.T) {
	t.Parallel()
	theirs, ours := both(t, 3000)
	execute(t, theirs, "SET timezone = 'UTC'")
	execute(t, ours, "SET timezone = 'UTC'")
	if diff := cmp.Diff(text(t, theirs, experiments), text(t, ours, experiments)); diff != "" {
		t.Errorf("experiments (-theirs +ours):\n%s", diff)
	}
}

// BenchmarkExperiments reads the whole view experiments, ours and the existing one, of the same transactions: 1000 to a round. An existing one that
// takes longer than a minute is not waited for; its time is then a lower bound, and so is times-faster.
func BenchmarkExperiments(b *testing.B) {
	for _, count := range []int{10_000, 50_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("transactions=%d", count), func(b *testing.B) {
			theirs, ours := both(b, count)
			execute(b, theirs, "SET statement_timeout = '1min'")
			began := time.Now()
			existingView, err := drain(b.Context(), theirs)
			theirTime := time.Since(began)
			if failure, ok := errors.AsType[*pgconn.PgError](err); ok && failure.Code == "57014" { // it took longer
				existingView = count / 1000
				b.ReportMetric(1, "cut-off")
			} else if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				view, err := drain(b.Context(), ours)
				if err != nil || view != existingView {
					b.Fatalf("%d rounds, the existing view has %d (%v)", view, existingView, err)
				}
			}
			ourTime := b.Elapsed() / time.Duration(b.N)
			b.ReportMetric(theirTime.Seconds()*1000, "existing-ms")
			b.ReportMetric(ourTime.Seconds()*1000, "ours-ms")
			b.ReportMetric(theirTime.Seconds()/ourTime.Seconds(), "times-faster")
		})
	}
}

// drain reads the view experiments to its end and counts its rows.
func drain(ctx context.Context, conn *pgx.Conn) (int, error) {
	rows, err := conn.Query(ctx, "SELECT * FROM experiments")
	if err != nil {
		return 0, err
	}
	count := 0
	for rows.Next() {
		count++
	}
	return count, rows.Err()
}
