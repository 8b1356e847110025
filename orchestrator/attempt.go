package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// How a step is carried out: its arguments, its attempts, its deadline, its end.

// runSteps runs one step, or the steps of a batch together. What an interrupted run finished is not run again.
func (r *run) runSteps(ctx context.Context, steps []*planStep, at level) error {
	var tasks []*task
	for _, step := range steps {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.began.Add(1)
		if _, done := r.closed.Load(step.Number); done {
			continue
		}
		if r.resumed && r.recorded.done[step.Number] {
			if err := r.restore(ctx, step); err != nil {
				r.failed.Store(true)
				return &stepError{step, err}
			}
			r.outputs.finish(step.Number)
			continue
		}
		t := &task{run: r, step: step, log: r.log.WithLazy(step.fields()...), began: r.world.Clock.Wall()}
		var missing *missingOutput
		a, err := step.resolve(r.outputs, facts{run: r})
		switch {
		case errors.As(err, &missing) && at.ending:
			t.log.Warn("step skipped: what it refers to never came to be", zap.Error(err))
			if err := t.note(lineSkipped, struct{}{}); err != nil {
				return &stepError{step, err}
			}
			continue
		case err != nil:
			r.failed.Store(true)
			return &stepError{step, err}
		}
		t.args, t.at = a, at
		if err := r.limits.allow(ctx, t, at); err != nil {
			return err
		}
		r.progress.Step(step.Number, r.of, step.Action)
		tasks = append(tasks, t)
	}
	if len(tasks) == 0 {
		return nil
	}
	for _, t := range tasks {
		t.log.Info("step begins")
	}
	if err := r.ended(ctx, tasks[0], r.try(ctx, tasks)); err != nil {
		return err
	}
	if met := r.nodes.news(); len(met) > 0 {
		if err := r.runLine(lineMet, met); err != nil {
			r.failed.Store(true)
			return &stepError{tasks[0].step, err}
		}
	}
	for _, t := range tasks {
		r.outputs.finish(t.step.Number)
		r.limits.over(t.step.Number)
		if err := t.note(lineDone, began{t.began}); err != nil {
			r.failed.Store(true)
			return &stepError{t.step, err}
		}
		if at.closing {
			r.closed.Store(t.step.Number, true)
		}
		t.log.Info("step is done")
	}
	r.claims.look(ctx)
	return nil
}

// ended makes the error of a step, if any, that of the run: with its place, why the run was told to end if it was, and recorded.
func (r *run) ended(ctx context.Context, first *task, err error) error {
	if failure := r.record.Err(); failure != nil && (err == nil || errors.Is(err, errRecord)) { // said once, however often it was met
		err = fmt.Errorf("%w: %w", errRecord, failure)
	}
	if err == nil {
		return nil
	}
	cause := context.Cause(ctx)
	var elsewhere *stepError
	var claim *claimError
	told := errors.As(cause, &elsewhere) || errors.As(cause, &claim)
	at := &stepError{first.step, err}
	var inner *stepError // of a batch: which of its steps it was
	if errors.As(err, &inner) && inner != elsewhere {
		at = inner
	}
	failed := &task{run: r, step: at.step, held: first.held, began: first.began}
	if told { // it ended because of another step, or of a claim, which is what is told
		if noted := failed.note(lineFailed, end{CodeStep, r.world.Mask(at.err.Error()), began{failed.began}}); noted != nil && !errors.Is(err, errRecord) {
			return errors.Join(cause, noted)
		}
		return cause
	}
	if cause == nil {
		r.failed.Store(true)
	} else if !errors.Is(err, cause) {
		err = errors.Join(err, cause) // whatever a step says that was told to end, this is why it did
	}
	if !errors.As(err, &elsewhere) {
		at = &stepError{first.step, err}
		err = at
	}
	if noted := failed.note(lineFailed, end{CodeStep, r.world.Mask(at.err.Error()), began{failed.began}}); !errors.Is(err, errRecord) {
		err = errors.Join(err, noted)
	}
	return err
}

// try carries out steps, with the deadline and as often as the script says. A step with either is never part of a batch.
func (r *run) try(ctx context.Context, tasks []*task) error {
	t := tasks[0]
	if t.step.Within == nil {
		return r.attempts(ctx, tasks)
	}
	return r.within(ctx, *t.step.Within, r.recorded.limits[t.step.Number], func(until time.Time) error {
		return t.note(lineWithin, until)
	}, func(ctx context.Context) error { return r.attempts(ctx, tasks) })
}

func (r *run) attempts(ctx context.Context, tasks []*task) error {
	once := func() error {
		return guard(func() error {
			if tasks[0].step.action.runBatch != nil {
				return tasks[0].step.action.runBatch(ctx, tasks)
			}
			return tasks[0].step.action.run(ctx, tasks[0])
		})
	}
	t := tasks[0]
	retry := t.step.Retry
	if retry == nil {
		return once()
	}
	every, ok := retry.Every.In(r.config.SlotDuration)
	if !ok {
		return errors.New("a time in slots needs slotDurationMs in the configuration")
	}
	for t.attempt = r.recorded.attempts[t.step.Number] + 1; ; t.attempt++ {
		err := once()
		if err == nil || ctx.Err() != nil || errors.Is(err, errRecord) {
			return err
		}
		var internal *internalError
		switch {
		case t.attempt >= retry.Attempts && retry.Attempts > 1:
			return fmt.Errorf("attempt %d of %d: %w", t.attempt, retry.Attempts, err)
		case t.attempt >= retry.Attempts, errors.As(err, &internal):
			return err
		case t.unknown(), errors.Is(err, errFundingUnknown):
			return fmt.Errorf("%w; not tried again, for nobody knows whether some of it was done", err)
		}
		t.held = nil
		r.outputs.forget(t.step.Number)
		r.loads.forget(t.step.Number)
		if err := t.note(lineRetry, end{t.attempt, r.world.Mask(err.Error()), began{t.began}}); err != nil {
			return err
		}
		t.log.Warn("the step failed, trying again", zap.Int("attempt", t.attempt), zap.Int("of", retry.Attempts), zap.Duration("in", every), zap.Error(err))
		if err := t.pause(ctx, every); err != nil {
			return err
		}
		if err := r.limits.allow(ctx, t, t.at); err != nil { // others may have begun meanwhile
			return err
		}
		t.began = r.world.Clock.Wall()
	}
}

// unknown reports whether the outcome of one of the step's calls is not known.
func (t *task) unknown() bool {
	for _, e := range t.ledger.ofStep(t.step.Number) {
		if e.settled == nil || e.settled.Result == resultUnknown || e.settled.unstoppable(e.intent) {
			return true
		}
	}
	return false
}

// patient reports whether the action's own retries count: the script states none.
func (t *task) patient() bool { return t.step.Retry == nil }
