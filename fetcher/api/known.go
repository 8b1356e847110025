package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"provingground/fetcher"
)

// An empty list says that there is nothing of a node or a deployment; of one that is not known it would say what nobody knows.

// maxTold is how many names or numbers an error tells.
const maxTold = 10

// mustKnow returns a problem that says what there is, unless there are this deployment and, if one is named, this node in it.
func (s *Server) mustKnow(ctx context.Context, tx pgx.Tx, deployment int64, node string) error {
	if deployment == 0 {
		return nil // none was made yet
	}
	newestFirst, err := listed[int64](ctx, tx, `SELECT deployment_id FROM deployment ORDER BY deployment_id DESC`)
	if err != nil {
		return err
	}
	if !slices.Contains(newestFirst, deployment) {
		return notFound("there is no deployment %d: there are %s", deployment, told(newestFirst))
	}
	if node == "" || deployment == s.options.Deployment() && s.collects(node) {
		return nil
	}
	names, err := listed[string](ctx, tx, `SELECT node_name FROM log_node WHERE deployment_id = $1 UNION SELECT node_name FROM data WHERE deployment_id = $1 ORDER BY node_name`, deployment)
	if err != nil {
		return err
	}
	if !slices.Contains(names, node) {
		return notFound("deployment %d has no node %.200q: it has %s", deployment, node, told(names))
	}
	return nil
}

// mustKnowAnywhere is mustKnow for a node of any deployment.
func (s *Server) mustKnowAnywhere(ctx context.Context, node string) error {
	if s.collects(node) {
		return nil
	}
	return s.read(ctx, func(ctx context.Context, tx pgx.Tx) error {
		names, err := listed[string](ctx, tx, `SELECT node_name FROM log_node UNION SELECT node_name FROM data ORDER BY node_name`)
		if err == nil && !slices.Contains(names, node) {
			return notFound("there is no node %.200q: there are %s", node, told(names))
		}
		return err
	})
}

// collects tells whether the collector knows a node, of which the database is told a little later.
func (s *Server) collects(node string) bool {
	return slices.ContainsFunc(s.options.Collector.Nodes(), func(n fetcher.NodeStatus) bool { return n.NodeName == node })
}

// listed returns the values of a query's only column.
func listed[T any](ctx context.Context, tx pgx.Tx, query string, arguments ...any) ([]T, error) {
	rows, err := tx.Query(ctx, query, arguments...)
	if err != nil {
		return nil, err
	}
	values, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		return nil, fmt.Errorf("reading what there is: %w", err)
	}
	return values, nil
}

// told lists the first of some values.
func told[T any](values []T) string {
	if len(values) == 0 {
		return "none"
	}
	var texts []string
	for _, value := range values[:min(len(values), maxTold)] {
		texts = append(texts, fmt.Sprint(value))
	}
	if more := len(values) - maxTold; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, ", ")
}

func notFound(format string, arguments ...any) error {
	return &problem{status: http.StatusNotFound, text: fmt.Sprintf(format, arguments...)}
}
