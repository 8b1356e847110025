package evidence

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"provingground/fetcher"
	"provingground/fetcher/trace"
	"provingground/internal/clock"
	"provingground/orchestrator/itn"
)

// tailBytes bounds the raw lines that are kept of a node, by an estimate of the memory that they take.
const tailBytes = 1 << 20

// nodeLog is what was logged by one node.
type nodeLog struct {
	name   string
	cursor fetcher.Cursor
	reader *trace.Reader
	last   Instant   // of the last entry, of whatever run of the daemon
	stored time.Time // when entries were stored last, wall time
	since  Instant   // as in NodeLog

	open   map[int64]*keptTrace  // by the reader's numbers
	traces map[string]*keptTrace // by block: state hash, or slot while that is not known
	lost   []lostPart
	done   int // integrations so far

	tail  []keptEntry // oldest first
	taken int         // bytes
	cut   Instant     // of the last entry that was dropped from the tail; 0 for none
}

// keptEntry is one of the last entries.
type keptEntry struct {
	itn.Log
	daemon string // server UUID
}

// keptTrace is what a node did with a block. Times are 0 until known.
type keptTrace struct {
	source             trace.Source
	status             trace.Status
	started, completed Instant
	interrupted        bool
	order              int // of its integration among the node's

	height       int
	slot         *int64
	previous     string
	transactions *trace.BlockTransactions // until they are listed
	listed       bool                     // with all that makes a block
}

func newNodeLog(name string) *nodeLog {
	return &nodeLog{name: name, reader: trace.NewReader(trace.Options{}), open: map[int64]*keptTrace{}, traces: map[string]*keptTrace{}}
}

func (t *keptTrace) integrated() bool { return t.status == trace.Success }
func (t *keptTrace) internal() bool   { return t.source == trace.Internal }

// save takes a batch in: what of it is behind the cursor.
func (l *nodeLog) save(tables *keptTables, batch fetcher.Batch, clock *clock.Clock) {
	next, other := l.cursor.Next, batch.Cursor.ServerUUID != l.cursor.ServerUUID
	if other {
		if l.cursor.ServerUUID != "" {
			l.take(tables, l.reader.Restarted())
		}
		next = 1
	}
	now := clock.Wall()
	for _, gap := range batch.Gaps {
		if gap.ServerUUID == batch.Cursor.ServerUUID && gap.From < next || gap.ServerUUID != batch.Cursor.ServerUUID && !other {
			continue
		}
		found := now
		if batch.Restart != nil && !batch.Restart.Seen.IsZero() {
			found = batch.Restart.Seen
		}
		l.gap(gap, found)
	}
	if n := len(batch.Entries); n > 0 {
		l.stored = now
		if l.since == 0 {
			l.since = sinceFirst(clock, now, batch.Entries[0].Timestamp)
		}
	}
	holes := l.holes(batch, next, now)
	var records []trace.Record
	feed := func() {
		if len(records) > 0 {
			l.take(tables, l.reader.Feed(records))
			records = records[:0]
		}
	}
	for _, entry := range batch.Entries {
		if entry.ID < next {
			continue
		}
		for len(holes) > 0 && holes[0] < entry.ID {
			feed()
			l.take(tables, l.reader.Lost())
			holes = holes[1:]
		}
		l.last = InstantOf(entry.Timestamp)
		l.keep(keptEntry{entry, batch.Cursor.ServerUUID})
		if record, err := recordOf(entry); err == nil { // a checkpoint or item that no trace has
			records = append(records, record)
		}
	}
	feed()
	if len(holes) > 0 {
		l.take(tables, l.reader.Lost())
	}
	l.cursor = batch.Cursor
}

// hears notes in what the node's log says of itself since when it hears of blocks, and whether it had some before their slots.
func (l *nodeLog) hears(s *Statistics, n *NodeLog) {
	up, height := n.upSince(), 0
	for _, t := range l.traces {
		if t.slot != nil && t.started != 0 && *t.slot >= s.firstSlot() {
			s.began(n, *t.slot, t.started)
		}
		hears := t.integrated() && (t.source == trace.External || t.internal()) && t.completed > up
		if hears && (n.Hears == 0 || t.height < height || t.height == height && t.completed < n.Hears) {
			n.Hears, height = t.completed, t.height
		}
	}
}

