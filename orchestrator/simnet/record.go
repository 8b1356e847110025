package simnet

import (
	"provingground/orchestrator/itn"
)

// recordSent journals a command that its node's pool took.
func (n *Network) recordSent(c *command) {
	fact := CommandSent{
		Memo: c.memo, Type: c.kind, Sender: n.accounts.text(c.sender), Nonce: c.nonce, Fee: uint64(c.fee), Handle: c.schedule,
	}
	if !c.zkapp() {
		fact.Receiver, fact.Amount = n.accounts.text(c.moves[0].to), uint64(c.moves[0].amount)
	}
	n.record(c.origin, fact)
}

// recordRejected journals a command that its node's pool did not take.
func (n *Network) recordRejected(c *command, reason string) {
	n.record(c.origin, CommandRejected{
		Memo: c.memo, Type: c.kind, Sender: n.accounts.text(c.sender), Nonce: c.nonce, Handle: c.schedule, Reason: reason,
	})
}

// recordDropped journals a command that its node's pool let go although no block took it.
func (n *Network) recordDropped(c *command) {
	n.record(c.origin, CommandDropped{Memo: c.memo, Sender: n.accounts.text(c.sender), Nonce: c.nonce, Handle: c.schedule})
}

func (n *Network) recordProduced(b *block) {
	fact := BlockProduced{
		Hash: b.hash, Height: b.height, Slot: b.slot, Parent: b.above, Creator: n.accounts.text(b.producer.account), Coinbase: uint64(coinbase),
	}
	for _, c := range b.commands {
		fact.Commands = append(fact.Commands, BlockCommand{
			Memo: c.memo, Type: c.kind, Sender: n.accounts.text(c.sender), Nonce: c.nonce, Fee: uint64(c.fee), Failure: c.failure,
		})
	}
	for _, id := range b.created {
		fact.Created = append(fact.Created, n.accounts.text(id))
	}
	n.record(b.producer, fact)
}

func (n *Network) recordIncluded(b *block) {
	n.record(b.producer, BlockIncluded{Hash: b.hash, Height: b.height, Slot: b.slot})
	for _, id := range b.created {
		n.record(b.producer, AccountCreated{PublicKey: n.accounts.text(id), Balance: uint64(b.ledger.get(id).balance)})
	}
}

func (n *Network) recordOrphaned(b *block) {
	n.record(b.producer, BlockOrphaned{Hash: b.hash, Height: b.height, Slot: b.slot})
}

// recordGating journals an update with the nodes that its entries name.
func (n *Network) recordGating(d *daemon, update itn.GatingUpdate, failed []string) {
	fact := GatingSet{Isolate: update.Isolate, CleanAddedPeers: update.CleanAddedPeers, Failed: failed}
	named := func(list []itn.NetworkPeer) (addresses []string) {
		for _, peer := range list {
			if node := n.byPeerID[peer.PeerID]; node != nil {
				addresses = append(addresses, node.address)
			} else if node := n.byHost[canonicalHost(peer.Host)]; node != nil {
				addresses = append(addresses, node.address)
			} else {
				fact.Unknown++
			}
		}
		return addresses
	}
	fact.Trusted, fact.Banned, fact.Added = named(update.TrustedPeers), named(update.BannedPeers), named(update.AddedPeers)
	n.record(d.node, fact)
}
