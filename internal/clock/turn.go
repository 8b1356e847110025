package clock

import (
	"container/heap"
	"context"
	"slices"
	"time"
)

// Turn lets one goroutine at a time do something that takes network time. Those who wait for it get it in the order in which they came, and
// give up when their context ends. A virtual clock knows who waits: it moves on meanwhile, and the turn goes from one to the next without
// passing time. Make one with [Clock.Turn]. Safe for concurrent use.
type Turn struct {
	place   chan struct{} // has one place; whoever has filled it has the turn. Nil on a virtual clock.
	virtual *Virtual
	held    bool      // with virtual.mu
	waiting []*waiter // with virtual.mu
}

// Turn returns a turn that nobody has.
func (c *Clock) Turn() *Turn {
	if c.virtual != nil {
		return &Turn{virtual: c.virtual}
	}
	return &Turn{place: make(chan struct{}, 1)}
}

// never is the instant that those wait for who wait for a turn.
func never() time.Time { return time.Unix(1<<60, 0) }

// Take waits for the turn. The caller gives it back by Release. Without the turn, the error is the cause of ctx's end.
func (t *Turn) Take(ctx context.Context) error {
	if t.place != nil {
		select {
		case t.place <- struct{}{}:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	v := t.virtual
	v.mu.Lock()
	if !t.held {
		t.held = true
		v.mu.Unlock()
		return nil
	}
	w := v.wait(never(), ctx.Done())
	t.waiting = append(t.waiting, w)
	v.working--
	v.wakeNext()
	v.mu.Unlock()
	<-w.wake
	v.mu.Lock()
	defer v.mu.Unlock()
	if i := slices.Index(t.waiting, w); i >= 0 { // called off
		t.waiting = slices.Delete(t.waiting, i, i+1)
		return context.Cause(ctx)
	}
	return nil
}

// Release gives the turn to whoever has waited longest for it.
func (t *Turn) Release() {
	if t.place != nil {
		<-t.place
		return
	}
	v := t.virtual
	v.mu.Lock()
	defer v.mu.Unlock()
	next := slices.IndexFunc(t.waiting, func(w *waiter) bool { return w.index >= 0 }) // the others were called off, and are about to find out
	if next < 0 {
		t.held = false
		return
	}
	w := t.waiting[next]
	t.waiting = slices.Delete(t.waiting, next, next+1)
	v.order++
	w.at, w.order = v.now, v.order
	heap.Fix(&v.waiting, w.index)
}
