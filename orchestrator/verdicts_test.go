package orchestrator_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"provingground/dsl"
	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
)

// The files verdicts_test.go, blocks_test.go, retry_test.go and limits_test.go prove what a run makes of the script language's own
// statements. This file is about expect and watch: pass, fail or inconclusive, and what a run says of each.

// beginning is how most scripts of these files begin.
const beginning = `
experiment "x"
keys = load-keys(dir: "keys")
nodes = discovery()
`

// paying spells the parameters of payments at 0.6 tps over all nodes and keys, 0.1 tps on each, for ten hours; more are added.
func paying(more string) string {
	return payingAt("0.6 tps", more)
}

// payingAt spells the parameters of payments at another rate.
func payingAt(rate, more string) string {
	if more != "" {
		more = ", " + more
	}
	return `payments(tps: ` + rate + `, min-tps: 0.1 tps, duration: 10h, fee: 0.1 mina, amount: 1 nanomina, receiver: "` + receiver +
		`", fee-payers: keys, nodes: nodes` + more + `)`
}

// shown returns why a run did not end well as the command shows it: what has a place in the script with its line.
func (e ending) shown(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for _, err := range parts(e.Err) {
		var found dsl.Findings
		var placed orchestrator.Placed
		var wrong orchestrator.Wrong
		switch {
		case errors.As(err, &placed):
			found = dsl.Findings{placed.Finding()}
		case errors.As(err, &wrong):
			found = wrong.Findings()
		default:
			fmt.Fprintln(&text, err)
		}
		if err := found.Write(&text, dsl.AsText); err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}

// parts returns the errors that were joined to one.
func parts(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	switch {
	case err == nil:
		return nil
	case !ok:
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, parts(e)...)
	}
	return all
}

// verdictLine is what a run records of a verdict.
type verdictLine struct {
	Item             int
	Kind             string
	Line             int
	Text, Verdict    string
	Actual, Expected string
	Window           string
	Evidence         []string
}

// verdicts returns the verdicts that a run recorded, each as its kind, its text and how it came out.
func (e ending) verdicts(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, v := range outputsOf[verdictLine](t, e, -1, "_verdict") {
		all = append(all, v.Kind+" "+v.Text+": "+v.Verdict)
	}
	return all
}

// winning answers slotsWon in the nodes' place, node by node; a node without slots does not answer that.
func (n *network) winning(slots ...string) func(exchange) (*http.Response, error) {
	return func(x exchange) (*http.Response, error) {
		i := slices.Index(n.Nodes(), x.node)
		switch {
		case x.operation != "slotsWon" || i < 0:
			return x.pass()
		case i >= len(slots) || slots[i] == "":
			return refusedConnection()
		}
		return answered(x, http.StatusOK, `{"data":{"slotsWon":[`+slots[i]+`]}}`)
	}
}

// deaf makes nodes refuse every connection from when it is set, until it is unset.
type deaf struct {
	nodes []string
	now   atomic.Bool
}

func (d *deaf) between(x exchange) (*http.Response, error) {
	if d.now.Load() && slices.Contains(d.nodes, x.node) {
		return refusedConnection()
	}
	return x.pass()
}

// from makes the nodes deaf from the step of a number on.
func (d *deaf) from(step int) func(int, string) {
	return func(number int, _ string) { d.now.Store(number >= step) }
}

// mustJudge runs a script that ends with one verdict other than pass, or with none of these, and checks what it says.
func (n *network) mustJudge(t *testing.T, body string, x trial, code int, says ...string) ending {
	t.Helper()
	e := n.try(body, x).mustEnd(t, code)
	if code != orchestrator.CodeOK {
		mustSay(t, e.shown(t), says...)
	}
	return e
}

