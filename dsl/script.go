package dsl

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Script is a script that was read: its steps and comments in order. Nothing in it has been compared with the actions that exist.
type Script struct {
	Source *Source
	Items  []Item

	// What follows only the script language can say.

	Experiment string // its name; "" for none
	Seed       *uint64
	Limits     []Limit
	OnFailure  []Item
	Finally    []Item
	Language   bool     // it is written in the script language
	Secrets    []string // values of env(): masked wherever something is printed
	Settings   []string // NAME=VALUE of the parameters that the caller set, in order of names; they are part of what the script is
}

// Item is a step, a block or a claim; where all of these are nil, a comment.
type Item struct {
	Span
	Number   int // of the item among all items of a script in the script language, in order; it names the item in a record
	Comment  string
	Step     *Step
	Body     []Item   // of a step whose action holds for a block
	Parallel [][]Item // branches
	Deadline *Timed
	Claim    *Judged
}

// Step is one action with its arguments.
type Step struct {
	Span
	Number     int // from 0, comments not counted
	Action     string
	ActionSpan Span
	Args       []Arg

	// What follows only the script language can say.

	ID     string   // its name, with the round behind it inside repeat; "" where it has no name
	Retry  *Retry   // nil for the action's own retries
	Within *Stretch // nil for no deadline

	faults   Findings // what was found wrong while it was read; the checker reports it
	language bool     // it is written in the script language: messages about it use its spellings
}

// Arg is one argument of a step: a literal or, where Ref is not nil, a reference.
//
// In the script language an argument may also be a formula, whose value is known when the step begins.
type Arg struct {
	Name     string
	NameSpan Span
	Value    Value // as written; of an object only its place and shape
	Ref      *Ref  // also nil for an object that spells no reference, which the checker reports
	Formula  *Formula
}

// Literal reports whether the argument's value stands in the script.
func (a Arg) Literal() bool { return a.Ref == nil && a.Formula == nil }

// Arg returns the argument of that name, and whether the step has it. Where no name matches exactly its case is ignored, as the existing
// tool's decoder does.
func (s *Step) Arg(name string) (Arg, bool) {
	for _, a := range s.Args {
		if a.Name == name {
			return a, true
		}
	}
	for _, a := range s.Args {
		if strings.EqualFold(a.Name, name) {
			return a, true
		}
	}
	return Arg{}, false
}

// Ref refers to an output of an earlier step, of this run or, with a file, of an earlier run (orchestrator-scripts, section 2).
type Ref struct {
	Span
	Step     int // number of the step; already absolute, also where the script counts backwards
	StepSpan Span
	Name     string // of the output
	NameSpan Span
	File     string // of the earlier run; "" for this run
	StepID   string // name of the step in the earlier run; "" where Step says which
	OnEmpty  *Value // in place of an output that does not exist; nil when that is an error
}

// Steps returns the script's steps, those of its last blocks included. The number of each is its index.
func (s *Script) Steps() []*Step {
	var steps []*Step
	for _, items := range [][]Item{s.Items, s.OnFailure, s.Finally} {
		steps = appendSteps(steps, items)
	}
	slices.SortStableFunc(steps, func(a, b *Step) int { return cmp.Compare(a.Number, b.Number) })
	return steps
}

// Claims returns the script's claims, those of its last blocks included, in order.
func (s *Script) Claims() []*Judged {
	var claims []*Judged
	for _, items := range [][]Item{s.Items, s.OnFailure, s.Finally} {
		claims = appendClaims(claims, items)
	}
	return claims
}

func appendClaims(claims []*Judged, items []Item) []*Judged {
	for _, item := range items {
		switch {
		case item.Claim != nil:
			claims = append(claims, item.Claim)
		case item.Deadline != nil:
			claims = appendClaims(claims, item.Deadline.Items)
		}
		claims = appendClaims(claims, item.Body)
		for _, branch := range item.Parallel {
			claims = appendClaims(claims, branch)
		}
	}
	return claims
}

