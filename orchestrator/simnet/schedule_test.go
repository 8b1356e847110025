package simnet_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/internal/mina"
	"provingground/orchestrator/simnet"
)

const (
	stopScheduled   = `mutation($handle: String!) { stopScheduledTransactions(handle: $handle) }`
	withHandle      = `mutation($input: PaymentsDetails!, $handle: String) { schedulePayments(input: $input, handle: $handle) }`
	listScheduled   = `{ scheduledTransactions }`
	scheduleZkapps  = `mutation($input: ZkappCommandsDetails!) { scheduleZkappCommands(input: $input) }`
	callersOwn      = "11111111-2222-4333-8444-555555555555"
	aMina           = mina.Nanomina(1_000_000_000)
	neverFunded     = "Could not get nonces for accounts: "
	couldNotFind    = "Could not find scheduled transactions with handle "
	requestingAStop = "Requesting stop of scheduled transactions with handle "
)

// sentAt returns when commands were sent, from the first entry's time of the load on.
func sentAt(h simnet.History, since time.Time) []time.Duration {
	var at []time.Duration
	for _, entry := range h {
		if _, ok := entry.Fact.(simnet.CommandSent); ok {
			at = append(at, entry.Time.Sub(since))
		}
	}
	return at
}

func TestPaymentsFollowTheGrid(t *testing.T) {
	senders := keys(t, 3)
	inVirtualTime(t, simnet.Options{Nodes: 2, Producers: 1, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		node := w.client(w.Nodes()[0])
		w.pass(7 * time.Second)
		begin := w.clock.Now()
		handle := node.text(schedulePayments, payments(senders, map[string]any{"tps": 0.7, "durationMin": 1}))

		// The interval is 1000/0.7 whole milliseconds; the tick at 60 s or later only ends the load.
		var want []time.Duration
		for at := time.Duration(0); at < time.Minute; at += 1428 * time.Millisecond {
			want = append(want, at)
		}
		w.pass(59 * time.Second)
		if text := string(node.must(listScheduled, nil)); text != fmt.Sprintf("[%q]", handle) {
			t.Errorf("one second before the end the node lists %s", text)
		}
		w.pass(2405 * time.Millisecond)
		if diff := cmp.Diff(want, sentAt(w.History(), begin)); diff != "" {
			t.Errorf("times of sending (-want +got):\n%s", diff)
		}
		for i, sent := range facts[simnet.CommandSent](w.History()) {
			sender := senders[i%3].PublicKey().String()
			want := simnet.CommandSent{
				Memo: fmt.Sprintf("exp-0-0-%d", i), Signature: sent.Signature, Type: "payment", Sender: sender, Nonce: uint32(i / 3), Fee: sent.Fee,
				Handle: handle, Receiver: senders[0].PublicKey().String(), Amount: 1000,
			}
			if diff := cmp.Diff(want, sent); diff != "" {
				t.Errorf("payment %d (-want +got):\n%s", i, diff)
			}
			if sent.Fee < 100_000_000 || sent.Fee > 200_000_000 {
				t.Errorf("payment %d has a fee of %d, not between the bounds", i, sent.Fee)
			}
		}
		ended := facts[simnet.ScheduleEnded](w.History())
		if diff := cmp.Diff([]simnet.ScheduleEnded{{Handle: handle, Reason: simnet.EndExpired, Sent: len(want)}}, ended); diff != "" {
			t.Errorf("ends (-want +got):\n%s", diff)
		}
		if text := string(node.must(listScheduled, nil)); text != "[]" {
			t.Errorf("after the end the node still lists %s", text)
		}
		if message := node.refused(stopScheduled, map[string]any{"handle": handle}); message != couldNotFind+handle {
			t.Errorf("stopping what has ended: %s", message)
		}
	})
}

func TestFeesAreSpread(t *testing.T) {
	senders := keys(t, 1)
	inVirtualTime(t, simnet.Options{Nodes: 1, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		node := w.client(w.Nodes()[0])
		node.text(schedulePayments, payments(senders, map[string]any{"tps": 10.0, "durationMin": 1, "minFee": "1000000", "maxFee": "1000003"}))
		w.pass(2 * time.Minute)
		seen := make(map[uint64]int)
		for _, sent := range facts[simnet.CommandSent](w.History()) {
			seen[sent.Fee-1_000_000]++
		}
		for offset := range uint64(4) {
			if seen[offset] < 100 {
				t.Errorf("of 600 fees drawn from four, %v fell on each", seen)
			}
		}
		if len(seen) != 4 {
			t.Errorf("fees outside of the closed interval: %v", seen)
		}
	})
}

