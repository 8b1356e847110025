package dsl_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"provingground/dsl"
)

// stepWith returns a script of one step with the value as its parameter.
func stepWith(value string) string {
	return `{"action":"count","params":{"limit":1,"of":` + value + `}}`
}

// TestReadJSONErrors shows what the reader says about texts that it cannot read. As a stream, one byte at a time, they say the same.
func TestReadJSONErrors(t *testing.T) {
	deep := func(open string) string { return strings.Repeat(open, 100_000) }
	for _, test := range []struct{ name, text, want string }{
		// structure
		{"object ends at once", `{`, `s:1:2: step 0: the text ends where a key in double quotes should stand`},
		{"object ends behind key", `{"action"`, `s:1:10: step 0: the text ends where a colon behind the key should stand`},
		{"object ends behind colon", `{"action":`, `s:1:11: step 0: the text ends where a JSON value should stand`},
		{"object ends behind value", "{\"action\":\"wait\"\n\n", `s:1:17: step 0: the text ends where a comma or the object's end } should stand`},
		{"object ends behind comma", `{"action":"wait", `, `s:1:18: step 0: the text ends where a key in double quotes should stand`},
		{"list ends", stepWith(`[1`), `s:1:46: step 0: '}' stands where a comma or the list's end ] should`},
		{"list ends with the text", `{"a":[`, `s:1:7: step 0: the text ends where a JSON value should stand`},
		{"key without quotes", `{action:"wait"}`, `s:1:2: step 0: 'a' stands where a key in double quotes should`},
		{"key in single quotes", `{'action':"wait"}`, `s:1:2: step 0: '\'' stands where a key in double quotes should (strings stand in straight double quotes: "…")`},
		{"typographic quotes", `{“action”:"wait"}`, `s:1:2: step 0: '“' stands where a key in double quotes should (strings stand in straight double quotes: "…")`},
		{"number as key", `{1:2}`, `s:1:2: step 0: '1' stands where a key in double quotes should`},
		{"no colon", `{"action" "wait"}`, `s:1:11: step 0: '"' stands where a colon behind the key should`},
		{"equals sign", `{"action"="wait"}`, `s:1:10: step 0: '=' stands where a colon behind the key should`},
		{"no value", `{"action":}`, `s:1:11: step 0: '}' stands where a JSON value should`},
		{"no comma", "{\"action\":\"wait\"\n \"params\":{}}", `s:2:2: step 0: '"' stands where a comma or the object's end } should`},
		{"comma behind the last field", `{"action":"wait",}`, `s:1:17: step 0: nothing follows this comma (remove it)`},
		{"comma behind the last item", stepWith("[1 ,\n]"), `s:1:47: step 0: nothing follows this comma (remove it)`},
		{"comma alone", stepWith("[,]"), `s:1:45: step 0: ',' stands where a JSON value should`},
		{"two commas", stepWith("[1,,2]"), `s:1:47: step 0: ',' stands where a JSON value should`},
		{"wrong bracket", `{"action":"wait"]`, `s:1:17: step 0: ']' stands where a comma or the object's end } should`},
		{"bracket too many", "{\"action\":\"wait\"}\n}", `s:2:1: '}' stands where a JSON value should`},
		{"comma between steps", "{\"action\":\"wait\"},\n{\"action\":\"wait\"}", `s:1:18: ',' stands where a JSON value should`},
		{
			"comment of another language", "\"begin\"\n// wait\n",
			`s:2:1: '/' stands where a JSON value should (in JSON there are no comments like this; in a script, a string between steps is a comment)`,
		},
		{"word", stepWith("yes"), `s:1:44: step 0: yes is no JSON value`},
		{"capital word", stepWith("True"), `s:1:44: step 0: True is no JSON value (did you mean "true"?)`},
		{"short word", stepWith("nul"), `s:1:44: step 0: nul is no JSON value (did you mean "null"?)`},
		{"words together", `nullnull`, `s:1:1: this is no JSON step stream, which begins with {, a string or null`},
		{"word ends", stepWith("[nul"), `s:1:45: step 0: nul is no JSON value (did you mean "null"?)`},
		{"sign", stepWith("@"), `s:1:44: step 0: '@' stands where a JSON value should`},
		{"NUL", stepWith("\x00"), `s:1:44: step 0: '\x00' stands where a JSON value should`},
		{"no-break space", "{\u00a0}", `s:1:2: step 0: '\u00a0' stands where a key in double quotes should`},
		{"byte order mark inside", `{"action":"wait"}` + "\ufeff", `s:1:18: '\ufeff' stands where a JSON value should`},

		// what stands between steps
		{"number", "1", `s:1:1: a number is neither a step nor a comment (a step is an object {"action": …, "params": {…}}, a comment is a string)`},
		{"true", "\"x\" true", `s:1:5: a boolean is neither a step nor a comment (a step is an object {"action": …, "params": {…}}, a comment is a string)`},
		{
			"all in a list", "[\n {\"action\":\"wait\"}\n]",
			`s:1:1: a list is neither a step nor a comment (a step is an object {"action": …, "params": {…}}, a comment is a string)`,
		},
		{
			"broken list", "{\"action\":\"wait\"}\n[{\"action\":\"wait\"},]",
			`s:2:19: nothing follows this comma (remove it)`,
		},

		// strings
		{"string without end", `"a comment`, `s:1:1: this string has no end`},
		{"string without end behind an escape", `"\\é`, `s:1:1: this string has no end`},
		{"string without end on its line", "{\"action\":\"wait}\r\n{\"action\":\"wait\"}\r\n", `s:1:11: step 0: this string has no end on its line`},
		{"string over two lines", "\"one\ntwo\"", `s:1:1: this string has no end on its line`},
		{"tab in a string", "\"a\tb\"", `s:1:3: a control character in a string (write it as \u0009)`},
		{"NUL in a string", "\"é\x00\"", `s:1:3: a control character in a string (write it as \u0000)`},
		{"unknown escape", `"C:\dir"`, `s:1:4: unknown escape in a string (write \\ for a backslash)`},
		{"escaped character of two bytes", `"\é"`, `s:1:2: unknown escape in a string (write \\ for a backslash)`},
		{"invalid UTF-8 in an escape", "\"\\\xff\"", `s:1:3: invalid UTF-8 (save the text as UTF-8)`},
		{"text ends in an escape", `"a\`, `s:1:3: the text ends inside a string`},
		{"text ends in a long escape", `"a\u00`, `s:1:3: \u in a string needs four hexadecimal digits`},
		{"short escape", `"\u12"`, `s:1:2: \u in a string needs four hexadecimal digits`},
		{"no hexadecimal digit", `"\u12g4"`, `s:1:2: \u in a string needs four hexadecimal digits`},
		{"sign in an escape", `"\u+123"`, `s:1:2: \u in a string needs four hexadecimal digits`},
		{"first half of a pair", `"\ud83dx"`, `s:1:2: half of a surrogate pair in a string`},
		{"first half at the end", `"\ud83d"`, `s:1:2: half of a surrogate pair in a string`},
		{"first half twice", `"\ud83d\ud83d"`, `s:1:2: half of a surrogate pair in a string`},
		{"first half before another escape", `"\ud83d\n"`, `s:1:2: half of a surrogate pair in a string`},
		{"first half and no half", `"\ud83d\uffff"`, `s:1:2: half of a surrogate pair in a string`},
		{"lowest second half", `"\udc00"`, `s:1:2: half of a surrogate pair in a string`},
		{"second half", `"ab\udE00"`, `s:1:4: half of a surrogate pair in a string`},
		{"invalid UTF-8 in a string", "\"caf\xe9 noir\"", `s:1:5: invalid UTF-8 (save the text as UTF-8)`},
		{"UTF-8 cut off in a string", "\"caf\xc3", `s:1:5: invalid UTF-8 (save the text as UTF-8)`},
		{"surrogate in UTF-8", "\"\xed\xa0\xbd\"", `s:1:2: invalid UTF-8 (save the text as UTF-8)`},
		{"overlong UTF-8", "\"\xc0\xaf\"", `s:1:2: invalid UTF-8 (save the text as UTF-8)`},
		{"invalid UTF-8 elsewhere", "{\"a\":\xff}", `s:1:6: step 0: invalid UTF-8 (save the text as UTF-8)`},
		{"UTF-16", "\xff\xfe{\x00}\x00", `s:1:1: invalid UTF-8 (save the text as UTF-8)`},

		// numbers
		{"leading zero", stepWith("[007]"), `s:1:45: step 0: a number has no leading zeros`},
		{"plus sign", stepWith("+1"), `s:1:44: step 0: '+' stands where a JSON value should`},
		{"no digit in front of the point", stepWith(".5"), `s:1:44: step 0: '.' stands where a JSON value should`},
		{"no digit behind the point", stepWith("1."), `s:1:46: step 0: '}' stands where a digit should`},
		{"no exponent", stepWith("1e"), `s:1:46: step 0: '}' stands where a digit should`},
		{"no exponent behind the sign", stepWith("1e+"), `s:1:47: step 0: '}' stands where a digit should`},
		{"sign alone", stepWith("-"), `s:1:45: step 0: '}' stands where a digit should`},
		{"number ends with the text", `{"a":-`, `s:1:7: step 0: the text ends where a digit should stand`},
		{"infinity", stepWith("-Infinity"), `s:1:45: step 0: 'I' stands where a digit should`},
		{"not a number", stepWith("NaN"), `s:1:44: step 0: NaN is no JSON value`},
		{"hexadecimal", stepWith("0x10"), `s:1:45: step 0: 'x' stands where a comma or the object's end } should`},
		{"grouped digits", stepWith("20_000"), `s:1:46: step 0: '_' stands where a comma or the object's end } should`},
		{"401 characters", stepWith(strings.Repeat("1", 401)), `s:1:44: step 0: a number of 401 characters (at most 400 characters)`},

		// depth
		{"lists in lists", deep("["), `s:1:1001: lists and objects are nested in each other above 1000 levels`},
		{"objects in objects", deep(`{"a":`), `s:1:5001: step 0: lists and objects are nested in each other above 1000 levels`},
		{"lists in a step", `{"action":"wait"}` + "\n" + stepWith(deep("[")), `s:2:1042: step 1: lists and objects are nested in each other above 1000 levels`},

		// the number of the step, the line and the column
		{"third step", "\"c\"\n{\"action\":\"a\"}\nnull {\"action\":\"b\"}\n\n  \"é\" {\"action\":?}", `s:5:17: step 2: '?' stands where a JSON value should`},
		{"behind a byte order mark", "\ufeff{?", `s:1:2: step 0: '?' stands where a key in double quotes should`},
	} {
		t.Run(test.name, func(t *testing.T) {
			script, err := dsl.ReadJSON("s", strings.NewReader(test.text))
			if err == nil {
				t.Fatalf("it was read: %d items", len(script.Items))
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			var f dsl.Finding
			if !errors.As(err, &f) {
				t.Fatalf("no finding: %T", err)
			}
			if f.Span.Start < 0 || f.Span.End < f.Span.Start || f.Span.End > len(test.text) {
				t.Errorf("span %v is not in the text of %d bytes", f.Span, len(test.text))
			}
			if strings.HasPrefix(f.Message, "this is no JSON step stream") { // a stream was asked for: it is one
				return
			}
			stream := dsl.NewStream("s", iotest.OneByteReader(strings.NewReader(test.text)))
			if err := drain(stream); err == nil || err.Error() != test.want {
				t.Errorf("as a stream it says\n%v, want\n%s", err, test.want)
			}
		})
	}
}

// drain reads a stream to its end, and returns the error that it ends with.
func drain(stream *dsl.Stream) error {
	for {
		if _, _, err := stream.Next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// TestReadJSONOtherLanguage: the beginning of a text decides which of the two languages it is in (script-language).
func TestReadJSONOtherLanguage(t *testing.T) {
	const message = "this is no JSON step stream, which begins with {, a string or null"
	for _, test := range []struct{ text, want string }{
		{"experiment \"churn-30\"\n", "s:1:1: " + message},
		{"\ufeff\n  # a comment", "s:2:3: " + message},
		{"nullable = 1", "s:1:1: " + message},
		{"null", ""},
		{"null\n\"comment\"", ""},
		{`"experiment"`, ""},
	} {
		_, err := dsl.ReadJSON("s", strings.NewReader(test.text))
		if got := text(err); got != test.want {
			t.Errorf("%q: got\n%s, want\n%s", test.text, got, test.want)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestReadJSON reads every part of a script with its place.
func TestReadJSON(t *testing.T) {
	const script = "\ufeff" + `"first \u00e9\n\ud83d\ude00\/" null ` + "\r\n" +
		`{"action":"discovery"}{"PARAMS":null,"Action":"wait"}` + "\n" +
		`{"params":{"a":[1e9, -0.5E+1,{"k":[]}],"b":{"Type":"output","ſtep":-1.0e0,"NAME":"participant","onempty":[],"file":null},` +
		`"c":{"type":"output","step":3,"name":"n","file":"start.out"},"d":true,"e":""},"action":"payments"}`
	got, err := dsl.ReadJSON("s", strings.NewReader(script))
	if err != nil {
		t.Fatal(err)
	}
	span := func(part string) dsl.Span {
		t.Helper()
		if strings.Count(script, part) != 1 {
			t.Fatalf("%q is not once in the script", part)
		}
		start := strings.Index(script, part)
		return dsl.Span{Start: start, End: start + len(part)}
	}
	inside := func(part string, from, to int) dsl.Span {
		t.Helper()
		whole := span(part)
		return dsl.Span{Start: whole.Start + from, End: whole.Start + to}
	}
	step3 := script[strings.Index(script, `{"params"`):]
	refB := `{"Type":"output","ſtep":-1.0e0,"NAME":"participant","onempty":[],"file":null}`
	refC := `{"type":"output","step":3,"name":"n","file":"start.out"}`
	want := []dsl.Item{
		{Span: span(`"first \u00e9\n\ud83d\ude00\/"`), Comment: "first é\n😀/"},
		{Span: inside(`null `+"\r\n", 0, 4)},
		{Span: span(`{"action":"discovery"}`), Step: &dsl.Step{
			Span: span(`{"action":"discovery"}`), Number: 0, Action: "discovery", ActionSpan: span(`"discovery"`),
		}},
		{Span: span(`{"PARAMS":null,"Action":"wait"}`), Step: &dsl.Step{
			Span: span(`{"PARAMS":null,"Action":"wait"}`), Number: 1, Action: "wait", ActionSpan: span(`"wait"`),
		}},
		{Span: span(step3), Step: &dsl.Step{
			Span: span(step3), Number: 2, Action: "payments", ActionSpan: span(`"payments"`),
			Args: []dsl.Arg{
				{Name: "a", NameSpan: span(`"a"`), Value: dsl.Value{Span: span(`[1e9, -0.5E+1,{"k":[]}]`), Shape: dsl.List, Items: []dsl.Value{
					{Span: span("1e9"), Shape: dsl.Number, Text: "1e9"},
					{Span: span("-0.5E+1"), Shape: dsl.Number, Text: "-0.5E+1"},
					{Span: span(`{"k":[]}`), Shape: dsl.Object, Fields: []dsl.Field{
						{Key: "k", KeySpan: span(`"k"`), Value: dsl.Value{Span: inside(`"k":[]`, 4, 6), Shape: dsl.List}},
					}},
				}}},
				{Name: "b", NameSpan: span(`"b"`), Value: dsl.Value{Span: span(refB), Shape: dsl.Object}, Ref: &dsl.Ref{
					Span: span(refB), Step: 1, StepSpan: span("-1.0e0"), Name: "participant", NameSpan: span(`"participant"`),
					OnEmpty: &dsl.Value{Span: inside(`"onempty":[]`, 10, 12), Shape: dsl.List},
				}},
				{Name: "c", NameSpan: span(`"c"`), Value: dsl.Value{Span: span(refC), Shape: dsl.Object}, Ref: &dsl.Ref{
					Span: span(refC), Step: 3, StepSpan: inside(`"step":3`, 7, 8), Name: "n", NameSpan: span(`"n"`), File: "start.out",
				}},
				{Name: "d", NameSpan: span(`"d"`), Value: dsl.Value{Span: span("true"), Shape: dsl.Bool, Text: "true"}},
				{Name: "e", NameSpan: span(`"e"`), Value: dsl.Value{Span: inside(`"e":""`, 4, 6), Shape: dsl.String}},
			},
		}},
	}
	if diff := cmp.Diff(want, got.Items, cmpopts.IgnoreUnexported(dsl.Step{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if string(got.Source.Text) != script || got.Source.Name != "s" {
		t.Error("the source is not the text that was read")
	}
	if steps := got.Steps(); len(steps) != 3 || steps[2].Number != 2 {
		t.Errorf("steps: %v", steps)
	}
	// The byte order mark is no character of the first line.
	if line, column := got.Source.Place(got.Items[1].Start); line != 1 || column != 32 {
		t.Errorf("null is at %d:%d", line, column)
	}
}

// TestReadJSONNothing: a script without steps is a script.
func TestReadJSONNothing(t *testing.T) {
	for _, test := range []struct {
		text     string
		comments int
	}{{"", 0}, {"\ufeff", 0}, {" \t\r\n", 0}, {"null", 1}, {"null null\nnull", 3}, {`"a" "" null"b"`, 4}} {
		script, err := dsl.ReadJSON("s", strings.NewReader(test.text))
		if err != nil {
			t.Errorf("%q: %v", test.text, err)
			continue
		}
		if len(script.Items) != test.comments || len(script.Steps()) != 0 || len(dsl.Check(script, signatures())) != 0 {
			t.Errorf("%q: %d items, %d steps", test.text, len(script.Items), len(script.Steps()))
		}
	}
}

// TestReadJSONDeepest: the depth that is allowed is read.
func TestReadJSONDeepest(t *testing.T) {
	text := stepWith(strings.Repeat("[", dsl.MaxLevels-2) + strings.Repeat("]", dsl.MaxLevels-2))
	if _, err := dsl.ReadJSON("s", strings.NewReader(text)); err != nil {
		t.Error(err)
	}
}

func TestReadJSONFailure(t *testing.T) {
	broken := errors.New("the disk is broken")
	_, err := dsl.ReadJSON("a.script", io.MultiReader(strings.NewReader(`{"action":`), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || err.Error() != "read script a.script: the disk is broken" {
		t.Error(err)
	}
}

// endless gives out a text again and again, and counts the bytes.
type endless struct {
	text []byte
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		n += copy(p[n:], e.text[(e.read+n)%len(e.text):])
	}
	e.read += len(p)
	return len(p), nil
}

// TestTooLarge: of a text without end no more is read than a script may have.
func TestTooLarge(t *testing.T) {
	const want = "s:1:1: the script is larger than 64 MiB"
	comment := append(append([]byte(`"`), bytes.Repeat([]byte("x"), 1<<16)...), "\"\n"...)
	for _, test := range []struct {
		name string
		text []byte
		read func(io.Reader) error
	}{
		{"spaces", bytes.Repeat([]byte("     \n"), 1<<13), func(r io.Reader) error { _, err := dsl.ReadJSON("s", r); return err }},
		{"comments", comment, func(r io.Reader) error { _, err := dsl.ReadJSON("s", r); return err }},
		{"stream of one string", bytes.Repeat([]byte("xyz"), 1<<14), func(r io.Reader) error {
			return drain(dsl.NewStream("s", io.MultiReader(strings.NewReader(`"`), r)))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			from := &endless{text: test.text}
			if err := test.read(from); err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
			if from.read > dsl.MaxBytes+1<<16 {
				t.Errorf("%d bytes were read", from.read)
			}
		})
	}
}

// TestLargest: a script of the greatest size is read.
func TestLargest(t *testing.T) {
	text := bytes.Repeat([]byte(" "), dsl.MaxBytes)
	text[1] = '?'
	if _, err := dsl.ReadJSON("s", bytes.NewReader(text)); err == nil || err.Error() != "s:1:2: '?' stands where a JSON value should" {
		t.Error(err)
	}
}

func TestParseObject(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{`{"key":"x","aws":{"region":"us"}}` + "\n", ""},
		{"\ufeff {}", ""},
		{"", "c.json:1:1: the text ends where a JSON value should stand"},
		{"[]", "c.json:1:1: a list stands where an object should"},
		{"{} {}", "c.json:1:4: '{' stands where the end of the text should"},
		{"{\n\"a\":1,\n\"a\":2}", `c.json:3:1: "a" is given twice (keep one of them)`},
		{`{"a":{"b":1,"b":2,"b":3}}`, `c.json:1:13: "b" is given twice (keep one of them)`},
		{`{"a":1`, "c.json:1:7: the text ends where a comma or the object's end } should stand"},
		{"key = 1", "c.json:1:1: key is no JSON value"},
	} {
		v, err := dsl.ParseObject(dsl.NewSource("c.json", []byte(test.text)))
		if got := text(err); got != test.want {
			t.Errorf("%q: got\n%s, want\n%s", test.text, got, test.want)
		}
		if err == nil && v.Shape != dsl.Object {
			t.Errorf("%q: it is %s", test.text, v.Shape)
		}
	}
}

// TestManyKeys: keys given twice are found in large objects, too.
func TestManyKeys(t *testing.T) {
	var text strings.Builder
	for i := range 20 {
		text.WriteString(`"` + string(rune('a'+i)) + `":0,`)
	}
	_, err := dsl.ParseObject(dsl.NewSource("c", []byte("{"+text.String()+`"b":1}`)))
	if err == nil || err.Error() != `c:1:122: "b" is given twice (keep one of them)` {
		t.Error(err)
	}
}

func TestShapeString(t *testing.T) {
	for shape, want := range map[dsl.Shape]string{
		dsl.Null: "null", dsl.Bool: "a boolean", dsl.Number: "a number", dsl.String: "a string", dsl.List: "a list", dsl.Object: "an object", 9: "Shape(9)",
	} {
		if got := shape.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
