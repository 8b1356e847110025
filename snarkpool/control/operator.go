package control

import (
	"context"
	"encoding/json"
	"time"
)

// Operator is what a server needs of an agent. Its methods are called at the same time from several goroutines. ctx ends when the caller goes away or the
// server ends; then a method returns soon, while a change that it began, such as a drain, goes on as the new desired state. An error that is a
// [*RefusedError] is passed on as it is; any other means that the command failed. Errors and results must hold no secrets.
type Operator interface {
	// Status tells how the workers of a target are.
	Status(ctx context.Context, target Target) (Status, error)
	// Report answers plan, inventory, doctor and gpu-list, with JSON.
	Report(ctx context.Context, operation Operation) (json.RawMessage, error)
	// Change does a command whose operation changes something, or says what it would do (DryRun), and returns when it is done.
	Change(ctx context.Context, command Command) (Change, error)
	// Events sends the events of a target; with Follow until ctx ends. send may wait for a slow reader, and its error is to be returned: so no lock is
	// held meanwhile. [Ring.Follow] does it right.
	Events(ctx context.Context, target Target, arguments Arguments, send func(...Event) error) error
	// Logs sends the log lines of a target, as Events does.
	Logs(ctx context.Context, target Target, arguments Arguments, send func(...LogLine) error) error
}

// Status is how an agent and its workers are. It is JSON, as all results.
type Status struct {
	// Agent is its name. Pool is the name in the pool file, Digest the sha256 of that file.
	Agent   string `json:"agent"`
	Pool    string `json:"pool"`
	Digest  string `json:"digest"`
	Version string `json:"version"`
	// Since is when the agent started; At is now.
	Since time.Time `json:"since"`
	At    time.Time `json:"at"`
	// Notes are what an operator should know, such as a pool file that cannot be read or a database that is away.
	Notes   []string       `json:"notes,omitempty"`
	Workers []WorkerStatus `json:"workers"`
}

// WorkerStatus is how one worker is. What is not known is absent.
type WorkerStatus struct {
	Name string `json:"name"`
	Pool string `json:"pool"`
	Kind string `json:"kind"`
	// State is the observed state, by its name in snark-pool, section 4, and Since when it began; Wanted is the desired one.
	State  string    `json:"state"`
	Since  time.Time `json:"since"`
	Wanted string    `json:"wanted"`
	// Reason says why it is in its state, where that is not plain.
	Reason string `json:"reason,omitempty"`
	// Until is when a pause or a freeze ends.
	Until *time.Time `json:"until,omitempty"`
	PID   int        `json:"pid,omitempty"`
	// Job is what it proves now, since Proving.
	Job     string     `json:"job,omitempty"`
	Proving *time.Time `json:"proving_since,omitempty"`
	// Proofs and Failures are counted since the agent started, Restarts too.
	Proofs   uint64 `json:"proofs"`
	Failures uint64 `json:"failures"`
	Restarts uint64 `json:"restarts"`
	// SecondsPerProof is the mean of late, BusyShare from 0 to 1.
	SecondsPerProof *float64 `json:"seconds_per_proof,omitempty"`
	BusyShare       *float64 `json:"busy_share,omitempty"`
	MemoryBytes     *uint64  `json:"memory_bytes,omitempty"`
	// CPUs is a list such as 0-3,8.
	CPUs string   `json:"cpus,omitempty"`
	GPUs []string `json:"gpus,omitempty"`
}

// Change is what became of a command that changes something.
type Change struct {
	// Summary is one line for people, such as "drained 48 workers, 48 proofs delivered, 0 lost, 61.2 s".
	Summary string         `json:"summary"`
	Workers []WorkerChange `json:"workers,omitempty"`
	// Delivered and Lost are proofs that were under way.
	Delivered uint64  `json:"delivered"`
	Lost      uint64  `json:"lost"`
	Seconds   float64 `json:"seconds"`
	DryRun    bool    `json:"dry_run,omitempty"`
	// Warnings are what did not go as asked, though the command as a whole did.
	Warnings []string `json:"warnings,omitempty"`
}

// WorkerChange is what became of one worker.
type WorkerChange struct {
	Name string `json:"name"`
	// Outcome is its new state, by its name in snark-pool, section 4.
	Outcome string `json:"outcome"`
	Detail  string `json:"detail,omitempty"`
}

// Event is a transition of a worker, or something else that happened to the agent.
type Event struct {
	// Number counts from 1 since the agent started, without holes; [Ring] gives it.
	Number uint64    `json:"number"`
	At     time.Time `json:"at"`
	// Worker is empty for what is not about one.
	Worker string `json:"worker,omitempty"`
	Pool   string `json:"pool,omitempty"`
	// Kind is what happened: state, proof, gpu, command, …
	Kind string `json:"kind"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Cause says why.
	Cause string `json:"cause,omitempty"`
}

// LogLine is a line that a worker wrote.
type LogLine struct {
	At     time.Time `json:"at"`
	Worker string    `json:"worker"`
	// Stream is stdout or stderr.
	Stream string `json:"stream,omitempty"`
	Text   string `json:"text"`
}

// Record is one line of a stream: exactly one field is set, or none, which only says that the agent is still there.
type Record struct {
	Event *Event   `json:"event,omitempty"`
	Log   *LogLine `json:"log,omitempty"`
	// End is the last line. A stream without it was cut off on the way.
	End *End `json:"end,omitempty"`
}

// End says why a stream ended.
type End struct {
	// Missed is how many events had come by then that the reader was not sent because it was too slow: of all workers, selected or not.
	Missed uint64 `json:"missed,omitempty"`
	// Reason and Message are those of a [RefusedError]; empty when all was sent that was asked for.
	Reason  Reason `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// Identity is the answer to auth.
type Identity struct {
	// Agent is the agent's name.
	Agent string `json:"agent"`
	// ServerUUID names this run of the server; SequenceNumber is the next one of the key that asks.
	ServerUUID     string `json:"server_uuid"`
	SequenceNumber uint16 `json:"sequence_number"`
	// Name and Role are those of the caller.
	Name string `json:"name"`
	Role Role   `json:"role"`
}
