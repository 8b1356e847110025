package evidence

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	"provingground/fetcher/trace"
	"provingground/internal/clock"
)

// This file fills statistics with what both sources know in the same form.

// patience is how old the last complete reading of a node's log may be, in wall time, before the node counts as silent: several times the pause between two
// readings of a quiet node.
const patience = time.Minute

// begin returns statistics of a run, as of a wall time, that nothing is filled in of.
func (r Run) begin(wall time.Time) *Statistics {
	s := &Statistics{
		Asked: InstantOf(r.Clock.FromWall(wall)), Began: InstantOf(r.Began), Genesis: InstantOf(r.Genesis), Slot: r.Slot, Loads: make([]LoadLog, len(r.Loads)),
	}
	s.Patience = span(InstantOf(r.Clock.FromWall(wall.Add(-patience))), s.Asked)
	return s
}

// wasRead notes when a node's log was read last, in wall time, and when that was asked for. What is logged later in the same microsecond is not there.
func (n *NodeLog) wasRead(c *clock.Clock, read, asked time.Time) {
	read = read.Truncate(time.Microsecond) // as databases hold it
	n.ReadTo = min(InstantOf(c.FromWall(read))-1, InstantOf(c.FromWall(asked)))
	n.Lag = max(0, asked.Sub(read))
}

// sinceFirst is since when a node's log is there, by the time of its first entry and the wall time at which that was stored.
func sinceFirst(c *clock.Clock, stored, first time.Time) Instant {
	since := InstantOf(c.FromWall(stored.Truncate(time.Microsecond)))
	if at := InstantOf(first); at > 0 {
		since = min(since, at)
	}
	return since
}

// loggedUpTo notes the time of the last entry of a node's log, and when that was stored, in wall time: nothing is logged in the future.
func (s *Statistics) loggedUpTo(n *NodeLog, c *clock.Clock, last, stored time.Time) {
	if ahead := last.Sub(c.FromWall(stored)); ahead > s.tolerance() {
		n.Skew = ahead
	}
}

// began notes when a node began with a block: nobody has one before its slot begins.
func (s *Statistics) began(n *NodeLog, slot int64, started Instant) {
	if early := span(started, s.slotStart(slot, started)); early > s.tolerance() && n.Skew <= 0 {
		n.Skew = min(n.Skew, -early)
	}
}

// addBlock adds a block that was received at a time, by the clock of the node that says it was the first.
func (s *Statistics) addBlock(b Block, received Instant) {
	b.Received = max(received, s.slotStart(b.Slot, received))
	s.Blocks = append(s.Blocks, b)
}

// firstSlot is the first slot that begins in the run's time: its blocks are the run's, whatever clocks say. After all slots where slots are not known.
func (s *Statistics) firstSlot() int64 {
	slot, known := s.slotOf(s.Began)
	switch {
	case !known:
		return math.MaxInt32 // as the database holds slots
	case s.slotStart(slot, s.Began) < s.Began:
		slot++
	}
	return slot
}

// add adds a transaction, unless it is of an earlier run with load of the same name. Where clocks are wrong nobody knows.
func (s *Statistics) add(load int, tx Transaction) {
	log := &s.Loads[load]
	switch times := max(tx.Received, tx.Sent); {
	case times == 0 || times >= s.Began:
		log.Transactions = append(log.Transactions, tx)
	case slices.ContainsFunc(s.Nodes, func(n NodeLog) bool { return n.Skew != 0 }):
		log.Doubtful++
	}
}

// indexOf reads the index at the end of a memo. Nodes write it without leading zeros.
func indexOf(text string) (index int, ok bool) {
	const digits = 9 // as many as the database reads
	if len(text) > digits || len(text) > 1 && text[0] == '0' {
		return 0, false
	}
	number, err := strconv.ParseUint(text, 10, 31)
	return int(number), err == nil
}

// endedSince reports whether some load's end lies between two times, the latter included: what was known before does not tell of its last transactions.
func (r Run) endedSince(asked, now Instant) bool {
	return slices.ContainsFunc(r.Loads, func(l Load) bool {
		until := InstantOf(l.Until)
		return asked < until && until <= now
	})
}

// success is a node's successful trace of a block.
type success struct {
	node               string // name
	block              int    // place in Statistics.Blocks
	source             trace.Source
	started, completed Instant
	order              int // among those of the node
}

// fillTraces fills in what nodes did with the blocks. Nodes and Blocks are filled in.
//
// A trace that was torn at its beginning is left out: what looks like the reception of a block may be the rest of its production, which began with its slot,
// and took longer than can be seen.
func (s *Statistics) fillTraces(all []success) {
	slices.SortFunc(all, func(a, b success) int {
		return cmp.Or(cmp.Compare(a.completed, b.completed), cmp.Compare(a.node, b.node), cmp.Compare(a.order, b.order))
	})
	nodes, missing := make(map[string]int, len(s.Nodes)), make([][]window, len(s.Nodes))
	for i, n := range s.Nodes {
		nodes[n.Name] = i
		for _, gap := range n.Gaps {
			missing[i] = append(missing[i], window{gap.From, gap.To})
		}
		missing[i] = merged(missing[i])
	}
	common, forked := s.Common(), Forked(s.Blocks)
	heights := make([]int, len(s.Nodes)) // of the nodes' tips
	for _, t := range all {
		b := s.Blocks[t.block]
		if _, several := slices.BinarySearch(forked, b.Hash); several {
			s.Integrations = append(s.Integrations, Integration{Node: t.node, Hash: b.Hash})
		}
		i, known := nodes[t.node]
		if known && t.completed <= common {
			switch n := &s.Nodes[i]; {
			case b.Height > heights[i]:
				heights[i], n.Tips = b.Height, []string{b.Hash}
			case b.Height == heights[i]:
				n.Tips = append(n.Tips, b.Hash)
			}
		}
		torn := known && t.source != trace.Internal && len(within(missing[i], s.slotStart(b.Slot, s.Began), t.started)) > 0
		if b.Received < s.Began || torn {
			continue
		}
		if known && t.source != trace.Unknown {
			s.Nodes[i].Traced++
		}
		switch took := span(t.started, t.completed); t.source { //nolint:exhaustive // the times of no others are asked for
		case trace.External:
			s.Applications = append(s.Applications, took)
		case trace.Internal:
			s.Productions = append(s.Productions, took)
		}
	}
	slices.Sort(s.Applications)
	slices.Sort(s.Productions)
	for i := range s.Nodes {
		slices.Sort(s.Nodes[i].Tips)
	}
}
