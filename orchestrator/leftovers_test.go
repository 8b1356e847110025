package orchestrator_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
)

// payScript is a step that schedules payments with the keys of an earlier step on all nodes of another one.
const payScript = `
{"action":"discovery","params":{}}
{"action":"fund-keys","params":{"amount":60000000000,"fee":1000000000,"prefix":"./keys/NAME/key","num":4,"privkeys":["private-keys/key-0"]}}
{"action":"load-keys","params":{"dir":"./keys/NAME"}}
{"action":"payments","params":{"experimentName":"NAME","tps":0.4,"minTps":0.1,"durationMin":600,"minFee":100000000,"maxFee":100000000,"amount":1,
 "receiver":"B62qiy32p8kAKnny8ZFwoMhYpBppM1DWVCqAPBYNcXnsAHhnfAAuXgg","feePayers":{"type":"output","step":2,"name":"key"},"nodes":{"type":"output","step":0,"name":"participant"}}}
`

// TestARestartIsNotTakenForProof runs a control program that succeeds and does nothing: the load on the node is stopped all the same.
func TestARestartIsNotTakenForProof(t *testing.T) {
	n := newNetwork(t, nil)
	e := n.run(strings.ReplaceAll(payScript, "NAME", "proof")+`
{"action":"restart","params":{"nodes":{"type":"output","step":0,"name":"participant"}}}
{"action":"load-keys","params":{"dir":"./no-such-directory"}}
`, options{seed: 1, change: func(w *orchestrator.World) { w.Programs = idleControl{w.Programs} }}).mustEnd(t, orchestrator.CodeStep)
	if left := n.History().Unstopped(); len(left) > 0 {
		t.Errorf("these schedules run: %v\n%v", left, e.Undone)
	}
}

// idleControl is a control program that says it did what it was told.
type idleControl struct{ orchestrator.Programs }

func (p idleControl) Run(ctx context.Context, c orchestrator.Command) error {
	if c.Path == "control" {
		return nil
	}
	return p.Programs.Run(ctx, c)
}

// TestARecordOfTwoRunsIsRefused keeps two runs in one file, as >> does: nothing is concluded from that.
func TestARecordOfTwoRunsIsRefused(t *testing.T) {
	n := newNetwork(t, nil)
	one, two := n.run(`{"action":"discovery","params":{}}`), n.run(`{"action":"discovery","params":{"limit":1}}`)
	path := filepath.Join(n.dir, "both.out")
	if err := os.WriteFile(path, []byte(one.out+two.out), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := orchestrator.ReadRecord(path); err == nil || !strings.Contains(err.Error(), "two runs") {
		t.Errorf("got %v", err)
	}
}

// TestStopAllScheduledSaysWhatItCannotStop loses the reply of an older daemon, whose load then runs without a known handle.
func TestStopAllScheduledSaysWhatItCannotStop(t *testing.T) {
	n := newNetwork(t, func(o *simnet.Options) {
		o.Old = o.Nodes
		o.Faults = []simnet.Fault{{Kind: simnet.FaultLoseReply, Operation: "schedulePayments", Count: 1}}
	})
	e := n.run(strings.ReplaceAll(payScript, "NAME", "lost")+`{"action":"stop-all-scheduled","params":{}}`).mustEnd(t, orchestrator.CodeRemains)
	if len(e.Remains) != 1 || !strings.Contains(e.Err.Error(), "its handle is not known") {
		t.Errorf("remains %v, error %v", e.Remains, e.Err)
	}
}

// TestABackgroundChildOfTheControlProgram holds its output open past its end.
func TestABackgroundChildOfTheControlProgram(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "control")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nsleep 30 &\necho started\nexit 0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	var lines []string
	err := orchestrator.Executables{}.Run(t.Context(), orchestrator.Command{Path: path, Line: func(text string, _ bool) { lines = append(lines, text) }})
	if err != nil || len(lines) != 1 {
		t.Errorf("got %v, lines %v", err, lines)
	}
}
