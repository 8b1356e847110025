package slots

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
)

// maxParts bounds the sum of the weights of one allocation, and with it the work: groups are a handful.
const maxParts = 100

// Allocation is a partition of nodes into groups, together with the slots that it holds for.
type Allocation struct {
	// NextEmptySlot is the first global slot after the lowest won one that nobody won.
	NextEmptySlot int
	// LastSlot is the end of the slots that the groups were made for: NextEmptySlot+1 to LastSlot, both included.
	LastSlot int
	// Groups holds the addresses of each group's nodes, sorted, one group per weight and in the order of the weights. Every node of
	// the input is in exactly one group, and nodes of one host are in the same. Groups are empty where there are too few hosts.
	Groups [][]string
}

// Allocate splits nodes into groups, one per weight (1 or more each, 100 together), so that each unit of weight won a near-equal
// number of distinct slots (orchestrator-scripts, section 3.9).
//
// Let E be the first slot after the lowest won one that nobody won, and let the weights add up to G. For a window of the slots after
// E, hosts are partitioned into G parts by Karmarkar and Karp's largest differencing, and parts are then joined by weight. The window
// ends at the first of E+minSlots to E+maxSlots (0 or more, minSlots not above maxSlots) that allows a perfect split, all parts equal;
// otherwise where the difference between the greatest and the smallest part is least, the earliest of equals. A slot that several
// hosts won counts once in each part that has one of them, and a window in which nobody won is passed over. Hosts that won nothing in
// the window are dealt out evenly.
//
// It is a heuristic. Where no slot was won by two hosts, parts differ by no more than the slots of the host that won most; the
// optimum may be better. It returns [ErrNoSlots] when nobody won a slot in the longest window.
func Allocate(won []Won, weights []int, minSlots, maxSlots int) (Allocation, error) {
	parts, err := countParts(weights)
	if err != nil {
		return Allocation{}, err
	}
	if minSlots < 0 || maxSlots < max(minSlots, 1) || maxSlots > maxSlot {
		return Allocation{}, fmt.Errorf("allocate slots: a window of %d to %d slots: want 0 <= minSlots <= maxSlots, and maxSlots above 0",
			minSlots, maxSlots)
	}
	hosts, err := byHost(won)
	if err != nil {
		return Allocation{}, fmt.Errorf("allocate slots: %w", err)
	}
	all, err := distinct(won)
	if err != nil {
		return Allocation{}, fmt.Errorf("allocate slots: %w", err)
	}
	if len(all) == 0 {
		return Allocation{}, fmt.Errorf("allocate slots of %d nodes: %w: ask block producers whose VRF evaluation has completed",
			len(won), ErrNoSlots)
	}

	empty := firstEmpty(all)
	later := all[upTo(all, empty):]
	shortest, longest := upTo(later, empty+minSlots), upTo(later, empty+maxSlots)
	if longest == 0 {
		return Allocation{}, fmt.Errorf("allocate slots %d to %d: %w there: raise maxSlots, or ask again in the next epoch",
			empty+1, empty+maxSlots, ErrNoSlots)
	}

	// A window changes only where it takes in another won slot, so those are the only ends to try after the shortest window.
	s := newSplitter(hosts, later, parts)
	var best partition
	last := 0
	for n := max(shortest, 1); n <= longest; n++ {
		if candidate := s.split(n); best == nil || candidate.imbalance() < best.imbalance() {
			best = candidate
			last = max(empty+minSlots, later[n-1])
		}
		if best.imbalance() == 0 {
			break
		}
	}

	allocation := Allocation{NextEmptySlot: empty, LastSlot: last}
	for _, weight := range weights {
		group := make([]string, 0)
		for _, p := range best[:weight] {
			for _, h := range p.hosts {
				group = append(group, hosts[h].addresses...)
			}
		}
		best = best[weight:]
		slices.Sort(group)
		allocation.Groups = append(allocation.Groups, group)
	}
	return allocation, nil
}

// countParts adds up weights, each of which must be positive.
func countParts(weights []int) (int, error) {
	total := 0
	for i, weight := range weights {
		if weight < 1 || weight > maxParts-total {
			return 0, fmt.Errorf("allocate slots: weight %d of group %d: want positive numbers that add up to %d or less", weight, i, maxParts)
		}
		total += weight
	}
	if total == 0 {
		return 0, fmt.Errorf("allocate slots: no groups: give one positive weight for each")
	}
	return total, nil
}

// firstEmpty returns the first slot after the lowest that is missing from ascending, which has no repetitions and is not empty.
func firstEmpty(ascending []int) int {
	for i, slot := range ascending {
		if slot != ascending[0]+i {
			return ascending[0] + i
		}
	}
	return ascending[0] + len(ascending)
}

// bitset is a set of slots: bit i stands for the i-th slot that anybody won after the empty one.
type bitset []uint64

func (b bitset) add(i int) { b[i/64] |= 1 << (i % 64) }

func (b bitset) count() int {
	n := 0
	for _, word := range b {
		n += bits.OnesCount64(word)
	}
	return n
}

