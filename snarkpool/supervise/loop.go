//go:build linux

package supervise

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"provingground/snarkpool/supervise/launch"
	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/supervise/logs"
	"provingground/snarkpool/supervise/process"
)

// loop owns the state of all workers. Its methods run in one goroutine, those named commit, sample and captureLogs excepted.
type loop struct {
	s       *Supervisor
	members map[string]*member
	budget  *life.Budget
	set1    bool // Set has been called.

	tokens  map[token]registration
	token   token
	ordered int // Processes ordered from the spawner.

	dirty      bool
	committing bool
	nextCommit time.Time
	after      []func(error) // To call after the next commit, and after the one under way.
	inFlight   []func(error)
	commits    chan []json.RawMessage
	committed  chan commitResult

	sampling bool
	sweepAt  time.Time
	samples  chan sampleRequest
	sampled  chan sampleResult

	pauseLogs, resumeLogs chan struct{}
	logsPaused            chan error
	logsEnded             chan struct{}

	replacing *replacement
}

// member is one worker in the loop.
type member struct {
	name    string
	spec    Spec
	planned bool // Set names it.
	held    bool
	life    life.Worker

	group    *process.Group // Nil without a process.
	died     token
	adopted  bool
	strays   []process.Found // Of an earlier agent's process, to be gone before the next start.
	sweeps   int
	digest   string // Of the specification of the process.
	fed      bool
	grace    time.Duration // Of the specification that an earlier agent had of it.
	lastExit *process.Exit
	warnings []string

	encoded json.RawMessage // The record, nil after a change.

	control  int // The line to the launcher, -1 without one.
	answered token
	answer   []byte

	watch      life.Watch
	nextSample time.Time
	cpu        time.Duration
	resident   uint64
	sampled    time.Time
	slow       bool
	recycle    bool
}

// registration is what a token stands for.
type registration struct {
	m       *member
	control bool // The launcher's line, otherwise the pidfd.
}

// commitRetry is how soon a state file that could not be written is tried again.
const commitRetry = time.Second

func newLoop(s *Supervisor) *loop {
	return &loop{
		s: s, members: map[string]*member{}, tokens: map[token]registration{},
		budget:  life.NewBudget(s.options.StartsPerSecond, s.options.Warmups, s.options.Now()),
		commits: make(chan []json.RawMessage, 1), committed: make(chan commitResult, 1),
		samples: make(chan sampleRequest, 1), sampled: make(chan sampleResult, 1),
		pauseLogs: make(chan struct{}), resumeLogs: make(chan struct{}), logsPaused: make(chan error), logsEnded: make(chan struct{}),
		sweepAt: s.options.Now().Add(s.options.SampleEvery),
	}
}

// close gives the descriptors of all members back, after everything else has ended.
func (l *loop) close() {
	select {
	case r := <-l.sampled:
		for _, p := range r.marked {
			_ = p.Handle.Close()
		}
	default:
	}
	for _, m := range l.members {
		l.closeControl(m)
		l.s.closeJobs(m.name)
		if m.group != nil {
			_ = m.group.Leader.Close() // Nothing is buffered in a pidfd.
		}
		closeStrays(m)
	}
}

func (l *loop) now() time.Time { return l.s.options.Now() }

// run performs what happens until ctx ends.
func (l *loop) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		l.settle()
		timer.Reset(l.wait())
		select {
		case command := <-l.s.commands:
			command(l)
		case ready := <-l.s.poller.ready:
			for _, t := range ready {
				l.ready(t)
			}
		case r := <-l.s.spawner.results:
			l.spawned(r)
		case r := <-l.committed:
			l.afterCommitted(r)
		case r := <-l.sampled:
			l.takeSamples(r)
		case <-timer.C:
			l.tick()
		case <-ctx.Done():
			return l.lastCommit()
		}
	}
}

// settle starts what can be started after each turn: processes within the budget, a commit, a replacement.
func (l *loop) settle() {
	if l.set1 && l.replacing == nil {
		for _, name := range l.budget.Grant(l.now(), spawnQueue-l.ordered) {
			l.step(l.members[name], life.Event{Kind: life.Granted, Cause: "started"})
		}
	}
	now := l.now()
	if l.dirty && !l.committing && !now.Before(l.nextCommit) {
		l.dirty, l.committing = false, true
		l.inFlight, l.after = l.after, nil
		l.commits <- l.encode()
	}
	if l.replacing != nil {
		l.tryReplace()
	}
}

