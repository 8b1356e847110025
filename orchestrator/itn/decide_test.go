package itn_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/orchestrator/itn"
	"provingground/orchestrator/itn/itntest"
)

// TestALostReplyIsDecided loses replies of a mutation in every way and checks what the client finds out (script-language,
// section 5), from the order of requests to what the node really did.
func TestALostReplyIsDecided(t *testing.T) {
	for _, test := range []struct {
		name    string
		script  []itntest.Behaviour // of the mutation
		decide  []itntest.Behaviour // of the deciding auth
		auth    []itntest.Behaviour // of the auth after that
		order   string              // the first A and R are auth and mutation
		outcome itn.Outcome
		calls   int // that reached the node's resolver
		cause   func(*testing.T, error)
	}{
		{
			name: "never arrived", script: s(itntest.LoseBefore),
			order: "ARD", outcome: itn.NotAccepted, cause: anyCause,
		},
		{
			name: "arrived, reply lost", script: s(itntest.LoseAfter),
			order: "ARDA", outcome: itn.Accepted, calls: 1, cause: anyCause,
		},
		{
			name: "daemon restarted after it", script: s(itntest.RestartAfter),
			order: "ARDA", outcome: itn.Gone, calls: 1, cause: anyCause,
		},
		{
			name: "503 of a proxy", script: s(itntest.Status(503, "no upstream")),
			order: "ARD", outcome: itn.NotAccepted, cause: errorAs[*itn.StatusError],
		},
		{
			name: "502 after it was done", script: s(itntest.StatusAfter(502)),
			order: "ARDA", outcome: itn.Accepted, calls: 1, cause: errorAs[*itn.StatusError],
		},
		{
			name: "404 of a proxy", script: s(itntest.Status(404, "")),
			order: "ARD", outcome: itn.NotAccepted, cause: errorAs[*itn.StatusError],
		},
		{
			name: "redirect, not followed", script: s(itntest.Status(307, "")),
			order: "ARD", outcome: itn.NotAccepted, cause: errorAs[*itn.StatusError],
		},
		{
			name: "cut answer", script: s(itntest.CutBody),
			order: "ARDA", outcome: itn.Accepted, calls: 1, cause: anyCause,
		},
		{
			name: "empty answer", script: s(itntest.Body("")),
			order: "ARDA", outcome: itn.Accepted, calls: 1, cause: errorIs(itn.ErrUnreadableAnswer),
		},
		{
			name: "answer without handle", script: s(itntest.Body(`{"data":{"schedulePayments":null}}`)),
			order: "ARDA", outcome: itn.Accepted, calls: 1, cause: errorIs(itn.ErrUnreadableAnswer),
		},
		{
			name: "huge answer", script: s(itntest.HugeBody(100_000)),
			order: "ARDA", outcome: itn.Accepted, calls: 1, cause: errorIs(itn.ErrAnswerTooLarge),
		},
		{
			name: "no answer in time", script: s(itntest.Hang),
			order: "ARD", outcome: itn.NotAccepted, cause: errorAs[*itn.TimeoutError],
		},
		{
			name: "done, no answer in time", script: s(itntest.HangAfter),
			order: "ARDA", outcome: itn.Accepted, calls: 1, cause: errorAs[*itn.TimeoutError],
		},
		{
			name: "turned away first", script: s(itntest.TurnAway, itntest.LoseAfter),
			order: "ARARDA", outcome: itn.Accepted, calls: 1, cause: anyCause,
		},
		{
			name: "the deciding auth never arrived", script: s(itntest.LoseBefore), decide: s(itntest.LoseBefore),
			order: "ARDAD", outcome: itn.NotAccepted, cause: anyCause,
		},
		{
			name: "the deciding auth lost its reply as well: either may have the number", script: s(itntest.LoseBefore),
			decide: s(itntest.LoseAfter),
			order:  "ARDA", outcome: itn.Unknown, cause: anyCause,
		},
		{
			name: "the same after an accepted request", script: s(itntest.LoseAfter), decide: s(itntest.LoseBefore),
			order: "ARDA", outcome: itn.Unknown, calls: 1, cause: anyCause,
		},
		{
			name: "a restart tells even then", script: s(itntest.LoseAfter), decide: s(itntest.RestartAfter),
			order: "ARDA", outcome: itn.Gone, calls: 1, cause: anyCause,
		},
		{
			name: "the deciding auth turned away without reason", script: s(itntest.LoseBefore), decide: s(itntest.TurnAway),
			order: "ARDAD", outcome: itn.NotAccepted, cause: anyCause,
		},
		{
			name: "the deciding auth unauthorized", script: s(itntest.LoseBefore), decide: s(itntest.Status(401, "")),
			order: "ARD", outcome: itn.Unknown, cause: errorAs[*itn.UnauthorizedError],
		},
		{
			name: "the deciding auth refused by the resolver was accepted all the same", script: s(itntest.LoseBefore),
			decide: s(itntest.Refuse("no", "auth")),
			order:  "ARD", outcome: itn.NotAccepted, cause: anyCause,
		},
		{
			name: "another daemon answers the deciding auth", script: s(itntest.LoseBefore),
			decide: s(itntest.Body(`{"data":{"auth":{"serverUuid":"00000000-0000-0000-0000-000000000000"}}}`)),
			order:  "ARDA", outcome: itn.Unknown, cause: errorIs(itn.ErrUnreadableAnswer),
		},
		{
			name: "the look is asked until it answers", script: s(itntest.LoseAfter),
			auth:  s(itntest.LoseBefore, itntest.Status(503, ""), itntest.LoseAfter),
			order: "ARDAAAA", outcome: itn.Accepted, calls: 1, cause: anyCause,
		},
		{
			name: "the node hangs on", script: s(itntest.LoseBefore), decide: s(itntest.Hang), auth: s(itntest.Hang),
			order: "ARDA", outcome: itn.Unknown, cause: anyCause,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node := itntest.New(t, itntest.Options{})
				client := node.Client(itn.Options{RequestTimeout: 8 * time.Second, MaxAnswerBytes: 50_000})
				identity, err := client.Auth(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				node.Script("schedulePayments", test.script...)
				node.Script(itntest.Decide, test.decide...)
				node.Script("auth", test.auth...)
				if strings.HasPrefix(test.order, "ARAR") {
					identity.SequenceNumber = 0 // asked once more, and the same
				}

				_, err = client.SchedulePayments(t.Context(), payments(), "", nil)
				lost := asError[*itn.LostReplyError](t, err)
				if lost == nil {
					return
				}
				want := itn.Attempt{Node: itntest.Address, ServerUUID: identity.ServerUUID, SequenceNumber: identity.SequenceNumber}
				if lost.Outcome != test.outcome || lost.Attempt != want || lost.Operation != "schedulePayments" {
					t.Errorf("got %v of %v, want %v of %v", lost.Outcome, lost.Attempt, test.outcome, want)
				}
				test.cause(t, err)
				if _, notSent := errors.AsType[*itn.NotSentError](err); notSent {
					t.Errorf("%v is a NotSentError", err)
				}
				if node.Order() != test.order {
					t.Errorf("requests %s, want %s", node.Order(), test.order)
				}
				if calls := len(node.Stub().Calls()); calls != test.calls {
					t.Errorf("the node did it %d times, want %d", calls, test.calls)
				}
				// The client goes on with what it learnt.
				if _, err := client.SlotsWon(t.Context()); err != nil {
					t.Errorf("query after it: %v", err)
				}
			})
		})
	}
}

