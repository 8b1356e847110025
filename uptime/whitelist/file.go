package whitelist

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const (
	fileEvery = 5 * time.Second
	// settleTime is how long a changed file must stay the same before it counts: who writes into it in place empties it first.
	settleTime = 200 * time.Millisecond
	// maxFile bounds a file, in bytes: 250,000 keys.
	maxFile = 16 << 20
	// maxMistakes is how many wrong lines an error names.
	maxMistakes = 10
)

// File is the list in a file: one key per line, where # begins a comment, or a JSON array of strings. The file may be changed or
// replaced at any time. One that has anything wrong in it does not count as a whole, so that a slip of the hand locks nobody out.
// Make it with [NewFile]. Safe for concurrent use, but for Refresh and Run, of which one may be under way.
type File struct {
	list
	path    string
	content []byte // that the list was made of
}

// NewFile returns the list in a file, which is not read before [File.Refresh] or [File.Run].
func NewFile(path string, options Options) *File {
	f := &File{path: path}
	f.init(options.complete(fileEvery))
	return f
}

// Run keeps the list as the file is, until ctx ends.
func (f *File) Run(ctx context.Context) { f.watch(ctx, f.Refresh) }

// Refresh reads the file and takes its keys if all of it is well. A file that changed must stay the same for a fifth of a second; one
// that goes on changing is left for the next time. The error, which names the lines that are wrong, is what Healthy returns from then on.
func (f *File) Refresh(ctx context.Context) error {
	content, err := f.read()
	if err == nil && !f.Loaded().IsZero() && !bytes.Equal(content, f.content) {
		first := content
		if err := settle(ctx); err != nil {
			return err
		}
		if content, err = f.read(); err == nil && !bytes.Equal(content, first) {
			return nil
		}
	}
	now := f.state.Load().keys
	if err == nil && (f.Loaded().IsZero() || !bytes.Equal(content, f.content)) {
		if now, err = parse(content, now); err != nil {
			err = fmt.Errorf("%s: %w", f.path, err)
		}
	}
	if err != nil {
		err = fmt.Errorf("whitelist: %w", err)
		f.fail(err)
		return err
	}
	f.content = content
	f.succeed(now)
	return nil
}

// settle waits for settleTime, or the end of ctx.
func settle(ctx context.Context) error {
	timer := time.NewTimer(settleTime)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *File) read() ([]byte, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("%s: longer than %d bytes", f.path, maxFile)
	}
	return content, nil
}

// mistakes are the lines of a file that are wrong.
type mistakes struct {
	errs []error
	more int
}

func (m *mistakes) add(line int, err error) {
	if len(m.errs) < maxMistakes {
		m.errs = append(m.errs, fmt.Errorf("line %d: %w", line, err))
	} else {
		m.more++
	}
}

func (m *mistakes) err() error {
	if m.more > 0 {
		return errors.Join(append(m.errs, fmt.Errorf("and %d more", m.more))...)
	}
	return errors.Join(m.errs...)
}

// parse reads the content of a file. Its errors quote nothing of it.
func parse(content []byte, before *keys) (*keys, error) {
	if bytes.HasPrefix(bytes.TrimLeft(content, " \t\r\n"), []byte("[")) {
		return parseJSON(content, before)
	}
	now := newKeys()
	var wrong mistakes
	line := 0
	for text := range strings.Lines(string(content)) {
		line++
		text, _, _ = strings.Cut(text, "#")
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		if err := now.add(text, before); err != nil {
			wrong.add(line, fmt.Errorf("neither a public key nor a comment: %w", err))
		}
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	return now, nil
}

// parseJSON reads an array of strings and nothing else.
func parseJSON(content []byte, before *keys) (*keys, error) {
	if syntax := (*json.SyntaxError)(nil); errors.As(json.Unmarshal(content, new(json.RawMessage)), &syntax) {
		return nil, fmt.Errorf("line %d: not the JSON array of strings that it begins as: %w", 1+lineFeeds(content[:syntax.Offset]), syntax)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	if _, err := decoder.Token(); err != nil { // the bracket
		return nil, err
	}
	now := newKeys()
	var wrong mistakes
	line, offset := 1, int64(0)
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		line += lineFeeds(content[offset:decoder.InputOffset()])
		offset = decoder.InputOffset()
		text, isString := token.(string)
		if !isString {
			return nil, fmt.Errorf("line %d: an entry that is no string: write a JSON array of public keys, or one key per line", line)
		}
		if err := now.add(text, before); err != nil {
			wrong.add(line, fmt.Errorf("no public key: %w", err))
		}
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	return now, nil
}

func lineFeeds(content []byte) int { return bytes.Count(content, []byte("\n")) }
