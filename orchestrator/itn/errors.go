package itn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Sentinels that a caller may test with errors.Is.
var (
	// ErrUnknownHandle says that StopScheduledTransactions named a handle that the node does not hold, which is also so
	// when its scheduler has ended by itself (itn-graphql, section 4.3).
	ErrUnknownHandle = errors.New("the node holds no scheduler of that handle")
	// ErrNotBlockProducer says that SlotsWon asked a node without block-producing keys (itn-graphql, section 4.7).
	ErrNotBlockProducer = errors.New("the node produces no blocks")
	// ErrVRFNotCompleted says that SlotsWon should be asked again later (itn-graphql, section 4.7).
	ErrVRFNotCompleted = errors.New("the node has not completed the VRF evaluation of the epoch; ask again later")
	// ErrNotSupported says that the daemon is too old for the operation (itn-graphql, section 4.8).
	ErrNotSupported = errors.New("the daemon is too old for this operation")
	// ErrAnswerTooLarge says that an answer was longer than Options.MaxAnswerBytes.
	ErrAnswerTooLarge = errors.New("the answer is longer than allowed")
	// ErrUnreadableAnswer says that an answer with status 200 was not what a daemon answers: empty, cut, no GraphQL.
	ErrUnreadableAnswer = errors.New("the answer is no GraphQL answer of a daemon")
)

// Attempt identifies one sequenced request: which run of which daemon it was signed for, and under which number. Record it
// before the request leaves, and Decide can later tell what became of it.
type Attempt struct {
	Node           string // address, HOST:PORT
	ServerUUID     string
	SequenceNumber uint16
}

// Outcome is what became of a request whose reply was lost.
type Outcome int

// The outcomes. The zero value is Unknown.
const (
	// Unknown means that the node did not say: the request may have been accepted, or may still be.
	Unknown Outcome = iota
	// NotAccepted means that the daemon did not accept the request and no longer can: it did not happen.
	NotAccepted
	// Accepted means that the daemon accepted the signed request. It ran, unless it was refused or raised an exception.
	Accepted
	// Gone means that the daemon was restarted, and what the request started in its memory is gone with it.
	Gone
)

// String names the outcome.
func (o Outcome) String() string {
	switch o {
	case Unknown:
		return "unknown"
	case NotAccepted:
		return "not accepted"
	case Accepted:
		return "accepted"
	case Gone:
		return "gone with the daemon"
	}
	return fmt.Sprintf("Outcome(%d)", int(o))
}

// advice says what the outcome means to whoever asked for the operation.
func (o Outcome) advice() string {
	switch o {
	case NotAccepted:
		return "it did not happen and may be sent again"
	case Accepted:
		return "what it started runs until its end; do not send it again"
	case Gone:
		return "the daemon was restarted and holds nothing of it"
	case Unknown:
	}
	return "do not send it again, and decide it once the node answers"
}

// LostReplyError says that a mutation left and no readable answer came, or a status that need not be the daemon's. What
// became of it was then decided as far as the node let us (script-language, section 5).
type LostReplyError struct {
	Operation string
	Attempt   Attempt
	Outcome   Outcome
	cause     error
}

// Error names node, operation, outcome and cause.
func (e *LostReplyError) Error() string {
	return fmt.Sprintf("%s on node %s: reply lost, %s (%s): %v",
		e.Operation, e.Attempt.Node, e.Outcome, e.Outcome.advice(), e.cause)
}

// Unwrap returns what went wrong with the reply, and with deciding where that failed.
func (e *LostReplyError) Unwrap() error { return e.cause }

// NotSentError says that an operation certainly did not happen: it never left, or the daemon turned it away (412) and it
// could not be repeated. The cause may be a failed dial, a failed auth, an error of Before, or the end of the context.
type NotSentError struct {
	Operation string
	Node      string
	cause     error
}

// Error names node, operation and cause.
func (e *NotSentError) Error() string {
	return fmt.Sprintf("%s not sent to node %s: %v", e.Operation, e.Node, e.cause)
}

// Unwrap returns the cause.
func (e *NotSentError) Unwrap() error { return e.cause }

// NoAnswerError says that an operation that may be repeated got no readable answer, also when it was repeated.
type NoAnswerError struct {
	Operation string
	Node      string
	cause     error
}

// Error names node, operation and cause.
func (e *NoAnswerError) Error() string {
	return fmt.Sprintf("%s on node %s: no answer: %v", e.Operation, e.Node, e.cause)
}

