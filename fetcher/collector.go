package fetcher

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"provingground/internal/clock"
	"provingground/orchestrator/itn"
	"provingground/uptime"
)

const (
	firstTracePort = 11000 // log-fetcher, section 3
	// forgetAfter is how long a node is remembered that is in no list any more. Its cursor stays in the store.
	forgetAfter = 24 * time.Hour
)

// Options say what to collect, and how. All times are wall time.
type Options struct {
	// Discover lists the nodes. Required.
	Discover Discoverer
	// Overrides say where the nodes of port-forwarded networks are reached.
	Overrides uptime.Overrides
	// Dial makes the client of the node at an address (HOST:PORT), on fetcher.Transport. Its key is the collector's alone. Required.
	Dial func(address string) *itn.Client
	// Store keeps what is collected. Required.
	Store Store
	// Clock is the network's; nil means the wall's.
	Clock *clock.Clock
	// Log takes what an operator would miss; nil is silent.
	Log *zap.Logger
	// Archive takes the raw lines of what was stored; nil keeps none.
	Archive Archive
	// Names are display names by submitter.
	Names map[string]string

	// DiscoverEvery is the pause between lists; 0 means 60 s.
	DiscoverEvery time.Duration
	// Interval is the longest time between two requests for a node's log (FETCH_INTERVAL_MS); 0 means 10 s.
	Interval time.Duration
	// MinInterval is the shortest; 0 means 250 ms.
	MinInterval time.Duration
	// QueueSize is how many entries a node holds (--itn-max-logs); 0 means 500.
	QueueSize int
	// Flush has each node forget what is stored. Not where nodes have several readers: it takes the entries from the others.
	Flush bool
	// Concurrency is the number of requests under way at once; 0 means 32. There are at most half as many more to nodes that failed last
	// time, so that those keep only each other waiting.
	Concurrency int
	// MemoryBytes bounds what the answers take that are not stored yet, estimated as four times their length; 0 means 128 MiB. It may be exceeded
	// by the requests under way, whose answers' length is known only when they are there, each by a usual answer (256 KiB), and by one longer
	// answer: of those, one is read at a time, and stored before the next one is read.
	MemoryBytes int64
	// BackoffMin and BackoffMax bound the pause after failures; 0 means 1 s and 1 min, in which a busy node does not overwrite much.
	BackoffMin, BackoffMax time.Duration
	// Seed decides the jitter of these pauses.
	Seed uint64
}

func (o Options) withDefaults() Options {
	o.Clock = cmp.Or(o.Clock, clock.Wall())
	o.Log = cmp.Or(o.Log, zap.NewNop())
	o.DiscoverEvery = cmp.Or(o.DiscoverEvery, time.Minute)
	o.Interval = cmp.Or(o.Interval, 10*time.Second)
	o.MinInterval = min(cmp.Or(o.MinInterval, 250*time.Millisecond), o.Interval)
	o.QueueSize = cmp.Or(o.QueueSize, 500)
	o.Concurrency = cmp.Or(o.Concurrency, 32)
	o.MemoryBytes = cmp.Or(o.MemoryBytes, 128<<20)
	o.BackoffMin = cmp.Or(o.BackoffMin, time.Second)
	o.BackoffMax = max(cmp.Or(o.BackoffMax, time.Minute), o.BackoffMin)
	return o
}

func (o Options) check() error {
	var errs []error
	for _, need := range []struct {
		missing bool
		what    string
	}{
		{o.Discover == nil, "Discover is required"},
		{o.Dial == nil, "Dial is required"},
		{o.Store == nil, "Store is required"},
		{min(o.DiscoverEvery, o.Interval, o.MinInterval, o.BackoffMin, o.BackoffMax) < 0, "times must not be negative"},
		{min(o.QueueSize, o.Concurrency) < 0 || o.MemoryBytes < 0, "bounds must not be negative"},
	} {
		if need.missing {
			errs = append(errs, errors.New("fetcher options: "+need.what))
		}
	}
	return errors.Join(errs...)
}

