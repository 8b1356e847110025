package simnet

import (
	"cmp"
	"net/netip"
	"slices"

	"provingground/orchestrator/itn"
)

// gating is which peers a daemon lets connect, and which it knows (itn-graphql, section 4.4).
type gating struct {
	isolate bool
	trusted nodeSet
	banned  nodeSet
	knows   nodeSet // peers it was told to connect to
	seeds   bool    // it still knows its seeds, through which it finds everybody
}

// openGating is the configuration a daemon starts with.
func openGating() gating { return gating{seeds: true} }

// open reports whether the daemon links with every other open one.
func (g *gating) open() bool { return !g.isolate && g.seeds && len(g.banned) == 0 }

func (g *gating) allows(peer *node) bool {
	return g.trusted.has(peer) || !g.isolate && !g.banned.has(peer)
}

// nodeSet is a set of nodes, one bit each. The zero value is empty.
type nodeSet []uint64

func (s nodeSet) remove(node *node) {
	if word := node.index / 64; word < len(s) {
		s[word] &^= 1 << (node.index % 64)
	}
}

func (s nodeSet) has(node *node) bool {
	word := node.index / 64
	return word < len(s) && s[word]&(1<<(node.index%64)) != 0
}

func (s *nodeSet) add(node *node) {
	for len(*s) <= node.index/64 {
		*s = append(*s, 0)
	}
	(*s)[node.index/64] |= 1 << (node.index % 64)
}

// linked reports whether two running nodes exchange messages directly: each lets the other one, and one of them knows the other.
func linked(a, b *daemon) bool {
	return a.gating.allows(b.node) && b.gating.allows(a.node) &&
		(a.gating.seeds || b.gating.seeds || a.gating.knows.has(b.node) || b.gating.knows.has(a.node))
}

// topologyChanged is called when a node comes, goes or changes its gating. Messages heed it at once; chains and commands that the newly
// linked ones lack are exchanged after the latency.
func (n *Network) topologyChanged() {
	n.components = nil
	if due := n.now.Add(n.opts.Latency); n.exchangeDue.Before(due) {
		n.exchangeDue = due
		n.plan(due, n.exchange)
	}
}

// reachable returns the sets of running nodes that reach each other, directly or through others.
func (n *Network) reachable() [][]*node {
	if n.components != nil {
		return n.components
	}
	leader := make([]int, len(n.nodes))
	for i := range leader {
		leader[i] = i
	}
	find := func(i int) int {
		for leader[i] != i {
			leader[i] = leader[leader[i]]
			i = leader[i]
		}
		return i
	}
	firstOpen := -1
	for _, node := range n.nodes {
		if node.daemon == nil || !node.daemon.gating.open() {
			continue
		}
		if firstOpen < 0 {
			firstOpen = node.index
		}
		leader[find(node.index)] = find(firstOpen)
	}
	for _, a := range n.nodes {
		if a.daemon == nil || a.daemon.gating.open() {
			continue
		}
		for _, b := range n.nodes {
			if b.daemon != nil && b != a && linked(a.daemon, b.daemon) {
				leader[find(b.index)] = find(a.index)
			}
		}
	}
	place := make(map[int]int)
	components := make([][]*node, 0, 1)
	for _, node := range n.nodes {
		if node.daemon == nil {
			continue
		}
		at, ok := place[find(node.index)]
		if !ok {
			at = len(components)
			place[find(node.index)] = at
			components = append(components, nil)
		}
		components[at] = append(components[at], node)
		node.component = at
	}
	n.components = components
	return components
}

// gossip delivers a message to every running node that the sender reaches now, one latency later.
func (n *Network) gossip(from *node, deliver func(*daemon)) {
	receivers := n.reachable()[from.component]
	if len(receivers) == 1 {
		return
	}
	n.plan(n.now.Add(n.opts.Latency), func() {
		for _, to := range receivers {
			if to != from && to.daemon != nil {
				deliver(to.daemon)
			}
		}
	})
}

// exchange lets the nodes that reach each other agree on the best of their chains, and brings the commands that wait at the node they were
// submitted to to those that could not be reached until now.
func (n *Network) exchange() {
	for _, members := range n.reachable() {
		best := members[0].tip
		apart := false
		for _, node := range members {
			if node.tip.betterThan(best) {
				best = node.tip
			}
			apart = apart || node.synced != members[0].synced
		}
		for _, node := range members {
			if node.tip != best {
				node.daemon.fetch(best)
			}
		}
		if apart {
			n.exchangeCommands(members)
			n.exchangeProofs(members, best)
		}
		n.synced++
		for _, node := range members {
			node.synced = n.synced
		}
	}
}

func (n *Network) exchangeCommands(members []*node) {
	var waiting []*command
	for _, node := range members {
		waiting = append(waiting, node.daemon.pool.of(node)...)
	}
	slices.SortFunc(waiting, func(a, b *command) int { return cmp.Compare(a.serial, b.serial) })
	for _, c := range waiting {
		for _, node := range members {
			if node.synced != c.origin.synced {
				node.daemon.offer(c)
			}
		}
	}
}

// peers returns the nodes that entries of a trusted or banned list name, by peer ID or by address.
func (n *Network) peers(list []itn.NetworkPeer) nodeSet {
	var set nodeSet
	for _, peer := range list {
		if node := n.byPeerID[peer.PeerID]; node != nil {
			set.add(node)
		}
		if node := n.byHost[canonicalHost(peer.Host)]; node != nil {
			set.add(node)
		}
	}
	return set
}

// canonicalHost spells an IP literal as the network does.
func canonicalHost(host string) string {
	if address, err := netip.ParseAddr(host); err == nil {
		return address.Unmap().String()
	}
	return host
}

// setGating puts an update into force and returns why peers could not be added, one text each, as the daemon's helper would say it.
func (n *Network) setGating(d *daemon, update itn.GatingUpdate) (failed []string) {
	d.gating.isolate = update.Isolate
	d.gating.trusted = n.peers(update.TrustedPeers)
	d.gating.banned = n.peers(update.BannedPeers)
	if update.CleanAddedPeers {
		d.gating.seeds = false
		d.gating.knows = nil
	}
	for _, peer := range update.AddedPeers {
		node := n.byPeerID[peer.PeerID]
		if node == nil || node.host != canonicalHost(peer.Host) || peer.Libp2pPort != libp2pPort {
			failed = append(failed, "failed to dial "+peer.PeerID+": no such peer at this address")
			continue
		}
		d.gating.knows.add(node) // also when it cannot be reached now: the helper goes on trying
		switch {
		case !d.gating.allows(node):
			failed = append(failed, "failed to dial "+peer.PeerID+": gater disallows connection to peer")
		case node.daemon == nil:
			failed = append(failed, "failed to dial "+peer.PeerID+": connection refused")
		case !node.daemon.gating.allows(d.node):
			failed = append(failed, "failed to dial "+peer.PeerID+": connection closed by peer")
		}
	}
	n.topologyChanged()
	return failed
}
