package api

import (
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"provingground/fetcher"
)

// httpMetrics are those of the API itself.
type httpMetrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func (m httpMetrics) count(route, method string, code int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodHead, http.MethodOptions:
	default:
		method = "other" // a client must not be able to make time series
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(code)).Inc()
	m.duration.WithLabelValues(route).Observe(took.Seconds())
}

func registerMetrics(options Options) (httpMetrics, error) {
	m := httpMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fetcher_http_requests_total", Help: "Requests answered, by route, method and status code.",
		}, []string{"route", "method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fetcher_http_request_duration_seconds", Help: "Time from a request to the end of its answer, by route.",
			Buckets: []float64{0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60},
		}, []string{"route"}),
	}
	for _, collector := range []prometheus.Collector{collected{options.Collector, options.Pool}, m.requests, m.duration} {
		if err := options.Registry.Register(collector); err != nil {
			return httpMetrics{}, fmt.Errorf("registering the fetcher's metrics: %w", err)
		}
	}
	return m, nil
}

func (s *Server) metricsHandler() handler {
	// An error of the registry is one of a metric of somebody else; the others are shown all the same.
	shown := promhttp.HandlerFor(s.options.Registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, ErrorLog: zap.NewStdLog(s.log)})
	return func(w http.ResponseWriter, r *http.Request) error {
		shown.ServeHTTP(w, r)
		return nil
	}
}

// collected gives the collector's metrics and the pool's when they are asked for. None is per node: a thousand nodes cost what one does.
type collected struct {
	collector Collector
	pool      *pgxpool.Pool
}

// Describe says which metrics there are.
func (c collected) Describe(out chan<- *prometheus.Desc) {
	// With every metric that can be missing present, so that all are described.
	for desc := range samples(fetcher.Metrics{OldestSuccess: time.Unix(1, 0)}, false, c.pool.Stat(), time.Unix(1, 0)) {
		out <- desc.desc()
	}
}

// Collect gives them.
func (c collected) Collect(out chan<- prometheus.Metric) {
	for one := range samples(c.collector.Metrics(), c.collector.Frozen(), c.pool.Stat(), time.Now()) {
		out <- prometheus.MustNewConstMetric(one.desc(), one.kind, one.value, one.labels()...)
	}
}

// sample is one value of one metric, with one label or none.
type sample struct {
	kind              prometheus.ValueType
	name, help        string
	value             float64
	label, labelValue string
}

func (s sample) desc() *prometheus.Desc {
	if s.label == "" {
		return prometheus.NewDesc(s.name, s.help, nil, nil)
	}
	return prometheus.NewDesc(s.name, s.help, []string{s.label}, nil)
}

func (s sample) labels() []string {
	if s.label == "" {
		return nil
	}
	return []string{s.labelValue}
}

