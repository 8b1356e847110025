package dsl_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"provingground/dsl"
)

func seeds(f *testing.F) {
	f.Helper()
	for _, text := range []string{
		"", "null", "\ufeff\"c\"", `{"action":"wait"}`, "{\"action\":\"wait\",\r\n\"params\":{\"min\":1e9}}",
		`{"action":"discovery"}{"action":"except","params":{"group":{"type":"output","step":-1,"name":"participant","onEmpty":[]}}}`,
		`{"action":"stop","params":{"receipts":[{"address":"a","handle":"h"}]}}`,
		`{"action":"sample","params":{"ratios":[0.5,-1,1e400]}}{"action":"join","params":{"group1":{"type":"output","step":0,"name":"group3"}}}`,
		`{"Action":"wait","action":"wat","params":{"min":1,"MIN":"2","x":{},"y":{"type":"output","step":9}}}`,
		`"\ud83d\ude00\n"`, `"\ud83d"`, "\"\xff\"", `{"a":1,"a":2}`, `[1,]`, `{"a":-0.5e+7`, `nullnull`, "experiment",
		strings.Repeat("[", 2000), strings.Repeat(`{"a":`, 2000), stepWith(strings.Repeat("[", 500) + strings.Repeat("]", 500)),
	} {
		f.Add([]byte(text))
	}
}

// inside fails the test unless the finding has a place in its text and can be shown.
func inside(t *testing.T, f dsl.Finding) {
	t.Helper()
	if f.Span.Start < 0 || f.Span.End < f.Span.Start || f.Span.End > len(f.Source.Text) {
		t.Fatalf("%v: %v is outside of %d bytes", f, f.Span, len(f.Source.Text))
	}
	line, column := f.Source.Place(f.Span.Start)
	if lines := bytes.Count(f.Source.Text, []byte("\n")) + 1; line < 1 || line > lines || column < 1 {
		t.Fatalf("%v: there are %d lines", f, lines)
	}
	for _, format := range []dsl.Format{dsl.AsText, dsl.AsJSON, dsl.AsGitHub} {
		var out bytes.Buffer
		if err := (dsl.Findings{f}).Write(&out, format); err != nil {
			t.Fatal(err)
		}
		if format == dsl.AsJSON && !json.Valid(out.Bytes()) {
			t.Fatalf("no JSON: %s", &out)
		}
	}
}

func FuzzReadJSON(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		script, err := dsl.ReadJSON("s", bytes.NewReader(text))
		streamed := dsl.NewStream("s", iotest.HalfReader(bytes.NewReader(text)))
		if err != nil {
			var finding dsl.Finding
			if !errors.As(err, &finding) {
				t.Fatalf("no finding: %v", err)
			}
			inside(t, finding)
			if err := drain(streamed); err == nil {
				t.Fatal("as a stream it is fine")
			}
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
		for _, item := range script.Items {
			if err := decoder.Decode(new(json.RawMessage)); err != nil {
				t.Fatalf("encoding/json refuses it: %v", err)
			}
			next, source, err := streamed.Next()
			if err != nil {
				t.Fatalf("as a stream it is broken: %v", err)
			}
			whole, part := text[item.Start:item.End], source.Text[next.Start:next.End]
			if !bytes.Equal(whole, part) || next.Comment != item.Comment || (next.Step == nil) != (item.Step == nil) {
				t.Fatalf("%q is %q in the stream", whole, part)
			}
		}
		if err := decoder.Decode(new(json.RawMessage)); !errors.Is(err, io.EOF) {
			t.Fatalf("behind the last item encoding/json finds more: %v", err)
		}
		if err := drain(streamed); err != nil {
			t.Fatalf("behind the last item the stream finds more: %v", err)
		}
	})
}

func FuzzCheck(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		script, err := dsl.ReadJSON("s", bytes.NewReader(text))
		if err != nil {
			return
		}
		found := dsl.Check(script, signatures())
		for i, finding := range found {
			if i > 0 && finding.Span.Start < found[i-1].Span.Start {
				t.Fatal("findings are not in the order of their places")
			}
			if finding.Step < 0 || finding.Step >= len(script.Steps()) || finding.Message == "" {
				t.Fatalf("%+v", finding)
			}
			inside(t, finding)
		}
	})
}
