// Command simnet runs a simulated Mina test network over TCP, each node on its own loopback address:
//
//	simnet -dir DIR [flags]
//
// It writes into DIR all that is needed to use it (docs/simnet.md says what), prints where everything listens, then a line "ready", and
// runs until SIGINT or SIGTERM. simnet -help lists the flags.
//
//	simnet show DIR/journal.jsonl
//
// says what the ground-truth journal of a network holds.
//
// The stand-ins that it writes for the mina executable and the control program call it as "simnet stand-in PROGRAM SOCKET ARGUMENT…".
package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"provingground/cmd/internal/boot"
	"provingground/internal/clock"
	"provingground/internal/mina"
	"provingground/internal/redact"
	"provingground/orchestrator/simnet"
	"provingground/orchestrator/simnet/standin"
	"provingground/orchestrator/simnet/workdir"
)

// Exit codes.
const (
	codeOK      = 0
	codeUsage   = 1
	codeFailure = 3
)

func main() { os.Exit(run(context.Background(), os.Args[1:])) }

func run(parent context.Context, args []string) int {
	ctx, stop := boot.Signals(parent,
		func(s os.Signal) error { return fmt.Errorf("%v", s) },
		func(s os.Signal) { os.Exit(128 + boot.Number(s)) })
	defer stop()
	if len(args) > 2 && args[0] == "stand-in" {
		return standIn(ctx, args[1], args[2], args[3:])
	}
	if len(args) == 2 && args[0] == "show" {
		if err := show(args[1], os.Stdout); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "simnet:", err)
			return codeFailure
		}
		return codeOK
	}
	s, err := parseSettings(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return codeOK
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "simnet:", err)
		return codeUsage
	}
	if err := simulate(ctx, s, os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "simnet:", err)
		return codeFailure
	}
	return codeOK
}

// standIn plays the mina executable or the control program.
func standIn(ctx context.Context, program, socket string, args []string) int {
	call := standin.Call{
		Args: args, Getenv: os.LookupEnv, Stdout: os.Stdout, Stderr: os.Stderr, Files: standin.Disk{}, Controls: standin.Dial(socket),
		MinFee: simnet.DefaultMinFee,
	}
	switch program {
	case "mina":
		return standin.Mina(ctx, call)
	case "control":
		return standin.Control(ctx, call)
	default:
		_, _ = fmt.Fprintf(os.Stderr, "simnet: no stand-in for %q\n", program)
		return codeUsage
	}
}

// settings are the command line.
type settings struct {
	options    simnet.Options
	dir        string
	logJournal string // path; empty for none
	scale      float64
	accounts   int
	password   string
}

// parseSettings reads the command line and reports everything that is wrong with it.
func parseSettings(args []string, output io.Writer) (settings, error) {
	var s settings
	o := &s.options
	set := flag.NewFlagSet("simnet", flag.ContinueOnError)
	set.SetOutput(output)
	set.StringVar(&s.dir, "dir", "", "`directory` for everything that the network writes; needed")
	set.IntVar(&o.Nodes, "nodes", 10, "number of nodes")
	set.IntVar(&o.Producers, "producers", 0, "how many of them produce blocks (default 4, or all of fewer nodes)")
	set.IntVar(&o.Old, "old", 0, "how many of them are older daemons, without commit and handles")
	set.DurationVar(&o.Slot, "slot", 3*time.Minute, "length of a slot, in network time")
	set.Float64Var(&s.scale, "clock-scale", 1, "how many times faster than the wall network time runs")
	set.DurationVar(&o.Latency, "latency", 0, "network time that blocks and commands take to the other nodes (default a 180th of a slot)")
	set.Uint64Var(&o.Seed, "seed", 0, "what all chance comes from (default: drawn and printed)")
	faults := set.String("faults", "", "how the network misbehaves: KIND[:NODE[/OPERATION]][=VALUE][@SLOT][#COUNT], separated by \";\" (docs/simnet.md)")
	set.StringVar(&o.UptimeURL, "uptime-url", "", "`URL` that takes the nodes' uptime reports (default: simnet serves the online list itself)")
	set.DurationVar(&o.RestartAfter, "restart-after", 0, "network time until a stopped node returns, negative for never (default 2 slots)")
	set.DurationVar(&o.RestartAfterClean, "restart-after-clean", 0, "the same after its chain was thrown away (default 10 slots)")
	port := set.Uint("port", 3086, "ITN port of every node")
	listPort := set.Uint("list-port", 8081, "port of the online list on 127.0.0.1")
	set.IntVar(&o.MaxLogs, "max-logs", 500, "entries that a node's internal log holds")
	set.IntVar(&o.BlockCapacity, "block-capacity", 128, "commands that a block holds")
	set.IntVar(&s.accounts, "keys", 10, "number of key files of rich accounts")
	extra := map[mina.PublicKey]mina.Nanomina{}
	set.Func("account", "one more rich account, of a `public key` whose private key is only in the nodes' wallets; may be repeated", func(text string) error {
		key, err := mina.ParsePublicKey(text)
		if err == nil {
			extra[key] = accountBalance
		}
		return err //nolint:wrapcheck // the flag package says which flag
	})
	set.BoolVar(&o.JournalNodes, "journal-nodes", false, "put into the journal, too, what each single node traces: it gets as many times longer")
	set.StringVar(&s.logJournal, "log-journal", "", "`file` for every entry of every node's internal log, those included that the queues drop (default: none)")
	set.IntVar(&o.SnarkCoordinators, "snark-coordinators", 0, "how many nodes have SNARK work proven, negative for none (default 1)")
	set.DurationVar(&o.ProofTime, "proof-time", 0, "network time from the scheduling of SNARK work to its proof (default a third of a slot)")
	set.StringVar(&o.Coordinator, "coordinator", "", "`HOST:PORT` at which the first of these nodes gives its work to provers outside, without authentication (default: none)")
	set.DurationVar(&o.ReassignmentWait, "reassignment-wait", 0, "network time after which work given to a prover outside may go to another (default 7m)")
	passwordEnv := set.String("password-env", "", "`variable` with the password of the key files and wallets (default: the empty password)")
	if err := set.Parse(args); err != nil {
		return s, err
	}
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	given := make(map[string]bool)
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if !given["seed"] {
		o.Seed = rand.Uint64() //nolint:gosec // the seed of a simulation
	}
	if !given["producers"] {
		o.Producers = min(4, o.Nodes)
	}
	if set.NArg() > 0 {
		fail("unexpected argument %q", set.Arg(0))
	}
	if s.dir == "" {
		fail("-dir is missing: it says where to write configuration, keys and journal")
	}
	for name, value := range map[string]uint{"port": *port, "list-port": *listPort} {
		if value < 1 || value > math.MaxUint16 {
			fail("-%s %d is no port", name, value)
		}
	}
	o.Port, o.ListPort = uint16(*port), uint16(*listPort)
	if s.accounts < 1 || s.accounts > 100 {
		fail("-keys %d: give 1 to 100", s.accounts)
	}
	if *passwordEnv != "" {
		var set bool
		if s.password, set = os.LookupEnv(*passwordEnv); !set {
			fail("-password-env: the environment has no variable %s", *passwordEnv)
		}
	}
	var err error
	if o.Faults, err = simnet.ParseFaults(*faults); err != nil {
		errs = append(errs, err)
	}
	o.Genesis = time.Now().UTC().Truncate(time.Millisecond)
	if o.Clock, err = clock.Scaled(o.Genesis, s.scale); err != nil {
		errs = append(errs, fmt.Errorf("-clock-scale: %w", err))
		o.Clock = clock.Wall()
	}
	o.Accounts = extra
	tried := *o
	tried.ITNKeys = []ed25519.PublicKey{make(ed25519.PublicKey, ed25519.PublicKeySize)} // the real ones are made with the directory
	if err := tried.Check(); err != nil {
		errs = append(errs, err)
	}
	return s, errors.Join(errs...)
}

