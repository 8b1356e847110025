package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Exit codes that programs have in common.
const (
	CodeOK       = 0
	CodeUsage    = 1 // a UsageError
	CodeFailure  = 3
	CodeInternal = 70 // a fault in the program
)

// UsageError is something that the caller has to change before the program can do anything: the command line, a file that it names, a port in use.
// Make it with [Usage] or [Usagef].
type UsageError struct{ err error }

func (e *UsageError) Error() string { return e.err.Error() }

// Unwrap returns what is wrong.
func (e *UsageError) Unwrap() error { return e.err }

// Usage says that an error is the caller's to mend.
func Usage(err error) error { return &UsageError{err} }

// Usagef makes an error that is the caller's to mend.
func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

// Run does the work of the program of that name, writes its error to stderr, and returns its exit code. help is the line behind a [UsageError]: where to
// read more.
func Run(stderr io.Writer, name, help string, work func() error) (code int) {
	defer func() {
		if cause := recover(); cause != nil {
			_, _ = fmt.Fprintf(stderr, "%s: error inside the program: %v\n%s", name, cause, debug.Stack())
			code = CodeInternal
		}
	}()
	err := work()
	var wrong *UsageError
	switch {
	case err == nil:
		return CodeOK
	case errors.As(err, &wrong):
		_, _ = fmt.Fprintf(stderr, "%s: %s\n%s\n", name, linesOnce(err), help)
		return CodeUsage
	default:
		_, _ = fmt.Fprintf(stderr, "%s: %s\n", name, linesOnce(err))
		return CodeFailure
	}
}

// linesOnce returns an error's text without lines that were there before: the database's client tries an address with and without encryption, and
// tells of both.
func linesOnce(err error) string {
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// Pause waits for a time, or for ctx's end, whose cause it returns then.
func Pause(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ReadSmall reads a file that is not meant to be longer than most bytes; a longer one is an error that says so.
func ReadSmall(path string, most int64) (text []byte, mode os.FileMode, err error) {
	file, err := os.Open(path) //nolint:gosec // the operator names it
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	text, err = io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s is longer than %d bytes", path, most)
	}
	return text, info.Mode(), err
}
