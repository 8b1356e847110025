package privatepg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// oldest is the oldest major version of PostgreSQL that the schema is tested with.
const oldest = 15

// ErrNotInstalled says that no PostgreSQL server of version 15 or newer was found; the error around it says where it was looked for.
var ErrNotInstalled = errors.New("no PostgreSQL server of version 15 or newer is installed: " +
	"install it (Debian: apt-get install postgresql-15), or name a running one with --db-uri")

// VersionError says that the data directory was made by a major version that is not installed.
type VersionError struct {
	// Data is the data directory.
	Data string
	// Made is the major version that made it, by its file PG_VERSION.
	Made string
	// Installed are the versions found.
	Installed []string
}

// Error says what to install.
func (e *VersionError) Error() string {
	return fmt.Sprintf("the data in %s was made by PostgreSQL %s, but installed is %s: install the server of version %s, "+
		"or choose another directory", e.Data, e.Made, strings.Join(e.Installed, ", "), e.Made)
}

// binaries is one installed server.
type binaries struct {
	dir     string
	version string // as the server says it, such as 15.18
	major   int
}

// searchDirs returns where servers may lie: the PATH, and where Debian and its relatives install them.
func searchDirs() []string {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	debian, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil { // only for a bad pattern
		return dirs
	}
	return append(dirs, debian...)
}

// chooseBinaries returns the newest installed server, or the newest that fits an existing data directory.
func chooseBinaries(ctx context.Context, data string, dirs []string) (binaries, error) {
	found, broken := installed(ctx, dirs)
	made, err := os.ReadFile(filepath.Join(data, "PG_VERSION")) //nolint:gosec // our own name in the caller's directory
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return binaries{}, fmt.Errorf("read the version of the data directory: %w", err)
	}
	want := strings.TrimSpace(string(made))
	var versions []string
	for _, b := range found {
		if want == strconv.Itoa(b.major) || want == "" && b.major >= oldest {
			return b, nil
		}
		versions = append(versions, b.version)
	}
	if want != "" && len(found) > 0 {
		return binaries{}, &VersionError{Data: data, Made: want, Installed: versions}
	}
	seen := "looked in " + strings.Join(dirs, ", ")
	if len(versions) > 0 {
		seen += "; found " + strings.Join(versions, ", ")
	}
	return binaries{}, errors.Join(fmt.Errorf("%w (%s)", ErrNotInstalled, seen), broken)
}

// installed returns the servers in these directories, newest first, and why others could not be asked for their version.
func installed(ctx context.Context, dirs []string) ([]binaries, error) {
	// "postgres (PostgreSQL) 15.18 (Debian …)", and "17beta1" before a release.
	pattern := regexp.MustCompile(`\(PostgreSQL\) ((\d+)[^\s]*)`)
	var found []binaries
	var broken error
	for _, dir := range dirs {
		server := filepath.Join(dir, "postgres")
		if !executable(server) || !executable(filepath.Join(dir, "initdb")) {
			continue
		}
		output, err := exec.CommandContext(ctx, server, "--version").Output() //nolint:gosec // a server that the machine's owner installed
		if err != nil {
			broken = errors.Join(broken, fmt.Errorf("ask %s for its version: %w", server, err))
			continue
		}
		match := pattern.FindStringSubmatch(string(output))
		if match == nil {
			broken = errors.Join(broken, fmt.Errorf("%s does not tell its version: %q", server, output))
			continue
		}
		major, err := strconv.Atoi(match[2])
		if err != nil {
			broken = errors.Join(broken, fmt.Errorf("version of %s: %w", server, err))
			continue
		}
		found = append(found, binaries{dir: dir, version: match[1], major: major})
	}
	sort.SliceStable(found, func(i, j int) bool { return found[i].major > found[j].major })
	return found, broken
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
