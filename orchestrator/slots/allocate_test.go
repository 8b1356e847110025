package slots

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestAllocate(t *testing.T) {
	// Slot 0 is won and slot 1 is not in most rows, so that E = 1 and the window begins with slot 2.
	tests := []struct {
		name     string
		won      []Won
		weights  []int
		min, max int
		want     Allocation
	}{
		{
			// 5 to 7 are contiguous: E is 8, not the last won slot. Up to 9 the parts are 1 and 0, up to 10 they are 1 and 1.
			"the empty slot follows a contiguous run",
			[]Won{{"a:1", []int{5, 6, 7, 9, 11}}, {"b:1", []int{10, 12}}},
			[]int{1, 1},
			1, 10,
			Allocation{NextEmptySlot: 8, LastSlot: 10, Groups: [][]string{{"a:1"}, {"b:1"}}},
		},
		{
			// 2, 1 and 1 slots. a and b are merged to (a, b), c joins the smaller part. The end, E+6, is a slot that nobody won.
			"the shortest window is perfect",
			[]Won{{"a:1", []int{0, 2, 3}}, {"b:1", []int{4}}, {"c:1", []int{5}}},
			[]int{1, 1},
			6, 9,
			Allocation{NextEmptySlot: 1, LastSlot: 7, Groups: [][]string{{"b:1", "c:1"}, {"a:1"}}},
		},
		{
			// a has one slot more in any window: differences 1 (to 2), 2 (3), 1 (4), 2 (5). The first of the best is taken.
			"no perfect split: the earliest of the best",
			[]Won{{"a:1", []int{0, 2, 3, 5}}, {"b:1", []int{4}}},
			[]int{1, 1},
			1, 9,
			Allocation{NextEmptySlot: 1, LastSlot: 2, Groups: [][]string{{"a:1"}, {"b:1"}}},
		},
		{
			"no perfect split: a later window is better",
			[]Won{{"a:1", []int{0, 2, 3, 5}}, {"b:1", []int{4}}},
			[]int{1, 1},
			2, 9,
			Allocation{NextEmptySlot: 1, LastSlot: 4, Groups: [][]string{{"a:1"}, {"b:1"}}},
		},
		{
			// Nobody won 2 to 9; an empty window is not a perfect split.
			"windows without a won slot are passed over",
			[]Won{{"a:1", []int{0, 10}}, {"b:1", []int{11}}},
			[]int{1, 1},
			0, 20,
			Allocation{NextEmptySlot: 1, LastSlot: 11, Groups: [][]string{{"a:1"}, {"b:1"}}},
		},
		{
			// The pairs {a, b} and {c, d} come out of the first merges as (a, b) = (4, 4) and (c, d) = (3, 1). Although a and b are
			// equally large, c lies within a alone: a+c and b+d are 4 and 5; the other way round they would be 5 and 7.
			"overlap decides between parts of equal size",
			[]Won{{"a:1", []int{0, 2, 3, 4, 5}}, {"b:1", []int{6, 7, 8, 9}}, {"c:1", []int{2, 3, 4}}, {"d:1", []int{10}}},
			[]int{1, 1},
			20, 20,
			Allocation{NextEmptySlot: 1, LastSlot: 21, Groups: [][]string{{"b:1", "d:1"}, {"a:1", "c:1"}}},
		},
		{
			// All three won the same slots: each part has them all. (a, -, -) and (b, -, -) are merged to (a, b, -), and with (c, -, -),
			// which was there before, to (c, b, a): the first of equally good pairings joins the largest with the smallest.
			"the same slots in each part",
			[]Won{{"a:1", []int{0, 2, 3}}, {"b:1", []int{2, 3}}, {"c:1", []int{2, 3}}},
			[]int{1, 1, 1},
			5, 9,
			Allocation{NextEmptySlot: 1, LastSlot: 6, Groups: [][]string{{"c:1"}, {"b:1"}, {"a:1"}}},
		},
		{
			// Parts (c, b, a), as above.
			"weights join parts",
			[]Won{{"a:1", []int{0, 2}}, {"b:1", []int{3}}, {"c:1", []int{4}}},
			[]int{2, 1},
			5, 9,
			Allocation{NextEmptySlot: 1, LastSlot: 6, Groups: [][]string{{"b:1", "c:1"}, {"a:1"}}},
		},
		{
			"one group takes all, at the first end",
			[]Won{{"a:1", []int{0, 2}}, {"b:1", []int{3}}},
			[]int{1},
			1, 9,
			Allocation{NextEmptySlot: 1, LastSlot: 2, Groups: [][]string{{"a:1", "b:1"}}},
		},
		{
			// The two nodes of 10.0.0.1 have 2 slots together, those of the IPv6 host 2.
			"nodes of one host stay together",
			[]Won{
				{"10.0.0.1:3086", []int{0, 2}},
				{"[2001:db8::7]:3086", []int{4}},
				{"10.0.0.1:3087", []int{3}},
				{"[2001:DB8::7]:3087", []int{5}},
			},
			[]int{1, 1},
			4, 4,
			Allocation{NextEmptySlot: 1, LastSlot: 5, Groups: [][]string{
				{"10.0.0.1:3086", "10.0.0.1:3087"}, {"[2001:DB8::7]:3087", "[2001:db8::7]:3086"},
			}},
		},
		{
			// c, d and e won nothing in the window: dealt out from the last group on.
			"hosts without a slot in the window are dealt out",
			[]Won{{"a:1", []int{0, 2}}, {"b:1", []int{3}}, {"c:1", nil}, {"d:1", []int{90}}, {"e:1", []int{}}},
			[]int{1, 1},
			2, 2,
			Allocation{NextEmptySlot: 1, LastSlot: 3, Groups: [][]string{{"a:1", "d:1"}, {"b:1", "c:1", "e:1"}}},
		},
		{
			"fewer hosts than groups",
			[]Won{{"a:1", []int{0, 2}}},
			[]int{1, 1},
			1, 5,
			Allocation{NextEmptySlot: 1, LastSlot: 2, Groups: [][]string{{"a:1"}, {}}},
		},
		{
			// Sizes 2, 2, 2, 2, 2, 1, 1; only largest with smallest is tried. (a, b), (c, d) and (e, b, a) come first, then
			// (c, d, a, b, e), (c, d, a, b, e, f), and g with the smallest of these: (gf, e, b, a, d, c).
			"more than five parts",
			[]Won{
				{"a:1", []int{0, 2, 3}},
				{"b:1", []int{4, 5}},
				{"c:1", []int{6, 7}},
				{"d:1", []int{8, 9}},
				{"e:1", []int{10, 11}},
				{"f:1", []int{12}},
				{"g:1", []int{13}},
			},
			[]int{1, 1, 1, 1, 1, 1},
			30, 30,
			Allocation{NextEmptySlot: 1, LastSlot: 31, Groups: [][]string{{"f:1", "g:1"}, {"e:1"}, {"b:1"}, {"a:1"}, {"d:1"}, {"c:1"}}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Allocate(test.won, test.weights, test.min, test.max)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("allocation (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFirstEmpty(t *testing.T) {
	tests := []struct {
		won  []int
		want int
	}{
		{[]int{0}, 1},
		{[]int{5}, 6},
		{[]int{5, 6, 7}, 8},
		{[]int{5, 7}, 6},
		{[]int{5, 6, 8, 10}, 7},
	}
	for _, test := range tests {
		if got := firstEmpty(test.won); got != test.want {
			t.Errorf("firstEmpty(%v) = %d; want %d", test.won, got, test.want)
		}
	}
}

func TestAllocateErrors(t *testing.T) {
	some := []Won{{"a:1", []int{0, 2}}, {"b:1", []int{3}}}
	tests := []struct {
		name     string
		won      []Won
		weights  []int
		min, max int
		noSlots  bool
	}{
		{"no nodes", nil, []int{1}, 1, 9, true},
		{"no slots", []Won{{"a:1", nil}}, []int{1}, 1, 9, true},
		{"only one slot", []Won{{"a:1", []int{5}}}, []int{1, 1}, 1, 9, true},
		{"contiguous slots", []Won{{"a:1", []int{5, 6}}, {"b:1", []int{7}}}, []int{1, 1}, 1, 9, true},
		{"the next slot is beyond the longest window", []Won{{"a:1", []int{5, 17}}}, []int{1, 1}, 1, 10, true},
		{"no groups", some, nil, 1, 9, false},
		{"zero weight", some, []int{1, 0}, 1, 9, false},
		{"negative weight", some, []int{2, -1}, 1, 9, false},
		{"too many parts", some, []int{maxParts, 1}, 1, 9, false},
		{"weights that overflow", some, []int{1, 1<<63 - 1}, 1, 9, false},
		{"negative window", some, []int{1}, -1, 9, false},
		{"window that shrinks", some, []int{1}, 5, 4, false},
		{"no window", some, []int{1}, 0, 0, false},
		{"endless window", some, []int{1}, 0, maxSlot + 1, false},
		{"address without a port", []Won{{"10.0.0.1", []int{0, 2}}}, []int{1}, 1, 9, false},
		{"IPv6 without brackets", []Won{{"2001:db8::1:3086", []int{0, 2}}}, []int{1}, 1, 9, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Allocate(test.won, test.weights, test.min, test.max)
			if err == nil || errors.Is(err, ErrNoSlots) != test.noSlots {
				t.Errorf("got %+v, %v; want an error, ErrNoSlots: %t", got, err, test.noSlots)
			}
		})
	}
}

// drawWon draws the answers of up to nodes nodes, at least one, on fewer hosts than nodes; slots lie in 0..last.
func drawWon(t *rapid.T, nodes, last int) []Won {
	var won []Won
	for i := range rapid.IntRange(1, nodes).Draw(t, "nodes") {
		host := rapid.IntRange(0, nodes-1).Draw(t, "host")
		won = append(won, Won{
			Address: fmt.Sprintf("[2001:db8::%x]:%d", host, 3086+i),
			Slots:   rapid.SliceOfN(rapid.IntRange(0, last), 0, last/2).Draw(t, "slots"),
		})
	}
	return won
}

func slotSet(won []Won) map[int]bool {
	set := make(map[int]bool)
	for _, node := range won {
		for _, slot := range node.Slots {
			set[slot] = true
		}
	}
	return set
}

// groupSizes counts the distinct slots of each group in the window of the allocation.
func groupSizes(won []Won, a Allocation) []int {
	sizes := make([]int, len(a.Groups))
	for i, group := range a.Groups {
		var members []Won
		for _, node := range won {
			if slices.Contains(group, node.Address) {
				members = append(members, node)
			}
		}
		for slot := range slotSet(members) {
			if slot > a.NextEmptySlot && slot <= a.LastSlot {
				sizes[i]++
			}
		}
	}
	return sizes
}

func imbalance(sizes []int) int { return slices.Max(sizes) - slices.Min(sizes) }

func ones(n int) []int { return slices.Repeat([]int{1}, n) }

func TestAllocationIsAPartition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		won := drawWon(t, 8, 40)
		weights := rapid.SliceOfN(rapid.IntRange(1, 3), 1, 4).Draw(t, "weights")
		minSlots := rapid.IntRange(0, 20).Draw(t, "minSlots")
		maxSlots := rapid.IntRange(max(minSlots, 1), 45).Draw(t, "maxSlots")
		a, err := Allocate(won, weights, minSlots, maxSlots)

		taken := slotSet(won)
		lowest := slices.Min(append(keys(taken), maxSlot))
		empty := lowest
		for taken[empty] {
			empty++
		}
		inWindow := 0
		for slot := range taken {
			if slot > empty && slot <= empty+maxSlots {
				inWindow++
			}
		}
		if inWindow == 0 {
			if !errors.Is(err, ErrNoSlots) {
				t.Fatalf("got %+v, %v; want ErrNoSlots", a, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if a.NextEmptySlot != empty || a.LastSlot < empty+minSlots || a.LastSlot > empty+maxSlots {
			t.Fatalf("slots %d to %d; want E = %d and an end from %d to %d", a.NextEmptySlot, a.LastSlot, empty, empty+minSlots, empty+maxSlots)
		}
		if len(a.Groups) != len(weights) {
			t.Fatalf("%d groups for weights %v", len(a.Groups), weights)
		}
		groupOfHost := make(map[string]int)
		var placed, asked []string
		for i, group := range a.Groups {
			placed = append(placed, group...)
			for _, address := range group {
				host, err := hostOf(address)
				if err != nil {
					t.Fatal(err)
				}
				if other, seen := groupOfHost[host]; seen && other != i {
					t.Fatalf("host %s is in the groups %d and %d", host, other, i)
				}
				groupOfHost[host] = i
			}
		}
		for _, node := range won {
			asked = append(asked, node.Address)
		}
		slices.Sort(placed)
		slices.Sort(asked)
		if diff := cmp.Diff(asked, placed); diff != "" {
			t.Fatalf("nodes (-asked +placed):\n%s", diff)
		}
	})
}

func keys(set map[int]bool) []int {
	var all []int
	for key := range set {
		all = append(all, key)
	}
	return all
}

func TestAllocateDoesNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		won := drawWon(t, 8, 30)
		weights := rapid.SliceOfN(rapid.IntRange(1, 2), 1, 4).Draw(t, "weights")
		want, wantErr := Allocate(won, weights, 3, 35)

		other := rapid.Permutation(won).Draw(t, "permuted")
		for i := range other {
			other[i].Slots = rapid.Permutation(other[i].Slots).Draw(t, "permuted slots")
		}
		// An answer that came twice, or in two pieces, changes nothing either.
		other = append(other, Won{Address: other[0].Address, Slots: other[0].Slots})
		got, err := Allocate(other, weights, 3, 35)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("error %v; %v in the other order", wantErr, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("the order matters (-one +other):\n%s", diff)
		}
	})
}

