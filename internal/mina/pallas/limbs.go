package pallas

import (
	"encoding/binary"
	"math/bits"
)

// limbs is a number below 2²⁵⁶, least significant word first. A struct of four words stays in registers, where an array would
// go through memory.
//
// Both moduli of Pallas have the shape m = 2²⁵⁴ + m1·2⁶⁴ + m0 with m0 ≡ 1 modulo 2³², so m0 and m1 say all there is to say about a
// field, and the functions below serve both. Unless they say otherwise they take and give numbers below m.
type limbs struct{ l0, l1, l2, l3 uint64 }

// topWord is the most significant word of both moduli.
const topWord = 1 << 62

// reduceOnce brings a number below 2m below m.
func reduceOnce(x limbs, m0, m1 uint64) limbs {
	var d limbs
	var borrow uint64
	d.l0, borrow = bits.Sub64(x.l0, m0, 0)
	d.l1, borrow = bits.Sub64(x.l1, m1, borrow)
	d.l2, borrow = bits.Sub64(x.l2, 0, borrow)
	d.l3, borrow = bits.Sub64(x.l3, topWord, borrow)
	keep := -borrow // all ones where x was below m already
	return limbs{
		l0: d.l0 ^ keep&(d.l0^x.l0),
		l1: d.l1 ^ keep&(d.l1^x.l1),
		l2: d.l2 ^ keep&(d.l2^x.l2),
		l3: d.l3 ^ keep&(d.l3^x.l3),
	}
}

// isBelow tells whether x, any number below 2²⁵⁶, is below m.
func isBelow(x limbs, m0, m1 uint64) bool {
	_, borrow := bits.Sub64(x.l0, m0, 0)
	_, borrow = bits.Sub64(x.l1, m1, borrow)
	_, borrow = bits.Sub64(x.l2, 0, borrow)
	_, borrow = bits.Sub64(x.l3, topWord, borrow)
	return borrow == 1
}

// add gives x+y modulo m.
func add(x, y limbs, m0, m1 uint64) limbs {
	var z limbs
	var carry uint64
	z.l0, carry = bits.Add64(x.l0, y.l0, 0)
	z.l1, carry = bits.Add64(x.l1, y.l1, carry)
	z.l2, carry = bits.Add64(x.l2, y.l2, carry)
	z.l3, _ = bits.Add64(x.l3, y.l3, carry)
	return reduceOnce(z, m0, m1)
}

// sub gives x−y modulo m.
func sub(x, y limbs, m0, m1 uint64) limbs {
	var z limbs
	var borrow, carry uint64
	z.l0, borrow = bits.Sub64(x.l0, y.l0, 0)
	z.l1, borrow = bits.Sub64(x.l1, y.l1, borrow)
	z.l2, borrow = bits.Sub64(x.l2, y.l2, borrow)
	z.l3, borrow = bits.Sub64(x.l3, y.l3, borrow)
	negative := -borrow // all ones where m must be added
	z.l0, carry = bits.Add64(z.l0, negative&m0, 0)
	z.l1, carry = bits.Add64(z.l1, negative&m1, carry)
	z.l2, carry = bits.Add64(z.l2, 0, carry)
	z.l3, _ = bits.Add64(z.l3, negative&topWord, carry)
	return z
}