// TestVerdictsOnOutputs: count and coverage, with nodes that do not answer, which are neither a zero nor a "no".
func TestVerdictsOnOutputs(t *testing.T) {
	n := newNetwork(t, nil)
	all := n.winning("10, 11, 12", "12, 13", "14, 19")
	oneSilent := n.winning("10, 11, 12", "12, 13, 19", "")
	const silent = "1 of 3 nodes did not answer"
	for _, test := range []struct {
		claim   string
		between func(exchange) (*http.Response, error)
		code    int
		says    []string
	}{
		{"expect count(won) == 3", all, orchestrator.CodeOK, nil},
		{"expect count(won) >= 4", all, orchestrator.CodeVerdict, []string{"expect failed: count(won) >= 4", "actual 3, expected >= 4"}},
		{"expect count(won) >= 2", oneSilent, orchestrator.CodeOK, nil},
		{"expect count(won) >= 3", oneSilent, orchestrator.CodeInconclusive, []string{
			"expect is inconclusive: count(won) >= 3", "actual 2 to 3, expected >= 3", "note: " + silent + "; at most 3 with one of each",
		}},
		{"expect count(won) >= 4", oneSilent, orchestrator.CodeVerdict, []string{"expect failed", "actual 2 to 3, expected >= 4", "note: " + silent}},

		{"expect coverage(won) >= 0.6", all, orchestrator.CodeOK, nil}, // 6 of 10
		{"expect coverage(won) >= 0.61", all, orchestrator.CodeVerdict, []string{
			"expect failed: coverage(won) >= 0.61", "actual 0.600 (6 of 10 slots, 10..19), expected >= 0.61",
		}},
		{"expect coverage(won) >= 0.5", oneSilent, orchestrator.CodeOK, nil}, // in the window of the slots that are known
		{"expect coverage(won) >= 0.6", oneSilent, orchestrator.CodeInconclusive, []string{
			"expect is inconclusive: coverage(won) >= 0.6", "actual 0.500 to 1 (5 of 10 slots, 10..19), expected >= 0.6", "note: " + silent,
			"at most 1.000 if they won every other slot",
		}},
		{"expect coverage(won) < 0.5", oneSilent, orchestrator.CodeVerdict, []string{"actual 0.500 to 1 (5 of 10 slots, 10..19), expected < 0.5", "note: " + silent}},
		{"expect coverage(won, from: 10, to: 13) >= 100%", all, orchestrator.CodeOK, nil},
		{"expect coverage(won, from: 10, to: 17 slots) >= 0.9", all, orchestrator.CodeVerdict, []string{"actual 0.625 (5 of 8 slots, 10..17), expected >= 0.9"}},
		{"expect coverage(won, from: 10, to: 19) >= 0.5", oneSilent, orchestrator.CodeOK, nil}, // whatever the silent one won
		{"expect coverage(won, from: 10, to: 19) >= 0.6", oneSilent, orchestrator.CodeInconclusive, []string{
			"actual 0.500 to 1 (5 of 10 slots, 10..19), expected >= 0.6", "note: " + silent + "; at most 1.000 if they won every other slot",
		}},
		{"expect coverage(won, from: 10, to: 19) < 0.5", oneSilent, orchestrator.CodeVerdict, []string{"expect failed", "expected < 0.5"}},
		{"expect not (coverage(won, from: 10, to: 19) < 0.5) and count(won) >= 2", oneSilent, orchestrator.CodeOK, nil},
	} {
		t.Run(test.claim, func(t *testing.T) {
			e := n.mustJudge(t, `producers = discovery(only-block-producers: true)
won = slots-won(nodes: producers)
`+test.claim, trial{between: test.between}, test.code, append(test.says, "test:3:8: ")...)
			want := map[int]string{orchestrator.CodeOK: "pass", orchestrator.CodeVerdict: "fail", orchestrator.CodeInconclusive: "inconclusive"}[test.code]
			mustEqual(t, "verdicts in the record", []string{test.claim + ": " + want}, e.verdicts(t))
			mustEqual(t, "line in the record", 3, outputOf[verdictLine](t, e, -1, "_verdict").Line)
		})
	}
}

