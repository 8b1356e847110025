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

// coverage is what Statistics.Nodes come to.
type coverage struct {
	dark  map[string][]window // by address: when what the node logged is not there, ascending, without overlaps
	union []window            // when that is so of some node
	// lit is the earliest time since which the log of some node is there without a gap. Whatever is gossiped after it was seen. never: there is no such node.
	lit Instant
	// complete is the time up to which what nodes logged that are not silent is there, stragglers included, apart from gaps.
	complete Instant
	// silent are the nodes that were not read lately, or never; torn those that were, and have gaps; late those whose logs begin after the run did, mute those that
	// have logged nothing, and skewed those whose clocks are wrong. Addresses, sorted.
	silent, torn, late, mute, skewed []string

	deployed Instant // as in Statistics, where it matters
	dropped  bool    // entries were lost that a longer queue would have kept
}

func (s *Statistics) coverage() *coverage {
	c := &coverage{dark: make(map[string][]window, len(s.Nodes)), lit: never, complete: s.Common().plus(-s.straggling())}
	if s.Deployed > s.Began {
		c.deployed = s.Deployed
	}
	for _, n := range s.Nodes {
		windows, silent := s.windows(n)
		torn := slices.ContainsFunc(n.Gaps, func(gap Gap) bool { return gap.To >= s.Began })
		if n.Skew != 0 {
			c.skewed = append(c.skewed, fmt.Sprintf("%s (by about %s)", n.label(), n.Skew.Abs().Round(time.Second)))
		}
		switch {
		case silent:
			c.silent = append(c.silent, n.label())
		case n.Skew != 0: // whatever it says of times
		case n.Since == 0:
			c.mute = append(c.mute, n.label())
		default:
			if torn {
				c.torn = append(c.torn, n.label())
			}
			if n.Since > s.Began {
				c.late = append(c.late, n.label())
			}
			c.lit = min(c.lit, s.litSince(n, windows))
		}
		c.dropped = c.dropped || slices.ContainsFunc(n.Gaps, func(gap Gap) bool { return gap.To >= s.Began && gap.Lost > 0 })
		c.dark[n.Address] = merged(append(c.dark[n.Address], windows...))
		c.union = append(c.union, windows...)
	}
	c.union = merged(c.union)
	for _, names := range []*[]string{&c.silent, &c.torn, &c.late, &c.mute, &c.skewed} {
		slices.Sort(*names)
		*names = slices.Compact(*names)
	}
	return c
}

// windows returns when the node's log is missing since the run began, and whether the node is silent now. What a node logged since it
// was last read is not missing, unless that was too long ago.
func (s *Statistics) windows(n NodeLog) (windows []window, silent bool) {
	if n.ReadTo == 0 || n.ReadTo < s.Began {
		return []window{{s.Began, never}}, true
	}
	silent = n.ReadTo < s.horizon()
	if n.Since == 0 || n.Skew != 0 {
		return []window{{s.Began, never}}, silent
	}
	if begins := max(n.Since, s.Deployed); begins > s.Began {
		windows = append(windows, window{s.Began, begins})
	}
	for _, gap := range n.Gaps {
		if gap.To >= s.Began {
			windows = append(windows, window{max(gap.From.plus(-s.straggling()), s.Began), gap.To})
		}
	}
	if silent {
		windows = append(windows, window{max(n.ReadTo.plus(-s.straggling()), s.Began), never})
	}
	return merged(windows), silent
}

// litSince is the time from which on a node's log, missing in the windows, shows whatever is gossiped; never when there is none.
func (s *Statistics) litSince(n NodeLog, windows []window) Instant {
	if n.Hears == 0 {
		return never
	}
	lit := max(n.Hears, s.Began)
	if len(windows) > 0 {
		lit = max(lit, windows[len(windows)-1].to.plus(time.Microsecond))
	}
	return lit
}

// upSince is since when the present life of the node's daemon is known, at the latest.
func (n NodeLog) upSince() Instant {
	up := n.Since
	for _, gap := range n.Gaps {
		if gap.Lost < 0 { // the daemon's end
			up = max(up, gap.To)
		}
	}
	return up
}

// tolerance is how far a clock may seem to be off and still be taken for right.
func (s *Statistics) tolerance() time.Duration { return max(s.Patience, s.straggling()) }

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

// why says which nodes' logs are not complete, and what can be done.
func (c *coverage) why() string {
	var reasons []string
	for _, reason := range []struct {
		text  string
		nodes []string
	}{
		{"not read lately: ", c.silent}, {"with gaps in their logs: ", c.torn}, {"whose logs begin after the run did: ", c.late},
		{"that have logged nothing (see that they log internal traces): ", c.mute}, {"whose clocks are wrong: ", c.skewed},
	} {
		if len(reason.nodes) > 0 {
			reasons = append(reasons, reason.text+few(reason.nodes))
		}
	}
	if c.deployed != 0 {
		reasons = append(reasons, "the fetcher's deployment was made at "+clockText(c.deployed)+", after the run began, and what was logged before is in another one")
	}
	if c.dropped {
		reasons = append(reasons, "to lose no entries give the nodes a larger --itn-max-logs, or the fetcher a lower FETCH_INTERVAL_MS")
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

// clockText writes a time for people, who see wall time beside it.
func clockText(t Instant) string { return t.Time().Format(time.RFC3339) + " (network time)" }
