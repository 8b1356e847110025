//go:build linux

package snarkpool_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"provingground/snarkpool"
	"provingground/snarkpool/control"
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/supervise/launch"
	"provingground/snarkpool/supervise/life"
	"provingground/snarkpool/topology"
	"provingground/snarkpool/worker"
	"provingground/snarkpool/worker/gnark"
	"provingground/snarkpool/worker/minalog/minatest"
	"provingground/snarkpool/worker/verify"
)

// TestMain makes the test binary play all parts: launcher, provers, verifiers, Mina's worker, and agents that are killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "launch":
			os.Exit(launch.Main(os.Args[2:]))
		case "play":
			os.Exit(play(os.Args[2], os.Args[3:]))
		case "internal": // snark-worker, as Mina's own is called.
			os.Exit(mina(os.Args[1:]))
		}
	}
	os.Exit(m.Run())
}

const (
	fakeKind = "fake"
	fakeKey  = "9f00000000000000000000000000000000000000000000000000000000000001"
	// links keeps gnark's circuit small.
	links = 4
)

func play(part string, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var err error
	switch part {
	case "prover":
		err = prove(ctx, args)
	case "verifier":
		err = verify.Serve(ctx, os.Stdin, os.Stdout, verify.About{Protocol: verify.Protocol, Kind: fakeKind, VerifyingKey: fakeKey}, fakeVerifier{})
	case "gnark":
		var jobs, proofs *os.File
		if jobs, proofs, err = worker.Inherited(); err == nil {
			err = gnark.ProverMain(ctx, jobs, proofs, gnark.Options{KeyDirectory: args[0], Links: links})
		}
	case "gnark-verifier":
		err = gnark.VerifierMain(ctx, os.Stdin, os.Stdout, gnark.Options{KeyDirectory: args[0], Links: links})
	case "agent":
		err = agentProcess(ctx, args[0])
	default:
		err = fmt.Errorf("no part %q", part)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// mina plays `mina internal snark-worker`, quick and, with --proof-level, as long over a proof as its working directory's name does not matter.
func mina(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	prove, err := time.ParseDuration(os.Getenv("DOUBLE_PROVE"))
	if err != nil {
		return 3
	}
	w := minatest.Worker{
		Directory: ".", Out: os.Stdout, Generation: minatest.Generation(os.Getenv("DOUBLE_GENERATION")),
		Prove: prove, Nap: 20 * time.Millisecond, Retry: 20 * time.Millisecond,
	}
	return w.Run(ctx, args)
}

// prove plays a fed worker: args are how long a proof takes, and how it behaves.
func prove(ctx context.Context, args []string) error {
	took, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	jobs, proofs, err := worker.Inherited()
	if err != nil {
		return err
	}
	hello := worker.Hello{Protocol: worker.Protocol, Kind: fakeKind, VerifyingKey: fakeKey, Threads: 1, PID: os.Getpid()}
	return worker.Serve(ctx, jobs, proofs, hello, fakeProver{took: took, how: args[1], out: proofs, tally: os.Getenv("TALLY")})
}

type fakeProver struct {
	took time.Duration
	how  string
	out  io.Writer
	// tally is a file that gets a line for each proof made.
	tally string
}

// Prove takes its time; the proof is the statement's digest, or what the behaviour makes of it.
func (p fakeProver) Prove(ctx context.Context, statement json.RawMessage) ([]byte, error) {
	timer := time.NewTimer(p.took)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	sum := sha256.Sum256(statement)
	if p.tally != "" {
		file, err := os.OpenFile(p.tally, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		if _, err := fmt.Fprintf(file, "%s\n", statement); err != nil {
			return nil, err
		}
	}
	switch p.how {
	case "wrong":
		sum[0] ^= 1
	case "stranger": // A proof of a job that it does not have.
		line, err := worker.Append(nil, worker.Proof{Job: "somebody-elses", Attempt: 1, Proof: sum[:], Seconds: 1})
		if err == nil {
			_, err = p.out.Write(line)
		}
		return sum[:], err
	case "refuse":
		return nil, errors.New("it does not want to")
	case "die":
		os.Exit(9)
	}
	return sum[:], nil
}

type fakeVerifier struct{}

func (fakeVerifier) Verify(_ context.Context, statement json.RawMessage, proof []byte) error {
	sum := sha256.Sum256(statement)
	if !bytes.Equal(sum[:], proof) {
		return fmt.Errorf("another digest: %w", verify.ErrRefused)
	}
	return nil
}

// setting is what an agent of a test is made from; it is passed to agents in other processes as JSON.
type setting struct {
	Dir, Database string
	CPUs          int
	Keys          string
}

// machine is a machine of so many cores.
func machine(cpus int) func() (topology.Machine, error) {
	return func() (topology.Machine, error) {
		m := topology.Machine{
			Hostname: "bm7", BootID: "test", Architecture: "x86_64", AllowedNodes: topology.NewCPUSet(0),
			Memory: topology.Memory{TotalBytes: 64 << 30, AvailableBytes: 64 << 30},
		}
		var ids []int
		for id := range cpus {
			ids = append(ids, id)
			m.CPUs = append(m.CPUs, topology.CPU{ID: id, Core: id, Online: true})
		}
		m.Allowed = topology.NewCPUSet(ids...)
		m.Nodes = []topology.Node{{CPUs: m.Allowed, MemoryBytes: 64 << 30}}
		return m, nil
	}
}

func (s setting) options() snarkpool.Options {
	return snarkpool.Options{
		Name: "bm7", PoolFile: poolfile.Source{Location: filepath.Join(s.Dir, "pool-file.json")}, StateDir: filepath.Join(s.Dir, "state"),
		Launcher: []string{"/proc/self/exe", "launch"}, Database: s.Database, Environ: os.Environ(), Inventory: machine(s.CPUs), Unpinned: true,
		Verifiers: map[string]func(context.Context) (verify.Process, error){
			fakeKind:   verify.Command("/proc/self/exe", []string{"play", "verifier"}, os.Environ(), nil),
			gnark.Kind: verify.Command("/proc/self/exe", []string{"play", "gnark-verifier", s.Keys}, os.Environ(), nil),
		},
		Timing: snarkpool.Timing{
			Lease: 8 * time.Second, Poll: 50 * time.Millisecond, Tick: 20 * time.Millisecond, Sample: 200 * time.Millisecond,
			Silent: 2 * time.Second, Orphan: 500 * time.Millisecond,
			Restart: life.Policy{MinUptime: 10 * time.Millisecond, Initial: 10 * time.Millisecond, Max: 50 * time.Millisecond, CrashLoopExits: 100},
		},
	}
}

// agentProcess is an agent in a process of its own, with its control socket, to be killed.
func agentProcess(ctx context.Context, text string) error {
	var s setting
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	options := s.options()
	if os.Getenv("AGENT_LOG") != "" {
		logger, err := zap.NewDevelopment()
		if err != nil {
			return err
		}
		options.Logger = logger
	}
	agent, err := snarkpool.New(ctx, options)
	if err != nil {
		return err
	}
	server, err := control.NewServer(control.Options{Name: "bm7", Operator: agent, Audit: agent})
	if err != nil {
		return err
	}
	listener, err := control.ListenSocket(filepath.Join(s.Dir, "socket"))
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	fmt.Println("up " + strconv.Itoa(os.Getpid()))
	return errors.Join(agent.Run(ctx), <-served)
}
