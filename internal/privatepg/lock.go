package privatepg

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Holder says who owns a directory; it is the JSON content of the file lock.
type Holder struct {
	// PID is the process ID of the owner.
	PID int `json:"pid"`
	// Program is the owner's executable.
	Program string `json:"program"`
	// Since is the wall time at which it took the directory, in UTC.
	Since time.Time `json:"since"`
}

// HeldError says that another server, of this process or another, runs on the directory.
type HeldError struct {
	// Dir is the directory.
	Dir string
	// Holder is who has it, by the lock file's own word; zero when the file does not say.
	Holder Holder
}

// Error tells who holds the directory and what can be done.
func (e *HeldError) Error() string {
	who := "a process that did not leave its name"
	if e.Holder.PID != 0 {
		who = fmt.Sprintf("process %d (%q) since %s", e.Holder.PID, e.Holder.Program, e.Holder.Since.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("%s is in use by %s: stop it, or choose another directory", e.Dir, who)
}

// takeLock takes the directory for this process, or returns a [*HeldError]. Closing the file gives it back, and so does the kernel
// when the process ends, however it ends.
func takeLock(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644) //nolint:gosec // readable, so that others learn who
	if err != nil {
		return nil, fmt.Errorf("open its lock file: %w: make the directory writable, or choose another one", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = &HeldError{Dir: dir, Holder: readHolder(file)}
		} else {
			err = fmt.Errorf("lock %s: %w", path, err)
		}
		return nil, errors.Join(err, file.Close())
	}
	if err := writeHolder(file); err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w%s", path, err, diskHint(dir)), file.Close())
	}
	return file, nil
}

func writeHolder(file *os.File) error {
	program, err := os.Executable()
	if err != nil {
		program = "unknown"
	}
	content, err := json.Marshal(Holder{PID: os.Getpid(), Program: program, Since: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err = file.WriteAt(append(content, '\n'), 0)
	return err
}

// readHolder returns the zero Holder when the file says nothing that makes sense: it may be between two states.
func readHolder(file *os.File) Holder {
	const most = 8 << 10
	var holder Holder
	content, err := io.ReadAll(io.NewSectionReader(file, 0, most))
	if err != nil || json.Unmarshal(content, &holder) != nil {
		return Holder{}
	}
	return holder
}
