// Package fetcher stores each entry of each node's internal log once, and shows what is missing.
//
// A node keeps its internal log in memory, in a queue that silently drops its oldest entry when it is full, and begins anew when its
// daemon restarts (itn-graphql, section 6). A [Collector] finds the nodes, asks each for the entries after the last one that it has,
// and hands them to a [Store] together with the new [Cursor], so that both are kept or neither is: what was not stored is asked for
// again, and what was stored is not. Where the IDs jump, it stores a [Gap].
//
// Files, in the order in which an entry passes them:
//
//	collector.go   which nodes there are, and who reads them; freeze, unfreeze, reset
//	node.go        what identifies and names a node, and what is told of it
//	reader.go      one node: connecting, running, backoff, stopped
//	transport.go   what must be seen of a request beyond the client's answer
//	sift.go        an answer, whatever it holds, becomes entries, malformed entries and gaps
//	store.go       what a store is given and promises
//	pace.go        when to ask again
//	gate.go        how many requests at once, how many bytes at once
//	archive.go     raw lines on disk, for those who want them
//	metrics.go     counters
//
// Who waits for whom: Collector.Run owns all goroutines, one for each node that is read, and returns when they have ended. A node's
// goroutine waits for memory, then for its turn among the requests, then for the store, never holding a lock.
package fetcher
