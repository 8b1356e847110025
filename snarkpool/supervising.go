//go:build linux

package snarkpool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"provingground/snarkpool/control"
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/supervise"
	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/supervise/logs"
	"provingground/snarkpool/topology"
	"provingground/snarkpool/worker/minalog"
)

// inherited are the variables that workers get from the agent's own environment. None of them holds a secret.
func inherited() []string {
	return []string{"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH"}
}

// oomScoreAdj makes the kernel prefer a worker to the agent when memory runs out.
const oomScoreAdj = 500

// supervise tells the supervisor which workers there are to be, if that has changed. A worker's specification follows from its plan.
func (e *engine) supervise(ctx context.Context) {
	var wanted []*member
	taken := e.taken()
	digest := sha256.New()
	_, _ = io.WriteString(digest, e.file.Digest) // A hash takes everything.
	for _, m := range e.sorted() {
		if !e.wantsProcess(m, taken) {
			m.inSpecs = false
			continue
		}
		if !m.inSpecs && !e.prepare(m) {
			continue
		}
		m.inSpecs = true
		wanted = append(wanted, m)
		_, _ = io.WriteString(digest, " "+m.name+" "+m.plan.Digest) // As above.
	}
	sum := hex.EncodeToString(digest.Sum(nil))
	if sum == e.specs {
		return
	}
	specs := make([]supervise.Spec, 0, len(wanted))
	for _, m := range wanted {
		specs = append(specs, e.spec(m))
	}
	if err := e.sup.Set(ctx, specs); err != nil {
		if ctx.Err() == nil {
			e.note("supervisor", err.Error())
		}
		return
	}
	e.note("supervisor", "")
	e.specs = sum
}

// taken are the CPUs and GPUs that processes use which are not, or no longer, where the plan has them.
func (e *engine) taken() map[string]used {
	all := map[string]used{}
	for _, m := range e.members {
		if m.hasProcess() && (m.leaving || m.running.Digest != m.plan.Digest) {
			all[m.name] = used{m.running.CPUs, m.running.GPUs}
		}
	}
	return all
}

// used is what a process occupies.
type used struct {
	cpus topology.CPUSet
	gpus []string
}

// wantsProcess tells whether a worker is to have a process now: one that it has stays until it is at rest.
func (e *engine) wantsProcess(m *member, taken map[string]used) bool {
	if m.blocked() != "" || m.ended {
		return false
	}
	if m.intent.Want == wantStopped || m.leaving || m.broken != "" {
		return m.hasProcess() && !m.atRest() && m.orphan == nil && !m.closing
	}
	if m.inSpecs || m.hasProcess() {
		return true
	}
	for name, other := range taken {
		if name != m.name && (len(other.cpus.Intersect(m.plan.CPUs)) > 0 || slices.ContainsFunc(other.gpus, func(g string) bool { return slices.Contains(m.plan.GPUs, g) })) {
			return false // Its place is not free yet.
		}
	}
	return true
}

// prepare makes what a process finds when it starts.
func (e *engine) prepare(m *member) bool {
	if m.isFed() {
		return true
	}
	address := m.plan.Coordinator
	if !m.mayWork() {
		address = deadAddress
	}
	return e.direct(m, address)
}

// spec is what the supervisor is told of a worker.
func (e *engine) spec(m *member) supervise.Spec {
	w := m.plan
	s := supervise.Spec{
		Name: w.Name, Command: w.Command, Fed: m.isFed(), OOMScoreAdj: oomScoreAdj, MemoryHigh: uint64(w.MemoryHigh), MemoryMax: uint64(w.MemoryMax),
		WarmupLimit: e.options.Timing.Warmup, Env: e.environment(w.Env),
	}
	if !e.options.Unpinned {
		s.CPUs = w.CPUs
		if m.pool.NUMA == poolfile.NUMAStrict {
			s.MemoryNodes = w.MemoryNodes
		}
	}
	if !m.isFed() {
		s.Directory = e.directory(m)
		if !slices.ContainsFunc(w.Command, func(part string) bool {
			return strings.HasPrefix(part, "--daemon-address") || strings.HasPrefix(part, "-daemon-address")
		}) {
			// The file in its directory says where the work is; should it be missing, a dead address is better than a wrong one.
			s.Command = append(slices.Clone(w.Command), "--daemon-address", deadAddress)
		}
	}
	return s
}

// environment is a worker's: a few harmless variables of the agent's own, and what the plan gives it.
func (e *engine) environment(given map[string]string) []string {
	all := map[string]string{}
	for _, variable := range e.options.Environ {
		if name, value, ok := strings.Cut(variable, "="); ok && slices.Contains(inherited(), name) {
			all[name] = value
		}
	}
	maps.Copy(all, given)
	var env []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		env = append(env, name+"="+all[name])
	}
	return env
}

// directory is the working directory of a worker that finds its coordinator there.
func (e *engine) directory(m *member) string {
	return filepath.Join(e.options.StateDir, "work", filepath.FromSlash(m.name))
}

