//go:build linux

// Package launch is the launcher: a mode of the agent's own program that becomes a worker.
//
// The agent spawns its program with a hidden verb that calls [Main]. The new process does nothing until the agent, which first
// records that it exists, writes a [Request] to its descriptor [ControlFD]; if the agent dies before, the descriptor closes and the launcher ends, so that
// no worker ever runs unrecorded. Then the launcher sets affinity, memory policy, OOM score, limits, user and directory, and executes the worker's
// program in its own place. The descriptor closes by that, and the agent reads the end of file: the worker runs. Otherwise the agent reads why
// not ([Answer]): a failed start is an error with its reason, and never exit code 127.
package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Descriptors of a worker beside the standard three.
const (
	// JobsFD and ProofsFD are the two channels of a fed worker: it reads jobs and writes proofs, a line each.
	JobsFD   = 3
	ProofsFD = 4
	// ControlFD is the launcher's line to the agent; the worker does not get it.
	ControlFD = 5
)

// Request says what the launcher is to become.
type Request struct {
	// Command is the program, looked up in the PATH of Env unless it holds a slash, and its arguments.
	Command []string `json:"command"`
	// Env is the whole environment, NAME=VALUE each.
	Env []string `json:"env"`
	// Directory is the working directory, made (0700) where there is none.
	Directory string `json:"directory"`
	// CPUs is the affinity; empty leaves it. MemoryNodes binds memory to NUMA nodes; empty leaves it.
	CPUs        []int `json:"cpus,omitempty"`
	MemoryNodes []int `json:"memory_nodes,omitempty"`
	// User is a user name or number, empty for the agent's own.
	User string `json:"user,omitempty"`
	// OOMScoreAdj, from -1000 to 1000, makes the kernel prefer the worker to others when memory runs out; Nice is its niceness.
	OOMScoreAdj int `json:"oom_score_adj,omitempty"`
	Nice        int `json:"nice,omitempty"`
	// OpenFiles is the limit of open files; 0 leaves it.
	OpenFiles uint64 `json:"open_files,omitempty"`
}

// Answer is why the launcher could not become the worker, or what it could not do on the way.
type Answer struct {
	// Stage is what was being done: one of the Stage constants.
	Stage Stage `json:"stage"`
	// Message is what went wrong and what to do, for people.
	Message string `json:"message"`
	// Warning says that it went on without.
	Warning bool `json:"warning,omitempty"`
	// Permanent says that trying again soon is of no use: the program is missing, say.
	Permanent bool `json:"permanent,omitempty"`
}

// Error makes an Answer an error.
func (a *Answer) Error() string { return a.Message }

// Stage is a step of the launcher.
type Stage string

// The steps of the launcher, in order.
const (
	StageRequest    Stage = "request"
	StageLimits     Stage = "limits"
	StageAffinity   Stage = "affinity"
	StageMemory     Stage = "memory policy"
	StageOOM        Stage = "oom score"
	StageDirectory  Stage = "directory"
	StageUser       Stage = "user"
	StagePrivileges Stage = "no new privileges"
	StageProgram    Stage = "program"
)

// Probe is the argument with which [Main] only says that this program knows the protocol, by the exit code [ProbeCode]. The agent
// tries a program this way before it replaces itself with it.
const (
	Probe     = "probe"
	ProbeCode = 86
)

// Main is the launcher: args are the arguments after the hidden verb. It does not return when it succeeds; otherwise it returns the
// exit code, and the agent has the reason.
func Main(args []string) int {
	if len(args) == 1 && args[0] == Probe {
		return ProbeCode
	}
	// Affinity, memory policy, niceness and no_new_privs belong to a thread, and the one that executes hands them on.
	runtime.LockOSThread()
	// The worker gets the descriptors meant for it, and none that the agent was started with.
	if err := unix.CloseRange(ControlFD, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		unix.CloseOnExec(ControlFD)
	}
	request, err := receive()
	if err != nil {
		// The agent is gone, or refuses: nobody waits for an answer.
		return 1
	}
	answer := become(request)
	line, err := json.Marshal(answer)
	if err != nil {
		return 1
	}
	if _, err := unix.Write(ControlFD, append(line, '\n')); err != nil {
		return 1
	}
	return 1
}

// receive reads the request line. It reads the descriptor itself: the launcher is started thousands of times.
func receive() (Request, error) {
	var line []byte
	buffer := make([]byte, 8192)
	for {
		n, err := unix.Read(ControlFD, buffer)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return Request{}, err
		}
		if n == 0 {
			return Request{}, errors.New("the agent ended before it sent a request")
		}
		line = append(line, buffer[:n]...)
		if buffer[n-1] == '\n' {
			break
		}
	}
	var request Request
	err := json.Unmarshal(line, &request)
	return request, err
}

func failed(stage Stage, permanent bool, format string, arguments ...any) *Answer {
	return &Answer{Stage: stage, Permanent: permanent, Message: fmt.Sprintf(format, arguments...)}
}

// warn tells the agent what the worker has to do without.
func warn(stage Stage, format string, arguments ...any) {
	line, err := json.Marshal(Answer{Stage: stage, Warning: true, Message: fmt.Sprintf(format, arguments...)})
	if err == nil {
		_, _ = unix.Write(ControlFD, append(line, '\n')) // A warning that cannot be told is no reason not to work.
	}
}

