package trace

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Process is the part of a daemon that wrote a record. The zero value is the daemon itself.
type Process uint8

// The processes whose records a node logs (internal-trace, section 1).
const (
	Main Process = iota
	Prover
	Verifier
	processes = 3
)

// ParseProcess reads the process of an entry of the node's log, which is empty for the daemon itself, "prover" or "verifier". It returns
// [ErrProcess] for any other; "main" is read too, as [Process.String] writes it.
func ParseProcess(name string) (Process, error) {
	switch name {
	case "", "main":
		return Main, nil
	case "prover":
		return Prover, nil
	case "verifier":
		return Verifier, nil
	}
	return 0, fmt.Errorf("%w %.40q", ErrProcess, name)
}

// String returns main, prover or verifier.
func (p Process) String() string {
	switch p {
	case Main:
		return "main"
	case Prover:
		return "prover"
	case Verifier:
		return "verifier"
	}
	return "process " + strconv.Itoa(int(p))
}

// Letter returns M, P or V, as the column source of table block_trace_checkpoint has it (internal-trace, section 6.1).
func (p Process) Letter() string {
	switch p {
	case Main:
		return "M"
	case Prover:
		return "P"
	case Verifier:
		return "V"
	}
	return "?"
}

// Errors that say why a line or an entry is not a record.
var (
	ErrProcess     = errors.New("unknown process")
	ErrNotRecord   = errors.New("not a trace record")
	ErrTime        = errors.New("time is not in the years 1970 to 9999")
	ErrName        = errors.New("name is empty or longer than 256 bytes")
	ErrLineTooLong = errors.New("line is too long")
	ErrValue       = errors.New("value that no database takes")
)

const (
	maxName = 256          // bytes of a checkpoint's name, a tag or a block id; real ones have fewer than 60
	maxTime = 253402300800 // the year 10000, which neither JSON times nor readers of databases cope with
)

// Item is one key and value of a control record.
type Item struct {
	Key   string
	Value json.RawMessage // valid JSON without space between values and without what PostgreSQL's jsonb refuses
}

// Record is one line of a trace, a checkpoint or a control record (internal-trace, section 2). Make it with [DecodeLine], [NewCheckpoint] or
// [NewControl], which see to it that its values are sound.
type Record struct {
	Process    Process
	ID         int64   // the node's log id or the line's number, whichever its source has; handed through to rows
	Checkpoint string  // empty for a control record
	Time       float64 // of a checkpoint, seconds since 1970
	Control    []Item  // of a control record, in the order they came
}

// NewCheckpoint makes a record of a checkpoint in the node's log. Times there have whole microseconds. NUL and invalid UTF-8 in the name
// become U+FFFD. It returns [ErrName] or [ErrTime].
func NewCheckpoint(process Process, id int64, name string, at time.Time) (Record, error) {
	record := Record{Process: process, ID: id, Checkpoint: cleanText(name), Time: float64(at.UnixMicro()) / 1e6}
	if err := checkName(record.Checkpoint); err != nil {
		return Record{}, err
	}
	return record, checkTime(record.Time)
}

// NewControl makes a record of a control entry in the node's log, whose message is "@control" and whose metadata are the items. Values
// must be JSON; what PostgreSQL's jsonb refuses in strings (NUL, invalid UTF-8, half a surrogate pair) becomes U+FFFD, so that nothing
// else of the entry is lost. It returns [ErrNotRecord] without items or for a value that is not JSON, [ErrValue] for numbers and nesting
// that databases refuse.
func NewControl(process Process, id int64, items []Item) (Record, error) {
	if len(items) == 0 {
		return Record{}, fmt.Errorf("%w: control without items", ErrNotRecord)
	}
	record := Record{Process: process, ID: id, Control: make([]Item, len(items))}
	for i, item := range items {
		if !json.Valid(item.Value) {
			return Record{}, fmt.Errorf("%w: value of %.40q is not JSON", ErrNotRecord, item.Key)
		}
		value, err := cleanJSON(item.Value)
		if err != nil {
			return Record{}, fmt.Errorf("%.40q: %w", item.Key, err)
		}
		record.Control[i] = Item{Key: cleanText(item.Key), Value: value}
	}
	return record, nil
}

// DecodeLine reads one line of a trace file; it keeps nothing of line. Times may be floating or integer. Repairs and errors are those of
// [NewCheckpoint] and [NewControl]; [ErrNotRecord] is also for what is neither a pair of name and time nor an object.
func DecodeLine(process Process, line []byte) (Record, error) {
	if !json.Valid(line) {
		return Record{}, fmt.Errorf("%w: not one JSON value", ErrNotRecord)
	}
	text, err := cleanJSON(slices.Clone(line))
	if err != nil {
		return Record{}, err
	}
	switch text[0] {
	case '[':
		return decodeCheckpoint(process, text)
	case '{':
		record := Record{Process: process, Control: make([]Item, 0, 2)}
		for key, value := range members(text) {
			record.Control = append(record.Control, Item{Key: key, Value: value})
		}
		if len(record.Control) == 0 {
			return Record{}, fmt.Errorf("%w: empty object", ErrNotRecord)
		}
		return record, nil
	}
	return Record{}, fmt.Errorf("%w: neither a list nor an object", ErrNotRecord)
}

func decodeCheckpoint(process Process, text []byte) (Record, error) {
	var pair [2]json.RawMessage
	count := 0
	for value := range elements(text) {
		if count < 2 {
			pair[count] = value
		}
		count++
	}
	if count != 2 {
		return Record{}, fmt.Errorf("%w: a list of %d values where name and time are expected", ErrNotRecord, count)
	}
	name, isText := textOf(pair[0])
	if !isText {
		return Record{}, fmt.Errorf("%w: checkpoint's name is no string", ErrNotRecord)
	}
	if err := checkName(name); err != nil {
		return Record{}, err
	}
	at, err := strconv.ParseFloat(string(pair[1]), 64) // JSON's numbers are a part of Go's; strings keep their quotes and fail
	if err != nil {
		return Record{}, fmt.Errorf("%w: time of checkpoint %q is no number", ErrNotRecord, name)
	}
	return Record{Process: process, Checkpoint: name, Time: at}, checkTime(at)
}

// AppendLine appends the record to dst as the line that a node writes, without a newline: times always have a decimal point, keys stand in
// alphabetical order (log-fetcher, section 5).
func (r Record) AppendLine(dst []byte) []byte {
	if r.Checkpoint != "" {
		dst = append(dst, '[')
		dst = appendString(dst, r.Checkpoint)
		dst = append(dst, ',')
		start := len(dst)
		dst = strconv.AppendFloat(dst, r.Time, 'f', -1, 64)
		if !slices.Contains(dst[start:], '.') {
			dst = append(dst, ".0"...)
		}
		return append(dst, ']')
	}
	items := slices.Clone(r.Control)
	slices.SortStableFunc(items, func(a, b Item) int { return strings.Compare(a.Key, b.Key) })
	dst = append(dst, '{')
	for i, item := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, item.Key), ':')
		dst = append(dst, item.Value...)
	}
	return append(dst, '}')
}

// Value returns the record's control value of a key, the last where a key stands twice, and nil where there is none.
func (r Record) Value(key string) json.RawMessage {
	for _, item := range slices.Backward(r.Control) {
		if item.Key == key {
			return item.Value
		}
	}
	return nil
}

func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return ErrName
	}
	return nil
}

func checkTime(at float64) error {
	if math.IsNaN(at) || at < 0 || at >= maxTime {
		return fmt.Errorf("%w: %g", ErrTime, at)
	}
	return nil
}
