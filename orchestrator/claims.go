package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"provingground/dsl"
	"provingground/internal/clock"
)

// The verdicts of a run: expect is judged where it stands, watch from there to the end of its block.

// claims are the verdicts of a run so far, and the watches that hold now. Safe for concurrent use.
type claims struct {
	mu       sync.Mutex
	active   []*watched
	unproved []dsl.Finding
	held     int      // claims that passed
	missing  []string // why claims that hold prove nothing: something that should be in force is not
}

// passed returns how many claims passed.
func (c *claims) passed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}

// judgedClaim is how a claim was judged, as it is recorded.
type judgedClaim struct {
	Item int    `json:"item"`
	Kind string `json:"kind"` // expect or watch
	Line int    `json:"line"`
	Text string `json:"text"`
	dsl.Judgement
}

// claimError is a claim or a limit that does not hold.
type claimError struct{ found dsl.Finding }

func (e *claimError) Error() string { return e.found.Error() }

// Finding returns the claim with its place in the script.
func (e *claimError) Finding() dsl.Finding { return e.found }

// unprovenError says that the run came to its end, and that for some claims the evidence is missing.
type unprovenError struct {
	found   dsl.Findings
	missing []string
}

func (e *unprovenError) Error() string {
	if len(e.found) == 0 {
		return "inconclusive, although the claims hold: " + strings.Join(e.missing, "; ")
	}
	return fmt.Sprintf("the evidence is missing for %d claims, first: %v", len(e.found), e.found[0])
}

// Findings returns the claims that could not be judged.
func (e *unprovenError) Findings() dsl.Findings { return e.found }

// unproven returns an error when for one of the claims the evidence is missing.
func (c *claims) unproven() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.unproved) == 0 && (len(c.missing) == 0 || c.held == 0) {
		return nil
	}
	return &unprovenError{dsl.Findings(slices.Clone(c.unproved)).Sort(), c.missing}
}

// look judges the watches that hold now: there is something new. Those that only the nodes' logs can change are left out: that has nothing to do
// with what is new here.
func (c *claims) look(ctx context.Context) {
	c.mu.Lock()
	active := slices.Clone(c.active)
	c.mu.Unlock()
	for _, w := range active {
		if claim := w.item.claim; !asksEvidence(claim) || len(claim.Condition.Refs()) > 0 {
			w.judge(ctx, false)
		}
	}
}

// judge judges a claim now.
func (r *run) judge(ctx context.Context, claim *dsl.Judged) (dsl.Judgement, error) {
	if slices.ContainsFunc(claim.Condition.Metrics(), func(f *dsl.Formula) bool { return strings.HasPrefix(f.Text, metricReached) }) {
		r.nodes.probe(ctx, r)
	}
	return claim.Condition.Judge(facts{r, r.measure(ctx, claim.Condition)}) //nolint:wrapcheck // its place is added by who judges
}

// conclude records a verdict, and returns the error that a failed claim is.
func (r *run) conclude(item planItem, j dsl.Judgement) error {
	v := judgedClaim{Item: item.number, Kind: "expect", Text: item.claim.Text, Judgement: j}
	if item.claim.Watch {
		v.Kind = "watch"
	}
	v.Line, _ = r.source.Place(item.span.Start)
	if err := r.runLine(lineVerdict, v); err != nil {
		return err
	}
	fields := []zap.Field{zap.String(v.Kind, v.Text), zap.String("verdict", string(j.Verdict)), zap.String("actual", j.Actual)}
	if j.Window != "" {
		fields = append(fields, zap.String("window", j.Window))
	}
	r.log.Info("verdict", fields...)
	return r.count(item, j)
}

// count takes a verdict into account, and returns the error that a failed claim is.
func (r *run) count(item planItem, j dsl.Judgement) error {
	if j.Verdict == dsl.Pass {
		r.claims.mu.Lock()
		defer r.claims.mu.Unlock()
		r.claims.held++
		return nil
	}
	found := r.claimFinding(item, j)
	if j.Verdict == dsl.Fail {
		return &claimError{found}
	}
	r.claims.mu.Lock()
	defer r.claims.mu.Unlock()
	r.claims.unproved = append(r.claims.unproved, found)
	return nil
}

