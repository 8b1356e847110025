package orchestrator_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
	"provingground/uptime"
)

// This file is about parallel, deadlines, the last blocks of a script (on failure, finally), and the exit codes.

// twoLoads are the first steps of a script that has the keys for two loads.
const twoLoads = `
experiment "x"
keys = load-keys(dir: "keys")
others = load-keys(dir: "others")
nodes = discovery()
`

// newTwoLoadsNetwork starts a network with six keys for each of two loads.
func newTwoLoadsNetwork(t *testing.T) *network {
	t.Helper()
	n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) { fundedKeys(t, o, "others", 6) })
	return n
}

// payingOthers spells payments with the second load's keys.
func payingOthers(more string) string {
	return strings.Replace(paying(more), "fee-payers: keys", "fee-payers: others", 1)
}

// untilOf returns until when a step waits.
func (e ending) untilOf(t *testing.T, step int) time.Time {
	t.Helper()
	return outputOf[time.Time](t, e, step, "_until")
}

// stepsOf returns the steps of the lines of a name, in the order of the record.
func (e ending) stepsOf(t *testing.T, name string) []int {
	t.Helper()
	var steps []int
	for line := range strings.Lines(e.out) {
		var l struct {
			Step int
			Name string
		}
		mustDecode(t, line, &l)
		if l.Name == name {
			steps = append(steps, l.Step)
		}
	}
	return steps
}

// mustSkip fails the test if one of these steps was begun.
func (e ending) mustSkip(t *testing.T, steps ...int) {
	t.Helper()
	for line := range strings.Lines(e.out) {
		var l struct{ Step int }
		mustDecode(t, line, &l)
		if slices.Contains(steps, l.Step) {
			t.Errorf("a step that was not to begin has the line %s", line)
		}
	}
}

// barrier holds up requests until so many have come.
type barrier struct {
	mu   sync.Mutex
	left int
	open chan struct{}
}

func newBarrier(count int) *barrier { return &barrier{left: count, open: make(chan struct{})} }

func (b *barrier) hold(ctx context.Context) {
	b.mu.Lock()
	if b.left--; b.left == 0 {
		close(b.open)
	}
	b.mu.Unlock()
	await(ctx, b.open)
}

// await waits until a channel is closed or ctx ends.
func await(ctx context.Context, closed <-chan struct{}) {
	select {
	case <-closed:
	case <-ctx.Done():
	}
}

// TestBranchesOverlap: the requests of two branches are on their way at the same time, to the same nodes, and waits do not add up.
func TestBranchesOverlap(t *testing.T) {
	n := newTwoLoadsNetwork(t)
	met := newBarrier(2)
	var first sync.Map // by operation
	e := n.try(twoLoads+`
parallel {
  { a = `+paying("")+` wait(23m) }
  { b = zkapp-txs(tps: 0.6 tps, min-tps: 0.1 tps, duration: 10h, gap: 1m, fee: 1 mina, deployment-fee: 1 mina, fee-payers: others, nodes: nodes) wait(22m) }
  { parallel { wait(21m) { wait(20m) } } }
}
stop(receipts: a) stop(receipts: b)`, trial{between: func(x exchange) (*http.Response, error) {
		if _, held := first.LoadOrStore(x.operation, true); x.schedules() && !held {
			met.hold(x.Context())
		}
		return x.pass()
	}}).mustEnd(t, orchestrator.CodeOK)
	n.mustBeTrue(t, e)
	n.mustRun(t, 0)
	schedules := n.History().Schedules()
	mustEqual(t, "schedules", 12, len(schedules))
	mustEqual(t, "nodes with both", 6, len(nodesOf(schedules)))
	for _, a := range schedules {
		for _, b := range schedules {
			if !b.Stopping.IsZero() && b.Stopping.Before(a.Accepted) {
				t.Errorf("%+v began after %+v had ended", a, b)
			}
		}
	}
	ends := []time.Time{e.untilOf(t, 4), e.untilOf(t, 6), e.untilOf(t, 7), e.untilOf(t, 8)} // of waits of 23, 22, 21 and 20 minutes
	for i, end := range ends {
		if begun := end.Add(-time.Duration(23-i) * time.Minute); !begun.Before(ends[len(ends)-1]) {
			t.Errorf("the wait until %s began when another one was over at %s", end, ends[len(ends)-1])
		}
	}
}

