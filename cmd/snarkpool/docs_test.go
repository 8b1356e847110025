//go:build linux

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// document returns one of the documents.
func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestPlacementDocument: the plans in docs/placement.md are those that the program makes.
func TestPlacementDocument(t *testing.T) {
	t.Parallel()
	text, fixtures := document(t, "placement.md"), inventories(t)
	pool, err := os.ReadFile(filepath.Join("testdata", "placement.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, indented(string(pool))) {
		t.Error("docs/placement.md does not show testdata/placement.json")
	}
	for _, args := range []string{
		"plan placement.json -inventory epyc.json -host bm3 -label role=prover", "plan placement.json -inventory xeon-gpus.json", "plan placement.json -inventory laptop.json",
		"plan placement.json -inventory two-core.json -host small -label role=prover",
	} {
		line, err := parse(strings.Fields(strings.NewReplacer("placement.json", filepath.Join("testdata", "placement.json"), "-inventory ", "-inventory "+fixtures+"/").Replace(args)))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := line.verb.run(t.Context(), call{program: program{stdout: &out, stderr: os.Stderr}, options: line.options, arguments: line.arguments}); err != nil {
			t.Fatal(err)
		}
		if want := indented("$ snarkpool " + args + "\n" + out.String()); !strings.Contains(text, want) {
			t.Errorf("docs/placement.md lacks:\n%s", want)
		}
	}
}

// indented is a text as a block of Markdown.
func indented(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			out.WriteString("    ")
		}
		out.WriteString(line)
	}
	return out.String()
}

// TestDocument: docs/snarkpool.md knows each verb and exit code, and no option that does not exist.
func TestDocument(t *testing.T) {
	t.Parallel()
	text := document(t, "snarkpool.md")
	known := make(map[string]bool)
	for _, v := range verbs() {
		if !strings.Contains(text, v.name) {
			t.Errorf("docs/snarkpool.md does not mention %s", v.name)
		}
	}
	for line := range strings.Lines(text) {
		command, found := strings.CutPrefix(strings.TrimRight(line, "\n"), "    snarkpool ")
		if !found {
			continue
		}
		command, _, _ = strings.Cut(command, " #")
		if _, err := parse(strings.Fields(command)); err != nil {
			t.Errorf("docs/snarkpool.md: %q: %v", line, err)
		}
		known[command] = true
	}
	if len(known) < 20 {
		t.Errorf("only %d examples were found", len(known))
	}
	for _, code := range []string{"| 0 |", "| 1 |", "| 3 |", "| 4 |", "| 5 |", "| 6 |", "| 7 |", "| 70 |"} {
		if !strings.Contains(text, code) {
			t.Errorf("docs/snarkpool.md does not list the exit code %s", code)
		}
	}
}
