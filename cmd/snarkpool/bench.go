//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"provingground/cmd/internal/boot"
	"provingground/snarkpool/ledger"
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/supervise"
	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/worker/gnark"
)

func benching(o *options, set *flag.FlagSet) {
	set.IntVar(&o.number, "idle", 200, "how many idle workers to supervise, in a directory of their own that is removed afterwards")
	set.IntVar(&o.jobs, "jobs", 0, "give the running pool `N` jobs for prove gnark's workers, and wait for their proofs")
	set.DurationVar(&o.span, "for", 10*time.Second, "how long the idle workers are looked at")
}

func benchVerb(ctx context.Context, c call) error {
	switch {
	case c.given["jobs"] && (c.jobs < 1 || c.jobs > 1_000_000):
		return boot.Usagef("-jobs %d: give 1 to 1000000", c.jobs)
	case c.number < 1 || c.number > 10_000:
		return boot.Usagef("-idle %d: give 1 to 10000", c.number)
	case c.span < time.Second:
		return boot.Usagef("-for %s: give a second or more", c.span)
	case c.jobs > 0:
		return signalled(ctx, c.benchPool(ctx))
	}
	return signalled(ctx, c.benchIdle(ctx))
}

// poolFigures is what bench -jobs prints.
type poolFigures struct {
	Jobs            int     `json:"jobs"`
	Proved          int     `json:"proved"`
	Seconds         float64 `json:"seconds"`
	ProofsPerMinute float64 `json:"proofs_per_minute"`
}

// sink takes the proofs of bench's jobs and counts them.
type sink struct{ proved map[string]bool }

// Next implements [ledger.Source]: there are no jobs but those that were submitted.
func (s *sink) Next(context.Context, int) ([]ledger.Job, error) { return nil, nil }

// Deliver implements [ledger.Source].
func (s *sink) Deliver(_ context.Context, proof ledger.Proof) error {
	s.proved[proof.Job] = true
	return nil
}

const (
	benchBatch = 500
	benchPoll  = 100 * time.Millisecond
)

// benchPool gives the pool jobs and waits until all are proved.
func (c call) benchPool(ctx context.Context) error {
	keys, err := c.gnarkOptions()
	if err != nil {
		return err
	}
	verifyingKey, err := gnark.EnsureKeys(ctx, keys)
	if err != nil {
		return err
	}
	return c.withLedger(ctx, func(l *ledger.Ledger) error {
		name := "bench-" + uuid.NewString()
		var batch []ledger.Job
		begun := time.Now()
		for i := range c.jobs {
			batch = append(batch, ledger.Job{ID: fmt.Sprintf("%s-%d", name, i), Kind: gnark.Kind, VerifyingKey: verifyingKey, Statement: keys.Statement(name, uint64(i))})
			if len(batch) == benchBatch || i == c.jobs-1 {
				if _, err := l.Submit(ctx, name, batch); err != nil {
					return err //nolint:wrapcheck // says it all
				}
				batch = batch[:0]
			}
		}
		taken := &sink{proved: make(map[string]bool)}
		tick := time.NewTicker(benchPoll)
		defer tick.Stop()
		for told := time.Now(); len(taken.proved) < c.jobs; {
			n, err := l.Deliver(ctx, name, taken, benchBatch)
			if err != nil && !errors.Is(err, ledger.ErrUnavailable) { // a private database goes and comes with its agent
				return err //nolint:wrapcheck // says it all
			}
			if time.Since(told) > 10*time.Second {
				told = time.Now()
				away := ""
				if err != nil {
					away = "; the database is away"
				}
				_, _ = fmt.Fprintf(c.stderr, "%d of %d proved%s\n", len(taken.proved), c.jobs, away)
			}
			if n > 0 {
				continue
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		took := time.Since(begun)
		figures := poolFigures{Jobs: c.jobs, Proved: len(taken.proved), Seconds: took.Seconds(), ProofsPerMinute: float64(c.jobs) / took.Minutes()}
		if c.json {
			return c.print(figures)
		}
		_, err := fmt.Fprintf(c.stdout, "%d jobs proved in %.1f s: %.1f proofs a minute\n", figures.Jobs, figures.Seconds, figures.ProofsPerMinute)
		return err //nolint:wrapcheck // says that standard output failed
	})
}

// idleFigures is what bench prints.
type idleFigures struct {
	Workers int `json:"workers"`
	// StartSeconds is from the first order until all run, BackSeconds from the killing of all at once until all run again.
	StartSeconds float64 `json:"start_seconds"`
	BackSeconds  float64 `json:"back_seconds"`
	// NoticedP50Ms and NoticedP99Ms are from the killing of a worker until its death was known.
	NoticedP50Ms float64 `json:"noticed_p50_ms"`
	NoticedP99Ms float64 `json:"noticed_p99_ms"`
	// CPUShare is the agent's share of one core while all are idle, from 0 to 1.
	CPUShare    float64 `json:"cpu_share"`
	MemoryBytes uint64  `json:"memory_bytes"`
	Threads     int     `json:"threads"`
}

// kills is how many workers are killed one by one.
const kills = 100

// benchIdle supervises idle workers.
func (c call) benchIdle(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "snarkpool-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	transitions := make(chan supervise.Event, 16*c.number+1024) // more than there can be, so that the loop never waits
	s, err := supervise.New(supervise.Options{
		StateDir: dir, Launcher: []string{"/proc/self/exe", launchVerb}, Policy: life.Policy{MinUptime: time.Nanosecond, CrashLoopExits: 1 << 30},
		Events: func(e supervise.Event) {
			select {
			case transitions <- e:
			default:
			}
		},
	})
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(running) }()
	figures, err := c.watchIdle(ctx, s, transitions)
	if cleared := s.Set(context.WithoutCancel(ctx), nil); cleared == nil { // no worker is left behind
		cleared = awaitStopped(context.WithoutCancel(ctx), s)
		err = errors.Join(err, cleared)
	}
	cancel()
	if stopped := <-ended; !errors.Is(stopped, context.Canceled) {
		err = errors.Join(err, stopped)
	}
	if err != nil {
		return err
	}
	if c.json {
		return c.print(figures)
	}
	_, err = fmt.Fprintf(c.stdout, "%d idle workers\nall started           %.2f s\na death is noticed    %.2f ms (half of them), %.2f ms (99 %%)\nall killed, all back  %.2f s\n"+
		"agent                 %.2f %% of a core, %s of memory, %d threads\n", figures.Workers, figures.StartSeconds, figures.NoticedP50Ms, figures.NoticedP99Ms, figures.BackSeconds,
		100*figures.CPUShare, poolfile.Bytes(figures.MemoryBytes).Round(), figures.Threads)
	return err //nolint:wrapcheck // says that standard output failed
}

// awaitStopped waits until no worker has a process.
func awaitStopped(ctx context.Context, s *supervise.Supervisor) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(benchPoll)
	defer tick.Stop()
	for {
		all, err := s.Snapshot(ctx)
		if err != nil {
			return err //nolint:wrapcheck // says it all
		}
		if !slices.ContainsFunc(all, func(w supervise.Status) bool { return w.PID != 0 }) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("ending the workers: %w", context.Cause(ctx))
		}
	}
}

