package store

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"provingground/fetcher/trace"
)

// node is what is remembered of a node between two batches. It is stored with each batch, in log_reader.
type node struct {
	name    string
	id      int32
	version int64 // of the row that it equals; -1 when it equals none
	present [16]byte
	known   bool  // whether there is a present run of the daemon
	next    int64 // the cursor of the batch's run, which is the present one when the node is remembered

	reader *trace.Reader
	traces map[int64]int32  // rows of block_trace by the numbers of the reader's open traces
	blocks map[int64]*block // what table block still lacks, by the numbers of traces
	size   int              // of the stored state, in bytes
}

// block is what is known of the block of an open trace, for table block.
type block struct {
	Previous string    `json:"previous,omitempty"`
	Known    bool      `json:"known,omitempty"`    // whether its transactions came
	Timed    bool      `json:"timed,omitempty"`    // whether Received is known
	Received float64   `json:"received,omitempty"` // seconds since 1970
	Txs      []blockTx `json:"txs,omitempty"`      // until the block is stored
	Stored   bool      `json:"stored,omitempty"`
	Linked   bool      `json:"linked,omitempty"` // stored together with Previous: nothing is left to do
}

// blockTx is a user's transaction in a block.
type blockTx struct{ Hash, Type, Memo, Result string }

// stored is the form of a node in log_reader.state.
type stored struct {
	Reader json.RawMessage  `json:"reader,omitempty"`
	Traces map[int64]int32  `json:"traces"`
	Blocks map[int64]*block `json:"blocks,omitempty"`
}

func newNode(name string, id int32) *node {
	return &node{name: name, id: id, version: -1}
}

// begin makes the node one of which nothing was read.
func (n *node) begin() {
	n.reader, n.traces, n.blocks = trace.NewReader(trace.Options{}), map[int64]int32{}, map[int64]*block{}
}

// decode reads what export wrote.
func (n *node) decode(state []byte) error {
	n.begin()
	if state == nil {
		return nil
	}
	n.size = len(state)
	var s stored
	if err := json.Unmarshal(state, &s); err != nil {
		return fmt.Errorf("the stored state of node %s: %w", n.name, err)
	}
	reader, err := trace.Import(s.Reader, trace.Options{})
	if err != nil {
		return fmt.Errorf("the stored state of node %s: %w", n.name, err)
	}
	n.reader = reader
	if s.Traces != nil {
		n.traces = s.Traces
	}
	if s.Blocks != nil {
		n.blocks = s.Blocks
	}
	return nil
}

// encode writes what decode reads, given the exported state of the reader. It spares json.Marshal going through that again.
func (n *node) encode(reader []byte) (string, error) {
	rest, err := json.Marshal(stored{Traces: n.traces, Blocks: n.blocks})
	if err != nil {
		return "", fmt.Errorf("writing the state of node %s: %w", n.name, err)
	}
	state := `{"reader":` + string(reader) + "," + string(rest[1:])
	n.size = len(state)
	return state, nil
}

// cache keeps nodes between batches, as long as there is room; what is not in it is read from the database. Whoever takes a node has
// it alone, and puts it back only when what it holds was committed. Safe for concurrent use.
type cache struct {
	limit int // bytes of stored state; in memory it is a few times as much

	mu    sync.Mutex
	nodes map[string]*node
	size  int
}

func newCache(limit int) *cache { return &cache{limit: limit, nodes: map[string]*node{}} }

// take removes a node from the cache, and returns nil when it is not there.
func (c *cache) take(name string) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[name]
	if n != nil {
		c.remove(n)
	}
	return n
}

func (c *cache) put(n *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.nodes[n.name]; old != nil {
		if old.version > n.version {
			return
		}
		c.remove(old)
	}
	c.nodes[n.name] = n
	c.size += n.size
	for _, name := range slices.Collect(maps.Keys(c.nodes)) { // in random order
		if c.size <= c.limit {
			return
		}
		c.remove(c.nodes[name])
	}
}

func (c *cache) remove(n *node) {
	delete(c.nodes, n.name)
	c.size -= n.size
}
