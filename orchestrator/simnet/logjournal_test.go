package simnet_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"provingground/orchestrator/itn"
	"provingground/orchestrator/simnet"
)

// What is written as it happens is what is kept, entry by entry, over restarts, and with what the queues drop.
func TestLogJournal(t *testing.T) {
	var written bytes.Buffer
	busy(t, 5, func(o *simnet.Options) { o.LogJournal, o.MaxLogs = &written, 20 }, func(w *world) {
		runs := make(map[[2]string][]itn.Log)
		text := written.String()
		if err := simnet.ReadLogLines(strings.NewReader(text), func(line simnet.LogLine) error {
			entry := itn.Log{ID: line.ID, Timestamp: line.Time, Message: line.Message, Process: line.Process}
			for _, metadatum := range line.Metadata {
				entry.Metadata = append(entry.Metadata, itn.LogMetadatum(metadatum))
			}
			run := [2]string{line.Node, line.ServerUUID}
			runs[run] = append(runs[run], entry)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		kept := w.KeptLogs()
		if len(runs) != len(kept) || len(kept) < 8 {
			t.Errorf("the logs of %d runs are written, and of %d kept", len(runs), len(kept))
		}
		for _, log := range kept {
			if diff := cmp.Diff(log.Logs, runs[[2]string{log.Node, log.ServerUUID}]); diff != "" {
				t.Fatalf("%s %s (-kept +written):\n%s", log.Node, log.ServerUUID, diff)
			}
		}
		stop := errors.New("enough")
		lines := 0
		if err := simnet.ReadLogLines(strings.NewReader(text), func(simnet.LogLine) error { lines++; return stop }); !errors.Is(err, stop) || lines != 1 {
			t.Errorf("after the first error: %v after %d lines", err, lines)
		}
		if err := simnet.ReadLogLines(strings.NewReader(text[:len(text)-5]), func(simnet.LogLine) error { return nil }); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a torn last line: %v", err)
		}
	})
}

// A log journal that cannot be written is a failure of the network, which says so in the end.
func TestLogJournalThatFails(t *testing.T) {
	full := errors.New("disk full")
	network, err := simnet.New(simnet.Options{Nodes: 1, ITNKeys: itnKeys(t), LogJournal: failing{full}})
	if err != nil {
		t.Fatal(err)
	}
	if err := network.Stop(); !errors.Is(err, full) {
		t.Errorf("nobody says that the log journal could not be written: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