// TestAFailingBranch ends the waits of the others at once, no further step or call of theirs begins, what is on its way is recorded, and
// everything is undone.
func TestAFailingBranch(t *testing.T) {
	n := newTwoLoadsNetwork(t)
	n.config.Concurrency = 3
	var asked atomic.Int32
	var once sync.Once
	three, failed := make(chan struct{}), make(chan struct{}) // closed when three requests are on their way, and when a wait of another branch has ended
	e := n.try(twoLoads+`
parallel {
  { wait(100_000m) set-zkapp-soft-limit(nodes: nodes, limit: 1) }
  { pay = `+paying("")+` set-zkapp-soft-limit(nodes: nodes, limit: 2) }
  { wait(0m) load-keys(dir: "nowhere")  set-zkapp-soft-limit(nodes: nodes, limit: 3) }
  { parallel { { wait(100_000m) } { within 100_000m { wait(90_000m) } } } }
}
set-zkapp-soft-limit(nodes: nodes, limit: 4)`, trial{
		between: func(x exchange) (*http.Response, error) {
			response, err := x.pass()
			if x.schedules() {
				if asked.Add(1) == 3 {
					close(three)
				}
				await(x.Context(), failed)
				_ = n.clock.Sleep(x.Context(), 2*time.Minute) // the answer comes when its own branch knows as well
			}
			return response, err
		},
		step: func(number int, _ string) {
			if number == 7 {
				await(t.Context(), three)
			}
		},
		stdout: writerFunc(func(p []byte) (int, error) {
			if strings.Contains(string(p), `"action":"wait","name":"_failed"`) {
				once.Do(func() { close(failed) }) // the file gets it too
			}
			return len(p), nil
		}),
	}).mustEnd(t, orchestrator.CodeStep)
	shown := e.shown(t)
	mustSay(t, shown, "test:10:14: load-keys failed", "nowhere")
	if strings.Contains(shown, "payments") || strings.Contains(shown, "wait failed") {
		t.Errorf("the other branches ended because of that one, and are told as well:\n%s", shown)
	}
	n.mustNotHaveBegun(t)
	n.mustBeTrue(t, e)
	n.mustRun(t, 0)
	mustEqual(t, "schedules", 3, len(n.History().Schedules()))
	mustEqual(t, "receipts", 3, len(outputsOf[orchestrator.Receipt](t, e, 5, "receipt")))
	mustEqual(t, "undone", []string{"pay (payments): undone on 3/3"}, e.Undone)
	mustEqual(t, "steps that did not come to their end", []int{3, 5, 8, 10, 11}, slices.Sorted(slices.Values(e.stepsOf(t, "_failed"))))
}

// TestTwoFailingBranches: both are in the record, and the one that failed first is told.
func TestTwoFailingBranches(t *testing.T) {
	n := newNetwork(t, nil)
	both := newBarrier(2)
	e := n.try(`
parallel {
  load-keys(dir: "nowhere")
  load-keys(dir: "neither")
}`, trial{step: func(int, string) { both.hold(t.Context()) }}).mustEnd(t, orchestrator.CodeStep)
	if shown := e.shown(t); !strings.Contains(shown, "nowhere: no such file") && !strings.Contains(shown, "neither: no such file") {
		t.Errorf("neither branch is told:\n%s", shown)
	}
	mustEqual(t, "failed steps in the record", []int{0, 1}, slices.Sorted(slices.Values(e.stepsOf(t, "_failed"))))
}

// TestParallelBranchesGiveOutputs that what stands behind them refers to.
func TestParallelBranchesGiveOutputs(t *testing.T) {
	n := newNetwork(t, nil)
	e := n.try(`
parallel {
  { all = discovery()  half = sample(group: all, ratios: [50%]) }
  producers = discovery(only-block-producers: true)
}
rest = except(group: all, except: half.group1)
expect count(rest) == 3 and count(producers) == 3 and count(half.group1) == 3
preflight(nodes: rest)`, trial{}).mustEnd(t, orchestrator.CodeOK)
	mustEqual(t, "checked", 3, len(e.outputs(t, 4, "commit")))
}

