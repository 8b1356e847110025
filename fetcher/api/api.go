package api

import (
	"cmp"
	"context"
	_ "embed" // for index.txt
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/vektah/gqlparser/v2/ast"
	"go.uber.org/zap"

	"provingground/fetcher"
	"provingground/fetcher/trace"
)

// Collector is what the API needs of the collector; *fetcher.Collector is one.
type Collector interface {
	Nodes() []fetcher.NodeStatus
	Metrics() fetcher.Metrics
	Frozen() bool
	Freeze(ctx context.Context) error
	Unfreeze()
	Reset()
}

// Options say what a [Server] serves.
type Options struct {
	// Collector reads the nodes. Required.
	Collector Collector
	// Pool is the database. It may be unusable for a while. Required. Give the Server one of its own: it uses up to all connections of it.
	Pool *pgxpool.Pool
	// Deployment returns the deployment that is being collected, to which requests refer that name none; 0 while there is none. Required.
	// It must not wait for the database.
	Deployment func() int64
	// NewDeployment makes a deployment, has what is collected from now on belong to it, and returns its id. metadata is any JSON value but
	// null. Required. An error of PostgreSQL in it is told apart by its class, see Server.
	NewDeployment func(ctx context.Context, metadata json.RawMessage) (int64, error)
	// LastDiscovery returns when a list of nodes was had last, wall time, zero for never. nil leaves it out of /health.
	LastDiscovery func() time.Time
	// ReadWithin is how long ago a node must have been read to its end for /health to say that nodes can be read, wall time; 0 means 2 min. It is
	// to be longer than the pause between two requests for a node's log.
	ReadWithin time.Duration
	// Registry takes the metrics, and is what /metrics shows: give one to add others. nil means a new one.
	Registry *prometheus.Registry
	// AllowedOrigins are the web sites (https://dashboard.example.org) whose pages may use the paths that change something, besides those that
	// come from this port itself. Everybody's pages may read.
	AllowedOrigins []string
	// Log takes requests and a database that does not answer, at the level debug, what a client changed, with its address, at the level info, and
	// what should not happen, as warnings; nil is silent.
	Log *zap.Logger
}

