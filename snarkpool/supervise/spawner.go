//go:build linux

package supervise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"provingground/snarkpool/supervise/launch"
	"provingground/snarkpool/supervise/logs"
	"provingground/snarkpool/supervise/process"
)

// spawner makes processes, one after the other, on one thread.
type spawner struct {
	stateDir string
	launcher []string
	bootID   string
	cgroups  process.Cgroups
	requests chan spawnRequest
	results  chan spawned
}

type spawnRequest struct {
	spec Spec
	mark string
}

// spawned is a launcher that waits for its request, or why there is none.
type spawned struct {
	name    string
	group   *process.Group
	control int // The line to the launcher.
	jobs    int // The writing end of a fed worker's jobs, -1 otherwise.
	pipes   []logs.Pipe
	err     error
}

// spawnQueue bounds how many processes are ordered at a time.
const spawnQueue = 64

// spareDescriptors are left for the rest of the agent: a machine full of workers must still take commands and write its state.
const spareDescriptors = 32

// pipeBytes is how much a worker can print while nobody reads.
const pipeBytes = 256 << 10

func (s *spawner) run(ctx context.Context) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		select {
		case r := <-s.requests:
			result := s.spawn(r)
			select {
			case s.results <- result:
			case <-ctx.Done():
				result.discard()
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// discard ends a launcher that nobody will ask: without its line to the agent it ends by itself.
func (r spawned) discard() {
	if r.err != nil {
		return
	}
	for _, fd := range []int{r.control, r.jobs} {
		if fd >= 0 {
			_ = unix.Close(fd) // Nothing is buffered, and nothing can be done about it.
		}
	}
	for _, p := range r.pipes {
		_ = unix.Close(p.FD)
	}
	_ = r.group.Leader.Close()
}

// descriptors collects what was opened, so that it can be closed together.
type descriptors []int

func (d *descriptors) add(fd int) int {
	*d = append(*d, fd)
	return fd
}

func (d *descriptors) close() {
	for _, fd := range *d {
		_ = unix.Close(fd) // Nothing is buffered in any of them.
	}
}

// workerDirectory is where the pipes of a worker are, and its own working directory.
func workerDirectory(stateDir, name string) string { return filepath.Join(stateDir, "workers", name) }

func (s *spawner) spawn(r spawnRequest) (result spawned) {
	result = spawned{name: r.spec.Name, control: -1, jobs: -1}
	var theirs, ours descriptors
	defer theirs.close()
	fail := func(err error) spawned {
		ours.close()
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
			err = fmt.Errorf("%w: raise the agent's limit of open files, or plan fewer workers", err)
		}
		return spawned{name: r.spec.Name, err: fmt.Errorf("start %s: %w", r.spec.Name, err)}
	}
	directory := workerDirectory(s.stateDir, r.spec.Name)
	if err := os.MkdirAll(directory, 0o711); err != nil { //nolint:gosec // The worker's user passes through to its working directory.
		return fail(err)
	}
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	files := []uintptr{uintptr(theirs.add(null)), none, none, none, none, none}
	pipe := func(name string, stream logs.Stream, fd int) error {
		path := filepath.Join(directory, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := unix.Mkfifo(path, 0o600); err != nil {
			return fmt.Errorf("make the pipe %s: %w", path, err)
		}
		// The worker holds both directions, and so lives on without a reader or writer at the other end.
		end, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open the pipe %s: %w", path, err)
		}
		files[fd] = uintptr(theirs.add(end))
		if stream != "" {
			_, _ = unix.FcntlInt(uintptr(end), unix.F_SETPIPE_SZ, pipeBytes) // Refused to a user who has many already: 64 KiB do too.
		}
		own, err := openPipe(path, stream)
		if err != nil {
			return err
		}
		ours.add(own)
		if stream == "" {
			result.jobs = own
		} else {
			result.pipes = append(result.pipes, logs.Pipe{Name: r.spec.Name, Stream: stream, FD: own})
		}
		return nil
	}
	for _, p := range pipesOf(r.spec.Fed) {
		if err := pipe(p.file, p.stream, p.fd); err != nil {
			return fail(err)
		}
	}
	line, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	result.control = ours.add(line[0])
	files[launch.ControlFD] = uintptr(theirs.add(line[1]))
	if err := unix.SetNonblock(result.control, true); err != nil {
		return fail(err)
	}
	pidfd := -1
	attributes := &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd}
	var cgroup string
	if s.cgroups.Directory != "" {
		var fd int
		if cgroup, fd, err = s.cgroups.Make(r.spec.Name, r.spec.MemoryHigh, r.spec.MemoryMax); err != nil {
			return fail(err)
		}
		attributes.UseCgroupFD, attributes.CgroupFD = true, theirs.add(fd)
	}
	if err := headroom(append(theirs, ours...)); err != nil {
		return fail(err)
	}
	pid, err := syscall.ForkExec(s.launcher[0], s.launcher, &syscall.ProcAttr{ //nolint:gosec // The launcher is the agent's own program.
		Dir: "/", Files: files, Sys: attributes,
		// The launcher is short and alone: it needs no second processor and no garbage collection.
		Env: []string{process.MarkVariable + "=" + r.mark, "GOMAXPROCS=1", "GOGC=off"},
	})
	if err != nil {
		return fail(fmt.Errorf("execute the launcher %s: %w", s.launcher[0], err))
	}
	leader, err := process.Child(pid, pidfd, s.bootID)
	if err != nil {
		ours.add(pidfd)
		return fail(err)
	}
	for i := range result.pipes {
		result.pipes[i].PID = pid
	}
	result.group = &process.Group{Leader: leader, Cgroup: cgroup}
	return result
}

// none is the place of a descriptor that the child does not get.
const none = ^uintptr(0)

// workerPipe is one of a worker's pipes: its name in the worker's directory, its stream, and its descriptor in the worker.
type workerPipe struct {
	file   string
	stream logs.Stream
	fd     int
}

func pipesOf(fed bool) []workerPipe {
	pipes := []workerPipe{{"out", logs.Stdout, 1}, {"err", logs.Stderr, 2}}
	if fed {
		pipes = append(pipes, workerPipe{"jobs", "", launch.JobsFD}, workerPipe{"proofs", logs.Proofs, launch.ProofsFD})
	}
	return pipes
}

// openPipe opens the agent's end of a pipe, non-blocking: the reading one of a stream, the writing one of the jobs.
func openPipe(path string, stream logs.Stream) (int, error) {
	mode := unix.O_RDONLY
	if stream == "" {
		mode = unix.O_WRONLY
	}
	fd, err := unix.Open(path, mode|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open the pipe %s: %w", path, err)
	}
	return fd, nil
}

// headroom refuses descriptors that come close to the limit: the lowest free number is always used.
func headroom(open descriptors) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	for _, fd := range open {
		if uint64(fd)+spareDescriptors >= limit.Cur {
			return unix.EMFILE
		}
	}
	return nil
}
