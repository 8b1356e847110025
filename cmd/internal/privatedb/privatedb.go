// Package privatedb gives a program a PostgreSQL server of its own in its directory, which is started again whenever it ends by itself, and writes down
// how to connect.
package privatedb

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

// Server is a PostgreSQL server of the program's own. Make it with [Start]; [Server.Keep] starts it again. Safe for concurrent use.
type Server struct {
	dir  string // of the server
	note string // file that holds the URI while the server runs
	log  *zap.Logger
	// meanwhile says what becomes of the program's data while there is no server.
	meanwhile string

	mu     sync.Mutex
	server *privatepg.Server
}

// What a server has in the program's directory: its own directory, and while it runs a file with the URI by which it is reached.
const (
	Dir  = "postgres"
	Note = "db-uri"
)

// Start starts a server in the program's directory, and says how to connect. meanwhile is for the log, when the server is away: what becomes of the data. It
// returns a [*boot.UsageError] when another program has the directory.
func Start(ctx context.Context, directory, meanwhile string, log *zap.Logger) (*Server, error) {
	s := &Server{dir: filepath.Join(directory, Dir), note: filepath.Join(directory, Note), log: log, meanwhile: meanwhile}
	_, missing := os.Stat(s.dir)
	server, err := privatepg.Start(ctx, privatepg.Options{Dir: s.dir, Log: log})
	if err != nil && errors.Is(missing, os.ErrNotExist) {
		err = errors.Join(err, removeUnused(s.dir))
	}
	var held *privatepg.HeldError
	if errors.As(err, &held) {
		return nil, boot.Usagef("%w; the database that runs there can be used, too: --db-uri \"$(cat %s)\"", err, s.note)
	}
	if err != nil {
		return nil, fmt.Errorf("private PostgreSQL: %w", err)
	}
	s.server = server
	if err := os.WriteFile(s.note, []byte(server.URI()+"\n"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("writing down how to connect: %w", err), s.Stop(ctx))
	}
	return s, nil
}

// removeUnused removes the directory of a server that was never started, and holds nothing but its lock. One that holds more is left.
func removeUnused(dir string) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || len(files) > 1 || len(files) == 1 && files[0].Name() != "lock" {
		return nil
	}
	return os.RemoveAll(dir)
}

// Note returns the path of the file that holds the URI while the server runs.
func (s *Server) Note() string { return s.note }

// URI leads to the database. It stays the same when the server is started again.
func (s *Server) URI() string { return s.current().URI() }

func (s *Server) current() *privatepg.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server
}

// The pauses between attempts to start a server again: each is twice the one before.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// Keep starts the server again whenever it ends by itself, until ctx ends.
func (s *Server) Keep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.current().Done():
		}
		for wait := firstPause; ; wait = min(2*wait, lastPause) {
			if boot.Pause(ctx, wait) != nil {
				return
			}
			server, err := privatepg.Start(ctx, privatepg.Options{Dir: s.dir, Log: s.log})
			if err == nil {
				s.log.Warn("the private PostgreSQL ended by itself and was started again", zap.Int("pid", server.PID()))
				s.mu.Lock()
				s.server = server
				s.mu.Unlock()
				break
			}
			if ctx.Err() == nil {
				s.log.Error("the private PostgreSQL ended by itself and cannot be started again yet; "+s.meanwhile, zap.Error(err))
			}
		}
	}
}

// stopTime is how long a private server may take to stop in order; after it, it leaves at once, and recovers at its next start.
const stopTime = 30 * time.Second

// Stop ends the server, which nobody keeps any more, also when ctx has ended.
func (s *Server) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	err := os.Remove(s.note)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, s.current().Stop(ctx))
}
