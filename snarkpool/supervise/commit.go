//go:build linux

package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// afterCommit calls f, in the loop, once everything up to now is on disk, or could not be brought there.
func (l *loop) afterCommit(f func(error)) { l.after = append(l.after, f) }

// encode makes the records of all members.
func (l *loop) encode() []json.RawMessage {
	records := make([]json.RawMessage, 0, len(l.members))
	for _, m := range l.members {
		if m.encoded != nil {
			records = append(records, m.encoded)
			continue
		}
		r := record{Name: m.name, Held: m.held, Life: m.life}
		if m.group != nil {
			id := m.group.Leader.Identity()
			r.Identity, r.Cgroup, r.Digest, r.Fed, r.StopGrace = &id, m.group.Cgroup, m.digest, m.fed, m.stopGrace()
		}
		content, err := json.Marshal(r)
		if err != nil {
			l.note(m, fmt.Sprintf("not recorded: %v", err)) // Only times beyond the year 9999 do that.
			continue
		}
		m.encoded = content
		records = append(records, content)
	}
	return records
}

// commit writes states until ctx ends. It runs in a goroutine of its own: a slow disk must not keep deaths from being noticed.
func (l *loop) commit(ctx context.Context) {
	for {
		select {
		case records := <-l.commits:
			begin := l.now()
			err := l.s.state.store(records)
			l.committed <- commitResult{err: err, took: l.now().Sub(begin)}
		case <-ctx.Done():
			return
		}
	}
}

// commitResult is how a commit went.
type commitResult struct {
	err  error
	took time.Duration
}

func (l *loop) afterCommitted(r commitResult) {
	l.committing = false
	// The disk gets a rest as long as the work: when thousands start at once, more of them share a commit.
	l.nextCommit = l.now().Add(r.took)
	err := r.err
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrNotRecorded, err)
		l.dirty, l.nextCommit = true, l.now().Add(commitRetry)
	}
	waiting := l.inFlight
	l.inFlight = nil
	for _, f := range waiting {
		f(err)
	}
}

// lastCommit brings the state to disk when the loop ends. Who waits for it learns that it did not happen: launchers end.
func (l *loop) lastCommit() error {
	for _, f := range append(l.inFlight, l.after...) {
		f(ErrNotRunning)
	}
	if l.committing {
		select {
		case <-l.commits: // Not begun.
		case <-l.committed:
		}
	}
	if err := l.s.state.store(l.encode()); err != nil {
		return errors.Join(ErrNotRecorded, err)
	}
	return nil
}
