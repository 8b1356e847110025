package service

import (
	"errors"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"provingground/internal/mina"
)

// quietTime is how long one line of a kind stands for all of its kind.
const quietTime = 10 * time.Second

// quietLog logs, of each kind of event, a line in ten seconds at most, with the number of those left out, so that a flood of requests is none of lines.
// The kinds are a fixed set. Safe for concurrent use.
type quietLog struct {
	log *zap.Logger
	now func() time.Time

	mu    sync.Mutex
	kinds map[string]quiet
}

// quiet is what is known of one kind of event.
type quiet struct {
	logged time.Time
	more   int // since then, not logged
}

func newQuietLog(log *zap.Logger, now func() time.Time) *quietLog {
	return &quietLog{log: log, now: now, kinds: map[string]quiet{}}
}

// write logs an event, or counts it.
func (l *quietLog) write(kind string, level zapcore.Level, message string, fields ...zap.Field) {
	entry := l.log.Check(level, message)
	if entry == nil {
		return
	}
	more, isTurn := l.turn(kind)
	if !isTurn {
		return
	}
	fields = append(fields, zap.String("reason", kind))
	if more > 0 {
		fields = append(fields, zap.Int("more", more)) // of the same kind, left out since the last line
	}
	entry.Write(fields...)
}

// turn tells whether an event is to be logged, and how many were not.
func (l *quietLog) turn(kind string) (more int, isTurn bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	last := l.kinds[kind]
	if since := now.Sub(last.logged); since >= 0 && since < quietTime {
		last.more++
		l.kinds[kind] = last
		return 0, false
	}
	l.kinds[kind] = quiet{logged: now}
	return last.more, true
}

// refused logs a submission that was not taken: who and why, never what.
func (l *quietLog) refused(result outcome, a *arrival, err error) {
	fields := []zap.Field{zap.Stringer("address", a.from)}
	if a.submission.Submitter != (mina.PublicKey{}) {
		fields = append(fields, zap.Stringer("submitter", a.submission.Submitter))
	}
	if err != nil {
		fields = append(fields, zap.Error(err))
	}
	l.write(string(result), result.verdict().level, "submission not taken", fields...)
}

// failed logs another event.
func (l *quietLog) failed(kind string, level zapcore.Level, message string, err error) {
	l.write(kind, level, message, zap.Error(err))
}

// Write takes the messages of the HTTP server.
func (l *quietLog) Write(message []byte) (int, error) {
	l.failed("http_server", zapcore.WarnLevel, "the HTTP server reports", errors.New(strings.TrimSpace(string(message))))
	return len(message), nil
}
