package service

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap/zapcore"
)

// metrics are the figures that are counted as things happen. The names of all begin with uptime_ and end in their unit.
type metrics struct {
	submissions  *prometheus.CounterVec // by outcome
	requests     *prometheus.CounterVec // by path and status
	duration     *prometheus.HistogramVec
	verification prometheus.Histogram
	waiting      prometheus.Gauge
	unnamed      prometheus.Counter
	connections  prometheus.Gauge
	refused      *prometheus.CounterVec // connections, by limit
	displaced    *prometheus.CounterVec // connections, by limit
	online       *prometheus.GaugeVec   // without labels; absent while not known
}

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "uptime_" + name, Help: help}, labels)
	}
	m := &metrics{
		submissions: counter("submissions_total", "Submissions, by what became of them.", "outcome"),
		requests:    counter("http_requests_total", "Requests answered, by path and status code.", "path", "code"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "uptime_http_request_duration_seconds", Help: "Time from a request's header to the end of its answer, by path.",
			Buckets: []float64{0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60},
		}, []string{"path"}),
		verification: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "uptime_verification_duration_seconds", Help: "Time to verify a signature, and to hash the block if it is valid.",
			Buckets: []float64{0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.064, 0.25, 1},
		}),
		waiting:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "uptime_verifications_waiting", Help: "Submissions that wait for their turn to be verified."}),
		unnamed:     prometheus.NewCounter(prometheus.CounterOpts{Name: "uptime_forwarded_missing_total", Help: "Submissions of a trusted proxy that names no client."}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "uptime_connections", Help: "Open connections."}),
		refused:     counter("connections_refused_total", "Connections closed at once, by the limit that was reached.", "limit"),
		displaced:   counter("connections_displaced_total", "Connections without a request under way that were closed for others, by the limit that was reached.", "limit"),
		online: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "uptime_online_nodes", Help: "Nodes online, by submitter and peer ID. Absent while the store does not tell.",
		}, nil),
	}
	for _, known := range outcomes() { // so that the first one is seen to rise
		m.submissions.WithLabelValues(string(known))
	}
	for _, limit := range []string{limitAll, limitAddress, limitNetwork} {
		m.refused.WithLabelValues(limit)
		m.displaced.WithLabelValues(limit)
	}
	return m
}

// request counts a request that was answered.
func (m *metrics) request(path string, code int, took time.Duration) {
	m.requests.WithLabelValues(path, strconv.Itoa(code)).Inc()
	m.duration.WithLabelValues(path).Observe(took.Seconds())
}

// register has the metrics shown, with those that are read when they are asked for.
func (m *metrics) register(s *Service) error {
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "uptime_" + name, Help: help, ConstLabels: labels}, value)
	}
	part := func(name string) prometheus.Labels { return prometheus.Labels{"part": name} }
	const bodies = "Memory of submissions under way, by part: the first MiB of each, and the rest."
	all := []prometheus.Collector{
		m.submissions, m.requests, m.duration, m.verification, m.waiting, m.unnamed, m.connections, m.refused, m.displaced, m.online,
		gauge("body_bytes", bodies, part("first"), func() float64 { first, _ := s.memory.inUse(); return float64(first) }),
		gauge("body_bytes", bodies, part("rest"), func() float64 { _, rest := s.memory.inUse(); return float64(rest) }),
		gauge("limited_addresses", "Addresses whose refused submissions are remembered.", nil, func() float64 { return float64(s.failures.size()) }),
		gauge("whitelist_keys", "Keys that may submit.", nil, func() float64 { return float64(s.options.Whitelist.Size()) }),
		gauge("whitelist_stale", "1 while the whitelist cannot be read, so that the keys of before count; else 0.", nil, func() float64 {
			if s.options.Whitelist.Healthy() != nil {
				return 1
			}
			return 0
		}),
		age{s.options.Whitelist.Loaded, s.options.Now},
	}
	for _, one := range all {
		if err := s.options.Registry.Register(one); err != nil {
			return fmt.Errorf("registering the uptime service's metrics: %w", err)
		}
	}
	return nil
}

// age is how long ago the whitelist was read; absent while it never was.
type age struct {
	loaded, now func() time.Time
}

func (age) desc() *prometheus.Desc {
	return prometheus.NewDesc("uptime_whitelist_age_seconds", "Time since the whitelist in use was read.", nil, nil)
}

// Describe says which metric it is.
func (a age) Describe(out chan<- *prometheus.Desc) { out <- a.desc() }

// Collect gives it.
func (a age) Collect(out chan<- prometheus.Metric) {
	if at := a.loaded(); !at.IsZero() {
		out <- prometheus.MustNewConstMetric(a.desc(), prometheus.GaugeValue, a.now().Sub(at).Seconds())
	}
}

// metricsUnderWay is how many answers with metrics there may be at once.
const metricsUnderWay = 8

// gathering is all metrics of one moment.
type gathering struct {
	shown http.Handler
	at    time.Time
}

// showMetrics answers GET /metrics with figures that are at most a second old.
func (s *Service) showMetrics(w http.ResponseWriter, r *http.Request) {
	select {
	case s.scrapes <- struct{}{}:
		defer func() { <-s.scrapes }()
	default:
		writeBusy(w, "The metrics are on their way to others")
		return
	}
	now := s.options.Now()
	gathered, err := s.gathered.get(r.Context(), listTime, fmt.Errorf("%w: no metrics within %s", ErrUnavailable, listTime),
		func(g *gathering) bool { return now.Sub(g.at).Abs() < recentTime }, s.gather)
	if err != nil {
		writeBusy(w, "The metrics cannot be had just now")
		return
	}
	hurry(w)
	gathered.shown.ServeHTTP(w, r)
}

// gather reads all metrics, once.
func (s *Service) gather(ctx context.Context) *gathering {
	at := s.options.Now()
	if _, err := s.nodes(ctx); err != nil {
		s.metrics.online.Reset()
		s.log.failed("list_failed", zapcore.WarnLevel, "the metrics lack the nodes online", err)
	}
	families := sync.OnceValues(s.options.Registry.Gather)
	_, _ = families() // now; the error is shown by the handler
	// An error of the registry is one of somebody else's metric; the others are shown all the same.
	options := promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, DisableCompression: true}
	return &gathering{shown: promhttp.HandlerFor(prometheus.GathererFunc(families), options), at: at}
}
