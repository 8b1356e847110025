package dsl

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// This file says what names stand for (script-language, section 2a): one name space, no shadowing.

// named is what a name stands for: a constant, a step, or another run.
type named struct {
	Name
	constant *term
	step     *namedStep
	file     string // of another run
	beside   bool   // it is made in a branch that runs at the same time
}

// namedStep is a step that has a name.
type namedStep struct {
	number   int
	action   string
	main     string
	outputs  []Output
	numbered string // why it has as many outputs with numbers as it has
	open     bool   // it is not known which outputs it has: what is wrong with the step was said
}

// bind gives a name its meaning, until the end of the block that is being lowered.
func (l *lowering) bind(name Name, n named) {
	n.Name = name
	if name.Text == "" { // the parser said so
		return
	}
	if first, taken := l.names[name.Text]; taken {
		l.report(name.Span, "the other is in line "+l.line(first.Span)+"; give one of them another name", "%q is made twice", name.Text)
		*first = named{Name: first.Name, constant: &term{}} // which of them is meant nobody knows
		return
	}
	if n.step != nil { // a step's name is its id in the record
		if first, taken := l.ids[name.Text]; taken && first != name.Span {
			l.report(name.Span, "the other is in line "+l.line(first)+"; give one of them another name", "two steps are named %q", name.Text)
		} else {
			l.ids[name.Text] = name.Span
		}
	}
	l.names[name.Text] = &n
	l.made = append(l.made, name.Text)
}

// leave forgets the names that were made since there were that many.
func (l *lowering) leave(mark int) {
	for _, name := range l.made[mark:] {
		delete(l.names, name)
	}
	l.made = l.made[:mark]
}

// hide says of the names that were made since there were that many whether they are made beside what follows.
func (l *lowering) hide(mark int, beside bool) {
	for _, name := range l.made[mark:] {
		l.names[name].beside = beside
	}
}

func (l *lowering) line(span Span) string {
	line, _ := l.source.Place(span.Start)
	return strconv.Itoa(line)
}

// gives reports whether the name is that of a step with such an output.
func (n *named) gives(output string) bool {
	return n.step != nil && n.step.find(output) >= 0
}

// find returns the index of an output by either of its spellings, or -1.
func (s *namedStep) find(output string) int {
	i := slices.IndexFunc(s.outputs, func(o Output) bool { return o.Name == output })
	if i < 0 {
		i = slices.IndexFunc(s.outputs, func(o Output) bool { return kebab(o.Name) == output })
	}
	return i
}

// name is what a name without anything behind it means.
func (l *lowering) name(e *Expr) term {
	n, ok := l.names[e.Text]
	switch {
	case !ok || n.beside:
		return l.unknown(e.Text, e.Span)
	case n.constant != nil:
		return *n.constant
	case n.step != nil:
		return l.mainOutput(e, n)
	default:
		return l.wrong(e.Span, fmt.Sprintf("write %s.step2.receipt, or %s.NAME.receipt", e.Text, e.Text), "%s is another run, and not a value", e.Text)
	}
}

func (l *lowering) mainOutput(e *Expr, n *named) term {
	step := n.step
	if step.open && step.main == "" {
		return term{}
	}
	i := slices.IndexFunc(step.outputs, func(o Output) bool { return o.Name == step.main })
	if i >= 0 {
		return l.output(step.outputs[i], &Ref{Span: e.Span, Step: step.number, StepSpan: e.Span, Name: step.main, NameSpan: e.Span})
	}
	if len(step.outputs) == 0 {
		return l.wrong(e.Span, "", "%s (%s) gives nothing out", e.Text, step.action)
	}
	hint := "write " + e.Text + "." + kebab(step.outputs[0].Name)
	if len(step.outputs) > 1 {
		hint = "it has " + strings.Join(names(step.outputs, func(o Output) string { return e.Text + "." + kebab(o.Name) }), ", ")
	}
	return l.wrong(e.Span, hint, "%s (%s) gives out more than one thing: say which", e.Text, step.action)
}

