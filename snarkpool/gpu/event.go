package gpu

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// EventKind is what sort of thing a GPU reports.
type EventKind string

// The kinds of events.
const (
	// KindXID is a fault that the driver numbered; Event.XID has the number.
	KindXID EventKind = "xid"
	// KindECC is an error of the GPU's memory that could not be corrected.
	KindECC EventKind = "ecc"
	// KindLost is a GPU that the driver cannot reach any more.
	KindLost EventKind = "lost"
	// KindUnwatched is a GPU whose faults the driver does not report: they show only in readings, checks and workers.
	KindUnwatched EventKind = "unwatched"
)

// Event is one report about a GPU.
type Event struct {
	// UUID is the GPU's, also where the fault struck one of its MIG parts; "" when the driver does not say which, and any may be meant.
	UUID string    `json:"uuid"`
	Kind EventKind `json:"kind"`
	// XID is the driver's number of the fault, for KindXID.
	XID    uint64 `json:"xid,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Class is what a fault means for the work on a GPU.
type Class string

// The classes, from the lightest to the gravest.
const (
	// Notice is a report after which nothing need be done, such as a row of memory replaced in time.
	Notice Class = "notice"
	// Application is an error of the program that ran: the worker is to blame, and the GPU is not.
	Application Class = "application"
	// RestartApplication is an error that spoilt what ran on the GPU: its workers are restarted, once it has passed a check.
	RestartApplication Class = "restart application"
	// FenceAndRecheck is an error after which the GPU is not to be trusted: no work until it has passed a check.
	FenceAndRecheck Class = "fence and re-check"
	// Gone is a GPU that needs hands: no work until an operator says so.
	Gone Class = "gone"
)

// Fault is what an event means.
type Fault struct {
	Class Class `json:"class"`
	// Cause says it in words, for people and for the record.
	Cause string `json:"cause"`
}

// XID is one row of the table of the driver's fault numbers.
type XID struct {
	Code uint64 `json:"code"`
	// Name is the driver's own name of the fault.
	Name  string `json:"name"`
	Class Class  `json:"class"`
	// Advice is the immediate action that NVIDIA's catalog names, for the reader; the class is what we make of it.
	Advice string `json:"advice,omitempty"`
	// Source says where the row is from.
	Source string `json:"source"`
}

// XIDTable classes the driver's fault numbers. It is immutable and safe for concurrent use; the zero value knows no code, and thus fences
// on every one.
type XIDTable struct {
	rows map[uint64]XID
}

//go:embed xid.json
var builtInXIDs []byte

// BuiltInXIDTable is the table that comes with the program, made from NVIDIA's public catalog; every row names its source.
func BuiltInXIDTable() (XIDTable, error) {
	return XIDTable{}.Override(builtInXIDs)
}

// Override returns the table with the rows of a JSON file added, or put in place of those with the same code:
//
//	{"xids": [{"code": 63, "name": "…", "class": "fence and re-check", "source": "our own experience with bm7"}]}
//
// Unknown fields and classes, a code given twice and a row without a name or source are errors, all reported together.
func (t XIDTable) Override(content []byte) (XIDTable, error) {
	var file struct {
		XIDs []XID `json:"xids"`
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return XIDTable{}, fmt.Errorf("reading a table of XIDs: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return XIDTable{}, errors.New("reading a table of XIDs: something follows the table")
	}
	result := XIDTable{rows: make(map[uint64]XID, len(t.rows)+len(file.XIDs))}
	maps.Copy(result.rows, t.rows)
	seen := make(map[uint64]bool, len(file.XIDs))
	var problems []error
	for _, row := range file.XIDs {
		if err := row.check(); err != nil {
			problems = append(problems, err)
		}
		if seen[row.Code] {
			problems = append(problems, fmt.Errorf("code %d is given twice", row.Code))
		}
		seen[row.Code] = true
		result.rows[row.Code] = row
	}
	if len(problems) > 0 {
		return XIDTable{}, fmt.Errorf("reading a table of XIDs: %w", errors.Join(problems...))
	}
	return result, nil
}

func (x XID) check() error {
	switch x.Class {
	case Notice, Application, RestartApplication, FenceAndRecheck, Gone:
	default:
		return fmt.Errorf("code %d: class %q is none of %q, %q, %q, %q, %q", x.Code, x.Class,
			Notice, Application, RestartApplication, FenceAndRecheck, Gone)
	}
	switch {
	case x.Code == 0:
		return errors.New("a row has no code")
	case x.Name == "":
		return fmt.Errorf("code %d has no name", x.Code)
	case x.Source == "":
		return fmt.Errorf("code %d does not say where its row is from", x.Code)
	}
	return nil
}

// Lookup returns the row of a code. A code that is not in the table fences, and its row has no source.
func (t XIDTable) Lookup(code uint64) XID {
	if row, ok := t.rows[code]; ok {
		return row
	}
	return XID{Code: code, Name: "unknown", Class: FenceAndRecheck}
}

// Rows are all rows, by ascending code.
func (t XIDTable) Rows() []XID {
	rows := make([]XID, 0, len(t.rows))
	for _, row := range t.rows {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b XID) int { return int(int64(a.Code) - int64(b.Code)) })
	return rows
}

// Fault says what an event means: its class by this table, and in words.
func (t XIDTable) Fault(event Event) Fault {
	switch event.Kind {
	case KindXID:
		row := t.Lookup(event.XID)
		cause := fmt.Sprintf("XID %d (%s)", row.Code, row.Name)
		if row.Source == "" {
			cause = fmt.Sprintf("XID %d, which is not in the table", row.Code)
		}
		return Fault{Class: row.Class, Cause: cause}
	case KindECC:
		return Fault{Class: FenceAndRecheck, Cause: "an uncorrectable memory error"}
	case KindLost:
		return Fault{Class: Gone, Cause: "the driver has lost the GPU"}
	case KindUnwatched:
		return Fault{Class: Notice, Cause: "the driver does not report this GPU's faults: " + event.Detail}
	default:
		return Fault{Class: FenceAndRecheck, Cause: fmt.Sprintf("an event of unknown kind %q", event.Kind)}
	}
}
