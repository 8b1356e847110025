package store_test

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"provingground/fetcher"
	"provingground/internal/mina"
	"provingground/orchestrator/simnet"
	"provingground/orchestrator/simnet/simnettest"
)

// world is a simulated network on a virtual clock. While a store waits for the database, time stands still there.
type world struct {
	testing.TB
	*simnettest.World
	sender mina.PrivateKey
}

// inVirtualTime runs f with a started network.
func inVirtualTime(tb testing.TB, options simnet.Options, f func(w *world)) {
	tb.Helper()
	options.KeepJournal, options.KeepLogs, options.JournalNodes = true, true, true
	senders := simnettest.Senders(tb, 1)
	options.Accounts = simnettest.Rich(senders)
	simnettest.Live(tb, options, func(live *simnettest.World) { f(&world{TB: tb, World: live, sender: senders[0]}) })
}

// load has a node send payments with memos PREFIX-0, PREFIX-1 and so on.
func (w *world) load(node int, prefix string, tps float64, minutes int) {
	w.Helper()
	w.Payments(node, w.sender, prefix, tps, minutes)
}

// options are those of a collector of the network.
func (w *world) options(store fetcher.Store) fetcher.Options {
	w.Helper()
	return fetcher.Options{Discover: w.Listed(), Store: store, Clock: w.Clock, BackoffMax: 5 * time.Second, QueueSize: 20000, Dial: w.Dial}
}

// collect runs a collector until stop is called, which returns when it has ended.
func (w *world) collect(options fetcher.Options) (collector *fetcher.Collector, stop func()) {
	w.Helper()
	return simnettest.Collect(w.Ctx(), w, options)
}

// row is an entry as it is stored, or as the node kept it.
type row struct {
	Node, Server string
	ID           int64
	Time         time.Time
	Process      string
	Message      string
	Metadata     string // in one spelling
}

func (r row) compare(other row) int {
	return cmp.Or(strings.Compare(r.Node, other.Node), strings.Compare(r.Server, other.Server), cmp.Compare(r.ID, other.ID))
}

