package orchestrator

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/internal/mina"
)

func rat(text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		panic(text)
	}
	return r
}

func TestNodesFor(t *testing.T) {
	for _, test := range []struct {
		rate, least string
		nodes, keys int
		want        int
	}{
		{"0.25", "0.01", 10, 118, 10}, // 25 would get enough, there are 10
		{"0.25", "0.01", 40, 118, 25}, // exactly 25, which floating point makes 25 or 24
		{"0.3", "0.1", 9, 9, 3},
		{"0.29", "0.1", 9, 9, 2},
		{"0.005", "0.01", 9, 9, 1}, // less than the least rate: one node all the same (D12)
		{"0.25", "0", 10, 118, 10}, // no least rate (D12)
		{"0.25", "0.01", 10, 3, 3}, // fewer keys than nodes: a node without a key would refuse (D34)
		{"0.25", "0.01", 0, 3, 0},
		{"0.25", "0.01", 3, 0, 0},
		{"1e300", "1e-300", 7, 9, 7}, // the quotient is beyond any integer type
	} {
		if got := nodesFor(rat(test.rate), rat(test.least), test.nodes, test.keys); got != test.want {
			t.Errorf("%+v: got %d", test, got)
		}
	}
}

func TestDivideSumsToTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.IntRange(1, 300).Draw(t, "keys")
		n := rapid.IntRange(1, keys).Draw(t, "n")
		rate := big.NewRat(rapid.Int64Range(1, 1<<50).Draw(t, "numerator"), rapid.Int64Range(1, 1<<50).Draw(t, "denominator"))
		shares := divide(rate, keys, n)
		sum, next := new(big.Rat), 0
		for i, s := range shares {
			sum.Add(sum, s.rate)
			if s.from != next || s.to <= s.from {
				t.Fatalf("share %d has the keys %d..%d, after %d", i, s.from, s.to, next)
			}
			if size, first := s.to-s.from, shares[0].to-shares[0].from; size != first && size != first-1 {
				t.Fatalf("share %d has %d keys, share 0 has %d", i, size, first)
			}
			next = s.to
		}
		if next != keys || sum.Cmp(rate) != 0 {
			t.Fatalf("shares sum to %d keys and %s tps, want %d and %s", next, sum, keys, rate)
		}
	})
}

// TestAllotmentKeepsItsRules lets nodes answer at random, and holds every attempt against the rules.
func TestAllotmentKeepsItsRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := make([]string, rapid.IntRange(1, 8).Draw(t, "nodes"))
		for i := range nodes {
			nodes[i] = fmt.Sprint("node", i)
		}
		keys := rapid.IntRange(len(nodes), 20).Draw(t, "keys")
		n := rapid.IntRange(1, len(nodes)).Draw(t, "n")
		shares := divide(big.NewRat(1, 3), keys, n)
		a := newAllotment(shares, nodes)
		used := map[string]bool{}
		carries := map[string]int{}
		refusedOrLost := map[string]bool{}
		settled := map[int]verdict{}
		for wave := a.wave(); len(wave) > 0; wave = a.wave() {
			inWave := map[string]bool{}
			for _, at := range wave {
				switch v, before := settled[at.share]; {
				case before && v == unknown:
					t.Fatalf("share %d, of which nobody knows what became, is offered to %s", at.share, at.node)
				case before && v == carried:
					t.Fatalf("share %d, which is carried, is offered to %s", at.share, at.node)
				case inWave[at.node]:
					t.Fatalf("%s is offered two shares at once", at.node)
				case refusedOrLost[at.node]:
					t.Fatalf("%s is asked again", at.node)
				case carries[at.node] >= 2:
					t.Fatalf("%s is offered a third share", at.node)
				case carries[at.node] == 1 && len(used) < len(nodes):
					t.Fatalf("%s is offered a second share while %v were never asked", at.node, nodes[len(used):])
				}
				inWave[at.node] = true
				used[at.node] = true
			}
			for _, at := range wave {
				v := rapid.SampledFrom([]verdict{carried, refused, unknown}).Draw(t, "verdict")
				settled[at.share] = v
				if v == carried {
					carries[at.node]++
				} else {
					refusedOrLost[at.node] = true
				}
				a.settle(at, v)
			}
		}
		all := slices.Concat(a.placed, a.open, a.lost)
		slices.Sort(all)
		for i := range shares {
			if i >= len(all) || all[i] != i {
				t.Fatalf("placed %v, open %v and lost %v are not each share once", a.placed, a.open, a.lost)
			}
		}
		total := new(big.Rat).Add(a.rate(a.placed), a.rate(a.open))
		if total.Add(total, a.rate(a.lost)).Cmp(big.NewRat(1, 3)) != 0 {
			t.Fatalf("the rates sum to %s", total)
		}
		if len(a.open) > 0 {
			for _, node := range nodes {
				if !refusedOrLost[node] && carries[node] < 2 {
					t.Fatalf("shares %v are open, and %s could have been asked", a.open, node)
				}
			}
		}
	})
}

