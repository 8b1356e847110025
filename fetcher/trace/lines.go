package trace

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
)

// LineOptions says how [Lines] reads. The zero value is ready to use.
type LineOptions struct {
	MaxLineBytes int  // longest line that is read, without its newline; 0 = 8 MiB
	DropRepeats  bool // leave out a line that equals the one before it: the last entry that a fetcher got again (log-fetcher, section 4)
}

// Lines reads the records of one trace file. It is for one goroutine.
type Lines struct {
	source  *bufio.Reader
	process Process
	options LineOptions
	line    []byte
	last    []byte // the line before, when repeats are dropped
	read    int64
	repeats int64
}

// LineError says which line is no record, and why.
type LineError struct {
	Line int64 // from 1
	Err  error
}

// Error gives the line's number and the reason.
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns the reason, one of this package's errors.
func (e *LineError) Unwrap() error { return e.Err }

// NewLines reads from source, which the caller closes, lines of one process.
func NewLines(source io.Reader, process Process, options LineOptions) *Lines {
	if options.MaxLineBytes <= 0 {
		options.MaxLineBytes = 8 << 20
	}
	return &Lines{source: bufio.NewReaderSize(source, 64<<10), process: process, options: options}
}

// Records goes through the file once. A line that is no record gives a [*LineError] and does not stop the rest; any other error is one of the
// source and the last. Empty lines are passed over. A record's ID is its line's number.
func (l *Lines) Records() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			line, err := l.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil && !errors.Is(err, ErrLineTooLong) {
				yield(Record{}, fmt.Errorf("reading the %s trace after line %d: %w", l.process, l.read, err))
				return
			}
			l.read++
			record, skip := Record{}, false
			if err == nil {
				record, skip, err = l.decode(line)
			}
			if err != nil {
				record, err = Record{}, &LineError{Line: l.read, Err: err}
			}
			if !skip && !yield(record, err) {
				return
			}
		}
	}
}

// Read returns how many lines have been read so far, bad and repeated ones among them.
func (l *Lines) Read() int64 { return l.read }

// Repeats returns how many lines were left out as repeats.
func (l *Lines) Repeats() int64 { return l.repeats }

func (l *Lines) decode(line []byte) (record Record, skip bool, err error) {
	if line = bytes.TrimSpace(line); len(line) == 0 {
		return Record{}, true, nil
	}
	if l.options.DropRepeats {
		if bytes.Equal(line, l.last) {
			l.repeats++
			return Record{}, true, nil
		}
		l.last = append(l.last[:0], line...)
	}
	record, err = DecodeLine(l.process, line)
	record.ID = l.read
	return record, false, err
}

// next returns the next line, valid until the next call. Of a line that is too long nothing is kept.
func (l *Lines) next() ([]byte, error) {
	l.line = l.line[:0]
	tooLong := false
	for {
		part, err := l.source.ReadSlice('\n')
		whole := err == nil
		if whole {
			part = part[:len(part)-1]
		}
		if tooLong = tooLong || len(l.line)+len(part) > l.options.MaxLineBytes; !tooLong {
			l.line = append(l.line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && (!errors.Is(err, io.EOF) || len(l.line) == 0 && !tooLong):
			return nil, err
		case tooLong:
			return nil, ErrLineTooLong
		}
		return l.line, nil // whole, or the end of a file without a newline
	}
}
