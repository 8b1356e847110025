package simnet

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"
	"time"
)

// Entry is one line of the ground-truth journal: what really happened in the simulated network, whatever its nodes answered.
type Entry struct {
	Time time.Time // network time, UTC
	Wall time.Time // wall time of writing, UTC; network time on a virtual clock
	Node string    // HOST:PORT, empty for what concerns the network as a whole
	Fact Fact
}

// Fact is what an entry says: one of the types of this file, as a value.
type Fact interface {
	// Kind is the fact's name in the journal's text form, for example "schedule-accepted".
	Kind() string
}

// NetworkStarted is the first fact of a journal.
type NetworkStarted struct {
	Seed      uint64    `json:"seed"`
	Nodes     []string  `json:"nodes"` // addresses, HOST:PORT
	Producers int       `json:"producers"`
	Old       int       `json:"old"`
	Genesis   time.Time `json:"genesis"`
	SlotMS    int64     `json:"slotMs"`
	LatencyMS int64     `json:"latencyMs"`
}

// NetworkStopped is the last fact of a journal that was closed in order.
type NetworkStopped struct{}

// Outcome is what came of a request.
type Outcome string

// The outcomes of requests.
const (
	OutcomeOK           Outcome = "ok"           // the operation ran and its result was the answer
	OutcomeRefused      Outcome = "refused"      // a GraphQL error
	OutcomeRaised       Outcome = "raised"       // the daemon raised an exception and closed the connection
	OutcomeUnauthorized Outcome = "unauthorized" // 401
	OutcomeSequencing   Outcome = "sequencing"   // 412
	OutcomeMalformed    Outcome = "malformed"    // no GraphQL request: another status, or no operation
	OutcomeNotRun       Outcome = "not-run"      // an injected fault kept the request from the daemon
)

// RequestAnswered is one request to a node's ITN port.
type RequestAnswered struct {
	Operation string  `json:"operation,omitempty"` // root field, empty when none ran
	Sequenced bool    `json:"sequenced,omitempty"` // used up a sequence number
	Outcome   Outcome `json:"outcome"`
	Status    int     `json:"status,omitempty"` // HTTP status that was sent; absent when the client got no answer
	Fault     string  `json:"fault,omitempty"`  // the injected fault that struck it, as ParseFaults reads it
}

// ScheduleAccepted is a schedule that a node holds from now on.
type ScheduleAccepted struct {
	Handle     string    `json:"handle"`
	Operation  string    `json:"operation"` // schedulePayments or scheduleZkappCommands
	ServerUUID string    `json:"serverUuid"`
	Senders    []string  `json:"senders"` // public keys
	MemoPrefix string    `json:"memoPrefix"`
	TPS        float64   `json:"tps"`
	End        time.Time `json:"end"` // network time of its natural end; it ends at its first tick from then on
}

// ScheduleRefused is a scheduling request that left nothing running. The reason is the GraphQL error, private keys in it masked; it is empty
// when there was no answer.
type ScheduleRefused struct {
	Operation string `json:"operation"`
	Reason    string `json:"reason,omitempty"`
}

// StopRequested is an accepted stopScheduledTransactions; the schedule ends at its next tick.
type StopRequested struct {
	Handle string `json:"handle"`
}

// EndReason says why a schedule or a funding job ended.
type EndReason string

// The reasons for which schedules and funding jobs end.
const (
	EndExpired EndReason = "expired" // its time was over
	EndStopped EndReason = "stopped" // by stopScheduledTransactions
	EndKilled  EndReason = "killed"  // with its daemon
	EndDied    EndReason = "died"    // an exception inside the daemon; the handle stays in the daemon's table
	EndDone    EndReason = "done"    // a funding job whose accounts all exist
	EndFailed  EndReason = "failed"  // a funding job that gave up
)

// ScheduleEnded is the end of a schedule: it sends nothing any more.
type ScheduleEnded struct {
	Handle string    `json:"handle"`
	Reason EndReason `json:"reason"`
	Sent   int       `json:"sent"`   // commands that the node's pool took
	Failed int       `json:"failed"` // commands that it did not take
	Missed int       `json:"missed"` // ticks that were skipped
}

