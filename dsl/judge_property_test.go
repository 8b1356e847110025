package dsl

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is what is true (exact), and what is known of it (vague): bounds around the metrics, and nodes that did not answer.
type world struct{ exact, vague somewhere }

func drawWorld(t *rapid.T) world {
	w := world{
		exact: somewhere{outputs: map[string]Held{}, metrics: map[string]Measured{}, slot: new(int64(12)), lasts: 180 * time.Second},
		vague: somewhere{outputs: map[string]Held{}, metrics: map[string]Measured{}, lasts: 180 * time.Second},
	}
	if rapid.Bool().Draw(t, "slot known") {
		w.vague.slot = w.exact.slot
	}
	small := rapid.Int64Range(0, 4)
	for i := range 3 {
		name := fmt.Sprint("m", i)
		true4 := rapid.Int64Range(-8, 12).Draw(t, name) // in quarters
		bound := func(distance int64) *big.Rat {
			if rapid.IntRange(0, 5).Draw(t, "bound") == 0 {
				return nil
			}
			return big.NewRat(true4+distance, 4)
		}
		w.exact.metrics[name] = Measured{Low: big.NewRat(true4, 4), High: big.NewRat(true4, 4)}
		w.vague.metrics[name] = Measured{Low: bound(-small.Draw(t, "below")), High: bound(small.Draw(t, "above"))}
	}
	for i := range 2 {
		name := fmt.Sprint("won", i)
		exact := Held{List: []json.RawMessage{}, Asked: rapid.IntRange(1, 5).Draw(t, "nodes")}
		vague := Held{List: []json.RawMessage{}, Asked: exact.Asked}
		first, last := int64(0), int64(15) // of the slots that are known: what silent nodes won outside of it is not looked at
		answering := rapid.IntRange(0, exact.Asked).Draw(t, "answering")
		for n := range exact.Asked {
			if n == answering {
				if known := wonSlots(vague); len(known) > 0 {
					first, last = slices.Min(known), slices.Max(known)
				}
			}
			answer := json.RawMessage(won(fmt.Sprint("n", n), rapid.SliceOfN(rapid.Int64Range(first, last), 0, 6).Draw(t, "slots")...))
			produces := rapid.IntRange(0, 3).Draw(t, "produces") > 0
			if produces {
				exact.List = append(exact.List, answer)
			}
			switch {
			case n >= answering:
				vague.Silent++
			case produces:
				vague.List = append(vague.List, answer)
			}
		}
		w.exact.outputs[name], w.vague.outputs[name] = exact, vague
	}
	return w
}

// wonSlots are the slots in an output of slots-won.
func wonSlots(held Held) []int64 {
	var slots []int64
	for _, element := range held.List {
		var node struct{ Slots []int64 }
		if err := json.Unmarshal(element, &node); err != nil {
			panic(err)
		}
		slots = append(slots, node.Slots...)
	}
	return slots
}

func drawNumber(t *rapid.T, depth int) *Formula {
	kinds := 4
	if depth > 0 {
		kinds = 10
	}
	list := func() *Formula { return out(rapid.SampledFrom([]string{"won0", "won1"}).Draw(t, "output")) }
	deeper := func() *Formula { return drawNumber(t, depth-1) }
	switch rapid.IntRange(0, kinds).Draw(t, "number") {
	case 0:
		return num(fmt.Sprint(rapid.Int64Range(-4, 8).Draw(t, "numerator"), "/", rapid.SampledFrom([]int{1, 2, 3}).Draw(t, "denominator")), NoUnit)
	case 1:
		return metric(rapid.SampledFrom([]string{"m0", "m1", "m2"}).Draw(t, "metric"), NoUnit)
	case 2:
		return call("count", list())
	case 3:
		if rapid.Bool().Draw(t, "window") {
			from := rapid.Int64Range(0, 15).Draw(t, "from")
			return call("coverage", list(), num(fmt.Sprint(from), UnitSlot), num(fmt.Sprint(from+rapid.Int64Range(0, 9).Draw(t, "length")), UnitSlot))
		}
		return call("coverage", list())
	case 4:
		return apply(OpDiv, call("now"), num("60", UnitSecond))
	case 5:
		return apply(OpMinus, deeper())
	case 6:
		return call(rapid.SampledFrom([]string{"min", "max"}).Draw(t, "extreme"), deeper(), deeper(), deeper())
	default:
		return apply(rapid.SampledFrom([]Op{OpAdd, OpSub, OpMul, OpDiv}).Draw(t, "arithmetic"), deeper(), deeper())
	}
}

