//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"provingground/cmd/internal/boot"
	"provingground/cmd/internal/privatedb"
	"provingground/internal/privatepg/pgtest"
	"provingground/snarkpool/control"
	"provingground/snarkpool/coordinator"
	"provingground/snarkpool/ledger"
	"provingground/snarkpool/supervise/process"
	"provingground/snarkpool/worker/gnark"
)

// links makes proofs of some milliseconds, most of the time.
const links = "1"

// works is a coordinator that has so much work, gives each out again until it is proved, and verifies the proofs.
type works struct {
	mu       sync.Mutex
	left     []coordinator.Work
	proved   map[string]int
	wrong    []string
	verifier *gnark.Verifier
	keys     gnark.Options
}

func statementOf(i int) string { return fmt.Sprintf("%064x", i+1) }

func (w *works) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var answer any
	switch r.URL.Path {
	case "/v1/work":
		var request coordinator.WorkRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			w.wrong = append(w.wrong, err.Error())
		}
		answer = coordinator.WorkAnswer{Work: w.left[:min(request.Most, len(w.left))]}
		w.left = w.left[min(request.Most, len(w.left)):]
	case "/v1/proof":
		var proof coordinator.Proof
		if err := json.NewDecoder(r.Body).Decode(&proof); err != nil {
			w.wrong = append(w.wrong, err.Error())
		}
		if err := w.verifier.Verify(r.Context(), w.keys.Statement(proof.Statement, 0), proof.Proof); err != nil {
			w.wrong = append(w.wrong, proof.ID+": "+err.Error())
		}
		w.proved[proof.ID]++
		answer = coordinator.Verdict{Status: coordinator.Accepted}
	default:
		w.wrong = append(w.wrong, r.URL.Path)
	}
	out.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(out).Encode(answer); err != nil {
		w.wrong = append(w.wrong, err.Error())
	}
}

func (w *works) done() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.proved)
}

// add adds so much work.
func (w *works) add(from, to int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := from; i < to; i++ {
		w.left = append(w.left, coordinator.Work{
			ID: fmt.Sprintf("w%d", i), WorkIDs: []int{i}, Statement: statementOf(i), Kinds: []coordinator.Kind{coordinator.Payment}, Until: time.Now().Add(time.Hour),
		})
	}
}

// place is where an agent of a test lives.
type place struct {
	dir, state, keys, port string
	environment            []string
	coordinator            string
	seen                   map[int]bool // processes of workers
}

func newPlace(t *testing.T) *place {
	t.Helper()
	dir := pgtest.Dir(t)
	path, err := install(filepath.Join(dir, "bin"), os.Getenv("PATH"))
	if err != nil {
		t.Fatal(err)
	}
	p := &place{dir: dir, state: filepath.Join(dir, "state"), keys: filepath.Join(dir, "keys"), port: freePort(t), seen: make(map[int]bool)}
	p.environment = append(os.Environ(), "PATH="+path, asProgram+"=1", "GORACE=atexit_sleep_ms=0")
	p.write(t, "pool.json", strings.NewReplacer("KEYS", p.keys, "LINKS", links).Replace(`{"version": 1, "name": "test", "control": {"keys_file": "control.pub"},
 "hosts": [{"match": {"host": "bm1"}, "reserve": {"cores": 0, "memory": "0B"}, "pools": {"gnark": {"workers": 2}}}],
 "pools": {"gnark": {"kind": "fed", "command": ["snarkpool", "prove", "gnark", "-keys", "KEYS", "-links", "LINKS"], "threads": 1}}}`))
	key, seed, err := control.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "alice.key", seed)
	p.write(t, "control.pub", key.PublicKey()+" operator alice\n")
	p.certify(t)
	return p
}

func (p *place) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// certify makes a certificate for 127.0.0.1.
func (p *place) certify(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})))
	p.write(t, "cert.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// call runs the program to its end.
func (p *place) call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := p.command(t.Context(), args...)
	var out, wrong bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &wrong
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), wrong.String()
}

func (p *place) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(p.dir, "bin", "snarkpool"), args...)
	cmd.Env, cmd.Dir = p.environment, p.dir
	return cmd
}

