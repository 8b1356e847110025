// Package life decides what becomes of one worker process: when it is started, stopped, killed, frozen, thawed, started again, or
// given up for a while. It is pure: it holds no process, reads no clock, and performs nothing. What happened goes in as an [Event]
// together with the time, what is to be done comes out as a list of [Action]; the supervisor performs it and reports back.
//
//	stopped → planned → starting → warming → running → (stopping | stuck) → exited → stopped
//	             ↑                                                            ├→ planned   (long life, or asked to start again)
//	             └──────────────── backoff, broken, blocked ←─────────────────┘   (short life, crash loop, cannot be started)
//
// Desired and observed state are separate: [Worker.Want] is what was asked for, [Worker.State] is what there is. A worker is live
// ([Worker.Live]) from the order to spawn it until its whole process group is gone, and no second process is ordered while it is.
//
// [Budget] is the allowance of starts of a whole machine, [Watch] tells a stuck worker from a busy one, [History] derives from past
// durations how long is too long.
package life

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// State is the observed state of a worker.
type State string

// The states of a worker. The layer above refines running into idle, proving, draining and paused.
const (
	// Stopped has no process and is not meant to have one. It is the state of the zero Worker as [New] makes it.
	Stopped State = "stopped"
	// Planned has no process and waits for the machine's start budget.
	Planned State = "planned"
	// Starting has a process that is not the worker yet: the launcher, or nothing but the order to spawn it.
	Starting State = "starting"
	// Warming has a process that has not said that it is ready.
	Warming State = "warming"
	// Running has a process that is ready, or that has no way to say so.
	Running State = "running"
	// Stopping has a process that was asked to end.
	Stopping State = "stopping"
	// Stuck is Stopping because nothing came of the process any more.
	Stuck State = "stuck"
	// Exited has lost its process, while other processes of its group may still be there.
	Exited State = "exited"
	// Backoff waits before the next start, after a short life.
	Backoff State = "backoff"
	// Broken waits long before the next start, after too many ends.
	Broken State = "broken"
	// Blocked cannot be started for a reason that a restart alone does not mend, and is tried again now and then.
	Blocked State = "blocked"
)

// Policy holds the limits of a worker's life. The zero value of a field means its default.
type Policy struct {
	// MinUptime is the shortest life after which a worker is started again at once; 0 means 30 s.
	MinUptime time.Duration
	// Initial is the delay after the first short life; it doubles with each further one up to Max. 0 means 500 ms.
	Initial time.Duration
	// Max is the longest of these delays, and how often a blocked worker is tried again; 0 means 60 s.
	Max time.Duration
	// CrashLoopExits unexpected ends within CrashLoopWithin make a worker broken; 0 means 5 within 5 min.
	CrashLoopExits  int
	CrashLoopWithin time.Duration
	// BrokenRetry is how often a broken worker is tried again; 0 means 10 min.
	BrokenRetry time.Duration
	// StopGrace is how long a worker may take to end after SIGTERM before it is killed; 0 means 10 s.
	StopGrace time.Duration
	// LaunchLimit is how long the launcher may take; 0 means 30 s.
	LaunchLimit time.Duration
	// WarmupLimit is how long a worker may warm up before it is taken for stuck; 0 means it does not warm up, but runs at once.
	WarmupLimit time.Duration
	// FreezeMax is the longest that a worker may stay frozen at a stretch; 0 means 60 s.
	FreezeMax time.Duration
}

// Fixed delays: how soon the kernel is asked again whether a killed group is gone, and how soon it is killed again.
const (
	sweepEvery = 50 * time.Millisecond
	killEvery  = 5 * time.Second
)

// WithDefaults returns the policy with each zero field replaced by its default.
func (p Policy) WithDefaults() Policy {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&p.MinUptime, 30*time.Second)
	set(&p.Initial, 500*time.Millisecond)
	set(&p.Max, time.Minute)
	set(&p.CrashLoopWithin, 5*time.Minute)
	set(&p.BrokenRetry, 10*time.Minute)
	set(&p.StopGrace, 10*time.Second)
	set(&p.LaunchLimit, 30*time.Second)
	set(&p.FreezeMax, time.Minute)
	if p.CrashLoopExits == 0 {
		p.CrashLoopExits = 5
	}
	return p
}

// Kind says what happened to a worker.
type Kind int

