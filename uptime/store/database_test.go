package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"provingground/uptime/service"
	"provingground/uptime/store"
)

// text returns the only value of a query.
func text(t testing.TB, pool *pgxpool.Pool, query string, arguments ...any) string {
	t.Helper()
	var value string
	if err := pool.QueryRow(t.Context(), query, arguments...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}

func execute(t testing.TB, pool *pgxpool.Pool, statement string, arguments ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), statement, arguments...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func TestRows(t *testing.T) {
	t.Parallel()
	pool := newPool(t, newURI(t))
	s := newDatabase(t, pool, store.Options{})
	key := publicKeys(t, 1)[0]
	full := submitted(key, "full", 12*3600-1, 1)
	bare := submitted(key, "bare", 12*3600, 2) // already the next day
	bare.ControlPort, bare.BuiltWithCommitSHA = 0, ""
	accepts(t, s, full, nil)
	accepts(t, s, bare, nil)
	const rows = `SELECT string_agg(concat_ws(' ', submitted_at_date, submitted_at AT TIME ZONE 'UTC', created_at AT TIME ZONE 'UTC', block_hash, remote_addr, peer_id,
		coalesce(graphql_control_port::text, 'null'), coalesce(built_with_commit_sha, 'null'), left(encode(digest, 'hex'), 6)), E'\n' ORDER BY submitted_at)
		FROM submissions WHERE submitter = $1`
	want := "2026-11-20 2026-11-20 23:59:59.123456 2026-11-20 23:59:58 YMzk 10.0.0.7 full 3086 36e0198c 010001\n" +
		"2026-11-21 2026-11-21 00:00:00.123456 2026-11-20 23:59:59 YMzk 10.0.0.7 bare null null 020001"
	if diff := cmp.Diff(want, text(t, pool, rows, key.String())); diff != "" {
		t.Errorf("submissions (-want +got):\n%s", diff)
	}
	const nodes = `SELECT string_agg(concat_ws(' ', peer_id, coalesce(graphql_control_port::text, 'null'), coalesce(built_with_commit_sha, 'null')), E'\n' ORDER BY peer_id) FROM uptime_node`
	if diff := cmp.Diff("bare null null\nfull 3086 36e0198c", text(t, pool, nodes)); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
}

// TestTwoServices lets two services with connections of their own take the same submissions, and a third come later.
func TestTwoServices(t *testing.T) {
	t.Parallel()
	uri := newURI(t)
	options := store.Options{PerHour: 25}
	one, two := newDatabase(t, newPool(t, uri), options), newDatabase(t, newPool(t, uri), options)
	testAtOnce(t, one, two)
	three := newDatabase(t, newPool(t, uri), options)
	want, err := one.Online(t.Context(), start.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	lists(t, three, start.Add(-time.Hour), want...)
	again := submitted(publicKeys(t, 1)[0], "peer", 39, 7)
	again.CreatedAt = submitted(again.Submitter, "peer", 0, 7).CreatedAt
	accepts(t, three, again, service.ErrReplayed)
}

func TestPrune(t *testing.T) {
	t.Parallel()
	uri := newURI(t)
	pool := newPool(t, uri)
	now := start.Add(10 * 24 * time.Hour)
	s := newDatabase(t, pool, store.Options{Now: func() time.Time { return now }})
	const history = `INSERT INTO submissions (submitter, digest, submitted_at, created_at, block_hash, remote_addr, peer_id)
		SELECT 'B62', sha256(i::text::bytea), $1::timestamptz - i * interval '1 s', $1::timestamptz - i * interval '1 s', 'Y', '10.0.0.7', 'peer' FROM generate_series($2::int, $3::int) AS i`
	week := now.Add(-7 * 24 * time.Hour)
	old := 2*store.PruneRows + 17
	execute(t, pool, history, week, -9, old)
	execute(t, pool, `INSERT INTO submissions (submitter, digest, submitted_at, created_at, block_hash, remote_addr, peer_id)
		SELECT 'B62', sha256('by a clock that is ahead'), $1::timestamptz - interval '1 s', $1::timestamptz + interval '1 s', 'Y', '10.0.0.7', 'peer'`, week)
	execute(t, pool, `INSERT INTO uptime_node (submitter, peer_id, remote_addr, created_at, last_seen)
		SELECT 'B62', i, '10.0.0.7', $1::timestamptz, $1::timestamptz - i * interval '1 s' FROM generate_series(-9, 10) AS i`, now.Add(-25*time.Minute))
	errs := make(chan error)
	for range 2 {
		go func() { errs <- s.Prune(t.Context()) }()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if err := s.Prune(t.Context()); err != nil { // what the one left to the other
		t.Error(err)
	}
	if got := text(t, pool, "SELECT count(*)::text || ' ' || (min(submitted_at) = $1::timestamptz - interval '1 s') FROM submissions", week); got != "11 true" {
		t.Errorf("left of the history: %s, want 0 to 9 s younger than a week and the one that was created then", got)
	}
	if got := text(t, pool, "SELECT count(*)::text FROM uptime_node"); got != "10" {
		t.Errorf("left of the nodes: %s, want 10", got)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	cancel(stopped)
	if err := s.Prune(ctx); !errors.Is(err, stopped) || errors.Is(err, service.ErrUnavailable) {
		t.Errorf("got %v, want the cause of the context's end", err)
	}
}

// everything calls all methods that ask the database, and returns their errors by name.
func everything(t *testing.T, s *store.Database) map[string]error {
	t.Helper()
	_, online := s.Online(t.Context(), start)
	return map[string]error{
		"accept": s.Accept(t.Context(), submitted(publicKeys(t, 1)[0], "peer", 0, 1)), "online": online, "healthy": s.Healthy(t.Context()), "prune": s.Prune(t.Context()),
	}
}

func TestDatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	s := newDatabase(t, newPool(t, "postgresql://me:s3cr3t-word@127.0.0.1:1/x"), store.Options{})
	for name, err := range everything(t, s) {
		if !errors.Is(err, service.ErrUnavailable) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: got %v, want ErrUnavailable without the password", name, err)
		}
	}
}

// TestDatabaseWithoutItsTables holds that what will not pass by itself is not taken for what may.
func TestDatabaseWithoutItsTables(t *testing.T) {
	t.Parallel()
	pool := newPool(t, newURI(t))
	s := newDatabase(t, pool, store.Options{})
	if err := s.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
	execute(t, pool, "DROP TABLE submissions, uptime_node")
	for name, err := range everything(t, s) {
		if err == nil || errors.Is(err, service.ErrUnavailable) {
			t.Errorf("%s: got %v, want an error that is not ErrUnavailable", name, err)
		}
	}
}

func TestDatabaseThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	uri := newURI(t)
	s := newDatabase(t, newPool(t, uri+"&default_transaction_read_only=on"), store.Options{})
	errs := everything(t, s)
	if err := errs["accept"]; !errors.Is(err, service.ErrUnavailable) {
		t.Errorf("accept: got %v, want ErrUnavailable", err)
	}
	if err := errs["healthy"]; err == nil || !strings.Contains(err.Error(), "write") {
		t.Errorf("healthy: got %v, want that it may not be written", err)
	}
	if err := errs["online"]; err != nil {
		t.Errorf("online: %v", err)
	}
}

// TestConnectionsThatAreCut ends all connections of a service while it works; it goes on without help.
func TestConnectionsThatAreCut(t *testing.T) {
	t.Parallel()
	uri := newURI(t)
	operator := newPool(t, uri)
	s := newDatabase(t, newPool(t, uri+"&application_name=cut"), store.Options{PerHour: 1 << 20})
	key := publicKeys(t, 1)[0]
	var accepted, unknown int
	for i := range 300 {
		if i%50 == 25 {
			execute(t, operator, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cut'")
		}
		switch err := s.Accept(t.Context(), submitted(key, "peer", i, i)); {
		case err == nil:
			accepted++
		case errors.Is(err, service.ErrUnavailable):
			unknown++
		default:
			t.Error(err)
		}
	}
	if unknown == 0 || unknown > 50 {
		t.Errorf("%d of 300 submissions failed; want some, for connections were cut, and few", unknown)
	}
	var stored int
	if err := operator.QueryRow(t.Context(), "SELECT count(*) FROM submissions").Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if stored < accepted || stored > accepted+unknown {
		t.Errorf("%d submissions are stored, %d were accepted, of %d nobody knows", stored, accepted, unknown)
	}
	if err := s.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestDatabaseThatDoesNotAnswer locks the tables for longer than a service waits.
func TestDatabaseThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	uri := newURI(t)
	blocker, err := newPool(t, uri).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := blocker.Rollback(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	if _, err := blocker.Exec(t.Context(), "LOCK TABLE submissions, uptime_node IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	s := newDatabase(t, newPool(t, uri), store.Options{})
	type answer struct {
		doing string
		err   error
	}
	answers := make(chan answer)
	patient := t.Context()
	hurried, cancel := context.WithTimeoutCause(patient, 100*time.Millisecond, errors.New("the caller has no more time"))
	defer cancel()
	one := submitted(publicKeys(t, 1)[0], "peer", 0, 1)
	go func() { answers <- answer{"accept", s.Accept(patient, one)} }()
	go func() {
		_, err := s.Online(patient, start)
		answers <- answer{"online", err}
	}()
	go func() { answers <- answer{"hurried accept", s.Accept(hurried, one)} }()
	for i := range 3 {
		got := <-answers
		switch {
		case i == 0 && (got.doing != "hurried accept" || errors.Is(got.err, service.ErrUnavailable) || !strings.Contains(fmt.Sprint(got.err), "the caller has no more time")):
			t.Errorf("first: %s, %v; want the hurried one, and the cause of its context's end", got.doing, got.err)
		case i > 0 && (!errors.Is(got.err, service.ErrUnavailable) || !strings.Contains(got.err.Error(), "no answer within 5s")):
			t.Errorf("%s: got %v, want ErrUnavailable", got.doing, got.err)
		}
	}
}
