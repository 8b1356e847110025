package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"provingground/orchestrator/simnet"
)

// What workers outside did is shown by worker, where there were any.
func TestShowOfProversOutside(t *testing.T) {
	var text bytes.Buffer
	for _, fact := range []simnet.Fact{
		simnet.BlockProduced{Hash: "3Na", Height: 2, Slot: 1, Interrupted: &simnet.WorkInterruption{IDs: []int{1}}},
		simnet.WorkGiven{ID: "a", IDs: []int{1}, Worker: "bm7/cpu/0"}, simnet.WorkGiven{ID: "a", IDs: []int{1}, Worker: "bm7/cpu/1", From: "bm7/cpu/0"},
		simnet.ProofAccepted{ID: "a", IDs: []int{1}, Worker: "bm7/cpu/1"},
		simnet.ProofRefused{ID: "a", IDs: []int{1}, Worker: "bm7/cpu/0", Status: "slashed"}, simnet.WorkFailed{ID: "a", IDs: []int{1}, Worker: "bm7/cpu/0"},
	} {
		line, err := simnet.Entry{Time: time.Now(), Wall: time.Now(), Node: "127.0.0.2:3086", Fact: fact}.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		text.Write(append(line, '\n'))
	}
	path := filepath.Join(t.TempDir(), "journal.jsonl")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := show(path, &out); err != nil {
		t.Fatal(err)
	}
	const want = `  SNARK work  2 given, 1 reassigned for being late, 1 proofs accepted, 1 refused, 1 failed; 1 blocks interrupted
  worker      bm7/cpu/0: 1 given, 1 reassigned for being late, 0 proofs accepted, 1 refused, 1 failed
  worker      bm7/cpu/1: 1 given, 0 reassigned for being late, 1 proofs accepted, 0 refused, 0 failed
`
	if !strings.HasSuffix(out.String(), want) {
		t.Errorf("shows\n%swant at the end\n%s", out.String(), want)
	}
}

func TestShow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.jsonl")
	var text bytes.Buffer
	const node = "127.0.0.2:3086"
	for _, fact := range []simnet.Fact{
		simnet.DaemonStarted{ServerUUID: "a"},
		simnet.ScheduleAccepted{Handle: "h"}, simnet.ScheduleAccepted{Handle: "i"}, simnet.StopRequested{Handle: "i"},
		simnet.CommandSent{Memo: "m-0"}, simnet.CommandSent{Memo: "m-1"}, simnet.CommandRejected{Memo: "m-2"},
		simnet.BlockProduced{Hash: "3Na", Height: 2, Slot: 1, Commands: []simnet.BlockCommand{{Memo: "m-0"}}}, simnet.BlockIncluded{Hash: "3Na", Height: 2},
		simnet.BlockProduced{Hash: "3Nb", Height: 2, Slot: 1}, simnet.BlockOrphaned{Hash: "3Nb", Height: 2},
		simnet.AccountCreated{PublicKey: "B62a"}, simnet.LimitSet{Limit: new(int)}, simnet.GatingSet{Isolate: true},
	} {
		line, err := simnet.Entry{Time: time.Now(), Wall: time.Now(), Node: node, Fact: fact}.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		text.Write(append(line, '\n'))
	}
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := show(path, &out); err != nil {
		t.Fatal(err)
	}
	const want = `  blocks     2 produced, 1 on the chain, 1 orphaned
  commands   2 sent, 1 memos of them on the chain, 1 not taken by a pool
  accounts   1 came to be
  schedules  2 accepted, 1 run and were not told to stop
  daemons    0 stopped, 0 are down
  in force   1 gated nodes, 1 limits
`
	if out.String() != want {
		t.Errorf("shows\n%swant\n%s", out.String(), want)
	}
	if err := show(filepath.Join(t.TempDir(), "none"), &out); err == nil {
		t.Error("a journal that is not there was shown")
	}
}
