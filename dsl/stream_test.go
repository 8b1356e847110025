package dsl_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"provingground/dsl"
)

// TestStreamLive: an item is delivered as soon as it is whole, before anything comes behind it.
func TestStreamLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe()
		stream := dsl.NewStream("s", reader)
		send := func(text string) {
			go func() {
				for _, b := range []byte(text) {
					if _, err := writer.Write([]byte{b}); err != nil {
						t.Error(err)
					}
				}
			}()
		}
		for _, test := range []struct{ text, want string }{
			{`{"action":"discovery","params":{"limit":1}}`, "step 0: discovery"},
			{"\n  " + `"a comment"`, "a comment"},
			{` {"action":"wait"}`, "step 1: wait"},
			{"null\n", ""},
		} {
			send(test.text)
			item, _, err := stream.Next()
			if err != nil {
				t.Fatal(err)
			}
			got := item.Comment
			if item.Step != nil {
				got = fmt.Sprintf("step %d: %s", item.Step.Number, item.Step.Action)
			}
			if got != test.want {
				t.Errorf("%q: got %q", test.text, got)
			}
			synctest.Wait()
		}
		// Of half a step the rest is waited for.
		send(`{"action":"sto`)
		next := make(chan error)
		go func() {
			item, _, err := stream.Next()
			if err == nil && item.Step.Action != "stop" {
				err = fmt.Errorf("it read %q", item.Step.Action)
			}
			next <- err
		}()
		synctest.Wait()
		select {
		case err := <-next:
			t.Fatal("Next did not wait:", err)
		default:
		}
		send(`p"}`)
		if err := <-next; err != nil {
			t.Fatal(err)
		}
		if err := writer.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, _, err := stream.Next(); !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		}
	})
}

// TestStreamBroken: what stands in front of broken JSON is delivered first, then always the same error.
func TestStreamBroken(t *testing.T) {
	const text = "\ufeff\"é\" {\"action\":\"discovery\"} {\"action\":\"wait\",\n \"params\":{\"min\":}}\n{\"action\":\"stop\"}"
	const want = "live:2:18: step 1: '}' stands where a JSON value should"
	for _, from := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)), iotest.DataErrReader(strings.NewReader(text))} {
		stream := dsl.NewStream("live", from)
		var got []string
		var source *dsl.Source
		var err error
		for range 4 {
			var item dsl.Item
			if item, source, err = stream.Next(); err != nil {
				got = append(got, err.Error())
				continue
			}
			line, column := source.Place(item.Start)
			got = append(got, fmt.Sprintf("%d:%d %s", line, column, source.Text[item.Start:item.End]))
		}
		if diff := cmp.Diff([]string{`1:1 "é"`, `1:5 {"action":"discovery"}`, want, want}, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		var f dsl.Finding
		if !errors.As(err, &f) {
			t.Fatal(err)
		}
		var shown bytes.Buffer
		if err := (dsl.Findings{f}).Write(&shown, dsl.AsText); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(shown.String(), "\n")
		if !strings.HasPrefix(lines[1], `   2 |  "params":{"min":}`) || lines[2] != "     |                  ^" {
			t.Errorf("it shows\n%s", &shown)
		}
	}
}

// TestStreamFailure: a stream that cannot be read is not the script's fault, wherever it breaks.
func TestStreamFailure(t *testing.T) {
	broken := errors.New("connection reset")
	for _, text := range []string{"", " ", `"a" `, `{`, `{"action":"wa`, `{"action":"\`, `{"action":"\ud83d`, `{"action":tr`, `{"action":1`, "{\"action\":\"\xc3"} {
		err := drain(dsl.NewStream("s", io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken))))
		if !errors.Is(err, broken) || err.Error() != "read script s: connection reset" {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestStreamIsLikeReadJSON: steps, numbers, places and findings do not depend on how a script comes.
func TestStreamIsLikeReadJSON(t *testing.T) {
	text := string(loadScript(20_000)) + strings.ReplaceAll(string(trivialSteps(50)), "\n", "\t") +
		`{"action":"sotp","params":{"é":1,"x":{"type":"output"}}}` + "\n\n" + `"日本" {"action":"wait","params":{"min":1.5}}`
	script, err := dsl.ReadJSON("s", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, item := range script.Items {
		want = append(want, outline(script.Source, item)...)
	}
	for _, f := range dsl.Check(script, signatures()) {
		want = append(want, f.Error())
	}
	for name, from := range map[string]io.Reader{
		"at once": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text)), "in halves": iotest.HalfReader(strings.NewReader(text)),
	} {
		stream, checker := dsl.NewStream("s", from), dsl.NewChecker(signatures())
		var items []dsl.Item
		var sources []*dsl.Source
		var found dsl.Findings
		for {
			item, source, err := stream.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			items, sources = append(items, item), append(sources, source)
			if item.Step != nil {
				found = append(found, checker.Step(source, item.Step).Sort()...)
			}
		}
		var got, findings []string
		for i := range items { // also after the stream went on
			got = append(got, outline(sources[i], items[i])...)
		}
		for _, f := range found {
			findings = append(findings, f.Error())
		}
		if diff := cmp.Diff(want, append(got, findings...)); diff != "" {
			t.Errorf("%s (-ReadJSON +stream)\n%s", name, diff)
		}
	}
}

// outline shows an item with the places of its parts.
func outline(source *dsl.Source, item dsl.Item) []string {
	at := func(span dsl.Span) string {
		line, column := source.Place(span.Start)
		return fmt.Sprintf("%d:%d %s", line, column, source.Text[span.Start:span.End])
	}
	lines := []string{at(item.Span) + " " + item.Comment}
	if item.Step == nil {
		return lines
	}
	lines = append(lines, fmt.Sprintf("step %d %s", item.Step.Number, at(item.Step.ActionSpan)))
	for _, arg := range item.Step.Args {
		lines = append(lines, at(arg.NameSpan)+" "+at(arg.Value.Span))
		if arg.Ref != nil {
			lines = append(lines, fmt.Sprintf("refers to %d %s, %s", arg.Ref.Step, at(arg.Ref.StepSpan), at(arg.Ref.NameSpan)))
		}
	}
	return lines
}

// TestStreamMemory: after many steps a stream holds as much as after a few.
func TestStreamMemory(t *testing.T) {
	from := &endless{text: []byte(`{"action":"wait","params":{"min":1}}` + "\n")}
	stream := dsl.NewStream("s", from)
	held := func(steps int) uint64 {
		for range steps {
			if _, _, err := stream.Next(); err != nil {
				t.Fatal(err)
			}
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	few := held(100)
	if many := held(20_000); many > few+1<<18 {
		t.Errorf("%d bytes after 100 steps, %d after 20,000", few, many)
	}
	runtime.KeepAlive(stream)
}
