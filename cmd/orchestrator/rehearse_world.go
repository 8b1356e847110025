package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"provingground/cmd/internal/boot"
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

// rehearsedGenesis is when every rehearsal begins: with slot 0 of its network.
func rehearsedGenesis() time.Time { return time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC) }

// The made-up executables of the rehearsal's configuration.
const (
	minaProgram    = "mina"
	controlProgram = "control"
)

const (
	rehearsedRequest     = 30 * time.Second // of network time, for a request
	rehearsedCleanup     = 2 * time.Minute  // of network time, for each part of the clean-up: what a real run has in wall time
	rehearsedConcurrency = 64               // nodes that are spoken to at once, as in a real run
)

// scene is what a rehearsal is about.
type scene struct {
	nodes, producers int
	slot             time.Duration
	keys             int // in each directory that is made up
	faults           []simnet.Fault
	seed             uint64
	evidence         bool // the nodes' logs are collected, for the script asks for them
}

// chance returns a stream of random bytes that the seed gives; purpose tells several of them apart.
func (s scene) chance(purpose string) *rand.ChaCha8 {
	return rand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "%d/%s", s.seed, purpose)))
}

// rehearsedITNKey is the key that the nodes of all rehearsals accept.
func rehearsedITNKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
}

// publicHalf is the public key of a private one.
func publicHalf(key ed25519.PrivateKey) ed25519.PublicKey {
	public, _ := key.Public().(ed25519.PublicKey) // always of that type
	return public
}

// madeUpEnv answers env() for every variable: with a public key, for that is what scripts take from the environment, and any other text
// will do as well. Passwords are not asked for in this way.
func madeUpEnv(name string) (string, bool) {
	key, err := mina.GeneratePrivateKey(scene{}.chance("variable " + name))
	if err != nil {
		return "", false
	}
	return key.PublicKey().String(), true
}

// config is the configuration of the run.
func (s scene) config() orchestrator.Config {
	ports := make([]string, 0, s.nodes)
	for _, host := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"}[:min(3, max(0, s.nodes))] {
		ports = append(ports, host+":8301")
	}
	return orchestrator.Config{
		Key: base64.StdEncoding.EncodeToString(rehearsedITNKey().Seed()),
		// No URL, so that nobody takes the record for that of a run on a network that exists.
		OnlineURL: "rehearsal", SnarkPool: &orchestrator.SnarkPoolConfig{Socket: rehearsedPoolAddress}, FundDaemonPorts: ports, MinaExec: minaProgram, FundThrough: "mina", ControlExec: controlProgram,
		SlotDuration: s.slot, Genesis: rehearsedGenesis(), RequestTimeout: rehearsedRequest, Concurrency: rehearsedConcurrency, ClockScale: 1,
	}
}

// options are the simulated network's. A request that hangs would hold up a virtual clock for ever: it waits on the clock instead, longer
// than anybody else.
func (s scene) options(virtual *clock.Clock, accounts map[mina.PublicKey]mina.Nanomina, log *zap.Logger) simnet.Options {
	const forever = 100 * 365 * 24 * time.Hour
	faults := slices.Clone(s.faults)
	for i := range faults {
		if faults[i].Kind == simnet.FaultHang {
			faults[i].Kind, faults[i].Delay = simnet.FaultSlow, forever
		}
	}
	keys, maxLogs := []ed25519.PublicKey{publicHalf(rehearsedITNKey())}, 0
	if s.evidence {
		keys, maxLogs = append(keys, publicHalf(collectorKey())), rehearsedMaxLogs
	}
	return simnet.Options{
		Nodes: s.nodes, Producers: s.producers, Slot: s.slot, Seed: s.seed, Clock: virtual, Genesis: rehearsedGenesis(),
		ITNKeys: keys, MaxLogs: maxLogs, Accounts: accounts, Faults: faults, KeepJournal: true, Logger: log,
	}
}

