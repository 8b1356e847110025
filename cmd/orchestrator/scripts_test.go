package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"provingground/dsl"
	"provingground/internal/mina"
	"provingground/orchestrator/record"
	"provingground/orchestrator/simnet"
)

// TestScriptsOfTheGenerator runs scripts that the existing generator wrote, as they are, to their ends on a simulated network. The network's
// journal then tells whether what they ask for is what happened.
func TestScriptsOfTheGenerator(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		script    string
		scale     float64 // so that each takes some seconds
		slot      time.Duration
		transfers int // by rotate-balance
		limits    int // zkApp commands in a block, at last
	}{
		{script: "4-rounds", scale: 3600},
		{script: "50-rounds", scale: 7200},
		// It limits the zkApp commands in a block to 4 before it funds keys by them, ten in a batch for which mina waits 30 minutes. With
		// slots of 3 minutes that is too few blocks for six keys at once.
		{script: "payments-soft-limit", scale: 3600, slot: 30 * time.Second, limits: 4},
		{script: "rotation", scale: 3600, transfers: 8},
	} {
		t.Run(test.script, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join("testdata", "generated", "generated-"+test.script+".script"))
			if err != nil {
				t.Fatal(err)
			}
			asked := readAsked(t, text)
			n := newNetwork(t, t.TempDir(), test.scale, func(o *simnet.Options) {
				o.Nodes, o.Producers, o.Slot = 12, 4, test.slot
				for _, key := range asked.wallets {
					o.Accounts[key] = 1_000_000_000_000
				}
			})
			for _, command := range [][]string{{"check"}, {"plan", n.config}} {
				cmd := n.command(t, command...)
				cmd.Stdin = bytes.NewReader(text)
				var wrong strings.Builder
				cmd.Stderr = &wrong
				if err := cmd.Run(); err != nil || wrong.Len() > 0 {
					t.Fatalf("%s: %v\n%s", command[0], err, &wrong)
				}
			}
			cmd := n.command(t, "-quiet", "-seed", "1", n.config)
			cmd.Stdin = bytes.NewReader(text)
			var out, log bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &log
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s", err, lastOf(log.String(), 4000))
			}
			got := readGiven(t, out.Bytes())
			asked.compare(t, got)
			history := n.History()
			compareLoad(t, history, got)
			compareFunding(t, history, asked)
			compareStops(t, history, asked, got)
			if count := countTransfers(history); count != test.transfers {
				t.Errorf("%d payments of the wallets, want %d", count, test.transfers)
			}
			limits := history.Limits()
			for _, node := range n.Nodes() {
				if limit := limits[node]; limit != 0 && limit != test.limits {
					t.Errorf("the limit of %s is %d, want %d", node, limit, test.limits)
				}
			}
			if test.limits > 0 && len(limits) == 0 {
				t.Error("no node has a limit")
			}
		})
	}
}

// lastOf returns the end of a long text.
func lastOf(text string, bytes int) string { return text[max(0, len(text)-bytes):] }

// asked is what a script asks for, read from its text.
type asked struct {
	script   *dsl.Script
	accounts int              // to be funded
	loads    []int            // steps that schedule load
	stops    map[int]*dsl.Ref // for each step that stops daemons, the nodes
	wallets  []mina.PublicKey // whose balances rotate
}

