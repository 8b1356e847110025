package simnet_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/orchestrator/itn"
	"provingground/orchestrator/simnet"
)

// reading is what one run's internal log says, read by the rules of internal-trace, section 3. Texts are those that the ground truth's facts
// are spelled to, too.
type reading struct {
	blocks    map[string]*blockRead // by state hash
	processed []string              // integrations and repetitions of blocks
	diffs     []string              // commands that came to the pool
	works     []string              // SNARK work
	parents   []parentRead          // checkpoints that groups of child processes belong to
	groups    []groupRead
	lingering int // gossip in the midst of a block's trace
}

// blockRead is one block's trace.
type blockRead struct {
	main     []string
	times    []time.Time
	other    []string // of a repeated processing
	metadata map[string]json.RawMessage
}

func (b *blockRead) integrated() bool { return slices.Contains(b.main, "Breadcrumb_integrated") }

type parentRead struct {
	name, block string
	at          time.Time
	count       int
}

// groupRead is the records of one call of a child process.
type groupRead struct {
	process string
	block   string // that was current in the daemon's own records
	call    int
	names   []string
	times   []time.Time
	lines   []string // the traces of proofs
}

// parentOf is the table of internal-trace, section 3.1.
func parentOf(first string) string {
	return map[string]string{
		"Verifier_verify_transaction_snarks": "Verify_transaction_snarks", "Verifier_verify_blockchain_snarks": "Verify_blockchain_snarks",
		"Verifier_verify_commands": "Verify_commands", "Prover_extend_blockchain": "Produce_state_transition_proof",
	}[first]
}

// gossipRead is the metadata of pool events.
type gossipRead struct {
	Diff   [][]string
	Sender string
	Reason string
	IDs    []int `json:"work_ids"`
	Fee    string
	Prover string
	Txs    [][]string
}

// stamp spells an instant as logs do: in whole microseconds.
func stamp(at time.Time) string { return at.Truncate(time.Microsecond).Format(time.RFC3339Nano) }

func diffText(at time.Time, diff []string, sender, reason string) string {
	return fmt.Sprintf("%s %q from %q: %s", stamp(at), diff, sender, reason)
}

func listedText(at time.Time, action string, ids []int) string {
	return fmt.Sprintf("%s %s %v", stamp(at), action, ids)
}

func proofText(arrived, at time.Time, ids []int, prover, sender, reason string) string {
	return fmt.Sprintf("%s to %s proof %v by %s from %q: %s", stamp(arrived), stamp(at), ids, prover, sender, reason)
}

func processedText(hash, source string, began, at time.Time) string {
	return fmt.Sprintf("%s %s %s to %s", hash, source, stamp(began), stamp(at))
}

// read reads a whole log.
func read(t *testing.T, logs []itn.Log) *reading {
	t.Helper()
	r := &reading{blocks: make(map[string]*blockRead)}
	block, call, tag := "0", 0, ""
	remembered := make(map[string]int) // call by block and tag
	open := make(map[string]*groupRead)
	gossip, arrived := "", time.Time{} // the pool event that metadata belong to, and when the last proof arrived
	name := func(id string) *blockRead {
		if r.blocks[id] == nil {
			r.blocks[id] = &blockRead{metadata: make(map[string]json.RawMessage)}
		}
		return r.blocks[id]
	}
	for i, entry := range logs {
		if entry.ID != i+1 {
			t.Fatalf("entry %d has the ID %d", i+1, entry.ID)
		}
		if (entry.Message == "@control") != (len(entry.Metadata) > 0) || entry.Timestamp.Location() != time.UTC {
			t.Fatalf("neither checkpoint nor control record: %+v", entry)
		}
		if entry.Process != "" {
			r.child(t, open, entry, block)
			continue
		}
		if entry.Message != "@control" {
			gossip = ""
			b := name(block)
			switch {
			case strings.HasPrefix(entry.Message, "Snark_work") || strings.HasPrefix(entry.Message, "Transaction_diff"):
				gossip = entry.Message
				if gossip == "Snark_work_received" {
					arrived = entry.Timestamp
				}
				if block != "0" {
					r.lingering++
				}
			case block != "0" && tag != "" && remembered[block+tag] != call:
				if entry.Message == "External_block_received" {
					b.other = nil
				}
				if b.other = append(b.other, entry.Message); entry.Message == "Check_transition_not_in_frontier" {
					r.processed = append(r.processed, block+" repeated")
				}
			case !b.integrated() || strings.HasPrefix(entry.Message, "Produce_"):
				b.main, b.times = append(b.main, entry.Message), append(b.times, entry.Timestamp)
			}
			if entry.Message == "Breadcrumb_integrated" {
				source := map[string]string{"External_block_received": "received", "To_download": "fetched", "Begin_block_production": "produced"}[b.main[0]]
				r.processed = append(r.processed, processedText(block, source, b.times[0], entry.Timestamp))
			}
			if slices.Contains([]string{"Verify_transaction_snarks", "Verify_blockchain_snarks", "Verify_commands", "Produce_state_transition_proof"}, entry.Message) {
				r.parents = append(r.parents, parentRead{name: entry.Message, block: block, at: entry.Timestamp})
			}
			continue
		}
		for _, item := range entry.Metadata {
			switch item.Item {
			case "current_block":
				decode(t, item.Value, &block)
			case "current_call_id":
				decode(t, item.Value, &call)
				tag = ""
			case "current_call_tag":
				decode(t, item.Value, &tag)
				if _, ok := remembered[block+tag]; !ok {
					remembered[block+tag] = call
				}
			case "produced_block_state_hash":
				var hash string
				decode(t, item.Value, &hash)
				r.blocks[hash] = name(block)
				delete(r.blocks, block)
			case "block_metadata":
				var fields map[string]json.RawMessage
				decode(t, item.Value, &fields)
				maps.Copy(name(block).metadata, fields)
			case "metadata":
				var fields gossipRead
				decode(t, item.Value, &fields)
				r.gossip(t, gossip, arrived, entry.Timestamp, fields)
				if last := len(r.parents) - 1; gossip == "" && last >= 0 && logs[i-1].Message == r.parents[last].name {
					var count struct {
						Count int
					}
					decode(t, item.Value, &count)
					r.parents[last].count = count.Count
				}
			}
		}
	}
	if len(open) > 0 {
		t.Errorf("groups that never ended: %v", open)
	}
	return r
}

