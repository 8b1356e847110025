//go:build linux

package snarkpool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"provingground/snarkpool/plan"
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/topology"
)

// load reads the pool file, or its last good copy.
func (a *Agent) load(ctx context.Context) (poolfile.File, poolfile.HostPools, error) {
	source := a.options.PoolFile
	source.Cache = cmp.Or(source.Cache, filepath.Join(a.options.StateDir, "pool.json"))
	file, err := poolfile.Load(ctx, source)
	if err != nil {
		return file, poolfile.HostPools{}, fmt.Errorf("load the pool file: %w", err)
	}
	host, err := file.ForHost(a.options.Name, a.options.Labels)
	if errors.Is(err, poolfile.ErrNoRule) {
		return file, poolfile.HostPools{FileDigest: file.Digest}, nil // A host without workers.
	}
	return file, host, err
}

// draft makes a plan of a pool file, from the machine as it is now and the plan in force.
func (e *engine) draft(machine topology.Machine, host poolfile.HostPools) (plan.Plan, error) {
	in := plan.Input{Host: e.options.Name, Machine: machine, GPUs: e.gpuInput(), Pools: host}
	if e.plan.Digest != "" {
		previous := e.plan
		in.Previous = &previous
	}
	p, err := plan.Make(in)
	if err != nil {
		return p, fmt.Errorf("plan: %w", err)
	}
	return p, nil
}

// adopt puts a plan in force: new workers come, changed ones are renewed a few at a time, and those that are no more come to rest and go.
func (e *engine) adopt(ctx context.Context, file poolfile.File, host poolfile.HostPools, p plan.Plan) error {
	rules, err := rulesOf(host)
	if err != nil {
		return err
	}
	if err := writeJSON(e.planFile(), p); err != nil {
		return err
	}
	e.file, e.host, e.plan = file, host, p
	e.note("pool file", file.Stale)
	e.note("pool file's copy", file.Uncached)
	pools := map[string]poolfile.HostPool{}
	for _, pool := range host.Pools {
		pools[pool.Name] = pool
		e.judge.know(pool.Name, pool.Verify)
		if r := rules[pool.Name]; r != nil {
			e.rulesByPool.Store(pool.Name, r)
		}
	}
	named := map[string]bool{}
	fed := false
	for _, w := range p.Workers {
		named[w.Name] = true
		m := e.members[w.Name]
		if m == nil {
			m = &member{name: w.Name, restarts: map[string]uint64{}, history: e.history(w.Pool)}
			m.state.State, m.state.Since = life.Stopped, e.options.Now()
			m.intent = e.intents[w.Name]
			e.members[w.Name], e.order = m, nil
		}
		m.plan, m.pool, m.leaving, m.gate = w, pools[w.Pool], false, ""
		fed = fed || m.isFed()
		switch {
		case strings.HasPrefix(w.Coordinator, gatePrefix):
			m.gate = "its coordinator is reached through the gate, which this version does not have: name HOST:PORT"
		case m.isFed() && e.spool == nil:
			m.gate = "fed workers lease their jobs from a database: name one in the pool file or with --db-uri"
		}
		e.steer(ctx, m)
	}
	for name, m := range e.members {
		if !named[name] {
			m.leaving = true
		}
	}
	text := ""
	if fed && e.spool == nil {
		text = "fed workers wait: they lease their jobs from a database, and none is configured. Name one in the pool file (database) or with --db-uri"
	}
	e.note("fed workers", text)
	return nil
}

// history is shared by the workers of a pool.
func (e *engine) history(pool string) *life.History {
	if e.histories[pool] == nil {
		e.histories[pool] = &life.History{}
	}
	return e.histories[pool]
}

// policy is the pool file's restart policy.
func policy(file poolfile.File, given life.Policy) life.Policy {
	r := file.Restart
	return life.Policy{
		MinUptime: cmp.Or(given.MinUptime, r.MinUptime), Initial: cmp.Or(given.Initial, r.Initial), Max: cmp.Or(given.Max, r.Max),
		CrashLoopExits: cmp.Or(given.CrashLoopExits, r.CrashLoop.Exits), CrashLoopWithin: cmp.Or(given.CrashLoopWithin, r.CrashLoop.Within),
		BrokenRetry: given.BrokenRetry, StopGrace: given.StopGrace, FreezeMax: file.Pause.HardMax,
	}
}
