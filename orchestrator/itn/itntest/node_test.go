package itntest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"provingground/orchestrator/itn"
	"provingground/orchestrator/itn/itntest"
)

// TestTheFakeCatchesDrift sends what a daemon would let pass, and expects the test to fail.
func TestTheFakeCatchesDrift(t *testing.T) {
	for _, test := range []struct {
		name      string
		query     string
		variables map[string]any
		want      string // in the complaint; empty for none
	}{
		{"right", "query($id: Int!) { internalLogs(startLogId: $id) { id } }", map[string]any{"id": 1}, ""},
		{"unknown field", "{ slotsWin }", nil, "is not valid"},
		{"unknown argument", "{ slotsWon(x: 1) }", nil, "is not valid"},
		{"no parse", "{", nil, "is not valid"},
		{"variable not sent", "mutation($limit: Int) { zkAppCommandLimit(limit: $limit) }", nil, "limit of \"\" is not sent"},
		{"required variable not sent", "query($id: Int!) { internalLogs(startLogId: $id) { id } }", nil, "must be defined"},
		{
			"unknown input field", "mutation($i: CreateAccountsDetails!) { createAccounts(input: $i) { handle } }",
			map[string]any{"i": map[string]any{"amount": "1", "fee": "1", "numAccounts": 1, "feePayer": "EK", "feePayers": "EK"}},
			"unknown field",
		},
		{"two root fields", "{ slotsWon scheduledTransactions }", nil, "exactly one root field"},
	} {
		t.Run(test.name, func(t *testing.T) {
			complaints := &recordingTB{TB: t}
			node := itntest.New(complaints, itntest.Options{})
			body, err := json.Marshal(map[string]any{"query": test.query, "variables": test.variables})
			if err != nil {
				t.Fatal(err)
			}
			request, err := http.NewRequestWithContext(
				t.Context(), http.MethodPost, "http://"+itntest.Address+"/graphql", strings.NewReader(string(body)))
			if err != nil {
				t.Fatal(err)
			}
			response, err := node.Transport().RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != http.StatusUnauthorized {
				t.Errorf("an unsigned request got %d", response.StatusCode)
			}
			got := strings.Join(complaints.texts, "\n")
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("complaints %q, want one with %q", got, test.want)
			}
		})
	}
}

// recordingTB keeps complaints to itself.
type recordingTB struct {
	testing.TB
	texts []string
}

func (r *recordingTB) Errorf(format string, args ...any) {
	r.texts = append(r.texts, fmt.Sprintf(format, args...))
}

// TestScripts runs behaviours in turn, over TCP as well as in process, and reads the order.
func TestScripts(t *testing.T) {
	for _, overTCP := range []bool{false, true} {
		node := itntest.New(t, itntest.Options{})
		client := node.Client(itn.Options{})
		if overTCP {
			client = itn.New(node.Listen(), node.Key(), itn.Options{})
			defer client.Close()
		}
		node.Script("slotsWon", itntest.TurnAway, itntest.Serve)
		node.Script("slotsWon", itntest.Status(502, "x"))
		node.Script("auth", itntest.Serve, itntest.RestartFirst)
		for range 2 {
			if _, err := client.SlotsWon(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if node.Order() != "ARARRAR" || node.Server().ServerUUID() != itntest.ServerUUID(2) || len(node.Bodies()) != 7 {
			t.Errorf("requests %s on run %s, %d bodies", node.Order(), node.Server().ServerUUID(), len(node.Bodies()))
		}
	}
}

func TestDown(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+itntest.Address+"/graphql", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	node.SetDown(true)
	if _, err := node.Transport().RoundTrip(request); err == nil || node.Order() != "" {
		t.Errorf("a node that is down answers: %v, %q", err, node.Order())
	}
	other := request.Clone(t.Context())
	other.URL.Host = "10.0.0.2:3085"
	node.SetDown(false)
	if _, err := node.Transport().RoundTrip(other); err == nil {
		t.Error("a node answers at another address")
	}
}

// TestCutBody leaves the reader in the middle.
func TestCutBody(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	node.Script("slotsWon", itntest.CutBody)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+itntest.Address+"/graphql",
		strings.NewReader(`{"query":"{ slotsWon }"}`))
	if err != nil {
		t.Fatal(err)
	}
	response, err := node.Transport().RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(response.Body); err == nil || string(text) != "Unauth" {
		t.Errorf("got %q, %v", text, err)
	}
}
