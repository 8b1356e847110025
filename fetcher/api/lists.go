package api

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// Bounds of a page.
const (
	defaultPage = 100
	maxPage     = 1000
)

// page is what the lists have in common in their query strings.
type page struct {
	node       string
	deployment int64
	limit      int64
	after      int64 // the "next" of the page before; 0 for the first
}

func (s *Server) pageOf(r *http.Request) (page, error) {
	node, err := parameter(r, "node")
	if err != nil {
		return page{}, err
	}
	p := page{node: node}
	if p.deployment, err = number(r, "deployment", s.options.Deployment(), 1, math.MaxInt32); err != nil {
		return page{}, err
	}
	if p.limit, err = number(r, "limit", defaultPage, 1, maxPage); err != nil {
		return page{}, err
	}
	if p.after, err = number(r, "after", 0, 0, math.MaxInt64); err != nil {
		return page{}, err
	}
	return p, nil
}

// number reads a whole number of the query string.
func number(r *http.Request, name string, otherwise, least, most int64) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil || value < least || value > most {
		return 0, badRequest("%s: a whole number from %d to %d is expected, not %.40q", name, least, most, text)
	}
	return value, nil
}

// inUTC writes a time as RFC 3339 has it; in the database, because nodes may tell of years that Go does not write.
const inUTC = ` AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`

// gapRow is a gap in a node's log. Counts and times that are not known are null.
type gapRow struct {
	ID           int64   `json:"gap_id"`
	DeploymentID int32   `json:"deployment_id"`
	NodeName     string  `json:"node_name"`
	ServerUUID   string  `json:"server_uuid"`
	FromID       int64   `json:"from_id"`
	ToID         *int64  `json:"to_id"`
	Lost         *int64  `json:"lost"`
	TimeBefore   *string `json:"time_before"` // by the node's clock
	TimeAfter    *string `json:"time_after"`  // by the node's clock
	Reason       *string `json:"reason"`
	FoundAt      string  `json:"found_at"`
}

const gapsQuery = `SELECT g.gap_id, g.deployment_id, n.node_name, g.server_uuid::text, g.from_id, g.to_id, g.lost,
	to_char(g.time_before` + inUTC + `, to_char(g.time_after` + inUTC + `, g.reason, to_char(g.found_at` + inUTC + `
FROM log_gap g JOIN log_node n ON n.node_id = g.node_id
WHERE g.deployment_id = $1 AND ($2 = '' OR n.node_name = $2) AND g.gap_id > $3
ORDER BY g.gap_id LIMIT $4`

func (s *Server) gaps(w http.ResponseWriter, r *http.Request) error {
	p, err := s.pageOf(r)
	if err != nil {
		return err
	}
	return sendPage(w, r, s, "gaps", p, func(row gapRow) int64 { return row.ID }, gapsQuery, p.deployment, p.node, p.after, p.limit+1)
}

// traceRow is a block trace in a list. What is not known is null.
type traceRow struct {
	ID               int64    `json:"block_trace_id"`
	DeploymentID     int32    `json:"deployment_id"`
	NodeName         string   `json:"node_name"`
	BlockID          string   `json:"block_id"`
	Source           string   `json:"source"`
	Status           string   `json:"status"`
	BlockchainLength *int32   `json:"blockchain_length"`
	GlobalSlot       *int32   `json:"global_slot"`
	StartedAt        *string  `json:"started_at"`    // by the node's clock
	TotalSeconds     *float64 `json:"total_seconds"` // so far
}

// The times of a node are within the years 1970 to 9999, see package trace.
const tracesQuery = `SELECT block_trace_id, deployment_id, node_name, block_id, source, status, nullif(blockchain_length, 0), nullif(global_slot, 0),
	CASE WHEN trace_started_at >= 0 THEN to_char(to_timestamp(trace_started_at)` + inUTC + ` END,
	CASE WHEN trace_started_at >= 0 THEN total_time END
FROM block_trace
WHERE deployment_id = $1 AND node_name = $2 AND ($3 = 0 OR block_trace_id < $3)
ORDER BY block_trace_id DESC LIMIT $4`

func (s *Server) traces(w http.ResponseWriter, r *http.Request) error {
	p, err := s.pageOf(r)
	if err != nil {
		return err
	}
	if p.node == "" {
		return badRequest("node is missing: the node_name of one of GET /nodes?all=1")
	}
	return sendPage(w, r, s, "traces", p, func(row traceRow) int64 { return row.ID }, tracesQuery, p.deployment, p.node, p.after, p.limit+1)
}

// sendPage answers with a page of rows, of which the query gives one more than the page has when there are further ones.
func sendPage[T any](w http.ResponseWriter, r *http.Request, s *Server, name string, p page, id func(T) int64, query string, arguments ...any) error {
	var list []T
	err := s.read(r.Context(), func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, query, arguments...)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[T])
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		if len(list) == 0 {
			return s.mustKnow(ctx, tx, p.deployment, p.node)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var next *int64
	if int64(len(list)) > p.limit {
		list = list[:p.limit]
		last := id(list[p.limit-1])
		next = &last
	}
	return writeJSON(w, http.StatusOK, map[string]any{name: list, "next": next})
}
