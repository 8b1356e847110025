package dsl_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"provingground/dsl"
)

// lowerOptions are those of a machine where one environment variable is set.
func lowerOptions() dsl.LowerOptions {
	return dsl.LowerOptions{
		Signatures: signatures(), Metrics: metrics(),
		Env: func(name string) (string, bool) {
			return map[string]string{"RECEIVER": "B62secret"}[name], name == "RECEIVER"
		},
	}
}

// lower reads a script that must be right.
func lower(tb testing.TB, text string, set ...dsl.Setting) *dsl.Script {
	tb.Helper()
	o := lowerOptions()
	o.Settings = set
	script, found, err := dsl.Read("s", strings.NewReader(text), o)
	if err != nil || len(found) > 0 {
		tb.Fatalf("%s\n%v %v", text, found, err)
	}
	return script
}

// lowered returns what is found wrong with a script.
func lowered(tb testing.TB, text string, set ...dsl.Setting) []string {
	tb.Helper()
	o := lowerOptions()
	o.Settings = set
	_, found, err := dsl.Read("s", strings.NewReader(text), o)
	if err != nil {
		tb.Fatal(err)
	}
	var messages []string
	for _, f := range found {
		messages = append(messages, f.Error())
	}
	return messages
}

// shownArg writes an argument as a reader of a test understands it.
func shownArg(a dsl.Arg) string {
	switch {
	case a.Formula != nil:
		return a.Name + ": " + shownFormula(a.Formula)
	case a.Ref == nil:
		secret := ""
		if a.Value.Secret {
			secret = " (secret)"
		}
		return fmt.Sprintf("%s: %s%s", a.Name, a.Value.JSON, secret)
	}
	text := a.Name + ": " + shownRef(a.Ref)
	if a.Ref.OnEmpty != nil {
		text += fmt.Sprintf(" ?? %s", a.Ref.OnEmpty.JSON)
	}
	return text
}

func shownRef(r *dsl.Ref) string {
	switch {
	case r.StepID != "":
		return fmt.Sprintf("%s/%s.%s", r.File, r.StepID, r.Name)
	case r.File != "":
		return fmt.Sprintf("%s/%d.%s", r.File, r.Step, r.Name)
	default:
		return fmt.Sprintf("%d.%s", r.Step, r.Name)
	}
}

func shownFormula(f *dsl.Formula) string {
	switch f.Op {
	case dsl.OpName:
		return shownRef(f.Ref)
	case dsl.OpMember:
		return strings.TrimSpace(f.Text + f.Scope.String() + " " + string(f.Value.Unit))
	case "constant":
		switch {
		case f.Value.Number != nil:
			return strings.TrimSpace(f.Value.Number.RatString() + " " + string(f.Value.Unit))
		case f.Value.JSON == nil:
			return "unknown"
		default:
			return string(f.Value.JSON)
		}
	default: // it has arguments
	}
	args := make([]string, len(f.Args))
	for i, arg := range f.Args {
		args[i] = shownFormula(arg)
	}
	if f.Op == dsl.OpCall {
		return f.Text + "(" + strings.Join(args, ", ") + ")"
	}
	return "(" + strings.Join(append([]string{string(f.Op)}, args...), " ") + ")"
}

