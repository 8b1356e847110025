package dsl

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// What a script of the script language says beyond steps, checked: [Tree.Lower] makes it.

// Limit is an upper bound that the run keeps.
type Limit struct {
	Span
	Of   string   // "rate" (transactions in a second), "spend" (nanomina) or "stopped" (a share, from 0 to 1)
	Most *big.Rat // in that unit, exact
	Text string   // as written: rate <= 2 tps
}

// Retry is how often a step is tried in all, and how long the pauses are.
type Retry struct {
	Span
	Attempts int // 1 or more
	Every    Stretch
}

// Stretch is a stretch of network time: a time, or a number of slots.
type Stretch struct {
	Span
	Time  time.Duration
	Slots *big.Rat // nil where it is a time
}

// In returns the stretch as a time, where slots last that long. It is false when it is counted in slots and their length, 0, is not known.
func (s Stretch) In(slot time.Duration) (time.Duration, bool) {
	if s.Slots == nil {
		return s.Time, true
	}
	if slot <= 0 {
		return 0, false
	}
	nanoseconds := new(big.Rat).Mul(s.Slots, new(big.Rat).SetInt64(int64(slot)))
	whole := new(big.Int).Quo(nanoseconds.Num(), nanoseconds.Denom())
	if !whole.IsInt64() {
		return 0, false
	}
	return time.Duration(whole.Int64()), true
}

// Timed is statements with one deadline for all of them together.
type Timed struct {
	Within Stretch
	Items  []Item
}

// Judged is an expect, or a watch, which holds from where it stands to the end of its block.
type Judged struct {
	Span
	Watch     bool
	Text      string   // the condition as written, without white space at line ends
	Condition *Formula // its value is true or false
	Within    *Stretch // of an expect; nil: it is judged once
	After     *Stretch // of a watch; nil: it holds at once
}

// Metric is something that a condition may ask for and that no step gives out. Its name has dots (tx.latency.p95).
type Metric struct {
	Name string
	Unit Unit // of its value: NoUnit, UnitSecond, UnitSlot, UnitTPS
	Doc  string
	// Scoped says whether it takes a Scope.
	Scoped bool
}

// Scope narrows a metric to a part of the run. Only the metrics that are Scoped take one.
type Scope struct {
	Round *int64 // the round of an experiment that repeats, from 0; nil for all
	Kind  string // payments or zkapps; "" for both
}

// String writes the scope as a script does, in its parentheses; "" for the whole run.
func (s Scope) String() string {
	var parts []string
	if s.Round != nil {
		parts = append(parts, fmt.Sprintf("round: %d", *s.Round))
	}
	if s.Kind != "" {
		parts = append(parts, "kind: "+s.Kind)
	}
	if parts == nil {
		return ""
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

// Formula is an expression whose value is known only while the script runs: it asks for outputs, metrics or the slot. What is constant was
// worked out. See [Formula.Judge] and [Formula.Argument].
type Formula struct {
	Span
	Op     Op         // OpName for an output (Ref), OpMember for a metric (Text), OpCall for a function (Text), "constant" for Value, or an operator
	Text   string     // name of the metric or function
	Ref    *Ref       // OpName
	Value  Constant   // opConstant; of a metric only its Unit, that of the metric's value
	Scope  Scope      // of a metric
	Args   []*Formula // of coverage: the slots won, or these with the first and the last slot of a window
	Number int        // of the step that it is an argument of; -1 in a condition

	param *Param // whose argument it is; nil in a condition
}

// Refs returns the outputs that the formula asks for.
func (f *Formula) Refs() []*Ref {
	var refs []*Ref
	if f.Ref != nil {
		refs = append(refs, f.Ref)
	}
	for _, arg := range f.Args {
		refs = append(refs, arg.Refs()...)
	}
	return refs
}

// Metrics returns the parts of the formula that ask for a metric: Text is its name, and Scope what part of the run it is asked of.
func (f *Formula) Metrics() []*Formula {
	if f.Op == OpMember {
		return []*Formula{f}
	}
	var asked []*Formula
	for _, arg := range f.Args {
		asked = append(asked, arg.Metrics()...)
	}
	return asked
}

// opConstant is the Op of a formula's leaf that is a value.
const opConstant Op = "constant"

// Constant is a value of the script language.
type Constant struct {
	Number *big.Rat        // in Unit; of a range the lower end
	Upper  *big.Rat        // of a range; else nil
	Unit   Unit            // UnitSecond, UnitSlot, UnitTPS, UnitNanomina or NoUnit: every other unit was converted
	JSON   json.RawMessage // of what is no number: text, true, false, null, a list of such
	Secret bool            // it comes from env()
}

// Facts is what a formula asks while a script runs. Its methods may be called by several goroutines at once.
type Facts interface {
	// Output returns what an output holds, and false where it never came to be.
	Output(ref *Ref) (Held, bool)
	// Metric returns what is known of a metric in that part of the run.
	Metric(name string, scope Scope) Measured
	// Slot returns the current global slot, and false where the network's slots are not known.
	Slot() (int64, bool)
	// SlotDuration returns how long a slot lasts; 0 when that is not known.
	SlotDuration() time.Duration
}

// Held is what an output holds: one value, or the elements of a list.
type Held struct {
	One  json.RawMessage
	List []json.RawMessage // never nil for a list
	// Asked and Silent are how many nodes the step asked, and how many of these did not answer.
	Asked, Silent int
}

// Measured is what is known of a metric: bounds between which its value lies. A bound that is nil is not known.
type Measured struct {
	Low, High *big.Rat // in the metric's unit
	Window    string   // what it is measured over: slots 20411..20557
	Missing   string   // why Low is not High; "" when they are the same
}

// Verdict is what became of a claim.
type Verdict string

// The verdicts.
const (
	Pass         Verdict = "pass"
	Fail         Verdict = "fail"
	Inconclusive Verdict = "inconclusive" // the evidence is not there
)

// Judgement is a verdict with its reasons.
type Judgement struct {
	Verdict  Verdict  `json:"verdict"`
	Actual   string   `json:"actual,omitempty"`   // the value of the compared side that is no constant, with its bounds: 0.612
	Expected string   `json:"expected,omitempty"` // >= 0.9
	Window   string   `json:"window,omitempty"`   // 90 of 147 slots, 20411..20557
	Evidence []string `json:"evidence,omitempty"` // what is missing, and how far it could turn the verdict
}

// IsJSON reports whether a script's text begins as a JSON step stream does, and not as a script of the script language.
func IsJSON(text []byte) bool { return isJSON(text) }
