package itn_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"provingground/orchestrator/itn"
	"provingground/orchestrator/itn/itnserver"
	"provingground/orchestrator/itn/itntest"
)

// TestNoSecretIsLoggedOrReturned makes the daemon quote private keys and headers in every kind of answer, with all logging on.
func TestNoSecretIsLoggedOrReturned(t *testing.T) {
	key := itntest.PrivateKey(1).Base58()
	header := "Signature BaG9HYTNxkqyX7haFnz/HXL9FhYwS4gdQ7uYWiStgoY= " +
		"7a6Wx4HQ5h0JJKjJWh3zXxLAa7qql+UXAuyqbQh+XW5C/IcmRchtp/SjBPvhOQmtlYNJGjvCrbBWO0SqlrVcDQ=="
	mistyped := "EK0" + key[3:20] // too short and of the wrong letters: no pattern knows it
	argument := "Argument `senders` of type `PrivateKey` expected on field `schedulePayments`, found \"%s\"."

	core, logs := observer.New(zapcore.DebugLevel)
	node := itntest.New(t, itntest.Options{})
	client := node.Client(itn.Options{Logger: zap.New(core), LogRequests: true})
	quoting := []itntest.Behaviour{
		itntest.Refuse(fmt.Sprintf(argument, key), ""),
		itntest.Refuse(fmt.Sprintf(argument, mistyped), ""),
		itntest.Refuse("exception in "+key+" "+header, "schedulePayments"),
		itntest.Body(`"syntax error near ` + key + `"`),
		itntest.Status(400, "bad "+key),
		itntest.Status(503, "proxy saw "+header+" and "+key),
		itntest.Body(key),
		itntest.Body(`{"data":{"schedulePayments":["` + key + `"]}}`),
		itntest.Serve,
	}
	node.Script("schedulePayments", quoting...)
	var texts []string
	for range quoting {
		details := payments()
		details.Senders = []itn.PrivateKey{itntest.PrivateKey(1)}
		_, err := client.SchedulePayments(t.Context(), details, "", nil)
		texts = append(texts, fmt.Sprintf("%v %+v %#v", err, err, err))
		for ; err != nil; err = errors.Unwrap(err) {
			texts = append(texts, fmt.Sprintf("%v %+v %#v", err, err, err))
		}
	}
	if len(node.Stub().Calls()) == 0 || logs.Len() < len(quoting) {
		t.Fatalf("%d calls arrived, %d lines were logged", len(node.Stub().Calls()), logs.Len())
	}
	for _, entry := range logs.All() {
		texts = append(texts, fmt.Sprint(entry.Message, entry.ContextMap()))
	}
	for _, text := range texts {
		for _, secret := range []string{key, mistyped, header[10:54], header[55:], itntest.Seed} {
			if strings.Contains(text, secret) {
				t.Errorf("a secret in %s", text)
			}
		}
	}
	// No signature of a request that was really sent, either.
	for _, body := range node.Bodies() {
		if !strings.Contains(body, "query") {
			t.Errorf("unexpected body %s", body)
		}
	}
}

func TestLogRequests(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	node := itntest.New(t, itntest.Options{})
	client := node.Client(itn.Options{Logger: zap.New(core), LogRequests: true})
	node.Script("slotsWon", itntest.Serve, itntest.LoseBefore)
	for range 2 {
		if _, err := client.SlotsWon(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	type line struct {
		operation, number, status string
		failed                    bool
	}
	var got []line
	for _, entry := range logs.All() {
		fields := entry.ContextMap()
		number, status := "none", "none"
		if n, found := fields["sequence_number"]; found {
			number = fmt.Sprint(n)
		}
		if s, found := fields["status"]; found {
			status = fmt.Sprint(s)
			if size, _ := fields["bytes"].(int64); size == 0 {
				t.Errorf("no size: %v", fields)
			}
		}
		if fields["node"] != itntest.Address || fields["duration"] == nil || entry.Message != "itn request" ||
			entry.Level != zapcore.DebugLevel {
			t.Errorf("line %q at %s: %v", entry.Message, entry.Level, fields)
		}
		got = append(got, line{fmt.Sprint(fields["operation"]), number, status, fields["error"] != nil})
	}
	want := []line{
		{"auth", "none", "200", false},
		{"slotsWon", "0", "200", false},
		{"slotsWon", "1", "none", true},
		{"auth", "none", "200", false},
		{"slotsWon", "1", "200", false},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("lines\n got %v\nwant %v", got, want)
	}
}

func TestNothingIsLoggedUnasked(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	node := itntest.New(t, itntest.Options{})
	if _, err := node.Client(itn.Options{Logger: zap.New(core)}).SlotsWon(t.Context()); err != nil {
		t.Fatal(err)
	}
	if logs.Len() != 0 {
		t.Errorf("%d lines were logged", logs.Len())
	}
}

func TestDaemonTextsAreMaskedAndCut(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"as it is", "Could not get best tip ledger", "Could not get best tip ledger"},
		{
			"value left out", "Argument `tps` of type `Float` expected on field `schedulePayments`, found \"x, found y\".",
			"Argument `tps` of type `Float` expected on field `schedulePayments`, found another value",
		},
		{"found elsewhere", "nothing, found nothing", "nothing, found nothing"},
		{"key", "cannot use " + itntest.PrivateKey(1).Base58(), "cannot use EK…(masked)"},
		{"key at the cut", strings.Repeat("x", 990) + itntest.PrivateKey(1).Base58(), strings.Repeat("x", 990) + "EK…(mask…"},
		{"cut between bytes of a letter", strings.Repeat("x", 999) + "é", strings.Repeat("x", 999) + "…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			node := itntest.New(t, itntest.Options{})
			node.Stub().Fail("slotsWon", itnserver.Refusal(test.text))
			_, err := node.Client(itn.Options{}).SlotsWon(t.Context())
			if refused := asError[*itn.RefusedError](t, err); refused != nil && refused.Message != test.want {
				t.Errorf("got %q, want %q", refused.Message, test.want)
			}
		})
	}
}

