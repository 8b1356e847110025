package dsl

import (
	"fmt"
	"math/big"
)

// This file makes of constants the values that the JSON stream has.

// value returns a constant as a parameter's value in JSON. It is false when it is none, which is reported.
func (l *lowering) value(t term, param *Param) (Value, bool) {
	switch {
	case t.class == classWrong:
		return Value{}, false
	case t.class == classObject:
		l.report(t.Span, "objects stand in lists", "%q cannot be an object", param.ScriptName())
		return Value{}, false
	case t.class == classNone:
	case param.List && t.class != classList:
		l.report(t.Span, "write it in [ ]", "%q wants a list, and this is %s", param.ScriptName(), t.describe())
		return Value{}, false
	case t.class == classList:
		if !param.List && param.Kind != Any {
			l.report(t.Span, "write "+param.ScriptName()+": "+param.example(), "%q wants %s, and this is a list", param.ScriptName(), param.wants())
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
		hint := "write " + param.ScriptName() + ": " + param.example()
		l.report(t.Span, hint, "%q wants one value, not a range", param.ScriptName())
		return v, false
	case classList:
		v.Shape, v.Items = List, make([]Value, len(*t.list))
		size := 2
		for i, item := range *t.list {
			var ok bool
			if v.Items[i], ok = l.element(item, param); !ok {
				return v, false
			}
			size += len(v.Items[i].JSON) + 1
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
	}
	v.JSON = []byte(v.Text)
	return v, true
}

// fits reports a constant of another kind than the parameter, or each element of it, has.
func (l *lowering) fits(t term, param *Param) bool {
	shape, fixed := param.Kind.shape()
	name := param.ScriptName()
	switch {
	case t.class == classWrong:
		return false
	case t.class == classText && param.Kind == EnvName && t.secret:
		l.report(t.Span, "write the variable's name alone, in quotes", "%q is the name of a variable, and this is its value", name)
		return false
	case !fixed, t.class == classList, t.class == classRange, t.class == classNone:
		return true
	case t.class == classNumber && shape == Number, t.class == classText && shape == String, t.class == classTruth && shape == Bool,
		t.class == classObject && shape == Object:
		return true
	}
	hint := "write " + name + ": " + param.example()
	if shape == Object {
		hint = "it is an output of another step"
	}
	l.report(t.Span, hint, "%q wants %s, and this is %s", name, param.wants1(), t.describe())
	return false
}

// digits returns a constant number as JSON has it: in the parameter's unit there. Where that is the unit in which the script writes it, its
// text is kept.
func (l *lowering) digits(t term, param *Param) (string, bool) {
	_, fixed := param.Kind.shape()
	unit, each := param.unit()
	name := param.ScriptName()
	hint := "write " + name + ": " + param.example()
	switch {
	case !fixed && t.unit != NoUnit:
		l.report(t.Span, "write it without a unit", "%q wants a value of no kind in particular, and %s is %s", name, t.shown(), inWords(t.unit))
		return "", false
	case t.unit == unit, unit == UnitSlot && t.unit == NoUnit:
	case t.unit == NoUnit:
		if t.digits != "" {
			hint = "write " + withUnit(t.digits, param.written())
			if unit == UnitNanomina {
				hint = fmt.Sprintf("write %s mina, or %s nanomina", t.digits, t.digits)
			}
		}
		l.report(t.Span, hint, "%q is %s, and %s has no unit", name, inWords(unit), t.shown())
		return "", false
	case unit == NoUnit && t.digits != "" && t.as != UnitPercent:
		l.report(t.Span, "write "+t.digits, "%q wants %s, and %s is %s", name, param.wants1(), t.shown(), inWords(t.unit))
		return "", false
	default:
		l.report(t.Span, hint, "%q wants %s, and %s is %s", name, param.wants1(), t.shown(), inWords(t.unit))
		return "", false
	}
	x := t.number
	if each != 1 {
		x = new(big.Rat).Mul(x, big.NewRat(1, each))
	}
	if !x.IsInt() {
		switch {
		case param.Kind == Int && each == 60:
			low := new(big.Rat).SetInt(new(big.Int).Quo(x.Num(), x.Denom()))
			high := new(big.Rat).Add(low, big.NewRat(1, 1))
			l.report(t.Span, fmt.Sprintf("write %sm or %sm", decimalDigits(low), decimalDigits(high)), "%q is in whole minutes, and this is %s", name, t.shown())
			return "", false
		case param.Kind == Int && unit == UnitSecond:
			l.report(t.Span, hint, "%q is in whole seconds, and this is %s", name, t.shown())
			return "", false
		case param.Kind == Nanomina:
			l.report(t.Span, "0.000000001 mina is the least", "%q is in whole nanomina, and this is %s", name, t.shown())
			return "", false
		}
	}
	if t.digits != "" && (t.as == param.written() || unit == UnitSlot || t.as == UnitPerSec) {
		return plainDigits(t.digits), true
	}
	return decimalDigits(x), true
}

// wants1 says what one value, or element, of a parameter is.
func (p Param) wants1() string {
	p.List = false
	return p.wants()
}
