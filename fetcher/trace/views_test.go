package trace_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"provingground/fetcher/trace"
)

func jsonOf(tb testing.TB, value any) string {
	tb.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

const produced = `{"current_block":"17"}
	["Begin_block_production",10.0]
	["Build_breadcrumb",11.0]
	["Validate_staged_ledger_diff",11.25]
	["Check_completed_works",11.5]
	{"metadata":{"work_count":0}}
	{"metadata":{"work_count":2,"more":true}}
	["Apply_diff",12.0]
	["Create_breadcrumb",13.0]
	["Snark_work_received",13.25]
	["Unheard_of",13.5]
	["Create_breadcrumb",14.0]
	{"block_metadata":{"diff_log":["large"],"global_slot":"17","blockchain_length":"9"}}
	{"produced_block_state_hash":"3Na"}
	["Breadcrumb_integrated",15.0]
	["Produce_validated_transition",15.5]
	["Produced_at_last",16.0]`

func TestViews(t *testing.T) {
	t.Parallel()
	got := fed(t, trace.Options{}, produced)
	one := got.traceOf(t, "3Na")
	rows := got.rowsOf(one.Number)
	slices.Reverse(rows) // their order does not matter
	for i := range rows {
		rows[i].Metadata = []byte(strings.ReplaceAll(string(rows[i].Metadata), ":", ": ")) // nor the spaces of jsonb
	}
	metadata := got.Metadata[one.Number]

	wantInfo := `{"source":"Internal","deployment_id":4,"blockchain_length":9,"global_slot":17,"state_hash":"3Na","status":"Success","started_at":10,"total_time":5,` +
		`"metadata":{"blockchain_length":"9","global_slot":"17"}}`
	if diff := cmp.Diff(wantInfo, jsonOf(t, trace.NewInfo(one, 4, metadata))); diff != "" {
		t.Errorf("info (-want +got):\n%s", diff)
	}

	head := `{"source":"Internal","deployment_id":4,"blockchain_length":9,"global_slot":17,`
	wantFlat := head + `"status":"Success","total_time":5,"metadata":{"blockchain_length":"9","diff_log":["large"],"global_slot":"17"},"checkpoints":[` +
		`{"checkpoint":"Begin_block_production","started_at":10,"duration":1,"metadata":{}},` +
		`{"checkpoint":"Build_breadcrumb","started_at":11,"duration":0.25,"metadata":{}},` +
		`{"checkpoint":"Validate_staged_ledger_diff","started_at":11.25,"duration":0.25,"metadata":{}},` +
		`{"checkpoint":"Check_completed_works","started_at":11.5,"duration":0.5,"metadata":{"more":true,"work_count":2}},` +
		`{"checkpoint":"Apply_diff","started_at":12,"duration":1,"metadata":{}},` +
		`{"checkpoint":"Create_breadcrumb","started_at":13,"duration":0.5,"metadata":{}},` +
		`{"checkpoint":"Unheard_of","started_at":13.5,"duration":0.5,"metadata":{}},` +
		`{"checkpoint":"Create_breadcrumb","started_at":14,"duration":1,"metadata":{}},` +
		`{"checkpoint":"Breadcrumb_integrated","started_at":15,"duration":0,"metadata":{}}],"other_checkpoints":[` +
		`{"checkpoint":"Produce_validated_transition","started_at":15.5,"duration":0.5,"metadata":{}},` +
		`{"checkpoint":"Produced_at_last","started_at":16,"duration":0,"metadata":{}}]}`
	if diff := cmp.Diff(wantFlat, jsonOf(t, trace.Flat(one, 4, metadata, rows))); diff != "" {
		t.Errorf("flat (-want +got):\n%s", diff)
	}

	wantStructured := head + `"sections":[{"title":"All","checkpoints":[` +
		`{"checkpoint":"Begin_block_production","started_at":10,"duration":1,"metadata":{},"checkpoints":[]},` +
		`{"checkpoint":"Build_breadcrumb","started_at":11,"duration":2.5,"metadata":{},"checkpoints":[` +
		`{"checkpoint":"Validate_staged_ledger_diff","started_at":11.25,"duration":1.75,"metadata":{},"checkpoints":[` +
		`{"checkpoint":"Check_completed_works","started_at":11.5,"duration":0.5,"metadata":{"more":true,"work_count":2},"checkpoints":[]},` +
		`{"checkpoint":"Apply_diff","started_at":12,"duration":1,"metadata":{},"checkpoints":[]}]},` +
		`{"checkpoint":"Create_breadcrumb","started_at":13,"duration":0.5,"metadata":{},"checkpoints":[]}]},` +
		`{"checkpoint":"Unheard_of","started_at":13.5,"duration":0.5,"metadata":{},"checkpoints":[]},` +
		`{"checkpoint":"Create_breadcrumb","started_at":14,"duration":1,"metadata":{},"checkpoints":[]},` +
		`{"checkpoint":"Breadcrumb_integrated","started_at":15,"duration":0,"metadata":{},"checkpoints":[]}]}],` +
		`"status":"Success","total_time":5,"metadata":{"blockchain_length":"9","diff_log":["large"],"global_slot":"17"}}`
	if diff := cmp.Diff(wantStructured, jsonOf(t, trace.NewNesting().Structured(one, 4, metadata, rows))); diff != "" {
		t.Errorf("structured (-want +got):\n%s", diff)
	}
	if _, known := metadata["diff_log"]; !known {
		t.Error("making the info took diff_log out of the caller's metadata")
	}
}

// tree shows a structured trace as name(children) and start+duration of the top level.
func tree(nodes []*trace.Node) string {
	var parts []string
	for _, node := range nodes {
		text := node.Checkpoint
		if len(node.Checkpoints) > 0 {
			text += "(" + tree(node.Checkpoints) + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

func TestStructured(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, script, want string
		durations          []float64
	}{
		{"an unfinished block keeps all that is open", `{"current_block":"3Na"}
			["Build_breadcrumb",1.0]
			["Validate_staged_ledger_diff",2.0]
			["Prediff",3.0]
			["Verify_commands",5.0]`, "Build_breadcrumb(Validate_staged_ledger_diff(Prediff(Verify_commands)))", []float64{4}},
		{"nothing but metadata", `{"current_block":"3Na"}
			{"block_metadata":{}}`, "", nil},
		{"produced, finished, no Transition_accepted", `{"current_block":"3Na"}
			["Begin_block_production",1.0]
			["Breadcrumb_integrated",2.0]`, "Begin_block_production Breadcrumb_integrated", []float64{1, 0}},
		{"Transition_accepted goes before the last entry", `{"current_block":"3Na"}
			["Begin_block_production",1.0]
			["Transition_accepted",2.0]
			["Build_breadcrumb",3.0]
			["Create_breadcrumb",4.0]
			["Breadcrumb_integrated",6.0]`, "Begin_block_production Build_breadcrumb(Create_breadcrumb) Transition_accepted Breadcrumb_integrated", []float64{2, 3, 0, 0}},
		{"it stays in a received block", `{"current_block":"3Na"}
			["External_block_received",1.0]
			["Transition_accepted",2.0]
			["A",3.0]
			["Breadcrumb_integrated",6.0]`, "External_block_received Transition_accepted A Breadcrumb_integrated", []float64{1, 1, 3, 0}},
		{"the newer name of the catch-up step closes nothing", `{"current_block":"3Na"}
			["Add_and_finalize",1.0]
			["Add_breadcrumb_to_frontier",2.0]
			["Apply_catchup_state_diffs",3.0]
			["Apply_full_frontier_diffs",4.0]
			["Add_and_finalize_done",5.0]`, "Add_and_finalize(Add_breadcrumb_to_frontier(Apply_catchup_state_diffs Apply_full_frontier_diffs)) Add_and_finalize_done", []float64{4, 0}},
		{"jobs stand under their parents, at equal times too", `{"current_block":"3Na"}
			["Verify_commands",1.0]
			["Verify_commands_done",1.0]
			["A",2.0]
			["A",3.0]
			V ["Verifier_verify_commands",1.0]
			V ["Verify_heterogenous",1.0]
			V ["Verifier_verify_commands_done",1.0]`, "Verify_commands(Verifier_verify_commands(Verify_heterogenous) Verifier_verify_commands_done) Verify_commands_done A A", []float64{0, 1, 1, 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := fed(t, trace.Options{}, test.script)
			one := got.traceOf(t, "3Na")
			structured := trace.NewNesting().Structured(one, 1, nil, got.rowsOf(one.Number))
			nodes := structured.Sections[0].Checkpoints
			if diff := cmp.Diff(test.want, tree(nodes)); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
			var durations []float64
			for _, node := range nodes {
				durations = append(durations, node.Duration)
			}
			if diff := cmp.Diff(test.durations, durations); diff != "" {
				t.Errorf("durations (-want +got):\n%s", diff)
			}
			if text := jsonOf(t, structured); strings.Contains(text, "null") {
				t.Errorf("null in %s", text)
			}
		})
	}
}

// Every pair of the table nests, and nothing leads back to itself.
func TestNestingTable(t *testing.T) {
	t.Parallel()
	table, err := os.ReadFile("nesting.txt")
	if err != nil {
		t.Fatal(err)
	}
	nesting := trace.NewNesting()
	parents := 0
	for line := range strings.Lines(string(table)) {
		parent, children, _ := strings.Cut(strings.TrimSpace(line), ": ")
		parents++
		if diff := cmp.Diff(strings.Split(children, " "), nesting.Children(parent)); diff != "" {
			t.Errorf("children of %s (-want +got):\n%s", parent, diff)
		}
		for _, child := range nesting.Children(parent) {
			rows := []trace.Row{{Seq: 1, Main: true, Name: parent, Time: 1}, {Seq: 2, Main: true, Name: child, Time: 2}}
			structured := nesting.Structured(trace.Trace{}, 1, nil, rows)
			if got, want := tree(structured.Sections[0].Checkpoints), parent+"("+child+")"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		var descend func(name string, path []string)
		descend = func(name string, path []string) {
			if slices.Contains(path, name) {
				t.Fatalf("%s leads back to itself: %v", name, path)
			}
			for _, child := range nesting.Children(name) {
				descend(child, append(slices.Clone(path), name))
			}
		}
		descend(parent, nil)
	}
	if parents != 38 {
		t.Errorf("%d parents, want 38", parents)
	}
}

func TestDistributionRanges(t *testing.T) {
	t.Parallel()
	one := trace.Distribution{Identity: "A"}
	for _, seconds := range []float64{0, 9e-7, 9e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 3, 10, 100, 5000} {
		one.Add(seconds)
	}
	want := trace.Distribution{
		Identity: "A", Count: 13, TotalTime: 5114.11111990,
		OneToTenUs:           trace.Range{Count: 3, MeanTime: 3.3e-6, MaxTime: 9e-6, TotalTime: 9.9e-6},
		TenToOneHundredUs:    trace.Range{Count: 1, MeanTime: 1e-5, MaxTime: 1e-5, TotalTime: 1e-5},
		OneHundredUsToOneMs:  trace.Range{Count: 1, MeanTime: 1e-4, MaxTime: 1e-4, TotalTime: 1e-4},
		OneToTenMs:           trace.Range{Count: 1, MeanTime: 1e-3, MaxTime: 1e-3, TotalTime: 1e-3},
		TenToOneHundredMs:    trace.Range{Count: 1, MeanTime: 1e-2, MaxTime: 1e-2, TotalTime: 1e-2},
		OneHundredMsToOneS:   trace.Range{Count: 1, MeanTime: 0.1, MaxTime: 0.1, TotalTime: 0.1},
		OneToTenS:            trace.Range{Count: 2, MeanTime: 2, MaxTime: 3, TotalTime: 4},
		TenToOneHundredS:     trace.Range{Count: 1, MeanTime: 10, MaxTime: 10, TotalTime: 10},
		OneHundredSAndLonger: trace.Range{Count: 2, MeanTime: 2550, MaxTime: 5000, TotalTime: 5100},
	}
	near := cmp.Comparer(func(a, b float64) bool { return max(a-b, b-a) <= 1e-9*max(a, b) })
	if diff := cmp.Diff(want, one, near); diff != "" {
		t.Errorf("distribution (-want +got):\n%s", diff)
	}
	zero := `{"count":0,"meanTime":0,"maxTime":0,"totalTime":0}`
	wantJSON := `{"identity":"B","count":0,"totalTime":0,"oneToTenUs":` + zero + `,"tenToOneHundredUs":` + zero + `,"oneHundredUsToOneMs":` + zero + `,"oneToTenMs":` + zero +
		`,"tenToOneHundredMs":` + zero + `,"oneHundredMsToOneS":` + zero + `,"oneToTenS":` + zero + `,"tenToOneHundredS":` + zero + `,"oneHundredS":` + zero + `}`
	if diff := cmp.Diff(wantJSON, jsonOf(t, trace.Distribution{Identity: "B"})); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

func TestDistributions(t *testing.T) {
	t.Parallel()
	got := fed(t, trace.Options{}, produced)
	one := got.traceOf(t, "3Na")
	nesting := trace.NewNesting()
	structured := nesting.Structured(one, 1, nil, got.rowsOf(one.Number))
	distributions := trace.Distributions{}
	distributions.Add(structured)
	structured.Status = trace.Pending
	distributions.Add(structured)

	var names []string
	for _, each := range distributions.ByTotalTime() {
		names = append(names, each.Identity)
	}
	want := []string{"Breadcrumb_integrated", "Check_completed_works", "Unheard_of", "Apply_diff", "Begin_block_production", "Create_breadcrumb", "Validate_staged_ledger_diff", "Build_breadcrumb"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("by total time (-want +got):\n%s", diff)
	}
	if both := distributions["Create_breadcrumb"]; both.Count != 2 || both.TotalTime != 1.5 {
		t.Errorf("got %v, want 2 of 1.5 s together", both)
	}

	var show func(nodes []*trace.DistributionNode) string
	show = func(nodes []*trace.DistributionNode) string {
		var parts []string
		for _, node := range nodes {
			parts = append(parts, node.Distribution.Identity+"("+show(node.Children)+")")
		}
		return strings.Join(parts, " ")
	}
	wantTree := "Breadcrumb_integrated() Unheard_of() Begin_block_production() Build_breadcrumb(Create_breadcrumb() Validate_staged_ledger_diff(Check_completed_works() Apply_diff()))"
	if diff := cmp.Diff(wantTree, show(nesting.Distributions(distributions))); diff != "" {
		t.Errorf("structured (-want +got):\n%s", diff)
	}
	if text := jsonOf(t, nesting.Distributions(trace.Distributions{"A": {Identity: "A"}})); !strings.HasPrefix(text, `[{"distribution":{"identity":"A",`) || !strings.HasSuffix(text, `"children":[]}]`) {
		t.Errorf("structured as JSON: %s", text)
	}
	if text := jsonOf(t, trace.Distributions{"A": {Identity: "A"}}); !strings.HasPrefix(text, `[["A",{"identity":"A",`) {
		t.Errorf("distributions as JSON: %s", text)
	}
	for _, bad := range []string{`{}`, `[["A"]]`, `[[1,{}]]`, `[["A",5]]`} {
		var read trace.Distributions
		if err := json.Unmarshal([]byte(bad), &read); err == nil {
			t.Errorf("%s was read as %v", bad, read)
		}
	}
}

func TestInfoOfWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	want := `{"source":"Unknown","deployment_id":1,"blockchain_length":0,"global_slot":0,"state_hash":"3Na","status":"Pending","started_at":-1,"total_time":0,"metadata":{}}`
	if diff := cmp.Diff(want, jsonOf(t, trace.NewInfo(trace.Trace{Block: "3Na", Source: trace.Unknown, Status: trace.Pending}, 1, nil))); diff != "" {
		t.Errorf("info (-want +got):\n%s", diff)
	}
}
