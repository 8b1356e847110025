//go:build linux

package snarkpool

import (
	"errors"
	"testing"

	"provingground/snarkpool/worker"
)

// TestConversation tells what a worker may say from what it may not.
func TestConversation(t *testing.T) {
	hello := worker.Hello{Protocol: worker.Protocol, Kind: "fake"}
	greeted := conversation{Hello: &hello}
	out := conversation{Hello: &hello, Job: &assignment{ID: "j", Epoch: 2}}
	begun, answered, adopted := out, out, out
	begun.begun, adopted.adopted = true, true
	answered.begun, answered.answered = true, true
	for name, c := range map[string]struct {
		talk    conversation
		message worker.Message
		right   bool
	}{
		"hello first":                       {conversation{}, hello, true},
		"hello twice":                       {greeted, hello, false},
		"started without a job":             {greeted, worker.Started{Job: "j", Attempt: 2}, false},
		"started":                           {out, worker.Started{Job: "j", Attempt: 2}, true},
		"started another attempt":           {out, worker.Started{Job: "j", Attempt: 1}, false},
		"started twice":                     {begun, worker.Started{Job: "j", Attempt: 2}, false},
		"proof before started":              {out, worker.Proof{Job: "j", Attempt: 2}, false},
		"proof before started, adopted":     {adopted, worker.Proof{Job: "j", Attempt: 2}, true},
		"proof":                             {begun, worker.Proof{Job: "j", Attempt: 2}, true},
		"proof of somebody else's job":      {begun, worker.Proof{Job: "k", Attempt: 2}, false},
		"proof of an earlier attempt":       {begun, worker.Proof{Job: "j", Attempt: 1}, false},
		"proof twice":                       {answered, worker.Proof{Job: "j", Attempt: 2}, false},
		"failed":                            {begun, worker.Failed{Job: "j", Attempt: 2}, true},
		"failed after its proof":            {answered, worker.Failed{Job: "j", Attempt: 2}, false},
		"failed somebody else's job":        {begun, worker.Failed{Job: "k", Attempt: 2}, false},
		"bye":                               {greeted, worker.Bye{}, true},
		"bye before hello":                  {conversation{}, worker.Bye{}, false},
		"a job, which is for agents to say": {greeted, worker.Job{ID: "j", Attempt: 1}, false},
	} {
		err := c.talk.accept(c.message)
		var broken *worker.ProtocolError
		if (err == nil) != c.right || err != nil && !errors.As(err, &broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
