package dsl_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/dsl"
)

// tool returns actions with the parameters that the existing tool's have, as far as the generator uses them, and one of each other kind.
func tool() []dsl.Signature {
	nodes := dsl.Param{Name: "nodes", Kind: dsl.Address, List: true}
	participant := dsl.Output{Name: "participant", Kind: dsl.Address, List: true, Multi: true}
	receipt := dsl.Output{Name: "receipt", Kind: dsl.Receipt, List: true, Multi: true}
	load := []dsl.Param{
		{Name: "experimentName", Kind: dsl.Word, Absent: dsl.ExperimentName},
		{Name: "tps", Kind: dsl.Rate, Required: true},
		{Name: "minTps", Kind: dsl.Rate, Absent: "0.01"},
		{Name: "durationMin", Kind: dsl.Int, Script: "duration", Required: true, Unit: "minutes"},
		{Name: "minFee", Kind: dsl.Nanomina, Script: "fee", End: dsl.LowerEnd, Unit: "nanomina"},
		{Name: "maxFee", Kind: dsl.Nanomina, Script: "fee", End: dsl.UpperEnd, Unit: "nanomina"},
		{Name: "feePayers", Kind: dsl.PrivateKey, List: true, Required: true},
		nodes,
		{Name: "minPlaced", Kind: dsl.Ratio},
	}
	sample := signatures()[4]
	join := []dsl.Param{{Name: "group1", Kind: dsl.Any, List: true}, {Name: "group2", Kind: dsl.Any, List: true}}
	return []dsl.Signature{
		{
			Action: "discovery", Main: "participant", Outputs: []dsl.Output{participant, {Name: "howMany", Kind: dsl.Int}},
			Params: []dsl.Param{{Name: "limit", Kind: dsl.Int}, {Name: "onlyBPs", Script: "only-block-producers", Kind: dsl.Flag}, {Name: "noBPs", Kind: dsl.Flag}},
		},
		{
			Action: "load-keys", Main: "key", Outputs: []dsl.Output{{Name: "key", Kind: dsl.PrivateKey, List: true, Multi: true, Sensitive: true}},
			Params: []dsl.Param{{Name: "dir", Kind: dsl.Path, Required: true}, {Name: "limit", Kind: dsl.Int}, {Name: "passwordEnv", Kind: dsl.EnvName}},
		},
		{Action: "snark-pool", Params: []dsl.Param{{Name: "pause", Kind: dsl.Flag}}},
		{Action: "fund-keys", Params: []dsl.Param{
			{Name: "amount", Kind: dsl.Nanomina, Required: true, Unit: "nanomina"}, {Name: "fee", Kind: dsl.Nanomina, Unit: "nanomina"},
			{Name: "prefix", Kind: dsl.Path}, {Name: "num", Kind: dsl.Int}, {Name: "privkeys", Kind: dsl.Path, List: true}, {Name: "passwordEnv", Kind: dsl.EnvName},
		}},
		{Action: "payments", Main: "receipt", Outputs: []dsl.Output{receipt, participant}, Params: append(slices.Clone(load),
			dsl.Param{Name: "amount", Kind: dsl.Nanomina, Unit: "nanomina"}, dsl.Param{Name: "receiver", Kind: dsl.PublicKey})},
		{Action: "zkapp-txs", Main: "receipt", Outputs: []dsl.Output{receipt, participant}, Params: append(slices.Clone(load),
			dsl.Param{Name: "zkapps", Kind: dsl.Int}, dsl.Param{Name: "queueSize", Kind: dsl.Int}, dsl.Param{Name: "gap", Kind: dsl.Int, Unit: "seconds"},
			dsl.Param{Name: "newAccountRatio", Kind: dsl.Ratio}, dsl.Param{Name: "noPrecondition", Kind: dsl.Flag}, dsl.Param{Name: "maxCost", Kind: dsl.Flag},
			dsl.Param{Name: "minBalanceChange", Kind: dsl.Nanomina, Script: "balance-change", End: dsl.LowerEnd, Unit: "nanomina"},
			dsl.Param{Name: "maxBalanceChange", Kind: dsl.Nanomina, Script: "balance-change", End: dsl.UpperEnd, Unit: "nanomina"},
			dsl.Param{Name: "deploymentFee", Kind: dsl.Nanomina, Unit: "nanomina"})},
		{Action: "stop", Params: []dsl.Param{{Name: "receipts", Kind: dsl.Receipt, List: true}}},
		{Action: "join", Main: "group", Params: join, Outputs: []dsl.Output{{Name: "group", Kind: dsl.Any, List: true, Multi: true}}},
		{
			Action: "except", Main: "group", Outputs: []dsl.Output{{Name: "group", Kind: dsl.Address, List: true, Multi: true}},
			Params: []dsl.Param{{Name: "group", Kind: dsl.Address, List: true}, {Name: "except", Kind: dsl.Address, List: true}},
		},
		sample,
		{Action: "slots-won", Main: "slotsWon", Params: []dsl.Param{nodes}, Outputs: []dsl.Output{{Name: "slotsWon", Kind: dsl.SlotsWon, List: true, Multi: true}}},
		{
			Action: "allocate-slots", Outputs: []dsl.Output{{Name: "lastSlot", Kind: dsl.Int}},
			Params: []dsl.Param{
				{Name: "slotsWon", Kind: dsl.SlotsWon, List: true}, {Name: "groups", Kind: dsl.Int, List: true}, {Name: "minSlots", Kind: dsl.Int, Unit: "slots"},
			},
		},
		{Action: "stop-daemon", Params: []dsl.Param{nodes, {Name: "clean", Kind: dsl.Flag}}},
		{
			Action: "set-zkapp-soft-limit", Main: "participant", Outputs: []dsl.Output{participant},
			Params: []dsl.Param{nodes, {Name: "limit", Kind: dsl.Int, Nullable: true, Required: true}},
		},
		{Action: "rotate-balance", Params: []dsl.Param{
			{Name: "pubkeys", Kind: dsl.PublicKey, List: true}, {Name: "servers", Kind: dsl.Server, List: true}, {Name: "mapping", Kind: dsl.Int, List: true},
			{Name: "ratio", Kind: dsl.Ratio}, {Name: "passwordEnv", Kind: dsl.EnvName},
		}},
		{Action: "wait", Params: []dsl.Param{
			{Name: "min", Kind: dsl.Int, Unit: "minutes", Positional: true}, {Name: "sec", Kind: dsl.Int, Unit: "seconds", Positional: true},
			{Name: "slot", Kind: dsl.Int, Unit: "slot"},
			{Name: "past", Kind: dsl.Word, Words: []string{"ok", "error"}, Default: "ok", Absent: `"error"`, Valid: func(v dsl.Value) string {
				if v.Text != "error" {
					return "is not error"
				}
				return ""
			}},
		}},
		{Action: "count", Main: "count", Params: []dsl.Param{{Name: "of", Kind: dsl.Any}}, Outputs: []dsl.Output{{Name: "count", Kind: dsl.Int}}},
	}
}

