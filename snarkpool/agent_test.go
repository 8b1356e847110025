//go:build linux

package snarkpool_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"provingground/snarkpool"
	"provingground/snarkpool/control"
	"provingground/snarkpool/ledger"
	"provingground/snarkpool/worker/gnark"
)

// TestOneJob takes one job the whole way: from its source to a worker, its proof through the spool and the verifier to the ledger, and back.
func TestOneJob(t *testing.T) {
	w := newWorld(t, poolFile(1, `"1ms", "right"`))
	w.source.addFakes(1)
	w.source.awaitAll(t)
	if n := one[int64](w, "SELECT count(*) FROM snark_pool_proof WHERE verdict = 'valid' AND outcome = 'accepted'"); n != 1 {
		t.Errorf("%d proofs are stored", n)
	}
}

// TestGnark takes jobs the whole way with the real prover and the real verifier.
func TestGnark(t *testing.T) {
	keys := t.TempDir()
	key, err := gnark.EnsureKeys(t.Context(), gnark.Options{KeyDirectory: keys, Links: links})
	if err != nil {
		t.Fatal(err)
	}
	file := strings.Replace(poolFile(2, `"1ms", "right"`), `"prover", "1ms", "right"`, fmt.Sprintf(`"gnark", %q`, keys), 1)
	w := newWorld(t, file, func(o *snarkpool.Options) { o.Verifiers = setting{Keys: keys}.options().Verifiers })
	for i := range uint64(6) {
		w.source.add(ledger.Job{
			ID: fmt.Sprintf("g%d", i), Kind: gnark.Kind, VerifyingKey: key, Statement: gnark.Options{Links: links}.Statement("test", i),
		})
	}
	w.source.awaitAll(t)
	if n := one[int64](w, "SELECT count(*) FROM snark_pool_proof WHERE verdict = 'valid'"); n != 6 {
		t.Errorf("%d proofs are valid", n)
	}
}

// TestDrain drains workers in the middle of their proofs: each proof is delivered, nothing new is begun, and resume undoes it.
func TestDrain(t *testing.T) {
	w := newWorld(t, poolFile(4, `"300ms", "right"`))
	w.source.addFakes(20)
	for i := range 4 {
		w.awaitState(fmt.Sprintf("bm7/cpu/%d", i), "proving")
	}
	c := w.change(control.OpDrain, "all", control.Arguments{})
	if c.Delivered != 4 || c.Lost != 0 || !strings.HasPrefix(c.Summary, "drained 4 workers, 4 proofs delivered, 0 lost, ") {
		t.Errorf("%+v", c)
	}
	for i := range 4 {
		if s := w.worker(fmt.Sprintf("bm7/cpu/%d", i)); s.State != "stopped" || s.PID != 0 || s.Wanted != "stopped" {
			t.Errorf("%+v", s)
		}
	}
	if n := one[int64](w, "SELECT count(*) FROM snark_pool_lease WHERE ended_at IS NULL"); n != 0 {
		eventually(t, "no lease is held", func() (bool, string) {
			return one[int64](w, "SELECT count(*) FROM snark_pool_lease WHERE ended_at IS NULL") == 0, ""
		})
	}
	w.change(control.OpResume, "cpu", control.Arguments{})
	w.source.awaitAll(t)
	if n := one[int64](w, "SELECT max(epoch) FROM snark_pool_job"); n != 1 {
		t.Errorf("a job was leased %d times", n)
	}
}

// TestPauseSurvives pauses a worker; another agent, which adopts it, keeps it paused until the pause ends.
func TestPauseSurvives(t *testing.T) {
	w := newWorld(t, poolFile(1, `"10ms", "right"`))
	w.awaitState("bm7/cpu/0", "idle")
	pid := w.worker("bm7/cpu/0").PID
	w.change(control.OpPause, "bm7/cpu/0", control.Arguments{})
	w.stop()
	w.start()
	w.awaitState("bm7/cpu/0", "paused")
	w.source.addFakes(3)
	eventually(t, "jobs fetched", func() (bool, string) {
		s := w.worker("bm7/cpu/0")
		if s.State != "paused" || s.PID != pid {
			t.Fatalf("%+v", s)
		}
		status, err := w.Status(t.Context(), control.Target{})
		return err == nil && status.At.Sub(status.Since) > 300*time.Millisecond, ""
	})
	w.change(control.OpPause, "bm7/cpu/0", control.Arguments{Max: control.Duration(100 * time.Millisecond)})
	w.source.awaitAll(t)
	if s := w.worker("bm7/cpu/0"); s.PID != pid || s.Wanted != "working" {
		t.Errorf("%+v", s)
	}
}

