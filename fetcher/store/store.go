package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"provingground/fetcher"
	"provingground/fetcher/trace"
	"provingground/internal/redact"
	"provingground/schema"
)

// Options say how to store.
type Options struct {
	// Deployment is where the rows belong; 0 means the newest deployment, which is made when there is none.
	Deployment int64
	// Connections is the most database connections that are used at once; 0 means 4.
	Connections int32
	// Log takes what an operator would miss; nil is silent.
	Log *zap.Logger
	// Now is the wall time; nil means the machine's.
	Now func() time.Time
}

const (
	// groupBatches and groupEntries bound what one transaction takes of different nodes.
	groupBatches = 64
	groupEntries = 4000
	// roomEntries bounds what is made ready or being stored.
	roomEntries = 4 * groupEntries
	// writers is how many transactions there are at once. One goes on while another waits for its turn with the derived tables; more of
	// them take more of the server's time, in all, for they write the same tables.
	writers = 2
	// cachedState bounds the readers in memory, by the length of their JSON.
	cachedState = 16 << 20
)

// ErrClosed is returned by what is called after [Store.Close].
var ErrClosed = errors.New("the store is closed")

// Store keeps what nodes logged in a PostgreSQL database. It is a [fetcher.Store]. Make it with [Open]. Safe for concurrent use.
type Store struct {
	pool    *pgxpool.Pool
	secrets *redact.Redactor // knows the URI's password
	log     *zap.Logger
	now     func() time.Time
	nesting *trace.Nesting
	counts  counts

	mu      sync.Mutex // held to change present
	present atomic.Pointer[deployment]

	room    *semaphore.Weighted // for entries of batches that are made ready or stored
	queue   chan *saving
	stop    context.CancelFunc // ends the writers
	ended   chan struct{}      // is closed with it
	writers sync.WaitGroup
}

// deployment is what is remembered of the deployment that batches belong to.
type deployment struct {
	id    int32
	cache *cache
	seen  *seen

	mu   sync.Mutex
	ids  map[string]int32 // of nodes, by name
	days map[int64]bool   // whose partitions exist, in days since 1970
}

// saving is a batch that is ready and waits for a writer.
type saving struct {
	*write
	done chan error // takes one
}

// Open connects to a database of this program's version ([schema.Check]). An error never shows the password that the URI may hold. The
// context limits the opening only.
func Open(ctx context.Context, uri string, options Options) (*Store, error) {
	config, err := pgxpool.ParseConfig(uri)
	if err != nil {
		return nil, errors.New("the database's URI cannot be read: it should look like postgresql://user:password@host:5432/database")
	}
	config.MaxConns = 4
	if options.Connections > 0 {
		config.MaxConns = options.Connections
	}
	config.ConnConfig.RuntimeParams["timezone"] = "UTC"
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "fetcher"
	}
	secrets := &redact.Redactor{}
	secrets.Add(config.ConnConfig.Password)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, &maskedError{text: secrets.Text("opening the database: " + err.Error()), err: err}
	}
	s := &Store{
		pool: pool, secrets: secrets, log: options.Log, now: options.Now, nesting: trace.NewNesting(),
		room: semaphore.NewWeighted(roomEntries), queue: make(chan *saving), ended: make(chan struct{}),
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if err := s.prepare(ctx, options.Deployment); err != nil {
		pool.Close()
		return nil, s.masked("opening the database", err)
	}
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	for range writers {
		s.writers.Go(func() { s.work(work) })
	}
	return s, nil
}

// prepare checks the database and chooses the deployment.
func (s *Store) prepare(ctx context.Context, deployment int64) error {
	if err := schema.Check(ctx, s.pool); err != nil {
		return err
	}
	if deployment != 0 {
		return s.Use(ctx, deployment)
	}
	var newest int64
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT lock_partitions()"); err != nil { // so that two programs make one deployment
			return err
		}
		return tx.QueryRow(ctx, "SELECT coalesce(get_max_deployment_id(), create_deployment('{}'))").Scan(&newest)
	})
	if err != nil {
		return fmt.Errorf("finding the newest deployment, or making the first: %w", err)
	}
	return s.Use(ctx, newest)
}