// TestAFailedExpectIsShownWithItsPlace as section 4 of the script language shows it: the line, a mark, actual and expected, the window, what
// evidence is missing, and what was undone.
func TestAFailedExpectIsShownWithItsPlace(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	e := n.try(beginning+`pay = `+paying("")+`
won = slots-won(nodes: nodes)
  expect coverage(won, from: 10, to: 19)   < 0.5   # too little
`, trial{between: n.winning("10, 11, 12", "12, 13, 19", "")}).mustEnd(t, orchestrator.CodeVerdict)
	mustEqual(t, "what is shown", `test:7:10: expect failed: coverage(won, from: 10, to: 19)   < 0.5
   7 |   expect coverage(won, from: 10, to: 19)   < 0.5   # too little
     |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ actual 0.500 to 1 (5 of 10 slots, 10..19), expected < 0.5
     | note: 1 of 3 nodes did not answer; at most 1.000 if they won every other slot
`, e.shown(t))
	mustEqual(t, "undone", []string{"pay (payments): undone on 6/6"}, e.Undone)
	n.mustBeTrue(t, e)
	n.mustRun(t, 0)
}

// TestVerdictsOnNodes: how many nodes are known, and how many of them answer now.
func TestVerdictsOnNodes(t *testing.T) {
	n := newNetwork(t, nil)
	for _, test := range []struct {
		body  string
		quiet int // so many nodes answer no longer behind the discovery
		code  int
		says  []string
	}{
		{"expect nodes.known == 6", 6, orchestrator.CodeOK, nil}, // known is who has answered
		{"expect nodes.known > 6", 0, orchestrator.CodeVerdict, []string{"actual 6, expected > 6"}},
		{"expect nodes.reached == 6 and nodes.reached-share >= 100%", 0, orchestrator.CodeOK, nil},
		{"expect nodes.reached == 4", 2, orchestrator.CodeOK, nil},
		{"expect nodes.reached >= 5", 2, orchestrator.CodeVerdict, []string{"actual 4, expected >= 5"}},
		{"expect nodes.reached-share >= 0.5", 3, orchestrator.CodeOK, nil},
		{"expect nodes.reached-share > 0.5", 3, orchestrator.CodeVerdict, []string{"actual 0.500 (3 of 6 nodes), expected > 0.5"}},
		{"expect nodes.reached-share > 0", 6, orchestrator.CodeVerdict, []string{"actual 0 (0 of 6 nodes), expected > 0"}},
	} {
		t.Run(test.body, func(t *testing.T) {
			quiet := &deaf{nodes: n.Nodes()[:test.quiet]}
			n.mustJudge(t, "nodes = discovery()\nwait(0m)\n"+test.body, trial{between: quiet.between, step: quiet.from(1)}, test.code, append(test.says, "test:3:8: ")...)
		})
	}
	for _, claim := range []string{"nodes.known >= 0", "nodes.reached >= 0", "nodes.reached-share >= 0"} {
		n.mustJudge(t, "wait(0m) expect "+claim, trial{}, orchestrator.CodeInconclusive,
			"expect is inconclusive: "+claim, "actual unknown", "no node has been asked in this run yet", "test:1:17: ")
	}
}

// TestVerdictsOnTheSlot: now() is the slot that the network is in, where the configuration says how slots are counted.
func TestVerdictsOnTheSlot(t *testing.T) {
	n := newNetwork(t, nil)
	n.mustJudge(t, "wait(slot: 1, past: ok) expect now() >= 1 slot expect now() < 1_000 slots", trial{}, orchestrator.CodeOK)
	n.mustJudge(t, "wait(slot: 1, past: ok) expect now() < 1 slot", trial{}, orchestrator.CodeVerdict, "expect failed: now() < 1 slot", "actual ", "expected < 1 slot")
	n.mustJudge(t, "wait(0m) expect now() >= 100_000 slots", trial{}, orchestrator.CodeVerdict, "expected >= 100000 slots")
	n.config.SlotDuration = 0
	n.mustJudge(t, "wait(0m) expect now() >= 0 slots", trial{}, orchestrator.CodeInconclusive,
		"expect is inconclusive: now() >= 0 slots", "actual unknown", "the configuration needs genesisTimestamp and slotDurationMs")
}

