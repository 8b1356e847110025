package simnet_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/internal/mina"
	"provingground/orchestrator/simnet"
)

func createInput(payer mina.PrivateKey, change map[string]any) map[string]any {
	input := map[string]any{"amount": "200000000001", "fee": "10000000", "numAccounts": 100, "feePayer": payer.Base58()}
	maps.Copy(input, change)
	return map[string]any{"input": input}
}

func TestCreateAccounts(t *testing.T) {
	payers := keys(t, 1)
	inVirtualTime(t, simnet.Options{Nodes: 2, Producers: 1, Slot: 30 * time.Second, Accounts: accounts(payers, 1000*aMina)}, func(w *world) {
		node := w.client(w.Nodes()[0])
		var created struct {
			Handle   string
			Accounts []struct{ PublicKey, PrivateKey string }
		}
		decode(t, node.must(createAccounts, createInput(payers[0], nil)), &created)
		if len(created.Accounts) != 100 {
			t.Fatalf("%d accounts were answered", len(created.Accounts))
		}
		if text := string(node.must(listScheduled, nil)); text != fmt.Sprintf("[%q]", created.Handle) {
			t.Errorf("while the job runs the node lists %s", text)
		}
		// Ten commands at once, the other three when the first eighty accounts exist.
		if sent := len(facts[simnet.CommandSent](w.History())); sent != 10 {
			t.Errorf("the first batch has %d commands, want 10", sent)
		}
		w.pass(10 * time.Minute)
		sent := facts[simnet.CommandSent](w.History())
		if len(sent) != 13 {
			t.Fatalf("%d commands were sent, want 13", len(sent))
		}
		for i, s := range sent {
			if want := map[bool]string{true: "zkapp:9:0", false: "zkapp:5:0"}[i < 12]; s.Type != want || s.Fee != 10_000_000 || s.Handle != created.Handle || s.Nonce != uint32(i) {
				t.Errorf("command %d: %+v", i, s)
			}
		}
		if text := string(node.must(listScheduled, nil)); text != "[]" {
			t.Errorf("after the job the node lists %s", text)
		}
		if ended := facts[simnet.FundingEnded](w.History()); len(ended) != 1 || ended[0].Reason != simnet.EndDone {
			t.Errorf("ends: %+v", ended)
		}
		for _, account := range created.Accounts {
			private, err := mina.ParsePrivateKey(account.PrivateKey)
			if err != nil || private.PublicKey().String() != account.PublicKey {
				t.Fatalf("the keys do not belong together: %v", err)
			}
			if balance, err := w.Balance(t.Context(), "127.0.0.3", private.PublicKey()); err != nil || balance != aMina {
				t.Errorf("an account got %v (%v), want its share of 2 MINA less the creation fee", balance, err)
			}
		}
		if balance, err := w.Balance(t.Context(), "", payers[0].PublicKey()); err != nil || balance != 1000*aMina-200*aMina-13*10_000_000 {
			t.Errorf("the payer has %v left (%v)", balance, err)
		}
	})
}

func TestCreateAccountsWithAHandle(t *testing.T) {
	payers := keys(t, 1)
	const document = `mutation($input: CreateAccountsDetails!, $handle: String) { createAccounts(input: $input, handle: $handle) { handle accounts { publicKey } } }`
	inVirtualTime(t, simnet.Options{Nodes: 2, Old: 1, Producers: 1, Slot: 30 * time.Second, Accounts: accounts(payers, 1000*aMina)}, func(w *world) {
		node := w.client(w.Nodes()[0])
		input := createInput(payers[0], nil)
		input["handle"] = callersOwn
		first := string(node.must(document, input))
		if again := string(node.must(document, input)); again != first {
			t.Errorf("a second request with the handle of a running job answers %s, want %s", again, first)
		}
		if started := len(facts[simnet.FundingStarted](w.History())); started != 1 {
			t.Errorf("%d jobs were started", started)
		}
		// A stop ends the job after the batch under way.
		node.text(stopScheduled, map[string]any{"handle": callersOwn})
		w.pass(10 * time.Minute)
		if ended := facts[simnet.FundingEnded](w.History()); len(ended) != 1 || ended[0].Reason != simnet.EndStopped {
			t.Errorf("ends: %+v", ended)
		}
		if created := len(facts[simnet.AccountCreated](w.History())); created != 80 {
			t.Errorf("%d accounts exist, want those of the first batch", created)
		}
		if read, err := w.client(w.Nodes()[1]).send(true, document, input); err != nil || read.message() == "" {
			t.Errorf("an older node knows createAccounts: %s, %v", read.body, err)
		}
	})
}

