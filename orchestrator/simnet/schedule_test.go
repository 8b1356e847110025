package simnet_test

import (
	"testing"
	"time"

	"provingground/orchestrator/simnet"
)

func TestPaymentsFollowTheGrid(t *testing.T) {
	senders := keys(t, 3)
	inVirtualTime(t, simnet.Options{Nodes: 2, Producers: 1, Accounts: accounts(senders, 1e12)}, func(w *world) {
		node := w.client(w.Nodes()[0])
		w.pass(7 * time.Second)
		node.text(schedulePayments, payments(senders, map[string]any{"tps": 0.5, "durationMin": 1}))
		w.pass(5 * time.Minute)
		sent := facts[simnet.CommandSent](w.History())
		if len(sent) != 30 {
			t.Fatalf("%d payments were sent, want 30", len(sent))
		}
	})
}
