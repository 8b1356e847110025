package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// stream answers events and logs with a line for each.
func (s *Server) stream(ctx context.Context, w http.ResponseWriter, command Command, who caller, entry Entry) {
	ctx, cancel := context.WithCancelCause(ctx)
	lines := &lines{w: w, control: http.NewResponseController(w), limit: s.options.StreamTime}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	err := lines.write(Record{}) // so that the caller knows that it was accepted

	var watching sync.WaitGroup
	watching.Go(func() { s.watchStream(ctx, cancel, lines, who) })
	if err == nil {
		err = s.sendAll(ctx, command, lines)
	}
	failure := failureOf(ctx, err)
	cancel(nil)
	watching.Wait()

	var end End
	if failure != nil {
		end.Reason, end.Message = failure.Reason, failure.Message
	}
	if missed, ok := errors.AsType[*MissedError](err); ok {
		failure = refuse(TooSlow, "%v", missed)
		end = End{missed.Missed, failure.Reason, failure.Message}
	}
	if err := lines.write(Record{End: &end}); err != nil && failure == nil {
		failure = refuse(TooSlow, "%v", err)
	}
	s.recordEnd(ctx, entry, failure)
}

func (s *Server) sendAll(ctx context.Context, command Command, lines *lines) error {
	if command.Operation == OpLogs {
		return s.options.Operator.Logs(ctx, command.Target, command.Arguments, func(logs ...LogLine) error {
			records := make([]Record, len(logs))
			for i := range logs {
				records[i].Log = &logs[i]
			}
			return lines.write(records...)
		})
	}
	return s.options.Operator.Events(ctx, command.Target, command.Arguments, func(events ...Event) error {
		records := make([]Record, len(events))
		for i := range events {
			records[i].Event = &events[i]
		}
		return lines.write(records...)
	})
}

// watchStream says now and then that the agent is there, and ends the stream of a caller who may no longer read it, until ctx ends.
func (s *Server) watchStream(ctx context.Context, cancel context.CancelCauseFunc, lines *lines, who caller) {
	ticker := time.NewTicker(s.options.Alive)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !s.still(who, RoleReader) {
			cancel(errRevoked)
			return
		}
		if err := lines.write(Record{}); err != nil {
			cancel(err)
			return
		}
	}
}

// lines writes records to a reader. Safe for concurrent use.
type lines struct {
	w       http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration

	mu  sync.Mutex
	err error // of the first write that failed, after which nothing more is written
}

// write sends records, and waits for the reader for a while. Its error is for good.
func (l *lines) write(records ...Record) error {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	for _, record := range records {
		if err := encoder.Encode(record); err != nil {
			return fmt.Errorf("encoding a record: %w", err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	_ = l.control.SetWriteDeadline(time.Now().Add(l.limit)) // what cannot be limited is a test's
	_, err := l.w.Write(buffer.Bytes())
	if err == nil {
		err = l.control.Flush()
	}
	if err != nil {
		l.err = fmt.Errorf("the reader was gone or did not read for %s: %w", l.limit, err)
	}
	return l.err
}