// TestLostRepliesSayWhatToDo: people read these.
func TestLostRepliesSayWhatToDo(t *testing.T) {
	const on = "updateGating on node 10.0.0.1:3085: reply lost, "
	for _, test := range []struct {
		script, decide []itntest.Behaviour
		want           string
	}{
		{
			script: s(itntest.LoseBefore),
			want:   on + "not accepted (it did not happen and may be sent again): ",
		},
		{
			script: s(itntest.LoseAfter),
			want:   on + "accepted (what it started runs until its end; do not send it again): ",
		},
		{
			script: s(itntest.RestartAfter),
			want:   on + "gone with the daemon (the daemon was restarted and holds nothing of it): ",
		},
		{
			script: s(itntest.LoseAfter), decide: s(itntest.Status(401, "")),
			want: on + "unknown (do not send it again, and decide it once the node answers): ",
		},
	} {
		node := itntest.New(t, itntest.Options{})
		node.Script("updateGating", test.script...)
		node.Script(itntest.Decide, test.decide...)
		err := node.Client(itn.Options{}).UpdateGating(t.Context(), gating(), nil)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("\n got %v\nwant %s…", err, test.want)
		}
	}
	node := itntest.New(t, itntest.Options{})
	node.Script("slotsWon", itntest.Status(503, "a"), itntest.Status(503, "b"))
	_, err := node.Client(itn.Options{}).SlotsWon(t.Context())
	const want = "slotsWon on node 10.0.0.1:3085: no answer: slotsWon: node 10.0.0.1:3085 answered 503 Service Unavailable: a; " +
		"then: slotsWon: node 10.0.0.1:3085 answered 503 Service Unavailable: b"
	if err == nil || err.Error() != want {
		t.Errorf("\n got %v\nwant %s", err, want)
	}
}

