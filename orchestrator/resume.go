package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"provingground/dsl"
	"provingground/orchestrator/record"
)

// Recorded is what the record of a run holds: enough to undo it or to continue it.
type Recorded struct {
	header header
	began  time.Time // wall time
	ledger *ledger
	lines  []record.Line
	done   map[int]bool
	failed map[int]bool
	keys   map[int]string   // digest of the keys that a step loaded
	held   map[int][]string // fee payers that a step left out
	until  map[int]string   // until when a step waits
	ended  *end

	attempts  map[int]int         // attempts of a step that failed, and were followed by another
	limits    map[int]time.Time   // deadlines of steps, in network time
	deadlines map[int]time.Time   // by item: deadlines of blocks and expects, beginnings of watches
	verdicts  map[int]judgedClaim // by item
	asked     map[int]asked
	placed    map[int]placed
	prices    map[int]price
	passed    map[int]bool // by item, blocks with a deadline that are finished
	met       []string     // nodes that answered
	// Whole is how many bytes of the record are whole lines: behind them there may be one that was cut off.
	Whole int64
}

// ReadRecord reads the record of a run from a record file or from what the run wrote to standard output.
func ReadRecord(path string) (_ *Recorded, err error) {
	file, err := os.Open(path) //nolint:gosec // the path is the caller's own argument
	if err != nil {
		return nil, fmt.Errorf("open the record: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return readRecord(path, file)
}

// newRecorded returns the record of a run that has not begun.
func newRecorded() *Recorded {
	return &Recorded{
		ledger: newLedger(), done: map[int]bool{}, failed: map[int]bool{}, keys: map[int]string{}, held: map[int][]string{}, until: map[int]string{},
		attempts: map[int]int{}, limits: map[int]time.Time{}, deadlines: map[int]time.Time{}, verdicts: map[int]judgedClaim{},
		asked: map[int]asked{}, passed: map[int]bool{}, placed: map[int]placed{}, prices: map[int]price{},
	}
}

func readRecord(name string, from io.Reader) (*Recorded, error) {
	r := newRecorded()
	headed, cleaning := false, false
	// What the end of a failed run did is done again at the next end, from the beginning.
	again := []string{lineRetry, lineWithin, lineUntil, lineVerdict, lineSilent, linePrice, lineHeld}
	whole, err := record.Read(name, from, func(l record.Line) error {
		r.lines = append(r.lines, l)
		if cleaning && slices.Contains(again, l.Name) {
			return nil
		}
		switch l.Name {
		case lineRun:
			r.began = l.Time
			if headed {
				return errors.New("a second run begins here: the file holds the records of two runs; put each into a file of its own")
			}
			headed = true
			return json.Unmarshal(l.Value, &r.header) //nolint:wrapcheck // the reader says where
		case lineClean:
			cleaning = true
		case lineResumed:
			cleaning = false
		case lineDone:
			r.done[l.Step] = r.done[l.Step] || !cleaning
		case lineFailed:
			r.failed[l.Step] = true
		case lineKeys:
			return decodeInto(r.keys, l)
		case lineHeld:
			return decodeInto(r.held, l)
		case lineUntil:
			return decodeInto(r.until, l)
		case lineMet:
			var met []string
			err := json.Unmarshal(l.Value, &met)
			r.met = append(r.met, met...)
			return err //nolint:wrapcheck // the reader says where
		case lineRetry:
			r.attempts[l.Step]++
			delete(r.placed, l.Step)
		case lineWithin:
			if l.Step >= 0 {
				return decodeInto(r.limits, l)
			}
			var at itemTime
			err := json.Unmarshal(l.Value, &at)
			r.deadlines[at.Item] = at.Time
			return err //nolint:wrapcheck // the reader says where
		case linePassed:
			var at itemTime
			err := json.Unmarshal(l.Value, &at)
			r.passed[at.Item] = !cleaning
			return err //nolint:wrapcheck // the reader says where
		case lineVerdict:
			var v judgedClaim
			err := json.Unmarshal(l.Value, &v)
			r.verdicts[v.Item] = v
			return err //nolint:wrapcheck // the reader says where
		case lineSilent:
			return decodeInto(r.asked, l)
		case linePlaced:
			return decodeInto(r.placed, l)
		case linePrice:
			return decodeInto(r.prices, l)
		case lineEnd:
			r.ended = &end{}
			return json.Unmarshal(l.Value, r.ended) //nolint:wrapcheck // the reader says where
		}
		return r.ledger.take(l)
	})
	if err != nil {
		return nil, fmt.Errorf("read the record: %w", err)
	}
	if !headed {
		return nil, fmt.Errorf("%s does not begin with the line %s: it is not the record of a run of this program", name, lineRun)
	}
	r.Whole = whole
	return r, nil
}

// decodeInto keeps what a line of a step holds.
func decodeInto[T any](values map[int]T, l record.Line) error {
	var value T
	if err := json.Unmarshal(l.Value, &value); err != nil {
		return err //nolint:wrapcheck // the reader says where
	}
	values[l.Step] = value
	return nil
}

// errOther says that a record belongs to something else than what it should continue.
var errOther = errors.New("refused")

// Fits reports whether the record is of a run of this plan on this network. The error says what differs.
func (r *Recorded) Fits(plan *Plan, config Config) error {
	switch {
	case r.header.Digest == "":
		return fmt.Errorf("%w: the run read its script step by step, and such a run cannot be resumed", errOther)
	case r.header.Digest != plan.digest:
		return fmt.Errorf("%w: the record is of another script (%s), or of other -set values", errOther, r.header.Script)
	case r.header.Secrets != plan.environment():
		return fmt.Errorf("%w: env() gives the script something else than it gave the interrupted run", errOther)
	}
	return r.FitsNetwork(config)
}

// FitsNetwork reports whether the record is of a run on this network.
func (r *Recorded) FitsNetwork(config Config) error {
	if r.header.Network != config.Network() || !r.header.Genesis.Equal(config.Genesis) {
		return fmt.Errorf("%w: the record is of another network (%s, genesis %s)", errOther, r.header.Network, r.header.Genesis)
	}
	return nil
}

// Ended reports whether the run had come to its end, and with what exit code.
func (r *Recorded) Ended() (code int, ended bool) {
	if r.ended == nil {
		return 0, false
	}
	return r.ended.Code, true
}

// replay writes again what the record of the interrupted run holds, so that the record of this run is complete. Outputs of steps that
// were not finished are left out: those steps give them out again.
func (r *run) replay() error {
	finished := func(l record.Line) bool { return !l.Output() || r.recorded.done[l.Step] }
	var lines []record.Line
	for _, l := range r.recorded.lines {
		if !finished(l) || l.Name == lineEnd {
			continue
		}
		lines = append(lines, l)
		if l.Output() {
			r.outputs.add(outputKey{step: l.Step, name: l.Name}, l.Multi, l.Value)
		}
	}
	if err := r.write(lines...); err != nil {
		return err
	}
	for step, a := range r.recorded.asked {
		r.outputs.silence(step, a)
	}
	for _, address := range r.recorded.met {
		r.nodes.recall(address)
	}
	for _, e := range r.ledger.matching(func(e entry) bool {
		return e.intent.Kind == kindStopDaemon && e.settled != nil && e.settled.Result == resultDone
	}) {
		r.nodes.stop(e.intent.Node, e.intent.ServerUUID)
	}
	r.warnOfUndone()
	return r.runLine(lineResumed, struct {
		Version string `json:"version"`
	}{r.options.Version})
}

// warnOfUndone says of which finished steps nothing is in force any more, because the interrupted run cleaned up or somebody stopped it.
//
// A claim that holds after that proves nothing: the run is inconclusive then.
func (r *run) warnOfUndone() {
	said := map[int]bool{}
	cleanUp := []string{howStopped, howConnected, howUnlimited, howGiven}
	for _, e := range r.ledger.matching(func(e entry) bool { return e.undone != nil && slices.Contains(cleanUp, e.undone.How) }) {
		if r.recorded.done[e.step] && !said[e.step] {
			said[e.step] = true
			r.log.Warn("what this step left behind was undone after the run was cut short; it is not done again",
				zap.Int("step", e.step), zap.String("id", e.stepID), zap.String("action", e.action))
			r.claims.missing = append(r.claims.missing, fmt.Sprintf("what %s (%s) left behind was undone when the run was cut short, and not done again",
				stepTitle(e.step, e.stepID), e.action))
		}
	}
}

// restore brings back what a finished step gave out and no record holds: keys are loaded again, and must be the same.
func (r *run) restore(ctx context.Context, step *planStep) error {
	loads := slices.ContainsFunc(step.action.Outputs, func(o dsl.Output) bool { return o.Sensitive })
	if !loads && !step.secret {
		return nil
	}
	a, err := step.resolve(r.outputs, facts{run: r})
	if err != nil {
		return err
	}
	t := &task{run: r, step: step, args: a, log: r.log}
	if step.secret { // it only handed on what was restored by now
		return step.action.run(ctx, t)
	}
	return t.reloadKeys(ctx, r.recorded.keys[step.Number])
}

// Stop undoes what a recorded run may have left behind. The result says what was undone and what remains; its code is CodeOK when nothing
// does.
func Stop(ctx context.Context, recorded *Recorded, config Config, world World, writer *record.Writer, options Options) Result {
	r := newRun(config, world, writer, options)
	r.ledger, r.meeting = recorded.ledger, &sync.Once{}
	for _, e := range r.ledger.matching(func(e entry) bool {
		return e.intent.Kind == kindStopDaemon && e.settled != nil && e.settled.Result == resultDone
	}) {
		r.log.Warn("the run told this daemon to end; its supervisor starts it again, stop does not, and runs no last block of the script",
			zap.String("node", e.intent.Node), zap.Int("step", e.step), zap.String("id", e.stepID))
	}
	var result Result
	result.Undone, result.Remains = r.undo(ctx)
	if len(result.Remains) > 0 {
		result.Code = CodeRemains
		result.Err = fmt.Errorf("%d calls may have left something behind that could not be undone", len(result.Remains))
	}
	return result
}
