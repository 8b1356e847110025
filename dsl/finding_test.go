package dsl_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/dsl"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s: run with -update if this is meant (-want +got)\n%s", path, diff)
	}
}

// key has the form of a private key and belongs to nobody.
const key = "EKEnotAKeyJustTheShapeofone123456789abcdefghijkmnopqrs"

// examples are findings of all kinds, as reader and checker make them.
func examples(t *testing.T) dsl.Findings {
	t.Helper()
	long := `{"action":"except","params":{"group":[` + strings.Repeat(`"10.0.0.1:3086",`, 12)
	var found dsl.Findings
	for _, script := range []struct{ name, text string }{
		{"ascii.json", "\"begin\"\n{\"action\":\"wait\",\"params\":{\"mins\":5}}\n"},
		{"tabs.json", "{\"action\":\t\"wait\",\n\t\"params\":\t{\n\t\t\"min\":\t\"5\"\t}}\n"},
		{"characters.json", "{\"action\":\"except\",\"params\":{\"group\":[\"čtvrtý…\",7,\"日本\",null]}}"},
		{"control.json", "{\"action\":\"wait\",\"\\u001b[31m\":1}\n\"\x1b[2J\u202e\u009b\"?"},
		{"wide-begin.json", `{"action":"excapt"` + strings.TrimSuffix(long[18:], ",") + `]}}`},
		{"wide-middle.json", long + `7,` + strings.Repeat(`"10.0.0.2:3086",`, 12) + `"10.0.0.3:3086"]}}`},
		{"wide-end.json", long + `"10.0.0.2:3086"]},"id":1}`},
		{"wide-open.json", long + `7`},
		{"wide-span.json", `{"action":"wait","params":{"min":"` + strings.Repeat("5 ", 100) + `"}}`},
		{"end.json", "{\"action\":\"wait\",\n \"params\":{}\n\n"},
		{"crlf.json", "{\"action\":\r\n\"wait\",\r\n\"params\":{\"min\":[\r\n5\r\n],\"sek\":1}}\r\n"},
		{"crlf-open.json", "{\"action\":\"wait\"}\r\n{\"action\":\"open\r\n}\r\n"},
		{"mark.json", "\ufeff{\"action\":\"wiat\"}"},
		{"keys.json", `{"action":"payments","params":{"tps":1,"durationMin":1,"receiver":"` + key + `","feePayers":"` + key + `","nodes":[],"` + key + `":1}}`},
		{"wide-keys.json", `{"action":"payments","params":{"feePayers":[` + strings.Repeat(`"`+key+`",`, 3) + `7,` + strings.Repeat(`"`+key+`",`, 2) + `"x"],"tps":1,"durationMin":1,"receiver":"B62","nodes":[]}}`},
		{"many-lines.json", strings.Repeat("null\n", 12344) + `{"action":"wiat"}`},
		{"empty.json", ""},
	} {
		read, err := dsl.ReadJSON(script.name, strings.NewReader(script.text))
		var f dsl.Finding
		switch {
		case errors.As(err, &f):
			found = append(found, f)
		case err != nil:
			t.Fatal(err)
		default:
			found = append(found, dsl.Check(read, signatures())...)
		}
	}
	// What others report: warnings, places outside of the text, and a text that is not there.
	source := dsl.NewSource("a, b: 50%.json", []byte("{\"action\":\"wait\"}\nnull"))
	return append(
		found,
		dsl.Finding{Source: source, Span: dsl.Span{Start: 10, End: 16}, Severity: dsl.Warning, Message: "it waits for <nothing>", Hint: "say how long:\n5 & more, 100%"},
		dsl.Finding{Source: source, Span: dsl.Span{Start: 1, End: 99}, Step: -1, Message: "to behind the end"},
		dsl.Finding{Source: source, Span: dsl.Span{Start: 99, End: 5}, Step: -1, Message: "from behind the end"},
		dsl.Finding{Source: source, Span: dsl.Span{Start: -5, End: -3}, Step: -1, Message: "before the beginning"},
		dsl.Finding{Source: dsl.NewSource("large.json", nil), Step: -1, Message: "too large", Hint: "divide it"},
	)
}

