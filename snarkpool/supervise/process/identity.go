//go:build linux

// Package process names, watches, signals and ends processes of Linux without ever touching one by mistake.
//
// A process ID alone is no name: the kernel gives it to somebody else later. An [Identity] is the process ID, the time at which that
// process started, and the boot that it belongs to. A [Handle] holds a pidfd, which stays with one process whatever happens to the
// number, and can only be made from an identity that was verified with the pidfd open ([Open]) or by the parent of the process
// ([Child]). Every signal goes through a Handle.
//
// A [Group] is a process with all its descendants: a cgroup of version 2 where the kernel lets us have one, which nothing can leave;
// otherwise the session that the process leads and, for those that leave it, a mark in their environment ([Marked]).
package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Identity names one process for ever.
type Identity struct {
	// PID is the process ID, and StartTicks when the process started, in clock ticks since boot (field 22 of /proc/PID/stat).
	PID        int    `json:"pid"`
	StartTicks uint64 `json:"start_ticks"`
	// BootID is /proc/sys/kernel/random/boot_id of the boot in which it started.
	BootID string `json:"boot_id"`
}

// Errors that callers may test.
var (
	// ErrGone says that the process does not exist any more.
	ErrGone = errors.New("process is gone")
	// ErrReused says that its process ID belongs to another process by now.
	ErrReused = errors.New("process ID belongs to another process by now")
)

// BootID returns the identity of the running kernel's boot.
func BootID() (string, error) {
	content, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(content)), nil
}

// Stat is what /proc/PID/stat says of a process.
type Stat struct {
	// State is the kernel's letter: R, S, D, T (stopped), Z (dead, not waited for), X.
	State byte
	// Session is the ID of its session.
	Session int
	// StartTicks is when it started, in clock ticks since boot.
	StartTicks uint64
	// CPU is the user and system time of all its threads, to 10 ms.
	CPU time.Duration
	// ResidentBytes is its resident memory.
	ResidentBytes uint64
}

// userHz is the unit of times in /proc, 100 on every architecture that Go supports.
const userHz = 100

// ReadStat reads /proc/PID/stat; the error is ErrGone when there is no such process.
func ReadStat(pid int) (Stat, error) {
	// Reading by hand: this runs for each of thousands of workers at each sample, and os.ReadFile costs three times as much.
	var buffer [1024]byte
	n, err := readInto("/proc/"+strconv.Itoa(pid)+"/stat", buffer[:])
	if err != nil {
		return Stat{}, err
	}
	return parseStat(buffer[:n])
}

func readInto(path string, buffer []byte) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, gone(path, err)
	}
	n, err := unix.Read(fd, buffer)
	if closed := unix.Close(fd); err == nil {
		err = closed
	}
	if err != nil {
		return 0, gone(path, err)
	}
	return n, nil
}

func gone(what string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return ErrGone
	}
	return fmt.Errorf("read %s: %w", what, err)
}

func parseStat(content []byte) (Stat, error) {
	// The name, in parentheses, may hold anything, parentheses and spaces included: the last one ends it.
	end := bytes.LastIndexByte(content, ')')
	if end < 0 {
		return Stat{}, fmt.Errorf("read stat of a process: no name in %q", content)
	}
	fields := bytes.Fields(content[end+1:])
	const first = 3 // The number of fields[0], as proc(5) counts.
	if len(fields) <= 24-first {
		return Stat{}, fmt.Errorf("read stat of a process: only %d fields", len(fields)+first-1)
	}
	number := func(field int) (n uint64) {
		for _, c := range fields[field-first] {
			if c < '0' || c > '9' {
				return 0
			}
			n = n*10 + uint64(c-'0')
		}
		return n
	}
	return Stat{
		State:         fields[0][0],
		Session:       int(number(6)),
		StartTicks:    number(22),
		CPU:           time.Duration(number(14)+number(15)) * time.Second / userHz,
		ResidentBytes: number(24) * uint64(os.Getpagesize()),
	}, nil
}