// TestABatchInABranch is collected there as it is anywhere, and each branch has its own.
func TestABatchInABranch(t *testing.T) {
	n := newNetwork(t, nil)
	fund := func(prefix string) string {
		return ` fund-keys(amount: 20 mina, fee: 0.001 mina, prefix: "` + prefix + `/key", num: 2, privkeys: ["private-keys/key-0"])`
	}
	var begun sync.Map
	e := n.try(`
parallel {
  { `+fund("a")+fund("b")+` keys = load-keys(dir: "a") }
  { wait(1m) }
}
expect count(keys) == 2`, trial{step: func(number int, action string) { begun.Store(number, action) }})
	e.mustEnd(t, orchestrator.CodeOK)
	mustEqual(t, "accounts", 4, len(toldOf[simnet.AccountCreated](n)))
	for step := range 4 {
		if _, ok := begun.Load(step); !ok {
			t.Errorf("step %d was not begun", step)
		}
	}
	// They are done together: the first is not done before the second's accounts are there.
	done, settled := strings.Index(e.out, `"step":0,"action":"fund-keys","name":"_done"`), strings.LastIndex(e.out, `"step":1,"action":"fund-keys","name":"_settled"`)
	if done < 0 || settled < 0 || done < settled {
		t.Errorf("the steps of the batch were carried out one after the other:\n%s", e.out)
	}
}

// TestDeadlines: one that expires ends what its block does, and the run with 3; of nested ones the smaller counts.
func TestDeadlines(t *testing.T) {
	n := newNetwork(t, nil)
	for _, test := range []struct {
		name, body, says string
		most             time.Duration // from the beginning of the deadline, by what the record says
	}{
		{"a block's", "within 5m { wait(100_000m) }", "not done within 5m0s", 5 * time.Minute},
		{"in slots", "within 2 slots { wait(100_000m) }", "not done within 6m0s", 6 * time.Minute},
		{"a step's", "wait(100_000m) within 5m", "not done within 5m0s", 5 * time.Minute},
		{"the inner one", "within 10h { within 5m { wait(100_000m) } }", "not done within 5m0s", 5 * time.Minute},
		{"the outer one", "within 5m { within 10h { wait(100_000m) } }", "not done within 5m0s", 5 * time.Minute},
		{"the outer one of a step's", "within 5m { wait(100_000m) within 10h }", "not done within 5m0s", 5 * time.Minute},
		{"around parallel", "within 5m { parallel { wait(100_000m) { wait(0m) wait(100_000m) } } }", "not done within 5m0s", 5 * time.Minute},
		{"in parallel", "parallel { wait(100_000m) within 5m { wait(90_000m) } }", "not done within 5m0s", 5 * time.Minute},
		{"of several statements", "within 5m { wait(3m) wait(3m) wait(0m) }", "not done within 5m0s", 5 * time.Minute},
		{"of an expect", "within 5m { expect now() > 1_000_000 slots within 10h }", "not done within 5m0s", 5 * time.Minute},
		{"of retries", "within 5m { discovery(limit: 7, exactly: true) retry 100 every 2m }", "not done within 5m0s", 5 * time.Minute},
		{"of a step that is retried", "discovery(limit: 7, exactly: true) retry 100 every 2m within 5m", "not done within 5m0s", 5 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := n.try("wait(0m)\n"+test.body+"\nset-zkapp-soft-limit(nodes: [\""+n.Nodes()[0]+"\"], limit: 1)", trial{}).mustEnd(t, orchestrator.CodeStep)
			mustSay(t, e.shown(t), test.says, "test:2:") // with its place
			n.mustNotHaveBegun(t)
		})
	}
	n.try("within 10h { wait(1m) } wait(1m) within 10h expect now() >= 0 slots", trial{}).mustEnd(t, orchestrator.CodeOK)
}

// TestADeadlineDuringARequest: whatever a request says that it cut short, the deadline is what is told.
func TestADeadlineDuringARequest(t *testing.T) {
	n := newNetwork(t, nil)
	hang := func(x exchange) (*http.Response, error) {
		<-x.Context().Done()
		return nil, x.Context().Err()
	}
	for _, body := range []string{
		"discovery() within 5m", "preflight(nodes: [\"127.0.0.2:1\"]) within 5m", "within 5m { preflight(nodes: [\"127.0.0.2:1\"]) }",
		"set-zkapp-soft-limit(nodes: [\"127.0.0.2:1\"], limit: 1) within 5m", "slots-won(nodes: [\"127.0.0.2:1\"]) within 5m",
		"discovery() retry 3 every 1m within 5m",
	} {
		e := n.try(body, trial{between: hang}).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.shown(t), "not done within 5m0s", "test:1:")
	}
}

