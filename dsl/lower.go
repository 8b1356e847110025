package dsl

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"
)

// LowerOptions say what is known beside a script of the script language.
type LowerOptions struct {
	Signatures []Signature // of the actions that exist
	Metrics    []Metric    // that conditions may ask for
	Settings   []Setting   // of the script's parameters
	// Env looks an environment variable up. Nil: nothing is known of any, and none that is not set is reported.
	Env func(name string) (value string, set bool)
}

// Setting gives a param of a script another value than the script does.
type Setting struct{ Name, Value string }

// The bounds of what a script may come to.
const (
	maxUnrolled = 100_000    // statements, of repeats with all their rounds
	maxWork     = 10_000_000 // expressions of repeats in all rounds, elements of lists in all steps
	maxAttempts = 1000
	maxStretch  = math.MaxInt64 / int64(time.Second) // in seconds
)

// Lower checks a script, works out what is constant in it, and makes the steps of it that the JSON stream would have. All findings come
// together, sorted. The script is returned also when there are errors among them, for what else may be wrong with it to be found; what is
// wrong stands in it as an argument whose value is not known.
func (t *Tree) Lower(o LowerOptions) (*Script, Findings) {
	l := &lowering{
		tree: t, source: t.Source, options: o, current: -1,
		script:  &Script{Source: t.Source, Language: true},
		checker: NewChecker(o.Signatures), actions: make(map[string]*callable, len(o.Signatures)), metrics: make(map[string]Metric, len(o.Metrics)),
		names: map[string]*named{}, ids: map[string]Span{}, missing: map[string]bool{}, unset: map[string]bool{}, secrets: map[string]bool{},
		first: map[string]Span{},
	}
	for _, s := range o.Signatures {
		l.actions[s.Action] = newCallable(s)
	}
	for _, m := range o.Metrics {
		l.metrics[m.Name] = m
	}
	l.settings()
	for _, s := range t.Statements {
		l.top(s)
	}
	slices.Sort(l.script.Settings)
	return l.script, append(l.foundInSettings, l.found.Sort()...)
}

// lowering is the work on one script.
type lowering struct {
	tree    *Tree
	source  *Source
	options LowerOptions
	script  *Script
	checker *Checker
	actions map[string]*callable
	metrics map[string]Metric

	found           Findings
	foundInSettings Findings
	silent          bool // the script is too large, and no more of it is looked at

	steps, items int // so far
	current      int // number of the step whose arguments are worked out; -1 elsewhere
	judging      bool
	overridden   bool   // the value of a param that the caller gives another
	wanted       *Param // for which a name stands
	binding      Span   // of the name that the current statement makes

	names      map[string]*named
	made       []string        // names, in order
	ids        map[string]Span // of steps
	missing    map[string]bool // names that were reported
	guesses    int             // names that were compared with these
	everywhere map[string][]made
	outputs    map[string]string // names of outputs, by what the script language calls them

	experiment term            // its name; class wrong before it is known
	first      map[string]Span // of the statements that there is one of
	closed     bool            // on failure or finally came
	late       bool            // a statement behind these was reported

	rounds   []int          // of the repeats that are unrolled
	round    int            // all of them in one number
	serial   int            // of the round, among all
	seen     map[Span]int   // what was reported in which round
	cached   map[*Expr]kept // arguments that are the same in each round
	unrolled int
	work     int
	outer    Span // the outermost repeat

	given []bool            // parameters of the current call
	lists map[listKey]Value // that were made

	unset   map[string]bool
	secrets map[string]bool
	values  map[string]string // that the caller gives to params
}

// report adds an error.
func (l *lowering) report(span Span, hint, format string, args ...any) {
	l.add(finding(l.source, span, -1, hint, format, args...))
}

// against reports an error in a value: where the caller gives it, or else where it stands in the script.
func (l *lowering) against(t term, hint, format string, args ...any) {
	f := finding(l.source, t.Span, -1, hint, format, args...)
	if t.set != nil {
		f.Source, f.Span = t.set.source, t.set.Span
	}
	l.add(f)
}

func (l *lowering) warn(span Span, hint, format string, args ...any) {
	f := finding(l.source, span, -1, hint, format, args...)
	f.Severity = Warning
	l.add(f)
}

// add adds a finding. What is wrong in several rounds of a repeat is told once.
func (l *lowering) add(f Finding) {
	if l.silent {
		return
	}
	if f.Source != l.tree.Source {
		same := func(g Finding) bool { // of another use of the param
			return g.Source == f.Source && g.Span == f.Span && g.Message == f.Message
		}
		if !slices.ContainsFunc(l.foundInSettings, same) {
			l.foundInSettings = append(l.foundInSettings, f)
		}
		return
	}
	if len(l.rounds) > 0 {
		if round, ok := l.seen[f.Span]; ok && round != l.serial {
			return
		}
		l.seen[f.Span] = l.serial
		if slices.Max(l.rounds) > 0 {
			f.Message += " (in round " + l.roundText() + ")"
		}
	}
	l.found = append(l.found, f)
}

