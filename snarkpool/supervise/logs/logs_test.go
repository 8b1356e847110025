//go:build linux

package logs_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"provingground/snarkpool/supervise/logs"
)

// TestHandover stops reading in the middle of a line and goes on with another Capture, as a replaced agent does.
func TestHandover(t *testing.T) {
	directory := t.TempDir()
	got := make(chan logs.Line, 10)
	options := logs.Options{Directory: directory, LineBytes: 8, Lines: func(l logs.Line) {
		l.Text = []byte(string(l.Text))
		got <- l
	}}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if _, err := unix.Write(fds[1], []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	run := func(c *logs.Capture) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	first, err := logs.New(options)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Add(logs.Pipe{Name: "a", PID: 1, Stream: logs.Stdout, FD: fds[0]}); err != nil {
		t.Fatal(err)
	}
	stop := run(first)
	write("one\n0123456789") // The second line is over the limit already.
	if line := <-got; string(line.Text) != "one" || line.Cut != 0 {
		t.Errorf("first line %q, %d cut", line.Text, line.Cut)
	}
	stop()
	pipes := first.Pipes()
	if len(pipes) != 1 || string(pipes[0].Partial) != "01234567" || pipes[0].Skipped != 2 {
		t.Fatalf("handed over %+v", pipes)
	}
	pipes[0].FD, err = unix.FcntlInt(uintptr(pipes[0].FD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := logs.New(options)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Add(pipes[0]); err != nil {
		t.Fatal(err)
	}
	stop = run(second)
	write("abc\nthree\nunended")
	if err := unix.Close(fds[1]); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		text string
		cut  int
	}{{"01234567", 5}, {"three", 0}, {"unended", 0}} {
		if line := <-got; string(line.Text) != want.text || line.Cut != want.cut {
			t.Errorf("line %q, %d cut, want %q, %d", line.Text, line.Cut, want.text, want.cut)
		}
	}
	stop()
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(logs.Path(directory, "a"))
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for line := range strings.Lines(string(content)) {
		texts = append(texts, strings.SplitN(strings.TrimSpace(line), " ", 3)[2])
	}
	if want := "one|01234567 [5 bytes cut]|three|unended"; strings.Join(texts, "|") != want {
		t.Errorf("file says %q, want %q", texts, want)
	}
}

// TestFilesAreBounded prints much more than the files may hold.
func TestFilesAreBounded(t *testing.T) {
	directory := t.TempDir()
	last := make(chan struct{})
	const n = 20_000
	c, err := logs.New(logs.Options{Directory: directory, FileBytes: 100_000, Files: 3, Lines: func(l logs.Line) {
		if string(l.Text) == fmt.Sprint("line ", n-1) {
			close(last)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.FcntlInt(read.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	if err := c.Add(logs.Pipe{Name: "pool/a", PID: 1, Stream: logs.Stderr, FD: fd}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	for i := range n {
		if _, err := fmt.Fprintf(write, "line %d\n", i); err != nil {
			t.Fatal(err)
		}
	}
	<-last
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, file := range []*os.File{read, write} {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	files, err := filepath.Glob(filepath.Join(directory, "pool", "*"))
	if err != nil || len(files) != 3 {
		t.Fatalf("files %q, %v", files, err)
	}
	const chunk = 64 << 10 * 5 // A pipe's read with its stamps may make a file of its own.
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.Size() > 100_000+chunk {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	if got := c.Dropped("pool/a"); got != 0 {
		t.Errorf("%d lines dropped", got)
	}
}
