package fetcher_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"provingground/fetcher"
	"provingground/orchestrator/simnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEachEntryIsStoredOnce(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 3, Producers: 2, MaxLogs: 1000}, func(w *world) {
		options := w.options()
		options.QueueSize = 1000
		collector, stop := w.collect(options)
		w.load(0, 2, 5)
		w.Pass(7 * time.Minute)
		stop()
		stored, lost := w.verify(true)
		if stored < 3*2*300*4 || lost != 0 || w.store.repeats != 0 {
			t.Errorf("%d entries stored, %d lost, %d repeated", stored, lost, w.store.repeats)
		}
		m := collector.Metrics()
		if int(m.Entries) != stored || m.Stopped != 3 || m.Memory.Held != 0 || m.Requesting.Held != 0 || m.RequestErrors != 0 {
			t.Errorf("metrics %+v", m)
		}
		t.Logf("%d entries in %d requests", stored, m.Requests)
	})
}

func TestGapsAreWhatTheQueueDropped(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 3, Producers: 2, MaxLogs: 60}, func(w *world) {
		w.load(0, 5, 3)
		w.Pass(time.Minute) // so the beginning is dropped
		options := w.options()
		options.QueueSize = 5000 // they hold much less
		collector, stop := w.collect(options)
		w.Pass(4 * time.Minute)
		statuses := collector.Nodes()
		stop()
		stored, lost := w.verify(true)
		if lost < 1000 || stored < 1000 {
			t.Errorf("%d entries stored, %d lost", stored, lost)
		}
		told := 0
		for _, status := range statuses {
			told += status.LostEntries
			first := w.store.gaps[rowKey{status.NodeName, status.ServerUUID, 1}]
			if first.Reason != fetcher.GapBeforeFirst || first.To == 0 || !first.Before.IsZero() || first.After.IsZero() {
				t.Errorf("the beginning of %s is told as %+v", status.NodeName, first)
			}
		}
		if m := collector.Metrics(); told != lost || int(m.LostEntries) != lost || int(m.Gaps) != len(w.store.gaps) {
			t.Errorf("%d entries lost, nodes tell %d, metrics %+v", lost, told, m)
		}
	})
}
