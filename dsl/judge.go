package dsl

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// Judge says whether a condition holds: pass when it does whatever the numbers are within what is known of them, fail when it does not
// whatever they are, else inconclusive.
//
// Of comparisons joined by and or or, the judgement shows those that decided. An output that does not exist is a [*MissingOutputError];
// other errors say that an output is not what the condition takes it for, or that the configuration does not say how long a slot lasts.
// Safe for concurrent use.
func (f *Formula) Judge(facts Facts) (Judgement, error) {
	v, err := evaluation{facts}.value(f)
	if err == nil {
		v, err = v.asTruth()
	}
	if err != nil {
		return Judgement{}, err
	}
	return v.judgement(), nil
}

// reason is a comparison that decided a verdict.
type reason struct {
	actual  string
	op      Op // "" where the value itself is true or false
	bound   string
	window  string
	missing []string
}

func (r reason) expected() string { return strings.TrimSpace(string(r.op) + " " + r.bound) }

// not returns what was expected where the opposite is.
func (r reason) not() reason {
	switch {
	case r.op != "":
		r.op = map[Op]Op{OpLess: OpLeast, OpLeast: OpLess, OpMore: OpAtMost, OpAtMost: OpMore, OpEqual: OpOther, OpOther: OpEqual}[r.op]
	case r.bound == "true":
		r.bound = "false"
	default:
		r.bound = "true"
	}
	return r
}

func (v known) judgement() Judgement {
	j := Judgement{Verdict: v.truth}
	var actual, expected []string
	for _, r := range v.reasons {
		actual = append(actual, r.actual)
		expected = append(expected, r.expected())
		j.Window = joined(j.Window, r.window)
		for _, missing := range r.missing {
			if !slices.Contains(j.Evidence, missing) {
				j.Evidence = append(j.Evidence, missing)
			}
		}
	}
	j.Actual, j.Expected = strings.Join(actual, "; "), strings.Join(expected, "; ")
	return j
}

func opposite(v Verdict) Verdict {
	switch v {
	case Pass:
		return Fail
	case Fail:
		return Pass
	default:
		return Inconclusive
	}
}

// asTruth returns the value as a truth.
func (v known) asTruth() (known, error) {
	if v.kind == aTruth {
		return v, nil
	}
	if v.kind == plain && v.held.List == nil {
		switch text := string(v.held.One); text {
		case "true":
			return truthOf(Pass, reason{actual: v.text(nil), bound: text}), nil
		case "false":
			return truthOf(Fail, reason{actual: v.text(nil), bound: "true"}), nil
		}
	}
	return known{}, fmt.Errorf("%s stands where true or false is wanted", v.describe())
}

func truthOf(truth Verdict, reasons ...reason) known {
	return known{kind: aTruth, truth: truth, reasons: reasons}
}

func (v known) not() known {
	reasons := make([]reason, len(v.reasons))
	for i, r := range v.reasons {
		reasons[i] = r.not()
	}
	return truthOf(opposite(v.truth), reasons...)
}

// logical is and, or or. The reasons of the side that decided are those of the whole; of both where both did.
func logical(op Op, a, b known) (known, error) {
	a, err := a.asTruth()
	if err != nil {
		return known{}, err
	}
	b, err = b.asTruth()
	if err != nil {
		return known{}, err
	}
	decisive := Fail // alone it decides
	if op == OpOr {
		decisive = Pass
	}
	truth := opposite(decisive)
	switch {
	case a.truth == decisive || b.truth == decisive:
		truth = decisive
	case a.truth == Inconclusive || b.truth == Inconclusive:
		truth = Inconclusive
	}
	var reasons []reason
	for _, side := range []known{a, b} {
		if side.truth == truth {
			reasons = append(reasons, side.reasons...)
		}
	}
	return truthOf(truth, reasons...), nil
}

// comparison compares two values. In what it reports the measured side stands left, in the unit of the other.
func (e evaluation) comparison(op Op, a, b known) (known, error) {
	if a.constant && !b.constant {
		mirrored, ok := map[Op]Op{OpLess: OpMore, OpMore: OpLess, OpAtMost: OpLeast, OpLeast: OpAtMost}[op]
		if ok {
			op = mirrored
		}
		a, b = b, a
	}
	if a.describe() != "a number" || b.describe() != "a number" {
		return equality(op, a, b)
	}
	bound, err := b.asNumber()
	if err != nil {
		return known{}, err
	}
	x, y, err := e.numbers(a, b)
	if err != nil {
		return known{}, err
	}
	truth := x.number.compare(op, y.number)
	if bound.unit != NoUnit && bound.unit != y.unit {
		if x, err = e.in(x, bound.unit); err != nil {
			return known{}, err
		}
		y = bound
	}
	masked := x.secret || y.secret
	x.secret, y.secret = masked, masked
	near, _ := y.number.exact()
	both := numberOf(interval{}, NoUnit, x, y)
	return truthOf(truth, reason{actual: x.text(near), op: op, bound: y.text(nil), window: both.window, missing: both.missing}), nil
}

