package fetcher

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/internal/clock"
	"provingground/orchestrator/itn"
)

func TestPaceKeepsWithinHalfTheQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := pace{queue: rapid.IntRange(10, 2000).Draw(t, "queue"), low: 250 * time.Millisecond, high: 10 * time.Second}
		rate := rapid.Float64Range(0, 5000).Draw(t, "entries per second")
		span := p.high
		for range rapid.IntRange(1, 20).Draw(t, "polls") {
			p.observe(int(rate*span.Seconds()), span)
			span = p.interval()
		}
		if span < p.low || span > p.high {
			t.Fatalf("the interval is %s", span)
		}
		if overwritten := rate * span.Seconds(); span > p.low && overwritten > float64(p.queue)/2+2 {
			t.Fatalf("at %g entries a second and every %s, %g of %d are overwritten between two requests", rate, span, overwritten, p.queue)
		}
	})
}

func TestPaceForgetsABurstSlowly(t *testing.T) {
	p := pace{queue: 500, low: time.Second, high: 10 * time.Second}
	for _, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
		if got := p.interval(); got != want*time.Second {
			t.Errorf("while little is known: %s, want %ds", got, want)
		}
		p.observe(0, p.interval())
	}
	p.begin()
	if got := p.interval(); got != p.low {
		t.Errorf("when a daemon begins: %s", got)
	}
	p.observe(5000, 10*time.Second)
	if got := p.interval(); got != time.Second {
		t.Errorf("after a burst: %s", got)
	}
	p.observe(0, time.Second)
	if got := p.interval(); got >= 2*time.Second {
		t.Errorf("right after a burst: %s", got)
	}
	for range 30 {
		p.observe(0, p.interval())
	}
	if got := p.interval(); got != p.high {
		t.Errorf("long after a burst: %s", got)
	}
}

func TestBackoffGrowsToItsBound(t *testing.T) {
	b := backoff{time.Second, time.Minute}
	one, other := rand.New(rand.NewPCG(1, 1)), rand.New(rand.NewPCG(1, 1))
	for failures := 1; failures <= 100; failures++ {
		full := min(time.Minute, time.Second<<min(failures-1, 10))
		got := b.after(failures, one)
		if got < full/2 || got > full {
			t.Errorf("after %d failures: %s, want %s to %s", failures, got, full/2, full)
		}
		if again := b.after(failures, other); again != got {
			t.Errorf("the same seed gave %s and %s", got, again)
		}
	}
}

func TestGateKeepsOrderAndBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(10, clock.Wall())
		if err := g.take(t.Context(), 8); err != nil {
			t.Fatal(err)
		}
		in := make(chan string, 3)
		wait := func(ctx context.Context, name string, amount int64) {
			go func() {
				if err := g.take(ctx, amount); err != nil {
					name = "no " + name
				}
				in <- name
			}()
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		wait(ctx, "large", 9)
		wait(t.Context(), "small", 2)
		if m := g.metrics(); m.Waiting != 2 || m.Held != 8 {
			t.Errorf("%+v", m)
		}
		cancel()
		if got := []string{<-in, <-in}; !slices.Contains(got, "no large") || !slices.Contains(got, "small") {
			t.Errorf("got in: %v", got)
		}
		g.give(8)
		wait(t.Context(), "huge", 100)
		g.give(2)
		if got := <-in; got != "huge" {
			t.Errorf("what is larger than the gate goes in alone, not %q", got)
		}
		g.grow(-100)
		if m := g.metrics(); m.Held != 0 || m.Most != 100 || m.Waiting != 0 {
			t.Errorf("%+v", m)
		}
	})
}