// CommandSent is a command that the pool of the node it was submitted to took, and that was gossiped.
type CommandSent struct {
	Memo      string `json:"memo"`
	Signature string `json:"signature"` // of the fee payer, by which traces name the command
	Type      string `json:"type"`
	Sender    string `json:"sender"` // public key
	Nonce     uint32 `json:"nonce"`
	Fee       uint64 `json:"fee"`                // nanomina
	Handle    string `json:"handle,omitempty"`   // of the schedule or funding job that sent it
	Receiver  string `json:"receiver,omitempty"` // public key, payments only
	Amount    uint64 `json:"amount,omitempty"`   // nanomina, payments only
}

// CommandRejected is a command that the pool of the node it was submitted to did not take.
type CommandRejected struct {
	Memo      string `json:"memo"`
	Signature string `json:"signature"` // as in CommandSent
	Type      string `json:"type"`
	Sender    string `json:"sender"`
	Nonce     uint32 `json:"nonce"`
	Handle    string `json:"handle,omitempty"`
	Reason    string `json:"reason"`
}

// CommandDropped is a command that left the pool of the node it was submitted to although no block took it: after a change of best tip its
// nonce is used up by another command, or its nonce or its sender's balance does not fit any more.
type CommandDropped struct {
	Memo   string `json:"memo"`
	Sender string `json:"sender"`
	Nonce  uint32 `json:"nonce"`
	Handle string `json:"handle,omitempty"`
}

// BlockCommand is a command in a block.
type BlockCommand struct {
	Memo      string `json:"memo"`
	Signature string `json:"signature"` // as in CommandSent
	Type      string `json:"type"`
	Sender    string `json:"sender"`
	Nonce     uint32 `json:"nonce"`
	Fee       uint64 `json:"fee"`
	Failure   string `json:"failure,omitempty"` // why its transfers were undone; empty when it was applied
}

// BlockProduced is a block that its producer finished.
type BlockProduced struct {
	Hash     string         `json:"hash"`
	Height   int            `json:"height"`
	Slot     int            `json:"slot"`
	Parent   string         `json:"parent"`
	Creator  string         `json:"creator"` // public key
	Coinbase uint64         `json:"coinbase"`
	Commands []BlockCommand `json:"commands,omitempty"`
	Created  []string       `json:"created,omitempty"` // public keys of the accounts that it creates

	Works       []BlockWork       `json:"works,omitempty"`       // SNARK work that its transactions need
	Bought      [][]int           `json:"bought,omitempty"`      // IDs of the SNARK work whose proofs it holds
	Interrupted *WorkInterruption `json:"interrupted,omitempty"` // why it could not hold more; nil when it held all it should
}

// BlockWork is SNARK work that a block's transactions need.
type BlockWork struct {
	IDs  []int      `json:"ids"`  // one for each job, one or two
	Jobs [][]string `json:"jobs"` // what is to be proven: type, signature and memo of a command; else type, and for a coinbase its amount in MINA
}

// WorkInterruption says that a block could hold no more proofs: that of one SNARK work was missing.
type WorkInterruption struct {
	At     int    `json:"at"` // proofs that it holds
	Reason string `json:"reason"`
	IDs    []int  `json:"ids"` // of the SNARK work that is missing
}

// TraceSource says how a node came to a block.
type TraceSource string

// The ways in which nodes come to blocks.
const (
	TraceReceived TraceSource = "received" // by gossip
	TraceFetched  TraceSource = "fetched"  // from a peer, after it was missed
	TraceProduced TraceSource = "produced" // its own
)

// BlockTraced is a block that a node has integrated, at the entry's time. Only with Options.JournalNodes.
type BlockTraced struct {
	Hash   string      `json:"hash"`
	Source TraceSource `json:"source"`
	Began  time.Time   `json:"began"` // the first checkpoint, network time: arrival, or beginning of the production
}

