package trace

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
)

// Metadata is a JSON object by its keys; nil is written as the empty object.
type Metadata map[string]json.RawMessage

// MarshalJSON writes an object, with its keys in alphabetical order.
func (m Metadata) MarshalJSON() ([]byte, error) {
	if m == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]json.RawMessage(m))
}

// Info is a block in the answer to blockTraces (internal-trace, section 5). Numbers that are not known are 0 there and StartedAt is −1.
type Info struct {
	Source           Source   `json:"source"`
	DeploymentID     int64    `json:"deployment_id"`
	BlockchainLength int64    `json:"blockchain_length"`
	GlobalSlot       int64    `json:"global_slot"`
	StateHash        string   `json:"state_hash"`
	Status           Status   `json:"status"`
	StartedAt        float64  `json:"started_at"` // seconds since 1970
	TotalTime        float64  `json:"total_time"` // seconds
	Metadata         Metadata `json:"metadata"`   // without diff_log, which is large
}

// FlatTrace is the answer to blockTrace. Both lists are in the order of time.
type FlatTrace struct {
	Source           Source   `json:"source"`
	DeploymentID     int64    `json:"deployment_id"`
	BlockchainLength int64    `json:"blockchain_length"`
	GlobalSlot       int64    `json:"global_slot"`
	Status           Status   `json:"status"`
	TotalTime        float64  `json:"total_time"`
	Metadata         Metadata `json:"metadata"`
	Checkpoints      []Entry  `json:"checkpoints"`
	OtherCheckpoints []Entry  `json:"other_checkpoints"` // of repeated processing, and after success
}

// Entry is a checkpoint of a trace as people look at it.
type Entry struct {
	Checkpoint string   `json:"checkpoint"`
	StartedAt  float64  `json:"started_at"` // seconds since 1970
	Duration   float64  `json:"duration"`   // seconds until the next one of the list
	Metadata   Metadata `json:"metadata"`
}

// StructuredTrace is the answer to blockStructuredTrace.
type StructuredTrace struct {
	Source           Source    `json:"source"`
	DeploymentID     int64     `json:"deployment_id"`
	BlockchainLength int64     `json:"blockchain_length"`
	GlobalSlot       int64     `json:"global_slot"`
	Sections         []Section `json:"sections"` // one, with the title All
	Status           Status    `json:"status"`
	TotalTime        float64   `json:"total_time"`
	Metadata         Metadata  `json:"metadata"`
}

// Section is a part of a structured trace.
type Section struct {
	Title       string  `json:"title"`
	Checkpoints []*Node `json:"checkpoints"`
}

// Node is a checkpoint with those that happened within it. Its duration is the seconds until its next sibling, or the end of its parent.
type Node struct {
	Entry
	Checkpoints []*Node `json:"checkpoints"`

	at float64 // start for reckoning; another than StartedAt only where an entry was moved
}

// NewInfo makes the entry of a trace in a list.
func NewInfo(t Trace, deployment int64, metadata Metadata) Info {
	started := -1.0
	if t.Timed {
		started = t.Started
	}
	metadata = maps.Clone(metadata)
	delete(metadata, "diff_log")
	return Info{
		Source: t.Source, DeploymentID: deployment, BlockchainLength: orZero(t.Length), GlobalSlot: orZero(t.GlobalSlot), StateHash: t.Block,
		Status: t.Status, StartedAt: started, TotalTime: t.Total(), Metadata: metadata,
	}
}

// Flat makes the flat trace of a block from its rows, which may come in any order; those of gossip are left out.
func Flat(t Trace, deployment int64, metadata Metadata, rows []Row) FlatTrace {
	main, other := lists(t, rows)
	return FlatTrace{
		Source: t.Source, DeploymentID: deployment, BlockchainLength: orZero(t.Length), GlobalSlot: orZero(t.GlobalSlot),
		Status: t.Status, TotalTime: t.Total(), Metadata: metadata, Checkpoints: main, OtherCheckpoints: other,
	}
}

