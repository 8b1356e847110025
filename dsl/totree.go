package dsl

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ToTree makes a tree of the script language of a script that was read from JSON; [Tree.Format] prints it. Read back and lowered it has
// the same steps: their actions, the parameters that are given with the text of their numbers, comments, and the steps referred to.
//
// Only steps that others refer to get names. What is wrong with the script, and what the script language cannot spell, is found; where an
// error is, no tree is returned (script-language, section 3).
func (s *Script) ToTree(signatures []Signature) (*Tree, Findings) {
	w := treeWriter{script: s, steps: s.Steps(), signatures: map[string]Signature{}, names: map[int]string{}, files: map[string]string{}, taken: map[string]bool{}}
	if w.found = Check(s, signatures); w.found.Errors() {
		return nil, w.found
	}
	for _, signature := range signatures {
		w.signatures[signature.Action] = signature
	}
	w.baptize()
	tree := &Tree{Source: NewSource(s.Source.Name, nil), Statements: w.uses}
	for _, item := range s.Items {
		switch {
		case item.Step != nil:
			tree.Statements = append(tree.Statements, w.step(item.Step))
		case !s.isNull(item):
			tree.Statements = append(tree.Statements, &Call{Action: Name{Text: "log"}, Arguments: []Argument{{Value: w.string(item.Span, -1, item.Comment)}}})
		}
	}
	found := w.found.Sort()
	if found.Errors() {
		return nil, found
	}
	return tree, found
}

// treeWriter makes the statements of a script.
type treeWriter struct {
	script     *Script
	steps      []*Step
	signatures map[string]Signature
	names      map[int]string    // of steps that are referred to
	files      map[string]string // names of earlier runs, by file
	taken      map[string]bool
	uses       []Statement
	found      Findings
}

func (w *treeWriter) refuse(span Span, step int, hint, format string, args ...any) {
	w.found = append(w.found, finding(w.script.Source, span, step, hint, format, args...))
}

// baptize gives names to the steps that others refer to, and to earlier runs.
func (w *treeWriter) baptize() {
	for _, word := range confusing() {
		w.taken[word] = true
	}
	referred := map[int]bool{}
	for _, step := range w.steps {
		for _, arg := range step.Args {
			switch {
			case arg.Ref == nil:
			case arg.Ref.File == "":
				referred[arg.Ref.Step] = true
			case w.files[arg.Ref.File] == "":
				name := w.free("earlier", len(w.files) > 0, 2)
				w.files[arg.Ref.File] = name
				w.uses = append(w.uses, &Use{File: w.string(arg.Ref.Span, step.Number, arg.Ref.File), As: Name{Text: name}})
			}
		}
	}
	alike := map[string]int{}
	for _, step := range w.steps {
		if referred[step.Number] {
			alike[w.stem(step)]++
		}
	}
	for _, step := range w.steps {
		if referred[step.Number] {
			stem := w.stem(step)
			w.names[step.Number] = w.free(stem, alike[stem] > 1, 1)
		}
	}
}

// confusing are words that can be names, and would confuse as such: the functions, and what a metric or a limit begins with.
func confusing() []string {
	return []string{"count", "min", "max", "coverage", "now", "env", "log", "search", "tx", "chain", "rate", "spend", "stopped"}
}

// stem is what the name of a step begins with: what it gives out, or its action.
func (w *treeWriter) stem(step *Step) string {
	signature := w.signatures[step.Action]
	main := slices.IndexFunc(signature.Outputs, func(o Output) bool { return o.Name == signature.Main })
	if main < 0 {
		return step.Action
	}
	switch signature.Outputs[main].Kind {
	case PrivateKey:
		return "keys"
	case SlotsWon:
		return "won"
	case Address:
		if !slices.ContainsFunc(signature.Params, func(p Param) bool { return p.Kind == Address }) { // it found the nodes
			return "nodes"
		}
	default: // its action says more
	}
	return step.Action
}

// free returns a name that is not taken, and takes it. One with a number has that number or a later one.
func (w *treeWriter) free(stem string, numbered bool, number int) string {
	name := stem
	if numbered {
		name += strconv.Itoa(number)
		number++
	}
	for ; w.taken[name] || isKeyword(name); number++ {
		name = stem + strconv.Itoa(number)
	}
	w.taken[name] = true
	return name
}

