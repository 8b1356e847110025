package service

import (
	"context"
	"time"
)

// recent is the last answer to a question that costs something. One caller asks at a time, and those who wait meanwhile share the answer. Safe for
// concurrent use.
type recent[T any] struct {
	turn chan struct{} // holds one element while somebody asks or looks
	last *T            // nil at first; belongs to whoever has the turn
}

func newRecent[T any]() recent[T] { return recent[T]{turn: make(chan struct{}, 1)} }

// get returns the last answer if it is good still, and else that of ask, which it remembers. limit is for all of it, the wait for a turn included. The end of
// ctx ends the wait, but not the asking: the answer serves the next one who asks, and a question that is broken off costs a connection to the
// database. The error is ctx's cause, or slow if it was limit.
func (r *recent[T]) get(ctx context.Context, limit time.Duration, slow error, good func(*T) bool, ask func(context.Context) *T) (*T, error) {
	asking, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), limit, slow)
	defer cancel()
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-asking.Done():
		return nil, context.Cause(asking)
	}
	if r.last == nil || !good(r.last) {
		r.last = ask(asking)
	}
	return r.last, nil
}