// Unwrap returns what went wrong, each time.
func (e *NoAnswerError) Unwrap() error { return e.cause }

// UnauthorizedError says that the node refused the key (401), which is final (itn-graphql, section 2.4).
type UnauthorizedError struct {
	Operation string
	Node      string
}

// Error says what to look at.
func (e *UnauthorizedError) Error() string {
	return fmt.Sprintf("%s: node %s refused the ITN key (401); is its public half among the node's --itn-keys?",
		e.Operation, e.Node)
}

// SequencingError says that the node refused two sequence numbers in a row (412), the second fresh from auth.
type SequencingError struct {
	Operation string
	Node      string
}

// Error says what to look at.
func (e *SequencingError) Error() string {
	return fmt.Sprintf("%s: node %s refused the sequence number twice (412); another program seems to use the same ITN key: "+
		"give each program its own", e.Operation, e.Node)
}

// RefusedError is a GraphQL error: a definite answer, after which nothing was done except where itn-graphql, section 4, says
// otherwise. Errors.Is finds ErrUnknownHandle, ErrNotBlockProducer and ErrVRFNotCompleted in it.
type RefusedError struct {
	Operation string
	Node      string
	// Message is the daemon's text, without the values of arguments and anything shaped like a secret, and cut when long.
	Message string

	beforeResolver bool // the request was refused as such, no resolver ran
}

// Error names node, operation and message.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("node %s refused %s: %s", e.Node, e.Operation, e.Message)
}

// Everywhere tells whether every node would refuse the same request with the same words, so that asking another is in vain.
// A text that is not known is taken for this node's own.
func (e *RefusedError) Everywhere() bool { return findDaemonText(e.Message).everywhere }

// Unwrap returns the sentinel that stands for the message, if there is one.
func (e *RefusedError) Unwrap() error { return findDaemonText(e.Message).sentinel }

// StatusError is an answer with a status of HTTP that the protocol does not give a meaning to.
type StatusError struct {
	Operation string
	Node      string
	Status    int
	// Text is the beginning of the body, without anything shaped like a secret.
	Text string
}

// Error names node, operation and status.
func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: node %s answered %d %s: %s", e.Operation, e.Node, e.Status, http.StatusText(e.Status), e.Text)
}

// TimeoutError says that one request had no answer within Options.RequestTimeout. It is a context.DeadlineExceeded.
type TimeoutError struct {
	Operation string
	Node      string
	After     time.Duration
}

// Error names node, operation and time.
func (e *TimeoutError) Error() string {
	return fmt.Sprintf("node %s did not answer %s within %s", e.Node, e.Operation, e.After)
}

// Is makes errors.Is(err, context.DeadlineExceeded) true.
func (e *TimeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// Timeout makes it a timeout in the sense of net.Error.
func (e *TimeoutError) Timeout() bool { return true }

// daemonText is what is known of a daemon's error text, by its beginning.
type daemonText struct {
	prefix     string
	everywhere bool
	sentinel   error
}

// findDaemonText looks a message up among the texts of itn-graphql, sections 2.5 and 4. It is the only place that reads error
// texts: the daemon has no codes.
func findDaemonText(message string) daemonText {
	for _, text := range []daemonText{
		// The request itself is wrong.
		{prefix: "Missing variable `", everywhere: true},
		{prefix: "Argument `", everywhere: true},
		{prefix: "Empty list of senders", everywhere: true},
		{prefix: "Empty list of fee payers", everywhere: true},
		{prefix: "Memo too long", everywhere: true},
		{prefix: "Maximum fee less than mininum fee", everywhere: true},
		{prefix: "Invalid input to payment scheduler: ", everywhere: true},
		{prefix: "Invalid input to zkapp command scheduler: ", everywhere: true},
		{prefix: "Not a valid scheduled transactions handle: ", everywhere: true},
		{prefix: "Invalid format for NetworkPeer.host", everywhere: true},
		{prefix: "Delay of ", everywhere: true},
		// The node is not in the state for it.
		{prefix: "Could not find scheduled transactions with handle ", sentinel: ErrUnknownHandle},
		{prefix: "Not a block producing node", sentinel: ErrNotBlockProducer},
		{prefix: "Vrf evaluation not completed for current epoch", sentinel: ErrVRFNotCompleted},
	} {
		if strings.HasPrefix(message, text.prefix) {
			return text
		}
	}
	return daemonText{}
}
