package itn_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/orchestrator/itn"
	"provingground/orchestrator/itn/itnserver"
	"provingground/orchestrator/itn/itntest"
)

// TestRules is the table of the package comment, for what can be repeated and what cannot. Lost replies of mutations are in
// decide_test.go.
func TestRules(t *testing.T) {
	query := func(ctx context.Context, c *itn.Client) error {
		_, err := c.SlotsWon(ctx)
		return err
	}
	schedule := func(ctx context.Context, c *itn.Client) error {
		_, err := c.SchedulePayments(ctx, payments(), "", nil)
		return err
	}
	stop := func(ctx context.Context, c *itn.Client) error { return c.StopScheduledTransactions(ctx, handle) }
	for _, test := range []struct {
		name      string
		operation string // scripted
		script    []itntest.Behaviour
		call      func(context.Context, *itn.Client) error
		order     string // of the call and of a query after it, which shows whether the number was kept
		check     func(t *testing.T, err error)
	}{
		{
			name: "two in a row need one auth", call: query,
			order: "ARR", check: noError,
		},
		{
			name: "query turned away once", operation: "slotsWon", script: []itntest.Behaviour{itntest.TurnAway}, call: query,
			order: "ARARR", check: noError,
		},
		{
			name: "query turned away twice", operation: "slotsWon",
			script: []itntest.Behaviour{itntest.TurnAway, itntest.TurnAway}, call: query,
			order: "ARARAR", check: errorAs[*itn.SequencingError],
		},
		{
			name: "mutation turned away once", operation: "schedulePayments",
			script: []itntest.Behaviour{itntest.TurnAway}, call: schedule,
			order: "ARARR", check: noError,
		},
		{
			name: "mutation turned away twice", operation: "schedulePayments",
			script: []itntest.Behaviour{itntest.TurnAway, itntest.TurnAway}, call: schedule,
			order: "ARARAR", check: errorAs[*itn.SequencingError],
		},
		{
			name: "the daemon restarted", operation: "slotsWon", script: []itntest.Behaviour{itntest.RestartFirst}, call: query,
			order: "ARARR", check: noError,
		},
		{
			name: "401 from a proxy is final and keeps the number", operation: "slotsWon",
			script: []itntest.Behaviour{itntest.Status(401, "Unauthorized")}, call: query,
			order: "ARR", check: errorAs[*itn.UnauthorizedError],
		},
		{
			name: "400 uses up the number", operation: "slotsWon",
			script: []itntest.Behaviour{badRequest}, call: query,
			order: "ARR", check: errorAs[*itn.StatusError],
		},
		{
			name: "a GraphQL error uses up the number", operation: "slotsWon",
			script: []itntest.Behaviour{itntest.Refuse("Not a block producing node", "slotsWon")}, call: query,
			order: "ARR", check: func(t *testing.T, err error) {
				t.Helper()
				errorAs[*itn.RefusedError](t, err)
				if !errors.Is(err, itn.ErrNotBlockProducer) {
					t.Errorf("%v is not ErrNotBlockProducer", err)
				}
			},
		},
		{
			name: "query lost once", operation: "slotsWon", script: []itntest.Behaviour{itntest.LoseAfter}, call: query,
			order: "ARARR", check: noError,
		},
		{
			name: "query lost twice", operation: "slotsWon",
			script: []itntest.Behaviour{itntest.LoseBefore, itntest.LoseAfter}, call: query,
			order: "ARARAR", check: errorAs[*itn.NoAnswerError],
		},
		{
			name: "query lost, then turned away", operation: "slotsWon",
			script: []itntest.Behaviour{itntest.LoseBefore, itntest.TurnAway}, call: query,
			order: "ARARARR", check: noError,
		},
		{
			name: "502 for a query", operation: "slotsWon", script: []itntest.Behaviour{itntest.StatusAfter(502)}, call: query,
			order: "ARARR", check: noError,
		},
		{
			name: "404 for a query twice", operation: "slotsWon",
			script: []itntest.Behaviour{itntest.Status(404, "x"), itntest.Status(404, "Route not found")}, call: query,
			order: "ARARAR", check: errorAs[*itn.StatusError],
		},
		{
			name: "redirect of a query is not followed", operation: "slotsWon",
			script: []itntest.Behaviour{itntest.Status(302, ""), itntest.Status(307, "")}, call: query,
			order: "ARARAR", check: errorAs[*itn.StatusError],
		},
		{
			name: "empty answer", operation: "slotsWon",
			script: []itntest.Behaviour{itntest.Body(""), itntest.Body(" ")}, call: query,
			order: "ARARAR", check: errorIs(itn.ErrUnreadableAnswer),
		},
		{
			name: "web page", operation: "slotsWon",
			script: []itntest.Behaviour{itntest.Body("<html>"), itntest.Body("<html>")}, call: query,
			order: "ARARAR", check: errorIs(itn.ErrUnreadableAnswer),
		},
		{
			name: "cut answer", operation: "slotsWon",
			script: []itntest.Behaviour{itntest.CutBody, itntest.CutBody}, call: query,
			order: "ARARAR", check: errorIs(io.ErrUnexpectedEOF),
		},
		{
			name: "answers of another shape", operation: "slotsWon",
			script: []itntest.Behaviour{itntest.Body(`{"data":null}`), itntest.Body(`{"data":{"slotsWon":null}}`)}, call: query,
			order: "ARARAR", check: errorIs(itn.ErrUnreadableAnswer),
		},
		{
			name: "answers of other fields", operation: "slotsWon",
			script: []itntest.Behaviour{itntest.Body(`{"data":{"auth":1}}`), itntest.Body(`{"data":{"slotsWon":"1"}}`)}, call: query,
			order: "ARARAR", check: errorIs(itn.ErrUnreadableAnswer),
		},
		{
			name: "bare string", operation: "slotsWon",
			script: []itntest.Behaviour{itntest.Body(`"Syntax error at 1:2"`)}, call: query,
			order: "ARR", check: func(t *testing.T, err error) {
				t.Helper()
				refused := asError[*itn.RefusedError](t, err)
				if refused != nil && refused.Message != "Syntax error at 1:2" {
					t.Errorf("message %q", refused.Message)
				}
			},
		},
		{
			name: "stop lost after it was done", operation: "stopScheduledTransactions",
			script: []itntest.Behaviour{itntest.LoseAfter}, call: stop,
			order: "ARARR", check: errorIs(itn.ErrUnknownHandle),
		},
		{
			name: "auth lost", operation: "auth", script: []itntest.Behaviour{itntest.LoseAfter}, call: query,
			order: "AARR", check: noError,
		},
		{
			name: "auth lost twice", operation: "auth",
			script: []itntest.Behaviour{itntest.LoseAfter, itntest.Status(503, "")}, call: query,
			order: "AAAR", check: errorAs[*itn.NotSentError],
		},
		{
			name: "auth refused in both forms", operation: "auth",
			script: []itntest.Behaviour{
				itntest.Body(`{"errors":[{"message":"no"}]}`), itntest.Body(`{"errors":[{"message":"no"}]}`),
			},
			call: query, order: "AAAR", check: errorAs[*itn.RefusedError],
		},
		{
			name: "auth of another shape", operation: "auth",
			script: []itntest.Behaviour{
				itntest.Body(`{"data":{"auth":{"serverUuid":"short","signerSequenceNumber":"0","libp2pPort":"1","isBlockProducer":true}}}`),
				itntest.Body(`{"data":{"auth":{"serverUuid":"24511be6-320d-4ef2-8dff-89916bcb6751","signerSequenceNumber":"65536"}}}`),
			},
			call: query, order: "AAAR", check: errorIs(itn.ErrUnreadableAnswer),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			node := itntest.New(t, itntest.Options{})
			client := node.Client(itn.Options{})
			node.Script(test.operation, test.script...)
			test.check(t, test.call(t.Context(), client))
			if _, err := client.InternalLogs(t.Context(), 1); err != nil {
				t.Errorf("query after it: %v", err)
			}
			if node.Order() != test.order {
				t.Errorf("requests %s, want %s", node.Order(), test.order)
			}
		})
	}
}

