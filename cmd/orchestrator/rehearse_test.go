package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/internal/mina"
	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
)

// TestRehearseScriptsOfTheGenerator rehearses scripts that the existing generator wrote, to their ends. The network's journal tells whether
// what they ask for is what happened.
func TestRehearseScriptsOfTheGenerator(t *testing.T) {
	for _, test := range []struct {
		script    string
		slot      string
		transfers int // by rotate-balance
	}{
		{script: "4-rounds", slot: "3m"},
		{script: "50-rounds", slot: "3m"},
		{script: "payments-soft-limit", slot: "30s"}, // with longer slots its limit leaves too few blocks to fund its keys in time
		{script: "rotation", slot: "3m", transfers: 8},
	} {
		t.Run(test.script, func(t *testing.T) {
			text := generated(t, test.script)
			done, out := rehearse(t, text, "-nodes", "12", "-producers", "4", "-slot", test.slot, "-seed", "1")
			if done.result.Code != orchestrator.CodeOK {
				t.Fatalf("it ends with %d: %v", done.result.Code, done.result.Err)
			}
			asked, got := readAsked(t, text), readGiven(t, out)
			asked.compare(t, got)
			compareLoad(t, done.history, got)
			compareFunding(t, done.history, asked)
			compareStops(t, done.history, asked, got)
			if count := countTransfers(done.history); count != test.transfers {
				t.Errorf("%d payments of the wallets, want %d", count, test.transfers)
			}
			if what := readRan(done.history); len(what.failures) > 0 || what.included < what.sent*9/10 || what.blocks == 0 {
				t.Errorf("%+v: some failed, or many are in no block", what)
			}
			if steps := len(asked.script.Steps()); done.steps != steps || done.of != steps {
				t.Errorf("%d of %d steps begun, want all %d", done.steps, done.of, steps)
			}
		})
	}
}

func generated(tb testing.TB, name string) []byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "generated", "generated-"+name+".script"))
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// rehearse rehearses a script in this process, and returns its standard output as well.
func rehearse(tb testing.TB, script []byte, args ...string) (rehearsed, []byte) {
	tb.Helper()
	stderr, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer stderr.Close()
	var f rehearseFlags
	var stdout bytes.Buffer
	p := program{stdin: bytes.NewReader(script), stdout: &stdout, stderr: stderr}
	set := p.flags("rehearse")
	f.define(set)
	if err := errors.Join(set.Parse(args), f.check()); err != nil {
		tb.Fatal(err)
	}
	config := f.scene.config()
	plan, code, err := p.compileAlone(orchestrator.CompileOptions{Config: &config, Nodes: f.scene.nodes, Evidence: true}, f)
	if plan == nil {
		tb.Fatalf("the script is wrong: %d, %v", code, err)
	}
	done, err := p.rehearse(tb.Context(), f, plan, config)
	if err != nil {
		tb.Fatal(err)
	}
	return done, stdout.Bytes()
}

