package dsl_test

import (
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"provingground/dsl"
)

// check returns everything that is wrong with a script in good JSON.
func check(t *testing.T, script string) []string {
	t.Helper()
	read, err := dsl.ReadJSON("s", strings.NewReader(script))
	if err != nil {
		t.Fatal(err)
	}
	var messages []string
	for _, f := range dsl.Check(read, signatures()) {
		messages = append(messages, f.Error())
	}
	return messages
}

// steps puts steps together, each on its line.
func steps(steps ...string) string { return strings.Join(steps, "\n") }

// goodPayments are parameters with which payments has nothing to complain about.
const goodPayments = `"tps":0.5,"durationMin":30,"receiver":"B62","feePayers":[],"nodes":[]`

func TestCheckSteps(t *testing.T) {
	for _, test := range []struct {
		name, script string
		want         []string
	}{
		{"good", steps(
			`"all of it"`,
			`{"action":"discovery","params":{"limit":1e1,"onlybps":true}}`,
			`{"action":"load-keys","params":{"dir":"./keys"}}`,
			`{"action":"payments","params":{"tps":0.5,"durationMin":30,"minFee":1e9,"maxFee":18446744073709551615,"receiver":"B62q",`+
				`"feePayers":{"type":"output","step":-1,"name":"key"},"nodes":{"type":"output","step":0,"name":"participant","onEmpty":["10.0.0.1:3086"]}}}`,
			`{"action":"stop","params":{"receipts":{"type":"output","step":2,"name":"receipt","onEmpty":[]}}}`,
			`{"action":"nothing"}`,
		), nil},

		{"no action", `{"params":{}}`, []string{`s:1:1: step 0: a step without an action (write {"action": …, "params": {…}})`}},
		{"empty object", `{}`, []string{`s:1:1: step 0: a step without an action (write {"action": …, "params": {…}})`}},
		{"null action", `{"action":null}`, []string{`s:1:1: step 0: a step without an action (write {"action": …, "params": {…}})`}},
		{"empty action", `{"action":""}`, []string{`s:1:11: step 0: a step without an action (write {"action": …, "params": {…}})`}},
		{"action of another shape", `{"action":["wait"]}`, []string{`s:1:11: step 0: the action is a list, not a string`}},
		{"misspelt key", `{"acton":"wait"}`, []string{`s:1:2: step 0: a step has no key "acton" (did you mean "action"?)`}},
		{"unknown keys", `{"action":"wait","id":"w","parameters":{}}`, []string{
			`s:1:18: step 0: a step has no key "id"`, `s:1:27: step 0: a step has no key "parameters"`,
		}},
		{"params of another shape", `{"action":"wait","params":[1]}`, []string{`s:1:27: step 0: params is a list, not an object`}},
		{"key given twice", `{"action":"wait","action":"stop","params":{"receipts":[]}}`, []string{`s:1:18: step 0: "action" is given twice (keep one of them)`}},
		{"key given twice in different case", `{"Action":"wait","action":"nothing"}`, []string{
			`s:1:18: step 0: "action" is given twice, as "Action" too (keep one of them)`,
		}},

		{"unknown action", `{"action":"discover"}`, []string{`s:1:11: step 0: unknown action "discover" (did you mean "discovery"?)`}},
		{"action in another case", `{"action":"LoadKeys"}`, []string{`s:1:11: step 0: unknown action "LoadKeys" (did you mean "load-keys"?)`}},
		{"action like no other", `{"action":"frobnicate"}`, []string{`s:1:11: step 0: unknown action "frobnicate" (orchestrator explain lists the actions)`}},
		{"action with a block", `{"action":"snark-pool","params":{"pause":true}}`, []string{
			`s:1:11: step 0: snark-pool is in force for the length of a block, which has no spelling in the JSON stream (write the script in the script language)`,
		}},
		{"references of an unknown action", steps(`{"action":"wat"}`, `{"action":"pay","params":{"x":{"type":"output","step":7,"name":"y"}}}`), []string{
			`s:1:11: step 0: unknown action "wat" (did you mean "wait"?)`,
			`s:2:11: step 1: unknown action "pay" (orchestrator explain lists the actions)`,
			`s:2:55: step 1: the reference points to step 7, which has not run when step 1 does`,
		}},
		{"all findings together", steps(
			`{"action":"wiat"}`,
			`{"actoin":"wait"}`,
			`{"action":"wait","params":{"mins":5,"sec":"x"}}`,
			`{"action":"stop","params":{"receipts":{"type":"output","step":0}}}`,
		), []string{
			`s:1:11: step 0: unknown action "wiat" (did you mean "wait"?)`,
			`s:2:2: step 1: a step has no key "actoin" (did you mean "action"?)`,
			`s:3:28: step 2: wait has no parameter "mins" (did you mean "min"?)`,
			`s:3:43: step 2: "sec" wants a number (whole number), not a string (write the number without quotes)`,
			`s:4:39: step 3: the reference does not say which output (a reference is {"type":"output","step":-1,"name":"participant"})`,
		}},

		{"misspelt parameter", `{"action":"payments","params":{` + goodPayments + `,"reciever":"B62"}}`, []string{
			`s:1:102: step 0: payments has no parameter "reciever" (did you mean "receiver"?)`,
		}},
		{"parameter like no other", `{"action":"wait","params":{"duration":5}}`, []string{`s:1:28: step 0: wait has no parameter "duration" (it has min, sec, slot, past)`}},
		{"parameter of nothing", `{"action":"nothing","params":{"min":5}}`, []string{`s:1:31: step 0: nothing has no parameter "min" (it has none)`}},
		{"parameter given twice", `{"action":"wait","params":{"min":5,"min":6}}`, []string{`s:1:36: step 0: "min" is given twice (keep one of them)`}},
		{"parameter given twice in different case", `{"action":"wait","params":{"min":5,"Min":6,"MIN":7}}`, []string{
			`s:1:36: step 0: "Min" is given twice, as "min" too (keep one of them)`,
			`s:1:44: step 0: "MIN" is given twice, as "Min" too (keep one of them)`,
		}},
		{"parameters that are missing", `{"action":"payments","params":{"tps":1,"feePayers":null,"nodes":[]}}`, []string{
			`s:1:11: step 0: payments needs the parameter "durationMin": how long`,
			`s:1:11: step 0: payments needs the parameter "receiver": who is paid`,
			`s:1:52: step 0: "feePayers" needs a value: who pays`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, check(t, test.script)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestCheckLiterals gives the action count, or payments, a literal of every kind and form.
func TestCheckLiterals(t *testing.T) {
	for _, test := range []struct{ action, param, value, want string }{
		{"wait", "min", "5", ""},
		{"wait", "min", "-5", ""},
		{"wait", "min", "-0", ""},
		{"wait", "min", "1e9", ""},
		{"wait", "min", "5.0", ""},
		{"wait", "min", "50e-1", ""},
		{"wait", "min", "2147483647", ""},
		{"wait", "min", "-2147483648", ""},
		{"wait", "min", "null", ""},
		{"wait", "min", "2147483648", `"min" is out of range: 2147483648 (from -2147483648 to 2147483647)`},
		{"wait", "min", "-2147483649", `"min" is out of range: -2147483649 (from -2147483648 to 2147483647)`},
		{"wait", "min", "1e10", `"min" is out of range: 1e10 (from -2147483648 to 2147483647)`},
		{"wait", "min", "1e400", `"min" is out of range: 1e400 (from -2147483648 to 2147483647)`},
		{"wait", "min", "1e401", `"min" is out of range: 1e401`},
		{"wait", "min", "1e99999999999999999999", `"min" is out of range: 1e99999999999999999999`},
		{"wait", "min", "1.5", `"min" must be a whole number: 1.5`},
		{"wait", "min", "1e-1", `"min" must be a whole number: 1e-1`},
		{"wait", "min", "true", `"min" wants a number (whole number), not a boolean`},
		{"wait", "min", `"5m"`, `"min" wants a number (whole number), not a string (write the number without quotes)`},
		{"wait", "min", "[5]", `"min" wants a number (whole number), not a list`},

		{"count", "limit", "null", ""},
		{"count", "of", `"x"`, ""},
		{"count", "of", `[null,{"a":1},[2]]`, ""},
		{"discovery", "onlyBPs", "false", ""},
		{"discovery", "onlyBPs", "1", `"onlyBPs" wants a boolean (boolean), not a number`},
		{"load-keys", "dir", `""`, ""},
		{"load-keys", "dir", "7", `"dir" wants a string (path), not a number`},
		{"load-keys", "dir", "null", `"dir" needs a value: the directory`},

		{"payments", "amount", "0", ""},
		{"payments", "amount", "1e9", ""},
		{"payments", "amount", "0.5e1", ""},
		{"payments", "amount", "18446744073709551615", ""},
		{"payments", "amount", "18446744073709551616", `"amount" is out of range: 18446744073709551616 (at most 18446744073709551615)`},
		{"payments", "amount", "1e20", `"amount" is out of range: 1e20 (at most 18446744073709551615)`},
		{"payments", "amount", "-1", `"amount" cannot be negative: -1`},
		{"payments", "amount", "0.1", `"amount" must be a whole number: 0.1`},
		{"payments", "minTps", "0.001", ""},
		{"payments", "minTps", "1e-400", ""},
		{"payments", "minTps", strings.Repeat("9", 400), ""},
		{"payments", "minTps", "-0.0", ""},
		{"payments", "minTps", "1e-401", `"minTps" is out of range: 1e-401`},
		{"payments", "minTps", "-0.5", `"minTps" cannot be negative: -0.5`},
		{"payments", "minPlaced", "0.95", ""},
		{"payments", "minPlaced", "-1e-9", `"minPlaced" cannot be negative: -1e-9`},
		{"payments", "receiver", `"B62qx"`, ""},
		{"payments", "receiver", `"EK"`, `"receiver" is not a public key`},
		{"payments", "nodes", `["10.0.0.1:3086","10.0.0.2:3086"]`, ""},
		{"payments", "nodes", `"10.0.0.1:3086"`, `"nodes" wants a list, not a string (write it in [ ])`},
		{"payments", "nodes", `["10.0.0.1:3086",null]`, `"nodes" wants a string (node address), not null`},
		{"payments", "nodes", `["10.0.0.1:3086",["x"]]`, `"nodes" wants a string (node address), not a list`},
		{
			"payments", "nodes", `[{"type":"output","step":-1,"name":"participant"}]`,
			`"nodes" wants a string (node address), not an object (a reference stands for a whole parameter, never inside a list)`,
		},
		{"sample", "ratios", "[0.5,0.5]", ""},
		{"sample", "ratios", "[0.5,-0.5]", `"ratios" cannot be negative: -0.5`},
		{"sample", "ratios", "0.5", `"ratios" wants a list, not a number (write it in [ ])`},
		{"stop", "receipts", `[{"address":"10.0.0.1:3086","handle":"h"}]`, ""},
		{"stop", "receipts", `["h"]`, `"receipts" wants an object (receipt), not a string`},
		{"join", "group1", `[1,"a",null,{"type":"output"}]`, ""},
		{"join", "group1", `"a"`, `"group1" wants a list, not a string (write it in [ ])`},
	} {
		given := map[string]string{
			"payments": `"tps":0.5,"durationMin":30,"receiver":"B62","feePayers":[],"nodes":[]`, "count": `"limit":1`, "load-keys": `"dir":"x"`, "stop": `"receipts":[]`,
		}[test.action]
		var params []string
		for param := range strings.SplitSeq(given, ",") {
			if param != "" && !strings.HasPrefix(param, `"`+test.param+`"`) {
				params = append(params, param)
			}
		}
		params = append(params, `"`+test.param+`":`+test.value)
		script := `{"action":"` + test.action + `","params":{` + strings.Join(params, ",") + `}}`
		var want []string
		if test.want != "" {
			want = []string{test.want}
		}
		got := check(t, script)
		for i := range got { // the place is that of the value, or of the element
			_, got[i], _ = strings.Cut(got[i], ": step 0: ")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s = %s (-want +got)\n%s", test.action, test.param, test.value, diff)
		}
	}
}

// TestCheckElementPlace: what is wrong with an element of a list is shown there.
func TestCheckElementPlace(t *testing.T) {
	got := check(t, "{\"action\":\"except\",\"params\":{\"group\":[\"a\",\n\t\"é\", 7,\n\"b\",true]}}")
	want := []string{
		`s:2:7: step 0: "group" wants a string (node address), not a number`,
		`s:3:5: step 0: "group" wants a string (node address), not a boolean`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestCheckReferences(t *testing.T) {
	const spelling = ` (a reference is {"type":"output","step":-1,"name":"participant"})`
	for _, test := range []struct{ name, ref, want string }{
		{"relative", `{"type":"output","step":-2,"name":"participant"}`, ""},
		{"absolute", `{"type":"output","step":0,"name":"participant"}`, ""},
		{"in exponent form", `{"type":"output","step":-2e0,"name":"participant"}`, ""},
		{"null stands for nothing", `{"type":"output","step":0,"name":"participant","file":null}`, ""},
		{"of another run", `{"type":"output","step":99,"name":"whatever","file":"start.out"}`, ""},
		{"keys in any case", `{"TYPE":"output","Step":0,"nAme":"participant","ONEMPTY":[]}`, ""},

		{"own step", `{"type":"output","step":2,"name":"group"}`, `s:4:25: step 2: the reference points to step 2, which has not run when step 2 does`},
		{"later step", `{"type":"output","step":3,"name":"group"}`, `s:4:25: step 2: the reference points to step 3, which has not run when step 2 does`},
		{"before the first", `{"type":"output","step":-3,"name":"group"}`, `s:4:25: step 2: the reference points before the script's first step (this is step 2)`},
		{"no step", `{"type":"output","name":"participant"}`, `s:4:1: step 2: the reference does not say which step` + spelling},
		{"null step", `{"type":"output","step":null,"name":"participant"}`, `s:4:1: step 2: the reference does not say which step` + spelling},
		{"step as text", `{"type":"output","step":"-1","name":"participant"}`, `s:4:25: step 2: the step in a reference is not the number of a step`},
		{"half a step", `{"type":"output","step":0.5,"name":"participant"}`, `s:4:25: step 2: the step in a reference is not the number of a step`},
		{"step without bounds", `{"type":"output","step":1e300,"name":"participant"}`, `s:4:25: step 2: the step in a reference is not the number of a step`},
		{"step of 20 digits", `{"type":"output","step":-99999999999999999999,"name":"participant"}`, `s:4:25: step 2: the step in a reference is not the number of a step`},
		{"no name", `{"type":"output","step":0}`, `s:4:1: step 2: the reference does not say which output` + spelling},
		{"empty name", `{"type":"output","step":0,"name":""}`, `s:4:1: step 2: the reference does not say which output` + spelling},
		{"name of another shape", `{"type":"output","step":0,"name":7}`, `s:4:34: step 2: the name in a reference is a number, not a string`},
		{"file of another shape", `{"type":"output","step":0,"name":"x","file":true}`, `s:4:45: step 2: the file of a reference is a boolean, not a string`},
		{"unknown output", `{"type":"output","step":0,"name":"participants"}`, `s:4:34: step 2: step 0 (discovery) has no output "participants" (did you mean "participant"?)`},
		{"output like no other", `{"type":"output","step":0,"name":"nodes"}`, `s:4:34: step 2: step 0 (discovery) has no output "nodes" (it has participant, first)`},
		{"output of nothing", `{"type":"output","step":1,"name":"nodes"}`, `s:4:34: step 2: step 1 (nothing) has no output "nodes" (it has none)`},
		{"unknown key", `{"type":"output","step":0,"name":"participant","default":[]}`, `s:4:48: step 2: a reference has no key "default"`},
		{"misspelt key", `{"type":"output","stp":0,"name":"participant"}`, `s:4:18: step 2: a reference has no key "stp" (did you mean "step"?)`},
		{"key given twice", `{"type":"output","step":0,"Step":-1,"name":"participant"}`, `s:4:27: step 2: "Step" is given twice, as "step" too (keep one of them)`},
		{"no type", `{"step":0,"name":"participant"}`, `s:4:1: step 2: the value of a parameter cannot be an object, and this is no reference` + spelling},
		{"empty object", `{}`, `s:4:1: step 2: the value of a parameter cannot be an object, and this is no reference` + spelling},
		{"unknown type", `{"type":"input","step":0,"name":"participant"}`, `s:4:9: step 2: unknown type "input" of a reference (a reference has the type "output")`},
		{"type of another shape", `{"type":1}`, `s:4:9: step 2: the type of a reference is a number, not a string`},
		{"literal object", `{"a":1}`, `s:4:2: step 2: a reference has no key "a"`},
		{"relative in a file", `{"type":"output","step":-1,"name":"participant","file":"start.out"}`, `s:4:25: step 2: a relative step in another run's file (give the step's number in that run)`},

		{"value for nothing", `{"type":"output","step":0,"name":"participant","onEmpty":["10.0.0.1:3086"]}`, ""},
		{"value for nothing of another kind", `{"type":"output","step":0,"name":"participant","onEmpty":0}`, `s:4:58: step 2: "group" wants a list, not a number (write it in [ ])`},
		{
			"value for nothing with a reference", `{"type":"output","step":0,"name":"participant","onEmpty":{"type":"output","step":0,"name":"first"}}`,
			`s:4:58: step 2: "group" wants a list, not an object (write it in [ ])`,
		},
		{"null for nothing", `{"type":"output","step":0,"name":"participant","onEmpty":null}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := check(t, steps(`{"action":"discovery"}`, `{"action":"nothing"}`, `{"action":"except","params":{"group":`, test.ref+`}}`))
			var want []string
			if test.want != "" {
				want = []string{test.want}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestCheckKinds: what an output holds must be what the parameter wants.
func TestCheckKinds(t *testing.T) {
	ref := func(step, name string) string { return `{"type":"output","step":` + step + `,"name":"` + name + `"}` }
	earlier := steps(
		`{"action":"discovery"}`,
		`{"action":"load-keys","params":{"dir":"x"}}`,
		`{"action":"payments","params":{`+goodPayments+`}}`,
		`{"action":"join"}`,
		`{"action":"sample","params":{"ratios":[0.5,0.25]}}`,
		`{"action":"count","params":{"limit":1}}`,
	)
	for _, test := range []struct{ step, name, action, param, want string }{
		{"0", "participant", "except", "group", ""},
		{"0", "participant", "sample", "group", ""}, // any text will do
		{"0", "participant", "join", "group1", ""},
		{"0", "participant", "count", "of", ""},
		{"0", "first", "payments", "experimentName", ""},
		{"1", "key", "payments", "feePayers", ""},
		{"1", "key", "join", "group1", ""},
		{"2", "receipt", "stop", "receipts", ""},
		{"3", "group", "payments", "feePayers", ""}, // of any kind: known when it runs
		{"3", "group", "stop", "receipts", ""},
		{"4", "group2", "except", "group", ""},
		{"4", "rest", "except", "group", ""},
		{"5", "count", "wait", "min", ""},
		{"5", "count", "payments", "tps", ""},

		{"1", "key", "payments", "nodes", `"nodes" wants a list (of: node address), and "key" of step 1 (load-keys) is a list (of: private key)`},
		{"1", "key", "sample", "group", `"group" wants a list (of: text), and "key" of step 1 (load-keys) is a list (of: private key)`},
		{"0", "participant", "payments", "feePayers", `"feePayers" wants a list (of: private key), and "participant" of step 0 (discovery) is a list (of: node address)`},
		{"0", "first", "payments", "nodes", `"nodes" wants a list (of: node address), and "first" of step 0 (discovery) is one value (node address)`},
		{"0", "first", "join", "group1", `"group1" wants a list, and "first" of step 0 (discovery) is one value (node address)`},
		{"0", "participant", "payments", "receiver", `"receiver" wants one value (public key), and "participant" of step 0 (discovery) is a list (of: node address)`},
		{"3", "group", "payments", "receiver", `"receiver" wants one value (public key), and "group" of step 3 (join) is a list`},
		{"2", "receipt", "payments", "nodes", `"nodes" wants a list (of: node address), and "receipt" of step 2 (payments) is a list (of: receipt)`},
		{"5", "count", "payments", "experimentName", `"experimentName" wants one value (text), and "count" of step 5 (count) is one value (whole number)`},
		{"0", "first", "wait", "min", `"min" wants one value (whole number), and "first" of step 0 (discovery) is one value (node address)`},
		{"4", "group3", "except", "group", `step 4 (sample) has no output "group3" (did you mean "group1"?)`},
	} {
		var want []string
		if test.want != "" {
			want = []string{test.want}
		}
		var got []string
		for _, message := range check(t, steps(earlier, `{"action":"`+test.action+`","params":{"`+test.param+`":`+ref(test.step, test.name)+`}}`)) {
			if _, rest, _ := strings.Cut(message, ": step 6: "); !strings.Contains(rest, "needs the parameter") {
				got = append(got, rest)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s of step %s as %s of %s (-want +got)\n%s", test.name, test.step, test.param, test.action, diff)
		}
	}
}

// TestChecker checks step by step, as a script that arrives live is checked.
func TestChecker(t *testing.T) {
	stream := dsl.NewStream("s", strings.NewReader(`{"action":"discovery","params":{"limit":1,"limit":2}} {"action":"stop","params":{"receipts":{"type":"output","step":-1,"name":"participant"}}}`))
	checker := dsl.NewChecker(signatures())
	var got []string
	for range 2 {
		item, source, err := stream.Next()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range checker.Step(source, item.Step) {
			got = append(got, f.Error())
		}
	}
	want := []string{
		`s:1:43: step 0: "limit" is given twice (keep one of them)`,
		`s:1:93: step 1: "receipts" wants a list (of: receipt), and "participant" of step 0 (discovery) is a list (of: node address)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestNumbers(t *testing.T) {
	for _, test := range []struct{ text, decimal, whole string }{
		{"0", "0", "0"},
		{"-0", "0", "0"},
		{"-0.0e-5", "0", "0"},
		{"1e9", "1000000000", "1000000000"},
		{"10.0", "10", "10"},
		{"2.50E+1", "25", "25"},
		{"5e-1", "1/2", ""},
		{"-0.1", "-1/10", ""},
		{"0.000000000000000000001", "1/1000000000000000000000", ""},
		{"1e007", "10000000", "10000000"},
		{"1e400", "1" + strings.Repeat("0", 400), "1" + strings.Repeat("0", 400)},
		{"1e-400", "1/1" + strings.Repeat("0", 400), ""},
		{strings.Repeat("7", 400), strings.Repeat("7", 400), strings.Repeat("7", 400)},

		{"1e401", "", ""},
		{"1e-401", "", ""},
		{"1e99999999999999999999", "", ""},
		{strings.Repeat("7", 401), "", ""},
		{"", "", ""},
		{"-", "", ""},
		{"+1", "", ""},
		{" 1", "", ""},
		{"1 ", "", ""},
		{"01", "", ""},
		{".5", "", ""},
		{"5.", "", ""},
		{"1e", "", ""},
		{"1_000", "", ""},
		{"1/2", "", ""},
		{"0x10", "", ""},
		{"1p3", "", ""},
		{"0b1", "", ""},
		{"Inf", "", ""},
		{"NaN", "", ""},
		{"null", "", ""},
		{`"1"`, "", ""},
		{"[1]", "", ""},
	} {
		name := test.text[:min(len(test.text), 30)]
		want, known := new(big.Rat).SetString(test.decimal)
		if got, ok := dsl.Decimal(test.text); ok != known || ok && got.Cmp(want) != 0 {
			t.Errorf("Decimal(%q) = %v, %t", name, got, ok)
		}
		whole, known := new(big.Int).SetString(test.whole, 10)
		if got, ok := dsl.WholeNumber(test.text); ok != known || ok && got.Cmp(whole) != 0 {
			t.Errorf("WholeNumber(%q) = %v, %t", name, got, ok)
		}
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"discovery", "load-keys", "onlyBPs", "min", "slot", "passwordEnv", "feePayers"}
	for _, test := range []struct{ given, want string }{
		{"discovery", "discovery"}, {"Discovery", "discovery"}, {"discovry", "discovery"}, {"dicsovery", "discovery"},
		{"loadKeys", "load-keys"}, {"only_bps", "onlyBPs"}, {"only-bps", "onlyBPs"}, {"onlyBP", "onlyBPs"},
		{"password-env", "passwordEnv"}, {"fee-payer", "feePayers"}, {"mins", "min"}, {"slots", "slot"},
		{"payments", ""}, {"", ""}, {"maximum", ""}, {"Ω", ""}, {strings.Repeat("discovery", 10), ""},
	} {
		want := test.want
		if want != "" {
			want = `did you mean "` + want + `"?`
		}
		if got := dsl.Suggest(test.given, known); got != want {
			t.Errorf("Suggest(%q) = %s, want %s", test.given, got, want)
		}
	}
	if got := dsl.Suggest("x", nil); got != "" {
		t.Errorf("of nothing: %s", got)
	}
}

func TestArg(t *testing.T) {
	script, err := dsl.ReadJSON("s", strings.NewReader(`{"action":"wait","params":{"MIN":1,"min":2,"Sec":3}}`))
	if err != nil {
		t.Fatal(err)
	}
	step := script.Steps()[0]
	for name, want := range map[string]string{"min": "2", "MIN": "1", "mIN": "1", "sec": "3", "slot": ""} {
		if arg, ok := step.Arg(name); ok != (want != "") || arg.Value.Text != want {
			t.Errorf("%s: %v, %t", name, arg, ok)
		}
	}
}
