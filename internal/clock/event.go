package clock

import (
	"container/heap"
	"context"
	"sync"
)

// Event is something that happens once, and that goroutines wait for. A virtual clock knows who waits: it moves on meanwhile, and those
// who waited go on one after the other, in the order in which they came, before time passes. Make one with [Clock.Event]. Safe for concurrent
// use.
type Event struct {
	once     sync.Once
	happened chan struct{}
	virtual  *Virtual
	waiting  []*waiter // with virtual.mu
}

// Event returns an event that has not happened yet.
func (c *Clock) Event() *Event { return &Event{happened: make(chan struct{}), virtual: c.virtual} }

// Wait waits until the event has happened. Otherwise the error is the cause of ctx's end.
func (e *Event) Wait(ctx context.Context) error {
	if e.virtual == nil {
		select {
		case <-e.happened:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	v := e.virtual
	v.mu.Lock()
	if e.Happened() {
		v.mu.Unlock()
		return nil
	}
	w := v.wait(never(), ctx.Done())
	e.waiting = append(e.waiting, w)
	v.working--
	v.wakeNext()
	v.mu.Unlock()
	<-w.wake
	if e.Happened() {
		return nil
	}
	return context.Cause(ctx)
}

// Happened reports whether the event has happened.
func (e *Event) Happened() bool {
	select {
	case <-e.happened:
		return true
	default:
		return false
	}
}

// Happen lets the event happen; when it has already, nothing.
func (e *Event) Happen() {
	if e.virtual == nil {
		e.once.Do(func() { close(e.happened) })
		return
	}
	v := e.virtual
	v.mu.Lock()
	defer v.mu.Unlock()
	e.once.Do(func() { close(e.happened) })
	for _, w := range e.waiting {
		if w.index < 0 { // called off, and about to find out
			continue
		}
		v.order++
		w.at, w.order = v.now, v.order
		heap.Fix(&v.waiting, w.index)
	}
	e.waiting = nil
	v.wakeNext() // where somebody lets it happen whom this time does not know
}
