//go:build linux

package snarkpool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"provingground/snarkpool/control"
	"provingground/snarkpool/ledger"
	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/worker"
)

// said takes in a line of a fed worker; nil is one that is too long.
func (e *engine) said(ctx context.Context, name string, pid int, line []byte) {
	m := e.members[name]
	if m == nil || !m.isFed() {
		return
	}
	message, err := worker.Parse(line)
	if line == nil {
		err = worker.ErrLineTooLong
	}
	if _, hello := message.(worker.Hello); err == nil && hello && pid != m.talk.PID {
		m.talk = conversation{PID: pid}
	}
	talk := &m.talk
	switch {
	case pid == m.talk.PID:
	case m.orphan != nil && pid == m.orphan.PID:
		talk = m.orphan
	case pid == m.state.PID:
		m.talk = conversation{PID: pid} // Its first word is no hello: that breaks the rules.
	default:
		return // The last words of a process that had no job.
	}
	if err == nil {
		err = talk.accept(message)
	}
	if err != nil {
		e.violated(ctx, m, talk, err)
		return
	}
	e.heard(ctx, m, talk, message)
}

// heard does what follows from a message that may come now.
func (e *engine) heard(ctx context.Context, m *member, talk *conversation, message worker.Message) {
	switch message := message.(type) {
	case worker.Hello:
		e.greeted(ctx, m, message)
	case worker.Proof:
		e.proved(ctx, m, talk, message)
	case worker.Failed:
		e.failed(ctx, m, talk, message.Reason, "prover")
	case worker.Started, worker.Bye, worker.Job:
	}
}

// greeted takes a worker in that is ready. What it is goes to disk first, so that the next agent need not ask it.
func (e *engine) greeted(ctx context.Context, m *member, hello worker.Hello) {
	m.unfit = ""
	if e.options.Verifiers[hello.Kind] == nil && !m.verifiesNone() {
		m.unfit = fmt.Sprintf("no verifier for proofs of kind %s is configured", hello.Kind)
		e.publish(control.Event{Worker: m.name, Pool: m.plan.Pool, Kind: "unfit", Cause: m.unfit})
	}
	e.keepTalk(m)
	if err := e.sup.Ready(ctx, m.name); err != nil && ctx.Err() == nil {
		e.log.Warn("worker not taken for ready", zap.String("worker", m.name), zap.Error(err))
	}
}

// assign sends a worker the job that was leased for it, or returns the lease to give back.
func (e *engine) assign(ctx context.Context, name string, lease ledger.Lease) (back bool) {
	m := e.members[name]
	if m == nil || !m.idle() || m.talk.Hello.Kind != lease.Job.Kind || m.talk.Hello.VerifyingKey != lease.Job.VerifyingKey {
		return true
	}
	line, err := worker.Append(nil, worker.Job{ID: lease.Job.ID, Attempt: int(lease.Epoch), Lease: lease.Epoch, Statement: lease.Job.Statement})
	if err != nil {
		e.log.Warn("job cannot be sent", zap.String("job", lease.Job.ID), zap.Error(err))
		return true
	}
	m.talk.Job = &assignment{
		ID: lease.Job.ID, Epoch: lease.Epoch, Statement: lease.Job.Digest(), VerifyingKey: lease.Job.VerifyingKey, Since: e.options.Now(),
	}
	m.talk.begun = false
	if err := e.judge.keep(m.talk.Job.held(), lease.Job); err != nil {
		e.note("state directory", err.Error())
		m.talk.Job = nil
		return true
	}
	if !e.keepTalk(m) {
		m.talk.Job = nil
		return true
	}
	sending, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	if err := e.sup.Send(sending, m.name, line[:len(line)-1]); err != nil {
		m.talk.Job = nil
		e.keepTalk(m)
		e.restartNow(ctx, m, "it cannot be given a job: "+err.Error())
		return true
	}
	m.talk.Job.Sent = true
	e.keepTalk(m)
	within, atMost := m.deadlines()
	e.expect(ctx, m, within, atMost)
	return false
}

// sendTime is how long an idle worker may take to take a line: it reads nothing else.
const sendTime = 2 * time.Second

