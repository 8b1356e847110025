package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"sync"
	"time"

	"provingground/dsl"
	"provingground/internal/mina"
)

// The upper bounds that a script sets with limit. They are looked at before each step, with the step's arguments as they are then.

// price is what a step takes of the limits.
type price struct {
	Rate  string        `json:"rate,omitempty"`  // transactions in a second
	Ends  time.Time     `json:"ends,omitzero"`   // network time until which the rate is taken, if nothing stops it
	Spend mina.Nanomina `json:"spend"`           // nanomina, at most
	Stops []string      `json:"stops,omitempty"` // nodes that it is about to stop
}

// limits keep the upper bounds of a run. Safe for concurrent use.
type limits struct {
	mu     sync.Mutex
	bounds []dsl.Limit
	prices map[int]price // by step, of the steps that began
	done   map[int]bool  // by step, whether it is over
}

// over says that a step is over: what it stops is stopped.
func (l *limits) over(step int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, priced := l.prices[step]; priced {
		l.done[step] = true
	}
}

func newLimits(bounds []dsl.Limit, recorded *Recorded) *limits {
	l := &limits{bounds: bounds, prices: maps.Clone(recorded.prices), done: map[int]bool{}}
	for step := range recorded.done {
		l.done[step] = true
	}
	return l
}

