package dsl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// This file works out what a formula is while the script runs. Every number is known between two bounds, and every truth is pass, fail
// or inconclusive, so that a node that did not answer is neither a zero nor a "no" (script-language, section 2a). [Formula.Judge] makes a
// verdict of it, [Formula.Argument] wants the exact value.

// MissingOutputError says that a formula asks for an output that never came to be, without a ?? behind it.
type MissingOutputError struct {
	Ref *Ref

	held Held // who was asked
}

// Error names the output.
func (e *MissingOutputError) Error() string {
	return fmt.Sprintf("the output %s does not exist (?? behind it gives a value for that)", e.Ref.describe())
}

// describe names the output for a message.
func (r *Ref) describe() string {
	text := fmt.Sprintf("%s of step %d", r.Name, r.Step)
	if r.StepID != "" {
		text = fmt.Sprintf("%s of step %s", r.Name, r.StepID)
	}
	if r.File != "" {
		text += " in " + r.File
	}
	return text
}

// known is what is known of an expression's value.
type known struct {
	kind knownKind

	number    interval // aNumber
	unit      Unit     // of it: seconds, slots, tps, nanomina or none
	constant  bool     // it stands in the script
	undefined bool     // there may be no such number (1/0), so nothing is known of what is worked out of it, not even of 0 times it

	truth   Verdict  // aTruth
	reasons []reason // for it

	held Held // plain

	window  string   // what was measured, and over what
	missing []string // why it is not known better
	secret  bool
}

type knownKind uint8

const (
	plain knownKind = iota // JSON
	aNumber
	aTruth
)

// evaluation works out formulas with the facts of one moment.
type evaluation struct{ facts Facts }

func (e evaluation) value(f *Formula) (known, error) {
	switch f.Op {
	case opConstant:
		return ofConstant(f.Value)
	case OpName:
		return e.output(f.Ref)
	case OpMember:
		return e.metric(f)
	case OpElse:
		return e.otherwise(f)
	case OpCall:
		return e.call(f)
	case OpMinus, OpNot:
		return e.unary(f)
	case OpAdd, OpSub, OpMul, OpDiv, OpLess, OpAtMost, OpMore, OpLeast, OpEqual, OpOther, OpAnd, OpOr:
		return e.binary(f)
	default:
		return known{}, fmt.Errorf("an expression of the kind %q cannot be worked out", f.Op)
	}
}

func ofConstant(c Constant) (known, error) {
	switch {
	case c.Upper != nil:
		return known{}, errors.New("a range stands where one number is wanted")
	case c.Number != nil:
		number, err := exactly(c.Number).sized()
		return known{kind: aNumber, number: number, unit: c.Unit, constant: true, secret: c.Secret}, err
	}
	held, err := checkHeld(Held{One: c.JSON})
	return known{held: held, constant: true, secret: c.Secret}, err
}

func (e evaluation) output(ref *Ref) (known, error) {
	held, ok := e.facts.Output(ref)
	if !ok {
		return known{}, &MissingOutputError{Ref: ref, held: held}
	}
	held, err := checkHeld(held)
	if err != nil {
		return known{}, fmt.Errorf("the output %s: %w", ref.describe(), err)
	}
	return known{held: held}, nil
}

// checkHeld checks that what is held is JSON, and makes a list of one value that is a list.
func checkHeld(held Held) (Held, error) {
	if held.List == nil {
		if !json.Valid(held.One) {
			return Held{}, errors.New("it is no JSON")
		}
		one := bytes.TrimSpace(held.One)
		if one[0] != '[' {
			held.One = one
			return held, nil
		}
		held.One, held.List = nil, []json.RawMessage{}
		if err := json.Unmarshal(one, &held.List); err != nil {
			return Held{}, errors.New("it is no JSON") // what the decoder says may quote a secret
		}
		return held, nil
	}
	for i, element := range held.List {
		if !json.Valid(element) {
			return Held{}, fmt.Errorf("its element %d is no JSON", i)
		}
	}
	return held, nil
}

func (e evaluation) metric(f *Formula) (known, error) {
	name := f.Text + f.Scope.String()
	measured := e.facts.Metric(f.Text, f.Scope)
	number, err := interval{measured.Low, measured.High}.sized()
	if err != nil {
		return known{}, fmt.Errorf("the metric %s: %w", name, err)
	}
	v := known{kind: aNumber, number: number, unit: f.Value.Unit, window: measured.Window}
	switch _, exact := number.exact(); {
	case measured.Missing != "":
		v.missing = []string{measured.Missing}
	case !exact:
		v.missing = []string{name + " is not known exactly"}
	}
	return v, nil
}

