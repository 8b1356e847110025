package evidence

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"provingground/fetcher/trace"
	"provingground/internal/clock"
	"provingground/orchestrator/itn"
)

// This file writes what there is of one node's log, wherever it comes from: its raw lines, the traces in them, and what is missing.

const (
	// gatherEvery is how often Gather looks whether the nodes were read to the end of the time that is wanted, in wall time.
	gatherEvery = 500 * time.Millisecond
	// leadTime is how long before the time that is wanted the traces begin that may reach into it, in network time.
	leadTime = 10 * time.Minute
)

// keptNode is what a source has of one node's log.
type keptNode struct {
	name       string // as in the database: log-fetcher, section 5
	deployment int64
	read       time.Time // network time up to which the log was read; zero: never
	missing    []string  // what else there is to say of what is missing
	gaps       []lostPart
	// entries gives those since a network time, in the order in which the node logged them, and says when the next ones are another daemon's.
	entries func(since time.Time, take func(itn.Log) error, restarted func()) error
}

// lostPart is a part of a node's log that is missing, in gaps.json.
type lostPart struct {
	ServerUUID string     `json:"server_uuid"`
	FromID     int64      `json:"from_id"`
	ToID       *int64     `json:"to_id"` // null when it is not known
	Lost       *int64     `json:"lost"`
	TimeBefore *time.Time `json:"time_before"` // network time of the entries around it
	TimeAfter  *time.Time `json:"time_after"`
	FoundAt    time.Time  `json:"found_at"` // wall time
	Reason     string     `json:"reason,omitempty"`
}

// time returns the clock of the network.
func (g Gathering) time() *clock.Clock {
	if g.Clock == nil {
		return clock.Wall()
	}
	return g.Clock
}

// await waits for as long as the log of some node was not read to the end of the time that is wanted, and is being read; not longer than Patience.
func (g Gathering) await(ctx context.Context, late func() (bool, error)) error {
	c := g.time()
	until := c.Wall().Add(g.Patience)
	for {
		wait, err := late()
		left := until.Sub(c.Wall())
		if err != nil || !wait || left <= 0 {
			return err
		}
		if err := c.SleepWall(ctx, min(left, gatherEvery)); err != nil {
			return err //nolint:wrapcheck // the cause of the end
		}
	}
}

// readTo reports whether a log that was read up to a network time was read to the end of the time that is wanted.
func (g Gathering) readTo(read time.Time) bool { return !read.IsZero() && !read.Before(g.To) }

// overlaps reports whether something may be missing of the time that is wanted.
func (g Gathering) overlaps(part lostPart) bool {
	gap := part.gap(g.time())
	return gap.To >= InstantOf(g.From) && gap.From <= InstantOf(g.To)
}

