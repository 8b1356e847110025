package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"provingground/dsl"
	"provingground/orchestrator"
	"provingground/orchestrator/record"
	"provingground/orchestrator/simnet"
)

// TestScriptsToLearnFrom checks, plans and rehearses every script that people are given to learn from.
func TestScriptsToLearnFrom(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "scripts", "*.script"))
	if err != nil {
		t.Fatal(err)
	}
	spelled := map[bool]int{}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			spelled[dsl.IsJSON(text)]++
			if wrong := wrongWith(file, text); wrong != "" {
				t.Error(wrong)
			}
			if tree, found := dsl.Parse(file, text); !dsl.IsJSON(text) && (found.Errors() || !bytes.Equal(tree.Format(), text)) {
				t.Error("it is not in its canonical layout: orchestrator fmt -w " + file)
			}
			done, out := rehearse(t, text, "-nodes", "12", "-producers", "5", "-seed", "1")
			if done.result.Code != orchestrator.CodeOK {
				t.Fatalf("its rehearsal ends with %d: %v", done.result.Code, done.result.Err)
			}
			if planned := planOf(t, file, text); planned != done.steps {
				t.Errorf("the plan has %d steps, the rehearsal began %d", planned, done.steps)
			}
			if !bytes.Contains(out, []byte(`"_end"`)) {
				t.Error("its record has no end")
			}
		})
	}
	if spelled[false] < 8 || spelled[true] < 2 {
		t.Errorf("there are %d examples in the script language and %d JSON step streams", spelled[false], spelled[true])
	}
}

