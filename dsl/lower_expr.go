package dsl

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// This file says what an expression means: a constant, which is worked out at once, or something that is known only while the script
// runs, of which the kind and the unit are known before.

// term is what an expression comes to.
type term struct {
	Span
	class class

	number *big.Rat // of a constant number, in unit; of a range its lower end
	upper  *big.Rat // of a range
	unit   Unit     // seconds, slots, tps, nanomina or none
	digits string   // of a number that stands in the script: its digits as written
	as     Unit     // the unit that they are written with

	text   string
	truth  bool
	list   *[]term // of a constant list; its address tells it from others
	fields []termField

	secret bool // it comes from env()
	envy   bool // it stands in place of an env() that is not set
	hidden bool // it comes from env(), and its value is not known
	varies bool // it depends on the round of a repeat

	set *spot // where it stands, if the caller gives it

	// What follows belongs to what is known only while the script runs.

	live    bool
	kind    Kind     // of an output, or of the elements of one that is a list
	mine    bool     // it is sensitive: private keys
	ref     *Ref     // of an output
	formula *Formula // of all else
	maybe   bool     // it may not come to be, so that ?? makes sense
	orElse  *term    // a constant in place of the output that ref names
	free    bool     // a number without unit that takes the unit of what it meets
}

type termField struct {
	name string
	span Span
	term term
}

// class is what kind of value a term is.
type class uint8

const (
	classWrong    class = iota // what is wrong with it was said, and nothing more needs to be
	classNone                  // none
	classTruth                 // true or false
	classNumber                // with a unit or without
	classRange                 // two numbers of one unit
	classText                  //
	classList                  //
	classObject                //
	classAnything              // an output of which the kind is not known
)

// describe names the kind of value.
func (t term) describe() string {
	switch t.class {
	case classNone:
		return "none"
	case classTruth:
		return "true or false"
	case classNumber:
		return ofUnit(t.unit)
	case classRange:
		return "a range"
	case classText:
		return "a text"
	case classList:
		if t.live {
			return listOf(t.kind)
		}
		return "a list"
	case classObject:
		return "an object"
	default:
		return "a value"
	}
}

// ofUnit says what a number of a unit is.
func ofUnit(unit Unit) string {
	if unit == UnitSlot {
		return "a number of slots"
	}
	return inWords(unit)
}

// shown writes a constant number as the script has it, or would.
func (t term) shown() string {
	if t.digits != "" {
		return withUnit(t.digits, t.as)
	}
	if t.unit == UnitNanomina {
		mina := UnitMina.in(t.number)
		return withUnit(decimalDigits(mina), UnitMina)
	}
	return withUnit(decimalDigits(t.number), t.unit)
}

// eval works out an expression. What is wrong with it is reported, and gives a wrong term.
func (l *lowering) eval(e *Expr) term {
	if e == nil { // the parser said what is wrong
		return term{}
	}
	if len(l.rounds) > 0 && !l.spend(e.Span, 1) {
		return term{}
	}
	t := l.evaluated(e)
	t.Span = e.Span
	return t
}

func (l *lowering) evaluated(e *Expr) term {
	switch e.Op {
	case OpNumber:
		return l.numeral(e)
	case OpString:
		return l.string(e)
	case OpName:
		return l.name(e)
	case OpMember:
		return l.member(e)
	case OpCall:
		return l.function(e)
	case OpScope:
		return l.narrowed(e)
	case OpList:
		return l.list(e)
	case OpObject:
		return l.object(e)
	case OpNone:
		return term{class: classNone}
	case OpTrue, OpFalse:
		return term{class: classTruth, truth: e.Op == OpTrue}
	case OpRange:
		return l.rangeOf(e)
	case OpElse:
		return l.otherwise(e)
	case OpMinus:
		return l.minus(e)
	case OpNot, OpAnd, OpOr:
		return l.logical(e)
	case OpAdd, OpSub, OpMul, OpDiv:
		return l.arithmetic(e)
	case OpLess, OpAtMost, OpMore, OpLeast, OpEqual, OpOther:
		return l.comparison(e)
	default:
		return term{}
	}
}

