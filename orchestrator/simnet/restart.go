package simnet

import (
	"context"
)

// planFaults plans what strikes at the start of a slot.
func (n *Network) planFaults() {
	for _, fault := range n.opts.Faults {
		if traits, _ := fault.Kind.traits(); !traits.once {
			continue
		}
		at := n.now
		if fault.Slot > 0 {
			at = n.slotStart(fault.Slot)
		}
		if at.Before(n.now) {
			at = n.now // the network begins after the slot
		}
		n.plan(at, func() { n.strikeNodes(fault) })
	}
}

// strikeNodes lets a fault that strikes once strike the nodes that it names.
func (n *Network) strikeNodes(fault Fault) {
	for _, node := range n.nodes {
		d := node.daemon
		if fault.Node != "" && fault.Node != node.host || d == nil && fault.Kind != FaultDie && fault.Kind != FaultRefuse || node.gone {
			continue
		}
		n.record(node, FaultStruck{Fault: fault.String()})
		switch fault.Kind {
		case FaultBusy:
			d.busy = n.now.Add(fault.Delay)
		case FaultRefuse:
			node.closed = true
			n.portChanged(node)
			if fault.Delay > 0 {
				n.plan(n.now.Add(fault.Delay), func() {
					node.closed = false
					n.portChanged(node)
				})
			}
		case FaultDie:
			node.gone = true
			if d != nil {
				n.stop(d, StoppedByFault)
			}
		default:
			d.clean = d.clean || fault.Kind == FaultRedeploy
			n.stop(d, StoppedByFault)
			n.resume(node, n.returnAfter(d.clean))
		}
	}
}

// restartNow restarts a node in no time, if its daemon runs. Its port stays open, so that the request that is under way there meets the new
// daemon.
func (n *Network) restartNow(node *node, fault Fault) {
	if node.daemon == nil {
		return
	}
	n.record(node, FaultStruck{Fault: fault.String()})
	n.halt(node.daemon, StoppedByFault)
	n.boot(node)
}

// Restart does what the control program does for a host: it ends the daemon there, if one runs, and lets it return as any stopped node
// does (a node that would never return by itself: after the default time). With clean, the node's chain is thrown away. It fails when no
// node has the host, or when the node has died for good.
func (n *Network) Restart(_ context.Context, host string, clean bool) error {
	var err error
	n.do(func() {
		node := n.byHost[canonicalHost(host)]
		switch {
		case node == nil:
			err = &UnknownNodeError{Host: host}
			return
		case node.gone:
			err = &DeadNodeError{Host: host}
			return
		}
		if d := node.daemon; d != nil {
			d.clean = d.clean || clean
			clean = d.clean
			n.stop(d, StoppedByControl)
		} else if clean {
			node.tip = nil
		}
		after := n.returnAfter(clean)
		if after < 0 {
			after = 2 * n.opts.Slot
			if clean {
				after = 10 * n.opts.Slot
			}
		}
		n.resume(node, after)
	})
	return err
}

// UnknownNodeError says that no node of the network has a host.
type UnknownNodeError struct{ Host string }

// Error names the host.
func (e *UnknownNodeError) Error() string { return "no node has the host " + e.Host }

// DeadNodeError says that a node has died for good.
type DeadNodeError struct{ Host string }

// Error names the host.
func (e *DeadNodeError) Error() string { return "the node at " + e.Host + " has died for good" }
