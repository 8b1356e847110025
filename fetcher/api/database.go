package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	queryTime   = 30 * time.Second // for whatever a request does in the database
	cleanUpTime = 5 * time.Minute  // for the clean-up
	connectTime = 5 * time.Second  // to get a connection, or a turn for one
)

// errTimeout is the cause of a context that ended because the database took too long.
var errTimeout = errors.New("the database took too long")

// read runs queries in a transaction that sees one state of the database. The error is a [problem].
func (s *Server) read(ctx context.Context, queries func(ctx context.Context, tx pgx.Tx) error) error {
	return s.transact(ctx, queryTime, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, queries)
}

// write runs statements in a transaction of their own.
func (s *Server) write(ctx context.Context, limit time.Duration, statements func(ctx context.Context, tx pgx.Tx) error) error {
	return s.transact(ctx, limit, pgx.TxOptions{}, statements)
}

func (s *Server) transact(ctx context.Context, limit time.Duration, options pgx.TxOptions, run func(ctx context.Context, tx pgx.Tx) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errTimeout)
	defer cancel()
	conn, release, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer release()
	err = pgx.BeginTxFunc(ctx, conn, options, func(tx pgx.Tx) error {
		// The server must give up, too, when it does not notice that nobody waits any more.
		if _, err := tx.Exec(ctx, `SELECT set_config('statement_timeout', $1, true)`, strconv.FormatInt(limit.Milliseconds(), 10)); err != nil {
			return err
		}
		return run(ctx, tx)
	})
	if err != nil {
		return databaseProblem(ctx, err)
	}
	return nil
}

// beginner is a connection of the pool.
type beginner interface {
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// connect waits for a turn and a connection.
func (s *Server) connect(ctx context.Context) (conn beginner, release func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, connectTime, errTimeout)
	defer cancel()
	select {
	case s.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, unavailable("too many requests wait for the database", context.Cause(ctx))
	}
	acquired, err := s.options.Pool.Acquire(ctx)
	if err != nil {
		<-s.turns
		return nil, nil, unavailable("the database cannot be reached", err)
	}
	return acquired, func() {
		acquired.Release()
		<-s.turns
	}, nil
}

func unavailable(text string, cause error) error {
	return &problem{status: http.StatusServiceUnavailable, text: text + ": try again in a few seconds", retry: true, cause: cause}
}

// odd is the problem of an error that should not happen, unless it has one already.
func odd(cause error) error {
	if _, known := errors.AsType[*problem](cause); known {
		return cause
	}
	return &problem{status: http.StatusInternalServerError, text: "this failed for a reason that the fetcher's log has", cause: cause, isOdd: true}
}

// asProblem finds the problem that an error is, or makes one of an error of PostgreSQL.
func asProblem(err error) *problem {
	if known, is := errors.AsType[*problem](err); is {
		return known
	}
	if refused, is := errors.AsType[*pgconn.PgError](err); is {
		switch class := refused.Code[:min(2, len(refused.Code))]; class {
		case "22", "54": // data exceptions; limits of the server, such as the depth of JSON
			err = &problem{status: http.StatusBadRequest, text: "the database refuses a value of this request: NUL in a text, half a surrogate pair, or a number or nesting beyond its limits", cause: err}
		case "08", "0A", "25", "3D", "40", "42", "53", "55", "57", "58":
			// No connection, a plan that a migration made void, a lost transaction, no database, a deadlock, not migrated, no resources, not
			// ready, shut down, input and output.
			err = unavailable("the database cannot answer now", err)
		}
	}
	found, _ := errors.AsType[*problem](odd(err))
	return found
}

// databaseProblem tells a time-out from other errors of a transaction.
func databaseProblem(ctx context.Context, err error) error {
	if _, known := errors.AsType[*problem](err); known {
		return err
	}
	refused, _ := errors.AsType[*pgconn.PgError](err)
	if errors.Is(context.Cause(ctx), errTimeout) || refused != nil && refused.Code == "57014" {
		return &problem{status: http.StatusServiceUnavailable, text: "the database took too long: ask for less, or try again later", retry: true, cause: err}
	}
	if refused == nil {
		return unavailable("the database does not answer", err)
	}
	return asProblem(err)
}

// writeRows writes what value makes of the rows of a query as a JSON array, one at a time.
func writeRows[T any](out *answer, rows pgx.Rows, value func(row T) any) error {
	defer rows.Close()
	separator := literal("[")
	for rows.Next() {
		row, err := pgx.RowToStructByPos[T](rows)
		if err != nil {
			return odd(fmt.Errorf("reading a row: %w", err))
		}
		if err := out.addAll(separator, value(row)); err != nil {
			return err
		}
		separator = ","
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading rows: %w", err)
	}
	if separator == "[" {
		return out.addAll(literal("[]"))
	}
	return out.addAll(literal("]"))
}
