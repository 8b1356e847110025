package main

import (
	"context"
	crypto "crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"provingground/cmd/internal/boot"
	"provingground/dsl"
	"provingground/internal/redact"
	"provingground/internal/runlock"
	"provingground/orchestrator"
	"provingground/orchestrator/evidence"
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
	set        settings
	ignored    string // an argument that means nothing; "" for none
}

func (f *runFlags) define(set *flag.FlagSet) {
	set.StringVar(&f.format, "format", "text", "how to show findings about the script: text, json or github")
	set.Func("timeout", "end the run after this `time` (90s, 30m, 2h), clean up, exit 3", duration(&f.timeout))
	set.StringVar(&f.record, "record", "", "write the record to this `file` (default run-TIME.record beside the log file)")
	set.BoolVar(&f.concurrent, "concurrent", false, "run although another run on this network is under way on this machine")
	set.BoolVar(&f.quiet, "quiet", false, "log warnings and errors only")
	set.Func("set", "a parameter of the script, as `NAME=VALUE`; may be repeated", f.set.add)
	set.BoolVar(&f.noProgress, "no-progress", false, "no progress line on a terminal")
}

// duration takes a flag's time, above 0.
func duration(into *time.Duration) func(string) error {
	return func(text string) error {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return errors.New("write a time above 0, such as 90s, 30m or 2h")
		}
		*into = d
		return nil
	}
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
	if len(positional) > 1 { // the tool that people have today ignores them
		_, _ = fmt.Fprintf(p.stderr, "orchestrator: what stands behind the configuration is ignored: %q (a script comes on standard input: < a.script)\n",
			positional[1:])
		f.ignored = positional[1]
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
	if f.stream && len(f.set) > 0 {
		return orchestrator.CodeUsage, usagef("-set is for the script language, and -stream reads a JSON step stream")
	}
	seed, err := parseSeed(f.seed)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	config, err := orchestrator.ReadConfig(configPath, p.getenv)
	if err != nil && recordedPath != "" {
		err = p.swapped([]string{recordedPath, configPath}, err)
	}
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	var plan *orchestrator.Plan
	if !f.stream {
		if plan, code, err = p.compile(orchestrator.CompileOptions{Config: &config}, p.reading(f.set, p.getenv), dsl.Format(f.format)); plan == nil {
			return code, err
		}
		if f.ignored != "" && plan.Empty() { // a slip, and not what the existing tool's callers do
			return orchestrator.CodeUsage, usagef("there is no script on standard input: orchestrator %s < %s", word(configPath), word(f.ignored))
		}
		if stated, ok := plan.Seed(); ok && f.seed == "" {
			seed = stated
		}
	}
	s, err := p.open(ctx, config, f, configPath) // the lock first: what is read then is what the other run left
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.connect(ctx, config, plan); err != nil {
		return orchestrator.CodeUsage, err
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
	began := time.Now()
	path := f.record
	if path == "" {
		path = orchestrator.RecordPath(config.LogFile, began)
	}
	// A record that would overwrite another one loses what it takes to undo that run.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644) //nolint:gosec // holds no secret; the caller names it
	if err != nil && f.record != "" && errors.Is(err, os.ErrExist) && !plainFile(path) {
		file, err = os.OpenFile(path, os.O_WRONLY, 0) //nolint:gosec // a pipe or a device
	}
	if err != nil {
		return orchestrator.CodeUsage, fmt.Errorf("create the record of the run: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if plainFile(path) {
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			s.log.Warn("stop and resume cannot see that this run is alive", zap.String("file", path), zap.Error(err))
		}
	}
	if plan != nil {
		for _, secret := range plan.Secrets() {
			s.recordMask.Add(secret)
			if len(secret) < 4 {
				s.log.Warn("a value of env() has fewer than 4 characters: it cannot be told from other text, and is not masked in what programs and nodes say")
			}
		}
	}
	keeper := newHistorian(ctx, config, path, configPath, s.log.Logger)
	defer keeper.close(ctx)
	writer := record.NewWriter(p.stdout, file, s.recordMask.Text, func(lines int) {
		keeper.wake()
		if p.afterLine != nil {
			p.afterLine(lines)
		}
	})
	options := orchestrator.Options{
		ID: uuid.NewString(), Version: boot.Version(), Seed: seed, RecordPath: path, Progress: s.progress, Resume: recorded,
	}
	s.log.Info("the run is recorded", zap.String("file", path))
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
	ctx, stop := boot.Signals(ctx, s.ending, func(sig os.Signal) {
		s.progress.Close()
		p.leave(sig, func(text io.Writer) { writeRemains(text, run.MayRemain(), path, configPath) })
	})
	defer stop()
	result := run.Do(ctx)
	s.progress.Close()
	p.report(result, path, configPath, dsl.Format(f.format), s.world.Mask)
	return result.Code, nil
}

// swapped adds to an error about the configuration that it and the record may stand in each other's places.
func (p program) swapped(positional []string, err error) error {
	if _, other := orchestrator.ReadConfig(positional[0], p.getenv); other == nil {
		return usagef("%s is a configuration: the record comes first, then the configuration", positional[0])
	}
	return err
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

// readRecorded reads the record of a run that is over: the record file of one that is alive is locked by it.
func readRecorded(path string) (*orchestrator.Recorded, error) {
	if file, err := os.Open(path); err == nil { //nolint:gosec // the caller's own argument
		locked := unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
		if err := file.Close(); err != nil {
			return nil, err //nolint:wrapcheck // names operation and path
		}
		if errors.Is(locked, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("the run that writes %s is alive: end it first, with Ctrl-C or kill", path)
		}
	}
	recorded, err := orchestrator.ReadRecord(path)
	if errors.Is(err, record.ErrNoRecord) {
		return nil, fmt.Errorf("%w: if a redirection emptied it, the run's record file holds the same lines", err)
	}
	return recorded, err //nolint:wrapcheck // says it all
}

// endLine makes the record, whose whole lines take so many bytes, end with a whole line: a last one that lacks its newline only gets it,
// one that was cut off is taken off.
func endLine(file *os.File, path string, whole int64) error {
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == whole {
		return err //nolint:wrapcheck // names operation and path
	}
	text, err := os.ReadFile(path) //nolint:gosec // the caller's own argument
	if err != nil {
		return err //nolint:wrapcheck // names operation and path
	}
	if json.Valid(text[whole:]) {
		_, err = file.WriteString("\n")
	} else {
		err = file.Truncate(whole)
	}
	return err //nolint:wrapcheck // names operation and path
}

// report says on standard error how the run ended. What has a place in the script is shown as findings are.
func (p program) report(result orchestrator.Result, recordPath, configPath string, format dsl.Format, mask func(string) string) {
	var text strings.Builder
	for _, err := range single(result.Err) {
		var shown strings.Builder
		if found := findings(err); len(found) > 0 && found.Write(&shown, format) == nil {
			text.WriteString(shown.String())
		} else {
			fmt.Fprintf(&text, "%v\n", err)
		}
	}
	for _, u := range result.Undone {
		fmt.Fprintf(&text, "  %s\n", u)
	}
	if result.Held > 0 {
		claims := "claims"
		if result.Held == 1 {
			claims = "claim"
		}
		verdict := ""
		if result.Code == orchestrator.CodeOK {
			verdict = ": pass"
		}
		fmt.Fprintf(&text, "%d %s held%s\n", result.Held, claims, verdict)
	}
	writeRemains(&text, result.Remains, recordPath, configPath)
	if result.Code == orchestrator.CodeInconclusive {
		fmt.Fprintf(&text, "inconclusive (exit code %d)\n", result.Code)
	}
	_, _ = fmt.Fprint(p.stderr, mask(text.String()))
}

// findings returns what is in an error about a place in the script.
func findings(err error) dsl.Findings {
	var failed orchestrator.Placed
	var wrong orchestrator.Wrong
	var broken dsl.Finding
	switch {
	case errors.As(err, &failed):
		return dsl.Findings{failed.Finding()}
	case errors.As(err, &wrong):
		return wrong.Findings()
	case errors.As(err, &broken):
		return dsl.Findings{broken}
	default:
		return nil
	}
}

// single returns the errors that a joined error consists of; none for nil.
func single(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error }) // this very error, not one that it wraps
	switch {
	case err == nil:
		return nil
	case !ok:
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, single(e)...)
	}
	return all
}

