package fetcher_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"provingground/fetcher"
	"provingground/orchestrator/simnet"
	"provingground/orchestrator/simnet/simnettest"
	"provingground/uptime"
)

func TestNodeName(t *testing.T) {
	for _, test := range []struct {
		submitter, host string
		port            uint16
		want            string
	}{
		{"B62qkzGxxxxxxxx12345678", "10.0.0.1", 3085, "12345678-10.0.0.1-3085"},
		{"12345678", "plain-1.example.org", 80, "12345678-plain-1.example.org-80"},
		{"short", "10.0.0.1", 1, "short-10.0.0.1-1"},
		{"", "10.0.0.1", 65535, "-10.0.0.1-65535"},
		{"ééééééééé", "::1", 3085, "éééééééé-::1-3085"},
		{"a\x00b", "h", 1, "a\ufffdb-h-1"},
		{"\xff\xfe", "h", 1, "\ufffd\ufffd-h-1"},
	} {
		if got := fetcher.NodeName(test.submitter, test.host, test.port); got != test.want {
			t.Errorf("NodeName(%q, %q, %d) = %q, want %q", test.submitter, test.host, test.port, got, test.want)
		}
	}
}

// lists is a Discoverer that a test changes.
type lists struct {
	mu    sync.Mutex
	nodes []uptime.Node
	err   error
	calls int
}

func (l *lists) List(context.Context) ([]uptime.Node, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	return l.nodes, l.err
}

func (l *lists) set(nodes []uptime.Node, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes, l.err = nodes, err
}

// states returns the nodes' states by address, those that are not in the list with a minus sign.
func states(collector *fetcher.Collector) map[string]fetcher.State {
	states := make(map[string]fetcher.State)
	for _, status := range collector.Nodes() {
		state := status.State
		if !status.Active {
			state = "-" + state
		}
		states[status.IP] = state
	}
	return states
}

func TestNodesComeAndGo(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 3, MaxLogs: 2000}, func(w *world) {
		all := w.Listed()
		found := &lists{nodes: all[:2]}
		options := w.options()
		options.Discover = found
		options.Names = map[string]string{all[0].Submitter: "seed"}
		collector, stop := w.collect(options)
		w.load(0, 1, 5)
		expect := func(want map[string]fetcher.State) {
			t.Helper()
			w.Pass(61 * time.Second)
			if diff := cmp.Diff(want, states(collector)); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
		}
		expect(map[string]fetcher.State{"127.0.0.2": fetcher.Running, "127.0.0.3": fetcher.Running})
		bad := uptime.Node{RemoteAddr: "no host/at all", ControlPort: 1, Submitter: "x"}
		portless := uptime.Node{RemoteAddr: "10.0.0.1", Submitter: "y"}
		found.set(append([]uptime.Node{bad, portless}, all[1:]...), nil)
		expect(map[string]fetcher.State{"127.0.0.2": "-stopped", "127.0.0.3": fetcher.Running, "127.0.0.4": fetcher.Running})
		found.set(nil, errors.New("no list"))
		expect(map[string]fetcher.State{"127.0.0.2": "-stopped", "127.0.0.3": fetcher.Running, "127.0.0.4": fetcher.Running})
		found.set(all, nil)
		expect(map[string]fetcher.State{"127.0.0.2": fetcher.Running, "127.0.0.3": fetcher.Running, "127.0.0.4": fetcher.Running})
		w.Pass(2 * time.Minute)
		first := collector.Nodes()
		stop()
		if _, lost := w.verify(true); lost != 0 || w.store.repeats != 0 {
			t.Errorf("%d entries lost, %d repeated", lost, w.store.repeats)
		}
		m := collector.Metrics()
		if m.DiscoveryErrors == 0 || m.UnreachableNodes != 2 {
			t.Errorf("metrics %+v", m)
		}
		names, ports := map[string]bool{}, map[uint16]bool{}
		for _, status := range first {
			names[status.Name], ports[status.InternalTracePort] = true, true
			if status.LastSuccess.IsZero() || status.LastLogID == 0 || status.IsBlockProducer == nil || *status.IsBlockProducer {
				t.Errorf("status %+v", status)
			}
		}
		if !names["seed"] || !ports[11000] || !ports[11001] || !ports[11002] {
			t.Errorf("names %v, ports %v", names, ports)
		}
	})
}

// TestNodesThatAreNeverRead: a node that nobody can read does not hide how far behind the others are, and is counted.
func TestNodesThatAreNeverRead(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 2}, func(w *world) {
		core, logs := observer.New(zap.WarnLevel)
		found := &lists{err: errors.New("no list")}
		options := w.options()
		options.Discover, options.Log = found, zap.New(core)
		collector, stop := w.collect(options)
		w.Pass(2 * time.Minute)
		if m := collector.Metrics(); m.NeverRead != 0 || !m.OldestSuccess.IsZero() || !m.NewestSuccess.IsZero() {
			t.Errorf("without a list: %+v", m)
		}
		found.set(append(w.Listed(), simnettest.Entry(t, "127.0.0.99:1", "nobody")), nil)
		w.Pass(2 * time.Minute)
		found.set(nil, errors.New("no list"))
		w.Pass(2 * time.Minute)
		recent := w.clock.Now().Add(-20 * time.Second)
		if m := collector.Metrics(); m.NeverRead != 1 || m.Backoff != 1 || m.OldestSuccess.Before(recent) || m.NewestSuccess.Before(m.OldestSuccess) {
			t.Errorf("at %v: %+v", w.clock.Now(), m)
		}
		stop()
		var said []string
		for _, entry := range logs.FilterMessageSnippet("the list of nodes").All() {
			said = append(said, entry.Message)
		}
		const never, again = "the list of nodes could not be had, and there is none yet; asking again", "the list of nodes could not be had; going on with the last one"
		if diff := cmp.Diff([]string{never, again}, slices.Compact(said)); diff != "" {
			t.Errorf("the log (-want +got):\n%s", diff)
		}
	})
}

