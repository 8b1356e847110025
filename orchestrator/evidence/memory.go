package evidence

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"provingground/dsl"
	"provingground/fetcher"
	"provingground/fetcher/trace"
	"provingground/internal/clock"
)

// Memory is the evidence of a rehearsal: what the simulated nodes log, without a database. It is the [fetcher.Store] of a collector and
// the [Source] of the run's answers. What it keeps grows with the run: a few hundred bytes for each of its loads' transactions, and for
// each block at each node. Of the raw lines it keeps the last [tailBytes] of each node, which is what [Memory.Gather] has to give.
//
// Make one with [NewMemory], give it to the collector, and set its fields before the first question. Safe for concurrent use then. The same
// batches in the same order give the same answers.
//
// Its parts: memory.go takes batches in and answers; memory_tables.go holds what they come to; memory_log.go is one node's log;
// memory_gather.go writes raw lines and traces.
type Memory struct {
	// Nodes says what the collector knows of its nodes: [fetcher.Collector.Nodes]. Without it nothing is known to have been read, and every
	// metric is unknown.
	Nodes func() []fetcher.NodeStatus
	// Files takes what Gather writes. Without it Gather fails.
	Files Files

	clock *clock.Clock

	mu     sync.Mutex
	logs   map[string]*nodeLog // by the node's name
	tables keptTables
}

// Files is where gathered logs go.
type Files interface {
	// Create writes a new file, and the directories that its path needs.
	Create(path string, content []byte) error
}

// memoryPatience is how long ago a node may have been read, in network time, before it counts as silent: several times the pause between
// two readings of a quiet node.
const memoryPatience = time.Minute

// NewMemory returns a Memory that nothing was logged to. The clock is the collector's.
func NewMemory(clock *clock.Clock) *Memory {
	return &Memory{clock: clock, logs: map[string]*nodeLog{}, tables: newKeptTables()}
}

// Cursor returns where to go on with a node; see [fetcher.Store]. It never fails.
func (m *Memory) Cursor(_ context.Context, node string) (fetcher.Cursor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if log := m.logs[node]; log != nil {
		return log.cursor, nil
	}
	return fetcher.Cursor{}, nil
}

// Save takes a batch in; see [fetcher.Store]. A batch that was taken already changes nothing. It never fails.
func (m *Memory) Save(_ context.Context, batch fetcher.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	log := m.logs[batch.Node]
	if log == nil {
		log = newNodeLog(batch.Node)
		m.logs[batch.Node] = log
	}
	log.save(&m.tables, batch, m.clock)
	return nil
}

// Measure answers a question from what was logged so far.
func (m *Memory) Measure(_ context.Context, q Question) dsl.Measured {
	return m.statistics(q).Measure(q.Metric, q.Scope, q.Run.Loads)
}

