package simnet

import (
	"encoding/json"
	"strconv"
	"time"

	"provingground/orchestrator/itn"
)

// This file spells out what daemons trace: the records of internal-trace, section 2, in the order of section 3.4, and those of their prover and
// verifier processes (traceprocess.go). Their times are network time. The spans between checkpoints are those of a real node (a block
// received in about two thirds of a second, one produced in about five seconds), shortened where latency or slot leave less, and varied a
// little from block to block.

// tracer holds what all events of a kind have in common.
type tracer struct {
	seed     uint64
	received []traceStep
	repeated []traceStep
	fetched  []traceStep
	produced []traceStep // up to the proof, before the block is processed like a received one
	finished []traceStep // after that
	outside  []traceStep
	proven   []traceStep // a proof came to the SNARK pool

	processing time.Duration // from the arrival of a block to its integration
	repeating  time.Duration // from the second arrival of a block until it is let go
	building   time.Duration // from the slot's start to the start of the proof
	verifying  time.Duration // from the arrival of a SNARK work's proof to its acceptance

	measured map[traceShape]traceMeasure // of patterns, those that were needed so far
}

// traceShape is what decides how many records the patterns of an event have.
type traceShape struct {
	kind                                                logKind
	buys, interrupted, transacts, interested, lingering bool
}

// traceMeasure is how many entries an event has, and how many call numbers it uses.
type traceMeasure struct {
	count int
	calls processCalls
}

// traceStep is one entry of the pattern of an event, or the records of a child process.
type traceStep struct {
	name string        // checkpoint; empty for a control record
	took time.Duration // until the next checkpoint, on a real node
	data func(traced) []itn.LogMetadatum
	when func(traced) bool // nil: always; it asks for nothing but what traceShape holds

	process string      // prover or verifier: what it does during the checkpoint before
	group   []traceStep // its records, one group
}

// traced is what a control record speaks of.
type traced struct {
	*block
	event logEvent
	node  *node
	net   *Network
	child int       // number of the call in the child process
	at    time.Time // the checkpoint before
	until time.Time // the one that follows
}

// newTracer fits the patterns to a network's latency and slots. All that is traced has happened when it is logged: a received block within
// the latency, a produced one within the time of its production.
func newTracer(seed uint64, latency, producing time.Duration) *tracer {
	processing := min(650*time.Millisecond, latency*2/3, producing/4)
	head := receptionSteps()
	body := processingSteps()
	return &tracer{
		seed:       seed,
		received:   append(head, body...),
		repeated:   repetitionSteps(),
		fetched:    append(catchupSteps(), body...),
		produced:   productionSteps(),
		finished:   closingSteps(),
		outside:    []traceStep{{data: outsideBlock}, {data: noCall}},
		proven:     proofSteps(),
		processing: processing,
		repeating:  min(processing, latency/3),
		building:   producing / 60,
		verifying:  min(370*time.Millisecond, latency/2),
		measured:   make(map[traceShape]traceMeasure),
	}
}

// tracePart is a pattern whose checkpoints begin at one instant and, the last one, at another; what is during the last one ends at a third.
type tracePart struct {
	steps            []traceStep
	begin, end, next time.Time
}

// parts returns the patterns that make an event up.
func (t *tracer) parts(e logEvent) []tracePart {
	begin := e.at.Add(-t.processing)
	parts := make([]tracePart, 0, 4)
	switch e.kind {
	case logReceived:
		parts = append(parts, tracePart{t.received, begin, e.at, e.at})
	case logFetched:
		parts = append(parts, tracePart{t.fetched, begin, e.at, e.at})
	case logProduced:
		parts = append(parts,
			tracePart{t.produced, e.block.made, e.block.made.Add(t.building), begin},
			tracePart{t.received, begin, e.at, e.at},
			tracePart{t.finished, e.at, e.at, e.at})
	case logRepeated:
		parts = append(parts, tracePart{t.repeated, e.at.Add(-t.repeating), e.at, e.at})
	case logWorkReceived:
		return append(parts, tracePart{t.proven, t.workArrived(e), e.at, e.at})
	default:
		return nil
	}
	if !e.lingers {
		parts = append(parts, tracePart{t.outside, e.at, e.at, e.at})
	}
	return parts
}

// workArrived is when the proof arrived whose acceptance or rejection an event is.
func (t *tracer) workArrived(e logEvent) time.Time {
	if e.reason != "" {
		return e.at // it was not worth verifying
	}
	return e.at.Add(-t.verifying)
}

