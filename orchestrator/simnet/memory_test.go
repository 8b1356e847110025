package simnet_test

import (
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"provingground/orchestrator/simnet"
)

// Memory does not grow with the length of a run: five hours under load leave what one leaves.
func TestMemoryDoesNotGrow(t *testing.T) {
	senders := keys(t, 40)
	options := simnet.Options{
		Nodes: 20, Producers: 8, Slot: 5 * time.Second, Accounts: accounts(senders, 1_000_000*aMina), Journal: io.Discard,
	}
	inVirtualTime(t, options, func(w *world) {
		for i := range 4 {
			w.client(w.Nodes()[i]).text(schedulePayments, payments(senders[10*i:10*i+5], map[string]any{
				"tps": 0.25, "durationMin": 24 * 60, "memoPrefix": fmt.Sprintf("mem-0-%d", i),
			}))
			w.client(w.Nodes()[i]).text(scheduleZkapps, zkapps(senders[10*i+5:10*i+10], map[string]any{
				"tps": 0.05, "durationMin": 24 * 60, "memoPrefix": fmt.Sprintf("zk-0-%d", i),
			}))
		}
		heap := func() (bytes, objects uint64) {
			runtime.GC()
			runtime.GC()
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			return stats.HeapAlloc, stats.HeapObjects
		}
		w.pass(time.Hour)
		bytes, objects := heap()
		w.pass(4 * time.Hour)
		laterBytes, laterObjects := heap()
		t.Logf("after 1 h %d bytes in %d objects, after 5 h %d in %d", bytes, objects, laterBytes, laterObjects)
		if laterBytes > bytes+bytes/4 || laterObjects > objects+objects/4 {
			t.Errorf("after five hours %d bytes in %d objects, after one hour %d in %d", laterBytes, laterObjects, bytes, objects)
		}
	})
}