// TestVerdictsOnLoad: how much of the load was placed and how much of it runs now, also where a lost reply leaves that open.
func TestVerdictsOnLoad(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	n.mustJudge(t, beginning+"expect load.rate == 0 tps expect load.placed >= 0", trial{}, orchestrator.CodeInconclusive,
		"expect is inconclusive: load.placed >= 0", "no load has been scheduled yet")

	body := beginning + `expect load.rate < 0.1 tps
pay = ` + paying("") + `
expect load.rate >= 0.6 tps
expect load.rate == 36/min
expect load.placed >= 100%
stop(receipts: pay)
expect load.rate == 0 tps      # load that was stopped is not alive
expect load.placed == 1        # and was placed all the same
expect load.rate > 0.25 tps`
	n.mustJudge(t, body, trial{}, orchestrator.CodeVerdict, "test:13:8: expect failed: load.rate > 0.25 tps", "actual 0 tps, expected > 0.25 tps")

	n.mustJudge(t, beginning+`pay = payments(tps: 0.6 tps, duration: 1m, fee: 0.1 mina, amount: 1 nanomina, receiver: "`+receiver+`", fee-payers: keys, nodes: nodes)
expect load.rate > 0.5 tps
expect load.rate == 0 tps within 30m   # it ends by itself`, trial{}, orchestrator.CodeOK)
}

// TestVerdictsOnLoadThatIsRefused: what found no node was not placed.
func TestVerdictsOnLoadThatIsRefused(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) {
		faulty(t, "refuse-schedule:127.0.0.2; refuse-schedule:127.0.0.3", 0)(o)
		o.Nodes = 3
	})
	e := n.mustJudge(t, beginning+"pay = "+paying("min-placed: 10%")+"\nexpect load.rate <= 0.4 tps expect load.placed >= 95%", trial{}, orchestrator.CodeVerdict,
		"expect failed: load.placed >= 95%", "actual 0.667 (of 0.6 tps asked), expected >= 0.95")
	n.mustBeTrue(t, e)
}

// TestVerdictsOnLoadThatNobodyKnowsOf: a reply is lost, and the node is silent until the clean-up.
func TestVerdictsOnLoadThatNobodyKnowsOf(t *testing.T) {
	const unknown = "for some of the load nobody knows whether it runs"
	for _, test := range []struct {
		claim string
		code  int
		says  []string
	}{
		{"load.rate <= 0.6 tps and load.rate > 0.4 tps", orchestrator.CodeOK, nil},
		{"load.rate >= 0.6 tps", orchestrator.CodeInconclusive, []string{"actual 0.5 to 0.6 tps, expected >= 0.6 tps", unknown}},
		{"load.rate > 0.6 tps", orchestrator.CodeVerdict, []string{"expected > 0.6 tps"}},
		{"load.placed >= 90%", orchestrator.CodeInconclusive, []string{"actual 0.833 to 1 (of 0.6 tps asked), expected >= 0.9", unknown}},
		{"load.placed < 80%", orchestrator.CodeVerdict, []string{"expected < 0.8"}},
	} {
		t.Run(test.claim, func(t *testing.T) {
			n, _ := newLoadNetwork(t, 6, nil)
			quiet := &silence{node: n.Nodes()[2], acts: true}
			x := trial{between: quiet.between, cleaning: func() { quiet.over.Store(true) }}
			e := n.mustJudge(t, beginning+"pay = "+paying("min-placed: 50%")+"\nexpect "+test.claim, x, test.code, test.says...)
			n.mustBeTrue(t, e)
			if test.code != orchestrator.CodeOK {
				mustEqual(t, "undone", []string{"pay (payments): undone on 6/6"}, e.Undone)
				n.mustRun(t, 0)
			}
		})
	}
}

