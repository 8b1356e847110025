//go:build linux

package snarkpool

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"provingground/snarkpool/control"
	"provingground/snarkpool/gpu"
	"provingground/snarkpool/ledger"
	"provingground/snarkpool/supervise"
	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/worker/minalog"
)

// shown is the state of a worker by its name in snark-pool, section 4.
func (e *engine) shown(m *member) string {
	switch {
	case m.broken != "" && !m.hasProcess():
		return "broken"
	case m.blocked() != "" && !m.hasProcess():
		return "blocked"
	case m.state.State == supervise.Frozen:
		return "frozen"
	case m.state.State != life.Running:
		return string(m.state.State)
	case m.draining():
		return "draining"
	case m.working():
		return "proving"
	case m.intent.Want == wantPaused:
		return "paused"
	case m.unfit != "":
		return "blocked"
	}
	return "idle"
}

// working tells whether a worker proves.
func (m *member) working() bool {
	if m.isFed() {
		return m.talk.Job != nil
	}
	_, _, working := m.machine.Work()
	return working || m.machine.State() == minalog.Proving
}

// reason is why a worker is in its state.
func (e *engine) reason(m *member) string {
	return cmp.Or(m.broken, m.blocked(), m.unfit, m.intent.Cause, m.state.Cause)
}

// Status tells how the workers of a target are.
func (a *Agent) Status(ctx context.Context, target control.Target) (control.Status, error) {
	s := control.Status{Agent: a.options.Name, Version: a.options.Version, Since: a.since, Workers: []control.WorkerStatus{}}
	err := a.do(ctx, func(_ context.Context, e *engine) {
		s.Pool, s.Digest, s.At = e.file.Name, e.file.Digest, e.options.Now()
		for _, about := range slices.Sorted(maps.Keys(e.notes)) {
			s.Notes = append(s.Notes, about+": "+e.notes[about])
		}
		for _, u := range e.plan.Unplaced {
			s.Notes = append(s.Notes, u.Name+" has no place: "+u.Reason)
		}
		for _, m := range e.sorted() {
			if target.Matches(m.name, e.options.Labels) {
				s.Workers = append(s.Workers, e.workerStatus(m))
			}
		}
	})
	return s, err
}

func (e *engine) workerStatus(m *member) control.WorkerStatus {
	w := control.WorkerStatus{
		Name: m.name, Pool: m.plan.Pool, Kind: m.plan.Kind, State: e.shown(m), Since: m.state.Since, Wanted: m.intent.shown(), Reason: e.reason(m),
		Proofs: m.proofs, Failures: m.failures, CPUs: m.plan.CPUs.String(), GPUs: m.plan.GPUs,
	}
	if m.leaving {
		w.Wanted = "gone"
	}
	for _, n := range m.restarts {
		w.Restarts += n
	}
	if m.hasProcess() {
		w.PID = m.state.PID
		if !m.state.Sampled.IsZero() {
			resident := m.state.ResidentBytes
			w.MemoryBytes = &resident
		}
	}
	if until := cmp.Or(m.state.FrozenUntil, m.intent.Until); !until.IsZero() {
		w.Until = &until
	}
	if m.talk.Job != nil {
		since := m.talk.Job.Since
		w.Job, w.Proving = m.talk.Job.ID, &since
	} else if ids, since, ok := m.machine.Work(); ok {
		w.Job, w.Proving = fmt.Sprint(ids), &since
	}
	if m.meanOver > 0 {
		mean := m.seconds
		w.SecondsPerProof = &mean
	}
	return w
}

// Report answers plan, inventory, doctor and gpu-list.
func (a *Agent) Report(ctx context.Context, operation control.Operation) (json.RawMessage, error) {
	var content []byte
	var failed error
	err := a.do(ctx, func(_ context.Context, e *engine) {
		var value any
		switch operation {
		case control.OpPlan:
			value = e.plan
		case control.OpInventory:
			value = e.machine
		case control.OpGPUList:
			value = e.listGPUs()
		case control.OpDoctor:
			value = map[string]any{"cgroups": e.sup.Cgroups(), "notes": e.notes, "machine_notes": e.machine.Notes, "limits": e.machine.Limits, "cgroup_version": e.machine.CgroupVersion}
		default:
			failed = declined("there is no report %s", operation)
			return
		}
		content, failed = json.Marshal(value)
	})
	return content, errors.Join(err, failed)
}

// listedGPU is one GPU in the answer to gpu-list.
type listedGPU struct {
	gpu.Device
	Health  gpu.Health   `json:"health"`
	Reading *gpu.Reading `json:"reading,omitempty"`
	Workers []string     `json:"workers,omitempty"`
}

