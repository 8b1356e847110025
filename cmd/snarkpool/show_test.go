//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/cmd/internal/boot"
	"provingground/snarkpool/control"
)

func TestStatusText(t *testing.T) {
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	s := control.Status{
		Agent: "bm7", Pool: "itn", Digest: strings.Repeat("0a", 32), Version: "v1", Since: at.Add(-26 * time.Hour), At: at, Notes: []string{"database: away\x1b[2J"},
		Workers: []control.WorkerStatus{
			{
				Name: "bm7/cpu/0", Pool: "cpu", State: "proving", Since: at.Add(-90 * time.Second), PID: 4711, Job: "j1", Proving: new(at.Add(-4 * time.Second)),
				Proofs: 20, SecondsPerProof: new(4.25), BusyShare: new(0.97), MemoryBytes: new(uint64(7 << 30)), CPUs: "1-6", Reason: "ready",
			},
			{Name: "bm7/cpu/1", Pool: "cpu", State: "broken", Since: at.Add(-4000 * time.Second), Restarts: 5, Failures: 2, CPUs: "7-12", Reason: "5 exits within 5m0s"},
			{Name: "bm7/gpu/0", Pool: "gpu", State: "proving", Wanted: "paused", Since: at, Until: new(at.Add(30 * time.Second)), GPUs: []string{"GPU-1"}, CPUs: "13"},
		},
	}
	const want = `bm7: agent of pool itn for 1d2h, pool file 0a0a0a0a0a0a, v1
cpu: 2 workers, 1 broken, 1 proving; 20 proofs, 2 failed
gpu: 1 worker, 1 proving; 0 proofs, 0 failed
! database: away�[2J

WORKER     STATE                       FOR    WHY                  PROOFS  FAILED  RESTARTS  S/PROOF  BUSY  MEMORY  CPUS  GPUS   PID   JOB
bm7/cpu/0  proving                     1m30s                       20      0       0         4.25     97%   7GiB    1-6          4711  j1 4s
bm7/cpu/1  broken                      1h06m  5 exits within 5m0s  0       2       5         –        –     –       7-12
bm7/gpu/0  proving → paused, 30s left  0s                          0       0       0         –        –     –       13    GPU-1
`
	if diff := cmp.Diff(want, statusText(s, nil, 0, 0)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	before := s
	before.At = at.Add(-time.Minute)
	before.Workers = []control.WorkerStatus{{Pool: "cpu", Proofs: 8}, {Pool: "cpu"}}
	const narrow = `bm7: agent of pool itn for 1d2h, pool f…
cpu: 2 workers, 1 broken, 1 proving; 20…
gpu: 1 worker, 1 proving; 0 proofs, 0 f…
! database: away�[2J

WORKER     STATE    FOR    WHY         …
bm7/cpu/1  broken   1h06m  5 exits with…
bm7/cpu/0  proving  1m30s              …
… and 1 more worker
`
	if diff := cmp.Diff(narrow, statusText(s, &before, 40, 9)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if text := statusText(s, &before, 0, 0); !strings.Contains(text, "20 proofs, 2 failed, 12.0 a minute\n") {
		t.Errorf("no rate:\n%s", text)
	}
	before.Since = at // another agent
	if text := statusText(s, &before, 0, 0); strings.Contains(text, "a minute") {
		t.Errorf("a rate over two agents:\n%s", text)
	}
}

func TestCodes(t *testing.T) {
	for _, test := range []struct {
		err  error
		code int
	}{
		{errors.New("a failure"), boot.CodeFailure},
		{fmt.Errorf("stop: %w", &control.RefusedError{Reason: control.Declined}), codeRefused},
		{fmt.Errorf("stop: %w", &control.RefusedError{Reason: control.Failed}), boot.CodeFailure},
		{fmt.Errorf("stop: %w", control.ErrOutcomeUnknown), codeUnknown},
		{fmt.Errorf("stop: %w", control.ErrNotRunning), codeNobody},
		{&lostError{2}, codeLost},
		{&interrupted{syscall.SIGTERM}, 128 + 15},
	} {
		if code := codeOf(test.err); code != test.code {
			t.Errorf("%v exits %d, want %d", test.err, code, test.code)
		}
	}
}

// TestVerbs: each verb has its help, JSON where it prints, a dry run where it changes something, and no option twice.
func TestVerbs(t *testing.T) {
	for _, v := range verbs() {
		set := v.flags(&options{}) // panics where an option is there twice
		if !strings.Contains(v.help(), "usage: snarkpool "+v.name) || !strings.Contains(usage(), "\n  "+v.name) {
			t.Errorf("%s has no help", v.name)
		}
		quiet := v.name == "agent" || v.name == "version" || strings.HasPrefix(v.name, "prove ") || strings.HasPrefix(v.name, "verify ")
		if (set.Lookup("json") == nil) != quiet {
			t.Errorf("%s: -json", v.name)
		}
		operation := control.Operation(strings.ReplaceAll(v.name, " ", "-"))
		changes := operation.Changes() || v.name == "host add" || v.name == "host remove" || v.name == "render systemd"
		if (set.Lookup("dry-run") != nil) != changes {
			t.Errorf("%s: -dry-run", v.name)
		}
	}
	for _, operation := range control.Operations() {
		if _, _, err := findVerb(strings.Split(strings.Replace(string(operation), "gpu-", "gpu ", 1), " ")); err != nil {
			t.Errorf("no verb gives the command %s: %v", operation, err)
		}
	}
}

func TestRecommended(t *testing.T) {
	all := []measurement{{Workers: 1, ProofsPerMinute: 60}, {Workers: 4, ProofsPerMinute: 100}, {Workers: 2, ProofsPerMinute: 98}, {Workers: 8, ProofsPerMinute: 90}}
	if i := recommended(all); i != 2 {
		t.Errorf("recommends %+v: two workers give nearly the most", all[i])
	}
}

func TestCombinations(t *testing.T) {
	for _, test := range []struct {
		cores            int
		threads, workers []int
		want             string
	}{
		{2, nil, nil, "1x1 2x1 1x2"},
		{6, nil, nil, "3x1 6x1 1x2 3x2 1x4 1x6"},
		{6, []int{2, 8}, []int{1, 3, 4}, "1x2 3x2"},
		{1, nil, nil, "1x1"},
	} {
		var got []string
		for _, m := range (call{options: &options{threads: test.threads, workers: test.workers}}).combinations(test.cores) {
			got = append(got, fmt.Sprintf("%dx%d", m.Workers, m.Threads))
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%+v: %s", test, text)
		}
	}
}

// TestCalibrate measures for a second.
func TestCalibrate(t *testing.T) {
	t.Parallel()
	p := &place{dir: t.TempDir()}
	if _, err := install(p.dir+"/bin", ""); err != nil {
		t.Fatal(err)
	}
	p.environment = append(os.Environ(), asProgram+"=1", "GORACE=atexit_sleep_ms=0")
	if text := p.must(t, "calibrate", "-for", "1s", "-threads", "1", "-workers", "1", "-keys", p.dir+"/keys", "-links", "2"); !strings.Contains(text, "recommended\n\nin the pool file: \"threads\": 1, \"workers\": 1, ") {
		t.Error(text)
	}
	if text := p.must(t, "bench", "-idle", "5", "-for", "1s", "-json"); !strings.HasPrefix(text, `{"workers":5,`) {
		t.Error(text)
	}
}
