package simnet

import (
	"cmp"
	"container/heap"
	"slices"

	"provingground/internal/mina"
)

// Reasons for which a pool does not take a command, in the daemon's spelling of its pool errors.
const (
	rejectDuplicate     = "Duplicate"
	rejectUnknownSender = "Fee_payer_account_not_found"
	rejectFee           = "Insufficient_fee"
	rejectNonce         = "Invalid_nonce"
	rejectFunds         = "Insufficient_funds"
	rejectFull          = "Overloaded"
)

// pool is one node's pool of commands that wait for a block. For each sender it holds a run of commands whose nonces follow each other
// from the account's nonce at the node's best tip, and which its balance covers together.
type pool struct {
	bySender map[accountID]*senderQueue
	size     int
	limit    int
	minFee   mina.Nanomina
}

type senderQueue struct {
	commands []*command
	reserved mina.Nanomina // the commands' cost in all
}

func newPool(limit int, minFee mina.Nanomina) *pool {
	return &pool{bySender: make(map[accountID]*senderQueue), limit: limit, minFee: minFee}
}

// add takes a command, judged by the sender's account at the node's best tip, or returns the reason why not.
func (p *pool) add(c *command, sender account) (rejected string) {
	q := p.bySender[c.sender]
	switch {
	case !sender.exists:
		return rejectUnknownSender
	case c.fee < p.minFee:
		return rejectFee
	case q != nil && c.nonce >= sender.nonce && int(c.nonce-sender.nonce) < len(q.commands) && q.commands[c.nonce-sender.nonce] == c:
		return rejectDuplicate
	}
	next, reserved := sender.nonce, mina.Nanomina(0)
	if q != nil {
		next, reserved = next+uint32(len(q.commands)), q.reserved
	}
	switch {
	case c.nonce != next:
		return rejectNonce
	case c.cost > sender.balance || sender.balance-c.cost < reserved:
		return rejectFunds
	case p.size >= p.limit:
		return rejectFull
	}
	if q == nil {
		q = &senderQueue{}
		p.bySender[c.sender] = q
	}
	q.commands = append(q.commands, c)
	q.reserved += c.cost
	p.size++
	return ""
}

// renew fits one sender's commands, and others that a lost block gave back, to the account's new state. It returns those of the commands
// submitted to the node own that wait here no longer: because their nonce was used up, by themselves or by another command, or because
// they do not fit.
func (p *pool) renew(id accountID, sender account, back []*command, own *node) (gone []*command) {
	q := p.bySender[id]
	if q == nil && len(back) == 0 {
		return nil
	}
	var commands []*command
	if q != nil {
		commands = q.commands
		p.size -= len(commands)
		delete(p.bySender, id)
	}
	if len(back) > 0 {
		commands = append(slices.Clone(commands), back...)
		slices.SortFunc(commands, func(a, b *command) int {
			return cmp.Or(cmp.Compare(a.nonce, b.nonce), cmp.Compare(a.serial, b.serial))
		})
	}
	fitting := &senderQueue{commands: make([]*command, 0, len(commands))}
	for _, c := range commands {
		next := sender.nonce + uint32(len(fitting.commands))
		if c.nonce == next && sender.exists && c.cost <= sender.balance && sender.balance-c.cost >= fitting.reserved && p.size < p.limit {
			fitting.commands = append(fitting.commands, c)
			fitting.reserved += c.cost
			p.size++
		} else if c.origin == own {
			gone = append(gone, c)
		}
	}
	if len(fitting.commands) > 0 {
		p.bySender[id] = fitting
	}
	return gone
}

// of returns the waiting commands that were submitted to the node, in the order of their making.
func (p *pool) of(origin *node) []*command {
	var own []*command
	for _, q := range p.bySender {
		for _, c := range q.commands {
			if c.origin == origin {
				own = append(own, c)
			}
		}
	}
	slices.SortFunc(own, func(a, b *command) int { return cmp.Compare(a.serial, b.serial) })
	return own
}

// fill puts the waiting commands into a block in the making, best fee first, at most capacity of them and at most zkappLimit (if not nil)
// zkApp commands.
func (p *pool) fill(d *draft, capacity int, zkappLimit *int) []included {
	heads := make(headHeap, 0, len(p.bySender))
	for _, q := range p.bySender {
		heads = append(heads, q.commands)
	}
	heap.Init(&heads)
	var taken []included
	zkapps := 0
	for len(taken) < capacity && len(heads) > 0 {
		c := heads[0][0]
		usable := !c.zkapp() || zkappLimit == nil || zkapps < *zkappLimit
		if usable {
			var failure string
			if failure, usable = d.apply(c); usable {
				taken = append(taken, included{command: c, failure: failure})
			}
		}
		// What follows in a sender's queue cannot go in before what was left out.
		if rest := heads[0][1:]; usable && len(rest) > 0 {
			heads[0] = rest
			heap.Fix(&heads, 0)
		} else {
			heap.Pop(&heads)
		}
		if usable && c.zkapp() {
			zkapps++
		}
	}
	return taken
}

// headHeap orders senders' queues by the fee of their first command, then by the order of making.
type headHeap [][]*command

func (h headHeap) Len() int { return len(h) }

func (h headHeap) Less(i, j int) bool {
	a, b := h[i][0], h[j][0]
	if a.fee != b.fee {
		return a.fee > b.fee
	}
	return a.serial < b.serial
}

func (h headHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *headHeap) Push(any) {} // queues are only taken away

func (h *headHeap) Pop() any {
	*h = (*h)[:len(*h)-1]
	return nil
}