// badRequest counts the request and answers what a daemon says to a body without a query.
func badRequest(n *itntest.Node, w http.ResponseWriter, r *http.Request) {
	counted := r.Clone(r.Context())
	counted.Header.Set("Content-Type", "application/json; charset=utf-8")
	n.Server().Answer(counted).Write(w)
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("unexpected error: %v", err)
	}
}

func errorIs(target error) func(*testing.T, error) {
	return func(t *testing.T, err error) {
		t.Helper()
		if !errors.Is(err, target) {
			t.Errorf("got %v, want %v", err, target)
		}
	}
}

func asError[E error](t *testing.T, err error) E {
	t.Helper()
	target, ok := errors.AsType[E](err)
	if !ok {
		t.Errorf("got %v, want a %T", err, target)
	}
	return target
}

func errorAs[E error](t *testing.T, err error) {
	t.Helper()
	asError[E](t, err)
}

func TestUnknownKeyIsFinal(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	stranger, err := itn.ParseKey(base64.StdEncoding.EncodeToString(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	client := itn.New(itntest.Address, stranger, itn.Options{Transport: node.Transport()})
	_, err = client.Auth(t.Context())
	errorAs[*itn.UnauthorizedError](t, err)
	_, err = client.SchedulePayments(t.Context(), payments(), "", nil)
	errorAs[*itn.UnauthorizedError](t, err)
	errorAs[*itn.NotSentError](t, err)
	if node.Order() != "AA" {
		t.Errorf("requests %s, want AA", node.Order())
	}
}

// TestSequenceNumbersWrap has a daemon whose counter stands at 65534.
func TestSequenceNumbersWrap(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	var numbers []string
	daemon := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := itnserver.Answer{Status: 200, Body: []byte(`{"data":{"slotsWon":[]}}`)}
		words := strings.Split(r.Header.Get("Authorization"), " ")
		if len(words) == 3 {
			answer.Body = []byte(`{"data":{"auth":{"serverUuid":"24511be6-320d-4ef2-8dff-89916bcb6751",` +
				`"signerSequenceNumber":"65534","libp2pPort":"8302","peerId":null,"isBlockProducer":false,"commitId":"c"}}}`)
		} else {
			numbers = append(numbers, words[6])
		}
		answer.Write(w)
	})
	client := itn.New(itntest.Address, node.Key(), itn.Options{Transport: inProcess(daemon)})
	for range 4 {
		if _, err := client.SlotsWon(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"65534", "65535", "0", "1"}; !cmp.Equal(numbers, want) {
		t.Errorf("sequence numbers %v, want %v", numbers, want)
	}
}

func inProcess(handler http.Handler) http.RoundTripper {
	return itnserver.InProcess{Find: func(string) http.Handler { return handler }}
}

func TestBeforeIsCalledForEverySending(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	client := node.Client(itn.Options{})
	if _, err := client.SlotsWon(t.Context()); err != nil { // takes number 0
		t.Fatal(err)
	}
	node.Script("updateGating", itntest.RestartFirst)
	var attempts []itn.Attempt
	before := func(attempt itn.Attempt) error {
		attempts = append(attempts, attempt)
		return nil
	}
	if err := client.UpdateGating(t.Context(), gating(), before); err != nil {
		t.Fatal(err)
	}
	want := []itn.Attempt{
		{Node: itntest.Address, ServerUUID: itntest.ServerUUID(1), SequenceNumber: 1},
		{Node: itntest.Address, ServerUUID: itntest.ServerUUID(2), SequenceNumber: 0},
	}
	if diff := cmp.Diff(want, attempts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBeforeStopsARequest(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	client := node.Client(itn.Options{})
	diskFull := errors.New("disk full")
	err := client.UpdateGating(t.Context(), gating(), func(itn.Attempt) error { return diskFull })
	errorAs[*itn.NotSentError](t, err)
	errorIs(diskFull)(t, err)
	if err := client.UpdateGating(t.Context(), gating(), nil); err != nil {
		t.Errorf("the number was not kept: %v", err)
	}
	if node.Order() != "AR" {
		t.Errorf("requests %s, want AR", node.Order())
	}
}

// TestNothingIsSentBehindTheEndOfTheContext ends it while the attempt is recorded.
func TestNothingIsSentBehindTheEndOfTheContext(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	interrupted := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := node.Client(itn.Options{}).UpdateGating(ctx, gating(), func(itn.Attempt) error {
		cancel(interrupted)
		return nil
	})
	errorAs[*itn.NotSentError](t, err)
	errorIs(interrupted)(t, err)
	if node.Order() != "A" {
		t.Errorf("requests %s, want A", node.Order())
	}
}

func TestNotSent(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(*itntest.Node) *itn.Client
		details func() itn.PaymentsDetails
		order   string
		text    string // of the error
	}{
		{
			name: "connection refused",
			prepare: func(n *itntest.Node) *itn.Client {
				n.SetDown(true)
				return n.Client(itn.Options{})
			},
			details: payments,
			text:    "schedulePayments not sent to node 10.0.0.1:3085: auth before it: dial tcp: connection refused",
		},
		{
			name: "no key",
			prepare: func(n *itntest.Node) *itn.Client {
				return itn.New(itntest.Address, itn.Key{}, itn.Options{Transport: n.Transport()})
			},
			details: payments,
			text:    "schedulePayments not sent to node 10.0.0.1:3085: auth before it: the client has no ITN key",
		},
		{
			name:    "not a number",
			prepare: func(n *itntest.Node) *itn.Client { return n.Client(itn.Options{}) },
			details: func() itn.PaymentsDetails {
				details := payments()
				details.TPS = math.NaN()
				return details
			},
			order: "A",
			text:  "schedulePayments not sent to node 10.0.0.1:3085: encoding the request: json: unsupported value: NaN",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			node := itntest.New(t, itntest.Options{})
			client := test.prepare(node)
			_, err := client.SchedulePayments(t.Context(), test.details(), "", nil)
			errorAs[*itn.NotSentError](t, err)
			if err.Error() != test.text {
				t.Errorf("error %q, want %q", err, test.text)
			}
			if node.Order() != test.order {
				t.Errorf("requests %q, want %q", node.Order(), test.order)
			}
		})
	}
}

// TestARefusedDialAfterALostReplyIsNoNotSentError: what was sent first may have happened.
func TestARefusedDialAfterALostReplyIsNoNotSentError(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	node.Script("stopScheduledTransactions", func(n *itntest.Node, _ http.ResponseWriter, _ *http.Request) {
		n.SetDown(true)
		panic(http.ErrAbortHandler)
	})
	err := node.Client(itn.Options{}).StopScheduledTransactions(t.Context(), handle)
	errorAs[*itn.NoAnswerError](t, err)
	if _, notSent := errors.AsType[*itn.NotSentError](err); notSent {
		t.Errorf("%v is a NotSentError", err)
	}
}

func TestARequestTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := itntest.New(t, itntest.Options{})
		client := node.Client(itn.Options{RequestTimeout: 7 * time.Second})
		node.Script("auth", itntest.Hang)
		began := time.Now()
		_, err := client.Auth(t.Context())
		timeout := asError[*itn.TimeoutError](t, err)
		errorIs(context.DeadlineExceeded)(t, err)
		want := &itn.TimeoutError{Operation: "auth", Node: itntest.Address, After: 7 * time.Second}
		if diff := cmp.Diff(want, timeout); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestTheDefaultTimeoutIs30Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := itntest.New(t, itntest.Options{})
		node.Script("auth", itntest.Hang)
		began := time.Now()
		_, err := node.Client(itn.Options{}).Auth(t.Context())
		errorAs[*itn.TimeoutError](t, err)
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

// TestCallsTakeTurns has many callers of one node; its counter would tell if two requests were under way at once.
func TestCallsTakeTurns(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	client := node.Client(itn.Options{})
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, err := client.SlotsWon(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if want := "A" + strings.Repeat("R", 20); node.Order() != want {
		t.Errorf("requests %s, want %s", node.Order(), want)
	}
}

func TestWaitingForTheTurnGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := itntest.New(t, itntest.Options{})
		client := node.Client(itn.Options{})
		node.Script("auth", itntest.Hang)
		var group sync.WaitGroup
		group.Go(func() {
			_, err := client.Auth(t.Context())
			errorAs[*itn.TimeoutError](t, err)
		})
		synctest.Wait() // the first call has the turn

		stepOver := errors.New("the step's time is over")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, stepOver)
		defer cancel()
		began := time.Now()
		for name, call := range map[string]func() error{
			"auth":   func() error { _, err := client.Auth(ctx); return err },
			"query":  func() error { _, err := client.SlotsWon(ctx); return err },
			"gating": func() error { return client.UpdateGating(ctx, gating(), nil) },
		} {
			err := call()
			errorAs[*itn.NotSentError](t, err)
			if !errors.Is(err, stepOver) {
				t.Errorf("%s: got %v, want the cause", name, err)
			}
		}
		_, err := client.Decide(ctx, itn.Attempt{Node: itntest.Address})
		errorIs(stepOver)(t, err)
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("waited %s", waited)
		}
		group.Wait()
	})
}

