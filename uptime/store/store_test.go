package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"provingground/internal/mina"
	"provingground/internal/privatepg/pgtest"
	"provingground/schema"
	"provingground/uptime/service"
	"provingground/uptime/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(pgtest.Goroutine)) }

var (
	_ service.Store = (*store.Memory)(nil)
	_ service.Store = (*store.Database)(nil)

	start = time.Date(2026, 11, 20, 12, 0, 0, 123456000, time.UTC)
)

// newURI returns a migrated database.
func newURI(t testing.TB) string {
	t.Helper()
	uri := pgtest.Database(t)
	if err := schema.Migrate(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	return uri
}

func newPool(t testing.TB, uri string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func newDatabase(t testing.TB, pool *pgxpool.Pool, options store.Options) *store.Database {
	t.Helper()
	d, err := store.NewDatabase(pool, options)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newMemory(t testing.TB, options store.Options) *store.Memory {
	t.Helper()
	m, err := store.NewMemory(options)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// onBoth runs a test on an empty store of each kind.
func onBoth(t *testing.T, options store.Options, test func(*testing.T, service.Store)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		test(t, newMemory(t, options))
	})
	t.Run("database", func(t *testing.T) {
		t.Parallel()
		test(t, newDatabase(t, newPool(t, newURI(t)), options))
	})
}

// publicKeys makes keys, always the same ones.
func publicKeys(t testing.TB, count int) []mina.PublicKey {
	t.Helper()
	source := rand.NewChaCha8([32]byte{})
	list := make([]mina.PublicKey, count)
	for i := range list {
		key, err := mina.GeneratePrivateKey(source)
		if err != nil {
			t.Fatal(err)
		}
		list[i] = key.PublicKey()
	}
	return list
}

// submitted is a submission that came after so many seconds, and was created a second before. Its content is told by its number.
func submitted(submitter mina.PublicKey, peer string, after, number int) service.Accepted {
	received := start.Add(time.Duration(after) * time.Second)
	return service.Accepted{
		Digest: [32]byte{byte(number), byte(number >> 8), 1, byte(number >> 16)}, Submitter: submitter, PeerID: peer, RemoteAddr: netip.MustParseAddr("10.0.0.7"), ControlPort: 3086,
		BuiltWithCommitSHA: "36e0198c", CreatedAt: received.Add(-time.Second).Truncate(time.Second), ReceivedAt: received, BlockHash: "YMzk",
	}
}

// online is the entry that a submission makes.
func online(s service.Accepted) service.Online {
	return service.Online{
		Submitter: s.Submitter.String(), RemoteAddr: s.RemoteAddr.String(), ControlPort: s.ControlPort, PeerID: s.PeerID,
		BuiltWithCommitSHA: s.BuiltWithCommitSHA, CreatedAt: s.CreatedAt, LastSeen: s.ReceivedAt,
	}
}

func accepts(t testing.TB, to service.Store, s service.Accepted, want error) {
	t.Helper()
	if err := to.Accept(t.Context(), s); !errors.Is(err, want) {
		t.Errorf("submission %x of %.8s… at %s: got %v, want %v", s.Digest[:2], s.Submitter, s.ReceivedAt.Sub(start), err, want)
	}
}

func lists(t testing.TB, from service.Store, since time.Time, want ...service.Online) {
	t.Helper()
	got, err := from.Online(t.Context(), since)
	if err != nil {
		t.Error(err)
	}
	if got == nil {
		t.Error("no list at all")
	}
	if diff := cmp.Diff(append([]service.Online{}, want...), got); diff != "" {
		t.Errorf("online (-want +got):\n%s", diff)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	onBoth(t, store.Options{}, func(t *testing.T, s service.Store) {
		t.Helper()
		keys := publicKeys(t, 2)
		if keys[0].String() > keys[1].String() {
			keys[0], keys[1] = keys[1], keys[0]
		}
		lists(t, s, time.Time{})
		first := submitted(keys[0], "peer", 0, 1)
		second := submitted(keys[1], "peer", 1, 2) // of another key, also with its peer ID
		third := submitted(keys[0], "another", 2, 3)
		third.RemoteAddr, third.ControlPort, third.BuiltWithCommitSHA = netip.MustParseAddr("2001:db8::7"), 0, ""
		fourth := submitted(keys[0], "b", 3, 4)
		fourth.ControlPort = 65535
		fifth := submitted(keys[0], "a", 4, 5)
		for _, one := range []service.Accepted{fifth, fourth, third, second, first} {
			accepts(t, s, one, nil)
		}
		lists(t, s, start.Add(-time.Hour), online(fifth), online(first), online(fourth), online(third), online(second))
		lists(t, s, second.ReceivedAt, online(fifth), online(fourth), online(third)) // after, not at
		lists(t, s, second.ReceivedAt.Add(-time.Microsecond), online(fifth), online(fourth), online(third), online(second))
		lists(t, s, fifth.ReceivedAt)
	})
}

func TestNewestReportCounts(t *testing.T) {
	t.Parallel()
	onBoth(t, store.Options{}, func(t *testing.T, s service.Store) {
		t.Helper()
		key := publicKeys(t, 1)[0]
		first := submitted(key, "peer", 0, 1)
		accepts(t, s, first, nil)
		moved := submitted(key, "peer", 60, 2)
		moved.RemoteAddr, moved.ControlPort, moved.BuiltWithCommitSHA = netip.MustParseAddr("10.0.0.8"), 0, "aa"
		accepts(t, s, moved, nil)
		lists(t, s, start.Add(-time.Hour), online(moved))

		late := submitted(key, "peer", 61, 3)
		late.CreatedAt = moved.CreatedAt.Add(-time.Second)
		accepts(t, s, late, nil)
		lists(t, s, start.Add(-time.Hour), online(moved))
		late.ReceivedAt = late.ReceivedAt.Add(time.Second)
		accepts(t, s, late, service.ErrReplayed)

		same := submitted(key, "peer", 62, 4)
		same.CreatedAt = moved.CreatedAt
		accepts(t, s, same, nil)
		lists(t, s, start.Add(-time.Hour), online(same))

		// A node whose clock was ahead, and which was away until it is not in the list any more.
		ahead := submitted(key, "other", 63, 5)
		ahead.CreatedAt = ahead.ReceivedAt.Add(5 * time.Minute).Truncate(time.Second)
		accepts(t, s, ahead, nil)
		away := int((20 * time.Minute).Seconds())
		almost := submitted(key, "other", 63+away-1, 6)
		almost.CreatedAt = ahead.CreatedAt.Add(-time.Second)
		accepts(t, s, almost, nil)
		lists(t, s, ahead.ReceivedAt.Add(-time.Second), online(ahead))
		back := submitted(key, "other", 63+away, 7)
		back.CreatedAt = ahead.CreatedAt.Add(-time.Second)
		accepts(t, s, back, nil)
		lists(t, s, ahead.ReceivedAt, online(back))
	})
}

func TestReplay(t *testing.T) {
	t.Parallel()
	onBoth(t, store.Options{}, func(t *testing.T, s service.Store) {
		t.Helper()
		keys := publicKeys(t, 2)
		first := submitted(keys[0], "peer", 0, 1)
		accepts(t, s, first, nil)
		accepts(t, s, first, service.ErrReplayed)
		again := submitted(keys[0], "peer", 30, 1)
		again.CreatedAt, again.RemoteAddr = first.CreatedAt, netip.MustParseAddr("192.0.2.1")
		accepts(t, s, again, service.ErrReplayed)
		lists(t, s, start.Add(-time.Hour), online(first))

		// The same text, signed by somebody else, does not count for its author.
		other := again
		other.Submitter = keys[1]
		accepts(t, s, other, nil)
		accepts(t, s, other, service.ErrReplayed)

		// As long as the service would take it, and not after.
		for _, after := range []time.Duration{20*time.Minute - time.Microsecond, 20 * time.Minute, 20*time.Minute + time.Microsecond, 2 * time.Hour, 240 * time.Hour} {
			again.ReceivedAt = first.CreatedAt.Add(after)
			accepts(t, s, again, service.ErrReplayed)
		}
		// What is older than that is refused even if it is new: who would know?
		old := submitted(keys[0], "peer", 300*3600, 2)
		old.CreatedAt = old.ReceivedAt.Add(-20*time.Minute - time.Microsecond)
		accepts(t, s, old, service.ErrReplayed)
		old.CreatedAt = old.ReceivedAt.Add(-20 * time.Minute)
		accepts(t, s, old, nil)
	})
}

func TestHourlyLimit(t *testing.T) {
	t.Parallel()
	onBoth(t, store.Options{PerHour: 3}, func(t *testing.T, s service.Store) {
		t.Helper()
		keys := publicKeys(t, 2)
		for i, after := range []int{0, 10, 3599} {
			accepts(t, s, submitted(keys[0], fmt.Sprint("peer", i), after, i), nil)
		}
		before, err := s.Online(t.Context(), start.Add(-time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		fourth := submitted(keys[0], "peer", 3599, 4)
		accepts(t, s, fourth, service.ErrTooMany)
		accepts(t, s, fourth, service.ErrTooMany)
		lists(t, s, start.Add(-time.Hour), before...)
		accepts(t, s, submitted(keys[1], "peer", 3599, 4), nil)
		fourth.ReceivedAt = start.Add(time.Hour - time.Microsecond)
		accepts(t, s, fourth, service.ErrTooMany)
		fourth.ReceivedAt = start.Add(time.Hour) // the first was an hour ago, and the refused ones do not count
		accepts(t, s, fourth, nil)
		accepts(t, s, submitted(keys[0], "peer", 3609, 5), service.ErrTooMany)
		accepts(t, s, submitted(keys[0], "peer", 3610, 5), nil)
		accepts(t, s, submitted(keys[0], "peer", 3611, 6), service.ErrTooMany)
	})
}

func TestUsualLimits(t *testing.T) {
	t.Parallel()
	s := newMemory(t, store.Options{})
	key := publicKeys(t, 1)[0]
	for i := range 120 {
		accepts(t, s, submitted(key, "peer", i, i), nil)
	}
	accepts(t, s, submitted(key, "peer", 120, 120), service.ErrTooMany)
}

// atOnce offers submissions at the same moment, and counts what becomes of them.
func atOnce(t *testing.T, offers []service.Accepted, to ...service.Store) (accepted, replayed, tooMany int) {
	t.Helper()
	var counts [3]atomic.Int64
	var group sync.WaitGroup
	for i, one := range offers {
		group.Go(func() {
			switch err := to[i%len(to)].Accept(t.Context(), one); {
			case err == nil:
				counts[0].Add(1)
			case errors.Is(err, service.ErrReplayed):
				counts[1].Add(1)
			case errors.Is(err, service.ErrTooMany):
				counts[2].Add(1)
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	return int(counts[0].Load()), int(counts[1].Load()), int(counts[2].Load())
}

func testAtOnce(t *testing.T, to ...service.Store) {
	t.Helper()
	keys := publicKeys(t, 2)
	var same, different []service.Accepted
	for i := range 40 {
		same = append(same, submitted(keys[0], "peer", i, 7))
		different = append(different, submitted(keys[1], "peer", i, i))
	}
	for i := range same {
		same[i].CreatedAt = same[0].CreatedAt
	}
	if accepted, replayed, tooMany := atOnce(t, same, to...); accepted != 1 || replayed != 39 {
		t.Errorf("of 40 equal submissions %d were accepted, %d were repeated, %d too many", accepted, replayed, tooMany)
	}
	if accepted, replayed, tooMany := atOnce(t, different, to...); accepted != 25 || tooMany != 15 {
		t.Errorf("of 40 submissions %d were accepted, %d repeated, %d too many; want 25 and 15 too many", accepted, replayed, tooMany)
	}
	nodes, err := to[0].Online(t.Context(), start.Add(-time.Hour))
	if err != nil || len(nodes) != 2 {
		t.Errorf("online: %v, %v; want two", nodes, err)
	}
}

func TestAtOnce(t *testing.T) {
	t.Parallel()
	onBoth(t, store.Options{PerHour: 25}, func(t *testing.T, s service.Store) { t.Helper(); testAtOnce(t, s) })
}

func TestOptionsAreRefused(t *testing.T) {
	t.Parallel()
	pool := newPool(t, "postgresql://127.0.0.1:1/x")
	for name, options := range map[string]store.Options{
		"retention": {Retention: -1}, "per hour": {PerHour: -1}, "entries": {MaxEntries: -1}, "history": {KeepSubmissions: -1},
		"a history shorter than an hour":          {KeepSubmissions: time.Hour},
		"a history shorter than a long retention": {Retention: 48 * time.Hour, KeepSubmissions: 48 * time.Hour},
	} {
		if _, err := store.NewMemory(options); err == nil {
			t.Errorf("%s: memory takes it", name)
		}
		if _, err := store.NewDatabase(pool, options); err == nil {
			t.Errorf("%s: database takes it", name)
		}
	}
	for name, options := range map[string]store.Options{"nothing": {}, "a long retention": {Retention: 30 * 24 * time.Hour}} {
		if _, err := store.NewDatabase(pool, options); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	keys := publicKeys(t, 4)
	m := newMemory(t, store.Options{MaxEntries: 10, PerHour: 5})
	for i := range 10 {
		accepts(t, m, submitted(keys[i%2], fmt.Sprint("peer", i), i, i), nil)
	}
	accepts(t, m, submitted(keys[2], "peer", 20, 20), service.ErrFull)
	accepts(t, m, submitted(keys[0], "peer0", 20, 0), service.ErrTooMany)
	accepts(t, m, submitted(keys[2], "peer", 3600, 20), service.ErrFull)
	if submissions, submitters := m.Remembered(); submissions != 10 || submitters != 2 {
		t.Errorf("%d submissions of %d submitters are remembered, want 10 of 2", submissions, submitters)
	}
	// An hour and the slack later there is room for as many again, and nothing is left of submitters that went away.
	accepts(t, m, submitted(keys[2], "peer", 3600+300+10, 21), nil)
	if submissions, submitters := m.Remembered(); submissions != 1 || submitters != 1 {
		t.Errorf("%d submissions of %d submitters are remembered, want 1 of 1", submissions, submitters)
	}
	if err := m.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestMemoryForgets lets two nodes report for a month.
func TestMemoryForgets(t *testing.T) {
	t.Parallel()
	keys := publicKeys(t, 2)
	m := newMemory(t, store.Options{MaxEntries: 100})
	for i := range 30 * 24 * 20 {
		accepts(t, m, submitted(keys[0], "peer", i*180, i), nil)
		accepts(t, m, submitted(keys[1], fmt.Sprint("peer", i), i*180+1, i), nil) // with a new peer ID each time
	}
	end := start.Add(30 * 24 * time.Hour)
	nodes, err := m.Online(t.Context(), end.Add(-20*time.Minute))
	if err != nil || len(nodes) != 7 {
		t.Errorf("%d nodes online, %v; want one, and six of the last 20 minutes", len(nodes), err)
	}
	if all, err := m.Online(t.Context(), time.Time{}); err != nil || len(all) > 12 {
		t.Errorf("%d nodes remembered, %v", len(all), err)
	}
	// A clock that is set back by days does not keep it from forgetting, when it goes on.
	for i := range 200 {
		accepts(t, m, submitted(keys[0], "peer", i*1800, 50000+i), nil)
	}
}

func benchmarkAccept(b *testing.B, s service.Store, parallel bool) {
	b.Helper()
	keys := publicKeys(b, 1000)
	var next atomic.Int64
	one := func(ctx context.Context) {
		i := int(next.Add(1))
		offer := submitted(keys[i%len(keys)], "12D3KooWKK3RpV1MWAZk3FJ5xqbVPL2BMDdUEGSfwfQoUprBNZCv", i/100, i)
		offer.Digest[2] = byte(i >> 16)
		if err := s.Accept(ctx, offer); err != nil {
			b.Error(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	if parallel {
		b.SetParallelism(4)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				one(b.Context())
			}
		})
		return
	}
	for b.Loop() {
		one(b.Context())
	}
}

// BenchmarkAccept takes submissions of a thousand keys, a hundred per second by their own times.
func BenchmarkAccept(b *testing.B) {
	options := store.Options{PerHour: 1 << 20}
	b.Run("memory", func(b *testing.B) { benchmarkAccept(b, newMemory(b, options), false) })
	b.Run("database", func(b *testing.B) { benchmarkAccept(b, newDatabase(b, newPool(b, newURI(b)), options), false) })
	b.Run("database, several at once", func(b *testing.B) { benchmarkAccept(b, newDatabase(b, newPool(b, newURI(b)), options), true) })
}

// BenchmarkFullHour is the refusal of a submission of a key that has had very many within the hour: it has the lock for no longer than that of another key.
func BenchmarkFullHour(b *testing.B) {
	const perHour = 100_000
	key := publicKeys(b, 1)[0]
	m := newMemory(b, store.Options{PerHour: perHour})
	for i := range perHour {
		accepts(b, m, submitted(key, "12D3KooWnode", 0, i), nil)
	}
	b.ReportAllocs()
	for b.Loop() {
		accepts(b, m, submitted(key, "12D3KooWnode", 0, perHour), service.ErrTooMany)
	}
}

// BenchmarkMemory fills a Memory with 120 submissions of each of 2,000 nodes, and tells what one takes.
func BenchmarkMemory(b *testing.B) {
	keys := publicKeys(b, 2000)
	heap := func() (bytes uint64) {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	for b.Loop() {
		before := heap()
		m := newMemory(b, store.Options{})
		for i := range 120 * len(keys) {
			accepts(b, m, submitted(keys[i%len(keys)], fmt.Sprint("12D3KooWKK3RpV1MWAZk3FJ5xqbVPL2BMDdUEGSfwfQoUprBN", i%len(keys)), i/len(keys), i/len(keys)), nil)
		}
		b.ReportMetric(float64(heap()-before)/float64(120*len(keys)), "heap-B/submission")
		runtime.KeepAlive(m)
	}
}

// BenchmarkOnline reads a list of 10,000 nodes.
func BenchmarkOnline(b *testing.B) {
	keys := publicKeys(b, 1000)
	for name, s := range map[string]service.Store{
		"memory": newMemory(b, store.Options{}), "database": newDatabase(b, newPool(b, newURI(b)), store.Options{}),
	} {
		for i := range 10000 {
			accepts(b, s, submitted(keys[i%len(keys)], fmt.Sprint("12D3KooWKK3RpV1MWAZk3FJ5xqbVPL2BMDdUEGSfwfQoUpr", i), 0, i), nil)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if nodes, err := s.Online(b.Context(), start.Add(-time.Hour)); err != nil || len(nodes) != 10000 {
					b.Fatal(len(nodes), err)
				}
			}
		})
	}
}
