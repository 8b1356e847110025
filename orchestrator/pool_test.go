package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"provingground/orchestrator"
	"provingground/orchestrator/record"
)

// fakePool is an agent of a pool of SNARK workers, in memory. Its workers are named HOST/POOL/INDEX. Safe for concurrent use.
type fakePool struct {
	mu       sync.Mutex
	workers  []orchestrator.PoolWorker
	commands []string
	away     func(command string) error // why a command is not done; nil for never
}

// newFakePool returns the pool of the workers named, each with its state: works, paused, stopped, or paused until a wall time that is far ahead.
func newFakePool(states ...string) *fakePool {
	p := &fakePool{}
	for _, s := range states {
		name, state, _ := strings.Cut(s, " ")
		w := orchestrator.PoolWorker{Name: "bm7/" + name, Takes: state == "works", Paused: strings.HasPrefix(state, "paused")}
		if state == "paused for a while" {
			w.Until = poolUntil()
		}
		p.workers = append(p.workers, w)
	}
	return p
}

// poolUntil is when a pause for a while ends.
func poolUntil() time.Time { return time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) }

// state says how the workers are.
func (p *fakePool) state() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, w := range p.workers {
		state := "stopped"
		switch {
		case w.Takes:
			state = "works"
		case w.Paused && w.Until.Equal(poolUntil()):
			state = "paused for a while"
		case w.Paused:
			state = "paused"
		}
		all = append(all, strings.TrimPrefix(w.Name, "bm7/")+" "+state)
	}
	return all
}

func (p *fakePool) given() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.commands)
}

func (p *fakePool) do(command, target string, change func(*orchestrator.PoolWorker)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away != nil {
		if err := p.away(command); err != nil {
			return err
		}
	}
	if command != "status" {
		p.commands = append(p.commands, command+" "+target)
	}
	for i := range p.workers {
		name := p.workers[i].Name
		if target == "all" || target == name || strings.Contains(name, "/"+target+"/") {
			change(&p.workers[i])
		}
	}
	return nil
}

func (p *fakePool) Workers(_ context.Context, target string) ([]orchestrator.PoolWorker, error) {
	var found []orchestrator.PoolWorker
	return found, p.do("status", target, func(w *orchestrator.PoolWorker) { found = append(found, *w) })
}

func (p *fakePool) Pause(_ context.Context, target string, until time.Time) error {
	return p.do("pause", target, func(w *orchestrator.PoolWorker) { w.Takes, w.Paused, w.Until = false, true, until })
}

func (p *fakePool) Resume(_ context.Context, target string) error {
	return p.do("resume", target, func(w *orchestrator.PoolWorker) { w.Takes, w.Paused, w.Until = true, false, time.Time{} })
}

// world gives a run the pool at the socket that the configuration names, and at pool.sock.
func (p *fakePool) world(w *orchestrator.World) {
	w.SnarkPool = func(socket string) (orchestrator.SnarkPool, string, error) {
		if socket != "" && socket != "pool.sock" && socket != "/run/pool.sock" {
			return nil, "", fmt.Errorf("no agent at %s", socket)
		}
		return p, "/run/pool.sock", nil
	}
}

// newPoolNetwork starts a network whose configuration names a pool.
func newPoolNetwork(t *testing.T) *network {
	t.Helper()
	n := newNetwork(t, nil)
	n.config.SnarkPool = &orchestrator.SnarkPoolConfig{Socket: "pool.sock"}
	return n
}

