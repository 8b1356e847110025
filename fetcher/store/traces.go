package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"provingground/fetcher/trace"
)

// traced is what a node's reader made of a batch.
type traced struct {
	records []trace.Record // to be fed
	fed     bool           // whether the reader changed
	changes trace.Changes  // of all calls; Traces has one entry for each number
	at      map[int64]int  // place in changes.Traces by number
}

// feed hands the collected records to the reader.
func (w *write) feed() {
	if len(w.traced.records) > 0 {
		w.take(w.reader.Feed(w.traced.records))
		w.traced.records = w.traced.records[:0]
	}
}

// take adds changes to those of the batch.
func (w *write) take(c trace.Changes) {
	all := &w.traced.changes
	w.traced.fed = true
	if w.traced.at == nil {
		w.traced.at = map[int64]int{}
	}
	for _, change := range c.Traces {
		i, ok := w.traced.at[change.Number]
		if !ok {
			w.traced.at[change.Number] = len(all.Traces)
			all.Traces = append(all.Traces, change)
			continue
		}
		before := &all.Traces[i]
		before.Trace = change.Trace
		before.Created = before.Created || change.Created
		before.Succeeded = before.Succeeded || change.Succeeded
		before.Metadata = union(before.Metadata, change.Metadata)
	}
	all.Rows = append(all.Rows, c.Rows...)
	all.Renames = append(all.Renames, c.Renames...)
	all.Gossip = append(all.Gossip, c.Gossip...)
	all.Transactions = append(all.Transactions, c.Transactions...)
	all.Interruptions = append(all.Interruptions, c.Interruptions...)
	all.Retired = append(all.Retired, c.Retired...)
	all.Problems = append(all.Problems, c.Problems...)
}

// union returns both, newer keys winning.
func union(older, newer map[string]json.RawMessage) map[string]json.RawMessage {
	if len(older) == 0 {
		return newer
	}
	maps.Copy(older, newer)
	return older
}

// writeTraces writes block_trace, checkpoints and pool events.
func (t *transaction) writeTraces(ctx context.Context) error {
	for _, w := range t.writes {
		if err := t.rename(ctx, w); err != nil {
			return err
		}
	}
	if err := t.upsert(ctx); err != nil {
		return err
	}
	if err := t.writeRows(ctx); err != nil {
		return err
	}
	if err := t.distribute(ctx); err != nil {
		return err
	}
	if err := t.interrupt(ctx); err != nil {
		return err
	}
	for _, w := range t.writes {
		for _, number := range w.traced.changes.Retired {
			delete(w.traces, number)
		}
		for _, rename := range w.traced.changes.Renames {
			if rename.Replaces != 0 {
				delete(w.traces, rename.Replaces)
			}
		}
	}
	return nil
}

// rename gives rows of block_trace their blocks' hashes. Where there is a row of the hash already, the two become one.
func (t *transaction) rename(ctx context.Context, w *write) error {
	for _, rename := range w.traced.changes.Renames {
		id, ok := w.traces[rename.Trace]
		if !ok {
			continue // it is made under its hash
		}
		var keep int32
		queue := &pgx.Batch{}
		// The row that stays is the one of the hash, if there is one.
		queue.Queue("SELECT block_trace_id FROM block_trace WHERE deployment_id = $1 AND node_name = $2 AND block_id = $3 AND block_trace_id <> $4",
			t.deployment.id, w.name, rename.To, id).Query(func(rows pgx.Rows) error {
			_, err := pgx.ForEachRow(rows, []any{&keep}, func() error { return nil })
			return err
		})
		if err := t.conn.SendBatch(ctx, queue).Close(); err != nil {
			return fmt.Errorf("looking for block %s: %w", rename.To, err)
		}
		queue = &pgx.Batch{}
		if keep == 0 {
			queue.Queue("UPDATE block_trace SET block_id = $3 WHERE deployment_id = $1 AND block_trace_id = $2", t.id, id, rename.To)
		} else {
			queue.Queue("UPDATE block_trace_checkpoint SET block_trace_id = $3 WHERE deployment_id = $1 AND block_trace_id = $2", t.id, id, keep)
			queue.Queue("UPDATE sw_interruptions SET block_trace_id = $2 WHERE block_trace_id = $1 AND NOT EXISTS (SELECT FROM sw_interruptions WHERE block_trace_id = $2)",
				id, keep)
			queue.Queue("DELETE FROM sw_interruptions WHERE block_trace_id = $1", id)
			queue.Queue("UPDATE block_trace AS old SET "+merged("new")+` FROM block_trace AS new WHERE old.deployment_id = $1 AND old.block_trace_id = $2
				AND new.deployment_id = $1 AND new.block_trace_id = $3`, t.id, keep, id)
			queue.Queue("DELETE FROM block_trace WHERE deployment_id = $1 AND block_trace_id = $2", t.id, id)
			for number, row := range w.traces {
				if row == id {
					w.traces[number] = keep
				}
			}
		}
		if err := t.conn.SendBatch(ctx, queue).Close(); err != nil {
			return fmt.Errorf("giving the block of slot %s its hash %s: %w", rename.From, rename.To, err)
		}
	}
	return nil
}

