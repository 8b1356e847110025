package orchestrator_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"provingground/dsl"
	"provingground/internal/mina"
	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
)

// The files actions_*_test.go prove each action on a simulated network over TCP. What they assert they read in the network's journal,
// which holds what really happened there, whatever the nodes answered and the run says. This file has what they share, and the tests of
// what all actions have in common. A number such as D34 is the defect of the existing tool that a test keeps away
// (orchestrator-scripts, section 5).

// receiver is the public key that test payments go to.
const receiver = "B62qiy32p8kAKnny8ZFwoMhYpBppM1DWVCqAPBYNcXnsAHhnfAAuXgg"

// params are the parameters of a step.
type params map[string]any

// script spells a script of these steps.
func script(steps ...string) string { return strings.Join(steps, "\n") }

// step spells a step.
func step(action string, p params) string {
	text, err := json.Marshal(map[string]any{"action": action, "params": p})
	if err != nil {
		panic(err) // a mistake in the test
	}
	return string(text)
}

// output refers to an output of a step; a negative number counts back from the referring step.
func output(step int, name string) params {
	return params{"type": "output", "step": step, "name": name}
}

// or adds to a reference the value that stands for a missing output.
func (p params) or(value any) params { return p.with(params{"onEmpty": value}) }

// with returns the parameters with some of them changed.
func (p params) with(changes params) params {
	changed := maps.Clone(p)
	maps.Copy(changed, changes)
	return changed
}

// discoverAndLoadKeys are the first two steps of most scripts about load: step 0 finds all nodes, step 1 opens all keys.
func discoverAndLoadKeys() string {
	return script(step("discovery", params{}), step("load-keys", params{"dir": "keys"}))
}

// somePayments are the parameters of a small load over all nodes, with all keys, that outlasts any test.
func somePayments() params {
	return params{
		"experimentName": "pay", "tps": 0.3, "minTps": 0.01, "durationMin": 6000, "minFee": 100_000_000, "maxFee": 200_000_000, "amount": 1000,
		"receiver": receiver, "feePayers": output(1, "key"), "nodes": output(0, "participant"),
	}
}

// someZkapps are the same for zkApp commands.
func someZkapps() params {
	return params{
		"experimentName": "zk", "tps": 0.3, "minTps": 0.01, "durationMin": 6000, "gap": 60, "minFee": 1_000_000_000, "maxFee": 2_000_000_000,
		"deploymentFee": 1_000_000_000, "minBalanceChange": 0, "maxBalanceChange": 1000,
		"feePayers": output(1, "key"), "nodes": output(0, "participant"),
	}
}

// rich is a balance that no test spends.
const rich mina.Nanomina = 1_000_000_000_000_000

// fundedKeys writes the files key-00, key-01, … of new keys into a directory, and gives their accounts a balance from genesis on. It
// returns the public keys in the order of the files.
func fundedKeys(t *testing.T, o *simnet.Options, dir string, count int) []string {
	t.Helper()
	public := make([]string, count)
	for i, key := range newKeys(t, count) {
		writeKey(t, filepath.Join(dir, fmt.Sprintf("key-%02d", i)), key, "")
		o.Accounts[key.PublicKey()] = rich
		public[i] = key.PublicKey().String()
	}
	return public
}

// newKeys makes keys.
func newKeys(t *testing.T, count int) []mina.PrivateKey {
	t.Helper()
	keys := make([]mina.PrivateKey, count)
	for i := range keys {
		key, err := mina.GeneratePrivateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = key
	}
	return keys
}

// newLoadNetwork starts a network whose keys directory holds the files of so many rich keys.
func newLoadNetwork(t *testing.T, keys int, change func(*simnet.Options)) (n *network, public []string) {
	t.Helper()
	n = newNetwork(t, func(o *simnet.Options) {
		public = fundedKeys(t, o, "keys", keys)
		if change != nil {
			change(o)
		}
	})
	return n, public
}

// told is one entry of the journal, its fact as the type that it is.
type told[F simnet.Fact] struct {
	at   time.Time // network time
	node string
	fact F
}

// toldOf returns the journal's entries with facts of one type.
func toldOf[F simnet.Fact](n *network) []told[F] {
	var found []told[F]
	for _, entry := range n.History() {
		if fact, ok := entry.Fact.(F); ok {
			found = append(found, told[F]{entry.Time, entry.Node, fact})
		}
	}
	return found
}

// answers counts the requests of one operation that a node answered as it should.
func (n *network) answers(node, operation string) int {
	count := 0
	for _, answer := range toldOf[simnet.RequestAnswered](n) {
		if answer.node == node && answer.fact.Operation == operation && answer.fact.Outcome == simnet.OutcomeOK {
			count++
		}
	}
	return count
}

