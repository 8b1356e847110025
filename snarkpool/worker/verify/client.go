package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"provingground/snarkpool/worker"
)

// Outcome is what came of a question. The zero value is [Undecided]: silence accepts nothing.
type Outcome uint8

// The three outcomes.
const (
	// Undecided means that nobody said whether the proof holds. The proof is not accepted, and the worker is not to blame.
	Undecided Outcome = iota
	// Accepted means that the proof holds for the statement under the verifying key.
	Accepted
	// Refused means that it does not.
	Refused
)

func (o Outcome) String() string {
	switch o {
	case Accepted:
		return "accepted"
	case Refused:
		return "refused"
	default:
		return "undecided"
	}
}

// Verdict is an outcome and, where it is not [Accepted], why.
type Verdict struct {
	Outcome Outcome
	Reason  string
}

// Process is a running verifier: Read gives what it says, Write asks it, and Close ends it, whatever it is doing, and waits for it. Close must
// end a blocked Read or Write.
type Process io.ReadWriteCloser

// Options says which verifier a client asks.
type Options struct {
	// Start starts a verifier process; [Command] makes one. It should return soon: the deadline covers what the process does, not Start.
	Start func(ctx context.Context) (Process, error)
	// Kind and VerifyingKey are what the verifier must say of itself.
	Kind, VerifyingKey string
	// Deadline bounds one question, 0 = 10 s. StartDeadline bounds the wait for the first line of a new process, 0 = 2 minutes: a Kimchi
	// verifier compiles its circuit first.
	Deadline, StartDeadline time.Duration
}

// Client asks a verifier process, starts it when it is needed, and ends it when it misbehaves. It is safe for concurrent use; questions wait
// for each other.
type Client struct {
	options Options
	turn    chan struct{} // holds one token; who has it may use the fields below

	process Process
	lines   lines
	lastID  uint64
}

// NewClient returns a client; no process is started before the first question.
func NewClient(options Options) *Client {
	if options.Deadline == 0 {
		options.Deadline = 10 * time.Second
	}
	if options.StartDeadline == 0 {
		options.StartDeadline = 2 * time.Minute
	}
	c := &Client{options: options, turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	return c
}

var errDeadline = errors.New("no answer within the deadline")

// Check asks whether a proof, made for the named verifying key, holds for a statement. Whatever goes wrong on the way is [Undecided] with its
// reason; a proof for another verifying key than the client's is [Refused] without asking.
func (c *Client) Check(ctx context.Context, verifyingKey string, statement json.RawMessage, proof []byte) Verdict {
	if verifyingKey != c.options.VerifyingKey {
		return Verdict{Refused, "it is for verifying key " + verifyingKey + ", not " + c.options.VerifyingKey}
	}
	select {
	case <-c.turn:
	case <-ctx.Done():
		return Verdict{Undecided, context.Cause(ctx).Error()}
	}
	defer func() { c.turn <- struct{}{} }()
	verdict, err := c.ask(ctx, statement, proof)
	if err != nil {
		return Verdict{Undecided, errors.Join(err, c.end()).Error()}
	}
	return verdict
}

func (c *Client) ask(ctx context.Context, statement json.RawMessage, proof []byte) (Verdict, error) {
	if err := c.start(ctx); err != nil {
		return Verdict{}, err
	}
	c.lastID++
	q := question{ID: c.lastID, VerifyingKey: c.options.VerifyingKey, Statement: statement, Proof: proof}
	var a answer
	err := c.within(ctx, c.options.Deadline, func() error {
		if err := writeLine(c.process, q); err != nil {
			return err
		}
		return c.read(&a)
	})
	if err != nil {
		return Verdict{}, fmt.Errorf("ask the verifier: %w", err)
	}
	if a.ID != q.ID {
		return Verdict{}, fmt.Errorf("ask the verifier: it answered question %d, not %d", a.ID, q.ID)
	}
	for _, outcome := range []Outcome{Accepted, Refused, Undecided} {
		if a.Verdict == outcome.String() {
			return Verdict{outcome, a.Reason}, nil
		}
	}
	return Verdict{}, fmt.Errorf("ask the verifier: unknown verdict %q", a.Verdict)
}

// start makes sure that a process runs which has said the right first line.
func (c *Client) start(ctx context.Context) error {
	if c.process != nil {
		return nil
	}
	process, err := c.options.Start(ctx)
	if err != nil {
		return fmt.Errorf("start the verifier: %w", err)
	}
	c.process, c.lines = process, newLines(process)
	var about About
	if err := c.within(ctx, c.options.StartDeadline, func() error { return c.read(&about) }); err != nil {
		return fmt.Errorf("start the verifier: %w", err)
	}
	if want := (About{Protocol, c.options.Kind, c.options.VerifyingKey}); about != want {
		return fmt.Errorf("start the verifier: it says %+v, wanted %+v: give agent and verifier the same keys", about, want)
	}
	return nil
}

func (c *Client) read(value any) error {
	line, err := c.lines.next()
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("it ended without an answer: %w", io.ErrUnexpectedEOF)
	}
	if err != nil {
		return err
	}
	if err := strict(line, value); err != nil {
		return fmt.Errorf("its answer cannot be read: %w", err)
	}
	return nil
}

// within runs exchange and ends the process, and with it the exchange, when it takes too long or ctx ends.
func (c *Client) within(ctx context.Context, limit time.Duration, exchange func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w of %s", errDeadline, limit))
	defer cancel()
	process := c.process
	var ending sync.WaitGroup
	ending.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer ending.Done()
		_ = process.Close() // c.end reports what closing says
	})
	err := exchange()
	if stop() {
		return err
	}
	// The deadline came first, even if an answer slipped through beside it: the process is gone, so the answer is not relied on.
	ending.Wait()
	return errors.Join(context.Cause(ctx), err)
}

// end ends the process, if there is one; the next question starts another.
func (c *Client) end() error {
	if c.process == nil {
		return nil
	}
	err := c.process.Close()
	c.process = nil
	return err
}

// Close ends the verifier process and waits for it. A later question would start another.
func (c *Client) Close() error {
	<-c.turn
	defer func() { c.turn <- struct{}{} }()
	return c.end()
}

// KeyOf returns an error unless hello names the kind and verifying key that this client accepts: a worker that proves for another key would
// have every proof refused, so it is better not to give it work.
func (c *Client) KeyOf(hello worker.Hello) error {
	if hello.Kind != c.options.Kind || hello.VerifyingKey != c.options.VerifyingKey {
		return fmt.Errorf("the worker proves %s under verifying key %s, the verifier accepts %s under %s: give both the same keys",
			hello.Kind, hello.VerifyingKey, c.options.Kind, c.options.VerifyingKey)
	}
	return nil
}