func appendSteps(steps []*Step, items []Item) []*Step {
	for _, item := range items {
		switch {
		case item.Step != nil:
			steps = append(steps, item.Step)
		case item.Deadline != nil:
			steps = appendSteps(steps, item.Deadline.Items)
		}
		steps = appendSteps(steps, item.Body)
		for _, branch := range item.Parallel {
			steps = appendSteps(steps, branch)
		}
	}
	return steps
}

// ReadJSON reads a whole JSON step stream. The error is a [Finding] (the reader stops at the first thing that it cannot read) or the
// failure to read. What a script says wrongly in good JSON is found by the [Checker].
func ReadJSON(name string, r io.Reader) (*Script, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read script %s: %w", name, err)
	}
	if len(text) > MaxBytes {
		return nil, tooLarge(name)
	}
	script := &Script{Source: NewSource(name, text)}
	reader := reader{source: script.Source, text: text, step: -1}
	reader.skipByteOrderMark()
	reader.space()
	if err := reader.otherLanguage(""); err != nil {
		return nil, err
	}
	for steps := 0; !reader.end(); reader.space() {
		item, err := reader.item(steps)
		if err != nil {
			return nil, err
		}
		script.Items = append(script.Items, item)
		if item.Step != nil {
			steps++
		}
	}
	return script, nil
}

func tooLarge(name string) Finding {
	return finding(NewSource(name, nil), Span{}, -1, "", "the script is larger than %d MiB", MaxBytes>>20)
}

// otherLanguage refuses a text that begins as the script language does: with a word of its own, or a # comment.
func (r *reader) otherLanguage(hint string) error {
	start := r.at
	_, _, err := r.word()
	end := r.at
	r.at = start
	switch {
	case err == nil: // null, or another word of JSON
		return nil
	case end == start && (r.end() || r.text[start] != '#'):
		return nil
	}
	return r.fail(start, max(end, start+1), hint,
		`this is no JSON step stream, which begins with {, a string or null`)
}

// Stream reads a JSON step stream one item at a time, as a script arrives that somebody pipes in live. Not safe for concurrent use.
type Stream struct {
	name   string
	from   *bufio.Reader
	reader reader
	origin place // of the reader's text in the stream
	size   int   // bytes that have come so far
	steps  int
	err    error
}

// NewStream returns a stream that reads from r.
func NewStream(name string, r io.Reader) *Stream {
	s := &Stream{name: name, from: bufio.NewReader(r)}
	s.reader = reader{step: -1, more: s.readOn}
	return s
}

// Next returns the next item and the source that its places are in, or io.EOF at the stream's end. It waits for no more of the stream than
// the item, and of a null for the character that ends the word. Other errors are a [Finding] or the failure to read. After an error Next returns the same again.
//
// Offsets are counted from the beginning of the item, which is all the text that its source has; lines and columns from the beginning of
// the stream.
func (s *Stream) Next() (Item, *Source, error) {
	if s.err != nil {
		return Item{}, nil, s.err
	}
	item, source, err := s.next()
	s.err = err
	return item, source, err
}

func (s *Stream) next() (Item, *Source, error) {
	r := &s.reader
	if s.size == 0 {
		r.skipByteOrderMark()
	}
	r.space()
	s.forget()
	if r.end() {
		if errors.Is(r.broken, io.EOF) {
			return Item{}, nil, io.EOF
		}
		return Item{}, nil, r.broken
	}
	source := &Source{Name: s.name, origin: s.origin}
	r.source = source
	if s.steps == 0 {
		if err := r.otherLanguage("leave -stream out: a script in the script language is read as a whole"); err != nil {
			source.Text = r.text
			return Item{}, source, err
		}
	}
	item, err := r.item(s.steps)
	if err != nil {
		source.Text = r.text
		return Item{}, source, err
	}
	source.Text = bytes.Clone(r.text[:r.at])
	if item.Step != nil {
		s.steps++
	}
	return item, source, nil
}

