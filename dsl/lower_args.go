package dsl

import (
	"cmp"
	"slices"
	"strings"
)

// This file makes of an argument's value one of a parameter: a constant in JSON, a reference, or a formula.

// notKnown is an argument whose value is not known, since something is wrong with it that was said.
func notKnown(name string, span Span, value *Expr) Arg {
	place := span
	if value != nil {
		place = value.Span
	}
	return Arg{Name: name, NameSpan: span, Value: Value{Span: place, Shape: Object}, Formula: unknownFormula(place)}
}

// unknownFormula stands for a value that is not known, since something is wrong with it.
func unknownFormula(place Span) *Formula { return &Formula{Span: place, Op: opConstant} }

// broken reports whether something is wrong with the argument's value, which was said.
func (a Arg) broken() bool {
	return a.Formula != nil && a.Formula.Op == opConstant && a.Formula.param == nil
}

// argument lowers an argument for a parameter, or for both ends of a range.
func (l *lowering) argument(a *callable, t target, step *Step, name Span, value *Expr) {
	if value == nil {
		return
	}
	if len(l.rounds) > 0 {
		if same, ok := l.cached[value]; ok && l.spend(value.Span, same.elements) {
			step.Args = append(step.Args, same.args...)
			return
		}
	}
	from := len(step.Args)
	before := len(l.found)
	varies, elements := l.lowered(a, t, step, name, value)
	if len(l.rounds) > 0 && !varies && before == len(l.found) && !slices.ContainsFunc(step.Args[from:], func(a Arg) bool { return !a.Literal() }) {
		l.cached[value] = kept{slices.Clone(step.Args[from:]), elements}
	}
}

// lowered does so, and says whether the value depends on the round, and how many elements it has.
func (l *lowering) lowered(a *callable, t target, step *Step, name Span, value *Expr) (varies bool, elements int) {
	param := &a.Params[t[0]]
	if value.Op == OpName && len(param.Words) > 0 && (l.names[value.Text] == nil || slices.Contains(param.Words, value.Text)) {
		l.word(param, step, name, term{Span: value.Span, text: value.Text})
		return false, 0
	}
	if value.Op == OpName {
		l.wanted = param
	}
	v := l.eval(value)
	l.wanted = nil
	if v.class == classText && len(param.Words) > 0 && !v.live && !v.hidden {
		l.word(param, step, name, v)
		return v.varies, 0
	}
	if v.class == classList && !v.live {
		elements = len(*v.list)
		if !l.spend(value.Span, elements) {
			return false, 0
		}
	}
	if v.class == classNone && !v.live {
		if param.Nullable || param.Required {
			v := Value{Span: v.Span, Shape: Null, Text: "null", JSON: []byte("null")}
			for _, p := range t {
				step.Args = append(step.Args, Arg{Name: a.Params[p].Name, NameSpan: name, Value: v})
			}
		}
		return v.varies, 0
	}
	if v.class == classRange && len(t) == 2 {
		if !l.unitFits(v, param) {
			for _, p := range t {
				step.Args = append(step.Args, notKnown(a.Params[p].Name, name, value))
			}
			return false, 0
		}
		low, high := v.ends()
		if value.Op != OpRange { // it has a name, and its ends are written elsewhere
			low.Span, high.Span = v.Span, v.Span
		}
		step.Args = append(step.Args, l.arg(low, &a.Params[t[0]], name), l.arg(high, &a.Params[t[1]], name))
		return v.varies, 0
	}
	for _, p := range t {
		if v.class == classWrong {
			step.Args = append(step.Args, notKnown(a.Params[p].Name, name, value))
			continue
		}
		arg := l.arg(v, &a.Params[p], name)
		step.Args = append(step.Args, arg)
		if arg.broken() {
			v.class = classWrong
		}
	}
	return v.varies, elements
}

// word lowers a value that is one of a few words. The one that is the default is the same as nothing.
func (l *lowering) word(param *Param, step *Step, name Span, word term) {
	arg := Arg{Name: param.Name, NameSpan: name}
	switch {
	case !slices.Contains(param.Words, word.text):
		shown := word.text
		if word.secret {
			shown = masked
		}
		all := strings.Join(param.Words, " or ")
		l.against(word, cmp.Or(Suggest(word.text, param.Words), "write "+all), "%q is %s, not %s", param.ScriptName(), all, shown)
		arg.Value, arg.Formula = Value{Span: word.Span, Shape: Object}, unknownFormula(word.Span)
	case word.text == param.Default:
		return
	default:
		arg.Value = Value{Span: word.Span, Shape: String, Text: word.text, JSON: quoted(word.text), Secret: word.secret}
	}
	step.Args = append(step.Args, arg)
}

