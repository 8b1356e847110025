package store

import (
	"context"
	"time"

	"provingground/fetcher"
)

// SaveNodes writes what is known of nodes to log_node, in one statement. What is not known leaves the row as it is.
func (s *Store) SaveNodes(ctx context.Context, nodes []fetcher.NodeStatus) error {
	n := len(nodes)
	if n == 0 {
		return nil
	}
	names, hosts, submitters, displays := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	states, failures := make([]string, n), make([]string, n)
	ports, producers, listed, read := make([]int32, n), make([]*bool, n), make([]bool, n), make([]*time.Time, n)
	for i, node := range nodes {
		names[i], hosts[i], submitters[i], displays[i] = nodeName(node.NodeName), clean(node.IP), clean(node.SubmitterPK), clean(node.Name)
		states[i], failures[i] = string(node.State), clean(s.secrets.Text(node.LastError))
		ports[i], producers[i], listed[i], read[i] = int32(node.GraphQLPort), node.IsBlockProducer, node.Active, orNull(node.LastSuccess)
	}
	_, err := s.pool.Exec(ctx, `INSERT INTO log_node AS old (deployment_id, node_name, host, port, submitter, display_name, is_block_producer,
			first_seen, last_seen, state, listed, read_at, last_error)
		SELECT DISTINCT ON (node_name) $1, node_name, nullif(host, ''), nullif(port, 0), nullif(submitter, ''), nullif(display_name, ''),
			is_block_producer, $2, $2, state, listed, read_at, nullif(last_error, '')
		FROM unnest($3::text[], $4::text[], $5::int[], $6::text[], $7::text[], $8::bool[], $9::text[], $10::bool[], $11::timestamptz[], $12::text[])
			AS n (node_name, host, port, submitter, display_name, is_block_producer, state, listed, read_at, last_error)
		ORDER BY node_name
		ON CONFLICT (deployment_id, node_name) DO UPDATE SET
			host = coalesce(excluded.host, old.host), port = coalesce(excluded.port, old.port),
			submitter = coalesce(excluded.submitter, old.submitter), display_name = coalesce(excluded.display_name, old.display_name),
			is_block_producer = coalesce(excluded.is_block_producer, old.is_block_producer),
			last_seen = CASE WHEN excluded.listed OR excluded.read_at > old.last_seen THEN excluded.last_seen ELSE old.last_seen END,
			state = excluded.state, listed = excluded.listed, read_at = coalesce(excluded.read_at, old.read_at), last_error = excluded.last_error`,
		s.present.Load().id, s.now().UTC(), names, hosts, ports, submitters, displays, producers, states, listed, read, failures)
	if err != nil {
		return s.masked("storing what is known of the nodes", err)
	}
	return nil
}
