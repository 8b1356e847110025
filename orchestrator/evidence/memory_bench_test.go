package evidence

import (
	"testing"
	"time"

	"provingground/orchestrator/simnet"
	"provingground/orchestrator/simnet/simnettest"
)

// BenchmarkRehearsedHour is an hour of network time of 12 nodes with load of 1 transaction per second, without anybody who reads their
// logs, and with a Memory, of which one metric is asked in each slot.
func BenchmarkRehearsedHour(b *testing.B) {
	senders := simnettest.Senders(b, 12)
	options := simnet.Options{Nodes: 12, Producers: 4, Seed: 1, Slot: 3 * time.Minute}
	for _, with := range []struct {
		name         string
		queue        int
		interval     time.Duration // between two readings at most
		reads, keeps bool
	}{
		{name: "without"},
		{name: "with", queue: 500, interval: 10 * time.Second, reads: true},
		{name: "with-long-queues", queue: 20_000, interval: time.Minute, reads: true},
	} {
		b.Run(with.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				options.MaxLogs = with.queue
				live := rehearse
				if !with.reads {
					live = rehearseUnread
				}
				live(b, options, with.interval, func(r *rehearsal) {
					r.begin()
					r.payments(5, "exp-0", 0, 10, 60, senders, senders[0].PublicKey())
					for range 20 {
						r.Pass(r.options.Slot)
						if with.reads {
							r.memory.Measure(r.ctx, Question{Metric: "tx.included", Run: r.run})
						}
					}
				})
			}
		})
	}
}
