package simnet

import (
	"container/heap"
	"time"
)

// event is something that happens at an instant of network time. Events of one instant happen in the order in which they were planned.
type event struct {
	at    time.Time
	order uint64
	run   func()
}

// eventQueue holds the events to come. The zero value is empty and ready.
type eventQueue struct {
	events eventHeap
	order  uint64
}

func (q *eventQueue) plan(at time.Time, run func()) {
	q.order++
	heap.Push(&q.events, event{at: at, order: q.order, run: run})
}

// next returns the instant of the earliest event; ok is false when there is none.
func (q *eventQueue) next() (at time.Time, ok bool) {
	if len(q.events) == 0 {
		return time.Time{}, false
	}
	return q.events[0].at, true
}

func (q *eventQueue) take() event {
	e, _ := heap.Pop(&q.events).(event)
	return e
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }

func (h eventHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].order < h[j].order
	}
	return h[i].at.Before(h[j].at)
}

func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *eventHeap) Push(x any) {
	e, _ := x.(event)
	*h = append(*h, e)
}

func (h *eventHeap) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = event{} // let go of what its function holds
	*h = (*h)[:len(*h)-1]
	return last
}
