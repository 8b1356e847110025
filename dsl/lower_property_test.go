package dsl_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"provingground/dsl"
)

// scriptWriter writes random scripts that are right.
type scriptWriter struct {
	t     *rapid.T
	text  strings.Builder
	count int // of names
	// Names that are known here, by what they stand for.
	times, rates, amounts, numbers, nodes, keys, receipts []string
}

func (w *scriptWriter) pick(from ...string) string { return rapid.SampledFrom(from).Draw(w.t, "pick") }

func (w *scriptWriter) chance() bool { return rapid.Bool().Draw(w.t, "chance") }

func (w *scriptWriter) digits(most int) string {
	return fmt.Sprint(rapid.IntRange(1, most).Draw(w.t, "digits"))
}

func (w *scriptWriter) newName() string {
	w.count++
	return fmt.Sprintf("%s%d", w.pick("a", "n-", "long-name-", "Under_score"), w.count)
}

func (w *scriptWriter) write(format string, args ...any) {
	fmt.Fprintf(&w.text, format, args...)
	w.text.WriteString(w.pick("\n", " ", "  # remark\n", "\r\n", "\n\n"))
}

// one returns one of the names, or what draw gives.
func (w *scriptWriter) one(names []string, draw func() string) string {
	if len(names) > 0 && w.chance() {
		return w.pick(names...)
	}
	return draw()
}

// whole is a time of whole minutes.
func (w *scriptWriter) whole() string {
	return w.one(w.times, func() string {
		return w.pick(w.digits(90)+"m", w.digits(9)+"h", "60s", "(1m + 60s)", "10 slots", "120s * "+w.digits(5), w.digits(9)+"_0m")
	})
}

func (w *scriptWriter) rate() string {
	return w.one(w.rates, func() string {
		return w.pick(w.digits(9)+" tps", "0."+w.digits(99)+"tps", w.digits(99)+"/min", "1 tps / 3", "2 * 0.5/s")
	})
}

func (w *scriptWriter) amount() string {
	return w.one(w.amounts, func() string {
		return w.pick(w.digits(9)+" mina", "0."+w.digits(99)+" mina", w.digits(9999)+" nanomina", "1e3 nanomina", "1 mina / 8")
	})
}

func (w *scriptWriter) number() string {
	return w.one(w.numbers, func() string { return w.pick(w.digits(99), "(7 - 3)", "2 * 3", "1e1") })
}

func (w *scriptWriter) where() string {
	return w.one(w.nodes, func() string { return w.pick("[]", `["10.0.0.1:3086"]`, `["${experiment}:1", "b:2",]`) })
}

func (w *scriptWriter) fee() string {
	if w.chance() {
		return w.amount()
	}
	return w.pick("0.1..0.2 mina", "1 nanomina..1 mina", "5..7 nanomina", "(1 mina / 2)..1 mina")
}

