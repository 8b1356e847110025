package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"provingground/fetcher"
)

// transaction stores batches of different nodes together.
type transaction struct {
	*Store
	*deployment
	counter

	conn *pgx.Conn
	at   time.Time // wall time
	day  time.Time // its UTC day
	only error     // when not nil, nothing is derived from the entries, for this reason

	writes []*write

	entries, checkpoints, diffs, works rows
	derived                            derived
}

// write is one batch in a transaction.
type write struct {
	*fetcher.Batch
	*node
	server  [16]byte
	unusual string        // see serverUUID
	next    int64         // the stored cursor of that run of the daemon
	run     runKind       // what that run is to the store
	fresh   []int         // indexes of the entries that are not stored yet
	gaps    []fetcher.Gap // those that are not stored yet, or the part of them
	lost    int64         // entries in these gaps
	traced  traced
}

// runKind is what the run of a batch's daemon is to the store.
type runKind int

const (
	presentRun runKind = iota // the one that was stored last
	newRun                    // another one, from now on the present
	oldRun                    // one that had been replaced by the present one
)

// store stores batches of different nodes in one transaction. If only is not nil, nothing is derived from the entries, for that reason.
func (s *Store) store(ctx context.Context, batches []*fetcher.Batch, only error) error {
	d := s.present.Load()
	err := s.storeOn(ctx, d, batches, only)
	if refusal, ok := errors.AsType[*pgconn.PgError](err); ok && notOfData(refusal) {
		d.forget() // the partition, or a node: both are made anew, unless the deployment is gone
		err = s.storeOn(ctx, d, batches, only)
	}
	return err
}

func (s *Store) storeOn(ctx context.Context, d *deployment, batches []*fetcher.Batch, only error) error {
	batches = slices.SortedFunc(slices.Values(batches), func(a, b *fetcher.Batch) int { return strings.Compare(a.Node, b.Node) })
	names := make([]string, len(batches))
	for i, batch := range batches {
		names[i] = batch.Node
	}
	ids, err := s.nodeIDs(ctx, d, names)
	if err != nil {
		return err
	}
	t := &transaction{Store: s, deployment: d, only: only, at: s.now().UTC()}
	t.day = t.at.Truncate(24 * time.Hour)
	if err := s.ensureDay(ctx, d, t.day); err != nil {
		return err
	}
	for _, batch := range batches {
		n := d.cache.take(batch.Node)
		if n == nil || n.id != ids[batch.Node] {
			n = newNode(batch.Node, ids[batch.Node])
		}
		w := &write{Batch: batch, node: n}
		w.server, w.unusual = serverUUID(batch.Cursor.ServerUUID)
		t.writes = append(t.writes, w)
	}
	err = s.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		t.conn = conn.Conn()
		return pgx.BeginFunc(ctx, conn, func(pgx.Tx) error { return t.run(ctx) })
	})
	if err != nil {
		return err // the nodes are not put back: what they hold was not committed, or perhaps it was
	}
	for _, w := range t.writes {
		d.cache.put(w.node)
	}
	d.seen.commit(&t.derived)
	s.counts.add(t.counter)
	return nil
}

// run does the work, between the transaction's begin and its commit.
func (t *transaction) run(ctx context.Context) error {
	if err := t.lock(ctx); err != nil {
		return err
	}
	t.begin()
	for _, w := range t.writes {
		w.compare()
		t.convert(w)
	}
	if err := t.entries.send(ctx, t.conn); err != nil {
		return err
	}
	if err := t.writeTraces(ctx); err != nil {
		return err
	}
	if err := t.writeLogs(ctx); err != nil {
		return err
	}
	return t.derive(ctx)
}

// begin prepares the rows.
func (t *transaction) begin() {
	t.entries = rows{
		table: "log_entry", width: 11,
		columns: "deployment_id, node_id, server_uuid, log_id, loaded_on, fetched_at, logged_at, process, message, metadata, damaged",
	}
	t.checkpoints = rows{
		table: "block_trace_checkpoint", width: 12,
		columns: `block_trace_checkpoint_id, block_trace_id, source, main_trace, is_control, name, started_at, metadata_json, call_id, gossip,
			deployment_id, loaded_on`,
	}
	t.diffs = rows{
		table: "tx_traces", width: 9,
		columns: "block_trace_checkpoint_id, node_name, action, time, diff, sender, reason, deployment_id, loaded_on",
	}
	t.works = rows{
		table: "sw_traces", width: 18,
		columns: `block_trace_checkpoint_id, node_name, action, time, fst_work_id, snd_work_id, fee, prover, sender, reason,
			fst_work_type, snd_work_type, fst_work_tx_hash, snd_work_tx_hash, fst_work_tx_memo, snd_work_tx_memo, deployment_id, loaded_on`,
	}
}