func read(name, text string) (*dsl.Script, dsl.Findings, error) {
	return dsl.Read(name, strings.NewReader(text), dsl.LowerOptions{Signatures: tool(), Env: func(name string) (string, bool) {
		return "value of " + name, strings.HasPrefix(name, "SET")
	}})
}

func shown(t interface{ Fatal(args ...any) }, found dsl.Findings) string {
	var out bytes.Buffer
	if err := found.Write(&out, dsl.AsText); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// there converts a JSON script to the script language.
func there(script *dsl.Script) (string, dsl.Findings) {
	tree, found := script.ToTree(tool())
	if tree == nil {
		return "", found
	}
	return string(tree.Format()), found
}

// thereAndBack converts a JSON script to the script language, and that to JSON.
func thereAndBack(script *dsl.Script) (language, jsonText string, err error) {
	language, found := there(script)
	if len(found) > 0 {
		return "", "", fmt.Errorf("to the script language: %w", found[0])
	}
	lowered, found, err := read("s", language)
	if err != nil {
		return language, "", err
	}
	if len(found) > 0 {
		return language, "", fmt.Errorf("reading the script language: %w", found[0])
	}
	back, found := lowered.ToJSON(tool())
	if len(found) > 0 {
		return language, "", fmt.Errorf("to JSON: %w", found[0])
	}
	return language, string(back), nil
}

// said is what a script in JSON says, for comparisons: layout, the order of parameters, and those that are null apart.
type said struct {
	Comment string
	Action  string
	Args    map[string]string
	Refs    map[string]dsl.Ref
}

func says(tb interface{ Fatal(args ...any) }, script *dsl.Script) []said {
	var all []said
	for _, item := range script.Items {
		if item.Step == nil {
			if string(script.Source.Text[item.Start:item.End]) != "null" {
				all = append(all, said{Comment: item.Comment})
			}
			continue
		}
		signature := tool()[slices.IndexFunc(tool(), func(s dsl.Signature) bool { return s.Action == item.Step.Action })]
		s := said{Action: item.Step.Action, Args: map[string]string{}, Refs: map[string]dsl.Ref{}}
		for _, arg := range item.Step.Args {
			i := slices.IndexFunc(signature.Params, func(p dsl.Param) bool { return strings.EqualFold(p.Name, arg.Name) })
			param := signature.Params[i]
			switch {
			case arg.Ref != nil:
				ref := dsl.Ref{Step: arg.Ref.Step, Name: arg.Ref.Name, File: arg.Ref.File}
				if arg.Ref.OnEmpty != nil {
					s.Args[param.Name+" or"] = plain(tb, script, *arg.Ref.OnEmpty)
				}
				s.Refs[param.Name] = ref
			case arg.Value.Shape == dsl.Null && !param.Nullable:
			default:
				s.Args[param.Name] = plain(tb, script, arg.Value)
			}
		}
		all = append(all, s)
	}
	return all
}

// plain writes a value without layout and with plain characters, and keeps the text of its numbers.
func plain(tb interface{ Fatal(args ...any) }, script *dsl.Script, v dsl.Value) string {
	decoder := json.NewDecoder(bytes.NewReader(script.Source.Text[v.Start:v.End]))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		tb.Fatal(err)
	}
	text, err := json.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// TestGeneratedThereAndBack: what the existing generator writes says the same after it was converted to the script language and back.
func TestGeneratedThereAndBack(t *testing.T) {
	for _, file := range generated(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		script := readJSON(t, file, text)
		language, back, err := thereAndBack(script)
		if err != nil {
			t.Fatalf("%s: %v\n%s", file, err, language)
		}
		if diff := cmp.Diff(says(t, script), says(t, readJSON(t, file, []byte(back)))); diff != "" {
			t.Errorf("%s (-want +got)\n%s", file, diff)
		}
	}
}

func TestToTree(t *testing.T) {
	const keys = `{"action":"load-keys","params":{"dir":"k"}}`
	tests := []struct{ name, script, want string }{
		{"nothing", ` null `, ""},
		{"comment", `"two\nlines" {"action":"wait"}`, "log(\"two\\nlines\")\nwait()\n"},
		{"minutes", `{"action":"wait","params":{"min":10}}`, "wait(10m)\n"},
		{"seconds", `{"action":"wait","params":{"SEC":3e1}}`, "wait(3e1s)\n"},
		{"both", `{"action":"wait","params":{"min":5,"sec":30}}`, "wait(min: 5m, sec: 30s)\n"},
		{"slot", `{"action":"wait","params":{"slot":120}}`, "wait(slot: 120, past: ok)\n"},
		{"slot, an error when it has passed", `{"action":"wait","params":{"slot":120,"past":"error"}}`, "wait(slot: 120, past: error)\n"},
		{"negative", `{"action":"wait","params":{"sec":-3}}`, "wait(sec: -3s)\n"},
		{"null", `{"action":"discovery","params":{"limit":null,"onlyBPs":true}}`, "discovery(limit: none, only-block-producers: true)\n"},
		{"names where somebody refers to them", `{"action":"discovery"}{"action":"discovery"}{"action":"slots-won","params":{"nodes":{"type":"output","step":-1,"name":"participant"}}}`, "discovery()\nnodes = discovery()\nslots-won(nodes: nodes)\n"},
		{
			"numbers where there are several", `{"action":"discovery"}{"action":"discovery"}` +
				`{"action":"except","params":{"group":{"type":"output","step":-1,"name":"participant"},"except":{"type":"output","step":0,"name":"participant","onEmpty":["a"]}}}` +
				`{"action":"stop-daemon","params":{"nodes":{"type":"output","step":-1,"name":"group"}}}`,
			"nodes1 = discovery()\nnodes2 = discovery()\nexcept = except(group: nodes2, except: nodes1 ?? [\"a\"])\nstop-daemon(nodes: except)\n",
		},
		{
			"outputs that are not the main one", `{"action":"discovery"}{"action":"sample","params":{"group":{"type":"output","step":0,"name":"participant"},"ratios":[0.5,1e-1]}}` +
				`{"action":"stop-daemon","params":{"nodes":{"type":"output","step":1,"name":"group2"}}}{"action":"discovery","params":{"limit":{"type":"output","step":0,"name":"howMany"}}}`,
			"nodes = discovery()\nsample = sample(group: nodes, ratios: [0.5, 1e-1])\nstop-daemon(nodes: sample.group2)\ndiscovery(limit: nodes.how-many)\n",
		},
		{
			"words of the language are no names", `{"action":"count"}{"action":"count"}{"action":"count","params":{"of":{"type":"output","step":0,"name":"count"}}}`,
			"count1 = count()\ncount()\ncount(of: count1)\n",
		},
		{
			"earlier runs", `{"action":"stop","params":{"receipts":{"type":"output","step":2,"name":"receipt","file":"a.out"}}}` +
				`{"action":"stop","params":{"receipts":{"type":"output","step":3,"name":"receipt","file":"b.out","onEmpty":[]}}}` +
				`{"action":"stop","params":{"receipts":{"type":"output","step":4,"name":"receipt","file":"a.out"}}}`,
			"use \"a.out\" as earlier\nuse \"b.out\" as earlier2\nstop(receipts: earlier.step2.receipt)\nstop(receipts: earlier2.step3.receipt ?? [])\nstop(receipts: earlier.step4.receipt)\n",
		},
		{
			"money", `{"action":"fund-keys","params":{"amount":100000000,"fee":1e9}}{"action":"fund-keys","params":{"amount":1,"fee":0}}{"action":"fund-keys","params":{"amount":12345678901234567890}}`,
			"fund-keys(amount: 0.1 mina, fee: 1e9 nanomina)\nfund-keys(amount: 1 nanomina, fee: 0 mina)\nfund-keys(amount: 12345678901.23456789 mina)\n",
		},
		{
			"load", keys + `{"action":"payments","params":{"tps":0.5,"durationMin":30,"maxFee":200000000,"minFee":100000000,"feePayers":{"type":"output","step":-1,"name":"key"},"minPlaced":0.9}}`,
			"keys = load-keys(dir: \"k\")\n" +
				"payments(\n  tps: 0.5 tps,\n  duration: 30m,\n  fee: 0.1..0.2 mina,\n  fee-payers: keys,\n  min-placed: 0.9,\n  experiment-name: none,\n  min-tps: none,\n)\n",
		},
		{
			"a range of little money", keys + `{"action":"payments","params":{"tps":1,"durationMin":1,"maxFee":6,"minFee":5,"feePayers":[],"experimentName":"a","minTps":1}}`,
			"load-keys(dir: \"k\")\n" +
				"payments(\n  tps: 1 tps,\n  duration: 1m,\n  fee: 5..6 nanomina,\n  fee-payers: [],\n  experiment-name: \"a\",\n  min-tps: 1 tps,\n)\n",
		},
		{
			"a range with a sign", keys + `{"action":"payments","params":{"tps":1,"durationMin":1,"maxFee":5,"minFee":-0,"feePayers":[],"experimentName":"a","minTps":1}}`,
			"load-keys(dir: \"k\")\n" +
				"payments(\n  tps: 1 tps,\n  duration: 1m,\n  maxFee: 5 nanomina,\n  minFee: -0 nanomina,\n  fee-payers: [],\n  experiment-name: \"a\",\n  min-tps: 1 tps,\n)\n",
		},
		{
			"a range upside down", keys + `{"action":"payments","params":{"tps":1,"durationMin":1,"minFee":6,"maxFee":5,"feePayers":[],"experimentName":"a","minTps":1}}`,
			"load-keys(dir: \"k\")\n" +
				"payments(\n  tps: 1 tps,\n  duration: 1m,\n  minFee: 6 nanomina,\n  maxFee: 5 nanomina,\n  fee-payers: [],\n  experiment-name: \"a\",\n  min-tps: 1 tps,\n)\n",
		},
		{
			"one end of a range", keys + `{"action":"payments","params":{"tps":1e-1,"durationMin":30,"maxFee":1e9,"feePayers":{"type":"output","step":-1,"name":"key"},"experimentName":"a-${b}","minTps":0.1}}`,
			"keys = load-keys(dir: \"k\")\n" +
				"payments(\n  tps: 1e-1 tps,\n  duration: 30m,\n  maxFee: 1e9 nanomina,\n  fee-payers: keys,\n  experiment-name: \"a-\\${b}\",\n  min-tps: 0.1 tps,\n)\n",
		},
		{"objects", `{"action":"stop","params":{"receipts":[{"address":"a:1","handle":"h","the rest":[-1]}]}}`, "stop(receipts: [{address: \"a:1\", handle: \"h\", \"the rest\": [-1]}])\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, found := there(readJSON(t, "s", []byte(tt.script)))
			if diff := cmp.Diff(tt.want, got); diff != "" || len(found) > 0 {
				t.Errorf("%s (-want +got)\n%s", shown(t, found), diff)
			}
		})
	}
}

