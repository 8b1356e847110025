package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/dsl"
	"provingground/orchestrator"
	"provingground/orchestrator/evidence"
	"provingground/orchestrator/simnet"
)

// This file is about what scripts ask of the nodes' own logs. The logs themselves are another package's: here somebody answers who was told to.

// witness is evidence that answers what it is told to. Safe for concurrent use.
type witness struct {
	measure func(ctx context.Context, q evidence.Question) dsl.Measured
	gather  func(ctx context.Context, g evidence.Gathering) ([]evidence.Gathered, error)

	mu      sync.Mutex
	asked   []evidence.Question
	at      []time.Time // wall time
	gathers []evidence.Gathering
}

func (w *witness) Measure(ctx context.Context, q evidence.Question) dsl.Measured {
	w.mu.Lock()
	w.asked, w.at = append(w.asked, q), append(w.at, time.Now())
	w.mu.Unlock()
	return w.measure(ctx, q)
}

func (w *witness) Gather(ctx context.Context, g evidence.Gathering) ([]evidence.Gathered, error) {
	w.mu.Lock()
	w.gathers = append(w.gathers, g)
	w.mu.Unlock()
	return w.gather(ctx, g)
}

// testify gives a run this evidence.
func (w *witness) testify(world *orchestrator.World) { world.Evidence = w }

// always answers every question in the same way.
func always(low, high, missing string) func(context.Context, evidence.Question) dsl.Measured {
	number := func(text string) *big.Rat {
		x, ok := new(big.Rat).SetString(text)
		if !ok {
			return nil
		}
		return x
	}
	return func(context.Context, evidence.Question) dsl.Measured {
		return dsl.Measured{Low: number(low), High: number(high), Window: "slots 0..9", Missing: missing}
	}
}

// withDatabase puts a dbUri into the configuration: nobody connects to it, the evidence is handed over.
func (n *network) withDatabase() *network {
	n.config.DBURI = "postgres://nobody:hunter2@db.example/evidence"
	return n
}

// TestVerdictsOnEvidence are decided from what the logs say, and inconclusive where these could still turn them.
func TestVerdictsOnEvidence(t *testing.T) {
	n := newNetwork(t, nil).withDatabase()
	for name, test := range map[string]struct {
		measure func(context.Context, evidence.Question) dsl.Measured
		claim   string
		code    int
		says    []string
	}{
		"pass":         {always("0.99", "1", "2 nodes were not read"), "tx.included >= 99%", orchestrator.CodeOK, nil},
		"fail":         {always("200", "210", "a gap"), "tx.latency.p95 < 3 slots", orchestrator.CodeOK, nil},
		"too late":     {always("600", "610", "a gap"), "tx.latency.p95 < 3 slots", orchestrator.CodeVerdict, []string{"test:2:8: expect failed: tx.latency.p95 < 3 slots", "slots 0..9"}},
		"inconclusive": {always("0.9", "1", "2 nodes were not read"), "tx.included >= 99%", orchestrator.CodeInconclusive, []string{"2 nodes were not read"}},
		"nobody knows": {always("", "", "no database"), "tx.included >= 99%", orchestrator.CodeInconclusive, []string{"no database"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &witness{measure: test.measure}
			e := n.try("all = discovery()\nexpect "+test.claim, trial{world: w.testify}).mustEnd(t, test.code)
			mustSay(t, e.shown(t), test.says...)
			if len(w.asked) != 1 {
				t.Errorf("%d questions, want 1", len(w.asked))
			}
		})
	}
	t.Run("a run without any", func(t *testing.T) {
		e := n.try("all = discovery()\nexpect tx.included >= 99%", trial{}).mustEnd(t, orchestrator.CodeInconclusive)
		mustSay(t, e.shown(t), "dbUri")
	})
}

