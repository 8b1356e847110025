package privatepg

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"go.uber.org/zap"
)

// layout is where everything lies.
type layout struct {
	dir, data, socket, log string
	account                account
}

// initialise makes the data directory. It is made beside its place and then moved there, so that a start that was killed in the
// middle leaves nothing that looks like data. Without sync nothing waits for the disk, as the server will not either.
func (h layout) initialise(ctx context.Context, bin binaries, sync bool, log *zap.Logger) error {
	if _, err := os.Stat(filepath.Join(h.data, "PG_VERSION")); err == nil {
		return nil
	}
	making := h.data + ".making"
	if err := evict(ctx, making, log); err != nil {
		return err
	}
	if err := os.RemoveAll(making); err != nil {
		return fmt.Errorf("remove what an earlier start left: %w", err)
	}
	if err := h.account.own(making); err != nil {
		return fmt.Errorf("make the data directory: %w%s", err, diskHint(h.dir))
	}
	arguments := []string{"--pgdata", making, "--username", superuser, "--auth", "trust", "--encoding", "UTF8", "--no-locale"}
	if !sync {
		arguments = append(arguments, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin.dir, "initdb"), arguments...) //nolint:gosec // the machine's owner installed it
	cmd.Dir = making
	cmd.Env = environment()
	cmd.SysProcAttr = h.account.attributes(syscall.SIGKILL)
	runtime.LockOSThread() // the thread counts as the parent; see Server.run
	output, err := cmd.CombinedOutput()
	runtime.UnlockOSThread()
	if err != nil {
		return fmt.Errorf("make the data directory: %s: %w\n%s%s", cmd.Path, errors.Join(err, context.Cause(ctx)),
			strings.TrimSpace(string(output)), diskHint(h.dir))
	}
	if err := os.Rename(making, h.data); err != nil {
		return fmt.Errorf("move the new data directory to its place: %w", err)
	}
	log.Info("made a PostgreSQL data directory", zap.String("data", h.data), zap.String("version", bin.version))
	return nil
}

// socketDir makes the directory of the Unix socket. The kernel takes at most 107 bytes for a socket's path, so a long directory
// gets its socket in the directory for temporary files, under a name that its path decides.
func socketDir(dir string, a account) (string, error) {
	const most = 107
	const file = "/.s.PGSQL." + port
	path := filepath.Join(dir, "socket")
	if len(path+file) > most {
		path = filepath.Join(os.TempDir(), fmt.Sprintf("provingground-pg-%.8x", sha256.Sum256([]byte(dir))))
	}
	if len(path+file) > most {
		path = filepath.Join("/tmp", filepath.Base(path))
	}
	if err := a.own(path); err != nil {
		return "", fmt.Errorf("make the directory of the socket: %w", err)
	}
	if err := a.canEnter(path); err != nil {
		return "", err
	}
	return path, nil
}

// openLog opens the server's log, and begins a new one when it has grown large; the one before is kept.
func (h layout) openLog() (*os.File, error) {
	const large = 16 << 20
	if info, err := os.Stat(h.log); err == nil && info.Size() > large {
		if err := os.Rename(h.log, h.log+".old"); err != nil {
			return nil, fmt.Errorf("begin a new server log: %w", err)
		}
	}
	file, err := os.OpenFile(h.log, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the server's log: %w", err)
	}
	return file, nil
}

// lastWords returns the end of the server's log, for an error.
func (h layout) lastWords() string {
	const most = 2000
	file, err := os.Open(h.log)
	if err != nil {
		return ""
	}
	defer file.Close() //nolint:errcheck // it was only read
	info, err := file.Stat()
	if err != nil {
		return ""
	}
	text, err := io.ReadAll(io.NewSectionReader(file, max(0, info.Size()-most), most))
	if err != nil || len(text) == 0 {
		return ""
	}
	return "; the end of " + h.log + ":\n" + strings.TrimSpace(string(text))
}