func (w *treeWriter) step(step *Step) *Call {
	call := &Call{Action: Name{Text: step.Action}}
	if name := w.names[step.Number]; name != "" {
		call.Name = &Name{Text: name}
	}
	signature := w.signatures[step.Action]
	given := make([]*Arg, len(signature.Params))
	for a := range step.Args {
		given[signature.param(step.Args[a].Name)] = &step.Args[a] // the checker knows them all
	}
	add := func(name string, value *Expr) {
		argument := Argument{Value: value}
		if name != "" {
			argument.Name = &Name{Text: name}
		}
		call.Arguments = append(call.Arguments, argument)
	}
	done := make([]bool, len(given))
	for _, arg := range step.Args {
		i := signature.param(arg.Name)
		if done[i] {
			continue
		}
		param := signature.Params[i]
		if other := signature.otherEnd(i); other >= 0 {
			low, high := given[i], given[other]
			if param.End == UpperEnd {
				low, high = high, low
			}
			if r := rangeOf(low, high, param); r != nil {
				done[other] = true
				add(param.ScriptName(), r)
				continue
			}
		}
		name := param.ScriptName()
		switch {
		case param.End != NoEnd:
			name = param.Name
		case param.Positional && len(step.Args) == 1 && arg.Ref == nil && arg.Value.Shape == Number && arg.Value.Text[0] != '-':
			name = ""
		}
		add(name, w.argument(step, arg, param))
	}
	for i, param := range signature.Params {
		switch {
		case given[i] != nil || !signature.fillsIn(param, func(p int) bool { return given[p] != nil }):
		case len(param.Words) > 0: // the default is what it is in JSON
			add(param.ScriptName(), &Expr{Op: OpName, Text: param.Default})
		default:
			add(param.ScriptName(), &Expr{Op: OpNone})
		}
	}
	return call
}

// fillsIn reports whether it makes a difference that the script language gives a value to a parameter that is left out, and the JSON stream
// none. How to take a slot that has passed says nothing where no slot is given.
func (s Signature) fillsIn(param Param, given func(i int) bool) bool {
	if param.Absent == "" || len(param.Words) == 0 {
		return param.Absent != ""
	}
	for i, p := range s.Params {
		if p.Unit == "slot" && given(i) {
			return true
		}
	}
	return false
}

// otherEnd returns the index of the parameter that is the other end of a parameter's range, or -1.
func (s Signature) otherEnd(i int) int {
	p := s.Params[i]
	if p.End == NoEnd {
		return -1
	}
	return slices.IndexFunc(s.Params, func(o Param) bool { return o.End != NoEnd && o.End != p.End && o.ScriptName() == p.ScriptName() })
}

// rangeOf returns the range of two numbers, lower one first; nil where they are not such.
func rangeOf(low, high *Arg, param Param) *Expr {
	if low == nil || high == nil || low.Ref != nil || high.Ref != nil || low.Value.Shape != Number || high.Value.Shape != Number {
		return nil
	}
	from, ok := Decimal(low.Value.Text)
	to, ok2 := Decimal(high.Value.Text)
	if !ok || !ok2 || from.Cmp(to) > 0 || low.Value.Text[0] == '-' || high.Value.Text[0] == '-' {
		return nil
	}
	x, y := low.Value.Text, high.Value.Text
	unit := param.unitOf()
	if unit == UnitNanomina {
		mina, other := inMina(x), inMina(y)
		if mina != "" && other != "" && len(mina+other+string(UnitMina)) < len(x+y+string(UnitNanomina)) {
			x, y, unit = mina, other, UnitMina
		}
	}
	return &Expr{Op: OpRange, X: &Expr{Op: OpNumber, Text: x}, Y: &Expr{Op: OpNumber, Text: y}, Unit: unit}
}

// unitOf returns the unit in which the script language writes a number with the text that it has in JSON.
func (p Param) unitOf() Unit {
	switch unit, each := p.unit(); {
	case each == 60:
		return UnitMinute
	case p.Unit == "slot": // which one, not how many
		return NoUnit
	default:
		return unit
	}
}

// inMina writes an amount of plain digits in mina, as short as it can be; "" where the digits are not all of the text.
func inMina(nanomina string) string {
	const decimals = 9
	if strings.Trim(nanomina, "0123456789") != "" {
		return ""
	}
	padded := strings.Repeat("0", max(0, decimals+1-len(nanomina))) + nanomina
	point := len(padded) - decimals
	return trimmed(padded[:point] + "." + padded[point:])
}

