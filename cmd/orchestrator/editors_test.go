package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"provingground/dsl"
)

// rule is one rule of a TextMate grammar.
type rule struct {
	Name, Match, Begin, End, Include string
	Captures                         map[string]struct{ Name string }
	Patterns                         []rule
}

func editorFile(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "editors", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestTextMateGrammar: the grammar is complete in itself, its expressions can be read, and its words are those of the language.
func TestTextMateGrammar(t *testing.T) {
	var grammar struct {
		Name, ScopeName string
		FileTypes       []string
		Patterns        []rule
		Repository      map[string]rule
	}
	decoder := json.NewDecoder(strings.NewReader(string(editorFile(t, "provingground.tmLanguage.json"))))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&grammar); err != nil {
		t.Fatal(err)
	}
	included := map[string]bool{}
	var expressions []string
	words := map[string][]string{} // by scope
	var walk func(rules []rule)
	walk = func(rules []rule) {
		for _, r := range rules {
			if name, ok := strings.CutPrefix(r.Include, "#"); ok {
				included[name] = true
				if _, ok := grammar.Repository[name]; !ok {
					t.Errorf("%s is included, and not there", r.Include)
				}
			}
			for _, e := range []string{r.Match, r.Begin, r.End} {
				if e != "" {
					expressions = append(expressions, e)
				}
			}
			words[r.Name] = append(words[r.Name], alternatives(r.Match)...)
			walk(r.Patterns)
		}
	}
	walk(grammar.Patterns)
	for name, r := range grammar.Repository {
		if !included[name] {
			t.Errorf("nothing includes %s", name)
		}
		walk([]rule{r})
	}
	// Go knows no look-around. Each one of the grammar's stands at an end of its expression, and is an expression of its own.
	around := regexp.MustCompile(`\(\?(?:<!|!|=)((?:[^()\\\[]|\\.|\[[^\]]*\]|\((?:[^()\\]|\\.)*\)|\(\?!=\))*)\)`)
	for _, e := range expressions {
		plain := e
		for range 3 {
			for _, m := range around.FindAllStringSubmatch(plain, -1) {
				if _, err := regexp.Compile(around.ReplaceAllString(m[1], "")); err != nil {
					t.Errorf("%s: %v", m[0], err)
				}
			}
			plain = around.ReplaceAllString(plain, "")
		}
		if _, err := regexp.Compile(plain); err != nil {
			t.Errorf("%s without its look-around: %v", e, err)
		}
	}
	keywords := slices.Concat(words["keyword.control.provingground"], words["keyword.operator.word.provingground"], words["constant.language.provingground"])
	sameWords(t, "keywords", keywords, dsl.Keywords())
	sameWords(t, "functions", words["support.function.provingground"], append(dsl.Functions(), "log"))
	var units []string
	for _, r := range grammar.Repository["number"].Patterns {
		if m := regexp.MustCompile(`\(([%/a-z|]+)\)`).FindStringSubmatch(r.Match); m != nil {
			units = append(units, strings.Split(m[1], "|")...)
		}
	}
	sameWords(t, "units", units, dsl.Units())
}

// alternatives returns the words of an expression that is a choice of them.
func alternatives(expression string) []string {
	m := regexp.MustCompile(`\(\?:([a-z|]+)\)`).FindStringSubmatch(expression)
	if m == nil {
		return nil
	}
	return strings.Split(m[1], "|")
}

func sameWords(t *testing.T, what string, got, want []string) {
	t.Helper()
	if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(got))); diff != "" {
		t.Errorf("%s (-language +editor):\n%s", what, diff)
	}
}

// TestVimSyntax: the syntax file has the words of the language.
func TestVimSyntax(t *testing.T) {
	text := string(editorFile(t, "provingground.vim"))
	group := func(name string) (words []string) {
		t.Helper()
		for line := range strings.Lines(text) {
			if m := regexp.MustCompile(`^syntax keyword ` + name + ` +(.*)`).FindStringSubmatch(line); m != nil {
				words = append(words, strings.Fields(m[1])...)
			}
			if m := regexp.MustCompile(`^syntax match +` + name + ` +"[^(]*\\\(([^)]*)\\\)`).FindStringSubmatch(line); m != nil {
				words = append(words, strings.Split(m[1], `\|`)...)
			}
		}
		return words
	}
	sameWords(t, "keywords", slices.Concat(group("pgStatement"), group("pgWord"), group("pgConstant")), dsl.Keywords())
	sameWords(t, "functions", group("pgFunction"), append(dsl.Functions(), "log"))
	sameWords(t, "units", group("pgUnit"), dsl.Units())
}

// TestEditorExtension: what the extension for VS Code names is there.
func TestEditorExtension(t *testing.T) {
	var extension struct {
		Contributes struct {
			Languages []struct {
				ID, Configuration string
				Extensions        []string
			}
			Grammars []struct{ Language, ScopeName, Path string }
		}
	}
	if err := json.Unmarshal(editorFile(t, "package.json"), &extension); err != nil {
		t.Fatal(err)
	}
	c := extension.Contributes
	if len(c.Languages) != 1 || len(c.Grammars) != 1 || c.Grammars[0].Language != c.Languages[0].ID || c.Grammars[0].ScopeName != "source.provingground" ||
		!slices.Equal(c.Languages[0].Extensions, []string{".script"}) {
		t.Errorf("the extension contributes %+v", c)
	}
	for _, name := range []string{c.Languages[0].Configuration, c.Grammars[0].Path} {
		if text := editorFile(t, name); !json.Valid(text) {
			t.Errorf("%s is no JSON", name)
		}
	}
}
