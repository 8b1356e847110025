package simnet

import (
	"cmp"
	"slices"
	"time"

	"provingground/internal/mina"
	"provingground/orchestrator/itn/itnserver"
)

// node is what stays of a node when its daemon ends: its identity, its place in the network, and the chain on its disk.
type node struct {
	net     *Network
	index   int
	host    string // its own loopback address
	address string // HOST:PORT of the ITN port
	peerID  string
	key     mina.PrivateKey // submits uptime reports, and produces blocks where stake is above 0
	account accountID
	staked  uint64  // MINA that its account holds at genesis, which is its stake for ever; 0 for a node that does not produce
	stake   float64 // its share of all producers' stake
	older   bool
	proves  bool // coordinates SNARK workers

	tip    *block  // nil: the chain has to be fetched first
	daemon *daemon // nil while the node is down
	gone   bool    // died for good
	closed bool    // a fault keeps its port closed

	reported time.Time // wall time of its last uptime report

	synced    int // nodes with the same number had each other's commands when chains were last exchanged
	component int // nodes with the same number can reach each other; valid while the network's topology is
	resumes   int // counts planned returns: only the last one planned counts
}

// daemon is one run of a node's daemon: everything that a restart empties.
type daemon struct {
	node   *node
	server *itnserver.Server
	uuid   string

	pool       *pool
	gating     gating
	log        *internalLog
	schedules  map[string]*schedule
	jobs       map[string]*fundingJob
	scheduled  int                // schedules accepted so far
	unlocked   map[accountID]bool // keys in its wallet
	zkappLimit *int
	waiting    []*work      // works that no model prover has begun
	proving    int          // works that model provers have begun
	outside    *outsideWork // what provers outside prove; nil when none do
	clean      bool         // the chain on disk is thrown away when the daemon ends
	busy       time.Time    // until then its schedulers miss their ticks
}

// start begins a run of the node's daemon and opens its port.
func (n *Network) start(node *node) {
	n.boot(node)
	n.portChanged(node)
}

// boot begins a run of the node's daemon.
func (n *Network) boot(node *node) {
	d := &daemon{
		node: node, uuid: n.newUUID(), pool: newPool(n.opts.PoolSize, n.opts.MinFee), gating: openGating(),
		log: newInternalLog(n.opts.MaxLogs, n.tracer), schedules: make(map[string]*schedule), jobs: make(map[string]*fundingJob),
		unlocked: make(map[accountID]bool),
	}
	server, err := itnserver.New(itnserver.Config{
		Keys: n.itnKeys, ServerUUID: d.uuid, Older: node.older, Resolver: resolver{d}, Documents: n.documents,
	})
	if err != nil {
		// Keys and UUID were checked by New; a node that cannot open its port stays down, and says so.
		n.fail(err)
		return
	}
	d.server = server
	if n.opts.KeepLogs {
		d.log.kept = &keptLog{node: node, uuid: d.uuid}
		n.keptLogs = append(n.keptLogs, d.log.kept)
	}
	if n.logJournal != nil {
		d.log.told = func(e logEvent) { n.logJournal.add(node, d.uuid, n.spell(node, e)) }
	}
	d.log.add(logEvent{kind: logStarted, at: n.now})
	if n.coordinator != nil && n.coordinator.node == node {
		d.outside = &outsideWork{}
	}
	node.daemon = d
	n.synced++
	node.synced = n.synced
	n.topologyChanged()
	n.record(node, DaemonStarted{ServerUUID: d.uuid})
	if node.tip != nil {
		d.listWork(nil, node.tip)
	}
}

// stop ends a daemon's run, if it has not ended yet, and closes the port.
func (n *Network) stop(d *daemon, reason StopReason) {
	if d.node.daemon == d {
		n.halt(d, reason)
		n.portChanged(d.node)
	}
}

// halt ends a daemon's run: with it end its schedules, its pool, its log and its gating.
func (n *Network) halt(d *daemon, reason StopReason) {
	node := d.node
	for _, handle := range sortedKeys(d.schedules) {
		n.endSchedule(d.schedules[handle], EndKilled)
	}
	for _, handle := range sortedKeys(d.jobs) {
		n.endFunding(d.jobs[handle], EndKilled)
	}
	node.daemon = nil
	if node.tip != nil {
		forgetWork(node, node.tip.pending)
	}
	if d.clean {
		node.tip = nil
	}
	n.topologyChanged()
	n.record(node, DaemonStopped{ServerUUID: d.uuid, Reason: reason, Clean: d.clean, LastLogID: d.log.last(), Retained: d.log.first})
}

