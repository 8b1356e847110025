package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"provingground/cmd/internal/boot"
	"provingground/cmd/internal/privatedb"
	"provingground/fetcher"
	"provingground/fetcher/api"
	"provingground/fetcher/store"
	"provingground/internal/runlock"
	"provingground/orchestrator/itn"
	"provingground/schema"
	"provingground/uptime"
)

const (
	// storeConnections and apiConnections are the database connections of this process, eight at most together with that of retention.
	storeConnections = 4
	apiConnections   = 3
	// maxAnswer bounds an answer of a node, in bytes: a full queue of 500 entries takes about 100 KiB.
	maxAnswer = 16 << 20
	// idleConnections is to how many nodes a connection is kept between two requests.
	idleConnections = 256
	// memoryTarget is where the garbage collector begins to work harder, in bytes, unless GOMEMLIMIT says otherwise.
	memoryTarget = 200 << 20
	// saveEvery is the pause between two savings of what is known of the nodes.
	saveEvery = 2 * time.Second
	// portConnections is how many connections the REST port holds at once; more wait until one ends.
	portConnections = 256
	// requestTime bounds the arrival of a whole request, bodies included.
	requestTime = 30 * time.Second
	// answerTime is how long requests to the REST port may take when the program ends.
	answerTime = 5 * time.Second
	// readWithin is how long ago the last reading of any node may be before /health says that none can be read, unless nodes are asked less often
	// than that.
	readWithin = 2 * time.Minute
)

// collect reads nodes until ctx ends. What was begun is ended in reverse order.
func (p program) collect(ctx context.Context, s settings) (err error) {
	console := boot.NewConsole(p.stderr, nil)
	defer console.Close()
	log, err := boot.NewLog(console, s.logLevel, "", s.secrets.Text, console.Terminal())
	if err != nil {
		return boot.Usage(err)
	}
	quiet := &quiet{}
	log.Logger = log.WithOptions(zap.WrapCore(quiet.wrap))
	defer quiet.tell()
	for _, warning := range s.warnings {
		log.Warn(warning)
	}
	for _, note := range s.notes {
		log.Debug(note)
	}
	if p.env("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryTarget)
	}
	if err := os.MkdirAll(s.directory, 0o755); err != nil { //nolint:gosec // the private PostgreSQL's user has to pass through it
		return boot.Usage(err)
	}
	lock, err := runlock.Acquire(s.directory, "fetcher", "fetcher "+string(s.command), time.Now())
	var held *runlock.HeldError
	if errors.As(err, &held) {
		return boot.Usagef("another fetcher uses %s: process %d of %s on %s, since %s: end it, or give this one a directory of its own",
			s.directory, held.Holder.PID, held.Holder.User, held.Holder.Host, held.Holder.Since.Format(time.RFC3339))
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()

	listeners, err := listen(ctx, s.listen)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range listeners {
			_ = l.Close() // closed already, by the server
		}
	}()
	uri := s.databaseURI
	if uri == "" {
		database, err := privatedb.Start(ctx, s.directory, "nodes' entries wait with the nodes", log.Named("postgres"))
		if err != nil {
			return err
		}
		uri = database.URI()
		log.Info("private PostgreSQL: psql \"" + uri + "\" (the URI is in " + database.Note() + " while it runs)")
		keeping, leave := context.WithCancel(context.WithoutCancel(ctx))
		kept := make(chan struct{})
		go func() {
			defer close(kept)
			database.Keep(keeping)
		}()
		defer func() {
			leave()
			<-kept
			err = errors.Join(err, database.Stop(ctx))
		}()
	}
	if err := schema.Migrate(ctx, uri); err != nil {
		return err
	}
	pool, err := openPool(ctx, uri)
	if err != nil {
		return err
	}
	defer pool.Close()
	if s.newDeployment {
		if s.deployment, err = newDeployment(ctx, uri); err != nil {
			return err
		}
	}
	entries, err := store.Open(ctx, uri, store.Options{Deployment: s.deployment, Log: log.Named("store"), Connections: storeConnections})
	if err != nil {
		return err
	}
	defer entries.Close()
	discoverer, err := s.discoverer(ctx, log)
	if err != nil {
		return err
	}
	list := &noted{Discoverer: discoverer}
	collector, closeIdle, err := s.collector(list, entries, log)
	if err != nil {
		return err
	}
	defer closeIdle()
	handler, err := api.New(api.Options{
		Collector: collector, Pool: pool, Deployment: entries.Deployment, LastDiscovery: list.when, Log: log.Logger,
		Registry: metrics(entries), NewDeployment: (&renewal{collector: collector, entries: entries}).deployment, AllowedOrigins: s.origins,
		ReadWithin: max(readWithin, 3*s.interval),
	})
	if err != nil {
		return err
	}
	return s.work(ctx, log, work{collector: collector, entries: entries, uri: uri, handler: handler, listeners: listeners, quiet: quiet})
}

