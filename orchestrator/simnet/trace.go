package simnet

import (
	"encoding/json"
	"strconv"
	"time"

	"provingground/orchestrator/itn"
)

// This file spells out what daemons trace: the records of internal-trace, section 2, in the order of section 3.4. Their times are network
// time. The spans between checkpoints are those of a real node (a block received in about two thirds of a second, one produced in about five
// seconds), shortened where latency or slot leave less, and varied a little from block to block.

// tracer holds what all events of a kind have in common.
type tracer struct {
	seed     uint64
	received []traceStep
	fetched  []traceStep
	produced []traceStep // up to the proof, before the block is processed like a received one
	finished []traceStep // after that

	processing time.Duration // from the arrival of a block to its integration
	building   time.Duration // from the slot's start to the start of the proof
}

// traceStep is one entry of the pattern of an event.
type traceStep struct {
	name string        // checkpoint; empty for a control record
	took time.Duration // until the next checkpoint, on a real node
	data func(traced) []itn.LogMetadatum
}

// traced is what a control record speaks of.
type traced struct {
	*block
	call int
	net  *Network
}

// newTracer fits the patterns to a network's latency and slots. All that is traced has happened when it is logged: a received block within
// the latency, a produced one within the time of its production.
func newTracer(seed uint64, latency, producing time.Duration) *tracer {
	processing := min(650*time.Millisecond, latency*2/3)
	head := receptionSteps()
	body := processingSteps()
	return &tracer{
		seed:       seed,
		received:   append(head, body...),
		fetched:    append(catchupSteps(), body...),
		produced:   productionSteps(),
		finished:   closingSteps(),
		processing: min(processing, producing/4),
		building:   producing / 60,
	}
}

// size is the number of entries of an event.
func (t *tracer) size(kind logKind) int {
	switch kind {
	case logStarted:
		return 2
	case logReceived:
		return len(t.received) + 2
	case logFetched:
		return len(t.fetched) + 2
	case logProduced:
		return len(t.produced) + len(t.received) + len(t.finished) + 2
	default:
		return 4
	}
}

// calls is how many call numbers an event uses.
func (t *tracer) calls(kind logKind) int {
	if kind == logStarted || kind == logDiff {
		return 0
	}
	return 2
}

// entries spells an event out; the IDs are left to the caller. The result has size entries.
func (t *tracer) entries(n *Network, node *node, e logEvent) []itn.Log {
	chance := mix(t.seed, purposeTrace, uint64(node.index), uint64(e.first))
	subject := traced{block: e.block, call: e.call, net: n}
	outside := []traceStep{{data: outsideBlock}, {data: noCall}}
	switch e.kind {
	case logStarted:
		return []itn.Log{
			control(e.at, datum("internal_tracing_enabled", float64(e.at.UnixMicro())/1e6)),
			control(e.at, datum("mina_node_metadata", map[string]string{"version": commitID, "branch": "simulated"})),
		}
	case logReceived:
		return append(spell(subject, t.received, e.at.Add(-t.processing), e.at, chance), spell(subject, outside, e.at, e.at, 0)...)
	case logFetched:
		return append(spell(subject, t.fetched, e.at.Add(-t.processing), e.at, chance), spell(subject, outside, e.at, e.at, 0)...)
	case logProduced:
		made := e.block.made
		logs := spell(subject, t.produced, made, made.Add(t.building), chance)
		logs = append(logs, spell(subject, t.received, e.at.Add(-t.processing), e.at, chance)...)
		logs = append(logs, spell(subject, t.finished, e.at, e.at, 0)...)
		return append(logs, spell(subject, outside, e.at, e.at, 0)...)
	default:
		return diffEntries(n, node, e)
	}
}

