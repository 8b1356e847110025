package service

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// visitor is the client's end of a connection.
type visitor struct {
	net.Conn

	in *bufio.Reader
}

func (p *pipes) visit(tb testing.TB, from string) visitor {
	tb.Helper()
	conn := p.dial(tb, from)
	tb.Cleanup(func() { _ = conn.Close() })
	synctest.Wait() // until it is let in, or not
	return visitor{conn, bufio.NewReader(conn)}
}

// visits makes silent visitors.
func (p *pipes) visits(tb testing.TB, count int, from string) (all []visitor) {
	tb.Helper()
	for range count {
		all = append(all, p.visit(tb, from))
	}
	return all
}

// isServed asks, and tells whether there was an answer.
func (v visitor) isServed() bool {
	if _, err := io.WriteString(v, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return false
	}
	answer, err := http.ReadResponse(v.in, nil)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, answer.Body)
	synctest.Wait() // until the server waits for the next request
	return errors.Join(err, answer.Body.Close()) == nil && answer.StatusCode == http.StatusOK
}

// submits begins a submission that goes on.
func (v visitor) submits(tb testing.TB) {
	tb.Helper()
	if _, err := io.WriteString(v, "POST /v1/submit HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		tb.Fatal(err)
	}
	synctest.Wait()
}

func (v visitor) isOpen() bool {
	if v.SetReadDeadline(time.Now()) != nil { // a pipe's other end is closed
		return false
	}
	_, err := v.in.Peek(1)
	return errors.Is(err, os.ErrDeadlineExceeded) && v.SetReadDeadline(time.Time{}) == nil
}

// pass lets time pass.
func pass(d time.Duration) { <-time.NewTimer(d).C }

// visited makes a world with limits that is served until the test ends, by the clock of its own that the test has.
func visited(tb testing.TB, change func(*Options)) (*world, *pipes) {
	tb.Helper()
	w := newWorld(tb, change)
	network := newPipes()
	tb.Cleanup(network.serve(tb, w.service))
	return w, network
}

// A full house lets a newcomer in for whoever has waited longest for a header or a next request, and for nobody whose request is under way.
func TestConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, network := visited(t, func(o *Options) { o.Limits.Connections = 4 })
		silent, idle, busy, late := network.visit(t, "10.0.0.1"), network.visit(t, "10.0.0.2"), network.visit(t, "10.0.0.3"), network.visit(t, "10.0.0.4")
		busy.submits(t)
		pass(time.Second)
		if !idle.isServed() {
			t.Fatal("not served")
		}
		for i, next := range []visitor{silent, late, idle} {
			if !next.isOpen() {
				t.Errorf("connection %d makes room before its turn", i)
			}
			newcomer := network.visit(t, "10.0.1.1")
			newcomer.submits(t)
			if next.isOpen() || !newcomer.isOpen() {
				t.Errorf("connection %d makes no room", i)
			}
		}
		if network.visit(t, "10.0.1.2").isOpen() || !busy.isOpen() {
			t.Error("somebody was let in although all have requests under way")
		}
		if w.metric(t, "uptime_connections") != 4 || w.metric(t, "uptime_connections_refused_total") != 1 || w.metric(t, "uptime_connections_displaced_total") != 3 {
			t.Error("the connections were not counted")
		}
		if err := busy.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !network.visit(t, "10.0.1.2").isServed() {
			t.Error("no place after one was left")
		}
	})
}

// Silent connections, as many as the clients of a few addresses like to have, keep out nobody, and they themselves are let in no better.
func TestSilentCrowds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, network := visited(t, func(o *Options) { o.Limits.Connections, o.Limits.ConnectionsPerAddress = 64, 16 })
		honest := network.visit(t, "10.0.1.1")
		honest.submits(t)
		for i := range 4 {
			network.visits(t, 64, fmt.Sprintf("10.0.0.%d", i+1))
			if open := w.metric(t, "uptime_connections"); open > 64 {
				t.Errorf("%v connections", open)
			}
			if !network.visit(t, "10.0.1.2").isServed() {
				t.Error("an honest client is shut out")
			}
		}
		if !honest.isOpen() {
			t.Error("a request under way was broken off")
		}
	})
}

// Five hundred clients behind one address are all served; the 513th takes the place of another one of that address.
func TestConnectionsOfAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, network := visited(t, nil)
		other := network.visit(t, "10.0.0.2")
		all := network.visits(t, 500, "10.0.0.1")
		for i, one := range all {
			if !one.isServed() {
				t.Fatalf("client %d is not served", i)
			}
		}
		all[0].submits(t)
		network.visits(t, 12, "10.0.0.1")
		if !all[1].isOpen() {
			t.Error("512 are too many")
		}
		if !network.visit(t, "10.0.0.1").isServed() || all[1].isOpen() || !all[0].isOpen() || !all[2].isOpen() || !other.isOpen() {
			t.Error("not the one that has waited longest makes room for the 513th")
		}
	})
}

// All addresses of an IPv6 network of 64 bits are one, and those of 48 bits have no more than two; a trusted proxy may have as many as there are.
func TestConnectionsOfNetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, network := visited(t, func(o *Options) {
			o.Limits.Connections, o.Limits.ConnectionsPerAddress = 20, 4
			o.TrustedProxies = append(o.TrustedProxies, prefix("2001:db8:9::/48"))
		})
		first := network.visit(t, "2001:db8:1::1")
		for i := range 8 { // four of one address, eight of the network
			network.visit(t, fmt.Sprintf("2001:db8:1:%d::%d", i/4, i+1)).submits(t)
		}
		if first.isOpen() {
			t.Error("an address of the same /64 counts as another one")
		}
		if network.visit(t, "2001:db8:1:9::1").isOpen() {
			t.Error("another /64 of the same /48 counts as another network")
		}
		if !network.visit(t, "2001:db8:2::1").isServed() {
			t.Error("another /48 is shut out")
		}
		proxied := network.visits(t, 11, "2001:db8:9::1")
		if !proxied[0].isServed() || !proxied[10].isServed() || w.metric(t, "uptime_connections") != 20 {
			t.Error("a trusted proxy is limited")
		}
	})
}
