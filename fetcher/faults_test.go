package fetcher_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"provingground/fetcher"
	"provingground/internal/soak"
	"provingground/orchestrator/simnet"
	"provingground/orchestrator/simnet/simnettest"
)

func parseFaults(t simnettest.TB, text string) []simnet.Fault {
	t.Helper()
	faults, err := simnet.ParseFaults(text)
	if err != nil {
		t.Fatal(err)
	}
	return faults
}

func TestFaultsOfNodesLoseNothingThatTheNodeHolds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		faults  string
		flush   bool
		arrives bool // every answer that a node gives
	}{
		"lost replies":        {faults: "lose-reply:*/internalLogs#5; lose-reply:*/auth#2"},
		"lost requests":       {faults: "lose-request:*#7", arrives: true},
		"cut bodies":          {faults: "cut-body:*/internalLogs#7"},
		"412":                 {faults: "412:*#9", arrives: true},
		"a proxy's errors":    {faults: "status:*/internalLogs=502#6; status-after:*/internalLogs=504#6"},
		"slow nodes":          {faults: "slow:*=3s", arrives: true},
		"refused connections": {faults: "refuse:127.0.0.2=90s@2; refuse:127.0.0.3=20s", arrives: true},
		"lost entries":        {faults: "drop-logs:*=10%", arrives: true},
		"restarts":            {faults: "restart:127.0.0.2@2; restart:127.0.0.3@3; restart:127.0.0.2@6", arrives: true},
		"restarts in no time": {faults: "restart-before:127.0.0.2/internalLogs#1; restart-before:127.0.0.3/auth#2", arrives: true},
		"flushed":             {faults: "", flush: true, arrives: true},
		"flushes that meet a restart": {
			faults: "restart-before:*/flushInternalLogs#6", flush: true, arrives: true,
		},
		"lost flushes": {faults: "lose-reply:*/flushInternalLogs#6; lose-request:*/flushInternalLogs#6", flush: true, arrives: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := simnet.Options{Nodes: 3, Producers: 2, MaxLogs: 300, Slot: 30 * time.Second, RestartAfter: 20 * time.Second}
			options.Faults = parseFaults(t, test.faults)
			inVirtualTime(t, options, func(w *world) {
				options := w.options()
				options.QueueSize, options.Flush = 300, test.flush
				collector, stop := w.collect(options)
				w.load(2, 1, 3)
				w.Pass(5 * time.Minute)
				stop()
				stored, _ := w.verify(test.arrives)
				if m := collector.Metrics(); stored < 500 || m.Memory.Held != 0 || m.Requesting.Held != 0 || m.Probing.Held != 0 {
					t.Errorf("%d entries are stored; metrics %+v", stored, m)
				}
				read := make(map[rowKey]bool) // runs of daemons
				for key := range w.store.rows {
					read[rowKey{node: key.node, uuid: key.uuid}] = true
				}
				if got, all := len(w.store.restarts), len(w.LogRuns()); got < len(read)-3 || got > all-3 {
					t.Errorf("%d restarts are stored, 3 daemons had %d runs, %d were read", got, all, len(read))
				}
				if w.store.repeats != 0 {
					t.Errorf("%d entries were stored twice", w.store.repeats)
				}
			})
		})
	}
}

func TestStoreThatFails(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 4, Producers: 1, MaxLogs: 5000, Slot: 30 * time.Second}, func(w *world) {
		random := rand.New(rand.NewPCG(1, 2))
		w.store.fail = func() (before, after error) {
			switch random.IntN(3) {
			case 0:
				return errStore, nil
			case 1:
				return nil, errStore // the commit's answer was lost
			}
			return nil, nil
		}
		options := w.options()
		options.BackoffMax = 2 * time.Second
		collector, stop := w.collect(options)
		w.load(0, 1, 4)
		w.Pass(5 * time.Minute)
		w.store.fail = nil
		w.Pass(time.Minute)
		stop()
		if stored, lost := w.verify(true); stored < 4*240*4 || lost != 0 {
			t.Errorf("%d entries stored, %d lost", stored, lost)
		}
		if m := collector.Metrics(); m.StoreErrors < 10 {
			t.Errorf("the store failed %d times only", m.StoreErrors)
		}
	})
}