func TestFundingThatIsRefused(t *testing.T) {
	payers, stranger := keys(t, 2)[:1], keys(t, 2)[1]
	inVirtualTime(t, simnet.Options{Nodes: 1, Producers: 1, Accounts: accounts(payers, 1000*aMina)}, func(w *world) {
		node := w.client(w.Nodes()[0])
		for want, input := range map[string]map[string]any{
			"Fee payer account not found":          createInput(stranger, nil),
			"must be positive":                     createInput(payers[0], map[string]any{"numAccounts": 0}),
			"must be at most 10000":                createInput(payers[0], map[string]any{"numAccounts": 10_001}),
			"less than the minimum":                createInput(payers[0], map[string]any{"fee": "999999"}),
			"less than the account creation fee":   createInput(payers[0], map[string]any{"amount": "99999999999"}),
			"exceed the balance of the fee payer":  createInput(payers[0], map[string]any{"amount": "999900000000", "fee": "100000000"}),
			"Insufficient funds: amount and fees ": createInput(payers[0], map[string]any{"amount": "18446744073709551615", "fee": "18446744073709551615"}),
		} {
			if message := node.refused(createAccounts, input); !strings.Contains(message, want) {
				t.Errorf("answered %q, want %q", message, want)
			}
		}
		var refused *simnet.FundingRefusedError
		err := w.FundAccounts(t.Context(), "", stranger.PublicKey(), []mina.PublicKey{payers[0].PublicKey()}, 10*aMina, aMina)
		if !errors.As(err, &refused) {
			t.Errorf("funding from a stranger: %v", err)
		}
		if len(facts[simnet.CommandSent](w.History())) != 0 {
			t.Error("something was sent all the same")
		}
		// Exactly enough is enough.
		node.must(createAccounts, createInput(payers[0], map[string]any{"amount": "998700000000", "fee": "100000000"}))
	})
}

func TestFundAccountsWaits(t *testing.T) {
	payers := keys(t, 1)
	inVirtualTime(t, simnet.Options{Nodes: 2, Producers: 1, Slot: 30 * time.Second, Accounts: accounts(payers, 1000*aMina)}, func(w *world) {
		public := func(made []mina.PrivateKey) (list []mina.PublicKey) {
			for _, key := range made {
				list = append(list, key.PublicKey())
			}
			return list
		}
		begin := w.clock.Now()
		if err := w.FundAccounts(t.Context(), "127.0.0.3", payers[0].PublicKey(), public(w.NewKeys(9)), 90*aMina, aMina); err != nil {
			t.Fatal(err)
		}
		if took := w.clock.Now().Sub(begin); took < 30*time.Second || took > 5*time.Minute {
			t.Errorf("the accounts existed after %v", took)
		}
		if created := facts[simnet.AccountCreated](w.History()); len(created) != 9 || created[0].Balance != uint64(9*aMina) {
			t.Errorf("created: %+v", created)
		}
		if err := w.FundAccounts(t.Context(), "10.0.0.1", payers[0].PublicKey(), public(w.NewKeys(1)), 9*aMina, aMina); err == nil {
			t.Error("an unknown host funds accounts")
		}
		// The daemon dies: so does the job.
		w.client(w.Nodes()[1]).text(stopDaemon, map[string]any{"clean": nil})
		w.pass(4 * time.Second)
		if err := w.FundAccounts(t.Context(), "127.0.0.3", payers[0].PublicKey(), public(w.NewKeys(9)), 90*aMina, aMina); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("the daemon stopped, the job ended with %v", err)
		}
		if err := w.FundAccounts(t.Context(), "127.0.0.3", payers[0].PublicKey(), public(w.NewKeys(9)), 90*aMina, aMina); !errors.Is(err, simnet.ErrNodeDown) {
			t.Errorf("the node is down, the job ended with %v", err)
		}
		// The caller goes away.
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errAny)
		if err := w.FundAccounts(ctx, "", payers[0].PublicKey(), public(w.NewKeys(9)), 90*aMina, aMina); !errors.Is(err, errAny) {
			t.Errorf("the caller went away, the job ended with %v", err)
		}
	})
}