func become(r Request) *Answer {
	if len(r.Command) == 0 {
		return failed(StageRequest, true, "no command: give the worker's pool one")
	}
	if err := limits(r); err != nil {
		return failed(StageLimits, false, "%v", err)
	}
	if err := affinity(r.CPUs); err != nil {
		return failed(StageAffinity, true, "pin to the cores %v: %v: make a new plan for this machine", r.CPUs, err)
	}
	if err := memoryPolicy(r.MemoryNodes); errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		warn(StageMemory, "memory is not bound to the nodes %v, the kernel does not let us: %v", r.MemoryNodes, err)
	} else if err != nil {
		return failed(StageMemory, true, "bind memory to the nodes %v: %v: make a new plan for this machine", r.MemoryNodes, err)
	}
	if r.OOMScoreAdj != 0 {
		if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(r.OOMScoreAdj)), 0o600); err != nil {
			warn(StageOOM, "the OOM score stays as it is: %v", err)
		}
	}
	credential, err := lookUp(r.User)
	if err != nil {
		return failed(StageUser, true, "%v", err)
	}
	if err := directory(r.Directory, credential); err != nil {
		return failed(StageDirectory, false, "%v", err)
	}
	if err := credential.take(); err != nil {
		return failed(StageUser, true, "become user %s: %v: run the agent as root, or leave the user out", r.User, err)
	}
	if err := os.Chdir(r.Directory); err != nil {
		return failed(StageDirectory, false, "enter the working directory: %v", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return failed(StagePrivileges, false, "give up new privileges: %v", err)
	}
	path, err := program(r.Command[0], r.Env)
	if err != nil {
		return failed(StageProgram, true, "%v", err)
	}
	err = syscall.Exec(path, r.Command, r.Env) //nolint:gosec // To run the worker's program is what the launcher is for.
	return failed(StageProgram, permanent(err), "execute %s: %s", path, explain(err))
}

func limits(r Request) error {
	if r.OpenFiles > 0 {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: r.OpenFiles, Max: r.OpenFiles}); err != nil {
			return fmt.Errorf("set the limit of open files to %d: %w", r.OpenFiles, err)
		}
	}
	if r.Nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, r.Nice); err != nil {
			return fmt.Errorf("set the niceness to %d: %w", r.Nice, err)
		}
	}
	return nil
}

func affinity(cpus []int) error {
	if len(cpus) == 0 {
		return nil
	}
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	if set.Count() != len(cpus) {
		return errors.New("a core is named twice, or its number is out of range")
	}
	return unix.SchedSetaffinity(0, &set)
}

func memoryPolicy(nodes []int) error {
	if len(nodes) == 0 {
		return nil
	}
	var set unix.CPUSet
	for _, node := range nodes {
		set.Set(node)
	}
	return unix.SetMemPolicy(unix.MPOL_BIND, &set)
}

// credential is a user to become; the zero value is nobody to become.
type credential struct {
	uid, gid int
	groups   []int
	set      bool
}

func lookUp(name string) (credential, error) {
	if name == "" {
		return credential{}, nil
	}
	account, err := user.Lookup(name)
	if err != nil {
		var byID error
		if account, byID = user.LookupId(name); byID != nil {
			return credential{}, fmt.Errorf("look up the user: %w: create it, or leave the user out", err)
		}
	}
	c := credential{set: true}
	texts, err := account.GroupIds()
	if err != nil {
		return credential{}, fmt.Errorf("look up the groups of %s: %w", name, err)
	}
	for _, text := range texts {
		group, err := strconv.Atoi(text)
		if err != nil {
			return credential{}, fmt.Errorf("look up the groups of %s: %w", name, err)
		}
		c.groups = append(c.groups, group)
	}
	if c.uid, err = strconv.Atoi(account.Uid); err != nil {
		return credential{}, fmt.Errorf("look up the user %s: %w", name, err)
	}
	if c.gid, err = strconv.Atoi(account.Gid); err != nil {
		return credential{}, fmt.Errorf("look up the user %s: %w", name, err)
	}
	return c, nil
}

func (c credential) take() error {
	if !c.set || c.uid == os.Getuid() && c.gid == os.Getgid() {
		return nil
	}
	if err := syscall.Setgroups(c.groups); err != nil {
		return err
	}
	if err := syscall.Setresgid(c.gid, c.gid, c.gid); err != nil {
		return err
	}
	return syscall.Setresuid(c.uid, c.uid, c.uid)
}

func directory(path string, owner credential) error {
	err := os.MkdirAll(filepath.Dir(path), 0o755) //nolint:gosec // The worker's user has to pass through; what is inside has modes of its own.
	if err != nil {
		return fmt.Errorf("make the working directory: %w", err)
	}
	if err := os.Mkdir(path, 0o700); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("make the working directory: %w", err)
	}
	if owner.set {
		if err := os.Chown(path, owner.uid, owner.gid); err != nil {
			return fmt.Errorf("make the working directory: %w", err)
		}
	}
	return nil
}

// program finds the executable, in the PATH of the worker and not of the agent.
func program(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	var path string
	for _, variable := range env {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok {
			path = value
		}
	}
	for _, directory := range filepath.SplitList(path) {
		candidate := filepath.Join(directory, name)
		if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("no executable %s in the worker's PATH %q: install it, or name it by its whole path", name, path)
}

// permanent tells reasons that stay from those that pass.
func permanent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOEXEC) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOTDIR) ||
		errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ELIBBAD) || errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ELOOP)
}

func explain(err error) string {
	switch {
	case errors.Is(err, unix.ENOENT):
		return "no such file, or its interpreter or loader is missing: install it, or mend the command"
	case errors.Is(err, unix.ENOEXEC):
		return "not a program for this machine: it is for another architecture, damaged, or a script without a first line that names its interpreter"
	case errors.Is(err, unix.EACCES):
		return "permission denied: make it executable for the worker's user, on a file system that allows it"
	}
	return err.Error()
}