// equality is == or != of what are not two numbers.
func equality(op Op, a, b known) (known, error) {
	if op != OpEqual && op != OpOther {
		return known{}, fmt.Errorf("%s and %s have no order: only numbers have", a.describe(), b.describe())
	}
	var truth Verdict
	var missing []string
	switch left, right := a.describe(), b.describe(); {
	case left == "true or false" && right == left:
		x, err := a.asTruth()
		if err != nil {
			return known{}, err
		}
		y, err := b.asTruth()
		if err != nil {
			return known{}, err
		}
		switch {
		case x.truth == Inconclusive || y.truth == Inconclusive:
			truth = Inconclusive
		default:
			truth = verdict(x.truth == y.truth)
		}
		missing = append(x.judgement().Evidence, y.judgement().Evidence...)
	case left == "none" || right == "none":
		truth = verdict(left == right)
	case left == "a text" && right == left:
		same, err := sameText(a.held.One, b.held.One)
		if err != nil {
			return known{}, err
		}
		truth = verdict(same)
	default:
		return known{}, fmt.Errorf("%s and %s cannot be compared: only numbers, texts, and true and false can", left, right)
	}
	if op == OpOther {
		truth = opposite(truth)
	}
	masked := a.secret || b.secret
	a.secret, b.secret = masked, masked
	return truthOf(truth, reason{actual: a.text(nil), op: op, bound: b.text(nil), missing: missing}), nil
}

func verdict(holds bool) Verdict {
	if holds {
		return Pass
	}
	return Fail
}

func sameText(a, b json.RawMessage) (bool, error) {
	var x, y string
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false, errors.New("a text is broken JSON")
	}
	return x == y, nil
}

// masked stands for what comes from env().
const masked = "(masked)"

// text shows the value as the script language writes it. A number has more decimals than usual where they tell it from near, which may be
// nil; a constant has all that it was given.
func (v known) text(near *big.Rat) string {
	if v.secret {
		return masked
	}
	switch v.kind {
	case plain:
		return v.plainText()
	case aTruth:
		switch v.truth {
		case Pass:
			return "true"
		case Fail:
			return "false"
		default:
			return "unknown"
		}
	case aNumber:
	}
	low, high := v.number.low, v.number.high
	number := func(x *big.Rat) string { return v.numberText(x, near) }
	switch {
	case low == nil && high == nil:
		return "unknown"
	case high == nil:
		return "at least " + number(low) + suffix(low, v.unit)
	case low == nil:
		return "at most " + number(high) + suffix(high, v.unit)
	case low.Cmp(high) == 0:
		return number(low) + suffix(low, v.unit)
	default:
		return number(low) + " to " + number(high) + suffix(high, v.unit)
	}
}

func (v known) plainText() string {
	const most = 100
	switch {
	case v.held.List != nil:
		return "a list"
	case v.held.One[0] == '"' && len(v.held.One) > most, v.held.One[0] == '{':
		return v.describe()
	default:
		return string(v.held.One)
	}
}

func suffix(x *big.Rat, unit Unit) string {
	switch {
	case unit == NoUnit:
		return ""
	case unit == UnitNanomina:
		return " " + string(UnitMina)
	case unit == UnitSlot && x.IsInt() && x.Num().IsInt64() && x.Num().Int64() == 1:
		return " slot"
	default:
		return " " + string(unit)
	}
}

// numberText writes a number of this value, without its unit.
func (v known) numberText(x, near *big.Rat) string {
	if v.unit == UnitNanomina { // is shown in mina, to the nanomina
		return trimmed(new(big.Rat).Quo(x, big.NewRat(1e9, 1)).FloatString(maxDecimals))
	}
	if v.constant {
		return trimmed(x.FloatString(maxDecimals))
	}
	if x.IsInt() {
		return x.Num().String()
	}
	text := decimals(x, near)
	if v.unit != NoUnit {
		text = trimmed(text)
	}
	return text
}

// maxDecimals is how many decimals a number is shown or handed on with: a nanomina has as many.
const maxDecimals = 9

// decimals writes a number with 3 decimals, or as many as tell it from 0 and from near.
func decimals(x, near *big.Rat) string {
	for places := 3; ; places++ {
		text := x.FloatString(places)
		rounded, ok := new(big.Rat).SetString(text)
		if places == maxDecimals || !ok || rounded.Sign() == x.Sign() && (near == nil || rounded.Cmp(near) == x.Cmp(near)) {
			return text
		}
	}
}

// trimmed drops the zeros at the end of a number that has decimals.
func trimmed(decimal string) string {
	return strings.TrimSuffix(strings.TrimRight(decimal, "0"), ".")
}

// exactText writes a number that is a finite decimal.
func exactText(x *big.Rat) (string, error) {
	places, finite := x.FloatPrec()
	text := x.FloatString(places)
	if !finite || len(text) > maxNumber {
		return "", fmt.Errorf("it has no end as a decimal, it begins with %s", decimals(x, nil))
	}
	return text, nil
}

// cut writes a number with at most 9 decimals; the others are cut off.
func cut(x *big.Rat) string {
	scale := big.NewInt(1e9)
	whole := new(big.Int).Mul(x.Num(), scale)
	return trimmed(new(big.Rat).SetFrac(whole.Quo(whole, x.Denom()), scale).FloatString(maxDecimals))
}

// behindColon joins what is not empty to what stands behind a colon.
func behindColon(texts ...string) string {
	if text := joined(texts...); text != "" {
		return ": " + text
	}
	return ""
}
