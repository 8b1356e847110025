package orchestrator

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"provingground/internal/clock"
	"provingground/orchestrator/evidence"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/record"
)

// The names of the lines that are recorded beside outputs.
const (
	lineRun     = "_run"     // the run as a whole, first
	lineResumed = "_resumed" // a resumed run goes on here
	lineIntent  = "_intent"  // before a call that leaves something behind
	lineSettled = "_settled" // after it: what became of it
	lineUndone  = "_undone"  // what it left behind is gone
	lineKeys    = "_keys"    // which keys a step loaded, as a digest of the public keys
	lineUntil   = "_until"   // until when a step waits, in network time
	lineHeld    = "_held"    // the fee payers that a step leaves out, because load that nobody can stop may use them
	linePlaced  = "_placed"  // the rate of load that was placed, against the asked one
	lineSilent  = "_silent"  // some of the nodes that a step asked did not answer
	linePrice   = "_price"   // what a step takes of the script's limits
	lineWithin  = "_within"  // the deadline of a step or of a block, or when a watch begins to hold, in network time
	linePassed  = "_passed"  // a block with a deadline is finished
	lineRetry   = "_retry"   // an attempt of a step failed, another one follows
	lineVerdict = "_verdict" // how an expect or a watch was judged
	lineMet     = "_met"     // nodes that answered for the first time in the run
	lineSkipped = "_skipped" // a step of the end of a failed run that has nothing to refer to
	lineDone    = "_done"    // a step is finished
	lineFailed  = "_failed"  // a step has failed
	lineClean   = "_clean"   // the clean-up of a failed run begins
	lineEnd     = "_end"     // the run is over
)

// Kind is what a call does that leaves something behind.
type Kind string

// The kinds of calls.
const (
	kindPayments   Kind = "payments"        // load of payments
	kindZkapps     Kind = "zkapps"          // load of zkApp commands
	kindIsolate    Kind = "isolate"         // a node talks to some peers only
	kindLimit      Kind = "limit"           // the soft limit of zkApp commands in a block
	kindStopDaemon Kind = "stop-daemon"     // a daemon ends
	kindRestart    Kind = "restart"         // a node is restarted from outside
	kindFund       Kind = "fund"            // accounts are created by the mina executable
	kindAccounts   Kind = "create-accounts" // accounts are created by a node
	kindTransfer   Kind = "transfer"        // a wallet sends a payment
	kindSnarkPool  Kind = "snark-pool"      // workers of a pool of SNARK workers are paused or resumed
)

// Intent says, before a call that leaves something behind, what it is. It holds no secret.
type Intent struct {
	// Call numbers the calls of a run. A call that is sent twice (after a 412) has two intents of one number; the later one counts.
	Call int  `json:"call"`
	Kind Kind `json:"kind"`
	// Node is the address of the node, or what stands for it (the host that is restarted, the wallet's server, the agent of a pool).
	Node string `json:"node,omitempty"`
	// ServerUUID and SequenceNumber identify the request on its node.
	ServerUUID     string  `json:"serverUuid,omitempty"`
	SequenceNumber *uint16 `json:"sequenceNumber,omitempty"`
	// Handle is the handle that we chose for the load; "" where the daemon chooses it.
	Handle string `json:"handle,omitempty"`

	// Of load:
	Experiment string     `json:"experiment,omitempty"`
	Hidden     bool       `json:"hidden,omitempty"` // part of Experiment is masked
	Batch      *int       `json:"batch,omitempty"`
	Share      *int       `json:"share,omitempty"`
	Keys       *[2]int    `json:"keys,omitempty"` // indexes of the fee payers in the step's list: from, to
	TPS        string     `json:"tps,omitempty"`
	Ends       *time.Time `json:"ends,omitempty"` // network time at which it ends by itself
	Minutes    int        `json:"durationMin,omitempty"`

	// Index is the place of the key, pair or command in its step, where a step makes several such calls.
	Index *int `json:"index,omitempty"`
	// Files are the key files that the call may write: the prefix and how many.
	Files string `json:"files,omitempty"`
	Count int    `json:"count,omitempty"`
	// Clean and Limit are parameters of the call.
	Clean bool `json:"clean,omitempty"`
	Limit *int `json:"limit,omitempty"`

	// Of a pool of SNARK workers: what selects its workers, which of them the call pauses, and which it resumes.
	Target  string         `json:"target,omitempty"`
	Paused  []string       `json:"paused,omitempty"`
	Resumed []pausedWorker `json:"resumed,omitempty"`
}

// CallResult is what became of a call.
type CallResult string