// TestExpectWithin is asked again until it is true or the time is over.
func TestExpectWithin(t *testing.T) {
	n := newNetwork(t, nil)
	const head = "nodes = discovery() wait(0m)\n"
	t.Run("it becomes true", func(t *testing.T) {
		quiet := &deaf{nodes: n.Nodes()[:1]}
		var refused atomic.Int32
		e := n.try(head+"expect nodes.reached-share == 1 within 10h", trial{step: quiet.from(1), between: func(x exchange) (*http.Response, error) {
			if quiet.now.Load() && x.node == n.Nodes()[0] && refused.Add(1) == 3 {
				quiet.now.Store(false)
			}
			return quiet.between(x)
		}}).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "times refused", 2, int(min(2, refused.Load())))
		mustEqual(t, "verdicts", []string{"expect nodes.reached-share == 1: pass"}, e.verdicts(t))
	})
	t.Run("it never does", func(t *testing.T) {
		quiet := &deaf{nodes: n.Nodes()[:1]}
		e := n.mustJudge(t, head+"expect nodes.reached-share == 1 within 1 slot wait(1h)", trial{step: quiet.from(1), between: quiet.between}, orchestrator.CodeVerdict,
			"expect failed: nodes.reached-share == 1", "actual 0.833 (5 of 6 nodes), expected == 1")
		deadline := outputOf[struct{ Time time.Time }](t, e, -1, "_within").Time
		if now := n.clock.Now(); now.Before(deadline) {
			t.Errorf("it ended at %s, before its time was over at %s", now, deadline)
		}
		if strings.Contains(e.out, `"action":"wait","name":"_until","multi":true,"step":2`) || len(e.outputs(t, 2, "_until")) > 0 {
			t.Error("the script went on behind it")
		}
	})
	t.Run("the evidence never comes", func(t *testing.T) {
		n.mustJudge(t, "wait(0m) expect nodes.known >= 1 within 5m", trial{}, orchestrator.CodeInconclusive, "expect is inconclusive", "no node has been asked")
	})
	t.Run("the evidence comes late", func(t *testing.T) {
		n.mustJudge(t, `parallel { { wait(10m) discovery() } expect nodes.known >= 6 within 10h }`, trial{}, orchestrator.CodeOK)
	})
}

// TestInconclusiveRunsGoOn: the run comes to its end, and everything that is not proved is told, in the order of its places.
func TestInconclusiveRunsGoOn(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	e := n.try(beginning+`won = slots-won(nodes: nodes)
expect count(won) >= 3
watch coverage(won) >= 0.9
pay = `+paying("")+`
expect coverage(won, from: 10, to: 19) >= 0.9
wait(1m)`, trial{between: n.winning("10", "12")}).mustEnd(t, orchestrator.CodeInconclusive)
	shown := e.shown(t)
	mustSay(t, shown, "test:6:8: expect is inconclusive: count(won) >= 3", "test:7:7: watch is inconclusive: coverage(won) >= 0.9",
		"test:9:8: expect is inconclusive: coverage(won, from: 10, to: 19) >= 0.9")
	if places := []int{strings.Index(shown, "test:6:"), strings.Index(shown, "test:7:"), strings.Index(shown, "test:9:")}; !slices.IsSorted(places) {
		t.Errorf("not in the order of their places:\n%s", shown)
	}
	mustEqual(t, "undone", []string{"pay (payments): undone on 6/6"}, e.Undone) // a verdict other than pass
	n.mustRun(t, 0)
	mustEqual(t, "waits", 1, len(e.outputs(t, 4, "_until")))
	var end struct{ Code int }
	mustDecode(t, e.outputs(t, -1, "_end")[0], &end)
	mustEqual(t, "code in the record", orchestrator.CodeInconclusive, end.Code)
}

