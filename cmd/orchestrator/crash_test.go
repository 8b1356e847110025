package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"provingground/internal/soak"
	"provingground/orchestrator"
	"provingground/orchestrator/record"
	"provingground/orchestrator/simnet"
)

func freePort(tb testing.TB) uint16 {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer listener.Close()
	return uint16(listener.Addr().(*net.TCPAddr).Port)
}

// crashScript does one of everything that leaves something behind, and leaves some of it at its end. NAME makes its files, memos and
// accounts those of one run.
const crashScript = `
{"action":"discovery","params":{"noBPs":true}}
{"action":"fund-keys","params":{"amount":60000000000,"fee":1000000000,"prefix":"./NAME/fund/key","num":6,"privkeys":["private-keys/KEY"]}}
{"action":"load-keys","params":{"dir":"./NAME/fund"}}
{"action":"payments","params":{"experimentName":"NAME","tps":0.3,"minTps":0.1,"durationMin":20000,"minFee":100000000,"maxFee":100000000,"amount":1000,
 "receiver":"B62qiy32p8kAKnny8ZFwoMhYpBppM1DWVCqAPBYNcXnsAHhnfAAuXgg","feePayers":{"type":"output","step":-1,"name":"key"},"nodes":{"type":"output","step":-3,"name":"participant"}}}
{"action":"set-zkapp-soft-limit","params":{"limit":5,"nodes":{"type":"output","step":-4,"name":"participant"}}}
{"action":"sample","params":{"group":{"type":"output","step":-5,"name":"participant"},"ratios":[0.5]}}
{"action":"isolate","params":{"nodes":{"type":"output","step":-1,"name":"group1"}}}
{"action":"wait","params":{"sec":20}}
{"action":"reset-gating","params":{"nodes":{"type":"output","step":-3,"name":"group1"},"addRandomPeers":2}}
{"action":"stop","params":{"receipts":{"type":"output","step":-6,"name":"receipt"}}}
{"action":"wait","params":{"sec":20}}
{"action":"payments","params":{"experimentName":"NAME","tps":0.2,"minTps":0.1,"durationMin":20000,"minFee":100000000,"maxFee":100000000,"amount":1000,
 "receiver":"B62qiy32p8kAKnny8ZFwoMhYpBppM1DWVCqAPBYNcXnsAHhnfAAuXgg","feePayers":{"type":"output","step":-9,"name":"key"},"nodes":{"type":"output","step":-11,"name":"participant"}}}
`

// blocksScript does the same with the blocks of the script language: branches, rounds, attempts, deadlines, claims, a last block.
const blocksScript = `
experiment "NAME"
seed 5
limit rate <= 2 tps, spend <= 900_000_000 mina
let forever = 300h
senders = discovery(no-block-producers: true) retry 3 every 10s
fund-keys(amount: 60 mina, fee: 1 mina, prefix: "./NAME/fund/key", num: 6, privkeys: ["private-keys/KEY"])
keys = load-keys(dir: "./NAME/fund")
watch load.rate <= 1 tps
parallel {
  first = payments(tps: 0.3 tps, min-tps: 0.1 tps, duration: forever, fee: 0.1 mina, amount: 1_000 nanomina,
    receiver: "B62qiy32p8kAKnny8ZFwoMhYpBppM1DWVCqAPBYNcXnsAHhnfAAuXgg", fee-payers: keys, nodes: senders) retry 2 every 10s
  {
    set-zkapp-soft-limit(limit: 5, nodes: senders)
    halves = sample(group: senders, ratios: [50%])
    isolate(nodes: halves.group1)
    wait(20s)
    reset-gating(nodes: halves.group1, add-random-peers: 2)
  }
}
expect load.rate >= 0.3 tps within 10h # deadlines are network time: ten hours are twelve seconds here
within 10h {
  stop(receipts: first)
  wait(20s)
}
repeat 2 as round {
  again = payments(tps: 0.2 tps, min-tps: 0.1 tps, duration: forever, fee: 0.1 mina, amount: 1_000 nanomina,
    receiver: "B62qiy32p8kAKnny8ZFwoMhYpBppM1DWVCqAPBYNcXnsAHhnfAAuXgg", fee-payers: keys, nodes: senders)
  expect count(again) == 2
  stop(receipts: again)
  wait(20s) # until the nodes have really stopped
}
last = payments(tps: 0.2 tps, min-tps: 0.1 tps, duration: forever, fee: 0.1 mina, amount: 1_000 nanomina,
  receiver: "B62qiy32p8kAKnny8ZFwoMhYpBppM1DWVCqAPBYNcXnsAHhnfAAuXgg", fee-payers: keys, nodes: senders)
expect count(last.participant) == 2
on failure { log("failed") }
finally {
  set-zkapp-soft-limit(limit: 7, nodes: senders)
  wait(10s)
}
`