// TestAllocateTakesTheFirstBestEnd tries every end on its own.
func TestAllocateTakesTheFirstBestEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		won := drawWon(t, 6, 30)
		weights := ones(rapid.IntRange(1, 4).Draw(t, "groups"))
		minSlots := rapid.IntRange(0, 10).Draw(t, "minSlots")
		maxSlots := rapid.IntRange(max(minSlots, 1), 35).Draw(t, "maxSlots")
		got, err := Allocate(won, weights, minSlots, maxSlots)

		var want Allocation
		found := false
		for length := max(minSlots, 1); length <= maxSlots; length++ {
			one, err := Allocate(won, weights, length, length)
			if errors.Is(err, ErrNoSlots) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if !found || imbalance(groupSizes(won, one)) < imbalance(groupSizes(won, want)) {
				want, found = one, true
			}
		}
		if found != (err == nil) {
			t.Fatalf("got %+v, %v; trying each end on its own found one: %t", got, err, found)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("allocation (-each end on its own +got):\n%s", diff)
		}
	})
}

// TestAllocateBoundWithoutOverlap holds largest differencing to what is proved of it: merging the largest with the smallest never
// raises the imbalance of two partitions above that of either, and each starts as one host.
func TestAllocateBoundWithoutOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts := rapid.IntRange(1, 12).Draw(t, "hosts")
		groups := rapid.IntRange(1, 8).Draw(t, "groups")
		won := make([]Won, hosts)
		for i := range won {
			won[i].Address = fmt.Sprintf("10.0.0.%d:3086", i)
		}
		won[0].Slots = []int{0}
		for slot := 2; slot < 60; slot++ {
			if owner := rapid.IntRange(0, hosts).Draw(t, "owner"); owner < hosts {
				won[owner].Slots = append(won[owner].Slots, slot)
			}
		}
		a, err := Allocate(won, ones(groups), 60, 60)
		if errors.Is(err, ErrNoSlots) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		most := 0
		for i := range won {
			most = max(most, len(won[i].Slots))
		}
		if got := imbalance(groupSizes(won, a)); got > most {
			t.Fatalf("parts %v differ by %d, more than the %d slots of the host that won most", groupSizes(won, a), got, most)
		}
	})
}