// mul gives Montgomery's product x·y·2⁻²⁵⁶ modulo m. For each word of y, the lowest first, it adds x·word to t and then the multiple
// u·m that makes the lowest word of t zero, and drops that word; t stays below 2m. The factor of u, −1/m modulo 2⁶⁴, is m0−2,
// because m0 ≡ 1 modulo 2³².
//
// Most of the time of a signature check is spent here, so the four turns are written out, and a carry is added by Add64 even where
// none can come out again, which costs one instruction where + costs three.
func mul(x, y limbs, m0, m1 uint64) limbs {
	var carry uint64

	h0, t0 := bits.Mul64(x.l0, y.l0)
	h1, t1 := bits.Mul64(x.l1, y.l0)
	h2, t2 := bits.Mul64(x.l2, y.l0)
	h3, t3 := bits.Mul64(x.l3, y.l0)
	t1, carry = bits.Add64(t1, h0, 0)
	t2, carry = bits.Add64(t2, h1, carry)
	t3, carry = bits.Add64(t3, h2, carry)
	t4, _ := bits.Add64(h3, 0, carry)

	u := t0 * (m0 - 2)
	h0, l0 := bits.Mul64(u, m0)
	h1, l1 := bits.Mul64(u, m1)
	_, carry = bits.Add64(t0, l0, 0)
	l1, carry = bits.Add64(l1, h0, carry)
	h1, _ = bits.Add64(h1, 0, carry)
	t0, carry = bits.Add64(t1, l1, 0)
	t1, carry = bits.Add64(t2, h1, carry)
	t2, carry = bits.Add64(t3, u<<62, carry)
	t3, _ = bits.Add64(t4, u>>2, carry)
	h0, l0 = bits.Mul64(x.l0, y.l1)
	h1, l1 = bits.Mul64(x.l1, y.l1)
	h2, l2 := bits.Mul64(x.l2, y.l1)
	h3, l3 := bits.Mul64(x.l3, y.l1)
	l1, carry = bits.Add64(l1, h0, 0)
	l2, carry = bits.Add64(l2, h1, carry)
	l3, carry = bits.Add64(l3, h2, carry)
	h3, _ = bits.Add64(h3, 0, carry)
	t0, carry = bits.Add64(t0, l0, 0)
	t1, carry = bits.Add64(t1, l1, carry)
	t2, carry = bits.Add64(t2, l2, carry)
	t3, carry = bits.Add64(t3, l3, carry)
	t4, _ = bits.Add64(h3, 0, carry)

	u = t0 * (m0 - 2)
	h0, l0 = bits.Mul64(u, m0)
	h1, l1 = bits.Mul64(u, m1)
	_, carry = bits.Add64(t0, l0, 0)
	l1, carry = bits.Add64(l1, h0, carry)
	h1, _ = bits.Add64(h1, 0, carry)
	t0, carry = bits.Add64(t1, l1, 0)
	t1, carry = bits.Add64(t2, h1, carry)
	t2, carry = bits.Add64(t3, u<<62, carry)
	t3, _ = bits.Add64(t4, u>>2, carry)

	h0, l0 = bits.Mul64(x.l0, y.l2)
	h1, l1 = bits.Mul64(x.l1, y.l2)
	h2, l2 = bits.Mul64(x.l2, y.l2)
	h3, l3 = bits.Mul64(x.l3, y.l2)
	l1, carry = bits.Add64(l1, h0, 0)
	l2, carry = bits.Add64(l2, h1, carry)
	l3, carry = bits.Add64(l3, h2, carry)
	h3, _ = bits.Add64(h3, 0, carry)
	t0, carry = bits.Add64(t0, l0, 0)
	t1, carry = bits.Add64(t1, l1, carry)
	t2, carry = bits.Add64(t2, l2, carry)
	t3, carry = bits.Add64(t3, l3, carry)
	t4, _ = bits.Add64(h3, 0, carry)

	u = t0 * (m0 - 2)
	h0, l0 = bits.Mul64(u, m0)
	h1, l1 = bits.Mul64(u, m1)
	_, carry = bits.Add64(t0, l0, 0)
	l1, carry = bits.Add64(l1, h0, carry)
	h1, _ = bits.Add64(h1, 0, carry)
	t0, carry = bits.Add64(t1, l1, 0)
	t1, carry = bits.Add64(t2, h1, carry)
	t2, carry = bits.Add64(t3, u<<62, carry)
	t3, _ = bits.Add64(t4, u>>2, carry)

	h0, l0 = bits.Mul64(x.l0, y.l3)
	h1, l1 = bits.Mul64(x.l1, y.l3)
	h2, l2 = bits.Mul64(x.l2, y.l3)
	h3, l3 = bits.Mul64(x.l3, y.l3)
	l1, carry = bits.Add64(l1, h0, 0)
	l2, carry = bits.Add64(l2, h1, carry)
	l3, carry = bits.Add64(l3, h2, carry)
	h3, _ = bits.Add64(h3, 0, carry)
	t0, carry = bits.Add64(t0, l0, 0)
	t1, carry = bits.Add64(t1, l1, carry)
	t2, carry = bits.Add64(t2, l2, carry)
	t3, carry = bits.Add64(t3, l3, carry)
	t4, _ = bits.Add64(h3, 0, carry)

	u = t0 * (m0 - 2)
	h0, l0 = bits.Mul64(u, m0)
	h1, l1 = bits.Mul64(u, m1)
	_, carry = bits.Add64(t0, l0, 0)
	l1, carry = bits.Add64(l1, h0, carry)
	h1, _ = bits.Add64(h1, 0, carry)
	t0, carry = bits.Add64(t1, l1, 0)
	t1, carry = bits.Add64(t2, h1, carry)
	t2, carry = bits.Add64(t3, u<<62, carry)
	t3, _ = bits.Add64(t4, u>>2, carry)

	return reduceOnce(limbs{t0, t1, t2, t3}, m0, m1)
}

// limbsFromBytes reads 32 bytes, least significant first.
func limbsFromBytes(b [32]byte) limbs {
	return limbs{
		l0: binary.LittleEndian.Uint64(b[0:]),
		l1: binary.LittleEndian.Uint64(b[8:]),
		l2: binary.LittleEndian.Uint64(b[16:]),
		l3: binary.LittleEndian.Uint64(b[24:]),
	}
}

// bytes writes x as 32 bytes, least significant first.
func (x limbs) bytes() [32]byte {
	var b [32]byte
	binary.LittleEndian.PutUint64(b[0:], x.l0)
	binary.LittleEndian.PutUint64(b[8:], x.l1)
	binary.LittleEndian.PutUint64(b[16:], x.l2)
	binary.LittleEndian.PutUint64(b[24:], x.l3)
	return b
}
