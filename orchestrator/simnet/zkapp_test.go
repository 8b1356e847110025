package simnet_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/internal/mina"
	"provingground/orchestrator/simnet"
)

func TestZkappLoadDeploysAndThenSends(t *testing.T) {
	payers := keys(t, 2)
	options := simnet.Options{Nodes: 2, Producers: 2, Slot: 30 * time.Second, Accounts: accounts(payers, 1000*aMina)}
	inVirtualTime(t, options, func(w *world) {
		begin := w.clock.Now()
		node := w.client(w.Nodes()[0])
		handle := node.text(scheduleZkapps, zkapps(payers, map[string]any{"tps": 0.2, "durationMin": 10, "numNewAccounts": 2}))
		w.pass(11 * time.Minute)
		h := w.History()

		sent := facts[simnet.CommandSent](h)
		at := sentAt(h, begin)
		// Deployments: one interval apart, the first after one interval, paid in turn with the deployment fee.
		for i := range 4 {
			want := simnet.CommandSent{
				Memo: fmt.Sprintf("zk-0-0-%d", i), Signature: sent[i].Signature, Type: "zkapp:2:0", Sender: payers[i%2].PublicKey().String(), Nonce: uint32(i / 2),
				Fee: 1_000_000_000, Handle: handle,
			}
			if diff := cmp.Diff(want, sent[i]); diff != "" || at[i] != time.Duration(i+1)*5*time.Second {
				t.Errorf("deployment %d at %v (-want +got):\n%s", i, at[i], diff)
			}
		}
		// The load begins one interval after a look at the ledger found all of them; looks are a third of a slot apart, the first one when
		// the next deployment would be due.
		deployed := time.Duration(0)
		for _, entry := range h {
			if _, ok := entry.Fact.(simnet.AccountCreated); ok && deployed < entry.Time.Sub(begin) && entry.Time.Sub(begin) < at[4] {
				deployed = entry.Time.Sub(begin)
			}
		}
		look := 25 * time.Second
		for look < deployed {
			look += 10 * time.Second
		}
		if deployed == 0 || at[4] != look+5*time.Second {
			t.Errorf("deployed at %v, the load began at %v, want one interval after the look at %v", deployed, at[4], look)
		}
		for i := 5; i < len(sent); i++ {
			if at[i]-at[i-1] != 5*time.Second || sent[i].Memo != fmt.Sprintf("zk-0-0-%d", i) || sent[i].Sender != payers[i%2].PublicKey().String() ||
				sent[i].Type != "zkapp:6:2" || sent[i].Fee < 1_000_000_000 || sent[i].Fee > 2_000_000_000 {
				t.Errorf("command %d at %v: %+v", i, at[i], sent[i])
			}
		}
		// The time limit counts from the request.
		if last := at[len(at)-1]; last >= 10*time.Minute || last < 10*time.Minute-5*time.Second {
			t.Errorf("the last command went out at %v", last)
		}
		created := facts[simnet.AccountCreated](h)
		var balances []uint64
		for _, account := range created {
			balances = append(balances, account.Balance)
		}
		if len(created) != 6 { // four zkApps and two new accounts
			t.Errorf("accounts were created with %v", balances)
		}
		for _, balance := range balances[:4] {
			if balance != 5_000_000_000 {
				t.Errorf("zkApps were deployed with %v, want initBalance each", balances[:4])
			}
		}
		for _, balance := range balances[4:] {
			if balance < 1_000_000_000 || balance > 2_000_000_000 {
				t.Errorf("new accounts got %v", balances[4:])
			}
		}
		for _, block := range h.Chain() {
			for _, c := range block.Commands {
				if c.Failure != "" {
					t.Errorf("%s failed: %s", c.Memo, c.Failure)
				}
			}
		}
		chainRules(t, h)
	})
}

func TestZkappChecksComeAfterTheHandle(t *testing.T) {
	all := keys(t, 3)
	payers, stranger := all[:2], all[2:]
	for name, test := range map[string]struct {
		input  map[string]any
		want   string // empty: no answer
		handle bool   // stays in the node's table
	}{
		"nobody pays":       {zkapps(nil, map[string]any{"feePayers": []string{}}), "Empty list of fee payers", false},
		"stranger":          {zkapps(append(payers, stranger...), nil), "fee payer not in the ledger", true},
		"twice":             {zkapps([]mina.PrivateKey{payers[0], payers[0]}, nil), "", true},
		"negative zkApps":   {zkapps(payers, map[string]any{"numZkappsToDeploy": -1}), "", true},
		"too few accounts":  {zkapps(payers, map[string]any{"numNewAccounts": -21}), "", true},
		"before the ledger": {zkapps(stranger, map[string]any{"numZkappsToDeploy": -1}), "", true},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, simnet.Options{Nodes: 1, Accounts: accounts(payers, 1000*aMina)}, func(w *world) {
				node := w.client(w.Nodes()[0])
				read, err := node.send(true, scheduleZkapps, test.input)
				if (err != nil) != (test.want == "") || read.message() != test.want {
					t.Errorf("answered %s (%v), want %q", read.body, err, test.want)
				}
				node.authenticate() // the number is used up even where there was no answer
				var handles []string
				decode(t, node.must(listScheduled, nil), &handles)
				if len(handles) > 0 != test.handle {
					t.Errorf("the node lists %v", handles)
				}
				w.pass(20 * time.Minute)
				if sent := facts[simnet.CommandSent](w.History()); len(sent) > 0 || len(w.History().Schedules()) > 0 {
					t.Errorf("%d commands were sent", len(sent))
				}
				if refused := facts[simnet.ScheduleRefused](w.History()); len(refused) != 1 || refused[0].Reason != test.want {
					t.Errorf("the journal holds the refusals %+v", refused)
				}
			})
		})
	}
}

