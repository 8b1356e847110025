package evidence

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"provingground/dsl"
)

// This file works out the metrics of blocks, of the chain, of SNARK work, and of the logs themselves.

// view is the statistics with what was worked out of them.
type view struct {
	*Statistics
	coverage *coverage
	chain    *chain
}

func (s *Statistics) view() view {
	c := s.coverage()
	return view{s, c, s.chain(c)}
}

// allSeen reports whether some node's log is there, without a gap, since the run began: whatever was gossiped is known.
func (v view) allSeen() bool { return v.coverage.lit <= v.Began }

// why says what is missing.
func (v view) why() string {
	var reasons []string
	if v.chain.unseenTo != 0 {
		reasons = append(reasons, v.chain.why())
	}
	return strings.Join(append(reasons, nonEmpty(v.coverage.why())...), "; ")
}

// own are the blocks of the run's time.
func (v view) own() []Block {
	return slices.DeleteFunc(slices.Clone(v.Blocks), func(b Block) bool { return b.Received < v.Began })
}

// unseenBlocks returns how many blocks, on the best chain or not, may be in no log, and how many surely are.
func (v view) unseenBlocks() (fewest, most int64) {
	fewest, most = v.chain.hidden()
	if !v.allSeen() {
		most = unlimited
	}
	return fewest, most
}

func (v view) blocks(name string) dsl.Measured {
	fewest, most := v.unseenBlocks()
	n, canonical := int64(0), int64(0)
	for _, b := range v.own() {
		n++
		if b.Canonical {
			canonical++
		}
	}
	if name == "count" {
		b := bounds{low: big.NewRat(n+fewest, 1)}
		if most != unlimited {
			b.high = big.NewRat(n+most, 1)
		}
		return b.measured(v.span(), v.why())
	}
	orphaned := n - canonical
	window := fmt.Sprintf("%d of %s, %s", orphaned, count(n, "block"), v.span())
	switch {
	case n+fewest == 0:
		return dsl.Measured{Window: v.span(), Missing: strings.Join(append([]string{"no log shows a block of this run yet"}, nonEmpty(v.why())...), "; ")}
	case most == unlimited:
		return between(0, 1).measured(window, v.why())
	default: // each height has one block of the best chain, whichever it is
		spare := most - fewest
		return bounds{big.NewRat(orphaned, n+fewest+spare), big.NewRat(orphaned+spare, n+fewest+spare)}.least(big.NewRat(orphaned, n+fewest)).measured(window, v.why())
	}
}

// least lowers the lower bound to a number, when it is above it, and raises the upper one to it.
func (b bounds) least(x *big.Rat) bounds {
	if b.low.Cmp(x) > 0 {
		b.low = x
	}
	if b.high.Cmp(x) < 0 {
		b.high = x
	}
	return b
}

// applications is the time for which nodes processed the blocks that they received. A node whose log is missing in some time may have processed every
// block then of which it has no trace.
func (v view) applications(of statistic) dsl.Measured {
	smp := sample{}
	smp.exact(v.Applications)
	blocks := v.own()
	_, unseen := v.unseenBlocks()
	for _, n := range v.Nodes {
		windows, _ := v.windows(n)
		if len(windows) == 0 {
			continue
		}
		if unseen == unlimited {
			smp.extra = unlimited
			break
		}
		end := windows[len(windows)-1].to
		begun := unseen
		for _, b := range blocks {
			if v.slotStart(b.Slot, v.Began) <= end {
				begun++
			}
		}
		smp.extra += max(0, min(begun, int64(len(blocks))+unseen-int64(n.Traced)))
	}
	return v.durations(smp, of, "trace", "up to %s may be in no log")
}

// productions is the time for which producers were at their own blocks. Each block has one.
func (v view) productions(of statistic) dsl.Measured {
	smp := sample{}
	smp.exact(v.Productions)
	switch _, unseen := v.unseenBlocks(); {
	case len(v.coverage.union) == 0:
	case unseen == unlimited:
		smp.extra = unlimited
	default:
		smp.extra = max(0, int64(len(v.own()))+unseen-int64(len(v.Productions)))
	}
	return v.durations(smp, of, "produced block", "up to %s may be in no log")
}

func (v view) durations(smp sample, of statistic, noun, missing string) dsl.Measured {
	n := int64(len(smp.lows))
	if n == 0 {
		return dsl.Measured{Window: v.span(), Missing: strings.Join(append([]string{"no log shows a " + noun + " of this run yet"}, nonEmpty(v.coverage.why())...), "; ")}
	}
	reasons := nonEmpty(v.why())
	if smp.extra > 0 {
		reasons = append([]string{fmt.Sprintf(missing, count(smp.extra, "more "+noun))}, reasons...)
	}
	return smp.of(of).measured(fmt.Sprintf("%s, %s", count(n, noun), v.span()), strings.Join(reasons, "; "))
}