// wait returns how long nothing is to be done.
func (l *loop) wait() time.Duration {
	next := l.sweepAt
	earlier := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	now := l.now()
	for _, m := range l.members {
		earlier(m.life.Deadline())
		if m.group != nil && !l.sampling {
			earlier(m.nextSample)
		}
	}
	if l.set1 && l.replacing == nil && l.ordered < spawnQueue {
		earlier(l.budget.Next(now))
	}
	if l.dirty && !l.committing {
		earlier(l.nextCommit)
	}
	if l.replacing != nil {
		earlier(l.replacing.deadline)
	}
	return max(next.Sub(now), 0)
}

func (l *loop) tick() {
	now := l.now()
	for _, m := range l.members {
		if d := m.life.Deadline(); !d.IsZero() && !now.Before(d) {
			l.step(m, life.Event{Kind: life.Tick, Cause: "time is up"})
		}
	}
	l.orderSamples(now)
}

// stopGrace is the worker's own, as far as a specification said one; 0 is the policy's.
func (m *member) stopGrace() time.Duration {
	if m.spec.Name == "" {
		return m.grace
	}
	return m.spec.StopGrace
}

// policy is the worker's own.
func (l *loop) policy(m *member) life.Policy {
	p := l.s.options.Policy
	if grace := m.stopGrace(); grace > 0 {
		p.StopGrace = grace
	}
	p.WarmupLimit = m.spec.WarmupLimit
	return p
}

// step lets the state machine take an event in and performs what it says.
func (l *loop) step(m *member, e life.Event) {
	before, frozen, since := m.life.State, m.life.Frozen(), m.life.FrozenSince
	until := m.life.FrozenUntil
	m.encoded = nil
	actions := m.life.Step(l.policy(m), l.now(), rand.Float64(), e) //nolint:gosec // Jitter is no secret.
	l.show(m, before, frozen, e.Cause)
	if frozen && !m.life.Frozen() {
		m.watch.Shift(l.now().Sub(since))
	}
	if !until.Equal(m.life.FrozenUntil) {
		l.dirty = true
	}
	if m.life.State != life.Starting && m.life.State != life.Warming && m.life.State != life.Planned {
		l.budget.Done(m.name)
	}
	l.perform(m, actions)
}

// show reports a transition.
func (l *loop) show(m *member, before life.State, wasFrozen bool, cause string) {
	shown := func(state life.State, frozen bool) life.State {
		if frozen {
			return Frozen
		}
		return state
	}
	from, to := shown(before, wasFrozen), shown(m.life.State, m.life.Frozen())
	if from == to {
		return
	}
	l.dirty = true
	if before != m.life.State {
		cause = m.life.Cause
	}
	event := Event{From: from, To: to, Cause: cause}
	switch m.life.State {
	case life.Exited, life.Backoff, life.Broken:
		event.Exit = m.lastExit
	default:
	}
	if m.life.State == life.Broken {
		event.Tail = l.s.capture.Tail(m.name)
	}
	l.emit(m, event)
}

func (l *loop) emit(m *member, e Event) {
	if l.s.options.Events == nil {
		return
	}
	e.Time, e.Name = l.now(), m.name
	if m.group != nil {
		e.PID = m.group.Leader.Identity().PID
	}
	l.s.options.Events(e)
}

// note reports something within a state.
func (l *loop) note(m *member, cause string) {
	l.emit(m, Event{From: m.life.State, To: m.life.State, Cause: cause})
}

func (l *loop) perform(m *member, actions []life.Action) {
	for _, action := range actions {
		var err error
		switch action {
		case life.AskStart:
			l.budget.Ask(m.name)
		case life.CancelStart:
			l.budget.Cancel(m.name)
		case life.Spawn:
			m.sweeps, m.warnings, m.adopted = 0, nil, false
			l.ordered++
			l.s.spawner.requests <- spawnRequest{spec: m.spec, mark: l.s.mark(m.name)} // There is room: ordered is below spawnQueue.
		case life.Terminate:
			err = l.onGroup(m, (process.Group).Terminate)
		case life.Kill:
			err = l.onGroup(m, (process.Group).Kill)
		case life.ThawGroup:
			err = l.onGroup(m, (process.Group).Thaw)
		case life.FreezeGroup:
			l.freeze(m)
		case life.Sweep:
			l.sweep(m)
		}
		if err != nil {
			l.note(m, err.Error())
		}
	}
}

