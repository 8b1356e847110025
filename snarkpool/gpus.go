//go:build linux

package snarkpool

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"provingground/snarkpool/control"
	"provingground/snarkpool/gpu"
	"provingground/snarkpool/plan"
)

// gpuState is what the engine knows of one GPU.
type gpuState struct {
	device  gpu.Device
	health  gpu.Health
	reading *gpu.Reading
	events  map[string]uint64 // by class
	abandon context.CancelFunc
	// energy and proofs are those at the first reading, for the energy per proof since then.
	energy *gpu.Reading
	proofs uint64
}

// joinGPUs takes in the GPUs of the machine, each with the health that an earlier agent left it in: a fence survives.
func (e *engine) joinGPUs(ctx context.Context) error {
	devices, err := e.options.GPUs.List(ctx)
	var unavailable *gpu.UnavailableError
	if errors.As(err, &unavailable) {
		return nil // A machine without GPUs, or without a way to see them: gpu list says why.
	}
	if err != nil {
		return err
	}
	known := map[string]gpu.Health{}
	if _, err := readJSON(e.gpusFile(), &known); err != nil {
		e.log.Warn("health of GPUs not read: they join anew", zap.Error(err))
	}
	e.devices = devices
	for _, d := range devices {
		state := &gpuState{device: d, events: map[string]uint64{}}
		e.gpus[d.UUID] = state
		before, knew := known[d.UUID]
		var actions []gpu.Action
		if knew && before.State != gpu.Healthy && before.State != gpu.Joining && before.Check == 0 {
			state.health = before
			state.health.Checks = e.options.CheckGPU != nil
		} else {
			state.health, actions = gpu.Join(e.options.CheckGPU != nil)
		}
		e.act(ctx, state, actions)
	}
	for uuid, before := range known {
		if e.gpus[uuid] == nil { // It has vanished while no agent was there.
			e.gpus[uuid] = &gpuState{device: gpu.Device{UUID: uuid}, health: before, events: map[string]uint64{}}
			e.healthEvent(ctx, uuid, gpu.HealthEvent{Kind: gpu.Vanished, Cause: "not there at the agent's start"})
		}
	}
	return nil
}

// gpuInput is what a plan needs to know.
func (e *engine) gpuInput() []plan.GPU {
	var all []plan.GPU
	for _, d := range e.devices {
		s := e.gpus[d.UUID]
		g := plan.GPU{UUID: d.UUID, Model: d.Model, Node: -1, CPUs: d.CPUs, Checked: s.health.Checked || !s.health.Checks && s.health.State == gpu.Healthy, Blocked: s.health.Blocked()}
		if d.Node != nil {
			g.Node = *d.Node
		}
		if d.MemoryBytes != nil {
			g.MemoryBytes = *d.MemoryBytes
		}
		if d.MIGEnabled != nil && *d.MIGEnabled && len(d.MIG) > 0 {
			for _, part := range d.MIG {
				p := g
				p.UUID, p.Model, p.MemoryBytes = part.UUID, part.Model, 0
				if part.MemoryBytes != nil {
					p.MemoryBytes = *part.MemoryBytes
				}
				all = append(all, p)
			}
			continue
		}
		all = append(all, g)
	}
	return all
}

// healthEvent moves the health of a GPU on and does what follows.
func (e *engine) healthEvent(ctx context.Context, uuid string, event gpu.HealthEvent) {
	s := e.gpus[uuid]
	if s == nil {
		return
	}
	before := s.health
	next, actions := s.health.Step(event)
	s.health = next
	if before.State != next.State {
		e.publish(control.Event{Kind: "gpu", From: string(before.State), To: string(next.State), Cause: uuid + ": " + event.Cause})
		e.fence(uuid, before, next)
	}
	e.act(ctx, s, actions)
	e.saveHealth()
	e.replan(ctx)
}

func (e *engine) saveHealth() {
	all := map[string]gpu.Health{}
	for uuid, s := range e.gpus {
		all[uuid] = s.health
	}
	if err := writeJSON(e.gpusFile(), all); err != nil {
		e.note("state directory", err.Error())
	}
}

// fence tells the ledger of a fence that was put up or lifted.
func (e *engine) fence(uuid string, before, after gpu.Health) {
	fenced := func(h gpu.Health) bool { return h.State == gpu.Fenced || h.State == gpu.Lost }
	if e.ledger == nil || fenced(before) == fenced(after) {
		return
	}
	up, reason := fenced(after), after.Cause
	e.background(func(ctx context.Context) {
		var err error
		if up {
			_, err = e.ledger.FenceGPU(ctx, uuid, e.options.Name, reason, e.options.Name)
		} else {
			_, err = e.ledger.UnfenceGPU(ctx, uuid, e.options.Name)
		}
		if err != nil && ctx.Err() == nil {
			e.log.Warn("fence not told to the ledger", zap.String("gpu", uuid), zap.Error(err))
		}
	})
}

