//go:build linux

package supervise_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"provingground/snarkpool/supervise"
	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/supervise/logs"
	"provingground/snarkpool/supervise/process"
)

// pool is a running supervisor and what it told.
type pool struct {
	*supervise.Supervisor
	t       testing.TB
	end     func()
	changed chan struct{}

	mu     sync.Mutex
	events []supervise.Event
	lines  []string
}

// start runs a supervisor until the test ends, which then finds no process left.
func start(t testing.TB, change func(*supervise.Options)) *pool {
	t.Helper()
	p := &pool{t: t, changed: make(chan struct{}, 1)}
	options := testOptions(t.TempDir())
	options.Events = func(e supervise.Event) {
		p.told(func() { p.events = append(p.events, e) })
	}
	options.Logs.Lines = func(l logs.Line) {
		text := string(l.Text[:min(len(l.Text), 1000)])
		p.told(func() { p.lines = append(p.lines, fmt.Sprintf("%s %s %s", l.Name, l.Stream, text)) })
	}
	if change != nil {
		change(&options)
	}
	s, err := supervise.New(options)
	if err != nil {
		t.Fatal(err)
	}
	p.Supervisor = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	p.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() {
		if ctx.Err() == nil {
			p.set()
			p.until("no worker left", func(all map[string]supervise.Status) bool { return len(all) == 0 })
		}
		p.end()
	})
	return p
}

func (p *pool) told(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *pool) set(specs ...supervise.Spec) {
	p.t.Helper()
	if err := p.Set(context.Background(), specs); err != nil {
		p.t.Fatal(err)
	}
}

// limit is how long a test waits for what must come.
const limit = time.Minute

// until waits until the workers' status is as wanted.
func (p *pool) until(what string, ok func(map[string]supervise.Status) bool) map[string]supervise.Status {
	p.t.Helper()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		all, err := p.Snapshot(context.Background())
		if err != nil {
			p.t.Fatal(err)
		}
		byName := map[string]supervise.Status{}
		for _, s := range all {
			byName[s.Name] = s
		}
		if ok(byName) {
			return byName
		}
		select {
		case <-p.changed:
		case <-again.C:
		case <-timeout.C:
			p.mu.Lock()
			defer p.mu.Unlock()
			p.t.Fatalf("waited %s for: %s\nstatus: %+v\nevents: %+v\nlines: %q", limit, what, all, p.events, p.lines[max(0, len(p.lines)-20):])
		}
	}
}

func (p *pool) state(name string, want life.State) supervise.Status {
	p.t.Helper()
	return p.until(name+" "+string(want), func(all map[string]supervise.Status) bool { return all[name].State == want })[name]
}

// line waits for a line that contains the text.
func (p *pool) line(text string) string {
	p.t.Helper()
	var found string
	p.until("a line with "+text, func(map[string]supervise.Status) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, line := range p.lines {
			if strings.Contains(line, text) {
				found = line
				return true
			}
		}
		return false
	})
	return found
}

// event waits for a transition and returns it.
func (p *pool) event(name string, to life.State) supervise.Event {
	p.t.Helper()
	var found supervise.Event
	p.until(fmt.Sprintf("%s to become %s", name, to), func(map[string]supervise.Status) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, e := range p.events {
			if e.Name == name && e.To == to && e.From != to {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// spec is a worker played by the test binary.
func spec(name string, part ...string) supervise.Spec {
	var grace time.Duration
	if part[0] == "stubborn" {
		grace = 300 * time.Millisecond
	}
	return supervise.Spec{StopGrace: grace, Name: name, Command: append([]string{"/proc/self/exe", "worker"}, part...), Env: []string{"PATH=" + os.Getenv("PATH")}}
}

// alive says whether there is a process that is not dead and waiting for its parent to notice.
func alive(pid int) bool {
	stat, err := process.ReadStat(pid)
	return err == nil && stat.State != 'Z'
}

func TestStartAndStop(t *testing.T) {
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprintf("plain=%v", plain), func(t *testing.T) {
			p := start(t, func(o *supervise.Options) { o.NoCgroup = plain })
			p.set(spec("a/0", "quiet"))
			s := p.state("a/0", life.Running)
			p.line("a/0 out ready")
			if s.PID == 0 || !alive(s.PID) || s.Starts != 1 {
				t.Errorf("running as %+v", s)
			}
			if err := p.Stop(context.Background(), "a/0", "the test says so"); err != nil {
				t.Fatal(err)
			}
			s = p.state("a/0", life.Stopped)
			p.line("a/0 out bye")
			if alive(s.PID) || s.LastExit == nil || !s.LastExit.Known || s.LastExit.Code != 0 {
				t.Errorf("stopped as %+v", s)
			}
			if err := p.Stop(context.Background(), "b", ""); !errors.Is(err, supervise.ErrUnknownWorker) {
				t.Errorf("stopping nobody: %v", err)
			}
		})
	}
}
