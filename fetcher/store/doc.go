// Package store keeps what the nodes logged in PostgreSQL: the entries themselves, what is missing, and the block traces, transactions
// and SNARK works that can be told from them. It is the [fetcher.Store] of the fetcher; package schema says what the tables mean.
//
// # How a batch is stored
//
// [Store.Save] makes a batch ready in the caller's goroutine, and hands it to a writer. A writer takes what has come meanwhile, at most one
// batch of each node, and stores it in one transaction. So many nodes share one commit, one COPY and one turn of the functions that keep
// the derived tables, while the next batches are made ready.
//
// To make a batch ready, by what is remembered of the node or else read from the database,
//
//  1. entries before the node's cursor are left out, unless they lie in a recorded gap: they are stored already, for a batch may come twice, from
//     one fetcher or two;
//  2. the others go through the node's [trace.Reader], and rows are made of them and of what comes out, in the form of COPY.
//
// In the transaction,
//
//  3. the nodes' rows of log_reader are locked, in the order of their ids. If another fetcher has changed one since, that batch is left out,
//     and made ready anew;
//  4. the entries go to log_entry by COPY, traces to block_trace, checkpoints and pool events to their tables by COPY;
//  5. cursors, readers, gaps, malformed entries and restarts are written; then, last of all because other transactions wait meanwhile, the
//     derived tables.
//
// # Two fetchers, two deployments, two names
//
// Entries that one fetcher gave up and another one has are stored late: the gap becomes smaller, or goes. Nothing is derived from them, for the
// reader of traces is past them, and table log_problem says so. Of entries that neither has, those that one recorded as malformed stay so.
//
// A node goes on in a new deployment after its last entry in another one: its cursors are carried over, and say from where
// (log_cursor.carried_from). If its daemon is another one then, as in a network that was made anew, what is missing of the old one is missing in
// the old deployment, and the restart belongs there, too (function deployment_of_end). [Store.Use] changes the deployment when nothing is in
// hand: what [Store.Save] was given before it belongs to the old one, what comes after it to the new one. This holds for one program: another one that
// goes on storing in the old deployment stores the same entries there.
//
// A log belongs to a node's name and a run of its daemon. A daemon that is met under another name is another node, whose log begins with what the daemon
// still holds, also if that is stored under the first name; to go on from there would leave the second node with a beginning that it lacks and no
// gap that says so. It is the collector that keeps a daemon's name, and reads it under one at a time. Transactions, blocks and SNARK works
// are the same under both, and derived once.
//
// # What the database refuses
//
// A batch that cannot be stored together with others is stored alone. If it still cannot, it is stored without anything derived from
// it, the reader is told that records are missing, and table log_problem says so: a bad value never costs a log entry. Malformed entries that
// log_malformed refuses become a row of log_problem. Only entries that cannot be stored as such give [fetcher.ErrPermanent].
//
// Files, in the order in which a batch passes them:
//
//	store.go        opening, deployments, cursors, writers
//	transaction.go  making a batch ready, and one transaction
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
