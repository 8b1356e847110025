package itn

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	graphql "github.com/hasura/go-graphql-client"
	"go.uber.org/zap"

	"provingground/internal/redact"
)

// verdict is what one exchange with the node means to the protocol (itn-graphql, sections 2.4 to 2.6).
type verdict int

const (
	// unsent: the request certainly never left.
	unsent verdict = iota
	// lost: the request left and may have been accepted, but no answer came that is the daemon's for sure and readable.
	lost
	// answered: the operation was done; the number is used up.
	answered
	// refused: a definite answer that it was not done; the number is used up all the same.
	refused
	// unauthorized: 401; the number is not used up.
	unauthorized
	// outOfSequence: 412; the number is not used up.
	outOfSequence
)

// reply is the outcome of one exchange; err is nil when the verdict is answered, and only then.
type reply struct {
	verdict verdict
	err     error
}

// message is what an exchange sends, and how its answer is read.
type message struct {
	operation string // root field of the document
	document  string
	variables map[string]any
	read      func(data json.RawMessage) error // reads the answer's data; an error makes the answer unreadable
}

// signer returns the value of the Authorization header for a body.
type signer func(body []byte) string

// unsequenced signs for auth (itn-graphql, section 2.1).
func (c *Client) unsequenced() signer {
	return func(body []byte) string {
		return "Signature " + c.key.PublicKey() + " " + c.key.sign(body)
	}
}

// sequenced signs for everything else (itn-graphql, section 2.2).
func (c *Client) sequenced(attempt Attempt) signer {
	return func(body []byte) string {
		number := binary.BigEndian.AppendUint16(nil, attempt.SequenceNumber)
		signature := c.key.sign(number, []byte(attempt.ServerUUID), body)
		return fmt.Sprintf("Signature %s %s ; Sequencing %s %d",
			c.key.PublicKey(), signature, attempt.ServerUUID, attempt.SequenceNumber)
	}
}

// exchange is one HTTP request and its answer. The GraphQL client calls it as its Doer, and only once, for that client's
// retries are off: they would repeat a mutation.
type exchange struct {
	transport      http.RoundTripper
	sign           signer
	maxAnswerBytes int64

	left   bool   // the request may have left
	status int    // 0 without an answer
	answer []byte // what was read of the body
	err    error  // why there is no whole answer
}

// Do signs the bytes that leave, sends them and reads the answer. Redirects are not followed: a RoundTripper does not.
func (e *exchange) Do(request *http.Request) (*http.Response, error) {
	copied, err := request.GetBody()
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(copied)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", e.sign(body))

	var connected atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}
	ctx := httptrace.WithClientTrace(request.Context(), trace)
	response, err := e.transport.RoundTrip(request.WithContext(ctx))
	if err != nil {
		e.left = !stayedHere(e.transport, err, connected.Load())
		e.err = causeOf(ctx, err)
		return nil, e.err
	}
	defer func() { _ = response.Body.Close() }()
	e.left, e.status = true, response.StatusCode
	e.answer, err = io.ReadAll(io.LimitReader(response.Body, e.maxAnswerBytes+1))
	switch {
	case err != nil:
		e.err = fmt.Errorf("reading the answer: %w", causeOf(ctx, err))
	case int64(len(e.answer)) > e.maxAnswerBytes:
		e.err = fmt.Errorf("%w (%d bytes)", ErrAnswerTooLarge, e.maxAnswerBytes)
	}
	if e.err != nil {
		return nil, e.err
	}
	response.Body = io.NopCloser(bytes.NewReader(e.answer))
	return response, nil
}

// stayedHere tells whether a request that failed in the transport certainly did not leave: the connection was refused, or
// (only net/http's own transport tells) there was none.
func stayedHere(transport http.RoundTripper, err error, connected bool) bool {
	if operation, ok := errors.AsType[*net.OpError](err); ok && operation.Op == "dial" {
		return true
	}
	_, tells := transport.(*http.Transport)
	return tells && !connected
}

