// Package privatepg runs a PostgreSQL server for one program alone: from the installed server binaries, on a data directory of the
// program's own, reachable through a Unix socket that nobody else can open, and gone when the program is gone.
//
// Start takes a directory. In it lie
//
//	lock        says which process owns the directory, and is locked, flock(2), while that process lives
//	data/       the server's data directory, made by initdb
//	socket/     the Unix socket, where its path is short enough; otherwise it is in the system's directory for temporary files
//	server.log  what the server says
//
// # Who may connect
//
// The server listens on no network address and trusts whoever opens its socket. The directory of the socket belongs to the server's
// user, and only that user and root can enter it.
//
// # Started as root
//
// PostgreSQL refuses to run as root. Started by root, the server therefore runs as an ordinary user: the owner of an existing data
// directory, else the owner of the given directory if that is not root, else the system user postgres, else nobody. Only data/ and
// socket/ are handed over to that user. It must be able to enter the directory and all directories above it; where it cannot, as
// below /root, Start says which one is closed. No permissions are changed outside of the given directory.
//
// # How it ends
//
// Stop shuts the server down orderly. When the owner ends without Stop, even by SIGKILL, the kernel sends the server the signal for
// a fast shutdown (PR_SET_PDEATHSIG). The next Start takes over what is left: it waits for, or stops, a server that is still there,
// and removes its stale postmaster.pid. A server that was killed recovers from its write-ahead log, and loses nothing that was
// committed.
package privatepg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Database is the name of the database to which [Server.URI] leads.
const Database = "provingground"

// superuser is the only role of the server.
const superuser = "postgres"

// port is the number in the socket's file name; there is no TCP port.
const port = "5432"

// pause is how long to wait between two looks at something that tells no one when it changes.
const pause = 20 * time.Millisecond

// patience is how long an orphaned server may take for its fast shutdown before it is told to leave at once.
const patience = 30 * time.Second

// Options say where and how a server runs.
type Options struct {
	// Dir is the directory that holds everything. It is created if need be; its parent must exist.
	Dir string
	// Settings are further server settings by name, for instance "fsync": "off" for data that need not
	// outlive the machine; they have precedence over those of this package.
	Settings map[string]string
	// Log gets what an operator would want to know; nil means none. What the server itself says is in server.log.
	Log *zap.Logger
}

// Server is a running server. Safe for concurrent use.
type Server struct {
	uri    string
	data   string
	pid    int
	ended  chan struct{}
	result error // why the process ended; to be read after ended is closed
	stop   sync.Once
	asked  chan struct{} // closed by the first Stop
	log    *zap.Logger
}

// Start makes the data directory if need be, starts the server and returns when it accepts connections. The context limits the
// start only; the server lives until [Server.Stop] or until the process ends. Errors that callers may test: [ErrNotInstalled],
// [*HeldError], [*VersionError].
func Start(ctx context.Context, opts Options) (*Server, error) {
	server, err := start(ctx, opts, searchDirs())
	if err != nil {
		return nil, fmt.Errorf("start the private PostgreSQL in %s: %w", opts.Dir, err)
	}
	return server, nil
}

func start(ctx context.Context, opts Options, binaries []string) (_ *Server, err error) {
	log := opts.Log
	if log == nil {
		log = zap.NewNop()
	}
	log = log.Named("privatepg")
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) { //nolint:gosec // the server's user has to pass
		return nil, fmt.Errorf("create it: %w", err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil { // the server's working directory is told without links
		return nil, err
	}
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	// From the server's start on, the lock is released by the goroutine that waits for it.
	handedOver := false
	defer func() {
		if !handedOver {
			err = errors.Join(err, lock.Close())
		}
	}()

	home := layout{dir: dir, data: filepath.Join(dir, "data"), log: filepath.Join(dir, "server.log")}
	if home.account, err = chooseAccount(dir, home.data); err != nil {
		return nil, err
	}
	if err := home.account.canEnter(dir); err != nil {
		return nil, err
	}
	bin, err := chooseBinaries(ctx, home.data, binaries)
	if err != nil {
		return nil, err
	}
	if err := evict(ctx, home.data, log); err != nil {
		return nil, err
	}
	if err := home.initialise(ctx, bin, opts.Settings["fsync"] != "off", log); err != nil {
		return nil, err
	}
	if home.socket, err = socketDir(dir, home.account); err != nil {
		return nil, err
	}
	output, err := home.openLog()
	if err != nil {
		return nil, err
	}

	cmd := exec.Command(filepath.Join(bin.dir, "postgres"), arguments(home, opts.Settings)...) //nolint:gosec,noctx // it outlives ctx
	cmd.Dir = home.data
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = home.account.attributes(syscall.SIGINT)
	s := &Server{uri: uri(home.socket, Database), data: home.data, ended: make(chan struct{}), asked: make(chan struct{}), log: log}
	started := make(chan error, 1)
	go s.run(cmd, started, func() error { return errors.Join(output.Close(), lock.Close()) })
	handedOver = true
	if err := <-started; err != nil {
		<-s.ended
		return nil, fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	if err := s.await(ctx, home); err != nil {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		return nil, errors.Join(err, s.Stop(cleanup))
	}
	log.Info("private PostgreSQL is ready", zap.String("uri", s.uri), zap.String("data", home.data),
		zap.String("version", bin.version), zap.String("user", home.account.name), zap.Int("pid", s.pid))
	return s, nil
}

// run starts the server's process and waits for its end. The kernel takes the end of the thread that started a process for the end
// of its parent, so that thread is kept for as long as the server lives.
func (s *Server) run(cmd *exec.Cmd, started chan<- error, release func() error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(s.ended)
	if err := cmd.Start(); err != nil {
		s.result = errors.Join(err, release())
		started <- err
		return
	}
	s.pid = cmd.Process.Pid
	started <- nil
	err := cmd.Wait()
	s.result = errors.Join(err, release())
	select {
	case <-s.asked:
	default:
		s.log.Error("private PostgreSQL ended by itself", zap.Error(err), zap.String("data", s.data))
	}
}

// await returns when the server accepts connections and has its database.
func (s *Server) await(ctx context.Context, home layout) error {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		err := prepare(ctx, uri(home.socket, "postgres"))
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the server ended during its start: %w%s%s", s.result, home.lastWords(), diskHint(home.dir))
		case <-ctx.Done():
			return fmt.Errorf("the server did not accept connections in time: %w; the last attempt: %w%s",
				context.Cause(ctx), err, home.lastWords())
		case <-ticker.C:
		}
	}
}