func TestToTreeErrors(t *testing.T) {
	const key = "EKEjf3qKHZ9T5PAGYK4F3ydTgcBPbAKHQYFQEpGCLCw9FGdTFHAL"
	tests := []struct{ name, script, want string }{
		{"what is wrong with the script", `{"action":"wait","params":{"mim":1}}`, `s:1:28: step 0: wait has no parameter "mim" (did you mean "min"?)`},
		{"a key", `{"action":"load-keys","params":{"dir":"` + key + `"}}`, "s:1:39: step 0: a private key would be shown (put it into a file, and load that with load-keys)"},
		{"a key in a comment", `null "` + key + `"`, "s:1:6: a private key would be shown (put it into a file, and load that with load-keys)"},
		{
			"an output that has no name", `{"action":"count","params":{"of":{"type":"output","step":1,"name":"a b","file":"f"}}}`,
			`s:1:67: step 0: the script language cannot spell the output "a b" (no action has such an output)`,
		},
		{
			"an output with the name that another has in the script language", `{"action":"count","params":{"of":{"type":"output","step":1,"name":"slots-won","file":"f"}}}`,
			`s:1:67: step 0: the script language cannot spell the output "slots-won" (no action has such an output)`,
		},
		{
			"an object in place of an output", `{"action":"count","params":{"of":{"type":"output","step":1,"name":"a","file":"f","onEmpty":{"a":1}}}}`,
			`s:1:92: step 0: the script language has objects only in lists`,
		},
		{
			"another kind in place of an output", `{"action":"discovery"}{"action":"count","params":{"of":{"type":"output","step":0,"name":"howMany","onEmpty":[]}}}`,
			`s:1:109: step 1: in the script language what stands in place of an output is of its kind`,
		},
		{
			"one value in place of a list", `{"action":"discovery"}{"action":"count","params":{"of":{"type":"output","step":0,"name":"participant","onEmpty":"a"}}}`,
			`s:1:113: step 1: in the script language what stands in place of an output is of its kind`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			script := readJSON(t, "s", []byte(tt.script))
			tree, found := script.ToTree(tool())
			if tree != nil || len(found) != 1 || found[0].Error() != tt.want {
				t.Errorf("got %v\nwant %s", found, tt.want)
			}
		})
	}
}