// deadlines are how long a worker may take for a proof without computing, and at all: three and eight times the 95th percentile of its pool's late ones.
func (m *member) deadlines() (within, atMost time.Duration) {
	const least, times = 10 * time.Second, 8.0 / 3
	most := m.pool.ProofDeadline
	within = m.history.Deadline(least, most)
	if within == 0 {
		return 0, 0
	}
	atMost = time.Duration(float64(within) * times)
	if most > 0 {
		atMost = min(atMost, most)
		within = min(within, most)
	}
	return within, atMost
}

func (e *engine) expect(ctx context.Context, m *member, within, atMost time.Duration) {
	if within == 0 {
		return
	}
	if err := e.sup.Expect(ctx, m.name, within, atMost); err != nil && ctx.Err() == nil {
		e.log.Warn("worker not watched", zap.String("worker", m.name), zap.Error(err))
	}
}

func (e *engine) progress(ctx context.Context, m *member) {
	if err := e.sup.Progress(ctx, m.name); err != nil && ctx.Err() == nil {
		e.log.Debug("progress not noted", zap.String("worker", m.name), zap.Error(err))
	}
}

// proved takes a proof, which is safe, and its worker idle again, once it is on disk.
func (e *engine) proved(ctx context.Context, m *member, talk *conversation, p worker.Proof) {
	now := e.options.Now()
	job := talk.Job
	seconds := p.Seconds
	e.entries = append(e.entries, ledger.Entry{Proof: &ledger.Proof{
		Job: job.ID, Worker: m.name, Epoch: job.Epoch, Statement: job.Statement, VerifyingKey: job.VerifyingKey, Proof: p.Proof, Seconds: &seconds, At: now,
	}})
	m.spooling, talk.answered = true, true
	took := now.Sub(job.Since)
	m.history.Add(took)
	m.timed(seconds)
	e.sum(m.plan.Pool).observe(talk.kind(), time.Duration(seconds*float64(time.Second)))
	m.generationProofs++
	e.publish(control.Event{At: now, Worker: m.name, Pool: m.plan.Pool, Kind: "proof", Cause: fmt.Sprintf("job %s, %.2f s", job.ID, seconds)})
	e.spooled = append(e.spooled, func() {
		m.spooling = false
		m.delivered++
		e.jobOver(m, talk)
	})
	if talk == &m.talk {
		e.progress(ctx, m)
	}
}

// timed moves the mean of a worker's proving times.
func (m *member) timed(seconds float64) {
	const weight = 0.1
	if m.meanOver == 0 {
		m.seconds, m.meanOver = seconds, 1
		return
	}
	m.seconds += weight * (seconds - m.seconds)
}

func (c *conversation) kind() string {
	if c.Hello == nil {
		return ""
	}
	return c.Hello.Kind
}

// jobOver forgets the job of a conversation.
func (e *engine) jobOver(m *member, talk *conversation) {
	if talk.Job != nil {
		m.busy += e.options.Now().Sub(talk.Job.Since)
	}
	talk.Job, talk.begun, talk.adopted, talk.answered = nil, false, false, false
	if talk == m.orphan {
		m.orphan = nil
	}
	e.keepTalk(m)
}

// failed gives a job back that its worker could not prove, or died over.
func (e *engine) failed(ctx context.Context, m *member, talk *conversation, reason, kind string) {
	job := talk.Job
	m.failures++
	e.sum(m.plan.Pool).failures[kind]++
	const longest = 500
	reason = reason[:min(len(reason), longest)]
	e.entries = append(e.entries, ledger.Entry{Failure: &ledger.Failure{Job: job.ID, Worker: m.name, Epoch: job.Epoch, Reason: reason, At: e.options.Now()}})
	e.publish(control.Event{Worker: m.name, Pool: m.plan.Pool, Kind: "failed", Cause: fmt.Sprintf("job %s: %s", job.ID, reason)})
	e.dropJob(job.held())
	e.jobOver(m, talk)
	if talk == &m.talk {
		e.progress(ctx, m)
	}
}

// Rules broken so many times within so long make a worker broken.
const (
	mostViolations   = 3
	violationsWithin = time.Hour
)

