//go:build linux

package snarkpool_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"provingground/internal/privatepg"
	"provingground/internal/privatepg/pgtest"
	"provingground/schema"
	"provingground/snarkpool"
	"provingground/snarkpool/control"
)

// TestDatabaseAway stops PostgreSQL while workers prove, drains them meanwhile, and starts it again: what they proved is on disk, and is stored and
// delivered then, once.
func TestDatabaseAway(t *testing.T) {
	dir := pgtest.Dir(t)
	server := startServer(t, dir)
	if err := schema.Migrate(t.Context(), server.URI()); err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, setting: newSetting(t, poolFile(3, `"1500ms", "right"`), server.URI()), source: newSource()}
	w.source.addFakes(6)
	w.start()
	t.Cleanup(func() { w.end() })
	for i := range 3 {
		w.awaitState(fmt.Sprintf("bm7/cpu/%d", i), "proving")
	}
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := w.change(control.OpDrain, "all", control.Arguments{})
	if c.Lost != 0 {
		t.Errorf("%+v", c)
	}
	if spool := w.Metrics().Spool; spool == nil || spool.Records < 3 {
		eventually(t, "proofs wait on disk", func() (bool, string) {
			spool := w.Metrics().Spool
			return spool != nil && spool.Records >= 3, fmt.Sprintf("%+v", spool)
		})
	}
	w.stop() // The agent ends, too; its spool does not.
	w.start()
	w.change(control.OpResume, "all", control.Arguments{})
	eventually(t, "it is noted", func() (bool, string) {
		status, err := w.Status(t.Context(), control.Target{})
		return err == nil && len(status.Notes) > 0, fmt.Sprintf("%+v", status)
	})
	startServer(t, dir)
	w.source.awaitAll(t)
	w.source.mu.Lock()
	defer w.source.mu.Unlock()
	for job, n := range w.source.delivered {
		if n != 1 {
			t.Errorf("job %s was delivered %d times", job, n)
		}
	}
}

func startServer(t *testing.T, dir string) *privatepg.Server {
	t.Helper()
	server, err := privatepg.Start(t.Context(), privatepg.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Errorf("stop PostgreSQL: %v", err)
		}
	})
	return server
}

// TestPullGoesOnWithoutDatabase starts an agent whose database is not there: workers that need none work.
func TestPullGoesOnWithoutDatabase(t *testing.T) {
	c := newCoordinator(t, 3)
	w := newWorld(t, pullFile(1, c.Address(), "text", "1ms", "false"), func(o *snarkpool.Options) { o.Database = "postgres://127.0.0.1:1/none" })
	eventually(t, "works counted", func() (bool, string) { s := w.worker("bm7/mina/0"); return s.Proofs == 6, fmt.Sprint(s) })
	eventually(t, "it is noted", func() (bool, string) {
		up := w.Metrics().DatabaseUp
		return up != nil && !*up, ""
	})
}