// measure returns how many entries an event has, and how many call numbers of each process it uses.
func (t *tracer) measure(e logEvent) traceMeasure {
	switch e.kind { //nolint:exhaustive // the others are made of patterns
	case logStarted:
		return traceMeasure{count: 2}
	case logDiff:
		return traceMeasure{count: 4}
	case logWorkRemoved, logWorkAdded, logWorkScheduled:
		return traceMeasure{count: 2 * len(e.works)}
	}
	shape := traceShape{kind: e.kind, interested: e.reason == "", lingering: e.lingers}
	if b := e.block; b != nil {
		shape.buys, shape.interrupted, shape.transacts = len(b.bought) > 0, b.missing != nil, len(b.commands) > 0
	}
	if known, ok := t.measured[shape]; ok {
		return known
	}
	var m traceMeasure
	if e.block != nil {
		m.calls.daemon = 2
	}
	subject := traced{block: e.block, event: e}
	for _, part := range t.parts(e) {
		for _, step := range part.steps {
			switch {
			case step.when != nil && !step.when(subject):
			case step.process == "":
				m.count++
			default:
				m.count += len(step.group)
				*m.calls.of(step.process)++
			}
		}
	}
	t.measured[shape] = m
	return m
}

// processCalls counts the calls of a daemon and of its child processes.
type processCalls struct{ daemon, prover, verifier int }

func (c *processCalls) of(process string) *int {
	switch process {
	case processProver:
		return &c.prover
	case processVerifier:
		return &c.verifier
	default:
		return &c.daemon
	}
}

func (c *processCalls) add(more processCalls) {
	c.daemon += more.daemon
	c.prover += more.prover
	c.verifier += more.verifier
}

// entries spells an event out; the IDs are left to the caller. The result has as many entries as measure found.
func (t *tracer) entries(n *Network, node *node, e logEvent) []itn.Log {
	switch e.kind { //nolint:exhaustive // the others are made of parts
	case logStarted:
		return []itn.Log{
			control(e.at, datum("internal_tracing_enabled", float64(e.at.UnixMicro())/1e6)),
			control(e.at, datum("mina_node_metadata", map[string]string{"version": commitID, "branch": "simulated"})),
		}
	case logDiff:
		return diffEntries(n, node, e)
	case logWorkRemoved, logWorkAdded, logWorkScheduled:
		return workEntries(n, e)
	}
	s := speller{
		subject: traced{block: e.block, event: e, node: node, net: n},
		calls:   e.calls, chance: mix(t.seed, purposeTrace, uint64(node.index), uint64(e.first)),
		logs: make([]itn.Log, 0, e.count),
	}
	for _, part := range t.parts(e) {
		s.spell(part, "")
	}
	return s.logs
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

// speller writes the entries of one event down.
type speller struct {
	subject traced
	calls   processCalls // used before the event
	chance  uint64
	logs    []itn.Log
}

// spell writes down a pattern, as records of a process.
func (s *speller) spell(part tracePart, process string) {
	steps := make([]traceStep, 0, len(part.steps))
	for _, step := range part.steps {
		if step.when == nil || step.when(s.subject) {
			steps = append(steps, step)
		}
	}
	times := s.times(steps, part)
	at, passed := part.begin, 0 // the time of the checkpoint before, and how many there were
	for _, step := range steps {
		s.subject.at, s.subject.until = at, times[passed]
		switch {
		case step.process != "":
			calls := s.calls.of(step.process)
			*calls++
			outer := s.subject
			s.subject.child = *calls
			// The call reaches the process at once, so that no other block's checkpoint comes in between, and takes a moment to come back.
			begin, end := at.Add(time.Microsecond), outer.until.Add(-outer.until.Sub(at)/50)
			if end.Before(begin) {
				begin, end = at, at
			}
			s.spell(tracePart{step.group, begin, end, end}, step.process)
			s.subject = outer
		case step.data != nil:
			s.add(control(at, step.data(s.subject)...), process)
		default:
			at = times[passed]
			passed++
			s.add(checkpoint(at, step.name), process)
		}
	}
}

func (s *speller) add(entry itn.Log, process string) {
	entry.Process = process
	s.logs = append(s.logs, entry)
}

// times returns the instants of a pattern's checkpoints, and at last the one at which it is over.
func (s *speller) times(steps []traceStep, part tracePart) []time.Time {
	var offsets []time.Duration
	var whole time.Duration
	for i, step := range steps {
		if step.name == "" {
			continue
		}
		offsets = append(offsets, whole)
		vary := time.Duration(mix(s.chance, uint64(i)) % 400)
		whole += step.took * (800 + vary) / 1000
	}
	times := make([]time.Time, 0, len(offsets)+1)
	span := part.end.Sub(part.begin)
	for i, offset := range offsets {
		switch last := offsets[len(offsets)-1]; {
		case i == len(offsets)-1:
			times = append(times, part.end)
		case last > 0:
			times = append(times, part.begin.Add(time.Duration(float64(span)*float64(offset)/float64(last))))
		default:
			times = append(times, part.begin)
		}
	}
	return append(times, part.next)
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
		return []itn.LogMetadatum{datum("current_call_id", t.event.calls.daemon+1+offset), datum("current_call_tag", tag)}
	}}
}

