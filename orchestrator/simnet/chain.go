package simnet

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"time"

	"provingground/internal/mina"
)

// epochSlots is the length of an epoch (itn-graphql, section 4.7 speaks of the slots won in the current one).
const epochSlots = 7140

// retained is how many blocks below the highest one stay linked to their children. A fork that is longer is not followed back: the node
// that changes over judges its pool anew, as after a bootstrap.
const retained = 290

// block is shared by all nodes and never changes once it was published, but for the link to its parent, which is cut when the block lies
// deep enough.
type block struct {
	hash     string // state hash, 3N…
	parent   *block
	above    string // the parent's state hash, which outlives the link
	height   int
	slot     int
	producer *node // nil for the genesis block
	draw     uint64
	commands []included
	fees     mina.Nanomina
	ledger   ledger
	touched  []accountID
	created  []accountID
	made     time.Time       // network time at which the production began
	best     bool            // lies on the chain of the best tip of all
	listed   json.RawMessage // its transactions as traces list them, once they were asked for

	works   []*work // SNARK work that its transactions need
	bought  []*work // SNARK work whose proofs it holds
	dueWork int     // how much SNARK work it should have held
	missing *work   // the first of that which its producer had no proof of; nil when there was none
	pending []*work // what its chain needs after it, the oldest first
}

// included is a command in a block. failure is empty when it was applied.
type included struct {
	*command
	failure string
}

// betterThan is the rule by which a node changes over: the longer chain; of equally long ones the one with the higher draw; at last the
// greater hash. A nil block is worse than any.
func (b *block) betterThan(other *block) bool {
	switch {
	case b == nil || other == nil:
		return b != nil
	case b.height != other.height:
		return b.height > other.height
	case b.draw != other.draw:
		return b.draw > other.draw
	default:
		return b.hash > other.hash
	}
}

// branches returns the blocks of each of two chains that the other one lacks, newest first. known is false when they part below what is
// retained; the lists then end there.
func branches(from, to *block) (left, joined []*block, known bool) {
	for from != to {
		if from == nil || to == nil {
			return left, joined, false
		}
		if from.height > to.height || from.height == to.height && len(left) <= len(joined) {
			left = append(left, from)
			from = from.parent
		} else {
			joined = append(joined, to)
			to = to.parent
		}
	}
	return left, joined, true
}

// holds reports whether the command is in the block.
func (b *block) holds(c *command) bool {
	return slices.ContainsFunc(b.commands, func(in included) bool { return in.command == c })
}

// wins reports whether a producer wins a slot, and its draw. Each producer draws on its own with the probability 1 − ¼^stake, where the
// stakes of all add up to 1: three of four slots are won by somebody, some by several.
func (n *Network) wins(producer *node, slot int) (draw uint64, won bool) {
	if slot < 1 || producer.stake == 0 {
		return 0, false
	}
	draw = mix(n.opts.Seed, purposeVRF, uint64(producer.index), uint64(slot))
	return mix(draw), float64(draw>>11)/(1<<53) < 1-math.Pow(0.25, producer.stake)
}

// slotOf returns the slot of an instant.
func (n *Network) slotOf(t time.Time) int { return int(t.Sub(n.opts.Genesis) / n.opts.Slot) }

// slotStart returns the instant at which a slot begins.
func (n *Network) slotStart(slot int) time.Time {
	return n.opts.Genesis.Add(time.Duration(slot) * n.opts.Slot)
}

// beginSlot lets the winners of a slot build their blocks, each on its own best tip and from its own pool, and plans the next slot.
func (n *Network) beginSlot(slot int) {
	n.plan(n.slotStart(slot+1), func() { n.beginSlot(slot + 1) })
	for _, producer := range n.nodes {
		d := producer.daemon
		if d == nil || producer.tip == nil || producer.tip.slot >= slot {
			continue
		}
		draw, won := n.wins(producer, slot)
		if !won {
			continue
		}
		b := n.build(d, slot, draw)
		n.plan(n.now.Add(n.producing), func() {
			if producer.daemon == d {
				n.publish(b)
			}
		})
	}
	n.beginReports(slot)
}

// build makes a block on the producer's best tip.
func (n *Network) build(d *daemon, slot int, draw uint64) *block {
	parent := d.node.tip
	work := newDraft(parent.ledger)
	commands := d.pool.fill(work, n.opts.BlockCapacity, d.zkappLimit)
	var fees mina.Nanomina
	for _, c := range commands {
		fees += c.fee
	}
	work.credit(d.node.account, coinbase+fees)
	b := &block{
		parent: parent, above: parent.hash, height: parent.height + 1, slot: slot, producer: d.node, draw: draw,
		commands: commands, fees: fees, created: work.created, made: n.now,
	}
	b.ledger, b.touched = work.seal()
	b.hash = stateHash(n.opts.Seed, b)
	n.buyWork(b)
	return b
}

// publish makes a finished block its producer's best tip, if it still is better, and gossips it.
func (n *Network) publish(b *block) {
	n.recordProduced(b)
	n.retain(b)
	n.follow(b)
	b.producer.daemon.produced(b)
	n.gossip(b.producer, func(d *daemon) { d.receive(b) })
}

// follow moves the chain that counts for the journal: that of the best block of all nodes.
func (n *Network) follow(b *block) {
	if !b.betterThan(n.best) {
		n.recordOrphaned(b)
		return
	}
	left, joined, _ := branches(n.best, b)
	n.best = b
	for _, lost := range left {
		lost.best = false
		n.recordOrphaned(lost)
	}
	for _, v := range slices.Backward(joined) {
		v.best = true
		n.recordIncluded(v)
	}
}

// retain keeps a new block linked, and cuts the links of those that now lie too deep to matter, so that what they link to is freed.
func (n *Network) retain(b *block) {
	if b.height <= n.highest-retained {
		b.parent = nil // a chain that fell far behind
		return
	}
	n.blocks[b.height] = append(n.blocks[b.height], b)
	for ; n.highest < b.height; n.highest++ {
		for _, deep := range n.blocks[n.highest+1-retained] {
			deep.parent = nil
		}
		delete(n.blocks, n.highest+1-retained)
	}
}

// Purposes of the network's random draws, so that no two of them share a stream.
const (
	purposeVRF uint64 = iota + 1
	purposeStake
	purposeKey
	purposeUUID
	purposeFee
	purposeTrace
	purposePeer
	purposeDropLog
	purposeWork
	purposeLinger
	purposeRepeat
)

// mix folds numbers into one that looks random (the finalizer of SplitMix64).
func mix(values ...uint64) uint64 {
	var h uint64
	for _, v := range values {
		h += v + 0x9E3779B97F4A7C15
		h ^= h >> 30
		h *= 0xBF58476D1CE4E5B9
		h ^= h >> 27
		h *= 0x94D049BB133111EB
		h ^= h >> 31
	}
	return h
}

// stateHash returns a text of the form of a state hash for a block.
func stateHash(seed uint64, b *block) string {
	h := sha256.New()
	number := func(v uint64) {
		var in [8]byte
		binary.LittleEndian.PutUint64(in[:], v)
		h.Write(in[:])
	}
	number(seed)
	if b.parent != nil {
		h.Write([]byte(b.parent.hash))
		number(uint64(b.producer.index))
	}
	number(uint64(b.slot))
	for _, c := range b.commands {
		number(c.serial)
	}
	sum := h.Sum(nil)
	sum[31] &= 0x3f // below the field's order, as a real one is
	return mina.EncodeBase58Check(versionStateHash, append([]byte{1}, sum...))
}
