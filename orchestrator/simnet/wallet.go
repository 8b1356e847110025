package simnet

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"provingground/internal/mina"
)

// Why a wallet operation failed. All of them mean that nothing was sent.
var (
	// ErrNodeDown says that the node takes no connections.
	ErrNodeDown = errors.New("connection refused")
	// ErrNoAccount says that an account is not in the ledger of the node's best tip.
	ErrNoAccount = errors.New("no such account")
	// ErrWrongPassword says that a wallet key could not be unlocked.
	ErrWrongPassword = errors.New("wrong password")
	// ErrLocked says that the sender's key was not unlocked in the node's wallet since the node started.
	ErrLocked = errors.New("the account is locked; unlock it first")
)

// onNode calls f with the daemon that a host (an IP address) names; the empty host names the network's first node. It fails with
// *UnknownNodeError or ErrNodeDown.
func (n *Network) onNode(host string, f func(*daemon) error) error {
	var err error
	n.do(func() {
		node := n.byHost[cmp.Or(canonicalHost(host), n.nodes[0].host)]
		switch {
		case node == nil:
			err = &UnknownNodeError{Host: host}
		case !node.listening():
			err = fmt.Errorf("node %s: %w", node.host, ErrNodeDown)
		default:
			if err = f(node.daemon); err != nil {
				err = fmt.Errorf("node %s: %w", node.host, err)
			}
		}
	})
	return err
}

// Balance returns an account's balance at a node's best tip, as `mina client get-balance` does. It fails with ErrNoAccount for an account
// that does not exist.
func (n *Network) Balance(_ context.Context, host string, key mina.PublicKey) (balance mina.Nanomina, err error) {
	err = n.onNode(host, func(d *daemon) error {
		a := account{}
		if d.node.tip != nil {
			a = d.node.tip.ledger.get(n.accounts.id(key.String()))
		}
		if !a.exists {
			return fmt.Errorf("%s: %w", key, ErrNoAccount)
		}
		balance = a.balance
		return nil
	})
	return balance, err
}

// Unlock unlocks a key in a node's wallet until the node restarts, as `mina accounts unlock` does. Every node's wallet holds the keys of
// Options.Accounts, locked with Options.WalletPassword. It fails with ErrNoAccount or ErrWrongPassword.
func (n *Network) Unlock(_ context.Context, host string, key mina.PublicKey, password string) error {
	return n.onNode(host, func(d *daemon) error {
		if _, held := n.opts.Accounts[key]; !held {
			return fmt.Errorf("%s: %w in the wallet", key, ErrNoAccount)
		}
		if password != n.opts.WalletPassword {
			return fmt.Errorf("%s: %w", key, ErrWrongPassword)
		}
		d.unlocked[n.accounts.id(key.String())] = true
		return nil
	})
}

// SendPayment sends a payment from a key that was unlocked in a node's wallet, as `mina client send-payment` does. It returns once the
// node's pool took it; inclusion is another matter.
func (n *Network) SendPayment(
	_ context.Context, host string, sender, receiver mina.PublicKey, amount, fee mina.Nanomina, memo string,
) error {
	return n.onNode(host, func(d *daemon) error {
		from, to := n.accounts.id(sender.String()), n.accounts.id(receiver.String())
		if !d.unlocked[from] {
			return fmt.Errorf("%s: %w", sender, ErrLocked)
		}
		if len(memo) > maxMemo {
			return fmt.Errorf("the memo has %d bytes, at most %d fit", len(memo), maxMemo)
		}
		if rejected := d.submit(n.newCommand(d.node, command{
			kind: "payment", sender: from, nonce: d.inferredNonce(from), fee: fee, memo: memo, moves: []move{{from: from, to: to, amount: amount}},
		})); rejected != "" {
			return errors.New("the pool did not take the payment: " + rejected)
		}
		return nil
	})
}

// FundAccounts shares an amount among new accounts, as `mina advanced itn-create-accounts` does (itn-graphql, section 5): eight accounts per
// command, ten commands per batch, and each receives its share less the creation fee. It returns when all accounts exist. When ctx ends the
// batches under way are not called back, but no further one is sent. An error of type *FundingRefusedError means that nothing was sent.
func (n *Network) FundAccounts(ctx context.Context, host string, payer mina.PublicKey, keys []mina.PublicKey, amount, fee mina.Nanomina) error {
	var job *fundingJob
	err := n.onNode(host, func(d *daemon) error {
		from := n.accounts.id(payer.String())
		if refusal := n.fundingRefusal(d, from, len(keys), amount, fee); refusal != "" {
			return &FundingRefusedError{Reason: refusal}
		}
		accounts := make([]accountID, 0, len(keys))
		for _, key := range keys {
			accounts = append(accounts, n.accounts.id(key.String()))
		}
		job = n.fund(d, n.newUUID(), opItnCreate, from, accounts, amount, fee)
		return nil
	})
	for err == nil {
		if err = n.clock.Sleep(ctx, fundingPoll); err != nil {
			err = fmt.Errorf("waiting for the new accounts: %w", err)
			n.do(func() { job.stop = true })
			break
		}
		var done bool
		n.do(func() {
			done = job.ended
			if done && job.reason != EndDone {
				err = fmt.Errorf("node %s: funding %s %s", job.daemon.node.host, job.reason, job.detail)
			}
		})
		if done {
			break
		}
	}
	return err
}

// FundingRefusedError says that a funding order was refused before anything was sent.
type FundingRefusedError struct{ Reason string }

// Error gives the reason.
func (e *FundingRefusedError) Error() string { return e.Reason }

// NewKeys makes keys from the network's seed, for a rehearsal that keeps its key files in memory.
func (n *Network) NewKeys(count int) []mina.PrivateKey {
	keys := make([]mina.PrivateKey, count)
	n.do(func() {
		for i := range keys {
			keys[i] = n.newKey()
		}
	})
	return keys
}