// BlockRepeated is a block that came to a node by gossip once more, and was let go. Only with Options.JournalNodes.
type BlockRepeated struct {
	Hash string `json:"hash"`
}

// TipChanged is a node's new best tip. Only with Options.JournalNodes.
type TipChanged struct {
	Hash   string `json:"hash"`
	Height int    `json:"height"`
	Slot   int    `json:"slot"`
	Left   int    `json:"left,omitempty"` // blocks that left the node's chain: the depth of the reorganisation
}

// CommandReceived is a command that came to a node's pool. Only with Options.JournalNodes.
type CommandReceived struct {
	Memo      string `json:"memo"`
	Signature string `json:"signature"` // as in CommandSent
	Type      string `json:"type"`
	Sender    string `json:"sender,omitempty"` // host; empty at the node where it was submitted
	Reason    string `json:"reason,omitempty"` // why the pool did not take it; empty when it did
}

// WorkAction is what becomes of SNARK work at a node.
type WorkAction string

// What becomes of SNARK work.
const (
	WorkAdded     WorkAction = "added"     // the best tip needs it
	WorkRemoved   WorkAction = "removed"   // the best tip needs it no longer
	WorkScheduled WorkAction = "scheduled" // it was given to workers
)

// WorkListed is what becomes of SNARK work at a node, in order. Older daemons trace none of it. Only with Options.JournalNodes.
type WorkListed struct {
	Action WorkAction `json:"action"`
	Works  [][]int    `json:"works"` // IDs of each
}

// WorkReceived is a proof that came to a node's SNARK pool, which judged it at the entry's time. Only with Options.JournalNodes.
type WorkReceived struct {
	IDs     []int     `json:"ids"`
	Prover  string    `json:"prover"`           // public key
	Sender  string    `json:"sender,omitempty"` // host; empty at the node whose workers made the proof
	Arrived time.Time `json:"arrived"`          // network time
	Reason  string    `json:"reason,omitempty"` // why the pool did not take it; empty when it did
}

// WorkGiven is SNARK work that a coordinator gave to a worker outside of the simulation.
type WorkGiven struct {
	ID     string    `json:"id"`  // as the worker knows it
	IDs    []int     `json:"ids"` // as traces know it
	Worker string    `json:"worker"`
	Until  time.Time `json:"until"`          // network time from which on another worker may have it
	From   string    `json:"from,omitempty"` // the worker that had it and let its time run out: it is reassigned; empty when there is none
}

// ProofAccepted is a proof from outside that a coordinator took: from now on it is gossiped.
type ProofAccepted struct {
	ID     string `json:"id"`
	IDs    []int  `json:"ids"`
	Worker string `json:"worker"`
	Late   bool   `json:"late,omitempty"` // the work was another worker's meanwhile, or nobody's
}

// ProofRefused is a proof from outside that a coordinator did not take.
type ProofRefused struct {
	ID     string `json:"id"`
	IDs    []int  `json:"ids,omitempty"` // absent when nothing is needed under the ID
	Worker string `json:"worker"`
	Status string `json:"status"` // slashed or wrong-shape
	Reason string `json:"reason"`
}

// WorkFailed is SNARK work that a worker outside could not prove.
type WorkFailed struct {
	ID     string `json:"id"`
	IDs    []int  `json:"ids,omitempty"` // absent when nothing is needed under the ID
	Worker string `json:"worker"`
	Reason string `json:"reason"`
	Held   bool   `json:"held,omitempty"` // the worker had it, so that it is free now
}

// ProversSet says how many SNARK works each coordinator proves at once from now on: none while paused, any number when negative.
type ProversSet struct {
	Count int `json:"count"`
}

// BlockIncluded is a block that from now on lies on the chain of the network's best block.
type BlockIncluded struct {
	Hash   string `json:"hash"`
	Height int    `json:"height"`
	Slot   int    `json:"slot"`
}

