//go:build linux

package snarkpool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"provingground/snarkpool/control"
	"provingground/snarkpool/gpu"
	"provingground/snarkpool/metrics"
	"provingground/snarkpool/plan"
	"provingground/snarkpool/supervise"
)

// work is a command while it is done: whom it is about, and what they had counted when it began.
type work struct {
	command control.Command
	begun   time.Time
	members []*member
	before  map[string][2]uint64 // delivered and lost, by worker
	change  control.Change
}

// Change does a command that changes something, or says what it would do, and returns when it is done. What it began goes on when ctx ends before.
func (a *Agent) Change(ctx context.Context, command control.Command) (control.Change, error) {
	switch command.Operation {
	case control.OpApply:
		return a.apply(ctx, command)
	case control.OpGPUCheck, control.OpGPUFence, control.OpGPUUnfence:
		return a.changeGPUs(ctx, command)
	case control.OpDrain, control.OpPause, control.OpFreeze, control.OpResume, control.OpRestart, control.OpStop, control.OpRecycle:
		return a.changeWorkers(ctx, command)
	case control.OpAuth, control.OpStatus, control.OpEvents, control.OpLogs, control.OpPlan, control.OpInventory, control.OpDoctor, control.OpGPUList:
	}
	return control.Change{}, declined("%s changes nothing", command.Operation)
}

func declined(format string, arguments ...any) error {
	return &control.RefusedError{Reason: control.Declined, Message: fmt.Sprintf(format, arguments...)}
}

