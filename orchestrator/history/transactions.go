package history

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// State is what became of a transaction, as far as the nodes' logs tell. The function run_transactions of package schema decides it.
type State string

// The states of a transaction.
const (
	Included State = "included" // in a block of the best chain, Applied
	Failed   State = "failed"   // in a block of the best chain, Failed
	Rejected State = "rejected" // refused by the node that was to send it, and in no block of the best chain
	Missing  State = "missing"  // received by some node, not refused by the one that sends it, and in no block of the best chain up to AsOf
	Unseen   State = "unseen"   // of an index that the rate gives, and the complete log of the node that was to send it does not have it: it was never sent
	Unknown  State = "unknown"  // the logs are not complete enough to tell
)

// States returns the states, in the order in which people are shown them.
func States() []State { return []State{Included, Failed, Rejected, Missing, Unseen, Unknown} }

// Transaction is one transaction of a run, or one that a run intended.
type Transaction struct {
	Experiment string `json:"experiment"`
	Batch      int    `json:"batch"`
	Index      int    `json:"index"`
	Kind       string `json:"kind"` // payments or zkapps
	Node       string `json:"node"` // address of the node that was to send it
	// Signature is the fee payer's, by which logs tell transactions apart (internal-trace, section 2.2); "" where nothing tells of it.
	Signature string `json:"signature,omitempty"`
	State     State  `json:"state"`
	// Reason is why it was rejected, how it is known that it was never sent, or why its state is not known; "" in the other states.
	Reason string `json:"reason,omitempty"`
	// Received is when the first node received it, and Accepted when the node that sends it took it, by those nodes' clocks; nil where no log says.
	Received *time.Time `json:"received,omitempty"`
	Accepted *time.Time `json:"accepted,omitempty"`
	// SeenBy is how many nodes received it.
	SeenBy int `json:"seenBy"`
	// Block is the state hash of the block of the best chain with it; "" for none. Height and Slot are that block's, and Included when the first
	// node received it, by that node's clock.
	Block    string     `json:"block,omitempty"`
	Height   *int       `json:"blockchainLength,omitempty"`
	Slot     *int       `json:"globalSlot,omitempty"`
	Included *time.Time `json:"included,omitempty"`
	// AsOf is the network time up to which it is known that no block of the best chain has a transaction that is missing or rejected; nil for the others.
	AsOf *time.Time `json:"asOf,omitempty"`
}

// Memo is the transaction's memo.
func (t Transaction) Memo() string {
	return t.Experiment + "-" + strconv.Itoa(t.Batch) + "-" + strconv.Itoa(t.Index)
}

// Batch is what became of the transactions of one batch of load.
type Batch struct {
	Experiment string
	Batch      int
	Kind       string // payments or zkapps
	Node       string // address
	// Intended is how many transactions rate and time give at most; nil when not known.
	Intended *int64
	// Result is what became of the request for it, as in the record: done, refused, unknown and so on; "" when the run died before it knew.
	Result string
	Count  map[State]int64
	// Reasons are why transactions of it are unseen or unknown, each with its state before it; sorted.
	Reasons []string
}

// Round is what became of the transactions of one kind that have one experiment name, which in the script language ends in the round.
type Round struct {
	Experiment string
	Kind       string // payments or zkapps
	Count      map[State]int64
	// P95 is the 95th percentile, by the nearest rank, of the time from the first reception of a transaction to the first reception of its block, over
	// those in the best chain, in network time; nil where no transaction has both times.
	P95 *time.Duration
}

// Ledger is what became of the transactions of a run. It holds a connection to the database, and does not change while it is open. Not safe for
// concurrent use.
type Ledger struct {
	// Deployment is the deployment that the run belongs to; nil when none is known, and then no log tells of its transactions.
	Deployment *int
	// AsOf is the network time up to which it is known of every transaction that is missing or rejected that no block of the best chain has it; nil when
	// there is none.
	AsOf *time.Time

	run  string
	conn *pgx.Conn
}

// ErrNoHistory says that the database does not have the run.
var ErrNoHistory = errors.New("the database has no history of the run")

// OpenLedger finds out what became of the transactions of the run of that name, which [Import] has returned. That may take minutes for a run with
// millions of log entries; the database does it, on disk. The ledger must be closed.
func OpenLedger(ctx context.Context, uri, run string) (_ *Ledger, err error) {
	l := &Ledger{run: run}
	if l.conn, err = connect(ctx, uri); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close(ctx))
		}
	}()
	err = l.conn.QueryRow(ctx, "SELECT deployment_id FROM run WHERE run_id = $1", run).Scan(&l.Deployment)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("%s: %w", run, ErrNoHistory)
	}
	if err == nil { // parameters are not allowed in it
		_, err = l.conn.Exec(ctx, "CREATE TEMPORARY TABLE run_ledger AS SELECT * FROM run_transactions($1)", pgx.QueryExecModeSimpleProtocol, run)
	}
	if err == nil {
		err = l.conn.QueryRow(ctx, "SELECT min(as_of) FROM run_ledger").Scan(&l.AsOf)
	}
	if err != nil {
		return nil, fmt.Errorf("find the transactions of the run: %w", err)
	}
	if l.AsOf != nil {
		l.AsOf = new(l.AsOf.UTC())
	}
	return l, nil
}

// Close closes the connection.
func (l *Ledger) Close(ctx context.Context) error {
	return l.conn.Close(context.WithoutCancel(ctx)) //nolint:wrapcheck // names the connection
}