func TestStopIsHeededAtTheNextTick(t *testing.T) {
	senders := keys(t, 2)
	inVirtualTime(t, simnet.Options{Nodes: 1, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		node := w.client(w.Nodes()[0])
		begin := w.clock.Now()
		handle := node.text(schedulePayments, payments(senders, map[string]any{"tps": 0.1}))
		w.pass(15 * time.Second)
		if message := node.refused(stopScheduled, map[string]any{"handle": strings.ToUpper(handle)}); message != couldNotFind+strings.ToUpper(handle) {
			t.Errorf("handles are compared as text, but: %s", message)
		}
		if text := node.text(stopScheduled, map[string]any{"handle": handle}); text != requestingAStop+handle {
			t.Errorf("answered %s", text)
		}
		if running := w.History().Running(); len(running) != 1 {
			t.Errorf("between request and tick %d schedules run, want 1", len(running))
		}
		w.pass(time.Minute)
		if diff := cmp.Diff([]time.Duration{0, 10 * time.Second}, sentAt(w.History(), begin)); diff != "" {
			t.Errorf("times of sending (-want +got):\n%s", diff)
		}
		schedules := w.History().Schedules()
		if len(schedules) != 1 || schedules[0].Ended == nil || schedules[0].Ended.Reason != simnet.EndStopped ||
			!schedules[0].Until.Equal(begin.Add(20*time.Second)) {
			t.Errorf("the schedule was not stopped at its next tick: %+v", schedules)
		}
	})
}

func TestRatesThatAreNone(t *testing.T) {
	senders := keys(t, 1)
	for _, tps := range []float64{1001, 0, -1} {
		t.Run(fmt.Sprint(tps), func(t *testing.T) {
			inVirtualTime(t, simnet.Options{Nodes: 1, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
				node := w.client(w.Nodes()[0])
				handle := node.text(schedulePayments, payments(senders, map[string]any{"tps": tps}))
				w.pass(time.Minute)
				if sent := facts[simnet.CommandSent](w.History()); len(sent) != 1 {
					t.Errorf("%d payments were sent, want the first one only", len(sent))
				}
				if text := string(node.must(listScheduled, nil)); text != fmt.Sprintf("[%q]", handle) {
					t.Errorf("the handle of a dead schedule has to stay, but the node lists %s", text)
				}
				if running := w.History().Running(); len(running) != 0 {
					t.Errorf("a dead schedule counts as running: %+v", running)
				}
				// A later stop "succeeds".
				node.text(stopScheduled, map[string]any{"handle": handle})
			})
		})
	}
}

func TestDurationOfZeroSendsNothing(t *testing.T) {
	senders := keys(t, 1)
	inVirtualTime(t, simnet.Options{Nodes: 1, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		w.client(w.Nodes()[0]).text(schedulePayments, payments(senders, map[string]any{"durationMin": 0}))
		w.pass(time.Minute)
		if sent := facts[simnet.CommandSent](w.History()); len(sent) != 0 {
			t.Errorf("%d payments were sent", len(sent))
		}
	})
}

func TestMemoThatOutgrowsItsBytesKillsTheSchedule(t *testing.T) {
	senders := keys(t, 1)
	prefix := strings.Repeat("x", 30) // "-9" still fits, "-10" does not
	inVirtualTime(t, simnet.Options{Nodes: 1, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		node := w.client(w.Nodes()[0])
		handle := node.text(schedulePayments, payments(senders, map[string]any{"memoPrefix": prefix}))
		w.pass(time.Minute)
		if sent := facts[simnet.CommandSent](w.History()); len(sent) != 10 {
			t.Errorf("%d payments were sent, want the 10 whose memo fits", len(sent))
		}
		want := []simnet.ScheduleEnded{{Handle: handle, Reason: simnet.EndDied, Sent: 10}}
		if diff := cmp.Diff(want, facts[simnet.ScheduleEnded](w.History())); diff != "" {
			t.Errorf("ends (-want +got):\n%s", diff)
		}
	})
}