// The results of a call.
const (
	resultDone     CallResult = "done"     // it did what it should
	resultRefused  CallResult = "refused"  // the other side said no: it did nothing
	resultPartly   CallResult = "partly"   // the other side said no, and part of it is in force all the same (itn-graphql, section 4.4)
	resultNotSent  CallResult = "not-sent" // it never left
	resultNot      CallResult = "not-done" // the reply was lost, and it was decided that it did not happen
	resultAccepted CallResult = "accepted" // the reply was lost, and it was decided that it happened; there is no handle
	resultGone     CallResult = "gone"     // the reply was lost, and the daemon has restarted since
	resultUnknown  CallResult = "unknown"  // nobody knows
)

// Settled says what became of a call.
type Settled struct {
	Call   int        `json:"call"`
	Result CallResult `json:"result"`
	Handle string     `json:"handle,omitempty"` // of load that runs
	// Ends is the network time at which load ends by itself; where it is known, it is closer than that of the intent.
	Ends *time.Time `json:"ends,omitempty"`
	// Payers are the fee payers, public keys, of load of which nobody knows whether it runs, or how to stop it.
	Payers  []string `json:"payers,omitempty"`
	Message string   `json:"message,omitempty"`
}

// Undone says that what a call left behind is gone, and how.
type Undone struct {
	Call int    `json:"call"`
	How  string `json:"how"`
}

// entry is one call of a run and what is known of it.
type entry struct {
	step    int
	stepID  string
	action  string
	intent  Intent
	settled *Settled
	undone  *Undone
	sent    time.Time // wall time of the intent, right before the request
	over    time.Time // wall time at which it was known that what it left behind is gone; zero while it may remain

	past       bool // a call of the clean-up of a run that is continued: no later step does the same
	withDaemon bool // undone, because its daemon has ended
	restarted  bool // a control program said that it restarted the host since
}

// goneBy reports whether an error of asking its node shows that what the call left behind is gone: the run restarted the host since, and nobody
// listens there.
func (e *entry) goneBy(err error) bool { return e.restarted && errors.Is(err, syscall.ECONNREFUSED) }

// attempt identifies the call's request on its node; false when it has none (it was never about to be sent).
func (e *entry) attempt() (itn.Attempt, bool) {
	if e.intent.SequenceNumber == nil {
		return itn.Attempt{}, false
	}
	return itn.Attempt{Node: e.intent.Node, ServerUUID: e.intent.ServerUUID, SequenceNumber: *e.intent.SequenceNumber}, true
}

// handle is the handle under which load runs, as far as it is known.
func (e *entry) handle() string {
	if e.settled != nil && e.settled.Handle != "" {
		return e.settled.Handle
	}
	return e.intent.Handle
}

// ends returns the network time at which load certainly has ended by itself, and false for what does not end by itself.
func (e *entry) ends() (time.Time, bool) {
	switch {
	case e.settled != nil && e.settled.Ends != nil:
		return *e.settled.Ends, true
	case e.intent.Ends != nil:
		return *e.intent.Ends, true
	default:
		return time.Time{}, false
	}
}

// load reports whether the call schedules load.
func (k Kind) load() bool { return k == kindPayments || k == kindZkapps }

// inDaemon reports whether what the call leaves behind lies in the daemon's memory, and goes with it.
func (k Kind) inDaemon() bool { return k.load() || k == kindIsolate || k == kindLimit }

// undoable reports whether what the call leaves behind can be undone.
func (k Kind) undoable() bool { return k.inDaemon() || k == kindSnarkPool }

// mayRemain reports whether the call may have left behind what must be undone.
func (e *entry) mayRemain() bool {
	if e.undone != nil || !e.intent.Kind.undoable() {
		return false
	}
	if e.settled == nil {
		return true
	}
	switch e.settled.Result {
	case resultRefused, resultNotSent, resultNot, resultGone:
		return false
	default:
		return true
	}
}

// ledger knows the calls of a run: it is a fold over the lines of its record. Safe for concurrent use.
type ledger struct {
	mu      sync.Mutex
	entries []*entry // in the order of their first intents
	loads   []*entry // those of load, also the ones that are forgotten
	byCall  map[int]*entry
	next    int            // number of the next call
	clean   bool           // what is taken belongs to a clean-up
	batches map[string]int // next batch number of each experiment
}

func newLedger() *ledger {
	return &ledger{byCall: map[int]*entry{}, batches: map[string]int{}}
}

