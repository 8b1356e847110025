//go:build linux

package snarkpool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"provingground/snarkpool/ledger"
)

// release is a lease that is to be given back.
type release struct {
	worker string
	held   ledger.Held
}

// sort is what jobs are leased by.
type sort struct{ kind, key string }

// lease gets jobs for idle workers, one after the other, until ctx ends. Where there was nothing for one sort of proof it asks again after a while, or when
// new jobs came.
func (a *Agent) lease(ctx context.Context) error {
	timer := time.NewTimer(a.options.Timing.Poll)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-a.wantJobs:
		}
		if err := a.leaseRound(ctx); err != nil && ctx.Err() == nil {
			a.noteFromOutside("leases", err.Error())
		} else if err == nil {
			a.noteFromOutside("leases", "")
		}
		timer.Reset(a.options.Timing.Poll)
	}
}

func (a *Agent) leaseRound(ctx context.Context) error {
	var idle []ledger.Prover
	var back []release
	err := a.do(ctx, func(_ context.Context, e *engine) {
		back, e.releases = e.releases, nil
		if e.spool == nil || !e.spool.State().HasRoom(len(e.members)) {
			return
		}
		for _, m := range e.sorted() {
			if m.idle() {
				idle = append(idle, ledger.Prover{Worker: m.name, Kind: m.talk.Hello.Kind, VerifyingKey: m.talk.Hello.VerifyingKey})
			}
		}
	})
	if err != nil {
		return err
	}
	for _, r := range back {
		if err := a.ledger.Release(ctx, r.worker, r.held); err != nil && !errors.Is(err, ledger.ErrUnavailable) {
			return fmt.Errorf("give back job %s: %w", r.held.Job, err)
		}
	}
	if a.moreJobs.Swap(false) {
		clear(a.dry)
	}
	for _, p := range idle {
		of := sort{p.Kind, p.VerifyingKey}
		if until, waits := a.dry[of]; waits && a.options.Now().Before(until) {
			continue
		}
		delete(a.dry, of)
		if err := a.leaseFor(ctx, p, of); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) leaseFor(ctx context.Context, p ledger.Prover, of sort) error {
	leases, err := a.ledger.Lease(ctx, p, 1, a.options.Timing.Lease)
	if err != nil {
		return fmt.Errorf("lease a job for %s: %w", p.Worker, err)
	}
	if len(leases) == 0 {
		// It holds for all of this sort, unless it is this worker's own fault, which the next one will show.
		a.empty[of]++
		if a.empty[of] > 1 {
			a.dry[of], a.empty[of] = a.options.Now().Add(a.options.Timing.Poll), 0
		}
		return nil
	}
	a.empty[of] = 0
	lease := leases[0]
	ready := true
	if err := a.judge.fit(ctx, p, lease.Job); err != nil {
		ready = false
		a.noteFromOutside("verifier of "+p.Kind, err.Error())
		a.dry[of] = a.options.Now().Add(unfitWait)
	}
	taken := false
	if ready {
		if err := a.do(ctx, func(ctx context.Context, e *engine) { taken = !e.assign(ctx, p.Worker, lease) }); err != nil {
			return err
		}
	}
	if taken {
		return nil
	}
	if err := a.ledger.Release(ctx, p.Worker, ledger.Held{Job: lease.Job.ID, Epoch: lease.Epoch}); err != nil {
		return fmt.Errorf("give back job %s: %w", lease.Job.ID, err)
	}
	return nil
}

// unfitWait is how long no work is leased when the verifier is not fit to verify it.
const unfitWait = 5 * time.Second

// renewLeases keeps the leases of jobs that are out until ctx ends.
func (a *Agent) renewLeases(ctx context.Context) error {
	const times = 3
	ticker := time.NewTicker(a.options.Timing.Lease / times)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		var out []release
		err := a.do(ctx, func(_ context.Context, e *engine) {
			for _, m := range e.sorted() {
				if m.talk.Job != nil && !m.talk.Job.expired {
					out = append(out, release{m.name, m.talk.Job.held()})
				}
			}
		})
		if err != nil {
			return nil // The agent ends.
		}
		for _, r := range out {
			still, err := a.ledger.Renew(ctx, r.worker, a.options.Timing.Lease, r.held)
			if err != nil {
				if ctx.Err() == nil {
					a.log.Debug("lease not renewed", zap.String("worker", r.worker), zap.Error(err))
				}
				break // The database is away: the others fare no better.
			}
			if len(still) == 0 {
				a.mail.post(func(_ context.Context, e *engine) { e.leaseLost(r) })
			}
		}
	}
}

// leaseLost notes that a lease is over: the worker goes on, for its proof may come first.
func (e *engine) leaseLost(r release) {
	m := e.members[r.worker]
	if m == nil || m.talk.Job == nil || m.talk.Job.held() != r.held || m.spooling {
		return
	}
	m.talk.Job.expired = true
	e.sum(m.plan.Pool).expired++
}

// noteFromOutside notes something for another goroutine than the engine's.
func (a *Agent) noteFromOutside(about, text string) {
	a.mail.post(func(_ context.Context, e *engine) { e.note(about, text) })
}
