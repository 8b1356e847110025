package evidence

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"provingground/fetcher/trace"
	"provingground/orchestrator/itn"
)

const (
	// gatherEvery is how often Gather looks whether the nodes were read to the end of the time that is wanted, in wall time.
	gatherEvery = 500 * time.Millisecond
	// leadTime is how long before the time that is wanted the traces begin that may reach into it, in network time.
	leadTime = 10 * time.Minute
)

// storedNode is a node of the newest deployment.
type storedNode struct {
	id         int
	deployment int
	name       string
	read       *time.Time // wall time
	active     bool       // it is listed, and somebody reads it
}

// Gather writes what was stored of the nodes' logs, a folder for each node: the raw lines in the files of log-fetcher, section 5, the structured traces of the blocks in that time as traces.json
// (internal-trace, section 5), made of the lines of that time and of the ten minutes before, and what is missing as gaps.json. Nodes that are being read and were not read to the end of the time that
// is wanted are waited for, until a third of what is left before ctx's deadline. It fails where the database cannot be asked or a file cannot be written.
func (d *Database) Gather(ctx context.Context, g Gathering) ([]Gathered, error) {
	if err := d.await(ctx, g); err != nil {
		return nil, d.masked("gather the nodes' logs", err)
	}
	if err := os.MkdirAll(g.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("gather the nodes' logs: %w", err)
	}
	var gathered []Gathered
	for _, address := range g.Nodes {
		one, err := d.gather(ctx, address, g)
		if err != nil {
			return gathered, d.masked("gather the log of "+address, err)
		}
		gathered = append(gathered, one)
	}
	return gathered, nil
}

// masked is an error of the database without the password, and without the error that may hold it.
func (d *Database) masked(doing string, err error) error {
	return &maskedError{text: d.redactor.Text(doing + ": " + err.Error()), sentinel: sentinelOf(err)}
}

// await waits until the nodes were read to the end of the time that is wanted, or little time is left.
func (d *Database) await(ctx context.Context, g Gathering) error {
	waiting := ctx
	if deadline, bounded := ctx.Deadline(); bounded {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, time.Until(deadline)*2/3)
		defer cancel()
	}
	ticker := time.NewTicker(gatherEvery)
	defer ticker.Stop()
	for {
		late := false
		for _, address := range g.Nodes {
			n, err := d.node(ctx, address)
			if err != nil {
				return err
			}
			late = late || n != nil && n.active && !g.readTo(n)
		}
		if !late {
			return nil
		}
		select {
		case <-ticker.C:
		case <-waiting.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return nil
		}
	}
}

// readTo reports whether a node was read to the end of the time that is wanted.
func (g Gathering) readTo(n *storedNode) bool {
	return n.read != nil && !g.network(*n.read).Before(g.To)
}

// network converts wall time to network time.
func (g Gathering) network(wall time.Time) time.Time {
	if g.Clock == nil {
		return wall
	}
	return g.Clock.FromWall(wall)
}

// node returns what is known of the node at an address; nil when the newest deployment has none.
func (d *Database) node(ctx context.Context, address string) (*storedNode, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address of a node: %w", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("address %s of a node: %w", address, err)
	}
	n := &storedNode{}
	err = d.pool.QueryRow(ctx, `SELECT node_id, deployment_id, node_name, read_at, coalesce(listed AND state <> 'stopped', false) FROM log_node
		WHERE deployment_id = (SELECT max(deployment_id) FROM log_node WHERE host IS NOT NULL) AND host = $1 AND port = $2
		ORDER BY read_at DESC NULLS LAST, node_id LIMIT 1`, host, port).Scan(&n.id, &n.deployment, &n.name, &n.read, &n.active)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("look for the node %s: %w", address, err)
	}
	return n, nil
}