// TestTheWorstCounts: a failed step before a failed claim, that before one without evidence; all are told.
func TestTheWorstCounts(t *testing.T) {
	n := newNetwork(t, nil)
	unproved, fails, broken := "expect nodes.known >= 0\n", "expect now() < 0 slots\n", "load-keys(dir: \"nowhere\")\n"
	for _, test := range []struct {
		text string
		code int
		says []string
	}{
		{"wait(0m) " + unproved + fails, orchestrator.CodeVerdict, []string{"is inconclusive", "expect failed"}},
		{"wait(0m) " + unproved + broken, orchestrator.CodeStep, []string{"is inconclusive", "load-keys failed"}},
		{"wait(0m) " + fails + "on failure {" + broken + "}", orchestrator.CodeStep, []string{"expect failed", "load-keys failed"}},
		{"wait(0m) " + unproved + "finally {" + fails + "}", orchestrator.CodeVerdict, []string{"is inconclusive", "expect failed"}},
		{"wait(0m) " + unproved + "finally {" + broken + "}", orchestrator.CodeStep, []string{"is inconclusive", "load-keys failed"}},
		{"wait(0m) " + broken + "finally { " + unproved + "}", orchestrator.CodeStep, []string{"load-keys failed", "is inconclusive"}},
		{"wait(0m) finally { " + unproved + "}", orchestrator.CodeInconclusive, []string{"is inconclusive"}},
		{"wait(0m) finally { " + fails + "}", orchestrator.CodeVerdict, []string{"expect failed"}},
	} {
		t.Run(strings.ReplaceAll(test.text, "\n", " "), func(t *testing.T) {
			e := n.try(test.text, trial{}).mustEnd(t, test.code)
			mustSay(t, e.shown(t), test.says...)
		})
	}
}

// TestWatchEndsTheRunAtOnce, in the middle of a wait that would take weeks.
func TestWatchEndsTheRunAtOnce(t *testing.T) {
	const forever = "wait(100_000m)\n"
	for name, test := range map[string]struct {
		body  string
		quiet int // the number of the step from which on nodes are silent
		says  string
	}{
		"at the end of the script":  {"watch nodes.reached-share >= 1\n" + forever, 2, "test:5:7: "},
		"after a while":             {"watch nodes.reached-share >= 1 after 5m\n" + forever, 2, "test:5:7: "},
		"in a block":                {"within 90_000m {\nwatch nodes.reached-share >= 1\n" + forever + "}", 2, "test:6:7: "},
		"around a block":            {"watch nodes.reached-share >= 1\nwithin 90_000m { parallel { { " + forever + " } { " + forever + " } } }", 2, "test:5:7: "},
		"in a branch":               {"parallel { {\nwatch nodes.reached-share >= 1\n" + forever + "} { " + forever + " } }", 2, "test:6:7: "},
		"in a round":                {"repeat 2 as round {\nwatch nodes.reached-share >= 1\nwait(1m * (1 + 99_999 * round))\n}", 3, "test:6:7: "},
		"at the end of a step":      {"wait(0m)\nwatch nodes.reached-share >= 1 wait(0m)\n" + forever, 3, "test:6:7: "},
		"where it stands":           {"wait(0m)\nwatch nodes.reached-share >= 1\n" + forever, 2, "test:6:7: "},
		"while an expect is polled": {"watch nodes.reached-share >= 1\nwait(0m) expect now() > 1_000_000 slots within 90_000m", 2, "test:5:7: "},
	} {
		t.Run(name, func(t *testing.T) {
			n, _ := newLoadNetwork(t, 2, nil)
			quiet := &deaf{nodes: n.Nodes()[:1]}
			x := trial{between: quiet.between, step: quiet.from(test.quiet), cleaning: func() { quiet.now.Store(false) }}
			e := n.mustJudge(t, beginning+test.body, x, orchestrator.CodeVerdict, test.says,
				"watch failed: nodes.reached-share >= 1", "actual 0.833 (5 of 6 nodes), expected >= 1")
			n.mustBeTrue(t, e)
			if got := e.verdicts(t); got[len(got)-1] != "watch nodes.reached-share >= 1: fail" {
				t.Errorf("verdicts in the record: %v", got)
			}
		})
	}
}

