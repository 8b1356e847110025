package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"provingground/orchestrator/simnet"
)

// run is one run of one daemon.
type run struct{ node, serverUUID string }

// truth is what the nodes logged, by a simulated network's own word.
type truth struct {
	entries map[run][][sha256.Size]byte // the entry with the ID i at i−1
	runs    map[run]simnet.LogRun
}

// digest stands for what an entry says. Metadata are an object whose keys are sorted.
func digest(t *testing.T, at time.Time, process, message string, metadata []byte) [sha256.Size]byte {
	t.Helper()
	var canonical []byte
	if metadata != nil {
		var value any
		decoder := json.NewDecoder(bytes.NewReader(metadata))
		decoder.UseNumber()
		if err := decoder.Decode(&value); err != nil {
			t.Fatalf("metadata %s: %v", metadata, err)
		}
		var err error
		if canonical, err = json.Marshal(value); err != nil {
			t.Fatal(err)
		}
	}
	return sha256.Sum256(fmt.Appendf(nil, "%d %q %q %s", at.UnixMicro(), process, message, canonical))
}

// readLogJournal calls each with every line that is written so far.
func (n *network) readLogJournal(t *testing.T, each func(simnet.LogLine)) {
	t.Helper()
	file, err := os.Open(n.logJournal())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	err = simnet.ReadLogLines(file, func(line simnet.LogLine) error { each(line); return nil })
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) { // the last line may be under way
		t.Fatal(err)
	}
}

// truth reads what a stopped network wrote down.
func (n *network) truth(t *testing.T) truth {
	t.Helper()
	all := truth{entries: make(map[run][][sha256.Size]byte), runs: make(map[run]simnet.LogRun)}
	n.readLogJournal(t, func(line simnet.LogLine) {
		of := run{line.Node, line.ServerUUID}
		if line.ID != len(all.entries[of])+1 {
			t.Fatalf("the log journal has entry %d of %v after %d others", line.ID, of, len(all.entries[of]))
		}
		var metadata []byte
		if len(line.Metadata) > 0 {
			object := make(map[string]json.RawMessage)
			for _, m := range line.Metadata {
				object[m.Item] = m.Value
			}
			var err error
			if metadata, err = json.Marshal(object); err != nil {
				t.Fatal(err)
			}
		}
		all.entries[of] = append(all.entries[of], digest(t, line.Time, line.Process, line.Message, metadata))
	})
	for _, r := range n.logRuns(t) {
		of := run{r.Node, r.ServerUUID}
		all.runs[of] = r
		if r.Last != len(all.entries[of]) {
			t.Fatalf("the journal knows of %d entries of %v, the log journal of %d", r.Last, of, len(all.entries[of]))
		}
	}
	return all
}

