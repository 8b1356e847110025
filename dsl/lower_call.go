package dsl

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
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

// target is what an argument is for, as indices of parameters: one, or the lower and the upper end of a range.
type target []int

func newCallable(s Signature) *callable {
	a := &callable{Signature: s, targets: map[string]target{}, folded: map[string]target{}, absent: make([]*Value, len(s.Params))}
	for i, p := range s.Params {
		a.targets[p.Name] = target{i}
		a.folded[strings.ToLower(p.Name)] = target{i}
	}
	ranges := map[string]target{}
	for i, p := range s.Params { // what the script language says goes before what JSON says
		name := p.ScriptName()
		switch p.End {
		case LowerEnd:
			ranges[name] = append(target{i}, ranges[name]...)
		case UpperEnd:
			ranges[name] = append(ranges[name], i)
		default:
			a.targets[name] = target{i}
		}
		if r, ok := ranges[name]; ok {
			a.targets[name] = r
		}
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
	if !known && c.Action.Text == logAction {
		return l.log(c, items)
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
	if c.Name != nil {
		l.step(*c.Name, a, step, wrong)
	}
	if HoldsBlock(c.Action.Text) {
		l.binding = Span{}
		item.Body = l.held(c)
	}
	return append(items, item)
}

// held lowers the block that an action holds for.
func (l *lowering) held(c *Call) []Item {
	if c.Body == nil {
		l.report(c.Action.Span, "it is written: "+c.Action.Text+"(…) { … }", "%s is in force for the length of a block, and there is none behind it", c.Action.Text)
	}
	return l.block(c.Body, c, nil)
}

// step binds the name of a step. a is nil where there is no such action.
func (l *lowering) step(name Name, a *callable, step *Step, wrong Findings) {
	made := &namedStep{number: step.Number, action: step.Action, open: a == nil, outputs: l.checker.earlier[step.Number].outputs}
	if a != nil {
		made.numbered = numbered(name.Text, a, step, made.outputs)
		made.main, made.open = a.Main, a.Numbered != nil && (wrong.Errors() || slices.ContainsFunc(step.Args, Arg.broken))
	}
	l.bind(name, named{step: made})
}

// numbered says why a step has as many outputs with numbers as it has; "" where that is not plain.
func numbered(name string, a *callable, step *Step, outputs []Output) string {
	n := len(outputs) - len(a.Outputs)
	if a.Numbered == nil || n <= 0 {
		return ""
	}
	i := slices.IndexFunc(step.Args, func(arg Arg) bool { return arg.Literal() && arg.Value.Shape == List && len(arg.Value.Items) == n })
	if i < 0 {
		return ""
	}
	of, count := kebab(step.Args[i].Name), strconv.Itoa(n)
	if n == 1 {
		of, count = strings.TrimSuffix(of, "s"), "one"
	}
	all := names(outputs[len(a.Outputs):], func(o Output) string { return kebab(o.Name) })
	return fmt.Sprintf("%s has %s %s, so it has %s", name, count, of,
		listed(append(all, names(a.Outputs, func(o Output) string { return kebab(o.Name) })...)))
}

// listed writes names as people do: a, b and c.
func listed(all []string) string {
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	return strings.Join(all[:len(all)-1], ", ") + " and " + all[len(all)-1]
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
	const usage = `it is written: log("what to show")`
	switch {
	case c.Name != nil:
		l.report(c.Name.Span, usage, "log is not a step, and has no name")
		l.lost(c)
		return items
	case c.Retry != nil || c.Within != nil || c.After != nil:
		l.report(c.Action.Span, usage, "log is not a step, and has no retry, within or after")
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
		l.report(text.Span, `write "what to show"`, "log shows a constant text, and this is known only while the script runs")
		return items
	case text.class != classText:
		l.against(text.own(), `write "what to show"`, "log shows a text, not %s", text.describe())
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
	const usage = "write 5"
	switch {
	case attempts.class == classWrong:
		return nil
	case attempts.live:
		l.report(attempts.Span, "write a number, or a param", notBefore)
		return nil
	case attempts.class != classNumber || attempts.unit != NoUnit || !attempts.number.IsInt() || attempts.number.Sign() <= 0 ||
		attempts.number.Cmp(big.NewRat(maxAttempts, 1)) > 0:
		l.against(attempts, usage, "retry wants the number of attempts in all, from 1 to %d", maxAttempts)
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
			t, ok = l.noParameter(a, argument)
			if !ok {
				continue
			}
			for _, p := range t {
				if !given[p] {
					given[p] = true
					step.Args = append(step.Args, notKnown(a.Params[p].Name, argument.Name.Span, argument.Value))
				}
			}
			continue
		}
		if slices.ContainsFunc(t, func(p int) bool { return given[p] }) {
			l.report(argument.Name.Span, "keep one of them", "%s is given twice", a.spelling(t, argument.Name.Text))
			l.eval(argument.Value)
			continue
		}
		for _, p := range t {
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
	name := a.Params[t[0]].ScriptName()
	if name == given {
		return fmt.Sprintf("%q", given)
	}
	return fmt.Sprintf("%q (%s)", name, given)
}

// noParameter reports a name that is no parameter's, and returns the one that is meant where that is clear.
func (l *lowering) noParameter(a *callable, argument *Argument) (target, bool) {
	name, all := argument.Name, a.scriptNames()
	value := l.eval(argument.Value)
	hint := nearest(name.Text, all)
	if len(a.bare) > 0 && closest(name.Text, all) == "" && value.class == classNumber && (value.unit == UnitSecond || value.unit == UnitSlot) {
		if text := l.asWritten(value); text != "" {
			hint = fmt.Sprintf("it is written: %s(%s)", a.Action, text)
		}
	}
	l.report(name.Span, hint, "%s has no parameter %q", a.Action, name.Text)
	meant := closest(name.Text, all)
	t, ok := a.targets[meant]
	return t, ok
}

// absent is the argument for a parameter that the script leaves out, and that is not its zero value then.
func (l *lowering) absent(a *callable, p int, step *Step) Arg {
	param := &a.Params[p]
	arg := Arg{Name: param.Name, NameSpan: step.ActionSpan}
	if param.Absent == ExperimentName {
		name := l.experimentName(step.ActionSpan, a.Action)
		if name.class == classWrong {
			return notKnown(param.Name, step.ActionSpan, nil)
		}
		text := name.text + "-" + strconv.Itoa(l.round)
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
	if !l.isTime(a, value) {
		value = term{Span: value.Span}
	}
	if given[best] {
		l.report(argument.Span, "keep one", "%s has two durations", a.Action)
		return
	}
	given[best] = true
	step.Args = append(step.Args, l.arg(value, &a.Params[best], argument.Span))
}

// isTime reports a value that is no time where one stands without a name. What is wrong already is none.
func (l *lowering) isTime(a *callable, t term) bool {
	switch {
	case t.class == classWrong, t.class == classAnything, t.class == classNumber && t.free:
		return true
	case t.class == classNumber && t.unit == NoUnit:
		hint := ""
		if t.digits != "" {
			hint = fmt.Sprintf("write %sm or %ss", t.digits, t.digits)
			if _, ok := a.target("slot"); ok {
				hint += ", or slot: " + t.digits
			}
		}
		l.against(t.own(), hint, "%s wants a time, and this has no unit", a.Action)
		return false
	case t.class != classNumber || t.unit != UnitSecond && t.unit != UnitSlot:
		l.against(t.own(), "write 5m", "%s wants a time, and this is %s", a.Action, t.describe())
		return false
	case !t.live && t.number.Sign() < 0:
		hint := ""
		if t.digits != "" {
			hint = "write " + withUnit(strings.TrimPrefix(t.digits, "-"), t.as)
		}
		l.against(t, hint, "a time cannot be negative")
		return false
	}
	return true
}

// nameless reports a value without a name for an action whose values have names.
func (l *lowering) nameless(a *callable, step *Step, argument *Argument, given []bool) {
	l.eval(argument.Value)
	if argument.Value == nil {
		return
	}
	var meant int
	hint := "it has none"
	if all := a.scriptNames(); len(all) > 0 {
		hint = "it is written: NAME: value; it has " + strings.Join(all, ", ")
	}
	if t, ok := a.target(argument.Value.Text); ok && argument.Value.Op == OpName {
		meant = t[0]
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
