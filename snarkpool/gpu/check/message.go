package check

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// The types of messages.
const (
	TypeTask       = "task"
	TypeCommitment = "commitment"
	TypeChallenge  = "challenge"
	TypeProducts   = "products"
	TypeRow        = "row"
	TypeFailed     = "failed"
	TypeBye        = "bye"
)

// Task is the agent's first message.
type Task struct {
	Type     string `json:"type"`
	Protocol int    `json:"protocol"`
	Seed     string `json:"seed"`
	Shape
	// MemoryBytes is what the three matrices take, which the checker holds until bye. It follows from the shape, and is for the reader.
	MemoryBytes uint64 `json:"memory_bytes"`
}

// Challenge is the agent's second message.
type Challenge struct {
	Type   string   `json:"type"`
	Vector string   `json:"vector"`
	Rows   []uint64 `json:"rows"`
}

// Bye is the agent's last message.
type Bye struct {
	Type string `json:"type"`
}

// Answer is a checker's message: a commitment (Root), products (Values), a row (Index, Values, Path) or its failure (Reason).
type Answer struct {
	Type   string   `json:"type"`
	Root   string   `json:"root,omitempty"`
	Index  *uint64  `json:"index,omitempty"`
	Values string   `json:"values,omitempty"`
	Path   []string `json:"path,omitempty"`
	Reason string   `json:"reason,omitempty"`
}

// Products makes the message of C·r.
func Products(values []uint64) Answer {
	content := make([]byte, 0, 8*len(values))
	for _, value := range values {
		content = binary.LittleEndian.AppendUint64(content, value)
	}
	return Answer{Type: TypeProducts, Values: base64.StdEncoding.EncodeToString(content)}
}

// Row makes the message of one row of C, whose entries are 4 bytes each.
func Row(index uint64, row []byte, path []Hash) Answer {
	answer := Answer{Type: TypeRow, Index: &index, Values: base64.StdEncoding.EncodeToString(row), Path: make([]string, len(path))}
	for i, hash := range path {
		answer.Path[i] = hex.EncodeToString(hash[:])
	}
	return answer
}

// lineLimit bounds a checker's lines for a task: its longest are the products and a row.
func (s Shape) lineLimit() int {
	return 8192 + 2*int(max(8*s.Rows, 4*s.Columns))
}

// ErrLine is a line that is too long, or no message: unknown fields and more than one value are errors.
var ErrLine = errors.New("not a message of the check's protocol")

// ReadLine reads one line of at most limit bytes into message. It returns io.EOF at the end, and an error that is [ErrLine] for a line that
// breaks the protocol.
func ReadLine(in *bufio.Reader, limit int, message any) error {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > limit {
			return fmt.Errorf("a line of more than %d bytes: %w", limit, ErrLine)
		}
		if err == nil {
			break
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) && len(line) > 0 {
			return fmt.Errorf("a line that breaks off: %w", ErrLine)
		}
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(message); err != nil {
		return fmt.Errorf("%w: %w", ErrLine, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("more than one message in a line: %w", ErrLine)
	}
	return nil
}

// WriteLine writes one message as a line.
func WriteLine(out io.Writer, message any) error {
	content, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encoding a message of the check: %w", err)
	}
	if _, err := out.Write(append(content, '\n')); err != nil {
		return fmt.Errorf("writing a message of the check: %w", err)
	}
	return nil
}

// decodeHash reads 64 hexadecimal digits; false for anything else.
func decodeHash(text string) (Hash, bool) {
	content, err := hex.DecodeString(text)
	if err != nil || len(content) != len(Hash{}) {
		return Hash{}, false
	}
	return Hash(content), true
}
