//go:build linux

package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"provingground/snarkpool/supervise/launch"
	"provingground/snarkpool/supervise/logs"
)

// HandoverVariable is the environment variable by which an agent tells its successor the descriptor of the handover.
const HandoverVariable = "SNARKPOOL_HANDOVER"

// handover is what an agent gives its successor besides the state file: the numbers of descriptors, which stay open through execve(2).
type handover struct {
	Lock    int            `json:"lock"`
	Workers []handedWorker `json:"workers"`
	Pipes   []logs.Pipe    `json:"pipes"`
}

type handedWorker struct {
	Name  string `json:"name"`
	PidFD int    `json:"pidfd"`
	Child bool   `json:"child"`
	Jobs  int    `json:"jobs"` // -1 without.
}

// descriptors returns all of them.
func (h *handover) descriptors() []int {
	all := []int{h.Lock}
	for _, w := range h.Workers {
		all = append(all, w.PidFD)
		if w.Jobs >= 0 {
			all = append(all, w.Jobs)
		}
	}
	for _, p := range h.Pipes {
		all = append(all, p.FD)
	}
	return all
}

// receiveHandover reads what a predecessor left word of in the environment; nil is nothing.
func receiveHandover(environ []string) (*handover, error) {
	var text string
	for _, variable := range environ {
		if value, ok := strings.CutPrefix(variable, HandoverVariable+"="); ok {
			text = value
		}
	}
	if text == "" {
		return nil, nil //nolint:nilnil // There is no predecessor, which is the rule.
	}
	refuse := func(err error) (*handover, error) {
		return nil, fmt.Errorf("take over from the last agent by %s=%s: %w: unset it to adopt the workers by the state file instead", HandoverVariable, text, err)
	}
	fd, err := strconv.Atoi(text)
	if err != nil {
		return refuse(err)
	}
	file := os.NewFile(uintptr(fd), "handover")
	if file == nil {
		return refuse(unix.EBADF)
	}
	var h handover
	_, err = file.Seek(0, 0)
	if err == nil {
		err = json.NewDecoder(file).Decode(&h)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return refuse(err)
	}
	for _, fd := range h.descriptors() {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return refuse(fmt.Errorf("descriptor %d: %w", fd, err))
		}
	}
	return &h, nil
}

// replacement is a replacement that waits for its moment.
type replacement struct {
	path      string
	args, env []string
	done      chan error
	deadline  time.Time
}

// replaceLimit is how long a replacement waits for starts and commits that are under way.
const replaceLimit = 10 * time.Second

// Replace puts a program in the place of this one, by execve(2), with args, its own name first, and env. The program's New must get its environment
// as [Options.Environ] and the same StateDir. Workers are not touched; no exit status and no line is lost. Only what this
// package holds is handed over: the caller has let go of everything else. Replace returns only if it did not come to that, and then everything
// goes on as before: the program is tried first, by asking its launcher whether it knows the protocol.
func (s *Supervisor) Replace(ctx context.Context, path string, args, env []string) error {
	if err := probe(ctx, path, s.options.Launcher[1:]); err != nil {
		return err
	}
	r := &replacement{path: path, args: args, env: env, done: make(chan error, 1), deadline: s.options.Now().Add(replaceLimit)}
	err := s.do(ctx, func(l *loop) error {
		if l.replacing != nil {
			return errors.New("replace the agent: another replacement is under way")
		}
		l.replacing = r
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case err := <-r.done:
		return err
	case <-s.ended:
		return ErrNotRunning
	}
}

// probe runs a program's launcher to learn that the program can be executed here and is an agent.
func probe(ctx context.Context, path string, verb []string) error {
	const limit = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	command := exec.CommandContext(ctx, path, append(slices.Clone(verb), launch.Probe)...) //nolint:gosec // To run that program is what was asked for.
	err := command.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == launch.ProbeCode {
		return nil
	}
	if err == nil {
		err = errors.New("it does not know the launcher")
	}
	return fmt.Errorf("replace the agent: try %s %s %s: %w: nothing was replaced", path, strings.Join(verb, " "), launch.Probe, err)
}

// tryReplace replaces the agent if this is the moment: no launcher is on its way, and the state is on disk.
func (l *loop) tryReplace() {
	r := l.replacing
	busy := l.ordered > 0 || l.committing || l.dirty
	for _, m := range l.members {
		busy = busy || m.control >= 0
	}
	if busy {
		if !l.now().Before(r.deadline) {
			l.replacing = nil
			r.done <- fmt.Errorf("replace the agent: starts or the state file were not done within %s: nothing was replaced", replaceLimit)
		}
		return
	}
	l.replacing = nil
	r.done <- l.replace(r)
}

// replace returns only when it failed.
func (l *loop) replace(r *replacement) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("replace the agent by %s: %w: nothing was replaced", r.path, err)
		}
	}()
	h := handover{Lock: l.s.lock}
	for _, m := range l.members {
		if m.group == nil {
			continue
		}
		w := handedWorker{Name: m.name, PidFD: m.group.Leader.FD(), Child: m.group.Leader.IsChild(), Jobs: -1}
		if value, ok := l.s.channels.Load(m.name); ok {
			if c, ok := value.(*channel); ok {
				if !c.mu.TryLock() {
					return fmt.Errorf("a line is being sent to %s", m.name)
				}
				defer c.mu.Unlock()
				if c.torn {
					return fmt.Errorf("worker %s: %w: restart it first", m.name, ErrTornLine)
				}
				w.Jobs = c.fd
			}
		}
		h.Workers = append(h.Workers, w)
	}
	select {
	case l.pauseLogs <- struct{}{}:
	case <-l.logsEnded:
		return ErrNotRunning
	}
	if err := <-l.logsPaused; err != nil {
		return err
	}
	defer func() { l.resumeLogs <- struct{}{} }()
	h.Pipes = l.s.capture.Pipes()
	content, err := json.Marshal(h)
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("handover", 0)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), "handover")
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(content); err != nil {
		return err
	}
	// Nobody else may spawn a process meanwhile, which would inherit everything.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	for _, fd := range h.descriptors() {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return err
		}
		defer func() { _, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC) }()
	}
	env := slices.DeleteFunc(slices.Clone(r.env), func(v string) bool { return strings.HasPrefix(v, HandoverVariable+"=") })
	return syscall.Exec(r.path, r.args, append(env, HandoverVariable+"="+strconv.Itoa(fd))) //nolint:gosec // To run that program is what was asked for.
}

// captureLogs reads what workers print until ctx ends, with a pause around a replacement.
func (l *loop) captureLogs(ctx context.Context) error {
	defer close(l.logsEnded)
	for {
		reading, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- l.s.capture.Run(reading) }()
		select {
		case err := <-done:
			cancel()
			return err
		case <-l.pauseLogs:
		}
		cancel()
		l.logsPaused <- <-done
		<-l.resumeLogs
	}
}