// Collector reads the internal logs of a network's nodes. Make one with New. Safe for concurrent use.
type Collector struct {
	opts       Options
	requesting *gate
	probing    *gate
	memory     *gate
	long       *gate // for one answer at a time that is longer than usual
	counters   counters

	mu     sync.Mutex
	nodes  map[identity]*node
	claims map[string]*node // who reads the run of a daemon, by server UUID
	ports  int              // trace port numbers given so far
	frozen bool
	holds  int    // calls of Hold that are in force
	again  bool   // the manager is to look again at once
	rouse  func() // ends the manager's pause; nil while it does not pause
}

// New makes a Collector; nothing happens before Run. All that is wrong with the options is reported at once.
func New(options Options) (*Collector, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	o := options.withDefaults()
	return &Collector{
		opts:       o,
		requesting: newGate(int64(o.Concurrency), o.Clock),
		probing:    newGate(int64(max(1, o.Concurrency/2)), o.Clock),
		memory:     newGate(o.MemoryBytes, o.Clock),
		long:       newGate(1, o.Clock),
		nodes:      make(map[identity]*node),
		claims:     make(map[string]*node),
	}, nil
}

// Run collects until ctx ends, waits for its goroutines, and returns nil. An answer that is there by then is still given to the store, once and
// for at most lastSave; what is not stored then is still with the nodes, and Metrics.Unsaved counts it. It is called once. On a virtual
// clock it is called by a goroutine that the clock knows.
func (c *Collector) Run(ctx context.Context) error {
	group, ctx := c.opts.Clock.Group(ctx, 0)
	start := func(ctx context.Context, n *node) {
		group.Go(func() error {
			c.read(ctx, n)
			return nil
		})
	}
	for ctx.Err() == nil {
		for _, n := range c.discover(ctx) {
			c.start(ctx, n, start)
		}
		c.pause(ctx)
	}
	return group.Wait()
}

// discover brings the nodes up to date and returns those of the latest list that could be had, in its order.
func (c *Collector) discover(ctx context.Context) []*node {
	list, err := c.opts.Discover.List(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		said := "the list of nodes could not be had; going on with the last one"
		if c.counters.read().Discoveries == 0 {
			said = "the list of nodes could not be had, and there is none yet; asking again"
		}
		c.counters.count(func(m *Metrics) { m.DiscoveryErrors++ })
		c.opts.Log.Warn(said, zap.Duration("pause", c.opts.DiscoverEvery), zap.Error(err))
		return c.listed()
	}
	c.counters.count(func(m *Metrics) { m.Discoveries++ })
	found := c.locateAll(list)

	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.opts.Clock.Wall()
	wanted := make(map[identity]bool, len(found))
	var nodes []*node
	for _, f := range found {
		wanted[f.identity] = true
		n := c.nodes[f.identity]
		if n == nil {
			n = c.add(f)
		}
		n.listed, n.status.Active = now, true
		nodes = append(nodes, n)
	}
	for id, n := range c.nodes {
		if wanted[id] {
			continue
		}
		n.status.Active = false
		switch {
		case n.stop != nil:
			n.stop(errors.New("the node is not in the list any more"))
			n.stop = nil
		case n.ended == nil && now.Sub(n.listed) > forgetAfter:
			delete(c.nodes, id)
		}
	}
	return nodes
}

// locateAll finds the nodes' addresses. An entry without one is left out, and so are, of several at one address, all but one: two clients of
// one node with the same key would disturb each other (itn-graphql, section 2.3). That one is what was found in the list before, as long as
// it is listed, for under another name the daemon's log would be stored a second time; otherwise the one seen last.
func (c *Collector) locateAll(list []uptime.Node) []*node {
	var found []*node
	places := make(map[string]int, len(list)) // in found, by address
	seen := make(map[string]time.Time, len(list))
	present := c.present()
	for _, entry := range list {
		id, address, err := locate(entry, c.opts.Overrides)
		if err != nil {
			c.counters.count(func(m *Metrics) { m.UnreachableNodes++ })
			c.opts.Log.Debug("a node of the list cannot be reached", zap.String("submitter", entry.Submitter), zap.Error(err))
			continue
		}
		place, shared := places[address]
		if shared {
			c.counters.count(func(m *Metrics) { m.SharedAddresses++ })
			if present[id] || !present[found[place].identity] && !entry.LastSeen.Before(seen[address]) {
				found[place], seen[address] = &node{identity: id, address: address}, entry.LastSeen
			}
			continue
		}
		places[address], seen[address] = len(found), entry.LastSeen
		found = append(found, &node{identity: id, address: address})
	}
	return found
}

