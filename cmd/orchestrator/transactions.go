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
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"provingground/orchestrator"
	"provingground/orchestrator/history"
	"provingground/orchestrator/record"
)

func transactionsCommand(ctx context.Context, p program, args []string) (_ int, err error) {
	set := p.flags("transactions")
	format := set.String("format", "text", "how to show them: text, csv or json")
	var states []history.State
	set.Func("state", "list those in these `states`: included, failed, rejected, missing, unseen, unknown; separated by commas", func(text string) error {
		for name := range strings.SplitSeq(text, ",") {
			if !slices.Contains(history.States(), history.State(name)) {
				return fmt.Errorf("%q is none of %s", name, strings.Join(stateNames(history.States()), ", "))
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
	if err := sameNetwork(recordPath, positional[1], config); err != nil {
		return orchestrator.CodeStep, err
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

func stateNames(states []history.State) []string {
	names := make([]string, 0, len(states))
	for _, s := range states {
		names = append(names, string(s))
	}
	return names
}

// errEnough ends the reading of a record.
var errEnough = errors.New("enough was read")

// sameNetwork reports a record of a run on another network than the configuration's, whose database then knows nothing of it.
func sameNetwork(recordPath, configPath string, config orchestrator.Config) (err error) {
	file, err := os.Open(recordPath) //nolint:gosec // the caller's own argument
	if err != nil {
		return fmt.Errorf("open the record: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	var head struct{ Network string }
	if _, err := record.Read(recordPath, file, func(line record.Line) error {
		if err := json.Unmarshal(line.Value, &head); line.Name != "_run" || err != nil {
			head.Network = "" // the import says what is wrong
		}
		return errEnough
	}); err != nil && !errors.Is(err, errEnough) {
		return err //nolint:wrapcheck // says it all
	}
	if head.Network != "" && head.Network != config.Network() {
		return fmt.Errorf("%s is the record of a run on %s, and %s is for %s: give the configuration of that run", recordPath, head.Network, configPath, config.Network())
	}
	return nil
}

// transactionsAsText writes a table of the batches and one of the rounds, and with states the transactions that are in one of them.
func transactionsAsText(ctx context.Context, w io.Writer, ledger *history.Ledger, states []history.State) error {
	batches, err := ledger.Batches(ctx)
	if err != nil {
		return err //nolint:wrapcheck // says it all
	}
	rounds, err := ledger.Rounds(ctx)
	if err != nil {
		return err //nolint:wrapcheck // says it all
	}
	names := stateNames(history.States())
	table := [][]string{append(append([]string{"batch", "kind", "node", "request", "at most"}, names...), "why unseen or unknown")}
	for _, b := range batches {
		most := "?"
		if b.Intended != nil {
			most = strconv.FormatInt(*b.Intended, 10)
		}
		row := []string{fmt.Sprintf("%s-%d", b.Experiment, b.Batch), b.Kind, b.Node, cmp.Or(b.Result, "unanswered"), most}
		for _, s := range history.States() {
			row = append(row, strconv.FormatInt(b.Count[s], 10))
		}
		table = append(table, append(row, strings.Join(b.Reasons, "; ")))
	}
	if err := writeTable(w, table, 4, len(names)+1); err != nil {
		return err
	}
	table = [][]string{append([]string{"round", "kind"}, append(names, "p95 latency")...)}
	all := map[history.State]int64{}
	for _, r := range rounds {
		latency := "-"
		if r.P95 != nil {
			latency = r.P95.Round(100 * time.Millisecond).String()
		}
		table = append(table, append([]string{r.Experiment, r.Kind}, append(shares(r.Count), latency)...))
		for s, n := range r.Count {
			all[s] += n
		}
	}
	table = append(table, append([]string{"all", ""}, append(shares(all), "")...))
	if _, err := fmt.Fprintln(w); err != nil {
		return err //nolint:wrapcheck // says that standard output failed
	}
	if err := writeTable(w, table, 2, len(names)+1); err != nil {
		return err
	}
	if ledger.AsOf != nil {
		if _, err := fmt.Fprintf(w, "\nmissing and rejected ones are in no block that was logged until %s\n", ledger.AsOf.Format(time.RFC3339)); err != nil {
			return err //nolint:wrapcheck // says that standard output failed
		}
	}
	if len(states) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err //nolint:wrapcheck // says that standard output failed
	}
	none := true
	if err := ledger.Each(ctx, states, func(t history.Transaction) error {
		none = false
		_, err := fmt.Fprintf(w, "%s %s on %s: %s\n", t.Memo(), t.State, t.Node, strings.Join(details(t), ", "))
		return err //nolint:wrapcheck // says that standard output failed
	}); err != nil || !none {
		return err //nolint:wrapcheck // says it all
	}
	_, err = fmt.Fprintf(w, "none is %s\n", strings.Join(stateNames(states), " or "))
	return err //nolint:wrapcheck // says that standard output failed
}

// shares writes how many transactions are in each state, with the share of all but those that were never sent.
func shares(count map[history.State]int64) []string {
	var sent int64
	for s, n := range count {
		if s != history.Unseen {
			sent += n
		}
	}
	cells := make([]string, 0, len(history.States()))
	for _, s := range history.States() {
		cell := strconv.FormatInt(count[s], 10)
		if s != history.Unseen && count[s] > 0 {
			cell += fmt.Sprintf(" (%.1f%%)", 100*float64(count[s])/float64(sent))
		}
		cells = append(cells, cell)
	}
	return cells
}

// writeTable writes rows below one another: so many columns of text, then columns of numbers, which end at the same place, then text again.
func writeTable(w io.Writer, rows [][]string, texts, numbers int) error {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			width := widths[i]
			if i < texts || i >= texts+numbers {
				width = -width
			}
			if i > 0 {
				line.WriteString("  ")
			}
			fmt.Fprintf(&line, "%*s", width, cell)
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return err //nolint:wrapcheck // says that standard output failed
		}
	}
	return nil
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
		"global_slot", "included", "as_of",
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
			stamp(t.Accepted), strconv.Itoa(t.SeenBy), t.Block, number(t.Height), number(t.Slot), stamp(t.Included), stamp(t.AsOf),
		})
	})
	table.Flush()
	return errors.Join(err, table.Error())
}