// child reads a record of a child process.
func (r *reading) child(t *testing.T, open map[string]*groupRead, entry itn.Log, block string) {
	t.Helper()
	group := open[entry.Process]
	if entry.Message != "@control" {
		if group == nil {
			t.Fatalf("%s traced %s outside a call", entry.Process, entry.Message)
		}
		group.names, group.times = append(group.names, entry.Message), append(group.times, entry.Timestamp)
		if entry.Message == group.names[0]+"_done" {
			r.groups = append(r.groups, *group)
			delete(open, entry.Process)
		}
		return
	}
	if entry.Metadata[0].Item == "current_call_id" {
		if group != nil {
			t.Fatalf("a call of the %s began within another one: %+v", entry.Process, group)
		}
		group = &groupRead{process: entry.Process, block: block}
		decode(t, entry.Metadata[0].Value, &group.call)
		open[entry.Process] = group
		return
	}
	var metadata struct{ Traces string }
	decode(t, entry.Metadata[0].Value, &metadata)
	group.lines = append(group.lines, strings.Split(strings.TrimSuffix(metadata.Traces, "\n"), "\n")...)
}

// gossip reads the metadata of a pool event.
func (r *reading) gossip(t *testing.T, event string, arrived, at time.Time, fields gossipRead) {
	t.Helper()
	switch action := strings.TrimPrefix(strings.TrimPrefix(event, "Snark_work_"), "Transaction_diff_"); {
	case event == "" || action == "received":
	case strings.HasPrefix(event, "Transaction_diff"):
		if len(fields.Diff) != 1 || (action == "rejected") != (fields.Reason != "") {
			t.Errorf("%s: %+v", event, fields)
			return
		}
		r.diffs = append(r.diffs, diffText(at, fields.Diff[0], fields.Sender, fields.Reason))
	case action == "accepted" || action == "rejected":
		if fields.Fee != "0.01" || (action == "rejected") != (fields.Reason != "") {
			t.Errorf("%s: %+v", event, fields)
		}
		r.works = append(r.works, proofText(arrived, at, fields.IDs, fields.Prover, fields.Sender, fields.Reason))
	default:
		if len(fields.Txs) != len(fields.IDs) {
			t.Errorf("%s: %+v", event, fields)
		}
		r.works = append(r.works, listedText(at, action, fields.IDs)+fmt.Sprint(fields.Txs))
	}
}

// truth is what the ground truth says of one run, spelled like a reading.
func truth(h simnet.History, run simnet.LogRun, older bool) (processed, diffs, works []string) {
	jobs := make(map[string][][]string)
	for _, w := range h.Works() {
		jobs[fmt.Sprint(w.IDs)] = w.Jobs
	}
	runs := false
	for _, entry := range h {
		if entry.Node != run.Node {
			continue
		}
		if fact, ok := entry.Fact.(simnet.DaemonStarted); ok {
			runs = fact.ServerUUID == run.ServerUUID
		}
		if !runs {
			continue
		}
		switch fact := entry.Fact.(type) {
		case simnet.BlockTraced:
			processed = append(processed, processedText(fact.Hash, string(fact.Source), fact.Began, entry.Time))
		case simnet.BlockRepeated:
			processed = append(processed, fact.Hash+" repeated")
		case simnet.CommandReceived:
			diffs = append(diffs, diffText(entry.Time, []string{fact.Type, fact.Signature, fact.Memo}, fact.Sender, fact.Reason))
		case simnet.WorkListed:
			for _, ids := range fact.Works {
				if !older {
					works = append(works, listedText(entry.Time, string(fact.Action), ids)+fmt.Sprint(jobs[fmt.Sprint(ids)]))
				}
			}
		case simnet.WorkReceived:
			works = append(works, proofText(fact.Arrived, entry.Time, fact.IDs, fact.Prover, fact.Sender, fact.Reason))
		}
	}
	return processed, diffs, works
}