// TestSnarkPool: inside of the block so many workers take work as it says, and behind it each does as before.
func TestSnarkPool(t *testing.T) {
	n := newPoolNetwork(t)
	for _, test := range []struct {
		call           string
		before, inside []string
		commands       string
	}{
		{"pause: true", []string{"cpu/0 works", "cpu/1 works"}, []string{"cpu/0 paused", "cpu/1 paused"}, "pause all, resume all"},
		{`socket: "pool.sock", pause: true, target: "cpu"`, []string{"cpu/0 works", "cpu/1 works", "gpu/0 works"}, []string{"cpu/0 paused", "cpu/1 paused", "gpu/0 works"}, "pause cpu, resume cpu"},
		{"pause: true", []string{"cpu/0 works", "cpu/1 paused", "cpu/2 stopped"}, []string{"cpu/0 paused", "cpu/1 paused", "cpu/2 stopped"}, "pause bm7/cpu/0, resume bm7/cpu/0"},
		{"pause: true", []string{"cpu/0 paused"}, []string{"cpu/0 paused"}, ""},
		{"resume: true", []string{"cpu/0 paused for a while", "cpu/1 paused for a while"}, []string{"cpu/0 works", "cpu/1 works"}, "resume all, pause all"},
		{"resume: true", []string{"cpu/0 paused for a while", "cpu/1 works"}, []string{"cpu/0 works", "cpu/1 works"}, "resume bm7/cpu/0, pause bm7/cpu/0"},
		{"workers: 1", []string{"cpu/0 paused", "cpu/1 works", "cpu/2 works"}, []string{"cpu/0 paused", "cpu/1 works", "cpu/2 paused"}, "pause bm7/cpu/2, resume bm7/cpu/2"},
		{"workers: 2", []string{"cpu/0 paused", "cpu/1 works", "cpu/2 paused"}, []string{"cpu/0 works", "cpu/1 works", "cpu/2 paused"}, "resume bm7/cpu/0, pause bm7/cpu/0"},
		{"workers: 0", []string{"cpu/0 works"}, []string{"cpu/0 paused"}, "pause all, resume all"},
		{"workers: 1 + 1", []string{"cpu/0 works", "cpu/1 works"}, []string{"cpu/0 works", "cpu/1 works"}, ""},
	} {
		t.Run(test.call, func(t *testing.T) {
			p := newFakePool(test.before...)
			var inside []string
			n.try(fmt.Sprintf("quiet = snark-pool(%s) { wait(1s) }\nwait(2s)", test.call), trial{world: p.world, step: func(number int, _ string) {
				switch number {
				case 1:
					inside = p.state()
				case 2:
					mustEqual(t, "behind the block", test.before, p.state())
				}
			}}).mustEnd(t, orchestrator.CodeOK)
			mustEqual(t, "inside the block", test.inside, inside)
			mustEqual(t, "commands", test.commands, strings.Join(p.given(), ", "))
		})
	}
}

// TestSnarkPoolIsLeft: whichever way the block ends, the pool is as it was before, and the run says so.
func TestSnarkPoolIsLeft(t *testing.T) {
	n := newPoolNetwork(t)
	before := []string{"cpu/0 works", "cpu/1 paused for a while"}
	for name, test := range map[string]struct {
		script string
		code   int
		undone string
	}{
		"a step fails":          {"snark-pool(pause: true) { isolate(nodes: [\"127.0.0.1:1\"]) }", orchestrator.CodeStep, "step 0 (snark-pool): undone on 1/1"},
		"an expect":             {"calm = snark-pool(resume: true) { expect load.rate > 5 tps }", orchestrator.CodeVerdict, "calm (snark-pool): undone on 1/1"},
		"a deadline":            {"within 1s { snark-pool(pause: true) { wait(10m) } }", orchestrator.CodeStep, "step 0 (snark-pool): undone on 1/1"},
		"a branch beside it":    {"parallel { snark-pool(pause: true) { wait(1000m) } { wait(1m) expect load.rate > 5 tps } }", orchestrator.CodeVerdict, "step 0 (snark-pool): undone on 1/1"},
		"blocks in each other":  {"snark-pool(workers: 2) { snark-pool(pause: true) { expect load.rate > 5 tps } }", orchestrator.CodeVerdict, "step 1 (snark-pool): undone on 1/1"},
		"the last block, later": {"wait(1s)\nfinally { snark-pool(pause: true) { expect load.rate > 5 tps } }", orchestrator.CodeVerdict, "step 1 (snark-pool): undone on 1/1"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakePool(before...)
			e := n.try(test.script, trial{world: p.world}).mustEnd(t, test.code)
			mustEqual(t, "pool", before, p.state())
			mustSay(t, strings.Join(e.Undone, "\n"), test.undone)
		})
	}
	t.Run("a signal", func(t *testing.T) {
		p := newFakePool(before...)
		ctx, interrupt := interruption(t, syscall.SIGTERM)
		const script = "quiet = snark-pool(pause: true) { wait(5m) expect load.rate == 0 tps }"
		e := n.try(script, trial{ctx: ctx, world: p.world, waiting: func(time.Time) { interrupt() }})
		e.mustBeInterrupted(t, 128+15)
		mustEqual(t, "pool", before, p.state())
		// What was undone is not done again, and then the rest of the block proves nothing.
		recorded, err := orchestrator.ReadRecord(e.path)
		if err != nil {
			t.Fatal(err)
		}
		resumed := n.try(script, trial{world: p.world, resume: recorded}).mustEnd(t, orchestrator.CodeInconclusive)
		mustSay(t, resumed.Err.Error(), "what quiet (snark-pool) left behind was undone")
		mustEqual(t, "pool", before, p.state())
	})
	t.Run("blocks in each other that end well", func(t *testing.T) {
		p := newFakePool(before...)
		n.try("snark-pool(workers: 2) { snark-pool(pause: true) { wait(1s) } expect load.rate == 0 tps }", trial{world: p.world}).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "pool", before, p.state())
	})
}

