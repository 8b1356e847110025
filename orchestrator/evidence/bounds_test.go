package evidence

import (
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"provingground/dsl"
)

// scopes are those that a property looks at.
func scopes() []dsl.Scope {
	one := int64(1)
	return []dsl.Scope{{}, {Kind: string(Zkapps)}, {Round: &one}}
}

// Whatever part of the logs is missing, the truth lies between the bounds.
func TestBoundsHoldTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		truth, part := w.statistics(w.whole()), w.tear(t)
		seen := w.statistics(part)
		for _, metric := range Metrics() {
			if strings.HasPrefix(metric.Name, "log.") {
				continue
			}
			for _, scope := range scopes() {
				if !metric.Scoped && scope != (dsl.Scope{}) {
					continue
				}
				full, got := truth.Measure(metric.Name, scope, w.loads), seen.Measure(metric.Name, scope, w.loads)
				if full.Low == nil || full.High == nil || full.Low.Cmp(full.High) != 0 {
					continue // there is no such value, or the logs never tell
				}
				if got.Low != nil && got.Low.Cmp(full.Low) > 0 || got.High != nil && got.High.Cmp(full.High) < 0 {
					t.Errorf("%s %v is %s, but between %s and %s (%s)", metric.Name, scope, text(full.Low), text(got.Low), text(got.High), got.Missing)
				}
				if (got.Low == nil || got.High == nil || got.Low.Cmp(got.High) != 0) && got.Missing == "" {
					t.Errorf("%s %v is not exact, and nothing says why", metric.Name, scope)
				}
			}
		}
	})
}

// With nothing missing the bounds are the truth.
func TestWholeLogsLeaveNoDoubt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		s := w.statistics(w.whole())
		for _, metric := range Metrics() {
			m := s.Measure(metric.Name, dsl.Scope{}, w.loads)
			if metric.Name == "chain.reorganisation" || metric.Name == "chain.tips" {
				continue // of chains of the same length logs do not say which one a node took
			}
			if m.Low == nil && m.High == nil && strings.HasPrefix(m.Missing, "no ") {
				continue
			}
			if m.Low == nil || m.High == nil || m.Low.Cmp(m.High) != 0 || m.Missing != "" {
				t.Errorf("%s is between %s and %s (%s)", metric.Name, text(m.Low), text(m.High), m.Missing)
			}
		}
		w.compareTransactions(t, s)
		w.compareChain(t, s)
	})
}

// compareTransactions works the metrics of transactions out once more, from what happened.
func (w *world) compareTransactions(t *rapid.T, s *Statistics) {
	canonical := make(map[string]bool)
	received := make(map[string]Instant)
	for _, b := range s.Blocks {
		canonical[b.Hash], received[b.Hash] = b.Canonical, b.Received
	}
	for _, scope := range scopes() {
		var n, in, failed, rejected int64
		var latencies []int64
		for i, tx := range w.sent {
			if !w.loads[tx.load].in(scope) {
				continue
			}
			n++
			if tx.rejected {
				rejected++
			}
			for _, b := range w.blocks {
				if fails, holds := b.holds[i]; holds && canonical[b.hash] {
					in++
					if fails {
						failed++
					}
					latencies = append(latencies, int64(received[b.hash]-tx.at))
				}
			}
		}
		if n == 0 {
			continue
		}
		slices.Sort(latencies)
		want := map[string]*big.Rat{
			"tx.submitted": big.NewRat(n, 1), "tx.included": big.NewRat(in, n), "tx.failed": big.NewRat(failed, n),
			"tx.rejected": big.NewRat(rejected, n), "tx.missing": big.NewRat(n-in-rejected, n),
		}
		if k := int64(len(latencies)); k > 0 {
			var sum int64
			for _, l := range latencies {
				sum += l
			}
			want["tx.latency.mean"] = big.NewRat(sum, k*1_000_000)
			want["tx.latency.min"] = big.NewRat(latencies[0], 1_000_000)
			want["tx.latency.max"] = big.NewRat(latencies[k-1], 1_000_000)
			for _, p := range []int64{50, 95, 99} {
				below := slices.IndexFunc(latencies, func(l int64) bool { // the least that p percent do not exceed
					i, _ := slices.BinarySearch(latencies, l+1)
					return int64(i)*100 >= p*k
				})
				want["tx.latency."+percentile(p).name] = big.NewRat(latencies[below], 1_000_000)
			}
		}
		for name, value := range want {
			if m := s.Measure(name, scope, w.loads); m.Low == nil || m.Low.Cmp(value) != 0 {
				t.Errorf("%s %v is %s, want %s", name, scope, text(m.Low), text(value))
			}
		}
	}
}

// compareChain does so with those of blocks.
func (w *world) compareChain(t *rapid.T, s *Statistics) {
	n, orphaned, gap, last := int64(0), int64(0), int64(0), int64(9)
	for _, b := range s.Blocks[1:] {
		n++
		if !b.Canonical {
			orphaned++
			continue
		}
		gap = max(gap, b.Slot-last-1)
		last = b.Slot
	}
	end, _ := s.slotOf(s.Asked)
	want := map[string]*big.Rat{"block.count": big.NewRat(n, 1), "chain.longest-gap": big.NewRat(max(gap, end-last-1), 1)}
	if n > 0 {
		want["block.orphaned"] = big.NewRat(orphaned, n)
	}
	for name, value := range want {
		if m := s.Measure(name, dsl.Scope{}, nil); m.Low == nil || m.Low.Cmp(value) != 0 {
			t.Errorf("%s is %s, want %s", name, text(m.Low), text(value))
		}
	}
}

func text(r *big.Rat) string {
	if r == nil {
		return "?"
	}
	return r.FloatString(6)
}
