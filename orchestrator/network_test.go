package orchestrator_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"provingground/dsl"
	"provingground/internal/clock"
	"provingground/internal/mina"
	"provingground/internal/redact"
	"provingground/orchestrator"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/record"
	"provingground/orchestrator/simnet"
	"provingground/orchestrator/simnet/standin"
	"provingground/uptime"
)

// network is a simulated network on TCP, with what it takes to run scripts on it. Its journal tells what really happened.
type network struct {
	*simnet.Network
	t      testing.TB
	clock  *clock.Clock
	config orchestrator.Config
	seed   string // the ITN key
	dir    string
	env    map[string]string
}

// newNetwork starts a network of 6 nodes, 3 of them producers, slots of 3 minutes, ten minutes of network time a second; change changes
// that. The working directory is a new one with private-keys/key-0, the file of a rich account.
func newNetwork(t testing.TB, change func(*simnet.Options)) *network {
	t.Helper()
	const scale = 600
	n := &network{t: t, dir: t.TempDir(), env: map[string]string{"PW": "", "PASS": "correct horse"}}
	t.Chdir(n.dir)
	genesis := time.Now().Add(-time.Second).UTC().Truncate(time.Second)
	var err error
	if n.clock, err = clock.Scaled(genesis, scale); err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n.seed = base64.StdEncoding.EncodeToString(private.Seed())
	rich, err := mina.GeneratePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	writeKey(t, "private-keys/key-0", rich, "")
	options := simnet.Options{
		Nodes: 6, Producers: 3, Clock: n.clock, Genesis: genesis, Seed: 7, ITNKeys: []ed25519.PublicKey{public}, KeepJournal: true,
		Port: freePort(t), ListPort: freePort(t), Accounts: map[mina.PublicKey]mina.Nanomina{rich.PublicKey(): 900_000_000_000_000_000},
	}
	if change != nil {
		change(&options)
	}
	if n.Network, err = simnet.New(options); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := n.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.configure(map[string]any{
		"key": n.seed, "onlineURL": n.OnlineURL(), "slotDurationMs": 180_000, "genesisTimestamp": genesis.Format(time.RFC3339Nano),
		"clockScale": scale, "controlExec": "control", "requestTimeoutMs": 2000,
	})
	return n
}

// configure writes a configuration file and reads it.
func (n *network) configure(keys map[string]any) {
	n.t.Helper()
	text, err := json.Marshal(keys)
	if err != nil {
		n.t.Fatal(err)
	}
	path := filepath.Join(n.dir, "config.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		n.t.Fatal(err)
	}
	if n.config, err = orchestrator.ReadConfig(path, os.LookupEnv); err != nil {
		n.t.Fatal(err)
	}
}

// freePort returns a port that is free on every address. It lies below the ports that the system gives to connections and to whoever
// listens on port 0, which other processes would take at any moment.
func freePort(t testing.TB) uint16 {
	t.Helper()
	for range 100 {
		port := 10_000 + mathrand.IntN(20_000)
		listener, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		return uint16(port)
	}
	t.Fatal("no free port")
	return 0
}

func writeKey(t testing.TB, path string, key mina.PrivateKey, password string) {
	t.Helper()
	if err := standin.WriteKey(standin.Disk{}, path, key, password); err != nil {
		t.Fatal(err)
	}
}

// programs are the stand-ins for the mina and the control executable, in process.
type programs struct{ n *network }

func (p programs) Find(path string) error {
	if path == "mina" || path == "control" {
		return nil
	}
	return fmt.Errorf("no executable %s", path)
}

func (p programs) Run(ctx context.Context, c orchestrator.Command) error {
	if err := p.Find(c.Path); err != nil {
		return err
	}
	var stdout, stderr bytes.Buffer
	call := standin.Call{
		Args: c.Args, Stdout: &stdout, Stderr: &stderr, Files: standin.Disk{}, Controls: p.n.Network, MinFee: 1_000_000,
		Getenv: func(name string) (string, bool) {
			for _, v := range c.Env {
				if value, ok := strings.CutPrefix(v, name+"="); ok {
					return value, true
				}
			}
			return "", false
		},
	}
	play := standin.Control
	if c.Path == "mina" {
		play = standin.Mina
	}
	code := play(ctx, call)
	for line := range strings.Lines(stdout.String()) {
		c.Line(strings.TrimSuffix(line, "\n"), true)
	}
	for line := range strings.Lines(stderr.String()) {
		c.Line(strings.TrimSuffix(line, "\n"), false)
	}
	switch {
	case ctx.Err() != nil && code != 0:
		return context.Cause(ctx)
	case code != 0:
		return &orchestrator.ExitError{Program: c.Path, Code: code, Last: strings.TrimSpace(stderr.String())}
	}
	return nil
}

