//go:build linux

package snarkpool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"provingground/snarkpool/ledger"
	"provingground/snarkpool/plan"
)

// kept is what is on disk of a worker's process, for the next agent.
type kept struct {
	Name string `json:"name"`
	// Plan is what the process was started by.
	Plan plan.Worker  `json:"plan"`
	Talk conversation `json:"talk"`
}

// Where things are in the state directory.
func (a *Agent) feedingDir() string  { return filepath.Join(a.options.StateDir, "feeding") }
func (a *Agent) intentsFile() string { return filepath.Join(a.options.StateDir, "intents.json") }
func (a *Agent) planFile() string    { return filepath.Join(a.options.StateDir, "plan.json") }
func (a *Agent) gpusFile() string    { return filepath.Join(a.options.StateDir, "gpus.json") }
func (a *Agent) auditFile() string   { return filepath.Join(a.options.StateDir, "audit.jsonl") }

func keptFile(dir, name string) string {
	return filepath.Join(dir, strings.ReplaceAll(name, "/", "~")+".json")
}

// keepTalk writes down what the next agent must know of a worker, before it becomes true. It survives the agent; what survives the machine's end is of no
// use, since no process does.
func (e *engine) keepTalk(m *member) bool {
	r := kept{Name: m.name, Plan: m.running, Talk: m.talk}
	if err := writeJSON(keptFile(e.feedingDir(), m.name), r); err != nil {
		e.note("state directory", err.Error())
		return false
	}
	return true
}

func (e *engine) dropTalk(m *member) {
	if err := os.Remove(keptFile(e.feedingDir(), m.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.log.Debug("record not removed", zap.String("worker", m.name), zap.Error(err))
	}
}

// loadKept reads what the last agent wrote down. What cannot be read is as good as not there: its worker is started afresh.
func (a *Agent) loadKept() (map[string]kept, error) {
	if err := os.MkdirAll(a.feedingDir(), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of records: %w", err)
	}
	files, err := os.ReadDir(a.feedingDir())
	if err != nil {
		return nil, fmt.Errorf("read the records of workers: %w", err)
	}
	all := map[string]kept{}
	for _, file := range files {
		if filepath.Ext(file.Name()) != ".json" {
			continue // What was being written when the last agent was killed.
		}
		var r kept
		if found, err := readJSON(filepath.Join(a.feedingDir(), file.Name()), &r); err != nil {
			a.log.Warn("record not read", zap.Error(err))
		} else if found {
			all[r.Name] = r
		}
	}
	return all, nil
}

// loadSpooled returns the leases whose proofs wait in the spool, as far back as it can be looked through at once: their workers have nothing under way.
func (a *Agent) loadSpooled() (map[ledger.Held]bool, error) {
	all := map[ledger.Held]bool{}
	if a.spool == nil {
		return all, nil
	}
	const most = 1 << 20
	entries, err := a.spool.Read(most)
	if err != nil {
		return nil, fmt.Errorf("read the spool: %w", err)
	}
	for _, entry := range entries {
		if p := entry.Entry.Proof; p != nil {
			all[ledger.Held{Job: p.Job, Epoch: p.Epoch}] = true
		}
	}
	return all, nil
}

func (e *engine) saveIntents() {
	if !e.intentsDirty {
		return
	}
	all := map[string]intent{}
	for _, m := range e.members {
		if m.intent != (intent{}) {
			all[m.name] = m.intent
		}
	}
	if err := writeJSON(e.intentsFile(), all); err != nil {
		e.note("state directory", err.Error())
		return
	}
	e.intentsDirty = false
}

// writeJSON replaces a file in one step.
func writeJSON(path string, value any) error {
	content, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	const secret = 0o600
	if err := os.WriteFile(path+".new", content, secret); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// readJSON reads a file, if there is one.
func readJSON(path string, into any) (bool, error) {
	content, err := os.ReadFile(path) //nolint:gosec // The agent's own.
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(content, into)
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	return true, nil
}
