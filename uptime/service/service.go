package service

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"provingground/internal/mina"
)

// Options say what a [Service] does. Store and Whitelist are required.
type Options struct {
	// Network says under which network's rules signatures are verified; the zero value is that of every test network.
	Network mina.NetworkID
	// Store remembers submissions. It is to have the same retention as the Service.
	Store Store
	// Whitelist says who may submit.
	Whitelist Whitelist
	// Archive keeps whole submissions; nil keeps none.
	Archive Archive
	// Now is the wall clock, the nodes' own; nil means time.Now.
	Now func() time.Time
	// Retention is how long a node stays online after its last accepted submission, and how old a submission may be; 0 means 20 min.
	Retention time.Duration
	// MaxFuture is how far a node's clock may be ahead; 0 means 5 min.
	MaxFuture time.Duration
	// MaxBody bounds a submission, in bytes; 0 means 50,000,000.
	MaxBody int64
	// TrustedProxies are the addresses whose X-Forwarded-For is believed; none by default.
	TrustedProxies []netip.Prefix
	// Limits bound what clients can use up; the zero value means the defaults.
	Limits Limits
	// Registry takes the metrics, and is what /metrics shows: give one to add others. nil means a new one.
	Registry *prometheus.Registry
	// Logger takes refusals and faults, of each kind one line in ten seconds at most; nil is silent. No line holds a body or a signature.
	Logger *zap.Logger
}

// Limits bound what clients can use up. Zero fields mean the defaults that are given with them. An address is an IPv4 address, or the 64-bit prefix of
// an IPv6 address.
type Limits struct {
	// Connections is how many there may be at once (4096), and ConnectionsPerAddress from one address (512) unless it is a trusted proxy's. From an
	// IPv6 network of 48 bits there may be twice as many. For any more, the connection is closed that has waited longest for a header or a next
	// request.
	Connections, ConnectionsPerAddress int
	// FirstMemory bounds the memory of the bodies under way up to the first MiB of each, of which one address may have a quarter, and RestMemory that
	// of what is beyond, in bytes (256 MiB each). They are apart so that large bodies cannot keep out the usual ones. Buffers that were outgrown
	// are garbage besides, until they are collected.
	FirstMemory, RestMemory int64
	// LargePerAddress is how many bodies beyond 1 MiB one address may have under way (2).
	LargePerAddress int
	// Failures is how many refused submissions an address may have on its account (100), and FailuresPerSecond how fast it is forgiven (1). Each costs 1, and 1 more
	// for each full MiB that was read, which those cost, too, that are too many of a key. Beyond, its submissions are refused unread, but for two a second
	// of at most 1 MiB; those under way are charged all the same, up to four times as much again.
	// Accepted submissions cost nothing: a thousand nodes may be behind one address.
	Failures          int
	FailuresPerSecond float64
	// Addresses is how many addresses with failures are remembered (65,536); then the one that failed longest ago is forgotten.
	Addresses int
	// Verifications is how many signatures are verified at once; 0 means GOMAXPROCS.
	Verifications int
}

// withDefaults fills in what is left at zero.
func (l Limits) withDefaults() Limits {
	return Limits{
		Connections:           cmp.Or(l.Connections, 4096),
		ConnectionsPerAddress: cmp.Or(l.ConnectionsPerAddress, 512),
		FirstMemory:           cmp.Or(l.FirstMemory, 256<<20),
		RestMemory:            cmp.Or(l.RestMemory, 256<<20),
		LargePerAddress:       cmp.Or(l.LargePerAddress, 2),
		Failures:              cmp.Or(l.Failures, 100),
		FailuresPerSecond:     cmp.Or(l.FailuresPerSecond, 1),
		Addresses:             cmp.Or(l.Addresses, 1<<16),
		Verifications:         cmp.Or(l.Verifications, runtime.GOMAXPROCS(0)),
	}
}

// withDefaults fills in what is left at zero.
func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	o.Retention = cmp.Or(o.Retention, 20*time.Minute)
	o.MaxFuture = cmp.Or(o.MaxFuture, 5*time.Minute)
	o.MaxBody = cmp.Or(o.MaxBody, 50_000_000)
	o.Limits = o.Limits.withDefaults()
	return o
}