// TestADeadlineOfAResumedRun is the one that the interrupted run had.
func TestADeadlineOfAResumedRun(t *testing.T) {
	n := newNetwork(t, nil)
	text := "within 10h { wait(1m) wait(100_000m) within 20h }"
	ctx, interrupt := interruption(t, syscall.SIGINT)
	cut := n.try(text, trial{ctx: ctx, step: func(number int, _ string) {
		if number == 1 {
			interrupt()
		}
	}})
	cut.mustBeInterrupted(t, 130)
	recorded, err := orchestrator.ReadRecord(cut.path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, interrupt = interruption(t, syscall.SIGTERM)
	e := n.try(text, trial{ctx: ctx, resume: recorded, waiting: func(time.Time) { interrupt() }})
	e.mustBeInterrupted(t, 143)
	type line struct {
		Item int
		Time time.Time
	}
	mustEqual(t, "the block's deadline", outputsOf[line](t, cut, -1, "_within"), outputsOf[line](t, e, -1, "_within"))
	mustEqual(t, "steps done", []int{0}, e.stepsOf(t, "_done"))
}

// order returns the words that a log says in their order.
func (e ending) order(words ...string) []string {
	at := map[string]int{}
	var said []string
	for _, word := range words {
		if i := strings.Index(e.log, word); i >= 0 {
			at[word] = i
			said = append(said, word)
		}
	}
	slices.SortFunc(said, func(a, b string) int { return at[a] - at[b] })
	return said
}

// TestTheOrderOfTheEnd: on failure, then undo, then finally, in the log and on the nodes; and nothing of the script behind the failure.
func TestTheOrderOfTheEnd(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	e := n.try(beginning+`
pay = `+paying("")+`
load-keys(dir: "nowhere")
isolate(nodes: nodes)
on failure { log("one: on failure") preflight(nodes: nodes) }
finally { log("two: finally") preflight(nodes: nodes) }`, trial{}).mustEnd(t, orchestrator.CodeStep)
	mustEqual(t, "order", []string{"one: on failure", "two: finally"}, e.order("two: finally", "one: on failure"))
	mustEqual(t, "undone", []string{"pay (payments): undone on 6/6"}, e.Undone)
	e.mustSkip(t, 4)
	n.mustBeTrue(t, e)

	var order []string // of what the record says
	for line := range strings.Lines(e.out) {
		var l struct {
			Step int
			Name string
		}
		mustDecode(t, line, &l)
		switch {
		case l.Name == "_failed", l.Name == "_clean", l.Name == "_undone", l.Name == "_end":
			order = append(order, l.Name)
		case l.Name == "_done" && l.Step == 5:
			order = append(order, "on failure")
		case l.Name == "_done" && l.Step == 6:
			order = append(order, "finally")
		}
	}
	mustEqual(t, "order in the record", []string{"_failed", "_clean", "on failure", "_undone", "finally", "_end"}, slices.Compact(order))

	var calls []string // of what the nodes were asked
	for _, told := range toldOf[simnet.RequestAnswered](n) {
		calls = append(calls, told.fact.Operation)
	}
	calls = slices.Compact(calls)
	stops := slices.Index(calls, "stopScheduledTransactions")
	if stops < 1 || calls[stops-1] != "auth" || !slices.Contains(calls[stops:], "auth") {
		t.Errorf("the nodes were asked %v, want auth, the stops, auth", calls)
	}
}

// TestWhatIsSkippedAtTheEnd: a statement whose references never came to be, and nothing else.
func TestWhatIsSkippedAtTheEnd(t *testing.T) {
	n := newNetwork(t, nil)
	const head = `nodes = discovery()
load-keys(dir: "nowhere")
late = discovery()
`
	e := n.try(head+`on failure { preflight(nodes: late) parallel { preflight(nodes: nodes) within 10h { preflight(nodes: late) } } }
finally { expect count(late) >= 1 watch count(late) >= 1 expect count(nodes) == 6 expect count(late ?? []) == 0 preflight(nodes: late) preflight(nodes: nodes) }`, trial{}).
		mustEnd(t, orchestrator.CodeStep)
	mustSay(t, e.shown(t), "test:2:1: load-keys failed")
	if strings.Contains(e.shown(t), "late") {
		t.Errorf("what never came to be counts as a failure:\n%s", e.shown(t))
	}
	mustEqual(t, "skipped", []int{3, 5, 6}, e.stepsOf(t, "_skipped"))
	mustEqual(t, "done", []int{0, 4, 7}, e.stepsOf(t, "_done"))
	mustEqual(t, "verdicts", []string{"expect count(nodes) == 6: pass", "expect count(late ?? []) == 0: pass"}, e.verdicts(t))
	mustSay(t, e.log, "count(late) >= 1", "never came to be")

	// In a run that failed by a claim alone, that is what counts.
	e = n.try("nodes = discovery()\nexpect count(nodes) == 7\nlate = discovery()\nfinally { expect count(late) >= 1 }", trial{}).mustEnd(t, orchestrator.CodeVerdict)
	mustSay(t, e.shown(t), "count(nodes) == 7")
}

// TestFinallyAfterAGoodEnd: on failure is not run, and the load goes on.
func TestFinallyAfterAGoodEnd(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	e := n.try(beginning+"pay = "+paying("")+`
on failure { log("something failed") set-zkapp-soft-limit(nodes: nodes, limit: 1) }
finally { log("the end") preflight(nodes: nodes) }`, trial{}).mustEnd(t, orchestrator.CodeOK)
	mustEqual(t, "said", []string{"the end"}, e.order("something failed", "the end"))
	n.mustNotHaveBegun(t)
	n.mustRun(t, 6)
	mustEqual(t, "commits", 6, len(e.outputs(t, 4, "commit")))
}

// TestAFailingFinally fails the run, once, and what the run left is undone.
func TestAFailingFinally(t *testing.T) {
	for name, last := range map[string]string{"after a good end": "wait(0m)", "after a failure": `load-keys(dir: "neither")`} {
		t.Run(name, func(t *testing.T) {
			n, _ := newLoadNetwork(t, 6, nil)
			e := n.try(beginning+"pay = "+paying("")+"\n"+last+`
on failure { log("something failed") }
finally { log("the end") load-keys(dir: "nowhere") preflight(nodes: nodes) }`, trial{}).mustEnd(t, orchestrator.CodeStep)
			mustSay(t, e.shown(t), "test:8:26: load-keys failed", "nowhere")
			mustEqual(t, "ends", 2, strings.Count(e.log, "the end\n")) // once, on the console and in the log
			said, undone := []string{"the end"}, []string{"pay (payments): undone on 6/6"}
			if name == "after a failure" {
				said = []string{"something failed", "the end"}
				mustSay(t, e.shown(t), "test:6:1: load-keys failed", "neither")
			}
			mustEqual(t, "said", said, e.order("something failed", "the end"))
			mustEqual(t, "undone", undone, e.Undone)
			e.mustSkip(t, 6)
			n.mustBeTrue(t, e)
			n.mustRun(t, 0)
		})
	}
}

// TestFinallyThatSchedules: in a run that ended well its load runs on, in one that failed it is undone too.
func TestFinallyThatSchedules(t *testing.T) {
	for name, code := range map[string]int{"wait(0m)": orchestrator.CodeOK, `load-keys(dir: "nowhere")`: orchestrator.CodeStep} {
		t.Run(name, func(t *testing.T) {
			n := newTwoLoadsNetwork(t)
			e := n.try(twoLoads+"pay = "+paying("")+"\n"+name+"\nfinally { last = "+payingOthers("")+" }", trial{}).mustEnd(t, code)
			n.mustBeTrue(t, e)
			mustEqual(t, "schedules", 12, len(n.History().Schedules()))
			if code == orchestrator.CodeOK {
				n.mustRun(t, 12)
				return
			}
			n.mustRun(t, 0)
			mustEqual(t, "undone", []string{"pay (payments): undone on 6/6", "last (payments): undone on 6/6"}, e.Undone)
		})
	}
}

// TestFinallyStopsWhatTheCleanUpCouldNot: code 5 stands only while something may still run.
func TestFinallyStopsWhatTheCleanUpCouldNot(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	quiet := &deaf{nodes: n.Nodes()[:1]}
	e := n.try(beginning+"pay = "+paying("")+`
load-keys(dir: "nowhere")
finally { stop(receipts: pay) }`, trial{
		between: quiet.between, cleanup: 300 * time.Millisecond, cleaning: func() { quiet.now.Store(true) },
		step: func(_ int, action string) {
			if action == "stop" {
				quiet.now.Store(false)
			}
		},
	}).mustEnd(t, orchestrator.CodeStep)
	n.mustBeTrue(t, e)
	n.mustRun(t, 0)
}

// TestTheEndOfAnInterruptedRun: both blocks run, and whatever they do, the signal says how the run ended.
func TestTheEndOfAnInterruptedRun(t *testing.T) {
	for signal, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		n, _ := newLoadNetwork(t, 6, nil)
		ctx, interrupt := interruption(t, signal)
		e := n.try(beginning+"pay = "+paying("")+`
wait(100_000m)
on failure { log("something failed") load-keys(dir: "nowhere") }
finally { log("the end") preflight(nodes: nodes) load-keys(dir: "neither") }`, trial{ctx: ctx, waiting: func(time.Time) { interrupt() }})
		e.mustBeInterrupted(t, code)
		mustEqual(t, "said", []string{"something failed", "the end"}, e.order("something failed", "the end"))
		mustEqual(t, "commits", 6, len(e.outputs(t, 5, "commit")))
		mustSay(t, e.shown(t), "nowhere", "neither")
		n.mustBeTrue(t, e)
		n.mustRun(t, 0)
	}
}