// TestWatchUndoes what ran when it failed.
func TestWatchUndoes(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	quiet := &deaf{nodes: n.Nodes()[:1]}
	e := n.mustJudge(t, beginning+"watch nodes.reached >= 6\npay = "+paying("")+"\nwait(100_000m)\nfinally { log(\"the end\") }",
		trial{between: quiet.between, step: quiet.from(3), cleaning: func() { quiet.now.Store(false) }}, orchestrator.CodeVerdict, "actual 5, expected >= 6")
	mustEqual(t, "undone", []string{"pay (payments): undone on 6/6"}, e.Undone)
	mustSay(t, e.log, "the end")
	n.mustRun(t, 0)
}

// TestWatchEndsWithItsBlock: what becomes false behind the block is no concern of it.
func TestWatchEndsWithItsBlock(t *testing.T) {
	n := newNetwork(t, nil)
	for name, test := range map[string]struct {
		body   string
		behind int // number of the step behind it
	}{
		"a block":          {"within 10h { watch nodes.reached-share >= 1 wait(1m) }", 2},
		"two of one block": {"within 10h { watch nodes.reached-share >= 1 watch nodes.reached >= 6 wait(1m) }", 2},
		"a branch":         {"parallel { { watch nodes.reached-share >= 1 wait(1m) } wait(1m) }", 3},
		"rounds":           {"repeat 2 { watch nodes.reached-share >= 1 wait(1m) }", 3},
	} {
		t.Run(name, func(t *testing.T) {
			quiet := &deaf{nodes: n.Nodes()[:1]}
			e := n.try("nodes = discovery()\n"+test.body+"\nwait(12m)\nexpect nodes.reached-share < 1", trial{between: quiet.between, step: quiet.from(test.behind)}).
				mustEnd(t, orchestrator.CodeOK)
			for _, v := range e.verdicts(t) {
				if !strings.HasSuffix(v, ": pass") {
					t.Error(v)
				}
			}
		})
	}
}

// TestAWatchIsNoBranch: alone in a parallel it would be over at once, and the checker says what to write.
func TestAWatchIsNoBranch(t *testing.T) {
	n := newNetwork(t, nil)
	mustSay(t, n.findings("parallel {\n  watch nodes.known >= 1\n  wait(1m)\n}"), "test:2:3: ", "put it before the parallel, or into a branch { … }")
}

// TestWatchAfter does not hold before its time.
func TestWatchAfter(t *testing.T) {
	n := newNetwork(t, nil)
	const head = "nodes = discovery()\n"
	t.Run("false before, true behind", func(t *testing.T) {
		quiet := &deaf{nodes: n.Nodes()[:1]}
		e := n.try(head+"wait(0m) watch nodes.reached-share >= 1 after 20m\nwait(1m) wait(25m)", trial{between: quiet.between, step: func(number int, _ string) {
			quiet.now.Store(number == 1 || number == 2)
		}}).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "verdicts", []string{"watch nodes.reached-share >= 1: pass"}, e.verdicts(t))
	})
	t.Run("its block ends before", func(t *testing.T) {
		n.mustJudge(t, head+"watch nodes.reached-share >= 1 after 10h\nwait(1m)", trial{}, orchestrator.CodeInconclusive,
			"test:2:7: watch is inconclusive: nodes.reached-share >= 1", "its block ended before the watch began to hold")
	})
	t.Run("in slots", func(t *testing.T) {
		e := n.try(head+"watch nodes.reached-share < 1 after 2 slots\nwait(100_000m)", trial{}).mustEnd(t, orchestrator.CodeVerdict)
		began := outputOf[struct{ Time time.Time }](t, e, -1, "_within").Time
		if n.clock.Now().Before(began) {
			t.Errorf("it failed before it held, at %s", began)
		}
	})
}