// onGroup does something to a worker's processes. That they are gone by now is no error: their death is about to be told.
func (l *loop) onGroup(m *member, do func(process.Group) error) error {
	if m.group == nil {
		return nil
	}
	if err := do(*m.group); !errors.Is(err, process.ErrGone) {
		return err
	}
	return nil
}

// freeze stops the processes once it is on disk until when.
func (l *loop) freeze(m *member) {
	l.dirty = true
	l.afterCommit(func(err error) {
		if !m.life.Frozen() {
			return
		}
		if err == nil {
			err = l.onGroup(m, (process.Group).Freeze)
		}
		if err != nil {
			l.step(m, life.Event{Kind: life.Thaw, Cause: "not frozen: " + err.Error()})
		}
	})
}

// sweep ends what a dead worker left.
func (l *loop) sweep(m *member) {
	empty := true
	if m.group != nil {
		var err error
		m.sweeps++
		const quick = 3
		if empty, err = m.group.Sweep(l.s.mark(m.name), m.sweeps > quick); err != nil {
			l.note(m, err.Error())
		}
	}
	for _, stray := range m.strays {
		if stray.Handle.Dead() {
			continue
		}
		if err := stray.Handle.Signal(unix.SIGKILL); err == nil {
			empty = false
		} else if !errors.Is(err, process.ErrGone) && !errors.Is(err, process.ErrReused) {
			empty = false
			l.note(m, err.Error())
		}
	}
	if !empty {
		return // The machine asks again soon.
	}
	if m.group != nil {
		_ = m.group.Leader.Close() // Nothing is buffered in a pidfd.
		m.group, m.encoded = nil, nil
	}
	closeStrays(m)
	l.s.closeJobs(m.name)
	l.dirty = true
	l.step(m, life.Event{Kind: life.Swept})
	l.forget(m)
}

func closeStrays(m *member) {
	for _, stray := range m.strays {
		_ = stray.Handle.Close()
	}
	m.strays = nil
}

// forget drops a worker that is not meant to be and is no more.
func (l *loop) forget(m *member) {
	if m.planned || m.life.State != life.Stopped || !l.set1 {
		return
	}
	delete(l.members, m.name)
	l.s.capture.Forget(m.name)
	if l.s.cgroups.Directory != "" {
		l.s.cgroups.Remove(l.s.cgroups.Of(m.name))
	}
	l.dirty = true
}

// set makes the members what specs say.
func (l *loop) set(specs []Spec) error {
	l.set1 = true
	named := make(map[string]bool, len(specs))
	for _, spec := range specs {
		named[spec.Name] = true
		m := l.members[spec.Name]
		if m == nil {
			m = &member{name: spec.Name, control: -1, life: life.New(l.now())}
			l.members[spec.Name] = m
		}
		m.spec, m.planned = spec, true
		l.want(m, "planned")
	}
	for _, m := range l.sorted() {
		if !named[m.name] {
			m.planned, m.held, m.encoded = false, false, nil
			l.want(m, "not planned any more")
			l.forget(m)
		}
	}
	l.dirty = true
	return nil
}

// want tells a worker whether it is to run.
func (l *loop) want(m *member, cause string) {
	kind := life.WantStopped
	if m.planned && !m.held || !l.set1 && !m.held {
		kind = life.WantRunning
	}
	l.step(m, life.Event{Kind: kind, Cause: cause})
}

func (l *loop) sorted() []*member {
	return slices.SortedFunc(maps.Values(l.members), func(a, b *member) int { return cmp.Compare(a.name, b.name) })
}

// watch makes the poller tell of a descriptor.
func (l *loop) watch(fd int, r registration) (token, error) {
	l.token++
	if err := l.s.poller.watch(fd, l.token); err != nil {
		return 0, err
	}
	l.tokens[l.token] = r
	return l.token, nil
}

