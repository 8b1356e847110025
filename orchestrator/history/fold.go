package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"provingground/dsl"
	"provingground/internal/clock"
	"provingground/orchestrator"
	"provingground/orchestrator/record"
)

// fold is what the lines of one run say so far. It turns lines into rows, and remembers only what later lines may change.
type fold struct {
	id    string
	head  header
	clock *clock.Clock

	lines   int64
	first   time.Time // wall time of the first line
	last    time.Time // of the last one
	resumed time.Time // of the last continuation; zero without one
	end     *end
	ended   time.Time

	steps map[int]*step // the latest attempt of each
	loads map[int]*load // by call
	calls map[int]call  // daemons that were told to end, by call

	changed map[attempt]*step // since the last rows
	moved   map[int]bool      // loads, by call, since the last rows
	rows    []row             // since the last rows
}

// header is the value of a record's first line, as far as it matters here.
type header struct {
	ID      string `json:"id"`
	Version string `json:"version"`
	Script  string `json:"script"`
	// Experiment is the name that the script gives it; records of older versions do not have it.
	Experiment string    `json:"experiment"`
	Digest     string    `json:"digest"`
	Network    string    `json:"network"`
	Genesis    time.Time `json:"genesis"`
	Seed       uint64    `json:"seed"`
	Steps      int       `json:"steps"`
	Scale      float64   `json:"clockScale"`
}

// end is the value of a run's last line, and of the lines that end an attempt of a step.
type end struct {
	Code  int        `json:"code"`
	Error string     `json:"error"`
	Began *time.Time `json:"began"` // of the attempt, wall time; records of older versions do not have it
}

// verdict is the value of a line about a claim.
type verdict struct {
	Kind string `json:"kind"`
	Line int    `json:"line"`
	Text string `json:"text"`
	dsl.Judgement
}

// attempt names an attempt of a step.
type attempt struct{ step, attempt int }

// step is an attempt of a step.
type step struct {
	attempt
	name, action string
	told, ended  time.Time
	began        *time.Time // nil where the record does not say
	outcome      string     // "" while it is under way
	problem      string
}

// load is a batch of load.
type load struct {
	step     int
	intent   orchestrator.Intent
	asked    time.Time // wall
	result   orchestrator.CallResult
	handle   string
	ends     *time.Time // network time
	undone   string
	undoneAt time.Time // wall
}

// call is a request to a daemon to end.
type call struct{ node, uuid string }

// row is a row to insert.
type row struct {
	sql  string
	args []any
}

// The names of the lines that say more than that a step goes on.
const (
	lineRun     = "_run"
	lineResumed = "_resumed"
	lineIntent  = "_intent"
	lineSettled = "_settled"
	lineUndone  = "_undone"
	lineRetry   = "_retry"
	lineVerdict = "_verdict"
	lineSkipped = "_skipped"
	lineDone    = "_done"
	lineFailed  = "_failed"
	lineEnd     = "_end"
)

// unnamed is the name space of the names that runs get whose records do not name them.
const unnamed = "provingground run without a name: "

// newFold begins the run whose first line this is.
func newFold(line record.Line) (*fold, error) {
	f := &fold{
		first: line.Time, steps: map[int]*step{}, loads: map[int]*load{}, calls: map[int]call{}, changed: map[attempt]*step{}, moved: map[int]bool{},
	}
	if err := json.Unmarshal(line.Value, &f.head); err != nil {
		return nil, fmt.Errorf("the line that begins the run does not decode: %w", err)
	}
	if f.id = text(f.head.ID); f.id == "" {
		var value bytes.Buffer
		if err := json.Compact(&value, line.Value); err != nil {
			return nil, fmt.Errorf("the line that begins the run: %w", err)
		}
		f.id = uuid.NewSHA1(uuid.NameSpaceURL, []byte(unnamed+line.Time.UTC().Format(time.RFC3339Nano)+value.String())).String()
	}
	if f.head.Scale <= 0 { // written by a version that did not record it
		f.head.Scale = 1
	}
	var err error
	if f.clock, err = clock.Scaled(f.head.Genesis, f.head.Scale); err != nil {
		f.clock, f.head.Scale = clock.Wall(), 1
	}
	f.count(line)
	return f, nil
}

