package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"provingground/internal/clock"
	"provingground/internal/mina"
	"provingground/orchestrator/simnet"
	"provingground/orchestrator/simnet/standin"
	"provingground/orchestrator/simnet/workdir"
)

// The test binary plays the programs that the tests start: itself as the orchestrator, and the stand-ins of simnet.
const (
	playEnv  = "PROVINGGROUND_TEST_PLAY"     // "orchestrator": be the command
	killEnv  = "PROVINGGROUND_TEST_KILL_AT"  // after so many lines of the record, kill yourself
	panicEnv = "PROVINGGROUND_TEST_PANIC_AT" // after so many lines of the record, panic
)

func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 3 && os.Args[1] == "stand-in": // first: it inherits the environment of the orchestrator that called it
		os.Exit(playStandIn(os.Args[2], os.Args[3], os.Args[4:]))
	case os.Getenv(playEnv) == "orchestrator":
		os.Exit(playOrchestrator())
	}
	os.Exit(m.Run())
}

func playOrchestrator() int {
	p := program{args: os.Args[1:], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.LookupEnv}
	killAt, _ := strconv.Atoi(os.Getenv(killEnv))
	panicAt, _ := strconv.Atoi(os.Getenv(panicEnv))
	p.afterLine = func(lines int) {
		switch lines {
		case killAt:
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is under way
		case panicAt:
			panic("a test wanted this")
		}
	}
	return p.run(context.Background())
}

func playStandIn(name, socket string, args []string) int {
	call := standin.Call{
		Args: args, Getenv: os.LookupEnv, Stdout: os.Stdout, Stderr: os.Stderr, Files: standin.Disk{}, Controls: localWallet{standin.Dial(socket)},
		MinFee: simnet.DefaultMinFee,
	}
	if name == "mina" {
		return standin.Mina(context.Background(), call)
	}
	return standin.Control(context.Background(), call)
}

// localWallet takes the server 127.0.0.1 for the network's first node, as it does a bare port. Generated scripts name wallets so, and no
// simulated node has that address.
type localWallet struct{ standin.Controls }

func (w localWallet) host(host string) string {
	if host == "127.0.0.1" {
		return ""
	}
	return host
}

func (w localWallet) Balance(ctx context.Context, host string, key mina.PublicKey) (mina.Nanomina, error) {
	return w.Controls.Balance(ctx, w.host(host), key)
}

func (w localWallet) Unlock(ctx context.Context, host string, key mina.PublicKey, password string) error {
	return w.Controls.Unlock(ctx, w.host(host), key, password)
}

func (w localWallet) SendPayment(ctx context.Context, host string, sender, receiver mina.PublicKey, amount, fee mina.Nanomina, memo string) error {
	return w.Controls.SendPayment(ctx, w.host(host), sender, receiver, amount, fee, memo)
}

// network is a simulated network on TCP, and the directory with all that a caller of the command needs.
type network struct {
	*simnet.Network
	dir    string
	config string
	older  int // how many of the nodes are older daemons: the last ones
}

// usualScale is how fast network time runs where a test does not care: 50 minutes a second.
const usualScale = 3000

// newNetwork starts a network of 6 nodes, 2 of them producers, with its directory at path; change changes that.
func newNetwork(tb testing.TB, path string, scale float64, change func(*simnet.Options)) *network {
	tb.Helper()
	dir, err := workdir.New(path, 20, "", 3)
	if err != nil {
		tb.Fatal(err)
	}
	genesis := time.Now().Add(-time.Second).UTC().Truncate(time.Millisecond)
	scaled, err := clock.Scaled(genesis, scale)
	if err != nil {
		tb.Fatal(err)
	}
	options := simnet.Options{
		Nodes: 6, Producers: 2, Clock: scaled, Genesis: genesis, Seed: 3, ITNKeys: dir.ITNKeys(), KeepJournal: true,
		Accounts: dir.Accounts(mina.Nanomina(50_000_000_000_000_000)),
	}
	if change != nil {
		change(&options)
	}
	sim := startNetwork(tb, options)
	server, err := standin.Serve(tb.Context(), dir.Socket(), sim)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := server.Close(); err != nil {
			tb.Error(err)
		}
	})
	executable, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	if err := dir.Write(workdir.Network{
		Executable: executable, OnlineURL: sim.OnlineURL(), Slot: sim.Slot(), Genesis: sim.Genesis(), ClockScale: scale,
		Hosts: sim.Hosts()[:1], Submitters: sim.Submitters(),
	}); err != nil {
		tb.Fatal(err)
	}
	return &network{Network: sim, dir: path, config: dir.Config(), older: options.Old}
}

// startNetwork starts a network on free ports. A port that was free may be taken a moment later, so it tries again then.
func startNetwork(tb testing.TB, options simnet.Options) *simnet.Network {
	tb.Helper()
	for tries := 5; ; tries-- {
		options.Port, options.ListPort = freePort(tb), freePort(tb)
		sim, err := simnet.New(options)
		if err != nil {
			tb.Fatal(err)
		}
		if err := sim.Start(tb.Context()); err != nil {
			tb.Fatal(err)
		}
		err = sim.Listen(tb.Context())
		if err == nil {
			tb.Cleanup(func() {
				if err := sim.Stop(); err != nil {
					tb.Error(err)
				}
			})
			return sim
		}
		if err := sim.Stop(); err != nil {
			tb.Fatal(err)
		}
		if tries == 0 || !errors.Is(err, syscall.EADDRINUSE) {
			tb.Fatal(err)
		}
	}
}

// command returns the command, to be run in the network's directory.
func (n *network) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(executable, args...)
	cmd.Dir = n.dir
	cmd.Env = append(os.Environ(), playEnv+"=orchestrator", "PW=", "TMPDIR="+t.TempDir(),
		"GORACE=atexit_sleep_ms=0") // the race detector would let each process sleep a second at its end
	return cmd
}

// exitCode returns the exit code of a finished command; -n when signal n ended it.
func exitCode(t *testing.T, ended error) int {
	t.Helper()
	code, err := codeOf(ended)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// codeOf returns the exit code that the error of a command's end tells of; -n when signal n ended it.
func codeOf(ended error) (int, error) {
	var exit *exec.ExitError
	switch {
	case ended == nil:
		return 0, nil
	case !errors.As(ended, &exit):
		return 0, ended
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return -int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}
