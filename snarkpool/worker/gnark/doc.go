// Package gnark is the built-in prover of the worker pool, and its verifier: Groth16 over BN254 with consensys/gnark.
//
// A statement names the start of a chain of 64 MiMC hashes; its proof shows the chain's end and that the prover walked there. The circuit has
// about 21,000 constraints: half a second of one core to prove, a millisecond to verify, so that tests can afford the real thing. It
// stands for proving work, and is not Mina's transaction circuit.
//
// Proving and verifying key come from a set-up with fresh randomness, so two set-ups never fit together. A key directory therefore holds exactly
// one pair, made once, under a lock, by whoever comes first, and noted with its digests: all workers of a pool must use copies of the same
// directory, and those that name the verifying key in [Options] refuse any other. The set-up ran on one machine and its secrets are merely
// forgotten: these proofs measure a pool and guard against faults, and are worth nothing outside it.
//
// [ProverMain] and [VerifierMain] are the two processes; the packages worker and verify hold what they speak.
package gnark
