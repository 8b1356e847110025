package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"provingground/cmd/internal/boot"
	"provingground/dsl"
	"provingground/internal/clock"
	"provingground/internal/redact"
	"provingground/orchestrator"
	"provingground/orchestrator/record"
	"provingground/orchestrator/simnet"
)

// rehearseFlags are the flags of rehearse.
type rehearseFlags struct {
	scene      scene
	producers  int // -1: a third of the nodes
	faults     string
	seed       string
	format     string
	timeout    time.Duration
	set        settings
	verbose    bool
	noProgress bool
}

func (f *rehearseFlags) define(set *flag.FlagSet) {
	set.IntVar(&f.scene.nodes, "nodes", 10, "how many `nodes` the simulated network has")
	f.producers = -1
	set.Func("producers", "how many of them produce blocks, as a `number` (default a third)", func(text string) (err error) {
		if f.producers, err = strconv.Atoi(text); err != nil || f.producers < 0 {
			err = errors.New("write a number from 0 on")
		}
		return err
	})
	set.DurationVar(&f.scene.slot, "slot", 3*time.Minute, "length of a slot, as a `time`")
	set.IntVar(&f.scene.keys, "keys", 20, "how many `keys` are in each directory that the script loads keys from and does not make")
	set.StringVar(&f.faults, "faults", "", "how the network misbehaves: `KIND[:NODE[/OPERATION]][=VALUE][@SLOT][#COUNT]`, separated by \";\" (docs/simnet.md)")
	set.Func("set", "a parameter of the script, as `NAME=VALUE`; may be repeated", f.set.add)
	set.StringVar(&f.seed, "seed", "", "a `number` that gives all chance, the network's and the run's (default: the script's, or else drawn and shown)")
	set.StringVar(&f.format, "format", "text", "how to show findings about the script: text, json or github")
	set.Func("timeout", "end the rehearsal after this `time` on the wall (90s, 30m), exit 3", duration(&f.timeout))
	set.BoolVar(&f.verbose, "v", false, "log what happens, and show the script's comments; without it warnings and errors only")
	set.BoolVar(&f.noProgress, "no-progress", false, "no progress line on a terminal")
}

// check completes the settings, and reports all that is wrong with them.
func (f *rehearseFlags) check() error {
	var wrong []error
	s := &f.scene
	if s.producers = f.producers; f.producers < 0 {
		s.producers = (s.nodes + 2) / 3
	}
	if s.keys < 1 || s.keys > 1000 {
		wrong = append(wrong, fmt.Errorf("-keys %d: give 1 to 1000", s.keys))
	}
	var err error
	if s.seed, err = parseSeed(f.seed); err != nil {
		wrong = append(wrong, err)
	}
	if s.faults, err = simnet.ParseFaults(f.faults); err != nil {
		wrong = append(wrong, fmt.Errorf("-faults: %w", err))
	}
	if err := s.options(clock.NewVirtual(rehearsedGenesis()).Clock(), nil, zap.NewNop()).Check(); err != nil {
		wrong = append(wrong, err)
	}
	wrong = append(wrong, validFormat(f.format, dsl.AsText, dsl.AsJSON, dsl.AsGitHub))
	if err := errors.Join(wrong...); err != nil {
		return &usageError{err}
	}
	return nil
}

// rehearseCommand runs a script on a simulated network that lives in this process and in no time of the wall's. Nothing of the caller's is
// read, written or started: the world that the engine gets is made up, down to the key files.
func rehearseCommand(ctx context.Context, p program, args []string) (int, error) {
	var f rehearseFlags
	set := p.flags("rehearse")
	f.define(set)
	positional, err := p.parse(set, args)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	if err := tooMany(positional, 1); err != nil {
		return orchestrator.CodeUsage, err
	}
	if len(positional) == 1 {
		text, err := readTextFile(positional[0])
		switch {
		case err != nil:
			return orchestrator.CodeUsage, fmt.Errorf("the script cannot be read: %w", err)
		case strings.HasSuffix(positional[0], ".json") && !bytes.Contains(text, []byte(`"action"`)):
			return orchestrator.CodeUsage, usagef("%s is no script: a rehearsal takes a script, and no configuration", positional[0])
		}
		p.stdin, p.script = bytes.NewReader(text), positional[0]
	}
	if err := f.check(); err != nil {
		return orchestrator.CodeUsage, err
	}
	config := f.scene.config()
	plan, code, err := p.compileAlone(orchestrator.CompileOptions{Config: &config, Nodes: f.scene.nodes, Evidence: true}, f)
	if plan == nil {
		return code, err
	}
	done, err := p.rehearse(ctx, f, plan, config)
	if err != nil {
		return orchestrator.CodeInternal, err
	}
	remains := done.result.Remains
	done.result.Remains = nil // report would say how to undo it
	p.report(done.result, "", "", dsl.Format(f.format), redact.Text)
	done.result.Remains = remains
	done.write(p.stderr)
	return done.result.Code, nil
}