// accountBalance is what each account of the key files owns: fifty million MINA.
const accountBalance mina.Nanomina = 50_000_000_000_000_000

// simulate runs a network until ctx ends.
func simulate(ctx context.Context, s settings, out io.Writer) (err error) {
	dir, err := workdir.New(s.dir, s.accounts, s.password, s.options.Seed)
	if err != nil {
		return err
	}
	ready := false
	defer func() {
		if !ready {
			err = errors.Join(err, dir.Discard())
		}
	}()
	journal, err := os.OpenFile(dir.Journal(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // holds no secret
	if err != nil {
		return fmt.Errorf("opening the journal: %w", err)
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program, which the stand-ins call: %w", err)
	}
	options := s.options
	options.ITNKeys, options.WalletPassword = dir.ITNKeys(), s.password
	maps.Copy(options.Accounts, dir.Accounts(accountBalance))
	options.Journal = journal
	if s.logJournal != "" {
		logs, failed := os.OpenFile(s.logJournal, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // holds no secret; the caller names it
		if failed != nil {
			return fmt.Errorf("opening the log journal: %w", failed)
		}
		defer func() { err = errors.Join(err, logs.Close()) }()
		options.LogJournal = logs
	}
	log, err := boot.NewLog(os.Stderr, "info", "", redact.Text, false)
	if err != nil {
		return err
	}
	options.Logger = log.Logger
	network, err := simnet.New(options)
	if err != nil {
		return err
	}
	if err := network.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, network.Stop()) }()
	if err := network.Listen(ctx); err != nil {
		return err
	}
	control, err := standin.Serve(ctx, dir.Socket(), network)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, control.Close()) }()
	if err := dir.Write(workdir.Network{
		Executable: executable, OnlineURL: network.OnlineURL(), Slot: network.Slot(), Genesis: network.Genesis(), ClockScale: s.scale,
		Hosts: network.Hosts()[:min(5, len(network.Hosts()))], Submitters: network.Submitters(),
	}); err != nil {
		return err
	}
	if err := announce(out, s, dir, network); err != nil {
		return fmt.Errorf("saying where everything is: %w", err)
	}
	ready = true
	<-ctx.Done()
	return nil
}

// announce prints where everything is.
func announce(out io.Writer, s settings, dir *workdir.Dir, network *simnet.Network) error {
	w := bufio.NewWriter(out)
	for i, address := range network.Nodes() {
		role := ""
		if i < s.options.Producers {
			role += " producer"
		}
		if i >= s.options.Nodes-s.options.Old {
			role += " old"
		}
		_, _ = fmt.Fprintf(w, "node %s%s\n", address, role)
	}
	if url := network.CoordinatorURL(); url != "" {
		_, _ = fmt.Fprintf(w, "coordinator %s\n", url)
	}
	_, _ = fmt.Fprintf(w, "online list %s\nconfiguration %s\njournal %s\nkeys %s\nseed %d\nready\n",
		network.OnlineURL(), dir.Config(), dir.Journal(), filepath.Join(filepath.Dir(dir.Config()), "private-keys"), s.options.Seed)
	return w.Flush()
}
