// Package runlock keeps two runs from driving the same network at the same time from one machine, typically an admin box that
// several people share.
//
// A run holds an advisory lock, flock(2), on a file whose name comes from the network's online URL. The kernel gives the lock back
// when the process ends, however it ends; the file stays, and nothing is to be cleaned up after a crash. While the lock is held the
// file says by whom, so that the next one is told whom to talk to ([HeldError]). The lock does not reach other machines, and does
// not stop anybody who ignores it.
//
// The directory is usually world-writable with the sticky bit, so the file is treated as something that anybody may have put there:
// symbolic links are not followed, only a regular file with one name is written to, and its content is bounded and cleaned before it
// is shown. With the Linux setting fs.protected_regular, opening another user's file there with O_CREAT is refused; therefore the
// file is first opened as it is, and created, writable by everybody, only where there is none.
package runlock

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// Holder says who holds a lock, and is the JSON content of the lock file.
type Holder struct {
	// PID is the holder's process ID on its machine.
	PID int `json:"pid"`
	// User is the login name of the user who runs it, or the numeric user ID when it has no name.
	User string `json:"user"`
	// Host is the name of the machine.
	Host string `json:"host"`
	// Since is the wall time at which the lock was taken, in UTC.
	Since time.Time `json:"since"`
	// Command is what the holder runs, for people. It is in a file that everybody can read: no secrets.
	Command string `json:"command"`
}

// HeldError says that another run on the same network holds the lock.
type HeldError struct {
	// Path is the lock file.
	Path string
	// Holder is who holds the lock by the file's own word. It is the zero Holder when the file does not say: it cannot be read, was
	// damaged, or was locked just now.
	Holder Holder
}

// Error tells whom to talk to and what can be done.
func (e *HeldError) Error() string {
	const advice = "wait for it, interrupt it, or pass -concurrent"
	if e.Holder == (Holder{}) {
		return fmt.Sprintf("another run on this network holds the lock %s, which does not say whose it is: %s", e.Path, advice)
	}
	return fmt.Sprintf("another run on this network is under way: held by %s, process %d, since %s, running %s: %s",
		e.Holder.User, e.Holder.PID, e.Holder.Since.UTC().Format(time.RFC3339), e.Holder.Command, advice)
}

// Lock is a held lock. Safe for concurrent use.
type Lock struct {
	release func() error
}

// Release gives the lock back. The file stays, empty. Only the first call does something; all return its error.
func (l *Lock) Release() error { return l.release() }

// Acquire takes the lock of a network for this process, or fails at once: with a [*HeldError] when a run holds it, in this process
// or another. The network is named by its online URL or by any other text that everybody writes alike; user information, fragment
// and the case of the host make no difference. An empty dir is [os.TempDir]. The command and the time are what others are told about
// this run. The caller keeps the Lock and releases it.
func Acquire(dir, network, command string, since time.Time) (*Lock, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	path := filepath.Join(dir, fileName(network))
	file, err := openLocked(path)
	if err != nil {
		return nil, err
	}
	release := sync.OnceValue(func() error {
		// Closing is what gives the lock back; before it, so as not to blame a run that is over.
		err := errors.Join(file.Truncate(0), file.Close())
		if err != nil {
			return fmt.Errorf("release run lock: %w", err)
		}
		return nil
	})
	if err := write(file, self(command, since)); err != nil {
		return nil, errors.Join(fmt.Errorf("write run lock %s: %w", path, err), release())
	}
	return &Lock{release: release}, nil
}

// fileName returns the name of the lock file of a network.
func fileName(network string) string {
	network = strings.TrimSpace(network)
	if u, err := url.Parse(network); err == nil && u.Host != "" {
		u.User, u.Fragment, u.RawFragment = nil, "", ""
		u.Host = strings.ToLower(u.Host)
		network = u.String()
	}
	return fmt.Sprintf("provingground-%.8x.lock", sha256.Sum256([]byte(network)))
}

