package simnet

import (
	"slices"
	"strconv"
	"time"

	"provingground/orchestrator/itn"
)

// This file is a simple model of SNARK work: what blocks need, who has it proven, and whose pools hold the proofs. It is looked at and
// traced, and changes nothing of what blocks hold (docs/simnet.md).

// snarkFee is what coordinators ask for each work, as traces spell it.
const snarkFee = "0.01"

// Reasons for which a SNARK pool does not take a proof.
const (
	rejectFeeEqual   = "fee_equal"
	rejectNotPending = "not_pending"
)

// workMissing is why a block could take no more proofs.
const workMissing = "Snark work for statement not found"

// work is SNARK work that a chain needs: the proofs of one or two jobs.
type work struct {
	ids    []int
	jobs   []job
	height int     // of the block that made it
	needed nodeSet // nodes whose best tip needs it
	proven nodeSet // those of them whose pools hold the proof
}

// job is one proof of a work: of one of a block's transactions, or of a merge of two others.
type job struct {
	command *command // nil for what is no user command
	kind    string   // fee_transfer, coinbase or merge
}

// proof is what a coordinator had proven and gossips.
type proof struct {
	*work
	prover *node
}

// summary is a job as traces spell it (internal-trace, section 2.3).
func (j job) summary(seed uint64) []string {
	switch {
	case j.command != nil:
		return []string{j.command.kind, j.command.signature(seed), j.command.memo}
	case j.kind == "coinbase":
		return []string{j.kind, strconv.FormatUint(uint64(coinbase/nanominaPerMina), 10)}
	default:
		return []string{j.kind}
	}
}

// buyWork settles which SNARK work a new block needs and which it holds. It should hold the proofs of what the chain needed before its
// parent, in order, up to the first one that the producer does not have.
func (n *Network) buyWork(b *block) {
	pending := b.parent.pending
	for b.dueWork < len(pending) && pending[b.dueWork].height < b.parent.height {
		b.dueWork++
	}
	bought := 0
	for bought < b.dueWork && pending[bought].proven.has(b.producer) {
		bought++
	}
	if bought < b.dueWork {
		b.missing = pending[bought]
	}
	b.bought = pending[:bought:bought]
	// A chain that nobody proves anything for needs no more than four full blocks' work.
	room := max(4*n.opts.BlockCapacity-(len(pending)-bought), 0)
	b.works = n.makeWorks(b, room)
	b.pending = slices.Concat(pending[bought:], b.works)
}

// makeWorks makes the work of a block's transactions, at most so many: a job for each transaction, and one for each merge of a tree of
// them; two jobs are a work.
func (n *Network) makeWorks(b *block, most int) []*work {
	jobs := make([]job, 0, 2*len(b.commands)+3)
	for _, c := range b.commands {
		jobs = append(jobs, job{command: c.command})
	}
	if b.fees > 0 {
		jobs = append(jobs, job{kind: "fee_transfer"})
	}
	jobs = append(jobs, job{kind: "coinbase"})
	for range len(jobs) - 1 {
		jobs = append(jobs, job{kind: "merge"})
	}
	works := make([]*work, 0, min(len(jobs)/2+1, most))
	for pair := range slices.Chunk(jobs, 2) {
		if len(works) == most {
			break
		}
		w := &work{jobs: pair, height: b.height}
		for range pair {
			w.ids = append(w.ids, n.newJobID())
		}
		works = append(works, w)
	}
	return works
}

// newJobID returns a number of 30 bits that looks like a hash, and is not drawn again before a billion others were.
func (n *Network) newJobID() int {
	const bits = 1<<30 - 1
	n.jobs++
	return int((n.jobs*0x2545F491 + mix(n.opts.Seed, purposeWork)) & bits)
}

// workChange is what the change of a best tip makes of the SNARK work that a node knows.
type workChange struct {
	from, to       *block
	removed, added []*work
}

// changeOfWork works a change out, or remembers it: most nodes change over from the same block to the same block.
func (n *Network) changeOfWork(from, to *block) workChange {
	if n.workChange.to == to && n.workChange.from == from {
		return n.workChange
	}
	var before []*work
	if from != nil {
		before = from.pending
	}
	change := workChange{from: from, to: to, removed: without(before, to.pending), added: without(to.pending, before)}
	n.workChange = change
	return change
}

