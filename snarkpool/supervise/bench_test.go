//go:build linux

package supervise_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"provingground/snarkpool/supervise"
	"provingground/snarkpool/supervise/life"
)

// crowd is how many workers the figures are for.
const crowd = 2000

// sleepers are workers that do nothing.
func sleepers(n int) []supervise.Spec {
	specs := make([]supervise.Spec, n)
	for i := range specs {
		specs[i] = supervise.Spec{Name: fmt.Sprintf("bm/cpu/%d", i), Command: []string{"/bin/sleep", "100000"}}
	}
	return specs
}

// counter counts transitions without keeping them.
type counter struct {
	mu      sync.Mutex
	changed *sync.Cond
	counts  map[life.State]int
	last    map[string]supervise.Event // The last one about a process.
	deaths  map[string]time.Time
}

func newCounter() *counter {
	c := &counter{counts: map[life.State]int{}, last: map[string]supervise.Event{}, deaths: map[string]time.Time{}}
	c.changed = sync.NewCond(&c.mu)
	return c
}

func (c *counter) take(e supervise.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.From != e.To {
		c.counts[e.To]++
		if e.PID != 0 {
			c.last[e.Name] = e
		}
		if e.To == life.Exited {
			c.deaths[e.Name] = time.Now()
		}
		c.changed.Broadcast()
	}
}

func (c *counter) wait(state life.State, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.counts[state] < n {
		c.changed.Wait()
	}
}

// startCrowd runs a supervisor with n sleepers and returns their processes.
func startCrowd(b *testing.B, n int, change func(*supervise.Options)) (*pool, *counter, []supervise.Status) {
	b.Helper()
	c := newCounter()
	p := start(b, func(o *supervise.Options) {
		o.Events, o.Logs.Lines = c.take, nil
		o.SampleEvery = 10 * time.Second
		o.Policy = life.Policy{MinUptime: time.Nanosecond, CrashLoopExits: 1 << 30}
		if change != nil {
			change(o)
		}
	})
	p.set(sleepers(n)...)
	c.wait(life.Running, n)
	all, err := p.Snapshot(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return p, c, all
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkIdle reports the agent's share of one core, its memory and its threads while 2,000 workers do nothing.
func BenchmarkIdle(b *testing.B) {
	for _, every := range []time.Duration{time.Hour, 10 * time.Second} {
		b.Run(fmt.Sprintf("sample=%s", every), func(b *testing.B) {
			startCrowd(b, crowd, func(o *supervise.Options) { o.SampleEvery = every })
			runtime.GC()
			before, begin := cpuTime(b), time.Now()
			const span = 20 * time.Second
			<-time.NewTimer(span).C
			b.ReportMetric(100*float64(cpuTime(b)-before)/float64(time.Since(begin)), "%core")
			status, err := os.ReadFile("/proc/self/status")
			if err != nil {
				b.Fatal(err)
			}
			for line := range strings.Lines(string(status)) {
				fields := strings.Fields(line)
				value, err := strconv.ParseFloat(fields[min(1, len(fields)-1)], 64)
				if err != nil {
					continue
				}
				switch fields[0] {
				case "VmRSS:":
					b.ReportMetric(value/1024, "MiB")
				case "Threads:":
					b.ReportMetric(value, "threads")
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkDeathNoticed reports how long after a kill the supervisor tells of it.
func BenchmarkDeathNoticed(b *testing.B) {
	for _, busy := range []bool{false, true} {
		b.Run(fmt.Sprintf("busy=%v", busy), func(b *testing.B) {
			p, c, _ := startCrowd(b, 200, nil)
			if busy {
				specs := sleepers(200)
				for i := range runtime.NumCPU() {
					specs = append(specs, spec(fmt.Sprintf("hog/%d", i), "spin"))
				}
				p.set(specs...)
				c.wait(life.Running, len(specs))
			}
			var took []time.Duration
			for b.Loop() {
				c.mu.Lock()
				running := c.counts[life.Running]
				pid := c.last["bm/cpu/7"].PID
				deaths := c.counts[life.Exited]
				c.mu.Unlock()
				at := time.Now()
				if err := unix.Kill(pid, unix.SIGKILL); err != nil {
					b.Fatal(err)
				}
				c.wait(life.Exited, deaths+1)
				c.wait(life.Running, running+1)
				c.mu.Lock()
				took = append(took, c.deaths["bm/cpu/7"].Sub(at))
				c.mu.Unlock()
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkAllKilled kills 2,000 workers at once, and reports when all deaths were known and when all were back.
func BenchmarkAllKilled(b *testing.B) {
	for _, n := range []int{500, crowd} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p, c, all := startCrowd(b, n, nil)
			var known, back time.Duration
			for b.Loop() {
				c.mu.Lock()
				exited, running := c.counts[life.Exited], c.counts[life.Running]
				c.mu.Unlock()
				begin := time.Now()
				for _, s := range all {
					if err := unix.Kill(s.PID, unix.SIGKILL); err != nil {
						b.Fatal(err)
					}
				}
				c.wait(life.Exited, exited+n)
				known += time.Since(begin)
				c.wait(life.Running, running+n)
				back += time.Since(begin)
				var err error
				if all, err = p.Snapshot(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(known.Seconds()/float64(b.N), "s-known")
			b.ReportMetric(back.Seconds()/float64(b.N), "s-back")
		})
	}
}

// BenchmarkReplace reports how long a replaced agent is away, with 2,000 workers.
func BenchmarkReplace(b *testing.B) {
	directory := b.TempDir()
	a := startAgent(b, directory, "cgroup", "0")
	a.tell(agentOrder{Set: sleepers(crowd)})
	a.done()
	a.until("all to run", func(all map[string]supervise.Status) bool {
		running := 0
		for _, s := range all {
			if s.State == life.Running {
				running++
			}
		}
		return running == crowd
	})
	for b.Loop() {
		a.tell(agentOrder{Replace: "/proc/self/exe"})
		a.wait("the next program", func(w agentWord) bool { return w.Up })
		a.tell(agentOrder{Status: true}) // It has taken over once it answers.
		a.wait("status", func(w agentWord) bool { return w.Status != nil })
		a.done()
	}
	b.StopTimer()
	a.finish(directory)
}
