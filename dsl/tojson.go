package dsl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// ToJSON writes a script as a JSON step stream, one step or comment a line. A script of the script language must be lowered: parameters,
// constants and rounds stand there with their values, and so do the values that the language takes for parameters left out.
//
// Names and layout are not kept. Each thing that the JSON stream cannot say is an error at its place, and then no text is returned: blocks,
// claims, limits, attempts, deadlines, formulas, what stands in on failure and finally, values of env() and private keys, and references
// by name into another run. A seed is a warning (script-language, section 3).
func (s *Script) ToJSON(signatures []Signature) ([]byte, Findings) {
	w := jsonWriter{script: s, signatures: signatures}
	if s.Language {
		w.frame()
	} else {
		w.found = Check(s, signatures)
	}
	for _, items := range [][]Item{s.Items, s.OnFailure, s.Finally} {
		w.items(items)
	}
	found := w.found.Sort()
	if found.Errors() {
		return nil, found
	}
	return w.out.Bytes(), found
}

// jsonWriter writes a script as a JSON stream, and goes on behind what it cannot write so that all of that is found.
type jsonWriter struct {
	script     *Script
	signatures []Signature
	out        bytes.Buffer
	found      Findings
}

func (w *jsonWriter) refuse(span Span, step int, hint, format string, args ...any) {
	if w.script.Language { // its steps have names, not numbers
		step = -1
	}
	w.found = append(w.found, finding(w.script.Source, span, step, hint, format, args...))
}

// frame looks for what stands around the steps. Where that is only the text says.
func (w *jsonWriter) frame() {
	tree, _ := Parse(w.script.Source.Name, w.script.Source.Text)
	for _, statement := range tree.Statements {
		switch statement := statement.(type) {
		case *Seed:
			f := finding(w.script.Source, statement.Span, -1, "", "seed has no spelling in the JSON stream")
			f.Severity = Warning
			if w.script.Seed != nil {
				f.Hint = fmt.Sprintf("run it with -seed %d", *w.script.Seed)
			}
			w.found = append(w.found, f)
		case *Limits:
			w.refuse(statement.Span, -1, "leave it out", "limit has no spelling in the JSON stream")
		case *Closing:
			name := "on failure"
			if statement.Finally {
				name = "finally"
			}
			place := Span{statement.Start, statement.Start + len(name)}
			w.refuse(place, -1, "leave it out, and clean up with orchestrator stop", "%s has no spelling in the JSON stream", name)
		}
	}
}

func (w *jsonWriter) items(items []Item) {
	const hint = "leave it out"
	for _, item := range items {
		switch {
		case item.Step != nil && HoldsBlock(item.Step.Action):
			w.refuse(item.Step.ActionSpan, item.Step.Number, hint, "%s has no spelling in the JSON stream", item.Step.Action)
			w.items(item.Body)
		case item.Step != nil:
			w.step(item.Step)
		case len(item.Parallel) == 1 && !bytes.HasPrefix(w.script.Source.Text[item.Start:], []byte("parallel")): // a round of a repeat with a watch, which is refused
			w.items(item.Parallel[0])
		case item.Parallel != nil:
			w.refuse(Span{item.Start, item.Start + len("parallel")}, -1, "write its statements one after the other", "parallel has no spelling in the JSON stream")
			for _, branch := range item.Parallel {
				w.items(branch)
			}
		case item.Deadline != nil:
			w.refuse(Span{item.Start, item.Start + len("within")}, -1, hint, "within has no spelling in the JSON stream")
			w.items(item.Deadline.Items)
		case item.Claim != nil:
			name := "expect"
			if item.Claim.Watch {
				name = "watch"
			}
			w.refuse(item.Claim.Span, -1, hint, "%s has no spelling in the JSON stream", name)
		default:
			w.comment(item)
		}
	}
}

func (w *jsonWriter) comment(item Item) {
	if w.script.isNull(item) {
		w.out.WriteString("null\n")
		return
	}
	if slices.ContainsFunc(w.script.Secrets, func(secret string) bool { return strings.Contains(item.Comment, secret) }) {
		w.refuse(item.Span, -1, "leave it out", "log would show the value of an env()")
		return
	}
	if hasKey([]byte(item.Comment)) {
		w.refuse(item.Span, -1, "leave it out", "log would show a private key")
		return
	}
	w.text(item.Comment)
	w.out.WriteByte('\n')
}

