//go:build linux

package snarkpool

import (
	"fmt"
	"time"

	"provingground/snarkpool/ledger"
	"provingground/snarkpool/worker"
)

// conversation is what was said between the agent and one process of a fed worker. It is on disk, so that the next agent goes on with it.
type conversation struct {
	// PID is the process; 0 is none, or one that has not said hello.
	PID   int           `json:"pid"`
	Hello *worker.Hello `json:"hello,omitempty"`
	Job   *assignment   `json:"job,omitempty"`
	// begun says that the worker has started on the job. An adopted worker may have said so to the agent before.
	begun   bool
	adopted bool
	// answered says that the proof of the job has come, and is on its way to the disk.
	answered bool
}

// assignment is a leased job that a worker was sent.
type assignment struct {
	ID           string        `json:"id"`
	Epoch        int64         `json:"epoch"`
	Statement    ledger.Digest `json:"statement"`
	VerifyingKey string        `json:"verifying_key"`
	Since        time.Time     `json:"since"`
	// Sent says that the worker certainly was sent it: an agent may be killed right before.
	Sent bool `json:"sent"`
	// expired says that the ledger does not know the lease any more.
	expired bool
}

func (a assignment) held() ledger.Held { return ledger.Held{Job: a.ID, Epoch: a.Epoch} }

// accept checks what a worker says against what may come now, by the rules of worker.Session, and moves the conversation on. A proof or a failure
// leaves the job to its caller.
func (c *conversation) accept(m worker.Message) error {
	broken := func(format string, arguments ...any) error {
		return &worker.ProtocolError{Err: fmt.Errorf(format, arguments...)}
	}
	isOut := func(job string, attempt int) bool {
		return c.Job != nil && c.Job.ID == job && c.Job.Epoch == int64(attempt)
	}
	switch m := m.(type) {
	case worker.Hello:
		if c.Hello != nil {
			return broken("a second hello")
		}
		c.Hello = &m
	case worker.Started:
		if !isOut(m.Job, m.Attempt) || c.begun {
			return broken("started job %q attempt %d, which was not waiting to start", m.Job, m.Attempt)
		}
		c.begun = true
	case worker.Proof:
		if !isOut(m.Job, m.Attempt) || c.answered || !c.begun && !c.adopted {
			return broken("proof of job %q attempt %d, which is not being proved", m.Job, m.Attempt)
		}
	case worker.Failed:
		if !isOut(m.Job, m.Attempt) || c.answered || !c.begun && !c.adopted {
			return broken("failure of job %q attempt %d, which is not being proved", m.Job, m.Attempt)
		}
	case worker.Bye:
		if c.Hello == nil {
			return broken("bye before hello")
		}
	default:
		return broken("%T is not for the agent", m)
	}
	return nil
}