// BlockOrphaned is a block that lies on that chain no longer, or did not get onto it. A later change of chain may include it (again).
type BlockOrphaned struct {
	Hash   string `json:"hash"`
	Height int    `json:"height"`
	Slot   int    `json:"slot"`
}

// AccountCreated is an account that exists from now on on the chain of the network's best block.
type AccountCreated struct {
	PublicKey string `json:"publicKey"`
	Balance   uint64 `json:"balance"` // nanomina, after the block
}

// GatingSet is an updateGating that took effect, with the addresses (HOST:PORT) of the nodes that its entries name.
type GatingSet struct {
	Isolate         bool     `json:"isolate"`
	Trusted         []string `json:"trusted,omitempty"`
	Banned          []string `json:"banned,omitempty"`
	Added           []string `json:"added,omitempty"`
	CleanAddedPeers bool     `json:"cleanAddedPeers,omitempty"`
	Unknown         int      `json:"unknown,omitempty"` // entries that name no node
	Failed          []string `json:"failed,omitempty"`  // why peers could not be added
}

// LimitSet is a zkAppCommandLimit that took effect; nil is no limit.
type LimitSet struct {
	Limit *int `json:"limit"`
}

// StopReason says why a daemon stopped.
type StopReason string

// The reasons for which daemons stop.
const (
	StoppedByRequest StopReason = "stopDaemon"
	StoppedByControl StopReason = "control" // controlExec restart or redeploy
	StoppedByFault   StopReason = "fault"
)

// DaemonStopping is an accepted stopDaemon.
type DaemonStopping struct {
	At    time.Time `json:"at"` // network time
	Clean bool      `json:"clean,omitempty"`
}

// DaemonStopped is the end of a daemon's run. It counts as down until DaemonStarted.
type DaemonStopped struct {
	ServerUUID string     `json:"serverUuid"`
	Reason     StopReason `json:"reason"`
	Clean      bool       `json:"clean,omitempty"` // its chain was thrown away
	LastLogID  int        `json:"lastLogId"`       // of the internal log that ended with it; 0 when it was empty
	Retained   int        `json:"retained"`        // ID of the oldest entry that it still held; one above LastLogID when it held none
}

// DaemonStarted is the beginning of a daemon's run.
type DaemonStarted struct {
	ServerUUID string `json:"serverUuid"`
}

// FundingStarted is a funding job: createAccounts, or the stand-in for itn-create-accounts.
type FundingStarted struct {
	Handle      string `json:"handle"`
	Operation   string `json:"operation"` // createAccounts or itn-create-accounts
	FeePayer    string `json:"feePayer"`  // public key
	NumAccounts int    `json:"numAccounts"`
	Amount      uint64 `json:"amount"` // nanomina in all
	Fee         uint64 `json:"fee"`    // nanomina per command
}

// FundingEnded is the end of a funding job.
type FundingEnded struct {
	Handle string    `json:"handle"`
	Reason EndReason `json:"reason"`
	Detail string    `json:"detail,omitempty"`
}

// LogsRead is an internalLogs that the daemon answered: which entries it gave. What lies between the last entry of one reading and the
// first of the next was lost to the queue's bound, or flushed.
type LogsRead struct {
	Start int `json:"start"`           // as asked for
	First int `json:"first,omitempty"` // IDs, absent when there were none
	Last  int `json:"last,omitempty"`
	Count int `json:"count"` // less than Last − First + 1 where the fault drop-logs took entries

	Retained int   `json:"retained"`           // ID of the oldest entry that the log still held; one above the last one when it held none
	Withheld []int `json:"withheld,omitempty"` // IDs that the fault drop-logs took from this answer
}

// LogsFlushed is a flushInternalLogs.
type LogsFlushed struct {
	End     int `json:"end"`
	Deleted int `json:"deleted"`

	Retained int `json:"retained"` // as in LogsRead, before the flush
}

// LogsRetained is what a running daemon's internal log holds at the end of the network.
type LogsRetained struct {
	Retained  int `json:"retained"` // as in LogsRead
	LastLogID int `json:"lastLogId"`
}

