package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"provingground/internal/soak"
	"provingground/snarkpool/ledger"
)

// How a proof of the property test is: what the verifier would say, and whether it is asked.
const (
	goodVerified = "good, verified"
	goodTrusted  = "good, not verified"
	badVerified  = "bad, verified"
	badTrusted   = "bad, not verified"
)

// station is an agent of the property test: two workers, a spool, and a way to the database on which answers get lost.
type station struct {
	name    string
	dir     string
	spool   *ledger.Spool
	courier *ledger.Courier
	held    []holding // what it remembers of its leases; a crash forgets it
}

type holding struct {
	worker string
	lease  ledger.Lease
}

// pool is the world of the property test.
type pool struct {
	db       *pgxpool.Pool
	sure     *ledger.Ledger // the operator's way: no answer gets lost
	unlucky  *ledger.Ledger
	cut      *cutter
	stations []*station
	source   *coordinator
	jobs     []ledger.Job
	first    map[ledger.Held]string // how the first proof that was appended for a lease is
	events   int
}

func (p *pool) open(t *rapid.T, s *station) {
	spool, err := ledger.OpenSpool(s.dir, ledger.SpoolOptions{SegmentBytes: 2000})
	if err != nil {
		t.Fatal(err)
	}
	s.spool, s.held = spool, nil
	s.courier = ledger.NewCourier(p.unlucky, spool, ledger.CourierOptions{Batch: 7, Verify: func(_ context.Context, proof ledger.Proof) (ledger.Verdict, error) {
		switch string(proof.Proof) {
		case goodVerified:
			return ledger.Valid, nil
		case badVerified:
			return ledger.Invalid, nil
		}
		return ledger.Unverified, nil
	}})
}

// passing fails the test on any error but those of a database that is away.
func passing(t *rapid.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, ledger.ErrUnavailable) {
		t.Fatal(err)
	}
}

func (p *pool) append(t *rapid.T, s *station, e ledger.Entry) {
	t.Helper()
	p.events++
	if err := s.spool.Append(e, event(fmt.Sprint(p.events))); err != nil {
		t.Fatal(err)
	}
}

func (p *pool) prove(t *rapid.T, s *station, h holding, quality string) {
	t.Helper()
	proof := proofOf(h.lease, h.worker, "")
	proof.Proof = []byte(quality)
	p.append(t, s, ledger.Entry{Proof: &proof})
	if key := (ledger.Held{Job: h.lease.Job.ID, Epoch: h.lease.Epoch}); p.first[key] == "" {
		p.first[key] = quality
	}
}

// more adds jobs to those that the coordinator has.
func (p *pool) more(jobs int) {
	for range jobs {
		p.jobs = append(p.jobs, job(fmt.Sprintf("j%03d", len(p.jobs))))
	}
	p.source.jobs = p.jobs
}

