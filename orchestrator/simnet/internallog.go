package simnet

import (
	"time"

	"provingground/orchestrator/itn"
)

// internalLog is a daemon's bounded queue of internal-log entries (itn-graphql, section 6.1). It holds what happened, one event per
// several entries, and spells the entries out only when they are read: a network of many nodes that nobody reads stays cheap.
type internalLog struct {
	tracer   *tracer
	capacity int
	events   []logEvent     // oldest first, from head on; the first one may have entries that were dropped already
	head     int            // events before it are gone; their places are cleared out when they are many
	next     int            // ID of the next entry
	first    int            // ID of the first retained entry
	calls    processCalls   // call numbers used so far
	kept     *keptLog       // everything, for tests; nil when it is not kept
	told     func(logEvent) // of each event, with its IDs; nil when nobody is
}

// logEvent is something that a daemon traces, with the entries first to first+count−1.
type logEvent struct {
	kind    logKind
	first   int
	count   int
	calls   processCalls // call numbers that were used before it
	at      time.Time
	block   *block
	command *command
	works   []*work
	proof   *proof // of SNARK work
	sender  *node  // of the proof; nil when it was made here
	reason  string // why a pool did not take the command, or the proof
	lingers bool   // the block stays the current one, and what follows outside blocks falls into its trace
}

type logKind uint8

const (
	logStarted       logKind = iota // tracing begins
	logReceived                     // a block came by gossip
	logFetched                      // a block that was missed came from a peer
	logProduced                     // a block was produced here
	logDiff                         // a command came to the pool
	logRepeated                     // a block came by gossip once more
	logWorkRemoved                  // SNARK work is needed no longer
	logWorkAdded                    // SNARK work is needed
	logWorkScheduled                // SNARK work was given to workers
	logWorkReceived                 // the proof of a SNARK work came to the pool
)

func newInternalLog(capacity int, tracer *tracer) *internalLog {
	return &internalLog{tracer: tracer, capacity: capacity, next: 1, first: 1}
}

// add appends an event's entries; the oldest ones beyond the capacity are lost.
func (l *internalLog) add(e logEvent) {
	m := l.tracer.measure(e)
	e.first, e.count, e.calls = l.next, m.count, l.calls
	l.calls.add(m.calls)
	l.next += e.count
	l.events = append(l.events, e)
	if l.kept != nil {
		l.kept.events = append(l.kept.events, e)
	}
	if l.told != nil {
		l.told(e)
	}
	l.forget(l.next - 1 - l.capacity)
}

// forget drops the entries up to an ID.
func (l *internalLog) forget(last int) {
	if last < l.first {
		return
	}
	l.first = min(last+1, l.next)
	for l.head < len(l.events) && l.events[l.head].first+l.events[l.head].count <= l.first {
		l.events[l.head] = logEvent{}
		l.head++
	}
	if l.head > len(l.events)/2 {
		kept := copy(l.events, l.events[l.head:])
		clear(l.events[kept:])
		l.events, l.head = l.events[:kept], 0
	}
}

// last returns the ID of the newest entry, 0 before the first one.
func (l *internalLog) last() int { return l.next - 1 }

// from returns the retained entries with an ID of at least start, and the IDs of those that the fault drop-logs keeps back.
func (l *internalLog) from(n *Network, node *node, start int) (logs []itn.Log, withheld []int) {
	start = max(start, l.first)
	for _, e := range l.events[l.head:] {
		if e.first+e.count <= start {
			continue
		}
		for _, entry := range n.spell(node, e) {
			switch {
			case entry.ID < start:
			case n.logDropped(node, entry.ID):
				withheld = append(withheld, entry.ID)
			default:
				logs = append(logs, entry)
			}
		}
	}
	return logs, withheld
}

// flush removes the entries up to an ID and returns how many there were.
func (l *internalLog) flush(end int) int {
	before := l.first
	l.forget(min(end, l.last()))
	return l.first - before
}

// spell returns the entries of an event.
func (n *Network) spell(node *node, e logEvent) []itn.Log {
	entries := n.tracer.entries(n, node, e)
	for i := range entries {
		entries[i].ID = e.first + i
	}
	return entries
}

// logDropped reports whether the fault drop-logs took an entry.
func (n *Network) logDropped(node *node, id int) bool {
	for _, fault := range n.faults.armed {
		if fault.Kind == FaultDropLogs && (fault.Node == "" || fault.Node == node.host) && n.slotOf(n.now) >= fault.Slot {
			return mix(n.opts.Seed, purposeDropLog, hashText(node.host), uint64(id))%100 < uint64(fault.Percent)
		}
	}
	return false
}
