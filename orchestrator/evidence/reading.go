package evidence

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"provingground/fetcher/trace"
)

// reading fills statistics from the database, in one transaction.
type reading struct {
	tx         querier
	run        Run
	statistics *Statistics
	wall       time.Time // of the question
	deployment int

	byID map[int]int // nodes by their number in the database
}

// nodes reads which nodes there are. Those that went before the run began are no part of it, and those that are known only from files are not read by anybody.
func (r *reading) nodes(ctx context.Context) error {
	rows, err := r.tx.Query(ctx, `SELECT node_id, node_name, host, coalesce(port, 0), coalesce(listed, false), read_at FROM log_node
		WHERE deployment_id = $1 AND host IS NOT NULL AND (listed OR last_seen >= $2 OR read_at >= $2) ORDER BY read_at NULLS FIRST, node_id`,
		r.deployment, r.run.Clock.ToWall(r.run.Began))
	if err != nil {
		return fmt.Errorf("read the nodes: %w", err)
	}
	r.byID = make(map[int]int)
	var id, port int
	var name, host string
	var listed bool
	var read *time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &name, &host, &port, &listed, &read}, func() error {
		n := NodeLog{Address: net.JoinHostPort(host, strconv.Itoa(port)), Name: name, Listed: listed}
		if read != nil {
			n.wasRead(r.run.Clock, *read, r.wall)
		}
		r.byID[id] = len(r.statistics.Nodes)
		r.statistics.Nodes = append(r.statistics.Nodes, n)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the nodes: %w", err)
	}
	return nil
}

// gapsQuery reads what is missing of the nodes' logs in deployment $1: what a node dropped, and what it answered that was no entry. Where nothing of the daemon's log is before it, the
// daemon before had logged up to then.
const gapsQuery = `SELECT g.node_id, g.server_uuid, g.from_id, g.to_id, g.lost, coalesce(g.time_before, (
			SELECT c.last_time FROM log_cursor c WHERE c.deployment_id = g.deployment_id AND c.node_id = g.node_id AND c.server_uuid <> g.server_uuid
				AND c.started_at < g.found_at ORDER BY c.started_at DESC LIMIT 1)) AS time_before,
		g.time_after, g.found_at, coalesce(g.reason, '') AS reason FROM log_gap g WHERE g.deployment_id = $1
	UNION ALL SELECT m.node_id, m.server_uuid, m.log_id, m.log_id, 1, (
			SELECT e.logged_at FROM log_entry e WHERE e.deployment_id = m.deployment_id AND e.node_id = m.node_id AND e.server_uuid = m.server_uuid AND e.log_id < m.log_id
				ORDER BY e.log_id DESC LIMIT 1),
		NULL, m.found_at, 'malformed' FROM log_malformed m JOIN log_cursor c USING (deployment_id, node_id, server_uuid)
		WHERE m.deployment_id = $1 AND m.log_id > 0 AND m.log_id < c.next_id`

