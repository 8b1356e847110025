// Package poolfile reads the pool file: one JSON file, the same for every machine of a pool, that says which workers run where and how
// (snark-pool, section 2). It holds no secrets. Reading is strict: an unknown key is an error with its line, column and a suggestion, and all
// errors are reported at once.
//
// [Parse] reads a text, [Load] a path or a pinned address with a cached last good copy, and [File.ForHost] says what a file means for one host.
package poolfile

import (
	"time"
)

// File is a pool file with its defaults filled in. It is not changed after [Parse], so it is safe for concurrent use.
type File struct {
	// Version is the version of the file's format: 1.
	Version int
	// Name is the pool's name.
	Name    string
	Control Control
	// Database says where the address of the database is: "env:NAME" or "file:PATH"; "" for no database.
	Database string
	// Hosts are the rules that give hosts their pools, in the file's order.
	Hosts []HostRule
	Pools map[string]Pool
	// Restart says when a worker that ended is started again.
	Restart Restart
	// StartsPerSecond bounds a host's starts of workers; 50 by default.
	StartsPerSecond int
	// Warmups is how many workers of a host may warm up at once; 4 by default.
	Warmups int
	Pause   Pause
	// Digest is the sha256 of the file's bytes, as hex.
	Digest string
	// Stale is why this is the cached copy and not the file itself; "" when it is the file.
	Stale string
	// Uncached is why this file could not be kept as the last good copy; "" when it was, or when there is no cache.
	Uncached string
}

// Control says who may command the agents.
type Control struct {
	// KeysFile names the file of public keys and their roles; "" allows nobody but the local socket.
	KeysFile string
}

// HostRule gives the hosts that it matches their pools.
type HostRule struct {
	Match   Match
	Reserve Reserve
	// Pools are by the pools' names.
	Pools map[string]Share
}

// Match says which hosts a rule is for: the one of this name, those with all of these labels, or both. An empty one is for every host.
type Match struct {
	Host   string
	Labels map[string]string
}

// Reserve is what a host keeps for the agent and the system.
type Reserve struct {
	// Cores is a number of physical cores; nil for the default, one per memory node.
	Cores *int
	// Memory is 1GiB by default.
	Memory Bytes
}

// Share is how many workers of a pool a host has; exactly one of its fields is set.
type Share struct {
	// Auto is as many as fit.
	Auto bool
	// Workers is a number; it may be 0.
	Workers *int
	// PerGPU is so many on each GPU, for a pool whose workers use one GPU.
	PerGPU int
}

// The kinds of workers.
const (
	KindMina = "mina" // pulls its work from a coordinator, and is read through its log
	KindFed  = "fed"  // gets its work from the agent
)

// The ways of a worker's threads with the SMT siblings of its cores.
const (
	SMTSiblings = "siblings" // one core per thread; the core's siblings come with it (the default)
	SMTShare    = "share"    // one thread per sibling: 6 threads on 3 cores
	SMTOff      = "off"      // one core per thread; the core's other siblings stay idle
)

// The ways of a worker with memory nodes.
const (
	NUMAStrict = "strict" // cores and memory of one node, near its GPU, or no worker (the default)
	NUMAPrefer = "prefer" // one node where it fits, else several
)

// Which proofs of a fed worker are verified.
const (
	VerifyAll    = "all"    // the default
	VerifySample = "sample" // fewer as trust in the worker grows
	VerifyNone   = "none"
)

// The ways of draining a worker.
const (
	DrainFeed            = "feed"             // send it no more work; for fed workers, whose default it is
	DrainCoordinatorFile = "coordinator-file" // write a dead address to its snark_coordinator file; the default of pull workers
	DrainGate            = "gate"             // let the gate answer that there is no work
	DrainSignal          = "signal"           // the last resort: its proof may be lost
)

// Whether a GPU must pass the capability check before a worker runs on it.
const (
	CheckRequire = "require" // the default
	CheckSkip    = "skip"
)

// Pool is a kind of worker.
type Pool struct {
	// Kind is KindMina or KindFed.
	Kind string
	// Command is the executable and its arguments. It and the values of Env may hold the [Variables].
	Command []string
	// Coordinator is where pull workers fetch their work: HOST:PORT, or gate:NAME.
	Coordinator string
	// Verify is VerifyAll, VerifySample or VerifyNone.
	Verify string
	// Drain is DrainFeed, DrainCoordinatorFile, DrainGate or DrainSignal.
	Drain string
	// Threads is how many threads a worker computes with, at least 1.
	Threads int
	// SMT is SMTSiblings, SMTShare or SMTOff.
	SMT string
	// NUMA is NUMAStrict or NUMAPrefer.
	NUMA     string
	Memory   Memory
	Requires Requires
	// ProofDeadline is how long one proof may take; 0 for no fixed limit.
	ProofDeadline time.Duration
	Recycle       Recycle
	// GPU is nil for a pool without GPUs.
	GPU *GPU
	// Env is added to a worker's environment.
	Env map[string]string
	// MaxUnavailable is how many workers of a host are rolled at once; 1 by default.
	MaxUnavailable int
	// LogRules are regular expressions for the lines of a pull worker's log, by the names that the log's reader gives them; they replace the
	// built-in ones.
	LogRules map[string]string
}

// Memory bounds a worker's memory. At High the kernel slows it, at Max it ends it; 0 is no bound. A placement counts Max, or else High.
type Memory struct{ High, Max Bytes }

// Requires is what a machine must have.
type Requires struct {
	// CPUFlags are as /proc/cpuinfo spells them.
	CPUFlags []string
}

// Recycle says when a worker is replaced by a fresh one; a zero is never.
type Recycle struct {
	AfterHours  float64
	AfterProofs int
	AboveMemory Bytes
}

// GPU is what a worker needs of GPUs.
type GPU struct {
	// Count is how many whole GPUs one worker uses, at least 1.
	Count int
	// MemoryFree is how much free memory one worker needs on each; 0 for no need.
	MemoryFree Bytes
	// Check is CheckRequire or CheckSkip.
	Check string
}

// Restart is when a worker that ended is started again.
type Restart struct {
	// MinUptime is how long a worker must have lived to be started again at once; 30 s by default.
	MinUptime time.Duration
	// Initial and Max bound the delay after shorter lives; 500 ms and 60 s by default.
	Initial, Max time.Duration
	CrashLoop    CrashLoop
}

// CrashLoop is when a worker is broken: after so many exits within so long; 5 within 5 minutes by default.
type CrashLoop struct {
	Exits  int
	Within time.Duration
}

// Pause bounds pauses that stop work at once.
type Pause struct {
	// HardMax is the longest that a worker may be frozen; 60 s by default.
	HardMax time.Duration
}
