// Package minalog reads what Mina's own SNARK worker does from the lines it logs.
//
// `mina internal snark-worker` fetches its own work, so the agent cannot count what it gives out. It counts what the worker says:
// [Rules] turn a line of standard output into a [Line], and a [Machine] turns the lines of one process into [Event] values. Both are pure.
//
// Two things are easy to get wrong (document snark-worker, section 4). Older workers log "Submitted…" before they submit, newer ones after the
// coordinator took the proof, so a proof counts as delivered only when the worker goes on without a word of an error or a refusal. And durations are text ("12.3s")
// in one generation and seconds in the other; a time of 0 comes from the worker's cache of proofs, and is no timing.
//
// The texts change between releases of Mina, so each is a pattern that can be replaced, see [Patterns].
package minalog
