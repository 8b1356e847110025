package itn_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/orchestrator/itn"
	"provingground/orchestrator/itn/itnserver"
	"provingground/orchestrator/itn/itntest"
)

const handle = "0b5c1f0e-7d0a-4a55-9a55-0123456789ab"

// comparePrivateKeys lets cmp compare keys by their text.
var comparePrivateKeys = cmp.Comparer(func(a, b itn.PrivateKey) bool { return a == b })

func payments() itn.PaymentsDetails {
	return itn.PaymentsDetails{
		Senders:    []itn.PrivateKey{itntest.PrivateKey(1), itntest.PrivateKey(2)},
		Receiver:   itntest.PublicKey(3),
		Amount:     18_446_744_073_709_551_615,
		MinFee:     100_000_000,
		MaxFee:     200_000_000,
		MemoPrefix: `churn-30-0-"1"<é>`,
		TPS:        0.05, DurationMin: 30,
	}
}

func zkappCommands() itn.ZkappCommandsDetails {
	return itn.ZkappCommandsDetails{
		FeePayers: []itn.PrivateKey{itntest.PrivateKey(4)}, NumZkappsToDeploy: 1, NumNewAccounts: 2, TPS: 3, DurationMin: 4,
		MemoPrefix: "zk", NoPrecondition: true, MinBalanceChange: 5, MaxBalanceChange: 6, MinNewZkappBalance: 7,
		MaxNewZkappBalance: 8, InitBalance: 9, MinFee: 10, MaxFee: 11, DeploymentFee: 12, AccountQueueSize: 13, MaxCost: true,
		MaxAccountUpdates: new(14),
	}
}

func gating() itn.GatingUpdate {
	return itn.GatingUpdate{
		TrustedPeers:    []itn.NetworkPeer{{PeerID: "12D3KooWa", Host: "10.0.0.1", Libp2pPort: 8302}},
		BannedPeers:     []itn.NetworkPeer{},
		Isolate:         true,
		CleanAddedPeers: true,
		AddedPeers:      []itn.NetworkPeer{{PeerID: "12D3KooWb", Host: "fd00::1", Libp2pPort: 8303}},
	}
}

