package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"provingground/internal/database"
)

// ErrUnavailable says that PostgreSQL is away, did not answer in time, or cannot do it now: the same call may succeed later. What was asked
// for may have been done all the same; every method can be repeated without harm unless it says otherwise.
var ErrUnavailable = errors.New("the database is not available")

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
	return database.Ask(ctx, answerTime, ErrUnavailable, doing, do)
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
