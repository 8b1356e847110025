package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"provingground/fetcher"
	"provingground/orchestrator/itn"
)

// write is a batch on its way into the database: made by [Store.ready], stored by a transaction together with those of other nodes.
type write struct {
	*fetcher.Batch
	*node
	counter

	store      *Store
	deployment *deployment
	at         time.Time // wall time
	day        time.Time // its UTC day
	refusals   refusals  // for which something is left out

	server   [16]byte
	unusual  string        // see serverUUID
	next     int64         // the stored cursor of that run of the daemon
	run      runKind       // what that run is to the store
	fresh    []int         // indexes of the entries that are not stored yet
	mended   []mended      // recorded gaps of which the batch has entries
	gaps     []fetcher.Gap // those that are not stored yet, or the part of them
	lost     int64         // entries in these gaps
	traced   traced
	exported []byte // the reader's state afterwards, nil when it is as it was

	entries, checkpoints, diffs, works rows
	diffsAt, worksAt                   []int // places of the pool events' checkpoints among traced.changes.Rows
	derived                            derived
}

// refusals are why parts of a batch are left out: nil for what is stored.
type refusals struct {
	derived   error // of all that is derived from the entries
	malformed error // of the malformed entries
}

// mended is a recorded gap of which a batch has entries: another fetcher gave them up.
type mended struct {
	id      int64      // of log_gap
	found   time.Time  // when it was noticed
	entries []int      // indexes
	left    [][2]int64 // what is still missing, first and last id
}

// runKind is what the run of a batch's daemon is to the store.
type runKind int

const (
	presentRun runKind = iota // the one that was stored last
	newRun                    // another one, from now on the present
	oldRun                    // one that had been replaced by the present one
)

// errMoved says that somebody else has stored entries of the node since the batch was made ready.
var errMoved = errors.New("somebody else stored entries of the node meanwhile")

// ready prepares a batch, with what is remembered of its node. Whether that still holds is seen in the transaction.
func (s *Store) ready(ctx context.Context, d *deployment, batch *fetcher.Batch, refusals refusals) (*write, error) {
	ids, err := s.nodeIDs(ctx, d, []string{batch.Node})
	if err != nil {
		return nil, err
	}
	at := s.now().UTC()
	w := s.newWrite(d, batch, d.cache.take(batch.Node), at)
	w.refusals = refusals
	if err := s.ensureDay(ctx, d, w.day); err != nil {
		return nil, err
	}
	w.server, w.unusual = serverUUID(batch.Cursor.ServerUUID)
	if id := ids[batch.Node]; w.node == nil || w.id != id || !w.known || w.present != w.server {
		w.node = newNode(batch.Node, id)
		if err := w.read(ctx); err != nil {
			return nil, err
		}
	}
	w.next = w.node.next
	w.compare()
	if err := w.mend(ctx); err != nil {
		return nil, err
	}
	w.convert()
	if w.run != oldRun && w.traced.fed {
		if w.exported, err = w.reader.Export(); err != nil {
			return nil, fmt.Errorf("the state of node %s: %w", w.name, err)
		}
	}
	return w, nil
}

func (s *Store) newWrite(d *deployment, batch *fetcher.Batch, n *node, at time.Time) *write {
	w := &write{Batch: batch, node: n, store: s, deployment: d, at: at, day: at.Truncate(24 * time.Hour)}
	w.entries = rows{
		table: "log_entry", width: 11,
		columns: "deployment_id, node_id, server_uuid, log_id, loaded_on, fetched_at, logged_at, process, message, metadata, damaged",
	}
	w.checkpoints = rows{
		table: "block_trace_checkpoint", width: 12,
		columns: `block_trace_checkpoint_id, block_trace_id, source, main_trace, is_control, name, started_at, metadata_json, call_id, gossip,
			deployment_id, loaded_on`,
	}
	w.diffs = rows{
		table: "tx_traces", width: 9,
		columns: "block_trace_checkpoint_id, node_name, action, time, diff, sender, reason, deployment_id, loaded_on",
	}
	w.works = rows{
		table: "sw_traces", width: 18,
		columns: `block_trace_checkpoint_id, node_name, action, time, fst_work_id, snd_work_id, fee, prover, sender, reason,
			fst_work_type, snd_work_type, fst_work_tx_hash, snd_work_tx_hash, fst_work_tx_memo, snd_work_tx_memo, deployment_id, loaded_on`,
	}
	return w
}

