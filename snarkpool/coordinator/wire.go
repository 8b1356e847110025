package coordinator

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Bounds of the protocol, which both sides keep.
const (
	// MaxWork is how much work one request may ask for.
	MaxWork = 1000
	// MaxName bounds the name of a worker, in bytes.
	MaxName = 128
	// MaxReason bounds the reason of a failure, in bytes.
	MaxReason = 1000
	// MaxProof bounds a proof, in bytes before they are spelled in base64.
	MaxProof = 1 << 20
)

// Kind is what a job of SNARK work proves.
type Kind string

// The kinds of jobs: three sorts of transactions besides payments, and the merge of two proofs.
const (
	Payment     Kind = "payment"
	Zkapp       Kind = "zkapp"
	FeeTransfer Kind = "fee_transfer"
	Coinbase    Kind = "coinbase"
	Merge       Kind = "merge"
)

// WorkRequest asks for work: POST /v1/work.
type WorkRequest struct {
	Worker string `json:"worker"` // who will prove it, for example bm7/cpu/0: 1 to [MaxName] printable ASCII characters without spaces
	Most   int    `json:"most"`   // 1 to [MaxWork]
}

// Check says what is wrong with the request.
func (r WorkRequest) Check() error {
	err := checkWorker(r.Worker)
	if r.Most < 1 || r.Most > MaxWork {
		err = errors.Join(err, fmt.Errorf("most is %d: give 1 to %d", r.Most, MaxWork))
	}
	return err
}

// WorkAnswer answers a [WorkRequest]. It is empty when nothing is to be proven.
type WorkAnswer struct {
	Work []Work `json:"work"`
}

// Work is SNARK work that was given to a worker: one or two jobs, proven by one proof.
type Work struct {
	ID        string    `json:"id"`        // names it; no other work of any coordinator has the same
	WorkIDs   []int     `json:"work_ids"`  // as traces name the jobs (internal-trace, section 2.3)
	Statement string    `json:"statement"` // 32 bytes as lower-case hex: what is to be proven
	Kinds     []Kind    `json:"kinds"`     // of the jobs, in the order of WorkIDs
	Until     time.Time `json:"until"`     // wall time after which it may be given to another worker
}

func (w Work) check() error {
	bytes, err := hex.DecodeString(w.Statement)
	switch {
	case w.ID == "" || len(w.ID) > MaxName:
		return errors.New("work without a usable id")
	case err != nil || len(bytes) != 32 || strings.ToLower(w.Statement) != w.Statement:
		return fmt.Errorf("the statement of work %s is not 32 bytes in lower-case hex", w.ID)
	case len(w.WorkIDs) < 1 || len(w.WorkIDs) > 2 || len(w.Kinds) != len(w.WorkIDs):
		return fmt.Errorf("work %s has %d work IDs and %d kinds, not one or two of each", w.ID, len(w.WorkIDs), len(w.Kinds))
	}
	return nil
}

// Proof delivers a proof: POST /v1/proof.
type Proof struct {
	ID        string `json:"id"`        // of the work
	Worker    string `json:"worker"`    // who made it
	Statement string `json:"statement"` // the work's
	Proof     []byte `json:"proof"`     // 1 to [MaxProof] bytes, on the wire in base64
}

// Check says what keeps the coordinator from judging the proof at all.
func (p Proof) Check() error { return errors.Join(checkID(p.ID), checkWorker(p.Worker)) }

// Judgement is what a coordinator makes of a proof.
type Judgement string

// The judgements. They are those of Mina's coordinator (snark-worker, section 2).
const (
	Accepted   Judgement = "accepted"    // it counts
	Slashed    Judgement = "slashed"     // it is not wanted, or not any more
	WrongShape Judgement = "wrong-shape" // the statement is not the work's, or this is no proof
)

// Reasons for which proofs are slashed.
const (
	ReasonNotWanted = "the work is no longer wanted"
	ReasonProven    = "the work is proven already"
	ReasonRepeated  = "this proof was accepted from this worker before" // the answer to the first delivery was lost: it does count, once
)

// Verdict answers a [Proof].
type Verdict struct {
	Status Judgement `json:"status"`
	Reason string    `json:"reason,omitempty"` // of [Slashed] and [WrongShape], for people; one of the Reason constants with Slashed
}

// Counts tells whether the proof is the one that counts for its work, accepted now or, with the answer lost, before.
func (v Verdict) Counts() bool {
	return v.Status == Accepted || v.Status == Slashed && v.Reason == ReasonRepeated
}

// Failure gives work back that a worker could not prove: POST /v1/failed. Another worker may have it at once.
type Failure struct {
	ID     string `json:"id"`
	Worker string `json:"worker"`
	Reason string `json:"reason"` // for people, at most [MaxReason] bytes
}

// Check says what is wrong with the message.
func (f Failure) Check() error {
	err := errors.Join(checkID(f.ID), checkWorker(f.Worker))
	if len(f.Reason) > MaxReason {
		err = errors.Join(err, fmt.Errorf("a reason of %d bytes: give at most %d", len(f.Reason), MaxReason))
	}
	return err
}

// FailureAnswer answers a [Failure]. Its status is "noted".
type FailureAnswer struct {
	Status string `json:"status"`
}

// Status is how a coordinator's work stands: GET /v1/status. The first three count what its best tip needs now, the others what happened
// since its daemon started.
type Status struct {
	Pending int `json:"pending"` // works that wait for a worker
	Out     int `json:"out"`     // works that a worker has, and has time for
	Proven  int `json:"proven"`  // works whose proofs the pool holds, whoever made them

	Given      int `json:"given"`      // times that work was given to a worker
	Reassigned int `json:"reassigned"` // times of those that another worker had let its time run out
	Accepted   int `json:"accepted"`   // proofs, each of another work
	Slashed    int `json:"slashed"`
	WrongShape int `json:"wrong_shape"`
	Failed     int `json:"failed"` // works that were given back unproven by those who had them

	Paused bool `json:"paused"` // nothing is given out
}

// ErrorAnswer is the body of every answer that is not 200.
type ErrorAnswer struct {
	Error string `json:"error"`
}

func checkWorker(name string) error { return checkName("worker", name) }

func checkID(id string) error { return checkName("id", id) }

func checkName(what, name string) error {
	if name == "" || len(name) > MaxName || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return fmt.Errorf("%s %.*q: give 1 to %d printable ASCII characters without spaces", what, MaxName, name, MaxName)
	}
	return nil
}
