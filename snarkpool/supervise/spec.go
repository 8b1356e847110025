//go:build linux

package supervise

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/supervise/logs"
	"provingground/snarkpool/supervise/process"
)

// Spec is what one worker is. A change of any field needs a new process, which [Supervisor.Restart] makes; see [Status.Outdated].
type Spec struct {
	// Name is the worker's name for ever: letters, digits, and . _ - within parts that slashes separate, such as bm7/gpu/0.
	Name string `json:"name"`
	// Command is the program, looked up in the PATH of Env unless it holds a slash, and its arguments.
	Command []string `json:"command"`
	// Env is the whole environment, NAME=VALUE each; SNARKPOOL_WORKER is added. Without secrets: they can be read in /proc.
	Env []string `json:"env,omitempty"`
	// Directory is the working directory; empty is one of the worker's own in the state directory. It is made where there is none.
	Directory string `json:"directory,omitempty"`
	// CPUs and MemoryNodes are what the worker may use; empty is everything.
	CPUs        []int `json:"cpus,omitempty"`
	MemoryNodes []int `json:"memory_nodes,omitempty"`
	// User to run as, by name or number; empty is the agent's own.
	User string `json:"user,omitempty"`
	// OOMScoreAdj and Nice are the kernel's figures of these names.
	OOMScoreAdj int `json:"oom_score_adj,omitempty"`
	Nice        int `json:"nice,omitempty"`
	// OpenFiles limits the worker's open files; 0 leaves the agent's original limit.
	OpenFiles uint64 `json:"open_files,omitempty"`
	// MemoryHigh is from how many bytes on the worker wants recycling, which its [Status] says; over MemoryMax it is killed. 0 is no limit.
	MemoryHigh uint64 `json:"memory_high,omitempty"`
	MemoryMax  uint64 `json:"memory_max,omitempty"`
	// Fed says that the worker takes jobs on descriptor 3 and gives proofs on descriptor 4, a line each.
	Fed bool `json:"fed,omitempty"`
	// StopGrace is how long it may take to end after SIGTERM; 0 is the policy's.
	StopGrace time.Duration `json:"stop_grace,omitempty"`
	// WarmupLimit is how long it may take until [Supervisor.Ready]; 0 means that it does not warm up.
	WarmupLimit time.Duration `json:"warmup_limit,omitempty"`
}

// digest identifies the specification that a process was started by.
func (s Spec) digest() (string, error) {
	content, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("worker %s: %w", s.Name, err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:8]), nil
}

func (s Spec) validate() error {
	var errs []error
	bad := func(format string, arguments ...any) {
		errs = append(errs, fmt.Errorf("worker %q: "+format, append([]any{s.Name}, arguments...)...))
	}
	if err := validateName(s.Name); err != nil {
		errs = append(errs, err)
	}
	if len(s.Command) == 0 {
		bad("no command: give it one")
	}
	for _, text := range append(append([]string{s.Directory}, s.Command...), s.Env...) {
		if strings.ContainsRune(text, 0) {
			bad("%q holds a zero byte, which no command line can", text)
		}
	}
	for _, variable := range s.Env {
		if name, _, ok := strings.Cut(variable, "="); !ok || name == "" || name == process.MarkVariable {
			bad("environment entry %q is not NAME=VALUE, or sets %s, which is the agent's", variable, process.MarkVariable)
		}
	}
	if s.MemoryMax > 0 && s.MemoryHigh > s.MemoryMax {
		bad("memory high %d is over memory max %d", s.MemoryHigh, s.MemoryMax)
	}
	if s.StopGrace < 0 || s.WarmupLimit < 0 {
		bad("a span below 0")
	}
	return errors.Join(errs...)
}

func validateName(name string) error {
	valid := regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)
	if !valid.MatchString(name) || len(name) > 200 {
		return fmt.Errorf("worker name %q: want letters, digits and . _ - in parts separated by slashes, none beginning with a dot, at most 200 in all", name)
	}
	return nil
}

