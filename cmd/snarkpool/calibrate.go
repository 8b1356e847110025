//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"provingground/cmd/internal/boot"
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/topology"
	"provingground/snarkpool/worker"
	"provingground/snarkpool/worker/gnark"
)

func calibrating(o *options, set *flag.FlagSet) {
	set.Func("threads", "threads of a worker, a `LIST` such as 1,2,4; default 1, 2, 4 … up to the cores", listInto(&o.threads))
	set.Func("workers", "workers at once, a `LIST` such as 1,2,4; default as many as the cores hold with each number of threads, and half of them", listInto(&o.workers))
	set.DurationVar(&o.span, "for", 20*time.Second, "how long each combination is measured")
}

// measurement is what one combination of threads and workers gave.
type measurement struct {
	Threads int `json:"threads"`
	Workers int `json:"workers"`
	// Proofs is how many were made in Seconds of all workers, after each had made one.
	Proofs          int     `json:"proofs"`
	Seconds         float64 `json:"seconds"`
	ProofsPerMinute float64 `json:"proofs_per_minute"`
	// SecondsPerProof is the median of a worker's proving time.
	SecondsPerProof float64 `json:"seconds_per_proof"`
	// MemoryBytes is the most that one worker took.
	MemoryBytes uint64 `json:"memory_bytes"`
	Recommended bool   `json:"recommended,omitempty"`
}

// enough is which share of the most proofs per minute a combination must reach to be recommended for needing fewer workers, and thus less memory.
const enough = 0.97

func calibrateVerb(ctx context.Context, c call) error {
	if c.span < time.Second {
		return boot.Usagef("-for %s: give a second or more; 20 s tell something", c.span)
	}
	keys, err := c.gnarkOptions()
	if err != nil {
		return err
	}
	machine, err := topology.Read("")
	if err != nil {
		return fmt.Errorf("reading the machine: %w", err)
	}
	cores := wholeCores(machine)
	combinations := c.combinations(len(cores))
	if len(combinations) == 0 {
		return boot.Usagef("no combination of -threads and -workers fits on %s", count(uint64(len(cores)), "core", "cores"))
	}
	if err := os.MkdirAll(filepath.Dir(keys.KeyDirectory), 0o755); err != nil { //nolint:gosec // as open as the agent makes it
		return boot.Usage(err)
	}
	if keys.VerifyingKey, err = gnark.EnsureKeys(ctx, keys); err != nil {
		return signalled(ctx, err)
	}
	verifier, err := gnark.NewVerifier(ctx, keys)
	if err != nil {
		return err
	}
	var all []measurement
	for i, m := range combinations {
		_, _ = fmt.Fprintf(c.stderr, "%d of %d: %s of %s, %s\n", i+1, len(combinations), count(uint64(m.Workers), "worker", "workers"),
			count(uint64(m.Threads), "thread", "threads"), c.span)
		measured, err := c.measure(ctx, m, keys, verifier, cores)
		if err != nil {
			return signalled(ctx, err)
		}
		all = append(all, measured)
	}
	all[recommended(all)].Recommended = true
	return c.printMeasurements(all)
}

// wholeCores returns the CPUs of each core that workers may use whole, node by node.
func wholeCores(m topology.Machine) []topology.CPUSet {
	type place struct{ node, core int }
	byCore := make(map[place]topology.CPUSet)
	closed := make(map[place]bool)
	for _, cpu := range m.CPUs {
		at := place{cpu.Node, cpu.Core}
		if !m.Allowed.Contains(cpu.ID) {
			closed[at] = closed[at] || cpu.Online
			continue
		}
		byCore[at] = byCore[at].Union(topology.NewCPUSet(cpu.ID))
	}
	var places []place
	for at := range byCore {
		if !closed[at] {
			places = append(places, at)
		}
	}
	slices.SortFunc(places, func(a, b place) int {
		if a.node != b.node {
			return a.node - b.node
		}
		return a.core - b.core
	})
	cores := make([]topology.CPUSet, len(places))
	for i, at := range places {
		cores[i] = byCore[at]
	}
	return cores
}