// about gives the checkpoint before it metadata.
func about(fields func(t traced) map[string]any) traceStep {
	return traceStep{data: func(t traced) []itn.LogMetadatum { return []itn.LogMetadatum{datum("metadata", fields(t))} }}
}

// conditional lets a step happen only sometimes.
func conditional(when func(traced) bool, step traceStep) traceStep {
	step.when = when
	return step
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
	if t.node.index%2 == 1 {
		fields["global_slot"] = []string{"Since_genesis", slot} // daemons of both spellings are about
	}
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
		{process: processVerifier, group: verifierSteps("Verifier_verify_blockchain_snarks")},
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

// repetitionSteps is what becomes of a block that comes by gossip once more.
func repetitionSteps() []traceStep {
	return []traceStep{
		{data: insideBlock}, call(0, "block_received"),
		{name: "External_block_received", took: 2541 * time.Microsecond},
		{data: outsideBlock}, {data: noCall},
		{name: "Verify_blockchain_snarks", took: 289 * time.Millisecond}, about(func(traced) map[string]any { return map[string]any{"count": 1} }),
		{process: processVerifier, group: verifierSteps("Verifier_verify_blockchain_snarks")},
		{name: "Verify_blockchain_snarks_done", took: 184 * time.Microsecond},
		{name: "Initial_validation_done", took: 4900 * time.Microsecond},
		{data: insideBlock}, call(1, "transition_handler_validator"),
		{name: "Validate_transition", took: 46 * time.Microsecond},
		{name: "Check_transition_not_in_process", took: 33 * time.Microsecond},
		{name: "Validate_transition", took: 39 * time.Microsecond}, {data: length},
		{name: "Check_transition_not_in_frontier"},
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
		{name: "Check_completed_works", took: 282 * time.Microsecond}, about(func(t traced) map[string]any { return map[string]any{"work_count": len(t.bought)} }),
		{name: "Verify_transaction_snarks", took: 90 * time.Millisecond, when: buysWork}, conditional(buysWork, about(func(t traced) map[string]any { return map[string]any{"count": proofs(t.bought)} })),
		{process: processVerifier, group: verifierSteps("Verifier_verify_transaction_snarks"), when: buysWork},
		{name: "Verify_transaction_snarks_done", took: 60 * time.Microsecond, when: buysWork},
		{name: "Prediff", took: 18 * time.Microsecond},
		{name: "Verify_commands", took: 817 * time.Microsecond}, about(func(t traced) map[string]any { return map[string]any{"count": len(t.commands)} }),
		{process: processVerifier, group: verifierSteps("Verifier_verify_commands"), when: func(t traced) bool { return len(t.commands) > 0 }},
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
				"works": len(t.bought), "commands_count": len(t.commands), "transactions": len(t.commands) + 1, "coinbases": 1, "max_throughput": t.net.opts.BlockCapacity,
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
			return map[string]any{"required_pairs": t.dueWork, "work_count": len(t.bought), "slots": len(t.commands) + 1, "free_space": t.net.opts.BlockCapacity}
		}),
		{name: "Check_zero_fee_excess", took: 23 * time.Microsecond},
		{name: "Fill_work_and_enqueue_transactions", took: 115 * time.Microsecond}, about(func(t traced) map[string]any {
			return map[string]any{
				"scan_state_added_works": len(t.bought), "total_proofs": proofs(t.bought), "merge_jobs_created": merges(t.works), "emitted_proof": false,
			}
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
		{name: "Get_snark_work_for_pending_transactions", took: 1172 * time.Microsecond}, {data: interruption, when: func(t traced) bool { return t.missing != nil }}, about(func(t traced) map[string]any {
			return map[string]any{"work_to_do_count": t.dueWork, "proof_count": proofs(t.bought)}
		}),
		{name: "Validate_and_apply_transactions", took: 9 * time.Microsecond},
		{name: "Generate_staged_ledger_diff", took: 240 * time.Microsecond}, {data: func(t traced) []itn.LogMetadatum {
			return []itn.LogMetadatum{datum("block_metadata", map[string]any{"txn_count": len(t.commands), "proof_count": proofs(t.bought), "diff_log": []any{}})}
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
		traceStep{process: processProver, group: proverSteps()},
	)
}

// closingSteps ends the production of a block.
func closingSteps() []traceStep {
	return []traceStep{
		{name: "Produce_chain_transition_proof"},
		{name: "Produce_validated_transition"},
	}
}
