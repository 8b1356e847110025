package store_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"provingground/fetcher/store"
	"provingground/internal/privatepg/pgtest"
	"provingground/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(pgtest.Goroutine)) }

// database is a migrated database of a test's own, with a connection for looking into it.
type database struct {
	uri  string
	conn *pgx.Conn
}

func newDatabase(tb testing.TB) *database {
	tb.Helper()
	uri := pgtest.Database(tb)
	if err := schema.Migrate(tb.Context(), uri); err != nil {
		tb.Fatal(err)
	}
	conn, err := pgx.Connect(tb.Context(), uri)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := conn.Close(context.WithoutCancel(tb.Context())); err != nil {
			tb.Error(err)
		}
	})
	return &database{uri: uri, conn: conn}
}

// open opens a store that is closed when the test ends.
func (d *database) open(tb testing.TB, options store.Options) *store.Store {
	tb.Helper()
	s, err := store.Open(tb.Context(), d.uri, options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// one returns the only value of a query.
func one[T any](tb testing.TB, d *database, query string, arguments ...any) T {
	tb.Helper()
	var value T
	if err := d.conn.QueryRow(tb.Context(), query, arguments...).Scan(&value); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	return value
}

// equal compares the only value of a query.
func equal[T any](tb testing.TB, d *database, query string, want T, arguments ...any) {
	tb.Helper()
	if diff := cmp.Diff(want, one[T](tb, d, query, arguments...)); diff != "" {
		tb.Errorf("%s (-want +got):\n%s", query, diff)
	}
}

func (d *database) execute(tb testing.TB, query string, arguments ...any) {
	tb.Helper()
	if _, err := d.conn.Exec(tb.Context(), query, arguments...); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
}
