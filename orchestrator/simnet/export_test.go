package simnet

import "provingground/internal/mina"

// Supply returns what all accounts own together on the chain of the best block.
func (n *Network) Supply() (owned mina.Nanomina) {
	n.do(func() { owned = n.best.ledger.total() })
	return owned
}

// GenesisSupply returns what all accounts owned at genesis.
func (n *Network) GenesisSupply() mina.Nanomina { return n.genesis.ledger.total() }

func (l ledger) total() (owned mina.Nanomina) {
	for id := range l.accounts.Len() {
		owned += l.accounts.Get(id).balance
	}
	return owned
}

// LinkedBlocks returns how many blocks a node's best tip keeps in memory.
func (n *Network) LinkedBlocks(address string) (linked int) {
	n.do(func() {
		for b := n.byAddress[address].tip; b != nil; b = b.parent {
			linked++
		}
	})
	return linked
}

// Tip returns the state hash of a node's best tip; it is empty when it has none.
func (n *Network) Tip(address string) (hash string) {
	n.do(func() {
		if tip := n.byAddress[address].tip; tip != nil {
			hash = tip.hash
		}
	})
	return hash
}
