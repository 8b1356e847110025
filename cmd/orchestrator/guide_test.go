package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"provingground/dsl"
	"provingground/orchestrator"
)

// fenced is a block of code on a page.
type fenced struct {
	line int    // of its fence
	kind string // script, sh, text …
	file string // what stands behind the kind: the name of a script
	text string
	next bool // only empty lines lie between it and the block before
}

// fences returns the fenced blocks of a page of Markdown.
func fences(text string) []fenced {
	var blocks []fenced
	inside, next := false, false
	for number, line := range strings.Split(text, "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && inside:
			inside, next = false, true
		case fence:
			kind, file, _ := strings.Cut(info, " ")
			blocks = append(blocks, fenced{line: number + 1, kind: kind, file: file, next: next})
			inside = true
		case inside:
			blocks[len(blocks)-1].text += line + "\n"
		case line != "":
			next = false
		}
	}
	return blocks
}

// The scripts of the guide that do not pass, and the exit codes of their rehearsals; those with 2 are wrong.
func guideCodes() map[string]int {
	return map[string]int{"wrong.script": 2, "failing.script": 4, "unproven.script": 6}
}

// TestGuide: every script in the guide to the language checks without findings, is in its canonical layout, and does in a rehearsal what the guide
// says; every command in it prints what the guide shows. Scripts without a name go on from start.script.
func TestGuide(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "language.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := fences(string(page))
	shell := newGuideShell(t)
	begin := ""
	for _, b := range blocks {
		if b.kind != "script" {
			continue
		}
		if b.file != "" {
			shell.write(t, b.file, b.text)
		}
		if b.file == "start.script" {
			begin = b.text
		}
	}
	if begin == "" {
		t.Fatal("the guide has no start.script")
	}
	scripts, outputs := 0, 0
	for i, b := range blocks {
		name := fmt.Sprintf("line %d", b.line)
		switch b.kind {
		case "script":
			scripts++
			t.Run(name, func(t *testing.T) { shell.script(t, b, begin) })
		case "sh":
			want := ""
			if i+1 < len(blocks) && blocks[i+1].kind == "text" && blocks[i+1].next {
				want = blocks[i+1].text
				outputs++
			}
			t.Run(name, func(t *testing.T) { shell.command(t, b, want) })
		case "text":
			if i == 0 || blocks[i-1].kind != "sh" || !b.next {
				t.Errorf("%s: an output without its command", name)
			}
		default:
			t.Errorf("%s: a block of the kind %q", name, b.kind)
		}
	}
	if scripts < 20 || outputs < 6 {
		t.Errorf("the guide has %d scripts and %d outputs", scripts, outputs)
	}
}

// guideShell runs what stands in the guide, in a directory with the guide's scripts and a configuration.
type guideShell struct{ dir, path string }

func newGuideShell(t *testing.T) guideShell {
	t.Helper()
	s := guideShell{dir: t.TempDir(), path: t.TempDir()}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(executable, filepath.Join(s.path, "orchestrator")); err != nil {
		t.Fatal(err)
	}
	s.write(t, "config.json", `{"key":"XbkvqGEkEJTRx+YPnyrW8Jq5tJQQr3qSY3S1lBlOzZc=","onlineURL":"http://127.0.0.1:1/v1/online","slotDurationMs":180000,`+
		`"genesisTimestamp":"2026-01-01T00:00:00Z"}`)
	s.write(t, "start.out", `{"time":"2026-01-01T00:00:00Z","step":3,"name":"receipt","multi":true,"value":{"address":"10.0.0.1:3086","handle":"h"},"id":"pay","action":"payments"}`+"\n")
	return s
}

func (s guideShell) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs a command line of the shell, and returns what it prints, on both ways, and its exit code.
func (s guideShell) run(t *testing.T, line string) (string, int) {
	t.Helper()
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), playEnv+"=orchestrator", "PATH="+s.path+":"+os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	return string(out), exitCode(t, err)
}

