//go:build linux

package supervise_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"provingground/snarkpool/supervise"
	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/supervise/process"
)

func TestKilledWorkerComesBack(t *testing.T) {
	p := start(t, nil)
	p.set(spec("a", "quiet"))
	first := p.state("a", life.Running)
	if err := unix.Kill(first.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s := p.until("a second process", func(all map[string]supervise.Status) bool {
		return all["a"].State == life.Running && all["a"].PID != first.PID
	})["a"]
	if s.LastExit == nil || s.LastExit.Signal != "SIGKILL" || s.Starts != 2 {
		t.Errorf("back as %+v", s)
	}
}

func TestCrashLoop(t *testing.T) {
	for name, command := range map[string][]string{"crash": {"/bin/sh", "-c", "echo my last words; exit 3"}, "exit 0 too early": {"/bin/sh", "-c", "echo my last words"}} {
		t.Run(name, func(t *testing.T) {
			p := start(t, nil)
			p.set(supervise.Spec{Name: "a", Command: command})
			e := p.event("a", life.Broken)
			if e.Exit == nil || !e.Exit.Known || !strings.Contains(e.Cause, "5 unexpected ends") {
				t.Errorf("broke by %+v", e)
			}
			p.line("my last words")
			if tail := p.Tail("a"); len(tail) == 0 || tail[0] != "my last words" {
				t.Errorf("last lines %q", tail)
			}
			// An operator who mended it does not wait for ten minutes.
			p.set(spec("a", "quiet"))
			if err := p.Restart(context.Background(), "a", "mended"); err != nil {
				t.Fatal(err)
			}
			p.state("a", life.Running)
		})
	}
}

func TestCannotBeStarted(t *testing.T) {
	directory := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// An ELF header of an architecture that no machine has any more: the kernel's answer is that of any foreign one.
	foreign := make([]byte, 64)
	copy(foreign, "\x7fELF\x02\x01\x01")
	foreign[16], foreign[18] = 2, 0xAA
	for name, test := range map[string]struct {
		spec supervise.Spec
		want string
	}{
		"missing":            {supervise.Spec{Command: []string{"/does/not/exist"}}, "no such file"},
		"missing in PATH":    {supervise.Spec{Command: []string{"prover-of-nobody"}, Env: []string{"PATH=/bin:/usr/bin"}}, "no executable prover-of-nobody in the worker's PATH"},
		"foreign":            {supervise.Spec{Command: []string{file("foreign", string(foreign), 0o755)}}, "another architecture"},
		"not executable":     {supervise.Spec{Command: []string{file("plain", "#!/bin/sh\n", 0o644)}}, "permission denied"},
		"interpreter gone":   {supervise.Spec{Command: []string{file("script", "#!/does/not/exist\n", 0o755)}}, "interpreter"},
		"no such user":       {supervise.Spec{Command: []string{"/bin/true"}, User: "nobody-of-this-name"}, "look up the user"},
		"no such core":       {supervise.Spec{Command: []string{"/bin/true"}, CPUs: []int{1000}}, "pin to the cores"},
		"directory a file":   {supervise.Spec{Command: []string{"/bin/true"}, Directory: file("occupied", "", 0o644)}, "working directory"},
		"too long to launch": {supervise.Spec{Command: []string{"/bin/true"}, Env: []string{"LONG=" + strings.Repeat("x", 4<<20)}}, "shorten its environment"},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, nil)
			test.spec.Name = "a"
			p.set(test.spec)
			e := p.event("a", life.Exited)
			if !strings.Contains(e.Cause, test.want) {
				t.Errorf("cause %q does not say %q", e.Cause, test.want)
			}
			if test.spec.Directory == "" {
				if e := p.event("a", life.Blocked); !strings.Contains(e.Cause, test.want) {
					t.Errorf("blocked because %q", e.Cause)
				}
			}
		})
	}
}

func TestStopLadder(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain=%v", plain), func(t *testing.T) {
			p := start(t, func(o *supervise.Options) { o.NoCgroup = plain })
			p.set(spec("a", "stubborn"))
			p.line("ready")
			p.set()
			e := p.event("a", life.Exited)
			if e.Exit == nil || e.Exit.Signal != "SIGKILL" {
				t.Errorf("ended by %+v", e)
			}
		})
	}
}

