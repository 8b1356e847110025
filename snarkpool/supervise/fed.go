//go:build linux

package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrTornLine says that only the beginning of a line reached a fed worker: it must be restarted, for what follows would be
// understood as the line's rest.
var ErrTornLine = errors.New("only the beginning of the line reached the worker")

// channel is the writing end of a fed worker's jobs.
type channel struct {
	mu   sync.Mutex
	fd   int
	torn bool
}

func (s *Supervisor) openJobs(name string, fd int) {
	s.closeJobs(name)
	s.channels.Store(name, &channel{fd: fd})
}

func (s *Supervisor) closeJobs(name string) {
	value, ok := s.channels.LoadAndDelete(name)
	if !ok {
		return
	}
	if c, ok := value.(*channel); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		_ = unix.Close(c.fd) // A pipe: what was written is written.
		c.fd = -1
	}
}

// Send writes one line, given without its end, to a fed worker's jobs. The proofs come as lines of [logs.Proofs]. A line that the worker does not read stays in the
// pipe, through the death of the agent too; where the pipe is full, Send waits until ctx ends, and only then can the error be ErrTornLine. The error is
// ErrWrongState for a worker that is not fed or has no process.
func (s *Supervisor) Send(ctx context.Context, name string, line []byte) error {
	if bytes.IndexByte(line, '\n') >= 0 {
		return fmt.Errorf("send to %s: a line with an end of line inside", name)
	}
	value, ok := s.channels.Load(name)
	if !ok {
		return fmt.Errorf("send to %s, which is not fed or has no process: %w", name, ErrWrongState)
	}
	c, ok := value.(*channel)
	if !ok {
		return fmt.Errorf("send to %s: %w", name, ErrWrongState)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.torn {
		return fmt.Errorf("send to %s: an earlier line: %w", name, ErrTornLine)
	}
	rest := append(bytes.Clone(line), '\n')
	whole := len(rest)
	for {
		if c.fd < 0 {
			return fmt.Errorf("send to %s, whose process ended: %w", name, ErrWrongState)
		}
		n, err := unix.Write(c.fd, rest)
		rest = rest[max(n, 0):]
		switch {
		case len(rest) == 0:
			return nil
		case errors.Is(err, unix.EPIPE):
			return fmt.Errorf("send to %s, whose process ended: %w", name, ErrWrongState)
		case err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("send to %s: %w", name, err)
		}
		if ctx.Err() != nil {
			if len(rest) < whole {
				c.torn = true
				return fmt.Errorf("send to %s: %w: %w", name, ErrTornLine, context.Cause(ctx))
			}
			return fmt.Errorf("send to %s, which does not read: %w", name, context.Cause(ctx))
		}
		const look = 50 // Milliseconds between looks at ctx.
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}, look); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("send to %s: %w", name, err)
		}
	}
}
