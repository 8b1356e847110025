package boot

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Log is a program's log: for people on the console and, when it has one, in a file.
type Log struct {
	*zap.Logger
	level zap.AtomicLevel
	file  *os.File
}

// NewLog returns a log of that level on the console. mask hides secrets in each line. colors is for terminals.
func NewLog(console io.Writer, level string, path string, mask func(string) string, colors bool) (*Log, error) {
	parsed, err := zap.ParseAtomicLevel(level)
	if err != nil {
		return nil, fmt.Errorf("level of the log: %w", err)
	}
	core := zapcore.Core(elsewhere{zapcore.NewCore(encoder(colors), maskedSink{mask: mask, out: console}, parsed)})
	l := &Log{level: parsed}
	if path != "" {
		l.file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600) //nolint:gosec // the configuration names the file
		if err != nil {
			return nil, fmt.Errorf("open the log file: %w", err)
		}
		once := &onceFailing{out: l.file, name: path, console: console}
		core = zapcore.NewTee(core, zapcore.NewCore(encoder(false), maskedSink{mask: mask, out: once}, parsed))
	}
	l.Logger = zap.New(core, zap.WithFatalHook(zapcore.WriteThenGoexit), zap.ErrorOutput(maskedSink{mask: mask, out: console}))
	return l, nil
}

// Shown is the name of loggers whose entries stand on the console already, in their own words: they go to the file only.
const Shown = "shown"

// elsewhere is the console's core, less the entries of loggers of the name Shown.
type elsewhere struct{ zapcore.Core }

// Check leaves out the entries that are shown already.
func (e elsewhere) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if entry.LoggerName == Shown {
		return checked
	}
	return e.Core.Check(entry, checked)
}

// With keeps the filter.
func (e elsewhere) With(fields []zapcore.Field) zapcore.Core { return elsewhere{e.Core.With(fields)} }

// Close closes the log file. What was lost of it has been said.
func (l *Log) Close() error {
	if l.file == nil {
		return nil
	}
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("close the log file: %w", err)
	}
	return nil
}

func encoder(colors bool) zapcore.Encoder {
	config := zap.NewDevelopmentEncoderConfig()
	config.EncodeTime = func(t time.Time, e zapcore.PrimitiveArrayEncoder) { e.AppendString(t.UTC().Format("15:04:05.000")) }
	config.EncodeDuration = zapcore.StringDurationEncoder
	config.CallerKey, config.StacktraceKey = "", ""
	config.ConsoleSeparator = "  "
	if colors {
		config.EncodeLevel = zapcore.CapitalColorLevelEncoder
	}
	return zapcore.NewConsoleEncoder(config)
}

// maskedSink masks each line of log before it is written.
type maskedSink struct {
	mask func(string) string
	out  io.Writer
}

func (s maskedSink) Write(p []byte) (int, error) {
	if _, err := io.WriteString(s.out, s.mask(string(p))); err != nil {
		return 0, err //nolint:wrapcheck // an io.Writer
	}
	return len(p), nil
}

func (s maskedSink) Sync() error { return nil }

// onceFailing is the log file: when it cannot be written (a full disk) that is said once on the console, and the work goes on.
type onceFailing struct {
	out     io.Writer
	name    string
	console io.Writer

	mu     sync.Mutex
	failed bool
}

func (o *onceFailing) Write(p []byte) (int, error) {
	_, err := o.out.Write(p)
	if err == nil {
		return len(p), nil
	}
	o.mu.Lock()
	first := !o.failed
	o.failed = true
	o.mu.Unlock()
	if first {
		_, _ = fmt.Fprintf(o.console, "lines of log are missing from %s from here on, the work goes on: %v\n", o.name, err)
	}
	return len(p), nil
}
