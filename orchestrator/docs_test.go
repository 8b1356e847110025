package orchestrator_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDefectsNameTheirTests holds docs/defects.md against the tests that there are: each one that it names exists, and every defect has a row.
func TestDefectsNameTheirTests(t *testing.T) {
	text, err := os.ReadFile("../docs/defects.md")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	for _, pattern := range []string{"*_test.go", "*/*_test.go", "../cmd/*/*_test.go", "../dsl/*_test.go", "../uptime/*_test.go", "../internal/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(source)
		}
	}
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)(?:/([^`…]+))?").FindAllStringSubmatch(string(text), -1)
	if len(named) < 40 {
		t.Fatalf("only %d tests are named", len(named))
	}
	for _, m := range named {
		if !strings.Contains(tests.String(), "func "+m[1]+"(") {
			t.Errorf("docs/defects.md names %s, which does not exist", m[1])
		}
		if m[2] != "" && !strings.Contains(tests.String(), `"`+m[2]) {
			t.Errorf("docs/defects.md names %s/%s, which does not exist", m[1], m[2])
		}
	}
	for number := 1; number <= 56; number++ {
		if !strings.Contains(string(text), fmt.Sprintf("\n| D%d |", number)) {
			t.Errorf("docs/defects.md has no row for D%d", number)
		}
	}
}
