// Package record is what is written down of a run, and how it is read again.
//
// A run's outputs are lines of JSON on standard output, in the shape that today's readers know (orchestrator-scripts, section 1.2):
//
//	{"time":"2024-05-01T10:00:00.123456789Z","step":5,"name":"participant","multi":true,"value":"10.0.0.1:3086"}
//
// What else must be known to finish, undo or repeat a run (intents, receipts, finished steps, the end) is a line of the same shape, with
// a name that begins with "_" and multi true. The same lines go to a record file, which is flushed to disk before each call that leaves
// something behind: either is enough to undo or resume the run (script-language, section 5).
package record

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Line is one line of a record.
type Line struct {
	// Time is the wall time of writing, in UTC.
	Time time.Time `json:"time"`
	// Step is the number of the step, or -1 for what belongs to the run as a whole.
	Step int `json:"step"`
	// ID is the step's name, where it has one.
	ID string `json:"id,omitempty"`
	// Action is the action of the step.
	Action string `json:"action,omitempty"`
	// Name is the name of the output, or of what is recorded beside outputs: then it begins with "_".
	Name string `json:"name"`
	// Multi marks an element of a list output.
	Multi bool `json:"multi,omitempty"`
	// Value is the output, or the element.
	Value json.RawMessage `json:"value"`
}

// append appends the line's text, as encoding/json would write it: a script of many steps is mostly lines.
func (l Line) append(text []byte) ([]byte, error) {
	text = append(text, `{"time":"`...)
	text = l.Time.UTC().AppendFormat(text, time.RFC3339Nano)
	text = append(text, `","step":`...)
	text = strconv.AppendInt(text, int64(l.Step), 10)
	for _, field := range []struct{ key, value string }{{"id", l.ID}, {"action", l.Action}, {"name", l.Name}} {
		if field.value == "" && field.key != "name" {
			continue
		}
		text = append(append(append(text, `,"`...), field.key...), `":`...)
		if plain(field.value) {
			text = append(append(append(text, '"'), field.value...), '"')
			continue
		}
		quoted, err := json.Marshal(field.value)
		if err != nil {
			return nil, err //nolint:wrapcheck // the caller says what
		}
		text = append(text, quoted...)
	}
	if l.Multi {
		text = append(text, `,"multi":true`...)
	}
	text = append(text, `,"value":`...)
	if l.Value == nil {
		return append(text, "null}\n"...), nil
	}
	if len(l.Value) > 2 && l.Value[0] == '"' && l.Value[len(l.Value)-1] == '"' && plain(string(l.Value[1:len(l.Value)-1])) {
		return append(append(text, l.Value...), "}\n"...), nil
	}
	compact := bytes.NewBuffer(text)
	if err := json.Compact(compact, l.Value); err != nil {
		return nil, err //nolint:wrapcheck // the caller says what
	}
	return append(compact.Bytes(), "}\n"...), nil
}

// plain reports whether a text stands in JSON as it is: names and addresses do.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

// Output reports whether the line is an output of a step, and not something recorded beside outputs.
func (l Line) Output() bool { return !strings.HasPrefix(l.Name, "_") }

// File is a record file: it can be flushed to disk.
type File interface {
	io.Writer
	Sync() error
}

// Writer writes a run's lines to standard output and to the record file. Safe for concurrent use.
type Writer struct {
	mu      sync.Mutex
	out     sink
	file    sink
	mask    func(string) string
	after   func(lines int)
	lines   int   // lines so far
	failure error // the first failure to write or flush; it stays

	flush    func() error // nil without a record file
	flushing sync.Mutex
	flushed  int // lines known to be on disk
}

// sink is one of the two places that lines are written to.
type sink struct {
	to     io.Writer // nil when there is none
	doing  string    // what an error says was being done
	failed bool
}

// NewWriter returns a writer to out and to file; either may be nil. mask hides secrets in the values of outputs before they are written: what is
// recorded beside them must be read again to the letter, and whoever writes that masks what others wrote. after,
// which may be nil, is called after each line with the number of lines so far; it must not call the writer.
func NewWriter(out io.Writer, file File, mask func(string) string, after func(lines int)) *Writer {
	w := &Writer{mask: mask, after: after, out: sink{to: out, doing: "write to standard output"}, file: sink{doing: "write the record file"}}
	if file != nil {
		w.file.to, w.flush = file, file.Sync
	}
	return w
}

