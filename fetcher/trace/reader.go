package trace

import (
	"encoding/json"
	"slices"
	"strings"
)

// Options bounds what a [Reader] remembers. Zero fields take their defaults; these suit a node that is polled, with the prover's and the
// verifier's records never far behind the daemon's. To read whole files one after another, raise Parents and IdleSeconds.
type Options struct {
	// Traces is how many blocks are remembered at most, 512 by default; then the one unused for longest is retired. A node works on a
	// block for seconds to minutes, and never on that many at a time.
	Traces int
	// IdleSeconds is how long, in the node's own time, a block is remembered after its last record: 3600 by default.
	IdleSeconds float64
	// Calls is how many calls are remembered to pair metadata with its checkpoint, 64 by default. A node writes metadata right after its
	// checkpoint, so that only calls running at the same time matter.
	Calls int
	// Parents is how many checkpoints of each kind are remembered that jobs of prover or verifier can belong to, 64 by default.
	Parents int
	// Jobs is how many jobs of prover and verifier are kept that have not ended, and how many that wait for the daemon's records to reach
	// their time: 64 each by default.
	Jobs int
	// JobBytes bounds the memory of all those jobs, 1 MiB by default.
	JobBytes int
}

func (o Options) withDefaults() Options {
	setDefault(&o.Traces, 512)
	setDefault(&o.IdleSeconds, 3600)
	setDefault(&o.Calls, 64)
	setDefault(&o.Parents, 64)
	setDefault(&o.Jobs, 64)
	setDefault(&o.JobBytes, 1<<20)
	return o
}