// wrong reports an error, and returns the term of what is wrong.
func (l *lowering) wrong(span Span, hint, format string, args ...any) term {
	l.report(span, hint, format, args...)
	return term{Span: span}
}

func (l *lowering) numeral(e *Expr) term {
	x, err := exactNumber(e.Text, e.Unit)
	if err != nil {
		return l.wrong(e.Span, "", "%v", err)
	}
	unit, _, _ := e.Unit.base()
	return term{class: classNumber, number: x, unit: unit, digits: e.Text, as: e.Unit}
}

// maxText bounds what ${…} can make of a string, in bytes.
const maxText = 1 << 16

func (l *lowering) string(e *Expr) term {
	if e.Parts == nil {
		return term{class: classText, text: e.Text}
	}
	t := term{class: classText}
	var out strings.Builder
	for _, part := range e.Parts {
		if part.Name == nil {
			out.WriteString(part.Text)
			continue
		}
		value := l.inString(*part.Name)
		if value.class == classWrong {
			return value
		}
		out.WriteString(value.text)
		t.secret, t.hidden, t.varies = t.secret || value.secret, t.hidden || value.hidden, t.varies || value.varies
		if out.Len() > maxText {
			return l.wrong(e.Span, "", "this string comes to more than %d KiB", maxText>>10)
		}
	}
	t.text = out.String()
	if !l.spend(e.Span, len(t.text)/8) {
		return term{}
	}
	return t
}

// inString returns the text of a name inside a string.
func (l *lowering) inString(name Name) term {
	if name.Text == "experiment" {
		return l.experimentName(name.Span, "this string")
	}
	t := l.name(&Expr{Span: name.Span, Op: OpName, Text: name.Text})
	switch {
	case t.class == classWrong:
	case t.live:
		return l.wrong(name.Span, "only a let, a param, a counter and experiment have a text", "an output cannot be shown in a string")
	case t.class == classNumber:
		t.text = t.shown()
	case t.class == classTruth:
		t.text = fmt.Sprint(t.truth)
	case t.class != classText:
		return l.wrong(name.Span, "", "%s is %s, and has no place in a string", name.Text, t.describe())
	case t.hidden:
		t.text = masked
	}
	return t
}

func (l *lowering) list(e *Expr) term {
	items := make([]term, len(e.Items))
	t := term{class: classList, list: &items}
	for i, item := range e.Items {
		items[i] = l.eval(item)
		switch of := items[i]; {
		case of.class == classWrong:
			t.class = classWrong
		case of.live:
			t = l.wrong(of.Span, "an output stands for a whole parameter: nodes: all; join(…) puts lists together", "a list can hold constants only, and this is known only while the script runs")
		case of.class == classRange:
			t = l.wrong(of.Span, "", "a range has no place in a list")
		default:
			t.secret, t.hidden, t.varies = t.secret || of.secret, t.hidden || of.hidden, t.varies || of.varies
		}
	}
	return t
}

func (l *lowering) object(e *Expr) term {
	t := term{class: classObject, fields: make([]termField, 0, len(e.Arguments))}
	seen := map[string]bool{}
	for _, field := range e.Arguments {
		value := l.eval(field.Value)
		switch {
		case field.Name == nil:
			t.class = classWrong // the parser said so
			continue
		case seen[field.Name.Text]:
			t = l.wrong(field.Name.Span, "keep one of them", "%q is given twice", field.Name.Text)
		case value.class == classWrong:
			t.class = classWrong
		case value.live || value.class == classRange:
			t = l.wrong(value.Span, "", "an object can hold constants only")
		default:
			t.secret, t.hidden, t.varies = t.secret || value.secret, t.hidden || value.hidden, t.varies || value.varies
		}
		seen[field.Name.Text] = true
		t.fields = append(t.fields, termField{field.Name.Text, field.Name.Span, value})
	}
	return t
}

func (l *lowering) rangeOf(e *Expr) term {
	low, high := l.end(e.X, e.Unit), l.end(e.Y, e.Unit)
	if low.class == classWrong || high.class == classWrong {
		return term{}
	}
	switch {
	case low.unit != high.unit:
		return l.wrong(e.Span, "give both ends the same unit", "a range cannot go from %s to %s", low.describe(), high.describe())
	case low.number.Cmp(high.number) > 0:
		return l.wrong(e.Span, "swap its ends", "this range begins above its end")
	}
	return term{
		class: classRange, number: low.number, upper: high.number, unit: low.unit, varies: low.varies || high.varies,
		list: &[]term{low, high}, secret: low.secret || high.secret,
	}
}

