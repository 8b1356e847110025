package orchestrator

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"time"

	"provingground/dsl"
	"provingground/orchestrator/evidence"
)

// What a condition or a formula of the script may ask for while the run goes on.

// Metrics returns what expect and watch may ask for beside outputs, in the order in which documentation lists it.
func Metrics() []dsl.Metric {
	return append([]dsl.Metric{
		{Name: metricKnown, Doc: "nodes that have answered in this run"},
		{Name: metricReached, Doc: "those of them that answer now: they are asked when it is judged"},
		{Name: metricReachedShare, Doc: "the share of them that answers now"},
		{Name: metricRate, Unit: dsl.UnitTPS, Doc: "the rate of the load that this run has placed and that has not ended"},
		{Name: metricPlaced, Doc: "the share of the asked rates that was placed, over all steps so far"},
	}, evidence.Metrics()...)
}

// ofEvidence reports whether a metric is one that the nodes' own logs tell, and not the run itself.
func ofEvidence(metric string) bool {
	switch metric {
	case metricKnown, metricReached, metricReachedShare, metricRate, metricPlaced:
		return false
	default:
		return true
	}
}

// outOfShare returns the comparisons of a condition that hold a share against a number that no share can reach: they are always true, or never.
func outOfShare(condition *dsl.Formula) []*dsl.Formula {
	var found []*dsl.Formula
	switch condition.Op { //nolint:exhaustive // the comparisons
	case dsl.OpLess, dsl.OpAtMost, dsl.OpMore, dsl.OpLeast, dsl.OpEqual, dsl.OpOther:
		for i, side := range condition.Args {
			number := condition.Args[len(condition.Args)-1-i].Value.Number
			share := side.Op == dsl.OpMember && (side.Text == metricReachedShare || side.Text == metricPlaced || evidence.IsShare(side.Text))
			if share && number != nil && (number.Sign() < 0 || number.Cmp(big.NewRat(1, 1)) > 0) {
				found = append(found, condition)
			}
		}
	}
	for _, arg := range condition.Args {
		found = append(found, outOfShare(arg)...)
	}
	return found
}

const (
	metricKnown        = "nodes.known"
	metricReached      = "nodes.reached"
	metricReachedShare = "nodes.reached-share"
	metricRate         = "load.rate"
	metricPlaced       = "load.placed"
)

// facts are what a run knows itself, and what was measured for one judgement.
type facts struct {
	*run
	measured map[string]dsl.Measured // by the metric as the script writes it
}

// Output returns what an output holds.
func (f facts) Output(ref *dsl.Ref) (dsl.Held, bool) {
	v, ok := f.outputs.get(ref)
	switch {
	case !ok && f.outputs.empty(ref):
		v.list = []json.RawMessage{}
	case !ok:
		return dsl.Held{}, false
	}
	a := f.outputs.askedBy(ref)
	return dsl.Held{One: v.one, List: v.list, Asked: a.Asked, Silent: a.Silent}, true
}

// Slot returns the current global slot.
func (f facts) Slot() (int64, bool) {
	if f.config.Genesis.IsZero() || f.config.SlotDuration == 0 {
		return 0, false
	}
	return int64(f.world.Clock.Now().Sub(f.config.Genesis) / f.config.SlotDuration), true
}

// SlotDuration returns how long a slot lasts.
func (f facts) SlotDuration() time.Duration { return f.config.SlotDuration }

// Metric returns what is known of a metric in that part of the run.
func (f facts) Metric(name string, scope dsl.Scope) dsl.Measured {
	switch name {
	case metricKnown, metricReached, metricReachedShare:
		return f.nodesMetric(name)
	case metricRate:
		low, high := f.alive()
		return between(low, high, "for some of the load nobody knows whether it runs")
	case metricPlaced:
		return f.placedShare()
	}
	m, ok := f.measured[name+scope.String()]
	if !ok {
		m.Missing = "nothing measured " + name
	}
	return m
}

// measureTimeout bounds the answer to one question about the nodes' logs, in wall time: a database that hangs is one that does not answer.
const measureTimeout = 30 * time.Second

// measure asks for the evidence that a condition asks for. No lock is held meanwhile: it may take time.
func (r *run) measure(ctx context.Context, condition *dsl.Formula) map[string]dsl.Measured {
	measured := map[string]dsl.Measured{}
	for _, asked := range condition.Metrics() {
		name := asked.Text + asked.Scope.String()
		if _, done := measured[name]; done || !ofEvidence(asked.Text) {
			continue
		}
		measured[name] = r.question(ctx, evidence.Question{Metric: asked.Text, Scope: asked.Scope})
	}
	return measured
}

