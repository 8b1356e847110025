//go:build linux

package snarkpool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap/zaptest"

	"provingground/internal/privatepg/pgtest"
	"provingground/schema"
	"provingground/snarkpool"
	"provingground/snarkpool/control"
	"provingground/snarkpool/ledger"
)

// source gives out jobs and takes proofs, in memory.
type source struct {
	mu        sync.Mutex
	jobs      []ledger.Job
	next      int
	delivered map[string]int
	changed   chan struct{}
}

func newSource() *source {
	return &source{delivered: map[string]int{}, changed: make(chan struct{}, 1)}
}

func fakeJob(id string) ledger.Job {
	return ledger.Job{ID: id, Kind: fakeKind, VerifyingKey: fakeKey, Statement: json.RawMessage(fmt.Sprintf("{%q:%q}", "id", id))}
}

func (s *source) add(jobs ...ledger.Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs = append(s.jobs, jobs...)
}

// addFakes adds so many jobs more.
func (s *source) addFakes(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.jobs = append(s.jobs, fakeJob(fmt.Sprintf("j%05d", len(s.jobs))))
	}
}

func (s *source) Next(_ context.Context, n int) ([]ledger.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var given []ledger.Job
	for range s.jobs {
		if len(given) == n {
			break
		}
		s.next = (s.next + 1) % len(s.jobs)
		if job := s.jobs[s.next]; s.delivered[job.ID] == 0 {
			given = append(given, job)
		}
	}
	return given, nil
}

func (s *source) Deliver(_ context.Context, p ledger.Proof) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delivered[p.Job]++
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return nil
}

// awaitAll waits until all jobs are proved, and checks that none is twice.
func (s *source) awaitAll(t *testing.T) {
	t.Helper()
	eventually(t, "all jobs delivered", func() (bool, string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.delivered) == len(s.jobs), fmt.Sprintf("%d of %d", len(s.delivered), len(s.jobs))
	})
}

// eventually looks every few milliseconds whether something holds.
func eventually(t *testing.T, what string, holds func() (bool, string)) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		ok, detail := holds()
		if ok {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within a minute: %s", what, detail)
		}
	}
}

// world is an agent with its database and its source.
type world struct {
	*testing.T
	*snarkpool.Agent
	setting setting
	source  *source
	pool    *pgxpool.Pool
	stop    func()
}

// poolFile is a pool file with one pool of fed workers.
func poolFile(workers int, how string, more ...string) string {
	exe, _ := os.Executable()
	return fmt.Sprintf(`{"version": 1, "name": "test", "hosts": [{"match": {"host": "bm7"}, "reserve": {"cores": 0, "memory": "1MiB"}, "pools": {"cpu": {"workers": %d}}}],
"pools": {"cpu": {"kind": "fed", "command": [%q, "play", "prover", %s], "threads": 1, "env": {"THREADS": "${threads}"}%s}}, "starts_per_second": 1000, "warmups": 100}`,
		workers, exe, how, strings.Join(more, ""))
}

func database(t testing.TB) string {
	t.Helper()
	uri := pgtest.Database(t)
	if err := schema.Migrate(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	return uri
}

func newSetting(t *testing.T, file string, uri string) setting {
	t.Helper()
	s := setting{Dir: t.TempDir(), Database: uri, CPUs: 64}
	s.write(t, file)
	return s
}

func (s setting) write(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.Dir, "pool-file.json"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newWorld starts an agent of a pool file with a database.
func newWorld(t *testing.T, file string, change ...func(*snarkpool.Options)) *world {
	t.Helper()
	uri := database(t)
	w := &world{T: t, setting: newSetting(t, file, uri), source: newSource(), pool: connect(t, uri)}
	w.start(change...)
	t.Cleanup(func() { w.end() })
	return w
}

func connect(t *testing.T, uri string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// start runs an agent, in this process.
func (w *world) start(change ...func(*snarkpool.Options)) {
	w.Helper()
	options := w.setting.options()
	options.Feeds = []snarkpool.Feed{{Name: "test", Source: w.source}}
	options.Logger = zaptest.NewLogger(w.T)
	for _, c := range change {
		c(&options)
	}
	agent, err := snarkpool.New(w.Context(), options)
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(ctx) }()
	w.Agent = agent
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			w.Errorf("the agent ended: %v", err)
		}
		w.stop = nil
	}
}

// end stops all workers and the agent.
func (w *world) end() {
	if w.stop == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := w.Change(ctx, control.Command{Operation: control.OpStop, Arguments: control.Arguments{Now: true}}); err != nil {
		w.Errorf("stop: %v", err)
	}
	w.stop()
}

// change gives a command.
func (w *world) change(operation control.Operation, target string, arguments control.Arguments) control.Change {
	w.Helper()
	parsed, err := control.ParseTarget(target)
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	c, err := w.Change(ctx, control.Command{Operation: operation, Target: parsed, Arguments: arguments})
	if err != nil {
		status, _ := w.Status(w.Context(), control.Target{})
		w.Fatalf("%s %s: %v; %+v", operation, target, err, status.Workers)
	}
	return c
}

// worker returns the status of one worker.
func (w *world) worker(name string) control.WorkerStatus {
	w.Helper()
	status, err := w.Status(w.Context(), control.Target{})
	if err != nil {
		w.Fatal(err)
	}
	for _, s := range status.Workers {
		if s.Name == name {
			return s
		}
	}
	w.Fatalf("no worker %s: %+v", name, status)
	return control.WorkerStatus{}
}

// awaitState waits for a worker's state.
func (w *world) awaitState(name, state string) {
	w.Helper()
	eventually(w.T, name+" "+state, func() (bool, string) {
		s := w.worker(name)
		return s.State == state, fmt.Sprintf("%+v", s)
	})
}

// one returns the only value of a query.
func one[T any](w *world, sql string, arguments ...any) (value T) {
	w.Helper()
	if err := w.pool.QueryRow(w.Context(), sql, arguments...).Scan(&value); err != nil {
		w.Fatalf("%s: %v", sql, err)
	}
	return value
}