// end works out one end of a range. The unit behind the range counts for an end that has none.
func (l *lowering) end(e *Expr, unit Unit) term {
	if e != nil && e.Op == OpNumber && e.Unit == NoUnit {
		t := l.numeral(&Expr{Span: e.Span, Text: e.Text, Unit: unit})
		t.Span = e.Span
		return t
	}
	t := l.eval(e)
	switch {
	case t.class == classWrong:
	case t.live:
		return l.wrong(t.Span, "", "the ends of a range must be constants, and this is known only while the script runs")
	case t.class != classNumber:
		return l.wrong(t.Span, "a range is written 0.1..0.2 mina", "the ends of a range must be numbers, and this is %s", t.describe())
	}
	return t
}

// ends returns the ends of a range as numbers.
func (t term) ends() (low, high term) { return (*t.list)[0], (*t.list)[1] }

func (l *lowering) minus(e *Expr) term {
	x := l.eval(e.X)
	if !l.isNumber(x, "-") {
		return term{}
	}
	if x.live {
		return term{class: classNumber, unit: x.unit, live: true, free: x.free, formula: l.formulaOf(e, x)}
	}
	x.number, x.set = new(big.Rat).Neg(x.number), nil
	switch {
	case x.digits == "":
	case strings.HasPrefix(x.digits, "-"):
		x.digits = x.digits[1:]
	default:
		x.digits = "-" + x.digits
	}
	return x
}

// isNumber reports a term that is no number.
func (l *lowering) isNumber(t term, op Op) bool {
	switch t.class {
	case classWrong:
		return false
	case classNumber:
		return true
	case classAnything:
		return true
	case classList:
		l.report(t.Span, "count(…) says how many elements it has", "%s wants numbers, and this is a list", op)
	case classRange:
		l.report(t.Span, "an end that is worked out stands in ( ): (1 * 2)..(3 * 2)", "%s wants numbers, and this is a range", op)
	default:
		l.report(t.Span, "", "%s wants numbers, and this is %s", op, t.describe())
	}
	return false
}

// together returns the unit of two numbers that are added or compared. It is false where they do not go together.
func together(x, y term) (Unit, bool) {
	clock := func(t term) bool { return t.unit == UnitSecond || t.unit == UnitSlot }
	switch {
	case x.unit == y.unit:
		return x.unit, true
	case x.unit == NoUnit && x.free:
		return y.unit, true
	case y.unit == NoUnit && y.free:
		return x.unit, true
	case clock(x) && clock(y): // how long a slot lasts is known only while the script runs
		return UnitSlot, true
	default:
		return NoUnit, false
	}
}