// spawned takes the spawner's answer in.
func (l *loop) spawned(r spawned) {
	l.ordered--
	m := l.members[r.name]
	if r.err == nil {
		r.err = l.hold(m, r)
	}
	if r.err != nil {
		// Nothing is wrong with the worker, so that it does not count as its crash.
		l.step(m, life.Event{Kind: life.SpawnFailed, Permanent: true, Cause: r.err.Error()})
		l.forget(m)
		return
	}
	l.step(m, life.Event{Kind: life.Spawned})
	l.afterCommit(func(err error) { l.release(m, r.group, err) })
}

// hold makes a launcher the member's process.
func (l *loop) hold(m *member, r spawned) error {
	digest, err := m.spec.digest()
	var died, answered token
	if err == nil {
		died, err = l.watch(r.group.Leader.FD(), registration{m: m})
	}
	if err == nil {
		answered, err = l.watch(r.control, registration{m: m, control: true})
	}
	for i := 0; err == nil && i < len(r.pipes); i++ {
		if err = l.s.capture.Add(r.pipes[i]); err == nil {
			r.pipes[i].FD = -1
		}
	}
	if err != nil {
		delete(l.tokens, died)
		r.discard()
		return err
	}
	m.group, m.died, m.control, m.answered, m.answer = r.group, died, r.control, answered, nil
	m.digest, m.fed, m.encoded = digest, m.spec.Fed, nil
	m.watch, m.cpu, m.resident, m.sampled, m.slow, m.recycle = life.Watch{}, 0, 0, time.Time{}, false, false
	l.sampleSoon(m, l.s.options.SampleEvery)
	if r.jobs >= 0 {
		l.s.openJobs(m.name, r.jobs)
	}
	l.dirty = true
	return nil
}

// release lets a launcher become the worker, once its identity is on disk.
func (l *loop) release(m *member, group *process.Group, err error) {
	if m.group != group || m.control < 0 {
		return // It died meanwhile.
	}
	if err == nil && m.life.State == life.Starting {
		var request []byte
		directory := m.spec.Directory
		if directory == "" {
			directory = filepath.Join(workerDirectory(l.s.options.StateDir, m.name), "work")
		}
		request, err = json.Marshal(launch.Request{
			Command: m.spec.Command, Directory: directory, CPUs: m.spec.CPUs, MemoryNodes: m.spec.MemoryNodes, User: m.spec.User,
			Env:         append(slices.Clone(m.spec.Env), process.MarkVariable+"="+l.s.mark(m.name)),
			OOMScoreAdj: m.spec.OOMScoreAdj, Nice: m.spec.Nice, OpenFiles: m.spec.OpenFiles,
		})
		if err == nil {
			var n int
			request = append(request, '\n')
			if n, err = unix.Write(m.control, request); err == nil && n < len(request) {
				err = fmt.Errorf("its request of %d bytes is too long for the launcher: shorten its environment", len(request))
			}
		}
		if err == nil {
			return
		}
	}
	if err != nil {
		l.step(m, life.Event{Kind: life.LaunchFailed, Permanent: true, Cause: "not started: " + err.Error()})
	}
	// Without its line the launcher ends.
	l.closeControl(m)
}

func (l *loop) closeControl(m *member) {
	if m.control >= 0 {
		delete(l.tokens, m.answered)
		_ = unix.Close(m.control) // Nothing is buffered that anybody waits for.
		m.control = -1
	}
}

// ready takes in that a descriptor became readable.
func (l *loop) ready(t token) {
	r, ok := l.tokens[t]
	if !ok {
		return
	}
	if r.control {
		l.answered(r.m, t)
		return
	}
	l.died(r.m, t)
}

// answered reads what a launcher says.
func (l *loop) answered(m *member, t token) {
	var buffer [4096]byte
	n, err := unix.Read(m.control, buffer[:])
	if n > 0 || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		m.answer = append(m.answer, buffer[:max(n, 0)]...)
		if err := l.s.poller.again(m.control, t); err != nil {
			l.note(m, err.Error())
		}
		return
	}
	// The end: the launcher became the worker, unless it said why not, or died.
	l.closeControl(m)
	failed := false
	for line := range strings.Lines(string(m.answer)) {
		var answer launch.Answer
		if err := json.Unmarshal([]byte(line), &answer); err != nil {
			l.note(m, fmt.Sprintf("the launcher said what is not understood: %q", line))
			continue
		}
		if answer.Warning {
			m.warnings = append(m.warnings, answer.Message)
			continue
		}
		failed = true
		l.step(m, life.Event{Kind: life.LaunchFailed, Permanent: answer.Permanent, Cause: answer.Message})
	}
	m.answer = nil
	if !failed && !m.group.Leader.Dead() {
		l.step(m, life.Event{Kind: life.Became})
	}
}

