package trace_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"provingground/fetcher/trace"
)

// sample returns the real trace that internal-trace, section 3.5 gives the results of.
func sample(tb testing.TB) []byte {
	tb.Helper()
	file, err := os.Open("testdata/internal-trace.jsonl.gz")
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		tb.Fatal(err)
	}
	content, err := io.ReadAll(unzipped)
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

// records reads all lines of a trace, none of which may be bad.
func records(tb testing.TB, content string, process trace.Process, options trace.LineOptions) []trace.Record {
	tb.Helper()
	var all []trace.Record
	for record, err := range trace.NewLines(strings.NewReader(content), process, options).Records() {
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, record)
	}
	return all
}

// store is what a loader would hold after all changes.
type store struct {
	Traces        map[int64]trace.Trace
	Metadata      map[int64]trace.Metadata
	Rows          []trace.Row
	Renames       []trace.Rename
	Gossip        []trace.Gossip
	Transactions  []trace.BlockTransactions
	Interruptions []trace.Interruption
	Retired       []int64
	Problems      []trace.Problem
	Created       map[int64]int
	Succeeded     map[int64]int
}

func newStore() *store {
	return &store{Traces: map[int64]trace.Trace{}, Metadata: map[int64]trace.Metadata{}, Created: map[int64]int{}, Succeeded: map[int64]int{}}
}

func (s *store) apply(changes trace.Changes) {
	for _, change := range changes.Traces {
		s.Traces[change.Number] = change.Trace
		if change.Created {
			s.Created[change.Number]++
		}
		if change.Succeeded {
			s.Succeeded[change.Number]++
		}
		for key, value := range change.Metadata {
			if s.Metadata[change.Number] == nil {
				s.Metadata[change.Number] = trace.Metadata{}
			}
			s.Metadata[change.Number][key] = value
		}
	}
	s.Rows = append(s.Rows, changes.Rows...)
	for _, rename := range changes.Renames {
		if rename.Replaces == 0 {
			continue
		}
		delete(s.Traces, rename.Replaces)
		for i := range s.Rows {
			if s.Rows[i].Trace == rename.Replaces {
				s.Rows[i].Trace = rename.Trace
			}
		}
	}
	s.Renames = append(s.Renames, changes.Renames...)
	s.Gossip = append(s.Gossip, changes.Gossip...)
	s.Transactions = append(s.Transactions, changes.Transactions...)
	s.Interruptions = append(s.Interruptions, changes.Interruptions...)
	s.Retired = append(s.Retired, changes.Retired...)
	s.Problems = append(s.Problems, changes.Problems...)
}

func (s *store) rowsOf(number int64) []trace.Row {
	return slices.DeleteFunc(slices.Clone(s.Rows), func(r trace.Row) bool { return r.Trace != number })
}

// traceOf returns the trace of the block whose id begins so.
func (s *store) traceOf(tb testing.TB, block string) trace.Trace {
	tb.Helper()
	for _, t := range s.Traces {
		if strings.HasPrefix(t.Block, block) {
			return t
		}
	}
	tb.Fatalf("no trace of block %s", block)
	return trace.Trace{}
}

func TestSampleGivesTheCheckedResult(t *testing.T) {
	t.Parallel()
	content := sample(t)
	for _, test := range []struct {
		name                       string
		options                    trace.LineOptions
		lines, repeats             int64
		rows, gossipRows, rejected int
	}{
		{name: "raw", lines: 4488, rows: 4376, gossipRows: 3122, rejected: 921},
		{name: "without repeats", options: trace.LineOptions{DropRepeats: true}, lines: 4488, repeats: 205, rows: 4376 - 205, gossipRows: 3122 - 202, rejected: 719},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := newStore()
			reader := trace.NewReader(trace.Options{})
			lines := trace.NewLines(strings.NewReader(string(content)), trace.Main, test.options)
			checkpoints := 0
			for record, err := range lines.Records() {
				if err != nil {
					t.Fatal(err)
				}
				if record.Checkpoint != "" {
					checkpoints++
				}
				got.apply(reader.Feed([]trace.Record{record}))
			}
			gossipRows := 0
			for _, row := range got.Rows {
				if row.Gossip {
					gossipRows++
				}
			}
			actions := map[string]int{}
			works := map[string]bool{}
			for _, event := range got.Gossip {
				actions[string(event.Resource)+" "+event.Action]++
				works[fmt.Sprint(event.Work.IDs)] = true
			}
			counts := []any{lines.Read(), lines.Repeats(), checkpoints, len(got.Traces), len(got.Rows), gossipRows, actions, len(works), len(got.Problems)}
			want := []any{test.lines, test.repeats, 2382, 12, test.rows, test.gossipRows, map[string]int{
				"Snark_work received": 730, "Snark_work accepted": 11, "Snark_work rejected": test.rejected,
			}, 135, 0}
			if diff := cmp.Diff(want, counts); diff != "" {
				t.Errorf("lines, repeats, checkpoints, traces, rows, gossip, actions, works, problems (-want +got):\n%s", diff)
			}
			checkSampleTraces(t, got)
		})
	}
}

