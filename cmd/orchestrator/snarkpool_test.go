package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"provingground/orchestrator"
	"provingground/snarkpool/control"
)

// TestRehearsedPool: what is paused in a rehearsal proves nothing, and the nodes' logs show it.
func TestRehearsedPool(t *testing.T) {
	t.Parallel()
	const script = "all = discovery()\n%s { wait(2h) }\nexpect snark.received >= 5 within 15m\nexpect snark.latency.max < 30m within 15m"
	for name, test := range map[string]struct {
		block string
		code  int
		said  string
	}{
		"without a block":  {"within 3h", orchestrator.CodeOK, ""},
		"all go on":        {`snark-pool(target: "cpu", workers: 256)`, orchestrator.CodeOK, ""},
		"one of them":      {"snark-pool(workers: 1)", orchestrator.CodeOK, ""},
		"none":             {"snark-pool(pause: true)", orchestrator.CodeVerdict, "expect failed: snark."},
		"more than it has": {"snark-pool(workers: 257)", orchestrator.CodeStep, "257 workers are wanted, and it has 256"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			done, _ := rehearse(t, fmt.Appendf(nil, script, test.block), "-seed", "1")
			if done.result.Code != test.code || test.said != "" && !strings.Contains(done.result.Err.Error(), test.said) {
				t.Errorf("it ends with %d: %v, want %d: %s", done.result.Code, done.result.Err, test.code, test.said)
			}
		})
	}
}

// agent is the agent of a pool with two workers that take work, one that is paused for an hour and one that is stopped, behind a real control
// server. Safe for concurrent use.
type agent struct {
	mu      sync.Mutex
	workers []control.WorkerStatus
	until   time.Time
}

func newAgent() *agent {
	a := &agent{until: time.Now().Add(time.Hour).UTC()}
	for i, wanted := range []string{"working", "working", "paused", "stopped"} {
		w := control.WorkerStatus{Name: fmt.Sprintf("bm7/cpu/%d", i), Pool: "cpu", State: "idle", Wanted: wanted}
		if wanted == "paused" {
			w.Until = &a.until
		}
		a.workers = append(a.workers, w)
	}
	return a
}

func (a *agent) Status(_ context.Context, target control.Target) (control.Status, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	status := control.Status{Agent: "bm7", Pool: "test"}
	for _, w := range a.workers {
		if target.Matches(w.Name, nil) {
			status.Workers = append(status.Workers, w)
		}
	}
	return status, nil
}

func (a *agent) Change(_ context.Context, command control.Command) (control.Change, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.workers {
		w := &a.workers[i]
		switch {
		case !command.Target.Matches(w.Name, nil):
		case command.Operation == control.OpResume:
			w.Wanted, w.Until = "working", nil
		case command.Operation == control.OpPause:
			w.Wanted, w.Until = "paused", nil
			if command.Arguments.Max > 0 {
				until := time.Now().Add(time.Duration(command.Arguments.Max))
				w.Until = &until
			}
		default:
			return control.Change{}, errors.New("nobody should ask for that")
		}
	}
	return control.Change{Summary: "done"}, nil
}

func (a *agent) Report(context.Context, control.Operation) (json.RawMessage, error) {
	return nil, errors.New("nobody should ask for that")
}

func (a *agent) Events(context.Context, control.Target, control.Arguments, func(...control.Event) error) error {
	return errors.New("nobody should ask for that")
}

func (a *agent) Logs(context.Context, control.Target, control.Arguments, func(...control.LogLine) error) error {
	return errors.New("nobody should ask for that")
}

// Record makes it its own audit.
func (*agent) Record(context.Context, control.Entry) error { return nil }