// gap notes entries that are missing, and when that was found, in wall time.
func (l *nodeLog) gap(gap fetcher.Gap, found time.Time) {
	part := lostPart{ServerUUID: gap.ServerUUID, FromID: int64(gap.From), FoundAt: found.Truncate(time.Microsecond), Reason: string(gap.Reason)}
	if count, known := gap.Missing(); known {
		lost, to := int64(count), int64(gap.To)
		part.Lost, part.ToID = &lost, &to
	}
	switch last := l.last.Time(); {
	case !gap.Before.IsZero():
		part.TimeBefore = &gap.Before
	case !last.IsZero(): // the run of the daemon before
		part.TimeBefore = &last
	}
	if !gap.After.IsZero() {
		part.TimeAfter = &gap.After
	}
	l.lost = append(l.lost, part)
}

// holes returns the IDs at which entries are missing, ascending, and notes the malformed ones among them as gaps.
func (l *nodeLog) holes(batch fetcher.Batch, next int, now time.Time) []int {
	var at []int
	for _, gap := range batch.Gaps {
		if gap.ServerUUID == batch.Cursor.ServerUUID && gap.From >= next {
			at = append(at, gap.From)
		}
	}
	for _, malformed := range batch.Malformed {
		if malformed.ID < next || malformed.ID >= batch.Cursor.Next {
			continue
		}
		at = append(at, malformed.ID)
		before := l.cursor.LastTime
		if after, _ := slices.BinarySearchFunc(batch.Entries, malformed.ID, func(e itn.Log, id int) int { return e.ID - id }); after > 0 {
			before = batch.Entries[after-1].Timestamp
		}
		l.gap(fetcher.Gap{ServerUUID: batch.Cursor.ServerUUID, From: malformed.ID, To: malformed.ID, Before: before, Reason: malformedEntry}, now)
	}
	slices.Sort(at)
	return at
}

// malformedEntry is why an entry is missing that was answered: log_malformed has it.
const malformedEntry fetcher.GapReason = "malformed"

// recordOf makes a trace record of an entry.
func recordOf(entry itn.Log) (trace.Record, error) {
	process, err := trace.ParseProcess(entry.Process)
	if err != nil {
		return trace.Record{}, err //nolint:wrapcheck // says it all
	}
	if entry.Message != "@control" {
		return trace.NewCheckpoint(process, int64(entry.ID), entry.Message, entry.Timestamp) //nolint:wrapcheck // says it all
	}
	items := make([]trace.Item, len(entry.Metadata))
	for i, datum := range entry.Metadata {
		items[i] = trace.Item{Key: datum.Item, Value: datum.Value}
	}
	return trace.NewControl(process, int64(entry.ID), items) //nolint:wrapcheck // says it all
}

// take takes in what the reader found.
func (l *nodeLog) take(tables *keptTables, changes trace.Changes) {
	for _, rename := range changes.Renames {
		l.rename(rename)
	}
	for _, change := range changes.Traces {
		if change.Block != trace.NoBlock {
			l.change(change)
		}
	}
	for _, interruption := range changes.Interruptions {
		if t := l.open[interruption.Trace]; t != nil {
			t.interrupted = true
		}
	}
	for _, transactions := range changes.Transactions {
		if t := l.open[transactions.Trace]; t != nil {
			t.transactions = &transactions
		}
	}
	for _, change := range changes.Traces {
		if t := l.open[change.Number]; t != nil && isStateHash(change.Block) {
			t.tell(tables, change.Block)
		}
	}
	for _, event := range changes.Gossip {
		tables.gossip(event)
	}
	for _, number := range changes.Retired {
		delete(l.open, number)
	}
}

// rename gives a trace its state hash.
func (l *nodeLog) rename(rename trace.Rename) {
	t := l.open[rename.Trace]
	if t == nil { // it began in the same batch
		return
	}
	delete(l.traces, rename.From)
	if other := l.traces[rename.To]; other != nil && other != t {
		t.merge(other)
	}
	l.traces[rename.To] = t
	if rename.Replaces != 0 {
		delete(l.open, rename.Replaces)
	}
}

