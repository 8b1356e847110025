package store_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/fetcher/store"
	"provingground/fetcher/trace"
	"provingground/orchestrator/simnet"
)

// sampleFile unpacks the real trace that internal-trace, section 3.5 gives the results of.
func sampleFile(tb testing.TB) string {
	tb.Helper()
	packed, err := os.Open("../trace/testdata/internal-trace.jsonl.gz")
	if err != nil {
		tb.Fatal(err)
	}
	defer packed.Close()
	content, err := gzip.NewReader(packed)
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(tb.TempDir(), "internal-trace.jsonl")
	file, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := io.Copy(file, content); err != nil {
		tb.Fatal(err)
	}
	if err := file.Close(); err != nil {
		tb.Fatal(err)
	}
	return path
}

const sampleTraces = `SELECT string_agg(concat_ws(' ', left(block_id, 13), source, blockchain_length, global_slot, status, round(total_time::numeric, 6)), E'\n'
	ORDER BY blockchain_length, total_time) FROM block_trace`

const sampleEvents = `SELECT string_agg(name || ' ' || n, ', ' ORDER BY name) FROM (
	SELECT 'Snark_work ' || action AS name, count(*) AS n FROM sw_traces GROUP BY action
	UNION ALL SELECT 'Transaction_diff ' || action, count(*) FROM tx_traces GROUP BY action) AS events`

func TestRealTrace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		keepRepeats  bool
		rows, gossip int64
		rejected     string
		stored       int64
	}{
		{name: "raw", keepRepeats: true, rows: 4376, gossip: 3122, rejected: "921", stored: 4488},
		{name: "without repeats", rows: 4376 - 205, gossip: 3122 - 202, rejected: "719", stored: 4488 - 205},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t)
			s := db.open(t, store.Options{})
			files := []store.TraceFile{{Path: sampleFile(t), KeepRepeats: test.keepRepeats}}
			loaded, err := s.Load(t.Context(), "node", files)
			if err != nil {
				t.Fatal(err)
			}
			want := store.Loaded{
				Deployment: 1, Lines: 4488, Repeats: 205, Stored: test.stored,
				Raw: store.Figures{Traces: 12, Rows: 4376, Gossip: 3122, Events: map[string]int64{
					"Snark_work_received": 730, "Snark_work_accepted": 11, "Snark_work_rejected": 921,
				}},
				Unique: store.Figures{Traces: 12, Rows: 4376 - 205, Gossip: 3122 - 202, Events: map[string]int64{
					"Snark_work_received": 730, "Snark_work_accepted": 11, "Snark_work_rejected": 719,
				}},
			}
			if diff := cmp.Diff(want, loaded); diff != "" {
				t.Errorf("loaded (-want +got):\n%s", diff)
			}
			check := func() {
				t.Helper()
				equal(t, db, "SELECT count(*) FROM log_entry", test.stored)
				equal(t, db, "SELECT count(*) FROM block_trace_checkpoint", test.rows)
				equal(t, db, "SELECT count(*) FROM block_trace_checkpoint WHERE gossip", test.gossip)
				equal(t, db, "SELECT count(*) FROM uniq_sws", int64(135))
				equal(t, db, "SELECT count(*) FROM block_trace WHERE metadata_json ? 'transactions'", int64(11))
				equal(t, db, "SELECT count(*) FROM block", int64(11))
				equal(t, db, sampleEvents, "Snark_work accepted 11, Snark_work received 730, Snark_work rejected "+test.rejected)
				equal(t, db, sampleTraces, `0 Unknown 0 0 Pending 3437.273178
3NKPvaHButv9M External 461 855 Success 0.845229
3NLuEvjLU1QAx External 461 855 Success 0.979240
3NLuT6ijs2kwv Internal 462 857 Success 4.971491
3NKb9KZ1eA8Vm External 463 858 Success 0.589291
3NLu5sNRwVV5U Internal 464 859 Success 5.031311
3NLQhLAC7h9TL Internal 465 864 Success 4.981210
3NKK7X9R2hK5M Internal 466 865 Success 4.957133
3NLsXCjVdPnc1 Internal 467 870 Success 4.937261
3NLktCUSvmCum Internal 468 871 Success 4.993762
3NLSD8jtuifQs Internal 469 872 Success 5.022765
3NKMrSubcNy9p Internal 470 874 Success 4.933796`)
			}
			check()
			again, err := s.Load(t.Context(), "node", files)
			if err != nil {
				t.Fatal(err)
			}
			want.Stored = 0
			if diff := cmp.Diff(want, again); diff != "" {
				t.Errorf("loaded again (-want +got):\n%s", diff)
			}
			check()
		})
	}
}

