package clock

import (
	"context"
	"sync"
)

// Group is a set of goroutines that the clock knows of: like an errgroup, but a virtual clock hands the turn from a goroutine that ends
// to the one that waits for it, without passing time. Go and Wait are called by one goroutine.
type Group struct {
	clock  *Clock
	cancel context.CancelCauseFunc
	limit  int

	mu      sync.Mutex
	running int
	err     error
	blocked chan struct{} // closed when the caller of Go or Wait, which is blocked, may go on
	waiting bool          // the blocked caller waits for all, not for one
}

// Group returns a group of at most limit goroutines at once (0 or less: no limit), and a context that ends with the first error in it
// (which is then its cause) and with Wait.
func (c *Clock) Group(ctx context.Context, limit int) (*Group, context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	return &Group{clock: c, cancel: cancel, limit: limit}, ctx
}

// Go runs f in a goroutine of the group, waiting for a free place first.
func (g *Group) Go(f func() error) {
	g.mu.Lock()
	if g.limit > 0 && g.running >= g.limit {
		g.block(false)
		g.mu.Lock()
	}
	g.running++
	g.mu.Unlock()
	var turn <-chan struct{}
	if v := g.clock.virtual; v != nil {
		turn = v.queue()
	}
	go func() {
		if turn != nil {
			<-turn
		}
		g.finish(f())
	}()
}

// Wait waits for the group's goroutines and returns the first error of theirs.
func (g *Group) Wait() error {
	g.mu.Lock()
	if g.running > 0 {
		g.block(true)
		g.mu.Lock()
	}
	err := g.err
	g.mu.Unlock()
	g.cancel(context.Canceled)
	return err
}

// block waits for finish to let the caller go on. It is called with the lock held, and returns without it.
func (g *Group) block(forAll bool) {
	g.blocked, g.waiting = make(chan struct{}), forAll
	blocked := g.blocked
	g.mu.Unlock()
	if v := g.clock.virtual; v != nil {
		v.leave()
	}
	<-blocked
}

func (g *Group) finish(err error) {
	g.mu.Lock()
	g.running--
	if err != nil && g.err == nil {
		g.err = err
		g.cancel(err)
	}
	v := g.clock.virtual
	if g.blocked != nil && (!g.waiting || g.running == 0) {
		if v != nil {
			v.enter() // on behalf of the blocked caller
		}
		close(g.blocked)
		g.blocked = nil
	}
	g.mu.Unlock()
	if v != nil {
		v.leave()
	}
}