func (w *treeWriter) argument(step *Step, arg Arg, param Param) *Expr {
	if arg.Ref == nil {
		return w.value(step, arg.Value, param)
	}
	ref := w.ref(step, arg.Ref)
	if arg.Ref.OnEmpty == nil {
		return ref
	}
	switch {
	case arg.Ref.OnEmpty.Shape == Object:
		w.refuse(arg.Ref.OnEmpty.Span, step.Number, "", "the script language has objects only in lists")
	case !w.suits(arg.Ref):
		w.refuse(arg.Ref.OnEmpty.Span, step.Number, "", "in the script language what stands in place of an output is of its kind")
	}
	return &Expr{Op: OpElse, X: ref, Y: w.value(step, *arg.Ref.OnEmpty, param)}
}

// suits reports whether the value for an output's absence is of the output's kind.
func (w *treeWriter) suits(ref *Ref) bool {
	if ref.File != "" || ref.OnEmpty.Shape == Null {
		return true
	}
	target := w.steps[ref.Step]
	outputs := w.signatures[target.Action].OutputsOf(target)
	output := outputs[slices.IndexFunc(outputs, func(o Output) bool { return o.Name == ref.Name })] // the checker found it
	shape, fixed := output.Kind.shape()
	switch {
	case output.List:
		return ref.OnEmpty.Shape == List
	case !fixed:
		return true
	default:
		return ref.OnEmpty.Shape == shape
	}
}

func (w *treeWriter) ref(step *Step, ref *Ref) *Expr {
	if ref.File != "" {
		if !w.canSpell(ref.Name) {
			w.refuse(ref.NameSpan, step.Number, "no action has such an output", "the script language cannot spell the output %q", ref.Name)
		}
		run := &Expr{Op: OpName, Text: w.files[ref.File]}
		return &Expr{Op: OpMember, X: &Expr{Op: OpMember, X: run, Text: fmt.Sprint("step", ref.Step)}, Text: ref.Name}
	}
	name := &Expr{Op: OpName, Text: w.names[ref.Step]}
	target := w.steps[ref.Step]
	if ref.Name == w.signatures[target.Action].Main {
		return name
	}
	return &Expr{Op: OpMember, X: name, Text: kebab(ref.Name)}
}

// canSpell reports whether an output of another run can be spelled. Of which action it is nobody knows, so that one with a hyphen may be that of
// another action in the script language.
func (w *treeWriter) canSpell(output string) bool {
	if !isWord(output) {
		return false
	}
	for _, signature := range w.signatures {
		for _, o := range signature.Outputs {
			if o.Name != output && kebab(o.Name) == output {
				return false
			}
		}
	}
	return true
}

// value spells a literal as the parameter's.
func (w *treeWriter) value(step *Step, v Value, param Param) *Expr {
	switch v.Shape {
	case Null:
		return &Expr{Op: OpNone}
	case Bool:
		if v.Text == "true" {
			return &Expr{Op: OpTrue}
		}
		return &Expr{Op: OpFalse}
	case String:
		if slices.Contains(param.Words, v.Text) {
			return &Expr{Op: OpName, Text: v.Text}
		}
		return w.string(v.Span, step.Number, v.Text)
	case List:
		list := &Expr{Op: OpList}
		for _, item := range v.Items {
			list.Items = append(list.Items, w.value(step, item, param))
		}
		return list
	case Object:
		object := &Expr{Op: OpObject}
		for _, f := range v.Fields {
			object.Arguments = append(object.Arguments, Argument{Name: &Name{Text: f.Key}, Value: w.value(step, f.Value, Param{Kind: Any})})
		}
		return object
	default:
		return number(v.Text, param)
	}
}

// number spells a number with its unit, and with the text that it has wherever that is not plain digits of nanomina.
func number(text string, param Param) *Expr {
	positive, negative := strings.CutPrefix(text, "-")
	unit := param.unitOf()
	if mina := inMina(text); unit == UnitNanomina && mina != "" && len(mina)+len(UnitMina) < len(positive)+len(UnitNanomina) {
		positive, unit = mina, UnitMina
	}
	n := &Expr{Op: OpNumber, Text: positive, Unit: unit}
	if negative {
		return &Expr{Op: OpMinus, X: n}
	}
	return n
}

func (w *treeWriter) string(span Span, step int, text string) *Expr {
	if hasKey([]byte(text)) {
		w.refuse(span, step, "put it into a file, and load that with load-keys", "a private key would be shown")
	}
	return &Expr{Op: OpString, Text: text}
}