func TestAllotmentSendsRefusedSharesToUnusedNodesFirst(t *testing.T) {
	a := newAllotment(divide(big.NewRat(1, 1), 4, 2), []string{"a", "b", "c"})
	var waves [][]attempt
	answer := map[string]verdict{"a": refused, "b": carried, "c": refused}
	for wave := a.wave(); len(wave) > 0; wave = a.wave() {
		waves = append(waves, wave)
		for _, at := range wave {
			a.settle(at, answer[at.node])
		}
	}
	// b carries share 1; share 0 goes to the unused c, and only then to b, as its second one.
	want := [][]attempt{{{0, "a"}, {1, "b"}}, {{0, "c"}}, {{0, "b"}}}
	if diff := cmp.Diff(want, waves, cmp.AllowUnexported(attempt{})); diff != "" {
		t.Error(diff)
	}
}

func TestAllotmentReplayContinuesWhereItWas(t *testing.T) {
	a := newAllotment(divide(big.NewRat(1, 1), 4, 2), []string{"a", "b", "c"})
	a.replay(attempt{0, "a"}, refused)
	a.replay(attempt{1, "b"}, carried)
	want := []attempt{{0, "c"}}
	if diff := cmp.Diff(want, a.wave(), cmp.AllowUnexported(attempt{})); diff != "" {
		t.Error(diff)
	}
}

func TestBoundaries(t *testing.T) {
	for _, test := range []struct {
		n      int
		ratios []string
		want   []int // sizes
	}{
		{8, []string{"0.2", "0.2", "0.2", "0.2", "0.2"}, []int{2, 1, 2, 1, 2}},
		{7, []string{"0.2", "0.2", "0.2", "0.2", "0.2"}, []int{1, 2, 1, 2, 1}},
		{8, []string{"0.3333333333", "0.3333333333", "0.3333333333"}, []int{3, 2, 3}},
		{7, []string{"0.5", "0.5"}, []int{4, 3}},
		{3, []string{"0.5", "0.5"}, []int{2, 1}}, // the existing tool panics here (D9)
		{0, []string{"0.5"}, []int{0}},
		{5, nil, nil},
	} {
		var ratios []*big.Rat
		for _, r := range test.ratios {
			ratios = append(ratios, rat(r))
		}
		var sizes []int
		from := 0
		for _, to := range boundaries(test.n, ratios) {
			sizes = append(sizes, to-from)
			from = to
		}
		if !slices.Equal(sizes, test.want) {
			t.Errorf("%d by %v: got %v, want %v", test.n, test.ratios, sizes, test.want)
		}
	}
}

