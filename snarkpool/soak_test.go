//go:build linux

package snarkpool_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"provingground/internal/soak"
	"provingground/snarkpool/control"
	"provingground/snarkpool/ledger"
)

// outside is an agent in a process of its own, which is killed now and then.
type outside struct {
	t       *testing.T
	setting setting
	command *exec.Cmd
	client  *control.Client
}

func (o *outside) start() {
	o.t.Helper()
	content, err := json.Marshal(o.setting)
	if err != nil {
		o.t.Fatal(err)
	}
	o.command = exec.CommandContext(context.Background(), "/proc/self/exe", "play", "agent", string(content))
	o.command.Stderr = os.Stderr
	out, err := o.command.StdoutPipe()
	if err != nil {
		o.t.Fatal(err)
	}
	if err := o.command.Start(); err != nil {
		o.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "up ") {
		o.t.Fatalf("the agent did not come up: %q %v", line, err)
	}
	o.client = control.NewLocal(filepath.Join(o.setting.Dir, "socket"))
}

// kill ends the agent by SIGKILL, while its workers live on.
func (o *outside) kill() {
	o.client.Close()
	_ = o.command.Process.Kill()
	_ = o.command.Wait()
}

func (o *outside) change(operation control.Operation, target string, arguments control.Arguments) (control.Change, error) {
	o.t.Helper()
	parsed, err := control.ParseTarget(target)
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return o.client.Change(ctx, control.Command{Operation: operation, Target: parsed, Arguments: arguments, Agent: "bm7"})
}

func (o *outside) end() {
	if _, err := o.change(control.OpStop, "all", control.Arguments{Now: true}); err != nil {
		o.t.Errorf("stop: %v", err)
	}
	o.kill()
}

// TestRandomDrains drains random workers at random moments, and kills the agent in between by SIGKILL: 1,000 drains in a soak. No job is lost, none counts
// twice, and a drain that came to its end lost no proof.
func TestRandomDrains(t *testing.T) {
	drains := 1000 * min(soak.Rounds(t), soak.Full) / soak.Full
	uri := database(t)
	pool := connect(t, uri)
	l := ledger.New(pool)
	const workers = 4
	tally := filepath.Join(t.TempDir(), "tally")
	file := strings.Replace(poolFile(workers, `"8ms", "right"`), `"THREADS": `, fmt.Sprintf(`"TALLY": %q, "THREADS": `, tally), 1)
	o := &outside{t: t, setting: newSetting(t, file, uri)}
	o.start()
	defer o.end()
	src := newSource()
	ctx := t.Context()
	more := func() {
		for _, b := range backlogs(t, l) {
			if b.Waiting > 200 {
				return
			}
		}
		src.addFakes(400)
		src.mu.Lock()
		jobs := src.jobs
		src.mu.Unlock()
		if _, err := l.Submit(ctx, "test", jobs[max(0, len(jobs)-400):]); err != nil {
			t.Fatal(err)
		}
	}
	random := rand.New(rand.NewPCG(3, 4))
	kills := 0
	var delivered, afterKills uint64
	for i := range drains {
		more()
		name := fmt.Sprintf("bm7/cpu/%d", random.IntN(workers))
		const often = 10
		killed := i%often == often-1
		if killed { // A drain that is begun by one agent and ended by the next.
			begun := make(chan struct{})
			go func() {
				defer close(begun)
				_, _ = o.change(control.OpDrain, name, control.Arguments{})
			}()
			wait(t, time.Duration(random.IntN(12))*time.Millisecond)
			o.kill()
			<-begun
			o.start()
			kills++
		}
		change, err := o.change(control.OpDrain, name, control.Arguments{})
		if err != nil {
			t.Fatalf("drain %d: %v", i, err)
		}
		delivered += change.Delivered
		if killed {
			afterKills += change.Lost
		} else if change.Lost != 0 {
			t.Errorf("drain %d lost a proof: %+v", i, change)
			all, _ := l.Events(ctx, name, 30)
			for _, x := range all {
				t.Logf("%s %s %s>%s %s", x.At.Format("05.000000"), x.Event, x.From, x.To, x.Cause)
			}
		}
		if _, err := o.change(control.OpResume, name, control.Arguments{}); err != nil {
			t.Fatalf("resume %d: %v", i, err)
		}
	}
	eventually(t, "every job proved", func() (bool, string) {
		for _, err := range []error{deliver(ctx, l, src)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		src.mu.Lock()
		defer src.mu.Unlock()
		status, err := o.client.Status(ctx, control.Target{})
		return len(src.delivered) == len(src.jobs), fmt.Sprintf("%d of %d jobs: %+v %v", len(src.delivered), len(src.jobs), status, err)
	})
	for job, n := range src.delivered {
		if n != 1 {
			t.Errorf("job %s was delivered %d times", job, n)
		}
	}
	counted := query(t, pool, "SELECT count(*) FROM snark_pool_proof WHERE outcome IN ('accepted', 'late')")
	if counted != int64(len(src.jobs)) {
		t.Errorf("%d proofs count for %d jobs", counted, len(src.jobs))
	}
	again := query(t, pool, "SELECT count(*) FROM snark_pool_job WHERE epoch > 1")
	content, err := os.ReadFile(tally)
	if err != nil {
		t.Fatal(err)
	}
	made := int64(strings.Count(string(content), "\n"))
	stored := query(t, pool, "SELECT count(*) FROM snark_pool_proof")
	t.Logf("%d drains, %d kills of the agent: %d jobs proved, %d of them not in the first attempt; %d proofs made, %d stored; drains delivered %d, and %d jobs were given up after kills",
		drains, kills, counted, again, made, stored, delivered, afterKills)
	// What the agent read from a pipe in the very moment of its death, and had not written down, is made again.
	const rare = 10
	if made-stored > int64(1+kills/rare) {
		t.Errorf("%d proofs were made and %d stored, with %d kills", made, stored, kills)
	}
}

func deliver(ctx context.Context, l *ledger.Ledger, to ledger.Source) error {
	for {
		if n, err := l.Deliver(ctx, "test", to, 500); err != nil || n == 0 {
			return err
		}
	}
}

func backlogs(t *testing.T, l *ledger.Ledger) []ledger.Backlog {
	t.Helper()
	all, err := l.Backlogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func query(t *testing.T, pool *pgxpool.Pool, sql string) (n int64) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// wait lets a random time pass, so that what is cut off is cut off anywhere.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}