func (l *lowering) arithmetic(e *Expr) term {
	x, y := l.eval(e.X), l.eval(e.Y)
	if text := l.asWritten(y); x.class == classRange && y.class == classNumber && !y.live && text != "" {
		low, high := x.ends()
		return l.wrong(e.Span, fmt.Sprintf("write (%s %s %s)..(%s %s %s)", low.shown(), e.Op, text, high.shown(), e.Op, text),
			"%s wants numbers, and this begins with a range", e.Op)
	}
	okX, okY := l.isNumber(x, e.Op), l.isNumber(y, e.Op)
	if !okX || !okY {
		return term{}
	}
	x.free, y.free = x.free || x.class == classAnything, y.free || y.class == classAnything
	unit, ok := together(x, y)
	hint := ""
	switch {
	case e.Op == OpMul && y.unit == NoUnit:
		unit, ok = x.unit, true
	case e.Op == OpMul && x.unit == NoUnit:
		unit, ok = y.unit, true
	case e.Op == OpMul:
		hint, ok = "one side of * has no unit", false
	case e.Op == OpDiv && y.unit == NoUnit:
		unit, ok = x.unit, true
	case e.Op == OpDiv:
		unit, hint = NoUnit, "divide by a number without unit, or by one of the same unit"
	case x.unit == NoUnit && !x.live && x.digits != "":
		hint = "give " + x.digits + " a unit"
	case y.unit == NoUnit && !y.live && y.digits != "":
		hint = "give " + y.digits + " a unit"
	}
	if !ok {
		verb := map[Op]string{OpAdd: "added to", OpSub: "subtracted from", OpMul: "multiplied by", OpDiv: "divided by"}[e.Op]
		first, second := x, y
		if e.Op == OpAdd || e.Op == OpSub {
			first, second = y, x
		}
		return l.wrong(e.Span, hint, "%s cannot be %s %s", first.describe(), verb, second.describe())
	}
	if e.Op == OpDiv && !y.live && y.number.Sign() == 0 {
		return l.wrong(y.Span, "", "%v", errDivisionByZero)
	}
	if x.live || y.live || x.unit != y.unit && x.unit != NoUnit && y.unit != NoUnit {
		return term{
			class: classNumber, unit: unit, live: true, varies: x.varies || y.varies, formula: l.formulaOf(e, x, y),
			free: unit == NoUnit && (x.free || y.free) && e.Op != OpDiv,
		}
	}
	z, err := calculate(e.Op, x.number, y.number)
	if err != nil {
		return l.wrong(e.Span, "", "this comes to %v", err)
	}
	return term{class: classNumber, number: z, unit: unit, varies: x.varies || y.varies}
}

func (l *lowering) comparison(e *Expr) term {
	x, y := l.eval(e.X), l.eval(e.Y)
	if x.class == classWrong || y.class == classWrong {
		return term{}
	}
	numbers := func(t term) bool { return t.class == classNumber || t.class == classAnything }
	equality := e.Op == OpEqual || e.Op == OpOther
	live := x.live || y.live
	switch {
	case numbers(x) && numbers(y):
		x.free, y.free = x.free || x.class == classAnything, y.free || y.class == classAnything
		if _, ok := together(x, y); !ok {
			hint := "both sides must have the same unit"
			for _, t := range []term{x, y} {
				if t.unit == NoUnit && !t.live {
					hint = "give " + t.shown() + " a unit"
				}
			}
			return l.wrong(e.Span, hint, "%s cannot be compared with %s", x.describe(), y.describe())
		}
		live = live || x.unit != y.unit
		if !live {
			return term{class: classTruth, truth: holds(e.Op, x.number.Cmp(y.number)), varies: x.varies || y.varies}
		}
	case equality && (x.class == classNone || y.class == classNone || x.class == classAnything || y.class == classAnything):
	case equality && x.class == y.class && (x.class == classText || x.class == classTruth):
	case equality:
		kind := func(t term) string { // its unit is not what is wrong
			if t.class == classNumber && t.unit == NoUnit {
				return "a number"
			}
			return t.describe()
		}
		return l.wrong(e.Span, "numbers, texts, and true and false can be compared with their like", "%s cannot be compared with %s", kind(x), kind(y))
	default:
		if l.isNumber(x, e.Op) { // one of them is none
			l.isNumber(y, e.Op)
		}
		return term{}
	}
	if live || x.hidden || y.hidden {
		return term{class: classTruth, live: true, varies: x.varies || y.varies, formula: l.formulaOf(e, x, y)}
	}
	same := x.class == y.class && x.text == y.text && x.truth == y.truth
	return term{class: classTruth, truth: same == (e.Op == OpEqual), varies: x.varies || y.varies}
}

func (l *lowering) logical(e *Expr) term {
	sides := []term{l.eval(e.X)}
	if e.Op != OpNot {
		sides = append(sides, l.eval(e.Y))
	}
	t := term{class: classTruth}
	for _, side := range sides {
		switch {
		case side.class == classWrong || t.class == classWrong:
			t.class = classWrong
		case side.class != classTruth && side.class != classAnything:
			t = l.wrong(side.Span, l.compared(side), "%s wants true or false, and this is %s", e.Op, side.describe())
		}
		t.live, t.varies = t.live || side.live, t.varies || side.varies
	}
	switch {
	case t.class == classWrong:
		return term{}
	case t.live:
		t.formula = l.formulaOf(e, sides...)
	case e.Op == OpNot:
		t.truth = !sides[0].truth
	case e.Op == OpAnd:
		t.truth = sides[0].truth && sides[1].truth
	default:
		t.truth = sides[0].truth || sides[1].truth
	}
	return t
}

