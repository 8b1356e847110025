package dsl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Script is a script that was read: its steps and comments in order. Nothing in it has been compared with the actions that exist.
type Script struct {
	Source *Source
	Items  []Item
}

// Item is a step or, where Step is nil, a comment.
type Item struct {
	Span
	Comment string
	Step    *Step
}

// Step is one action with its arguments.
type Step struct {
	Span
	Number     int // from 0, comments not counted
	Action     string
	ActionSpan Span
	Args       []Arg
}

// Arg is one argument of a step: a literal or, where Ref is not nil, a reference.
type Arg struct {
	Name     string
	NameSpan Span
	Value    Value // as written; of a reference the object that spells it
	Ref      *Ref
}

// Arg returns the argument of that name, and whether the step has it. Names are compared as [Value.Field] compares keys.
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
	OnEmpty  *Value // in place of an output that does not exist; nil when that is an error
}

// Steps returns the script's steps. The number of each is its index.
func (s *Script) Steps() []*Step {
	var steps []*Step
	for _, item := range s.Items {
		if item.Step != nil {
			steps = append(steps, item.Step)
		}
	}
	return steps
}

// ReadJSON reads a whole JSON step stream. The error is a [Finding] (the reader stops at the first one) or the failure to read.
func ReadJSON(name string, r io.Reader) (*Script, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read script %s: %w", name, err)
	}
	source := NewSource(name, text)
	if len(text) > MaxBytes {
		return nil, Finding{Source: NewSource(name, nil), Step: -1, Message: fmt.Sprintf("the script is larger than %d MiB", MaxBytes>>20)}
	}
	if language := otherSpelling(text); language >= 0 {
		return nil, Finding{
			Source: source, Span: Span{language, language + 1}, Step: -1,
			Message: "this is no JSON step stream: that begins with {, a string or null", Hint: "the script language is not read yet",
		}
	}
	script := &Script{Source: source}
	r2 := reader{source: source, text: text}
	for {
		r2.space()
		if r2.at == len(text) {
			return script, nil
		}
		item, err := r2.item(script.count())
		if err != nil {
			return nil, err
		}
		script.Items = append(script.Items, item)
	}
}

// count is the number of steps so far.
func (s *Script) count() int {
	for i := len(s.Items) - 1; i >= 0; i-- {
		if step := s.Items[i].Step; step != nil {
			return step.Number + 1
		}
	}
	return 0
}

// otherSpelling returns where a text begins that does not begin like a JSON step stream, or -1.
func otherSpelling(text []byte) int {
	for i, c := range text {
		switch c {
		case ' ', '\t', '\r', '\n':
		case '{', '"', 'n', '[', 't', 'f', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			// A word in front of a quoted name is the script language; a JSON value that is no step is reported as such.
			if c == 'n' || c == 't' || c == 'f' {
				for _, word := range []string{"null", "true", "false"} {
					if strings.HasPrefix(string(text[i:min(len(text), i+6)]), word) {
						return -1
					}
				}
				return i
			}
			return -1
		default:
			return i
		}
	}
	return -1
}

// Stream reads a JSON step stream one item at a time, as a script arrives that somebody pipes in live.
type Stream struct {
	name    string
	decoder *json.Decoder
	steps   int
}

// NewStream returns a stream that reads from r.
func NewStream(name string, r io.Reader) *Stream {
	return &Stream{name: name, decoder: json.NewDecoder(io.LimitReader(r, MaxBytes))}
}

// Next returns the next item and the source that its places are in, or io.EOF at the stream's end. Other errors are a [Finding], after
// which the stream cannot be read further, or the failure to read. A place's line is counted within the item.
func (s *Stream) Next() (Item, *Source, error) {
	var text json.RawMessage
	err := s.decoder.Decode(&text)
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF):
		return Item{}, nil, io.EOF
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF):
		source := NewSource(s.name, nil)
		return Item{}, source, Finding{Source: source, Step: s.steps, Message: fmt.Sprintf("broken JSON at byte %d of the stream: %v", s.decoder.InputOffset(), err)}
	case err != nil:
		return Item{}, nil, fmt.Errorf("read the next step of %s: %w", s.name, err)
	}
	source := NewSource(s.name, text)
	r := reader{source: source, text: text}
	item, err := r.item(s.steps)
	if err != nil {
		return Item{}, source, err
	}
	if item.Step != nil {
		s.steps++
	}
	return item, source, nil
}

// item reads one value of the stream as a comment or as the step of that number.
func (r *reader) item(number int) (Item, error) {
	v, err := r.value()
	if err != nil {
		return Item{}, err
	}
	switch v.Shape {
	case String:
		return Item{Span: v.Span, Comment: v.Text}, nil
	case Null:
		return Item{Span: v.Span}, nil
	case Object:
		step, err := newStep(r.source, v, number)
		return Item{Span: v.Span, Step: step}, err
	default:
		return Item{}, finding(r.source, v.Span, -1, `a step is an object {"action": …, "params": {…}}, a comment is a string`,
			"%s is neither a step nor a comment", v.Shape)
	}
}

