package record_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/orchestrator/record"
)

var noon = time.Date(2024, 5, 1, 12, 0, 0, 123456789, time.UTC)

func asIs(text string) string { return text }

func line(step int, name, value string) record.Line {
	return record.Line{Time: noon, Step: step, Action: "payments", Name: name, Multi: true, Value: json.RawMessage(value)}
}

// disk is a record file that remembers what was flushed.
type disk struct {
	mu      sync.Mutex
	text    []byte
	flushed int // how much of the text was there when the last flush began
	flushes int
	room    int           // bytes that can be written; 0: any number
	begun   chan struct{} // receives at the beginning of a flush, when set
	release chan error    // ends a flush, when set
	calls   *[]string
}

func (d *disk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.calls != nil {
		*d.calls = append(*d.calls, "file")
	}
	if d.room > 0 && len(d.text)+len(p) > d.room {
		n := d.room - len(d.text)
		d.text = append(d.text, p[:n]...)
		d.room += 1000 // somebody tidied up
		return n, syscall.ENOSPC
	}
	d.text = append(d.text, p...)
	return len(p), nil
}

func (d *disk) Sync() error {
	d.mu.Lock()
	there := len(d.text)
	d.flushes++
	d.mu.Unlock()
	var err error
	if d.release != nil {
		d.begun <- struct{}{}
		err = <-d.release
	} else {
		runtime.Gosched()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.flushed = there
	}
	return err
}

func (d *disk) holds(text string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.Contains(d.text[:d.flushed], []byte(text))
}

// output is standard output that notes when it is written to.
type output struct {
	bytes.Buffer
	calls *[]string
}

func (o *output) Write(p []byte) (int, error) {
	*o.calls = append(*o.calls, "out")
	return o.Buffer.Write(p)
}

// TestWriterShape: the shape of a line is what today's readers know, and what is added comes under keys of its own.
func TestWriterShape(t *testing.T) {
	var out bytes.Buffer
	w := record.NewWriter(&out, nil, asIs, nil)
	east := noon.In(time.FixedZone("", 2*3600))
	err := w.Write(
		record.Line{Time: noon, Step: 5, Name: "participant", Multi: true, Value: json.RawMessage(`"10.0.0.1:3086"`)},
		record.Line{Time: east, Step: 0, Name: "lastSlot", Value: json.RawMessage(` 120 `), Action: "allocate-slots", ID: "slots"},
		record.Line{Time: noon, Step: -1, Name: "_end", Multi: true, Value: json.RawMessage(`{"error":"<a> & b"}`)},
		record.Line{Time: noon, Step: 1, Name: "nothing"},
	)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"time":"2024-05-01T12:00:00.123456789Z","step":5,"name":"participant","multi":true,"value":"10.0.0.1:3086"}
{"time":"2024-05-01T12:00:00.123456789Z","step":0,"id":"slots","action":"allocate-slots","name":"lastSlot","value":120}
{"time":"2024-05-01T12:00:00.123456789Z","step":-1,"name":"_end","multi":true,"value":{"error":"<a> & b"}}
{"time":"2024-05-01T12:00:00.123456789Z","step":1,"name":"nothing","value":null}
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestWriterOrder: the values of outputs are masked, and nothing that must be read again to the letter; lines go to the record file before they are shown; each call in one piece.
func TestWriterOrder(t *testing.T) {
	var calls []string
	var counted []int
	file, out := &disk{calls: &calls}, &output{calls: &calls}
	w := record.NewWriter(out, file, func(text string) string { return strings.ReplaceAll(text, "secret", "******") }, func(lines int) {
		calls = append(calls, "after")
		counted = append(counted, lines)
	})
	if err := errors.Join(w.Write(line(0, "a", `"secret"`), line(0, "secret", `1`)), w.Write(), w.Write(line(1, "b", `["secret"]`), line(1, "_intent", `{"kind":"secret"}`)), w.Flush(), w.Err()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"file", "out", "after", "after", "file", "out", "file", "out", "after", "after"}, calls); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]int{1, 2, 3, 4}, counted); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if string(file.text) != out.String() || strings.Count(out.String(), "secret") != 2 || strings.Count(out.String(), "******") != 2 || strings.Count(out.String(), "\n") != 4 ||
		!strings.Contains(out.String(), `"name":"secret"`) || !strings.Contains(out.String(), `{"kind":"secret"}`) {
		t.Errorf("file\n%s\noutput\n%s", file.text, out)
	}
}