// planOf makes the plan of a script, as the command plan does, and returns how many steps it has that a run which ends well begins.
func planOf(t *testing.T, name string, text []byte) int {
	t.Helper()
	p := program{}
	script, found, err := dsl.Read(name, bytes.NewReader(text), p.reading(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	plan, found := orchestrator.Compile(script, orchestrator.CompileOptions{Found: found})
	if plan == nil {
		t.Fatal(found)
	}
	forecast, err := plan.Forecast(nil, 12)
	if err != nil {
		t.Fatal(err)
	}
	for _, write := range []func(*bytes.Buffer) error{
		func(b *bytes.Buffer) error { return forecast.WriteText(b) }, func(b *bytes.Buffer) error { return forecast.WriteJSON(b) },
	} {
		var shown bytes.Buffer
		if err := write(&shown); err != nil || shown.Len() == 0 {
			t.Errorf("the plan cannot be shown: %v", err)
		}
	}
	onFailure := dsl.Script{Items: script.OnFailure}
	return len(forecast.Steps) - len(onFailure.Steps())
}

// choosing makes every kind of random choice, in branches and rounds as well.
const choosing = `
experiment "choice"
seed 11
keys = load-keys(dir: "private-keys", limit: 6)
some = discovery(limit: 5)
parallel {
  groups = sample(group: some, ratios: [40%, 20%])
  others = discovery(no-block-producers: true, limit: 2)
}
repeat 3 as round {
  chosen = sample(group: some, ratios: [50%])
  pay = payments(tps: 0.2 tps, min-tps: 0.1 tps, duration: 1h, fee: 0.1 mina, fee-payers: keys, nodes: some,
    receiver: "B62qiy32p8kAKnny8ZFwoMhYpBppM1DWVCqAPBYNcXnsAHhnfAAuXgg")
  stop(receipts: pay)
  wait(30s)
}
`

// choices returns what a run chose: its outputs, without what is of one network only, ports and handles.
func choices(t *testing.T, out []byte) []string {
	t.Helper()
	port := regexp.MustCompile(`:\d+`)
	var chosen []string
	if _, err := record.Read("out", bytes.NewReader(out), func(l record.Line) error {
		if l.Output() && l.Name != "receipt" {
			chosen = append(chosen, l.ID+" "+l.Name+" "+port.ReplaceAllString(string(l.Value), ""))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(chosen)
	return chosen
}

// TestTheSameChoices: a script's seed makes the same choices in a rehearsal, over TCP, and in a run that was killed and resumed.
func TestTheSameChoices(t *testing.T) {
	_, rehearsed := rehearse(t, []byte(choosing), "-nodes", "10", "-producers", "3")
	want := choices(t, rehearsed)
	if len(want) < 20 {
		t.Fatalf("the rehearsal chose only %q", want)
	}
	n := newNetwork(t, t.TempDir(), usualScale, func(o *simnet.Options) { o.Nodes, o.Producers = 10, 3 })
	run := func(kill string, args ...string) []byte {
		t.Helper()
		cmd := n.command(t, append(args, "-quiet")...)
		cmd.Stdin = strings.NewReader(choosing)
		var out, log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &log
		want := orchestrator.CodeOK
		if kill != "" {
			cmd.Env = append(cmd.Env, killEnv+"="+kill)
			want = -int(syscall.SIGKILL)
		}
		if code := exitCode(t, cmd.Run()); code != want {
			t.Fatalf("%v: exit %d\n%s", args, code, &log)
		}
		return out.Bytes()
	}
	if diff := cmp.Diff(want, choices(t, run("", n.config))); diff != "" {
		t.Errorf("rehearsed and over TCP (-rehearsed, +TCP):\n%s", diff)
	}
	for _, line := range []string{"4", "12", "20", "35", "50"} {
		killed := filepath.Join(n.dir, "killed-"+line)
		if err := os.WriteFile(killed, run(line, n.config), 0o600); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, choices(t, run("", "resume", killed, n.config))); diff != "" {
			t.Errorf("rehearsed, and killed after line %s and resumed:\n%s", line, diff)
		}
	}
}

// TestTheLongExample runs a long experiment over TCP and rehearses it: the verdicts are the same, claim by claim. How long the machine takes to begin
// decides in which slots of the network the load falls. So the network over TCP is one in which, with and without the producer that the script
// stops, no two slots in a row are without a block: with the seed 44 for 60 slots, three hours.
func TestTheLongExample(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "scripts", "churn.script"))
	if err != nil {
		t.Fatal(err)
	}
	done, rehearsed := rehearse(t, text, "-nodes", "10", "-producers", "4")
	if done.result.Code != orchestrator.CodeOK {
		t.Fatalf("its rehearsal ends with %d: %v", done.result.Code, done.result.Err)
	}
	var key ed25519.PrivateKey
	n := newNetwork(t, t.TempDir(), 60, func(o *simnet.Options) {
		o.Nodes, o.Producers, o.Seed = 10, 4, 44
		key = fetcherKey(t, o)
	})
	uri := migrated(t)
	n.useDatabase(t, uri)
	n.collectInto(t, uri, key)
	keys, err := filepath.Glob(filepath.Join(n.dir, "private-keys", "key-*"))
	if err != nil || len(keys) < 20 {
		t.Fatalf("%d keys: %v", len(keys), err)
	}
	for i, key := range keys {
		dir := filepath.Join(n.dir, "keys", []string{"zkapps", "payments"}[i/2%2]) // a key's file and that of its public half
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(key, filepath.Join(dir, filepath.Base(key))); err != nil {
			t.Fatal(err)
		}
	}
	cmd := n.command(t, "-quiet", n.config)
	cmd.Env = append(cmd.Env, "PASS=", "RECEIVER=B62qiy32p8kAKnny8ZFwoMhYpBppM1DWVCqAPBYNcXnsAHhnfAAuXgg")
	cmd.Stdin = bytes.NewReader(text)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if code := exitCode(t, cmd.Run()); code != orchestrator.CodeOK {
		t.Fatalf("over TCP it ends with %d\n%s", code, &log)
	}
	want := verdicts(t, rehearsed)
	if len(want) != 7 {
		t.Errorf("the rehearsal has the verdicts %q", want)
	}
	if diff := cmp.Diff(want, verdicts(t, out.Bytes())); diff != "" {
		t.Errorf("verdicts (-rehearsed, +TCP):\n%s", diff)
	}
}

// verdicts returns the verdicts of a run, in order.
func verdicts(t *testing.T, out []byte) []string {
	t.Helper()
	var all []string
	if _, err := record.Read("out", bytes.NewReader(out), func(l record.Line) error {
		if l.Name != "_verdict" {
			return nil
		}
		var v struct{ Kind, Text, Verdict string }
		if err := json.Unmarshal(l.Value, &v); err != nil {
			return err
		}
		all = append(all, v.Kind+" "+v.Text+": "+v.Verdict)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestConvertThereAndBack converts scripts that the existing generator wrote to the language and back: the steps are the same, the texts of
// their numbers included.
func TestConvertThereAndBack(t *testing.T) {
	for _, name := range []string{"4-rounds", "50-rounds", "payments-soft-limit", "rotation"} {
		t.Run(name, func(t *testing.T) {
			p := program{}
			text := generated(t, name)
			language, found, err := p.convert(name, text, "script", nil)
			if err != nil || len(found) > 0 || dsl.IsJSON(language) {
				t.Fatalf("%v, %v", err, found)
			}
			back, found, err := p.convert(name, language, "json", nil)
			if err != nil || len(found) > 0 {
				t.Fatalf("%v, %v", err, found)
			}
			want, got := stepsOf(t, text), stepsOf(t, back)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-before +after)\n%s", diff)
			}
			if len(want) < 10 {
				t.Errorf("only %d steps", len(want))
			}
		})
	}
}

// stepsOf returns the steps and comments of a JSON step stream in words: actions, arguments as they are written, references with their absolute
// steps. A null is the absence of a value.
func stepsOf(t *testing.T, text []byte) []string {
	t.Helper()
	script, err := dsl.ReadJSON("script", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, item := range script.Items {
		if item.Step == nil {
			steps = append(steps, fmt.Sprintf("%q", item.Comment))
			continue
		}
		var args []string
		for _, a := range item.Step.Args {
			switch {
			case a.Ref != nil:
				args = append(args, fmt.Sprintf("%s=%s of %d %s", a.Name, a.Ref.Name, a.Ref.Step, a.Ref.File))
			case a.Value.Shape != dsl.Null:
				written := strings.Join(strings.Fields(string(text[a.Value.Start:a.Value.End])), "")
				args = append(args, a.Name+"="+written)
			}
		}
		slices.Sort(args)
		steps = append(steps, item.Step.Action+" "+strings.Join(args, " "))
	}
	return steps
}
