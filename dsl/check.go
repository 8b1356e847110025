package dsl

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// Kind is the kind of a parameter or an output. What values of a kind mean is known to the actions; here a kind has a shape in JSON and
// can be told from the others, so that a list of keys cannot stand where addresses are wanted.
type Kind string

// The kinds.
const (
	Any        Kind = "any value"
	Flag       Kind = "boolean"
	Int        Kind = "whole number"
	Nanomina   Kind = "amount in nanomina"
	Rate       Kind = "number" // of transactions in a second
	Ratio      Kind = "ratio"
	Word       Kind = "text"
	Path       Kind = "path"
	EnvName    Kind = "name of an environment variable"
	Address    Kind = "node address"
	Server     Kind = "wallet server"
	PublicKey  Kind = "public key"
	PrivateKey Kind = "private key"
	Receipt    Kind = "receipt"
	SlotsWon   Kind = "slots won by a node"
	Commit     Kind = "commit of a node"
)

// shape returns the JSON shape of the kind's values, and false for Any.
func (k Kind) shape() (Shape, bool) {
	switch k {
	case Any:
		return 0, false
	case Flag:
		return Bool, true
	case Int, Nanomina, Rate, Ratio:
		return Number, true
	case Receipt, SlotsWon, Commit:
		return Object, true
	default:
		return String, true
	}
}

// many names several values of the kind.
func (k Kind) many() string {
	switch k {
	case Any:
		return "values"
	case Nanomina:
		return "amounts"
	case Address:
		return "node addresses"
	case EnvName:
		return "names of environment variables"
	case SlotsWon:
		return "slots won by nodes"
	case Commit:
		return "commits of nodes"
	default:
		return string(k) + "s"
	}
}

// listOf names a list of values of the kind.
func listOf(kind Kind) string {
	if kind == Any {
		return "a list"
	}
	return "a list of " + kind.many()
}

// fits reports whether an output of kind k may stand where kind want is asked for.
func (k Kind) fits(want Kind) bool {
	if k == want || k == Any || want == Any {
		return true
	}
	if k == PrivateKey || want == PrivateKey { // a key is no text, and no text a key
		return false
	}
	got, _ := k.shape()
	wanted, _ := want.shape()
	return want == Word && got == String || wanted == Number && got == Number
}

// Param describes one parameter of an action.
type Param struct {
	Name     string // as the JSON stream spells it
	Kind     Kind
	List     bool   // a list of values of that kind
	Nullable bool   // null means something of its own
	Required bool   // the zero value cannot work
	Unit     string // of a number
	Default  string // as documentation shows it; "" when there is none
	Doc      string
	// Valid says what is wrong with a literal value (each one of a list), or "". Nil: nothing beyond the kind.
	Valid func(Value) string

	// What follows is about the script language alone.

	Script     string   // its name there; "" for Name in kebab case
	End        End      // it is one end of a range there: fee: 0.1..0.2 mina; its range is named Script
	Positional bool     // a value without a name may be it, if it has its unit: wait(10m), wait(30s)
	Words      []string // the texts that it may be: they stand there without quotes, and the one that is the Default is the same as nothing
	Absent     string   // as JSON, what it is where a script leaves it out there; "" for what it is in the JSON stream
}

// End says which end of a range a parameter is.
type End uint8

// The ends of a range.
const (
	NoEnd End = iota
	LowerEnd
	UpperEnd
)

// ExperimentName is, as the Absent of a parameter, the name of the experiment with the round: churn-30-0, and inside repeat the counter in
// place of the 0.
const ExperimentName = "${experiment}-${round}"

// ScriptName is the parameter's name in the script language: that of the range whose end it is, its own name in kebab case, or another.
func (p Param) ScriptName() string { return cmp.Or(p.Script, kebab(p.Name)) }

// kebab writes a name such as newAccountRatio with hyphens: new-account-ratio.
func kebab(name string) string {
	var out []byte
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			if i > 0 && (name[i-1] < 'A' || name[i-1] > 'Z') {
				out = append(out, '-')
			}
			c += 'a' - 'A'
		}
		out = append(out, c)
	}
	return string(out)
}

