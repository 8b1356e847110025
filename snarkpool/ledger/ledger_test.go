package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/snarkpool/ledger"
)

const a, b, c = "bm1/cpu/0", "bm1/cpu/1", "bm2/cpu/0"

func TestAProofCountsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.submit("j1")
	lease := w.lease(a, 1)[0]
	if diff := cmp.Diff(job("j1"), lease.Job); diff != "" || lease.Epoch != 1 {
		t.Errorf("epoch %d, job (-want +got):\n%s", lease.Epoch, diff)
	}
	w.lease(b, 0)
	w.accepts(proofOf(lease, a, ledger.Valid), ledger.Accepted)
	w.accepts(proofOf(lease, a, ledger.Valid), ledger.Repeated)
	w.pass(time.Hour)
	w.lease(b, 0)
	w.counts(1)
}

func TestALateProofIsUsedAndCountedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.submit("j1", "j2", "j3")
	old := w.lease(a, 3)
	w.pass(2 * time.Minute)
	w.accepts(proofOf(old[0], a, ledger.Valid), ledger.Late) // its time is over, though nobody has it since
	again := w.lease(b, 2)
	for _, lease := range again {
		if lease.Epoch != 2 {
			t.Errorf("the second lease of %s has epoch %d", lease.Job.ID, lease.Epoch)
		}
	}
	w.accepts(proofOf(old[1], a, ledger.Valid), ledger.Late)
	w.accepts(proofOf(again[0], b, ledger.Valid), ledger.Duplicate)
	w.accepts(proofOf(again[1], b, ledger.Valid), ledger.Accepted)
	w.accepts(proofOf(old[2], a, ledger.Valid), ledger.Duplicate)
	w.counts(3)
	const endings = "SELECT string_agg(job_id || ' ' || epoch || ' ' || ending, ', ' ORDER BY job_id, epoch) FROM snark_pool_lease"
	if got, want := one[string](t, w.pool, endings), "j1 1 delivered, j2 1 delivered, j2 2 delivered, j3 1 delivered, j3 2 delivered"; got != want {
		t.Errorf("leases ended: %s\nwant %s", got, want)
	}
}

func TestProofsThatAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.submit("j1", "j2")
	leases := w.lease(a, 2)
	for name, change := range map[string]func(*ledger.Proof){
		"unknown job":          func(p *ledger.Proof) { p.Job = "j9" },
		"never leased":         func(p *ledger.Proof) { p.Epoch = 2 },
		"somebody else's":      func(p *ledger.Proof) { p.Worker = b },
		"of another statement": func(p *ledger.Proof) { p.Statement = job("j2").Digest() },
		"of another key":       func(p *ledger.Proof) { p.VerifyingKey = strings.Repeat("0", 64) },
	} {
		p := proofOf(leases[0], a, ledger.Valid)
		change(&p)
		if got := w.accepts(p, ledger.Refused); got.Reason == "" {
			t.Errorf("%s: no reason", name)
		}
	}
	w.counts(0)
	w.accepts(proofOf(leases[0], a, ledger.Valid), ledger.Accepted)
	w.counts(1)
}

func TestABadProofBreaksItsWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.submit("j1", "j2", "j3", "j4", "j5")
	leases := w.lease(a, 4)
	w.accepts(proofOf(leases[0], a, ledger.Valid), ledger.Accepted)
	w.accepts(proofOf(leases[1], a, ledger.Unverified), ledger.Accepted)
	source := &coordinator{}
	if n, err := w.Deliver(t.Context(), "simnet", source, 10); n != 2 || err != nil {
		t.Fatalf("delivered %d, %v", n, err)
	}
	if got := w.accepts(proofOf(leases[2], a, ledger.Invalid), ledger.Refused); got.Revoked != 1 {
		t.Errorf("%d proofs revoked, want the one that nobody had verified", got.Revoked)
	}
	w.accepts(proofOf(leases[2], a, ledger.Invalid), ledger.Repeated)
	w.counts(1)
	w.accepts(proofOf(leases[1], a, ledger.Unverified), ledger.Repeated) // it was revoked, and telling it again does not bring it back
	w.accepts(proofOf(leases[3], a, ledger.Unverified), ledger.Refused)
	w.lease(a, 0)
	for _, lease := range w.lease(b, 4) {
		w.accepts(proofOf(lease, b, ledger.Unverified), ledger.Accepted)
	}
	w.counts(5)
	if n, err := w.Deliver(t.Context(), "simnet", source, 10); n != 4 || err != nil {
		t.Fatalf("delivered %d, %v", n, err)
	}
	if got := source.taken["j2"]; len(got) != 2 || got[1].Worker != b {
		t.Errorf("the coordinator got %v; want the second proof in place of the one that nobody trusts", got)
	}
	standings, err := w.Standings(t.Context(), "bm1/")
	if err != nil || len(standings) != 2 || standings[0].BrokenAt == nil || standings[0].BrokenReason == "" || standings[0].Verified != 0 || standings[1].BrokenAt != nil {
		t.Errorf("standings %+v, %v", standings, err)
	}
	if err := w.Readmit(t.Context(), a); err != nil {
		t.Error(err)
	}
	if err := w.Readmit(t.Context(), "bm9/cpu/0"); err == nil {
		t.Error("a worker that does not exist was readmitted")
	}
	w.submit("j6")
	w.accepts(proofOf(w.lease(a, 1)[0], a, ledger.Valid), ledger.Accepted)
}

