package dsl_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"provingground/dsl"
)

// TestLower lowers scripts, each of which shows a rule of the language.
func TestLower(t *testing.T) {
	const load = `fee-payers: keys, nodes: all, receiver: "B62")`
	const before = "experiment \"e\"\nkeys = load-keys(dir: \"k\")\nall = discovery()\n"
	const steps = "0 step 0 keys: load-keys(dir: \"k\")\n1 step 1 all: discovery()\n"
	const loadArgs = `feePayers: 0.key, nodes: 1.participant, receiver: "B62"`
	const filledIn = `, experimentName: "e-0", minTps: 0.01)` + "\n"
	for _, test := range []struct{ name, script, want string }{
		{"names of JSON and of the script language", "discovery(onlyBPs: true)\ndiscovery(only-block-producers: true)\ndiscovery(ONLYBPS: true)", strings.Repeat("# step #: discovery(onlyBPs: true)\n", 3)},
		{
			"the text of numbers is kept where the unit is the same",
			before + "payments(tps: 0.50 tps, duration: 1_0m, amount: 5_000 nanomina, min-placed: 0.90, " + load,
			steps + "2 step 2: payments(tps: 0.50, durationMin: 10, amount: 5000, minPlaced: 0.90, " + loadArgs + filledIn,
		},
		{
			"other units are converted",
			before + "payments(tps: 30/min, duration: 2h, fee: 0.1..0.25 mina, amount: 1.5 mina, min-placed: 90%, " + load,
			steps + "2 step 2: payments(tps: 0.5, durationMin: 120, minFee: 100000000, maxFee: 250000000, amount: 1500000000, minPlaced: 0.9, " + loadArgs + filledIn,
		},
		{
			"one value is both ends of a range, and JSON's names are one",
			before + "payments(tps: 1/s, duration: 1m, fee: 7 nanomina, " + load + "\npayments(tps: 1/s, duration: 1m, maxFee: 7 nanomina, " + load,
			steps + "2 step 2: payments(tps: 1, durationMin: 1, minFee: 7, maxFee: 7, " + loadArgs + filledIn +
				"3 step 3: payments(tps: 1, durationMin: 1, maxFee: 7, " + loadArgs + filledIn,
		},
		{
			"a range of names",
			before + "let low = 1 mina\nlet both = low..(low * 2)\npayments(tps: 1/s, duration: 1m, fee: both, " + load,
			steps + "2 step 2: payments(tps: 1, durationMin: 1, minFee: 1000000000, maxFee: 2000000000, " + loadArgs + filledIn,
		},
		{
			"a rate without end is cut",
			before + "payments(tps: 1 tps / 3, duration: 1m, min-placed: 2/3, " + load,
			steps + "2 step 2: payments(tps: 0.333333333, durationMin: 1, minPlaced: 0.666666666, " + loadArgs + filledIn,
		},
		{
			"none is absence, also of what is filled in",
			before + "payments(tps: 1 tps, duration: 1m, fee: none, experiment-name: none, min-tps: none, " + load + "\ncount(limit: none)",
			steps + "2 step 2: payments(tps: 1, durationMin: 1, " + loadArgs + ")\n3 step 3: count(limit: null)\n",
		},
		{
			"a pool with its block: steps in order, names also behind it",
			"quiet = snark-pool(target: \"cpu\", pause: true) { all = discovery() wait(1m) }\nslots-won(nodes: all)",
			"0 step 0 quiet: snark-pool(target: \"cpu\", pause: true)\n  1 step 1 all: discovery()\n  2 step 2: wait(min: 1, past: \"error\")\n3 step 3: slots-won(nodes: 1.participant)\n",
		},
		{
			"time to wait",
			"wait(10m) wait(90s) wait(2h) wait(1.5m) wait(60s) wait(1m + 30s) wait(0.5h) wait(1m, 30s)",
			"0 step 0: wait(min: 10, past: \"error\")\n1 step 1: wait(sec: 90, past: \"error\")\n2 step 2: wait(min: 120, past: \"error\")\n" +
				"3 step 3: wait(sec: 90, past: \"error\")\n4 step 4: wait(sec: 60, past: \"error\")\n5 step 5: wait(sec: 90, past: \"error\")\n" +
				"6 step 6: wait(min: 30, past: \"error\")\n7 step 7: wait(min: 1, sec: 30, past: \"error\")\n",
		},
		{
			"slots to wait for",
			"wait(slot: 120) wait(slot: 1e2 slots, past: ok) wait(slot: 120, past: error) wait(slot: now() + 5 slots, past: \"ok\") wait(slot: 120, past: none)",
			"0 step 0: wait(slot: 120, past: \"error\")\n1 step 1: wait(slot: 1e2)\n2 step 2: wait(slot: 120, past: \"error\")\n" +
				"3 step 3: wait(slot: (+ now() 5 slots))\n4 step 4: wait(slot: 120)\n",
		},
		{
			"slots as a time",
			before + "payments(tps: 1 tps, duration: 10 slots, " + load + "\nwait(3 slots)",
			steps + "2 step 2: payments(tps: 1, durationMin: 10 slots, " + loadArgs + filledIn + "3 step 3: wait(sec: 3 slots, past: \"error\")\n",
		},
		{
			"constants",
			"let a = 1m\nlet b = a * 2 + 30s\nparam c = b / 2 - a\nlet d = max(c, 1s, 10s)\nwait(d) wait(b / 2.5) wait(min(a, b)) wait(90m / (3m / 1m))",
			"0 step 0: wait(sec: 15, past: \"error\")\n1 step 1: wait(min: 1, past: \"error\")\n2 step 2: wait(min: 1, past: \"error\")\n3 step 3: wait(min: 30, past: \"error\")\n",
		},
		{
			"lists, texts and objects",
			"let nodes = [\"10.0.0.1:3086\", \"10.0.0.2:3086\",]\nlet half = 50%\nsample(group: nodes, ratios: [half, 30%, 0.1])\n" +
				"join(group1: nodes, group2: [1, true, none, {a: \"\\u00e9<\"}])\nslots-won(nodes: [])",
			"0 step 0: sample(group: [\"10.0.0.1:3086\",\"10.0.0.2:3086\"], ratios: [0.5,0.3,0.1])\n" +
				"1 step 1: join(group1: [\"10.0.0.1:3086\",\"10.0.0.2:3086\"], group2: [1,true,null,{\"a\":\"é<\"}])\n2 step 2: slots-won(nodes: [])\n",
		},
		{
			"main outputs, named ones and those for want of them",
			"all = discovery()\ns = sample(group: all, ratios: [30%])\nslots-won(nodes: s.group1)\nslots-won(nodes: s.rest ?? [])\n" +
				"won = slots-won(nodes: all ?? [\"10.0.0.1:3086\"])\nallocate-slots(groups: [1], slots-won: won.slots-won)\nallocate-slots(groups: [1], slotsWon: won.slotsWon)",
			"0 step 0 all: discovery()\n1 step 1 s: sample(group: 0.participant, ratios: [0.3])\n2 step 2: slots-won(nodes: 1.group1)\n" +
				"3 step 3: slots-won(nodes: 1.rest ?? [])\n4 step 4 won: slots-won(nodes: 0.participant ?? [\"10.0.0.1:3086\"])\n" +
				"5 step 5: allocate-slots(groups: [1], slotsWon: 4.slotsWon)\n6 step 6: allocate-slots(groups: [1], slotsWon: 4.slotsWon)\n",
		},
		{
			"outputs in place of outputs",
			"a = discovery()\nb = discovery()\nslots-won(nodes: a ?? b ?? [])",
			"0 step 0 a: discovery()\n1 step 1 b: discovery()\n2 step 2: slots-won(nodes: (?? 0.participant (?? 1.participant [])))\n",
		},
		{
			"another run",
			"use \"start.out\" as earlier\nstop(receipts: earlier.step2.receipt)\nstop(receipts: earlier.pay.receipt ?? [])\nallocate-slots(groups: [1], slots-won: earlier.won.slots-won)\n" +
				"expect count(earlier.step0.participant) > 3",
			"0 step 0: stop(receipts: start.out/2.receipt)\n1 step 1: stop(receipts: start.out/pay.receipt ?? [])\n" +
				"2 step 2: allocate-slots(groups: [1], slotsWon: start.out/won.slotsWon)\n3 expect (> count(start.out/0.participant) 3)\n",
		},
		{
			"rounds have ids, and a number for memos",
			before + "repeat 2 as a { repeat 2 as b {\n p = payments(tps: 1 tps, duration: a * 1m + 1m, experiment-name: \"${experiment}-${a}${b}\", " + load +
				"\n stop(receipts: p)\n} }\nrepeat 2 { repeat 2 { payments(tps: 1 tps, duration: 1m, " + load + " } }",
			steps +
				"2 step 2 p[0][0]: payments(tps: 1, durationMin: 1, experimentName: \"e-00\", " + loadArgs + ", minTps: 0.01)\n3 step 3: stop(receipts: 2.receipt)\n" +
				"4 step 4 p[0][1]: payments(tps: 1, durationMin: 1, experimentName: \"e-01\", " + loadArgs + ", minTps: 0.01)\n5 step 5: stop(receipts: 4.receipt)\n" +
				"6 step 6 p[1][0]: payments(tps: 1, durationMin: 2, experimentName: \"e-10\", " + loadArgs + ", minTps: 0.01)\n7 step 7: stop(receipts: 6.receipt)\n" +
				"8 step 8 p[1][1]: payments(tps: 1, durationMin: 2, experimentName: \"e-11\", " + loadArgs + ", minTps: 0.01)\n9 step 9: stop(receipts: 8.receipt)\n" +
				"10 step 10: payments(tps: 1, durationMin: 1, " + loadArgs + ", experimentName: \"e-0\", minTps: 0.01)\n" +
				"11 step 11: payments(tps: 1, durationMin: 1, " + loadArgs + ", experimentName: \"e-1\", minTps: 0.01)\n" +
				"12 step 12: payments(tps: 1, durationMin: 1, " + loadArgs + ", experimentName: \"e-2\", minTps: 0.01)\n" +
				"13 step 13: payments(tps: 1, durationMin: 1, " + loadArgs + ", experimentName: \"e-3\", minTps: 0.01)\n",
		},
		{
			"names of a repeat end with it",
			"repeat 1 as i { let x = i }\nrepeat 1 as i { let x = i wait(1m * (x + 1)) }\nlet x = 3m\nwait(x)",
			"0 step 0: wait(min: 1, past: \"error\")\n1 step 1: wait(min: 3, past: \"error\")\n",
		},
		{
			"a watch in a repeat ends with its round",
			"repeat 2 { watch tx.rejected < 2% after 3 slots wait(1m) }",
			"0 parallel\n  branch\n    1 watch (< tx.rejected 1/50) after 3 slots\n    2 step 0: wait(min: 1, past: \"error\")\n" +
				"3 parallel\n  branch\n    4 watch (< tx.rejected 1/50) after 3 slots\n    5 step 1: wait(min: 1, past: \"error\")\n",
		},
		{
			"branches",
			"parallel { a = discovery() { b = discovery() slots-won(nodes: b) } let n = 2 repeat n { wait(1m) } }\nslots-won(nodes: a)\nslots-won(nodes: b)",
			"0 parallel\n  branch\n    1 step 0 a: discovery()\n  branch\n    2 step 1 b: discovery()\n    3 step 2: slots-won(nodes: 1.participant)\n" +
				"  branch\n    4 step 3: wait(min: 1, past: \"error\")\n    5 step 4: wait(min: 1, past: \"error\")\n6 step 5: slots-won(nodes: 0.participant)\n7 step 6: slots-won(nodes: 1.participant)\n",
		},
		{
			"deadlines, retries and comments",
			"within 30m { discovery() retry 5 every 2m within 3 slots log(\"half \\u0041way\") within 5m { wait(1m) } }",
			"0 within 30m0s\n  1 step 0: discovery() retry 5 every 2m0s within 3 slots\n  2 comment \"half Away\"\n  3 within 5m0s\n    4 step 1: wait(min: 1, past: \"error\")\n",
		},
		{
			"conditions",
			"all = discovery()\nwon = slots-won(nodes: all)\nal = allocate-slots(groups: [1], slots-won: won)\n" +
				"expect coverage(won) >= 90%\nexpect coverage(won, from: al.next-empty-slot, to: now() - 5 slots) >= 0.9 within 15m\n" +
				"expect not (count(all) < 3 or tx.latency.p95 > 3 slots) and al.last-slot > 100 slots\nexpect tx.rate + 0.5 tps >= 30/min\nexpect all.first == \"10.0.0.1:3086\"\n" +
				"expect -al.last-slot < 3 and chain.longest-gap * 2 / 3 < 6 slots and max(3, count(all)) > 3",
			"0 step 0 all: discovery()\n1 step 1 won: slots-won(nodes: 0.participant)\n2 step 2 al: allocate-slots(groups: [1], slotsWon: 1.slotsWon)\n" +
				"3 expect (>= coverage(1.slotsWon) 9/10)\n4 expect (>= coverage(1.slotsWon, 2.nextEmptySlot, (- now() 5 slots)) 9/10) within 15m0s\n" +
				"5 expect (and (not (or (< count(0.participant) 3) (> tx.latency.p95 s 3 slots))) (> 2.lastSlot 100 slots))\n" +
				"6 expect (>= (+ tx.rate tps 1/2 tps) 1/2 tps)\n7 expect (== 0.first \"10.0.0.1:3086\")\n" +
				"8 expect (and (and (< (neg 2.lastSlot) 3) (< (/ (* chain.longest-gap slots 2) 3) 6 slots)) (> max(3, count(0.participant)) 3))\n",
		},
		{
			"metrics of a part of the run",
			"param last = 1\nlet k = \"zkapps\"\nexpect tx.rejected(round: 0, kind: payments) < 1% and tx.rejected() < 2%\nexpect tx.latency.p95(kind: k) < 3 slots\n" +
				"repeat 2 as round {\n  expect tx.latency.p95(round: round) < 90s\n}\nexpect tx.rejected(kind: \"payments\", round: last * 2,) < 1%",
			"0 expect (and (< tx.rejected(round: 0, kind: payments) 1/100) (< tx.rejected 1/50))\n1 expect (< tx.latency.p95(kind: zkapps) s 3 slots)\n" +
				"2 expect (< tx.latency.p95(round: 0) s 90 s)\n3 expect (< tx.latency.p95(round: 1) s 90 s)\n4 expect (< tx.rejected(round: 2, kind: payments) 1/100)\n",
		},
		{
			"what is known only while the script runs, as a parameter",
			"all = discovery()\nc = count(of: all, limit: 3)\ndiscovery(limit: count(all) / 2)\ndiscovery(limit: c.count)\ndiscovery(limit: c.count + 1, only-block-producers: count(all) > 3)",
			"0 step 0 all: discovery()\n1 step 1 c: count(of: 0.participant, limit: 3)\n2 step 2: discovery(limit: (/ count(0.participant) 2))\n" +
				"3 step 3: discovery(limit: 1.count)\n4 step 4: discovery(limit: (+ 1.count 1), onlyBPs: (> count(0.participant) 3))\n",
		},
		{
			"the environment",
			before + "let where = env(\"NOWHERE\") ?? \"B62n\"\nlet who = env(\"RECEIVER\") ?? \"B62\"\n" +
				"payments(tps: 1 tps, duration: 1m, fee-payers: keys, nodes: all, receiver: who)\npayments(tps: 1 tps, duration: 1m, fee-payers: keys, nodes: all, receiver: where)\nload-keys(dir: \"${who}/x\")",
			steps + "2 step 2: payments(tps: 1, durationMin: 1, feePayers: 0.key, nodes: 1.participant, receiver: \"B62secret\" (secret)" + filledIn +
				"3 step 3: payments(tps: 1, durationMin: 1, feePayers: 0.key, nodes: 1.participant, receiver: \"B62n\"" + filledIn +
				"4 step 4: load-keys(dir: \"B62secret/x\" (secret))\n",
		},
		{
			"strings",
			"let n = 0.80 tps\nlet m = 3m * 2\nlet t = true\nlog(\"${n} ${m} ${t}\")",
			"0 comment \"0.80 tps 360s true\"\n",
		},
		{
			"names may be those of actions and functions",
			"discovery = discovery()\ncount = slots-won(nodes: discovery)\nexpect count(count) > count(discovery)",
			"0 step 0 discovery: discovery()\n1 step 1 count: slots-won(nodes: 0.participant)\n2 expect (> count(1.slotsWon) count(0.participant))\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			script := lower(t, test.script)
			got := shownItems(script.Items, "")
			if strings.Contains(test.want, "#") { // numbers do not matter
				for _, digit := range "0123456789" {
					got = strings.ReplaceAll(got, string(digit), "#")
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestLowerTheRest looks at what is no item.
func TestLowerTheRest(t *testing.T) {
	script := lower(t, `experiment "churn"
seed 18446744073709551615
param most = 2 tps
limit rate <=  most, stopped <= 35%
limit spend <= 20_000 mina
param receiver = env("RECEIVER")
all = discovery()
let nodes = ["10.0.0.1:3086"]
finally { slots-won(nodes: all) }
on failure { x = slots-won(nodes: nodes)  slots-won(nodes: []) }
`, dsl.Setting{Name: "most", Value: "1.5 tps"})
	if script.Experiment != "churn" || script.Seed == nil || *script.Seed != 1<<64-1 || !script.Language {
		t.Errorf("%q %v", script.Experiment, script.Seed)
	}
	var limits []string
	for _, l := range script.Limits {
		limits = append(limits, l.Of+" "+l.Most.RatString()+" "+l.Text)
	}
	if diff := cmp.Diff([]string{"rate 3/2 rate <=  most", "stopped 7/20 stopped <= 35%", "spend 20000000000000 spend <= 20_000 mina"}, limits); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"B62secret"}, script.Secrets); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"most=1.5 tps"}, script.Settings); diff != "" {
		t.Error(diff)
	}
	want := "1 step 1: slots-won(nodes: 0.participant)\n"
	if diff := cmp.Diff(want, shownItems(script.Finally, "")); diff != "" {
		t.Error(diff)
	}
	want = "2 step 2 x: slots-won(nodes: [\"10.0.0.1:3086\"])\n3 step 3: slots-won(nodes: [])\n"
	if diff := cmp.Diff(want, shownItems(script.OnFailure, "")); diff != "" {
		t.Error(diff)
	}
	for i, s := range script.Steps() {
		if s.Number != i {
			t.Errorf("step %d has the number %d", i, s.Number)
		}
	}
}

// TestLowerPlaces: what an argument is points to where it stands, also when its value is written elsewhere.
func TestLowerPlaces(t *testing.T) {
	text := "let nodes = [\"10.0.0.1:3086\"]\nall = discovery()\nx = sample(group: nodes, ratios: [30%])\nslots-won(nodes: x.group1 ?? nodes)\nexpect count(all)  >= 3   \n  and true\n"
	script := lower(t, text)
	at := func(s dsl.Span) string { return text[s.Start:s.End] }
	step := script.Steps()[1]
	if at(step.Span) != "x = sample(group: nodes, ratios: [30%])" || at(step.ActionSpan) != "sample" {
		t.Errorf("%q %q", at(step.Span), at(step.ActionSpan))
	}
	ratios := step.Args[1]
	if at(ratios.NameSpan) != "ratios" || at(ratios.Value.Span) != "[30%]" || at(ratios.Value.Items[0].Span) != "30%" || at(step.Args[0].Value.Span) != "nodes" {
		t.Errorf("%+v", ratios)
	}
	ref := script.Steps()[2].Args[0].Ref
	if at(ref.Span) != "x.group1 ?? nodes" && at(ref.Span) != "x.group1" || at(ref.StepSpan) != "x" || at(ref.NameSpan) != "group1" {
		t.Errorf("%q %q %q", at(ref.Span), at(ref.StepSpan), at(ref.NameSpan))
	}
	claim := script.Items[3].Claim
	if claim.Text != "count(all)  >= 3\n  and true" || at(claim.Span) != "expect count(all)  >= 3   \n  and true" {
		t.Errorf("%q %q", claim.Text, at(claim.Span))
	}
}

// TestSettings sets params.
func TestSettings(t *testing.T) {
	const text = `param rate = 0.5 tps
param nodes = ["10.0.0.1:3086"]
param dir = "./keys"
param secret = env("NOT_SET")
param clean = false
param anything = none
load-keys(dir: dir)
load-keys(dir: secret)
discovery(only-block-producers: clean)
slots-won(nodes: nodes)
count(of: anything, limit: 60 * rate / 1 tps)
`
	for _, test := range []struct {
		name, value string
		want        string // a line of what the script is lowered to
	}{
		{"rate", "2tps", "count(limit: 120)"},
		{"rate", " 30/min ", "count(limit: 30)"},
		{"rate", "1/3*1tps", "count(limit: 20)"},
		{"nodes", `["a:1", "b:2"]`, `slots-won(nodes: ["a:1","b:2"])`},
		{"dir", "./other keys", `load-keys(dir: "./other keys")`},
		{"dir", "keys", `load-keys(dir: "keys")`},
		{"dir", `"quoted"`, `load-keys(dir: "quoted")`},
		{"dir", "1e5", `load-keys(dir: "1e5")`},
		{"dir", `env("RECEIVER")`, `load-keys(dir: "B62secret" (secret))`},
		{"secret", "told", `load-keys(dir: "told" (secret))`},
		{"clean", "true", "discovery(onlyBPs: true)"},
		{"anything", "5", "count(of: 5, limit: 30)"},
	} {
		t.Run(test.name+"="+test.value, func(t *testing.T) {
			set := []dsl.Setting{{Name: test.name, Value: test.value}}
			if test.name != "secret" {
				set = append(set, dsl.Setting{Name: "secret", Value: "x"})
			}
			script := lower(t, text, set...)
			if got := shownItems(script.Items, ""); !strings.Contains(got, ": "+test.want+"\n") {
				t.Errorf("%s is not in\n%s", test.want, got)
			}
		})
	}
	script := lower(t, text, dsl.Setting{Name: "secret", Value: "told"}, dsl.Setting{Name: "dir", Value: "d"})
	if diff := cmp.Diff([]string{"told"}, script.Secrets); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"dir=d", "secret=told"}, script.Settings); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"-set rate:1:1: a JSON script has no params to set"}, lowered(t, `{"action":"wait"}`, dsl.Setting{Name: "rate", Value: "x"})); diff != "" {
		t.Error(diff)
	}
}

