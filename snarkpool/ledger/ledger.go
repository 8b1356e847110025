package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrUnavailable says that PostgreSQL is away, did not answer in time, or cannot do it now: the same call may succeed later. What was asked
// for may have been done all the same; every method can be repeated without harm unless it says otherwise.
var ErrUnavailable = errors.New("the database is not available")

// errSilent is the end of the time for an answer.
var errSilent = errors.New("no answer in time")

// answerTime is how long the database may take for an answer, a new connection included, wall time.
const answerTime = 10 * time.Second

// Ledger is the shared part of the pool, in the tables snark_pool_… of a database of this program's version (schema.Migrate). Make it with
// [New]. Safe for concurrent use, by several programs too.
type Ledger struct {
	pool *pgxpool.Pool
}

// New returns a ledger that uses a connection pool; the caller closes it after the last call. The database is not asked yet and need not be
// there: while it is away, methods fail with [ErrUnavailable], within 10 seconds.
func New(pool *pgxpool.Pool) *Ledger { return &Ledger{pool: pool} }

// ask does something that needs the database's answer, and tells failures that may pass from refusals. The end of the caller's context is
// neither.
func (l *Ledger) ask(ctx context.Context, doing string, do func(context.Context) error) error {
	limited, cancel := context.WithTimeoutCause(ctx, answerTime, errSilent)
	defer cancel()
	err := do(limited)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	case limited.Err() != nil:
		return fmt.Errorf("%s: %w: %w", doing, ErrUnavailable, context.Cause(limited))
	case passing(err):
		return fmt.Errorf("%s: %w: %w", doing, ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// finalError is a failure of our own that no repetition mends.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// passing tells whether the same statement may succeed later: all that is no answer of the server, and of its answers (PostgreSQL's error
// codes) those of a connection that failed, of a login that is refused now, of a transaction that lost against another, of resources that are
// used up, of an operator who intervened, of the system, of a database that is being restored, and of a standby server.
func passing(err error) bool {
	var final finalError
	if errors.As(err, &final) {
		return false
	}
	var refusal *pgconn.PgError
	if !errors.As(err, &refusal) {
		return true
	}
	if len(refusal.Code) != 5 {
		return false
	}
	switch refusal.Code[:2] {
	case "08", "28", "40", "53", "57", "58":
		return true
	}
	return refusal.Code == "3D000" || refusal.Code == "25006"
}

// query collects the rows of a query into structs, by the columns' names.
func query[T any](ctx context.Context, l *Ledger, doing, sql string, arguments ...any) (list []T, err error) {
	err = l.ask(ctx, doing, func(ctx context.Context) error {
		rows, err := l.pool.Query(ctx, sql, arguments...)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, pgx.RowToStructByName[T])
		return err
	})
	return list, err
}

// execute runs a statement and returns how many rows it changed.
func (l *Ledger) execute(ctx context.Context, doing, sql string, arguments ...any) (changed int64, err error) {
	err = l.ask(ctx, doing, func(ctx context.Context) error {
		tag, err := l.pool.Exec(ctx, sql, arguments...)
		changed = tag.RowsAffected()
		return err
	})
	return changed, err
}
