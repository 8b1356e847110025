//go:build linux

package supervise_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"provingground/snarkpool/supervise"
	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/supervise/process"
)

// rewriteState changes the text of a state file and mends its checksum.
func rewriteState(t *testing.T, directory string, r *strings.Replacer) {
	t.Helper()
	path := filepath.Join(directory, "state.json")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := bytes.Cut(content, []byte("\n"))
	changed := r.Replace(string(body))
	if changed == string(body) {
		t.Fatalf("nothing to replace in %s", body)
	}
	sum := sha256.Sum256([]byte(changed))
	if err := os.WriteFile(path, fmt.Appendf(nil, "{\"version\":1,\"sha256\":%q}\n%s", hex.EncodeToString(sum[:]), changed), 0o600); err != nil {
		t.Fatal(err)
	}
}

// agentProcess is an agent in a process of its own.
type agentProcess struct {
	t       testing.TB
	command *exec.Cmd
	in      io.WriteCloser
	words   chan agentWord
	ended   chan struct{}
	kill    func()

	mu     sync.Mutex
	events []supervise.Event
}

func startAgent(t testing.TB, directory, how, files string) *agentProcess {
	t.Helper()
	a := &agentProcess{t: t, words: make(chan agentWord, 1<<16), ended: make(chan struct{})}
	a.command = exec.Command("/proc/self/exe", "agent", directory, how, files)
	a.command.Stderr = os.Stderr
	var err error
	if a.in, err = a.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := a.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(a.ended)
		defer close(a.words)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 64<<20)
		for lines.Scan() {
			var w agentWord
			if err := json.Unmarshal(lines.Bytes(), &w); err != nil {
				w.Error = "said " + lines.Text()
			}
			if w.Event != nil {
				a.mu.Lock()
				a.events = append(a.events, *w.Event)
				a.mu.Unlock()
			}
			a.words <- w
		}
	}()
	a.kill = sync.OnceFunc(func() {
		_ = a.command.Process.Kill()
		<-a.ended
		_ = a.command.Wait()
	})
	t.Cleanup(a.kill)
	return a
}

func (a *agentProcess) tell(o agentOrder) {
	a.t.Helper()
	line, err := json.Marshal(o)
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := a.in.Write(append(line, '\n')); err != nil {
		a.t.Fatal(err)
	}
}

// wait reads words until one is as wanted.
func (a *agentProcess) wait(what string, ok func(agentWord) bool) agentWord {
	a.t.Helper()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for {
		select {
		case w, open := <-a.words:
			if !open {
				a.t.Fatalf("the agent ended while the test waited for %s", what)
			}
			if ok(w) {
				return w
			}
		case <-timeout.C:
			a.mu.Lock()
			defer a.mu.Unlock()
			a.t.Fatalf("waited %s for %s; events %+v", limit, what, a.events)
		}
	}
}

func (a *agentProcess) done() agentWord {
	a.t.Helper()
	return a.wait("an answer", func(w agentWord) bool { return w.Done })
}

func (a *agentProcess) status() map[string]supervise.Status {
	a.t.Helper()
	a.tell(agentOrder{Status: true})
	byName := map[string]supervise.Status{}
	for _, s := range a.wait("status", func(w agentWord) bool { return w.Status != nil }).Status {
		byName[s.Name] = s
	}
	a.done()
	return byName
}

func (a *agentProcess) until(what string, ok func(map[string]supervise.Status) bool) map[string]supervise.Status {
	a.t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		all := a.status()
		if ok(all) {
			return all
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("waited %s for %s: %+v", limit, what, all)
		}
		<-tick.C
	}
}

// finish ends all workers and checks that nobody of the state directory is left.
func (a *agentProcess) finish(directory string) {
	a.t.Helper()
	a.tell(agentOrder{Set: []supervise.Spec{}})
	if w := a.done(); w.Error != "" {
		a.t.Fatal(w.Error)
	}
	a.until("no worker", func(all map[string]supervise.Status) bool { return len(all) == 0 })
	a.kill()
	if left := processesOf(a.t, directory); len(left) > 0 {
		a.t.Errorf("processes are left: %v", left)
	}
}

