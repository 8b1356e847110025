//go:build linux

package snarkpool

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"provingground/snarkpool/control"
	"provingground/snarkpool/ledger"
	"provingground/snarkpool/metrics"
	"provingground/snarkpool/plan"
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/supervise"
	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/supervise/logs"
	"provingground/snarkpool/worker/minalog"
)

// ErrNotRunning says that Run has not been called, or has returned.
var ErrNotRunning = errors.New("the agent is not running")

// Agent runs the workers of one machine. Make it with New, start it with Run. Its methods are safe for concurrent use.
type Agent struct {
	options  Options
	log      *zap.Logger
	sup      *supervise.Supervisor
	spool    *ledger.Spool  // nil without a database
	ledger   *ledger.Ledger // nil without a database
	database *pgxpool.Pool
	judge    *judge
	journal  *journal
	ring     *control.Ring // events
	lines    *control.Ring // log lines, as events: their stream is the kind and their text the cause
	mail     *mailbox
	feeds    []*feed
	engine   *engine
	since    time.Time

	wantJobs  chan struct{}
	moreJobs  atomic.Bool
	lineBytes atomic.Int64
	snapshot  atomic.Pointer[metrics.Snapshot]
	// rulesByPool are *minalog.Rules by pool, for the goroutine that reads logs.
	rulesByPool sync.Map
	// dry and empty belong to the goroutine that leases: until when there is nothing of one sort of proof, and how often there was nothing.
	dry   map[sort]time.Time
	empty map[sort]int

	ended chan struct{}
	// jobs are short tasks beside the engine, of which Run waits for each.
	jobs chan func(context.Context)
}

// How much is kept in memory for those who ask.
const (
	keptEvents = 20_000
	keptLines  = 4096
	mostTasks  = 256
)

// New takes the state directory, reads the pool file and makes the plan; it starts nothing. Errors to test for: *supervise.LockedError,
// *supervise.CorruptStateError, ledger.ErrSpoolHeld. The caller calls Run, which gives everything back, or Close.
func New(ctx context.Context, options Options) (_ *Agent, err error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	a := &Agent{
		options: o, log: o.Logger.Named("agent"), ring: control.NewRing(keptEvents), lines: control.NewRing(keptLines), mail: newMailbox(), since: o.Now(),
		wantJobs: make(chan struct{}, 1), dry: map[sort]time.Time{}, empty: map[sort]int{}, ended: make(chan struct{}),
		jobs: make(chan func(context.Context), mostTasks),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	const private = 0o711 // Workers' users pass through to their working directories.
	if err := os.MkdirAll(o.StateDir, private); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	file, host, err := a.load(ctx)
	if err != nil {
		return nil, err
	}
	a.sup, err = supervise.New(supervise.Options{
		StateDir: o.StateDir, Launcher: o.Launcher, Policy: policy(file, o.Timing.Restart), StartsPerSecond: float64(file.StartsPerSecond), Warmups: file.Warmups,
		SampleEvery: o.Timing.Sample, Logs: logs.Options{Lines: a.line}, Events: a.tell, Environ: o.Environ, Now: o.Now,
	})
	if err != nil {
		return nil, err
	}
	if err := a.openDatabase(ctx, file); err != nil {
		return nil, err
	}
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, fmt.Errorf("make a secret: %w", err)
	}
	a.judge = newJudge(o.Verifiers, secret, filepath.Join(o.StateDir, "jobs"))
	for _, f := range o.Feeds {
		a.feeds = append(a.feeds, &feed{Feed: f, wake: make(chan struct{}, 1)})
	}
	return a, a.prepare(ctx, file, host)
}

// prepare makes the engine, with what the last agent left and the first plan.
func (a *Agent) prepare(ctx context.Context, file poolfile.File, host poolfile.HostPools) error {
	e := &engine{
		Agent: a, notes: map[string]string{}, members: map[string]*member{}, sums: map[string]*counters{}, gpus: map[string]*gpuState{},
		busy: map[string]busyMinute{}, commands: map[metrics.CommandKind]uint64{}, intents: map[string]intent{}, histories: map[string]*life.History{},
	}
	a.engine = e
	var err error
	if e.kept, err = a.loadKept(); err != nil {
		return err
	}
	if a.journal, e.left, err = openJournal(filepath.Join(a.options.StateDir, "journal")); err != nil {
		return err
	}
	if e.spooledBefore, err = a.loadSpooled(); err != nil {
		return err
	}
	needed := make([]ledger.Held, 0, len(e.spooledBefore))
	for held := range e.spooledBefore {
		needed = append(needed, held)
	}
	for _, k := range e.kept {
		if k.Talk.Job != nil {
			needed = append(needed, k.Talk.Job.held())
		}
	}
	if err := a.judge.tidy(needed); err != nil {
		return err
	}
	if _, err := readJSON(a.intentsFile(), &e.intents); err != nil {
		return fmt.Errorf("%w: move it away to have all workers work", err)
	}
	if e.machine, err = a.options.Inventory(); err != nil {
		return fmt.Errorf("read the machine: %w", err)
	}
	if err := e.joinGPUs(ctx); err != nil {
		return fmt.Errorf("read the GPUs: %w", err)
	}
	var previous plan.Plan
	if found, err := readJSON(a.planFile(), &previous); err != nil {
		a.log.Warn("last plan not read: the new one may move workers", zap.Error(err))
	} else if found {
		e.plan = previous
	}
	p, err := e.draft(e.machine, host)
	if err != nil {
		return err
	}
	if err := e.adopt(ctx, file, host, p); err != nil {
		return err
	}
	return e.remember()
}

