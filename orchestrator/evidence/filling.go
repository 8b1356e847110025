package evidence

import (
	"cmp"
	"slices"
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
