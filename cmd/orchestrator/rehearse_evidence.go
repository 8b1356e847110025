package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"provingground/dsl"
	"provingground/fetcher"
	"provingground/internal/clock"
	"provingground/orchestrator/evidence"
	"provingground/orchestrator/itn"
	"provingground/uptime"
)

// rehearsedMaxLogs is how many entries of its log a simulated node holds (--itn-max-logs), where the script asks for evidence. What busy nodes with the
// usual 500 would lose is no matter of the script: a rehearsal shows what it says when all is there.
const rehearsedMaxLogs = 20_000

// collectorKey is the key of the rehearsal's log fetcher: readers of a node that share a key would spoil each other's sequence numbers.
func collectorKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
}

// collecting is the evidence of a rehearsal: the log fetcher at work on the simulated nodes, on the virtual clock, and what it has read so far, in
// memory.
type collecting struct {
	memory    *evidence.Memory
	collector *fetcher.Collector
	group     *clock.Group
	cancel    context.CancelFunc

	mu    sync.Mutex
	saved []string // what gather-logs would have saved, in words
}

// collect begins to read the nodes' logs. It goes on after the end of ctx, for the clean-up may ask for them: stop ends it.
func (p *play) collect(ctx context.Context) (*collecting, error) {
	key, err := itn.ParseKey(base64.StdEncoding.EncodeToString(collectorKey().Seed()))
	if err != nil {
		return nil, fmt.Errorf("the made-up key of the log fetcher: %w", err)
	}
	wire := &transport{inner: p.network.Transport(), clock: p.clock}
	nodes, err := uptime.NewOnlineList(p.network.OnlineURL(), wire, 0)
	if err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	log := p.log.Named("fetcher").WithOptions(zap.IncreaseLevel(zapcore.ErrorLevel)) // what it bears with, verdicts tell
	c := &collecting{memory: evidence.NewMemory(p.clock)}
	c.memory.Files, c.memory.Since = p.props, p.clock.Now()
	guarded := fetcher.Transport(wire)
	if c.collector, err = fetcher.New(fetcher.Options{
		Discover: nodes, Store: c.memory, Clock: p.clock, Log: log, QueueSize: rehearsedMaxLogs, Seed: p.scene.seed,
		Dial: func(address string) *itn.Client {
			return itn.New(address, key, itn.Options{Transport: guarded, Turn: p.clock.Turn(), Logger: log})
		},
	}); err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	c.memory.Nodes = c.collector.Nodes
	ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.group, _ = p.clock.Group(ctx, 0)
	c.group.Go(func() error { return c.collector.Run(ctx) })
	return c, nil
}

// stop ends the collecting, and waits for that.
func (c *collecting) stop() error {
	c.cancel()
	return c.group.Wait() //nolint:wrapcheck // says it all
}

// Measure answers from what was read until now.
func (c *collecting) Measure(ctx context.Context, q evidence.Question) dsl.Measured {
	return c.memory.Measure(ctx, q)
}

// Gather saves to files that are in memory, as all files of a rehearsal are, and says what a run would have saved.
func (c *collecting) Gather(ctx context.Context, g evidence.Gathering) ([]evidence.Gathered, error) {
	gathered, err := c.memory.Gather(ctx, g)
	entries, traces, nodes := 0, 0, 0
	for _, one := range gathered {
		entries, traces = entries+one.Entries, traces+one.Traces
		if one.Entries+one.Traces > 0 {
			nodes++
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.saved = append(c.saved, fmt.Sprintf("%s/ beside the record, with the logs of %s: %d entries, %d traces", g.Dir, counted(nodes, "node"), entries, traces))
	return gathered, err //nolint:wrapcheck // says it all
}

// saves says what would have been saved. Of nil it is nothing.
func (c *collecting) saves() []string {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.saved
}