// step writes a step, and perhaps its name.
func (w *scriptWriter) step(inParallel bool) {
	name, text := "", ""
	known := new([]string)
	switch rapid.IntRange(0, 8).Draw(w.t, "action") {
	case 0:
		text, known = fmt.Sprintf("discovery(limit: %s, only-block-producers: %s)", w.number(), w.pick("true", "false")), &w.nodes
	case 1:
		text, known = fmt.Sprintf(`load-keys(dir: %s)`, w.pick(`"k"`, `"./keys/${experiment}"`, `env("RECEIVER")`)), &w.keys
	case 2:
		keys := w.one(w.keys, func() string { return "[]" })
		optional := w.pick("", "", ", min-tps: none", ", minTps: 0.5 tps", `, experiment-name: "x"`, ", min-placed: 95%")
		text, known = fmt.Sprintf("payments(tps: %s, duration: %s, fee: %s, amount: %s, fee-payers: %s, nodes: %s, receiver: %s%s)",
			w.rate(), w.whole(), w.fee(), w.amount(), keys, w.where(), w.pick(`"B62q"`, `env("RECEIVER")`), optional), &w.receipts
	case 3:
		text = fmt.Sprintf("wait(%s)", w.whole())
	case 4:
		text = fmt.Sprintf("wait(slot: %s, past: %s)", w.pick(w.number(), "now() + "+w.number()+" * 1 slot", "120 slots"), w.pick("ok", "error", "none"))
	case 5:
		text = fmt.Sprintf("stop(receipts: %s)", w.one(w.receipts, func() string { return `[{address: "a", handle: "h"}]` }))
	case 6:
		text, known = fmt.Sprintf("except(group: %s, except: %s)", w.where(), w.where()), &w.nodes
	case 7:
		text = fmt.Sprintf("sample(group: %s, ratios: [%s%%, 0.%s])", w.where(), w.digits(50), w.digits(5))
	case 8:
		w.write(`log(%s)`, w.pick(`"text"`, `"in ${experiment}"`, `"ü\n\"${experiment}\""`))
		return
	}
	if w.chance() {
		name = w.newName()
		text = name + " = " + text
	}
	text += w.pick("", "", "", " retry "+w.digits(1000)+" every "+w.whole(), " within "+w.whole())
	w.write("%s", text)
	if name != "" && !inParallel {
		*known = append(*known, name)
	}
}

func (w *scriptWriter) claim() {
	conditions := []string{"tx.rejected < 2%", "tx.latency.p95 <= " + w.whole(), "chain.longest-gap < " + w.number() + " * 1 slot", "now() > 5 slots"}
	if len(w.nodes) > 0 {
		conditions = append(conditions, "count("+w.pick(w.nodes...)+") >= "+w.number(), "not (count("+w.pick(w.nodes...)+" ?? []) == 3 or tx.rate > "+w.rate()+")")
	}
	if w.chance() {
		w.write("expect %s%s", w.pick(conditions...), w.pick("", " within 5 slots", " within "+w.whole()))
	} else {
		w.write("watch %s%s", w.pick(conditions...), w.pick("", " after 0s", " after "+w.whole()))
	}
}

// scoped writes statements whose names are known only among them.
func (w *scriptWriter) scoped(depth int) {
	kept := [][]string{w.times, w.rates, w.amounts, w.numbers, w.nodes, w.keys, w.receipts}
	for i := range kept {
		kept[i] = slices.Clip(kept[i])
	}
	w.statements(depth)
	w.times, w.rates, w.amounts, w.numbers, w.nodes, w.keys, w.receipts = kept[0], kept[1], kept[2], kept[3], kept[4], kept[5], kept[6]
}

func (w *scriptWriter) statements(depth int) {
	for range rapid.IntRange(1, 4).Draw(w.t, "statements") {
		kind := rapid.IntRange(0, 9).Draw(w.t, "statement")
		switch {
		case kind == 0:
			name := w.newName()
			switch rapid.IntRange(0, 3).Draw(w.t, "constant") {
			case 0:
				w.write("let %s = %s", name, w.pick("30m", "2h", "90m / 3"))
				w.times = append(w.times, name)
			case 1:
				w.write("let %s = %s", name, w.rate())
				w.rates = append(w.rates, name)
			case 2:
				w.write("let %s = %s", name, w.amount())
				w.amounts = append(w.amounts, name)
			case 3:
				w.write("let %s = %s", name, w.number())
				w.numbers = append(w.numbers, name)
			}
		case kind == 1:
			w.claim()
		case kind == 2 && depth > 0:
			w.write("parallel {")
			for range rapid.IntRange(1, 3).Draw(w.t, "branches") {
				if w.chance() {
					w.step(true)
				} else {
					w.write("{")
					w.scoped(depth - 1)
					w.write("}")
				}
			}
			w.write("}")
		case kind == 3 && depth > 0:
			counter := w.newName()
			w.write("repeat %d as %s {", rapid.IntRange(1, 3).Draw(w.t, "rounds"), counter)
			w.scoped(depth - 1)
			w.write("}")
		case kind == 4 && depth > 0:
			w.write("%s {", w.pick("within "+w.whole(), "snark-pool(pause: true)", w.newName()+" = snark-pool(workers: "+w.digits(9)+") retry 2 every 1m"))
			w.scoped(depth - 1)
			w.write("}")
		default:
			w.step(false)
		}
	}
}