func s(behaviours ...itntest.Behaviour) []itntest.Behaviour { return behaviours }

func anyCause(t *testing.T, err error) {
	t.Helper()
	if errors.Unwrap(errors.Unwrap(err)) == nil && errors.Unwrap(err) == nil {
		t.Errorf("%v has no cause", err)
	}
}

// TestANodeThatIsGoneStaysUnknown has the node vanish with the reply: nothing more can leave.
func TestANodeThatIsGoneStaysUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := itntest.New(t, itntest.Options{})
		client := node.Client(itn.Options{})
		node.Script("updateGating", func(n *itntest.Node, _ http.ResponseWriter, _ *http.Request) {
			n.SetDown(true)
			panic(http.ErrAbortHandler)
		})
		began := time.Now()
		err := client.UpdateGating(t.Context(), gating(), nil)
		lost := asError[*itn.LostReplyError](t, err)
		if lost.Outcome != itn.Unknown || node.Order() != "AR" {
			t.Errorf("%v, requests %s, want unknown and AR", lost, node.Order())
		}
		if took := time.Since(began); took != 3*time.Second { // 0.2 + 0.4 + 0.8 + 1.6
			t.Errorf("took %s, want 3s", took)
		}

		// Once the node is back, the attempt can be decided.
		node.SetDown(false)
		outcome, err := client.Decide(t.Context(), lost.Attempt)
		if outcome != itn.NotAccepted || err != nil || node.Order() != "ARD" {
			t.Errorf("Decide: %v, %v, requests %s", outcome, err, node.Order())
		}
	})
}

// TestDecidingGoesOnBehindTheCallersContext cancels the call while its reply is awaited.
func TestDecidingGoesOnBehindTheCallersContext(t *testing.T) {
	for _, test := range []struct {
		behaviour itntest.Behaviour
		decide    []itntest.Behaviour
		outcome   itn.Outcome
		took      time.Duration
	}{
		{itntest.HangAfter, nil, itn.Accepted, time.Second},
		{itntest.Hang, nil, itn.NotAccepted, time.Second},
		{itntest.Hang, s(itntest.Hang, itntest.Hang), itn.Unknown, 11 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			node := itntest.New(t, itntest.Options{})
			client := node.Client(itn.Options{})
			node.Script("schedulePayments", test.behaviour)
			node.Script(itntest.Decide, test.decide...)
			interrupted := errors.New("interrupted")
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, interrupted)
			defer cancel()
			details := payments()
			details.RepeatUntil = time.Now().Add(time.Hour)
			began, sendings := time.Now(), 0
			_, err := client.SchedulePayments(ctx, details, handle, func(itn.Attempt) error {
				sendings++
				return nil
			})
			errorIs(interrupted)(t, err)
			lost := asError[*itn.LostReplyError](t, err)
			if lost.Outcome != test.outcome || time.Since(began) != test.took {
				t.Errorf("%v after %s, want %v after %s", lost.Outcome, time.Since(began), test.outcome, test.took)
			}
			if strings.Count(node.Order(), "R") != 1 || sendings != 1 {
				t.Errorf("requests %s, %d sendings: the mutation was repeated behind the end of the context", node.Order(), sendings)
			}
		})
	}
}

