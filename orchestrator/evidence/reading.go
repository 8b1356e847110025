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

	byID  map[int]int // nodes by their number in the database
	early []Block     // the run's blocks that somebody seems to have had before their slots, with those times
}

// nodes reads which nodes there are. Those that went before the run began are no part of it, and those that are known only from files are not read by anybody.
func (r *reading) nodes(ctx context.Context) error {
	began := r.run.Clock.ToWall(r.run.Began)
	if err := r.deployed(ctx, began); err != nil {
		return err
	}
	// The first entry itself is looked up where the first reading was after the run began.
	rows, err := r.tx.Query(ctx, `SELECT n.node_id, n.node_name, n.host, coalesce(n.port, 0), coalesce(n.listed, false), n.read_at, c.last_time, c.updated_at, f.started_at,
			CASE WHEN f.started_at > $2 THEN (SELECT e.logged_at FROM log_entry e
				WHERE e.deployment_id = $1 AND e.node_id = n.node_id AND e.server_uuid = f.server_uuid ORDER BY e.log_id LIMIT 1) END
		FROM log_node n
		LEFT JOIN log_reader r ON r.deployment_id = $1 AND r.node_id = n.node_id
		LEFT JOIN log_cursor c ON c.deployment_id = $1 AND c.node_id = n.node_id AND c.server_uuid = r.server_uuid
		LEFT JOIN LATERAL (SELECT l.server_uuid, l.started_at FROM log_cursor l
			WHERE l.deployment_id = $1 AND l.node_id = n.node_id AND l.entries > 0 ORDER BY l.started_at LIMIT 1) f ON true
		WHERE n.deployment_id = $1 AND n.host IS NOT NULL AND (n.listed OR n.last_seen >= $2 OR n.read_at >= $2) ORDER BY n.read_at NULLS FIRST, n.node_id`,
		r.deployment, began)
	if err != nil {
		return fmt.Errorf("read the nodes: %w", err)
	}
	r.byID = make(map[int]int)
	var id, port int
	var name, host string
	var listed bool
	var read, last, stored, met, first *time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &name, &host, &port, &listed, &read, &last, &stored, &met, &first}, func() error {
		n := NodeLog{Address: net.JoinHostPort(host, strconv.Itoa(port)), Name: name, Listed: listed}
		if read != nil {
			n.wasRead(r.run.Clock, *read, r.wall)
		}
		if met != nil {
			if first == nil {
				first = new(time.Time)
			}
			n.Since = sinceFirst(r.run.Clock, *met, *first)
		}
		if last != nil {
			r.statistics.loggedUpTo(&n, r.run.Clock, *last, *stored)
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

// deployed notes when the deployment was made, where nodes of an earlier one were followed since the run began, at a wall time.
func (r *reading) deployed(ctx context.Context, began time.Time) error {
	var at time.Time
	err := r.tx.QueryRow(ctx, `SELECT d.created_at FROM deployment d WHERE d.deployment_id = $1 AND d.created_at > $2
		AND EXISTS (SELECT FROM log_node n WHERE n.deployment_id < $1 AND n.host IS NOT NULL AND (n.last_seen >= $2 OR n.read_at >= $2))`, r.deployment, began).Scan(&at)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("read the deployment: %w", err)
	}
	r.statistics.Deployed = InstantOf(r.run.Clock.FromWall(at))
	return nil
}

// hearing reads since when nodes take part: the lowest block that each received or produced, and integrated, since its daemon is up.
func (r *reading) hearing(ctx context.Context) error {
	names, up := make([]string, len(r.statistics.Nodes)), make([]float64, len(r.statistics.Nodes))
	for i, n := range r.statistics.Nodes {
		names[i], up[i] = n.Name, float64(n.upSince())/1e6
	}
	rows, err := r.tx.Query(ctx, `SELECT n.n - 1, t.trace_completed_at FROM unnest($2::text[], $3::float8[]) WITH ORDINALITY AS n(name, up, n)
		CROSS JOIN LATERAL (SELECT trace_completed_at FROM block_trace WHERE deployment_id = $1 AND node_name = n.name AND status = 'Success'
			AND source IN ('External', 'Internal') AND trace_completed_at > n.up ORDER BY blockchain_length, trace_completed_at LIMIT 1) t`, r.deployment, names, up)
	if err != nil {
		return fmt.Errorf("read since when nodes take part: %w", err)
	}
	var i int
	var completed float64
	_, err = pgx.ForEachRow(rows, []any{&i, &completed}, func() error {
		r.statistics.Nodes[i].Hears = instantOfSeconds(completed)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read since when nodes take part: %w", err)
	}
	return nil
}

// clocks reads whose clocks are slow. Most often there is no such block, and nothing is asked.
func (r *reading) clocks(ctx context.Context) error {
	if len(r.early) == 0 {
		return nil
	}
	hashes, begins := make([]string, len(r.early)), make([]float64, len(r.early))
	for i, b := range r.early {
		hashes[i], begins[i] = b.Hash, float64(r.statistics.slotStart(b.Slot, b.Received))/1e6
	}
	rows, err := r.tx.Query(ctx, `SELECT h.n - 1, t.node_name, t.trace_started_at FROM unnest($2::text[], $3::float8[]) WITH ORDINALITY AS h(hash, begins, n)
		JOIN block_trace t ON t.deployment_id = $1 AND t.block_id = h.hash WHERE t.trace_started_at > 0 AND t.trace_started_at < h.begins`, r.deployment, hashes, begins)
	if err != nil {
		return fmt.Errorf("read whose clocks are slow: %w", err)
	}
	places := make(map[string]int, len(r.statistics.Nodes))
	for i, n := range r.statistics.Nodes {
		places[n.Name] = i
	}
	var i int
	var name string
	var started float64
	_, err = pgx.ForEachRow(rows, []any{&i, &name, &started}, func() error {
		if place, known := places[name]; known {
			r.statistics.began(&r.statistics.Nodes[place], r.early[i].Slot, instantOfSeconds(started))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read whose clocks are slow: %w", err)
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
		FROM block b WHERE deployment_id = $1 AND (first_received >= $2 OR global_slot >= $3 OR canonical AND blockchain_length =
			(SELECT max(blockchain_length) FROM block WHERE deployment_id = $1 AND canonical AND first_received < $2 AND global_slot < $3))
		ORDER BY blockchain_length, first_received, state_hash`, r.deployment, r.run.Began, r.statistics.firstSlot())
	if err != nil {
		return fmt.Errorf("read the blocks: %w", err)
	}
	var b Block
	var received time.Time
	_, err = pgx.ForEachRow(rows, []any{&b.Hash, &b.Previous, &b.Height, &b.Slot, &received, &b.Canonical, &b.Produced, &b.Opaque}, func() error {
		at := InstantOf(received)
		r.statistics.addBlock(b, at)
		if b.Slot >= r.statistics.firstSlot() && span(at, r.statistics.slotStart(b.Slot, at)) > r.statistics.tolerance() {
			r.early = append(r.early, Block{Hash: b.Hash, Slot: b.Slot, Received: at})
		}
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
// Those received before $6, or in blocks before the slot $7 and $8, are of an earlier run with the same name.
const transactionsQuery = `WITH load AS (SELECT * FROM unnest($2::int[], $3::text[], $4::text[], $5::int[]) AS l(n, low, high, place))
	SELECT l.n, substr(u.memo, l.place), u.time, u.sent_at, u.outcome = 'rejected', b.blockchain_length, b.result = 'Failed'
	FROM load l JOIN unique_txs u ON u.deployment_id = $1 AND u.memo >= l.low AND u.memo < l.high
	LEFT JOIN block_txs b ON b.deployment_id = $1 AND b.hash = u.hash
	WHERE u.time >= $6 OR u.sent_at >= $6
	UNION ALL
	SELECT l.n, substr(b.memo, l.place), NULL, NULL, NULL, b.blockchain_length, b.result = 'Failed'
	FROM load l JOIN block_txs b ON b.deployment_id = $1 AND b.memo >= l.low AND b.memo < l.high
	WHERE (b.block_received >= $8 OR b.global_slot >= $7) AND NOT EXISTS (SELECT FROM unique_txs u WHERE u.deployment_id = $1 AND u.hash = b.hash)`

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
	began := r.run.Began
	if slices.ContainsFunc(r.statistics.Nodes, func(n NodeLog) bool { return n.Skew != 0 }) {
		began = time.Unix(0, 0) // nobody knows which are before
	}
	rows, err := r.tx.Query(ctx, transactionsQuery, pgx.QueryResultFormats{pgx.BinaryFormatCode}, r.deployment, numbers, low, high, places,
		began, r.statistics.firstSlot(), r.run.Began)
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
		index, ok := indexOf(string(values[1]))
		if !ok {
			continue // the memo of somebody else
		}
		tx := Transaction{Index: index}
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
		r.statistics.add(int(n), tx)
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
	return int64(int32(binary.BigEndian.Uint32(value))), nil
}

// instantIn reads a timestamptz in binary form: microseconds since 2000. NULL is not known.
func instantIn(value []byte) (Instant, error) {
	const year2000 = 946_684_800_000_000
	switch len(value) {
	case 0:
		return 0, nil
	case 8:
		return Instant(int64(binary.BigEndian.Uint64(value)) + year2000), nil
	default:
		return 0, errShape
	}
}
