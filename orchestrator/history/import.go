package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"provingground/orchestrator/record"
	"provingground/schema"
)

// flushLines is how many lines become rows at once: what a fold holds meanwhile is bounded by it.
const flushLines = 1000

// Run is a run that a record tells of.
type Run struct {
	// ID names the run in table run.
	ID string
	// Lines is how many lines of its record there are.
	Lines int64
	// Stored reports whether they were stored now. They are not where the database has all of them already, or a record of the same run
	// that has come further.
	Stored bool
}

// Import stores the runs of a record, whose name is for errors, and returns them in order; a run whose record stands in it twice is told
// twice. A last line that was cut off is ignored. Each run is one transaction, so that one which is refused leaves nothing of itself.
//
// The errors that a caller may test are [record.ErrNoRecord] and those of [schema.Check]. None shows the password of uri.
func Import(ctx context.Context, uri, name string, from io.Reader) (runs []Run, err error) {
	conn, err := connect(ctx, uri)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	var w *writing
	defer func() {
		if w != nil {
			err = errors.Join(err, w.abandon(ctx))
		}
	}()
	finish := func() error {
		if w == nil {
			return nil
		}
		run, err := w.finish(ctx)
		if err == nil {
			runs = append(runs, run)
		}
		w = nil
		return err
	}
	_, err = record.Read(name, from, func(line record.Line) error {
		if line.Name == lineRun {
			if err := finish(); err != nil {
				return err
			}
			f, err := newFold(line)
			if err != nil {
				return err
			}
			w, err = begin(ctx, conn, f)
			return err
		}
		if w == nil {
			return errNoRun
		}
		if err := w.fold.take(line); err != nil {
			return err
		}
		if w.fold.lines%flushLines == 0 {
			return w.flush(ctx)
		}
		return nil
	})
	if err == nil {
		err = finish()
	}
	if err != nil {
		return runs, fmt.Errorf("store the history of the run: %w", err)
	}
	return runs, nil
}

// connect opens a connection to a database that has our tables.
func connect(ctx context.Context, uri string) (*pgx.Conn, error) {
	config, err := configure(uri)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, unreachable(config, err)
	}
	if err := ready(ctx, conn); err != nil {
		return nil, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	return conn, nil
}

// unreachable says why a database was not reached, and what to do.
func unreachable(config *pgx.ConnConfig, err error) error {
	if strings.HasPrefix(config.Host, "/") && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)) {
		return fmt.Errorf("connect to the database of dbUri: nobody listens at its socket in %s; a fetcher's own PostgreSQL lives only while that fetcher runs, so start the fetcher again with the same directory: %w",
			config.Host, err)
	}
	return fmt.Errorf("connect to the database of dbUri, is it running, and is that its address? %w", err) // pgx names user, database and host, not the password
}

// connectTime bounds one attempt to connect.
const connectTime = 10 * time.Second

func configure(uri string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(uri)
	if err != nil {
		return nil, errors.New("dbUri is no address of a PostgreSQL database: write postgres://USER@HOST:PORT/DATABASE") // pgx's error quotes it
	}
	config.ConnectTimeout = min(connectTime, max(config.ConnectTimeout, 0))
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTime
	}
	return config, nil
}

// ready checks that the database has our tables. The fetcher makes them, and owns them: a run changes no more than its own rows.
func ready(ctx context.Context, conn *pgx.Conn) error {
	err := schema.Check(ctx, conn)
	switch {
	case errors.Is(err, schema.ErrNotMigrated):
		return fmt.Errorf("the database of dbUri has no tables of this version, start the fetcher on it, or call fetcher migrate --db-uri URI, which makes them: %w", err)
	case err != nil:
		return fmt.Errorf("the database of dbUri: %w", err)
	}
	return nil
}

// writing is a transaction that writes a run anew.
type writing struct {
	fold *fold
	tx   pgx.Tx
	had  progress
}

// progress is how far a record of a run has come.
type progress struct {
	stored  bool // whether there is any
	lines   int64
	resumed *time.Time
}

// continued is when the run was last continued; zero when it never was.
func (p progress) continued() time.Time {
	if p.resumed == nil {
		return time.Time{}
	}
	return *p.resumed
}

// continued is the same of a record, as exactly as PostgreSQL keeps it.
func (f *fold) continued() time.Time { return f.resumed.Truncate(time.Microsecond) }

// further reports whether a record has come further than p. A continuation holds what went before it.
func (p progress) further(f *fold) bool {
	if stored, now := p.continued(), f.continued(); p.stored && !now.Equal(stored) {
		return now.After(stored)
	}
	return !p.stored || f.lines > p.lines
}

