package whitelist_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"provingground/internal/privatepg/pgtest"
	"provingground/schema"
	"provingground/uptime/whitelist"
)

func newPool(t *testing.T, uri string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// migrated returns a pool of a fresh database.
func migrated(t *testing.T) *pgxpool.Pool {
	t.Helper()
	uri := pgtest.Database(t)
	if err := schema.Migrate(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	return newPool(t, uri)
}

func execute(t *testing.T, pool *pgxpool.Pool, sql string, arguments ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, arguments...); err != nil {
		t.Fatal(err)
	}
}

func TestDatabase(t *testing.T) {
	t.Parallel()
	pool := migrated(t)
	log, logs := newLog()
	list := whitelist.NewDatabase(pool, whitelist.Options{Log: log})
	refresh := func(want string) {
		t.Helper()
		if err := list.Refresh(t.Context()); (err != nil) != (want != "") {
			t.Errorf("refresh: %v, want %q", err, want)
		}
		healthy(t, list, want)
	}
	healthy(t, list, "not been loaded yet")

	refresh("")
	holds(t, list)
	logged(t, logs, "the whitelist was loaded", "the whitelist is empty")
	refresh("")
	logged(t, logs)

	execute(t, pool, "INSERT INTO uptime_whitelist (submitter, note) VALUES ($1, 'ours'), ($2, NULL)", first, second)
	refresh("")
	holds(t, list, first, second)
	logged(t, logs, "the whitelist was loaded")
	refresh("")
	logged(t, logs)

	execute(t, pool, "INSERT INTO uptime_whitelist (submitter) VALUES ($1), ('A'), ('EKEEpMELfQkMbJDt2fB4cFXKwSf1x4t7YD4twREy5yuJ84HBZtF9')", broken)
	refresh("")
	refresh("")
	holds(t, list, first, second)
	logged(t, logs, "rows of the whitelist are no public keys")
	var ignored []string
	for _, err := range list.Ignored() {
		ignored = append(ignored, err.Error())
	}
	if all := strings.Join(ignored, "\n"); len(ignored) != 3 || !strings.Contains(all, "row 1 ") || !strings.Contains(all, "row 2 ") || !strings.Contains(all, "row 5 ") ||
		strings.Contains(all, "EK") {
		t.Errorf("ignored %q", ignored) // 'A', 'B62qkaKV…BMM', two keys, 'EK…'
	}

	execute(t, pool, "DELETE FROM uptime_whitelist WHERE submitter NOT IN ($1)", second)
	refresh("")
	holds(t, list, second)
	logged(t, logs, "the whitelist was loaded")
	if len(list.Ignored()) > 0 {
		t.Errorf("ignored %v", list.Ignored())
	}

	loaded := list.Loaded()
	execute(t, pool, "ALTER TABLE uptime_whitelist RENAME TO elsewhere")
	refresh("uptime_whitelist")
	refresh("uptime_whitelist")
	holds(t, list, second)
	logged(t, logs, "the whitelist cannot be read")
	if !list.Loaded().Equal(loaded) {
		t.Error("a list that cannot be read gets newer")
	}
	execute(t, pool, "ALTER TABLE elsewhere RENAME TO uptime_whitelist")
	refresh("")
	logged(t, logs, "the whitelist was loaded")

	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	cancel(stopped)
	if err := list.Refresh(ctx); !errors.Is(err, stopped) {
		t.Errorf("got %v, want the cause of the context's end", err)
	}
	healthy(t, list, "")
}

func TestDatabaseIsWatched(t *testing.T) {
	t.Parallel()
	pool := migrated(t)
	list := whitelist.NewDatabase(pool, whitelist.Options{Every: 10 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		list.Run(ctx)
		close(ended)
	}()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	until := func(size int) {
		for list.Size() != size || list.Healthy() != nil {
			select {
			case <-ticker.C:
			case <-ended:
				t.Fatal("it ended")
			}
		}
	}
	until(0)
	execute(t, pool, "INSERT INTO uptime_whitelist (submitter) VALUES ($1)", first)
	until(1)
	execute(t, pool, "DELETE FROM uptime_whitelist")
	until(0)
	cancel()
	<-ended
}

func TestDatabaseThatIsAwayShowsNoPassword(t *testing.T) {
	t.Parallel()
	list := whitelist.NewDatabase(newPool(t, "postgresql://me:s3cr3t-word@127.0.0.1:1/x"), whitelist.Options{})
	err := list.Refresh(t.Context())
	if err == nil || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("got %v, want an error without the password", err)
	}
	holds(t, list)
}
