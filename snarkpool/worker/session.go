package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// ErrEnded says that the worker closed its side without a bye: it died, or was killed.
var ErrEnded = errors.New("the worker ended without a bye")

// ErrBusy says that a job is out already; wait for its answer first.
var ErrBusy = errors.New("a job is out already")

// ErrNotReady says that no job can be sent: the worker has not said hello yet, or a bye has been said.
var ErrNotReady = errors.New("the worker takes no jobs")

// Session is the agent's side of the conversation with one worker. It checks every line against what may come now, so what Receive returns
// needs no further check but the proof itself. Its methods are safe for concurrent use, but one goroutine at a time should Receive.
type Session struct {
	in       io.ReadCloser
	out      io.WriteCloser
	messages chan Message
	closing  chan struct{}
	done     chan struct{} // closed when the reading goroutine has ended
	readErr  error         // why it ended; read after done

	closeOnce sync.Once
	writing   sync.Mutex

	mu      sync.Mutex
	hello   *Hello
	out1    *Job // the job that is out
	started bool
	leaving bool // the agent has said bye
	gone    error
}

// NewSession begins to listen to a worker: in is what the worker writes, out is what it reads. The session owns both; Close closes them and
// waits for the goroutine started here. Closing in must end a blocked read, which holds for pipes, sockets and [io.Pipe].
func NewSession(in io.ReadCloser, out io.WriteCloser) *Session {
	s := &Session{in: in, out: out, messages: make(chan Message), closing: make(chan struct{}), done: make(chan struct{})}
	go s.read()
	return s
}

func (s *Session) read() {
	defer close(s.done)
	var decoder Decoder
	buffer := make([]byte, 32<<10)
	for {
		n, err := s.in.Read(buffer)
		messages, bad := decoder.Feed(buffer[:n])
		for _, m := range messages {
			select {
			case s.messages <- m:
			case <-s.closing:
				s.readErr = ErrEnded
				return
			}
		}
		switch {
		case bad != nil:
			s.readErr = bad
		case err == nil:
			continue
		case errors.Is(err, io.EOF):
			s.readErr = ErrEnded
			if cut := decoder.End(); cut != nil {
				s.readErr = fmt.Errorf("%w: %w", ErrEnded, cut)
			}
		default:
			s.readErr = fmt.Errorf("%w: read from the worker: %w", ErrEnded, err)
		}
		return
	}
}

// Receive waits for the worker's next message: [Hello] first, then [Started] and [Proof] or [Failed] for the job that is out, and [Bye]. When
// ctx ends it returns the cause of ctx and nothing is lost: a late answer is still received by a later call. A [*ProtocolError] or an error
// that wraps [ErrEnded] is final, and the worker must be ended; [io.EOF] follows the worker's bye. A job that is out at that moment, see
// [Session.Outstanding], has given no proof.
func (s *Session) Receive(ctx context.Context) (Message, error) {
	if err := s.final(); err != nil {
		return nil, err
	}
	select {
	case m := <-s.messages:
		if err := s.accept(m); err != nil {
			return nil, s.fail(err)
		}
		return m, nil
	case <-s.done:
		return nil, s.fail(s.readErr)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (s *Session) final() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

func (s *Session) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone == nil {
		s.gone = err
	}
	return s.gone
}

// accept compares a message with the state of the conversation and moves the state on.
func (s *Session) accept(m Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	broken := func(format string, arguments ...any) error {
		return &ProtocolError{Err: fmt.Errorf(format, arguments...)}
	}
	if hello, ok := m.(Hello); ok != (s.hello == nil) {
		return broken("%s came where it must not: hello is the first line and comes once", m.typeName())
	} else if ok {
		s.hello = &hello
		return nil
	}
	switch m := m.(type) {
	case Started:
		if s.started || !s.isOut(m.Job, m.Attempt) {
			return broken("started job %q attempt %d, which was not waiting to start", m.Job, m.Attempt)
		}
		s.started = true
	case Proof:
		if !s.started || !s.isOut(m.Job, m.Attempt) {
			return broken("proof of job %q attempt %d, which is not being proved", m.Job, m.Attempt)
		}
		s.out1, s.started = nil, false
	case Failed:
		if !s.isOut(m.Job, m.Attempt) {
			return broken("failure of job %q attempt %d, which is not out", m.Job, m.Attempt)
		}
		s.out1, s.started = nil, false
	case Bye:
		s.gone = io.EOF
	default:
		return broken("a worker does not send %s", m.typeName())
	}
	return nil
}

func (s *Session) isOut(job string, attempt int) bool {
	return s.out1 != nil && s.out1.ID == job && s.out1.Attempt == attempt
}

// Send gives the worker a job. It returns [ErrNotReady] before the hello and after a bye, [ErrBusy] while a job is out, and otherwise fails
// only if the job cannot be written: when ctx ends in the middle of a line, or the worker no longer reads, the session is over.
func (s *Session) Send(ctx context.Context, job Job) error {
	line, err := Append(nil, job)
	if err != nil {
		return err
	}
	s.mu.Lock()
	switch {
	case s.gone != nil || s.hello == nil || s.leaving:
		err = ErrNotReady
	case s.out1 != nil:
		err = ErrBusy
	default:
		s.out1, s.started = &job, false
	}
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("send job %q: %w", job.ID, err)
	}
	if err := s.write(ctx, line); err != nil {
		return fmt.Errorf("send job %q: %w", job.ID, err)
	}
	return nil
}

// Bye asks the worker to finish the job that is out and to leave. Its answers are still to be received, up to its own bye. Repeating it is
// harmless.
func (s *Session) Bye(ctx context.Context, reason string) error {
	s.mu.Lock()
	said := s.leaving || s.gone != nil
	s.leaving = true
	s.mu.Unlock()
	if said {
		return nil
	}
	line, err := Append(nil, Bye{Reason: reason})
	if err != nil {
		return err
	}
	if err := s.write(ctx, line); err != nil {
		return fmt.Errorf("say bye: %w", err)
	}
	return nil
}

// write sends one line. A worker that does not read could block it for ever, so the end of ctx closes the worker's input: after half a line
// it is of no use any more.
func (s *Session) write(ctx context.Context, line []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = s.out.Close() })
	defer stop()
	if err := context.Cause(ctx); err != nil {
		return s.fail(fmt.Errorf("%w: %w", ErrEnded, err))
	}
	if _, err := s.out.Write(line); err != nil {
		return s.fail(fmt.Errorf("%w: write to the worker: %w", ErrEnded, err))
	}
	return nil
}

// Hello returns what the worker said of itself, and false before it did.
func (s *Session) Hello() (Hello, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hello == nil {
		return Hello{}, false
	}
	return *s.hello, true
}

// Outstanding returns the job that is out, and false if none is. It stays out when the session fails, so that its lease can be given back.
func (s *Session) Outstanding() (Job, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out1 == nil {
		return Job{}, false
	}
	return *s.out1, true
}

// Close closes both directions and waits for the reading goroutine. It does not end the worker's process. Repeating it is harmless.
func (s *Session) Close() error {
	var err error
	s.closeOnce.Do(func() {
		close(s.closing)
		err = errors.Join(s.out.Close(), s.in.Close())
	})
	<-s.done
	return err
}