// TestInterruptedDuringFinally: the block goes on in any case, with what it had not done yet; of a run that ended well, what that left is undone
// before.
func TestInterruptedDuringFinally(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	const finally = "\nfinally { wait(1m) set-zkapp-soft-limit(nodes: nodes, limit: none) log(\"the end\") }"
	ctx, interrupt := interruption(t, syscall.SIGINT)
	e := n.try(beginning+"pay = "+paying("")+"\non failure { log(\"something failed\") }"+finally, trial{ctx: ctx, waiting: func(time.Time) { interrupt() }})
	e.mustBeInterrupted(t, 130)
	mustEqual(t, "said", []string{"the end"}, e.order("something failed", "the end"))
	n.mustBeTrue(t, e)
	n.mustRun(t, 0)
	mustEqual(t, "limits cleared before", 6, len(toldOf[simnet.LimitSet](n)))

	ctx, interrupt = interruption(t, syscall.SIGINT)
	e = n.try(beginning+`load-keys(dir: "nowhere")`+finally, trial{ctx: ctx, waiting: func(time.Time) { interrupt() }}).mustEnd(t, orchestrator.CodeStep)
	mustSay(t, e.log, "the end")
	mustEqual(t, "limits cleared", 12, len(toldOf[simnet.LimitSet](n)))
}

