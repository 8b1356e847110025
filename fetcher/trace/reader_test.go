package trace_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"provingground/fetcher/trace"
)

// script reads records written one per line; those of prover and verifier begin with P or V. IDs are line numbers.
func script(tb testing.TB, text string) []trace.Record {
	tb.Helper()
	var all []trace.Record
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimSpace(line)
		process := trace.Main
		if rest, ok := strings.CutPrefix(line, "P "); ok {
			process, line = trace.Prover, rest
		} else if rest, ok := strings.CutPrefix(line, "V "); ok {
			process, line = trace.Verifier, rest
		}
		record, err := trace.DecodeLine(process, []byte(line))
		if err != nil {
			tb.Fatalf("%s: %v", line, err)
		}
		record.ID = int64(len(all) + 1)
		all = append(all, record)
	}
	return all
}

// fed is what comes of a script, without Finish.
func fed(tb testing.TB, options trace.Options, text string) *store {
	tb.Helper()
	got := newStore()
	got.apply(trace.NewReader(options).Feed(script(tb, text)))
	return got
}

// summary of a trace: block, source, status, length, slot, start and end.
func summary(t trace.Trace) string {
	return fmt.Sprintf("%s %s %s %s %s %g-%g", t.Block, t.Source, t.Status, known(t.Length), known(t.GlobalSlot), t.Started, t.Completed)
}