// play is a scene that is acted out. All of it happens in goroutines that the virtual clock knows.
type play struct {
	scene    scene
	script   []byte // its text, and the values that were put into it
	clock    *clock.Clock
	follower *follower
	log      *zap.Logger
	secrets  *redact.Redactor
	console  io.Writer
	random   io.Reader       // of new keys; one goroutine at a time works, so it needs no lock
	network  *simnet.Network // from here on made by perform
	props    *props

	collecting *collecting // the nodes' logs; nil where the script does not ask for them
}

// perform makes the network, with what the script takes for granted, and runs the plan on it.
func (p *play) perform(ctx context.Context, plan *orchestrator.Plan, config orchestrator.Config, writer *record.Writer) (done rehearsed, err error) {
	began := time.Now()
	p.random = p.scene.chance("new keys")
	var accounts map[mina.PublicKey]mina.Nanomina
	if p.props, accounts, err = newProps(p.scene.keys, p.script, p.scene.chance("keys")); err != nil {
		return rehearsed{}, err
	}
	if p.network, err = simnet.New(p.scene.options(p.clock, accounts, p.log)); err != nil {
		return rehearsed{}, err //nolint:wrapcheck // says it all
	}
	// The network outlives whatever ends the run: the clean-up needs it.
	if err := p.network.Start(context.WithoutCancel(ctx)); err != nil {
		return rehearsed{}, err //nolint:wrapcheck // says it all
	}
	defer func() { err = errors.Join(err, p.network.Stop()) }()
	world, err := p.world(config)
	if err != nil {
		return rehearsed{}, err
	}
	if p.scene.evidence {
		collecting, err := p.collect(ctx)
		if err != nil {
			return rehearsed{}, err
		}
		defer func() { err = errors.Join(err, collecting.stop()) }()
		world.Evidence = collecting
		p.collecting = collecting
	}
	handles := &lockedReader{from: p.scene.chance("handles")}
	world.NewHandle = func() string { return uuid.Must(uuid.NewRandomFromReader(handles)).String() } // a generator of chance does not fail
	result := orchestrator.NewRun(plan, config, world, writer, orchestrator.Options{
		Version: boot.Version(), Seed: p.scene.seed, CleanupTimeout: rehearsedCleanup, Progress: p.follower,
	}).Do(ctx)
	return rehearsed{
		scene: p.scene, result: result, steps: p.follower.steps, of: p.follower.of, history: p.network.History(), madeUp: p.props.madeUp(), saved: p.collecting.saves(),
		ended: p.clock.Now(), wall: time.Since(began),
	}, nil
}

// world is what the engine gets in place of the real one.
func (p *play) world(config orchestrator.Config) (orchestrator.World, error) {
	key, err := itn.ParseKey(config.Key)
	if err != nil {
		return orchestrator.World{}, fmt.Errorf("the made-up ITN key: %w", err)
	}
	transport := &transport{inner: p.network.Transport(), clock: p.clock}
	online, err := uptime.NewOnlineList(p.network.OnlineURL(), transport, 0)
	if err != nil {
		return orchestrator.World{}, err //nolint:wrapcheck // says it all
	}
	return orchestrator.World{
		Clock: p.clock, Online: online, Files: p.props, Programs: programs{p}, SnarkPool: newRehearsedPool(p.network).at, Console: p.console, Log: p.log, Shown: zap.NewNop(),
		Hide: p.secrets.Add, Mask: p.secrets.Text,
		// Every password is the empty one: a made-up file then opens whether or not the step names a variable.
		Getenv: func(string) (string, bool) { return "", true },
		Dial: func(address string) *itn.Client {
			return itn.New(address, key, itn.Options{Transport: transport, Turn: p.clock.Turn(), Logger: p.log.Named("itn")})
		},
	}, nil
}

// transport keeps the time limits that a real run keeps by the wall: on a virtual clock no wall time passes while a node is slow. Safe for
// concurrent use.
type transport struct {
	inner http.RoundTripper
	clock *clock.Clock
}

// lateError is the end of a request that takes too long. It is a context.DeadlineExceeded.
type lateError struct{}

// Error says how long it took.
func (lateError) Error() string { return fmt.Sprintf("no answer within %s", rehearsedRequest) }