func TestEntryThatTheStoreRefuses(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 2, MaxLogs: 1000}, func(w *world) {
		w.store.check = func(batch fetcher.Batch) error {
			for _, log := range batch.Entries {
				if log.ID%50 == 0 {
					return fmt.Errorf("%w: entry %d", fetcher.ErrPermanent, log.ID)
				}
			}
			return nil
		}
		collector, stop := w.collect(w.options())
		w.load(0, 1, 2)
		w.Pass(3 * time.Minute)
		stop()
		for _, kept := range w.KeptLogs() {
			name := w.Names()[kept.Node]
			for _, log := range kept.Logs {
				_, stored := w.store.rows[rowKey{name, kept.ServerUUID, log.ID}]
				malformed, refused := w.store.malformed[rowKey{name, kept.ServerUUID, log.ID}]
				if stored == (log.ID%50 == 0) || refused == stored {
					t.Errorf("entry %d of %s: stored %t, malformed %t", log.ID, name, stored, refused)
				}
				if refused && !strings.Contains(malformed.Raw, log.Message) {
					t.Errorf("the refused entry is kept as %q", malformed.Raw)
				}
			}
		}
		if m := collector.Metrics(); m.StoreRefusals == 0 || m.Malformed < 8 {
			t.Errorf("metrics %+v", m)
		}
	})
}

func TestStoreThatRefusesEverythingIsTold(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 1}, func(w *world) {
		w.store.check = func(fetcher.Batch) error { return fmt.Errorf("%w: no such table", fetcher.ErrPermanent) }
		collector, stop := w.collect(w.options())
		w.Pass(time.Minute)
		status := collector.Nodes()[0]
		if status.State != fetcher.Backoff || !strings.Contains(status.LastError, "no such table") || status.LastLogID != 0 {
			t.Errorf("status %+v", status)
		}
		w.store.check = nil
		w.Pass(time.Minute)
		stop()
		if stored, lost := w.verify(true); stored == 0 || lost != 0 {
			t.Errorf("%d entries stored, %d lost after the store was mended", stored, lost)
		}
	})
}

// TestRandomFaults lets everything go wrong at once, the collector's own end included: the store and the ground truth must still agree.
func TestRandomFaults(t *testing.T) {
	kinds := []string{
		"lose-reply:%s/internalLogs#%d", "lose-request:%s#%d", "cut-body:%s#%d", "412:%s#%d", "restart-before:%s#%d", "status:%s=503#%d",
		"status-after:%s=504#%d", "slow:%s=2s#%d", "lose-reply:%s/auth#%d", "lose-reply:%s/flushInternalLogs#%d",
	}
	timed := []string{"restart:%s@%d", "refuse:%s=45s@%d", "redeploy:%s@%d"}
	nodes := []string{"127.0.0.2", "127.0.0.3"}
	rapid.Check(t, func(t *rapid.T) {
		var faults []string
		for range rapid.IntRange(0, 6).Draw(t, "faults of requests") {
			faults = append(faults, fmt.Sprintf(rapid.SampledFrom(kinds).Draw(t, "kind"), rapid.SampledFrom(nodes).Draw(t, "node"),
				rapid.IntRange(1, 4).Draw(t, "count")))
		}
		for range rapid.IntRange(0, 3).Draw(t, "faults of nodes") {
			faults = append(faults, fmt.Sprintf(rapid.SampledFrom(timed).Draw(t, "kind"), nodes[0],
				rapid.IntRange(1, 8).Draw(t, "slot")))
		}
		options := simnet.Options{
			Nodes: 2, Producers: 1, MaxLogs: rapid.IntRange(20, 100).Draw(t, "max logs"), Slot: 15 * time.Second,
			RestartAfter: 10 * time.Second, RestartAfterClean: 20 * time.Second, Seed: rapid.Uint64().Draw(t, "seed"),
			Faults: parseFaults(t, strings.Join(faults, "; ")),
		}
		inVirtualTime(t, options, func(w *world) {
			random := rand.New(rand.NewPCG(options.Seed, 1))
			failing := rapid.IntRange(0, 50).Draw(t, "percent of failing saves")
			w.store.fail = func() (before, after error) {
				if random.IntN(100) >= failing {
					return nil, nil
				}
				if random.IntN(2) == 0 {
					return errStore, nil
				}
				return nil, errStore
			}
			collecting := w.options()
			collecting.QueueSize = rapid.SampledFrom([]int{50, 500}).Draw(t, "queue size")
			collecting.Flush = rapid.Bool().Draw(t, "flush")
			collecting.Concurrency = rapid.IntRange(1, 4).Draw(t, "concurrency")
			collecting.MemoryBytes = rapid.Int64Range(1, 1<<20).Draw(t, "memory")
			w.load(1, 0.5, 1)
			for range rapid.IntRange(1, 4).Draw(t, "starts") {
				_, stop := w.collect(collecting)
				w.Pass(time.Duration(rapid.IntRange(1, 30_000).Draw(t, "life in ms")) * time.Millisecond)
				stop()
			}
			w.store.fail = nil
			collector, stop := w.collect(collecting)
			w.Pass(150 * time.Second) // all faults of nodes are over by then
			stop()
			w.verify(false)
			if m := collector.Metrics(); m.Memory.Held != 0 || m.Requesting.Held != 0 || m.Probing.Held != 0 || m.Requesting.Most > m.Requesting.Limit {
				t.Errorf("metrics %+v", m)
			}
		})
	})
}