func FuzzSalvage(f *testing.F) {
	for _, seed := range []string{
		`{"data":{"internalLogs":[]}}`, `{"data":{"internalLogs":[{"id":1},null,5,"x",{"id":-1}]}}`, `{"data":null}`, `"text"`, `{`,
		`{"data":{"internalLogs":[{"id":1,"timestamp":"2024-05-01 10:00:00.000000Z","message":"a\u0000","metadata":[{"item":"\ud800","value":[1e9]},{}]},{"id":5}]}}`,
	} {
		f.Add([]byte(seed), 1)
	}
	f.Fuzz(func(t *testing.T, body []byte, next int) {
		next = min(max(next, 1), 1<<40)
		logs, malformed, err := salvage(body)
		if err != nil {
			return
		}
		cursor := Cursor{ServerUUID: "u", Next: next}
		s := sift(cursor, logs, malformed, time.Unix(1<<31, 0))
		checkSifted(t, cursor, s)
	})
}

type reporter interface {
	Errorf(format string, args ...any)
}

// checkSifted demands what every batch must be: each ID from the cursor on to the next one is an entry, malformed, or in a gap, and
// only one of them; and everything is storable.
func checkSifted(t reporter, cursor Cursor, s sifted) {
	covered := make(map[int]int)
	previous := cursor.Next - 1
	for _, log := range s.entries {
		if log.ID <= previous {
			t.Errorf("entry %d after %d", log.ID, previous)
		}
		previous = log.ID
		covered[log.ID]++
		for _, text := range []string{log.Message, log.Process} {
			if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
				t.Errorf("entry %d has the text %q", log.ID, text)
			}
		}
		for _, metadatum := range log.Metadata {
			if !json.Valid(metadatum.Value) || !utf8.Valid(metadatum.Value) || strings.Contains(metadatum.Item, "\x00") {
				t.Errorf("entry %d has the value %q", log.ID, metadatum.Value)
			}
		}
	}
	for _, malformed := range s.malformed {
		if malformed.ID > 0 && malformed.ID < s.next {
			covered[malformed.ID]++
		}
		if !utf8.ValidString(malformed.Raw) || strings.Contains(malformed.Raw, "\x00") || len(malformed.Raw) > 3*maxRaw {
			t.Errorf("malformed entry %d is kept as %q", malformed.ID, malformed.Raw)
		}
	}
	missing := 0
	for _, gap := range s.gaps {
		count, known := gap.Missing()
		if !known || gap.From < cursor.Next || gap.To >= s.next {
			t.Errorf("gap %+v between %d and %d", gap, cursor.Next, s.next)
		}
		missing += count
		for id := range covered {
			if id >= gap.From && id <= gap.To {
				t.Errorf("%d is in the gap %+v and is not", id, gap)
			}
		}
	}
	for id, times := range covered {
		if times != 1 {
			t.Errorf("%d is there %d times", id, times)
		}
	}
	if s.next != cursor.Next+len(covered)+missing {
		t.Errorf("from %d, with %d entries and %d missing, the cursor came to %d", cursor.Next, len(covered), missing, s.next)
	}
}

func TestSiftOfAnyAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.OneOf(rapid.IntRange(-3, 60), rapid.Int())
		var logs []itn.Log
		for _, id := range rapid.SliceOf(id).Draw(t, "entries") {
			logs = append(logs, itn.Log{ID: id, Timestamp: time.Unix(int64(id), 0), Message: rapid.String().Draw(t, "message")})
		}
		var malformed []Malformed
		for _, id := range rapid.SliceOf(id).Draw(t, "malformed") {
			malformed = append(malformed, Malformed{ID: id})
		}
		cursor := Cursor{ServerUUID: "u", Next: rapid.IntRange(1, 50).Draw(t, "next")}
		checkSifted(t, cursor, sift(cursor, logs, malformed, time.Now()))
	})
}

