// Package plan decides which worker runs where on one machine: a pure function from the machine, its GPUs and the pool file to a plan that
// explains itself (snark-pool, section 3). [Make] is the whole of it; the same input gives the same plan, byte for byte.
//
// The rules, in the order in which they are applied:
//
//   - The agent's own cores come first: as many as the host's rule reserves, else one per memory node, the slower ones where a machine has
//     two kinds. No worker gets them.
//   - Then the pools with GPUs, then those with a number of workers, then those with "auto" workers in turns; larger workers before smaller
//     ones, then by name. A pool with GPUs gets cores of the node that its GPU is attached to.
//   - A worker gets whole cores, with all their SMT siblings, on one memory node, and where possible below one cache. Workers of one pool are
//     spread over the nodes, because provers want memory bandwidth.
//   - The memory of a worker (its max, else its high) is taken from the memory of its node, and never given twice.
//   - What was planned before stays where it is, unless that would cost a worker.
package plan

import (
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/topology"
)

// Input is all that a plan depends on.
type Input struct {
	// Host is the host's name in the pool file, and the first part of its workers' names.
	Host    string
	Machine topology.Machine
	// GPUs are all GPUs of the machine that workers may use, in a stable order. One that has vanished stays here, blocked, as long as its
	// workers shall keep their place.
	GPUs  []GPU
	Pools poolfile.HostPools
	// Previous is the plan in force, nil for none.
	Previous *Plan
}

// GPU is what a placement needs to know of one GPU, or of one MIG instance.
type GPU struct {
	UUID  string
	Model string
	// Node is the memory node that it is attached to, -1 when not known.
	Node int
	// CPUs are those near to it; they tell the node where Node does not.
	CPUs []int
	// MemoryBytes is its whole memory; 0 when not known.
	MemoryBytes uint64
	// MemoryFree is what processes other than the pool's own workers leave of its memory; nil when not known.
	MemoryFree *uint64
	// Checked says that it passed the capability check.
	Checked bool
	// Blocked is why no worker may run on it now (fenced, gone); "" for none. Its workers are planned all the same, and wait.
	Blocked string
}

// Plan is which workers a host runs, and where. It is made to be stored as JSON.
type Plan struct {
	Host string `json:"host"`
	// FileDigest is the sha256 of the pool file that it was made from.
	FileDigest string `json:"file_digest"`
	// Control are the CPUs of the agent itself; empty when none are reserved.
	Control topology.CPUSet `json:"control"`
	// ReservedMemory is what no worker gets.
	ReservedMemory poolfile.Bytes `json:"reserved_memory"`
	// Workers are sorted as their pools' names and indexes are.
	Workers []Worker `json:"workers"`
	// Unplaced are the workers that the pool file asks for by number and that have no place.
	Unplaced []Unplaced `json:"unplaced,omitempty"`
	// WhyNotMore says of each pool what keeps it from having more workers.
	WhyNotMore map[string][]string `json:"why_not_more,omitempty"`
	// Warnings are what a careful operator would mend.
	Warnings []string `json:"warnings,omitempty"`
	// Machine is the line that begins an explanation.
	Machine string `json:"machine"`
	// Digest is the sha256 of all of the above, as hex.
	Digest string `json:"digest"`
}

// Worker is one worker's resolved specification.
type Worker struct {
	// Name is host/pool/index, such as bm7/gpu/0.
	Name  string `json:"name"`
	Pool  string `json:"pool"`
	Index int    `json:"index"`
	Kind  string `json:"kind"`
	// CPUs are those it is bound to. Threads is how many it computes with.
	CPUs    topology.CPUSet `json:"cpus"`
	Threads int             `json:"threads"`
	// Cores and Caches are how many physical cores and last-level caches CPUs belong to.
	Cores  int `json:"cores"`
	Caches int `json:"caches"`
	// MemoryNodes are those it may allocate from.
	MemoryNodes topology.CPUSet `json:"memory_nodes"`
	// MemoryHigh and MemoryMax are its limits; 0 for none.
	MemoryHigh poolfile.Bytes `json:"memory_high,omitempty"`
	MemoryMax  poolfile.Bytes `json:"memory_max,omitempty"`
	// GPUs are UUIDs; they are in Env as CUDA_VISIBLE_DEVICES too.
	GPUs    []string          `json:"gpus,omitempty"`
	Command []string          `json:"command"`
	Env     map[string]string `json:"env,omitempty"`
	// Digest is the sha256 of all of the above, as hex: a worker whose digest has changed must be rolled.
	Digest string `json:"digest"`

	// Coordinator is where a pull worker fetches its work. It can be changed while the worker runs, so it is not in Digest, unless the command
	// or the environment holds ${coordinator}.
	Coordinator string `json:"coordinator,omitempty"`
	// MemoryByNode is where its memory is counted.
	MemoryByNode map[int]poolfile.Bytes `json:"memory_by_node,omitempty"`
	// Blocked is why it may not run now; "" for no reason.
	Blocked string `json:"blocked,omitempty"`
}

// Unplaced is a worker that is asked for and has no place.
type Unplaced struct {
	Name   string `json:"name"`
	Pool   string `json:"pool"`
	Reason string `json:"reason"`
}
