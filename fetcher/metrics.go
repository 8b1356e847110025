package fetcher

import (
	"sync"
	"time"
)

// Metrics are counters since the Collector was made, unless they say otherwise.
type Metrics struct {
	Discoveries      uint64 // lists of nodes that were had
	DiscoveryErrors  uint64 // lists that could not be had
	UnreachableNodes uint64 // list entries without a usable address, over all lists
	SharedAddresses  uint64 // list entries that gave way to another one of the same address, over all lists

	Requests      uint64 // to nodes, as the collector asked for them; a client may repeat one
	RequestErrors uint64
	Entries       uint64 // committed
	Bytes         uint64 // of the answers that came whole
	Batches       uint64 // committed
	Malformed     uint64 // entries, committed as such
	Gaps          uint64 // committed
	LostEntries   uint64 // in those gaps whose length is known
	Restarts      uint64 // of daemons
	Repeated      uint64 // entries that a node told although they were not asked for, or twice
	OutOfOrder    uint64 // answers whose IDs did not ascend
	Mended        uint64 // entries of which a text or value was changed to be storable
	OddTimes      uint64 // entries before the year 2000 or more than a day in the future, kept as they are
	TooLarge      uint64 // answers that were longer than the client allows
	Flushes       uint64
	FlushErrors   uint64
	StoreErrors   uint64 // after which a batch was tried again
	StoreRefusals uint64 // permanent errors
	Unsaved       uint64 // batches that the store had not taken when their reader was told to stop; they are asked for again
	ArchiveErrors uint64

	Connecting, Running, Backoff, Stopped int // nodes now, by state
	Requesting                            GateMetrics
	Probing                               GateMetrics // requests to nodes that did not answer last time or were not asked yet
	Memory                                GateMetrics // bytes of answers that are not committed yet
	// NeverRead is how many nodes, of those that should be read, were not read to their end since the Collector was made.
	NeverRead int
	// OldestSuccess is when the node that has waited longest, of those that should be read and were, was last read to its end, wall time; zero
	// when there is none.
	OldestSuccess time.Time
	// NewestSuccess is when any node was last read to its end, wall time; zero when none ever was.
	NewestSuccess time.Time
}

type counters struct {
	mu sync.Mutex
	m  Metrics
}

func (c *counters) count(change func(m *Metrics)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.m)
}

func (c *counters) read() Metrics {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m
}