func setDefault[T int | float64](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

const (
	maxKeys  = 8  // block ids that lead to one trace: a slot and a hash, in reality
	maxCalls = 64 // tagged calls remembered per trace; a received block has two

	keySeparator = "\x1f" // between block id and tag; databases refuse NUL in JSON
)

// Reader rebuilds the traces of one node (internal-trace, section 3). Records of one process are fed in the node's order; between processes any
// order will do as long as the bounds of its [Options] are kept. A Reader is for one goroutine.
//
// What is remembered is retired in this order, and why nothing is missed: a block when it had no record for long ([Options]); what the
// node still says of it then makes a new trace of the same block, which the store merges. The first calls of a block go with the block.
// Calls, parents and jobs are bounded in number; the oldest go first, and a job that goes is named in Changes.Problems.
type Reader struct {
	options Options
	state   state
	blocks  map[string]*traceState // by each of its keys
	call    *callState             // of the current block and call; nil until looked up
}

// NewReader makes a Reader that has seen nothing.
func NewReader(options Options) *Reader {
	return &Reader{options: options.withDefaults(), state: state{Version: stateVersion, Block: NoBlock}, blocks: map[string]*traceState{}}
}

// place says which record is being read.
type place struct {
	process Process
	seq, id int64
}

// Feed reads the next records. It keeps nothing of them but small copies, and never fails: what could not be used is in Changes.Problems.
func (r *Reader) Feed(records []Record) Changes {
	var out batch
	for i := range records {
		r.feed(&out, &records[i])
	}
	return out.done()
}

// Lost tells the Reader that records are missing at this point: the current block, the current calls, and what belongs to unfinished jobs
// are unknown until the node names them again.
func (r *Reader) Lost() Changes {
	var out batch
	r.forgetCurrent(&out)
	return out.done()
}

// Restarted tells the Reader that the daemon started anew, so that what follows is of another process: as [Reader.Lost], and call ids and
// time start anew.
func (r *Reader) Restarted() Changes {
	var out batch
	r.attachWaiting(&out, true)
	r.forgetCurrent(&out)
	for _, t := range r.state.Open {
		t.First = nil
	}
	r.state.Parents = [jobKinds][]parent{}
	r.state.Previous, r.state.Passed = 0, 0
	return out.done()
}

// Finish tells the Reader that no more of the daemon's own records come, so that jobs need not wait for them. Use it at the end of files.
func (r *Reader) Finish() Changes {
	var out batch
	r.attachWaiting(&out, true)
	return out.done()
}

func (r *Reader) forgetCurrent(out *batch) {
	for _, j := range r.state.Jobs {
		out.problem(j.place(), "%s of call %d is incomplete: records are missing", j.Kind.first(), j.Call)
	}
	r.state.Jobs, r.state.JobBytes = nil, bytesOf(r.state.Waiting)
	r.state.Block, r.state.Call, r.state.Tag, r.state.JobCall = NoBlock, 0, "", [processes]int64{}
	r.state.Calls, r.call = nil, nil
}

func (r *Reader) feed(out *batch, record *Record) {
	at := place{process: record.Process, id: record.ID}
	if record.Process >= processes {
		out.problem(at, "unknown process")
		return
	}
	r.state.Records[record.Process]++
	at.seq = r.state.Records[record.Process]
	if record.Checkpoint != "" {
		if err := checkName(record.Checkpoint); err != nil {
			out.problem(at, "checkpoint: %v", err)
			return
		}
		if err := checkTime(record.Time); err != nil {
			out.problem(at, "checkpoint %s: %v", record.Checkpoint, err)
			return
		}
	}
	switch {
	case record.Process != Main:
		r.feedJob(out, at, record)
	case record.Checkpoint != "":
		r.checkpoint(out, at, record.Checkpoint, record.Time)
	default:
		r.control(out, at, record)
	}
}

// control reads the items in this order, whatever order they came in: an entry of the log and its line in a file, which is sorted, must
// mean the same.
func (r *Reader) control(out *batch, at place, record *Record) {
	if value := record.Value("current_block"); value != nil {
		r.setBlock(out, at, value)
	}
	if value := record.Value("current_call_id"); value != nil {
		r.setCall(out, at, value, record.Value("current_call_tag"))
	}
	if value := record.Value("metadata"); value != nil {
		r.metadata(out, at, value)
	}
	if value := record.Value("block_metadata"); value != nil {
		r.blockMetadata(out, at, value)
	}
	if value := record.Value("produced_block_state_hash"); value != nil {
		r.producedHash(out, at, value)
	}
}

func (r *Reader) setBlock(out *batch, at place, value []byte) {
	block, ok := blockOf(value)
	if !ok {
		out.problem(at, "current_block is no block id; what follows counts as outside blocks")
		block = NoBlock
	}
	if block != r.state.Block {
		r.state.Block, r.call = strings.Clone(block), nil
	}
}

// blockOf reads a block id, which is text; a slot may come as a number.
func blockOf(value []byte) (string, bool) {
	block, isText := textOf(value)
	if !isText {
		_, isNumber := integerOf(value)
		return string(value), isNumber
	}
	return block, checkName(block) == nil
}

func (r *Reader) setCall(out *batch, at place, id, tag []byte) {
	call, ok := integerOf(id)
	if !ok {
		out.problem(at, "current_call_id is not from 0 to 2147483647; what follows counts as outside calls")
	}
	name := ""
	if ok && tag != nil {
		if name, ok = textOf(tag); !ok || len(name) > maxName {
			out.problem(at, "current_call_tag is no short text")
			name = ""
		}
	}
	r.state.Call, r.state.Tag, r.call = call, strings.Clone(name), nil
	if name == "" || r.state.Block == NoBlock {
		return
	}
	r.trace(out).rememberCall(r.state.Block+keySeparator+name, call)
}

// rememberCall keeps the first call of a block and tag.
func (t *traceState) rememberCall(key string, call int64) {
	if _, known := t.First[key]; known || len(t.First) == maxCalls {
		return
	}
	if t.First == nil {
		t.First = map[string]int64{}
	}
	t.First[key] = call
}

// isMain tells whether what comes now belongs to the first processing of its block.
func (r *Reader) isMain(t *traceState) bool {
	if r.state.Block == NoBlock || r.state.Tag == "" {
		return true
	}
	first, known := t.First[r.state.Block+keySeparator+r.state.Tag]
	return !known || first == r.state.Call
}

func (r *Reader) checkpoint(out *batch, at place, name string, time float64) {
	t := r.announced(out)
	row := Row{Trace: t.Number, Seq: at.seq, ID: at.id, Main: r.isMain(t), Name: name, Time: time, Call: r.state.Call}
	event := checkpointState{Seq: at.seq, Main: row.Main, Name: name, Time: time}
	call := r.currentCall()
	switch resource, _ := gossipOf(name); resource {
	case SnarkWorkEvent:
		row.Gossip, call.Work = true, event
	case TransactionDiffEvent:
		row.Gossip, call.Diff = true, event
	}
	call.Last = event
	out.Rows = append(out.Rows, row)
	if !row.Gossip {
		change := out.touch(t)
		if t.observe(name, time, row.Main) {
			change.Succeeded = true
		}
		r.addParent(t, row)
	}
	if t.Timed && t.Transactions != nil {
		r.giveTransactions(out, at, t)
	}
	r.passTime(out, time)
}

// observe takes in a checkpoint that is no gossip, and tells whether the block has just succeeded.
func (t *traceState) observe(name string, time float64, main bool) bool {
	isBlock := t.Block != NoBlock
	if source := sourceOf(name); isBlock && t.Source == Unknown {
		t.Source = source
	}
	if t.Status == Success {
		return false
	}
	succeeded := isBlock && name == "Breadcrumb_integrated"
	switch {
	case main && t.Timed:
		t.Started, t.Completed = min(t.Started, time), max(t.Completed, time)
	case (main || succeeded) && !t.Timed:
		t.Timed, t.Started, t.Completed = true, time, time
	}
	switch {
	case succeeded:
		t.Status, t.Completed = Success, time
	case isBlock && name == "Failure":
		t.Status = Failure
	}
	return succeeded
}

func sourceOf(checkpoint string) Source {
	switch checkpoint {
	case "External_block_received":
		return External
	case "Begin_block_production":
		return Internal
	case "To_download":
		return Catchup
	case "Loaded_transition_from_storage":
		return Reconstruct
	}
	return Unknown
}

// metadata belongs to the last checkpoint of the same block and call; that of a pool event, which its keys show, to the last such event
// there. Events of other calls in between do not matter (internal-trace, section 7, 11).
func (r *Reader) metadata(out *batch, at place, value json.RawMessage) {
	t := r.announced(out)
	row := Row{Trace: t.Number, Seq: at.seq, ID: at.id, Main: true, Control: true, Name: "metadata", Metadata: value, Call: r.state.Call}
	call := r.currentCall()
	owner := call.Last
	for key := range members(value) {
		switch {
		case key == "work_ids" && call.Work.Seq != 0:
			owner = call.Work
		case key == "diff" && call.Diff.Seq != 0:
			owner = call.Diff
		}
	}
	if !isObject(value) {
		out.problem(at, "metadata is no object")
	}
	if owner.Seq != 0 {
		row.Of, row.Main = owner.Seq, owner.Main
	}
	resource, action := gossipOf(owner.Name)
	row.Gossip = resource != ""
	out.Rows = append(out.Rows, row)
	if row.Gossip {
		gossip := Gossip{Trace: t.Number, Seq: at.seq, Event: owner.Seq, ID: at.id, Resource: resource, Action: action, Time: owner.Time}
		var problem string
		if resource == SnarkWorkEvent {
			gossip.Work, problem = snarkWorkOf(value)
		} else {
			gossip.Diff, problem = transactionDiffOf(value)
		}
		if problem != "" {
			out.problem(at, "metadata of %s: %s", owner.Name, problem)
		}
		out.Gossip = append(out.Gossip, gossip)
	}
}

func (r *Reader) blockMetadata(out *batch, at place, value json.RawMessage) {
	t := r.announced(out)
	out.Rows = append(out.Rows, Row{Trace: t.Number, Seq: at.seq, ID: at.id, Main: true, Control: true, Name: "block_metadata", Metadata: value, Call: r.state.Call})
	switch {
	case !isObject(value):
		out.problem(at, "block_metadata is no object")
		return
	case r.state.Block == NoBlock:
		out.problem(at, "block_metadata outside blocks")
		return
	}
	change := out.touch(t)
	if change.Metadata == nil {
		change.Metadata = map[string]json.RawMessage{}
	}
	for key, item := range members(value) {
		change.Metadata[key] = item
		switch key {
		case "blockchain_length":
			r.setNumber(out, at, key, &t.Length, item)
		case "global_slot":
			r.setNumber(out, at, key, &t.GlobalSlot, slotOf(item))
		case "transactions":
			switch {
			case item[0] != '[':
				out.problem(at, "transactions is no list")
			case !t.HasTransactions:
				t.HasTransactions, t.Transactions = true, slices.Clone(item)
			}
		case "interrupt_get_completed_work_at":
			r.interruption(out, at, t, value)
		}
	}
	if t.Timed && t.Transactions != nil {
		r.giveTransactions(out, at, t)
	}
}

func (r *Reader) setNumber(out *batch, at place, key string, field **int64, value []byte) {
	number, ok := integerOf(value)
	if !ok {
		out.problem(at, "%s is not from 0 to 2147483647", key)
		return
	}
	*field = &number
}

// slotOf takes the number out of ["Since_genesis","855"]; the other spelling is the number itself.
func slotOf(value []byte) []byte {
	number := value
	count := 0
	for element := range elements(value) {
		number = element
		count++
	}
	if count > 2 {
		return nil
	}
	return number
}

// producedHash names the block that was known by its slot. Both ids lead to its trace from now on.
func (r *Reader) producedHash(out *batch, at place, value []byte) {
	hash, isText := textOf(value)
	if !isText || checkName(hash) != nil || hash == NoBlock {
		out.problem(at, "produced_block_state_hash is no state hash")
		return
	}
	if r.state.Block == NoBlock {
		out.problem(at, "produced_block_state_hash outside blocks")
		return
	}
	t := r.announced(out)
	if t.Block == hash {
		return
	}
	rename := Rename{Trace: t.Number, From: t.Block, To: hash}
	if other := r.blocks[hash]; other != nil && other != t {
		rename.Replaces = other.Number
		r.absorb(t, other)
	}
	t.Block = hash
	r.addKey(t, hash)
	out.Renames = append(out.Renames, rename)
	out.touch(t)
}

// absorb makes other, which had the same block under its hash, a part of t.
func (r *Reader) absorb(t, other *traceState) {
	if t.Source == Unknown {
		t.Source = other.Source
	}
	switch {
	case other.Timed && !t.Timed:
		t.Timed, t.Started, t.Completed = true, other.Started, other.Completed
	case other.Timed:
		t.Started = min(t.Started, other.Started)
		switch {
		case t.Status == Success:
		case other.Status == Success:
			t.Completed = other.Completed
		default:
			t.Completed = max(t.Completed, other.Completed)
		}
	}
	if t.Status == Pending || other.Status == Success {
		t.Status = other.Status
	}
	if t.Length == nil {
		t.Length = other.Length
	}
	if t.GlobalSlot == nil {
		t.GlobalSlot = other.GlobalSlot
	}
	if !t.HasTransactions {
		t.HasTransactions, t.Transactions = other.HasTransactions, other.Transactions
	}
	for key, call := range other.First {
		t.rememberCall(key, call)
	}
	r.renumberParents(other.Number, t.Number)
	r.forget(other)
	for _, key := range other.Keys {
		r.addKey(t, key)
	}
}

// trace returns the trace of the current block, made if need be.
func (r *Reader) trace(out *batch) *traceState {
	t := r.blocks[r.state.Block]
	if t == nil {
		r.retire(out)
		t = &traceState{Trace: Trace{Block: r.state.Block, Source: Unknown, Status: Pending}}
		r.state.Open = append(r.state.Open, t)
		r.addKey(t, r.state.Block)
	}
	t.Used, t.UsedTime = r.state.Records[Main], r.state.Passed
	return t
}

// announced returns the trace of the current block, which has a number then and shows in the changes.
func (r *Reader) announced(out *batch) *traceState {
	t := r.trace(out)
	if t.Number == 0 {
		r.state.Numbers++
		t.Number = r.state.Numbers
		out.touch(t).Created = true
	}
	return t
}

func (r *Reader) addKey(t *traceState, key string) {
	if slices.Contains(t.Keys, key) {
		r.blocks[key] = t
		return
	}
	if len(t.Keys) == maxKeys { // the first is the slot under which the node still names it
		delete(r.blocks, t.Keys[1])
		t.Keys = slices.Delete(t.Keys, 1, 2)
	}
	t.Keys = append(t.Keys, key)
	r.blocks[key] = t
}

// retire makes room for one more trace: first all that were idle for long, then the one unused for longest.
func (r *Reader) retire(out *batch) {
	for {
		var oldest *traceState
		idle := slices.DeleteFunc(slices.Clone(r.state.Open), func(t *traceState) bool {
			if t.Block == NoBlock {
				return true
			}
			if oldest == nil || t.Used < oldest.Used {
				oldest = t
			}
			return r.state.Passed-t.UsedTime <= r.options.IdleSeconds
		})
		if len(idle) == 0 && oldest != nil && len(r.state.Open) >= r.options.Traces {
			idle = append(idle, oldest)
		}
		for _, t := range idle {
			r.retireOne(out, t)
		}
		if len(idle) == 0 {
			return
		}
	}
}

func (r *Reader) retireOne(out *batch, t *traceState) {
	if t.Transactions != nil && t.Number != 0 {
		r.giveTransactions(out, place{}, t)
	}
	r.renumberParents(t.Number, 0)
	r.forget(t)
	if t.Number != 0 {
		out.touch(t)
		out.Retired = append(out.Retired, t.Number)
	}
}

func (r *Reader) forget(t *traceState) {
	r.state.Open = slices.DeleteFunc(r.state.Open, func(other *traceState) bool { return other == t })
	for _, key := range t.Keys {
		delete(r.blocks, key)
	}
}

// currentCall returns what is remembered of the current block and call, the most recent first.
func (r *Reader) currentCall() *callState {
	if r.call != nil {
		return r.call
	}
	calls := r.state.Calls
	i := slices.IndexFunc(calls, func(c *callState) bool { return c.Call == r.state.Call && c.Block == r.state.Block })
	switch {
	case i >= 0:
		r.call = calls[i]
	case len(calls) < r.options.Calls:
		r.call = &callState{Block: r.state.Block, Call: r.state.Call}
		calls = append(calls, nil)
		i = len(calls) - 1
	default:
		i = len(calls) - 1
		r.call = &callState{Block: r.state.Block, Call: r.state.Call}
	}
	copy(calls[1:i+1], calls[:i])
	calls[0] = r.call
	r.state.Calls = calls
	return r.call
}