func (l *lowering) roundText() string {
	if len(l.rounds) == 1 {
		return fmt.Sprint(l.rounds[0])
	}
	return l.roundID()
}

// roundID is what stands behind a step's name in its id: [round].
func (l *lowering) roundID() string {
	var id strings.Builder
	for _, round := range l.rounds {
		fmt.Fprintf(&id, "[%d]", round)
	}
	return id.String()
}

// spend counts work that a short script can ask for much of. It is false once it is too much.
func (l *lowering) spend(span Span, n int) bool {
	l.work += n
	if l.work > maxWork {
		l.report(span, "fewer rounds, or shorter lists", "with all rounds and lists the script comes to too much here")
		l.silent = true
	}
	return !l.silent
}

// top lowers a statement of the script itself.
func (l *lowering) top(s Statement) {
	if closing, ok := s.(*Closing); ok {
		l.closing(closing)
		return
	}
	if l.closed && !l.late {
		l.late = true
		l.report(head(s), "move it above them", "on failure and finally must stand at the end of a script, and this stands behind them")
	}
	switch s := s.(type) {
	case *Experiment:
		if l.once("experiment", s.Span) {
			l.named(s)
		}
	case *Seed:
		if l.once("seed", s.Span) {
			l.seed(s)
		}
	case *Limits:
		for _, bound := range s.Bounds {
			l.limit(bound)
		}
	case *Use:
		l.use(s)
	case *Binding:
		l.constant(s)
	default:
		l.script.Items = l.statement(s, l.script.Items)
	}
}

// notBefore is said of what is known only while the script runs where that is too late.
const notBefore = "this must be known before the run"

// head is the beginning of a statement, as far as a mark under it helps.
func head(s Statement) Span {
	switch s := s.(type) {
	case *Call:
		return s.Action.Span
	case *Binding:
		return s.Name.Span
	default:
		span := s.Place()
		return Span{span.Start, min(span.End, span.Start+len(keyword(s)))}
	}
}

// keyword is the word that a statement begins with.
func keyword(s Statement) string {
	switch s := s.(type) {
	case *Experiment:
		return "experiment"
	case *Seed:
		return "seed"
	case *Limits:
		return "limit"
	case *Use:
		return "use"
	case *Parallel:
		return "parallel"
	case *Repeat:
		return "repeat"
	case *Deadline:
		return "within"
	case *Search:
		return "search"
	case *Claim:
		if s.Watch {
			return "watch"
		}
		return "expect"
	case *Closing:
		if s.Finally {
			return "finally"
		}
		return "on failure"
	case *Binding:
		if s.Param {
			return "param"
		}
		return "let"
	default:
		return "{"
	}
}

// once reports the second one of what a script has one of.
func (l *lowering) once(what string, span Span) bool {
	first, again := l.first[what]
	if !again {
		l.first[what] = span
		return true
	}
	l.report(Span{span.Start, min(span.End, span.Start+len(what))}, "the first is in line "+l.line(first)+"; keep one of them", "%s is given twice", what)
	return false
}

// named takes the experiment's name.
func (l *lowering) named(s *Experiment) {
	l.experiment = term{} // nothing more is said about it
	name := l.eval(s.Name)
	switch {
	case name.class == classWrong:
	case name.class != classText || name.live:
		l.against(name.own(), `write "name"`, "the experiment's name is a text, not %s", name.describe())
	case name.text == "":
		l.against(name, `write "name"`, "the experiment's name is empty")
	case name.secret:
		l.against(name, "memos and outputs show it", "the experiment's name cannot come from env()")
	default:
		l.experiment, l.script.Experiment = name, name.text
	}
}

// experimentName is the experiment's name, for what needs it at a place. That there is none is reported once.
func (l *lowering) experimentName(span Span, what string) term {
	_, begun := l.first["experiment"]
	if begun || l.missing["experiment"] {
		return l.experiment
	}
	l.missing["experiment"] = true
	for _, s := range l.tree.Statements {
		if s, ok := s.(*Experiment); ok {
			return l.wrong(span, "put that line at the beginning", "%s needs the experiment's name, which comes only in line %s", what, l.line(s.Span))
		}
	}
	return l.wrong(span, `begin the script with experiment "name"`, "%s needs the experiment's name, and there is none", what)
}

func (l *lowering) seed(s *Seed) {
	value := l.eval(s.Value)
	switch {
	case value.class == classWrong:
	case value.class != classNumber || value.live || value.unit != NoUnit || !value.number.IsInt() || !value.number.Num().IsUint64():
		l.report(value.Span, "write 42", "a seed is a whole number from 0 to %d", uint64(math.MaxUint64))
	default:
		seed := value.number.Num().Uint64()
		l.script.Seed = &seed
	}
}