// TestEnvironmentUnknown: without an environment no variable is missed, and its value is not known.
func TestEnvironmentUnknown(t *testing.T) {
	o := lowerOptions()
	o.Env = nil
	script, found, err := dsl.Read("s", strings.NewReader(`experiment "e"
let who = env("WHO")
log("to ${who}")
payments(tps: 1 tps, duration: 1m, fee-payers: [], nodes: [], receiver: who)
payments(tps: 1 tps, duration: 1m, fee-payers: [], nodes: [], receiver: "B62${who}")
payments(tps: who, duration: 1m, fee-payers: who, nodes: [], receiver: "B62")
load-keys(dir: "k", password-env: who)
all = discovery()
slots-won(nodes: all ?? [who])
load-keys(dir: env("NOWHERE") ?? "k")
`), o)
	if err != nil {
		t.Fatal(err)
	}
	var messages []string
	for _, f := range found {
		messages = append(messages, f.Error())
	}
	if diff := cmp.Diff([]string{
		`s:6:15: "tps" wants a rate, and this is a text (write 0.5 tps)`,
		`s:6:46: "fee-payers" wants a list, and this is a text (write [who])`,
		`s:7:35: "password-env" is the name of a variable, and this is its value (write the variable's name alone, in quotes)`,
	}, messages); diff != "" {
		t.Error(diff)
	}
	want := "0 comment \"to (masked)\"\n" +
		"1 step 0: payments(tps: 1, durationMin: 1, feePayers: [], nodes: [], receiver: unknown, experimentName: \"e-0\", minTps: 0.01)\n" +
		"2 step 1: payments(tps: 1, durationMin: 1, feePayers: [], nodes: [], receiver: unknown, experimentName: \"e-0\", minTps: 0.01)\n"
	if got := shownItems(script.Items[:3], ""); got != want {
		t.Error(cmp.Diff(want, got))
	}
	want = "5 step 4 all: discovery()\n6 step 5: slots-won(nodes: (?? 4.participant unknown))\n7 step 6: load-keys(dir: unknown)\n"
	if got := shownItems(script.Items[5:], ""); got != want {
		t.Error(cmp.Diff(want, got))
	}
	for _, arg := range script.Steps()[0].Args {
		if arg.Name == "receiver" && (arg.Formula == nil || !arg.Formula.Value.Secret) {
			t.Errorf("%+v", arg)
		}
	}
}

