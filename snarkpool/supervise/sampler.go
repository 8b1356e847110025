//go:build linux

package supervise

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/supervise/process"
)

// near is how many times as often a worker is sampled whose limit is near.
const near = 10

type sampleRequest struct {
	groups map[string]process.Group
	marks  string // Where not empty, look for all processes whose mark begins so.
}

type usage struct {
	group    process.Group
	cpu      time.Duration
	resident uint64
	err      error
}

type sampleResult struct {
	usages map[string]usage
	marked []process.Found
	at     time.Time
	err    error
}

// sampleSoon makes sure that a worker is sampled after a span.
func (l *loop) sampleSoon(m *member, span time.Duration) {
	at := l.now().Add(max(span, l.s.options.SampleEvery/near))
	if m.nextSample.IsZero() || at.Before(m.nextSample) {
		m.nextSample = at
	}
}

// orderSamples asks the sampler for the workers that are due, together with those that are nearly.
func (l *loop) orderSamples(now time.Time) {
	if l.sampling {
		return
	}
	every := l.s.options.SampleEvery
	r := sampleRequest{groups: map[string]process.Group{}}
	due := now.Add(every / near / 2)
	for name, m := range l.members {
		if m.group != nil && !m.life.Frozen() && !m.nextSample.After(due) {
			r.groups[name] = *m.group
			m.nextSample = now.Add(every)
		} else if m.life.Frozen() && !m.nextSample.After(due) {
			m.nextSample = now.Add(every)
		}
	}
	if !now.Before(l.sweepAt) {
		l.sweepAt = now.Add(every)
		if l.s.cgroups.Directory == "" {
			r.marks = l.s.markPrefix()
		}
	}
	if len(r.groups) > 0 || r.marks != "" {
		l.sampling = true
		l.samples <- r
	}
}

// sample reads what it is asked for until ctx ends, in a goroutine of its own: thousands of files in /proc take their time.
func (l *loop) sample(ctx context.Context) {
	for {
		select {
		case r := <-l.samples:
			result := sampleResult{usages: make(map[string]usage, len(r.groups)), at: l.now()}
			for name, group := range r.groups {
				u := usage{group: group}
				u.cpu, u.resident, u.err = group.Usage()
				result.usages[name] = u
			}
			if r.marks != "" {
				result.marked, result.err = process.Marked(r.marks, false)
			}
			l.sampled <- result
		case <-ctx.Done():
			return
		}
	}
}

// sweepStrays kills the processes that left their worker's process group and outlived it, where no cgroup holds them. Whether a worker is live
// is known only here in the loop: where it is not now, none of its processes has been ordered.
func (l *loop) sweepStrays(marked []process.Found) (err error) {
	for _, p := range marked {
		m := l.members[strings.TrimPrefix(p.Mark, l.s.markPrefix())]
		if m == nil || !m.life.Live {
			if killed := p.Handle.Signal(unix.SIGKILL); !errors.Is(killed, process.ErrGone) {
				err = errors.Join(err, killed)
			}
		}
		err = errors.Join(err, p.Handle.Close())
	}
	return err
}

func (l *loop) takeSamples(r sampleResult) {
	l.sampling = false
	for name, u := range r.usages {
		m := l.members[name]
		if m == nil || m.group == nil || m.group.Leader != u.group.Leader || u.err != nil {
			continue // It died meanwhile, which the poller tells.
		}
		m.cpu, m.resident, m.sampled = u.cpu, u.resident, r.at
		if m.life.Frozen() {
			continue
		}
		l.judge(m)
	}
	if r.err = errors.Join(r.err, l.sweepStrays(r.marked)); r.err != nil {
		for _, m := range l.members {
			l.note(m, "look for strays: "+r.err.Error())
			break
		}
	}
}

// judge acts on what was sampled of a worker.
func (l *loop) judge(m *member) {
	most := m.spec.MemoryMax
	if most > 0 && m.resident > most {
		l.step(m, life.Event{Kind: life.TooBig, Cause: fmt.Sprintf("uses %d bytes of memory, over its limit of %d", m.resident, most)})
		return
	}
	verdict, reason := m.watch.Sample(m.sampled, m.cpu)
	switch verdict {
	case life.HungIdle, life.HungBusy:
		m.watch.Progress()
		l.step(m, life.Event{Kind: life.Hung, Cause: reason})
		return
	case life.Slow:
		if !m.slow {
			m.slow = true
			l.note(m, "slow: "+reason)
		}
	case life.Fine:
	}
	if high := m.spec.MemoryHigh; high > 0 && m.resident > high && !m.recycle {
		m.recycle = true
		l.note(m, fmt.Sprintf("wants recycling: uses %d bytes of memory, over %d", m.resident, high))
	}
	if most > 0 && m.resident > most/2 || m.watch.Expecting() {
		l.sampleSoon(m, 0)
	}
}
