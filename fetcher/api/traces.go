package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"provingground/fetcher/trace"
)

// traceColumns are those of block_trace that make a trace.
type traceColumns struct {
	ID           int64
	DeploymentID int64
	Block        string
	Source       string
	Status       string
	Length       int64
	Slot         int64
	Started      float64
	Completed    float64
	Metadata     json.RawMessage
}

const (
	timedColumns = `block_trace_id, deployment_id, block_id, source, status, blockchain_length, global_slot, trace_started_at, trace_completed_at, `
	blockColumns = timedColumns + `metadata_json`
	// The list of differences is large, and no part of an info.
	infoColumns = timedColumns + `CASE WHEN jsonb_typeof(metadata_json) = 'object' THEN metadata_json - 'diff_log' ELSE '{}' END`
)

// trace gives what the views need. The columns have 0 or −1 for what is not known.
func (c traceColumns) trace() (trace.Trace, trace.Metadata) {
	found := trace.Trace{Number: c.ID, Block: c.Block, Source: trace.Source(c.Source), Status: trace.Status(c.Status)}
	if c.Length != 0 {
		found.Length = &c.Length
	}
	if c.Slot != 0 {
		found.GlobalSlot = &c.Slot
	}
	if c.Started >= 0 {
		found.Timed, found.Started, found.Completed = true, c.Started, c.Completed
	}
	var metadata trace.Metadata
	if err := json.Unmarshal(c.Metadata, &metadata); err != nil {
		metadata = nil // no object: there is nothing that a view could show
	}
	return found, metadata
}

// block is a block on a node with its rows.
type block struct {
	trace      trace.Trace
	deployment int64
	metadata   trace.Metadata
	rows       []trace.Row
}

// readBlock returns pgx.ErrNoRows when the node has no trace of the block.
func (s *Server) readBlock(ctx context.Context, tx pgx.Tx, deployment int64, node, identifier string) (block, error) {
	rows, err := tx.Query(ctx, `SELECT `+blockColumns+` FROM block_trace WHERE deployment_id = $1 AND node_name = $2 AND block_id = $3
		ORDER BY block_trace_id DESC LIMIT 1`, deployment, node, identifier)
	if err != nil {
		return block{}, err
	}
	columns, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[traceColumns])
	if err != nil {
		return block{}, err
	}
	found := block{deployment: columns.DeploymentID}
	found.trace, found.metadata = columns.trace()
	found.rows, err = s.readRows(ctx, tx, columns.DeploymentID, columns.ID)
	return found, err
}

// checkpointColumns are those of block_trace_checkpoint that make a row.
type checkpointColumns struct {
	ID       int64
	Source   string
	Main     bool
	Control  bool
	Name     string
	Started  float64
	Metadata json.RawMessage
	Call     int64
}

func (s *Server) readRows(ctx context.Context, tx pgx.Tx, deployment, number int64) ([]trace.Row, error) {
	read, err := tx.Query(ctx, `SELECT block_trace_checkpoint_id, source, main_trace, is_control, name, started_at, metadata_json, call_id
		FROM block_trace_checkpoint WHERE deployment_id = $1 AND block_trace_id = $2 AND NOT gossip
		ORDER BY block_trace_checkpoint_id LIMIT $3`, deployment, number, s.limits.traceRows+1)
	if err != nil {
		return nil, err
	}
	defer read.Close()
	var rows []trace.Row
	bytes := 0
	for read.Next() {
		columns, err := pgx.RowToStructByPos[checkpointColumns](read)
		if err != nil {
			return nil, odd(fmt.Errorf("reading a checkpoint: %w", err))
		}
		row, err := columns.row(number)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
		if bytes += len(columns.Name) + len(columns.Metadata); bytes > s.limits.answerBytes || len(rows) > s.limits.traceRows {
			return nil, tooLarge("this trace has more than %d records or %d bytes: query block_trace_checkpoint in the database", s.limits.traceRows, s.limits.answerBytes)
		}
	}
	if err := read.Err(); err != nil {
		return nil, fmt.Errorf("reading checkpoints: %w", err)
	}
	s.relate(rows)
	return rows, nil
}

// row gives the row of a record. Ids grow in the order of the node's log, as Seq does.
func (c checkpointColumns) row(number int64) (trace.Row, error) {
	row := trace.Row{Trace: number, Seq: c.ID, ID: c.ID, Main: c.Main, Control: c.Control, Name: c.Name, Time: c.Started, Call: c.Call}
	switch c.Source {
	case trace.Main.Letter():
		row.Process = trace.Main
	case trace.Prover.Letter():
		row.Process = trace.Prover
	case trace.Verifier.Letter():
		row.Process = trace.Verifier
	default:
		return trace.Row{}, odd(fmt.Errorf("checkpoint %d has the unknown source %q", c.ID, c.Source))
	}
	if c.Control {
		row.Metadata = c.Metadata
	}
	return row, nil
}

// relate finds again what a Reader knew of rows and the table does not have: metadata is of the last checkpoint of its call, and the
// records of a job of prover or verifier stand after the last checkpoint within which the job happened (internal-trace, section 3.1).
func (s *Server) relate(rows []trace.Row) {
	type call struct {
		process trace.Process
		id      int64
	}
	last := map[call]int64{}   // Seq of a call's last checkpoint
	first := map[call]int{}    // index of a job's first checkpoint
	isJob := map[string]bool{} // names of those
	for i := range rows {
		of := call{rows[i].Process, rows[i].Call}
		if rows[i].Control {
			rows[i].Of = last[of]
			continue
		}
		last[of] = rows[i].Seq
		if _, known := first[of]; !known && rows[i].Process != trace.Main {
			first[of], isJob[rows[i].Name] = i, true
		}
	}
	if len(first) == 0 {
		return
	}
	parents := s.parents(rows, isJob)
	for i := range rows {
		if job, known := first[call{rows[i].Process, rows[i].Call}]; known {
			candidates := parents[rows[job].Name]
			later, _ := slices.BinarySearchFunc(candidates, rows[job].Time, func(parent trace.Row, started float64) int {
				if parent.Time <= started {
					return -1
				}
				return 1
			})
			if later > 0 {
				rows[i].After = candidates[later-1].Seq
			}
		}
	}
}

// parents returns, for each of these checkpoints, the checkpoints of the daemon itself within which it can happen, by time.
func (s *Server) parents(rows []trace.Row, children map[string]bool) map[string][]trace.Row {
	within := map[string][]string{}
	parents := map[string][]trace.Row{}
	for _, row := range rows {
		if row.Process != trace.Main || row.Control {
			continue
		}
		if _, known := within[row.Name]; !known {
			within[row.Name] = slices.DeleteFunc(s.nesting.Children(row.Name), func(child string) bool { return !children[child] })
		}
		for _, child := range within[row.Name] {
			parents[child] = append(parents[child], row)
		}
	}
	for _, list := range parents {
		slices.SortStableFunc(list, func(a, b trace.Row) int { return cmp.Compare(a.Time, b.Time) })
	}
	return parents
}