// TestRehearsalRepeatsItself rehearses in processes of their own, with faults of all sorts, and compares all that they write to standard
// output.
func TestRehearsalRepeatsItself(t *testing.T) {
	t.Parallel()
	const parallel = `
pay = load-keys(dir: "./pay")
zk = load-keys(dir: "./zk")
nodes = discovery(no-block-producers: true)
watch nodes.reached-share >= 0%
parallel {
  payments(tps: 0.2 tps, duration: 30m, fee-payers: pay, nodes: nodes, fee: 0.1..0.2 mina, amount: 1 mina, receiver: env("RECEIVER"), experiment-name: "p")
  zkapp-txs(tps: 0.2 tps, duration: 30m, fee-payers: zk, nodes: nodes, gap: 3m, fee: 1..2 mina, deployment-fee: 1 mina, experiment-name: "z")
  { wait(3 slots)
    restart(nodes: nodes) }
}
`
	const evidence = `
experiment "evidence"
pay = load-keys(dir: "./pay")
nodes = discovery(no-block-producers: true)
producers = discovery(only-block-producers: true)
watch tx.rejected < 50%
payments(tps: 0.2 tps, duration: 15m, fee-payers: pay, nodes: nodes, fee: 0.1..0.2 mina, amount: 1 mina, receiver: env("RECEIVER"))
parallel {
  { wait(5m)
    stop-daemon(nodes: producers) }
  gather-logs(nodes: nodes)
}
expect tx.latency.p95 < 6 slots within 15m
expect tx.included(kind: payments) >= 50% and chain.longest-gap < 99 slots within 15m
gather-logs(nodes: producers, last: 1h)
`
	for _, test := range []struct {
		name, script string
		args         []string
	}{
		{"4-rounds", string(generated(t, "4-rounds")), nil},
		{"evidence", evidence, []string{"-producers", "5", "-faults", "slow:127.0.0.5=2s; restart:127.0.0.4@3; 412:*#2; cut-body:*#9"}},
		{"parallel", parallel, []string{"-faults", "slow:*=2s; lose-reply:*/schedulePayments#2"}},
		{"rotation", string(generated(t, "rotation")), []string{"-faults", "lose-reply:*/schedulePayments#3; restart:127.0.0.4@20; slow:127.0.0.5=2s; 412:*#2; list-slow=40s#1; cut-body:*#3"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			outputs := map[string]string{}
			for _, run := range []struct{ name, seed, procs string }{{"first", "1", "1"}, {"again", "1", "4"}, {"other", "2", "1"}} {
				cmd := alone(t, append([]string{"rehearse", "-nodes", "12", "-seed", run.seed}, test.args...)...)
				cmd.Env = append(cmd.Env, "GOMAXPROCS="+run.procs)
				cmd.Stdin = strings.NewReader(test.script)
				out, err := cmd.Output()
				if len(out) == 0 {
					t.Fatalf("it writes nothing: %v", err)
				}
				outputs[run.name] = string(out)
			}
			if diff := cmp.Diff(strings.Split(outputs["first"], "\n"), strings.Split(outputs["again"], "\n")); diff != "" {
				t.Errorf("the same seed gives another output (-first +again):\n%s", diff)
			}
			if outputs["first"] == outputs["other"] {
				t.Error("another seed gives the same output")
			}
		})
	}
}

// alone returns the command, to be run in an empty directory that nobody may write to, and with an environment that tells only the test
// binary what to play.
func alone(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), executable, args...)
	cmd.Dir, cmd.Env = dir, []string{playEnv + "=orchestrator", "GORACE=atexit_sleep_ms=0"}
	return cmd
}

