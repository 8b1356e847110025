package store_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"provingground/fetcher"
	"provingground/fetcher/store"
	"provingground/internal/privatepg"
	"provingground/internal/privatepg/pgtest"
	"provingground/internal/soak"
	"provingground/orchestrator/simnet"
	"provingground/schema"
)

func TestEachEntryIsStoredOnce(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	s := db.open(t, store.Options{})
	inVirtualTime(t, simnet.Options{Nodes: 5, Producers: 3, MaxLogs: 20000, Slot: 30 * time.Second}, func(w *world) {
		collector, stop := w.collect(w.options(s))
		w.load(0, "exp-0-0", 1, 4)
		w.load(4, "exp-0-1", 0.5, 4)
		w.Pass(8 * time.Minute)
		stop()
		stored, lost := w.verify(db)
		if stored < 5*1*240*4 || lost != 0 {
			t.Errorf("%d entries stored, %d lost; %+v", stored, lost, collector.Metrics())
		}
		w.verifyDerived(db)
		t.Logf("%d entries in %d batches; %+v", stored, collector.Metrics().Batches, s.Counts())
	})
}

// chaos is a store of which Save fails at random moments of its transaction.
type chaos struct {
	*store.Store
	*database
	killer *pgxpool.Pool

	mu     sync.Mutex
	random *rand.Rand
	failed int
}

// Save saves while somebody ends the context or the connections, somewhere in the middle.
func (c *chaos) Save(ctx context.Context, batch fetcher.Batch) error {
	c.mu.Lock()
	how, delay := c.random.IntN(4), c.random.Float64()*0.02
	c.mu.Unlock()
	if how >= 2 {
		return c.Store.Save(ctx, batch)
	}
	saving, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() {
		if _, err := c.killer.Exec(ctx, "SELECT pg_sleep($1)", delay); err != nil {
			return // the test has ended
		}
		if how == 0 {
			cancel()
			return
		}
		// An error means the same: the test has ended.
		_, _ = c.killer.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'fetcher'`)
	})
	err := c.Store.Save(saving, batch)
	group.Wait()
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.failed++
	}
	return err
}

func newChaos(t *testing.T, db *database, s *store.Store, seed uint64) *chaos {
	t.Helper()
	killer, err := pgxpool.New(t.Context(), db.uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(killer.Close)
	return &chaos{Store: s, database: db, killer: killer, random: rand.New(rand.NewPCG(seed, 1))}
}

// TestStoreThatIsKilled ends collectors, stores, contexts and connections at random moments; ROUNDS says how often.
func TestStoreThatIsKilled(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	random := rand.New(rand.NewPCG(3, 4))
	options := simnet.Options{Nodes: 4, Producers: 2, MaxLogs: 100_000, Slot: 30 * time.Second}
	inVirtualTime(t, options, func(w *world) {
		failed := 0
		w.load(0, "exp-1-0", 0.1, 1+soak.Rounds(t)/4)
		for round := range soak.Rounds(t) {
			s := db.open(t, store.Options{})
			broken := newChaos(t, db, s, uint64(round))
			_, stop := w.collect(w.options(broken))
			w.Pass(time.Duration(random.IntN(30_000)) * time.Millisecond)
			stop()
			s.Close()
			failed += broken.failed
		}
		_, stop := w.collect(w.options(db.open(t, store.Options{})))
		w.Pass(time.Duration(3+soak.Rounds(t)/4) * time.Minute) // until the load is over
		stop()
		stored, lost := w.verify(db)
		if stored == 0 || lost != 0 || failed == 0 {
			t.Errorf("%d entries stored, %d lost, %d failures", stored, lost, failed)
		}
		w.verifyDerived(db)
		t.Logf("%d entries stored in spite of %d failures", stored, failed)
	})
}

// TestTwoStoresAtOnce has two fetchers read the same nodes into the same database, while daemons restart.
func TestTwoStoresAtOnce(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	faults, err := simnet.ParseFaults("restart:127.0.0.3@3; restart:127.0.0.2@5")
	if err != nil {
		t.Fatal(err)
	}
	options := simnet.Options{Nodes: 4, Producers: 2, MaxLogs: 100_000, Slot: 30 * time.Second, RestartAfter: 20 * time.Second, Faults: faults}
	inVirtualTime(t, options, func(w *world) {
		_, stopOne := w.collect(w.options(db.open(t, store.Options{})))
		_, stopOther := w.collect(w.options(db.open(t, store.Options{})))
		w.load(2, "exp-2-0", 0.5, 3)
		w.Pass(4 * time.Minute)
		stopOne()
		stopOther()
		stored, lost := w.verify(db)
		if stored == 0 || lost != 0 {
			t.Errorf("%d entries stored, %d lost", stored, lost)
		}
		equal(t, db, "SELECT count(*) FROM node_restarts", int64(2))
		equal(t, db, "SELECT count(*) FROM log_gap WHERE to_id IS NULL AND reason = 'restart'", int64(2))
		equal(t, db, `SELECT count(*) FROM log_gap g JOIN log_cursor c USING (deployment_id, node_id, server_uuid) WHERE g.to_id IS NULL AND g.from_id <> c.next_id`, int64(0))
		equal(t, db, "SELECT count(*) FROM log_cursor c WHERE entries <> (SELECT count(*) FROM log_entry e WHERE (e.node_id, e.server_uuid) = (c.node_id, c.server_uuid))", int64(0))
	})
}

// TestServerThatRestarts stops and starts PostgreSQL while nodes are read.
func TestServerThatRestarts(t *testing.T) {
	t.Parallel()
	dir := pgtest.Dir(t)
	start := func() *privatepg.Server {
		server, err := privatepg.Start(t.Context(), privatepg.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return server
	}
	server := start()
	defer func() {
		if err := server.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	if err := schema.Migrate(t.Context(), server.URI()); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), server.URI(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	random := rand.New(rand.NewPCG(5, 6))
	options := simnet.Options{Nodes: 4, Producers: 2, MaxLogs: 100_000, Slot: 30 * time.Second}
	inVirtualTime(t, options, func(w *world) {
		collector, stop := w.collect(w.options(s))
		w.load(1, "exp-3-0", 0.2, 3)
		for range max(2, soak.Rounds(t)/5) {
			w.Pass(time.Duration(random.IntN(20_000)) * time.Millisecond)
			if err := server.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			w.Pass(15 * time.Second)
			server = start()
		}
		w.Pass(4 * time.Minute)
		stop()
		conn, err := pgx.Connect(t.Context(), server.URI())
		if err != nil {
			t.Fatal(err)
		}
		db := &database{uri: server.URI(), conn: conn}
		defer func() {
			if err := conn.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		if stored, lost := w.verify(db); stored == 0 || lost != 0 || collector.Metrics().StoreErrors == 0 {
			t.Errorf("%d entries stored, %d lost; %+v", stored, lost, collector.Metrics())
		}
		w.verifyDerived(db)
	})
}
