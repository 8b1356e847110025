package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"provingground/fetcher/trace"
)

// derived is what a transaction tells the functions that keep the derived tables.
type derived struct {
	received map[string]receivedTx // by hash
	own      []ownTx
	blocks   map[string]*seenBlock // by state hash
	works    bool
	from, to int64 // ids of the SNARK pool events
}

type receivedTx struct {
	kind, memo string
	at         int64 // microseconds since 1970
}

// ownTx is a transaction in an event of the node that is the source of it.
type ownTx struct {
	hash string
	receivedTx
	outcome *string // accepted or rejected, nil for received
}

// seenBlock is a block as the nodes of one transaction saw it.
type seenBlock struct {
	previous     string // empty when not known
	length, slot int32
	at           int64 // microseconds since 1970
	txs          []blockTx
}

// event writes a pool event.
func (t *transaction) event(w *write, g *trace.Gossip, id int64) {
	switch {
	case g.Diff != nil:
		r := &t.diffs
		t.eventHead(r, w, g, id)
		r.jsonb(g.Diff.Raw)
		r.textOrNull(t.fit(g.Diff.Sender, maxName))
		r.textOrNull(g.Diff.Reason)
		r.int32(t.deployment.id)
		r.day(t.day)
		t.receive(g)
	case g.Work != nil:
		r := &t.works
		t.eventHead(r, w, g, id)
		for i := range 2 {
			if i < len(g.Work.IDs) {
				r.int32(int32(g.Work.IDs[i]))
			} else {
				r.null()
			}
		}
		r.textOrNull(t.fit(g.Work.Fee, maxName))
		r.textOrNull(t.fit(g.Work.Prover, maxName))
		r.textOrNull(t.fit(g.Work.Sender, maxName))
		r.textOrNull(g.Work.Reason)
		var txs [2]trace.PoolTransaction
		copy(txs[:], g.Work.Txs)
		r.textOrNull(t.fit(txs[0].Type, maxType))
		r.textOrNull(t.fit(txs[1].Type, maxType))
		r.textOrNull(t.fit(txs[0].Signature, maxHash))
		r.textOrNull(t.fit(txs[1].Signature, maxHash))
		r.textOrNull(txs[0].Memo)
		r.textOrNull(txs[1].Memo)
		r.int32(t.deployment.id)
		r.day(t.day)
		d := &t.derived
		if !d.works {
			d.works, d.from = true, id
		}
		d.to = id
	}
}

func (t *transaction) eventHead(r *rows, w *write, g *trace.Gossip, id int64) {
	r.row()
	r.int64(id)
	r.text(w.name)
	r.text(g.Action)
	r.time(seconds(g.Time))
}

// receive notes the transactions of a diff: those received, of which only what may be earlier than what is stored goes to the database, and
// those that the node is the source of.
func (t *transaction) receive(g *trace.Gossip) {
	at := seconds(g.Time).UnixMicro()
	received := g.Action == "received"
	own := g.Diff.Sender == "" && (received || g.Action == "accepted" || g.Action == "rejected")
	for _, tx := range g.Diff.Diff {
		hash := t.fit(tx.Signature, maxHash)
		told := receivedTx{kind: t.fit(tx.Type, maxType), memo: t.fit(tx.Memo, maxMemo), at: at}
		switch {
		case own && received:
			t.derived.own = append(t.derived.own, ownTx{hash, told, nil})
		case own:
			t.derived.own = append(t.derived.own, ownTx{hash, told, &g.Action})
		}
		if before, ok := t.derived.received[hash]; !received || ok && before.at <= at || t.seen.earlier(hash, at) {
			continue
		}
		if t.derived.received == nil {
			t.derived.received = map[string]receivedTx{}
		}
		t.derived.received[hash] = told
	}
}

