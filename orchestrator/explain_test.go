package orchestrator_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"provingground/dsl"
	"provingground/orchestrator"
)

// TestExplainExamples: the example of every name is a script without anything wrong, and no line is wider than a terminal.
func TestExplainExamples(t *testing.T) {
	t.Chdir(t.TempDir())
	earlier := `{"time":"2026-01-01T00:00:00Z","step":2,"name":"receipt","multi":true,"value":{"address":"10.0.0.1:3086","handle":"h"},"id":"pay","action":"payments"}` + "\n"
	if err := os.WriteFile("start.out", []byte(earlier), 0o600); err != nil { // which the example of use refers to
		t.Fatal(err)
	}
	names := append(orchestrator.Explained(), "on failure", "within 10m", "??", "operators", "/min", "%", "..")
	for _, name := range names {
		text := explained(t, name)
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 100 {
				t.Errorf("explain %s: a line of %d characters: %s", name, n, line)
			}
		}
		example := section(text, "in the script language") + section(text, "example")
		if example == "" {
			if !strings.Contains(text, "Not yet") {
				t.Errorf("explain %s has no example", name)
			}
			continue
		}
		if tree, _ := dsl.Parse(name, []byte(example)); string(tree.Format()) != example {
			t.Errorf("explain %s: the example is not in its canonical layout, which is\n%s", name, tree.Format())
		}
		if found := wrong(t, name, example); len(found) > 0 {
			t.Errorf("explain %s: %v\n%s", name, found, example)
		}
	}
}

// TestExplainBothSpellings: the call and its step in JSON have every parameter that the action needs, and the parameters are listed with the
// names of both spellings.
func TestExplainBothSpellings(t *testing.T) {
	for _, a := range orchestrator.Actions() {
		text := explained(t, a.Action)
		call, inJSON := section(text, "in the script language"), section(text, "the last step in JSON")
		if dsl.HoldsBlock(a.Action) {
			mustSay(t, text, "no spelling in the JSON stream")
		} else if !strings.HasPrefix(inJSON, `{"action":"`+a.Action+`"`) {
			t.Errorf("explain %s: the last step is %s", a.Action, inJSON)
		}
		params := section(text, "parameters")
		for _, p := range a.Params {
			if p.Required && (!strings.Contains(call, p.ScriptName()+": ") || !strings.Contains(inJSON, `"`+p.Name+`":`)) {
				t.Errorf("explain %s: the example lacks %s", a.Action, p.Name)
			}
			if a.Action == "join" { // whose groups are all alike
				continue
			}
			if !p.Positional && !strings.Contains(params, "\n"+p.ScriptName()+": ") || !strings.Contains(params, p.Name) {
				t.Errorf("explain %s does not list %s", a.Action, p.Name)
			}
		}
		for _, o := range a.Outputs {
			if !strings.Contains(text, "."+dsl.Param{Name: o.Name}.ScriptName()+"\n") {
				t.Errorf("explain %s does not list the output %s", a.Action, o.Name)
			}
		}
	}
}

// TestExplainLists: the list has every action and every metric, and says which metrics are not there yet.
func TestExplainLists(t *testing.T) {
	all := explained(t, "")
	for _, a := range orchestrator.Actions() {
		if !strings.Contains(all, "\n  "+a.Action+" ") {
			t.Errorf("the list lacks %s", a.Action)
		}
	}
	for _, m := range orchestrator.Metrics() {
		_, line, ok := strings.Cut(all, "\n  "+m.Name+" ")
		line, _, _ = strings.Cut(line, "\n")
		if m.Scoped {
			_, line, ok = strings.Cut(all, "\n  "+m.Name+"(round: N, kind: payments) ")
		}
		if first, _, _ := strings.Cut(m.Doc, " "); !ok || !strings.HasPrefix(strings.TrimSpace(line), first) {
			t.Errorf("the list has %q for %s", line, m.Name)
		}
	}
}

func TestExplainUnknown(t *testing.T) {
	for _, name := range []string{"teleport", "paymnts", "x y"} {
		var text strings.Builder
		if err := orchestrator.Explain(&text, name); !errors.Is(err, orchestrator.ErrUnknownAction) || text.Len() > 0 {
			t.Errorf("explain %s: %v, %q", name, err, &text)
		}
	}
}

func explained(t *testing.T, name string) string {
	t.Helper()
	var text strings.Builder
	if err := orchestrator.Explain(&text, name); err != nil {
		t.Fatalf("explain %s: %v", name, err)
	}
	return text.String()
}

// section returns the indented lines under a heading, without the indent of the first.
func section(text, heading string) string {
	_, text, ok := strings.Cut(text, "\n"+heading+"\n")
	if !ok {
		return ""
	}
	var lines strings.Builder
	for line := range strings.Lines(text) {
		rest, indented := strings.CutPrefix(line, "  ") // a line without is returned as it is
		if !indented && (heading != "example" || line != "\n") {
			break
		}
		lines.WriteString(rest)
	}
	if heading == "parameters" { // so that each begins behind a line's end
		return "\n" + lines.String()
	}
	return lines.String()
}

// wrong returns everything that checking finds about a script.
func wrong(t *testing.T, name, script string) dsl.Findings {
	t.Helper()
	read, found, err := dsl.Read(name, strings.NewReader(script), dsl.LowerOptions{Signatures: orchestrator.Signatures(), Metrics: orchestrator.Metrics()})
	if err != nil {
		t.Fatal(err)
	}
	if found.Errors() {
		return found
	}
	_, more := orchestrator.Compile(read, orchestrator.CompileOptions{})
	return append(found, more...)
}
