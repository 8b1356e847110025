package dsl

import (
	"fmt"
	"math/big"
	"slices"
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

// fits reports whether an output of kind k may stand where kind want is asked for.
func (k Kind) fits(want Kind) bool {
	if k == want || k == Any || want == Any {
		return true
	}
	got, _ := k.shape()
	wanted, _ := want.shape()
	switch {
	case k == PrivateKey || want == PrivateKey: // secrets stay where they belong
		return false
	case wanted == String && want == Word: // any text will do
		return got == String
	case wanted == Number:
		return got == Number
	}
	return false
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
}

func (s Signature) param(name string) (Param, bool) {
	i := slices.IndexFunc(s.Params, func(p Param) bool { return p.Name == name })
	if i < 0 {
		i = slices.IndexFunc(s.Params, func(p Param) bool { return strings.EqualFold(p.Name, name) })
	}
	if i < 0 {
		return Param{}, false
	}
	return s.Params[i], true
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
	outputs []Output
	known   bool // the action exists
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

// Step returns the findings about the next step of a script.
func (c *Checker) Step(source *Source, step *Step) Findings {
	var found Findings
	report := func(span Span, hint, format string, args ...any) {
		found = append(found, finding(source, span, step.Number, hint, format, args...))
	}
	signature, known := c.signatures[step.Action]
	entry := earlierStep{action: step.Action, known: known}
	if known {
		entry.outputs = signature.OutputsOf(step)
	} else {
		hint := Suggest(step.Action, c.names)
		if hint == "" {
			hint = "orchestrator explain lists the actions"
		}
		report(step.ActionSpan, hint, "unknown action %q", step.Action)
	}
	seen := map[string]bool{}
	for _, arg := range step.Args {
		if arg.Ref != nil {
			c.ref(arg.Ref, step, report)
		}
		if !known {
			continue
		}
		param, ok := signature.param(arg.Name)
		if !ok {
			names := make([]string, len(signature.Params))
			for i, p := range signature.Params {
				names[i] = p.Name
			}
			hint := Suggest(arg.Name, names)
			if hint == "" {
				hint = "it has " + strings.Join(names, ", ")
			}
			report(arg.NameSpan, hint, "%s has no parameter %q", step.Action, arg.Name)
			continue
		}
		if seen[param.Name] {
			report(arg.NameSpan, "keep one of them", "parameter %q is given twice", param.Name)
		}
		seen[param.Name] = true
		if arg.Ref != nil {
			c.refKind(arg, param, report)
		} else {
			literal(arg.Value, param, report)
		}
	}
	for _, p := range signature.Params {
		if p.Required && !seen[p.Name] {
			report(step.ActionSpan, "", "%s needs the parameter %q: %s", step.Action, p.Name, p.Doc)
		}
	}
	c.earlier = append(c.earlier, entry)
	return found
}

type report func(span Span, hint, format string, args ...any)

// ref looks for the step and the output that a reference names.
func (c *Checker) ref(ref *Ref, step *Step, report report) {
	if ref.File != "" {
		return
	}
	switch {
	case ref.Step >= step.Number:
		report(ref.StepSpan, "", "the reference points to step %d, which has not run when step %d does", ref.Step, step.Number)
		return
	case ref.Step >= len(c.earlier) || !c.earlier[ref.Step].known:
		return // reported there
	}
	target := c.earlier[ref.Step]
	if !slices.ContainsFunc(target.outputs, func(o Output) bool { return o.Name == ref.Name }) {
		names := make([]string, len(target.outputs))
		for i, o := range target.outputs {
			names[i] = o.Name
		}
		hint := Suggest(ref.Name, names)
		switch {
		case hint == "" && len(names) == 0:
			hint = "it has no output"
		case hint == "":
			hint = "it has " + strings.Join(names, ", ")
		}
		report(ref.NameSpan, hint, "step %d (%s) has no output %q", ref.Step, target.action, ref.Name)
	}
}

// refKind compares the output that an argument refers to with the parameter's kind, and checks the value given for its absence.
func (c *Checker) refKind(arg Arg, param Param, report report) {
	ref := arg.Ref
	if ref.OnEmpty != nil {
		literal(*ref.OnEmpty, param, report)
	}
	if ref.File != "" || ref.Step >= len(c.earlier) {
		return
	}
	target := c.earlier[ref.Step]
	i := slices.IndexFunc(target.outputs, func(o Output) bool { return o.Name == ref.Name })
	if i < 0 {
		return
	}
	output := target.outputs[i]
	if param.Kind == Any && param.List {
		if !output.List {
			report(ref.Span, "", "%q wants a list, and %s of step %d is one %s", param.Name, ref.Name, ref.Step, output.Kind)
		}
		return
	}
	if output.List != param.List && output.Kind != Any || !output.Kind.fits(param.Kind) {
		report(ref.Span, "", "%q wants %s, and %s of step %d (%s) is %s", param.Name, param.kind(), ref.Name, ref.Step, target.action,
			Param{Kind: output.Kind, List: output.List}.kind())
	}
}

func (p Param) kind() string {
	if p.List {
		return "a list of values of the kind " + string(p.Kind)
	}
	return "one value of the kind " + string(p.Kind)
}

// literal checks a literal against its parameter. Null is the absence of a value, as in the existing tool.
func literal(v Value, param Param, report report) {
	if v.Shape == Null {
		if param.Required && !param.Nullable {
			report(v.Span, "", "%q needs a value: %s", param.Name, param.Doc)
		}
		return
	}
	if !param.List {
		scalar(v, param, report)
		return
	}
	if v.Shape != List {
		report(v.Span, "write it in [ ]", "%q wants a list, not %s", param.Name, v.Shape)
		return
	}
	for _, item := range v.Items {
		scalar(item, param, report)
	}
}

func scalar(v Value, param Param, report report) {
	shape, fixed := param.Kind.shape()
	if !fixed {
		return
	}
	if v.Shape != shape {
		hint := ""
		if shape == Number && v.Shape == String {
			hint = "write the number without quotes"
		}
		report(v.Span, hint, "%q wants %s (%s), not %s", param.Name, shape, param.Kind, v.Shape)
		return
	}
	switch param.Kind {
	case Int, Nanomina:
		whole, ok := WholeNumber(v.Text)
		switch {
		case !ok:
			report(v.Span, "", "%q is not a whole number: %s", param.Name, v.Text)
			return
		case param.Kind == Nanomina && whole.Sign() < 0:
			report(v.Span, "", "%q is an amount and cannot be negative", param.Name)
			return
		case param.Kind == Nanomina && !whole.IsUint64(), param.Kind == Int && !(whole.IsInt64() && whole.Int64() == int64(int32(whole.Int64()))): //nolint:gosec // the conversion is the test
			report(v.Span, "", "%q is too large: %s", param.Name, v.Text)
			return
		}
	case Rate, Ratio:
		if number, ok := Decimal(v.Text); !ok || number.Sign() < 0 {
			report(v.Span, "", "%q cannot be %s", param.Name, v.Text)
			return
		}
	}
	if param.Valid != nil {
		if wrong := param.Valid(v); wrong != "" {
			report(v.Span, "", "%q %s", param.Name, wrong)
		}
	}
}

// WholeNumber returns the value of a number's text that is integral, in whatever form it is written (1e9, 10.0), and whether it is.
func WholeNumber(text string) (*big.Int, bool) {
	number, ok := Decimal(text)
	if !ok || !number.IsInt() {
		return nil, false
	}
	return number.Num(), true
}

// Decimal returns the exact value of a number's text, and false for a text that is no number or has an exponent beyond ±400.
func Decimal(text string) (*big.Rat, bool) {
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		exponent := strings.TrimLeft(strings.TrimLeft(text[i+1:], "+-"), "0")
		if len(exponent) > 3 || len(exponent) == 3 && exponent > "400" {
			return nil, false
		}
	}
	if strings.ContainsAny(text, "/_xXpPoObB") { // spellings of big.Rat that are not JSON's
		return nil, false
	}
	return new(big.Rat).SetString(text)
}

// String describes the parameter as documentation does.
func (p Param) String() string {
	kind := string(p.Kind)
	if p.List {
		kind = "list of " + kind
	}
	if p.Unit != "" {
		kind += ", " + p.Unit
	}
	return fmt.Sprintf("%s (%s)", p.Name, kind)
}
