package evidence

import (
	"context"
	"fmt"

	"provingground/dsl"
)

// Unreachable is the evidence of a run whose database could not be opened, and that goes on without: it knows nothing, and says why.
type Unreachable struct {
	// Err is what [Connect] said.
	Err error
}

// Measure knows nothing.
func (u Unreachable) Measure(context.Context, Question) dsl.Measured {
	return dsl.Measured{Missing: "the database with the evidence could not be opened when the run began: " + u.Err.Error()}
}

// Gather fails.
func (u Unreachable) Gather(context.Context, Gathering) ([]Gathered, error) {
	return nil, fmt.Errorf("the run began without the database with the nodes' logs: see that it runs, and start again: %w", u.Err)
}