func (f *fold) count(line record.Line) {
	f.lines++
	f.last = line.Time
}

// take adds what a line says.
func (f *fold) take(line record.Line) error {
	f.count(line)
	switch line.Name {
	case lineResumed:
		f.resumed, f.end, f.ended = line.Time, nil, time.Time{}
	case lineEnd:
		f.end, f.ended = &end{}, line.Time
		return decode(line, f.end)
	case lineVerdict:
		var v verdict
		if err := decode(line, &v); err != nil {
			return err
		}
		f.rows = append(f.rows, row{
			`INSERT INTO run_verdict (run_id, seq, kind, line, claim, verdict, actual, expected, period, evidence, time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			[]any{f.id, f.lines, text(v.Kind), v.Line, text(v.Text), string(v.Verdict), null(v.Actual), null(v.Expected), null(v.Window), texts(v.Evidence), line.Time.UTC()},
		})
	case lineSettled:
		return f.settled(line)
	case lineUndone:
		return f.undone(line)
	}
	if line.Step < 0 || line.Name == lineSettled || line.Name == lineUndone || strings.HasPrefix(line.Name, "_") && line.Action == "" {
		return nil
	}
	return f.step(line)
}

// step takes a line that a step writes while it is carried out.
func (f *fold) step(line record.Line) error {
	s := f.steps[line.Step]
	if s == nil || s.outcome != "" { // an attempt that has ended says nothing more
		number := 1
		if s != nil {
			number = s.attempt.attempt + 1
		}
		s = &step{attempt: attempt{line.Step, number}, name: line.ID, action: line.Action, told: line.Time}
		f.steps[line.Step] = s
		f.changed[s.attempt] = s
	}
	if line.Output() {
		value, err := document(line.Value)
		if err != nil {
			return fmt.Errorf("output %s of step %d: %w", line.Name, line.Step, err)
		}
		f.rows = append(f.rows, row{
			`INSERT INTO run_output (run_id, seq, step, attempt, name, multi, value, time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			[]any{f.id, f.lines, line.Step, s.attempt.attempt, text(line.Name), line.Multi, value, line.Time.UTC()},
		})
		return nil
	}
	outcomes := map[string]string{lineDone: "done", lineFailed: "failed", lineRetry: "retried", lineSkipped: "skipped"}
	if outcome, ok := outcomes[line.Name]; ok {
		s.outcome, s.ended = outcome, line.Time
		f.changed[s.attempt] = s
		var how end
		err := decode(line, &how)
		s.problem, s.began = how.Error, how.Began
		return err
	}
	if line.Name == lineIntent {
		return f.intent(line)
	}
	return nil
}

// intent takes a request that leaves something behind. One that is sent twice has two lines, of which the later one counts.
func (f *fold) intent(line record.Line) error {
	var intent orchestrator.Intent
	if err := decode(line, &intent); err != nil {
		return err
	}
	switch {
	case intent.Batch != nil && (intent.Kind == "payments" || intent.Kind == "zkapps"):
		f.loads[intent.Call] = &load{step: line.Step, intent: intent, asked: line.Time}
		f.moved[intent.Call] = true
	case intent.Kind == "stop-daemon":
		f.calls[intent.Call] = call{intent.Node, intent.ServerUUID}
	}
	return nil
}

// settled takes what became of a request.
func (f *fold) settled(line record.Line) error {
	var s orchestrator.Settled
	if err := decode(line, &s); err != nil {
		return err
	}
	if l := f.loads[s.Call]; l != nil {
		l.result, l.ends = s.Result, s.Ends
		if l.handle = s.Handle; l.handle == "" {
			l.handle = l.intent.Handle
		}
		if s.Result == "gone" {
			l.undone, l.undoneAt = "gone with the daemon", line.Time
		}
		f.moved[s.Call] = true
	}
	daemon, ended := f.calls[s.Call]
	if !ended || s.Result != "done" {
		return nil
	}
	for number, l := range f.loads {
		if number < s.Call && l.undone == "" && (call{l.intent.Node, l.intent.ServerUUID}) == daemon {
			l.undone, l.undoneAt = "gone with the daemon", line.Time
			f.moved[number] = true
		}
	}
	return nil
}

// undone takes that what a request left behind is gone.
func (f *fold) undone(line record.Line) error {
	var u orchestrator.Undone
	if err := decode(line, &u); err != nil {
		return err
	}
	if l := f.loads[u.Call]; l != nil {
		l.undone, l.undoneAt = u.How, line.Time
		f.moved[u.Call] = true
	}
	return nil
}

// span is when load began at the earliest and has ended at the latest, in network time. The end is zero when it is not known.
func (f *fold) span(l *load) (from, until time.Time) {
	from = f.clock.FromWall(l.asked)
	switch {
	case l.ends != nil:
		until = *l.ends
	case l.intent.Ends != nil:
		until = *l.intent.Ends
	}
	if stopped := f.clock.FromWall(l.undoneAt); !l.undoneAt.IsZero() && (until.IsZero() || stopped.Before(until)) {
		until = stopped
	}
	return from, until
}

// intended returns how many milliseconds are between two transactions of a batch, and how many transactions rate and time give at most
// (itn-graphql, section 4.1): the first one at once, the others one interval of whole milliseconds apart, before the end. Either is nil when it is
// not known.
func (f *fold) intended(l *load) (interval, count *int64) {
	rate, ok := rational(l.intent.TPS)
	if !ok || rate.Sign() <= 0 {
		return nil, nil
	}
	sent, _ := rate.Float64() // as the request has it
	every := 1000 / sent
	if !(every >= 1 && every < 1e15) { // over 1,000 in a second kills the daemon's scheduler
		return nil, nil
	}
	milliseconds := int64(every)
	switch {
	case l.result == "refused" || l.result == "not-sent" || l.result == "not-done":
		return &milliseconds, new(int64)
	case l.intent.Minutes <= 0 || l.intent.Hidden: // of an older record; or the record does not show what the memos begin with
		return &milliseconds, nil
	}
	lasts := time.Duration(l.intent.Minutes) * time.Minute
	if from, until := f.span(l); !until.IsZero() {
		lasts = min(lasts, max(0, until.Sub(from)))
	}
	number := (lasts.Milliseconds() + milliseconds - 1) / milliseconds
	return &milliseconds, &number
}

// maxNumber bounds the text of a number.
const maxNumber = 800

// rational reads a rate as records have it: a decimal or a fraction.
func rational(text string) (*big.Rat, bool) {
	if len(text) > maxNumber || strings.ContainsAny(text, "eE") {
		return nil, false
	}
	return new(big.Rat).SetString(text)
}

// batch returns the statements that bring the tables to the lines that were taken, and forgets what they say.
func (f *fold) batch() *pgx.Batch {
	b := &pgx.Batch{}
	for _, s := range slices.SortedFunc(maps.Values(f.changed), func(a, b *step) int {
		if a.step != b.step {
			return a.step - b.step
		}
		return a.attempt.attempt - b.attempt.attempt
	}) {
		b.Queue(`INSERT INTO run_step (run_id, step, attempt, name, action, started_at, told_at, ended_at, outcome, error) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
			ON CONFLICT (run_id, step, attempt) DO UPDATE SET started_at = excluded.started_at, ended_at = excluded.ended_at, outcome = excluded.outcome, error = excluded.error`,
			f.id, s.step, s.attempt.attempt, null(s.name), text(s.action), s.began, s.told.UTC(), stamp(s.ended), null(s.outcome), null(s.problem))
	}
	for _, r := range f.rows {
		b.Queue(r.sql, r.args...)
	}
	for _, number := range slices.Sorted(maps.Keys(f.moved)) {
		l := f.loads[number]
		from, until := f.span(l)
		interval, intended := f.intended(l)
		tps := "0"
		if rate, ok := rational(l.intent.TPS); ok {
			tps = rate.FloatString(12)
		}
		b.Queue(`INSERT INTO run_load (run_id, call, step, experiment, batch, kind, node, tps, interval_ms, from_time, until_time, intended, result, handle, undone)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::numeric, $9, $10, $11, $12, $13, $14, $15)
			ON CONFLICT (run_id, call) DO UPDATE SET node = excluded.node, from_time = excluded.from_time, until_time = excluded.until_time,
				intended = excluded.intended, result = excluded.result, handle = excluded.handle, undone = excluded.undone`,
			f.id, number, l.step, text(l.intent.Experiment), *l.intent.Batch, string(l.intent.Kind), text(l.intent.Node), tps, interval, from.UTC(),
			stamp(until), intended, null(string(l.result)), null(l.handle), null(l.undone))
	}
	f.changed, f.moved, f.rows = map[attempt]*step{}, map[int]bool{}, nil
	return b
}

// decode reads the value of a line of a known shape.
func decode(line record.Line, into any) error {
	if err := json.Unmarshal(line.Value, into); err != nil {
		return fmt.Errorf("%s of step %d does not decode: %w", line.Name, line.Step, err)
	}
	return nil
}

// text makes a text what PostgreSQL can hold: UTF-8 without NUL.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

func texts(all []string) []string {
	kept := make([]string, 0, len(all))
	for _, s := range all {
		kept = append(kept, text(s))
	}
	return kept
}

// null is nil for "".
func null(s string) *string {
	if s == "" {
		return nil
	}
	s = text(s)
	return &s
}

// stamp is a time, or nil for the zero time.
func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// document makes a JSON value what PostgreSQL can hold.
func document(value json.RawMessage) (string, error) {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return "", fmt.Errorf("is no JSON: %w", err)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(tame(v)); err != nil {
		return "", fmt.Errorf("write JSON: %w", err)
	}
	return strings.TrimSpace(out.String()), nil
}

// tame replaces what PostgreSQL refuses in JSON: NUL characters, and numbers that are longer than it can write out, which become texts.
func tame(v any) any {
	switch v := v.(type) {
	case string:
		return text(v)
	case json.Number:
		_, exponent, _ := strings.Cut(strings.ToLower(v.String()), "e")
		if len(v) > maxNumber || len(exponent) > 4 {
			return v.String()
		}
		return v
	case []any:
		for i := range v {
			v[i] = tame(v[i])
		}
		return v
	case map[string]any:
		tamed := make(map[string]any, len(v))
		for key, value := range v {
			tamed[text(key)] = tame(value)
		}
		return tamed
	default:
		return v
	}
}

// outcome says in a word how a run ended.
func (e *end) outcome() string {
	switch {
	case e.Code == orchestrator.CodeOK:
		return "succeeded"
	case e.Code == orchestrator.CodeScript:
		return "wrong script"
	case e.Code == orchestrator.CodeVerdict:
		return "claim failed"
	case e.Code == orchestrator.CodeRemains:
		return "remains"
	case e.Code == orchestrator.CodeInconclusive:
		return "inconclusive"
	case e.Code == orchestrator.CodeInternal:
		return "internal error"
	case e.Code > 128:
		return "interrupted"
	default:
		return "failed"
	}
}

// errNoRun says that a record does not begin with a run.
var errNoRun = errors.New("it does not begin with the line " + lineRun + ": it is not the record of a run of this program")