// Each case is one rule of internal-trace, section 3.
func TestTraceRules(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, script, want string }{
		{"nothing but a checkpoint", `["A",5.0]`, "0 Unknown Pending - - 5-5"},
		{"external", `{"current_block":"3Na"}
			["External_block_received",5.0]`, "3Na External Pending - - 5-5"},
		{"produced", `{"current_block":"17"}
			["Begin_block_production",5.0]`, "17 Internal Pending - - 5-5"},
		{"caught up", `{"current_block":"3Na"}
			["To_download",5.0]`, "3Na Catchup Pending - - 5-5"},
		{"from storage", `{"current_block":"3Na"}
			["Loaded_transition_from_storage",5.0]`, "3Na Reconstruct Pending - - 5-5"},
		{"source comes after block metadata", `{"current_block":"3Na"}
			{"block_metadata":{"blockchain_length":"4"}}
			["External_block_received",5.0]`, "3Na External Pending 4 - 5-5"},
		{"source is the first characteristic checkpoint", `{"current_block":"3Na"}
			["A",4.0]
			["To_download",5.0]
			["External_block_received",6.0]`, "3Na Catchup Pending - - 4-6"},
		{"a slot as a number", `{"current_block":17}
			["Begin_block_production",5.0]`, "17 Internal Pending - - 5-5"},
		{"control records that say nothing of blocks", `{"mina_node_metadata":{"version":1}}
			{"internal_tracing_enabled":1.5}
			{"current_block":"3Na"}
			["A",5.0]
			{"rotated_log_end":5.5}
			{"rotated_log_start":5.5}
			{"a_key_of_a_later_release":[]}
			{"internal_tracing_disabled":6.5}
			["B",6.0]`, "3Na Unknown Pending - - 5-6"},
		{"integer times", `{"current_block":"3Na"}
			["A",5]
			["B",6]`, "3Na Unknown Pending - - 5-6"},
		{"global slot as text", `{"current_block":"3Na"}
			{"block_metadata":{"global_slot":"855"}}`, "3Na Unknown Pending - 855 0-0"},
		{"global slot since genesis", `{"current_block":"3Na"}
			{"block_metadata":{"global_slot":["Since_genesis","855"]}}`, "3Na Unknown Pending - 855 0-0"},
		{"global slot as a number", `{"current_block":"3Na"}
			{"block_metadata":{"global_slot":855,"blockchain_length":7}}`, "3Na Unknown Pending 7 855 0-0"},
		{"newer keys win", `{"current_block":"3Na"}
			{"block_metadata":{"global_slot":"855","blockchain_length":"6"}}
			{"block_metadata":{"blockchain_length":"7"}}`, "3Na Unknown Pending 7 855 0-0"},
		{"success is final", `{"current_block":"3Na"}
			["A",5.0]
			["Breadcrumb_integrated",6.0]
			["Failure",7.0]
			["Produce_validated_transition",8.0]
			["B",1.0]`, "3Na Unknown Success - - 5-6"},
		{"success is the end although others were later", `{"current_block":"3Na"}
			["A",5.0]
			["B",9.0]
			["Breadcrumb_integrated",6.0]`, "3Na Unknown Success - - 5-6"},
		{"failure", `{"current_block":"3Na"}
			["A",5.0]
			["Failure",6.0]`, "3Na Unknown Failure - - 5-6"},
		{"success after failure", `{"current_block":"3Na"}
			["Failure",5.0]
			["Breadcrumb_integrated",6.0]`, "3Na Unknown Success - - 5-6"},
		{"times are the first and the last", `{"current_block":"3Na"}
			["A",5.0]
			["B",4.0]
			["C",6.0]
			["D",5.5]`, "3Na Unknown Pending - - 4-6"},
		{"gossip does not count", `{"current_block":"3Na"}
			["Snark_work_received",1.0]
			["A",5.0]
			["Transaction_diff_received",9.0]`, "3Na Unknown Pending - - 5-5"},
		{"other checkpoints do not count", `{"current_block":"3Na"}
			{"current_call_id":1,"current_call_tag":"block_received"}
			["A",5.0]
			{"current_call_id":2,"current_call_tag":"block_received"}
			["A",9.0]`, "3Na Unknown Pending - - 5-5"},
		{"success of a repeated processing", `{"current_block":"3Na"}
			{"current_call_id":1,"current_call_tag":"block_received"}
			["A",5.0]
			{"current_call_id":2,"current_call_tag":"block_received"}
			["Breadcrumb_integrated",9.0]`, "3Na Unknown Success - - 5-9"},
		{"outside blocks there is neither source nor status", `["Begin_block_production",5.0]
			["Failure",6.0]
			["Breadcrumb_integrated",7.0]
			["A",8.0]`, "0 Unknown Pending - - 5-8"},
		{"records under the slot and under the hash", `{"current_block":"17"}
			["Begin_block_production",5.0]
			{"produced_block_state_hash":"3Na"}
			["A",6.0]
			{"current_block":"3Na"}
			["External_block_received",7.0]
			{"current_block":"17"}
			["B",8.0]`, "3Na Internal Pending - - 5-8"},
		{"the hash was known before", `{"current_block":"3Na"}
			{"block_metadata":{"blockchain_length":"7"}}
			["A",9.0]
			{"current_block":"17"}
			["Begin_block_production",5.0]
			{"produced_block_state_hash":"3Na"}`, "3Na Internal Pending 7 - 5-9"},
		{"the hash had succeeded before", `{"current_block":"3Na"}
			["External_block_received",4.0]
			["Breadcrumb_integrated",9.0]
			{"current_block":"17"}
			["A",5.0]
			["B",12.0]
			{"produced_block_state_hash":"3Na"}`, "3Na External Success - - 4-9"},
		{"the slot had succeeded before", `{"current_block":"3Na"}
			["External_block_received",4.0]
			["B",12.0]
			{"current_block":"17"}
			["Begin_block_production",5.0]
			["Breadcrumb_integrated",9.0]
			{"produced_block_state_hash":"3Na"}`, "3Na Internal Success - - 4-9"},
		{"only the hash had times", `{"current_block":"3Na"}
			{"current_call_id":1,"current_call_tag":"x"}
			["A",4.0]
			{"current_block":"17"}
			{"produced_block_state_hash":"3Na"}
			{"current_block":"3Na"}
			{"current_call_id":2,"current_call_tag":"x"}
			["A",5.0]`, "3Na Unknown Pending - - 4-4"},
		{"the hash repeated", `{"current_block":"17"}
			["Begin_block_production",5.0]
			{"produced_block_state_hash":"3Na"}
			{"produced_block_state_hash":"3Na"}`, "3Na Internal Pending - - 5-5"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := fed(t, trace.Options{}, test.script)
			var all []string
			for _, one := range got.Traces {
				all = append(all, summary(one))
			}
			if diff := cmp.Diff([]string{test.want}, all); diff != "" {
				t.Errorf("traces (-want +got):\n%s", diff)
			}
			if len(got.Problems) > 0 {
				t.Errorf("problems: %v", got.Problems)
			}
		})
	}
}

// rowText shows a row: seq, then main, other or gossip, name, what it belongs to, call.
func rowText(r trace.Row) string {
	kind := "other"
	switch {
	case r.Gossip:
		kind = "gossip"
	case r.Main:
		kind = "main"
	}
	text := fmt.Sprintf("%d %s%d %s %s", r.Trace, r.Process.Letter(), r.Seq, kind, r.Name)
	if r.Of != 0 {
		text += fmt.Sprintf(" of %d", r.Of)
	}
	if r.After != 0 {
		text += fmt.Sprintf(" after %d", r.After)
	}
	if r.Call != 0 {
		text += fmt.Sprintf(" call %d", r.Call)
	}
	return text
}

