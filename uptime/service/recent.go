package service

import "context"

// recent is the last answer to a question that costs something. One caller asks at a time, and those who wait meanwhile share the answer. Safe for
// concurrent use.
type recent[T any] struct {
	turn chan struct{} // holds one element while somebody asks or looks
	last *T            // nil at first; belongs to whoever has the turn
}

func newRecent[T any]() recent[T] { return recent[T]{turn: make(chan struct{}, 1)} }

// get returns the last answer if it is good still, and else that of ask, which it remembers unless ctx has ended. The error is ctx's cause.
func (r *recent[T]) get(ctx context.Context, good func(*T) bool, ask func() *T) (*T, error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if r.last != nil && good(r.last) {
		return r.last, nil
	}
	answer := ask()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	r.last = answer
	return answer, nil
}
