package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// BenchmarkStartCheck starts the built command on a small script, as a CI job or an editor does.
func BenchmarkStartCheck(b *testing.B) {
	binary := filepath.Join(b.TempDir(), "orchestrator")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for b.Loop() {
		cmd := exec.Command(binary, "check")
		cmd.Stdin = strings.NewReader(`{"action":"discovery","params":{"limit":3}}`)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
}
