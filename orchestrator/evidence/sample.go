package evidence

import (
	"math/big"
	"slices"
	"time"
)

// unlimited is a number of elements that has no known bound.
const unlimited int64 = -1

// sample is durations that are each known between two ends, and others of which only their number is bounded.
type sample struct {
	lows, highs []time.Duration // ends of the elements, in any order, as many of each
	extra       int64           // how many more elements there may be; unlimited
	least       time.Duration   // no element is below it
	most        *time.Duration  // none is above it; nil: that is not known
}

// add adds an element.
func (s *sample) add(low, high time.Duration) {
	s.lows, s.highs = append(s.lows, low), append(s.highs, high)
}

// exact adds elements that are known.
func (s *sample) exact(elements []time.Duration) {
	s.lows, s.highs = append(s.lows, elements...), append(s.highs, elements...)
}

// of returns between what a statistic of the elements lies, in seconds, whichever of the others there are. It is unknown when there is no element.
func (s *sample) of(statistic statistic) bounds {
	n := int64(len(s.lows))
	if n == 0 {
		return bounds{}
	}
	if !slices.IsSorted(s.lows) {
		slices.Sort(s.lows)
	}
	if !slices.IsSorted(s.highs) {
		slices.Sort(s.highs)
	}
	floor, ceiling := new(big.Rat).Set(seconds(min(s.least, s.lows[0]))), (*big.Rat)(nil)
	if s.most != nil {
		ceiling = seconds(max(*s.most, s.highs[n-1]))
	}
	switch {
	case statistic.name == least:
		if s.extra == 0 {
			floor = seconds(s.lows[0])
		}
		return bounds{floor, seconds(s.highs[0])}
	case statistic.name == greatest:
		if s.extra == 0 {
			ceiling = seconds(s.highs[n-1])
		}
		return bounds{seconds(s.lows[n-1]), ceiling}
	case s.extra == unlimited:
		return bounds{floor, ceiling}
	case statistic.name == mean:
		return bounds{meanOf(s.lows, s.extra, floor), meanOf(s.highs, s.extra, ceiling)}
	}
	// With u more elements the rank grows by less than u, and by all of it in the worst case. If they are all the least, the elements move u places up.
	rank := nearestRank(statistic.percent, n+s.extra)
	b := bounds{floor, ceiling}
	if place := rank - s.extra; place >= 1 {
		b.low = seconds(s.lows[place-1])
	}
	if rank <= n {
		b.high = seconds(s.highs[rank-1])
	}
	return b
}

// nearestRank returns the place, from 1, of a percentile among n elements in order: ⌈n × percent / 100⌉.
func nearestRank(percent, n int64) int64 {
	return max(1, (n*percent+99)/100)
}

// meanOf returns the mean, in seconds, of elements and of more that are all the same; nil when that is not known and there are any.
func meanOf(elements []time.Duration, more int64, each *big.Rat) *big.Rat {
	sum := new(big.Int)
	for _, element := range elements {
		sum.Add(sum, big.NewInt(int64(element)))
	}
	total := new(big.Rat).SetFrac(sum, big.NewInt(int64(time.Second)))
	if more > 0 {
		if each == nil {
			return nil
		}
		total.Add(total, new(big.Rat).Mul(each, big.NewRat(more, 1)))
	}
	return total.Quo(total, big.NewRat(int64(len(elements))+more, 1))
}