// Close ends the writers, after the transactions under way were committed or rolled back, and closes the connections. Batches that
// were not stored are errors of their Save.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ended:
		return
	default:
	}
	close(s.ended)
	s.stop()
	s.writers.Wait()
	s.pool.Close()
}

// Deployment returns the deployment that batches belong to.
func (s *Store) Deployment() int64 { return int64(s.present.Load().id) }

// NewDeployment makes a deployment with metadata, which is JSON, and returns its number. It is not used before [Store.Use].
func (s *Store) NewDeployment(ctx context.Context, metadata json.RawMessage) (int64, error) {
	var id int64
	if err := s.pool.QueryRow(ctx, "SELECT create_deployment($1)", metadata).Scan(&id); err != nil {
		return 0, s.masked("making a deployment", err)
	}
	return id, nil
}

// Use has later batches belong to another deployment. The caller has seen to it that no Save is under way. A node goes on there after
// what is stored of it in any deployment, so that nothing is stored under two.
func (s *Store) Use(ctx context.Context, id int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var exists bool
	if err := s.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM deployment WHERE deployment_id = $1)", id).Scan(&exists); err != nil {
		return s.masked("looking for the deployment", err)
	}
	if !exists {
		return fmt.Errorf("there is no deployment %d in the database: name another one, or none for the newest", id)
	}
	s.present.Store(&deployment{id: int32(id), cache: newCache(cachedState), seen: newSeen(), ids: map[string]int32{}, days: map[int64]bool{}})
	return nil
}

// Cursor implements [fetcher.Store].
func (s *Store) Cursor(ctx context.Context, name string) (fetcher.Cursor, error) {
	name = nodeName(name)
	d := s.present.Load()
	ids, err := s.nodeIDs(ctx, d, []string{name})
	if err != nil {
		return fetcher.Cursor{}, s.masked("reading the cursor of node "+name, err)
	}
	var cursor fetcher.Cursor
	var last *time.Time
	err = s.pool.QueryRow(ctx, `SELECT coalesce(c.server_text, c.server_uuid::text), c.next_id, c.last_time
		FROM log_reader r JOIN log_cursor c USING (deployment_id, node_id, server_uuid) WHERE deployment_id = $1 AND node_id = $2`,
		d.id, ids[name]).Scan(&cursor.ServerUUID, &cursor.Next, &last)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return fetcher.Cursor{}, nil
	case err != nil:
		return fetcher.Cursor{}, s.masked("reading the cursor of node "+name, err)
	}
	if last != nil {
		cursor.LastTime = last.UTC()
	}
	return cursor, nil
}

