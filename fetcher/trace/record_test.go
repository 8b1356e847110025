package trace_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/fetcher/trace"
)

func TestDecodeLine(t *testing.T) {
	t.Parallel()
	item := func(key, value string) trace.Item { return trace.Item{Key: key, Value: json.RawMessage(value)} }
	for _, test := range []struct {
		line string
		want trace.Record
		back string // the line written again, where it differs
	}{
		{line: `["Name",1746628222.361262]`, want: trace.Record{Checkpoint: "Name", Time: 1746628222.361262}},
		{line: `["Name",1746628222]`, want: trace.Record{Checkpoint: "Name", Time: 1746628222}, back: `["Name",1746628222.0]`},
		{line: `["Name",1.5e3]`, want: trace.Record{Checkpoint: "Name", Time: 1500}, back: `["Name",1500.0]`},
		{line: ` [ "N\u0061me" , 5.25 ] `, want: trace.Record{Checkpoint: "Name", Time: 5.25}, back: `["Name",5.25]`},
		{line: `["a\u0000b",5.5]`, want: trace.Record{Checkpoint: "a\uFFFDb", Time: 5.5}, back: "[\"a\uFFFDb\",5.5]"},
		{line: "[\"a\xffb<\",5.5]", want: trace.Record{Checkpoint: "a\uFFFDb<", Time: 5.5}, back: "[\"a\uFFFDb<\",5.5]"},
		{
			line: `{"current_call_tag":"block_received","current_call_id":1069}`,
			want: trace.Record{Control: []trace.Item{item("current_call_tag", `"block_received"`), item("current_call_id", "1069")}},
			back: `{"current_call_id":1069,"current_call_tag":"block_received"}`,
		},
		{line: `{"rotated_log_end":1746628222.5}`, want: trace.Record{Control: []trace.Item{item("rotated_log_end", "1746628222.5")}}},
		{line: `{"a_key_of_a_later_release":{"x":[1,null,true]}}`, want: trace.Record{Control: []trace.Item{item("a_key_of_a_later_release", `{"x":[1,null,true]}`)}}},
		{line: `{"a": {"x" : [ 1 , "y z\"" ] } }`, want: trace.Record{Control: []trace.Item{item("a", `{"x":[1,"y z\""]}`)}}, back: `{"a":{"x":[1,"y z\""]}}`},
		{line: `{"a":1,"a":2}`, want: trace.Record{Control: []trace.Item{item("a", "1"), item("a", "2")}}},
		{line: `{"memo":"a\u0000b"}`, want: trace.Record{Control: []trace.Item{item("memo", "\"a\uFFFDb\"")}}, back: "{\"memo\":\"a\uFFFDb\"}"},
		{line: `{"memo":"a\\u0000"}`, want: trace.Record{Control: []trace.Item{item("memo", `"a\\u0000"`)}}},
		{line: `{"memo":"\ud83d\ude00"}`, want: trace.Record{Control: []trace.Item{item("memo", `"\ud83d\ude00"`)}}},
		{line: `{"memo":"\ud83dx\ude00"}`, want: trace.Record{Control: []trace.Item{item("memo", "\"\uFFFDx\uFFFD\"")}}, back: "{\"memo\":\"\uFFFDx\uFFFD\"}"},
		{line: `{"memo":"\ud83d\ud83d\ude00"}`, want: trace.Record{Control: []trace.Item{item("memo", "\"\uFFFD\\ud83d\\ude00\"")}}, back: "{\"memo\":\"\uFFFD\\ud83d\\ude00\"}"},
		{line: "{\"memo\":\"\xc3\x28 \xe2\x82\xac\"}", want: trace.Record{Control: []trace.Item{item("memo", "\"\uFFFD( €\"")}}, back: "{\"memo\":\"\uFFFD( €\"}"},
	} {
		t.Run(test.line, func(t *testing.T) {
			t.Parallel()
			got, err := trace.DecodeLine(trace.Main, []byte(test.line))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
			want := test.back
			if want == "" {
				want = test.line
			}
			if back := string(got.AppendLine(nil)); back != want {
				t.Errorf("written again %s, want %s", back, want)
			}
		})
	}
}

func TestDecodeLineRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		line string
		want error
	}{
		{``, trace.ErrNotRecord},
		{`{`, trace.ErrNotRecord},
		{`5`, trace.ErrNotRecord},
		{`null`, trace.ErrNotRecord},
		{`{}`, trace.ErrNotRecord},
		{`[]`, trace.ErrNotRecord},
		{`["A"]`, trace.ErrNotRecord},
		{`["A",5.0,6]`, trace.ErrNotRecord},
		{`[5.0,"A"]`, trace.ErrNotRecord},
		{`["A","5.0"]`, trace.ErrNotRecord},
		{`["A",null]`, trace.ErrNotRecord},
		{`["A",5.0] ["B",6.0]`, trace.ErrNotRecord},
		{"[\"A\x00\",5.0]", trace.ErrNotRecord},
		{`["",5.0]`, trace.ErrName},
		{`["` + strings.Repeat("x", 257) + `",5.0]`, trace.ErrName},
		{`["A",-1.5]`, trace.ErrTime},
		{`["A",1e20]`, trace.ErrTime},
		{`["A",1e999]`, trace.ErrValue},
		{`{"a":1e99999999999999999999}`, trace.ErrValue},
		{`{"a":` + strings.Repeat("9", 401) + `}`, trace.ErrValue},
		{`{"a":` + strings.Repeat("[", 201) + strings.Repeat("]", 201) + `}`, trace.ErrValue},
	} {
		if got, err := trace.DecodeLine(trace.Main, []byte(test.line)); !errors.Is(err, test.want) {
			t.Errorf("%.60s: %v and %v, want %v", test.line, got, err, test.want)
		}
	}
}