// lock locks the nodes in the order of their ids, whoever else stores something of them, and reads what is stored.
func (t *transaction) lock(ctx context.Context) error {
	byID := make(map[int32]*write, len(t.writes))
	ids, versions, servers := make([]int32, len(t.writes)), make([]int64, len(t.writes)), make([][16]byte, len(t.writes))
	for i, w := range t.writes {
		byID[w.node.id] = w
		ids[i], versions[i], servers[i] = w.node.id, w.version, w.server
	}
	queue := &pgx.Batch{}
	locked := 0
	queue.Queue(`SELECT r.node_id, r.version, r.server_uuid, CASE WHEN r.version <> v.version THEN r.state END, r.version <> v.version
		FROM log_reader r JOIN unnest($2::int[], $3::bigint[]) AS v(node_id, version) USING (node_id)
		WHERE r.deployment_id = $1 ORDER BY r.node_id FOR UPDATE OF r`, t.deployment.id, ids, versions).Query(func(rows pgx.Rows) error {
		var id int32
		var version int64
		var server *[16]byte
		var state []byte
		var changed bool
		_, err := pgx.ForEachRow(rows, []any{&id, &version, &server, &state, &changed}, func() error {
			locked++
			n := byID[id].node
			n.known = server != nil
			if n.known {
				n.present = *server
			}
			if !changed {
				return nil
			}
			if err := n.decode(state); err != nil { // of another version of this program
				n.begin()
				n.reader.Lost()
				t.log.Warn("a node's traces begin anew", zap.String("node", n.name), zap.Error(err))
			}
			n.version = version
			return nil
		})
		return err
	})
	queue.Queue(`SELECT c.node_id, c.next_id FROM log_cursor c JOIN unnest($2::int[], $3::uuid[]) AS v(node_id, server_uuid)
		USING (node_id, server_uuid) WHERE c.deployment_id = $1`, t.deployment.id, ids, servers).Query(func(rows pgx.Rows) error {
		var id int32
		var next int64
		_, err := pgx.ForEachRow(rows, []any{&id, &next}, func() error {
			byID[id].next = next
			return nil
		})
		return err
	})
	if err := t.conn.SendBatch(ctx, queue).Close(); err != nil {
		return fmt.Errorf("locking %d nodes: %w", len(t.writes), err)
	}
	if locked != len(t.writes) {
		t.deployment.forget()
		return fmt.Errorf("of %d nodes %d are in the database: try again", len(t.writes), locked)
	}
	return nil
}

// compare finds out what of the batch is not stored yet. Entries, and gaps of known length, lie in the order of their ids before the
// cursor's Next, whoever stored them.
func (w *write) compare() {
	first := w.next == 0 // there is no cursor of this run
	switch {
	case !w.known:
		w.run = newRun
	case w.present == w.server:
		w.run = presentRun
	case first || w.Restart != nil:
		w.run = newRun
	default:
		w.run = oldRun
	}
	previous := w.next - 1
	for i := range w.Entries {
		if id := int64(w.Entries[i].ID); id > previous && id > 0 {
			w.fresh = append(w.fresh, i)
			previous = id
		}
	}
	for _, gap := range w.Gaps {
		if server, _ := serverUUID(gap.ServerUUID); server == w.server {
			gap.From = max(gap.From, int(w.next))
			if gap.To >= gap.From {
				w.gaps = append(w.gaps, gap)
				w.lost += int64(gap.To - gap.From + 1)
			}
		}
	}
	slices.SortFunc(w.gaps, func(a, b fetcher.Gap) int { return a.From - b.From })
}