// begin begins to write a run anew. Whoever else writes the same run waits.
func begin(ctx context.Context, conn *pgx.Conn, f *fold) (*writing, error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller says what
	}
	w := &writing{fold: f, tx: tx}
	if err := w.replace(ctx); err != nil {
		return nil, errors.Join(err, w.abandon(ctx))
	}
	return w, nil
}

// replace takes the run away that is stored, all but its deployment.
func (w *writing) replace(ctx context.Context) error {
	if _, err := w.tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('provingground run ' || $1, 0))", w.fold.id); err != nil {
		return err //nolint:wrapcheck // the caller says what
	}
	// A follower that goes on adds rows with the run's row locked: it is through, or waits, before they are taken away.
	err := w.tx.QueryRow(ctx, "SELECT lines, resumed_at FROM run WHERE run_id = $1 FOR UPDATE", w.fold.id).Scan(&w.had.lines, &w.had.resumed)
	w.had.stored = err == nil
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err //nolint:wrapcheck // the caller says what
	}
	b := &pgx.Batch{}
	for _, table := range []string{"run_step", "run_output", "run_verdict", "run_load"} {
		b.Queue("DELETE FROM "+table+" WHERE run_id = $1", w.fold.id)
	}
	b.Queue(upsert, w.fold.run()...)
	return w.tx.SendBatch(ctx, b).Close() //nolint:wrapcheck // the caller says what
}

// flush writes the rows so far.
func (w *writing) flush(ctx context.Context) error {
	return w.tx.SendBatch(ctx, w.fold.batch()).Close() //nolint:wrapcheck // the caller says what
}

// finish commits the run, unless what is stored has come as far.
func (w *writing) finish(ctx context.Context) (Run, error) {
	run := Run{ID: w.fold.id, Lines: w.fold.lines}
	b := w.fold.batch()
	if !w.had.further(w.fold) {
		return run, w.abandon(ctx)
	}
	b.Queue(upsert, w.fold.run()...)
	if err := w.tx.SendBatch(ctx, b).Close(); err != nil {
		return run, errors.Join(err, w.abandon(ctx))
	}
	run.Stored = true
	return run, w.tx.Commit(ctx) //nolint:wrapcheck // the caller says what
}

// abandon takes everything back.
func (w *writing) abandon(ctx context.Context) error {
	if err := w.tx.Rollback(context.WithoutCancel(ctx)); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
		return fmt.Errorf("roll back: %w", err)
	}
	return nil
}

// upsert writes the row of a run; of a deployment only where none is known yet: the newest when the run began, or else the first one made
// before its last line.
const upsert = `INSERT INTO run (run_id, lines, script_name, script_sha256, network, genesis, clock_scale, seed, program_version, steps, started_at,
		resumed_at, told_at, ended_at, outcome, exit_code, error, experiment, deployment_id)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::numeric, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, coalesce(
		(SELECT deployment_id FROM deployment WHERE created_at <= $11 ORDER BY deployment_id DESC LIMIT 1),
		(SELECT deployment_id FROM deployment WHERE created_at <= $13 ORDER BY deployment_id LIMIT 1)))
	ON CONFLICT (run_id) DO UPDATE SET lines = excluded.lines, script_name = excluded.script_name, script_sha256 = excluded.script_sha256,
		network = excluded.network, genesis = excluded.genesis, clock_scale = excluded.clock_scale, seed = excluded.seed,
		program_version = excluded.program_version, steps = excluded.steps, started_at = excluded.started_at, resumed_at = excluded.resumed_at,
		told_at = excluded.told_at, ended_at = excluded.ended_at, outcome = excluded.outcome, exit_code = excluded.exit_code, error = excluded.error,
		experiment = excluded.experiment, deployment_id = coalesce(run.deployment_id, excluded.deployment_id)`

// run returns the values of upsert.
func (f *fold) run() []any {
	var steps, code *int
	var outcome, problem *string
	if f.head.Steps > 0 {
		steps = &f.head.Steps
	}
	if f.end != nil {
		code, outcome, problem = &f.end.Code, null(f.end.outcome()), null(f.end.Error)
	}
	return []any{
		f.id, f.lines, null(f.head.Script), null(f.head.Digest), null(f.head.Network), stamp(f.head.Genesis), f.head.Scale, fmt.Sprint(f.head.Seed),
		null(f.head.Version), steps, f.first.UTC(), stamp(f.resumed), f.last.UTC(), stamp(f.ended), outcome, code, problem, null(f.head.Experiment),
	}
}
