package main

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"provingground/cmd/internal/boot"
	"provingground/cmd/internal/privatedb"
	"provingground/fetcher"
	"provingground/internal/privatepg"
	"provingground/internal/soak"
)

// memoryOf returns the most memory that a process has had resident, in bytes.
func memoryOf(t *testing.T, pid int) int64 {
	t.Helper()
	file, err := os.Open("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kilobytes << 10
		}
	}
	t.Fatal("/proc does not tell the memory")
	return 0
}

// TestThousandNodes: one process with at most 8 connections and 300 MB keeps up with a thousand nodes for half an hour of their time, and
// misses nothing. Without the full number of rounds it is fewer nodes for fewer minutes. It is harder than a real network: entries come
// scale times as fast, and the nodes' queues are no longer than real ones.
func TestThousandNodes(t *testing.T) {
	const (
		scale       = 5
		memory      = 300_000_000
		connections = 8
		queue       = 500             // as real nodes have; at this scale a fifth of the time until an entry is overwritten
		worstLag    = 2 * time.Minute // generous: whether nodes are read in time is told by the gaps, of which there must be none
	)
	nodes, lasting := 150, 90*time.Second // of network time
	if soak.Rounds(t) >= 100 {
		nodes, lasting = 1000, 30*time.Minute
	}
	n := startNetworkIn(t, filepath.Join(t.TempDir(), "net"),
		"-nodes", strconv.Itoa(nodes), "-producers", "1", "-clock-scale", strconv.Itoa(scale), "-max-logs", strconv.Itoa(queue), "-seed", "2", "-keys", "1",
		// Simulated nodes log the whole trace of a block in one instant. Several blocks of one slot, or the proofs of one block, would overflow the
		// queue in that instant, whoever reads it.
		"-snark-coordinators", "-1")
	n.load(t, n.nodes[0], 0, 0.05)
	dir := outputDir(t)
	p := start(t, binary(t, "fetcher"), dir, []string{"ONLINE_URL=" + n.onlineURL}, n.discovery(dir, "--queue-size", strconv.Itoa(queue))...)
	p.awaitNodes(t, nodes)
	conn := connect(t, dir)
	began := number(t, conn, "SELECT sum(entries) FROM log_cursor")
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	end := time.NewTimer(lasting / scale)
	defer end.Stop()
	var mostConnections int64
	var mostLag time.Duration
	for running := true; running; {
		mostConnections = max(mostConnections, number(t, conn,
			"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"))
		for _, node := range p.nodes(t) {
			mostLag = max(mostLag, time.Since(node.LastSuccess))
			if node.State != fetcher.Running {
				t.Errorf("%s is %s: %s", node.NodeName, node.State, node.LastError)
			}
		}
		select {
		case <-ticker.C:
		case <-end.C:
			running = false
		case <-p.ended:
			t.Fatalf("the fetcher ended: %v\n%s", p.err, &p.stderr)
		}
	}
	n.stop(t)
	peak := memoryOf(t, p.cmd.Process.Pid)
	if code := p.stop(t, syscall.SIGTERM); code != boot.CodeOK {
		t.Errorf("exits %d\n%s", code, &p.stderr)
	}
	server, err := privatepg.Start(t.Context(), privatepg.Options{Dir: filepath.Join(dir, privatedb.Dir)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	conn = connectTo(t, server.URI())
	rows := number(t, conn, "SELECT count(*) FROM log_entry")
	t.Logf("%d nodes for %v of network time, %d entries, %d of them in that time: at most %d connections, %d MB resident, %v since a node was read to its end",
		nodes, lasting, rows, rows-began, mostConnections, peak/1_000_000, mostLag.Round(time.Millisecond))
	if mostConnections > connections || mostConnections == 0 {
		t.Errorf("%d connections, want at most %d", mostConnections, connections)
	}
	if peak > memory {
		t.Errorf("%d bytes resident, want at most %d", peak, memory)
	}
	if mostLag > worstLag {
		t.Errorf("a node was not read to its end for %v", mostLag)
	}
	if gaps := number(t, conn, "SELECT count(*) FROM log_gap"); gaps != 0 {
		t.Errorf("%d gaps", gaps)
	}
	if next := number(t, conn, "SELECT sum(next_id - 1) FROM log_cursor"); next != rows || rows == began {
		t.Errorf("the cursors have passed %d entries, and %d are stored", next, rows)
	}
	runs := n.logRuns(t)
	if len(runs) != nodes {
		t.Errorf("%d runs of %d nodes", len(runs), nodes)
	}
	tooFar := 0
	for _, run := range runs {
		next := number(t, conn, "SELECT next_id FROM log_cursor WHERE server_uuid = $1", run.ServerUUID)
		if behind := run.Last - int(next-1); behind < 0 || behind > queue {
			if tooFar++; tooFar == 1 {
				t.Errorf("%s: %d entries of %d are stored", run.Node, next-1, run.Last)
			}
		}
	}
	if tooFar > 1 {
		t.Errorf("%d nodes are further behind than their queues reach", tooFar)
	}
}