func TestCheckRatios(t *testing.T) {
	ratios := func(texts ...string) (all []*big.Rat) {
		for _, text := range texts {
			all = append(all, rat(text))
		}
		return all
	}
	for _, ok := range [][]*big.Rat{ratios("0.1", "0.2", "0.7"), ratios("1"), ratios("0"), ratios("0.5", "0.5000000001"), nil} {
		if err := checkRatios(ok); err != nil {
			t.Errorf("%v: %v", ok, err)
		}
	}
	for _, wrong := range [][]*big.Rat{ratios("0.6", "0.5"), ratios("1.1"), ratios("-0.1"), ratios("0.5", "0.51")} {
		if checkRatios(wrong) == nil {
			t.Errorf("%v is accepted", wrong)
		}
	}
}

// TestZkappNumbers begins with the generator's worked example (generator, section 5.1); the other rows were worked out by hand.
func TestZkappNumbers(t *testing.T) {
	for _, test := range []struct {
		name    string
		zkapps  zkapps
		rate    string
		minutes int
		want    zkappNumbers
	}{
		{
			"worked example", zkapps{gap: 180, maxBalanceChange: 1000, newAccountRatio: rat("0")}, "0.25", 20,
			zkappNumbers{deploy: 180, queue: 135, minNewBalance: 1_000_039_999, maxNewBalance: 3_000_119_997, initBalance: 6_000_239_994},
		},
		{
			// 0.25·1200 = 300 transactions, 180 of them deployments: a tenth of the rest are 12 accounts.
			"new accounts", zkapps{gap: 180, maxBalanceChange: 0, newAccountRatio: rat("0.1")}, "0.25", 20,
			zkappNumbers{deploy: 180, queue: 135, newAccounts: 12, minNewBalance: 1e9, maxNewBalance: 3e9, initBalance: 6e9},
		},
		{
			// 24 new accounts for 8 zkApps: 3·24/8 + 1 = 10 shares of 2·3 MINA.
			"fixed number", zkapps{fixed: 8, queueSize: 5, gap: 180, newAccountRatio: rat("0.5")}, "0.1", 10 - 1,
			zkappNumbers{deploy: 8, queue: 5, newAccounts: 23, minNewBalance: 1e9, maxNewBalance: 3e9, initBalance: 6e9 * 9},
		},
		{
			// Without a gap: 0.1·600 = 60 transactions over 8 accounts are 7.5 uses each, with a reserve of four 30; 3·30·2·100 nanomina.
			"no gap", zkapps{fixed: 8, maxBalanceChange: 100, newAccountRatio: rat("0")}, "0.1", 10,
			zkappNumbers{deploy: 8, minNewBalance: 1_000_018_000, maxNewBalance: 3_000_054_000, initBalance: 6_000_108_000},
		},
	} {
		got, err := test.zkapps.numbers(rat(test.rate), test.minutes)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}
}

func TestZkappNumbersRefuse(t *testing.T) {
	slow := zkapps{gap: 180, newAccountRatio: rat("0")}
	if _, err := slow.numbers(rat("0.25"), 12); !errors.Is(err, errDeployment) { // 180 deployments 4 s apart take just 12 minutes
		t.Errorf("a deployment as long as the load: got %v", err)
	}
	if _, err := slow.numbers(rat("0.25"), 13); err != nil {
		t.Errorf("a deployment shorter than the load: got %v", err)
	}
	rich := zkapps{gap: 180, maxBalanceChange: 1 << 62, newAccountRatio: rat("0")}
	if _, err := rich.numbers(rat("0.25"), 20); !errors.Is(err, mina.ErrOverflow) {
		t.Errorf("balances beyond 64 bits: got %v", err)
	}
}

func TestTransactions(t *testing.T) {
	for _, test := range []struct {
		rate, minutes string
		want          uint64
	}{{"0.25", "30", 450}, {"0.01", "1", 1}, {"0.2522580792428838", "30", 455}, {"1e30", "1e30", math.MaxUint64}} {
		if got := transactions(rat(test.rate), rat(test.minutes)); got != test.want {
			t.Errorf("%s tps for %s minutes: got %d, want %d", test.rate, test.minutes, got, test.want)
		}
	}
}
