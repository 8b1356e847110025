//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"provingground/cmd/internal/privatedb"
	"provingground/snarkpool/control"
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/supervise/process"
	"provingground/snarkpool/topology"
)

// finding is one thing that doctor looked at.
type finding struct {
	Check string `json:"check"`
	// Grade is one of the grades.
	Grade grade `json:"grade"`
	// Found is what is so, Mend what to do about it; "" for nothing.
	Found string `json:"found"`
	Mend  string `json:"mend,omitempty"`
}

// grade is how well it is.
type grade string

const (
	fine    grade = "ok"
	limited grade = "limited" // the agent runs, and cannot do something, or only less well
	fatal   grade = "fatal"   // the agent cannot run
	noted   grade = "note"    // neither good nor bad
)

// errUnfit says that an agent could not run here.
var errUnfit = errors.New("an agent could not run here: mend what is marked as fatal")

func doctorVerb(ctx context.Context, c call) error {
	if c.named() {
		return c.report(ctx, control.OpDoctor)
	}
	state, err := c.state()
	if err != nil {
		return err
	}
	machine, err := topology.Read("")
	if err != nil {
		return fmt.Errorf("reading the machine: %w", err)
	}
	findings := []finding{checkKernel(machine), checkPidfd()}
	findings = append(findings, checkCgroups()...)
	findings = append(findings, checkAffinity(machine), checkMemoryPolicy(machine), checkOOMScore(), checkUser())
	findings = append(findings, checkLimits(machine)...)
	findings = append(findings, checkState(state), checkDisk(state), checkClock(), checkHugePages(machine), checkPostgres(state))
	nvml, err := checkNVML(ctx)
	if err != nil {
		return signalled(ctx, err)
	}
	findings = append(findings, nvml)
	if len(c.arguments) > 0 {
		more, err := c.checkPoolFile(ctx, machine)
		if err != nil {
			return err
		}
		findings = append(findings, more...)
	}
	for _, note := range machine.Notes {
		findings = append(findings, finding{"machine", noted, note, ""})
	}
	return c.printFindings(findings)
}

func (c call) printFindings(findings []finding) error {
	unfit := false
	for _, f := range findings {
		unfit = unfit || f.Grade == fatal
		var err error
		if c.json {
			err = c.print(f)
		} else {
			_, err = fmt.Fprintf(c.stdout, "%-8s %-14s %s\n", f.Grade, f.Check, printable(f.Found))
			if f.Mend != "" && err == nil {
				_, err = fmt.Fprint(c.stdout, wrap("→ "+printable(f.Mend), strings.Repeat(" ", 24), 150))
			}
		}
		if err != nil {
			return err //nolint:wrapcheck // says that standard output failed
		}
	}
	if unfit {
		return errUnfit
	}
	return nil
}

// leastKernel is the oldest kernel that has all that package supervise needs.
const leastKernel = "5.14"

func checkKernel(m topology.Machine) finding {
	f := finding{"kernel", fine, fmt.Sprintf("Linux %s on %s", orElse(m.Kernel, unknown), runtime.GOARCH), ""}
	var major, minor int
	if _, err := fmt.Sscanf(m.Kernel, "%d.%d", &major, &minor); err != nil {
		return finding{"kernel", limited, "its release is not known", "make sure that it is Linux " + leastKernel + " or newer: uname -r"}
	}
	if major < 5 || major == 5 && minor < 14 {
		f.Grade, f.Mend = fatal, "Linux "+leastKernel+" or newer is needed; Debian 12 and Ubuntu 22.04 have one"
	}
	return f
}

// checkPidfd tries what deaths are learned by and what signals go through.
func checkPidfd() finding {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err == nil {
		err = errors.Join(unix.PidfdSendSignal(fd, 0, nil, 0), unix.Close(fd))
	}
	if err != nil {
		return finding{"pidfd", fatal, fmt.Sprintf("processes cannot be held by descriptors: %v", err), "in a container, let its seccomp profile allow pidfd_open and pidfd_send_signal"}
	}
	return finding{"pidfd", fine, "deaths are noticed, and signals sent, through process descriptors", ""}
}

