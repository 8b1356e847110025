//go:build linux

package snarkpool_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"provingground/internal/soak"
	"provingground/snarkpool"
	"provingground/snarkpool/control"
	"provingground/snarkpool/worker/minalog/minatest"
)

// pullFile is a pool file with one pool of doubles of Mina's worker.
func pullFile(workers int, coordinator, generation, prove, shutdown string) string {
	exe, _ := os.Executable()
	return fmt.Sprintf(`{"version": 1, "name": "test", "hosts": [{"match": {"host": "bm7"}, "reserve": {"cores": 0, "memory": "1MiB"}, "pools": {"mina": {"workers": %d}}}],
"pools": {"mina": {"kind": "mina", "command": [%q, "internal", "snark-worker", "--shutdown-on-disconnect", %q], "coordinator": %q, "threads": 1,
"env": {"DOUBLE_PROVE": %q, "DOUBLE_GENERATION": %q}}}, "starts_per_second": 1000, "warmups": 100}`, workers, exe, shutdown, coordinator, prove, generation)
}

func newCoordinator(t *testing.T, works int) *minatest.Coordinator {
	t.Helper()
	c, err := minatest.Listen(context.Background(), works)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// lost returns the works that were given out and not taken, and fails the test if one was taken twice.
func lost(t *testing.T, c *minatest.Coordinator) int {
	t.Helper()
	given, taken, _ := c.Tally()
	seen := map[string]bool{}
	for _, ids := range taken {
		if seen[fmt.Sprint(ids)] {
			t.Errorf("work %v was taken twice", ids)
		}
		seen[fmt.Sprint(ids)] = true
	}
	return len(given) - len(seen)
}

// TestDrainMina drains doubles of Mina's worker, of both generations, and those that end when their coordinator is gone: none drops its proof.
func TestDrainMina(t *testing.T) {
	for _, generation := range []string{"text", "seconds"} {
		for _, shutdown := range []string{"true", "false"} {
			t.Run(generation+" "+shutdown, func(t *testing.T) {
				c := newCoordinator(t, 1000)
				w := newWorld(t, pullFile(3, c.Address(), generation, "150ms", shutdown))
				for i := range 3 {
					w.awaitState(fmt.Sprintf("bm7/mina/%d", i), "proving")
				}
				change := w.change(control.OpDrain, "mina", control.Arguments{})
				if change.Lost != 0 || change.Delivered < 3 || lost(t, c) != 0 {
					t.Errorf("%+v, %d lost by the coordinator's count", change, lost(t, c))
				}
				_, taken, _ := c.Tally()
				eventually(t, "all stored", func() (bool, string) {
					n := one[int64](w, "SELECT coalesce(sum(proofs), 0)::bigint FROM snark_pool_minute")
					return n == int64(2*len(taken)), fmt.Sprintf("%d proofs stored, %d works taken", n, len(taken))
				})
			})
		}
	}
}

// TestMoveMina gives workers another coordinator without restarting them.
func TestMoveMina(t *testing.T) {
	first, second := newCoordinator(t, 1000), newCoordinator(t, 1000)
	w := newWorld(t, pullFile(1, first.Address(), "text", "20ms", "false"))
	w.awaitState("bm7/mina/0", "proving")
	pid := w.worker("bm7/mina/0").PID
	w.setting.write(t, pullFile(1, second.Address(), "text", "20ms", "false"))
	w.change(control.OpApply, "all", control.Arguments{})
	eventually(t, "work of the second coordinator", func() (bool, string) {
		_, taken, _ := second.Tally()
		return len(taken) > 1, ""
	})
	if s := w.worker("bm7/mina/0"); s.PID != pid || lost(t, first) != 0 {
		t.Errorf("%+v", s)
	}
	w.change(control.OpPause, "mina", control.Arguments{})
	eventually(t, "no work in hand", func() (bool, string) { return lost(t, second) == 0, "" })
	w.change(control.OpResume, "mina", control.Arguments{})
	w.awaitState("bm7/mina/0", "proving")
	w.change(control.OpDrain, "mina", control.Arguments{})
}

// TestPullNeedsNoDatabase runs pull workers without any.
func TestPullNeedsNoDatabase(t *testing.T) {
	c := newCoordinator(t, 5)
	w := newWorld(t, pullFile(1, c.Address(), "text", "1ms", "false"), func(o *snarkpool.Options) { o.Database = "" })
	eventually(t, "works counted", func() (bool, string) { s := w.worker("bm7/mina/0"); return s.Proofs == 10, fmt.Sprint(s) })
}

// TestRandomDrainsMina drains random doubles at random moments: 200 of them in a soak, and not one proof is lost or taken twice.
func TestRandomDrainsMina(t *testing.T) {
	drains := 200 * min(soak.Rounds(t), soak.Full) / soak.Full
	c := newCoordinator(t, 1_000_000)
	const workers = 4
	w := newWorld(t, pullFile(workers, c.Address(), "seconds", "15ms", "false"))
	random := rand.New(rand.NewPCG(1, 2))
	for range drains {
		name := fmt.Sprintf("bm7/mina/%d", random.IntN(workers))
		w.awaitState(name, "proving")
		if change := w.change(control.OpDrain, name, control.Arguments{}); change.Lost != 0 {
			t.Errorf("%+v", change)
		}
		w.change(control.OpResume, name, control.Arguments{})
	}
	w.change(control.OpDrain, "all", control.Arguments{})
	if n := lost(t, c); n != 0 {
		given, taken, _ := c.Tally()
		t.Errorf("%d works are lost: %v, %v", n, given[max(0, len(given)-8):], slices.Clone(taken[max(0, len(taken)-8):]))
	}
}