// busy is a network in which everything happens that is evidence: loads of both kinds, commands that fail or are not taken, forks, restarts,
// isolation, and proofs that come twice or late. change adjusts its options.
func busy(t *testing.T, seed uint64, change func(*simnet.Options), then func(w *world)) {
	t.Helper()
	senders := keys(t, 10)
	options := simnet.Options{
		Nodes: 6, Producers: 3, Old: 2, Seed: seed, Slot: 10 * time.Second, Latency: 2 * time.Second, SnarkCoordinators: 2, ProofTime: 8 * time.Second,
		Accounts: accounts(senders, 10_000*aMina), KeepLogs: true, JournalNodes: true, MaxLogs: 200,
	}
	if change != nil {
		change(&options)
	}
	inVirtualTime(t, options, func(w *world) {
		nodes := w.Nodes()
		w.client(nodes[0]).text(schedulePayments, payments(senders[:3], map[string]any{"tps": 0.5, "durationMin": 5}))
		w.client(nodes[4]).text(schedulePayments, payments(senders[2:5], map[string]any{ // one sender is used twice: nonces clash
			"tps": 0.3, "durationMin": 5, "memoPrefix": "exp-0-1", "receiver": keys(t, 40)[39].PublicKey().String(),
		}))
		w.client(nodes[3]).text(scheduleZkapps, zkapps(senders[5:], map[string]any{"tps": 0.3, "durationMin": 5}))
		w.pass(100 * time.Second)
		w.client(nodes[1]).must(stopDaemon, map[string]any{"clean": false})
		w.client(nodes[5]).must(stopDaemon, map[string]any{"clean": true})
		w.client(nodes[2]).text(updateGating, gating(true))
		w.pass(90 * time.Second)
		w.client(nodes[2]).text(updateGating, gating(false))
		w.pass(250*time.Second + 300*time.Millisecond)
		then(w)
	})
}

// Every node's log says what really happened, to the microsecond and in the same order, in each run of its daemon.
func TestLogsAgreeWithTheGroundTruth(t *testing.T) {
	busy(t, 3, nil, func(w *world) {
		h, runs, logs := w.History(), w.LogRuns(), w.KeptLogs()
		if len(logs) != len(runs) || len(runs) != 8 {
			t.Fatalf("%d logs of %d runs, want 8 of each", len(logs), len(runs))
		}
		produced := make(map[string]simnet.BlockProduced)
		for _, block := range facts[simnet.BlockProduced](h) {
			produced[block.Hash] = block
		}
		total := make(map[string]int)
		spellings := make(map[bool]int)
		for i, run := range runs {
			log := logs[i]
			if log.Node != run.Node || log.ServerUUID != run.ServerUUID || len(log.Logs) != run.Last {
				t.Fatalf("log of %s %s with %d entries, run %+v", log.Node, log.ServerUUID, len(log.Logs), run)
			}
			older := slices.Index(w.Nodes(), run.Node) >= 4
			got := read(t, log.Logs)
			processed, diffs, works := truth(h, run, older)
			for what, diff := range map[string]string{
				"blocks": cmp.Diff(processed, got.processed), "commands": cmp.Diff(diffs, got.diffs), "SNARK work": cmp.Diff(works, got.works),
			} {
				if diff != "" {
					t.Errorf("%s of %s %s (-truth +log):\n%s", what, run.Node, run.ServerUUID, diff)
				}
			}
			checkGroups(t, got)
			total["lingering"] += got.lingering
			for hash, block := range got.blocks {
				if !strings.HasPrefix(hash, "3N") {
					continue
				}
				truth, made := produced[hash]
				if !made {
					t.Errorf("%s traced %s, which nobody produced", run.Node, hash)
					continue
				}
				checkBlock(t, truth, block)
				spellings[block.metadata["global_slot"][0] == '[']++
				total["repeated"] += min(len(block.other), 1)
			}
			for _, text := range slices.Concat(got.diffs, got.works) {
				for _, what := range []string{"fee_equal", "not_pending", "Invalid_nonce", " scheduled ", " added ", " removed ", "merge", "coinbase"} {
					if strings.Contains(text, what) {
						total[what]++
					}
				}
				if strings.HasSuffix(text, ": ") {
					total["accepted"]++
				}
			}
		}
		for _, block := range produced {
			if block.Interrupted != nil {
				total["interrupted"]++
			}
			if len(block.Bought) > 0 {
				total["bought"]++
			}
			for _, c := range block.Commands {
				if c.Failure != "" {
					total["failed"]++
				}
			}
		}
		total["orphaned"] = len(facts[simnet.BlockOrphaned](h))
		for _, tip := range facts[simnet.TipChanged](h) {
			total["reorganised"] += min(tip.Left, 1)
		}
		for _, what := range []string{
			"lingering", "repeated", "fee_equal", "not_pending", "Invalid_nonce", " scheduled ", " added ", " removed ", "merge", "coinbase",
			"accepted", "interrupted", "bought", "failed", "orphaned", "reorganised",
		} {
			if total[what] == 0 {
				t.Errorf("nothing was %s: %v", what, total)
			}
		}
		if spellings[true] == 0 || spellings[false] == 0 {
			t.Errorf("one spelling of the slot only: %v", spellings)
		}
		t.Logf("%v", total)
	})
}

