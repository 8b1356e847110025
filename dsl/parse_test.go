package dsl_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"provingground/dsl"
)

// withoutPlaces compares trees by what they say, not by where it stands.
func withoutPlaces() cmp.Option {
	return cmp.Options{cmpopts.IgnoreTypes(dsl.Span{}, []dsl.Remark{}), cmpopts.IgnoreFields(dsl.Tree{}, "Source"), cmpopts.EquateEmpty()}
}

// slips are texts with something wrong, by what that is.
var slips = []struct{ name, text string }{
	{"several statements", "let a =\nseed x\nparam rate 0.8 tps\nf(a b)\nlet ok = 1\n"},
	{"knock-on in a block", "parallel {\n  a = f(x: 1\n  b = g(y: 2)\n  c = h(z 3)\n}\nlet d = e f\n"},

	{"comma missing", "pay = payments(tps: 1 tps\n               nodes: senders)\n"},
	{"comma missing in a list", "let a = [1 2]\n"},
	{"comma missing in an object", "let a = {b: 1 c: 2}\n"},
	{"comma too much", "f(,)\n"},
	{"equals sign in arguments", "wait(slot = 5)\n"},
	{"comparison in an argument", "wait(slot: a = 5)\nwait(slot: a = (5))\nwait(slot: 5 \"s\")\nwait(slot\n  5)\nwait(slot five)\nf(a: b 3)\n"},
	{"colon for a step", "a: wait(5m)\n"},
	{"colon for a let", "let a: 5\n"},
	{"quoted argument name", "f(\"a\": 1)\n"},
	{"key without quotes or name", "let a = {1: 2}\n"},
	{"key without a value", "let a = {b}\n"},
	{"key with a name in it", "let a = {\"${b}\": 1}\n"},
	{"single quotes", "experiment 'churn'\n"},
	{"backquotes", "experiment `churn`\n"},
	{"curly quotes", "experiment “churn”\nuse ‘a.out’ as b\n"},
	{"quotes of two kinds", "f(\"./keys”, b: 1)\nlet c = 1\n"},
	{"no closing quote", "experiment \"churn\nseed 1\n"},
	{"no closing quote in arguments", "load-keys(dir: \"./keys, password-env: \"PASS\")\nseed 1\n"},
	{"escape", "experiment \"a\\qb\\u12\"\n"},
	{"control character in a string", "experiment \"a\tb\"\n"},
	{"expression in a string", "let a = \"${b.c} and ${1 + 2} and ${\"\nlet e = \"${ all } ${} ${d\"\n"},
	{"comment of other languages", "wait(5m) // five\n/* and\nthen */ wait(5m)\n"},
	{"semicolons", "wait(5m);\nwait(6m); wait(7m);\n"},
	{"and or not of other languages", "expect a > 1 && b > 2 || !c\n"},
	{"bitwise", "expect a & b | c\nexpect a&&b\nexpect not a and !(b)\n"},
	{"turned comparison", "expect a =< 5\nexpect a => 5\nexpect a <> 5\n"},
	{"one equals sign to compare", "expect a = 5\n"},
	{"two equals signs to assign", "let a == 5\n"},
	{"colon equals sign", "a := f()\n"},
	{"null", "f(a: null, b: nil)\n"},
	{"chained comparison", "expect 1 < a < 3\n"},
	{"chained range", "f(fee: 1..2..3 mina)\n"},

	{"minutes", "wait(5 min)\nwait(5min)\nwait(5 minutes)\nwait(5 M)\n"},
	{"seconds and hours", "wait(2 sec)\nwait(3 hours)\n"},
	{"days and milliseconds", "wait(1d)\nwait(3ms)\nwait(3 milliseconds)\n"},
	{"capital units", "f(fee: 1 MINA, tps: 0.5 TPS)\n"},
	{"nano", "f(fee: 1 nano)\n"},
	{"percent", "f(a: 30 percent, b: 30 %, c: x%)\n"},
	{"unknown unit", "f(a: 3 parsecs)\n"},
	{"unknown unit without a blank", "f(a: 3parsecs, b: 5xs)\n"},
	{"several units", "wait(5m30s)\nwait(1h30m)\nwait(2m x)\nwait(1h 30m)\n"},
	{"hexadecimal", "seed 0x10\n"},
	{"leading zeros", "let a = 01\nlet b = 00\nlet c = 0_1\n"},
	{"no digit behind the point", "let a = 1.\nlet b = 2 + 1. * 3\n"},
	{"no digit before the point", "let a = .5 tps\n"},
	{"underscores", "let a = 1__0\nlet b = 1_\nlet c = 1_000\n"},
	{"long number", "let a = " + strings.Repeat("7", 500) + "\n"},

	{"no closing parenthesis", "a = f(b: 1, c: 2\nd = g()\n"},
	{"no closing parenthesis at the end", "a = f(b: 1,"},
	{"no closing parenthesis of a group", "let a = (1 + 2\nlet b = 3\n"},
	{"no closing bracket", "let a = [1, 2\nlet b = 3\n"},
	{"wrong closing bracket", "let a = [1, 2)\nlet b = 1\nlet c = [1,\n  2)\n"},
	{"wrong closing bracket of a group", "let b = f((1]\nlet c = 1\n"},
	{"no closing brace", "parallel {\n  a()\n"},
	{"no closing braces", "repeat 4 {\n  parallel {\n    a()\n}\n"},
	{"no closing brace of an object", "let a = {b: 1\nlet c = 2\n"},
	{"too many closing brackets", "f(a))\n}\nlet a = 1]\n"},
	{"no opening brace", "parallel\n  a()\n"},

	{"keyword as a name", "limit = f()\nlet every = 3\nparam on = 4\nrepeat 4 as within { }\nuse \"a\" as not\n"},
	{"keyword as an action", "a = repeat(4)\nfinally(4)\na = expect(4)\na = every(4)\n"},
	{"keyword as a value", "let a = every\nlet b = watch + 1\nlet c = on()\n"},
	{"letters of other alphabets", "größe = f()\nlet a = čas\n"},
	{"member", "f(a.-b)\nf(a.5)\nf(a.)\nf(a.\"b\")\n"},
	{"index", "let a = b[0]\n"},
	{"dollar", "f(a: $name, b: ${name}, c: $)\n"},
	{"other signs", "let a = 5 ^ 2\nlet c = a ^ 3\nlet c = a.b^2\nlet b = a ? b : c\nlet d = @e\n"},
	{"characters that look alike", "let a = 5 − 3\nlet b = 5 × 3\nexpect a ≤ b\nwait(5\u00a0m)\nf(fee: 1…2)\n"},
	{"invisible characters", "let\u200b a = 5\nlet b = 6\x01\n"},

	{"languages with if", "if a > 5 {\n  wait(5m)\n} else {\n  wait(6m)\n}\nif (a) { wait(5m) }\nwait(5m)\n"},
	{"languages with loops", "while true {\n  wait(5m)\n}\nfor i in list {\n}\nfor (a) {\n}\n"},
	{"languages with functions", "func f(a) {\n  wait(a)\n}\ndef g(x):\n"},
	{"languages with other words", "var a = 5\nimport \"x\"\ntry {\n}\n"},

	{"near parallel", "parallell {\n  a()\n  b(\n}\n"},
	{"near others", "experimant \"x\"\nlett a = 3\nfinaly { }\nrepaet 4 { }\nparm a = 3\n"},
	{"near expect", "exspect tx.included > 5 within 5m\nexspect coverage(won) > 5\n"},
	{"near expect, broken", "exspect tx.included > within 5m\n"},
	{"near failure", "on failur { }\non { }\non-failure { }\nfailure { }\n"},
	{"near as", "repeat 4 a round { }\nuse \"x\" is y\n"},
	{"near every", "a = f() retry 5 ever 2m\n"},
	{"near modifiers", "a = f() retri 5 every 2m\nexpect a > 5 witin 5m\nf() afer 5m\n"},
	{"near and", "expect a > 5 adn b > 6\n"},

	{"experiment", "experiment churn\nexperiment\n"},
	{"seed", "seed -1\nseed \"a\"\nseed 42 43\n"},
	{"limit", "limit rate = 5 tps\nlimit <= 5\nlimit rate <= \nlimit rate <= 5 tps spend <= 5 mina\nlimit rate <= 5,\n"},
	{"let", "let = 5\nlet 5 = 6\nlet a\n"},
	{"use", "use start as a\nuse \"a\"\nuse \"a\" as 5\n"},
	{"repeat", "repeat { }\nrepeat 4\nlet a = 1\n"},
	{"within", "within { }\nwithin 5m\n"},
	{"step", "a = 5\na = b\na = b + 1\na = f() + 1\na =\n"},
	{"retry", "f() retry 5\nf() retry every 5\nf() retry 5 every 2m retry 6 every 3m\nexpect a retry 5 every 2m\nretry 5 every 2m\n"},
	{"within twice", "expect a within 5m within 6m\n"},
	{"search", "search rate 0.2 tps to 3 tps until within 0.1 tps { }\nsearch rate from 0.2 tps until within 0.1 tps { }\n"},
	{"no statement", "5\n\"text\"\na.b > 5\n(a)\nsenders\n"},
	{"two values", "let a = 5 6\nlet b = c d\nlet e = \"f\" \"g\"\n"},
	{"expect and watch", "expect\nwatch > 1\nexpect: f()\n"},
	{"modifiers alone", "retry 5 every 2m\nwait(1m)\nafter 5m\n"},
	{"values missing in modifiers", "f() retry 5 every\nf() within +\nlet a = b ?? *\nlet c = =\n"},
	{"a time without its last unit", "wait(5m30)\n"},
	{"capital slots", "wait(1 SLOT)\n"},
	{"other words of other languages", "break\nreturn 5\n"},
	{"other characters", "let a = §\nexpect a ≥ 5\n"},
	{"a quote that is not closed", "let a = 'b\nlet c = 1\n"},
	{"a comment that is not closed", "let a = 1\n/* b\nlet c = 1\n"},
	{"end of the text", "let a = 5 +"},
	{"end behind blanks", "let a =   \n\n  # nothing\n\n"},
	{"end in a string", "experiment \"a"},
	{"end behind an escape", "experiment \"a\\"},
	{"byte order mark", "\ufefflet a = \n"},
	{"line ends of Windows", "let a =\r\nf(b: 1 c: 2)\r\nexperiment \"x\r\n"},
	{"invalid UTF-8", "# fine\nlet a = \"\xfc\"\n"},
}

