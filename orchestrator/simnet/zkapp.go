package simnet

import (
	"fmt"
	"time"

	"provingground/internal/mina"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/itn/itnserver"
)

// zkappStock is how many key pairs a daemon makes beyond those of the accounts that the request asks for (itn-graphql, section 4.2). It makes
// the smallest number that can be asked for a negative one.
const zkappStock = 20

// defaultAccountUpdates stands for maxAccountUpdates when the request leaves it out.
const defaultAccountUpdates = 2

// olderMaxCostFee is what an older daemon pays for a command of maximum cost.
const olderMaxCostFee mina.Nanomina = 1_000_000_000

// zkappLoad is what a schedule of zkApp commands does: it deploys, waits until all it deployed is in the ledger, and then sends.
type zkappLoad struct {
	*schedule
	details itn.ZkappCommandsDetails
	deploy  []accountID // the zkApps whose deployment was tried so far
	stock   []accountID // accounts that commands create
	created int         // how many of them were
	free    []accountID // zkApps that the next command may use, the longest unused first
	recent  []accountID // zkApps that were used recently, oldest first
	loading bool        // deployment is over
}

// scheduleZkapps begins a load of zkApp commands. Once the handle is registered it stays so, whatever the checks find.
func (n *Network) scheduleZkapps(d *daemon, details itn.ZkappCommandsDetails, handle *string) (string, error) {
	if handle != nil && d.schedules[*handle] != nil {
		return *handle, nil // it runs already
	}
	s := n.newSchedule(d, handle, details.MemoPrefix, details.TPS, details.DurationMin)
	s.ended = true // until it has passed the checks
	if d.node.tip == nil {
		return "", itnserver.NoBestTip
	}
	if details.NumZkappsToDeploy < 0 || details.NumNewAccounts < -zkappStock {
		return "", itnserver.ErrRaise
	}
	given := make(map[accountID]bool)
	twice := false
	for _, key := range details.FeePayers {
		id, err := n.accountOf(key)
		if err != nil {
			return "", err
		}
		a := d.node.tip.ledger.get(id)
		if !a.exists {
			return "", itnserver.FeePayerNotInLedger
		}
		twice = twice || given[id]
		given[id] = true
		s.senders = append(s.senders, sender{account: id, nonce: a.nonce})
	}
	if twice {
		return "", itnserver.ErrRaise
	}
	load := &zkappLoad{schedule: s, details: details}
	s.ended = false
	s.step = load.step
	n.recordAccepted(s, opScheduleZkappCommands, details.TPS)
	n.ticks(s, n.now.Add(s.interval))
	return s.handle, nil
}

// step deploys, looks whether everything is deployed, or sends.
func (l *zkappLoad) step(at time.Time) (next time.Time, alive bool) {
	switch {
	case l.index < l.details.NumZkappsToDeploy:
		return at.Add(l.interval), l.deployNext()
	case !l.loading:
		if l.loading = l.deployed(); !l.loading {
			return at.Add(l.poll()), true
		}
		l.free = append(l.free, l.deploy...)
		return at.Add(l.interval), true
	default:
		return at.Add(l.interval), l.sendNext()
	}
}

// poll is how long the daemon waits between two looks at the ledger.
func (l *zkappLoad) poll() time.Duration {
	slot := l.daemon.node.net.opts.Slot
	if l.daemon.node.older {
		return slot
	}
	return slot / 3
}

// deployNext sends the next deployment. One that the pool does not take is tried again at the next tick.
func (l *zkappLoad) deployNext() (alive bool) {
	if l.index == len(l.deploy) {
		l.deploy = append(l.deploy, l.daemon.node.net.newAccount())
	}
	target := l.deploy[l.index]
	sent, died := l.submit("zkapp:2:0", l.memo(), mina.Nanomina(l.details.DeploymentFee), func(from accountID) []move {
		return []move{{from: from, to: target, amount: withCreationFee(mina.Nanomina(l.details.InitBalance))}}
	})
	if !sent && !died {
		l.index--
	}
	return !died
}

// deployed reports whether all zkApps are in the ledger of the node's best tip.
func (l *zkappLoad) deployed() bool {
	tip := l.daemon.node.tip
	for _, id := range l.deploy {
		if tip == nil || !tip.ledger.get(id).exists {
			return false
		}
	}
	return true
}

// sendNext sends one command: amounts go round among some of the zkApps, and while accounts are to be created it creates one.
func (l *zkappLoad) sendNext() (alive bool) {
	if len(l.free) == 0 {
		return false // the daemon finds no account to use, which ends the load
	}
	updates := defaultAccountUpdates
	if l.details.MaxAccountUpdates != nil {
		updates = max(*l.details.MaxAccountUpdates, 0)
	}
	used := l.free[:min(max(updates, 1), len(l.free))]
	moves := func(from accountID) []move {
		if len(used) == 1 {
			return []move{{from: from, to: used[0], amount: l.change()}}
		}
		round := make([]move, 0, len(used)+1)
		for i, id := range used {
			round = append(round, move{from: id, to: used[(i+1)%len(used)], amount: l.change()})
		}
		return round
	}
	creates := l.created < l.details.NumNewAccounts
	withNew := moves
	if creates {
		if l.created == len(l.stock) {
			l.stock = append(l.stock, l.daemon.node.net.newAccount())
		}
		withNew = func(from accountID) []move {
			balance := between(l.random, mina.Nanomina(l.details.MinNewZkappBalance), mina.Nanomina(l.details.MaxNewZkappBalance))
			return append(moves(from), move{from: from, to: l.stock[l.created], amount: withCreationFee(balance)})
		}
	}
	kind := fmt.Sprintf("zkapp:%d:%d", 2*updates+2, updates)
	if l.details.MaxCost {
		kind = "zkapp:6:5"
	}
	fee := between(l.random, mina.Nanomina(l.details.MinFee), mina.Nanomina(l.details.MaxFee))
	memo := l.memo()
	if l.details.MaxCost && l.daemon.node.older {
		fee, memo = olderMaxCostFee, "" // such a daemon takes neither from the request
	}
	sent, died := l.submit(kind, memo, fee, withNew)
	if !sent {
		return !died
	}
	if creates {
		l.created++
	}
	l.recent = append(l.recent, used...)
	l.free = l.free[len(used):]
	if rested := len(l.recent) - max(l.details.AccountQueueSize, 0); rested > 0 {
		l.free = append(l.free, l.recent[:rested]...)
		l.recent = append([]accountID(nil), l.recent[rested:]...)
	}
	return true
}

func (l *zkappLoad) change() mina.Nanomina {
	return between(l.random, mina.Nanomina(l.details.MinBalanceChange), mina.Nanomina(l.details.MaxBalanceChange))
}

// withCreationFee is what has to be sent for a new account to own balance.
func withCreationFee(balance mina.Nanomina) mina.Nanomina {
	if balance > unpayable-accountCreationFee {
		return unpayable
	}
	return balance + accountCreationFee
}

// newAccount makes a key pair of which only the account matters.
func (n *Network) newAccount() accountID {
	key := n.newKey()
	return n.accounts.id(key.PublicKey().String())
}

// newKey makes a key pair.
func (n *Network) newKey() mina.PrivateKey {
	key, err := mina.GeneratePrivateKey(n.uuids)
	if err != nil {
		n.fail(fmt.Errorf("making a key: %w", err))
	}
	return key
}
