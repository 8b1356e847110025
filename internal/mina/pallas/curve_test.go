package pallas

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// bigPoint is a point in affine coordinates, nil for the neutral one: the textbook's arithmetic, to compare with.
type bigPoint struct{ x, y *big.Int }

func bigGenerator() *bigPoint {
	y, _ := new(big.Int).SetString("12418654782883325593414442427049395787963493412651469444558597405572177144507", 10)
	return &bigPoint{big.NewInt(1), y}
}

func (a *bigPoint) add(b *bigPoint) *bigPoint {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	p := modulusP()
	over, under := new(big.Int).Sub(b.y, a.y), new(big.Int).Sub(b.x, a.x)
	if a.x.Cmp(b.x) == 0 {
		if a.y.Cmp(b.y) != 0 {
			return nil
		}
		over = new(big.Int).Mul(big.NewInt(3), new(big.Int).Mul(a.x, a.x))
		under = new(big.Int).Add(a.y, a.y)
	}
	slope := over.Mul(over, under.ModInverse(under.Mod(under, p), p))
	x := new(big.Int).Mul(slope, slope)
	x.Sub(x, a.x).Sub(x, b.x).Mod(x, p)
	y := new(big.Int).Sub(a.x, x)
	y.Mul(y, slope).Sub(y, a.y).Mod(y, p)
	return &bigPoint{x, y}
}

func (a *bigPoint) times(k *big.Int) *bigPoint {
	var total *bigPoint
	for i := k.BitLen() - 1; i >= 0; i-- {
		total = total.add(total)
		if k.Bit(i) == 1 {
			total = total.add(a)
		}
	}
	return total
}

// scaled gives the point in homogeneous coordinates whose Z is the given number, other than 0.
func (a *bigPoint) scaled(tb testing.TB, z Fp) Point {
	tb.Helper()
	if a == nil {
		return Point{y: z}
	}
	return Point{mustFp(tb, a.x).Mul(z), mustFp(tb, a.y).Mul(z), z}
}

// sameAs tells whether p is the point a.
func (a *bigPoint) sameAs(p Point) bool {
	affine, ok := p.Affine()
	if a == nil || !ok {
		return a == nil && !ok
	}
	return affine.X.Bytes() == bytesOf(a.x) && affine.Y.Bytes() == bytesOf(a.y)
}

func TestPointsAgreeWithTheTextbook(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// Small factors of G make equal, opposite and neutral points likely.
		factor := rapid.Int64Range(0, 6)
		a, b := bigGenerator().times(big.NewInt(factor.Draw(rt, "a"))), bigGenerator().times(big.NewInt(factor.Draw(rt, "b")))
		if b != nil && rapid.Bool().Draw(rt, "b negative") {
			b = &bigPoint{b.x, new(big.Int).Sub(modulusP(), b.y)}
		}
		z := below(modulusP()).Filter(func(x *big.Int) bool { return x.Sign() != 0 })
		p, q := a.scaled(t, mustFp(t, z.Draw(rt, "z of a"))), b.scaled(t, mustFp(t, z.Draw(rt, "z of b")))
		if !a.add(b).sameAs(p.add(q)) {
			rt.Error("a+b is wrong")
		}
		if !a.add(a).sameAs(p.double()) {
			rt.Error("2a is wrong")
		}
	})
}

func TestMultiplication(t *testing.T) {
	q := modulusQ()
	g := Generator()
	if !bigGenerator().sameAs(g.point()) {
		t.Fatalf("the generator is %x, %x", g.X.Bytes(), g.Y.Bytes())
	}
	rapid.Check(t, func(rt *rapid.T) {
		a, b, k := below(q).Draw(rt, "a"), below(q).Draw(rt, "b"), below(q).Draw(rt, "k")
		if !bigGenerator().times(a).sameAs(BaseMult(mustFq(t, a))) {
			rt.Error("a*G is wrong")
		}
		p := bigGenerator().times(k)
		if p == nil {
			return
		}
		want := bigGenerator().times(a).add(p.times(b))
		if !want.sameAs(BaseMultAdd(mustFq(t, a), mustFq(t, b), Affine{mustFp(t, p.x), mustFp(t, p.y)})) {
			rt.Error("a*G + b*k*G is wrong")
		}
	})
}

