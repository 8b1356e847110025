package pallas

import "math/bits"

// The low words of the two moduli; see limbs.
const (
	p0, p1 = 0x992d30ed00000001, 0x224698fc094cf91b
	q0, q1 = 0x8c46eb2100000001, 0x224698fc0994a8dd
)

// Constants of the fields. Elements are in Montgomery form, limbs are ordinary numbers.
//
//nolint:gochecknoglobals // Go has no const for them
var (
	// one takes a number out of Montgomery form when multiplied with, and the squares of 2²⁵⁶ bring one in.
	one        = limbs{1, 0, 0, 0}
	fpRSquared = limbs{0x8c78ecb30000000f, 0xd7d30dbd8b0de0e7, 0x7797a99bc3c95d18, 0x096d41af7b9cb714}
	fqRSquared = limbs{0xfc9678ff0000000f, 0x67bb433d891a16e3, 0x7fae231004ccf590, 0x096d41af7ccfdaa9}

	fpOne  = Fp{0x34786d38fffffffd, 0x992c350be41914ad, 0xffffffffffffffff, 0x3fffffffffffffff}
	fpFive = Fp{0xa1a55e68ffffffed, 0x74c2a54b4f4982f3, 0xfffffffffffffffd, 0x3fffffffffffffff}

	// fpRootOfUnity is 5 to the power (p−1)/2³², whose order is 2³².
	fpRootOfUnity = Fp{0xa28db849bad6dbf0, 0x9083cd03d3b539df, 0xfba6b9ca9dc8448e, 0x3ec928747b89c6da}

	fpInverseExponent = limbs{0x992d30ecffffffff, 0x224698fc094cf91b, 0, 1 << 62} // p−2
	fpSqrtExponent    = limbs{0x04a67c8dcc969876, 0x0000000011234c7e, 0, 1 << 29} // ((p−1)/2³²−1)/2
)

// Fp is an element of Pallas' base field, an integer modulo p. Its zero value is the number 0, and equal elements are ==.
//
// Inside, the number x is kept in Montgomery form: x·2²⁵⁶ modulo p, below p.
type Fp limbs

// FpFromBytes reads a number as 32 bytes, least significant first. It reports false for a number that is not below p.
func FpFromBytes(b [32]byte) (Fp, bool) {
	x := limbsFromBytes(b)
	return Fp(mul(x, fpRSquared, p0, p1)), isBelow(x, p0, p1)
}

// Bytes writes x as 32 bytes, least significant first.
func (x Fp) Bytes() [32]byte { return mul(limbs(x), one, p0, p1).bytes() }

// IsOdd tells whether x, as an integer from 0 to p−1, is odd.
func (x Fp) IsOdd() bool { return mul(limbs(x), one, p0, p1).l0&1 == 1 }

// Add gives x+y.
func (x Fp) Add(y Fp) Fp { return Fp(add(limbs(x), limbs(y), p0, p1)) }

// Sub gives x−y.
func (x Fp) Sub(y Fp) Fp { return Fp(sub(limbs(x), limbs(y), p0, p1)) }

// Neg gives −x.
func (x Fp) Neg() Fp { return Fp{}.Sub(x) }

// Mul gives x·y.
func (x Fp) Mul(y Fp) Fp { return Fp(mul(limbs(x), limbs(y), p0, p1)) }

// Square gives x².
func (x Fp) Square() Fp { return x.Mul(x) }

