package control

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// path is the only one there is; what is asked for stands in the body, for only that is signed.
const path = "/command"

const (
	headerTime  = 5 * time.Second  // for a request's header, and the handshake before it
	bodyTime    = 10 * time.Second // for its body
	answerTime  = 10 * time.Second // for an answer to leave
	idleTime    = 60 * time.Second // for the next request of a connection to begin
	closingTime = 5 * time.Second  // for commands under way when the server ends
	maxHeader   = 8 << 10          // bytes
	lookEvery   = 5 * time.Second  // at the keys, for those who read streams

	maxCommands = 64 // at once
	maxStreams  = 64
)

var (
	errEnding  = refuse(Ending, "the agent ends")
	errRevoked = refuse(Unauthorized, "the key is no longer among those that may")
)

// Options of a server. Name, Operator and Audit are required.
type Options struct {
	// Name is the agent's name, which commands must hold.
	Name     string
	Operator Operator
	Audit    Audit
	// Keys may command over HTTPS; nil means nobody may.
	Keys *Keys
	// Log takes what the audit cannot; nil is silent.
	Log *zap.Logger
	// Now is the wall time; nil means the machine's.
	Now func() time.Time
	// StreamTime is how long one piece of a stream may take to be read before the reader is cut off; 0 means 10 s.
	StreamTime time.Duration
	// Alive is how often a silent stream says that the agent is still there; 0 means 15 s.
	Alive time.Duration
}

// Server checks commands and hands them to the agent, as the package comment says. Make it with [NewServer]. Safe for concurrent use.
type Server struct {
	options   Options
	numbers   *numbers
	strangers strangers
	commands  chan struct{}
	streams   chan struct{}
}

// NewServer returns a server with a server UUID of its own. It does nothing before [Server.Serve].
func NewServer(options Options) (*Server, error) {
	if !isName(options.Name) {
		return nil, fmt.Errorf("control: %s is no name of an agent: use letters, digits, dots, dashes and underscores", shorten(options.Name))
	}
	if options.Operator == nil || options.Audit == nil {
		return nil, errors.New("control: a server needs an operator and an audit")
	}
	if options.Log == nil {
		options.Log = zap.NewNop()
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.StreamTime <= 0 {
		options.StreamTime = 10 * time.Second
	}
	if options.Alive <= 0 {
		options.Alive = 15 * time.Second
	}
	return &Server{
		options: options, numbers: newNumbers(),
		commands: make(chan struct{}, maxCommands), streams: make(chan struct{}, maxStreams),
	}, nil
}

// Serve answers commands on the listeners, which it closes, until ctx ends. Then the commands and streams under way are told so through their contexts; what is
// left after 5 s is cut off. It returns nil once all of its goroutines have ended, or the error of a listener that failed. Call it once.
func (s *Server) Serve(ctx context.Context, listeners ...*Listener) error {
	base, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	var connections sync.WaitGroup
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader, ErrorLog: log.New(httpLog{s.options.Log}, "", 0),
		BaseContext: func(net.Listener) context.Context { return base },
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			if placed, ok := conn.(*placed); ok {
				if local, ok := placed.Conn.(*localConn); ok {
					return context.WithValue(ctx, peerKey{}, local.peer)
				}
			}
			return ctx
		},
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state { //nolint:exhaustive // a connection begins with the one and its goroutine ends with the other
			case http.StateNew:
				connections.Add(1)
			case http.StateClosed:
				connections.Done()
			}
		},
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, listener := range listeners {
		group.Go(func() error {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serving control at %s: %w", listener.Addr(), err)
			}
			return nil
		})
	}
	group.Go(func() error {
		s.watchKeys(groupCtx)
		end(errEnding)
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closingTime)
		defer cancel()
		if err := server.Shutdown(closing); err != nil {
			s.options.Log.Warn("commands under way were cut off at the end", zap.Error(err))
			_ = server.Close() // of connections that are of no use any more
		}
		return nil
	})
	err := group.Wait()
	connections.Wait()
	for _, listener := range listeners { // closed already, and so only asked how that went
		err = errors.Join(err, listener.Close())
	}
	return err
}

// watchKeys tells of a keys file that cannot be used, once for each error, until ctx ends.
func (s *Server) watchKeys(ctx context.Context) {
	if s.options.Keys == nil {
		<-ctx.Done()
		return
	}
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := s.options.Keys.Refresh()
		switch {
		case err == nil:
			told = ""
		case err.Error() != told:
			told = err.Error()
			s.options.Log.Error("the control keys cannot be read; the keys of before stay", zap.Error(err))
		}
	}
}

// httpLog takes what net/http says: a handshake that failed, or an agent that panicked.
type httpLog struct{ log *zap.Logger }

// Write logs one line.
func (l httpLog) Write(line []byte) (int, error) {
	l.log.Warn("control connection", zap.ByteString("said", line))
	return len(line), nil
}
