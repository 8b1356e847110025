package main

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"provingground/fetcher"
	"provingground/fetcher/store"
	"provingground/internal/privatepg/pgtest"
	"provingground/orchestrator/itn"
	"provingground/schema"
)

// kept is a database with a store.
type kept struct {
	*testing.T
	uri   string
	conn  *pgx.Conn
	store *store.Store
	saved int
}

func newKept(t *testing.T) *kept {
	t.Helper()
	k := &kept{T: t, uri: pgtest.Database(t)}
	if err := schema.Migrate(t.Context(), k.uri); err != nil {
		t.Fatal(err)
	}
	var err error
	if k.store, err = store.Open(t.Context(), k.uri, store.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.store.Close)
	k.conn = connectTo(t, k.uri)
	return k
}

// save stores one more entry, as a collector would, in a time that no dashboard may keep it from.
func (k *kept) save() {
	k.Helper()
	ctx, cancel := context.WithTimeout(k.Context(), 10*time.Second)
	defer cancel()
	k.saved++
	err := k.store.Save(ctx, fetcher.Batch{
		Node: "n", Cursor: fetcher.Cursor{ServerUUID: "6ba7b810-9dad-11d1-80b4-00c04fd430c8", Next: k.saved + 1, LastTime: time.Now()},
		Entries: []itn.Log{{ID: k.saved, Timestamp: time.Now(), Message: "Breadcrumb_integrated"}},
	})
	if err != nil {
		k.Fatalf("Save: %v", err)
	}
}

func (k *kept) exec(query string, args ...any) {
	k.Helper()
	if _, err := k.conn.Exec(k.Context(), query, args...); err != nil {
		k.Fatalf("%s: %v", query, err)
	}
}

// old makes what is nine days old: partitions of two deployments, block traces, and an interruption of one of them.
func (k *kept) old() {
	k.Helper()
	k.exec("SELECT create_deployment('{}')")
	for _, deployment := range []int{1, 2} {
		k.exec("SELECT ensure_day($1, (now() AT TIME ZONE 'UTC')::date - 9)", deployment)
		k.exec(`INSERT INTO block_trace (deployment_id, node_name, block_id, trace_completed_at)
			SELECT $1, 'n', 'old ' || n, extract(epoch FROM now()) - 9 * 86400 FROM generate_series(1, 15000) n`, deployment)
		k.exec(`INSERT INTO block_trace (deployment_id, node_name, block_id, trace_completed_at)
			VALUES ($1, 'm', '0', extract(epoch FROM now()) - 9 * 86400), ($1, 'm', 'new', extract(epoch FROM now())), ($1, 'm', 'open', -1)`, deployment)
	}
	k.exec(`INSERT INTO sw_interruptions (block_trace_id, deployment_id, at, reason)
		SELECT block_trace_id, deployment_id, 1, 'x' FROM block_trace WHERE block_id IN ('old 7', 'new')`)
}

// left returns what there is of old days, and the blocks that have traces.
func (k *kept) left() (partitions []string, traces string) {
	k.Helper()
	day := time.Now().UTC().AddDate(0, 0, -9).Format("20060102")
	err := k.conn.QueryRow(k.Context(), "SELECT coalesce(array_agg(relname::text ORDER BY relname), '{}') FROM pg_class WHERE relkind = 'r' AND relname LIKE '%\\_' || $1", day).
		Scan(&partitions)
	if err == nil {
		err = k.conn.QueryRow(k.Context(), `SELECT string_agg(block_id, ' ' ORDER BY block_id) FROM block_trace
			WHERE deployment_id = 2 AND block_id IN ('0', 'new', 'open', 'old 7', 'old 14000')`).Scan(&traces)
	}
	if err != nil {
		k.Fatal(err)
	}
	return partitions, traces
}

func threeDaysAgo() string { return time.Now().UTC().AddDate(0, 0, -3).Format(time.DateOnly) }