// TestWriterFailures: of two places to write to, one that fails does not keep the lines from the other; it gets nothing more itself,
// since what it holds may end in half a line. The first failure stays.
func TestWriterFailures(t *testing.T) {
	first, second := line(0, "a", `1`), line(0, "b", `2`)
	var one bytes.Buffer
	if err := record.NewWriter(&one, nil, asIs, nil).Write(first); err != nil {
		t.Fatal(err)
	}
	all := one.Len() * 3

	t.Run("record file", func(t *testing.T) {
		var out bytes.Buffer
		file := &disk{room: one.Len() + one.Len()/2}
		w := record.NewWriter(&out, file, asIs, nil)
		if err := errors.Join(w.Write(first), w.Flush()); err != nil {
			t.Fatal(err)
		}
		const want = "write the record file: no space left on device"
		for _, err := range []error{w.Write(second), w.Write(second), w.Flush(), w.Err()} {
			if !errors.Is(err, syscall.ENOSPC) || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		}
		if out.Len() != all {
			t.Errorf("the output got\n%s", &out)
		}
		if lines, whole, err := readAll(string(file.text)); err != nil || len(lines) != 1 || whole != int64(one.Len()) {
			t.Errorf("the file reads as %v, %d, %v", lines, whole, err)
		}
		if file.flushes != 1 {
			t.Errorf("%d flushes", file.flushes)
		}
	})
	t.Run("standard output", func(t *testing.T) {
		reader, writer := io.Pipe()
		if err := reader.Close(); err != nil {
			t.Fatal(err)
		}
		file := &disk{}
		w := record.NewWriter(writer, file, asIs, nil)
		const want = "write to standard output: io: read/write on closed pipe"
		for _, err := range []error{w.Write(first), w.Write(second, second), w.Flush(), w.Err()} {
			if !errors.Is(err, io.ErrClosedPipe) || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		}
		if len(file.text) != all {
			t.Errorf("the file got\n%s", file.text)
		}
	})
	t.Run("both", func(t *testing.T) {
		reader, writer := io.Pipe()
		if err := reader.Close(); err != nil {
			t.Fatal(err)
		}
		w := record.NewWriter(writer, &disk{room: 1}, asIs, nil)
		if err := w.Write(first); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the first failure is not what it says: %v", err)
		}
	})
	t.Run("a value that is no JSON", func(t *testing.T) {
		var out bytes.Buffer
		w := record.NewWriter(&out, nil, asIs, nil)
		if err := w.Write(first, line(7, "b", `{`)); err == nil || !strings.HasPrefix(err.Error(), "record b of step 7: ") {
			t.Error(err)
		}
		if err := w.Write(second); err != nil || out.Len() != one.Len() {
			t.Errorf("%v; the output got\n%s", err, &out)
		}
	})
	t.Run("neither", func(t *testing.T) {
		w := record.NewWriter(nil, nil, asIs, nil)
		if err := errors.Join(w.Write(first), w.Flush(), w.Err()); err != nil {
			t.Error(err)
		}
	})
}