// TestWatchWithoutEvidence is inconclusive at the end of its block only: the evidence may come.
func TestWatchWithoutEvidence(t *testing.T) {
	n := newNetwork(t, nil)
	n.mustJudge(t, "watch nodes.known >= 1\nwait(6m)", trial{}, orchestrator.CodeInconclusive, "test:1:7: watch is inconclusive", "no node has been asked")
	n.mustJudge(t, "watch nodes.known >= 1\nwait(6m) discovery()", trial{}, orchestrator.CodeOK)
	n.mustJudge(t, "watch nodes.known >= 7\nwait(6m) discovery() wait(100_000m)", trial{}, orchestrator.CodeVerdict, "actual 6, expected >= 7")
}

// TestAClaimThatCannotBeJudged, because it makes no sense with what the outputs hold, is a failure of the run and no verdict.
func TestAClaimThatCannotBeJudged(t *testing.T) {
	n := newNetwork(t, nil)
	for _, kind := range []string{"expect", "watch"} {
		claim := "coverage(won, from: parts.last-slot, to: parts.next-empty-slot) >= 0"
		e := n.try(`nodes = discovery(only-block-producers: true)
won = slots-won(nodes: nodes)
parts = allocate-slots(groups: [1], slots-won: won, max-slots: 8)
`+kind+" "+claim, trial{between: n.winning("10, 12", "14", "15, 19")}).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.shown(t), fmt.Sprintf("test:4:%d: ", len(kind)+2), claim+" cannot be judged", "the window ends before it begins")
		mustEqual(t, "verdicts", 0, len(e.verdicts(t)))
	}
	n.try("nodes = discovery(no-block-producers: true)\nwon = slots-won(nodes: nodes)\nexpect count(won) == 0", trial{}).mustEnd(t, orchestrator.CodeOK)
}

// TestVerdictsOfAResumedRun: what was judged stays judged, what failed is judged anew.
func TestVerdictsOfAResumedRun(t *testing.T) {
	n := newNetwork(t, nil)
	quiet := &deaf{nodes: n.Nodes()[:1]}
	var broken atomic.Bool
	broken.Store(true)
	text := `producers = discovery(only-block-producers: true)
won = slots-won(nodes: producers)
expect count(won) >= 3
expect count(won) >= 2
within 10h { watch count(won) >= 1 wait(0m) }
expect nodes.reached-share >= 1`
	between := func(x exchange) (*http.Response, error) {
		if broken.Load() && x.operation == "slotsWon" {
			return n.winning("10", "11")(x)
		}
		return quiet.between(x)
	}
	failed := n.try(text, trial{between: between, step: quiet.from(2)}).mustEnd(t, orchestrator.CodeVerdict)
	mustSay(t, failed.shown(t), "nodes.reached-share >= 1")
	quiet.now.Store(false)
	broken.Store(false)
	recorded, err := orchestrator.ReadRecord(failed.path)
	if err != nil {
		t.Fatal(err)
	}
	e := n.try(text, trial{between: between, resume: recorded}).mustEnd(t, orchestrator.CodeInconclusive)
	mustSay(t, e.shown(t), "test:3:8: expect is inconclusive: count(won) >= 3", "1 of 3 nodes did not answer")
	mustEqual(t, "verdicts", []string{
		"expect count(won) >= 3: inconclusive", "expect count(won) >= 2: pass", "watch count(won) >= 1: pass",
		"expect nodes.reached-share >= 1: fail", "expect nodes.reached-share >= 1: pass",
	}, e.verdicts(t))
}
