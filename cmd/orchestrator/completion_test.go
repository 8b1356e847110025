package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// completion returns what the command prints for a shell.
func completion(t *testing.T, shell string) string {
	t.Helper()
	var out strings.Builder
	p := program{args: []string{"completion", shell}, stdout: &out, stderr: os.Stderr, getenv: os.LookupEnv}
	if code := p.run(t.Context()); code != 0 {
		t.Fatalf("completion %s: exit code %d", shell, code)
	}
	return out.String()
}

// TestBashCompletion asks bash itself what it would offer for a line, in a directory with files of all kinds.
func TestBashCompletion(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "completion.bash")
	if err := os.WriteFile(script, []byte(completion(t, "bash")), 0o600); err != nil {
		t.Fatal(err)
	}
	work := filepath.Join(dir, "work")
	if err := os.MkdirAll(filepath.Join(work, "more"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"config.json", "first.script", "my run.out", "run-1.record", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(work, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("bash", "-n", script).CombinedOutput(); err != nil {
		t.Fatalf("bash does not read it: %v\n%s", err, out)
	}
	tests := []struct {
		line []string
		want []string
	}{
		{[]string{"che"}, []string{"check"}},
		{[]string{"re"}, []string{"resume", "rehearse"}},
		{[]string{"c"}, []string{"check", "convert", "completion", "config.json"}},
		{[]string{"-no"}, []string{"-no-progress"}},
		{[]string{"config.json", "-str"}, []string{"-stream"}},
		{[]string{"run", ""}, []string{"config.json", "more"}},
		{[]string{"check", ""}, []string{"first.script", "more"}},
		{[]string{"check", "-format", ""}, []string{"text", "json", "github"}},
		{[]string{"plan", "-format", ""}, []string{"text", "json"}},
		{[]string{"convert", "-to", ""}, []string{"json", "script"}},
		{[]string{"explain", "slots-"}, []string{"slots-won", "slots-covered-check"}},
		{[]string{"explain", "nodes.reached"}, []string{"nodes.reached", "nodes.reached-share"}},
		{[]string{"explain", "final"}, []string{"finally"}},
		{[]string{"stop", ""}, []string{"my run.out", "run-1.record", "more"}},
		{[]string{"stop", "run-1.record", ""}, []string{"config.json", "more"}},
		{[]string{"stop", "-timeout", "5m", "-concurrent", "run-1.record", ""}, []string{"config.json", "more"}},
		{[]string{"stop", "-timeout", ""}, nil},
		{[]string{"run", "-record", "n"}, []string{"notes.txt"}},
		{[]string{"completion", ""}, []string{"bash", "zsh", "fish"}},
		{[]string{"help", "exp"}, []string{"explain"}},
		{[]string{"version", ""}, nil},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.line, " "), func(t *testing.T) {
			const ask = `source "$1"; shift; COMP_WORDS=(orchestrator "$@"); COMP_CWORD=$#; _orchestrator; ((${#COMPREPLY[@]})) && printf '%s\n' "${COMPREPLY[@]}"; complete -p orchestrator`
			cmd := exec.Command("bash", append([]string{"--norc", "-c", ask, "bash", script}, tt.line...)...)
			cmd.Dir = work
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			if last := lines[len(lines)-1]; last != "complete -o filenames -F _orchestrator orchestrator" {
				t.Errorf("bash completes orchestrator with %q", last)
			}
			if diff := cmp.Diff(tt.want, append([]string(nil), lines[:len(lines)-1]...)); diff != "" {
				t.Errorf("offered (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCompletionOfEverything: every shell is offered every command and every flag of each, with the values that it may have. There is no zsh and no
// fish on the machines where tests run, so of their scripts this and the balance of quotes is all that is checked.
func TestCompletionOfEverything(t *testing.T) {
	all, err := completables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(commands())+1 {
		t.Errorf("%d commands, want all and help", len(all))
	}
	zsh, fish, bash := completion(t, "zsh"), completion(t, "fish"), completion(t, "bash")
	flags := 0
	for _, c := range all {
		for shell, wanted := range map[string][2]string{
			"zsh": {zsh, "    '" + c.name + ":"}, "fish": {fish, " -a " + c.name + " -d "}, "bash": {bash, "\n    " + c.name + ")\n"},
		} {
			if !strings.Contains(wanted[0], wanted[1]) {
				t.Errorf("%s is not offered %s", shell, c.name)
			}
		}
		for _, f := range c.flags {
			flags++
			if f.help == "" {
				t.Errorf("%s -%s has no help", c.name, f.name)
			}
			if !strings.Contains(zsh, "'-"+f.name+"[") || !strings.Contains(fish, " -o "+f.name+" ") || !strings.Contains(bash, "-"+f.name) {
				t.Errorf("not every shell is offered -%s of %s", f.name, c.name)
			}
		}
	}
	if flags < 25 {
		t.Errorf("only %d flags are known", flags)
	}
	for shell, script := range map[string]string{"zsh": zsh, "fish": fish} {
		for i, line := range strings.Split(script, "\n") {
			plain := strings.NewReplacer(`'\''`, "", `\'`, "").Replace(line)
			if !strings.HasPrefix(line, "#") && strings.Count(plain, "'")%2 != 0 {
				t.Errorf("%s, line %d: a quote without its partner: %s", shell, i+1, line)
			}
		}
	}
	// What bash reads of zsh's language: words in single quotes, functions, case.
	body, _, _ := strings.Cut(zsh, "if [[ $funcstack[1]")
	body = strings.ReplaceAll(body, "(( ${commands[(I)$words[2]:*]} ))", "true")
	cmd := exec.Command("bash", "-n")
	cmd.Stdin = strings.NewReader(body)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the script for zsh: %v\n%s", err, out)
	}
}

// TestFlagsOf reads the help of a flag set.
func TestFlagsOf(t *testing.T) {
	got := flagsOf("orchestrator x\nwhat it does\n  -d\tshow what would change\n  -format string\n    \thow to show: text, json or github (default \"text\")\n" +
		"  -quiet\n    \tsay less\n  -n int\n    \thow many\n")
	want := []completableFlag{
		{name: "d", help: "show what would change"},
		{name: "format", value: "string", help: `how to show: text, json or github (default "text")`, words: []string{"text", "json", "github"}},
		{name: "quiet", help: "say less"}, {name: "n", value: "int", help: "how many"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(completableFlag{})); diff != "" {
		t.Error(diff)
	}
}
