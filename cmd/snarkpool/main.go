//go:build linux

// Command snarkpool keeps a pool of SNARK provers running.
//
//	snarkpool plan pool.json            what would run on this machine, and why not more
//	snarkpool agent pool.json           run it; one agent per machine
//	snarkpool status|top|drain|…        look at a running agent, and command it
//
// snarkpool help lists all verbs; docs/snarkpool.md says the rest.
//
// Files: verbs.go the verbs; commandline.go options; connect.go the way to an agent; show.go, table.go and top.go what people see of it; change.go verbs
// that change something; planning.go plan and inventory; agent.go, source.go and gpucheck.go the agent; host.go the hosts in the database;
// gpulist.go the GPUs; prove.go built-in provers and verifiers; doctor.go what this machine can enforce; calibrate.go and bench.go measurements; render.go
// and unit.go systemd units.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/consensys/gnark/logger"

	"provingground/cmd/internal/boot"
	"provingground/snarkpool/control"
	"provingground/snarkpool/supervise/launch"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == launchVerb { // first of all: each worker's start goes through here
		os.Exit(launch.Main(os.Args[2:]))
	}
	os.Exit(program{args: os.Args[1:], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.LookupEnv}.run(context.Background()))
}

// launchVerb is the verb with which the agent starts its own program to become a worker. It is in no help: nobody else has use for it.
const launchVerb = "launch"

// program is one call of the command: what it was given, and where it writes.
type program struct {
	args   []string
	stdin  *os.File
	stdout io.Writer
	stderr *os.File
	getenv func(string) (string, bool)
}

// env returns a variable of the environment, empty when there is none.
func (p program) env(name string) string {
	value, _ := p.getenv(name)
	return value
}

// Exit codes beside those that all programs have in common (package boot); help and docs/snarkpool.md list them.
const (
	codeRefused = 4 // the agent refused: nothing was done
	codeUnknown = 5 // no answer came: it may have been done
	codeNobody  = 6 // no agent is running there
	codeLost    = 7 // done, and proofs were lost
)

// lostError says that a change was done, and what was under way is lost.
type lostError struct{ lost uint64 }

func (e *lostError) Error() string {
	return fmt.Sprintf("it is done, and %s lost", count(e.lost, "proof was", "proofs were"))
}

// interrupted says that a signal ended the waiting.
type interrupted struct{ signal os.Signal }

func (e *interrupted) Error() string { return fmt.Sprintf("ended by the signal %q", e.signal) }

func (p program) run(ctx context.Context) int {
	if len(p.args) == 0 {
		_, _ = fmt.Fprint(p.stderr, "snarkpool: what is it to do?\n"+usage())
		return boot.CodeUsage
	}
	var err error
	code := boot.Run(p.stderr, "snarkpool", "snarkpool help lists verbs and options", func() error {
		err = p.dispatch(ctx)
		return err
	})
	if code != boot.CodeFailure {
		return code
	}
	return codeOf(err)
}

// codeOf is the exit code of a failure.
func codeOf(err error) int {
	var lost *lostError
	var refused *control.RefusedError
	var ended *interrupted
	switch {
	case errors.As(err, &lost):
		return codeLost
	case errors.As(err, &ended):
		return 128 + boot.Number(ended.signal)
	case errors.Is(err, control.ErrOutcomeUnknown):
		return codeUnknown
	case errors.Is(err, control.ErrNotRunning):
		return codeNobody
	case errors.As(err, &refused) && refused.Reason != control.Failed:
		return codeRefused
	}
	return boot.CodeFailure
}

// dispatch reads the command line and does what the verb says. All that is wrong with what the caller wrote is one error.
func (p program) dispatch(ctx context.Context) error {
	line, err := parse(p.args)
	if err != nil {
		return err
	}
	if line.help {
		_, err := io.WriteString(p.stdout, line.verb.help())
		return err
	}
	logger.Disable() // gnark's own, which is the process's and writes to standard output
	ctx, stop := boot.Signals(ctx,
		func(s os.Signal) error {
			if line.verb.onSignal != "" {
				_, _ = fmt.Fprintf(p.stderr, "%s: %s\n", s, line.verb.onSignal)
			}
			return &interrupted{s}
		},
		func(s os.Signal) { os.Exit(128 + boot.Number(s)) })
	defer stop()
	return line.verb.run(ctx, call{program: p, options: line.options, arguments: line.arguments})
}

// call is one call of a verb.
type call struct {
	program
	*options

	arguments []string
}

// signalled returns the *interrupted that ended ctx in place of the err that came of it, or err where it was something else.
func signalled(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var ended *interrupted
	if errors.As(context.Cause(ctx), &ended) {
		return ended
	}
	return err
}