// checkBlock compares the trace of a block with the block.
func checkBlock(t *testing.T, block simnet.BlockProduced, got *blockRead) {
	t.Helper()
	if !slices.IsSortedFunc(got.times, time.Time.Compare) {
		t.Errorf("the times of block %s go back: %v", block.Hash, got.times)
	}
	received := strings.Fields(`External_block_received Validate_transition Check_transition_not_in_process Validate_transition
		Check_transition_not_in_frontier Check_transition_can_be_connected Register_transition_for_processing Validate_transition_done
		Begin_external_block_processing Validate_frontier_dependencies Find_parent_breadcrumb`)
	snarks := ""
	if len(block.Bought) > 0 {
		snarks = "Verify_transaction_snarks Verify_transaction_snarks_done"
	}
	ledger := `Update_coinbase_stack Update_ledger_and_get_statements Update_ledger_and_get_statements_done Update_coinbase_stack_done
		Check_for_sufficient_snark_work Check_zero_fee_excess Fill_work_and_enqueue_transactions Update_pending_coinbase_collection
		Verify_scan_state_after_apply Hash_new_staged_ledger Hash_new_staged_ledger_done`
	processing := strings.Fields("Build_breadcrumb Validate_staged_ledger_diff Check_completed_works " + snarks +
		" Prediff Verify_commands Verify_commands_done Apply_diff " + ledger +
		` Diff_applied Create_breadcrumb Add_and_finalize Add_breadcrumb_to_frontier Calculate_diffs Calculate_diffs_done Apply_catchup_state_diffs
		Apply_full_frontier_diffs Move_frontier_root Move_frontier_root_done Apply_full_frontier_diffs_done Synchronize_persistent_frontier
		Synchronize_persistent_frontier_done Notify_frontier_extensions ` + strings.Repeat("Update_frontier_extension ", 5) +
		strings.Repeat("Update_frontier_extension_done ", 5) +
		"Notify_frontier_extensions_done Add_breadcrumb_to_frontier_done Add_and_finalize_done Breadcrumb_integrated")
	production := strings.Fields(`Begin_block_production Get_transactions_from_pool Generate_next_state Create_staged_ledger_diff
		Get_snark_work_for_pending_transactions Validate_and_apply_transactions Generate_staged_ledger_diff Generate_staged_ledger_diff_done
		Create_staged_ledger_diff_done Apply_staged_ledger_diff ` + ledger + ` Apply_staged_ledger_diff_done Generate_transition
		Consensus_state_update Consensus_state_update_done Generate_transition_done Generate_next_state_done Produce_state_transition_proof`)
	var want []string
	switch got.main[0] {
	case "To_download":
		want = slices.Concat(strings.Fields("To_download To_initial_validate To_verify To_build_breadcrumb"), processing)
	case "Begin_block_production":
		want = slices.Concat(production, received, processing, []string{"Produce_chain_transition_proof", "Produce_validated_transition"})
		var made struct{ Txn, Proof int }
		made.Proof = number(t, got.metadata["proof_count"])
		made.Txn = number(t, got.metadata["txn_count"])
		proofs := 0
		for _, ids := range block.Bought {
			proofs += len(ids)
		}
		if made.Txn != len(block.Commands) || made.Proof != proofs {
			t.Errorf("block %s was produced with %+v, want %d commands and %d proofs", block.Hash, made, len(block.Commands), proofs)
		}
		if at, interrupted := got.metadata["interrupt_get_completed_work_at"]; interrupted != (block.Interrupted != nil) {
			t.Errorf("block %s was interrupted: %v, want %+v", block.Hash, interrupted, block.Interrupted)
		} else if interrupted {
			told := simnet.WorkInterruption{At: number(t, at)}
			decode(t, got.metadata["interrupt_get_completed_work_reason"], &told.Reason)
			decode(t, got.metadata["interrupt_get_completed_work_ids"], &told.IDs)
			if diff := cmp.Diff(*block.Interrupted, told); diff != "" || told.At != proofs {
				t.Errorf("interruption of %s (-truth +log):\n%s", block.Hash, diff)
			}
		}
	default:
		want = slices.Concat(received, processing)
	}
	if diff := cmp.Diff(want, got.main); diff != "" {
		t.Errorf("checkpoints of block %s (-want +got):\n%s", block.Hash, diff)
	}
	repeated := strings.Fields("External_block_received Validate_transition Check_transition_not_in_process Validate_transition Check_transition_not_in_frontier")
	if len(got.other) > 0 && !slices.Equal(got.other, repeated) {
		t.Errorf("repeated checkpoints of block %s: %v", block.Hash, got.other)
	}
	var length, slot, creator, parent string
	decode(t, got.metadata["blockchain_length"], &length)
	if pair := []string{}; got.metadata["global_slot"][0] == '[' {
		decode(t, got.metadata["global_slot"], &pair)
		if len(pair) != 2 || pair[0] != "Since_genesis" {
			t.Errorf("global slot %v", pair)
		}
		slot = pair[1]
	} else {
		decode(t, got.metadata["global_slot"], &slot)
	}
	decode(t, got.metadata["creator"], &creator)
	decode(t, got.metadata["previous_state_hash"], &parent)
	if length != fmt.Sprint(block.Height) || slot != fmt.Sprint(block.Slot) || creator != block.Creator || parent != block.Parent {
		t.Errorf("block %s has length %s, slot %s, creator %s, parent %s", block.Hash, length, slot, creator, parent)
	}
	var transactions []any
	fees := uint64(0)
	for _, c := range block.Commands {
		status := []any{"Applied"}
		if c.Failure != "" {
			status = []any{"Failed", []any{[]any{c.Failure}}}
		}
		transactions = append(transactions, []any{c.Type, c.Signature, c.Memo, status})
		fees += c.Fee
	}
	if fees > 0 {
		transactions = append(transactions, []any{"fee_transfer", []any{"Applied"}})
	}
	transactions = append(transactions, []any{"coinbase", "720", []any{"Applied"}})
	var listed []any
	decode(t, got.metadata["transactions"], &listed)
	if diff := cmp.Diff(transactions, listed); diff != "" {
		t.Errorf("transactions of block %s (-want +got):\n%s", block.Hash, diff)
	}
}

