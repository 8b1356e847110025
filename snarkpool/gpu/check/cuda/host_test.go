//go:build nvml && linux && cgo

package cuda_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"provingground/snarkpool/gpu/check"
)

// The checker's source, its kernels run thread after thread on the CPU, passes the agent's check. This proves its arithmetic, its indexes and
// its protocol, and nothing of a GPU. It needs g++, as builds with cgo need gcc.
func TestTheCheckersSourceOnTheHost(t *testing.T) {
	source, err := os.ReadFile("checker.cu")
	if err != nil {
		t.Fatal(err)
	}
	launches := regexp.MustCompile(`(\w+)<<<([^>]+)>>>\(`)
	if found := len(launches.FindAll(source, -1)); found != strings.Count(string(source), "<<<") || found < 5 {
		t.Fatalf("%d launches of kernels were understood", found)
	}
	directory := t.TempDir()
	host, binary := filepath.Join(directory, "checker.cpp"), filepath.Join(directory, "checker")
	if err := os.WriteFile(host, launches.ReplaceAll(source, []byte("launch($1, $2)(")), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-Itestdata/host", "-o", binary, host)
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, shape := range []check.Shape{{Rows: 1, Columns: 1, Inner: 1}, {Rows: 8, Columns: 4, Inner: 8}, {Rows: 61, Columns: 47, Inner: 33},
		{Rows: 65, Columns: 1031, Inner: 129}, {Rows: 9, Columns: 5, Inner: check.MaxInner}} {
		verdict, err := check.Run(t.Context(), check.Options{Command: []string{binary}, Shape: shape, UsedMemory: check.MemoryOfHost})
		if err != nil || !verdict.Passed {
			t.Errorf("%+v: %+v, %v", shape, verdict, err)
		}
	}
	for name, test := range map[string]struct{ lines, want string }{
		"another protocol": {`{"type":"task","protocol":2,"seed":"00","rows":1,"columns":1,"inner":1}`, "this checker speaks protocol 1"},
		"out of bounds":    {`{"type":"task","protocol":1,"seed":"00","rows":9999999,"columns":1,"inner":1}`, "out of bounds"},
		"no task":          {`{"type":"bye"}`, "no task where one was due"},
		"nobody there":     {``, ""},
	} {
		checker := exec.CommandContext(t.Context(), binary)
		checker.Stdin = strings.NewReader(test.lines)
		output, err := checker.Output()
		if err == nil || !strings.Contains(string(output), test.want) || (test.want == "") != (len(output) == 0) {
			t.Errorf("%s: %q, %v", name, output, err)
		}
	}
}
