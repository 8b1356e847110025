//go:build linux

package snarkpool

import (
	"time"

	"provingground/snarkpool/metrics"
	"provingground/snarkpool/plan"
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/supervise"
	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/worker/minalog"
)

// intent is what an operator wants of a worker. The zero value is that it works.
type intent struct {
	Want wanted `json:"want"`
	// Until ends a pause by itself; zero is no end.
	Until time.Time `json:"until,omitzero"`
	Cause string    `json:"cause,omitempty"`
}

// wanted is what a worker is to do.
type wanted string

const (
	wantWork    wanted = ""        // work
	wantPaused  wanted = "paused"  // finish what is under way and take nothing new
	wantStopped wanted = "stopped" // the same, and then have no process
)

// renewal is a fresh process that a worker is to get once it is at rest.
type renewal struct {
	cause string
	// kind is the cause as metrics name it.
	kind string
	// rolling waits its turn: so many of a pool at a time.
	rolling bool
	phase   phase
	// starts is how many processes the worker had had when the fresh one was ordered.
	starts int
}

// phase is how far a renewal has come.
type phase int

const (
	waiting  phase = iota // for its turn
	resting               // until nothing is under way
	starting              // until the fresh process is ready
)

// member is one worker in the engine.
type member struct {
	name string
	// plan is the worker as it is planned now, and running what its process was started by.
	plan    plan.Worker
	running plan.Worker
	pool    poolfile.HostPool

	intent  intent
	renewal *renewal
	// leaving says that the plan does not have it any more.
	leaving bool
	// broken is why it gets no work until somebody resumes it: a bad proof, or rules broken again and again.
	broken string
	// unfit is why it can be given no work now, such as a verifier that is missing.
	unfit string
	// gate is why it is not started, by what the plan does not know.
	gate string
	// ended says that its process is to be gone, proof or not: a stop without draining.
	ended bool
	// givenUp says that its process is being ended on purpose, so that a job it has is given back rather than failed.
	givenUp bool

	state supervise.Status
	// cpuTold is the CPU time of its process that the ledger was told.
	cpuTold time.Duration
	// inSpecs says that the supervisor is to have it.
	inSpecs bool

	fed
	pull

	// The rest counts.
	delivered, lost  uint64 // proofs that were under way and are safe, or are not
	proofs, failures uint64
	restarts         map[string]uint64
	generationProofs int // proofs of this process
	busy             time.Duration
	history          *life.History
	// seconds is the mean proving time of late, over so many proofs.
	seconds, meanOver float64
	violations        []time.Time
}

// fed is the part of a member that is fed.
type fed struct {
	talk conversation
	// offered says that somebody knows that it is idle.
	offered bool
	// spooling says that its proof is on its way to the disk.
	spooling bool
	// orphan is the conversation of a process that ended with a job, whose last words may still come until orphanUntil.
	orphan      *conversation
	orphanUntil time.Time
	// orphanReleased says that it was ended on purpose, so that its job has not failed.
	orphanReleased bool
}

// pull is the part of a member that fetches its own work.
type pull struct {
	machine minalog.Machine
	// address is what its snark_coordinator file says, and asked whether it has been seen to ask a dead one since.
	address string
	asked   bool
	// closing says that its process closingPID ended with work in hand, and that its last lines may still come until orphanUntil.
	closing        bool
	closingPID     int
	closingMachine minalog.Machine
}

// isFed tells which of the two parts counts.
func (m *member) isFed() bool { return m.plan.Kind == poolfile.KindFed }

// hasProcess tells whether there is a process, or is about to be one.
func (m *member) hasProcess() bool {
	switch m.state.State {
	case life.Starting, life.Warming, life.Running, life.Stopping, life.Stuck, supervise.Frozen:
		return true
	case life.Exited, life.Stopped, life.Planned, life.Backoff, life.Broken, life.Blocked, "":
		return false
	}
	return false
}

// mayWork tells whether the worker is to get work, as far as it is concerned.
func (m *member) mayWork() bool {
	return m.intent.Want == wantWork && (m.renewal == nil || m.renewal.phase == waiting) && !m.leaving && !m.ended && m.broken == "" && m.blocked() == ""
}

// blocked is why the worker may have no process now.
func (m *member) blocked() string {
	if m.plan.Blocked != "" {
		return m.plan.Blocked
	}
	return m.gate
}

// idle tells whether a fed worker can take a job.
func (m *member) idle() bool {
	return m.isFed() && m.mayWork() && m.state.State == life.Running && m.talk.Hello != nil && m.talk.Job == nil && !m.spooling && m.unfit == ""
}

// atRest tells whether nothing is under way and nothing can come: the worker may be ended without losing a proof.
func (m *member) atRest() bool {
	if !m.hasProcess() {
		return m.orphan == nil && !m.spooling && !m.closing
	}
	if m.pool.Drain == poolfile.DrainSignal {
		return true // As the pool file has it: what is under way may be lost.
	}
	if m.isFed() {
		return m.talk.Job == nil && !m.spooling && m.orphan == nil
	}
	_, _, working := m.machine.Work()
	return m.address == deadAddress && m.asked && !working
}

// counters are the sums of a pool.
type counters struct {
	proofs, verified, failures, drains map[string]uint64
	durations                          map[string]metrics.Durations
	restarts                           map[string]uint64
	lost, expired                      uint64
	proving, frozen, draining          time.Duration
}

func newCounters() *counters {
	return &counters{
		proofs: map[string]uint64{}, verified: map[string]uint64{}, failures: map[string]uint64{}, drains: map[string]uint64{},
		durations: map[string]metrics.Durations{}, restarts: map[string]uint64{},
	}
}