func (c call) watchIdle(ctx context.Context, s *supervise.Supervisor, transitions <-chan supervise.Event) (figures idleFigures, err error) {
	figures.Workers = c.number
	specs := make([]supervise.Spec, c.number)
	for i := range specs {
		specs[i] = supervise.Spec{Name: fmt.Sprintf("bench/idle/%d", i), Command: []string{"sleep", "100000"}, Env: []string{"PATH=" + c.env("PATH")}}
	}
	pids := make(map[string]int)
	awaitRunning := func(n int) error {
		for n > 0 {
			select {
			case e := <-transitions:
				if e.To == life.Running && e.From != e.To {
					pids[e.Name] = e.PID
					n--
				}
				if e.To == life.Broken || e.To == life.Blocked {
					return fmt.Errorf("%s cannot be started: %s", e.Name, e.Cause)
				}
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	}
	begun := time.Now()
	if err := s.Set(ctx, specs); err != nil {
		return figures, err
	}
	if err := awaitRunning(c.number); err != nil {
		return figures, err
	}
	figures.StartSeconds = time.Since(begun).Seconds()

	before, begun := ownCPU(), time.Now()
	timer := time.NewTimer(c.span)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return figures, context.Cause(ctx)
	}
	figures.CPUShare = (ownCPU() - before).Seconds() / time.Since(begun).Seconds()
	figures.MemoryBytes, figures.Threads = ownMemory()

	var noticed []float64
	for i := range min(kills, c.number) {
		name := specs[i].Name
		begun := time.Now()
		if err := unix.Kill(pids[name], unix.SIGKILL); err != nil {
			return figures, fmt.Errorf("killing %s: %w", name, err)
		}
		for dead := false; !dead; {
			select {
			case e := <-transitions:
				dead = e.Name == name && e.To == life.Exited
			case <-ctx.Done():
				return figures, context.Cause(ctx)
			}
		}
		noticed = append(noticed, float64(time.Since(begun).Microseconds())/1000)
		if err := awaitRunning(1); err != nil {
			return figures, err
		}
	}
	slices.Sort(noticed)
	figures.NoticedP50Ms, figures.NoticedP99Ms = noticed[len(noticed)/2], noticed[len(noticed)*99/100]

	begun = time.Now()
	for name, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			return figures, fmt.Errorf("killing %s: %w", name, err)
		}
	}
	if err := awaitRunning(c.number); err != nil {
		return figures, err
	}
	figures.BackSeconds = time.Since(begun).Seconds()
	return figures, nil
}

// ownCPU is the CPU time of this process.
func ownCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// ownMemory is the resident memory of this process, and its threads.
func ownMemory() (bytes uint64, threads int) {
	runtime.GC()
	content, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(content)) {
		var kib uint64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			bytes = kib << 10
		}
		_, _ = fmt.Sscanf(line, "Threads: %d", &threads) // most lines are others
	}
	return bytes, threads
}
