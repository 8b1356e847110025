package pallas

import "math/bits"

// Multiplication uses two standard means to be fast.
//
// Pallas has a map that is as good as a multiplication: λ·(x, y) = (β·x, y), where λ and β are cube roots of 1 modulo q and p. So
// k·P becomes k1·P + k2·λP with k1 and k2 half as long as k, which halves the number of doublings (Gallant, Lambert and Vanstone,
// "Faster point multiplication on elliptic curves with efficient endomorphisms", 2001).
//
// All products of a sum share their doublings, and each half scalar is written with few digits that are not zero (non-adjacent form).

// BaseMult gives k·G. It takes a time that depends on k.
func BaseMult(k Fq) Point {
	terms := generatorTerms(k)
	return sum(terms[:])
}

// BaseMultAdd gives a·G + b·p. It takes a time that depends on a, b and p.
func BaseMultAdd(a, b Fq, p Affine) Point {
	g, t := generatorTerms(a), pointTerms(b, p)
	return sum([]term{g[0], g[1], t[0], t[1]})
}

// term is one product of a sum: a half scalar times a point.
type term struct {
	digits   signedDigits
	multiple func(odd uint8) Point // gives 1, 3, 5 … times the point
}

// sum adds up products.
func sum(terms []term) Point {
	total := neutral()
	for i := len(signedDigits{}) - 1; i >= 0; i-- {
		total = total.double()
		for t := range terms {
			if digit := terms[t].digits[i]; digit > 0 {
				total = total.add(terms[t].multiple(uint8(digit)))
			} else if digit < 0 {
				total = total.add(terms[t].multiple(uint8(-digit)).neg())
			}
		}
	}
	return total
}

// generatorWidth is the width of the digits that generatorMultiples serves.
const generatorWidth = 8

// generatorTerms splits k·G.
func generatorTerms(k Fq) [2]term {
	k1, k2 := k.split()
	return [2]term{
		{k1.signedDigits(generatorWidth), func(odd uint8) Point { return generatorMultiples[odd/2].point() }},
		{k2.signedDigits(generatorWidth), func(odd uint8) Point { return generatorMultiples[odd/2].point().timesLambda() }},
	}
}

// pointTerms splits k·p.
func pointTerms(k Fq, p Affine) [2]term {
	const width = 5
	var multiples [1 << (width - 2)]Point
	multiples[0] = p.point()
	twice := multiples[0].double()
	for i := 1; i < len(multiples); i++ {
		multiples[i] = multiples[i-1].add(twice)
	}
	k1, k2 := k.split()
	return [2]term{
		{k1.signedDigits(width), func(odd uint8) Point { return multiples[odd/2] }},
		{k2.signedDigits(width), func(odd uint8) Point { return multiples[odd/2].timesLambda() }},
	}
}

// timesLambda gives λ·p.
func (p Point) timesLambda() Point { return Point{p.x.Mul(fpBeta), p.y, p.z} }

// The pairs (k1, k2) with k1 + k2·λ = 0 form a lattice with the short basis (B, −A), (A, A+B), where
//
//	A = 0x49e69d1640a899538cb1279300000000
//	B = 0x49e69d1640f049157fcae1c700000001
//
// and A² + A·B + B² = q. To split k is to subtract from (k, 0) the lattice point c1·(B, −A) + c2·(A, A+B) beside it, where
// c1 ≈ k·(A+B)/q and c2 ≈ k·A/q.
//
//nolint:gochecknoglobals // Go has no const for them
var (
	fpBeta   = Fp{0x02021cf6619a153d, 0x9e8c26974980b78e, 0x2a676d5cc87a4666, 0x15d8049da7a17876}
	fqA      = Fq{0x59824cd500000001, 0x0e0a5d03258217c3, 0x52a568b65c85c76d, 0x186bf7a9a1203e95}
	fqAPlusB = Fq{0xb5820455fffffffe, 0xcedde66ce9b7da38, 0x0447da18446bf0a4, 0x30d7ef53421a18b8}
	fqLambda = Fq{0x7c541a8480111122, 0x40630b9c56ed29da, 0x02c275fb135b2b29, 0x121d29f888245b10}

	aPlusBOverQ = limbs{0x31f0256800000003, 0x4f34e8b2066389a4, 2, 0} // 2²⁵⁶·(A+B)/q, rounded
	aOverQ      = limbs{0x32c49e4bffffffff, 0x279a745902a2654e, 1, 0} // 2²⁵⁶·A/q, rounded
)

// split gives k1 and k2 with k = k1 + k2·λ. Both are at most 9/8·(A+B) + A/8 < 2¹²⁸ away from 0, on either side: c1 and c2 miss the
// exact quotients by less than 1 (rounded down) and 1/8 (rounded constants).
func (x Fq) split() (k1, k2 Fq) {
	n := x.number()
	c1 := fqFromNumber(mulHigh(n, aPlusBOverQ))
	c2 := fqFromNumber(mulHigh(n, aOverQ))
	k2 = c1.Mul(fqA).Sub(c2.Mul(fqAPlusB))
	k1 = x.Sub(k2.Mul(fqLambda))
	return k1, k2
}

// mulHigh gives the upper half of the ordinary product x·y.
func mulHigh(x, y limbs) limbs {
	var z [8]uint64
	for i, xi := range [4]uint64{x.l0, x.l1, x.l2, x.l3} {
		var above uint64
		for j, yj := range [4]uint64{y.l0, y.l1, y.l2, y.l3} {
			high, low := bits.Mul64(xi, yj)
			low, carry := bits.Add64(low, above, 0)
			high += carry
			z[i+j], carry = bits.Add64(z[i+j], low, 0)
			above = high + carry
		}
		z[i+4] = above
	}
	return limbs{z[4], z[5], z[6], z[7]}
}

// signedDigits writes a half scalar as Σ digit[i]·2ⁱ, where each digit is 0 or odd. It has one more place than a half scalar has
// bits.
type signedDigits [129]int8

// signedDigits gives the non-adjacent form of a half scalar: digits lie between ±2^(width−1), and of width neighbours at most one is
// not 0. The scalar must be less than 2¹²⁸ away from 0, on either side, and the width at most 8.
func (x Fq) signedDigits(width uint) signedDigits {
	n, sign := x.number(), 1
	if n.l3 != 0 {
		n, sign = x.Neg().number(), -1
	}
	var digits signedDigits
	carry := 0
	for i := uint(0); i < uint(len(digits)); {
		// Shifts by 64 or more give 0, those by a difference that wrapped around included.
		fromI := n.l0>>i | n.l1<<(64-i) | n.l1>>(i-64)
		digit := int(fromI&(1<<width-1)) + carry
		if digit%2 == 0 {
			i++
			continue
		}
		carry = digit >> (width - 1)
		digits[i] = int8(sign * (digit - carry<<width))
		i += width
	}
	return digits
}