func TestRows(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, script string
		want         []string
	}{
		{"repeated processing is other, and so is its metadata", `{"current_block":"3Na"}
			{"current_call_id":1,"current_call_tag":"block_received"}
			["A",5.0]
			{"current_call_id":2,"current_call_tag":"block_received"}
			["A",6.0]
			{"metadata":{"count":1}}
			{"current_call_id":1,"current_call_tag":"block_received"}
			["B",7.0]
			{"current_call_id":3}
			["C",8.0]`, []string{"1 M3 main A call 1", "1 M5 other A call 2", "1 M6 other metadata of 5 call 2", "1 M8 main B call 1", "1 M10 main C call 3"}},
		{"tags belong to a block", `{"current_block":"3Na"}
			{"current_call_id":1,"current_call_tag":"x"}
			["A",5.0]
			{"current_block":"3Nb"}
			["A",5.0]
			{"current_call_id":2,"current_call_tag":"x"}
			["A",6.0]`, []string{"1 M3 main A call 1", "2 M5 main A call 1", "2 M7 main A call 2"}},
		{"outside blocks all is main", `{"current_call_id":1,"current_call_tag":"x"}
			["A",5.0]
			{"current_call_id":2,"current_call_tag":"x"}
			["A",6.0]`, []string{"1 M2 main A call 1", "1 M4 main A call 2"}},
		{"metadata before any checkpoint", `{"metadata":{"work_ids":[1]}}`, []string{"1 M1 main metadata"}},
		{"metadata follows the checkpoint of its own call", `{"current_block":"3Na"}
			{"current_call_id":1}
			["A",5.0]
			{"current_call_id":2}
			["B",6.0]
			{"current_call_id":1}
			{"metadata":{"count":1}}
			{"current_call_id":2}
			{"metadata":{"count":2}}`, []string{"1 M3 main A call 1", "1 M5 main B call 2", "1 M7 main metadata of 3 call 1", "1 M9 main metadata of 5 call 2"}},
		{"gossip's metadata shows what it belongs to", `["Snark_work_received",5.0]
			["Transaction_diff_received",6.0]
			["A",7.0]
			{"metadata":{"work_ids":[1]}}
			{"metadata":{"diff":[]}}
			{"metadata":{"count":1}}`, []string{"1 M1 gossip Snark_work_received", "1 M2 gossip Transaction_diff_received", "1 M3 main A",
			"1 M4 gossip metadata of 1", "1 M5 gossip metadata of 2", "1 M6 main metadata of 3"}},
		{"items of one record in any order", `{"metadata":{"count":1},"current_call_tag":"x","current_call_id":4,"current_block":"3Na"}`, []string{"1 M1 main metadata call 4"}},
		{"verifier's job", `{"current_block":"3Na"}
			["Verify_commands",5.0]
			V {"current_call_id":9}
			V ["Verifier_verify_commands",5.1]
			V {"metadata":{"count":1}}
			V ["Verifier_verify_commands_done",5.2]
			["Verify_commands_done",5.3]
			["A",5.4]`, []string{"1 M2 main Verify_commands", "1 M3 main Verify_commands_done", "1 M4 main A", "1 V2 main Verifier_verify_commands after 2 call 9",
			"1 V3 main metadata of 2 after 2 call 9", "1 V4 main Verifier_verify_commands_done after 2 call 9"}},
		{"prover's job goes to the latest parent before it", `{"current_block":"17"}
			["Produce_state_transition_proof",5.0]
			{"current_block":"18"}
			["Produce_state_transition_proof",6.0]
			{"current_block":"19"}
			["Produce_state_transition_proof",7.0]
			["A",8.0]
			P ["Prover_extend_blockchain",6.0]
			P ["Prover_extend_blockchain_done",6.5]`, []string{"1 M2 main Produce_state_transition_proof", "2 M4 main Produce_state_transition_proof",
			"3 M6 main Produce_state_transition_proof", "3 M7 main A", "2 P1 main Prover_extend_blockchain after 4", "2 P2 main Prover_extend_blockchain_done after 4"}},
		{"two jobs at once", `["Verify_commands",5.0]
			["A",9.0]
			["A",9.0]
			V {"current_call_id":1}
			V ["Verifier_verify_commands",5.1]
			V {"current_call_id":2}
			V ["Verifier_verify_commands",5.2]
			V {"current_call_id":1}
			V ["Verifier_verify_commands_done",5.3]
			V {"current_call_id":2}
			V ["Verifier_verify_commands_done",5.4]`, []string{"1 M1 main Verify_commands", "1 M2 main A", "1 M3 main A",
			"1 V2 main Verifier_verify_commands after 1 call 1", "1 V6 main Verifier_verify_commands_done after 1 call 1",
			"1 V4 main Verifier_verify_commands after 1 call 2", "1 V8 main Verifier_verify_commands_done after 1 call 2"}},
		{"a single absurd time of the daemon moves nothing", `["Verify_commands",5.0]
			["A",99999.0]
			["Verify_commands",6.0]
			["A",7.0]
			V ["Verifier_verify_commands",6.1]
			V ["Verifier_verify_commands_done",6.2]`, []string{"1 M1 main Verify_commands", "1 M2 main A", "1 M3 main Verify_commands", "1 M4 main A",
			"1 V1 main Verifier_verify_commands after 3", "1 V2 main Verifier_verify_commands_done after 3"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			reader := trace.NewReader(trace.Options{})
			got := newStore()
			got.apply(reader.Feed(script(t, test.script)))
			got.apply(reader.Finish())
			var rows []string
			for _, row := range got.Rows {
				rows = append(rows, rowText(row))
			}
			if diff := cmp.Diff(test.want, rows); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if len(got.Problems) > 0 {
				t.Errorf("problems: %v", got.Problems)
			}
		})
	}
}

