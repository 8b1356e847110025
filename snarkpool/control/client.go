package control

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dialTime  = 10 * time.Second
	authTime  = 20 * time.Second
	readTime  = 2 * time.Minute  // of what changes nothing
	silence   = 60 * time.Second // after which a stream is given up
	maxAnswer = 64 << 20         // bytes
	maxLine   = 16 << 20         // bytes of a stream
	tries     = 20               // of a command while others use the same key
	lifetime  = time.Minute      // of a command, unless it says otherwise
)

var (
	// errSilent says that a stream is dead.
	errSilent = fmt.Errorf("nothing came from the agent for %s", silence)
	// errSlow is the end of readTime.
	errSlow = fmt.Errorf("no answer from the agent within %s", readTime)
)

// Client commands one agent. Make it with [NewLocal] or [NewRemote], and close it. Safe for concurrent use.
type Client struct {
	where     string // for people
	url       string
	agent     string // "" to ask for it
	key       *Key   // nil on the socket
	transport *http.Transport
}

// NewLocal returns a client of the agent at a unix socket, whatever its name. Nothing is sent yet.
func NewLocal(socket string) *Client {
	dialer := &net.Dialer{Timeout: dialTime}
	return &Client{
		where: socket, url: "http://agent" + path,
		transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", socket)
			},
		},
	}
}

// NewRemote returns a client of the agent of a name at an address HOST:PORT, whose certificate must come from one of roots; nil means those of the system.
// Nothing is sent yet.
func NewRemote(address, agent string, key Key, roots *x509.CertPool) (*Client, error) {
	switch {
	case key.sign == nil:
		return nil, fmt.Errorf("commanding the agent at %s: %w", address, errNoKey)
	case !isName(agent):
		return nil, fmt.Errorf("commanding the agent at %s: %s is no name of an agent", address, shorten(agent))
	}
	return &Client{
		where: address, url: "https://" + address + path, agent: agent, key: &key,
		transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: dialTime}).DialContext,
			TLSHandshakeTimeout: dialTime,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots},
		},
	}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Identify asks who the agent is, and who the caller is to it.
func (c *Client) Identify(ctx context.Context) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, authTime)
	defer cancel()
	body, err := json.Marshal(Command{Operation: OpAuth, Agent: c.agent, Expiry: expiry(Command{})})
	if err != nil {
		return Identity{}, c.wrap(OpAuth, err)
	}
	authorization := ""
	if c.key != nil {
		authorization = c.key.unsequenced(body)
	}
	var identity Identity
	response, _, err := c.send(ctx, body, authorization) //nolint:bodyclose // readAnswer closes it
	if err == nil {
		err = readAnswer(response, &identity)
	}
	return identity, c.wrap(OpAuth, err)
}

// Status asks how the workers of a target are.
func (c *Client) Status(ctx context.Context, target Target) (Status, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, readTime, errSlow)
	defer cancel()
	var status Status
	err := c.do(ctx, Command{Operation: OpStatus, Target: target}, &status)
	return status, err
}

// Report asks for plan, inventory, doctor or gpu-list, as the agent's JSON.
func (c *Client) Report(ctx context.Context, operation Operation) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, readTime, errSlow)
	defer cancel()
	var report json.RawMessage
	err := c.do(ctx, Command{Operation: operation}, &report)
	return report, err
}

// Change gives a command that changes something, and waits until it is done; ending ctx ends the waiting, not what was begun. Agent and, if it is zero,
// Expiry are filled in: a minute from now. Errors to test for: [ErrNotRunning], [*RefusedError], [ErrOutcomeUnknown].
func (c *Client) Change(ctx context.Context, command Command) (Change, error) {
	var change Change
	if !command.Operation.Changes() {
		return change, c.wrap(command.Operation, errors.New("it changes nothing"))
	}
	err := c.do(ctx, command, &change)
	return change, err
}

// Events receives events, as the arguments since, last and follow say. It returns nil when all that was asked for has come, the error of receive, or
// also a [*MissedError].
func (c *Client) Events(ctx context.Context, target Target, arguments Arguments, receive func(Event) error) error {
	return c.follow(ctx, Command{Operation: OpEvents, Target: target, Arguments: arguments}, func(record Record) error {
		if record.Event == nil {
			return nil
		}
		return receive(*record.Event)
	})
}

// Logs receives log lines, as Events does events.
func (c *Client) Logs(ctx context.Context, target Target, arguments Arguments, receive func(LogLine) error) error {
	return c.follow(ctx, Command{Operation: OpLogs, Target: target, Arguments: arguments}, func(record Record) error {
		if record.Log == nil {
			return nil
		}
		return receive(*record.Log)
	})
}

// do gives a command and reads its result.
func (c *Client) do(ctx context.Context, command Command, result any) error {
	response, err := c.give(ctx, command) //nolint:bodyclose // readAnswer closes it
	if err == nil {
		err = readAnswer(response, result)
		if err != nil && command.Operation.Changes() && !isRefusal(err) {
			err = fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
		}
	}
	return c.wrap(command.Operation, causeOf(ctx, err))
}

// follow gives a command and reads its stream.
func (c *Client) follow(ctx context.Context, command Command, receive func(Record) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	response, err := c.give(ctx, command) //nolint:bodyclose // readStream closes it
	if err == nil {
		err = readStream(response, cancel, receive)
	}
	return c.wrap(command.Operation, causeOf(ctx, err))
}

