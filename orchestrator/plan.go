package orchestrator

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/crypto/argon2"

	"provingground/dsl"
	"provingground/orchestrator/evidence"
)

// Plan is a script that was checked against the actions: what [Run] carries out.
type Plan struct {
	Source    *dsl.Source
	script    *dsl.Script
	items     []planItem
	onFailure []planItem
	finally   []planItem
	steps     int
	digest    string
	outputs   *outputs
	sizes     map[outputKey]int // of list outputs, where they are known
}

// planItem is a step, a block or a claim; without all of these a comment.
type planItem struct {
	number   int // of the item in a script of the script language
	span     dsl.Span
	comment  string
	step     *planStep
	body     []planItem // of a step that is in force for the length of a block
	parallel [][]planItem
	deadline *planBlock
	claim    *dsl.Judged
	drop     []outputKey // of an item of the script itself: outputs that no item behind it needs
}

// planBlock is items with one deadline for all of them.
type planBlock struct {
	within dsl.Stretch
	items  []planItem
}

// planStep is a step whose action exists.
type planStep struct {
	*dsl.Step
	source   *dsl.Source
	action   Action
	secret   bool // its output hands on what must not be printed or recorded
	language bool // it is of a script in the script language
}

// title names a step to people: by its name where it has one.
func (s *planStep) title() string { return stepTitle(s.Number, s.ID) }

func stepTitle(number int, id string) string {
	if id != "" {
		return id
	}
	return fmt.Sprintf("step %d", number)
}

// fields names a step to the log.
func (s *planStep) fields() []zap.Field {
	fields := []zap.Field{zap.Int("step", s.Number)}
	if s.ID != "" {
		fields = append(fields, zap.String("id", s.ID))
	}
	return append(fields, zap.String("action", s.Action))
}

// CompileOptions say what is known beside the script.
type CompileOptions struct {
	// Config is the configuration of the run; nil when the script is only checked.
	Config *Config
	// Nodes is how many nodes there are taken to be where the script does not say; 0 means 10.
	Nodes int
	// Evidence says that the run has the nodes' own logs, whatever the configuration says, as a rehearsal has.
	Evidence bool
	// Found is what was found while the script was read. It is reported with all else.
	Found dsl.Findings
}

// defaultNodes is how many nodes a plan assumes where nothing says.
const defaultNodes = 10

// Seed returns the seed that the script states, and whether it does.
func (p *Plan) Seed() (uint64, bool) {
	if p.script.Seed == nil {
		return 0, false
	}
	return *p.script.Seed, true
}

// Evidence reports whether the script asks for the nodes' own logs.
func (p *Plan) Evidence() bool {
	return slices.ContainsFunc(p.script.Claims(), asksEvidence) ||
		slices.ContainsFunc(p.script.Steps(), func(s *dsl.Step) bool { return s.Action == gatherLogsAction().Action })
}

// Empty reports whether the script has no step.
func (p *Plan) Empty() bool { return p.steps == 0 }

// Secrets returns the texts that the script took from the environment. They must not be shown or recorded.
func (p *Plan) Secrets() []string { return p.script.Secrets }

// Compile checks a script and makes a plan of it. All findings come together, sorted; with an error among them there is no plan.
func Compile(script *dsl.Script, options CompileOptions) (*Plan, dsl.Findings) {
	c := newCompiler(options)
	c.script = script
	plan := &Plan{
		Source: script.Source, script: script, outputs: newOutputs(), digest: digest(script), steps: len(script.Steps()),
	}
	c.outputs = plan.outputs
	for i := range script.Items {
		c.user = i
		plan.items = append(plan.items, c.item(script.Items[i]))
	}
	c.user = len(script.Items) // what the last blocks need is never dropped
	plan.sizes = c.sizes
	plan.onFailure, plan.finally = c.items(script.OnFailure), c.items(script.Finally)
	c.rounds()
	if plan.steps == 0 && !options.Found.Errors() { // of a generator that failed, perhaps
		c.found = append(c.found, dsl.Finding{Source: script.Source, Step: -1, Severity: dsl.Warning, Message: "the script has no step: nothing is done"})
	}
	for key, last := range plan.outputs.wanted {
		if last < len(plan.items) {
			plan.items[last].drop = append(plan.items[last].drop, key)
		}
	}
	found := append(c.found, options.Found...).Sort()
	if found.Errors() {
		return nil, found
	}
	return plan, append(found, plan.beyond(options)...).Sort()
}