// compared makes a condition of what is none, as a hint.
func (l *lowering) compared(t term) string {
	text := l.asWritten(t)
	switch {
	case !t.live || text == "":
	case t.class == classList:
		return "write count(" + text + ") >= 1"
	case t.class == classNumber:
		return "write " + text + " >= " + withUnit("1", t.unit)
	}
	return "compare it with something"
}

// otherwise is x ?? y.
func (l *lowering) otherwise(e *Expr) term {
	if e.X != nil && e.X.Op == OpCall && e.X.Text == "env" {
		value, set := l.env(e.X, false)
		if set || value.class == classWrong {
			l.eval(e.Y)
			return value
		}
		value = l.eval(e.Y)
		value.envy = true // what the caller sets in its place is as secret as what the environment would hold
		return value
	}
	x, y := l.eval(e.X), l.eval(e.Y)
	switch {
	case x.class == classWrong || y.class == classWrong:
		return term{}
	case !x.maybe:
		return l.wrong(e.Span, "?? gives a value in place of an output that does not exist", "the left side of ?? is always there")
	case !suits(x, y):
		return l.wrong(e.Span, "both sides of ?? must be of one kind", "%s cannot stand in place of %s", y.describe(), x.describe())
	}
	if !y.live && !y.hidden && x.ref != nil && x.orElse == nil {
		x.orElse, x.maybe, x.varies = &y, false, x.varies || y.varies
		return x
	}
	t := x
	t.ref, t.orElse, t.maybe, t.varies = nil, nil, y.maybe, x.varies || y.varies
	t.mine = x.mine || y.mine
	if y.live && y.kind != x.kind {
		t.kind = Any
	}
	t.formula = l.formulaOf(e, x, y)
	return t
}

// suits reports whether y may stand in place of the output x.
func suits(x, y term) bool {
	switch {
	case x.class == classAnything || y.class == classAnything || y.class == classNone:
		return true
	case x.class != y.class:
		return false
	case x.class == classNumber:
		_, ok := together(x, y)
		return ok
	default:
		return !y.live || y.kind == x.kind || x.kind.fits(y.kind) || y.kind.fits(x.kind)
	}
}

// formulaOf makes the formula of an operation on what the terms are.
func (l *lowering) formulaOf(e *Expr, terms ...term) *Formula {
	f := &Formula{Span: e.Span, Op: e.Op, Number: l.current, Args: make([]*Formula, len(terms))}
	if e.Op == OpCall {
		f.Text = e.Text
	}
	for i, t := range terms {
		f.Args[i] = l.formula(t)
	}
	return f
}

// formula returns the formula of a term.
func (l *lowering) formula(t term) *Formula {
	switch {
	case t.formula != nil:
		return t.formula
	case t.ref == nil:
		return &Formula{Span: t.Span, Op: opConstant, Value: t.constant(), Number: l.current}
	}
	output := &Formula{Span: t.Span, Op: OpName, Ref: t.ref, Number: l.current}
	if t.orElse == nil {
		return output
	}
	return &Formula{Span: t.Span, Op: OpElse, Args: []*Formula{output, l.formula(*t.orElse)}, Number: l.current}
}

// constant returns a constant term as a value of the checked script.
func (t term) constant() Constant {
	switch {
	case t.hidden:
		return Constant{Secret: true}
	case t.class == classNumber || t.class == classRange:
		return Constant{Number: t.number, Upper: t.upper, Unit: t.unit, Secret: t.secret}
	default:
		return Constant{JSON: t.json(), Secret: t.secret}
	}
}

// json writes a constant as JSON. A number is in its base unit.
func (t term) json() json.RawMessage {
	switch t.class {
	case classTruth:
		return json.RawMessage(fmt.Sprint(t.truth))
	case classNumber:
		return json.RawMessage(decimalDigits(t.number))
	case classText:
		return quoted(t.text)
	case classList:
		out := []byte{'['}
		for i, item := range *t.list {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(out, item.json()...)
		}
		return append(out, ']')
	case classObject:
		out := []byte{'{'}
		for i, field := range t.fields {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(append(out, quoted(field.name)...), ':')
			out = append(out, field.term.json()...)
		}
		return append(out, '}')
	default:
		return json.RawMessage("null")
	}
}

