//go:build linux

package snarkpool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"provingground/snarkpool/control"
	"provingground/snarkpool/ledger"
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/supervise/logs"
	"provingground/snarkpool/worker/minalog"
)

// deadAddress is where nobody listens: a worker that is pointed there gets no work (snark-worker, sections 1 and 2).
const deadAddress = "127.0.0.1:1"

// coordinatorFile is what a worker reads before each fetch.
const coordinatorFile = "snark_coordinator"

// gatePrefix begins a coordinator that is reached through the gate.
const gatePrefix = "gate:"

// direct points a worker to an address. It says whether that is on disk.
func (e *engine) direct(m *member, address string) bool {
	if strings.HasPrefix(address, gatePrefix) {
		return false
	}
	const private = 0o700
	dir := e.directory(m)
	err := os.MkdirAll(dir, private)
	path := filepath.Join(dir, coordinatorFile)
	if err == nil {
		err = os.WriteFile(path+".new", []byte(address+"\n"), 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		e.note("directory of "+m.name, err.Error())
		return false
	}
	e.note("directory of "+m.name, "")
	m.address, m.asked = address, false
	return true
}

// compile makes the rules by which a pool's lines are read.
func compile(pool poolfile.Pool) (*minalog.Rules, error) {
	r := pool.LogRules
	rules, err := minalog.Compile(minalog.Patterns{
		NoJobs: r["no_jobs"], Received: r["received"], Base: r["base"], Merge: r["merge"], SubZkapp: r["sub_zkapp"], Submitted: r["submitted"],
		SubmitError: r["submit_error"], PerformError: r["perform_error"], GetWorkError: r["get_work_error"], Slashed: r["slashed"],
		WrongShape: r["wrong_shape"], ShuttingDown: r["shutting_down"], Terminated: r["terminated"],
	})
	if err != nil {
		return nil, fmt.Errorf("log rules: %w", err)
	}
	return rules, nil
}

// readLog reads a line of a worker's log, where it says something of concern.
func (a *Agent) readLog(l logs.Line) {
	known, ok := a.rulesByPool.Load(poolOf(l.Name))
	if !ok {
		return
	}
	rules, ok := known.(*minalog.Rules)
	if !ok {
		return
	}
	line := rules.Read(l.Text)
	if line.Said == minalog.Nothing {
		return
	}
	name, pid := l.Name, l.PID
	a.mail.post(func(ctx context.Context, e *engine) {
		m := e.members[name]
		switch {
		case m == nil || m.isFed():
		case m.closing && pid == m.closingPID:
			e.logged(ctx, m, &m.closingMachine, line)
		case pid == m.state.PID || m.state.PID == 0:
			e.logged(ctx, m, &m.machine, line)
		}
	})
}

// fetching is the name of Mina's call for work, in what a worker says that ends because a call failed (snark-worker, sections 2 and 3).
const fetching = "get_work"

// logged follows a pull worker's line.
func (e *engine) logged(ctx context.Context, m *member, machine *minalog.Machine, line minalog.Line) {
	if line.Said == minalog.Ending && strings.Contains(strings.ToLower(line.Text), fetching) {
		// It ends because it could not fetch: what it submitted before has been taken.
		e.logged(ctx, m, machine, minalog.Line{Said: minalog.GetWorkError, At: line.At, Text: line.Text})
	}
	next, events := machine.Next(line)
	*machine = next
	if m.address == deadAddress && (line.Said == minalog.GetWorkError || line.Said == minalog.Ending) {
		m.asked = true // It has asked the dead address: what it fetched before is over, and nothing new can come.
	}
	for _, event := range events {
		e.pulled(ctx, m, event)
	}
}

// pulled takes in what happened to a pull worker.
func (e *engine) pulled(ctx context.Context, m *member, event minalog.Event) {
	sum := e.sum(m.plan.Pool)
	at := event.At
	if at.IsZero() {
		at = e.options.Now()
	}
	switch event.Kind {
	case minalog.Ready:
		if err := e.sup.Ready(ctx, m.name); err != nil && ctx.Err() == nil {
			e.log.Debug("worker not taken for ready", zap.String("worker", m.name), zap.Error(err))
		}
	case minalog.WorkReceived:
		within, atMost := m.deadlines()
		if within == 0 {
			within = m.pool.ProofDeadline
		}
		e.expect(ctx, m, within, atMost)
	case minalog.ProofMade:
		if event.Elapsed != nil && !event.Cached {
			sum.observe(string(event.Proof), *event.Elapsed)
			m.timed(event.Elapsed.Seconds())
		}
	case minalog.Delivered:
		m.delivered++
		m.proofs += uint64(event.Proofs)
		m.generationProofs += event.Proofs
		sum.proofs[""] += uint64(event.Proofs)
		if event.Wall != nil {
			m.history.Add(*event.Wall)
			m.busy += *event.Wall
		}
		e.workOver(ctx, m, event, true, at)
	case minalog.NotDelivered, minalog.Unconfirmed, minalog.Failed, minalog.Lost:
		m.failures++
		m.lost++
		sum.lost += uint64(event.Proofs)
		sum.failures[fates()[event.Kind]]++
		e.workOver(ctx, m, event, false, at)
	case minalog.CoordinatorError, minalog.WorkerEnding:
	}
}

// fates name the ends of a work that did not reach its coordinator, for metrics and people.
func fates() map[minalog.EventKind]string {
	return map[minalog.EventKind]string{
		minalog.NotDelivered: "refused", minalog.Unconfirmed: "unconfirmed", minalog.Failed: "prover", minalog.Lost: "died",
	}
}

func (e *engine) workOver(ctx context.Context, m *member, event minalog.Event, delivered bool, at time.Time) {
	e.progress(ctx, m)
	kind, cause := "proof", fmt.Sprintf("work %s", strings.Join(event.WorkIDs, ","))
	if !delivered {
		kind, cause = "failed", cause+": "+fates()[event.Kind]
	}
	e.publish(control.Event{Worker: m.name, Pool: m.plan.Pool, Kind: kind, Cause: cause})
	if e.spool == nil {
		return
	}
	p := ledger.Pulled{Worker: m.name, Proofs: event.Proofs, Delivered: delivered, At: at}
	if event.Wall != nil {
		seconds := event.Wall.Seconds()
		p.Seconds = &seconds
	}
	e.entries = append(e.entries, ledger.Entry{Pulled: &p})
}

// pullEnded follows the end of a pull worker's process. What it said last may still be in its pipe, and settle what became of its work.
func (e *engine) pullEnded(ctx context.Context, m *member) {
	e.closeLog(ctx, m)
	m.closing, m.closingPID, m.orphanUntil = true, m.state.PID, e.options.Now().Add(e.options.Timing.Orphan)
	m.closingMachine, m.machine = m.machine, minalog.Machine{}
	if _, _, working := m.closingMachine.Work(); !working {
		e.closeLog(ctx, m)
	}
}

// closeLog ends the log of a process that ended.
func (e *engine) closeLog(ctx context.Context, m *member) {
	if !m.closing {
		return
	}
	m.closing = false
	next, events := m.closingMachine.End(e.options.Now())
	m.closingMachine = next
	for _, event := range events {
		e.pulled(ctx, m, event)
	}
}
