package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"provingground/fetcher/trace"
)

// derived is what a batch, and then a transaction, tells the functions that keep the derived tables.
type derived struct {
	received map[string]receivedTx // by hash
	own      []ownTx
	blocks   map[string]*seenBlock // by state hash
	events   []workEvent           // of a batch: what may say something new of SNARK works
	works    map[seenKey]seenWork  // of a transaction
	workIDs  []int64               // of a transaction: the events that say it
}

// workEvent is what an event of the SNARK pool says of a work.
type workEvent struct {
	at  int // place of its checkpoint among traced.changes.Rows
	key seenKey
	seenWork
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

// event makes a row of a pool event, whose checkpoint is at a place among the rows.
func (w *write) event(g *trace.Gossip, at int) {
	switch {
	case g.Diff != nil:
		w.diffsAt = append(w.diffsAt, at)
		r := &w.diffs
		w.eventHead(r, g)
		r.jsonb(g.Diff.Raw)
		r.textOrNull(w.fit(g.Diff.Sender, maxName))
		r.textOrNull(g.Diff.Reason)
		r.int32(w.deployment.id)
		r.day(w.day)
		w.receive(g)
	case g.Work != nil:
		w.worksAt = append(w.worksAt, at)
		r := &w.works
		w.eventHead(r, g)
		for i := range 2 {
			if i < len(g.Work.IDs) {
				r.int32(int32(g.Work.IDs[i]))
			} else {
				r.null()
			}
		}
		r.textOrNull(w.fit(g.Work.Fee, maxName))
		r.textOrNull(w.fit(g.Work.Prover, maxName))
		r.textOrNull(w.fit(g.Work.Sender, maxName))
		r.textOrNull(g.Work.Reason)
		var txs [2]trace.PoolTransaction // the protocol's own have a type only
		copy(txs[:], g.Work.Txs)
		r.textOrNull(w.fit(txs[0].Type, maxType))
		r.textOrNull(w.fit(txs[1].Type, maxType))
		r.textOrNull(w.fit(txs[0].Signature, maxHash))
		r.textOrNull(w.fit(txs[1].Signature, maxHash))
		r.textOrNull(txs[0].Memo)
		r.textOrNull(txs[1].Memo)
		r.int32(w.deployment.id)
		r.day(w.day)
		event := workEvent{at: at, key: keyOfWork(g.Work.IDs), seenWork: workOf(g, txs)}
		if !w.deployment.seen.work(event.key, event.seenWork) {
			w.derived.events = append(w.derived.events, event)
		}
	}
}

func (w *write) eventHead(r *rows, g *trace.Gossip) {
	r.row()
	r.int64(0)
	r.text(w.name)
	r.text(g.Action)
	r.time(seconds(g.Time))
}

// receive notes the transactions of a diff: those received, of which only what may be earlier than what is stored goes to the database, and
// those that the node is the source of.
func (w *write) receive(g *trace.Gossip) {
	at := seconds(g.Time).UnixMicro()
	received := g.Action == "received"
	own := g.Diff.Sender == "" && (received || g.Action == "accepted" || g.Action == "rejected")
	for _, tx := range g.Diff.Diff {
		hash := w.fit(tx.Signature, maxHash)
		told := receivedTx{kind: w.fit(tx.Type, maxType), memo: w.fit(tx.Memo, maxMemo), at: at}
		switch {
		case own && received:
			w.derived.own = append(w.derived.own, ownTx{hash, told, nil})
		case own:
			w.derived.own = append(w.derived.own, ownTx{hash, told, &g.Action})
		}
		if before, ok := w.derived.received[hash]; !received || ok && before.at <= at || w.deployment.seen.earlier(hash, at) {
			continue
		}
		if w.derived.received == nil {
			w.derived.received = map[string]receivedTx{}
		}
		w.derived.received[hash] = told
	}
}

// gatherBlocks notes what a node said of blocks: they are stored when hash, length, slot and transactions are known, and once more
// when the block before is. Table block has the earliest time of all nodes.
func (w *write) gatherBlocks() {
	c := &w.traced.changes
	for _, rename := range c.Renames {
		if other := w.blocks[rename.Replaces]; rename.Replaces != 0 && other != nil {
			w.absorb(rename.Trace, other)
			delete(w.blocks, rename.Replaces)
		}
	}
	for _, given := range c.Transactions {
		b := w.block(given.Trace)
		if b.Known {
			continue
		}
		b.Known, b.Timed, b.Received = true, given.Timed, given.Received
		for _, tx := range given.Transactions {
			if tx.User() {
				b.Txs = append(b.Txs, blockTx{w.fit(tx.Signature, maxHash), w.fit(tx.Type, maxType), w.fit(tx.Memo, maxMemo), w.fit(tx.Status, maxType)})
			}
		}
	}
	for i := range c.Traces {
		change := &c.Traces[i]
		if value := change.Metadata["previous_state_hash"]; value != nil {
			var hash string
			if json.Unmarshal(value, &hash) == nil && hash != "" {
				w.block(change.Number).Previous = w.fit(hash, maxHash)
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
			w.derived.add(w.fit(change.Block, maxHash), b, int32(*change.Length), int32(*change.GlobalSlot))
			b.Stored, b.Linked, b.Txs = true, b.Previous != "", nil
		}
	}
	for _, number := range c.Retired {
		delete(w.blocks, number)
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
	d.addBlock(hash, &seenBlock{previous: b.Previous, length: length, slot: slot, at: seconds(b.Received).UnixMicro(), txs: b.Txs})
}

func (d *derived) addBlock(hash string, b *seenBlock) {
	s := d.blocks[hash]
	if s == nil {
		if d.blocks == nil {
			d.blocks = map[string]*seenBlock{}
		}
		d.blocks[hash] = b
		return
	}
	s.at = min(s.at, b.at)
	if s.previous == "" {
		s.previous = b.previous
	}
	if s.txs == nil {
		s.txs = b.txs
	}
}

// addWorks takes the ids of the events of a batch that say of a SNARK work what no other has said in this transaction.
func (d *derived) addWorks(w *write, ids []int64) {
	for _, event := range w.derived.events {
		told, ok := d.works[event.key]
		if ok && told.covers(event.seenWork) {
			continue
		}
		if d.works == nil {
			d.works = map[seenKey]seenWork{}
		}
		d.works[event.key] = told.and(event.seenWork)
		d.workIDs = append(d.workIDs, ids[event.at])
	}
}

// addBatch takes in what a batch tells, its SNARK works apart.
func (d *derived) addBatch(batch *derived) {
	for hash, tx := range batch.received {
		if before, ok := d.received[hash]; ok && before.at <= tx.at {
			continue
		}
		if d.received == nil {
			d.received = map[string]receivedTx{}
		}
		d.received[hash] = tx
	}
	d.own = append(d.own, batch.own...)
	for hash, b := range batch.blocks {
		d.addBlock(hash, b)
	}
}

// derive brings the derived tables up to date. The functions take a lock of the deployment, which other transactions wait for until
// the commit.
func (t *transaction) derive(ctx context.Context) error {
	queue := &pgx.Batch{}
	d := &t.derived
	for _, w := range t.writes {
		d.addBatch(&w.derived)
	}
	if len(d.received) > 0 {
		var hashes, kinds, memos []string
		var times []time.Time
		for _, hash := range slices.Sorted(maps.Keys(d.received)) {
			tx := d.received[hash]
			hashes, kinds, memos, times = append(hashes, hash), append(kinds, tx.kind), append(memos, tx.memo), append(times, time.UnixMicro(tx.at))
		}
		queue.Queue("SELECT store_received_txs($1, $2, $3, $4, $5)", t.id, hashes, kinds, memos, times)
	}
	if len(d.own) > 0 {
		var hashes, kinds, memos []string
		var times []time.Time
		var outcomes []*string
		for _, tx := range d.own {
			hashes, kinds, memos, times = append(hashes, tx.hash), append(kinds, tx.kind), append(memos, tx.memo), append(times, time.UnixMicro(tx.at))
			outcomes = append(outcomes, tx.outcome)
		}
		queue.Queue("SELECT store_own_txs($1, $2, $3, $4, $5, $6)", t.id, hashes, kinds, memos, times, outcomes)
	}
	if len(d.workIDs) > 0 {
		queue.Queue("SELECT store_sws($1, $2, $3)", t.id, t.writes[0].day, d.workIDs)
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
		queue.Queue("SELECT store_block($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", t.id, hash, previous, b.length, b.slot,
			time.UnixMicro(b.at), hashes, kinds, memos, results)
	}
	if told {
		queue.Queue("SELECT settle_chain($1)", t.id)
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
			at := w.at
			if place, ok := w.traced.at[i.Trace]; ok && w.traced.changes.Traces[place].Timed {
				at = seconds(w.traced.changes.Traces[place].Started)
			}
			ids := make([]*int64, 2)
			for k := range i.IDs[:min(2, len(i.IDs))] {
				ids[k] = &i.IDs[k]
			}
			queue.Queue(`INSERT INTO sw_interruptions (block_trace_id, deployment_id, time, at, reason, fst_work_id, snd_work_id)
				VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (block_trace_id) DO NOTHING`,
				w.traces[i.Trace], t.id, at, i.At, i.Reason, ids[0], ids[1])
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

// distribute adds the blocks that became Success to their nodes' distributions, which the lock on the nodes protects.
func (t *transaction) distribute(ctx context.Context) error {
	succeeded := map[int32]trace.Trace{} // by row of block_trace
	byNode := map[string][]int32{}
	for _, w := range t.writes {
		for i := range w.traced.changes.Traces {
			if change := &w.traced.changes.Traces[i]; change.Succeeded {
				id := w.traces[change.Number]
				if _, twice := succeeded[id]; !twice {
					byNode[w.name] = append(byNode[w.name], id)
				}
				succeeded[id] = change.Trace
			}
		}
	}
	if len(succeeded) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(byNode))
	queue := &pgx.Batch{}
	distributions := map[string]trace.Distributions{}
	queue.Queue("SELECT node_name, value FROM data WHERE key = $1 AND deployment_id = $2 AND node_name = ANY ($3)",
		distributionsKey, t.deployment.id, names).Query(func(rows pgx.Rows) error {
		var name string
		var text []byte
		_, err := pgx.ForEachRow(rows, []any{&name, &text}, func() error {
			read := trace.Distributions{}
			if err := read.UnmarshalJSON(text); err != nil {
				t.log.Warn("distributions in table data cannot be read and begin anew", zap.String("node", name), zap.Error(err))
				return nil
			}
			distributions[name] = read
			return nil
		})
		return err
	})
	checkpoints := map[int32][]trace.Row{}
	// Metadata does not matter here, nor do gossip and control records.
	queue.Queue(`SELECT block_trace_id, block_trace_checkpoint_id, source, main_trace, name, started_at FROM block_trace_checkpoint
		WHERE deployment_id = $1 AND block_trace_id = ANY ($2) AND NOT gossip AND NOT is_control`,
		t.deployment.id, slices.Collect(maps.Keys(succeeded))).Query(func(rows pgx.Rows) error {
		var id int32
		var row trace.Row
		var source string
		_, err := pgx.ForEachRow(rows, []any{&id, &row.Seq, &source, &row.Main, &row.Name, &row.Time}, func() error {
			row.Process = processOf(source)
			checkpoints[id] = append(checkpoints[id], row)
			return nil
		})
		return err
	})
	if err := t.conn.SendBatch(ctx, queue).Close(); err != nil {
		return fmt.Errorf("reading the distributions of %d nodes: %w", len(names), err)
	}
	values := make([]string, len(names))
	for i, name := range names {
		all := distributions[name]
		if all == nil {
			all = trace.Distributions{}
		}
		for _, id := range slices.Sorted(slices.Values(byNode[name])) {
			all.Add(t.nesting.Structured(succeeded[id], int64(t.id), nil, checkpoints[id]))
		}
		value, err := all.MarshalJSON()
		if err != nil {
			return fmt.Errorf("the distributions of node %s: %w", name, err)
		}
		values[i] = string(value)
	}
	if _, err := t.conn.Exec(ctx, `INSERT INTO data (key, deployment_id, node_name, value) SELECT $1, $2, node_name, value
		FROM unnest($3::text[], $4::text[]) AS v(node_name, value)
		ON CONFLICT (key, deployment_id, node_name) DO UPDATE SET value = excluded.value`, distributionsKey, t.id, names, values); err != nil {
		return fmt.Errorf("storing the distributions of %d nodes: %w", len(names), err)
	}
	return nil
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