// change takes in what became of a trace.
func (l *nodeLog) change(change trace.Change) {
	t := l.open[change.Number]
	if t == nil {
		if t = l.traces[change.Block]; t == nil {
			t = &keptTrace{source: trace.Unknown, status: trace.Pending}
			l.traces[change.Block] = t
		}
		l.open[change.Number] = t
	}
	now := keptTrace{source: change.Source, status: change.Status, slot: change.GlobalSlot}
	if change.Length != nil {
		now.height = int(*change.Length)
	}
	if change.Timed {
		now.started, now.completed = instantOfSeconds(change.Started), instantOfSeconds(change.Completed)
	}
	if text, ok := change.Metadata["previous_state_hash"]; ok {
		_ = json.Unmarshal(text, &now.previous) // stays unknown when it is no text
	}
	if now.integrated() && !t.integrated() {
		l.done++
		now.order = l.done
	}
	t.merge(&now)
}

// merge adds what another trace of the same block at the same node says: the earliest start, Success over Failure over Pending, what is known
// over what is not. Nothing changes an end that was a success.
func (t *keptTrace) merge(other *keptTrace) {
	t.started = earliest(t.started, other.started)
	switch {
	case t.integrated():
	case other.integrated():
		t.status, t.completed, t.order = other.status, other.completed, other.order
	default:
		if other.status == trace.Failure {
			t.status = other.status
		}
		t.completed = max(t.completed, other.completed)
	}
	if t.source == trace.Unknown {
		t.source = other.source
	}
	if t.height == 0 {
		t.height = other.height
	}
	if t.slot == nil {
		t.slot = other.slot
	}
	if t.previous == "" {
		t.previous = other.previous
	}
	if t.transactions == nil {
		t.transactions = other.transactions
	}
	t.listed = t.listed || other.listed
	t.interrupted = t.interrupted || other.interrupted
}

// isStateHash tells a state hash from the slot of a block that is being produced.
func isStateHash(block string) bool {
	return block != "" && strings.Trim(block, "0123456789") != ""
}

// tell adds what the node knows of a block to what others do, once it knows all that makes a block: as in the database, parts that several nodes know
// are not put together.
func (t *keptTrace) tell(tables *keptTables, hash string) {
	b := tables.chain.block(hash)
	b.produced = b.produced || t.internal()
	if t.transactions == nil && !t.listed || t.height == 0 || t.slot == nil || t.started == 0 {
		return
	}
	t.listed = true
	if received := earliest(b.received, t.started); received != b.received {
		b.received, tables.chain.settled = received, false
	}
	if b.previous == "" && t.previous != "" {
		b.previous, tables.chain.settled = t.previous, false
	}
	if !b.known {
		b.known, b.height, b.slot, tables.chain.settled = true, t.height, *t.slot, false
		for _, tx := range t.transactions.Transactions {
			if !tx.User() {
				continue
			}
			if known := tables.transaction(tx.Signature, tx.Memo); known != nil {
				known.in = append(known.in, keptInclusion{b, tx.Status == "Failed"})
			}
		}
	}
	t.transactions = nil
}

// keep adds an entry to the tail.
func (l *nodeLog) keep(entry keptEntry) {
	l.tail = append(l.tail, entry)
	l.taken += sizeOf(entry.Log)
	drop := 0
	for ; l.taken > tailBytes && drop < len(l.tail)-1; drop++ {
		l.taken -= sizeOf(l.tail[drop].Log)
		l.cut = InstantOf(l.tail[drop].Timestamp)
		l.tail[drop] = keptEntry{}
	}
	l.tail = l.tail[drop:] // append moves it when the room behind it is used up
}

// sizeOf estimates the memory that an entry takes.
func sizeOf(entry itn.Log) int {
	size := 96 + len(entry.Message)
	for _, datum := range entry.Metadata {
		size += 48 + len(datum.Item) + len(datum.Value)
	}
	return size
}
