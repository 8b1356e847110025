package minatest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// Coordinator gives out works of two proofs each, as long as it has some, and remembers what came back. Its methods are safe for concurrent
// use.
type Coordinator struct {
	listener net.Listener
	serving  sync.WaitGroup

	mu        sync.Mutex
	next      int
	left      int
	given     [][]int
	submitted [][]int
	failed    [][]int
	results   []Result // for the next submissions; OK when empty
}

// Listen starts a coordinator with a number of works on a local port. It serves until ctx ends or Close.
func Listen(ctx context.Context, works int) (*Coordinator, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("coordinator: %w", err)
	}
	c := &Coordinator{listener: listener, left: works, next: 1}
	c.serving.Go(func() { c.serve(ctx) })
	return c, nil
}

// Address is HOST:PORT.
func (c *Coordinator) Address() string { return c.listener.Addr().String() }

// Close stops listening and waits for the calls in progress.
func (c *Coordinator) Close() error {
	err := c.listener.Close()
	c.serving.Wait()
	return err
}

// Add adds works to give out.
func (c *Coordinator) Add(works int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left += works
}

// Answer sets the answers to the next submissions, in turn; those after them are OK.
func (c *Coordinator) Answer(results ...Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.results = results
}

// Tally says which works were given out, submitted and taken, and reported as failed, in order.
func (c *Coordinator) Tally() (given, taken, failed [][]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.given), slices.Clone(c.submitted), slices.Clone(c.failed)
}

func (c *Coordinator) serve(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = c.listener.Close() })
	defer stop()
	for {
		connection, err := c.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		c.serving.Go(func() {
			defer connection.Close() //nolint:errcheck // nothing is left to send
			stop := context.AfterFunc(ctx, func() { _ = connection.Close() })
			defer stop()
			var asked call
			if connection.SetDeadline(time.Now().Add(callDeadline)) != nil || readLine(connection, &asked) != nil {
				return // the caller sees its connection closed
			}
			_ = writeLine(connection, c.answer(asked)) // a caller that is gone has its own error
		})
	}
}

func (c *Coordinator) answer(asked call) reply {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch asked.Call {
	case "get_work":
		if c.left == 0 {
			return reply{}
		}
		ids := []int{c.next, c.next + 1}
		c.next += 2
		c.left--
		c.given = append(c.given, ids)
		return reply{WorkIDs: ids}
	case "submit_work":
		result := OK
		if len(c.results) > 0 {
			result, c.results = c.results[0], c.results[1:]
		}
		if result == OK {
			c.submitted = append(c.submitted, asked.WorkIDs)
		}
		return reply{Result: result}
	default:
		c.failed = append(c.failed, asked.WorkIDs)
		return reply{}
	}
}
