package dsl_test

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/dsl"
)

// planter grows random trees, as they come out of a text: nothing that has to be written as something else.
type planter struct{ t *rapid.T }

func (p planter) pick(texts ...string) string { return rapid.SampledFrom(texts).Draw(p.t, "pick") }
func (p planter) maybe(what string) bool      { return rapid.Bool().Draw(p.t, what) }

func (p planter) text() string {
	return rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z${}"\\ #é]{0,12}`), rapid.Just(strings.Repeat("long ", 15))).Draw(p.t, "text")
}

// name is one that is no word of the language.
func (p planter) name() dsl.Name {
	return dsl.Name{Text: rapid.StringMatching(`[ab_][a-z0-9_]{0,5}(-[a-z0-9_]{1,4}){0,2}`).Filter(func(s string) bool { return s != "as" && s != "and" && s != "after" }).Draw(p.t, "name")}
}

// word is a name or a keyword.
func (p planter) word() dsl.Name {
	if p.maybe("keyword") {
		return dsl.Name{Text: p.pick("limit", "failure", "from", "s", "within", "none", "not")}
	}
	return p.name()
}

func (p planter) number() *dsl.Expr {
	e := &dsl.Expr{Op: dsl.OpNumber, Text: rapid.StringMatching(`(0|[1-9](_?[0-9]){0,6})(\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?`).Draw(p.t, "number")}
	e.Unit = rapid.SampledFrom([]dsl.Unit{"", "", dsl.UnitSecond, dsl.UnitMinute, dsl.UnitHour, dsl.UnitSlot, dsl.UnitTPS, dsl.UnitPerSec, dsl.UnitPerMin,
		dsl.UnitPerHour, dsl.UnitMina, dsl.UnitNanomina, dsl.UnitPercent}).Draw(p.t, "unit")
	return e
}

func (p planter) string(plain bool) *dsl.Expr {
	e := &dsl.Expr{Op: dsl.OpString}
	if plain || p.maybe("plain") {
		e.Text = p.text()
		return e
	}
	for range rapid.IntRange(1, 3).Draw(p.t, "names") {
		if text := p.text(); text != "" {
			e.Parts = append(e.Parts, dsl.Part{Text: text})
		}
		name := p.name()
		e.Parts = append(e.Parts, dsl.Part{Name: &name})
	}
	return e
}

func (p planter) arguments(levels int, key func() *dsl.Name) []dsl.Argument {
	var all []dsl.Argument
	for range rapid.IntRange(0, 4).Draw(p.t, "arguments") {
		all = append(all, dsl.Argument{Name: key(), Value: p.expression(levels - 1)})
	}
	return all
}

func (p planter) parameter() *dsl.Name {
	if p.maybe("without a name") {
		return nil
	}
	name := p.word()
	return &name
}

func (p planter) key() *dsl.Name {
	name := p.word()
	if p.maybe("any key") {
		name.Text = p.text()
	}
	return &name
}