func TestBusyNodeSkipsTicks(t *testing.T) {
	senders := keys(t, 1)
	options := simnet.Options{
		Nodes: 1, Accounts: accounts(senders, 1000*aMina), Slot: 10 * time.Second,
		Faults: []simnet.Fault{{Kind: simnet.FaultBusy, Slot: 1, Delay: 3500 * time.Millisecond}},
	}
	inVirtualTime(t, options, func(w *world) {
		begin := w.clock.Now()
		w.client(w.Nodes()[0]).text(schedulePayments, payments(senders, map[string]any{"tps": 0.5, "durationMin": 1}))
		w.pass(30 * time.Second)
		// Busy from 10 s to 13.5 s: the points 10 s and 12 s are missed, and there is no burst.
		var want []time.Duration
		for at := time.Duration(0); at <= 30*time.Second; at += 2 * time.Second {
			if at != 10*time.Second && at != 12*time.Second {
				want = append(want, at)
			}
		}
		if diff := cmp.Diff(want, sentAt(w.History(), begin)); diff != "" {
			t.Errorf("times of sending (-want +got):\n%s", diff)
		}
		w.pass(time.Minute)
		ended := facts[simnet.ScheduleEnded](w.History())
		if len(ended) != 1 || ended[0].Missed != 2 {
			t.Errorf("ends: %+v, want one with two missed ticks", ended)
		}
		// Memos count what was sent, not the points of the grid.
		sent := facts[simnet.CommandSent](w.History())
		if last := sent[len(sent)-1].Memo; last != fmt.Sprintf("exp-0-0-%d", len(sent)-1) {
			t.Errorf("the last of %d payments has the memo %s", len(sent), last)
		}
	})
}

// An amount that with its fee exceeds 64 bits is not covered by any balance; it must not wrap to one that is.
func TestAmountsThatOverflow(t *testing.T) {
	senders := keys(t, 1)
	inVirtualTime(t, simnet.Options{Nodes: 1, Producers: 1, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		node := w.client(w.Nodes()[0])
		for i, input := range []map[string]any{
			payments(senders, map[string]any{"amount": "18446744073709551615"}),
			payments(senders, map[string]any{"minFee": "18446744073709551615", "maxFee": "18446744073709551615", "amount": "18446744073709551615"}),
			payments(senders, map[string]any{"minFee": "0", "maxFee": "18446744073709551615", "amount": "18446744073709551615"}),
		} {
			input["input"].(map[string]any)["memoPrefix"] = fmt.Sprint(i)
			node.text(schedulePayments, input)
		}
		node.text(scheduleZkapps, zkapps(senders, map[string]any{"initBalance": "18446744073709551615", "tps": 1.0}))
		w.pass(20 * time.Minute)
		if sent := facts[simnet.CommandSent](w.History()); len(sent) > 0 {
			t.Errorf("%d commands were taken, the first %+v", len(sent), sent[0])
		}
		rejected := make(map[string]int)
		for _, r := range facts[simnet.CommandRejected](w.History()) {
			rejected[r.Reason]++
		}
		if rejected["Insufficient_funds"] != 3*600+599 || len(rejected) != 1 {
			t.Errorf("rejections: %v", rejected)
		}
	})
}

func TestNoncesAreReadOnce(t *testing.T) {
	senders := keys(t, 1)
	inVirtualTime(t, simnet.Options{Nodes: 1, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		node := w.client(w.Nodes()[0])
		node.text(schedulePayments, payments(senders, map[string]any{"tps": 1.0, "memoPrefix": "first"}))
		w.pass(5500 * time.Millisecond) // six are in the pool, none in a block: there is no producer
		node.text(schedulePayments, payments(senders, map[string]any{"tps": 1.0, "memoPrefix": "second"}))
		w.pass(10 * time.Second)
		rejected := facts[simnet.CommandRejected](w.History())
		if len(rejected) != 11 {
			t.Fatalf("%d commands were rejected, want all 11 of the second load", len(rejected))
		}
		for i, r := range rejected {
			// The nonce stays, the index in the memo rises.
			if r.Nonce != 0 || r.Memo != fmt.Sprintf("second-%d", i) || r.Reason != "Invalid_nonce" {
				t.Errorf("rejection %d: %+v", i, r)
			}
		}
		if overlaps := w.History().Overlaps(); len(overlaps) != 1 || overlaps[0].Sender != senders[0].PublicKey().String() {
			t.Errorf("the journal shows the overlaps %+v, want one of the sender", overlaps)
		}
	})
}

func TestOneAfterTheOtherIsNoOverlap(t *testing.T) {
	senders := keys(t, 2)
	inVirtualTime(t, simnet.Options{Nodes: 2, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		first, second := w.client(w.Nodes()[0]), w.client(w.Nodes()[1])
		first.text(schedulePayments, payments(senders[:1], map[string]any{"durationMin": 1}))
		second.text(schedulePayments, payments(senders[1:], map[string]any{"durationMin": 1}))
		w.pass(time.Minute)
		second.text(schedulePayments, payments(senders[:1], map[string]any{"durationMin": 1}))
		if overlaps := w.History().Overlaps(); len(overlaps) != 0 {
			t.Errorf("overlaps: %+v", overlaps)
		}
		if all := w.History().Schedules(); len(all) != 3 {
			t.Errorf("%d schedules were ever accepted, want 3", len(all))
		}
	})
}

