// Command orchestrator runs experiment scripts against a Mina test network.
//
//	orchestrator config.json < a.script | tee run.out
//
// Standard output carries the outputs and the record of the run, one JSON line each; standard error the log. The exit code says how it
// ended. orchestrator -help lists the other commands.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"provingground/cmd/internal/boot"
	"provingground/orchestrator"
)

func main() {
	os.Exit(program{
		args: os.Args[1:], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.LookupEnv,
	}.run(context.Background()))
}

// program is one call of the command: what it was given, and where it writes.
type program struct {
	args   []string
	stdin  io.Reader
	stdout io.Writer
	stderr *os.File
	getenv func(string) (string, bool)
	// afterLine, which is nil but in tests, is called after each line of a run's record.
	afterLine func(lines int)
}

// command is one sub-command.
type command struct {
	name    string
	usage   string
	summary string
	run     func(ctx context.Context, p program, args []string) (code int, err error)
}

func commands() []command {
	return []command{
		{"run", "[flags] config.json < a.script", "run a script; also without the word run", runCommand},
		{"check", "[-format text|json|github] [FILE…]", "report everything wrong with scripts; sends nothing", checkCommand},
		{"plan", "[-nodes N] [-format text|json] config.json < a.script", "say what a run would do and cost; sends nothing", planCommand},
		{"explain", "[ACTION]", "list the actions, or explain one", explainCommand},
		{"stop", "run.out config.json", "undo what a recorded run may have left behind", stopCommand},
		{"resume", "[flags] run.out config.json < a.script", "continue a run that was cut short", resumeCommand},
		{"version", "", "say which build this is", versionCommand},
	}
}

// usageError is a wrong call of the command.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

func (p program) run(ctx context.Context) int {
	name, args := "run", p.args
	switch {
	case len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]):
		p.help(p.stdout)
		return orchestrator.CodeOK
	case len(args) > 0 && slices.ContainsFunc(commands(), func(c command) bool { return c.name == args[0] }):
		name, args = args[0], args[1:]
	case len(args) == 0:
		p.help(p.stderr)
		_, _ = fmt.Fprintln(p.stderr, "\nNo config provided")
		return orchestrator.CodeUsage
	}
	i := slices.IndexFunc(commands(), func(c command) bool { return c.name == name })
	c := commands()[i]
	code, err := c.run(ctx, p, args)
	var usage *usageError
	switch {
	case errors.Is(err, flag.ErrHelp):
		return orchestrator.CodeOK
	case errors.As(err, &usage):
		_, _ = fmt.Fprintf(p.stderr, "orchestrator %s: %v\nusage: orchestrator %s %s\n", c.name, err, c.name, c.usage)
		return orchestrator.CodeUsage
	case err != nil:
		_, _ = fmt.Fprintf(p.stderr, "orchestrator %s: %v\n", c.name, err)
	}
	return code
}

func (p program) help(w io.Writer) {
	_, _ = fmt.Fprint(w, "orchestrator runs experiment scripts against a Mina test network.\n\n"+
		"  orchestrator config.json < a.script | tee run.out\n\nCommands:\n")
	for _, c := range commands() {
		_, _ = fmt.Fprintf(w, "  %-8s %s\n           orchestrator %s %s\n", c.name, c.summary, c.name, c.usage)
	}
	_, _ = fmt.Fprint(w, `
Exit codes: 0 everything ran; 1 usage or configuration; 2 the script is wrong, nothing was sent; 3 a step failed;
5 clean-up incomplete, something may still be running; 130 and 143 interrupted and terminated, and cleaned up;
128+n a second signal; 70 an error inside the program.
`)
}

// flags is the flag set of a sub-command.
func (p program) flags(name string) *flag.FlagSet {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard) // what is wrong is said once, by run
	return set
}

// parse reads flags and returns the other arguments; flags may stand before, between and behind them. Asked for help it gives that, and
// returns flag.ErrHelp.
func (p program) parse(set *flag.FlagSet, args []string) ([]string, error) {
	var positional []string
	for {
		err := set.Parse(args)
		switch {
		case errors.Is(err, flag.ErrHelp):
			p.usage(set)
			return nil, err //nolint:wrapcheck // tested for by run
		case err != nil:
			return nil, &usageError{err}
		case set.NArg() == 0:
			return positional, nil
		}
		positional = append(positional, set.Arg(0))
		args = set.Args()[1:]
	}
}

func (p program) usage(set *flag.FlagSet) {
	for _, c := range commands() {
		if set.Name() == c.name {
			_, _ = fmt.Fprintf(p.stdout, "orchestrator %s %s\n%s\n", c.name, c.usage, c.summary)
		}
	}
	set.SetOutput(p.stdout)
	set.PrintDefaults()
}

func versionCommand(_ context.Context, p program, _ []string) (int, error) {
	_, err := fmt.Fprintln(p.stdout, "orchestrator", boot.Version())
	return orchestrator.CodeOK, err //nolint:wrapcheck // says that standard output failed
}

func explainCommand(_ context.Context, p program, args []string) (int, error) {
	set := p.flags("explain")
	names, err := p.parse(set, args)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	if err := orchestrator.Explain(p.stdout, strings.Join(names, " ")); err != nil {
		return orchestrator.CodeUsage, err //nolint:wrapcheck // says it all
	}
	return orchestrator.CodeOK, nil
}