func (e *engine) listGPUs() []listedGPU {
	all := []listedGPU{}
	for _, uuid := range slices.Sorted(maps.Keys(e.gpus)) {
		s := e.gpus[uuid]
		listed := listedGPU{Device: s.device, Health: s.health, Reading: s.reading}
		for _, m := range e.sorted() {
			if slices.ContainsFunc(m.plan.GPUs, func(g string) bool { return e.wholeOf(g) == uuid }) {
				listed.Workers = append(listed.Workers, m.name)
			}
		}
		all = append(all, listed)
	}
	return all
}

// Events sends the events of a target.
func (a *Agent) Events(ctx context.Context, target control.Target, arguments control.Arguments, send func(...control.Event) error) error {
	return a.ring.Follow(ctx, arguments, func(e control.Event) bool {
		return e.Worker == "" && target.IsZero() || e.Worker != "" && target.Matches(e.Worker, a.options.Labels)
	}, send)
}

// Logs sends the log lines of a target, as far as they are in memory; older ones are in the files.
func (a *Agent) Logs(ctx context.Context, target control.Target, arguments control.Arguments, send func(...control.LogLine) error) error {
	return a.lines.Follow(ctx, arguments, func(e control.Event) bool { return target.Matches(e.Worker, a.options.Labels) }, func(events ...control.Event) error {
		lines := make([]control.LogLine, 0, len(events))
		for _, e := range events {
			lines = append(lines, control.LogLine{At: e.At, Worker: e.Worker, Stream: e.Kind, Text: e.Cause})
		}
		return send(lines...)
	})
}

// keepAudit keeps an audit row.
func (a *Agent) keepAudit(entry control.Entry) error {
	if a.spool == nil {
		return a.appendAudit(entry)
	}
	row := ledger.Audit{
		At: entry.At, Agent: entry.Agent, Who: cmp.Or(entry.Key, entry.Who, entry.Remote), Role: string(entry.Role),
		Allowed: entry.Outcome != control.OutcomeRefused, Result: string(entry.Outcome),
	}
	if entry.Command != nil {
		row.Operation, row.Target = string(entry.Command.Operation), entry.Command.Target.String()
	}
	if entry.Message != "" {
		row.Result += ": " + entry.Message
	}
	var err error
	if row.Detail, err = json.Marshal(entry); err != nil {
		return fmt.Errorf("write the audit row: %w", err)
	}
	return a.spool.Append(ledger.Entry{Audit: &row})
}

// appendAudit adds a row to the audit's file, for agents without a database.
func (a *Agent) appendAudit(entry control.Entry) (err error) {
	content, err := json.Marshal(entry)
	if err != nil {
		return fmt.Errorf("write the audit row: %w", err)
	}
	file, err := os.OpenFile(a.auditFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write the audit row: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(append(content, '\n')); err != nil {
		return fmt.Errorf("write the audit row: %w", err)
	}
	return file.Sync()
}

// heartbeat tells the ledger that this host lives, what it runs, and what its workers use.
func (e *engine) heartbeat(_ context.Context, now time.Time) {
	if e.ledger == nil {
		return
	}
	for _, m := range e.sorted() {
		if m.state.Sampled.IsZero() || !m.hasProcess() {
			continue
		}
		memory, err := strconv.ParseInt(strconv.FormatUint(m.state.ResidentBytes, 10), 10, 64)
		if err != nil {
			continue
		}
		cpu := (m.state.CPUTime - m.cpuTold).Seconds()
		m.cpuTold = m.state.CPUTime
		sample := ledger.Sample{Worker: m.name, At: now, MemoryBytes: &memory}
		if cpu >= 0 {
			sample.CPUSeconds = &cpu
		}
		e.entries = append(e.entries, ledger.Entry{Sample: &sample})
	}
	const beat = 30 * time.Second
	if now.Sub(e.seen) < beat {
		return
	}
	e.seen = now
	inventory, err := json.Marshal(e.machine)
	if err != nil {
		return
	}
	file, digest := e.file.Digest, e.plan.Digest
	e.background(func(ctx context.Context) {
		err := e.ledger.Seen(ctx, e.options.Name, file, digest, inventory)
		if err != nil && ctx.Err() == nil && !errors.Is(err, ledger.ErrUnknownHost) && !errors.Is(err, ledger.ErrUnavailable) {
			e.log.Warn("host not told to the ledger", zap.Error(err))
		}
	})
}