// violated ends a worker that broke the protocol: nothing that it says can be relied on, so its job is another's now.
func (e *engine) violated(ctx context.Context, m *member, talk *conversation, err error) {
	var broken *worker.ProtocolError
	cause := "it broke the protocol: " + err.Error()
	if errors.As(err, &broken) && broken.Err != nil {
		cause = "it broke the protocol: " + broken.Err.Error()
	}
	now := e.options.Now()
	m.violations = append(slices.DeleteFunc(m.violations, func(t time.Time) bool { return now.Sub(t) > violationsWithin }), now)
	e.publish(control.Event{Worker: m.name, Pool: m.plan.Pool, Kind: "violation", Cause: cause})
	if talk.Job != nil {
		m.lost++
		e.sum(m.plan.Pool).lost++
		e.failed(ctx, m, talk, cause, "protocol")
	}
	if talk != &m.talk {
		return
	}
	m.talk = conversation{}
	e.keepTalk(m)
	if len(m.violations) >= mostViolations {
		e.breakWorker(m, cause)
		return
	}
	e.restartNow(ctx, m, cause)
}

// breakWorker gives a worker no more work, and ends it once it is at rest.
func (e *engine) breakWorker(m *member, cause string) {
	if m.broken != "" {
		return
	}
	m.broken = cause
	e.publish(control.Event{Worker: m.name, Pool: m.plan.Pool, Kind: "broken", To: "broken", Cause: cause})
}

// fedEnded keeps the conversation of a process that ended with a job, for what it said last may still be in its pipe.
func (e *engine) fedEnded(m *member) {
	if m.talk.Job != nil && !m.spooling {
		ended := m.talk
		m.orphan, m.orphanUntil = &ended, e.options.Now().Add(e.options.Timing.Orphan)
		m.orphanReleased = m.ended || m.givenUp || m.intent.Want == wantStopped || m.blocked() != ""
	}
	if !m.spooling {
		m.talk = conversation{}
		e.keepTalk(m)
	}
}

// buryOrphan gives up the job of a process that ended.
func (e *engine) buryOrphan(m *member) {
	talk := m.orphan
	job := talk.Job
	e.dropJob(job.held())
	never := !job.Sent && !talk.begun // The last agent was killed before it sent the job: nothing was under way.
	if !never {
		m.lost++
		e.sum(m.plan.Pool).lost++
	}
	if m.orphanReleased || never {
		e.releases = append(e.releases, release{m.name, job.held()})
		e.publish(control.Event{Worker: m.name, Pool: m.plan.Pool, Kind: "given back", Cause: fmt.Sprintf("job %s, which the worker was sent: %t", job.ID, job.Sent)})
		e.jobOver(m, talk)
		poke(e.wantJobs)
		return
	}
	m.failures++
	e.sum(m.plan.Pool).failures["died"]++
	e.entries = append(e.entries, ledger.Entry{Failure: &ledger.Failure{
		Job: job.ID, Worker: m.name, Epoch: job.Epoch, Reason: "the worker ended: " + m.state.Cause, At: e.options.Now(),
	}})
	e.publish(control.Event{Worker: m.name, Pool: m.plan.Pool, Kind: "failed", Cause: fmt.Sprintf("job %s: the worker ended", job.ID)})
	e.jobOver(m, talk)
}

// adopted goes on with a worker that an earlier agent left.
func (e *engine) adopted(ctx context.Context, m *member) {
	if m.talk.Hello == nil || m.talk.PID != m.state.PID {
		m.talk = conversation{}
		if m.state.State == life.Running || m.state.State == life.Warming {
			// Nobody knows what it was told: it has no job that anybody waits for, or has to be given it again.
			e.restartNow(ctx, m, "what it said to the last agent is lost")
		}
		return
	}
	if err := e.sup.Ready(ctx, m.name); err != nil {
		e.log.Debug("adopted worker not taken for ready", zap.String("worker", m.name), zap.Error(err))
	}
	if m.talk.Job != nil && !m.spooling {
		e.expect(ctx, m, e.options.Timing.Silent, 0)
	}
}

func (e *engine) dropJob(held ledger.Held) {
	if err := e.judge.drop(held); err != nil {
		e.log.Debug("job not forgotten", zap.Error(err))
	}
}

// observe is shared by fed and pull workers.
func (c *counters) observe(kind string, took time.Duration) {
	d := c.durations[kind]
	d.Observe(took)
	c.durations[kind] = d
}