func finding(source *Source, span Span, step int, hint, format string, args ...any) Finding {
	return Finding{Source: source, Span: span, Step: step, Message: fmt.Sprintf(format, args...), Hint: hint}
}

func newStep(source *Source, v Value, number int) (*Step, error) {
	step := &Step{Span: v.Span, Number: number}
	for _, f := range v.Fields {
		switch {
		case strings.EqualFold(f.Key, "action"):
			if f.Value.Shape != String {
				return nil, finding(source, f.Value.Span, number, "", "the action's name is %s, not a string", f.Value.Shape)
			}
			step.Action, step.ActionSpan = f.Value.Text, f.Value.Span
		case strings.EqualFold(f.Key, "params"):
			if f.Value.Shape != Object && f.Value.Shape != Null {
				return nil, finding(source, f.Value.Span, number, "", "params is %s, not an object", f.Value.Shape)
			}
			for _, p := range f.Value.Fields {
				arg := Arg{Name: p.Key, NameSpan: p.KeySpan, Value: p.Value}
				if p.Value.Shape == Object {
					ref, err := newRef(source, p.Value, number)
					if err != nil {
						return nil, err
					}
					arg.Ref = ref
				}
				step.Args = append(step.Args, arg)
			}
		default:
			return nil, finding(source, f.KeySpan, number, Suggest(f.Key, []string{"action", "params"}), "a step has no key %q", f.Key)
		}
	}
	if step.ActionSpan == (Span{}) {
		return nil, finding(source, Span{v.Start, v.Start + 1}, number, `write {"action": …, "params": {…}}`, "a step without an action")
	}
	return step, nil
}

func newRef(source *Source, v Value, number int) (*Ref, error) {
	ref := &Ref{Span: v.Span}
	var typed, stepped bool
	for _, f := range v.Fields {
		text := func() (string, error) {
			if f.Value.Shape != String {
				return "", finding(source, f.Value.Span, number, "", "%s of a reference is %s, not a string", f.Key, f.Value.Shape)
			}
			return f.Value.Text, nil
		}
		var err error
		switch strings.ToLower(f.Key) {
		case "type":
			var kind string
			if kind, err = text(); err == nil && kind != "output" {
				err = finding(source, f.Value.Span, number, `a reference has the type "output"`, "unknown type %q of a reference", kind)
			}
			typed = true
		case "name":
			ref.Name, err = text()
			ref.NameSpan = f.Value.Span
		case "file":
			ref.File, err = text()
		case "step":
			ref.StepSpan, stepped = f.Value.Span, true
			if ref.Step, err = strconv.Atoi(f.Value.Text); f.Value.Shape != Number || err != nil {
				err = finding(source, f.Value.Span, number, "", "step of a reference is not a whole number")
			}
		case "onempty":
			ref.OnEmpty = &f.Value
		default:
			err = finding(source, f.KeySpan, number, Suggest(f.Key, []string{"type", "step", "name", "file", "onEmpty"}),
				"a reference has no key %q", f.Key)
		}
		if err != nil {
			return nil, err
		}
	}
	const spelling = `a reference is {"type":"output","step":-1,"name":"participant"}`
	switch {
	case !typed:
		return nil, finding(source, v.Span, number, spelling, "an object is not a value here, and this is no reference")
	case ref.Name == "":
		return nil, finding(source, v.Span, number, spelling, "the reference does not say which output")
	case !stepped: // the existing tool silently takes step 0
		return nil, finding(source, v.Span, number, spelling, "the reference does not say which step")
	case ref.Step < 0 && ref.File != "":
		return nil, finding(source, ref.StepSpan, number, "give the step's number in that run", "a relative step in another run's file")
	case ref.Step < 0:
		ref.Step += number
		if ref.Step < 0 {
			return nil, finding(source, ref.StepSpan, number, "", "the reference points %d steps before the script's first one", -ref.Step)
		}
	}
	return ref, nil
}

// ParseObject reads a source that is one JSON object, such as a configuration. The error is a [Finding].
func ParseObject(source *Source) (Value, error) {
	r := reader{source: source, text: source.Text}
	r.space()
	v, err := r.value()
	if err != nil {
		return Value{}, err
	}
	if v.Shape != Object {
		return Value{}, finding(source, v.Span, -1, "", "%s stands where an object should", v.Shape)
	}
	r.space()
	if r.at != len(r.text) {
		return Value{}, r.expected("the end of the text")
	}
	return v, nil
}
