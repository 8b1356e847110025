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
	{"comparison in an argument", "wait(slot: a = 5)\n"},
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
	{"expression in a string", "let a = \"${b.c} and ${1 + 2} and ${\"\n"},
	{"comment of other languages", "wait(5m) // five\n/* and\nthen */ wait(5m)\n"},
	{"semicolons", "wait(5m);\nwait(6m); wait(7m);\n"},
	{"and or not of other languages", "expect a > 1 && b > 2 || !c\n"},
	{"bitwise", "expect a & b | c\n"},
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
	{"wrong closing bracket", "let a = [1, 2)\nlet b = 1\n"},
	{"wrong closing bracket of a group", "let b = f((1]\nlet c = 1\n"},
	{"no closing brace", "parallel {\n  a()\n"},
	{"no closing braces", "repeat 4 {\n  parallel {\n    a()\n}\n"},
	{"no closing brace of an object", "let a = {b: 1\nlet c = 2\n"},
	{"too many closing brackets", "f(a))\n}\nlet a = 1]\n"},
	{"no opening brace", "parallel\n  a()\n"},

	{"keyword as a name", "limit = f()\nlet every = 3\nparam on = 4\nrepeat 4 as within { }\nuse \"a\" as not\n"},
	{"keyword as an action", "a = repeat(4)\nfinally(4)\n"},
	{"keyword as a value", "let a = every\nlet b = watch + 1\nlet c = on()\n"},
	{"letters of other alphabets", "größe = f()\nlet a = čas\n"},
	{"member", "f(a.-b)\nf(a.5)\nf(a.)\nf(a.\"b\")\n"},
	{"index", "let a = b[0]\n"},
	{"dollar", "f(a: $name, b: ${name}, c: $)\n"},
	{"other signs", "let a = 5 ^ 2\nlet b = a ? b : c\nlet d = @e\n"},
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

func testFile(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
