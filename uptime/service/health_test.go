package service

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zapcore"
)

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

// metric is the sum of a metric over its labels; a missing one fails the test.
func (w *world) metric(tb testing.TB, name string) float64 {
	tb.Helper()
	families, err := w.service.options.Registry.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		sum := 0.0
		for _, metric := range family.GetMetric() {
			sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
		return sum
	}
	tb.Fatalf("there is no metric %s", name)
	return 0
}

func TestHealth(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		prepare func(*world)
		status  int
		want    string
	}{
		{"well", func(*world) {}, 200, `{"status":"ok"}`},
		{"nobody may submit", func(w *world) { clear(w.whitelist.keys) }, 200, `{"status":"ok","warnings":["the whitelist is empty: nobody can submit"]}`},
		{"store away", func(w *world) { w.store.fail = fmt.Errorf("password: %w", ErrUnavailable) }, 503, `{"status":"unavailable","reasons":["the store does not answer"]}`},
		{"all is lost", func(w *world) {
			w.store.fail, w.whitelist.err = errFault, errFault
			clear(w.whitelist.keys)
			w.whitelist.loaded = time.Time{}
		}, 503, `{"status":"unavailable","reasons":["the store does not answer","the whitelist was not loaded yet"],"warnings":["the whitelist is empty: nobody can submit"]}`},
		{"stale whitelist", func(w *world) { w.whitelist.err = errFault }, 200, `{"status":"ok","warnings":["the whitelist cannot be read any more: the keys of before count"]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			test.prepare(w)
			if got := get(t, w.service, "/health", nil); got.status != test.status || got.body != test.want {
				t.Errorf("got %v", got)
			}
			if warnings := w.logs.FilterLevelExact(zapcore.WarnLevel).Len(); (warnings > 0) != (test.name != "well") {
				t.Errorf("%d warnings", warnings)
			}
		})
	}
}

// A client that goes away says nothing about the store: no line tells of it, and what is known stays in the metrics.
func TestClientGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	get(t, w.service, "/metrics", nil)
	w.clock.advance(time.Second)
	gone, leave := context.WithCancel(t.Context())
	leave()
	for _, path := range []string{"/health", "/metrics"} {
		w.service.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(gone, http.MethodGet, path, nil))
	}
	w.metric(t, "uptime_online_nodes")
	if warnings := w.logs.FilterLevelExact(zapcore.WarnLevel).All(); len(warnings) > 0 {
		t.Errorf("the log says %v", warnings)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.whitelist.loaded = noon().Add(-90 * time.Second)
	url := w.listen(t)
	client := clientFrom(t, "127.0.0.1")
	for _, body := range [][]byte{sign(t, w.key, report(noon())), sign(t, newKey(t, 9), report(noon()))} {
		send(t, client, newRequest(t, "POST", url+submitPath, body))
	}
	shown := send(t, client, newRequest(t, "GET", url+"/metrics", nil))
	for _, line := range []string{
		`uptime_submissions_total{outcome="accepted"} 1`,
		`uptime_submissions_total{outcome="not_registered"} 1`,
		`uptime_submissions_total{outcome="replayed"} 0`,
		`uptime_http_requests_total{code="401",path="/v1/submit"} 1`,
		`uptime_http_request_duration_seconds_count{path="/v1/submit"} 2`,
		`uptime_verification_duration_seconds_count 1`, // not of the stranger
		`uptime_verifications_waiting 0`,
		`uptime_body_bytes{part="first"} 0`,
		`uptime_body_bytes{part="rest"} 0`,
		`uptime_connections 1`,
		`uptime_connections_refused_total{limit="address"} 0`,
		`uptime_connections_displaced_total{limit="network"} 0`,
		`uptime_limited_addresses 1`,
		`uptime_online_nodes 1`,
		`uptime_whitelist_keys 1`,
		`uptime_whitelist_age_seconds 90`,
		`uptime_whitelist_stale 0`,
		`uptime_forwarded_missing_total 0`,
	} {
		if !strings.Contains(shown.body, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	w.store.set(func(f *fakeStore) { f.fail = errFault })
	w.whitelist.loaded, w.whitelist.err = time.Time{}, errFault
	w.clock.advance(time.Second)
	shown = send(t, client, newRequest(t, "GET", url+"/metrics", nil))
	for _, unknown := range []string{"uptime_online_nodes", "uptime_whitelist_age_seconds"} {
		if shown.status != 200 || strings.Contains(shown.body, unknown) {
			t.Errorf("%s is shown, although it is not known", unknown)
		}
	}
	if !strings.Contains(shown.body, "\nuptime_whitelist_stale 1\n") {
		t.Error("nothing tells that the whitelist is stale")
	}
}

// Many who ask for metrics at once, or soon after one another, have them gathered once; few of them are answered at the same time, without compression.
func TestMetricsShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var gathered atomic.Int32
	w.service.options.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gathered"}, func() float64 { return float64(gathered.Add(1)) }))
	ask := func() reply { return get(t, w.service, "/metrics", http.Header{"Accept-Encoding": {"gzip"}}) }
	release := make(chan struct{})
	w.store.hold = func(context.Context) error { <-release; return nil }
	var scrapes sync.WaitGroup
	for range metricsUnderWay {
		w.service.scrapes <- struct{}{} // the place of the one below
	}
	if got := ask(); got.status != 503 || got.header.Get("Retry-After") != "5" {
		t.Errorf("one too many: %v", got)
	}
	for range metricsUnderWay {
		<-w.service.scrapes
		scrapes.Go(func() {
			if got := ask(); got.status != 200 || !strings.Contains(got.body, "\ngathered 1\n") || got.header.Get("Content-Encoding") != "" {
				t.Errorf("got %v", got)
			}
		})
	}
	close(release)
	scrapes.Wait()
	w.clock.advance(time.Second - 1)
	ask()
	if got := gathered.Load(); got != 1 {
		t.Errorf("within a second they were gathered %d times", got)
	}
	w.clock.advance(1)
	if got := ask(); !strings.Contains(got.body, "\ngathered 2\n") {
		t.Error("a second later they were not gathered again")
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	_, err := New(Options{Retention: -1, MaxBody: 1 << 40, TrustedProxies: []netip.Prefix{{}}, Limits: Limits{Failures: -1, FirstMemory: 1}})
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		"uptime service: option Store is missing", "option Whitelist is missing", "option Retention is -1ns: give more than 0",
		"trusted proxy invalid Prefix is no range of IPv4 or IPv6 addresses", "a limit is below 1: give more, or 0 for the default",
		"limit FirstMemory is 1 bytes: give at least 4194304, since one address may have a quarter",
		"limit RestMemory is 268435456 bytes: give at least 1099510579200, or no submission as large as MaxBody can be received",
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Error(diff)
	}
	w := newWorld(t, nil)
	if _, err := New(w.service.options); err == nil {
		t.Error("the metrics were registered twice")
	}
}

// A flood of refusals is a line in ten seconds of each kind, and the lines count what they leave out.
func TestQuietLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	a := &arrival{from: netip.MustParseAddr("10.0.0.1")}
	for range 3 {
		for range 100 {
			w.service.log.refused(stranger, a, nil)
			w.service.log.refused(malformed, a, errFault)
		}
		w.clock.advance(quietTime)
	}
	var got []string
	for _, entry := range w.logs.All() {
		fields := entry.ContextMap()
		got = append(got, fmt.Sprintln(entry.Message, fields["address"], fields["reason"], fields["more"], fields["error"]))
	}
	first := []string{"submission not taken 10.0.0.1 not_registered <nil> <nil>\n", "submission not taken 10.0.0.1 malformed <nil> fault\n"}
	later := []string{"submission not taken 10.0.0.1 not_registered 99 <nil>\n", "submission not taken 10.0.0.1 malformed 99 fault\n"}
	if diff := cmp.Diff(append(append(first, later...), later...), got); diff != "" {
		t.Error(diff)
	}
	a.submission.Submitter = w.key.PublicKey()
	w.clock.advance(quietTime)
	w.service.log.refused(badSignature, a, errSignature)
	last := w.logs.All()[w.logs.Len()-1]
	if last.ContextMap()["submitter"] != w.key.PublicKey().String() {
		t.Errorf("got %v", last.ContextMap())
	}
}

// Only what is taken looks like success, and nobody is charged for our own failures.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	seen := map[outcome]bool{}
	for _, one := range outcomes() {
		verdict := one.verdict()
		if seen[one] || (verdict.status == 200) != (one == taken) || verdict.charged && verdict.status >= 500 {
			t.Errorf("%s: %+v", one, verdict)
		}
		seen[one] = true
	}
	if got := outcomeOf(fmt.Errorf("%w: %w", errBodyBroken, net.ErrClosed)); got != clientGone {
		t.Errorf("of a connection that was closed here: %s", got)
	}
}