// Handle is a verified process. Close it after use. Not safe for concurrent use with Close.
type Handle struct {
	id    Identity
	fd    int
	child bool
}

// Child returns the handle of a process that the caller has just spawned, with its pidfd, and has not waited for: until then its
// process ID cannot be given away, so that what /proc says is about it. The handle owns the pidfd.
func Child(pid, pidfd int, bootID string) (*Handle, error) {
	stat, err := ReadStat(pid)
	if err != nil {
		return nil, fmt.Errorf("identify the spawned process %d: %w", pid, err)
	}
	return &Handle{id: Identity{PID: pid, StartTicks: stat.StartTicks, BootID: bootID}, fd: pidfd, child: true}, nil
}

// Open returns the handle of a process that was recorded earlier, or ErrGone or ErrReused. The process is not a child of the caller.
func Open(id Identity) (*Handle, error) {
	boot, err := BootID()
	if err != nil {
		return nil, err
	}
	if boot != id.BootID {
		return nil, fmt.Errorf("process %d of an earlier boot: %w", id.PID, ErrGone)
	}
	fd, err := unix.PidfdOpen(id.PID, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", id.PID, gone("pidfd", err))
	}
	h := &Handle{id: id, fd: fd}
	// The pidfd came first: if what /proc says now is right, the pidfd belongs to that process, and keeps belonging to it.
	if err := h.Verify(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// Inherited returns the handle of a child whose pidfd came through an exec of this program, verified like Open's.
func Inherited(id Identity, pidfd int, child bool) (*Handle, error) {
	h := &Handle{id: id, fd: pidfd, child: child}
	pid, err := pidOf(pidfd)
	if err != nil {
		return nil, err
	}
	if pid != id.PID && pid != -1 { // -1: gone and waited for.
		return nil, fmt.Errorf("descriptor %d belongs to process %d, not %d: %w", pidfd, pid, id.PID, ErrReused)
	}
	return h, nil
}

// pidOf asks the kernel to whom a pidfd belongs.
func pidOf(pidfd int) (int, error) {
	path := "/proc/self/fdinfo/" + strconv.Itoa(pidfd)
	content, err := os.ReadFile(path) //nolint:gosec // The name is a number.
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	for line := range strings.Lines(string(content)) {
		if text, ok := strings.CutPrefix(line, "Pid:"); ok {
			return strconv.Atoi(strings.TrimSpace(text))
		}
	}
	return 0, fmt.Errorf("read %s: not a descriptor of a process", path)
}

// Identity returns whom the handle is for.
func (h *Handle) Identity() Identity { return h.id }

// FD returns the pidfd, readable in the sense of poll(2) once the process is dead. The handle keeps owning it.
func (h *Handle) FD() int { return h.fd }

// IsChild says whether the process is a child of this one, which alone can learn how it ended and must wait for it.
func (h *Handle) IsChild() bool { return h.child }

// Close gives the pidfd back. The process is left as it is.
func (h *Handle) Close() error { return unix.Close(h.fd) }

// Verify looks whether the process ID still is that process. It is nil, ErrGone or ErrReused, or why that cannot be known.
func (h *Handle) Verify() error {
	stat, err := ReadStat(h.id.PID)
	if err != nil {
		return fmt.Errorf("verify process %d: %w", h.id.PID, err)
	}
	if stat.StartTicks != h.id.StartTicks {
		return fmt.Errorf("verify process %d: it started at tick %d, not %d: %w", h.id.PID, stat.StartTicks, h.id.StartTicks, ErrReused)
	}
	return nil
}

// Signal verifies the process and signals it, through its pidfd. A process that is gone is ErrGone.
func (h *Handle) Signal(signal unix.Signal) error { return h.signal(signal, 0) }

func (h *Handle) signal(signal unix.Signal, flags int) error {
	if err := h.Verify(); err != nil {
		return err
	}
	if err := unix.PidfdSendSignal(h.fd, signal, nil, flags); err != nil {
		if errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("signal process %d: %w", h.id.PID, ErrGone)
		}
		return fmt.Errorf("signal process %d: %w", h.id.PID, err)
	}
	return nil
}

// signalGroup signals the process group that the process leads.
func (h *Handle) signalGroup(signal unix.Signal) error {
	err := h.signal(signal, unix.PIDFD_SIGNAL_PROCESS_GROUP)
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	// Kernels before 6.9 have no such flag. The leader was verified, and leads the group of its number.
	if err := unix.Kill(-h.id.PID, signal); err != nil {
		return fmt.Errorf("signal process group %d: %w", h.id.PID, err)
	}
	return nil
}

// Exit is how a process ended.
type Exit struct {
	// Known is false for a process that was nobody's child here: how it ended went to somebody else.
	Known bool `json:"known"`
	// Code is the exit code, -1 when a signal ended it. Signal is that signal's name.
	Code   int    `json:"code"`
	Signal string `json:"signal,omitempty"`
	// Core says that it left a core file.
	Core bool `json:"core,omitempty"`
}

// String says it for people.
func (e Exit) String() string {
	switch {
	case !e.Known:
		return "ended, how is not known: it was started by an earlier agent"
	case e.Signal != "":
		return "killed by " + e.Signal
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// Wait takes the exit status of a dead process without blocking. Ended is false while the process lives. For a process that is no
// child, the kernel is asked (since Linux 6.15); where it does not say, the exit is not Known.
func (h *Handle) Wait() (exit Exit, ended bool, err error) {
	if !h.child {
		return h.ask(), h.Dead(), nil
	}
	var info unix.Siginfo
	for {
		err = unix.Waitid(unix.P_PIDFD, h.fd, &info, unix.WEXITED|unix.WNOHANG, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return Exit{}, false, fmt.Errorf("wait for process %d: %w", h.id.PID, err)
	}
	if info.Signo == 0 {
		return Exit{}, false, nil
	}
	// siginfo_t of SIGCHLD, after signo, errno, code and padding: pid, uid, status.
	status := *(*int32)(unsafe.Add(unsafe.Pointer(&info), 24)) //nolint:gosec // The layout of siginfo_t on 64-bit Linux; unix gives it no fields.
	const cldExited, cldDumped = 1, 3
	if info.Code == cldExited {
		return Exit{Known: true, Code: int(status)}, true, nil
	}
	return Exit{Known: true, Code: -1, Signal: unix.SignalName(unix.Signal(status)), Core: info.Code == cldDumped}, true, nil
}

// Dead says whether the process has ended, waited for or not.
func (h *Handle) Dead() bool {
	fds := []unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1
}

// pidfdInfo is struct pidfd_info of linux/pidfd.h, as far as its first published size.
type pidfdInfo struct {
	mask, cgroupID               uint64
	pid, tgid, ppid              uint32
	ruid, rgid, euid, egid       uint32
	suid, sgid, fsuid, fsgid     uint32
	exitCode                     int32
	coredumpMask, coredumpSignal uint32
	_, _, _                      uint64 // Room for what the kernel may add up to the size in PIDFD_GET_INFO.
}

func (h *Handle) ask() Exit {
	info := pidfdInfo{mask: unix.PIDFD_INFO_EXIT}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(h.fd), unix.PIDFD_GET_INFO, uintptr(unsafe.Pointer(&info))) //nolint:gosec // ioctl takes a pointer.
	if errno != 0 || info.mask&unix.PIDFD_INFO_EXIT == 0 {
		return Exit{}
	}
	status := syscall.WaitStatus(info.exitCode)
	if status.Exited() {
		return Exit{Known: true, Code: status.ExitStatus()}
	}
	return Exit{Known: true, Code: -1, Signal: unix.SignalName(status.Signal()), Core: status.CoreDump()}
}