// supervised takes in what became of a worker's process.
func (e *engine) supervised(ctx context.Context, event supervise.Event) {
	m := e.members[event.Name]
	if m == nil {
		return
	}
	had := m.hasProcess()
	m.state.State, m.state.Since, m.state.Cause = event.To, event.Time, event.Cause
	if event.PID != 0 {
		m.state.PID = event.PID
	}
	if event.To == life.Starting && event.From != life.Starting {
		e.started(m)
	}
	if had && !m.hasProcess() {
		e.processEnded(ctx, m)
	}
	if event.To == supervise.Frozen {
		m.state.Cause = "frozen: " + event.Cause
	}
	if event.From != event.To {
		e.publish(control.Event{At: event.Time, Worker: m.name, Pool: m.plan.Pool, Kind: "state", From: string(event.From), To: string(event.To), Cause: event.Cause})
	}
}

// begin takes in what the supervisor adopted, before it is told what there is to be.
func (e *engine) begin(ctx context.Context) {
	all, err := e.sup.Snapshot(ctx)
	if err != nil {
		return // It has ended, and so will the agent.
	}
	for _, s := range all {
		if m := e.members[s.Name]; m != nil {
			m.state = s
		}
	}
	for _, m := range e.sorted() {
		if m.talk.Job != nil && e.spooledBefore[m.talk.Job.held()] {
			e.jobOver(m, &m.talk) // Its proof is safe already.
		}
		switch {
		case m.hasProcess():
			m.state.Starts = 1
			if m.running.Name == "" {
				m.running = m.plan
			}
		case m.talk.PID != 0: // It ended while no agent was there.
			e.fedEnded(m)
		}
	}
	e.replay(ctx, e.left)
	e.left = nil
	for _, m := range e.sorted() {
		if m.hasProcess() && m.isFed() {
			e.adopted(ctx, m)
		}
	}
}

// started begins anew with a fresh process.
func (e *engine) started(m *member) {
	m.state.Starts++
	m.running, m.generationProofs, m.cpuTold = m.plan, 0, 0
	m.state.Started = e.options.Now()
	if m.state.Starts > 1 {
		cause := "exit"
		if m.renewal != nil {
			cause = m.renewal.kind
		}
		m.restarts[cause]++
		e.sum(m.plan.Pool).restarts[cause]++
	}
	m.talk = conversation{}
	m.machine, m.asked = minalog.Machine{}, false
	e.keepTalk(m)
}

// processEnded sees to what a process leaves.
func (e *engine) processEnded(ctx context.Context, m *member) {
	if m.isFed() {
		e.fedEnded(m)
	} else {
		e.pullEnded(ctx, m)
	}
	m.state.PID, m.ended, m.givenUp = 0, false, false
}

// sample asks how much the workers use, now and then.
func (e *engine) sample(ctx context.Context, now time.Time) {
	if now.Sub(e.lastTick) < e.options.Timing.Sample {
		return
	}
	e.lastTick = now
	all, err := e.sup.Snapshot(ctx)
	if err != nil {
		return // It ends, or has not begun.
	}
	for _, s := range all {
		m := e.members[s.Name]
		if m == nil {
			continue
		}
		state, starts := m.state.State, m.state.Starts
		m.state = s
		m.state.State, m.state.Starts = state, starts
	}
	e.heartbeat(ctx, now)
}

// tell returns a function that takes what the supervisor tells, which must not be held up.
func (a *Agent) tell(event supervise.Event) {
	a.mail.post(func(ctx context.Context, e *engine) { e.supervised(ctx, event) })
}

// lineLimit bounds the proof lines that wait for the engine, of all workers together.
const lineLimit = 64 << 20

// line takes a worker's line to whom it concerns.
func (a *Agent) line(l logs.Line) {
	if l.Stream != logs.Proofs {
		a.logLine(l)
		a.readLog(l)
		return
	}
	size := int64(len(l.Text))
	var text []byte
	if a.lineBytes.Add(size) <= lineLimit && l.Cut == 0 {
		text = slices.Clone(l.Text)
	}
	name, pid := l.Name, l.PID
	if err := a.journal.add(spoken{name, pid, text}); err != nil {
		a.noteFromOutside("journal", err.Error())
	}
	a.mail.post(func(ctx context.Context, e *engine) {
		a.lineBytes.Add(-size)
		e.said(ctx, name, pid, text)
		e.spooled = append(e.spooled, func() {
			if err := a.journal.done(); err != nil {
				e.note("journal", err.Error())
			}
		})
	})
}

// longestLogLine is how much of a log line is shown to those who follow; the files have it whole.
const longestLogLine = 8 << 10

func (a *Agent) logLine(l logs.Line) {
	stream := "stdout"
	if l.Stream == logs.Stderr {
		stream = "stderr"
	}
	a.lines.Publish(control.Event{At: l.Time, Worker: l.Name, Kind: stream, Cause: string(l.Text[:min(len(l.Text), longestLogLine)])})
}

// restartNow ends a process whatever it does, and starts another.
func (e *engine) restartNow(ctx context.Context, m *member, cause string) {
	if err := e.sup.Restart(ctx, m.name, cause); err != nil && ctx.Err() == nil {
		e.log.Warn("worker not restarted", zap.String("worker", m.name), zap.Error(err))
	}
}