// TestFindingsGolden shows findings in each format. Look at the marks in findings.text after an update.
func TestFindingsGolden(t *testing.T) {
	found := examples(t)
	for _, format := range []dsl.Format{dsl.AsText, dsl.AsJSON, dsl.AsGitHub} {
		var out bytes.Buffer
		if err := found.Write(&out, format); err != nil {
			t.Fatal(err)
		}
		golden(t, "findings."+string(format), out.Bytes())
		if strings.Contains(out.String(), key[2:22]) || strings.Contains(out.String(), key[len(key)-10:]) {
			t.Errorf("%s shows a private key", format)
		}
		if strings.ContainsFunc(out.String(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x9b || r == 0x202e }) {
			t.Errorf("%s holds control characters", format)
		}
	}
	for _, f := range found {
		if strings.Contains(fmt.Sprintf("%v %+v", f, error(f)), key[2:22]) {
			t.Error("an error shows a private key")
		}
	}
}

// TestFindingsJSON: each line is an object of its own.
func TestFindingsJSON(t *testing.T) {
	found := examples(t)
	var out bytes.Buffer
	if err := found.Write(&out, dsl.AsJSON); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != len(found) {
		t.Fatalf("%d lines for %d findings", len(lines), len(found))
	}
	for _, line := range lines {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Errorf("%v: %s", err, line)
		}
	}
}

func TestFindingsWriteFailures(t *testing.T) {
	var out bytes.Buffer
	err := dsl.Findings{{Source: dsl.NewSource("s", nil)}}.Write(&out, "yaml")
	if err == nil || err.Error() != `unknown format "yaml" of findings: it is text, json or github` {
		t.Error(err)
	}
	closed, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := (dsl.Findings{}).Write(closed, dsl.AsText); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}

func TestFindingsSort(t *testing.T) {
	at := func(start, end int, message string, severity dsl.Severity) dsl.Finding {
		return dsl.Finding{Span: dsl.Span{Start: start, End: end}, Message: message, Severity: severity}
	}
	found := dsl.Findings{
		at(7, 8, "a", dsl.Error), at(3, 9, "b", dsl.Error), at(3, 4, "d", dsl.Warning), at(3, 4, "c", dsl.Error), at(7, 8, "a", dsl.Error), at(0, 0, "e", dsl.Warning),
	}.Sort()
	var got []string
	for _, f := range found {
		got = append(got, f.Message)
	}
	if diff := cmp.Diff([]string{"e", "c", "d", "b", "a"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if !found.Errors() || (dsl.Findings{at(0, 0, "w", dsl.Warning)}).Errors() || (dsl.Findings{}).Errors() {
		t.Error("Errors tells errors from warnings")
	}
}

// TestPlace counts lines and characters the slow way.
func TestPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		piece := rapid.OneOf(
			rapid.SampledFrom([]string{"\n", "\r\n", "\t", "a", "é", "日", "😀", "\ufeff", "\ufffd", "\xff", "\xe6\x97", "\x80"}),
			rapid.Map(rapid.IntRange(4090, 4100), func(n int) string { return strings.Repeat("x", n) }),
			rapid.Map(rapid.IntRange(1360, 1370), func(n int) string { return strings.Repeat("日", n) }),
		)
		text := strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), "")
		source := dsl.NewSource("s", []byte(text))
		offset := rapid.IntRange(0, len(text)).Draw(t, "offset")
		before := strings.TrimPrefix(text[:offset], "\ufeff")
		if len(before) == offset && offset < 3 && strings.HasPrefix(text, "\ufeff") {
			before = "" // inside of the mark
		}
		line, column := 1+strings.Count(before, "\n"), 1+utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
		if gotLine, gotColumn := source.Place(offset); gotLine != line || gotColumn != column {
			t.Fatalf("got %d:%d, want %d:%d", gotLine, gotColumn, line, column)
		}
	})
}
