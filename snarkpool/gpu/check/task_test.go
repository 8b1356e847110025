package check

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// The numbers of SplitMix64 for the seed 1234567, as its author's reference gives them.
func TestWordsAreSplitMix64s(t *testing.T) {
	for i, want := range []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821} {
		if got := word(1234567, uint64(i)); got != want {
			t.Errorf("word %d = %d, want %d", i, got, want)
		}
	}
}

func TestAMatrixIsTheSameHoweverItIsCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stream := rapid.Uint64().Draw(t, "stream")
		from := rapid.Uint64Range(0, 1<<40).Draw(t, "from")
		whole := make([]int8, rapid.IntRange(1, 100).Draw(t, "length"))
		fill(stream, from, whole)
		cut := rapid.IntRange(0, len(whole)-1).Draw(t, "cut")
		part := make([]int8, len(whole)-cut)
		fill(stream, from+uint64(cut), part)
		for i, value := range part {
			if value != whole[cut+i] {
				t.Fatalf("entry %d is %d from 0 and %d from %d", cut+i, whole[cut+i], value, cut)
			}
		}
		if at := from + uint64(cut); whole[cut] != int8(word(stream, at/8)>>(8*(at%8))) {
			t.Fatalf("entry %d is %d", at, whole[cut])
		}
	})
}

func TestDotIsTheProductModuloThePrime(t *testing.T) {
	prime := new(big.Int).SetUint64(Prime)
	rapid.Check(t, func(t *rapid.T) {
		row := rapid.SliceOfN(rapid.Int32(), 1, 20).Draw(t, "row")
		vector := make([]uint64, len(row))
		want := new(big.Int)
		for i := range row {
			vector[i] = rapid.OneOf(rapid.Uint64Range(0, Prime-1), rapid.Just(uint64(Prime-1))).Draw(t, "entry")
			want.Add(want, new(big.Int).Mul(big.NewInt(int64(row[i])), new(big.Int).SetUint64(vector[i])))
		}
		want.Mod(want, prime)
		if got := Dot(row, vector); got != want.Uint64() {
			t.Fatalf("Dot = %d, want %s", got, want)
		}
		bytes := make([]int8, len(row))
		want.SetInt64(0)
		for i := range bytes {
			bytes[i] = int8(row[i])
			want.Add(want, new(big.Int).Mul(big.NewInt(int64(bytes[i])), new(big.Int).SetUint64(vector[i])))
		}
		want.Mod(want, prime)
		if got := DotBytes(bytes, vector); got != want.Uint64() {
			t.Fatalf("DotBytes = %d, want %s", got, want)
		}
	})
}

func TestTheLongestRowOfBytesDoesNotOverflow(t *testing.T) {
	row, vector := make([]int8, MaxSide), make([]uint64, MaxSide)
	for i := range row {
		row[i], vector[i] = -128, Prime-1
	}
	// -128·(p-1) is 128 modulo p
	if got := DotBytes(row, vector); got != 128*MaxSide {
		t.Errorf("DotBytes = %d, want %d", got, 128*MaxSide)
	}
}

func TestTimesOfTheLargest(t *testing.T) {
	for _, value := range []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64} {
		for _, x := range []uint64{0, 1, 1 << 32, Prime - 1} {
			want := new(big.Int).Mul(big.NewInt(value), new(big.Int).SetUint64(x))
			if got := times(value, x); got != want.Mod(want, new(big.Int).SetUint64(Prime)).Uint64() {
				t.Errorf("times(%d, %d) = %d, want %s", value, x, got, want)
			}
		}
	}
}

func TestShapeForFillsTheMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		inner := rapid.Uint64Range(1, MaxInner).Draw(t, "inner")
		memory := rapid.Uint64Range(0, 200<<30).Draw(t, "memory")
		shape, err := ShapeFor(memory, inner)
		if err != nil {
			if (Shape{1, 1, inner}).MemoryBytes() <= memory {
				t.Fatal(err)
			}
			return
		}
		next := Shape{shape.Rows + 1, shape.Columns + 1, inner}
		if shape.MemoryBytes() > memory || next.MemoryBytes() <= memory || shape.check() != nil {
			t.Fatalf("%d bytes, inner %d: %+v of %d bytes", memory, inner, shape, shape.MemoryBytes())
		}
	})
	for _, inner := range []uint64{0, MaxInner + 1} {
		if _, err := ShapeFor(1<<30, inner); err == nil {
			t.Errorf("inner %d was taken", inner)
		}
	}
}

func TestEveryLeafHasAPathAndNoOther(t *testing.T) {
	for leaves := uint64(1); leaves <= 33; leaves++ {
		all := make([]Hash, leaves)
		for i := range all {
			all[i] = HashRow(uint64(i), []byte{byte(i)})
		}
		tree := NewTree(all)
		for i := range leaves {
			path := tree.Path(i)
			if root, whole := rootOf(all[i], i, leaves, path); !whole || root != tree.Root() {
				t.Errorf("%d leaves: the path of %d does not lead to the root", leaves, i)
			}
			if root, whole := rootOf(all[(i+1)%leaves], i, leaves, path); leaves > 1 && whole && root == tree.Root() {
				t.Errorf("%d leaves: another leaf passes for %d", leaves, i)
			}
			if _, whole := rootOf(all[i], i, leaves, append(path, Hash{})); whole {
				t.Errorf("%d leaves: a path of %d that is too long passes", leaves, i)
			}
			if len(path) > 0 {
				if _, whole := rootOf(all[i], i, leaves, path[:len(path)-1]); whole {
					t.Errorf("%d leaves: a path of %d that is too short passes", leaves, i)
				}
			}
		}
	}
}

func TestSeeds(t *testing.T) {
	seed, err := ParseSeed("000102030405060708090a0b0c0d0e0f")
	if err != nil || seed.String() != "000102030405060708090a0b0c0d0e0f" {
		t.Errorf("%s, %v", seed, err)
	}
	if a, b := seed.halves(); a != 0x0706050403020100 || b != 0x0f0e0d0c0b0a0908 {
		t.Errorf("halves %#x, %#x", a, b)
	}
	for _, text := range []string{"", "00", "000102030405060708090a0b0c0d0e0g", "000102030405060708090a0b0c0d0e0f00"} {
		if _, err := ParseSeed(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
