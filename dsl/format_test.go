package dsl_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"provingground/dsl"
)

// parsed parses a text that has to be right.
func parsed(t testing.TB, text string) *dsl.Tree {
	t.Helper()
	tree, found := dsl.Parse("text", []byte(text))
	if found != nil {
		t.Fatalf("%v in\n%s", found, text)
	}
	return tree
}

func TestFormat(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"empty", " \n\n", ""},
		{"comments alone", "\n  # a \n\n\n# b", "# a\n\n# b\n"},
		{"spaces", "a=f( x :1 ,y:[ 1,2 , ] ,)\nlet   b=-a+ 2*( 3-c )", "a = f(x: 1, y: [1, 2])\nlet b = -a + 2 * (3 - c)\n"},
		{"statements on a line", "a() b() let c = 1 # d", "a()\nb()\nlet c = 1  # d\n"},
		{"blank lines", "\n\na()\n\n\n\nb()\nc()\n# d\n\n# e\nf()\n\n", "a()\n\nb()\nc()\n# d\n\n# e\nf()\n"},
		{"units", "wait(5 m)\nwait(1slots)\nwait(3 slot)\nf(a: 1mina, b: 0.10 .. 0.20   mina, c: 5nanomina, d: 30%, e: 30/min, f: 1_000tps, g: 1e9)",
			"wait(5m)\nwait(1 slot)\nwait(3 slots)\nf(a: 1 mina, b: 0.10..0.20 mina, c: 5 nanomina, d: 30%, e: 30/min, f: 1_000 tps, g: 1e9)\n"},
		{"strings", `experiment "\u0041\/\n\u0001\u00e9\"\\ ${a}\${a}$\$ ${b}"`, `experiment "A/\n\u0001é\"\\ ${a}\${a}$$ ${b}"` + "\n"},
		{"a dollar before a name", `let a = "\$${b}$ {\u0024{c}"`, `let a = "\$${b}$ {\${c}"` + "\n"},
		{"keys", `f(a: {"b": 1, "c d": 2, "limit": {}, "": []})`, `f(a: {b: 1, "c d": 2, limit: {}, "": []})` + "\n"},
		{"parentheses", "let a = ((b))\nlet c = (a or b) and not (c and d) or (e and f)\nlet d = (a - b) - (c - d)\nlet e = (a ?? b) ?? (c ?? d)\nlet f = -(a + b) * (-c)",
			"let a = b\nlet c = (a or b) and not (c and d) or e and f\nlet d = a - b - (c - d)\nlet e = (a ?? b) ?? c ?? d\nlet f = -(a + b) * -c\n"},
		{"signs on the right", "let a = b == not c\nlet d = e ?? -1\nlet f = (1).g\nlet h = (-1)..(-2 mina)\nlet i = 1..(2 mina)",
			"let a = b == (not c)\nlet d = e ?? (-1)\nlet f = (1).g\nlet h = (-1)..(-2 mina)\nlet i = 1..(2 mina)\n"},
		{"blocks", "parallel{a()\n\n\n{b() c()} }\nwithin 5m{}\nrepeat 4 as i {\n\n# none\n\n}\non failure{a()}finally{}",
			"parallel {\n  a()\n\n  {\n    b()\n    c()\n  }\n}\nwithin 5m {}\nrepeat 4 as i {\n  # none\n}\non failure {\n  a()\n}\nfinally {}\n"},
		{"all statements", "experiment\"a\"seed 4 limit rate<=2tps,stopped<=35% param a=1 use\"b\"as c watch a>1 after 5m expect b within 5m\nsearch rate from 1 tps to 2 tps until within 0.1 tps{expect c}repeat 4{}",
			"experiment \"a\"\nseed 4\nlimit rate <= 2 tps, stopped <= 35%\nparam a = 1\nuse \"b\" as c\nwatch a > 1 after 5m\nexpect b within 5m\n" +
				"search rate from 1 tps to 2 tps until within 0.1 tps {\n  expect c\n}\nrepeat 4 {}\n"},
		{"a pool with its block", "q=snark-pool(pause:true)retry 3 every 5s\n{ # 1\na()}\nsnark-pool(){}\nb()", "q = snark-pool(pause: true) retry 3 every 5s {  # 1\n  a()\n}\nsnark-pool() {}\nb()\n"},
		{"an action without a block, and a branch", "parallel { a() { b() } }", "parallel {\n  a()\n  {\n    b()\n  }\n}\n"},
		{"modifiers", "f() within 5m retry 5 every 2m", "f() retry 5 every 2m within 5m\n"},
		{"a modifier and a deadline", "expect a\nwithin 5m {}\nexpect b\n  within 5m\nparallel {\n  expect c within 5m\n  {}\n}", "expect a\nwithin 5m {}\nexpect b within 5m\nparallel {\n  expect c within 5m\n  {}\n}\n"},

		{"a line that has just room", "a = f(b: \"" + strings.Repeat("x", 88) + "\")", "a = f(b: \"" + strings.Repeat("x", 88) + "\")\n"},
		{"a line that has just no room", "a = f(b: \"" + strings.Repeat("x", 89) + "\")", "a = f(\n  b: \"" + strings.Repeat("x", 89) + "\",\n)\n"},
		{"room with modifiers", "a = f(b: \"" + strings.Repeat("x", 80) + "\") within 5m", "a = f(\n  b: \"" + strings.Repeat("x", 80) + "\",\n) within 5m\n"},
		{"lists in lists", "f(a: [" + strings.Repeat("1_000_000, ", 12) + "[2], {b: 3}], c: g(d))",
			"f(\n  a: [\n" + strings.Repeat("    1_000_000,\n", 12) + "    [2],\n    {b: 3},\n  ],\n  c: g(d),\n)\n"},

		{"comments everywhere", `# before
a = # 1
  f( # 2
  # 3
  b: # 4
    1 # 5
  , # 6
  # 7
  c: 2 + # 8
    g( # 9
      3 # 10
    ) # 11
  # 12
) # 13
retry # 14
  5 every 2m # 15
# after
`, `# before
# 1
# 13
# 14
a = f(  # 2
  # 3
  # 4
  b: 1,  # 5
  # 6
  # 7
  # 8
  c: 2 + g(  # 9
    3,  # 10
  ),  # 11
  # 12
) retry 5 every 2m  # 15
# after
`},
		{"comments in blocks", "parallel # 1\n{ # 2\n# 3\na() # 4\n\n# 5\n} # 6\nwithin # 7\n5m { # 8\n}", "# 1\nparallel {  # 2\n  # 3\n  a()  # 4\n\n  # 5\n}  # 6\n# 7\nwithin 5m {  # 8\n}\n"},
		{"comments in lists", "let a = [ # 1\n]\nlet b = { # 2\n  c: 1, # 3\n}\nexpect d # 4\n > 5", "let a = [  # 1\n]\nlet b = {  # 2\n  c: 1,  # 3\n}\n# 4\nexpect d > 5\n"},
		{"comments between blank lines", "a(\n\n  # 1\n\n  b: 1,\n\n)\n\n# 2\n\nlet a = # 3\n 1", "a(\n  # 1\n  b: 1,\n)\n\n# 2\n\n# 3\nlet a = 1\n"},
		{"line ends of Windows", "# a \r\na(b: 1, # c\r\n)\r\n\r\nb()\r\n", "# a\na(\n  b: 1,  # c\n)\n\nb()\n"},
		{"byte order mark", "\ufeffa()", "a()\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tree := parsed(t, test.text)
			got := string(tree.Format())
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			again := parsed(t, got)
			if diff := cmp.Diff(tree, again, withoutPlaces()); diff != "" {
				t.Errorf("it says something else (-before +after)\n%s", diff)
			}
			if diff := cmp.Diff(got, string(again.Format())); diff != "" {
				t.Errorf("formatting once more changes (-once +twice)\n%s", diff)
			}
		})
	}
}

