package dsl

import (
	"encoding/json"
	"errors"
	"math/big"
	"strings"
)

// This file has the values that are known before a script runs: their units, exact arithmetic, and how they are written.

// base returns the unit in which values of a unit are kept, and how much of it one is: numerator and denominator.
func (u Unit) base() (unit Unit, num, denom int64) {
	switch u {
	case UnitSecond:
		return UnitSecond, 1, 1
	case UnitMinute:
		return UnitSecond, 60, 1
	case UnitHour:
		return UnitSecond, 3600, 1
	case UnitSlot:
		return UnitSlot, 1, 1
	case UnitTPS, UnitPerSec:
		return UnitTPS, 1, 1
	case UnitPerMin:
		return UnitTPS, 1, 60
	case UnitPerHour:
		return UnitTPS, 1, 3600
	case UnitMina:
		return UnitNanomina, 1_000_000_000, 1
	case UnitNanomina:
		return UnitNanomina, 1, 1
	case UnitPercent:
		return NoUnit, 1, 100
	default:
		return NoUnit, 1, 1
	}
}

// in returns a number of the base unit in that unit.
func (u Unit) in(x *big.Rat) *big.Rat {
	_, num, denom := u.base()
	if num == denom {
		return x
	}
	return new(big.Rat).Mul(x, big.NewRat(denom, num))
}

// withUnit writes digits with a unit, as people do.
func withUnit(digits string, unit Unit) string {
	switch {
	case unit == UnitSlot && digits == "1":
		return "1 slot"
	case unit == UnitSlot || unit == UnitTPS || unit == UnitMina || unit == UnitNanomina:
		return digits + " " + string(unit)
	default:
		return digits + string(unit)
	}
}

// decimalDigits writes a number as a decimal: exactly where it is a finite one, else with 9 decimals, the others cut off.
func decimalDigits(x *big.Rat) string {
	if x.IsInt() {
		return x.Num().String()
	}
	if digits, err := exactText(x); err == nil {
		return digits
	}
	return cut(x)
}

// exactNumber returns the value of a number as the script language writes it, in the base unit of its unit.
func exactNumber(digits string, unit Unit) (*big.Rat, error) {
	_, num, denom := unit.base()
	if mantissa, places, ok := shortDecimal(digits); ok { // nearly all numbers are like this, and others take three times as long
		for range places {
			if num%10 == 0 {
				num /= 10
			} else {
				denom *= 10
			}
		}
		if denom == 1 {
			return new(big.Rat).SetInt64(mantissa * num), nil
		}
		return big.NewRat(mantissa*num, denom), nil
	}
	x, ok := Decimal(plainDigits(digits))
	if !ok {
		return nil, errTooManyDigits
	}
	return calculate(OpMul, x, big.NewRat(num, denom))
}

// shortDecimal returns a number of at most 9 digits without an exponent, as a whole number and how many of its digits are decimals.
func shortDecimal(digits string) (mantissa int64, places int, ok bool) {
	if len(digits) > 9 {
		return 0, 0, false
	}
	point := false
	for _, c := range []byte(digits) {
		switch {
		case c >= '0' && c <= '9':
			mantissa = mantissa*10 + int64(c-'0')
			if point {
				places++
			}
		case c == '.':
			point = true
		case c != '_':
			return 0, 0, false
		}
	}
	return mantissa, places, true
}

// plainDigits writes a number of the script language as JSON does.
func plainDigits(digits string) string {
	if strings.Contains(digits, "_") {
		digits = strings.ReplaceAll(digits, "_", "")
	}
	for len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
		digits = digits[1:]
	}
	return digits
}

var (
	errTooManyDigits  = errors.New("a number of more than 400 digits")
	errDivisionByZero = errors.New("division by zero")
)

// calculate works out an operation on two numbers. Their units are looked at elsewhere.
func calculate(op Op, x, y *big.Rat) (*big.Rat, error) {
	z := new(big.Rat)
	switch op {
	case OpAdd:
		z.Add(x, y)
	case OpSub:
		z.Sub(x, y)
	case OpMul:
		z.Mul(x, y)
	default: // OpDiv
		if y.Sign() == 0 {
			return nil, errDivisionByZero
		}
		z.Quo(x, y)
	}
	if _, err := exactly(z).sized(); err != nil {
		return nil, errTooManyDigits
	}
	return z, nil
}

// holds reports whether a comparison of two numbers is true that compare as cmp says.
func holds(op Op, cmp int) bool {
	switch op {
	case OpLess:
		return cmp < 0
	case OpAtMost:
		return cmp <= 0
	case OpMore:
		return cmp > 0
	case OpLeast:
		return cmp >= 0
	case OpEqual:
		return cmp == 0
	default: // OpOther
		return cmp != 0
	}
}

// quoted writes a text as JSON.
func quoted(text string) json.RawMessage {
	plain := true
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return json.RawMessage(`"` + text + `"`)
	}
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil { // cannot be: a text always has a spelling
		return json.RawMessage(`""`)
	}
	return json.RawMessage(strings.TrimSuffix(out.String(), "\n"))
}
