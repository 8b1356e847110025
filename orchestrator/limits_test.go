package orchestrator_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
)

// This file is about the limits of a script: each holds exactly at its bound, and what would go beyond is not begun.

// mustBeLimited fails the test unless a limit ended the run, at its place and with these words, before the step with that number sent anything.
func (n *network) mustBeLimited(t *testing.T, e ending, limit string, step int, says ...string) {
	t.Helper()
	e.mustEnd(t, orchestrator.CodeVerdict)
	mustSay(t, e.shown(t), append(says, "test:1:7: limit failed: "+limit, "was not begun")...)
	last := ""
	if verdicts := e.verdicts(t); len(verdicts) > 0 {
		last = verdicts[len(verdicts)-1]
	}
	mustEqual(t, "verdict in the record", "limit "+limit+": fail", last)
	for line := range strings.Lines(e.out) {
		var l struct {
			Step int
			Name string
		}
		mustDecode(t, line, &l)
		if l.Step == step {
			t.Errorf("the step that goes beyond the limit has the line %s", line)
		}
	}
	n.mustBeTrue(t, e)
}

// TestLimitOfTheRate: exactly at the bound all runs, beyond it the next load is not scheduled; what has ended or was stopped does not count.
func TestLimitOfTheRate(t *testing.T) {
	for _, test := range []struct {
		name, limit, body string
		beyond            int // number of the step that goes beyond; 0: none does
		schedules         int
		says              string
	}{
		{"one step at it", "rate <= 0.6 tps", "a = " + paying(""), 0, 6, ""},
		{"one step beyond it", "rate <= 0.599 tps", "a = " + paying(""), 4, 0, "it would be 0.6 tps"},
		{"in minutes", "rate <= 36/min", "a = " + paying(""), 0, 6, ""},
		{"two at it", "rate <= 1.2 tps", "a = " + paying("") + " b = " + payingOthers(""), 0, 12, ""},
		{"two beyond it", "rate <= 1.19 tps", "a = " + paying("") + " b = " + payingOthers(""), 5, 6, "it would be 1.2 tps"},
		{"the first was stopped", "rate <= 0.6 tps", "a = " + paying("") + " stop(receipts: a) b = " + payingOthers(""), 0, 12, ""},
		{"the first has ended", "rate <= 0.6 tps", "a = " + short(paying("")) + " wait(8m) b = " + payingOthers(""), 0, 12, ""},
		{"the first was placed in part", "rate <= 0.8 tps", "a = " + payingAt("0.2 tps", "") + " b = " + payingOthers(""), 0, 8, ""},
		{"branches at it", "rate <= 1.2 tps", "parallel { " + paying("") + payingOthers("") + " }", 0, 12, ""},
		{"steps that place no load", "rate <= 0 tps", "preflight(nodes: nodes)", 0, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newTwoLoadsNetwork(t)
			e := n.try("limit "+test.limit+twoLoads+"wait(0m)\n"+test.body, trial{})
			if test.beyond == 0 {
				e.mustEnd(t, orchestrator.CodeOK)
			} else {
				n.mustBeLimited(t, e, test.limit, test.beyond, test.says)
				n.mustRun(t, 0)
			}
			mustEqual(t, "schedules", test.schedules, len(n.History().Schedules()))
		})
	}
}

// short makes load of some that lasts a minute; the scheduler's last tick comes within ten seconds behind.
func short(pay string) string { return strings.Replace(pay, "duration: 10h", "duration: 1m", 1) }

// TestLimitOfTheRateInBranches: of two that are together beyond the bound, one is not begun, whichever comes first; the other is undone.
func TestLimitOfTheRateInBranches(t *testing.T) {
	n := newTwoLoadsNetwork(t)
	e := n.try("limit rate <= 1 tps"+twoLoads+"parallel { "+paying("")+payingOthers("")+" }", trial{}).mustEnd(t, orchestrator.CodeVerdict)
	mustSay(t, e.shown(t), "limit failed: rate <= 1 tps", "it would be 1.2 tps", "was not begun")
	n.mustBeTrue(t, e)
	n.mustRun(t, 0)
	if count := len(n.History().Schedules()); count > 6 {
		t.Errorf("%d schedules, want those of one step at most", count)
	}
}

// TestLimitOfTheRateAndRetry: while a step that placed some of its load pauses, all that it asks for counts.
func TestLimitOfTheRateAndRetry(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) {
		o.Nodes = 3
		fundedKeys(t, o, "others", 6)
	})
	refuse := &refusals{n: n, of: [][]int{{0, 1}}}
	e := n.try("limit rate <= 1.1 tps"+twoLoads+`parallel {
  a = `+paying("")+` retry 2 every 10m
  { wait(3m) b = `+payingOthers("")+` }
}`, trial{between: refuse.between})
	n.mustBeLimited(t, e, "rate <= 1.1 tps", 5, "it would be 1.2 tps")
	n.mustRun(t, 0)
}