// TestFlushIsShared: while a flush is under way, many lines are written, and one more flush is enough for all of them.
func TestFlushIsShared(t *testing.T) {
	const many = 50
	file := &disk{begun: make(chan struct{}), release: make(chan error)}
	written := make(chan struct{})
	w := record.NewWriter(nil, file, asIs, func(lines int) {
		if lines == 1+many {
			close(written)
		}
	})
	var group sync.WaitGroup
	flush := func(name string) {
		group.Go(func() {
			if err := errors.Join(w.Write(line(0, name, `1`)), w.Flush()); err != nil {
				t.Error(err)
			}
			if !file.holds(`"` + name + `"`) {
				t.Errorf("Flush returned before %s was on disk", name)
			}
		})
	}
	flush("first")
	<-file.begun
	for i := range many {
		flush(fmt.Sprintf("later%d", i))
	}
	<-written
	file.release <- nil
	<-file.begun
	file.release <- nil
	group.Wait()
	if file.flushes != 2 {
		t.Errorf("%d flushes", file.flushes)
	}
}

// TestFlushUnderLoad: whatever the order, a line is on disk when its Flush returns.
func TestFlushUnderLoad(t *testing.T) {
	file := &disk{}
	w := record.NewWriter(io.Discard, file, asIs, nil)
	var group sync.WaitGroup
	for g := range 16 {
		group.Go(func() {
			for i := range 50 {
				name := fmt.Sprintf("g%d.%d", g, i)
				if err := errors.Join(w.Write(line(g, name, `1`)), w.Flush()); err != nil {
					t.Error(err)
				}
				if !file.holds(`"` + name + `"`) {
					t.Errorf("Flush returned before %s was on disk", name)
				}
			}
		})
	}
	group.Wait()
	lines, _, err := readAll(string(file.text))
	if err != nil || len(lines) != 16*50 {
		t.Errorf("%d lines, %v", len(lines), err)
	}
}

// TestFlushFailure: after a flush that failed nobody is told that lines are on disk, neither who waits for it nor who comes later.
func TestFlushFailure(t *testing.T) {
	file := &disk{begun: make(chan struct{}, 10), release: make(chan error, 10)}
	written := make(chan struct{})
	w := record.NewWriter(nil, file, asIs, func(lines int) {
		if lines == 4 {
			close(written)
		}
	})
	errs := make(chan error)
	flush := func() { errs <- errors.Join(w.Write(line(0, "a", `1`)), w.Flush()) }
	go flush()
	<-file.begun
	for range 3 {
		go flush()
	}
	<-written
	file.release <- syscall.EIO
	for range 9 { // as the system does: what could not be written is dropped, and the next flush is fine
		file.release <- nil
	}
	for range 4 {
		if err := <-errs; !errors.Is(err, syscall.EIO) || !strings.HasPrefix(err.Error(), "flush the record file: ") {
			t.Error(err)
		}
	}
	if err := w.Flush(); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if file.flushes != 1 {
		t.Errorf("%d flushes", file.flushes)
	}
}

// TestFlushWithoutDisk: a record may be a pipe, which the system refuses to flush.
func TestFlushWithoutDisk(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	if err := writer.Sync(); !errors.Is(err, syscall.EINVAL) {
		t.Fatalf("a pipe can be flushed here: %v", err)
	}
	w := record.NewWriter(nil, writer, asIs, nil)
	if err := errors.Join(w.Write(line(0, "a", `1`)), w.Flush(), w.Flush(), writer.Close()); err != nil {
		t.Error(err)
	}
	file := &disk{begun: make(chan struct{}, 1), release: make(chan error, 1)}
	file.release <- fmt.Errorf("sync: %w", syscall.ENOTSUP)
	w = record.NewWriter(nil, file, asIs, nil)
	if err := errors.Join(w.Write(line(0, "a", `1`)), w.Flush(), w.Flush()); err != nil || file.flushes != 1 {
		t.Errorf("%v after %d flushes", err, file.flushes)
	}
}

func readAll(text string) (lines []record.Line, whole int64, err error) {
	whole, err = record.Read("run.out", strings.NewReader(text), func(l record.Line) error {
		lines = append(lines, l)
		return nil
	})
	return lines, whole, err
}