func writeScript(t *rapid.T) string {
	w := &scriptWriter{t: t}
	w.write(`experiment "random"`)
	if w.chance() {
		w.write("seed %s", w.digits(1<<40))
		w.write("limit rate <= %s, stopped <= %s%%", w.rate(), w.digits(100))
	}
	w.statements(2)
	if w.chance() {
		w.write("on failure {")
		w.scoped(1)
		w.write("}")
		w.write("finally {")
		w.scoped(1)
		w.write("}")
	}
	return w.text.String()
}

// TestRightScripts: a script that is right is lowered without findings, its steps and items are numbered, its arguments are JSON, what it
// refers to has run before, and the JSON checker has nothing against it.
func TestRightScripts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := writeScript(t)
		script, found, err := dsl.Read("s", strings.NewReader(text), lowerOptions())
		if err != nil || len(found) > 0 {
			t.Fatalf("%s\n%v %v", text, found, err)
		}
		for i, step := range script.Steps() {
			if step.Number != i {
				t.Fatalf("step %d has the number %d", i, step.Number)
			}
			for _, a := range step.Args {
				checkArg(t, step, a)
			}
		}
		next := 0
		for _, items := range [][]dsl.Item{script.Items, script.OnFailure, script.Finally} {
			next = numbered(t, items, next)
		}
		if found := dsl.Check(script, signatures()); len(found) > 0 {
			t.Fatalf("%s\n%v", text, found)
		}
	})
}

func checkArg(t *rapid.T, step *dsl.Step, a dsl.Arg) {
	t.Helper()
	var refs []*dsl.Ref
	switch {
	case a.Formula != nil:
		if a.Formula.Number != step.Number || a.Value.Shape != dsl.Object {
			t.Fatalf("%s of step %d: %+v", a.Name, step.Number, a)
		}
		refs = a.Formula.Refs()
	case a.Ref != nil:
		refs = append(refs, a.Ref)
	default:
		checkValue(t, a.Value)
	}
	for _, ref := range refs {
		if ref.Step >= step.Number {
			t.Fatalf("step %d refers to step %d", step.Number, ref.Step)
		}
	}
}

// checkValue compares a value with what its JSON says, as the JSON reader understands it.
func checkValue(t *rapid.T, v dsl.Value) {
	t.Helper()
	script, err := dsl.ReadJSON("v", bytes.NewReader([]byte(`{"action":"a","params":{"p":[`+string(v.JSON)+`]}}`)))
	if err != nil {
		t.Fatalf("%s: %v", v.JSON, err)
	}
	want := script.Steps()[0].Args[0].Value.Items[0]
	if diff := cmp.Diff(want, v, cmpopts.IgnoreTypes(dsl.Span{}), cmpopts.IgnoreFields(dsl.Value{}, "JSON", "Secret"), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s is not what it says (-JSON +value)\n%s", v.JSON, diff)
	}
}

// numbered checks that items are numbered in order, and returns the next number.
func numbered(t *rapid.T, items []dsl.Item, next int) int {
	t.Helper()
	for _, item := range items {
		if item.Number != next {
			t.Fatalf("item %d has the number %d", next, item.Number)
		}
		next = numbered(t, item.Body, next+1)
		for _, branch := range item.Parallel {
			next = numbered(t, branch, next)
		}
		if item.Deadline != nil {
			next = numbered(t, item.Deadline.Items, next)
		}
	}
	return next
}