func number(t *testing.T, text json.RawMessage) (value int) {
	t.Helper()
	decode(t, text, &value)
	return value
}

// checkGroups checks the grammar of the child processes: calls are numbered one by one, groups are whole, hold the nested names of
// internal-trace, section 3.3, belong to the block that the rule of section 3.1 finds, and none is missing.
func checkGroups(t *testing.T, got *reading) {
	t.Helper()
	verifying := strings.Fields(`Verify_heterogenous Compute_plonks_and_chals Compute_plonks_and_chals_done Accumulator_check Accumulator_check_done
		Compute_batch_verify_inputs Compute_batch_verify_inputs_done Dlog_check_batch_verify Batch_verify_backend_convert_inputs
		Batch_verify_backend_convert_inputs_done Batch_verify_backend Batch_verify_backend_done Dlog_check_batch_verify_done`)
	proving := strings.Fields(`Pickles_step_proof Step_compute_prev_proof_parts Step_compute_prev_proof_parts_done
		Step_compute_bulletproof_challenges Step_compute_bulletproof_challenges_done Step_generate_witness_conv Backend_tick_proof_create_async
		Backend_tick_proof_create_async_done Pickles_step_proof_done Pickles_wrap_proof Wrap_compute_deferred_values
		Wrap_compute_deferred_values_done Wrap_generate_witness_conv Wrap_verifier_incrementally_verify_proof
		Wrap_verifier_incrementally_verify_proof_done Backend_tock_proof_create_async Backend_tock_proof_create_async_done Pickles_wrap_proof_done`)
	calls := make(map[string]int)
	wanted, found := make(map[string]int), make(map[string]int)
	for _, parent := range got.parents {
		if parent.name == "Produce_state_transition_proof" || parent.count > 0 {
			wanted[parent.name]++
		}
	}
	for _, group := range got.groups {
		if calls[group.process]++; group.call != calls[group.process] {
			t.Fatalf("call %d of the %s has the number %d", calls[group.process], group.process, group.call)
		}
		first := group.names[0]
		names := verifying
		if process := strings.ToLower(strings.SplitN(first, "_", 2)[0]); process != group.process {
			t.Errorf("the %s traced %s", group.process, first)
		} else if process == "prover" {
			names = proving
			checkKimchi(t, group)
		}
		if diff := cmp.Diff(slices.Concat([]string{first}, names, []string{first + "_done"}), group.names); diff != "" {
			t.Errorf("group of the %s (-want +got):\n%s", group.process, diff)
		}
		if !slices.IsSortedFunc(group.times, time.Time.Compare) {
			t.Errorf("the times of %s go back: %v", first, group.times)
		}
		found[parentOf(first)]++
		// The most recent parent that is not later than the group.
		var parent parentRead
		for _, p := range got.parents {
			if p.name == parentOf(first) && !p.at.After(group.times[0]) && !p.at.Before(parent.at) {
				parent = p
			}
		}
		if parent.block != group.block {
			t.Errorf("%s of block %s at %s belongs by its time to block %s at %s", first, group.block, stamp(group.times[0]), parent.block, stamp(parent.at))
		}
	}
	if diff := cmp.Diff(wanted, found); diff != "" {
		t.Errorf("groups by parent (-want +got):\n%s", diff)
	}
}