func TestJobsWaitForTheDaemon(t *testing.T) {
	t.Parallel()
	reader := trace.NewReader(trace.Options{})
	jobs := reader.Feed(script(t, `P ["Prover_extend_blockchain",5.1]
		P ["Prover_extend_blockchain_done",5.9]`))
	if len(jobs.Rows) > 0 {
		t.Errorf("a job was given away before the daemon's records came: %v", jobs.Rows)
	}
	daemon := reader.Feed(script(t, `{"current_block":"17"}
		["Produce_state_transition_proof",5.0]
		["A",6.0]`))
	if len(daemon.Rows) != 2 {
		t.Errorf("a job was given away at the first later time: %v", daemon.Rows)
	}
	later := reader.Feed(script(t, `["B",6.1]`))
	if len(later.Rows) != 3 || later.Rows[1].Trace != 1 || later.Rows[1].After != 2 {
		t.Errorf("got %v, want the checkpoint and the job after record 2", later.Rows)
	}
}

func TestGossipEvents(t *testing.T) {
	t.Parallel()
	got := fed(t, trace.Options{}, `
		{"current_call_id":1}
		["Snark_work_received",5.0]
		{"current_call_id":2}
		["Snark_work_rejected",6.0]
		{"current_call_id":1}
		{"metadata":{"work_ids":[3,4],"fee":"0.1","prover":"B62p","sender":"10.0.0.1"}}
		{"current_call_id":2}
		{"metadata":{"work_ids":[5,6],"fee":1,"prover":"B62p","sender":null,"reason":"fee_equal","txs":[["coinbase","720"],["payment","7mX","m"]]}}
		["Transaction_diff_accepted",7.0]
		{"metadata":{"diff":[["payment","7mX","exp-1-2-3"],["zkapp:2:1","7mY","x"]]}}
		["Snark_work_reconsidered",8.0]
		{"metadata":{"work_ids":[6]}}
		["Snark_work_added",9.0]`)
	want := []trace.Gossip{
		{Trace: 1, Seq: 6, Event: 2, ID: 6, Resource: trace.SnarkWorkEvent, Action: "received", Time: 5, Work: &trace.SnarkWork{IDs: []int64{3, 4}, Fee: "0.1", Prover: "B62p", Sender: "10.0.0.1"}},
		{Trace: 1, Seq: 8, Event: 4, ID: 8, Resource: trace.SnarkWorkEvent, Action: "rejected", Time: 6, Work: &trace.SnarkWork{
			IDs: []int64{5, 6}, Fee: "1", Prover: "B62p", Reason: "fee_equal", Txs: []trace.PoolTransaction{{Type: "coinbase"}, {Type: "payment", Signature: "7mX", Memo: "m"}},
		}},
		{Trace: 1, Seq: 10, Event: 9, ID: 10, Resource: trace.TransactionDiffEvent, Action: "accepted", Time: 7, Diff: &trace.TransactionDiff{
			Diff: []trace.PoolTransaction{{Type: "payment", Signature: "7mX", Memo: "exp-1-2-3"}, {Type: "zkapp:2:1", Signature: "7mY", Memo: "x"}},
			Raw:  json.RawMessage(`[["payment","7mX","exp-1-2-3"],["zkapp:2:1","7mY","x"]]`),
		}},
		{Trace: 1, Seq: 12, Event: 11, ID: 12, Resource: trace.SnarkWorkEvent, Action: "reconsidered", Time: 8, Work: &trace.SnarkWork{IDs: []int64{6}}},
	}
	if diff := cmp.Diff(want, got.Gossip); diff != "" {
		t.Errorf("gossip (-want +got):\n%s", diff)
	}
}