// died takes in the death of a worker's process.
func (l *loop) died(m *member, t token) {
	leader := m.group.Leader
	if leader.IsChild() && m.group.Cgroup == "" && leader.Dead() {
		// Until it is waited for, its number cannot be given away, and so cannot that of its process group.
		if err := m.group.Kill(); err != nil && !errors.Is(err, process.ErrGone) {
			l.note(m, err.Error())
		}
	}
	exit, ended, err := leader.Wait()
	if err != nil {
		l.note(m, err.Error())
		exit = process.Exit{} // It is dead all the same; who took its status is not known.
	} else if !ended {
		if err := l.s.poller.again(leader.FD(), t); err != nil {
			l.note(m, err.Error())
		}
		return
	}
	delete(l.tokens, t)
	if m.control >= 0 {
		// What the launcher said last is still to be read.
		l.drainControl(m)
	}
	m.lastExit = &exit
	l.step(m, life.Event{Kind: life.Died, Cause: exit.String()})
}

func (l *loop) drainControl(m *member) {
	for m.control >= 0 {
		before := len(m.answer)
		l.answered(m, m.answered)
		if m.control >= 0 && len(m.answer) == before {
			l.closeControl(m)
		}
	}
}

// snapshot returns the status of all workers.
func (l *loop) snapshot() []Status {
	all := make([]Status, 0, len(l.members))
	for _, m := range l.sorted() {
		s := Status{
			Name: m.name, State: m.life.State, Since: m.life.Since, Cause: m.life.Cause, Wanted: m.life.Want, Held: m.held,
			Started: m.life.Started, Starts: m.life.Starts, FrozenUntil: m.life.FrozenUntil, Due: m.life.Due, LastExit: m.lastExit,
			Warnings: slices.Clone(m.warnings), DroppedLines: l.s.capture.Dropped(m.name),
		}
		if m.life.Frozen() {
			s.State = Frozen
		}
		if m.group != nil {
			digest, err := m.spec.digest()
			s.Outdated = err == nil && m.planned && digest != m.digest
			s.PID, s.Adopted, s.Group = m.group.Leader.Identity().PID, m.adopted, m.group.How()
			s.CPUTime, s.ResidentBytes, s.Sampled, s.WantsRecycling, s.Slow = m.cpu, m.resident, m.sampled, m.recycle, m.slow
			if m.spec.MemoryMax > 0 {
				s.MemoryLimit = "sampled"
				if l.s.cgroups.Memory && m.group.Cgroup != "" {
					s.MemoryLimit = "kernel"
				}
			}
		}
		all = append(all, s)
	}
	return all
}