// actions is what may happen, in any order.
func (p *pool) actions() map[string]func(*rapid.T) {
	anyStation := func(t *rapid.T) *station { return rapid.SampledFrom(p.stations).Draw(t, "agent") }
	worker := func(t *rapid.T, s *station) string {
		return s.name + rapid.SampledFrom([]string{"/cpu/0", "/cpu/1"}).Draw(t, "worker")
	}
	// unlucky lets one of the next answers get lost, perhaps.
	unlucky := func(t *rapid.T) func() {
		p.cut.after.Store(int64(rapid.IntRange(-8, 9).Draw(t, "answer that is lost")))
		return func() { p.cut.after.Store(0) }
	}
	// withLease does something with a lease of an agent that has one, and nothing otherwise.
	withLease := func(do func(t *rapid.T, s *station, h holding)) func(*rapid.T) {
		return func(t *rapid.T) {
			if s := anyStation(t); len(s.held) > 0 {
				do(t, s, rapid.SampledFrom(s.held).Draw(t, "lease"))
			}
		}
	}
	lease := func(t *rapid.T, s *station) {
		w := worker(t, s)
		defer unlucky(t)()
		leases, err := p.unlucky.Lease(t.Context(), prover(w), rapid.IntRange(1, 3).Draw(t, "jobs"), time.Hour)
		passing(t, err)
		for _, l := range leases {
			s.held = append(s.held, holding{w, l})
		}
	}
	qualities := []string{goodVerified, goodVerified, goodTrusted, goodTrusted, goodTrusted, badVerified, badTrusted}
	return map[string]func(*rapid.T){
		"submit": func(t *rapid.T) {
			p.more(rapid.IntRange(1, 4).Draw(t, "jobs"))
			defer unlucky(t)()
			_, err := p.unlucky.Fetch(t.Context(), "simnet", p.source, 1000)
			passing(t, err)
		},
		"lease": func(t *rapid.T) { lease(t, anyStation(t)) },
		// Much of what can go wrong needs several proofs, so that this comes more often than by chance.
		"work": func(t *rapid.T) {
			s := anyStation(t)
			lease(t, s)
			for _, h := range s.held {
				if rapid.Bool().Draw(t, "proved") {
					p.prove(t, s, h, rapid.SampledFrom(qualities).Draw(t, "proof"))
				}
			}
			defer unlucky(t)()
			_, err := s.courier.Carry(t.Context())
			passing(t, err)
		},
		"prove": withLease(func(t *rapid.T, s *station, h holding) {
			p.prove(t, s, h, rapid.SampledFrom(qualities).Draw(t, "proof"))
		}),
		"fail": withLease(func(t *rapid.T, s *station, h holding) {
			p.append(t, s, ledger.Entry{Failure: &ledger.Failure{Job: h.lease.Job.ID, Worker: h.worker, Epoch: h.lease.Epoch, Reason: "killed", At: start}})
		}),
		"release": withLease(func(t *rapid.T, _ *station, h holding) {
			defer unlucky(t)()
			passing(t, p.unlucky.Release(t.Context(), h.worker, ledger.Held{Job: h.lease.Job.ID, Epoch: h.lease.Epoch}))
		}),
		"renew": withLease(func(t *rapid.T, _ *station, h holding) {
			defer unlucky(t)()
			_, err := p.unlucky.Renew(t.Context(), h.worker, time.Hour, ledger.Held{Job: h.lease.Job.ID, Epoch: h.lease.Epoch})
			passing(t, err)
		}),
		"run out": func(t *rapid.T) {
			execute(t, p.db, "UPDATE snark_pool_job SET available_at = available_at - interval '2 hours' WHERE hashtext(job_id) % 3 <> $1", rapid.IntRange(0, 2).Draw(t, "which"))
		},
		"carry": func(t *rapid.T) {
			s := anyStation(t)
			defer unlucky(t)()
			_, err := s.courier.Carry(t.Context())
			passing(t, err)
		},
		"crash": func(t *rapid.T) {
			s := anyStation(t)
			if err := s.spool.Close(); err != nil {
				t.Fatal(err)
			}
			p.open(t, s)
		},
		"distrust": func(t *rapid.T) {
			_, err := p.sure.Distrust(t.Context(), ledger.Distrust{Worker: worker(t, anyStation(t)), Reason: "an operator", At: start})
			passing(t, err)
		},
		"readmit": func(t *rapid.T) {
			execute(t, p.db, "UPDATE snark_pool_worker SET broken_at = NULL, broken_reason = NULL, verified = 0")
		},
		"deliver": func(t *rapid.T) {
			defer unlucky(t)()
			_, err := p.unlucky.Deliver(t.Context(), "simnet", p.source, 3)
			passing(t, err)
		},
		"": func(t *rapid.T) { p.check(t) },
	}
}

// check is what holds at every moment.
func (p *pool) check(t *rapid.T) {
	t.Helper()
	const nothingTwice = `SELECT coalesce(string_agg(what, ', '), '') FROM (
		SELECT 'event ' || cause || ' is there twice' AS what FROM snark_pool_event WHERE event = 'test' GROUP BY cause HAVING count(*) > 1
		UNION ALL SELECT format('%s jobs are proved, %s counted', a, b) FROM (SELECT (SELECT count(*) FROM snark_pool_job WHERE proved_epoch IS NOT NULL),
			(SELECT coalesce(sum(proofs - revoked), 0) FROM snark_pool_minute)) AS q(a, b) WHERE a <> b
		UNION ALL SELECT 'job ' || j.job_id || ' counts a proof that is ' || coalesce(p.verdict || ' ' || p.outcome || coalesce(' revoked' || p.revoked_at, ''), 'not there')
			FROM snark_pool_job j LEFT JOIN snark_pool_proof p ON p.job_id = j.job_id AND p.epoch = j.proved_epoch
			WHERE j.proved_epoch IS NOT NULL AND (p.verdict = 'invalid' OR p.outcome NOT IN ('accepted', 'late') OR p.revoked_at IS NOT NULL) IS NOT FALSE
		UNION ALL SELECT 'job ' || job_id || ' is held by ' || holder || ' and leased to ' || coalesce(l.worker, 'nobody') FROM snark_pool_job j LEFT JOIN snark_pool_lease l USING (job_id, epoch)
			WHERE j.holder IS NOT NULL AND (l.worker <> j.holder OR l.ended_at IS NOT NULL) IS NOT FALSE
		UNION ALL SELECT 'a broken worker''s unverified proof of ' || p.job_id || ' counts' FROM snark_pool_proof p JOIN snark_pool_job j ON j.job_id = p.job_id AND j.proved_epoch = p.epoch
			JOIN snark_pool_worker w ON w.worker = p.worker WHERE p.verdict = 'unverified' AND w.broken_at IS NOT NULL) AS wrong`
	if wrong := one[string](t, p.db, nothingTwice); wrong != "" {
		t.Fatal(wrong)
	}
}

