package orchestrator

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"provingground/internal/clock"
	"provingground/orchestrator/evidence"
	"provingground/orchestrator/itn"
	"provingground/uptime"
)

// World is everything outside the program that a run touches. A rehearsal hands over another one than a run on a real network.
type World struct {
	// Clock tells network time.
	Clock *clock.Clock
	// Dial returns the client of the node at an address HOST:PORT. It is called once for each address, and sends nothing.
	Dial func(address string) *itn.Client
	// NewHandle chooses the handle of new load, a UUID. Nil draws one.
	NewHandle func() string
	// Online lists the nodes that reported lately.
	Online Online
	// Files holds key files.
	Files Files
	// Programs are the executables that a run starts.
	Programs Programs
	// SnarkPool returns the agent of a pool of SNARK workers at a socket, or with "" the one that the configuration names, and its address, with
	// which it can be asked for again, from any directory. It sends nothing.
	SnarkPool func(socket string) (agent SnarkPool, address string, err error)
	// Getenv looks up a variable of the environment.
	Getenv func(name string) (string, bool)
	// Evidence is what the nodes' own logs say; nil: nobody knows.
	Evidence evidence.Source
	// Log gets what an operator would miss.
	Log *zap.Logger
	// Shown logs what Console got as well.
	Shown *zap.Logger
	// Console gets the script's comments and what programs print, each on a line.
	Console io.Writer
	// Hide registers a secret (a password) that must not be printed anywhere.
	Hide func(secret string)
	// Mask hides secrets in a text that others wrote, before it is recorded.
	Mask func(text string) string
}

// Online lists the nodes that reported to the uptime service lately.
type Online interface {
	List(ctx context.Context) ([]uptime.Node, error)
}

// Files is where key files are read and written.
type Files interface {
	ReadFile(path string) ([]byte, error)
	// ReadDir returns the names of a directory's plain files, in the order of their names.
	ReadDir(path string) ([]string, error)
	// Exists reports whether there is anything at the path.
	Exists(path string) (bool, error)
	// Create writes a new file that only its owner can read, and the directories it lies in. A file that exists is an error.
	Create(path string, content []byte) error
}

// Disk is the Files of the machine's file system.
type Disk struct{}

// ReadFile returns the content of a file of at most 1 MiB.
func (Disk) ReadFile(path string) ([]byte, error) {
	text, _, err := readBounded(path)
	return text, err
}

// ReadDir returns the names of the plain files in a directory, links to such files and to nothing included, in the order of their names.
func (Disk) ReadDir(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err //nolint:wrapcheck // names operation and path
	}
	var names []string
	for _, e := range entries {
		kind := e.Type()
		if target, err := os.Stat(filepath.Join(path, e.Name())); kind&fs.ModeSymlink != 0 && err == nil {
			kind = target.Mode().Type()
		}
		if kind&^fs.ModeSymlink == 0 {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Exists reports whether there is anything at the path. An error other than that there is nothing is returned, not guessed about.
func (Disk) Exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err //nolint:wrapcheck // names operation and path
}

// Create writes a new file with mode 0600 and its directories with mode 0700, which is what Mina demands of key files.
func (Disk) Create(path string, content []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err //nolint:wrapcheck // names operation and path
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the script says where keys go
	if err != nil {
		return err //nolint:wrapcheck // names operation and path
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Close())
}
