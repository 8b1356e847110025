package store_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"provingground/fetcher"
	"provingground/fetcher/store"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/simnet"
)

// BenchmarkThousandNodes stores five minutes of the logs of a thousand nodes, and tells what the store then keeps in memory of each.
func BenchmarkThousandNodes(b *testing.B) {
	var logs []itn.Log
	inVirtualTime(b, simnet.Options{Nodes: 2, Producers: 1}, func(w *world) {
		w.load(1, "exp-0-0", 0.5, 4)
		w.Pass(5 * time.Minute)
		logs = w.KeptLogs()[1].Logs
	})
	const nodes = 1000
	for b.Loop() {
		db := newDatabase(b)
		s := db.open(b, store.Options{})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		for entries := range slices.Chunk(logs, 250) {
			var group sync.WaitGroup
			for node := range nodes {
				last := entries[len(entries)-1]
				one := fetcher.Batch{
					Node: fmt.Sprint("node-", node), Entries: entries,
					Cursor: fetcher.Cursor{ServerUUID: fmt.Sprintf("00000000-0000-4000-8000-%012d", node), Next: last.ID + 1, LastTime: last.Timestamp},
				}
				group.Go(func() {
					if err := s.Save(b.Context(), one); err != nil {
						b.Error(err)
					}
				})
			}
			group.Wait()
		}
		took := time.Since(began)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-min(before.HeapAlloc, after.HeapAlloc))/nodes, "heap-bytes/node")
		b.ReportMetric(float64(nodes*len(logs))/took.Seconds(), "rows/s")
		s.Close()
	}
}
