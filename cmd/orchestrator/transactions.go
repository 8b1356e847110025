package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"provingground/orchestrator"
	"provingground/orchestrator/history"
)

func transactionsCommand(ctx context.Context, p program, args []string) (_ int, err error) {
	set := p.flags("transactions")
	format := set.String("format", "text", "how to show them: text, csv or json")
	var states []history.State
	set.Func("state", "list those in these `states`: included, failed, rejected, missing, unseen, unknown; separated by commas", func(text string) error {
		for name := range strings.SplitSeq(text, ",") {
			if !slices.Contains(history.States(), history.State(name)) {
				return fmt.Errorf("%q is none of %s", name, joined(history.States()))
			}
			states = append(states, history.State(name))
		}
		return nil
	})
	positional, err := p.parse(set, args)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	if !slices.Contains([]string{"text", "csv", "json"}, *format) {
		return orchestrator.CodeUsage, usagef("-format is text, csv or json, not %q", *format)
	}
	recordPath, config, err := p.recordAndDatabase(positional)
	if err != nil {
		return orchestrator.CodeUsage, err
	}
	runs, err := importRecord(ctx, config, recordPath)
	if err != nil {
		return orchestrator.CodeStep, err
	}
	ledger, err := history.OpenLedger(ctx, config.DBURI, runs[len(runs)-1].ID)
	if err != nil {
		return orchestrator.CodeStep, err //nolint:wrapcheck // says it all
	}
	defer func() { err = errors.Join(err, ledger.Close(ctx)) }()
	if ledger.Deployment == nil {
		_, _ = fmt.Fprintln(p.stderr, "there is no deployment from the time of the run: no fetcher has stored the logs of its nodes in this database")
	}
	out := bufio.NewWriter(p.stdout)
	switch *format {
	case "csv":
		err = transactionsAsCSV(ctx, out, ledger, states)
	case "json":
		encoder := json.NewEncoder(out)
		err = ledger.Each(ctx, states, func(t history.Transaction) error {
			return encoder.Encode(struct {
				Memo string `json:"memo"`
				history.Transaction
			}{t.Memo(), t})
		})
	default:
		err = transactionsAsText(ctx, out, ledger, states)
	}
	if err = errors.Join(err, out.Flush()); err != nil {
		return orchestrator.CodeStep, err
	}
	return orchestrator.CodeOK, nil
}

func joined(states []history.State) string {
	var names []string
	for _, s := range states {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

// transactionsAsText writes a table of the batches, and with states the transactions that are in one of them.
func transactionsAsText(ctx context.Context, w io.Writer, ledger *history.Ledger, states []history.State) error {
	batches, err := ledger.Batches(ctx)
	if err != nil {
		return err //nolint:wrapcheck // says it all
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprint(table, "batch\tkind\tnode\trequest\tat most")
	for _, s := range history.States() {
		_, _ = fmt.Fprintf(table, "\t%s", s)
	}
	_, _ = fmt.Fprintln(table)
	all := map[history.State]int64{}
	for _, b := range batches {
		most := "?"
		if b.Intended != nil {
			most = strconv.FormatInt(*b.Intended, 10)
		}
		_, _ = fmt.Fprintf(table, "%s-%d\t%s\t%s\t%s\t%s", b.Experiment, b.Batch, b.Kind, b.Node, cmp.Or(b.Result, "unanswered"), most)
		for _, s := range history.States() {
			_, _ = fmt.Fprintf(table, "\t%d", b.Count[s])
			all[s] += b.Count[s]
		}
		_, _ = fmt.Fprintln(table)
	}
	_, _ = fmt.Fprint(table, "all\t\t\t\t")
	for _, s := range history.States() {
		_, _ = fmt.Fprintf(table, "\t%d", all[s])
	}
	_, _ = fmt.Fprintln(table)
	if err := table.Flush(); err != nil || len(states) == 0 {
		return err //nolint:wrapcheck // says that standard output failed
	}
	return ledger.Each(ctx, states, func(t history.Transaction) error { //nolint:wrapcheck // says it all
		_, err := fmt.Fprintf(w, "%s %s on %s: %s\n", t.Memo(), t.State, t.Node, strings.Join(details(t), ", "))
		return err //nolint:wrapcheck // says that standard output failed
	})
}

// details says what is known of a transaction.
func details(t history.Transaction) []string {
	said := []string{fmt.Sprintf("seen by %d nodes", t.SeenBy)}
	if t.SeenBy == 1 {
		said[0] = "seen by 1 node"
	}
	if t.Received != nil {
		said = append(said, "first at "+t.Received.Format(time.RFC3339Nano))
	}
	if t.Slot != nil {
		said = append(said, fmt.Sprintf("in slot %d, block %s", *t.Slot, t.Block))
	}
	if t.Reason != "" {
		said = append(said, t.Reason)
	}
	if t.Signature != "" {
		said = append(said, "signature "+t.Signature)
	}
	return said
}

// transactionsAsCSV writes one line for each transaction, below a line with the names of the columns.
func transactionsAsCSV(ctx context.Context, w io.Writer, ledger *history.Ledger, states []history.State) error {
	table := csv.NewWriter(w)
	if err := table.Write([]string{
		"memo", "experiment", "batch", "index", "kind", "node", "signature", "state", "reason", "received", "accepted", "seen_by", "block", "blockchain_length",
		"global_slot", "included",
	}); err != nil {
		return err //nolint:wrapcheck // says that standard output failed
	}
	number := func(n *int) string {
		if n == nil {
			return ""
		}
		return strconv.Itoa(*n)
	}
	stamp := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return t.Format(time.RFC3339Nano)
	}
	err := ledger.Each(ctx, states, func(t history.Transaction) error {
		return table.Write([]string{
			t.Memo(), t.Experiment, strconv.Itoa(t.Batch), strconv.Itoa(t.Index), t.Kind, t.Node, t.Signature, string(t.State), t.Reason, stamp(t.Received),
			stamp(t.Accepted), strconv.Itoa(t.SeenBy), t.Block, number(t.Height), number(t.Slot), stamp(t.Included),
		})
	})
	table.Flush()
	return errors.Join(err, table.Error())
}