// Is makes errors.Is(err, context.DeadlineExceeded) true.
func (lateError) Is(target error) bool { return target == context.DeadlineExceeded }

// RoundTrip sends a request, and gives up on it after its time.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(request.Context())
	defer cancel(nil)
	watching, done := context.WithCancel(ctx)
	group, _ := t.clock.Group(watching, 0)
	group.Go(func() error {
		if t.clock.Sleep(watching, rehearsedRequest) == nil {
			cancel(lateError{})
		}
		return nil
	})
	response, err := t.inner.RoundTrip(request.WithContext(ctx))
	done()
	return response, errors.Join(err, group.Wait())
}

// lockedReader is a stream of random bytes for several goroutines.
type lockedReader struct {
	mu   sync.Mutex
	from *rand.ChaCha8
}

// Read never fails.
func (r *lockedReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.from.Read(p) //nolint:wrapcheck // an io.Reader
}

// programs are the mina and the control executable, played in this process.
type programs struct{ play *play }

// Find reports whether it is one of the two.
func (p programs) Find(path string) error {
	if path == minaProgram || path == controlProgram {
		return nil
	}
	return fmt.Errorf("a rehearsal has no executable %s", path)
}

// Run plays one call.
func (p programs) Run(ctx context.Context, c orchestrator.Command) error {
	var stdout, stderr bytes.Buffer
	call := standin.Call{
		Args: c.Args, Stdout: &stdout, Stderr: &stderr, Files: p.play.props, Controls: controls{p.play.network}, Random: p.play.random, MinFee: simnet.DefaultMinFee,
		Getenv: func(name string) (string, bool) {
			for _, v := range c.Env {
				if value, ok := strings.CutPrefix(v, name+"="); ok {
					return value, true
				}
			}
			return "", false
		},
	}
	act := standin.Mina
	if c.Path == controlProgram {
		act = standin.Control
	}
	code := act(ctx, call)
	for line := range strings.Lines(stdout.String()) {
		c.Line(strings.TrimSuffix(line, "\n"), true)
	}
	for line := range strings.Lines(stderr.String()) {
		c.Line(strings.TrimSuffix(line, "\n"), false)
	}
	switch {
	case ctx.Err() != nil && code != 0:
		return fmt.Errorf("%s was stopped: %w", c.Path, context.Cause(ctx))
	case code != 0:
		return &orchestrator.ExitError{Program: c.Path, Code: code, Last: strings.TrimSpace(stderr.String())}
	}
	return nil
}

// controls is the network as the programs reach it.
type controls struct{ *simnet.Network }

// host is the node at a server; the first node where the simulated network has none there, for a script names servers of another network.
func (c controls) host(server string) string {
	if slices.Contains(c.Hosts(), server) {
		return server
	}
	return ""
}

// FundAccounts shares an amount among new accounts.
func (c controls) FundAccounts(ctx context.Context, host string, payer mina.PublicKey, keys []mina.PublicKey, amount, fee mina.Nanomina) error {
	return c.Network.FundAccounts(ctx, c.host(host), payer, keys, amount, fee) //nolint:wrapcheck // the stand-in says what it was doing
}

// Balance returns the balance of a key.
func (c controls) Balance(ctx context.Context, host string, key mina.PublicKey) (mina.Nanomina, error) {
	return c.Network.Balance(ctx, c.host(host), key) //nolint:wrapcheck // the stand-in says what it was doing
}

// Unlock unlocks a key in a node's wallet.
func (c controls) Unlock(ctx context.Context, host string, key mina.PublicKey, password string) error {
	return c.Network.Unlock(ctx, c.host(host), key, password) //nolint:wrapcheck // the stand-in says what it was doing
}

// SendPayment pays from a key in a node's wallet.
func (c controls) SendPayment(ctx context.Context, host string, sender, receiver mina.PublicKey, amount, fee mina.Nanomina, memo string) error {
	return c.Network.SendPayment(ctx, c.host(host), sender, receiver, amount, fee, memo) //nolint:wrapcheck // the stand-in says what it was doing
}
