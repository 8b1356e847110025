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
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state { //nolint:exhaustive // a connection begins with the one and its goroutine ends with the other
			case http.StateNew:
				connections.Add(1)
			case http.StateClosed:
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

// limits of connections, as the metrics call them.
const (
	limitAll     = "all"
	limitAddress = "address"
)

// bounded is a listener with so many connections at once, and so many of one address. Any more are closed as they come, for the next client may be an honest one.
type bounded struct {
	net.Listener

	service *Service

	mu        sync.Mutex
	all       int
	addresses map[origin]int // without those of trusted proxies
}

func (s *Service) bound(listener net.Listener) *bounded {
	return &bounded{Listener: listener, service: s, addresses: map[origin]int{}}
}

// Accept waits for a connection that may stay.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err // as the server knows it: it tells by it whether to go on
		}
		leave, limit := b.enter(conn)
		if leave != nil {
			b.service.metrics.connections.Inc()
			return &placed{Conn: conn, leave: sync.OnceFunc(leave)}, nil
		}
		b.service.metrics.refused.WithLabelValues(limit).Inc()
		_ = conn.Close() // nothing was written
	}
}

// enter counts a connection in, and returns what counts it out, or the limit that does not allow it.
func (b *bounded) enter(conn net.Conn) (leave func(), limit string) {
	address, err := connectionAddress(conn.RemoteAddr().String())
	isFree := err == nil && b.service.proxies.trust(address)
	of := originOf(address)
	limits := b.service.options.Limits
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.all >= limits.Connections:
		return nil, limitAll
	case !isFree && b.addresses[of] >= limits.ConnectionsPerAddress:
		return nil, limitAddress
	}
	b.all++
	if !isFree {
		b.addresses[of]++
	}
	return func() {
		b.service.metrics.connections.Dec()
		b.mu.Lock()
		defer b.mu.Unlock()
		b.all--
		if isFree {
			return
		}
		if b.addresses[of]--; b.addresses[of] == 0 {
			delete(b.addresses, of)
		}
	}, ""
}

// placed is a connection that was counted in.
type placed struct {
	net.Conn

	leave func()
}

// Close counts it out.
func (p *placed) Close() error {
	defer p.leave()
	return p.Conn.Close()
}