// longestGap is the longest time without a block of the best chain. The slot that has not ended is none.
func (v view) longestGap() dsl.Measured {
	first, known := v.slotOf(v.Began)
	if !known {
		return dsl.Measured{Missing: "slots are not known: the configuration needs genesisTimestamp and slotDurationMs"}
	}
	end, _ := v.slotOf(min(v.Asked, v.readTo()))
	var low, high int64
	lastKnown, lastCertain := first-1, first-1 // the slots of the blocks before
	gapless := true                            // nothing can be between the two
	step := func(slot int64, certain, hole bool) {
		if hole {
			gapless = false
		}
		if gapless && certain {
			low = max(low, slot-lastKnown-1)
		}
		if certain {
			high = max(high, slot-lastCertain-1)
			lastCertain, gapless = max(lastCertain, slot), true
		} else {
			gapless = false
		}
		lastKnown = max(lastKnown, slot)
	}
	holes := make(map[int]bool) // by the index of the block below
	for _, h := range v.chain.holes {
		holes[h.below] = true
	}
	if holes[-1] {
		gapless = false
	}
	for i, b := range v.chain.canonical {
		if b.Received < v.Began {
			if b.Slot >= first {
				step(b.Slot, v.chain.certain[b.Height], false)
			}
			continue
		}
		step(b.Slot, v.chain.certain[b.Height], holes[i-1])
	}
	step(max(end, lastKnown+1), true, holes[len(v.chain.canonical)-1])
	return between(low, max(low, high)).measured(v.span(), v.why())
}

// reorganisation is how many blocks a node's best chain lost at most when it changed over to another one.
//
// Logs show what a node integrated, not what it took for best: that is the longest chain, and of equally long ones either. Below stands what a node with a complete log must have done, above
// what any node can have done with the blocks that there are.
func (v view) reorganisation() dsl.Measured {
	blocks := make(map[string]Block, len(v.Blocks))
	for _, b := range v.Blocks {
		blocks[b.Hash] = b
	}
	complete := make(map[string]bool)
	for _, n := range v.Nodes {
		windows, _ := v.windows(n)
		complete[n.Name] = len(windows) == 0
	}
	var low, high int64
	open := !v.allSeen() || len(v.chain.holes) > 0 // there may be branches that nobody knows
	depth := func(from, to Block) int64 {
		n, known := abandoned(blocks, from, to)
		open = open || !known
		return n
	}
	tips := make(map[string][]Block) // of each node, what its best tip may be
	for _, taken := range v.Integrations {
		b, known := blocks[taken.Hash]
		if !known {
			continue
		}
		old := tips[taken.Node]
		switch {
		case len(old) == 0 || b.Height > old[0].Height:
			for _, tip := range old {
				high = max(high, depth(tip, b))
			}
			// The first one of its height was the best tip for certain, and now it is this block. Whatever came between was as long as the first one, so
			// that one change at least lost as much as the way from the first to this one does.
			if len(old) > 0 && complete[taken.Node] {
				low = max(low, depth(old[0], b))
			}
			tips[taken.Node] = []Block{b}
		case b.Height == old[0].Height:
			for _, tip := range old {
				high = max(high, depth(tip, b))
			}
			tips[taken.Node] = append(slices.Clip(old), b)
		}
	}
	if len(v.coverage.union) > 0 {
		forked := Forked(v.Blocks)
		for _, from := range forked {
			for _, to := range forked {
				if blocks[to].Height >= blocks[from].Height {
					high = max(high, depth(blocks[from], blocks[to]))
				}
			}
		}
	}
	b := bounds{low: big.NewRat(low, 1)}
	if !open {
		b.high = big.NewRat(high, 1)
	}
	missing := v.why()
	if missing == "" {
		missing = "which of several chains of the same length a node took is not in its log"
	}
	return b.measured(v.span(), missing)
}

// abandoned returns how many blocks a node leaves that changes from one tip to another, and false where their branches meet before what is known.
func abandoned(blocks map[string]Block, from, to Block) (n int64, known bool) {
	for from.Hash != to.Hash {
		var at *Block
		if to.Height > from.Height {
			at = &to
		} else {
			at = &from
			n++
		}
		parent, ok := blocks[at.Previous]
		if !ok || parent.Height >= at.Height {
			return n, false
		}
		*at = parent
	}
	return n, true
}