// diffEntries spells out the arrival of a command at a node's pool.
func diffEntries(n *Network, node *node, e logEvent) []itn.Log {
	diff := map[string]any{"diff": []any{[]string{e.command.kind, e.command.signature(n.opts.Seed), e.command.memo}}}
	if e.command.origin != node {
		diff["sender"] = e.command.origin.host
	}
	received := control(e.at, datum("metadata", diff))
	outcome := "Transaction_diff_accepted"
	if e.reason != "" {
		outcome = "Transaction_diff_rejected"
		diff["reason"] = e.reason
	}
	return []itn.Log{checkpoint(e.at, "Transaction_diff_received"), received, checkpoint(e.at, outcome), control(e.at, datum("metadata", diff))}
}

// spell writes down a pattern whose checkpoints begin at one instant and, the last one, at another.
func spell(subject traced, steps []traceStep, begin, end time.Time, chance uint64) []itn.Log {
	weights := make([]time.Duration, len(steps))
	var whole time.Duration
	last := -1
	for i, step := range steps {
		if step.name == "" {
			continue
		}
		vary := time.Duration(mix(chance, uint64(i)) % 400)
		weights[i] = step.took * (800 + vary) / 1000
		last = i
	}
	for i := range last {
		whole += weights[i]
	}
	logs := make([]itn.Log, 0, len(steps))
	var passed time.Duration
	at := begin
	for i, step := range steps {
		if step.data != nil {
			logs = append(logs, control(at, step.data(subject)...))
			continue
		}
		switch {
		case i == last:
			at = end
		case whole > 0:
			at = begin.Add(time.Duration(float64(end.Sub(begin)) * float64(passed) / float64(whole)))
		}
		passed += weights[i]
		logs = append(logs, checkpoint(at, step.name))
	}
	return logs
}

func checkpoint(at time.Time, name string) itn.Log {
	return itn.Log{Timestamp: at.Truncate(time.Microsecond), Message: name}
}

func control(at time.Time, data ...itn.LogMetadatum) itn.Log {
	return itn.Log{Timestamp: at.Truncate(time.Microsecond), Message: "@control", Metadata: data}
}

// datum makes one item of a control record.
func datum(item string, value any) itn.LogMetadatum {
	text, err := json.Marshal(value)
	if err != nil { // only texts and numbers come here
		text = []byte("null")
	}
	return itn.LogMetadatum{Item: item, Value: text}
}

func outsideBlock(traced) []itn.LogMetadatum {
	return []itn.LogMetadatum{datum("current_block", "0")}
}

func noCall(traced) []itn.LogMetadatum { return []itn.LogMetadatum{datum("current_call_id", 0)} }

func insideBlock(t traced) []itn.LogMetadatum {
	return []itn.LogMetadatum{datum("current_block", t.hash)}
}

// call begins the call that stands so many places after the event's first one.
func call(offset int, tag string) traceStep {
	return traceStep{data: func(t traced) []itn.LogMetadatum {
		return []itn.LogMetadatum{datum("current_call_id", t.call+offset), datum("current_call_tag", tag)}
	}}
}

// about gives the checkpoint before it metadata.
func about(fields func(t traced) map[string]any) traceStep {
	return traceStep{data: func(t traced) []itn.LogMetadatum { return []itn.LogMetadatum{datum("metadata", fields(t))} }}
}

// extension gives the checkpoint before it the name of a frontier extension.
func extension(name string) traceStep {
	return about(func(traced) map[string]any { return map[string]any{"extension_name": name} })
}

// length tells the block's length.
func length(t traced) []itn.LogMetadatum {
	return []itn.LogMetadatum{datum("block_metadata", map[string]any{"blockchain_length": strconv.Itoa(t.height)})}
}

// contents tells the block's length and transactions.
func contents(t traced) []itn.LogMetadatum {
	return []itn.LogMetadatum{datum("block_metadata", map[string]any{
		"blockchain_length": strconv.Itoa(t.height), "transactions": t.transactions(t.net),
	})}
}