// TestSpoiledScripts: of a script in which something was changed each finding has a place in it and says something, and it is lowered to the
// same twice.
func TestSpoiledScripts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := writeScript(t)
		words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \n\r(),", r) })
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			from, to := rapid.SampledFrom(words).Draw(t, "from"), rapid.SampledFrom(append(words, "none", "nowhere", "5m", "-1", "a.b", "[]", `"${x}"`)).Draw(t, "to")
			text = strings.Replace(text, from, to, rapid.SampledFrom([]int{1, -1}).Draw(t, "times"))
		}
		tree, found := dsl.Parse("s", []byte(text))
		if found.Errors() {
			return
		}
		script, found := tree.Lower(lowerOptions())
		checkFindings(t, text, found)
		again, foundAgain := tree.Lower(lowerOptions())
		if !slices.EqualFunc(found, foundAgain, func(a, b dsl.Finding) bool { return a.Error() == b.Error() }) {
			t.Fatalf("%v\nand then\n%v", found, foundAgain)
		}
		if one, two := shownItems(script.Items, ""), shownItems(again.Items, ""); one != two {
			t.Fatalf("%s\nand then\n%s", one, two)
		}
	})
}

// fataler is what a test and a random test have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func checkFindings(t fataler, text string, found dsl.Findings) {
	t.Helper()
	for i, f := range found {
		if f.Span.Start < 0 || f.Span.End < f.Span.Start || f.Span.End > len(f.Source.Text) || f.Message == "" || f.Step != -1 {
			t.Fatalf("%q\n%+v", text, f)
		}
		if i > 0 && f.Span.Start < found[i-1].Span.Start && f.Source == found[i-1].Source {
			t.Fatalf("%q\nfindings are not in the order of their places", text)
		}
		var out bytes.Buffer
		if err := (dsl.Findings{f}).Write(&out, dsl.AsText); err != nil {
			t.Fatalf("%v", err)
		}
	}
}

// FuzzLower lowers any text that can be read.
func FuzzLower(f *testing.F) {
	for _, text := range []string{
		"", "experiment \"e\" seed 1 limit rate <= 2 tps", "repeat 3 as i { wait(1m * i) }", "a = discovery()\nexpect count(a) > 3 within 5 slots",
		"param p = env(\"X\") ?? none\nlog(\"${p}\")", "let a = 1e400 let b = 1e300*1e300", "repeat 99999 { repeat 99999 { wait(-1m) } }",
		"use \"f\" as f\nstop(receipts: f.step99999999999.x ?? f.a.b)", "wait(slot: now() + 5 slots / 0)", "finally { } on failure { } wait(1m)",
		"parallel { { a = discovery() } let b = a watch true }", "sample(group: [[[{a: {b: 1}}]]], ratios: 1..2)", "payments(fee: 1..2, tps: [1 tps], x, y: -\"\")",
		"within 1e9h { wait(0.0000000001s) }", "a = a(a: a) b = b.b(b) a = a.a", "log(\"\\u0000${experiment}${}\")", "x = wait(1m) retry 1 every 1s within 1s after 1s",
		"expect coverage(1, from: 1, to: 1) and min() or max(1s, 1 slot) == none", "search rate from 1 to 2 until within 3 { }", "{", "\xff", "wait(1m) # é",
		"x = snark-pool(workers: 1) { snark-pool(pause: true) retry 2 every 1s\n{ a = discovery() } } wait(1m) {", "repeat 2 { snark-pool() { watch true } }",
	} {
		f.Add(text)
	}
	for _, script := range wrongScripts(f) {
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tree, found := dsl.Parse("s", []byte(text))
		if tree == nil {
			return
		}
		script, more := tree.Lower(lowerOptions())
		checkFindings(t, text, more)
		if len(found) == 0 && !more.Errors() {
			steps := script.Steps()
			for i, step := range steps {
				if step.Number != i {
					t.Fatalf("step %d has the number %d", i, step.Number)
				}
			}
			if more := dsl.Check(script, signatures()); more.Errors() {
				t.Fatalf("the checker finds more: %v", more)
			}
		}
	})
}
