// Package snarkpool is the agent of one machine of the SNARK worker pool (snark-pool): it keeps exactly the planned workers running, gives work to those
// that want to be fed, reads what the others do from their logs, and loses no proof when somebody deploys, drains, pauses or crashes.
//
// An [Agent] owns a few goroutines. One of them, the engine, holds the state of all workers and alone changes it; everybody else sends it functions to
// run, so that nothing here needs a lock. The packages below do the work:
//
//	poolfile, topology, gpu, plan   which workers this machine is to have, and where        applying.go, gpus.go
//	supervise                       their processes                                          supervising.go
//	worker, ledger                  jobs in, proofs out, for fed workers                     feeding.go, leasing.go, judging.go, storing.go, outside.go
//	worker/minalog                  the lines of workers that fetch their own work           pulling.go
//	control, metrics                what people ask, and what Prometheus asks                commands.go, status.go, figures.go
//
// A job's way: a Source's job is stored in the ledger, leased for an idle worker, noted on disk, and sent. The proof that comes back is on disk, in the
// spool, before the worker counts as idle again; from there the ledger's courier has it verified by a process of its own and stores it, and it goes back
// to its Source.
//
// Whatever ends a worker, the engine first brings it to rest: no new job, and the one that is out is awaited (draining.go). Restarts, recycling and a
// changed pool file are all the same renewal, a few workers at a time (rolling.go). Only stop and restart with now, a GPU that is not trusted any more, and a
// worker that breaks the rules end a process that still proves.
//
// # What survives
//
// Workers live on without their agent, and the next one adopts them. It knows from the state directory which job each has (feeding/), what operators
// asked for (intents.json), the plan in force (plan.json), what workers said and was not dealt with (journal), and the proofs that the database does not have
// yet (spool/). Only an agent that is killed in the very moment between reading a proof from a pipe and writing it to the journal loses that proof, not its
// job: the worker is found idle, is restarted, and the job is proved again.
package snarkpool
