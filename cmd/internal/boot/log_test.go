package boot

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/zap"
)

// buffer is a console for several goroutines. err, if any, is what it answers from its first write on.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
	err  error
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return 0, b.err
	}
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func hide(text string) string { return strings.ReplaceAll(text, "hunter22", "***") }

func mustClose(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestLogGoesToBoth(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.log")
	if err := os.WriteFile(path, []byte("an earlier run\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	console := &buffer{}
	log, err := NewLog(console, "info", path, hide, true)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("the first", zap.String("password", "hunter22"))
	log.Debug("left out")
	log.Named("itn").Warn("the second hunter22")
	mustClose(t, log)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(file), "an earlier run\n") {
		t.Errorf("what was in the file is gone:\n%s", file)
	}
	for where, text := range map[string]string{"console": console.String(), "file": string(file)} {
		for _, want := range []string{"INFO", "the first", "***", "WARN", "itn", "the second"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", where, want, text)
			}
		}
		if strings.Contains(text, "hunter22") || strings.Contains(text, "left out") {
			t.Errorf("%s has what it should not:\n%s", where, text)
		}
	}
	if colors := "\x1b["; !strings.Contains(console.String(), colors) || strings.Contains(string(file), colors) {
		t.Errorf("colours belong on the terminal, and only there:\n%s\n%s", console.String(), file)
	}
}

// TestLogOnAFullDisk: the work goes on, the console has every line, and that lines are missing from the file is said once.
func TestLogOnAFullDisk(t *testing.T) {
	console := &buffer{}
	log, err := NewLog(console, "info", "/dev/full", hide, false)
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for range 10 {
				log.Info("a line hunter22")
			}
		})
	}
	writers.Wait()
	mustClose(t, log)
	text := console.String()
	for what, want := range map[string]int{
		"a line ***": 80, "lines of log are missing from /dev/full from here on, the work goes on: ": 1, syscall.ENOSPC.Error(): 1, "hunter22": 0,
	} {
		if got := strings.Count(text, what); got != want {
			t.Errorf("the console has %q %d times, want %d:\n%s", what, got, want, text)
		}
	}
}

// brittle is a file with room for so many bytes, until somebody makes room.
type brittle struct {
	room int
	text bytes.Buffer
}

func (b *brittle) Write(p []byte) (int, error) {
	if len(p) > b.room {
		n, _ := b.text.Write(p[:b.room])
		b.room = 0
		return n, syscall.ENOSPC
	}
	b.room -= len(p)
	return b.text.Write(p)
}

func TestLogFileThatFillsUp(t *testing.T) {
	console, file := &buffer{}, &brittle{room: 25}
	once := &onceFailing{out: file, name: "run.log", console: console}
	for _, line := range []string{"the first line\n", "the second line\n", "the third line\n"} {
		if n, err := once.Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("writing %q: %d, %v; the work must go on", line, n, err)
		}
	}
	file.room = 100
	if _, err := once.Write([]byte("there is room again\n")); err != nil {
		t.Error(err)
	}
	if got := file.text.String(); !strings.HasPrefix(got, "the first line\n") || !strings.HasSuffix(got, "there is room again\n") {
		t.Errorf("the file has %q", got)
	}
	if got := strings.Count(console.String(), "missing from run.log"); got != 1 {
		t.Errorf("said %d times that lines are missing:\n%s", got, console.String())
	}
}

// TestLogWithoutConsole: standard error is closed, and the file has the lines all the same.
func TestLogWithoutConsole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.log")
	log, err := NewLog(&buffer{err: syscall.EPIPE}, "info", path, hide, false)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("the first")
	log.Info("the second")
	mustClose(t, log)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(file), "the first") || !strings.Contains(string(file), "the second") {
		t.Errorf("the file has:\n%s", file)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the log: %v", info.Mode())
	}
}

func TestLogThatCannotBeOpened(t *testing.T) {
	if _, err := NewLog(&buffer{}, "info", filepath.Join(t.TempDir(), "no", "run.log"), hide, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file in no directory: %v", err)
	}
	if _, err := NewLog(&buffer{}, "chatty", "", hide, false); err == nil || !strings.Contains(err.Error(), "chatty") {
		t.Errorf("an unknown level: %v", err)
	}
	log, err := NewLog(&buffer{}, "fatal", "", hide, false)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, log)
}