// checkCgroups tries what workers' cgroups need, in a cgroup that is removed again.
func checkCgroups() []finding {
	found := process.FindCgroups("snarkpool-doctor")
	defer found.Close()
	const delegate = "run the agent as a systemd service with Delegate=yes (snarkpool render systemd) on a machine with cgroups of version 2 alone " +
		"(systemd.unified_cgroup_hierarchy=1 on the kernel's command line)"
	if found.Directory == "" {
		return []finding{
			{"cgroups", limited, "workers get none of their own: " + found.Why + ". A worker is ended and frozen by its process group, and who left it is looked for", delegate},
			{"memory limits", limited, "kept by sampling: a worker that grows fast can be over its limit for some seconds", delegate},
		}
	}
	all := []finding{{"cgroups", fine, "each worker gets one of version 2: it is ended and frozen with all its descendants", ""}}
	if found.Memory {
		return append(all, finding{"memory limits", fine, "kept by the kernel", ""})
	}
	return append(all, finding{
		"memory limits", limited, "kept by sampling: the memory controller is not at hand in this cgroup",
		delegate + "; DelegateSubgroup= (systemd 254) lets the agent's own process be out of the way",
	})
}

func checkAffinity(m topology.Machine) finding {
	var set unix.CPUSet
	err := unix.SchedGetaffinity(0, &set)
	if err == nil {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err = unix.SchedSetaffinity(0, &set) // what it is already
	}
	if err != nil {
		return finding{"affinity", limited, fmt.Sprintf("workers cannot be bound to CPUs: %v", err), "in a container, let its seccomp profile allow sched_setaffinity"}
	}
	f := finding{"affinity", fine, fmt.Sprintf("workers can be bound to the CPUs %s", m.Allowed), ""}
	if total := len(m.CPUs); len(m.Allowed) < total {
		f.Found += fmt.Sprintf(", %d of %d", len(m.Allowed), total)
	}
	return f
}

func checkMemoryPolicy(m topology.Machine) finding {
	if len(m.Nodes) < 2 {
		return finding{"memory nodes", fine, "there is one, so nothing to bind to", ""}
	}
	var mode int32
	if _, _, errno := unix.Syscall6(unix.SYS_GET_MEMPOLICY, uintptr(unsafe.Pointer(&mode)), 0, 0, 0, 0, 0); errno != 0 { //nolint:gosec // unix has no wrapper for it
		return finding{
			"memory nodes", limited, fmt.Sprintf("workers cannot be bound to the memory of their node: %v", errno),
			"in a container, give it CAP_SYS_NICE, or let its seccomp profile allow set_mempolicy",
		}
	}
	return finding{"memory nodes", fine, fmt.Sprintf("workers can be bound to the memory of their node; there are %d", len(m.Nodes)), ""}
}

func checkOOMScore() finding {
	if !hasCapability(unix.CAP_SYS_RESOURCE) {
		return finding{
			"oom score", limited, "the agent cannot protect itself from the kernel when memory runs out; workers can still be offered first",
			"run it as root, or with CAP_SYS_RESOURCE, or set OOMScoreAdjust= in its unit",
		}
	}
	return finding{"oom score", fine, "the kernel can be told whom to end first when memory runs out", ""}
}

func checkUser() finding {
	if !hasCapability(unix.CAP_SETUID) {
		return finding{"user", noted, fmt.Sprintf("workers run as the agent's own user, %d", os.Geteuid()), ""}
	}
	return finding{"user", noted, "the agent is privileged, and workers run as the same user", ""}
}

// hasCapability tells whether this process has a capability in effect.
func hasCapability(capability int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[capability/32].Effective&(1<<(capability%32)) != 0
}

// What 2,000 workers need, and some room.
const (
	wantedFiles     = 16_384
	wantedProcesses = 32_768
)

