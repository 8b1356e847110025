package orchestrator

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"provingground/dsl"
)

// Plan is a script that was checked against the actions: what [Run] carries out.
type Plan struct {
	Source  *dsl.Source
	items   []planItem
	digest  string
	outputs *outputs
	drop    map[int][]outputKey // outputs that no step after this one needs
}

// planItem is a comment or a step.
type planItem struct {
	comment string
	step    *planStep // nil for a comment
}

// planStep is a step whose action exists.
type planStep struct {
	*dsl.Step
	source *dsl.Source
	action Action
	secret bool // its output hands on what must not be printed or recorded
}

// CompileOptions say what is known beside the script.
type CompileOptions struct {
	// Config is the configuration of the run; nil when the script is only checked.
	Config *Config
	// Nodes is how many nodes there are taken to be where the script does not say; 0 means 10.
	Nodes int
}

// defaultNodes is how many nodes a plan assumes where nothing says.
const defaultNodes = 10

// Compile checks a script and makes a plan of it. All findings come together, sorted; with an error among them there is no plan.
func Compile(script *dsl.Script, options CompileOptions) (*Plan, dsl.Findings) {
	c := newCompiler(options)
	plan := &Plan{Source: script.Source, outputs: newOutputs(), drop: map[int][]outputKey{}, digest: digest(script.Source.Text)}
	var found dsl.Findings
	for _, item := range script.Items {
		if item.Step == nil {
			plan.items = append(plan.items, planItem{comment: item.Comment})
			continue
		}
		step, findings := c.step(script.Source, item.Step, plan.outputs)
		found = append(found, findings...)
		plan.items = append(plan.items, planItem{step: step})
	}
	if len(script.Steps()) == 0 { // of a generator that failed, perhaps
		found = append(found, dsl.Finding{Source: script.Source, Step: -1, Severity: dsl.Warning, Message: "the script has no step: nothing is done"})
	}
	for key, last := range plan.outputs.wanted {
		plan.drop[last] = append(plan.drop[last], key)
	}
	found = found.Sort()
	if found.Errors() {
		return nil, found
	}
	return plan, found
}

// digest identifies a script's text.
func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// compiler turns steps into plan steps, one after the other. What is counted over the whole script (batches of an experiment) it counts.
type compiler struct {
	checker *dsl.Checker
	actions map[string]Action
	options CompileOptions
	batches map[string]int
}

func newCompiler(options CompileOptions) *compiler {
	if options.Nodes == 0 {
		options.Nodes = defaultNodes
	}
	c := &compiler{
		checker: dsl.NewChecker(Signatures()), actions: map[string]Action{}, options: options, batches: map[string]int{},
	}
	for _, a := range Actions() {
		c.actions[a.Action] = a
	}
	return c
}

// step checks the next step of the script.
func (c *compiler) step(source *dsl.Source, step *dsl.Step, outputs *outputs) (*planStep, dsl.Findings) {
	found := c.checker.Step(source, step)
	action, known := c.actions[step.Action]
	for _, arg := range step.Args {
		switch {
		case arg.Ref == nil:
		case arg.Ref.File != "":
			if err := outputs.load(arg.Ref.File); err != nil {
				found = append(found, dsl.Finding{Source: source, Span: arg.Ref.Span, Step: step.Number, Message: err.Error()})
			} else if _, ok := outputs.get(arg.Ref); !ok && arg.Ref.OnEmpty == nil {
				found = append(found, dsl.Finding{
					Source: source, Span: arg.Ref.NameSpan, Step: step.Number,
					Message: fmt.Sprintf("step %d has no output %q in %s", arg.Ref.Step, arg.Ref.Name, arg.Ref.File),
				})
			}
		default:
			outputs.want(arg.Ref, step.Number)
		}
	}
	if known && action.check != nil {
		action.check(c.checking(source, sound(step, action.Params, found), &found))
	}
	handsOn := slices.ContainsFunc(action.Outputs, func(o dsl.Output) bool { return !o.Sensitive && c.checker.Sensitive(step.Number, o.Name) })
	return &planStep{Step: step, source: source, action: action, secret: handsOn}, found
}

// sound returns a step of which an action can check what is right, when the findings say that some of it is wrong: an argument that is
// wrong, or missing and needed, looks like one whose value is not known yet.
func sound(step *dsl.Step, params []dsl.Param, found dsl.Findings) *dsl.Step {
	if !found.Errors() {
		return step
	}
	within := func(inner, outer dsl.Span) bool { return inner.Start >= outer.Start && inner.End <= outer.End }
	copied := *step
	copied.Args = slices.Clone(step.Args)
	for i, arg := range copied.Args {
		if slices.ContainsFunc(found, func(f dsl.Finding) bool { return within(f.Span, arg.NameSpan) || within(f.Span, arg.Value.Span) }) {
			copied.Args[i].Ref = &dsl.Ref{}
		}
	}
	for _, p := range params {
		if _, given := step.Arg(p.Name); p.Required && !given {
			copied.Args = append(copied.Args, dsl.Arg{Name: p.Name, Value: dsl.Value{Span: step.ActionSpan}, Ref: &dsl.Ref{}})
		}
	}
	return &copied
}

func (c *compiler) checking(source *dsl.Source, step *dsl.Step, found *dsl.Findings) *checking {
	return &checking{
		source: source, step: step, config: c.options.Config, nodes: c.options.Nodes, batches: c.batches, findings: found,
	}
}

// resolve returns a step's arguments, its references replaced by what they refer to.
func (s *planStep) resolve(outputs *outputs) (args, error) {
	a := newArgs()
	for _, arg := range s.Args {
		v := value{one: s.source.Text[arg.Value.Start:arg.Value.End]}
		name := arg.Name
		for _, p := range s.action.Params { // the spelling that the action knows
			if strings.EqualFold(p.Name, arg.Name) {
				name = p.Name
			}
		}
		if arg.Ref != nil {
			found, ok := outputs.get(arg.Ref)
			switch {
			case ok:
				v = found
			case arg.Ref.OnEmpty != nil:
				v = value{one: s.source.Text[arg.Ref.OnEmpty.Start:arg.Ref.OnEmpty.End]}
			default:
				return args{}, fmt.Errorf("parameter %q: step %d has no output %q", arg.Name, arg.Ref.Step, arg.Ref.Name)
			}
		}
		if v.list == nil && len(v.one) > 0 && v.one[0] == '[' {
			list := []json.RawMessage{}
			if err := json.Unmarshal(v.one, &list); err != nil {
				return args{}, fmt.Errorf("parameter %q: %w", arg.Name, err)
			}
			v = value{list: list}
		}
		a.values[name] = v
	}
	return a, nil
}

// finding is an error of the step, at the name of its action.
func (s *planStep) finding(message string) dsl.Finding {
	return dsl.Finding{Source: s.source, Span: s.ActionSpan, Step: s.Number, Message: message}
}

// decimalText writes an exact rate as a decimal with at most 9 places, for people and records.
func decimalText(r *big.Rat) string {
	text := strings.TrimRight(r.FloatString(9), "0")
	return strings.TrimSuffix(text, ".")
}
