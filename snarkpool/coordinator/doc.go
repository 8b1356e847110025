// Package coordinator is the protocol by which provers outside of a simulated network fetch SNARK work from one of its coordinators and hand
// proofs in: the messages, their bounds, and a client. It is our own and not Mina's RPC, which only workers of the same build speak; the
// course of things is that of snark-worker, sections 2 and 6. docs/simnet.md describes it for readers, the simulated network serves it.
//
// Four requests over HTTP, each a JSON object against a JSON object:
//
//	POST /v1/work    WorkRequest → WorkAnswer      the oldest work that nobody has
//	POST /v1/proof   Proof       → Verdict         accepted, slashed or wrong-shape
//	POST /v1/failed  Failure     → FailureAnswer   gives work back
//	GET  /v1/status              → Status
//
// Work that a worker neither proves nor gives back within the coordinator's reassignment wait goes to another. Of several proofs of one work
// the first counts, whoever had the work last.
package coordinator