// transactions lists a block's transactions as traces do (internal-trace, section 2.2). It is spelled out once for all nodes.
func (b *block) transactions(n *Network) json.RawMessage {
	if b.listed != nil {
		return b.listed
	}
	list := make([]any, 0, len(b.commands)+2)
	applied := []any{"Applied"}
	for _, c := range b.commands {
		status := applied
		if c.failure != "" {
			status = []any{"Failed", [][]string{{c.failure}}}
		}
		list = append(list, []any{c.kind, c.signature(n.opts.Seed), c.memo, status})
	}
	if b.fees > 0 {
		list = append(list, []any{"fee_transfer", applied})
	}
	list = append(list, []any{"coinbase", strconv.FormatUint(uint64(coinbase/nanominaPerMina), 10), applied})
	text, err := json.Marshal(list)
	if err != nil { // only texts come here
		text = []byte("[]")
	}
	b.listed = text
	return text
}

// origins tells where a block comes from.
func origins(t traced) []itn.LogMetadatum {
	slot := strconv.Itoa(t.slot)
	fields := map[string]any{"global_slot": slot, "slot": strconv.Itoa(t.slot % epochSlots), "previous_state_hash": t.above}
	if t.producer != nil {
		creator := t.net.accounts.text(t.producer.account)
		fields["creator"], fields["winner"], fields["coinbase_receiver"] = creator, creator, creator
	}
	return []itn.LogMetadatum{datum("block_metadata", fields)}
}

// receptionSteps is what precedes the processing of a block that came by gossip.
func receptionSteps() []traceStep {
	return []traceStep{
		{data: insideBlock}, {data: contents}, call(0, "block_received"),
		{name: "External_block_received", took: 2541 * time.Microsecond},
		{data: outsideBlock}, {data: noCall},
		{name: "Verify_blockchain_snarks", took: 289 * time.Millisecond}, about(func(traced) map[string]any { return map[string]any{"count": 1} }),
		{name: "Verify_blockchain_snarks_done", took: 184 * time.Microsecond},
		{name: "Initial_validation_done", took: 4900 * time.Microsecond},
		{data: insideBlock}, call(1, "transition_handler_validator"),
		{name: "Validate_transition", took: 46 * time.Microsecond},
		{name: "Check_transition_not_in_process", took: 33 * time.Microsecond},
		{name: "Validate_transition", took: 39 * time.Microsecond}, {data: length},
		{name: "Check_transition_not_in_frontier", took: 34 * time.Microsecond},
		{name: "Check_transition_can_be_connected", took: 440 * time.Microsecond},
		{name: "Register_transition_for_processing", took: 1963 * time.Microsecond},
		{name: "Validate_transition_done", took: 93 * time.Microsecond},
		{data: length}, {data: noCall},
		{name: "Begin_external_block_processing", took: 8 * time.Microsecond},
		{name: "Validate_frontier_dependencies", took: 446 * time.Microsecond},
		{name: "Find_parent_breadcrumb", took: 112 * time.Microsecond},
	}
}

// catchupSteps is what precedes the processing of a block that was missed.
func catchupSteps() []traceStep {
	return []traceStep{
		{data: insideBlock}, {data: contents}, call(0, "catchup"),
		{name: "To_download", took: 200 * time.Millisecond},
		{name: "To_initial_validate", took: time.Millisecond},
		{name: "To_verify", took: 100 * time.Millisecond},
		{name: "To_build_breadcrumb", took: time.Millisecond},
	}
}