func TestRead(t *testing.T) {
	const a = `{"time":"2024-05-01T10:00:00.5Z","step":5,"name":"participant","multi":true,"value":"10.0.0.1:3086"}`
	const b = `{"time":"2024-05-01T10:00:01Z","step":6,"name":"lastSlot","value":120}`
	const c = `{"time":"2024-05-01T10:00:01Z","step":-1,"name":"_end","multi":true,"value":{"code":0}}`
	two := int64(len(a) + len(b) + 2)
	for _, test := range []struct {
		name, text string
		names      string // of the lines, joined
		whole      int64
		err        string
	}{
		{"of today's tool", a + "\n" + b + "\n", "participant lastSlot", two, ""},
		{"with what is beside outputs", a + "\n" + c + "\n", "participant _end", int64(len(a) + len(c) + 2), ""},
		{"null as a value", `{"time":"2024-05-01T10:00:01Z","step":0,"name":"n","value":null}` + "\n", "n", 65, ""},
		{"keys of a later version", `{"time":"2024-05-01T10:00:01Z","step":0,"name":"n","value":1,"new":[]}` + "\n", "n", 71, ""},
		{"Windows line ends", a + "\r\n" + b + "\r\n", "participant lastSlot", two + 2, ""},
		{"blank lines", "\n" + a + "\n \n\n" + b + "\n\n", "participant lastSlot", two + 5, ""},

		{"last line cut off", a + "\n" + b + "\n" + c[:40], "participant lastSlot", two, ""},
		{"last line cut off at once", a + "\n" + b + "\n{", "participant lastSlot", two, ""},
		{"last line of zeros", a + "\n" + b + "\n" + strings.Repeat("\x00", 4096), "participant lastSlot", two, ""},
		{"last line without its end", a + "\n" + b + "\n" + c, "participant lastSlot _end", two, ""},
		{"first line cut off", a[:50], "", 0, "run.out: no record of a run"},
		{"first line without its end", a, "participant", 0, ""},

		{"empty", "", "", 0, "run.out: no record of a run"},
		{"blank", " \n\n", "", 3, "run.out: no record of a run"},
		{
			"garbage between lines", a + "\n" + "2024-05-01 INFO\n" + b + "\n", "participant", int64(len(a) + 1),
			"run.out, line 2, is no line of a record: invalid character '-' after top-level value",
		},
		{"line cut off between lines", a + "\n" + b[:30] + "\n" + b + "\n", "participant", int64(len(a) + 1), "run.out, line 2, is no line of a record: unexpected end of JSON input"},
		{
			"two lines run together", a + "\n\n" + b[:30] + b + "\n", "participant", int64(len(a) + 2),
			"run.out, line 3, is no line of a record: invalid character '{' after object key:value pair",
		},
		{"zeros between lines", "\x00\x00\n" + a + "\n", "", 0, `run.out, line 1, is no line of a record: invalid character '\x00' looking for beginning of value`},
		{"other JSON", "{}\n", "", 0, "run.out, line 1, is no line of a record: it has no name"},
		{"null", "null\n", "", 0, "run.out, line 1, is no line of a record: it has no name"},
		{"no value", `{"time":"2024-05-01T10:00:01Z","step":0,"name":"n"}` + "\n", "", 0, "run.out, line 1, is no line of a record: it has no value"},
		{
			"wrong type", a + "\n" + `{"step":"1","name":"n","value":1}` + "\n", "participant", int64(len(a) + 1),
			"run.out, line 2, is no line of a record: it is JSON of another shape",
		},
		{"script instead of a record", `{"action":"wait"}` + "\n", "", 0, "run.out, line 1, is no line of a record: it has no name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			lines, whole, err := readAll(test.text)
			var names []string
			for _, l := range lines {
				names = append(names, l.Name)
			}
			if got := strings.Join(names, " "); got != test.names {
				t.Errorf("it read %s, want %s", got, test.names)
			}
			if whole != test.whole {
				t.Errorf("whole = %d, want %d", whole, test.whole)
			}
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.err {
				t.Errorf("got error\n%s, want\n%s", got, test.err)
			}
			if errors.Is(err, record.ErrNoRecord) != strings.HasSuffix(test.err, "no record of a run") {
				t.Errorf("ErrNoRecord: %v", err)
			}
		})
	}
}

