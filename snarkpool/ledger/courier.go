package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// CourierOptions says how a [Courier] works. Zero values stand for the defaults.
type CourierOptions struct {
	// Verify gives a proof that has no verdict one: what the independent verifier says, or Unverified where the sampling says that this one need
	// not be. It is called from several goroutines. An error means that it could not find out, and is tried again. It must be set when proofs
	// without a verdict are appended.
	Verify func(ctx context.Context, proof Proof) (Verdict, error)
	// Verifiers is how many proofs are verified at once; 2 by default.
	Verifiers int
	// Stored is told each entry that the ledger has, with what became of it, in order. After a crash, or an answer that was lost, it may be
	// told of one again, then Repeated. It must not wait.
	Stored func(entry Entry, result Result)
	// Batch is how many entries are stored at once; 256 by default.
	Batch int
	// Shortest and Longest bound the waits between tries while the database or the verifier is away; 100 ms and 10 s by default.
	Shortest, Longest time.Duration
	// Logger is told when the database goes and comes back; nil for silence.
	Logger *zap.Logger
}

// Courier carries entries from a [Spool] to a [Ledger]. It is made with [NewCourier] and works in [Courier.Run].
type Courier struct {
	ledger  *Ledger
	spool   *Spool
	options CourierOptions
}

// NewCourier returns a courier between a spool and a ledger. There must be one per spool.
func NewCourier(ledger *Ledger, spool *Spool, options CourierOptions) *Courier {
	if options.Verifiers == 0 {
		options.Verifiers = 2
	}
	if options.Batch == 0 {
		options.Batch = 256
	}
	if options.Shortest == 0 {
		options.Shortest = 100 * time.Millisecond
	}
	if options.Longest == 0 {
		options.Longest = 10 * time.Second
	}
	if options.Logger == nil {
		options.Logger = zap.NewNop()
	}
	return &Courier{ledger: ledger, spool: spool, options: options}
}

// errVerify marks failures of the verifier, which are tried again as those of the database are.
var errVerify = errors.New("verify a proof")

// Run carries entries until its context ends, and returns the cause. While the database or the verifier is away it tries again, ever more slowly.
// Any other error ends it and leaves everything in the spool: a damaged spool, or a database that refuses an entry for good.
func (c *Courier) Run(ctx context.Context) error {
	wait := c.options.Shortest
	away := false
	for {
		n, err := c.Carry(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrUnavailable) || errors.Is(err, errVerify):
			if !away {
				c.options.Logger.Warn("proofs and events stay in the spool for now", zap.Error(err))
				away = true
			}
			if err := pause(ctx, wait); err != nil {
				return err
			}
			wait = min(2*wait, c.options.Longest)
			continue
		case err != nil:
			return err
		}
		if away {
			c.options.Logger.Info("proofs and events reach the database again", zap.Uint64("waiting", c.spool.State().Entries))
		}
		wait, away = c.options.Shortest, false
		if n > 0 {
			continue
		}
		if err := c.spool.Wait(ctx); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Carry stores the oldest entries of the spool, at most a batch, and returns how many; 0 when there are none. What it could not store stays.
func (c *Courier) Carry(ctx context.Context) (int, error) {
	entries, err := c.spool.Read(c.options.Batch)
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	if err := c.verify(ctx, entries); err != nil {
		return 0, err
	}
	results, err := c.ledger.Apply(ctx, c.spool.ID(), entries)
	if err != nil {
		return 0, err
	}
	if c.options.Stored != nil {
		for i, e := range entries {
			c.options.Stored(e.Entry, results[i])
		}
	}
	return len(entries), c.spool.Forget(entries[len(entries)-1].Seq)
}

// verify gives proofs without a verdict one, except those that the ledger has already.
func (c *Courier) verify(ctx context.Context, entries []Numbered) error {
	waiting := func(e Numbered) bool { return e.Entry.Proof != nil && e.Entry.Proof.Verdict == "" }
	var group errgroup.Group
	group.SetLimit(c.options.Verifiers)
	var applied uint64
	asked := false
	for _, e := range entries {
		if !waiting(e) {
			continue
		}
		if !asked {
			// The database is asked before the verifier works for nothing.
			var err error
			if applied, err = c.ledger.Applied(ctx, c.spool.ID()); err != nil {
				return errors.Join(err, group.Wait())
			}
			asked = true
		}
		if e.Seq <= applied {
			e.Entry.Proof.Verdict = Unverified // it is not looked at again
			continue
		}
		if c.options.Verify == nil {
			return errors.Join(fmt.Errorf("the proof of job %s has no verdict, and there is no verifier", e.Entry.Proof.Job), group.Wait())
		}
		group.Go(func() error {
			verdict, err := c.options.Verify(ctx, *e.Entry.Proof)
			if err != nil {
				return fmt.Errorf("%w of job %s by %s: %w", errVerify, e.Entry.Proof.Job, e.Entry.Proof.Worker, err)
			}
			e.Entry.Proof.Verdict = verdict
			return nil
		})
	}
	return group.Wait()
}
