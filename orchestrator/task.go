package orchestrator

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"syscall"
	"time"

	"go.uber.org/zap"

	"provingground/internal/clock"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/record"
)

// task is one step while it runs: what an action sees of the run.
type task struct {
	*run
	step *planStep
	args args
	log  *zap.Logger
	held []record.Line // outputs that are written together with the step's end

	at      level
	attempt int       // of a step that the script retries, from 1
	began   time.Time // wall time: the step, or its present attempt
}

// again reports whether the step is tried anew after it failed: by this run, or by the one that it continues.
func (t *task) again() bool { return t.attempt > 1 || t.recorded.failed[t.step.Number] }

// holds reports whether outputs wait for the step's end: it computes at once, or an attempt of it may come to nothing.
func (t *task) holds() bool { return t.step.action.computes || t.step.Retry != nil }

// write writes outputs, now or with the step's end.
func (t *task) write(lines ...record.Line) error {
	if t.holds() {
		t.held = append(t.held, lines...)
		return nil
	}
	return t.run.write(lines...)
}

// chance returns the stream of random choices that the run's seed and the step's path give, which is its name with the round, or its number
// where it has none; purpose tells several streams of a step apart.
func (t *task) chance(purpose string) *rand.Rand {
	return rand.New(rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "%d/%s/%s", t.seed, cmp.Or(t.step.ID, strconv.Itoa(t.step.Number)), purpose)))) //nolint:gosec // choices, not secrets
}

// line returns a line of the step's record.
func (t *task) line(name string, multi bool, v any) (record.Line, error) {
	text, raw := v.(json.RawMessage)
	if !raw {
		var err error
		if text, err = json.Marshal(v); err != nil {
			return record.Line{}, fmt.Errorf("output %s: %w", name, err)
		}
	}
	return record.Line{Time: t.world.Clock.Wall(), Step: t.step.Number, ID: t.step.ID, Action: t.step.Action, Name: name, Multi: multi, Value: text}, nil
}

// output gives out a single output.
func (t *task) output(name string, v any) error {
	line, err := t.line(name, false, v)
	if err != nil {
		return err
	}
	t.outputs.add(outputKey{step: t.step.Number, name: name}, false, line.Value)
	return t.write(line)
}

// outputList gives out a list output: one line for each element.
func outputList[T any](t *task, name string, elements []T) error {
	lines := make([]record.Line, len(elements))
	for i, e := range elements {
		line, err := t.line(name, true, e)
		if err != nil {
			return err
		}
		t.outputs.add(outputKey{step: t.step.Number, name: name}, true, line.Value)
		lines[i] = line
	}
	return t.write(lines...)
}

// secrets keeps the elements of a sensitive list output for references. They are not written anywhere.
func (t *task) secrets(name string, elements []json.RawMessage) {
	for _, e := range elements {
		t.outputs.add(outputKey{step: t.step.Number, name: name}, true, e)
	}
}

// note records something beside outputs, and lets the ledger know.
func (t *task) note(name string, v any) error {
	line, err := t.line(name, true, v)
	if err != nil {
		return err
	}
	if err := t.ledger.take(line); err != nil {
		return err
	}
	if !t.holds() || !t.step.action.computes && name != lineDone && name != lineFailed { // there may be many calls under way at once
		return t.run.write(line)
	}
	lines := append(t.held, line)
	t.held = nil
	return t.run.write(lines...)
}

// intend records a call before it is made, and returns once that is on disk. Without it no call is made.
func (t *task) intend(i Intent) error {
	name := i.Experiment
	i.Experiment, i.Files = t.world.Mask(i.Experiment), t.world.Mask(i.Files)
	i.Hidden = i.Experiment != name
	if err := t.note(lineIntent, i); err != nil {
		return err
	}
	if err := t.record.Flush(); err != nil {
		return fmt.Errorf("%w: %w", errRecord, err)
	}
	return nil
}

// each calls f for every item, many at once, and returns the errors, item by item. It stops starting calls when ctx ends; what it did not
// start has the cause of that as its error.
func each[T any](ctx context.Context, t *run, items []T, f func(ctx context.Context, i int, item T) error) []error {
	return eachOf(ctx, t, t.config.Concurrency, items, f)
}

// eachOf is each with so many calls at once.
func eachOf[T any](ctx context.Context, t *run, atOnce int, items []T, f func(ctx context.Context, i int, item T) error) []error {
	errs := make([]error, len(items))
	group, _ := t.world.Clock.Group(ctx, atOnce)
	for i, item := range items {
		group.Go(func() error { // which waits for a place, so ctx is looked at behind it
			if ctx.Err() != nil {
				errs[i] = context.Cause(ctx)
				return nil //nolint:nilerr // each item has its own error
			}
			errs[i] = guard(func() error { return f(ctx, i, item) })
			return nil
		})
	}
	_ = group.Wait() // each item has its own error
	return errs
}

