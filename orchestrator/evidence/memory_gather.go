package evidence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"provingground/fetcher"
	"provingground/orchestrator/itn"
)

// Gather writes the last raw lines of nodes, their structured traces and their gaps, as [Database.Gather] does. It waits on the clock of the collector.
func (m *Memory) Gather(ctx context.Context, g Gathering) ([]Gathered, error) {
	if m.Files == nil {
		return nil, errors.New("gather the nodes' logs: there is no place for them")
	}
	g.Clock = m.clock
	err := g.await(ctx, func() (bool, error) {
		return slices.ContainsFunc(g.Nodes, func(address string) bool {
			status, ok := m.status(address)
			return ok && status.Active && status.State != fetcher.Stopped && !g.readTo(m.readTo(status))
		}), nil
	})
	if err != nil {
		return nil, fmt.Errorf("gather the nodes' logs: %w", err)
	}
	gathered := make([]Gathered, 0, len(g.Nodes))
	for _, address := range g.Nodes {
		one, err := m.gather(address, g)
		if err != nil {
			return gathered, fmt.Errorf("gather the log of %s: %w", address, err)
		}
		gathered = append(gathered, one)
	}
	return gathered, nil
}

// status returns what is known of the node at an address.
func (m *Memory) status(address string) (fetcher.NodeStatus, bool) {
	if m.Nodes == nil {
		return fetcher.NodeStatus{}, false
	}
	known := m.Nodes()
	at := slices.IndexFunc(known, func(status fetcher.NodeStatus) bool { return addressOf(status) == address })
	if at < 0 {
		return fetcher.NodeStatus{}, false
	}
	return known[at], true
}

// readTo is the network time up to which a node was read; zero: never.
func (m *Memory) readTo(status fetcher.NodeStatus) time.Time {
	if status.LastSuccess.IsZero() {
		return time.Time{}
	}
	return m.clock.FromWall(status.LastSuccess)
}

// gather writes what there is of one node.
func (m *Memory) gather(address string, g Gathering) (Gathered, error) {
	status, ok := m.status(address)
	if !ok {
		return Gathered{Node: address, Missing: "the fetcher does not know the node: see that it is in the list of nodes"}, nil
	}
	n := keptNode{name: status.NodeName, read: m.readTo(status)}
	var tail []keptEntry
	m.mu.Lock()
	if log := m.logs[status.NodeName]; log != nil {
		tail, n.gaps = slices.Clone(log.tail), slices.Clone(log.lost)
		if log.cut >= InstantOf(g.From) {
			n.missing = append(n.missing, "a rehearsal keeps its last entries only, from "+clockText(log.cut)+" on")
		}
	}
	m.mu.Unlock()
	n.entries = func(since time.Time, take func(itn.Log) error, restarted func()) error {
		daemon := ""
		for _, entry := range tail {
			if entry.Timestamp.Before(since) {
				continue
			}
			if daemon != "" && daemon != entry.daemon {
				restarted()
			}
			daemon = entry.daemon
			if err := take(entry.Log); err != nil {
				return err
			}
		}
		return nil
	}
	folder := g.folder(address, n.name)
	return g.write(address, n, func(name string) (io.WriteCloser, error) {
		return &heldFile{path: filepath.Join(folder, name), files: m.Files}, nil
	})
}

// heldFile is a file that is created when it is complete.
type heldFile struct {
	bytes.Buffer
	path  string
	files Files
}

// Close creates the file.
func (f *heldFile) Close() error { return f.files.Create(f.path, f.Bytes()) } //nolint:wrapcheck // names operation and path
