package fetcher_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"provingground/fetcher"
	"provingground/internal/clock"
	"provingground/orchestrator/simnet"
)

// heldStore takes a batch, and answers when it is told to.
type heldStore struct {
	*memoryStore
	in, out *clock.Event
}

func (s heldStore) Save(ctx context.Context, batch fetcher.Batch) error {
	s.in.Happen()
	if err := s.out.Wait(ctx); err != nil {
		return err
	}
	return s.memoryStore.Save(ctx, batch)
}

// TestWhatIsInHandIsStored: whoever ends the reading waits for the store, which has all that was read.
func TestWhatIsInHandIsStored(t *testing.T) {
	for name, end := range map[string]func(ctx context.Context, c *fetcher.Collector, stop func()) error{
		"the end":  func(_ context.Context, _ *fetcher.Collector, stop func()) error { stop(); return nil },
		"a freeze": func(ctx context.Context, c *fetcher.Collector, _ func()) error { return c.Freeze(ctx) },
		"a hold": func(ctx context.Context, c *fetcher.Collector, _ func()) error {
			_, err := c.Hold(ctx)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, simnet.Options{Nodes: 1}, func(w *world) {
				options := w.options()
				in, out, ended := w.clock.Event(), w.clock.Event(), w.clock.Event()
				options.Store = heldStore{w.store, in, out}
				collector, stop := w.collect(options)
				if err := in.Wait(w.ctx); err != nil {
					t.Fatal(err)
				}
				w.group.Go(func() error {
					defer ended.Happen()
					return end(w.ctx, collector, stop)
				})
				w.Pass(time.Second)
				if ended.Happened() {
					t.Error("it ended while the store was at work")
				}
				out.Happen()
				if err := ended.Wait(w.ctx); err != nil {
					t.Fatal(err)
				}
				stop()
				if m := collector.Metrics(); len(w.store.rows) == 0 || int(m.Entries) != len(w.store.rows) || m.Unsaved != 0 {
					t.Errorf("%d rows, metrics %+v", len(w.store.rows), m)
				}
			})
		})
	}
}

// TestWhatCannotBeStoredInTheEndIsCounted: a store that fails is asked once more, and what it did not take is told.
func TestWhatCannotBeStoredInTheEndIsCounted(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 1}, func(w *world) {
		asked := 0
		w.store.fail = func() (before, after error) { asked++; return errStore, nil }
		collector, stop := w.collect(w.options())
		w.Pass(10 * time.Second)
		before := asked
		stop()
		if m := collector.Metrics(); m.Unsaved != 1 || before == 0 || asked != before+1 {
			t.Errorf("asked %d times, then %d times, metrics %+v", before, asked-before, m)
		}
	})
}

// TestHoldAndFreeze: neither undoes the other.
func TestHoldAndFreeze(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 2}, func(w *world) {
		collector, stop := w.collect(w.options())
		running := func(want int) {
			t.Helper()
			w.Pass(10 * time.Second)
			if m := collector.Metrics(); m.Running != want {
				t.Errorf("%d nodes are read, want %d", m.Running, want)
			}
		}
		running(2)
		resume, err := collector.Hold(w.ctx)
		if err != nil || collector.Frozen() {
			t.Fatalf("held: %v, frozen %t", err, collector.Frozen())
		}
		collector.Unfreeze() // somebody's, who knows nothing of the hold
		running(0)
		if err := collector.Freeze(w.ctx); err != nil {
			t.Fatal(err)
		}
		resume()
		resume() // twice is once
		running(0)
		if !collector.Frozen() {
			t.Error("the freeze was undone by the end of the hold")
		}
		collector.Unfreeze()
		running(2)
		stop()
	})
}

// TestHoldThatNobodyWaitsFor holds nothing.
func TestHoldThatNobodyWaitsFor(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 1}, func(w *world) {
		options := w.options()
		in, out := w.clock.Event(), w.clock.Event()
		options.Store = heldStore{w.store, in, out}
		collector, stop := w.collect(options)
		if err := in.Wait(w.ctx); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(w.ctx)
		gone := errors.New("gone")
		cancel(gone)
		if _, err := collector.Hold(ctx); !errors.Is(err, gone) {
			t.Errorf("Hold: %v", err)
		}
		out.Happen()
		w.Pass(10 * time.Second)
		if m := collector.Metrics(); m.Running != 1 {
			t.Errorf("metrics %+v", m)
		}
		stop()
	})
}