// script checks and rehearses a script of the guide.
func (s guideShell) script(t *testing.T, b fenced, begin string) {
	t.Helper()
	want := guideCodes()[b.file]
	tree, found := dsl.Parse(b.file, []byte(b.text))
	if found.Errors() {
		t.Fatal(found)
	}
	if want != 2 {
		if diff := cmp.Diff(string(tree.Format()), b.text); diff != "" {
			t.Errorf("it is not in its canonical layout (-canonical +guide):\n%s", diff)
		}
	}
	file := b.file
	if file == "" {
		file = fmt.Sprintf("line-%d.script", b.line)
		s.write(t, file, continued(begin, b.text))
	}
	out, code := s.run(t, "orchestrator check "+file)
	if (code != 0 || out != "") != (want == 2) {
		t.Errorf("check: exit code %d\n%s", code, out)
	}
	if want == 2 || strings.Contains(b.text, "use \"") { // a rehearsal reads no file of another run
		return
	}
	if out, code = s.run(t, "orchestrator rehearse -seed 42 < "+file+" 2>&1 >/dev/null"); code != want {
		t.Errorf("rehearse: exit code %d, want %d\n%s", code, want, out)
	}
}

// continued puts a short example behind the lines that it goes on from, without those whose names it makes itself.
func continued(begin, text string) string {
	var script strings.Builder
	for line := range strings.Lines(begin) {
		if name, _, ok := strings.Cut(line, " ="); !ok || !regexp.MustCompile(`(?m)^\s*`+name+` =`).MatchString(text) {
			script.WriteString(line)
		}
	}
	return script.String() + text
}

// command runs a block of commands. Its output is what the guide shows, where … stands for anything, on a line of its own for any lines.
func (s guideShell) command(t *testing.T, b fenced, want string) {
	t.Helper()
	var all bytes.Buffer
	code := 0
	for line := range strings.Lines(b.text) {
		out, exited := s.run(t, line)
		all.WriteString(out)
		code = max(code, exited)
	}
	wantCode := 0
	for file, c := range guideCodes() {
		if strings.Contains(b.text, " "+file) {
			wantCode = c
		}
	}
	if code != wantCode {
		t.Errorf("exit code %d, want %d", code, wantCode)
	}
	if want != "" && !shownBy(want, all.String()) {
		t.Errorf("it prints something else (-guide +command):\n%s", cmp.Diff(want, all.String()))
	}
}

// shownBy reports whether a page shows an output.
func shownBy(page, output string) bool {
	pattern := regexp.QuoteMeta(page)
	pattern = regexp.MustCompile(`(?m)^…\n`).ReplaceAllString(pattern, `(?:.*\n)*?`)
	pattern = strings.ReplaceAll(pattern, "…", ".*")
	return regexp.MustCompile(`\A` + pattern + `\z`).MatchString(output)
}

// TestShownBy: an output that differs is not passed over.
func TestShownBy(t *testing.T) {
	for _, tt := range []struct {
		page, output string
		want         bool
	}{
		{"", "", true}, {"", "a\n", false}, {"a\n", "a\n", true}, {"a\n", "b\n", false}, {"a\n", "a\nb\n", false}, {"…\nb\n", "a\na\nb\n", true}, {"…\nb\n", "b\n", true},
		{"a\n…\n", "a\nb\nc\n", true}, {"a\n…\nd\n", "a\nb\nc\n", false}, {"in … s\n", "in 4 s\n", true}, {"in … s\n", "in 4\ns\n", false}, {"a.c\n", "abc\n", false},
	} {
		if got := shownBy(tt.page, tt.output); got != tt.want {
			t.Errorf("%q shows %q: %v", tt.page, tt.output, got)
		}
	}
}

// TestExplainedExamplesRun rehearses every example that explain shows, but for that of use, as a rehearsal reads no file of another
// run. What there is not yet has none.
func TestExplainedExamplesRun(t *testing.T) {
	stderr, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	seen := map[string]bool{}
	for _, name := range orchestrator.Explained() {
		var text strings.Builder
		if err := orchestrator.Explain(&text, name); err != nil {
			t.Fatal(err)
		}
		_, example, found := strings.Cut(text.String(), "\nexample\n")
		if !found {
			_, example, _ = strings.Cut(text.String(), "\nin the script language\n")
			example, _, _ = strings.Cut(example, "\n\n")
		}
		example = strings.ReplaceAll("\n"+example, "\n  ", "\n")
		if strings.TrimSpace(example) == "" || seen[example] || strings.Contains(example, "use \"") {
			continue
		}
		seen[example] = true
		p := program{args: []string{"rehearse", "-seed", "1"}, stdin: strings.NewReader(example), stdout: io.Discard, stderr: stderr, getenv: os.LookupEnv}
		if code := p.run(t.Context()); code != orchestrator.CodeOK {
			t.Errorf("explain %s: the rehearsal of its example ends with %d:\n%s", name, code, example)
		}
	}
	if len(seen) < 35 {
		t.Errorf("only %d examples", len(seen))
	}
}