// without returns the works of one list that another one lacks.
func without(list, other []*work) []*work {
	in := make(map[*work]bool, len(other))
	for _, w := range other {
		in[w] = true
	}
	var rest []*work
	for _, w := range list {
		if !in[w] {
			rest = append(rest, w)
		}
	}
	return rest
}

// listWork fits what the daemon knows of SNARK work to its new best tip, and has proven what is new. from is nil where nothing was known.
func (d *daemon) listWork(from, to *block) {
	n, node := d.node.net, d.node
	change := n.changeOfWork(from, to)
	forgetWork(node, change.removed)
	for _, w := range change.added {
		w.needed.add(node)
	}
	d.traceWork(logWorkRemoved, change.removed)
	d.traceWork(logWorkAdded, change.added)
	if !node.proves {
		return
	}
	if d.outside != nil {
		d.offerWork(to)
		return
	}
	d.waiting = slices.DeleteFunc(append(d.waiting, change.added...), func(w *work) bool { return !w.needed.has(node) })
	d.beginProofs()
}

// beginProofs lets as many model provers as there are begin with the works that wait, the oldest first.
func (d *daemon) beginProofs() {
	n, node := d.node.net, d.node
	if node.daemon != d {
		return // it has ended
	}
	var begun []*work
	for len(d.waiting) > 0 && (n.provers < 0 || d.proving < n.provers) {
		w := d.waiting[0]
		if d.waiting = d.waiting[1:]; w.proven.has(node) {
			continue // by another coordinator, while it waited
		}
		begun = append(begun, w)
		d.proving++
		spread := n.opts.ProofTime / 4
		takes := n.opts.ProofTime - spread + time.Duration(mix(n.opts.Seed, purposeWork, uint64(node.index), uint64(w.ids[0]))%uint64(2*spread+1))
		n.plan(n.now.Add(takes), func() {
			d.proving--
			d.prove(w)
			d.beginProofs()
		})
	}
	d.traceWork(logWorkScheduled, begun)
}

// AllProvers is the number of provers with which nothing waits for one.
const AllProvers = -1

// SetProvers says how many works each coordinator's model has proven at once from now on: 0 pauses it, [AllProvers], with which a network
// begins, is any number. Proofs that have begun are finished. A coordinator whose work is proven outside gives none out while paused, and takes
// no other notice: the provers are not its own. Restarts change nothing of it.
func (n *Network) SetProvers(count int) {
	n.do(func() {
		n.provers = max(count, AllProvers)
		n.record(nil, ProversSet{Count: n.provers})
		for _, node := range n.nodes {
			if node.daemon != nil {
				node.daemon.beginProofs()
			}
		}
	})
}

// traceWork logs what becomes of works. Older daemons do not.
func (d *daemon) traceWork(kind logKind, works []*work) {
	if len(works) == 0 {
		return
	}
	e := logEvent{kind: kind, at: d.node.net.now, works: works}
	if !d.node.older {
		d.trace(e)
	} else if d.node.net.opts.JournalNodes {
		d.node.net.recordTraced(d, e)
	}
}

// forgetWork takes works, and their proofs, from a node's pool.
func forgetWork(node *node, works []*work) {
	for _, w := range works {
		w.needed.remove(node)
		w.proven.remove(node)
	}
}

// prove is the end of a work's proof by a model prover.
func (d *daemon) prove(w *work) {
	if d.node.daemon != d || !w.needed.has(d.node) || w.proven.has(d.node) {
		return // it has ended, nobody needs the proof any more, or another coordinator was faster
	}
	d.share(w)
}

// share lets a coordinator take the proof of a work that it needs, and gossip it. One of eight is gossiped once more a slot later, as long as
// it is needed.
func (d *daemon) share(w *work) {
	n, node := d.node.net, d.node
	made := &proof{work: w, prover: node}
	d.takeProof(made, nil)
	share := func() { n.gossip(node, func(to *daemon) { to.takeProof(made, node) }) }
	share()
	if w.ids[0]%8 == 0 {
		n.plan(n.now.Add(n.opts.Slot), func() {
			if node.daemon == d && w.proven.has(node) {
				share()
			}
		})
	}
}

