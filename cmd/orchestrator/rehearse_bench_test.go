package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkRehearse50Rounds rehearses a generated script of 33 hours of network time, 1,054 steps and 9,708 funded keys.
func BenchmarkRehearse50Rounds(b *testing.B) {
	script, err := os.ReadFile(filepath.Join("testdata", "generated", "generated-50-rounds.script"))
	if err != nil {
		b.Fatal(err)
	}
	stderr, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer stderr.Close()
	b.ReportAllocs()
	for b.Loop() {
		p := program{
			args: []string{"rehearse", "-nodes", "12", "-producers", "4", "-seed", "1"}, stdin: bytes.NewReader(script), stdout: io.Discard, stderr: stderr,
		}
		if code := p.run(b.Context()); code != 0 {
			b.Fatalf("exit code %d", code)
		}
	}
}

// BenchmarkRehearseEvidence rehearses half an hour of load of which the nodes' own logs tell: a log fetcher reads ten nodes all the time.
func BenchmarkRehearseEvidence(b *testing.B) {
	script, err := os.ReadFile(filepath.Join("..", "..", "scripts", "churn.script"))
	if err != nil {
		b.Fatal(err)
	}
	stderr, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer stderr.Close()
	b.Setenv("RECEIVER", "B62qrPN5Y5yq8kGE3FbVKbGTdTAJNdtNtB5sNVpxyRwWGcDpMhqVc8W")
	b.ReportAllocs()
	for b.Loop() {
		p := program{args: []string{"rehearse", "-seed", "42"}, stdin: bytes.NewReader(script), stdout: io.Discard, stderr: stderr}
		if code := p.run(b.Context()); code != 0 {
			b.Fatalf("exit code %d", code)
		}
	}
}
