package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"

	"provingground/orchestrator/simnet"
)

// prover is what a journal says of SNARK workers outside of the simulation.
type prover struct{ given, overdue, accepted, refused, failed int }

// String says how often work was given to them, let go to others, and how their attempts ended.
func (p prover) String() string {
	return fmt.Sprintf("%d given, %d reassigned for being late, %d proofs accepted, %d refused, %d failed", p.given, p.overdue, p.accepted, p.refused, p.failed)
}

// show prints what a ground-truth journal says happened.
func show(path string, out io.Writer) (err error) {
	file, err := os.Open(path) //nolint:gosec // the caller's own argument
	if err != nil {
		return fmt.Errorf("open the journal: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	history, err := simnet.ReadHistory(file)
	if err != nil {
		return err
	}
	var produced, interrupted, sent, rejected, restarted int
	provers := map[string]*prover{}
	proverOf := func(worker string) *prover {
		if provers[worker] == nil {
			provers[worker] = new(prover)
		}
		return provers[worker]
	}
	funded := map[string]bool{} // an account comes to be once more where the chain changes
	byMemo := map[string]bool{}
	for _, entry := range history {
		switch fact := entry.Fact.(type) {
		case simnet.BlockProduced:
			produced++
			if fact.Interrupted != nil {
				interrupted++
			}
		case simnet.CommandSent:
			sent++
			byMemo[fact.Memo] = false
		case simnet.CommandRejected:
			rejected++
		case simnet.DaemonStopped:
			restarted++
		case simnet.AccountCreated:
			funded[fact.PublicKey] = true
		case simnet.WorkGiven:
			proverOf(fact.Worker).given++
			if fact.From != "" {
				proverOf(fact.From).overdue++
			}
		case simnet.ProofAccepted:
			proverOf(fact.Worker).accepted++
		case simnet.ProofRefused:
			proverOf(fact.Worker).refused++
		case simnet.WorkFailed:
			proverOf(fact.Worker).failed++
		}
	}
	included := 0
	for _, memo := range history.Memos() {
		if seen, ok := byMemo[memo]; ok && !seen {
			byMemo[memo] = true
			included++
		}
	}
	chain := history.Chain()
	schedules, unstopped := history.Schedules(), history.Unstopped()
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, values ...any) {
		_, _ = fmt.Fprintf(table, "  %s\t%s\n", name, fmt.Sprintf(format, values...))
	}
	row("blocks", "%d produced, %d on the chain, %d orphaned", produced, len(chain), produced-len(chain))
	row("commands", "%d sent, %d memos of them on the chain, %d not taken by a pool", sent, included, rejected)
	row("accounts", "%d came to be", len(funded))
	row("schedules", "%d accepted, %d run and were not told to stop", len(schedules), len(unstopped))
	row("daemons", "%d stopped, %d are down", restarted, len(history.Down()))
	row("in force", "%d gated nodes, %d limits", len(history.Gating()), len(history.Limits()))
	if len(provers) > 0 {
		var all prover
		for _, p := range provers {
			all.given, all.overdue, all.accepted, all.refused, all.failed =
				all.given+p.given, all.overdue+p.overdue, all.accepted+p.accepted, all.refused+p.refused, all.failed+p.failed
		}
		row("SNARK work", "%s; %d blocks interrupted", all, interrupted)
		for _, worker := range slices.Sorted(maps.Keys(provers)) {
			row("worker", "%s: %s", worker, *provers[worker])
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("show the journal: %w", err)
	}
	return nil
}