// question asks for one metric of this run.
func (r *run) question(ctx context.Context, q evidence.Question) dsl.Measured {
	var hidden bool
	if q.Run, hidden = r.evidenceRun(); hidden && strings.HasPrefix(q.Metric, "tx.") {
		return dsl.Measured{Missing: "the memos of some of the load hold a value of env(), which is not recorded, so its transactions cannot be told from others"}
	}
	if r.world.Evidence == nil {
		return dsl.Measured{Missing: "there is no database with the nodes' logs: dbUri is not in the configuration"}
	}
	bounded, cancel := context.WithTimeout(ctx, measureTimeout)
	defer cancel()
	return r.world.Evidence.Measure(bounded, q)
}

// evidenceRun is this run as the evidence needs to know it, and whether the names of some of its load are not known.
func (r *run) evidenceRun() (about evidence.Run, hidden bool) {
	about = evidence.Run{Clock: r.world.Clock, Began: r.world.Clock.FromWall(r.beginning), Genesis: r.config.Genesis, Slot: r.config.SlotDuration}
	for _, e := range r.ledger.placed() {
		hidden = hidden || e.intent.Hidden
		about.Loads = append(about.Loads, e.evidence(r.world.Clock))
	}
	return about, hidden
}

// between is a value between two bounds; missing says why they are not the same, if they are not.
func between(low, high *big.Rat, missing string) dsl.Measured {
	if low.Cmp(high) == 0 {
		missing = ""
	}
	return dsl.Measured{Low: low, High: high, Missing: missing}
}

func (f facts) nodesMetric(name string) dsl.Measured {
	known := len(f.nodes.answered())
	asked, reached := f.nodes.reach()
	switch {
	case known == 0:
		return dsl.Measured{Missing: "no node has been asked in this run yet"}
	case name == metricKnown:
		return exactly(big.NewRat(int64(known), 1))
	case asked == 0:
		return dsl.Measured{Missing: "the nodes have not been asked"}
	case name == metricReached:
		return exactly(big.NewRat(int64(reached), 1))
	}
	m := exactly(big.NewRat(int64(reached), int64(asked)))
	m.Window = fmt.Sprintf("%d of %d nodes", reached, asked)
	return m
}

func exactly(value *big.Rat) dsl.Measured { return dsl.Measured{Low: value, High: value} }

// alive returns between what the sum of the rates lies that this run's load has now.
func (r *run) alive() (low, high *big.Rat) {
	low, high = new(big.Rat), new(big.Rat)
	now := r.world.Clock.Now()
	for _, e := range r.ledger.remainingOf(func(e entry) bool { return e.intent.Kind.load() }) {
		rate := exactRate(e.intent.TPS)
		ends, bounded := e.ends()
		if bounded && !now.Before(ends) {
			continue
		}
		high.Add(high, rate)
		if e.settled != nil && verdictOf(*e.settled) == carried {
			low.Add(low, rate)
		}
	}
	return low, high
}

// placed is how much of a step's load was placed: rates in transactions per second, as decimals.
type placed struct {
	Asked    string `json:"asked"`
	Placed   string `json:"placed"`
	Unknown  string `json:"unknown,omitempty"`
	Unplaced string `json:"unplaced,omitempty"`
	Nodes    int    `json:"nodes"`
}

// placedShare is the share of the asked rates that was placed so far.
func (f facts) placedShare() dsl.Measured {
	asked, low, high := new(big.Rat), new(big.Rat), new(big.Rat)
	for _, p := range f.loads.all() {
		addTo(p.Asked, asked)
		addTo(p.Placed, low, high)
		addTo(p.Unknown, high)
	}
	if asked.Sign() == 0 {
		return dsl.Measured{Missing: "no load has been scheduled yet"}
	}
	m := between(low.Quo(low, asked), high.Quo(high, asked), "for some of the load nobody knows whether it runs")
	m.Window = fmt.Sprintf("of %s tps asked", decimalText(asked))
	return m
}

func addTo(decimal string, sums ...*big.Rat) {
	for _, sum := range sums {
		sum.Add(sum, exactRate(decimal))
	}
}

// probe asks the nodes that have answered in this run whether they do now.
func (ns *nodes) probe(ctx context.Context, r *run) {
	addresses := ns.answered()
	errs := each(ctx, r, addresses, func(ctx context.Context, _ int, address string) error {
		_, err := ns.at(address).authenticate(ctx)
		return err
	})
	if ctx.Err() != nil {
		return
	}
	reached := 0
	for _, err := range errs {
		if err == nil {
			reached++
		}
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.probed, ns.reached = len(addresses), reached
}

// seek asks the nodes that this run has stopped whether another daemon answers there by now.
func (ns *nodes) seek(ctx context.Context, r *run) {
	_ = each(ctx, r, ns.down(), func(ctx context.Context, _ int, address string) error { // who does not answer is down still
		_, err := ns.at(address).authenticate(ctx)
		return err
	})
}

// reach returns how many nodes were asked at the last probe, 0 for none, and how many of them answered.
func (ns *nodes) reach() (asked, reached int) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return ns.probed, ns.reached
}