// openLocked opens the file, creates it if need be, and locks it.
func openLocked(path string) (*os.File, error) {
	// Each turn after the first follows a change under our hands: somebody created or removed the file between two calls.
	const turns = 10
	for range turns {
		file, err := open(path)
		if errors.Is(err, fs.ErrNotExist) {
			file, err = create(path)
			if errors.Is(err, fs.ErrExist) {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		locked, err := lock(file, path)
		if err != nil {
			return nil, errors.Join(err, file.Close())
		}
		if locked {
			return file, nil
		}
		if err := file.Close(); err != nil {
			return nil, fmt.Errorf("close run lock: %w", err)
		}
	}
	return nil, fmt.Errorf("run lock %s: it is being removed over and over: find out by whom, or pass -concurrent", path)
}

// openFlags never follow a symbolic link, and wait for nobody should the file be a pipe or a device.
const openFlags = os.O_RDWR | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY

// open opens an existing lock file.
func open(path string) (*os.File, error) {
	file, err := os.OpenFile(path, openFlags, 0) //nolint:gosec // our own name in a directory that the caller chose
	switch {
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("run lock %s is a symbolic link, which is not followed: remove it: %w", path, err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("open run lock%s: it was left closed to others: ask the owner to remove it, or pass -concurrent: %w",
			ownedBy(path), err)
	case errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("open run lock: %w", err)
	}
	return file, nil
}

// create makes a new lock file that those can open who can make files beside it: every user in the system's directory for temporary
// files, its owner alone in a directory that only he can write to. Whoever can open it can hold the lock.
func create(path string) (*os.File, error) {
	dir, err := os.Stat(filepath.Dir(path)) //nolint:gosec // the directory that the caller names
	if err != nil {
		return nil, fmt.Errorf("create run lock: %w", err)
	}
	writers := dir.Mode().Perm() & 0o222
	file, err := os.OpenFile(path, openFlags|os.O_CREATE|os.O_EXCL, 0o666) //nolint:gosec // shared by the users of one machine
	if err != nil {
		return nil, fmt.Errorf("create run lock: %w", err)
	}
	if err := file.Chmod(0o600 | writers | writers<<1); err != nil { // the umask took part in the mode above
		return nil, errors.Join(fmt.Errorf("open run lock to others: %w", err), file.Close())
	}
	return file, nil
}

// lock takes the lock of an open file. It returns false when the file is no longer the one that others find at path: such a lock
// excludes nobody.
func lock(file *os.File, path string) (bool, error) {
	fd := int(file.Fd())
	var opened, current unix.Stat_t
	if err := unix.Fstat(fd, &opened); err != nil {
		return false, fmt.Errorf("examine run lock %s: %w", path, err)
	}
	// A second name may be that of a file which is not ours to write to.
	if opened.Mode&unix.S_IFMT != unix.S_IFREG || opened.Nlink > 1 {
		return false, fmt.Errorf("run lock %s is not a regular file with one name: remove it, or pass -concurrent", path)
	}
	err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, &HeldError{Path: path, Holder: read(file)}
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", path, err)
	}
	err = unix.Lstat(path, &current)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("examine run lock %s: %w", path, err)
	}
	return err == nil && opened.Dev == current.Dev && opened.Ino == current.Ino, nil
}

// ownedBy returns " of NAME" for the owner of a file, or nothing when it cannot be known.
func ownedBy(path string) string {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return ""
	}
	return " of " + userName(int(stat.Uid))
}

// self describes this process.
func self(command string, since time.Time) Holder {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return Holder{
		PID: os.Getpid(), User: userName(os.Getuid()), Host: host, Since: since.UTC().Truncate(time.Second),
		Command: printable(command),
	}
}

// userName returns the login name of a user, or the number when it has none.
func userName(uid int) string {
	id := strconv.Itoa(uid)
	if known, err := user.LookupId(id); err == nil {
		return known.Username
	}
	return id
}

// write replaces the content of the file. A reader in between may see a mixture; read allows for it.
func write(file *os.File, holder Holder) error {
	content, err := json.Marshal(holder)
	if err != nil {
		return err
	}
	content = append(content, '\n')
	if _, err := file.WriteAt(content, 0); err != nil {
		return err
	}
	return file.Truncate(int64(len(content)))
}

// read returns what the file says about its holder, or the zero Holder when it says nothing that makes sense. Anybody may have
// written it, and it goes to a terminal.
func read(file *os.File) Holder {
	const maxContent = 64 << 10
	content, err := io.ReadAll(io.NewSectionReader(file, 0, maxContent))
	if err != nil {
		return Holder{}
	}
	var holder Holder
	if err := json.Unmarshal(content, &holder); err != nil || holder.PID <= 0 || holder.User == "" || holder.Since.IsZero() {
		return Holder{}
	}
	for _, text := range []*string{&holder.User, &holder.Host, &holder.Command} {
		*text = printable(*text)
	}
	return holder
}

// printable replaces what could steer a terminal, and cuts off what is longer than a line or two.
func printable(text string) string {
	const maxRunes = 500
	var clean strings.Builder
	runes := 0
	for _, r := range text {
		if runes++; runes > maxRunes {
			clean.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		clean.WriteRune(r)
	}
	return clean.String()
}