func TestSyntaxErrors(t *testing.T) {
	var out bytes.Buffer
	for _, slip := range slips {
		_, found := dsl.Parse("text", []byte(slip.text))
		fmt.Fprintf(&out, "--- %s\n", slip.name)
		if !found.Errors() {
			t.Errorf("%s: nothing found", slip.name)
		}
		if err := found.Write(&out, dsl.AsText); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "syntax.text", out.Bytes())
}

func testFile(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// shape writes an expression with parentheses around everything that is made of something.
func shape(e *dsl.Expr) string {
	if e == nil {
		return ""
	}
	args := func(all []dsl.Argument) string {
		var out []string
		for _, a := range all {
			text := shape(a.Value)
			if a.Name != nil {
				text = a.Name.Text + ":" + text
			}
			out = append(out, text)
		}
		return strings.Join(out, " ")
	}
	switch e.Op {
	case dsl.OpNumber:
		return e.Text + string(e.Unit)
	case dsl.OpString:
		var text strings.Builder
		text.WriteString(e.Text)
		for _, part := range e.Parts {
			text.WriteString(part.Text)
			if part.Name != nil {
				text.WriteString("<" + part.Name.Text + ">")
			}
		}
		return fmt.Sprintf("%q", text.String())
	case dsl.OpName:
		return e.Text
	case dsl.OpNone, dsl.OpTrue, dsl.OpFalse:
		return string(e.Op)
	case dsl.OpMember:
		return "(" + shape(e.X) + " ." + e.Text + ")"
	case dsl.OpScope:
		return "(" + shape(e.X) + "! " + args(e.Arguments) + ")"
	case dsl.OpCall:
		return "(" + e.Text + "! " + args(e.Arguments) + ")"
	case dsl.OpList:
		var out []string
		for _, item := range e.Items {
			out = append(out, shape(item))
		}
		return "[" + strings.Join(out, " ") + "]"
	case dsl.OpObject:
		return "{" + args(e.Arguments) + "}"
	case dsl.OpMinus, dsl.OpNot:
		return "(" + string(e.Op) + " " + shape(e.X) + ")"
	default:
		return "(" + shape(e.X) + " " + string(e.Op) + string(e.Unit) + " " + shape(e.Y) + ")"
	}
}

func TestParseValue(t *testing.T) {
	for text, want := range map[string]string{
		"tx.included(round: 2)":        "((tx .included)! round:2)",
		"a.b(c, d: [1],).e(f)":         "((((a .b)! c d:[1]) .e)! f)",
		"a.b()":                        "((a .b)! )",
		"a.b()()":                      "",
		"5":                            "5",
		"1_000.50e-3":                  "1_000.50e-3",
		"1E9":                          "1E9",
		"30s":                          "30s",
		"5 m":                          "5m",
		"2h":                           "2h",
		"1 slot":                       "1slots",
		"3slots":                       "3slots",
		"0.5 tps":                      "0.5tps",
		"30/min":                       "30/min",
		"30/s + 30/h":                  "(30/s + 30/h)",
		"30 / min":                     "(30 / min)",
		"30/min(a, b)":                 "(30 / (min! a b))",
		"30/n":                         "(30 / n)",
		"0.1 mina":                     "0.1mina",
		"5_000 nanomina":               "5_000nanomina",
		"30%":                          "30%",
		"5\nm":                         "",
		"30m-5m":                       "(30m - 5m)",
		"3-x":                          "(3 - x)",
		"0.1..0.2 mina":                "(0.1 ..mina 0.2)",
		"1..2":                         "(1 .. 2)",
		"1 mina..2 mina":               "(1mina .. 2mina)",
		"1..(2 mina)":                  "(1 .. 2mina)",
		"(1)..2 mina":                  "(1 ..mina 2)",
		"a..2 mina":                    "(a .. 2mina)",
		"a.b..c":                       "((a .b) .. c)",
		"a ?? 1..b ?? 2":               "((a ?? 1) .. (b ?? 2))",
		"-1..2":                        "(neg (1 .. 2))",
		`"a\"\\\/\u00e9\ud83d\ude00"`:  `"a\"\\/é😀"`,
		`"${a}-${b-c}"`:                `"<a>-<b-c>"`,
		`"\${a} $a $$ $"`:              `"${a} $a $$ $"`,
		`"\u0024{a}"`:                  `"${a}"`,
		`"$${a}"`:                      `"$<a>"`,
		`"#"`:                          `"#"`,
		"[]":                           "[]",
		"[1, [2,],]":                   "[1 [2]]",
		`{a: 1, "b c": {}, limit: 2,}`: "{a:1 b c:{} limit:2}",
		"none":                         "none",
		"[true, false]":                "[true false]",
		"a-b":                          "a-b",
		"a - b - c":                    "((a - b) - c)",
		"a--b":                         "(a - (neg b))",
		"a -b":                         "(a - b)",
		"a / b * c":                    "((a / b) * c)",
		"a + b * -c":                   "(a + (b * (neg c)))",
		"- - a":                        "(neg (neg a))",
		"-a.b":                         "(neg (a .b))",
		"-a * b":                       "((neg a) * b)",
		"a ?? b ?? c":                  "(a ?? (b ?? c))",
		"(a ?? b) ?? c":                "((a ?? b) ?? c)",
		"a ?? -1":                      "(a ?? (neg 1))",
		"a ?? -1 + 2":                  "((a ?? (neg 1)) + 2)",
		"not a < b":                    "(not (a < b))",
		"not not a":                    "(not (not a))",
		"not a and b":                  "((not a) and b)",
		"not -a > b":                   "(not ((neg a) > b))",
		"a == not b":                   "(a == (not b))",
		"a - not - b":                  "(a - (not (neg b)))",
		"a or b and c or d":            "((a or (b and c)) or d)",
		"a <= b and c >= d":            "((a <= b) and (c >= d))",
		"a == b or a != c":             "((a == b) or (a != c))",
		"(a < b) == (c > d)":           "((a < b) == (c > d))",
		"tx.latency.p95 < 3 slots":     "(((tx .latency) .p95) < 3slots)",
		"zk.failure":                   "(zk .failure)",
		"coverage(won, from: a, to: now() + 5 slots)": "(coverage! won from:a to:((now! ) + 5slots))",
		"min(a, b,)":       "(min! a b)",
		"env(\"A\") ?? []": `((env! "A") ?? [])`,
		"a # b\n + c":      "(a + c)",
		"":                 "",
		"a b":              "",
		"a = b":            "",
		"let a = b":        "",
		"5 min":            "",
		"\xff":             "",
	} {
		e, found := dsl.ParseValue(dsl.NewSource("-set", []byte(text)))
		if got := shape(e); got != want || (want == "") != found.Errors() {
			t.Errorf("%s is read as %s, want %s; %v", text, got, want, found)
		}
	}
}

func TestParseStatements(t *testing.T) {
	name := func(text string) dsl.Name { return dsl.Name{Text: text} }
	named := func(text string) *dsl.Name { return &dsl.Name{Text: text} }
	number := func(text string, unit dsl.Unit) *dsl.Expr { return &dsl.Expr{Op: dsl.OpNumber, Text: text, Unit: unit} }
	text := func(text string) *dsl.Expr { return &dsl.Expr{Op: dsl.OpString, Text: text} }
	value := func(text string) *dsl.Expr { return &dsl.Expr{Op: dsl.OpName, Text: text} }
	call := &dsl.Call{Action: name("f")}
	block := func(all ...dsl.Statement) *dsl.Block { return &dsl.Block{Statements: all} }
	for _, test := range []struct {
		text string
		want []dsl.Statement
	}{
		{"", nil},
		{`experiment "a"`, []dsl.Statement{&dsl.Experiment{Name: text("a")}}},
		{"seed 42", []dsl.Statement{&dsl.Seed{Value: number("42", "")}}},
		{"limit rate <= 2 tps, spend < a", []dsl.Statement{&dsl.Limits{Bounds: []dsl.Bound{
			{Of: name("rate"), Op: "<=", Value: number("2", dsl.UnitTPS)}, {Of: name("spend"), Op: "<", Value: value("a")}}}}},
		{"let a = b", []dsl.Statement{&dsl.Binding{Name: name("a"), Value: value("b")}}},
		{"param a = b", []dsl.Statement{&dsl.Binding{Param: true, Name: name("a"), Value: value("b")}}},
		{`use "a" as b`, []dsl.Statement{&dsl.Use{File: text("a"), As: name("b")}}},
		{"f()", []dsl.Statement{call}},
		{"a\n=\nf\n(\n)", []dsl.Statement{&dsl.Call{Name: named("a"), Action: name("f")}}},
		{"a = f(b, limit: c,) after d within e retry 5 every 2m", []dsl.Statement{&dsl.Call{Name: named("a"), Action: name("f"),
			Arguments: []dsl.Argument{{Value: value("b")}, {Name: named("limit"), Value: value("c")}},
			Retry:     &dsl.Retrying{Attempts: number("5", ""), Every: number("2", dsl.UnitMinute)}, Within: value("e"), After: value("d")}}},
		{"parallel { f() { f() f() } }", []dsl.Statement{&dsl.Parallel{Body: block(call, block(call, call))}}},
		{"repeat a as b { f() }", []dsl.Statement{&dsl.Repeat{Count: value("a"), As: named("b"), Body: block(call)}}},
		{"repeat 4 {}", []dsl.Statement{&dsl.Repeat{Count: number("4", ""), Body: block()}}},
		{"within 5m { f() }", []dsl.Statement{&dsl.Deadline{Within: number("5", dsl.UnitMinute), Body: block(call)}}},
		{"expect a within b", []dsl.Statement{&dsl.Claim{Condition: value("a"), Within: value("b")}}},
		{"watch a after b", []dsl.Statement{&dsl.Claim{Watch: true, Condition: value("a"), After: value("b")}}},
		{"expect a\nwithin b { }", []dsl.Statement{&dsl.Claim{Condition: value("a")}, &dsl.Deadline{Within: value("b"), Body: block()}}},
		{"expect a within b { }", []dsl.Statement{&dsl.Claim{Condition: value("a")}, &dsl.Deadline{Within: value("b"), Body: block()}}},
		{"expect a\nwithin b\n{ }", []dsl.Statement{&dsl.Claim{Condition: value("a")}, &dsl.Deadline{Within: value("b"), Body: block()}}},
		{"expect a within b\n{ }", []dsl.Statement{&dsl.Claim{Condition: value("a"), Within: value("b")}, block()}},
		{"f()\n  within b\nf()", []dsl.Statement{&dsl.Call{Action: name("f"), Within: value("b")}, call}},
		{"on failure { f() }", []dsl.Statement{&dsl.Closing{Body: block(call)}}},
		{"finally { f() }", []dsl.Statement{&dsl.Closing{Finally: true, Body: block(call)}}},
		{"search a from b to c until within d { f() }", []dsl.Statement{&dsl.Search{Name: name("a"), From: value("b"), To: value("c"), Until: value("d"), Body: block(call)}}},
		{"search = f()\nsearch()", []dsl.Statement{&dsl.Call{Name: named("search"), Action: name("f")}, &dsl.Call{Action: name("search")}}},
		{"let a = 3\nm = f()", []dsl.Statement{&dsl.Binding{Name: name("a"), Value: number("3", "")}, &dsl.Call{Name: named("m"), Action: name("f")}}},
		{"let a = b f()", []dsl.Statement{&dsl.Binding{Name: name("a"), Value: value("b")}, call}},
	} {
		tree := parsed(t, test.text)
		if diff := cmp.Diff(test.want, tree.Statements, withoutPlaces()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", test.text, diff)
		}
	}
}

func TestPlaces(t *testing.T) {
	const text = "\ufeff# é\nlimit rate <= 2 tps\na = f(b: (c + 1..2 mina), \"${d}\") retry 5 every 2m # e\nparallel { g() }"
	tree := parsed(t, text)
	at := func(s dsl.Span) string { return text[s.Start:s.End] }
	limits, _ := tree.Statements[0].(*dsl.Limits)
	call, _ := tree.Statements[1].(*dsl.Call)
	parallel, _ := tree.Statements[2].(*dsl.Parallel)
	sum := call.Arguments[0].Value
	for _, test := range []struct {
		span dsl.Span
		want string
	}{
		{tree.Remarks[0].Span, "# é"}, {tree.Remarks[1].Span, "# e"},
		{limits.Span, "limit rate <= 2 tps"}, {limits.Bounds[0].Span, "rate <= 2 tps"}, {limits.Bounds[0].Of.Span, "rate"},
		{limits.Bounds[0].Value.Span, "2 tps"}, {limits.Bounds[0].Value.UnitSpan, "tps"},
		{call.Span, `a = f(b: (c + 1..2 mina), "${d}") retry 5 every 2m`}, {call.Name.Span, "a"}, {call.Action.Span, "f"},
		{call.Arguments[0].Span, "b: (c + 1..2 mina)"}, {call.Arguments[0].Name.Span, "b"}, {sum.Span, "(c + 1..2 mina)"},
		{sum.X.Span, "c"}, {sum.Y.Span, "1..2 mina"}, {sum.Y.UnitSpan, "mina"}, {sum.Y.Y.Span, "2"},
		{call.Arguments[1].Span, `"${d}"`}, {call.Arguments[1].Value.Parts[0].Name.Span, "d"},
		{call.Retry.Span, "retry 5 every 2m"}, {call.Retry.Every.Span, "2m"},
		{parallel.Span, "parallel { g() }"}, {parallel.Body.Span, "{ g() }"},
	} {
		if got := at(test.span); got != test.want {
			t.Errorf("the place is of %q, want %q", got, test.want)
		}
	}
}

func TestRefusedTexts(t *testing.T) {
	deep := func(before, middle, after string, levels int) string {
		return strings.Repeat(before, levels) + middle + strings.Repeat(after, levels)
	}
	const million, many = 1_000_000, 20_000
	for _, test := range []struct{ name, text, want string }{
		{"size", strings.Repeat(" ", dsl.MaxBytes+1), "text:1:1: a script of 67108865 bytes: at most 67108864 can be read"},
		{"brackets", "let a = " + deep("[", "", "]", dsl.MaxLevels), ""},
		{"brackets above", "let a = " + deep("[", "", "]", dsl.MaxLevels+1), "text:1:1009: brackets are nested in each other above 1000 levels"},
		{"blocks", deep("parallel {\n", "", "}\n", dsl.MaxLevels), ""},
		{"blocks above", deep("parallel {\n", "", "}\n", million), "text:1001:10: brackets are nested in each other above 1000 levels"},
		{"parentheses above", "let a = " + deep("(", "1", ")", million), "text:1:1009: brackets are nested in each other above 1000 levels"},
		{"open brackets", "let a = " + strings.Repeat("{b: f([", million), "text:1:2345: brackets are nested in each other above 1000 levels"},
		{"minus", "let a = " + strings.Repeat("- ", million) + "1", "an expression is nested above 1000 levels"},
		{"not", "let a = " + strings.Repeat("not ", many) + "true", "an expression is nested above 1000 levels"},
		{"minus and not", "let a = " + strings.Repeat("- not ", many) + "1", "an expression is nested above 1000 levels"},
		{"sum", "let a = 1" + strings.Repeat(" + 1", many), "an expression is nested above 1000 levels"},
		{"short sum", "let a = 1" + strings.Repeat(" + 1", dsl.MaxLevels-1), ""},
		{"or", "let a = b" + strings.Repeat(" or b", many), "an expression is nested above 1000 levels"},
		{"alternatives", "let a = b" + strings.Repeat(" ?? b", many), "an expression is nested above 1000 levels"},
		{"members", "let a = b" + strings.Repeat(".b", many), "an expression is nested above 1000 levels"},
		{"signs on the right", "let a = b" + strings.Repeat(" ?? -b", many), "an expression is nested above 1000 levels"},
		{"comparisons", "let a = b" + strings.Repeat(" < b", many), `text:1:15: < stands behind a whole comparison`},
		{"long list", "let a = [" + strings.Repeat("1, ", many) + "]", ""},
	} {
		tree, found := dsl.Parse("text", []byte(test.text))
		if test.want == "" {
			if found != nil {
				t.Errorf("%s: %v", test.name, found)
			}
			tree.Format()
			continue
		}
		if len(found) != 1 || !strings.Contains(found[0].Error(), test.want) {
			t.Errorf("%s: found %.300v, want %s", test.name, found, test.want)
		}
	}
}

func TestNotAllErrorsAreShown(t *testing.T) {
	for _, line := range []string{"f(a b)\n", "let a = ;\n", "parallel { }}\n", "$ 1\n", "parallel { f(\n"} {
		_, found := dsl.Parse("text", []byte(strings.Repeat(line, 500)))
		if len(found) != 101 {
			t.Errorf("%q 500 times: %d findings", line, len(found))
		}
		if last := found[len(found)-1]; !strings.Contains(last.Message, "more than 100 errors") {
			t.Errorf("%q 500 times: the last finding is %v", line, last)
		}
	}
}

func TestGrammar(t *testing.T) {
	golden(t, "grammar.ebnf", []byte(dsl.Grammar()))
}

func TestParseExample(t *testing.T) {
	tree, found := dsl.Parse("scripts/churn.script", testFile(t, "churn.script"))
	if found != nil || len(tree.Statements) != 23 || len(tree.Remarks) != 4 || tree.Source.Name != "scripts/churn.script" {
		t.Errorf("%d statements, %d comments, %v", len(tree.Statements), len(tree.Remarks), found)
	}
}
