package pallas

import (
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The moduli, written as the specification writes them.
func modulusP() *big.Int {
	return bigFromHex("40000000000000000000000000000000224698fc094cf91b992d30ed00000001")
}

func modulusQ() *big.Int {
	return bigFromHex("40000000000000000000000000000000224698fc0994a8dd8c46eb2100000001")
}

func bigFromHex(text string) *big.Int {
	x, ok := new(big.Int).SetString(text, 16)
	if !ok {
		panic("not hexadecimal: " + text)
	}
	return x
}

// bytesOf writes x as 32 bytes, least significant first.
func bytesOf(x *big.Int) [32]byte {
	var b [32]byte
	x.FillBytes(b[:])
	slices.Reverse(b[:])
	return b
}

// bigOf reads 32 bytes, least significant first.
func bigOf(b [32]byte) *big.Int {
	slices.Reverse(b[:])
	return new(big.Int).SetBytes(b[:])
}

// below draws a number below m, often one near 0, near m, or with words of all zeros and all ones, where carries go wrong.
func below(m *big.Int) *rapid.Generator[*big.Int] {
	word := rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, 1<<63 - 1, 1 << 63, 1<<64 - 1}))
	return rapid.Custom(func(t *rapid.T) *big.Int {
		x := new(big.Int)
		if rapid.Bool().Draw(t, "near an end") {
			x.SetInt64(rapid.Int64Range(-20, 20).Draw(t, "distance"))
		} else {
			for range 4 {
				x.Lsh(x, 64)
				x.Or(x, new(big.Int).SetUint64(word.Draw(t, "word")))
			}
		}
		return x.Mod(x, m)
	})
}

func mustFp(tb testing.TB, x *big.Int) Fp {
	tb.Helper()
	e, ok := FpFromBytes(bytesOf(x))
	if !ok {
		tb.Fatalf("%v is refused as an element of the base field", x)
	}
	return e
}

func mustFq(tb testing.TB, x *big.Int) Fq {
	tb.Helper()
	e, ok := FqFromBytes(bytesOf(x))
	if !ok {
		tb.Fatalf("%v is refused as an element of the scalar field", x)
	}
	return e
}

func TestFpAgreesWithBigIntegers(t *testing.T) {
	p := modulusP()
	rapid.Check(t, func(rt *rapid.T) {
		x, y := below(p).Draw(rt, "x"), below(p).Draw(rt, "y")
		a, b := mustFp(t, x), mustFp(t, y)
		for _, c := range []struct {
			name string
			got  Fp
			want *big.Int
		}{
			{"x", a, x},
			{"x+y", a.Add(b), new(big.Int).Add(x, y)},
			{"x-y", a.Sub(b), new(big.Int).Sub(x, y)},
			{"-x", a.Neg(), new(big.Int).Neg(x)},
			{"x*y", a.Mul(b), new(big.Int).Mul(x, y)},
			{"x^2", a.Square(), new(big.Int).Mul(x, x)},
			{"15*x", a.times15(), new(big.Int).Mul(x, big.NewInt(15))},
		} {
			c.want.Mod(c.want, p)
			if got := bigOf(c.got.Bytes()); got.Cmp(c.want) != 0 {
				rt.Errorf("%s is %v, want %v", c.name, got, c.want)
			}
			if !isBelow(limbs(c.got), p0, p1) {
				rt.Errorf("%s is not reduced inside: %x", c.name, c.got)
			}
		}
		if a.IsOdd() != (x.Bit(0) == 1) {
			rt.Errorf("IsOdd of %v is %v", x, a.IsOdd())
		}
		if inverse := a.Inverse(); x.Sign() != 0 && inverse.Mul(a) != fpOne {
			rt.Errorf("x times its inverse is %x", inverse.Mul(a).Bytes())
		}
		root, ok := a.Sqrt()
		if wantOK := x.Sign() == 0 || big.Jacobi(x, p) == 1; ok != wantOK {
			rt.Errorf("having a root: %v, want %v", ok, wantOK)
		}
		if ok && root.Square() != a {
			rt.Errorf("the square of the root is %x", root.Square().Bytes())
		}
	})
}

func TestFqAgreesWithBigIntegers(t *testing.T) {
	q := modulusQ()
	rapid.Check(t, func(rt *rapid.T) {
		x, y := below(q).Draw(rt, "x"), below(q).Draw(rt, "y")
		a, b := mustFq(t, x), mustFq(t, y)
		for _, c := range []struct {
			name string
			got  Fq
			want *big.Int
		}{
			{"x", a, x},
			{"x+y", a.Add(b), new(big.Int).Add(x, y)},
			{"x-y", a.Sub(b), new(big.Int).Sub(x, y)},
			{"-x", a.Neg(), new(big.Int).Neg(x)},
			{"x*y", a.Mul(b), new(big.Int).Mul(x, y)},
		} {
			c.want.Mod(c.want, q)
			if got := bigOf(c.got.Bytes()); got.Cmp(c.want) != 0 {
				rt.Errorf("%s is %v, want %v", c.name, got, c.want)
			}
		}
		z := below(modulusP()).Draw(rt, "z")
		if got := bigOf(FqFromFp(mustFp(t, z)).Bytes()); got.Cmp(z) != 0 {
			rt.Errorf("%v of the base field is %v in the scalar field", z, got)
		}
	})
}

func TestSqrtOfRootsOfUnity(t *testing.T) {
	// The elements whose order is a power of two take the longest and the shortest ways through Sqrt.
	root := fpRootOfUnity
	for order := 32; order > 0; order-- {
		got, ok := root.Sqrt()
		if order == 32 && ok {
			t.Error("an element of order 2^32 has a root")
		}
		if order < 32 && (!ok || got.Square() != root) {
			t.Errorf("no root of the element of order 2^%d", order)
		}
		root = root.Square()
	}
	if root != fpOne {
		t.Error("the root of unity has another order than 2^32")
	}
}

func TestOnlyReducedNumbersAreRead(t *testing.T) {
	largest := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
	for _, c := range []struct {
		name   string
		x      *big.Int
		fp, fq bool
	}{
		{"0", big.NewInt(0), true, true},
		{"p-1", new(big.Int).Sub(modulusP(), big.NewInt(1)), true, true},
		{"p", modulusP(), false, true},
		{"p+1", new(big.Int).Add(modulusP(), big.NewInt(1)), false, true},
		{"q-1", new(big.Int).Sub(modulusQ(), big.NewInt(1)), false, true},
		{"q", modulusQ(), false, false},
		{"2p", new(big.Int).Lsh(modulusP(), 1), false, false},
		{"2^256-1", largest, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, ok := FpFromBytes(bytesOf(c.x)); ok != c.fp {
				t.Errorf("in the base field: %v, want %v", ok, c.fp)
			}
			if _, ok := FqFromBytes(bytesOf(c.x)); ok != c.fq {
				t.Errorf("in the scalar field: %v, want %v", ok, c.fq)
			}
		})
	}
}

func BenchmarkFpMul(b *testing.B) {
	b.ReportAllocs()
	x, y := Generator().Y, Generator().Y
	for b.Loop() {
		x = x.Mul(y)
	}
}

func BenchmarkFpInverse(b *testing.B) {
	b.ReportAllocs()
	x := Generator().Y
	for b.Loop() {
		x = x.Inverse()
	}
}

func BenchmarkFpSqrt(b *testing.B) {
	b.ReportAllocs()
	x := Generator().Y.Square()
	for b.Loop() {
		x.Sqrt()
	}
}