func checkLimits(m topology.Machine) []finding {
	limit := func(name string, resource int, wanted uint64, unit, mend string) finding {
		var r unix.Rlimit
		if err := unix.Getrlimit(resource, &r); err != nil {
			return finding{name, limited, fmt.Sprintf("the limit is not known: %v", err), ""}
		}
		most := fmt.Sprint(r.Max)
		if r.Max == unix.RLIM_INFINITY {
			most = "no limit"
		}
		if r.Max < wanted {
			return finding{name, limited, fmt.Sprintf("at most %s%s; %d are enough for 2,000 workers", most, unit, wanted), mend}
		}
		return finding{name, fine, most + unit, ""}
	}
	all := []finding{
		limit("open files", unix.RLIMIT_NOFILE, wantedFiles, "", fmt.Sprintf("LimitNOFILE=%d in the unit, or ulimit -Hn", wantedFiles)),
		limit("processes", unix.RLIMIT_NPROC, wantedProcesses, "", "LimitNPROC=infinity in the unit, or ulimit -Hu"),
	}
	if m.Limits.CgroupProcesses != nil && *m.Limits.CgroupProcesses < wantedProcesses {
		all = append(all, finding{
			"tasks", limited, fmt.Sprintf("the cgroup allows %d processes and threads; %d are enough for 2,000 workers", *m.Limits.CgroupProcesses, wantedProcesses),
			"TasksMax=infinity in the unit, or pids.max",
		})
	}
	if m.Limits.QuotaCPUs > 0 {
		all = append(all, finding{
			"cpu quota", noted, fmt.Sprintf("the cgroup gives the time of %.4g CPUs: workers beyond it would only slow each other, so none are planned there", m.Limits.QuotaCPUs), "",
		})
	}
	return all
}

// checkState tells whether the state directory can be used, or be made.
func checkState(state string) finding {
	f := finding{"state", fine, state + " can be written", ""}
	existing := state
	for {
		if _, err := os.Stat(existing); !errors.Is(err, os.ErrNotExist) || existing == filepath.Dir(existing) {
			break
		}
		existing = filepath.Dir(existing)
	}
	if existing != state {
		f.Found = state + " is not there, and can be made"
	}
	info, err := os.Stat(existing)
	if err == nil && !info.IsDir() {
		err = errors.New("it is no directory")
	}
	if err == nil {
		err = unix.Access(existing, unix.W_OK|unix.X_OK)
	}
	if err != nil {
		return finding{"state", fatal, fmt.Sprintf("%s cannot be written: %s: %v", state, existing, err), "name another state directory with -state, or give this one to the agent's user"}
	}
	return f
}

// wantedDisk is how much room the state directory should have, in bytes: spool, logs and a private database.
const wantedDisk = 4 << 30

func checkDisk(state string) finding {
	for path := state; ; path = filepath.Dir(path) {
		var s unix.Statfs_t
		err := unix.Statfs(path, &s)
		if errors.Is(err, unix.ENOENT) && path != filepath.Dir(path) {
			continue
		}
		if err != nil {
			return finding{"disk", limited, fmt.Sprintf("its free space is not known: %v", err), ""}
		}
		free := s.Bavail * uint64(s.Bsize)
		f := finding{"disk", fine, poolfile.Bytes(free).Round() + " free for the state directory", ""}
		if free < wantedDisk {
			f.Grade, f.Mend = limited, "spool, logs and a private database want "+poolfile.Bytes(wantedDisk).Round()+": make room, or name another state directory with -state"
		}
		return f
	}
}

func checkClock() finding {
	var timex unix.Timex
	clock, err := unix.Adjtimex(&timex) // modes 0: it only reads
	switch {
	case err != nil:
		return finding{"clock", limited, fmt.Sprintf("whether it is right is not known: %v", err), ""}
	case clock == unix.TIME_ERROR || timex.Status&unix.STA_UNSYNC != 0:
		return finding{
			"clock", limited, "nobody keeps it right: signed commands are refused when it is off by more than their lifetime, and times of events mislead",
			"start a time service: systemctl enable --now systemd-timesyncd, or chrony",
		}
	}
	return finding{"clock", fine, fmt.Sprintf("it is kept right, to %.3g ms", float64(timex.Maxerror)/1000), ""}
}

