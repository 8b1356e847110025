package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"provingground/cmd/internal/boot"
	"provingground/cmd/internal/privatedb"
	"provingground/internal/soak"
	"provingground/orchestrator/simnet"
)

// catchUp waits until everything is stored that the nodes had logged when it was called.
func (n *network) catchUp(t *testing.T, p *process) {
	t.Helper()
	type end struct {
		uuid string
		id   int
	}
	want := make(map[string]end)   // by node, in its present run
	known := make(map[string]bool) // runs that had begun
	n.readLogJournal(t, func(line simnet.LogLine) {
		want[line.Node], known[line.ServerUUID] = end{line.ServerUUID, line.ID}, true
	})
	behind := func() (names []string) {
		reached := make(map[string]end)
		for _, status := range p.nodes(t) {
			reached[fmt.Sprintf("%s:%d", status.IP, status.GraphQLPort)] = end{status.ServerUUID, status.LastLogID}
		}
		for node, w := range want {
			r := reached[node]
			later := r.uuid != "" && !known[r.uuid] && r.id > 0 // it was about to return from a restart
			if !later && (r.uuid != w.uuid || r.id < w.id) {
				names = append(names, fmt.Sprintf("%s %+v of %+v", node, r, w))
			}
		}
		return names
	}
	var last []string
	defer func() {
		if t.Failed() {
			t.Logf("behind: %q\n%s", last, &p.stderr)
		}
	}()
	await(t, "the fetcher to catch up", func() bool {
		last = behind()
		return len(last) == 0
	})
}

// killServer ends the server of a private database by a signal, if one runs.
func killServer(t *testing.T, dir string, signal syscall.Signal) bool {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, privatedb.Dir, "data", "postmaster.pid"))
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(strings.SplitN(string(content), "\n", 2)[0])
	if err != nil {
		return false // half written
	}
	return syscall.Kill(pid, signal) == nil
}

// TestKilledFetcher: fetchers are killed at random moments, their databases too, and nodes restart, while the nodes log. In the end each
// entry is stored exactly once, apart from those that a node itself dropped, and those are exactly the gaps.
func TestKilledFetcher(t *testing.T) {
	part := func(full int) int {
		if n := soak.Rounds(t); n < 100 {
			return max(2, full*n/300)
		}
		return full
	}
	kills, servers, restarts, nodes := part(200), part(20), part(50), 12
	if soak.Rounds(t) >= 100 {
		nodes = 50
	}
	// A small queue, which overflows while a fetcher is away.
	n := startNetwork(t, "-nodes", strconv.Itoa(nodes), "-producers", "4", "-slot", "20s", "-clock-scale", "5", "-max-logs", "300", "-seed", "1",
		"-restart-after", "2s", "-keys", "4")
	for i := range 4 {
		n.load(t, n.nodes[i], i, 0.05)
	}
	dir := outputDir(t)
	random := rand.New(rand.NewPCG(uint64(soak.Rounds(t)), 7))
	wait := func(most time.Duration, p *process) {
		timer := time.NewTimer(time.Duration(random.Int64N(int64(most))))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.ended:
			t.Fatalf("the fetcher ended by itself: %v\n%s", p.err, &p.stderr)
		}
	}
	signals := []syscall.Signal{syscall.SIGKILL, syscall.SIGQUIT, syscall.SIGINT}
	killed, struck, restarted := 0, 0, 0
	began := time.Now()
	for round := 0; killed < kills || struck < servers || restarted < restarts; round++ {
		p := n.startFetcher(t, "", dir, "--flush")
		if round%4 == 0 { // enough time for something to be stored
			p.awaitNodes(t, nodes/2)
		}
		wait(2*time.Second, p)
		if restarted*kills < restarts*(killed+1) { // each node in its turn, so that no run goes by unseen
			n.restart(t, n.nodes[(7*restarted)%nodes])
			restarted++
		}
		if struck*kills < servers*(killed+1) && killServer(t, dir, signals[struck%len(signals)]) {
			struck++
			wait(3*time.Second, p)
		}
		p.kill()
		killed++
	}
	t.Logf("%d fetchers and %d servers were killed, %d nodes restarted, within %v", killed, struck, restarted, time.Since(began).Round(time.Second))
	p := n.startFetcher(t, "", dir, "--flush")
	n.catchUp(t, p)
	n.stop(t)
	conn := connect(t, dir)
	f := n.truth(t).compare(t, conn)
	t.Logf("%d entries of %d runs are stored, %d are lost; %d gaps, %d of them ends of daemons; %d runs were never seen", f.rows, f.runs, f.lost, f.gaps, f.openGaps, f.unseen)
	if f.rows == 0 || f.openGaps == 0 || f.runs != nodes+restarted || f.unseen > 0 {
		t.Errorf("too little happened: %+v", f)
	}
	if other := number(t, conn, "SELECT count(*) FROM log_malformed"); other != 0 {
		t.Errorf("%d entries are malformed", other)
	}
	if code := p.stop(t, syscall.SIGTERM); code != boot.CodeOK {
		t.Errorf("exits %d\n%s", code, &p.stderr)
	}
}