// TestSnarkPoolIsAway: an agent that does not answer fails the step; what cannot be restored is told, and stop restores it later.
func TestSnarkPoolIsAway(t *testing.T) {
	n := newPoolNetwork(t)
	away := errors.New("no agent is running there")
	before := []string{"cpu/0 works", "cpu/1 works"}
	t.Run("at the beginning", func(t *testing.T) {
		p := newFakePool(before...)
		p.away = func(string) error { return away }
		e := n.try("snark-pool(pause: true) { wait(1s) }", trial{world: p.world}).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "snark-pool failed", away.Error())
	})
	t.Run("and the step is tried again", func(t *testing.T) {
		p := newFakePool("cpu/0 works", "cpu/1 works", "gpu/0 stopped")
		refused := 0
		p.away = func(command string) error {
			if refused++; command == "pause" && refused < 4 {
				return away
			}
			return nil
		}
		n.try("snark-pool(pause: true) retry 9 every 1s { wait(1s) }", trial{world: p.world}).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "pool", []string{"cpu/0 works", "cpu/1 works", "gpu/0 stopped"}, p.state())
	})
	t.Run("at the end, for a while", func(t *testing.T) {
		p := newFakePool(before...)
		refused := 0
		p.away = func(command string) error {
			if command == "resume" && refused < 2 {
				refused++
				return away
			}
			return nil
		}
		e := n.try("snark-pool(pause: true) { wait(1s) }", trial{world: p.world}).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "the end of its block", away.Error())
		mustEqual(t, "pool", before, p.state())
	})
	t.Run("at the end", func(t *testing.T) {
		p := newFakePool(before...)
		p.away = func(command string) error {
			if command == "resume" {
				return away
			}
			return nil
		}
		e := n.try("quiet = snark-pool(pause: true) { wait(1s) }", trial{world: p.world, cleanup: time.Millisecond}).mustEnd(t, orchestrator.CodeRemains)
		mustEqual(t, "remains", 1, len(e.Remains))
		mustSay(t, e.Remains[0].String(), "quiet (snark-pool) on /run/pool.sock: ", away.Error())
		p.away = nil
		result, log := n.stop(e.path, trial{world: p.world})
		if result.Code != orchestrator.CodeOK {
			t.Errorf("stop: %v\n%s", result.Remains, log)
		}
		mustEqual(t, "pool", before, p.state())
	})
}

// TestSnarkPoolRefuses: what cannot work is said where it is found out.
func TestSnarkPoolRefuses(t *testing.T) {
	n := newPoolNetwork(t)
	for script, said := range map[string]string{
		"snark-pool(workers: 3) { wait(1s) }":                                                                "3 workers are wanted, and it has 2 that can take work",
		"snark-pool(target: \"gpu\", pause: true) { wait(1s) }":                                              "none of its 0 workers takes work or is paused",
		"snark-pool(socket: \"x\", pause: true) { wait(1s) }":                                                "no agent at x",
		"parallel { snark-pool(pause: true) { wait(9m) } { wait(1m) snark-pool(workers: 1) { wait(1s) } } }": "worker bm7/cpu/0 is changed by step 0 already",
	} {
		p := newFakePool("cpu/0 works", "cpu/1 works")
		e := n.try(script, trial{world: p.world}).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), said)
		mustEqual(t, "pool", []string{"cpu/0 works", "cpu/1 works"}, p.state())
	}
	n.env["WHERE"] = "pool.sock"
	for script, said := range map[string]string{
		"snark-pool() { wait(1s) }":                                         "test:1:1: snark-pool has exactly one of pause, resume and workers",
		"snark-pool(pause: true, workers: 2) { wait(1s) }":                  "test:1:34: snark-pool has exactly one of pause, resume and workers",
		"snark-pool(pause: false) { wait(1s) }":                             "test:1:19: pause is true, or left out",
		"snark-pool(workers: -1) { wait(1s) }":                              "workers cannot be negative",
		"snark-pool(workers: 2m) { wait(1s) }":                              "\"workers\" wants a whole number",
		"snark-pool(pause: true, socket: env(\"WHERE\")) { wait(1s) }":      "socket cannot come from env()",
		"snark-pool(pause: true, target: \"${w}\") { wait(1s) }\nlet w = 1": "w",
		"snark-pool(pause: true)":                                           "and there is none behind it",
	} {
		mustSay(t, n.findings(script), said)
	}
	n.config.SnarkPool = nil
	mustSay(t, n.findings("snark-pool(pause: true) { wait(1s) }"), "test:1:1: snark-pool needs socket, or snarkPool in the configuration")
	mustEqual(t, "findings", "", n.findings("snark-pool(pause: true, socket: \"pool.sock\") { wait(1s) }"))
}

