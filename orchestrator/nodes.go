package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"go.uber.org/zap"

	"provingground/orchestrator/itn"
	"provingground/uptime"
)

// nodes are the nodes that a run knows: by their addresses, each with its one client. Safe for concurrent use.
type nodes struct {
	world     World
	overrides uptime.Overrides

	list    sync.Once // reads the online list where nothing else has, for the nodes' IP addresses
	mu      sync.Mutex
	known   map[string]*node
	probed  int // so many nodes were asked at once whether they answer,
	reached int // and so many did
}

// node is one node of the network.
type node struct {
	address string
	client  *itn.Client
	network *nodes

	mu       sync.Mutex
	identity *itn.Identity // as of the last auth; nil before the first
	remote   netip.Addr    // where its uptime reports come from; not valid when it was not in the online list
	met      bool          // it has answered in this run, or in the one that this run continues
	told     bool          // and that is recorded
	stopped  *string       // the server UUID of the daemon that this run has stopped, as far as it is known; nil once another one answers
}

func newNodes(world World, overrides uptime.Overrides) *nodes {
	return &nodes{world: world, overrides: overrides, known: map[string]*node{}}
}

// at returns the node at an address.
func (ns *nodes) at(address string) *node {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	n := ns.known[address]
	if n == nil {
		n = &node{address: address, client: ns.world.Dial(address), network: ns}
		ns.known[address] = n
	}
	return n
}

// answered returns the addresses of the nodes that have answered in this run, sorted.
func (ns *nodes) answered() []string {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	var addresses []string
	for address, n := range ns.known {
		n.mu.Lock()
		if n.met {
			addresses = append(addresses, address)
		}
		n.mu.Unlock()
	}
	slices.Sort(addresses)
	return addresses
}

// news returns the addresses of the nodes that have answered and that it has not returned before, sorted.
func (ns *nodes) news() []string {
	var fresh []string
	for _, address := range ns.answered() {
		n := ns.at(address)
		n.mu.Lock()
		if !n.told {
			n.told = true
			fresh = append(fresh, address)
		}
		n.mu.Unlock()
	}
	return fresh
}

// recall says that a node has answered in the run that this one continues.
func (ns *nodes) recall(address string) {
	n := ns.at(address)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.met, n.told = true, true
}

// stop says that this run has stopped a daemon of a node.
func (ns *nodes) stop(address, serverUUID string) {
	n := ns.at(address)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stopped = &serverUUID
}

// down returns the addresses of the nodes that this run has stopped and not seen since, sorted.
func (ns *nodes) down() []string {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	var addresses []string
	for address, n := range ns.known {
		n.mu.Lock()
		if n.stopped != nil {
			addresses = append(addresses, address)
		}
		n.mu.Unlock()
	}
	slices.Sort(addresses)
	return addresses
}

// online reads the online list and returns the addresses on it, sorted, without duplicates. skipped says which entries have no usable
// address.
func (ns *nodes) online(ctx context.Context) (addresses []string, skipped []error, err error) {
	list, err := ns.world.Online.List(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("read the list of online nodes: %w", err)
	}
	for _, entry := range list {
		address, err := ns.overrides.Address(entry.RemoteAddr, entry.ControlPort)
		if err != nil {
			skipped = append(skipped, err)
			continue
		}
		n := ns.at(address)
		if remote, err := netip.ParseAddr(entry.RemoteAddr); err == nil {
			n.mu.Lock()
			n.remote = remote
			n.mu.Unlock()
		}
		addresses = append(addresses, address)
	}
	slices.Sort(addresses)
	return slices.Compact(addresses), skipped, nil
}

// authenticate asks the node who it is, now.
func (n *node) authenticate(ctx context.Context) (itn.Identity, error) {
	identity, err := n.client.Auth(ctx)
	if err != nil {
		return itn.Identity{}, err //nolint:wrapcheck // names operation and node
	}
	n.mu.Lock()
	if n.stopped != nil && *n.stopped != identity.ServerUUID { // a daemon answers until it has ended
		n.stopped = nil
	}
	n.identity, n.met = &identity, true
	n.mu.Unlock()
	return identity, nil
}

// who returns who the node is, as of the last time it was asked.
func (n *node) who(ctx context.Context) (itn.Identity, error) {
	n.mu.Lock()
	identity := n.identity
	n.mu.Unlock()
	if identity != nil {
		return *identity, nil
	}
	return n.authenticate(ctx)
}

// errNoHost says that the libp2p host of a node is not known.
var errNoHost = errors.New("its IP address is not known: it is not in the online list, and its control address is a name")

// peer returns the node as a libp2p peer. Its host is where its uptime reports come from; the control address may be that of a forwarder.
func (n *node) peer(ctx context.Context) (itn.NetworkPeer, error) {
	identity, err := n.who(ctx)
	if err != nil {
		return itn.NetworkPeer{}, err
	}
	n.mu.Lock()
	host := n.remote
	n.mu.Unlock()
	if _, err := netip.ParseAddr(hostOf(n.address)); !host.IsValid() && err != nil {
		host = n.remoteFromList(ctx)
	}
	if !host.IsValid() {
		if host, err = netip.ParseAddr(hostOf(n.address)); err != nil {
			return itn.NetworkPeer{}, fmt.Errorf("node %s as a peer: %w", n.address, errNoHost)
		}
	}
	return itn.NetworkPeer{PeerID: identity.PeerID, Host: host.Unmap().String(), Libp2pPort: int(identity.Libp2pPort)}, nil
}

// remoteFromList returns where the node's uptime reports come from, by an online list that is read now: a resumed run, or one that took its
// nodes from an earlier run's outputs, has not read one.
func (n *node) remoteFromList(ctx context.Context) netip.Addr {
	n.network.list.Do(func() {
		if _, _, err := n.network.online(ctx); err != nil {
			n.network.world.Log.Warn("the nodes' IP addresses are not known", zap.Error(err))
		}
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.remote
}

// hostOf returns the host of an address HOST:PORT; IPv6 without brackets. What is no such address is returned as it is.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
