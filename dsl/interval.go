package dsl

import (
	"fmt"
	"math/big"
)

// interval is what is known of a number: it lies between low and high, both included. A bound that is nil is not known.
type interval struct{ low, high *big.Rat }

func exactly(x *big.Rat) interval { return interval{x, x} }

// exact returns the number, and whether it is known.
func (a interval) exact() (*big.Rat, bool) {
	if a.low == nil || a.high == nil || a.low.Cmp(a.high) != 0 {
		return nil, false
	}
	return a.low, true
}

func (a interval) neg() interval { return interval{negated(a.high), negated(a.low)} }

func negated(x *big.Rat) *big.Rat {
	if x == nil {
		return nil
	}
	return new(big.Rat).Neg(x)
}

func (a interval) add(b interval) interval { return interval{sum(a.low, b.low), sum(a.high, b.high)} }

func sum(x, y *big.Rat) *big.Rat {
	if x == nil || y == nil {
		return nil
	}
	return new(big.Rat).Add(x, y)
}

// mul returns where the product lies. It is the widest of the products of two ends, where 0 times an unknown number is 0.
func (a interval) mul(b interval) interval {
	ends := func(i interval) [2]end { return [2]end{{i.low, -1}, {i.high, 1}} }
	var low, high end
	for i, x := range ends(a) {
		for j, y := range ends(b) {
			product := x.mul(y)
			if first := i+j == 0; first || product.cmp(low) < 0 {
				low = product
			}
			if first := i+j == 0; first || product.cmp(high) > 0 {
				high = product
			}
		}
	}
	return interval{low.number, high.number}
}

func (a interval) mayBeZero() bool {
	return (a.low == nil || a.low.Sign() <= 0) && (a.high == nil || a.high.Sign() >= 0)
}

// quo returns where the quotient lies: anywhere, when the divisor may be 0.
func (a interval) quo(b interval) interval {
	if b.mayBeZero() {
		return interval{}
	}
	return a.mul(interval{inverted(b.high), inverted(b.low)})
}

// inverted returns 1/x; 0 where x is without bound.
func inverted(x *big.Rat) *big.Rat {
	if x == nil {
		return new(big.Rat)
	}
	return new(big.Rat).Inv(x)
}

// least returns where the smaller of two numbers lies.
func (a interval) least(b interval) interval { return a.neg().greatest(b.neg()).neg() }

// greatest returns where the greater of two numbers lies.
func (a interval) greatest(b interval) interval {
	var both interval
	switch {
	case a.low == nil || b.low != nil && b.low.Cmp(a.low) > 0:
		both.low = b.low
	default:
		both.low = a.low
	}
	switch {
	case a.high == nil || b.high == nil:
	case a.high.Cmp(b.high) > 0:
		both.high = a.high
	default:
		both.high = b.high
	}
	return both
}

// below reports whether every number of a is surely below each of b, or where equal is set not above it.
func (a interval) below(b interval, equal bool) bool {
	if a.high == nil || b.low == nil {
		return false
	}
	order := a.high.Cmp(b.low)
	return order < 0 || equal && order == 0
}

// compare says whether the comparison holds for all numbers within the bounds, for none, or for some.
func (a interval) compare(op Op, b interval) Verdict {
	decide := func(all, none bool) Verdict {
		switch {
		case all:
			return Pass
		case none:
			return Fail
		default:
			return Inconclusive
		}
	}
	switch op {
	case OpLess:
		return decide(a.below(b, false), b.below(a, true))
	case OpAtMost:
		return decide(a.below(b, true), b.below(a, false))
	case OpMore:
		return b.compare(OpLess, a)
	case OpLeast:
		return b.compare(OpAtMost, a)
	case OpOther:
		return opposite(a.compare(OpEqual, b))
	default: // OpEqual
		x, known := a.exact()
		y, alsoKnown := b.exact()
		return decide(known && alsoKnown && x.Cmp(y) == 0, a.below(b, false) || b.below(a, false))
	}
}

// sized returns the interval, or an error when one of its bounds has too many digits: a script must not make exact arithmetic slow.
func (a interval) sized() (interval, error) {
	const bits = maxNumber * 33220 / 10000 // log2(10) of them to a digit
	for _, x := range []*big.Rat{a.low, a.high} {
		if x != nil && (x.Num().BitLen() > bits || x.Denom().BitLen() > bits) {
			return interval{}, fmt.Errorf("a number of more than %d digits comes up: no amount, rate or count needs as many", maxNumber)
		}
	}
	return a, nil
}

// end is one end of an interval: a number, or where that is nil infinity with that sign.
type end struct {
	number   *big.Rat
	infinity int
}

func (e end) sign() int {
	if e.number == nil {
		return e.infinity
	}
	return e.number.Sign()
}

func (e end) mul(other end) end {
	switch sign := e.sign() * other.sign(); {
	case sign == 0:
		return end{number: new(big.Rat)}
	case e.number == nil || other.number == nil:
		return end{infinity: sign}
	default:
		return end{number: new(big.Rat).Mul(e.number, other.number)}
	}
}

func (e end) cmp(other end) int {
	switch {
	case e.number == nil && other.number == nil:
		return e.infinity - other.infinity
	case e.number == nil:
		return e.infinity
	case other.number == nil:
		return -other.infinity
	default:
		return e.number.Cmp(other.number)
	}
}