// functions are the names of all functions.
func functions() []string { return []string{"count", "min", "max", "coverage", "now", "env"} }

// function is a call of a function.
func (l *lowering) function(e *Expr) term {
	switch e.Text {
	case "now":
		if !l.arguments(e, 0, "now()") {
			return term{}
		}
		return term{class: classNumber, unit: UnitSlot, live: true, formula: &Formula{Span: e.Span, Op: OpCall, Text: "now", Number: l.current}}
	case "env":
		value, _ := l.env(e, true)
		return value
	case "count":
		return l.count(e)
	case "min", "max":
		return l.extreme(e)
	case "coverage":
		return l.coverage(e)
	}
	for _, a := range e.Arguments { // what is wrong there is wrong whatever the function
		l.eval(a.Value)
	}
	if _, ok := l.actions[e.Text]; ok {
		return l.wrong(e.Span, fmt.Sprintf("make it a step, x = %s(…), and write x here", e.Text), "%s is an action, and not a value", e.Text)
	}
	return l.wrong(e.Span, cmp.Or(Suggest(e.Text, functions()), "there are "+strings.Join(functions(), ", ")), "there is no function %q", e.Text)
}

// arguments reports a call that has not exactly n arguments, or one with a name.
func (l *lowering) arguments(e *Expr, n int, usage string) bool {
	named := slices.ContainsFunc(e.Arguments, func(a Argument) bool { return a.Name != nil })
	if len(e.Arguments) == n && !named {
		return true
	}
	for _, a := range e.Arguments {
		l.eval(a.Value)
	}
	l.report(e.Span, "", "%s is written %s", e.Text, usage)
	return false
}

// env returns the value of an environment variable. It is false where that is not set; needed says that this is an error.
func (l *lowering) env(e *Expr, needed bool) (value term, set bool) {
	const usage = `env("NAME")`
	if len(e.Arguments) == 2 && e.Arguments[0].Name == nil && e.Arguments[1].Name == nil {
		hint := ""
		if first, second := l.textOf(e.Arguments[0].Span), l.textOf(e.Arguments[1].Span); len(first)+len(second) <= maxShown {
			hint = fmt.Sprintf("write env(%s) ?? %s", first, second)
		}
		return l.wrong(e.Span, hint, "env takes one value, the name of a variable"), false
	}
	if !l.arguments(e, 1, usage) {
		return term{}, false
	}
	if bare := e.Arguments[0].Value; bare != nil && bare.Op == OpName && l.names[bare.Text] == nil && len(l.everyName()[bare.Text]) == 0 {
		return l.wrong(bare.Span, fmt.Sprintf("the variable's name stands in quotes: env(%q)", bare.Text), "env wants the name of a variable"), false
	}
	name := l.eval(e.Arguments[0].Value)
	switch {
	case name.class == classWrong:
		return term{}, false
	case name.class != classText || name.live || name.text == "" || name.secret || strings.ContainsAny(name.text, "=\x00"):
		return l.wrong(name.Span, "it is written "+usage, "env wants the name of a variable"), false
	case l.options.Env == nil:
		return term{class: classText, secret: true, hidden: true, varies: name.varies}, true
	}
	text, set := l.options.Env(name.text)
	switch {
	case set:
		l.secret(text)
		return term{class: classText, text: text, secret: true, varies: name.varies}, true
	case !needed || l.overridden:
		return term{class: classText, secret: true, hidden: true, varies: name.varies}, false
	case l.unset[name.text]: // it was said
		return term{}, false
	}
	l.unset[name.text] = true
	return l.wrong(e.Span, fmt.Sprintf(`set it, or give a value in its place: env(%q) ?? "…"`, name.text), "the environment variable %s is not set", name.text), false
}