// wanted says what is wanted of the workers.
func (a *agent) wanted() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []string
	for _, w := range a.workers {
		text := w.Wanted
		if w.Until != nil && w.Until.Sub(a.until).Abs() < time.Minute {
			text += " for an hour"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// wantedFirst is what is wanted of the workers when nobody has changed anything.
const wantedFirst = "working, working, paused for an hour, stopped"

// serve lets the agent be commanded there, by whom keys names.
func (a *agent) serve(t *testing.T, keys *control.Keys, at *control.Listener) {
	t.Helper()
	server, err := control.NewServer(control.Options{Name: "bm7", Operator: a, Audit: a, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, at) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// withPool adds snarkPool to the network's configuration.
func (n *network) withPool(t *testing.T, pool map[string]string) {
	t.Helper()
	text, err := os.ReadFile(n.config)
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(text, &keys); err != nil {
		t.Fatal(err)
	}
	keys["snarkPool"] = pool
	if text, err = json.Marshal(keys); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// poolScript pauses, resumes and resizes the pool.
const poolScript = `
experiment "NAME"
quiet = snark-pool(target: "cpu", pause: true) {
  wait(5s)
  snark-pool(workers: 1) { wait(5s) }
}
snark-pool(target: "bm7", resume: true, socket: "pool.sock") { wait(5s) }
`

// TestPoolKilledAfterEveryRecordLine kills the orchestrator after each line of its record. Stop and resume both bring the pool back to what it was.
func TestPoolKilledAfterEveryRecordLine(t *testing.T) {
	n := newNetwork(t, t.TempDir(), usualScale, nil)
	a := newAgent()
	listener, err := control.ListenSocket(filepath.Join(n.dir, "pool.sock"))
	if err != nil {
		t.Fatal(err)
	}
	a.serve(t, nil, listener)
	n.withPool(t, map[string]string{"socket": "pool.sock"})
	mustBe := func(when string, want string) {
		t.Helper()
		if got := a.wanted(); got != want {
			t.Fatalf("%s: of the workers is wanted: %s; and should be: %s", when, got, want)
		}
	}
	whole := n.newCrashRun(poolScript, "w", 0)
	cmd, log := whole.start(t, whole.out, n.config)
	if code := exitCode(t, cmd.Run()); code != 0 {
		t.Fatalf("the uninterrupted run: exit %d\n%s", code, log)
	}
	mustBe("after the uninterrupted run", wantedFirst)
	changed := map[string]bool{}
	for line := 1; line < countAll(t, whole.out); line++ {
		r := n.newCrashRun(poolScript, fmt.Sprintf("a%d", line), 0)
		r.killedAt(t, line)
		changed[a.wanted()] = true
		r.mustStop(t, r.out)
		mustBe(fmt.Sprintf("killed after line %d, and stopped", line), wantedFirst)

		r = n.newCrashRun(poolScript, fmt.Sprintf("b%d", line), 0)
		r.killedAt(t, line)
		resumed := r.mustResume(t, line)
		mustBe(fmt.Sprintf("killed after line %d, and resumed", line), wantedFirst)
		want, got := countLines(t, whole.out), countLines(t, resumed)
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("killed after line %d and resumed: %d lines %q, the uninterrupted run has %d", line, got[name], name, want[name])
			}
		}
	}
	if len(changed) < 4 {
		t.Errorf("the killed runs left the pool in these ways alone: %v", changed)
	}
}

// TestPoolIsInterrupted: a signal in the block ends it, and the pool is as before. The agent is elsewhere, and nothing of the key is shown.
func TestPoolIsInterrupted(t *testing.T) {
	n := newNetwork(t, t.TempDir(), usualScale, nil)
	key, secret, err := control.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate := writeCertificate(t, n.dir)
	for name, text := range map[string]string{"operator.key": secret + "\n", "control.pub": key.PublicKey() + " operator tester\n"} {
		if err := os.WriteFile(filepath.Join(n.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := control.LoadKeys(filepath.Join(n.dir, "control.pub"))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := control.ListenTLS("127.0.0.1:0", certificate, filepath.Join(n.dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	a := newAgent()
	a.serve(t, keys, listener)
	n.withPool(t, map[string]string{"agent": "bm7@" + listener.Addr().String(), "keyFile": "operator.key", "caFile": certificate})
	r := n.newCrashRun(`snark-pool(pause: true) { log("inside") wait(100h) }`, "i", 0)
	cmd, log := r.start(t, r.out, n.config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.await(t, "the pause", func() bool { return a.wanted() == "paused, paused, paused for an hour, stopped" })
	n.await(t, "the wait", func() bool {
		text, err := os.ReadFile(r.out)
		return err == nil && bytes.Contains(text, []byte(`"_until"`))
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(t, cmd.Wait()); code != 128+int(syscall.SIGTERM) {
		t.Fatalf("exit %d\n%s", code, log)
	}
	if got := a.wanted(); got != wantedFirst {
		t.Errorf("of the workers is wanted: %s", got)
	}
	text, err := os.ReadFile(r.out)
	if err != nil {
		t.Fatal(err)
	}
	if all := string(text) + log.String(); strings.Contains(all, strings.TrimSpace(secret)) || !strings.Contains(all, "https://bm7@"+listener.Addr().String()) {
		t.Errorf("the key is shown, or the agent is not:\n%s", all)
	}
	// A record of another agent than the configuration names cannot be undone with its key.
	n.withPool(t, map[string]string{"socket": "pool.sock"})
	record := bytes.ReplaceAll(text, []byte(`"_undone"`), []byte(`"_never"`))
	if err := os.WriteFile(r.out+".other", record, 0o600); err != nil {
		t.Fatal(err)
	}
	stop := n.command(t, "stop", "-timeout", "1s", r.out+".other", n.config)
	if out, err := stop.CombinedOutput(); exitCode(t, err) != orchestrator.CodeRemains || !strings.Contains(string(out), "does not name it") {
		t.Errorf("stop: %v\n%s", err, out)
	}
}

// TestPoolConfiguration: what is wrong with it is said before anything is sent.
func TestPoolConfiguration(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	_, secret, err := control.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, bad := write("good", secret), write("bad", secret[:20])
	for name, test := range map[string]struct {
		pool orchestrator.SnarkPoolConfig
		said string
	}{
		"good":              {orchestrator.SnarkPoolConfig{Agent: "bm7:8470", KeyFile: good}, ""},
		"the key itself":    {orchestrator.SnarkPoolConfig{Agent: "bm7:8470", KeyFile: strings.TrimSpace(secret)}, "is the key itself"},
		"no such key":       {orchestrator.SnarkPoolConfig{Agent: "bm7:8470", KeyFile: filepath.Join(dir, "none")}, "keyFile of snarkPool"},
		"no key":            {orchestrator.SnarkPoolConfig{Agent: "bm7:8470", KeyFile: bad}, "keyFile " + bad},
		"no address":        {orchestrator.SnarkPoolConfig{Agent: "bm7", KeyFile: good}, "write NAME@HOST:PORT"},
		"no certificate":    {orchestrator.SnarkPoolConfig{Agent: "bm7:8470", KeyFile: good, CAFile: good}, "holds no certificate"},
		"a missing ca file": {orchestrator.SnarkPoolConfig{Agent: "bm7:8470", KeyFile: good, CAFile: dir + "/none"}, "caFile of snarkPool"},
	} {
		var hidden []string
		p, err := newPools(orchestrator.Config{SnarkPool: &test.pool}, func(text string) { hidden = append(hidden, text) }, zap.NewNop())
		if test.said == "" {
			if err != nil || len(hidden) != 1 || hidden[0] != strings.TrimSpace(secret) {
				t.Errorf("%s: %v, %d secrets", name, err, len(hidden))
			}
			p.close()
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.said) || strings.Contains(err.Error(), secret[:20]) {
			t.Errorf("%s: %v, want %q", name, err, test.said)
		}
	}
	none, err := newPools(orchestrator.Config{}, nil, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := none.at(""); err == nil {
		t.Error("there is a pool without a configuration of one")
	}
	if _, address, err := none.at("x.sock"); err != nil || !filepath.IsAbs(address) {
		t.Errorf("a socket is at %q: %v", address, err)
	}
	none.close()
}

// writeCertificate writes server.pem and server.key, for 127.0.0.1, into a directory, and returns the path of the first.
func writeCertificate(t *testing.T, dir string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bm7"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"server.pem": {Type: "CERTIFICATE", Bytes: certificate}, "server.key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "server.pem")
}
