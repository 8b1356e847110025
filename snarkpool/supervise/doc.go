//go:build linux

// Package supervise keeps the planned workers of one machine running: one process per name, started, watched, stopped, frozen and
// started again, whatever becomes of the worker or of the agent.
//
// A [Supervisor] is told what should be ([Supervisor.Set]) and brings it about. What it decides comes from package life, a pure state
// machine; the loop in this package only performs it. A handful of goroutines serve any number of workers:
//
//   - the loop owns all state and is the only one to change it;
//   - the poller waits, by epoll, for the pidfds of all workers and the answers of launchers;
//   - the spawner makes processes, one after the other;
//   - the committer writes the state file;
//   - the sampler reads CPU time and memory from /proc;
//   - two more, in package logs, read what the workers print and write it to files.
//
// # What survives
//
// A worker belongs to its name, not to the agent. Its streams are named pipes that it holds open itself for reading and writing, so that the
// death of the agent neither ends it nor loses what it prints: it fills the pipe until the next agent reads on. Before a worker's program
// runs, its identity (process ID, start time, boot) is on disk: the launcher waits for that (package launch). So an agent
// that is killed at any moment leaves only workers that the next one finds and adopts, and launchers that end by themselves. Should the state file
// be lost, they are found by a mark in their environment.
//
// [Supervisor.Replace] puts a new program in the agent's place by execve(2): it stays the same process, the parent of its workers, and
// hands over its descriptors, and with them exit statuses, pipes and half-read lines.
//
// # What the kernel must offer
//
// Linux 5.14 or later on a 64-bit machine. With a delegated cgroup of version 2 a worker and all its descendants are ended and frozen as one, and the kernel
// enforces memory limits where the memory controller is delegated too. Without, it is the worker's process group that is ended and frozen, descendants
// that left it are found by their mark once their worker is gone, and memory limits are enforced by sampling. [Status] says which.
package supervise
