package simnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// ports are the network's open TCP ports. One HTTP server serves all but the coordinator's: a request is for the node whose address its
// connection came to.
// A node that is down has no port, so that connections to it are refused by the kernel, as real ones are.
type ports struct {
	net         *Network
	server      *http.Server
	coordinator *http.Server // of the port for provers outside; nil when there is none
	bind        func(address string) (net.Listener, error)
	serve       errgroup.Group
	running     sync.RWMutex // read-locked by each request under way

	mu        sync.Mutex
	listeners map[string]net.Listener          // by address
	conns     map[string]map[net.Conn]struct{} // open connections by local address
	closed    bool
}

// nodeKey is where a connection's context holds its local address.
type nodeKey struct{}

// Listen opens the network's ports: each running node's ITN port on its own loopback address, the coordinator's where Options.Coordinator names
// one, and the online list's unless reports go to a service. They are closed by Stop. It needs a wall or scaled clock, and a system on which all of 127.0.0.0/8 is this machine, as on Linux.
func (n *Network) Listen(ctx context.Context) error {
	p := &ports{net: n, listeners: make(map[string]net.Listener), conns: make(map[string]map[net.Conn]struct{})}
	p.bind = func(address string) (net.Listener, error) {
		var config net.ListenConfig
		return config.Listen(context.WithoutCancel(ctx), "tcp", address) // nodes come back long after ctx has ended
	}
	p.server = &http.Server{
		Handler:           http.HandlerFunc(p.dispatch),
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       5 * time.Minute,
		ErrorLog:          zap.NewStdLog(n.log.Named("http")),
		ConnState:         func(conn net.Conn, state http.ConnState) { p.track(conn.LocalAddr().String(), conn, state) },
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, nodeKey{}, conn.LocalAddr().String())
		},
	}
	if n.coordinator != nil {
		p.coordinator = p.coordinatorServer()
	}
	var err error
	n.do(func() {
		if !n.started || n.stopped || n.ports != nil {
			err = errors.New("simulated network: it is not running, or listens already")
			return
		}
		if n.opts.UptimeURL == "" {
			err = p.listen(p.server, n.listAddress())
		}
		for _, node := range n.nodes {
			if err == nil && node.listening() {
				err = p.listen(p.server, node.address)
			}
		}
		if err == nil && n.coordinator != nil && n.coordinator.node.daemon != nil {
			err = p.listen(p.coordinator, n.opts.Coordinator)
		}
		if err == nil {
			n.ports = p
		}
	})
	if err != nil {
		return errors.Join(err, p.shutdown())
	}
	return nil
}

// coordinatorServer makes the server of the port for provers outside. It bounds what strangers can make it hold.
func (p *ports) coordinatorServer() *http.Server {
	bodies := make(chan struct{}, coordinatorBodies)
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.running.RLock()
			defer p.running.RUnlock()
			select {
			case bodies <- struct{}{}:
				defer func() { <-bodies }()
				p.net.coordinator.ServeHTTP(w, r)
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			}
		}),
		ReadHeaderTimeout: coordinatorTimeout, ReadTimeout: coordinatorTimeout, WriteTimeout: 2 * coordinatorTimeout, IdleTimeout: 5 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       zap.NewStdLog(p.net.log.Named("http")),
		ConnState:      func(conn net.Conn, state http.ConnState) { p.track(p.net.opts.Coordinator, conn, state) },
	}
}

// listen opens one port for a server, unless it is open.
func (p *ports) listen(server *http.Server, address string) error {
	p.mu.Lock()
	open := p.listeners[address] != nil
	p.mu.Unlock()
	if open {
		return nil
	}
	listener, err := p.bind(address)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("%w: another program, perhaps another simulated network, uses the port; choose another one", err)
		}
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return listener.Close()
	}
	p.listeners[address] = listener
	p.serve.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("serving %s: %w", address, err)
		}
		return nil
	})
	return nil
}

// close closes a port of a node that went down, and its connections.
func (p *ports) close(address string) {
	p.mu.Lock()
	listener := p.listeners[address]
	delete(p.listeners, address)
	conns := p.conns[address]
	delete(p.conns, address)
	p.mu.Unlock()
	if listener != nil {
		_ = listener.Close() // nothing is lost with it
	}
	for conn := range conns {
		_ = conn.Close()
	}
}

// track keeps the set of open connections of a port.
func (p *ports) track(address string, conn net.Conn, state http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch state {
	case http.StateNew:
		if p.conns[address] == nil {
			p.conns[address] = make(map[net.Conn]struct{})
		}
		p.conns[address][conn] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(p.conns[address], conn)
	default: // still open
	}
}

// dispatch hands a request to the node that it was sent to.
func (p *ports) dispatch(w http.ResponseWriter, r *http.Request) {
	p.running.RLock()
	defer p.running.RUnlock()
	address, _ := r.Context().Value(nodeKey{}).(string)
	handler := p.net.find(address)
	if handler == nil {
		panic(http.ErrAbortHandler) // went down after the connection was made
	}
	handler.ServeHTTP(w, r)
}

// shutdown closes all ports, cuts off the requests under way, and waits for them.
func (p *ports) shutdown() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.server.Close()
	if p.coordinator != nil {
		err = errors.Join(err, p.coordinator.Close())
	}
	p.running.Lock()
	defer p.running.Unlock()
	return errors.Join(err, p.serve.Wait())
}