// output is the term of an output.
func (l *lowering) output(o Output, ref *Ref) term {
	t := term{live: true, kind: o.Kind, mine: o.Sensitive, ref: ref, maybe: true}
	shape, known := o.Kind.shape()
	switch {
	case o.List:
		t.class = classList
	case !known:
		t.class = classAnything
	case shape == Bool:
		t.class = classTruth
	case shape == Number:
		t.class = classNumber
		t.unit, _ = Param{Kind: o.Kind}.unit()
		t.free = t.unit == NoUnit
	case shape == String:
		t.class = classText
	default:
		t.class = classObject
	}
	return t
}

// member is NAME.output, NAME.step2.output of another run, or a metric.
func (l *lowering) member(e *Expr) term {
	var path []string
	root := e
	for ; root != nil && root.Op == OpMember; root = root.X {
		path = append(path, root.Text)
		if len(path) > MaxLevels { // no name is that long
			return l.wrong(e.Span, "", "nothing has so many parts")
		}
	}
	if root == nil {
		return term{}
	}
	if root.Op != OpName {
		if t := l.eval(root); t.class == classWrong {
			return term{}
		}
		return l.wrong(e.Span, "NAME.OUTPUT names an output of the step NAME", "only a step has outputs")
	}
	slices.Reverse(path)
	full := root.Text + "." + strings.Join(path, ".")
	n, ok := l.names[root.Text]
	if metric, known := l.metrics[full]; known && (!ok || len(path) != 1 || !n.gives(path[0])) {
		return l.metric(e, metric)
	}
	last := Span{e.End - len(e.Text), e.End}
	switch {
	case !ok && l.isMetric(root.Text):
		return l.wrong(e.Span, l.metricHint(root.Text, full), "there is no metric %s", full)
	case !ok || n.beside:
		return l.unknown(root.Text, root.Span)
	case n.constant != nil:
		if n.constant.class == classWrong {
			return term{}
		}
		return l.wrong(e.Span, "only steps have outputs", "%s is a constant, and has no %s", root.Text, strings.Join(path, "."))
	case n.step != nil && len(path) == 1:
		return l.stepOutput(e, n, path[0], last)
	case n.step != nil:
		return l.wrong(last, "only a whole output can be used", "%s.%s has no parts", root.Text, path[0])
	case len(path) == 2:
		return l.otherRun(e, n, path, last)
	default:
		return l.wrong(e.Span, fmt.Sprintf("write %s.step2.receipt, or %s.NAME.receipt", root.Text, root.Text),
			"an output of another run has the step and the output's name behind it")
	}
}

func (l *lowering) stepOutput(e *Expr, n *named, output string, span Span) term {
	step := n.step
	i := step.find(output)
	if i < 0 {
		if step.open {
			return term{}
		}
		known := names(step.outputs, func(o Output) string { return kebab(o.Name) })
		for _, m := range l.options.Metrics { // some of them may begin with the same word
			if name, ok := strings.CutPrefix(m.Name, n.Text+"."); ok && l.judging {
				known = append(known, name)
			}
		}
		hint := nearest(output, known)
		if stem := strings.TrimRight(output, "0123456789"); stem != output && step.numbered != "" && slices.Contains(known, stem+"1") {
			hint = step.numbered
		}
		return l.wrong(span, hint, "%s (%s) has no output %q", n.Text, step.action, output)
	}
	root := e.X.Span
	return l.output(step.outputs[i], &Ref{Span: e.Span, Step: step.number, StepSpan: root, Name: step.outputs[i].Name, NameSpan: span})
}