func TestBlockTransactionsAreGivenOnceWithTheirTime(t *testing.T) {
	t.Parallel()
	reader := trace.NewReader(trace.Options{})
	got := newStore()
	for _, record := range script(t, `
		{"current_block":"3Na"}
		{"block_metadata":{"transactions":[["payment","7mX","exp-1-2-3",["Applied"]],["zkapp:1:0","7mY","m",["Failed",[["Overflow"]]]],["fee_transfer",["Applied"]],["coinbase","720",["Applied"]],["odd"]]}}
		["External_block_received",5.0]
		["Build_breadcrumb",6.0]
		{"block_metadata":{"transactions":[["coinbase","720",["Applied"]]]}}
		["A",7.0]`) {
		got.apply(reader.Feed([]trace.Record{record}))
	}
	want := []trace.BlockTransactions{{Trace: 1, Timed: true, Received: 5, Transactions: []trace.BlockTransaction{
		{Type: "payment", Signature: "7mX", Memo: "exp-1-2-3", Status: "Applied", Details: json.RawMessage(`["Applied"]`)},
		{Type: "zkapp:1:0", Signature: "7mY", Memo: "m", Status: "Failed", Details: json.RawMessage(`["Failed",[["Overflow"]]]`)},
		{Type: "fee_transfer", Status: "Applied", Details: json.RawMessage(`["Applied"]`)},
		{Type: "coinbase", Amount: "720", Status: "Applied", Details: json.RawMessage(`["Applied"]`)},
	}}}
	if diff := cmp.Diff(want, got.Transactions); diff != "" {
		t.Errorf("transactions (-want +got):\n%s", diff)
	}
	if !got.Transactions[0].Transactions[0].User() || got.Transactions[0].Transactions[3].User() {
		t.Error("the payment is a user's, the coinbase is not")
	}
	if len(got.Problems) != 1 {
		t.Errorf("problems %v, want one about the entry that is odd", got.Problems)
	}
}

func TestInterruptions(t *testing.T) {
	t.Parallel()
	got := fed(t, trace.Options{}, `{"current_block":"17"}
		{"block_metadata":{"interrupt_get_completed_work_at":3,"interrupt_get_completed_work_reason":"full","interrupt_get_completed_work_ids":[1,2]}}
		{"block_metadata":{"txn_count":3}}`)
	if diff := cmp.Diff([]trace.Interruption{{Trace: 1, Seq: 2, At: 3, Reason: "full", IDs: []int64{1, 2}}}, got.Interruptions); diff != "" {
		t.Errorf("interruptions (-want +got):\n%s", diff)
	}
}

func TestRenames(t *testing.T) {
	t.Parallel()
	got := fed(t, trace.Options{}, `{"current_block":"3Na"}
		["A",4.0]
		{"current_block":"17"}
		["Begin_block_production",5.0]
		{"produced_block_state_hash":"3Na"}
		{"current_block":"18"}
		["Begin_block_production",6.0]
		{"produced_block_state_hash":"3Nb"}`)
	want := []trace.Rename{{Trace: 2, From: "17", To: "3Na", Replaces: 1}, {Trace: 3, From: "18", To: "3Nb"}}
	if diff := cmp.Diff(want, got.Renames); diff != "" {
		t.Errorf("renames (-want +got):\n%s", diff)
	}
}