// must runs the program, which has to succeed, and returns what it prints.
func (p *place) must(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := p.call(t, args...)
	if code != boot.CodeOK {
		t.Fatalf("snarkpool %s exits %d:\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// agent is a running agent.
type agent struct {
	*exec.Cmd
	log   string
	ended chan error
}

func (p *place) start(t *testing.T, name string) *agent {
	t.Helper()
	a := &agent{log: filepath.Join(p.dir, name+".log"), ended: make(chan error, 1)}
	log, err := os.Create(a.log)
	if err != nil {
		t.Fatal(err)
	}
	a.Cmd = p.command(context.Background(), "agent", "pool.json", "-state", p.state, "-host", "bm1", "-keys", p.keys, "-links", links, "-coordinator", "test="+p.coordinator,
		"-listen", p.port, "-cert", "cert.pem", "-cert-key", "cert.key", "-metrics", "127.0.0.1:0")
	a.Stderr = log
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { a.ended <- errors.Join(a.Wait(), log.Close()) }()
	t.Cleanup(func() {
		_ = a.Process.Kill() // it has ended, unless the test failed
		if t.Failed() {
			for pid := range p.seen { // a worker outlives its agent; each leads a group of its own
				_ = syscall.Kill(-pid, syscall.SIGKILL)
			}
			text, err := os.ReadFile(a.log)
			t.Logf("%s: %v\n%s", name, err, text)
		}
	})
	return a
}

// status asks the agent; the status is empty when there is none.
func (p *place) status(t *testing.T) (s control.Status) {
	t.Helper()
	code, stdout, _ := p.call(t, "status", "-json", "-state", p.state)
	if code != boot.CodeOK {
		return s
	}
	if err := json.Unmarshal([]byte(stdout), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// await waits for something that comes soon.
func await(t *testing.T, what string, come func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(2 * time.Minute); !come(); {
		if time.Now().After(late) {
			t.Fatalf("waited for %s in vain", what)
		}
		<-tick.C
	}
}

// working returns the processes of the workers when all of them work, and nil otherwise.
func (p *place) working(t *testing.T) map[string]int {
	t.Helper()
	pids := make(map[string]int)
	for _, w := range p.status(t).Workers {
		if w.State == "idle" || w.State == "proving" {
			pids[w.Name] = w.PID
			p.seen[w.PID] = true
		}
	}
	if len(pids) != 2 {
		return nil
	}
	return pids
}

// TestAgent is a whole life: from nothing, through drains, a killed agent and its successor, to the last proof.
func TestAgent(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	keys := gnark.Options{KeyDirectory: p.keys, Links: 1}
	verifier, err := gnark.NewVerifier(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	source := &works{proved: make(map[string]int), verifier: verifier, keys: keys}
	server := httptest.NewServer(source)
	defer server.Close()
	p.coordinator = server.URL
	source.add(0, 10)

	first := p.start(t, "first")
	await(t, "two workers", func() bool { return p.working(t) != nil })
	await(t, "the first proofs", func() bool { return source.done() == 10 })
	if log, err := os.ReadFile(first.log); err != nil || !strings.Contains(string(log), "private PostgreSQL: psql ") {
		t.Errorf("the agent does not say how to look into its database: %v\n%s", err, log)
	}

	// One agent a state directory, and one a socket.
	for _, more := range [][]string{nil, {"-socket", filepath.Join(p.dir, "other.sock")}} {
		code, _, stderr := p.call(t, append([]string{"agent", "pool.json", "-state", p.state, "-host", "bm1"}, more...)...)
		if code != boot.CodeUsage {
			t.Errorf("a second agent exits %d: %s", code, stderr)
		}
	}

	// Commands, while there is work.
	source.add(10, 30)
	await(t, "more proofs", func() bool { return source.done() > 11 })
	var drained control.Change
	if err := json.Unmarshal([]byte(p.must(t, "drain", "bm1/gnark", "-json", "-reason", "a test", "-state", p.state)), &drained); err != nil {
		t.Fatal(err)
	}
	if drained.Lost != 0 || len(drained.Workers) != 2 || !strings.HasPrefix(drained.Summary, "drained 2 workers, ") {
		t.Errorf("%+v", drained)
	}
	if text := p.must(t, "status", "-state", p.state); !strings.Contains(text, "gnark: 2 workers, 2 stopped; ") {
		t.Error(text)
	}
	if text := p.must(t, "resume", "all", "-state", p.state); !strings.HasSuffix(text, "resumed 2 workers\n") {
		t.Error(text)
	}
	if text := p.must(t, "restart", "gnark", "-rolling", "-state", p.state); !strings.Contains(text, " 0 lost, ") {
		t.Error(text)
	}
	if text := p.must(t, "top", "-once", "-state", p.state); !strings.Contains(text, "WORKER") {
		t.Error(text)
	}
	if text := p.must(t, "events", "bm1/gnark/0", "-last", "500", "-state", p.state); !strings.Contains(text, "  bm1/gnark/0  ") || strings.Contains(text, "bm1/gnark/1") {
		t.Error(text)
	}
	p.must(t, "logs", "gnark", "-state", p.state)
	if text := p.must(t, "plan", "-state", p.state); !strings.Contains(text, "gnark: 2 workers of 1 thread") {
		t.Error(text)
	}
	if text := p.must(t, "inventory", "-json", "-socket", filepath.Join(p.state, socketName)); !strings.HasPrefix(text, `{"machine":{"hostname":`) {
		t.Error(text)
	}
	if text := p.must(t, "gpu", "list", "-state", p.state); text != "no GPUs\n" {
		t.Error(text)
	}
	if text := p.must(t, "apply", "pool.json", "-dry-run", "-state", p.state); !strings.HasPrefix(text, "dry run, nothing was changed: ") {
		t.Error(text)
	}
	for _, refused := range []struct {
		args string
		says string
	}{
		{"gpu fence GPU-1 -state STATE", "no such GPU"},
		{"pause bm1/none -state STATE", "bm1/none"},
		{"stop all -now -agent bm1@PORT -key alice.key -ca cert.pem", "operator"}, // it needs an admin
		{"status -agent bm2@PORT -key alice.key -ca cert.pem", "bm2"},
	} {
		args := strings.Fields(strings.NewReplacer("STATE", p.state, "PORT", p.port).Replace(refused.args))
		if code, _, stderr := p.call(t, args...); code != codeRefused || !strings.Contains(stderr, refused.says) {
			t.Errorf("snarkpool %s exits %d: %s", refused.args, code, stderr)
		}
	}
	if text := p.must(t, "status", "-agent", "bm1@"+p.port, "-key", "alice.key", "-ca", "cert.pem"); !strings.Contains(text, "bm1: agent of pool test") {
		t.Error(text)
	}

	// Hosts are in the private database.
	if text := p.must(t, "host", "add", "bm1", "role=prover", "-dry-run", "-state", p.state); text != "dry run, nothing was changed: host bm1 added role=prover\n" {
		t.Error(text)
	}
	p.must(t, "host", "add", "bm1", "role=prover", "-state", p.state)
	if text := p.must(t, "host", "add", "bm1", "role=other", "-state", p.state); text != "host bm1 relabelled role=other\n" {
		t.Error(text)
	}
	if text := p.must(t, "host", "list", "role=other", "-state", p.state); !strings.HasPrefix(text, "bm1  ") {
		t.Error(text)
	}
	p.must(t, "host", "remove", "bm1", "-state", p.state)
	if code, _, _ := p.call(t, "host", "remove", "bm1", "-state", p.state); code != boot.CodeUsage {
		t.Errorf("removing a host twice exits %d", code)
	}

	// The agent is killed in the midst of it; the next one adopts its workers.
	await(t, "both workers", func() bool { return p.working(t) != nil })
	before := p.working(t)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.ended
	for name, pid := range before {
		if err := syscall.Kill(pid, 0); err != nil {
			t.Errorf("%s did not survive its agent: %v", name, err)
		}
	}
	second := p.start(t, "second")
	await(t, "the adopted workers", func() bool { return p.working(t) != nil })
	if diff := cmp.Diff(before, p.working(t)); diff != "" {
		t.Errorf("the next agent did not adopt the workers (-before +after):\n%s", diff)
	}

	// A pool that is asked for more by its own bench.
	var figures poolFigures
	if err := json.Unmarshal([]byte(p.must(t, "bench", "-jobs", "5", "-json", "-state", p.state, "-keys", p.keys, "-links", links)), &figures); err != nil || figures.Proved != 5 {
		t.Errorf("%+v, %v", figures, err)
	}
	await(t, "all proofs", func() bool { return source.done() == 30 })

	// The end.
	if text := p.must(t, "stop", "all", "-state", p.state); !strings.Contains(text, "stopped 2 workers, ") {
		t.Error(text)
	}
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-second.ended; err != nil {
		t.Errorf("the agent ends with %v", err)
	}
	for name, pid := range before {
		if stat, err := process.ReadStat(pid); !errors.Is(err, process.ErrGone) && stat.State != 'Z' { // who adopts orphans may be slow to wait for them
			t.Errorf("%s, process %d, is still there: %c, %v", name, pid, stat.State, err)
		}
	}
	if _, err := os.Stat(filepath.Join(p.state, privatedb.Note)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the note of the private database is still there: %v", err)
	}
	source.mu.Lock()
	defer source.mu.Unlock()
	if len(source.wrong) > 0 {
		t.Errorf("the coordinator was told what is wrong: %q", source.wrong)
	}
	for id, times := range source.proved {
		if times != 1 {
			t.Errorf("%s was delivered %d times", id, times)
		}
	}
}

// TestCoordinatorSource: what a coordinator refuses is delivered all the same, and what is not its own is an error.
func TestCoordinatorSource(t *testing.T) {
	t.Parallel()
	verdict := coordinator.Verdict{Status: coordinator.Slashed, Reason: coordinator.ReasonProven}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(verdict); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	c := call{options: &options{sources: []string{"sim=" + server.URL}}}
	feeds, stop, err := c.feeds(t.Context(), "bm1", gnark.Options{KeyDirectory: t.TempDir(), Links: 1}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	proof := ledger.Proof{Job: "w1:" + statementOf(1), Worker: "bm1/gnark/0", Proof: []byte("proof")}
	if err := feeds[0].Source.Deliver(t.Context(), proof); err != nil {
		t.Errorf("a slashed proof is tried for ever: %v", err)
	}
	proof.Job = "somebody else's"
	if err := feeds[0].Source.Deliver(t.Context(), proof); err == nil {
		t.Error("a job of another source was delivered")
	}
}