// otherRun is an output of another run, by the step's number or name there. Of which kind it is nobody knows.
func (l *lowering) otherRun(e *Expr, n *named, path []string, span Span) term {
	ref := &Ref{Span: e.Span, StepSpan: Span{e.X.End - len(e.X.Text), e.X.End}, Name: path[1], NameSpan: span, File: n.file, StepID: path[0]}
	if number, ok := strings.CutPrefix(path[0], "step"); ok {
		if step, err := strconv.ParseInt(number, 10, 32); err == nil && step >= 0 {
			ref.Step, ref.StepID = int(step), ""
		}
	}
	if name, ok := l.outputNames()[path[1]]; ok {
		ref.Name = name
	}
	return term{class: classAnything, live: true, kind: Any, ref: ref, maybe: true}
}

// outputNames are the names of all outputs, by what they are in the script language.
func (l *lowering) outputNames() map[string]string {
	if l.outputs == nil {
		l.outputs = map[string]string{}
		for _, s := range l.options.Signatures {
			for _, o := range s.Outputs {
				l.outputs[kebab(o.Name)] = o.Name
			}
		}
	}
	return l.outputs
}

func (l *lowering) metric(e *Expr, m Metric) term {
	if !l.judging {
		return l.wrong(e.Span, "expect and watch ask for it", "the metric %s cannot be used here", m.Name)
	}
	unit, _, _ := m.Unit.base()
	return term{class: classNumber, unit: unit, live: true, formula: &Formula{
		Span: e.Span, Op: OpMember, Text: m.Name, Value: Constant{Unit: unit}, Number: l.current,
	}}
}

// isMetric reports whether there are metrics whose names begin with this word.
func (l *lowering) isMetric(word string) bool {
	return slices.ContainsFunc(l.options.Metrics, func(m Metric) bool { return strings.HasPrefix(m.Name, word+".") })
}

// metricHint says which metric may be meant, or else which of them begin with the same word.
func (l *lowering) metricHint(word, given string) string {
	all := names(l.options.Metrics, func(m Metric) string { return m.Name })
	alike := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return !strings.HasPrefix(name, word+".") })
	return cmp.Or(Suggest(given, all), "there are "+listed(alike))
}

// kindsOfLoad are the words that the kind of a scope may be.
func kindsOfLoad() []string { return []string{"payments", "zkapps"} }

// narrowed is METRIC(round: 2, kind: payments): the metric of a part of the run.
func (l *lowering) narrowed(e *Expr) term {
	t := l.eval(e.X)
	t.Span = e.Span
	in := Span{e.X.End, e.End}
	scope, varies, ok := l.scope(e)
	switch {
	case t.class == classWrong || !ok:
		return term{}
	case t.formula == nil || t.formula.Op != OpMember:
		return l.wrong(in, "write "+l.textOf(e.X.Span), "only metrics of transactions have a round and a kind")
	case !l.metrics[t.formula.Text].Scoped && len(e.Arguments) > 0:
		scoped := slices.DeleteFunc(slices.Clone(l.options.Metrics), func(m Metric) bool { return !m.Scoped })
		return l.wrong(in, "these have a round and a kind: "+listed(names(scoped, func(m Metric) string { return m.Name })),
			"%s is of the whole run", t.formula.Text)
	}
	t.formula.Span, t.formula.Scope, t.varies = e.Span, scope, varies
	return t
}

// scope works out the arguments of a metric, and whether they depend on the round of a repeat. It is false where they are wrong, which is
// reported.
func (l *lowering) scope(e *Expr) (scope Scope, varies, ok bool) {
	const usage = "it is written: tx.included(round: 2, kind: payments)"
	known := []string{"round", "kind"}
	given := map[string]bool{}
	ok = true
	for _, a := range e.Arguments {
		switch {
		case a.Value == nil: // the parser said what is wrong
			ok = false
		case a.Name == nil:
			l.report(a.Span, usage, "what narrows a metric has a name: round or kind")
			ok = false
		case !slices.Contains(known, a.Name.Text):
			l.report(a.Name.Span, cmp.Or(nearest(a.Name.Text, known), usage), "a metric has no parameter %q", a.Name.Text)
			ok = false
		case given[a.Name.Text]:
			l.report(a.Name.Span, "keep one of them", "%q is given twice", a.Name.Text)
			ok = false
		case a.Name.Text == "kind":
			var fits bool
			scope.Kind, fits = l.kindOfLoad(a.Value)
			ok = ok && fits
		default:
			round := l.eval(a.Value)
			varies = round.varies
			var fits bool
			scope.Round, fits = l.roundOf(round)
			ok = ok && fits
		}
		if a.Name != nil {
			given[a.Name.Text] = true
		}
	}
	return scope, varies, ok
}