// TestFreeze stops a worker by the kernel until its deadline; its proof comes afterwards, and counts.
func TestFreeze(t *testing.T) {
	w := newWorld(t, poolFile(1, `"200ms", "right"`))
	w.source.addFakes(1)
	w.awaitState("bm7/cpu/0", "proving")
	w.change(control.OpFreeze, "all", control.Arguments{Max: control.Duration(500 * time.Millisecond)})
	if s := w.worker("bm7/cpu/0"); s.State != "frozen" {
		t.Errorf("%+v", s)
	}
	w.source.awaitAll(t)
}

// TestRolling restarts workers two at a time, each at rest: nothing is lost, and each has another process.
func TestRolling(t *testing.T) {
	w := newWorld(t, poolFile(5, `"20ms", "right"`, `, "max_unavailable": 2`))
	w.source.addFakes(60)
	before := map[string]int{}
	for i := range 5 {
		name := fmt.Sprintf("bm7/cpu/%d", i)
		eventually(t, "running", func() (bool, string) { s := w.worker(name); return s.PID != 0 && s.State != "starting", s.State })
		before[name] = w.worker(name).PID
	}
	c := w.change(control.OpRestart, "cpu", control.Arguments{Rolling: true})
	if c.Lost != 0 || !strings.HasPrefix(c.Summary, "restarted 5 workers, ") {
		t.Errorf("%+v", c)
	}
	for name, pid := range before {
		if s := w.worker(name); s.PID == pid || s.PID == 0 || s.Restarts != 1 {
			t.Errorf("%+v", s)
		}
	}
	w.source.awaitAll(t)
}

// TestStopNow loses what is under way, says so, and gives the job to somebody else.
func TestStopNow(t *testing.T) {
	w := newWorld(t, poolFile(2, `"30s", "right"`))
	w.source.addFakes(2)
	w.awaitState("bm7/cpu/0", "proving")
	w.awaitState("bm7/cpu/1", "proving")
	c := w.change(control.OpStop, "all", control.Arguments{Now: true})
	if c.Delivered != 0 || c.Lost != 2 || len(c.Warnings) == 0 || !strings.Contains(c.Summary, "2 lost") {
		t.Errorf("%+v", c)
	}
	eventually(t, "both jobs given back", func() (bool, string) {
		return one[int64](w, "SELECT count(*) FROM snark_pool_lease WHERE ending = 'released'") == 2, ""
	})
}

// TestRecycle replaces workers after two proofs each.
func TestRecycle(t *testing.T) {
	w := newWorld(t, poolFile(1, `"1ms", "right"`, `, "recycle": {"after_proofs": 2}`))
	w.source.addFakes(8)
	w.source.awaitAll(t)
	if s := w.worker("bm7/cpu/0"); s.Restarts < 2 {
		t.Errorf("%+v", s)
	}
}

// TestApply takes a changed pool file: only what changed is rolled, and what is gone comes to rest.
func TestApply(t *testing.T) {
	w := newWorld(t, poolFile(3, `"20ms", "right"`))
	w.source.addFakes(100)
	w.awaitState("bm7/cpu/2", "proving")
	pid := w.worker("bm7/cpu/0").PID
	w.setting.write(t, poolFile(4, `"20ms", "right"`))
	c := w.change(control.OpApply, "all", control.Arguments{})
	if s := w.worker("bm7/cpu/0"); s.PID != pid || c.Lost != 0 || len(c.Workers) != 1 {
		t.Errorf("%+v %+v", s, c)
	}
	w.awaitState("bm7/cpu/3", "proving")
	w.setting.write(t, poolFile(2, `"21ms", "right"`))
	c = w.change(control.OpApply, "all", control.Arguments{})
	if s := w.worker("bm7/cpu/0"); s.PID == pid || s.Restarts != 1 || c.Lost != 0 || len(c.Workers) != 4 {
		t.Errorf("%+v %+v", s, c)
	}
	if status, err := w.Status(t.Context(), control.Target{}); err != nil || len(status.Workers) != 2 {
		t.Errorf("%+v %v", status, err)
	}
	w.source.awaitAll(t)
	w.setting.write(t, "{")
	if _, err := w.Change(t.Context(), control.Command{Operation: control.OpApply}); err != nil {
		t.Errorf("a broken file with a good copy: %v", err)
	}
}

// TestWrongProof breaks the worker that delivered it; its job is proved by another.
func TestWrongProof(t *testing.T) {
	w := newWorld(t, poolFile(1, `"1ms", "wrong"`))
	w.source.addFakes(1)
	w.awaitState("bm7/cpu/0", "broken")
	if broken := one[bool](w, "SELECT broken_at IS NOT NULL FROM snark_pool_worker WHERE worker = 'bm7/cpu/0'"); !broken {
		t.Error("the ledger trusts it")
	}
	w.stop()
	w.start() // Another agent does not trust it either.
	w.awaitState("bm7/cpu/0", "broken")
	w.setting.write(t, poolFile(1, `"1ms", "right"`))
	w.change(control.OpApply, "all", control.Arguments{})
	w.change(control.OpResume, "all", control.Arguments{})
	w.source.awaitAll(t)
}

