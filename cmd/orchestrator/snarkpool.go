package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"provingground/cmd/internal/boot"
	"provingground/orchestrator"
	"provingground/snarkpool/control"
)

// pools are the agents of pools of SNARK workers that a run speaks to. Safe for concurrent use.
type pools struct {
	config orchestrator.SnarkPoolConfig // the zero value where the configuration names none
	key    control.Key
	roots  *x509.CertPool // nil for those of the system
	bound  time.Duration  // of a request that changes nothing, in wall time

	mu      sync.Mutex
	clients map[string]*control.Client // by address
}

// maxPoolFile bounds a key file and a file of certificates, in bytes.
const maxPoolFile = 4 << 20

// remote begins the address of an agent elsewhere; any other is the path of a socket.
const remote = "https://"

// newPools reads what commands to the pool of the configuration need: a key that cannot be used is told before anything is sent. The key's text
// is given to hide.
func newPools(config orchestrator.Config, hide func(string), log *zap.Logger) (*pools, error) {
	p := &pools{bound: config.RequestTimeout, clients: map[string]*control.Client{}}
	if config.SnarkPool == nil {
		return p, nil
	}
	p.config = *config.SnarkPool
	if p.config.Agent == "" {
		return p, nil
	}
	if _, err := control.ParseKey(p.config.KeyFile); err == nil { // which an error of the file system would show
		return nil, errors.New("keyFile of snarkPool is the key itself: put that into a file, and name the file")
	}
	text, mode, err := boot.ReadSmall(p.config.KeyFile, maxPoolFile)
	if err != nil {
		return nil, fmt.Errorf("keyFile of snarkPool: %w", err)
	}
	if mode.Perm()&0o077 != 0 {
		log.Warn("others can read the key of snarkPool: chmod 600 it", zap.String("file", p.config.KeyFile))
	}
	hide(strings.TrimSpace(string(text)))
	if p.key, err = control.ParseKey(string(text)); err != nil {
		return nil, fmt.Errorf("keyFile %s of snarkPool: %w", p.config.KeyFile, err)
	}
	if p.config.CAFile != "" {
		if text, _, err = boot.ReadSmall(p.config.CAFile, maxPoolFile); err != nil {
			return nil, fmt.Errorf("caFile of snarkPool: %w", err)
		}
		p.roots = x509.NewCertPool()
		if !p.roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("caFile %s of snarkPool holds no certificate in PEM", p.config.CAFile)
		}
	}
	if _, _, err := p.at(""); err != nil { // which sends nothing
		return nil, err
	}
	return p, nil
}

// at returns the agent at a socket, or at an address that at returned before; with "" that of the configuration.
func (p *pools) at(address string) (orchestrator.SnarkPool, string, error) {
	configured := p.config.Socket
	if p.config.Agent != "" {
		configured = remote + p.config.Agent
	}
	switch {
	case address == "" && configured == "":
		return nil, "", errors.New("the configuration has no snarkPool, and no socket is given")
	case address == "":
		address = configured
	case strings.HasPrefix(address, remote) && address != configured:
		return nil, "", fmt.Errorf("the agent %s is asked for, and snarkPool of the configuration does not name it: commands to it need its keyFile", address)
	}
	if !strings.HasPrefix(address, remote) {
		var err error
		if address, err = filepath.Abs(address); err != nil {
			return nil, "", fmt.Errorf("the socket of the pool's agent: %w", err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	client := p.clients[address]
	if client == nil {
		var err error
		if client, err = p.dial(address); err != nil {
			return nil, "", err
		}
		p.clients[address] = client
	}
	return pool{client, p.bound}, address, nil
}

// dial returns the client of an agent. It sends nothing.
func (p *pools) dial(address string) (*control.Client, error) {
	agent, elsewhere := strings.CutPrefix(address, remote)
	if !elsewhere {
		return control.NewLocal(address), nil
	}
	name, where, named := strings.Cut(agent, "@")
	if !named {
		where = agent
	}
	host, _, err := net.SplitHostPort(where)
	if err != nil || host == "" {
		return nil, fmt.Errorf("agent %q of snarkPool: write NAME@HOST:PORT, such as bm7:8470", agent)
	}
	if !named {
		name = host
	}
	client, err := control.NewRemote(where, name, p.key, p.roots)
	if err != nil {
		return nil, fmt.Errorf("agent %q of snarkPool: %w", agent, err)
	}
	return client, nil
}

// close closes connections that nobody uses any more.
func (p *pools) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, client := range p.clients {
		client.Close()
	}
}

// pool is the agent of one pool.
type pool struct {
	client *control.Client
	bound  time.Duration
}

// What the agent calls what is wanted of a worker, and the state of one that the kernel has stopped (snark-pool, section 4).
const (
	wantedWorking = "working"
	wantedPaused  = "paused"
	stateFrozen   = "frozen"
)

// Workers asks how the workers of a target are.
func (p pool) Workers(ctx context.Context, target string) ([]orchestrator.PoolWorker, error) {
	selected, err := control.ParseTarget(target)
	if err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.bound, fmt.Errorf("no answer within %s", p.bound))
	defer cancel()
	status, err := p.client.Status(ctx, selected)
	if err != nil {
		return nil, err //nolint:wrapcheck // names agent and operation
	}
	workers := make([]orchestrator.PoolWorker, len(status.Workers))
	for i, w := range status.Workers {
		workers[i] = orchestrator.PoolWorker{
			Name: w.Name, Takes: w.Wanted == wantedWorking && w.State != stateFrozen, Paused: w.Wanted == wantedPaused && w.State != stateFrozen,
		}
		if w.Until != nil && workers[i].Paused {
			workers[i].Until = *w.Until
		}
	}
	return workers, nil
}

// Pause pauses workers.
func (p pool) Pause(ctx context.Context, target string, until time.Time) error {
	arguments := control.Arguments{}
	if !until.IsZero() {
		arguments.Max = control.Duration(max(time.Until(until), time.Second))
	}
	return p.change(ctx, control.OpPause, target, arguments)
}

// Resume ends the pause of workers.
func (p pool) Resume(ctx context.Context, target string) error {
	return p.change(ctx, control.OpResume, target, control.Arguments{})
}

func (p pool) change(ctx context.Context, operation control.Operation, target string, arguments control.Arguments) error {
	selected, err := control.ParseTarget(target)
	if err != nil {
		return err //nolint:wrapcheck // says it all
	}
	arguments.Reason = "a script's block snark-pool"
	ctx, cancel := context.WithTimeoutCause(ctx, p.bound, fmt.Errorf("no answer within %s", p.bound))
	defer cancel()
	if _, err := p.client.Change(ctx, control.Command{Operation: operation, Target: selected, Arguments: arguments}); err != nil {
		return fmt.Errorf("%s %s: %w", operation, target, err)
	}
	return nil
}
