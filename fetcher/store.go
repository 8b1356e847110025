package fetcher

import (
	"context"
	"errors"
	"time"

	"provingground/orchestrator/itn"
)

// Store keeps what the nodes logged. It is called by many goroutines at once, but by one at a time for each node.
type Store interface {
	// Cursor returns where to go on with a node; the zero Cursor for one that nothing is stored of.
	Cursor(ctx context.Context, node string) (Cursor, error)
	// Save stores a batch in one transaction, and returns when it is committed. It is called again with the same batch after an error, when
	// the transaction may have been committed all the same: what is stored already must do no harm. An error that wraps ErrPermanent says
	// that the same batch would be refused again, any other that it may succeed later.
	Save(ctx context.Context, batch Batch) error
}

// ErrPermanent says that a store will never take what it was given, as it was given.
var ErrPermanent = errors.New("the store refuses it for good")

// Cursor is how far a node's log is stored. The zero value is the beginning of whatever daemon answers.
type Cursor struct {
	// ServerUUID is the run of the daemon whose entries were stored last; empty when there was none.
	ServerUUID string
	// Next is the ID of the next entry to ask for, from 1.
	Next int
	// LastTime is the timestamp of the last entry that could be read, zero when there is none in this run.
	LastTime time.Time
}

// Batch is what a store takes in one transaction: one node's, of one run of its daemon.
type Batch struct {
	// Node is the node's name (NodeName).
	Node string
	// Cursor is where to go on when the batch is stored. Its ServerUUID is that of the entries and the malformed ones.
	Cursor Cursor
	// Entries ascend by ID. Their texts and JSON values are valid UTF-8 without NUL.
	Entries []itn.Log
	// Malformed are the entries that cannot be stored as what they should be.
	Malformed []Malformed
	// Gaps are the entries that are known to be missing.
	Gaps []Gap
	// Restart is set when the daemon was found to be another run than the one that was read before.
	Restart *Restart
}

// Restart is a change of a node's server UUID.
type Restart struct {
	Before, After string    // server UUIDs
	Seen          time.Time // wall time, UTC
}

// Gap is a range of log IDs whose entries are not stored and will not be. A node, a server UUID and From identify it.
type Gap struct {
	ServerUUID string
	From       int // first missing ID
	To         int // last missing ID; 0 when it is not known, and then perhaps nothing is missing (GapRestart)
	// Before and After are the timestamps of the last entry before the gap and of the first one after it; zero when there is none or it
	// is not known.
	Before, After time.Time
	Reason        GapReason
}

// Missing returns how many entries are missing, and false when that is not known.
func (g Gap) Missing() (count int, known bool) {
	if g.To < g.From {
		return 0, false
	}
	return g.To - g.From + 1, true
}

// GapReason says how entries came to be missing.
type GapReason string

// The reasons.
const (
	// GapBeforeFirst: the node dropped them before it was asked for the first time in this run of its daemon.
	GapBeforeFirst GapReason = "before-first-fetch"
	// GapDropped: the node dropped them before they were asked for, or another reader flushed them.
	GapDropped GapReason = "dropped"
	// GapRestart: whatever the daemon logged between the last answer and its end. How much that was is not known.
	GapRestart GapReason = "restart"
	// GapTooLarge: the node holds them, but its answer with them is longer than the client allows.
	GapTooLarge GapReason = "too-large"
)

// Malformed is an entry that was answered but is not what an entry should be. Node, server UUID and ID identify it; one that says what
// another of the same ID said already adds nothing.
type Malformed struct {
	ID     int    // 0 when it could not be read nor concluded from its neighbours; negative IDs are as the node told them
	Reason string // what is wrong with it
	Raw    string // its JSON, cut to 4 KiB and made storable like the texts of an entry; empty when it is not at hand
}
