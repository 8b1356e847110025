package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"provingground/dsl"
)

// The order in which the statements of a script are carried out: one after the other, at the same time, with a deadline.

// level is where in a script a sequence of statements stands.
type level struct {
	top    bool // the script itself, up to its last blocks
	ending bool // the end of a run that failed: what a statement refers to may never have come to be

	closing bool // the last block after a good end

	inside []int // numbers of the steps whose blocks it stands in
}

// block carries out the statements of a block.
func (r *run) block(ctx context.Context, items []planItem, at level) error {
	at.top = false
	return r.sequence(ctx, listed(items), at)
}

// sequence carries out statements in order, each of which is asked for when its turn has come. Steps of a batch action are collected until
// another step comes.
func (r *run) sequence(ctx context.Context, next func(context.Context) (planItem, error), at level) (err error) {
	ctx, watches := r.watches(ctx)
	defer func() { err = watches.end(ctx, err) }()
	var batch []planItem
	flush := func() error {
		collected := batch
		batch = nil
		return r.steps(ctx, collected, at)
	}
	for {
		item, err := next(ctx)
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return err // and what was collected for a batch is not begun
		}
		if item.silent() {
			r.comment(item.comment)
			continue
		}
		if len(batch) > 0 && !item.joins(batch[0]) {
			if err := flush(); err != nil {
				return err
			}
		}
		if item.batched() { // what it refers to is kept: it has not run
			batch = append(batch, item)
			continue
		}
		switch {
		case item.step != nil && dsl.HoldsBlock(item.step.Action):
			err = r.hold(ctx, item, at)
		case item.step != nil:
			err = r.steps(ctx, []planItem{item}, at)
		case item.claim != nil && item.claim.Watch:
			err = watches.add(ctx, item, at)
		case item.claim != nil:
			err = r.expect(ctx, item, at)
		case item.deadline != nil:
			err = r.deadline(ctx, item, at)
		default:
			err = r.parallel(ctx, item, at)
		}
		if err != nil {
			return err
		}
		r.outputs.drop(item.drop)
	}
}

// silent reports whether the item is a comment.
func (i planItem) silent() bool {
	return i.step == nil && i.parallel == nil && i.deadline == nil && i.claim == nil
}

// batched reports whether the item is a step that is collected with others of its action.
func (i planItem) batched() bool {
	return i.step != nil && i.step.action.batch && i.step.Retry == nil && i.step.Within == nil
}

// joins reports whether the item is collected together with another one.
func (i planItem) joins(other planItem) bool {
	return i.batched() && i.step.Action == other.step.Action
}

// steps carries out one step, or the steps of a batch together.
func (r *run) steps(ctx context.Context, items []planItem, at level) error {
	if len(items) == 0 {
		return nil
	}
	steps := make([]*planStep, len(items))
	for i, item := range items {
		steps[i] = item.step
	}
	if err := r.runSteps(ctx, steps, at); err != nil {
		return err
	}
	if at.top { // elsewhere, other steps of lower numbers may be at work
		r.ledger.forget(steps[len(steps)-1].Number)
	}
	return nil
}

// parallel carries out branches at the same time. When one fails, the others start no further call; what is under way is finished and
// recorded.
func (r *run) parallel(ctx context.Context, item planItem, at level) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	group, _ := r.world.Clock.Group(ctx, 0)
	errs := make([]error, len(item.parallel))
	for i, branch := range item.parallel {
		group.Go(func() error {
			if errs[i] = guard(func() error { return r.block(ctx, branch, at) }); errs[i] != nil {
				cancel(errs[i])
			}
			return nil
		})
	}
	_ = group.Wait() // each branch has its own error
	return failures(errs)
}

// deadlineError says that a block or a step did not finish within the time that it has.
type deadlineError struct {
	within time.Duration
	source *dsl.Source
	span   dsl.Span
}

func (e *deadlineError) Error() string {
	return fmt.Sprintf("not done within %s, the deadline of line %d", e.within, lineOf(e.source, e.span))
}

// Finding returns the deadline with its place in the script.
func (e *deadlineError) Finding() dsl.Finding {
	return dsl.Finding{Source: e.source, Span: e.span, Step: -1, Message: e.Error()}
}

// deadline carries out the statements of a block that has a deadline.
func (r *run) deadline(ctx context.Context, item planItem, at level) error {
	if r.resumed && r.recorded.passed[item.number] { // what it gave out is restored, and its time may be over
		return r.block(ctx, item.deadline.items, at)
	}
	if err := r.timed(ctx, item, at); err != nil {
		return err
	}
	return r.runLine(linePassed, itemTime{item.number, r.world.Clock.Now()})
}

func (r *run) timed(ctx context.Context, item planItem, at level) error {
	return r.within(ctx, item.deadline.within, r.recorded.deadlines[item.number], func(until time.Time) error {
		return r.runLine(lineWithin, itemTime{item.number, until})
	}, func(ctx context.Context) error { return r.block(ctx, item.deadline.items, at) })
}

// within does something that has a deadline in network time: so long from now or, where that is recorded, what an interrupted run had.
func (r *run) within(ctx context.Context, span dsl.Stretch, until time.Time, note func(until time.Time) error, do func(context.Context) error) error {
	length, ok := span.In(r.config.SlotDuration)
	if !ok {
		return errors.New("a time in slots needs slotDurationMs in the configuration")
	}
	if until.IsZero() {
		until = r.world.Clock.Now().Add(length)
		if err := note(until); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	watching, stop := context.WithCancel(ctx)
	group, _ := r.world.Clock.Group(watching, 0)
	missed := &deadlineError{length, r.source, span.Span}
	group.Go(func() error {
		if r.world.Clock.Until(watching, until) == nil {
			cancel(missed)
		}
		return nil
	})
	err := guard(func() error { return do(ctx) })
	stop()
	_ = group.Wait()                                         // it has no error
	if err == nil && errors.Is(context.Cause(ctx), missed) { // what was under way was not cut short, and is done, but too late
		err = missed
	}
	cancel(nil)
	if errors.Is(err, missed) {
		r.failed.Store(true)
	}
	return err
}

// itemTime is a time that an item of the script counts from or to.
type itemTime struct {
	Item int       `json:"item"`
	Time time.Time `json:"time"`
}
