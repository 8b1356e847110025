// Package pgtest gives tests a fresh PostgreSQL database each, on one server that all tests of a test binary share.
//
// The server is a [privatepg.Server]: it needs the installed server binaries and nothing else. It starts with the first [Database]
// and ends with the test binary, however that ends: the kernel tells the server, and a small shell process that waits for the same
// moment removes its files. Should that one be killed, too, a later test binary removes them. Tests that look for leaked goroutines
// must allow for the one that keeps the server: goleak.IgnoreAnyFunction([Goroutine]), or goleak.IgnoreCurrent after Database.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"provingground/internal/privatepg"
)

// Goroutine is the function that runs for as long as the shared server.
const Goroutine = "provingground/internal/privatepg.(*Server).run"

// prefix begins the names of the servers' directories.
const prefix = "provingground-pgtest-"

// startTime bounds the start of the server and each statement of this package.
const startTime = 2 * time.Minute

// shared is the server of this test binary.
type shared struct {
	start sync.Once
	admin string
	err   error
	next  atomic.Int64
}

var server shared //nolint:gochecknoglobals // one server per test binary is this package's purpose; a server per test costs a second each

// Database returns the URI of an empty database that only this test knows. It is dropped when the test ends, connections to it or
// not. Safe for concurrent use. The test fails, with what to install, where PostgreSQL is missing.
func Database(t testing.TB) string {
	t.Helper()
	server.start.Do(func() { server.admin, server.err = launch() })
	if server.err != nil {
		t.Fatalf("PostgreSQL for tests: %v", server.err)
	}
	name := "test_" + strconv.FormatInt(server.next.Add(1), 10)
	execute(t, "CREATE DATABASE "+name+" TEMPLATE template0")
	t.Cleanup(func() { execute(t, "DROP DATABASE "+name+" WITH (FORCE)") })
	u, err := url.Parse(server.admin)
	if err != nil {
		t.Fatalf("URI of the server for tests: %v", err)
	}
	u.Path = "/" + name
	return u.String()
}

// Dir returns an empty directory in which a [privatepg.Server] can run. [testing.T.TempDir] is not good enough when the tests run as
// root: it is closed to the ordinary user as whom the server runs then. It is removed when the test ends.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := openDir("provingground-test-")
	if err != nil {
		t.Fatalf("directory for a server: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the directory of a server: %v", err)
		}
	})
	return dir
}

// openDir makes a directory that everybody can pass through.
func openDir(prefix string) (string, error) {
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755) //nolint:gosec // what must not be seen lies in closed directories in it
}

func execute(t testing.TB, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), startTime)
	defer cancel()
	conn, err := pgx.Connect(ctx, server.admin)
	if err != nil {
		t.Fatalf("connect to the server for tests: %v", err)
	}
	_, err = conn.Exec(ctx, statement)
	if err = errors.Join(err, conn.Close(ctx)); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// launch starts the server of this test binary and returns the URI of its first database.
func launch() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTime) //nolint:forbidigo // the server outlives the test that starts it
	defer cancel()
	if err := sweep(os.TempDir(), time.Now()); err != nil {
		return "", err
	}
	dir, err := openDir(prefix)
	if err != nil {
		return "", err
	}
	// What is lost with the machine is of no use to a test; the rest of durability does not depend on fsync.
	s, err := privatepg.Start(ctx, privatepg.Options{Dir: dir, Settings: map[string]string{
		"fsync": "off", "full_page_writes": "off", "max_connections": "200",
	}})
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return s.URI(), removeAfterUs(dir, s.PID())
}

// removeAfterUs starts a shell that waits until this process and the server are gone, and then removes the directory. It reads from
// a pipe to which only this process can write, and nobody ever does.
func removeAfterUs(dir string, pid int) error {
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	const script = `read -r nothing; while kill -0 "$2" 2>/dev/null; do sleep 0.1; done; rm -rf -- "$1"`
	cmd := exec.Command("/bin/sh", "-c", script, "sh", dir, strconv.Itoa(pid)) //nolint:gosec,noctx // it outlives every context
	cmd.Stdin = reader
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start the cleaner: %w", err), reader.Close(), writer.Close())
	}
	// The descriptor behind writer stays open until the kernel closes it: a duplicate that no finaliser knows.
	kept, err := unix.FcntlInt(writer.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil || kept < 0 {
		return fmt.Errorf("keep the pipe to the cleaner: %w", err)
	}
	return errors.Join(reader.Close(), writer.Close(), cmd.Process.Release())
}

// sweep removes what dead test binaries left. A directory that is young or locked belongs to a live one.
func sweep(temp string, now time.Time) error {
	const young = 10 * time.Minute
	entries, err := os.ReadDir(temp)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !entry.IsDir() || !strings.HasPrefix(entry.Name(), prefix) || now.Sub(info.ModTime()) < young {
			continue // gone meanwhile, or not for us
		}
		dir := filepath.Join(temp, entry.Name())
		lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|unix.O_NOFOLLOW, 0) //nolint:gosec // our own name
		if err != nil {
			continue // another user's, or being removed
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			err = os.RemoveAll(dir)
			if err = errors.Join(err, lock.Close()); err != nil {
				return fmt.Errorf("remove the remains of a dead test: %w", err)
			}
			continue
		}
		if err := lock.Close(); err != nil {
			return err
		}
	}
	return nil
}
