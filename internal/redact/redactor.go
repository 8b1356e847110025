package redact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	// minSecret is the least length, in bytes, of a value that is masked: shorter ones would mask half of every line.
	minSecret = 4

	// maskedSecret is shorter than any secret, so that masking over and over comes to an end.
	maskedSecret = "***"
)

// Redactor masks registered values besides what Text masks. The zero value knows none and is ready for use. It is safe for
// concurrent use, must not be copied, and shows none of its values when it is formatted.
type Redactor struct {
	mu      sync.RWMutex
	secrets []string // longest first, so that a secret inside another does not break it up
}

// Add registers a secret value, in the spellings in which it may be written: as it is, quoted as in JSON, and quoted as by
// %q. A value of several lines is also known by each line. What is shorter than 4 bytes is ignored.
func (r *Redactor) Add(secret string) {
	var spellings []string
	for _, part := range append(strings.Split(secret, "\n"), secret) {
		spellings = append(spellings, part, jsonSpelling(part, true), jsonSpelling(part, false), goSpelling(part))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, spelling := range spellings {
		if len(spelling) >= minSecret && !slices.Contains(r.secrets, spelling) {
			r.secrets = append(r.secrets, spelling)
		}
	}
	slices.SortStableFunc(r.secrets, func(a, b string) int { return len(b) - len(a) })
}

func jsonSpelling(text string, escapeHTML bool) string {
	var quoted bytes.Buffer
	encoder := json.NewEncoder(&quoted)
	encoder.SetEscapeHTML(escapeHTML)
	if err := encoder.Encode(text); err != nil {
		return text // a string always encodes
	}
	return unquote(strings.TrimSuffix(quoted.String(), "\n"))
}

func goSpelling(text string) string { return unquote(strconv.Quote(text)) }

func unquote(quoted string) string { return quoted[1 : len(quoted)-1] }

// Text masks text. No registered value is left in the result, and masking twice changes nothing more.
func (r *Redactor) Text(text string) string {
	text = Text(text)
	r.mu.RLock()
	defer r.mu.RUnlock()
	for again := true; again; {
		again = false
		for _, secret := range r.secrets {
			if strings.Contains(text, secret) {
				text = strings.ReplaceAll(text, secret, maskedSecret)
				again = true // a mask and its neighbours may happen to make another secret
			}
		}
	}
	return text
}

// String tells nothing of the registered values.
func (r *Redactor) String() string { return "redact.Redactor" }

// Format writes String whatever the verb.
func (r *Redactor) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, r.String()) }

// maxLine bounds the memory of a Writer, in bytes.
const maxLine = 1 << 20

const longLineNote = "(a line above 1 MiB is left out: it could not be searched for secrets)\n"

// Writer returns a writer that masks each line and passes it on to w in one Write. It holds an unfinished line back, so Close
// it in the end, which does not close w.
func (r *Redactor) Writer(w io.Writer) *Writer { return &Writer{redactor: r, sink: w} }

// Writer masks lines; see Redactor.Writer. Safe for concurrent use; lines of concurrent writers mix only where their writes
// are not whole lines.
type Writer struct {
	redactor *Redactor
	sink     io.Writer

	mu       sync.Mutex
	line     []byte // unfinished
	skipping bool   // the line is too long, its rest is dropped
}

// Write takes any piece of text. It reports all of p as written unless the underlying writer fails.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	written := 0
	for line := range bytes.Lines(p) {
		w.hold(line)
		if line[len(line)-1] == '\n' {
			if err := w.pass(); err != nil {
				return written, err
			}
		}
		written += len(line)
	}
	return written, nil
}

// Close passes on an unfinished line.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pass()
}

func (w *Writer) hold(piece []byte) {
	if w.skipping {
		return
	}
	if len(w.line)+len(piece) > maxLine {
		w.line, w.skipping = append(w.line[:0], longLineNote...), true
		return
	}
	w.line = append(w.line, piece...)
}

func (w *Writer) pass() error {
	line := w.redactor.Text(string(w.line))
	w.line, w.skipping = w.line[:0], false
	if line == "" {
		return nil
	}
	_, err := io.WriteString(w.sink, line)
	return err
}