// gatherBlocks notes what a node said of blocks: they are stored when hash, length, slot and transactions are known, and once more
// when the block before is. Table block has the earliest time of all nodes.
func (t *transaction) gatherBlocks(w *write) {
	c := &w.traced.changes
	for _, given := range c.Transactions {
		b := w.block(given.Trace)
		if b.Known {
			continue
		}
		b.Known, b.Timed, b.Received = true, given.Timed, given.Received
		for _, tx := range given.Transactions {
			if tx.User() {
				b.Txs = append(b.Txs, blockTx{t.fit(tx.Signature, maxHash), t.fit(tx.Type, maxType), t.fit(tx.Memo, maxMemo), t.fit(tx.Status, maxType)})
			}
		}
	}
	for i := range c.Traces {
		change := &c.Traces[i]
		if value := change.Metadata["previous_state_hash"]; value != nil {
			var hash string
			if json.Unmarshal(value, &hash) == nil && hash != "" {
				w.block(change.Number).Previous = t.fit(hash, maxHash)
			}
		}
		b := w.blocks[change.Number]
		if b == nil || !b.Known || b.Linked || b.Stored && b.Previous == "" || isSlot(change.Block) || change.Length == nil || change.GlobalSlot == nil {
			continue
		}
		if !b.Timed {
			b.Timed, b.Received = change.Timed, change.Started
		}
		if b.Timed {
			t.derived.add(t.fit(change.Block, maxHash), b, int32(*change.Length), int32(*change.GlobalSlot))
			b.Stored, b.Linked, b.Txs = true, b.Previous != "", nil
		}
	}
}

// block returns what is known of a trace's block, made if need be.
func (n *node) block(number int64) *block {
	b := n.blocks[number]
	if b == nil {
		b = &block{}
		n.blocks[number] = b
	}
	return b
}

// absorb takes over what was known of the trace that a renamed one replaces.
func (n *node) absorb(number int64, other *block) {
	b := n.block(number)
	if b.Previous == "" {
		b.Previous = other.Previous
	}
	if !b.Known && other.Known {
		previous := b.Previous
		*b = *other
		b.Previous = previous
	}
}

