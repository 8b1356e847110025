//go:build linux

// Package logs captures what workers print, without ever holding up a worker, losing a line that the disk can take, or filling the
// disk.
//
// Two goroutines do it for any number of workers. One waits on all pipes by epoll, cuts the bytes into lines, and hands each line to whoever wants to
// read it; the other writes them to one bounded, rotated file per worker. Between them is a bounded queue: what a disk that is full, or slower than the
// workers, cannot take is dropped there, counted, and said in the file itself once it can be written again. A line longer than the limit is
// cut, and says how much of it is missing.
package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Stream is where a line came from.
type Stream string

// The streams of a worker. Proofs go to [Options.Lines] only, never to a file.
const (
	Stdout Stream = "out"
	Stderr Stream = "err"
	Proofs Stream = "proofs"
)

// Line is one line of a worker.
type Line struct {
	// Name is the worker, PID its process, Time when the line was read.
	Name   string
	PID    int
	Stream Stream
	Time   time.Time
	// Text is the line without its end. It is the caller's only during the call.
	Text []byte
	// Cut is how many bytes of the line are missing after Text, because it was longer than the limit.
	Cut int
}

// Options are the limits of a Capture. The zero value of a field means its default.
type Options struct {
	// Directory holds a file NAME.log per worker, and older ones as NAME.log.1 and so on.
	Directory string
	// FileBytes bounds a file, 0 means 8 MiB, and Files is how many there may be of a worker, 0 means 3.
	FileBytes int64
	Files     int
	// LineBytes bounds a line; 0 means 1 MiB.
	LineBytes int
	// QueueBytes bounds what waits for the disk, 0 means 16 MiB; PartialBytes bounds all lines together that have not ended yet, 0 means 64 MiB.
	QueueBytes   int64
	PartialBytes int
	// Lines is told every line, in the order in which its stream had it, from one goroutine, which it must not hold up; nil is nobody.
	Lines func(Line)
}

// TailLines is how many of its last lines are kept of a worker, each up to TailBytes.
const (
	TailLines = 20
	TailBytes = 400
)

// Pipe is the reading end of a worker's stream.
type Pipe struct {
	Name   string `json:"name"`
	PID    int    `json:"pid"`
	Stream Stream `json:"stream"`
	// FD is non-blocking and owned by the Capture from Add on.
	FD int `json:"fd"`
	// Partial is the beginning of a line whose end has not come yet, and Skipped how much of it was left out.
	Partial []byte `json:"partial,omitempty"`
	Skipped int    `json:"skipped,omitempty"`
}

// Capture reads the streams of workers. Make it with New. Safe for concurrent use.
type Capture struct {
	options Options
	epoll   int
	wake    int
	queue   chan chunk
	queued  atomic.Int64
	partial int // Bytes of all partial lines; the reader's.

	mu     sync.Mutex
	pipes  map[int]*Pipe // By descriptor.
	worker map[string]*record
}

// record is what is known of one worker's lines.
type record struct {
	dropped uint64 // All that did not come to the file, and how many of these the file speaks of.
	said    uint64
	tail    [TailLines][]byte
	next    int
}

// chunk is text for one worker's file.
type chunk struct {
	name  string
	text  []byte
	lines uint64
}

// New makes a Capture; call Run, then Close.
func New(o Options) (*Capture, error) {
	if o.FileBytes == 0 {
		o.FileBytes = 8 << 20
	}
	if o.Files == 0 {
		o.Files = 3
	}
	if o.LineBytes == 0 {
		o.LineBytes = 1 << 20
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = 16 << 20
	}
	if o.PartialBytes == 0 {
		o.PartialBytes = 64 << 20
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("capture logs: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("capture logs: %w", err), unix.Close(epoll))
	}
	c := &Capture{options: o, epoll: epoll, wake: wake, pipes: map[int]*Pipe{}, worker: map[string]*record{}}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}); err != nil {
		return nil, errors.Join(fmt.Errorf("capture logs: %w", err), c.Close())
	}
	return c, nil
}

// Close gives all descriptors back, pipes included. Run must have returned.
func (c *Capture) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	errs := []error{unix.Close(c.epoll), unix.Close(c.wake)}
	for fd := range c.pipes {
		errs = append(errs, unix.Close(fd))
	}
	clear(c.pipes)
	return errors.Join(errs...)
}

// Add begins to read a stream.
func (c *Capture) Add(p Pipe) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pipes[p.FD] = &p
	if err := unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, p.FD, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(p.FD)}); err != nil {
		delete(c.pipes, p.FD)
		return fmt.Errorf("capture the log of %s: %w", p.Name, err)
	}
	return nil
}

// Pipes returns all streams that have not ended, with the lines that have not either. Run must have returned.
func (c *Capture) Pipes() []Pipe {
	c.mu.Lock()
	defer c.mu.Unlock()
	pipes := make([]Pipe, 0, len(c.pipes))
	for _, p := range c.pipes {
		pipes = append(pipes, *p)
	}
	return pipes
}

// Dropped returns how many lines of a worker did not come to its file.
func (c *Capture) Dropped(name string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.worker[name]; r != nil {
		return r.dropped
	}
	return 0
}

// Tail returns the last lines of a worker, oldest first, each cut to TailBytes. Proofs are not among them.
func (c *Capture) Tail(name string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.worker[name]
	if r == nil {
		return nil
	}
	var lines []string
	for i := range TailLines {
		if line := r.tail[(r.next+i)%TailLines]; line != nil {
			lines = append(lines, string(line))
		}
	}
	return lines
}