// What cannot be used is named, and what follows it is read all the same.
func TestProblems(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ script, want string }{
		{`{"current_block":[]}`, "current_block"},
		{`{"current_block":""}`, "current_block"},
		{`{"current_block":-4}`, "current_block"},
		{`{"current_block":"` + strings.Repeat("x", 300) + `"}`, "current_block"},
		{`{"current_call_id":-1}`, "current_call_id"},
		{`{"current_call_id":1.5}`, "current_call_id"},
		{`{"current_call_id":3,"current_call_tag":5}`, "current_call_tag"},
		{`P {"current_call_id":99999999999}`, "current_call_id"},
		{`{"metadata":[1]}`, "metadata"},
		{`{"block_metadata":{"global_slot":"5"}}`, "outside blocks"},
		{`{"produced_block_state_hash":"3Na"}`, "outside blocks"},
		{"{\"current_block\":\"17\"}\n{\"produced_block_state_hash\":5}", "state hash"},
		{"{\"current_block\":\"17\"}\n{\"block_metadata\":null}", "no object"},
		{"{\"current_block\":\"17\"}\n{\"block_metadata\":{\"global_slot\":\"-5\"}}", "global_slot"},
		{"{\"current_block\":\"17\"}\n{\"block_metadata\":{\"blockchain_length\":\"2147483648\"}}", "blockchain_length"},
		{"{\"current_block\":\"17\"}\n{\"block_metadata\":{\"transactions\":5}}", "transactions"},
		{"{\"current_block\":\"17\"}\n{\"block_metadata\":{\"interrupt_get_completed_work_at\":5}}", "interruption"},
		{"[\"Snark_work_received\",1.0]\n{\"metadata\":{\"work_ids\":[1,2,3]}}", "work_ids"},
		{"[\"Snark_work_received\",1.0]\n{\"metadata\":{\"work_ids\":[1],\"txs\":[[1]]}}", "txs"},
		{"[\"Snark_work_received\",1.0]\n{\"metadata\":{\"work_ids\":[1],\"txs\":[[]]}}", "txs"},
		{"[\"Snark_work_received\",1.0]\n{\"metadata\":{\"work_ids\":[]}}", "work_ids"},
		{"{\"current_block\":\"17\"}\n{\"block_metadata\":{\"global_slot\":[\"a\",\"5\",\"6\"]}}", "global_slot"},
		{"[\"Transaction_diff_received\",1.0]\n{\"metadata\":{\"diff\":5}}", "diff"},
		{"{\"current_block\":\"17\"}\n[\"A\",1.0]\n{\"block_metadata\":{\"transactions\":[[\"a\",\"b\",\"c\",[\"Applied\"],5]]}}", "transactions"},
		{"{\"current_block\":\"17\"}\n[\"A\",1.0]\n{\"block_metadata\":{\"transactions\":[[5,[\"Applied\"]]]}}", "transactions"},
		{"[\"Transaction_diff_received\",1.0]\n{\"metadata\":{\"diff\":[[\"payment\"]]}}", "diff"},
		{`V ["Verify_heterogenous",1.0]`, "not part of a job"},
		{"V [\"Verifier_verify_commands\",1.0]\nV [\"Verifier_verify_commands\",2.0]", "started again"},
		{"V [\"Verifier_verify_commands\",1.0]\nV [\"Verifier_verify_commands_done\",2.0]\n[\"A\",3.0]\n[\"A\",3.0]", "belongs to no Verify_commands"},
	} {
		t.Run(test.want, func(t *testing.T) {
			t.Parallel()
			got := fed(t, trace.Options{}, test.script+"\n{\"current_block\":\"3Nz\"}\n[\"External_block_received\",9.0]")
			if len(got.Problems) != 1 || !strings.Contains(got.Problems[0].Text, test.want) {
				t.Errorf("%s: problems %v, want one about %q", test.script, got.Problems, test.want)
			}
			if last := got.traceOf(t, "3Nz"); last.Source != trace.External {
				t.Errorf("%s: what follows became %v", test.script, last)
			}
		})
	}
}

func TestFeedRefusesRecordsThatNoConstructorMakes(t *testing.T) {
	t.Parallel()
	changes := trace.NewReader(trace.Options{}).Feed([]trace.Record{
		{Checkpoint: "A", Time: math.NaN()}, {Checkpoint: "A", Time: 1e300}, {Checkpoint: strings.Repeat("x", 1000)}, {Process: 7, Checkpoint: "A"}, {},
	})
	if len(changes.Problems) != 4 || len(changes.Rows) != 0 {
		t.Errorf("got %v, want four problems and no rows", changes)
	}
}

// After Lost nothing is booked on the block that was current; after Restarted call ids mean something new.
func TestLostAndRestarted(t *testing.T) {
	t.Parallel()
	before := `{"current_block":"3Na"}
		{"current_call_id":5,"current_call_tag":"x"}
		["A",5.0]
		V ["Verifier_verify_commands",5.0]`
	after := `["B",6.0]
		{"metadata":{"count":1}}
		{"current_block":"3Na"}
		{"current_call_id":6,"current_call_tag":"x"}
		["C",7.0]`
	for _, test := range []struct {
		name   string
		signal func(*trace.Reader) trace.Changes
		want   []string
	}{
		{"lost", (*trace.Reader).Lost, []string{"1 M3 main A call 5", "2 M4 main B", "2 M5 main metadata of 4", "1 M8 other C call 6"}},
		{"restarted", (*trace.Reader).Restarted, []string{"1 M3 main A call 5", "2 M4 main B", "2 M5 main metadata of 4", "1 M8 main C call 6"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			reader := trace.NewReader(trace.Options{})
			got := newStore()
			got.apply(reader.Feed(script(t, before)))
			got.apply(test.signal(reader))
			got.apply(reader.Feed(script(t, after)))
			var rows []string
			for _, row := range got.Rows {
				rows = append(rows, rowText(row))
			}
			if diff := cmp.Diff(test.want, rows); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if len(got.Problems) != 1 || !strings.Contains(got.Problems[0].Text, "incomplete") {
				t.Errorf("problems %v, want one about the job that is cut", got.Problems)
			}
		})
	}
}

