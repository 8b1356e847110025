package dsl

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// somewhere is what a run knows, in the tests.
type somewhere struct {
	outputs map[string]Held // by name
	missing map[string]Held // outputs that never came to be: who was asked
	metrics map[string]Measured
	slot    *int64
	lasts   time.Duration
}

func (s somewhere) Output(ref *Ref) (Held, bool) {
	if held, ok := s.outputs[ref.Name]; ok {
		return held, true
	}
	return s.missing[ref.Name], false
}
func (s somewhere) Metric(name string, scope Scope) Measured { return s.metrics[name+scope.String()] }
func (s somewhere) SlotDuration() time.Duration              { return s.lasts }
func (s somewhere) Slot() (int64, bool) {
	if s.slot == nil {
		return 0, false
	}
	return *s.slot, true
}

func rat(text string) *big.Rat {
	x, ok := new(big.Rat).SetString(text)
	if !ok {
		panic("no number: " + text)
	}
	return x
}

func one(text string) Held { return Held{One: json.RawMessage(text)} }

func list(elements ...string) Held {
	held := Held{List: []json.RawMessage{}}
	for _, e := range elements {
		held.List = append(held.List, json.RawMessage(e))
	}
	return held
}

func (h Held) silent(silent, asked int) Held {
	h.Asked, h.Silent = asked, silent
	return h
}