func TestAVerifiedProofOfABrokenWorkerCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.submit("j1")
	lease := w.lease(a, 1)[0]
	for range 2 {
		if _, err := w.Distrust(t.Context(), ledger.Distrust{Worker: a, Reason: "an operator says so", At: start}); err != nil {
			t.Fatal(err)
		}
	}
	w.accepts(proofOf(lease, a, ledger.Unverified), ledger.Refused)
	w.accepts(proofOf(lease, a, ledger.Unverified), ledger.Repeated)
	w.accepts(proofOf(lease, a, ledger.Valid), ledger.Late) // what was refused had ended the lease
	w.counts(1)
	events, err := w.Events(t.Context(), a, 10)
	if err != nil || len(events) != 1 || events[0].Event != "distrusted" || events[0].Cause != "an operator says so" || events[0].Host != "bm1" {
		t.Errorf("events %+v, %v", events, err)
	}
}

func TestRenewReleaseFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.submit("j1", "j2", "j3", "j4")
	leases := w.lease(a, 4)
	held := func(l ledger.Lease) ledger.Held { return ledger.Held{Job: l.Job.ID, Epoch: l.Epoch} }
	w.accepts(proofOf(leases[0], a, ledger.Valid), ledger.Accepted)
	if err := w.Release(t.Context(), a, held(leases[1])); err != nil {
		t.Fatal(err)
	}
	if err := w.Release(t.Context(), b, held(leases[2])); err != nil { // not its own
		t.Fatal(err)
	}
	stolen := w.lease(b, 1)[0]
	if stolen.Job.ID != "j2" || stolen.Epoch != 2 {
		t.Errorf("leased %s, epoch %d; want what was given back", stolen.Job.ID, stolen.Epoch)
	}
	w.pass(2 * time.Minute)
	still, err := w.Renew(t.Context(), a, time.Minute, held(leases[0]), held(leases[1]), held(leases[2]), held(leases[3]))
	if err != nil || len(still) != 2 {
		t.Errorf("still held: %v, %v; want j3 and j4", still, err)
	}
	w.lease(c, 1) // j2 again; the others were renewed
	if got, err := w.Fail(t.Context(), ledger.Failure{Job: "j3", Worker: a, Epoch: 1, Reason: "killed", At: start}); err != nil || got.Outcome != ledger.Accepted {
		t.Errorf("fail: %v, %v", got, err)
	}
	if got, err := w.Fail(t.Context(), ledger.Failure{Job: "j3", Worker: a, Epoch: 1, Reason: "killed", At: start}); err != nil || got.Outcome != ledger.Repeated {
		t.Errorf("fail again: %v, %v", got, err)
	}
	if got, err := w.Fail(t.Context(), ledger.Failure{Job: "j4", Worker: b, Epoch: 1, Reason: "killed", At: start}); err != nil || got.Outcome != ledger.Refused {
		t.Errorf("somebody else's: %v, %v", got, err)
	}
	w.lease(c, 0) // j3 waits a second after its failure
	backlogs, err := w.Backlogs(t.Context())
	want := []ledger.Backlog{{Source: "simnet", Kind: kind, VerifyingKey: key, Later: 1, Leased: 2, Undelivered: 1}}
	if diff := cmp.Diff(want, backlogs); diff != "" || err != nil {
		t.Errorf("%v, backlog (-want +got):\n%s", err, diff)
	}
	w.pass(time.Second)
	if got := w.lease(c, 1)[0]; got.Job.ID != "j3" || got.Epoch != 2 {
		t.Errorf("leased %s, epoch %d; want j3 after its failure", got.Job.ID, got.Epoch)
	}
}

func TestLeasesAreByKindAndKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.submit("j1")
	other := job("k1")
	other.Kind = "kimchi"
	newer := job("k2")
	newer.VerifyingKey = strings.Repeat("0", 64)
	if n, err := w.Submit(t.Context(), "simnet", []ledger.Job{other, newer, job("j1")}); n != 2 || err != nil {
		t.Fatalf("%d new jobs, %v; want the 2 that were not known", n, err)
	}
	if got := w.lease(a, 1)[0]; got.Job.ID != "j1" {
		t.Errorf("leased %s", got.Job.ID)
	}
	w.lease(a, 0)
}

func TestSubmitRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.submit("j1", "j2")
	changed := job("j2")
	changed.Statement = json.RawMessage(`{"seed": "another"}`)
	n, err := w.Submit(t.Context(), "simnet", []ledger.Job{job("j1"), changed, job("j3")})
	var conflict *ledger.ConflictError
	if n != 1 || !errors.As(err, &conflict) || len(conflict.Jobs) != 1 || conflict.Jobs[0] != "j2" {
		t.Errorf("%d new, %v; want j3 stored and j2 refused", n, err)
	}
	if _, err := w.Submit(t.Context(), "other", []ledger.Job{job("j1")}); !errors.As(err, &conflict) {
		t.Errorf("another source's job of the same name: %v", err)
	}
	for name, bad := range map[string]ledger.Job{
		"no id": {Kind: kind, VerifyingKey: key, Statement: json.RawMessage("1")}, "no statement": {ID: "x", Kind: kind, VerifyingKey: key},
		"not JSON": {ID: "x", Kind: kind, VerifyingKey: key, Statement: json.RawMessage("{")}, "NUL": {ID: "x\x00", Kind: kind, VerifyingKey: key, Statement: json.RawMessage("1")},
	} {
		if _, err := w.Submit(t.Context(), "simnet", []ledger.Job{bad}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if got := one[int](t, w.pool, "SELECT count(*)::int FROM snark_pool_job"); got != 3 {
		t.Errorf("%d jobs, want 3", got)
	}
}

func TestFetchAndDeliver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// A statement comes back byte for byte, and what only type jsonb would refuse is no reason to refuse a job.
	odd := ledger.Job{ID: "j2", Kind: kind, VerifyingKey: key, Statement: json.RawMessage(`{"b": 1e400,  "a": "\u0000\ud800" }`)}
	source := &coordinator{jobs: []ledger.Job{job("j1"), odd}}
	for _, want := range []int{2, 0} {
		if n, err := w.Fetch(t.Context(), "simnet", source, 10); n != want || err != nil {
			t.Fatalf("fetched %d, %v; want %d", n, err, want)
		}
	}
	leases := w.lease(a, 2)
	if got := string(leases[1].Job.Statement); got != string(odd.Statement) {
		t.Errorf("the statement is now %s", got)
	}
	for _, lease := range leases {
		w.accepts(proofOf(lease, a, ledger.Valid), ledger.Accepted)
	}
	source.fail = errors.New("the coordinator restarts")
	if n, err := w.Deliver(t.Context(), "simnet", source, 10); n != 0 || !errors.Is(err, source.fail) {
		t.Errorf("delivered %d, %v", n, err)
	}
	if _, err := w.Fetch(t.Context(), "simnet", source, 10); !errors.Is(err, source.fail) {
		t.Errorf("fetch: %v", err)
	}
	source.fail = nil
	if n, err := w.Deliver(t.Context(), "other", source, 10); n != 0 || err != nil {
		t.Errorf("to another coordinator: %d, %v", n, err)
	}
	if n, err := w.Deliver(t.Context(), "simnet", source, 1); n != 1 || err != nil {
		t.Errorf("delivered %d, %v", n, err)
	}
	if n, err := w.Deliver(t.Context(), "simnet", source, 10); n != 1 || err != nil {
		t.Errorf("delivered %d, %v", n, err)
	}
	want := proofOf(leases[0], a, ledger.Valid)
	if diff := cmp.Diff([]ledger.Proof{want}, source.taken["j1"]); diff != "" {
		t.Errorf("proof (-want +got):\n%s", diff)
	}
	if err := w.Prune(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := one[int](t, w.pool, "SELECT (SELECT count(*) FROM snark_pool_job)::int + (SELECT count(*) FROM snark_pool_lease)::int + (SELECT count(*) FROM snark_pool_minute)::int"); got != 0 {
		t.Errorf("%d old rows are left", got)
	}
}

// TestManyAgents lets many workers lease and deliver at the same moment; each job is leased once and counts once.
func TestManyAgents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const workers, each = 8, 25
	var ids []string
	for i := range workers * each {
		ids = append(ids, fmt.Sprintf("j%03d", i))
	}
	w.submit(ids...)
	var group sync.WaitGroup
	var mu sync.Mutex
	leased := map[string]int{}
	for i := range workers {
		worker := fmt.Sprintf("bm%d/cpu/0", i)
		group.Go(func() {
			for {
				leases, err := w.Lease(t.Context(), prover(worker), 3, time.Hour)
				if err != nil {
					t.Error(err)
					return
				}
				if len(leases) == 0 {
					return
				}
				for _, lease := range leases {
					mu.Lock()
					leased[lease.Job.ID]++
					mu.Unlock()
					for _, want := range []ledger.Outcome{ledger.Accepted, ledger.Repeated} {
						if got, err := w.Accept(t.Context(), proofOf(lease, worker, ledger.Valid)); err != nil || got.Outcome != want {
							t.Errorf("%v, %v; want %s", got, err, want)
						}
					}
				}
			}
		})
	}
	group.Wait()
	for _, id := range ids {
		if leased[id] != 1 {
			t.Errorf("%s was leased %d times", id, leased[id])
		}
	}
	w.counts(len(ids))
}

