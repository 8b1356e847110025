package fetcher_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"provingground/fetcher"
	"provingground/internal/clock"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/itn/itntest"
	"provingground/orchestrator/simnet/simnettest"
)

// longWatch counts the nodes of which a long answer is in memory: being read, or not stored yet.
type longWatch struct {
	*memoryStore
	clock *clock.Clock

	mu   sync.Mutex
	long map[string]bool // by host
	most int
}

// through is a transport to one node of itntest, wherever it is thought to be.
func (l *longWatch) through(transport http.RoundTripper) http.RoundTripper {
	return roundTrip(func(request *http.Request) (*http.Response, error) {
		host := request.URL.Hostname()
		request = request.Clone(request.Context())
		request.URL.Host = itntest.Address
		response, err := transport.RoundTrip(request)
		if err == nil {
			response.Body = &watchedBody{ReadCloser: response.Body, watch: l, host: host}
		}
		return response, err
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

type watchedBody struct {
	io.ReadCloser
	watch *longWatch
	host  string
	read  int
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.read += n; b.read > 256<<10 {
		b.watch.set(b.host, true)
	}
	return n, err
}

func (l *longWatch) set(host string, long bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if delete(l.long, host); long {
		l.long[host] = true
	}
	l.most = max(l.most, len(l.long))
}

func (l *longWatch) Save(ctx context.Context, batch fetcher.Batch) error {
	if err := l.clock.SleepWall(ctx, time.Second); err != nil {
		return err
	}
	l.set(strings.Split(batch.Node, "-")[1], false)
	return l.memoryStore.Save(ctx, batch)
}

// TestLongAnswersAreReadOneAtATime: what several nodes answer at once is bounded, and none of it is lost.
func TestLongAnswersAreReadOneAtATime(t *testing.T) {
	hosts := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}
	store := newMemoryStore()
	virtual := clock.NewVirtual(simnettest.Genesis())
	virtual.Run(func() {
		w := &world{TB: t, clock: virtual.Clock()}
		w.group, w.ctx = w.clock.Group(t.Context(), 0)
		watch := &longWatch{memoryStore: store, clock: w.clock, long: map[string]bool{}}
		nodes := make(map[string]*itntest.Node)
		var list fetcher.Fixed
		for i, host := range hosts {
			nodes[host] = itntest.New(t, itntest.Options{})
			for range i {
				nodes[host].Restart() // each has a server UUID of its own
			}
			nodes[host].Stub().SetLogs(long(200, 0, 0)...) // 800 kB
			list = append(list, simnettest.Entry(t, host+":3085", ""))
		}
		collector, stop := w.collect(fetcher.Options{
			Discover: list, Store: watch, Clock: w.clock,
			Dial: func(address string) *itn.Client {
				node := nodes[strings.Split(address, ":")[0]]
				return itn.New(address, node.Key(), itn.Options{Transport: fetcher.Transport(watch.through(node.Transport())), Turn: w.clock.Turn()})
			},
		})
		w.Pass(time.Minute)
		m := collector.Metrics()
		stop()
		if watch.most != 1 {
			t.Errorf("%d long answers were in memory at once", watch.most)
		}
		if stored := store.nodesStored(); len(stored) != len(hosts) || len(store.rows) != 200*len(hosts) || m.RequestErrors != 0 {
			t.Errorf("stored %v, metrics %+v", stored, m)
		}
	})
}