func TestTwentyFewerAccountsAreStillAccepted(t *testing.T) {
	payers := keys(t, 1)
	inVirtualTime(t, simnet.Options{Nodes: 1, Accounts: accounts(payers, 1000*aMina)}, func(w *world) {
		w.client(w.Nodes()[0]).text(scheduleZkapps, zkapps(payers, map[string]any{"numNewAccounts": -20, "numZkappsToDeploy": 0}))
	})
}

func TestDeploymentIsTriedAgain(t *testing.T) {
	payers := keys(t, 2)
	funded := accounts(payers[:1], 1000*aMina)
	funded[payers[1].PublicKey()] = 3 * aMina // too little for a deployment
	inVirtualTime(t, simnet.Options{Nodes: 1, Producers: 1, Slot: 30 * time.Second, Accounts: funded}, func(w *world) {
		node := w.client(w.Nodes()[0])
		node.text(scheduleZkapps, zkapps(payers, map[string]any{"tps": 0.2, "durationMin": 1}))
		w.pass(2 * time.Minute)
		rejected := facts[simnet.CommandRejected](w.History())
		if len(rejected) != 10 {
			t.Fatalf("%d attempts failed, want the 10 that fit into the minute", len(rejected))
		}
		for _, r := range rejected {
			if r.Memo != "zk-0-0-1" || r.Reason != "Insufficient_funds" || r.Nonce != 0 {
				t.Errorf("a failed attempt: %+v", r)
			}
		}
		ended := facts[simnet.ScheduleEnded](w.History())
		if len(ended) != 1 || ended[0].Reason != simnet.EndExpired || ended[0].Sent != 1 || ended[0].Failed != 10 {
			t.Errorf("ends: %+v", ended)
		}
	})
}

func TestZkappLoadDiesWithoutFreeAccounts(t *testing.T) {
	payers := keys(t, 2)
	for name, change := range map[string]map[string]any{
		"none deployed": {"numZkappsToDeploy": 0},
		"all in use":    {"numZkappsToDeploy": 2, "accountQueueSize": 2},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, simnet.Options{Nodes: 1, Producers: 1, Slot: 10 * time.Second, Accounts: accounts(payers, 1000*aMina)}, func(w *world) {
				node := w.client(w.Nodes()[0])
				handle := node.text(scheduleZkapps, zkapps(payers, change))
				w.pass(5 * time.Minute)
				ended := facts[simnet.ScheduleEnded](w.History())
				if len(ended) != 1 || ended[0].Reason != simnet.EndDied {
					t.Errorf("ends: %+v", ended)
				}
				node.text(stopScheduled, map[string]any{"handle": handle}) // "succeeds"
			})
		})
	}
}

func TestRecentlyUsedAccountsRest(t *testing.T) {
	payers := keys(t, 1)
	inVirtualTime(t, simnet.Options{Nodes: 1, Producers: 1, Slot: 10 * time.Second, Accounts: accounts(payers, 1000*aMina)}, func(w *world) {
		// One account update pair per command, so that each command uses one zkApp: with a queue of three it is used every fourth time.
		w.client(w.Nodes()[0]).text(scheduleZkapps, zkapps(payers, map[string]any{
			"maxAccountUpdates": 1, "minBalanceChange": "1", "maxBalanceChange": "1", "tps": 1.0, "durationMin": 5,
		}))
		w.pass(10 * time.Minute)
		balances := make(map[uint64]int)
		for _, balance := range w.ZkappBalances(4) {
			balances[uint64(balance-5*aMina)]++
		}
		low, high := ^uint64(0), uint64(0)
		for used := range balances {
			low, high = min(low, used), max(high, used)
		}
		if low < 50 || high-low > 1 {
			t.Errorf("the zkApps were used %v times, want evenly", balances)
		}
	})
}

func TestMaxCost(t *testing.T) {
	payers := keys(t, 2)
	inVirtualTime(t, simnet.Options{Nodes: 2, Producers: 1, Old: 1, Slot: 10 * time.Second, Accounts: accounts(payers, 1000*aMina)}, func(w *world) {
		for i, address := range w.Nodes() {
			w.client(address).text(scheduleZkapps, zkapps(payers[i:i+1], map[string]any{
				"numZkappsToDeploy": 8, "accountQueueSize": 0, "maxCost": true, "memoPrefix": fmt.Sprintf("max-0-%d", i),
			}))
		}
		w.pass(10 * time.Minute)
		newer, older := 0, 0
		for _, sent := range facts[simnet.CommandSent](w.History()) {
			switch {
			case sent.Type != "zkapp:6:5":
			case sent.Memo == "":
				older++ // takes neither memo nor fees from the request
			default:
				newer++
			}
		}
		if newer < 100 || older < 100 {
			t.Errorf("%d commands of maximum cost with memo, %d without, want many of each", newer, older)
		}
	})
}