// Blocks are retired when idle for long or too many; what comes later makes a new trace of the same block.
func TestRetiring(t *testing.T) {
	t.Parallel()
	got := fed(t, trace.Options{IdleSeconds: 100}, `["A",1000.0]
		{"current_block":"3Na"}
		{"block_metadata":{"transactions":[]}}
		["A",1001.0]
		["Breadcrumb_integrated",1002.0]
		{"current_block":"3Nb"}
		["A",1050.0]
		["A",1090.0]
		["A",1150.0]
		["A",1150.0]
		{"current_block":"3Nc"}
		["A",1151.0]
		{"current_block":"3Na"}
		["A",1152.0]`)
	if diff := cmp.Diff([]int64{2}, got.Retired); diff != "" {
		t.Errorf("retired (-want +got):\n%s", diff)
	}
	if again := got.Traces[5]; again.Block != "3Na" || again.Status != trace.Pending {
		t.Errorf("the block named again is %v", again)
	}

	few := fed(t, trace.Options{Traces: 2}, `["A",1.0]
		{"current_block":"3Na"}
		{"block_metadata":{"transactions":[["coinbase","720",["Applied"]]]}}
		{"current_block":"3Nb"}
		["A",2.0]`)
	if diff := cmp.Diff([]int64{2}, few.Retired); diff != "" {
		t.Errorf("retired (-want +got):\n%s", diff)
	}
	if len(few.Transactions) != 1 || few.Transactions[0].Timed {
		t.Errorf("transactions that waited for a time were not given: %v", few.Transactions)
	}
}

// A job whose parent's block is retired is not given to an earlier parent.
func TestJobOfARetiredBlock(t *testing.T) {
	t.Parallel()
	got := fed(t, trace.Options{Traces: 2}, `["Verify_commands",1.0]
		{"current_block":"3Na"}
		["Verify_commands",2.0]
		{"current_block":"3Nb"}
		["A",4.0]
		["A",4.0]
		V ["Verifier_verify_commands",3.0]
		V ["Verifier_verify_commands_done",3.5]`)
	if len(got.Rows) != 4 || len(got.Problems) != 1 || !strings.Contains(got.Problems[0].Text, "belongs to no Verify_commands") {
		t.Errorf("rows %v, problems %v, want the daemon's rows only and one problem", got.Rows, got.Problems)
	}
}

// Jobs that wait in vain are given to what is known when they become too many or too large.
func TestJobsThatWaitInVain(t *testing.T) {
	t.Parallel()
	for _, options := range []trace.Options{{Jobs: 1}, {JobBytes: 600}} {
		got := fed(t, options, `["Verify_commands",1.0]
			V ["Verifier_verify_commands",2.0]
			V ["Verifier_verify_commands_done",3.0]
			V ["Verifier_verify_commands",4.0]
			V ["Verifier_verify_commands_done",5.0]`)
		if len(got.Rows) != 3 || len(got.Problems) != 1 || !strings.Contains(got.Problems[0].Text, "could not wait") {
			t.Errorf("%v: rows %v, problems %v, want the older job given", options, got.Rows, got.Problems)
		}
	}
}

// A node that names ever new blocks, calls and jobs does not make the reader grow.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	reader := trace.NewReader(trace.Options{})
	size := func(from, to int) int {
		for i := from; i < to; i++ {
			at := 1e9 + float64(i)/100
			reader.Feed(script(t, fmt.Sprintf(`{"current_block":"3N%d"}
				{"current_call_id":%d,"current_call_tag":"tag %d"}
				["Verify_commands",%f]
				{"current_block":"%d"}
				["Begin_block_production",%f]
				{"produced_block_state_hash":"3P%d"}
				P {"current_call_id":%d}
				P ["Prover_extend_blockchain",%f]
				V {"current_call_id":%d}
				V ["Verifier_verify_commands",%f]
				V ["Verifier_verify_commands_done",%f]`, i, i, i, at, i, at, i, i, at, i, at+1e6, at+1e6)))
		}
		state, err := reader.Export()
		if err != nil {
			t.Fatal(err)
		}
		return len(state)
	}
	first := size(0, 1000)
	if second := size(1000, 3000); second > first*11/10 {
		t.Errorf("the state grew from %d to %d bytes", first, second)
	}

	names := trace.NewReader(trace.Options{})
	names.Feed(script(t, `{"current_block":"17"}`))
	for i := range 1000 {
		names.Feed(script(t, fmt.Sprintf(`{"produced_block_state_hash":"3N%d"}
			{"current_call_id":%d,"current_call_tag":"tag %d"}`, i, i, i)))
	}
	if state, err := names.Export(); err != nil || len(state) > 5000 {
		t.Errorf("state of %d bytes, error %v", len(state), err)
	}

	small := trace.NewReader(trace.Options{JobBytes: 10_000})
	var problems []trace.Problem
	for range 100 {
		problems = append(problems, small.Feed(script(t, `P ["Prover_extend_blockchain",1.0]
			P {"metadata":{"traces":"`+strings.Repeat("x", 5000)+`"}}
			P {"metadata":{"traces":"`+strings.Repeat("x", 5000)+`"}}
			P ["Prover_extend_blockchain_done",2.0]`)).Problems...)
	}
	state, err := small.Export()
	if err != nil || len(state) > 20_000 || len(problems) == 0 {
		t.Errorf("state of %d bytes, error %v, problems %v", len(state), err, problems)
	}
}

