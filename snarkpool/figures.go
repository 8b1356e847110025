//go:build linux

package snarkpool

import (
	"maps"
	"strconv"
	"time"

	"provingground/snarkpool/gpu"
	"provingground/snarkpool/metrics"
	"provingground/snarkpool/supervise"
)

// busyMinute is how much a pool's workers proved in the present minute and how much they did in the one before.
type busyMinute struct {
	begun   time.Time
	proving time.Duration
	share   *float64
}

// Metrics is the agent at this moment, for a metrics.Collector. It does not wait.
func (a *Agent) Metrics() metrics.Snapshot {
	if s := a.snapshot.Load(); s != nil {
		return *s
	}
	return metrics.Snapshot{Agent: a.options.Name, Version: a.options.Version, Started: a.since}
}

// countTime adds up what workers do with their time, from tick to tick.
func (e *engine) countTime(now time.Time) {
	passed := now.Sub(e.counted)
	e.counted = now
	if passed <= 0 || passed > time.Minute {
		return
	}
	workers := map[string]int{}
	for _, m := range e.members {
		sum := e.sum(m.plan.Pool)
		workers[m.plan.Pool]++
		switch {
		case m.state.State == supervise.Frozen:
			sum.frozen += passed
		case m.working():
			sum.proving += passed
		}
	}
	for pool, n := range workers {
		b := e.busy[pool]
		proving := e.sum(pool).proving
		if b.begun.IsZero() {
			b = busyMinute{begun: now, proving: proving}
		}
		if past := now.Sub(b.begun); past >= time.Minute {
			share := min((proving-b.proving).Seconds()/(past.Seconds()*float64(n)), 1)
			b = busyMinute{begun: now, proving: proving, share: &share}
		}
		e.busy[pool] = b
	}
}

// figures makes the snapshot that Prometheus is shown until the next tick.
func (e *engine) figures() {
	s := metrics.Snapshot{
		Agent: e.options.Name, Version: e.options.Version, Name: e.file.Name, Digest: e.file.Digest, Stale: e.file.Stale != "", Started: e.since,
		DatabaseUp: e.databaseUp, Pools: map[string]metrics.Pool{}, Commands: maps.Clone(e.commands), GPUs: map[string]metrics.GPU{},
	}
	for _, pool := range e.host.Pools {
		s.Pools[pool.Name] = metrics.Pool{States: map[string]int{}}
	}
	for _, m := range e.members {
		p := s.Pools[m.plan.Pool]
		if p.States == nil {
			p.States = map[string]int{}
		}
		p.States[e.shown(m)]++
		if !m.leaving {
			p.Planned++
		}
		if m.state.Slow {
			p.Slow++
		}
		if m.talk.Job != nil {
			p.Leases++
		}
		if m.hasProcess() && !m.state.Sampled.IsZero() {
			if p.MemoryBytes == nil {
				p.MemoryBytes = new(uint64)
			}
			*p.MemoryBytes += m.state.ResidentBytes
		}
		s.LogLinesDropped += m.state.DroppedLines
		s.Pools[m.plan.Pool] = p
	}
	for _, u := range e.plan.Unplaced {
		p := s.Pools[u.Pool]
		p.Unplaced++
		s.Pools[u.Pool] = p
	}
	for name, p := range s.Pools {
		sum := e.sum(name)
		p.Proofs, p.Durations, p.Verified, p.Failures = maps.Clone(sum.proofs), maps.Clone(sum.durations), maps.Clone(sum.verified), maps.Clone(sum.failures)
		p.Restarts, p.Drains, p.Lost, p.LeasesExpired = maps.Clone(sum.restarts), maps.Clone(sum.drains), sum.lost, sum.expired
		p.Proving, p.Frozen, p.Draining, p.BusyShare = sum.proving, sum.frozen, sum.draining, e.busy[name].share
		s.Pools[name] = p
	}
	if e.spool != nil {
		state := e.spool.State()
		s.Spool = &metrics.Spool{Bytes: uint64(max(state.Bytes, 0)), LimitBytes: uint64(max(state.MaxBytes, 0)), Records: state.Entries}
	}
	for uuid, g := range e.gpus {
		s.GPUs[uuid] = e.gpuFigures(uuid, g)
	}
	e.snapshot.Store(&s)
}

func (e *engine) gpuFigures(uuid string, g *gpuState) metrics.GPU {
	f := metrics.GPU{Model: g.device.Model, Driver: g.device.Driver, Health: string(g.health.State), Events: maps.Clone(g.events)}
	if g.device.Node != nil {
		f.Node = strconv.Itoa(*g.device.Node)
	}
	r := g.reading
	if r == nil {
		return f
	}
	f.MemoryUsedBytes, f.MemoryTotalBytes, f.PowerMilliwatts, f.EnergyMillijoules, f.Throttled = r.MemoryUsedBytes, r.MemoryTotalBytes, r.PowerMilliwatts, r.EnergyMillijoules, r.Throttle
	if r.UtilisationPercent != nil {
		const percent = 100
		share := float64(*r.UtilisationPercent) / percent
		f.Utilisation = &share
	}
	if r.TemperatureCelsius != nil {
		degrees := float64(*r.TemperatureCelsius)
		f.TemperatureCelsius = &degrees
	}
	if r.ECCCorrected != nil && r.ECCUncorrected != nil {
		f.ECC = map[string]uint64{"corrected": *r.ECCCorrected, "uncorrected": *r.ECCUncorrected}
	}
	if r.RemappedRows != nil {
		rows := uint64(max(r.RemappedRows.Corrected, 0) + max(r.RemappedRows.Uncorrected, 0))
		f.RemappedRows = &rows
	}
	if g.energy != nil {
		if per, err := gpu.EnergyPerProof(*g.energy, *r, e.proofsOn(uuid)-g.proofs); err == nil {
			f.EnergyPerProofMillijoules = &per
		}
	}
	return f
}
