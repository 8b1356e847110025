// Package store keeps what the nodes logged in PostgreSQL: the entries themselves, what is missing, and the block traces, transactions
// and SNARK works that can be told from them. It is the [fetcher.Store] of the fetcher; package schema says what the tables mean.
//
// # How a batch is stored
//
// [Store.Save] hands the batch to a few workers, one for each connection. A worker takes what has come meanwhile, at most one batch of
// each node, and stores it in one transaction. So many nodes share one commit, one COPY and one turn of the functions that keep the
// derived tables, which would otherwise make the nodes wait for each other. In the transaction,
//
//  1. the nodes' rows of log_reader are locked, in the order of their ids, and their cursors read: entries before the cursor are
//     stored already and are left out, so that a batch may come twice, from one fetcher or two;
//  2. the entries go to log_entry by COPY, and gaps, malformed entries and restarts to their tables;
//  3. each node's entries go through its [trace.Reader], and what comes out to block_trace and, by COPY, to the checkpoints and
//     pool events;
//  4. cursor and reader are written; then, last of all because other transactions wait meanwhile, the derived tables.
//
// # What the database refuses
//
// A batch that cannot be stored together with others is stored alone. If it still cannot, it is stored without anything derived from
// it, the reader is told that records are missing, and table log_problem says so: a bad value never costs a log entry. Only entries that
// cannot be stored as such give [fetcher.ErrPermanent].
//
// Files, in the order in which a batch passes them:
//
//	store.go        opening, deployments, cursors, workers
//	transaction.go  one transaction
//	node.go         what is remembered of a node: its reader, the rows of its open traces
//	entries.go      entries as rows and as trace records
//	traces.go       what the reader says, in block_trace and its checkpoints
//	derived.go      transactions, blocks, SNARK works, distributions
//	seen.go         what the database was told already
//	copy.go         PostgreSQL's binary COPY format
//	fit.go          values that columns take
//	status.go       SaveNodes
//	load.go         trace files
//	counts.go       counters
package store
