package coordinator

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxAnswer bounds an answer, in bytes: [MaxWork] works are shorter.
const maxAnswer = 1 << 20

// Options say how a client speaks. The zero value is usable.
type Options struct {
	// Transport carries the requests; nil is one of the client's own, without proxy.
	Transport http.RoundTripper
	// RequestTimeout bounds each request with its answer, wall time; 30 s by default.
	RequestTimeout time.Duration
}

// Client speaks to one coordinator. Make it with [New]. Safe for concurrent use.
type Client struct {
	base      string
	transport http.RoundTripper
	own       *http.Transport // nil when it was given
	timeout   time.Duration
}

// New returns a client of the coordinator at an http or https URL without path, for example http://127.0.0.1:8301. Nothing is sent yet.
// Close it after the last call.
func New(address string, options Options) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("%q is no address of a coordinator: give one like http://127.0.0.1:8301", address)
	}
	c := &Client{
		base: u.Scheme + "://" + u.Host, transport: options.Transport, timeout: cmp.Or(options.RequestTimeout, 30*time.Second),
	}
	if c.transport == nil {
		dialer := &net.Dialer{Timeout: 10 * time.Second}
		c.own = &http.Transport{
			DialContext: dialer.DialContext, DisableCompression: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: 90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		}
		c.transport = c.own
	}
	return c, nil
}

// Close lets go of idle connections of the client's own transport.
func (c *Client) Close() {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

// StatusError is an answer other than 200: the coordinator did nothing.
type StatusError struct {
	Code    int
	Message string // what the coordinator says is wrong; empty when it does not say
}

// Error names the status and what the coordinator says.
func (e *StatusError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("the coordinator answers %d %s", e.Code, http.StatusText(e.Code))
	}
	return fmt.Sprintf("the coordinator answers %d %s: %s", e.Code, http.StatusText(e.Code), e.Message)
}

// Work asks for at most so much work, the oldest first. It is empty when there is none. When the answer is lost, what was given comes back
// when its time has run out.
func (c *Client) Work(ctx context.Context, worker string, most int) ([]Work, error) {
	request := WorkRequest{Worker: worker, Most: most}
	var answer WorkAnswer
	err := request.Check()
	if err == nil {
		err = c.call(ctx, http.MethodPost, "/v1/work", request, &answer)
	}
	if err == nil && len(answer.Work) > most {
		err = fmt.Errorf("the coordinator gives %d works", len(answer.Work))
	}
	for _, w := range answer.Work {
		err = errors.Join(err, w.check())
	}
	if err != nil {
		return nil, fmt.Errorf("asking %s for at most %d works for %s: %w", c.base, most, worker, err)
	}
	return answer.Work, nil
}

// Deliver hands in a proof. It may be repeated when it failed without an answer: the coordinator counts a proof once, and [Verdict.Counts]
// recognises the repetition, as long as it is not older than some thousand other proofs.
func (c *Client) Deliver(ctx context.Context, proof Proof) (Verdict, error) {
	var verdict Verdict
	err := proof.Check()
	if err == nil {
		err = c.call(ctx, http.MethodPost, "/v1/proof", proof, &verdict)
	}
	if err == nil {
		switch verdict.Status {
		case Accepted, Slashed, WrongShape:
		default:
			err = fmt.Errorf("unknown status %q", verdict.Status)
		}
	}
	if err != nil {
		return Verdict{}, fmt.Errorf("delivering the proof of work %s to %s: %w", proof.ID, c.base, err)
	}
	return verdict, nil
}

// Failed gives work back that could not be proven. It may be repeated; for work that the worker does not have it changes nothing.
func (c *Client) Failed(ctx context.Context, failure Failure) error {
	var answer FailureAnswer
	err := failure.Check()
	if err == nil {
		err = c.call(ctx, http.MethodPost, "/v1/failed", failure, &answer)
	}
	if err != nil {
		return fmt.Errorf("giving work %s back to %s: %w", failure.ID, c.base, err)
	}
	return nil
}

// Status asks how the coordinator's work stands.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var status Status
	if err := c.call(ctx, http.MethodGet, "/v1/status", nil, &status); err != nil {
		return Status{}, fmt.Errorf("asking %s for its status: %w", c.base, err)
	}
	return status, nil
}

// call sends one request, with a body unless it is nil, and reads the answer.
func (c *Client) call(ctx context.Context, method, path string, body, answer any) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("no answer within %v: %w", c.timeout, context.DeadlineExceeded))
	defer cancel()
	var content io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return err
	case response.StatusCode != http.StatusOK:
		var said ErrorAnswer
		_ = json.Unmarshal(text, &said) // what is no JSON comes from somebody else on the way, and the status says enough
		return &StatusError{Code: response.StatusCode, Message: said.Error}
	case len(text) > maxAnswer:
		return fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("an answer that is not of this protocol: %w", err)
	}
	return nil
}
