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
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	out     io.Writer
	file    File
	mask    func(string) string
	after   func(lines int)
	lines   int
	written int64 // lines written to the file
	failure error // the first failure to write or flush; it stays

	flushing sync.Mutex
	flushed  int64 // lines known to be on disk
}

// NewWriter returns a writer to out and to file; either may be nil. mask hides secrets in a line before it is written. after, which may be
// nil, is called after each line with the number of lines so far.
func NewWriter(out io.Writer, file File, mask func(string) string, after func(lines int)) *Writer {
	return &Writer{out: out, file: file, mask: mask, after: after}
}

// Write writes the lines in one piece, first to the record file. An error is remembered ([Writer.Err]), and does not keep the lines
// from the other of the two.
func (w *Writer) Write(lines ...Line) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	for _, l := range lines {
		if err := encoder.Encode(l); err != nil {
			return fmt.Errorf("record %s of step %d: %w", l.Name, l.Step, err)
		}
	}
	masked := []byte(w.mask(text.String()))

	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file != nil {
		if _, err := w.file.Write(masked); err != nil {
			w.fail(fmt.Errorf("write the record file: %w", err))
		}
		w.written += int64(len(lines))
	}
	if w.out != nil {
		if _, err := w.out.Write(masked); err != nil {
			w.fail(fmt.Errorf("write to standard output: %w", err))
		}
	}
	if w.after != nil {
		for range lines {
			w.lines++
			w.after(w.lines)
		}
	}
	return w.failure
}

// Flush makes sure that what was written is on disk before it returns. Calls at the same time share one flush.
func (w *Writer) Flush() error {
	w.mu.Lock()
	need, err := w.written, w.failure
	w.mu.Unlock()
	if err != nil || w.file == nil {
		return err
	}
	w.flushing.Lock()
	defer w.flushing.Unlock()
	if w.flushed >= need {
		return w.Err()
	}
	w.mu.Lock()
	now := w.written
	w.mu.Unlock()
	// A pipe or a terminal has no disk to flush to, and says so with EINVAL or ENOTSUP.
	if err := w.file.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.fail(fmt.Errorf("flush the record file: %w", err))
		return w.failure
	}
	w.flushed = now
	return nil
}

// Err returns the first failure to write or to flush.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

func (w *Writer) fail(err error) {
	if w.failure == nil {
		w.failure = err
	}
}

// ErrNoRecord says that a file holds no line of a record at all.
var ErrNoRecord = errors.New("no record of a run")

// maxLine bounds one line of a record that is read.
const maxLine = 64 << 20

// Read calls each with every line of a record in order. A last line that was cut off is ignored, as a killed run may leave one; whole is
// how many bytes stand before it. Anything else that is no line of a record is an error with its line number; a file with no line is
// ErrNoRecord.
func Read(name string, r io.Reader, each func(Line) error) (whole int64, err error) {
	lines := bufio.NewReaderSize(r, 1<<16)
	found := false
	for number := 1; ; number++ {
		text, err := readLine(lines)
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return whole, fmt.Errorf("read %s, line %d: %w", name, number, err)
		}
		var line Line
		switch broken := json.Unmarshal(text, &line); {
		case len(bytes.TrimSpace(text)) == 0:
		case last: // no newline ends it: it was cut off, perhaps just there
		case broken != nil:
			return whole, fmt.Errorf("%s, line %d, is no line of a record: %w", name, number, broken)
		case line.Name == "":
			return whole, fmt.Errorf("%s, line %d, is no line of a record: it has no name", name, number)
		default:
			found = true
			if err := each(line); err != nil {
				return whole, fmt.Errorf("%s, line %d: %w", name, number, err)
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

// readLine returns the next line; with io.EOF when no newline ends it.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		piece, err := r.ReadSlice('\n')
		line = append(line, piece...)
		if len(line) > maxLine {
			return nil, fmt.Errorf("a line of over %d MiB", maxLine>>20)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err //nolint:wrapcheck // io.EOF or the reader's own error, which the caller wraps
		}
	}
}
