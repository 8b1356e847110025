package main

import (
	"context"
	crypto "crypto/rand"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"provingground/cmd/internal/boot"
	"provingground/dsl"
	"provingground/internal/redact"
	"provingground/internal/runlock"
	"provingground/orchestrator"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/record"
	"provingground/uptime"
)

// runFlags are the flags of run and resume.
type runFlags struct {
	format     string
	stream     bool
	timeout    time.Duration
	record     string
	concurrent bool
	quiet      bool
	noProgress bool
	seed       string
}

func (f *runFlags) define(set *flag.FlagSet) {
	set.StringVar(&f.format, "format", "text", "how to show findings about the script: text, json or github")
	set.DurationVar(&f.timeout, "timeout", 0, "end the run after this `time`, clean up, exit 3")
	set.StringVar(&f.record, "record", "", "write the record to this `file` (default run-TIME.record beside the log file)")
	set.BoolVar(&f.concurrent, "concurrent", false, "run although another run on this network is under way on this machine")
	set.BoolVar(&f.quiet, "quiet", false, "log warnings and errors only")
	set.BoolVar(&f.noProgress, "no-progress", false, "no progress line on a terminal")
}

func runCommand(ctx context.Context, p program, args []string) (int, error) {
	var f runFlags
	set := p.flags("run")
	f.define(set)
	set.StringVar(&f.seed, "seed", "", "a `number` that gives every random choice of the run (default: drawn and recorded)")
	set.BoolVar(&f.stream, "stream", false, "read and run the script step by step, as it arrives")
	positional, err := p.parse(set, args)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	if len(positional) == 0 {
		return orchestrator.CodeUsage, usagef("No config provided")
	}
	return p.start(ctx, f, positional[0], "")
}

func resumeCommand(ctx context.Context, p program, args []string) (int, error) {
	var f runFlags
	set := p.flags("resume")
	f.define(set)
	positional, err := p.parse(set, args)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	if len(positional) != 2 {
		return orchestrator.CodeUsage, usagef("it takes the record of the run and the configuration")
	}
	return p.start(ctx, f, positional[1], positional[0])
}

// start runs a script, or with a record continues the run of it.
func (p program) start(ctx context.Context, f runFlags, configPath, recordedPath string) (code int, err error) {
	if err := validFormat(f.format, dsl.AsText, dsl.AsJSON, dsl.AsGitHub); err != nil {
		return orchestrator.CodeUsage, err
	}
	seed, err := parseSeed(f.seed)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	config, err := orchestrator.ReadConfig(configPath, p.getenv)
	if err != nil {
		return orchestrator.CodeUsage, err //nolint:wrapcheck // says it all
	}
	var plan *orchestrator.Plan
	if !f.stream {
		if plan, code, err = p.compile(orchestrator.CompileOptions{Config: &config}, dsl.Format(f.format)); plan == nil {
			return code, err
		}
	}
	var recorded *orchestrator.Recorded
	if recordedPath != "" {
		if recorded, err = readRecorded(recordedPath); err != nil {
			return orchestrator.CodeUsage, err
		}
		if err := recorded.Fits(plan, config); err != nil {
			return orchestrator.CodeUsage, fmt.Errorf("cannot continue %s: %w", recordedPath, err)
		}
		if end, ended := recorded.Ended(); ended && end == orchestrator.CodeOK {
			return orchestrator.CodeUsage, fmt.Errorf("%s is the record of a run that came to its end: there is nothing to continue", recordedPath)
		}
	}
	s, err := p.open(config, f, configPath)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	began := time.Now()
	path := f.record
	if path == "" {
		path = orchestrator.RecordPath(config.LogFile, began)
	}
	// A record that would overwrite another one loses what it takes to undo that run.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // holds no secret; the caller names it
	if err != nil && f.record != "" && errors.Is(err, os.ErrExist) && !plainFile(path) {
		file, err = os.OpenFile(path, os.O_WRONLY, 0) //nolint:gosec // a pipe or a device
	}
	if err != nil {
		return orchestrator.CodeUsage, fmt.Errorf("create the record of the run: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	writer := record.NewWriter(p.stdout, file, s.recordMask.Text, p.afterLine)
	options := orchestrator.Options{
		Version: boot.Version(), Seed: seed, RecordPath: path, Progress: s.progress, Resume: recorded,
	}
	s.log.Info("the run is recorded", zap.String("file", path))
	for _, w := range config.Warnings {
		s.log.Warn(w)
	}
	var run *orchestrator.Run
	if f.stream {
		run = orchestrator.NewStreamRun(dsl.NewStream("stdin", p.stdin), config, s.world, writer, options)
	} else {
		run = orchestrator.NewRun(plan, config, s.world, writer, options)
	}
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("the run did not finish within %s (-timeout)", f.timeout))
		defer cancel()
	}
	ctx, stop := boot.Signals(ctx, func(s os.Signal) error { return &orchestrator.Interrupted{Signal: s} }, func(sig os.Signal) {
		s.progress.Close()
		p.leave(run.MayRemain(), path, configPath, sig)
	})
	defer stop()
	result := run.Do(ctx)
	s.progress.Close()
	p.report(result, path, configPath)
	return result.Code, nil
}