// processingSteps is the processing of a block up to its integration.
func processingSteps() []traceStep {
	steps := []traceStep{
		{name: "Build_breadcrumb", took: 96 * time.Microsecond}, {data: origins},
		{name: "Validate_staged_ledger_diff", took: 1599 * time.Microsecond},
		{name: "Check_completed_works", took: 282 * time.Microsecond}, about(func(traced) map[string]any { return map[string]any{"work_count": 0} }),
		{name: "Prediff", took: 18 * time.Microsecond},
		{name: "Verify_commands", took: 817 * time.Microsecond}, about(func(t traced) map[string]any { return map[string]any{"count": len(t.commands)} }),
		{name: "Verify_commands_done", took: 37 * time.Microsecond},
		{name: "Apply_diff", took: 1205 * time.Microsecond},
	}
	steps = append(steps, ledgerSteps()...)
	return append(steps,
		traceStep{name: "Diff_applied", took: 490 * time.Microsecond},
		traceStep{name: "Create_breadcrumb", took: 107 * time.Microsecond},
		traceStep{name: "Add_and_finalize", took: 9 * time.Microsecond},
		traceStep{name: "Add_breadcrumb_to_frontier", took: 7 * time.Microsecond},
		traceStep{name: "Calculate_diffs", took: 8385 * time.Microsecond},
		traceStep{name: "Calculate_diffs_done", took: 174 * time.Microsecond},
		traceStep{name: "Apply_catchup_state_diffs", took: 43 * time.Millisecond},
		traceStep{name: "Apply_full_frontier_diffs", took: 28 * time.Millisecond}, about(func(traced) map[string]any { return map[string]any{"count": 3} }),
		traceStep{name: "Move_frontier_root", took: 735 * time.Microsecond},
		traceStep{name: "Move_frontier_root_done", took: 79 * time.Millisecond},
		traceStep{name: "Apply_full_frontier_diffs_done", took: 408 * time.Microsecond},
		traceStep{name: "Synchronize_persistent_frontier", took: 22 * time.Microsecond},
		traceStep{name: "Synchronize_persistent_frontier_done", took: 6 * time.Microsecond},
		traceStep{name: "Notify_frontier_extensions", took: 8 * time.Microsecond},
		traceStep{name: "Update_frontier_extension", took: 14 * time.Microsecond}, extension("new_breadcrumbs"),
		traceStep{name: "Update_frontier_extension", took: 55 * time.Microsecond}, extension("transition_registry"),
		traceStep{name: "Update_frontier_extension", took: 1813 * time.Microsecond}, extension("best_tip_diff"),
		traceStep{name: "Update_frontier_extension", took: 4421 * time.Microsecond}, extension("snark_pool_refcount"),
		traceStep{name: "Update_frontier_extension", took: 141 * time.Microsecond}, extension("root_registry"),
		traceStep{name: "Update_frontier_extension_done", took: 14 * time.Microsecond}, extension("transition_registry"),
		traceStep{name: "Update_frontier_extension_done", took: 9882 * time.Microsecond}, extension("snark_pool_refcount"),
		traceStep{name: "Update_frontier_extension_done", took: 39 * time.Microsecond}, extension("root_registry"),
		traceStep{name: "Update_frontier_extension_done", took: 13 * time.Microsecond}, extension("new_breadcrumbs"),
		traceStep{name: "Update_frontier_extension_done", took: 14 * time.Microsecond}, extension("best_tip_diff"),
		traceStep{name: "Notify_frontier_extensions_done", took: 9 * time.Microsecond},
		traceStep{name: "Add_breadcrumb_to_frontier_done", took: 13 * time.Microsecond},
		traceStep{name: "Add_and_finalize_done", took: 196 * time.Microsecond},
		traceStep{name: "Breadcrumb_integrated"},
	)
}

