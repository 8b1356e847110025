package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"provingground/cmd/internal/boot"
)

// hostile is a node that tells as much as it can, whoever asks.
type hostile struct {
	number int
	auth   bool // also when it is asked who it is
	text   string
	asked  atomic.Int32
}

// ServeHTTP answers like a daemon, and then some: fifteen megabytes of entries, each answer with ids of its own, or of nothing.
func (h *hostile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	n := int(h.asked.Add(1))
	if strings.Contains(string(body), "internalLogs") || h.auth {
		const entries = 60
		_, _ = io.WriteString(w, `{"data":{"internalLogs":[`)
		for i := range entries {
			_, _ = fmt.Fprintf(w, `{"id":%d,"timestamp":"2026-11-20 10:00:00.000000Z","message":"%s","metadata":[],"process":null},`, n*entries+i, h.text)
		}
		_, _ = fmt.Fprintf(w, `{"id":%d,"timestamp":"2026-11-20 10:00:00.000000Z","message":"last","metadata":[],"process":null}]}}`, (n+1)*entries)
		return
	}
	_, _ = fmt.Fprintf(w, `{"data":{"auth":{"serverUuid":"24511be6-320d-4ef2-8dff-%012d","signerSequenceNumber":"0","libp2pPort":"8302","peerId":"p","isBlockProducer":false}}}`, h.number)
}

// TestManyHostileNodes: as many nodes as are asked at once answer fifteen megabytes each, again and again; the process stays small, and the honest
// node beside them is read.
func TestManyHostileNodes(t *testing.T) {
	const (
		count  = 48
		memory = 300_000_000
	)
	dir := outputDir(t)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(seed()), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("x", 250_000)
	nodes := []*hostile{{number: 0, text: "short"}} // the honest one
	for i := range count {
		nodes = append(nodes, &hostile{number: i + 1, auth: i%3 == 0, text: text})
	}
	var list []map[string]any
	for i, node := range nodes {
		server := httptest.NewServer(node)
		t.Cleanup(server.Close)
		host, port, err := net.SplitHostPort(server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, map[string]any{"remote_addr": host, "graphql_control_port": json.Number(port), "submitter": fmt.Sprintf("B62%08d", i)})
	}
	online := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(w).Encode(list); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(online.Close)
	p := start(t, binary(t, "fetcher"), dir, []string{"ONLINE_URL=" + online.URL, "FETCH_INTERVAL_MS=1000"}, "-k", key, "-o", dir, "discovery")
	var once sync.Once
	stored := 0
	await(t, "every hostile node to have been asked, some to have been stored from, and the honest one to be read often", func() bool {
		stored = 0
		asked := 0
		for _, node := range nodes {
			if node.asked.Load() > 0 {
				asked++
			}
		}
		for _, status := range p.nodes(t) {
			if status.LastLogID > 0 && status.SubmitterPK != "B6200000000" {
				stored++
			}
			if status.SubmitterPK == "B6200000000" && time.Since(status.LastSuccess) > time.Minute && !status.LastSuccess.IsZero() {
				once.Do(func() {
					t.Errorf("the honest node was not read for %v: %s", time.Since(status.LastSuccess), status.LastError)
				})
			}
		}
		return asked == len(nodes) && stored >= 8 && nodes[0].asked.Load() > 20
	})
	peak := memoryOf(t, p.cmd.Process.Pid)
	t.Logf("%d MB resident", peak/1_000_000)
	if peak > memory {
		t.Errorf("%d bytes resident, want at most %d", peak, memory)
	}
	if code := p.stop(t, syscall.SIGTERM); code != boot.CodeOK {
		t.Errorf("exits %d\n%s", code, &p.stderr)
	}
}
