package evidence

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// This file says of which times a node's log is missing.

// window is a closed stretch of time.
type window struct{ from, to Instant }

func (w window) overlaps(from, to Instant) bool { return w.from <= to && from <= w.to }

// coverage is what Statistics.Nodes come to.
type coverage struct {
	dark  map[string][]window // by address: when what the node logged is not there, ascending, without overlaps
	union []window            // when that is so of some node
	// lit is the earliest time since which the log of some node is there without a gap. Whatever is gossiped after it was seen. never: there is no such node.
	lit Instant
	// complete is the time up to which what nodes logged that are not silent is there, stragglers included, apart from gaps.
	complete Instant
	// silent are the nodes that were not read lately, or never; torn those that were, and have gaps. Addresses, sorted.
	silent, torn []string
}

func (s *Statistics) coverage() *coverage {
	c := &coverage{dark: make(map[string][]window, len(s.Nodes)), lit: never, complete: s.Common().plus(-s.straggling())}
	for _, n := range s.Nodes {
		windows, silent := s.windows(n)
		switch {
		case silent:
			c.silent = append(c.silent, n.label())
		case len(windows) > 0:
			c.torn = append(c.torn, n.label())
			c.lit = min(c.lit, windows[len(windows)-1].to+1)
		default:
			c.lit = min(c.lit, s.Began)
		}
		c.dark[n.Address] = windows
		c.union = append(c.union, windows...)
	}
	c.union = merged(c.union)
	slices.Sort(c.silent)
	slices.Sort(c.torn)
	return c
}

// windows returns when the node's log is missing since the run began, and whether the node is silent now. What a node logged since it
// was last read is not missing, unless that was too long ago.
func (s *Statistics) windows(n NodeLog) (windows []window, silent bool) {
	if n.ReadTo == 0 || n.ReadTo < s.Began {
		return []window{{s.Began, never}}, true
	}
	for _, gap := range n.Gaps {
		if gap.To >= s.Began {
			windows = append(windows, window{max(gap.From.plus(-s.straggling()), s.Began), gap.To})
		}
	}
	silent = n.ReadTo < s.horizon()
	if silent {
		windows = append(windows, window{max(n.ReadTo.plus(-s.straggling()), s.Began), never})
	}
	return merged(windows), silent
}

// straggling is how much later than its time an entry may be logged: a block's entries may wait until it is integrated.
func (s *Statistics) straggling() time.Duration {
	const fraction = 12 // a block has arrived everywhere after less than that part of a slot
	if s.Slot > 0 {
		return s.Slot / fraction
	}
	return 15 * time.Second
}

// settled reports whether all nodes were read, but for the silent ones, to well after a time: what they logged of it then is there, apart from gaps.
func (c *coverage) settled(t Instant) bool { return t <= c.complete }

// horizon is the time up to which a node must have been read, not to count as silent.
func (s *Statistics) horizon() Instant { return s.Asked.plus(-s.Patience) }

// readTo is the time up to which the node that was read last was read; 0 for none.
func (s *Statistics) readTo() Instant {
	var last Instant
	for _, n := range s.Nodes {
		last = max(last, n.ReadTo)
	}
	return last
}

// label is what people know the node by.
func (n NodeLog) label() string {
	if n.Address != "" {
		return n.Address
	}
	return n.Name
}

// merged returns the union of windows, ascending.
func merged(windows []window) []window {
	windows = slices.Clone(windows)
	slices.SortFunc(windows, func(a, b window) int { return cmp.Compare(a.from, b.from) })
	var union []window
	for _, w := range windows {
		if last := len(union) - 1; last >= 0 && w.from <= union[last].to {
			union[last].to = max(union[last].to, w.to)
		} else {
			union = append(union, w)
		}
	}
	return union
}

// within returns the parts of ascending windows that lie in a stretch of time.
func within(windows []window, from, to Instant) []window {
	from = min(from, to) // clocks differ a little
	first, _ := slices.BinarySearchFunc(windows, from, func(w window, t Instant) int { return cmp.Compare(w.to, t) })
	var parts []window
	for _, w := range windows[first:] {
		if w.from > to {
			break
		}
		parts = append(parts, window{max(w.from, from), min(w.to, to)})
	}
	return parts
}

// hidden reports whether some node's log is missing somewhere in a stretch of time.
func (c *coverage) hidden(from, to Instant) bool {
	first, _ := slices.BinarySearchFunc(c.union, from, func(w window, t Instant) int { return cmp.Compare(w.to, t) })
	return first < len(c.union) && c.union[first].from <= to
}

// why says which nodes' logs are not complete.
func (c *coverage) why() string {
	var reasons []string
	if len(c.silent) > 0 {
		reasons = append(reasons, "not read lately: "+few(c.silent))
	}
	if len(c.torn) > 0 {
		reasons = append(reasons, "with gaps in their logs: "+few(c.torn))
	}
	return strings.Join(reasons, "; ")
}

// few names the first of many.
func few(names []string) string {
	const most = 3
	if len(names) <= most+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// slotOf returns the slot that a time lies in, and false where slots are not known.
func (s *Statistics) slotOf(t Instant) (int64, bool) {
	if s.Genesis == 0 || s.Slot <= 0 {
		return 0, false
	}
	length := Instant(s.Slot.Microseconds())
	slot := (t - s.Genesis) / length
	if t < s.Genesis && slot*length != t-s.Genesis {
		slot--
	}
	return int64(slot), true
}

// slotStart returns when a slot begins, or otherwise where slots are not known.
func (s *Statistics) slotStart(slot int64, otherwise Instant) Instant {
	if s.Genesis == 0 || s.Slot <= 0 {
		return otherwise
	}
	return s.Genesis + Instant(slot)*Instant(s.Slot.Microseconds())
}

// span says what time an answer is about: that from the beginning of the run to the last reading.
func (s *Statistics) span() string {
	to := min(s.Asked, s.readTo())
	first, known := s.slotOf(s.Began)
	last, _ := s.slotOf(to)
	if known {
		return fmt.Sprintf("slots %d..%d", first, max(first, last))
	}
	return clockText(s.Began) + ".." + clockText(max(s.Began, to))
}

func clockText(t Instant) string { return t.Time().Format(time.RFC3339) }