// checkKimchi checks the nested lines of a block's two proofs.
func checkKimchi(t *testing.T, group groupRead) {
	t.Helper()
	if len(group.lines) != 34 {
		t.Fatalf("%d lines of the two proofs, want 34", len(group.lines))
	}
	for i, line := range group.lines {
		var pair []any
		decode(t, json.RawMessage(line), &pair)
		at, ok := pair[1].(float64)
		from, to := "Backend_tick_proof_create_async", "Backend_tick_proof_create_async_done"
		if i >= 17 {
			from, to = "Backend_tock_proof_create_async", "Backend_tock_proof_create_async_done"
		}
		begin, end := group.times[slices.Index(group.names, from)], group.times[slices.Index(group.names, to)]
		if micro := int64(at*1e6 + 0.5); !ok || micro < begin.UnixMicro() || micro > end.UnixMicro() || !strings.Contains(line, ".") {
			t.Errorf("line %s is not between %s and %s", line, stamp(begin), stamp(end))
		}
	}
}

// A reader that polls too rarely, flushes now and then, and comes again after restarts: what it got, what it can know it missed, and what
// the queue dropped are those of the ground truth, ID by ID.
func TestQueueDropsAreAccountedFor(t *testing.T) {
	faults, err := simnet.ParseFaults("drop-logs:127.0.0.4=10%")
	if err != nil {
		t.Fatal(err)
	}
	senders := keys(t, 3)
	options := simnet.Options{
		Nodes: 3, Producers: 2, Slot: 10 * time.Second, MaxLogs: 150, KeepLogs: true, Accounts: accounts(senders, 1000*aMina), Faults: faults,
	}
	inVirtualTime(t, options, func(w *world) {
		w.client(w.Nodes()[0]).text(schedulePayments, payments(senders, map[string]any{"tps": 0.5, "durationMin": 4}))
		read := make(map[string][]logEntry) // by run
		flushed := make(map[string]int)     // by run, the last ID
		dropped := make(map[string][]int)   // by run, IDs that were neither flushed nor there any more
		next := make(map[string]int)        // by run, the ID to go on with
		for poll := range 60 {
			w.pass(time.Duration(1+poll%7) * time.Second)
			for i, address := range w.Nodes() {
				if slices.Contains(w.History().Down(), address) || poll%(i+2) == 1 {
					continue
				}
				c := w.client(address)
				run := address + " " + c.uuid
				next[run] = max(next[run], 1)
				entries := c.logs(next[run])
				read[run] = append(read[run], entries...)
				if i < 2 && len(entries) > 0 { // the third node's first entry may be one that the fault took
					for id := max(next[run], flushed[run]+1); id < entries[0].ID; id++ {
						dropped[run] = append(dropped[run], id)
					}
				}
				if len(entries) > 0 {
					next[run] = entries[len(entries)-1].ID + 1
				}
				if poll%5 == i {
					c.text(flushLogs, map[string]any{"end": next[run] - 40})
					flushed[run] = max(flushed[run], next[run]-40)
				}
			}
			if poll == 25 {
				w.client(w.Nodes()[1]).must(stopDaemon, map[string]any{"clean": false})
			}
		}
		kept := make(map[string]simnet.KeptLog)
		for _, log := range w.KeptLogs() {
			kept[log.Node+" "+log.ServerUUID] = log
		}
		missed, gaps := 0, 0
		for _, run := range w.LogRuns() {
			name := run.Node + " " + run.ServerUUID
			log := kept[name].Logs
			if run.Last != len(log) {
				t.Errorf("%s: IDs up to %d, %d entries", name, run.Last, len(log))
			}
			if got := ids(read[name]); !slices.Equal(got, spread(run.Given)) {
				t.Errorf("%s: the reader has %v, given were %v", name, got, run.Given)
			}
			for _, entry := range read[name] {
				original := log[entry.ID-1]
				if entry.Message != original.Message || entry.Timestamp != original.Timestamp.Format("2006-01-02 15:04:05.000000Z") ||
					len(entry.Metadata) != len(original.Metadata) || (entry.Process != nil) != (original.Process != "") {
					t.Fatalf("%s: read %+v, traced %+v", name, entry, original)
				}
			}
			all := sequence(1, run.Last)
			given := make(map[int]bool)
			for _, id := range spread(run.Given) {
				given[id] = true
			}
			var holes []int // that the reader sees: between two of its entries, or before the first one
			for id := 1; id < next[name]; id++ {
				if !given[id] {
					holes = append(holes, id)
				}
			}
			if !slices.Equal(holes, spread(run.Gaps())) {
				t.Errorf("%s: the reader sees gaps at %v, the truth is %v", name, holes, run.Gaps())
			}
			if got := spread(run.Missed()); len(got)+len(given) != len(all) {
				t.Errorf("%s: %d given and %d missed of %d", name, len(given), len(got), len(all))
			}
			// Flushed and dropped entries are apart, and are the oldest ones, without a hole.
			gone := append(spread(run.Dropped), spread(run.Flushed)...)
			slices.Sort(gone)
			if !slices.Equal(gone, sequence(1, len(gone))) || run.Last-len(gone) > 150 {
				t.Errorf("%s: gone are %v of %d", name, gone, run.Last)
			}
			for _, id := range dropped[name] {
				if !slices.ContainsFunc(run.Dropped, func(r simnet.LogRange) bool { return r.First <= id && id <= r.Last }) {
					t.Errorf("%s: %d was not there any more, but neither dropped nor flushed", name, id)
				}
			}
			missed, gaps = missed+len(run.Missed()), gaps+len(dropped[name])
		}
		if missed == 0 || gaps == 0 || len(kept) != 4 {
			t.Errorf("%d entries missed, %d in gaps, %d runs", missed, gaps, len(kept))
		}
		// A journal that was closed says the same.
		before := w.LogRuns()
		if err := w.Stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, w.History().LogRuns()); diff != "" {
			t.Errorf("(-running +stopped):\n%s", diff)
		}
	})
}