// TestScopesReachTheEvidence: each metric of a condition is asked for once, with the part of the run that the script states.
func TestScopesReachTheEvidence(t *testing.T) {
	n := newNetwork(t, nil).withDatabase()
	w := &witness{measure: always("1", "1", "")}
	n.try(`all = discovery()
repeat 2 as round {
  expect tx.included(round: round) >= 99%
}
expect tx.included(kind: payments) >= 99% and tx.included(kind: payments, round: 1) > 0 and tx.included > 0 and 1 >= tx.included`,
		trial{world: w.testify}).mustEnd(t, orchestrator.CodeOK)
	var asked []string
	for _, q := range w.asked {
		asked = append(asked, q.Metric+q.Scope.String())
	}
	mustEqual(t, "questions", []string{
		"tx.included(round: 0)", "tx.included(round: 1)", "tx.included(kind: payments)", "tx.included(round: 1, kind: payments)", "tx.included",
	}, asked)
}

// TestTheRunBehindAQuestion: the evidence is told of all load of the run, with when it ran, also of what was stopped, of what a daemon
// forgot, and of what an interrupted run had placed.
func TestTheRunBehindAQuestion(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) { o.Nodes = 3 })
	n.withDatabase()
	w := &witness{measure: always("1", "1", "")}
	began := n.clock.Now()
	text := beginning + `pay = ` + paying("") + `
stop(receipts: pay)
again = ` + payingAt("0.3 tps", "") + `
expect tx.included >= 99%
late = load-keys(dir: "nowhere")
expect tx.included >= 98%`
	failed := n.try(text, trial{world: w.testify}).mustEnd(t, orchestrator.CodeStep)
	now := n.clock.Now()
	run := w.asked[0].Run
	if run.Began.Before(began) || run.Began.After(now) || !run.Genesis.Equal(n.config.Genesis) || run.Slot != 3*time.Minute || run.Clock != n.clock {
		t.Errorf("the run began at %s, genesis %s, slots of %s", run.Began, run.Genesis, run.Slot)
	}
	mustEqual(t, "loads", []string{
		"x-0 0 payments 1/5 true", "x-0 1 payments 1/5 true", "x-0 2 payments 1/5 true",
		"x-0 3 payments 1/10 false", "x-0 4 payments 1/10 false", "x-0 5 payments 1/10 false",
	}, loadsOf(run.Loads, now))
	for _, l := range run.Loads {
		if l.From.Before(began) || l.From.After(now) || !slices.Contains(n.Nodes(), l.Node) || !l.Until.After(l.From) {
			t.Errorf("%s-%d on %s from %s to %s", l.Name, l.Batch, l.Node, l.From, l.Until)
		}
	}

	recorded, err := orchestrator.ReadRecord(failed.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("nowhere", 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(firstKey(t, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("nowhere/key", key, 0o600); err != nil {
		t.Fatal(err)
	}
	n.try(text, trial{world: w.testify, resume: recorded}).mustEnd(t, orchestrator.CodeInconclusive) // its load was undone
	resumed := w.asked[len(w.asked)-1].Run
	if !resumed.Began.Equal(run.Began) {
		t.Errorf("the resumed run began at %s, want %s as before", resumed.Began, run.Began)
	}
	want := loadsOf(run.Loads, now)
	for i := range want {
		want[i] = strings.TrimSuffix(want[i], "false") // the clean-up stopped what still ran
		if !strings.HasSuffix(want[i], "true") {
			want[i] += "true"
		}
	}
	mustEqual(t, "loads of the resumed run", want, loadsOf(resumed.Loads, n.clock.Now()))
	for i, l := range resumed.Loads {
		if !l.From.Equal(run.Loads[i].From) {
			t.Errorf("%s-%d began at %s, and at %s as the interrupted run knew it", l.Name, l.Batch, l.From, run.Loads[i].From)
		}
	}
}

// loadsOf shows load: name, batch, kind, rate, and whether it is over.
func loadsOf(loads []evidence.Load, now time.Time) []string {
	var all []string
	for _, l := range loads {
		all = append(all, fmt.Sprintf("%s %d %s %s %t", l.Name, l.Batch, l.Kind, l.TPS.RatString(), !l.Until.After(now)))
	}
	slices.Sort(all) // those of one step are placed at the same time
	return all
}

func firstKey(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		t.Fatalf("%s has no key: %v", dir, err)
	}
	return filepath.Join(dir, entries[0].Name())
}

// TestMemosThatNobodyKnows: a name that env() gave is masked in the record, so that nobody can find its transactions again.
func TestMemosThatNobodyKnows(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	n.withDatabase()
	n.env["NAME"] = "hushed"
	w := &witness{measure: always("1", "1", "")}
	e := n.try(beginning+`pay = `+paying(`experiment-name: env("NAME")`)+"\nexpect tx.included >= 99%\nexpect chain.tips >= 1\nstop(receipts: pay)",
		trial{world: w.testify}).mustEnd(t, orchestrator.CodeInconclusive)
	mustSay(t, e.shown(t), "memos", "env()")
	mustEqual(t, "verdicts", []string{"expect tx.included >= 99%: inconclusive", "expect chain.tips >= 1: pass"}, e.verdicts(t))
}

// TestEvidenceIsAskedWithRests: however fast the network's time runs, one claim asks no more often than once a second on the wall.
func TestEvidenceIsAskedWithRests(t *testing.T) {
	n := newNetwork(t, nil).withDatabase() // 600 times as fast as the wall
	for name, test := range map[string]struct {
		script string
		code   int
		least  int
	}{
		"expect": {"expect tx.included >= 99% within 20m", orchestrator.CodeInconclusive, 3},
		"watch":  {"watch tx.included >= 10%\nwait(10m) wait(5m) wait(5m)", orchestrator.CodeOK, 3},
	} {
		t.Run(name, func(t *testing.T) {
			w := &witness{measure: always("0.5", "1", "still to be read")}
			n.try("all = discovery()\n"+test.script, trial{world: w.testify}).mustEnd(t, test.code)
			for i := range w.at[:len(w.at)-1] {
				if rest := w.at[i+1].Sub(w.at[i]); rest < 900*time.Millisecond && i+2 < len(w.at) { // the last look is at the end, whenever that is
					t.Errorf("question %d came %s after the one before", i+1, rest)
				}
			}
			if len(w.at) < test.least || len(w.at) > test.least+1 {
				t.Errorf("%d questions, want %d", len(w.at), test.least)
			}
		})
	}
}

// TestEvidenceIsCalledOff: a database that does not answer holds up no run that has to end.
func TestEvidenceIsCalledOff(t *testing.T) {
	n := newNetwork(t, nil).withDatabase()
	w := &witness{measure: func(ctx context.Context, _ evidence.Question) dsl.Measured {
		<-ctx.Done()
		return dsl.Measured{Missing: "no answer"}
	}}
	e := n.try("all = discovery()\nwithin 5m { expect tx.included >= 99% }", trial{world: w.testify}).mustEnd(t, orchestrator.CodeStep)
	mustSay(t, e.shown(t), "not done within 5m0s")
	e = n.try("all = discovery()\nwatch tx.included >= 99% after 1m\nwait(5m)\nexpect count(all) > 9", trial{world: w.testify}).mustEnd(t, orchestrator.CodeVerdict)
	mustSay(t, e.shown(t), "count(all) > 9")
}

// TestEvidenceNeedsADatabase: without one in the configuration the script is wrong, at the place; without a configuration it is not.
func TestEvidenceNeedsADatabase(t *testing.T) {
	n := newNetwork(t, nil)
	const text = `all = discovery()
watch nodes.reached-share >= 75% and tx.rejected < 2%
repeat 2 as round {
  expect tx.included(round: round) >= 99% within 15m
}
gather-logs(nodes: all)
`
	want := `test:2:38: tx.rejected needs dbUri in the configuration
   2 | watch nodes.reached-share >= 75% and tx.rejected < 2%
     |                                      ^^^^^^^^^^^ set "dbUri" to the database that the log fetcher writes
test:4:10: tx.included needs dbUri in the configuration
   4 |   expect tx.included(round: round) >= 99% within 15m
     |          ^^^^^^^^^^^^^^^^^^^^^^^^^ set "dbUri" to the database that the log fetcher writes
test:6:1: gather-logs needs dbUri in the configuration
   6 | gather-logs(nodes: all)
     | ^^^^^^^^^^^ set "dbUri" to the database that the log fetcher writes
`
	if diff := cmp.Diff(want, n.findings(text)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for name, options := range map[string]orchestrator.CompileOptions{
		"no configuration": {}, "a rehearsal": {Config: &n.config, Evidence: true},
		"a database": {Config: &orchestrator.Config{DBURI: "postgres://db.example/evidence"}},
	} {
		script, found, err := dsl.Read("test", strings.NewReader(text), dsl.LowerOptions{Signatures: orchestrator.Signatures(), Metrics: orchestrator.Metrics()})
		if err != nil || found.Errors() {
			t.Fatal(err, found)
		}
		plan, found := orchestrator.Compile(script, options)
		if plan == nil || !plan.Evidence() {
			t.Errorf("%s: %v", name, found)
		}
	}
	if n.compile("all = discovery()\nexpect nodes.reached >= 1").Evidence() {
		t.Error("a script that asks no logs is taken for one that does")
	}
}

// TestRoundsThatAreNeverReached are wrong where a claim asks for them, when the script tells which ones there are.
func TestRoundsThatAreNeverReached(t *testing.T) {
	n := newNetwork(t, nil).withDatabase()
	rounds := func(more string) string { return beginning + "repeat 4 as round { " + paying(more) + " }\n" }
	for name, test := range map[string]struct{ text, want string }{
		"never reached": {rounds("") + "expect tx.included(round: 7) >= 99%", `test:6:8: tx.included asks for round 7, and no load of the script has that round
   6 | expect tx.included(round: 7) >= 99%
     |        ^^^^^^^^^^^^^^^^^^^^^ the first round is 0: the names of its load are x-0, x-1, x-2, x-3
`},
		"reached":               {rounds("") + "expect tx.included(round: 3) >= 99%", ""},
		"a name of its own":     {rounds(`experiment-name: "mine-7"`) + "expect tx.included(round: 7) >= 99%", ""},
		"load of somebody else": {"all = discovery()\nexpect tx.included(round: 7) >= 99%", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, n.findings(test.text)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestSharesThatCannotBe: a share held against a number that no share reaches is warned of.
func TestSharesThatCannotBe(t *testing.T) {
	n := newNetwork(t, nil).withDatabase()
	const warning = "warning: a share lies between 0% and 100%"
	for condition, want := range map[string]int{
		"tx.included >= 200%": 1, "tx.rejected < 1.5": 1, "101% > block.orphaned": 1, "nodes.reached-share >= 99 or load.placed > 200%": 2, "not (tx.missing > -1%)": 1,
		"tx.included >= 100%": 0, "tx.missing >= 0": 0, "block.count >= 2": 0, "tx.latency.p95 < 3 slots": 0, "tx.included + tx.failed <= 200%": 0,
	} {
		found := n.findings("all = discovery()\nexpect " + condition)
		if got := strings.Count(found, warning); got != want || want == 0 && found != "" {
			t.Errorf("%s has %d warnings, want %d:\n%s", condition, got, want, found)
		}
	}
}

// TestLoadEndsWithItsDaemon: load of a node that was told to stop counts as sending until the daemon has ended, and no longer.
func TestLoadEndsWithItsDaemon(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) { o.Nodes = 3 })
	n.withDatabase()
	w := &witness{measure: always("1", "1", "")}
	n.try(beginning+`pay = `+paying("")+`
stopped = sample(group: nodes, ratios: [40%])
stop-daemon(nodes: stopped.group1)
expect tx.included >= 99%`, trial{world: w.testify}).mustEnd(t, orchestrator.CodeOK)
	ends := map[string]time.Time{}
	for _, entry := range n.History() {
		if stopping, ok := entry.Fact.(simnet.DaemonStopping); ok {
			ends[entry.Node] = stopping.At
		}
	}
	if len(ends) != 1 {
		t.Fatalf("these daemons were stopped: %v", ends)
	}
	now := n.clock.Now()
	for _, l := range w.asked[0].Run.Loads {
		at, stopped := ends[l.Node]
		if ended := l.Until.Before(now.Add(time.Hour)); ended != stopped || l.Until.Before(at) {
			t.Errorf("%s-%d on %s ends at %s, its daemon at %s", l.Name, l.Batch, l.Node, l.Until, at)
		}
	}
}

// gathering answers with so many entries of each node, and one of which there is nothing.
func gathering(entries int, silent string) func(context.Context, evidence.Gathering) ([]evidence.Gathered, error) {
	return func(_ context.Context, g evidence.Gathering) ([]evidence.Gathered, error) {
		var all []evidence.Gathered
		for _, node := range g.Nodes {
			one := evidence.Gathered{Node: node, Name: "n-" + node, Entries: entries}
			if node == silent {
				one = evidence.Gathered{Node: node, Missing: "the fetcher has never read it"}
			}
			all = append(all, one)
		}
		return all, os.MkdirAll(g.Dir, 0o700)
	}
}

// TestGatherLogs saves them in folders of their own beside the record, and bears nodes of which there is nothing.
func TestGatherLogs(t *testing.T) {
	n := newNetwork(t, nil).withDatabase()
	w := &witness{gather: gathering(7, n.Nodes()[1])}
	before := n.clock.Now()
	e := n.try(`all = discovery()
kept = gather-logs(nodes: all)
gather-logs(nodes: all, last: 1h)
repeat 2 { again = gather-logs(nodes: all, last: 5m + 5m) }
expect count(kept) == 6`, trial{world: w.testify}).mustEnd(t, orchestrator.CodeOK)
	after := n.clock.Now()
	base := strings.TrimSuffix(e.path, ".record") + ".logs"
	var dirs []string
	for i, g := range w.gathers {
		dirs = append(dirs, g.Dir)
		last := []time.Duration{15 * time.Minute, time.Hour, 10 * time.Minute, 10 * time.Minute}[i]
		if g.Clock != n.clock || g.Patience <= 0 || g.Patience >= 30*time.Second {
			t.Errorf("%d: the clock is %v and the patience %s", i, g.Clock, g.Patience)
		}
		if g.To.Before(before) || g.To.After(after) || g.To.Sub(g.From) != last || len(g.Nodes) != 6 {
			t.Errorf("%d: asked for %s..%s of %v, want the last %s", i, g.From, g.To, g.Nodes, last)
		}
	}
	mustEqual(t, "folders", []string{base + "/kept", base + "/step-2", base + "/again-0", base + "/again-1"}, dirs)
	got := outputsOf[evidence.Gathered](t, e, 1, "gathered")
	if len(got) != 6 || got[0].Entries != 7 || got[1].Missing == "" {
		t.Errorf("it gave out %+v", got)
	}
	mustSay(t, e.log, "the fetcher has never read it", n.Nodes()[1])

	t.Run("nothing is overwritten", func(t *testing.T) {
		calls := 0
		w := &witness{}
		w.gather = func(ctx context.Context, g evidence.Gathering) ([]evidence.Gathered, error) {
			if calls++; calls == 1 {
				_, _ = gathering(1, "")(ctx, g)
				return nil, errors.New("the connection broke")
			}
			return gathering(1, "")(ctx, g)
		}
		e := n.try("all = discovery()\nkept = gather-logs(nodes: all) retry 2 every 1s", trial{world: w.testify}).mustEnd(t, orchestrator.CodeOK)
		base := strings.TrimSuffix(e.path, ".record") + ".logs"
		mustEqual(t, "folders", []string{base + "/kept", base + "/kept-2"}, []string{w.gathers[0].Dir, w.gathers[1].Dir})
	})
	t.Run("nothing at all", func(t *testing.T) {
		w := &witness{gather: gathering(0, n.Nodes()[0])}
		e := n.try("all = discovery()\nkept = gather-logs(nodes: all)", trial{world: w.testify}).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.shown(t), "test:2:8: gather-logs failed: there is nothing of the logs of 6 nodes", "never read it")
	})
	t.Run("a time that is none", func(t *testing.T) {
		mustSay(t, n.findings("all = discovery()\ngather-logs(nodes: all, last: 0m)"), "test:2:31: last must be above 0")
		mustSay(t, n.findings("all = discovery()\ngather-logs(nodes: all, last: 90s)"), "whole number of minutes")
	})
}

// TestGatherLogsOnFailure: what the run failed with is what it is told by, whatever comes of the logs.
func TestGatherLogsOnFailure(t *testing.T) {
	n := newNetwork(t, nil).withDatabase()
	const text = "all = discovery()\nexpect count(all) > 9\nlate = discovery()\n" +
		"on failure { gather-logs(nodes: all, last: 15m) gather-logs(nodes: late) log(\"behind it\") }"
	for name, gather := range map[string]func(context.Context, evidence.Gathering) ([]evidence.Gathered, error){
		"saved":         gathering(7, ""),
		"nothing there": gathering(0, ""),
		"no database": func(context.Context, evidence.Gathering) ([]evidence.Gathered, error) {
			return nil, errors.New("connection refused")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := &witness{gather: gather}
			e := n.try(text, trial{world: w.testify}).mustEnd(t, orchestrator.CodeVerdict)
			mustSay(t, e.shown(t), "count(all) > 9")
			mustSay(t, e.log, "behind it", "step skipped")
			if len(w.gathers) != 1 || strings.Contains(e.shown(t), "gather") {
				t.Errorf("%d gatherings; the run says %s", len(w.gathers), e.shown(t))
			}
			if got := len(outputsOf[evidence.Gathered](t, e, 2, "gathered")); name == "saved" && got != 6 {
				t.Errorf("%d nodes are given out", got)
			}
		})
	}
}

// TestGatherLogsInJSON: the action has a spelling in the JSON stream, and converts.
func TestGatherLogsInJSON(t *testing.T) {
	n := newNetwork(t, nil).withDatabase()
	w := &witness{gather: gathering(7, "")}
	e := n.try(`{"action":"discovery"} {"action":"gather-logs","params":{"nodes":{"type":"output","step":-1,"name":"participant"},"lastMin":20}}`,
		trial{world: w.testify}).mustEnd(t, orchestrator.CodeOK)
	if w.gathers[0].To.Sub(w.gathers[0].From) != 20*time.Minute || len(outputsOf[evidence.Gathered](t, e, 1, "gathered")) != 6 {
		t.Errorf("asked for %+v", w.gathers)
	}
	script, found, err := dsl.Read("test", strings.NewReader("all = discovery()\ngather-logs(nodes: all, last: 1h)"), dsl.LowerOptions{Signatures: orchestrator.Signatures()})
	if err != nil || found.Errors() {
		t.Fatal(err, found)
	}
	text, found := script.ToJSON(orchestrator.Signatures())
	if found.Errors() {
		t.Fatal(found)
	}
	mustSay(t, string(text), `"action":"gather-logs"`, `"lastMin":60`)
}