func TestStateSurvivesAJSONColumn(t *testing.T) {
	t.Parallel()
	before := script(t, `{"current_block":"3Na"}
		{"block_metadata":{"transactions":[["payment","7mX","a b",["Applied"]]]}}
		V ["Verifier_verify_commands",5.5]
		V {"metadata":{"note":"a, b: c"}}`)
	after := script(t, `["Verify_commands",5.0]
		V ["Verifier_verify_commands_done",6.0]
		["A",7.0]
		["B",8.0]`)
	want, got := newStore(), newStore()
	reader := trace.NewReader(trace.Options{})
	want.apply(reader.Feed(before))
	state, err := reader.Export()
	if err != nil {
		t.Fatal(err)
	}
	want.apply(reader.Feed(after))
	var spaced bytes.Buffer
	if err := json.Indent(&spaced, state, "", " "); err != nil {
		t.Fatal(err)
	}
	if reader, err = trace.Import(spaced.Bytes(), trace.Options{}); err != nil {
		t.Fatal(err)
	}
	got.apply(trace.NewReader(trace.Options{}).Feed(before))
	got.apply(reader.Feed(after))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("through a column (-want +got):\n%s", diff)
	}
	if len(want.Transactions) != 1 || len(want.Rows) != 7 {
		t.Errorf("%d transactions and %d rows, want 1 and 7", len(want.Transactions), len(want.Rows))
	}
}

func TestImportRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for _, state := range []string{``, `{}`, `[]`, `{"version":2}`, `{"version":1}`,
		`{"version":1,"block":"0","open":[null]}`, `{"version":1,"block":"0","open":[{}]}`, `{"version":1,"block":"0","calls":[null]}`, `{"version":1,"block":"0","jobs":[{"kind":9}]}`,
	} {
		if _, err := trace.Import([]byte(state), trace.Options{}); !errors.Is(err, trace.ErrState) {
			t.Errorf("%s: %v, want ErrState", state, err)
		}
	}
}

func FuzzFeed(f *testing.F) {
	f.Add([]byte("[\"Verify_commands\",5.0]\n{\"metadata\":{\"work_ids\":[1]}}\n"), []byte(`["Verifier_verify_commands",5.1]`), uint8(3))
	f.Add([]byte(`{"current_block":"17"}`+"\n"+`{"block_metadata":{"transactions":[["coinbase","720",["Applied"]]]}}`+"\n"+`{"produced_block_state_hash":"3N"}`), []byte(`{"current_call_id":5}`), uint8(1))
	f.Fuzz(func(t *testing.T, main, verifier []byte, cut uint8) {
		var all []trace.Record
		for i, text := range [][]byte{main, verifier} {
			process := []trace.Process{trace.Main, trace.Verifier}[i]
			for record, err := range trace.NewLines(strings.NewReader(string(text)), process, trace.LineOptions{}).Records() {
				if err == nil {
					all = append(all, record)
				}
			}
		}
		options := trace.Options{Traces: 3, Calls: 2, Parents: 2, Jobs: 2, JobBytes: 2000}
		whole, parts := newStore(), newStore()
		reader := trace.NewReader(options)
		whole.apply(reader.Feed(all))
		whole.apply(reader.Finish())
		reader = trace.NewReader(options)
		for batch := range slices.Chunk(all, int(cut)+1) {
			state, err := reader.Export()
			if err != nil {
				t.Fatal(err)
			}
			if reader, err = trace.Import(state, options); err != nil {
				t.Fatal(err)
			}
			parts.apply(reader.Feed(batch))
		}
		parts.apply(reader.Finish())
		if diff := cmp.Diff(whole, parts); diff != "" {
			t.Fatalf("whole against parts (-want +got):\n%s", diff)
		}
		for number, one := range whole.Traces {
			trace.NewNesting().Structured(one, 1, whole.Metadata[number], whole.rowsOf(number))
		}
	})
}
