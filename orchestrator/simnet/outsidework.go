package simnet

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"provingground/internal/redact"
	"provingground/snarkpool/coordinator"
)

// This file is SNARK work that a coordinator has proven outside of the simulation (Options.Coordinator): what it gives to whom, and what it
// takes of what comes back. Time passes for it as for everything: a worker's time runs in network time.

// outsideWork is what such a coordinator knows of its work. It ends with its daemon.
type outsideWork struct {
	offers   []*offer // all that the node's best tip needs, the oldest first
	accepted acceptances
	sums     coordinator.Status // only what happened since the daemon's start
}

// offer is work that is given to workers outside, one at a time.
type offer struct {
	*work
	id, statement string
	worker        string    // who had it last; empty when it is free
	until         time.Time // network time at which that worker's time has run out
}

// out reports whether a worker has the work, and time for it.
func (o *offer) out(now time.Time) bool { return o.worker != "" && now.Before(o.until) }

// acceptance is a proof that was accepted.
type acceptance struct {
	worker string
	proof  [sha256.Size]byte
}

// acceptances remember the latest accepted proofs: who delivered which. The zero value is empty.
type acceptances struct {
	byID   map[string]acceptance
	latest []string // the keys of byID, the oldest first
}

// rememberedProofs is how many accepted proofs a coordinator remembers. Work comes back, and deliveries are repeated, much sooner than so
// many others were proven.
const rememberedProofs = 4096

func (a *acceptances) add(id string, proof acceptance) {
	if a.byID == nil {
		a.byID = make(map[string]acceptance)
	}
	if len(a.latest) == rememberedProofs {
		delete(a.byID, a.latest[0])
		a.latest = slices.Delete(a.latest, 0, 1)
	}
	a.byID[id] = proof
	a.latest = append(a.latest, id)
}