// Expressions of the statements that merge a row of block_trace called new into the one called old.
const (
	mergedStart = `CASE WHEN old.trace_started_at = -1 THEN new.trace_started_at
		WHEN new.trace_started_at = -1 THEN old.trace_started_at ELSE least(old.trace_started_at, new.trace_started_at) END`
	mergedEnd = `CASE WHEN old.trace_completed_at = -1 THEN new.trace_completed_at
		WHEN new.trace_completed_at = -1 OR old.status = 'Success' THEN old.trace_completed_at
		WHEN new.status = 'Success' THEN new.trace_completed_at
		ELSE greatest(old.trace_completed_at, new.trace_completed_at) END`
	mergedRow = "trace_started_at = " + mergedStart + ", trace_completed_at = " + mergedEnd + `,
		total_time = CASE WHEN greatest(old.trace_started_at, new.trace_started_at) = -1 THEN -1
			ELSE greatest(0, ` + mergedEnd + " - " + mergedStart + `) END,
		status = CASE WHEN 'Success' IN (old.status, new.status) THEN 'Success' WHEN 'Failure' IN (old.status, new.status) THEN 'Failure'
			ELSE 'Pending' END,
		source = CASE WHEN old.source = 'Unknown' THEN new.source ELSE old.source END,
		blockchain_length = CASE WHEN new.blockchain_length > 0 THEN new.blockchain_length ELSE old.blockchain_length END,
		global_slot = CASE WHEN new.global_slot > 0 THEN new.global_slot ELSE old.global_slot END,
		metadata_json = CASE WHEN new.metadata_json = '{}' THEN old.metadata_json ELSE old.metadata_json || new.metadata_json END`
)

// merged returns the assignments that merge a row of block_trace, called new or excluded, into the row called old: the earliest start,
// Success over Failure over Pending, and what is known over what is not (trace.Change).
func merged(from string) string { return strings.ReplaceAll(mergedRow, "new.", from+".") }

// traceRow is one row of block_trace, of one or more traces of the reader.
type traceRow struct {
	w       *write
	numbers []int64
	id      int32 // 0 for a new row
	trace.Trace
	metadata map[string]json.RawMessage
}

// merge takes in another trace of the same block, as the SQL of merged does.
func (r *traceRow) merge(newer trace.Trace) {
	switch {
	case newer.Timed && !r.Timed:
		r.Timed, r.Started, r.Completed = true, newer.Started, newer.Completed
	case newer.Timed:
		r.Started = min(r.Started, newer.Started)
		switch {
		case r.Status == trace.Success:
		case newer.Status == trace.Success:
			r.Completed = newer.Completed
		default:
			r.Completed = max(r.Completed, newer.Completed)
		}
	}
	if r.Status == trace.Pending || newer.Status == trace.Success {
		r.Status = newer.Status
	}
	if r.Source == trace.Unknown {
		r.Source = newer.Source
	}
	if newer.Length != nil {
		r.Length = newer.Length
	}
	if newer.GlobalSlot != nil {
		r.GlobalSlot = newer.GlobalSlot
	}
}

// traceRows returns one row for each block that changed.
func (t *transaction) traceRows() []*traceRow {
	var list []*traceRow
	for _, w := range t.writes {
		byBlock := map[string]*traceRow{}
		for i := range w.traced.changes.Traces {
			change := &w.traced.changes.Traces[i]
			row := byBlock[change.Block]
			if row == nil {
				row = &traceRow{w: w, Trace: change.Trace}
				byBlock[change.Block] = row
				list = append(list, row)
			} else {
				row.merge(change.Trace)
			}
			row.numbers = append(row.numbers, change.Number)
			row.metadata = union(row.metadata, change.Metadata)
			if id := w.traces[change.Number]; id != 0 {
				row.id = id
			}
		}
	}
	return list
}