// claimFinding shows a claim that did not pass: actual and expected, the window, the evidence.
func (r *run) claimFinding(item planItem, j dsl.Judgement) dsl.Finding {
	kind, how := "expect", "failed"
	if item.claim.Watch {
		kind = "watch"
	}
	if j.Verdict == dsl.Inconclusive {
		how = "is inconclusive"
	}
	f := dsl.Finding{
		Source: r.source, Span: item.claim.Condition.Span, Step: -1, Message: fmt.Sprintf("%s %s: %s", kind, how, item.claim.Text), Notes: j.Evidence,
	}
	if j.Actual != "" {
		f.Hint = "actual " + j.Actual
	}
	if j.Window != "" {
		f.Hint = strings.TrimLeft(f.Hint+" ("+j.Window+")", " ")
	}
	if j.Expected != "" {
		f.Hint = strings.TrimLeft(f.Hint+", expected "+j.Expected, ", ")
	}
	return f
}

// recordedVerdict takes over how an interrupted run judged a claim, if it did. One that it found to fail is judged again.
func (r *run) recordedVerdict(item planItem) bool {
	v, ok := r.recorded.verdicts[item.number]
	if !ok || v.Verdict == dsl.Fail {
		return false
	}
	_ = r.count(item, v.Judgement) // which fails for a failed one only
	return true
}

// pollPause is how long an expect with a time waits between two looks, in network time; a part of a slot, and of the time that it has.
func (r *run) pollPause(claim *dsl.Judged, within time.Duration) time.Duration {
	pause := max(time.Second, min(r.slot()/18, within/4))
	if asksEvidence(claim) {
		now := r.world.Clock.Wall()
		pause = max(pause, r.world.Clock.FromWall(now.Add(evidencePause)).Sub(r.world.Clock.FromWall(now)))
	}
	return pause
}

// evidencePause is the least wall time between two judgements of one claim that ask the database.
const evidencePause = time.Second

// asksEvidence reports whether a claim needs the nodes' own logs.
func asksEvidence(claim *dsl.Judged) bool {
	return slices.ContainsFunc(claim.Condition.Metrics(), func(f *dsl.Formula) bool { return ofEvidence(f.Text) })
}

// slot is how long a slot lasts, or is taken to last where the configuration does not say.
func (r *run) slot() time.Duration {
	if r.config.SlotDuration > 0 {
		return r.config.SlotDuration
	}
	return minaSlot
}

