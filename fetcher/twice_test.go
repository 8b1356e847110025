package fetcher_test

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"provingground/fetcher"
	"provingground/orchestrator/simnet"
	"provingground/orchestrator/simnet/simnettest"
)

// nodesStored returns the names under which anything is stored.
func (s *memoryStore) nodesStored() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored := make(map[string]int)
	for key := range s.rows {
		stored[key.node]++
	}
	return stored
}

// TestTwoSubmittersOfOneAddress: the one that was seen last changes with every list, the name under which the log is stored does not.
func TestTwoSubmittersOfOneAddress(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 1, MaxLogs: 2000}, func(w *world) {
		one := w.Listed()[0]
		other := one
		other.Submitter = "B62qAnotherSubmitter"
		one.LastSeen, other.LastSeen = simnettest.Genesis(), simnettest.Genesis().Add(-time.Second)
		found := &lists{nodes: fetcher.Fixed{one, other}}
		options := w.options()
		options.Discover = found
		collector, stop := w.collect(options)
		w.load(0, 1, 5)
		for i := range 6 {
			w.Pass(time.Minute)
			one.LastSeen, other.LastSeen = simnettest.Genesis(), simnettest.Genesis().Add(time.Second)
			if i%2 == 0 {
				found.set(fetcher.Fixed{other, one}, nil)
			} else {
				one.LastSeen, other.LastSeen = other.LastSeen, one.LastSeen
				found.set(fetcher.Fixed{one, other}, nil)
			}
		}
		if stored := w.store.nodesStored(); len(stored) != 1 {
			t.Errorf("stored under %v", stored)
		}
		if m := collector.Metrics(); m.Restarts != 0 || m.Running != 1 {
			t.Errorf("metrics %+v", m)
		}
		found.set(fetcher.Fixed{other}, nil) // now the first one is gone
		w.Pass(2 * time.Minute)
		stop()
		if stored := w.store.nodesStored(); len(stored) != 2 {
			t.Errorf("then stored under %v", stored)
		}
	})
}

// failing is a transport on which one address cannot be reached while down.
type failing struct {
	http.RoundTripper
	host string
	down *atomic.Bool
}

func (f failing) RoundTrip(request *http.Request) (*http.Response, error) {
	if f.down.Load() && request.URL.Host == f.host {
		return nil, errors.New("no route")
	}
	return f.RoundTripper.RoundTrip(request)
}

// TestADaemonStaysWithItsReader: a second address of the daemon does not take it over while the first one does not answer for a while.
func TestADaemonStaysWithItsReader(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 1, MaxLogs: 5000}, func(w *world) {
		node := w.Listed()[0]
		options := w.options()
		options.Discover = fetcher.Fixed{node, simnettest.Entry(t, "10.0.0.9:3086", node.Submitter)}
		down := &atomic.Bool{}
		options.Dial = dial(w.Reader, failing{alias{w.Transport(), "10.0.0.9:3086", w.Nodes()[0]}, w.Nodes()[0], down}, w.clock, 0)
		collector, stop := w.collect(options)
		w.load(0, 1, 5)
		w.Pass(30 * time.Second)
		first := w.store.nodesStored()
		down.Store(true)
		w.Pass(2 * time.Minute)
		down.Store(false)
		w.Pass(2 * time.Minute)
		stop()
		if stored := w.store.nodesStored(); len(first) != 1 || len(stored) != 1 {
			t.Errorf("stored under %v, then under %v", first, stored)
		}
		if m := collector.Metrics(); m.Gaps != 0 || m.RequestErrors == 0 {
			t.Errorf("metrics %+v", m)
		}
		if _, lost := w.verify(true); lost != 0 {
			t.Errorf("%d entries lost", lost)
		}
	})
}