// Output describes one output of an action.
type Output struct {
	Name      string
	Kind      Kind
	List      bool // the value, or the elements of a multi output together, are a list
	Multi     bool // one line for each element; without an element there is no output
	Sensitive bool // never printed or recorded
	Doc       string
}

// Signature describes an action to the checker and to documentation.
type Signature struct {
	Action  string
	Doc     string
	Params  []Param
	Outputs []Output
	// Numbered gives outputs of which the arguments decide how many there are (group1, group2, …). May be nil.
	Numbered func(*Step) []Output
	// Main is the output that the bare name of a step stands for in the script language; "" for none.
	Main string
}

// param returns the index of the parameter of that name, whatever its case, or -1.
func (s Signature) param(name string) int {
	if i := slices.IndexFunc(s.Params, func(p Param) bool { return p.Name == name }); i >= 0 {
		return i
	}
	return slices.IndexFunc(s.Params, func(p Param) bool { return strings.EqualFold(p.Name, name) })
}

// OutputsOf returns all outputs of a step of this action.
func (s Signature) OutputsOf(step *Step) []Output {
	if s.Numbered == nil {
		return s.Outputs
	}
	return append(slices.Clone(s.Outputs), s.Numbered(step)...)
}

// Checker compares steps with the actions that exist. It keeps what later steps may refer to. Not safe for concurrent use.
type Checker struct {
	signatures map[string]Signature
	names      []string
	earlier    []earlierStep
}

type earlierStep struct {
	action  string
	id      string // of a step of the script language
	counts  bool   // it is known by its number
	outputs []Output
	known   bool // the action exists
}

func (e earlierStep) output(name string) (Output, bool) {
	i := slices.IndexFunc(e.outputs, func(o Output) bool { return o.Name == name })
	if i < 0 {
		return Output{}, false
	}
	return e.outputs[i], true
}

// NewChecker returns a checker for the actions of these signatures.
func NewChecker(signatures []Signature) *Checker {
	c := &Checker{signatures: make(map[string]Signature, len(signatures))}
	for _, s := range signatures {
		c.signatures[s.Action] = s
		c.names = append(c.names, s.Action)
	}
	return c
}

// Check returns all findings about a script. What the actions themselves have against their arguments is not among them.
func Check(script *Script, signatures []Signature) Findings {
	c := NewChecker(signatures)
	var found Findings
	for _, step := range script.Steps() {
		found = append(found, c.Step(script.Source, step)...)
	}
	return found.Sort()
}

// Step returns the findings about the next step of a script, in no particular order. Steps must come in the order of their numbers.
func (c *Checker) Step(source *Source, step *Step) Findings {
	found := slices.Clone(step.faults)
	number := step.Number
	if step.language { // whose reader does not count steps
		number = -1
	}
	report := func(span Span, hint, format string, args ...any) {
		found = append(found, finding(source, span, number, hint, format, args...))
	}
	signature, known := c.signatures[step.Action]
	entry := earlierStep{action: step.Action, id: step.ID, counts: !step.language, known: known}
	switch {
	case known:
		entry.outputs = signature.OutputsOf(step)
		if HoldsBlock(step.Action) && !step.language {
			report(step.ActionSpan, "write the script in the script language",
				"%s is in force for the length of a block, which has no spelling in the JSON stream", step.Action)
		}
	case step.Action != "": // without an action there is a finding already
		report(step.ActionSpan, cmp.Or(Suggest(step.Action, c.names), "orchestrator explain lists the actions"), "unknown action %q", step.Action)
	}
	given := make([]*Arg, len(signature.Params))
	for a := range step.Args {
		arg := &step.Args[a]
		if arg.Ref != nil {
			c.ref(arg.Ref, step, report)
		}
		if !known {
			continue
		}
		i := signature.param(arg.Name)
		if i < 0 {
			report(arg.NameSpan, nearest(arg.Name, names(signature.Params, func(p Param) string { return p.Name })),
				"%s has no parameter %q", step.Action, arg.Name)
			continue
		}
		if given[i] != nil && given[i].Name != arg.Name { // what is the same to the letter is a finding already
			report(arg.NameSpan, "keep one of them", "%q is given twice, as %q too", arg.Name, given[i].Name)
		}
		given[i] = arg
		switch param := (asked{&signature.Params[i], step.language}); {
		case arg.Formula != nil: // was compared with the parameter when it was made
		case arg.Ref != nil:
			c.refKind(arg.Ref, param, report)
		case arg.Value.Shape != Object: // an object that is no reference is a finding already
			literal(arg.Value, param, report)
		}
	}
	var missing []asked
	for i := range signature.Params {
		p := asked{&signature.Params[i], step.language}
		if p.Required && given[i] == nil && !slices.ContainsFunc(missing, func(m asked) bool { return m.name() == p.name() }) {
			missing = append(missing, p)
		}
	}
	if step.language && len(missing) > 1 {
		slices.SortFunc(missing, func(a, b asked) int { return strings.Compare(a.name(), b.name()) })
		report(step.ActionSpan, c.howToGiveAll(missing), "%s needs %s", step.Action, listed(names(missing, asked.name)))
		missing = nil
	}
	for _, p := range missing {
		report(step.ActionSpan, c.howToGive(p), "%s needs the parameter %q: %s", step.Action, p.name(), p.Doc)
	}
	if slices.ContainsFunc(step.Args, c.handsOnSecret) {
		entry.outputs = keptSecret(entry.outputs)
	}
	c.earlier = append(c.earlier, entry)
	return found
}

