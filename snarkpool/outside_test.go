//go:build linux

package snarkpool_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"provingground/snarkpool"
	"provingground/snarkpool/coordinator"
)

// TestCoordinator takes work from a coordinator and proofs back, over HTTP; a slashed proof is not handed in again.
func TestCoordinator(t *testing.T) {
	var mu sync.Mutex
	proved := map[string]int{}
	given := map[string]bool{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/work", func(out http.ResponseWriter, r *http.Request) {
		var asked coordinator.WorkRequest
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked.Check() != nil {
			http.Error(out, "bad", http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		answer := coordinator.WorkAnswer{Work: []coordinator.Work{}}
		for i := range 5 {
			statement := fmt.Sprintf("%064x", i)
			if id := "w" + statement[60:]; !given[id] && len(answer.Work) < asked.Most {
				given[id] = true
				answer.Work = append(answer.Work, coordinator.Work{ID: id, WorkIDs: []int{i}, Statement: statement, Kinds: []coordinator.Kind{coordinator.Merge}})
			}
		}
		_ = json.NewEncoder(out).Encode(answer)
	})
	mux.HandleFunc("POST /v1/proof", func(out http.ResponseWriter, r *http.Request) {
		var p coordinator.Proof
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil || p.Check() != nil || p.Statement[60:] != p.ID[1:] {
			http.Error(out, "bad", http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		proved[p.ID]++
		verdict := coordinator.Verdict{Status: coordinator.Accepted}
		if p.ID == "w0001" {
			verdict = coordinator.Verdict{Status: coordinator.Slashed, Reason: coordinator.ReasonProven}
		}
		_ = json.NewEncoder(out).Encode(verdict)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	client, err := coordinator.New(server.URL, coordinator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	from := snarkpool.NewCoordinator(client, "bm7", fakeKind, fakeKey, func(work string) json.RawMessage {
		return json.RawMessage(`"` + strings.ToUpper(work) + `"`)
	})
	newWorld(t, poolFile(2, `"1ms", "right"`), func(o *snarkpool.Options) { o.Feeds = []snarkpool.Feed{{Name: "net", Source: from}} })
	eventually(t, "all works proved once", func() (bool, string) {
		mu.Lock()
		defer mu.Unlock()
		return len(proved) == 5, fmt.Sprint(proved)
	})
	eventually(t, "one unwanted", func() (bool, string) {
		slashed, misshapen := from.Unwanted()
		return slashed == 1 && misshapen == 0, fmt.Sprint(slashed, misshapen)
	})
}
