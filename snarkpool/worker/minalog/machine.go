package minalog

import (
	"slices"
	"time"
)

// State is what a worker is doing, as far as its lines say (document snark-worker, section 7).
type State uint8

// The states of a worker's log. The zero value is [Starting]: no line has shown yet that the worker asks for work.
const (
	Starting State = iota
	Idle
	Proving
	Submitting
	Backoff // waiting to try again after an error
	Ended
)

func (s State) String() string {
	names := [...]string{"starting", "idle", "proving", "submitting", "backoff", "ended"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// EventKind says what an [Event] is about.
type EventKind uint8

// The events. Of each received work exactly one of Delivered, NotDelivered, Unconfirmed, Failed and Lost comes of it in the end.
const (
	// Ready is the first sign that the worker asks for work.
	Ready EventKind = iota + 1
	// WorkReceived is the beginning of work.
	WorkReceived
	// ProofMade is one proof, with its kind and time; it has not been delivered yet.
	ProofMade
	// Delivered means that the coordinator took the work: Event.Proofs of them count.
	Delivered
	// NotDelivered means that the coordinator refused the work: another was better, it is no longer wanted, or it has the wrong shape.
	NotDelivered
	// Unconfirmed means that nobody can tell from the lines whether the coordinator took the work: submitting it failed at least once, or the
	// process ended right after it said that it submits. It does not count as delivered.
	Unconfirmed
	// Failed means that proving failed.
	Failed
	// Lost means that the work was begun and nothing came of it: the process ended, or went on without a word.
	Lost
	// CoordinatorError is a failed request for work, or to submit; the worker tries again.
	CoordinatorError
	// WorkerEnding means that the worker said it ends.
	WorkerEnding
)

// Event is something that happened to a worker.
type Event struct {
	Kind EventKind
	// At is the time stamp of the line that made it so; zero where it had none.
	At time.Time
	// WorkIDs and Address are those of the work concerned.
	WorkIDs []string
	Address string
	// Proofs is how many proofs the work is made of, 1 or 2, for the five ends of a work.
	Proofs int
	// Proof and Transaction are the kind of a proof made; Elapsed is the time its proving took, nil where it is not known, and nil where the proof came from the
	// worker's cache, which Cached tells.
	Proof       ProofKind
	Transaction string
	Elapsed     *time.Duration
	Cached      bool
	// Wall is the time from receiving the work to submitting it, without the half second that the worker waits; nil where a time stamp is
	// missing. For Delivered.
	Wall *time.Duration
	// Text is the worker's own words, for errors and refusals.
	Text string
}

// pauseBeforeProving is how long Mina's worker waits between receiving work and proving it.
const pauseBeforeProving = 500 * time.Millisecond

// Machine follows the lines of one worker process. It is a value: Next returns another and leaves this one as it was. The zero value is a
// process that has just been started.
type Machine struct {
	state State
	ready bool
	work  work // of Proving and Submitting, and of Backoff after a failed submission
}

type work struct {
	open                      bool
	ids                       []string
	address                   string
	receivedAt, submittedAt   time.Time
	made                      int
	submitted, failedToSubmit bool // failedToSubmit is about the last word: a later "Submitted" takes it back
}

// State returns what the worker is doing.
func (m Machine) State() State { return m.state }

// Work returns the ids of the work in hand, each as logged, and when it was received; false if there is none.
func (m Machine) Work() (ids []string, since time.Time, ok bool) {
	return slices.Clone(m.work.ids), m.work.receivedAt, m.work.open
}

// Next follows one line.
func (m Machine) Next(line Line) (Machine, []Event) {
	if m.state == Ended || line.Said == Nothing {
		return m, nil
	}
	var events []Event
	emit := func(e Event) { e.At = line.At; events = append(events, e) }
	switch line.Said {
	case NoJobs, Received, GetWorkError:
		// Asking for work is what shows that the last work is done with.
		m.settle(emit)
		if !m.ready && line.Said != GetWorkError {
			m.ready = true
			emit(Event{Kind: Ready})
		}
		switch line.Said {
		case NoJobs:
			m.state = Idle
		case GetWorkError:
			m.state = Backoff
			emit(Event{Kind: CoordinatorError, Text: line.Text})
		default:
			m.state = Proving
			m.work = work{open: true, ids: line.WorkIDs, address: line.Address, receivedAt: line.At}
			emit(Event{Kind: WorkReceived, WorkIDs: line.WorkIDs, Address: line.Address})
		}
	case Generated:
		m.work.made++
		e := Event{Kind: ProofMade, WorkIDs: m.work.ids, Address: m.work.address, Proof: line.Kind, Transaction: line.Transaction, Elapsed: line.Elapsed}
		if line.Elapsed != nil && *line.Elapsed == 0 {
			e.Elapsed, e.Cached = nil, true
		}
		emit(e)
	case Submitted:
		if m.work.open {
			m.state = Submitting
			m.work.submitted, m.work.failedToSubmit, m.work.submittedAt = true, false, line.At
		}
	case SubmitError:
		m.state = Backoff
		m.work.failedToSubmit = true
		emit(Event{Kind: CoordinatorError, WorkIDs: m.work.ids, Address: m.work.address, Text: line.Text})
	case PerformError:
		m.state = Backoff
		m.end(emit, Event{Kind: Failed, Text: line.Text})
	case Refused:
		m.end(emit, Event{Kind: NotDelivered, Text: line.Text})
	case Ending:
		emit(Event{Kind: WorkerEnding, Text: line.Text})
	case Nothing:
	}
	return m, events
}

// End follows the end of the process, however it ended: what was in hand is lost or, once it was submitted, unconfirmed.
func (m Machine) End(at time.Time) (Machine, []Event) {
	var events []Event
	emit := func(e Event) { e.At = at; events = append(events, e) }
	if m.work.submitted || m.work.failedToSubmit {
		m.end(emit, Event{Kind: Unconfirmed})
	} else {
		m.end(emit, Event{Kind: Lost})
	}
	m.state = Ended
	return m, events
}

// settle decides what came of the work in hand when the worker goes on.
func (m *Machine) settle(emit func(Event)) {
	switch {
	case m.work.submitted && !m.work.failedToSubmit:
		m.end(emit, Event{Kind: Delivered, Wall: m.work.wall()})
	case m.work.submitted || m.work.failedToSubmit:
		m.end(emit, Event{Kind: Unconfirmed})
	default:
		m.end(emit, Event{Kind: Lost})
	}
}

// end closes the work in hand, if there is any.
func (m *Machine) end(emit func(Event), e Event) {
	if m.work.open {
		e.WorkIDs, e.Address, e.Proofs = m.work.ids, m.work.address, max(m.work.made, 1)
		if len(m.work.ids) > 0 {
			e.Proofs = len(m.work.ids)
		}
		emit(e)
	}
	m.work = work{}
}

func (w work) wall() *time.Duration {
	if w.receivedAt.IsZero() || w.submittedAt.IsZero() {
		return nil
	}
	wall := max(w.submittedAt.Sub(w.receivedAt)-pauseBeforeProving, 0)
	return &wall
}