func union(a, b bitset) bitset {
	both := make(bitset, len(a))
	for i := range a {
		both[i] = a[i] | b[i]
	}
	return both
}

func unionCount(a, b bitset) int {
	n := 0
	for i := range a {
		n += bits.OnesCount64(a[i] | b[i])
	}
	return n
}

// prefix returns the first n bits of b.
func (b bitset) prefix(n int) bitset {
	head := slices.Clone(b[:(n+63)/64])
	if rest := n % 64; rest > 0 {
		head[len(head)-1] &= 1<<rest - 1
	}
	return head
}

// part is some hosts (by index) and the slots that they won.
type part struct {
	hosts []int
	slots bitset
	size  int // the number of slots
}

// partition is some hosts in as many parts as there are weights, greatest part first.
type partition []part

func (p partition) imbalance() int { return p[0].size - p[len(p)-1].size }

// splitter partitions hosts for windows of different lengths.
type splitter struct {
	won      []bitset // of each host
	parts    int
	pairings [][]int
}

// newSplitter prepares to split hosts into parts by what they won of the ascending slots.
func newSplitter(hosts []host, ascending []int, parts int) splitter {
	s := splitter{parts: parts, pairings: pairings(parts)}
	for _, h := range hosts {
		won := make(bitset, (len(ascending)+63)/64)
		for _, slot := range h.slots {
			if i, found := slices.BinarySearch(ascending, slot); found {
				won.add(i)
			}
		}
		s.won = append(s.won, won)
	}
	return s
}

// split partitions the hosts by the first n slots, of which there is at least one, all of them won.
func (s splitter) split(n int) partition {
	nothing := make(bitset, (n+63)/64)
	var rest []partition // greatest imbalance first
	var idle []int
	for h, won := range s.won {
		slots := won.prefix(n)
		size := slots.count()
		if size == 0 {
			idle = append(idle, h)
			continue
		}
		single := make(partition, s.parts)
		single[0] = part{hosts: []int{h}, slots: slots, size: size}
		for i := 1; i < s.parts; i++ {
			single[i].slots = nothing
		}
		rest = insert(rest, single)
	}
	for len(rest) > 1 {
		merged := s.merge(rest[0], rest[1])
		rest = insert(rest[2:], merged)
	}
	result := rest[0]
	for i, h := range idle {
		p := &result[s.parts-1-i%s.parts]
		p.hosts = append(p.hosts, h)
	}
	return result
}

// insert puts one more partition behind those of the same or a greater imbalance.
func insert(partitions []partition, one partition) []partition {
	i, _ := slices.BinarySearchFunc(partitions, one.imbalance(), func(p partition, imbalance int) int {
		if p.imbalance() >= imbalance {
			return -1
		}
		return 1
	})
	return slices.Insert(partitions, i, one)
}

// merge joins each part of a with one of b.
func (s splitter) merge(a, b partition) partition {
	merged := make(partition, len(a))
	for i, j := range s.bestPairing(a, b) {
		slots := union(a[i].slots, b[j].slots)
		merged[i] = part{hosts: slices.Concat(a[i].hosts, b[j].hosts), slots: slots, size: slots.count()}
	}
	// Stable: parts of equal size keep the order that they were made in, which does not depend on the order of the answers.
	slices.SortStableFunc(merged, func(a, b part) int { return cmp.Compare(b.size, a.size) })
	return merged
}

// bestPairing returns the pairing that leaves the least imbalance, the first of equals. It counts each union rather than infer it
// from the sizes: parts of equal size may share different slots with the other side.
func (s splitter) bestPairing(a, b partition) []int {
	if len(s.pairings) == 1 {
		return s.pairings[0]
	}
	sizes := make([][]int, len(a))
	for i := range a {
		sizes[i] = make([]int, len(b))
		for j := range b {
			sizes[i][j] = unionCount(a[i].slots, b[j].slots)
		}
	}
	var best []int
	bestImbalance := 0
	for _, pairing := range s.pairings {
		least, greatest := sizes[0][pairing[0]], sizes[0][pairing[0]]
		for i, j := range pairing {
			least, greatest = min(least, sizes[i][j]), max(greatest, sizes[i][j])
		}
		if best == nil || greatest-least < bestImbalance {
			best, bestImbalance = pairing, greatest-least
		}
	}
	return best
}

// pairings returns the ways of joining n parts with n others that are worth trying: element i of a pairing is the other's part that
// part i is joined with. The first joins the largest with the smallest; up to five parts, all permutations follow.
func pairings(n int) [][]int {
	reversed := make([]int, n)
	for i := range reversed {
		reversed[i] = n - 1 - i
	}
	if n > 5 {
		return [][]int{reversed}
	}
	return permutations(reversed)
}

// permutations returns all orders of items, the given one first.
func permutations(items []int) [][]int {
	if len(items) == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for i, first := range items {
		others := slices.Concat(items[:i], items[i+1:])
		for _, rest := range permutations(others) {
			all = append(all, slices.Concat([]int{first}, rest))
		}
	}
	return all
}