// Save implements [fetcher.Store]. It makes the batch ready, and hands it to a writer. When ctx ends meanwhile, the batch may be stored
// all the same.
func (s *Store) Save(ctx context.Context, batch fetcher.Batch) error {
	batch.Node = nodeName(batch.Node)
	size := int64(min(roomEntries, 1+len(batch.Entries)))
	if err := s.room.Acquire(ctx, size); err != nil {
		return context.Cause(ctx)
	}
	defer s.room.Release(size)
	select {
	case <-s.ended:
		return ErrClosed
	default:
	}
	doing := "storing entries of node " + batch.Node
	w, err := s.ready(ctx, s.present.Load(), &batch, nil)
	if err != nil {
		return s.masked(doing, err)
	}
	one := &saving{write: w, done: make(chan error, 1)}
	select {
	case s.queue <- one:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.ended:
		return ErrClosed
	}
	select {
	case err := <-one.done:
		return s.masked(doing, err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// work stores batches until ctx ends.
func (s *Store) work(ctx context.Context) {
	var next *saving
	for {
		if next == nil {
			select {
			case next = <-s.queue:
			case <-ctx.Done():
				return
			}
		}
		var group []*saving
		group, next = s.gather(next)
		s.saveGroup(ctx, group)
	}
}

// gather takes what waits besides the first, and returns what did not fit in: a group has one batch of each node, all of one day.
func (s *Store) gather(first *saving) (group []*saving, rest *saving) {
	group = []*saving{first}
	entries := len(first.Entries)
	names := map[string]bool{first.Node: true}
	for len(group) < groupBatches && entries < groupEntries {
		select {
		case one := <-s.queue:
			if names[one.Node] || !one.day.Equal(first.day) || one.deployment != first.deployment {
				return group, one
			}
			names[one.Node] = true
			entries += len(one.Entries)
			group = append(group, one)
		default:
			return group, nil
		}
	}
	return group, nil
}

// saveGroup stores batches together, and one by one what cannot be stored together.
func (s *Store) saveGroup(ctx context.Context, group []*saving) {
	writes := make([]*write, len(group))
	for i, one := range group {
		writes[i] = one.write
	}
	moved, err := s.commit(ctx, writes)
	for _, one := range group {
		result := err
		switch {
		case slices.Contains(moved, one.write):
			result = s.saveAlone(ctx, one.write, errMoved)
		case refused(err) && len(group) > 1:
			result = s.saveAlone(ctx, one.write, errMoved) // perhaps it is another that is refused
		case err != nil:
			result = s.saveAlone(ctx, one.write, err)
		}
		one.done <- result
	}
}

// saveAlone stores a batch that failed to be stored, as far as making it ready anew can help.
func (s *Store) saveAlone(ctx context.Context, w *write, err error) error {
	batch, d, only := w.Batch, w.deployment, w.only
	for forgotten := false; err != nil; {
		refusal, ok := errors.AsType[*pgconn.PgError](err)
		switch {
		case errors.Is(err, errMoved):
		case ok && notOfData(refusal) && !forgotten: // the partition, or a node: both are made anew, unless the deployment is gone
			forgotten = true
			d.forget()
		case refused(err) && only == nil:
			s.log.Warn("the database refuses what was derived from entries; they are stored without it", zap.String("node", batch.Node),
				zap.Int("next_id", batch.Cursor.Next), zap.Error(err))
			s.counts.add(counter{underived: 1})
			only = err
		case refused(err):
			return fmt.Errorf("%w: %w", fetcher.ErrPermanent, err)
		default:
			return err
		}
		var moved []*write
		if w, err = s.ready(ctx, d, batch, only); err == nil {
			moved, err = s.commit(ctx, []*write{w})
		}
		if len(moved) > 0 {
			err = errMoved
		}
	}
	return nil
}

// refused tells whether the database would refuse the same data again: data exceptions, broken constraints, and limits of the program
// (PostgreSQL's error codes, classes 22, 23 and 54). A missing deployment or partition is none of the data's fault.
func refused(err error) bool {
	var refusal *pgconn.PgError
	if !errors.As(err, &refusal) || len(refusal.Code) != 5 || notOfData(refusal) {
		return false
	}
	switch refusal.Code[:2] {
	case "22", "23", "54":
		return true
	}
	return false
}

// notOfData tells of a foreign key to a deployment or node that was dropped, and of a partition that was.
func notOfData(refusal *pgconn.PgError) bool {
	const foreignKey, check = "23503", "23514"
	return refusal.Code == foreignKey || refusal.Code == check && refusal.ConstraintName == ""
}

// masked adds what was being done to an error, without a password that the error may quote.
func (s *Store) masked(doing string, err error) error {
	if err == nil {
		return nil
	}
	return &maskedError{text: s.secrets.Text(doing + ": " + err.Error()), err: err}
}

// maskedError shows a text of its own.
type maskedError struct {
	text string
	err  error
}

func (e *maskedError) Error() string { return e.text }
func (e *maskedError) Unwrap() error { return e.err }

func nodeName(name string) string { return new(counter).fit(clean(name), maxName) }