// expect judges a claim where it stands or, with a time, until it is true or the time is over.
func (r *run) expect(ctx context.Context, item planItem, at level) error {
	if r.resumed && r.recordedVerdict(item) || r.skips(item, at) {
		return nil
	}
	until := r.recorded.deadlines[item.number]
	var length time.Duration
	if within := item.claim.Within; within != nil {
		var ok bool
		if length, ok = within.In(r.config.SlotDuration); !ok {
			return r.claimFault(item, errors.New("a time in slots needs slotDurationMs in the configuration"))
		}
		if until.IsZero() {
			until = r.world.Clock.Now().Add(length)
			if err := r.runLine(lineWithin, itemTime{item.number, until}); err != nil {
				return err
			}
		}
	}
	for {
		j, err := r.judge(ctx, item.claim)
		if err != nil {
			return r.claimFault(item, err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		left := until.Sub(r.world.Clock.Now())
		if j.Verdict == dsl.Pass || left <= 0 {
			return r.conclude(item, j)
		}
		r.progress.Waiting(until)
		err = r.world.Clock.Sleep(ctx, min(left, r.pollPause(item.claim, length)))
		r.progress.Waiting(time.Time{})
		if err != nil {
			return err //nolint:wrapcheck // the cause of the run's end
		}
	}
}

// skips reports whether a claim stands at the end of a failed run and asks for an output that never came to be.
func (r *run) skips(item planItem, at level) bool {
	if !at.ending {
		return false
	}
	var missing *dsl.MissingOutputError
	_, err := item.claim.Condition.Judge(facts{run: r})
	if !errors.As(err, &missing) {
		return false
	}
	r.log.Warn("skipped: what it refers to never came to be", zap.String("claim", item.claim.Text), zap.Error(err))
	return true
}

// claimFault is a claim that cannot be judged for a reason that is no missing evidence.
func (r *run) claimFault(item planItem, err error) error {
	r.failed.Store(true)
	return &claimError{dsl.Finding{
		Source: r.source, Span: item.claim.Condition.Span, Step: -1, Message: fmt.Sprintf("%s cannot be judged: %v", item.claim.Text, err),
	}}
}

// watches are the watches of one block.
type watches struct {
	run    *run
	cancel context.CancelCauseFunc // ends the block's statements
	all    []*watched
}

// watched is one watch while it holds.
type watched struct {
	of    *watches
	item  planItem
	since time.Time // network time from which on it holds

	ticks *clock.Group       // judges it once a slot
	stop  context.CancelFunc // of that

	turn   *clock.Turn   // to judge: that may wait for nodes
	rests  time.Time     // wall time before which it is not judged again, as it asks the database
	last   dsl.Judgement // the latest
	judged bool
	failed error
}

// watches prepares the watches of a block. The context that it returns ends when one of them fails.
func (r *run) watches(ctx context.Context) (context.Context, *watches) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &watches{run: r, cancel: cancel}
}

// add begins to watch.
func (w *watches) add(ctx context.Context, item planItem, at level) error {
	r := w.run
	if r.resumed && r.recordedVerdict(item) || r.skips(item, at) {
		return nil
	}
	one := &watched{of: w, item: item, turn: r.world.Clock.Turn(), since: r.recorded.deadlines[item.number]}
	if after := item.claim.After; after != nil && one.since.IsZero() {
		length, ok := after.In(r.config.SlotDuration)
		if !ok {
			return r.claimFault(item, errors.New("a time in slots needs slotDurationMs in the configuration"))
		}
		one.since = r.world.Clock.Now().Add(length)
		if err := r.runLine(lineWithin, itemTime{item.number, one.since}); err != nil {
			return err
		}
	}
	w.all = append(w.all, one)
	r.claims.mu.Lock()
	r.claims.active = append(r.claims.active, one)
	r.claims.mu.Unlock()
	one.judge(ctx, true)
	ticking, stop := context.WithCancel(ctx)
	one.stop = stop
	one.ticks, _ = r.world.Clock.Group(ticking, 0)
	one.ticks.Go(func() error { // each by itself: a database that is slow to answer holds up no other watch
		for r.world.Clock.Until(ticking, r.nextSlot()) == nil {
			one.judge(ticking, false)
		}
		return nil
	})
	return nil
}

// nextSlot is the network time at which the next slot begins.
func (r *run) nextSlot() time.Time {
	slot, now := r.slot(), r.world.Clock.Now()
	if r.config.Genesis.IsZero() {
		return now.Add(slot)
	}
	return r.config.Genesis.Add((now.Sub(r.config.Genesis)/slot + 1) * slot)
}

// judge judges the watch now, if it holds already. One that asks the database is left out when it was judged a moment ago, unless it must be
// judged: there will be another look.
func (w *watched) judge(ctx context.Context, must bool) {
	r := w.of.run
	if w.turn.Take(ctx) != nil {
		return
	}
	defer w.turn.Release()
	if w.failed != nil || ctx.Err() != nil || r.world.Clock.Now().Before(w.since) || !must && r.world.Clock.Wall().Before(w.rests) {
		return
	}
	if asksEvidence(w.item.claim) {
		w.rests = r.world.Clock.Wall().Add(evidencePause)
	}
	j, err := r.judge(ctx, w.item.claim)
	if ctx.Err() != nil { // what was not answered then says nothing
		return
	}
	switch {
	case err != nil:
		w.failed = r.claimFault(w.item, err)
	case j.Verdict == dsl.Fail:
		w.failed = r.conclude(w.item, j)
	default:
		w.last, w.judged = j, true
		return
	}
	w.of.cancel(w.failed)
}

// end ends the watches of a block whose statements ended with err. A block that ended well has its watches judged a last time.
func (w *watches) end(ctx context.Context, err error) error {
	for _, one := range w.all {
		one.stop()
	}
	for _, one := range w.all {
		_ = one.ticks.Wait() // it has no error
	}
	r := w.run
	r.claims.mu.Lock()
	r.claims.active = slices.DeleteFunc(r.claims.active, func(one *watched) bool { return one.of == w })
	r.claims.mu.Unlock()
	defer w.cancel(nil)
	for _, one := range w.all {
		if err == nil {
			one.judge(ctx, true)
		}
		if turn := one.turn.Take(context.WithoutCancel(ctx)); turn != nil { // which does not end
			err = errors.Join(err, turn)
			continue
		}
		switch {
		case one.failed != nil && (err == nil || errors.Is(err, one.failed)):
			err = one.failed
		case one.failed != nil:
			err = errors.Join(err, one.failed)
		case err != nil:
		case !one.judged:
			one.last = dsl.Judgement{Verdict: dsl.Inconclusive, Evidence: []string{"its block ended before the watch began to hold"}}
			fallthrough
		default:
			err = r.conclude(one.item, one.last)
		}
		one.turn.Release()
	}
	return err
}
