package privatepg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// evict makes sure that nobody uses the data directory, and that the next server finds no stale postmaster.pid. The caller holds
// the directory's lock; so whatever server is found there has lost its owner.
//
// PostgreSQL itself refuses to start when the process number in postmaster.pid belongs to any live process, which after a crash may
// be somebody else's. All processes of a server have its data directory as working directory; that tells them apart for certain.
func evict(ctx context.Context, data string, log *zap.Logger) error {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	sent := syscall.Signal(0)
	impatient := time.NewTimer(patience)
	defer impatient.Stop()
	send := syscall.SIGINT
	for {
		running, err := processesIn(data)
		if err != nil {
			return err
		}
		if len(running) == 0 {
			break
		}
		if main := mainProcess(data); send != sent && slices.Contains(running, main) {
			log.Warn("stopping a PostgreSQL server that lost its owner", zap.Int("pid", main), zap.String("data", data), zap.Stringer("signal", send))
			if err := syscall.Kill(main, send); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("stop the server that lost its owner, process %d: %w", main, err)
			}
			sent = send
		}
		select {
		case <-ticker.C:
		case <-impatient.C:
			send = syscall.SIGQUIT
		case <-ctx.Done():
			return fmt.Errorf("an earlier server still uses %s (processes %v): %w", data, running, context.Cause(ctx))
		}
	}
	if err := os.Remove(filepath.Join(data, "postmaster.pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove what an earlier server left: %w", err)
	}
	return nil
}

// mainProcess returns the process number in postmaster.pid, or 0.
func mainProcess(data string) int {
	content, err := os.ReadFile(filepath.Join(data, "postmaster.pid")) //nolint:gosec // our own name in the caller's directory
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 0 {
		return 0
	}
	return pid
}

// processesIn returns the processes of which dir is the working directory. Those of other users are invisible to an ordinary user,
// and need not be seen: the data directory is open to one user alone.
func processesIn(dir string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if cwd, err := os.Readlink(filepath.Join("/proc", entry.Name(), "cwd")); err == nil && cwd == dir {
			found = append(found, pid)
		}
	}
	return found, nil
}