// Forget drops what is kept of a worker that is no more.
func (c *Capture) Forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.worker, name)
}

func (c *Capture) record(name string) *record {
	r := c.worker[name]
	if r == nil {
		r = &record{}
		c.worker[name] = r
	}
	return r
}

// Run reads until ctx ends, writes what was read, and returns. What is left in the pipes stays there, and Run may be called again.
func (c *Capture) Run(ctx context.Context) error {
	c.queue = make(chan chunk, 1024)
	var group errgroup.Group
	group.Go(func() error {
		defer close(c.queue)
		return c.read(ctx)
	})
	group.Go(func() error {
		for chunk := range c.queue {
			c.store(chunk)
		}
		return nil
	})
	stop := context.AfterFunc(ctx, func() {
		_, _ = unix.Write(c.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // It fails only if it is full, and then it wakes as well.
	})
	defer stop()
	return group.Wait()
}

// read waits for all pipes. Each that has something is read once, and then the next, so that a worker that floods its log does not
// keep others waiting.
func (c *Capture) read(ctx context.Context) error {
	events := make([]unix.EpollEvent, 256)
	buffer := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, err := unix.EpollWait(c.epoll, events, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for the workers' logs: %w", err)
		}
		for _, event := range events[:n] {
			if int(event.Fd) == c.wake {
				continue // Left readable until the reader has gone: ctx has ended.
			}
			c.mu.Lock()
			pipe := c.pipes[int(event.Fd)]
			c.mu.Unlock()
			if pipe == nil {
				continue
			}
			if err := c.readOne(pipe, buffer); err != nil {
				return err
			}
		}
	}
	var drained [8]byte
	_, _ = unix.Read(c.wake, drained[:]) // Reset for another Run.
	return nil
}

func (c *Capture) readOne(p *Pipe, buffer []byte) error {
	n, err := unix.Read(p.FD, buffer)
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return nil
	case err != nil || n == 0:
		// The last process that had it open for writing is gone.
		if len(p.Partial) > 0 || p.Skipped > 0 {
			c.take(p, []byte{'\n'})
		}
		c.mu.Lock()
		delete(c.pipes, p.FD)
		c.mu.Unlock()
		if err := unix.Close(p.FD); err != nil {
			return fmt.Errorf("close the log of %s: %w", p.Name, err)
		}
		return nil
	}
	c.take(p, buffer[:n])
	return nil
}

// take cuts what was read into lines.
func (c *Capture) take(p *Pipe, read []byte) {
	now := time.Now()
	out := chunk{name: p.Name}
	var stamp []byte
	for len(read) > 0 {
		end := bytes.IndexByte(read, '\n')
		if end < 0 {
			c.keep(p, read)
			break
		}
		text := read[:end]
		read = read[end+1:]
		if len(p.Partial) > 0 || p.Skipped > 0 || len(text) > c.options.LineBytes {
			c.keep(p, text)
			text = p.Partial
		}
		line := Line{Name: p.Name, PID: p.PID, Stream: p.Stream, Time: now, Text: text, Cut: p.Skipped}
		if c.options.Lines != nil {
			c.options.Lines(line)
		}
		if p.Stream != Proofs {
			if stamp == nil {
				stamp = append(now.UTC().AppendFormat(nil, "2006-01-02T15:04:05.000Z "), p.Stream...)
				stamp = append(stamp, ' ')
			}
			out.text = append(append(out.text, stamp...), text...)
			if line.Cut > 0 {
				out.text = fmt.Appendf(out.text, " [%d bytes cut]", line.Cut)
			}
			out.text = append(out.text, '\n')
			out.lines++
			c.tail(p.Name, text)
		}
		c.partial -= len(p.Partial)
		p.Partial, p.Skipped = nil, 0
	}
	if out.lines > 0 {
		c.send(out)
	}
}

// keep adds to the beginning of a line as much as the limits allow.
func (c *Capture) keep(p *Pipe, text []byte) {
	room := min(c.options.LineBytes-len(p.Partial), c.options.PartialBytes-c.partial)
	if p.Skipped > 0 {
		room = 0 // What was left out is at the end.
	}
	n := min(max(room, 0), len(text))
	p.Partial = append(p.Partial, text[:n]...)
	p.Skipped += len(text) - n
	c.partial += n
}

func (c *Capture) tail(name string, text []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.record(name)
	r.tail[r.next] = append(r.tail[r.next][:0], text[:min(len(text), TailBytes)]...)
	if r.tail[r.next] == nil {
		r.tail[r.next] = []byte{}
	}
	r.next = (r.next + 1) % TailLines
}

// send queues text for the disk, or drops it where the queue is full: a worker waits for no disk.
func (c *Capture) send(out chunk) {
	size := int64(len(out.text))
	if c.queued.Add(size) <= c.options.QueueBytes {
		select {
		case c.queue <- out:
			return
		default:
		}
	}
	c.queued.Add(-size)
	c.drop(out)
}

func (c *Capture) drop(out chunk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.record(out.name).dropped += out.lines
}

// unsaid returns how many dropped lines the worker's file does not speak of yet, and said notes that it does.
func (c *Capture) unsaid(name string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.record(name)
	return r.dropped - r.said
}

func (c *Capture) said(name string, lines uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.record(name).said += lines
}