// resume plans the start of a node that is down. A later plan replaces an earlier one; a negative wait is never.
func (n *Network) resume(node *node, after time.Duration) {
	node.resumes++
	if after < 0 || node.gone {
		return
	}
	plan := node.resumes
	n.plan(n.now.Add(after), func() {
		if node.daemon == nil && node.resumes == plan && !node.gone {
			n.start(node)
		}
	})
}

// returnAfter is how long a node stays away.
func (n *Network) returnAfter(clean bool) time.Duration {
	if clean {
		return n.opts.RestartAfterClean
	}
	return n.opts.RestartAfter
}

// receive is the arrival of a block at a running node.
func (d *daemon) receive(b *block) {
	if b == d.node.tip {
		return
	}
	n, node := d.node.net, d.node
	d.trace(logEvent{
		kind: logReceived, at: n.now, block: b, lingers: mix(n.opts.Seed, purposeLinger, uint64(node.index), b.draw)%8 == 0,
	})
	d.changeOver(b)
	if mix(n.opts.Seed, purposeRepeat, uint64(node.index), b.draw)%16 == 0 {
		n.plan(n.now.Add(n.opts.Latency/2), func() {
			if node.daemon == d {
				d.trace(logEvent{kind: logRepeated, at: n.now, block: b})
			}
		})
	}
}

// trace logs what the daemon does with a block or a command.
func (d *daemon) trace(e logEvent) {
	d.log.add(e)
	if n := d.node.net; n.opts.JournalNodes {
		n.recordTraced(d, e)
	}
}

// produced is the end of a block's production at the node that built it.
func (d *daemon) produced(b *block) {
	d.trace(logEvent{kind: logProduced, at: d.node.net.now, block: b})
	d.changeOver(b)
}

// fetch is the arrival of a best tip that the node missed and now gets from a peer.
func (d *daemon) fetch(b *block) {
	d.trace(logEvent{kind: logFetched, at: d.node.net.now, block: b})
	d.changeOver(b)
}

// changeOver makes b the node's best tip if it is better, and fits the pool to it: what it included leaves, what the lost blocks held
// comes back. Missing blocks in between are fetched in no time.
func (d *daemon) changeOver(b *block) {
	old := d.node.tip
	if !b.betterThan(old) {
		return
	}
	d.node.tip = b
	d.listWork(old, b)
	left, joined, known := branches(old, b)
	if n := d.node.net; n.opts.JournalNodes {
		n.record(d.node, TipChanged{Hash: b.hash, Height: b.height, Slot: b.slot, Left: len(left)})
	}
	affected := make(map[accountID][]*command)
	for _, lost := range left {
		for _, id := range lost.touched {
			affected[id] = append(affected[id], []*command{}...) // named, even without a command
		}
		for _, c := range lost.commands {
			affected[c.sender] = append(affected[c.sender], c.command)
		}
	}
	if known {
		for _, won := range joined {
			for _, id := range won.touched {
				affected[id] = append(affected[id], []*command{}...) // named, even without a command
			}
		}
	} else {
		for id := range d.pool.bySender {
			affected[id] = append(affected[id], []*command{}...) // named, even without a command
		}
	}
	// In order, since a full pool takes back only the first ones.
	ids := make([]accountID, 0, len(affected))
	for id := range affected {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		for _, c := range d.pool.renew(id, b.ledger.get(id), affected[id], d.node) {
			if known && !slices.ContainsFunc(joined, func(won *block) bool { return won.holds(c) }) {
				d.node.net.recordDropped(c)
			}
		}
	}
}

// submit puts a command into the node's own pool and gossips it. rejected says why the pool did not take it.
func (d *daemon) submit(c *command) (rejected string) {
	n, node := d.node.net, d.node
	if node.tip == nil {
		rejected = rejectUnknownSender
	} else {
		rejected = d.pool.add(c, node.tip.ledger.get(c.sender))
	}
	d.trace(logEvent{kind: logDiff, at: n.now, command: c, reason: rejected})
	if rejected != "" {
		n.recordRejected(c, rejected)
		return rejected
	}
	n.recordSent(c)
	n.gossip(node, func(d *daemon) { d.offer(c) })
	return ""
}

// offer is the arrival of a gossiped command.
func (d *daemon) offer(c *command) {
	reason := rejectUnknownSender
	if d.node.tip != nil {
		reason = d.pool.add(c, d.node.tip.ledger.get(c.sender))
	}
	d.trace(logEvent{kind: logDiff, at: d.node.net.now, command: c, reason: reason})
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