// limit takes one upper bound.
func (l *lowering) limit(b Bound) {
	most := l.eval(b.Value)
	units := map[string]Unit{"rate": UnitTPS, "spend": UnitNanomina, "stopped": NoUnit}
	unit, known := units[b.Of.Text]
	if !known {
		l.report(b.Of.Span, cmp.Or(Suggest(b.Of.Text, []string{"rate", "spend", "stopped"}), "a limit is of rate, spend or stopped"),
			"there is no limit of %s", b.Of.Text)
		return
	}
	if first, again := l.first["limit "+b.Of.Text]; again {
		l.report(b.Of.Span, "the first is in line "+l.line(first)+"; keep one of them", "the limit of %s is given twice", b.Of.Text)
		return
	}
	l.first["limit "+b.Of.Text] = b.Span
	example := map[string]string{"rate": "2 tps", "spend": "20_000 mina", "stopped": "35%"}[b.Of.Text]
	usage := fmt.Sprintf("write %s <= %s", b.Of.Text, example)
	if b.Op != "<=" {
		l.report(b.Span, usage, "a limit must be an upper bound")
		return
	}
	usage = "write " + example
	switch {
	case most.class == classWrong:
	case most.live:
		l.report(most.Span, "write "+map[string]string{"rate": "a rate", "spend": "an amount", "stopped": "a share"}[b.Of.Text]+", or a param", notBefore)
	case most.class != classNumber || most.unit != unit:
		what := ofUnit(unit)
		if unit == NoUnit {
			what = "a share"
		}
		l.against(most.own(), usage, "a limit of %s wants %s, and this is %s", b.Of.Text, what, most.describe())
	case most.number.Sign() < 0 || unit == NoUnit && most.number.Cmp(big.NewRat(1, 1)) > 0:
		bounds := "cannot be below 0"
		if unit == NoUnit {
			bounds = "is from 0 to 1, or 0% to 100%"
		}
		l.against(most, usage, "the limit of %s %s", b.Of.Text, bounds)
	default:
		l.script.Limits = append(l.script.Limits, Limit{Span: b.Span, Of: b.Of.Text, Most: most.number, Text: l.textOf(b.Span)})
	}
}

// textOf is a stretch of the script, without the white space at its lines' ends.
func (l *lowering) textOf(span Span) string {
	lines := bytes.Split(l.source.Text[span.Start:span.End], []byte("\n"))
	for i, line := range lines {
		lines[i] = bytes.TrimRight(line, " \t\r")
	}
	return strings.TrimSpace(string(bytes.Join(lines, []byte("\n"))))
}

func (l *lowering) use(s *Use) {
	file := l.eval(s.File)
	n := named{}
	switch {
	case file.class == classWrong:
		n.constant = &term{}
	case file.class != classText || file.live || file.text == "" || file.secret:
		l.report(file.Span, `write "start.out"`, "use wants the file with another run's outputs")
		n.constant = &term{}
	default:
		n.file = file.text
	}
	l.bind(s.As, n)
}

// closing lowers on failure and finally.
func (l *lowering) closing(s *Closing) {
	l.closed = true
	mark := len(l.made)
	items := l.block(s.Body, s, nil)
	l.leave(mark)
	if !l.once(keyword(s), s.Span) {
		return
	}
	if s.Finally {
		l.script.Finally = items
	} else {
		l.script.OnFailure = items
	}
}

// number returns the next item's number.
func (l *lowering) number() int {
	l.items++
	return l.items - 1
}

// constant lowers let and param.
func (l *lowering) constant(s *Binding) {
	setting, set := "", false
	if s.Param {
		setting, set = l.values[s.Name.Text]
	}
	l.binding, l.overridden = s.Name.Span, set
	value := l.eval(s.Value)
	l.binding, l.overridden = Span{}, false
	switch {
	case value.live && value.formula != nil && value.formula.fixed():
		value = l.wrong(value.Span, "write it where it is used", "time and slots cannot be mixed in a %s: the length of a slot is not known here", keyword(s))
	case value.live:
		value = l.wrong(value.Span, "write it where it is used", "%s is a constant, and this is known only while the script runs", keyword(s))
	}
	if set && value.class != classWrong {
		value = l.set(s.Name.Text, setting, value)
	}
	l.bind(s.Name, named{constant: &value})
}

// fixed reports whether nothing in a formula waits for the run: it is one since time and slots meet in it.
func (f *Formula) fixed() bool {
	if len(f.Args) == 0 {
		return f.Op == opConstant
	}
	return !slices.ContainsFunc(f.Args, func(arg *Formula) bool { return !arg.fixed() })
}
