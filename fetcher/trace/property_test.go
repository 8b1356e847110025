package trace_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/fetcher/trace"
)

// anyMain draws what a daemon could write, and now and then what it could not: few blocks, calls and names, so that they meet.
func anyMain(t *rapid.T) []trace.Record {
	at := 1_700_000_000.0
	names := []string{
		"External_block_received", "Begin_block_production", "To_download", "Build_breadcrumb", "Verify_commands", "Verify_transaction_snarks",
		"Verify_blockchain_snarks", "Produce_state_transition_proof", "Breadcrumb_integrated", "Failure", "Snark_work_received",
		"Snark_work_added", "Transaction_diff_received", "Transaction_diff_rejected", "Name_of_a_later_release",
	}
	lines := []string{
		`{"current_block":"0"}`, `{"current_block":"3Na"}`, `{"current_block":"3Nb"}`, `{"current_block":"17"}`, `{"current_block":18}`, `{"current_block":[]}`,
		`{"current_call_id":0}`, `{"current_call_id":5,"current_call_tag":"block_received"}`, `{"current_call_id":6,"current_call_tag":"block_received"}`, `{"current_call_id":-1}`,
		`{"metadata":{"count":1}}`, `{"metadata":{"work_ids":[7],"fee":"0.1"}}`, `{"metadata":{"diff":[["payment","7mX","exp-1-2-3"]],"sender":"a"}}`, `{"metadata":[]}`,
		`{"block_metadata":{"blockchain_length":"3","global_slot":["Since_genesis","17"]}}`, `{"block_metadata":{"transactions":[["coinbase","720",["Applied"]]]}}`,
		`{"block_metadata":{"interrupt_get_completed_work_at":3,"interrupt_get_completed_work_reason":"full","interrupt_get_completed_work_ids":[1,2]}}`,
		`{"produced_block_state_hash":"3Na"}`, `{"produced_block_state_hash":"3Nc"}`, `{"mina_node_metadata":{"version":1}}`,
	}
	text := rapid.Custom(func(t *rapid.T) string {
		if rapid.Bool().Draw(t, "checkpoint") {
			at += float64(rapid.IntRange(-1, 20).Draw(t, "ms")) / 1000
			return fmt.Sprintf(`["%s",%.3f]`, rapid.SampledFrom(names).Draw(t, "name"), at)
		}
		return rapid.SampledFrom(lines).Draw(t, "control")
	})
	return decoded(t, trace.Main, rapid.SliceOfN(text, 0, 120).Draw(t, "main"))
}

// anyJobs draws jobs of one child process, some of them broken.
func anyJobs(t *rapid.T, process trace.Process, firsts ...string) []trace.Record {
	var lines []string
	at := 1_700_000_000.0
	for range rapid.IntRange(0, 12).Draw(t, "jobs") {
		first := rapid.SampledFrom(firsts).Draw(t, "first")
		at += float64(rapid.IntRange(0, 100).Draw(t, "ms")) / 1000
		lines = append(lines, fmt.Sprintf(`{"current_call_id":%d}`, rapid.IntRange(0, 3).Draw(t, "call")),
			fmt.Sprintf(`["%s",%.3f]`, first, at), `{"metadata": {"count" : 2, "note": "a < b & c"}}`, fmt.Sprintf(`["Verify_heterogenous",%.3f]`, at+0.001))
		if rapid.IntRange(0, 5).Draw(t, "ends") > 0 {
			lines = append(lines, fmt.Sprintf(`["%s_done",%.3f]`, first, at+0.002))
		}
	}
	return decoded(t, process, lines)
}

func decoded(t *rapid.T, process trace.Process, lines []string) []trace.Record {
	all := make([]trace.Record, len(lines))
	for i, line := range lines {
		record, err := trace.DecodeLine(process, []byte(line))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		record.ID = int64(i + 1)
		all[i] = record
	}
	return all
}

func interleaved(t *rapid.T, sequences ...[]trace.Record) []trace.Record {
	var all []trace.Record
	rest := slices.Clone(sequences)
	for {
		rest = slices.DeleteFunc(rest, func(s []trace.Record) bool { return len(s) == 0 })
		if len(rest) == 0 {
			return all
		}
		i := rapid.IntRange(0, len(rest)-1).Draw(t, "from")
		count := rapid.IntRange(1, len(rest[i])).Draw(t, "count")
		all = append(all, rest[i][:count]...)
		rest[i] = rest[i][count:]
	}
}