// TestReadDecides: the beginning of a text says in which spelling it is.
func TestReadDecides(t *testing.T) {
	for _, test := range []struct {
		text     string
		language bool
	}{
		{`{"action":"wait"}`, false},
		{"\ufeff \t\r\n{\"action\":\"wait\"}", false},
		{`"comment"`, false},
		{"null", false},
		{"null\n{\"action\":\"wait\"}", false},
		{"", true},
		{"wait(1m)", true},
		{"\ufeff# remark\nwait(1m)", true},
		{"nullable = discovery()", true},
		{"null-load = discovery()", true},
	} {
		script, found, err := dsl.Read("s", strings.NewReader(test.text), lowerOptions())
		if err != nil || len(found) > 0 || script.Language != test.language {
			t.Errorf("%q: %v %v", test.text, found, err)
		}
	}
}

func TestReadFails(t *testing.T) {
	broken := errors.New("broken pipe")
	_, _, err := dsl.Read("s", iotest.ErrReader(broken), lowerOptions())
	if !errors.Is(err, broken) || err.Error() != "read script s: broken pipe" {
		t.Error(err)
	}
	script, found, err := dsl.Read("s", bytes.NewReader(make([]byte, dsl.MaxBytes+1)), lowerOptions())
	if script != nil || err != nil || len(found) != 1 || found[0].Error() != "s:1:1: the script is larger than 64 MiB" {
		t.Errorf("%v %v", found, err)
	}
	script, found, err = dsl.Read("s", strings.NewReader("wait(1m"), lowerOptions())
	if script != nil || err != nil || len(found) != 1 {
		t.Errorf("%v %v", found, err)
	}
}

