package simnet_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/blake2b"

	"provingground/internal/clock"
	"provingground/internal/mina"
	"provingground/orchestrator/simnet"
)

func TestOwnOnlineList(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 3, Producers: 1, RestartAfter: -1}, func(w *world) {
		var list []map[string]any
		status, body := w.online()
		decode(t, []byte(body), &list)
		if status != http.StatusOK || len(list) != 3 {
			t.Fatalf("answered %d %s", status, body)
		}
		for i, entry := range list {
			host := strings.TrimSuffix(w.Nodes()[i], ":3086")
			if len(entry) != 3 || entry["graphql_control_port"] != 3086.0 || entry["remote_addr"] != host || entry["submitter"] != w.Submitters()[i].String() {
				t.Errorf("entry %d: %v", i, entry)
			}
		}
		w.pass(14 * time.Minute) // the next reports are due at slot 5, after 15 minutes
		w.client(w.Nodes()[1]).text(stopDaemon, map[string]any{"clean": nil})
		w.pass(6*time.Minute - time.Second)
		if _, body := w.online(); strings.Count(body, "submitter") != 3 {
			t.Errorf("a second before its time is over the node has left the list: %s", body)
		}
		w.pass(time.Second)
		if _, body := w.online(); strings.Count(body, "submitter") != 2 || strings.Contains(body, "127.0.0.3") {
			t.Errorf("20 minutes after its last report the node is still listed: %s", body)
		}
		w.pass(24 * time.Hour)
		if _, body := w.online(); strings.Count(body, "submitter") != 2 {
			t.Errorf("a day later: %s", body)
		}
	})
}

func TestNobodyOnline(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 1, RestartAfter: -1}, func(w *world) {
		w.client(w.Nodes()[0]).text(stopDaemon, map[string]any{"clean": nil})
		w.pass(time.Hour)
		if _, body := w.online(); body != "[]\n" {
			t.Errorf("answered %q", body)
		}
	})
}

// Reports go to a real service over TCP, each from its node's own address, and carry signatures that verify.
func TestSignedReports(t *testing.T) {
	type received struct {
		remote string
		body   []byte
	}
	var mu sync.Mutex
	var all []received
	enough := make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/submit" || r.Header.Get("Content-Type") != "application/json" || r.ContentLength != int64(len(body)) {
			t.Errorf("%s, %v, %d bytes announced: %v", r.URL.Path, r.Header, r.ContentLength, err)
		}
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if all = append(all, received{host, body}); len(all) == 6 {
			close(enough)
		}
	}))
	defer service.Close()

	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	genesis := time.Now().UTC().Truncate(time.Millisecond)
	scaled, err := clock.Scaled(genesis, 100)
	if err != nil {
		t.Fatal(err)
	}
	network, err := simnet.New(simnet.Options{
		Nodes: 3, Producers: 1, Old: 1, Slot: 10 * time.Second, Clock: scaled, Genesis: genesis, ITNKeys: []ed25519.PublicKey{public},
		UptimeURL: service.URL + "/v1/submit", KeepJournal: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := service.URL + "/v1/online"; network.OnlineURL() != want {
		t.Errorf("the online list is said to be at %s, want %s", network.OnlineURL(), want)
	}
	if err := network.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-enough // two rounds: at the start, and at slot 5
	if err := network.Stop(); err != nil {
		t.Error(err)
	}

	mu.Lock()
	defer mu.Unlock()
	seen := make(map[string]int)
	for _, r := range all {
		var report struct {
			Version   *int
			Data      json.RawMessage
			Signature string
			Submitter string
		}
		decode(t, r.body, &report)
		var data struct {
			Block     string  `json:"block"`
			CreatedAt string  `json:"created_at"`
			PeerID    string  `json:"peer_id"`
			Port      int     `json:"graphql_control_port"`
			Commit    *string `json:"built_with_commit_sha"`
		}
		decode(t, report.Data, &data)
		older := r.remote == "127.0.0.4"
		if *report.Version != map[bool]int{false: 1, true: 0}[older] || (data.Commit == nil) != older || data.Port != 3086 || !strings.HasPrefix(data.PeerID, "12D3Koo") {
			t.Errorf("report of %s: %s", r.remote, r.body)
		}
		if made, err := time.Parse("2006-01-02T15:04:05Z", data.CreatedAt); err != nil || time.Since(made).Abs() > time.Minute {
			t.Errorf("created_at %s is not the wall time (%v)", data.CreatedAt, err)
		}
		if block, err := base64.StdEncoding.DecodeString(data.Block); err != nil || len(block) == 0 {
			t.Errorf("block %q: %v", data.Block, err)
		}
		submitter, err := mina.ParsePublicKey(report.Submitter)
		if err != nil {
			t.Fatal(err)
		}
		signature, err := mina.ParseSignature(report.Signature)
		if err != nil {
			t.Fatal(err)
		}
		// The signed text, put together by hand in the order of uptime, section 3.
		signed := `{"block":"` + data.Block + `","created_at":"` + data.CreatedAt + `","peer_id":"` + data.PeerID + `","graphql_control_port":3086`
		if data.Commit != nil {
			signed += `,"built_with_commit_sha":"` + *data.Commit + `"`
		}
		digest := blake2b.Sum256([]byte(signed + "}"))
		if !submitter.Verify(mina.Testnet, digest[:], signature) {
			t.Errorf("the signature of %s does not verify", r.remote)
		}
		for i, key := range network.Submitters() {
			if key == submitter && network.Hosts()[i] != r.remote {
				t.Errorf("node %d reported from %s", i, r.remote)
			}
		}
		seen[r.remote]++
	}
	if len(seen) != 3 {
		t.Errorf("reports came from %v", seen)
	}
	ok := 0
	for _, reported := range facts[simnet.UptimeReported](network.History()) {
		if reported.Status == http.StatusOK && reported.Error == "" {
			ok++
		}
	}
	if ok < 3 { // those of the second round may have been cut off by the end
		t.Errorf("the journal holds %d reports of %d", ok, len(all))
	}
}

func TestReportsThatGetNoAnswer(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	genesis := time.Now().UTC()
	network, err := simnet.New(simnet.Options{
		Nodes: 1, Genesis: genesis, ITNKeys: []ed25519.PublicKey{itnPublicKey(t)}, UptimeURL: closed.URL + "/v1/submit", KeepJournal: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := network.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for len(facts[simnet.UptimeReported](network.History())) == 0 {
		<-ticker.C
	}
	if err := network.Stop(); err != nil {
		t.Error(err)
	}
	if reported := facts[simnet.UptimeReported](network.History()); reported[0].Status != 0 || !strings.Contains(reported[0].Error, "refused") {
		t.Errorf("journal: %+v", reported)
	}
}