func TestToJSON(t *testing.T) {
	const script = `# A comment
experiment "churn"
seed 42
param rate = 0.5 tps
let half = rate / 2
use "start.out" as earlier

log("begins ${experiment}")
keys = load-keys(dir: "k")
repeat 2 as round {
  nodes = discovery(limit: round + 1)
  payments(tps: half, duration: 1h, fee-payers: keys, nodes: nodes ?? [], fee: 0.1..0.2 mina, amount: 5_000 nanomina, receiver: "B62")
}
stop(receipts: earlier.step2.receipt ?? [])
wait(90s)
wait(slot: 5)
set-zkapp-soft-limit(limit: none)
discovery(limit: none)
`
	want := `"begins churn"
{"action":"load-keys","params":{"dir":"k"}}
{"action":"discovery","params":{"limit":1}}
{"action":"payments","params":{"tps":0.25,"durationMin":60,"feePayers":{"type":"output","step":-2,"name":"key"},"nodes":{"type":"output","step":-1,"name":"participant","onEmpty":[]},"minFee":100000000,"maxFee":200000000,"amount":5000,"receiver":"B62","experimentName":"churn-0","minTps":0.01}}
{"action":"discovery","params":{"limit":2}}
{"action":"payments","params":{"tps":0.25,"durationMin":60,"feePayers":{"type":"output","step":-4,"name":"key"},"nodes":{"type":"output","step":-1,"name":"participant","onEmpty":[]},"minFee":100000000,"maxFee":200000000,"amount":5000,"receiver":"B62","experimentName":"churn-1","minTps":0.01}}
{"action":"stop","params":{"receipts":{"type":"output","step":2,"name":"receipt","file":"start.out","onEmpty":[]}}}
{"action":"wait","params":{"sec":90}}
{"action":"wait","params":{"slot":5,"past":"error"}}
{"action":"set-zkapp-soft-limit","params":{"limit":null}}
{"action":"discovery","params":{}}
`
	lowered, found, err := read("s", script)
	if err != nil || len(found) > 0 {
		t.Fatal(err, shown(t, found))
	}
	got, found := lowered.ToJSON(tool())
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(found) != 1 || found[0].Error() != "s:3:1: warning: seed has no spelling in the JSON stream (run it with -seed 42)" {
		t.Errorf("got %v", found)
	}
}