// asked is a parameter as it is spelled where a script asks for it.
type asked struct {
	*Param
	language bool // in the script language
}

func (p asked) name() string {
	if p.language {
		return p.ScriptName()
	}
	return p.Name
}

// spelled is the name of an output where the parameter is asked for.
func (p asked) spelled(output string) string {
	if p.language {
		return kebab(output)
	}
	return output
}

// howToGive says how a parameter is given.
func (c *Checker) howToGive(p asked) string {
	if !p.language {
		return ""
	}
	if action := c.maker(p); action != "" {
		return fmt.Sprintf("add %s: x, where x = %s(…)", p.ScriptName(), action)
	}
	return "add " + p.ScriptName() + ": " + p.example()
}

// howToGiveAll says how several parameters of a step of the script language are given.
func (c *Checker) howToGiveAll(all []asked) string {
	var arguments, steps []string
	for _, p := range all {
		value := p.example()
		if action := c.maker(p); action != "" {
			value = string("xyzuvw"[len(steps)%6])
			steps = append(steps, fmt.Sprintf("%s = %s(…)", value, action))
		}
		arguments = append(arguments, p.ScriptName()+": "+value)
	}
	hint := "add " + strings.Join(arguments, ", ")
	if len(steps) > 0 {
		hint += ", where " + listed(steps)
	}
	return hint
}

// maker returns an action that gives out what one does not write down: lists and objects; "" where there is none.
func (c *Checker) maker(p asked) string {
	if shape, fixed := p.Kind.shape(); !p.List && (!fixed || shape != Object) {
		return ""
	}
	for _, action := range c.names {
		if slices.ContainsFunc(c.signatures[action].Outputs, func(o Output) bool { return o.Kind == p.Kind && o.List == p.List }) {
			return action
		}
	}
	return ""
}

// title names the step of that number in messages.
func (e earlierStep) title(number int) string {
	switch {
	case e.counts:
		return fmt.Sprintf("step %d (%s)", number, e.action)
	case e.id == "":
		return e.action
	default:
		name, _, _ := strings.Cut(e.id, "[")
		return fmt.Sprintf("%s (%s)", name, e.action)
	}
}

// handsOnSecret reports whether an argument is an output that must not be printed or recorded, as it is.
func (c *Checker) handsOnSecret(a Arg) bool {
	if a.Formula != nil {
		return c.secretFormula(a.Formula)
	}
	return a.Ref != nil && a.Ref.File == "" && c.Sensitive(a.Ref.Step, a.Ref.Name)
}

