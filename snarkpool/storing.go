//go:build linux

package snarkpool

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"provingground/schema"
	"provingground/snarkpool/ledger"
	"provingground/snarkpool/poolfile"
)

// store brings what is in the spool to the ledger, and does all else that needs the database, until ctx ends. It begins when the database is there and of
// this program's version, and begins again after any error that would not mend itself.
func (a *Agent) store(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		err := a.storeOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		a.noteFromOutside("database", err.Error())
		timer.Reset(a.options.Timing.Poll)
	}
}

// errCourier says that the courier ended without an error of its own.
var errCourier = errors.New("the courier ended")

func (a *Agent) storeOnce(ctx context.Context) error {
	if err := schema.Check(ctx, a.database); err != nil {
		a.mail.post(func(_ context.Context, e *engine) { e.databaseUp = new(bool) })
		return err
	}
	standings, err := a.ledger.Standings(ctx, a.options.Name+"/")
	if err != nil {
		return err
	}
	a.mail.post(func(_ context.Context, e *engine) {
		up := true
		e.databaseUp = &up
		e.note("database", "")
		for _, s := range standings {
			a.judge.trust(s)
			if m := e.members[s.Worker]; m != nil && s.BrokenAt != nil {
				e.breakWorker(m, s.BrokenReason)
			}
		}
	})
	courier := ledger.NewCourier(a.ledger, a.spool, ledger.CourierOptions{
		Verify: a.judge.verdict, Stored: a.stored, Logger: a.log.Named("courier"), Longest: courierLongest,
	})
	if err := courier.Run(ctx); err != nil {
		return err
	}
	return errCourier
}

// courierLongest is how long a courier waits at most before it looks again whether the database is back.
const courierLongest = 5 * time.Second

// stored is told what became of each entry.
func (a *Agent) stored(entry ledger.Entry, result ledger.Result) {
	p := entry.Proof
	if p == nil {
		return
	}
	if err := a.judge.drop(ledger.Held{Job: p.Job, Epoch: p.Epoch}); err != nil {
		a.log.Debug("job not forgotten", zap.Error(err))
	}
	if p.Verdict == ledger.Valid && result.Outcome != ledger.Repeated {
		a.judge.verified(p.Worker)
	}
	verdict, worker := p.Verdict, p.Worker
	a.mail.post(func(_ context.Context, e *engine) { e.storedProof(worker, verdict, result) })
	for _, feed := range a.feeds {
		poke(feed.wake)
	}
}

// storedProof counts a proof that the ledger knows now.
func (e *engine) storedProof(worker string, verdict ledger.Verdict, result ledger.Result) {
	sum := e.sum(poolOf(worker))
	if verdict != ledger.Unverified && result.Outcome != ledger.Repeated {
		sum.verified[string(verdict)]++
	}
	m := e.members[worker]
	switch result.Outcome {
	case ledger.Accepted, ledger.Late:
		kind := ""
		if m != nil {
			m.proofs++
			kind = m.talk.kind()
		}
		sum.proofs[kind]++
	case ledger.Refused:
		sum.failures["refused"]++
		if m != nil {
			m.failures++
			m.lost++
			e.breakWorker(m, "its proof was refused: "+result.Reason)
		}
	case ledger.Duplicate, ledger.Repeated:
	}
}

// feed is a source of jobs while the agent runs.
type feed struct {
	Feed
	wake chan struct{}
}

// run keeps the ledger supplied with the source's jobs, and the source with proofs, until ctx ends.
func (f *feed) run(ctx context.Context, a *Agent) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-f.wake:
		}
		err := f.round(ctx, a)
		if ctx.Err() != nil {
			return nil
		}
		text := ""
		if err != nil {
			text = err.Error()
		}
		a.noteFromOutside("source "+f.Name, text)
		timer.Reset(a.options.Timing.Poll)
	}
}

// batch is how many proofs a source is given at once.
const batch = 100

func (f *feed) round(ctx context.Context, a *Agent) error {
	for {
		taken, err := a.ledger.Deliver(ctx, f.Name, f.Source, batch)
		if err != nil {
			return err
		}
		if taken < batch {
			break
		}
	}
	var hungry int
	err := a.do(ctx, func(_ context.Context, e *engine) {
		for _, m := range e.members {
			if m.isFed() && m.mayWork() {
				hungry++
			}
		}
	})
	if err != nil || hungry == 0 {
		return err
	}
	backlogs, err := a.ledger.Backlogs(ctx)
	if err != nil {
		return err
	}
	const ahead = 2
	want := ahead * hungry
	for _, b := range backlogs {
		if b.Source == f.Name {
			want -= int(b.Waiting)
		}
	}
	if want <= 0 {
		return nil
	}
	fetched, err := a.ledger.Fetch(ctx, f.Name, f.Source, want)
	if fetched > 0 {
		a.moreJobs.Store(true)
		poke(a.wantJobs)
	}
	return err
}

// verifiesNone tells whether nobody verifies the worker's proofs.
func (m *member) verifiesNone() bool { return m.pool.Verify == poolfile.VerifyNone }
