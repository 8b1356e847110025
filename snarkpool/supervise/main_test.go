//go:build linux

package supervise_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"provingground/snarkpool/supervise"
	"provingground/snarkpool/supervise/launch"
	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/supervise/logs"
)

// TestMain makes the test binary play all parts: launcher, workers, and agents that are killed and replaced.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "launch":
			os.Exit(launch.Main(os.Args[2:]))
		case "worker":
			os.Exit(worker(os.Args[2], os.Args[3:]))
		case "agent":
			os.Exit(agent(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

// worker plays workers of all characters.
func worker(part string, args []string) int {
	switch part {
	case "quiet": // Says that it is there, and ends when asked to.
		end := make(chan os.Signal, 1)
		signal.Notify(end, unix.SIGTERM)
		fmt.Println("ready")
		<-end
		fmt.Println("bye")
		return 0
	case "stubborn": // Ignores SIGTERM.
		signal.Ignore(unix.SIGTERM)
		fmt.Println("ready")
		select {}
	case "fork": // Has a child that leaves its session, and then ends, when asked to or by itself.
		null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
		if err != nil {
			return 3
		}
		pid, err := syscall.ForkExec("/proc/self/exe", []string{"x", "worker", "stubborn"}, &syscall.ProcAttr{
			Env: os.Environ(), Files: []uintptr{null.Fd(), null.Fd(), null.Fd()}, Sys: &syscall.SysProcAttr{Setsid: args[0] == "session"},
		})
		if err != nil {
			return 4
		}
		fmt.Println("child", pid)
		select {}
	case "flood": // Prints numbered lines.
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return 3
		}
		out := bufio.NewWriterSize(os.Stdout, 4096)
		for i := range n {
			_, _ = fmt.Fprintf(out, "line %d\n", i)
		}
		if out.Flush() != nil {
			return 4
		}
		select {}
	case "count": // Prints one numbered line per millisecond, and where the file of its argument is there, ends.
		tick := time.NewTicker(time.Millisecond)
		for i := 0; ; i++ {
			fmt.Println("line", i)
			if _, err := os.Stat(args[0]); err == nil {
				fmt.Println("last", i)
				return 7
			}
			<-tick.C
		}
	case "long": // Prints one line of so many bytes, and a short one.
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return 3
		}
		piece := strings.Repeat("x", 64<<10)
		for ; n > 0; n -= len(piece) {
			if _, err := os.Stdout.WriteString(piece[:min(n, len(piece))]); err != nil {
				return 4
			}
		}
		fmt.Println("\nafter")
		select {}
	case "grow": // Takes memory without bound.
		var all [][]byte
		tick := time.NewTicker(time.Millisecond)
		for range tick.C {
			b := make([]byte, 4<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			all = append(all, b)
			if len(all) > 500 {
				return 9 // 2 GB: nobody stopped it.
			}
		}
	case "spin": // Computes and gets nowhere.
		fmt.Println("ready")
		for i := 0; ; i++ {
			if i < 0 {
				return 1
			}
		}
	case "say": // Prints what it finds itself in, and waits.
		var set unix.CPUSet
		_ = unix.SchedGetaffinity(0, &set)
		cwd, _ := os.Getwd()
		oom, _ := os.ReadFile("/proc/self/oom_score_adj")
		nnp, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
		priority, _ := unix.Getpriority(unix.PRIO_PROCESS, 0)
		var limit unix.Rlimit
		_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
		_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
			"cpus": set.Count(), "first": set.IsSet(0), "cwd": cwd, "oom": strings.TrimSpace(string(oom)), "nnp": nnp, "nice": 20 - priority,
			"env": os.Getenv("HELLO"), "uid": os.Getuid(), "args": args, "files": limit.Max, "descriptors": openFiles(),
		})
		select {}
	case "echo": // A fed worker: each job comes back as its proof, once the file of its argument, if it has one, is there.
		jobs, proofs := os.NewFile(launch.JobsFD, "jobs"), os.NewFile(launch.ProofsFD, "proofs")
		lines := bufio.NewScanner(jobs)
		tick := time.NewTicker(time.Millisecond)
		for lines.Scan() {
			for len(args) > 0 {
				if _, err := os.Stat(args[0]); err == nil {
					break
				}
				<-tick.C
			}
			if _, err := fmt.Fprintln(proofs, "proof of "+lines.Text()); err != nil {
				return 5
			}
		}
		return 6
	}
	return 2
}

