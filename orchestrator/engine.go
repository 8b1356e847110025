package orchestrator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"provingground/dsl"
	"provingground/internal/redact"
	"provingground/orchestrator/record"
)

// The exit codes of a run (script-language, section 6).
const (
	CodeOK           = 0
	CodeUsage        = 1
	CodeScript       = 2
	CodeStep         = 3
	CodeVerdict      = 4
	CodeRemains      = 5
	CodeInconclusive = 6
	CodeInternal     = 70
)

// Interrupted is the cause of a run's context when a signal ended it.
type Interrupted struct{ Signal os.Signal }

// Error names the signal.
func (i *Interrupted) Error() string { return fmt.Sprintf("told to end by the signal %q", i.Signal) }

// Progress is told what a run does. Its methods may be called by several goroutines at once, and must not block.
type Progress interface {
	// Step says that a step begins.
	Step(number, of int, action string)
	// Waiting says that the step waits until then, in network time; the zero time: it waits no longer.
	Waiting(until time.Time)
	// Comment shows a comment of the script.
	Comment(text string)
	// Cleaning says that the run cleans up.
	Cleaning()
}

// Options are what a caller decides about one run.
type Options struct {
	// ID names the run in its record, so that its history can be told from that of any other; a continued run keeps the name it has. It may be "".
	ID string
	// Version is the program's version, for the record.
	Version string
	// Seed gives every random choice of the run.
	Seed uint64
	// RecordPath is the name of the record file. What gather-logs saves lies beside it.
	RecordPath string
	// CleanupTimeout bounds the clean-up, in wall time; 0 means 2 minutes.
	CleanupTimeout time.Duration
	// Progress may be nil.
	Progress Progress
	// Resume is the record of the run to continue; nil for a new run.
	Resume *Recorded
}

// Run is one run of a plan. It is made by [NewRun].
type Run struct {
	run  *run
	plan *Plan
	next func(ctx context.Context) (planItem, error)
}

// run is what the steps of a run share.
type run struct {
	world     World
	config    Config
	options   Options
	source    *dsl.Source // nil of a stream
	seed      uint64
	of        int // number of steps, 0 when not known
	record    *record.Writer
	ledger    *ledger
	outputs   *outputs
	nodes     *nodes
	limits    *limits
	claims    *claims
	loads     *loads
	log       *zap.Logger
	progress  Progress
	resumed   bool
	recorded  *Recorded    // empty for a new run
	beginning time.Time    // wall time of the run's beginning; of a resumed one, that of the run it continues
	meeting   *sync.Once   // of the nodes, by a run that has not spoken to those that an earlier run spoke to; else nil
	closed    sync.Map     // numbers of the steps that the last block has done after a good end
	began     atomic.Int64 // steps begun
	failed    atomic.Bool  // a step failed by itself
}

// NewRun prepares a run of a plan. It sends nothing.
func NewRun(plan *Plan, config Config, world World, writer *record.Writer, options Options) *Run {
	r := newRun(config, world, writer, options)
	r.outputs, r.of, r.source = plan.outputs, plan.steps, plan.Source
	r.limits = newLimits(plan.script.Limits, r.recorded)
	for _, secret := range plan.Secrets() {
		world.Hide(secret)
	}
	return &Run{run: r, plan: plan, next: listed(plan.items)}
}

// listed hands out items in order.
func listed(items []planItem) func(context.Context) (planItem, error) {
	at := 0
	return func(context.Context) (planItem, error) {
		if at == len(items) {
			return planItem{}, io.EOF
		}
		at++
		return items[at-1], nil
	}
}

// NewStreamRun prepares a run of a stream of steps, each of which is read when its turn has come.
func NewStreamRun(stream *dsl.Stream, config Config, world World, writer *record.Writer, options Options) *Run {
	r := newRun(config, world, writer, options)
	r.outputs.all = true
	c := newCompiler(CompileOptions{Config: &config, Evidence: world.Evidence != nil})
	c.outputs = r.outputs
	return &Run{run: r, plan: &Plan{}, next: func(ctx context.Context) (planItem, error) {
		item, source, err := r.nextOf(ctx, stream)
		if err != nil || item.Step == nil {
			return planItem{comment: item.Comment}, err
		}
		step, found := c.step(source, item.Step)
		if found.Errors() {
			return planItem{}, &scriptError{found: found}
		}
		return planItem{step: step}, nil
	}}
}