// combinations returns what is measured on so many cores, a core for each thread.
func (c call) combinations(cores int) []measurement {
	threads := c.threads
	if threads == nil {
		for n := 1; n < cores; n *= 2 {
			threads = append(threads, n)
		}
		threads = append(threads, cores)
	}
	var all []measurement
	for _, t := range threads {
		workers := c.workers
		if workers == nil {
			workers = []int{cores / t / 2, cores / t}
		}
		for _, w := range slices.Compact(workers) {
			if w > 0 && t > 0 && w*t <= cores {
				all = append(all, measurement{Threads: t, Workers: w})
			}
		}
	}
	return all
}

// recommended returns the index of the combination to take: of those that give nearly the most, the one with the fewest workers.
func recommended(all []measurement) int {
	most := slices.MaxFunc(all, func(a, b measurement) int { return cmp.Compare(a.ProofsPerMinute, b.ProofsPerMinute) }).ProofsPerMinute
	best, fewest := 0, math.MaxInt
	for i, m := range all {
		if m.ProofsPerMinute >= enough*most && m.Workers < fewest {
			best, fewest = i, m.Workers
		}
	}
	return best
}

// measure runs a combination.
func (c call) measure(ctx context.Context, m measurement, keys gnark.Options, verifier *gnark.Verifier, cores []topology.CPUSet) (measurement, error) {
	provers := make([]*prover, 0, m.Workers)
	defer func() {
		for _, p := range provers {
			p.end()
		}
	}()
	for i := range m.Workers {
		var cpus topology.CPUSet
		for _, core := range cores[i*m.Threads : (i+1)*m.Threads] {
			cpus = cpus.Union(core)
		}
		p, err := c.startProver(ctx, keys, m.Threads, cpus)
		if err != nil {
			return m, err
		}
		provers = append(provers, p)
	}
	// Each makes one proof first, which it alone pays the loading of the keys for.
	warming, warmed := errgroup.WithContext(ctx)
	for i, p := range provers {
		warming.Go(func() error { return p.prove(warmed, keys, verifier, fmt.Sprintf("calibrate-warm-%d", i), 0) })
	}
	if err := warming.Wait(); err != nil {
		return m, err
	}
	begun := time.Now()
	end := begun.Add(c.span)
	proving, running := errgroup.WithContext(ctx)
	for i, p := range provers {
		p.seconds = nil
		proving.Go(func() error {
			for n := uint64(0); n == 0 || time.Now().Before(end); n++ {
				if err := p.prove(running, keys, verifier, fmt.Sprintf("calibrate-%d", i), n); err != nil {
					return err
				}
			}
			p.took = time.Since(begun)
			return nil
		})
	}
	if err := proving.Wait(); err != nil {
		return m, err
	}
	var seconds []float64
	for _, p := range provers {
		seconds = append(seconds, p.seconds...)
		m.Proofs += len(p.seconds)
		m.ProofsPerMinute += float64(len(p.seconds)) / p.took.Minutes() // each by its own time: the last proofs end at different ones
		m.Seconds = max(m.Seconds, p.took.Seconds())
		m.MemoryBytes = max(m.MemoryBytes, p.memory())
	}
	slices.Sort(seconds)
	m.SecondsPerProof = seconds[len(seconds)/2]
	return m, nil
}

// prover is a prove gnark process.
type prover struct {
	process *exec.Cmd
	session *worker.Session
	log     *tail
	seconds []float64
	took    time.Duration
}

// startProver starts a prover on some CPUs.
func (c call) startProver(ctx context.Context, keys gnark.Options, threads int, cpus topology.CPUSet) (_ *prover, err error) {
	self, err := executable()
	if err != nil {
		return nil, err
	}
	var pipes []*os.File
	defer func() {
		for _, pipe := range pipes {
			err = errors.Join(err, pipe.Close())
		}
	}()
	jobsRead, jobsWrite, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting a prover: %w", err)
	}
	pipes = append(pipes, jobsRead)
	proofsRead, proofsWrite, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting a prover: %w", err), jobsWrite.Close())
	}
	pipes = append(pipes, proofsWrite)
	p := &prover{log: &tail{}}
	p.process = exec.CommandContext(ctx, self, append([]string{"prove", "gnark"}, sameKeys(keys)...)...) //nolint:gosec // this very program
	p.process.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", threads))
	p.process.ExtraFiles = []*os.File{jobsRead, proofsWrite} // descriptors 3 and 4
	p.process.Stderr = p.log
	if err := startOn(p.process, cpus); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a prover: %w", err), jobsWrite.Close(), proofsRead.Close())
	}
	p.session = worker.NewSession(proofsRead, jobsWrite)
	return p, nil
}

