package existing_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"provingground/fetcher/trace"
	"provingground/internal/privatepg/pgtest"
	"provingground/schema/existing"
)

// open returns a connection to a fresh database with the existing schema.
func open(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	execute(t, conn, existing.Schema)
	execute(t, conn, "INSERT INTO deployment (metadata_json) VALUES ('{}')")
	return conn
}

func execute(t testing.TB, conn *pgx.Conn, sql string, arguments ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, arguments...); err != nil {
		t.Fatalf("%.200s: %v", sql, err)
	}
}

// text returns the one column of a query's rows, one line each.
func text(t testing.TB, conn *pgx.Conn, sql string) string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(lines, "\n")
}

// sample reads the real trace of internal-trace, section 3.5.
func sample(t testing.TB, options trace.LineOptions) []trace.Record {
	t.Helper()
	file, err := os.Open("../../fetcher/trace/testdata/internal-trace.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var records []trace.Record
	for record, err := range trace.NewLines(unzipped, trace.Main, options).Records() {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, record)
	}
	return records
}

// The rebuilt schema gives the real trace the figures that the original gave it (internal-trace, section 3.5), so that a comparison with it
// is one with the original.
func TestSampleGivesTheOriginalsFigures(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		store  func(*existing.Consumer, context.Context, []trace.Record) error
		lines  trace.LineOptions
		counts string
	}{
		{"row by row", (*existing.Consumer).Insert, trace.LineOptions{}, "4376 rows, 3122 gossip; 730 received, 11 accepted, 921 rejected; 135 works"},
		// By COPY the triggers that pair metadata with the last event run after all rows of the statement: fast, and wrong.
		{"COPY", (*existing.Consumer).Copy, trace.LineOptions{}, "4376 rows, 3122 gossip; 0 received, 12 accepted, 1650 rejected; 135 works"},
		{"without repeats", (*existing.Consumer).Insert, trace.LineOptions{DropRepeats: true}, "4171 rows, 2920 gossip; 730 received, 11 accepted, 719 rejected; 135 works"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			conn := open(t)
			if err := test.store(existing.NewConsumer(conn, 1, "node", 1), t.Context(), sample(t, test.lines)); err != nil {
				t.Fatal(err)
			}
			traces := text(t, conn, `SELECT format('%s %s %s %s %s %s', left(block_id, 12), source, blockchain_length, global_slot, status,
				round(total_time::numeric, 6)) FROM block_trace ORDER BY block_trace_id`)
			want := []string{
				"0 Unknown 0 0 Pending 3437.273178",
				"3NKPvaHButv9 External 461 855 Success 0.845229",
				"3NLuEvjLU1QA External 461 855 Success 0.979240",
				"3NLuT6ijs2kw Internal 462 857 Success 4.971491",
				"3NKb9KZ1eA8V External 463 858 Success 0.589291",
				"3NLu5sNRwVV5 Internal 464 859 Success 5.031311",
				"3NLQhLAC7h9T Internal 465 864 Success 4.981210",
				"3NKK7X9R2hK5 Internal 466 865 Success 4.957133",
				"3NLsXCjVdPnc Internal 467 870 Success 4.937261",
				"3NLktCUSvmCu Internal 468 871 Success 4.993762",
				"3NLSD8jtuifQ Internal 469 872 Success 5.022765",
				"3NKMrSubcNy9 Internal 470 874 Success 4.933796",
			}
			if diff := cmp.Diff(strings.Join(want, "\n"), traces); diff != "" {
				t.Errorf("traces (-want +got):\n%s", diff)
			}
			counts := text(t, conn, `SELECT format('%s rows, %s gossip; %s received, %s accepted, %s rejected; %s works',
				(SELECT count(*) FROM block_trace_checkpoint), (SELECT count(*) FROM block_trace_checkpoint WHERE gossip),
				(SELECT count(*) FROM sw_traces WHERE action = 'received'), (SELECT count(*) FROM sw_traces WHERE action = 'accepted'),
				(SELECT count(*) FROM sw_traces WHERE action = 'rejected'), (SELECT count(*) FROM uniq_sws))`)
			if counts != test.counts {
				t.Errorf("%s\nwant %s", counts, test.counts)
			}
		})
	}
}

// What the original does to 5 blocks of 80 checkpoints and the same 128 transactions was measured (internal-trace, section 7, item 1).
func TestTriggersDoAsMuchAsTheOriginals(t *testing.T) {
	t.Parallel()
	conn := open(t)
	transactions := make([][]any, 128)
	for i := range transactions {
		transactions[i] = []any{"payment", fmt.Sprintf("7mX%d", i), fmt.Sprintf("exp-0-0-%d", i), []string{"Applied"}}
	}
	metadata, err := json.Marshal(map[string]any{"blockchain_length": "7", "global_slot": []string{"Since_genesis", "9"}, "transactions": transactions})
	if err != nil {
		t.Fatal(err)
	}
	var records []trace.Record
	for block := range 5 {
		records = append(records,
			trace.Record{Control: []trace.Item{{Key: "current_block", Value: json.RawMessage(fmt.Sprintf(`"3N%d"`, block))}}},
			trace.Record{Control: []trace.Item{{Key: "block_metadata", Value: metadata}}})
		for i := range 80 {
			records = append(records, trace.Record{Checkpoint: fmt.Sprintf("Checkpoint_%d", i), Time: 1.7e9 + float64(100*block+i)})
		}
	}
	if err := existing.NewConsumer(conn, 1, "node", 1).Insert(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	execute(t, conn, "SELECT pg_stat_force_next_flush()")
	execute(t, conn, "SELECT")
	got := text(t, conn, "SELECT relname || ': ' || n_tup_ins || ' inserted, ' || n_tup_upd || ' updated' FROM pg_stat_user_tables WHERE relname IN ('block_trace', 'block_txs') ORDER BY 1")
	if diff := cmp.Diff("block_trace: 5 inserted, 405 updated\nblock_txs: 128 inserted, 51072 updated", got); diff != "" {
		t.Errorf("row changes (-want +got):\n%s", diff)
	}
}