// remember gives the workers what the last agent knew of them. Those that are not planned any more are there to come to rest before they go.
func (e *engine) remember() error {
	for name, k := range e.kept {
		m := e.members[name]
		if m == nil {
			m = &member{name: name, plan: k.Plan, leaving: true, restarts: map[string]uint64{}, history: e.history(k.Plan.Pool)}
			m.pool.Drain = poolfile.DrainCoordinatorFile
			if _, ok := e.rulesByPool.Load(k.Plan.Pool); !ok && !m.isFed() {
				rules, err := compile(poolfile.Pool{})
				if err != nil {
					return err
				}
				e.rulesByPool.Store(k.Plan.Pool, rules)
			}
			e.members[name], e.order = m, nil
		}
		m.running, m.talk = k.Plan, k.Talk
		m.talk.adopted = true
	}
	return nil
}

// openDatabase opens what the options or the pool file name. It need not be there yet.
func (a *Agent) openDatabase(ctx context.Context, file poolfile.File) error {
	uri := a.options.Database
	if uri == "" {
		var err error
		if uri, err = databaseOf(file.Database, a.options.Environ); err != nil {
			return err
		}
	}
	if uri == "" {
		return nil
	}
	config, err := pgxpool.ParseConfig(uri)
	if err != nil {
		return errors.New("the address of the database cannot be read: it is like postgres://USER@HOST/NAME") // The error would quote it.
	}
	if a.database, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return errors.New("the database cannot be used with the settings of its address")
	}
	a.ledger = ledger.New(a.database)
	return a.openSpool(ctx)
}

// openSpool opens the spool. A process that the last agent was about to spawn when it was killed may hold it for a moment still; that no other agent does is known
// from the supervisor's lock.
func (a *Agent) openSpool(ctx context.Context) error {
	const patience, look = 5 * time.Second, 10 * time.Millisecond
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		var err error
		a.spool, err = ledger.OpenSpool(filepath.Join(a.options.StateDir, "spool"), ledger.SpoolOptions{})
		if !errors.Is(err, ledger.ErrSpoolHeld) {
			return err
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// databaseOf reads the address of the database from where a pool file says it is: env:NAME or file:PATH.
func databaseOf(where string, environ []string) (string, error) {
	if name, ok := strings.CutPrefix(where, "env:"); ok {
		for _, variable := range environ {
			if value, ok := strings.CutPrefix(variable, name+"="); ok && value != "" {
				return value, nil
			}
		}
		return "", nil
	}
	if path, ok := strings.CutPrefix(where, "file:"); ok {
		content, err := os.ReadFile(path) //nolint:gosec // The pool file names it.
		if err != nil {
			return "", fmt.Errorf("read the address of the database: %w", err)
		}
		return strings.TrimSpace(string(content)), nil
	}
	return "", nil
}

// Close gives back what New took, when Run was not called.
func (a *Agent) Close() error {
	var errs []error
	if a.sup != nil {
		errs = append(errs, a.sup.Close())
	}
	return errors.Join(append(errs, a.giveBack())...)
}

// giveBack gives back everything but the supervisor, which gives itself back.
func (a *Agent) giveBack() error {
	var errs []error
	if a.judge != nil {
		errs = append(errs, a.judge.close())
	}
	if a.journal != nil {
		errs = append(errs, a.journal.close())
	}
	if a.spool != nil {
		errs = append(errs, a.spool.Close())
	}
	if a.database != nil {
		a.database.Close()
	}
	return errors.Join(errs...)
}

// Run adopts the workers that an earlier agent left, and runs the pool until ctx ends. The workers live on: to end them, stop them first. It is called
// once, and gives back what New took.
func (a *Agent) Run(ctx context.Context) error {
	// The engine outlives whoever sends to it, so that all that was read by then is taken in.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	end := make(chan struct{})
	engineEnded := make(chan struct{})
	go func() {
		defer close(engineEnded)
		a.engine.run(work, end)
	}()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.sup.Run(ctx) })
	group.Go(func() error { return a.perform(ctx) })
	group.Go(func() error { return a.watchGPUs(ctx) })
	group.Go(func() error { return a.readGPUs(ctx) })
	if a.ledger != nil {
		group.Go(func() error { return a.store(ctx) })
		group.Go(func() error { return a.lease(ctx) })
		group.Go(func() error { return a.renewLeases(ctx) })
		for _, f := range a.feeds {
			group.Go(func() error { return f.run(ctx, a) })
		}
	}
	err := group.Wait()
	close(end)
	<-engineEnded
	close(a.ended)
	return errors.Join(err, a.giveBack())
}

// background runs a short task beside the engine; when there are too many, it is left out and noted.
func (a *Agent) background(task func(context.Context)) {
	select {
	case a.jobs <- task:
	default:
		a.log.Warn("a task was left out: too many at once")
	}
}

// perform runs tasks until ctx ends, and waits for those that run.
func (a *Agent) perform(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for {
		select {
		case <-ctx.Done():
			return group.Wait()
		case task := <-a.jobs:
			group.Go(func() error {
				task(ctx)
				return nil
			})
		}
	}
}

// rulesOf compiles the log rules of all pools of a host.
func rulesOf(host poolfile.HostPools) (map[string]*minalog.Rules, error) {
	all := map[string]*minalog.Rules{}
	var errs []error
	for _, pool := range host.Pools {
		if pool.Kind != poolfile.KindMina {
			continue
		}
		rules, err := compile(pool.Pool)
		if err != nil {
			errs = append(errs, fmt.Errorf("pool %s: %w", pool.Name, err))
			continue
		}
		all[pool.Name] = rules
	}
	return all, errors.Join(errs...)
}
