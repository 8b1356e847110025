package dsl

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// This file makes of constants the values that the JSON stream has.

// value returns a constant as a parameter's value in JSON. It is false when it is none, which is reported.
func (l *lowering) value(t term, param *Param) (Value, bool) {
	switch {
	case t.class == classWrong:
		return Value{}, false
	case t.class == classObject && param.Kind == Any && !param.List:
		l.against(t.own(), "put it into a list: [{…}]", "%q cannot be an object", param.ScriptName())
		return Value{}, false
	case t.class == classNone:
	case param.List && t.class != classList:
		l.against(t.own(), l.asList(t.own(), *param), "%q wants a list, and this is %s", param.ScriptName(), t.describe())
		return Value{}, false
	case t.class == classList:
		if !param.List && param.Kind != Any {
			l.against(t.own(), param.hint(), "%q wants %s, and this is a list", param.ScriptName(), param.wants())
			return Value{}, false
		}
		key := listKey{t.list, param}
		if same, ok := l.lists[key]; ok {
			same.Span = t.Span
			return same, true
		}
		v, ok := l.element(t, param)
		if ok && len(v.Items) > 0 {
			if l.lists == nil {
				l.lists = map[listKey]Value{}
			}
			l.lists[key] = v
		}
		return v, ok
	}
	return l.element(t, param)
}

// listKey is a list as the value of a parameter.
type listKey struct {
	list  *[]term
	param *Param
}

// element returns a constant as a value for a parameter, or as an element of one.
func (l *lowering) element(t term, param *Param) (Value, bool) {
	v, ok := l.plain(t, param)
	if ok && t.set != nil && param.Valid != nil && v.Shape != List && v.Shape != Null { // the checker would say it of the script
		if wrong := param.Valid(v); wrong != "" {
			l.against(t, param.rule(), "%q %s", param.ScriptName(), hushed(wrong, v))
			return v, false
		}
	}
	return v, ok
}

// plain returns it without asking what the action says of it.
func (l *lowering) plain(t term, param *Param) (Value, bool) {
	v := Value{Span: t.Span, Secret: t.secret}
	if !l.fits(t, param) {
		return v, false
	}
	switch t.class {
	case classNone:
		v.Shape, v.Text = Null, "null"
	case classTruth:
		v.Shape, v.Text = Bool, fmt.Sprint(t.truth)
	case classText:
		v.Shape, v.Text, v.JSON = String, t.text, quoted(t.text)
		return v, true
	case classNumber:
		digits, ok := l.digits(t, param)
		if !ok {
			return v, false
		}
		v.Shape, v.Text = Number, digits
	case classRange:
		l.against(t.own(), param.hint(), "%q wants one value, not a range", param.ScriptName())
		return v, false
	case classList:
		return l.elements(t, param)
	case classObject:
		v.Shape, v.Fields = Object, make([]Field, len(t.fields))
		v.JSON = []byte{'{'}
		for i, field := range t.fields {
			value, ok := l.element(field.term, &Param{Name: field.name, Kind: Any})
			if !ok {
				return v, false
			}
			v.Fields[i] = Field{Key: field.name, KeySpan: field.span, Value: value}
			if i > 0 {
				v.JSON = append(v.JSON, ',')
			}
			v.JSON = append(append(append(v.JSON, quoted(field.name)...), ':'), value.JSON...)
		}
		v.JSON = append(v.JSON, '}')
		return v, true
	default: // classAnything is no constant
		return v, false
	}
	v.JSON = []byte(v.Text)
	return v, true
}