func checkSampleTraces(t *testing.T, got *store) {
	t.Helper()
	wantTraces := []string{
		"0 Unknown - - Pending 3437.273178",
		"3NKPvaHButv9 External 461 855 Success 0.845229",
		"3NLuEvjLU1QA External 461 855 Success 0.979240",
		"3NKb9KZ1eA8V External 463 858 Success 0.589291",
		"3NLuT6ijs2kw Internal 462 857 Success 4.971491",
		"3NLu5sNRwVV5 Internal 464 859 Success 5.031311",
		"3NLQhLAC7h9T Internal 465 864 Success 4.981210",
		"3NKK7X9R2hK5 Internal 466 865 Success 4.957133",
		"3NLsXCjVdPnc Internal 467 870 Success 4.937261",
		"3NLktCUSvmCu Internal 468 871 Success 4.993762",
		"3NLSD8jtuifQ Internal 469 872 Success 5.022765",
		"3NKMrSubcNy9 Internal 470 874 Success 4.933796",
	}
	var traces []string
	for number, one := range got.Traces {
		traces = append(traces, fmt.Sprintf("%.12s %s %s %s %s %.6f", one.Block, one.Source, known(one.Length), known(one.GlobalSlot), one.Status, one.Total()))
		successes := 0
		if one.Status == trace.Success {
			successes = 1
		}
		if got.Created[number] != 1 || got.Succeeded[number] != successes {
			t.Errorf("trace %d was created %d times and succeeded %d times", number, got.Created[number], got.Succeeded[number])
		}
	}
	slices.Sort(wantTraces)
	slices.Sort(traces)
	if diff := cmp.Diff(wantTraces, traces); diff != "" {
		t.Errorf("traces (-want +got):\n%s", diff)
	}
	if len(got.Renames) != 8 || len(got.Transactions) != 11 {
		t.Errorf("%d renames and transactions of %d blocks, want 8 and 11", len(got.Renames), len(got.Transactions))
	}
}

func known(number *int64) string {
	if number == nil {
		return "-"
	}
	return fmt.Sprint(*number)
}

// The structured trace of every block of the sample, produced ones among them, holds each main checkpoint once, and durations of siblings add
// up to their parent's.
func TestSampleStructuredTraces(t *testing.T) {
	t.Parallel()
	got := newStore()
	got.apply(trace.NewReader(trace.Options{}).Feed(records(t, string(sample(t)), trace.Main, trace.LineOptions{})))
	nesting := trace.NewNesting()
	distributions := trace.Distributions{}
	entries := int64(0)
	for number, one := range got.Traces {
		flat := trace.Flat(one, 1, got.Metadata[number], got.rowsOf(number))
		structured := nesting.Structured(one, 1, got.Metadata[number], got.rowsOf(number))
		var names []string
		var walk func(nodes []*trace.Node)
		walk = func(nodes []*trace.Node) {
			for _, node := range nodes {
				names = append(names, node.Checkpoint)
				if node.Duration < 0 {
					t.Errorf("%s of %s lasts %g s", node.Checkpoint, one.Block, node.Duration)
				}
				if len(node.Checkpoints) > 0 {
					total := node.Checkpoints[0].StartedAt - node.StartedAt
					for _, child := range node.Checkpoints {
						total += child.Duration
					}
					if math.Abs(total-node.Duration) > 1e-6 {
						t.Errorf("%s of %s lasts %g s, what is in it %g s", node.Checkpoint, one.Block, node.Duration, total)
					}
				}
				walk(node.Checkpoints)
			}
		}
		walk(structured.Sections[0].Checkpoints)
		var flatNames []string
		for _, entry := range flat.Checkpoints {
			flatNames = append(flatNames, entry.Checkpoint)
		}
		if diff := cmp.Diff(flatNames, names); diff != "" {
			t.Errorf("block %s: flat and structured differ:\n%s", one.Block, diff)
		}
		if one.Block != trace.NoBlock && flatNames[len(flatNames)-1] != "Breadcrumb_integrated" {
			t.Errorf("block %s ends in %s", one.Block, flatNames[len(flatNames)-1])
		}
		if one.Source == trace.Internal {
			var after []string
			for _, entry := range flat.OtherCheckpoints {
				after = append(after, entry.Checkpoint)
			}
			if diff := cmp.Diff([]string{"Produce_chain_transition_proof", "Produce_validated_transition"}, after); diff != "" {
				t.Errorf("block %s after success (-want +got):\n%s", one.Block, diff)
			}
		}
		distributions.Add(structured)
		if one.Status == trace.Success {
			entries += int64(len(names))
		}
	}
	total := int64(0)
	for _, one := range distributions {
		total += one.Count
	}
	if total != entries || distributions["Build_breadcrumb"].Count != 11 {
		t.Errorf("distributions of %d entries, want %d; %d of Build_breadcrumb, want 11", total, entries, distributions["Build_breadcrumb"].Count)
	}
	text, err := json.Marshal(distributions)
	if err != nil {
		t.Fatal(err)
	}
	var again trace.Distributions
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(distributions, again); diff != "" {
		t.Errorf("distributions read again (-want +got):\n%s", diff)
	}
}

func BenchmarkReconstruct(b *testing.B) {
	content := string(sample(b))
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		reader := trace.NewReader(trace.Options{})
		batch := make([]trace.Record, 0, 500)
		for record, err := range trace.NewLines(strings.NewReader(content), trace.Main, trace.LineOptions{}).Records() {
			if err != nil {
				b.Fatal(err)
			}
			if batch = append(batch, record); len(batch) == cap(batch) {
				reader.Feed(batch)
				batch = batch[:0]
			}
		}
		reader.Feed(batch)
	}
}

func BenchmarkFeed(b *testing.B) {
	content := string(sample(b))
	all := records(b, content, trace.Main, trace.LineOptions{})
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		reader := trace.NewReader(trace.Options{})
		for batch := range slices.Chunk(all, 500) {
			reader.Feed(batch)
		}
	}
}

func BenchmarkExport(b *testing.B) {
	reader := trace.NewReader(trace.Options{})
	reader.Feed(records(b, string(sample(b)), trace.Main, trace.LineOptions{}))
	b.ReportAllocs()
	for b.Loop() {
		state, err := reader.Export()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(state)), "state-bytes")
	}
}
