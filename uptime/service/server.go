package service

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap/zapcore"
)

const (
	headerTime  = 10 * time.Second // for a request's header to come
	idleTime    = 30 * time.Second // for the next request on a connection to begin
	maxHeader   = 16 << 10         // bytes
	closingTime = 10 * time.Second // for requests under way when the service ends
)

// Serve answers requests on listener, which it closes, until ctx ends. Then it takes no more connections, lets the requests under way end for 10 s at
// most, cuts off those that are left, and returns nil once all of its goroutines have ended. An error means that the listener failed.
func (s *Service) Serve(ctx context.Context, listener net.Listener) error {
	s.noteWhitelist()
	var connections sync.WaitGroup
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader, ErrorLog: log.New(s.log, "", 0),
		DisableGeneralOptionsHandler: true, // it would wait for a body without a limit of time
		ConnState: func(conn net.Conn, state http.ConnState) {
			place, _ := conn.(*placed) // all of them are
			switch state {             //nolint:exhaustive // no connection is hijacked
			case http.StateNew:
				connections.Add(1)
			case http.StateActive:
				place.began()
			case http.StateIdle:
				place.ended()
			case http.StateClosed: // its goroutine ends with it
				connections.Done()
			}
		},
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.bound(listener)) }()
	var failure error
	select {
	case err := <-served:
		failure = fmt.Errorf("serving the uptime service at %s: %w", listener.Addr(), err)
		served <- err // for below
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closingTime)
	defer cancel()
	if err := server.Shutdown(closing); err != nil {
		s.log.failed("cut_off", zapcore.WarnLevel, "requests under way were cut off at the end", err)
		_ = server.Close() // of connections that are of no use any more
	}
	<-served
	connections.Wait()
	return failure
}
