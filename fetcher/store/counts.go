package store

import "sync/atomic"

// Counts tell of what a [Store] did since it was opened.
type Counts struct {
	Entries   uint64 // committed to log_entry
	Cut       uint64 // texts that were longer than their columns, and end in a mark and a digest now
	Unread    uint64 // entries that no trace could be made of, and problems with those that could
	Underived uint64 // batches from which nothing was derived, because the database refused it; table log_problem lists them
}

// counter counts in one transaction.
type counter struct{ stored, cut, unread, underived uint64 }

// counts are counters that many transactions share.
type counts struct{ stored, cut, unread, underived atomic.Uint64 }

func (c *counts) add(more counter) {
	c.stored.Add(more.stored)
	c.cut.Add(more.cut)
	c.unread.Add(more.unread)
	c.underived.Add(more.underived)
}

// Counts returns the counters.
func (s *Store) Counts() Counts {
	return Counts{Entries: s.counts.stored.Load(), Cut: s.counts.cut.Load(), Unread: s.counts.unread.Load(), Underived: s.counts.underived.Load()}
}
