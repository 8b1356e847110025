package orchestrator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Command is one call of an executable.
type Command struct {
	Path string
	Args []string
	Env  []string // variables NAME=VALUE beside those of this program
	// Line gets each line that the program prints, on standard output (own) or standard error. Never called by two goroutines at once.
	Line func(text string, own bool)
}

// Programs starts executables.
type Programs interface {
	// Find reports whether the executable exists; the error says why not.
	Find(path string) error
	// Run runs the command to its end. When ctx ends first the program is told to end, and given ten seconds before it is killed. The
	// error is an *ExitError when the program ran and failed.
	Run(ctx context.Context, c Command) error
}

// ExitError says that a program ran and did not succeed.
type ExitError struct {
	Program string
	Code    int    // exit code, -1 when a signal ended it
	Last    string // the last line that it printed
}

// Error says how the program ended, and what it printed last.
func (e *ExitError) Error() string {
	text := fmt.Sprintf("%s ended with exit code %d", e.Program, e.Code)
	if e.Code < 0 {
		text = e.Program + " was ended by a signal"
	}
	if e.Last != "" {
		text += ": " + e.Last
	}
	return text
}

// maskedPrograms are programs whose last words, which an error quotes, are freed of secrets: they may have printed a password.
type maskedPrograms struct {
	Programs
	mask func(string) string
}

func (p maskedPrograms) Run(ctx context.Context, c Command) error {
	err := p.Programs.Run(ctx, c)
	var exit *ExitError
	if errors.As(err, &exit) {
		exit.Last = p.mask(exit.Last)
	}
	return err //nolint:wrapcheck // stands in front of the other one
}

// Executables are the Programs of this machine.
type Executables struct{}

// Find reports whether the executable exists, looking along PATH where the name has no slash.
func (Executables) Find(path string) error {
	_, err := exec.LookPath(path)
	return err //nolint:wrapcheck // names the executable
}

// Run runs the command in a process group of its own, so that a Ctrl-C at the terminal reaches this program alone.
func (Executables) Run(ctx context.Context, c Command) error {
	const grace = 10 * time.Second
	cmd := exec.CommandContext(ctx, c.Path, c.Args...) //nolint:gosec // the configuration names the executable
	cmd.Env = append(os.Environ(), c.Env...)
	// Killed with us, if we are killed: a funding run that went on alone would meet the one that a resumed run starts. The kernel counts the
	// thread that started it as us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	var mu sync.Mutex
	var last string
	var readers sync.WaitGroup
	lines := func(own bool) (*io.PipeWriter, func()) {
		r, w := io.Pipe()
		readers.Go(func() {
			scanner := bufio.NewScanner(r)
			scanner.Buffer(nil, 1<<20)
			for scanner.Scan() {
				mu.Lock()
				last = scanner.Text()
				c.Line(last, own)
				mu.Unlock()
			}
			_, _ = io.Copy(io.Discard, r) // past a line of over 1 MiB: the program must not block on us
		})
		return w, func() { _ = w.Close() }
	}
	stdout, closeOut := lines(true)
	stderr, closeErr := lines(false)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err := cmd.Run()
	closeOut()
	closeErr()
	readers.Wait()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil && cmd.Process == nil:
		return &notStartedError{fmt.Errorf("%s was not started: %w", c.Path, context.Cause(ctx))}
	case ctx.Err() != nil && err != nil:
		return fmt.Errorf("%s was stopped: %w", c.Path, context.Cause(ctx))
	case errors.As(err, &exit):
		return &ExitError{Program: c.Path + " " + firstWords(c.Args), Code: exit.ExitCode(), Last: last}
	case errors.Is(err, exec.ErrWaitDelay): // it ended well, and left something running that holds its output open
		return nil
	case err != nil:
		return &notStartedError{fmt.Errorf("start %s: %w", c.Path, err)}
	}
	return nil
}

// notStartedError says that a program was not started: it has done nothing.
type notStartedError struct{ err error }

func (e *notStartedError) Error() string { return e.err.Error() }
func (e *notStartedError) Unwrap() error { return e.err }

// firstWords names a sub-command: the arguments before the first flag.
func firstWords(args []string) string {
	for i, a := range args {
		if strings.HasPrefix(a, "-") {
			return strings.Join(args[:i], " ")
		}
	}
	return strings.Join(args, " ")
}