func TestRetentionDropsOldDays(t *testing.T) {
	k := newKept(t)
	k.save()
	k.old()
	before, _ := k.left()
	dropped, busy, err := dropBefore(t.Context(), k.uri, threeDaysAgo())
	if err != nil || len(busy) > 0 {
		t.Fatalf("%v, %v", busy, err)
	}
	slices.Sort(dropped)
	if diff := cmp.Diff(before, dropped); diff != "" || len(before) != 8 {
		t.Errorf("dropped of 8 (-there +dropped):\n%s", diff)
	}
	if left, traces := k.left(); len(left) != 0 || traces != "0 new open" {
		t.Errorf("partitions %v are left, and the traces of %s", left, traces)
	}
	if n := number(t, k.conn, "SELECT count(*) FROM sw_interruptions"); n != 2 {
		t.Errorf("%d interruptions are left, want those of the new blocks", n)
	}
	if n := number(t, k.conn, "SELECT count(*) FROM partition_day WHERE day < $1::text::date", threeDaysAgo()); n != 0 {
		t.Errorf("%d old days are still registered", n)
	}
	k.save()
	if again, busy, err := dropBefore(t.Context(), k.uri, threeDaysAgo()); err != nil || len(again)+len(busy) != 0 {
		t.Errorf("again: %v, %v, %v", again, busy, err)
	}
	if rows := number(t, k.conn, "SELECT count(*) FROM log_entry"); rows != 2 {
		t.Errorf("%d entries are left of 2 new ones", rows)
	}
}

// TestRetentionStopsNobody: somebody's transaction that has read a table, and does nothing since, keeps retention waiting, and only that. The
// same for a deployment that is dropped by hand.
func TestRetentionStopsNobody(t *testing.T) {
	k := newKept(t)
	k.save()
	k.old()
	dashboard := connectTo(t, k.uri)
	if _, err := dashboard.Exec(t.Context(), "BEGIN; SELECT count(*) FROM tx_traces"); err != nil {
		t.Fatal(err)
	}
	retaining, end := context.WithCancel(t.Context())
	retained := make(chan error, 1)
	var rounds atomic.Int32
	go func() {
		conn, err := pgx.Connect(retaining, k.uri)
		if err != nil {
			retained <- err
			return
		}
		defer conn.Close(context.WithoutCancel(retaining))
		for retaining.Err() == nil {
			dropped, busy, err := dropBefore(retaining, k.uri, threeDaysAgo())
			for _, part := range append(dropped, busy...) {
				if strings.HasPrefix(part, "tx_traces_") != slices.Contains(busy, part) {
					t.Errorf("dropped %v, busy %v", dropped, busy)
				}
			}
			if err != nil && retaining.Err() == nil {
				retained <- err
				return
			}
			if _, err := conn.Exec(retaining, "SELECT drop_deployment(2)"); !inUse(err) && retaining.Err() == nil {
				t.Errorf("dropping a deployment that is read: %v", err)
			}
			rounds.Add(1)
		}
		retained <- nil
	}()
	for rounds.Load() < 4 && len(retained) == 0 {
		k.save()
		k.exec("SELECT ensure_day(1, (now() AT TIME ZONE 'UTC')::date + 1)")
	}
	end()
	if err := <-retained; err != nil {
		t.Fatal(err)
	}
	if left, _ := k.left(); len(left) != 2 {
		t.Errorf("while tx_traces is read, %v are left", left)
	}
	if _, err := dashboard.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if dropped, busy, err := dropBefore(t.Context(), k.uri, threeDaysAgo()); err != nil || len(dropped) != 2 || len(busy) != 0 {
		t.Errorf("when it is not read any more: dropped %v, busy %v, %v", dropped, busy, err)
	}
	k.exec("SELECT drop_deployment(2)")
	if n := number(t, k.conn, "SELECT count(*) FROM block_trace WHERE deployment_id = 2"); n != 0 {
		t.Errorf("%d traces of a dropped deployment", n)
	}
}

// TestRenewalLeavesTheFreezeAlone: a new deployment does not undo what people said.
func TestRenewalLeavesTheFreezeAlone(t *testing.T) {
	k := newKept(t)
	collector, err := fetcher.New(fetcher.Options{Discover: fetcher.Fixed{}, Store: k.store, Dial: func(string) *itn.Client { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	renewal := &renewal{collector: collector, entries: k.store}
	for _, frozen := range []bool{false, true} {
		if frozen {
			if err := collector.Freeze(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		id, err := renewal.deployment(t.Context(), []byte(`{}`))
		if err != nil || id != k.store.Deployment() || collector.Frozen() != frozen {
			t.Errorf("deployment %d (used: %d), frozen %t, want %t: %v", id, k.store.Deployment(), collector.Frozen(), frozen, err)
		}
	}
}