// convert makes rows of the entries, and feeds them to the node's reader.
func (t *transaction) convert(w *write) {
	restarted := w.run == newRun && w.known
	traced := t.only == nil && w.run != oldRun
	if traced && restarted {
		w.take(w.reader.Restarted())
	}
	if !traced && w.run != oldRun {
		w.take(w.reader.Lost())
	}
	holes := w.holes()
	for _, i := range w.fresh {
		log := &w.Entries[i]
		e := t.entryOf(log)
		t.entry(w, log.ID, instant(log.Timestamp), &e)
		if !traced {
			continue
		}
		for len(holes) > 0 && holes[0] < log.ID {
			w.feed()
			w.take(w.reader.Lost())
			holes = holes[1:]
		}
		if e.err != nil {
			t.unread++
			t.log.Debug("an entry is no trace record", zap.String("node", w.name), zap.Int("log_id", log.ID), zap.Error(e.err))
			continue
		}
		w.traced.records = append(w.traced.records, e.record)
	}
	if traced {
		w.feed()
		if len(holes) > 0 {
			w.take(w.reader.Lost())
		}
	}
	for _, problem := range w.traced.changes.Problems {
		t.unread++
		t.log.Debug("a trace record could not be used", zap.String("node", w.name), zap.Int64("log_id", problem.ID), zap.String("problem", problem.Text))
	}
}

// entry adds a row to log_entry.
func (t *transaction) entry(w *write, id int, logged time.Time, e *entry) {
	r := &t.entries
	t.stored++
	r.row()
	r.int32(t.deployment.id)
	r.int32(w.node.id)
	r.uuid(w.server)
	r.int64(int64(id))
	r.day(t.day)
	r.time(t.at)
	r.time(logged)
	r.textOrNull(e.process)
	r.text(e.message)
	if e.metadata == nil {
		r.null()
	} else {
		r.jsonb(e.metadata)
	}
	r.bool(e.damaged)
}

// holes returns the ids at which something is missing, ascending.
func (w *write) holes() []int {
	var at []int
	for _, gap := range w.gaps {
		at = append(at, gap.From)
	}
	for _, malformed := range w.Malformed {
		if int64(malformed.ID) >= max(1, w.next) && malformed.ID < w.Cursor.Next {
			at = append(at, malformed.ID)
		}
	}
	slices.Sort(at)
	return at
}

// writeLogs moves the cursors and writes gaps, malformed entries and restarts.
func (t *transaction) writeLogs(ctx context.Context) error {
	queue := &pgx.Batch{}
	for _, w := range t.writes {
		if err := t.queueLogs(queue, w); err != nil {
			return err
		}
	}
	if err := t.conn.SendBatch(ctx, queue).Close(); err != nil {
		return fmt.Errorf("moving the cursors of %d nodes: %w", len(t.writes), err)
	}
	return nil
}

func (t *transaction) queueLogs(queue *pgx.Batch, w *write) error {
	d, id := t.deployment.id, w.node.id
	t.queueCursor(queue, w)
	for _, gap := range w.gaps {
		t.queueGap(queue, w, w.server, gap)
	}
	if w.run == newRun && w.known {
		t.queueRestart(queue, w)
	}
	if w.run == oldRun { // its end was taken to be lost
		queue.Queue(`UPDATE log_gap SET from_id = $4 WHERE deployment_id = $1 AND node_id = $2 AND server_uuid = $3 AND to_id IS NULL AND from_id < $4`,
			d, id, w.server, w.Cursor.Next)
	}
	if len(w.Malformed) > 0 {
		ids, reasons, raws := make([]int64, len(w.Malformed)), make([]string, len(w.Malformed)), make([]string, len(w.Malformed))
		for i, malformed := range w.Malformed {
			ids[i], reasons[i], raws[i] = int64(malformed.ID), clean(malformed.Reason), clean(malformed.Raw)
		}
		queue.Queue(`INSERT INTO log_malformed (deployment_id, node_id, server_uuid, log_id, reason, raw, found_at)
			SELECT $1, $2, $3, log_id, reason, raw, $4 FROM unnest($5::bigint[], $6::text[], $7::text[]) AS m(log_id, reason, raw) ON CONFLICT DO NOTHING`,
			d, id, w.server, t.at, ids, reasons, raws)
	}
	if t.only != nil && len(w.fresh) > 0 {
		queue.Queue(`INSERT INTO log_problem (deployment_id, node_id, server_uuid, from_id, to_id, problem, found_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT DO NOTHING`, d, id, w.server, w.Entries[w.fresh[0]].ID, w.Entries[w.fresh[len(w.fresh)-1]].ID,
			clean(t.secrets.Text(t.only.Error())), t.at)
	}
	if w.run == oldRun || w.run == presentRun && !w.traced.fed {
		return nil
	}
	state, err := w.encode()
	if err != nil {
		return err
	}
	w.present, w.known = w.server, true
	w.version++
	queue.Queue("UPDATE log_reader SET server_uuid = $3, version = $4, state = $5, updated_at = $6 WHERE deployment_id = $1 AND node_id = $2",
		d, id, w.server, w.version, string(state), t.at)
	return nil
}