// roundOf returns the round that a value is. It is false where it is none, which is reported.
func (l *lowering) roundOf(t term) (*int64, bool) {
	switch {
	case t.class == classWrong:
		return nil, false
	case t.live:
		l.report(t.Span, "write a number, a param, or the counter of a repeat", notBefore)
		return nil, false
	case t.class != classNumber || t.unit != NoUnit || !t.number.IsInt() || t.number.Sign() < 0 || !t.number.Num().IsInt64():
		l.against(t.own(), "write round: 0", "a round is a whole number from 0 on")
		return nil, false
	}
	round := t.number.Num().Int64()
	return &round, true
}

// kindOfLoad returns the kind of transactions that a value says: a word, or a text that is one. It is false where it is none, which is
// reported.
func (l *lowering) kindOfLoad(e *Expr) (string, bool) {
	words := kindsOfLoad()
	t := term{Span: e.Span, class: classText, text: e.Text}
	if e.Op != OpName || l.names[e.Text] != nil && !slices.Contains(words, e.Text) {
		t = l.eval(e)
	}
	all := strings.Join(words, " or ")
	switch {
	case t.class == classWrong:
		return "", false
	case t.class != classText || t.live || t.hidden || t.secret:
		l.against(t.own(), "write kind: "+words[0], "a kind is %s, not %s", all, t.describe())
		return "", false
	case !slices.Contains(words, t.text):
		l.against(t, cmp.Or(Suggest(t.text, words), "write "+all), "a kind is %s, not %s", all, t.text)
		return "", false
	}
	return t.text, true
}

// made is where a name is made, whether or not it is known where somebody asks for it.
type made struct {
	at     Span
	by     Span   // the statement that makes it
	within *Span  // the block that it is known in; nil for the whole script
	where  string // what that block is
}

// everyName returns where all names of the script are made.
func (l *lowering) everyName() map[string][]made {
	if l.everywhere == nil {
		l.everywhere = map[string][]made{}
		for _, s := range l.tree.Statements {
			l.findNames(s, nil, "")
		}
	}
	return l.everywhere
}

func (l *lowering) findNames(s Statement, within *Span, where string) {
	found := func(name *Name) {
		if name != nil {
			l.everywhere[name.Text] = append(l.everywhere[name.Text], made{name.Span, s.Place(), within, where})
		}
	}
	inside := func(b *Block, within *Span, where string) {
		if b == nil {
			return
		}
		for _, s := range b.Statements {
			l.findNames(s, within, where)
		}
	}
	switch s := s.(type) {
	case *Binding:
		found(&s.Name)
	case *Use:
		found(&s.As)
	case *Call:
		found(s.Name)
		inside(s.Body, within, where)
	case *Parallel:
		inside(s.Body, within, where)
	case *Block:
		inside(s, within, where)
	case *Deadline:
		inside(s.Body, within, where)
	case *Repeat:
		if s.Body != nil {
			where = "repeat"
			within = &s.Body.Span
		}
		found(s.As)
		inside(s.Body, within, where)
	case *Closing:
		where = "on failure"
		if s.Finally {
			where = "finally"
		}
		if s.Body != nil {
			inside(s.Body, &s.Body.Span, where)
		}
	}
}