// processesOf returns the processes that work below a state directory, by worker.
func processesOf(t testing.TB, directory string) map[string][]int {
	t.Helper()
	absolute, err := filepath.Abs(directory)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(absolute))
	prefix := hex.EncodeToString(sum[:6]) + ":"
	found, err := process.Marked(prefix, false)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]int{}
	for _, p := range found {
		command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.Handle.Identity().PID))
		if err == nil && !bytes.Contains(command, []byte("launch")) { // A launcher is not a worker yet, and without its agent never will be.
			name := strings.TrimPrefix(p.Mark, prefix)
			all[name] = append(all[name], p.Handle.Identity().PID)
		}
		if err := p.Handle.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestAdoption(t *testing.T) {
	for _, how := range []string{"cgroup", "plain"} {
		t.Run(how, func(t *testing.T) {
			directory := t.TempDir()
			specs := []supervise.Spec{spec("a", "quiet"), spec("b", "echo", filepath.Join(directory, "proved")), spec("c", "count", filepath.Join(directory, "end")), spec("d", "quiet")}
			specs[1].Fed = true
			a := startAgent(t, directory, how, "0")
			a.tell(agentOrder{Set: specs})
			a.done()
			allRun := func(all map[string]supervise.Status) bool {
				return all["a"].State == life.Running && all["b"].State == life.Running && all["c"].State == life.Running && all["d"].State == life.Running
			}
			before := a.until("all to run", allRun)
			a.tell(agentOrder{Stop: "d"})
			a.done()
			a.until("d stopped", func(all map[string]supervise.Status) bool { return all["d"].State == life.Stopped })
			a.tell(agentOrder{Send: "b", Line: "the job that the agent did not live to see proved"})
			if w := a.done(); w.Error != "" {
				t.Fatal(w.Error)
			}
			a.kill()
			if err := os.WriteFile(filepath.Join(directory, "proved"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			b := startAgent(t, directory, how, "0")
			b.wait("the proof that waited", func(w agentWord) bool { return strings.HasSuffix(w.Proof, "did not live to see proved") })
			b.tell(agentOrder{Set: specs})
			b.done()
			after := b.status()
			for _, name := range []string{"a", "b", "c"} {
				if after[name].PID != before[name].PID || !after[name].Adopted || after[name].State != life.Running || after[name].Starts != 1 || after[name].Outdated {
					t.Errorf("%s was %d, is %+v", name, before[name].PID, after[name])
				}
			}
			if after["d"].State != life.Stopped {
				t.Errorf("d, which an operator stopped, is %s", after["d"].State)
			}
			// The death of somebody else's child is noticed too.
			if err := os.WriteFile(filepath.Join(directory, "end"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			w := b.wait("the end of c", func(w agentWord) bool { return w.Event != nil && w.Event.Name == "c" && w.Event.To == life.Exited })
			if w.Event.Exit == nil || w.Event.Exit.Known && w.Event.Exit.Code != 7 {
				t.Errorf("c ended by %+v", w.Event.Exit)
			}
			b.finish(directory)
		})
	}
}

func TestFreezeEndsUnderAnotherAgent(t *testing.T) {
	for _, how := range []string{"cgroup", "plain"} {
		t.Run(how, func(t *testing.T) {
			directory := t.TempDir()
			a := startAgent(t, directory, how, "0")
			a.tell(agentOrder{Set: []supervise.Spec{spec("a", "quiet")}})
			a.done()
			a.until("a runs", func(all map[string]supervise.Status) bool { return all["a"].State == life.Running })
			a.tell(agentOrder{Freeze: "a", For: 2 * time.Second})
			if w := a.done(); w.Error != "" {
				t.Fatal(w.Error)
			}
			s := a.status()["a"]
			a.kill()
			frozen := false
			for tick := time.NewTicker(time.Millisecond); !frozen && time.Now().Before(s.FrozenUntil); <-tick.C {
				frozen = stopped(t, s)
			}
			if !frozen {
				t.Error("not frozen without its agent")
			}
			b := startAgent(t, directory, how, "0")
			b.wait("the agent to be up", func(w agentWord) bool { return w.Up })
			b.until("a to go on", func(all map[string]supervise.Status) bool { return all["a"].State == life.Running && !stopped(t, s) })
			if time.Now().Before(s.FrozenUntil) {
				t.Error("thawed before its time")
			}
			b.finish(directory)
		})
	}
}

// TestAgentKilledAnywhere kills agents at random moments of starts, stops, freezes and crashes: there is never a second process of a
// name, and the last agent finds its way.
func TestAgentKilledAnywhere(t *testing.T) {
	const agents, workers = 25, 6
	directory := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	specs := make([]supervise.Spec, workers)
	for i := range specs {
		part := []string{"quiet", "stubborn", "quiet"}[i%3]
		specs[i] = spec(fmt.Sprintf("w/%d", i), part)
		specs[i].StopGrace = time.Second // of the stubborn ones, which the last agent may find in the middle of it
	}
	specs[2] = supervise.Spec{Name: "w/2", Command: []string{"/bin/sh", "-c", "exit 1"}}
	for i := range agents {
		a := startAgent(t, directory, []string{"cgroup", "plain"}[i%2], "0")
		var some []supervise.Spec
		for _, s := range specs {
			if random.IntN(3) > 0 {
				some = append(some, s)
			}
		}
		a.tell(agentOrder{Set: some})
		a.tell(agentOrder{Freeze: "w/0", For: time.Second})
		a.tell(agentOrder{Stop: "w/1"})
		// Each agent lives for another number of transitions.
		moment := time.NewTimer(500 * time.Millisecond)
		for n := i; n > 0; {
			select {
			case w := <-a.words:
				if w.Event != nil {
					n--
				}
				continue
			case <-moment.C:
			}
			break
		}
		a.kill()
		for name, pids := range processesOf(t, directory) {
			if len(pids) > 1 {
				t.Fatalf("agent %d left %d processes of %s", i, len(pids), name)
			}
		}
	}
	a := startAgent(t, directory, "cgroup", "0")
	a.tell(agentOrder{Set: specs})
	a.done()
	a.until("all where they belong", func(all map[string]supervise.Status) bool {
		for name, s := range all {
			if name == "w/2" && s.State == life.Broken || name == "w/1" && s.State == life.Stopped || s.State == life.Running && len(name) > 0 {
				continue
			}
			return false
		}
		return len(all) == workers
	})
	for name, pids := range processesOf(t, directory) {
		if len(pids) > 1 {
			t.Errorf("%d processes of %s", len(pids), name)
		}
	}
	a.finish(directory)
}

func TestReplace(t *testing.T) {
	directory := t.TempDir()
	end := filepath.Join(directory, "end")
	specs := []supervise.Spec{spec("c", "count", end), spec("f", "echo")}
	specs[1].Fed = true
	a := startAgent(t, directory, "cgroup", "0")
	a.tell(agentOrder{Set: specs})
	a.done()
	before := a.until("all to run", func(all map[string]supervise.Status) bool {
		return all["c"].State == life.Running && all["f"].State == life.Running
	})
	// Programs that cannot take over are refused, and nothing happens.
	for _, bad := range []string{"/does/not/exist", "/bin/true", "/etc/hostname"} {
		a.tell(agentOrder{Replace: bad})
		if w := a.done(); !strings.Contains(w.Error, "nothing was replaced") {
			t.Errorf("replaced by %s: %q", bad, w.Error)
		}
	}
	const times = 5
	for range times {
		a.tell(agentOrder{Replace: "/proc/self/exe"})
		a.wait("the next program", func(w agentWord) bool { return w.Up })
		a.tell(agentOrder{Set: specs})
		a.done()
	}
	after := a.status()
	for name, s := range after {
		if s.PID != before[name].PID || s.Starts != 1 || s.Adopted {
			t.Errorf("%s was %d, is %+v", name, before[name].PID, s)
		}
	}
	a.tell(agentOrder{Send: "f", Line: "job"})
	a.wait("a proof", func(w agentWord) bool { return w.Proof == "proof of job" })
	if err := os.WriteFile(end, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w := a.wait("the exit status of a child of a predecessor", func(w agentWord) bool { return w.Event != nil && w.Event.Name == "c" && w.Event.To == life.Exited })
	if w.Event.Exit == nil || !w.Event.Exit.Known || w.Event.Exit.Code != 7 {
		t.Errorf("c ended by %+v", w.Event.Exit)
	}
	// Every line is there, once.
	content, err := os.ReadFile(filepath.Join(directory, "logs", "c.log"))
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	for line := range strings.Lines(string(content)) {
		if _, text, ok := strings.Cut(line, " out line "); ok {
			if text != fmt.Sprintln(next) {
				t.Fatalf("line %d is %q", next, line)
			}
			next++
		} else if _, text, ok := strings.Cut(line, " out last "); ok {
			if text != fmt.Sprintln(next-1) {
				t.Errorf("the last line is not %d but %q", next-1, line)
			}
			break
		}
	}
	if next == 0 {
		t.Error("no lines")
	}
	if err := os.Remove(end); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	a.finish(directory)
}

func TestFewDescriptors(t *testing.T) {
	directory := t.TempDir()
	a := startAgent(t, directory, "cgroup", "256")
	var specs []supervise.Spec
	const n = 100
	for i := range n {
		specs = append(specs, supervise.Spec{Name: fmt.Sprintf("w/%d", i), Command: []string{"/bin/sleep", "600"}})
	}
	a.tell(agentOrder{Set: specs})
	a.done()
	all := a.until("some to run, the others to be blocked", func(all map[string]supervise.Status) bool {
		running, blocked := 0, 0
		for _, s := range all {
			switch s.State {
			case life.Running:
				running++
			case life.Blocked:
				blocked++
			default:
			}
		}
		return running >= 50 && blocked > 0 && running+blocked >= n-8
	})
	for _, s := range all {
		if s.State == life.Blocked && !strings.Contains(s.Cause, "raise the agent's limit of open files") {
			t.Errorf("%s is blocked because %q", s.Name, s.Cause)
		}
	}
	a.finish(directory)
}
