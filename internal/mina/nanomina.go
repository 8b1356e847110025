package mina

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Nanomina is an amount in nanomina, 10⁻⁹ MINA. It reaches to about 18.4 thousand million MINA; arithmetic that would leave 0 to that
// bound gives ErrOverflow.
type Nanomina uint64

// OneMina is 1 MINA.
const OneMina Nanomina = 1_000_000_000

// minaDecimals is the number of decimals of an amount in MINA.
const minaDecimals = 9

// ErrOverflow says that an amount is negative or too large for Nanomina.
var ErrOverflow = errors.New("amount out of range")

// ParseMina reads an exact decimal amount in MINA: digits, at most nine of them after a point, single underscores between digits
// allowed ("0.1", "20_000"). There is no sign, exponent or unit. The error is ErrOverflow for an amount that does not fit.
func ParseMina(text string) (Nanomina, error) {
	whole, fraction, hasPoint := strings.Cut(text, ".")
	wholeDigits, wholeOK := plainDigits(whole)
	fractionDigits, fractionOK := plainDigits(fraction)
	switch {
	case !wholeOK || hasPoint && !fractionOK:
		return 0, fmt.Errorf("%q is not an amount in MINA: write it like 20_000 or 0.1", text)
	case len(fractionDigits) > minaDecimals:
		return 0, fmt.Errorf("%q has more than %d decimals: the smallest amount is 0.000000001 MINA", text, minaDecimals)
	}
	nanomina, err := strconv.ParseUint(wholeDigits+fractionDigits+strings.Repeat("0", minaDecimals-len(fractionDigits)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q MINA: %w", text, ErrOverflow)
	}
	return Nanomina(nanomina), nil
}

// plainDigits takes the underscores out of a row of digits. It reports false where the text is empty, or holds something else, or an
// underscore that is not between two digits.
func plainDigits(text string) (string, bool) {
	var digits strings.Builder
	previous := '_'
	for _, r := range text {
		switch {
		case '0' <= r && r <= '9':
			digits.WriteRune(r)
		case r != '_' || previous == '_':
			return "", false
		}
		previous = r
	}
	return digits.String(), previous != '_'
}

// Add gives a+b, or ErrOverflow.
func (a Nanomina) Add(b Nanomina) (Nanomina, error) {
	sum, carry := bits.Add64(uint64(a), uint64(b), 0)
	if carry != 0 {
		return 0, fmt.Errorf("%v MINA plus %v MINA: %w", a, b, ErrOverflow)
	}
	return Nanomina(sum), nil
}

// Sub gives a−b, or ErrOverflow where b is greater than a.
func (a Nanomina) Sub(b Nanomina) (Nanomina, error) {
	if b > a {
		return 0, fmt.Errorf("%v MINA minus %v MINA: %w", a, b, ErrOverflow)
	}
	return a - b, nil
}

// Mul gives n times a, or ErrOverflow.
func (a Nanomina) Mul(n uint64) (Nanomina, error) {
	high, low := bits.Mul64(uint64(a), n)
	if high != 0 {
		return 0, fmt.Errorf("%d times %v MINA: %w", n, a, ErrOverflow)
	}
	return Nanomina(low), nil
}

// String gives the exact amount in MINA without unit and without needless zeros: "20000", "0.1". ParseMina reads it back.
func (a Nanomina) String() string {
	text := fmt.Sprintf("%d.%09d", a/OneMina, a%OneMina)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}
