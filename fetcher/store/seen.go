package store

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"

	"provingground/fetcher/trace"
)

// seenMost is how many transactions, blocks and SNARK works are remembered, in each of two generations.
const seenMost = 1 << 15

// seen remembers what was committed to unique_txs, block and uniq_sws, so that what the next of a thousand nodes says of the same
// transaction does not go to the database when it changes nothing there. It only ever leaves out what is certain. Safe for concurrent use.
type seen struct {
	mu       sync.Mutex
	received generations[int64]
	blocks   generations[seenKeyBlock]
	works    generations[seenWork]
}

type seenKey = [16]byte

// seenKeyBlock is what is stored of a block.
type seenKeyBlock struct {
	at     int64
	linked bool
}

// seenWork is what is stored of a SNARK work, or what an event says of it.
type seenWork struct {
	times [3]int64 // added, received, scheduled: microseconds since 1970, 0 when there is none
	known uint8    // which of its texts are known
}

func keyOfWork(ids []int64) (key seenKey) {
	for i, id := range ids[:min(2, len(ids))] {
		binary.BigEndian.PutUint64(key[8*i:], uint64(id)+1) // 0 when there is none
	}
	return key
}

func workOf(g *trace.Gossip, txs [2]trace.PoolTransaction) (w seenWork) {
	if i := slices.Index([]string{"added", "received", "scheduled"}, g.Action); i >= 0 {
		w.times[i] = seconds(g.Time).UnixMicro()
	}
	for i, text := range []string{g.Work.Fee, g.Work.Prover, g.Work.Sender, txs[0].Type, txs[1].Type, txs[0].Signature, txs[1].Signature} {
		if text != "" {
			w.known |= 1 << i
		}
	}
	return w
}

// covers tells whether what is told adds nothing.
func (w seenWork) covers(told seenWork) bool {
	for i, at := range told.times {
		if at != 0 && (w.times[i] == 0 || at < w.times[i]) {
			return false
		}
	}
	return told.known&^w.known == 0
}

// and returns what is known when both are stored.
func (w seenWork) and(told seenWork) seenWork {
	for i, at := range told.times {
		if at != 0 && (w.times[i] == 0 || at < w.times[i]) {
			w.times[i] = at
		}
	}
	w.known |= told.known
	return w
}

// generations is a map that forgets its older half when it is full.
type generations[V any] struct{ young, old map[seenKey]V }

func newSeen() *seen { return &seen{} }

func keyOf(hash string) seenKey {
	digest := sha256.Sum256([]byte(hash))
	return seenKey(digest[:16])
}

func (g *generations[V]) get(key seenKey) (V, bool) {
	value, ok := g.young[key]
	if !ok {
		value, ok = g.old[key]
	}
	return value, ok
}

func (g *generations[V]) set(key seenKey, value V) {
	if g.young == nil || len(g.young) >= seenMost {
		g.old, g.young = g.young, map[seenKey]V{}
	}
	g.young[key] = value
}

// earlier tells whether a transaction is stored with this time or an earlier one.
func (s *seen) earlier(hash string, at int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored, ok := s.received.get(keyOf(hash))
	return ok && stored <= at
}

// block tells whether all that is to be said of a block is stored.
func (s *seen) block(hash string, b *seenBlock) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored, ok := s.blocks.get(keyOf(hash))
	return ok && stored.at <= b.at && (stored.linked || b.previous == "")
}

// work tells whether all that an event says of a SNARK work is stored.
func (s *seen) work(key seenKey, told seenWork) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored, ok := s.works.get(key)
	return ok && stored.covers(told)
}

// commit takes note of what a committed transaction stored.
func (s *seen) commit(d *derived) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for hash, tx := range d.received {
		key := keyOf(hash)
		if stored, ok := s.received.get(key); !ok || tx.at < stored {
			s.received.set(key, tx.at)
		}
	}
	for hash, b := range d.blocks {
		key := keyOf(hash)
		stored, ok := s.blocks.get(key)
		if !ok || b.at < stored.at {
			stored.at = b.at
		}
		stored.linked = stored.linked || b.previous != ""
		s.blocks.set(key, stored)
	}
	for key, told := range d.works {
		stored, _ := s.works.get(key)
		s.works.set(key, stored.and(told))
	}
}
