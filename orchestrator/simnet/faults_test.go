package simnet_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/orchestrator/simnet"
)

func TestParseFaults(t *testing.T) {
	text := "slow:127.0.0.3=200ms; lose-reply:*/schedulePayments#1; 412:*#2; status:127.0.0.5=502#1;restart:127.0.0.6@20; busy:*=2s@7; " +
		"refuse:127.0.0.2; refuse:127.0.0.2=1m0s@3; drop-logs:*=10%; list-empty#2; list-slow=1s@4; list-status=503; ;"
	want := []simnet.Fault{
		{Kind: simnet.FaultSlow, Node: "127.0.0.3", Delay: 200 * time.Millisecond},
		{Kind: simnet.FaultLoseReply, Operation: "schedulePayments", Count: 1},
		{Kind: simnet.FaultSequencing, Count: 2},
		{Kind: simnet.FaultStatus, Node: "127.0.0.5", Status: 502, Count: 1},
		{Kind: simnet.FaultRestart, Node: "127.0.0.6", Slot: 20},
		{Kind: simnet.FaultBusy, Delay: 2 * time.Second, Slot: 7},
		{Kind: simnet.FaultRefuse, Node: "127.0.0.2"},
		{Kind: simnet.FaultRefuse, Node: "127.0.0.2", Delay: time.Minute, Slot: 3},
		{Kind: simnet.FaultDropLogs, Percent: 10},
		{Kind: simnet.FaultListEmpty, Count: 2},
		{Kind: simnet.FaultListSlow, Delay: time.Second, Slot: 4},
		{Kind: simnet.FaultListStatus, Status: 503},
	}
	got, err := simnet.ParseFaults(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseFaultsReportsEverything(t *testing.T) {
	for text, want := range map[string]string{
		"sluw:*=1s":                     `unknown kind "sluw"`,
		"slow":                          `it needs ":" and a node`,
		"slow:*":                        `it needs "=" and a value`,
		"slow:*=1":                      `"1" is no duration`,
		"slow:*=-1s":                    "not above 0",
		"slow:=1s":                      "the node is missing",
		"slow:10.0.0.1=1s":              `no node has the host "10.0.0.1"`,
		"slow:127.0.0.03=1s":            "no node has the host",
		"slow:*/dance=1s":               `unknown operation "dance"`,
		"hang:*=1s":                     `it takes no value "1s"`,
		"hang:*#0":                      "the count",
		"hang:*@x":                      "the slot",
		"status:*=200":                  "the status",
		"status:*=700":                  "not in 400 to 599",
		"drop-logs:*=101%":              "not in 1% to 100%",
		"drop-logs:*/auth=1%":           "does not concern requests",
		"restart:*":                     `it needs "@" and the slot`,
		"restart:*@3#1":                 "it takes no count",
		"list-empty:*":                  "it concerns no node",
		"slow:*; hang:*=2s; 412:*/nope": `"nope"`,
	} {
		faults, err := simnet.ParseFaults(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v and %v, want an error with %q", text, faults, err, want)
		}
	}
	if _, err := simnet.ParseFaults("slow:*; hang:*=2s"); err == nil || !strings.Contains(err.Error(), "slow") || !strings.Contains(err.Error(), "hang") {
		t.Errorf("not all that is wrong is reported: %v", err)
	}
}

func FuzzParseFaults(f *testing.F) {
	f.Add("slow:127.0.0.3=200ms; lose-reply:*/schedulePayments#1")
	f.Add("busy:*=2s@7;412:*#2;drop-logs:*=10%;list-status=503#1")
	f.Fuzz(func(t *testing.T, text string) {
		faults, err := simnet.ParseFaults(text)
		if err != nil {
			return
		}
		spelled := make([]string, len(faults))
		for i, fault := range faults {
			spelled[i] = fault.String()
		}
		again, err := simnet.ParseFaults(strings.Join(spelled, ";"))
		if err != nil {
			t.Fatalf("%q is spelled %q, which is refused: %v", text, spelled, err)
		}
		if diff := cmp.Diff(faults, again); diff != "" {
			t.Errorf("%q spelled and read again (-want +got):\n%s", text, diff)
		}
	})
}

// answers returns the journal's requests since an entry.
func answers(h simnet.History, from int) []simnet.RequestAnswered {
	return facts[simnet.RequestAnswered](h[from:])
}

func TestFaultsOfRequests(t *testing.T) {
	const auth = `{ auth { serverUuid } }`
	for _, test := range []struct {
		faults  string
		status  int // 0: no answer
		acted   bool
		journal simnet.RequestAnswered
	}{
		{"lose-request:*/schedulePayments#1", 0, false, simnet.RequestAnswered{Operation: "schedulePayments", Outcome: simnet.OutcomeNotRun, Fault: "lose-request:*/schedulePayments#1"}},
		{"lose-reply:*/schedulePayments#1", 0, true, simnet.RequestAnswered{Operation: "schedulePayments", Sequenced: true, Outcome: simnet.OutcomeOK, Fault: "lose-reply:*/schedulePayments#1"}},
		{"412:*/schedulePayments#1", 412, false, simnet.RequestAnswered{Operation: "schedulePayments", Outcome: simnet.OutcomeNotRun, Status: 412, Fault: "412:*/schedulePayments#1"}},
		{"status:*/schedulePayments=502#1", 502, false, simnet.RequestAnswered{Operation: "schedulePayments", Outcome: simnet.OutcomeNotRun, Status: 502, Fault: "status:*/schedulePayments=502#1"}},
		{"status-after:*/schedulePayments=504#1", 504, true, simnet.RequestAnswered{Operation: "schedulePayments", Sequenced: true, Outcome: simnet.OutcomeOK, Status: 504, Fault: "status-after:*/schedulePayments=504#1"}},
		{"restart-before:*/schedulePayments#1", 412, false, simnet.RequestAnswered{Outcome: simnet.OutcomeSequencing, Status: 412, Fault: "restart-before:*/schedulePayments#1"}},
		{"slow:*/schedulePayments=3s#1", 200, true, simnet.RequestAnswered{Operation: "schedulePayments", Sequenced: true, Outcome: simnet.OutcomeOK, Status: 200, Fault: "slow:*/schedulePayments=3s#1"}},
		{"refuse-schedule:*#1", 200, false, simnet.RequestAnswered{Operation: "schedulePayments", Sequenced: true, Outcome: simnet.OutcomeRefused, Status: 200, Fault: "refuse-schedule:*#1"}},
		{"quote-key:*#1", 200, false, simnet.RequestAnswered{Operation: "schedulePayments", Sequenced: true, Outcome: simnet.OutcomeRefused, Status: 200, Fault: "quote-key:*#1"}},
	} {
		t.Run(test.faults, func(t *testing.T) {
			senders := keys(t, 2)
			faults, err := simnet.ParseFaults(test.faults)
			if err != nil {
				t.Fatal(err)
			}
			inVirtualTime(t, simnet.Options{Nodes: 1, Accounts: accounts(senders, 1000*aMina), Faults: faults}, func(w *world) {
				node := w.client(w.Nodes()[0])
				if _, err := node.send(false, auth, nil); err != nil { // another operation is not struck
					t.Fatal(err)
				}
				from := len(w.History())
				read, err := node.send(true, schedulePayments, payments(senders[:1], nil))
				if (err != nil) != (test.status == 0) || read.status != test.status {
					t.Errorf("answered %d (%v), want %d", read.status, err, test.status)
				}
				if acted := len(w.History().Schedules()) > 0; acted != test.acted {
					t.Errorf("the node acted: %v, want %v", acted, test.acted)
				}
				if diff := cmp.Diff([]simnet.RequestAnswered{test.journal}, answers(w.History(), from)); diff != "" {
					t.Errorf("journal (-want +got):\n%s", diff)
				}
				// The count is used up.
				node.authenticate()
				node.text(schedulePayments, payments(senders[1:], nil))
			})
		})
	}
}

func TestQuotedKeyStaysOutOfTheJournal(t *testing.T) {
	senders := keys(t, 1)
	faults := []simnet.Fault{{Kind: simnet.FaultQuoteKey}}
	var journal strings.Builder
	inVirtualTime(t, simnet.Options{Nodes: 1, Accounts: accounts(senders, 1000*aMina), Faults: faults, Journal: &journal}, func(w *world) {
		node := w.client(w.Nodes()[0])
		if message := node.refused(schedulePayments, payments(senders, nil)); !strings.Contains(message, senders[0].Base58()) {
			t.Errorf("the message quotes no key: %s", message)
		}
		if message := node.refused(scheduleZkapps, zkapps(senders, nil)); !strings.Contains(message, senders[0].Base58()) {
			t.Errorf("the message quotes no key: %s", message)
		}
	})
	if strings.Contains(journal.String(), "EK"+senders[0].Base58()[2:10]) {
		t.Error("the key is in the journal")
	}
	if strings.Count(journal.String(), "schedule-refused") != 2 {
		t.Error("the refusals are not in the journal")
	}
}

func TestHungRequestEndsWithItsClient(t *testing.T) {
	faults := []simnet.Fault{{Kind: simnet.FaultHang, Operation: "auth", Count: 1}}
	synctest.Test(t, func(t *testing.T) {
		inVirtualTime(t, simnet.Options{Nodes: 1, Faults: faults}, func(w *world) {
			ctx, cancel := context.WithCancelCause(t.Context())
			node := &client{TB: t, address: w.Nodes()[0], transport: w.Transport()}
			done := make(chan error, 1)
			go func() {
				_, err := node.sendIn(ctx, false, `{ auth { serverUuid } }`, nil)
				done <- err
			}()
			synctest.Wait()
			select {
			case err := <-done:
				t.Fatalf("the request did not hang: %v", err)
			default:
			}
			cancel(errAny)
			if err := <-done; !errors.Is(err, errAny) {
				t.Errorf("the request ended with %v", err)
			}
			w.client(w.Nodes()[0])
		})
	})
}

func TestCutBody(t *testing.T) {
	faults := []simnet.Fault{{Kind: simnet.FaultCutBody, Operation: "internalLogs", Count: 1}}
	inVirtualTime(t, simnet.Options{Nodes: 1, Faults: faults}, func(w *world) {
		node := w.client(w.Nodes()[0])
		read, err := node.send(true, `{ internalLogs(startLogId: 1) { id } }`, nil)
		if !errors.Is(err, io.ErrUnexpectedEOF) || read.status != 200 || len(read.body) == 0 {
			t.Errorf("read %d bytes with %d and %v, want the half and an unexpected end", len(read.body), read.status, err)
		}
		node.logs(1)
	})
}

func TestRefusedConnections(t *testing.T) {
	faults, err := simnet.ParseFaults("refuse:127.0.0.2; refuse:127.0.0.3=15s@1")
	if err != nil {
		t.Fatal(err)
	}
	inVirtualTime(t, simnet.Options{Nodes: 3, Slot: 10 * time.Second, Faults: faults}, func(w *world) {
		w.client(w.Nodes()[2])
		for _, step := range []struct {
			pass          time.Duration
			first, second bool
		}{{0, true, false}, {10 * time.Second, true, true}, {14 * time.Second, true, true}, {time.Second, true, false}} {
			w.pass(step.pass)
			if first, second := w.refusesConnections(w.Nodes()[0]), w.refusesConnections(w.Nodes()[1]); first != step.first || second != step.second {
				t.Errorf("at %v connections are refused: %v and %v, want %v and %v", w.clock.Now().Sub(genesis()), first, second, step.first, step.second)
			}
		}
		if down := w.History().Down(); len(down) != 0 {
			t.Errorf("the nodes %v count as down, although their daemons run", down)
		}
		if !w.refusesConnections("127.0.0.9:3086") {
			t.Error("an address without node took a connection")
		}
	})
}

func TestRestartsByFault(t *testing.T) {
	faults, err := simnet.ParseFaults("restart:127.0.0.2@2; redeploy:127.0.0.3@2; die:127.0.0.4@2")
	if err != nil {
		t.Fatal(err)
	}
	inVirtualTime(t, simnet.Options{Nodes: 4, Producers: 1, Slot: 10 * time.Second, Faults: faults}, func(w *world) {
		for _, step := range []struct {
			pass time.Duration
			down int
		}{{19 * time.Second, 0}, {time.Second, 3}, {19 * time.Second, 3}, {time.Second, 2}, {79 * time.Second, 2}, {time.Second, 1}, {time.Hour, 1}} {
			w.pass(step.pass)
			if down := w.History().Down(); len(down) != step.down {
				t.Errorf("at %v %v are down, want %d", w.clock.Now().Sub(genesis()), down, step.down)
			}
		}
		if struck := facts[simnet.FaultStruck](w.History()); len(struck) != 3 {
			t.Errorf("the journal holds %d strikes, want 3: %v", len(struck), struck)
		}
	})
}

func TestVRFNotComplete(t *testing.T) {
	faults := []simnet.Fault{{Kind: simnet.FaultVRF, Count: 2}}
	inVirtualTime(t, simnet.Options{Nodes: 1, Producers: 1, Faults: faults}, func(w *world) {
		node := w.client(w.Nodes()[0])
		for range 2 {
			if message := node.refused(slotsWon, nil); message != "Vrf evaluation not completed for current epoch" {
				t.Errorf("answered %s", message)
			}
		}
		node.must(slotsWon, nil)
	})
}

func TestFaultsOfTheOnlineList(t *testing.T) {
	faults, err := simnet.ParseFaults("list-empty#1; list-malformed@1#1; list-status=503@2#1; list-no-port@3#1; list-slow=4s@4#1")
	if err != nil {
		t.Fatal(err)
	}
	inVirtualTime(t, simnet.Options{Nodes: 2, Slot: 10 * time.Second, Faults: faults}, func(w *world) {
		if status, body := w.online(); status != http.StatusOK || body != "[]\n" {
			t.Errorf("empty: %d %q", status, body)
		}
		w.pass(10 * time.Second)
		if _, body := w.online(); !strings.HasPrefix(body, "[{") || strings.HasSuffix(body, "]\n") {
			t.Errorf("malformed: %q", body)
		}
		w.pass(10 * time.Second)
		if status, _ := w.online(); status != http.StatusServiceUnavailable {
			t.Errorf("status: %d", status)
		}
		w.pass(10 * time.Second)
		if _, body := w.online(); strings.Count(body, "submitter") != 3 || strings.Count(body, "graphql_control_port") != 2 {
			t.Errorf("no port: %q", body)
		}
		w.pass(10 * time.Second)
		before := w.clock.Now()
		if _, body := w.online(); strings.Count(body, "submitter") != 2 || w.clock.Now().Sub(before) != 4*time.Second {
			t.Errorf("slow: %q after %v", body, w.clock.Now().Sub(before))
		}
	})
}

// online reads the online list.
func (w *world) online() (status int, body string) {
	w.Helper()
	request, err := http.NewRequestWithContext(w.Context(), http.MethodGet, w.OnlineURL(), nil)
	if err != nil {
		w.Fatal(err)
	}
	response, err := w.Transport().RoundTrip(request)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode, readAll(w, response)
}

func TestDroppedLogEntries(t *testing.T) {
	faults := []simnet.Fault{{Kind: simnet.FaultDropLogs, Percent: 30}}
	inVirtualTime(t, simnet.Options{Nodes: 1, Producers: 1, Slot: time.Second, MaxLogs: 2000, Faults: faults}, func(w *world) {
		w.pass(time.Minute)
		node := w.client(w.Nodes()[0])
		entries := node.logs(1)
		if share := float64(len(entries)) / float64(entries[len(entries)-1].ID-entries[0].ID+1); share < 0.65 || share > 0.75 {
			t.Errorf("%.2f of the entries are there, want 0.70", share)
		}
		if diff := cmp.Diff(entries[5:], node.logs(entries[5].ID)); diff != "" {
			t.Errorf("a second reading gives others (-want +got):\n%s", diff)
		}
	})
}
