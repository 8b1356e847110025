package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"provingground/orchestrator/record"
)

// Follower keeps the history of a run that goes on. Safe for concurrent use.
type Follower struct {
	config *pgx.ConnConfig
	path   string
	log    *zap.Logger

	wake    chan struct{} // there may be new lines
	closing chan struct{} // there will be none any more
	cancel  context.CancelFunc
	done    chan struct{}
	failed  error // why the history is not complete; to be read after done
}

// Follow begins to store the history of the run whose record file is at path, and which has no lines yet. It returns at once, whether the database
// can be reached or not: what cannot be stored now is stored when it can. What goes wrong is logged. The error says that uri is none.
//
// ctx does not end it: [Follower.Close] must be called.
func Follow(ctx context.Context, uri, path string, log *zap.Logger) (*Follower, error) {
	config, err := configure(uri)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &Follower{
		config: config, path: path, log: log,
		wake: make(chan struct{}, 1), closing: make(chan struct{}), cancel: cancel, done: make(chan struct{}),
	}
	go func() {
		defer close(f.done)
		f.failed = f.follow(ctx)
	}()
	return f, nil
}

// Wake says that the record has more lines. It never waits.
func (f *Follower) Wake() {
	select {
	case f.wake <- struct{}{}:
	default: // it is awake
	}
}

// Close stores what is not stored yet, for as long as ctx lets it, and ends the goroutine and the connection. The error says why the history is
// not complete; [Import] completes it from the record. Close must be called once, after the last line was written.
func (f *Follower) Close(ctx context.Context) error {
	close(f.closing)
	select {
	case <-f.done:
	case <-ctx.Done():
		f.cancel()
		<-f.done
	}
	f.cancel()
	return f.failed
}

// pause is how long the follower waits before it connects again, at first and at most.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 15 * time.Second
)

// follow stores the record until it is complete, or ctx ends; then it returns why it is not.
func (f *Follower) follow(ctx context.Context) error {
	pause, said := firstPause, false
	for {
		s := &session{Follower: f}
		err := s.store(ctx)
		if err == nil || errors.Is(err, errOvertaken) {
			return err
		}
		if s.stored { // it was well for a while
			pause, said = firstPause, false
		}
		var broken *brokenError
		if errors.As(err, &broken) {
			return err
		}
		if ctx.Err() == nil && !said {
			f.log.Warn("the history of the run cannot be stored now; it is tried again, and the run goes on", zap.Error(err))
			said = true
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
		pause = min(2*pause, lastPause)
		select {
		case <-f.closing: // time is short
			pause = min(pause, time.Second)
		default:
		}
	}
}

// brokenError is a record that cannot be read: trying again does not help.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// errOvertaken says that the database holds a later continuation of the run.
var errOvertaken = errors.New("the database has the history of a later continuation of this run")

// errElsewhere says that another process, which reads the record as it grows, has got further: then this one reads it anew.
var errElsewhere = errors.New("another program writes the history of the same run")

// session is one connection's life: the whole record so far is read, and stored where that is not done, then what is added to it.
type session struct {
	*Follower
	conn   *pgx.Conn
	file   *os.File
	offset int64  // in the file, behind the last whole line that was read
	text   []byte // of the file, from offset on
	fold   *fold  // nil before the first line
	stored bool   // whether the run is in the database as far as the fold, or was when it was last flushed
	lines  int64  // that are stored
}

// store stores the record until it is closed.
func (s *session) store(ctx context.Context) (err error) {
	if s.conn, err = pgx.ConnectConfig(ctx, s.config); err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer func() { _ = s.conn.Close(context.WithoutCancel(ctx)) }() // what is committed is, and the rest is stored again
	if err := ready(ctx, s.conn); err != nil {
		return err
	}
	if s.file, err = os.Open(s.path); err != nil {
		return &brokenError{err} // names operation and path
	}
	defer func() { _ = s.file.Close() }() // nothing is written
	for {
		closed := false
		select {
		case <-s.closing: // looked at before the file, so that nothing is added after the last look
			closed = true
		default:
		}
		more := true
		for more {
			if more, err = s.advance(ctx); err != nil {
				return err
			}
		}
		if closed {
			return nil
		}
		select {
		case <-s.wake:
		case <-s.closing:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// piece is how much of the file is read at once.
const piece = 256 << 10

// advance reads a piece of the file and stores its whole lines. It reports whether there may be more.
func (s *session) advance(ctx context.Context) (more bool, err error) {
	have := len(s.text)
	s.text = append(s.text, make([]byte, piece)...)
	n, err := s.file.ReadAt(s.text[have:], s.offset+int64(have))
	s.text = s.text[:have+n]
	if err != nil && !errors.Is(err, io.EOF) {
		return false, &brokenError{fmt.Errorf("read the record for the history: %w", err)}
	}
	whole := bytes.LastIndexByte(s.text, '\n') + 1
	if whole > 0 {
		_, err := record.Read(s.path, bytes.NewReader(s.text[:whole]), s.take)
		if err != nil && !errors.Is(err, record.ErrNoRecord) { // a piece of blank lines has none
			return false, &brokenError{fmt.Errorf("read the record for the history: %w", err)}
		}
		s.offset += int64(whole)
		s.text = append([]byte(nil), s.text[whole:]...)
	}
	more = n == piece
	if s.fold == nil || s.fold.lines == s.lines || more && !s.stored { // what was stored before is found out at the end of the file
		return more, nil
	}
	return more, s.commit(ctx)
}

func (s *session) take(line record.Line) error {
	if s.fold == nil {
		if line.Name != lineRun {
			return errNoRun
		}
		f, err := newFold(line)
		s.fold = f
		return err
	}
	return s.fold.take(line)
}

// commitTime bounds one transaction: a database that does not answer is connected to anew.
const commitTime = time.Minute

// commit stores what the fold has taken since the last time; the first time it writes the run anew.
func (s *session) commit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commitTime)
	defer cancel()
	if !s.stored {
		w, err := begin(ctx, s.conn, s.fold)
		if err != nil {
			return fmt.Errorf("store the run: %w", err)
		}
		run, err := w.finish(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("store the run: %w", err)
		case !run.Stored && w.had.continued().After(s.fold.continued()):
			return errOvertaken
		case !run.Stored && w.had.lines > s.fold.lines:
			return errElsewhere
		}
		s.stored, s.lines = true, s.fold.lines
		return nil
	}
	tx, err := s.conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("store lines of the run: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // after a commit it does nothing
	// Whoever writes the same run in another process, from the record that grows, gets further than we are; then we start anew.
	locked, err := tx.Exec(ctx, "SELECT FROM run WHERE run_id = $1 AND lines = $2 FOR UPDATE", s.fold.id, s.lines)
	if err == nil && locked.RowsAffected() == 0 {
		err = errElsewhere
	}
	if err == nil {
		b := s.fold.batch()
		b.Queue(upsert, s.fold.run()...)
		err = tx.SendBatch(ctx, b).Close()
	}
	if err == nil {
		err = tx.Commit(ctx)
	}
	if err != nil {
		return fmt.Errorf("store lines of the run: %w", err)
	}
	s.lines = s.fold.lines
	return nil
}
