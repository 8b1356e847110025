//go:build linux

package snarkpool

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"go.uber.org/zap"

	"provingground/snarkpool/worker"
)

// journal keeps what fed workers said from the moment it was read from their pipes until the engine has done with it, so that an agent which is killed in
// between leaves it to the next one. It is written and never forced to the disk: it is there for the death of the agent, not for that of the machine.
// Safe for concurrent use.
type journal struct {
	mu      sync.Mutex
	file    *os.File
	written bool
	pending int
}

// spoken is one line of a journal.
type spoken struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	Line []byte `json:"line"`
}

// openJournal opens a journal and returns what is left in it from an earlier agent.
func openJournal(path string) (*journal, []spoken, error) {
	content, err := os.ReadFile(path) //nolint:gosec // The agent's own.
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("read what workers said last: %w", err)
	}
	var left []spoken
	lines := bufio.NewScanner(bytes.NewReader(content))
	const longest = 4 * worker.MaxLineBytes
	lines.Buffer(nil, longest)
	for lines.Scan() {
		var s spoken
		if json.Unmarshal(lines.Bytes(), &s) != nil {
			break // The end of a journal whose agent was killed while it wrote.
		}
		left = append(left, s)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600) //nolint:gosec // The agent's own.
	if err != nil {
		return nil, nil, fmt.Errorf("open what workers said last: %w", err)
	}
	return &journal{file: file, written: len(content) > 0}, left, nil
}

// add writes a line down.
func (j *journal) add(s spoken) error {
	content, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write down what a worker said: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending++
	j.written = true
	if _, err := j.file.Write(append(content, '\n')); err != nil {
		return fmt.Errorf("write down what a worker said: %w", err)
	}
	return nil
}

// done says that a line is dealt with; the last one empties the journal.
func (j *journal) done() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending--
	return j.empty()
}

// empty empties the journal when nothing in it is needed.
func (j *journal) empty() error {
	if j.pending > 0 || !j.written {
		return nil
	}
	j.written = false
	if err := j.file.Truncate(0); err != nil {
		return fmt.Errorf("empty what workers said last: %w", err)
	}
	return nil
}

func (j *journal) close() error { return j.file.Close() }

// replay takes in what an earlier agent read and perhaps did not do. What it did shows by not fitting any more.
func (e *engine) replay(ctx context.Context, left []spoken) {
	for _, s := range left {
		m := e.members[s.Name]
		if m == nil || !m.isFed() {
			continue
		}
		message, err := worker.Parse(s.Line)
		if err != nil {
			continue
		}
		if hello, ok := message.(worker.Hello); ok && s.PID == m.state.PID && m.talk.PID != s.PID {
			m.talk = conversation{PID: s.PID, adopted: true}
			e.log.Debug("hello found", zap.String("worker", m.name), zap.String("kind", hello.Kind))
		}
		talk := &m.talk
		if m.orphan != nil && s.PID == m.orphan.PID {
			talk = m.orphan
		}
		if s.PID == talk.PID && talk.accept(message) == nil {
			e.heard(ctx, m, talk, message)
		}
	}
}