func TestForkingAway(t *testing.T) {
	for _, plain := range []bool{false, true} {
		for _, how := range []string{"group", "session"} {
			t.Run(fmt.Sprintf("plain=%v/%s", plain, how), func(t *testing.T) {
				p := start(t, func(o *supervise.Options) { o.NoCgroup = plain })
				p.set(spec("a", "fork", how))
				words := strings.Fields(p.line("child "))
				child, err := strconv.Atoi(words[len(words)-1])
				if err != nil {
					t.Fatal(err)
				}
				if !alive(child) {
					t.Fatal("the child is not there")
				}
				p.set()
				p.event("a", life.Stopped)
				if plain && how == "session" {
					// Nothing but the mark knows that it belongs to the worker; it goes with the next sweep.
					p.until("the child to be swept", func(map[string]supervise.Status) bool { return !alive(child) })
				}
				if alive(child) {
					t.Errorf("stopped, and its child %d lives", child)
				}
			})
		}
	}
}

func TestFloodIsNotLost(t *testing.T) {
	p := start(t, func(o *supervise.Options) { o.Logs.FileBytes, o.Logs.Lines = 64<<20, nil })
	const n = 300_000
	p.set(spec("a", "flood", strconv.Itoa(n)), spec("b", "quiet"))
	p.until("the flood to pass", func(map[string]supervise.Status) bool {
		tail := p.Tail("a")
		return len(tail) > 0 && tail[len(tail)-1] == fmt.Sprintf("line %d", n-1)
	})
	p.set()
	p.event("a", life.Stopped)
	path := p.LogPath("a")
	p.end() // After it, everything is in the file.
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line) // Time, stream, "line", number.
		if len(fields) == 4 && fields[1] == "out" {
			if fields[3] != strconv.Itoa(next) {
				t.Fatalf("line %d is %q", next, line)
			}
			next++
		}
	}
	if next != n {
		t.Errorf("%d lines of %d", next, n)
	}
}

func TestLongLine(t *testing.T) {
	p := start(t, func(o *supervise.Options) { o.Logs.LineBytes = 1 << 20 })
	const n = 64 << 20
	p.set(spec("a", "long", strconv.Itoa(n)))
	p.line("a out after")
	p.set()
	p.event("a", life.Stopped)
	path := p.LogPath("a")
	p.end()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf(" [%d bytes cut]\n", n-1<<20); !strings.Contains(string(content), want) || len(content) > 2<<20 {
		t.Errorf("%d bytes in the file, which does not say %q", len(content), want)
	}
}

func TestGrowsWithoutBound(t *testing.T) {
	p := start(t, nil)
	s := spec("a", "grow")
	s.MemoryHigh, s.MemoryMax = 100<<20, 200<<20
	p.set(s)
	p.until("a kill for its memory", func(map[string]supervise.Status) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, e := range p.events {
			if e.Exit != nil && e.To == life.Exited {
				if e.Exit.Signal != "SIGKILL" {
					t.Fatalf("ended by itself: %+v", e)
				}
				return true
			}
		}
		return false
	})
}

func TestStuck(t *testing.T) {
	for name, test := range map[string]struct {
		part           string
		within, atMost time.Duration
		want           string
	}{
		"without CPU": {"stubborn", 500 * time.Millisecond, time.Hour, "no CPU used"},
		"with CPU":    {"spin", time.Second, 2500 * time.Millisecond, "while using CPU"},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, nil)
			p.set(spec("a", test.part))
			p.line("ready")
			first := p.state("a", life.Running)
			if err := p.Expect(context.Background(), "a", test.within, test.atMost); err != nil {
				t.Fatal(err)
			}
			if e := p.event("a", life.Stuck); !strings.Contains(e.Cause, test.want) {
				t.Errorf("stuck because %q, want %q", e.Cause, test.want)
			}
			p.until("another process", func(all map[string]supervise.Status) bool {
				return all["a"].State == life.Running && all["a"].PID != first.PID
			})
		})
	}
}

// stopped says whether the kernel gives a process no time.
func stopped(t *testing.T, s supervise.Status) bool {
	t.Helper()
	if s.Group == "cgroup v2" {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", s.PID))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(content)) {
			if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
				for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
					if events, err := os.ReadFile(mount + path + "/cgroup.events"); err == nil {
						return strings.Contains(string(events), "frozen 1")
					}
				}
			}
		}
		return false
	}
	stat, err := process.ReadStat(s.PID)
	if err != nil {
		t.Fatal(err)
	}
	return stat.State == 'T'
}