// crashRun is one run of the script, killed or not, and what came of it.
type crashRun struct {
	n      *network
	name   string
	script string
	out    string // file of standard output
	from   int    // length of the journal before it
}

func (n *network) newCrashRun(text, name string, key int) crashRun {
	script := strings.NewReplacer("NAME", name, "KEY", fmt.Sprintf("key-%d", key)).Replace(text)
	return crashRun{n: n, name: name, script: script, out: filepath.Join(n.dir, name+".out"), from: len(n.History())}
}

// start returns the command that runs or resumes the script, its standard output going to a file.
func (r crashRun) start(t *testing.T, out string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := r.n.command(t, append(args, "-record", out+".record")...)
	cmd.Stdin = strings.NewReader(r.script)
	file, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	cmd.Stdout = file
	var log bytes.Buffer
	cmd.Stderr = &log
	return cmd, &log
}

// killedAt runs the script and lets it kill itself after so many lines of its record.
func (r crashRun) killedAt(t *testing.T, line int) {
	t.Helper()
	cmd, log := r.start(t, r.out, "-seed", "5", r.n.config)
	cmd.Env = append(cmd.Env, killEnv+"="+strconv.Itoa(line))
	if code := exitCode(t, cmd.Run()); code != -int(syscall.SIGKILL) {
		t.Fatalf("killed at line %d: exit %d\n%s", line, code, log)
	}
}

// mustStop undoes what the record of the run says, and fails the test unless nothing remains. Load whose request was cut off on an older
// daemon has no known handle: it alone may remain, and then stop must say so, with the time at which it ends.
func (r crashRun) mustStop(t *testing.T, out string) {
	t.Helper()
	cmd := r.n.command(t, "stop", out, r.n.config)
	var log bytes.Buffer
	cmd.Stderr = &log
	code := exitCode(t, cmd.Run())
	left := r.unstopped()
	switch {
	case len(left) == 0 && code != orchestrator.CodeOK, len(left) > 0 && code != orchestrator.CodeRemains:
		t.Fatalf("stop %s: exit %d, and these schedules run: %v\n%s", out, code, left, &log)
	}
	for _, s := range left {
		if !r.old(s.Node) {
			t.Fatalf("stop %s: on the newer node %s a schedule runs: %v\n%s", out, s.Node, s, &log)
		}
		if !strings.Contains(log.String(), "on "+s.Node+": the node accepted it, but its handle is not known") || !strings.Contains(log.String(), "ends by itself at") {
			t.Fatalf("stop %s: on %s a schedule runs, and nobody says so: %v\n%s", out, s.Node, s, &log)
		}
	}
	if gated, limited := r.n.History().Gating(), r.n.History().Limits(); len(gated) > 0 || len(limited) > 0 {
		t.Fatalf("after stop %s: gating %v, limits %v\n%s", out, gated, limited, &log)
	}
}

// unstopped returns the schedules of this run that run and were not told to stop.
func (r crashRun) unstopped() []simnet.Schedule {
	return slices.DeleteFunc(r.n.History().Unstopped(), func(s simnet.Schedule) bool { return !strings.HasPrefix(s.MemoPrefix, r.name+"-") })
}

