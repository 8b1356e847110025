package minatest_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/snarkpool/worker/minalog"
	"provingground/snarkpool/worker/minalog/minatest"
)

// run starts a worker and returns its events, one by one, and a function that waits for its exit code.
func run(ctx context.Context, t *testing.T, w minatest.Worker, arguments ...string) (next func() minalog.Event, exit func() int) {
	t.Helper()
	reader, writer := io.Pipe()
	w.Out = writer
	w.Nap, w.Retry = time.Millisecond, time.Millisecond
	if w.Prove == 0 {
		w.Prove = time.Millisecond
	}
	if w.Directory == "" {
		w.Directory = t.TempDir()
	}
	code := make(chan int, 1)
	go func() {
		code <- w.Run(ctx, append([]string{"internal", "snark-worker"}, arguments...))
		_ = writer.Close()
	}()
	rules, err := minalog.Compile(minalog.Patterns{})
	if err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(reader)
	var machine minalog.Machine
	var waiting []minalog.Event
	next = func() minalog.Event {
		for len(waiting) == 0 && machine.State() != minalog.Ended {
			if scanner.Scan() {
				machine, waiting = machine.Next(rules.Read(scanner.Bytes()))
			} else {
				machine, waiting = machine.End(time.Now())
			}
		}
		if len(waiting) == 0 {
			return minalog.Event{}
		}
		e := waiting[0]
		waiting = waiting[1:]
		return e
	}
	return next, func() int {
		for next().Kind != 0 {
		}
		return <-code
	}
}

func TestBothGenerationsCountWhatTheCoordinatorTook(t *testing.T) {
	t.Parallel()
	for _, generation := range []minatest.Generation{minatest.Text, minatest.Seconds} {
		t.Run(string(generation), func(t *testing.T) {
			t.Parallel()
			coordinator, err := minatest.Listen(t.Context(), 6)
			if err != nil {
				t.Fatal(err)
			}
			defer coordinator.Close()
			coordinator.Answer(minatest.OK, minatest.Slashed, minatest.OK, minatest.WrongShape)
			ctx, stop := context.WithCancel(t.Context())
			next, exit := run(ctx, t, minatest.Worker{Generation: generation, FailEvery: 6}, "--daemon-address", coordinator.Address(), "--log-json")
			got := make(map[minalog.EventKind]int)
			for ends := 0; ends < 6; {
				e := next()
				got[e.Kind] += max(e.Proofs, 1)
				if e.Proofs > 0 {
					ends++
				}
				if e.Kind == minalog.ProofMade && (e.Elapsed == nil || *e.Elapsed != time.Millisecond) {
					t.Errorf("a proof took %v", e.Elapsed)
				}
			}
			stop()
			if code := exit(); code != 0 {
				t.Errorf("exit code after SIGTERM: %d", code)
			}
			want := map[minalog.EventKind]int{minalog.Ready: 1, minalog.WorkReceived: 6, minalog.ProofMade: 10, minalog.Delivered: 6, minalog.NotDelivered: 4, minalog.Failed: 2}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			given, taken, failed := coordinator.Tally()
			if len(given) != 6 || len(taken) != 3 || len(failed) != 1 {
				t.Errorf("the coordinator gave %d, took %d, heard of %d failures", len(given), len(taken), len(failed))
			}
		})
	}
}

func TestDrainedThroughItsFile(t *testing.T) {
	t.Parallel()
	coordinator, err := minatest.Listen(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	defer coordinator.Close()
	directory := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	next, exit := run(ctx, t, minatest.Worker{Directory: directory}, "--daemon-address", coordinator.Address(), "--shutdown-on-disconnect", "false")
	for next().Kind != minalog.WorkReceived {
	}
	if err := os.WriteFile(filepath.Join(directory, "snark_coordinator"), []byte("127.0.0.1:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	delivered, lost := 0, 0
	for {
		e := next()
		if e.Kind == minalog.Delivered {
			delivered++
		}
		if e.Kind == minalog.Lost {
			lost++
		}
		if e.Kind == minalog.CoordinatorError {
			break
		}
	}
	stop()
	if code := exit(); code != 0 || lost > 0 {
		t.Errorf("drained with exit code %d and %d lost", code, lost)
	}
	if given, taken, _ := coordinator.Tally(); len(given) != len(taken) || len(taken) != delivered {
		t.Errorf("%d works given, %d taken, %d counted", len(given), len(taken), delivered)
	}
}

func TestEndsAsMinasWorkerDoes(t *testing.T) {
	t.Parallel()
	next, exit := run(t.Context(), t, minatest.Worker{}, "--daemon-address", "127.0.0.1:1")
	if e := next(); e.Kind != minalog.WorkerEnding {
		t.Errorf("without a coordinator: %+v", e)
	}
	if code := exit(); code != 1 {
		t.Errorf("exit code without a coordinator: %d", code)
	}

	coordinator, err := minatest.Listen(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer coordinator.Close()
	ctx, stop := context.WithCancel(t.Context())
	next, exit = run(ctx, t, minatest.Worker{Prove: time.Hour}, "--daemon-address", coordinator.Address())
	for next().Kind != minalog.WorkReceived {
	}
	stop()
	if first, second := next(), next(); first.Kind != minalog.WorkerEnding || second.Kind != minalog.Lost {
		t.Errorf("terminated while proving: %v %v", first, second)
	}
	if code := exit(); code != 0 {
		t.Errorf("exit code after SIGTERM: %d", code)
	}
	if _, exit := run(t.Context(), t, minatest.Worker{}); exit() == 0 {
		t.Error("started without an address")
	}
}
