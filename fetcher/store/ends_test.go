package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"provingground/fetcher"
	"provingground/fetcher/store"
)

const runThree = "6ba7b812-9dad-11d1-80b4-00c04fd430c8"

// restart is the batch with which a reader tells that its node's daemon is another one.
func restart(before, after string, next int) fetcher.Batch {
	return fetcher.Batch{
		Node: "node", Cursor: fetcher.Cursor{ServerUUID: after, Next: 1}, Restart: &fetcher.Restart{Before: before, After: after, Seen: at(50)},
		Gaps: []fetcher.Gap{{ServerUUID: before, From: next, Reason: fetcher.GapRestart}},
	}
}

// Lists of gaps and restarts, by deployment.
const (
	openGaps = `SELECT coalesce(string_agg(deployment_id || ' ' || left(server_uuid::text, 8) || ' ' || from_id || coalesce('-' || to_id, ''), ', '
		ORDER BY deployment_id, server_uuid, from_id), '') FROM log_gap`
	allRestarts = `SELECT coalesce(string_agg(deployment_id || ' ' || substr(reason, 13, 8) || ' ' || substr(reason, 57, 8), ', ' ORDER BY id), '') FROM node_restarts`
)

// TestRestartBeforeTheFirstEntry has a daemon restart of which nothing was stored yet.
func TestRestartBeforeTheFirstEntry(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		batches        []fetcher.Batch
		gaps, restarts string
	}{
		"the only fetcher": {
			batches: []fetcher.Batch{restart(runOne, runTwo, 1), restart(runOne, runTwo, 1)},
			gaps:    "1 6ba7b810 1", restarts: "1 6ba7b810 6ba7b811",
		},
		"another fetcher met the new run first": {
			batches: []fetcher.Batch{ofRun(runTwo, "node", 1), restart(runOne, runTwo, 1), restart(runOne, runTwo, 1)},
			gaps:    "1 6ba7b810 1", restarts: "1 6ba7b810 6ba7b811",
		},
		"another fetcher stored a run between": {
			batches: []fetcher.Batch{ofRun(runTwo, "node", 1), restart(runOne, runThree, 1), restart(runOne, runThree, 1)},
			gaps:    "1 6ba7b810 1, 1 6ba7b811 2", restarts: "1 6ba7b811 6ba7b812",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t)
			save(t, db.open(t, store.Options{}), test.batches...)
			equal(t, db, openGaps, test.gaps)
			equal(t, db, allRestarts, test.restarts)
		})
	}
}

// ofRun is a batch of one entry.
func ofRun(server, node string, id int) fetcher.Batch {
	b := batch(node, checkpoint(id, "Entry", id))
	b.Cursor.ServerUUID = server
	return b
}

// TestNetworkThatIsMadeAnew has a new deployment begin: what is not known of the old network's daemons is missing in the old one.
func TestNetworkThatIsMadeAnew(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		later          func(t *testing.T, db *database, s *store.Store, second int64)
		gaps, restarts string
	}{
		"the daemon is another one": {
			later: func(t *testing.T, _ *database, s *store.Store, _ int64) {
				t.Helper()
				save(t, s, restart(runOne, runTwo, 2), restart(runOne, runTwo, 2))
			},
			gaps: "1 6ba7b810 2", restarts: "1 6ba7b810 6ba7b811",
		},
		"the daemon is another one, and nobody says so": {
			later: func(t *testing.T, _ *database, s *store.Store, _ int64) {
				t.Helper()
				save(t, s, ofRun(runTwo, "node", 1))
			},
			gaps: "1 6ba7b810 2", restarts: "1 6ba7b810 6ba7b811",
		},
		"two deployments later": {
			later: func(t *testing.T, _ *database, s *store.Store, _ int64) {
				t.Helper()
				deploy(t, []*store.Store{s})
				if _, err := s.Cursor(t.Context(), "node"); err != nil {
					t.Fatal(err)
				}
				save(t, s, restart(runOne, runTwo, 2))
			},
			gaps: "1 6ba7b810 2", restarts: "1 6ba7b810 6ba7b811",
		},
		"the old deployment is gone": {
			later: func(t *testing.T, db *database, s *store.Store, _ int64) {
				t.Helper()
				db.execute(t, "SELECT drop_deployment(1)")
				save(t, s, restart(runOne, runTwo, 2))
			},
		},
		"the daemon is the same, and restarts": {
			later: func(t *testing.T, _ *database, s *store.Store, _ int64) {
				t.Helper()
				save(t, s, ofRun(runOne, "node", 2), restart(runOne, runTwo, 3))
			},
			gaps: "2 6ba7b810 3", restarts: "2 6ba7b810 6ba7b811",
		},
		"the daemon is the same, logs nothing, and restarts": {
			later: func(t *testing.T, _ *database, s *store.Store, _ int64) {
				t.Helper()
				status := fetcher.NodeStatus{NodeName: "node", State: fetcher.Running, LastSuccess: time.Now().Add(time.Minute)}
				if err := s.SaveNodes(t.Context(), []fetcher.NodeStatus{status}); err != nil {
					t.Fatal(err)
				}
				save(t, s, restart(runOne, runTwo, 2))
			},
			gaps: "2 6ba7b810 2", restarts: "2 6ba7b810 6ba7b811",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t)
			s := db.open(t, store.Options{})
			save(t, s, ofRun(runOne, "node", 1))
			second := deploy(t, []*store.Store{s})
			if cursor, err := s.Cursor(t.Context(), "node"); err != nil || cursor.ServerUUID != runOne || cursor.Next != 2 {
				t.Errorf("cursor %+v, %v", cursor, err)
			}
			test.later(t, db, s, second)
			equal(t, db, openGaps, test.gaps)
			equal(t, db, allRestarts, test.restarts)
		})
	}
}