// gather writes the files of one node.
func (d *Database) gather(ctx context.Context, address string, g Gathering) (Gathered, error) {
	one := Gathered{Node: address}
	n, err := d.node(ctx, address)
	if err != nil {
		return one, err
	}
	if n == nil {
		one.Missing = "the fetcher does not know the node: see that it is in the list of nodes"
		return one, nil
	}
	one.Name = n.name
	var missing []string
	if !g.readTo(n) {
		missing = append(missing, "its log was not read to the end of the time that is wanted")
	}
	folder := filepath.Join(g.Dir, strings.Map(func(r rune) rune {
		if r == '/' || r == os.PathSeparator || r < ' ' {
			return '_' // a submitter is whatever somebody reported
		}
		return r
	}, n.name))
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return one, fmt.Errorf("make its folder: %w", err)
	}
	found, err := d.gapsOf(ctx, n, g)
	if err != nil {
		return one, err
	}
	for _, gap := range found {
		if gap.Lost == nil {
			missing = append(missing, "an unknown number of entries was lost, perhaps none, at the end of a daemon")
			continue
		}
		one.Lost += int(*gap.Lost)
	}
	if one.Lost > 0 {
		missing = append(missing, fmt.Sprintf("%d entries lost: see gaps.json", one.Lost))
	}
	files := &traceFiles{folder: folder, from: g.From, to: g.To, reader: trace.NewReader(trace.Options{}), found: newFoundTraces()}
	err = errors.Join(d.entries(ctx, n, g, files), files.close())
	if err != nil {
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
	return one, errors.Join(writeJSON(filepath.Join(folder, "traces.json"), structured), writeJSON(filepath.Join(folder, "gaps.json"), found))
}

// lostPart is a gap, in gaps.json.
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

// gapsOf returns what is missing of a node's log in the time that is wanted.
func (d *Database) gapsOf(ctx context.Context, n *storedNode, g Gathering) ([]lostPart, error) {
	rows, err := d.pool.Query(ctx, `SELECT server_uuid::text, from_id, to_id, lost, time_before, time_after, found_at, coalesce(reason, '') FROM log_gap
		WHERE deployment_id = $1 AND node_id = $2 ORDER BY found_at, from_id`, n.deployment, n.id)
	if err != nil {
		return nil, fmt.Errorf("read its gaps: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[lostPart])
	if err != nil {
		return nil, fmt.Errorf("read its gaps: %w", err)
	}
	return slices.DeleteFunc(all, func(gap lostPart) bool {
		end := g.network(gap.FoundAt)
		if gap.TimeAfter != nil {
			end = *gap.TimeAfter
		}
		return end.Before(g.From) || gap.TimeBefore != nil && gap.TimeBefore.After(g.To)
	}), nil
}

// entries hands the node's entries to the files, in the order in which the node logged them.
func (d *Database) entries(ctx context.Context, n *storedNode, g Gathering, files *traceFiles) error {
	rows, err := d.pool.Query(ctx, `SELECT e.log_id, e.logged_at, coalesce(e.process, ''), e.message, e.metadata, c.started_at
		FROM log_entry e LEFT JOIN log_cursor c ON c.deployment_id = e.deployment_id AND c.node_id = e.node_id AND c.server_uuid = e.server_uuid
		WHERE e.deployment_id = $1 AND e.node_id = $2 AND e.logged_at >= $3 AND e.logged_at <= $4
		ORDER BY c.started_at, e.server_uuid, e.log_id`, n.deployment, n.id, g.From.Add(-leadTime), g.To)
	if err != nil {
		return fmt.Errorf("read its entries: %w", err)
	}
	var id int64
	var at time.Time
	var process, message string
	var metadata map[string]json.RawMessage
	var started, daemon *time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &at, &process, &message, &metadata, &started}, func() error {
		if daemon != nil && started != nil && !daemon.Equal(*started) {
			files.found.take(files.reader.Restarted())
		}
		daemon = started
		entry := itn.Log{ID: int(id), Timestamp: at, Process: process, Message: message}
		for _, key := range slices.Sorted(maps.Keys(metadata)) {
			entry.Metadata = append(entry.Metadata, itn.LogMetadatum{Item: key, Value: metadata[key]})
		}
		return files.take(entry)
	})
	if err != nil {
		return fmt.Errorf("read its entries: %w", err)
	}
	files.found.take(files.reader.Finish())
	return nil
}

// traceFiles writes the raw lines of one node, and makes its traces.
type traceFiles struct {
	folder   string
	from, to time.Time
	open     [3]*openFile
	reader   *trace.Reader
	found    *foundTraces
	lines    int
	odd      int // entries that are no record
}

// openFile is one of the three files.
type openFile struct {
	file   *os.File
	writer *bufio.Writer
}

// take takes the node's next entry.
func (f *traceFiles) take(entry itn.Log) error {
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
		file, err := os.OpenFile(filepath.Join(f.folder, traceFile(record.Process)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640) //nolint:gosec // a folder of ours
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
func (f *foundTraces) structured(deployment int, from time.Time) []namedTrace {
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
		list = append(list, namedTrace{t.Block, nesting.Structured(t, int64(deployment), f.metadata[number], f.rows[number])})
	}
	return list
}

// writeJSON writes a value to a file that does not exist yet.
func writeJSON(path string, value any) (err error) {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640) //nolint:gosec // a folder of ours
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
