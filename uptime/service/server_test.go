package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// dial opens a connection from an address.
func dial(tb testing.TB, url, from string) *net.TCPConn {
	tb.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.TCPConn)
}

// pipes is a listener in memory, for tests with a clock of their own.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// piped is a connection with an address.
type piped struct {
	net.Conn
	from net.Addr
}

func (p piped) RemoteAddr() net.Addr { return p.from }

func (p *pipes) dial(tb testing.TB, from string) net.Conn {
	tb.Helper()
	near, far := net.Pipe()
	p.conns <- piped{far, &net.TCPAddr{IP: net.ParseIP(from), Port: 1}}
	return near
}

// serve serves until the function that it returns is called.
func (p *pipes) serve(tb testing.TB, s *Service) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, p) }()
	return func() {
		cancel()
		if err := <-served; err != nil {
			tb.Error(err)
		}
	}
}

// A connection on which no header, no body or no further request comes is closed.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]time.Duration{
		"":                 headerTime,
		"GET /health HTTP": headerTime,
		"GET /health HTTP/1.1\r\nHost: x\r\n\r\n":                                 idleTime,
		"POST /v1/online HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n":     drainTime,
		"POST /v1/submit HTTP/1.1\r\nHost: x\r\nContent-Length: 50000001\r\n\r\n": 0,
		// Package http answers these by itself, if it may.
		"OPTIONS * HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n":        drainTime,
		"POST //v1/submit HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n": drainTime,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			network := newPipes()
			stop := network.serve(t, w.service)
			conn := network.dial(t, "192.0.2.1")
			began := time.Now()
			go func() { _, _ = io.WriteString(conn, sent) }()
			_, err := io.ReadAll(conn)
			if took := time.Since(began); err != nil || took < want || took > want+time.Second {
				t.Errorf("%q: closed after %s, %v", sent, took, err)
			}
			stop()
		})
	}
}

// At the end, requests under way are answered, and those that take too long are cut off.
func TestEnd(t *testing.T) {
	t.Parallel()
	for stuck, want := range map[bool]time.Duration{false: 5 * time.Second, true: closingTime} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			w.store.hold = func(ctx context.Context) error {
				if stuck {
					<-ctx.Done()
					return context.Cause(ctx)
				}
				timer := time.NewTimer(5 * time.Second)
				defer timer.Stop()
				select {
				case <-timer.C:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			if stuck {
				w.service.options.Limits.Verifications = 1
			}
			network := newPipes()
			stop := network.serve(t, w.service)
			conn := network.dial(t, "192.0.2.1")
			body := sign(t, w.key, report(noon()))
			began := time.Now()
			answered := make(chan string, 1)
			go func() {
				fmt.Fprintf(conn, "POST /v1/submit HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				answer, _ := io.ReadAll(conn)
				answered <- string(answer)
			}()
			synctest.Wait() // until the store has it
			stop()
			if took := time.Since(began); took < want || took > want+time.Second {
				t.Errorf("stuck: %t: ended after %s", stuck, took)
			}
			if answer := <-answered; strings.HasPrefix(answer, "HTTP/1.1 200 ") == stuck {
				t.Errorf("stuck: %t: answer %s", stuck, answer)
			}
		})
	}
}

// brokenListener fails.
type brokenListener struct{ *pipes }

func (brokenListener) Accept() (net.Conn, error) { return nil, errFault }

func TestBrokenListener(t *testing.T) {
	t.Parallel()
	if err := newWorld(t, nil).service.Serve(t.Context(), brokenListener{newPipes()}); !errors.Is(err, errFault) {
		t.Errorf("got %v", err)
	}
}