func spread(ranges []simnet.LogRange) []int {
	var list []int
	for _, r := range ranges {
		list = append(list, sequence(r.First, r.Last)...)
	}
	return list
}

// What the history answers on transactions and SNARK work.
func TestTransactionsAndWorks(t *testing.T) {
	busy(t, 5, nil, func(w *world) {
		h := w.History()
		sent, rejected := facts[simnet.CommandSent](h), facts[simnet.CommandRejected](h)
		transactions := h.Transactions()
		if len(transactions) != len(sent)+len(rejected) {
			t.Fatalf("%d transactions, %d sent and %d rejected", len(transactions), len(sent), len(rejected))
		}
		var memos []string
		orphaned := 0
		for i, tx := range transactions {
			if i > 0 && tx.Submitted.Before(transactions[i-1].Submitted) {
				t.Error("not in the order of submission")
			}
			if tx.Memo == "" || tx.Sender == "" || tx.Handle == "" || len(tx.Reports) == 0 {
				t.Errorf("incomplete: %+v", tx)
				continue
			}
			if first := tx.Reports[0]; first.Node != tx.Node || first.Sender != "" || first.Reason != tx.Rejected || first.At != tx.Submitted {
				t.Errorf("the first report of %+v is not that of its own node", tx)
			}
			if tx.Rejected != "" && len(tx.Blocks) > 0 {
				t.Errorf("%s was rejected, and included", tx.Memo)
			}
			for _, block := range tx.Blocks {
				if block.OnChain {
					memos = append(memos, tx.Memo)
				} else {
					orphaned++
				}
			}
		}
		included := h.Memos()
		slices.Sort(memos)
		slices.Sort(included)
		if diff := cmp.Diff(included, memos); diff != "" || orphaned == 0 {
			t.Errorf("on the chain (-chain +transactions), %d in other blocks:\n%s", orphaned, diff)
		}
		chain := make(map[string]bool)
		for _, block := range h.Chain() {
			chain[block.Hash] = true
		}
		bought := 0
		for _, work := range h.Works() {
			if len(work.IDs) != len(work.Jobs) || len(work.IDs) == 0 || len(work.IDs) > 2 {
				t.Fatalf("%+v", work)
			}
			onChain := 0
			for _, hash := range work.Bought {
				bought++
				if chain[hash] {
					onChain++
				}
			}
			if onChain > 1 {
				t.Errorf("%v was bought twice on the chain", work.IDs)
			}
			var proof time.Time
			for _, report := range work.Reports {
				if report.Listed == "" && report.Reason == "" && proof.IsZero() {
					proof = report.At
				}
			}
			if len(work.Bought) > 0 && proof.IsZero() {
				t.Errorf("%v was bought, but never proven", work.IDs)
			}
		}
		if bought == 0 {
			t.Error("no proof was bought")
		}
	})
}

