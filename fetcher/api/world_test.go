package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"provingground/fetcher"
	"provingground/fetcher/api"
	"provingground/fetcher/trace"
	"provingground/internal/privatepg/pgtest"
	"provingground/schema"
)

var update = flag.Bool("update", false, "write the golden files")

// fakeCollector is a collector that reads nothing.
type fakeCollector struct {
	mu        sync.Mutex
	nodes     []fetcher.NodeStatus
	metrics   fetcher.Metrics
	frozen    bool
	freezeErr error
	resets    int
}

func (c *fakeCollector) Nodes() []fetcher.NodeStatus { return slices.Clone(c.nodes) }
func (c *fakeCollector) Metrics() fetcher.Metrics    { return c.metrics }

func (c *fakeCollector) Frozen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frozen
}

func (c *fakeCollector) Freeze(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen = true
	return c.freezeErr
}

func (c *fakeCollector) Unfreeze() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen = false
}

func (c *fakeCollector) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resets++
}

// world is a served fetcher with its database.
type world struct {
	*testing.T
	pool       *pgxpool.Pool
	collector  *fakeCollector
	registry   *prometheus.Registry
	server     *api.Server
	deployment int64
}

func newPool(tb testing.TB, uri string) *pgxpool.Pool {
	tb.Helper()
	config, err := pgxpool.ParseConfig(uri)
	if err != nil {
		tb.Fatal(err)
	}
	config.MaxConns = 3
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// newWorld has a migrated database with one deployment.
func newWorld(t *testing.T) *world {
	t.Helper()
	uri := pgtest.Database(t)
	if err := schema.Migrate(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, pool: newPool(t, uri), collector: &fakeCollector{}, registry: prometheus.NewRegistry()}
	w.deployment = one[int64](w, `SELECT create_deployment('{"name": "first"}')`)
	server, err := api.New(api.Options{
		Collector: w.collector, Pool: w.pool, Registry: w.registry, Deployment: func() int64 { return w.deployment },
		NewDeployment: func(ctx context.Context, metadata json.RawMessage) (int64, error) {
			var id int64
			if err := w.pool.QueryRow(ctx, `SELECT create_deployment($1)`, metadata).Scan(&id); err != nil {
				return 0, fmt.Errorf("making a deployment: %w", err)
			}
			w.deployment = id
			return id, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.server = server
	return w
}

// deaf returns a Server whose database cannot be reached.
func deaf(tb testing.TB, collector *fakeCollector) *api.Server {
	tb.Helper()
	return deafWith(tb, collector, nil)
}

// deafWith is deaf with a log.
func deafWith(tb testing.TB, collector *fakeCollector, log *zap.Logger) *api.Server {
	tb.Helper()
	collector.metrics.Discoveries++
	server, err := api.New(api.Options{
		Collector: collector, Deployment: func() int64 { return 1 },
		Pool:          newPool(tb, "postgres://somebody:hunter2@/secretdb?host="+tb.TempDir()),
		NewDeployment: func(context.Context, json.RawMessage) (int64, error) { return 2, nil }, Log: log,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return server
}

func one[T any](w *world, query string, arguments ...any) T {
	w.Helper()
	var value T
	if err := w.pool.QueryRow(w.Context(), query, arguments...).Scan(&value); err != nil {
		w.Fatalf("%s: %v", query, err)
	}
	return value
}

func (w *world) exec(query string, arguments ...any) {
	w.Helper()
	if _, err := w.pool.Exec(w.Context(), query, arguments...); err != nil {
		w.Fatalf("%s: %v", query, err)
	}
}

func (w *world) get(path string) *httptest.ResponseRecorder {
	return ask(w.server, http.MethodGet, path, "")
}

func (w *world) post(path, body string) *httptest.ResponseRecorder {
	return ask(w.server, http.MethodPost, path, body)
}

func ask(handler http.Handler, method, path, body string) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(method, path, strings.NewReader(body)))
	return recorder
}

// query runs a GraphQL query that must succeed and returns its data.
func (w *world) query(query string, variables map[string]any) map[string]any {
	w.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		w.Fatal(err)
	}
	answer := w.post("/graphql", string(body))
	if answer.Code != http.StatusOK {
		w.Fatalf("%s: %d %s", query, answer.Code, answer.Body)
	}
	read := decoded[struct {
		Data   map[string]any
		Errors []any
	}](w, answer.Body.Bytes())
	if len(read.Errors) > 0 {
		w.Fatalf("%s: errors %v", query, read.Errors)
	}
	return read.Data
}

// decoded reads JSON with its numbers as they are.
func decoded[T any](tb testing.TB, text []byte) T {
	tb.Helper()
	var value T
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		tb.Fatalf("%v in %.300s", err, text)
	}
	return value
}

// viewed is a value after a round through JSON.
func viewed(tb testing.TB, value any) any {
	tb.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	return decoded[any](tb, text)
}

func golden(tb testing.TB, name string, value any) {
	tb.Helper()
	got, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if diff := cmp.Diff(decoded[any](tb, want), decoded[any](tb, got)); diff != "" {
		tb.Errorf("%s differs (-update writes it):\n%s", name, diff)
	}
}

const sampleNode = "xqK4nLgJ-node-1-3086"

// loaded is what a Reader made of a trace, and where the test put it.
type loaded struct {
	traces        map[int64]trace.Trace
	metadata      map[int64]trace.Metadata
	rows          map[int64][]trace.Row
	distributions trace.Distributions
}

// byBlock returns the trace whose block begins so.
func (l *loaded) byBlock(tb testing.TB, block string) trace.Trace {
	tb.Helper()
	for _, one := range l.traces {
		if strings.HasPrefix(one.Block, block) {
			return one
		}
	}
	tb.Fatalf("no block %s", block)
	return trace.Trace{}
}

func sampleRecords(tb testing.TB) []trace.Record {
	tb.Helper()
	file, err := os.Open(filepath.Join("..", "trace", "testdata", "internal-trace.jsonl.gz"))
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		tb.Fatal(err)
	}
	var all []trace.Record
	for record, err := range trace.NewLines(unzipped, trace.Main, trace.LineOptions{DropRepeats: true}).Records() {
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, record)
	}
	return all
}

