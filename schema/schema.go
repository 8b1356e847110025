// Package schema holds what Proving Ground shares with the outside world as text, in two parts.
//
// The GraphQL schema of a Mina node's ITN port, [ITN]: orchestrator/itn checks its documents against it, and itnserver plays a node
// by it.
//
// The SQL of our PostgreSQL database, migrations/*.sql: numbered, never changed once released, and applied by [Migrate]; a program
// that only uses a database calls [Check]. Tables and views that people queried before us keep names and columns (internal-trace,
// section 6), and are right where the old ones were wrong (section 7). What each table and column means, and who writes it, is said
// in the database itself, by COMMENT ON.
//
// In short: create_deployment makes a deployment with its partitions, ensure_day those of one day; drop_days_before and
// drop_deployment are the way back. Entries, checkpoints and pool events are written by COPY. No table has a trigger: what is derived
// from them — transactions, inclusion in the best chain, experiments, SNARK works — is kept by a few functions that take a whole batch
// at a time (store_received_txs, store_block, settle_chain, store_sws), in the transaction that stores the batch.
package schema

import _ "embed" // for ITN

// ITN is the ITN GraphQL schema in its newer form, in the schema definition language; comments in the text mark what older
// daemons lack (itn-graphql, sections 3 and 4).
//
//go:embed itn.graphql
var ITN string
