package simnet

import (
	"provingground/orchestrator/itn"
)

// recordSent journals a command that its node's pool took.
func (n *Network) recordSent(c *command) {
	fact := CommandSent{
		Memo: c.memo, Signature: c.signature(n.opts.Seed), Type: c.kind, Sender: n.accounts.text(c.sender), Nonce: c.nonce, Fee: uint64(c.fee),
		Handle: c.schedule,
	}
	if !c.zkapp() {
		fact.Receiver, fact.Amount = n.accounts.text(c.moves[0].to), uint64(c.moves[0].amount)
	}
	n.record(c.origin, fact)
}

// recordRejected journals a command that its node's pool did not take.
func (n *Network) recordRejected(c *command, reason string) {
	n.record(c.origin, CommandRejected{
		Memo: c.memo, Signature: c.signature(n.opts.Seed), Type: c.kind, Sender: n.accounts.text(c.sender), Nonce: c.nonce, Handle: c.schedule,
		Reason: reason,
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
			Memo: c.memo, Signature: c.signature(n.opts.Seed), Type: c.kind, Sender: n.accounts.text(c.sender), Nonce: c.nonce, Fee: uint64(c.fee),
			Failure: c.failure,
		})
	}
	for _, id := range b.created {
		fact.Created = append(fact.Created, n.accounts.text(id))
	}
	for _, w := range b.works {
		listed := BlockWork{IDs: w.ids}
		for _, j := range w.jobs {
			listed.Jobs = append(listed.Jobs, j.summary(n.opts.Seed))
		}
		fact.Works = append(fact.Works, listed)
	}
	fact.Bought = workIDs(b.bought)
	if b.missing != nil {
		fact.Interrupted = &WorkInterruption{At: proofs(b.bought), Reason: workMissing, IDs: b.missing.ids}
	}
	n.record(b.producer, fact)
}

func workIDs(works []*work) (ids [][]int) {
	for _, w := range works {
		ids = append(ids, w.ids)
	}
	return ids
}

// recordTraced journals what a daemon traces.
func (n *Network) recordTraced(d *daemon, e logEvent) {
	began := e.at.Add(-n.tracer.processing)
	var fact Fact
	switch e.kind {
	case logStarted:
		return // DaemonStarted says so
	case logReceived:
		fact = BlockTraced{Hash: e.block.hash, Source: TraceReceived, Began: began}
	case logFetched:
		fact = BlockTraced{Hash: e.block.hash, Source: TraceFetched, Began: began}
	case logProduced:
		fact = BlockTraced{Hash: e.block.hash, Source: TraceProduced, Began: e.block.made}
	case logRepeated:
		fact = BlockRepeated{Hash: e.block.hash}
	case logDiff:
		received := CommandReceived{
			Memo: e.command.memo, Signature: e.command.signature(n.opts.Seed), Type: e.command.kind, Reason: e.reason,
		}
		if e.command.origin != d.node {
			received.Sender = e.command.origin.host
		}
		fact = received
	case logWorkAdded:
		fact = WorkListed{Action: WorkAdded, Works: workIDs(e.works)}
	case logWorkRemoved:
		fact = WorkListed{Action: WorkRemoved, Works: workIDs(e.works)}
	case logWorkScheduled:
		fact = WorkListed{Action: WorkScheduled, Works: workIDs(e.works)}
	case logWorkReceived:
		received := WorkReceived{
			IDs: e.proof.ids, Prover: n.accounts.text(e.proof.prover.account), Arrived: n.tracer.workArrived(e), Reason: e.reason,
		}
		if e.sender != nil {
			received.Sender = e.sender.host
		}
		fact = received
	}
	n.record(d.node, fact)
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