// listen opens the ports of REST, GraphQL and metrics.
func listen(ctx context.Context, addresses []string) (listeners []net.Listener, err error) {
	var config net.ListenConfig
	for _, address := range addresses {
		listener, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			for _, l := range listeners {
				err = errors.Join(err, l.Close())
			}
			return nil, boot.Usagef("--listen: %w; choose another one with --listen ADDRESS", err)
		}
		listeners = append(listeners, listener)
	}
	return listeners, nil
}

// openPool returns the connections for everything but the collected entries.
func openPool(ctx context.Context, uri string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(uri)
	if err != nil {
		return nil, err
	}
	config.MaxConns, config.MinConns = apiConnections, 0
	return pgxpool.NewWithConfig(ctx, config)
}

// newDeployment makes a deployment before there is a store, which would make one of its own in an empty database.
func newDeployment(ctx context.Context, uri string) (id int64, err error) {
	conn, err := pgx.Connect(ctx, uri)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	if err := conn.QueryRow(ctx, "SELECT create_deployment('{}')").Scan(&id); err != nil {
		return 0, fmt.Errorf("making a deployment: %w", err)
	}
	return id, nil
}

// collector makes the collector. closeIdle closes its connections to nodes in the end.
func (s settings) collector(discover fetcher.Discoverer, entries *store.Store, log *boot.Log) (_ *fetcher.Collector, closeIdle func(), err error) {
	transport := itn.NewTransport()
	transport.MaxIdleConns = idleConnections
	transport.IdleConnTimeout = 30 * time.Second
	var archive fetcher.Archive
	if s.lineBytes > 0 {
		// Three kinds of files, each with one full one behind it.
		archive = fetcher.Files{Dir: s.directory, MaxBytes: s.lineBytes / 6, Keep: 1}
	}
	guarded := fetcher.Transport(transport)
	collector, err := fetcher.New(fetcher.Options{
		Discover: discover, Overrides: s.overrides, Store: entries, Clock: s.clock, Log: log.Named("collector"), Archive: archive, Names: s.names,
		Interval: s.interval, QueueSize: s.queueSize, Flush: s.flush, Seed: uint64(time.Now().UnixNano()),
		Dial: func(address string) *itn.Client {
			return itn.New(address, s.key, itn.Options{Transport: guarded, MaxAnswerBytes: maxAnswer, Logger: log.Named("itn"), LogRequests: true})
		},
	})
	return collector, transport.CloseIdleConnections, err
}

// submissionWindow is how far back submissions count (log-fetcher, section 2).
const submissionWindow = 20 * time.Minute

// discoverer says where the list of nodes comes from.
func (s settings) discoverer(ctx context.Context, log *boot.Log) (fetcher.Discoverer, error) {
	switch {
	case s.node != nil:
		return s.node, nil
	case s.onlineURL != "":
		return uptime.NewOnlineList(s.onlineURL, nil, 0)
	}
	objects, err := uptime.LoadS3(ctx, "", s.awsFile)
	if err != nil {
		return nil, err
	}
	return uptime.NewSubmissions(objects, uptime.SubmissionsConfig{
		Bucket: s.bucket, Prefix: s.prefix, Window: submissionWindow, Now: time.Now,
		Skipped: func(err error) { log.Warn("a submission is left out", zap.Error(err)) },
	})
}

// noted is a discoverer that remembers when it last had a list.
type noted struct {
	fetcher.Discoverer

	last atomic.Pointer[time.Time]
}

// List notes the time of a list that could be had.
func (n *noted) List(ctx context.Context) ([]uptime.Node, error) {
	nodes, err := n.Discoverer.List(ctx)
	if now := time.Now(); err == nil {
		n.last.Store(&now)
	}
	return nodes, err
}

// when returns the wall time of the last list, zero before the first one.
func (n *noted) when() time.Time {
	if last := n.last.Load(); last != nil {
		return *last
	}
	return time.Time{}
}

// renewal makes deployments to which all belongs that is collected from then on.
type renewal struct {
	collector *fetcher.Collector
	entries   *store.Store

	mu sync.Mutex // held by the one that is being made
}

func (r *renewal) deployment(ctx context.Context, metadata json.RawMessage) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	resume, err := r.collector.Hold(ctx)
	if err != nil {
		return 0, err
	}
	defer resume()
	if err := r.entries.SaveNodes(ctx, r.collector.Nodes()); err != nil { // the last of them in the old one
		return 0, err
	}
	id, err := r.entries.NewDeployment(ctx, metadata)
	if err != nil {
		return 0, err
	}
	return id, r.entries.Use(ctx, id)
}