// arg makes the argument for one parameter.
func (l *lowering) arg(v term, param *Param, name Span) Arg {
	arg := Arg{Name: param.Name, NameSpan: name, Value: Value{Span: v.Span, Shape: Object}}
	switch {
	case v.class == classWrong:
		arg.Formula = unknownFormula(v.Span)
	case v.ref != nil:
		arg.Ref = v.ref
		if v.orElse != nil {
			arg.Ref = l.withElse(v, param)
		}
		if arg.Ref == nil || !l.numberFits(v, param) {
			arg.Ref, arg.Formula = nil, unknownFormula(v.Span)
		}
	case v.live:
		arg.Formula = l.formulaFor(v, param)
	case v.hidden:
		if _, ok := l.value(v, param); !ok {
			arg.Formula = unknownFormula(v.Span)
			break
		}
		arg.Formula = &Formula{Span: v.Span, Op: opConstant, Value: Constant{Secret: true}, Number: l.current, param: param}
	case l.inSlots(v, param): // only while the script runs it is known how long they last
		arg.Formula = &Formula{Span: v.Span, Op: opConstant, Value: v.constant(), Number: l.current, param: param}
	default:
		value, ok := l.value(v, param)
		if !ok {
			arg.Formula = unknownFormula(v.Span)
			break
		}
		arg.Value = value
	}
	return arg
}

// inSlots reports whether a number of slots stands for a time.
func (l *lowering) inSlots(v term, param *Param) bool {
	unit, _ := param.unit()
	return v.class == classNumber && v.unit == UnitSlot && unit == UnitSecond && !param.List
}

// withElse returns the reference of an output with the value for its absence; nil when something is wrong with that.
func (l *lowering) withElse(v term, param *Param) *Ref {
	ref := *v.ref
	value, ok := l.value(*v.orElse, param)
	if !ok {
		return nil
	}
	ref.OnEmpty = &value
	return &ref
}

// formulaFor returns the formula for a parameter, and reports one that is not for it.
func (l *lowering) formulaFor(v term, param *Param) *Formula {
	bad := unknownFormula(v.Span)
	f := *v.formula
	f.param = param
	if v.class == classAnything {
		return &f
	}
	if v.class == classNumber {
		if !l.numberFits(v, param) {
			return bad
		}
		return &f
	}
	wanted, fixed := param.Kind.shape()
	ok := (v.class == classList) == param.List || param.Kind == Any && !param.List
	switch v.class {
	case classTruth:
		ok = ok && (!fixed || wanted == Bool)
	default:
		ok = ok && v.kind.fits(param.Kind)
	}
	if !ok {
		l.report(v.Span, "", "%q wants %s, and this is %s", param.ScriptName(), param.wants(), v.describe())
		return bad
	}
	if v.mine && param.Kind != PrivateKey && param.Kind != Any {
		l.against(v, "", "%q cannot be secret, and this is", param.ScriptName())
		return bad
	}
	return &f
}

// numberFits reports a number with a unit that is known only while the script runs where the parameter wants another.
func (l *lowering) numberFits(v term, param *Param) bool {
	if v.class != classNumber {
		return true // the checker compares kinds
	}
	shape, fixed := param.Kind.shape()
	if fixed && (shape != Number || param.List) {
		if v.ref != nil {
			return true // the checker says so
		}
		l.report(v.Span, "", "%q wants %s, and this is %s", param.ScriptName(), param.wants(), v.describe())
		return false
	}
	unit, _ := param.unit()
	switch {
	case !fixed || v.unit == unit || v.free:
		return true
	case unit == UnitSecond && v.unit == UnitSlot:
		return true
	case unit == UnitSlot && v.unit == NoUnit:
		return true
	}
	l.report(v.Span, "", "%q wants %s, and this is %s", param.ScriptName(), param.wants(), v.describe())
	return false
}