// logRuns returns what became of each run's entries, from the journal of a stopped network.
func (n *network) logRuns(t *testing.T) []simnet.LogRun {
	t.Helper()
	journal, err := os.Open(filepath.Join(n.dir, "journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer journal.Close()
	history, err := simnet.ReadHistory(journal)
	if err != nil {
		t.Fatal(err)
	}
	return history.LogRuns()
}

// found is what a comparison counted.
type found struct{ runs, rows, lost, gaps, openGaps, unseen int }

// compare sees to it that a database holds each entry of each run exactly once, apart from those that the node itself dropped, which are
// exactly those of the gaps; and that whatever was logged between the last answer and the end of a daemon has a gap of unknown length.
func (all truth) compare(t *testing.T, conn *pgx.Conn) (f found) {
	t.Helper()
	await(t, "the nodes' addresses", func() bool { return number(t, conn, "SELECT count(*) FROM log_node WHERE host IS NULL") == 0 })
	stored := make(map[run]map[int]bool)
	var node, uuid, process, message string
	var id int
	var at time.Time
	var metadata []byte
	var damaged bool
	rows, err := conn.Query(t.Context(), `SELECT n.host || ':' || n.port, e.server_uuid::text, e.log_id, e.logged_at, coalesce(e.process, ''),
		e.message, e.metadata::text, e.damaged FROM log_entry e JOIN log_node n USING (deployment_id, node_id)`)
	if err != nil {
		t.Fatal(err)
	}
	_, err = pgx.ForEachRow(rows, []any{&node, &uuid, &id, &at, &process, &message, &metadata, &damaged}, func() error {
		of := run{node, uuid}
		if stored[of] == nil {
			stored[of] = make(map[int]bool)
		}
		switch {
		case stored[of][id]:
			t.Errorf("entry %d of %v is stored twice", id, of)
		case id < 1 || id > len(all.entries[of]):
			t.Errorf("entry %d of %v is stored, which logged %d", id, of, len(all.entries[of]))
		case digest(t, at, process, message, metadata) != all.entries[of][id-1] || damaged:
			t.Errorf("entry %d of %v is stored as %v %q %q %s", id, of, at, process, message, metadata)
		}
		stored[of][id] = true
		f.rows++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	open := make(map[run][]int)
	gaps := make(map[run][]simnet.LogRange)
	var from int
	var to *int
	if rows, err = conn.Query(t.Context(), `SELECT n.host || ':' || n.port, g.server_uuid::text, g.from_id, g.to_id
		FROM log_gap g JOIN log_node n USING (deployment_id, node_id)`); err != nil {
		t.Fatal(err)
	}
	if _, err = pgx.ForEachRow(rows, []any{&node, &uuid, &from, &to}, func() error {
		of := run{node, uuid}
		if f.gaps++; to == nil {
			f.openGaps++
			open[of] = append(open[of], from)
		} else {
			gaps[of] = append(gaps[of], simnet.LogRange{First: from, Last: *to})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for of, truth := range all.runs {
		all.compareRun(t, of, truth, stored[of], gaps[of], open[of], &f)
		delete(stored, of)
		delete(gaps, of)
		delete(open, of)
	}
	for of := range gaps {
		t.Errorf("gaps of a run that was not: %v", of)
	}
	for of := range open {
		t.Errorf("an end of a run that was not: %v", of)
	}
	return f
}

func (all truth) compareRun(t *testing.T, of run, truth simnet.LogRun, stored map[int]bool, gaps []simnet.LogRange, open []int, f *found) {
	t.Helper()
	f.runs++
	slices.SortFunc(gaps, func(a, b simnet.LogRange) int { return cmp.Compare(a.First, b.First) })
	last := 0 // the last ID that the database knows of
	for id := range stored {
		last = max(last, id)
	}
	missing := make(map[int]bool)
	for _, gap := range gaps {
		last = max(last, gap.Last)
		for id := gap.First; id <= gap.Last; id++ {
			if missing[id] || stored[id] {
				t.Errorf("%v: entry %d is in a gap, and in another one or stored", of, id)
			}
			missing[id] = true
			f.lost++
			if !slices.ContainsFunc(truth.Dropped, func(r simnet.LogRange) bool { return r.First <= id && id <= r.Last }) {
				t.Errorf("%v: entry %d is in a gap, and the node did not drop it", of, id)
			}
		}
	}
	for id := 1; id <= last; id++ {
		if !stored[id] && !missing[id] {
			t.Errorf("%v: entry %d is missing, and no gap says so", of, id)
		}
	}
	for _, r := range truth.Flushed {
		for id := r.First; id <= r.Last; id++ {
			if !stored[id] {
				t.Errorf("%v: entry %d was flushed, and is not stored", of, id)
			}
		}
	}
	switch {
	case truth.Ended.IsZero():
		if len(open) > 0 {
			t.Errorf("%v runs, and is known to have ended after %v", of, open)
		}
	case last == 0 && len(open) == 0:
		f.unseen++ // it began and ended while nobody asked
	case len(open) != 1 || open[0] != last+1:
		t.Errorf("%v ended, stored up to %d of %d entries, and the gap of unknown length begins at %v", of, last, truth.Last, open)
	}
}