// nextOf reads the next item of a stream, or returns the cause of ctx's end. A read of standard input cannot be called off: after the end of
// ctx, and only then, its goroutine is left behind, and ends with the input.
func (r *run) nextOf(ctx context.Context, stream *dsl.Stream) (item dsl.Item, source *dsl.Source, err error) {
	type answer struct {
		item   dsl.Item
		source *dsl.Source
		err    error
	}
	read := make(chan answer, 1)
	go func() {
		var a answer
		a.item, a.source, a.err = stream.Next()
		read <- a
	}()
	r.world.Clock.Idle(func() {
		select {
		case a := <-read:
			item, source, err = a.item, a.source, a.err
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	})
	return item, source, err
}

func newRun(config Config, world World, writer *record.Writer, options Options) *run {
	r := &run{
		world: world, config: config, options: options, seed: options.Seed, record: writer, ledger: newLedger(), outputs: newOutputs(),
		nodes: newNodes(world, config.URLOverrides), claims: &claims{}, loads: &loads{placed: map[int]placed{}, held: map[int][]string{}}, log: world.Log, progress: options.Progress, recorded: newRecorded(),
	}
	r.world.Programs = maskedPrograms{world.Programs, world.Mask}
	if world.NewHandle == nil {
		r.world.NewHandle = uuid.NewString
	}
	if r.progress == nil {
		r.progress = silent{}
	}
	if options.CleanupTimeout == 0 {
		r.options.CleanupTimeout = 2 * time.Minute
	}
	r.beginning = world.Clock.Wall()
	if options.Resume != nil {
		r.beginning = options.Resume.began
		r.resumed, r.recorded, r.ledger, r.seed = true, options.Resume, options.Resume.ledger, options.Resume.header.Seed
		r.meeting = &sync.Once{}
		r.loads.placed = maps.Clone(r.recorded.placed)
	}
	r.limits = newLimits(nil, r.recorded)
	return r
}

type silent struct{}

func (silent) Step(int, int, string) {}
func (silent) Waiting(time.Time)     {}
func (silent) Comment(string)        {}
func (silent) Cleaning()             {}

// scriptError is a script that turned out to be wrong while it was read step by step.
type scriptError struct{ found dsl.Findings }

func (e *scriptError) Error() string {
	var text strings.Builder
	if err := e.found.Write(&text, dsl.AsText); err != nil {
		return err.Error()
	}
	return strings.TrimRight(text.String(), "\n")
}

// Findings returns what is wrong with the step.
func (e *scriptError) Findings() dsl.Findings { return e.found }

// Wrong is an error that consists of findings about the script.
type Wrong interface{ Findings() dsl.Findings }

// errRecord says that the run cannot be recorded: nothing may be changed on the network any more.
var errRecord = errors.New("the run cannot be recorded, so nothing more is started")

// stepError is the failure of a step, with its place.
type stepError struct {
	step *planStep
	err  error
}

func (e *stepError) Error() string {
	return e.Finding().Error()
}

func (e *stepError) Unwrap() error { return e.err }

// Finding returns the failure with its place in the script.
func (e *stepError) Finding() dsl.Finding {
	var interrupted *Interrupted
	if errors.As(e.err, &interrupted) {
		return e.step.finding(fmt.Sprintf("%s was cut short: %v", e.step.Action, e.err))
	}
	return e.step.finding(fmt.Sprintf("%s failed: %v", e.step.Action, e.err))
}

// Placed is an error that points into the script.
type Placed interface{ Finding() dsl.Finding }

// Result is how a run ended.
type Result struct {
	// Code is the exit code.
	Code int
	// Err is why the run did not end well; nil when it did.
	Err error
	// Undone says, in words, what was undone.
	Undone []string
	// Remains says what may still be running or in force.
	Remains []Remaining
	// Held is how many claims of the script, expects and watches, passed.
	Held int
}

// header is the value of the first line of a record.
type header struct {
	ID         string    `json:"id,omitempty"` // of the run; its continuations have it too
	Version    string    `json:"version"`
	Script     string    `json:"script"`               // name
	Experiment string    `json:"experiment,omitempty"` // its name; "" when the script gives none
	Secrets    string    `json:"secrets,omitempty"`    // what the script took from the environment, as a hash that takes time to try out
	Digest     string    `json:"digest"`               // SHA-256 of the script's text; "" for a stream
	Network    string    `json:"network"`
	Genesis    time.Time `json:"genesis,omitzero"`
	Seed       uint64    `json:"seed"`
	Steps      int       `json:"steps,omitempty"`
	Scale      float64   `json:"clockScale,omitempty"` // of network time
}

// end is the value of the last line of a record.
type end struct {
	Code  int    `json:"code"`
	Error string `json:"error,omitempty"`
	began        // in the lines that end an attempt of a step
}

// began says when an attempt of a step began, in wall time.
type began struct {
	Began time.Time `json:"began,omitzero"`
}

// Do carries the run out: the steps, and after a failure or an interruption the clean-up. When ctx ends, waits end and no further step
// begins; its cause tells why (see [Interrupted]).
func (r *Run) Do(ctx context.Context) Result {
	err := guard(func() error { return r.steps(ctx) })
	finished := false
	if err == nil && r.run.claims.unproven() == nil {
		finished = true
		err = guard(func() error { return r.run.block(ctx, r.plan.finally, level{closing: true}) })
		if err == nil && r.run.claims.unproven() == nil {
			if err = r.run.end(end{Code: CodeOK}); err == nil {
				return Result{Code: CodeOK, Held: r.run.claims.passed()}
			}
			err = fmt.Errorf("the end of the run: %w", err)
		}
	}
	result := r.finish(ctx, err, finished)
	if err := r.run.end(end{Code: result.Code, Error: r.run.world.Mask(result.Err.Error())}); err != nil && !r.run.record.Kept() {
		r.run.log.Warn("the end of the run could not be recorded", zap.Error(err))
	}
	return result
}

// end writes the last line of the record.
func (r *run) end(how end) error {
	if err := r.runLine(lineEnd, how); err != nil {
		return err
	}
	if err := r.record.Flush(); err != nil {
		return fmt.Errorf("%w: %w", errRecord, err)
	}
	return nil
}

// MayRemain returns what the run may have left behind so far. It may be called at any time, also while the run goes on.
func (r *Run) MayRemain() []Remaining {
	remains := r.run.mayRemain("not undone yet")
	for _, e := range r.run.ledger.matching(func(e entry) bool { return e.settled == nil && !e.intent.Kind.undoable() }) {
		why := "under way, nobody knows how far it came"
		if e.intent.Files != "" {
			why += "; look at the key files " + e.intent.Files + "-*"
		}
		remains = append(remains, r.run.remaining(e, why))
	}
	return remains
}

// mayRemain returns what the run may have left behind so far, all for one reason.
func (r *run) mayRemain(why string) []Remaining {
	var remains []Remaining
	for _, e := range r.ledger.remaining() {
		remains = append(remains, r.remaining(e, why))
	}
	return remains
}

// runLine records something about the run as a whole.
func (r *run) runLine(name string, v any) error {
	return r.runLineAt(r.world.Clock.Wall(), name, v)
}

func (r *run) runLineAt(wall time.Time, name string, v any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // conditions have < and >, and people read them
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("record %s: %w", name, err)
	}
	return r.write(record.Line{Time: wall, Step: -1, Name: name, Multi: true, Value: bytes.TrimSpace(text.Bytes())})
}