func TestReadLine(t *testing.T) {
	lines, _, err := readAll(`{"time":"2024-05-01T10:00:00.123456789Z","step":5,"id":"pay","action":"payments","name":"receipt","multi":true,"value":{"address": "a"}}` + "\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []record.Line{{
		Time: time.Date(2024, 5, 1, 10, 0, 0, 123456789, time.UTC), Step: 5, ID: "pay", Action: "payments", Name: "receipt", Multi: true, Value: json.RawMessage(`{"address": "a"}`),
	}}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if !lines[0].Output() || (record.Line{Name: "_intent"}).Output() {
		t.Error("Output tells outputs from what is recorded beside them")
	}
}

// TestReadStops: the caller's error and the reader's are told with the line.
func TestReadStops(t *testing.T) {
	const a = `{"step":0,"name":"n","value":1}` + "\n"
	stop := errors.New("unknown handle")
	whole, err := record.Read("run.out", strings.NewReader(a+a), func(l record.Line) error { return stop })
	if !errors.Is(err, stop) || err.Error() != "run.out, line 1: unknown handle" || whole != 0 {
		t.Errorf("%d, %v", whole, err)
	}
	whole, err = record.Read("run.out", io.MultiReader(strings.NewReader(a+a[:9]), iotest.ErrReader(syscall.EIO)), func(record.Line) error { return nil })
	if !errors.Is(err, syscall.EIO) || err.Error() != "read run.out, line 2: input/output error" || whole != int64(len(a)) {
		t.Errorf("%d, %v", whole, err)
	}
}

// xs is an endless text of the letter x, which counts what is read of it.
type xs struct{ read int }

func (x *xs) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	x.read += len(p)
	return len(p), nil
}

// TestReadLongLines: a line of megabytes is read, and one without end is not.
func TestReadLongLines(t *testing.T) {
	const a = `{"step":0,"name":"n","value":"`
	long := a + strings.Repeat("x", 1<<20) + "\"}\n"
	lines, whole, err := readAll(long + long)
	if err != nil || len(lines) != 2 || whole != int64(2*len(long)) || len(lines[0].Value) != 1<<20+2 {
		t.Errorf("%d lines, %d, %v", len(lines), whole, err)
	}
	endless := &xs{}
	_, err = record.Read("run.out", io.MultiReader(strings.NewReader(long+a), endless), func(record.Line) error { return nil })
	if err == nil || err.Error() != "read run.out, line 2: it is longer than 64 MiB" {
		t.Error(err)
	}
	if endless.read > 64<<20+1<<17 {
		t.Errorf("%d bytes were read", endless.read)
	}
}

// TestReadsBackEqual: what is written is read, wherever the text was cut off.
func TestReadsBackEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) record.Line {
			value, err := json.Marshal(rapid.OneOf(
				rapid.Map(rapid.String(), func(s string) any { return s }), rapid.Map(rapid.Int64(), func(n int64) any { return n }),
				rapid.Map(rapid.SliceOf(rapid.String()), func(s []string) any { return s }), rapid.Just[any](nil),
			).Draw(t, "value"))
			if err != nil {
				t.Fatal(err)
			}
			return record.Line{
				Time: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC(),
				Step: rapid.IntRange(-1, 1<<40).Draw(t, "step"), ID: rapid.String().Draw(t, "id"), Action: rapid.String().Draw(t, "action"),
				Name: rapid.StringN(1, 20, -1).Draw(t, "name"), Multi: rapid.Bool().Draw(t, "multi"), Value: value,
			}
		}), 1, 5).Draw(t, "lines")
		var out bytes.Buffer
		ends := []int{0}
		w := record.NewWriter(&out, nil, asIs, nil)
		for _, l := range want {
			if err := w.Write(l); err != nil {
				t.Fatal(err)
			}
			ends = append(ends, out.Len())
		}
		cut := rapid.IntRange(0, out.Len()).Draw(t, "cut")
		lines, whole, err := readAll(out.String()[:cut])
		last, exact := slices.BinarySearch(ends, cut)
		if !exact {
			last--
		}
		if whole != int64(ends[last]) {
			t.Fatalf("whole = %d, want %d", whole, ends[last])
		}
		if last < len(want) && cut == ends[last+1]-1 { // only the end of the line is missing
			last++
		}
		if (last == 0) != errors.Is(err, record.ErrNoRecord) || err != nil && last > 0 {
			t.Fatal(err)
		}
		if diff := cmp.Diff(append([]record.Line(nil), want[:last]...), lines); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	})
}