// What can happen to a worker.
const (
	// WantRunning asks for the worker to run, WantStopped for it to have no process.
	WantRunning Kind = iota + 1
	WantStopped
	// Restart asks for a new process in place of the present one, or for the next attempt now.
	Restart
	// Granted: the start budget has room.
	Granted
	// Spawned: there is a process, whose identity is recorded. SpawnFailed: there is none.
	Spawned
	SpawnFailed
	// Became: the launcher has become the worker. LaunchFailed: it could not, and will exit.
	Became
	LaunchFailed
	// Ready: the worker said that it is warm.
	Ready
	// Died: the process is gone. Swept: and so is every other process of its group.
	Died
	Swept
	// Tick: time has passed.
	Tick
	// Freeze and Thaw stop and continue the process.
	Freeze
	Thaw
	// Hung: the process makes no progress. TooBig: it is over its memory cap.
	Hung
	TooBig
)

// Event is what happened.
type Event struct {
	Kind Kind
	// Cause says why, for people; it becomes the cause of the transition.
	Cause string
	// Until is until when to freeze.
	Until time.Time
	// Permanent says of SpawnFailed and LaunchFailed that trying again soon is of no use.
	Permanent bool
}

// Action is what the supervisor is to do now.
type Action int

// What the supervisor may be told to do.
const (
	// AskStart queues the worker for the start budget, which answers Granted. CancelStart takes it out of the queue.
	AskStart Action = iota + 1
	CancelStart
	// Spawn makes a process, and is answered by Spawned or SpawnFailed in every case.
	Spawn
	// Terminate asks the process to end, Kill ends its whole group.
	Terminate
	Kill
	// FreezeGroup and ThawGroup stop and continue the whole group.
	FreezeGroup
	ThawGroup
	// Sweep ends what is left of the group of a dead process, and is answered by Swept when nothing is left.
	Sweep
)

// Worker is the state of one worker. Make it with [New]; the supervisor may keep its exported fields on disk and put them back.
type Worker struct {
	// State is the observed state and Since when it began; Cause is why.
	State State     `json:"state"`
	Since time.Time `json:"since"`
	Cause string    `json:"cause,omitempty"`
	// Want says that the worker is meant to run.
	Want bool `json:"want"`
	// Live says that a process may be there.
	Live bool `json:"live"`
	// Started is when the present process, or the last one, was ordered.
	Started time.Time `json:"started,omitzero"`
	// FrozenSince and FrozenUntil are set while the process is frozen.
	FrozenSince time.Time `json:"frozen_since,omitzero"`
	FrozenUntil time.Time `json:"frozen_until,omitzero"`
	// Exits are the unexpected ends of late, Short counts the short lives in a row.
	Exits []time.Time `json:"exits,omitempty"`
	Short int         `json:"short,omitempty"`
	// Probation says that the worker was broken: its next short life makes it broken again.
	Probation bool `json:"probation,omitempty"`
	// Again says that the process was asked to end in order to be started again.
	Again bool `json:"again,omitempty"`
	// Starts counts the processes that were ordered.
	Starts int `json:"starts"`
	// Due is when this state ends by itself; zero means never.
	Due time.Time `json:"due,omitzero"`

	unstartable bool   // The process ended, or will, because it could not be started.
	refusal     string // Why the launcher did not become the worker.
}

// New returns a stopped worker.
func New(now time.Time) Worker { return Worker{State: Stopped, Since: now} }

// Frozen says whether the process is frozen.
func (w *Worker) Frozen() bool { return !w.FrozenUntil.IsZero() }

// Deadline returns when the worker needs a Tick; the zero time means never.
func (w *Worker) Deadline() time.Time {
	if w.Frozen() && (w.Due.IsZero() || w.State == Warming || w.FrozenUntil.Before(w.Due)) {
		return w.FrozenUntil
	}
	return w.Due
}

