//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"provingground/cmd/internal/boot"
	"provingground/snarkpool/control"
)

func statusVerb(ctx context.Context, c call) error {
	target, err := c.target()
	if err != nil {
		return err
	}
	return c.ask(ctx, func(client *control.Client) error {
		status, err := client.Status(ctx, target)
		if err != nil {
			return err //nolint:wrapcheck // says it all
		}
		if c.json {
			return c.print(status)
		}
		_, err = fmt.Fprint(c.stdout, statusText(status, nil, 0, 0))
		return err //nolint:wrapcheck // says that standard output failed
	})
}

// statusText is a status for people: a line about the agent, one for each pool, notes, and the workers. before is an earlier status, by which proofs per
// minute are told; nil for none. width and height bound it; 0 is no bound.
func statusText(s control.Status, before *control.Status, width, height int) string {
	var lines []string
	digest := s.Digest
	if len(digest) > 12 {
		digest = digest[:12]
	}
	lines = append(lines, fmt.Sprintf("%s: agent of pool %s for %s, pool file %s, %s", s.Agent, s.Pool, ago(s.At.Sub(s.Since)), orElse(digest, unknown), s.Version))
	lines = append(lines, poolLines(s, before)...)
	for _, note := range s.Notes {
		lines = append(lines, "! "+note)
	}
	for i, line := range lines {
		lines[i] = cut(printable(line), width)
	}
	text := strings.Join(lines, "\n") + "\n"
	workers := slices.Clone(s.Workers)
	if before != nil { // in a table that fits a screen, who needs somebody comes first
		slices.SortStableFunc(workers, func(a, b control.WorkerStatus) int { return cmp.Compare(urgency(a.State), urgency(b.State)) })
	}
	left := 0
	if room := height - len(lines) - 3; height > 0 && len(workers) > room {
		room = max(room, 0)
		left = len(workers) - room
		workers = workers[:room]
	}
	var rows [][]string
	for _, w := range workers {
		row := workerRow(w, s.At)
		if width > 0 {
			row[3] = cut(row[3], mostWhy)
		}
		rows = append(rows, row)
	}
	if len(rows) > 0 {
		head := []string{"WORKER", "STATE", "FOR", "WHY", "PROOFS", "FAILED", "RESTARTS", "S/PROOF", "BUSY", "MEMORY", "CPUS", "GPUS", "PID", "JOB"}
		text += "\n" + table(head, rows, width)
	}
	if left > 0 {
		text += fmt.Sprintf("… and %s\n", count(uint64(left), "more worker", "more workers"))
	}
	return text
}

// mostWhy is how long a reason may be in a table that must fit a screen; status has the whole of it.
const mostWhy = 48

// urgency orders states: the smaller, the sooner somebody should look.
func urgency(state string) int {
	order := []string{"broken", "stuck", "lost", "blocked", "exited", "backoff", "frozen", "starting", "warming", "planned", "draining", "stopping", "paused"}
	if i := slices.Index(order, state); i >= 0 {
		return i
	}
	return len(order)
}

func workerRow(w control.WorkerStatus, now time.Time) []string {
	state := w.State
	if w.Wanted != "" && w.Wanted != w.State && (w.Wanted == "stopped" || w.Wanted == "paused" || w.Wanted == "frozen") {
		state += " → " + w.Wanted
	}
	if w.Until != nil && w.Until.After(now) {
		state += ", " + ago(w.Until.Sub(now)) + " left"
	}
	pid := ""
	if w.PID != 0 {
		pid = fmt.Sprint(w.PID)
	}
	job := w.Job
	if w.Proving != nil {
		job += " " + ago(now.Sub(*w.Proving))
	}
	why := w.Reason
	if state == "idle" || state == "proving" { // as it should be
		why = ""
	}
	busy := unknown
	if w.BusyShare != nil {
		busy = fmt.Sprintf("%.0f%%", *w.BusyShare*100)
	}
	return []string{
		w.Name, state, ago(now.Sub(w.Since)), why, fmt.Sprint(w.Proofs), fmt.Sprint(w.Failures), fmt.Sprint(w.Restarts),
		figure("%.2f", w.SecondsPerProof), busy, amount(w.MemoryBytes), w.CPUs, strings.Join(w.GPUs, ","), pid, job,
	}
}