// bestImbalance tries every way to put the nodes, one per host, into groups.
func bestImbalance(won []Won, groups, first, last int) int {
	best := last
	assigned := make([]int, len(won))
	for {
		sets := make([]map[int]bool, groups)
		for i := range sets {
			sets[i] = make(map[int]bool)
		}
		for i, node := range won {
			for _, slot := range node.Slots {
				if slot >= first && slot <= last {
					sets[assigned[i]][slot] = true
				}
			}
		}
		sizes := make([]int, groups)
		for i := range sets {
			sizes[i] = len(sets[i])
		}
		best = min(best, imbalance(sizes))

		next := 0
		for next < len(assigned) && assigned[next] == groups-1 {
			assigned[next] = 0
			next++
		}
		if next == len(assigned) {
			return best
		}
		assigned[next]++
	}
}

// TestAllocateAgainstBruteForce compares overlapping winners with the optimum. Two hosts take one merge, which tries everything: the
// result is the optimum. For more hosts nothing is proved, so the bounds are what a fixed sample shows.
func TestAllocateAgainstBruteForce(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const samples = 3000
	total, worst := 0, 0
	for range samples {
		hosts, groups := 2+random.IntN(5), 2+random.IntN(2)
		won := []Won{{Address: "10.0.0.0:3086", Slots: []int{0}}}
		for i := range hosts {
			var slots []int
			for slot := 2; slot <= 20; slot++ {
				if random.IntN(3) == 0 {
					slots = append(slots, slot)
				}
			}
			won = append(won, Won{Address: fmt.Sprintf("10.0.1.%d:3086", i), Slots: slots})
		}
		a, err := Allocate(won, ones(groups), 19, 19)
		if err != nil {
			t.Fatal(err)
		}
		got, optimum := imbalance(groupSizes(won, a)), bestImbalance(won[1:], groups, 2, 20)
		if got < optimum || hosts == 2 && got > optimum {
			t.Errorf("%d hosts in %d groups differ by %d, the optimum is %d: %v", hosts, groups, got, optimum, won)
		}
		total += got - optimum
		worst = max(worst, got-optimum)
	}
	if worst > 5 || total > samples/5 {
		t.Errorf("over the optimum of 19 slots: %d at worst, %d in %d samples; want 5 and one fifth of the samples at most", worst, total, samples)
	}
}

// BenchmarkAllocate works on the epoch of a large network: 100 hosts that win one slot in 60 each. One window is the whole epoch; the
// search may go from 100 slots to the whole epoch.
func BenchmarkAllocate(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	won := make([]Won, 100)
	for i := range won {
		won[i].Address = fmt.Sprintf("10.0.0.%d:3086", i)
		for slot := range 7140 {
			if random.IntN(60) == 0 {
				won[i].Slots = append(won[i].Slots, slot)
			}
		}
	}
	for _, groups := range []int{2, 5, 6} {
		for name, minSlots := range map[string]int{"window": 7000, "search": 100} {
			b.Run(fmt.Sprintf("%s/groups=%d", name, groups), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Allocate(won, ones(groups), minSlots, 7000); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
