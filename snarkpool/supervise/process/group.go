//go:build linux

package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Group is a worker's process together with its descendants.
type Group struct {
	// Leader is the process. It leads a session and a process group of its own.
	Leader *Handle
	// Cgroup is the directory of its own cgroup of version 2, empty where there is none.
	Cgroup string
}

// How says by what means the group is held together, for people.
func (g Group) How() string {
	if g.Cgroup != "" {
		return "cgroup v2"
	}
	return "process group"
}

// Terminate asks the leader to end. The rest of the group is the leader's business, until the group is killed.
func (g Group) Terminate() error { return g.Leader.Signal(unix.SIGTERM) }

// Kill ends the whole group at once.
func (g Group) Kill() error {
	if g.Cgroup != "" {
		return write(g.Cgroup, "cgroup.kill", "1")
	}
	return g.Leader.signalGroup(unix.SIGKILL)
}

// Freeze stops the whole group: it keeps its memory and gets no CPU.
func (g Group) Freeze() error {
	if g.Cgroup != "" {
		return write(g.Cgroup, "cgroup.freeze", "1")
	}
	return g.Leader.signalGroup(unix.SIGSTOP)
}

// Thaw lets a frozen group go on.
func (g Group) Thaw() error {
	if g.Cgroup != "" {
		return write(g.Cgroup, "cgroup.freeze", "0")
	}
	return g.Leader.signalGroup(unix.SIGCONT)
}

// Sweep kills what is left of the group of a leader that is dead and waited for, and says whether nothing was left. Without a cgroup
// that is who stayed in the leader's process group, which was killed before the leader was waited for; thorough looks through all of /proc for
// those in its session that carry the mark. What left the session is found by [Marked].
func (g Group) Sweep(mark string, thorough bool) (empty bool, err error) {
	if g.Cgroup != "" {
		left, err := os.ReadFile(filepath.Join(g.Cgroup, "cgroup.procs"))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return true, nil
		case err != nil:
			return false, fmt.Errorf("look who is left in the cgroup: %w", err)
		case len(left) > 0:
			return false, g.Kill()
		}
		// A cgroup that was killed is not used again: at least Linux 6.18 kills at birth whoever is cloned into it later.
		switch err := unix.Rmdir(g.Cgroup); {
		case err == nil || errors.Is(err, unix.ENOENT):
			return true, nil
		case errors.Is(err, unix.EBUSY):
			return false, nil // Somebody is dying still.
		default:
			return false, fmt.Errorf("remove the cgroup %s: %w", g.Cgroup, err)
		}
	}
	if err := unix.Kill(-g.Leader.id.PID, 0); errors.Is(err, unix.ESRCH) {
		return true, nil
	}
	if !thorough {
		return false, nil
	}
	found, err := Marked(mark, true)
	if err != nil {
		return false, err
	}
	empty = true
	for _, p := range found {
		if p.Session == g.Leader.id.PID {
			empty = false
			err = errors.Join(err, p.Handle.Signal(unix.SIGKILL))
		}
		err = errors.Join(err, p.Handle.Close())
	}
	if errors.Is(err, ErrGone) {
		err = nil
	}
	return empty, err
}

// Usage returns the CPU time and the resident memory of the group: of everybody in the cgroup, or of the leader alone without one.
func (g Group) Usage() (cpu time.Duration, resident uint64, err error) {
	stat, err := ReadStat(g.Leader.id.PID)
	if err != nil {
		return 0, 0, err
	}
	if stat.StartTicks != g.Leader.id.StartTicks {
		return 0, 0, ErrGone
	}
	cpu, resident = stat.CPU, stat.ResidentBytes
	if g.Cgroup == "" {
		return cpu, resident, nil
	}
	var buffer [4096]byte
	n, err := readInto(filepath.Join(g.Cgroup, "cgroup.procs"), buffer[:])
	if err != nil {
		return 0, 0, err
	}
	for line := range bytes.Lines(buffer[:n]) {
		pid, err := strconv.Atoi(string(bytes.TrimSpace(line)))
		if err != nil || pid == g.Leader.id.PID {
			continue
		}
		if stat, err := ReadStat(pid); err == nil { // It may be gone by now.
			cpu += stat.CPU
			resident += stat.ResidentBytes
		}
	}
	return cpu, resident, nil
}

func write(directory, file, value string) error {
	if err := os.WriteFile(filepath.Join(directory, file), []byte(value), 0o600); err != nil {
		return fmt.Errorf("write to the cgroup: %w", err)
	}
	return nil
}

// MarkVariable is the environment variable that marks every process of a worker and its descendants.
const MarkVariable = "SNARKPOOL_WORKER"

// Found is a process that carries a mark.
type Found struct {
	// Handle is verified to be of the process that carries the mark. The caller closes it.
	Handle *Handle
	// Mark is the value of its mark, and Session the ID of its session.
	Mark    string
	Session int
}

// Marked returns the living processes whose mark is the given one, or begins with it where exact is false. It reads all of /proc.
// Processes whose environment may not be read are passed over.
func Marked(mark string, exact bool) ([]Found, error) {
	boot, err := BootID()
	if err != nil {
		return nil, err
	}
	directory, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for marked processes: %w", err)
	}
	names, err := directory.Readdirnames(-1)
	if err := errors.Join(err, directory.Close()); err != nil {
		return nil, fmt.Errorf("look for marked processes: %w", err)
	}
	var found []Found
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() {
			continue
		}
		if carried := markOf(pid); !matches(carried, mark, exact) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // Gone, or a thread.
		}
		// With the pidfd open, what /proc says belongs to whom the pidfd is of, if that one is alive afterwards.
		h := &Handle{id: Identity{PID: pid, BootID: boot}, fd: fd}
		carried := markOf(pid)
		stat, err := ReadStat(pid)
		h.id.StartTicks = stat.StartTicks
		if err != nil || !matches(carried, mark, exact) || stat.State == 'Z' || h.Dead() {
			err := h.Close()
			if err != nil {
				return nil, err
			}
			continue
		}
		found = append(found, Found{Handle: h, Mark: carried, Session: stat.Session})
	}
	return found, nil
}

func matches(carried, mark string, exact bool) bool {
	if exact {
		return carried == mark
	}
	return strings.HasPrefix(carried, mark)
}

// markOf returns the mark in the environment with which a process was started, or nothing.
func markOf(pid int) string {
	environment, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return ""
	}
	for variable := range bytes.SplitSeq(environment, []byte{0}) {
		if value, ok := bytes.CutPrefix(variable, []byte(MarkVariable+"=")); ok {
			return string(value)
		}
	}
	return ""
}