func (a *Agent) changeWorkers(ctx context.Context, command control.Command) (control.Change, error) {
	w := &work{command: command, before: map[string][2]uint64{}}
	var refused error
	err := a.do(ctx, func(ctx context.Context, e *engine) {
		w.begun = e.options.Now()
		for _, m := range e.sorted() {
			if command.Target.Matches(m.name, e.options.Labels) && !m.leaving {
				w.members = append(w.members, m)
				w.before[m.name] = [2]uint64{m.delivered, m.lost}
			}
		}
		if len(w.members) == 0 {
			refused = declined("no worker here is %s: look with status", command.Target)
			return
		}
		if !command.DryRun {
			refused = e.begun(ctx, w)
		}
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return control.Change{}, err
	}
	if command.DryRun {
		w.change.Summary = fmt.Sprintf("would %s %s", command.Operation, workers(len(w.members)))
		w.change.DryRun = true
		for _, m := range w.members {
			w.change.Workers = append(w.change.Workers, control.WorkerChange{Name: m.name, Outcome: "unchanged"})
		}
		return w.change, nil
	}
	err = a.await(ctx, func(e *engine) bool { return e.finished(w) })
	if err != nil {
		return control.Change{}, fmt.Errorf("%s goes on, though nobody waits for it: %w", command.Operation, err)
	}
	return w.change, nil
}

// begun begins what a command asks of its workers.
func (e *engine) begun(ctx context.Context, w *work) error {
	arguments := w.command.Arguments
	cause := string(w.command.Operation)
	if arguments.Reason != "" {
		cause += ": " + arguments.Reason
	}
	var errs []error
	for _, m := range w.members {
		switch w.command.Operation {
		case control.OpDrain, control.OpStop:
			m.ended = arguments.Now && m.hasProcess()
			e.setIntent(ctx, m, intent{Want: wantStopped, Cause: cause}, cause)
		case control.OpPause:
			to := intent{Want: wantPaused, Cause: cause}
			if arguments.Max > 0 {
				to.Until = e.options.Now().Add(time.Duration(arguments.Max))
			}
			e.setIntent(ctx, m, to, cause)
		case control.OpFreeze:
			until := e.options.Now().Add(min(time.Duration(arguments.Max), e.file.Pause.HardMax))
			if err := e.sup.Freeze(ctx, m.name, until, cause); err != nil {
				w.change.Warnings = append(w.change.Warnings, err.Error())
				errs = append(errs, err)
			}
		case control.OpResume:
			e.resume(ctx, m, cause)
		case control.OpRestart, control.OpRecycle:
			e.restart(ctx, m, w.command, cause)
		default:
		}
	}
	if len(errs) == len(w.members) {
		return declined("%s", errors.Join(errs...))
	}
	return nil
}

// restart gives a worker a fresh process: now, in its turn, or when it is at rest.
func (e *engine) restart(ctx context.Context, m *member, command control.Command, cause string) {
	if m.intent.Want == wantStopped || m.broken != "" || m.blocked() != "" {
		return
	}
	if !m.hasProcess() {
		e.restartNow(ctx, m, cause) // One that waits tries again at once.
		return
	}
	m.renewal = &renewal{cause: cause, kind: "command", rolling: command.Arguments.Rolling}
	if command.Arguments.Now {
		m.renewal.phase, m.renewal.starts = starting, m.state.Starts
		m.givenUp = true
		e.restartNow(ctx, m, cause)
	}
}

// resume undoes what operators did, and trusts a broken worker again.
func (e *engine) resume(ctx context.Context, m *member, cause string) {
	if m.broken != "" {
		m.broken, m.violations = "", nil
		if e.ledger != nil {
			name := m.name
			e.background(func(ctx context.Context) {
				if err := e.ledger.Readmit(ctx, name); err != nil && ctx.Err() == nil {
					e.noteFromOutside("trust in "+name, err.Error())
				}
			})
		}
	}
	if m.state.State == supervise.Frozen {
		if err := e.sup.Thaw(ctx, m.name, cause); err != nil {
			e.note("freeze of "+m.name, err.Error())
		}
	}
	e.setIntent(ctx, m, intent{}, cause)
}

// finished tells whether a command is done with all its workers, and then says what came of it.
func (e *engine) finished(w *work) bool {
	for _, m := range w.members {
		if e.members[m.name] == m && !e.done(m, w.command.Operation) {
			return false
		}
	}
	seconds := e.options.Now().Sub(w.begun).Seconds()
	c := &w.change
	c.Seconds = seconds
	for _, m := range w.members {
		before := w.before[m.name]
		c.Delivered += m.delivered - before[0]
		c.Lost += m.lost - before[1]
		c.Workers = append(c.Workers, control.WorkerChange{Name: m.name, Outcome: e.shown(m), Detail: e.reason(m)})
	}
	n := workers(len(w.members))
	switch w.command.Operation {
	case control.OpDrain, control.OpStop:
		c.Summary = fmt.Sprintf("%s %s, %s delivered, %d lost, %.1f s", past(w.command.Operation), n, proofs(c.Delivered), c.Lost, seconds)
		if w.command.Arguments.Now && c.Lost > 0 {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s under way lost: stopped without draining", proofs(c.Lost)))
		}
		outcome := "delivered"
		for _, m := range w.members {
			if m.lost > w.before[m.name][1] {
				outcome = "lost"
			}
			e.sum(m.plan.Pool).drains[outcome]++
			e.sum(m.plan.Pool).draining += time.Duration(seconds * float64(time.Second))
		}
	case control.OpRestart, control.OpRecycle:
		c.Summary = fmt.Sprintf("%s %s, %s delivered, %d lost, %.1f s", past(w.command.Operation), n, proofs(c.Delivered), c.Lost, seconds)
	default:
		c.Summary = fmt.Sprintf("%s %s", past(w.command.Operation), n)
	}
	return true
}

// done tells whether a command has come to its end for one worker.
func (e *engine) done(m *member, operation control.Operation) bool {
	switch operation {
	case control.OpDrain, control.OpStop:
		return m.intent.Want != wantStopped || m.down()
	case control.OpRestart, control.OpRecycle:
		return m.renewal == nil && m.orphan == nil
	default:
		return true
	}
}

func past(operation control.Operation) string {
	switch operation {
	case control.OpStop:
		return "stopped"
	case control.OpFreeze:
		return "froze"
	case control.OpDrain, control.OpPause, control.OpResume, control.OpRecycle:
		return strings.TrimSuffix(string(operation), "e") + "ed"
	default:
		return string(operation) + "ed"
	}
}

func workers(n int) string { return counted(n, "worker") }
func proofs(n uint64) string {
	return counted(int(n), "proof")
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// apply takes the pool file as it is now.
func (a *Agent) apply(ctx context.Context, command control.Command) (control.Change, error) {
	begun := a.options.Now()
	file, host, err := a.load(ctx)
	if err != nil {
		return control.Change{}, declined("%s", err)
	}
	if d := command.Arguments.Digest; d != "" && d != file.Digest {
		return control.Change{}, declined("the pool file's sha256 is %s, not %s: nothing was changed", file.Digest, d)
	}
	machine, err := a.options.Inventory()
	if err != nil {
		return control.Change{}, fmt.Errorf("read the machine: %w", err)
	}
	var changes []plan.Change
	var failed error
	delivered, lost := map[*member]uint64{}, map[*member]uint64{}
	err = a.do(ctx, func(ctx context.Context, e *engine) {
		next, err := e.draft(machine, host)
		if err != nil {
			failed = err
			return
		}
		current := e.plan
		changes = next.Changes(&current)
		if command.DryRun {
			return
		}
		for _, m := range e.members {
			delivered[m], lost[m] = m.delivered, m.lost
		}
		e.machine = machine
		failed = e.adopt(ctx, file, host, next)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return control.Change{}, err
	}
	c := control.Change{DryRun: command.DryRun}
	for _, change := range changes {
		c.Workers = append(c.Workers, control.WorkerChange{Name: change.Name, Outcome: change.What})
	}
	if file.Stale != "" {
		c.Warnings = append(c.Warnings, file.Stale)
	}
	if command.DryRun {
		c.Summary = fmt.Sprintf("would apply pool file %.12s: %s changed", file.Digest, workers(len(changes)))
		return c, nil
	}
	err = a.await(ctx, func(e *engine) bool {
		for _, m := range e.members {
			if m.leaving || m.renewal != nil || m.hasProcess() && m.running.Digest != m.plan.Digest {
				return false
			}
		}
		for m, before := range delivered {
			c.Delivered += m.delivered - before
			c.Lost += m.lost - lost[m]
		}
		return true
	})
	if err != nil {
		return control.Change{}, fmt.Errorf("apply goes on, though nobody waits for it: %w", err)
	}
	c.Seconds = a.options.Now().Sub(begun).Seconds()
	c.Summary = fmt.Sprintf("applied pool file %.12s: %s changed, %s delivered, %d lost, %.1f s", file.Digest, workers(len(changes)), proofs(c.Delivered), c.Lost, c.Seconds)
	return c, nil
}

// changeGPUs passes an operator's word on to the GPUs.
func (a *Agent) changeGPUs(ctx context.Context, command control.Command) (control.Change, error) {
	kind := map[control.Operation]gpu.HealthEventKind{
		control.OpGPUCheck: gpu.OperatorChecked, control.OpGPUFence: gpu.OperatorFenced, control.OpGPUUnfence: gpu.OperatorUnfenced,
	}[command.Operation]
	if kind == gpu.OperatorChecked && a.options.CheckGPU == nil {
		return control.Change{}, declined("no checker is configured on this machine")
	}
	var c control.Change
	err := a.do(ctx, func(ctx context.Context, e *engine) {
		for uuid := range e.gpus {
			if command.Arguments.GPU != "" && command.Arguments.GPU != uuid {
				continue
			}
			if !command.DryRun {
				cause := string(command.Operation)
				if command.Arguments.Reason != "" {
					cause = command.Arguments.Reason
				}
				e.healthEvent(ctx, uuid, gpu.HealthEvent{Kind: kind, Cause: cause})
			}
			c.Workers = append(c.Workers, control.WorkerChange{Name: uuid, Outcome: string(e.gpus[uuid].health.State), Detail: e.gpus[uuid].health.Cause})
		}
	})
	if err != nil {
		return c, err
	}
	if len(c.Workers) == 0 {
		return c, declined("this machine has no such GPU: look with gpu list")
	}
	c.DryRun = command.DryRun
	c.Summary = fmt.Sprintf("%s: %s", command.Operation, counted(len(c.Workers), "GPU"))
	if kind != gpu.OperatorChecked || command.DryRun {
		return c, nil
	}
	c.Workers = nil
	err = a.await(ctx, func(e *engine) bool {
		for uuid, s := range e.gpus {
			if (command.Arguments.GPU == "" || command.Arguments.GPU == uuid) && s.health.Check != 0 {
				return false
			}
		}
		for uuid, s := range e.gpus {
			if command.Arguments.GPU == "" || command.Arguments.GPU == uuid {
				c.Workers = append(c.Workers, control.WorkerChange{Name: uuid, Outcome: string(s.health.State), Detail: s.health.Cause})
			}
		}
		return true
	})
	return c, err
}

// Record keeps an audit row: in the spool, from where the ledger gets it, or without a database in a file.
func (a *Agent) Record(_ context.Context, entry control.Entry) error {
	a.mail.post(func(_ context.Context, e *engine) {
		operation := ""
		if entry.Command != nil {
			operation = string(entry.Command.Operation)
		}
		e.commands[metrics.CommandKind{Operation: operation, Outcome: string(entry.Outcome)}]++
	})
	return a.keepAudit(entry)
}