// beyond warns of the limits and deadlines that the run will go beyond, as far as the script alone shows it.
func (p *Plan) beyond(options CompileOptions) dsl.Findings {
	if !p.script.Language {
		return nil
	}
	forecast, err := p.Forecast(options.Config, options.Nodes)
	if err != nil {
		return dsl.Findings{{Source: p.Source, Step: -1, Severity: dsl.Warning, Message: err.Error()}}
	}
	found := forecast.missed
	for i, limit := range forecast.Limits {
		if limit.Broken {
			found = append(found, dsl.Finding{
				Source: p.Source, Span: p.script.Limits[i].Span, Step: -1, Severity: dsl.Warning, Message: limit.String(),
			})
		}
	}
	return found
}

// digest identifies a script: its text, and the parameters that the caller set.
func digest(script *dsl.Script) string {
	sum := sha256.New()
	sum.Write(script.Source.Text)
	for _, setting := range script.Settings {
		sum.Write([]byte("\x00" + setting))
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// environment identifies what the script took from the environment; "" for nothing. The record holds it, so to try out what it may be takes time
// and memory for each guess.
func (p *Plan) environment() string {
	if len(p.script.Secrets) == 0 {
		return ""
	}
	const passes, memory, threads, length = 1, 64 << 10, 1, 16
	secrets := strings.Join(slices.Sorted(slices.Values(p.script.Secrets)), "\x00")
	return hex.EncodeToString(argon2.IDKey([]byte(secrets), []byte(p.digest), passes, memory, threads, length))
}

// compiler turns steps into plan steps, one after the other. What is counted over the whole script (batches of an experiment) it counts.
type compiler struct {
	checker *dsl.Checker
	actions map[string]Action
	options CompileOptions
	batches map[string]int
	outputs *outputs
	script  *dsl.Script // nil of a stream
	sizes   map[outputKey]int
	funded  map[string]int
	made    map[int]string  // the action of each step so far
	loads   map[string]bool // the names of its load; "" where one is not known yet
	asked   []*dsl.Formula  // the metrics of its claims
	user    int             // index of the item that needs the outputs
	found   dsl.Findings
}

func newCompiler(options CompileOptions) *compiler {
	if options.Nodes == 0 {
		options.Nodes = defaultNodes
	}
	c := &compiler{
		checker: dsl.NewChecker(Signatures()), actions: map[string]Action{}, options: options, batches: map[string]int{}, sizes: map[outputKey]int{}, made: map[int]string{}, funded: map[string]int{},
		loads: map[string]bool{},
	}
	for _, a := range Actions() {
		c.actions[a.Action] = a
	}
	return c
}

// items turns the items of a block into items of a plan.
func (c *compiler) items(items []dsl.Item) []planItem {
	made := make([]planItem, len(items))
	for i, item := range items {
		made[i] = c.item(item)
	}
	return made
}

func (c *compiler) item(item dsl.Item) planItem {
	made := planItem{number: item.Number, span: item.Span, comment: item.Comment, claim: item.Claim}
	switch {
	case item.Step != nil:
		step, findings := c.step(c.script.Source, item.Step)
		c.found = append(c.found, findings...)
		made.step, made.body = step, c.items(item.Body)
	case item.Deadline != nil:
		made.deadline = &planBlock{item.Deadline.Within, c.items(item.Deadline.Items)}
	case item.Claim != nil:
		user := c.user
		if item.Claim.Watch { // it asks until its block ends
			user = len(c.script.Items)
		}
		for _, ref := range item.Claim.Condition.Refs() {
			c.found = append(c.found, c.ref(c.script.Source, -1, ref, user)...)
		}
		c.claim(item.Claim)
	}
	for _, branch := range item.Parallel {
		made.parallel = append(made.parallel, c.items(branch))
	}
	return made
}

// claim reports the metrics of a claim that nothing can measure in the run.
func (c *compiler) claim(claim *dsl.Judged) {
	for _, comparison := range outOfShare(claim.Condition) {
		c.found = append(c.found, dsl.Finding{
			Source: c.script.Source, Span: comparison.Span, Step: -1, Severity: dsl.Warning,
			Message: "a share lies between 0% and 100%, so that this is always true, or never", Hint: "write 95% or 0.95",
		})
	}
	for _, asked := range claim.Condition.Metrics() {
		c.asked = append(c.asked, asked)
		if c.options.noEvidence() && ofEvidence(asked.Text) {
			c.found = append(c.found, dsl.Finding{
				Source: c.script.Source, Span: asked.Span, Step: -1, Message: asked.Text + " needs dbUri in the configuration", Hint: needsEvidence,
			})
		}
	}
}

// rounds reports the claims about a round that the script's load never reaches, as far as the names of its load are known.
func (c *compiler) rounds() {
	if len(c.loads) == 0 || c.loads[""] {
		return
	}
	for _, asked := range c.asked {
		round := asked.Scope.Round
		if round == nil {
			continue
		}
		reached := false
		for name := range c.loads {
			reached = reached || evidence.InRound(name, *round)
		}
		if !reached {
			c.found = append(c.found, dsl.Finding{
				Source: c.script.Source, Span: asked.Span, Step: -1, Message: fmt.Sprintf("%s asks for round %d, and no load of the script has that round", asked.Text, *round),
				Hint: "the first round is 0: the names of its load are " + strings.Join(slices.Sorted(maps.Keys(c.loads)), ", "),
			})
		}
	}
}

// noEvidence says that the run will not have the nodes' own logs; false where that is not known.
func (o CompileOptions) noEvidence() bool {
	return o.Config != nil && o.Config.DBURI == "" && !o.Evidence
}

// step checks the next step of the script.
func (c *compiler) step(source *dsl.Source, step *dsl.Step) (*planStep, dsl.Findings) {
	language := c.script != nil && c.script.Language
	found := c.checker.Step(source, step)
	if language { // it was told so already, in its own words
		found = nil
	}
	action, known := c.actions[step.Action]
	number := step.Number
	if language {
		number = -1
		c.made[step.Number] = step.Action
	}
	for _, arg := range step.Args {
		if arg.Ref != nil {
			found = append(found, c.ref(source, number, arg.Ref, c.user)...)
		}
		if arg.Formula != nil {
			for _, ref := range arg.Formula.Refs() {
				found = append(found, c.ref(source, number, ref, c.user)...)
			}
		}
	}
	about := found
	if language {
		about = append(slices.Clone(found), c.options.Found...)
	}
	checked := c.checking(source, sound(step, action.Params, about), &found)
	checked.language = language
	if known && action.check != nil {
		action.check(checked)
	}
	if known && action.sizes != nil {
		for name, n := range action.sizes(checked) {
			c.sizes[outputKey{step: step.Number, name: name}] = n
		}
	}
	handsOn := slices.ContainsFunc(action.Outputs, func(o dsl.Output) bool { return !o.Sensitive && c.checker.Sensitive(step.Number, o.Name) })
	return &planStep{Step: step, source: source, action: action, secret: handsOn, language: language}, found
}

// want notes that an item of the script needs an output.
func (c *compiler) want(ref *dsl.Ref, item int) {
	c.outputs.want(ref, item)
	for _, o := range c.actions[c.made[ref.Step]].Outputs {
		if o.Name == ref.Name && o.Multi {
			c.outputs.lists[outputKey{step: ref.Step, name: ref.Name}] = true
		}
	}
}

// ref notes that an item of the script needs an output, and looks for one of an earlier run. number is that of the step, for findings.
func (c *compiler) ref(source *dsl.Source, number int, ref *dsl.Ref, user int) dsl.Findings {
	if ref.File == "" {
		c.want(ref, user)
		return nil
	}
	if err := c.outputs.load(ref.File); err != nil {
		return dsl.Findings{{Source: source, Span: ref.Span, Step: number, Message: err.Error()}}
	}
	if _, ok := c.outputs.get(ref); ok || ref.OnEmpty != nil {
		return nil
	}
	name := cmp.Or(ref.StepID, fmt.Sprintf("step %d", ref.Step))
	return dsl.Findings{{
		Source: source, Span: ref.NameSpan, Step: number, Message: fmt.Sprintf("%s has no output %q in %s", name, ref.Name, ref.File),
	}}
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
		source: source, step: step, config: c.options.Config, nodes: c.options.Nodes, batches: c.batches, findings: found, sizes: c.sizes, funded: c.funded, noEvidence: c.options.noEvidence(),
		loads: c.loads,
	}
}

// resolve returns a step's arguments, its references replaced by what they refer to.
func (s *planStep) resolve(outputs *outputs, facts dsl.Facts) (args, error) {
	a := newArgs()
	for _, arg := range s.Args {
		v := value{one: s.text(arg.Value)}
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
				v = value{one: s.text(*arg.Ref.OnEmpty)}
			default:
				return args{}, &missingOutput{arg.Name, arg.Ref}
			}
		}
		if arg.Formula != nil {
			held, err := arg.Formula.Argument(facts)
			var missing *dsl.MissingOutputError
			switch {
			case errors.As(err, &missing):
				return args{}, &missingOutput{arg.Name, missing.Ref}
			case err != nil:
				return args{}, fmt.Errorf("parameter %q: %w", arg.Name, err)
			}
			v = value{one: held.One, list: held.List}
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

// text returns a literal as JSON.
func (s *planStep) text(v dsl.Value) json.RawMessage {
	if v.JSON != nil {
		return v.JSON
	}
	return s.source.Text[v.Start:v.End]
}

// missingOutput says that an output that an argument refers to never came to be.
type missingOutput struct {
	param string
	ref   *dsl.Ref
}

func (e *missingOutput) Error() string {
	return fmt.Sprintf("parameter %q: %s has no output %q", e.param, cmp.Or(e.ref.StepID, fmt.Sprintf("step %d", e.ref.Step)), e.ref.Name)
}

// finding is an error of the step, at the name of its action.
func (s *planStep) finding(message string) dsl.Finding {
	number := s.Number
	if s.language { // whose reader does not count
		number = -1
	}
	return dsl.Finding{Source: s.source, Span: s.ActionSpan, Step: number, Message: message}
}

// exactText writes a rate so that it can be read again exactly: as a decimal, or where that has more than 9 places as a fraction.
func exactText(r *big.Rat) string {
	if text := decimalText(r); exactRate(text).Cmp(r) == 0 {
		return text
	}
	return r.RatString()
}

// exactRate reads what exactText writes; 0 for anything else.
func exactRate(text string) *big.Rat {
	const longest = 800 // characters; rates come from numbers of 400
	rate := new(big.Rat)
	if text == "" || len(text) > longest || strings.ContainsAny(text, "eE") {
		return rate
	}
	if _, ok := rate.SetString(text); !ok {
		return new(big.Rat)
	}
	return rate
}

// decimalText writes an exact rate as a decimal with at most 9 places, for people and records.
func decimalText(r *big.Rat) string {
	text := strings.TrimRight(r.FloatString(9), "0")
	return strings.TrimSuffix(text, ".")
}