func TestToJSONErrors(t *testing.T) {
	const script = `limit rate <= 2 tps, stopped <= 35%
param to = env("SET_TO")
use "start.out" as earlier
parallel {
  wait(1m)
  n = discovery() retry 3 every 1m within 5m
}
within 10m { wait(2m) within 3m }
expect count(n) >= 1
watch  count(n) >= 1
log("to ${to}")
discovery(limit: count(n))
load-keys(dir: to)
stop-daemon(nodes: [to, "b"])
wait(slot: now() + 5 slots)
stop(receipts: earlier.pay.receipt)
log("EKEjf3qKHZ9T5PAGYK4F3ydTgcBPbAKHQYFQEpGCLCw9FGdTFHAL")
load-keys(dir: "EKEjf3qKHZ9T5PAGYK4F3ydTgcBPbAKHQYFQEpGCLCw9FGdTFHAL")
discovery(limit: n.how-many ?? count(n))
snark-pool(pause: true) { wait(1m) within 2m }
on failure { wait(1m) within 2m }
finally { parallel { wait(1m) } }
`
	want := []string{
		`s:1:1: limit has no spelling in the JSON stream`,
		`s:4:1: parallel has no spelling in the JSON stream`,
		`s:6:19: retry has no spelling in the JSON stream`,
		`s:6:43: within has no spelling in the JSON stream`,
		`s:8:1: within has no spelling in the JSON stream`,
		`s:8:30: within has no spelling in the JSON stream`,
		`s:9:1: expect has no spelling in the JSON stream`,
		`s:10:1: watch has no spelling in the JSON stream`,
		`s:11:1: log would show the value of an env()`,
		`s:12:18: what is worked out while the script runs has no spelling in the JSON stream`,
		`s:13:16: the value of env() would be shown in the JSON stream`,
		`s:14:20: the value of env() would be shown in the JSON stream`,
		`s:15:12: what is worked out while the script runs has no spelling in the JSON stream`,
		`s:16:16: a reference by name into another run has no spelling in the JSON stream`,
		`s:17:1: log would show a private key`,
		`s:18:16: a private key would be shown`,
		`s:19:18: what is worked out while the script runs has no spelling in the JSON stream`,
		`s:20:1: snark-pool has no spelling in the JSON stream`,
		`s:20:43: within has no spelling in the JSON stream`,
		`s:21:1: on failure has no spelling in the JSON stream`,
		`s:21:30: within has no spelling in the JSON stream`,
		`s:22:1: finally has no spelling in the JSON stream`,
		`s:22:11: parallel has no spelling in the JSON stream`,
	}
	lowered, found, err := read("s", script)
	if err != nil || found.Errors() {
		t.Fatal(err, shown(t, found))
	}
	text, found := lowered.ToJSON(tool())
	var got []string
	for _, f := range found {
		if f.Hint == "" {
			t.Errorf("%v: no word about what to do", f)
		}
		f.Hint = ""
		got = append(got, f.Error())
	}
	if diff := cmp.Diff(want, got); diff != "" || text != nil {
		t.Errorf("%s (-want +got)\n%s", text, diff)
	}
	if strings.Contains(shown(t, found), "value of SET_TO") {
		t.Error("a secret is shown")
	}
}

// TestToJSONOfSecretThatIsNotKnown: where the environment is not known, a value of env() is refused too.
func TestToJSONOfSecretThatIsNotKnown(t *testing.T) {
	const script = `load-keys(dir: env("DIR"))`
	lowered, found, err := dsl.Read("s", strings.NewReader(script), dsl.LowerOptions{Signatures: tool()})
	if err != nil || len(found) > 0 {
		t.Fatal(err, found)
	}
	text, found := lowered.ToJSON(tool())
	if text != nil || len(found) != 1 || found[0].Message != "the value of env() would be shown in the JSON stream" || found[0].Span != (dsl.Span{Start: 15, End: 25}) {
		t.Errorf("got %s, %v", text, found)
	}
}