func samples(m fetcher.Metrics, frozen bool, pool *pgxpool.Stat, now time.Time) iter.Seq[sample] {
	return func(yield func(sample) bool) {
		all := append(collectorSamples(m), databaseSamples(pool)...)
		for state, count := range nodesByState(m) {
			all = append(all, sample{gauge, "fetcher_nodes", "Nodes now, by what their reader does.", float64(count), "state", string(state)})
		}
		if lag, known := lagOf(m, now); known {
			all = append(all, sample{kind: gauge, name: "fetcher_lag_seconds", help: "Wall time since the node that is furthest behind, of those that should be read and were since the start, was read to its end. Absent while there is none.", value: lag.Seconds()})
		}
		all = append(all, sample{kind: gauge, name: "fetcher_never_read_nodes", help: "Nodes that should be read, and never were to their end since the start.", value: float64(m.NeverRead)})
		isFrozen := 0.0
		if frozen {
			isFrozen = 1
		}
		all = append(all, sample{kind: gauge, name: "fetcher_frozen", help: "1 while a freeze is in force, else 0.", value: isFrozen})
		for _, one := range all {
			if !yield(one) {
				return
			}
		}
	}
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

func collectorSamples(m fetcher.Metrics) []sample {
	all := []sample{}
	for _, one := range []struct {
		name, help string
		value      uint64
	}{
		{"fetcher_discoveries_total", "Lists of nodes that were had.", m.Discoveries},
		{"fetcher_discovery_errors_total", "Lists of nodes that could not be had.", m.DiscoveryErrors},
		{"fetcher_unreachable_nodes_total", "List entries without a usable address, over all lists.", m.UnreachableNodes},
		{"fetcher_shared_addresses_total", "List entries that gave way to another one of the same address, over all lists.", m.SharedAddresses},
		{"fetcher_requests_total", "Requests for a node's log.", m.Requests},
		{"fetcher_request_errors_total", "Requests for a node's log that failed.", m.RequestErrors},
		{"fetcher_entries_total", "Log entries committed.", m.Entries},
		{"fetcher_answer_bytes_total", "Bytes of the nodes' answers that came whole.", m.Bytes},
		{"fetcher_batches_total", "Batches committed.", m.Batches},
		{"fetcher_malformed_entries_total", "Log entries that are not what an entry should be, committed as such.", m.Malformed},
		{"fetcher_gaps_total", "Gaps in the nodes' log ids, committed.", m.Gaps},
		{"fetcher_lost_entries_total", "Log entries in gaps of known length.", m.LostEntries},
		{"fetcher_daemon_restarts_total", "Restarts of daemons that were noticed.", m.Restarts},
		{"fetcher_repeated_entries_total", "Log entries that a node told twice or without being asked.", m.Repeated},
		{"fetcher_out_of_order_answers_total", "Answers whose log ids did not ascend.", m.OutOfOrder},
		{"fetcher_mended_entries_total", "Log entries of which a text or value was changed to be storable.", m.Mended},
		{"fetcher_odd_times_total", "Log entries before the year 2000 or more than a day in the future.", m.OddTimes},
		{"fetcher_too_large_answers_total", "Answers that were longer than allowed.", m.TooLarge},
		{"fetcher_flushes_total", "Flushes of a node's log after a commit.", m.Flushes},
		{"fetcher_flush_errors_total", "Flushes that failed.", m.FlushErrors},
		{"fetcher_store_errors_total", "Failures of the store after which a batch was tried again.", m.StoreErrors},
		{"fetcher_store_refusals_total", "Batches that the store refused for good.", m.StoreRefusals},
		{"fetcher_unsaved_batches_total", "Batches that the store had not taken when their node was told not to be read any more; they are asked for again.", m.Unsaved},
		{"fetcher_archive_errors_total", "Failures to write raw lines to disk.", m.ArchiveErrors},
	} {
		all = append(all, sample{kind: counter, name: one.name, help: one.help, value: float64(one.value)})
	}
	for kind, gate := range map[string]fetcher.GateMetrics{"log": m.Requesting, "probe": m.Probing} {
		all = append(all,
			sample{gauge, "fetcher_concurrent_requests", "Requests to nodes under way: for logs, and to nodes that did not answer last time or were not asked yet (probe).", float64(gate.Held), "kind", kind},
			sample{gauge, "fetcher_concurrent_requests_peak", "Most requests under way at once since the start.", float64(gate.Most), "kind", kind},
			sample{gauge, "fetcher_concurrent_requests_limit", "Requests that may be under way at once.", float64(gate.Limit), "kind", kind},
			sample{gauge, "fetcher_concurrent_requests_waiting_nodes", "Nodes that wait for their turn now.", float64(gate.Waiting), "kind", kind},
			sample{counter, "fetcher_concurrent_requests_wait_seconds_total", "Time that nodes waited for their turn, all together.", gate.Waited.Seconds(), "kind", kind},
		)
	}
	return append(all,
		sample{kind: gauge, name: "fetcher_memory_bytes", help: "Estimated memory of answers that are not committed yet.", value: float64(m.Memory.Held)},
		sample{kind: gauge, name: "fetcher_memory_peak_bytes", help: "Most of that memory since the start.", value: float64(m.Memory.Most)},
		sample{kind: gauge, name: "fetcher_memory_limit_bytes", help: "Bound of that memory, after which nodes wait.", value: float64(m.Memory.Limit)},
		sample{kind: gauge, name: "fetcher_memory_waiting_nodes", help: "Nodes that wait for memory now.", value: float64(m.Memory.Waiting)},
		sample{kind: counter, name: "fetcher_memory_wait_seconds_total", help: "Time that nodes waited for memory, all together.", value: m.Memory.Waited.Seconds()},
	)
}

func databaseSamples(pool *pgxpool.Stat) []sample {
	const connections = "Connections of the API to the database, by state."
	return []sample{
		{gauge, "fetcher_api_database_connections", connections, float64(pool.AcquiredConns()), "state", "acquired"},
		{gauge, "fetcher_api_database_connections", connections, float64(pool.IdleConns()), "state", "idle"},
		{gauge, "fetcher_api_database_connections", connections, float64(pool.ConstructingConns()), "state", "constructing"},
		{kind: gauge, name: "fetcher_api_database_connections_limit", help: "Most connections of the API to the database.", value: float64(pool.MaxConns())},
		{kind: counter, name: "fetcher_api_database_new_connections_total", help: "Connections of the API made.", value: float64(pool.NewConnsCount())},
		{kind: counter, name: "fetcher_api_database_acquires_total", help: "Connections handed to requests.", value: float64(pool.AcquireCount())},
		{kind: counter, name: "fetcher_api_database_acquire_seconds_total", help: "Time that requests waited for a connection, all together.", value: pool.AcquireDuration().Seconds()},
		{kind: counter, name: "fetcher_api_database_canceled_acquires_total", help: "Requests that gave up waiting for a connection.", value: float64(pool.CanceledAcquireCount())},
	}
}

func nodesByState(m fetcher.Metrics) iter.Seq2[fetcher.State, int] {
	return func(yield func(fetcher.State, int) bool) {
		_ = yield(fetcher.Connecting, m.Connecting) && yield(fetcher.Running, m.Running) && yield(fetcher.Backoff, m.Backoff) && yield(fetcher.Stopped, m.Stopped)
	}
}

// lagOf returns the time since the node that is furthest behind, of those that were read, was read to its end.
func lagOf(m fetcher.Metrics, now time.Time) (time.Duration, bool) {
	if m.OldestSuccess.IsZero() {
		return 0, false
	}
	return max(0, now.Sub(m.OldestSuccess)), true
}
