package itn

import (
	"encoding/json"
	"fmt"
	"time"
	"unique"
)

// PrivateKey is the base58check text (EK…) of a Mina private key, as the scalar PrivateKey of the node's schema has it
// (itn-graphql, section 3.1). Formatting and JSON show a mask; only Base58 reveals the text. PrivateKey is comparable
// and safe for concurrent use; its zero value is the empty text.
//
// The text lies behind a handle, so that even reflection on an unexported field, where fmt cannot call String, prints
// an address and not the key.
type PrivateKey struct {
	base58 unique.Handle[string]
}

const maskedPrivateKey = "EK…(masked)"

// NewPrivateKey wraps the base58check text of a key without checking it: the daemon does.
func NewPrivateKey(base58 string) PrivateKey {
	return PrivateKey{unique.Make(base58)}
}

// Base58 reveals the key.
func (k PrivateKey) Base58() string {
	if k == (PrivateKey{}) {
		return ""
	}
	return k.base58.Value()
}

// String shows a mask.
func (k PrivateKey) String() string { return maskedPrivateKey }

// Format shows a mask whatever the verb.
func (k PrivateKey) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(maskedPrivateKey)) }

// MarshalJSON shows a mask, so that details can be recorded. The request to the daemon is built from Base58.
func (k PrivateKey) MarshalJSON() ([]byte, error) { return json.Marshal(maskedPrivateKey) }

// PaymentsDetails is the input of schedulePayments (itn-graphql, section 3.3). Amounts are nanomina.
type PaymentsDetails struct {
	Senders     []PrivateKey // send in turn; every account must be in the node's best-tip ledger
	Receiver    string       // public key, B62…
	Amount      uint64       // nanomina per payment
	MinFee      uint64       // nanomina; the fee is drawn uniformly from MinFee to MaxFee, both included
	MaxFee      uint64       // nanomina
	MemoPrefix  string       // at most 32 bytes; the daemon appends "-" and the payment's index
	TPS         float64      // payments per second, of network time
	DurationMin int          // minutes of network time

	// RepeatUntil, which is not sent, is the wall time until which the load certainly still runs once it was accepted.
	// Until then a request with a handle whose reply was lost may be repeated (itn-graphql, section 4.8); later the
	// handle may be free again, and the repeat would start the load anew. The zero value means: never repeat.
	RepeatUntil time.Time
}

// ZkappCommandsDetails is the input of scheduleZkappCommands (itn-graphql, section 3.3). Amounts are nanomina.
type ZkappCommandsDetails struct {
	FeePayers          []PrivateKey // pay the fees and create the accounts; a key given twice makes the daemon raise
	NumZkappsToDeploy  int          // accounts deployed before the load starts, at least 0
	NumNewAccounts     int          // accounts created during the load
	TPS                float64      // commands per second, of network time
	DurationMin        int          // minutes of network time, deployment included
	MemoPrefix         string       // not length-checked by the daemon, which appends "-" and the command's index
	NoPrecondition     bool         // omit preconditions in account updates
	MinBalanceChange   uint64       // nanomina per update
	MaxBalanceChange   uint64       // nanomina per update
	MinNewZkappBalance uint64       // nanomina of an account created during the load
	MaxNewZkappBalance uint64       // nanomina of an account created during the load
	InitBalance        uint64       // nanomina of each deployed account
	MinFee             uint64       // nanomina
	MaxFee             uint64       // nanomina
	DeploymentFee      uint64       // nanomina per deployment
	AccountQueueSize   int          // how many recently used accounts are kept out of reuse
	MaxCost            bool         // make commands of maximum cost
	MaxAccountUpdates  *int         // a command has 2·n+2 account updates; nil leaves the choice to the daemon

	// RepeatUntil is the same as in PaymentsDetails.
	RepeatUntil time.Time
}

// CreateAccountsDetails is the input of createAccounts (itn-graphql, section 4.8). Amounts are nanomina.
type CreateAccountsDetails struct {
	Amount      uint64 // nanomina in all, the creation fees included
	Fee         uint64 // nanomina per funding command
	NumAccounts int
	FeePayer    PrivateKey

	// RepeatUntil is the wall time until which the job certainly still runs; otherwise the same as in PaymentsDetails.
	RepeatUntil time.Time
}

// CreatedAccounts is the answer of createAccounts (itn-graphql, section 4.8). Funding goes on in the background until
// Handle disappears from scheduledTransactions.
type CreatedAccounts struct {
	Handle   string
	Accounts []Account
}

// Account is a key pair that the daemon made.
type Account struct {
	PublicKey  string // B62…
	PrivateKey PrivateKey
}

// GatingUpdate is the input of updateGating (itn-graphql, sections 3.3 and 4.4). It replaces earlier lists, it does not
// add to them.
type GatingUpdate struct {
	TrustedPeers    []NetworkPeer // connections always allowed
	BannedPeers     []NetworkPeer // never allowed, unless trusted
	Isolate         bool          // allow trusted peers only
	CleanAddedPeers bool          // first forget all added peers, seeds included
	AddedPeers      []NetworkPeer // peers to connect to
}

// NetworkPeer names one libp2p peer (itn-graphql, section 3.3).
type NetworkPeer struct {
	PeerID     string
	Host       string // an IP literal, without brackets; the daemon refuses a host name
	Libp2pPort int
}

// Log is one entry of a node's internal log (itn-graphql, sections 3.2 and 6).
type Log struct {
	ID        int       // from 1 since the daemon's start
	Timestamp time.Time // UTC, in whole microseconds
	Message   string    // checkpoint name, or "@control"
	Metadata  []LogMetadatum
	Process   string // "prover", "verifier", or empty for the daemon itself
}

// LogMetadatum is one key and value of a Log.
type LogMetadatum struct {
	Item  string
	Value json.RawMessage
}
