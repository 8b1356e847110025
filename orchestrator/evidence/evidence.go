// Package evidence answers what the nodes' own logs say about a run: what became of its transactions, how fast blocks were applied,
// how the chain grew, how SNARK work went, and how much of the logs is there at all.
//
// A question names a metric, a scope and the run. The answer is a pair of bounds: equal where the logs leave no doubt, apart where
// missing entries or nodes that could not be read may still turn it (script-language, section 2a). What is not known is never taken
// for zero, and silence never for "did not happen".
//
// Two sources give the same statistics: [Database], what the fetcher stored in PostgreSQL, and [Memory], the logs of a rehearsal.
package evidence

import (
	"context"
	"math/big"
	"time"

	"provingground/dsl"
	"provingground/internal/clock"
)

// Kind is the kind of a load's transactions.
type Kind string

// The kinds of load.
const (
	Payments Kind = "payments"
	Zkapps   Kind = "zkapps"
)

// Load is one batch of load that a run placed, or may have placed, on one node. Its transactions have memos NAME-BATCH-INDEX, with
// indexes from 0 on, written without leading zeros.
type Load struct {
	// Name is the name that its memos begin with; in the script language it ends in the round: churn-30-0.
	Name  string
	Batch int
	Kind  Kind
	// Node is the address, HOST:PORT, of the node that sends it.
	Node string
	// TPS is the rate in transactions per second.
	TPS *big.Rat
	// From and Until are when it began and when it ended or ends, network time.
	From, Until time.Time
}

// Run is what an answer depends on beside the logs.
type Run struct {
	Clock *clock.Clock
	// Began is when the run began, network time.
	Began time.Time
	// Genesis is the network time of slot 0, and Slot how long a slot lasts; zero where the configuration does not say.
	Genesis time.Time
	Slot    time.Duration
	// Loads are in the order in which they were placed.
	Loads []Load
}

// Question asks for one metric of one run, as it is now.
type Question struct {
	Metric string
	Scope  dsl.Scope
	Run    Run
}

// Gathering asks for what there is of some nodes, to be read by people.
type Gathering struct {
	// Nodes are addresses, HOST:PORT.
	Nodes []string
	// From and To are the ends of the time that is wanted, network time.
	From, To time.Time
	// Clock tells network time; nil is the clock on the wall.
	Clock *clock.Clock
	// Patience is how long to wait, in wall time, for nodes whose logs were not read to the end of that time yet. 0: not at all.
	Patience time.Duration
	// Dir is the directory to write into, one folder for each node. It does not exist yet.
	Dir string
}

// Gathered says what was written of one node.
type Gathered struct {
	Node    string `json:"node"` // address
	Name    string `json:"name"` // as in the database: log-fetcher, section 5
	Entries int    `json:"entries"`
	Traces  int    `json:"traces"`
	Lost    int    `json:"lost"` // entries that are known to be missing in that time
	// Missing says why there is nothing or not everything; "" where all is there.
	Missing string `json:"missing,omitempty"`
}

// Source is where a run's evidence comes from. Database and Memory are ones.
type Source interface {
	// Measure answers a question. A source that cannot be asked gives bounds that are not known, and says why.
	Measure(ctx context.Context, q Question) dsl.Measured
	// Gather writes what there is of some nodes, and returns what it wrote, node by node.
	Gather(ctx context.Context, g Gathering) ([]Gathered, error)
}