// startOn starts a process that may use some CPUs only: it inherits that from the thread that starts it.
func startOn(process *exec.Cmd, cpus topology.CPUSet) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, there unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("reading the affinity: %w", err)
	}
	for _, id := range cpus {
		there.Set(id)
	}
	if err := unix.SchedSetaffinity(0, &there); err != nil {
		return fmt.Errorf("binding to CPUs %s: %w", cpus, err)
	}
	return errors.Join(process.Start(), unix.SchedSetaffinity(0, &before))
}

// prove has the prover prove one statement, and verifies the proof.
func (p *prover) prove(ctx context.Context, keys gnark.Options, verifier *gnark.Verifier, series string, number uint64) error {
	if _, known := p.session.Hello(); !known {
		message, err := p.session.Receive(ctx)
		if err != nil {
			return p.failed(err)
		}
		if _, ok := message.(worker.Hello); !ok {
			return fmt.Errorf("a prover began with %T", message)
		}
	}
	job := worker.Job{ID: fmt.Sprintf("%s-%d", series, number), Attempt: 1, Lease: 1, Statement: keys.Statement(series, number)}
	if err := p.session.Send(ctx, job); err != nil {
		return p.failed(err)
	}
	for {
		message, err := p.session.Receive(ctx)
		if err != nil {
			return p.failed(err)
		}
		switch m := message.(type) {
		case worker.Proof:
			p.seconds = append(p.seconds, m.Seconds)
			if err := verifier.Verify(ctx, job.Statement, m.Proof); err != nil {
				return fmt.Errorf("a proof of this machine does not hold, so its figures mean nothing: %w", err)
			}
			return nil
		case worker.Failed:
			return fmt.Errorf("a prover could not prove: %s", m.Reason)
		default:
		}
	}
}

// failed says why a prover gave no proof, with its last words.
func (p *prover) failed(err error) error {
	if words := p.log.String(); words != "" {
		return fmt.Errorf("a prover failed: %w: %s", err, words)
	}
	return fmt.Errorf("a prover failed: %w", err)
}

// memory returns the most memory that the prover has taken; 0 when not known.
func (p *prover) memory() uint64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.process.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		var kib uint64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}

// end ends the prover and waits for it.
func (p *prover) end() {
	_ = p.session.Close()        // it has no job
	_ = p.process.Process.Kill() // it may have ended by that
	_ = p.process.Wait()         // it was killed
}

func (c call) printMeasurements(all []measurement) error {
	var rows [][]string
	for _, m := range all {
		if c.json {
			if err := c.print(m); err != nil {
				return err
			}
			continue
		}
		remark := ""
		if m.Recommended {
			remark = "recommended"
		}
		rows = append(rows, []string{
			fmt.Sprint(m.Threads), fmt.Sprint(m.Workers), fmt.Sprint(m.Proofs), fmt.Sprintf("%.1f", m.ProofsPerMinute), fmt.Sprintf("%.2f", m.SecondsPerProof),
			poolfile.Bytes(m.MemoryBytes).Round(), remark,
		})
	}
	if c.json {
		return nil
	}
	best := all[slices.IndexFunc(all, func(m measurement) bool { return m.Recommended })]
	_, err := io.WriteString(c.stdout, table([]string{"THREADS", "WORKERS", "PROOFS", "PROOFS/MIN", "S/PROOF", "MEMORY", ""}, rows, 0)+
		fmt.Sprintf("\nin the pool file: \"threads\": %d, \"workers\": %d, \"memory\": {\"max\": \"%s\"}\nIt is measured with prove gnark; Mina's provers scale differently.\n",
			best.Threads, best.Workers, (poolfile.Bytes(best.MemoryBytes*2)/poolfile.MiB+1)*poolfile.MiB))
	return err //nolint:wrapcheck // says that standard output failed
}

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-2000):]
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.text)) }