// metrics tell what only the store knows; the port adds its own.
func metrics(entries *store.Store) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, counter := range []struct {
		name, help string
		value      func(store.Counts) uint64
	}{
		{"fetcher_store_cut_texts_total", "Texts that were longer than their columns, and were cut.", func(c store.Counts) uint64 { return c.Cut }},
		{"fetcher_store_unread_entries_total", "Log entries that no trace could be made of.", func(c store.Counts) uint64 { return c.Unread }},
		{"fetcher_store_underived_batches_total", "Batches from which nothing was derived, see table log_problem.", func(c store.Counts) uint64 { return c.Underived }},
	} {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: counter.name, Help: counter.help},
			func() float64 { return float64(counter.value(entries.Counts())) }))
	}
	return registry
}

// work is what runs until the end.
type work struct {
	collector *fetcher.Collector
	entries   *store.Store
	uri       string // of the database, for retention
	handler   http.Handler
	listeners []net.Listener
	quiet     *quiet
}

// work runs until ctx ends or something fails that cannot be mended: first the ports close, then the collector ends with what it has in
// hand, then the nodes' last state is saved.
func (s settings) work(ctx context.Context, log *boot.Log, w work) error {
	group, running := errgroup.WithContext(ctx)
	server := newServer(w.handler, log.Named("http"))
	places := make(chan struct{}, portConnections)
	var at []string
	for _, listener := range w.listeners {
		at = append(at, listener.Addr().String())
		group.Go(func() error {
			if err := server.Serve(newBounded(listener, places)); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serving %s: %w", listener.Addr(), err)
			}
			return nil
		})
	}
	served := make(chan struct{})
	group.Go(func() error {
		defer close(served)
		<-running.Done()
		closing, cancel := context.WithTimeout(context.WithoutCancel(running), answerTime)
		defer cancel()
		if server.Shutdown(closing) != nil {
			_ = server.Close() // a request that does not end
		}
		return nil
	})
	saved := make(chan struct{})
	saving, stopSaving := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSaving()
	go func() {
		defer close(saved)
		w.save(saving, log)
	}()
	var unsavedBefore uint64 // by readers that ended earlier, of which the next ones asked again
	group.Go(func() error {
		defer stopSaving()
		collecting, stop := context.WithCancelCause(context.WithoutCancel(running))
		defer stop(nil)
		defer context.AfterFunc(running, func() {
			<-served // nobody starts the collector anew through the port
			unsavedBefore = w.collector.Metrics().Unsaved
			stop(context.Cause(running))
		})()
		return w.collector.Run(collecting)
	})
	if s.retainDays > 0 {
		group.Go(func() error { s.retain(running, w.uri, log); return nil })
	}
	group.Go(func() error { w.quiet.run(running); return nil })
	log.Info("collecting", zap.Strings("listen", at), zap.Int64("deployment", w.entries.Deployment()), zap.String("version", boot.Version()))
	err := group.Wait()
	<-saved
	var signal *interrupted
	if errors.As(context.Cause(ctx), &signal) {
		if unsaved := w.collector.Metrics().Unsaved - unsavedBefore; unsaved > 0 {
			log.Warn("not everything that was read is stored; nodes are asked for it again at the next start, as long as they hold it",
				zap.Stringer("signal", signal.signal), zap.Uint64("batches", unsaved))
		} else {
			log.Info("everything that was read is stored", zap.Stringer("signal", signal.signal))
		}
	}
	return err
}

// save saves what is known of the nodes whenever something has changed, and at last when ctx has ended.
func (w work) save(ctx context.Context, log *boot.Log) {
	saved := make(map[string]fetcher.NodeStatus) // in that deployment
	deployment, failing := w.entries.Deployment(), false
	for last := false; ; {
		if now := w.entries.Deployment(); now != deployment {
			deployment = now
			clear(saved)
		}
		var changed []fetcher.NodeStatus
		for _, status := range w.collector.Nodes() {
			if before, known := saved[status.NodeName]; !known || !reflect.DeepEqual(before, status) {
				changed = append(changed, status)
			}
		}
		if len(changed) > 0 {
			saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*saveEvery)
			err := w.entries.SaveNodes(saving, changed)
			cancel()
			if err == nil {
				for _, status := range changed {
					saved[status.NodeName] = status
				}
			} else if !failing {
				log.Warn("what is known of the nodes cannot be saved now; it will be", zap.Error(err))
			}
			failing = err != nil
		}
		if last {
			return
		}
		last = boot.Pause(ctx, saveEvery) != nil
	}
}