// present returns the nodes of the last list.
func (c *Collector) present() map[identity]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	present := make(map[identity]bool, len(c.nodes))
	for id, n := range c.nodes {
		present[id] = n.status.Active
	}
	return present
}

// add takes in a node that was not known. It is called with the lock held.
func (c *Collector) add(n *node) *node {
	n.status = NodeStatus{
		IP: n.host, GraphQLPort: n.port, SubmitterPK: n.submitter, Name: c.opts.Names[n.submitter],
		NodeName: NodeName(n.submitter, n.host, n.port), State: Stopped,
	}
	if port := firstTracePort + c.ports; port <= 65535 {
		n.status.InternalTracePort = uint16(port)
		c.ports++
	}
	c.nodes[n.identity] = n
	return n
}

// listed returns the nodes of the last list.
func (c *Collector) listed() []*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	var nodes []*node
	for _, n := range c.nodes {
		if n.status.Active {
			nodes = append(nodes, n)
		}
	}
	slices.SortFunc(nodes, func(a, b *node) int { return cmp.Compare(a.status.NodeName, b.status.NodeName) })
	return nodes
}

// start begins to read a node, unless it is read, or the collector is frozen or held. It waits for a reader that was told to stop.
func (c *Collector) start(ctx context.Context, n *node, begin func(context.Context, *node)) {
	for {
		c.mu.Lock()
		ended, frozen, stopping := n.ended, c.frozen || c.holds > 0, n.stop == nil
		if ended == nil && !frozen && ctx.Err() == nil {
			readCtx, stop := context.WithCancelCause(ctx)
			n.stop, n.ended = stop, c.opts.Clock.Event()
			c.mu.Unlock()
			begin(readCtx, n)
			return
		}
		c.mu.Unlock()
		if frozen || ended == nil || !stopping {
			return
		}
		if ended.Wait(ctx) != nil { // soon: it was told to stop
			return
		}
	}
}

// ended is called by a node's reader in the end.
func (c *Collector) ended(n *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release(n)
	n.status.State = Stopped
	if n.stop != nil {
		n.stop(nil)
	}
	n.ended.Happen()
	n.stop, n.ended = nil, nil
}

// claim lets a node have a run of a daemon to itself: a daemon that is reached under two addresses is read once. The node keeps it until its
// reader ends or finds another run, also while it does not answer: whoever took it over would store it all again under another name.
func (c *Collector) claim(n *node, serverUUID string) (other string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if serverUUID != n.status.ServerUUID {
		c.release(n)
	}
	if holder := c.claims[serverUUID]; holder != nil && holder != n {
		return holder.status.NodeName
	}
	c.claims[serverUUID] = n
	n.status.ServerUUID = serverUUID
	return ""
}

// release is called with the lock held.
func (c *Collector) release(n *node) {
	if c.claims[n.status.ServerUUID] == n {
		delete(c.claims, n.status.ServerUUID)
	}
}

// pause waits for the next discovery, or until look is called.
func (c *Collector) pause(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	again := c.again
	c.again, c.rouse = false, cancel
	c.mu.Unlock()
	if !again {
		_ = c.opts.Clock.SleepWall(ctx, c.opts.DiscoverEvery) // it may be called off; the caller looks at its own context
	}
	c.mu.Lock()
	c.again, c.rouse = false, nil
	c.mu.Unlock()
}

// look has the manager discover at once. It is called with the lock held.
func (c *Collector) look() {
	c.again = true
	if c.rouse != nil {
		c.rouse()
	}
}

