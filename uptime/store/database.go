package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"provingground/internal/database"
	"provingground/uptime/service"
)

const (
	// answerTime is how long the database may take for an answer, a new connection included, wall time.
	answerTime = 5 * time.Second
	// pruneRows is how many old rows one transaction removes, so that none lasts long.
	pruneRows = 2000
)

// Database remembers submissions and nodes in the tables submissions and uptime_node of a database of this program's version
// (schema.Migrate). It is a service.Store. Several programs may share the tables if their options are the same. Make it with
// [NewDatabase]. Safe for concurrent use.
type Database struct {
	pool    *pgxpool.Pool
	options Options
}

// NewDatabase returns a Database that uses a pool; the caller closes it, after the last call. The database is not asked yet, and
// need not be there: while it is away, methods fail with service.ErrUnavailable, within 5 seconds. It refuses options below 0, and
// a history too short to tell repeated submissions.
func NewDatabase(pool *pgxpool.Pool, options Options) (*Database, error) {
	options, err := options.complete()
	if err != nil {
		return nil, err
	}
	return &Database{pool: pool, options: options}, nil
}

// A key's submissions take turns, so that two at once cannot both be the last one of the hour. The lock ends with the transaction.
const lockKey = "SELECT pg_advisory_xact_lock(hashtextextended('provingground submissions of ' || $1::text, 0))"

// accept stores a submission and its node, and tells whether there were too many already, and whether this one is new.
const accept = `WITH counted AS (
	SELECT count(*) >= $11::int AS too_many FROM (SELECT FROM submissions WHERE submitter = $1::text AND submitted_at > $3::timestamptz - interval '1 hour' LIMIT $11::int) AS latest
), stored AS (
	INSERT INTO submissions (submitter, digest, submitted_at, created_at, block_hash, remote_addr, peer_id, graphql_control_port, built_with_commit_sha)
	SELECT $1, $2::bytea, $3, $4::timestamptz, $5::text, $6::text, $7::text, nullif($8::int, 0), nullif($9::text, '') FROM counted WHERE NOT too_many
	ON CONFLICT (submitter, digest) DO NOTHING RETURNING *
), node AS (
	INSERT INTO uptime_node AS n (submitter, peer_id, remote_addr, graphql_control_port, built_with_commit_sha, created_at, last_seen)
	SELECT submitter, peer_id, remote_addr, graphql_control_port, built_with_commit_sha, created_at, submitted_at FROM stored
	ON CONFLICT (submitter, peer_id) DO UPDATE SET remote_addr = excluded.remote_addr, graphql_control_port = excluded.graphql_control_port,
		built_with_commit_sha = excluded.built_with_commit_sha, created_at = excluded.created_at, last_seen = excluded.last_seen
	WHERE n.created_at <= excluded.created_at OR n.last_seen <= $10::timestamptz
)
SELECT too_many, EXISTS (SELECT FROM stored) FROM counted`

// Accept implements service.Store: one transaction, in one round trip. Its errors wrap service.ErrTooMany, ErrReplayed or
// ErrUnavailable, or are the database's refusal. When the connection is lost before the answer, the submission may have been
// accepted all the same; then an equal one is a repeated one.
func (d *Database) Accept(ctx context.Context, s service.Accepted) error {
	if err := d.options.prepare(&s); err != nil {
		return err
	}
	submitter := s.Submitter.String()
	var tooMany, stored bool
	var batch pgx.Batch // without BEGIN, a batch is one transaction
	batch.Queue(lockKey, submitter)
	batch.Queue(accept, submitter, s.Digest[:], s.ReceivedAt, s.CreatedAt, s.BlockHash, s.RemoteAddr.String(), s.PeerID, int32(s.ControlPort),
		s.BuiltWithCommitSHA, s.ReceivedAt.Add(-d.options.Retention), d.options.PerHour).QueryRow(func(row pgx.Row) error {
		return row.Scan(&tooMany, &stored)
	})
	err := d.ask(ctx, "storing a submission", func(ctx context.Context) error { return d.pool.SendBatch(ctx, &batch).Close() })
	switch {
	case err != nil:
		return err
	case tooMany:
		return service.ErrTooMany
	case !stored:
		return service.ErrReplayed
	}
	return nil
}