// TestTheEndOfAResumedRun is done anew: its waits, deadlines and verdicts are not those of the earlier end.
func TestTheEndOfAResumedRun(t *testing.T) {
	n := newNetwork(t, nil)
	text := `nodes = discovery()
wait(100_000m)
finally {
  within 10m { wait(2m) preflight(nodes: nodes) }
  expect nodes.reached-share >= 1
}`
	ctx, interrupt := interruption(t, syscall.SIGINT)
	cut := n.try(text, trial{ctx: ctx, step: func(_ int, action string) {
		if action == "wait" {
			interrupt()
		}
	}})
	cut.mustBeInterrupted(t, 130)
	mustEqual(t, "verdicts", []string{"expect nodes.reached-share >= 1: pass"}, cut.verdicts(t))
	if err := n.clock.Sleep(t.Context(), 15*time.Minute); err != nil { // the deadline of the first end is over
		t.Fatal(err)
	}
	recorded, err := orchestrator.ReadRecord(cut.path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, interrupt = interruption(t, syscall.SIGINT)
	begin := n.clock.Now()
	e := n.try(text, trial{ctx: ctx, resume: recorded, step: func(number int, _ string) {
		if number == 1 {
			interrupt()
		}
	}})
	e.mustBeInterrupted(t, 130)
	if strings.Contains(e.shown(t), "not done within") {
		t.Errorf("the deadline of the first end counts:\n%s", e.shown(t))
	}
	untils := outputsOf[time.Time](t, e, 2, "_until")
	if len(untils) != 2 || untils[1].Before(begin.Add(2*time.Minute)) {
		t.Errorf("finally waits until %v, and the second end began at %s", untils, begin)
	}
	mustEqual(t, "verdicts", []string{"expect nodes.reached-share >= 1: pass", "expect nodes.reached-share >= 1: pass"}, e.verdicts(t))
}

// TestExitCodes has a script for each way in which a run ends (script-language, section 6).
func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		name, body string
		code       int
		change     func(n *network, x *trial)
	}{
		{"good", "expect nodes.known == 6", orchestrator.CodeOK, nil},
		{"a step", `load-keys(dir: "nowhere")`, orchestrator.CodeStep, nil},
		{"an expect", "expect nodes.known == 7", orchestrator.CodeVerdict, nil},
		{"a watch", "watch nodes.known == 7 wait(0m)", orchestrator.CodeVerdict, nil},
		{"no evidence", "producers = discovery(only-block-producers: true) won = slots-won(nodes: producers) expect count(won) == 3", orchestrator.CodeInconclusive, func(n *network, x *trial) {
			x.between = n.winning("1", "2")
		}},
		{"interrupted", "wait(100_000m)", 130, signalled(t, syscall.SIGINT)},
		{"terminated", "wait(100_000m)", 143, signalled(t, syscall.SIGTERM)},
		{"inside the program", "discovery()", orchestrator.CodeInternal, func(_ *network, x *trial) {
			x.world = func(w *orchestrator.World) { w.Online = &broken{Online: w.Online} }
		}},
		{"inside the program, in a branch", "parallel { discovery() wait(100_000m) }", orchestrator.CodeInternal, func(_ *network, x *trial) {
			x.world = func(w *orchestrator.World) { w.Online = &broken{Online: w.Online} }
		}},
		{"something remains of a failed step", `load-keys(dir: "nowhere")`, orchestrator.CodeRemains, dies},
		{"something remains of a failed claim", "expect now() < 0 slots", orchestrator.CodeRemains, dies},
		{"something remains of an inconclusive run", "won = slots-won(nodes: nodes) expect count(won) == 3", orchestrator.CodeRemains, func(n *network, x *trial) {
			dies(n, x)
			dead := x.between
			x.between = func(e exchange) (*http.Response, error) {
				if e.operation == "slotsWon" {
					return n.winning("1", "2")(e)
				}
				return dead(e)
			}
		}},
		{"something remains of an interrupted run", "wait(100_000m)", orchestrator.CodeRemains, func(n *network, x *trial) {
			signalled(t, syscall.SIGINT)(n, x)
			dies(n, x)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, _ := newLoadNetwork(t, 6, nil)
			x := trial{cleanup: 300 * time.Millisecond}
			if test.change != nil {
				test.change(n, &x)
			}
			e := n.try(beginning+"pay = "+paying("")+"\nexpect load.placed == 1\n"+test.body, x)
			e.mustEnd(t, test.code)
			n.mustBeTrue(t, e)
			var end struct{ Code int }
			mustDecode(t, e.outputs(t, -1, "_end")[0], &end)
			mustEqual(t, "code in the record", test.code, end.Code)
		})
	}
}

// signalled ends a trial by a signal when it waits.
func signalled(t *testing.T, signal syscall.Signal) func(*network, *trial) {
	t.Helper()
	return func(_ *network, x *trial) {
		ctx, interrupt := interruption(t, signal)
		x.ctx, x.waiting = ctx, func(time.Time) { interrupt() }
	}
}

// dies makes a node unreachable when the clean-up begins.
func dies(n *network, x *trial) {
	quiet := &deaf{nodes: n.Nodes()[:1]}
	x.between = quiet.between
	x.cleaning = func() { quiet.now.Store(true) }
}

// broken is an online list that panics when it is read for the second time.
type broken struct {
	orchestrator.Online
	read atomic.Int32
}

func (b *broken) List(ctx context.Context) ([]uptime.Node, error) {
	if b.read.Add(1) > 1 {
		panic(errors.New("a bug"))
	}
	return b.Online.List(ctx)
}
