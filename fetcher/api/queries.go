package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"provingground/fetcher/trace"
)

const maxTraces = 10_000 // blockTraces gives at most

// query writes the answer of one field.
type query func(ctx context.Context, tx pgx.Tx, given arguments, out *answer) error

// queryOf returns the query of a field of the schema.
func (s *Server) queryOf(field string) query {
	switch field {
	case "deployments":
		return s.queryDeployments
	case "nodes":
		return s.queryNodes
	case "blockTraces":
		return s.queryBlockTraces
	case "blockTrace":
		return s.queryBlockTrace
	case "blockStructuredTrace":
		return s.queryBlockStructuredTrace
	case "blockTracesDistribution":
		return s.queryDistribution
	case "blockTracesDistributionStructured":
		return s.queryDistributionStructured
	}
	return func(context.Context, pgx.Tx, arguments, *answer) error {
		return fmt.Errorf("field %s is in the schema, but not served", field)
	}
}

// text returns an argument that the schema requires.
func (a arguments) text(name string) string {
	text, _ := a[name].(string)
	return text
}

// integer returns an argument, or another number when it was not given.
func (a arguments) integer(name string, otherwise int64) int64 {
	if number, given := a[name].(int64); given {
		return number
	}
	return otherwise
}

// deployment returns the deployment that a field is about.
func (s *Server) deployment(given arguments) int64 {
	return given.integer("deployment_id", given.integer("deploymentId", s.options.Deployment()))
}

func (s *Server) queryDeployments(ctx context.Context, tx pgx.Tx, _ arguments, out *answer) error {
	rows, err := tx.Query(ctx, `SELECT deployment_id FROM deployment ORDER BY deployment_id`)
	if err != nil {
		return err
	}
	return writeRows(out, rows, func(row struct{ ID int64 }) any { return row.ID })
}

// queryNodes gives the nodes that were discovered, too: whether one has distributions yet says nothing about its traces.
func (s *Server) queryNodes(ctx context.Context, tx pgx.Tx, given arguments, out *answer) error {
	type node struct {
		ID   int64  `json:"id"`
		Name string `json:"name"`
	}
	rows, err := tx.Query(ctx, `SELECT deployment_id, node_name FROM data WHERE deployment_id = $1
		UNION SELECT deployment_id, node_name FROM log_node WHERE deployment_id = $1 ORDER BY node_name`, s.deployment(given))
	if err != nil {
		return err
	}
	return writeRows(out, rows, func(row node) any { return row })
}

const blockTracesQuery = `SELECT ` + infoColumns + ` FROM block_trace WHERE deployment_id = $1 AND node_name = $2
	AND ($3::bigint IS NULL OR global_slot BETWEEN $3 AND $4::bigint) AND ($5::bigint IS NULL OR blockchain_length BETWEEN $5 AND $6::bigint)
ORDER BY CASE WHEN $7 THEN -block_trace_id ELSE block_trace_id END LIMIT $8 OFFSET $9`

func (s *Server) queryBlockTraces(ctx context.Context, tx pgx.Tx, given arguments, out *answer) error {
	limit, offset := given.integer("maxLength", maxTraces), given.integer("offset", 0)
	if limit < 0 || offset < 0 {
		return badRequest("maxLength and offset cannot be negative")
	}
	// Lengths or slots in (last − chainLength, last]; null where neither is asked for.
	span := func(last string) (from, to any) {
		if given[last] == nil {
			return nil, nil
		}
		to = given.integer(last, 0)
		return given.integer(last, 0) - given.integer("chainLength", 1) + 1, to
	}
	firstSlot, lastSlot := span("global_slot")
	firstLength, lastLength := span("height")
	if lastSlot != nil {
		firstLength, lastLength = nil, nil
	}
	rows, err := tx.Query(ctx, blockTracesQuery, s.deployment(given), given.text("node_name"), firstSlot, lastSlot, firstLength, lastLength,
		strings.EqualFold(given.text("order"), "Descending"), min(limit, maxTraces), offset)
	if err != nil {
		return err
	}
	if err := out.addAll(literal(`{"traces":`)); err != nil {
		rows.Close()
		return err
	}
	if err := writeRows(out, rows, func(row traceColumns) any {
		found, metadata := row.trace()
		return trace.NewInfo(found, row.DeploymentID, metadata)
	}); err != nil {
		return err
	}
	return out.addAll(literal(`,"produced_traces":[]}`))
}

func (s *Server) queryBlockTrace(ctx context.Context, tx pgx.Tx, given arguments, out *answer) error {
	return s.withBlock(ctx, tx, given, out, func(b block) any { return trace.Flat(b.trace, b.deployment, b.metadata, b.rows) })
}

func (s *Server) queryBlockStructuredTrace(ctx context.Context, tx pgx.Tx, given arguments, out *answer) error {
	return s.withBlock(ctx, tx, given, out, func(b block) any { return s.nesting.Structured(b.trace, b.deployment, b.metadata, b.rows) })
}

func (s *Server) withBlock(ctx context.Context, tx pgx.Tx, given arguments, out *answer, view func(block) any) error {
	found, err := s.readBlock(ctx, tx, s.deployment(given), given.text("node_name"), given.text("block_identifier"))
	if errors.Is(err, pgx.ErrNoRows) {
		return out.add(nil)
	}
	if err != nil {
		return err
	}
	return out.add(view(found))
}

func (s *Server) queryDistribution(ctx context.Context, tx pgx.Tx, given arguments, out *answer) error {
	distributions, err := s.readDistributions(ctx, tx, given)
	if err != nil {
		return err
	}
	return out.add(distributions.ByTotalTime())
}

func (s *Server) queryDistributionStructured(ctx context.Context, tx pgx.Tx, given arguments, out *answer) error {
	distributions, err := s.readDistributions(ctx, tx, given)
	if err != nil {
		return err
	}
	return out.add(s.nesting.Distributions(distributions))
}

func (s *Server) readDistributions(ctx context.Context, tx pgx.Tx, given arguments) (trace.Distributions, error) {
	var text string
	err := tx.QueryRow(ctx, `SELECT value FROM data WHERE key = 'checkpoint_distributions' AND deployment_id = $1 AND node_name = $2`,
		s.deployment(given), given.text("node_name")).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var distributions trace.Distributions
	if err := distributions.UnmarshalJSON([]byte(text)); err != nil {
		return nil, odd(fmt.Errorf("distributions of node %s: %w", given.text("node_name"), err))
	}
	return distributions, nil
}
