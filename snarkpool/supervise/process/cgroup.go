//go:build linux

package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Cgroups is the part of the cgroup tree of version 2 in which workers get cgroups of their own. The zero value has none.
type Cgroups struct {
	// Directory is where the workers' cgroups are made; empty where there are none, and Why says why.
	Directory string
	Why       string
	// Memory says that the kernel enforces memory limits there.
	Memory bool
}

// FindCgroups makes a cgroup of the given name below the one this process is in, and tries what workers need there: making cgroups,
// killing and freezing. Where the service manager put this process into a sub-group "agent" of a delegated cgroup, it is made beside
// that one, because a cgroup with limits for its children may not hold processes itself. It works on a hybrid machine too, where version 2 has no
// controllers.
func FindCgroups(name string) Cgroups {
	directory, err := cgroupDirectory()
	if err != nil {
		return Cgroups{Why: err.Error()}
	}
	if filepath.Base(directory) == "agent" {
		directory = filepath.Dir(directory)
	}
	directory = filepath.Join(directory, name)
	if err := os.Mkdir(directory, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // A cgroup is as open as its neighbours.
		return Cgroups{Why: fmt.Sprintf("no cgroup can be made: %v: have this service's cgroup delegated to it", err)}
	}
	for _, file := range []string{"cgroup.kill", "cgroup.freeze", "cgroup.procs"} {
		if err := unix.Access(filepath.Join(directory, file), unix.W_OK); err != nil {
			return Cgroups{Why: fmt.Sprintf("the kernel's cgroups have no %s that can be used: %v", file, err)}
		}
	}
	c := Cgroups{Directory: directory}
	if content, err := os.ReadFile(filepath.Join(directory, "cgroup.controllers")); err == nil && //nolint:gosec // In the kernel's own tree.
		slices.Contains(strings.Fields(string(content)), "memory") {
		c.Memory = write(directory, "cgroup.subtree_control", "+memory") == nil
	}
	return c
}

// cgroupDirectory returns the directory of the cgroup of version 2 of this process.
func cgroupDirectory() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("find the cgroups: %w", err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("find the cgroups: %w", err)
	}
	var path string
	for line := range strings.Lines(string(own)) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			path = text
		}
	}
	for line := range strings.Lines(string(mounts)) {
		before, after, ok := strings.Cut(line, " - ")
		if fields := strings.Fields(before); ok && strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 && path != "" {
			return filepath.Join(fields[4], path), nil
		}
	}
	return "", errors.New("no cgroup of version 2 is mounted")
}

// Make makes a worker's cgroup with its memory limits, in bytes, 0 for none, and opens its directory for [unix.CLONE_INTO_CGROUP].
// Limits need Memory. The caller closes the descriptor.
func (c Cgroups) Make(worker string, high, most uint64) (directory string, fd int, err error) {
	directory = c.Of(worker)
	c.Remove(directory)                                // One that was left behind may have been killed or frozen, see [Group.Sweep].
	if err := os.Mkdir(directory, 0o755); err != nil { //nolint:gosec // A cgroup is as open as its neighbours.
		return "", -1, fmt.Errorf("make a cgroup: %w", err)
	}
	if c.Memory {
		for file, bytes := range map[string]uint64{"memory.high": high, "memory.max": most} {
			value := "max"
			if bytes > 0 {
				value = strconv.FormatUint(bytes, 10)
			}
			if err := write(directory, file, value); err != nil {
				return "", -1, err
			}
		}
		if err := write(directory, "memory.oom.group", "1"); err != nil {
			return "", -1, err
		}
	}
	fd, err = unix.Open(directory, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", -1, fmt.Errorf("open the cgroup %s: %w", directory, err)
	}
	return directory, fd, nil
}

// Of returns the directory of a worker's cgroup.
func (c Cgroups) Of(worker string) string {
	return filepath.Join(c.Directory, strings.ReplaceAll(worker, "/", "~"))
}

// InCgroup says whether a process is in the cgroup of a directory.
func InCgroup(directory string, pid int) bool {
	content, err := os.ReadFile(filepath.Join(directory, "cgroup.procs")) //nolint:gosec // In the kernel's own tree.
	return err == nil && slices.Contains(strings.Fields(string(content)), strconv.Itoa(pid))
}

// KillOthers kills whoever is in a worker's cgroup of which known does not speak, and removes the empty ones.
func (c Cgroups) KillOthers(known func(directory string) bool) error {
	if c.Directory == "" {
		return nil
	}
	entries, err := os.ReadDir(c.Directory)
	if err != nil {
		return fmt.Errorf("look for cgroups that an earlier agent left: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		directory := filepath.Join(c.Directory, entry.Name())
		if !entry.IsDir() || known(directory) {
			continue
		}
		errs = append(errs, write(directory, "cgroup.kill", "1"))
		c.Remove(directory)
	}
	return errors.Join(errs...)
}

// Remove removes a worker's cgroup if nobody is in it. What stays is removed by a later agent.
func (c Cgroups) Remove(directory string) {
	_ = unix.Rmdir(directory) // Busy: somebody is still dying there, and the next start clears it away.
}

// Close removes the directory if it holds no worker.
func (c Cgroups) Close() {
	if c.Directory == "" {
		return
	}
	entries, err := os.ReadDir(c.Directory)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if entry.IsDir() {
			c.Remove(filepath.Join(c.Directory, entry.Name()))
		}
	}
	c.Remove(c.Directory)
}