// openFiles lists the descriptors beyond the standard ones that lead to something but the runtime's own.
func openFiles() []string {
	var found []string
	for fd := 3; fd < 64; fd++ {
		target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err == nil && !strings.HasPrefix(target, "anon_inode:") && !strings.HasPrefix(target, "/proc/") && !strings.HasPrefix(target, "/sys/") {
			found = append(found, target)
		}
	}
	return found
}

// agentOrder is what an agent of a test reads from its standard input, a line each.
type agentOrder struct {
	Set     []supervise.Spec `json:"set,omitempty"`
	Stop    string           `json:"stop,omitempty"`
	Freeze  string           `json:"freeze,omitempty"`
	For     time.Duration    `json:"for,omitempty"`
	Send    string           `json:"send,omitempty"`
	Line    string           `json:"line,omitempty"`
	Replace string           `json:"replace,omitempty"`
	Status  bool             `json:"status,omitempty"`
}

// agentWord is what it writes to its standard output.
type agentWord struct {
	Event  *supervise.Event   `json:"event,omitempty"`
	Status []supervise.Status `json:"status,omitzero"`
	Done   bool               `json:"done,omitempty"`
	Proof  string             `json:"proof,omitempty"`
	Up     bool               `json:"up,omitempty"`
	Error  string             `json:"error,omitempty"`
}

// agent is the smallest agent there is.
func agent(args []string) int {
	encoder := json.NewEncoder(os.Stdout)
	words := make(chan agentWord, 1<<16)
	go func() {
		for w := range words {
			_ = encoder.Encode(w)
		}
	}()
	options := testOptions(args[0])
	options.NoCgroup = args[1] == "plain"
	if args[2] != "0" {
		limit, _ := strconv.ParseUint(args[2], 10, 64)
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit, Max: limit})
	}
	options.Environ = os.Environ()
	options.Events = func(e supervise.Event) { words <- agentWord{Event: &e} }
	options.Logs.Lines = func(l logs.Line) {
		if l.Stream == logs.Proofs {
			words <- agentWord{Proof: string(l.Text)}
		}
	}
	ctx := context.Background()
	s, err := supervise.New(options)
	if err != nil {
		_ = encoder.Encode(agentWord{Error: err.Error()})
		return 1
	}
	go func() {
		if err := s.Run(ctx); err != nil {
			words <- agentWord{Error: err.Error()}
		}
	}()
	words <- agentWord{Up: true}
	// One byte at a time, so that a successor by exec finds the rest.
	for {
		var line []byte
		for {
			var b [1]byte
			if n, err := unix.Read(0, b[:]); n == 0 || err != nil && !errors.Is(err, unix.EINTR) {
				if n == 0 {
					select {}
				}
				return 1
			}
			if b[0] == '\n' {
				break
			}
			line = append(line, b[0])
		}
		var o agentOrder
		if err := json.Unmarshal(line, &o); err != nil {
			return 2
		}
		err := func() error {
			switch {
			case o.Stop != "":
				return s.Stop(ctx, o.Stop, "asked")
			case o.Freeze != "":
				return s.Freeze(ctx, o.Freeze, time.Now().Add(o.For), "asked")
			case o.Send != "":
				return s.Send(ctx, o.Send, []byte(o.Line))
			case o.Replace != "":
				return s.Replace(ctx, o.Replace, os.Args, os.Environ())
			case o.Status:
				status, err := s.Snapshot(ctx)
				status = append([]supervise.Status{}, status...)
				words <- agentWord{Status: status}
				return err
			}
			return s.Set(ctx, o.Set)
		}()
		w := agentWord{Done: true}
		if err != nil {
			w.Error = err.Error()
		}
		words <- w
	}
}

// testOptions are options that lose no time.
func testOptions(directory string) supervise.Options {
	return supervise.Options{
		StateDir: directory, Launcher: []string{"/proc/self/exe", "launch"}, SampleEvery: 100 * time.Millisecond,
		Policy: life.Policy{
			MinUptime: 300 * time.Millisecond, Initial: 20 * time.Millisecond, Max: 100 * time.Millisecond,
			CrashLoopExits: 5, CrashLoopWithin: time.Minute, BrokenRetry: time.Hour, StopGrace: time.Minute, FreezeMax: 3 * time.Second,
		},
	}
}
