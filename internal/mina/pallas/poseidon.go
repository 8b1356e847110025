package pallas

import "math/bits"

// rounds is the number of rounds of the permutation, all of them full ones.
const rounds = 63

// State is the state of the legacy Poseidon sponge over the base field: width 3, of which the first two take in elements
// (poseidon-legacy). The zero value is the empty state.
type State [3]Fp

// TestnetSignatures gives the state from which the hash of a signature on a test network starts: the one after the prefix
// "CodaSignature*******".
func TestnetSignatures() State { return signatureStates[0] }

// MainnetSignatures is TestnetSignatures for the main network and "MinaSignatureMainnet".
func MainnetSignatures() State { return signatureStates[1] }

// Absorb gives the state after the elements, two at a time; a last odd one is followed by 0.
func (s State) Absorb(elements ...Fp) State {
	for len(elements) > 0 {
		taken := min(len(elements), 2)
		for i := range taken {
			s[i] = s[i].Add(elements[i])
		}
		s = s.permute()
		elements = elements[taken:]
	}
	return s
}

// Digest gives the hash of the elements after s.
func (s State) Digest(elements ...Fp) Fp { return s.Absorb(elements...)[0] }

// permute applies the permutation.
func (s State) permute() State {
	for r := range rounds {
		// The three powers go side by side, so that the processor can overlap them.
		x, y, z := s[0].Add(roundConstants[r][0]), s[1].Add(roundConstants[r][1]), s[2].Add(roundConstants[r][2])
		x2, y2, z2 := x.Square(), y.Square(), z.Square()
		x4, y4, z4 := x2.Square(), y2.Square(), z2.Square()
		powers := [3]Fp{x4.Mul(x), y4.Mul(y), z4.Mul(z)}
		s = State{dot(&powers, &mixing[0]), dot(&powers, &mixing[1]), dot(&powers, &mixing[2])}
	}
	for i := range s {
		s[i] = s[i].Add(roundConstants[rounds][i])
	}
	return s
}

// dot gives x[0]·y[0] + x[1]·y[1] + x[2]·y[2]. It is mul with the products added up before the reduction that they share.
func dot(x, y *[3]Fp) Fp {
	words0 := [4]uint64{y[0].l0, y[0].l1, y[0].l2, y[0].l3}
	words1 := [4]uint64{y[1].l0, y[1].l1, y[1].l2, y[1].l3}
	words2 := [4]uint64{y[2].l0, y[2].l1, y[2].l2, y[2].l3}
	var t0, t1, t2, t3, t4, carry uint64
	for i := range 4 {
		h0, l0 := bits.Mul64(x[0].l0, words0[i])
		h1, l1 := bits.Mul64(x[0].l1, words0[i])
		h2, l2 := bits.Mul64(x[0].l2, words0[i])
		h3, l3 := bits.Mul64(x[0].l3, words0[i])
		l1, carry = bits.Add64(l1, h0, 0)
		l2, carry = bits.Add64(l2, h1, carry)
		l3, carry = bits.Add64(l3, h2, carry)
		h3, _ = bits.Add64(h3, 0, carry)
		t0, carry = bits.Add64(t0, l0, 0)
		t1, carry = bits.Add64(t1, l1, carry)
		t2, carry = bits.Add64(t2, l2, carry)
		t3, carry = bits.Add64(t3, l3, carry)
		t4, _ = bits.Add64(t4, h3, carry)

		h0, l0 = bits.Mul64(x[1].l0, words1[i])
		h1, l1 = bits.Mul64(x[1].l1, words1[i])
		h2, l2 = bits.Mul64(x[1].l2, words1[i])
		h3, l3 = bits.Mul64(x[1].l3, words1[i])
		l1, carry = bits.Add64(l1, h0, 0)
		l2, carry = bits.Add64(l2, h1, carry)
		l3, carry = bits.Add64(l3, h2, carry)
		h3, _ = bits.Add64(h3, 0, carry)
		t0, carry = bits.Add64(t0, l0, 0)
		t1, carry = bits.Add64(t1, l1, carry)
		t2, carry = bits.Add64(t2, l2, carry)
		t3, carry = bits.Add64(t3, l3, carry)
		t4, _ = bits.Add64(t4, h3, carry)

		h0, l0 = bits.Mul64(x[2].l0, words2[i])
		h1, l1 = bits.Mul64(x[2].l1, words2[i])
		h2, l2 = bits.Mul64(x[2].l2, words2[i])
		h3, l3 = bits.Mul64(x[2].l3, words2[i])
		l1, carry = bits.Add64(l1, h0, 0)
		l2, carry = bits.Add64(l2, h1, carry)
		l3, carry = bits.Add64(l3, h2, carry)
		h3, _ = bits.Add64(h3, 0, carry)
		t0, carry = bits.Add64(t0, l0, 0)
		t1, carry = bits.Add64(t1, l1, carry)
		t2, carry = bits.Add64(t2, l2, carry)
		t3, carry = bits.Add64(t3, l3, carry)
		t4, _ = bits.Add64(t4, h3, carry)

		u := t0 * (p0 - 2)
		h0, l0 = bits.Mul64(u, p0)
		h1, l1 = bits.Mul64(u, p1)
		_, carry = bits.Add64(t0, l0, 0)
		l1, carry = bits.Add64(l1, h0, carry)
		h1, _ = bits.Add64(h1, 0, carry)
		t0, carry = bits.Add64(t1, l1, 0)
		t1, carry = bits.Add64(t2, h1, carry)
		t2, carry = bits.Add64(t3, u<<62, carry)
		t3, t4 = bits.Add64(t4, u>>2, carry)
	}
	return Fp(reduceOnce(limbs{t0, t1, t2, t3}, p0, p1))
}