// order is that of batches and their transactions: by what their experiments are called, round and batch. In the script language the name of an
// experiment's load ends in the round.
const order = `regexp_replace(experiment, '-[0-9]{1,9}$', '') COLLATE "C", substring(experiment FROM '-([0-9]{1,9})$')::int NULLS FIRST, experiment COLLATE "C", `

// Batches returns the batches of the run in the order of rounds and batches.
func (l *Ledger) Batches(ctx context.Context) ([]Batch, error) {
	rows, err := l.conn.Query(ctx, `WITH counts AS (SELECT experiment, batch, state, count(*) AS n FROM run_ledger GROUP BY 1, 2, 3),
			states AS (SELECT experiment, batch, array_agg(state) AS names, array_agg(n) AS numbers FROM counts GROUP BY 1, 2),
			reasons AS (SELECT experiment, batch, array_agg(DISTINCT state || ': ' || reason) AS why FROM run_ledger WHERE state IN ('unseen', 'unknown') GROUP BY 1, 2)
		SELECT experiment, batch, l.kind, l.node, l.intended, coalesce(l.result, ''), coalesce(s.names, '{}'), coalesce(s.numbers, '{}'), coalesce(r.why, '{}')
		FROM run_load l LEFT JOIN states s USING (experiment, batch) LEFT JOIN reasons r USING (experiment, batch)
		WHERE l.run_id = $1 ORDER BY `+order+`batch, l.call`, l.run)
	if err != nil {
		return nil, fmt.Errorf("read the batches of the run: %w", err)
	}
	batches, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Batch, error) {
		var b Batch
		var states []State
		var counts []int64
		err := row.Scan(&b.Experiment, &b.Batch, &b.Kind, &b.Node, &b.Intended, &b.Result, &states, &counts, &b.Reasons)
		b.Count = counted(states, counts)
		return b, err //nolint:wrapcheck // the caller says what
	})
	if err != nil {
		return nil, fmt.Errorf("read the batches of the run: %w", err)
	}
	return batches, nil
}

// Rounds returns the rounds of the run, by experiment and kind, in their order.
func (l *Ledger) Rounds(ctx context.Context) ([]Round, error) {
	rows, err := l.conn.Query(ctx, `WITH counts AS (SELECT experiment, kind, state, count(*) AS n FROM run_ledger GROUP BY 1, 2, 3),
			states AS (SELECT experiment, kind, array_agg(state) AS names, array_agg(n) AS numbers FROM counts GROUP BY 1, 2),
			latencies AS (SELECT experiment, kind, extract(epoch FROM percentile_disc(0.95) WITHIN GROUP (ORDER BY included - received)) * 1000000 AS p95
				FROM run_ledger WHERE included IS NOT NULL AND received IS NOT NULL GROUP BY 1, 2),
			rounds AS (SELECT DISTINCT experiment, kind FROM run_load WHERE run_id = $1)
		SELECT experiment, kind, coalesce(names, '{}'), coalesce(numbers, '{}'), p95::bigint
		FROM rounds LEFT JOIN states USING (experiment, kind) LEFT JOIN latencies USING (experiment, kind) ORDER BY `+order+`kind`, l.run)
	if err != nil {
		return nil, fmt.Errorf("read the rounds of the run: %w", err)
	}
	rounds, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Round, error) {
		var r Round
		var states []State
		var counts []int64
		var microseconds *int64
		err := row.Scan(&r.Experiment, &r.Kind, &states, &counts, &microseconds)
		r.Count = counted(states, counts)
		if microseconds != nil {
			r.P95 = new(time.Duration(*microseconds) * time.Microsecond)
		}
		return r, err //nolint:wrapcheck // the caller says what
	})
	if err != nil {
		return nil, fmt.Errorf("read the rounds of the run: %w", err)
	}
	return rounds, nil
}

// counted makes a map of two lists.
func counted(states []State, counts []int64) map[State]int64 {
	count := map[State]int64{}
	for i, s := range states {
		count[s] = counts[i]
	}
	return count
}

// Each calls each with the transactions that are in one of these states, in the order of batches and indexes; without any, with all. It reads them
// as each takes them.
func (l *Ledger) Each(ctx context.Context, states []State, each func(Transaction) error) error {
	if len(states) == 0 {
		states = States()
	}
	rows, err := l.conn.Query(ctx, `SELECT experiment, batch, ix, kind, node, coalesce(hash, ''), state, coalesce(reason, ''), received, accepted, seen_by,
			coalesce(state_hash, ''), blockchain_length, global_slot, included, as_of
		FROM run_ledger WHERE state = ANY ($1) ORDER BY `+order+`batch, ix, hash COLLATE "C"`, states)
	if err != nil {
		return fmt.Errorf("read the transactions of the run: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var t Transaction
		if err := rows.Scan(&t.Experiment, &t.Batch, &t.Index, &t.Kind, &t.Node, &t.Signature, &t.State, &t.Reason, &t.Received, &t.Accepted, &t.SeenBy,
			&t.Block, &t.Height, &t.Slot, &t.Included, &t.AsOf); err != nil {
			return fmt.Errorf("read the transactions of the run: %w", err)
		}
		for _, at := range []*time.Time{t.Received, t.Accepted, t.Included, t.AsOf} {
			if at != nil {
				*at = at.UTC()
			}
		}
		if err := each(t); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the transactions of the run: %w", err)
	}
	return nil
}