// TestFilesOfThreeProcesses loads what a node wrote in pieces, as its files grow, and at once: the tables are those of the log itself.
func TestFilesOfThreeProcesses(t *testing.T) {
	t.Parallel()
	contents := map[trace.Process]string{}
	inVirtualTime(t, simnet.Options{Nodes: 2, Producers: 2, Slot: 30 * time.Second}, func(w *world) {
		w.load(1, "exp-0-0", 0.2, 2)
		w.Pass(3 * time.Minute)
		for _, log := range w.KeptLogs()[0].Logs {
			process, err := trace.ParseProcess(log.Process)
			if err != nil {
				t.Fatal(err)
			}
			record, err := trace.NewCheckpoint(process, int64(log.ID), log.Message, log.Timestamp)
			if log.Message == "@control" {
				var items []trace.Item
				for _, m := range log.Metadata {
					items = append(items, trace.Item{Key: m.Item, Value: m.Value})
				}
				record, err = trace.NewControl(process, int64(log.ID), items)
			}
			if err != nil {
				t.Fatal(err)
			}
			contents[process] += string(record.AppendLine(nil)) + "\n"
		}
	})
	if len(contents) != 3 {
		t.Fatalf("%d processes wrote, want 3", len(contents))
	}
	db := newDatabase(t)
	s := db.open(t, store.Options{})
	dir := t.TempDir()
	// write writes the first so many per cent of each file, in whole lines.
	write := func(percent int) []store.TraceFile {
		var files []store.TraceFile
		for _, process := range []trace.Process{trace.Verifier, trace.Main, trace.Prover} {
			lines := strings.SplitAfter(contents[process], "\n")
			path := filepath.Join(dir, process.String())
			if err := os.WriteFile(path, []byte(strings.Join(lines[:len(lines)*percent/100], "")), 0o600); err != nil {
				t.Fatal(err)
			}
			files = append(files, store.TraceFile{Path: path, Process: process})
		}
		return files
	}
	var got []map[string]string
	for node, steps := range map[string][]int{"at once": {100}, "in pieces": {20, 30, 30, 70, 100, 100}} {
		deployment := deploy(t, []*store.Store{s})
		for _, percent := range steps {
			if _, err := s.Load(t.Context(), node, write(percent)); err != nil {
				t.Fatal(err)
			}
		}
		content := tables(t, db, deployment)
		for _, table := range []string{"log_entry", "log_cursor", "block_trace_checkpoint"} {
			delete(content, table) // server UUIDs differ; where the prover's records lie between the daemon's may
		}
		got = append(got, content)
		lines := int64(strings.Count(contents[trace.Main]+contents[trace.Prover]+contents[trace.Verifier], "\n"))
		equal(t, db, "SELECT count(*) FROM log_entry WHERE deployment_id = $1", lines, deployment)
		equal(t, db, "SELECT count(*) > 0 FROM block_trace_checkpoint WHERE deployment_id = $1 AND source = 'P'", true, deployment)
	}
	if diff := cmp.Diff(got[0], got[1]); diff != "" {
		t.Errorf("at once and in pieces:\n%.4000s", diff)
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	s := db.open(t, store.Options{})
	path := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(path, []byte("garbage\n[\"One\",1.5]\n{\"current_block\":\n\n[\"Two\",2]\n\x00\xff\n[\"Thr"), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := s.Load(t.Context(), "node", []store.TraceFile{{Path: path}})
	if err != nil || loaded.Bad != 3 || loaded.Stored != 2 {
		t.Errorf("loaded %+v, %v", loaded, err)
	}
	equal(t, db, "SELECT string_agg(log_id || ' ' || raw, ', ' ORDER BY log_id) FROM log_malformed", "1 garbage, 3 {\"current_block\":, 6 \ufffd\ufffd")
	var bad []string
	for _, one := range loaded.BadLines {
		if one.Path != path || one.Reason == nil {
			t.Errorf("bad line %+v", one)
		}
		bad = append(bad, fmt.Sprint(one.Line))
	}
	if diff := cmp.Diff([]string{"1", "3", "6"}, bad); diff != "" {
		t.Errorf("bad lines (-want +got):\n%s", diff)
	}
	equal(t, db, "SELECT string_agg(log_id || message, ' ' ORDER BY log_id) FROM log_entry", "2One 5Two")
	// The last line had no end: it was still being written.
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("ee\",3]"); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Load(t.Context(), "node", []store.TraceFile{{Path: path}}); err != nil || again.Stored != 1 || again.Lines != loaded.Lines+1 {
		t.Errorf("loaded %+v, then %+v, %v", loaded, again, err)
	}
	equal(t, db, "SELECT string_agg(log_id::text, ' ' ORDER BY log_id) FROM log_malformed", "1 3 6")
	equal(t, db, "SELECT string_agg(log_id || message, ' ' ORDER BY log_id) FROM log_entry", "2One 5Two 7Three")
	if _, err := s.Load(t.Context(), "node", []store.TraceFile{{Path: path}, {Path: path}}); err == nil {
		t.Error("a file was loaded twice at once")
	}
	if _, err := s.Load(t.Context(), "node", []store.TraceFile{{Path: path + "-none"}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestFilesOfNothing loads what holds no log: each says what it is, and leaves nothing.
func TestFilesOfNothing(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	s := db.open(t, store.Options{})
	for name, content := range map[string]string{"empty": "", "one byte": "\x1f", "blank": "\n \n", "unfinished": `["On`} {
		path := filepath.Join(t.TempDir(), "trace")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		loaded, err := s.Load(t.Context(), name, []store.TraceFile{{Path: path}})
		if err != nil || loaded.Bad != 0 || loaded.Stored != 0 || loaded.Deployment != s.Deployment() {
			t.Errorf("%s: loaded %+v, %v", name, loaded, err)
		}
	}
	_, err := s.Load(t.Context(), "packed", []store.TraceFile{{Path: "../trace/testdata/internal-trace.jsonl.gz"}})
	if err == nil || !strings.HasSuffix(err.Error(), "internal-trace.jsonl.gz is gzip: gunzip it first") {
		t.Errorf("a packed file: %v", err)
	}
	equal(t, db, "SELECT count(*) FROM log_node", int64(0))
	// Lines that are longer than what is kept of them, and more than are told of.
	path := filepath.Join(t.TempDir(), "trace")
	long := strings.Repeat("x", 10_000)
	if err := os.WriteFile(path, []byte(strings.Repeat(long+"\nrubbish\n", 30)), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := s.Load(t.Context(), "rubbish", []store.TraceFile{{Path: path}})
	if err != nil || loaded.Bad != 60 || len(loaded.BadLines) != 10 || loaded.BadLines[9].Line != 10 {
		t.Errorf("loaded %+v, %v", loaded, err)
	}
	equal(t, db, "SELECT count(*) FROM log_malformed WHERE raw = CASE WHEN log_id % 2 = 0 THEN 'rubbish' ELSE repeat('x', 4096) END", int64(60))
}

// TestLinesThatAreRefused has the database refuse what is derived from a file's lines, which are then stored without it.
func TestLinesThatAreRefused(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	s := db.open(t, store.Options{})
	save(t, s, batch("other", checkpoint(1, "One", 1))) // makes the partitions
	db.execute(t, "ALTER TABLE block_trace_checkpoint ADD CHECK (name <> 'Poison')")
	path := filepath.Join(t.TempDir(), "trace")
	lines := []string{
		`{"current_block":"3Nblock"}` + "\n" + `["External_block_received",1.5]` + "\n" + `["Poison",2.5]` + "\n",
		`{"current_block":"3Nblock"}` + "\n" + `["Breadcrumb_integrated",3.5]` + "\n",
	}
	for i := range lines {
		if err := os.WriteFile(path, []byte(strings.Join(lines[:i+1], "")), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Load(t.Context(), "node", []store.TraceFile{{Path: path}}); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, db, "SELECT string_agg(message, ' ' ORDER BY log_id) FROM log_entry JOIN log_node USING (node_id) WHERE node_name = 'node'",
		"@control External_block_received Poison @control Breadcrumb_integrated")
	equal(t, db, "SELECT string_agg(b.block_id || ' ' || c.name, ' ') FROM block_trace_checkpoint c JOIN block_trace b USING (block_trace_id) WHERE node_name = 'node'",
		"3Nblock Breadcrumb_integrated")
	equal(t, db, "SELECT from_id || ' ' || to_id FROM log_problem", "1 3")
	if got := s.Counts().Underived; got != 1 {
		t.Errorf("%d batches without anything derived, want 1", got)
	}
}