// readOn takes over what the stream has next.
func (s *Stream) readOn() error {
	_, err := s.from.Peek(1)
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err != nil {
		return fmt.Errorf("read script %s: %w", s.name, err)
	}
	arrived, _ := s.from.Peek(s.from.Buffered()) // what is buffered can be had
	s.size += len(arrived)
	if s.size > MaxBytes {
		return tooLarge(s.name)
	}
	s.reader.text = append(s.reader.text, arrived...)
	_, _ = s.from.Discard(len(arrived))
	return nil
}

// forget drops the text that was read.
func (s *Stream) forget() {
	r := &s.reader
	read := &Source{Text: r.text[:r.at], origin: s.origin}
	s.origin.line, s.origin.column = read.Place(r.at)
	r.text = r.text[:copy(r.text, r.text[r.at:])]
	r.at = 0
}

// item reads one value of the stream, as a comment or as the step of that number.
func (r *reader) item(number int) (Item, error) {
	r.step = -1
	if r.text[r.at] == '{' {
		r.step = number
	}
	v, err := r.value(0)
	if err != nil {
		return Item{}, err
	}
	switch v.Shape {
	case String:
		return Item{Span: v.Span, Comment: v.Text}, nil
	case Null:
		return Item{Span: v.Span}, nil
	case Object:
		step := newStep(r.source, v, number)
		step.faults = append(r.faults, step.faults...)
		r.faults = nil
		return Item{Span: v.Span, Step: step}, nil
	default:
		return Item{}, r.fail(v.Start, v.End, `a step is an object {"action": …, "params": {…}}, a comment is a string`,
			"%s is neither a step nor a comment", v.Shape)
	}
}

// stepReader makes a step of an object. What is wrong with it is kept in the step, for the checker to report with all else.
type stepReader struct {
	source *Source
	step   *Step
}

func newStep(source *Source, v Value, number int) *Step {
	step := &Step{Span: v.Span, Number: number}
	r := stepReader{source: source, step: step}
	var given [2]*Field
	r.match("a step", v.Fields, given[:], "action", "params")
	step.Action, step.ActionSpan = r.text("the action", given[0])
	if step.ActionSpan == (Span{}) {
		step.ActionSpan = Span{v.Start, v.Start + 1}
	}
	if step.Action == "" && len(step.faults) == 0 {
		r.fault(step.ActionSpan, `write {"action": …, "params": {…}}`, "a step without an action")
	}
	if given[1] == nil || given[1].Value.Shape == Null {
		return step
	}
	params := given[1].Value
	if params.Shape != Object {
		r.fault(params.Span, "", "params is %s, not an object", params.Shape)
	}
	step.Args = make([]Arg, len(params.Fields))
	for i, f := range params.Fields {
		arg := Arg{Name: f.Key, NameSpan: f.KeySpan, Value: f.Value}
		if f.Value.Shape == Object {
			arg.Ref = r.ref(f.Value)
			arg.Value.Fields = nil // all that they say is in the reference
		}
		step.Args[i] = arg
	}
	return step
}

func (r stepReader) fault(span Span, hint, format string, args ...any) {
	r.step.faults = append(r.step.faults, finding(r.source, span, r.step.Number, hint, format, args...))
}

// match puts the field of each key into given, and leaves nil where there is none. Case is ignored, as the existing tool's decoder does.
func (r stepReader) match(of string, fields []Field, given []*Field, keys ...string) {
	for i := range fields {
		f := &fields[i]
		k := slices.IndexFunc(keys, func(key string) bool { return strings.EqualFold(key, f.Key) })
		if k < 0 {
			r.fault(f.KeySpan, Suggest(f.Key, keys), "%s has no key %q", of, f.Key)
			continue
		}
		if given[k] != nil && given[k].Key != f.Key { // what is the same to the letter was found already
			r.fault(f.KeySpan, "keep one of them", "%q is given twice, as %q too", f.Key, given[k].Key)
		}
		given[k] = f
	}
}