// adopt finds what an earlier agent left and goes on with it.
func (l *loop) adopt() error {
	now := l.now()
	inherited := map[string]handedWorker{}
	if l.s.handover != nil {
		for _, w := range l.s.handover.Workers {
			inherited[w.Name] = w
		}
		for _, p := range l.s.handover.Pipes {
			if err := l.s.capture.Add(p); err != nil {
				return err
			}
		}
	}
	for _, r := range l.s.records {
		l.members[r.Name] = &member{name: r.Name, held: r.Held, life: r.Life, digest: r.Digest, fed: r.Fed, grace: r.StopGrace, control: -1}
	}
	var marked []process.Found
	if l.s.handover == nil {
		var err error
		if marked, err = process.Marked(l.s.markPrefix(), false); err != nil {
			return err
		}
	}
	if !l.s.found {
		l.reconstruct(marked)
	}
	var errs []error
	known := map[string]bool{}
	for _, r := range l.s.records {
		m := l.members[r.Name]
		if r.Identity == nil {
			if m.life.Live {
				// It was ordered and not recorded: its launcher never got its request.
				m.life.Live = false
				m.life.State = life.Planned
			}
			continue
		}
		group, jobs, err := l.open(r, inherited)
		if err != nil {
			if !errors.Is(err, process.ErrGone) && !errors.Is(err, process.ErrReused) {
				errs = append(errs, err)
				l.note(m, err.Error())
			}
			continue
		}
		m.group, m.adopted = group, !group.Leader.IsChild()
		known[group.Cgroup] = true
		if jobs >= 0 {
			l.s.openJobs(m.name, jobs)
		}
		if m.died, err = l.watch(group.Leader.FD(), registration{m: m}); err != nil {
			return err
		}
		l.sampleSoon(m, l.s.options.SampleEvery)
	}
	// Who carries a mark and does not belong to an adopted worker has lost its agent and its worker.
	for _, p := range marked {
		name := strings.TrimPrefix(p.Mark, l.s.markPrefix())
		m := l.members[name]
		if m == nil {
			m = &member{name: name, control: -1, life: life.New(now)}
			m.life.State, m.life.Live = life.Running, true
			l.members[name] = m
		}
		if m.group != nil {
			errs = append(errs, p.Handle.Close())
			continue
		}
		m.strays = append(m.strays, p)
	}
	errs = append(errs, l.s.cgroups.KillOthers(func(directory string) bool { return known[directory] }))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("adopt the workers of the last agent: %w", err)
	}
	for _, m := range l.sorted() {
		before := m.life.State
		switch {
		case m.group != nil && l.s.handover != nil:
			// The same process goes on with the same children: nothing has happened to them.
		case m.group != nil:
			l.perform(m, m.life.Adopted(l.policy(m), now))
			if m.life.State == life.Warming {
				l.budget.Warming(m.name)
			}
			l.emit(m, Event{From: before, To: m.life.State, Cause: "adopted"})
		case m.life.Live || len(m.strays) > 0:
			m.life.Live = true
			m.lastExit = &process.Exit{}
			if before == life.Exited {
				l.sweep(m)
			} else {
				l.step(m, life.Event{Kind: life.Died, Cause: "ended while no agent was there"})
			}
		case before == life.Planned:
			l.budget.Ask(m.name)
		}
	}
	l.s.records, l.s.handover = nil, nil
	l.dirty = true
	return nil
}

// reconstruct makes records of the workers that run, where the state file is lost: of each marked process that leads a session.
func (l *loop) reconstruct(marked []process.Found) {
	for _, p := range marked {
		id := p.Handle.Identity()
		name := strings.TrimPrefix(p.Mark, l.s.markPrefix())
		if p.Session != id.PID || l.members[name] != nil || validateName(name) != nil {
			continue
		}
		m := &member{name: name, control: -1, life: life.New(l.now())}
		m.life.State, m.life.Want, m.life.Live, m.life.Started, m.life.Starts = life.Running, true, true, l.now(), 1
		_, err := os.Stat(filepath.Join(workerDirectory(l.s.options.StateDir, name), "proofs"))
		m.fed = err == nil
		r := record{Name: name, Identity: &id, Fed: m.fed, Life: m.life}
		if directory := l.s.cgroups.Of(name); process.InCgroup(directory, id.PID) {
			r.Cgroup = directory
		}
		l.members[name] = m
		l.s.records = append(l.s.records, r)
	}
}

// open verifies a recorded process and opens its pipes, unless they came through an exec.
func (l *loop) open(r record, inherited map[string]handedWorker) (*process.Group, int, error) {
	if w, ok := inherited[r.Name]; ok {
		leader, err := process.Inherited(*r.Identity, w.PidFD, w.Child)
		if err != nil {
			return nil, -1, err
		}
		return &process.Group{Leader: leader, Cgroup: r.Cgroup}, w.Jobs, nil
	}
	leader, err := process.Open(*r.Identity)
	if err != nil {
		return nil, -1, err
	}
	jobs := -1
	directory := workerDirectory(l.s.options.StateDir, r.Name)
	for _, p := range pipesOf(r.Fed) {
		fd, err := openPipe(filepath.Join(directory, p.file), p.stream)
		if err != nil {
			l.note(l.members[r.Name], err.Error())
			continue
		}
		if p.stream == "" {
			jobs = fd
			continue
		}
		if err := l.s.capture.Add(logs.Pipe{Name: r.Name, PID: r.Identity.PID, Stream: p.stream, FD: fd}); err != nil {
			return nil, -1, errors.Join(err, leader.Close())
		}
	}
	return &process.Group{Leader: leader, Cgroup: r.Cgroup}, jobs, nil
}
