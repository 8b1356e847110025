// Package ledger knows which SNARK jobs there are, who may prove each until when, and which proof of a job counts; beside that the pool's
// hosts, fenced GPUs, audit and history. What is shared lies in PostgreSQL, in the tables snark_pool_…, and several agents use it at once
// (snark-pool, section 5).
//
// The way of a job:
//
//		Source ─ Fetch → waiting ─ Lease → held ─ proof → proved ─ Deliver → Source
//		                    ↑                │
//		                    └── time ran out, Release, Failure, Distrust
//
//	  - A lease has an epoch: the number of the attempt. One whose time ran out, or that was given back, is followed by one with a higher
//	    epoch.
//	  - A proof is for a job, the statement it was given and a verifying key. Of all proofs of a job one counts, however many arrive, and how
//	    often the same one is told. A proof whose lease is over is late: it counts if no other does.
//	  - The ledger does not verify. Who delivers a proof says what the independent verifier said of it, [Proof].Verdict. An invalid one breaks
//	    its worker: it gets no further leases, and those of its proofs that count unverified cease to, so that their jobs are proved again.
//	    Which proofs are to be verified is a pure function of the worker's [Standing], [Sampling.MustVerify].
//
// While PostgreSQL is away, and before anything else, proofs and events go to a [Spool], a bounded directory. A [Courier] takes them from
// there to the ledger in order. The ledger notes in the same transaction how far it came, so an answer that was lost, a killed agent and a
// restarted PostgreSQL neither lose an entry nor store one twice.
//
// All times in leases are the database's; agents' clocks may differ.
package ledger