// Online implements service.Store. Its errors wrap service.ErrUnavailable, or are the database's refusal.
func (d *Database) Online(ctx context.Context, since time.Time) ([]service.Online, error) {
	const query = `SELECT submitter, peer_id, remote_addr, coalesce(graphql_control_port, 0), coalesce(built_with_commit_sha, ''), created_at, last_seen
		FROM uptime_node WHERE last_seen > $1`
	var nodes []service.Online
	err := d.ask(ctx, "reading the online nodes", func(ctx context.Context) error {
		rows, err := d.pool.Query(ctx, query, moment(since))
		if err != nil {
			return err
		}
		nodes, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (node service.Online, err error) {
			err = row.Scan(&node.Submitter, &node.PeerID, &node.RemoteAddr, &node.ControlPort, &node.BuiltWithCommitSHA, &node.CreatedAt, &node.LastSeen)
			node.CreatedAt, node.LastSeen = node.CreatedAt.UTC(), node.LastSeen.UTC()
			return node, err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return sorted(nodes), nil
}

// Healthy implements service.Store: it asks whether the tables are there and may be written.
func (d *Database) Healthy(ctx context.Context) error {
	const query = `SELECT has_table_privilege('submissions', 'INSERT') AND has_table_privilege('uptime_node', 'INSERT, UPDATE')
		AND current_setting('transaction_read_only') = 'off'`
	var writable bool
	err := d.ask(ctx, "asking the database how it is", func(ctx context.Context) error { return d.pool.QueryRow(ctx, query).Scan(&writable) })
	if err == nil && !writable {
		return errors.New("the database does not let this user write the tables submissions and uptime_node: grant it that, or use the primary server")
	}
	return err
}

// Prune removes submissions that are older than Options.KeepSubmissions, in small transactions, and nodes that have not been online
// for a while. Call it every minute or so; two programs may do so at once. Its errors are those of Online; what was removed until
// then stays removed.
func (d *Database) Prune(ctx context.Context) error {
	const nodes = `WITH old AS MATERIALIZED (
		SELECT submitter, peer_id FROM uptime_node WHERE last_seen < $1 LIMIT $2 FOR UPDATE SKIP LOCKED
	) DELETE FROM uptime_node AS n USING old WHERE (n.submitter, n.peer_id) = (old.submitter, old.peer_id)`
	const submissions = `WITH old AS MATERIALIZED (
		SELECT submitter, digest FROM submissions WHERE submitted_at < $1 AND created_at < $1 ORDER BY submitted_at LIMIT $2 FOR UPDATE SKIP LOCKED
	) DELETE FROM submissions AS s USING old WHERE (s.submitter, s.digest) = (old.submitter, old.digest)`
	now := moment(d.options.Now())
	if err := d.remove(ctx, "removing nodes that went away", nodes, now.Add(-d.options.Retention-slack)); err != nil {
		return err
	}
	return d.remove(ctx, "removing old submissions", submissions, now.Add(-d.options.KeepSubmissions))
}

// remove repeats a statement until there is nothing left for it.
func (d *Database) remove(ctx context.Context, doing, statement string, before time.Time) error {
	for {
		var tag pgconn.CommandTag
		err := d.ask(ctx, doing, func(ctx context.Context) (err error) {
			tag, err = d.pool.Exec(ctx, statement, before, pruneRows)
			return err
		})
		if err != nil || tag.RowsAffected() < pruneRows {
			return err
		}
	}
}

// ask does something that needs the database's answer, within answerTime, and tells failures that may pass from refusals. The end of
// the caller's context is neither.
func (d *Database) ask(ctx context.Context, doing string, do func(context.Context) error) error {
	return database.Ask(ctx, answerTime, service.ErrUnavailable, doing, do)
}