// TestEverywhere provokes each text at a node that plays the daemon, so that both sides would have to be wrong alike.
func TestEverywhere(t *testing.T) {
	change := func(f func(*itn.PaymentsDetails)) func(context.Context, *itn.Client) error {
		return func(ctx context.Context, c *itn.Client) error {
			details := payments()
			f(&details)
			_, err := c.SchedulePayments(ctx, details, "", nil)
			return err
		}
	}
	for _, test := range []struct {
		name       string
		fail       map[string]error // of the node's resolver
		call       func(context.Context, *itn.Client) error
		everywhere bool
		message    string
	}{
		{
			name: "no senders", everywhere: true, message: "Empty list of senders",
			call: change(func(d *itn.PaymentsDetails) { d.Senders = nil }),
		},
		{
			name: "memo too long", everywhere: true, message: "Memo too long, limited to 32 characters",
			call: change(func(d *itn.PaymentsDetails) { d.MemoPrefix = strings.Repeat("m", 33) }),
		},
		{
			name: "fees out of order", everywhere: true, message: "Maximum fee less than mininum fee",
			call: change(func(d *itn.PaymentsDetails) { d.MinFee, d.MaxFee = 2, 1 }),
		},
		{
			name: "bad key", everywhere: true,
			message: "Argument `senders` of type `PrivateKey` expected on field `schedulePayments`, found another value",
			call:    change(func(d *itn.PaymentsDetails) { d.Senders[1] = itn.NewPrivateKey("EKbad") }),
		},
		{
			name: "no fee payers", everywhere: true, message: "Empty list of fee payers",
			call: func(ctx context.Context, c *itn.Client) error {
				_, err := c.ScheduleZkappCommands(ctx, itn.ZkappCommandsDetails{}, "", nil)
				return err
			},
		},
		{
			name: "no such handle shape", everywhere: true, message: "Not a valid scheduled transactions handle: x",
			call: func(ctx context.Context, c *itn.Client) error { return c.StopScheduledTransactions(ctx, "x") },
		},
		{
			name: "short delay", everywhere: true, message: "Delay of 1 seconds is less than minimum 5",
			call: func(ctx context.Context, c *itn.Client) error {
				_, err := c.StopDaemon(ctx, 1, false, nil)
				return err
			},
		},
		{
			name: "host name in gating", everywhere: true, message: "Invalid format for NetworkPeer.host",
			call: func(ctx context.Context, c *itn.Client) error {
				return c.UpdateGating(ctx, itn.GatingUpdate{BannedPeers: []itn.NetworkPeer{{Host: "localhost"}}}, nil)
			},
		},
		{
			name: "no best tip", message: "Could not get best tip ledger",
			fail: map[string]error{"schedulePayments": itnserver.NoBestTip}, call: change(func(*itn.PaymentsDetails) {}),
		},
		{
			name: "missing accounts", message: `Could not get nonces for accounts: "B62a","B62b"`,
			fail: map[string]error{"schedulePayments": itnserver.MissingAccounts([]string{"B62a", "B62b"})},
			call: change(func(*itn.PaymentsDetails) {}),
		},
		{
			name: "fee payer missing", message: "fee payer not in the ledger",
			fail: map[string]error{"schedulePayments": itnserver.FeePayerNotInLedger}, call: change(func(*itn.PaymentsDetails) {}),
		},
		{
			name: "peers", message: "failed to add peers: a, b",
			fail: map[string]error{"updateGating": itnserver.FailedToAddPeers([]string{"a", "b"})},
			call: func(ctx context.Context, c *itn.Client) error { return c.UpdateGating(ctx, gating(), nil) },
		},
		{
			name: "unknown text", message: "something new",
			fail: map[string]error{"updateGating": itnserver.Refusal("something new")},
			call: func(ctx context.Context, c *itn.Client) error { return c.UpdateGating(ctx, gating(), nil) },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			node := itntest.New(t, itntest.Options{})
			for operation, err := range test.fail {
				node.Stub().Fail(operation, err)
			}
			refused := asError[*itn.RefusedError](t, test.call(t.Context(), node.Client(itn.Options{})))
			if refused == nil {
				return
			}
			if refused.Message != test.message || refused.Everywhere() != test.everywhere {
				t.Errorf("%q, everywhere %v; want %q, %v", refused.Message, refused.Everywhere(), test.message, test.everywhere)
			}
		})
	}
	missing := &itn.RefusedError{Message: "Missing variable `limit`"}
	if !missing.Everywhere() {
		t.Error("a missing variable is not everywhere")
	}
}

func TestSentinels(t *testing.T) {
	for refusal, want := range map[itnserver.Refusal]error{
		itnserver.NotBlockProducer: itn.ErrNotBlockProducer,
		itnserver.VRFNotCompleted:  itn.ErrVRFNotCompleted,
	} {
		node := itntest.New(t, itntest.Options{})
		node.Stub().Fail("slotsWon", refusal)
		_, err := node.Client(itn.Options{}).SlotsWon(t.Context())
		errorIs(want)(t, err)
	}
}