// TestLimitOfWhatIsSpent: amounts and fees of load, deployments and balances of zkApps, and funding.
func TestLimitOfWhatIsSpent(t *testing.T) {
	minute := short(payingAt("0.5 tps", "")) // 30 payments, each of 0.1 mina and a nanomina
	fund := func(prefix string) string {
		return `fund-keys(amount: 20 mina, fee: 0.5 mina, prefix: "` + prefix + `/key", num: 2, privkeys: ["private-keys/key-0"])` + "\n"
	}
	for _, test := range []struct {
		name, limit, body string
		beyond            int
		says              string
	}{
		{"payments at it", "spend <= 3_000_000_030 nanomina", minute, 0, ""},
		{"payments beyond it", "spend <= 3_000_000_029 nanomina", minute, 4, "it would be up to 3.00000003 mina"},
		{"two steps at it", "spend <= 6.00000006 mina", "a = " + minute + " stop(receipts: a) b = " + minute, 0, ""},
		{"two steps beyond it", "spend <= 6.00000005 mina", "a = " + minute + " stop(receipts: a) b = " + minute, 6, "it would be up to 6.00000006 mina"}, // what was stopped may be spent
		{"funding at it", "spend <= 20.5 mina", fund("new"), 0, ""},
		{"funding beyond it", "spend <= 20.4 mina", fund("new"), 4, "it would be up to 20.5 mina"},
		{"funding of a batch", "spend <= 40.9 mina", fund("new") + fund("newer"), 5, "it would be up to 41 mina"},
		{"funding and load", "spend <= 23.50000003 mina", fund("new") + minute, 0, ""},
		{"funding and load beyond it", "spend <= 23.5 mina", fund("new") + minute, 5, "it would be up to 23.50000003 mina"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newTwoLoadsNetwork(t)
			e := n.try("limit "+test.limit+twoLoads+"wait(0m)\n"+test.body, trial{})
			if test.beyond == 0 {
				e.mustEnd(t, orchestrator.CodeOK)
				return
			}
			n.mustBeLimited(t, e, test.limit, test.beyond, test.says)
			n.mustRun(t, 0)
			if test.name == "funding of a batch" && len(toldOf[simnet.AccountCreated](n)) > 0 {
				t.Error("of a batch that goes beyond the limit some was begun")
			}
		})
	}
}

// TestLimitOfStoppedNodesInBranches: what another branch is about to stop counts.
func TestLimitOfStoppedNodesInBranches(t *testing.T) {
	n := newNetwork(t, nil)
	nodes := n.Nodes()
	e := n.run(fmt.Sprintf(`limit stopped <= 40%%
all = discovery()
parallel {
  stop-daemon(nodes: [%q, %q])
  stop-daemon(nodes: [%q, %q])
}`, nodes[0], nodes[1], nodes[2], nodes[3])).mustEnd(t, orchestrator.CodeVerdict)
	mustSay(t, e.Err.Error(), "limit failed: stopped <= 40%", "it would be 4 of 6 nodes")
	if told := toldOf[simnet.DaemonStopping](n); len(told) > 2 {
		t.Errorf("%d daemons were told to end", len(told))
	}
}

// TestLimitOfStoppedNodes: the share of the known nodes that the run has stopped and not seen again.
func TestLimitOfStoppedNodes(t *testing.T) {
	stop := func(n *network, nodes ...int) string {
		var list []string
		for _, i := range nodes {
			list = append(list, `"`+n.Nodes()[i]+`"`)
		}
		return "stop-daemon(nodes: [" + strings.Join(list, ", ") + "])\n"
	}
	for _, test := range []struct {
		name, limit string
		body        func(*network) string
		beyond      int
		stopped     int
		says        string
	}{
		{"at it", "stopped <= 50%", func(n *network) string { return stop(n, 0, 1, 2) }, 0, 3, ""},
		{"beyond it", "stopped <= 49%", func(n *network) string { return stop(n, 0, 1, 2) }, 1, 0, "it would be 3 of 6 nodes"},
		{"step by step, at it", "stopped <= 0.5", func(n *network) string { return stop(n, 0, 1) + stop(n, 2) }, 0, 3, ""},
		{"step by step, beyond it", "stopped <= 0.34", func(n *network) string { return stop(n, 0, 1) + stop(n, 2) }, 2, 2, "it would be 3 of 6 nodes"},
		{"the same node again", "stopped <= 20%", func(n *network) string { return stop(n, 0) + "wait(0m) " + stop(n, 0) }, 0, 1, ""},
		{"branches", "stopped <= 20%", func(n *network) string { return "parallel { " + stop(n, 0) + " } " + stop(n, 1) }, 2, 1, "it would be 2 of 6 nodes"},
		{"they came back", "stopped <= 34%", func(n *network) string {
			return stop(n, 0, 1) + "wait(1m) nodes2 = discovery(limit: 6, exactly: true) retry 100 every 2m\n" + stop(n, 2, 3)
		}, 0, 4, ""},
		{"they came back, and nobody has asked since", "stopped <= 34%", func(n *network) string {
			return stop(n, 0, 1) + fmt.Sprintf("wait(1m) preflight(nodes: [%q, %q]) retry 100 every 2m\n", n.Nodes()[0], n.Nodes()[1]) + stop(n, 2, 3)
		}, 0, 4, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNetwork(t, nil)
			var asked sayNo
			e := n.try("limit "+test.limit+"\nnodes = discovery()\n"+test.body(n), trial{between: asked.between(test.name == "the same node again")})
			if test.beyond == 0 {
				e.mustEnd(t, orchestrator.CodeOK)
			} else {
				n.mustBeLimited(t, e, test.limit, test.beyond, test.says)
			}
			stopping := map[string]bool{}
			for _, told := range toldOf[simnet.DaemonStopping](n) {
				stopping[told.node] = true
			}
			mustEqual(t, "nodes stopped", test.stopped, len(stopping))
		})
	}
}

