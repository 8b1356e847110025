package dsl

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// This file makes steps of actions: their arguments become those that the JSON stream has, by name and unit.

// callable is an action with what the script language needs of it at hand.
type callable struct {
	Signature
	targets map[string]target // by the names of parameters in the script language and in JSON
	folded  map[string]target // by JSON name in lower case
	absent  []*Value          // of each parameter, where it is one that the script language fills in
	needed  []int             // indices of parameters that have an Absent
	bare    []int             // indices of parameters that a value without a name may be for
}

// target is what an argument is for: a parameter, or both ends of a range.
type target struct {
	first, last int // indices of parameters
	both        bool
}

func newCallable(s Signature) *callable {
	a := &callable{Signature: s, targets: map[string]target{}, folded: map[string]target{}, absent: make([]*Value, len(s.Params))}
	for i, p := range s.Params {
		one := target{first: i, last: i}
		a.targets[p.Name] = one
		a.folded[strings.ToLower(p.Name)] = one
	}
	for i, p := range s.Params { // what the script language says goes before what JSON says
		name := p.ScriptName()
		t, known := a.targets[name]
		switch {
		case p.End == NoEnd:
			t = target{first: i, last: i}
		case known && t.both:
			t.last = i
		default:
			t = target{first: i, last: i, both: true}
		}
		a.targets[name] = t
		if p.Absent != "" {
			a.needed = append(a.needed, i)
		}
		if p.Positional {
			a.bare = append(a.bare, i)
		}
	}
	return a
}

func (a *callable) target(name string) (target, bool) {
	t, ok := a.targets[name]
	if !ok {
		t, ok = a.folded[strings.ToLower(name)]
	}
	return t, ok
}

// scriptNames are the names of the parameters in the script language.
func (a *callable) scriptNames() []string {
	return slices.Compact(names(a.Params, Param.ScriptName))
}

// kept is an argument of a statement in a repeat that is the same in each round.
type kept struct {
	args     []Arg
	elements int
}

// logAction is the statement that is no step: a comment that the run shows.
const logAction = "log"

// call lowers the call of an action.
func (l *lowering) call(c *Call, items []Item) []Item {
	if c.Name != nil {
		l.binding = c.Name.Span
	}
	defer func() { l.binding = Span{} }()
	a, known := l.actions[c.Action.Text]
	switch {
	case !known && c.Action.Text == logAction:
		return l.log(c, items)
	case !known && (c.Action.Text == "gather-logs" || c.Action.Text == "snark-pool"):
		l.report(c.Action.Span, "", "%s is not available yet", c.Action.Text)
		l.pool = c.Action.Text == "snark-pool"
		l.lost(c)
		return items
	}
	step := &Step{Span: c.Span, Number: l.steps, Action: c.Action.Text, ActionSpan: c.Action.Span, language: true}
	item := Item{Span: c.Span, Number: l.number(), Step: step}
	l.steps++
	l.current = step.Number
	if known {
		l.argumentsOf(c, a, step)
	} else {
		l.evaluateAll(c)
	}
	l.current = -1
	l.modifiers(c, step)
	if c.Name != nil {
		step.ID = c.Name.Text
		if len(l.rounds) > 0 {
			step.ID += l.roundID()
		}
	}
	wrong := l.checker.Step(l.source, step)
	for _, f := range wrong {
		l.add(f)
	}
	if c.Name == nil {
		return append(items, item)
	}
	made := &namedStep{number: step.Number, action: c.Action.Text, open: !known, outputs: l.checker.earlier[step.Number].outputs}
	if known {
		made.main, made.open = a.Main, a.Numbered != nil && (wrong.Errors() || slices.ContainsFunc(step.Args, Arg.broken))
	}
	l.bind(*c.Name, named{step: made})
	return append(items, item)
}

// lost binds the name of a call that makes no step, and looks for what is wrong in its arguments.
func (l *lowering) lost(c *Call) {
	l.evaluateAll(c)
	if c.Name != nil {
		l.bind(*c.Name, named{constant: &term{}})
	}
}

func (l *lowering) evaluateAll(c *Call) {
	for _, a := range c.Arguments {
		l.eval(a.Value)
	}
}