func (l *lowering) count(e *Expr) term {
	if !l.arguments(e, 1, "count(list)") {
		return term{}
	}
	of := l.eval(e.Arguments[0].Value)
	switch {
	case of.class == classWrong:
		return term{}
	case of.class != classList && of.class != classAnything:
		return l.wrong(of.Span, "", "count wants a list, and this is %s", of.describe())
	case of.live:
		return term{class: classNumber, live: true, formula: l.formulaOf(e, of)}
	}
	return term{class: classNumber, number: new(big.Rat).SetInt64(int64(len(*of.list))), varies: of.varies}
}

// extreme is min or max.
func (l *lowering) extreme(e *Expr) term {
	terms := make([]term, len(e.Arguments))
	ok := true
	for i, a := range e.Arguments {
		terms[i] = l.eval(a.Value)
		if a.Name != nil {
			l.report(a.Name.Span, fmt.Sprintf("it is written: %s(a, b)", e.Text), "the arguments of %s cannot have names", e.Text)
			ok = false
		}
		ok = l.isNumber(terms[i], Op(e.Text)) && ok
	}
	if !ok {
		return term{}
	}
	if len(terms) == 0 {
		return l.wrong(e.Span, fmt.Sprintf("write %s(a, b)", e.Text), "%s of nothing", e.Text)
	}
	best := terms[0]
	best.digits, best.set, best.free = "", nil, best.free || best.class == classAnything
	mixed := false
	for _, t := range terms[1:] {
		t.free = t.free || t.class == classAnything
		unit, ok := together(best, t)
		if !ok {
			return l.wrong(e.Span, "give all of them the same unit", "%s cannot compare %s with %s", e.Text, best.describe(), t.describe())
		}
		mixed = mixed || best.unit != t.unit
		live := best.live || t.live || mixed
		if !live && (t.number.Cmp(best.number) < 0) == (e.Text == "min") && t.number.Cmp(best.number) != 0 {
			best.number = t.number
		}
		best.live, best.unit, best.varies = live, unit, best.varies || t.varies
		best.free = best.free && t.free
	}
	if !best.live {
		return best
	}
	return term{class: classNumber, unit: best.unit, live: true, free: best.free, varies: best.varies, formula: l.formulaOf(e, terms...)}
}

// coverage is coverage(won), or coverage(won, from: slot, to: slot).
func (l *lowering) coverage(e *Expr) term {
	const usage = "coverage(won), or coverage(won, from: slot, to: slot)"
	var won, from, to *term
	ok := true
	for _, a := range e.Arguments {
		t := l.eval(a.Value)
		ok = ok && t.class != classWrong
		place := &won
		switch {
		case a.Name == nil:
		case a.Name.Text == "from":
			place = &from
		case a.Name.Text == "to":
			place = &to
		default:
			l.report(a.Name.Span, Suggest(a.Name.Text, []string{"from", "to"}), "coverage has no parameter %q: it is written %s", a.Name.Text, usage)
			return term{}
		}
		if *place != nil {
			return l.wrong(a.Span, "", "coverage is written %s", usage)
		}
		*place = &t
	}
	if won == nil || (from == nil) != (to == nil) {
		return l.wrong(e.Span, "", "coverage is written %s", usage)
	}
	if !ok {
		return term{}
	}
	if won.class != classAnything && (won.class != classList || !won.live || won.kind != SlotsWon && won.kind != Any) {
		return l.wrong(won.Span, "it is written: won = slots-won(nodes: …), then coverage(won)", "coverage wants the slots that nodes won, and this is %s", won.describe())
	}
	if from == nil {
		return term{class: classNumber, live: true, formula: l.formulaOf(e, *won)}
	}
	for _, end := range []*term{from, to} {
		if end.class != classAnything && (end.class != classNumber || end.unit != NoUnit && end.unit != UnitSlot) {
			return l.wrong(end.Span, "", "a window is from slot to slot, and this is %s", end.describe())
		}
	}
	return term{class: classNumber, live: true, formula: l.formulaOf(e, *won, *from, *to)}
}

// secret keeps a text that must not be shown.
func (l *lowering) secret(text string) {
	if text != "" && !l.secrets[text] {
		l.secrets[text] = true
		l.script.Secrets = append(l.script.Secrets, text)
	}
}