// prepare makes sure that the database exists.
func prepare(ctx context.Context, admin string) (err error) {
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	var exists bool
	const query = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
	if err := conn.QueryRow(ctx, query, Database).Scan(&exists); err != nil {
		return err
	}
	if exists {
		return nil
	}
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+Database); err != nil {
		return fmt.Errorf("create database %s: %w", Database, err)
	}
	return nil
}

// URI leads to the server's database, for pgx, psql and everything else that knows libpq's URIs. It holds no password: the socket's
// directory lets only the server's user and root in.
func (s *Server) URI() string { return s.uri }

// PID is the process ID of the server's main process.
func (s *Server) PID() int { return s.pid }

// Done is closed when the server's process has ended, be it by Stop or by itself. A server that ended by itself is not restarted:
// call [Start] again on the same directory.
func (s *Server) Done() <-chan struct{} { return s.ended }

// Stop ends the server by a fast shutdown: connections are closed, open transactions rolled back, committed data is on disk. When
// the context ends first, the server is told to leave at once and recovers at its next start; the error then says so. Nothing
// committed is lost either way. Stop may be called again; a server that has ended by itself is no error.
func (s *Server) Stop(ctx context.Context) error {
	s.stop.Do(func() { close(s.asked) })
	if err := s.signal(syscall.SIGINT); err != nil {
		return err
	}
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
	}
	if err := s.signal(syscall.SIGQUIT); err != nil {
		return err
	}
	// An immediate shutdown waits for nothing, and PostgreSQL itself kills after five seconds what does not leave.
	<-s.ended
	return fmt.Errorf("stop the private PostgreSQL: %w: it was told to leave at once and will recover at its next start", context.Cause(ctx))
}

func (s *Server) signal(sig syscall.Signal) error {
	select {
	case <-s.ended:
		return nil
	default:
	}
	if err := syscall.Kill(s.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal the private PostgreSQL, process %d: %w", s.pid, err)
	}
	return nil
}

// uri returns the URI of a database. Libpq decodes %XX but, unlike browsers, not the plus sign.
func uri(socket, database string) string {
	return "postgresql:///" + url.PathEscape(database) + "?host=" + url.PathEscape(socket) + "&port=" + port + "&user=" + superuser
}

// arguments are the server's settings. What is not named keeps PostgreSQL's default; above all synchronous_commit stays on, since the
// nodes are told to forget their log entries after the commit.
func arguments(home layout, further map[string]string) []string {
	settings := map[string]string{
		"listen_addresses":          "",
		"unix_socket_directories":   home.socket,
		"unix_socket_permissions":   "0700",
		"port":                      port,
		"max_connections":           "50",
		"shared_buffers":            "128MB",
		"synchronous_commit":        "on",
		"wal_level":                 "minimal", // nobody replicates from here; it saves log volume
		"max_wal_senders":           "0",
		"wal_compression":           "on",
		"max_wal_size":              "2GB", // fewer checkpoints under steady COPY
		"checkpoint_timeout":        "15min",
		"max_locks_per_transaction": "512", // a query over all deployments locks every partition
		"jit":                       "off", // compiling a plan over many partitions costs more than it saves
		"timezone":                  "UTC",
		"log_timezone":              "UTC",
	}
	maps.Copy(settings, further)
	names := make([]string, 0, len(settings))
	for name := range settings {
		names = append(names, name)
	}
	sort.Strings(names)
	list := []string{"-D", home.data}
	for _, name := range names {
		list = append(list, "-c", name+"="+settings[name])
	}
	return list
}

// environment is the caller's without the variables of libpq and the server, which must not reach into a private server.
func environment() []string {
	var kept []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "PG") && !strings.HasPrefix(entry, "LC_") && !strings.HasPrefix(entry, "LANG=") {
			kept = append(kept, entry)
		}
	}
	return append(kept, "LC_ALL=C")
}

// diskHint tells when the disk is nearly full, which is behind most failures that PostgreSQL words in its own way.
func diskHint(dir string) string {
	const little = 64 << 20
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return ""
	}
	if free := stat.Bavail * uint64(stat.Bsize); free < little {
		return fmt.Sprintf("\nonly %d KiB are free on the disk of %s: make room, or choose another directory", free>>10, dir)
	}
	return ""
}