func TestFormatExample(t *testing.T) {
	tree := parsed(t, string(testFile(t, "churn.script")))
	golden(t, "churn.formatted", tree.Format())
}

func TestFormatWithoutText(t *testing.T) {
	number := &dsl.Expr{Op: dsl.OpNumber, Text: "5", Unit: dsl.UnitMinute}
	wait := &dsl.Call{Action: dsl.Name{Text: "wait"}, Arguments: []dsl.Argument{{Value: number}}}
	tree := &dsl.Tree{Remarks: []dsl.Remark{{Text: "# nowhere"}}, Statements: []dsl.Statement{
		&dsl.Seed{Value: &dsl.Expr{Op: dsl.OpNumber, Text: "42"}},
		wait,
		&dsl.Parallel{Body: &dsl.Block{Statements: []dsl.Statement{wait, wait, &dsl.Block{Statements: []dsl.Statement{wait}}}}},
		&dsl.Closing{Finally: true, Body: &dsl.Block{}},
		wait,
	}}
	want := "seed 42\nwait(5m)\n\nparallel {\n  wait(5m)\n  wait(5m)\n\n  {\n    wait(5m)\n  }\n}\n\nfinally {}\n\nwait(5m)\n"
	if diff := cmp.Diff(want, string(tree.Format())); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestLoneArguments: one value without a name stays on the line of its call, however long it is, and does not take what stands behind it along.
func TestLoneArguments(t *testing.T) {
	long := strings.Repeat("long ", 30)
	text := `log("` + long + `")
fund-keys(
  amount: 600 mina,
  prefix: "./demo-keys/payments/` + long + `",
  privkeys: ["private-keys/key-0"],
  more: ["` + long + `"],
)
`
	if got := string(parsed(t, text).Format()); got != text {
		t.Errorf("got\n%s", got)
	}
}