// Step takes in what happened at now and returns what to do, in order. Random, from 0 up to 1, jitters delays. An event that has no
// meaning in the present state, such as the budget's answer to a worker stopped meanwhile, changes nothing.
func (w *Worker) Step(p Policy, now time.Time, random float64, e Event) []Action {
	p = p.WithDefaults()
	switch e.Kind {
	case WantRunning:
		w.Want = true
		if w.State == Stopped {
			return w.plan(now, e.Cause)
		}
	case WantStopped:
		w.Want, w.Again = false, false
		return w.end(p, now, e.Cause, Stopping)
	case Restart:
		switch w.State {
		case Backoff, Broken, Blocked:
			return w.plan(now, e.Cause)
		case Starting, Warming, Running:
			w.Again = true
			return w.end(p, now, e.Cause, Stopping)
		default: // It has no process, and will get a new one, or is ending.
		}
	case Granted:
		if w.State == Planned && !w.Live {
			w.become(Starting, now, e.Cause)
			w.Live, w.Started, w.unstartable, w.refusal = true, now, false, ""
			w.Starts++
			w.Due = time.Time{} // The answer to Spawn is certain to come.
			return []Action{Spawn}
		}
	case Spawned:
		switch w.State {
		case Starting:
			w.Due = now.Add(p.LaunchLimit)
		case Stopping:
			return w.terminate(p, now)
		default:
		}
	case SpawnFailed:
		if (w.State == Starting || w.State == Stopping) && w.Live {
			w.unstartable = e.Permanent
			return w.gone(p, now, random, e.Cause)
		}
	case Became:
		if w.State == Starting {
			return w.run(p, now)
		}
	case LaunchFailed:
		if w.State == Starting {
			w.refusal, w.unstartable = e.Cause, e.Permanent
		}
	case Ready:
		if w.State == Warming {
			w.become(Running, now, "ready")
		}
	case Died:
		if w.Live && w.State != Exited {
			if w.refusal != "" {
				e.Cause = w.refusal
			}
			w.thawed()
			w.become(Exited, now, e.Cause)
			w.Due = now.Add(sweepEvery)
			return []Action{Sweep}
		}
	case Swept:
		if w.State == Exited {
			return w.gone(p, now, random, w.Cause)
		}
	case Tick:
		return w.tick(p, now)
	case Freeze:
		return w.freeze(p, now, e.Until)
	case Thaw:
		return w.thaw(now)
	case Hung:
		if w.State == Running || w.State == Warming {
			return w.end(p, now, e.Cause, Stuck)
		}
	case TooBig:
		if w.State == Running || w.State == Warming {
			actions := w.thaw(now)
			w.become(Stopping, now, e.Cause)
			w.Due = now.Add(killEvery)
			return append(actions, Kill)
		}
	}
	return nil
}

// become enters a state; the caller sets Due where the state ends by itself.
func (w *Worker) become(state State, now time.Time, cause string) {
	w.State, w.Since, w.Cause, w.Due = state, now, cause, time.Time{}
}

func (w *Worker) plan(now time.Time, cause string) []Action {
	w.become(Planned, now, cause)
	return []Action{AskStart}
}

// run is what a process is when it is the worker.
func (w *Worker) run(p Policy, now time.Time) []Action {
	if p.WarmupLimit == 0 {
		w.become(Running, now, "started")
		return nil
	}
	w.become(Warming, now, "started")
	w.Due = now.Add(p.WarmupLimit)
	return nil
}

// end begins the stop ladder, whatever the worker is at.
func (w *Worker) end(p Policy, now time.Time, cause string, state State) []Action {
	switch w.State {
	case Planned:
		w.become(Stopped, now, cause)
		return []Action{CancelStart}
	case Backoff, Broken, Blocked:
		w.become(Stopped, now, cause)
	case Starting:
		spawned := !w.Due.IsZero()
		w.become(state, now, cause)
		if spawned {
			return w.terminate(p, now)
		}
		// There is no process to signal before the answer to Spawn.
	case Warming, Running:
		actions := w.thaw(now)
		w.become(state, now, cause)
		return append(actions, w.terminate(p, now)...)
	default: // It has ended, or is ending.
	}
	return nil
}

func (w *Worker) terminate(p Policy, now time.Time) []Action {
	w.Due = now.Add(p.StopGrace)
	return []Action{Terminate}
}

