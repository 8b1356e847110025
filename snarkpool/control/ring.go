package control

import (
	"context"
	"slices"
	"sync"
)

// batch is how many events a reader takes at once.
const batch = 256

// Ring keeps the latest events of an agent. Who publishes never waits: each reader goes through the ring at its own pace, and one that is overtaken is cut
// off with a [*MissedError]. Make it with [NewRing]. Safe for concurrent use.
type Ring struct {
	mu      sync.Mutex
	events  []Event // the one with number n is at (n-1) % len
	next    uint64  // number of the next event
	changed chan struct{}
	waiting bool // somebody waits on changed
}

// NewRing returns a ring that keeps so many events, at least one.
func NewRing(size int) *Ring {
	return &Ring{events: make([]Event, max(size, 1)), next: 1, changed: make(chan struct{})}
}

// Publish adds an event, and returns the number that it got.
func (r *Ring) Publish(event Event) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	event.Number = r.next
	*r.at(r.next) = event
	r.next++
	if r.waiting {
		close(r.changed)
		r.changed, r.waiting = make(chan struct{}), false
	}
	return event.Number
}

func (r *Ring) at(number uint64) *Event { return &r.events[(number-1)%uint64(len(r.events))] }

// oldest is the number of the oldest event that is kept, or next.
func (r *Ring) oldest() uint64 {
	if size := uint64(len(r.events)); r.next > size {
		return r.next - size
	}
	return 1
}

// Follow sends the events that match, oldest first, as the arguments since, last and follow say. It returns nil when all is sent and follow is not asked
// for, the cause when ctx ends, the error of send, or a [*MissedError].
func (r *Ring) Follow(ctx context.Context, arguments Arguments, match func(Event) bool, send func(...Event) error) error {
	wanted := func(event Event) bool { return !event.At.Before(arguments.Since) && match(event) }
	cursor, end := r.begin(arguments.Last, wanted)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		events, changed, err := r.read(&cursor, wanted)
		if err != nil {
			return err
		}
		if !arguments.Follow {
			events = slices.DeleteFunc(events, func(event Event) bool { return event.Number >= end })
		}
		if len(events) > 0 {
			if err := send(events...); err != nil {
				return err
			}
		}
		switch {
		case !arguments.Follow && cursor >= end:
			return nil
		case changed == nil:
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// begin returns the numbers of the first event to send and of the first one that is yet to come.
func (r *Ring) begin(last int, wanted func(Event) bool) (first, end uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first = r.next
	for found := 0; first > r.oldest() && (last == 0 || found < last); {
		first--
		if wanted(*r.at(first)) {
			found++
		}
	}
	return first, r.next
}

// read moves a cursor over the next events and returns those that are wanted, or, once there are no more, a channel that is closed when there are.
func (r *Ring) read(cursor *uint64, wanted func(Event) bool) ([]Event, <-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if *cursor < r.oldest() {
		return nil, nil, &MissedError{r.next - *cursor}
	}
	if *cursor == r.next {
		r.waiting = true
		return nil, r.changed, nil
	}
	var events []Event
	for range min(batch, r.next-*cursor) {
		if event := *r.at(*cursor); wanted(event) {
			events = append(events, event)
		}
		*cursor++
	}
	return events, nil, nil
}
