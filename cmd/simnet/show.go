package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"provingground/orchestrator/simnet"
)

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
	var produced, sent, rejected, restarted int
	funded := map[string]bool{} // an account comes to be once more where the chain changes
	byMemo := map[string]bool{}
	for _, entry := range history {
		switch fact := entry.Fact.(type) {
		case simnet.BlockProduced:
			produced++
		case simnet.CommandSent:
			sent++
			byMemo[fact.Memo] = false
		case simnet.CommandRejected:
			rejected++
		case simnet.DaemonStopped:
			restarted++
		case simnet.AccountCreated:
			funded[fact.PublicKey] = true
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
	if err := table.Flush(); err != nil {
		return fmt.Errorf("show the journal: %w", err)
	}
	return nil
}