// UptimeReported is a report that was sent to the uptime service.
type UptimeReported struct {
	Status int    `json:"status,omitempty"` // absent when there was no answer
	Error  string `json:"error,omitempty"`
}

// FaultStruck is an injected fault that did something beyond one request: it stopped, killed or held up a node.
type FaultStruck struct {
	Fault string `json:"fault"`
}

// Kind implements Fact.
func (NetworkStarted) Kind() string { return "network-started" }

// Kind implements Fact.
func (NetworkStopped) Kind() string { return "network-stopped" }

// Kind implements Fact.
func (RequestAnswered) Kind() string { return "request-answered" }

// Kind implements Fact.
func (ScheduleAccepted) Kind() string { return "schedule-accepted" }

// Kind implements Fact.
func (ScheduleRefused) Kind() string { return "schedule-refused" }

// Kind implements Fact.
func (StopRequested) Kind() string { return "stop-requested" }

// Kind implements Fact.
func (ScheduleEnded) Kind() string { return "schedule-ended" }

// Kind implements Fact.
func (CommandSent) Kind() string { return "command-sent" }

// Kind implements Fact.
func (CommandRejected) Kind() string { return "command-rejected" }

// Kind implements Fact.
func (CommandDropped) Kind() string { return "command-dropped" }

// Kind implements Fact.
func (BlockProduced) Kind() string { return "block-produced" }

// Kind implements Fact.
func (BlockIncluded) Kind() string { return "block-included" }

// Kind implements Fact.
func (BlockOrphaned) Kind() string { return "block-orphaned" }

// Kind implements Fact.
func (BlockTraced) Kind() string { return "block-traced" }

// Kind implements Fact.
func (BlockRepeated) Kind() string { return "block-repeated" }

// Kind implements Fact.
func (TipChanged) Kind() string { return "tip-changed" }

// Kind implements Fact.
func (CommandReceived) Kind() string { return "command-received" }

// Kind implements Fact.
func (WorkListed) Kind() string { return "work-listed" }

// Kind implements Fact.
func (WorkReceived) Kind() string { return "work-received" }

// Kind implements Fact.
func (WorkGiven) Kind() string { return "work-given" }

// Kind implements Fact.
func (ProofAccepted) Kind() string { return "proof-accepted" }

// Kind implements Fact.
func (ProofRefused) Kind() string { return "proof-refused" }

// Kind implements Fact.
func (WorkFailed) Kind() string { return "work-failed" }

// Kind implements Fact.
func (ProversSet) Kind() string { return "provers-set" }

// Kind implements Fact.
func (LogsRetained) Kind() string { return "logs-retained" }

// Kind implements Fact.
func (AccountCreated) Kind() string { return "account-created" }

// Kind implements Fact.
func (GatingSet) Kind() string { return "gating-set" }

// Kind implements Fact.
func (LimitSet) Kind() string { return "limit-set" }

// Kind implements Fact.
func (DaemonStopping) Kind() string { return "daemon-stopping" }

// Kind implements Fact.
func (DaemonStopped) Kind() string { return "daemon-stopped" }

// Kind implements Fact.
func (DaemonStarted) Kind() string { return "daemon-started" }

// Kind implements Fact.
func (FundingStarted) Kind() string { return "funding-started" }

// Kind implements Fact.
func (FundingEnded) Kind() string { return "funding-ended" }

// Kind implements Fact.
func (LogsRead) Kind() string { return "logs-read" }

// Kind implements Fact.
func (LogsFlushed) Kind() string { return "logs-flushed" }

// Kind implements Fact.
func (UptimeReported) Kind() string { return "uptime-reported" }

// Kind implements Fact.
func (FaultStruck) Kind() string { return "fault-struck" }