// TestDecide is what stop and resume do with a recorded attempt: the client has sent nothing before.
func TestDecide(t *testing.T) {
	for _, test := range []struct {
		name    string
		happens func(*testing.T, *itntest.Node, *itn.Client) // before the program ended
		outcome itn.Outcome
		order   string
	}{
		{
			name:    "intent recorded, nothing sent",
			happens: func(*testing.T, *itntest.Node, *itn.Client) {},
			outcome: itn.NotAccepted, order: "D",
		},
		{
			name: "sent and accepted",
			happens: func(t *testing.T, _ *itntest.Node, c *itn.Client) {
				t.Helper()
				noError(t, c.UpdateGating(t.Context(), gating(), nil))
			},
			outcome: itn.Accepted, order: "ARDA",
		},
		{
			name:    "the daemon restarted since",
			happens: func(_ *testing.T, n *itntest.Node, _ *itn.Client) { n.Restart() },
			outcome: itn.Gone, order: "DA",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			node := itntest.New(t, itntest.Options{})
			test.happens(t, node, node.Client(itn.Options{}))
			attempt := itn.Attempt{Node: itntest.Address, ServerUUID: itntest.ServerUUID(1)}
			outcome, err := node.Client(itn.Options{}).Decide(t.Context(), attempt)
			if outcome != test.outcome || err != nil || node.Order() != test.order {
				t.Errorf("got %v, %v, requests %s, want %v, %s", outcome, err, node.Order(), test.outcome, test.order)
			}
		})
	}
}

func TestDecideRefusesAnotherNode(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	outcome, err := node.Client(itn.Options{}).Decide(t.Context(), itn.Attempt{Node: "10.9.9.9:3085"})
	if outcome != itn.Unknown || err == nil || node.Order() != "" {
		t.Errorf("got %v, %v, requests %q", outcome, err, node.Order())
	}
}

// TestALostReplyWithAHandleIsRepeated is the newer, safe way of itn-graphql, section 4.8.
func TestALostReplyWithAHandleIsRepeated(t *testing.T) {
	for _, test := range []struct {
		name     string
		handle   string
		until    time.Duration // from now; 0 for none
		script   []itntest.Behaviour
		order    string
		numbers  []uint16
		definite bool // a handle is returned
	}{
		{
			name: "repeated", handle: handle, until: time.Hour, script: s(itntest.LoseAfter),
			order: "ARDAR", numbers: []uint16{0, 1}, definite: true,
		},
		{
			name: "reply lost by a timeout", handle: handle, until: time.Hour, script: s(itntest.HangAfter),
			order: "ARDAR", numbers: []uint16{0, 1}, definite: true,
		},
		{
			name: "never arrived: not repeated", handle: handle, until: time.Hour, script: s(itntest.LoseBefore),
			order: "ARD", numbers: []uint16{0},
		},
		{
			name: "no handle chosen", until: time.Hour, script: s(itntest.LoseAfter),
			order: "ARDA", numbers: []uint16{0},
		},
		{
			name: "no time given", handle: handle, script: s(itntest.LoseAfter),
			order: "ARDA", numbers: []uint16{0},
		},
		{
			name: "the load may be over", handle: handle, until: 20 * time.Second, script: s(itntest.HangAfter),
			order: "ARDA", numbers: []uint16{0},
		},
		{
			name: "lost again: once is enough", handle: handle, until: time.Hour, script: s(itntest.LoseAfter, itntest.LoseAfter),
			order: "ARDAR", numbers: []uint16{0, 1},
		},
		{
			name: "the repeat is refused", handle: handle, until: time.Hour,
			script: s(itntest.LoseAfter, itntest.Refuse("Could not get best tip ledger", "schedulePayments")),
			order:  "ARDAR", numbers: []uint16{0, 1},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node := itntest.New(t, itntest.Options{})
				node.Script("schedulePayments", test.script...)
				details := payments()
				if test.until != 0 {
					details.RepeatUntil = time.Now().Add(test.until)
				}
				var numbers []uint16
				got, err := node.Client(itn.Options{}).SchedulePayments(t.Context(), details, test.handle, func(a itn.Attempt) error {
					numbers = append(numbers, a.SequenceNumber)
					return nil
				})
				if test.definite && (err != nil || got != handle) {
					t.Errorf("got handle %q, %v", got, err)
				}
				if !test.definite {
					lost := asError[*itn.LostReplyError](t, err)
					if lost != nil && lost.Attempt.SequenceNumber != 0 {
						t.Errorf("the error is about %v, want the first attempt", lost.Attempt)
					}
				}
				if node.Order() != test.order || !cmp.Equal(numbers, test.numbers) {
					t.Errorf("requests %s, numbers %v, want %s, %v", node.Order(), numbers, test.order, test.numbers)
				}
				if held := node.Stub().Handles(); len(held) > 1 {
					t.Errorf("the load runs %d times: %v", len(held), held)
				}
			})
		})
	}
}