// outputsOf returns the values of an output of a step.
func outputsOf[T any](t *testing.T, e ending, step int, name string) []T {
	t.Helper()
	var values []T
	for _, text := range e.outputs(t, step, name) {
		var value T
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			t.Fatalf("output %s of step %d: %v in %s", name, step, err, text)
		}
		values = append(values, value)
	}
	return values
}

// outputOf returns the value of a single output of a step, which must be there once.
func outputOf[T any](t *testing.T, e ending, step int, name string) T {
	t.Helper()
	values := outputsOf[T](t, e, step, name)
	if len(values) != 1 {
		t.Fatalf("%d outputs %s of step %d, want one", len(values), name, step)
	}
	return values[0]
}

// when returns options of a run in which something happens when it logs a message for the first time.
func when(message string, do func()) options {
	var once sync.Once
	return options{seed: 1, change: func(w *orchestrator.World) {
		w.Log = w.Log.WithOptions(zap.Hooks(func(line zapcore.Entry) error {
			if line.Message == message {
				once.Do(do)
			}
			return nil
		}))
	}}
}

// interruptedAt returns options of a run that is interrupted (SIGINT) when it logs a message for the first time.
func interruptedAt(t *testing.T, message string) options {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	o := when(message, func() { cancel(&orchestrator.Interrupted{Signal: syscall.SIGINT}) })
	o.ctx = ctx
	return o
}

// findings returns what a check of a script finds.
func (n *network) findings(text string) string {
	n.t.Helper()
	_, found := n.read(text)
	var report strings.Builder
	if err := found.Write(&report, dsl.AsText); err != nil {
		n.t.Fatal(err)
	}
	return report.String()
}

// writeFile writes a file of these lines.
func writeFile(t *testing.T, path string, lines ...string) {
	t.Helper()
	writeText(t, path, strings.Join(lines, "\n")+"\n")
}

