package dsl_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"provingground/dsl"
)

// printer writes random JSON, and notes what each part is and where it stands.
type printer struct {
	t    *rapid.T
	text []byte
}

func (p *printer) write(text string) dsl.Span {
	start := len(p.text)
	p.text = append(p.text, text...)
	return dsl.Span{Start: start, End: len(p.text)}
}

func (p *printer) space() { p.write(rapid.StringMatching(`[ \t\r\n]{0,2}`).Draw(p.t, "space")) }

func (p *printer) pick(texts ...string) string { return rapid.SampledFrom(texts).Draw(p.t, "pick") }

// string writes a string, each of its characters in one of the ways that there are.
func (p *printer) string(s string) dsl.Span {
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range s {
		short := map[rune]string{'"': `\"`, '\\': `\\`, '/': `\/`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}[r]
		long := fmt.Sprintf(p.pick(`\u%04x`, `\u%04X`), r)
		if r >= 0x10000 {
			high, low := 0xD800+(r-0x10000)>>10, 0xDC00+(r-0x10000)&0x3FF
			long = fmt.Sprintf(`\u%04x\u%04X`, high, low)
		}
		ways := []string{long}
		if short != "" {
			ways = append(ways, short)
		}
		if r >= ' ' && r != '"' && r != '\\' {
			ways = append(ways, string(r), string(r), string(r))
		}
		out.WriteString(p.pick(ways...))
	}
	out.WriteByte('"')
	return p.write(out.String())
}

func (p *printer) draw() string {
	return rapid.OneOf(
		rapid.String(), rapid.StringMatching(`[a-z.:0-9-]{0,12}`), rapid.SampledFrom([]string{"😀\U0010ffff", "\"\\/\b\f\n\r\t\x00\x1f\x7f", "\ufeff\u2028\ufffd"}),
	).Draw(p.t, "string")
}

const number = `-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,4})?`

func (p *printer) value(depth int) dsl.Value {
	most := 5
	if depth == 0 {
		most = 3
	}
	start := len(p.text)
	v := dsl.Value{}
	switch rapid.IntRange(0, most).Draw(p.t, "shape") {
	case 0:
		v.Shape, v.Text = dsl.Null, "null"
		p.write(v.Text)
	case 1:
		v.Shape, v.Text = dsl.Bool, p.pick("true", "false")
		p.write(v.Text)
	case 2:
		v.Shape, v.Text = dsl.Number, rapid.StringMatching(number).Draw(p.t, "number")
		p.write(v.Text)
	case 3:
		v.Shape, v.Text = dsl.String, p.draw()
		p.string(v.Text)
	case 4:
		v.Shape = dsl.List
		v.Items = p.list(depth - 1)
	case 5:
		v.Shape = dsl.Object
		v.Fields = p.object(rapid.SliceOfNDistinct(rapid.String(), 0, 20, rapid.ID).Draw(p.t, "keys"), func(string) dsl.Value { return p.value(depth - 1) })
	}
	v.Span = dsl.Span{Start: start, End: len(p.text)}
	return v
}

func (p *printer) list(depth int) []dsl.Value {
	p.write("[")
	p.space()
	var items []dsl.Value
	for i := range rapid.IntRange(0, 4).Draw(p.t, "items") {
		if i > 0 {
			p.write(",")
			p.space()
		}
		items = append(items, p.value(depth))
		p.space()
	}
	p.write("]")
	return items
}

func (p *printer) object(keys []string, value func(key string) dsl.Value) []dsl.Field {
	p.write("{")
	p.space()
	var fields []dsl.Field
	for i, key := range keys {
		if i > 0 {
			p.write(",")
			p.space()
		}
		span := p.string(key)
		p.space()
		p.write(":")
		p.space()
		fields = append(fields, dsl.Field{Key: key, KeySpan: span, Value: value(key)})
		p.space()
	}
	p.write("}")
	return fields
}

// textValue writes a string, and returns it as a value.
func (p *printer) textValue(s string) dsl.Value {
	return dsl.Value{Span: p.string(s), Shape: dsl.String, Text: s}
}

func (p *printer) anyCase(keys ...string) []string {
	keys = rapid.Permutation(keys).Draw(p.t, "order")
	for i, key := range keys {
		keys[i] = p.pick(key, key, strings.ToUpper(key), strings.ToUpper(key[:1])+key[1:])
	}
	return keys
}