func TestFundingGivesUpAfterHalfAnHour(t *testing.T) {
	payers := keys(t, 1)
	inVirtualTime(t, simnet.Options{Nodes: 1, Accounts: accounts(payers, 1000*aMina)}, func(w *world) { // nobody makes blocks
		begin := w.clock.Now()
		err := w.FundAccounts(t.Context(), "", payers[0].PublicKey(), []mina.PublicKey{w.NewKeys(1)[0].PublicKey()}, 9*aMina, aMina)
		if err == nil || !strings.Contains(err.Error(), "30 minutes") {
			t.Errorf("ended with %v", err)
		}
		if took := w.clock.Now().Sub(begin); took != 30*time.Minute {
			t.Errorf("gave up after %v", took)
		}
	})
}

func TestWallet(t *testing.T) {
	own, stranger := keys(t, 3)[:2], keys(t, 3)[2].PublicKey()
	options := simnet.Options{Nodes: 2, Producers: 1, Slot: 10 * time.Second, Accounts: accounts(own, 1000*aMina), WalletPassword: "secret"}
	inVirtualTime(t, options, func(w *world) {
		ctx, first, second := t.Context(), own[0].PublicKey(), own[1].PublicKey()
		pay := func(host string, amount mina.Nanomina, memo string) error {
			return w.SendPayment(ctx, host, first, second, amount, 2*aMina, memo)
		}
		if err := pay("127.0.0.2", aMina, "rotation"); !errors.Is(err, simnet.ErrLocked) {
			t.Errorf("paying from a locked account: %v", err)
		}
		if err := w.Unlock(ctx, "127.0.0.2", first, "wrong"); !errors.Is(err, simnet.ErrWrongPassword) {
			t.Errorf("a wrong password: %v", err)
		}
		if err := w.Unlock(ctx, "127.0.0.2", stranger, "secret"); !errors.Is(err, simnet.ErrNoAccount) {
			t.Errorf("a key that the wallet does not hold: %v", err)
		}
		if err := w.Unlock(ctx, "127.0.0.2", first, "secret"); err != nil {
			t.Fatal(err)
		}
		if err := pay("127.0.0.3", aMina, "rotation"); !errors.Is(err, simnet.ErrLocked) {
			t.Errorf("unlocking on one node unlocked on another: %v", err)
		}
		for i := range 2 { // nonces follow those that wait in the pool
			if err := pay("127.0.0.2", 100*aMina, fmt.Sprint("rotation", i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := pay("127.0.0.2", 797*aMina, "too much"); err == nil || !strings.Contains(err.Error(), "Insufficient_funds") {
			t.Errorf("paying more than there is: %v", err)
		}
		if err := pay("127.0.0.2", aMina, strings.Repeat("m", 33)); err == nil {
			t.Error("a memo of 33 bytes was taken")
		}
		w.pass(2 * time.Minute)
		if balance, err := w.Balance(ctx, "127.0.0.3", first); err != nil || balance != 796*aMina {
			t.Errorf("the sender has %v (%v)", balance, err)
		}
		if balance, err := w.Balance(ctx, "127.0.0.3", second); err != nil || balance != 1200*aMina {
			t.Errorf("the receiver has %v (%v)", balance, err)
		}
		if _, err := w.Balance(ctx, "", stranger); !errors.Is(err, simnet.ErrNoAccount) {
			t.Errorf("a stranger's balance: %v", err)
		}
		if diff := cmp.Diff([]string{"rotation0", "rotation1"}, w.History().Memos()); diff != "" {
			t.Errorf("included (-want +got):\n%s", diff)
		}
		if err := w.Restart(ctx, "127.0.0.2", false); err != nil {
			t.Fatal(err)
		}
		if err := pay("127.0.0.2", aMina, ""); !errors.Is(err, simnet.ErrNodeDown) {
			t.Errorf("paying through a node that is down: %v", err)
		}
		w.pass(time.Minute)
		if err := pay("127.0.0.2", aMina, ""); !errors.Is(err, simnet.ErrLocked) {
			t.Errorf("a restart does not lock the wallet: %v", err)
		}
	})
}
