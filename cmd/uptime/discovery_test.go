package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"provingground/internal/privatepg/pgtest"
)

// TestDiscovery: nodes of a simulated network report to the service, and the orchestrator and the fetcher find them there.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	dir := filepath.Join(t.TempDir(), "net")
	network := exec.CommandContext(t.Context(), binary(t, "simnet"), "-dir", dir, "-nodes", "4", "-producers", "2", "-old", "1", "-slot", "20s", "-clock-scale", "40",
		"-seed", "7", "-keys", "1", "-port", freePort(t), "-uptime-url", "http://127.0.0.1:"+port+"/v1/submit")
	stdout, err := network.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr text
	network.Stderr = &stderr
	if err := network.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(network.Process.Signal(syscall.SIGTERM), network.Wait()); err != nil {
			t.Errorf("the network: %v\n%s", err, &stderr)
		}
	}()
	var nodes []string // HOST:PORT
	for lines := bufio.NewScanner(stdout); lines.Scan() && lines.Text() != "ready"; {
		if node, ok := strings.CutPrefix(lines.Text(), "node "); ok {
			node, _, _ = strings.Cut(node, " ")
			nodes = append(nodes, node)
		}
	}
	if len(nodes) != 4 {
		t.Fatalf("the network has nodes %q\n%s", nodes, &stderr)
	}

	// The whitelist is the network's, so the service starts second; the nodes report again within five slots, which are 2.5 s here.
	p := start(t, []string{"CONFIG_FILE=" + filepath.Join(dir, "uptime.json")}, "-listen", "127.0.0.1:"+port)
	await(t, "all nodes to be online", func() bool { return strings.Count(p.online(t), `"submitter"`) == len(nodes) })

	orchestrator := exec.CommandContext(t.Context(), binary(t, "orchestrator"), "-quiet", "-record", filepath.Join(t.TempDir(), "record"), "config.json")
	orchestrator.Dir = dir
	orchestrator.Stdin = strings.NewReader(`{"action":"discovery","params":{}}` + "\n")
	output, err := orchestrator.Output()
	if err != nil {
		t.Fatalf("orchestrator: %v\n%s", err, output)
	}
	if diff := cmp.Diff(nodes, participants(t, string(output))); diff != "" {
		t.Errorf("nodes that the orchestrator finds (-want +got):\n%s", diff)
	}

	uri := pgtest.Database(t)
	fetcher := exec.CommandContext(t.Context(), binary(t, "fetcher"), "-k", filepath.Join(dir, "fetcher-key"), "-o", t.TempDir(), "--db-uri", uri,
		"--listen", "127.0.0.1:0", "discovery")
	fetcher.Env = append(os.Environ(), "ONLINE_URL="+p.url+"/v1/online", "FETCH_INTERVAL_MS=1000")
	var said text
	fetcher.Stderr = &said
	if err := fetcher.Start(); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, uri)
	await(t, "the fetcher to store entries of all nodes", func() bool {
		var read int
		err := conn.QueryRow(t.Context(), "SELECT count(DISTINCT node_id) FROM log_entry").Scan(&read)
		return err == nil && read == len(nodes)
	})
	if err := errors.Join(fetcher.Process.Signal(syscall.SIGTERM), fetcher.Wait()); err != nil {
		t.Errorf("fetcher: %v\n%s", err, &said)
	}
}

// participants returns the addresses of the nodes in the output of a discovery, sorted.
func participants(t *testing.T, output string) (addresses []string) {
	t.Helper()
	for line := range strings.Lines(output) {
		var entry struct {
			Name  string
			Value json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		var address string
		if entry.Name == "participant" && json.Unmarshal(entry.Value, &address) == nil {
			addresses = append(addresses, address)
		}
	}
	slices.Sort(addresses)
	return addresses
}