// ref writes a reference of a step to an earlier one.
func (p *printer) ref(number int) (dsl.Value, *dsl.Ref) {
	ref := &dsl.Ref{}
	keys := []string{"type", "step", "name"}
	ref.Step = rapid.IntRange(0, number+3).Draw(p.t, "step")
	written := strconv.Itoa(ref.Step)
	if rapid.Bool().Draw(p.t, "of a file") {
		keys = append(keys, "file")
	} else if ref.Step < number && rapid.Bool().Draw(p.t, "relative") {
		written = strconv.Itoa(ref.Step - number)
	}
	if rapid.Bool().Draw(p.t, "with a value for nothing") {
		keys = append(keys, "onEmpty")
	}
	start := len(p.text)
	p.object(p.anyCase(keys...), func(key string) dsl.Value {
		switch strings.ToLower(key) {
		case "type":
			return p.textValue("output")
		case "step":
			ref.StepSpan = p.write(p.pick(written, written+".0", written+"e0"))
		case "name":
			ref.Name = p.draw() + "x"
			v := p.textValue(ref.Name)
			ref.NameSpan = v.Span
		case "file":
			ref.File = p.draw() + "x"
			p.string(ref.File)
		case "onempty":
			v := p.value(2)
			ref.OnEmpty = &v
		}
		return dsl.Value{}
	})
	ref.Span = dsl.Span{Start: start, End: len(p.text)}
	return dsl.Value{Span: ref.Span, Shape: dsl.Object}, ref
}

// step writes a step.
func (p *printer) step(number int) *dsl.Step {
	step := &dsl.Step{Number: number}
	start := len(p.text)
	keys := []string{"action"}
	if rapid.Bool().Draw(p.t, "with params") {
		keys = append(keys, "params")
	}
	p.object(p.anyCase(keys...), func(key string) dsl.Value {
		if strings.EqualFold(key, "action") {
			step.Action = p.draw() + "x"
			v := p.textValue(step.Action)
			step.ActionSpan = v.Span
			return v
		}
		var refs []*dsl.Ref
		fields := p.object(rapid.SliceOfNDistinct(rapid.String(), 0, 20, rapid.ID).Draw(p.t, "params"), func(string) dsl.Value {
			var ref *dsl.Ref
			var v dsl.Value
			if rapid.Bool().Draw(p.t, "reference") {
				v, ref = p.ref(number)
			} else if v = p.value(2); v.Shape == dsl.Object { // a literal is none
				p.text = p.text[:v.Start]
				v = p.textValue("")
			}
			refs = append(refs, ref)
			return v
		})
		step.Args = make([]dsl.Arg, len(fields))
		for i, f := range fields {
			step.Args[i] = dsl.Arg{Name: f.Key, NameSpan: f.KeySpan, Value: f.Value, Ref: refs[i]}
		}
		return dsl.Value{}
	})
	step.Span = dsl.Span{Start: start, End: len(p.text)}
	return step
}

// script writes a script.
func (p *printer) script() []dsl.Item {
	var items []dsl.Item
	number := 0
	p.write(p.pick("", "", "\ufeff"))
	p.space()
	for range rapid.IntRange(0, 5).Draw(p.t, "items") {
		switch rapid.IntRange(0, 3).Draw(p.t, "item") {
		case 0:
			text := p.draw()
			items = append(items, dsl.Item{Comment: text, Span: p.string(text)})
		case 1:
			items = append(items, dsl.Item{Span: p.write("null")})
			p.write(" ")
		default:
			step := p.step(number)
			number++
			items = append(items, dsl.Item{Step: step, Span: step.Span})
		}
		p.space()
	}
	return items
}

// TestReadsBackEqual: what a random script says is read, every part of it at its place and every number as it is written.
func TestReadsBackEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &printer{t: t}
		want := p.script()
		got, err := dsl.ReadJSON("s", bytes.NewReader(p.text))
		if err != nil {
			t.Fatalf("%v\n%q", err, p.text)
		}
		if diff := cmp.Diff(want, got.Items, cmpopts.IgnoreUnexported(dsl.Step{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%q (-want +got)\n%s", p.text, diff)
		}
		decoder := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(p.text, []byte("\ufeff"))))
		decoder.UseNumber()
		for _, item := range got.Items {
			if err := sameAsStandard(decoder, item); err != nil {
				t.Fatalf("%v\n%q", err, p.text)
			}
		}
	})
}