// Options are what a Supervisor needs. StateDir and Launcher are required.
type Options struct {
	// StateDir is the directory of the state file, the lock, the workers' pipes, their own working directories, and their logs. One agent owns it.
	StateDir string
	// Launcher is the program and arguments that call [launch.Main]; /proc/self/exe as the program is always the one that runs.
	Launcher []string
	// Policy holds the limits of every worker's life; StopGrace and WarmupLimit are the Specs' where these have any.
	Policy life.Policy
	// StartsPerSecond and Warmups bound starts and concurrent warm-ups of the whole machine; 0 is no limit.
	StartsPerSecond float64
	Warmups         int
	// NoCgroup does without cgroups even where there are any.
	NoCgroup bool
	// SampleEvery is how often CPU time and memory are read, ten times as often where a limit is near; 0 means 10 s.
	SampleEvery time.Duration
	// Logs are the limits of log capture, and who is told each line. Directory is StateDir/logs where empty.
	Logs logs.Options
	// Events is told each transition, in order, from the loop, which it must not hold up or call into; nil is nobody.
	Events func(Event)
	// Environ is the environment of the process, where an agent that replaced itself with this one left word; nil is none.
	Environ []string
	// Now is the wall clock; nil is time.Now.
	Now func() time.Time
}

// Frozen is the state shown of a worker that is stopped by the kernel for a while.
const Frozen life.State = "frozen"

// Event is a transition of one worker.
type Event struct {
	Time time.Time `json:"time"`
	Name string    `json:"worker"`
	// From and To are states of package life, or Frozen. They are equal for something that happened within a state.
	From life.State `json:"from"`
	To   life.State `json:"to"`
	// Cause says why, for people.
	Cause string `json:"cause"`
	// PID is the process that it is about; 0 is none.
	PID int `json:"pid,omitempty"`
	// Exit is how the process ended, when it did.
	Exit *process.Exit `json:"exit,omitempty"`
	// Tail is the last lines of a worker that broke.
	Tail []string `json:"tail,omitempty"`
}

// Status is what is known of one worker.
type Status struct {
	Name  string     `json:"worker"`
	State life.State `json:"state"`
	Since time.Time  `json:"since"`
	Cause string     `json:"cause,omitempty"`
	// Wanted says that it is meant to run, Held that an operator stopped it.
	Wanted bool `json:"wanted"`
	Held   bool `json:"held,omitempty"`
	// Outdated says that the process was started by another specification than the present one.
	Outdated bool `json:"outdated,omitempty"`
	// PID is the process; 0 is none. Adopted says that an earlier agent started it. Started is when, Starts how many there have been.
	PID     int       `json:"pid,omitempty"`
	Adopted bool      `json:"adopted,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Starts  int       `json:"starts"`
	// FrozenUntil is when a frozen worker goes on by itself; Due is when a state that ends by itself ends.
	FrozenUntil time.Time `json:"frozen_until,omitzero"`
	Due         time.Time `json:"due,omitzero"`
	// LastExit is how the last process ended; nil is none so far.
	LastExit *process.Exit `json:"last_exit,omitempty"`
	// CPUTime and ResidentBytes are of the process, with its descendants where it has a cgroup, when it was sampled last; Sampled is zero
	// before that.
	CPUTime       time.Duration `json:"cpu_ns,omitempty"`
	ResidentBytes uint64        `json:"resident_bytes,omitempty"`
	Sampled       time.Time     `json:"sampled,omitzero"`
	// WantsRecycling says that it is over its MemoryHigh, Slow that its progress is overdue while it computes.
	WantsRecycling bool `json:"wants_recycling,omitempty"`
	Slow           bool `json:"slow,omitempty"`
	// Group is how the process and its descendants are held together, MemoryLimit how its memory is limited.
	Group       string `json:"group,omitempty"`
	MemoryLimit string `json:"memory_limit,omitempty"`
	// Warnings are what the launcher could not do.
	Warnings []string `json:"warnings,omitempty"`
	// DroppedLines is how many lines of its log the disk did not take.
	DroppedLines uint64 `json:"dropped_lines,omitempty"`
}