// finish lets everything come to its end without bad luck, and compares it with what happened.
func (p *pool) finish(t *rapid.T) {
	for _, s := range p.stations {
		for {
			n, err := s.courier.Carry(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
		}
		if state := s.spool.State(); state.Entries != 0 {
			t.Fatalf("%d entries are left in the spool of %s", state.Entries, s.name)
		}
	}
	p.check(t)
	if got := one[int](t, p.db, "SELECT count(*)::int FROM snark_pool_event WHERE event = 'test'"); got != p.events {
		t.Fatalf("%d events are stored, want %d", got, p.events)
	}
	for key, quality := range p.first {
		if quality != goodVerified {
			continue
		}
		if !one[bool](t, p.db, "SELECT EXISTS (SELECT FROM snark_pool_proof WHERE job_id = $1 AND epoch = $2 AND verdict = 'valid')", key.Job, key.Epoch) {
			t.Fatalf("the proof of %s, attempt %d, is lost", key.Job, key.Epoch)
		}
		if !one[bool](t, p.db, "SELECT proved_epoch IS NOT NULL FROM snark_pool_job WHERE job_id = $1", key.Job) {
			t.Fatalf("job %s is not proved, though a good proof of it was delivered", key.Job)
		}
	}
	if _, err := p.sure.Fetch(t.Context(), "simnet", p.source, 1000); err != nil {
		t.Fatal(err)
	}
	execute(t, p.db, "UPDATE snark_pool_job SET available_at = available_at - interval '2 hours'")
	last, err := p.sure.Lease(t.Context(), prover("last/cpu/0"), 1000, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, lease := range last {
		if got, err := p.sure.Accept(t.Context(), proofOf(lease, "last/cpu/0", ledger.Valid)); err != nil || got.Outcome != ledger.Accepted {
			t.Fatalf("%v, %v", got, err)
		}
	}
	p.check(t)
	if _, err := p.sure.Deliver(t.Context(), "simnet", p.source, 1000); err != nil {
		t.Fatal(err)
	}
	rows, err := p.db.Query(t.Context(), "SELECT job_id, proved_epoch FROM snark_pool_job WHERE delivered_at IS NOT NULL")
	if err != nil {
		t.Fatal(err)
	}
	delivered, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ledger.Held])
	if err != nil || len(delivered) != len(p.jobs) {
		t.Fatalf("%d of %d jobs are proved and delivered (%v)", len(delivered), len(p.jobs), err)
	}
	for _, d := range delivered {
		if taken := p.source.taken[d.Job]; len(taken) == 0 || taken[len(taken)-1].Epoch != d.Epoch {
			t.Fatalf("the coordinator got %v for %s, and attempt %d counts", taken, d.Job, d.Epoch)
		}
	}
}

// TestNothingIsLostOrCountedTwice plays random events of several agents: leases that run out, answers that are lost before and after the commit,
// crashes, bad proofs found at once or later, proofs told twice.
func TestNothingIsLostOrCountedTwice(t *testing.T) {
	t.Parallel()
	uri := newURI(t)
	cut := &cutter{}
	db := newPool(t, uri)
	unlucky := newPool(t, uri, cut.dial, func(c *pgxpool.Config) { c.MaxConns = 1 })
	const tables = "job, lease, proof, worker, minute, event, spool"
	truncate := "TRUNCATE snark_pool_" + strings.ReplaceAll(tables, ", ", ", snark_pool_")
	top, checks := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		if checks++; checks > 4*soak.Rounds(t) {
			return // make soak plays all that rapid offers
		}
		execute(t, db, truncate)
		p := &pool{db: db, sure: ledger.New(db), unlucky: ledger.New(unlucky), cut: cut, source: &coordinator{}, first: map[ledger.Held]string{}}
		dir := filepath.Join(top, strconv.Itoa(checks))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		defer func() {
			for _, s := range p.stations {
				if err := s.spool.Close(); err != nil {
					t.Error(err)
				}
			}
		}()
		for _, name := range []string{"bm1", "bm2", "bm3"} {
			s := &station{name: name, dir: filepath.Join(dir, name)}
			p.open(t, s)
			p.stations = append(p.stations, s)
		}
		p.more(6)
		if _, err := p.sure.Fetch(t.Context(), "simnet", p.source, 1000); err != nil {
			t.Fatal(err)
		}
		t.Repeat(p.actions())
		p.finish(t)
	})
}
