package ledger_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/snarkpool/ledger"
)

func TestShare(t *testing.T) {
	t.Parallel()
	s := ledger.DefaultSampling([32]byte{1})
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	broken := time.Now()
	for _, c := range []struct {
		standing ledger.Standing
		want     float64
	}{
		{ledger.Standing{}, 1}, {ledger.Standing{Verified: 19}, 1}, {ledger.Standing{Verified: 20}, 20. / 21}, {ledger.Standing{Verified: 39}, 0.5},
		{ledger.Standing{Verified: 399}, 0.05}, {ledger.Standing{Verified: math.MaxInt64 - 1}, 0.05}, {ledger.Standing{Verified: 1000, BrokenAt: &broken}, 1},
	} {
		if got := s.Share(c.standing); got != c.want {
			t.Errorf("share of %+v is %v, want %v", c.standing, got, c.want)
		}
	}
	for _, bad := range []ledger.Sampling{{}, {All: 1}, {All: 0, Floor: 0.5}, {All: 1, Floor: 1.1}, {All: 1, Floor: math.NaN()}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is valid", bad)
		}
	}
}

// TestSamplingIsFair counts what is verified of many proofs, and how few a worker can tell from another's.
func TestSamplingIsFair(t *testing.T) {
	t.Parallel()
	one, other := ledger.DefaultSampling([32]byte{1}), ledger.DefaultSampling([32]byte{2})
	standing := ledger.Standing{Verified: 99} // a share of a fifth
	const proofs = 20000
	verified, both := 0, 0
	for i := range proofs {
		job := fmt.Sprint("job", i)
		if one.MustVerify(standing, job, 1) {
			verified++
			if other.MustVerify(standing, job, 1) {
				both++
			}
		}
	}
	if share := float64(verified) / proofs; math.Abs(share-0.2) > 0.01 {
		t.Errorf("%v of the proofs are verified, want a fifth", share)
	}
	if share := float64(both) / proofs; math.Abs(share-0.04) > 0.01 {
		t.Errorf("two agents verify the same %v, want a fifth of a fifth: one's choice tells about the other's", share)
	}
}

func TestTrustRises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := ledger.Sampling{All: rapid.Int64Range(1, 100).Draw(t, "all"), Floor: rapid.Float64Range(0.001, 1).Draw(t, "floor")}
		less := rapid.Int64Range(0, 10000).Draw(t, "less")
		more := less + rapid.Int64Range(0, 10000).Draw(t, "more")
		job, epoch := rapid.String().Draw(t, "job"), rapid.Int64Range(1, 100).Draw(t, "epoch")
		low, high := ledger.Standing{Verified: less}, ledger.Standing{Verified: more}
		if share := s.Share(high); share > s.Share(low) || share < s.Floor || share > 1 {
			t.Fatalf("share %v after %d, %v after %d", s.Share(low), less, share, more)
		}
		if s.MustVerify(high, job, epoch) && !s.MustVerify(low, job, epoch) {
			t.Fatal("a proof is verified with more trust and not with less")
		}
		if less < s.All && !s.MustVerify(low, job, epoch) {
			t.Fatal("one of the first proofs is not verified")
		}
	})
}

func TestSlowest(t *testing.T) {
	t.Parallel()
	work := func(worker string, proofs int64, mean float64) ledger.Work {
		return ledger.Work{Worker: worker, Timed: proofs, SecondsTotal: mean * float64(proofs)}
	}
	for _, c := range []struct {
		name  string
		works []ledger.Work
		want  []ledger.Slow
	}{
		{"nobody", nil, nil},
		{"two are no pool", []ledger.Work{work("a/p/0", 9, 1), work("a/p/1", 9, 9)}, nil},
		{"all alike", []ledger.Work{work("a/p/0", 9, 1), work("a/p/1", 9, 1.2), work("a/p/2", 9, 1.4)}, nil},
		{"one", []ledger.Work{work("a/p/0", 9, 1), work("b/p/0", 9, 1.5), work("c/p/0", 9, 2)}, []ledger.Slow{{Worker: "c/p/0", MeanSeconds: 2, MedianSeconds: 1.25, Times: 1.6}}},
		{"few proofs", []ledger.Work{work("a/p/0", 9, 1), work("b/p/0", 9, 1), work("c/p/0", 9, 1), work("d/p/0", 4, 9)}, nil},
		{"pools apart", []ledger.Work{work("a/p/0", 9, 1), work("a/p/1", 9, 1), work("a/p/2", 9, 1), work("a/q/0", 9, 9), work("a/q/1", 9, 9), work("a/q/2", 9, 9)}, nil},
		{"slowest first", []ledger.Work{work("a/p/0", 9, 1), work("a/p/1", 9, 2), work("a/p/2", 9, 1), work("a/p/3", 9, 4), work("a/p/4", 9, 1)}, []ledger.Slow{
			{Worker: "a/p/3", MeanSeconds: 4, MedianSeconds: 1, Times: 4}, {Worker: "a/p/1", MeanSeconds: 2, MedianSeconds: 1, Times: 2},
		}},
		{"no time at all", []ledger.Work{work("a/p/0", 9, 0), work("a/p/1", 9, 0), work("a/p/2", 9, 1)}, nil},
	} {
		if diff := cmp.Diff(c.want, ledger.SlowRule{}.Slowest(c.works)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
