package trace

import (
	"encoding/json"
	"fmt"
)

// Changes is what a batch of records did, in the order of the records within each list.
type Changes struct {
	Traces        []Change
	Rows          []Row
	Renames       []Rename
	Gossip        []Gossip
	Transactions  []BlockTransactions
	Interruptions []Interruption
	Retired       []int64 // numbers of traces that no later change will name
	Problems      []Problem
}

// Source is how a node came to a block (internal-trace, section 3).
type Source string

// The sources of a block. A trace is Unknown until its characteristic checkpoint; the first one wins.
const (
	Unknown     Source = "Unknown"
	External    Source = "External"
	Internal    Source = "Internal"
	Catchup     Source = "Catchup"
	Reconstruct Source = "Reconstruct"
)

// Status is how far a node came with a block. Success is final.
type Status string

// The states of a block.
const (
	Pending Status = "Pending"
	Success Status = "Success"
	Failure Status = "Failure"
)

// NoBlock is the block id of what happens outside blocks. Its trace has source Unknown and status Pending for ever.
const NoBlock = "0"

// Trace is what is known of one block on one node.
type Trace struct {
	Number     int64  `json:"number"` // given by the Reader from 1 up; rows, renames and events name their trace by it
	Block      string `json:"block"`  // state hash, decimal global slot while a produced block has no hash yet, or NoBlock
	Source     Source `json:"source"`
	Status     Status `json:"status"`
	Length     *int64 `json:"length,omitempty"`      // blockchain length, nil until known
	GlobalSlot *int64 `json:"global_slot,omitempty"` // nil until known

	Timed     bool    `json:"timed,omitempty"`     // whether there was a main checkpoint yet, that is whether the times are known
	Started   float64 `json:"started,omitempty"`   // seconds since 1970 of the first main checkpoint
	Completed float64 `json:"completed,omitempty"` // of Breadcrumb_integrated, or of the last main checkpoint so far
}

// Total returns the seconds between start and completion, 0 while the times are unknown and never less.
func (t Trace) Total() float64 { return max(0, t.Completed-t.Started) }

// Change is a trace as it is after the batch.
//
// A trace that was retired and is then named again by the node is created anew under another number and the same block. Whoever stores
// traces by block merges the two: earliest start, Success over Failure over Pending, source and numbers that are known over unknown.
type Change struct {
	Trace
	Created   bool                       // in this batch
	Succeeded bool                       // in this batch became Success; true once per trace
	Metadata  map[string]json.RawMessage // block metadata that came in this batch; newer keys replace older
}

// Row is a checkpoint or control record of a trace.
type Row struct {
	Trace    int64           `json:"trace,omitempty"`
	Process  Process         `json:"process,omitempty"`
	Seq      int64           `json:"seq,omitempty"`  // number of the record among all that the Reader was fed of this process; (Process, Seq) is unique in a Reader
	ID       int64           `json:"id,omitempty"`   // of the record
	Main     bool            `json:"main,omitempty"` // false for a repeated processing of the same block; metadata follows its checkpoint
	Control  bool            `json:"control,omitempty"`
	Gossip   bool            `json:"gossip,omitempty"` // pool event, or its metadata; not part of the block's trace
	Name     string          `json:"name,omitempty"`
	Time     float64         `json:"time,omitempty"`     // of a checkpoint, seconds since 1970
	Metadata json.RawMessage `json:"metadata,omitempty"` // of a control record, its value; nil for a checkpoint
	Call     int64           `json:"call,omitempty"`     // current call id, 0 = none
	Of       int64           `json:"of,omitempty"`       // of metadata: Seq of its checkpoint, in the same process; 0 = it came before any
	After    int64           `json:"after,omitempty"`    // of the prover's and verifier's rows: Seq of the main checkpoint that they belong to
}