// inBatches feeds the records in any batches, in between passing the state on to a new Reader now and then.
func inBatches(t *rapid.T, options trace.Options, all []trace.Record) *store {
	got := newStore()
	reader := trace.NewReader(options)
	for len(all) > 0 {
		count := rapid.IntRange(0, len(all)).Draw(t, "batch")
		got.apply(reader.Feed(all[:count]))
		all = all[count:]
		if rapid.Bool().Draw(t, "restart") {
			reader = passedOn(t, reader, options)
		}
	}
	got.apply(reader.Finish())
	return got
}

func passedOn(t *rapid.T, reader *trace.Reader, options trace.Options) *trace.Reader {
	state, err := reader.Export()
	if err != nil {
		t.Fatal(err)
	}
	next, err := trace.Import(state, options)
	if err != nil {
		t.Fatal(err)
	}
	again, err := next.Export()
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(state), string(again)); diff != "" {
		t.Fatalf("state exported again (-want +got):\n%s", diff)
	}
	return next
}

func TestBatchesAndRestartsMakeNoDifference(t *testing.T) {
	t.Parallel()
	whole := records(t, string(sample(t)), trace.Main, trace.LineOptions{})
	rapid.Check(t, func(t *rapid.T) {
		options := trace.Options{}
		var all []trace.Record
		if rapid.IntRange(0, 9).Draw(t, "sample") == 0 {
			start := rapid.IntRange(0, len(whole)-1).Draw(t, "start")
			all = whole[start:min(len(whole), start+200)]
		} else {
			options = trace.Options{Traces: rapid.IntRange(1, 5).Draw(t, "traces"), Calls: rapid.IntRange(1, 4).Draw(t, "calls"), Jobs: rapid.IntRange(1, 3).Draw(t, "open")}
			all = interleaved(t, anyMain(t), anyJobs(t, trace.Prover, "Prover_extend_blockchain"), anyJobs(t, trace.Verifier, "Verifier_verify_commands"))
		}
		reader := trace.NewReader(options)
		want := newStore()
		want.apply(reader.Feed(all))
		want.apply(reader.Finish())
		if diff := gocmp.Diff(want, inBatches(t, options, all)); diff != "" {
			t.Fatalf("one batch against several (-want +got):\n%s", diff)
		}
	})
}

func TestInterleavingMakesNoDifference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		main := anyMain(t)
		prover := anyJobs(t, trace.Prover, "Prover_extend_blockchain")
		verifier := anyJobs(t, trace.Verifier, "Verifier_verify_commands", "Verifier_verify_blockchain_snarks", "Verifier_verify_transaction_snarks")
		inOrder := func(s *store) *store {
			slices.SortFunc(s.Rows, func(a, b trace.Row) int {
				return cmp.Or(cmp.Compare(a.Process, b.Process), cmp.Compare(a.Seq, b.Seq))
			})
			slices.SortFunc(s.Problems, func(a, b trace.Problem) int {
				return cmp.Or(cmp.Compare(a.Process, b.Process), cmp.Compare(a.Seq, b.Seq), strings.Compare(a.Text, b.Text))
			})
			return s
		}
		options := trace.Options{}
		oneAfterTheOther := inOrder(inBatches(t, options, slices.Concat(main, prover, verifier)))
		mixed := inOrder(inBatches(t, options, interleaved(t, main, prover, verifier)))
		if diff := gocmp.Diff(oneAfterTheOther, mixed); diff != "" {
			t.Fatalf("one file after the other against mixed (-want +got):\n%s", diff)
		}
	})
}

func TestLinesComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		for _, record := range anyMain(t) {
			line := record.AppendLine(nil)
			again, err := trace.DecodeLine(trace.Main, line)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			again.ID = record.ID
			if diff := gocmp.Diff(record, again); diff != "" {
				t.Fatalf("%s (-want +got):\n%s", line, diff)
			}
		}
	})
}

func TestSampleLinesAreWrittenAsTheNodeDoes(t *testing.T) {
	t.Parallel()
	for line := range strings.Lines(string(sample(t))) {
		line = strings.TrimSuffix(line, "\n")
		record, err := trace.DecodeLine(trace.Main, []byte(line))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(record.AppendLine(nil)); got != line {
			t.Fatalf("got %s, want %s", got, line)
		}
	}
}
