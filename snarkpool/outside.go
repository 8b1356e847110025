//go:build linux

package snarkpool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"provingground/snarkpool/coordinator"
	"provingground/snarkpool/ledger"
)

// Coordinator is a source of jobs: a coordinator that speaks the protocol of package coordinator, such as a simulated network's. Make it with
// NewCoordinator. Safe for concurrent use.
type Coordinator struct {
	client    *coordinator.Client
	agent     string
	kind, key string
	statement func(work string) json.RawMessage
	slashed   atomic.Uint64
	misshapen atomic.Uint64
}

// NewCoordinator returns a source that fetches work as an agent of a name, to be proved by workers of a kind under a verifying key. Statement makes what
// such workers prove of a work's statement, 32 bytes in hex; it must be a function of that alone.
func NewCoordinator(client *coordinator.Client, agent, kind, verifyingKey string, statement func(work string) json.RawMessage) *Coordinator {
	return &Coordinator{client: client, agent: agent, kind: kind, key: verifyingKey, statement: statement}
}

// workSeparator stands between a work's ID and its statement in a job's ID, so that a proof finds its way back whoever carries it.
const workSeparator = ":"

// Next asks for at most n works.
func (c *Coordinator) Next(ctx context.Context, n int) ([]ledger.Job, error) {
	works, err := c.client.Work(ctx, c.agent, min(n, coordinator.MaxWork))
	if err != nil {
		return nil, err
	}
	jobs := make([]ledger.Job, 0, len(works))
	for _, w := range works {
		jobs = append(jobs, ledger.Job{ID: w.ID + workSeparator + w.Statement, Kind: c.kind, VerifyingKey: c.key, Statement: c.statement(w.Statement)})
	}
	return jobs, nil
}

// errNotOurs says that a job does not come from a coordinator.
var errNotOurs = errors.New("the job does not come from a coordinator")

// Deliver hands a proof in. One that the coordinator does not want, or not any more, is delivered all the same: see Unwanted.
func (c *Coordinator) Deliver(ctx context.Context, p ledger.Proof) error {
	id, statement, ok := strings.Cut(p.Job, workSeparator)
	if !ok {
		return fmt.Errorf("job %s: %w", p.Job, errNotOurs)
	}
	verdict, err := c.client.Deliver(ctx, coordinator.Proof{ID: id, Worker: p.Worker, Statement: statement, Proof: p.Proof})
	if err != nil {
		return err
	}
	switch {
	case verdict.Counts():
	case verdict.Status == coordinator.WrongShape:
		c.misshapen.Add(1)
	default:
		c.slashed.Add(1)
	}
	return nil
}

// Unwanted is how many proofs the coordinator slashed, and how many it found to have the wrong shape.
func (c *Coordinator) Unwanted() (slashed, misshapen uint64) {
	return c.slashed.Load(), c.misshapen.Load()
}
