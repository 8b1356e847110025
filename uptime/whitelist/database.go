package whitelist

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"
)

const (
	databaseEvery = 10 * time.Second
	// answerTime is how long the database may take for an answer, wall time.
	answerTime = 5 * time.Second
)

// errSilent is the end of answerTime.
var errSilent = errors.New("no answer within 5s")

// Database is the list in the table uptime_whitelist of a database of this program's version (schema.Migrate). Rows that are no
// public keys are ignored. Make it with [NewDatabase]. Safe for concurrent use, but for Refresh and Run, of which one may be under way.
type Database struct {
	list
	pool    *pgxpool.Pool
	ignored atomic.Pointer[[]error]
}

// NewDatabase returns the list in the database of a pool, which the caller closes. It is not asked before [Database.Refresh] or [Database.Run].
func NewDatabase(pool *pgxpool.Pool, options Options) *Database {
	d := &Database{pool: pool}
	d.ignored.Store(&[]error{})
	d.init(options.complete(databaseEvery))
	return d
}

// Run keeps the list as the table is, until ctx ends.
func (d *Database) Run(ctx context.Context) { d.watch(ctx, d.Refresh) }

// Refresh reads the table. The error is what Healthy returns from then on; the end of ctx is none.
func (d *Database) Refresh(ctx context.Context) error {
	texts, err := d.read(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		err = fmt.Errorf("whitelist in the database: %w", err)
		d.fail(err)
		return err
	}
	before := d.state.Load().keys
	now := newKeys()
	ignored := []error{}
	for i, text := range texts {
		if err := now.add(text, before); err != nil {
			ignored = append(ignored, fmt.Errorf("table uptime_whitelist: row %d of those sorted by submitter COLLATE \"C\": %w", i+1, err))
		}
	}
	if !d.Loaded().IsZero() && maps.Equal(now.texts, before.texts) {
		now = before // nothing to tell
	}
	d.tell(ignored)
	d.succeed(now)
	return nil
}

// read returns the texts in the table, sorted.
func (d *Database) read(ctx context.Context) ([]string, error) {
	limited, cancel := context.WithTimeoutCause(ctx, answerTime, errSilent)
	defer cancel()
	rows, err := d.pool.Query(limited, `SELECT submitter FROM uptime_whitelist ORDER BY submitter COLLATE "C"`)
	if err != nil {
		return nil, err
	}
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil && limited.Err() != nil {
		return nil, context.Cause(limited)
	}
	return texts, err
}

// tell remembers the rows that are ignored, and logs them when they are others than before.
func (d *Database) tell(ignored []error) {
	before := d.ignored.Swap(&ignored)
	same := slices.EqualFunc(*before, ignored, func(a, b error) bool { return a.Error() == b.Error() })
	if len(ignored) > 0 && !same {
		first := errors.Join(ignored[:min(maxMistakes, len(ignored))]...)
		d.options.Log.Warn("rows of the whitelist are no public keys; they are ignored", zap.Int("rows", len(ignored)), zap.NamedError("first", first))
	}
}

// Ignored returns an error for each row that is no public key. None quotes it.
func (d *Database) Ignored() []error { return slices.Clone(*d.ignored.Load()) }