// TestMisbehaviour has workers that break the rules, refuse, and die: other workers prove their jobs.
func TestMisbehaviour(t *testing.T) {
	for _, how := range []string{"stranger", "refuse", "die"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t, poolFile(1, fmt.Sprintf("\"1ms\", %q", how)))
			w.source.addFakes(1)
			eventually(t, "a failure stored", func() (bool, string) {
				return one[int64](w, "SELECT count(*) FROM snark_pool_lease WHERE ending = 'failed'") > 0, fmt.Sprint(w.worker("bm7/cpu/0"))
			})
			w.setting.write(t, poolFile(1, `"1ms", "right"`))
			w.change(control.OpApply, "all", control.Arguments{})
			w.change(control.OpResume, "all", control.Arguments{})
			w.source.awaitAll(t)
			if n := one[int64](w, "SELECT count(*) FROM snark_pool_proof WHERE outcome = 'accepted'"); n != 1 {
				t.Errorf("%d proofs count", n)
			}
		})
	}
}

// TestLateProof lets a lease run out while its worker proves on: the proof counts if nobody was faster, and else it does not, and never twice.
func TestLateProof(t *testing.T) {
	w := newWorld(t, poolFile(1, `"600ms", "right"`), func(o *snarkpool.Options) { o.Timing.Lease = 20 * time.Second })
	w.source.addFakes(1)
	w.awaitState("bm7/cpu/0", "proving")
	if _, err := w.pool.Exec(t.Context(), "UPDATE snark_pool_job SET available_at = now() - interval '1 hour'"); err != nil {
		t.Fatal(err)
	}
	l := ledger.New(w.pool)
	leases, err := l.Lease(t.Context(), ledger.Prover{Worker: "other/cpu/0", Kind: fakeKind, VerifyingKey: fakeKey}, 1, time.Minute)
	if err != nil || len(leases) != 1 {
		t.Fatalf("%+v %v", leases, err)
	}
	w.source.awaitAll(t)
	if outcome := one[string](w, "SELECT outcome FROM snark_pool_proof"); outcome != "late" {
		t.Errorf("%s", outcome)
	}
}

// TestNoDatabase says what is missing, and does the rest.
func TestNoDatabase(t *testing.T) {
	w := newWorld(t, poolFile(1, `"1ms", "right"`), func(o *snarkpool.Options) { o.Database = "" })
	s := w.worker("bm7/cpu/0")
	status, err := w.Status(t.Context(), control.Target{})
	if err != nil || s.State != "blocked" || !strings.Contains(s.Reason, "--db-uri") || len(status.Notes) == 0 {
		t.Errorf("%+v %+v %v", s, status, err)
	}
	command := control.Command{Operation: control.OpPause}
	if err := w.Record(t.Context(), control.Entry{ID: "1", Agent: "bm7", Command: &command, Outcome: control.OutcomeDone}); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(w.setting.options().StateDir + "/audit.jsonl")
	if err != nil || !json.Valid(content) {
		t.Errorf("%s %v", content, err)
	}
}

// TestReports asks for everything that can be asked for.
func TestReports(t *testing.T) {
	w := newWorld(t, poolFile(2, `"1ms", "right"`))
	w.source.addFakes(5)
	w.source.awaitAll(t)
	for _, operation := range []control.Operation{control.OpPlan, control.OpInventory, control.OpDoctor, control.OpGPUList} {
		if content, err := w.Report(t.Context(), operation); err != nil || !json.Valid(content) {
			t.Errorf("%s: %s %v", operation, content, err)
		}
	}
	seen := map[string]int{}
	err := w.Events(t.Context(), control.Target{}, control.Arguments{}, func(events ...control.Event) error {
		for _, e := range events {
			seen[e.Kind]++
		}
		return nil
	})
	if err != nil || seen["proof"] != 5 || seen["state"] == 0 {
		t.Errorf("%v %v", seen, err)
	}
	eventually(t, "figures", func() (bool, string) {
		m := w.Metrics()
		p := m.Pools["cpu"]
		return p.Proofs[fakeKind] == 5 && p.Verified["valid"] == 5 && p.Planned == 2 && m.DatabaseUp != nil && *m.DatabaseUp, fmt.Sprintf("%+v", p)
	})
	if _, err := w.Change(t.Context(), control.Command{Operation: control.OpDrain, Target: target(t, "bm9/cpu/0")}); err == nil {
		t.Error("a worker that is not there was drained")
	}
	c, err := w.Change(t.Context(), control.Command{Operation: control.OpDrain, DryRun: true})
	if err != nil || !c.DryRun || w.worker("bm7/cpu/0").Wanted != "working" {
		t.Errorf("%+v %v", c, err)
	}
}

func target(t *testing.T, text string) control.Target {
	t.Helper()
	parsed, err := control.ParseTarget(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