// compileAlone compiles a script as a run does, except that it reads neither files of earlier runs nor the environment: what the script
// needs of that is made up.
func (p program) compileAlone(options orchestrator.CompileOptions, f rehearseFlags) (*orchestrator.Plan, int, error) {
	text, err := io.ReadAll(io.LimitReader(p.input(), dsl.MaxBytes+1))
	if err != nil {
		return nil, orchestrator.CodeUsage, fmt.Errorf("read script stdin: %w", err)
	}
	p.stdin = bytes.NewReader(text)
	reading := p.reading(f.set, func(string) (string, bool) { return "", false })
	script, found, err := p.readStdin(reading)
	if err != nil {
		return nil, orchestrator.CodeUsage, err
	}
	if found.Errors() { // perhaps because it cannot do without the environment
		reading.Env = madeUpEnv
	}
	if script != nil {
		if found := earlierRuns(script); len(found) > 0 {
			return nil, orchestrator.CodeScript, found.Write(p.stderr, dsl.Format(f.format)) //nolint:wrapcheck // says it all
		}
	}
	p.stdin = bytes.NewReader(text)
	return p.compile(options, reading, dsl.Format(f.format))
}

// earlierRuns reports the references to outputs of earlier runs.
func earlierRuns(script *dsl.Script) dsl.Findings {
	var found dsl.Findings
	report := func(number int, refs ...*dsl.Ref) {
		for _, ref := range refs {
			if ref.File == "" {
				continue
			}
			found = append(found, dsl.Finding{
				Source: script.Source, Span: ref.Span, Step: number,
				Message: fmt.Sprintf("a rehearsal reads no files, and this refers to the outputs in %s", ref.File),
				Hint:    "rehearse both scripts as one, or put a discovery or load-keys in the reference's place",
			})
		}
	}
	for _, step := range script.Steps() {
		number := step.Number
		if script.Language {
			number = -1
		}
		for _, arg := range step.Args {
			if arg.Ref != nil {
				report(number, arg.Ref)
			}
			if arg.Formula != nil {
				report(number, arg.Formula.Refs()...)
			}
		}
	}
	for _, claim := range script.Claims() {
		report(-1, claim.Condition.Refs()...)
	}
	return found.Sort()
}

// rehearse runs a plan on a new network. An error is one of this program.
func (p program) rehearse(ctx context.Context, f rehearseFlags, plan *orchestrator.Plan, config orchestrator.Config) (done rehearsed, err error) {
	ctx, stop := boot.Signals(ctx, func(s os.Signal) error {
		_, _ = fmt.Fprintf(p.stderr, "%s: no new step begins, the clean-up is rehearsed as well; a second signal leaves at once\n", s)
		return &orchestrator.Interrupted{Signal: s}
	}, func(s os.Signal) {
		p.leave(s, func(text io.Writer) { _, _ = fmt.Fprintln(text, "it was a rehearsal: nothing is left behind") })
	})
	defer stop()
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("the rehearsal did not finish within %s of wall time (-timeout)", f.timeout))
		defer cancel()
	}
	virtual := clock.NewVirtual(rehearsedGenesis())
	follower := &follower{progress: newProgress(p.stderr, virtual.Clock(), f.noProgress), clock: virtual.Clock()}
	defer follower.Close()
	secrets := &redact.Redactor{}
	secrets.Add(config.Key)
	level, console := "warn", io.Discard
	if f.verbose {
		level, console = "info", io.Writer(follower.console)
	}
	log, err := boot.NewLog(follower.console, level, "", secrets.Text, follower.console.Terminal())
	if err != nil {
		return rehearsed{}, err //nolint:wrapcheck // says it all
	}
	taken := [][]byte{plan.Source.Text}
	for _, setting := range f.set {
		taken = append(taken, []byte(setting.Value))
	}
	for _, secret := range plan.Secrets() {
		secrets.Add(secret)
		taken = append(taken, []byte(secret))
	}
	if stated, ok := plan.Seed(); ok && f.seed == "" {
		f.scene.seed = stated
	}
	f.scene.evidence = plan.Evidence()
	play := play{
		scene: f.scene, script: bytes.Join(taken, []byte("\n")), clock: virtual.Clock(), follower: follower, secrets: secrets, console: console,
		log: log.WithOptions(zap.WithClock(networkTime{virtual.Clock()})),
	}
	virtual.Run(func() {
		done, err = play.perform(ctx, plan, config, record.NewWriter(p.stdout, nil, secrets.Text, p.afterLine))
	})
	return done, err
}

// follower shows the progress and counts the steps. Safe for concurrent use.
type follower struct {
	*progress
	clock *clock.Clock

	counting sync.Mutex
	steps    int // begun
	of       int // steps of the script
}

// Step is told that a step begins.
func (f *follower) Step(number, of int, action string) {
	f.progress.Step(number, of, action)
	f.counting.Lock()
	defer f.counting.Unlock()
	f.steps++
	f.of = max(f.of, of)
}

// networkTime is the clock of the log's lines.
type networkTime struct{ *clock.Clock }

// NewTicker is for loggers that write at intervals, which ours does not.
func (networkTime) NewTicker(every time.Duration) *time.Ticker { return time.NewTicker(every) }