// give sends a command until it is accepted or refused for another reason than its number. Nothing was done when the number is refused, so it is sent again
// under the next one.
func (c *Client) give(ctx context.Context, command Command) (*http.Response, error) {
	command.Agent = c.agent
	command.Expiry = expiry(command)
	var last error
	for range tries {
		authorize := func([]byte) string { return "" }
		if c.key != nil || command.Agent == "" {
			identity, err := c.Identify(ctx)
			if err != nil {
				return nil, err
			}
			command.Agent = identity.Agent
			if c.key != nil {
				authorize = func(body []byte) string { return c.key.sequenced(identity.ServerUUID, identity.SequenceNumber, body) }
			}
		}
		if err := command.Validate(); err != nil {
			return nil, err
		}
		body, err := json.Marshal(command)
		if err != nil {
			return nil, err
		}
		response, left, err := c.send(ctx, body, authorize(body))
		if err != nil {
			if left && command.Operation.Changes() {
				return nil, fmt.Errorf("%w: %w", ErrOutcomeUnknown, causeOf(ctx, err))
			}
			return nil, err
		}
		if response.StatusCode != http.StatusPreconditionFailed {
			return response, nil
		}
		last = readAnswer(response, nil)
	}
	return nil, fmt.Errorf("others use the same key all the time, %d times in a row: give each person and program its own: %w", tries, last)
}

// send sends one request; left tells whether an error came after it may have left.
func (c *Client) send(ctx context.Context, body []byte, authorization string) (response *http.Response, left bool, err error) {
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	request, err := http.NewRequestWithContext(traced, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, false, err
	}
	request.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err = c.transport.RoundTrip(request) // which follows no redirects
	if err != nil {
		return nil, connected.Load(), causeOf(ctx, c.explain(err))
	}
	return response, true, nil
}

// explain tells what an error of the connection means.
func (c *Client) explain(err error) error {
	switch {
	case c.key == nil && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED)):
		return fmt.Errorf("%w: start it with snarkpool agent, or name its socket: %w", ErrNotRunning, err)
	case c.key == nil && errors.Is(err, fs.ErrPermission):
		return refuse(NotAllowed, "the socket is for the agent's own user and root: use sudo: %v", err)
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w, or not at this address: %w", ErrNotRunning, err)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("the agent's certificate is not to be trusted: compare its name and its authority: %w", err)
	}
	return err
}

// wrap says who was asked for what.
func (c *Client) wrap(operation Operation, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s at the agent %s: %w", operation, c.where, err)
}

// expiry is that of the command, or the usual one.
func expiry(command Command) time.Time {
	if command.Expiry.IsZero() {
		return time.Now().Add(lifetime).UTC().Truncate(time.Millisecond)
	}
	return command.Expiry
}

// causeOf prefers the reason for which the context ended to what that made of the connection.
func causeOf(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || isRefusal(err) || errors.Is(err, context.Cause(ctx)) {
		return err
	}
	if errors.Is(err, ErrOutcomeUnknown) {
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, context.Cause(ctx))
	}
	return context.Cause(ctx)
}

func isRefusal(err error) bool {
	_, ok := errors.AsType[*RefusedError](err)
	return ok
}

// readAnswer reads an answer to its end, into result unless that is nil, and closes it.
func readAnswer(response *http.Response, result any) error {
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if len(content) > maxAnswer {
		return fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	var body answer
	if err := json.Unmarshal(content, &body); err != nil {
		return fmt.Errorf("the answer, with status %d, is none of an agent: is something else listening there?", response.StatusCode)
	}
	if body.Error != nil {
		return &RefusedError{body.Error.Reason, body.Error.Message}
	}
	if response.StatusCode != http.StatusOK || body.Result == nil {
		return fmt.Errorf("the answer, with status %d, is none of an agent: is something else listening there?", response.StatusCode)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(body.Result, result); err != nil {
		return fmt.Errorf("the agent's result cannot be read; has it another version? %w", err)
	}
	return nil
}

// readStream reads a stream to its end and closes it. A stream that is silent for too long is cancelled.
func readStream(response *http.Response, cancel context.CancelCauseFunc, receive func(Record) error) error {
	if response.StatusCode != http.StatusOK {
		return readAnswer(response, nil)
	}
	defer func() { _ = response.Body.Close() }()
	silent := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer silent.Stop()
	scanner := bufio.NewScanner(response.Body)
	scanner.Buffer(nil, maxLine)
	for scanner.Scan() {
		var record Record
		if err := json.Unmarshal(scanner.Bytes(), &record); err != nil {
			return fmt.Errorf("a line of the stream is none of an agent: %w", err)
		}
		if record.End != nil {
			return endOf(*record.End)
		}
		silent.Stop() // who receives may take its time
		if err := receive(record); err != nil {
			return err
		}
		silent.Reset(silence)
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("the stream broke off: %w", err)
	}
	return errors.New("the stream broke off: the agent has ended, or the reading was too slow")
}

func endOf(end End) error {
	switch {
	case end.Missed > 0:
		return &MissedError{end.Missed}
	case end.Reason != "":
		return &RefusedError{end.Reason, end.Message}
	}
	return nil
}
