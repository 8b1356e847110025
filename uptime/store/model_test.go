package store_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/uptime/service"
	"provingground/uptime/store"
)

// model is what a store is to do, said plainly: it forgets nothing, and looks through everything each time.
type model struct {
	retention time.Duration
	perHour   int
	accepted  []service.Accepted
}

func (m *model) accept(s service.Accepted) error {
	count, repeated := 0, false
	for _, before := range m.accepted {
		if before.Submitter == s.Submitter {
			repeated = repeated || before.Digest == s.Digest
			if before.ReceivedAt.After(s.ReceivedAt.Add(-time.Hour)) {
				count++
			}
		}
	}
	switch {
	case s.ReceivedAt.Sub(s.CreatedAt) > m.retention:
		return service.ErrReplayed
	case count >= m.perHour:
		return service.ErrTooMany
	case repeated:
		return service.ErrReplayed
	}
	m.accepted = append(m.accepted, s)
	return nil
}

// online tells the nodes, by submitter and peer ID.
func (m *model) online(since time.Time) map[[2]string]service.Online {
	all := map[[2]string]service.Online{}
	for _, s := range m.accepted {
		id := [2]string{s.Submitter.String(), s.PeerID}
		entry, listed := all[id]
		if !listed || !entry.CreatedAt.After(s.CreatedAt) || !entry.LastSeen.After(s.ReceivedAt.Add(-m.retention)) {
			all[id] = online(s)
		}
	}
	for id, entry := range all {
		if !entry.LastSeen.After(since) {
			delete(all, id)
		}
	}
	return all
}

// TestStoresDoAsTheModel offers random submissions to both stores, of few keys and peers so that they meet, and at times that
// differ from one service to the other, while a database is pruned of all that it may forget.
func TestStoresDoAsTheModel(t *testing.T) {
	t.Parallel()
	keys := publicKeys(t, 3)
	pool := newPool(t, newURI(t))
	rapid.Check(t, func(t *rapid.T) {
		if _, err := pool.Exec(t.Context(), "TRUNCATE submissions, uptime_node"); err != nil {
			t.Fatal(err)
		}
		now := start
		retention := rapid.SampledFrom([]time.Duration{20 * time.Minute, 3 * time.Minute, 2 * time.Hour}).Draw(t, "retention")
		options := store.Options{
			Retention: retention, PerHour: rapid.IntRange(1, 6).Draw(t, "per hour"), KeepSubmissions: max(retention, time.Hour) + 5*time.Minute,
			Now: func() time.Time { return now },
		}
		memory, err := store.NewMemory(options)
		if err != nil {
			t.Fatal(err)
		}
		database, err := store.NewDatabase(pool, options)
		if err != nil {
			t.Fatal(err)
		}
		stores := map[string]service.Store{"memory": memory, "database": database}
		plain := &model{retention: retention, perHour: options.PerHour}
		var offered []service.Accepted
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"new", "new", "again", "later", "prune"}).Draw(t, "step") {
			case "later":
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(70*time.Minute)).Draw(t, "wait")))
			case "prune":
				if err := database.Prune(t.Context()); err != nil {
					t.Fatal(err)
				}
			case "new":
				offered = append(offered, service.Accepted{
					Digest: [32]byte{byte(len(offered))}, Submitter: rapid.SampledFrom(keys).Draw(t, "key"), PeerID: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "peer"),
					RemoteAddr:  rapid.SampledFrom([]netip.Addr{netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("::1")}).Draw(t, "address"),
					ControlPort: rapid.SampledFrom([]uint16{0, 3086, 65535}).Draw(t, "port"), BuiltWithCommitSHA: rapid.SampledFrom([]string{"", "aa"}).Draw(t, "commit"),
					CreatedAt: now.Add(time.Duration(rapid.IntRange(-25*60, 5*60).Draw(t, "created")) * time.Second).Truncate(time.Second), BlockHash: "Y",
				})
				fallthrough
			case "again":
				if len(offered) == 0 {
					continue
				}
				// Fresh ones for the most part, and now and then an earlier one, from elsewhere.
				one := offered[len(offered)-1]
				if rapid.IntRange(0, 2).Draw(t, "which") == 0 {
					one = rapid.SampledFrom(offered).Draw(t, "earlier")
					one.RemoteAddr = netip.MustParseAddr("192.0.2.66")
				}
				one.ReceivedAt = now.Add(time.Duration(rapid.IntRange(-120, 0).Draw(t, "clock")) * time.Second).Truncate(time.Microsecond)
				want := plain.accept(one)
				for name, s := range stores {
					if got := s.Accept(t.Context(), one); !errors.Is(got, want) {
						t.Fatalf("%s: got %v, want %v", name, got, want)
					}
				}
			}
			since := now.Add(-rapid.SampledFrom([]time.Duration{retention, retention / 2, 0}).Draw(t, "since"))
			want := plain.online(since)
			var lists [][]service.Online
			for name, s := range stores {
				nodes, err := s.Online(t.Context(), since)
				if err != nil {
					t.Fatal(err)
				}
				got := map[[2]string]service.Online{}
				for _, node := range nodes {
					got[[2]string{node.Submitter, node.PeerID}] = node
				}
				if diff := cmp.Diff(want, got); diff != "" || len(nodes) != len(got) {
					t.Fatalf("%s: online (-want +got):\n%s", name, diff)
				}
				lists = append(lists, nodes)
			}
			if diff := cmp.Diff(lists[0], lists[1]); diff != "" {
				t.Fatalf("the stores have different lists:\n%s", diff)
			}
		}
	})
}