func TestOnlineList(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 2, Slot: 30 * time.Second, Faults: parseFaults(t, "list-malformed#1; list-no-port#2")}, func(w *world) {
		online, err := uptime.NewOnlineList(w.OnlineURL(), w.Transport(), 0)
		if err != nil {
			t.Fatal(err)
		}
		options := w.options()
		options.Discover = online
		collector, stop := w.collect(options)
		w.Pass(10 * time.Minute)
		if m := collector.Metrics(); m.Running != 2 || m.DiscoveryErrors != 1 || m.UnreachableNodes == 0 {
			t.Errorf("metrics %+v", m)
		}
		stop()
	})
}

// alias is a transport by which a node has a second address.
type alias struct {
	http.RoundTripper
	from, to string
}

func (a alias) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Host == a.from {
		request = request.Clone(request.Context())
		request.URL.Host = a.to
	}
	return a.RoundTripper.RoundTrip(request)
}

func TestOneDaemonIsReadOnce(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 1, MaxLogs: 2000}, func(w *world) {
		node := w.Listed()[0]
		other, earlier := simnettest.Entry(t, "10.0.0.9:3086", node.Submitter), node
		node.LastSeen = simnettest.Genesis()
		earlier.Submitter, earlier.LastSeen = "B62qAnotherSubmitter", simnettest.Genesis().Add(-time.Hour)
		options := w.options()
		options.Discover = fetcher.Fixed{earlier, node, other}
		options.Dial = dial(w.Reader, alias{w.Transport(), "10.0.0.9:3086", w.Nodes()[0]}, w.clock, 0)
		collector, stop := w.collect(options)
		w.load(0, 1, 2)
		w.Pass(3 * time.Minute)
		want := map[string]fetcher.State{"127.0.0.2": fetcher.Running, "10.0.0.9": fetcher.Backoff}
		if diff := cmp.Diff(want, states(collector)); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		if m := collector.Metrics(); m.SharedAddresses == 0 {
			t.Errorf("metrics %+v", m)
		}
		told := false
		for _, status := range collector.Nodes() {
			told = told || strings.Contains(status.LastError, "same daemon as "+fetcher.NodeName(node.Submitter, "127.0.0.2", 3086))
		}
		if !told {
			t.Errorf("no node tells of the other: %+v", collector.Nodes())
		}
		stop()
		if _, lost := w.verify(true); lost != 0 {
			t.Errorf("%d entries lost", lost)
		}
	})
}

func TestFreezeUnfreezeReset(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 3, MaxLogs: 5000}, func(w *world) {
		found := &lists{nodes: w.Listed()}
		options := w.options()
		options.Discover = found
		collector, stop := w.collect(options)
		w.load(0, 1, 5)
		w.Pass(30 * time.Second)
		freeze := func() {
			t.Helper()
			w.clock.Idle(func() {
				if err := collector.Freeze(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		freeze()
		freeze() // twice is once
		frozen := func(n fetcher.NodeStatus) bool { return n.Frozen }
		if nodes := collector.Nodes(); slices.ContainsFunc(nodes, func(n fetcher.NodeStatus) bool { return !frozen(n) }) {
			t.Errorf("nodes do not say that they are frozen: %+v", nodes)
		}
		if m := collector.Metrics(); m.Stopped != 3 || !collector.Frozen() {
			t.Errorf("frozen: %+v", m)
		}
		stored, lists := len(w.store.rows), found.calls
		collector.Reset()
		w.Pass(3 * time.Minute)
		if len(w.store.rows) != stored || found.calls == lists {
			t.Errorf("while frozen %d entries became %d, and %d lists %d", stored, len(w.store.rows), lists, found.calls)
		}
		collector.Unfreeze()
		w.Pass(20 * time.Second)
		if m := collector.Metrics(); m.Running != 3 || collector.Frozen() || slices.ContainsFunc(collector.Nodes(), frozen) || len(w.store.rows) <= stored {
			t.Errorf("unfrozen: %+v", m)
		}
		lists = found.calls
		collector.Reset()
		w.Pass(5 * time.Second)
		if m := collector.Metrics(); m.Running != 3 || found.calls != lists+1 {
			t.Errorf("after a reset, with %d more lists: %+v", found.calls-lists, m)
		}
		w.Pass(3 * time.Minute)
		stop()
		if _, lost := w.verify(true); lost != 0 || w.store.repeats != 0 {
			t.Errorf("%d entries lost, %d repeated", lost, w.store.repeats)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := fetcher.New(fetcher.Options{Interval: -1, QueueSize: -1})
	for _, want := range []string{"Discover", "Dial", "Store", "times", "bounds"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error %v does not speak of %s", err, want)
		}
	}
}