func TestManyNodesWithFewRequestsAtOnce(t *testing.T) {
	options := simnet.Options{Nodes: 200, Slot: 30 * time.Second, MaxLogs: 500, Faults: parseFaults(t, "slow:*/internalLogs=200ms")}
	inVirtualTime(t, options, func(w *world) {
		options := w.options()
		options.Concurrency = 8
		collector, stop := w.collect(options)
		w.load(0, 0.1, 1)
		w.Pass(2 * time.Minute)
		m := collector.Metrics()
		stop()
		if m.Running != 200 || m.Requesting.Most != 8 || m.Requesting.Waited == 0 || m.OldestSuccess.Before(w.clock.Now().Add(-20*time.Second)) {
			t.Errorf("metrics %+v", m)
		}
		if stored, lost := w.verify(true); stored < 200*6*4 || lost != 0 {
			t.Errorf("%d entries stored, %d lost", stored, lost)
		}
	})
}

func TestSlowStoreHoldsNodesBackWithinTheMemory(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 30, MaxLogs: 2000}, func(w *world) {
		away := true
		w.store.fail = func() (before, after error) {
			if away {
				return errStore, nil
			}
			return nil, nil
		}
		options := w.options()
		options.Concurrency, options.MemoryBytes = 4, 20<<10
		collector, stop := w.collect(options)
		w.load(0, 1, 2)
		w.Pass(3 * time.Minute)
		m := collector.Metrics()
		if m.Memory.Waiting == 0 || m.Memory.Held == 0 || m.Memory.Most > m.Memory.Limit || m.Entries != 0 {
			t.Errorf("while the store is away: %+v", m)
		}
		failing := slices.ContainsFunc(collector.Nodes(), func(s fetcher.NodeStatus) bool { return strings.Contains(s.LastError, errStore.Error()) })
		if !failing {
			t.Error("no node tells that the store fails")
		}
		away = false
		w.Pass(2 * time.Minute)
		stop()
		if stored, lost := w.verify(true); stored < 5000 || lost != 0 {
			t.Errorf("%d entries stored, %d lost", stored, lost)
		}
		if m := collector.Metrics(); m.Memory.Held != 0 || m.Memory.Waited == 0 {
			t.Errorf("in the end: %+v", m.Memory)
		}
	})
}

// TestCollectorThatIsKilled ends the collector at random moments; ROUNDS says how often.
func TestCollectorThatIsKilled(t *testing.T) {
	rounds := soak.Rounds(t)
	random := rand.New(rand.NewPCG(3, 4))
	options := simnet.Options{Nodes: 5, Producers: 1, Slot: 30 * time.Second, MaxLogs: 1000, Faults: parseFaults(t, "slow:*/internalLogs=300ms")}
	inVirtualTime(t, options, func(w *world) {
		options := w.options()
		options.QueueSize = 1000
		w.load(0, 0.2, 2*rounds)
		for range rounds {
			_, stop := w.collect(options)
			w.Pass(time.Duration(random.IntN(30_000)) * time.Millisecond)
			stop()
		}
		_, stop := w.collect(options)
		w.Pass(time.Minute)
		stop()
		if stored, lost := w.verify(false); stored == 0 || lost != 0 || w.store.repeats != 0 {
			t.Errorf("%d entries stored, %d lost, %d repeated", stored, lost, w.store.repeats)
		}
	})
}