// TestACancelledCallSaysWhy ends the context while the answer is awaited.
func TestACancelledCallSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := itntest.New(t, itntest.Options{})
		client := node.Client(itn.Options{})
		node.Script("slotsWon", itntest.Hang)
		interrupted := errors.New("interrupted")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, interrupted)
		defer cancel()
		_, err := client.SlotsWon(ctx)
		errorIs(interrupted)(t, err)
		if node.Order() != "AR" {
			t.Errorf("requests %s, want AR: no repeat behind the end of the context", node.Order())
		}
	})
}

func TestMaxAnswerBytes(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	client := node.Client(itn.Options{MaxAnswerBytes: 1000})
	node.Script("internalLogs", itntest.HugeBody(1000-len(`{"data":""}`)), itntest.HugeBody(1000-len(`{"data":""}`)),
		itntest.HugeBody(1001-len(`{"data":""}`)))
	_, err := client.InternalLogs(t.Context(), 1) // repeated, for it is unreadable, but not too large
	errorIs(itn.ErrUnreadableAnswer)(t, err)
	_, err = client.InternalLogs(t.Context(), 1)
	errorIs(itn.ErrAnswerTooLarge)(t, err)
	if node.Order() != "ARARAR" {
		t.Errorf("requests %s, want ARARAR: what is too large is not asked for again", node.Order())
	}
}

