//go:build linux

package supervise

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/supervise/logs"
	"provingground/snarkpool/supervise/process"
)

// Errors that callers may test.
var (
	// ErrUnknownWorker says that no worker has the name.
	ErrUnknownWorker = errors.New("no worker of this name")
	// ErrNotRunning says that Run has not been called, or has returned.
	ErrNotRunning = errors.New("the supervisor is not running")
	// ErrWrongState says that the worker's present state does not allow what was asked.
	ErrWrongState = errors.New("not possible in the worker's present state")
	// ErrNotRecorded says that the state file could not be written, and that therefore nothing was done.
	ErrNotRecorded = errors.New("the state file cannot be written")
)

// Supervisor keeps the workers of one machine. Make it with New, start it with Run. Safe for concurrent use.
type Supervisor struct {
	options  Options
	bootID   string
	lock     int
	state    stateFile
	records  []record
	found    bool // There was a state file.
	handover *handover
	cgroups  process.Cgroups

	poller  *poller
	capture *logs.Capture
	spawner *spawner

	commands chan func(*loop)
	started  chan struct{} // Closed when the loop takes commands.
	ended    chan struct{} // Closed when Run returns.

	channels sync.Map // Of *channel by name: the jobs of fed workers, which callers write without the loop.
}

// New takes the state directory, reads its state, and starts nothing. The errors are a [*LockedError] when another agent has the
// directory and a [*CorruptStateError] when its state is damaged. The caller calls Run, which gives everything back, or Close.
func New(o Options) (_ *Supervisor, err error) {
	if o.StateDir == "" || len(o.Launcher) == 0 {
		return nil, errors.New("supervise: the state directory and the launcher are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.SampleEvery == 0 {
		o.SampleEvery = 10 * time.Second
	}
	if o.Logs.Directory == "" {
		o.Logs.Directory = filepath.Join(o.StateDir, "logs")
	}
	o.Policy = o.Policy.WithDefaults()
	if o.StateDir, err = filepath.Abs(o.StateDir); err != nil {
		return nil, fmt.Errorf("find the state directory: %w", err)
	}
	if err := os.MkdirAll(o.StateDir, 0o711); err != nil { //nolint:gosec // Workers' users pass through to their working directories.
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	s := &Supervisor{
		options: o, lock: -1, state: stateFile{filepath.Join(o.StateDir, "state.json")},
		commands: make(chan func(*loop)), started: make(chan struct{}), ended: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.handover, err = receiveHandover(o.Environ); err != nil {
		return nil, err
	}
	if s.handover != nil {
		s.lock = s.handover.Lock
	} else if s.lock, err = lock(o.StateDir); err != nil {
		return nil, err
	}
	if s.bootID, err = process.BootID(); err != nil {
		return nil, err
	}
	if s.records, s.found, err = s.state.load(); err != nil {
		return nil, err
	}
	if o.NoCgroup {
		s.cgroups.Why = "not wanted"
	} else {
		s.cgroups = process.FindCgroups("snarkpool-" + s.id())
	}
	if s.poller, err = newPoller(); err != nil {
		return nil, err
	}
	if s.capture, err = logs.New(o.Logs); err != nil {
		return nil, err
	}
	s.spawner = &spawner{
		stateDir: o.StateDir, launcher: o.Launcher, bootID: s.bootID, cgroups: s.cgroups,
		requests: make(chan spawnRequest, spawnQueue), results: make(chan spawned),
	}
	return s, nil
}

// id names the state directory in marks and cgroups.
func (s *Supervisor) id() string {
	sum := sha256.Sum256([]byte(s.options.StateDir))
	return hex.EncodeToString(sum[:6])
}

// mark is what marks a worker's processes; markPrefix is what all marks of this state directory begin with.
func (s *Supervisor) mark(name string) string { return s.markPrefix() + name }
func (s *Supervisor) markPrefix() string      { return s.id() + ":" }

// Cgroups says in what cgroups the workers are, or why in none.
func (s *Supervisor) Cgroups() process.Cgroups { return s.cgroups }

// Close gives back what New took, when Run was not called. Workers are left as they are.
func (s *Supervisor) Close() error {
	var errs []error
	if s.poller != nil {
		errs = append(errs, s.poller.close())
	}
	if s.capture != nil {
		errs = append(errs, s.capture.Close())
	}
	s.cgroups.Close()
	if s.lock >= 0 {
		// Closing alone would leave the lock to a child that was forked at this moment, until it runs its own program.
		errs = append(errs, unix.Flock(s.lock, unix.LOCK_UN), unix.Close(s.lock))
	}
	return errors.Join(errs...)
}

// Run adopts the workers that an earlier agent left, and supervises until ctx ends. It leaves the workers running: to end them, Set
// none and wait for them first. It is called once, and gives back what New took.
func (s *Supervisor) Run(ctx context.Context) (err error) {
	defer close(s.ended)
	defer func() { err = errors.Join(err, s.Close()) }()
	// What runs beside the loop ends when the loop has: its last commit still needs nobody else.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := newLoop(s)
	defer l.close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.poller.run(ctx) })
	group.Go(func() error { s.spawner.run(ctx); return nil })
	group.Go(func() error { l.commit(ctx); return nil })
	group.Go(func() error { l.sample(ctx); return nil })
	group.Go(func() error { return l.captureLogs(ctx) })
	group.Go(func() error {
		defer cancel()
		if err := l.adopt(); err != nil {
			return err
		}
		close(s.started)
		return l.run(ctx)
	})
	return group.Wait()
}

// do runs a function in the loop.
func (s *Supervisor) do(ctx context.Context, f func(*loop) error) error {
	select {
	case <-s.started:
	case <-s.ended:
		return ErrNotRunning
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	result := make(chan error, 1)
	select {
	case s.commands <- func(l *loop) { result <- f(l) }:
	case <-s.ended:
		return ErrNotRunning
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	// The loop is about to run it: the answer is certain to come.
	return <-result
}

// onMember runs a function on one worker in the loop.
func (s *Supervisor) onMember(ctx context.Context, name string, f func(*loop, *member) error) error {
	return s.do(ctx, func(l *loop) error {
		m := l.members[name]
		if m == nil {
			return fmt.Errorf("worker %s: %w", name, ErrUnknownWorker)
		}
		return f(l, m)
	})
}

// Set says which workers there are to be. New ones are started, unless an operator stopped them before, and those that it does not name are
// stopped. A worker whose specification changed keeps running by the old one until it is restarted; see [Status.Outdated]. After an agent's start nothing
// is started before the first Set. The error says everything that is wrong with the specifications, and then nothing has changed.
func (s *Supervisor) Set(ctx context.Context, specs []Spec) error {
	var errs []error
	names := map[string]bool{}
	for _, spec := range specs {
		errs = append(errs, spec.validate())
		if names[spec.Name] {
			errs = append(errs, fmt.Errorf("worker name %q is given twice", spec.Name))
		}
		names[spec.Name] = true
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return s.do(ctx, func(l *loop) error { return l.set(specs) })
}

// Start undoes Stop: the worker is meant to run again. It returns once that is on disk; see Stop.
func (s *Supervisor) Start(ctx context.Context, name, cause string) error {
	return s.hold(ctx, name, cause, false)
}

// Stop ends a worker's process and keeps it ended, whatever Set says, until Start. It returns once that is on disk; a transition to stopped
// follows. With ErrNotRecorded the worker is stopped all the same, but the next agent may not know of it.
func (s *Supervisor) Stop(ctx context.Context, name, cause string) error {
	return s.hold(ctx, name, cause, true)
}

func (s *Supervisor) hold(ctx context.Context, name, cause string, held bool) error {
	return s.recorded(ctx, name, func(l *loop, m *member) error {
		m.held, m.encoded = held, nil
		l.want(m, cause)
		return nil
	})
}

// recorded runs a function on one worker in the loop and waits until what came of it is on disk, or cannot be brought there.
func (s *Supervisor) recorded(ctx context.Context, name string, f func(*loop, *member) error) error {
	done := make(chan error, 1)
	err := s.onMember(ctx, name, func(l *loop, m *member) error {
		if err := f(l, m); err != nil {
			return err
		}
		l.dirty = true
		l.afterCommit(func(err error) { done <- err })
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-s.ended:
		return ErrNotRunning
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Restart gives a worker a new process, by its present specification; one that waits after a crash tries again now. It returns at once.
func (s *Supervisor) Restart(ctx context.Context, name, cause string) error {
	return s.onMember(ctx, name, func(l *loop, m *member) error {
		l.step(m, life.Event{Kind: life.Restart, Cause: cause})
		return nil
	})
}

// Ready says that a worker is warm. It means nothing to one that is not warming up.
func (s *Supervisor) Ready(ctx context.Context, name string) error {
	return s.onMember(ctx, name, func(l *loop, m *member) error {
		l.step(m, life.Event{Kind: life.Ready})
		return nil
	})
}

// Expect says that a worker has begun something: it is to make progress within a span, and at the very most within another, 0 for none. Past
// the first span a worker that does not compute is stuck, past the other one any worker is; it is ended and started again.
func (s *Supervisor) Expect(ctx context.Context, name string, within, atMost time.Duration) error {
	return s.onMember(ctx, name, func(l *loop, m *member) error {
		m.watch.Expect(l.now(), within, atMost)
		l.sampleSoon(m, min(within, l.s.options.SampleEvery))
		return nil
	})
}

// Progress says that what was expected has come.
func (s *Supervisor) Progress(ctx context.Context, name string) error {
	return s.onMember(ctx, name, func(_ *loop, m *member) error {
		m.watch.Progress()
		m.slow = false
		return nil
	})
}

// Freeze stops a worker's processes until a time, at most the policy's FreezeMax from the first Freeze on; a later Freeze moves the
// time. The time is on disk before the processes stop, so that they go on in time under another agent too. The error is ErrWrongState for a worker that has
// no running process, and ErrNotRecorded when the state cannot be written.
func (s *Supervisor) Freeze(ctx context.Context, name string, until time.Time, cause string) error {
	return s.recorded(ctx, name, func(l *loop, m *member) error {
		l.step(m, life.Event{Kind: life.Freeze, Until: until, Cause: cause})
		if !m.life.Frozen() {
			return fmt.Errorf("freeze %s, which is %s: %w", name, m.life.State, ErrWrongState)
		}
		// The freezing itself waits for the same commit, and its turn is before the answer's.
		return nil
	})
}

// Thaw lets a frozen worker go on. It means nothing to one that is not frozen.
func (s *Supervisor) Thaw(ctx context.Context, name, cause string) error {
	return s.onMember(ctx, name, func(l *loop, m *member) error {
		l.step(m, life.Event{Kind: life.Thaw, Cause: cause})
		return nil
	})
}

// Snapshot returns the status of all workers, by name.
func (s *Supervisor) Snapshot(ctx context.Context) ([]Status, error) {
	var all []Status
	err := s.do(ctx, func(l *loop) error {
		all = l.snapshot()
		return nil
	})
	return all, err
}

// Tail returns the last lines that a worker printed, oldest first.
func (s *Supervisor) Tail(name string) []string { return s.capture.Tail(name) }

// LogPath returns a worker's present log file; older ones are beside it.
func (s *Supervisor) LogPath(name string) string { return logs.Path(s.options.Logs.Directory, name) }