func TestFreeze(t *testing.T) {
	ctx := context.Background()
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain=%v", plain), func(t *testing.T) {
			p := start(t, func(o *supervise.Options) { o.NoCgroup = plain })
			p.set(spec("a", "quiet"))
			p.line("ready")
			s := p.state("a", life.Running)
			if err := p.Freeze(ctx, "a", time.Now().Add(500*time.Millisecond), "test"); err != nil {
				t.Fatal(err)
			}
			s = p.state("a", supervise.Frozen)
			p.until("the kernel to stop it", func(map[string]supervise.Status) bool { return stopped(t, s) })
			p.state("a", life.Running)
			p.until("the kernel to let it go on", func(map[string]supervise.Status) bool { return !stopped(t, s) })
			// A frozen worker can be stopped like any other.
			if err := p.Freeze(ctx, "a", time.Now().Add(time.Hour), "test"); err != nil {
				t.Fatal(err)
			}
			if err := p.Stop(ctx, "a", "test"); err != nil {
				t.Fatal(err)
			}
			p.line("bye")
			p.state("a", life.Stopped)
			if err := p.Freeze(ctx, "a", time.Now().Add(time.Second), "test"); !errors.Is(err, supervise.ErrWrongState) {
				t.Errorf("freezing a stopped worker: %v", err)
			}
		})
	}
}

func TestLauncherSetsTheScene(t *testing.T) {
	p := start(t, nil)
	s := spec("a", "say", "x y")
	s.CPUs, s.OOMScoreAdj, s.Nice, s.OpenFiles = []int{0}, 500, 3, 100
	s.MemoryNodes = []int{0}
	s.Env = append(s.Env, "HELLO=world")
	p.set(s)
	line := p.line(`"cpus"`)
	var got map[string]any
	if err := json.Unmarshal([]byte(line[strings.Index(line, "{"):]), &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"cpus": 1.0, "first": true, "oom": "500", "nnp": 1.0, "nice": 3.0, "env": "world", "files": 100.0, "descriptors": nil,
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	if cwd, ok := got["cwd"].(string); !ok || !strings.HasSuffix(cwd, "/workers/a/work") {
		t.Errorf("works in %v", got["cwd"])
	}
}

func TestFed(t *testing.T) {
	p := start(t, nil)
	s := spec("a", "echo")
	s.Fed = true
	p.set(s, spec("b", "quiet"))
	p.state("a", life.Running)
	if err := p.Send(context.Background(), "a", []byte("job 1")); err != nil {
		t.Fatal(err)
	}
	p.line("a proofs proof of job 1")
	if err := p.Send(context.Background(), "b", []byte("job")); !errors.Is(err, supervise.ErrWrongState) {
		t.Errorf("a job for a worker that is not fed: %v", err)
	}
	if err := p.Send(context.Background(), "a", []byte("job\n")); err == nil {
		t.Error("a line of two lines was sent")
	}
}

func TestTwoAgents(t *testing.T) {
	var options supervise.Options
	start(t, func(o *supervise.Options) { options = *o })
	_, err := supervise.New(options)
	var locked *supervise.LockedError
	if !errors.As(err, &locked) || !strings.Contains(locked.Holder, strconv.Itoa(os.Getpid())) {
		t.Errorf("the second agent: %v", err)
	}
}

func TestCorruptState(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"empty":   func([]byte) []byte { return nil },
		"cut":     func(b []byte) []byte { return b[:len(b)-10] },
		"flipped": func(b []byte) []byte { b[len(b)-10] ^= 1; return b },
		"garbage": func([]byte) []byte { return []byte("hello\n") },
	} {
		t.Run(name, func(t *testing.T) {
			var options supervise.Options
			p := start(t, func(o *supervise.Options) { options = *o })
			p.set(spec("a/b", "quiet"))
			p.line("ready")
			first := p.state("a/b", life.Running)
			p.end() // Leaves the worker.
			path := filepath.Join(options.StateDir, "state.json")
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = supervise.New(options)
			var corrupt *supervise.CorruptStateError
			if !errors.As(err, &corrupt) || !strings.Contains(err.Error(), "move it away") {
				t.Fatalf("damaged state: %v", err)
			}
			// The way out that the message names.
			if err := os.Rename(path, path+".damaged"); err != nil {
				t.Fatal(err)
			}
			p2 := start(t, func(o *supervise.Options) { o.StateDir = options.StateDir })
			p2.set(spec("a/b", "quiet"))
			s := p2.state("a/b", life.Running)
			if s.PID != first.PID || !s.Adopted {
				t.Errorf("was %d, is %+v", first.PID, s)
			}
		})
	}
}