func (r *run) write(lines ...record.Line) error {
	if len(lines) == 0 {
		return nil
	}
	for i, l := range lines { // nothing that has the shape of a key belongs there, whoever made it
		if !l.Output() {
			lines[i].Value = json.RawMessage(redact.Text(string(l.Value)))
		}
	}
	if err := r.record.Write(lines...); err != nil {
		return fmt.Errorf("%w: %w", errRecord, err)
	}
	return nil
}

// start writes the first line of the record, or what the record of the continued run holds.
func (r *Run) start() error {
	if r.run.resumed {
		return r.run.replay()
	}
	h := header{
		ID: r.run.options.ID, Version: r.run.options.Version, Digest: r.plan.digest, Network: r.run.config.Network(), Genesis: r.run.config.Genesis,
		Seed: r.run.seed, Steps: r.run.of, Scale: r.run.config.ClockScale,
	}
	if r.plan.Source != nil {
		h.Script, h.Secrets = r.plan.Source.Name, r.plan.environment()
	}
	if r.plan.script != nil {
		h.Experiment = r.plan.script.Experiment
	}
	return r.run.runLineAt(r.run.beginning, lineRun, h)
}

// steps carries out the script up to its last blocks.
func (r *Run) steps(ctx context.Context) error {
	if err := errors.Join(r.start(), r.run.newDirectories(r.plan)); err != nil {
		return err
	}
	return r.run.sequence(ctx, r.next, level{top: true})
}