// ledgerSteps applies a block's transactions to the staged ledger.
func ledgerSteps() []traceStep {
	return []traceStep{
		{name: "Update_coinbase_stack", took: 51 * time.Microsecond}, about(func(t traced) map[string]any {
			return map[string]any{
				"works": 0, "commands_count": len(t.commands), "transactions": len(t.commands) + 1, "coinbases": 1, "max_throughput": t.net.opts.BlockCapacity,
				"proofs_waiting": 198, "spots_available": t.net.opts.BlockCapacity,
			}
		}),
		{name: "Update_ledger_and_get_statements", took: 2495 * time.Microsecond}, about(func(traced) map[string]any { return map[string]any{"partition": "both"} }),
		{name: "Update_ledger_and_get_statements_done", took: 100 * time.Microsecond},
		{name: "Update_coinbase_stack_done", took: 34 * time.Microsecond}, about(func(t traced) map[string]any {
			return map[string]any{
				"is_new_stack": false, "coinbase_in_first_partition": true, "second_has_data": false,
				"txns_for_partition1_len": len(t.commands) + 1, "txns_for_partition2_len": 0,
			}
		}),
		{name: "Check_for_sufficient_snark_work", took: 13 * time.Microsecond}, about(func(t traced) map[string]any {
			return map[string]any{"required_pairs": 64, "work_count": 0, "slots": len(t.commands) + 1, "free_space": t.net.opts.BlockCapacity}
		}),
		{name: "Check_zero_fee_excess", took: 23 * time.Microsecond},
		{name: "Fill_work_and_enqueue_transactions", took: 115 * time.Microsecond}, about(func(traced) map[string]any {
			return map[string]any{"scan_state_added_works": 0, "total_proofs": 0, "merge_jobs_created": 0, "emitted_proof": false}
		}),
		{name: "Update_pending_coinbase_collection", took: 523 * time.Microsecond},
		{name: "Verify_scan_state_after_apply", took: 16738 * time.Microsecond},
		{name: "Hash_new_staged_ledger", took: 48 * time.Millisecond},
		{name: "Hash_new_staged_ledger_done", took: 69 * time.Microsecond},
	}
}

// productionSteps is the production of a block up to its proof.
func productionSteps() []traceStep {
	steps := []traceStep{
		{data: func(t traced) []itn.LogMetadatum {
			return []itn.LogMetadatum{datum("current_block", strconv.Itoa(t.slot))}
		}},
		{name: "Begin_block_production", took: 1995 * time.Microsecond},
		{name: "Get_transactions_from_pool", took: 44 * time.Microsecond},
		{name: "Generate_next_state", took: 3009 * time.Microsecond},
		{name: "Create_staged_ledger_diff", took: 492 * time.Microsecond},
		{name: "Get_snark_work_for_pending_transactions", took: 1172 * time.Microsecond}, about(func(traced) map[string]any {
			return map[string]any{"work_to_do_count": 0, "proof_count": 0}
		}),
		{name: "Validate_and_apply_transactions", took: 9 * time.Microsecond},
		{name: "Generate_staged_ledger_diff", took: 240 * time.Microsecond}, {data: func(t traced) []itn.LogMetadatum {
			return []itn.LogMetadatum{datum("block_metadata", map[string]any{"txn_count": len(t.commands), "proof_count": 0, "diff_log": []any{}})}
		}},
		{name: "Generate_staged_ledger_diff_done", took: 2643 * time.Microsecond},
		{name: "Create_staged_ledger_diff_done", took: 14 * time.Microsecond},
		{name: "Apply_staged_ledger_diff", took: 1292 * time.Microsecond},
	}
	steps = append(steps, ledgerSteps()...)
	return append(steps,
		traceStep{name: "Apply_staged_ledger_diff_done", took: 55 * time.Microsecond},
		traceStep{name: "Generate_transition", took: 1695 * time.Microsecond},
		traceStep{name: "Consensus_state_update", took: 115 * time.Microsecond},
		traceStep{name: "Consensus_state_update_done", took: 2321 * time.Microsecond},
		traceStep{name: "Generate_transition_done", took: 45 * time.Microsecond},
		traceStep{name: "Generate_next_state_done", took: 2590 * time.Microsecond},
		traceStep{data: func(t traced) []itn.LogMetadatum {
			return []itn.LogMetadatum{datum("produced_block_state_hash", t.hash)}
		}},
		traceStep{data: insideBlock},
		traceStep{name: "Produce_state_transition_proof"},
		about(func(t traced) map[string]any { return map[string]any{"transactions_count": len(t.commands)} }),
	)
}

// closingSteps ends the production of a block.
func closingSteps() []traceStep {
	return []traceStep{
		{name: "Produce_chain_transition_proof"},
		{name: "Produce_validated_transition"},
	}
}