func (o Options) validate() error {
	var missing []error
	for name, absent := range map[string]bool{
		"Collector": o.Collector == nil, "Pool": o.Pool == nil, "Deployment": o.Deployment == nil, "NewDeployment": o.NewDeployment == nil,
	} {
		if absent {
			missing = append(missing, fmt.Errorf("option %s is missing", name))
		}
	}
	slices.SortFunc(missing, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(missing...)
}

// Server is the handler. Make it with [New]. Safe for concurrent use.
//
// Errors are JSON: {"error": "…"}, those of GraphQL in its own form. 400 is a request that is wrong, or with a value that the database
// refuses; 404 is also a node or deployment that is not known; 405, 413 as usual; 422 is an answer that would be too large; 503, with Retry-After, is a database that does not answer; 403 is a foreign web page that wants to change something;
// 500 is what should not happen, and the log says why. No answer holds SQL or says how to connect to the database.
type Server struct {
	options Options
	log     *zap.Logger
	mux     *http.ServeMux
	turns   chan struct{} // one element for each request that may use the database now
	limits  limits
	metrics httpMetrics
	nesting *trace.Nesting
	schema  *ast.Schema // of /graphql
	ofNode  *ast.Schema // of /<node_name>/graphql, where the argument node_name may be left out
}

// New makes a Server. It returns all that is wrong with the options, or what kept the metrics from being registered.
func New(options Options) (*Server, error) {
	if err := options.validate(); err != nil {
		return nil, fmt.Errorf("fetcher's API: %w", err)
	}
	if options.Registry == nil {
		options.Registry = prometheus.NewRegistry()
	}
	if options.Log == nil {
		options.Log = zap.NewNop()
	}
	options.ReadWithin = cmp.Or(options.ReadWithin, 2*time.Minute)
	s := &Server{
		options: options, log: options.Log.Named("api"), mux: http.NewServeMux(), nesting: trace.NewNesting(),
		limits: limits{answerBytes: 64 << 20, traceRows: 100_000},
		turns:  make(chan struct{}, max(1, options.Pool.Config().MaxConns-1)),
	}
	var err error
	if s.schema, err = loadSchema(consumerSchema); err != nil {
		return nil, err
	}
	if s.ofNode, err = loadSchema(strings.ReplaceAll(consumerSchema, "node_name: String!", "node_name: String")); err != nil {
		return nil, err
	}
	if s.metrics, err = registerMetrics(options); err != nil {
		return nil, err
	}
	s.route()
	return s, nil
}

// handler answers one request, or returns an error to be answered, see writeError.
type handler func(w http.ResponseWriter, r *http.Request) error

// methods are the handlers of one path.
type methods map[string]handler

func (s *Server) route() {
	for pattern, allowed := range map[string]methods{
		"/{$}":      {http.MethodGet: s.index},
		"/nodes":    {http.MethodGet: s.nodes},
		"/reset":    {http.MethodPost: s.changing(s.reset)},
		"/freeze":   {http.MethodPost: s.changing(s.freeze)},
		"/unfreeze": {http.MethodPost: s.changing(s.unfreeze)},
		"/gaps":     {http.MethodGet: s.gaps},
		"/traces":   {http.MethodGet: s.traces},
		"/health":   {http.MethodGet: s.health},
		"/metrics":  {http.MethodGet: s.metricsHandler()},

		"/api/experiments":       {http.MethodGet: s.experiments},
		"/api/experiment/{name}": {http.MethodGet: s.experiment},
		"/api/deployments":       {http.MethodPost: s.changing(s.newDeployment)},
		"/api/node-restarts":     {http.MethodPost: s.changing(s.nodeRestart)},
		"/api/tracing/cleanup":   {http.MethodPost: s.changing(s.cleanUp)},

		"/graphql":             {http.MethodGet: s.graphql, http.MethodPost: s.graphql},
		"/{node_name}/graphql": {http.MethodGet: s.graphql, http.MethodPost: s.graphql},

		"/": nil, // whatever is not served
	} {
		s.mux.HandleFunc(pattern, s.serve(pattern, allowed))
	}
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// limits bound what depends on how much is stored.
type limits struct {
	answerBytes int // of an answer, and of the records of one trace
	traceRows   int // checkpoints and control records of one trace: that of a block has hundreds, but that of block 0 grows for ever
}

// writeTime bounds the writing of an answer to a client that reads slowly, from when the request came.
const writeTime = queryTime + time.Minute

// serve is what all paths have in common.
func (s *Server) serve(pattern string, allowed methods) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		out := &recorder{ResponseWriter: w, code: http.StatusOK}
		out.Header().Set("Access-Control-Allow-Origin", "*")
		out.Header().Set("X-Content-Type-Options", "nosniff")
		// A writer without deadlines is one of a test; a server has none only when its connection is gone.
		_ = http.NewResponseController(w).SetWriteDeadline(began.Add(writeTime))
		err := receive(out, r)
		switch {
		case err == nil:
			err = s.dispatch(out, r, allowed)
		case strings.HasSuffix(pattern, "/graphql"):
			err = refuseQuery(out, err)
		}
		if err != nil {
			s.writeError(out, err)
		}
		took := time.Since(began)
		s.metrics.count(pattern, r.Method, out.code, took)
		s.log.Debug("request", zap.String("method", r.Method), zap.String("route", pattern), zap.Int("status", out.code), zap.Duration("took", took))
	}
}

func (s *Server) dispatch(w http.ResponseWriter, r *http.Request, allowed methods) error {
	if allowed == nil {
		return &problem{status: http.StatusNotFound, text: "nothing is served at this path; GET / lists what is"}
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // of which the server leaves the body out
	}
	if handle := allowed[method]; handle != nil {
		return handle(w, r)
	}
	names := append(slices.Sorted(maps.Keys(allowed)), http.MethodOptions)
	if allowed[http.MethodGet] != nil {
		names = append(names, http.MethodHead)
	}
	w.Header().Set("Allow", strings.Join(names, ", "))
	if method == http.MethodOptions {
		w.Header().Set("Access-Control-Allow-Methods", "GET, POST")
		w.Header().Set("Access-Control-Allow-Headers", "content-type")
		w.Header().Set("Access-Control-Max-Age", "86400")
		return nil
	}
	return &problem{status: http.StatusMethodNotAllowed, text: "this path allows " + strings.Join(names, ", ")}
}

// changing guards a handler that changes something from foreign web pages: a browser sends a page's request even where the page may not see the
// answer, and whoever opens the page need not know. Programs send no Origin.
func (s *Server) changing(handle handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		origin := r.Header.Get("Origin")
		if origin != "" && !slices.Contains(s.options.AllowedOrigins, origin) {
			site, err := url.Parse(origin)
			if err != nil || site.Host == "" || !strings.EqualFold(site.Host, r.Host) {
				return &problem{status: http.StatusForbidden, text: fmt.Sprintf(
					"a web page of %.100q wants to change something: only pages of this port itself may, unless the fetcher was started with --allow-origin %.100s", origin, origin)}
			}
		}
		return handle(w, r)
	}
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter

	code int
}

// WriteHeader notes the status.
func (r *recorder) WriteHeader(code int) {
	r.code = code
	r.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

//go:embed index.txt
var indexPage string

func (s *Server) index(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	return write(w, http.StatusOK, []byte(indexPage))
}
