package store_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"provingground/fetcher"
	"provingground/fetcher/store"
	"provingground/orchestrator/itn"
)

// anyText draws texts that a column does not take as they are, among others.
func anyText() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.String(),
		rapid.StringN(200, 400, -1),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 20), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"\x00", "a\x00b", "\xff\xfe", "\ufffd", "\u2028", strings.Repeat("✂", 300)}),
	)
}

// anyJSON draws JSON values, and what is none.
func anyJSON() *rapid.Generator[string] {
	quoted := rapid.Map(anyText(), func(text string) string {
		plain, err := json.Marshal(text)
		if err != nil {
			return "null"
		}
		return string(plain)
	})
	number := rapid.OneOf(
		rapid.Map(rapid.Float64(), func(f float64) string { return fmt.Sprint(f) }), // NaN and Inf are no JSON
		rapid.SampledFrom([]string{"1e308", "1e309", "-1e-400", "1e99999999999", strings.Repeat("9", 500), "2147483648", "-0"}),
	)
	value := rapid.OneOf(quoted, number, rapid.SampledFrom([]string{
		"", "{", "[1,", "true", "null", `"\u0000"`, `"\ud800"`, `"\udc00\ud800"`, "{}", `{"a":1,"a":2}`, strings.Repeat("[", 300) + strings.Repeat("]", 300),
	}))
	list := rapid.Map(rapid.SliceOfN(value, 0, 4), func(values []string) string { return "[" + strings.Join(values, " , ") + "]" })
	object := rapid.Custom(func(t *rapid.T) string {
		keys := rapid.SliceOfN(rapid.SampledFrom([]string{
			"diff", "work_ids", "txs", "fee", "prover", "sender", "reason", "blockchain_length", "global_slot", "transactions", "previous_state_hash",
			"interrupt_get_completed_work_at", "interrupt_get_completed_work_reason", "interrupt_get_completed_work_ids",
		}), 0, 5).Draw(t, "keys")
		items := make([]string, len(keys))
		for i, key := range keys {
			items[i] = `"` + key + `":` + rapid.OneOf(value, list, rapid.SampledFrom([]string{
				`[["payment","7mX","m"]]`, `[["coinbase"],["fee_transfer"]]`, `[1,2]`, `[7]`, `["Since_genesis","9"]`, `[["payment","7mX","m",["Applied"]]]`,
			})).Draw(t, key)
		}
		return "{" + strings.Join(items, ",") + "}"
	})
	return rapid.OneOf(value, list, object)
}

func anyLog(id int) *rapid.Generator[itn.Log] {
	return rapid.Custom(func(t *rapid.T) itn.Log {
		log := itn.Log{ID: id, Message: "@control"}
		log.Timestamp = rapid.OneOf(
			rapid.Map(rapid.Int64(), func(seconds int64) time.Time { return time.Unix(seconds%1_000_000_000_000, 0) }),
			rapid.Map(rapid.IntRange(0, 1_000_000), at),
		).Draw(t, "time")
		if rapid.Bool().Draw(t, "checkpoint") {
			log.Message = rapid.OneOf(anyText(), rapid.SampledFrom([]string{
				"External_block_received", "Breadcrumb_integrated", "Snark_work_received", "Snark_work_added", "Transaction_diff_received", "Transaction_diff_rejected",
			})).Draw(t, "message")
		}
		log.Process = rapid.OneOf(rapid.Just(""), rapid.SampledFrom([]string{"prover", "verifier"}), anyText()).Draw(t, "process")
		for range rapid.IntRange(0, 3).Draw(t, "items") {
			item := rapid.OneOf(anyText(), rapid.SampledFrom([]string{
				"metadata", "block_metadata", "current_block", "current_call_id", "current_call_tag", "produced_block_state_hash",
			})).Draw(t, "item")
			log.Metadata = append(log.Metadata, itn.LogMetadatum{Item: item, Value: json.RawMessage(anyJSON().Draw(t, "value"))})
		}
		return log
	})
}