// takeProof is the arrival of a proof at a pool, sent by a peer; by nobody where it was made here.
func (d *daemon) takeProof(p *proof, sender *node) {
	reason := ""
	switch {
	case !p.needed.has(d.node):
		reason = rejectNotPending
	case p.proven.has(d.node):
		reason = rejectFeeEqual
	default:
		p.proven.add(d.node)
	}
	d.trace(logEvent{kind: logWorkReceived, at: d.node.net.now, proof: p, sender: sender, reason: reason})
}

// exchangeProofs brings proofs for the best chain to those of its nodes that lack them.
func (n *Network) exchangeProofs(members []*node, best *block) {
	if best == nil {
		return
	}
	for _, w := range best.pending {
		has := slices.IndexFunc(members, w.proven.has)
		if has < 0 {
			continue
		}
		known := &proof{work: w, prover: members[has]}
		for _, to := range members {
			if w.needed.has(to) && !w.proven.has(to) {
				to.daemon.takeProof(known, members[has])
			}
		}
	}
}

// proofs is how many proofs works consist of.
func proofs(works []*work) (count int) {
	for _, w := range works {
		count += len(w.ids)
	}
	return count
}

// merges is how many of works' jobs are merges.
func merges(works []*work) (count int) {
	for _, w := range works {
		for _, j := range w.jobs {
			if j.kind == "merge" {
				count++
			}
		}
	}
	return count
}

func buysWork(t traced) bool { return len(t.bought) > 0 }

// interruption says that a block could take no more proofs.
func interruption(t traced) []itn.LogMetadatum {
	return []itn.LogMetadatum{datum("block_metadata", map[string]any{
		"interrupt_get_completed_work_at": proofs(t.bought), "interrupt_get_completed_work_reason": workMissing,
		"interrupt_get_completed_work_ids": t.missing.ids,
	})}
}

// workEntries spells out what became of works.
func workEntries(n *Network, e logEvent) []itn.Log {
	names := map[logKind]string{logWorkRemoved: "Snark_work_removed", logWorkAdded: "Snark_work_added", logWorkScheduled: "Snark_work_scheduled"}
	logs := make([]itn.Log, 0, 2*len(e.works))
	for _, w := range e.works {
		txs := make([][]string, 0, len(w.jobs))
		for _, j := range w.jobs {
			txs = append(txs, j.summary(n.opts.Seed))
		}
		logs = append(logs, checkpoint(e.at, names[e.kind]), control(e.at, datum("metadata", map[string]any{"work_ids": w.ids, "txs": txs})))
	}
	return logs
}

// proofSteps is the arrival of a proof at the SNARK pool, and what the pool makes of it.
func proofSteps() []traceStep {
	rejected := func(t traced) bool { return t.event.reason != "" }
	accepted := func(t traced) bool { return t.event.reason == "" }
	fields := func(t traced) map[string]any {
		fields := map[string]any{
			"work_ids": t.event.proof.ids, "fee": snarkFee, "prover": t.net.accounts.text(t.event.proof.prover.account),
		}
		if t.event.sender != nil {
			fields["sender"] = t.event.sender.host
		}
		return fields
	}
	return []traceStep{
		{name: "Snark_work_received", took: 1400 * time.Microsecond}, about(fields),
		{name: "Verify_transaction_snarks", took: 366 * time.Millisecond, when: accepted},
		conditional(accepted, about(func(t traced) map[string]any { return map[string]any{"count": len(t.event.proof.ids)} })),
		{process: processVerifier, group: verifierSteps("Verifier_verify_transaction_snarks"), when: accepted},
		{name: "Verify_transaction_snarks_done", took: 2100 * time.Microsecond, when: accepted},
		{name: "Snark_work_accepted", when: accepted}, conditional(accepted, about(fields)),
		{name: "Snark_work_rejected", when: rejected}, conditional(rejected, about(func(t traced) map[string]any {
			fields := fields(t)
			fields["reason"] = t.event.reason
			return fields
		})),
	}
}