// shownItems writes items, each on a line, as a reader of a test understands them.
func shownItems(items []dsl.Item, indent string) string {
	var out strings.Builder
	for _, item := range items {
		fmt.Fprintf(&out, "%s%d ", indent, item.Number)
		switch {
		case item.Step != nil:
			s := item.Step
			fmt.Fprintf(&out, "step %d", s.Number)
			if s.ID != "" {
				fmt.Fprintf(&out, " %s", s.ID)
			}
			args := make([]string, len(s.Args))
			for i, a := range s.Args {
				args[i] = shownArg(a)
			}
			fmt.Fprintf(&out, ": %s(%s)", s.Action, strings.Join(args, ", "))
			if s.Retry != nil {
				fmt.Fprintf(&out, " retry %d every %s", s.Retry.Attempts, shownStretch(&s.Retry.Every))
			}
			if s.Within != nil {
				fmt.Fprintf(&out, " within %s", shownStretch(s.Within))
			}
			out.WriteString("\n" + shownItems(item.Body, indent+"  "))
		case item.Parallel != nil:
			out.WriteString("parallel\n")
			for _, branch := range item.Parallel {
				out.WriteString(indent + "  branch\n" + shownItems(branch, indent+"    "))
			}
		case item.Deadline != nil:
			fmt.Fprintf(&out, "within %s\n%s", shownStretch(&item.Deadline.Within), shownItems(item.Deadline.Items, indent+"  "))
		case item.Claim != nil:
			word := "expect"
			if item.Claim.Watch {
				word = "watch"
			}
			fmt.Fprintf(&out, "%s %s", word, shownFormula(item.Claim.Condition))
			if item.Claim.Within != nil {
				fmt.Fprintf(&out, " within %s", shownStretch(item.Claim.Within))
			}
			if item.Claim.After != nil {
				fmt.Fprintf(&out, " after %s", shownStretch(item.Claim.After))
			}
			out.WriteByte('\n')
		default:
			fmt.Fprintf(&out, "comment %q\n", item.Comment)
		}
	}
	return out.String()
}

func shownStretch(s *dsl.Stretch) string {
	if s.Slots != nil {
		return s.Slots.RatString() + " slots"
	}
	return s.Time.String()
}

// wrongScripts returns the scripts of the file of wrong ones.
func wrongScripts(tb testing.TB) []string {
	tb.Helper()
	var scripts []string
	for _, text := range goldenCases(tb) {
		_, rest, _ := strings.Cut(text, "\n")
		script, _, _ := strings.Cut(rest, "\n---")
		scripts = append(scripts, script)
	}
	return scripts
}

func goldenFile() string { return filepath.Join("testdata", "wrong", "messages.golden") }

func goldenCases(tb testing.TB) []string {
	tb.Helper()
	golden, err := os.ReadFile(goldenFile())
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Split("\n"+strings.TrimSpace(string(golden)), "\n=== ")[1:]
}

// TestWrongScripts compares what is said about wrong scripts, to the letter. The file holds them: a line === NAME, the script, a line ---, and
// what is said.
func TestWrongScripts(t *testing.T) {
	var updated bytes.Buffer
	cases := goldenCases(t)
	if len(cases) < 60 {
		t.Fatalf("only %d scripts", len(cases))
	}
	for _, text := range cases {
		name, rest, _ := strings.Cut(text, "\n")
		script, want, _ := strings.Cut(rest+"\n", "\n---\n")
		t.Run(name, func(t *testing.T) {
			o := lowerOptions()
			for line := range strings.Lines(script) { // a remark -set NAME=VALUE is a setting
				if setting, ok := strings.CutPrefix(strings.TrimSpace(line), "# -set "); ok {
					name, value, _ := strings.Cut(setting, "=")
					o.Settings = append(o.Settings, dsl.Setting{Name: name, Value: value})
				}
			}
			_, found, err := dsl.Read("s", strings.NewReader(script+"\n"), o)
			if err != nil {
				t.Fatal(err)
			}
			var said bytes.Buffer
			if err := found.Write(&said, dsl.AsText); err != nil {
				t.Fatal(err)
			}
			got := strings.TrimSuffix(said.String(), "\n")
			fmt.Fprintf(&updated, "=== %s\n%s\n---\n%s\n", name, script, got)
			if got == "" {
				t.Error("nothing is wrong with it")
			}
			if diff := cmp.Diff(strings.TrimSuffix(want, "\n"), got); diff != "" && !*update {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	if *update {
		if err := os.WriteFile(goldenFile(), updated.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