// log lowers log("…"), which is a comment.
func (l *lowering) log(c *Call, items []Item) []Item {
	const usage = `write log("what to show")`
	switch {
	case c.Name != nil:
		l.report(c.Name.Span, usage, "log is no step, and has no name")
		l.lost(c)
		return items
	case c.Retry != nil || c.Within != nil || c.After != nil:
		l.report(c.Action.Span, usage, "log is no step, and has no retry, within or after")
	case len(c.Arguments) != 1 || c.Arguments[0].Name != nil:
		l.report(c.Action.Span, usage, "log shows one text")
		l.evaluateAll(c)
		return items
	}
	text := l.eval(c.Arguments[0].Value)
	switch {
	case text.class == classWrong:
		return items
	case text.live:
		l.report(text.Span, usage, "log shows a constant text, and this is known only while the script runs")
		return items
	case text.class != classText:
		l.report(text.Span, usage, "log shows a text, not %s", text.describe())
		return items
	}
	return append(items, Item{Span: c.Span, Number: l.number(), Comment: text.text})
}

// modifiers lowers what stands behind a call.
func (l *lowering) modifiers(c *Call, step *Step) {
	if c.Retry != nil {
		step.Retry = l.retry(c.Retry)
	}
	if c.Within != nil {
		step.Within = l.stretch("within", c.Within, false)
	}
	if c.After != nil {
		l.eval(c.After)
		l.report(c.After.Span, "put wait(D) before it", "an action has no after: it begins when the one before it has ended")
	}
}

func (l *lowering) retry(r *Retrying) *Retry {
	attempts := l.eval(r.Attempts)
	every := l.stretch("every", r.Every, false)
	const usage = "write retry 5 every 2m"
	switch {
	case attempts.class == classWrong:
		return nil
	case attempts.live:
		l.report(attempts.Span, usage, "retry is a constant, and this is known only while the script runs")
		return nil
	case attempts.class != classNumber || attempts.unit != NoUnit || !attempts.number.IsInt() || attempts.number.Sign() <= 0 ||
		attempts.number.Cmp(big.NewRat(maxAttempts, 1)) > 0:
		l.report(attempts.Span, usage, "retry wants the number of attempts in all, from 1 to %d", maxAttempts)
		return nil
	case every == nil:
		return nil
	}
	return &Retry{Span: r.Span, Attempts: int(attempts.number.Num().Int64()), Every: *every}
}

// argumentsOf lowers the arguments of a call.
func (l *lowering) argumentsOf(c *Call, a *callable, step *Step) {
	step.Args = make([]Arg, 0, len(c.Arguments)+len(a.needed)+1)
	given := l.given[:0]
	for range a.Params {
		given = append(given, false)
	}
	l.given = given
	for i := range c.Arguments {
		argument := &c.Arguments[i]
		if argument.Name == nil {
			l.positional(a, step, argument, given)
			continue
		}
		t, ok := a.target(argument.Name.Text)
		if !ok {
			t, ok = l.noParameter(a, argument.Name)
			l.eval(argument.Value)
			if !ok {
				continue
			}
			for p := t.first; p <= t.last; p++ {
				if !given[p] {
					given[p] = true
					step.Args = append(step.Args, notKnown(a.Params[p].Name, argument.Name.Span, argument.Value))
				}
			}
			continue
		}
		if given[t.first] || given[t.last] {
			l.report(argument.Name.Span, "keep one of them", "%s is given twice", a.spelling(t, argument.Name.Text))
			l.eval(argument.Value)
			continue
		}
		for p := t.first; p <= t.last; p++ {
			given[p] = true
		}
		l.argument(a, t, step, argument.Name.Span, argument.Value)
	}
	for _, p := range a.needed {
		if !given[p] {
			step.Args = append(step.Args, l.absent(a, p, step))
		}
	}
}

// spelling is the name of an argument in messages.
func (a *callable) spelling(t target, given string) string {
	name := a.Params[t.first].ScriptName()
	if name == given {
		return fmt.Sprintf("%q", given)
	}
	return fmt.Sprintf("%q (%s)", name, given)
}