// TestMutationsArriveAsTheyWereAsked sends every mutation to both kinds of daemon and compares what its resolver received.
func TestMutationsArriveAsTheyWereAsked(t *testing.T) {
	withoutLimit := zkappCommands()
	withoutLimit.MaxAccountUpdates = nil
	for _, test := range []struct {
		name      string
		newerOnly bool
		call      func(*itn.Client) (any, error)
		want      any
		calls     []itntest.Call
	}{
		{
			name:  "payments",
			call:  func(c *itn.Client) (any, error) { return c.SchedulePayments(t.Context(), payments(), "", nil) },
			want:  "4ff2c1b0-0000-4000-8000-000000000001",
			calls: []itntest.Call{{Operation: "schedulePayments", Input: payments()}},
		},
		{
			name: "zkApp commands",
			call: func(c *itn.Client) (any, error) {
				return c.ScheduleZkappCommands(t.Context(), zkappCommands(), "", nil)
			},
			want:  "4ff2c1b0-0000-4000-8000-000000000001",
			calls: []itntest.Call{{Operation: "scheduleZkappCommands", Input: zkappCommands()}},
		},
		{
			name: "zkApp commands without limit",
			call: func(c *itn.Client) (any, error) {
				return c.ScheduleZkappCommands(t.Context(), withoutLimit, "", nil)
			},
			want:  "4ff2c1b0-0000-4000-8000-000000000001",
			calls: []itntest.Call{{Operation: "scheduleZkappCommands", Input: withoutLimit}},
		},
		{
			name:  "gating",
			call:  func(c *itn.Client) (any, error) { return nil, c.UpdateGating(t.Context(), gating(), nil) },
			calls: []itntest.Call{{Operation: "updateGating", Input: gating()}},
		},
		{
			name: "stop at the default delay",
			call: func(c *itn.Client) (any, error) { return c.StopDaemon(t.Context(), 0, false, nil) },
			want: "Stopping daemon in 5 seconds",
			calls: []itntest.Call{{
				Operation: "stopDaemon", Input: itntest.Stop{Delay: 5 * time.Second, Clean: false},
			}},
		},
		{
			name: "stop and clean, delay rounded up",
			call: func(c *itn.Client) (any, error) { return c.StopDaemon(t.Context(), 9500*time.Millisecond, true, nil) },
			want: "Stopping daemon in 10 seconds, will clean configuration directory /config",
			calls: []itntest.Call{{
				Operation: "stopDaemon", Input: itntest.Stop{Delay: 10 * time.Second, Clean: true},
			}},
		},
		{
			name:  "limit",
			call:  func(c *itn.Client) (any, error) { return c.SetZkAppCommandLimit(t.Context(), new(7), nil) },
			want:  new(7),
			calls: []itntest.Call{{Operation: "zkAppCommandLimit", Input: new(7)}},
		},
		{
			name:  "no limit",
			call:  func(c *itn.Client) (any, error) { return c.SetZkAppCommandLimit(t.Context(), nil, nil) },
			want:  (*int)(nil),
			calls: []itntest.Call{{Operation: "zkAppCommandLimit", Input: (*int)(nil)}},
		},
		{
			name:      "accounts",
			newerOnly: true,
			call: func(c *itn.Client) (any, error) {
				return c.CreateAccounts(t.Context(), itn.CreateAccountsDetails{
					Amount: 5, Fee: 6, NumAccounts: 1, FeePayer: itntest.PrivateKey(7),
				}, handle, nil)
			},
			want: itn.CreatedAccounts{Handle: handle, Accounts: []itn.Account{
				{PublicKey: "B62-" + handle + "-0", PrivateKey: itn.NewPrivateKey("EK-" + handle + "-0")},
			}},
			calls: []itntest.Call{{Operation: "createAccounts", Input: itn.CreateAccountsDetails{
				Amount: 5, Fee: 6, NumAccounts: 1, FeePayer: itntest.PrivateKey(7),
			}}},
		},
	} {
		for _, older := range []bool{false, true} {
			if older && test.newerOnly {
				continue
			}
			t.Run(test.name+map[bool]string{true: " on an older daemon"}[older], func(t *testing.T) {
				node := itntest.New(t, itntest.Options{Older: older})
				got, err := test.call(node.Client(itn.Options{}))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, got, comparePrivateKeys); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(test.calls, node.Stub().Calls(), comparePrivateKeys); diff != "" {
					t.Errorf("what the node received (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestAuth(t *testing.T) {
	for _, test := range []struct {
		name  string
		older bool
		auth  itnserver.Auth
		want  itn.Identity
		order string // of two auths
	}{
		{
			name:  "newer, recognised at once",
			auth:  itnserver.Auth{Libp2pPort: 8302, PeerID: "12D3KooW", BlockProducer: true, CommitID: "abc"},
			want:  itn.Identity{Libp2pPort: 8302, PeerID: "12D3KooW", BlockProducer: true, CommitID: "abc", Newer: true},
			order: "AA",
		},
		{
			name:  "newer without peer ID",
			auth:  itnserver.Auth{Libp2pPort: 65535, CommitID: "abc"},
			want:  itn.Identity{Libp2pPort: 65535, CommitID: "abc", Newer: true},
			order: "AA",
		},
		{
			name:  "older, remembered",
			older: true,
			auth:  itnserver.Auth{Libp2pPort: 8302, PeerID: "12D3KooW", CommitID: "unseen"},
			want:  itn.Identity{Libp2pPort: 8302, PeerID: "12D3KooW"},
			order: "AAA",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			node := itntest.New(t, itntest.Options{Older: test.older})
			node.Stub().SetAuth(test.auth)
			client := node.Client(itn.Options{})
			test.want.ServerUUID = itntest.ServerUUID(1)
			for range 2 {
				got, err := client.Auth(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
			if node.Order() != test.order {
				t.Errorf("requests %s, want %s", node.Order(), test.order)
			}
		})
	}
}

func TestAuthTellsTheNextSequenceNumber(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	client := node.Client(itn.Options{})
	for want := range uint16(3) {
		identity, err := client.Auth(t.Context())
		if err != nil || identity.SequenceNumber != want {
			t.Fatalf("sequence number %d, %v, want %d", identity.SequenceNumber, err, want)
		}
		if _, err := client.SlotsWon(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestQueries(t *testing.T) {
	entries := []itn.Log{
		{
			ID: 1, Timestamp: time.Date(2024, 2, 29, 23, 59, 59, 123456000, time.UTC), Message: "Begin_block_production",
		},
		{
			ID: 2, Timestamp: time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC), Message: "@control", Process: "prover",
			Metadata: []itn.LogMetadatum{
				{Item: "current_block", Value: json.RawMessage(`"3NL…"`)},
				{Item: "metadata", Value: json.RawMessage(`{"a":[1,2.5,null]}`)},
				{Item: "none", Value: json.RawMessage(`null`)},
			},
		},
	}
	for _, older := range []bool{false, true} {
		node := itntest.New(t, itntest.Options{Older: older})
		client := node.Client(itn.Options{})

		slots, err := client.SlotsWon(t.Context())
		if err != nil || len(slots) != 0 {
			t.Errorf("no slots: %v, %v", slots, err)
		}
		node.Stub().SetSlots(20411, 20557)
		if slots, err = client.SlotsWon(t.Context()); err != nil || !cmp.Equal(slots, []int{20411, 20557}) {
			t.Errorf("slots: %v, %v", slots, err)
		}

		logs, err := client.InternalLogs(t.Context(), 1)
		if err != nil || len(logs) != 0 {
			t.Errorf("no logs: %v, %v", logs, err)
		}
		node.Stub().SetLogs(entries...)
		logs, err = client.InternalLogs(t.Context(), 1)
		if diff := cmp.Diff(entries, logs); err != nil || diff != "" {
			t.Errorf("logs: %v, (-want +got):\n%s", err, diff)
		}
		for endLogID, want := range []string{"Deleted 0 log", "Deleted 1 log"} {
			if text, err := client.FlushInternalLogs(t.Context(), endLogID); err != nil || text != want {
				t.Errorf("flush: %q, %v, want %q", text, err, want)
			}
		}
		if logs, err = client.InternalLogs(t.Context(), 1); err != nil || len(logs) != 1 || logs[0].ID != 2 {
			t.Errorf("logs after the flush: %v, %v", logs, err)
		}
	}
}

func TestHandles(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	client := node.Client(itn.Options{})
	for range 2 { // the second time nothing is started
		got, err := client.SchedulePayments(t.Context(), payments(), handle, nil)
		if err != nil || got != handle {
			t.Fatalf("got handle %q, %v", got, err)
		}
	}
	handles, err := client.ScheduledTransactions(t.Context())
	if err != nil || !cmp.Equal(handles, []string{handle}) {
		t.Errorf("scheduled: %v, %v", handles, err)
	}
	if err := client.StopScheduledTransactions(t.Context(), handle); err != nil {
		t.Error(err)
	}
	if err := client.StopScheduledTransactions(t.Context(), handle); !errors.Is(err, itn.ErrUnknownHandle) {
		t.Errorf("stopped twice: %v, want ErrUnknownHandle", err)
	}
}

// TestOlderDaemonChoosesTheHandle shows that the returned handle counts, and that an older daemon is not sent another.
func TestOlderDaemonChoosesTheHandle(t *testing.T) {
	node := itntest.New(t, itntest.Options{Older: true})
	client := node.Client(itn.Options{})
	got, err := client.SchedulePayments(t.Context(), payments(), handle, nil)
	if err != nil || got == handle || !cmp.Equal(node.Stub().Handles(), []string{got}) {
		t.Errorf("got handle %q, %v; the node holds %v", got, err, node.Stub().Handles())
	}
	for _, call := range []func() error{
		func() error { _, err := client.ScheduledTransactions(t.Context()); return err },
		func() error {
			_, err := client.CreateAccounts(t.Context(), itn.CreateAccountsDetails{}, "", nil)
			return err
		},
	} {
		if err := call(); !errors.Is(err, itn.ErrNotSupported) {
			t.Errorf("got %v, want ErrNotSupported", err)
		}
	}
	if node.Order() != "AAR" {
		t.Errorf("requests %s, want AAR: what is not supported is not sent", node.Order())
	}
}

// TestFallBackToTheOlderForm is the rule of itn-graphql, section 4.8, for a daemon that tells a commit all the same.
func TestFallBackToTheOlderForm(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	client := node.Client(itn.Options{})
	node.Script("schedulePayments", itntest.Refuse("Unknown argument `handle`", ""))
	var numbers []uint16
	before := func(attempt itn.Attempt) error {
		numbers = append(numbers, attempt.SequenceNumber)
		return nil
	}
	for range 2 { // the second time the older form is sent at once
		if _, err := client.SchedulePayments(t.Context(), payments(), handle, before); err != nil {
			t.Fatal(err)
		}
	}
	if node.Order() != "ARRR" || !cmp.Equal(numbers, []uint16{0, 1, 2}) {
		t.Errorf("requests %s, numbers %v, want ARRR and 0 1 2", node.Order(), numbers)
	}
	// Another run may be another build.
	node.Restart()
	got, err := client.SchedulePayments(t.Context(), payments(), handle, nil)
	if err != nil || got != handle {
		t.Errorf("after a restart: got handle %q, %v, want the newer form tried again", got, err)
	}
}

// TestARefusalOfTheResolverIsNoReasonToFallBack: the form was understood.
func TestARefusalOfTheResolverIsNoReasonToFallBack(t *testing.T) {
	for name, behaviour := range map[string]itntest.Behaviour{
		"the node's state": itntest.Refuse("some new text", "schedulePayments"),
		"a bad argument":   itntest.Refuse("Argument `tps` of type `Float` expected on field `schedulePayments`, found x.", ""),
	} {
		node := itntest.New(t, itntest.Options{})
		node.Script("schedulePayments", behaviour)
		_, err := node.Client(itn.Options{}).SchedulePayments(t.Context(), payments(), handle, nil)
		errorAs[*itn.RefusedError](t, err)
		if node.Order() != "AR" {
			t.Errorf("%s: requests %s, want AR", name, node.Order())
		}
	}
}

func TestNewerOnlyOperationRefused(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	node.Script("createAccounts", itntest.Refuse("Field 'createAccounts' is not defined on type 'mutation'", ""))
	_, err := node.Client(itn.Options{}).CreateAccounts(t.Context(),
		itn.CreateAccountsDetails{FeePayer: itntest.PrivateKey(1)}, handle, nil)
	if _, refused := errors.AsType[*itn.RefusedError](err); !errors.Is(err, itn.ErrNotSupported) || !refused {
		t.Errorf("got %v, want ErrNotSupported and the refusal", err)
	}
	if node.Order() != "AR" {
		t.Errorf("requests %s, want AR", node.Order())
	}
}
