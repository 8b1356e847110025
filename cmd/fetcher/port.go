package main

import (
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

// newServer makes the server of the REST port: no request takes for ever to come, and no connection stays without one.
func newServer(handler http.Handler, log *zap.Logger) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: requestTime, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: zap.NewStdLog(log),
	}
}

// bounded is a listener whose connections need a place, of which there are so many for all listeners together. Whoever finds none waits
// to be accepted until a connection ends, and idle ones end.
type bounded struct {
	net.Listener

	places chan struct{}
	closed chan struct{}
	close  func() error
}

func newBounded(listener net.Listener, places chan struct{}) *bounded {
	b := &bounded{Listener: listener, places: places, closed: make(chan struct{})}
	b.close = sync.OnceValue(func() error {
		close(b.closed)
		return listener.Close()
	})
	return b
}

// Accept waits for a place and then for a connection.
func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.places <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	conn, err := b.Listener.Accept()
	if err != nil {
		<-b.places
		return nil, err
	}
	return &placed{Conn: conn, leave: sync.OnceFunc(func() { <-b.places })}, nil
}

// Close ends waiting in Accept, too.
func (b *bounded) Close() error { return b.close() }

// placed is a connection that has a place.
type placed struct {
	net.Conn

	leave func()
}

// Close gives the place back.
func (p *placed) Close() error {
	defer p.leave()
	return p.Conn.Close()
}