// gone decides what follows once no process is left.
func (w *Worker) gone(p Policy, now time.Time, random float64, cause string) []Action {
	asked, unstartable := w.Again, w.unstartable
	w.Live, w.Again, w.unstartable = false, false, false
	w.thawed()
	if !w.Want {
		w.become(Stopped, now, cause)
		return nil
	}
	if asked {
		return w.plan(now, cause)
	}
	if unstartable {
		w.become(Blocked, now, cause)
		w.Due = now.Add(jitter(p.Max, random))
		return nil
	}
	long := now.Sub(w.Started) >= p.MinUptime
	w.Exits = append(slices.DeleteFunc(w.Exits, func(t time.Time) bool { return now.Sub(t) > p.CrashLoopWithin }), now)
	w.Short++
	if long {
		w.Short, w.Probation = 0, false
	}
	switch {
	case len(w.Exits) >= p.CrashLoopExits || w.Probation && !long:
		w.become(Broken, now, fmt.Sprintf("%d unexpected ends within %s, the last one: %s", len(w.Exits), p.CrashLoopWithin, cause))
		w.Exits, w.Probation = nil, true
		w.Due = now.Add(p.BrokenRetry)
		return nil
	case long:
		return w.plan(now, cause)
	}
	w.become(Backoff, now, cause)
	delay := min(float64(p.Max), float64(p.Initial)*math.Pow(2, float64(min(w.Short-1, 60))))
	w.Due = now.Add(jitter(time.Duration(delay), random))
	return nil
}

// jitter spreads a delay over its upper half, so that workers that fell together do not rise together.
func jitter(delay time.Duration, random float64) time.Duration {
	return delay/2 + time.Duration(random*float64(delay/2))
}

func (w *Worker) tick(p Policy, now time.Time) []Action {
	if w.Frozen() && !now.Before(w.FrozenUntil) {
		return w.thaw(now)
	}
	if w.Due.IsZero() || now.Before(w.Due) || w.Frozen() && w.State == Warming {
		return nil
	}
	switch w.State {
	case Backoff, Broken, Blocked:
		return w.plan(now, w.Cause)
	case Starting:
		return w.end(p, now, fmt.Sprintf("the launcher did not become the worker within %s", p.LaunchLimit), Stuck)
	case Warming:
		return w.end(p, now, fmt.Sprintf("not ready within %s", p.WarmupLimit), Stuck)
	case Stopping, Stuck:
		w.Due = now.Add(killEvery)
		return []Action{Kill}
	case Exited:
		w.Due = now.Add(sweepEvery)
		return []Action{Sweep}
	default: // These do not end by themselves.
	}
	return nil
}

// freeze stops the process until a time that is never more than FreezeMax after the beginning of this freeze.
func (w *Worker) freeze(p Policy, now, until time.Time) []Action {
	if w.State != Running && w.State != Warming || !until.After(now) {
		return nil
	}
	fresh := !w.Frozen()
	if fresh {
		w.FrozenSince = now
	}
	if limit := w.FrozenSince.Add(p.FreezeMax); until.After(limit) {
		until = limit
	}
	w.FrozenUntil = until
	if fresh {
		return []Action{FreezeGroup}
	}
	return nil
}

// thaw ends a freeze; the time in it does not count against the warm-up.
func (w *Worker) thaw(now time.Time) []Action {
	if !w.Frozen() {
		return nil
	}
	if w.State == Warming && !w.Due.IsZero() {
		w.Due = w.Due.Add(now.Sub(w.FrozenSince))
	}
	w.thawed()
	return []Action{ThawGroup}
}

func (w *Worker) thawed() { w.FrozenSince, w.FrozenUntil = time.Time{}, time.Time{} }

// Adopted puts a worker back that was recorded by an agent which is gone, and whose process was found alive and verified. What was
// under way goes on: a stop ladder begins anew, a freeze ends in its time, and never later than FreezeMax from now.
func (w *Worker) Adopted(p Policy, now time.Time) []Action {
	p = p.WithDefaults()
	w.Live = true
	switch w.State {
	case Warming, Running:
	case Stopping, Stuck:
		return w.terminate(p, now)
	default:
		w.become(Running, now, "adopted")
	}
	if w.State == Warming {
		w.Due = now.Add(max(p.WarmupLimit, p.Initial))
	}
	if !w.Frozen() {
		return nil
	}
	// The wall clock may have been set back meanwhile.
	if limit := now.Add(p.FreezeMax); w.FrozenUntil.After(limit) {
		w.FrozenSince, w.FrozenUntil = now, limit
	}
	if !w.FrozenUntil.After(now) {
		return w.thaw(now)
	}
	return []Action{FreezeGroup}
}
