package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"provingground/dsl"
	"provingground/orchestrator"
)

// TestPublishedScripts checks every script that people get from us: the files *.script in scripts, and what is a script among the examples in
// the documentation.
func TestPublishedScripts(t *testing.T) {
	root := filepath.Join("..", "..")
	pages, found := []string{filepath.Join(root, "README.md")}, 0
	for _, dir := range []string{"scripts", "docs"} {
		if err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) { // the folder may still be empty, and then a clone lacks it
				return nil
			}
			switch filepath.Ext(path) {
			case ".script":
				text, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				found++
				t.Log(path)
				if wrong := wrongWith(path, text); wrong != "" {
					t.Error(wrong)
				}
			case ".md":
				pages = append(pages, path)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, example := range examples(page, text) {
			found++
			t.Log(example.name)
			if wrong := wrongWith(example.name, example.text); wrong != "" {
				t.Error(wrong)
			}
		}
	}
	t.Logf("%d scripts on %d pages and in files", found, len(pages))
}

// wrongWith returns what check says about a script; "" when that is nothing.
func wrongWith(name string, text []byte) string {
	var shown bytes.Buffer
	p := program{stdout: &shown, stderr: os.Stderr}
	script, found, err := dsl.Read(name, bytes.NewReader(text), p.reading(nil, nil))
	if err != nil {
		return err.Error()
	}
	code, err := p.check(script, found, dsl.AsText)
	if err != nil || code != orchestrator.CodeOK {
		return fmt.Sprintf("%v: exit code %d\n%s", err, code, &shown)
	}
	return shown.String()
}

// example is a block of code on a page.
type example struct {
	name string // page and line
	text []byte
}

// examples returns the blocks of code on a page of Markdown that are scripts: JSON step streams, which begin with a comment or a step.
// Blocks are fenced, or indented by four spaces.
func examples(page string, text []byte) []example {
	var found []example
	var block []byte
	begin, fenced := 0, false
	end := func() {
		if trimmed := bytes.TrimSpace(block); bytes.HasPrefix(trimmed, []byte(`{"action"`)) || bytes.HasPrefix(trimmed, []byte(`"`)) {
			found = append(found, example{fmt.Sprintf("%s, line %d", page, begin), block})
		}
		block = nil
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			end()
			fenced = !fenced
		case fenced || strings.HasPrefix(line, "    ") || len(block) > 0 && strings.TrimSpace(line) == "":
			if len(block) == 0 {
				begin = number
			}
			block = append(block, line+"\n"...)
		default:
			end()
		}
	}
	end()
	return found
}

// TestExamples shows that a script on a page is found, and a wrong one is not passed over.
func TestExamples(t *testing.T) {
	const page = "Text.\n\n    {\"action\":\"wait\",\n     \"params\":{\"min\":1}}\n\n    \"a comment\"\n\nMore `{\"action\"}` text.\n\n" +
		"```json\n{\"action\":\"wiat\"}\n```\n```\nbin/orchestrator config.json < a.script\n```\n    {\"time\":1}\n"
	found := examples("page.md", []byte(page))
	if len(found) != 2 {
		t.Fatalf("%d scripts on the page, want 2: %q", len(found), found)
	}
	if wrong := wrongWith(found[0].name, found[0].text); wrong != "" {
		t.Errorf("the first is right: %s", wrong)
	}
	if wrong := wrongWith(found[1].name, found[1].text); !strings.Contains(wrong, "page.md, line 11:1:11: step 0: unknown action \"wiat\"") {
		t.Errorf("the second is wrong: %q", wrong)
	}
}