// causeOf prefers the reason for which the context ended to what the end of the context made of the connection.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// send does one exchange within the request timeout.
func (c *Client) send(ctx context.Context, message message, sign signer, fields ...zap.Field) reply {
	switch {
	case ctx.Err() != nil:
		return reply{unsent, context.Cause(ctx)}
	case c.key.sign == nil:
		return reply{unsent, errors.New("the client has no ITN key")}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.requestTimeout,
		&TimeoutError{message.operation, c.address, c.requestTimeout})
	defer cancel()
	began := time.Now()
	exchange := &exchange{transport: c.transport, sign: sign, maxAnswerBytes: c.maxAnswerBytes}
	data, err := graphql.NewClient(c.url, exchange).ExecRaw(ctx, message.document, message.variables)
	result := c.judge(exchange, message, data, err)
	c.logRequest(exchange, message, result, time.Since(began), fields)
	return result
}

// judge turns an exchange into a verdict. err is the GraphQL client's.
func (c *Client) judge(e *exchange, message message, data json.RawMessage, err error) reply {
	switch {
	case e.left && e.err != nil:
		return reply{lost, e.err}
	case e.err != nil:
		return reply{unsent, e.err}
	case !e.left: // the GraphQL client could not make a request of it
		return reply{unsent, fmt.Errorf("encoding the request: %w", innermost(err))}
	}
	switch e.status {
	case http.StatusOK:
		return c.judgeAnswer(e, message, data, err)
	case http.StatusUnauthorized:
		return reply{unauthorized, &UnauthorizedError{message.operation, c.address}}
	case http.StatusPreconditionFailed:
		return reply{outOfSequence, &SequencingError{message.operation, c.address}}
	}
	status := &StatusError{message.operation, c.address, e.status, daemonMessage(string(e.answer))}
	if e.status == http.StatusBadRequest {
		return reply{refused, status}
	}
	// It may come from a proxy, which may or may not have passed the request on.
	return reply{lost, status}
}

// innermost takes an error out of the GraphQL client's wrapping, whose text is long and says nothing more.
func innermost(err error) error {
	if errs, ok := errors.AsType[graphql.Errors](err); ok && len(errs) > 0 && errs[0].Unwrap() != nil {
		return errs[0].Unwrap()
	}
	return err
}

// judgeAnswer reads an answer with status 200 (itn-graphql, section 2.5).
func (c *Client) judgeAnswer(e *exchange, message message, data json.RawMessage, err error) reply {
	refusal := &RefusedError{Operation: message.operation, Node: c.address}
	errs, isGraphQL := errors.AsType[graphql.Errors](err)
	var text string
	isString := bytes.HasPrefix(bytes.TrimSpace(e.answer), []byte{'"'})
	switch {
	case isString && json.Unmarshal(e.answer, &text) == nil: // the request's text did not parse
		refusal.Message, refusal.beforeResolver = daemonMessage(text), true
		return reply{refused, refusal}
	case isGraphQL && errs[0].Unwrap() == nil: // the daemon's, for the GraphQL client's own wrap an error
		refusal.Message, refusal.beforeResolver = daemonMessage(errs[0].Message), len(errs[0].Path) == 0
		return reply{refused, refusal}
	case err != nil:
		return reply{lost, fmt.Errorf("%w: %d bytes that are not its JSON", ErrUnreadableAnswer, len(e.answer))}
	}
	if err := message.read(data); err != nil {
		return reply{lost, fmt.Errorf("%w: %s", ErrUnreadableAnswer, redact.Text(err.Error()))}
	}
	return reply{answered, nil}
}

// maxMessage bounds a daemon's text in our errors, in bytes.
const maxMessage = 1000

// daemonMessage makes a text of an answer fit to be shown. A bad argument's value is left out, since it may be a private key
// too mistyped to be recognised as one (itn-graphql, section 2.5).
func daemonMessage(text string) string {
	if before, _, quotes := strings.Cut(text, ", found "); quotes && strings.HasPrefix(text, "Argument `") {
		text = before + ", found another value"
	}
	text = strings.TrimSpace(redact.Text(text))
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}

// logRequest tells of an exchange what may be told: never its body, variables or header.
func (c *Client) logRequest(e *exchange, message message, result reply, took time.Duration, fields []zap.Field) {
	if !c.logRequests {
		return
	}
	fields = append(fields,
		zap.String("node", c.address),
		zap.String("operation", message.operation),
		zap.Duration("duration", took),
	)
	if e.status != 0 {
		fields = append(fields, zap.Int("status", e.status), zap.Int("bytes", len(e.answer)))
	}
	if result.err != nil {
		fields = append(fields, zap.String("error", redact.Text(result.err.Error())))
	}
	c.logger.Debug("itn request", fields...)
}
