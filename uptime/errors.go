package uptime

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// ListError says why the list of nodes could not be had. The end of the caller's context is no ListError: the sources return its cause
// then.
type ListError struct {
	// Source is where the list was to come from: the service's address without user information and query, or the place in S3.
	Source string
	// StatusCode is the HTTP status of the answer, 0 when none came.
	StatusCode int
	// Temporary tells whether the same request may succeed later: the service cannot be reached, does not answer in time, is overloaded
	// (429) or broken (5xx). An answer that is no online list, and any other refusal, will be the same until somebody mends it.
	Temporary bool
	// Err is what happened.
	Err error
}

// Error says what happened, where, and what to do.
func (e *ListError) Error() string {
	advice := "trying again will not help: check the address and the access in the configuration"
	if e.Temporary {
		advice = "this may pass: try again"
	}
	return fmt.Sprintf("list of online nodes from %s: %v: %s", e.Source, e.Err, advice)
}

// Unwrap returns what happened.
func (e *ListError) Unwrap() error { return e.Err }

// listWithin calls get with a time limit, and tells its end apart from the end of the caller's context and from other failures.
func listWithin(ctx context.Context, limit time.Duration, source string, get func(context.Context) ([]Node, *ListError)) ([]Node, error) {
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no complete answer within %s", limit))
	defer cancel()
	nodes, err := get(limited)
	switch {
	case err == nil:
		return nodes, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("list of online nodes from %s: %w", source, context.Cause(ctx))
	case limited.Err() != nil:
		return nil, &ListError{Source: source, Temporary: true, Err: context.Cause(limited)}
	}
	return nil, err
}

// temporaryStatus tells whether a refusal may be another answer later.
func temporaryStatus(code int) bool {
	return code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout
}
