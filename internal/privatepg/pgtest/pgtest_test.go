package pgtest_test

import (
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"provingground/internal/privatepg/pgtest"
)

func TestDatabasesAreSeparate(t *testing.T) {
	const databases = 8
	uris := make([]string, databases)
	var group sync.WaitGroup
	for i := range uris {
		group.Go(func() { uris[i] = pgtest.Database(t) })
	}
	group.Wait()
	seen := map[string]bool{}
	for _, uri := range uris {
		if seen[uri] {
			t.Fatalf("%s was given twice", uri)
		}
		seen[uri] = true
		conn, err := pgx.Connect(t.Context(), uri)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		// It would fail in a database that another call has got, too.
		if _, err := conn.Exec(t.Context(), "CREATE TABLE only_here (x int)"); err != nil {
			t.Errorf("create a table: %v", err)
		}
	}
}
