package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"provingground/fetcher"
	"provingground/fetcher/trace"
	"provingground/orchestrator/itn"
)

// awaitEvery is how often Gather looks whether the nodes were read to the end of the time that is wanted, in network time.
const awaitEvery = time.Second

// Gather writes the last raw lines of nodes, in the files that the fetcher keeps (log-fetcher, section 5), and as traces.json the flat
// traces of the blocks in them (internal-trace, section 5). It waits on the clock until the nodes were read to the end of the time that is
// wanted, those only that are being read, or until ctx ends, and then writes what there is. It fails where a file cannot be written.
func (m *Memory) Gather(ctx context.Context, g Gathering) ([]Gathered, error) {
	if m.Files == nil {
		return nil, errors.New("gather the nodes' logs: there is no place for them")
	}
	m.await(ctx, g)
	gathered := make([]Gathered, 0, len(g.Nodes))
	for _, address := range g.Nodes {
		one, files := m.gather(address, g)
		for _, file := range files {
			name := path.Join(g.Dir, strings.ReplaceAll(one.Name, "/", "_"), file.name)
			if err := m.Files.Create(name, file.content); err != nil {
				return gathered, fmt.Errorf("gather the log of %s: %w", address, err)
			}
		}
		gathered = append(gathered, one)
	}
	return gathered, nil
}

// await waits until the nodes that are being read were read to the end of the time that is wanted.
func (m *Memory) await(ctx context.Context, g Gathering) {
	for {
		late := slices.ContainsFunc(g.Nodes, func(address string) bool {
			status, ok := m.status(address)
			return ok && status.State != fetcher.Stopped && !m.readTo(status, g.To)
		})
		if !late || m.clock.Sleep(ctx, awaitEvery) != nil {
			return
		}
	}
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

// readTo reports whether a node was read up to a network time.
func (m *Memory) readTo(status fetcher.NodeStatus, to time.Time) bool {
	return !status.LastSuccess.IsZero() && !m.clock.FromWall(status.LastSuccess).Before(to)
}

// gatheredFile is one file of a node's.
type gatheredFile struct {
	name    string
	content []byte
}

// gather spells out what there is of one node.
func (m *Memory) gather(address string, g Gathering) (Gathered, []gatheredFile) {
	one := Gathered{Node: address}
	status, ok := m.status(address)
	if !ok {
		one.Missing = "the collector does not know the node"
		return one, nil
	}
	one.Name = status.NodeName
	m.mu.Lock()
	defer m.mu.Unlock()
	log := m.logs[status.NodeName]
	if log == nil {
		one.Missing = "nothing of its log was read"
		return one, nil
	}
	var missing []string
	if !m.readTo(status, g.To) {
		missing = append(missing, "its log was not read to the end")
	}
	if from := InstantOf(g.From); log.cut >= from {
		missing = append(missing, "a rehearsal keeps its last entries only, from "+clockText(log.cut)+" on")
	}
	for _, gap := range log.gaps {
		if gap.To >= InstantOf(g.From) && gap.From <= InstantOf(g.To) {
			one.Lost += int(max(0, gap.Lost))
		}
	}
	one.Missing = strings.Join(missing, "; ")
	var files []gatheredFile
	one.Entries, one.Traces, files = spell(log.tail, g.From, g.To)
	return one, files
}

// spell writes entries of a stretch of time down: their raw lines, by process, and the traces in them.
func spell(entries []itn.Log, from, to time.Time) (count, traces int, files []gatheredFile) {
	reader, lines := trace.NewReader(trace.Options{}), map[trace.Process]*bytes.Buffer{}
	var records []trace.Record
	for _, entry := range entries {
		record, err := recordOf(entry)
		if entry.Timestamp.Before(from) || entry.Timestamp.After(to) || err != nil {
			continue
		}
		count++
		if lines[record.Process] == nil {
			lines[record.Process] = &bytes.Buffer{}
		}
		lines[record.Process].Write(append(record.AppendLine(nil), '\n'))
		records = append(records, record)
	}
	for _, process := range []trace.Process{trace.Main, trace.Prover, trace.Verifier} {
		if text := lines[process]; text != nil {
			files = append(files, gatheredFile{traceFile(process), text.Bytes()})
		}
	}
	found := flatTraces(reader.Feed(records), reader.Finish())
	if len(found) == 0 {
		return count, 0, files
	}
	text, err := json.MarshalIndent(found, "", "  ")
	if err != nil { // cannot happen: all values in it came out of JSON
		return count, 0, files
	}
	return count, len(found), append(files, gatheredFile{"traces.json", append(text, '\n')})
}

// traceFile is the name of the file of a process (log-fetcher, section 5).
func traceFile(process trace.Process) string {
	if process == trace.Main {
		return "internal-trace.jsonl"
	}
	return process.String() + "-internal-trace.jsonl"
}

// blockTrace is the flat trace of a block.
type blockTrace struct {
	Block string `json:"block"` // state hash; the slot of a block that was not produced
	trace.FlatTrace
}

// flatTraces returns the traces in what a reader found, in the order in which they began.
func flatTraces(found ...trace.Changes) []blockTrace {
	rows, last, metadata := map[int64][]trace.Row{}, map[int64]trace.Trace{}, map[int64]trace.Metadata{}
	var numbers []int64
	for _, changes := range found {
		for _, row := range changes.Rows {
			rows[row.Trace] = append(rows[row.Trace], row)
		}
		for _, change := range changes.Traces {
			if _, known := last[change.Number]; !known {
				numbers = append(numbers, change.Number)
				metadata[change.Number] = trace.Metadata{}
			}
			last[change.Number] = change.Trace
			for key, value := range change.Metadata {
				metadata[change.Number][key] = value
			}
		}
	}
	var traces []blockTrace
	for _, number := range numbers {
		if t := last[number]; t.Block != trace.NoBlock {
			traces = append(traces, blockTrace{t.Block, trace.Flat(t, 0, metadata[number], rows[number])})
		}
	}
	return traces
}