func TestRollUps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.submit("j1", "j2")
	for i, lease := range w.lease(a, 2) {
		p := proofOf(lease, a, ledger.Valid)
		p.At = at(60 * i)
		seconds := float64(i + 1)
		p.Seconds = &seconds
		w.accepts(p, ledger.Accepted)
	}
	pulled := func(delivered bool, seconds *float64) ledger.Entry {
		return ledger.Entry{Pulled: &ledger.Pulled{Worker: c, Proofs: 2, Delivered: delivered, Seconds: seconds, At: start}}
	}
	seconds, memory, energy := 4.0, int64(7), int64(9)
	spool := "00000000-0000-4000-8000-000000000001"
	entries := []ledger.Numbered{
		{Seq: 1, Entry: pulled(true, &seconds)}, {Seq: 2, Entry: pulled(true, nil)}, {Seq: 3, Entry: pulled(false, &seconds)},
		{Seq: 4, Entry: ledger.Entry{Sample: &ledger.Sample{Worker: c, At: start, CPUSeconds: &seconds, MemoryBytes: &memory}}},
		{Seq: 5, Entry: ledger.Entry{Sample: &ledger.Sample{Worker: c, At: start, EnergyMillijoules: &energy}}},
		{Seq: 6, Entry: ledger.Entry{Event: &ledger.Event{At: start, Host: "bm2", Worker: c, Event: "state", From: "idle", To: "proving", Detail: json.RawMessage(`{"a":"\u0000"}`)}}},
		{Seq: 7, Entry: ledger.Entry{Audit: &ledger.Audit{At: start, Agent: "bm2", Who: "key", Operation: "drain", Target: "bm2/cpu", Result: "unsigned"}}},
	}
	for range 2 {
		if _, err := w.Apply(t.Context(), spool, entries); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := w.Applied(t.Context(), spool); n != 7 || err != nil {
		t.Errorf("stored up to %d, %v", n, err)
	}
	ptr := func(f float64) *float64 { return &f }
	got, err := w.Works(t.Context(), "", start.Add(-time.Minute), at(120))
	want := []ledger.Work{
		{Worker: a, Proofs: 2, Timed: 2, SecondsTotal: 3, SecondsMax: ptr(2)},
		{Worker: c, Proofs: 4, Refused: 2, Timed: 1, SecondsTotal: 4, SecondsMax: ptr(4), CPUSeconds: ptr(4), MemoryMaxBytes: &memory, EnergyMillijoules: &energy},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, works (-want +got):\n%s", err, diff)
	}
	minutes, err := w.Minutes(t.Context(), a, start.Add(-time.Minute), at(120))
	if err != nil || len(minutes) != 2 || !minutes[1].Minute.Equal(at(30)) || minutes[1].Proofs != 1 || minutes[1].SecondsTotal != 2 {
		t.Errorf("minutes %+v, %v", minutes, err)
	}
	events, err := w.Events(t.Context(), "bm2", 10)
	if diff := cmp.Diff([]ledger.Event{*entries[5].Entry.Event}, events); diff != "" || err != nil {
		t.Errorf("%v, events (-want +got):\n%s", err, diff)
	}
	const audits = "SELECT string_agg(concat_ws(' ', agent, who, coalesce(role, 'none'), operation, target, allowed, result), '') FROM snark_pool_audit"
	if got, want := one[string](t, w.pool, audits), "bm2 key none drain bm2/cpu f unsigned"; got != want {
		t.Errorf("audit %q, want %q", got, want)
	}
}