func (c *Checker) secretFormula(f *Formula) bool {
	if f.Op == OpElse {
		return slices.ContainsFunc(f.Args, c.secretFormula)
	}
	return f.Op == OpName && f.Ref.File == "" && c.Sensitive(f.Ref.Step, f.Ref.Name)
}

// keptSecret marks outputs that hand on whatever they are given as sensitive: they are given something sensitive.
func keptSecret(outputs []Output) []Output {
	outputs = slices.Clone(outputs)
	for i := range outputs {
		outputs[i].Sensitive = outputs[i].Sensitive || outputs[i].Kind == Any
	}
	return outputs
}

// Sensitive reports whether an output of a step that was checked already must not be printed or recorded: by its action, or because it hands
// on what must not.
func (c *Checker) Sensitive(step int, output string) bool {
	return step >= 0 && step < len(c.earlier) &&
		slices.ContainsFunc(c.earlier[step].outputs, func(o Output) bool { return o.Name == output && o.Sensitive })
}

type report func(span Span, hint, format string, args ...any)

func names[T any](of []T, name func(T) string) []string {
	all := make([]string, len(of))
	for i, one := range of {
		all[i] = name(one)
	}
	return all
}

// nearest says which name may be meant, or if none is near which there are.
func nearest(given string, known []string) string {
	if len(known) == 0 {
		return "it has none"
	}
	return cmp.Or(Suggest(given, known), "it has "+strings.Join(known, ", "))
}

// ref looks for the step and the output that a reference names.
func (c *Checker) ref(ref *Ref, step *Step, report report) {
	if ref.File != "" {
		return
	}
	if ref.Step >= step.Number {
		report(ref.StepSpan, "", "the reference points to step %d, which has not run when step %d does", ref.Step, step.Number)
		return
	}
	if ref.Step >= len(c.earlier) { // the steps stand in an order that is a finding already
		return
	}
	target := c.earlier[ref.Step]
	if _, ok := target.output(ref.Name); target.known && !ok {
		report(ref.NameSpan, nearest(ref.Name, names(target.outputs, func(o Output) string { return o.Name })),
			"%s has no output %q", target.title(ref.Step), ref.Name)
	}
}

// refKind compares the output that an argument refers to with the parameter's kind, and checks the value given for its absence.
func (c *Checker) refKind(ref *Ref, param asked, report report) {
	if ref.OnEmpty != nil {
		literal(*ref.OnEmpty, param, report)
	}
	if ref.File != "" || ref.Step >= len(c.earlier) {
		return
	}
	target := c.earlier[ref.Step]
	output, ok := target.output(ref.Name)
	if !ok {
		return
	}
	// One value of any kind may be a list.
	open := func(kind Kind, list bool) bool { return kind == Any && !list }
	listFits := output.List == param.List || open(output.Kind, output.List) || open(param.Kind, param.List)
	if (!listFits || !output.Kind.fits(param.Kind)) && param.language {
		of := target.title(ref.Step)
		if name, _, _ := strings.Cut(target.id, "["); ref.NameSpan != ref.StepSpan { // the main output goes by the step's name
			of = fmt.Sprintf("%s.%s (%s)", name, kebab(ref.Name), target.action)
		}
		wanted, given := param.wants(), Param{Kind: output.Kind, List: output.List}.wants()
		if param.Kind != output.Kind && param.List && output.List && param.Kind != Any && output.Kind != Any {
			wanted, given = param.Kind.many(), output.Kind.many()
		}
		report(ref.Span, "", "%q wants %s, and %s gives %s", param.name(), wanted, of, given)
		return
	}
	if !listFits || !output.Kind.fits(param.Kind) {
		report(ref.Span, "", "%q wants %s, and %q of %s is %s",
			param.name(), wants(param.Kind, param.List), param.spelled(ref.Name), target.title(ref.Step), wants(output.Kind, output.List))
		return
	}
	if output.Sensitive && param.Kind != PrivateKey && param.Kind != Any { // what does not know that it handles a secret would print it
		report(ref.Span, "", "%q cannot be secret, and %q of %s is", param.name(), param.spelled(ref.Name), target.title(ref.Step))
	}
}