// read reads what is stored of the node.
func (w *write) read(ctx context.Context) error {
	var server *[16]byte
	var state []byte
	n := w.node
	err := w.store.pool.QueryRow(ctx, `SELECT r.version, r.server_uuid, r.state, coalesce(c.next_id, 0)
		FROM log_reader r LEFT JOIN log_cursor c ON c.deployment_id = r.deployment_id AND c.node_id = r.node_id AND c.server_uuid = $3
		WHERE r.deployment_id = $1 AND r.node_id = $2`, w.deployment.id, n.id, w.server).Scan(&n.version, &server, &state, &n.next)
	if errors.Is(err, pgx.ErrNoRows) {
		w.deployment.forget()
		return fmt.Errorf("node %s is not in the database any more: try again", n.name)
	}
	if err != nil {
		return fmt.Errorf("reading how far node %s is stored: %w", n.name, err)
	}
	if server != nil {
		n.present, n.known = *server, true
	}
	if err := n.decode(state); err != nil { // of another version of this program
		n.begin()
		n.reader.Lost()
		w.store.log.Warn("a node's traces begin anew", zap.String("node", n.name), zap.Error(err))
	}
	return nil
}

// transaction stores batches of different nodes together.
type transaction struct {
	*Store
	*deployment
	conn   *pgx.Conn
	writes []*write

	derived derived
}

// commit stores writes in one transaction, and returns those that were not because their nodes moved on meanwhile.
func (s *Store) commit(ctx context.Context, writes []*write) (moved []*write, err error) {
	t := &transaction{Store: s, deployment: writes[0].deployment, writes: slices.Clone(writes)}
	slices.SortFunc(t.writes, func(a, b *write) int { return cmp.Compare(a.id, b.id) })
	err = s.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		t.conn = conn.Conn()
		return pgx.BeginFunc(ctx, conn, func(pgx.Tx) error {
			moved, err = t.lock(ctx)
			if err != nil || len(t.writes) == 0 {
				return err
			}
			return t.store(ctx)
		})
	})
	if err != nil {
		return nil, err // the nodes are not put back: what they hold was not committed, or perhaps it was
	}
	for _, w := range t.writes {
		if w.run != oldRun { // of which the node's cursor is not
			t.cache.put(w.node)
		}
		s.counts.add(w.counter)
	}
	t.seen.commit(&t.derived)
	return moved, nil
}