func checkHugePages(m topology.Machine) finding {
	content, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	_, rest, _ := strings.Cut(string(content), "[")
	mode, _, chosen := strings.Cut(rest, "]")
	var total uint64
	for _, node := range m.Nodes {
		for _, pages := range node.HugePages {
			total += pages.Total * pages.SizeBytes
		}
	}
	reserved := ""
	if total > 0 {
		reserved = fmt.Sprintf("; %s of huge pages are set aside, which provers do not use unless they ask for them", poolfile.Bytes(total).Round())
	}
	switch {
	case err != nil || !chosen:
		return finding{"huge pages", noted, "whether there are transparent ones is not known" + reserved, ""}
	case mode == "never":
		return finding{"huge pages", limited, "transparent ones are off" + reserved, "provers with gigabytes of tables gain by them: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"}
	}
	return finding{"huge pages", fine, "transparent ones: " + mode + reserved, ""}
}

// checkPostgres tells whether a private database can be started.
func checkPostgres(state string) finding {
	installed, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err == nil && len(installed) == 0 {
		if path, err := exec.LookPath("initdb"); err == nil {
			installed = []string{path}
		}
	}
	if len(installed) == 0 {
		return finding{
			"postgresql", limited, "the server is not installed: without a database in the pool file or -db-uri there is none",
			"apt-get install postgresql, or name a database; one that several machines share is needed for more than one anyway",
		}
	}
	return finding{"postgresql", fine, fmt.Sprintf("a private server can be started in %s (%s)", filepath.Join(state, privatedb.Dir), filepath.Dir(installed[len(installed)-1])), ""}
}

func checkNVML(ctx context.Context) (finding, error) {
	report, err := readGPUs(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return finding{}, err
	case err != nil:
		return finding{"gpus", limited, err.Error(), "see what nvidia-smi -q says"}, nil //nolint:nilerr // it is what was found
	case report.Unavailable != "":
		return finding{
			"gpus", noted, "they cannot be read: " + report.Unavailable,
			"on a machine with GPUs: install NVIDIA's driver, and build with CGO_ENABLED=1 go build -tags nvml ./cmd/snarkpool",
		}, nil
	}
	return finding{"gpus", fine, count(uint64(len(report.GPUs)), "GPU", "GPUs") + " can be read", ""}, nil
}

// checkPoolFile looks whether this machine could run what a pool file plans for it.
func (c call) checkPoolFile(ctx context.Context, machine topology.Machine) ([]finding, error) {
	file, err := c.load(ctx, c.arguments[0])
	if err != nil {
		return nil, err
	}
	made, err := c.makePlan(file, inventory{Machine: machine})
	if err != nil {
		return nil, err
	}
	all := []finding{{"plan", fine, count(uint64(len(made.Workers)), "worker", "workers") + " planned for " + made.Host, ""}}
	if len(made.Workers) == 0 {
		all[0].Grade, all[0].Mend = limited, "snarkpool plan says why"
	}
	for _, warning := range made.Warnings {
		all = append(all, finding{"plan", limited, warning, ""})
	}
	seen := make(map[string]bool)
	for _, w := range made.Workers {
		if program := w.Command[0]; !seen[program] {
			seen[program] = true
			if path, err := exec.LookPath(program); err != nil {
				all = append(all, finding{"program", limited, fmt.Sprintf("%s of pool %s is not there: %v", program, w.Pool, err), "install it, or put its directory into the PATH of the agent"})
			} else {
				all = append(all, finding{"program", fine, path + " of pool " + w.Pool, ""})
			}
		}
	}
	return all, nil
}
