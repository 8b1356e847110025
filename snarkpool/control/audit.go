package control

import (
	"context"
	"sync"
	"time"
)

// Audit keeps who commanded what, and what became of it. Record must keep an entry even when the database is away, and returns an error only when it
// could not. It may be called at the same time from several goroutines, and must not wait long: the command waits.
type Audit interface {
	Record(ctx context.Context, entry Entry) error
}

// Outcome is what became of a command.
type Outcome string

// The outcomes. A command that changes something is recorded twice under one ID: as accepted before it is done, and with its end. All others are recorded
// once; auth only when it is refused.
const (
	OutcomeAccepted Outcome = "accepted"
	OutcomeDone     Outcome = "done"
	OutcomeRefused  Outcome = "refused"
	OutcomeFailed   Outcome = "failed"
)

// Entry is one row of the audit. What is not known is empty. It never holds a signature.
type Entry struct {
	// ID is a UUID, one for each command.
	ID string    `json:"id"`
	At time.Time `json:"at"`
	// Agent is who was commanded.
	Agent string `json:"agent"`
	// Via is socket or https; Remote is the caller's address, or process and user on the socket.
	Via    string `json:"via"`
	Remote string `json:"remote,omitempty"`
	// Key is the public key that the caller claims, in base64. Who is its name, and Role its role, once the signature was found right.
	Key  string `json:"key,omitempty"`
	Who  string `json:"who,omitempty"`
	Role Role   `json:"role,omitempty"`
	// Command is nil unless it came from Who, whole, and could be read.
	Command *Command `json:"command,omitempty"`
	Outcome Outcome  `json:"outcome"`
	// Reason and Message say why it was refused or failed; Message is the summary of a change that was done.
	Reason  Reason `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Took is the time since At.
	Took time.Duration `json:"took_nanoseconds"`
	// Omitted is how many refusals of strangers before this one were left out, since there were too many.
	Omitted uint64 `json:"omitted,omitempty"`
}

const (
	strangersPerMinute = 60
	auditTime          = 10 * time.Second // that an entry may take
)

// strangers bounds how many refusals of unknown callers are recorded, for anybody can cause them. Safe for concurrent use.
type strangers struct {
	mu      sync.Mutex
	minute  time.Time
	count   int
	omitted uint64
}

// enter tells whether a refusal is recorded, and how many before it were not.
func (s *strangers) enter(now time.Time) (bool, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if minute := now.Truncate(time.Minute); !minute.Equal(s.minute) {
		s.minute, s.count = minute, 0
	}
	s.count++
	if s.count > strangersPerMinute {
		s.omitted++
		return false, 0
	}
	omitted := s.omitted
	s.omitted = 0
	return true, omitted
}
