//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"provingground/cmd/internal/boot"
	"provingground/cmd/internal/privatedb"
	"provingground/internal/redact"
	"provingground/schema"
	"provingground/snarkpool"
	"provingground/snarkpool/control"
	"provingground/snarkpool/gpu"
	"provingground/snarkpool/gpu/nvml"
	"provingground/snarkpool/metrics"
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/supervise"
	"provingground/snarkpool/topology"
	"provingground/snarkpool/worker/gnark"
	"provingground/snarkpool/worker/verify"
)

// serving is of the agent alone.
func serving(o *options, set *flag.FlagSet) {
	set.StringVar(&o.listen, "listen", "", "take signed commands over HTTPS at `HOST:PORT`; needs -cert, -cert-key, and control.keys_file in the pool file")
	set.StringVar(&o.certificate, "cert", "", "`FILE` of the certificate (PEM) of -listen; it is read again when it changes")
	set.StringVar(&o.certificateKey, "cert-key", "", "`FILE` of its private key (PEM)")
	set.StringVar(&o.metrics, "metrics", "", "show metrics to Prometheus at http://`HOST:PORT`/metrics")
	set.Func("coordinator", "take jobs for prove gnark's workers from the coordinator at `NAME=URL`, and give it their proofs; may be repeated", func(text string) error {
		name, address, found := strings.Cut(text, "=")
		if !found || name == "" || address == "" {
			return errors.New("give NAME=URL, such as sim=http://127.0.0.1:8301")
		}
		o.sources = append(o.sources, text)
		return nil
	})
	set.StringVar(&o.keyDirectory, "keys", "", "`DIR` of the keys of prove gnark, for its verifier; default gnark-keys in the state directory")
	set.StringVar(&o.verifyingKey, "verifying-key", "", "take only the verifying key with this sha256, in `HEX`")
	set.IntVar(&o.links, "links", 0, "length `N` of the chain of hashes that prove gnark proves; default 64")
	set.StringVar(&o.directory, "kimchi", "", "`DIR` in which the Kimchi worker is installed, for its verifier; without it Kimchi workers get no jobs")
	set.StringVar(&o.gpuChecker, "gpu-checker", "", "`COMMAND` of the checker that GPUs must satisfy, split at spaces; without it an operator's gpu unfence stands in for the check")
	set.StringVar(&o.logLevel, "log-level", "info", "`LEVEL` of the log on standard error: debug, info, warn or error")
	set.StringVar(&o.logTo, "log-file", "", "write the log to a `FILE`, too")
}

func agentVerb(ctx context.Context, c call) error { return signalled(ctx, c.runAgent(ctx)) }

