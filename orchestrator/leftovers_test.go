package orchestrator_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"provingground/dsl"
	"provingground/internal/redact"
	"provingground/orchestrator"
	"provingground/orchestrator/record"
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

// TestAProgramUnderWayIsNamed asks what may remain while accounts are created: a second signal would leave that to itself.
func TestAProgramUnderWayIsNamed(t *testing.T) {
	n := newNetwork(t, nil)
	script, err := dsl.ReadJSON("test", strings.NewReader(
		`{"action":"fund-keys","params":{"amount":20000000000,"fee":1000000000,"prefix":"./under/way","num":2,"privkeys":["private-keys/key-0"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	plan, found := orchestrator.Compile(script, orchestrator.CompileOptions{Config: &n.config})
	if plan == nil {
		t.Fatal(found)
	}
	world := n.world(&safeBuffer{})
	held := heldPrograms{Programs: world.Programs, started: make(chan struct{}), release: make(chan struct{})}
	world.Programs = held
	run := orchestrator.NewRun(plan, n.config, world, record.NewWriter(io.Discard, nil, redact.Text, nil), orchestrator.Options{})
	ended := make(chan orchestrator.Result, 1)
	go func() { ended <- run.Do(t.Context()) }()
	<-held.started
	remains := run.MayRemain()
	close(held.release)
	if len(remains) != 1 || !strings.Contains(remains[0].String(), "./under/way-0-*") {
		t.Errorf("while the program runs, %v may remain", remains)
	}
	if result := <-ended; result.Err != nil {
		t.Error(result.Err)
	}
	if remains := run.MayRemain(); len(remains) > 0 {
		t.Errorf("afterwards, %v may remain", remains)
	}
}

// heldPrograms holds the first program back until it is released.
type heldPrograms struct {
	orchestrator.Programs
	started, release chan struct{}
}

func (p heldPrograms) Run(ctx context.Context, c orchestrator.Command) error {
	close(p.started)
	<-p.release
	return p.Programs.Run(ctx, c)
}

// TestADirectoryInTheWayIsFoundAtOnce has one at its last step: nothing is sent before that is said.
func TestADirectoryInTheWayIsFoundAtOnce(t *testing.T) {
	n := newNetwork(t, nil)
	if err := os.MkdirAll(filepath.Join(n.dir, "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	e := n.run(`{"action":"discovery","params":{}}
{"action":"fund-keys","params":{"amount":20000000000,"fee":1000000000,"prefix":"./taken/key","num":2,"privkeys":["private-keys/key-0"]}}`).mustEnd(t, orchestrator.CodeStep)
	if got := e.outputs(t, 0, "participant"); len(got) > 0 || !strings.Contains(e.Err.Error(), "step 1") {
		t.Errorf("participants %v, error %v", got, e.Err)
	}
}

// TestADaemonThatEndsBeforeItAnswers was told to stop, and nobody listens there any more: it has stopped.
func TestADaemonThatEndsBeforeItAnswers(t *testing.T) {
	n := newNetwork(t, func(o *simnet.Options) {
		o.RestartAfter = -1
		o.Faults = []simnet.Fault{{Kind: simnet.FaultSlow, Operation: "auth", Delay: 50 * time.Millisecond}, {Kind: simnet.FaultLoseReply, Operation: "stopDaemon"}}
	})
	// Ten seconds of network time are over before the lost reply is decided.
	n.run(step("stop-daemon", params{"nodes": n.Nodes()[:1]})).mustEnd(t, orchestrator.CodeOK)
}
