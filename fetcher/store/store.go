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
	// closeTime is how long Close lets batches in hand be committed, wall time.
	closeTime = 10 * time.Second
	// fateTime is how long Save waits, after its context's end, for what becomes of a batch that a writer has, wall time.
	fateTime = 5 * time.Second
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

	present atomic.Pointer[deployment] // changed by whoever has all the room

	room    *semaphore.Weighted // for entries of batches that are in hand: made ready, or with a writer. First come, first served
	queue   chan *saving
	closing sync.Once
	ended   chan struct{}      // is closed by Close: nothing more is taken in hand
	stop    context.CancelFunc // ends the writers
	stopped <-chan struct{}    // is closed by it
	writers sync.WaitGroup     // and end
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

// saving is a batch that is ready. Once a writer has it, it is the writer that gives back its room.
type saving struct {
	*write
	room int64
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
	s.stop, s.stopped = stop, work.Done()
	for range writers {
		s.writers.Go(func() { s.work(work) })
	}
	s.writers.Go(func() { s.end(work) })
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

// Close takes no more batches, lets those in hand be committed for at most closeTime, and closes the connections. Batches that were not
// stored are errors of their Save.
func (s *Store) Close() {
	s.closing.Do(func() {
		close(s.ended)
		timer := time.AfterFunc(closeTime, s.stop)
		defer timer.Stop()
		s.writers.Wait()
		s.pool.Close()
	})
}

func (s *Store) isClosed() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// end ends the writers when the store is closed and nothing is in hand any more.
func (s *Store) end(ctx context.Context) {
	<-s.ended
	if s.room.Acquire(ctx, roomEntries) == nil {
		s.room.Release(roomEntries)
	}
	s.stop()
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

// Use has later batches belong to another deployment. It waits until those in hand are committed to the present one, or ctx ends. A node goes
// on there after what is stored of it in any deployment, so that nothing is stored under two.
func (s *Store) Use(ctx context.Context, id int64) error {
	if s.room.Acquire(ctx, roomEntries) != nil {
		return fmt.Errorf("waiting for batches that are being stored in the present deployment: %w", context.Cause(ctx))
	}
	defer s.room.Release(roomEntries)
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

// Save implements [fetcher.Store]. It makes the batch ready, and hands it to a writer. When ctx ends while a writer has it, Save waits a
// little longer for what becomes of it; after that the batch may be stored all the same.
func (s *Store) Save(ctx context.Context, batch fetcher.Batch) error {
	batch.Node = nodeName(batch.Node)
	doing := "storing entries of node " + batch.Node
	one := &saving{room: int64(min(roomEntries, 1+len(batch.Entries))), done: make(chan error, 1)}
	if s.isClosed() {
		return ErrClosed
	}
	if s.room.Acquire(ctx, one.room) != nil {
		return context.Cause(ctx)
	}
	if err := s.handOver(ctx, one, &batch); err != nil {
		s.room.Release(one.room)
		return s.masked(doing, err)
	}
	select {
	case err := <-one.done:
		return s.masked(doing, err)
	case <-ctx.Done():
	}
	timer := time.NewTimer(fateTime)
	defer timer.Stop()
	select {
	case err := <-one.done:
		return s.masked(doing, err)
	case <-timer.C:
		return context.Cause(ctx)
	}
}

// handOver makes a batch ready and gives it to a writer.
func (s *Store) handOver(ctx context.Context, one *saving, batch *fetcher.Batch) (err error) {
	if s.isClosed() { // while it waited for room
		return ErrClosed
	}
	if one.write, err = s.ready(ctx, s.present.Load(), batch, refusals{}); err != nil {
		return err
	}
	select {
	case s.queue <- one:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.stopped:
		return ErrClosed
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
		s.room.Release(one.room)
	}
}

// saveAlone stores a batch that failed to be stored, as far as making it ready anew can help.
func (s *Store) saveAlone(ctx context.Context, w *write, err error) error {
	batch, d, refusals := w.Batch, w.deployment, w.refusals
	for forgotten := false; err != nil; {
		refusal, ok := errors.AsType[*pgconn.PgError](err)
		switch {
		case errors.Is(err, errMoved):
		case ok && notOfData(refusal) && !forgotten: // the partition, or a node: both are made anew, unless the deployment is gone
			forgotten = true
			d.forget()
		case refused(err) && len(batch.Malformed) > 0 && refusals.malformed == nil && (refusals.derived != nil || refusal.TableName == "log_malformed"):
			s.log.Warn("the database refuses malformed entries; the batch is stored without them", zap.String("node", batch.Node),
				zap.Int("next_id", batch.Cursor.Next), zap.Error(err))
			refusals.malformed = err
		case refused(err) && refusals.derived == nil:
			s.log.Warn("the database refuses what was derived from entries; they are stored without it", zap.String("node", batch.Node),
				zap.Int("next_id", batch.Cursor.Next), zap.Error(err))
			s.counts.add(counter{underived: 1})
			refusals.derived = err
		case refused(err):
			return fmt.Errorf("%w: %w", fetcher.ErrPermanent, err)
		default:
			return err
		}
		var moved []*write
		if w, err = s.ready(ctx, d, batch, refusals); err == nil {
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
