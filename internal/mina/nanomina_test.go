package mina

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseMina(t *testing.T) {
	for _, c := range []struct {
		text string
		want Nanomina
		back string
	}{
		{"0", 0, "0"},
		{"1", OneMina, "1"},
		{"0.1", 100_000_000, "0.1"},
		{"20_000", 20_000 * OneMina, "20000"},
		{"1.5", 1_500_000_000, "1.5"},
		{"1.500000000", 1_500_000_000, "1.5"},
		{"0.000000001", 1, "0.000000001"},
		{"0.000_000_001", 1, "0.000000001"},
		{"007.10", 7_100_000_000, "7.1"},
		{"10", 10 * OneMina, "10"},
		{"18_446_744_073.709551615", math.MaxUint64, "18446744073.709551615"},
	} {
		got, err := ParseMina(c.text)
		if err != nil || got != c.want {
			t.Errorf("%q is %d nanomina, %v, want %d", c.text, uint64(got), err, uint64(c.want))
		}
		if got.String() != c.back {
			t.Errorf("%q is written %s, want %s", c.text, got, c.back)
		}
	}
}

func TestParseMinaRefuses(t *testing.T) {
	for _, text := range []string{
		"", ".", "1.", ".5", "-1", "+1", "1e3", "0x1", " 1", "1 ", "1,5", "1.2.3", "_1", "1_", "1__0", "1_.0", "1._0", "1.0_", "１",
		"NaN", "1 mina", "0.0000000001", "1.0000000000",
	} {
		if got, err := ParseMina(text); err == nil || errors.Is(err, ErrOverflow) || !strings.Contains(err.Error(), text) {
			t.Errorf("%q is %v, %v, want an error about its form", text, got, err)
		}
	}
	for _, text := range []string{"18446744073.709551616", "18446744074", "99999999999999999999999999"} {
		if got, err := ParseMina(text); !errors.Is(err, ErrOverflow) {
			t.Errorf("%q is %v, %v, want ErrOverflow", text, got, err)
		}
	}
}

func TestAmountsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amount := Nanomina(rapid.Uint64().Draw(t, "amount"))
		if read, err := ParseMina(amount.String()); err != nil || read != amount {
			t.Errorf("written as %s and read again, %d is %d, %v", amount, uint64(amount), uint64(read), err)
		}
	})
}

func TestArithmeticIsExactOrFails(t *testing.T) {
	largest := new(big.Int).SetUint64(math.MaxUint64)
	number := rapid.OneOf(
		rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, 1 << 32, 1<<32 - 1, math.MaxUint64, math.MaxUint64 - 1, math.MaxUint64/2 + 1}))
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		x, y := new(big.Int).SetUint64(a), new(big.Int).SetUint64(b)
		for _, c := range []struct {
			name  string
			apply func() (Nanomina, error)
			want  *big.Int
		}{
			{"Add", func() (Nanomina, error) { return Nanomina(a).Add(Nanomina(b)) }, new(big.Int).Add(x, y)},
			{"Sub", func() (Nanomina, error) { return Nanomina(a).Sub(Nanomina(b)) }, new(big.Int).Sub(x, y)},
			{"Mul", func() (Nanomina, error) { return Nanomina(a).Mul(b) }, new(big.Int).Mul(x, y)},
		} {
			got, err := c.apply()
			if fits := c.want.Sign() >= 0 && c.want.Cmp(largest) <= 0; !fits {
				if !errors.Is(err, ErrOverflow) || got != 0 {
					t.Errorf("%s: %v, %v, want ErrOverflow", c.name, got, err)
				}
			} else if err != nil || uint64(got) != c.want.Uint64() {
				t.Errorf("%s: %d, %v, want %v", c.name, uint64(got), err, c.want)
			}
		}
	})
}

func FuzzParseMina(f *testing.F) {
	for _, text := range []string{"0", "0.1", "20_000", "18446744073.709551615", "18446744073.709551616", "1._0", "-1", "1e9"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		amount, err := ParseMina(text)
		if err != nil {
			return
		}
		want, ok := new(big.Rat).SetString(strings.ReplaceAll(text, "_", ""))
		got := new(big.Rat).SetFrac(new(big.Int).SetUint64(uint64(amount)), big.NewInt(int64(OneMina)))
		if !ok || got.Cmp(want) != 0 {
			t.Errorf("%q is read as %v", text, amount)
		}
	})
}
