// Package api is what the log fetcher serves over HTTP, as one handler, for people, dashboards and tools that exist already.
//
// A [Server] speaks three interfaces at once, so that clients of either find it behind any address on which it is served:
//
//   - the fetcher's own: nodes, freeze, unfreeze and reset (log-fetcher, section 6), and what we add: gaps, traces, health, metrics;
//   - the experiments API under /api (internal-trace, section 6.4);
//   - the trace consumer's GraphQL at /graphql (internal-trace, section 5).
//
// It holds nothing itself: what nodes do comes from the collector, what they logged from the database. The database may be away at any
// time; then requests that need it are answered with 503, and the others work. Whatever a request says, it costs a bounded amount: bodies,
// queries, rows and answers have limits, statements a time-out, and at most all but one of the pool's connections are in use, the last
// being left to /health.
//
// Files, from the outside in:
//
//	api.go            options, routes, methods, cross-origin requests
//	answer.go         bodies of requests, answers and errors in JSON
//	database.go       reading and writing within limits
//	nodes.go          nodes, freeze, unfreeze, reset
//	lists.go          gaps and traces, page by page
//	known.go          whether there is the node or deployment that a request names
//	experiments.go    experiments, deployments, node restarts, clean-up
//	nodejs.go         values as the existing experiments API writes them
//	graphql.go        one GraphQL request: limits, fields, errors
//	introspection.go  the GraphQL schema as an answer
//	queries.go        the seven queries
//	traces.go         block traces from their rows
//	health.go         health
//	metrics.go        metrics; README.md lists them
package api