// allow returns an error when a step would go beyond a limit; otherwise it counts what the step takes. The end of a failed run is not limited.
func (l *limits) allow(ctx context.Context, t *task, at level) error {
	if len(l.bounds) == 0 || at.ending {
		return nil
	}
	if t.step.Action == stopDaemonName { // their supervisors may have started some again
		t.nodes.seek(ctx, t.run)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p, err := t.price()
	if err != nil {
		t.failed.Store(true)
		return &stepError{t.step, err}
	}
	for _, bound := range l.bounds {
		var total *big.Rat
		var text string
		switch bound.Of {
		case "rate":
			total, text = l.rate(t, p)
		case "spend":
			total, text, err = l.spend(t.step.Number, p)
		case "stopped":
			total, text = l.stopped(t, p)
		}
		if err != nil {
			t.failed.Store(true)
			return &stepError{t.step, err}
		}
		if total == nil || total.Cmp(bound.Most) <= 0 {
			continue
		}
		found := dsl.Finding{
			Source: t.source, Span: bound.Span, Step: -1, Message: "limit failed: " + bound.Text,
			Hint:  text,
			Notes: []string{fmt.Sprintf("%s (%s) was not begun", t.step.title(), t.step.Action)},
		}
		if err := t.runLine(lineVerdict, judgedClaim{
			Item: -1, Kind: "limit", Line: lineOf(t.source, bound.Span), Text: bound.Text,
			Judgement: dsl.Judgement{Verdict: dsl.Fail, Actual: text, Evidence: found.Notes},
		}); err != nil {
			return err
		}
		return &claimError{found}
	}
	l.prices[t.step.Number] = p
	if p.Rate == "" && p.Spend == 0 && len(p.Stops) == 0 {
		return nil
	}
	return t.note(linePrice, p)
}

func lineOf(source *dsl.Source, span dsl.Span) int {
	line, _ := source.Place(span.Start)
	return line
}

// rate is the sum of the rates alive once the step's load is placed; nil when the step places none. Of a step that is not done yet all that
// it asks for counts.
func (l *limits) rate(t *task, p price) (*big.Rat, string) {
	total := exactRate(p.Rate)
	if total.Sign() == 0 {
		return nil, ""
	}
	now := t.world.Clock.Now()
	alive := map[int]*big.Rat{}
	for _, e := range t.ledger.remainingOf(func(e entry) bool { return e.intent.Kind.load() && e.step != t.step.Number }) {
		rate := exactRate(e.intent.TPS)
		if ends, bounded := e.ends(); bounded && !now.Before(ends) {
			continue
		}
		if alive[e.step] == nil {
			alive[e.step] = new(big.Rat)
		}
		alive[e.step].Add(alive[e.step], rate)
	}
	for step, other := range l.prices {
		asked := exactRate(other.Rate)
		if asked.Sign() > 0 && step != t.step.Number && !t.loads.settled(step) && now.Before(other.Ends) {
			alive[step] = asked
		}
	}
	for _, rate := range alive {
		total.Add(total, rate)
	}
	return total, fmt.Sprintf("it would be %s tps", decimalText(total))
}

// spend is what all steps so far and this one spend at most.
func (l *limits) spend(step int, p price) (*big.Rat, string, error) {
	if p.Spend == 0 {
		return nil, "", nil
	}
	total := p.Spend
	for other, price := range l.prices {
		if other == step {
			continue
		}
		var err error
		if total, err = total.Add(price.Spend); err != nil {
			return nil, "", fmt.Errorf("what the run spends: %w", err)
		}
	}
	return new(big.Rat).SetInt(new(big.Int).SetUint64(uint64(total))), fmt.Sprintf("it would be up to %s mina", total), nil
}

// stopped is the share of the nodes known to this run that would be stopped and not seen again; nil when the step stops none.
func (l *limits) stopped(t *task, p price) (*big.Rat, string) {
	if len(p.Stops) == 0 {
		return nil, ""
	}
	known := map[string]bool{}
	down := map[string]bool{}
	for _, address := range t.nodes.answered() {
		known[address] = true
	}
	stopped := slices.Concat(p.Stops, t.nodes.down())
	for step, other := range l.prices {
		if step != t.step.Number && !l.done[step] { // it is about to stop them
			stopped = append(stopped, other.Stops...)
		}
	}
	for _, address := range stopped {
		known[address], down[address] = true, true
	}
	if len(known) == 0 {
		return nil, ""
	}
	return big.NewRat(int64(len(down)), int64(len(known))), fmt.Sprintf("it would be %d of %d nodes", len(down), len(known))
}

// price works out what the step takes of the limits, with its arguments as they are now.
func (t *task) price() (price, error) {
	var p price
	if t.step.Action == stopDaemonName {
		p.Stops = t.args.texts("nodes")
	}
	if t.step.action.forecast == nil {
		return p, nil
	}
	args := make([]dsl.Arg, 0, len(t.args.values))
	for name, v := range t.args.values {
		args = append(args, dsl.Arg{Name: name, Value: literalOf(v)})
	}
	step := *t.step.Step
	step.Args = args
	nodes := len(t.nodes.answered())
	if nodes == 0 {
		nodes = defaultNodes
	}
	c := &checking{source: t.source, step: &step, config: &t.config, nodes: nodes}
	f := t.step.action.forecast(&forecasting{c})
	var costs []mina.Nanomina
	if l := f.load; l != nil {
		if f.broken {
			return p, errors.New("what it spends cannot be counted, and the script limits that")
		}
		p.Rate, p.Ends = exactText(l.rate), t.world.Clock.Now().Add(l.duration)
		costs = append(costs, l.spent, l.locked)
	}
	if g := f.fund; g != nil {
		costs = append(costs, g.amount, g.fees)
	}
	var err error
	p.Spend, err = sum(costs...)
	return p, err
}

// literalOf returns what an argument holds as a literal. Of a list only its length counts, and numbers.
func literalOf(v value) dsl.Value {
	if v.list != nil {
		items := make([]dsl.Value, len(v.list))
		return dsl.Value{Shape: dsl.List, Items: items}
	}
	var text string
	switch {
	case len(v.one) == 0 || string(v.one) == "null":
		return dsl.Value{Shape: dsl.Null, Text: "null"}
	case v.one[0] == '"':
		_ = json.Unmarshal(v.one, &text) // a text is not priced
		return dsl.Value{Shape: dsl.String, Text: text}
	case v.one[0] == 't' || v.one[0] == 'f':
		return dsl.Value{Shape: dsl.Bool, Text: string(v.one)}
	default:
		return dsl.Value{Shape: dsl.Number, Text: string(v.one)}
	}
}

// loads knows how much of each step's load was placed. Safe for concurrent use.
type loads struct {
	mu     sync.Mutex
	placed map[int]placed   // by step
	held   map[int][]string // by step, the fee payers that it left out
}

func (l *loads) add(step int, p placed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.placed[step] = p
}

// forget drops what a step placed: it is tried again, and not done before that.
func (l *loads) forget(step int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.placed, step)
}

// settled reports whether a step has said how much it placed.
func (l *loads) settled(step int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.placed[step]
	return ok
}

// all returns what the steps placed.
func (l *loads) all() []placed {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.placed))
}
