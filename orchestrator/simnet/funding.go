package simnet

import (
	"fmt"
	"time"

	"provingground/internal/mina"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/itn/itnserver"
)

// The rhythm of funding (itn-graphql, section 5).
const (
	accountsPerCommand = 8
	commandsPerBatch   = 10
	fundingPoll        = 10 * time.Second // network time
	fundingPatience    = 30 * time.Minute // network time, per batch
	opItnCreate        = "itn-create-accounts"
)

// maxCreated bounds one createAccounts, whose keys are all made before the answer.
const maxCreated = 10_000

// fundingJob gives new accounts their first balance, batch by batch.
type fundingJob struct {
	daemon   *daemon
	handle   string
	payer    accountID
	accounts []accountID
	share    mina.Nanomina // what is sent to each of them
	fee      mina.Nanomina
	funded   int       // accounts that commands were sent for
	patience time.Time // until then the batch must be in the ledger
	stop     bool

	ended  bool
	reason EndReason
	detail string

	created itn.CreatedAccounts // the answer of createAccounts, given again to whoever asks with the handle
}

// fundingRefusal checks a funding order as the daemon's command does and returns why it cannot be carried out, or an empty text.
func (n *Network) fundingRefusal(d *daemon, payer accountID, count int, amount, fee mina.Nanomina) string {
	if d.node.tip == nil {
		return string(itnserver.NoBestTip)
	}
	account := d.node.tip.ledger.get(payer)
	switch {
	case !account.exists:
		return "Fee payer account not found"
	case count < 1:
		return "Number of accounts must be positive"
	case fee < n.opts.MinFee:
		return fmt.Sprintf("Fee is less than the minimum %d nanomina", n.opts.MinFee)
	case amount/mina.Nanomina(count) < accountCreationFee:
		return "Amount per account is less than the account creation fee"
	}
	commands := mina.Nanomina((count + accountsPerCommand - 1) / accountsPerCommand)
	if amount > account.balance || fee > (account.balance-amount)/commands {
		return "Insufficient funds: amount and fees exceed the balance of the fee payer"
	}
	return ""
}

// fund begins a job whose order was checked.
func (n *Network) fund(d *daemon, handle, operation string, payer accountID, accounts []accountID, amount, fee mina.Nanomina) *fundingJob {
	job := &fundingJob{
		daemon: d, handle: handle, payer: payer, accounts: accounts, fee: fee,
		share: amount / mina.Nanomina(len(accounts)),
	}
	d.jobs[handle] = job
	n.record(d.node, FundingStarted{
		Handle: handle, Operation: operation, FeePayer: n.accounts.text(payer), NumAccounts: len(accounts), Amount: uint64(amount), Fee: uint64(fee),
	})
	n.plan(n.now, func() { n.fundBatch(job) })
	return job
}

// fundBatch sends the next commands of a job, with the nonces that follow those waiting in the pool.
func (n *Network) fundBatch(job *fundingJob) {
	d := job.daemon
	if job.ended {
		return
	}
	job.patience = n.now.Add(fundingPatience)
	for range commandsPerBatch {
		if job.funded == len(job.accounts) {
			break
		}
		batch := job.accounts[job.funded:min(job.funded+accountsPerCommand, len(job.accounts))]
		moves := make([]move, 0, len(batch))
		for _, id := range batch {
			moves = append(moves, move{from: job.payer, to: id, amount: job.share})
		}
		if rejected := d.submit(n.newCommand(d.node, command{
			kind: fmt.Sprintf("zkapp:%d:0", len(batch)+1), sender: job.payer, nonce: d.inferredNonce(job.payer), fee: job.fee, moves: moves,
			schedule: job.handle,
		})); rejected != "" {
			job.detail = "the pool did not take a funding command: " + rejected
			n.endFunding(job, EndFailed)
			return
		}
		job.funded += len(batch)
	}
	n.plan(n.now.Add(fundingPoll), func() { n.pollFunding(job) })
}

// pollFunding looks whether the accounts of all commands sent so far exist.
func (n *Network) pollFunding(job *fundingJob) {
	if job.ended {
		return
	}
	tip := job.daemon.node.tip
	for _, id := range job.accounts[:job.funded] {
		if tip != nil && tip.ledger.get(id).exists {
			continue
		}
		switch {
		case job.stop:
			n.endFunding(job, EndStopped)
		case !n.now.Before(job.patience):
			job.detail = "the accounts did not appear in the ledger within 30 minutes"
			n.endFunding(job, EndFailed)
		default:
			n.plan(n.now.Add(fundingPoll), func() { n.pollFunding(job) })
		}
		return
	}
	switch {
	case job.funded == len(job.accounts):
		n.endFunding(job, EndDone)
	case job.stop:
		n.endFunding(job, EndStopped)
	default:
		n.fundBatch(job)
	}
}

func (n *Network) endFunding(job *fundingJob, reason EndReason) {
	if job.ended {
		return
	}
	job.ended, job.reason = true, reason
	delete(job.daemon.jobs, job.handle)
	n.record(job.daemon.node, FundingEnded{Handle: job.handle, Reason: reason, Detail: job.detail})
}

// inferredNonce is the nonce of an account's next command, those waiting in the pool counted.
func (d *daemon) inferredNonce(id accountID) uint32 {
	if d.node.tip == nil {
		return 0
	}
	nonce := d.node.tip.ledger.get(id).nonce
	if q := d.pool.bySender[id]; q != nil {
		nonce += uint32(len(q.commands))
	}
	return nonce
}

// createAccounts answers the operation of that name (itn-graphql, section 4.8).
func (n *Network) createAccounts(d *daemon, details itn.CreateAccountsDetails, handle *string) (itn.CreatedAccounts, error) {
	if handle != nil {
		if job := d.jobs[*handle]; job != nil {
			return job.created, nil
		}
	}
	payer, err := n.accountOf(details.FeePayer)
	if err != nil {
		return itn.CreatedAccounts{}, err
	}
	if details.NumAccounts > maxCreated {
		return itn.CreatedAccounts{}, itnserver.Refusal(fmt.Sprintf("Number of accounts must be at most %d", maxCreated))
	}
	amount, fee := mina.Nanomina(details.Amount), mina.Nanomina(details.Fee)
	if refusal := n.fundingRefusal(d, payer, details.NumAccounts, amount, fee); refusal != "" {
		return itn.CreatedAccounts{}, itnserver.Refusal(refusal)
	}
	var created itn.CreatedAccounts
	if handle != nil {
		created.Handle = *handle
	} else {
		created.Handle = n.newUUID()
	}
	accounts := make([]accountID, 0, details.NumAccounts)
	for range details.NumAccounts {
		key := n.newKey()
		public := key.PublicKey().String()
		accounts = append(accounts, n.accounts.id(public))
		created.Accounts = append(created.Accounts, itn.Account{PublicKey: public, PrivateKey: itn.NewPrivateKey(key.Base58())})
	}
	n.fund(d, created.Handle, opCreateAccounts, payer, accounts, amount, fee).created = created
	return created, nil
}