func TestFiles(t *testing.T) {
	at := time.Date(2025, 5, 7, 19, 10, 22, 361262000, time.UTC)
	entries := []itn.Log{
		{ID: 1, Timestamp: at, Message: "Name"},
		{ID: 2, Timestamp: at.Truncate(time.Second), Message: "Whole \"second\"", Process: "prover"},
		{ID: 3, Timestamp: time.Unix(-1, -500_000_000), Message: "Before", Process: "verifier"},
		{ID: 4, Message: "@control", Metadata: []itn.LogMetadatum{
			{Item: "current_call_tag", Value: json.RawMessage(`"t"`)}, {Item: "current_call_id", Value: json.RawMessage(`7`)},
		}},
		{ID: 5, Message: "x", Process: "stranger"},
	}
	dir := t.TempDir()
	files := Files{Dir: dir}
	if err := files.Write("../sub/name", entries); err == nil || !strings.Contains(err.Error(), `entry 5 is of an unknown process "stranger"`) {
		t.Errorf("error %v", err)
	}
	want := map[string]string{
		"internal-trace.jsonl":          "[\"Name\",1746645022.361262]\n{\"current_call_id\":7,\"current_call_tag\":\"t\"}\n",
		"prover-internal-trace.jsonl":   "[\"Whole \\\"second\\\"\",1746645022.000000]\n",
		"verifier-internal-trace.jsonl": "[\"Before\",-1.500000]\n",
	}
	if diff := cmp.Diff(want, read(t, filepath.Join(dir, ".._sub_name"))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestFilesRotate(t *testing.T) {
	dir := t.TempDir()
	files := Files{Dir: dir, MaxBytes: 50, Keep: 2}
	for i := range 10 {
		entry := itn.Log{ID: i, Timestamp: time.Unix(1700000000, 0), Message: strconv.Itoa(i)} // 24 bytes a line
		if err := files.Write("node", []itn.Log{entry}); err != nil {
			t.Fatal(err)
		}
	}
	got := make(map[string][]string)
	for name, text := range read(t, filepath.Join(dir, "node")) {
		for line := range strings.Lines(text) {
			got[name] = append(got[name], line[2:3])
		}
	}
	want := map[string][]string{
		"internal-trace.jsonl": {"8", "9"}, "internal-trace.jsonl.1": {"6", "7"}, "internal-trace.jsonl.2": {"4", "5"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string)
	for _, file := range list {
		text, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		texts[file.Name()] = string(text)
	}
	return texts
}

func TestFilesThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := Files{Dir: file}.Write("node", []itn.Log{{ID: 1, Message: "x"}})
	if _, ok := errors.AsType[*os.PathError](err); !ok {
		t.Errorf("error %v", err)
	}
}

func BenchmarkSift(b *testing.B) {
	logs := make([]itn.Log, 500)
	for i := range logs {
		logs[i] = itn.Log{ID: i + 1, Timestamp: time.Unix(1700000000, 0), Message: "Checkpoint", Metadata: []itn.LogMetadatum{
			{Item: "state_hash", Value: json.RawMessage(`"3NKsmFTVdEaAuu6AvE3L9uErKPTwgPwMXJrRgb1YHyUD6SXjLPx5"`)},
		}}
	}
	b.ReportAllocs()
	for b.Loop() {
		if s := sift(Cursor{Next: 1}, slices.Clone(logs), nil, time.Now()); s.next != 501 {
			b.Fatal(s.next)
		}
	}
	b.ReportMetric(float64(b.N)*500/b.Elapsed().Seconds(), "entries/s")
}

func TestOutlasting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		lasting, done := outlasting(ctx, 10*time.Second)
		defer done()
		why := errors.New("a signal")
		began := time.Now()
		cancel(why)
		<-lasting.Done()
		if took := time.Since(began); took != 10*time.Second || !errors.Is(context.Cause(lasting), why) {
			t.Errorf("it ended after %s: %v", took, context.Cause(lasting))
		}
		other, done := outlasting(ctx, time.Hour) // of one that has ended
		if synctest.Wait(); other.Err() != nil {
			t.Error("it ended at once")
		}
		done()
		if time.Since(began) != 10*time.Second {
			t.Error("done waits")
		}
	})
}
