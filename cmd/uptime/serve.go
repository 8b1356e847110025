package main

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"provingground/cmd/internal/boot"
	"provingground/internal/mina"
	"provingground/schema"
	"provingground/uptime"
	"provingground/uptime/archive"
	"provingground/uptime/service"
	"provingground/uptime/store"
	"provingground/uptime/whitelist"
)

const (
	// databaseConnections is how many there are at most. A submission needs one for one round trip.
	databaseConnections = 16
	// pruneEvery is the pause between two removals of what is too old.
	pruneEvery = time.Minute
)

// serve serves until ctx ends, and then until the requests that are here are answered. What was begun is ended in reverse order.
func (p program) serve(ctx context.Context, s settings) (err error) {
	console := boot.NewConsole(p.stderr, nil)
	defer console.Close()
	log, err := boot.NewLog(console, s.logLevel, "", s.secrets.Text, console.Terminal())
	if err != nil {
		return boot.Usage(err)
	}
	s.introduce(log, p.env("NETWORK"))
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", s.listen)
	if err != nil {
		return boot.Usagef("-listen: %w; choose another one with -listen ADDRESS", err)
	}
	defer func() { _ = listener.Close() }() // closed already, by the service
	pool, err := s.openDatabase(ctx)
	if err != nil {
		return err
	}
	if pool != nil {
		defer pool.Close()
	}
	remembered, prune, err := s.store(pool)
	if err != nil {
		return err
	}
	keys, watch, err := s.openWhitelist(ctx, pool, log)
	if err != nil {
		return err
	}
	kept, err := s.archive(ctx)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
	server, err := service.New(service.Options{
		Network: s.network, Store: remembered, Whitelist: keys, Archive: kept, Retention: s.retention, TrustedProxies: s.proxies,
		Registry: registry, Logger: log.Logger,
	})
	if err != nil {
		return err
	}
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { watch(running); return nil })
	group.Go(func() error { repeat(running, prune, log); return nil })
	log.Info("serving", zap.Stringer("listen", listener.Addr()))
	group.Go(func() error { return server.Serve(running, listener) })
	err = group.Wait()
	if err == nil {
		log.Info("every request that was here is answered", zap.NamedError("cause", context.Cause(ctx)))
	}
	return err
}

// introduce begins the log: whose signatures count, who is listed how long, and what the operator should know.
func (s settings) introduce(log *boot.Log, name string) {
	network := "test networks"
	if s.network == mina.Mainnet {
		network = "the main network"
	}
	where := "memory"
	if s.databaseURI != "" {
		where = "database"
	}
	proxies := make([]string, len(s.proxies))
	for i, proxy := range s.proxies {
		proxies[i] = proxy.String()
	}
	log.Info("signatures count that are made for "+network, zap.String("NETWORK", name), zap.String("store", where), zap.Duration("retention", s.retention),
		zap.Int("per_hour", s.perHour), zap.Strings("trusted_proxies", proxies), zap.Bool("s3", s.aws != nil), zap.String("version", boot.Version()))
	for _, warning := range s.warnings {
		log.Warn(warning)
	}
	for _, note := range s.notes {
		log.Info(note)
	}
}

// openDatabase brings the database to this version and returns connections to it; nil when none is named.
func (s settings) openDatabase(ctx context.Context) (*pgxpool.Pool, error) {
	if s.databaseURI == "" {
		return nil, nil
	}
	if err := schema.Migrate(ctx, s.databaseURI); err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(s.databaseURI)
	if err != nil {
		return nil, errors.New("the database's URI cannot be read") // it could, by settings; the error may quote it
	}
	config.MaxConns = databaseConnections
	return pgxpool.NewWithConfig(ctx, config)
}

// store returns what remembers submissions, and what removes the old ones.
func (s settings) store(pool *pgxpool.Pool) (_ service.Store, prune func(context.Context) error, err error) {
	options := store.Options{Retention: s.retention, PerHour: s.perHour}
	if pool == nil {
		memory, err := store.NewMemory(options)
		return memory, func(context.Context) error { return nil }, err
	}
	database, err := store.NewDatabase(pool, options)
	if err != nil {
		return nil, nil, err
	}
	return database, database.Prune, nil
}

// openWhitelist reads the whitelist, and returns it with what keeps it as its source is.
func (s settings) openWhitelist(ctx context.Context, pool *pgxpool.Pool, log *boot.Log) (_ service.Whitelist, watch func(context.Context), err error) {
	options := whitelist.Options{Log: log.Named("whitelist")}
	silent := whitelist.Options{} // what is wrong at the start is told as the end of the program, and not in the log, too
	switch {
	case s.whitelistFile != "":
		if err := whitelist.NewFile(s.whitelistFile, silent).Refresh(ctx); err != nil {
			return nil, nil, boot.Usage(err)
		}
		file := whitelist.NewFile(s.whitelistFile, options)
		return file, file.Run, file.Refresh(ctx)
	case s.whitelistDatabase:
		if err := whitelist.NewDatabase(pool, silent).Refresh(ctx); err != nil {
			return nil, nil, err
		}
		table := whitelist.NewDatabase(pool, options)
		return table, table.Run, table.Refresh(ctx)
	}
	static := whitelist.NewStatic(s.whitelist, time.Now())
	if ignored := static.Ignored(); len(ignored) > 0 {
		const shown = 10
		log.Warn("entries of the whitelist are no public keys; they are ignored", zap.Int("entries", len(ignored)),
			zap.NamedError("first", errors.Join(ignored[:min(shown, len(ignored))]...)))
	}
	return static, func(context.Context) {}, nil
}

// archive returns what keeps whole submissions; nil when nothing does.
func (s settings) archive(ctx context.Context) (service.Archive, error) {
	if s.aws == nil {
		return nil, nil
	}
	client, err := uptime.LoadS3(ctx, s.aws.region, s.awsFile)
	if err != nil {
		return nil, boot.Usage(err)
	}
	return archive.NewS3(client, uptime.BucketName(s.aws.accountID), s.aws.prefix)
}

// repeat removes what is too old, every minute until ctx ends. A failure is told when it begins.
func repeat(ctx context.Context, prune func(context.Context) error, log *boot.Log) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	failing := false
	for {
		err := prune(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			log.Warn("what is too old cannot be removed now; it will be", zap.Error(err))
		}
		failing = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
