// Command uptime takes the signed reports of Mina nodes and says which nodes are online.
//
//	uptime [-config FILE] [-listen ADDRESS] [-db-uri URI] [-whitelist-file FILE]
//
// uptime help lists the options; docs/uptime.md says the rest.
//
// Files: commandline.go what may be written on the command line; config.go the configuration file; settings.go what comes of both and of the
// environment; serve.go the service, from start to end.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"provingground/cmd/internal/boot"
)

// Exit codes.
const (
	codeOK       = 0
	codeUsage    = 1 // the command line, the configuration, a file that it names, or a port in use
	codeFailure  = 3
	codeInternal = 70
)

func main() {
	os.Exit(program{args: os.Args[1:], stdout: os.Stdout, stderr: os.Stderr, getenv: os.LookupEnv}.run(context.Background()))
}

// program is one call of the command: what it was given, and where it writes.
type program struct {
	args   []string
	stdout io.Writer
	stderr *os.File
	getenv func(string) (string, bool)
}

// env returns a variable of the environment, empty when there is none.
func (p program) env(name string) string {
	value, _ := p.getenv(name)
	return value
}

// usageError is something that the caller has to change before the command can do anything.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

func (p program) run(ctx context.Context) (code int) {
	defer func() {
		if cause := recover(); cause != nil {
			_, _ = fmt.Fprintf(p.stderr, "uptime: error inside the program: %v\n%s", cause, debug.Stack())
			code = codeInternal
		}
	}()
	err := p.dispatch(ctx)
	var wrong *usageError
	switch {
	case err == nil:
		return codeOK
	case errors.As(err, &wrong):
		_, _ = fmt.Fprintf(p.stderr, "uptime: %v\nuptime help lists options and keys\n", err)
		return codeUsage
	default:
		_, _ = fmt.Fprintf(p.stderr, "uptime: %v\n", err)
		return codeFailure
	}
}

// dispatch reads the command line and does what it says. All that is wrong with what the caller gave is one error.
func (p program) dispatch(ctx context.Context) error {
	line, wrong := parse(p.args)
	switch line.command {
	case cmdHelp:
		_, err := fmt.Fprint(p.stdout, usage+help)
		return err
	case cmdVersion:
		_, err := fmt.Fprintln(p.stdout, "uptime", boot.Version())
		return err
	default:
	}
	s, err := p.settings(line)
	if err := errors.Join(wrong, err); err != nil {
		return err
	}
	ctx, stop := boot.Signals(ctx,
		func(s os.Signal) error {
			_, _ = fmt.Fprintf(p.stderr, "%s: answering the requests that are here; a second signal leaves at once\n", s)
			return fmt.Errorf("ended by the signal %q", s)
		},
		func(s os.Signal) {
			_, _ = fmt.Fprintln(p.stderr, "a second signal: leaving at once")
			os.Exit(128 + boot.Number(s))
		})
	defer stop()
	return p.serve(ctx, s)
}