// noParameter reports a name that is no parameter's, and returns the one that is meant where that is clear.
func (l *lowering) noParameter(a *callable, name *Name) (target, bool) {
	all := a.scriptNames()
	l.report(name.Span, nearest(name.Text, all), "%s has no parameter %q", a.Action, name.Text)
	meant := closest(name.Text, all)
	t, ok := a.targets[meant]
	return t, ok
}

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

// absent is the argument for a parameter that the script leaves out, and that is not its zero value then.
func (l *lowering) absent(a *callable, p int, step *Step) Arg {
	param := &a.Params[p]
	arg := Arg{Name: param.Name, NameSpan: step.ActionSpan}
	if param.Absent == ExperimentName {
		name := l.experimentFor(a, step)
		if name == "" {
			return notKnown(param.Name, step.ActionSpan, nil)
		}
		text := fmt.Sprintf("%s-%d", name, l.round)
		arg.Value = Value{Span: step.ActionSpan, Shape: String, Text: text, JSON: quoted(text)}
		return arg
	}
	if a.absent[p] == nil {
		r := reader{source: l.source, text: []byte(param.Absent), step: -1}
		v, err := r.value(0)
		if err != nil { // of a registry that is wrong, which a test finds
			return notKnown(param.Name, step.ActionSpan, nil)
		}
		v.JSON = []byte(param.Absent)
		a.absent[p] = &v
	}
	arg.Value = *a.absent[p]
	arg.Value.Span = step.ActionSpan
	return arg
}

// experimentFor returns the experiment's name for an action that needs it; "" when there is none, which is reported once.
func (l *lowering) experimentFor(a *callable, step *Step) string {
	_, begun := l.first["experiment"]
	if l.experiment.class == classText || begun || l.missing["experiment"] {
		return l.experiment.text
	}
	l.missing["experiment"] = true
	for _, s := range l.tree.Statements {
		if s, ok := s.(*Experiment); ok {
			l.report(step.ActionSpan, "put that line at the beginning", "%s needs the experiment's name, which comes only in line %s", a.Action, l.line(s.Span))
			return ""
		}
	}
	l.report(step.ActionSpan, `begin the script with experiment "name", or give experiment-name: "…"`, "%s needs the experiment's name, and there is none", a.Action)
	return ""
}

// positional lowers an argument without a name: it is for the parameter that has its unit.
func (l *lowering) positional(a *callable, step *Step, argument *Argument, given []bool) {
	candidates := a.bare
	if len(candidates) == 0 {
		l.nameless(a, step, argument, given)
		return
	}
	value := l.eval(argument.Value)
	best := candidates[len(candidates)-1]
	if value.class == classNumber && !value.live && value.unit == UnitSecond {
		best = -1
		for _, exact := range []bool{true, false} { // first the one that has the unit as it is written
			for _, p := range candidates {
				param := &a.Params[p]
				_, each := param.unit()
				_, whole := small(value.number, each)
				if best < 0 && whole && (!exact || param.written() == value.as) {
					best = p
				}
			}
		}
		if best < 0 { // which says so
			best = candidates[len(candidates)-1]
		}
	}
	if value.class == classNumber && value.unit == NoUnit && !value.free {
		hint := ""
		if value.digits != "" {
			hint = fmt.Sprintf("write %s(%sm) or %s(%ss)", a.Action, value.digits, a.Action, value.digits)
			if _, ok := a.target("slot"); ok {
				hint += fmt.Sprintf(", or %s(slot: %s)", a.Action, value.digits)
			}
		}
		l.report(value.Span, hint, "%s wants a time, and this has no unit", a.Action)
		value = term{Span: value.Span}
	}
	if given[best] {
		l.report(argument.Span, "keep one of them", "%s is given two times", a.Action)
		return
	}
	given[best] = true
	step.Args = append(step.Args, l.arg(value, &a.Params[best], argument.Span))
}

