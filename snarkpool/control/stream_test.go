package control_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"provingground/snarkpool/control"
)

func TestEventsAreFollowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for i := range 5 {
		w.operator.ring.Publish(control.Event{Worker: fmt.Sprintf("bm7/cpu/%d", i%2), Kind: "state"})
	}
	client := w.remote(t, w.reader)
	var got []uint64
	enough := errors.New("enough")
	err := client.Events(t.Context(), target(t, "bm7/cpu/0"), control.Arguments{Follow: true, Last: 2}, func(event control.Event) error {
		got = append(got, event.Number)
		if len(got) == 2 { // all that there was
			w.operator.ring.Publish(control.Event{Worker: "bm7/cpu/1"})
			w.operator.ring.Publish(control.Event{Worker: "bm7/cpu/0"})
		}
		if len(got) == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || fmt.Sprint(got) != "[3 5 7]" {
		t.Errorf("got %v, %v", got, err)
	}
	got = nil
	err = client.Events(t.Context(), control.Target{}, control.Arguments{}, func(event control.Event) error {
		got = append(got, event.Number)
		return nil
	})
	if err != nil || fmt.Sprint(got) != "[1 2 3 4 5 6 7]" {
		t.Errorf("without following: got %v, %v", got, err)
	}
}

// slowReader asks for events over the socket and does not read them.
func slowReader(t *testing.T, w *world) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("unix", w.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	request, err := http.NewRequest(http.MethodPost, "http://agent/command",
		strings.NewReader(string(body(t, control.Command{Operation: control.OpEvents, Arguments: control.Arguments{Follow: true}}))))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if err := request.Write(conn); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(response.Body)
	if line, err := lines.ReadString('\n'); err != nil || line != "{}\n" {
		t.Fatalf("began with %q, %v", line, err)
	}
	return conn, lines
}

// flood publishes many times what the ring and the connection can hold. That it ends shows that nobody waits for readers.
func flood(ring *control.Ring) {
	cause := strings.Repeat("x", 1000)
	for range 20_000 {
		ring.Publish(control.Event{Worker: "bm7/cpu/0", Cause: cause})
	}
}

func TestSlowReaderIsToldWhatItMissed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	_, lines := slowReader(t, w)
	w.operator.ring.Publish(control.Event{})
	if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, `"number":1,`) {
		t.Fatalf("the first event: %q, %v", line, err)
	}
	flood(w.operator.ring)
	last, count := uint64(1), uint64(1)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatalf("no end came: %v", err)
		}
		var record control.Record
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatal(err)
		}
		if record.Event != nil {
			count++
			if record.Event.Number != last+1 {
				t.Fatalf("event %d behind event %d", record.Event.Number, last)
			}
			last = record.Event.Number
		}
		if record.End != nil {
			// How far the flood had come at the moment of the cut is the scheduler's; at least a whole ring was missed.
			if record.End.Reason != control.TooSlow || record.End.Missed < 1000 || record.End.Missed > 20_001-count {
				t.Errorf("ended with %+v after %d events", record.End, count)
			}
			break
		}
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if entry := w.audit.last(t); entry.Reason != control.TooSlow {
		t.Errorf("audited %+v", entry)
	}
}

func TestReaderThatDoesNotReadIsCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(options *control.Options) { options.StreamTime = 50 * time.Millisecond })
	slowReader(t, w)
	flood(w.operator.ring)
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for len(w.audit.all()) == 0 { // its end is audited
		<-ticker.C
	}
	if entry := w.audit.last(t); entry.Outcome != control.OutcomeFailed || entry.Command.Operation != control.OpEvents {
		t.Errorf("audited %+v", entry)
	}
}

func TestStreamEndsWithTheAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.operator.ring.Publish(control.Event{})
	err := w.remote(t, w.reader).Events(t.Context(), control.Target{}, control.Arguments{Follow: true}, func(control.Event) error {
		go func() { _ = w.stop() }() // asked again at the end
		return nil
	})
	refusedFor(t, err, control.Ending)
}

func TestStreamEndsWithTheRight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(options *control.Options) { options.Alive = 5 * time.Millisecond })
	w.operator.ring.Publish(control.Event{})
	err := w.remote(t, w.reader).Events(t.Context(), control.Target{}, control.Arguments{Follow: true}, func(control.Event) error {
		w.writeKeys(t, w.admin.key.PublicKey()+" admin anna")
		return nil
	})
	refusedFor(t, err, control.Unauthorized)
	_, err = w.remote(t, w.reader).Status(t.Context(), control.Target{})
	refusedFor(t, err, control.Unauthorized)
}

// TestRing publishes and reads in any order and compares with a list of everything.
func TestRing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 20).Draw(t, "size")
		ring := control.NewRing(size)
		published := rapid.IntRange(0, 50).Draw(t, "published")
		origin := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
		for i := range published {
			ring.Publish(control.Event{At: origin.Add(time.Duration(i) * time.Second), Worker: fmt.Sprint(i % 3)})
		}
		last := rapid.IntRange(0, 30).Draw(t, "last")
		since := rapid.IntRange(0, 50).Draw(t, "since")
		var want []uint64
		for i := max(published-size, 0); i < published; i++ {
			if i%3 != 0 && i >= since {
				want = append(want, uint64(i+1))
			}
		}
		if last > 0 && len(want) > last {
			want = want[len(want)-last:]
		}
		var got []uint64
		arguments := control.Arguments{Last: last, Since: origin.Add(time.Duration(since) * time.Second)}
		err := ring.Follow(context.Background(), arguments, func(event control.Event) bool { return event.Worker != "0" }, func(events ...control.Event) error {
			for _, event := range events {
				got = append(got, event.Number)
			}
			return nil
		})
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("got %v, want %v, %v", got, want, err)
		}
	})
}

func TestRingOvertakesAReader(t *testing.T) {
	t.Parallel()
	ring := control.NewRing(10)
	ring.Publish(control.Event{})
	err := ring.Follow(t.Context(), control.Arguments{Follow: true}, func(control.Event) bool { return true }, func(...control.Event) error {
		for range 15 {
			ring.Publish(control.Event{})
		}
		return nil
	})
	missed, ok := errors.AsType[*control.MissedError](err)
	if !ok || missed.Missed != 15 {
		t.Errorf("got %v, want 15 missed", err)
	}
}

func TestNoWakeUpIsLost(t *testing.T) {
	t.Parallel()
	const events = 10_000
	ring := control.NewRing(2 * events)
	done := make(chan error, 4)
	for range cap(done) {
		go func() {
			last := uint64(0)
			enough := errors.New("enough")
			err := ring.Follow(t.Context(), control.Arguments{Follow: true}, func(control.Event) bool { return true }, func(batch ...control.Event) error {
				for _, event := range batch {
					if event.Number != last+1 {
						return fmt.Errorf("event %d behind event %d", event.Number, last)
					}
					last = event.Number
				}
				if last == events {
					return enough
				}
				return nil
			})
			if errors.Is(err, enough) {
				err = nil
			}
			done <- err
		}()
	}
	for range events {
		ring.Publish(control.Event{})
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	ring := control.NewRing(10_000)
	event := control.Event{Worker: "bm7/cpu/0", Kind: "state", From: "idle", To: "proving"}
	b.ReportAllocs()
	for b.Loop() {
		ring.Publish(event)
	}
}
