package orchestrator_test

import (
	"testing"
	"time"

	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
)

// Scripts of the script language, run on a simulated network.

// TestBranchesAndRounds: branches place their load at the same time, rounds one after the other, each step under its own id.
func TestBranchesAndRounds(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	e := n.run(`
experiment "x"
keys = load-keys(dir: "keys")
nodes = discovery(no-block-producers: true)
parallel {
  a = payments(tps: 0.1 tps, duration: 1h, fee: 0.1 mina, amount: 1 nanomina, receiver: "`+receiver+`", fee-payers: keys, nodes: nodes)
  { wait(1m) log("one minute") }
}
stop(receipts: a)
repeat 2 as round {
  pay = payments(tps: 0.1 tps * (round + 1), duration: 1h, fee: 0.1 mina, amount: 1 nanomina, receiver: "`+receiver+`", fee-payers: keys, nodes: nodes)
  stop(receipts: pay)
}`).mustEnd(t, orchestrator.CodeOK)
	mustSay(t, e.out, `"id":"a"`, `"id":"pay[0]"`, `"id":"pay[1]"`)
	n.mustBeTrue(t, e)
	n.mustRun(t, 0)
}

// TestCountOfAnEmptyList: a list output without an element is a list, and not something missing, once its step is done.
func TestCountOfAnEmptyList(t *testing.T) {
	n := newNetwork(t, nil)
	n.run(`
nodes = discovery()
nobody = except(group: nodes, except: nodes)
expect count(nobody) == 0
expect count(nodes) == 6
expect count(nobody) > 0 or count(nodes) > 5`).mustEnd(t, orchestrator.CodeOK)
	e := n.run("nodes = discovery()\nnobody = except(group: nodes, except: nodes)\nexpect count(nobody) >= 1").mustEnd(t, orchestrator.CodeVerdict)
	mustSay(t, e.Err.Error(), "actual 0, expected >= 1")
}

// TestTheEndOfAFailedRun: on failure, then the undoing, then finally; what finally refers to and never came to be is skipped.
func TestTheEndOfAFailedRun(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) { o.Nodes = 3 })
	e := n.run(`
experiment "x"
keys = load-keys(dir: "keys")
nodes = discovery()
pay = payments(tps: 0.1 tps, duration: 1h, fee: 0.1 mina, amount: 1 nanomina, receiver: "`+receiver+`", fee-payers: keys, nodes: nodes)
expect count(nodes) >= 4
late = discovery()
on failure { log("something failed") }
finally { log("the end") preflight(nodes: late) preflight(nodes: nodes) }`).mustEnd(t, orchestrator.CodeVerdict)
	mustSay(t, e.Err.Error(), "expect failed: count(nodes) >= 4", "actual 3")
	mustSay(t, e.log, "something failed", "the end", "step skipped")
	n.mustRun(t, 0)
}

// TestResumeOfAClaimThatProvesNothing: the clean-up undid what a finished step had left, so the claims of the resumed run prove nothing.
func TestResumeOfAClaimThatProvesNothing(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	const text = `
experiment "x"
keys = load-keys(dir: "keys")
nodes = discovery(no-block-producers: true)
pay = payments(tps: 0.1 tps, duration: 1h, fee: 0.1 mina, amount: 1 nanomina, receiver: "` + receiver + `", fee-payers: keys, nodes: nodes)
late = load-keys(dir: "nowhere")
expect count(nodes) >= 1`
	failed := n.try(text, trial{}).mustEnd(t, orchestrator.CodeStep)
	recorded, err := orchestrator.ReadRecord(failed.path)
	if err != nil {
		t.Fatal(err)
	}
	writeKey(t, "nowhere/key", newKeys(t, 1)[0], "")
	e := n.try(text, trial{resume: recorded}).mustEnd(t, orchestrator.CodeInconclusive)
	mustSay(t, e.Err.Error(), "what pay (payments) left behind was undone when the run was cut short")
	n.mustRun(t, 0)
}

// TestNoFundingKey: a funding key that is not there is found before the executable is started, and once is enough.
func TestNoFundingKey(t *testing.T) {
	n := newNetwork(t, nil)
	began := n.clock.Now()
	e := n.run(`fund-keys(amount: 20 mina, fee: 1 mina, prefix: "./made/key", num: 2, privkeys: ["private-keys/missing"])`).mustEnd(t, orchestrator.CodeStep)
	mustSay(t, e.Err.Error(), "read the funding key", "private-keys/missing")
	if took := n.clock.Now().Sub(began); took > 10*time.Minute {
		t.Errorf("it took %s of network time", took)
	}
}

// TestStopNamesStoppedDaemons: stop starts no daemon again, and says which the run told to end.
func TestStopNamesStoppedDaemons(t *testing.T) {
	n := newNetwork(t, nil)
	e := n.run("nodes = discovery(limit: 1)\nstop-daemon(nodes: nodes)").mustEnd(t, orchestrator.CodeOK)
	_, log := n.stop(e.path, trial{})
	mustSay(t, log, "the run told this daemon to end")
}