// nameless reports a value without a name for an action whose values have names.
func (l *lowering) nameless(a *callable, step *Step, argument *Argument, given []bool) {
	l.eval(argument.Value)
	if argument.Value == nil {
		return
	}
	meant, hint := -1, "it has none"
	if all := a.scriptNames(); len(all) > 0 {
		hint = "write NAME: value; it has " + strings.Join(all, ", ")
	}
	if t, ok := a.target(argument.Value.Text); ok && argument.Value.Op == OpName {
		meant = t.first
	} else {
		meant = slices.IndexFunc(a.Params, func(p Param) bool { return p.Required })
		for meant >= 0 && meant < len(given) && (given[meant] || !a.Params[meant].Required) {
			meant++
		}
	}
	if meant >= 0 && meant < len(given) && !given[meant] { // nothing more is said about that one
		name := a.Params[meant].ScriptName()
		given[meant] = true
		step.Args = append(step.Args, notKnown(a.Params[meant].Name, argument.Span, argument.Value))
		if value := l.textOf(argument.Span); len(a.Params) == 1 || value == name {
			hint = fmt.Sprintf("write %s: %s", name, value)
		}
	}
	l.report(argument.Span, hint, "%s takes its values by name", a.Action)
}

// written is the unit that a parameter's number in JSON is in, as the script language writes it.
func (p Param) written() Unit {
	switch unit, each := p.unit(); {
	case each == 60:
		return UnitMinute
	default:
		return unit
	}
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
	param := &a.Params[t.first]
	if len(param.Words) > 0 && (value.Op == OpName || value.Op == OpString && value.Parts == nil) {
		if value.Op == OpString || l.names[value.Text] == nil || slices.Contains(param.Words, value.Text) {
			l.word(param, step, name, value)
			return false, 0
		}
	}
	if value.Op == OpName {
		l.wanted = param
	}
	v := l.eval(value)
	l.wanted = nil
	if v.class == classList && !v.live {
		elements = len(*v.list)
		if !l.spend(value.Span, elements) {
			return false, 0
		}
	}
	if v.class == classNone && !v.live {
		if param.Nullable || param.Required {
			v := Value{Span: v.Span, Shape: Null, Text: "null", JSON: []byte("null")}
			for p := t.first; p <= t.last; p++ {
				step.Args = append(step.Args, Arg{Name: a.Params[p].Name, NameSpan: name, Value: v})
			}
		}
		return v.varies, 0
	}
	if v.class == classRange && t.both {
		if !l.unitFits(v, param) {
			for p := t.first; p <= t.last; p++ {
				step.Args = append(step.Args, notKnown(a.Params[p].Name, name, value))
			}
			return false, 0
		}
		low, high := v.ends()
		if value.Op != OpRange { // it has a name, and its ends are written elsewhere
			low.Span, high.Span = v.Span, v.Span
		}
		step.Args = append(step.Args, l.arg(low, &a.Params[t.first], name), l.arg(high, &a.Params[t.last], name))
		return v.varies, 0
	}
	for p := t.first; p <= t.last; p++ {
		if p > t.first && v.class == classWrong {
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
func (l *lowering) word(param *Param, step *Step, name Span, value *Expr) {
	switch {
	case !slices.Contains(param.Words, value.Text):
		all := strings.Join(param.Words, " or ")
		l.report(value.Span, cmp.Or(Suggest(value.Text, param.Words), "write "+all), "%q is %s, not %s", param.ScriptName(), all, value.Text)
		step.Args = append(step.Args, notKnown(param.Name, name, value))
	case value.Text != param.Default:
		v := Value{Span: value.Span, Shape: String, Text: value.Text, JSON: quoted(value.Text)}
		step.Args = append(step.Args, Arg{Name: param.Name, NameSpan: name, Value: v})
	}
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
	other := *v.orElse
	if other.hidden {
		l.report(other.Span, "", "env() has no place behind ??")
		return nil
	}
	value, ok := l.value(other, param)
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
		l.report(v.Span, "", "%q cannot be secret, and this is", param.ScriptName())
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

// wants says what a parameter wants, in the words of the script language.
func (p Param) wants() string {
	if p.List {
		return fmt.Sprintf("a list (of: %s)", p.Kind)
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
		return "…"
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
		return `"…"`
	default:
		return "…"
	}
}