func FuzzRead(f *testing.F) {
	for _, text := range []string{
		"", "\n", "{", "null\n", "\x00\x00", `{"time":"2024-05-01T10:00:00.5Z","step":5,"name":"p","multi":true,"value":"10.0.0.1:3086"}` + "\n" + `{"ti`,
		`{"step":1,"name":"_end","value":{}}` + "\r\n\n" + `{"NAME":"a","value":1}`, "{\"name\":\"\xff\",\"value\":1e999}\n",
		`{"name":"a","value":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + "}\n", strings.Repeat("{", 20_000),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		lines, whole, err := readAll(string(text))
		if whole < 0 || whole > int64(len(text)) || whole > 0 && text[whole-1] != '\n' {
			t.Fatalf("whole = %d of %d", whole, len(text))
		}
		if err != nil {
			return
		}
		for _, l := range lines {
			if l.Name == "" || !json.Valid(l.Value) {
				t.Fatalf("%+v", l)
			}
		}
		// The whole lines alone say the same, but for a last one without its end.
		again, whole2, err := readAll(string(text[:whole]))
		if err != nil && !errors.Is(err, record.ErrNoRecord) || whole2 != whole || len(again) > len(lines) || len(again) < len(lines)-1 {
			t.Fatalf("%d lines, then %d up to %d of %d: %v", len(lines), len(again), whole2, whole, err)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	w := record.NewWriter(io.Discard, nil, asIs, nil)
	l := line(5, "receipt", `{"address":"10.0.0.1:3086","handle":"7b6a1c1e"}`)
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Write(l); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	var text bytes.Buffer
	w := record.NewWriter(&text, nil, asIs, nil)
	for i := range 10_000 {
		if err := w.Write(line(i, "receipt", `{"address":"10.0.0.1:3086","handle":"7b6a1c1e"}`)); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := record.Read("run.out", bytes.NewReader(text.Bytes()), func(record.Line) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// TestLinesAreAsEncodingJSONWritesThem compares with the standard library's encoder.
func TestLinesAreAsEncodingJSONWritesThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringMatching(`[a-z0-9.:-]{0,12}`), rapid.String())
		value, err := json.Marshal(rapid.OneOf(text.AsAny(), rapid.Int().AsAny(), rapid.SliceOf(text).AsAny()).Draw(t, "value"))
		if err != nil {
			t.Fatal(err)
		}
		line := record.Line{
			Time: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC(),
			Step: rapid.IntRange(-1, 1<<20).Draw(t, "step"), ID: text.Draw(t, "id"), Action: text.Draw(t, "action"), Name: text.Draw(t, "name"),
			Multi: rapid.Bool().Draw(t, "multi"), Value: value,
		}
		want, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := record.NewWriter(&got, nil, func(s string) string { return s }, nil).Write(line); err != nil {
			t.Fatal(err)
		}
		var a, b any
		if json.Unmarshal(want, &a) != nil || json.Unmarshal(got.Bytes(), &b) != nil || !reflect.DeepEqual(a, b) || bytes.Count(got.Bytes(), []byte("\n")) != 1 {
			t.Fatalf("got %q, want %q", got.String(), want)
		}
	})
}
