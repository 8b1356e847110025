package simnet

import (
	"maps"
	"slices"

	"github.com/benbjohnson/immutable"

	"provingground/internal/mina"
)

// Amounts of the protocol, in nanomina.
const (
	nanominaPerMina    mina.Nanomina = 1_000_000_000
	accountCreationFee mina.Nanomina = 1_000_000_000
	coinbase           mina.Nanomina = 720_000_000_000
)

// accountID is the place of an account in every ledger of the network.
type accountID uint32

// accountNames gives each public key that the network has met its place. It is never shortened: an account that a lost block had
// created keeps its place, unused.
type accountNames struct {
	ids   map[string]accountID
	texts []string
}

func (a *accountNames) id(publicKey string) accountID {
	id, ok := a.ids[publicKey]
	if !ok {
		if a.ids == nil {
			a.ids = make(map[string]accountID)
		}
		id = accountID(len(a.texts))
		a.ids[publicKey] = id
		a.texts = append(a.texts, publicKey)
	}
	return id
}

func (a *accountNames) text(id accountID) string { return a.texts[id] }

// account is one account's state.
type account struct {
	balance mina.Nanomina
	nonce   uint32
	exists  bool
}

// ledger is the state of all accounts after one block. It never changes: a block makes a new one that shares what stayed the same, so
// forks are cheap.
type ledger struct {
	accounts *immutable.List[account]
}

func (l ledger) get(id accountID) account {
	if int(id) >= l.accounts.Len() {
		return account{}
	}
	return l.accounts.Get(int(id))
}

// draft is a ledger in the making.
type draft struct {
	base    ledger
	changed map[accountID]account
	created []accountID
}

func newDraft(base ledger) *draft { return &draft{base: base, changed: make(map[accountID]account)} }

func (d *draft) get(id accountID) account {
	if a, ok := d.changed[id]; ok {
		return a
	}
	return d.base.get(id)
}

// apply applies one command. applicable is false when no block may hold the command (unknown fee payer, wrong nonce, fee not covered);
// then nothing changes. A failure that is not empty says why the command's moves were undone; fee and nonce are taken all the same.
func (d *draft) apply(c *command) (failure string, applicable bool) {
	payer := d.get(c.sender)
	if !payer.exists || payer.nonce != c.nonce || payer.balance < c.fee {
		return "", false
	}
	payer.balance -= c.fee
	payer.nonce++
	d.changed[c.sender] = payer

	moved := make(map[accountID]account, len(c.moves)+1)
	get := func(id accountID) account {
		if a, ok := moved[id]; ok {
			return a
		}
		return d.get(id)
	}
	var created []accountID
	for _, m := range c.moves {
		from := get(m.from)
		if !from.exists || from.balance < m.amount {
			return "Source_insufficient_balance", true
		}
		from.balance -= m.amount
		moved[m.from] = from
		to, arrives := get(m.to), m.amount
		if !to.exists {
			if arrives < accountCreationFee {
				return "Amount_insufficient_to_create_account", true
			}
			arrives -= accountCreationFee
			to.exists = true
			created = append(created, m.to)
		}
		to.balance += arrives // cannot overflow: the total supply is bounded (Options.validate)
		moved[m.to] = to
	}
	maps.Copy(d.changed, moved)
	d.created = append(d.created, created...)
	return "", true
}

// credit adds an amount to an existing account.
func (d *draft) credit(id accountID, amount mina.Nanomina) {
	a := d.get(id)
	a.balance += amount
	d.changed[id] = a
}

// seal returns the ledger, and the accounts that differ from the base in ascending order.
func (d *draft) seal() (ledger, []accountID) {
	touched := make([]accountID, 0, len(d.changed))
	for id := range d.changed {
		touched = append(touched, id)
	}
	slices.Sort(touched)
	accounts := d.base.accounts
	for _, id := range touched {
		for accounts.Len() <= int(id) {
			accounts = accounts.Append(account{})
		}
		accounts = accounts.Set(int(id), d.changed[id])
	}
	return ledger{accounts}, touched
}