// gaps reads what is missing of the nodes' logs, what nothing could be derived from included.
func (r *reading) gaps(ctx context.Context) error {
	rows, err := r.tx.Query(ctx, `SELECT node_id, time_before, time_after, found_at, lost FROM (`+gapsQuery+`) AS g WHERE found_at >= $2
		UNION ALL SELECT p.node_id, (SELECT min(e.logged_at) FROM log_entry e WHERE e.deployment_id = p.deployment_id AND e.node_id = p.node_id
			AND e.server_uuid = p.server_uuid AND e.log_id BETWEEN p.from_id AND p.to_id), NULL, p.found_at, p.to_id - p.from_id + 1
		FROM log_problem p WHERE p.deployment_id = $1 AND p.found_at >= $2`,
		r.deployment, r.run.Clock.ToWall(r.run.Began.Add(-r.run.Slot)))
	if err != nil {
		return fmt.Errorf("read the gaps: %w", err)
	}
	var id int
	var part lostPart
	_, err = pgx.ForEachRow(rows, []any{&id, &part.TimeBefore, &part.TimeAfter, &part.FoundAt, &part.Lost}, func() error {
		if i, known := r.byID[id]; known {
			r.statistics.Nodes[i].Gaps = append(r.statistics.Nodes[i].Gaps, part.gap(r.run.Clock))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the gaps: %w", err)
	}
	return nil
}

// blocks reads the blocks of the run's time, and the last one of the best chain before.
func (r *reading) blocks(ctx context.Context) error {
	rows, err := r.tx.Query(ctx, `SELECT state_hash, coalesce(previous_state_hash, ''), blockchain_length, global_slot, first_received, canonical,
			EXISTS (SELECT FROM block_trace t WHERE t.deployment_id = b.deployment_id AND t.block_id = b.state_hash AND t.source = 'Internal'),
			canonical AND NOT EXISTS (SELECT FROM block_tx x WHERE x.deployment_id = b.deployment_id AND x.state_hash = b.state_hash)
				AND NOT EXISTS (SELECT FROM block_trace t WHERE t.deployment_id = b.deployment_id AND t.block_id = b.state_hash AND t.metadata_json ? 'transactions')
		FROM block b WHERE deployment_id = $1 AND (first_received >= $2 OR canonical AND blockchain_length =
			(SELECT max(blockchain_length) FROM block WHERE deployment_id = $1 AND canonical AND first_received < $2))
		ORDER BY blockchain_length, first_received, state_hash`, r.deployment, r.run.Began)
	if err != nil {
		return fmt.Errorf("read the blocks: %w", err)
	}
	var b Block
	var received time.Time
	_, err = pgx.ForEachRow(rows, []any{&b.Hash, &b.Previous, &b.Height, &b.Slot, &received, &b.Canonical, &b.Produced, &b.Opaque}, func() error {
		b.Received = InstantOf(received)
		r.statistics.Blocks = append(r.statistics.Blocks, b)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the blocks: %w", err)
	}
	return nil
}

// traces reads what nodes did with the blocks.
func (r *reading) traces(ctx context.Context) error {
	hashes := make([]string, len(r.statistics.Blocks))
	for i, b := range r.statistics.Blocks {
		hashes[i] = b.Hash
	}
	rows, err := r.tx.Query(ctx, `SELECT h.n - 1, t.node_name, t.source, t.trace_started_at, t.trace_completed_at, t.block_trace_id
		FROM unnest($2::text[]) WITH ORDINALITY AS h(hash, n) JOIN block_trace t ON t.deployment_id = $1 AND t.block_id = h.hash WHERE t.status = 'Success'`,
		r.deployment, hashes)
	if err != nil {
		return fmt.Errorf("read the traces: %w", err)
	}
	var all []success
	var one success
	var source string
	var started, completed float64
	_, err = pgx.ForEachRow(rows, []any{&one.block, &one.node, &source, &started, &completed, &one.order}, func() error {
		one.source, one.started, one.completed = trace.Source(source), instantOfSeconds(started), instantOfSeconds(completed)
		all = append(all, one)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the traces: %w", err)
	}
	r.statistics.fillTraces(all)
	return nil
}

// works reads the SNARK works of the run's time.
func (r *reading) works(ctx context.Context) error {
	rows, err := r.tx.Query(ctx, "SELECT time_added, time_received FROM uniq_sws WHERE deployment_id = $1 AND (time_added >= $2 OR time_received >= $2)", r.deployment, r.run.Began)
	if err != nil {
		return fmt.Errorf("read the SNARK works: %w", err)
	}
	var added, received *time.Time
	_, err = pgx.ForEachRow(rows, []any{&added, &received}, func() error {
		var w Work
		if added != nil {
			w.Added = InstantOf(*added)
		}
		if received != nil {
			w.Received = InstantOf(*received)
		}
		r.statistics.Works = append(r.statistics.Works, w)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the SNARK works: %w", err)
	}
	err = r.tx.QueryRow(ctx, "SELECT count(*) FROM sw_interruptions WHERE deployment_id = $1 AND time >= $2", r.deployment, r.run.Began).Scan(&r.statistics.Interruptions)
	if err != nil {
		return fmt.Errorf("count the interruptions: %w", err)
	}
	return nil
}

// transactionsQuery reads the transactions of loads by the beginnings of their memos: $2 numbers the loads, $3 are the beginnings, $4 what follows the last memo, $5 the places of the indexes.
// Those before the run are of an earlier one with the same name.
const transactionsQuery = `WITH load AS (SELECT * FROM unnest($2::int[], $3::text[], $4::text[], $5::int[]) AS l(n, low, high, place))
	SELECT l.n, substr(u.memo, l.place), u.time, u.sent_at, u.outcome = 'rejected', b.blockchain_length, b.result = 'Failed'
	FROM load l JOIN unique_txs u ON u.deployment_id = $1 AND u.memo >= l.low AND u.memo < l.high
	LEFT JOIN block_txs b ON b.deployment_id = $1 AND b.hash = u.hash
	WHERE u.time >= $6
	UNION ALL
	SELECT l.n, substr(b.memo, l.place), NULL, NULL, NULL, b.blockchain_length, b.result = 'Failed'
	FROM load l JOIN block_txs b ON b.deployment_id = $1 AND b.memo >= l.low AND b.memo < l.high
	WHERE b.block_received >= $6 AND NOT EXISTS (SELECT FROM unique_txs u WHERE u.deployment_id = $1 AND u.hash = b.hash)`

// transactions reads those of the run's loads. There may be a million, so rows are taken as PostgreSQL sends them.
func (r *reading) transactions(ctx context.Context) error {
	var numbers, places []int32
	var low, high []string
	for i, load := range r.run.Loads {
		name := load.Name + "-" + strconv.Itoa(load.Batch)
		numbers, places = append(numbers, int32(i)), append(places, int32(len([]rune(name))+2))
		low, high = append(low, name+"-"), append(high, name+".") // the character after the hyphen
	}
	if len(numbers) == 0 {
		return nil
	}
	rows, err := r.tx.Query(ctx, transactionsQuery, pgx.QueryResultFormats{pgx.BinaryFormatCode}, r.deployment, numbers, low, high, places, r.run.Began)
	if err != nil {
		return fmt.Errorf("read the transactions: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		values := rows.RawValues()
		n, err := wholeOf(values[0])
		if err != nil || n < 0 || n >= int64(len(r.statistics.Loads)) {
			return fmt.Errorf("read the transactions: a row of load %d: %w", n, errShape)
		}
		index, err := strconv.ParseUint(string(values[1]), 10, 31)
		if err != nil {
			continue // the memo of somebody else
		}
		tx := Transaction{Index: int(index)}
		if tx.Received, err = instantIn(values[2]); err != nil {
			return err
		}
		if tx.Sent, err = instantIn(values[3]); err != nil {
			return err
		}
		if v := values[4]; len(v) == 1 {
			tx.Outcome = Accepted + Outcome(v[0])
		}
		if v := values[5]; v != nil {
			height, err := wholeOf(v)
			if err != nil {
				return err
			}
			tx.Height, tx.Failed = int(height), len(values[6]) == 1 && values[6][0] == 1
		}
		log := &r.statistics.Loads[n]
		log.Transactions = append(log.Transactions, tx)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read the transactions: %w", err)
	}
	for _, log := range r.statistics.Loads { // once, not for each question
		slices.SortFunc(log.Transactions, byIndex)
	}
	return nil
}

// errShape says that the server sent a value in another form than the one that was asked for.
var errShape = errors.New("the database sent a value of an unexpected form")

// wholeOf reads an int4 in binary form.
func wholeOf(value []byte) (int64, error) {
	if len(value) != 4 {
		return 0, errShape
	}
	return int64(int32(binary.BigEndian.Uint32(value))), nil //nolint:gosec // the sign is part of it
}

// instantIn reads a timestamptz in binary form: microseconds since 2000. NULL is not known.
func instantIn(value []byte) (Instant, error) {
	const year2000 = 946_684_800_000_000
	switch len(value) {
	case 0:
		return 0, nil
	case 8:
		return Instant(int64(binary.BigEndian.Uint64(value)) + year2000), nil //nolint:gosec // the sign is part of it
	default:
		return 0, errShape
	}
}