// verifierJob is a job within a block of the sample. It starts in the very microsecond in which its parent does.
func verifierJob(tb testing.TB, records []trace.Record) []trace.Record {
	tb.Helper()
	parent := slices.IndexFunc(records, func(r trace.Record) bool { return r.Checkpoint == "Verify_commands" })
	started := records[parent].Time
	return recordsOf(tb, trace.Verifier, `{"current_call_id":7}`, fmt.Sprintf(`["Verifier_verify_commands",%f]`, started), `{"metadata":{"count":3}}`,
		fmt.Sprintf(`["Verify_heterogenous",%f]`, started), fmt.Sprintf(`["Verifier_verify_commands_done",%f]`, started+0.000001))
}

func recordsOf(tb testing.TB, process trace.Process, lines ...string) []trace.Record {
	tb.Helper()
	var records []trace.Record
	for _, line := range lines {
		record, err := trace.DecodeLine(process, []byte(line))
		if err != nil {
			tb.Fatal(err)
		}
		records = append(records, record)
	}
	return records
}

// loadSample loads the real trace, and a job with it.
func (w *world) loadSample() *loaded {
	w.Helper()
	records := sampleRecords(w)
	return w.load(records, verifierJob(w, records))
}

// load plays the loader: a Reader's changes go to the tables by COPY, with ids in the order of the rows.
func (w *world) load(records, jobs []trace.Record) *loaded {
	w.Helper()
	reader := trace.NewReader(trace.Options{Parents: 4096, IdleSeconds: 1e9})
	l := &loaded{traces: map[int64]trace.Trace{}, metadata: map[int64]trace.Metadata{}, rows: map[int64][]trace.Row{}, distributions: trace.Distributions{}}
	var checkpoints [][]any
	for _, changes := range []trace.Changes{reader.Feed(records), reader.Feed(jobs), reader.Finish()} {
		for _, problem := range changes.Problems {
			w.Errorf("sample: %+v", problem)
		}
		for _, change := range changes.Traces {
			l.traces[change.Number] = change.Trace
			if l.metadata[change.Number] == nil {
				l.metadata[change.Number] = trace.Metadata{}
			}
			maps.Copy(l.metadata[change.Number], change.Metadata)
		}
		for _, row := range changes.Rows {
			l.rows[row.Trace] = append(l.rows[row.Trace], row)
			metadata, started := json.RawMessage("[]"), row.Time
			if row.Control {
				metadata, started = row.Metadata, -1
			}
			checkpoints = append(checkpoints, []any{
				len(checkpoints) + 1, row.Trace, row.Process.Letter(), row.Main, row.Control, row.Name, started, metadata, row.Call, row.Gossip,
				w.deployment, time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC),
			})
		}
	}
	var blocks [][]any
	nesting := trace.NewNesting()
	for _, number := range slices.Sorted(maps.Keys(l.traces)) { // durations are added up in this order
		one := l.traces[number]
		started, completed, total := -1.0, -1.0, -1.0
		if one.Timed {
			started, completed, total = one.Started, one.Completed, one.Total()
		}
		number32 := func(n *int64) int64 {
			if n == nil {
				return 0
			}
			return *n
		}
		metadata, err := json.Marshal(l.metadata[number])
		if err != nil {
			w.Fatal(err)
		}
		blocks = append(blocks, []any{
			number, w.deployment, sampleNode, one.Block, started, completed, total, string(one.Source), string(one.Status),
			number32(one.Length), number32(one.GlobalSlot), json.RawMessage(metadata),
		})
		l.distributions.Add(nesting.Structured(one, w.deployment, nil, l.rows[number]))
	}
	w.exec(`SELECT ensure_day($1, '2026-11-20')`, w.deployment)
	w.copy("block_trace", []string{"block_trace_id", "deployment_id", "node_name", "block_id", "trace_started_at", "trace_completed_at", "total_time",
		"source", "status", "blockchain_length", "global_slot", "metadata_json"}, blocks)
	w.copy("block_trace_checkpoint", []string{"block_trace_checkpoint_id", "block_trace_id", "source", "main_trace", "is_control", "name", "started_at",
		"metadata_json", "call_id", "gossip", "deployment_id", "loaded_on"}, checkpoints)
	text, err := json.Marshal(l.distributions)
	if err != nil {
		w.Fatal(err)
	}
	w.exec(`INSERT INTO data (key, deployment_id, node_name, value) VALUES ('checkpoint_distributions', $1, $2, $3)`, w.deployment, sampleNode, string(text))
	return l
}

func (w *world) copy(table string, columns []string, rows [][]any) {
	w.Helper()
	if _, err := w.pool.CopyFrom(w.Context(), pgx.Identifier{table}, columns, pgx.CopyFromRows(rows)); err != nil {
		w.Fatalf("copying to %s: %v", table, err)
	}
}

func body(answer *httptest.ResponseRecorder) string {
	text, _ := io.ReadAll(answer.Body)
	return strings.TrimSuffix(string(text), "\n")
}
