//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"provingground/cmd/internal/boot"
	"provingground/internal/privatepg"
)

// private is a PostgreSQL server of this agent's own, which is started again whenever it ends by itself.
type private struct {
	dir  string // of the server
	note string // file that holds the URI while the server runs
	log  *zap.Logger

	mu     sync.Mutex
	server *privatepg.Server
}

// What a private server has in the state directory.
const (
	privateDir  = "postgres"
	privateNote = "db-uri"
)

// startPrivate starts a private server in the state directory, and says how to connect.
func startPrivate(ctx context.Context, directory string, log *zap.Logger) (*private, error) {
	p := &private{dir: filepath.Join(directory, privateDir), note: filepath.Join(directory, privateNote), log: log}
	_, missing := os.Stat(p.dir)
	server, err := privatepg.Start(ctx, privatepg.Options{Dir: p.dir, Log: log})
	if err != nil && errors.Is(missing, os.ErrNotExist) {
		err = errors.Join(err, removeUnused(p.dir))
	}
	var held *privatepg.HeldError
	if errors.As(err, &held) {
		return nil, boot.Usagef("%w; the database that runs there can be used, too: --db-uri \"$(cat %s)\"", err, p.note)
	}
	if err != nil {
		return nil, fmt.Errorf("private PostgreSQL: %w", err)
	}
	p.server = server
	if err := os.WriteFile(p.note, []byte(server.URI()+"\n"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("writing down how to connect: %w", err), p.stop(ctx))
	}
	return p, nil
}

// removeUnused removes the directory of a server that was never started, and holds nothing but its lock. One that holds more is left.
func removeUnused(dir string) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || len(files) > 1 || len(files) == 1 && files[0].Name() != "lock" {
		return nil
	}
	return os.RemoveAll(dir)
}

// uri leads to the database. It stays the same when the server is started again.
func (p *private) uri() string { return p.current().URI() }

func (p *private) current() *privatepg.Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.server
}

// The pauses between attempts to start a server again: each is twice the one before.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// keep starts the server again whenever it ends by itself, until ctx ends.
func (p *private) keep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.current().Done():
		}
		for wait := firstPause; ; wait = min(2*wait, lastPause) {
			if pause(ctx, wait) != nil {
				return
			}
			server, err := privatepg.Start(ctx, privatepg.Options{Dir: p.dir, Log: p.log})
			if err == nil {
				p.log.Warn("the private PostgreSQL ended by itself and was started again", zap.Int("pid", server.PID()))
				p.mu.Lock()
				p.server = server
				p.mu.Unlock()
				break
			}
			if ctx.Err() == nil {
				p.log.Error("the private PostgreSQL ended by itself and cannot be started again yet; proofs are kept on disk meanwhile", zap.Error(err))
			}
		}
	}
}

// pause waits for a time, or for ctx's end.
func pause(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stopTime is how long a private server may take to stop in order; after it, it leaves at once, and recovers at its next start.
const stopTime = 30 * time.Second

// stop ends the server, which nobody keeps any more, also when ctx has ended.
func (p *private) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	err := os.Remove(p.note)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, p.current().Stop(ctx))
}