// wants describes a kind, or a list of it.
func wants(kind Kind, list bool) string {
	switch {
	case list && kind == Any:
		return "a list"
	case list:
		return fmt.Sprintf("a list (of: %s)", kind)
	default:
		return fmt.Sprintf("one value (%s)", kind)
	}
}

// literal checks a literal against its parameter. Null is the absence of a value, as in the existing tool.
func literal(v Value, param asked, report report) {
	switch {
	case v.Shape == Null:
		if param.Required && !param.Nullable {
			report(v.Span, "", "%q needs a value: %s", param.name(), param.Doc)
		}
	case !param.List:
		scalar(v, param, report)
	case v.Shape != List:
		report(v.Span, "write it in [ ]", "%q wants a list, not %s", param.name(), v.Shape)
	default:
		for _, item := range v.Items {
			scalar(item, param, report)
		}
	}
}

// scalar checks one value.
func scalar(v Value, param asked, report report) {
	shape, fixed := param.Kind.shape()
	if !fixed {
		return
	}
	if v.Shape != shape {
		hint := ""
		switch {
		case shape == Number && v.Shape == String:
			hint = "write the number without quotes"
		case v.Shape == Object && slices.ContainsFunc(v.Fields, func(f Field) bool { return strings.EqualFold(f.Key, "type") }):
			hint = "a reference stands for a whole parameter, never inside a list"
		}
		report(v.Span, hint, "%q wants %s (%s), not %s", param.name(), shape, param.Kind, v.Shape)
		return
	}
	if shape == Number && !param.language { // whose numbers were checked with their units
		if wrong, hint := numeric(v.Text, param.Kind); wrong != "" {
			report(v.Span, hint, "%q %s: %s", param.name(), wrong, v.Text)
			return
		}
	}
	if param.Valid != nil {
		if wrong := param.Valid(v); wrong != "" {
			hint := ""
			if param.language {
				hint = param.rule()
			}
			report(v.Span, hint, "%q %s", param.name(), hushed(wrong, v))
		}
	}
}

// hushed is what an action has against a value, without the value itself where that is secret.
func hushed(wrong string, v Value) string {
	if !v.Secret || v.Text == "" {
		return wrong
	}
	return strings.ReplaceAll(wrong, v.Text, masked)
}

// numeric says what is wrong with a number of that kind, and what would not be; "" when nothing is.
func numeric(text string, kind Kind) (wrong, hint string) {
	if n, err := strconv.ParseUint(text, 10, 64); err == nil && (kind != Int || n <= math.MaxInt32) {
		return "", "" // most numbers are like this, and exact arithmetic costs more than all other checks
	}
	number, ok := Decimal(text)
	switch {
	case !ok:
		return "is out of range", ""
	case kind == Int:
		if _, small := smallNumber(text); number.IsInt() && !small {
			return "is out of range", fmt.Sprintf("from %d to %d", math.MinInt32, math.MaxInt32)
		}
	case number.Sign() < 0: // amounts, rates and ratios
		return "cannot be negative", ""
	case kind == Nanomina && number.IsInt() && !number.Num().IsUint64():
		return "is out of range", fmt.Sprintf("at most %d", uint64(math.MaxUint64))
	}
	if (kind == Int || kind == Nanomina) && !number.IsInt() {
		return "must be a whole number", ""
	}
	return "", ""
}

// WholeNumber returns the value of a number's text that is integral, in whatever form it is written (1e9, 10.0), and whether it is.
func WholeNumber(text string) (*big.Int, bool) {
	number, ok := Decimal(text)
	if !ok || !number.IsInt() {
		return nil, false
	}
	return number.Num(), true
}

// Decimal returns the exact value of a number as JSON writes it, and false for any other text, one of more than 400 characters and one
// with an exponent beyond ±400.
func Decimal(text string) (*big.Rat, bool) {
	r := reader{text: []byte(text)}
	if _, err := r.number(); err != nil || !r.end() {
		return nil, false
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		if exponent, err := strconv.Atoi(text[i+1:]); err != nil || exponent < -maxNumber || exponent > maxNumber {
			return nil, false
		}
	}
	return new(big.Rat).SetString(text)
}