func won(address string, slots ...int64) string {
	text, err := json.Marshal(map[string]any{"address": address, "slots": append([]int64{}, slots...)})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func num(text string, unit Unit) *Formula {
	return &Formula{Op: opConstant, Value: Constant{Number: rat(text), Unit: unit}}
}

func data(text string) *Formula {
	return &Formula{Op: opConstant, Value: Constant{JSON: json.RawMessage(text)}}
}

func out(name string) *Formula { return &Formula{Op: OpName, Ref: &Ref{Step: 2, Name: name}} }

func metric(name string, unit Unit) *Formula {
	return &Formula{Op: OpMember, Text: name, Value: Constant{Unit: unit}}
}

func call(name string, args ...*Formula) *Formula {
	return &Formula{Op: OpCall, Text: name, Args: args}
}

func apply(op Op, args ...*Formula) *Formula { return &Formula{Op: op, Args: args} }

func (f *Formula) forParam(p Param) *Formula {
	f.param = &p
	return f
}

// between returns a metric that is known to lie between two numbers; "" is not known.
func between(low, high, window, missing string) Measured {
	m := Measured{Window: window, Missing: missing}
	if low != "" {
		m.Low = rat(low)
	}
	if high != "" {
		m.High = rat(high)
	}
	return m
}

func facts() somewhere {
	return somewhere{
		outputs: map[string]Held{
			"keys": list(`"a"`, `"b"`, `"c"`), "some": list(`"a"`, `"b"`).silent(2, 24), "group": one(`["x","y"]`), "last": one("20500"), "share": one("0.25"),
			"name": one(`"churn"`), "up": one("true"), "nil": one("null"), "object": one(`{"a":1}`), "amount": one("1500000000"), "broken": one(`{"a"`),
			"brokenList": list("1", "{"), "huge": one("1e400"), "empty": list(),
			"won":     list(won("a", 10, 11, 12), won("b", 12, 14), won("c")),
			"someWon": list(won("a", 10, 11, 12), won("b", 12, 14)).silent(3, 24),
			"noneWon": list(won("c")), "noSlots": list(`{"address":"a"}`), "odd": list(`{"address":"a","slots":["1"]}`), "far": list(won("a", 1<<31)),
		},
		missing: map[string]Held{"gone": {}, "silent": Held{}.silent(4, 4)},
		metrics: map[string]Measured{
			"tx.included":       between("0.9912345", "0.9912345", "4000 transactions", ""),
			"tx.rejected":       between("0.01", "0.03", "4000 transactions", "2 gaps in the log"),
			"tx.latency.p95":    between("400", "400", "", ""),
			"chain.longest-gap": between("4", "7", "slots 20411..20557", "node n1 did not answer"),
			"tx.rate":           between("0.8", "0.8", "", ""),
			"tx.most":           between("", "5", "", "the log is not complete"),
			"tx.least":          between("5", "", "", ""),
			"tx.unknown":        between("", "", "", "no node was asked"),
			"tx.close":          between("0.8999", "0.8999", "", ""),
		},
		slot: new(int64(20500)), lasts: 3 * time.Minute,
	}
}

func TestJudge(t *testing.T) {
	included, rejected, latency := metric("tx.included", NoUnit), metric("tx.rejected", NoUnit), metric("tx.latency.p95", UnitSecond)
	gap, rate := metric("chain.longest-gap", UnitSlot), metric("tx.rate", UnitTPS)
	most, least, unknown := metric("tx.most", NoUnit), metric("tx.least", NoUnit), metric("tx.unknown", NoUnit)
	const (
		silentTwo = "2 of 24 nodes did not answer; at most 4 with one of each"
		gaps      = "2 gaps in the log"
		wonText   = "4 of 5 slots, 10..14"
	)
	incomplete := []string{"the log is not complete"}
	tests := []struct {
		name string
		f    *Formula
		want Judgement
	}{
		{"share above", apply(OpLeast, included, num("0.99", NoUnit)), Judgement{Pass, "0.991", ">= 0.99", "4000 transactions", nil}},
		{"share below", apply(OpLeast, included, num("0.995", NoUnit)), Judgement{Fail, "0.991", ">= 0.995", "4000 transactions", nil}},
		{
			"share in doubt", apply(OpLess, rejected, num("0.02", NoUnit)),
			Judgement{Inconclusive, "0.010 to 0.030", "< 0.02", "4000 transactions", []string{gaps}},
		},
		{"in doubt, and yet pass", apply(OpLess, rejected, num("0.04", NoUnit)), Judgement{Pass, "0.010 to 0.030", "< 0.04", "4000 transactions", []string{gaps}}},
		{"in doubt, and yet fail", apply(OpMore, rejected, num("0.04", NoUnit)), Judgement{Fail, "0.010 to 0.030", "> 0.04", "4000 transactions", []string{gaps}}},
		{"a constant on the left is turned", apply(OpLess, num("0.99", NoUnit), included), Judgement{Pass, "0.991", "> 0.99", "4000 transactions", nil}},
		{"at least, turned", apply(OpAtMost, num("0.995", NoUnit), included), Judgement{Fail, "0.991", ">= 0.995", "4000 transactions", nil}},
		{"equal, turned", apply(OpEqual, num("3", NoUnit), call("count", out("keys"))), Judgement{Pass, "3", "== 3", "", nil}},
		{"decimals enough to see why", apply(OpLeast, metric("tx.close", NoUnit), num("0.9", NoUnit)), Judgement{Fail, "0.8999", ">= 0.9", "", nil}},

		{"seconds and slots", apply(OpLess, latency, num("3", UnitSlot)), Judgement{Pass, "2.222 slots", "< 3 slots", "", nil}},
		{"slots and seconds", apply(OpLess, gap, num("600", UnitSecond)), Judgement{Fail, "720 to 1260 s", "< 600 s", "slots 20411..20557", []string{"node n1 did not answer"}}},
		{"slots", apply(OpLess, gap, num("6", UnitSlot)), Judgement{Inconclusive, "4 to 7 slots", "< 6 slots", "slots 20411..20557", []string{"node n1 did not answer"}}},
		{"at most, in doubt", apply(OpAtMost, gap, num("4", UnitSlot)), Judgement{Inconclusive, "4 to 7 slots", "<= 4 slots", "slots 20411..20557", []string{"node n1 did not answer"}}},
		{"one slot", apply(OpMore, apply(OpSub, call("now"), out("last")), num("1", UnitSlot)), Judgement{Fail, "0 slots", "> 1 slot", "", nil}},
		{"rate", apply(OpAtMost, rate, num("0.8", UnitTPS)), Judgement{Pass, "0.8 tps", "<= 0.8 tps", "", nil}},
		{"money", apply(OpEqual, out("amount"), num("1500000000", UnitNanomina)), Judgement{Pass, "1.5 mina", "== 1.5 mina", "", nil}},
		{"time", apply(OpLess, latency, num("12.5", UnitSecond)), Judgement{Fail, "400 s", "< 12.5 s", "", nil}},

		{"upper bound only: pass", apply(OpAtMost, most, num("5", NoUnit)), Judgement{Pass, "at most 5", "<= 5", "", incomplete}},
		{"upper bound only: in doubt", apply(OpAtMost, most, num("4", NoUnit)), Judgement{Inconclusive, "at most 5", "<= 4", "", incomplete}},
		{"upper bound only: fail", apply(OpMore, most, num("5", NoUnit)), Judgement{Fail, "at most 5", "> 5", "", incomplete}},
		{"lower bound only", apply(OpEqual, least, num("4", NoUnit)), Judgement{Fail, "at least 5", "== 4", "", []string{"tx.least is not known exactly"}}},
		{"lower bound only: in doubt", apply(OpOther, least, num("5", NoUnit)), Judgement{Inconclusive, "at least 5", "!= 5", "", []string{"tx.least is not known exactly"}}},
		{"lower bound only: other", apply(OpOther, least, num("4", NoUnit)), Judgement{Pass, "at least 5", "!= 4", "", []string{"tx.least is not known exactly"}}},
		{"nothing known is no zero", apply(OpLeast, unknown, num("0", NoUnit)), Judgement{Inconclusive, "unknown", ">= 0", "", []string{"no node was asked"}}},
		{"nothing known times 0", apply(OpEqual, apply(OpMul, unknown, num("0", NoUnit)), num("0", NoUnit)), Judgement{Pass, "0", "== 0", "", []string{"no node was asked"}}},

		{"count", apply(OpOther, call("count", out("keys")), num("3", NoUnit)), Judgement{Fail, "3", "!= 3", "", nil}},
		{"count of one value that is a list", apply(OpLeast, call("count", out("group")), num("2", NoUnit)), Judgement{Pass, "2", ">= 2", "", nil}},
		{"count with silent nodes: enough", apply(OpLeast, call("count", out("some")), num("2", NoUnit)), Judgement{Pass, "2 to 4", ">= 2", "", []string{silentTwo}}},
		{"count with silent nodes: in doubt", apply(OpLeast, call("count", out("some")), num("3", NoUnit)), Judgement{Inconclusive, "2 to 4", ">= 3", "", []string{silentTwo}}},
		{"count with silent nodes: too few", apply(OpLeast, call("count", out("some")), num("5", NoUnit)), Judgement{Fail, "2 to 4", ">= 5", "", []string{silentTwo}}},
		{"count of nothing", apply(OpEqual, call("count", apply(OpElse, out("gone"), data("[]"))), num("0", NoUnit)), Judgement{Pass, "0", "== 0", "", nil}},
		{
			"nothing, and nobody answered", apply(OpEqual, call("count", apply(OpElse, out("silent"), data("[]"))), num("0", NoUnit)),
			Judgement{Inconclusive, "0 to 4", "== 0", "", []string{"4 of 4 nodes did not answer; at most 4 with one of each"}},
		},
		{"two counts", apply(OpLess, call("count", out("group")), call("count", out("keys"))), Judgement{Pass, "2", "< 3", "", nil}},

		{"coverage", apply(OpLeast, call("coverage", out("won")), num("0.8", NoUnit)), Judgement{Pass, "0.800", ">= 0.8", wonText, nil}},
		{"coverage too small", apply(OpLeast, call("coverage", out("won")), num("0.9", NoUnit)), Judgement{Fail, "0.800", ">= 0.9", wonText, nil}},
		{
			"coverage with silent nodes", apply(OpLeast, call("coverage", out("someWon")), num("0.8", NoUnit)),
			Judgement{Pass, "0.800 to 1", ">= 0.8", wonText, []string{"3 of 24 nodes did not answer; at most 1.000 if they won every other slot"}},
		},
		{
			"coverage that silent nodes may reach", apply(OpLeast, call("coverage", out("someWon")), num("0.9", NoUnit)),
			Judgement{Inconclusive, "0.800 to 1", ">= 0.9", wonText, []string{"3 of 24 nodes did not answer; at most 1.000 if they won every other slot"}},
		},
		{
			"coverage with silent nodes of a window", apply(OpLeast, call("coverage", out("someWon"), num("10", UnitSlot), num("19", NoUnit)), num("0.4", NoUnit)),
			Judgement{Pass, "0.400 to 1", ">= 0.4", "4 of 10 slots, 10..19", []string{"3 of 24 nodes did not answer; at most 1.000 if they won every other slot"}},
		},
		{
			"coverage that cannot be", apply(OpMore, call("coverage", out("someWon"), num("10", UnitSlot), num("19", UnitSlot)), num("1", NoUnit)),
			Judgement{Fail, "0.400 to 1", "> 1", "4 of 10 slots, 10..19", []string{"3 of 24 nodes did not answer; at most 1.000 if they won every other slot"}},
		},
		{"coverage of a window in time", apply(OpEqual, call("coverage", out("won"), num("1980", UnitSecond), num("2160", UnitSecond)), num("1", NoUnit)), Judgement{Pass, "1", "== 1", "2 of 2 slots, 11..12", nil}},
		{
			"coverage of nothing", apply(OpLeast, call("coverage", out("noneWon")), num("0", NoUnit)),
			Judgement{Inconclusive, "unknown", ">= 0", "", []string{"no slot was won, so there is no range to cover: from: and to: state one"}},
		},
		{"coverage of nothing in a window", apply(OpMore, call("coverage", out("noneWon"), num("1", UnitSlot), num("2", UnitSlot)), num("0", NoUnit)), Judgement{Fail, "0", "> 0", "0 of 2 slots, 1..2", nil}},
		{
			"coverage of a window that is not known", apply(OpLeast, call("coverage", out("won"), gap, num("20", UnitSlot)), num("0.5", NoUnit)),
			Judgement{Inconclusive, "0 to 1", ">= 0.5", "slots 20411..20557", []string{"node n1 did not answer"}},
		},

		{"min", apply(OpLess, call("min", most, least, num("9", NoUnit)), num("6", NoUnit)), Judgement{Pass, "at most 5", "< 6", "", []string{"the log is not complete", "tx.least is not known exactly"}}},
		{"max", apply(OpLess, call("max", num("1", UnitSlot), num("60", UnitSecond)), num("180", UnitSecond)), Judgement{Fail, "180 s", "< 180 s", "", nil}},
		{"now", apply(OpMore, call("now"), apply(OpAdd, out("last"), num("0", UnitSlot))), Judgement{Fail, "20500 slots", "> 20500 slots", "", nil}},
		{"sum", apply(OpEqual, apply(OpAdd, out("share"), apply(OpMul, num("3", NoUnit), out("share"))), num("1", NoUnit)), Judgement{Pass, "1", "== 1", "", nil}},
		{"difference and minus", apply(OpEqual, apply(OpSub, apply(OpMinus, out("share")), num("1", NoUnit)), num("-1.25", NoUnit)), Judgement{Pass, "-1.250", "== -1.25", "", nil}},
		{"quotient of times", apply(OpEqual, apply(OpDiv, latency, num("200", UnitSecond)), num("2", NoUnit)), Judgement{Pass, "2", "== 2", "", nil}},
		{"quotient of time and slots", apply(OpEqual, apply(OpDiv, num("360", UnitSecond), num("2", UnitSlot)), num("1", NoUnit)), Judgement{Pass, "1", "== 1", "", nil}},
		{
			"divided by 0", apply(OpEqual, apply(OpDiv, included, call("count", out("empty"))), num("0", NoUnit)),
			Judgement{Inconclusive, "unknown", "== 0", "4000 transactions", []string{"the divisor may be 0: it is 0"}},
		},
		{
			"divided by 0, times 0", apply(OpEqual, apply(OpMul, apply(OpDiv, rate, num("0", NoUnit)), num("0", NoUnit)), num("0", UnitTPS)),
			Judgement{Inconclusive, "unknown", "== 0 tps", "", []string{"the divisor may be 0: it is 0"}},
		},
		{
			"coverage of nothing, times 0", apply(OpEqual, apply(OpMul, call("coverage", out("noneWon")), num("0", NoUnit)), num("0", NoUnit)),
			Judgement{Inconclusive, "unknown", "== 0", "", []string{"no slot was won, so there is no range to cover: from: and to: state one"}},
		},
		{
			"divided by what may be 0", apply(OpEqual, apply(OpDiv, included, apply(OpSub, call("count", out("some")), num("3", NoUnit))), num("0", NoUnit)),
			Judgement{Inconclusive, "unknown", "== 0", "4000 transactions", []string{silentTwo, "the divisor may be 0: it is -1 to 1"}},
		},

		{"true", out("up"), Judgement{Pass, "true", "true", "", nil}},
		{"not true", apply(OpNot, out("up")), Judgement{Fail, "true", "false", "", nil}},
		{"not not", apply(OpNot, apply(OpNot, out("up"))), Judgement{Pass, "true", "true", "", nil}},
		{"a flag and a constant", apply(OpOther, out("up"), data("true")), Judgement{Fail, "true", "!= true", "", nil}},
		{"texts", apply(OpEqual, out("name"), data(`"\u0063hurn"`)), Judgement{Pass, `"churn"`, `== "\u0063hurn"`, "", nil}},
		{"none", apply(OpEqual, out("nil"), data("null")), Judgement{Pass, "null", "== null", "", nil}},
		{"something is not none", apply(OpEqual, out("keys"), data("null")), Judgement{Fail, "a list", "== null", "", nil}},
		{
			"truths in doubt", apply(OpEqual, apply(OpLess, rejected, num("0.02", NoUnit)), data("true")),
			Judgement{Inconclusive, "unknown", "== true", "", []string{gaps}},
		},
		{"not, in doubt", apply(OpNot, apply(OpAtMost, most, num("4", NoUnit))), Judgement{Inconclusive, "at most 5", "> 4", "", incomplete}},
		{"not less", apply(OpNot, apply(OpLess, latency, num("500", UnitSecond))), Judgement{Fail, "400 s", ">= 500 s", "", nil}},

		{
			"and: all decide", apply(OpAnd, apply(OpLeast, included, num("0.9", NoUnit)), apply(OpLess, latency, num("500", UnitSecond))),
			Judgement{Pass, "0.991; 400 s", ">= 0.9; < 500 s", "4000 transactions", nil},
		},
		{
			"and: the false one decides", apply(OpAnd, apply(OpLeast, included, num("0.9", NoUnit)), apply(OpLess, latency, num("300", UnitSecond))),
			Judgement{Fail, "400 s", "< 300 s", "", nil},
		},
		{
			"and: the false one decides over doubt", apply(OpAnd, apply(OpLeast, unknown, num("0.9", NoUnit)), apply(OpLess, latency, num("300", UnitSecond))),
			Judgement{Fail, "400 s", "< 300 s", "", nil},
		},
		{
			"and: doubt", apply(OpAnd, apply(OpLeast, included, num("0.9", NoUnit)), apply(OpLess, unknown, num("300", NoUnit))),
			Judgement{Inconclusive, "unknown", "< 300", "", []string{"no node was asked"}},
		},
		{
			"or: the true one decides over doubt", apply(OpOr, apply(OpLess, unknown, num("300", NoUnit)), apply(OpLeast, included, num("0.9", NoUnit))),
			Judgement{Pass, "0.991", ">= 0.9", "4000 transactions", nil},
		},
		{
			"or: all are false", apply(OpOr, apply(OpLess, included, num("0.9", NoUnit)), apply(OpLess, latency, num("300", UnitSecond))),
			Judgement{Fail, "0.991; 400 s", "< 0.9; < 300 s", "4000 transactions", nil},
		},
		{
			"or: doubt", apply(OpOr, apply(OpLess, included, num("0.9", NoUnit)), apply(OpLess, unknown, num("300", NoUnit))),
			Judgement{Inconclusive, "unknown", "< 300", "", []string{"no node was asked"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.f.Judge(facts())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestUnknownSlot: what asks for the slot is not decided where it is not known.
func TestUnknownSlot(t *testing.T) {
	f := facts()
	f.slot = nil
	got, err := apply(OpMore, call("now"), num("0", UnitSlot)).Judge(f)
	want := Judgement{Inconclusive, "unknown", "> 0 slots", "", []string{"the current slot is not known: the configuration needs genesisTimestamp and slotDurationMs"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

// TestSecretIsMasked: a value of env() is shown neither as what is expected nor as what is found equal to it.
func TestSecretIsMasked(t *testing.T) {
	secret := data(`"hunter2"`)
	secret.Value.Secret = true
	number := num("4711", NoUnit)
	number.Value.Secret = true
	f := facts()
	f.outputs["name"] = one(`"hunter2"`)
	f.outputs["pin"] = one("4711")
	for _, condition := range []*Formula{
		apply(OpEqual, out("name"), secret), apply(OpEqual, secret, out("name")), apply(OpEqual, out("pin"), apply(OpAdd, number, num("0", NoUnit))),
		apply(OpNot, apply(OpLess, call("max", out("pin"), number), num("1", NoUnit))),
	} {
		got, err := condition.Judge(f)
		if text := fmt.Sprintf("%+v", got); err != nil || got.Verdict != Pass || strings.Contains(text, "4711") || strings.Contains(text, "hunter2") {
			t.Errorf("%v %s", err, text)
		}
	}
	if _, err := apply(OpMinus, number).forParam(Param{Name: "limit", Kind: Int}).Argument(f); err == nil || strings.Contains(err.Error(), "4711") {
		t.Errorf("got %v", err)
	}
}

func TestJudgeErrors(t *testing.T) {
	big := num("1"+strings.Repeat("0", 399), NoUnit)
	tests := []struct {
		name, want string
		f          *Formula
	}{
		{"no condition", "a number stands where true or false is wanted", num("1", NoUnit)},
		{"a list", "a list stands where true or false is wanted", out("keys")},
		{"missing", "the output gone of step 2 does not exist (?? behind it gives a value for that)", apply(OpLess, out("gone"), num("1", NoUnit))},
		{"missing, and what stands for it too", "the output gone of step 2 does not exist (?? behind it gives a value for that)", apply(OpElse, out("gone"), out("gone"))},
		{"broken", "the output broken of step 2: it is no JSON", out("broken")},
		{"broken element", "the output brokenList of step 2: its element 1 is no JSON", call("count", out("brokenList"))},
		{"no output", "it is no JSON", data("")},
		{"huge", "a number of more than 400 digits comes up: no amount, rate or count needs as many", apply(OpLess, out("huge"), num("1", NoUnit))},
		{"multiplied until it is huge", "a number of more than 400 digits comes up: no amount, rate or count needs as many", apply(OpMul, big, big)},
		{"count of no list", "count: a text stands where a list is wanted", call("count", out("name"))},
		{"coverage of no list", "coverage: none stands where a list is wanted", call("coverage", out("nil"))},
		{"coverage of texts", `coverage: element 0 is not {"address": …, "slots": […]}, as slots-won gives it out`, call("coverage", out("keys"))},
		{"coverage without slots", `coverage: element 0 is not {"address": …, "slots": […]}, as slots-won gives it out`, call("coverage", out("noSlots"))},
		{"coverage of odd slots", `coverage: element 0 is not {"address": …, "slots": […]}, as slots-won gives it out`, call("coverage", out("odd"))},
		{"coverage of a far slot", "coverage: element 0: 2147483648 is no slot (0 to 1073741824)", call("coverage", out("far"))},
		{"a window backwards", "coverage from slot 5 to slot 4: the window ends before it begins", call("coverage", out("won"), num("5", UnitSlot), num("4", UnitSlot))},
		{"a window of half slots", "coverage: the end of a window is 0.5 slots, which is no slot (0 to 1073741824)", call("coverage", out("won"), apply(OpDiv, num("1", UnitSlot), num("2", NoUnit)), num("4", UnitSlot))},
		{"a window of money", "coverage: the end of a window: an amount and slots do not go together", call("coverage", out("won"), num("5", UnitNanomina), num("4", UnitSlot))},
		{"a window of text", "coverage: the end of a window: a text stands where a number is wanted", call("coverage", out("won"), num("5", UnitSlot), out("name"))},
		{"time and money", "an amount and a time do not go together", apply(OpLess, metric("tx.latency.p95", UnitSecond), num("1", UnitNanomina))},
		{"a rate and slots", "a rate and a time do not go together", apply(OpAdd, num("1", UnitTPS), num("1", UnitSlot))},
		{"times times times", "a time times a rate has no unit", apply(OpMul, num("1", UnitSecond), num("1", UnitTPS))},
		{"divided by time", "a number without unit divided by a time has no unit", apply(OpDiv, num("1", NoUnit), num("1", UnitSecond))},
		{"order of texts", "a text and a text have no order: only numbers have", apply(OpLess, out("name"), out("name"))},
		{"text and number", "a text and a number cannot be compared: only numbers, texts, and true and false can", apply(OpEqual, out("name"), num("1", NoUnit))},
		{"not of a number", "a number stands where true or false is wanted", apply(OpNot, out("share"))},
		{"and of a text", "a text stands where true or false is wanted", apply(OpAnd, out("up"), out("name"))},
		{"or of an object", "an object stands where true or false is wanted", apply(OpOr, out("object"), out("up"))},
		{"minus of a flag", "true or false stands where a number is wanted", apply(OpMinus, out("up"))},
		{"sum of texts", "a text stands where a number is wanted", apply(OpAdd, num("1", NoUnit), out("name"))},
		{"min of a text", "min: a text stands where a number is wanted", call("min", out("name"))},
		{"max of a text", "max: a text stands where a number is wanted", call("max", num("1", NoUnit), out("name"))},
		{"a range", "a range stands where one number is wanted", &Formula{Op: opConstant, Value: Constant{Number: rat("1"), Upper: rat("2")}}},
		{"no such function", "there is no function sum of 1 arguments", call("sum", out("keys"))},
		{"no such expression", `an expression of the kind ".." cannot be worked out`, apply(OpRange, num("1", NoUnit), num("2", NoUnit))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.f.Judge(facts())
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %+v, error %v\nwant %s", got, err, tt.want)
			}
		})
	}
	var missing *MissingOutputError
	if _, err := apply(OpLess, out("gone"), num("1", NoUnit)).Judge(facts()); !errors.As(err, &missing) || missing.Ref.Name != "gone" {
		t.Errorf("got %v", err)
	}
	f := facts()
	f.lasts = 0
	_, err := apply(OpLess, metric("tx.latency.p95", UnitSecond), num("3", UnitSlot)).Judge(f)
	if err == nil || !strings.Contains(err.Error(), "slotDurationMs is missing from the configuration") {
		t.Errorf("got %v", err)
	}
}

func TestArgument(t *testing.T) {
	minutes, seconds := Param{Name: "durationMin", Script: "duration", Kind: Int, Unit: "minutes"}, Param{Name: "sec", Kind: Int, Unit: "seconds"}
	slot, plainInt := Param{Name: "slot", Kind: Int, Unit: "slot"}, Param{Name: "limit", Kind: Int}
	money, rate, ratio := Param{Name: "amount", Kind: Nanomina}, Param{Name: "tps", Kind: Rate}, Param{Name: "minPlaced", Kind: Ratio}
	flag, anything := Param{Name: "clean", Kind: Flag}, Param{Name: "of", Kind: Any}
	even := Param{Name: "even", Kind: Int, Valid: func(v Value) string {
		if v.Text != "2" {
			return "is not 2"
		}
		return ""
	}}
	tests := []struct {
		name string
		f    *Formula
		want Held
		err  string
	}{
		{"slots", apply(OpAdd, call("now"), num("5", UnitSlot)).forParam(slot), one("20505"), ""},
		{"an output takes the unit", apply(OpAdd, out("last"), num("5", UnitSlot)).forParam(slot), one("20505"), ""},
		{"time where slots are wanted", apply(OpAdd, call("now"), num("360", UnitSecond)).forParam(slot), one("20502"), ""},
		{"half a slot", apply(OpAdd, call("now"), num("90", UnitSecond)).forParam(slot), Held{}, `parameter "slot": it must be a whole number of slots, and it would be 3690090 s`},
		{"minutes", apply(OpMul, num("60", UnitSecond), call("count", out("keys"))).forParam(minutes), one("3"), ""},
		{"slots where minutes are wanted", apply(OpMul, num("1", UnitSlot), call("count", out("keys"))).forParam(minutes), one("9"), ""},
		{"no whole minutes", apply(OpMul, num("30", UnitSecond), call("count", out("keys"))).forParam(minutes), Held{}, `parameter "duration": it must be a whole number of minutes, and it would be 90 s`},
		{"seconds", apply(OpMul, num("30", UnitSecond), call("count", out("keys"))).forParam(seconds), one("90"), ""},
		{"no unit is that of JSON", call("count", out("keys")).forParam(minutes), one("3"), ""},
		{"a number", apply(OpSub, call("count", out("keys")), num("1", NoUnit)).forParam(plainInt), one("2"), ""},
		{"negative", apply(OpSub, call("count", out("keys")), num("4", NoUnit)).forParam(plainInt), Held{}, `parameter "limit": it cannot be negative, and it would be -1`},
		{"not whole", apply(OpDiv, call("count", out("keys")), num("2", NoUnit)).forParam(plainInt), Held{}, `parameter "limit": it must be a whole number, and it would be 1.500`},
		{"too great", apply(OpMul, call("count", out("keys")), num("1e9", NoUnit)).forParam(plainInt), Held{}, `parameter "limit": it is out of range: from -2147483648 to 2147483647: it would be 3000000000`},
		{"time for a number", call("now").forParam(plainInt), Held{}, `parameter "limit": it wants a number without unit, and 20500 slots is none`},
		{"what the parameter refuses", call("count", out("keys")).forParam(even), Held{}, `parameter "even": is not 2`},
		{"what the parameter takes", call("count", out("group")).forParam(even), one("2"), ""},
		{"money", apply(OpMul, num("1500000000", UnitNanomina), call("count", out("keys"))).forParam(money), one("4500000000"), ""},
		{"money of an output", apply(OpMul, out("amount"), num("2", NoUnit)).forParam(money), one("3000000000"), ""},
		{"half a nanomina", apply(OpMul, num("1", UnitNanomina), num("0.5", NoUnit)).forParam(money), Held{}, `parameter "amount": it must be a whole number, and it would be 0.000000001 mina`},
		{"more money than there is", apply(OpMul, num("18446744073709551615", UnitNanomina), call("count", out("keys"))).forParam(money), Held{}, `parameter "amount": it is out of range: at most 18446744073709551615: it would be 55340232221.128654845 mina`},
		{"the most money", apply(OpMul, num("18446744073709551615", UnitNanomina), num("1", NoUnit)).forParam(money), one("18446744073709551615"), ""},
		{"slots for money", call("now").forParam(money), Held{}, `parameter "amount": it wants an amount, and 20500 slots is none`},
		{"rate", apply(OpDiv, num("0.8", UnitTPS), call("count", out("keys"))).forParam(rate), one("0.266666666"), ""},
		{"rate, exact", apply(OpDiv, num("0.8", UnitTPS), call("count", out("group"))).forParam(rate), one("0.4"), ""},
		{"share", apply(OpDiv, num("2", NoUnit), call("count", out("keys"))).forParam(ratio), one("0.666666666"), ""},
		{"share by output", out("share").forParam(ratio), one("0.25"), ""},
		{"anything", apply(OpMul, out("share"), out("share")).forParam(anything), one("0.0625"), ""},
		{"anything without an end", apply(OpDiv, out("share"), num("3", NoUnit)).forParam(anything), Held{}, `parameter "of": it has no end as a decimal, it begins with 0.083`},
		{"flag", apply(OpMore, call("count", out("keys")), num("2", NoUnit)).forParam(flag), one("true"), ""},
		{"flag in doubt", apply(OpMore, call("count", out("some")), num("2", NoUnit)).forParam(flag), Held{}, `parameter "clean": it is not known whether it is true: 2 of 24 nodes did not answer; at most 4 with one of each`},
		{"no flag", apply(OpNot, out("up")).forParam(flag), one("false"), ""},
		{"in doubt", call("count", out("some")).forParam(plainInt), Held{}, `parameter "limit": it is not known exactly, it is 2 to 4: 2 of 24 nodes did not answer; at most 4 with one of each`},
		{"a list", apply(OpElse, out("keys"), data("[]")).forParam(Param{Name: "nodes", Kind: Address, List: true}), list(`"a"`, `"b"`, `"c"`), ""},
		{"in place of a list", apply(OpElse, out("gone"), out("group")), list(`"x"`, `"y"`), ""},
		{"in place of a number", apply(OpElse, out("gone"), apply(OpAdd, call("now"), num("1", UnitSlot))).forParam(slot), one("20501"), ""},
		{"missing", out("gone").forParam(plainInt), Held{}, `parameter "limit": the output gone of step 2 does not exist (?? behind it gives a value for that)`},
		{"plain JSON", apply(OpMul, out("last"), num("2", NoUnit)), one("41000"), ""},
		{"no decimals", apply(OpMul, out("last"), num("10", NoUnit)), one("205000"), ""},
		{"text", apply(OpElse, out("gone"), data(`"x"`)), one(`"x"`), ""},
		{"wrong kinds", apply(OpAdd, out("name"), num("1", NoUnit)), Held{}, "a text stands where a number is wanted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.f.Argument(facts())
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Fatalf("got %s, error %v\nwant %s", got.One, err, tt.err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got)\n%s", err, diff)
			}
		})
	}
	var missing *MissingOutputError
	if _, err := out("gone").forParam(slot).Argument(facts()); !errors.As(err, &missing) {
		t.Errorf("got %v", err)
	}
	f := facts()
	f.lasts = 0
	if _, err := apply(OpMul, num("1", UnitSlot), num("2", NoUnit)).forParam(minutes).Argument(f); err == nil || !strings.Contains(err.Error(), "slotDurationMs is missing from the configuration") {
		t.Errorf("got %v", err)
	}
	earlier := &MissingOutputError{Ref: &Ref{File: "start.out", StepID: "pay", Name: "receipt"}}
	if want := "the output receipt of step pay in start.out does not exist (?? behind it gives a value for that)"; earlier.Error() != want {
		t.Errorf("got %v", earlier)
	}
}