// tips is how many best tips nodes have. Nodes that are not listed any more and not read have none.
func (v view) tips() dsl.Measured {
	alone := make(map[int]int)
	top := 0
	for _, b := range v.Blocks {
		alone[b.Height]++
		top = max(top, b.Height)
	}
	certain := make(map[string]bool)
	var open int64
	var nodes []string
	for _, n := range v.Nodes {
		windows, silent := v.windows(n)
		switch {
		case silent && !n.Listed:
			continue
		case !silent && len(n.Tips) == 1 && (len(windows) == 0 || v.allSeen() && alone[top] == 1 && v.isTop(n.Tips[0], top)):
			certain[n.Tips[0]] = true
		default:
			open++
			nodes = append(nodes, n.label())
		}
	}
	if len(certain) == 0 && open == 0 {
		return dsl.Measured{Window: v.span(), Missing: "no node is up, as far as the fetcher knows"}
	}
	slices.Sort(nodes)
	low := max(1, int64(len(certain)))
	return between(low, max(low, int64(len(certain))+open)).measured(count(int64(len(v.Nodes)), "node"), "the best tip is not certain of "+few(nodes))
}

func (v view) isTop(hash string, top int) bool {
	return slices.ContainsFunc(v.Blocks, func(b Block) bool { return b.Hash == hash && b.Height == top })
}

// worksReceived is how many SNARK works were gossiped.
func (v view) worksReceived() dsl.Measured {
	n := int64(0)
	for _, w := range v.Works {
		if w.Received >= v.Began {
			n++
		}
	}
	b := exactly(n)
	if !v.allSeen() {
		b.high = nil
	}
	return b.measured(v.span(), v.coverage.why())
}

// workLatency is the time from a work's need to its reception. Each may have been earlier at a node whose log is missing.
func (v view) workLatency(of statistic) dsl.Measured {
	smp := sample{}
	if !v.allSeen() {
		smp.extra = unlimited
	}
	earliest := func(t Instant) Instant { // of what was seen at that time
		if parts := within(v.coverage.union, 0, t); len(parts) > 0 {
			return min(t, parts[0].from)
		}
		return t
	}
	for _, w := range v.Works {
		switch {
		case w.Added != 0 && w.Received != 0 && w.Received >= v.Began:
			smp.add(span(w.Added, earliest(w.Received)), span(earliest(w.Added), w.Received))
		case smp.extra != unlimited && len(v.coverage.union) > 0:
			smp.extra++
		}
	}
	smp.least = min(0, span(v.Asked, v.Began))
	return v.durations(smp, of, "work", "up to %s may be in no log")
}

// interruptions is how many blocks could not take all the work. Only the producer's log shows it, while the block is produced and integrated.
func (v view) interruptions() dsl.Measured {
	b := exactly(v.Interruptions)
	switch _, more := v.unseenBlocks(); {
	case len(v.coverage.union) == 0:
	case more == unlimited:
		b.high = nil
	default:
		for _, block := range v.own() {
			if v.coverage.hidden(v.slotStart(block.Slot, v.Began), block.Received.plus(v.Slot)) {
				more++
			}
		}
		b.high = big.NewRat(v.Interruptions+more, 1)
	}
	return b.measured(v.span(), v.why())
}

// logs are the metrics of the logs themselves.
func (s *Statistics) logs(name string) dsl.Measured {
	c := s.coverage()
	var lost, gaps int64
	open := len(c.silent) > 0 || c.deployed != 0
	var lag time.Duration
	var never []string
	listed := slices.ContainsFunc(s.Nodes, func(n NodeLog) bool { return n.Listed })
	for _, n := range s.Nodes {
		for _, gap := range n.Gaps {
			if gap.To < s.Began {
				continue
			}
			gaps++
			if gap.Lost < 0 {
				open = open || name == "lost"
			} else {
				lost += gap.Lost
			}
		}
		switch {
		case listed && !n.Listed:
		case n.ReadTo == 0:
			never = append(never, n.label())
		default:
			lag = max(lag, n.Lag)
		}
	}
	b := bounds{}
	missing := c.why()
	switch {
	case len(s.Nodes) == 0:
		return dsl.Measured{Missing: s.unread()}
	case name == "lost":
		b.low = big.NewRat(lost, 1)
	case name == "gaps":
		b.low = big.NewRat(gaps, 1)
	case name == "lag":
		b.low = seconds(lag)
		open = len(never) > 0
		missing = "never read: " + few(never)
	default:
		return dsl.Measured{Missing: "nothing measures log." + name}
	}
	if !open {
		b.high = b.low
	}
	return b.measured(count(int64(len(s.Nodes)), "node"), missing)
}
