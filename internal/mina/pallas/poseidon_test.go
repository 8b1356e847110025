package pallas

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestInitialStatesOfSignatures(t *testing.T) {
	for _, c := range []struct {
		prefix string
		want   State
	}{
		{"CodaSignature*******", TestnetSignatures()},
		{"MinaSignatureMainnet", MainnetSignatures()},
	} {
		t.Run(c.prefix, func(t *testing.T) {
			var number [32]byte
			copy(number[:], c.prefix)
			prefix, ok := FpFromBytes(number)
			if !ok {
				t.Fatal("the prefix is no element")
			}
			if got := (State{}).Absorb(prefix); got != c.want {
				t.Errorf("the state after the prefix is %x, want %x", got, c.want)
			}
		})
	}
}

// hash is the sponge as the specification describes it, over big integers.
func (s specification) hash(network int, inputs []*big.Int) *big.Int {
	p := modulusP()
	state := append([]*big.Int(nil), s.states[network]...)
	permute := func() {
		for r, constants := range s.constants {
			for i := range state {
				state[i] = new(big.Int).Add(state[i], constants[i])
			}
			if r == len(s.constants)-1 {
				break
			}
			for i := range state {
				state[i].Exp(state[i], big.NewInt(5), p)
			}
			mixed := make([]*big.Int, len(state))
			for i, row := range s.matrix {
				mixed[i] = new(big.Int)
				for j := range row {
					mixed[i].Add(mixed[i], new(big.Int).Mul(row[j], state[j]))
				}
				mixed[i].Mod(mixed[i], p)
			}
			state = mixed
		}
	}
	for i, input := range inputs {
		if i > 0 && i%2 == 0 {
			permute()
		}
		state[i%2] = new(big.Int).Add(state[i%2], input)
	}
	permute()
	return state[0].Mod(state[0], p)
}

func TestDigestAgreesWithTheSpecification(t *testing.T) {
	spec := readSpecification(t)
	states := []State{TestnetSignatures(), MainnetSignatures()}
	rapid.Check(t, func(rt *rapid.T) {
		inputs := rapid.SliceOfN(below(modulusP()), 1, 5).Draw(rt, "inputs")
		network := rapid.IntRange(0, 1).Draw(rt, "network")
		elements := make([]Fp, len(inputs))
		for i, input := range inputs {
			elements[i] = mustFp(t, input)
		}
		want := spec.hash(network, inputs)
		if got := bigOf(states[network].Digest(elements...).Bytes()); got.Cmp(want) != 0 {
			rt.Errorf("the hash is %v, want %v", got, want)
		}
	})
}

func TestDot(t *testing.T) {
	draw := rapid.SliceOfN(below(modulusP()), 3, 3)
	rapid.Check(t, func(rt *rapid.T) {
		var x, y [3]Fp
		var want Fp
		xs, ys := draw.Draw(rt, "x"), draw.Draw(rt, "y")
		for i := range x {
			x[i], y[i] = mustFp(t, xs[i]), mustFp(t, ys[i])
			want = want.Add(x[i].Mul(y[i]))
		}
		if got := dot(&x, &y); got != want {
			rt.Errorf("the sum of products is %x, want %x", got.Bytes(), want.Bytes())
		}
	})
}

func BenchmarkPermute(b *testing.B) {
	b.ReportAllocs()
	s := TestnetSignatures()
	for b.Loop() {
		s = s.permute()
	}
}