// folder is where the files of a node go. Strangers chose the name: where it is none of a folder in the directory, it is made one that no other node has.
func (g Gathering) folder(address, name string) string {
	const most = 200 // bytes, well below what file systems allow
	plain := strings.Map(func(r rune) rune {
		if r <= ' ' || r == '/' || r == '\\' || r == filepath.Separator || !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, name)
	if plain != name || len(name) > most || strings.Trim(name, ".") == "" {
		sum := sha256.Sum256([]byte(address))
		plain = fmt.Sprintf("%s-%x", strings.ToValidUTF8(plain[:min(len(plain), most)], ""), sum[:8])
	}
	return filepath.Join(g.Dir, plain)
}

// gap is the time in which what is missing was logged.
func (p lostPart) gap(c *clock.Clock) Gap {
	instant := func(t *time.Time) Instant {
		if t == nil {
			return 0
		}
		return InstantOf(*t)
	}
	before, after := instant(p.TimeBefore), instant(p.TimeAfter)
	gap := Gap{From: before, To: max(before, after, InstantOf(c.FromWall(p.FoundAt))), Lost: -1}
	if after != 0 {
		gap.From = min(before, after)
	}
	if p.Lost != nil {
		gap.Lost = *p.Lost
	}
	return gap
}

// write writes what there is of a node: in the files of log-fetcher, section 5, the raw lines; the structured traces of the blocks in that time as traces.json (internal-trace,
// section 5), made of the lines of that time and of the lead; and what is missing as gaps.json. create makes a file in the node's folder.
func (g Gathering) write(address string, n keptNode, create func(name string) (io.WriteCloser, error)) (Gathered, error) {
	one := Gathered{Node: address, Name: n.name}
	var missing []string
	if !g.readTo(n.read) {
		missing = append(missing, "its log was not read to the end of the time that is wanted")
	}
	missing = append(missing, n.missing...)
	lost := slices.DeleteFunc(slices.Clone(n.gaps), func(part lostPart) bool { return !g.overlaps(part) })
	for _, part := range lost {
		if part.Lost == nil {
			missing = append(missing, "an unknown number of entries was lost, perhaps none, at the end of a daemon")
			continue
		}
		one.Lost += int(*part.Lost)
	}
	switch {
	case one.Lost == 1:
		missing = append(missing, "1 entry lost: see gaps.json")
	case one.Lost > 1:
		missing = append(missing, fmt.Sprintf("%d entries lost: see gaps.json", one.Lost))
	}
	files := &traceFiles{create: create, from: g.From, to: g.To, reader: trace.NewReader(trace.Options{}), found: newFoundTraces()}
	err := n.entries(g.From.Add(-leadTime), files.take, func() { files.found.take(files.reader.Restarted()) })
	files.found.take(files.reader.Finish())
	if err := errors.Join(err, files.close()); err != nil {
		return one, err
	}
	structured := files.found.structured(n.deployment, g.From)
	one.Entries, one.Traces = files.lines, len(structured)
	if files.odd > 0 {
		missing = append(missing, count(int64(files.odd), "line")+" left out that no trace can hold")
	}
	if one.Entries == 0 {
		missing = append(missing, "it has no entry of that time")
	}
	one.Missing = strings.Join(slices.Compact(missing), "; ")
	return one, errors.Join(writeJSON(create, "traces.json", structured), writeJSON(create, "gaps.json", append([]lostPart{}, lost...)))
}

// traceFiles writes the raw lines of one node, and makes its traces.
type traceFiles struct {
	create   func(name string) (io.WriteCloser, error)
	from, to time.Time
	open     [3]*openFile
	reader   *trace.Reader
	found    *foundTraces
	lines    int
	odd      int // entries that are no record
}

// openFile is one of the three files.
type openFile struct {
	file   io.Closer
	writer *bufio.Writer
}

// take takes the node's next entry.
func (f *traceFiles) take(entry itn.Log) error {
	if entry.Timestamp.After(f.to) {
		return nil
	}
	record, err := recordOf(entry)
	if err != nil {
		f.odd++
		return nil //nolint:nilerr // the rest of the log is worth having
	}
	f.found.take(f.reader.Feed([]trace.Record{record}))
	if entry.Timestamp.Before(f.from) {
		return nil
	}
	out := f.open[record.Process]
	if out == nil {
		file, err := f.create(traceFile(record.Process))
		if err != nil {
			return fmt.Errorf("write raw lines: %w", err)
		}
		out = &openFile{file, bufio.NewWriterSize(file, 1<<16)}
		f.open[record.Process] = out
	}
	if _, err := out.writer.Write(append(record.AppendLine(nil), '\n')); err != nil {
		return fmt.Errorf("write raw lines: %w", err)
	}
	f.lines++
	return nil
}

// traceFile is the name of the file of a process (log-fetcher, section 5).
func traceFile(process trace.Process) string {
	if process == trace.Main {
		return "internal-trace.jsonl"
	}
	return process.String() + "-internal-trace.jsonl"
}

// close completes the files.
func (f *traceFiles) close() error {
	var errs []error
	for _, out := range f.open {
		if out != nil {
			errs = append(errs, out.writer.Flush(), out.file.Close())
		}
	}
	return errors.Join(errs...)
}

// foundTraces gathers what a reader finds.
type foundTraces struct {
	last     map[int64]trace.Trace
	metadata map[int64]trace.Metadata
	rows     map[int64][]trace.Row
}

func newFoundTraces() *foundTraces {
	return &foundTraces{last: make(map[int64]trace.Trace), metadata: make(map[int64]trace.Metadata), rows: make(map[int64][]trace.Row)}
}

func (f *foundTraces) take(changes trace.Changes) {
	for _, row := range changes.Rows {
		if !row.Gossip {
			f.rows[row.Trace] = append(f.rows[row.Trace], row)
		}
	}
	for _, change := range changes.Traces {
		f.last[change.Number] = change.Trace
		if f.metadata[change.Number] == nil {
			f.metadata[change.Number] = make(trace.Metadata)
		}
		maps.Copy(f.metadata[change.Number], change.Metadata)
	}
}

// namedTrace is the structured trace of a block, in traces.json.
type namedTrace struct {
	Block string `json:"block"` // state hash; the slot of a block that was not produced
	trace.StructuredTrace
}

// structured returns the traces of blocks that did not end before a time, in the order in which they began.
func (f *foundTraces) structured(deployment int64, from time.Time) []namedTrace {
	nesting := trace.NewNesting()
	list := []namedTrace{}
	numbers := slices.SortedFunc(maps.Keys(f.last), func(a, b int64) int {
		return cmp.Or(cmp.Compare(f.last[a].Started, f.last[b].Started), cmp.Compare(a, b))
	})
	for _, number := range numbers {
		t := f.last[number]
		if t.Block == trace.NoBlock || t.Timed && t.Completed*1e6 < float64(from.UnixMicro()) {
			continue
		}
		list = append(list, namedTrace{t.Block, nesting.Structured(t, deployment, f.metadata[number], f.rows[number])})
	}
	return list
}

// writeJSON writes a value to a new file.
func writeJSON(create func(name string) (io.WriteCloser, error), name string, value any) (err error) {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	file, err := create(name)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = file.Write(append(text, '\n'))
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