// valid writes a random JSON script in which nothing is wrong.
type valid struct {
	t     *rapid.T
	steps []*dsl.Step
	out   strings.Builder
}

func (v *valid) pick(texts ...string) string { return rapid.SampledFrom(texts).Draw(v.t, "pick") }

func (v *valid) quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		v.t.Fatal(err)
	}
	return string(text)
}

func (v *valid) string() string {
	return v.quote(rapid.OneOf(rapid.StringMatching(`[a-z./:0-9-]{0,12}`), rapid.String(),
		rapid.SampledFrom([]string{"${x}", "$", "${", "$${experiment}", `\u0024{x}`, "none", "a\"b\\c", "😀\u2028\x7f\x00", "#no", "B62q"})).Draw(v.t, "string"))
}

func (v *valid) any(depth int) string {
	switch rapid.IntRange(0, 6).Draw(v.t, "any") {
	case 0:
		return v.pick("true", "false", "null")
	case 1:
		return v.pick("0", "-1.50", "1e9", "12345678901234567890123", "-0", "2E-3", "1e+2")
	case 2:
		return v.list(func() string { return v.any(depth - 1) }, depth)
	case 3:
		if depth > 1 { // as a whole parameter it would be a reference
			return v.string()
		}
		return v.object(depth)
	default:
		return v.string()
	}
}

func (v *valid) object(depth int) string {
	var fields []string
	for _, key := range rapid.SliceOfNDistinct(rapid.OneOf(rapid.SampledFrom([]string{"address", "the rest", "none", "a-b", "", "0", "${x}"}), rapid.String()), 0, 3, rapid.ID).Draw(v.t, "keys") {
		fields = append(fields, v.quote(key)+":"+v.any(depth-1))
	}
	return "{" + strings.Join(fields, ",") + "}"
}

func (v *valid) list(item func() string, depth int) string {
	var items []string
	if depth > 0 {
		for range rapid.IntRange(0, 3).Draw(v.t, "items") {
			items = append(items, item())
		}
	}
	return "[" + strings.Join(items, ",") + "]"
}

func (v *valid) one(p dsl.Param) string {
	if len(p.Words) > 0 {
		return v.quote("error")
	}
	switch p.Kind {
	case dsl.Any:
		return v.any(2)
	case dsl.Flag:
		return v.pick("true", "false")
	case dsl.Int:
		small := []string{"0", "10", "1e2", "30.0", "2147483647", strconv.Itoa(rapid.IntRange(0, 9999).Draw(v.t, "int"))}
		if p.Unit == "" {
			small = append(small, "-3", "-0", "-2e1")
		}
		return v.pick(small...)
	case dsl.Nanomina:
		return v.pick("0", "-0", "1", "100000000", "1000000000", "1e9", "10.0", "5E+3", "18446744073709551615", fmt.Sprint(rapid.Uint64().Draw(v.t, "nanomina")))
	case dsl.Rate, dsl.Ratio:
		return v.pick("0", "0.5", "1e-3", "0.2522580792428838", "1", "0.50", "0.1234567890123")
	case dsl.Receipt, dsl.SlotsWon, dsl.Commit:
		return v.object(2)
	default:
		return v.string()
	}
}

// ref refers to an output that fits, where there is one.
func (v *valid) ref(p dsl.Param) (string, bool) {
	type target struct {
		step int
		name string
	}
	var targets []target
	for i, step := range v.steps {
		signature := tool()[slices.IndexFunc(tool(), func(s dsl.Signature) bool { return s.Action == step.Action })]
		for _, o := range signature.OutputsOf(step) {
			if o.List == p.List && (o.Kind == p.Kind || p.Kind == dsl.Any) {
				targets = append(targets, target{i, o.Name})
			}
		}
	}
	var ref string
	switch {
	case rapid.IntRange(0, 5).Draw(v.t, "file") == 0:
		ref = fmt.Sprintf(`"step":%d,"name":%s,"file":%s`, rapid.IntRange(0, 12).Draw(v.t, "step"),
			v.pick(`"receipt"`, `"slotsWon"`, `"group1"`, `"key"`), v.pick(`"a.out"`, `"b out"`, `"${x}.out"`))
	case len(targets) == 0:
		return "", false
	default:
		to := rapid.SampledFrom(targets).Draw(v.t, "target")
		if rapid.Bool().Draw(v.t, "relative") {
			to.step -= len(v.steps)
		}
		ref = fmt.Sprintf(`"step":%d,"name":%q`, to.step, to.name)
	}
	if rapid.Bool().Draw(v.t, "or") {
		empty := "null"
		if p.Required && !p.Nullable || rapid.Bool().Draw(v.t, "something") {
			empty = v.literal(p)
		}
		if p.Kind == dsl.Any && !p.List { // the outputs that fit are numbers
			empty = "7"
		}
		ref += `,"onEmpty":` + empty
	}
	return `{"type":"output",` + ref + `}`, true
}

func (v *valid) literal(p dsl.Param) string {
	if p.List {
		return v.list(func() string { return v.one(p) }, 2)
	}
	return v.one(p)
}