func TestProps(t *testing.T) {
	t.Parallel()
	const named = "B62qiy32p8kAKnny8ZFwoMhYpBppM1DWVCqAPBYNcXnsAHhnfAAuXgg"
	props, genesis, err := newProps(2, []byte(`{"receiver":"`+named+`","again":"`+named+`","no":"`+named[:54]+`g"}`), scene{seed: 1}.chance("keys"))
	if err != nil {
		t.Fatal(err)
	}
	if want := richAccounts + 2*plainDirectories + 1; len(genesis) != want {
		t.Errorf("%d accounts, want %d", len(genesis), want)
	}
	open := func(name string) mina.PublicKey {
		t.Helper()
		content, err := props.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		key, err := mina.OpenKeyFile(content, nil)
		if err != nil {
			t.Fatal(err)
		}
		return key.PublicKey()
	}
	exists := func(name string, want bool) {
		t.Helper()
		if got, err := props.Exists(name); err != nil || got != want {
			t.Errorf("%s exists: %v, %v; want %v", name, got, err, want)
		}
	}

	// What is taken for granted is made up, once, and has an account.
	exists("keys/pay", false)
	names, err := props.ReadDir("./keys/pay/")
	if diff := cmp.Diff([]string{"key-000", "key-001"}, names); diff != "" || err != nil {
		t.Errorf("made up (-want +got):\n%s%v", diff, err)
	}
	exists("keys/pay", true)
	exists("keys", true)
	first := open("keys/pay/key-000")
	if genesis[first] == 0 || first != open("./keys/pay/key-000") || first == open("keys/pay/key-001") {
		t.Error("a made-up key has no account, or is not always the same")
	}
	if rich := open("private-keys/key-0"); genesis[rich] < genesis[first] {
		t.Errorf("a funding key owns %s, and any other %s", genesis[rich], genesis[first])
	}

	// What the script makes is what it is, and nothing beside it is made up.
	for _, name := range []string{"made/key-0", "made/key-0.pub"} {
		if err := props.Write(name, []byte("x"), false); err != nil {
			t.Fatal(err)
		}
	}
	if content, err := props.ReadFile("./made/key-0"); err != nil || string(content) != "x" {
		t.Errorf("made: %q, %v", content, err)
	}
	if names, err := props.ReadDir("made"); err != nil || len(names) != 2 {
		t.Errorf("made: %v, %v", names, err)
	}
	if _, err := props.ReadFile("made/key-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that the script did not make: %v", err)
	}
	if err := props.Create("made/key-0", nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file is overwritten: %v", err)
	}
	if err := props.Create("new/file", []byte("x")); err != nil {
		t.Error(err)
	}
	exists("new/file", true)

	want := []string{
		"accounts of 1 public key that the script names, 5000000 MINA in each, also in the nodes' wallets",
		"keys/pay/ with 2 keys, 50000000 MINA in each", "private-keys/key-0, a key with 50000000 MINA",
	}
	if diff := cmp.Diff(want, props.madeUp()); diff != "" {
		t.Errorf("made up (-want +got):\n%s", diff)
	}
	for range plainDirectories - 1 {
		if _, err = props.ReadDir(t.TempDir()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := props.ReadDir("one-too-many"); !errors.Is(err, errGivenAway) {
		t.Errorf("more keys than accounts: %v", err)
	}
}

// TestRehearsedSummary shows what people read of a rehearsal that did not end well.
func TestRehearsedSummary(t *testing.T) {
	t.Parallel()
	const node = "127.0.0.2:3086"
	limit := 3
	var history simnet.History
	for _, fact := range []simnet.Fact{
		simnet.ScheduleAccepted{Handle: "h", End: rehearsedGenesis().Add(2 * time.Hour)}, simnet.FundingStarted{NumAccounts: 4},
		simnet.CommandSent{Memo: "m-0"}, simnet.CommandSent{Memo: "m-1"}, simnet.CommandRejected{Memo: "m-2"},
		simnet.BlockProduced{Hash: "3Na", Height: 2, Slot: 1, Commands: []simnet.BlockCommand{{Memo: "m-0"}, {Memo: "m-1", Failure: "Overdrawn"}}},
		simnet.BlockIncluded{Hash: "3Na", Height: 2}, simnet.BlockProduced{Hash: "3Nb", Height: 2, Slot: 1}, simnet.LimitSet{Limit: &limit},
		simnet.GatingSet{Isolate: true}, simnet.DaemonStopped{}, simnet.LimitSet{Limit: &limit},
	} {
		history = append(history, simnet.Entry{Node: node, Fact: fact})
	}
	var out strings.Builder
	rehearsed{
		scene:  scene{nodes: 1, producers: 1, slot: time.Minute, seed: 7, faults: []simnet.Fault{{Kind: simnet.FaultListEmpty, Count: 2}}},
		result: orchestrator.Result{Code: orchestrator.CodeRemains, Remains: []orchestrator.Remaining{{Step: 2, Action: "payments", Node: node, Why: "no answer"}}},
		steps:  3, of: 5, history: history, madeUp: []string{"rich, a key", "keys/ with 20 keys"}, ended: rehearsedGenesis().Add(time.Hour), wall: 1500 * time.Microsecond,
	}.write(&out)
	const want = `This was a rehearsal: nothing outside this process was read, written or started.
  network                 1 node, 1 of them producing blocks, slots of 1m0s
  faults                  list-empty#2
  time                    1h0m0s of network time, 2ms on the wall
  steps                   3 of 5 begun
  load                    1 schedule accepted by the nodes
  transactions            2 sent, 2 of them in blocks; 1 not taken by a node's pool
                          a pool takes no nonce twice: load with the same fee payers began before a block had what they sent earlier (wait a slot)
                          1 in blocks failed: Overdrawn
  blocks                  1 on the chain, 1 orphaned
  accounts                4 asked for by funding
  daemons                 1 stopped, 1 are down at the end
  made up                 rich, a key
                          keys/ with 20 keys
  at the end              1 schedule on 1 node, the last of which ends by itself after 1h0m0s, zkApp limits on 1 node
  not known to be undone  step 2 (payments) on 127.0.0.2:3086: no answer
  verdict                 exit code 5: clean-up incomplete, something would still be running
  the same again          -seed 7, with the same script and options
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
}
