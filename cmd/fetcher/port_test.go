package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// pipes is a listener of connections in memory, whose deadlines a bubble's time knows.
type pipes struct {
	made   chan net.Conn
	closed chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.made:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { close(p.closed); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dial connects and sends; accepted tells whether it was accepted, once everything that can happen at once has.
func (p pipes) dial(t *testing.T, text string) (conn net.Conn, accepted chan struct{}) {
	t.Helper()
	ours, theirs := net.Pipe()
	accepted = make(chan struct{})
	go func() {
		select {
		case p.made <- theirs:
			close(accepted)
		case <-p.closed:
			return
		}
		if text != "" { // a pipe takes nothing for something
			_, _ = io.WriteString(ours, text)
		}
	}()
	synctest.Wait()
	return ours, accepted
}

// TestConnectionsEnd: whatever a client leaves undone, its connection ends.
func TestConnectionsEnd(t *testing.T) {
	for name, sent := range map[string]string{
		"no request":        "",
		"half a header":     "GET / HTTP/1.1\r\nHost: x\r\n",
		"a missing body":    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
		"half a body":       "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx",
		"nothing more":      "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"an endless header": "GET / HTTP/1.1\r\nHost: x\r\nX: ",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				listener := pipes{make(chan net.Conn), make(chan struct{})}
				server := newServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), zap.NewNop())
				served := make(chan error, 1)
				go func() { served <- server.Serve(listener) }()
				began := time.Now()
				conn, _ := listener.dial(t, sent)
				if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, io.ErrClosedPipe) {
					t.Error(err)
				}
				if took := time.Since(began); took > 2*time.Minute {
					t.Errorf("the connection lasted %s", took)
				}
				if err := server.Close(); err != nil {
					t.Error(err)
				}
				if err := <-served; !errors.Is(err, http.ErrServerClosed) {
					t.Error(err)
				}
			})
		})
	}
}

// TestConnectionsAreBounded: over all listeners there are so many at once, and the next one comes in when one has ended.
func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		places := make(chan struct{}, 2)
		server := newServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), zap.NewNop())
		served := make(chan error, 2)
		var listeners []pipes
		for range 2 {
			listener := pipes{make(chan net.Conn), make(chan struct{})}
			listeners = append(listeners, listener)
			go func() { served <- server.Serve(newBounded(listener, places)) }()
			synctest.Wait() // it has a place for its first connection
		}
		first, in1 := listeners[0].dial(t, "")
		second, in2 := listeners[1].dial(t, "")
		<-in1
		<-in2
		third, in3 := listeners[0].dial(t, "")
		select {
		case <-in3:
			t.Error("a third connection has come in")
		default:
		}
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		<-in3
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		for range listeners {
			if err := <-served; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		}
		for _, conn := range []net.Conn{second, third} {
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