// Rename says that the block of a trace got its state hash (produced_block_state_hash).
type Rename struct {
	Trace    int64
	From, To string
	Replaces int64 // trace that already had that hash: what was stored of it belongs to Trace, and no later change names it; 0 = none
}

// Gossip is a pool event together with its own metadata. An event without metadata does not show here, only as a row.
type Gossip struct {
	Trace    int64
	Seq      int64    // of the metadata's row
	Event    int64    // Seq of the checkpoint's row
	ID       int64    // of the metadata's record
	Resource Resource // what the event is about
	Action   string   // received, accepted, rejected, added, scheduled, removed, or what a later daemon says
	Time     float64  // of the checkpoint, seconds since 1970

	Work *SnarkWork       // for SnarkWorkEvent, nil when the metadata could not be read
	Diff *TransactionDiff // for TransactionDiffEvent, nil when the metadata could not be read
}

// Resource is what a pool event is about, spelled as the checkpoints' names begin.
type Resource string

// The two pools.
const (
	SnarkWorkEvent       Resource = "Snark_work"
	TransactionDiffEvent Resource = "Transaction_diff"
)

// SnarkWork is the metadata of a SNARK pool event (internal-trace, section 2.3). Texts are empty where the daemon gave none.
type SnarkWork struct {
	IDs    []int64 // one or two
	Fee    string
	Prover string
	Sender string
	Reason string
	Txs    []PoolTransaction // for each work, only from newer daemons
}

// TransactionDiff is the metadata of a transaction pool event.
type TransactionDiff struct {
	Diff   []PoolTransaction
	Raw    json.RawMessage // the diff as it came
	Sender string          // empty when local
	Reason string
}

// PoolTransaction is a transaction as pool events name it. Signature is the fee payer's, which the database calls hash; the
// protocol's own transactions have none and no memo.
type PoolTransaction struct{ Type, Signature, Memo string }

// BlockTransactions are a block's transactions, given once: when they first arrived and the trace's start is known.
type BlockTransactions struct {
	Trace        int64
	Timed        bool    // false only when the trace was retired before its first main checkpoint
	Received     float64 // the trace's start then, seconds since 1970
	Transactions []BlockTransaction
}

// BlockTransaction is one entry of a block's transactions (internal-trace, section 2.2). Only a user's has Signature and Memo, only coinbase Amount.
type BlockTransaction struct {
	Type      string
	Signature string
	Memo      string
	Amount    string
	Status    string          // Applied or Failed
	Details   json.RawMessage // the whole status list
}

// User tells whether it is a payment, delegation or zkApp command, and not the protocol's own.
func (t BlockTransaction) User() bool { return t.Signature != "" }

// Interruption tells that a block being produced could not take more SNARK work.
type Interruption struct {
	Trace  int64
	Seq    int64 // of the row
	At     int64
	Reason string
	IDs    []int64 // one or two
}

// Problem is something in the records that could not be used; the rest was.
type Problem struct {
	Process Process
	Seq     int64 // number of the record among those of its process, as in Row
	ID      int64 // of the record
	Text    string
}

// batch collects the changes of one call.
type batch struct {
	Changes
	traces []*traceState // in the order of Changes.Traces
	index  map[*traceState]int
}

// touch returns the change of a trace, to be filled; only until the next touch.
func (b *batch) touch(t *traceState) *Change {
	if b.index == nil {
		b.index = map[*traceState]int{}
	}
	i, known := b.index[t]
	if !known {
		i = len(b.Traces)
		b.index[t] = i
		b.Traces = append(b.Traces, Change{})
		b.traces = append(b.traces, t)
	}
	return &b.Traces[i]
}

func (b *batch) problem(at place, format string, args ...any) {
	b.Problems = append(b.Problems, Problem{Process: at.process, Seq: at.seq, ID: at.id, Text: fmt.Sprintf(format, args...)})
}

func (b *batch) done() Changes {
	for i, t := range b.traces {
		b.Traces[i].Trace = t.Trace
	}
	return b.Changes
}
