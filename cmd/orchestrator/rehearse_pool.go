package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
)

const (
	rehearsedPoolAddress = "rehearsal" // of the agent of the pool, whatever socket a script names
	// rehearsedWorkers is how many workers each target has. A script names hosts and pools that nobody knows here: every target is all workers.
	rehearsedWorkers = 256
)

// rehearsedPool is the agent of the pool that proves for the coordinators of the simulated network: as many works at once as workers take
// work. While none is paused, nothing waits for a worker. Safe for concurrent use.
type rehearsedPool struct {
	network *simnet.Network

	mu      sync.Mutex
	workers []orchestrator.PoolWorker
}

func newRehearsedPool(network *simnet.Network) *rehearsedPool {
	p := &rehearsedPool{network: network, workers: make([]orchestrator.PoolWorker, rehearsedWorkers)}
	for i := range p.workers {
		p.workers[i] = orchestrator.PoolWorker{Name: fmt.Sprintf("%s/pool/%d", rehearsedPoolAddress, i), Takes: true}
	}
	return p
}

// at returns the pool, wherever it is looked for.
func (p *rehearsedPool) at(string) (orchestrator.SnarkPool, string, error) {
	return p, rehearsedPoolAddress, nil
}

// Workers returns all workers.
func (p *rehearsedPool) Workers(context.Context, string) ([]orchestrator.PoolWorker, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.workers), nil
}

// Pause pauses one worker, or all of them.
func (p *rehearsedPool) Pause(_ context.Context, target string, _ time.Time) error {
	return p.change(target, false)
}

// Resume ends the pause of one worker, or of all of them.
func (p *rehearsedPool) Resume(_ context.Context, target string) error { return p.change(target, true) }

func (p *rehearsedPool) change(target string, takes bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := slices.IndexFunc(p.workers, func(w orchestrator.PoolWorker) bool { return w.Name == target })
	all := 0
	for i := range p.workers {
		if one < 0 || i == one {
			p.workers[i].Takes, p.workers[i].Paused = takes, !takes
		}
		if p.workers[i].Takes {
			all++
		}
	}
	if all == len(p.workers) {
		all = simnet.AllProvers
	}
	p.network.SetProvers(all)
	return nil
}