// isSlot tells whether a block's id is a slot, or that of what belongs to no block.
func isSlot(id string) bool {
	for _, c := range id {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func (d *derived) add(hash string, b *block, length, slot int32) {
	at := seconds(b.Received).UnixMicro()
	s := d.blocks[hash]
	if s == nil {
		if d.blocks == nil {
			d.blocks = map[string]*seenBlock{}
		}
		s = &seenBlock{length: length, slot: slot, at: at}
		d.blocks[hash] = s
	}
	s.at = min(s.at, at)
	if s.previous == "" {
		s.previous = b.Previous
	}
	if s.txs == nil {
		s.txs = b.Txs
	}
}

// derive brings the derived tables up to date. The functions take a lock of the deployment, which other transactions wait for until
// the commit.
func (t *transaction) derive(ctx context.Context) error {
	queue := &pgx.Batch{}
	d := &t.derived
	if len(d.received) > 0 {
		var hashes, kinds, memos []string
		var times []time.Time
		for _, hash := range slices.Sorted(maps.Keys(d.received)) {
			tx := d.received[hash]
			hashes, kinds, memos, times = append(hashes, hash), append(kinds, tx.kind), append(memos, tx.memo), append(times, time.UnixMicro(tx.at))
		}
		queue.Queue("SELECT store_received_txs($1, $2, $3, $4, $5)", t.deployment.id, hashes, kinds, memos, times)
	}
	if len(d.own) > 0 {
		var hashes, kinds, memos []string
		var times []time.Time
		var outcomes []*string
		for _, tx := range d.own {
			hashes, kinds, memos, times = append(hashes, tx.hash), append(kinds, tx.kind), append(memos, tx.memo), append(times, time.UnixMicro(tx.at))
			outcomes = append(outcomes, tx.outcome)
		}
		queue.Queue("SELECT store_own_txs($1, $2, $3, $4, $5, $6)", t.deployment.id, hashes, kinds, memos, times, outcomes)
	}
	if d.works {
		queue.Queue("SELECT store_sws($1, $2, $3, $4)", t.deployment.id, t.day, d.from, d.to)
	}
	told := false
	for _, hash := range slices.Sorted(maps.Keys(d.blocks)) {
		b := d.blocks[hash]
		if t.seen.block(hash, b) {
			continue
		}
		told = true
		var previous *string
		if b.previous != "" {
			previous = &b.previous
		}
		hashes, kinds, memos, results := make([]string, len(b.txs)), make([]string, len(b.txs)), make([]string, len(b.txs)), make([]string, len(b.txs))
		for i, tx := range b.txs {
			hashes[i], kinds[i], memos[i], results[i] = tx.Hash, tx.Type, tx.Memo, tx.Result
		}
		queue.Queue("SELECT store_block($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", t.deployment.id, hash, previous, b.length, b.slot,
			time.UnixMicro(b.at), hashes, kinds, memos, results)
	}
	if told {
		queue.Queue("SELECT settle_chain($1)", t.deployment.id)
	}
	if queue.Len() == 0 {
		return nil
	}
	if err := t.conn.SendBatch(ctx, queue).Close(); err != nil {
		return fmt.Errorf("deriving from the entries: %w", err)
	}
	return nil
}

// interrupt writes interruptions of SNARK work.
func (t *transaction) interrupt(ctx context.Context) error {
	queue := &pgx.Batch{}
	for _, w := range t.writes {
		for _, i := range w.traced.changes.Interruptions {
			at := t.at
			if place, ok := w.traced.at[i.Trace]; ok && w.traced.changes.Traces[place].Timed {
				at = seconds(w.traced.changes.Traces[place].Started)
			}
			ids := make([]*int64, 2)
			for k := range i.IDs[:min(2, len(i.IDs))] {
				ids[k] = &i.IDs[k]
			}
			queue.Queue(`INSERT INTO sw_interruptions (block_trace_id, deployment_id, time, at, reason, fst_work_id, snd_work_id)
				VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (block_trace_id) DO NOTHING`,
				w.traces[i.Trace], t.deployment.id, at, i.At, i.Reason, ids[0], ids[1])
		}
	}
	if queue.Len() == 0 {
		return nil
	}
	if err := t.conn.SendBatch(ctx, queue).Close(); err != nil {
		return fmt.Errorf("storing %d interruptions: %w", queue.Len(), err)
	}
	return nil
}

// distributionsKey is the key of a node's distributions in table data (internal-trace, section 4).
const distributionsKey = "checkpoint_distributions"

// distribute adds the blocks that became Success to their nodes' distributions, which the lock on the node protects.
func (t *transaction) distribute(ctx context.Context) error {
	for _, w := range t.writes {
		ids := map[int32]trace.Trace{}
		for i := range w.traced.changes.Traces {
			if change := &w.traced.changes.Traces[i]; change.Succeeded {
				ids[w.traces[change.Number]] = change.Trace
			}
		}
		if len(ids) == 0 {
			continue
		}
		if err := t.distributeTo(ctx, w, ids); err != nil {
			return fmt.Errorf("the distributions of node %s: %w", w.name, err)
		}
	}
	return nil
}

func (t *transaction) distributeTo(ctx context.Context, w *write, ids map[int32]trace.Trace) error {
	distributions := trace.Distributions{}
	var text []byte
	err := t.conn.QueryRow(ctx, "SELECT value FROM data WHERE key = $1 AND deployment_id = $2 AND node_name = $3",
		distributionsKey, t.deployment.id, w.name).Scan(&text)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
	case err != nil:
		return err
	case json.Unmarshal(text, &distributions) != nil:
		t.log.Warn("distributions in table data cannot be read and begin anew")
		distributions = trace.Distributions{}
	}
	byTrace := map[int32][]trace.Row{}
	// Metadata does not matter here, nor do gossip and control records.
	rows, err := t.conn.Query(ctx, `SELECT block_trace_id, block_trace_checkpoint_id, source, main_trace, name, started_at FROM block_trace_checkpoint
		WHERE deployment_id = $1 AND block_trace_id = ANY ($2) AND NOT gossip AND NOT is_control`, t.deployment.id, slices.Collect(maps.Keys(ids)))
	if err != nil {
		return err
	}
	var id int32
	var row trace.Row
	var source string
	if _, err := pgx.ForEachRow(rows, []any{&id, &row.Seq, &source, &row.Main, &row.Name, &row.Time}, func() error {
		row.Process = processOf(source)
		byTrace[id] = append(byTrace[id], row)
		return nil
	}); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		distributions.Add(t.nesting.Structured(ids[id], int64(t.deployment.id), nil, byTrace[id]))
	}
	value, err := json.Marshal(distributions)
	if err != nil {
		return err
	}
	_, err = t.conn.Exec(ctx, `INSERT INTO data (key, deployment_id, node_name, value) VALUES ($1, $2, $3, $4)
		ON CONFLICT (key, deployment_id, node_name) DO UPDATE SET value = excluded.value`, distributionsKey, t.deployment.id, w.name, string(value))
	return err
}

// processOf reads the column source of table block_trace_checkpoint.
func processOf(letter string) trace.Process {
	switch letter {
	case trace.Prover.Letter():
		return trace.Prover
	case trace.Verifier.Letter():
		return trace.Verifier
	}
	return trace.Main
}
