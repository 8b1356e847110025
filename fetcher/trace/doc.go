// Package trace turns the entries of a node's internal log into block traces: which checkpoints a block passed on that node, when, and how
// it ended. It is pure: records go in, changes come out, and it knows neither network nor database.
//
// A [Record] is one line of a trace file or one entry of the node's internal log. [Lines] reads a file, [NewCheckpoint] and [NewControl]
// convert entries. One [Reader] for each node takes the records of its three processes, each process in order, and answers with [Changes]: traces
// that are new or different, rows to store, gossip events with their own metadata, transactions of blocks, SNARK work interruptions. What
// comes out does not depend on how the records are cut into batches, nor on [Reader.Export] and [Import] in between, so that a loader can
// store rows, cursor and reader in one transaction and go on after a crash.
//
// [Flat] and a [Nesting] make the flat and the structured trace of one block from its stored rows; [Distributions] gathers how long each
// checkpoint takes. Their JSON is that of the consumer's GraphQL port (internal-trace, sections 4 and 5).
//
// Memory is bounded, see [Options]: what a Reader remembers of blocks, calls and jobs is retired when it has not been used for long.
package trace