// spelled gives JSON one spelling.
func spelled(tb testing.TB, text []byte) string {
	tb.Helper()
	if text == nil {
		return ""
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	plain, err := json.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	return string(plain)
}

// stored returns all entries in the database.
func (d *database) stored(tb testing.TB) []row {
	tb.Helper()
	rows, err := d.conn.Query(tb.Context(), `SELECT node_name, server_uuid::text, log_id, logged_at, coalesce(process, ''), message, metadata::text
		FROM log_entry JOIN log_node USING (deployment_id, node_id)`)
	if err != nil {
		tb.Fatal(err)
	}
	var all []row
	var r row
	var metadata []byte
	if _, err := pgx.ForEachRow(rows, []any{&r.Node, &r.Server, &r.ID, &r.Time, &r.Process, &r.Message, &metadata}, func() error {
		r.Time, r.Metadata = r.Time.UTC(), spelled(tb, metadata)
		all = append(all, r)
		return nil
	}); err != nil {
		tb.Fatal(err)
	}
	slices.SortFunc(all, row.compare)
	return all
}

// gaps returns the gaps of known length in the database, by node and server UUID, joined.
func (d *database) gaps(tb testing.TB) map[[2]string][]simnet.LogRange {
	tb.Helper()
	rows, err := d.conn.Query(tb.Context(), `SELECT node_name, server_uuid::text, from_id, to_id FROM log_gap JOIN log_node USING (deployment_id, node_id)
		WHERE to_id IS NOT NULL ORDER BY 1, 2, 3`)
	if err != nil {
		tb.Fatal(err)
	}
	all := map[[2]string][]simnet.LogRange{}
	var key [2]string
	var gap simnet.LogRange
	if _, err := pgx.ForEachRow(rows, []any{&key[0], &key[1], &gap.First, &gap.Last}, func() error {
		if list := all[key]; len(list) > 0 && list[len(list)-1].Last+1 == gap.First {
			list[len(list)-1].Last = gap.Last
		} else {
			all[key] = append(list, gap)
		}
		return nil
	}); err != nil {
		tb.Fatal(err)
	}
	return all
}

// verify compares the database with what the daemons really logged: each entry is stored once, as it was, or lies in a gap that is what
// the node dropped, or lies behind the last answer of a run.
func (w *world) verify(d *database) (stored, lost int) {
	w.Helper()
	names, runs := w.Names(), w.LogRuns()
	gaps := d.gaps(w)
	var want []row
	got := d.stored(w)
	last := map[[2]string]int64{}
	for _, r := range got {
		last[[2]string{r.Node, r.Server}] = r.ID
	}
	for i, kept := range w.KeptLogs() {
		run := [2]string{names[kept.Node], kept.ServerUUID}
		for _, gap := range gaps[run] {
			for id := gap.First; id <= gap.Last; id++ {
				lost++
				if !contains(runs[i].Dropped, id) {
					w.Errorf("%v: entry %d is given up, but the node did not drop it", run, id)
				}
			}
		}
		for _, log := range kept.Logs {
			if contains(gaps[run], log.ID) || int64(log.ID) > last[run] {
				continue
			}
			r := row{Node: run[0], Server: run[1], ID: int64(log.ID), Time: log.Timestamp, Process: log.Process, Message: log.Message}
			if len(log.Metadata) > 0 {
				object := map[string]json.RawMessage{}
				for _, m := range log.Metadata {
					object[m.Item] = m.Value
				}
				text, err := json.Marshal(object)
				if err != nil {
					w.Fatal(err)
				}
				r.Metadata = spelled(w, text)
			}
			want = append(want, r)
		}
	}
	slices.SortFunc(want, row.compare)
	if !slices.Equal(want, got) {
		diff := gocmp.Diff(want, got)
		w.Errorf("%d entries are real, %d stored (-real +stored):\n%.3000s", len(want), len(got), diff)
	}
	return len(got), lost
}

func contains(ranges []simnet.LogRange, id int) bool {
	return slices.ContainsFunc(ranges, func(r simnet.LogRange) bool { return r.First <= id && id <= r.Last })
}

// verifyDerived compares what is derived with the network's journal. Everything that the nodes logged must be stored.
func (w *world) verifyDerived(d *database) {
	w.Helper()
	type tx struct {
		Hash, Type, Memo string
		Time             time.Time
	}
	type included struct {
		Hash, Type, Memo, Result, Block string
		Length, Slot                    int
	}
	var wantTxs []tx
	var wantIncluded []included
	history := w.History()
	for _, t := range history.Transactions() {
		var first time.Time
		for _, report := range t.Reports {
			if first.IsZero() || report.At.Before(first) {
				first = report.At
			}
		}
		if !first.IsZero() {
			wantTxs = append(wantTxs, tx{t.Signature, t.Type, t.Memo, first.Truncate(time.Microsecond)})
		}
		for _, b := range t.Blocks {
			result := "Applied"
			if b.Failure != "" {
				result = "Failed"
			}
			if b.OnChain {
				wantIncluded = append(wantIncluded, included{t.Signature, t.Type, t.Memo, result, b.Hash, b.Height, b.Slot})
			}
		}
	}
	gotTxs := all[tx](w, d, "SELECT hash, type, memo, time FROM unique_txs")
	for i := range gotTxs {
		gotTxs[i].Time = gotTxs[i].Time.UTC()
	}
	sorted := cmpopts.SortSlices(func(a, b tx) bool { return a.Hash < b.Hash })
	if diff := gocmp.Diff(wantTxs, gotTxs, sorted); diff != "" {
		w.Errorf("%d transactions were received, %d are stored (-real +stored):\n%.3000s", len(wantTxs), len(gotTxs), diff)
	}
	gotIncluded := all[included](w, d, "SELECT hash, type, memo, result, state_hash, blockchain_length, global_slot FROM block_txs")
	if diff := gocmp.Diff(wantIncluded, gotIncluded, cmpopts.SortSlices(func(a, b included) bool { return a.Hash < b.Hash })); diff != "" {
		w.Errorf("%d transactions were included, %d are stored (-real +stored):\n%.3000s", len(wantIncluded), len(gotIncluded), diff)
	}

	w.verifyExperiments(d, history)

	type chainBlock struct {
		Hash, Parent string
		Length, Slot int
	}
	var wantChain []chainBlock
	for _, b := range history.Chain() {
		wantChain = append(wantChain, chainBlock{b.Hash, b.Parent, b.Height, b.Slot})
	}
	gotChain := all[chainBlock](w, d, "SELECT state_hash, coalesce(previous_state_hash, ''), blockchain_length, global_slot FROM block WHERE canonical ORDER BY 3")
	if diff := gocmp.Diff(wantChain, gotChain); diff != "" {
		w.Errorf("best chain (-real +stored):\n%.3000s", diff)
	}

	type work struct {
		First, Second              int // 0 when there is none
		Added, Received, Scheduled time.Time
	}
	var wantWorks []work
	for _, s := range history.Works() {
		one := work{First: s.IDs[0]}
		if len(s.IDs) > 1 {
			one.Second = s.IDs[1]
		}
		earliest := func(field *time.Time, at time.Time) {
			if at = at.Truncate(time.Microsecond); field.IsZero() || at.Before(*field) {
				*field = at
			}
		}
		for _, report := range s.Reports {
			switch report.Listed {
			case "":
				earliest(&one.Received, report.Arrived)
			case simnet.WorkAdded:
				earliest(&one.Added, report.At)
			case simnet.WorkScheduled:
				earliest(&one.Scheduled, report.At)
			default: // a removal has no time of its own in the table
			}
		}
		if len(s.Reports) > 0 {
			wantWorks = append(wantWorks, one)
		}
	}
	gotWorks := all[work](w, d, `SELECT fst_work_id, coalesce(snd_work_id, 0), coalesce(time_added, '0001-01-01 00:00Z'), coalesce(time_received, '0001-01-01 00:00Z'),
		coalesce(time_scheduled, '0001-01-01 00:00Z') FROM uniq_sws`)
	for i := range gotWorks {
		g := &gotWorks[i]
		g.Added, g.Received, g.Scheduled = g.Added.UTC(), g.Received.UTC(), g.Scheduled.UTC()
	}
	if diff := gocmp.Diff(wantWorks, gotWorks, cmpopts.SortSlices(func(a, b work) bool { return a.First < b.First })); diff != "" {
		w.Errorf("%d SNARK works were in the pools, %d are stored (-real +stored):\n%.3000s", len(wantWorks), len(gotWorks), diff)
	}
}

// verifyExperiments compares the view experiments with the sums of the journal's own transactions.
func (w *world) verifyExperiments(d *database, history simnet.History) {
	w.Helper()
	type experiment struct {
		Exp                                       string
		Round                                     int
		Total, ZkApps, Missed, Failed, Successful int64
		Start                                     time.Time
		Seconds                                   float64
	}
	sums := map[string]*experiment{}
	last := map[string]time.Time{}
	for _, t := range history.Transactions() {
		parts := strings.Split(t.Memo, "-")
		if len(t.Reports) == 0 || len(parts) < 4 {
			continue
		}
		first := slices.MinFunc(t.Reports, func(a, b simnet.PoolReport) int { return a.At.Compare(b.At) }).At.Truncate(time.Microsecond)
		name, round := strings.Join(parts[:len(parts)-3], "-"), parts[len(parts)-3]
		key := name + "-" + round
		if sums[key] == nil {
			number, err := strconv.Atoi(round)
			if err != nil {
				w.Fatal(err)
			}
			sums[key] = &experiment{Exp: name, Round: number, Start: first}
		}
		sum := sums[key]
		sum.Total++
		if t.Type != "payment" {
			sum.ZkApps++
		}
		if first.Before(sum.Start) {
			sum.Start = first
		}
		if first.After(last[key]) {
			last[key] = first
		}
		onChain := slices.IndexFunc(t.Blocks, func(b simnet.TransactionBlock) bool { return b.OnChain })
		switch {
		case onChain < 0:
			sum.Missed++
		case t.Blocks[onChain].Failure != "":
			sum.Failed++
		default:
			sum.Successful++
		}
	}
	var want []experiment
	for key, sum := range sums {
		sum.Seconds = math.Floor(last[key].Sub(sum.Start).Seconds())
		want = append(want, *sum)
	}
	// The view rounds shares to hundredths, which experiment_batch, that it adds up, does not.
	got := all[experiment](w, d, `SELECT e.exp, e.round, e.total, e.zkapps, sum(b.missed)::bigint, sum(b.failed)::bigint, sum(b.successful)::bigint, e.start,
			extract(epoch FROM e.duration)::float8
		FROM experiments e JOIN experiment_batch b USING (deployment_id, exp, round)
		GROUP BY e.exp, e.round, e.total, e.zkapps, e.start, e.duration, e.missed, e.failed, e.successful
		HAVING (e.missed, e.failed, e.successful) = (round(sum(b.missed) / e.total, 2), round(sum(b.failed) / e.total, 2), round(sum(b.successful) / e.total, 2))`)
	for i := range got {
		got[i].Start = got[i].Start.UTC()
	}
	if len(want) == 0 {
		w.Error("the network had no experiment")
	}
	if diff := gocmp.Diff(want, got, cmpopts.SortSlices(func(a, b experiment) bool { return a.Exp < b.Exp || a.Exp == b.Exp && a.Round < b.Round })); diff != "" {
		w.Errorf("experiments (-real +stored):\n%s", diff)
	}
}

// all returns the rows of a query, by position.
func all[T any](tb testing.TB, d *database, query string) []T {
	tb.Helper()
	rows, err := d.conn.Query(tb.Context(), query)
	if err != nil {
		tb.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	if err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	return list
}