// take adds what a line of the record says.
func (l *ledger) take(line record.Line) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch line.Name {
	case lineClean:
		l.clean = true
	case lineResumed:
		l.clean = false
	case lineIntent:
		var intent Intent
		if err := json.Unmarshal(line.Value, &intent); err != nil {
			return fmt.Errorf("intent does not decode: %w", err)
		}
		if e, again := l.byCall[intent.Call]; again {
			e.intent, e.sent = intent, line.Time
			return nil
		}
		e := &entry{step: line.Step, stepID: line.ID, action: line.Action, intent: intent, sent: line.Time, past: l.clean}
		l.entries = append(l.entries, e)
		if intent.Kind.load() {
			l.loads = append(l.loads, e)
		}
		l.byCall[intent.Call] = e
		l.next = max(l.next, intent.Call+1)
		if intent.Batch != nil {
			l.batches[intent.Experiment] = max(l.batches[intent.Experiment], *intent.Batch+1)
		}
	case lineSettled:
		var settled Settled
		if err := json.Unmarshal(line.Value, &settled); err != nil {
			return fmt.Errorf("result of a call does not decode: %w", err)
		}
		if e := l.byCall[settled.Call]; e != nil {
			e.settled = &settled
			if settled.Result == resultGone {
				e.over = line.Time
			}
			l.daemonEnds(e, line.Time)
		}
	case lineUndone:
		var undone Undone
		if err := json.Unmarshal(line.Value, &undone); err != nil {
			return fmt.Errorf("undoing of a call does not decode: %w", err)
		}
		if e := l.byCall[undone.Call]; e != nil {
			e.undone, e.over = &undone, line.Time
		}
	}
	return nil
}

// daemonEnds draws the conclusion from a stopped or restarted daemon. What lay in the memory of one that accepted to stop is gone. That a
// control program ended well is not as good a proof: then the node is asked, and only one that nobody listens on any more is believed to
// have lost what it had.
func (l *ledger) daemonEnds(end *entry, at time.Time) {
	if end.settled.Result != resultDone || end.intent.Kind != kindStopDaemon && end.intent.Kind != kindRestart {
		return
	}
	for _, e := range l.entries {
		if e.intent.Call > end.intent.Call || !e.mayRemain() || !e.intent.Kind.inDaemon() {
			continue
		}
		if end.intent.Kind == kindRestart {
			e.restarted = e.restarted || hostOf(e.intent.Node) == end.intent.Node
			continue
		}
		if e.intent.Node == end.intent.Node && e.intent.ServerUUID == end.intent.ServerUUID {
			e.undone, e.over, e.withDaemon = &Undone{Call: e.intent.Call, How: howWithDaemon}, at, true
		}
	}
}

// newCall returns the number of a new call.
func (l *ledger) newCall() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	return l.next - 1
}

// calls returns how many calls there were so far.
func (l *ledger) calls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// newBatch returns the next batch number of an experiment. No number is given out twice in a run, so that memos never collide.
func (l *ledger) newBatch(experiment string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches[experiment]++
	return l.batches[experiment] - 1
}

// remaining returns the calls that may have left something behind, in order.
func (l *ledger) remaining() []entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var open []entry
	for _, e := range l.entries {
		if e.mayRemain() {
			open = append(open, *e)
		}
	}
	return open
}

// ofStep returns the calls of a step, in order.
func (l *ledger) ofStep(step int) []entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var calls []entry
	for _, e := range l.entries {
		if e.step == step && !e.past {
			calls = append(calls, *e)
		}
	}
	return calls
}

// placed returns the load that nodes took or may have taken, in the order in which it was placed.
func (l *ledger) placed() []entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var placed []entry
	for _, e := range l.loads {
		if s := e.settled; s == nil || s.Result != resultRefused && s.Result != resultNotSent && s.Result != resultNot {
			placed = append(placed, *e)
		}
	}
	return placed
}

// evidence is load as the evidence needs to know it.
func (e *entry) evidence(c *clock.Clock) evidence.Load {
	load := evidence.Load{
		Name: e.intent.Experiment, Kind: evidence.Kind(e.intent.Kind), Node: e.intent.Node, TPS: exactRate(e.intent.TPS),
		From: c.FromWall(e.sent),
	}
	if e.intent.Batch != nil {
		load.Batch = *e.intent.Batch
	}
	load.Until, _ = e.ends()
	if !e.over.IsZero() {
		over := c.FromWall(e.over)
		if e.withDaemon { // until then it sends
			over = over.Add(stopDelay)
		}
		if load.Until.IsZero() || over.Before(load.Until) {
			load.Until = over
		}
	}
	return load
}

// remainingOf returns the calls that may have left something behind and that match.
func (l *ledger) remainingOf(match func(entry) bool) []entry {
	return slices.DeleteFunc(l.remaining(), func(e entry) bool { return !match(e) })
}

// matching returns all known calls that match, in order.
func (l *ledger) matching(match func(entry) bool) []entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var calls []entry
	for _, e := range l.entries {
		if match(*e) {
			calls = append(calls, *e)
		}
	}
	return calls
}

// forget drops the calls of finished steps that left nothing behind, so that a long run does not grow. Load that is gone with its daemon
// stays: a step that stops it must not ask a daemon that may be down.
func (l *ledger) forget(step int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = slices.DeleteFunc(l.entries, func(e *entry) bool {
		if e.step > step || e.mayRemain() || e.withDaemon && e.intent.Kind.load() {
			return false
		}
		delete(l.byCall, e.intent.Call)
		return true
	})
}
