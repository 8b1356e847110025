package store

import (
	"crypto/sha256"
	"sync"
)

// seenMost is how many transactions and how many blocks are remembered, in each of two generations.
const seenMost = 1 << 15

// seen remembers what was committed to unique_txs and block, so that what the next of a thousand nodes says of the same transaction
// does not go to the database when it changes nothing there. It only ever leaves out what is certain. Safe for concurrent use.
type seen struct {
	mu       sync.Mutex
	received generations[int64]
	blocks   generations[seenKeyBlock]
}

// seenKeyBlock is what is stored of a block.
type seenKeyBlock struct {
	at     int64
	linked bool
}

// generations is a map that forgets its older half when it is full.
type generations[V any] struct{ young, old map[[16]byte]V }

func newSeen() *seen { return &seen{} }

func keyOf(hash string) [16]byte {
	digest := sha256.Sum256([]byte(hash))
	return [16]byte(digest[:16])
}

func (g *generations[V]) get(key [16]byte) (V, bool) {
	value, ok := g.young[key]
	if !ok {
		value, ok = g.old[key]
	}
	return value, ok
}

func (g *generations[V]) set(key [16]byte, value V) {
	if g.young == nil || len(g.young) >= seenMost {
		g.old, g.young = g.young, map[[16]byte]V{}
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
}