// validate is for options with defaults. It finds all that is wrong.
func (o Options) validate() error {
	var errs []error
	refuse := func(wrong bool, format string, arguments ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, arguments...))
		}
	}
	l := o.Limits
	refuse(o.Store == nil, "option Store is missing")
	refuse(o.Whitelist == nil, "option Whitelist is missing")
	refuse(o.Retention < 0, "option Retention is %s: give more than 0", o.Retention)
	refuse(o.MaxFuture < 0, "option MaxFuture is %s: give more than 0", o.MaxFuture)
	refuse(o.MaxBody < 0, "option MaxBody is %d bytes: give more than 0", o.MaxBody)
	for _, proxy := range o.TrustedProxies {
		refuse(!proxy.IsValid() || proxy.Addr().Is4In6(), "trusted proxy %s is no range of IPv4 or IPv6 addresses", proxy)
	}
	refuse(min(l.Connections, l.ConnectionsPerAddress, l.LargePerAddress, l.Failures, l.Addresses, l.Verifications) < 1 || l.FailuresPerSecond <= 0,
		"a limit is below 1: give more, or 0 for the default")
	refuse(l.FirstMemory < 4*firstPart, "limit FirstMemory is %d bytes: give at least %d, since one address may have a quarter", l.FirstMemory, 4*firstPart)
	refuse(l.RestMemory < o.MaxBody-firstPart, "limit RestMemory is %d bytes: give at least %d, or no submission as large as MaxBody can be received",
		l.RestMemory, o.MaxBody-firstPart)
	return errors.Join(errs...)
}

// Service is the uptime service as an HTTP handler. Make it with [New], and let it be its own server with [Service.Serve], which has the time-outs and
// connection limits that the public needs. Safe for concurrent use.
//
//	POST /v1/submit   takes a submission (uptime, section 4)
//	GET  /v1/online   the nodes that were heard of late (uptime, section 5); ?details=true tells more of each
//	GET  /health      whether it can do its work: 200, perhaps with warnings, or 503, with reasons
//	GET  /metrics     figures for Prometheus
type Service struct {
	options  Options
	paths    map[string]http.HandlerFunc
	unknown  http.HandlerFunc // of every other path
	proxies  proxies
	memory   *memory
	failures *failures
	turns    chan struct{} // one element for each signature that is being verified
	list     list
	readers  *crowd // of lists
	health   recent[storeHealth]
	gathered recent[gathering]
	scrapes  chan struct{} // one element for each answer with metrics
	metrics  *metrics
	log      *quietLog
}

// New makes a Service. It returns all that is wrong with the options, or what kept the metrics from being registered.
func New(options Options) (*Service, error) {
	options = options.withDefaults()
	if err := options.validate(); err != nil {
		return nil, fmt.Errorf("uptime service: %w", err)
	}
	s := &Service{
		options:  options,
		paths:    map[string]http.HandlerFunc{},
		proxies:  options.TrustedProxies,
		memory:   newMemory(options.Limits),
		failures: newFailures(options.Limits),
		turns:    make(chan struct{}, options.Limits.Verifications),
		list:     list{recent: newRecent[onlineList]()},
		readers:  newCrowd(listsPerAddress),
		health:   newRecent[storeHealth](),
		gathered: newRecent[gathering](),
		scrapes:  make(chan struct{}, metricsUnderWay),
		log:      newQuietLog(options.Logger.Named("uptime"), options.Now),
	}
	s.metrics = newMetrics()
	if err := s.metrics.register(s); err != nil {
		return nil, err
	}
	s.route()
	return s, nil
}

// ServeHTTP answers a request. A path is served as it is written: none is mended and redirected, so that a mistyped one does not look like success
// to a node.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if handler, known := s.paths[r.URL.Path]; known {
		handler(w, r)
		return
	}
	s.unknown(w, r)
}

const (
	submitPath = "/v1/submit"
	onlinePath = "/v1/online"
)

func (s *Service) route() {
	s.paths[submitPath] = s.answer(submitPath, s.submit, http.MethodPost)
	s.paths[onlinePath] = s.answer(onlinePath, s.online, http.MethodGet, http.MethodHead)
	s.paths["/health"] = s.answer("/health", s.showHealth, http.MethodGet, http.MethodHead)
	s.paths["/metrics"] = s.answer("/metrics", s.showMetrics, http.MethodGet, http.MethodHead)
	s.unknown = s.answer("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusNotFound, "Nothing is served at this path: POST "+submitPath+" takes submissions, GET "+onlinePath+" lists the nodes online")
	})
}

// answer has a handler answer for the methods given, or for all, and counts it under a path.
func (s *Service) answer(path string, handler http.HandlerFunc, methods ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		out := &recorder{ResponseWriter: w, code: http.StatusOK}
		out.Header().Set("X-Content-Type-Options", "nosniff")
		// A writer without deadlines is one of a test.
		_ = http.NewResponseController(w).SetWriteDeadline(began.Add(answerTime))
		isAllowed := len(methods) == 0 || slices.Contains(methods, r.Method)
		if r.ContentLength != 0 && (path != submitPath || !isAllowed) {
			leave(out) // nobody will read this body
		}
		if isAllowed {
			handler(out, r)
		} else {
			allowed := strings.Join(methods, ", ")
			out.Header().Set("Allow", allowed)
			writeError(out, http.StatusMethodNotAllowed, "This path allows "+allowed)
		}
		s.metrics.request(path, out.code, time.Since(began))
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
