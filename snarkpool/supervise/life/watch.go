package life

import (
	"fmt"
	"slices"
	"time"
)

// Verdict is what a Watch says of a worker.
type Verdict int

// The verdicts.
const (
	// Fine: progress is not overdue, or none is expected.
	Fine Verdict = iota
	// Slow: progress is overdue, but the process is computing.
	Slow
	// HungIdle: progress is overdue, and the process is not computing.
	HungIdle
	// HungBusy: the process is computing, but so long that nothing will come of it.
	HungBusy
)

// busyShare is the share of one core under which a process counts as doing nothing. A sleeping runtime's housekeeping stays below
// it, a prover on one thread is far above it.
const busyShare = 0.02

// Watch tells a stuck worker from a busy one by marks of progress and CPU time. The zero value expects nothing. Not safe for
// concurrent use.
type Watch struct {
	began          time.Time
	within, atMost time.Duration
	sampled        time.Time
	cpu            time.Duration
	idleSince      time.Time
}

// Expect says that progress is expected within a span, and at the very most within another (0: no such limit).
func (w *Watch) Expect(now time.Time, within, atMost time.Duration) {
	*w = Watch{began: now, within: within, atMost: atMost, sampled: w.sampled, cpu: w.cpu, idleSince: now}
}

// Progress says that what was expected has come, and nothing is expected until the next Expect.
func (w *Watch) Progress() { w.began = time.Time{} }

// Expecting says whether progress is expected.
func (w *Watch) Expecting() bool { return !w.began.IsZero() }

// Shift moves expectations by a span in which the worker could not work, such as a freeze.
func (w *Watch) Shift(span time.Duration) {
	if w.Expecting() {
		w.began, w.idleSince = w.began.Add(span), w.idleSince.Add(span)
	}
	if !w.sampled.IsZero() {
		w.sampled = w.sampled.Add(span)
	}
}

// Sample takes in the CPU time that the process has used in its life and returns the verdict, with a reason for people. A worker
// without CPU hangs when its progress is overdue and it has not computed since half of its time: a process that just finished
// computing is not taken for one that never began.
func (w *Watch) Sample(now time.Time, cpu time.Duration) (Verdict, string) {
	span := now.Sub(w.sampled)
	busy := w.sampled.IsZero() || float64(cpu-w.cpu) > busyShare*float64(span)
	w.sampled, w.cpu = now, cpu
	if busy {
		w.idleSince = now
	}
	if !w.Expecting() {
		return Fine, ""
	}
	age := now.Sub(w.began)
	idle := now.Sub(w.idleSince)
	switch {
	case w.atMost > 0 && age > w.atMost:
		if idle > w.atMost/2 {
			return HungIdle, fmt.Sprintf("no progress for %s and no CPU used for %s", round(age), round(idle))
		}
		return HungBusy, fmt.Sprintf("no progress for %s, over the limit of %s, while using CPU", round(age), w.atMost)
	case age > w.within && idle > w.within/2:
		return HungIdle, fmt.Sprintf("no progress for %s and no CPU used for %s", round(age), round(idle))
	case age > w.within:
		return Slow, fmt.Sprintf("no progress for %s, %s expected", round(age), w.within)
	}
	return Fine, ""
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

// History keeps the last durations of one kind of job and derives how long is too long. The zero value knows nothing. Not safe for
// concurrent use.
type History struct{ last []time.Duration }

// historyLength bounds what a History remembers; enoughHistory is how much it needs to say anything.
const (
	historyLength = 200
	enoughHistory = 5
)

// Add records the duration of a job that came to its end.
func (h *History) Add(d time.Duration) {
	if len(h.last) == historyLength {
		h.last = slices.Delete(h.last, 0, 1)
	}
	h.last = append(h.last, d)
}

// Deadline returns within which span a job should end: three times the 95th percentile of the known durations, at least least, and
// at most most where that is above 0. With fewer than 5 known durations it is most, and 0, which is none, where that is 0.
func (h *History) Deadline(least, most time.Duration) time.Duration {
	if len(h.last) < enoughHistory {
		return most
	}
	sorted := slices.Sorted(slices.Values(h.last))
	deadline := max(least, 3*sorted[(len(sorted)-1)*95/100])
	if most > 0 {
		deadline = min(deadline, most)
	}
	return deadline
}
