package simnet_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"provingground/internal/clock"
	"provingground/orchestrator/simnet"
)

// BenchmarkHour is an hour of network time on a virtual clock, one payment per second in all, with the journal written.
func BenchmarkHour(b *testing.B) {
	for _, nodes := range []int{10, 200, 1000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			senders := keys(b, 100)
			b.ReportAllocs()
			for b.Loop() {
				options := simnet.Options{
					Nodes: nodes, Producers: max(nodes/5, 2), Accounts: accounts(senders, 100_000*aMina), Journal: io.Discard,
				}
				inVirtualTime(b, options, func(w *world) {
					for i := range 10 {
						w.client(w.Nodes()[i]).text(schedulePayments, payments(senders[10*i:10*i+10], map[string]any{
							"tps": 0.1, "durationMin": 60, "memoPrefix": fmt.Sprintf("bench-0-%d", i),
						}))
					}
					w.pass(time.Hour)
				})
			}
		})
	}
}

// BenchmarkRequest is a signed auth in process.
func BenchmarkRequest(b *testing.B) {
	inVirtualTime(b, simnet.Options{Nodes: 200, Producers: 40}, func(w *world) {
		node := w.client(w.Nodes()[0])
		b.ReportAllocs()
		for b.Loop() {
			node.authenticate()
		}
	})
}

// BenchmarkReadLogs reads a full internal log of 500 entries.
func BenchmarkReadLogs(b *testing.B) {
	inVirtualTime(b, simnet.Options{Nodes: 2, Producers: 1}, func(w *world) {
		w.pass(time.Hour)
		node := w.client(w.Nodes()[1])
		b.ReportAllocs()
		for b.Loop() {
			node.logs(1)
		}
	})
}

// BenchmarkNew makes a network.
func BenchmarkNew(b *testing.B) {
	for _, nodes := range []int{200, 1000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			virtual := clock.NewVirtual(genesis()).Clock()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := simnet.New(simnet.Options{Nodes: nodes, Producers: nodes / 5, Clock: virtual, ITNKeys: itnKeys(b)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
