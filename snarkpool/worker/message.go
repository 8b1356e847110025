package worker

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// Protocol is the version of the protocol that this package speaks; [Hello] carries it.
const Protocol = 1

// MaxLineBytes is the longest line either side may send, its newline not counted: 1 MiB, many times the largest proof known here (a Kimchi
// proof of o1js is about 30 KiB).
const MaxLineBytes = 1 << 20

const maxNameBytes = 256

// Message is one line of the protocol: [Hello], [Job], [Started], [Proof], [Failed] or [Bye].
type Message interface {
	typeName() string
	check() error
}

// Hello is the worker's first line: who it is and which proofs it makes.
type Hello struct {
	// Protocol is the version spoken, [Protocol].
	Protocol int `json:"protocol"`
	// Kind names the sort of proofs, for example gnark-mimc; the ledger leases jobs by kind.
	Kind string `json:"kind"`
	// VerifyingKey is the SHA-256 of the verifying key, in lower-case hex: proofs are accepted for this key only.
	VerifyingKey string `json:"verifying_key"`
	// Threads is how many threads the prover uses, at least 1.
	Threads int `json:"threads"`
	// PID is the worker's process id.
	PID int `json:"pid"`
}

// Job asks for one proof.
type Job struct {
	// ID names the job in the ledger.
	ID string `json:"id"`
	// Attempt counts the tries at this job, from 1.
	Attempt int `json:"attempt"`
	// Lease is the epoch of the lease under which the job was given out; the worker need not understand it.
	Lease int64 `json:"lease"`
	// Statement is what is to be proved: one JSON value that the prover of this kind understands.
	Statement json.RawMessage `json:"statement"`
}

// Started says that the worker has begun with a job.
type Started struct {
	Job     string `json:"job"`
	Attempt int    `json:"attempt"`
}

// Proof delivers the proof of a job. It is a claim until a verifier has accepted it.
type Proof struct {
	Job     string `json:"job"`
	Attempt int    `json:"attempt"`
	// Proof holds the proof's bytes; base64 on the wire.
	Proof []byte `json:"proof"`
	// Seconds is how long the worker says the proving took, waiting not included.
	Seconds float64 `json:"seconds"`
}

// Failed says that a job gave no proof; the worker is ready for the next one.
type Failed struct {
	Job     string `json:"job"`
	Attempt int    `json:"attempt"`
	Reason  string `json:"reason"`
}

// Bye ends the conversation. From the agent: finish the job that is out, then leave. From the worker: nothing follows.
type Bye struct {
	// Reason is for people; it may be empty.
	Reason string `json:"reason,omitempty"`
}

func (Hello) typeName() string   { return "hello" }
func (Job) typeName() string     { return "job" }
func (Started) typeName() string { return "started" }
func (Proof) typeName() string   { return "proof" }
func (Failed) typeName() string  { return "failed" }
func (Bye) typeName() string     { return "bye" }

func (h Hello) check() error {
	if h.Protocol != Protocol {
		return fmt.Errorf("speaks protocol %d, not %d: use a worker and an agent of the same release", h.Protocol, Protocol)
	}
	if err := checkName("kind", h.Kind); err != nil {
		return err
	}
	if err := CheckDigest(h.VerifyingKey); err != nil {
		return fmt.Errorf("verifying_key: %w", err)
	}
	if h.Threads < 1 || h.PID < 1 {
		return errors.New("threads and pid must be at least 1")
	}
	return nil
}

func (j Job) check() error {
	if len(j.Statement) == 0 || bytes.Equal(j.Statement, []byte("null")) {
		return errors.New("no statement")
	}
	return checkJob(j.ID, j.Attempt)
}

func (s Started) check() error { return checkJob(s.Job, s.Attempt) }

func (p Proof) check() error {
	if len(p.Proof) == 0 {
		return errors.New("an empty proof")
	}
	if p.Seconds < 0 || math.IsInf(p.Seconds, 0) || math.IsNaN(p.Seconds) {
		return errors.New("seconds must be a time, not negative")
	}
	return checkJob(p.Job, p.Attempt)
}

func (f Failed) check() error {
	if f.Reason == "" {
		return errors.New("no reason")
	}
	return checkJob(f.Job, f.Attempt)
}

func (Bye) check() error { return nil }

func checkJob(id string, attempt int) error {
	if attempt < 1 {
		return errors.New("attempts count from 1")
	}
	return checkName("job", id)
}

func checkName(what, name string) error {
	if name == "" || len(name) > maxNameBytes {
		return fmt.Errorf("%s must have 1 to %d bytes", what, maxNameBytes)
	}
	return nil
}

// CheckDigest returns an error unless digest is a SHA-256 in lower-case hex, which is how a verifying key is named everywhere in the pool.
func CheckDigest(digest string) error {
	sum, err := hex.DecodeString(digest)
	if err != nil || len(sum) != 32 || hex.EncodeToString(sum) != digest {
		return errors.New("not a SHA-256 in lower-case hex")
	}
	return nil
}

