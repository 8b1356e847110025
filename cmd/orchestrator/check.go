package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"provingground/dsl"
	"provingground/orchestrator"
)

func checkCommand(_ context.Context, p program, args []string) (int, error) {
	set := p.flags("check")
	format := set.String("format", "text", "how to show findings: text, json or github")
	var given settings
	set.Func("set", "a parameter of the script, as `NAME=VALUE`; may be repeated", given.add)
	files, err := p.parse(set, args)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	reading := p.reading(given, nil) // what the environment holds where it is checked says nothing about where it will run
	if err := validFormat(*format, dsl.AsText, dsl.AsJSON, dsl.AsGitHub); err != nil {
		return orchestrator.CodeUsage, err
	}
	if len(files) == 0 {
		script, found, err := p.readStdin(reading)
		if err != nil {
			return orchestrator.CodeUsage, err
		}
		return p.check(script, found, dsl.Format(*format))
	}
	code := orchestrator.CodeOK
	var unread []error // one file that cannot be read does not keep the others from being checked
	for _, name := range files {
		script, found, err := readScriptFile(name, reading)
		if err != nil {
			unread = append(unread, err)
			continue
		}
		one, err := p.check(script, found, dsl.Format(*format))
		if err != nil {
			return one, errors.Join(append(unread, err)...)
		}
		code = max(code, one)
	}
	if len(unread) > 0 {
		return orchestrator.CodeUsage, errors.Join(unread...)
	}
	return code, nil
}

func readScriptFile(name string, reading dsl.LowerOptions) (_ *dsl.Script, _ dsl.Findings, err error) {
	file, err := os.Open(name) //nolint:gosec // the caller's own argument
	if err != nil {
		return nil, nil, fmt.Errorf("the script cannot be read: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return dsl.Read(name, file, reading) //nolint:wrapcheck // says it all
}

// check shows what is wrong with a script. Findings are the command's result: they go to standard output.
func (p program) check(script *dsl.Script, found dsl.Findings, format dsl.Format) (int, error) {
	if script != nil {
		_, found = orchestrator.Compile(script, orchestrator.CompileOptions{Found: found})
	}
	if err := found.Write(p.stdout, format); err != nil {
		return orchestrator.CodeStep, err //nolint:wrapcheck // says it all
	}
	if found.Errors() {
		return orchestrator.CodeScript, nil
	}
	return orchestrator.CodeOK, nil
}

// readStdin reads the script from standard input.
func (p program) readStdin(reading dsl.LowerOptions) (*dsl.Script, dsl.Findings, error) {
	return dsl.Read(cmp.Or(p.script, "stdin"), p.input(), reading) //nolint:wrapcheck // says it all
}

// input is standard input. Who sits at the terminal that it is must be told: nothing else happens until it ends.
func (p program) input() io.Reader {
	if file, ok := p.stdin.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		_, _ = fmt.Fprintln(p.stderr, "reading the script from the terminal, Ctrl-D ends it; from a file it comes with < a.script")
	}
	return p.stdin
}

func validFormat(given string, known ...dsl.Format) error {
	var names []string
	for _, f := range known {
		if dsl.Format(given) == f {
			return nil
		}
		names = append(names, string(f))
	}
	return usagef("unknown format %q: it is one of %s", given, strings.Join(names, ", "))
}

func planCommand(_ context.Context, p program, args []string) (int, error) {
	set := p.flags("plan")
	nodes := set.Int("nodes", 0, "how many `nodes` there are where the script does not say (default 10)")
	format := set.String("format", "text", "how to show the plan: text or json")
	var given settings
	set.Func("set", "a parameter of the script, as `NAME=VALUE`; may be repeated", given.add)
	positional, err := p.parse(set, args)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	if err := validFormat(*format, dsl.AsText, dsl.AsJSON); err != nil {
		return orchestrator.CodeUsage, err
	}
	if len(positional) == 0 {
		return orchestrator.CodeUsage, usagef("No config provided")
	}
	if err := tooMany(positional, 1); err != nil {
		return orchestrator.CodeUsage, err
	}
	if *nodes < 0 {
		return orchestrator.CodeUsage, usagef("-nodes cannot be negative")
	}
	config, err := orchestrator.ReadConfig(positional[0], p.getenv)
	if err != nil {
		return orchestrator.CodeUsage, err //nolint:wrapcheck // says it all
	}
	for _, w := range config.Warnings {
		_, _ = fmt.Fprintln(p.stderr, "warning:", w)
	}
	plan, code, err := p.compile(orchestrator.CompileOptions{Config: &config, Nodes: *nodes}, p.reading(given, nil), dsl.AsText)
	if plan == nil {
		return code, err
	}
	forecast, err := plan.Forecast(&config, *nodes)
	if err != nil {
		return orchestrator.CodeScript, err //nolint:wrapcheck // says it all
	}
	if *format == string(dsl.AsJSON) {
		err = forecast.WriteJSON(p.stdout)
	} else {
		err = forecast.WriteText(p.stdout)
	}
	if err != nil {
		return orchestrator.CodeStep, err //nolint:wrapcheck // says it all
	}
	return orchestrator.CodeOK, nil
}

// compile reads the script from standard input and makes a plan of it. Findings go to standard error; without a plan, code is the exit
// code.
func (p program) compile(options orchestrator.CompileOptions, reading dsl.LowerOptions, format dsl.Format) (plan *orchestrator.Plan, code int, err error) {
	script, found, err := p.readStdin(reading)
	if err != nil {
		return nil, orchestrator.CodeUsage, err
	}
	if script != nil {
		options.Found = found
		plan, found = orchestrator.Compile(script, options)
	}
	if err := found.Write(p.stderr, format); err != nil {
		return nil, orchestrator.CodeScript, err //nolint:wrapcheck // says it all
	}
	return plan, orchestrator.CodeScript, nil
}
