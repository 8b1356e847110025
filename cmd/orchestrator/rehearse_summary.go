package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
)

// rehearsed is a rehearsal that is over.
type rehearsed struct {
	scene     scene
	result    orchestrator.Result
	steps, of int // begun, and in the script
	history   simnet.History
	madeUp    []string      // what the script took for granted, in words
	saved     []string      // what gather-logs would have saved, in words
	ended     time.Time     // network time
	wall      time.Duration // wall time that it took
}

// ran is what happened on a network by its own journal.
type ran struct {
	schedules, sent, rejected, funded, stopped int
	blocks, orphaned                           int            // on the chain, and not
	included                                   int            // transactions in these blocks
	failures                                   map[string]int // how many of them failed, by the reason
}

// readRan counts what happened.
func readRan(history simnet.History) ran {
	r := ran{failures: map[string]int{}}
	produced := 0
	for _, entry := range history {
		switch fact := entry.Fact.(type) {
		case simnet.ScheduleAccepted:
			r.schedules++
		case simnet.CommandSent:
			r.sent++
		case simnet.CommandRejected:
			r.rejected++
		case simnet.BlockProduced:
			produced++
		case simnet.FundingStarted:
			r.funded += fact.NumAccounts
		case simnet.DaemonStopped:
			r.stopped++
		}
	}
	for _, block := range history.Chain() {
		r.blocks++
		for _, command := range block.Commands {
			r.included++
			if command.Failure != "" {
				r.failures[command.Failure]++
			}
		}
	}
	r.orphaned = produced - r.blocks
	return r
}

// write says to people what happened.
func (s rehearsed) write(out io.Writer) {
	var text strings.Builder
	text.WriteString("This was a rehearsal: nothing outside this process was read, written or started.\n")
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	row := func(name, format string, values ...any) {
		_, _ = fmt.Fprintf(table, "  %s\t%s\n", name, fmt.Sprintf(format, values...))
	}
	r := readRan(s.history)
	row("network", "%s, %d of them producing blocks, slots of %s", counted(s.scene.nodes, "node"), s.scene.producers, s.scene.slot)
	if len(s.scene.faults) > 0 {
		var faults []string
		for _, fault := range s.scene.faults {
			faults = append(faults, fault.String())
		}
		row("faults", "%s", strings.Join(faults, "; "))
	}
	row("time", "%s of network time, %s on the wall", s.ended.Sub(rehearsedGenesis()).Round(time.Second), s.wall.Round(time.Millisecond))
	row("steps", "%d of %d begun", s.steps, s.of)
	row("load", "%s accepted by the nodes", counted(r.schedules, "schedule"))
	row("transactions", "%d sent, %d of them in blocks; %d not taken by a node's pool", r.sent, r.included, r.rejected)
	if r.rejected*10 > r.sent {
		row("", "a pool takes no nonce twice: load with the same fee payers began before a block had what they sent earlier (wait a slot)")
	}
	for _, reason := range slices.Sorted(maps.Keys(r.failures)) {
		row("", "%d in blocks failed: %s", r.failures[reason], reason)
	}
	row("blocks", "%d on the chain, %d orphaned", r.blocks, r.orphaned)
	if r.funded > 0 {
		row("accounts", "%d asked for by funding", r.funded)
	}
	if r.stopped > 0 {
		row("daemons", "%d stopped, %d are down at the end", r.stopped, len(s.history.Down()))
	}
	for i, what := range s.madeUp {
		name := ""
		if i == 0 {
			name = "made up"
		}
		row(name, "%s", what)
	}
	for i, what := range s.saved {
		name := ""
		if i == 0 {
			name = "would be saved"
		}
		row(name, "%s", what)
	}
	row("at the end", "%s", s.atTheEnd())
	for i, r := range s.result.Remains {
		name := ""
		if i == 0 {
			name = "not known to be undone"
		}
		row(name, "%s", r)
	}
	held := ""
	if s.result.Held > 0 {
		held = ", " + counted(s.result.Held, "claim") + " held"
	}
	row("verdict", "exit code %d: %s%s", s.result.Code, verdict(s.result.Code), held)
	row("the same again", "-seed %d, with the same script and options", s.scene.seed)
	_ = table.Flush() // into memory
	_, _ = io.WriteString(out, text.String())
}

// atTheEnd says what still runs or is in force.
func (s rehearsed) atTheEnd() string {
	nodes, last := map[string]bool{}, time.Time{}
	running := s.history.Unstopped()
	for _, schedule := range running {
		nodes[schedule.Node] = true
		if schedule.End.After(last) {
			last = schedule.End
		}
	}
	var left []string
	if len(running) > 0 {
		left = append(left, fmt.Sprintf("%s on %s, %s", counted(len(running), "schedule"), counted(len(nodes), "node"), until(s.ended, last)))
	}
	if n := len(s.history.Gating()); n > 0 {
		left = append(left, counted(n, "gated node"))
	}
	if n := len(s.history.Limits()); n > 0 {
		left = append(left, fmt.Sprintf("zkApp limits on %s", counted(n, "node")))
	}
	if len(left) == 0 {
		return "nothing runs or is in force any more"
	}
	text := strings.Join(left, ", ")
	if s.result.Code == orchestrator.CodeOK {
		text += ": a run that ends well leaves this as it is"
	}
	return text
}

// until says when load ends.
func until(now, end time.Time) string {
	if rest := end.Sub(now); rest > 0 {
		return fmt.Sprintf("the last of which ends by itself after %s", rest.Round(time.Second))
	}
	return "which end at their next tick"
}

// verdict says what an exit code means.
func verdict(code int) string {
	switch code {
	case orchestrator.CodeOK:
		return "everything ran"
	case orchestrator.CodeStep:
		return "a step failed"
	case orchestrator.CodeVerdict:
		return "an expectation, a watch or a limit failed"
	case orchestrator.CodeRemains:
		return "clean-up incomplete, something would still be running"
	case orchestrator.CodeInconclusive:
		return "inconclusive"
	case orchestrator.CodeInternal:
		return "an error inside the program"
	default:
		return "interrupted, and cleaned up"
	}
}

// counted is a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