// internalError is a bug of this program that showed itself as a panic.
type internalError struct {
	cause any
	stack []byte
}

func (e *internalError) Error() string { return fmt.Sprintf("error inside the program: %v", e.cause) }

// guard turns a panic into an error, so that the run still cleans up.
func guard(f func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = &internalError{cause, debug.Stack()}
		}
	}()
	return f()
}

// resultOf says what became of a call from the error of its client.
func resultOf(err error, sent bool) Settled {
	if err == nil {
		return Settled{Result: resultDone}
	}
	s := Settled{Result: resultUnknown, Message: err.Error()}
	var lost *itn.LostReplyError
	var notSent *itn.NotSentError
	var refused *itn.RefusedError
	var unauthorized *itn.UnauthorizedError
	var sequencing *itn.SequencingError
	var status *itn.StatusError
	switch {
	case errors.As(err, &lost):
		switch lost.Outcome {
		case itn.NotAccepted:
			s.Result = resultNot
		case itn.Accepted:
			s.Result = resultAccepted
		case itn.Gone:
			s.Result = resultGone
		case itn.Unknown:
		}
	case errors.As(err, &refused), errors.As(err, &unauthorized), errors.As(err, &sequencing),
		errors.As(err, &status) && status.Status == http.StatusBadRequest: // an answer of the daemon's (itn-graphql, section 2.6)
		s.Result = resultRefused
	case errors.As(err, &notSent), !sent:
		s.Result = resultNotSent
	}
	return s
}

// settle records what became of a call.
func (t *task) settle(s Settled) error {
	s.Message = t.world.Mask(s.Message)
	return t.note(lineSettled, s)
}

// sequenced makes a call to a node that leaves something behind: it records the intent right before each sending, and what became of it.
// Where an interrupted run was about to make this call, that is looked at first: what was done is not done again.
//
// send makes the call and returns the handle of load, or "".
func (t *task) sequenced(ctx context.Context, intent Intent, send func(before itn.Before) (string, error)) (Settled, error) {
	if e, ok := t.earlier(intent); ok {
		s, err := t.decide(ctx, e)
		if err != nil {
			return s, err
		}
		switch s.Result {
		case resultDone, resultAccepted:
			return s, nil
		case resultUnknown:
			return s, fmt.Errorf("node %s does not say whether it did what the interrupted run asked it for: %s", intent.Node, s.Message)
		default: // it did not
		}
	}
	intent.Call = t.ledger.newCall()
	return t.send(ctx, intent, send, func(*Settled) {})
}

// send makes a call to a node, with its intent and its result recorded. complete adds what the caller knows to the result. A lost reply of
// which the node itself shows that the call was done is no error.
func (t *task) send(
	ctx context.Context, intent Intent, send func(before itn.Before) (string, error), complete func(*Settled),
) (Settled, error) {
	sent := false
	handle, err := send(func(a itn.Attempt) error {
		intent.ServerUUID, intent.SequenceNumber = a.ServerUUID, &a.SequenceNumber
		sent = true
		return t.intend(intent)
	})
	s := resultOf(err, sent)
	s.Call, s.Handle = intent.Call, handle
	var refusal *itn.RefusedError
	switch {
	case s.Result == resultAccepted && intent.Kind != kindAccounts: // whose answer holds keys, which nothing else gives back
		if s = accepted(ctx, t.run, intent); s.Result == resultDone {
			t.log.Warn("the reply was lost, and the node did what it was asked for", zap.String("node", intent.Node), zap.Error(err))
			err = nil
		}
	case intent.Kind == kindStopDaemon && (s.Result == resultGone || s.Result == resultUnknown && errors.Is(err, syscall.ECONNREFUSED)):
		// It ended before it could answer: another daemon answers now, or nobody listens any more.
		s, err = Settled{Call: intent.Call, Result: resultDone, Message: err.Error()}, nil
	case s.Result == resultRefused && intent.Kind == kindIsolate && errors.As(err, &refusal):
		s.Result = resultPartly
	}
	complete(&s)
	if sent {
		err = errors.Join(err, t.settle(s))
	}
	return s, err
}

// graceful returns a context that outlives ctx by half of the clean-up's time, for calls whose answers must not be missed.
func (t *task) graceful(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	over := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(over)
		if clock.Wall().Sleep(longer, t.options.CleanupTimeout/2) == nil {
			cancel(context.Cause(ctx))
		}
	})
	return longer, func() {
		cancel(context.Canceled)
		if !stop() { // it has begun, and ends with longer
			<-over
		}
	}
}

// external makes a call that goes to a program and not to a node; otherwise as sequenced does.
func (t *task) external(intent Intent, do func() (Settled, error)) (Settled, error) {
	intent.Call = t.ledger.newCall()
	if err := t.intend(intent); err != nil {
		return Settled{Call: intent.Call, Result: resultNotSent}, err
	}
	s, err := do()
	s.Call = intent.Call
	return s, errors.Join(err, t.settle(s))
}