// upsert writes rows of block_trace. Known rows are updated by their ids, for an insertion that ends as an update takes a value of the
// sequence, which is not large.
func (t *transaction) upsert(ctx context.Context) error {
	list := t.traceRows()
	known := slices.Collect(func(yield func(*traceRow) bool) {
		for _, row := range list {
			if row.id != 0 && !yield(row) {
				return
			}
		}
	})
	found := map[int32]bool{}
	if len(known) > 0 {
		err := t.query(ctx, "UPDATE block_trace AS old SET "+merged("new")+` FROM unnest($2::int[], $3::text[], $4::text[], $5::float8[], $6::float8[],
				$7::text[], $8::text[], $9::int[], $10::int[], $11::jsonb[]) AS new (block_trace_id, node_name, block_id, trace_started_at,
				trace_completed_at, source, status, blockchain_length, global_slot, metadata_json)
			WHERE old.deployment_id = $1 AND old.block_trace_id = new.block_trace_id RETURNING old.block_trace_id, old.node_name, old.block_id`,
			known, func(id int32, _ [2]string) { found[id] = true })
		if err != nil {
			return fmt.Errorf("updating %d block traces: %w", len(known), err)
		}
	}
	var fresh []*traceRow
	byKey := map[[2]string]*traceRow{}
	for _, row := range list {
		if !found[row.id] { // new, or deleted by somebody
			row.id = 0
			fresh = append(fresh, row)
			byKey[[2]string{row.w.name, row.Block}] = row
		}
	}
	if len(fresh) > 0 {
		err := t.query(ctx, `INSERT INTO block_trace AS old (deployment_id, node_name, block_id, trace_started_at, trace_completed_at, total_time, source,
				status, blockchain_length, global_slot, metadata_json)
			SELECT $1, node_name, block_id, trace_started_at, trace_completed_at,
				CASE WHEN trace_started_at = -1 THEN -1 ELSE greatest(0, trace_completed_at - trace_started_at) END,
				source, status, blockchain_length, global_slot, metadata_json
			FROM unnest($2::int[], $3::text[], $4::text[], $5::float8[], $6::float8[], $7::text[], $8::text[], $9::int[], $10::int[], $11::jsonb[])
				AS new (block_trace_id, node_name, block_id, trace_started_at, trace_completed_at, source, status, blockchain_length,
				global_slot, metadata_json)
			ON CONFLICT (deployment_id, node_name, block_id) DO UPDATE SET `+merged("excluded")+`
			RETURNING block_trace_id, node_name, block_id`,
			fresh, func(id int32, key [2]string) { byKey[key].id = id })
		if err != nil {
			return fmt.Errorf("storing %d block traces: %w", len(fresh), err)
		}
	}
	for _, row := range list {
		for _, number := range row.numbers {
			row.w.traces[number] = row.id
		}
	}
	return nil
}

// query runs a statement whose arguments are the deployment and the rows, and which returns ids with node and block.
func (t *transaction) query(ctx context.Context, sql string, list []*traceRow, each func(id int32, key [2]string)) error {
	ids, lengths, slots := make([]int32, len(list)), make([]int32, len(list)), make([]int32, len(list))
	names, blocks, sources := make([]string, len(list)), make([]string, len(list)), make([]string, len(list))
	statuses, metadata := make([]string, len(list)), make([]string, len(list))
	started, completed := make([]float64, len(list)), make([]float64, len(list))
	for i, row := range list {
		ids[i], names[i], blocks[i], sources[i], statuses[i] = row.id, row.w.name, row.Block, string(row.Source), string(row.Status)
		started[i], completed[i] = -1, -1
		if row.Timed {
			started[i], completed[i] = row.Started, row.Completed
		}
		if row.Length != nil {
			lengths[i] = int32(*row.Length)
		}
		if row.GlobalSlot != nil {
			slots[i] = int32(*row.GlobalSlot)
		}
		metadata[i] = string(objectOf(itemsOf(row.metadata)))
	}
	rows, err := t.conn.Query(ctx, sql, t.id, ids, names, blocks, started, completed, sources, statuses, lengths, slots, metadata)
	if err != nil {
		return err
	}
	var id int32
	var key [2]string
	_, err = pgx.ForEachRow(rows, []any{&id, &key[0], &key[1]}, func() error {
		each(id, key)
		return nil
	})
	return err
}

