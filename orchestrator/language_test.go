package orchestrator_test

import (
	"os"
	"strings"
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

// TestMaskingLeavesTheRecordReadable: a secret that is a word of the record itself must not keep stop from finding the load.
func TestMaskingLeavesTheRecordReadable(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	n.env["D"], n.env["E"] = "keys", "payments"
	const text = `
keys = load-keys(dir: env("D"))
nodes = discovery(no-block-producers: true)
pay = payments(tps: 0.1 tps, duration: 100h, fee: 0.1 mina, amount: 1 nanomina, receiver: "` + receiver + `", fee-payers: keys, nodes: nodes, experiment-name: env("E"))
wait(100_000m)`
	path := n.cutAt(t, text, passing, func(line string) bool { return strings.Contains(line, `"_until"`) })
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(content), `"experiment":"payments"`) {
		t.Errorf("the experiment's name is a secret, and recorded:\n%s", content)
	}
	result, log := n.stop(path, trial{})
	if result.Code != orchestrator.CodeOK || len(result.Undone) == 0 {
		t.Errorf("stop ended with %d, undone %v\n%s", result.Code, result.Undone, log)
	}
	n.mustRun(t, 0)
}

// TestResumeBehindADeadline: the time of a block that was finished is over, and that is no failure.
func TestResumeBehindADeadline(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	const text = `
within 2m {
  keys = load-keys(dir: "keys")
  nodes = discovery()
}
wait(30m)
expect count(nodes) == 6`
	path := n.cutAt(t, text, passing, func(line string) bool { return strings.Contains(line, `"_until"`) })
	if err := n.clock.Sleep(t.Context(), 5*time.Minute); err != nil {
		t.Fatal(err)
	}
	recorded, err := orchestrator.ReadRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	n.try(text, trial{resume: recorded}).mustEnd(t, orchestrator.CodeOK)
}

// TestResumeInAnotherEnvironment is refused: the script would not be the same.
func TestResumeInAnotherEnvironment(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	n.env["D"] = "keys"
	const text = "keys = load-keys(dir: env(\"D\"))\nwait(100_000m)"
	path := n.cutAt(t, text, passing, func(line string) bool { return strings.Contains(line, `"_until"`) })
	recorded, err := orchestrator.ReadRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := recorded.Fits(n.compile(text), n.config); err != nil {
		t.Errorf("the same environment: %v", err)
	}
	n.env["D"] = "private-keys"
	if err := recorded.Fits(n.compile(text), n.config); err == nil || !strings.Contains(err.Error(), "env()") {
		t.Errorf("another environment: %v", err)
	}
}

// TestRatesAreExact: thirds of a rate add up to it.
func TestRatesAreExact(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	n.run(`
experiment "x"
limit rate <= 3 tps
keys = load-keys(dir: "keys")
nodes = discovery(limit: 3)
a = payments(tps: 2 tps, duration: 1h, fee: 0.1 mina, amount: 1 nanomina, receiver: "`+receiver+`", fee-payers: keys, nodes: nodes)
expect load.rate == 2 tps
expect load.placed == 1
stop(receipts: a)`).mustEnd(t, orchestrator.CodeOK)
}
