package evidence

import (
	"cmp"
	"maps"
	"slices"

	"provingground/fetcher/trace"
)

// This file holds what the nodes' logs come to: transactions, blocks and SNARK works. It keeps of them what Statistics needs.

type keptTables struct {
	bySignature map[string]*keptTransaction
	byBatch     map[string][]*keptTransaction // by what memos have before the index
	chain       keptChain
	works       map[keptWorkKey]*Work
}

// keptWorkKey is the IDs of a SNARK work; the second is 0 where there is one.
type keptWorkKey [2]int64

func newKeptTables() keptTables {
	return keptTables{
		bySignature: map[string]*keptTransaction{}, byBatch: map[string][]*keptTransaction{}, chain: keptChain{blocks: map[string]*keptBlock{}}, works: map[keptWorkKey]*Work{},
	}
}

// keptTransaction is one whose memo may be that of a load.
type keptTransaction struct {
	index          int
	received, sent Instant
	outcome        Outcome
	in             []keptInclusion
}

// keptInclusion is the place of a transaction in a block, on the best chain or not.
type keptInclusion struct {
	block  *keptBlock
	failed bool
}

// transaction returns the transaction of a signature; nil where the memo is of no load.
func (t *keptTables) transaction(signature, memo string) *keptTransaction {
	if known := t.bySignature[signature]; known != nil {
		return known
	}
	batch, index, ok := memoOf(memo)
	if !ok {
		return nil
	}
	made := &keptTransaction{index: index}
	t.bySignature[signature] = made
	t.byBatch[batch] = append(t.byBatch[batch], made)
	return made
}

// transactions returns what was seen of a load. A transaction is included where the lowest block of the best chain that has it says so.
func (t *keptTables) transactions(load Load) []Transaction {
	seen := t.byBatch[memoPrefix(load)]
	found := make([]Transaction, 0, len(seen))
	for _, known := range seen {
		tx := Transaction{Index: known.index, Received: known.received, Sent: known.sent, Outcome: known.outcome}
		for _, in := range known.in {
			if b := in.block; b.canonical && (tx.Height == 0 || b.height < tx.Height) {
				tx.Height, tx.Failed = b.height, in.failed
			}
		}
		found = append(found, tx)
	}
	slices.SortFunc(found, byIndex)
	return found
}

// gossip takes in what a pool said.
func (t *keptTables) gossip(event trace.Gossip) {
	at := instantOfSeconds(event.Time)
	switch {
	case event.Work != nil:
		t.work(event.Action, at, event.Work.IDs)
	case event.Diff != nil:
		for _, tx := range event.Diff.Diff {
			if known := t.transaction(tx.Signature, tx.Memo); known != nil {
				known.pooled(event.Action, at, event.Diff.Sender == "")
			}
		}
	}
}

// pooled takes in what a pool said of the transaction. own says that it came from the node itself.
func (tx *keptTransaction) pooled(action string, at Instant, own bool) {
	switch action {
	case "received":
		if own {
			tx.sent = earliest(tx.sent, at)
		}
	case "accepted":
		if own {
			tx.outcome = Accepted
		}
	case "rejected":
		if own && tx.outcome == NoOutcome {
			tx.outcome = Rejected
		}
	default:
		return
	}
	tx.received = earliest(tx.received, at) // whoever judges it has received it
}

func (t *keptTables) work(action string, at Instant, ids []int64) {
	if action != "added" && action != "received" || len(ids) == 0 {
		return
	}
	var key keptWorkKey
	copy(key[:], ids)
	work := t.works[key]
	if work == nil {
		work = &Work{}
		t.works[key] = work
	}
	if action == "added" {
		work.Added = earliest(work.Added, at)
	} else {
		work.Received = earliest(work.Received, at)
	}
}

// worksSince returns the works that were needed or received since then, in the order of their IDs.
func (t *keptTables) worksSince(began Instant) []Work {
	var works []Work
	for _, key := range slices.SortedFunc(maps.Keys(t.works), func(a, b keptWorkKey) int { return slices.Compare(a[:], b[:]) }) {
		if work := t.works[key]; max(work.Added, work.Received) >= began {
			works = append(works, *work)
		}
	}
	return works
}

// keptChain is the blocks, and which of them are the best chain.
type keptChain struct {
	blocks  map[string]*keptBlock // by state hash
	best    []*keptBlock          // those that count, in the order of settle; nil when it has to be found anew
	settled bool
}

// keptBlock is what is known of a block by the logs of all nodes.
type keptBlock struct {
	hash, previous string
	height         int
	slot           int64
	received       Instant
	known          bool // height, slot and transactions are
	produced       bool
	canonical      bool
}

// block returns the block of a state hash.
func (c *keptChain) block(hash string) *keptBlock {
	b := c.blocks[hash]
	if b == nil {
		b = &keptBlock{hash: hash}
		c.blocks[hash] = b
	}
	return b
}

// settle finds the best chain, as settle_chain does in the database: down from the longest block, among equals from the one received first;
// where a parent was never seen, the best block below goes on.
func (c *keptChain) settle() {
	if c.settled {
		return
	}
	c.settled, c.best = true, c.best[:0]
	for _, b := range c.blocks {
		b.canonical = false
		if b.known {
			c.best = append(c.best, b)
		}
	}
	slices.SortFunc(c.best, func(a, b *keptBlock) int {
		return cmp.Or(cmp.Compare(b.height, a.height), cmp.Compare(a.received, b.received), cmp.Compare(a.hash, b.hash))
	})
	for i := 0; i < len(c.best); {
		at := c.best[i]
		at.canonical = true
		below, _ := slices.BinarySearchFunc(c.best, at.height, func(b *keptBlock, height int) int {
			if b.height >= height {
				return -1
			}
			return 1
		})
		i = below
		if parent := c.blocks[at.previous]; parent != nil && parent.known && parent.height < at.height {
			i = below + slices.Index(c.best[below:], parent)
		}
	}
}

// fill fills in the blocks first received since the run began, and the last one of the best chain before, by height.
func (c *keptChain) fill(s *Statistics) {
	c.settle()
	before, first := false, s.firstSlot()
	for _, b := range c.best { // from the highest down
		switch {
		case b.received >= s.Began, b.slot >= first:
		case b.canonical && !before:
			before = true
		default:
			continue
		}
		s.addBlock(Block{Hash: b.hash, Previous: b.previous, Height: b.height, Slot: b.slot, Canonical: b.canonical, Produced: b.produced}, b.received)
	}
	slices.SortFunc(s.Blocks, func(a, b Block) int {
		return cmp.Or(cmp.Compare(a.Height, b.Height), cmp.Compare(a.Received, b.Received), cmp.Compare(a.Hash, b.Hash))
	})
}