// TestNoMoreThanMaxAnswerBytesAreRead counts what is taken from an endless answer.
func TestNoMoreThanMaxAnswerBytesAreRead(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	var taken counter
	transport := roundTripper(func(request *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(&taken), Request: request}, nil
	})
	client := itn.New(itntest.Address, node.Key(), itn.Options{Transport: transport, MaxAnswerBytes: 5000})
	_, err := client.Auth(t.Context())
	errorIs(itn.ErrAnswerTooLarge)(t, err)
	if taken > 5001 {
		t.Errorf("%d bytes were read", taken)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// counter is an endless reader that counts what it gave.
type counter int

func (c *counter) Read(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func TestErrorTexts(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{&itn.UnauthorizedError{Operation: "auth", Node: "n:1"}, "auth: node n:1 refused the ITN key (401); is its public half among the node's --itn-keys?"},
		{&itn.SequencingError{Operation: "auth", Node: "n:1"}, "auth: node n:1 refused the sequence number twice (412); another program seems to use the same ITN key: give each program its own"},
		{&itn.RefusedError{Operation: "slotsWon", Node: "n:1", Message: "Not a block producing node"}, "node n:1 refused slotsWon: Not a block producing node"},
		{&itn.StatusError{Operation: "auth", Node: "n:1", Status: 503, Text: "busy"}, "auth: node n:1 answered 503 Service Unavailable: busy"},
		{&itn.TimeoutError{Operation: "auth", Node: "n:1", After: time.Minute}, "node n:1 did not answer auth within 1m0s"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("\n got %s\nwant %s", got, test.want)
		}
	}
	for outcome, want := range map[itn.Outcome]string{
		itn.Unknown: "unknown", itn.NotAccepted: "not accepted", itn.Accepted: "accepted", itn.Gone: "gone with the daemon",
		itn.Outcome(9): "Outcome(9)",
	} {
		if got := fmt.Sprint(outcome); got != want {
			t.Errorf("outcome %d: %q, want %q", int(outcome), got, want)
		}
	}
}