// elements returns a list for a parameter. Each element that is wrong is reported.
func (l *lowering) elements(t term, param *Param) (Value, bool) {
	v := Value{Span: t.Span, Secret: t.secret, Shape: List, Items: make([]Value, len(*t.list))}
	_, fixed := param.Kind.shape()
	size, ok := 2, true
	for i, item := range *t.list {
		if fixed && (item.class == classNone || item.class == classList) {
			l.against(item, "", "%s must be %s, and this is %s", param.element(), param.wantsOne(), item.describe())
			ok = false
			continue
		}
		one, fits := l.element(item, param)
		v.Items[i], ok = one, ok && fits
		size += len(one.JSON) + 1
	}
	if !ok {
		return v, false
	}
	v.JSON = append(make([]byte, 0, size), '[')
	for i, item := range v.Items {
		if i > 0 {
			v.JSON = append(v.JSON, ',')
		}
		v.JSON = append(v.JSON, item.JSON...)
	}
	v.JSON = append(v.JSON, ']')
	return v, true
}

// fits reports a constant of another kind than the parameter, or each element of it, has.
func (l *lowering) fits(t term, param *Param) bool {
	shape, fixed := param.Kind.shape()
	switch {
	case t.class == classWrong:
		return false
	case t.class == classText && param.Kind == EnvName && t.secret:
		l.against(t, "write the variable's name alone, in quotes", "%q is the name of a variable, and this is its value", param.ScriptName())
		return false
	case !fixed, t.class == classList, t.class == classRange, t.class == classNone:
		return true
	case t.class == classNumber && shape == Number, t.class == classText && shape == String, t.class == classTruth && shape == Bool,
		t.class == classObject && shape == Object:
		return true
	}
	one := *param
	one.List = false
	hint := one.hint()
	if right := one.unquoted(t.text); t.class == classText && !t.secret && right != "" {
		hint = "write " + right
	}
	l.against(t.own(), hint, "%s wants %s, and this is %s", param.element(), one.wants(), t.describe())
	return false
}

// asWritten is a value as it is written, where that is short enough for a hint; else "".
func (l *lowering) asWritten(t term) string {
	source, span := l.source, t.Span
	if t.set != nil {
		source, span = t.set.source, t.set.Span
	}
	text := string(source.Text[span.Start:span.End])
	if len(text) > maxShown || strings.Contains(text, "\n") {
		return ""
	}
	return text
}

// maxShown is how long a part of a script may be, in bytes, that a hint shows again.
const maxShown = 60

// asList says how a value is written as the list that a parameter wants.
func (l *lowering) asList(t term, param Param) string {
	param.List = false
	shape, fixed := param.Kind.shape()
	unit, _ := param.unit()
	fits := !fixed || t.class == classText && shape == String || t.class == classNumber && shape == Number && t.unit == unit
	text := l.asWritten(t)
	switch {
	case fits && text != "":
		return "write [" + text + "]"
	case fits || shape == Object:
		return "write it in [ ]"
	default:
		return "write [" + param.example() + "]"
	}
}

// unquoted returns what to write for a text that holds a value of the parameter; "" for any other text.
func (p Param) unquoted(text string) string {
	shape, fixed := p.Kind.shape()
	unit, _ := p.unit()
	if !fixed || shape != Number || len(text) > maxShown {
		return ""
	}
	e, found := ParseValue(NewSource("", []byte(text)))
	if len(found) > 0 || e.Op != OpNumber {
		return ""
	}
	of, _, _ := e.Unit.base()
	switch {
	case of == unit && (e.Unit != UnitPercent || p.Kind == Ratio):
		return text
	case e.Unit == NoUnit && unit == UnitNanomina:
		return withUnit(e.Text, UnitMina)
	case e.Unit == NoUnit:
		return withUnit(e.Text, p.written())
	default:
		return ""
	}
}

// element names a parameter, or an element of it where it is a list.
func (p Param) element() string {
	if p.List {
		return fmt.Sprintf("an element of %q", p.ScriptName())
	}
	return fmt.Sprintf("%q", p.ScriptName())
}