// Append appends m as one line, newline included, to dst. A message that breaks a rule of the protocol, or whose line would be longer than
// [MaxLineBytes], is an error: nothing is sent that the other side would refuse.
func Append(dst []byte, m Message) ([]byte, error) {
	if err := m.check(); err != nil {
		return dst, fmt.Errorf("write %s: %w", m.typeName(), err)
	}
	body, err := json.Marshal(m)
	if err != nil {
		return dst, fmt.Errorf("write %s: %w", m.typeName(), err)
	}
	head := `{"type":"` + m.typeName() + `"`
	if len(head)+len(body) > MaxLineBytes {
		return dst, fmt.Errorf("write %s: %w", m.typeName(), ErrLineTooLong)
	}
	dst = append(dst, head...)
	if len(body) > len("{}") {
		dst = append(dst, ',')
	}
	dst = append(dst, body[1:]...)
	return append(dst, '\n'), nil
}

// Parse reads one line, without its newline. Unknown types and fields, trailing data and values out of range are errors of type
// [*ProtocolError].
func Parse(line []byte) (Message, error) {
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, &ProtocolError{Line: excerpt(line), Err: fmt.Errorf("not a JSON object: %w", err)}
	}
	m, err := parseAs(head.Type, line)
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return nil, &ProtocolError{Line: excerpt(line), Err: err}
	}
	return m, nil
}

func parseAs(name string, line []byte) (Message, error) {
	switch name {
	case Hello{}.typeName():
		return strict[Hello](line)
	case Job{}.typeName():
		return strict[Job](line)
	case Started{}.typeName():
		return strict[Started](line)
	case Proof{}.typeName():
		return strict[Proof](line)
	case Failed{}.typeName():
		return strict[Failed](line)
	case Bye{}.typeName():
		return strict[Bye](line)
	default:
		return nil, fmt.Errorf("unknown type %q", name)
	}
}

// strict decodes a line into its type, the field "type" apart.
func strict[M Message](line []byte) (M, error) {
	// The fields of an embedded type parameter cannot be promoted, so the line is read as the message after its type was cut from the map
	// of fields; unknown names remain in sight that way.
	var m M
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil {
		return m, err
	}
	delete(fields, "type")
	rest, err := json.Marshal(fields)
	if err != nil {
		return m, err
	}
	decoder := json.NewDecoder(bytes.NewReader(rest))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil {
		return m, err
	}
	return m, nil
}

// ErrLineTooLong says that a line is longer than [MaxLineBytes].
var ErrLineTooLong = errors.New("line longer than 1 MiB")

// ProtocolError says that the other side broke the protocol. The stream cannot be trusted any longer: end the worker.
type ProtocolError struct {
	// Line is the beginning of the offending line, at most 128 bytes; empty where the stream itself was at fault.
	Line string
	// Err says what is wrong.
	Err error
}

func (e *ProtocolError) Error() string {
	if e.Line == "" {
		return fmt.Sprintf("protocol broken: %v", e.Err)
	}
	return fmt.Sprintf("protocol broken by line %q: %v", e.Line, e.Err)
}

func (e *ProtocolError) Unwrap() error { return e.Err }

func excerpt(line []byte) string {
	const most = 128
	if len(line) > most {
		return string(line[:most]) + "…"
	}
	return string(line)
}

// Decoder cuts a stream of bytes into lines and reads them. The zero value is ready. How the bytes were cut on their way does not matter.
// It is not safe for concurrent use.
type Decoder struct {
	held []byte
	err  error
}

// Feed takes the next bytes of the stream and returns the messages that they complete. After an error, always a [*ProtocolError], it takes
// nothing more; the messages before the offending line are still returned.
func (d *Decoder) Feed(p []byte) ([]Message, error) {
	var messages []Message
	for d.err == nil && len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		piece := p
		if end >= 0 {
			piece = p[:end]
		}
		if len(d.held)+len(piece) > MaxLineBytes {
			d.fail(ErrLineTooLong)
			break
		}
		if end < 0 {
			d.held = append(d.held, p...)
			break
		}
		line := piece
		if len(d.held) > 0 {
			line = append(d.held, piece...)
			d.held = line[:0]
		}
		p = p[end+1:]
		m, err := Parse(line)
		if err != nil {
			d.err, d.held = err, nil
			break
		}
		messages = append(messages, m)
	}
	return messages, d.err
}

// End says that the stream is over. It returns an error that wraps [io.ErrUnexpectedEOF] if a line was cut off in the middle, the error of
// Feed if there was one, and nil otherwise.
func (d *Decoder) End() error {
	if d.err == nil && len(d.held) > 0 {
		d.fail(fmt.Errorf("the stream ended inside a line: %w", io.ErrUnexpectedEOF))
	}
	return d.err
}

func (d *Decoder) fail(err error) {
	d.err = &ProtocolError{Line: excerpt(d.held), Err: err}
	d.held = nil
}
