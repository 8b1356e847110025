//go:build linux

package snarkpool

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"provingground/snarkpool/control"
	"provingground/snarkpool/gpu"
	"provingground/snarkpool/ledger"
	"provingground/snarkpool/metrics"
	"provingground/snarkpool/plan"
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/topology"
)

// engine owns the state of all workers. Its methods run in one goroutine.
type engine struct {
	*Agent
	machine topology.Machine
	file    poolfile.File
	host    poolfile.HostPools
	plan    plan.Plan
	notes   map[string]string // by what they are about
	members map[string]*member
	order   []*member             // the same, sorted; nil after a change
	sums    map[string]*counters  // by pool
	busy    map[string]busyMinute // by pool
	gpus    map[string]*gpuState
	devices []gpu.Device

	// What the ledger is to have, and what follows once it is on disk.
	entries []ledger.Entry
	spooled []func()
	// specs is the digest of what the supervisor was told last.
	specs        string
	intentsDirty bool
	waits        []*wait
	counted      time.Time // until when time is counted
	seen         time.Time // when it last told the ledger that this host lives
	lastTick     time.Time
	eventsLost   uint64
	databaseUp   *bool
	commands     map[metrics.CommandKind]uint64
	left         []spoken // what an earlier agent left in the journal
	kept         map[string]kept
	// spooledBefore are the leases whose proofs an earlier agent left in the spool.
	spooledBefore map[ledger.Held]bool
	releases      []release
	intents       map[string]intent        // as they were at the start
	histories     map[string]*life.History // by pool
}

// wait is somebody who waits until a condition holds.
type wait struct {
	until func() bool
	done  chan struct{}
}

// mailbox is what the engine is to run next. Whoever puts something in never waits.
type mailbox struct {
	mu     sync.Mutex
	items  []func(context.Context, *engine)
	signal chan struct{}
	closed bool
}

func newMailbox() *mailbox { return &mailbox{signal: make(chan struct{}, 1)} }

// post puts something in; it is dropped when the engine has ended.
func (b *mailbox) post(f func(context.Context, *engine)) {
	b.mu.Lock()
	if !b.closed {
		b.items = append(b.items, f)
	}
	b.mu.Unlock()
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

func (b *mailbox) take() []func(context.Context, *engine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.items
	b.items = nil
	return items
}

func (b *mailbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
}

// do runs a function in the engine and waits for it.
func (a *Agent) do(ctx context.Context, f func(context.Context, *engine)) error {
	done := make(chan struct{})
	a.mail.post(func(ctx context.Context, e *engine) {
		f(ctx, e)
		close(done)
	})
	select {
	case <-done:
		return nil
	case <-a.ended:
		return ErrNotRunning
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// await waits until a condition holds after some turn of the engine.
func (a *Agent) await(ctx context.Context, until func(*engine) bool) error {
	w := &wait{done: make(chan struct{})}
	err := a.do(ctx, func(_ context.Context, e *engine) {
		w.until = func() bool { return until(e) }
		e.waits = append(e.waits, w)
	})
	if err != nil {
		return err
	}
	select {
	case <-w.done:
		return nil
	case <-a.ended:
		return ErrNotRunning
	case <-ctx.Done():
		a.mail.post(func(_ context.Context, e *engine) {
			e.waits = slices.DeleteFunc(e.waits, func(other *wait) bool { return other == w })
		})
		return context.Cause(ctx)
	}
}

// run takes what comes until told to end, and then what came by then. Work is the context of what it does, which lives a little longer.
func (e *engine) run(work context.Context, end <-chan struct{}) {
	e.begin(work)
	e.settle(work)
	ticker := time.NewTicker(e.options.Timing.Tick)
	defer ticker.Stop()
	for {
		ending := false
		select {
		case <-e.mail.signal:
		case <-ticker.C:
			e.tick(work)
		case <-end:
			ending = true
			e.mail.close()
		}
		for _, f := range e.mail.take() {
			f(work, e)
		}
		e.settle(work)
		if ending {
			return
		}
	}
}

// settle does what follows from a turn.
func (e *engine) settle(ctx context.Context) {
	e.flush()
	e.rest(ctx)
	e.renew(ctx)
	e.supervise(ctx)
	e.saveIntents()
	e.flush()
	for _, m := range e.sorted() {
		idle := m.idle()
		if idle && !m.offered {
			poke(e.wantJobs) // Who stays idle is looked after by the leasing's own clock.
		}
		m.offered = idle
	}
	e.waits = slices.DeleteFunc(e.waits, func(w *wait) bool {
		if !w.until() {
			return false
		}
		close(w.done)
		return true
	})
}

// tick does what follows from time alone.
func (e *engine) tick(ctx context.Context) {
	now := e.options.Now()
	for _, m := range e.sorted() {
		if m.intent.Want == wantPaused && !m.intent.Until.IsZero() && !now.Before(m.intent.Until) {
			e.setIntent(ctx, m, intent{}, "its pause ended")
		}
		if m.orphan != nil && !now.Before(m.orphanUntil) {
			e.buryOrphan(m)
		}
		if m.closing && !now.Before(m.orphanUntil) {
			e.closeLog(ctx, m)
		}
	}
	e.countTime(now)
	e.sample(ctx, now)
	e.recycle(now)
	e.figures()
}

// publish tells people and the ledger about something.
func (e *engine) publish(event control.Event) {
	if event.At.IsZero() {
		event.At = e.options.Now()
	}
	e.ring.Publish(event)
	if e.spool == nil {
		return
	}
	e.entries = append(e.entries, ledger.Entry{Event: &ledger.Event{
		At: event.At, Host: e.options.Name, Worker: event.Worker, Event: event.Kind, From: event.From, To: event.To, Cause: event.Cause,
	}})
}

// flush puts what came together on disk, in one go, and then does what waits for that. What the disk does not take is tried again with the next turn; events
// are given up then, proofs are not.
func (e *engine) flush() {
	if e.spool == nil || len(e.entries) == 0 {
		e.afterFlush()
		return
	}
	if err := e.spool.Append(e.entries...); err != nil {
		before := len(e.entries)
		e.entries = slices.DeleteFunc(e.entries, func(entry ledger.Entry) bool { return entry.Event != nil || entry.Sample != nil })
		e.eventsLost += uint64(before - len(e.entries))
		e.note("spool", err.Error())
		return
	}
	e.note("spool", "")
	e.entries = nil
	e.afterFlush()
}

// afterFlush does what waits for the disk.
func (e *engine) afterFlush() {
	after := e.spooled
	e.spooled = nil
	for _, f := range after {
		f()
	}
}

// note keeps, or with "" drops, what an operator should know.
func (e *engine) note(about, text string) {
	if e.notes[about] == text {
		return
	}
	if text == "" {
		delete(e.notes, about)
		e.log.Info("mended", zap.String("about", about))
		return
	}
	e.notes[about] = text
	e.log.Warn("needs attention", zap.String("about", about), zap.String("reason", text))
}

// sorted returns all workers in the order of their names. Nobody changes the slice.
func (e *engine) sorted() []*member {
	if e.order == nil {
		e.order = e.sort()
	}
	return e.order
}

func (e *engine) sort() []*member {
	return slices.SortedFunc(maps.Values(e.members), func(a, b *member) int {
		return cmp.Or(cmp.Compare(a.plan.Pool, b.plan.Pool), cmp.Compare(a.plan.Index, b.plan.Index))
	})
}

func (e *engine) sum(pool string) *counters {
	if e.sums[pool] == nil {
		e.sums[pool] = newCounters()
	}
	return e.sums[pool]
}

// poke wakes whoever waits on a channel of one place.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
