package service

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"provingground/internal/mina"
	"provingground/uptime"
)

// What a [Store] says of a submission that it does not take, wrapped.
var (
	// ErrReplayed means that this very submission was accepted before: the same digest, however it was spelled and wherever it came from.
	ErrReplayed = errors.New("this submission was received before")
	// ErrTooMany means that the key has had as many submissions accepted within the last hour as it may.
	ErrTooMany = errors.New("too many submissions of this key within an hour")
	// ErrFull means that there is no room for another submission until older ones expire.
	ErrFull = errors.New("no room for another submission")
	// ErrUnavailable means that the store cannot be reached just now, so that it is unknown what it holds.
	ErrUnavailable = errors.New("the store cannot be reached")
)

// Store remembers who was heard and what was received. Safe for concurrent use. The packages beside this one have one in memory and one in
// PostgreSQL.
type Store interface {
	// Accept records a verified submission, all of it or nothing: its digest until created_at + retention, its place in the key's hour, and the
	// entry of its submitter and peer ID unless one with a later CreatedAt is there. An error wraps [ErrReplayed], [ErrTooMany], [ErrFull] or
	// [ErrUnavailable], in which cases nothing was changed (with ErrUnavailable: as far as can be known), or is a fault. Of several equal
	// submissions at once, exactly one is accepted.
	Accept(ctx context.Context, submission Accepted) error
	// Online returns the entries that were heard after since, sorted by submitter, remote address, control port and peer ID. None is an empty list.
	Online(ctx context.Context, since time.Time) ([]Online, error)
	// Healthy tells whether Accept and Online can do their work now.
	Healthy(ctx context.Context) error
}

// Accepted is a submission whose signature was verified and whose submitter is on the whitelist.
type Accepted struct {
	// Digest is the BLAKE2b-256 of the signed text (uptime, section 3), together with the submitter what makes two submissions the same.
	Digest    [32]byte
	Submitter mina.PublicKey
	PeerID    string
	// RemoteAddr is where the node is: canonical, without zone, never an IPv4 address written as IPv6.
	RemoteAddr netip.Addr
	// ControlPort is the ITN port that the node claims to have, 0 for none.
	ControlPort uint16
	// BuiltWithCommitSHA is empty when the node did not say.
	BuiltWithCommitSHA string
	// CreatedAt is the node's clock, ReceivedAt this service's, both UTC. CreatedAt is within retention and MaxFuture of ReceivedAt.
	CreatedAt, ReceivedAt time.Time
	// BlockHash is that of uptime, section 6.1.
	BlockHash string
}

// Online is one entry of the online list: a node, told by submitter and peer ID, as its newest accepted submission describes it.
type Online struct {
	Submitter          string
	RemoteAddr         string
	ControlPort        uint16
	PeerID             string
	BuiltWithCommitSHA string
	// CreatedAt is that of the submission which describes the node, LastSeen when it was received; both UTC.
	CreatedAt, LastSeen time.Time
}

// Whitelist is the keys that may submit. Safe for concurrent use; none of its methods waits for anything.
type Whitelist interface {
	Contains(submitter mina.PublicKey) bool
	// Healthy returns nil while a list is loaded and could be read lately; an empty list is healthy.
	Healthy() error
	// Loaded is when the keys were last known to be those of their source, zero for never.
	Loaded() time.Time
	// Size is the number of keys.
	Size() int
}

// Archive keeps whole submissions, as does S3 (uptime, section 6.1). Safe for concurrent use.
type Archive interface {
	Put(ctx context.Context, submission *uptime.Submission, remote netip.Addr, received time.Time) error
}