func parseSeed(text string) (uint64, error) {
	if text == "" {
		var random [8]byte
		if _, err := crypto.Read(random[:]); err != nil {
			return 0, fmt.Errorf("draw a seed: %w", err)
		}
		return binary.LittleEndian.Uint64(random[:]) >> 11, nil // readers of JSON keep 53 bits
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, usagef("-seed is a number from 0 on, not %q", text)
	}
	return seed, nil
}

func plainFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func readRecorded(path string) (*orchestrator.Recorded, error) {
	recorded, err := orchestrator.ReadRecord(path)
	if err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	return recorded, nil
}

// report says on standard error how the run ended.
func (p program) report(result orchestrator.Result, recordPath, configPath string) {
	var text strings.Builder
	if result.Err != nil {
		var at orchestrator.Placed
		if errors.As(result.Err, &at) {
			var found strings.Builder
			if err := (dsl.Findings{at.Finding()}).Write(&found, dsl.AsText); err == nil {
				text.WriteString(found.String())
			}
		} else {
			fmt.Fprintf(&text, "%v\n", result.Err)
		}
	}
	for _, u := range result.Undone {
		fmt.Fprintf(&text, "  %s\n", u)
	}
	writeRemains(&text, result.Remains, recordPath, configPath)
	_, _ = fmt.Fprint(p.stderr, redact.Text(text.String()))
}

func writeRemains(text io.Writer, remains []orchestrator.Remaining, recordPath, configPath string) {
	if len(remains) == 0 {
		return
	}
	_, _ = fmt.Fprintln(text, "may still be running or in force:")
	for _, r := range remains {
		_, _ = fmt.Fprintf(text, "  %s\n", r)
	}
	_, _ = fmt.Fprintf(text, "to undo it: orchestrator stop %s %s\n", recordPath, configPath)
}

// leave ends the process at a second signal, and says what may still be running.
func (p program) leave(remains []orchestrator.Remaining, recordPath, configPath string, s os.Signal) {
	_, _ = fmt.Fprintln(p.stderr, "a second signal: leaving at once, without finishing the clean-up")
	writeRemains(p.stderr, remains, recordPath, configPath)
	signal.Reset()
	os.Exit(128 + boot.Number(s)) //nolint:revive // the second signal means: at once
}

// session is what a run, a stop or a resume has open.
type session struct {
	world      orchestrator.World
	log        *boot.Log
	progress   *progress
	console    *redact.Writer
	recordMask *redact.Redactor
	lock       *runlock.Lock
	transport  interface{ CloseIdleConnections() }
}

