//go:build linux

package snarkpool

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"provingground/snarkpool/gpu"
	"provingground/snarkpool/ledger"
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/topology"
	"provingground/snarkpool/worker/verify"
)

// GPUs is what reads the GPUs of the machine, such as a reader of package gpu/nvml, or [gpu.None].
type GPUs interface {
	List(ctx context.Context) ([]gpu.Device, error)
	Read(ctx context.Context, uuid string) (gpu.Reading, error)
	Events(ctx context.Context, tell func(gpu.Event)) error
}

// Feed is a source of jobs for the fed workers.
type Feed struct {
	// Name is under which the ledger keeps its jobs: the same on all agents that share the source.
	Name   string
	Source ledger.Source
}

// Options are what an [Agent] needs. Name, PoolFile, StateDir and Launcher are required.
type Options struct {
	// Name is the host's name in the pool file, and the first part of its workers' names. Labels are the host's.
	Name   string
	Labels map[string]string
	// PoolFile is where the pool file comes from. An empty Cache is one in the state directory.
	PoolFile poolfile.Source
	// StateDir is the directory of everything that survives the agent. One agent owns it.
	StateDir string
	// Launcher is the program and arguments that call launch.Main.
	Launcher []string
	// Database is the address of a migrated PostgreSQL, a secret; empty takes what the pool file names. Without either there are no fed workers.
	Database string
	// Environ is the agent's environment: where the database's address may be, and what workers inherit a few harmless variables from, PATH among them.
	Environ []string
	// Version is the program's, for people.
	Version string

	// Inventory reads the machine; nil is [topology.Read] of this one.
	Inventory func() (topology.Machine, error)
	// Unpinned does not bind workers to the CPUs and memory nodes that the plan gives them, where the kernel forbids that.
	Unpinned bool
	// GPUs reads the GPUs; nil is none.
	GPUs GPUs
	// CheckGPU has a GPU prove that it computes correctly, and returns why it does not; nil is no check, and then an operator's word stands in for it.
	CheckGPU func(ctx context.Context, device gpu.Device) error
	// XIDs classes the driver's faults; the zero value fences on every one.
	XIDs gpu.XIDTable

	// Feeds are where fed workers' jobs come from.
	Feeds []Feed
	// Verifiers start the verifier process of each kind of proof. Fed workers of other kinds get no work, unless their pool verifies none.
	Verifiers map[string]func(context.Context) (verify.Process, error)

	// Logger is for what an operator would miss; nil is silence.
	Logger *zap.Logger
	// Now is the wall clock; nil is time.Now.
	Now func() time.Time
	// Timing bounds waits.
	Timing Timing
}

// Timing bounds an agent's waits. The zero value of a field means its default.
type Timing struct {
	// Lease is how long a job is leased; a third of it passes between renewals. 2 min.
	Lease time.Duration
	// Poll is how often the ledger and sources are asked for work when there was none. 1 s.
	Poll time.Duration
	// Tick is how often what depends on time is looked at. 1 s.
	Tick time.Duration
	// Warmup is how long a worker may take until it says that it is ready. 15 min.
	Warmup time.Duration
	// Silent is how long a worker with a job, adopted from an earlier agent, may go without computing before it is restarted. 1 min.
	Silent time.Duration
	// Sample is how often the supervisor samples the workers. 10 s.
	Sample time.Duration
	// Orphan is how long the last words of a process that ended are waited for. 2 s.
	Orphan time.Duration
	// Restart replaces the pool file's restart policy where one of its fields is set, for tests.
	Restart life.Policy
}

func (o Options) withDefaults() (Options, error) {
	var missing []error
	for what, absent := range map[string]bool{
		"a name": o.Name == "", "a pool file": o.PoolFile.Location == "", "a state directory": o.StateDir == "", "a launcher": len(o.Launcher) == 0,
	} {
		if absent {
			missing = append(missing, errors.New("the agent needs "+what))
		}
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.GPUs == nil {
		o.GPUs = gpu.None{Reason: gpu.NoSupport}
	}
	if o.Inventory == nil {
		o.Inventory = func() (topology.Machine, error) { return topology.Read("") }
	}
	t := &o.Timing
	for field, usual := range map[*time.Duration]time.Duration{
		&t.Lease: 2 * time.Minute, &t.Poll: time.Second, &t.Tick: time.Second, &t.Warmup: 15 * time.Minute, &t.Silent: time.Minute,
		&t.Sample: 10 * time.Second, &t.Orphan: 2 * time.Second,
	} {
		if *field == 0 {
			*field = usual
		}
	}
	return o, errors.Join(missing...)
}
