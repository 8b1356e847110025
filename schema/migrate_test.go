package schema_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"provingground/internal/privatepg/pgtest"
	"provingground/schema"
)

// connect returns a connection that ends with the test.
func connect(t *testing.T, uri string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// migrated returns a connection to a fresh database of the present version.
func migrated(t *testing.T) *pgx.Conn {
	t.Helper()
	uri := pgtest.Database(t)
	if err := schema.Migrate(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	return connect(t, uri)
}

func execute(t *testing.T, conn *pgx.Conn, sql string, arguments ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, arguments...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// one returns the single value of a query.
func one[T any](t *testing.T, conn *pgx.Conn, sql string, arguments ...any) T {
	t.Helper()
	var value T
	if err := conn.QueryRow(t.Context(), sql, arguments...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// shape describes everything that migrations make: columns, indexes, functions, views, comments.
func shape(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return one[string](t, conn, `SELECT string_agg(line, E'\n' ORDER BY line) FROM (
		SELECT format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default) AS line FROM information_schema.columns WHERE table_schema = 'public'
		UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
		UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
		UNION ALL SELECT viewname || definition FROM pg_views WHERE schemaname = 'public') AS lines`)
}

func TestMigrateFromEveryVersion(t *testing.T) {
	t.Parallel()
	want := shape(t, migrated(t))
	for version := range schema.Latest() + 1 {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			uri := pgtest.Database(t)
			if err := schema.ApplyUpTo(t.Context(), uri, version); err != nil {
				t.Fatal(err)
			}
			conn := connect(t, uri)
			err := schema.Check(t.Context(), conn)
			if want := version < schema.Latest(); errors.Is(err, schema.ErrNotMigrated) != want || (err != nil) != want {
				t.Errorf("check of version %d: %v", version, err)
			}
			if version == 0 {
				if err := schema.Migrate(t.Context(), uri); err != nil {
					t.Fatal(err)
				}
			} else {
				// With data: a deployment from before must get the partitions of tables that come later.
				execute(t, conn, "SELECT create_deployment('{}')")
				execute(t, conn, "SELECT ensure_day(1, '2026-11-20')")
				if err := schema.Migrate(t.Context(), uri); err != nil {
					t.Fatal(err)
				}
				for _, table := range []string{"log_entry_1_20261120", "tx_traces_1_20261120", "block_trace_checkpoint_1_20261120", "unique_txs_1", "uniq_sws_1"} {
					if !one[bool](t, conn, "SELECT to_regclass($1) IS NOT NULL", table) {
						t.Errorf("partition %s is missing", table)
					}
				}
				execute(t, conn, "SELECT drop_deployment(1)")
			}
			if err := schema.Check(t.Context(), conn); err != nil {
				t.Error(err)
			}
			if got := shape(t, conn); got != want {
				t.Errorf("the upgraded database differs from a new one:\n%s\nnew:\n%s", got, want)
			}
		})
	}
}

func TestMigrateTwice(t *testing.T) {
	t.Parallel()
	uri := pgtest.Database(t)
	for range 2 {
		if err := schema.Migrate(t.Context(), uri); err != nil {
			t.Fatal(err)
		}
	}
	if got := one[int64](t, connect(t, uri), "SELECT count(*) FROM goose_db_version"); got != schema.Latest() {
		t.Errorf("%d migrations noted, want %d", got, schema.Latest())
	}
}

func TestMigrateConcurrently(t *testing.T) {
	t.Parallel()
	uri := pgtest.Database(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := schema.Migrate(t.Context(), uri); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	conn := connect(t, uri)
	if err := schema.Check(t.Context(), conn); err != nil {
		t.Error(err)
	}
	if got := one[int64](t, conn, "SELECT count(*) FROM goose_db_version"); got != schema.Latest() {
		t.Errorf("%d migrations noted, want %d", got, schema.Latest())
	}
}

// TestMigrationCutOff ends the server's process of a migration before its transaction's end, as a crash or a cut connection would.
func TestMigrationCutOff(t *testing.T) {
	t.Parallel()
	for version := int64(2); version <= schema.Latest(); version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			uri := pgtest.Database(t)
			if err := schema.ApplyUpTo(t.Context(), uri, version-1); err != nil {
				t.Fatal(err)
			}
			conn := connect(t, uri)
			before := shape(t, conn)
			// Everything is made, and only the note that the migration was applied waits for this lock.
			blocker, err := connect(t, uri).Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := blocker.Exec(t.Context(), "LOCK TABLE goose_db_version IN SHARE MODE"); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- schema.Migrate(t.Context(), uri) }()
			const waiting = "SELECT coalesce(min(pid), 0) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
			ticker := time.NewTicker(10 * time.Millisecond)
			defer ticker.Stop()
			for {
				pid := one[int](t, conn, waiting)
				if pid != 0 {
					execute(t, conn, "SELECT pg_terminate_backend($1)", pid)
					break
				}
				select {
				case err := <-done:
					t.Fatalf("the migration did not stop before its end: %v", err)
				case <-ticker.C:
				}
			}
			if err := <-done; err == nil {
				t.Fatal("a migration that was cut off says that it succeeded")
			}
			if err := blocker.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := shape(t, conn); got != before {
				t.Errorf("a migration that was cut off left something:\n%s", got)
			}
			if err := schema.Migrate(t.Context(), uri); err != nil {
				t.Fatal(err)
			}
			if err := schema.Check(t.Context(), conn); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	t.Run("empty", func(t *testing.T) {
		t.Parallel()
		if err := schema.Check(t.Context(), connect(t, pgtest.Database(t))); !errors.Is(err, schema.ErrNotMigrated) {
			t.Errorf("got %v, want ErrNotMigrated", err)
		}
	})
	t.Run("newer", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Database(t)
		if err := schema.ApplyUpTo(t.Context(), uri, schema.Latest(), "CREATE TABLE from_the_future (x int)"); err != nil {
			t.Fatal(err)
		}
		if err := schema.Check(t.Context(), connect(t, uri)); !errors.Is(err, schema.ErrTooNew) {
			t.Errorf("check: got %v, want ErrTooNew", err)
		}
		if err := schema.Migrate(t.Context(), uri); !errors.Is(err, schema.ErrTooNew) {
			t.Errorf("migrate: got %v, want ErrTooNew", err)
		}
	})
	t.Run("hole", func(t *testing.T) {
		t.Parallel()
		uri := pgtest.Database(t)
		if err := schema.Migrate(t.Context(), uri); err != nil {
			t.Fatal(err)
		}
		conn := connect(t, uri)
		execute(t, conn, "DELETE FROM goose_db_version WHERE version_id = 2")
		for name, err := range map[string]error{"check": schema.Check(t.Context(), conn), "migrate": schema.Migrate(t.Context(), uri)} {
			if err == nil || !strings.Contains(err.Error(), "by hand") {
				t.Errorf("%s: got %v, want it to be refused", name, err)
			}
		}
	})
}

func TestMigrateNamesTheLine(t *testing.T) {
	t.Parallel()
	err := schema.ApplyUpTo(t.Context(), pgtest.Database(t), 1, "SELECT 1;\n\nSELECT nonsense;")
	if err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("got %v, want the line of the mistake", err)
	}
}

func TestMigrateGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	uri := pgtest.Database(t)
	execute(t, connect(t, uri), "SELECT pg_advisory_lock(hashtextextended('provingground migrations', 0))")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := schema.Migrate(ctx, uri); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of the context", err)
	}
}

func TestEveryTableAndColumnIsDescribed(t *testing.T) {
	t.Parallel()
	conn := migrated(t)
	rows, err := conn.Query(t.Context(), `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
		AND relkind IN ('r', 'p', 'v') AND relname <> 'goose_db_version' AND obj_description(oid, 'pg_class') IS NULL ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(bare) > 0 {
		t.Errorf("without a comment: %v (%v)", bare, err)
	}
	// Times as plain numbers say in what unit.
	rows, err = conn.Query(t.Context(), `SELECT relname || '.' || attname FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid
		WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND atttypid = 'float8'::regtype
		AND coalesce(col_description(c.oid, attnum), '') NOT LIKE '%econds%' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	bare, err = pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(bare) > 0 {
		t.Errorf("without a unit: %v (%v)", bare, err)
	}
}