// otherwise is x ?? y. Nodes that did not answer where x was asked for are not forgotten.
func (e evaluation) otherwise(f *Formula) (known, error) {
	v, err := e.value(f.Args[0])
	var missing *MissingOutputError
	if !errors.As(err, &missing) {
		return v, err
	}
	v, err = e.value(f.Args[1])
	if v.kind == plain && v.held.List != nil && v.held.Silent == 0 {
		v.held.Asked, v.held.Silent = missing.held.Asked, missing.held.Silent
	}
	return v, err
}

func (e evaluation) call(f *Formula) (known, error) {
	if f.Text == "now" {
		slot, ok := e.facts.Slot()
		if !ok {
			return known{
				kind: aNumber, unit: UnitSlot,
				missing: []string{"the current slot is not known: the configuration needs genesisTimestamp and slotDurationMs"},
			}, nil
		}
		return known{kind: aNumber, unit: UnitSlot, number: exactly(new(big.Rat).SetInt64(slot))}, nil
	}
	args := make([]known, len(f.Args))
	for i, arg := range f.Args {
		var err error
		if args[i], err = e.value(arg); err != nil {
			return known{}, err
		}
	}
	switch {
	case f.Text == "count" && len(args) == 1:
		return count(args[0])
	case (f.Text == "min" || f.Text == "max") && len(args) > 0:
		return e.extreme(f.Text, args)
	case f.Text == "coverage" && (len(args) == 1 || len(args) == 3):
		return e.coverage(args)
	default:
		return known{}, fmt.Errorf("there is no function %s of %d arguments", f.Text, len(args))
	}
}

// count returns how many elements a list has. Each node that did not answer may give another.
func count(list known) (known, error) {
	elements, err := list.elements()
	if err != nil {
		return known{}, fmt.Errorf("count: %w", err)
	}
	n, silent := int64(len(elements)), int64(list.held.Silent)
	v := known{kind: aNumber, number: interval{big.NewRat(n, 1), big.NewRat(n+silent, 1)}, secret: list.secret}
	if silent > 0 {
		v.missing = []string{fmt.Sprintf("%s; at most %d with one of each", list.held.unanswered(), n+silent)}
	}
	return v, nil
}

// unanswered says how many nodes did not answer.
func (h Held) unanswered() string {
	switch {
	case h.Asked >= h.Silent && h.Asked > 0:
		return fmt.Sprintf("%d of %d nodes did not answer", h.Silent, h.Asked)
	case h.Silent == 1:
		return "1 node did not answer"
	default:
		return fmt.Sprintf("%d nodes did not answer", h.Silent)
	}
}

// extreme is min or max.
func (e evaluation) extreme(name string, args []known) (known, error) {
	best, err := args[0].asNumber()
	if err != nil {
		return known{}, fmt.Errorf("%s: %w", name, err)
	}
	for _, arg := range args[1:] {
		x, y, err := e.numbers(best, arg)
		if err != nil {
			return known{}, fmt.Errorf("%s: %w", name, err)
		}
		choose := x.number.least
		if name == "max" {
			choose = x.number.greatest
		}
		best = numberOf(choose(y.number), x.unit, x, y)
	}
	return best, nil
}

// numberOf returns a number that was worked out of others.
func numberOf(number interval, unit Unit, of ...known) known {
	v := known{kind: aNumber, number: number, unit: unit}
	for _, o := range of {
		v.window = joined(v.window, o.window)
		v.missing = append(v.missing, o.missing...)
		v.secret = v.secret || o.secret
		v.undefined = v.undefined || o.undefined
	}
	if v.undefined {
		v.number = interval{}
	}
	return v
}

