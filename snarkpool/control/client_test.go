package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/snarkpool/control"
)

func TestVerbs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, client := range map[string]*control.Client{"socket": w.local(t), "https": w.remote(t, w.admin)} {
		status, err := client.Status(t.Context(), target(t, "label=role=prover"))
		if err != nil || len(status.Workers) != 1 || status.Pool != "label=role=prover" {
			t.Errorf("%s: status %+v, %v", name, status, err)
		}
		for _, operation := range []control.Operation{control.OpPlan, control.OpInventory, control.OpDoctor, control.OpGPUList} {
			report, err := client.Report(t.Context(), operation)
			if want := fmt.Sprintf(`{"of":%q}`, operation); err != nil || string(report) != want {
				t.Errorf("%s: %s %s, %v", name, operation, report, err)
			}
		}
		var lines []string
		err = client.Logs(t.Context(), control.Target{}, control.Arguments{Last: 3}, func(line control.LogLine) error {
			lines = append(lines, line.Text)
			return nil
		})
		if diff := cmp.Diff([]string{"line 0", "line 1", "line 2"}, lines); err != nil || diff != "" {
			t.Errorf("%s: logs: %v\n%s", name, err, diff)
		}
		for _, operation := range control.Operations() {
			if !operation.Changes() {
				continue
			}
			command := control.Command{Operation: operation}
			if operation == control.OpFreeze {
				command.Arguments.Max = control.Duration(time.Minute)
			}
			before := len(w.operator.did())
			change, err := client.Change(t.Context(), command)
			if err != nil || change.Delivered != 3 || len(w.operator.did()) != before+1 {
				t.Errorf("%s: %s: %+v, %v", name, operation, change, err)
			}
			entries := w.audit.all()
			begun, ended := entries[len(entries)-2], entries[len(entries)-1]
			if begun.ID != ended.ID || begun.Outcome != control.OutcomeAccepted || ended.Outcome != control.OutcomeDone || ended.Command.Operation != operation ||
				ended.Message != change.Summary || ended.Role != control.RoleAdmin || ended.Who == "" {
				t.Errorf("%s: %s: audited %+v and %+v", name, operation, begun, ended)
			}
		}
	}
	if who := w.audit.last(t).Who; who != "anna" && !strings.HasPrefix(who, "uid-") {
		t.Errorf("audited for %s", who)
	}
}

func TestCommandArrivesWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	sent := control.Command{
		Operation: control.OpRestart, Target: target(t, "bm7/gpu"), DryRun: true, Expiry: time.Now().Add(5 * time.Minute).UTC().Truncate(time.Second),
		Arguments: control.Arguments{Rolling: true, Reason: "neues Modell für den Prüfstand"},
	}
	change, err := w.remote(t, w.operatorKey).Change(t.Context(), sent)
	if err != nil || !change.DryRun {
		t.Fatalf("%+v, %v", change, err)
	}
	sent.Agent = "bm7"
	if diff := cmp.Diff([]control.Command{sent}, w.operator.did(), cmp.Comparer(func(a, b control.Target) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestSocketIsForItsOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	identity, err := w.local(t).Identify(t.Context())
	if err != nil || identity.Agent != "bm7" || identity.Role != control.RoleAdmin {
		t.Errorf("%+v, %v", identity, err)
	}
	if _, err := w.local(t).Change(t.Context(), control.Command{Operation: control.OpApply}); err != nil {
		t.Error(err)
	}
	if entry := w.audit.last(t); entry.Via != "socket" || !strings.HasPrefix(entry.Remote, "pid ") || !strings.HasPrefix(entry.Who, "uid-") {
		t.Errorf("audited %+v", entry)
	}
}

// TestSignedCommandOnTheSocket is judged by its key, not by the user who sends it.
func TestSignedCommandOnTheSocket(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", w.socket)
	}}
	defer transport.CloseIdleConnections()
	identity := w.identity(t, w.reader)
	for _, test := range []struct {
		operation control.Operation
		status    int
	}{{control.OpDrain, http.StatusForbidden}, {control.OpStatus, http.StatusOK}} {
		content := body(t, control.Command{Operation: test.operation})
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://agent/command", bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", w.reader.sequenced(identity.ServerUUID, identity.SequenceNumber, content))
		identity.SequenceNumber++ // a refusal for the role used it up
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if entry := w.audit.last(t); response.StatusCode != test.status || entry.Who != "rita" || entry.Via != "socket" {
			t.Errorf("%s: answered %d, audited %+v", test.operation, response.StatusCode, entry)
		}
	}
}

