// Package existing is the evidence schema of the existing tools, rebuilt from its description in words, so that tests and benchmarks can compare
// ours with it: tables, row-level triggers and views (Schema), and what the existing consumer does with the lines of one node (Consumer).
// No program uses it. See internal-trace, sections 3, 6 and 7.
package existing

import (
	"context"
	_ "embed" // for Schema
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"provingground/fetcher/trace"
)

// Schema makes the tables, triggers and views in an empty database.
//
//go:embed existing.sql
var Schema string

// Consumer stores the records of one node as the existing consumer does, in its order: the triggers see what they would see there. It reads
// main records only, as that one does. It is kinder to the database in one way: what it is given at once is one transaction, where the real one has
// as good as one per line. It is for one goroutine.
type Consumer struct {
	conn       *pgx.Conn
	deployment int
	node       string

	next   int // number of the next trace
	traces map[string]int
	first  map[[2]string]string // call that processes a block under a tag for the first time
	block  string
	call   string
	tag    string
}

// NewConsumer makes a Consumer of a node, which has no other one. Its traces have the numbers from firstTrace on, which must be free.
func NewConsumer(conn *pgx.Conn, deployment int, node string, firstTrace int) *Consumer {
	return &Consumer{
		conn: conn, deployment: deployment, node: node, next: firstTrace,
		traces: map[string]int{}, first: map[[2]string]string{}, block: trace.NoBlock, call: "0",
	}
}

// The statements, in the words of the consumer's own.
const (
	insertTrace = "INSERT INTO block_trace (block_trace_id, deployment_id, node_name, block_id) VALUES ($1, $2, $3, $4)"
	insertRow   = `INSERT INTO block_trace_checkpoint (block_trace_id, source, main_trace, is_control, name, started_at, metadata_json, call_id)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	updateMetadata = `UPDATE block_trace SET metadata_json = metadata_json || $2,
		blockchain_length = CASE $3::int WHEN 0 THEN blockchain_length ELSE $3 END, global_slot = CASE $4::int WHEN 0 THEN global_slot ELSE $4 END
		WHERE block_trace_id = $1`
	updateBlock = "UPDATE block_trace SET block_id = $2 WHERE block_trace_id = $1"
)

// Insert stores records with one statement each. The statements of a call travel together.
func (c *Consumer) Insert(ctx context.Context, records []trace.Record) error {
	queue := &pgx.Batch{}
	if err := c.read(records, func(sql string, arguments ...any) error {
		queue.Queue(sql, arguments...)
		return nil
	}); err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error { return tx.SendBatch(ctx, queue).Close() })
}

// Copy stores records by COPY into the table with the triggers, as far as the order of the other statements allows. It shows how fast the triggers
// alone are, and is no way to use them: those that pair metadata with events run too late then, after the last row.
func (c *Consumer) Copy(ctx context.Context, records []trace.Record) error {
	return pgx.BeginFunc(ctx, c.conn, func(tx pgx.Tx) error {
		var rows [][]any
		flush := func() error {
			_, err := tx.CopyFrom(ctx, pgx.Identifier{"block_trace_checkpoint"},
				[]string{"block_trace_id", "source", "main_trace", "is_control", "name", "started_at", "metadata_json", "call_id"}, pgx.CopyFromRows(rows))
			rows = rows[:0]
			return err
		}
		err := c.read(records, func(sql string, arguments ...any) error {
			if sql == insertRow {
				rows = append(rows, arguments)
				return nil
			}
			if len(rows) > 0 {
				if err := flush(); err != nil {
					return err
				}
			}
			_, err := tx.Exec(ctx, sql, arguments...)
			return err
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		return flush()
	})
}

// read turns records into statements.
func (c *Consumer) read(records []trace.Record, do func(sql string, arguments ...any) error) error {
	for _, record := range records {
		if record.Process != trace.Main {
			continue
		}
		if record.Checkpoint != "" {
			first, known := c.first[[2]string{c.block, c.tag}]
			main := c.block == trace.NoBlock || c.tag == "" || !known || first == c.call
			if err := c.row(do, main, record.Checkpoint, record.Time, nil); err != nil {
				return err
			}
			continue
		}
		for _, item := range record.Control {
			if err := c.control(do, record, item); err != nil {
				return fmt.Errorf("record %d of %s: %w", record.ID, c.node, err)
			}
		}
	}
	return nil
}

func (c *Consumer) control(do func(sql string, arguments ...any) error, record trace.Record, item trace.Item) error {
	switch item.Key {
	case "current_block":
		return json.Unmarshal(item.Value, &c.block)
	case "current_call_id":
		c.call, c.tag = string(item.Value), ""
		if tag := record.Value("current_call_tag"); tag != nil {
			if err := json.Unmarshal(tag, &c.tag); err != nil {
				return err
			}
			if key := [2]string{c.block, c.tag}; c.first[key] == "" {
				c.first[key] = c.call
			}
		}
	case "metadata":
		return c.row(do, true, item.Key, -1, item.Value)
	case "block_metadata":
		if err := c.row(do, true, item.Key, -1, item.Value); err != nil {
			return err
		}
		var numbers struct {
			Length json.RawMessage `json:"blockchain_length"`
			Slot   json.RawMessage `json:"global_slot"`
		}
		if err := json.Unmarshal(item.Value, &numbers); err != nil {
			return err
		}
		return do(updateMetadata, c.traces[c.block], item.Value, number(numbers.Length), number(numbers.Slot))
	case "produced_block_state_hash":
		var hash string
		if err := json.Unmarshal(item.Value, &hash); err != nil {
			return err
		}
		if id, known := c.traces[c.block]; known {
			c.traces[hash] = id
			return do(updateBlock, id, hash)
		}
	}
	return nil
}

// number reads "855" or ["Since_genesis","855"], and is 0 for anything else.
func number(value json.RawMessage) int {
	var text string
	var list []string
	if json.Unmarshal(value, &list) == nil && len(list) == 2 {
		text = list[1]
	} else if json.Unmarshal(value, &text) != nil {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}

// row stores a checkpoint, or control metadata, with the trace of the current block.
func (c *Consumer) row(do func(sql string, arguments ...any) error, main bool, name string, at float64, metadata json.RawMessage) error {
	id, known := c.traces[c.block]
	if !known {
		id = c.next
		c.next++
		c.traces[c.block] = id
		if err := do(insertTrace, id, c.deployment, c.node, c.block); err != nil {
			return err
		}
	}
	call, err := strconv.Atoi(c.call)
	if err != nil {
		return fmt.Errorf("call %.20q: %w", c.call, err)
	}
	isControl := metadata != nil
	if !isControl {
		metadata = json.RawMessage("[]")
	}
	return do(insertRow, id, "M", main, isControl, name, at, metadata, call)
}