// open makes the world of a real run: clock, log, lock, nodes.
func (p program) open(config orchestrator.Config, f runFlags, configPath string) (*session, error) {
	clock, err := config.Clock()
	if err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	key, err := itn.ParseKey(config.Key)
	if err != nil {
		return nil, fmt.Errorf("the ITN key of %s: %w", configPath, err)
	}
	s := &session{recordMask: &redact.Redactor{}}
	secrets := &redact.Redactor{}
	secrets.Add(config.Key)
	s.recordMask.Add(config.Key)
	var online orchestrator.Online
	if config.AWS != nil {
		online, err = p.submissions(*config.AWS, s)
	} else {
		online, err = uptime.NewOnlineList(config.OnlineURL, nil, config.RequestTimeout)
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	if !f.concurrent {
		command := "orchestrator " + filepath.Base(configPath)
		if s.lock, err = runlock.Acquire("", config.Network(), command, time.Now()); err != nil {
			return nil, err //nolint:wrapcheck // says it all
		}
	}
	s.progress = newProgress(p.stderr, clock, f.noProgress || f.quiet)
	s.console = secrets.Writer(s.progress.console)
	level := config.LogLevel
	if f.quiet {
		level = "warn"
	}
	if s.log, err = boot.NewLog(s.progress.console, level, config.LogFile, secrets.Text, s.progress.console.Terminal()); err != nil {
		return nil, errors.Join(err, s.close())
	}
	transport := itn.NewTransport()
	s.transport = transport
	s.world = orchestrator.World{
		Clock: clock, Online: online, Files: orchestrator.Disk{}, Programs: orchestrator.Executables{}, Getenv: p.getenv,
		Log: s.log.Logger, Shown: s.log.Named(boot.Shown), Console: s.console, Hide: secrets.Add, Mask: secrets.Text,
		Dial: func(address string) *itn.Client {
			return itn.New(address, key, itn.Options{
				Transport: transport, RequestTimeout: config.RequestTimeout, Logger: s.log.Named("itn"), LogRequests: config.PrintRequests,
			})
		},
	}
	return s, nil
}

// submissions lists the nodes by their submissions in S3.
func (p program) submissions(config orchestrator.AWS, s *session) (orchestrator.Online, error) {
	file, _ := p.getenv("AWS_CREDENTIALS_FILE")
	store, err := uptime.LoadS3(context.Background(), config.Region, file)
	if err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	source, err := uptime.NewSubmissions(store, uptime.SubmissionsConfig{
		Bucket: uptime.BucketName(config.AccountID), Prefix: config.Prefix, Now: time.Now,
		Skipped: func(err error) { s.log.Warn("a submission is left out", zap.Error(err)) },
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	return source, nil
}

func (s *session) close() error {
	var err error
	if s.transport != nil {
		s.transport.CloseIdleConnections()
	}
	if s.console != nil {
		err = errors.Join(err, s.console.Close())
	}
	if s.progress != nil {
		s.progress.Close()
	}
	if s.log != nil {
		err = errors.Join(err, s.log.Close())
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Release())
	}
	return err
}

func stopCommand(ctx context.Context, p program, args []string) (code int, err error) {
	var f runFlags
	set := p.flags("stop")
	set.BoolVar(&f.concurrent, "concurrent", false, "stop although another run on this network is under way on this machine")
	timeout := set.Duration("timeout", 5*time.Minute, "how long to try")
	positional, err := p.parse(set, args)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	if len(positional) != 2 {
		return orchestrator.CodeUsage, usagef("it takes the record of the run and the configuration")
	}
	recordPath, configPath := positional[0], positional[1]
	config, err := orchestrator.ReadConfig(configPath, p.getenv)
	if err != nil {
		return orchestrator.CodeUsage, err //nolint:wrapcheck // says it all
	}
	recorded, err := readRecorded(recordPath)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	if err := recorded.FitsNetwork(config); err != nil {
		return orchestrator.CodeUsage, fmt.Errorf("cannot undo %s: %w", recordPath, err)
	}
	f.noProgress = true
	s, err := p.open(config, f, configPath)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	// What is found out and undone is added to the record, so that asking twice does not count a request as two.
	file, err := os.OpenFile(recordPath, os.O_WRONLY|os.O_APPEND, 0) //nolint:gosec // the caller's own argument
	if err != nil {
		s.log.Warn("what is undone cannot be added to the record", zap.Error(err))
	} else {
		defer func() { err = errors.Join(err, file.Close()) }()
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			if err := file.Truncate(recorded.Whole); err != nil { // a line that was cut off
				return orchestrator.CodeStep, fmt.Errorf("take the torn line off the record: %w", err)
			}
		}
	}
	var sink record.File
	if file != nil {
		sink = file
	}
	ctx, stop := boot.Signals(ctx, func(s os.Signal) error { return &orchestrator.Interrupted{Signal: s} }, func(sig os.Signal) {
		p.leave(nil, recordPath, configPath, sig)
	})
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("not done within %s (-timeout)", *timeout))
	defer cancel()
	result := orchestrator.Stop(ctx, recorded, config, s.world, record.NewWriter(p.stdout, sink, s.recordMask.Text, nil), orchestrator.Options{Version: boot.Version()})
	if result.Err == nil && len(result.Undone) == 0 {
		_, _ = fmt.Fprintln(p.stderr, "there was nothing to undo")
	}
	p.report(result, recordPath, configPath)
	return result.Code, nil
}