func writeRemains(text io.Writer, remains []orchestrator.Remaining, recordPath, configPath string) {
	if len(remains) == 0 {
		return
	}
	_, _ = fmt.Fprintln(text, "may still be running or in force:")
	for _, r := range remains {
		_, _ = fmt.Fprintf(text, "  %s\n", r)
	}
	_, _ = fmt.Fprintf(text, "to undo it: %s\n", stopLine(recordPath, configPath))
}

// stopLine is the command that undoes a run.
func stopLine(recordPath, configPath string) string {
	return fmt.Sprintf("orchestrator stop %s %s", word(recordPath), word(configPath))
}

// word makes one word of the shell of a path.
func word(path string) string {
	plain := func(r rune) bool {
		return r == '/' || r == '.' || r == '_' || r == '-' || r == '+' || r == ':' || unicode.In(r, unicode.L, unicode.N)
	}
	if path != "" && strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// leave ends the process at a second signal, after last words that say what may still be running.
func (p program) leave(s os.Signal, lastWords func(io.Writer)) {
	_, _ = fmt.Fprintln(p.stderr, "a second signal: leaving at once, without finishing the clean-up")
	lastWords(p.stderr)
	os.Exit(128 + boot.Number(s)) //nolint:forbidigo // the second signal means: at once
}

// session is what a run, a stop or a resume has open.
type session struct {
	world      orchestrator.World
	log        *boot.Log
	progress   *progress
	console    *redact.Writer
	recordMask *redact.Redactor
	lock       *runlock.Lock
	evidence   *evidence.Database // nil for none
	pools      *pools
	transport  interface{ CloseIdleConnections() }
}

// open makes the world of a real run: clock, log, lock, nodes.
func (p program) open(ctx context.Context, config orchestrator.Config, f runFlags, configPath string) (*session, error) {
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
		online, err = p.submissions(ctx, *config.AWS, s)
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
	signal.Ignore(syscall.SIGPIPE) // nobody may be reading the log, and that is no reason to end
	s.progress = newProgress(p.stderr, clock, f.noProgress || f.quiet)
	s.console = secrets.Writer(s.progress.console)
	level := config.LogLevel
	if f.quiet {
		level = "warn"
	}
	if s.log, err = boot.NewLog(s.progress.console, level, config.LogFile, secrets.Text, s.progress.console.Terminal()); err != nil {
		return nil, errors.Join(err, s.close())
	}
	for _, w := range config.Warnings {
		s.log.Warn(w)
	}
	if s.pools, err = newPools(config, func(secret string) { secrets.Add(secret); s.recordMask.Add(secret) }, s.log.Logger); err != nil {
		return nil, errors.Join(err, s.close())
	}
	transport := itn.NewTransport()
	s.transport = transport
	s.world = orchestrator.World{
		Clock: clock, Online: online, Files: orchestrator.Disk{}, Programs: orchestrator.Executables{}, SnarkPool: s.pools.at, Getenv: p.getenv,
		Log: s.log.Logger, Shown: s.log.Named(boot.Shown), Console: s.console, Hide: secrets.Add, Mask: secrets.Text,
		Dial: func(address string) *itn.Client {
			return itn.New(address, key, itn.Options{
				Transport: transport, RequestTimeout: config.RequestTimeout, Logger: s.log.Named("itn"), LogRequests: config.PrintRequests,
			})
		},
	}
	return s, nil
}

// connectTime bounds how long the beginning of a run waits for the database with the evidence.
const connectTime = 15 * time.Second

// connect opens the database with the nodes' logs. A script that asks nothing of it runs without.
func (s *session) connect(ctx context.Context, config orchestrator.Config, plan *orchestrator.Plan) error {
	if config.DBURI == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	database, err := evidence.Connect(ctx, config.DBURI, s.log.Named("evidence"))
	switch {
	case err == nil:
		s.evidence, s.world.Evidence = database, database
	case plan == nil || !plan.Evidence():
		s.log.Warn("there is no evidence: its database (dbUri) cannot be used", zap.Error(err))
		s.world.Evidence = evidence.Unreachable{Err: err}
	default:
		return fmt.Errorf("the script asks for evidence, and its database (dbUri) cannot be used: %w", err)
	}
	return nil
}

// submissions lists the nodes by their submissions in S3.
func (p program) submissions(ctx context.Context, config orchestrator.AWS, s *session) (orchestrator.Online, error) {
	file, _ := p.getenv("AWS_CREDENTIALS_FILE")
	store, err := uptime.LoadS3(ctx, config.Region, file)
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

// ending returns why a run ends that a signal interrupts, and tells who sent it what happens now: that may take minutes.
func (s *session) ending(signal os.Signal) error {
	_, _ = fmt.Fprintf(s.progress.console, "%s: no new step begins, cleaning up; a second signal leaves at once\n", signal)
	return &orchestrator.Interrupted{Signal: signal}
}

func (s *session) close() error {
	var err error
	if s.transport != nil {
		s.transport.CloseIdleConnections()
	}
	if s.pools != nil {
		s.pools.close()
	}
	if s.evidence != nil {
		s.evidence.Close()
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
	timeout := 5 * time.Minute
	set.Func("timeout", "how long to try, as a `time` (90s, 30m, 2h; default 5m)", duration(&timeout))
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
		return orchestrator.CodeUsage, p.swapped(positional, err)
	}
	f.noProgress = true
	s, err := p.open(ctx, config, f, configPath) // the lock first: what is read then is what the run left
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	recorded, err := readRecorded(recordPath)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	if err := recorded.FitsNetwork(config); err != nil {
		return orchestrator.CodeUsage, fmt.Errorf("cannot undo %s: %w", recordPath, err)
	}
	// What is found out and undone is added to the record, so that asking twice does not count a request as two.
	file, err := os.OpenFile(recordPath, os.O_WRONLY|os.O_APPEND, 0) //nolint:gosec // the caller's own argument
	if err != nil {
		s.log.Warn("what is undone cannot be added to the record", zap.Error(err))
	} else {
		defer func() { err = errors.Join(err, file.Close()) }()
		if err := endLine(file, recordPath, recorded.Whole); err != nil {
			return orchestrator.CodeStep, err
		}
	}
	var sink record.File
	if file != nil {
		sink = file
	}
	ctx, stop := boot.Signals(ctx, func(s os.Signal) error { return &orchestrator.Interrupted{Signal: s} }, func(sig os.Signal) {
		p.leave(sig, func(text io.Writer) { _, _ = fmt.Fprintf(text, "to go on: %s\n", stopLine(recordPath, configPath)) })
	})
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done within %s (-timeout)", timeout))
	defer cancel()
	result := orchestrator.Stop(ctx, recorded, config, s.world, record.NewWriter(p.stdout, sink, s.recordMask.Text, nil), orchestrator.Options{Version: boot.Version()})
	if result.Err == nil && len(result.Undone) == 0 {
		_, _ = fmt.Fprintln(p.stderr, "there was nothing to undo")
	}
	p.report(result, recordPath, configPath, dsl.AsText, s.world.Mask)
	if file != nil {
		keepHistory(ctx, config, recordPath, configPath, s.log.Logger)
	}
	return result.Code, nil
}