func readAsked(t *testing.T, text []byte) asked {
	t.Helper()
	script, err := dsl.ReadJSON("stdin", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	a := asked{script: script, stops: map[int]*dsl.Ref{}}
	for _, step := range script.Steps() {
		switch step.Action {
		case "fund-keys":
			num, _ := step.Arg("num")
			whole, ok := dsl.WholeNumber(num.Value.Text)
			if !ok {
				t.Fatalf("step %d: num %q", step.Number, num.Value.Text)
			}
			a.accounts += int(whole.Int64())
		case "payments", "zkapp-txs":
			a.loads = append(a.loads, step.Number)
		case "stop-daemon":
			nodes, _ := step.Arg("nodes")
			a.stops[step.Number] = nodes.Ref
		case "rotate-balance":
			keys, _ := step.Arg("pubkeys")
			a.wallets = nil
			for _, item := range keys.Value.Items {
				key, err := mina.ParsePublicKey(item.Text)
				if err != nil {
					t.Fatal(err)
				}
				a.wallets = append(a.wallets, key)
			}
		}
	}
	return a
}

// given is what a run gave out.
type given struct {
	done     map[int]bool
	receipts map[int][]string // "address handle" of each receipt, by step
	groups   map[string][]string
	code     int
}

func readGiven(t *testing.T, out []byte) given {
	t.Helper()
	g := given{done: map[int]bool{}, receipts: map[int][]string{}, groups: map[string][]string{}, code: -1}
	decode := func(l record.Line, into any) error {
		if err := json.Unmarshal(l.Value, into); err != nil {
			return fmt.Errorf("%s of step %d: %w", l.Name, l.Step, err)
		}
		return nil
	}
	if _, err := record.Read("stdout", bytes.NewReader(out), func(l record.Line) error {
		switch {
		case l.Name == "_done":
			g.done[l.Step] = true
		case l.Name == "_end":
			var end struct{ Code int }
			err := decode(l, &end)
			g.code = end.Code
			return err
		case l.Name == "receipt":
			var receipt struct{ Address, Handle string }
			err := decode(l, &receipt)
			g.receipts[l.Step] = append(g.receipts[l.Step], receipt.Address+" "+receipt.Handle)
			return err
		case strings.HasPrefix(l.Name, "group") && !l.Multi:
			var group []string
			err := decode(l, &group)
			g.groups[groupOf(l.Step, l.Name)] = group
			return err
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return g
}

func groupOf(step int, name string) string { return fmt.Sprintf("%d %s", step, name) }

// compare reports steps that were not finished and loads without receipt.
func (a asked) compare(t *testing.T, g given) {
	t.Helper()
	if g.code != 0 {
		t.Errorf("the record ends with code %d", g.code)
	}
	for _, step := range a.script.Steps() {
		if !g.done[step.Number] {
			t.Errorf("step %d (%s) is not finished", step.Number, step.Action)
		}
	}
	for _, step := range a.loads {
		if len(g.receipts[step]) == 0 {
			t.Errorf("step %d gave out no receipt", step)
		}
	}
}

// compareLoad reports schedules without receipt and receipts without schedule, sender keys in two schedules at once, and memos that two
// schedules or two commands share.
func compareLoad(t *testing.T, history simnet.History, g given) {
	t.Helper()
	var accepted, receipts []string
	prefixes := map[string]bool{}
	for _, s := range history.Schedules() {
		accepted = append(accepted, s.Node+" "+s.Handle)
		if prefixes[s.MemoPrefix] {
			t.Errorf("two schedules share the memo prefix %s", s.MemoPrefix)
		}
		prefixes[s.MemoPrefix] = true
	}
	for _, of := range g.receipts {
		receipts = append(receipts, of...)
	}
	slices.Sort(accepted)
	slices.Sort(receipts)
	if !slices.Equal(accepted, receipts) {
		t.Errorf("the nodes accepted %d schedules, and there are %d receipts:\n%v\n%v", len(accepted), len(receipts), accepted, receipts)
	}
	if overlaps := history.Overlaps(); len(overlaps) > 0 {
		t.Errorf("%d sender keys are in two schedules at once, the first: %v", len(overlaps), overlaps[0])
	}
	memos := map[string]bool{}
	sent := 0
	for _, entry := range history {
		command, ok := entry.Fact.(simnet.CommandSent)
		if !ok || command.Memo == "" || command.Memo == rotationMemo {
			continue
		}
		sent++
		if memos[command.Memo] {
			t.Errorf("two commands have the memo %s", command.Memo)
		}
		memos[command.Memo] = true
	}
	if sent == 0 {
		t.Error("no command was sent")
	}
	t.Logf("%d schedules, %d commands with memos", len(accepted), sent)
}

// compareFunding reports accounts that were asked for and not funded, or funded and not asked for.
func compareFunding(t *testing.T, history simnet.History, a asked) {
	t.Helper()
	accounts, open := 0, map[string]bool{}
	for _, entry := range history {
		switch fact := entry.Fact.(type) {
		case simnet.FundingStarted:
			accounts += fact.NumAccounts
			open[fact.Handle] = true
		case simnet.FundingEnded:
			if fact.Reason != simnet.EndDone {
				t.Errorf("a funding ended: %s (%s)", fact.Reason, fact.Detail)
			}
			delete(open, fact.Handle)
		}
	}
	if accounts != a.accounts || len(open) > 0 {
		t.Errorf("%d accounts were funded, and %d fundings go on; want %d accounts and none", accounts, len(open), a.accounts)
	}
}

// compareStops reports daemons that should have been stopped and were not, or the other way round.
func compareStops(t *testing.T, history simnet.History, a asked, g given) {
	t.Helper()
	var want, got []string
	for step, nodes := range a.stops {
		group, ok := g.groups[groupOf(nodes.Step, nodes.Name)]
		if !ok {
			t.Errorf("step %d stops the nodes of %s of step %d, which is not among the outputs", step, nodes.Name, nodes.Step)
		}
		want = append(want, group...)
	}
	for _, entry := range history {
		if _, ok := entry.Fact.(simnet.DaemonStopping); ok {
			got = append(got, entry.Node)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("told to stop: %v\nwant: %v", got, want)
	}
	t.Logf("%d daemons were told to stop", len(got))
}

// rotationMemo is the memo of what rotate-balance sends.
const rotationMemo = "rotation"

func countTransfers(history simnet.History) int {
	count := 0
	for _, entry := range history {
		if command, ok := entry.Fact.(simnet.CommandSent); ok && command.Memo == rotationMemo {
			count++
		}
	}
	return count
}