// Write writes the lines in one piece, first to the record file. An error is remembered ([Writer.Err]), and does not keep the lines
// from the other of the two. The one that failed gets nothing more: what it holds may end in a line that was cut off, and only at the end
// can [Read] forgive that.
func (w *Writer) Write(lines ...Line) error {
	const usual = 160
	text := make([]byte, 0, usual*len(lines))
	for _, l := range lines {
		if l.Output() && len(l.Value) > 0 {
			l.Value = json.RawMessage(w.mask(string(l.Value)))
		}
		var err error
		if text, err = l.append(text); err != nil {
			return fmt.Errorf("record %s of step %d: %w", l.Name, l.Step, err)
		}
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range []*sink{&w.file, &w.out} {
		if s.to == nil || s.failed {
			continue
		}
		if _, err := s.to.Write(text); err != nil {
			s.failed = true
			w.failure = cmp.Or(w.failure, fmt.Errorf("%s: %w", s.doing, err))
		}
	}
	for range lines {
		w.lines++
		if w.after != nil {
			w.after(w.lines)
		}
	}
	return w.failure
}

// Flush makes sure that what was written is on disk before it returns. Calls at the same time share one flush. A failure is remembered,
// and no flush is tried again after it: the system may have dropped what it could not write, and would then report success.
func (w *Writer) Flush() error {
	need, err := w.state()
	if err != nil || w.flush == nil {
		return err
	}
	w.flushing.Lock()
	defer w.flushing.Unlock()
	written, err := w.state()
	if err != nil || w.flushed >= need {
		return err
	}
	// A pipe or a terminal has no disk to flush to, and says so with EINVAL or ENOTSUP.
	if err := w.flush(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.failure = cmp.Or(w.failure, fmt.Errorf("flush the record file: %w", err))
		return w.failure
	}
	w.flushed = written
	return nil
}

// Kept reports whether the record file has everything that was written so far, whatever became of standard output.
func (w *Writer) Kept() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.file.to != nil && !w.file.failed
}

// Err returns the first failure to write or to flush.
func (w *Writer) Err() error {
	_, err := w.state()
	return err
}

// state returns how many lines were written so far, and the first failure.
func (w *Writer) state() (lines int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lines, w.failure
}

// ErrNoRecord says that a file holds no line of a record at all.
var ErrNoRecord = errors.New("no record of a run")

// maxLine bounds one line of a record that is read.
const maxLine = 64 << 20

// Read calls each with every line of a record in order. A last line that was cut off is ignored, as a killed run may leave one. Anything
// else that is no line of a record is an error with its line number; a file with no line is [ErrNoRecord].
//
// whole is how many bytes stand in lines that a newline ends, up to the line of the error when there is one: behind them something may be
// added.
func Read(name string, r io.Reader, each func(Line) error) (whole int64, err error) {
	lines := bufio.NewReaderSize(r, 1<<16)
	found := false
	var text []byte
	for number := 1; ; number++ {
		text, err = readLine(lines, text[:0])
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return whole, fmt.Errorf("read %s, line %d: %w", name, number, err)
		}
		if len(bytes.TrimSpace(text)) > 0 {
			line, err := parse(text)
			switch {
			case err != nil && last: // it was cut off
			case err != nil:
				return whole, fmt.Errorf("%s, line %d, is no line of a record: %w", name, number, err)
			default:
				found = true
				if err := each(line); err != nil {
					return whole, fmt.Errorf("%s, line %d: %w", name, number, err)
				}
			}
		}
		if last {
			break
		}
		whole += int64(len(text))
	}
	if !found {
		return whole, fmt.Errorf("%s: %w", name, ErrNoRecord)
	}
	return whole, nil
}

func parse(text []byte) (Line, error) {
	var line Line
	err := json.Unmarshal(text, &line)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		return Line{}, errors.New("it is JSON of another shape")
	case err != nil:
		return Line{}, err //nolint:wrapcheck // the caller says where
	case line.Name == "":
		return Line{}, errors.New("it has no name")
	case line.Value == nil:
		return Line{}, errors.New("it has no value")
	}
	return line, nil
}

// readLine appends the next line to text; with io.EOF when no newline ends it.
func readLine(r *bufio.Reader, text []byte) ([]byte, error) {
	for {
		piece, err := r.ReadSlice('\n')
		text = append(text, piece...)
		if len(text) > maxLine {
			return nil, fmt.Errorf("it is longer than %d MiB", maxLine>>20)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, err //nolint:wrapcheck // io.EOF or the reader's own error, which the caller wraps
		}
	}
}