// queueRestart records that the daemon was found to be another run, and that the end of the run before may be missing.
func (t *transaction) queueRestart(queue *pgx.Batch, w *write) {
	seen := t.at
	gaps := []fetcher.Gap{{ServerUUID: uuidText(w.present), From: 1, Reason: fetcher.GapRestart}} // of whatever another fetcher had read
	if w.Restart != nil {
		if told := instant(w.Restart.Seen); !told.IsZero() {
			seen = told
		}
		gaps = w.Gaps
	}
	queue.Queue("INSERT INTO node_restarts (deployment_id, node_name, time, reason) VALUES ($1, $2, $3, $4)", t.deployment.id, w.name, seen,
		"server UUID "+uuidText(w.present)+" became "+uuidText(w.server))
	for _, gap := range gaps {
		if server, _ := serverUUID(gap.ServerUUID); server != w.server {
			t.queueGap(queue, w, server, gap)
		}
	}
}

// queueCursor moves the cursor of the batch's run, never back.
func (t *transaction) queueCursor(queue *pgx.Batch, w *write) {
	var last *time.Time
	if len(w.fresh) > 0 {
		last = orNull(instant(w.Cursor.LastTime))
	}
	var text *string
	if w.unusual != "" {
		text = &w.unusual
	}
	next := max(int64(w.Cursor.Next), w.next, 1)
	if w.next == 0 {
		queue.Queue(`INSERT INTO log_cursor (deployment_id, node_id, server_uuid, next_id, entries, lost, started_at, updated_at, last_time, server_text)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9)`,
			t.deployment.id, w.node.id, w.server, next, len(w.fresh), w.lost, t.at, last, text)
		return
	}
	queue.Queue(`UPDATE log_cursor SET next_id = $5, entries = entries + $6, lost = lost + $7, updated_at = $8, last_time = coalesce($9, last_time)
		WHERE deployment_id = $1 AND node_id = $2 AND server_uuid = $3 AND next_id = $4`,
		t.deployment.id, w.node.id, w.server, w.next, next, len(w.fresh), w.lost, t.at, last).Exec(movedBy("node " + w.name))
}

// movedBy checks that a cursor was where it was read, in spite of whoever does not lock.
func movedBy(whose string) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() != 1 {
			return fmt.Errorf("the cursor of %s was moved by somebody else meanwhile", whose)
		}
		return nil
	}
}

func (t *transaction) queueGap(queue *pgx.Batch, w *write, server [16]byte, gap fetcher.Gap) {
	var to *int64
	if _, known := gap.Missing(); known {
		last := int64(gap.To)
		to = &last
	}
	// Of a run that another fetcher has read further, less is missing.
	queue.Queue(`INSERT INTO log_gap (deployment_id, node_id, server_uuid, from_id, to_id, time_before, time_after, found_at, reason)
		SELECT $1, $2, $3, from_id, $5, $6, $7, $8, $9 FROM (
			SELECT CASE WHEN $5::bigint IS NULL THEN greatest($4::bigint, max(next_id)) ELSE $4 END AS from_id
			FROM log_cursor WHERE deployment_id = $1 AND node_id = $2 AND server_uuid = $3) AS known
		ON CONFLICT (deployment_id, node_id, server_uuid, from_id) DO NOTHING`,
		t.deployment.id, w.node.id, server, int64(gap.From), to, orNull(instant(gap.Before)), orNull(instant(gap.After)), t.at, string(gap.Reason))
}