// TestNothingIsSaidTwice: a script of one mistake has one finding, however much depends on what is wrong.
func TestNothingIsSaidTwice(t *testing.T) {
	const before = "experiment \"e\"\nall = discovery()\nkeys = load-keys(dir: \"k\")\n"
	const load = "payments(tps: 1 tps, duration: 1m, fee-payers: keys, nodes: all, receiver: \"B62\")"
	for _, mistake := range []string{
		"let a = 3m + 2 mina\nlet b = a * 2\nwait(b) wait(a - b)\nlog(\"${a}\")\nexpect now() > a within b",
		"x = discoverry(limit: 5)\nslots-won(nodes: x)\nslots-won(nodes: x.found)\nexpect count(x) > 3\nslots-won(nodes: x ?? [])",
		"s = sample(group: all, ratios: [3m])\nslots-won(nodes: s.group1)\nslots-won(nodes: s.group5)",
		"s = sample(group: all, ratio: [30%])\nslots-won(nodes: s.group1)",
		"s = sample(group: all, ratios: nowhere)\nslots-won(nodes: s.group1)\nslots-won(nodes: s.rest)",
		"repeat 3 as i { s = sample(group: all, ratios: [3m]) slots-won(nodes: s.group1) }",
		"p = " + strings.Replace(load, "receiver", "reciever", 1) + "\nstop(receipts: p)",
		"repeat 3.5 as i { x = discovery(limit: i) slots-won(nodes: x) wait(1m * (i + 1)) }",
		"repeat 4 as i { let d = 1m / nowhere wait(d) wait(1m - d) }",
		"use 5m as old\n", // a mistake of syntax
		"use \"\" as old\nstop(receipts: old.step2.receipt)",
		"g = gather-logs(nodes: all)\nstop(receipts: g)",
		"param p = nowhere\nwait(p)",
		"expect tx.rejectd < 2%",
		"let e = env(\"NOWHERE\")\nload-keys(dir: \"${e}/x\")\nload-keys(dir: e)",
		"experiment \"twice\"\n" + load,
		"parallel { watch tx.rejected < 2% wait(1m) }",
		"limit rate <= nowhere",
		"all = discovery(limit: 3)\nslots-won(nodes: all)",
		"slots-won(nodes: \"10.0.0.1:3086\" ?? [])",
		load + " retry 3 every nowhere",
	} {
		if found := lowered(t, before+mistake); len(found) != 1 {
			t.Errorf("%s\n%q", mistake, found)
		}
	}
}

