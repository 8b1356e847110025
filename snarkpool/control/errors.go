package control

import (
	"errors"
	"fmt"
	"net/http"
)

// Reason is why a command was refused, or did not succeed.
type Reason string

// The reasons.
const (
	Malformed    Reason = "malformed"    // not a command: JSON, arguments
	BadMethod    Reason = "method"       // not POST
	BadMediaType Reason = "media-type"   // not application/json
	TooLarge     Reason = "too-large"    // the body is
	Unauthorized Reason = "unauthorized" // no valid signature of a known key
	OutOfNumber  Reason = "sequence"     // another server UUID or sequence number: replayed, or somebody else used the key
	WrongAgent   Reason = "wrong-agent"  // it is for another agent
	Expired      Reason = "expired"      // or its expiry is too far ahead
	NotAllowed   Reason = "not-allowed"  // its role does not include that
	NotAudited   Reason = "not-audited"  // the audit could not take note of it
	Busy         Reason = "busy"         // too many commands or streams at once
	Declined     Reason = "declined"     // the agent says no: unknown worker, another pool file, …
	Failed       Reason = "failed"       // it was begun, and failed
	TooSlow      Reason = "too-slow"     // the reader of a stream
	Ending       Reason = "ending"       // the agent ends
)

// ErrNotRunning says that no agent listens where it was looked for.
var ErrNotRunning = errors.New("no agent is running there")

// ErrOutcomeUnknown says that a command may have been accepted, though no answer came.
var ErrOutcomeUnknown = errors.New("no answer came, so it is not known whether it was done: look with status before you give it again")

// RefusedError says that a command was refused or failed, and why. The agent may return one with the reason Declined. Except for the reason Failed,
// nothing was done.
type RefusedError struct {
	Reason Reason
	// Message is for people, and ends in what to do.
	Message string
}

// Error says what the agent said.
func (e *RefusedError) Error() string {
	if e.Reason == Failed {
		return "the agent could not do it: " + e.Message
	}
	return fmt.Sprintf("refused (%s): %s", e.Reason, e.Message)
}

// MissedError says that a reader of events was too slow.
type MissedError struct{ Missed uint64 }

// Error tells how many it missed.
func (e *MissedError) Error() string {
	return fmt.Sprintf("reading too slowly: %d events were missed; follow again from now", e.Missed)
}

func refuse(reason Reason, format string, a ...any) *RefusedError {
	return &RefusedError{reason, fmt.Sprintf(format, a...)}
}

// status is the HTTP status of a reason.
func (r Reason) status() int {
	switch r {
	case Malformed:
		return http.StatusBadRequest
	case BadMethod:
		return http.StatusMethodNotAllowed
	case BadMediaType:
		return http.StatusUnsupportedMediaType
	case TooLarge:
		return http.StatusRequestEntityTooLarge
	case Unauthorized:
		return http.StatusUnauthorized
	case OutOfNumber:
		return http.StatusPreconditionFailed
	case WrongAgent, Expired, NotAllowed:
		return http.StatusForbidden
	case Declined, TooSlow:
		return http.StatusConflict
	case NotAudited, Busy, Ending:
		return http.StatusServiceUnavailable
	case Failed:
	}
	return http.StatusInternalServerError
}