func TestHostsAndFences(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	for host, role := range map[string]string{"bm1": "prover", "bm2": "prover", "bm3": "spare"} {
		if err := w.AddHost(ctx, host, map[string]string{"role": role, "region": "eu"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.AddHost(ctx, "bm2", map[string]string{"role": "spare"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Seen(ctx, "bm1", "aa", "", json.RawMessage(`{"cpus": 2}`)); err != nil {
		t.Fatal(err)
	}
	if err := w.Seen(ctx, "bm1", "bb", "cc", nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Seen(ctx, "bm9", "", "", nil); !errors.Is(err, ledger.ErrUnknownHost) {
		t.Errorf("an unknown host: %v", err)
	}
	names := func(labels map[string]string) string {
		hosts, err := w.Hosts(ctx, labels)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, h := range hosts {
			list = append(list, h.Host)
		}
		return strings.Join(list, " ")
	}
	for want, labels := range map[string]map[string]string{"bm1 bm2 bm3": nil, "bm2 bm3": {"role": "spare"}, "bm3": {"role": "spare", "region": "eu"}, "": {"role": "none"}} {
		if got := names(labels); got != want {
			t.Errorf("hosts with %v: %q, want %q", labels, got, want)
		}
	}
	hosts, err := w.Hosts(ctx, map[string]string{"role": "prover"})
	if err != nil || len(hosts) != 1 || hosts[0].SeenAt == nil || *hosts[0].FileDigest != "bb" || *hosts[0].PlanDigest != "cc" || string(hosts[0].Inventory) != `{"cpus": 2}` ||
		hosts[0].SilentFor == nil || *hosts[0].SilentFor < 0 {
		t.Errorf("host %+v, %v", hosts, err)
	}
	if err := w.RemoveHost(ctx, "bm3"); err != nil {
		t.Error(err)
	}
	if err := w.RemoveHost(ctx, "bm3"); !errors.Is(err, ledger.ErrUnknownHost) {
		t.Errorf("removed twice: %v", err)
	}
	for _, want := range []bool{true, false} {
		if got, err := w.FenceGPU(ctx, "GPU-1", "bm1", "XID 79", "bm1"); got != want || err != nil {
			t.Errorf("fence: %v, %v; want %v", got, err, want)
		}
	}
	if fences, err := w.Fences(ctx, "bm1", false); err != nil || len(fences) != 1 || fences[0].Reason != "XID 79" {
		t.Errorf("fences %+v, %v", fences, err)
	}
	for _, want := range []bool{true, false} {
		if got, err := w.UnfenceGPU(ctx, "GPU-1", "operator"); got != want || err != nil {
			t.Errorf("unfence: %v, %v; want %v", got, err, want)
		}
	}
	if _, err := w.FenceGPU(ctx, "GPU-1", "bm1", "XID 31", "bm1"); err != nil {
		t.Error(err)
	}
	if fences, err := w.Fences(ctx, "", true); err != nil || len(fences) != 2 || fences[0].LiftedAt != nil || *fences[1].LiftedBy != "operator" {
		t.Errorf("fences %+v, %v", fences, err)
	}
}

func TestPostgreSQLIsAway(t *testing.T) {
	t.Parallel()
	l := ledger.New(newPool(t, "postgresql:///nothing?host=/nonexistent/socket"))
	for name, do := range map[string]func(context.Context) error{
		"lease": func(ctx context.Context) error { _, err := l.Lease(ctx, prover(a), 1, time.Minute); return err },
		"accept": func(ctx context.Context) error {
			_, err := l.Accept(ctx, proofOf(ledger.Lease{Job: job("j"), Epoch: 1}, a, ledger.Valid))
			return err
		},
		"deliver": func(ctx context.Context) error {
			_, err := l.Deliver(ctx, "simnet", &coordinator{}, 1)
			return err
		},
		"submit": func(ctx context.Context) error { _, err := l.Submit(ctx, "simnet", []ledger.Job{job("j")}); return err },
		"hosts":  func(ctx context.Context) error { _, err := l.Hosts(ctx, nil); return err },
	} {
		if err := do(t.Context()); !errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
		ended, cancel := context.WithCancelCause(t.Context())
		mine := errors.New("the caller has gone")
		cancel(mine)
		if err := do(ended); !errors.Is(err, mine) || errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("%s: %v, want the cause of the context's end", name, err)
		}
	}
}