// statement returns what is to be proven of a work, as lower-case hex: a SHA-256 over what the network and the work are known by, so that no
// two works of any two networks share one.
func (n *Network) statement(w *work) string {
	h := sha256.New()
	number := func(v uint64) {
		var in [8]byte
		binary.LittleEndian.PutUint64(in[:], v)
		_, _ = h.Write(in[:]) // a hash takes everything
	}
	number(n.opts.Seed)
	number(uint64(n.opts.Genesis.UnixNano()))
	for i, id := range w.ids {
		number(uint64(id))
		for _, part := range w.jobs[i].summary(n.opts.Seed) {
			number(uint64(len(part)))
			_, _ = h.Write([]byte(part)) // a hash takes everything
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// workIDLength is how much of a work's statement is its ID outside.
const workIDLength = 32

// shapely reports whether a proof could be one of some work: it is not empty, not too long, and its statement fits its ID.
func shapely(p coordinator.Proof) bool {
	bytes, err := hex.DecodeString(p.Statement)
	return err == nil && len(bytes) == sha256.Size && strings.ToLower(p.Statement) == p.Statement && p.Statement[:workIDLength] == p.ID &&
		len(p.Proof) > 0 && len(p.Proof) <= coordinator.MaxProof
}

// kindOutside is what workers outside are told of what a job proves.
func (j job) kindOutside() coordinator.Kind {
	switch {
	case j.command == nil:
		return coordinator.Kind(j.kind)
	case j.command.zkapp():
		return coordinator.Zkapp
	default:
		return coordinator.Payment
	}
}

// offerWork fits what the coordinator offers to its node's best tip. Work that comes back with a change of chain, and was proven before, is
// not given out again: its proof is gossiped anew.
func (d *daemon) offerWork(tip *block) {
	n, outside := d.node.net, d.outside
	known := make(map[*work]*offer, len(outside.offers))
	for _, o := range outside.offers {
		known[o.work] = o
	}
	outside.offers = make([]*offer, 0, len(tip.pending))
	for _, w := range tip.pending {
		o := known[w]
		if o == nil {
			statement := n.statement(w)
			o = &offer{work: w, id: statement[:workIDLength], statement: statement}
		}
		outside.offers = append(outside.offers, o)
	}
	for _, o := range outside.offers {
		if _, proven := outside.accepted.byID[o.id]; proven && !o.proven.has(d.node) {
			d.share(o.work)
		}
	}
}

// find returns what is offered under an ID; nil when nothing is.
func (s *outsideWork) find(id string) *offer {
	if at := slices.IndexFunc(s.offers, func(o *offer) bool { return o.id == id }); at >= 0 {
		return s.offers[at]
	}
	return nil
}

// give gives a worker at most so much work, the oldest first, that nobody has or has time for any more.
func (d *daemon) give(worker string, most int) []coordinator.Work {
	n, outside := d.node.net, d.outside
	given := []coordinator.Work{}
	var scheduled []*work
	for _, o := range outside.offers {
		if len(given) == most || n.provers == 0 {
			break
		}
		if o.proven.has(d.node) || o.out(n.now) {
			continue
		}
		fact := WorkGiven{ID: o.id, IDs: o.ids, Worker: redact.Text(worker), Until: n.now.Add(n.opts.ReassignmentWait), From: redact.Text(o.worker)}
		n.record(d.node, fact)
		outside.sums.Given++
		if o.worker != "" {
			outside.sums.Reassigned++
		}
		o.worker, o.until = worker, fact.Until
		kinds := make([]coordinator.Kind, 0, len(o.jobs))
		for _, j := range o.jobs {
			kinds = append(kinds, j.kindOutside())
		}
		given = append(given, coordinator.Work{ID: o.id, WorkIDs: o.ids, Statement: o.statement, Kinds: kinds, Until: n.clock.ToWall(o.until)})
		scheduled = append(scheduled, o.work)
	}
	d.traceWork(logWorkScheduled, scheduled)
	return given
}

// judge takes a proof, or says why not. Whoever had the work last, the first proof counts.
func (d *daemon) judge(p coordinator.Proof) coordinator.Verdict {
	n, outside := d.node.net, d.outside
	o := outside.find(p.ID)
	before, proven := outside.accepted.byID[p.ID]
	digest := sha256.Sum256(p.Proof)
	var ids []int
	if o != nil {
		ids = o.ids
	}
	refused := func(status coordinator.Judgement, reason string) coordinator.Verdict {
		n.record(d.node, ProofRefused{ID: redact.Text(p.ID), IDs: ids, Worker: redact.Text(p.Worker), Status: string(status), Reason: reason})
		if status == coordinator.Slashed {
			outside.sums.Slashed++
		} else {
			outside.sums.WrongShape++
		}
		return coordinator.Verdict{Status: status, Reason: reason}
	}
	switch {
	case len(p.Proof) == 0 || len(p.Proof) > coordinator.MaxProof:
		return refused(coordinator.WrongShape, "the proof is empty or too long")
	case !shapely(p), o != nil && o.statement != p.Statement:
		return refused(coordinator.WrongShape, "the statement is not that of the work")
	case proven && before == acceptance{p.Worker, digest}:
		return refused(coordinator.Slashed, coordinator.ReasonRepeated)
	case proven, o != nil && o.proven.has(d.node):
		return refused(coordinator.Slashed, coordinator.ReasonProven)
	case o == nil:
		return refused(coordinator.Slashed, coordinator.ReasonNotWanted)
	}
	n.record(d.node, ProofAccepted{ID: o.id, IDs: o.ids, Worker: redact.Text(p.Worker), Late: o.worker != p.Worker || !o.out(n.now)})
	outside.sums.Accepted++
	outside.accepted.add(o.id, acceptance{p.Worker, digest})
	o.worker = ""
	d.share(o.work)
	return coordinator.Verdict{Status: coordinator.Accepted}
}

// giveUp takes work back from a worker that could not prove it.
func (d *daemon) giveUp(f coordinator.Failure) {
	n, o := d.node.net, d.outside.find(f.ID)
	fact := WorkFailed{ID: redact.Text(f.ID), Worker: redact.Text(f.Worker), Reason: redact.Text(f.Reason)}
	if o != nil {
		fact.IDs = o.ids
		if fact.Held = o.worker == f.Worker; fact.Held {
			o.worker = ""
			d.outside.sums.Failed++
		}
	}
	n.record(d.node, fact)
}

// status says how the coordinator's work stands.
func (d *daemon) status() coordinator.Status {
	n, status := d.node.net, d.outside.sums
	status.Paused = n.provers == 0
	for _, o := range d.outside.offers {
		switch {
		case o.proven.has(d.node):
			status.Proven++
		case o.out(n.now):
			status.Out++
		default:
			status.Pending++
		}
	}
	return status
}