// TestTooManyCommands has more commands under way than there may be.
func TestTooManyCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const most = 64
	begun, end := make(chan struct{}, most), make(chan struct{})
	w.operator.change = func(ctx context.Context, _ control.Command) (control.Change, error) {
		begun <- struct{}{}
		select {
		case <-end:
		case <-ctx.Done():
		}
		return control.Change{}, context.Cause(ctx)
	}
	client := w.local(t)
	var group sync.WaitGroup
	for range most {
		group.Go(func() {
			if _, err := client.Change(t.Context(), control.Command{Operation: control.OpDrain}); err != nil {
				t.Error(err)
			}
		})
		<-begun
	}
	_, err := client.Status(t.Context(), control.Target{})
	refusedFor(t, err, control.Busy)
	close(end)
	group.Wait()
	if _, err := client.Status(t.Context(), control.Target{}); err != nil {
		t.Error(err)
	}
}

func TestAgentSaysNo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const secret = "EKEEpMELfQkMbJDt2fB4cFXKwSf1x4t7YD4twREy5yuJ84HBZtF9"
	for name, test := range map[string]struct {
		fail    error
		reason  control.Reason
		outcome control.Outcome
	}{
		"declined": {&control.RefusedError{Reason: control.Declined, Message: "there is no worker bm7/gpu/9 " + secret}, control.Declined, control.OutcomeRefused},
		"failed":   {errors.New("the disk is full " + secret), control.Failed, control.OutcomeFailed},
	} {
		w.operator.mu.Lock()
		w.operator.fail = test.fail
		w.operator.mu.Unlock()
		_, err := w.local(t).Change(t.Context(), control.Command{Operation: control.OpDrain})
		refusedFor(t, err, test.reason)
		entry := w.audit.last(t)
		if entry.Outcome != test.outcome || entry.Reason != test.reason {
			t.Errorf("%s: audited %+v", name, entry)
		}
		if strings.Contains(err.Error()+entry.Message, secret) {
			t.Errorf("%s: a private key is shown", name)
		}
	}
}

func TestWhatIsNotAuditedIsNotDone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.audit.mu.Lock()
	w.audit.fail = errors.New("the disk is full")
	w.audit.mu.Unlock()
	_, err := w.remote(t, w.admin).Change(t.Context(), control.Command{Operation: control.OpStop})
	refusedFor(t, err, control.NotAudited)
	if did := w.operator.did(); len(did) > 0 {
		t.Errorf("done: %v", did)
	}
	if _, err := w.remote(t, w.admin).Status(t.Context(), control.Target{}); err != nil {
		t.Errorf("reading: %v", err)
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	gone := filepath.Join(t.TempDir(), "s")
	local := control.NewLocal(gone)
	defer local.Close()
	if _, err := local.Status(t.Context(), control.Target{}); !errors.Is(err, control.ErrNotRunning) || !strings.Contains(err.Error(), gone) {
		t.Errorf("got %v", err)
	}
	w := newWorld(t, nil)
	remote := w.remote(t, w.admin)
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Change(t.Context(), control.Command{Operation: control.OpStop}); !errors.Is(err, control.ErrNotRunning) || errors.Is(err, control.ErrOutcomeUnknown) {
		t.Errorf("got %v", err)
	}
	if _, err := w.local(t).Status(t.Context(), control.Target{}); !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}