func (p planter) expression(levels int) *dsl.Expr {
	most := 21
	if levels <= 0 {
		most = 6
	}
	switch rapid.IntRange(0, most).Draw(p.t, "expression") {
	case 0, 1, 2:
		return p.number()
	case 3:
		return p.string(false)
	case 4, 5:
		return &dsl.Expr{Op: dsl.OpName, Text: p.name().Text}
	case 6:
		return &dsl.Expr{Op: rapid.SampledFrom([]dsl.Op{dsl.OpNone, dsl.OpTrue, dsl.OpFalse}).Draw(p.t, "word")}
	case 7, 8:
		return &dsl.Expr{Op: dsl.OpMember, X: p.expression(levels - 1), Text: p.word().Text}
	case 9, 10:
		return &dsl.Expr{Op: dsl.OpCall, Text: p.name().Text, Arguments: p.arguments(levels, p.parameter)}
	case 11:
		e := &dsl.Expr{Op: dsl.OpList}
		for range rapid.IntRange(0, 6).Draw(p.t, "items") {
			e.Items = append(e.Items, p.expression(levels-1))
		}
		return e
	case 12:
		return &dsl.Expr{Op: dsl.OpObject, Arguments: p.arguments(levels, p.key)}
	case 13:
		x, y := p.number(), p.number()
		x.Unit, y.Unit = "", ""
		return &dsl.Expr{Op: dsl.OpRange, X: x, Y: y, Unit: p.number().Unit}
	case 14:
		return &dsl.Expr{Op: rapid.SampledFrom([]dsl.Op{dsl.OpMinus, dsl.OpNot}).Draw(p.t, "sign"), X: p.expression(levels - 1)}
	case 15:
		metric := &dsl.Expr{Op: dsl.OpMember, X: p.expression(levels - 1), Text: p.word().Text}
		return &dsl.Expr{Op: dsl.OpScope, X: metric, Arguments: p.arguments(levels, p.parameter)}
	default:
		op := rapid.SampledFrom([]dsl.Op{dsl.OpRange, dsl.OpElse, dsl.OpAdd, dsl.OpSub, dsl.OpMul, dsl.OpDiv, dsl.OpLess, dsl.OpAtMost, dsl.OpMore, dsl.OpLeast,
			dsl.OpEqual, dsl.OpOther, dsl.OpAnd, dsl.OpOr}).Draw(p.t, "operator")
		return &dsl.Expr{Op: op, X: p.expression(levels - 1), Y: p.expression(levels - 1)}
	}
}

func (p planter) block(levels int) *dsl.Block {
	return &dsl.Block{Statements: p.statements(levels - 1)}
}

// amount stands before a block.
func (p planter) amount() *dsl.Expr {
	if p.maybe("number") {
		return p.number()
	}
	return &dsl.Expr{Op: dsl.OpAdd, X: p.number(), Y: p.expression(1)}
}

func (p planter) optional() *dsl.Expr {
	if p.maybe("none") {
		return nil
	}
	return p.expression(1)
}

func (p planter) statements(levels int) []dsl.Statement {
	var all []dsl.Statement
	for range rapid.IntRange(0, 4).Draw(p.t, "statements") {
		all = append(all, p.statement(levels))
	}
	return all
}

func (p planter) statement(levels int) dsl.Statement {
	most := 17
	if levels <= 0 {
		most = 10
	}
	switch rapid.IntRange(0, most).Draw(p.t, "statement") {
	case 0:
		return &dsl.Experiment{Name: p.string(false)}
	case 1:
		seed := p.number()
		return &dsl.Seed{Value: seed}
	case 2:
		limits := &dsl.Limits{}
		for range rapid.IntRange(1, 3).Draw(p.t, "bounds") {
			value := p.expression(2)
			for value.Op == dsl.OpMinus || value.Op == dsl.OpNot { // a sign before a comparison would hold for all of it
				value = value.X
			}
			limits.Bounds = append(limits.Bounds, dsl.Bound{Of: p.name(), Op: p.pick("<=", "<", "=="), Value: value})
		}
		return limits
	case 3:
		return &dsl.Binding{Param: p.maybe("param"), Name: p.name(), Value: p.expression(3)}
	case 4:
		return &dsl.Use{File: p.string(false), As: p.name()}
	case 5, 6:
		return &dsl.Claim{Watch: p.maybe("watch"), Condition: p.expression(3), Within: p.optional(), After: p.optional()}
	case 11:
		return &dsl.Parallel{Body: p.block(levels)}
	case 12:
		repeat := &dsl.Repeat{Count: p.amount(), Body: p.block(levels)}
		if p.maybe("counter") {
			name := p.name()
			repeat.As = &name
		}
		return repeat
	case 13:
		return &dsl.Deadline{Within: p.amount(), Body: p.block(levels)}
	case 14:
		return &dsl.Closing{Finally: p.maybe("finally"), Body: p.block(levels)}
	case 15:
		return p.block(levels)
	case 16:
		return &dsl.Search{Name: p.name(), From: p.expression(1), To: p.expression(1), Until: p.amount(), Body: p.block(levels)}
	case 17:
		call := &dsl.Call{Action: dsl.Name{Text: "snark-pool"}, Arguments: p.arguments(3, p.parameter), Body: p.block(levels)}
		if p.maybe("retry") {
			call.Retry = &dsl.Retrying{Attempts: p.expression(1), Every: p.number()}
		}
		return call
	default:
		call := &dsl.Call{Action: p.name(), Arguments: p.arguments(3, p.parameter), Within: p.optional(), After: p.optional()}
		if p.maybe("named") {
			name := p.name()
			call.Name = &name
		}
		if p.maybe("retry") {
			call.Retry = &dsl.Retrying{Attempts: p.expression(1), Every: p.expression(1)}
		}
		return call
	}
}

func TestAFormattedTreeIsTheSameTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := &dsl.Tree{Statements: planter{t}.statements(3)}
		text := tree.Format()
		read, found := dsl.Parse("text", text)
		if found != nil {
			t.Fatalf("%v in\n%s", found, text)
		}
		if diff := cmp.Diff(tree, read, withoutPlaces()); diff != "" {
			t.Fatalf("(-before +after)\n%s\n%s", diff, text)
		}
		if diff := cmp.Diff(string(text), string(read.Format())); diff != "" {
			t.Fatalf("formatting once more changes (-once +twice)\n%s", diff)
		}
	})
}

func TestFormatKeepsComments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := &dsl.Tree{Statements: planter{t}.statements(2)}
		text, comments := commented(t, tree.Format())
		read, found := dsl.Parse("text", text)
		if found != nil {
			t.Fatalf("%v in\n%s", found, text)
		}
		once := read.Format()
		again, found := dsl.Parse("text", once)
		if found != nil {
			t.Fatalf("%v in\n%s", found, once)
		}
		if diff := cmp.Diff(tree, again, withoutPlaces()); diff != "" {
			t.Fatalf("(-before +after)\n%s\n%s\nis formatted as\n%s", diff, text, once)
		}
		var kept []string
		for _, remark := range again.Remarks {
			kept = append(kept, remark.Text)
		}
		sort.Strings(kept)
		if diff := cmp.Diff(comments, kept); diff != "" {
			t.Fatalf("comments (-before +after)\n%s\n%s\nis formatted as\n%s", diff, text, once)
		}
		if twice := again.Format(); !bytes.Equal(once, twice) {
			t.Fatalf("formatting once more changes (-once +twice)\n%s\n%s", cmp.Diff(string(once), string(twice)), text)
		}
	})
}

// commented puts comments, and blank lines, where white space stands in a formatted text, and returns the comments in order of their text.
// None stands where a line's end has a meaning: before a unit or the word within.
func commented(t *rapid.T, text []byte) ([]byte, []string) {
	var out bytes.Buffer
	var comments []string
	quoted, escaped := false, false
	for i, c := range text {
		if c == '"' && !escaped {
			quoted = !quoted
		}
		escaped = c == '\\' && !escaped
		rest := string(text[i+1:])
		unit := false
		for _, u := range []string{"tps", "mina", "nanomina", "slot", "within ", "{"} {
			unit = unit || c == ' ' && strings.HasPrefix(rest, u)
		}
		gap := !quoted && !unit && (c == ' ' || c == '\n') && rapid.IntRange(0, 5).Draw(t, "comment") == 0
		if gap {
			comment := fmt.Sprintf("# %03d", len(comments))
			comments = append(comments, comment)
			fmt.Fprintf(&out, "%s%s%s", rapid.SampledFrom([]string{"", " ", "\n", "\n\n"}).Draw(t, "before"), comment, rapid.SampledFrom([]string{"\n", " \n\n\n", "\r\n"}).Draw(t, "after"))
		}
		out.WriteByte(c)
	}
	return out.Bytes(), comments
}
