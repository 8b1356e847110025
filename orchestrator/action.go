package orchestrator

import (
	"context"
	"fmt"
	"math/big"
	"strings"
	"time"
	"unicode"

	"provingground/dsl"
	"provingground/internal/mina"
)

// Action is one thing a step can do. Everything about it stands here: checker, JSON reader, plan, engine and documentation read it.
type Action struct {
	dsl.Signature
	// batch actions are collected while they follow each other, and then run together.
	batch bool
	// computes says that the action only computes: its outputs are written together with the line that says it is done.
	computes bool
	// check reports what cannot work, as far as the script alone shows it. May be nil.
	check func(c *checking)
	// sizes says how many elements list outputs will have at most, as far as the script alone shows it. May be nil.
	sizes func(c *checking) map[string]int
	// forecast says what a step will take, cost and leave. May be nil: nothing worth saying.
	forecast func(f *forecasting) forecast
	// run does the work of one step; runBatch of several. Exactly one of them is set.
	run      func(ctx context.Context, t *task) error
	runBatch func(ctx context.Context, tasks []*task) error
}

// checking is what an action's check sees: the arguments that are literals.
type checking struct {
	source     *dsl.Source
	step       *dsl.Step
	config     *Config         // nil when the script is checked without one
	noEvidence bool            // the run will not have the nodes' own logs
	nodes      int             // how many nodes a list of unknown length is taken to have
	batches    map[string]int  // batches counted so far, by experiment
	loads      map[string]bool // as the compiler's
	findings   *dsl.Findings
	language   bool              // the script is in the script language
	sizes      map[outputKey]int // of the list outputs of earlier steps, where they are known
	funded     map[string]int    // by directory, how many key files earlier steps make there
}

// report adds an error about a parameter, or about the whole step where the script does not give it.
func (c *checking) report(param, hint, format string, values ...any) {
	c.add(dsl.Error, param, hint, format, values...)
}

// warn adds a warning.
func (c *checking) warn(param, hint, format string, values ...any) {
	c.add(dsl.Warning, param, hint, format, values...)
}

func (c *checking) add(severity dsl.Severity, param, hint, format string, values ...any) {
	span := c.step.ActionSpan
	if a, ok := c.step.Arg(param); ok {
		span = a.Value.Span
	}
	f := dsl.Finding{Source: c.source, Span: span, Step: c.step.Number, Severity: severity, Message: fmt.Sprintf(format, values...), Hint: hint}
	if c.language { // whose reader counts no steps, and knows other names
		f.Step, f.Message, f.Hint = -1, c.spelled(f.Message), c.spelled(f.Hint)
	}
	*c.findings = append(*c.findings, f)
}

// spelled puts the names that the script language has in place of the parameters' JSON names.
func (c *checking) spelled(text string) string {
	action, ok := FindAction(c.step.Action)
	if !ok {
		return text
	}
	return scriptNames(action, text)
}

// scriptNames writes a text about an action's parameters with the names of the script language.
func scriptNames(action Action, text string) string {
	words := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	for _, word := range words {
		for _, p := range action.Params {
			if p.Name == word && p.ScriptName() != word {
				text = strings.ReplaceAll(text, word, p.ScriptName())
			}
		}
	}
	return text
}

// literal returns an argument written out in the script. A missing or null one is known too: it is the zero value. Not known are
// references, and what has the wrong shape, which is reported elsewhere.
func (c *checking) literal(param string, shape dsl.Shape) (v dsl.Value, known bool) {
	a, ok := c.step.Arg(param)
	switch {
	case ok && a.Formula != nil:
		v, known = c.worked(a.Formula)
		return v, known && v.Shape == shape
	case ok && a.Ref != nil:
		return dsl.Value{}, false
	case !ok || a.Value.Shape == dsl.Null:
		return dsl.Value{Shape: dsl.Null}, true
	case a.Value.Shape != shape:
		return dsl.Value{}, false
	}
	return a.Value, true
}

// worked returns the value of a formula that the configuration is enough for, such as a time in slots.
func (c *checking) worked(f *dsl.Formula) (dsl.Value, bool) {
	if c.config == nil {
		return dsl.Value{}, false
	}
	held, err := f.Argument(settings{c.config.SlotDuration})
	if err != nil {
		return dsl.Value{}, false
	}
	return literalOf(value{one: held.One, list: held.List}), true
}

// settings are the facts that are known before a run.
type settings struct{ slot time.Duration }

func (settings) Output(*dsl.Ref) (dsl.Held, bool) { return dsl.Held{}, false }
func (settings) Metric(string, dsl.Scope) dsl.Measured {
	return dsl.Measured{Missing: "the run has not begun"}
}
func (settings) Slot() (int64, bool)           { return 0, false }
func (s settings) SlotDuration() time.Duration { return s.slot }

// number returns a number written in the script, and whether it is known.
func (c *checking) number(param string) (*big.Rat, bool) {
	v, known := c.literal(param, dsl.Number)
	if !known || v.Shape == dsl.Null {
		return new(big.Rat), known
	}
	return dsl.Decimal(v.Text)
}

// text returns a string written in the script, and whether it is known.
func (c *checking) text(param string) (string, bool) {
	v, known := c.literal(param, dsl.String)
	return v.Text, known
}

// length returns how many elements a list argument has, and whether that is known.
func (c *checking) length(param string) (int, bool) {
	v, known := c.literal(param, dsl.List)
	return len(v.Items), known
}

// size is length, or how many elements a list will have at most where it is the output of an earlier step.
func (c *checking) size(param string) (int, bool) {
	if a, ok := c.step.Arg(param); ok && a.Ref != nil && a.Ref.File == "" {
		n, known := c.sizes[outputKey{step: a.Ref.Step, name: a.Ref.Name}]
		return n, known
	}
	return c.length(param)
}

// given reports whether the script gives the argument, as a value or a reference.
func (c *checking) given(param string) bool {
	a, ok := c.step.Arg(param)
	return ok && (a.Ref != nil || a.Formula != nil || a.Value.Shape != dsl.Null)
}

// forecasting is what an action's forecast sees.
type forecasting struct {
	*checking
}

// forecast is what a step will take, cost and leave, as far as the script alone shows it.
type forecast struct {
	takes time.Duration // network time that the step waits
	until int           // slot that it waits for; 0 for none
	load  *loadForecast
	fund  *fundForecast
	stops string // which nodes it stops or restarts
	does  string // what it does, where the figures do not say it
	note  string // what else a reader of the plan should know

	broken bool // what it spends is beyond what can be counted
}

// loadForecast is the load that a step places.
type loadForecast struct {
	kind         Kind
	rate         *big.Rat // transactions in a second, over all nodes
	nodes        int      // nodes that carry it
	duration     time.Duration
	transactions uint64
	spent        mina.Nanomina // at most: fees, amounts
	locked       mina.Nanomina // at most: what is put into accounts that stay
}

// fundForecast is the accounts that a step creates.
type fundForecast struct {
	keys     int
	amount   mina.Nanomina // to be distributed, creation fees included
	creation mina.Nanomina // of which account-creation fees
	fees     mina.Nanomina // for the funding commands, at most
}
