package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

const stateVersion = 1

// ErrState is returned by [Import] for what is not the state of a Reader of this version.
var ErrState = errors.New("not a trace reader's state")

// state is all that a Reader remembers between records.
type state struct {
	Version int              `json:"version"`
	Records [processes]int64 `json:"records"` // fed so far
	Numbers int64            `json:"numbers"` // traces so far

	Block string        `json:"block"`
	Call  int64         `json:"call"`
	Tag   string        `json:"tag"`
	Open  []*traceState `json:"open"`
	Calls []*callState  `json:"calls"` // the most recently used first

	Previous float64            `json:"previous"` // time of the last main checkpoint
	Passed   float64            `json:"passed"`   // time that the main records have certainly passed
	Parents  [jobKinds][]parent `json:"parents"`

	JobCall  [processes]int64 `json:"job_call"` // current call of prover and verifier
	Jobs     []*job           `json:"jobs"`     // not ended yet
	Waiting  []*job           `json:"waiting"`  // for the main records to pass their start
	JobBytes int              `json:"job_bytes"`
}

type traceState struct {
	Trace
	Keys            []string         `json:"keys"`            // block ids that lead here
	First           map[string]int64 `json:"first,omitempty"` // by block id, separator, tag: first call with it
	HasTransactions bool             `json:"has_transactions,omitempty"`
	Transactions    json.RawMessage  `json:"transactions,omitempty"` // that wait for the trace's start
	Used            int64            `json:"used"`                   // main record that used it last
	UsedTime        float64          `json:"used_time"`              // time passed then
}

type callState struct {
	Block string          `json:"block"`
	Call  int64           `json:"call"`
	Last  checkpointState `json:"last,omitzero"`
	Work  checkpointState `json:"work,omitzero"` // last SNARK pool event
	Diff  checkpointState `json:"diff,omitzero"` // last transaction pool event
}

type checkpointState struct {
	Seq  int64   `json:"seq"` // 0 = there was none
	Main bool    `json:"main"`
	Name string  `json:"name"`
	Time float64 `json:"time"`
}

// Export returns the Reader's state as JSON, to be stored together with the rows that came of it. It is a few kilobytes for a node in
// normal work and bounded by [Options].
func (r *Reader) Export() ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // values come back byte for byte
	if err := encoder.Encode(r.state); err != nil {
		return nil, fmt.Errorf("exporting the trace reader's state: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte{'\n'}), nil
}

// Import makes a Reader that goes on where [Reader.Export] was called; the state may have been in a jsonb column. It returns [ErrState] for a state that is damaged or of another version.
func Import(data []byte, options Options) (*Reader, error) {
	r := NewReader(options)
	r.state = state{}
	var compact bytes.Buffer // databases put spaces between values
	if err := json.Compact(&compact, data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := json.Unmarshal(compact.Bytes(), &r.state); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if r.state.Version != stateVersion {
		return nil, fmt.Errorf("%w: version %d, this program knows %d", ErrState, r.state.Version, stateVersion)
	}
	if r.state.Block == "" {
		return nil, fmt.Errorf("%w: no current block", ErrState)
	}
	for _, t := range r.state.Open {
		if t == nil || len(t.Keys) == 0 {
			return nil, fmt.Errorf("%w: trace without a block", ErrState)
		}
		for _, key := range t.Keys {
			r.blocks[key] = t
		}
	}
	for _, c := range r.state.Calls {
		if c == nil {
			return nil, fmt.Errorf("%w: empty call", ErrState)
		}
	}
	for _, jobs := range [][]*job{r.state.Jobs, r.state.Waiting} {
		for _, j := range jobs {
			if j == nil || j.Kind < 0 || j.Kind >= jobKinds || len(j.Rows) == 0 {
				return nil, fmt.Errorf("%w: damaged job", ErrState)
			}
		}
	}
	return r, nil
}