// poolLines says of each pool how many workers are in which state.
func poolLines(s control.Status, before *control.Status) []string {
	type sum struct {
		states           map[string]int
		workers          int
		proofs, failures uint64
	}
	sums := func(s control.Status) map[string]*sum {
		pools := make(map[string]*sum)
		for _, w := range s.Workers {
			p := pools[w.Pool]
			if p == nil {
				p = &sum{states: make(map[string]int)}
				pools[w.Pool] = p
			}
			p.states[w.State]++
			p.workers++
			p.proofs += w.Proofs
			p.failures += w.Failures
		}
		return pools
	}
	now := sums(s)
	var earlier map[string]*sum
	if before != nil && before.Since.Equal(s.Since) { // counts begin anew with the agent
		earlier = sums(*before)
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(now)) {
		p := now[name]
		var states []string
		for state, n := range p.states {
			states = append(states, fmt.Sprintf("%d %s", n, state))
		}
		slices.SortFunc(states, func(a, b string) int {
			_, stateA, _ := strings.Cut(a, " ")
			_, stateB, _ := strings.Cut(b, " ")
			return cmp.Or(cmp.Compare(p.states[stateB], p.states[stateA]), cmp.Compare(stateA, stateB))
		})
		line := fmt.Sprintf("%s: %s, %s; %s, %d failed", name, count(uint64(p.workers), "worker", "workers"), strings.Join(states, ", "),
			count(p.proofs, "proof", "proofs"), p.failures)
		if was := earlier[name]; was != nil && p.proofs >= was.proofs && s.At.After(before.At) {
			line += fmt.Sprintf(", %.1f a minute", float64(p.proofs-was.proofs)/s.At.Sub(before.At).Minutes())
		}
		lines = append(lines, line)
	}
	return lines
}

// arguments returns what events and logs take.
func (c call) streamArguments() (control.Arguments, error) {
	if c.last < 0 {
		return control.Arguments{}, boot.Usagef("-last must not be negative")
	}
	return control.Arguments{Follow: c.follow, Since: c.since, Last: c.last}, nil
}

// ordinaryEnd makes a signal the ordinary end of what runs until somebody ends it.
func ordinaryEnd(err error) error {
	var ended *interrupted
	if errors.As(err, &ended) {
		return nil
	}
	return err
}

// clockTime is how events and lines of logs tell their time.
const clockTime = "2006-01-02 15:04:05.000"

func eventsVerb(ctx context.Context, c call) error {
	target, err := c.target()
	arguments, err2 := c.streamArguments()
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	return ordinaryEnd(c.ask(ctx, func(client *control.Client) error {
		return client.Events(ctx, target, arguments, func(e control.Event) error {
			if c.json {
				return c.print(e)
			}
			text := e.Kind
			switch {
			case e.From != "" && e.From != e.To:
				text += " " + e.From + " → " + e.To
			case e.To != "":
				text += " " + e.To
			}
			if e.Cause != "" {
				text += ": " + e.Cause
			}
			_, err := fmt.Fprintf(c.stdout, "%s  %s  %s\n", e.At.UTC().Format(clockTime), orElse(e.Worker, orElse(e.Pool, "agent")), printable(text))
			return err //nolint:wrapcheck // says that standard output failed
		})
	}))
}

func logsVerb(ctx context.Context, c call) error {
	target, err := c.target()
	arguments, err2 := c.streamArguments()
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	return ordinaryEnd(c.ask(ctx, func(client *control.Client) error {
		return client.Logs(ctx, target, arguments, func(l control.LogLine) error {
			if c.json {
				return c.print(l)
			}
			mark := "|"
			if l.Stream == "stderr" {
				mark = "!"
			}
			_, err := fmt.Fprintf(c.stdout, "%s  %s %s %s\n", l.At.UTC().Format(clockTime), l.Worker, mark, printable(l.Text))
			return err //nolint:wrapcheck // says that standard output failed
		})
	}))
}