func drawCondition(t *rapid.T, depth int) *Formula {
	if depth == 0 || rapid.Bool().Draw(t, "comparison") {
		return apply(rapid.SampledFrom([]Op{OpLess, OpAtMost, OpMore, OpLeast, OpEqual, OpOther}).Draw(t, "compare"), drawNumber(t, 2), drawNumber(t, 2))
	}
	switch op := rapid.SampledFrom([]Op{OpNot, OpAnd, OpOr, OpEqual}).Draw(t, "logic"); op {
	case OpNot:
		return apply(op, drawCondition(t, depth-1))
	default:
		return apply(op, drawCondition(t, depth-1), drawCondition(t, depth-1))
	}
}

// errUndefined says that a value does not exist: a quotient by 0, the coverage of nothing.
var errUndefined = errors.New("undefined")

// number works out a formula as one does on paper, where all is exact.
func (s somewhere) number(f *Formula) (*big.Rat, error) {
	args := make([]*big.Rat, len(f.Args))
	for i, arg := range f.Args {
		if arg.Op == OpName {
			continue
		}
		var err error
		if args[i], err = s.number(arg); err != nil {
			return nil, err
		}
	}
	switch f.Op {
	case opConstant:
		return f.Value.Number, nil
	case OpMember:
		return s.metrics[f.Text].Low, nil
	case OpMinus:
		return new(big.Rat).Neg(args[0]), nil
	case OpAdd:
		return new(big.Rat).Add(args[0], args[1]), nil
	case OpSub:
		return new(big.Rat).Sub(args[0], args[1]), nil
	case OpMul:
		return new(big.Rat).Mul(args[0], args[1]), nil
	case OpDiv:
		if args[1].Sign() == 0 {
			return nil, errUndefined
		}
		if f.Args[0].Text == "now" { // slots by seconds
			args[0] = new(big.Rat).Mul(args[0], big.NewRat(int64(s.lasts/time.Second), 1))
		}
		return new(big.Rat).Quo(args[0], args[1]), nil
	default: // a function
	}
	compare := func(a, b *big.Rat) int { return a.Cmp(b) }
	switch f.Text {
	case "now":
		return big.NewRat(*s.slot, 1), nil
	case "min":
		return slices.MinFunc(args, compare), nil
	case "max":
		return slices.MaxFunc(args, compare), nil
	case "count":
		return big.NewRat(int64(len(s.outputs[f.Args[0].Ref.Name].List)), 1), nil
	}
	slots := map[int64]bool{}
	for _, slot := range wonSlots(s.outputs[f.Args[0].Ref.Name]) {
		slots[slot] = true
	}
	first, last := int64(1<<40), int64(-1)
	for slot := range slots {
		first, last = min(first, slot), max(last, slot)
	}
	if len(f.Args) == 3 {
		first, last = args[1].Num().Int64(), args[2].Num().Int64()
	}
	if last < first {
		return nil, errUndefined
	}
	n := int64(0)
	for slot := first; slot <= last; slot++ {
		if slots[slot] {
			n++
		}
	}
	return big.NewRat(n, last-first+1), nil
}

func (s somewhere) holds(f *Formula) (bool, error) {
	switch f.Op {
	case OpNot:
		x, err := s.holds(f.Args[0])
		return !x, err
	case OpAnd, OpOr:
		x, errX := s.holds(f.Args[0])
		y, errY := s.holds(f.Args[1])
		return (f.Op == OpAnd && x && y) || (f.Op == OpOr && (x || y)), errors.Join(errX, errY)
	case OpEqual:
		if f.Args[0].isCondition() {
			x, errX := s.holds(f.Args[0])
			y, errY := s.holds(f.Args[1])
			return x == y, errors.Join(errX, errY)
		}
	default: // it compares numbers
	}
	x, errX := s.number(f.Args[0])
	y, errY := s.number(f.Args[1])
	if err := errors.Join(errX, errY); err != nil {
		return false, err
	}
	order := x.Cmp(y)
	return map[Op]bool{OpLess: order < 0, OpAtMost: order <= 0, OpMore: order > 0, OpLeast: order >= 0, OpEqual: order == 0, OpOther: order != 0}[f.Op], nil
}

func (f *Formula) isCondition() bool {
	return slices.Contains([]Op{OpNot, OpAnd, OpOr, OpLess, OpAtMost, OpMore, OpLeast, OpEqual, OpOther}, f.Op)
}