func TestCallersHandle(t *testing.T) {
	senders := keys(t, 2)
	inVirtualTime(t, simnet.Options{Nodes: 2, Old: 1, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		newer, older := w.client(w.Nodes()[0]), w.client(w.Nodes()[1])
		for range 2 { // the second time nothing is started
			variables := payments(senders[:1], nil)
			variables["handle"] = callersOwn
			if handle := newer.text(withHandle, variables); handle != callersOwn {
				t.Errorf("the newer node answered the handle %s", handle)
			}
		}
		variables := payments(senders[1:], nil)
		variables["handle"] = callersOwn
		if handle := older.text(withHandle, variables); handle == callersOwn {
			t.Error("the older node heeded a handle that it cannot know")
		}
		if all := w.History().Schedules(); len(all) != 2 {
			t.Errorf("%d schedules were accepted, want 2", len(all))
		}
		if read, err := older.send(true, listScheduled, nil); err != nil || read.message() == "" {
			t.Errorf("the older node knows scheduledTransactions: %s, %v", read.body, err)
		}
		if read, err := older.send(false, `{ auth { commitId } }`, nil); err != nil || read.message() == "" {
			t.Errorf("the older node knows commitId: %s, %v", read.body, err)
		}
	})
}

func TestPaymentsAreRefused(t *testing.T) {
	senders, strangers := keys(t, 4)[:2], keys(t, 4)[2:]
	inVirtualTime(t, simnet.Options{Nodes: 1, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		node := w.client(w.Nodes()[0])
		mixed := append(append([]mina.PrivateKey{}, senders...), strangers...)
		for name, test := range map[string]struct {
			variables map[string]any
			want      string
		}{
			"no senders": {payments(senders, map[string]any{"senders": []string{}}), "Empty list of senders"},
			"memo":       {payments(senders, map[string]any{"memoPrefix": strings.Repeat("ä", 17)}), "Memo too long, limited to 32 characters"},
			"fees":       {payments(senders, map[string]any{"minFee": "2", "maxFee": "1"}), "Maximum fee less than mininum fee"},
			"strangers":  {payments(mixed, nil), fmt.Sprintf("%s%q,%q", neverFunded, strangers[0].PublicKey(), strangers[1].PublicKey())},
		} {
			if message := node.refused(schedulePayments, test.variables); message != test.want {
				t.Errorf("%s: %s, want %s", name, message, test.want)
			}
		}
		refused := facts[simnet.ScheduleRefused](w.History())
		if len(refused) != 4 || len(w.History().Schedules()) != 0 {
			t.Errorf("the journal holds %+v and %d schedules", refused, len(w.History().Schedules()))
		}
	})
}

// Of two nodes that use one sender's nonces, each knows its own commands as sent; only one of each nonce can be included, and the journal
// says of every other one that it was dropped.
func TestClashOfTwoNodes(t *testing.T) {
	senders := keys(t, 1)
	inVirtualTime(t, simnet.Options{Nodes: 3, Producers: 3, Slot: 30 * time.Second, Accounts: accounts(senders, 1000*aMina)}, func(w *world) {
		for i, prefix := range []string{"a", "b"} {
			w.client(w.Nodes()[i]).text(schedulePayments, payments(senders, map[string]any{"tps": 1.0, "durationMin": 5, "memoPrefix": prefix}))
		}
		w.pass(10 * time.Minute)
		h := w.History()
		fate := make(map[string]string)
		for _, sent := range facts[simnet.CommandSent](h) {
			fate[sent.Memo] = "waiting"
		}
		for _, dropped := range facts[simnet.CommandDropped](h) {
			if fate[dropped.Memo] != "waiting" {
				t.Errorf("%s was dropped when it was %q", dropped.Memo, fate[dropped.Memo])
			}
			fate[dropped.Memo] = "dropped"
		}
		for _, memo := range h.Memos() {
			if fate[memo] != "waiting" {
				t.Errorf("%s was included when it was %q", memo, fate[memo])
			}
			fate[memo] = "included"
		}
		counts := make(map[string]int)
		for _, end := range fate {
			counts[end]++
		}
		if counts["waiting"] > 0 || counts["dropped"] == 0 || counts["included"] == 0 {
			t.Errorf("fates of the commands sent: %v", counts)
		}
		if len(h.Overlaps()) != 1 {
			t.Errorf("overlaps: %+v", h.Overlaps())
		}
		chainRules(t, h)
	})
}
