package itnserver

import (
	"context"
	"errors"
	"strings"
	"time"

	"provingground/orchestrator/itn"
)

// Resolver is the node behind a Server: what its operations do once the request was authenticated, its arguments were
// coerced and the checks that need no node state were made. Methods are called from the goroutine of the request, without
// a lock of the Server, and so must be safe for concurrent use; ctx ends when the client goes away.
//
// An error of type Refusal becomes the GraphQL error of that text. Any other error, ErrRaise foremost, is what an
// exception is to the daemon: the connection is closed without an answer (itn-graphql, section 1).
type Resolver interface {
	// Auth describes the node. An error is not possible here.
	Auth(ctx context.Context) Auth

	// SlotsWon may be refused with NotBlockProducer or VRFNotCompleted.
	SlotsWon(ctx context.Context) ([]int, error)

	// InternalLogs answers the retained entries with an ID of at least startLogID, in increasing order.
	InternalLogs(ctx context.Context, startLogID int) ([]itn.Log, error)

	// FlushInternalLogs removes the entries up to endLogID and answers how many there were.
	FlushInternalLogs(ctx context.Context, endLogID int) (deleted int, err error)

	// SchedulePayments is called after the daemon's checks 1 to 6 (itn-graphql, section 4.1); it may be refused with
	// NoBestTip or MissingAccounts. A nil handle means that the node chooses; an older Server always gives nil.
	SchedulePayments(ctx context.Context, details itn.PaymentsDetails, handle *string) (string, error)

	// ScheduleZkappCommands is called with at least one fee payer. The node registers the handle, and only then checks
	// in this order (itn-graphql, section 4.2): NoBestTip; ErrRaise for a negative NumZkappsToDeploy or a NumNewAccounts
	// below −20; FeePayerNotInLedger; ErrRaise for a fee payer given twice.
	ScheduleZkappCommands(ctx context.Context, details itn.ZkappCommandsDetails, handle *string) (string, error)

	// StopScheduledTransactions is called with a handle of the right shape; it may be refused with UnknownHandle.
	StopScheduledTransactions(ctx context.Context, handle string) error

	// UpdateGating is called with hosts that are IP literals; it may be refused with FailedToAddPeers.
	UpdateGating(ctx context.Context, update itn.GatingUpdate) error

	// StopDaemon arranges the stop after delay, which is at least 5 s, and answers the configuration directory, which
	// is shown only when cleanConfig is true.
	StopDaemon(ctx context.Context, delay time.Duration, cleanConfig bool) (configDir string, err error)

	// ZkAppCommandLimit sets the limit, or clears it when limit is nil, and answers the one now in force.
	ZkAppCommandLimit(ctx context.Context, limit *int) (*int, error)

	// ScheduledTransactions answers the running handles. An older Server never calls it.
	ScheduledTransactions(ctx context.Context) ([]string, error)

	// CreateAccounts starts the funding job, or answers again the accounts of the running job of that handle. An older
	// Server never calls it.
	CreateAccounts(ctx context.Context, details itn.CreateAccountsDetails, handle *string) (itn.CreatedAccounts, error)
}

// Auth is what a node says about itself in auth; server UUID and sequence number are added by the Server.
type Auth struct {
	Libp2pPort    uint16
	PeerID        string // empty is answered as null by a newer Server
	BlockProducer bool
	CommitID      string // newer only
}

// ErrRaise stands for an exception inside the daemon: the connection is closed without an answer.
var ErrRaise = errors.New("the daemon raised an exception")

// Refusal is a GraphQL error as a resolver gives it; its text goes to the client as it is.
type Refusal string

// Error returns the text.
func (r Refusal) Error() string { return string(r) }

// The daemon's texts that depend on the node's state (itn-graphql, section 4).
const (
	NoBestTip           Refusal = "Could not get best tip ledger"
	FeePayerNotInLedger Refusal = "fee payer not in the ledger"
	NotBlockProducer    Refusal = "Not a block producing node"
	VRFNotCompleted     Refusal = "Vrf evaluation not completed for current epoch"
)

// MissingAccounts is the refusal of schedulePayments whose senders (public keys) are not in the ledger.
func MissingAccounts(publicKeys []string) Refusal {
	return Refusal(`Could not get nonces for accounts: "` + strings.Join(publicKeys, `","`) + `"`)
}

// UnknownHandle is the refusal of stopScheduledTransactions whose handle is not registered, or not any more.
func UnknownHandle(handle string) Refusal {
	return Refusal("Could not find scheduled transactions with handle " + handle)
}

// FailedToAddPeers is the refusal of updateGating that could not connect; reasons are the texts of the libp2p helper.
func FailedToAddPeers(reasons []string) Refusal {
	return Refusal("failed to add peers: " + strings.Join(reasons, ", "))
}