// TestJudgeIsSound: what is judged pass or fail with bounds and silent nodes is so once everything is known, and then nothing stays open but
// what has no value at all. (With coverage this is so of the range of slots that was known, which its definition says.)
func TestJudgeIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		f := drawCondition(t, 3)
		vague, err := f.Judge(w.vague)
		if err != nil {
			t.Fatal(err)
		}
		exact, err := f.Judge(w.exact)
		if err != nil {
			t.Fatal(err)
		}
		if vague.Verdict != Inconclusive && vague.Verdict != exact.Verdict {
			t.Fatalf("%+v although all is known: %+v", vague, exact)
		}
		if vague.Verdict == Inconclusive && len(vague.Evidence) == 0 {
			t.Fatalf("it does not say why: %+v", vague)
		}
		holds, err := w.exact.holds(f)
		if err != nil {
			return // some value does not exist; that it decides nothing is compared above
		}
		if exact.Verdict != verdict(holds) {
			t.Fatalf("%+v and it is %v", exact, holds)
		}
	})
}

// TestArgumentIsExact: an argument is the exact value, or an error when it is not known exactly.
func TestArgumentIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		f := drawNumber(t, 3)
		want, undefined := w.exact.number(f)
		got, err := f.Argument(w.exact)
		if err == nil {
			if undefined != nil || rat(string(got.One)).Cmp(want) != 0 {
				t.Fatalf("got %s, want %s (%v)", got.One, want, undefined)
			}
		} else if _, finite := func() (int, bool) {
			if undefined != nil {
				return 0, false
			}
			return want.FloatPrec()
		}(); finite {
			t.Fatalf("want %s: %v", want, err)
		}
		if vague, err := f.Argument(w.vague); err == nil && undefined == nil && rat(string(vague.One)).Cmp(want) != 0 {
			t.Fatalf("got %s of what is known, want %s", vague.One, want)
		}
	})
}

// FuzzOutput: an output of whatever bytes gives a verdict or an error, and a verdict only where it is JSON.
func FuzzOutput(f *testing.F) {
	for _, text := range []string{
		"", "null", "12", "-0.5e3", "1e400", "1e999999", `"x"`, `"\ud800"`, "true", "[]", `[{"address":"a","slots":[1,2,5]}]`, `[{"address":"a","slots":[1.5]}]`,
		`[{"address":"a","slots":null}]`, `{"address":"a","slots":[9999999999999]}`, "[1,", "\xff", " 7 ", "0\f", "[[[[[]]]]]",
	} {
		f.Add([]byte(text), 1)
	}
	f.Fuzz(func(t *testing.T, text []byte, silent int) {
		silent = int(uint8(silent))
		facts := somewhere{lasts: time.Minute, outputs: map[string]Held{
			"one": {One: text, Silent: silent}, "list": {List: []json.RawMessage{text, text}, Silent: silent},
		}}
		for _, condition := range []*Formula{
			out("one"), apply(OpLess, out("one"), num("3", UnitSlot)), apply(OpEqual, out("one"), data(`"x"`)), apply(OpEqual, out("one"), out("list")),
			apply(OpLess, call("count", out("one")), num("3", NoUnit)), apply(OpLess, call("count", out("list")), num("3", NoUnit)),
			apply(OpLess, call("coverage", out("one")), num("0.5", NoUnit)), apply(OpLess, call("coverage", out("list")), num("0.5", NoUnit)),
			apply(OpLess, call("coverage", out("list"), num("1", UnitSlot), out("one")), num("0.5", NoUnit)),
			apply(OpMore, apply(OpDiv, num("1", NoUnit), out("one")), apply(OpMul, out("one"), out("one"))),
		} {
			judged, err := condition.Judge(facts)
			if err == nil && !json.Valid(text) {
				t.Fatalf("%q gives %+v", text, judged)
			}
			if err == nil && !slices.Contains([]Verdict{Pass, Fail, Inconclusive}, judged.Verdict) {
				t.Fatalf("%q gives %+v", text, judged)
			}
		}
		held, err := apply(OpMinus, out("one")).forParam(Param{Name: "tps", Kind: Rate}).Argument(facts)
		if err == nil && !json.Valid(held.One) {
			t.Fatalf("%q gives %q", text, held.One)
		}
	})
}

// BenchmarkJudge judges the coverage of a network of 100 producers over an epoch: a watch does so once a slot.
func BenchmarkJudge(b *testing.B) {
	held := Held{List: []json.RawMessage{}}
	for node := range int64(100) {
		var slots []int64
		for slot := node; slot < 7140; slot += 100 {
			slots = append(slots, slot)
		}
		held.List = append(held.List, json.RawMessage(won("10.0.0.1:3085", slots...)))
	}
	facts := somewhere{outputs: map[string]Held{"won": held}}
	condition := apply(OpLeast, call("coverage", out("won")), num("0.9", NoUnit))
	b.ReportAllocs()
	for b.Loop() {
		if judged, err := condition.Judge(facts); err != nil || judged.Verdict != Pass {
			b.Fatal(judged, err)
		}
	}
}