func TestReusedPIDIsNotTouched(t *testing.T) {
	var options supervise.Options
	p := start(t, func(o *supervise.Options) { options = *o })
	p.set(spec("a", "quiet"))
	p.line("ready")
	s := p.state("a", life.Running)
	p.end()
	// The process is another one than the recorded, by its start: as if the number had been given to somebody else.
	stat, err := process.ReadStat(s.PID)
	if err != nil {
		t.Fatal(err)
	}
	boot, err := process.BootID()
	if err != nil {
		t.Fatal(err)
	}
	_, err = process.Open(process.Identity{PID: s.PID, StartTicks: stat.StartTicks + 1, BootID: boot})
	if !errors.Is(err, process.ErrReused) {
		t.Errorf("another start time: %v", err)
	}
	_, err = process.Open(process.Identity{PID: s.PID, StartTicks: stat.StartTicks, BootID: "another"})
	if !errors.Is(err, process.ErrGone) {
		t.Errorf("another boot: %v", err)
	}
	// A foreign process that has the recorded number: ours has no mark, and lives on.
	bystander, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "600"}, &syscall.ProcAttr{Env: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = unix.Kill(bystander, unix.SIGKILL)
		_, _ = unix.Wait4(bystander, nil, 0, nil)
	}()
	rewriteState(t, options.StateDir, strings.NewReplacer(fmt.Sprintf(`"pid":%d`, s.PID), fmt.Sprintf(`"pid":%d`, bystander)))
	p2 := start(t, func(o *supervise.Options) { o.StateDir = options.StateDir })
	p2.set(spec("a", "quiet"))
	s2 := p2.until("a process of its own", func(all map[string]supervise.Status) bool { return all["a"].State == life.Running })["a"]
	if s2.PID == bystander || s2.PID == s.PID || s2.Adopted {
		t.Errorf("adopted a stranger: %+v", s2)
	}
	if alive(s.PID) {
		t.Error("two processes of one name: the first, unrecorded, lives")
	}
	stat, err = process.ReadStat(bystander)
	if err != nil || stat.State == 'Z' {
		t.Errorf("the bystander was killed: %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	var directory string
	p := start(t, func(o *supervise.Options) { directory = o.StateDir })
	p.set(spec("a", "quiet"))
	p.line("a out ready")
	p.state("a", life.Running)
	p.until("the log", func(map[string]supervise.Status) bool {
		_, err := os.Stat(p.LogPath("a"))
		return err == nil
	})
	// From now on the state cannot be written, nor b's log.
	full := filepath.Join(directory, "state.json.new")
	if err := os.Symlink("/dev/full", full); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", filepath.Join(directory, "logs", "b.log")); err != nil {
		t.Fatal(err)
	}
	p.set(spec("a", "quiet"), spec("b", "quiet"))
	if e := p.event("b", life.Blocked); !strings.Contains(e.Cause, "no space left") {
		t.Errorf("b is blocked because %q", e.Cause)
	}
	if err := p.Freeze(context.Background(), "a", time.Now().Add(time.Second), "test"); !errors.Is(err, supervise.ErrNotRecorded) {
		t.Errorf("frozen without a record: %v", err)
	}
	if s := p.state("a", life.Running); s.Starts != 1 {
		t.Errorf("a suffered: %+v", s)
	}
	// There is room again for the state, and b runs, though its log is not written, but counted.
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	p.line("b out ready")
	p.until("a count of lost lines", func(all map[string]supervise.Status) bool { return all["b"].DroppedLines > 0 })
	if err := os.Remove(filepath.Join(directory, "logs", "b.log")); err != nil {
		t.Fatal(err)
	}
	if err := p.Restart(context.Background(), "b", "test"); err != nil {
		t.Fatal(err)
	}
	p.until("the log to say so", func(map[string]supervise.Status) bool {
		content, err := os.ReadFile(p.LogPath("b"))
		return err == nil && strings.Contains(string(content), "lines dropped")
	})
}

func TestRefusesBadSpecs(t *testing.T) {
	p := start(t, nil)
	err := p.Set(context.Background(), []supervise.Spec{
		{Name: "../x", Command: []string{"/bin/true"}}, {Name: "ok", Command: []string{"/bin/true"}}, {Name: "ok", Command: []string{"/bin/true"}},
		{Name: "none"}, {Name: "env", Command: []string{"/bin/true"}, Env: []string{"SNARKPOOL_WORKER=x"}},
		{Name: "memory", Command: []string{"/bin/true"}, MemoryHigh: 2, MemoryMax: 1},
	})
	for _, want := range []string{`"../x"`, `"ok" is given twice`, `"none": no command`, `"env": environment`, "memory high 2"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %s: %v", want, err)
		}
	}
}