// text returns the string that a field holds. Null is the absence of a value, as in the existing tool.
func (r stepReader) text(of string, f *Field) (string, Span) {
	switch {
	case f == nil || f.Value.Shape == Null:
		return "", Span{}
	case f.Value.Shape != String:
		r.fault(f.Value.Span, "", "%s is %s, not a string", of, f.Value.Shape)
		return "", f.Value.Span
	}
	return f.Value.Text, f.Value.Span
}

// ref returns the reference that an object spells; nil when something is wrong with it.
func (r stepReader) ref(v Value) *Ref {
	const spelling = `a reference is {"type":"output","step":-1,"name":"participant"}`
	before := len(r.step.faults)
	var given [5]*Field
	r.match("a reference", v.Fields, given[:], "type", "step", "name", "file", "onEmpty")
	ref := &Ref{Span: v.Span}
	kind, kindSpan := r.text("the type of a reference", given[0])
	ref.Name, ref.NameSpan = r.text("the name in a reference", given[2])
	ref.File, _ = r.text("the file of a reference", given[3])
	if given[4] != nil {
		value := given[4].Value
		ref.OnEmpty = &value
	}
	step := given[1]
	switch {
	case len(r.step.faults) > before:
	case kindSpan == Span{}:
		r.fault(v.Span, spelling, "the value of a parameter cannot be an object, and this is no reference")
	case kind != "output":
		r.fault(kindSpan, `a reference has the type "output"`, "unknown type %q of a reference", kind)
	case ref.Name == "":
		r.fault(v.Span, spelling, "the reference does not say which output")
	case step == nil || step.Value.Shape == Null: // the existing tool silently takes step 0
		r.fault(v.Span, spelling, "the reference does not say which step")
	default:
		ref.Step, ref.StepSpan = r.stepNumber(step.Value, ref.File != ""), step.Value.Span
	}
	if len(r.step.faults) > before {
		return nil
	}
	return ref
}

// stepNumber returns the absolute number of the step that a reference names.
func (r stepReader) stepNumber(v Value, ofFile bool) int {
	number, ok := 0, false
	if v.Shape == Number {
		number, ok = smallNumber(v.Text)
	}
	switch {
	case !ok:
		r.fault(v.Span, "", "the step in a reference is not the number of a step")
	case number < 0 && ofFile:
		r.fault(v.Span, "give the step's number in that run", "a relative step in another run's file")
	case number < 0 && number+r.step.Number < 0:
		r.fault(v.Span, fmt.Sprintf("this is step %d", r.step.Number), "the reference points before the script's first step")
	case number < 0:
		number += r.step.Number
	}
	return number
}

// smallNumber returns the value of a number's text that is integral and has 32 bits, and whether it is.
func smallNumber(text string) (int, bool) {
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		return int(n), true
	}
	whole, ok := WholeNumber(text) // 1e1, 2.0
	if !ok || !whole.IsInt64() || whole.Int64() < math.MinInt32 || whole.Int64() > math.MaxInt32 {
		return 0, false
	}
	return int(whole.Int64()), true
}

// ParseObject reads a source that is one JSON object, such as a configuration. The error is a [Finding].
func ParseObject(source *Source) (Value, error) {
	r := reader{source: source, text: source.Text, step: -1}
	r.skipByteOrderMark()
	r.space()
	v, err := r.value(0)
	if err != nil {
		return Value{}, err
	}
	if v.Shape != Object {
		return Value{}, r.fail(v.Start, v.End, "", "%s stands where an object should", v.Shape)
	}
	if len(r.faults) > 0 {
		return Value{}, r.faults[0]
	}
	r.space()
	if !r.end() {
		return Value{}, r.expected("the end of the text")
	}
	return v, nil
}
