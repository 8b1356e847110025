//go:build linux

package supervise

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/supervise/process"
)

// stateVersion is the version of the state file's content.
const stateVersion = 1

// record is what the state file says of one worker.
type record struct {
	Name string `json:"name"`
	// Identity is of its process, nil without one, and Cgroup the directory of its cgroup, empty without one.
	Identity *process.Identity `json:"identity,omitempty"`
	Cgroup   string            `json:"cgroup,omitempty"`
	// Digest is of the specification that the process was started by.
	Digest string `json:"digest,omitempty"`
	Fed    bool   `json:"fed,omitempty"`
	// StopGrace is the specification's, for an agent that has to end the process before it is told a specification; 0 is the policy's.
	StopGrace time.Duration `json:"stop_grace,omitempty"`
	Held      bool          `json:"held,omitempty"`
	Life      life.Worker   `json:"life"`
}

// The state file is two lines: the sum of the second, and the records.
type stateHead struct {
	Version int    `json:"version"`
	SHA256  string `json:"sha256"`
}

// CorruptStateError says that the state file is there but is not what an agent wrote.
type CorruptStateError struct {
	// Path is the file.
	Path string
	err  error
}

// Error says what is wrong and the way out.
func (e *CorruptStateError) Error() string {
	return fmt.Sprintf("the state file %s is damaged (%v): move it away and start the agent again, which then finds the workers that still run by their marks and adopts them",
		e.Path, e.err)
}

// Unwrap returns what was wrong with it.
func (e *CorruptStateError) Unwrap() error { return e.err }

// stateFile is a file that always holds one whole state.
type stateFile struct{ path string }

// load returns the records; found is false where there is no file.
func (f stateFile) load() (records []record, found bool, err error) {
	content, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the state: %w", err)
	}
	corrupt := func(err error) ([]record, bool, error) { return nil, false, &CorruptStateError{Path: f.path, err: err} }
	first, body, _ := bytes.Cut(content, []byte{'\n'})
	var head stateHead
	if err := json.Unmarshal(first, &head); err != nil {
		return corrupt(fmt.Errorf("line 1: %w", err))
	}
	if head.Version != stateVersion {
		return nil, false, fmt.Errorf("the state file %s is of version %d, this agent knows version %d: run the agent that wrote it, stop its workers with it, and remove the file",
			f.path, head.Version, stateVersion)
	}
	sum := sha256.Sum256(body)
	if head.SHA256 != hex.EncodeToString(sum[:]) {
		return corrupt(errors.New("its content does not match its checksum"))
	}
	if err := json.Unmarshal(body, &records); err != nil {
		return corrupt(fmt.Errorf("line 2: %w", err))
	}
	return records, true, nil
}

// store puts the records, each encoded, in place of the file's content: wholly and durably, or not at all.
func (f stateFile) store(records []json.RawMessage) (err error) {
	size := 3
	for _, r := range records {
		size += len(r) + 1
	}
	var body bytes.Buffer
	body.Grow(size)
	body.WriteByte('[')
	for i, r := range records {
		if i > 0 {
			body.WriteByte(',')
		}
		body.Write(r)
	}
	body.WriteString("]\n")
	sum := sha256.Sum256(body.Bytes())
	head, err := json.Marshal(stateHead{Version: stateVersion, SHA256: hex.EncodeToString(sum[:])})
	if err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	next := f.path + ".new"
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // The state directory is the agent's own.
	if err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	_, err = file.Write(append(append(head, '\n'), body.Bytes()...))
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	if err := os.Rename(next, f.path); err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	directory, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	if err := errors.Join(directory.Sync(), directory.Close()); err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	return nil
}

// LockedError says that another agent owns the state directory.
type LockedError struct {
	// StateDir is the directory, and Holder what its lock file says of the agent.
	StateDir, Holder string
}

// Error says who owns it and what to do.
func (e *LockedError) Error() string {
	return fmt.Sprintf("another agent owns the state directory %s (%s): stop it, or give this one a directory of its own", e.StateDir, e.Holder)
}

// lock takes the state directory for this process and its successors by exec. The kernel gives it back when the last of them ends.
func lock(directory string) (fd int, err error) {
	path := filepath.Join(directory, "lock")
	fd, err = unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, fmt.Errorf("lock the state directory: open %s: %w", path, err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, readErr := os.ReadFile(path) //nolint:gosec // The state directory is the agent's own.
		if closeErr := unix.Close(fd); closeErr != nil || !errors.Is(err, unix.EWOULDBLOCK) {
			return -1, errors.Join(fmt.Errorf("lock the state directory %s: %w", directory, err), closeErr)
		}
		if readErr != nil || len(holder) == 0 {
			holder = []byte("it does not say which")
		}
		return -1, &LockedError{StateDir: directory, Holder: strings.TrimSpace(string(holder))}
	}
	err = unix.Ftruncate(fd, 0)
	if err == nil {
		_, err = unix.Pwrite(fd, fmt.Appendf(nil, "process %d\n", os.Getpid()), 0)
	}
	if err != nil && !errors.Is(err, unix.ENOSPC) { // Who holds it is a courtesy that a full disk may refuse.
		return -1, errors.Join(fmt.Errorf("lock the state directory %s: %w", directory, err), unix.Close(fd))
	}
	return fd, nil
}