// TestEntriesThatAnotherGaveUp has a fetcher bring entries that another could not get.
func TestEntriesThatAnotherGaveUp(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	one, other := db.open(t, store.Options{}), db.open(t, store.Options{})
	gapped := batch("node", checkpoint(8, "Eight", 8))
	gapped.Gaps = []fetcher.Gap{{ServerUUID: runOne, From: 2, To: 7, Before: at(1), After: at(8), Reason: fetcher.GapDropped}}
	save(t, one, batch("node", checkpoint(1, "One", 1)), gapped)
	found := batch("node", checkpoint(1, "One", 1), checkpoint(3, "Three", 3), checkpoint(4, "Four", 4), checkpoint(6, "Six", 6),
		checkpoint(8, "Eight", 8), checkpoint(9, "Nine", 9))
	save(t, other, found, found)
	save(t, one, found)
	const stored = "SELECT string_agg(log_id || message, ' ' ORDER BY log_id) FROM log_entry"
	equal(t, db, stored, "1One 3Three 4Four 6Six 8Eight 9Nine")
	equal(t, db, openGaps, "1 6ba7b810 2-2, 1 6ba7b810 5-5, 1 6ba7b810 7-7")
	equal(t, db, "SELECT count(*) FROM log_gap WHERE time_before = '2024-05-01 10:00:01Z' AND time_after = '2024-05-01 10:00:08Z' AND reason = 'dropped'", int64(3))
	equal(t, db, "SELECT next_id || ' ' || entries || ' ' || lost FROM log_cursor", "10 6 3")
	equal(t, db, "SELECT string_agg(p.from_id || '-' || p.to_id, ' ') FROM log_problem p JOIN (SELECT min(found_at) AS found_at FROM log_gap) g USING (found_at)", "3-6")
	save(t, one, batch("node", checkpoint(2, "Two", 2)), batch("node", checkpoint(5, "Five", 5), checkpoint(6, "Six", 6), checkpoint(7, "Seven", 7)))
	equal(t, db, stored, "1One 2Two 3Three 4Four 5Five 6Six 7Seven 8Eight 9Nine")
	equal(t, db, openGaps, "")
	equal(t, db, "SELECT next_id || ' ' || entries || ' ' || lost FROM log_cursor", "10 9 0")
	if got := one.Counts().Entries + other.Counts().Entries; got != 9 {
		t.Errorf("%d entries counted, want 9", got)
	}
}

// TestMalformedEntryThatIsRefused has the database refuse malformed entries: the log goes on.
func TestMalformedEntryThatIsRefused(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	s := db.open(t, store.Options{})
	save(t, s, batch("node", checkpoint(1, "One", 1)))
	db.execute(t, "ALTER TABLE log_malformed ADD CHECK (raw <> 'poison')")
	alone := batch("node")
	alone.Cursor.Next, alone.Malformed = 3, []fetcher.Malformed{{ID: 2, Reason: "no message", Raw: "poison"}}
	together := batch("node", controls(3, "current_block", `"3Nblock"`), checkpoint(4, "External_block_received", 4))
	together.Cursor.Next, together.Malformed = 6, []fetcher.Malformed{{ID: 5, Reason: "no time", Raw: "poison"}}
	save(t, s, alone, alone, together)
	equal(t, db, "SELECT next_id FROM log_cursor", int64(6))
	equal(t, db, "SELECT string_agg(log_id::text, ' ' ORDER BY log_id) FROM log_entry", "1 3 4")
	equal(t, db, "SELECT count(*) FROM block_trace WHERE block_id = '3Nblock'", int64(1))
	equal(t, db, "SELECT string_agg(from_id || '-' || to_id || ' ' || split_part(problem, ';', 1), ', ' ORDER BY from_id) FROM log_problem",
		"2-2 malformed: no message, 5-5 malformed: no time")
	if got := s.Counts().Underived; got != 0 {
		t.Errorf("%d batches without anything derived, want none", got)
	}
}