// Blocks hold the proofs that the model of docs/simnet.md says: in order, what their chain needed before their parent, up to the first one
// that the producer's pool lacked when it began to build.
func TestBlocksHoldTheProofsThatTheirProducersHave(t *testing.T) {
	bought, lacking := 0, 0
	for seed := range uint64(6) {
		busy(t, seed, nil, func(w *world) {
			type needed struct {
				ids    string
				height int
			}
			pending := make(map[string][]needed)           // after each block
			pools := make(map[string]map[string]time.Time) // by node: works it has the proof of, since when
			lost := make(map[string]map[string]time.Time)  // by node: works it had the proof of once, until when
			lose := func(node, ids string, at time.Time) {
				if _, had := pools[node][ids]; had {
					lost[node][ids] = at
					delete(pools[node], ids)
				}
			}
			for _, entry := range w.History() {
				if pools[entry.Node] == nil {
					pools[entry.Node], lost[entry.Node] = make(map[string]time.Time), make(map[string]time.Time)
				}
				switch fact := entry.Fact.(type) {
				case simnet.DaemonStopped:
					for _, ids := range slices.Collect(maps.Keys(pools[entry.Node])) {
						lose(entry.Node, ids, entry.Time)
					}
				case simnet.WorkListed:
					for _, ids := range fact.Works {
						if fact.Action == simnet.WorkRemoved {
							lose(entry.Node, fmt.Sprint(ids), entry.Time)
						}
					}
				case simnet.WorkReceived:
					if fact.Reason == "" {
						pools[entry.Node][fmt.Sprint(fact.IDs)] = entry.Time
					}
				case simnet.BlockProduced:
					begun := genesis().Add(time.Duration(fact.Slot) * w.Slot())
					had := func(ids string) bool {
						since, has := pools[entry.Node][ids]
						return has && since.Before(begun) || lost[entry.Node][ids].After(begun)
					}
					var want []string
					left := pending[fact.Parent]
					interrupted := ""
					for len(left) > 0 && left[0].height < fact.Height-1 {
						if !had(left[0].ids) {
							interrupted = left[0].ids
							break
						}
						want = append(want, left[0].ids)
						left = left[1:]
					}
					var got []string
					for _, ids := range fact.Bought {
						got = append(got, fmt.Sprint(ids))
					}
					if !slices.Equal(want, got) || (interrupted != "") != (fact.Interrupted != nil) ||
						fact.Interrupted != nil && fmt.Sprint(fact.Interrupted.IDs) != interrupted {
						t.Fatalf("seed %d: block %s of %s holds %v and is interrupted by %+v, want %v and %s",
							seed, fact.Hash, entry.Node, got, fact.Interrupted, want, interrupted)
					}
					bought += len(got)
					if interrupted != "" {
						lacking++
					}
					left = slices.Clone(left)
					for _, work := range fact.Works {
						left = append(left, needed{fmt.Sprint(work.IDs), fact.Height})
					}
					pending[fact.Hash] = left
				}
			}
		})
	}
	if bought == 0 || lacking == 0 {
		t.Errorf("%d proofs were bought, %d blocks interrupted", bought, lacking)
	}
}

// SNARK work that is proven in time interrupts nothing; without anybody to prove it, every block is interrupted at its first one, and what
// is pending stays bounded.
func TestInterruptions(t *testing.T) {
	for name, test := range map[string]struct {
		coordinators int
		interrupted  bool
	}{"proven": {0, false}, "nobody proves": {-1, true}} {
		t.Run(name, func(t *testing.T) {
			options := simnet.Options{Nodes: 3, Producers: 2, Slot: time.Minute, SnarkCoordinators: test.coordinators, BlockCapacity: 4}
			inVirtualTime(t, options, func(w *world) {
				w.pass(time.Hour)
				blocks := facts[simnet.BlockProduced](w.History())
				interrupted, needed := 0, 0
				for _, block := range blocks {
					needed += len(block.Works)
					if block.Interrupted != nil {
						interrupted++
						if block.Interrupted.At != 0 || !slices.Equal(block.Interrupted.IDs, blocks[0].Works[0].IDs) {
							t.Errorf("interrupted: %+v", block.Interrupted)
						}
					}
				}
				if len(blocks) < 30 || test.interrupted && (interrupted < len(blocks)-4 || needed > 20) || !test.interrupted && interrupted > 0 {
					t.Errorf("%d of %d blocks were interrupted, %d works were needed", interrupted, len(blocks), needed)
				}
			})
		})
	}
}

// What is observed, kept and journalled changes nothing of what happens; and with the same seed every entry of every log is the same.
func TestObservingChangesNothing(t *testing.T) {
	run := func(seed uint64, change func(*simnet.Options)) (chain []string, logs []simnet.KeptLog) {
		busy(t, seed, change, func(w *world) {
			for _, block := range facts[simnet.BlockProduced](w.History()) {
				chain = append(chain, block.Hash)
			}
			for _, entry := range w.History() {
				switch entry.Fact.(type) {
				case simnet.CommandSent, simnet.CommandRejected, simnet.CommandDropped, simnet.BlockIncluded, simnet.BlockOrphaned, simnet.ScheduleEnded:
					chain = append(chain, fmt.Sprintf("%s %s %+v", entry.Time, entry.Node, entry.Fact))
				}
			}
			logs = w.KeptLogs()
		})
		return chain, logs
	}
	first, logs := run(1, nil)
	again, logsAgain := run(1, nil)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("the same seed gave another history:\n%s", diff)
	}
	if !reflect.DeepEqual(logs, logsAgain) {
		t.Error("the same seed gave other logs")
	}
	bare, none := run(1, func(o *simnet.Options) {
		o.KeepLogs, o.JournalNodes, o.SnarkCoordinators, o.MaxLogs, o.ProofTime = false, false, -1, 1, time.Minute
	})
	if diff := cmp.Diff(first, bare); diff != "" || len(none) != 0 {
		t.Errorf("what is observed changes what happens (%d logs kept):\n%s", len(none), diff)
	}
}