func (v *valid) script() string {
	for range rapid.IntRange(0, 8).Draw(v.t, "items") {
		switch rapid.IntRange(0, 5).Draw(v.t, "item") {
		case 0:
			v.out.WriteString(v.string() + "\n")
			continue
		case 1:
			v.out.WriteString("null\n")
			continue
		}
		signature := rapid.SampledFrom(tool()).Filter(func(s dsl.Signature) bool { return !dsl.HoldsBlock(s.Action) }).Draw(v.t, "action")
		var params []string
		for _, p := range rapid.Permutation(signature.Params).Draw(v.t, "order") {
			if !p.Required && rapid.Bool().Draw(v.t, "left out") {
				continue
			}
			value := v.literal(p)
			if p.Kind == dsl.Any && !p.List && strings.HasPrefix(value, "{") {
				value = "0"
			}
			if ref, ok := v.ref(p); ok && len(p.Words) == 0 && rapid.Bool().Draw(v.t, "reference") {
				value = ref
			}
			if (!p.Required || p.Nullable) && rapid.IntRange(0, 6).Draw(v.t, "null") == 0 {
				value = "null"
			}
			params = append(params, fmt.Sprintf("%q:%s", p.Name, value))
		}
		text := fmt.Sprintf(`{"action":%q,"params":{%s}}`, signature.Action, strings.Join(params, ","))
		v.out.WriteString(text + "\n")
		script, err := dsl.ReadJSON("s", strings.NewReader(v.out.String()))
		if err != nil {
			v.t.Fatal(err)
		}
		v.steps = script.Steps()
	}
	return v.out.String()
}

// TestThereAndBack: a script in JSON says the same after it was converted to the script language and back.
func TestThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := (&valid{t: t}).script()
		script, err := dsl.ReadJSON("s", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if found := dsl.Check(script, tool()); len(found) > 0 {
			t.Fatalf("%v\n%s", found, text)
		}
		language, back, err := thereAndBack(script)
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, text, language)
		}
		again, err := dsl.ReadJSON("s", strings.NewReader(back))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(says(t, script), says(t, again)); diff != "" {
			t.Fatalf("%s\n%s\n(-want +got)\n%s", text, language, diff)
		}
	})
}

// language writes a random script of the script language of which JSON can say all.
func drawLanguage(t *rapid.T) string {
	pick := func(texts ...string) string { return rapid.SampledFrom(texts).Draw(t, "pick") }
	var out strings.Builder
	out.WriteString("experiment \"e\"\nparam rate = " + pick("0.5 tps", "30/min", "1e-1 tps") + "\nlet span = " + pick("30m", "1h", "90m") + "\nlet text = \"t-${experiment}\"\n")
	out.WriteString("use \"start.out\" as earlier\nkeys = load-keys(dir: text)\nn0 = discovery(limit: 3)\n")
	names := []string{"n0"}
	var statements func(indent string, depth int)
	statements = func(indent string, depth int) {
		for range rapid.IntRange(1, 4).Draw(t, "statements") {
			nodes := rapid.SampledFrom(names).Draw(t, "nodes")
			switch rapid.IntRange(0, 9).Draw(t, "statement") {
			case 0:
				fmt.Fprintf(&out, "%slog(\"%s ${text} ${span}\")\n", indent, pick("a", "\\n", "\\u0024{x}"))
			case 1, 2:
				name := fmt.Sprintf("n%d", out.Len())
				fmt.Fprintf(&out, "%s%s = except(group: %s, except: %s ?? [\"a:1\"])\n", indent, name, nodes, pick("n0", nodes, "earlier.step3.participant"))
				names = append(names, name)
			case 3:
				fmt.Fprintf(&out, "%spayments(tps: rate * %s, duration: span, fee-payers: keys, nodes: %s, fee: %s, receiver: text%s)\n", indent, pick("0.5", "2", "1/3"), nodes,
					pick("1 mina", "0.1..0.2 mina", "5..6 nanomina", "none"), pick("", ", experiment-name: none", ", minPlaced: 30%", ", min-tps: 0.1 tps"))
			case 4:
				fmt.Fprintf(&out, "%swait(%s)\n", indent, pick("span", "30s", "span / 2", "min: 1m, sec: 5s", "slot: 7", "slot: 8 slots, past: ok", "5m, slot: 9"))
			case 5:
				fmt.Fprintf(&out, "%sset-zkapp-soft-limit(nodes: %s, limit: %s)\n", indent, nodes, pick("none", "4", "2 * 3"))
			case 6:
				fmt.Fprintf(&out, "%sstop(receipts: %s)\n", indent, pick("earlier.step2.receipt", "[{address: text, handle: \"h\"}]", "earlier.step4.receipt ?? []"))
			case 7:
				fmt.Fprintf(&out, "%sdiscovery(limit: %s, only-block-producers: %s)\n", indent, pick("n0.how-many", "n0.howMany ?? 3", "7"), pick("true", "none", "1 < 2"))
			default:
				if depth == 0 {
					continue
				}
				known := len(names)
				counter := fmt.Sprintf("r%d", out.Len())
				fmt.Fprintf(&out, "%srepeat %s as %s {\n%s  discovery(limit: %s + 1)\n", indent, pick("1", "2", "3"), counter, indent, counter)
				statements(indent+"  ", depth-1)
				fmt.Fprintf(&out, "%s}\n", indent)
				names = names[:known]
			}
		}
	}
	statements("", 2)
	return out.String()
}

