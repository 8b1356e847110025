package evidence

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/fetcher"
	"provingground/fetcher/trace"
	"provingground/internal/clock"
	"provingground/orchestrator/itn"
)

// memoryFiles keeps files.
type memoryFiles map[string]string

var errDiskFull = errors.New("the disk is full")

func (f memoryFiles) Create(path string, content []byte) error {
	if f == nil {
		return errDiskFull
	}
	f[path] = string(content)
	return nil
}

// What is missing of a node's log becomes a gap, whatever it is that is missing.
func TestMemoryKeepsGaps(t *testing.T) {
	now := handInstant(60_000)
	entry := func(id, millis int, process string) itn.Log {
		return itn.Log{ID: id, Timestamp: handTime(millis), Message: "Some_checkpoint", Process: process}
	}
	first := fetcher.Batch{
		Node: "a", Cursor: fetcher.Cursor{ServerUUID: "one", Next: 3, LastTime: handTime(5000)},
		Entries: []itn.Log{entry(1, 4000, ""), entry(2, 5000, "another process")},
	}
	for name, test := range map[string]struct {
		then []fetcher.Batch
		want []Gap
	}{
		"nothing": {nil, nil},
		"before the first one": {[]fetcher.Batch{{
			Cursor: fetcher.Cursor{ServerUUID: "two", Next: 10}, Entries: []itn.Log{entry(9, 9000, "")}, Restart: &fetcher.Restart{Before: "one", After: "two"},
			Gaps: []fetcher.Gap{{ServerUUID: "two", From: 1, To: 8, After: handTime(9000), Reason: fetcher.GapBeforeFirst}},
		}}, []Gap{{From: handInstant(5000), To: now, Lost: 8}}},
		"the end of a run": {[]fetcher.Batch{{
			Cursor: fetcher.Cursor{ServerUUID: "two", Next: 1}, Restart: &fetcher.Restart{Before: "one", After: "two", Seen: handTime(7000)},
			Gaps: []fetcher.Gap{{ServerUUID: "one", From: 3, Before: handTime(5000), Reason: fetcher.GapRestart}},
		}, {
			Cursor: fetcher.Cursor{ServerUUID: "two", Next: 2}, Entries: []itn.Log{entry(1, 6500, "")},
		}}, []Gap{{From: handInstant(5000), To: handInstant(7000), Lost: -1}}},
		"out of order": {[]fetcher.Batch{{
			Cursor: fetcher.Cursor{ServerUUID: "one", Next: 6}, Entries: []itn.Log{entry(5, 4500, "")},
			Gaps: []fetcher.Gap{{ServerUUID: "one", From: 3, To: 4, Before: handTime(5000), After: handTime(4500), Reason: fetcher.GapDropped}},
		}}, []Gap{{From: handInstant(4500), To: now, Lost: 2}}},
		"malformed": {[]fetcher.Batch{{
			Cursor: fetcher.Cursor{ServerUUID: "one", Next: 5}, Entries: []itn.Log{entry(4, 8000, "")},
			Malformed: []fetcher.Malformed{{ID: -1}, {ID: 3}},
		}}, []Gap{{From: handInstant(5000), To: now, Lost: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(m *Memory) {
				save(t, m, first)
				for _, batch := range test.then {
					batch.Node = "a"
					save(t, m, batch)
					save(t, m, batch)
				}
				got := m.statistics(Question{Metric: "log.lost", Run: Run{Began: handTime(0)}}).Nodes[0].Gaps
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("gaps (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// Lines and traces of the time that is wanted go to files, and what is missing is said.
func TestMemoryGathers(t *testing.T) {
	inMemory(t, func(m *Memory) {
		files := memoryFiles{}
		m.Files = files
		a := &handLog{node: "a", uuid: "run-a"}
		a.pool(1000, "received", "early", "exp-0-0-0", "")
		a.block(10_000, 10_400, "3Nx", "3Nbefore", 8, 2, `[]`)
		a.lose(2, handTime(20_000))
		a.pool(20_000, "received", "sig", "exp-0-0-1", "")
		a.entries = append(a.entries, itn.Log{ID: a.next + 1, Timestamp: handTime(20_500), Message: "Verifier_verify_commands", Process: "verifier"})
		a.next++
		save(t, m, a.batch())
		got, err := m.Gather(t.Context(), Gathering{
			Nodes: []string{"127.0.0.2:3086", "127.0.0.3:3086", "127.0.0.9:3086"}, From: handTime(5000), To: handTime(60_000), Dir: "logs",
		})
		if err != nil {
			t.Fatal(err)
		}
		want := []Gathered{
			{Node: "127.0.0.2:3086", Name: "a", Entries: 8, Traces: 1, Lost: 2, Missing: "2 entries lost: see gaps.json"},
			{Node: "127.0.0.3:3086", Name: "b", Missing: "its log was not read to the end of the time that is wanted; it has no entry of that time"},
			{Node: "127.0.0.9:3086", Missing: "the fetcher does not know the node: see that it is in the list of nodes"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("gathered (-want +got):\n%s", diff)
		}
		var names []string
		for _, name := range []string{"logs/a/internal-trace.jsonl", "logs/a/verifier-internal-trace.jsonl", "logs/a/traces.json", "logs/a/gaps.json", "logs/b/traces.json", "logs/b/gaps.json"} {
			if files[name] == "" {
				names = append(names, name)
			}
		}
		if len(names) > 0 || len(files) != 6 {
			t.Errorf("%v are missing of %d files", names, len(files))
		}
		lines := strings.Split(strings.TrimSpace(files["logs/a/internal-trace.jsonl"]), "\n")
		if len(lines) != 7 || strings.Contains(files["logs/a/internal-trace.jsonl"], "early") {
			t.Errorf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
		}
		for _, line := range lines {
			if _, err := trace.DecodeLine(trace.Main, []byte(line)); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
		var traces []namedTrace
		if err := json.Unmarshal([]byte(files["logs/a/traces.json"]), &traces); err != nil {
			t.Fatal(err)
		}
		if len(traces) != 1 || traces[0].Block != "3Nx" || traces[0].Status != trace.Success || traces[0].BlockchainLength != 8 || len(traces[0].Sections) != 1 || len(traces[0].Sections[0].Checkpoints) == 0 {
			t.Errorf("traces: %+v", traces)
		}
		m.Files = memoryFiles(nil)
		if _, err := m.Gather(t.Context(), Gathering{Nodes: []string{"127.0.0.2:3086"}, To: handTime(60_000), Dir: "logs"}); !errors.Is(err, errDiskFull) {
			t.Errorf("error %v where no file can be written", err)
		}
		m.Files = nil
		if _, err := m.Gather(t.Context(), Gathering{}); err == nil {
			t.Error("no error without a place for files")
		}
	})
}

// Gather waits for the reading of what is wanted, and for no longer than it may.
func TestGatherWaits(t *testing.T) {
	for name, test := range map[string]struct {
		state   fetcher.State
		read    time.Duration // when the node is read again, from now
		patient time.Duration // how long Gather may wait
		want    time.Duration // how long it does
		missing string
	}{
		"until it is read":        {fetcher.Running, 3 * time.Second, time.Minute, 3 * time.Second, ""},
		"until it must not":       {fetcher.Backoff, time.Hour, 5 * time.Second, 5 * time.Second, "its log was not read to the end of the time that is wanted"},
		"not for who is not read": {fetcher.Stopped, time.Hour, time.Minute, 0, "its log was not read to the end of the time that is wanted"},
	} {
		t.Run(name, func(t *testing.T) {
			virtual := clock.NewVirtual(handTime(60_000))
			virtual.Run(func() {
				c := virtual.Clock()
				m, files := NewMemory(c), memoryFiles{}
				m.Files = files
				m.Nodes = func() []fetcher.NodeStatus {
					status := fetcher.NodeStatus{IP: "127.0.0.2", GraphQLPort: 3086, NodeName: "a", Active: true, State: test.state, LastSuccess: handTime(59_000)}
					if again := handTime(60_000).Add(test.read); !c.Now().Before(again) {
						status.LastSuccess = again
					}
					return []fetcher.NodeStatus{status}
				}
				a := &handLog{node: "a", uuid: "run-a"}
				a.add(handTime(58_000), "Some_checkpoint")
				save(t, m, a.batch())
				got, err := m.Gather(t.Context(), Gathering{
					Nodes: []string{"127.0.0.2:3086"}, From: handTime(0), To: handTime(60_000), Patience: test.patient, Dir: "logs",
				})
				waited := c.Now().Sub(handTime(60_000))
				if err != nil {
					t.Fatal(err)
				}
				want := []Gathered{{Node: "127.0.0.2:3086", Name: "a", Entries: 1, Missing: test.missing}}
				if diff := cmp.Diff(want, got); diff != "" || waited != test.want {
					t.Errorf("waited %v, want %v; gathered (-want +got):\n%s", waited, test.want, diff)
				}
			})
		})
	}
}

// The tail of raw lines is bounded, and Gather says where it begins.
func TestTailIsBounded(t *testing.T) {
	inMemory(t, func(m *Memory) {
		m.Files = memoryFiles{}
		a := &handLog{node: "a", uuid: "run-a"}
		long := `"` + strings.Repeat("x", 1000) + `"`
		for i := range 5000 {
			a.control(handTime(i), "metadata", long)
			if i%100 == 99 {
				save(t, m, a.batch())
			}
		}
		log := m.logs["a"]
		if size := len(log.tail) * sizeOf(log.tail[0].Log); size > tailBytes || size < tailBytes*9/10 || log.taken != size {
			t.Errorf("%d entries of %d bytes are kept, taken to be %d", len(log.tail), size, log.taken)
		}
		got, err := m.Gather(t.Context(), Gathering{Nodes: []string{"127.0.0.2:3086"}, From: handTime(0), To: handTime(50_000), Dir: "logs"})
		if err != nil || got[0].Entries != len(log.tail) || !strings.Contains(got[0].Missing, "keeps its last entries only") {
			t.Errorf("%+v, %v", got, err)
		}
	})
}