// TestRoundsAreOnceReported: what is wrong in many rounds is told once.
func TestRoundsAreOnceReported(t *testing.T) {
	found := lowered(t, "repeat 25_000 as round { discovery(limit: nowhere, onlyBPs: 5) let x = 1 / (round - 20_000) wait(1m * (x + nothing)) }")
	want := []string{
		`s:1:43: nothing is named "nowhere" (names are made with let, param or NAME = action(…))`,
		`s:1:61: "only-block-producers" wants true or false, and this is a number without unit (write true)`,
		`s:1:76: division by zero (in round 20000)`,
		`s:1:108: nothing is named "nothing" (names are made with let, param or NAME = action(…))`,
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Error(diff)
	}
}

// TestBounds: a short script cannot ask for endless work.
func TestBounds(t *testing.T) {
	list := "[" + strings.Repeat(`"10.0.0.1:3086", `, 100_000) + "]"
	for _, test := range []struct{ name, script, want string }{
		{"lists of many steps", "let all = " + list + "\nrepeat 1000 { slots-won(nodes: all) }", "with all rounds and lists the script comes to too much here"},
		{"a list of many rounds", "repeat 1000 as i { sample(group: " + list + ", ratios: [i / 1000]) }", "with all rounds and lists the script comes to too much here"},
		{"strings", "let a = \"0123456789abcdef\"" + doubled(), "this string comes to more than 64 KiB"},
		{"strings of many rounds", "let a = \"" + strings.Repeat("0123456789", 5000) + "\"\nrepeat 90_000 as i { log(\"${a}${i}\") }", "with all rounds and lists the script comes to too much here"},
		{"numbers", "let n0 = 1e200\nlet n1 = n0 * n0 * n0", "this comes to a number of more than 400 digits"},
		{"rounds of rounds", "repeat 99_999 { repeat 99_999 { repeat 99_999 { wait(1m) } } }", "with all its rounds this repeat comes to more than 100000 statements"},
		{"rounds of nothing", "repeat 50_000 { repeat 100_000 { } }", "this block is empty: it does nothing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if found := lowered(t, test.script); len(found) != 1 || !strings.Contains(found[0], test.want) {
				t.Errorf("%q", found)
			}
		})
	}
}

// doubled returns lets, each of which is twice as long as the one before.
func doubled() string {
	var out strings.Builder
	for name := 'a'; name < 'n'; name++ {
		fmt.Fprintf(&out, "\nlet %c = \"${%c}${%c}\"", name+1, name, name)
	}
	return out.String()
}