// old reports whether a node is an older daemon.
func (r crashRun) old(address string) bool {
	nodes := r.n.Nodes()
	return slices.Contains(nodes[len(nodes)-r.n.older:], address)
}

// accepted returns the schedules of this run that nodes accepted, by memo prefix, in order.
func (r crashRun) accepted() []string {
	var memos []string
	for _, s := range r.n.History().Schedules() {
		if strings.HasPrefix(s.MemoPrefix, r.name+"-") {
			memos = append(memos, s.MemoPrefix)
		}
	}
	slices.Sort(memos)
	return memos
}

// countLines counts the outputs and finished steps of a record: what must be the same however often a run was cut short.
func countLines(t *testing.T, path string) map[string]int {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	counts := map[string]int{}
	if _, err := record.Read(path, file, func(l record.Line) error {
		if l.Output() || l.Name == "_done" || l.Name == "_end" {
			counts[fmt.Sprintf("step %d %s", l.Step, l.Name)]++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return counts
}

func countAll(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(text, []byte("\n"))
}

// TestKilledAfterEveryRecordLine kills the orchestrator after each line of its record, one by one, and lets stop or resume go on from
// there. Whatever the line: stop leaves nothing running, and resume ends as the uninterrupted run without repeating anything.
func TestKilledAfterEveryRecordLine(t *testing.T) {
	for name, text := range map[string]string{"steps": crashScript, "blocks": blocksScript} {
		t.Run(name, func(t *testing.T) { killedAfterEveryRecordLine(t, text) })
	}
}

func killedAfterEveryRecordLine(t *testing.T, text string) {
	t.Helper()
	n := newNetwork(t, t.TempDir(), usualScale, nil)
	want, schedules, lines := n.uninterrupted(t, text)
	for line := 1; line < lines; line++ { // the last line is the end itself
		r := n.newCrashRun(text, fmt.Sprintf("a%d", line), 1+line%19)
		r.killedAt(t, line)
		r.mustStop(t, r.out)

		r = n.newCrashRun(text, fmt.Sprintf("b%d", line), 1+line%19)
		r.killedAt(t, line)
		resumed := r.mustResume(t, line)
		got := countLines(t, resumed)
		for name, n := range want {
			if got[name] != n {
				t.Errorf("killed after line %d and resumed: %d lines %q, the uninterrupted run has %d", line, got[name], name, n)
			}
		}
		if got := r.accepted(); len(got) != schedules {
			t.Errorf("killed after line %d and resumed: schedules %v, the uninterrupted run has %d", line, got, schedules)
		}
		r.mustStop(t, resumed)
	}
	if overlaps := n.History().Overlaps(); len(overlaps) > 0 {
		t.Errorf("a sender key in two schedules at once: %v", overlaps)
	}
}

// TestKilledOnOlderDaemons does the same with daemons that choose the handles themselves. A request that was cut off there may have left
// load without a known handle; that is reported, and never doubled.
func TestKilledOnOlderDaemons(t *testing.T) {
	n := newNetwork(t, t.TempDir(), usualScale, func(o *simnet.Options) { o.Old = o.Nodes })
	text := crashScript
	_, schedules, lines := n.uninterrupted(t, text)
	step := max(1, lines/(2*soak.Rounds(t)))
	for line := 1 + rand.IntN(step); line < lines; line += step {
		r := n.newCrashRun(text, fmt.Sprintf("a%d", line), 1+line%19)
		r.killedAt(t, line)
		r.mustStop(t, r.out)

		r = n.newCrashRun(text, fmt.Sprintf("b%d", line), 1+line%19)
		r.killedAt(t, line)
		resumed := r.mustResume(t, line)
		if got := r.accepted(); len(got) != schedules {
			t.Errorf("killed after line %d and resumed: schedules %v, the uninterrupted run has %d", line, got, schedules)
		}
		r.mustStop(t, resumed)
	}
}

// uninterrupted runs the script to its end, and returns its lines by kind, the number of its schedules and of its lines.
func (n *network) uninterrupted(t *testing.T, text string) (want map[string]int, schedules, lines int) {
	t.Helper()
	whole := n.newCrashRun(text, "w", 0)
	cmd, log := whole.start(t, whole.out, "-seed", "5", n.config)
	if code := exitCode(t, cmd.Run()); code != 0 {
		t.Fatalf("the uninterrupted run: exit %d\n%s", code, log)
	}
	want, schedules, lines = countLines(t, whole.out), len(whole.accepted()), countAll(t, whole.out)
	whole.mustStop(t, whole.out)
	if asked := 5 + 4*strings.Count(text, "\nrepeat 2"); schedules != asked {
		t.Fatalf("the uninterrupted run has %d schedules, the script asks for %d", schedules, asked)
	}
	return want, schedules, lines
}

// mustResume continues the run to its end, and returns the file of its output.
func (r crashRun) mustResume(t *testing.T, line int) string {
	t.Helper()
	resumed := r.out + ".resumed"
	cmd, log := r.start(t, resumed, "resume", r.out, r.n.config)
	if code := exitCode(t, cmd.Run()); code != 0 {
		t.Fatalf("killed after line %d, resume: exit %d\n%s", line, code, log)
	}
	return resumed
}

// TestRandomSignals sends SIGINT, SIGTERM or SIGKILL at random moments. After the clean-up, or after stop where there was none, nothing
// runs.
func TestRandomSignals(t *testing.T) {
	n := newNetwork(t, t.TempDir(), usualScale, nil)
	for round := range soak.Rounds(t) {
		r := n.newCrashRun([]string{crashScript, blocksScript}[round/3%2], fmt.Sprintf("s%d", round), round%20)
		cmd, log := r.start(t, r.out, "-seed", strconv.Itoa(round), n.config)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		signal := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL}[round%3]
		timer := time.NewTimer(time.Duration(rand.IntN(250)) * time.Millisecond)
		var err error
		select {
		case <-timer.C:
			_ = cmd.Process.Signal(signal)
			err = <-ended
		case err = <-ended:
		}
		timer.Stop()
		code := exitCode(t, err)
		t.Logf("round %d, %v: exit %d", round, signal, code)
		switch code {
		case 0, -int(signal): // it had ended, or the signal came before it was watched for, or it was SIGKILL
			if text, err := os.ReadFile(r.out); err == nil && bytes.Contains(text, []byte("\n")) {
				r.mustStop(t, r.out)
			}
		case 128 + int(signal):
		default:
			t.Errorf("round %d, %v: exit %d\n%s", round, signal, code, log)
		}
		if left := r.unstopped(); len(left) > 0 {
			t.Fatalf("round %d, %v: these schedules run: %v\n%s", round, signal, left, log)
		}
	}
}

// TestKilledWithItsPrograms kills the orchestrator while the mina executable runs. That must not go on alone: a resumed run would start a
// second one with the same funding key.
func TestKilledWithItsPrograms(t *testing.T) {
	n := newNetwork(t, t.TempDir(), usualScale, nil)
	program := filepath.Join(n.dir, "slow-mina")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho $$ > pid.new && mv pid.new pid\nexec sleep 300\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(n.config)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(n.dir, "slow.json")
	text = regexp.MustCompile(`"minaExec": "[^"]*"`).ReplaceAll(text, []byte(`"minaExec": "`+program+`"`))
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	r := n.newCrashRun(crashScript, "k", 0)
	cmd, log := r.start(t, r.out, config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	n.await(t, "the program's pid", func() bool {
		text, err := os.ReadFile(filepath.Join(n.dir, "pid"))
		if err == nil {
			pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return err == nil
	})
	_ = cmd.Process.Kill()
	if code := exitCode(t, cmd.Wait()); code != -int(syscall.SIGKILL) {
		t.Fatalf("exit %d\n%s", code, log)
	}
	n.await(t, "the program's end", func() bool { return syscall.Kill(pid, 0) != nil })
}

// await waits until something is so; the test's own time limit ends it.
func (n *network) await(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("waiting for %s: %v", what, t.Context().Err())
		}
	}
}