// itemsOf returns the items of an object, by key.
func itemsOf(object map[string]json.RawMessage) []trace.Item {
	items := make([]trace.Item, 0, len(object))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		items = append(items, trace.Item{Key: key, Value: object[key]})
	}
	return items
}

// trace makes rows of checkpoints, control records and pool events, in which ids are yet to be filled in.
func (w *write) trace() {
	size := len(w.traced.changes.Rows) * checkpointSize
	for i := range w.traced.changes.Rows {
		size += len(w.traced.changes.Rows[i].Name) + len(w.traced.changes.Rows[i].Metadata)
	}
	w.checkpoints.grow(len(w.traced.changes.Rows), size)
	events := make(map[int64]int, len(w.traced.changes.Gossip)) // places of rows by Seq
	for i := range w.traced.changes.Rows {
		row := &w.traced.changes.Rows[i]
		w.checkpoint(row)
		if row.Gossip && row.Control && row.Process == trace.Main {
			events[row.Seq] = i
		}
	}
	for i := range w.traced.changes.Gossip {
		gossip := &w.traced.changes.Gossip[i]
		if at, ok := events[gossip.Seq]; ok {
			w.event(gossip, at)
		}
	}
	w.gatherBlocks()
}

func (w *write) checkpoint(row *trace.Row) {
	r := &w.checkpoints
	r.row()
	r.int64(0)
	r.int32(0)
	r.text(row.Process.Letter())
	r.bool(row.Main)
	r.bool(row.Control)
	r.text(row.Name)
	if row.Control {
		r.float64(-1)
	} else {
		r.float64(row.Time)
	}
	if row.Metadata == nil {
		r.jsonb([]byte("[]"))
	} else {
		r.jsonb(row.Metadata)
	}
	r.int32(int32(row.Call))
	r.bool(row.Gossip)
	r.int32(w.deployment.id)
	r.day(w.day)
}

// drawn is how many ids one value of the checkpoints' sequence stands for.
const drawn = 1000

// writeRows copies checkpoints, control records and pool events.
func (t *transaction) writeRows(ctx context.Context) error {
	total := 0
	for _, w := range t.writes {
		total += len(w.traced.changes.Rows)
	}
	if total == 0 {
		return nil
	}
	ids, err := t.drawIDs(ctx, total)
	if err != nil {
		return err
	}
	for _, w := range t.writes {
		for i := range w.traced.changes.Rows {
			w.checkpoints.setFirst(i, ids[i])
			w.checkpoints.setSecond(i, w.traces[w.traced.changes.Rows[i].Trace])
		}
		for i, at := range w.diffsAt {
			w.diffs.setFirst(i, ids[at])
		}
		for i, at := range w.worksAt {
			w.works.setFirst(i, ids[at])
		}
		t.derived.addWorks(w, ids)
		ids = ids[len(w.traced.changes.Rows):]
	}
	for _, of := range []func(w *write) *rows{
		func(w *write) *rows { return &w.checkpoints }, func(w *write) *rows { return &w.diffs }, func(w *write) *rows { return &w.works },
	} {
		if err := t.copy(ctx, of); err != nil {
			return err
		}
	}
	return nil
}

// drawIDs returns ascending ids. Those of later transactions of the same node are larger.
func (t *transaction) drawIDs(ctx context.Context, count int) ([]int64, error) {
	rows, err := t.conn.Query(ctx, "SELECT nextval('block_trace_checkpoint_block_trace_checkpoint_id_seq') FROM generate_series(1, $1)",
		(count+drawn-1)/drawn)
	if err != nil {
		return nil, fmt.Errorf("drawing %d ids: %w", count, err)
	}
	ids := make([]int64, 0, count+drawn)
	var first int64
	if _, err := pgx.ForEachRow(rows, []any{&first}, func() error {
		for i := range int64(drawn) {
			ids = append(ids, first+i)
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("drawing %d ids: %w", count, err)
	}
	return ids, nil
}