// unknown reports a name that stands for nothing here, once.
func (l *lowering) unknown(name string, span Span) term {
	if name == "" || l.missing[name] {
		return term{}
	}
	if l.source != l.tree.Source {
		return l.wrong(span, "write a value, such as 30m", "a setting knows no names: nothing is named %q", name)
	}
	l.missing[name] = true
	if whole, hint := l.rate(name, span); hint != "" {
		return l.wrong(whole, hint, "%s is not a unit", name)
	}
	for _, m := range l.everyName()[name] {
		line := l.line(m.at)
		inside := m.within == nil || m.within.Start <= span.Start && span.End <= m.within.End
		switch n := l.names[name]; {
		case n != nil && n.beside:
			return l.wrong(span, "put this statement behind the parallel", "%q is made in line %s, in a branch that runs at the same time", name, line)
		case !inside:
			return l.wrong(span, "make it outside of the block, or use it inside", "%q is made in line %s, inside %s, and known only there", name, line, m.where)
		case l.binding == m.at:
			return l.wrong(span, "it can be used behind this statement", "%q is the name of what this statement makes", name)
		case m.at.Start >= span.Start:
			hint := "put this statement behind line " + line
			if end := l.line(Span{Start: m.by.End}); end != line {
				hint = fmt.Sprintf("put this statement behind the one that makes %q (lines %s-%s)", name, line, end)
			}
			return l.wrong(span, hint, "%q is used before it is made", name)
		}
	}
	return l.wrong(span, l.guess(name), "nothing is named %q", name)
}

// rate says what somebody meant who wrote a rate with a unit such as /hour, and where all of it stands; "" for any other name.
func (l *lowering) rate(name string, span Span) (whole Span, hint string) {
	unit, known := map[string]Unit{
		"sec": UnitPerSec, "second": UnitPerSec, "seconds": UnitPerSec, "m": UnitPerMin, "minute": UnitPerMin, "minutes": UnitPerMin,
		"hour": UnitPerHour, "hours": UnitPerHour,
	}[name]
	before, divided := strings.CutSuffix(string(l.source.Text[max(0, span.Start-maxShown):span.Start]), "/")
	digits := before[len(strings.TrimRight(before, "0123456789_.")):]
	if !known || !divided || digits == "" || len(l.everyName()[name]) > 0 {
		return Span{}, ""
	}
	return Span{span.Start - 1 - len(digits), span.End}, "write " + digits + string(unit)
}

// maxGuesses bounds how many names are compared with those that stand for nothing: a long script may have thousands of either.
const maxGuesses = 100_000

// guess says what somebody may have meant by a name that stands for nothing.
func (l *lowering) guess(name string) string {
	for i, c := range name {
		if c != '-' {
			continue
		}
		left, right := name[:i], name[i+1:]
		if l.names[left] != nil && (l.names[right] != nil || right != "" && right[0] >= '0' && right[0] <= '9') {
			return fmt.Sprintf("names may have hyphens: to subtract, write %s - %s", left, right)
		}
	}
	if slices.Contains(functions(), name) {
		return fmt.Sprintf("the function is written %s()", name)
	}
	if l.guesses += len(l.names); l.guesses < maxGuesses {
		known := make([]string, 0, len(l.names))
		for other, n := range l.names {
			if !n.beside {
				known = append(known, other)
			}
		}
		slices.Sort(known) // of two that are as near the first is meant, in each run
		if near := Suggest(name, known); near != "" {
			return near
		}
	}
	if p := l.wanted; p != nil {
		shape, fixed := p.Kind.shape()
		switch {
		case len(p.Words) > 0:
			return cmp.Or(Suggest(name, p.Words), "write "+strings.Join(p.Words, " or "))
		case shape == Bool:
			return "write true or false"
		case fixed && shape == String && !p.List:
			return fmt.Sprintf("a text stands in quotes: %q", name)
		}
	}
	return "names are made with let, param or NAME = action(…)"
}