func TestStrangeAgentIsNotTrusted(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t, nil), newWorld(t, nil)
	client, err := control.NewRemote(w.address, "bm7", w.admin.key, other.roots)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Status(t.Context(), control.Target{}); err == nil || !strings.Contains(err.Error(), "not to be trusted") {
		t.Errorf("got %v", err)
	}
}

// TestAnswerIsLost cuts the connection after a command came, and before its answer.
func TestAnswerIsLost(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked%2 == 1 { // who are you
			_, _ = fmt.Fprint(w, `{"result":{"agent":"bm7"}}`)
			return
		}
		panic(http.ErrAbortHandler)
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	client := control.NewLocal(path)
	if _, err := client.Change(t.Context(), control.Command{Operation: control.OpStop}); !errors.Is(err, control.ErrOutcomeUnknown) {
		t.Errorf("a change: got %v", err)
	}
	if _, err := client.Status(t.Context(), control.Target{}); err == nil || errors.Is(err, control.ErrOutcomeUnknown) {
		t.Errorf("a look: got %v", err)
	}
	client.Close()
	_ = server.Close()
	<-served
}

// TestCallerGoesAway ends the caller's context during a drain: the agent is told, and what it did is audited.
func TestCallerGoesAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	begun, told := make(chan struct{}), make(chan struct{})
	w.operator.change = func(ctx context.Context, _ control.Command) (control.Change, error) {
		close(begun)
		<-ctx.Done()
		close(told)
		return control.Change{}, context.Cause(ctx)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("had enough")
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if _, err := w.remote(t, w.operatorKey).Change(ctx, control.Command{Operation: control.OpDrain}); !errors.Is(err, control.ErrOutcomeUnknown) || !errors.Is(err, reason) {
			t.Errorf("got %v", err)
		}
	})
	<-begun
	cancel(reason)
	waiting.Wait()
	<-told
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if entry := w.audit.last(t); entry.Outcome != control.OutcomeFailed || !strings.Contains(entry.Message, "went away") {
		t.Errorf("audited %+v", entry)
	}
}

// TestManyShareAKey has several clients take numbers of one key from each other: each command is done once.
func TestManyShareAKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var group sync.WaitGroup
	for i := range 6 {
		client := w.remote(t, w.operatorKey)
		group.Go(func() {
			for j := range 3 {
				command := control.Command{Operation: control.OpPause, Arguments: control.Arguments{Reason: fmt.Sprint(i, " ", j)}}
				if _, err := client.Change(t.Context(), command); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	seen := map[string]int{}
	for _, command := range w.operator.did() {
		seen[command.Arguments.Reason]++
	}
	for reason, times := range seen {
		if times != 1 {
			t.Errorf("%s was done %d times", reason, times)
		}
	}
	if len(seen) != 18 {
		t.Errorf("%d were done, want 18", len(seen))
	}
}

// TestTwoAgents gives the commands of one agent to another that knows the same keys.
func TestTwoAgents(t *testing.T) {
	t.Parallel()
	first := newWorld(t, nil)
	second := newWorld(t, func(options *control.Options) { options.Name = "bm8" })
	second.writeKeys(t, first.admin.key.PublicKey()+" admin anna")
	here, there := first.identity(t, first.admin), func() control.Identity {
		client, err := control.NewRemote(second.address, "bm8", first.admin.key, second.roots)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		identity, err := client.Identify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return identity
	}()
	if here.ServerUUID == there.ServerUUID {
		t.Error("both have one UUID")
	}
	client, err := control.NewRemote(second.address, "bm7", first.admin.key, second.roots)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.Change(t.Context(), control.Command{Operation: control.OpStop})
	refusedFor(t, err, control.WrongAgent)
	if did := second.operator.did(); len(did) > 0 {
		t.Errorf("done: %v", did)
	}
}
