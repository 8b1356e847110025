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
	"runtime/debug"
	"slices"
	"strings"

	"provingground/cmd/internal/boot"
	"provingground/dsl"
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
	script string // name of the script in places; "" for standard input
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

// line is how the command is called.
func (c command) line() string { return strings.TrimRight("orchestrator "+c.name+" "+c.usage, " ") }

func commands() []command {
	return []command{
		{"run", "[flags] config.json < a.script", "run a script; also without the word run", runCommand},
		{"check", "[-format text|json|github] [FILE…]", "report everything wrong with scripts; sends nothing", checkCommand},
		{"plan", "[-nodes N] [-set NAME=VALUE] [-format text|json] config.json < a.script", "say what a run would do and cost; sends nothing", planCommand},
		{"fmt", "[-w | -d] [FILE…]", "show scripts in their canonical layout, write it, or say what would change", fmtCommand},
		{"convert", "-to json|script [-set NAME=VALUE] < a.script", "write a script in the other spelling", convertCommand},
		{"explain", "[NAME]", "the reference: list actions, statements, metrics and units, or explain one", explainCommand},
		{"stop", "run.out config.json", "undo what a recorded run may have left behind", stopCommand},
		{"resume", "[flags] run.out config.json < a.script", "continue a run that was cut short", resumeCommand},
		{"rehearse", "[flags] [FILE]", "run a script against a simulated network, in no time; touches nothing", rehearseCommand},
		{"history", "run.out config.json", "store what a record tells of its runs in the database of the configuration", historyCommand},
		{"transactions", "[-format text|csv|json] [-state STATE,…] run.out config.json", "say what became of every transaction of a run, from the nodes' logs", transactionsCommand},
		{"completion", "bash|zsh|fish", "print what makes a shell complete commands, flags and arguments", completionCommand},
		{"version", "", "say which build this is", versionCommand},
	}
}

// usageError is a wrong call of the command.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// findCommand returns the sub-command of that name, and whether there is one.
func findCommand(name string) (command, bool) {
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == name })
	if i < 0 {
		return command{}, false
	}
	return all[i], true
}

// misspelt says what may have been meant by what is neither a command nor a flag nor a file; "" where it may be a file that is missing.
func misspelt(argument string) string {
	if _, err := os.Stat(argument); err == nil || strings.HasPrefix(argument, "-") {
		return ""
	}
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	hint := dsl.Suggest(argument, names)
	if hint == "" && !strings.ContainsAny(argument, "./") { // a word, and not the name of a configuration
		hint = "a configuration is a file such as config.json"
	}
	return hint
}

func (p program) run(ctx context.Context) (code int) {
	defer func() {
		if cause := recover(); cause != nil { // Go's own exit code for this is 2, which says that the script is wrong
			_, _ = fmt.Fprintf(p.stderr, "orchestrator: error inside the program: %v\n%s", cause, debug.Stack())
			code = orchestrator.CodeInternal
		}
	}()
	args := p.args
	if len(args) == 0 {
		_, _ = fmt.Fprint(p.stderr, "No config provided\nusage: orchestrator config.json < a.script\norchestrator -help lists the other commands\n")
		return orchestrator.CodeUsage
	}
	if slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]) {
		if len(args) == 1 {
			p.help(p.stdout)
			return orchestrator.CodeOK
		}
		if _, isCommand := findCommand(args[1]); isCommand {
			args = []string{args[1], "-help"}
		} else { // the name of something in the language
			args = append([]string{"explain"}, args[1:]...)
		}
	}
	if args[0] == "-version" || args[0] == "--version" {
		args = []string{"version"}
	}
	c, named := findCommand(args[0])
	if named {
		args = args[1:]
	} else { // it may be left out
		c, _ = findCommand("run")
		if hint := misspelt(args[0]); hint != "" {
			_, _ = fmt.Fprintf(p.stderr, "orchestrator: there is neither a command nor a configuration file %q: %s\norchestrator -help lists the commands\n",
				args[0], hint)
			return orchestrator.CodeUsage
		}
	}
	code, err := c.run(ctx, p, args)
	var usage *usageError
	switch {
	case errors.Is(err, flag.ErrHelp):
		return orchestrator.CodeOK
	case errors.As(err, &usage):
		_, _ = fmt.Fprintf(p.stderr, "orchestrator %s: %v\nusage: %s\n", c.name, err, c.line())
		return orchestrator.CodeUsage
	case err != nil:
		_, _ = fmt.Fprintf(p.stderr, "orchestrator %s: %v\n", c.name, err)
		if code == orchestrator.CodeOK { // what was to be done is done, and yet something failed: standard output, a file at its closing
			return orchestrator.CodeStep
		}
	}
	return code
}

func (p program) help(w io.Writer) {
	_, _ = fmt.Fprint(w, "orchestrator runs experiment scripts against a Mina test network.\n\n"+
		"  orchestrator config.json < a.script | tee -i run.out\n\nCommands (orchestrator help COMMAND lists the flags of one):\n")
	for _, c := range commands() {
		_, _ = fmt.Fprintf(w, "  %-12s %s\n               %s\n", c.name, c.summary, c.line())
	}
	_, _ = fmt.Fprint(w, `
Exit codes
  0    everything ran, every expect and watch held
  1    usage or configuration
  2    the script is wrong, nothing was sent
  3    a step failed
  4    an expect, watch or limit failed
  5    clean-up incomplete, something may still be running
  6    inconclusive: evidence for an expect or watch is missing
  70   an error inside the program
  129, 130, 143  connection lost, interrupted, terminated, and cleaned up;  128+n  a second signal
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
			_, _ = fmt.Fprintf(p.stdout, "%s\n%s\n", c.line(), c.summary)
		}
	}
	set.SetOutput(p.stdout)
	set.PrintDefaults()
}

// tooMany refuses arguments that nobody asked for.
func tooMany(positional []string, most int) error {
	if len(positional) <= most {
		return nil
	}
	return usagef("one argument too many: %q", positional[most])
}

func versionCommand(_ context.Context, p program, args []string) (int, error) {
	positional, err := p.parse(p.flags("version"), args)
	if err := errors.Join(err, tooMany(positional, 0)); err != nil {
		return orchestrator.CodeUsage, err
	}
	_, err = fmt.Fprintln(p.stdout, "orchestrator", boot.Version())
	return orchestrator.CodeOK, err //nolint:wrapcheck // says that standard output failed
}

func explainCommand(_ context.Context, p program, args []string) (int, error) {
	names, err := p.parse(p.flags("explain"), args)
	if err := errors.Join(err, tooMany(names, 1)); err != nil {
		return orchestrator.CodeUsage, err
	}
	err = orchestrator.Explain(p.stdout, strings.Join(names, ""))
	if errors.Is(err, orchestrator.ErrUnknownAction) {
		return orchestrator.CodeUsage, err //nolint:wrapcheck // says it all
	}
	return orchestrator.CodeOK, err //nolint:wrapcheck // says that standard output failed
}
