package evidence

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"provingground/dsl"
	"provingground/internal/redact"
	"provingground/schema"
)

// Database is the evidence that the log fetcher stores in PostgreSQL. Make one with [Connect]. Safe for concurrent use.
//
// It answers from the newest deployment that has nodes. It only reads.
type Database struct {
	pool     *pgxpool.Pool
	log      *zap.Logger
	redactor *redact.Redactor

	turn chan struct{} // held by who reads statistics, so that all who wait share the result; the rest belongs to its holder

	known map[part]snapshot // of the run that was last asked about
	run   string
	away  bool
}

// part is what of the statistics a group of metrics needs; they are read apart, because transactions are many.
type part uint8

const (
	logPart part = iota
	txPart
	blockPart
	workPart
)

// partOf returns what a metric needs.
func partOf(metric string) part {
	group, _, _ := strings.Cut(metric, ".")
	switch group {
	case "tx":
		return txPart
	case "block", "chain":
		return blockPart
	case "snark":
		return workPart
	default:
		return logPart
	}
}

// snapshot is statistics of one moment.
type snapshot struct {
	statistics *Statistics
	until      time.Time // wall time up to which it is used again
}

const (
	connections      = 2
	statementTimeout = time.Minute
	// freshFor is how long statistics are used again, and at least reuse times as long as they took to read: questions must not keep the database busy.
	freshFor = time.Second
	reuse    = 5
)

// Connect opens the database and checks that it is of this program's version: schema.ErrNotMigrated and schema.ErrTooNew can be tested for. No error, and no answer later, shows the
// URI's password. Close it in the end.
func Connect(ctx context.Context, uri string, log *zap.Logger) (*Database, error) {
	config, err := pgxpool.ParseConfig(uri)
	if err != nil { // what the parser says may quote the password
		return nil, errors.New("the URI of the database with the evidence cannot be read: write postgres://USER:PASSWORD@HOST:PORT/DATABASE")
	}
	config.MaxConns = connections
	maps.Copy(config.ConnConfig.RuntimeParams, map[string]string{
		"application_name": "provingground orchestrator", "default_transaction_read_only": "on", "jit": "off", "plan_cache_mode": "force_custom_plan",
		"statement_timeout": fmt.Sprint(statementTimeout.Milliseconds()),
	})
	d := &Database{log: log, redactor: new(redact.Redactor), turn: make(chan struct{}, 1), known: make(map[part]snapshot)}
	password := config.ConnConfig.Password
	d.redactor.Add(password)
	d.redactor.Add(url.QueryEscape(password))
	d.redactor.Add(url.PathEscape(password))
	if d.pool, err = pgxpool.NewWithConfig(ctx, config); err == nil {
		if err = schema.Check(ctx, d.pool); err != nil {
			d.pool.Close()
		}
	}
	if err != nil {
		text := "open the database with the evidence: " + err.Error()
		switch socket := strings.HasPrefix(config.ConnConfig.Host, "/"); {
		case errors.Is(err, schema.ErrNotMigrated):
			text = "the database with the evidence has no tables, or older ones: start the fetcher on it, or run fetcher migrate --db-uri with its URI"
		case socket && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)):
			text += ": nobody listens on this socket; that of a fetcher's private PostgreSQL lives only while the fetcher runs, so start it again, or name another database"
		}
		return nil, &maskedError{text: d.redactor.Text(text), sentinel: sentinelOf(err)}
	}
	return d, nil
}

// maskedError is an error whose text shows no password, also to who unwraps it.
type maskedError struct {
	text     string
	sentinel error
}

func (e *maskedError) Error() string { return e.text }
func (e *maskedError) Unwrap() error { return e.sentinel }

// sentinelOf returns what a caller may test for.
func sentinelOf(err error) error {
	for _, sentinel := range []error{schema.ErrNotMigrated, schema.ErrTooNew, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, sentinel) {
			return sentinel
		}
	}
	return nil
}

// Close closes the connections. It waits for who uses one.
func (d *Database) Close() { d.pool.Close() }

// Measure answers a question by what was stored at most a moment ago. A database that cannot be asked makes the answer unknown, and is asked again next time.
func (d *Database) Measure(ctx context.Context, q Question) dsl.Measured {
	statistics, err := d.statistics(ctx, q.Run, partOf(q.Metric))
	if err != nil {
		return dsl.Measured{Missing: "the database with the evidence cannot be asked: see that it runs (" + d.redactor.Text(err.Error()) + ")"}
	}
	return statistics.Measure(q.Metric, q.Scope, q.Run.Loads)
}

// statistics returns a part of the statistics of a run, not older than a moment.
func (d *Database) statistics(ctx context.Context, run Run, of part) (*Statistics, error) {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	identity := run.identity()
	if d.run != identity {
		d.run, d.known = identity, make(map[part]snapshot)
	}
	last := d.known[of]
	begin := time.Now()
	if last.statistics != nil && begin.Before(last.until) && !run.endedSince(last.statistics.Asked, InstantOf(run.Clock.Now())) {
		return last.statistics, nil
	}
	s, err := d.read(ctx, run, of)
	if err != nil {
		if !d.away && ctx.Err() == nil {
			d.away = true
			d.log.Warn("the database with the evidence cannot be asked; what it would say is unknown", zap.String("error", d.redactor.Text(err.Error())))
		}
		return nil, err
	}
	if d.away {
		d.away = false
		d.log.Info("the database with the evidence answers again")
	}
	now := time.Now()
	d.known[of] = snapshot{statistics: s, until: now.Add(max(freshFor, reuse*now.Sub(begin)))}
	return s, nil
}

// identity is what statistics depend on beside the database.
func (r Run) identity() string {
	var text strings.Builder
	fmt.Fprint(&text, r.Began.UnixNano(), r.Genesis.UnixNano(), r.Slot)
	for _, l := range r.Loads {
		fmt.Fprintf(&text, " %q %d %s", l.Name, l.Batch, l.Node)
	}
	return text.String()
}

// read reads a part of the statistics, all of one moment.
func (d *Database) read(ctx context.Context, run Run, of part) (*Statistics, error) {
	wall := run.Clock.Wall()
	s := run.begin(wall)
	err := pgx.BeginTxFunc(ctx, d.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		r := &reading{tx: tx, run: run, statistics: s, wall: wall}
		steps := []func(context.Context) error{r.nodes, r.gaps}
		if of != logPart {
			steps = append(steps, r.blocks, r.hearing, r.clocks)
		}
		switch of {
		case logPart:
		case txPart:
			steps = append(steps, r.transactions)
		case blockPart:
			steps = append(steps, r.traces)
		case workPart:
			steps = append(steps, r.works)
		}
		deployment, err := newest(ctx, tx)
		if err != nil {
			return err
		}
		if r.deployment = deployment; deployment == 0 {
			s.Unavailable = "the database has no node of any deployment: see that the fetcher runs and writes to the same database"
			return nil
		}
		for _, step := range steps {
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// querier is what a reading needs of a transaction or a pool.
type querier interface {
	Query(ctx context.Context, query string, arguments ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, query string, arguments ...any) pgx.Row
}

// newest returns the newest deployment that has nodes; 0 when none has.
func newest(ctx context.Context, db querier) (deployment int, err error) {
	err = db.QueryRow(ctx, "SELECT coalesce(max(deployment_id), 0) FROM log_node WHERE host IS NOT NULL").Scan(&deployment)
	if err != nil {
		return 0, fmt.Errorf("find the deployment: %w", err)
	}
	return deployment, nil
}
