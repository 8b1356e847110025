package orchestrator

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"

	"provingground/dsl"
)

// The examples of the reference. What stands in them is made of the registry; only what kinds and units do not tell is written down here.

// stepName is the name that a step of an action has in examples.
func stepName(a Action) string {
	names := map[string]string{
		"discovery": "senders", "load-keys": "keys", "payments": "pay", "zkapp-txs": "zk", "slots-won": "won", "sample": "groups",
		"allocate-slots": "groups", "join": "both", "except": "others", "preflight": "commits", "stop-all-scheduled": "stopped", "gather-logs": "logs",
	}
	if len(a.Outputs) == 0 && a.Numbered == nil {
		return ""
	}
	return cmp.Or(names[a.Action], "done")
}

// exampleOf is a whole script with a filled-in call of the action in its last statement.
func exampleOf(a Action) string {
	call := exampleCall(a)
	if dsl.HoldsBlock(a.Action) {
		call += " {\n  wait(30m)\n}"
	}
	script := strings.Join(append(earlierSteps(call), call), "\n")
	if strings.Contains(script, "payments(") || strings.Contains(script, "zkapp-txs(") { // whose memos have the experiment's name
		script = "experiment \"first\"\n" + script
	}
	tree, _ := dsl.Parse("example", []byte(script)) // what is wrong with it, a test finds
	return string(tree.Format())
}

// exampleCall is a call of the action, with the parameters that it needs and those that it usually has.
func exampleCall(a Action) string {
	var arguments []string
	for _, p := range paramsOf(a) {
		switch {
		case !p.Required && !exemplary(a.Action, p.Param):
		case p.name == "":
			arguments = append(arguments, p.value)
		default:
			arguments = append(arguments, p.name+": "+p.value)
		}
	}
	call := a.Action + "(" + strings.Join(arguments, ", ") + ")"
	if name := stepName(a); name != "" {
		call = name + " = " + call
	}
	return call
}

// earlierSteps are the steps that a call refers to, and those that these refer to.
func earlierSteps(call string) []string {
	uses := func(name string) bool {
		return strings.Contains(call, ": "+name+",") || strings.Contains(call, ": "+name+")")
	}
	pay, won := uses("pay"), uses("won")
	var steps []string
	if uses("keys") || pay {
		steps = append(steps, `keys = load-keys(dir: "./keys/payments")`)
	}
	if uses("senders") || pay {
		steps = append(steps, "senders = discovery(no-block-producers: true)")
	}
	if uses("producers") || won {
		steps = append(steps, "producers = discovery(only-block-producers: true)")
	}
	if won {
		steps = append(steps, "won = slots-won(nodes: producers)")
	}
	if pay {
		steps = append(steps, exampleCall(paymentsAction()))
	}
	return steps
}

// exemplary says which optional parameters an example has.
func exemplary(action string, p dsl.Param) bool {
	switch p.Name {
	case "minFee", "amount", "gap", "deploymentFee", "min", "group", "except", "noBPs", "addRandomPeers", "maxSlots", "lastMin", "target", "pause":
		return true
	case "group1", "group2":
		return action == "join"
	case "limit":
		return action != "load-keys"
	case "nodes":
		return action == "preflight"
	}
	return false
}

// exampleKey is a public key that examples pay to.
const exampleKey = `"B62qiy32p8kAKnny8ZFwoMhYpBppM1DWVCqAPBYNcXnsAHhnfAAuXgg"`

// valueOf is an example of a parameter's value, as a script writes it.
func valueOf(action string, p dsl.Param) string {
	switch action + " " + p.Name { // what the kind does not tell
	case "discovery limit":
		return "10"
	case "load-keys dir":
		return `"./keys/payments"`
	case "fund-keys prefix":
		return `"./keys/new/key"`
	case "fund-keys privkeys":
		return `["private-keys/key-0"]`
	case "fund-keys amount":
		return "20 mina"
	case "set-zkapp-soft-limit nodes", "slots-won nodes", "stop-daemon nodes", "restart nodes", "gather-logs nodes", "except group", "sample group", "join group2":
		return "producers"
	case "join group1", "except except":
		return "senders"
	case "gather-logs lastMin":
		return "15m"
	case "snark-pool target":
		return `"cpu"`
	case "snark-pool socket":
		return `"./pool/control.sock"`
	case "allocate-slots groups":
		return "[1, 2]"
	case "allocate-slots maxSlots":
		return "500 slots"
	case "rotate-balance pubkeys":
		return "[" + exampleKey + "]"
	case "rotate-balance servers":
		return `["127.0.0.1:3085"]`
	case "rotate-balance mapping":
		return "[0]"
	case "preflight expectCommit":
		return `"4c2f1d0"`
	case "payments experimentName", "zkapp-txs experimentName":
		return `"first-0"`
	}
	switch p.Name {
	case "minTps":
		return "0.01 tps"
	case "minFee", "maxFee":
		return "0.1..0.2 mina"
	case "minBalanceChange", "maxBalanceChange":
		return "0..0.5 mina"
	case "minPlaced":
		return "95%"
	}
	return kindValue(p)
}

// kindValue is an example of a value of a parameter's kind.
func kindValue(p dsl.Param) string {
	value := `"…"`
	switch p.Kind {
	case dsl.Any:
		value = "1"
	case dsl.Flag:
		value = "true"
	case dsl.Int:
		value = map[string]string{"minutes": "30m", "seconds": "30s", "slots": "20 slots", "slot": "120"}[p.Unit]
		value = cmp.Or(value, "2")
	case dsl.Nanomina:
		value = "1 mina"
	case dsl.Rate:
		value = "0.5 tps"
	case dsl.Ratio:
		value = "30%"
	case dsl.Path:
		value = `"./keys"`
	case dsl.EnvName:
		value = `"PASS"`
	case dsl.PublicKey:
		value = exampleKey
	case dsl.Server:
		value = `""`
	case dsl.Word:
		if len(p.Words) > 0 {
			value = p.Words[0]
		}
	case dsl.Address, dsl.PrivateKey, dsl.Receipt, dsl.SlotsWon, dsl.Commit: // what only steps give out
		names := map[dsl.Kind]string{dsl.Address: "senders", dsl.PrivateKey: "keys", dsl.Receipt: "pay", dsl.SlotsWon: "won", dsl.Commit: "commits"}
		return names[p.Kind]
	}
	if p.List {
		return "[" + value + "]"
	}
	return value
}

// exampleJSON is the last step of an example as the JSON stream spells it, in lines that are not too long.
func exampleJSON(example string) (string, error) {
	signatures := Signatures()
	script, found, err := dsl.Read("example", strings.NewReader(example), dsl.LowerOptions{Signatures: signatures, Metrics: Metrics()})
	if err != nil {
		return "", fmt.Errorf("read it: %w", err)
	}
	if found.Errors() {
		return "", found[0]
	}
	text, found := script.ToJSON(signatures)
	if found.Errors() {
		return "", found[0]
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return wrapJSON(string(lines[len(lines)-1])), nil
}

// wrapJSON cuts a line of JSON, which has no blanks of its own outside of strings, where a key begins.
func wrapJSON(line string) string {
	var out strings.Builder
	width := 0
	for i, part := range strings.Split(line, `,"`) {
		if i > 0 {
			part = `"` + part
			out.WriteByte(',')
			width++
			if width+utf8.RuneCountInString(part) > explainWidth-2 {
				out.WriteString("\n  ")
				width = 2
			}
		}
		out.WriteString(part)
		width += utf8.RuneCountInString(part)
	}
	return out.String()
}