// Entries of a node's log give the same records as the lines that a fetcher writes of them.
func TestEntriesOfTheLog(t *testing.T) {
	t.Parallel()
	at := time.Date(2025, 5, 7, 14, 30, 22, 361_262_000, time.UTC)
	checkpoint, err := trace.NewCheckpoint(trace.Prover, 7, "Name", at)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(trace.Record{Process: trace.Prover, ID: 7, Checkpoint: "Name", Time: 1746628222.361262}, checkpoint); diff != "" {
		t.Errorf("checkpoint (-want +got):\n%s", diff)
	}
	if odd, err := trace.NewCheckpoint(trace.Main, 7, "a\x00b\xff", at); err != nil || odd.Checkpoint != "a\uFFFDb\uFFFD" {
		t.Errorf("name with NUL: %q and %v", odd.Checkpoint, err)
	}
	control, err := trace.NewControl(trace.Main, 8, []trace.Item{{Key: "b", Value: json.RawMessage(`{ "x": "\u0000" }`)}, {Key: "a", Value: json.RawMessage("1")}})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(control.AppendLine([]byte("> "))); got != "> {\"a\":1,\"b\":{\"x\":\"\uFFFD\"}}" {
		t.Errorf("control written as %s", got)
	}
	if got := string(control.Value("a")) + string(control.Value("c")); got != "1" {
		t.Errorf("values of a and c: %s", got)
	}
	for name, err := range map[string]error{
		"no items":  second(trace.NewControl(trace.Main, 1, nil)),
		"no JSON":   second(trace.NewControl(trace.Main, 1, []trace.Item{{Key: "a", Value: json.RawMessage(`{`)}})),
		"no value":  second(trace.NewControl(trace.Main, 1, []trace.Item{{Key: "a"}})),
		"too deep":  second(trace.NewControl(trace.Main, 1, []trace.Item{{Key: "a", Value: json.RawMessage(strings.Repeat("[", 300) + strings.Repeat("]", 300))}})),
		"no name":   second(trace.NewCheckpoint(trace.Main, 1, "", at)),
		"year 0":    second(trace.NewCheckpoint(trace.Main, 1, "A", time.Time{})),
		"process":   second(trace.ParseProcess("snark worker")),
		"year 9999": second(trace.NewCheckpoint(trace.Main, 1, "A", time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestProcesses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "main M", "main": "main M", "prover": "prover P", "verifier": "verifier V"} {
		process, err := trace.ParseProcess(text)
		if got := process.String() + " " + process.Letter(); err != nil || got != want {
			t.Errorf("%q: %s and %v, want %s", text, got, err, want)
		}
	}
	if got := trace.Process(9).String(); got != "process 9" {
		t.Errorf("an unknown process is %s", got)
	}
}

func readLines(source io.Reader, options trace.LineOptions) []string {
	var got []string
	for record, err := range trace.NewLines(source, trace.Main, options).Records() {
		var line *trace.LineError
		switch {
		case errors.As(err, &line):
			got = append(got, fmt.Sprintf("bad %d", line.Line))
			if !errors.Is(err, trace.ErrNotRecord) && !errors.Is(err, trace.ErrLineTooLong) || !strings.HasPrefix(err.Error(), fmt.Sprintf("line %d: ", line.Line)) {
				got = append(got, err.Error())
			}
		case err != nil:
			got = append(got, err.Error())
		default:
			got = append(got, fmt.Sprintf("%d %s", record.ID, record.Checkpoint))
		}
	}
	return got
}

func TestLines(t *testing.T) {
	t.Parallel()
	long := `["` + strings.Repeat("x", 100_000) + `",1.0]`
	for _, test := range []struct {
		name, text string
		options    trace.LineOptions
		want       []string
	}{
		{name: "empty"},
		{name: "bad lines do not stop the rest", text: "[\"A\",1.0]\nxx\n\n[\"B\",2.0]\r\n[\"C\",", want: []string{"1 A", "bad 2", "4 B", "bad 5"}},
		{name: "no newline at the end", text: "[\"A\",1.0]\n[\"B\",2.0]", want: []string{"1 A", "2 B"}},
		{name: "too long", text: "[\"A\",1.0]\n" + long + "\n[\"B\",2.0]\n" + long, options: trace.LineOptions{MaxLineBytes: 70_000}, want: []string{"1 A", "bad 2", "3 B", "bad 4"}},
		{name: "just not too long", text: "[\"A\",1.0]\n", options: trace.LineOptions{MaxLineBytes: 9}, want: []string{"1 A"}},
		{name: "just too long", text: "[\"A\",1.0]\n", options: trace.LineOptions{MaxLineBytes: 8}, want: []string{"bad 1"}},
		{name: "repeats stay", text: "[\"A\",1.0]\n[\"A\",1.0]\n", want: []string{"1 A", "2 A"}},
		{name: "repeats dropped", text: "[\"A\",1.0]\n[\"A\",1.0]\n[\"B\",1.0]\n[\"A\",1.0]\n[\"A\",1.0]\n[\"A\",1.0]", options: trace.LineOptions{DropRepeats: true}, want: []string{"1 A", "3 B", "4 A"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for name, source := range map[string]io.Reader{"whole": strings.NewReader(test.text), "byte by byte": iotest.OneByteReader(strings.NewReader(test.text))} {
				if diff := cmp.Diff(test.want, readLines(source, test.options)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
	broken := io.MultiReader(strings.NewReader("[\"A\",1.0]\n[\"B\""), iotest.ErrReader(errors.New("disk on fire")))
	if diff := cmp.Diff([]string{"1 A", "reading the main trace after line 1: disk on fire"}, readLines(broken, trace.LineOptions{})); diff != "" {
		t.Errorf("source that fails (-want +got):\n%s", diff)
	}
}

func FuzzDecodeLine(f *testing.F) {
	for _, line := range []string{
		`["Name",1746628222.361262]`, `{"current_call_id":1069,"current_call_tag":"block_received"}`, `{"metadata":{"work_ids":[1,2],"fee":"0.01"}}`,
		`{"memo":"\u0000\ud83d\ude00 \ud83d"}`, "{\"memo\":\"\xff\"}", `["A",1e999]`, ` { "a" : [ 1 , { "b" : "c\\\"" } ] } `,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		record, err := trace.DecodeLine(trace.Verifier, line)
		if !bytes.Equal(before, line) {
			t.Fatal("the line was changed")
		}
		if err != nil {
			return
		}
		written := record.AppendLine(nil)
		again, err := trace.DecodeLine(trace.Verifier, written)
		if err != nil {
			t.Fatalf("%s became %s: %v", line, written, err)
		}
		if rewritten := again.AppendLine(nil); !bytes.Equal(written, rewritten) {
			t.Fatalf("%s became %s, then %s", line, written, rewritten)
		}
		if bytes.Contains(written, []byte{0}) || !json.Valid(written) {
			t.Fatalf("%s became %q", line, written)
		}
		for _, item := range record.Control {
			if i := slices.Index(item.Value, 0); i >= 0 {
				t.Fatalf("NUL at %d of %s", i, item.Key)
			}
		}
	})
}