// orNull makes the zero time null.
func orNull(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

// nodeIDs returns the ids of nodes, which are made where they are missing. A node that goes on from another deployment takes over its
// cursors, but not its traces.
func (s *Store) nodeIDs(ctx context.Context, d *deployment, names []string) (map[string]int32, error) {
	ids, missing := d.known(names)
	if len(missing) == 0 {
		return ids, nil
	}
	slices.Sort(missing)
	queue := &pgx.Batch{}
	queue.Queue("INSERT INTO log_node (deployment_id, node_name) SELECT $1, name FROM unnest($2::text[]) AS name ORDER BY name ON CONFLICT DO NOTHING",
		d.id, missing)
	// First the reader's row, as whoever saves locks it first.
	queue.Queue(`INSERT INTO log_reader AS own (deployment_id, node_id, server_uuid, updated_at)
		SELECT n.deployment_id, n.node_id, o.server_uuid, coalesce(o.updated_at, '-infinity')
		FROM log_node n LEFT JOIN LATERAL (
			SELECT r.* FROM log_node m JOIN log_reader r ON r.deployment_id = m.deployment_id AND r.node_id = m.node_id
			WHERE m.node_name = n.node_name AND m.deployment_id <> $1 AND r.server_uuid IS NOT NULL
			ORDER BY r.updated_at DESC LIMIT 1) AS o ON true
		WHERE n.deployment_id = $1 AND n.node_name = ANY ($2) ORDER BY n.node_id
		ON CONFLICT (deployment_id, node_id) DO UPDATE SET server_uuid = excluded.server_uuid, updated_at = excluded.updated_at,
			state = NULL, version = own.version + 1
		WHERE own.updated_at < excluded.updated_at`, d.id, missing)
	queue.Queue(`INSERT INTO log_cursor AS own (deployment_id, node_id, server_uuid, next_id, last_time, server_text)
		SELECT DISTINCT ON (n.node_id, c.server_uuid) n.deployment_id, n.node_id, c.server_uuid, c.next_id, c.last_time, c.server_text
		FROM log_node n JOIN log_node o USING (node_name) JOIN log_cursor c ON c.deployment_id = o.deployment_id AND c.node_id = o.node_id
		WHERE n.deployment_id = $1 AND n.node_name = ANY ($2) AND o.deployment_id <> $1 AND NOT starts_with(coalesce(c.server_text, ''), 'file ')
		ORDER BY n.node_id, c.server_uuid, c.next_id DESC
		ON CONFLICT (deployment_id, node_id, server_uuid) DO UPDATE SET next_id = excluded.next_id, last_time = excluded.last_time
		WHERE own.next_id < excluded.next_id`, d.id, missing)
	queue.Queue("SELECT node_name, node_id FROM log_node WHERE deployment_id = $1 AND node_name = ANY ($2)", d.id, missing).Query(
		func(rows pgx.Rows) error {
			var name string
			var id int32
			_, err := pgx.ForEachRow(rows, []any{&name, &id}, func() error {
				ids[name] = id
				return nil
			})
			return err
		})
	if err := s.pool.SendBatch(ctx, queue).Close(); err != nil { // one transaction
		return nil, fmt.Errorf("looking up %d nodes: %w", len(missing), err)
	}
	for _, name := range missing {
		if _, ok := ids[name]; !ok {
			return nil, fmt.Errorf("node %s could not be made", name)
		}
	}
	d.learn(ids)
	return ids, nil
}

// known returns the ids that are remembered, and the names of the other nodes.
func (d *deployment) known(names []string) (ids map[string]int32, missing []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids = make(map[string]int32, len(names))
	for _, name := range names {
		if id, ok := d.ids[name]; ok {
			ids[name] = id
		} else {
			missing = append(missing, name)
		}
	}
	return ids, missing
}

func (d *deployment) learn(ids map[string]int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, id := range ids {
		d.ids[name] = id
	}
}

// forget has nodes and days looked up again.
func (d *deployment) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ids, d.days = map[string]int32{}, map[int64]bool{}
}

// ensureDay makes the partitions of a day before its first row, in a transaction of its own.
func (s *Store) ensureDay(ctx context.Context, d *deployment, day time.Time) error {
	number := day.Unix() / 86400
	d.mu.Lock()
	done := d.days[number]
	d.mu.Unlock()
	if done {
		return nil
	}
	if _, err := s.pool.Exec(ctx, "SELECT ensure_day($1, $2)", d.id, day); err != nil {
		return fmt.Errorf("making the partitions of %s in deployment %d: %w", day.Format(time.DateOnly), d.id, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.days[number] = true
	return nil
}