// sayNo answers stopDaemon in a node's place after the first time: its daemon is down, and the run may ask all the same.
type sayNo struct{ stopped bool }

func (s *sayNo) between(once bool) func(exchange) (*http.Response, error) {
	return func(x exchange) (*http.Response, error) {
		if once && x.operation == "stopDaemon" {
			if s.stopped {
				return answered(x, http.StatusOK, `{"data":{"stopDaemon":"ok"}}`)
			}
			s.stopped = true
		}
		return x.pass()
	}
}

// TestLimitsOfAResumedRun: what the earlier run took counts.
func TestLimitsOfAResumedRun(t *testing.T) {
	for _, test := range []struct {
		name, limit, first, second string
		code                       int
		says                       string
	}{
		{"rate at it", "rate <= 1.2 tps", "a = " + paying(""), payingOthers(""), orchestrator.CodeOK, ""},
		{"rate beyond it", "rate <= 1.19 tps", "a = " + paying(""), payingOthers(""), orchestrator.CodeVerdict, "it would be 1.2 tps"},
		{"spend at it", "spend <= 6.00000006 mina", short(payingAt("0.5 tps", "")), strings.Replace(short(payingAt("0.5 tps", "")), "keys,", "others,", 1), orchestrator.CodeOK, ""},
		{"spend beyond it", "spend <= 6.00000005 mina", short(payingAt("0.5 tps", "")), strings.Replace(short(payingAt("0.5 tps", "")), "keys,", "others,", 1), orchestrator.CodeVerdict, "it would be up to 6.00000006 mina"},
		{"stopped at it", "stopped <= 34%", "stop-daemon(nodes: [NODE0])", "stop-daemon(nodes: [NODE1])", orchestrator.CodeOK, ""},
		{"stopped beyond it", "stopped <= 33%", "stop-daemon(nodes: [NODE0])", "stop-daemon(nodes: [NODE1])", orchestrator.CodeVerdict, "it would be 2 of 6 nodes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newTwoLoadsNetwork(t)
			text := "limit " + test.limit + twoLoads + test.first + "\nwait(0m)\n" + test.second
			for i, node := range n.Nodes() {
				text = strings.ReplaceAll(text, fmt.Sprintf("NODE%d", i), `"`+node+`"`)
			}
			pass := func(x exchange) (*http.Response, error) { return x.pass() }
			path := n.cutAt(t, text, pass, func(line string) bool { return strings.Contains(line, `"action":"wait","name":"_done"`) })
			recorded, err := orchestrator.ReadRecord(path)
			if err != nil {
				t.Fatal(err)
			}
			e := n.try(text, trial{resume: recorded})
			if test.code == orchestrator.CodeOK {
				e.mustEnd(t, orchestrator.CodeOK)
				return
			}
			n.mustBeLimited(t, e, test.limit, 5, test.says)
			n.mustRun(t, 0)
		})
	}
}

// TestLimitsDoNotHoldUpTheEnd of a run that failed: what cleans up may stop more.
func TestLimitsDoNotHoldUpTheEnd(t *testing.T) {
	n := newNetwork(t, nil)
	e := n.try("limit stopped <= 0%\nnodes = discovery()\nload-keys(dir: \"nowhere\")\nfinally { stop-daemon(nodes: nodes) }", trial{cleanup: 5 * time.Second}).
		mustEnd(t, orchestrator.CodeStep)
	mustEqual(t, "nodes stopped", 6, len(toldOf[simnet.DaemonStopping](n)))
	mustEqual(t, "verdicts", 0, len(e.verdicts(t)))
}