func (r *run) comment(text string) {
	if text == "" {
		return
	}
	r.progress.Comment(text)
	_, _ = fmt.Fprintln(r.world.Console, text) // the log has it too
	r.world.Shown.Info(text)
}

func signalNumber(s os.Signal) int {
	if number, ok := s.(syscall.Signal); ok {
		return int(number)
	}
	return 0
}

// finish cleans up after a failure, and decides the exit code: the cause's, or CodeRemains while something may remain. finished says that
// the script's statements were all carried out, its last block included or begun. Without err, a claim could not be judged; those are told
// in any case.
func (r *Run) finish(ctx context.Context, err error, finished bool) Result {
	run := r.run
	result := Result{Err: err}
	run.progress.Cleaning()
	run.world.Shown.Error("the run failed", zap.Error(errors.Join(err, run.claims.unproven()))) // the caller shows it with its place
	var internal *internalError
	if errors.As(err, &internal) {
		run.log.Error("error inside the program, please report it", zap.ByteString("stack", internal.stack))
	}
	// Who reads the record must know that what follows belongs to the clean-up.
	if noted := run.runLine(lineClean, struct{}{}); noted != nil && !run.record.Kept() {
		run.log.Warn("the clean-up could not be recorded", zap.Error(noted))
	}
	if !finished {
		result.Err = errors.Join(result.Err, run.last(ctx, r.plan.onFailure))
	}
	var interrupted *Interrupted
	goOn := errors.As(err, &interrupted) // the last block, which a signal must not cut off: what it has done already is skipped
	undo := func() {
		var undone []string
		failed := run.cleaning(ctx, func(ctx context.Context) error { undone, result.Remains = run.undo(ctx); return nil })
		result.Undone = append(result.Undone, undone...)
		if failed != nil {
			result.Err, result.Remains = errors.Join(result.Err, failed), run.mayRemain("the clean-up failed")
		}
	}
	undo()
	if !finished || goOn {
		calls := run.ledger.calls()
		result.Err = errors.Join(result.Err, run.last(ctx, r.plan.finally))
		if run.ledger.calls() > calls { // which may have left something behind in its turn
			undo()
		}
		// What could not be undone the block may have stopped itself.
		open := run.ledger.remaining()
		result.Remains = slices.DeleteFunc(result.Remains, func(left Remaining) bool {
			return !slices.ContainsFunc(open, func(e entry) bool { return e.intent.Call == left.call })
		})
	}
	result.Err = errors.Join(result.Err, run.claims.unproven())
	result.Code, result.Held = run.code(result.Err), run.claims.passed()
	if len(result.Remains) > 0 {
		result.Code = CodeRemains
	}
	return result
}

// cleaning does a part of the clean-up. The run's context may have ended, and that is no reason not to clean up; each part has its own deadline.
func (r *run) cleaning(ctx context.Context, do func(ctx context.Context) error) error {
	cleanup, end := r.bounded(context.WithoutCancel(ctx), r.options.CleanupTimeout, errors.New("the clean-up did not finish within its time"))
	defer end()
	return guard(func() error { return do(cleanup) })
}

// last carries out a block of the script that stands for the end of a run that failed. What its statements refer to may never have come to
// be: those are skipped.
func (r *run) last(ctx context.Context, items []planItem) error {
	if len(items) == 0 {
		return nil
	}
	return r.cleaning(ctx, func(ctx context.Context) error { return r.sequence(ctx, listed(items), level{ending: true}) })
}

// code returns the exit code that the errors of a run stand for.
func (r *run) code(err error) int {
	var interrupted *Interrupted
	var internal *internalError
	var script *scriptError
	var broken dsl.Finding
	var claim *claimError
	var unproven *unprovenError
	switch {
	case errors.As(err, &internal):
		return CodeInternal
	case errors.As(err, &interrupted):
		return 128 + signalNumber(interrupted.Signal)
	case r.began.Load() == 0 && (errors.As(err, &script) || errors.As(err, &broken)):
		return CodeScript
	case r.failed.Load():
		return CodeStep
	case errors.As(err, &claim):
		return CodeVerdict
	case errors.As(err, &unproven):
		return CodeInconclusive
	default:
		return CodeStep
	}
}
