package evidence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"provingground/orchestrator/itn"
)

// storedNode is a node of the newest deployment.
type storedNode struct {
	id         int
	deployment int
	name       string
	read       *time.Time // wall time
	active     bool       // it is listed, and somebody reads it
}

// Gather writes what was stored of the nodes' logs, a folder for each node: raw lines, structured traces and gaps. Nodes that are being read and were not
// read to the end of the time that is wanted are waited for. It fails where the database cannot be asked or a file cannot be written.
func (d *Database) Gather(ctx context.Context, g Gathering) ([]Gathered, error) {
	err := g.await(ctx, func() (bool, error) {
		for _, address := range g.Nodes {
			n, err := d.node(ctx, address)
			if err != nil || n != nil && n.active && !g.readTo(n.readTo(g)) {
				return true, err
			}
		}
		return false, nil
	})
	if err != nil {
		return nil, d.masked("gather the nodes' logs", err)
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

// readTo is the network time up to which the node was read; zero: never.
func (n *storedNode) readTo(g Gathering) time.Time {
	if n.read == nil {
		return time.Time{}
	}
	return g.time().FromWall(*n.read)
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
	n, err := d.node(ctx, address)
	if err != nil {
		return Gathered{Node: address}, err
	}
	if n == nil {
		return Gathered{Node: address, Missing: "the fetcher does not know the node: see that it is in the list of nodes"}, nil
	}
	gaps, err := d.gapsOf(ctx, n)
	if err != nil {
		return Gathered{Node: address}, err
	}
	folder := g.folder(address, n.name)
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return Gathered{Node: address}, fmt.Errorf("make its folder: %w", err)
	}
	kept := keptNode{
		name: n.name, deployment: int64(n.deployment), read: n.readTo(g), gaps: gaps,
		entries: func(since time.Time, take func(itn.Log) error, restarted func()) error {
			return d.entries(ctx, n, since, g.To, take, restarted)
		},
	}
	return g.write(address, kept, func(name string) (io.WriteCloser, error) {
		return os.OpenFile(filepath.Join(folder, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640) //nolint:gosec,wrapcheck // a folder of ours; says it all
	})
}

// gapsOf returns what is missing of a node's log.
func (d *Database) gapsOf(ctx context.Context, n *storedNode) ([]lostPart, error) {
	rows, err := d.pool.Query(ctx, `SELECT server_uuid::text, from_id, to_id, lost, time_before, time_after, found_at, reason FROM (`+gapsQuery+`) AS g
		WHERE node_id = $2 ORDER BY found_at, from_id`, n.deployment, n.id)
	if err != nil {
		return nil, fmt.Errorf("read its gaps: %w", err)
	}
	gaps, err := pgx.CollectRows(rows, pgx.RowToStructByPos[lostPart])
	if err != nil {
		return nil, fmt.Errorf("read its gaps: %w", err)
	}
	return gaps, nil
}

// entries gives the node's entries of a stretch of network time, in the order in which the node logged them.
func (d *Database) entries(ctx context.Context, n *storedNode, from, to time.Time, take func(itn.Log) error, restarted func()) error {
	rows, err := d.pool.Query(ctx, `SELECT e.log_id, e.logged_at, coalesce(e.process, ''), e.message, e.metadata, e.server_uuid::text
		FROM log_entry e LEFT JOIN log_cursor c ON c.deployment_id = e.deployment_id AND c.node_id = e.node_id AND c.server_uuid = e.server_uuid
		WHERE e.deployment_id = $1 AND e.node_id = $2 AND e.logged_at >= $3 AND e.logged_at <= $4
		ORDER BY c.started_at, e.server_uuid, e.log_id`, n.deployment, n.id, from, to)
	if err != nil {
		return fmt.Errorf("read its entries: %w", err)
	}
	var id int64
	var at time.Time
	var process, message, server, daemon string
	var metadata map[string]json.RawMessage
	_, err = pgx.ForEachRow(rows, []any{&id, &at, &process, &message, &metadata, &server}, func() error {
		if daemon != "" && daemon != server {
			restarted()
		}
		daemon = server
		entry := itn.Log{ID: int(id), Timestamp: at, Process: process, Message: message}
		for _, key := range slices.Sorted(maps.Keys(metadata)) {
			entry.Metadata = append(entry.Metadata, itn.LogMetadatum{Item: key, Value: metadata[key]})
		}
		metadata = nil // the next row's is another one
		return take(entry)
	})
	if err != nil {
		return fmt.Errorf("read its entries: %w", err)
	}
	return nil
}
