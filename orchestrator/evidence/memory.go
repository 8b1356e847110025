package evidence

import (
	"context"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"provingground/dsl"
	"provingground/fetcher"
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
	// Since is the network time since which all nodes are known to be up and in step with the network, as those of a simulated one are from its beginning. The zero time:
	// that is known by their logs only.
	Since time.Time
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
	q.Run.Clock = m.clock
	s := q.Run.begin(m.clock.Wall())
	var known []fetcher.NodeStatus
	if m.Nodes != nil {
		known = m.Nodes() // before the tables are looked at: what was read until then is in them
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tables.chain.fill(s)
	for _, status := range known {
		if n := m.nodeLog(s, status); n.Listed || n.ReadTo >= s.Began { // else it went before the run began
			s.Nodes = append(s.Nodes, n)
		}
	}
	m.traces(s)
	s.Works = m.tables.worksSince(s.Began)
	if strings.HasPrefix(q.Metric, "tx.") {
		for i, load := range q.Run.Loads {
			s.Loads[i].Transactions = m.tables.transactions(load) // no run was before this one
		}
	}
	return s
}

// nodeLog says how much there is of a node's log.
func (m *Memory) nodeLog(s *Statistics, status fetcher.NodeStatus) NodeLog {
	n := NodeLog{Address: addressOf(status), Name: status.NodeName, Listed: status.Active}
	if read := status.LastSuccess; !read.IsZero() {
		n.wasRead(m.clock, read, m.clock.Wall())
	}
	if log := m.logs[status.NodeName]; log != nil {
		for _, part := range log.lost {
			n.Gaps = append(n.Gaps, part.gap(m.clock))
		}
		n.Since = log.since
		if log.last != 0 {
			s.loggedUpTo(&n, m.clock, log.last.Time(), log.stored)
		}
		log.hears(s, &n)
	}
	if since := InstantOf(m.Since); since != 0 {
		if n.upSince() == n.Since { // no daemon ended
			n.Hears = since
		}
		n.Since = since
	}
	return n
}

// addressOf returns the HOST:PORT of a node.
func addressOf(status fetcher.NodeStatus) string {
	return net.JoinHostPort(status.IP, strconv.Itoa(int(status.GraphQLPort)))
}

// traces fills in what the traces of all nodes say of the blocks.
func (m *Memory) traces(s *Statistics) {
	places := make(map[string]int, len(s.Blocks))
	for i, b := range s.Blocks {
		places[b.Hash] = i
	}
	var all []success
	for name, log := range m.logs {
		for hash, t := range log.traces {
			if t.interrupted && t.started >= s.Began {
				s.Interruptions++
			}
			if place, ok := places[hash]; ok && t.integrated() {
				all = append(all, success{name, place, t.source, t.started, t.completed, t.order})
			}
		}
	}
	s.fillTraces(all)
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
	dash := strings.LastIndexByte(memo, '-')
	if dash < 0 {
		return "", 0, false
	}
	index, ok = indexOf(memo[dash+1:])
	return memo[:dash], index, ok
}

// memoPrefix is what the memos of a load's transactions have before the index.
func memoPrefix(load Load) string { return fmt.Sprintf("%s-%d", load.Name, load.Batch) }
