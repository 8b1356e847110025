package fetcher

import (
	"context"
	"slices"
	"sync"
	"time"

	"provingground/internal/clock"
)

// gate lets in as much as fits, in the order of arrival: requests, or bytes.
type gate struct {
	clock *clock.Clock
	limit int64

	mu      sync.Mutex
	held    int64
	most    int64 // held at any time
	waiting []*arrival
	waited  time.Duration // by those who got in or gave up
}

type arrival struct {
	amount int64
	in     *clock.Event
}

func newGate(limit int64, clock *clock.Clock) *gate { return &gate{clock: clock, limit: limit} }

// fits is called with the lock held. What is larger than the gate goes in alone.
func (g *gate) fits(amount int64) bool { return g.held == 0 || g.held+amount <= g.limit }

// take waits until amount fits. The caller gives it back. Without it, the error is the cause of ctx's end.
func (g *gate) take(ctx context.Context, amount int64) error {
	g.mu.Lock()
	if len(g.waiting) == 0 && g.fits(amount) {
		g.add(amount)
		g.mu.Unlock()
		return nil
	}
	a := &arrival{amount: amount, in: g.clock.Event()}
	g.waiting = append(g.waiting, a)
	g.mu.Unlock()

	began := g.clock.Wall()
	err := a.in.Wait(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waited += g.clock.Wall().Sub(began)
	if i := slices.Index(g.waiting, a); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
		g.admit() // whoever stood behind it may be smaller
		return err
	}
	return nil // perhaps in the moment in which ctx ended
}

// grow takes more without asking: it is there already.
func (g *gate) grow(amount int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.add(amount)
	g.admit() // amount may be negative
}

// give gives back what was taken.
func (g *gate) give(amount int64) { g.grow(-amount) }

func (g *gate) add(amount int64) {
	g.held += amount
	g.most = max(g.most, g.held)
}

func (g *gate) admit() {
	for len(g.waiting) > 0 && g.fits(g.waiting[0].amount) {
		g.add(g.waiting[0].amount)
		g.waiting[0].in.Happen()
		g.waiting = slices.Delete(g.waiting, 0, 1)
	}
}

// GateMetrics tell of something that is bounded over all nodes.
type GateMetrics struct {
	Held    int64 // now
	Most    int64 // since the start
	Limit   int64
	Waiting int           // nodes that wait for it now
	Waited  time.Duration // wall time, by all nodes together, since the start; waits under way are not in it
}

func (g *gate) metrics() GateMetrics {
	g.mu.Lock()
	defer g.mu.Unlock()
	return GateMetrics{g.held, g.most, g.limit, len(g.waiting), g.waited}
}