// writeText writes a file.
func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// mustSay fails the test unless a text contains each of some others.
func mustSay(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

// mustEqual fails the test and shows the difference unless two values are equal.
func mustEqual[T any](t *testing.T, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// sorted returns the values in order.
func sorted(values []string) []string { return slices.Sorted(slices.Values(values)) }

func TestOneScriptWithAllActions(t *testing.T) {
	var pubkeys []string
	n, _ := newLoadNetwork(t, 8, func(o *simnet.Options) { pubkeys = fundedKeys(t, o, "wallets", 2) })
	text := script(
		discoverAndLoadKeys(), // 0, 1
		step("preflight", params{"nodes": output(0, "participant")}), // 2
		step("fund-keys", params{"amount": 20_000_000_000, "fee": 1_000_000, "prefix": "new/key", "num": 2, "privkeys": []string{"private-keys/key-0"}}),
		step("sample", params{"group": output(0, "participant"), "ratios": []float64{0.5}}),                        // 4
		step("except", params{"group": output(0, "participant"), "except": output(4, "group1")}),                   // 5
		step("join", params{"group1": output(4, "group1"), "group2": output(5, "group")}),                          // 6
		step("payments", somePayments().with(params{"tps": 0.5, "nodes": output(4, "group1")})),                    // 7
		step("load-keys", params{"dir": "new"}),                                                                    // 8
		step("zkapp-txs", someZkapps().with(params{"feePayers": output(8, "key"), "nodes": output(5, "group")})),   // 9
		step("slots-won", params{"nodes": output(0, "participant")}),                                               // 10
		step("slots-covered-check", params{"threshold": 0.3, "slotsWon": output(10, "slotsWon")}),                  // 11
		step("allocate-slots", params{"groups": []int{1, 1}, "slotsWon": output(10, "slotsWon"), "maxSlots": 100}), // 12
		step("set-zkapp-soft-limit", params{"nodes": output(0, "participant"), "limit": 12}),                       // 13
		step("isolate", params{"nodes": output(12, "group0")}),                                                     // 14
		step("reset-gating", params{"nodes": output(12, "group0"), "addRandomPeers": 2}),                           // 15
		step("rotate-balance", params{"pubkeys": pubkeys, "servers": []string{"", ""}, "mapping": []int{1, 0}, "ratio": 0.1}),
		step("wait", params{"min": 1}),                             // 17
		step("stop", params{"receipts": output(7, "receipt")}),     // 18
		step("stop-all-scheduled", params{}),                       // 19
		step("restart", params{"nodes": output(12, "group0")}),     // 20
		step("stop-daemon", params{"nodes": output(12, "group1")}), // 21
		step("gather-logs", params{"nodes": output(12, "group1")}), // 22
	)
	for _, action := range orchestrator.Actions() {
		if !dsl.HoldsBlock(action.Action) && !strings.Contains(text, `"action":"`+action.Action+`"`) {
			t.Errorf("the script leaves out %s", action.Action)
		}
	}
	w := &witness{gather: gathering(1, "")}
	e := n.withDatabase().run(text, options{seed: 1, change: w.testify}).mustEnd(t, orchestrator.CodeOK)

	history := n.History()
	if len(history.Schedules()) == 0 || len(history.Unstopped()) > 0 {
		t.Errorf("schedules %v, of which not stopped %v", history.Schedules(), history.Unstopped())
	}
	if overlaps := history.Overlaps(); len(overlaps) > 0 {
		t.Errorf("keys that two schedules used at one time: %v", overlaps)
	}
	mustHaveTodaysShape(t, e)
}

// mustHaveTodaysShape checks that every line of a run's standard output has exactly the keys that readers of the existing tool's output
// know (orchestrator-scripts, section 1.2), and besides them only id and action; and that what is no output of a step looks like an
// output with a name of its own (script-language, section 5).
func mustHaveTodaysShape(t *testing.T, e ending) {
	t.Helper()
	multi := map[string]bool{} // outputs known to be lists, by action and name
	numbered := []string{"group0", "group1", "group2"}
	for _, action := range orchestrator.Actions() {
		for _, o := range action.Outputs {
			multi[action.Action+" "+o.Name] = o.Multi
		}
		if action.Numbered != nil {
			for _, name := range numbered {
				multi[action.Action+" "+name] = false
			}
		}
	}
	singles := map[string]bool{}
	for text := range strings.Lines(e.out) {
		var line map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		keys := slices.Sorted(maps.Keys(line))
		for _, needed := range []string{"name", "step", "time", "value"} {
			if line[needed] == nil {
				t.Errorf("no %s in %s", needed, text)
			}
		}
		for _, key := range keys {
			if !slices.Contains([]string{"action", "id", "multi", "name", "step", "time", "value"}, key) {
				t.Errorf("the key %s is not known: %s", key, text)
			}
		}
		var at time.Time
		if err := json.Unmarshal(line["time"], &at); err != nil || at.Location() != time.UTC || !strings.HasSuffix(string(line["time"]), `Z"`) {
			t.Errorf("time is not in UTC: %s", text)
		}
		var number int
		var name, action string
		if err := errors.Join(json.Unmarshal(line["step"], &number), json.Unmarshal(line["name"], &name)); err != nil {
			t.Errorf("%v: %s", err, text)
		}
		if line["multi"] != nil && string(line["multi"]) != "true" {
			t.Errorf("multi is not absent when false: %s", text)
		}
		if strings.HasPrefix(name, "_") {
			if line["multi"] == nil {
				t.Errorf("multi is not true: %s", text)
			}
			continue
		}
		if err := json.Unmarshal(line["action"], &action); err != nil {
			t.Errorf("%v: %s", err, text)
		}
		wantMulti, known := multi[action+" "+name]
		if !known || wantMulti != (line["multi"] != nil) {
			t.Errorf("output %s of %s, multi known %v, want %v: %s", name, action, known, wantMulti, text)
		}
		if !wantMulti {
			if place := fmt.Sprint(number, name); singles[place] {
				t.Errorf("a single output is there twice: %s", text)
			} else {
				singles[place] = true
			}
		}
		if string(line["value"]) == "null" {
			t.Errorf("an output without a value: %s", text)
		}
	}
}

func TestMemoPrefixesAreNeverUsedTwice(t *testing.T) {
	n, _ := newLoadNetwork(t, 8, nil)
	same := params{"experimentName": "same", "durationMin": 1}
	n.run(script(
		discoverAndLoadKeys(),
		step("payments", somePayments().with(same)),
		step("payments", somePayments().with(same)),
		step("zkapp-txs", someZkapps().with(same).with(params{"tps": 3, "gap": 1})),
		step("payments", somePayments().with(params{"experimentName": "other"})),
	)).mustEnd(t, orchestrator.CodeOK)
	seen := map[string]bool{}
	for _, s := range n.History().Schedules() {
		if seen[s.MemoPrefix] {
			t.Errorf("the memo prefix %s is used twice", s.MemoPrefix)
		}
		seen[s.MemoPrefix] = true
	}
	for i := range 18 {
		if prefix := fmt.Sprintf("same-%d", i); !seen[prefix] {
			t.Errorf("no schedule has the memo prefix %s", prefix)
		}
	}
}

func TestReferences(t *testing.T) {
	n, _ := newLoadNetwork(t, 2, nil)
	nodes := n.Nodes()

	t.Run("a missing list output takes onEmpty", func(t *testing.T) {
		e := n.run(script(
			step("except", params{"group": nodes, "except": nodes}),
			step("join", params{"group1": output(-1, "group").or([]string{"a"}), "group2": []string{"b"}}),
			step("set-zkapp-soft-limit", params{"nodes": output(0, "group").or([]string{}), "limit": 3}),
		)).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "joined", []string{"a", "b"}, outputsOf[string](t, e, 1, "group"))
		if set := toldOf[simnet.LimitSet](n); len(set) > 0 {
			t.Errorf("limits were set on a list without nodes: %v", set)
		}
	})

	t.Run("without onEmpty the step fails at its place", func(t *testing.T) {
		e := n.run(script(
			`"a comment is no step"`,
			step("except", params{"group": nodes, "except": nodes}),
			`  `+step("set-zkapp-soft-limit", params{"nodes": output(-1, "group"), "limit": 3}),
		)).mustEnd(t, orchestrator.CodeStep)
		var at orchestrator.Placed
		if !errors.As(e.Err, &at) {
			t.Fatalf("%v has no place", e.Err)
		}
		finding := at.Finding()
		line, column := finding.Source.Place(finding.Span.Start)
		mustEqual(t, "step, line, column", []int{1, 3, 13}, []int{finding.Step, line, column})
		mustSay(t, e.Err.Error(), `step 0 has no output "group"`, `"nodes"`)
	})

	t.Run("an earlier run's output", func(t *testing.T) {
		first := n.run(script(discoverAndLoadKeys(), step("payments", somePayments()))).mustEnd(t, orchestrator.CodeOK)
		writeFile(t, "first.out", first.out)
		mustEqual(t, "running load", 2, len(n.History().Unstopped()))
		n.run(step("stop", params{"receipts": params{"type": "output", "file": "first.out", "step": 2, "name": "receipt"}})).mustEnd(t, orchestrator.CodeOK)
		if left := n.History().Unstopped(); len(left) > 0 {
			t.Errorf("not stopped: %v", left)
		}
	})

	t.Run("the output of the existing tool", func(t *testing.T) {
		writeFile(t, "old.out",
			`{"time":"2024-05-01T10:00:00.123456789Z","step":4,"name":"participant","multi":true,"value":"`+nodes[1]+`"}`,
			`{"time":"2024-05-01T10:00:00.2Z","step":4,"name":"participant","multi":true,"value":"`+nodes[0]+`"}`,
			`{"time":"2024-05-01T10:00:01Z","step":5,"name":"group1","value":["`+nodes[2]+`"]}`,
			`{"time":"2024-05-01T10:00:01Z","step":5,"name":"rest","value":[]}`,
		)
		old := func(step int, name string) params { return output(step, name).with(params{"file": "old.out"}) }
		e := n.run(step("join", params{
			"group1": old(4, "participant"), "group2": old(5, "group1"), "group3": old(5, "rest"), "group4": old(6, "group").or([]string{"none"}),
		})).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "joined", []string{nodes[1], nodes[0], nodes[2], "none"}, outputsOf[string](t, e, 0, "group"))
	})

	t.Run("what a check refuses", func(t *testing.T) {
		if err := errors.Join(os.Mkdir("directory", 0o700), syscall.Mkfifo("pipe", 0o600)); err != nil {
			t.Fatal(err)
		}
		for name, test := range map[string]struct{ text, want string }{
			"no step (D7)":             {step("join", params{"group1": params{"type": "output", "name": "group"}}), "does not say which step"},
			"not a plain file (D6)":    {step("join", params{"group1": output(0, "group").with(params{"file": "directory"})}), "directory"},
			"nor this (D6)":            {step("join", params{"group1": output(0, "group").with(params{"file": "pipe"})}), "not a plain file"},
			"no such file":             {step("join", params{"group1": output(0, "group").with(params{"file": "absent.out"})}), "absent.out"},
			"no such output in a file": {step("join", params{"group1": output(9, "group").with(params{"file": "old.out"})}), `step 9 has no output "group" in old.out`},
			"relative step of a file":  {step("join", params{"group1": output(-1, "group").with(params{"file": "old.out"})}), "relative step"},
			"a later step":             {step("join", params{"group1": output(0, "group")}), "step 0"},
			"an unknown output":        {script(step("discovery", params{}), step("join", params{"group1": output(0, "participants")})), `"participant"`},
		} {
			t.Run(name, func(t *testing.T) { mustSay(t, n.findings(test.text), test.want) })
		}
	})
}