// times15 gives 15·x faster than Mul: 15·x = n·2²⁵⁴ + t, and 2²⁵⁴ = −(p1·2⁶⁴ + p0) modulo p.
func (x Fp) times15() Fp {
	h0, t0 := bits.Mul64(x.l0, 15)
	h1, t1 := bits.Mul64(x.l1, 15)
	h2, t2 := bits.Mul64(x.l2, 15)
	h3, t3 := bits.Mul64(x.l3, 15)
	t1, carry := bits.Add64(t1, h0, 0)
	t2, carry = bits.Add64(t2, h1, carry)
	t3, carry = bits.Add64(t3, h2, carry)
	t4, _ := bits.Add64(h3, 0, carry)
	n := t4<<2 | t3>>62
	t3 &= 1<<62 - 1

	h0, l0 := bits.Mul64(n, p0)
	h1, l1 := bits.Mul64(n, p1)
	l1, carry = bits.Add64(l1, h0, 0)
	h1, _ = bits.Add64(h1, 0, carry)
	return Fp(sub(limbs{t0, t1, t2, t3}, limbs{l0, l1, h1, 0}, p0, p1))
}

// Inverse gives 1/x, and 0 for 0.
func (x Fp) Inverse() Fp { return x.power(fpInverseExponent) }

// Sqrt gives one of the two square roots of x. It reports false where x has none.
//
// The method is Tonelli's and Shanks': p−1 is 2³²·t with t odd, so x^((t+1)/2) is a root up to a factor whose order divides 2³², and
// that factor is found bit by bit.
func (x Fp) Sqrt() (Fp, bool) {
	if x == (Fp{}) {
		return Fp{}, true
	}
	w := x.power(fpSqrtExponent)
	root := x.Mul(w)
	excess := root.Mul(w)                  // root² = x·excess throughout
	correction, order := fpRootOfUnity, 32 // correction has the order 2^order throughout
	for excess != fpOne {
		excessOrder := 0
		for power := excess; power != fpOne; power = power.Square() {
			excessOrder++
		}
		if excessOrder == order {
			return Fp{}, false
		}
		for ; order > excessOrder+1; order-- {
			correction = correction.Square()
		}
		root = root.Mul(correction)
		correction = correction.Square()
		order--
		excess = excess.Mul(correction)
	}
	return root, true
}

// power gives x to the power of an ordinary number.
func (x Fp) power(exponent limbs) Fp {
	z := fpOne
	for _, word := range [4]uint64{exponent.l3, exponent.l2, exponent.l1, exponent.l0} {
		for i := 63; i >= 0; i-- {
			z = z.Square()
			if word>>i&1 == 1 {
				z = z.Mul(x)
			}
		}
	}
	return z
}

// Fq is an element of Pallas' scalar field: an integer modulo q, the number of points of the curve. Its zero value is the number 0,
// and equal elements are ==. Inside it is in Montgomery form, like Fp.
type Fq limbs

// FqFromBytes reads a number as 32 bytes, least significant first. It reports false for a number that is not below q.
func FqFromBytes(b [32]byte) (Fq, bool) {
	x := limbsFromBytes(b)
	return fqFromNumber(x), isBelow(x, q0, q1)
}

// FqFromFp gives the same integer in the scalar field. Nothing is lost: p is below q.
func FqFromFp(x Fp) Fq {
	return fqFromNumber(mul(limbs(x), one, p0, p1))
}

// Bytes writes x as 32 bytes, least significant first.
func (x Fq) Bytes() [32]byte { return x.number().bytes() }

// Add gives x+y.
func (x Fq) Add(y Fq) Fq { return Fq(add(limbs(x), limbs(y), q0, q1)) }

// Sub gives x−y.
func (x Fq) Sub(y Fq) Fq { return Fq(sub(limbs(x), limbs(y), q0, q1)) }

// Neg gives −x.
func (x Fq) Neg() Fq { return Fq{}.Sub(x) }

// Mul gives x·y.
func (x Fq) Mul(y Fq) Fq { return Fq(mul(limbs(x), limbs(y), q0, q1)) }

// fqFromNumber takes an ordinary number modulo q.
func fqFromNumber(x limbs) Fq { return Fq(mul(x, fqRSquared, q0, q1)) }

// number gives x as an ordinary number.
func (x Fq) number() limbs { return mul(limbs(x), one, q0, q1) }
