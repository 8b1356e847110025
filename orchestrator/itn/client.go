// Package itn speaks to one Mina node through its ITN GraphQL port, as itn-graphql describes it.
//
// A Client belongs to one node and signs with one ITN key. It owns what the protocol makes it keep: the server UUID, which
// changes when the daemon restarts, and the sequence number, which the daemon expects to grow by one with each request it
// accepts, per key. So requests to a node go one at a time, a node has one Client, and a key belongs to one program.
//
// The rules, in the order in which they matter:
//
//   - 401 is final; the number was not used.
//   - 412 means that the daemon restarted or somebody else used the key. The client runs auth and repeats the request once;
//     a second 412 is a SequencingError.
//   - 200 and 400 are the daemon's answers and use up the number, GraphQL errors (RefusedError) included.
//   - Anything else, and no answer, is a lost reply. Queries are repeated once after a new auth. Mutations never are without
//     knowing what became of them: the next sequenced request on the node is auth, sequenced with the same number. Accepted,
//     it takes the place of the lost request, which can no longer happen; refused with 412, the lost one was accepted, or
//     the UUID changed and it is gone. LostReplyError carries that Outcome, and Decide does the same for an Attempt that
//     was recorded before a crash.
//   - What certainly never left is a NotSentError.
//
// Newer daemons are recognised by auth. On them a load can be scheduled under a handle that the caller chose, which makes a
// repeated request harmless; see PaymentsDetails.RepeatUntil.
//
// Errors and logs contain no private key, signature or header, also where a daemon quotes one.
package itn

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// Defaults of Options.
const (
	defaultRequestTimeout = 30 * time.Second
	defaultMaxAnswerBytes = 64 << 20
)

// Options are what a Client may be told besides node and key. The zero value is ready for use.
type Options struct {
	// Transport sends the requests; nil makes an own NewTransport. A refused connection must be a *net.OpError whose Op is
	// "dial", or the request counts as one that may have left.
	Transport http.RoundTripper
	// RequestTimeout bounds each request, from dialling to the last byte of the answer, in wall time; 0 means 30 s.
	RequestTimeout time.Duration
	// MaxAnswerBytes bounds an answer; 0 means 64 MiB.
	MaxAnswerBytes int64
	// Turn lets the calls to the node go one at a time; nil makes one for the wall's time.
	Turn Turn
	// Logger takes what LogRequests asks for; nil means no logging.
	Logger *zap.Logger
	// LogRequests logs each request at debug level: operation, node, sequence number, duration, status and size.
	LogRequests bool
}

// Turn is a lock whose waiters give up when their context ends, with its cause.
type Turn interface {
	Take(ctx context.Context) error
	Release()
}

// wallTurn is a Turn with one place: whoever has filled it has the turn.
type wallTurn chan struct{}

func (t wallTurn) Take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t wallTurn) Release() { <-t }

// NewTransport returns a transport fit for ITN ports: it gives up connecting after 10 s, uses no proxy and no compression,
// and can be shared by the clients of many nodes. Whoever made it calls CloseIdleConnections in the end.
func NewTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		DisableCompression:     true, // the bound of an answer counts the bytes that arrive
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// Client speaks to one node. It is safe for concurrent use; calls take turns, and one that waits for its turn gives up when
// its context ends.
type Client struct {
	address        string
	url            string
	key            Key
	transport      http.RoundTripper
	ownTransport   *http.Transport // nil when it was given
	requestTimeout time.Duration
	maxAnswerBytes int64
	logger         *zap.Logger
	logRequests    bool

	// Whoever has the turn has the node to itself, and session too.
	turn    Turn
	session session
}

// session is what the client knows of the daemon's run.
type session struct {
	known      bool // serverUUID and next are to be relied on
	serverUUID string
	next       uint16 // sequence number
	newer      bool   // the last auth told a commit
	older      bool   // auth is asked in the older form, since the newer one was refused

	// ignoresHandles is set when a newer-looking daemon refused the form with a handle, or answered another handle.
	ignoresHandles bool
}

// New returns a client of the node at address, which is HOST:PORT with brackets around an IPv6 literal. It sends nothing
// before its first call.
func New(address string, key Key, opts Options) *Client {
	c := &Client{
		address:        address,
		url:            "http://" + address + "/graphql",
		key:            key,
		transport:      opts.Transport,
		requestTimeout: opts.RequestTimeout,
		maxAnswerBytes: opts.MaxAnswerBytes,
		logger:         opts.Logger,
		logRequests:    opts.LogRequests,
		turn:           opts.Turn,
	}
	if c.transport == nil {
		c.ownTransport = NewTransport()
		c.transport = c.ownTransport
	}
	if c.requestTimeout == 0 {
		c.requestTimeout = defaultRequestTimeout
	}
	if c.maxAnswerBytes == 0 {
		c.maxAnswerBytes = defaultMaxAnswerBytes
	}
	if c.turn == nil {
		c.turn = make(wallTurn, 1)
	}
	if c.logger == nil {
		c.logger = zap.NewNop()
	}
	return c
}

// Address returns the node's HOST:PORT as given to New.
func (c *Client) Address() string { return c.address }

// Close lets go of idle connections. It does not touch a transport that was given, nor calls under way.
func (c *Client) Close() {
	if c.ownTransport != nil {
		c.ownTransport.CloseIdleConnections()
	}
}

// take waits for the turn. The caller gives it back by calling release.
func (c *Client) take(ctx context.Context) (release func(), err error) {
	if err := c.turn.Take(ctx); err != nil {
		return nil, fmt.Errorf("waiting for the turn on the node: %w", err)
	}
	return c.turn.Release, nil
}
