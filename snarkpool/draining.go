//go:build linux

package snarkpool

import (
	"context"
	"time"

	"provingground/snarkpool/control"
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/supervise/life"
)

// setIntent changes what is wanted of a worker, and begins to bring that about.
func (e *engine) setIntent(ctx context.Context, m *member, to intent, cause string) {
	if m.intent == to {
		return
	}
	from := m.intent
	m.intent = to
	e.intentsDirty = true
	e.publish(control.Event{Worker: m.name, Pool: m.plan.Pool, Kind: "wanted", From: from.shown(), To: to.shown(), Cause: cause})
	e.steer(ctx, m)
}

// shown is the intent as people read it.
func (i intent) shown() string {
	if i.Want == wantWork {
		return "working"
	}
	return string(i.Want)
}

// rest looks after the workers that are to come to rest, and drops those that have and are not planned any more.
func (e *engine) rest(ctx context.Context) {
	for _, m := range e.sorted() {
		e.steer(ctx, m)
		if m.leaving && !m.hasProcess() && m.atRest() {
			delete(e.members, m.name)
			e.order = nil
			e.dropTalk(m)
			e.intentsDirty = true
			e.publish(control.Event{Worker: m.name, Pool: m.plan.Pool, Kind: "removed", Cause: "not planned any more"})
		}
	}
}

// steer points a pull worker to its coordinator, or to none. A fed worker needs nothing: it is given no job.
func (e *engine) steer(_ context.Context, m *member) {
	if m.isFed() || !m.hasProcess() {
		return
	}
	address := m.plan.Coordinator
	if !m.mayWork() && m.pool.Drain == poolfile.DrainCoordinatorFile {
		address = deadAddress
	}
	if m.address != address {
		e.direct(m, address)
	}
}

// draining tells whether a worker is on its way to rest.
func (m *member) draining() bool {
	return m.hasProcess() && !m.atRest() &&
		(m.intent.Want == wantStopped || m.leaving || m.broken != "" || m.renewal != nil && m.renewal.phase == resting)
}

// down tells whether a worker that was to end has.
func (m *member) down() bool { return !m.hasProcess() && m.atRest() && m.state.State != life.Planned }

// recycle gives a fresh process to workers that are old, or have grown.
func (e *engine) recycle(now time.Time) {
	for _, m := range e.sorted() {
		if m.renewal != nil || m.state.State != life.Running || !m.mayWork() {
			continue
		}
		r := m.pool.Recycle
		var cause string
		switch {
		case r.AfterHours > 0 && !m.state.Started.IsZero() && now.Sub(m.state.Started).Hours() >= r.AfterHours:
			cause = "recycled for its age"
		case r.AfterProofs > 0 && m.generationProofs >= r.AfterProofs:
			cause = "recycled after its proofs"
		case r.AboveMemory > 0 && m.state.ResidentBytes > uint64(r.AboveMemory), m.state.WantsRecycling:
			cause = "recycled for its memory"
		default:
			continue
		}
		m.renewal = &renewal{cause: cause, kind: "recycle", rolling: true}
	}
}
