package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"provingground/internal/privatepg"
	"provingground/internal/privatepg/pgtest"
	"provingground/schema"
	"provingground/snarkpool/ledger"
)

// TestLostAnswers loses every answer of the database in turn while a courier stores entries: each is stored once, and told.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	uri := newURI(t)
	w := world{T: t, pool: newPool(t, uri)}
	w.Ledger = ledger.New(w.pool)
	cut := &cutter{}
	unlucky := ledger.New(newPool(t, uri, cut.dial))
	s := openSpool(t, t.TempDir(), ledger.SpoolOptions{})
	defer closeSpool(t, s)
	told := map[string]int{}
	courier := ledger.NewCourier(unlucky, s, ledger.CourierOptions{
		Verify: func(context.Context, ledger.Proof) (ledger.Verdict, error) { return ledger.Valid, nil },
		Stored: func(e ledger.Entry, _ ledger.Result) {
			if e.Proof != nil {
				told[e.Proof.Job]++
			}
		},
	})
	const rounds = 30
	lost, committed := 0, 0
	for i := range rounds {
		id := fmt.Sprintf("j%02d", i)
		w.submit(id)
		p := proofOf(w.lease(a, 1)[0], a, "")
		if err := s.Append(ledger.Entry{Proof: &p}, event(id)); err != nil {
			t.Fatal(err)
		}
		cut.after.Store(int64(i%10 + 1))
		for range 3 {
			n, err := courier.Carry(t.Context())
			if err == nil {
				if n != 2 {
					t.Fatalf("%d entries were carried", n)
				}
				break
			}
			if !errors.Is(err, ledger.ErrUnavailable) {
				t.Fatal(err)
			}
			lost++
			committed += one[int](t, w.pool, "SELECT count(*)::int FROM snark_pool_job WHERE job_id = $1 AND proved_epoch IS NOT NULL", id)
		}
		cut.after.Store(0)
	}
	if lost == 0 || committed == 0 || committed == lost {
		t.Errorf("%d answers were lost, %d of them after the commit: want some of each", lost, committed)
	}
	w.counts(rounds)
	if got := one[int](t, w.pool, "SELECT count(*)::int FROM snark_pool_event"); got != rounds {
		t.Errorf("%d events are stored, want %d", got, rounds)
	}
	if len(told) != rounds {
		t.Errorf("the agent was told of %d proofs, want %d", len(told), rounds)
	}
	if got := s.State().Entries; got != 0 {
		t.Errorf("%d entries are left", got)
	}
}

// TestPostgreSQLRestartsInABatch lets agents lease, prove and deliver while PostgreSQL is stopped and started, gently and not.
func TestPostgreSQLRestartsInABatch(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	begin := func() *privatepg.Server {
		server, err := privatepg.Start(t.Context(), privatepg.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return server
	}
	server := begin()
	defer func() {
		if err := server.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	uri := server.URI()
	if err := schema.Migrate(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	pool := newPool(t, uri, func(c *pgxpool.Config) { c.MaxConns = 6 })
	w := world{t, pool, ledger.New(pool)}
	const agents, jobs = 3, 150
	var ids []string
	for i := range jobs {
		ids = append(ids, fmt.Sprintf("j%03d", i))
	}
	w.submit(ids...)

	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("all is proved")
	var group sync.WaitGroup
	var appended, verified atomic.Int64
	progress := make(chan struct{}, jobs)
	for i := range agents {
		worker := fmt.Sprintf("bm%d/cpu/0", i)
		s := openSpool(t, t.TempDir(), ledger.SpoolOptions{})
		courier := ledger.NewCourier(w.Ledger, s, ledger.CourierOptions{
			Batch: 5, Shortest: time.Millisecond, Longest: 50 * time.Millisecond,
			Verify: func(context.Context, ledger.Proof) (ledger.Verdict, error) {
				verified.Add(1)
				return ledger.Valid, nil
			},
			Stored: func(ledger.Entry, ledger.Result) {
				select {
				case progress <- struct{}{}:
				case <-ctx.Done():
				}
			},
		})
		running := make(chan struct{})
		group.Go(func() {
			defer close(running)
			if err := courier.Run(ctx); !errors.Is(err, over) {
				t.Errorf("courier of %s: %v", worker, err)
			}
		})
		group.Go(func() {
			defer func() { <-running; closeSpool(t, s) }()
			for ctx.Err() == nil {
				leases, err := w.Lease(ctx, prover(worker), 4, 2*time.Second)
				if err != nil && !errors.Is(err, ledger.ErrUnavailable) && ctx.Err() == nil {
					t.Errorf("lease: %v", err)
					return
				}
				for _, lease := range leases {
					p := proofOf(lease, worker, "")
					if err := s.Append(ledger.Entry{Proof: &p}); err != nil {
						t.Error(err)
					}
					appended.Add(1)
				}
				if len(leases) == 0 { // nothing to do, or nobody to ask
					wait(ctx, 5*time.Millisecond)
				}
			}
		})
	}
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	stored := 0
	for stored < jobs {
		select {
		case <-progress:
			stored++
		case <-limit.C:
			t.Errorf("only %d of %d entries were stored in a minute", stored, jobs)
			stored = jobs
		}
		if stored%50 == 20 {
			hurried, stop := context.WithCancel(t.Context())
			if stored > 50 {
				stop() // at once: nothing is written down, and the server recovers
			}
			_ = server.Stop(hurried)
			stop()
			server = begin()
		}
	}
	// Leases whose answers were lost come back when their time has run out.
	for one[int](t, pool, "SELECT count(*)::int FROM snark_pool_job WHERE proved_epoch IS NULL") > 0 {
		select {
		case <-progress:
		case <-limit.C:
			t.Fatal("not all jobs are proved within a minute")
		}
	}
	cancel(over)
	group.Wait()
	w.counts(jobs)
	t.Logf("%d jobs, %d proofs appended, %d verified", jobs, appended.Load(), verified.Load())
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// TestVerifierFails lets the verifier fail for a while, and then find a proof that is bad.
func TestVerifierFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.submit("j1", "j2")
	s := openSpool(t, t.TempDir(), ledger.SpoolOptions{})
	defer closeSpool(t, s)
	for _, lease := range w.lease(a, 2) {
		p := proofOf(lease, a, "")
		if err := s.Append(ledger.Entry{Proof: &p}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ledger.NewCourier(w.Ledger, s, ledger.CourierOptions{}).Carry(t.Context()); err == nil {
		t.Error("proofs without a verdict were stored though there is no verifier")
	}
	var failures atomic.Int64
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	outcomes := map[string]ledger.Outcome{}
	courier := ledger.NewCourier(w.Ledger, s, ledger.CourierOptions{
		Shortest: time.Millisecond,
		Verify: func(_ context.Context, p ledger.Proof) (ledger.Verdict, error) {
			switch {
			case failures.Add(1) <= 5:
				return "", errors.New("the verifier crashed")
			case p.Job == "j2":
				return ledger.Invalid, nil
			}
			return ledger.Valid, nil
		},
		Stored: func(e ledger.Entry, r ledger.Result) {
			if outcomes[e.Proof.Job] = r.Outcome; len(outcomes) == 2 {
				cancel(over)
			}
		},
	})
	if err := courier.Run(ctx); !errors.Is(err, over) {
		t.Error(err)
	}
	if outcomes["j1"] != ledger.Accepted || outcomes["j2"] != ledger.Refused {
		t.Errorf("outcomes %v", outcomes)
	}
	w.counts(1)
}