// earlier returns the call that an interrupted run, or an earlier attempt, made or was about to make in place of this one.
func (t *task) earlier(intent Intent) (entry, bool) {
	if !t.resumed && t.attempt < 2 {
		return entry{}, false
	}
	calls := t.ledger.ofStep(t.step.Number)
	slices.Reverse(calls) // the latest attempt counts
	for _, e := range calls {
		if e.intent.Kind == intent.Kind && e.intent.Node == intent.Node && equal(e.intent.Index, intent.Index) && equal(e.intent.Share, intent.Share) {
			return e, e.undone == nil
		}
	}
	return entry{}, false
}

func equal(a, b *int) bool { return a == b || a != nil && b != nil && *a == *b }

// decide finds out what became of a call whose result is not recorded, and records it.
func (t *task) decide(ctx context.Context, e entry) (Settled, error) {
	if e.settled != nil && e.settled.Result != resultUnknown {
		return *e.settled, nil
	}
	s := decide(ctx, t.run, e)
	return s, t.settle(s)
}

// decide asks the node what became of a request whose reply nobody has.
func decide(ctx context.Context, r *run, e entry) Settled {
	s := Settled{Call: e.intent.Call, Result: resultUnknown}
	at, ok := e.attempt()
	if !ok {
		s.Result = resultNotSent
		return s
	}
	outcome, err := r.nodes.at(e.intent.Node).client.Decide(ctx, at)
	if err != nil {
		s.Message = err.Error()
	}
	switch outcome {
	case itn.NotAccepted:
		s.Result = resultNot
	case itn.Gone:
		s.Result = resultGone
		if e.intent.Kind == kindStopDaemon { // the daemon is another one: it has stopped
			s.Result = resultDone
		}
	case itn.Accepted:
		return accepted(ctx, r, e.intent)
	case itn.Unknown:
	}
	return s
}

// accepted says what became of a request that its node has accepted, as far as that can be seen without its reply: the node may have
// refused it all the same.
func accepted(ctx context.Context, r *run, intent Intent) Settled {
	s := Settled{Call: intent.Call, Result: resultAccepted}
	switch {
	case !intent.Kind.load() && intent.Kind != kindAccounts:
		s.Result = resultDone
	case intent.Handle != "": // the node lists what runs
		listed, err := r.lists(ctx, intent)
		switch {
		case err != nil:
			s.Handle, s.Message = intent.Handle, err.Error()
		case listed:
			s.Result, s.Handle = resultDone, intent.Handle
		case intent.Ends != nil && !r.world.Clock.Now().Before(*intent.Ends): // it ran, and is over
			s.Result, s.Handle, s.Message = resultDone, intent.Handle, "it has ended"
		default:
			s.Result, s.Message = resultRefused, "the node does not list it"
		}
	}
	return s
}

// lists reports whether a node lists the load of an intent. It may still be at work on the request, so a no is asked for again.
func (r *run) lists(ctx context.Context, intent Intent) (bool, error) {
	const times, pause = 3, 300 * time.Millisecond // wall time
	for i := range times {
		handles, err := r.nodes.at(intent.Node).client.ScheduledTransactions(ctx)
		if err != nil || slices.Contains(handles, intent.Handle) {
			return err == nil, err //nolint:wrapcheck // names operation and node
		}
		if i < times-1 {
			if err := r.world.Clock.SleepWall(ctx, pause); err != nil {
				return false, err //nolint:wrapcheck // the cause of the run's end
			}
		}
	}
	return false, nil
}

// failures joins the errors of single nodes; what several have in common, such as the end of the run, once. Nothing failed: nil.
func failures(errs []error) error {
	var distinct []error
	seen := map[string]bool{}
	for _, err := range errs {
		if err != nil && !seen[err.Error()] {
			seen[err.Error()] = true
			distinct = append(distinct, err)
		}
	}
	return errors.Join(distinct...)
}

// allFailed reports whether there were items and every one of them failed.
func allFailed(errs []error) bool {
	return len(errs) > 0 && !slices.Contains(errs, nil)
}

// warnEach logs the errors of single nodes, which do not fail the step.
func (t *task) warnEach(message string, addresses []string, errs []error) {
	for i, err := range errs {
		if err != nil {
			t.log.Warn(message, zap.String("node", addresses[i]), zap.Error(err))
		}
	}
}

// errAllFailed is what a step fails with that bears failures of single nodes, when every node failed.
func (t *task) errAllFailed(what string, errs []error) error {
	return fmt.Errorf("%s on none of %d nodes: %w", what, len(errs), failures(errs))
}

// silence records how many nodes the step asked and how many of them did not answer, if there were such.
func (t *task) silence(nodes, silent int) error {
	if silent == 0 {
		return nil
	}
	a := asked{nodes, silent}
	t.outputs.silence(t.step.Number, a)
	return t.note(lineSilent, a)
}
