package orchestrator

import (
	"math/big"
	"slices"
)

// This file divides load over nodes. It is arithmetic only: no clock, no network, no chance.

// share is what one node is asked to carry of a step's load: a rate and a run of the step's fee payers.
type share struct {
	rate     *big.Rat // transactions in a second
	from, to int      // indexes of the fee payers: from up to, not including, to
}

// nodesFor returns over how many nodes a load is spread: as many as get at least minRate each, but at least one, and no more than there
// are nodes or fee payers. A minRate of 0 sets no bound. It returns 0 only without nodes or without keys.
func nodesFor(rate, minRate *big.Rat, nodes, keys int) int {
	n := min(nodes, keys)
	if minRate.Sign() > 0 {
		quotient := new(big.Rat).Quo(rate, minRate)
		whole := new(big.Int).Quo(quotient.Num(), quotient.Denom())
		if whole.IsInt64() && whole.Int64() < int64(n) {
			n = min(n, max(1, int(whole.Int64())))
		}
	}
	return n
}

// divide splits a load into n shares whose rates and fee payers sum to the whole. The first shares get one key more than the others
// where the keys do not divide evenly. n is at least 1 and at most keys.
func divide(rate *big.Rat, keys, n int) []share {
	shares := make([]share, n)
	each := new(big.Rat).Quo(rate, big.NewRat(int64(n), 1))
	from := 0
	for i := range shares {
		to := from + keys/n
		if i < keys%n {
			to++
		}
		shares[i] = share{rate: each, from: from, to: to}
		from = to
	}
	return shares
}

// verdict is what became of the attempt to place a share on a node.
type verdict uint8

const (
	carried verdict = iota // the node runs it
	refused                // it certainly does not: the share and its keys are free again
	unknown                // nobody knows: the share's keys must not be used anywhere else
)

// attempt is one share offered to one node.
type attempt struct {
	share int
	node  string
}

// allotment decides which node is offered which share. Shares go to nodes not used yet; when there is none left, to nodes that carry one
// share, a second one; never a third one, and never again to a node that refused or did not answer.
type allotment struct {
	shares  []share
	open    []int    // shares that no node carries and that may be offered, in order
	unused  []string // nodes that were never offered anything, in order
	once    []string // nodes that carry one share, in order
	carries map[string]int
	lost    []int // shares of which nobody knows what became of them
	placed  []int
}

// newAllotment returns the allotment of the shares to the nodes, which are used in their order.
func newAllotment(shares []share, nodes []string) *allotment {
	a := &allotment{shares: shares, unused: slices.Clone(nodes), carries: map[string]int{}}
	for i := range shares {
		a.open = append(a.open, i)
	}
	return a
}

// wave returns the attempts to make next, all at the same time; none when every share is settled or no node is left. Each is to be
// settled before the next wave.
func (a *allotment) wave() []attempt {
	var attempts []attempt
	for len(a.open) > 0 {
		var node string
		switch {
		case len(a.unused) > 0:
			node = a.unused[0]
		case len(a.once) > 0:
			node = a.once[0]
		default:
			return attempts
		}
		attempts = append(attempts, attempt{share: a.open[0], node: node})
		a.take(a.open[0], node)
	}
	return attempts
}

// take removes a share and a node from what may be offered.
func (a *allotment) take(share int, node string) {
	isNode := func(n string) bool { return n == node }
	a.open = slices.DeleteFunc(a.open, func(i int) bool { return i == share })
	a.unused = slices.DeleteFunc(a.unused, isNode)
	a.once = slices.DeleteFunc(a.once, isNode)
}

// settle says what became of an attempt.
func (a *allotment) settle(at attempt, v verdict) {
	switch v {
	case carried:
		a.placed = append(a.placed, at.share)
		a.carries[at.node]++
		if a.carries[at.node] == 1 {
			a.once = append(a.once, at.node)
		}
	case refused:
		a.open = append(a.open, at.share)
		slices.Sort(a.open)
	case unknown:
		a.lost = append(a.lost, at.share)
	}
}

// replay takes over an attempt that an interrupted run made, and what became of it.
func (a *allotment) replay(at attempt, v verdict) {
	a.take(at.share, at.node)
	a.settle(at, v)
}

// rate returns the rate of the shares with these numbers together.
func (a *allotment) rate(numbers []int) *big.Rat {
	sum := new(big.Rat)
	for _, i := range numbers {
		sum.Add(sum, a.shares[i].rate)
	}
	return sum
}
