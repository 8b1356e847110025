package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"provingground/internal/privatepg/pgtest"
	"provingground/schema"
	"provingground/snarkpool/ledger"
)

// writerOf names the spool that this process appends to until it is killed, instead of running tests.
const writerOf = "LEDGER_TEST_SPOOL_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerOf); dir != "" {
		if err := appendForEver(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(pgtest.Goroutine))
}

const (
	kind = "gnark-mimc"
	key  = "9f00000000000000000000000000000000000000000000000000000000000001"
)

var start = time.Date(2026, 11, 20, 12, 0, 30, 0, time.UTC)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func newPool(t testing.TB, uri string, configure ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(uri)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range configure {
		c(config)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func newURI(t testing.TB) string {
	t.Helper()
	uri := pgtest.Database(t)
	if err := schema.Migrate(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	return uri
}

// failer is a test: a *testing.T, *testing.B or *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
	Context() context.Context
}

// one returns the only value of a query.
func one[T any](t failer, pool *pgxpool.Pool, sql string, arguments ...any) (value T) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), sql, arguments...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func execute(t failer, pool *pgxpool.Pool, sql string, arguments ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, arguments...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// world is a ledger and what a test does with it.
type world struct {
	*testing.T
	pool *pgxpool.Pool
	*ledger.Ledger
}

func newWorld(t *testing.T) world {
	t.Helper()
	pool := newPool(t, newURI(t))
	return world{t, pool, ledger.New(pool)}
}

func job(id string) ledger.Job {
	return ledger.Job{ID: id, Kind: kind, VerifyingKey: key, Statement: json.RawMessage(fmt.Sprintf(`{"seed": %q}`, id))}
}

func (w world) submit(ids ...string) {
	w.Helper()
	var jobs []ledger.Job
	for _, id := range ids {
		jobs = append(jobs, job(id))
	}
	if _, err := w.Submit(w.Context(), "simnet", jobs); err != nil {
		w.Fatal(err)
	}
}

func prover(worker string) ledger.Prover {
	return ledger.Prover{Worker: worker, Kind: kind, VerifyingKey: key}
}

// lease gives a worker so many jobs, neither more nor fewer.
func (w world) lease(worker string, n int) []ledger.Lease {
	w.Helper()
	leases, err := w.Lease(w.Context(), prover(worker), max(n, 1), time.Minute)
	if err != nil {
		w.Fatal(err)
	}
	if len(leases) != n {
		w.Fatalf("%s was leased %d jobs, want %d", worker, len(leases), n)
	}
	return leases
}

// pass lets time pass for the jobs, as the database sees it.
func (w world) pass(d time.Duration) {
	w.Helper()
	execute(w.T, w.pool, "UPDATE snark_pool_job SET available_at = available_at - $1::interval", d)
}

func proofOf(lease ledger.Lease, worker string, verdict ledger.Verdict) ledger.Proof {
	seconds := 0.5
	return ledger.Proof{
		Job: lease.Job.ID, Worker: worker, Epoch: lease.Epoch, Statement: lease.Job.Digest(), VerifyingKey: lease.Job.VerifyingKey,
		Proof: fmt.Appendf(nil, "proof of %s by %s, attempt %d", lease.Job.ID, worker, lease.Epoch), Seconds: &seconds, Verdict: verdict, At: start,
	}
}

func (w world) accepts(p ledger.Proof, want ledger.Outcome) ledger.Result {
	w.Helper()
	got, err := w.Accept(w.Context(), p)
	if err != nil {
		w.Fatal(err)
	}
	if got.Outcome != want {
		w.Errorf("proof of %s by %s, attempt %d: %s (%s), want %s", p.Job, p.Worker, p.Epoch, got.Outcome, got.Reason, want)
	}
	return got
}

// counts compares how many jobs are proved with what the minutes say.
func (w world) counts(want int) {
	w.Helper()
	const proved = "SELECT count(*)::int FROM snark_pool_job WHERE proved_epoch IS NOT NULL"
	const told = "SELECT coalesce(sum(proofs - revoked), 0)::int FROM snark_pool_minute"
	if a, b := one[int](w.T, w.pool, proved), one[int](w.T, w.pool, told); a != want || b != want {
		w.Errorf("%d jobs are proved and %d counted, want %d", a, b, want)
	}
}

// coordinator is a source of jobs that checks what it is told.
type coordinator struct {
	jobs  []ledger.Job
	taken map[string][]ledger.Proof
	fail  error
}

func (c *coordinator) Next(_ context.Context, n int) ([]ledger.Job, error) {
	var list []ledger.Job
	for _, j := range c.jobs {
		if len(c.taken[j.ID]) == 0 && len(list) < n {
			list = append(list, j)
		}
	}
	return list, c.fail
}

func (c *coordinator) Deliver(_ context.Context, p ledger.Proof) error {
	if c.fail != nil {
		return c.fail
	}
	if c.taken == nil {
		c.taken = map[string][]ledger.Proof{}
	}
	c.taken[p.Job] = append(c.taken[p.Job], p)
	return nil
}

// cutter makes connections that can be told to lose an answer: the server has done what was asked, and nobody hears of it.
type cutter struct {
	after atomic.Int64 // answers until one is lost; 0 for none
}

func (c *cutter) dial(config *pgxpool.Config) {
	plain := config.ConnConfig.DialFunc
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := plain(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &cutConn{Conn: conn, cutter: c}, nil
	}
}

type cutConn struct {
	net.Conn
	cutter *cutter
}

var errCut = errors.New("the test cut the connection")

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil && c.cutter.after.Load() > 0 && c.cutter.after.Add(-1) == 0 {
		return 0, errors.Join(errCut, c.Close())
	}
	return n, err
}