// Structured makes the structured trace of a block from its rows, which may come in any order; those of gossip are left out. An unfinished
// or empty trace is structured as far as it goes.
func (n *Nesting) Structured(t Trace, deployment int64, metadata Metadata, rows []Row) StructuredTrace {
	main, _ := lists(t, rows)
	var end float64
	if len(main) > 0 {
		end = main[len(main)-1].StartedAt
	}
	accepted := acceptedAt(t, main)
	if accepted >= 0 {
		entry := main[accepted]
		main = slices.Insert(slices.Delete(main, accepted, accepted+1), len(main)-2, entry)
	}
	nodes := n.nest(main)
	if accepted >= 0 {
		moveTo(nodes, "Transition_accepted", end)
	}
	setDurations(nodes, end)
	return StructuredTrace{
		Source: t.Source, DeploymentID: deployment, BlockchainLength: orZero(t.Length), GlobalSlot: orZero(t.GlobalSlot),
		Sections: []Section{{Title: "All", Checkpoints: nodes}}, Status: t.Status, TotalTime: t.Total(), Metadata: metadata,
	}
}

// acceptedAt returns where a produced and finished block has the Transition_accepted that older daemons emit too early: it belongs just
// before the last entry. Present daemons emit none, which is no failure: −1.
func acceptedAt(t Trace, main []Entry) int {
	if t.Source != Internal || t.Status != Success {
		return -1
	}
	i := slices.IndexFunc(main, func(e Entry) bool { return e.Checkpoint == "Transition_accepted" })
	if i >= len(main)-2 {
		return -1
	}
	return i
}

func moveTo(nodes []*Node, checkpoint string, at float64) {
	for _, node := range nodes {
		if node.Checkpoint == checkpoint {
			node.at = at
		}
	}
}

// rowKey identifies a row among those of one Reader.
type rowKey struct {
	process Process
	seq     int64
}

// lists sorts the checkpoints of a block into its main trace and all others.
func lists(t Trace, rows []Row) (main, other []Entry) {
	rows = slices.SortedFunc(slices.Values(rows), compareRows)
	metadata := map[rowKey]Metadata{}
	for _, row := range rows { // those of one checkpoint in the node's order, so that newer keys win
		if !row.Control || row.Gossip || row.Name != "metadata" || row.Of == 0 {
			continue
		}
		var object Metadata // databases write JSON with spaces, so that members will not do
		if err := json.Unmarshal(row.Metadata, &object); err != nil {
			continue // no object: it stays with its row
		}
		if key := (rowKey{row.Process, row.Of}); metadata[key] == nil {
			metadata[key] = object
		} else {
			maps.Copy(metadata[key], object)
		}
	}
	main, other = []Entry{}, []Entry{}
	succeeded := false
	for _, row := range rows {
		if row.Control || row.Gossip {
			continue
		}
		entry := Entry{Checkpoint: row.Name, StartedAt: row.Time, Metadata: metadata[rowKey{row.Process, row.Seq}]}
		if row.Main && !succeeded && (t.Status != Success || row.Time <= t.Completed) {
			main = append(main, entry)
			succeeded = t.Status == Success && row.Name == "Breadcrumb_integrated" && row.Process == Main
		} else {
			other = append(other, entry)
		}
	}
	setFlatDurations(main)
	setFlatDurations(other)
	return main, other
}

// compareRows orders by time; what has the same time stays in the daemon's order, with the rows of jobs right after their parents.
func compareRows(a, b Row) int {
	place := func(r Row) int64 {
		if r.Process == Main {
			return r.Seq
		}
		return r.After
	}
	return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(place(a), place(b)), cmp.Compare(a.Process, b.Process), cmp.Compare(a.Seq, b.Seq))
}

func setFlatDurations(list []Entry) {
	for i := range len(list) - 1 {
		list[i].Duration = list[i+1].StartedAt - list[i].StartedAt
	}
}

func orZero(number *int64) int64 {
	if number == nil {
		return 0
	}
	return *number
}
