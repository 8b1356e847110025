package life

import (
	"slices"
	"time"
)

// Budget is a machine's allowance of starts: so many per second, with a burst of one second's worth, and so many workers that warm
// up at the same time. Workers are served in the order in which they asked. Not safe for concurrent use.
type Budget struct {
	perSecond float64
	warmups   int
	tokens    float64
	filled    time.Time
	queue     []string
	queued    map[string]bool
	warming   map[string]bool
}

// NewBudget returns a full budget. A rate or number of 0 or less means no limit.
func NewBudget(startsPerSecond float64, warmups int, now time.Time) *Budget {
	return &Budget{
		perSecond: startsPerSecond, warmups: warmups, tokens: max(1, startsPerSecond), filled: now,
		queued: map[string]bool{}, warming: map[string]bool{},
	}
}

// Ask queues a worker. Asking twice is asking once.
func (b *Budget) Ask(name string) {
	if !b.queued[name] {
		b.queued[name] = true
		b.queue = append(b.queue, name)
	}
}

// Cancel takes a worker out of the queue.
func (b *Budget) Cancel(name string) {
	if b.queued[name] {
		delete(b.queued, name)
		b.queue = slices.DeleteFunc(b.queue, func(n string) bool { return n == name })
	}
}

// Done says that a worker is warm, or gone: its warm-up no longer counts.
func (b *Budget) Done(name string) { delete(b.warming, name) }

// Warming counts a worker's warm-up that did not go through the queue: that of an adopted worker.
func (b *Budget) Warming(name string) { b.warming[name] = true }

// Grant returns the workers that may start at now, at most limit of them. Each counts as warming until Done.
func (b *Budget) Grant(now time.Time, limit int) []string {
	b.fill(now)
	n := min(limit, len(b.queue))
	if b.warmups > 0 {
		n = min(n, max(0, b.warmups-len(b.warming)))
	}
	if b.perSecond > 0 {
		n = min(n, int(b.tokens+1e-9))
		b.tokens -= float64(n)
	}
	granted := slices.Clone(b.queue[:n])
	b.queue = slices.Delete(b.queue, 0, n)
	for _, name := range granted {
		delete(b.queued, name)
		b.warming[name] = true
	}
	return granted
}

func (b *Budget) fill(now time.Time) {
	if passed := now.Sub(b.filled).Seconds(); passed > 0 {
		b.tokens = min(max(1, b.perSecond), b.tokens+passed*b.perSecond)
	}
	b.filled = now
}

// Next returns when the next start may be granted by the passing of time alone. The zero time means that time alone brings none:
// nobody waits, or the warm-ups are what they wait for.
func (b *Budget) Next(now time.Time) time.Time {
	if len(b.queue) == 0 || b.warmups > 0 && len(b.warming) >= b.warmups {
		return time.Time{}
	}
	b.fill(now)
	if b.perSecond <= 0 || b.tokens >= 1 {
		return now
	}
	return now.Add(time.Duration((1 - b.tokens) / b.perSecond * float64(time.Second))).Add(time.Microsecond)
}