// Freeze stops reading, now and until Unfreeze, and returns when no node is read any more and no Save is under way, or with the cause of ctx's
// end. Nothing that is stored is touched, and the list of nodes is kept up to date.
func (c *Collector) Freeze(ctx context.Context) error {
	c.mu.Lock()
	c.frozen = true
	endings := c.stopAll(errors.New("the collector was frozen"))
	c.mu.Unlock()
	return waitAll(ctx, endings)
}

// Hold stops reading like Freeze, until resume is called, for a program's own work on the store. It neither sees nor changes what people say by
// Freeze and Unfreeze meanwhile. With an error nothing is held.
func (c *Collector) Hold(ctx context.Context) (resume func(), err error) {
	c.mu.Lock()
	c.holds++
	endings := c.stopAll(errors.New("the collector is held"))
	c.mu.Unlock()
	resume = sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.holds--
		c.look()
	})
	if err := waitAll(ctx, endings); err != nil {
		resume()
		return nil, err
	}
	return resume, nil
}

// waitAll waits for the ends of readers.
func waitAll(ctx context.Context, endings []*clock.Event) error {
	for _, ended := range endings {
		if err := ended.Wait(ctx); err != nil {
			return err //nolint:wrapcheck // the cause of the caller's end
		}
	}
	return nil
}

// Unfreeze ends Freeze; the nodes are discovered anew and go on from what is stored.
func (c *Collector) Unfreeze() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen = false
	c.look()
}

// Reset has every node read anew as if the process had just begun: nodes discovered, clients made, cursors taken from the store, pauses
// after failures called off. It deletes nothing. Whoever wants to begin from nothing calls Freeze, deletes in the store, and calls
// Unfreeze. While the collector is frozen it has no effect.
func (c *Collector) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopAll(errors.New("the collector was reset"))
	c.look()
}

// stopAll tells all readers to stop. It is called with the lock held.
func (c *Collector) stopAll(cause error) (endings []*clock.Event) {
	for _, n := range c.nodes {
		if n.stop != nil {
			n.stop(cause)
			n.stop = nil
		}
		if n.ended != nil {
			endings = append(endings, n.ended)
		}
	}
	return endings
}

// Frozen tells whether Freeze is in force.
func (c *Collector) Frozen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frozen
}

// Nodes returns what is known of each node, sorted by name, those included that are not in the list any more.
func (c *Collector) Nodes() []NodeStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	statuses := make([]NodeStatus, 0, len(c.nodes))
	for n := range maps.Values(c.nodes) {
		status := n.status
		status.Frozen = c.frozen && status.Active
		statuses = append(statuses, status)
	}
	slices.SortFunc(statuses, func(a, b NodeStatus) int {
		return cmp.Or(cmp.Compare(a.NodeName, b.NodeName), cmp.Compare(a.SubmitterPK, b.SubmitterPK))
	})
	return statuses
}

// Metrics returns the counters.
func (c *Collector) Metrics() Metrics {
	m := c.counters.read()
	m.Requesting, m.Probing, m.Memory = c.requesting.metrics(), c.probing.metrics(), c.memory.metrics()
	for _, n := range c.Nodes() {
		if n.LastSuccess.After(m.NewestSuccess) {
			m.NewestSuccess = n.LastSuccess
		}
		switch n.State {
		case Connecting:
			m.Connecting++
		case Running:
			m.Running++
		case Backoff:
			m.Backoff++
		case Stopped:
			m.Stopped++
			continue
		}
		switch {
		case n.LastSuccess.IsZero():
			m.NeverRead++
		case m.OldestSuccess.IsZero() || n.LastSuccess.Before(m.OldestSuccess):
			m.OldestSuccess = n.LastSuccess
		}
	}
	return m
}

// randomOf returns the source of a node's jitter.
func (c *Collector) randomOf(n *node) *rand.Rand {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(n.status.NodeName))            // a hash takes everything
	return rand.New(rand.NewPCG(c.opts.Seed, hash.Sum64())) //nolint:gosec // jitter is no secret, and tests repeat it
}
