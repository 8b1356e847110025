//go:build linux

package snarkpool

import (
	"context"

	"provingground/snarkpool/supervise/life"
)

// renew brings the renewals forward: whose turn it is comes to rest, gets a fresh process, and is done when that is ready.
func (e *engine) renew(ctx context.Context) {
	under := map[string]int{}
	for _, m := range e.members {
		if m.renewal != nil && m.renewal.rolling && m.renewal.phase != waiting {
			under[m.plan.Pool]++
		}
	}
	for _, m := range e.sorted() {
		if m.renewal == nil && m.hasProcess() && !m.leaving && m.running.Digest != m.plan.Digest && m.state.State == life.Running {
			m.renewal = &renewal{cause: "its specification changed", kind: "apply", rolling: true}
		}
		r := m.renewal
		if r == nil {
			continue
		}
		if m.leaving || m.intent.Want == wantStopped || m.blocked() != "" || m.broken != "" {
			m.renewal = nil // It ends anyway, and begins afresh.
			continue
		}
		if r.phase == waiting && (!r.rolling || under[m.plan.Pool] < max(m.pool.MaxUnavailable, 1)) {
			r.phase = resting
			under[m.plan.Pool]++
			e.steer(ctx, m)
		}
		if r.phase == resting && m.atRest() {
			r.phase, r.starts = starting, m.state.Starts
			e.restartNow(ctx, m, r.cause)
		}
		if r.phase == starting && m.state.Starts > r.starts && m.settled() {
			m.renewal = nil
			e.steer(ctx, m)
		}
	}
}

// settled tells whether a fresh process is ready, or will not be soon.
func (m *member) settled() bool {
	switch m.state.State {
	case life.Running:
		return !m.isFed() || m.talk.Hello != nil
	case life.Broken, life.Blocked, life.Stopped:
		return true
	case life.Planned, life.Starting, life.Warming, life.Stopping, life.Stuck, life.Exited, life.Backoff:
		return false
	}
	return false
}