// act does what the health of a GPU orders, in order. Stopping and starting its workers follows from the plan, in which a GPU that is not healthy blocks
// its workers.
func (e *engine) act(ctx context.Context, s *gpuState, actions []gpu.Action) {
	for _, action := range actions {
		switch action.Kind {
		case gpu.StartCheck:
			e.checkGPU(ctx, s, action.Check)
		case gpu.AbandonCheck:
			if s.abandon != nil {
				s.abandon()
			}
		case gpu.RestartWorkers:
			for _, m := range e.usersOf(s.device.UUID) {
				e.restartNow(ctx, m, action.Cause)
			}
		case gpu.BlameWorker:
			for _, m := range e.usersOf(s.device.UUID) {
				m.failures++
				e.publish(control.Event{Worker: m.name, Pool: m.plan.Pool, Kind: "gpu", Cause: action.Cause})
			}
		case gpu.CallOperator:
			e.note("gpu "+s.device.UUID, action.Cause)
		case gpu.StartWorkers:
			e.note("gpu "+s.device.UUID, "")
		case gpu.StopWorkers:
		}
	}
}

func (e *engine) usersOf(uuid string) []*member {
	var all []*member
	for _, m := range e.sorted() {
		for _, g := range m.plan.GPUs {
			if m.hasProcess() && e.wholeOf(g) == uuid {
				all = append(all, m)
			}
		}
	}
	return all
}

// wholeOf returns the GPU that a UUID is, or is a part of.
func (e *engine) wholeOf(uuid string) string {
	for _, d := range e.devices {
		for _, part := range d.MIG {
			if part.UUID == uuid {
				return d.UUID
			}
		}
	}
	return uuid
}

// checkTime bounds a check of one GPU.
const checkTime = 15 * time.Minute

// checkGPU has a GPU checked, once its workers are gone.
func (e *engine) checkGPU(ctx context.Context, s *gpuState, number uint64) {
	if e.options.CheckGPU == nil {
		return
	}
	checking, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTime)
	s.abandon = cancel
	device := s.device
	e.background(func(running context.Context) {
		defer cancel()
		stop := context.AfterFunc(running, cancel)
		defer stop()
		err := e.await(checking, func(e *engine) bool { return len(e.usersOf(device.UUID)) == 0 })
		if err == nil {
			err = e.options.CheckGPU(checking, device)
		}
		event := gpu.HealthEvent{Kind: gpu.CheckPassed, Check: number, Cause: "it passed the check"}
		if err != nil {
			event.Kind, event.Cause = gpu.CheckFailed, err.Error()
		}
		e.mail.post(func(ctx context.Context, e *engine) { e.healthEvent(ctx, device.UUID, event) })
	})
}

// replan makes the plan anew from the same pool file.
func (e *engine) replan(ctx context.Context) {
	if e.plan.Digest == "" {
		return // The first plan is yet to be made.
	}
	p, err := e.draft(e.machine, e.host)
	if err == nil {
		err = e.adopt(ctx, e.file, e.host, p)
	}
	if err != nil {
		e.note("plan", err.Error())
		return
	}
	e.note("plan", "")
}

// watchGPUs passes faults on until ctx ends.
func (a *Agent) watchGPUs(ctx context.Context) error {
	err := a.options.GPUs.Events(ctx, func(event gpu.Event) {
		a.mail.post(func(ctx context.Context, e *engine) { e.fault(ctx, event) })
	})
	var unavailable *gpu.UnavailableError
	if err != nil && ctx.Err() == nil && !errors.As(err, &unavailable) {
		a.noteFromOutside("faults of GPUs", err.Error())
	}
	return nil
}

// fault takes in what the driver reports.
func (e *engine) fault(ctx context.Context, event gpu.Event) {
	f := e.options.XIDs.Fault(event)
	for uuid, s := range e.gpus {
		if event.UUID != "" && event.UUID != uuid {
			continue
		}
		s.events[string(f.Class)]++
		e.publish(control.Event{Kind: "gpu", Cause: uuid + ": " + f.Cause})
		e.healthEvent(ctx, uuid, gpu.HealthEvent{Kind: gpu.Faulted, Class: f.Class, Cause: f.Cause})
	}
}

// readGPUs reads the figures of all GPUs now and then, and finds those that are gone, until ctx ends.
func (a *Agent) readGPUs(ctx context.Context) error {
	ticker := time.NewTicker(a.options.Timing.Sample)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		var uuids []string
		if err := a.do(ctx, func(_ context.Context, e *engine) {
			for uuid := range e.gpus {
				uuids = append(uuids, uuid)
			}
		}); err != nil {
			return nil // The agent ends.
		}
		for _, uuid := range uuids {
			reading, err := a.options.GPUs.Read(ctx, uuid)
			a.mail.post(func(ctx context.Context, e *engine) { e.readGPU(ctx, uuid, reading, err) })
		}
	}
}

func (e *engine) readGPU(ctx context.Context, uuid string, reading gpu.Reading, err error) {
	s := e.gpus[uuid]
	switch {
	case s == nil:
	case errors.Is(err, gpu.ErrGone) && s.health.Present:
		s.reading = nil
		e.healthEvent(ctx, uuid, gpu.HealthEvent{Kind: gpu.Vanished, Cause: err.Error()})
	case err != nil:
		s.reading = nil
	default:
		s.reading = &reading
		if s.energy == nil {
			s.energy, s.proofs = &reading, e.proofsOn(uuid)
		}
		if !s.health.Present {
			e.healthEvent(ctx, uuid, gpu.HealthEvent{Kind: gpu.Returned, Cause: "it is there again"})
		}
	}
}

func (e *engine) proofsOn(uuid string) uint64 {
	var sum uint64
	for _, m := range e.members {
		for _, g := range m.plan.GPUs {
			if e.wholeOf(g) == uuid {
				sum += m.proofs
			}
		}
	}
	return sum
}