// isNull reports whether an item of a JSON stream is the word null, which says nothing.
func (s *Script) isNull(item Item) bool {
	return !s.Language && item.Step == nil && item.Comment == "" && string(s.Source.Text[item.Start:item.End]) == "null"
}

func (w *jsonWriter) step(step *Step) {
	if step.Retry != nil {
		w.refuse(step.Retry.Span, step.Number, "leave it out: the action has retries of its own", "retry has no spelling in the JSON stream")
	}
	if step.Within != nil {
		w.refuse(step.Within.Span, step.Number, "leave it out", "within has no spelling in the JSON stream")
	}
	w.out.WriteString(`{"action":`)
	w.text(step.Action)
	w.out.WriteString(`,"params":{`)
	between := ""
	for _, arg := range step.Args {
		name, written := w.param(step, arg)
		if !written {
			continue
		}
		w.out.WriteString(between)
		between = ","
		w.text(name)
		w.out.WriteByte(':')
		switch {
		case arg.Formula != nil:
			w.formula(step, arg.Formula)
		case arg.Ref != nil:
			w.ref(step, arg.Ref)
		default:
			w.value(step, arg.Value)
		}
	}
	w.out.WriteString("}}\n")
}

// param returns the name of an argument as its action spells it. It is false for one that the script language filled in and that makes no
// difference.
func (w *jsonWriter) param(step *Step, arg Arg) (name string, written bool) {
	a := slices.IndexFunc(w.signatures, func(s Signature) bool { return s.Action == step.Action })
	if a < 0 {
		return arg.Name, true
	}
	signature := w.signatures[a]
	i := signature.param(arg.Name)
	if i < 0 {
		return arg.Name, true
	}
	param := signature.Params[i]
	filledIn := param.Absent != "" && arg.NameSpan == step.ActionSpan
	given := func(i int) bool {
		_, ok := step.Arg(signature.Params[i].Name)
		return ok
	}
	return param.Name, !filledIn || signature.fillsIn(param, given)
}

func (w *jsonWriter) formula(step *Step, f *Formula) {
	if f.secret() {
		w.refuseSecret(f.Span, step)
		return
	}
	w.refuse(f.Span, step.Number, "write its value", "what is worked out while the script runs has no spelling in the JSON stream")
}

// secret reports whether a value of env() is part of the formula.
func (f *Formula) secret() bool {
	return f.Value.Secret || slices.ContainsFunc(f.Args, (*Formula).secret)
}

func (w *jsonWriter) refuseSecret(span Span, step *Step) {
	w.refuse(span, step.Number, "write a value that everybody may read in its place", "the value of env() would be shown in the JSON stream")
}

func (w *jsonWriter) ref(step *Step, ref *Ref) {
	if ref.StepID != "" {
		w.refuse(ref.Span, step.Number, "name the step by its number: step2", "a reference by name into another run has no spelling in the JSON stream")
	}
	number := ref.Step
	if ref.File == "" {
		number -= step.Number
	}
	fmt.Fprintf(&w.out, `{"type":"output","step":%d,"name":`, number)
	w.text(ref.Name)
	if ref.File != "" {
		w.out.WriteString(`,"file":`)
		w.text(ref.File)
	}
	if ref.OnEmpty != nil {
		w.out.WriteString(`,"onEmpty":`)
		w.value(step, *ref.OnEmpty)
	}
	w.out.WriteByte('}')
}

func (w *jsonWriter) value(step *Step, v Value) {
	if v.Secret {
		w.refuseSecret(v.Span, step)
		return
	}
	text := []byte(v.JSON)
	if v.JSON == nil {
		text = w.script.Source.Text[v.Start:v.End]
	}
	if hasKey(text) {
		w.refuse(v.Span, step.Number, "put it into a file, and load that with load-keys", "a private key would be shown")
		return
	}
	if err := json.Compact(&w.out, text); err != nil { // what was read is JSON
		w.refuse(v.Span, step.Number, "", "%q is no JSON", text)
	}
}

// hasKey reports whether a private key stands in a text.
func hasKey(text []byte) bool { return !bytes.Equal(maskKeys(text), text) }

// text writes a string as JSON.
func (w *jsonWriter) text(s string) {
	encoder := json.NewEncoder(&w.out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil { // a buffer takes all, and every string can be written
		w.refuse(Span{}, -1, "", "%q cannot be written as JSON: %v", s, err)
		return
	}
	w.out.Truncate(w.out.Len() - 1) // the line's end
}
