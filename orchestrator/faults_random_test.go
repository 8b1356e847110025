package orchestrator_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"provingground/internal/soak"
	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
)

// TestManyFaultsAtOnce lets several things go wrong at once, by chance, and checks what must hold whatever happens: no sender key in two
// schedules at a time, no memo twice, nothing running after a clean-up but what it reported, with its end; every call that left something
// behind recorded before it; and stop, from the record, leaves only what it reports too. SEED repeats one round.
func TestManyFaultsAtOnce(t *testing.T) {
	count := soak.Rounds(t)
	first := rand.Uint64()
	if text, ok := os.LookupEnv("SEED"); ok {
		var err error
		if first, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
		count = 1
	}
	ended := map[int]int{}
	for round := range uint64(count) {
		seed := first + round
		t.Run(fmt.Sprintf("SEED=%d", seed), func(t *testing.T) {
			ended[manyFaults(t, rand.New(rand.NewPCG(seed, 0)))]++
		})
	}
	t.Logf("exit codes: %v", ended)
}

// randomFaults draws some faults.
func randomFaults(chance *rand.Rand) string {
	operations := []string{"", "/auth", "/schedulePayments", "/scheduleZkappCommands", "/stopScheduledTransactions", "/updateGating", "/zkAppCommandLimit"}
	var faults []string
	for range 1 + chance.IntN(5) {
		node := fmt.Sprintf("127.0.0.%d", 2+chance.IntN(6))
		if chance.IntN(6) == 0 {
			node = "*"
		}
		target := node + operations[chance.IntN(len(operations))]
		times := fmt.Sprintf("#%d", 1+chance.IntN(3))
		slot := fmt.Sprintf("@%d", 4+chance.IntN(3))
		faults = append(faults, []string{
			"lose-request:" + target + times, "lose-reply:" + target + times, "cut-body:" + target + times, "412:" + target + times,
			"status:" + target + "=502" + times, "status-after:" + target + "=504" + times, "restart-before:" + target + times,
			"refuse-schedule:" + node + times, "quote-key:" + node + times, "slow:" + target + "=50ms" + times, "hang:" + target + "#1",
			"restart:" + node + slot, "redeploy:" + node + slot, "die:" + node + slot, "busy:" + node + "=10m" + slot, "refuse:" + node + "=30m" + slot,
			"list-empty#1", "list-status=503#1", "list-no-port",
		}[chance.IntN(19)])
	}
	return strings.Join(faults, "; ")
}

// manyFaults is one round. It returns the exit code of the run.
func manyFaults(t *testing.T, chance *rand.Rand) int {
	t.Helper()
	faults := randomFaults(chance)
	old := chance.IntN(4)
	n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) {
		faulty(t, faults, old)(o)
		fundedKeys(t, o, "zkeys", 4)
	})
	n.config.RequestTimeout = time.Second
	tail := []string{failing(), step("wait", params{"sec": 1}), step("stop-all-scheduled", params{})}[chance.IntN(3)]
	text := script(strings.Replace(n.everything("r"), `{"sec":1}`, `{"min":5}`, 1), tail) // some slots, for what strikes nodes at their begin
	interruptAt := -1
	if chance.IntN(3) == 0 {
		interruptAt = chance.IntN(60)
	}
	ctx, interrupt := interruption(t, syscall.SIGINT)
	var unrecorded atomic.Int32
	file := &brittle{writes: -1, flushes: -1}
	if chance.IntN(5) == 0 {
		file.writes, file.err = 10+chance.IntN(50), syscall.ENOSPC
	}
	kept := &safeBuffer{}
	t.Logf("faults %s; %d older nodes; interrupted at line %d; disk full at write %d; %s", faults, old, interruptAt, file.writes, tail)
	e := n.try(text, trial{
		ctx: ctx, seed: chance.Uint64(), stdout: kept, cleanup: 6 * time.Second,
		after: func(lines int) {
			if lines == interruptAt {
				interrupt()
			}
		},
		between: func(x exchange) (*http.Response, error) {
			if number := numberInHeader.FindStringSubmatch(x.Header.Get("Authorization")); x.mutates() && number != nil {
				if !strings.Contains(kept.String(), fmt.Sprintf(`"serverUuid":"%s","sequenceNumber":%s`, number[1], number[2])) {
					unrecorded.Add(1)
				}
			}
			return x.pass()
		},
	})
	if unrecorded.Load() > 0 {
		t.Errorf("%d calls were made that were not recorded", unrecorded.Load())
	}
	n.mustBeTrue(t, e)
	switch e.Code {
	case orchestrator.CodeOK, orchestrator.CodeStep, orchestrator.CodeRemains, 130:
	default:
		t.Errorf("the run ended with %d: %v", e.Code, e.Err)
	}

	// From standard output alone, everything can be undone.
	if err := os.WriteFile("run.out", []byte(e.out), 0o600); err != nil {
		t.Fatal(err)
	}
	result, log := n.stop("run.out", trial{cleanup: 6 * time.Second})
	n.mustBeReported(t, result)
	n.mustNotOverlap(t)
	if t.Failed() {
		t.Logf("code %d, %v\n%s\nstop: %v\n%s", e.Code, e.Err, e.log, result, log)
	}
	return e.Code
}