func TestSumsThatCancel(t *testing.T) {
	one := mustFq(t, big.NewInt(1))
	if p, ok := BaseMult(Fq{}).Affine(); ok || p != (Affine{}) {
		t.Errorf("0*G is %v", p)
	}
	if p, ok := BaseMultAdd(one, one.Neg(), Generator()).Affine(); ok {
		t.Errorf("G - G is %v", p)
	}
}

func TestScalarsAreSplitInHalves(t *testing.T) {
	q := modulusQ()
	bound := new(big.Int).Lsh(big.NewInt(1), 128)
	rapid.Check(t, func(rt *rapid.T) {
		k := mustFq(t, below(q).Draw(rt, "k"))
		k1, k2 := k.split()
		if k1.Add(k2.Mul(fqLambda)) != k {
			rt.Error("k1 + k2*lambda is not k")
		}
		for _, half := range []Fq{k1, k2} {
			n := bigOf(half.Bytes())
			if new(big.Int).Sub(q, n).Cmp(n) < 0 {
				n.Sub(n, q)
			}
			if n.CmpAbs(bound) >= 0 {
				rt.Errorf("half scalar %v is 2^128 or more", n)
			}
			width := rapid.UintRange(2, 8).Draw(rt, "width")
			checkSignedDigits(rt, half.signedDigits(width), int64(width), n)
		}
	})
}

func checkSignedDigits(t *rapid.T, digits signedDigits, width int64, want *big.Int) {
	sum, last := new(big.Int), -width
	for i, digit := range digits {
		if digit == 0 {
			continue
		}
		if d := int64(digit); d%2 == 0 || d >= 1<<(width-1) || -d >= 1<<(width-1) || int64(i)-last < width {
			t.Errorf("digit %d at %d, after one at %d, does not fit the width %d", digit, i, last, width)
		}
		last = int64(i)
		sum.Add(sum, new(big.Int).Lsh(big.NewInt(int64(digit)), uint(i)))
	}
	if sum.Cmp(want) != 0 {
		t.Errorf("the digits make %v, want %v", sum, want)
	}
}

func TestLongestSignedDigits(t *testing.T) {
	bound := new(big.Int).Lsh(big.NewInt(1), 128)
	for _, distance := range []int64{1, 2, 127, 128, 129, 1 << 40} {
		n := new(big.Int).Sub(bound, big.NewInt(distance))
		for width := range uint(7) {
			digits := mustFq(t, n).signedDigits(width + 2)
			negative := mustFq(t, n).Neg().signedDigits(width + 2)
			sum, negated := new(big.Int), new(big.Int)
			for i := range digits {
				sum.Add(sum, new(big.Int).Lsh(big.NewInt(int64(digits[i])), uint(i)))
				negated.Sub(negated, new(big.Int).Lsh(big.NewInt(int64(negative[i])), uint(i)))
			}
			if sum.Cmp(n) != 0 || negated.Cmp(n) != 0 {
				t.Errorf("2^128-%d with width %d: digits make %v and, of the opposite, %v", distance, width+2, sum, negated)
			}
		}
	}
}

func TestAffineFromX(t *testing.T) {
	p := modulusP()
	rapid.Check(t, func(rt *rapid.T) {
		x, odd := below(p).Draw(rt, "x"), rapid.Bool().Draw(rt, "odd")
		square := new(big.Int).Exp(x, big.NewInt(3), p)
		square.Add(square, big.NewInt(5)).Mod(square, p)
		point, ok := AffineFromX(mustFp(t, x), odd)
		if want := big.Jacobi(square, p) >= 0; ok != want {
			rt.Fatalf("on the curve: %v, want %v", ok, want)
		}
		if !ok {
			return
		}
		y := bigOf(point.Y.Bytes())
		if (y.Bit(0) == 1) != odd {
			rt.Errorf("y is %v, want it odd: %v", y, odd)
		}
		if y.Mul(y, y).Mod(y, p).Cmp(square) != 0 || point.X.Bytes() != bytesOf(x) {
			rt.Errorf("the point is not on the curve, or has another x")
		}
	})
}

func BenchmarkBaseMult(b *testing.B) {
	b.ReportAllocs()
	k := FqFromFp(Generator().Y)
	for b.Loop() {
		BaseMult(k)
	}
}

func BenchmarkBaseMultAdd(b *testing.B) {
	b.ReportAllocs()
	k := FqFromFp(Generator().Y)
	for b.Loop() {
		BaseMultAdd(k, k, Generator())
	}
}
