package verify

import (
	"bufio"
	"fmt"
	"io"
)

// lines reads bounded lines.
type lines struct{ scanner *bufio.Scanner }

func newLines(in io.Reader) lines {
	scanner := bufio.NewScanner(in)
	scanner.Buffer(make([]byte, 0, 4096), maxLineBytes)
	return lines{scanner}
}

// next returns the next line, valid until the call after; [io.EOF] at the end.
func (l lines) next() ([]byte, error) {
	if l.scanner.Scan() {
		return l.scanner.Bytes(), nil
	}
	if err := l.scanner.Err(); err != nil {
		return nil, fmt.Errorf("a line of at most %d bytes: %w", maxLineBytes, err)
	}
	return nil, io.EOF
}