// statistics fills what the answer is worked out of. What the loads' transactions came to takes longest, and only metrics of tx need it.
func (m *Memory) statistics(q Question) *Statistics {
	now := m.clock.Now()
	s := &Statistics{
		Asked: InstantOf(now), Began: InstantOf(q.Run.Began), Genesis: InstantOf(q.Run.Genesis), Slot: q.Run.Slot, Patience: memoryPatience,
	}
	var known []fetcher.NodeStatus
	if m.Nodes != nil {
		known = m.Nodes() // before the tables are looked at: what was read until then is in them
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Blocks = m.tables.chain.since(s.Began)
	run := make(map[string]bool, len(s.Blocks)) // hashes of the run's blocks
	for _, b := range s.Blocks {
		run[b.Hash] = b.Received >= s.Began
	}
	for _, status := range known {
		s.Nodes = append(s.Nodes, m.nodeLog(status, s, run))
	}
	m.traces(s)
	s.Works = m.tables.worksSince(s.Began)
	if strings.HasPrefix(q.Metric, "tx.") {
		for _, load := range q.Run.Loads {
			s.Loads = append(s.Loads, LoadLog{m.tables.transactions(load)})
		}
	}
	return s
}

// nodeLog says how much there is of a node's log. run has the hashes of the run's blocks.
func (m *Memory) nodeLog(status fetcher.NodeStatus, s *Statistics, run map[string]bool) NodeLog {
	n := NodeLog{Address: addressOf(status), Name: status.NodeName, Listed: status.Active}
	if read := status.LastSuccess; !read.IsZero() {
		// What is logged later in the same microsecond is not there.
		n.ReadTo, n.Lag = InstantOf(m.clock.FromWall(read))-1, m.clock.Wall().Sub(read)
	}
	log := m.logs[status.NodeName]
	if log == nil {
		return n
	}
	for _, gap := range log.gaps {
		if gap.To >= s.Began {
			n.Gaps = append(n.Gaps, gap)
		}
	}
	holes := log.missing()
	highest := 0
	for hash, t := range log.traces {
		if !t.integrated() {
			continue
		}
		if run[hash] && t.source != trace.Unknown && !t.torn(s, holes) {
			n.Traced++
		}
		if t.block == nil || t.block.height == 0 {
			continue
		}
		switch height := t.block.height; {
		case height > highest:
			highest, n.Tips = height, []string{hash}
		case height == highest:
			n.Tips = append(n.Tips, hash)
		}
	}
	slices.Sort(n.Tips)
	return n
}

// addressOf returns the HOST:PORT of a node.
func addressOf(status fetcher.NodeStatus) string {
	return net.JoinHostPort(status.IP, strconv.Itoa(int(status.GraphQLPort)))
}

// traces fills what the traces of all nodes say: of the blocks that Forked names, and of the times that blocks took.
func (m *Memory) traces(s *Statistics) {
	forked := map[string]bool{}
	for _, hash := range Forked(s.Blocks) {
		forked[hash] = true
	}
	type integrated struct {
		Integration
		*keptTrace
	}
	var order []integrated
	for _, name := range slices.Sorted(maps.Keys(m.logs)) {
		holes := m.logs[name].missing()
		for hash, t := range m.logs[name].traces {
			if t.interrupted && t.started >= s.Began {
				s.Interruptions++
			}
			if !t.integrated() {
				continue
			}
			if forked[hash] {
				order = append(order, integrated{Integration{name, hash}, t})
			}
			if t.started < s.Began || t.torn(s, holes) {
				continue
			}
			switch took := time.Duration(t.completed-t.started) * time.Microsecond; {
			case t.external():
				s.Applications = append(s.Applications, took)
			case t.internal():
				s.Productions = append(s.Productions, took)
			}
		}
	}
	slices.SortFunc(order, func(a, b integrated) int {
		return cmp.Or(cmp.Compare(a.completed, b.completed), cmp.Compare(a.Node, b.Node), cmp.Compare(a.order, b.order))
	})
	for _, i := range order {
		s.Integrations = append(s.Integrations, i.Integration)
	}
	slices.Sort(s.Applications)
	slices.Sort(s.Productions)
}

// instantOfSeconds returns a trace's time, in seconds since 1970, as an Instant.
func instantOfSeconds(seconds float64) Instant { return Instant(math.Round(seconds * 1e6)) }

// earliest returns the earlier of two times, of which either may not be known.
func earliest(a, b Instant) Instant {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// memoOf takes a memo apart: NAME-BATCH and the index. It is false for a memo that is not of that form.
func memoOf(memo string) (batch string, index int, ok bool) {
	const digits = 9 // as many as the database reads
	dash := strings.LastIndexByte(memo, '-')
	if dash < 0 || len(memo)-dash-1 > digits {
		return "", 0, false
	}
	number, err := strconv.ParseUint(memo[dash+1:], 10, 31)
	return memo[:dash], int(number), err == nil
}

// memoPrefix is what the memos of a load's transactions have before the index.
func memoPrefix(load Load) string { return fmt.Sprintf("%s-%d", load.Name, load.Batch) }
