package simnet

import "provingground/internal/mina"

// Supply returns what all accounts own together on the chain of the best block.
func (n *Network) Supply() (owned mina.Nanomina) {
	n.do(func() { owned = n.best.ledger.total() })
	return owned
}

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

// Height returns the height of a node's best tip.
func (n *Network) Height(address string) (height int) {
	n.do(func() { height = n.byAddress[address].tip.height })
	return height
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

// ZkappBalances returns the balances of the accounts that were created first.
func (n *Network) ZkappBalances(count int) []mina.Nanomina {
	var balances []mina.Nanomina
	for _, created := range n.History() {
		if fact, ok := created.Fact.(AccountCreated); ok && len(balances) < count {
			n.do(func() { balances = append(balances, n.best.ledger.get(n.accounts.id(fact.PublicKey)).balance) })
		}
	}
	return balances
}

// AllFacts lists one value of each fact.
func AllFacts() []Fact { return allFacts() }