// TestAnyEntryIsStored saves entries with any texts, values and times: PostgreSQL takes each, with what is derived from it, and texts that it
// can hold come back as they were.
func TestAnyEntryIsStored(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	s := db.open(t, store.Options{})
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		node := fmt.Sprint("node-", round)
		logs := make([]itn.Log, rapid.IntRange(1, 12).Draw(rt, "entries"))
		for i := range logs {
			logs[i] = anyLog(i+1).Draw(rt, "entry")
		}
		b := batch(node, logs...)
		b.Malformed = []fetcher.Malformed{{ID: 0, Reason: anyText().Draw(rt, "reason"), Raw: anyText().Draw(rt, "raw")}}
		if err := s.Save(t.Context(), b); err != nil {
			rt.Fatal(err)
		}
		rows, err := db.conn.Query(t.Context(), `SELECT message FROM log_entry JOIN log_node USING (deployment_id, node_id)
			WHERE node_name = $1 ORDER BY log_id`, node)
		if err != nil {
			rt.Fatal(err)
		}
		var got []string
		for rows.Next() {
			var message string
			if err := rows.Scan(&message); err != nil {
				rt.Fatal(err)
			}
			got = append(got, message)
		}
		if len(got) != len(logs) {
			rt.Fatalf("%d of %d entries are stored: %v", len(got), len(logs), rows.Err())
		}
		for i, log := range logs {
			if utf8.ValidString(log.Message) && !strings.Contains(log.Message, "\x00") && got[i] != log.Message {
				rt.Fatalf("message %q is stored as %q", log.Message, got[i])
			}
		}
	})
	equal(t, db, "SELECT coalesce(string_agg(DISTINCT problem, E'\n'), '') FROM log_problem", "")
	if got := s.Counts().Underived; got != 0 {
		t.Errorf("%d batches without anything derived", got)
	}
}

// TestWorksOfTheProtocolsOwnTransactions has SNARK works of coinbases and fee transfers, which have neither signature nor memo: their columns
// are null, and sw_experiments counts a work by its other transaction.
func TestWorksOfTheProtocolsOwnTransactions(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	s := db.open(t, store.Options{})
	save(t, s, batch("node",
		checkpoint(1, "Snark_work_added", 1),
		controls(2, "metadata", `{"work_ids":[1,2],"txs":[["coinbase"],["payment","7mX","exp-3-0-7"]]}`),
		checkpoint(3, "Snark_work_received", 3),
		controls(4, "metadata", `{"work_ids":[1,2],"fee":"1.5","prover":"B62q","txs":[["coinbase"],["payment","7mX","exp-3-0-7"]]}`),
		checkpoint(5, "Snark_work_received", 5),
		controls(6, "metadata", `{"work_ids":[3],"txs":[["fee_transfer"]]}`)))
	type columns struct{ FirstType, SecondType, FirstHash, SecondHash, FirstMemo, SecondMemo string }
	want := []columns{{"coinbase", "payment", "null", "7mX", "null", "exp-3-0-7"}, {"fee_transfer", "null", "null", "null", "null", "null"}}
	const shown = `coalesce(fst_work_type, 'null'), coalesce(snd_work_type, 'null'), coalesce(fst_work_tx_hash, 'null'), coalesce(snd_work_tx_hash, 'null'),
		coalesce(fst_work_tx_memo, 'null'), coalesce(snd_work_tx_memo, 'null')`
	for _, table := range []string{"uniq_sws", "sw_traces"} {
		got := all[columns](t, db, "SELECT DISTINCT ON (fst_work_id) "+shown+" FROM "+table+" ORDER BY fst_work_id")
		if !slices.Equal(got, want) {
			t.Errorf("%s holds %q, want %q", table, got, want)
		}
	}
	equal(t, db, "SELECT concat_ws(' ', exp, round, fst_tx_type, snd_tx_type, total_sws, max_received_added_sec::float8) FROM sw_experiments", "exp 3 coinbase payment 1 2")
	equal(t, db, "SELECT fee || ' ' || prover FROM uniq_sws WHERE fst_work_id = 1", "1.5 B62q")
}