// slow has nothing be stored of the nodes that are known until goOn is called.
func (d *database) slow(t *testing.T) (goOn func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), d.uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM log_reader FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// untilOneWaits returns when a writer waits for a lock.
func (d *database) untilOneWaits(t *testing.T) {
	t.Helper()
	for one[int64](t, d, `SELECT count(*) FROM pg_stat_activity, pg_sleep(0.01)
		WHERE datname = current_database() AND application_name = 'fetcher' AND wait_event_type = 'Lock'`) == 0 {
	}
}

// TestDeploymentBeginsWhileABatchIsStored has Use wait for a batch that a writer has, also when its caller has gone.
func TestDeploymentBeginsWhileABatchIsStored(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	s := db.open(t, store.Options{})
	save(t, s, batch("node", checkpoint(1, "One", 1)))
	second, err := s.NewDeployment(t.Context(), json.RawMessage(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	goOn := db.slow(t)
	two := batch("node", checkpoint(2, "Two", 2))
	saving, stop := context.WithCancel(t.Context())
	saved, used, later := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() { saved <- s.Save(saving, two) }()
	db.untilOneWaits(t)
	stop()
	impatient, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	if err := s.Use(impatient, second); !errors.Is(err, context.DeadlineExceeded) || s.Deployment() != 1 {
		t.Errorf("a batch is with a writer, but deployment %d begins: %v", s.Deployment(), err)
	}
	cancel()
	go func() { used <- s.Use(t.Context(), second) }()
	go func() { later <- s.Save(t.Context(), batch("other", checkpoint(1, "Other", 1))) }() // before the change or after it
	goOn()
	for _, result := range []chan error{saved, used, later} {
		if err := <-result; err != nil {
			t.Error(err)
		}
	}
	cursor, err := s.Cursor(t.Context(), "node")
	if err != nil || cursor != two.Cursor {
		t.Errorf("the new deployment's cursor is %+v, %v, want %+v", cursor, err, two.Cursor)
	}
	save(t, s, two, batch("node", checkpoint(3, "Three", 3)))
	equal(t, db, "SELECT string_agg(deployment_id || message, ' ' ORDER BY log_id) FROM log_entry WHERE message <> 'Other'", "1One 1Two 2Three")
}

// TestCloseLetsBatchesBeCommitted closes a store while a writer has a batch.
func TestCloseLetsBatchesBeCommitted(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	s := db.open(t, store.Options{})
	save(t, s, batch("node", checkpoint(1, "One", 1)))
	goOn := db.slow(t)
	saved, closed := make(chan error, 1), make(chan struct{})
	go func() { saved <- s.Save(t.Context(), batch("node", checkpoint(2, "Two", 2))) }()
	db.untilOneWaits(t)
	go func() {
		defer close(closed)
		s.Close()
	}()
	for { // until it is closed to what comes now
		ended, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		err := s.Save(ended, batch("late", checkpoint(1, "Late", 1)))
		cancel()
		if errors.Is(err, store.ErrClosed) {
			break
		}
	}
	goOn()
	if err := <-saved; err != nil {
		t.Errorf("a batch in hand was not stored: %v", err)
	}
	<-closed
	equal(t, db, "SELECT string_agg(message, ' ' ORDER BY log_id) FROM log_entry WHERE message <> 'Late'", "One Two")
}

// TestWaitsAreBounded has the database keep a batch waiting for ever: neither its Save, whose caller has gone, nor Close waits as long.
func TestWaitsAreBounded(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	s := db.open(t, store.Options{})
	save(t, s, batch("node", checkpoint(1, "One", 1)))
	goOn := db.slow(t)
	saving, stop := context.WithCancel(t.Context())
	saved := make(chan error, 1)
	go func() { saved <- s.Save(saving, batch("node", checkpoint(2, "Two", 2))) }()
	db.untilOneWaits(t)
	stop()
	if err := <-saved; !errors.Is(err, context.Canceled) {
		t.Errorf("saving what is not stored: %v", err)
	}
	s.Close()
	goOn()
	equal(t, db, "SELECT string_agg(message, ' ' ORDER BY log_id) FROM log_entry", "One")
}