// sameAsStandard compares an item with what encoding/json says is there.
func sameAsStandard(decoder *json.Decoder, item dsl.Item) error {
	var v any
	if err := decoder.Decode(&v); err != nil {
		return fmt.Errorf("encoding/json refuses it: %w", err)
	}
	switch v := v.(type) {
	case nil:
		if item.Step != nil || item.Comment != "" {
			return errors.New("encoding/json reads null")
		}
	case string:
		if item.Comment != v {
			return fmt.Errorf("encoding/json reads %q", v)
		}
	case map[string]any:
		for key, value := range v {
			if strings.EqualFold(key, "action") && value != item.Step.Action {
				return fmt.Errorf("encoding/json reads the action %q", value)
			}
			params, _ := value.(map[string]any)
			for name, value := range params {
				arg, ok := item.Step.Arg(name)
				if number, is := value.(json.Number); !ok || arg.Name != name || is && number.String() != arg.Value.Text {
					return fmt.Errorf("encoding/json reads %q: %v", name, value)
				}
				if text, is := value.(string); is && text != arg.Value.Text {
					return fmt.Errorf("encoding/json reads %q: %q", name, text)
				}
			}
		}
	}
	return nil
}

// TestValidAsStandard: a text that was changed a little is JSON to our reader exactly when it is to encoding/json, but for what ours
// refuses on purpose.
func TestValidAsStandard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &printer{t: t}
		p.object([]string{"a", "b"}, func(string) dsl.Value { return p.value(3) })
		text := p.text
		for range rapid.IntRange(0, 2).Draw(t, "changes") {
			at := rapid.IntRange(0, len(text)).Draw(t, "at")
			end := min(len(text), at+rapid.IntRange(0, 2).Draw(t, "dropped"))
			put := rapid.SampledFrom([]string{"", "0", "-", "e", ".", `"`, `\`, "u", "{", "}", "[", "]", ",", ":", " ", "\n", "\x00", "é", "n", "/"}).Draw(t, "put")
			text = append(append(bytes.Clone(text[:at]), put...), text[end:]...)
		}
		source := dsl.NewSource("s", text)
		v, err := dsl.ParseObject(source)
		standard := json.Valid(text) && bytes.HasPrefix(bytes.TrimSpace(text), []byte("{"))
		switch {
		case err == nil && !standard:
			t.Fatalf("encoding/json refuses %q", text)
		case err != nil && standard && !onPurpose(err):
			t.Fatalf("encoding/json takes %q, and we: %v", text, err)
		case err == nil && !within(v, source):
			t.Fatalf("places are not in order in %q", text)
		}
	})
}

// onPurpose reports whether the error is about something that encoding/json takes and we refuse.
func onPurpose(err error) bool {
	var f dsl.Finding
	return errors.As(err, &f) && (strings.HasSuffix(f.Message, "is given twice") || f.Message == "invalid UTF-8" ||
		f.Message == "half of a surrogate pair in a string" || strings.HasPrefix(f.Message, "a number of ") || strings.HasPrefix(f.Message, "lists and objects are nested"))
}

// within reports whether the text at every place is what the value says, and inner values lie in outer ones.
func within(v dsl.Value, source *dsl.Source) bool {
	if v.Start < 0 || v.End <= v.Start || v.End > len(source.Text) || !utf8.Valid(source.Text[v.Start:v.End]) {
		return false
	}
	text := string(source.Text[v.Start:v.End])
	switch v.Shape {
	case dsl.Null, dsl.Bool, dsl.Number:
		return text == v.Text
	case dsl.String:
		var decoded string
		return json.Unmarshal([]byte(text), &decoded) == nil && decoded == v.Text
	case dsl.List:
		at := v.Start
		for _, item := range v.Items {
			if item.Start <= at || item.End >= v.End || !within(item, source) {
				return false
			}
			at = item.End
		}
		return text[0] == '[' && text[len(text)-1] == ']'
	case dsl.Object:
		at := v.Start
		for _, f := range v.Fields {
			var key string
			if f.KeySpan.Start <= at || f.Value.Start <= f.KeySpan.End || f.Value.End >= v.End || !within(f.Value, source) ||
				json.Unmarshal(source.Text[f.KeySpan.Start:f.KeySpan.End], &key) != nil || key != f.Key {
				return false
			}
			at = f.Value.End
		}
		return text[0] == '{' && text[len(text)-1] == '}'
	}
	return false
}