// allFacts lists one value of each fact, for reading.
func allFacts() []Fact {
	return []Fact{
		NetworkStarted{}, NetworkStopped{}, RequestAnswered{}, ScheduleAccepted{}, ScheduleRefused{}, StopRequested{}, ScheduleEnded{},
		CommandSent{}, CommandRejected{}, CommandDropped{}, BlockProduced{}, BlockIncluded{}, BlockOrphaned{}, AccountCreated{},
		GatingSet{}, LimitSet{}, DaemonStopping{}, DaemonStopped{}, DaemonStarted{}, FundingStarted{}, FundingEnded{}, LogsRead{},
		LogsFlushed{}, UptimeReported{}, FaultStruck{}, BlockTraced{}, BlockRepeated{}, TipChanged{}, CommandReceived{}, WorkListed{},
		WorkReceived{}, LogsRetained{}, WorkGiven{}, ProofAccepted{}, ProofRefused{}, WorkFailed{}, ProversSet{},
	}
}

// entryText is an entry's form as a line of JSON.
type entryText struct {
	Time time.Time       `json:"time"`
	Wall time.Time       `json:"wall"`
	Node string          `json:"node,omitempty"`
	Kind string          `json:"kind"`
	Fact json.RawMessage `json:"fact"`
}

// MarshalJSON gives the form of a journal's line: time, wall, node, kind, and fact, an object with the fact's fields.
func (e Entry) MarshalJSON() ([]byte, error) {
	fact, err := json.Marshal(e.Fact)
	if err != nil {
		return nil, fmt.Errorf("journal entry %s: %w", e.Fact.Kind(), err)
	}
	return json.Marshal(entryText{Time: e.Time, Wall: e.Wall, Node: e.Node, Kind: e.Fact.Kind(), Fact: fact})
}

// UnmarshalJSON reads the form that MarshalJSON gives.
func (e *Entry) UnmarshalJSON(text []byte) error {
	var in entryText
	if err := json.Unmarshal(text, &in); err != nil {
		return fmt.Errorf("journal entry: %w", err)
	}
	for _, fact := range allFacts() {
		if fact.Kind() != in.Kind {
			continue
		}
		value := reflect.New(reflect.TypeOf(fact))
		if err := json.Unmarshal(in.Fact, value.Interface()); err != nil {
			return fmt.Errorf("journal entry %s: %w", in.Kind, err)
		}
		read, _ := value.Elem().Interface().(Fact)
		*e = Entry{Time: in.Time, Wall: in.Wall, Node: in.Node, Fact: read}
		return nil
	}
	return fmt.Errorf("journal entry of unknown kind %q", in.Kind)
}

// ReadHistory reads a journal that was written as lines of JSON. A last line that was cut short is left out.
func ReadHistory(r io.Reader) (History, error) {
	var history History
	lines := bufio.NewReader(r)
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return history, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading line %d of the journal: %w", number, err)
		}
		var entry Entry
		if err := json.Unmarshal(line, &entry); err != nil {
			return nil, fmt.Errorf("line %d of the journal: %w", number, err)
		}
		history = append(history, entry)
	}
}

// journal writes the entries. It has its own lock, so that the entries kept may be read at any time.
type journal struct {
	mu      sync.Mutex
	out     *bufio.Writer // nil when nothing is written
	keep    bool
	kept    History
	failure error // the first one; nothing is written after it
}

func newJournal(out io.Writer, keep bool) *journal {
	j := &journal{keep: keep}
	if out != nil {
		j.out = bufio.NewWriterSize(out, 64<<10)
	}
	return j
}

func (j *journal) add(entry Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.keep {
		j.kept = append(j.kept, entry)
	}
	if j.out == nil || j.failure != nil {
		return
	}
	line, err := json.Marshal(entry)
	if err == nil {
		_, err = j.out.Write(append(line, '\n'))
	}
	j.failure = err
}

// flush hands everything to the writer and returns the first failure there was.
func (j *journal) flush() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.out != nil && j.failure == nil {
		j.failure = j.out.Flush()
	}
	return j.failure
}

func (j *journal) history() History {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.kept[:len(j.kept):len(j.kept)]
}