// TestBackAndThere: what JSON can say of the script language says the same in JSON, and after it was converted to the script language again.
func TestBackAndThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		language := drawLanguage(t)
		lowered, found, err := read("s", language)
		if err != nil || found.Errors() {
			t.Fatalf("%v %s\n%s", err, shown(t, found), language)
		}
		text, found := lowered.ToJSON(tool())
		if len(found) > 0 {
			t.Fatalf("%s\n%s", shown(t, found), language)
		}
		script, err := dsl.ReadJSON("s", bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if found := dsl.Check(script, tool()); found.Errors() {
			t.Fatalf("%s\n%s", shown(t, found), text)
		}
		if err := sameSteps(lowered, script); err != nil {
			t.Fatalf("%v\n%s\n%s", err, language, text)
		}
		again, back, err := thereAndBack(script)
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, text, again)
		}
		second, err := dsl.ReadJSON("s", strings.NewReader(back))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(says(t, script), says(t, second)); diff != "" {
			t.Fatalf("%s\n%s\n(-want +got)\n%s", text, again, diff)
		}
	})
}

// sameSteps compares lowered steps with those in JSON. What is filled in without making a difference is not in JSON.
func sameSteps(lowered, script *dsl.Script) error {
	want, got := lowered.Steps(), script.Steps()
	if len(want) != len(got) {
		return fmt.Errorf("%d steps, and %d in JSON", len(want), len(got))
	}
	for i, step := range want {
		if step.Action != got[i].Action {
			return fmt.Errorf("step %d is %s, and in JSON %s", i, step.Action, got[i].Action)
		}
		_, slot := step.Arg("slot")
		n := 0
		for _, arg := range step.Args {
			if arg.Name == "past" && !slot {
				continue
			}
			n++
			other, ok := got[i].Arg(arg.Name)
			if !ok || other.Name != arg.Name {
				return fmt.Errorf("step %d has no %q in JSON", i, arg.Name)
			}
			if arg.Ref != nil {
				if other.Ref == nil || other.Ref.Step != arg.Ref.Step || other.Ref.Name != arg.Ref.Name || other.Ref.File != arg.Ref.File ||
					(other.Ref.OnEmpty == nil) != (arg.Ref.OnEmpty == nil) {
					return fmt.Errorf("step %d: %q refers to %+v, and in JSON to %+v", i, arg.Name, arg.Ref, other.Ref)
				}
				continue
			}
			var compact bytes.Buffer
			if err := json.Compact(&compact, script.Source.Text[other.Value.Start:other.Value.End]); err != nil {
				return err
			}
			if compact.String() != string(arg.Value.JSON) {
				return fmt.Errorf("step %d: %q is %s, and in JSON %s", i, arg.Name, arg.Value.JSON, &compact)
			}
		}
		if n != len(got[i].Args) {
			return fmt.Errorf("step %d has %d arguments, and %d in JSON", i, n, len(got[i].Args))
		}
	}
	return nil
}

// FuzzConvert: whatever is a good script in JSON says the same after it was converted to the script language and back, or is refused for
// what the language cannot spell.
func FuzzConvert(f *testing.F) {
	seeds(f)
	for _, text := range []string{
		`{"action":"wait","params":{"min":1e1,"SLOT":5}}`, `"${x}"{"action":"load-keys","params":{"dir":"$\u007b"}}`,
		`{"action":"payments","params":{"tps":0,"durationMin":1,"minFee":2,"maxFee":1e0,"feePayers":[],"amount":100000000}}`,
		`{"action":"stop","params":{"receipts":{"type":"output","step":1,"name":"receipt","file":"f","onEmpty":[{"a b":[-1,null]}]}}}`,
		`{"action":"discovery","params":{"limit":-5}}{"action":"count","params":{"of":{"type":"output","step":-1,"name":"howMany","onEmpty":-1}}}`,
		`{"action":"count","params":{"of":[{"type":1}]}}`, `{"action":"count","params":{"of":{"type":"output","step":0,"name":"slots-won","file":"f"}}}`,
		`{"action":"set-zkapp-soft-limit","params":{"limit":null}}`, `{"action":"count","params":{"of":{"type":"output","step":0,"name":"x","file":"f","onEmpty":{"a":1}}}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		script, err := dsl.ReadJSON("s", bytes.NewReader(text))
		if err != nil || len(dsl.Check(script, tool())) > 0 {
			return
		}
		if _, found := script.ToTree(tool()); len(found) > 0 {
			for _, finding := range found {
				inside(t, finding)
			}
			return
		}
		language, back, err := thereAndBack(script)
		var finding dsl.Finding
		if errors.As(err, &finding) && finding.Message == "a private key would be shown" {
			return
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, language)
		}
		if diff := cmp.Diff(says(t, script), says(t, readJSON(t, "s", []byte(back)))); diff != "" {
			t.Fatalf("%s\n(-want +got)\n%s", language, diff)
		}
	})
}

// BenchmarkConvert converts a script of a thousand steps to the script language and back.
func BenchmarkConvert(b *testing.B) {
	text, err := os.ReadFile("../cmd/orchestrator/testdata/generated/generated-50-rounds.script")
	if err != nil {
		b.Fatal(err)
	}
	script := readJSON(b, "s", text)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := thereAndBack(script); err != nil {
			b.Fatal(err)
		}
	}
}