// digits returns a constant number as JSON has it: in the parameter's unit there. Where that is the unit in which the script writes it, its
// text is kept.
func (l *lowering) digits(t term, param *Param) (string, bool) {
	if !l.unitFits(t, param) {
		return "", false
	}
	_, each := param.unit()
	if n, ok := small(t.number, each); ok && n >= 0 && n <= math.MaxInt32 { // most numbers are like this
		if t.keepsDigits(param) {
			return plainDigits(t.digits), true
		}
		return strconv.FormatInt(n, 10), true
	}
	x := t.number
	if each != 1 {
		x = new(big.Rat).Mul(x, big.NewRat(1, each))
	}
	if !l.inBounds(t, x, param) {
		return "", false
	}
	if t.keepsDigits(param) {
		return plainDigits(t.digits), true
	}
	return decimalDigits(x), true
}

// keepsDigits reports whether a number is written with the unit that it has in JSON.
func (t term) keepsDigits(param *Param) bool {
	unit := param.written()
	return t.digits != "" && (t.as == unit || unit == UnitSlot || t.as == UnitPerSec)
}

// small returns a number divided by each, where that is a whole number that an int64 holds.
func small(x *big.Rat, each int64) (int64, bool) {
	if !x.IsInt() || !x.Num().IsInt64() {
		return 0, false
	}
	n := x.Num().Int64()
	return n / each, n%each == 0
}

// unitFits reports a constant number, or range, of another unit than the parameter has.
func (l *lowering) unitFits(t term, param *Param) bool {
	_, fixed := param.Kind.shape()
	unit, _ := param.unit()
	if fixed && t.unit == unit {
		return true
	}
	one := *param
	one.List = false
	hint := one.hint()
	switch {
	case !fixed && t.unit != NoUnit:
		if hint = ""; t.digits != "" {
			hint = "write " + t.digits
		}
		l.against(t.own(), hint, "%s takes no units, and %s has one", param.element(), t.shown())
		return false
	case t.unit == NoUnit && (unit == NoUnit || unit == UnitSlot):
		return true
	case t.unit == NoUnit && t.class == classRange:
		if low, high := t.ends(); low.digits != "" && high.digits != "" {
			as := param.written()
			if unit == UnitNanomina {
				as = UnitMina
			}
			hint = "write " + low.digits + ".." + withUnit(high.digits, as)
		}
		l.against(t.own(), hint, "%s is %s, and this range has no unit", param.element(), ofUnit(unit))
		return false
	case t.unit == NoUnit:
		if t.digits != "" {
			hint = "write " + withUnit(t.digits, param.written())
			if unit == UnitNanomina {
				hint = fmt.Sprintf("write %s mina or %s nanomina", t.digits, t.digits)
			}
		}
		l.against(t.own(), hint, "%s needs a unit", param.element())
		return false
	case param.Kind == Ratio:
		hint = "write a share, such as 5%"
	case unit == NoUnit && t.digits != "":
		hint = "write " + t.digits
	}
	if t.class == classRange {
		l.against(t.own(), hint, "%s wants %s, and this is %s", param.element(), param.wantsOne(), ofUnit(t.unit))
		return false
	}
	l.against(t.own(), hint, "%s wants %s, and %s is %s", param.element(), param.wantsOne(), t.shown(), ofUnit(t.unit))
	return false
}

