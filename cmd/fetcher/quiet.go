package main

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"provingground/cmd/internal/boot"
)

const (
	// quietEvery is the time in which the log says the same thing quietLines times at most.
	quietEvery = 10 * time.Second
	quietLines = 10
)

// quiet bounds the log's volume: a thousand nodes have the same trouble at the same time. Of each message so many lines are written in a while, and
// then one that says how many more there were, of how many nodes. Lines of the level debug are what somebody asked for, and are all written.
type quiet struct {
	mu   sync.Mutex
	said map[thing]*saying
}

// thing is what lines have in common that say the same.
type thing struct {
	logger, message string
	level           zapcore.Level
}

// saying is what was said of it in this while.
type saying struct {
	out     zapcore.Core
	lines   int
	leftOut int
	nodes   map[string]bool // of which lines were left out
}

// wrap is for zap.WrapCore.
func (q *quiet) wrap(core zapcore.Core) zapcore.Core { return quietCore{core, q} }

type quietCore struct {
	zapcore.Core

	quiet *quiet
}

// With keeps the bound.
func (c quietCore) With(fields []zapcore.Field) zapcore.Core {
	return quietCore{c.Core.With(fields), c.quiet}
}

// Check has Write decide, which sees the fields.
func (c quietCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if entry.Level < zapcore.InfoLevel {
		return c.Core.Check(entry, checked)
	}
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write writes a line, or counts it.
func (c quietCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	if !c.quiet.says(c.Core, entry, fields) {
		return nil
	}
	return c.Core.Write(entry, fields)
}

func (q *quiet) says(out zapcore.Core, entry zapcore.Entry, fields []zapcore.Field) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := thing{entry.LoggerName, entry.Message, entry.Level}
	s := q.said[key]
	if s == nil {
		if q.said == nil {
			q.said = make(map[thing]*saying)
		}
		s = &saying{out: out, nodes: make(map[string]bool)}
		q.said[key] = s
	}
	if s.lines++; s.lines <= quietLines {
		return true
	}
	s.leftOut++
	for _, field := range fields {
		if field.Key == "node" {
			s.nodes[field.String] = true
		}
	}
	return false
}

// run tells what was left out, every while until ctx ends.
func (q *quiet) run(ctx context.Context) {
	for boot.Pause(ctx, quietEvery) == nil {
		q.tell()
	}
}

// tell tells what was left out since it was last called, and begins a new while.
func (q *quiet) tell() {
	q.mu.Lock()
	said := q.said
	q.said = nil
	q.mu.Unlock()
	for what, s := range said {
		if s.leftOut == 0 {
			continue
		}
		fields := []zapcore.Field{zap.Int("left_out", s.leftOut)}
		if len(s.nodes) > 0 {
			fields = append(fields, zap.Int("nodes", len(s.nodes)))
		}
		_ = s.out.Write(zapcore.Entry{
			Level: what.level, Time: time.Now(), LoggerName: what.logger, Message: what.message + " (the same, left out)",
		}, fields) // a log that cannot be written cannot be told of
	}
}