// poolScript is one with blocks of each kind.
const poolScript = `
parallel {
  quiet = snark-pool(target: "cpu", pause: true) { wait(1s) wait(2s) }
  { wait(1s) }
}
repeat 2 as i {
  snark-pool(target: "gpu", resume: true) { snark-pool(workers: i + 1) { wait(1s) } wait(1s) }
}
expect load.rate == 0 tps
finally { snark-pool(workers: 1) { wait(1s) } }
`

// TestSnarkPoolAfterEveryLine kills a run after each line of its record. Stop brings the pool back to what it was; resume ends well, does inside
// of the blocks what they say, and brings it back too.
func TestSnarkPoolAfterEveryLine(t *testing.T) {
	n := newPoolNetwork(t)
	before := []string{"cpu/0 works", "cpu/1 paused", "gpu/0 paused for a while", "gpu/1 works", "gpu/2 stopped"}
	for line := 1; ; line++ {
		p := newFakePool(before...)
		path, ok := n.cutPool(t, p, line)
		if !ok {
			if line < 40 {
				t.Fatalf("the script has a record of %d lines only", line-1)
			}
			return
		}
		kept, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		left := newFakePool(p.state()...) // the same, for stop
		if result, log := n.stop(path, trial{world: left.world}); result.Code != orchestrator.CodeOK {
			t.Fatalf("line %d: stop: %v\n%s", line, result.Remains, log)
		}
		mustEqual(t, fmt.Sprintf("line %d: after stop", line), before, left.state())

		if err := os.WriteFile(path, kept, 0o600); err != nil {
			t.Fatal(err)
		}
		recorded, err := orchestrator.ReadRecord(path)
		if err != nil {
			t.Fatal(err)
		}
		e := n.try(poolScript, trial{world: p.world, resume: recorded, step: func(number int, _ string) {
			if number == 1 || number == 2 { // in the first block, whichever wait begins
				mustEqual(t, fmt.Sprintf("line %d: resumed, step %d", line, number), "cpu/0 paused", p.state()[0])
			}
		}})
		if e.Code != orchestrator.CodeOK {
			t.Fatalf("line %d: resume: exit %d, %v\n%s", line, e.Code, e.Err, e.log)
		}
		mustEqual(t, fmt.Sprintf("line %d: after resume", line), before, p.state())
	}
}

// cutPool runs the script with a pool, and kills the run at a line of its record: the agent hears nothing of it from then on.
func (n *network) cutPool(t *testing.T, p *fakePool, line int) (path string, ok bool) {
	t.Helper()
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	m := &mortal{at: line, kill: kill}
	p.away = func(string) error {
		if m.dead.Load() {
			return errors.New("nobody asks any more")
		}
		return nil
	}
	n.try(poolScript, trial{ctx: ctx, world: p.world, after: m.after, cleanup: time.Millisecond, file: func(record.File) record.File { return m }})
	p.away = nil
	if !m.dead.Load() {
		return "", false
	}
	path = fmt.Sprintf("pool-%d.record", line)
	if err := os.WriteFile(path, []byte(strings.Join(slices.Collect(strings.Lines(m.text.String()))[:line], "")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, true
}

// TestSnarkPoolIsPlanned: the plan says what the block does, and how long it lasts.
func TestSnarkPoolIsPlanned(t *testing.T) {
	n := newPoolNetwork(t)
	forecast, err := n.compile("calm = snark-pool(target: \"cpu\", workers: 2) { wait(5m) }\nsnark-pool(pause: true) { wait(1m) }").Forecast(&n.config, 0)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := forecast.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	mustSay(t, text.String(), "snark-pool  2 SNARK workers of cpu take work, for the block\n", "snark-pool  the block of calm is over: all is as before it\n",
		"snark-pool  no SNARK worker takes work, for the block\n", "4, in 6m0s of network time")
}