// world is the world of a run on the network. log gets everything that the run logs, at every level.
func (n *network) world(log *safeBuffer) orchestrator.World {
	n.t.Helper()
	key, err := itn.ParseKey(n.config.Key)
	if err != nil {
		n.t.Fatal(err)
	}
	online, err := uptime.NewOnlineList(n.config.OnlineURL, nil, n.config.RequestTimeout)
	if err != nil {
		n.t.Fatal(err)
	}
	transport := itn.NewTransport()
	n.t.Cleanup(transport.CloseIdleConnections)
	secrets := &redact.Redactor{}
	logger := zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()), zapcore.AddSync(log), zap.DebugLevel))
	return orchestrator.World{
		Clock: n.clock, Online: online, Files: orchestrator.Disk{}, Programs: programs{n}, Console: log, Log: logger, Shown: logger,
		Hide: secrets.Add, Mask: secrets.Text,
		Getenv: func(name string) (string, bool) { v, ok := n.env[name]; return v, ok },
		Dial: func(address string) *itn.Client {
			return itn.New(address, key, itn.Options{Transport: transport, RequestTimeout: n.config.RequestTimeout, Logger: logger, LogRequests: true})
		},
	}
}

// read reads and checks a script in either spelling.
func (n *network) read(text string) (*orchestrator.Plan, dsl.Findings) {
	n.t.Helper()
	parsed, found, err := dsl.Read("test", strings.NewReader(text), dsl.LowerOptions{
		Signatures: orchestrator.Signatures(), Metrics: orchestrator.Metrics(), Env: func(name string) (string, bool) { v, ok := n.env[name]; return v, ok },
	})
	if err != nil {
		n.t.Fatal(err)
	}
	if parsed == nil {
		return nil, found
	}
	return orchestrator.Compile(parsed, orchestrator.CompileOptions{Config: &n.config, Found: found})
}

// safeBuffer is a buffer for several goroutines.
type safeBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// ending is how a run of a test went.
type ending struct {
	orchestrator.Result
	out  string // standard output: outputs and record
	path string // the record file
	log  string
}

// options of a test's run.
type options struct {
	ctx    context.Context
	resume string // record of the run to continue
	seed   uint64
	change func(*orchestrator.World)
}

// run runs a script to its end.
func (n *network) run(script string, with ...options) ending {
	n.t.Helper()
	o := options{ctx: n.t.Context(), seed: 1}
	if len(with) > 0 {
		o = with[0]
		if o.ctx == nil {
			o.ctx = n.t.Context()
		}
	}
	plan := n.compile(script)
	file, err := os.CreateTemp(n.dir, "run-*.record")
	if err != nil {
		n.t.Fatal(err)
	}
	defer file.Close()
	stdout, log := &safeBuffer{}, &safeBuffer{}
	world := n.world(log)
	if o.change != nil {
		o.change(&world)
	}
	settings := orchestrator.Options{Version: "test", Seed: o.seed, RecordPath: file.Name(), CleanupTimeout: 10 * time.Second}
	if o.resume != "" {
		if settings.Resume, err = orchestrator.ReadRecord(o.resume); err != nil {
			n.t.Fatal(err)
		}
		if err := settings.Resume.Fits(plan, n.config); err != nil {
			n.t.Fatal(err)
		}
	}
	writer := record.NewWriter(stdout, file, redact.Text, nil)
	result := orchestrator.NewRun(plan, n.config, world, writer, settings).Do(o.ctx)
	return ending{Result: result, out: stdout.String(), path: file.Name(), log: log.String()}
}

// outputs returns the values of an output of a step, as JSON texts.
func (e ending) outputs(t testing.TB, step int, name string) []string {
	t.Helper()
	var values []string
	_, err := record.Read("standard output", strings.NewReader(e.out), func(l record.Line) error {
		if l.Step == step && l.Name == name {
			values = append(values, string(l.Value))
		}
		return nil
	})
	if err != nil && !errors.Is(err, record.ErrNoRecord) {
		t.Fatal(err)
	}
	return values
}

// mustEnd fails the test unless the run ended with that code.
func (e ending) mustEnd(t testing.TB, code int) ending {
	t.Helper()
	if e.Code != code {
		t.Fatalf("the run ended with %d, want %d: %v\n%s", e.Code, code, e.Err, e.log)
	}
	return e
}
