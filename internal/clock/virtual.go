package clock

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"
)

// Virtual is a time of its own. It stands still while any of its goroutines works, and when all of them wait it jumps to the
// earliest instant that one of them waits for, waking one at a time, in the order in which they began to wait.
//
// Goroutines of a [Group] begin in the order of their Go, each when all others wait: the same program takes the same course every time.
//
// It knows the goroutine in Run and those of [Clock.Group]. Only they may wait on its clock; where one of them blocks on anything
// else it does so inside [Clock.Idle].
type Virtual struct {
	mu      sync.Mutex
	now     time.Time
	working int
	waiting waiters
	order   uint64
}

// NewVirtual returns a virtual time that begins at start.
func NewVirtual(start time.Time) *Virtual { return &Virtual{now: start.UTC()} }

// Clock returns the clock that tells this time.
func (v *Virtual) Clock() *Clock { return &Clock{scale: 1, virtual: v} }

// Now returns the virtual time.
func (v *Virtual) Now() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

// Run calls f as one of the goroutines that this time knows.
func (v *Virtual) Run(f func()) {
	v.enter()
	defer v.leave()
	f()
}

func (v *Virtual) enter() {
	v.mu.Lock()
	v.working++
	v.mu.Unlock()
}

// queue gives a goroutine that is about to begin its turn: behind everybody who waits for this instant already, and not before somebody
// who works has gone to wait. So goroutines that begin together work one after the other, in the order in which they were begun.
func (v *Virtual) queue() (turn <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.wait(v.now, nil).wake
}

// wait adds a waiter. It is called with the lock held.
func (v *Virtual) wait(t time.Time, done <-chan struct{}) *waiter {
	v.order++
	w := &waiter{at: t, order: v.order, done: done, wake: make(chan struct{})}
	heap.Push(&v.waiting, w)
	return w
}

func (v *Virtual) leave() {
	v.mu.Lock()
	v.working--
	v.wakeNext()
	v.mu.Unlock()
}

func (v *Virtual) until(ctx context.Context, t time.Time) error {
	v.mu.Lock()
	if ctx.Err() != nil || !t.After(v.now) {
		v.mu.Unlock()
		return context.Cause(ctx)
	}
	w := v.wait(t, ctx.Done())
	v.working--
	v.wakeNext()
	v.mu.Unlock()

	// Also a wait that was called off goes on in its turn, not beside whoever called it off: see wakeNext.
	<-w.wake
	return context.Cause(ctx)
}

// wakeNext moves time on when nobody works. The woken goroutine counts as working from here, before it runs.
func (v *Virtual) wakeNext() {
	if v.working > 0 || len(v.waiting) == 0 {
		return
	}
	// A wait that was called off ends now, not at its time.
	next := slices.IndexFunc(v.waiting, (*waiter).calledOff)
	calledOff := next >= 0
	if !calledOff && v.waiting[0].at.Equal(never()) { // for turns, and nobody is left to give one
		return
	}
	w, _ := heap.Remove(&v.waiting, max(next, 0)).(*waiter)
	if !calledOff && w.at.After(v.now) {
		v.now = w.at
	}
	v.working++
	close(w.wake)
}

// waiter is one goroutine's wait; index is its place in the heap, -1 once it has left.
type waiter struct {
	at    time.Time
	order uint64
	index int
	done  <-chan struct{}
	wake  chan struct{}
}

func (w *waiter) calledOff() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

type waiters []*waiter

func (w waiters) Len() int { return len(w) }

func (w waiters) Less(i, j int) bool {
	if w[i].at.Equal(w[j].at) {
		return w[i].order < w[j].order
	}
	return w[i].at.Before(w[j].at)
}

func (w waiters) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}

func (w *waiters) Push(x any) {
	added, _ := x.(*waiter)
	added.index = len(*w)
	*w = append(*w, added)
}

func (w *waiters) Pop() any {
	last := (*w)[len(*w)-1]
	last.index = -1
	*w = (*w)[:len(*w)-1]
	return last
}