// store does the work, between the lock and the commit.
func (t *transaction) store(ctx context.Context) error {
	if err := t.copy(ctx, func(w *write) *rows { return &w.entries }); err != nil {
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

// copy sends the rows of all writes to one table.
func (t *transaction) copy(ctx context.Context, of func(w *write) *rows) error {
	list := make([]*rows, len(t.writes))
	for i, w := range t.writes {
		list[i] = of(w)
	}
	return send(ctx, t.conn, list)
}

// lock locks the nodes in the order of their ids, whoever else stores something of them, and leaves out those of which somebody did
// since they were read.
func (t *transaction) lock(ctx context.Context) (moved []*write, err error) {
	ids, versions := make([]int32, len(t.writes)), make([]int64, len(t.writes))
	for i, w := range t.writes {
		ids[i], versions[i] = w.id, w.version
	}
	rows, err := t.conn.Query(ctx, `SELECT r.node_id FROM log_reader r JOIN unnest($2::int[], $3::bigint[]) AS v(node_id, version) USING (node_id)
		WHERE r.deployment_id = $1 AND r.version = v.version ORDER BY r.node_id FOR UPDATE OF r`, t.id, ids, versions)
	if err != nil {
		return nil, fmt.Errorf("locking %d nodes: %w", len(t.writes), err)
	}
	locked, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil {
		return nil, fmt.Errorf("locking %d nodes: %w", len(t.writes), err)
	}
	t.writes = slices.DeleteFunc(t.writes, func(w *write) bool {
		if slices.Contains(locked, w.id) {
			return false
		}
		moved = append(moved, w)
		return true
	})
	return moved, nil
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

// mend finds the entries before the cursor that lie in recorded gaps. Whoever records one changes the node's version, so that what is found
// here holds when the node is locked.
func (w *write) mend(ctx context.Context) error {
	late := slices.IndexFunc(w.Entries, func(log itn.Log) bool { return log.ID > 0 })
	if late < 0 || int64(w.Entries[late].ID) >= w.next {
		return nil
	}
	rows, err := w.store.pool.Query(ctx, `SELECT gap_id, found_at, from_id, to_id FROM log_gap
		WHERE deployment_id = $1 AND node_id = $2 AND server_uuid = $3 AND to_id >= $4 AND from_id < $5 ORDER BY from_id`,
		w.deployment.id, w.id, w.server, w.Entries[late].ID, w.next)
	if err != nil {
		return fmt.Errorf("reading the gaps of node %s: %w", w.name, err)
	}
	var id, from, to int64
	var noticed time.Time
	if _, err := pgx.ForEachRow(rows, []any{&id, &noticed, &from, &to}, func() error {
		gap := mended{id: id, found: noticed}
		for ; late < len(w.Entries) && int64(w.Entries[late].ID) <= to; late++ {
			entry := int64(w.Entries[late].ID)
			if entry < from {
				continue
			}
			gap.entries = append(gap.entries, late)
			if entry > from {
				gap.left = append(gap.left, [2]int64{from, entry - 1})
			}
			from = entry + 1
		}
		if from <= to {
			gap.left = append(gap.left, [2]int64{from, to})
		}
		if len(gap.entries) > 0 {
			w.mended = append(w.mended, gap)
			w.lost -= int64(len(gap.entries))
		}
		return nil
	}); err != nil {
		return fmt.Errorf("reading the gaps of node %s: %w", w.name, err)
	}
	return nil
}

// Sizes of rows without their texts, and of what surrounds an item in JSON.
const (
	entrySize      = 140
	checkpointSize = 100
	itemSize       = 4
)

// convert makes rows of the entries, feeds them to the node's reader, and makes rows of what comes out.
func (w *write) convert() {
	restarted := w.run == newRun && w.known
	traced := w.refusals.derived == nil && w.run != oldRun
	if traced && restarted {
		w.take(w.reader.Restarted())
	}
	if !traced && w.run != oldRun {
		w.take(w.reader.Lost())
	}
	holes := w.holes()
	size := len(w.fresh) * entrySize
	for _, i := range w.fresh {
		for _, m := range w.Entries[i].Metadata {
			size += len(m.Item) + len(m.Value) + itemSize
		}
		size += len(w.Entries[i].Message)
	}
	w.entries.grow(len(w.fresh), size)
	for _, i := range w.fresh {
		log := &w.Entries[i]
		e := w.entryOf(log)
		w.entry(log.ID, instant(log.Timestamp), &e)
		if !traced {
			continue
		}
		for len(holes) > 0 && holes[0] < log.ID {
			w.feed()
			w.take(w.reader.Lost())
			holes = holes[1:]
		}
		if e.err != nil {
			w.unread++
			w.store.log.Debug("an entry is no trace record", zap.String("node", w.name), zap.Int("log_id", log.ID), zap.Error(e.err))
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
	for _, gap := range w.mended { // too late for the reader, which has read what comes after them
		for _, i := range gap.entries {
			e := w.entryOf(&w.Entries[i])
			w.entry(w.Entries[i].ID, instant(w.Entries[i].Timestamp), &e)
		}
	}
	for _, problem := range w.traced.changes.Problems {
		w.unread++
		w.store.log.Debug("a trace record could not be used", zap.String("node", w.name), zap.Int64("log_id", problem.ID), zap.String("problem", problem.Text))
	}
	w.trace()
}

// entry adds a row to log_entry.
func (w *write) entry(id int, logged time.Time, e *entry) {
	r := &w.entries
	w.stored++
	r.row()
	r.int32(w.deployment.id)
	r.int32(w.id)
	r.uuid(w.server)
	r.int64(int64(id))
	r.day(w.day)
	r.time(w.at)
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
	t.queueCursors(queue)
	for _, w := range t.writes {
		t.queueLogs(queue, w)
	}
	if err := t.queueReaders(queue); err != nil {
		return err
	}
	if err := t.conn.SendBatch(ctx, queue).Close(); err != nil {
		return fmt.Errorf("moving the cursors of %d nodes: %w", len(t.writes), err)
	}
	return nil
}

func (t *transaction) queueLogs(queue *pgx.Batch, w *write) {
	d, id := t.id, w.id
	for _, gap := range w.mended {
		t.queueMended(queue, w, gap)
	}
	for _, gap := range w.gaps {
		t.queueGap(queue, w, w.server, gap)
	}
	if w.run == newRun && w.known || w.Restart != nil {
		t.queueRestart(queue, w)
	}
	if w.run == oldRun { // its end was taken to be lost
		queue.Queue(`UPDATE log_gap SET from_id = $4 WHERE deployment_id = $1 AND node_id = $2 AND server_uuid = $3 AND to_id IS NULL AND from_id < $4`,
			d, id, w.server, w.Cursor.Next)
	}
	t.queueMalformed(queue, w)
	if refusal := w.refusals.derived; refusal != nil && len(w.fresh) > 0 {
		t.queueProblem(queue, w, w.Entries[w.fresh[0]].ID, w.Entries[w.fresh[len(w.fresh)-1]].ID, refusal.Error(), w.at)
	}
}

// queueMalformed writes malformed entries, or that they are refused.
func (t *transaction) queueMalformed(queue *pgx.Batch, w *write) {
	if len(w.Malformed) == 0 {
		return
	}
	ids, reasons, raws := make([]int64, len(w.Malformed)), make([]string, len(w.Malformed)), make([]string, len(w.Malformed))
	for i, malformed := range w.Malformed {
		ids[i], reasons[i], raws[i] = int64(malformed.ID), clean(malformed.Reason), clean(malformed.Raw)
	}
	if refusal := w.refusals.malformed; refusal != nil {
		t.queueProblem(queue, w, int(slices.Min(ids)), int(slices.Max(ids)), "malformed: "+reasons[0]+"; they are not in log_malformed: "+refusal.Error(), w.at)
		return
	}
	queue.Queue(`INSERT INTO log_malformed (deployment_id, node_id, server_uuid, log_id, reason, raw, found_at)
		SELECT $1, $2, $3, log_id, reason, raw, $4 FROM unnest($5::bigint[], $6::text[], $7::text[]) AS m(log_id, reason, raw) ON CONFLICT DO NOTHING`,
		t.id, w.id, w.server, w.at, ids, reasons, raws)
}

// queueMended narrows a gap to what is still missing. Nothing is derived from entries that came so late, which is a problem since the gap was.
func (t *transaction) queueMended(queue *pgx.Batch, w *write, gap mended) {
	t.queueProblem(queue, w, w.Entries[gap.entries[0]].ID, w.Entries[gap.entries[len(gap.entries)-1]].ID,
		"another fetcher had given them up, and stored what comes after them: nothing is derived from them", gap.found)
	if len(gap.left) == 0 {
		queue.Queue("DELETE FROM log_gap WHERE gap_id = $1", gap.id)
		return
	}
	for _, part := range gap.left[1:] {
		queue.Queue(`INSERT INTO log_gap (deployment_id, node_id, server_uuid, from_id, to_id, time_before, time_after, found_at, reason)
			SELECT deployment_id, node_id, server_uuid, $2, $3, time_before, time_after, found_at, reason FROM log_gap WHERE gap_id = $1`, gap.id, part[0], part[1])
	}
	queue.Queue("UPDATE log_gap SET from_id = $2, to_id = $3 WHERE gap_id = $1", gap.id, gap.left[0][0], gap.left[0][1])
}

// queueProblem says of entries, first and last, that less is stored of them than should be.
func (t *transaction) queueProblem(queue *pgx.Batch, w *write, from, to int, problem string, found time.Time) {
	queue.Queue(`INSERT INTO log_problem (deployment_id, node_id, server_uuid, from_id, to_id, problem, found_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (deployment_id, node_id, server_uuid, from_id) DO UPDATE SET to_id = greatest(log_problem.to_id, excluded.to_id)`,
		t.id, w.id, w.server, from, to, clean(t.secrets.Text(problem)), found)
}

// queueReaders writes what is remembered of the nodes.
func (t *transaction) queueReaders(queue *pgx.Batch) error {
	n := len(t.writes)
	ids, servers, states, times := make([]int32, n), make([][16]byte, n), make([]*string, n), make([]time.Time, n)
	for i, w := range t.writes {
		ids[i], times[i] = w.id, w.at
		if w.run != oldRun {
			w.present, w.known, w.node.next = w.server, true, w.moved()
		}
		servers[i] = w.present
		if w.exported != nil {
			state, err := w.encode(w.exported)
			if err != nil {
				return err
			}
			states[i] = &state
		}
		w.version++
	}
	queue.Queue(`UPDATE log_reader r SET server_uuid = v.server_uuid, version = r.version + 1, state = coalesce(v.state, r.state), updated_at = v.updated_at
		FROM unnest($2::int[], $3::uuid[], $4::text[], $5::timestamptz[]) AS v(node_id, server_uuid, state, updated_at)
		WHERE r.deployment_id = $1 AND r.node_id = v.node_id`, t.id, ids, servers, states, times)
	return nil
}

// queueRestart records that the daemon was found to be another run, and that the end of the run before may be missing. Of a batch that comes
// again, or after another fetcher has met the new run, it adds what is not recorded yet.
func (t *transaction) queueRestart(queue *pgx.Batch, w *write) {
	seen, before, again := w.at, w.present, w.run != newRun
	unsaid := !again && w.known // that the run before ended, by the batch: another fetcher had read it
	if w.Restart != nil {
		if told := instant(w.Restart.Seen); !told.IsZero() {
			seen = told
		}
		if again || !w.known {
			before, _ = serverUUID(w.Restart.Before)
		}
		for _, gap := range w.Gaps {
			server, _ := serverUUID(gap.ServerUUID)
			unsaid = unsaid && server != before
			if server != w.server {
				t.queueGap(queue, w, server, gap)
			}
		}
	}
	if unsaid {
		t.queueGap(queue, w, before, fetcher.Gap{From: 1, Reason: fetcher.GapRestart})
	}
	became := " became " + uuidText(w.server)
	queue.Queue(`INSERT INTO node_restarts (deployment_id, node_name, time, reason)
		SELECT d.deployment_id, $4::text, $5, $6 FROM deployment d WHERE d.deployment_id = deployment_of_end($1, $2, $3)
			AND NOT ($7 AND EXISTS (SELECT FROM node_restarts r WHERE r.node_name = $4::text AND r.reason LIKE '%' || $8::text))`,
		t.id, w.id, before, w.name, seen, "server UUID "+uuidText(before)+became, again, became)
}

// moved returns the cursor of the batch's run afterwards, which is never less than before.
func (w *write) moved() int64 { return max(int64(w.Cursor.Next), w.next, 1) }

// queueCursors moves the cursors of the batches' runs.
func (t *transaction) queueCursors(queue *pgx.Batch) {
	n := len(t.writes)
	ids, servers, texts, times := make([]int32, n), make([][16]byte, n), make([]*string, n), make([]time.Time, n)
	before, next, entries, lost, last := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]*time.Time, n)
	begun := 0
	for i, w := range t.writes {
		ids[i], servers[i], times[i] = w.id, w.server, w.at
		before[i], next[i], entries[i], lost[i] = w.next, w.moved(), int64(len(w.fresh)), w.lost
		for _, gap := range w.mended {
			entries[i] += int64(len(gap.entries))
		}
		if len(w.fresh) > 0 {
			last[i] = orNull(instant(w.Cursor.LastTime))
		}
		if w.unusual != "" {
			texts[i] = &w.unusual
		}
		if w.next == 0 {
			begun++
		}
	}
	const values = ` FROM unnest($2::int[], $3::uuid[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::timestamptz[], $9::timestamptz[], $10::text[])
		AS v(node_id, server_uuid, before, next_id, entries, lost, updated_at, last_time, server_text)`
	arguments := []any{t.id, ids, servers, before, next, entries, lost, times, last, texts}
	if begun > 0 {
		queue.Queue(`INSERT INTO log_cursor (deployment_id, node_id, server_uuid, next_id, entries, lost, started_at, updated_at, last_time, server_text)
			SELECT $1, node_id, server_uuid, next_id, entries, lost, updated_at, updated_at, last_time, server_text`+values+`
			WHERE before = 0 ON CONFLICT DO NOTHING`, arguments...).Exec(movedBy("a node", begun))
	}
	if begun < n {
		queue.Queue(`UPDATE log_cursor c SET next_id = v.next_id, entries = c.entries + v.entries, lost = c.lost + v.lost, updated_at = v.updated_at,
				last_time = coalesce(v.last_time, c.last_time), carried_from = NULL`+values+`
			WHERE c.deployment_id = $1 AND c.node_id = v.node_id AND c.server_uuid = v.server_uuid AND c.next_id = v.before AND v.before > 0`,
			arguments...).Exec(movedBy("a node", n-begun))
	}
}

// movedBy checks that cursors were where they were read, in spite of whoever does not lock.
func movedBy(whose string, count int) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() != int64(count) {
			return fmt.Errorf("the cursor of %s: %w", whose, errMoved)
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
		SELECT home.deployment_id, home.node_id, $3, CASE WHEN $5::bigint IS NULL THEN greatest($4::bigint, c.next_id) ELSE $4 END, $5, $6, $7, $8, $9
		FROM log_node own JOIN log_node home ON home.node_name = own.node_name AND home.deployment_id = deployment_of_end($1, $2, $3)
			LEFT JOIN log_cursor c ON c.deployment_id = own.deployment_id AND c.node_id = own.node_id AND c.server_uuid = $3
		WHERE own.deployment_id = $1 AND own.node_id = $2
		ON CONFLICT (deployment_id, node_id, server_uuid, from_id) DO NOTHING`,
		t.id, w.id, server, int64(gap.From), to, orNull(instant(gap.Before)), orNull(instant(gap.After)), w.at, string(gap.Reason))
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
	queue.Queue(`INSERT INTO log_cursor AS own (deployment_id, node_id, server_uuid, next_id, last_time, server_text, carried_from)
		SELECT DISTINCT ON (n.node_id, c.server_uuid) n.deployment_id, n.node_id, c.server_uuid, c.next_id, c.last_time, c.server_text,
			coalesce(c.carried_from, o.deployment_id)
		FROM log_node n JOIN log_node o USING (node_name) JOIN log_cursor c ON c.deployment_id = o.deployment_id AND c.node_id = o.node_id
		WHERE n.deployment_id = $1 AND n.node_name = ANY ($2) AND o.deployment_id <> $1 AND NOT starts_with(coalesce(c.server_text, ''), 'file ')
		ORDER BY n.node_id, c.server_uuid, c.next_id DESC
		ON CONFLICT (deployment_id, node_id, server_uuid) DO UPDATE SET next_id = excluded.next_id, last_time = excluded.last_time,
			carried_from = nullif(excluded.carried_from, excluded.deployment_id)
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
	maps.Copy(d.ids, ids)
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
	defer d.mu.Unlock() // others would only wait in the database
	if d.days[number] {
		return nil
	}
	if _, err := s.pool.Exec(ctx, "SELECT ensure_day($1, $2)", d.id, day); err != nil {
		return fmt.Errorf("making the partitions of %s in deployment %d: %w", day.Format(time.DateOnly), d.id, err)
	}
	d.days[number] = true
	return nil
}