// inBounds reports a constant number that JSON cannot have for the parameter. What it is there is x.
func (l *lowering) inBounds(t term, x *big.Rat, param *Param) bool {
	as := param.written()
	whole := param.Kind == Int || param.Kind == Nanomina
	if whole && !x.IsInt() {
		low := new(big.Int).Div(x.Num(), x.Denom())
		high := new(big.Int).Add(low, big.NewInt(1))
		hint := "write " + withUnit(low.String(), as) + " or " + withUnit(high.String(), as)
		l.against(t, hint, "%s must be a whole number%s, and this is %s", param.element(), param.unitWords(), t.shown())
		return false
	}
	if param.Kind != Int && param.Kind != Any && x.Sign() < 0 {
		l.against(t, "", "%s cannot be negative, and this is %s", param.element(), t.shown())
		return false
	}
	if !whole {
		return true
	}
	least, most := big.NewInt(math.MinInt32), big.NewInt(math.MaxInt32) // in JSON
	if param.Kind == Nanomina {
		most.SetUint64(math.MaxUint64)
	}
	shown := func(bound *big.Int) string {
		if as == UnitNanomina {
			return withUnit(decimalDigits(UnitMina.in(new(big.Rat).SetInt(bound))), UnitMina)
		}
		return withUnit(bound.String(), as)
	}
	switch {
	case x.Cmp(new(big.Rat).SetInt(least)) < 0:
		l.against(t, "", "%s is at least %s, and this is %s", param.element(), shown(least), t.shown())
		return false
	case x.Cmp(new(big.Rat).SetInt(most)) > 0:
		l.against(t, "", "%s is at most %s, and this is %s", param.element(), shown(most), t.shown())
		return false
	}
	return true
}

// unitWords says what a parameter's number counts: of minutes.
func (p Param) unitWords() string {
	if p.Unit == "" {
		return ""
	}
	return " of " + p.Unit
}

// wantsOne says what one value, or element, of a parameter is.
func (p Param) wantsOne() string {
	p.List = false
	return p.wants()
}

// written is the unit that a parameter's number in JSON is in, as the script language writes it.
func (p Param) written() Unit {
	switch unit, each := p.unit(); each {
	case 60:
		return UnitMinute
	default:
		return unit
	}
}

// wants says what a parameter wants, in the words of the script language.
func (p Param) wants() string {
	if p.List {
		return listOf(p.Kind)
	}
	unit, _ := p.unit()
	shape, fixed := p.Kind.shape()
	switch {
	case !fixed:
		return "a value"
	case shape == Number && unit == UnitNanomina:
		return "an amount"
	case shape == Number && unit != NoUnit:
		return ofUnit(unit)
	case p.Kind == Int:
		return "a whole number"
	case shape == Number:
		return "a share"
	case shape == Bool:
		return "true or false"
	default:
		return "a " + string(p.Kind)
	}
}

// example is a value that a parameter may have, as a script writes it.
func (p Param) example() string {
	unit, each := p.unit()
	shape, fixed := p.Kind.shape()
	switch {
	case p.List && fixed && shape != Object:
		p.List = false
		return "[" + p.example() + "]"
	case p.List:
		return "[…]"
	case len(p.Words) > 0:
		return p.Words[0]
	case !fixed:
		return "5"
	case unit == UnitNanomina && p.End != NoEnd:
		return "0.1..0.2 mina"
	case unit == UnitNanomina:
		return "0.1 mina"
	case unit == UnitTPS:
		return "0.5 tps"
	case unit == UnitSlot:
		return "120 slots"
	case unit == UnitSecond && each == 60:
		return "30m"
	case unit == UnitSecond:
		return "30s"
	case p.Kind == Ratio:
		return "30%"
	case shape == Number:
		return "10"
	case shape == Bool:
		return "true"
	case shape == String:
		return `"` + p.Kind.sample() + `"`
	default:
		return "…"
	}
}

// sample is a text of the kind.
func (k Kind) sample() string {
	switch k {
	case PublicKey:
		return "B62q…"
	case PrivateKey:
		return "EK…"
	case Address, Server:
		return "10.0.0.1:3086"
	case Path:
		return "./keys"
	case EnvName:
		return "PASSWORD"
	default:
		return "text"
	}
}

// hint says what to write for a parameter.
func (p Param) hint() string {
	if shape, fixed := p.Kind.shape(); fixed && shape == Object {
		return "it is an output of a step"
	}
	return "write " + p.example()
}

// rule says what a value is like that an action does not refuse; "" where the refusal says it.
func (p Param) rule() string {
	if p.Kind == PublicKey {
		return "a public key begins with B62q"
	}
	return ""
}
