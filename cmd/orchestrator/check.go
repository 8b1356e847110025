package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"provingground/dsl"
	"provingground/orchestrator"
)

func checkCommand(_ context.Context, p program, args []string) (int, error) {
	set := p.flags("check")
	format := set.String("format", "text", "how to show findings: text, json or github")
	files, err := p.parse(set, args)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	if err := validFormat(*format, dsl.AsText, dsl.AsJSON, dsl.AsGitHub); err != nil {
		return orchestrator.CodeUsage, err
	}
	if len(files) == 0 {
		script, found, err := readScript("stdin", p)
		if err != nil {
			return orchestrator.CodeUsage, err
		}
		return p.check(script, found, dsl.Format(*format))
	}
	code := orchestrator.CodeOK
	for _, name := range files {
		one, err := p.checkFile(name, dsl.Format(*format))
		if err != nil {
			return orchestrator.CodeUsage, err
		}
		code = max(code, one)
	}
	return code, nil
}

func (p program) checkFile(name string, format dsl.Format) (_ int, err error) {
	file, err := os.Open(name) //nolint:gosec // the caller's own argument
	if err != nil {
		return 0, fmt.Errorf("open the script: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	p.stdin = file
	script, found, err := readScript(name, p)
	if err != nil {
		return 0, err
	}
	return p.check(script, found, format)
}

// check shows what is wrong with a script. Findings are the command's result: they go to standard output.
func (p program) check(script *dsl.Script, found dsl.Findings, format dsl.Format) (int, error) {
	if script != nil {
		_, found = orchestrator.Compile(script, orchestrator.CompileOptions{})
	}
	if err := found.Write(p.stdout, format); err != nil {
		return orchestrator.CodeStep, err //nolint:wrapcheck // says it all
	}
	if found.Errors() {
		return orchestrator.CodeScript, nil
	}
	return orchestrator.CodeOK, nil
}

// readScript reads a script. What is wrong with its text is a finding, and then there is no script.
func readScript(name string, p program) (*dsl.Script, dsl.Findings, error) {
	script, err := dsl.ReadJSON(name, p.stdin)
	var f dsl.Finding
	if errors.As(err, &f) {
		return nil, dsl.Findings{f}, nil
	}
	return script, nil, err //nolint:wrapcheck // says it all
}

func validFormat(given string, known ...dsl.Format) error {
	for _, f := range known {
		if dsl.Format(given) == f {
			return nil
		}
	}
	return usagef("unknown format %q: it is one of %v", given, known)
}

func planCommand(_ context.Context, p program, args []string) (int, error) {
	set := p.flags("plan")
	nodes := set.Int("nodes", 0, "how many `nodes` there are where the script does not say (default 10)")
	format := set.String("format", "text", "how to show the plan: text or json")
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
	if *nodes < 0 {
		return orchestrator.CodeUsage, usagef("-nodes cannot be negative")
	}
	config, err := orchestrator.ReadConfig(positional[0], p.getenv)
	if err != nil {
		return orchestrator.CodeUsage, err //nolint:wrapcheck // says it all
	}
	plan, code, err := p.compile(orchestrator.CompileOptions{Config: &config, Nodes: *nodes}, dsl.AsText)
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
func (p program) compile(options orchestrator.CompileOptions, format dsl.Format) (plan *orchestrator.Plan, code int, err error) {
	script, found, err := readScript("stdin", p)
	if err != nil {
		return nil, orchestrator.CodeUsage, err
	}
	if script != nil {
		plan, found = orchestrator.Compile(script, options)
	}
	if err := found.Write(p.stderr, format); err != nil {
		return nil, orchestrator.CodeScript, err //nolint:wrapcheck // says it all
	}
	return plan, orchestrator.CodeScript, nil
}