// runAgent runs an agent until a signal ends it. What was begun is ended in reverse order; workers go on.
func (c call) runAgent(ctx context.Context) (err error) {
	if wrong := c.checkListening(); wrong != nil {
		return wrong
	}
	state, err := c.state()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(state, 0o755); err != nil { //nolint:gosec // the private PostgreSQL's user has to pass through it
		return boot.Usage(err)
	}
	secrets := &redact.Redactor{}
	console := boot.NewConsole(c.stderr, nil)
	defer console.Close()
	log, err := boot.NewLog(console, c.logLevel, c.logTo, secrets.Text, console.Terminal())
	if err != nil {
		return boot.Usage(err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()

	source, err := c.source(c.arguments[0], filepath.Join(state, "pool.json"))
	if err != nil {
		return err
	}
	file, err := poolfile.Load(ctx, source)
	if err != nil {
		return boot.Usage(inFile(source.Location, err))
	}
	if file.Stale != "" {
		log.Warn("this is the last good copy of the pool file", zap.String("cause", file.Stale))
	}
	machine, err := topology.Read("")
	if err != nil {
		return fmt.Errorf("reading the machine: %w", err)
	}
	name := c.hostName(machine)
	if _, err := file.ForHost(name, c.labels); err != nil {
		log.Warn("there will be no workers here: -host and -label say which host this is", zap.Error(err))
	}
	operators, err := c.operators(file)
	if err != nil {
		return err
	}
	gnarkKeys, err := c.gnarkOptions()
	if err != nil {
		return err
	}

	socket := orElse(c.socket, filepath.Join(state, socketName))
	listeners, err := c.listeners(socket)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range listeners {
			_ = l.Close() // closed already, by the server
		}
	}()
	uri, stop, err := c.database(ctx, state, file, log.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if checked, err := boot.CheckDatabaseURI("the database", uri); err == nil && checked.Password != "" {
		secrets.Add(checked.Password)
	}

	self, err := executable()
	if err != nil {
		return err
	}
	feeds, closeFeeds, err := c.feeds(ctx, name, gnarkKeys, log.Logger)
	if err != nil {
		return err
	}
	defer closeFeeds()
	xids, err := gpu.BuiltInXIDTable()
	if err != nil {
		return err
	}
	reader := nvml.Open()
	defer func() { err = errors.Join(err, reader.Close(context.WithoutCancel(ctx))) }()
	agent, err := snarkpool.New(ctx, snarkpool.Options{
		Name: name, Labels: c.labels, PoolFile: source, StateDir: state, Launcher: []string{"/proc/self/exe", launchVerb}, Database: uri,
		Environ: os.Environ(), Version: boot.Version(), GPUs: reader, CheckGPU: c.gpuCheck(reader), XIDs: xids, Feeds: feeds,
		Verifiers: c.verifiers(self, gnarkKeys), Logger: log.Logger,
	})
	if err != nil {
		return ownedElsewhere(err)
	}
	log.Info("taking commands", zap.String("socket", socket), zap.String("listen", c.listen))
	return c.serve(ctx, agent, name, operators, listeners, log)
}

// ownedElsewhere makes what the operator has to mend before an agent can start an error of usage.
func ownedElsewhere(err error) error {
	var locked *supervise.LockedError
	var corrupt *supervise.CorruptStateError
	if errors.As(err, &locked) || errors.As(err, &corrupt) {
		return boot.Usage(err)
	}
	return err
}

// serve runs an agent and its ports.
func (c call) serve(ctx context.Context, agent *snarkpool.Agent, name string, keys *control.Keys, listeners []*control.Listener, log *boot.Log) error {
	server, err := control.NewServer(control.Options{Name: name, Operator: agent, Audit: agent, Keys: keys, Log: log.Named("control")})
	if err != nil {
		return err
	}
	group, running := errgroup.WithContext(ctx)
	if c.metrics != "" {
		if err := c.showMetrics(running, group, agent, log.Logger); err != nil {
			return err
		}
	}
	group.Go(func() error { return agent.Run(running) })
	group.Go(func() error { return server.Serve(running, listeners...) })
	err = group.Wait()
	var ended *interrupted
	if errors.As(err, &ended) || err == nil && errors.As(context.Cause(ctx), &ended) {
		log.Info("the agent ends, its workers go on; the next agent on this state directory adopts them", zap.NamedError("cause", ended))
		return nil
	}
	return err
}

// checkListening checks the options of -listen among each other.
func (c call) checkListening() error {
	switch {
	case c.listen == "" && (c.certificate != "" || c.certificateKey != ""):
		return boot.Usagef("-cert and -cert-key are for -listen HOST:PORT, which is missing")
	case c.listen != "" && (c.certificate == "" || c.certificateKey == ""):
		return boot.Usagef("-listen needs -cert FILE and -cert-key FILE: commands come over HTTPS only")
	}
	return nil
}

// listeners are where commands come from.
func (c call) listeners(path string) (all []*control.Listener, err error) {
	local, err := control.ListenSocket(path)
	if errors.Is(err, control.ErrAlreadyRunning) {
		return nil, boot.Usagef("%w: %s: name another socket and another state directory for a second one", err, path)
	}
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	all = append(all, local)
	if c.listen == "" {
		return all, nil
	}
	remote, err := control.ListenTLS(c.listen, c.certificate, c.certificateKey)
	if err != nil {
		return nil, errors.Join(boot.Usagef("-listen %s: %w", c.listen, err), local.Close())
	}
	return append(all, remote), nil
}

// operators returns who may command the agent over HTTPS; nil without -listen.
func (c call) operators(file poolfile.File) (*control.Keys, error) {
	if c.listen == "" {
		return nil, nil
	}
	if file.Control.KeysFile == "" {
		return nil, boot.Usagef("-listen needs control.keys_file in the pool file: the public keys of those who may command the agent")
	}
	keys, err := control.LoadKeys(c.besidePoolFile(file.Control.KeysFile))
	if err != nil {
		return nil, boot.Usagef("control.keys_file: %w", err)
	}
	return keys, nil
}

// besidePoolFile resolves a path of the pool file: relative ones begin at the file's own directory.
func (c call) besidePoolFile(path string) string {
	if filepath.IsAbs(path) || strings.HasPrefix(c.arguments[0], "https://") {
		return path
	}
	return filepath.Join(filepath.Dir(c.arguments[0]), path)
}

// database returns the URI of a migrated database: that of -db-uri, of the pool file, or of a private server, which stop ends.
func (c call) database(ctx context.Context, state string, file poolfile.File, log *zap.Logger) (uri string, stop func() error, err error) {
	stop = func() error { return nil }
	switch {
	case c.databaseURI != "":
		uri, err = c.resolveURI("-db-uri", c.databaseURI)
	case file.Database != "":
		uri, err = c.resolveURI("database of the pool file", file.Database)
	default:
		return c.privateDatabase(ctx, state, log)
	}
	if err != nil {
		return "", stop, err
	}
	if err := schema.Migrate(ctx, uri); err != nil {
		if ctx.Err() != nil || errors.Is(err, schema.ErrTooNew) {
			return "", stop, err
		}
		log.Warn("the database cannot be brought to this version now: fed workers get no jobs until the agent is started again with it", zap.Error(err))
	}
	return uri, stop, nil
}

func (c call) privateDatabase(ctx context.Context, state string, log *zap.Logger) (uri string, stop func() error, err error) {
	server, err := privatedb.Start(ctx, state, "proofs are kept on disk meanwhile", log.Named("postgres"))
	if err != nil {
		return "", nil, err
	}
	keeping, leave := context.WithCancel(context.WithoutCancel(ctx))
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		server.Keep(keeping)
	}()
	stop = func() error {
		leave()
		<-kept
		return server.Stop(ctx)
	}
	uri = server.URI()
	if err := schema.Migrate(ctx, uri); err != nil {
		return "", nil, errors.Join(err, stop())
	}
	log.Info("private PostgreSQL: psql \"" + uri + "\" (the URI is in " + server.Note() + " while it runs)")
	return uri, stop, nil
}

// verifiers returns what starts the verifier process of each kind of proof that this program knows.
func (c call) verifiers(self string, keys gnark.Options) map[string]func(context.Context) (verify.Process, error) {
	all := map[string]func(context.Context) (verify.Process, error){
		gnark.Kind: verify.Command(self, append([]string{"verify", "gnark"}, sameKeys(keys)...), os.Environ(), c.stderr),
	}
	if c.directory != "" {
		all[kimchiKind] = verify.Command(self, []string{"verify", "kimchi", "-dir", c.directory}, os.Environ(), c.stderr)
	}
	return all
}

// kimchiKind is the kind of the Kimchi worker's proofs, as its circuit.mjs names it.
const kimchiKind = "kimchi-poseidon"

const (
	metricsRequestTime = 10 * time.Second
	metricsEndTime     = 2 * time.Second
)

// showMetrics serves metrics until ctx ends.
func (c call) showMetrics(ctx context.Context, group *errgroup.Group, agent *snarkpool.Agent, log *zap.Logger) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(agent.Metrics), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.metrics)
	if err != nil {
		return boot.Usagef("-metrics %s: %w", c.metrics, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: zap.NewStdLog(log), MaxRequestsInFlight: 4, Timeout: metricsRequestTime}))
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: metricsRequestTime, ReadTimeout: metricsRequestTime, WriteTimeout: 2 * metricsRequestTime, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: zap.NewStdLog(log),
	}
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving metrics: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), metricsEndTime)
		defer cancel()
		if err := server.Shutdown(ending); err != nil {
			return server.Close()
		}
		return nil
	})
	log.Info("showing metrics", zap.Stringer("listen", listener.Addr()))
	return nil
}