func joined(texts ...string) string {
	var all []string
	for _, text := range texts {
		if text != "" && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return strings.Join(all, "; ")
}

// greatestSlot is the greatest number taken for that of a slot. The daemon counts in 32 bits; a quarter of that is thousands of years.
const greatestSlot = 1 << 30

// coverage returns the share of the slots from the lowest to the highest, or of a stated window, that somebody won.
//
// Nodes that did not answer may have won all other slots of the window. Where none is stated it is that of the slots which are known: what
// silent nodes won beyond these is not looked at.
func (e evaluation) coverage(args []known) (known, error) {
	slots, err := args[0].slots()
	if err != nil {
		return known{}, fmt.Errorf("coverage: %w", err)
	}
	held := args[0].held
	one := big.NewRat(1, 1)
	var v known
	var first, last int64
	switch {
	case len(args) == 3:
		v = numberOf(interval{new(big.Rat), one}, NoUnit, args...)
		var known bool
		if first, last, known, err = e.window(args[1], args[2]); err != nil || !known {
			return v, err
		}
		slots = slots[before(slots, first):before(slots, last+1)]
	case len(slots) == 0:
		v = numberOf(interval{}, NoUnit, args...)
		v.undefined = true
		v.missing = append(v.missing, "no slot was won, so there is no range to cover: from: and to: state one")
		if held.Silent > 0 {
			v.missing = append(v.missing, held.unanswered())
		}
		return v, nil
	default:
		v = numberOf(interval{new(big.Rat), one}, NoUnit, args...)
		first, last = slots[0], slots[len(slots)-1]
	}
	share := big.NewRat(int64(len(slots)), last-first+1)
	v.window = joined(v.window, fmt.Sprintf("%d of %d slots, %d..%d", len(slots), last-first+1, first, last))
	if held.Silent == 0 {
		v.number = exactly(share)
		return v, nil
	}
	v.number.low = share
	v.missing = append(v.missing, held.unanswered()+"; at most 1.000 if they won every other slot")
	return v, nil
}

// window returns the ends of a stated window, and whether they are known.
func (e evaluation) window(from, to known) (first, last int64, ok bool, err error) {
	first, ok, err = e.slot(from)
	if err != nil || !ok {
		return 0, 0, false, err
	}
	last, ok, err = e.slot(to)
	if err != nil || !ok {
		return 0, 0, false, err
	}
	if last < first {
		return 0, 0, false, fmt.Errorf("coverage from slot %d to slot %d: the window ends before it begins", first, last)
	}
	return first, last, true, nil
}

// slot returns the slot that a number is, and whether it is known.
func (e evaluation) slot(v known) (slot int64, ok bool, err error) {
	v, err = v.asNumber()
	if err == nil && v.unit != NoUnit {
		v, err = e.in(v, UnitSlot)
	}
	if err != nil {
		return 0, false, fmt.Errorf("coverage: the end of a window: %w", err)
	}
	x, ok := v.number.exact()
	if !ok {
		return 0, false, nil
	}
	if !x.IsInt() || x.Sign() < 0 || x.Cmp(big.NewRat(greatestSlot, 1)) > 0 {
		return 0, false, fmt.Errorf("coverage: the end of a window is %s, which is no slot (0 to %d)", v.text(nil), greatestSlot)
	}
	return x.Num().Int64(), true, nil
}

// elements returns the elements of a list.
func (v known) elements() ([]json.RawMessage, error) {
	if v.kind != plain || v.held.List == nil {
		return nil, fmt.Errorf("%s stands where a list is wanted", v.describe())
	}
	return v.held.List, nil
}

// slots returns the distinct slots of an output of slots-won, in ascending order.
func (v known) slots() ([]int64, error) {
	elements, err := v.elements()
	if err != nil {
		return nil, err
	}
	var all []int64
	for i, element := range elements {
		var won struct {
			Address *string  `json:"address"`
			Slots   *[]int64 `json:"slots"`
		}
		if err := json.Unmarshal(element, &won); err != nil || won.Address == nil || won.Slots == nil {
			return nil, fmt.Errorf(`element %d is not {"address": …, "slots": […]}, as slots-won gives it out`, i)
		}
		for _, slot := range *won.Slots {
			if slot < 0 || slot > greatestSlot {
				return nil, fmt.Errorf("element %d: %d is no slot (0 to %d)", i, slot, greatestSlot)
			}
		}
		all = append(all, *won.Slots...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// before returns how many of the ascending slots are before that one.
func before(slots []int64, slot int64) int {
	n, _ := slices.BinarySearch(slots, slot)
	return n
}

// asNumber returns the value as a number. A number that an output holds has no unit: it takes that of what it meets.
func (v known) asNumber() (known, error) {
	if v.kind == aNumber {
		return v, nil
	}
	if v.kind == plain && v.held.List == nil {
		if x, ok := Decimal(string(v.held.One)); ok {
			number, err := exactly(x).sized()
			v.kind, v.number, v.held = aNumber, number, Held{}
			return v, err
		}
	}
	return known{}, fmt.Errorf("%s stands where a number is wanted", v.describe())
}

// describe says what kind of value it is, and nothing of the value: it may be secret.
func (v known) describe() string {
	switch {
	case v.kind == aNumber:
		return "a number"
	case v.kind == aTruth:
		return "true or false"
	case v.held.List != nil:
		return "a list"
	}
	switch v.held.One[0] {
	case '"':
		return "a text"
	case '{':
		return "an object"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "none"
	default:
		return "a number"
	}
}

// numbers returns two values as numbers of one unit.
func (e evaluation) numbers(a, b known) (x, y known, err error) {
	if x, err = a.asNumber(); err != nil {
		return known{}, known{}, err
	}
	if y, err = b.asNumber(); err != nil {
		return known{}, known{}, err
	}
	switch {
	case x.unit == y.unit:
	case x.unit == NoUnit:
		x.unit = y.unit
	case y.unit == NoUnit:
		y.unit = x.unit
	default: // time and slots: the sum and the difference are times
		if x, err = e.in(x, UnitSecond); err == nil {
			y, err = e.in(y, UnitSecond)
		}
	}
	return x, y, err
}

// in returns a number of time or slots in that unit of the two.
func (e evaluation) in(v known, unit Unit) (known, error) {
	if v.unit == unit {
		return v, nil
	}
	slot := new(big.Rat).SetFrac64(int64(e.facts.SlotDuration()), int64(time.Second))
	switch {
	case v.unit == UnitSlot && unit == UnitSecond:
	case v.unit == UnitSecond && unit == UnitSlot && slot.Sign() > 0:
		slot.Inv(slot)
	case v.unit != UnitSecond || unit != UnitSlot:
		return known{}, fmt.Errorf("%s do not go together", inWords(v.unit)+" and "+inWords(unit))
	}
	if slot.Sign() <= 0 {
		return known{}, errors.New("how long a slot lasts is not known: slotDurationMs is missing from the configuration")
	}
	number, err := v.number.mul(exactly(slot)).sized()
	v.number, v.unit = number, unit
	return v, err
}

func inWords(unit Unit) string {
	switch unit {
	case NoUnit:
		return "a number without unit"
	case UnitSecond:
		return "a time"
	case UnitSlot:
		return "slots"
	case UnitTPS:
		return "a rate"
	case UnitNanomina:
		return "an amount"
	default:
		return string(unit)
	}
}

func (e evaluation) unary(f *Formula) (known, error) {
	v, err := e.value(f.Args[0])
	if err != nil {
		return known{}, err
	}
	if f.Op == OpNot {
		if v, err = v.asTruth(); err != nil {
			return known{}, err
		}
		return v.not(), nil
	}
	if v, err = v.asNumber(); err != nil {
		return known{}, err
	}
	return numberOf(v.number.neg(), v.unit, v), nil
}

func (e evaluation) binary(f *Formula) (known, error) {
	a, err := e.value(f.Args[0])
	if err != nil {
		return known{}, err
	}
	b, err := e.value(f.Args[1])
	if err != nil {
		return known{}, err
	}
	switch f.Op {
	case OpAnd, OpOr:
		return logical(f.Op, a, b)
	case OpAdd, OpSub, OpMul, OpDiv:
		return e.arithmetic(f.Op, a, b)
	default:
		return e.comparison(f.Op, a, b)
	}
}

func (e evaluation) arithmetic(op Op, a, b known) (known, error) {
	x, err := a.asNumber()
	if err != nil {
		return known{}, err
	}
	y, err := b.asNumber()
	if err != nil {
		return known{}, err
	}
	if op == OpAdd || op == OpSub || op == OpDiv && x.unit != NoUnit && y.unit != NoUnit {
		if x, y, err = e.numbers(x, y); err != nil {
			return known{}, err
		}
	}
	unit := x.unit
	var number interval
	switch op {
	case OpAdd:
		number = x.number.add(y.number)
	case OpSub:
		number = x.number.add(y.number.neg())
	case OpMul:
		number = x.number.mul(y.number)
		if unit == NoUnit {
			unit = y.unit
		} else if y.unit != NoUnit {
			return known{}, fmt.Errorf("%s times %s has no unit", inWords(x.unit), inWords(y.unit))
		}
	default: // OpDiv
		number = x.number.quo(y.number)
		if y.unit != NoUnit {
			if x.unit == NoUnit {
				return known{}, fmt.Errorf("a number without unit divided by %s has no unit", inWords(y.unit))
			}
			unit = NoUnit
		}
	}
	if number, err = number.sized(); err != nil {
		return known{}, err
	}
	v := numberOf(number, unit, x, y)
	if op == OpDiv && y.number.mayBeZero() {
		v.undefined = true
		v.missing = append(v.missing, "the divisor may be 0: it is "+y.text(nil))
	}
	return v, nil
}

// Argument returns what the formula says for the parameter that it stands for, exactly, as a value of the JSON stream: a number is in the
// unit that the parameter has there (minutes, seconds, slots, nanomina, transactions in a second; a rate or a ratio has at most 9 decimals,
// and the rest is cut off).
//
// An output that does not exist is a [*MissingOutputError]. A value that is not known exactly, or that the parameter cannot take, is an
// error too.
func (f *Formula) Argument(facts Facts) (Held, error) {
	e := evaluation{facts}
	v, err := e.value(f)
	if err == nil {
		var held Held
		if held, err = e.argument(v, f.param); err == nil {
			return held, nil
		}
	}
	if f.param != nil {
		return Held{}, fmt.Errorf("parameter %q: %w", f.param.ScriptName(), err)
	}
	return Held{}, err
}

func (e evaluation) argument(v known, param *Param) (Held, error) {
	switch v.kind {
	case plain:
		return v.held, nil
	case aTruth:
		if v.truth == Inconclusive {
			return Held{}, errors.New("it is not known whether it is true" + behindColon(v.judgement().Evidence...))
		}
		return Held{One: json.RawMessage(fmt.Sprint(v.truth == Pass))}, nil
	case aNumber:
	}
	x, exact := v.number.exact()
	if !exact {
		return Held{}, errors.New("it is not known exactly, it is " + v.text(nil) + behindColon(v.missing...))
	}
	if param == nil {
		text, err := exactText(x)
		return Held{One: json.RawMessage(text)}, err
	}
	text, err := e.numeral(v, *param)
	if err != nil {
		return Held{}, err
	}
	if wrong, hint := numeric(text, param.Kind); wrong != "" {
		return Held{}, errors.New("it " + wrong + behindColon(hint) + ": it would be " + v.text(nil))
	}
	if param.Valid != nil {
		if wrong := param.Valid(Value{Shape: Number, Text: text, JSON: json.RawMessage(text)}); wrong != "" {
			return Held{}, errors.New(wrong)
		}
	}
	return Held{One: json.RawMessage(text)}, nil
}

// numeral returns an exact number as JSON, in the parameter's unit.
func (e evaluation) numeral(v known, param Param) (string, error) {
	unit, each := param.unit()
	if v.unit != NoUnit && v.unit != unit && (unit == NoUnit || unit == UnitTPS || unit == UnitNanomina) {
		return "", fmt.Errorf("it wants %s, and %s is none", inWords(unit), v.text(nil))
	}
	in := v
	if v.unit != NoUnit {
		var err error
		if in, err = e.in(v, unit); err != nil {
			return "", err
		}
		in.number = in.number.mul(exactly(big.NewRat(1, each)))
	}
	x, _ := in.number.exact()
	if x.Sign() < 0 {
		return "", errors.New("it cannot be negative, and it would be " + v.text(nil))
	}
	switch {
	case param.Kind == Rate || param.Kind == Ratio:
		return cut(x), nil
	case param.Kind != Int && param.Kind != Nanomina:
		return exactText(x)
	case !x.IsInt():
		of := ""
		switch unit {
		case UnitSecond:
			of = " of " + param.Unit
		case UnitSlot:
			of = " of slots"
		default: // it is counted in nothing
		}
		return "", fmt.Errorf("it must be a whole number%s, and it would be %s", of, v.text(nil))
	default:
		return x.Num().String(), nil
	}
}

// unit returns the unit of the script language for a parameter's numbers, and how many of it are one in JSON.
func (p Param) unit() (unit Unit, each int64) {
	switch {
	case p.Kind == Nanomina:
		return UnitNanomina, 1
	case p.Kind == Rate:
		return UnitTPS, 1
	case p.Kind == Int && p.Unit == "minutes":
		return UnitSecond, 60
	case p.Kind == Int && p.Unit == "seconds":
		return UnitSecond, 1
	case p.Kind == Int && (p.Unit == "slots" || p.Unit == "slot"):
		return UnitSlot, 1
	default:
		return NoUnit, 1
	}
}