// TestAccountsAreGivenAgain repeats createAccounts, whose reply alone has the keys.
func TestAccountsAreGivenAgain(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	node.Script("createAccounts", itntest.LoseAfter)
	details := itn.CreateAccountsDetails{
		Amount: 5, Fee: 6, NumAccounts: 2, FeePayer: itntest.PrivateKey(7), RepeatUntil: time.Now().Add(time.Hour),
	}
	created, err := node.Client(itn.Options{}).CreateAccounts(t.Context(), details, handle, nil)
	if err != nil || created.Handle != handle || len(created.Accounts) != 2 || node.Order() != "ARDAR" {
		t.Errorf("got %v, %v, requests %s", created, err, node.Order())
	}
}

// TestNoRepeatOnADaemonThatIgnoresHandles: it would start the load once more.
func TestNoRepeatOnADaemonThatIgnoresHandles(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	client := node.Client(itn.Options{})
	details := payments()
	details.RepeatUntil = time.Now().Add(time.Hour)
	node.Script("schedulePayments", itntest.Body(`{"data":{"schedulePayments":"another"}}`), itntest.LoseAfter)
	if got, err := client.SchedulePayments(t.Context(), details, handle, nil); err != nil || got != "another" {
		t.Fatalf("got handle %q, %v, want what the daemon returned", got, err)
	}
	_, err := client.SchedulePayments(t.Context(), details, handle, nil)
	errorAs[*itn.LostReplyError](t, err)
	if node.Order() != "ARRDA" {
		t.Errorf("requests %s, want ARRDA", node.Order())
	}
}

// TestOutcomesAreTrue scripts random misbehaviour and compares what the client says with what the node did: the outcome may be
// unknown, but never wrong, and nothing happens twice.
func TestOutcomesAreTrue(t *testing.T) {
	behaviours := map[string]itntest.Behaviour{
		"serve": itntest.Serve, "lose before": itntest.LoseBefore, "lose after": itntest.LoseAfter, "hang": itntest.Hang,
		"hang after": itntest.HangAfter, "turn away": itntest.TurnAway, "restart first": itntest.RestartFirst,
		"restart after": itntest.RestartAfter, "502": itntest.Status(502, ""), "502 after": itntest.StatusAfter(502),
		"cut": itntest.CutBody, "empty": itntest.Body(""), "refuse": itntest.Refuse("Could not get best tip ledger", "x"),
		"garbage first": itntest.Status(200, "<html>"),
	}
	names := make([]string, 0, len(behaviours))
	for name := range behaviours {
		names = append(names, name)
	}
	rapid.Check(t, func(rt *rapid.T) {
		pick := func(label string, most int) []string {
			return rapid.SliceOfN(rapid.SampledFrom(names), 0, most).Draw(rt, label)
		}
		scripts := map[string][]string{
			"schedulePayments": pick("mutation", 3), itntest.Decide: pick("decide", 4), "auth": pick("auth", 5),
		}
		chosen := rapid.SampledFrom([]string{"", handle}).Draw(rt, "handle")
		var failure string
		synctest.Test(t, func(t *testing.T) { failure = checkOutcome(t, behaviours, scripts, chosen) })
		if failure != "" {
			rt.Fatal(failure)
		}
	})
}

func checkOutcome(
	t *testing.T, behaviours map[string]itntest.Behaviour, scripts map[string][]string, chosen string,
) (failure string) {
	t.Helper()
	node := itntest.New(t, itntest.Options{})
	client := node.Client(itn.Options{})
	for operation, script := range scripts {
		for _, name := range script {
			node.Script(operation, behaviours[name])
		}
	}
	details := payments()
	details.RepeatUntil = time.Now().Add(time.Hour)
	returned, err := client.SchedulePayments(t.Context(), details, chosen, nil)

	done, held := len(node.Stub().Calls()), node.Stub().Handles()
	lost, isLost := errors.AsType[*itn.LostReplyError](err)
	_, isRefused := errors.AsType[*itn.RefusedError](err)
	var wrong bool
	switch {
	case len(held) > 1:
		wrong = true
	case err == nil:
		wrong = done == 0 || done > 1 && (chosen == "" || returned != chosen)
	case !isLost || lost.Outcome == itn.NotAccepted:
		wrong = done != 0 // refused, not sent, unauthorized, turned away
	case lost.Outcome == itn.Accepted && !isRefused:
		wrong = done == 0
	case lost.Outcome == itn.Gone:
		wrong = len(held) != 0
	}
	if wrong {
		return fmt.Sprintf("handle %q, error %v; the node did it %d times and holds %v; requests %s",
			returned, err, done, held, node.Order())
	}
	return ""
}
