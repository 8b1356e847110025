package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"provingground/fetcher"
	"provingground/fetcher/store"
	"provingground/internal/clock"
	"provingground/internal/redact"
	"provingground/orchestrator"
	"provingground/orchestrator/history"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/record"
	"provingground/orchestrator/simnet"
	"provingground/uptime"
)

// ledgerScript places load of both kinds, some of it with fees that no pool takes, and lets it end.
const ledgerScript = `
experiment "truth"
pkeys = load-keys(dir: "./pay", limit: 8)
zkeys = load-keys(dir: "./zk", limit: 8)
senders = discovery(no-block-producers: true)
payments(tps: 0.25 tps, duration: 10m, fee-payers: pkeys, nodes: senders, fee: 0.0001..0.002 mina, amount: 1 mina, receiver: env("RECEIVER"))
zkapp-txs(tps: 0.05 tps, duration: 10m, fee-payers: zkeys, nodes: senders, gap: 1m, fee: 1..2 mina, deployment-fee: 1 mina)
wait(30m)
`

// TestLedgerIsTrue runs load on a simulated network whose logs a real fetcher stores in a database, and compares the ledger, transaction by
// transaction, with what really happened: whatever it is sure of is so, and on a quiet network it is sure of everything.
func TestLedgerIsTrue(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, faults string
		want         []history.State // that must occur
		quiet        bool
	}{
		{"quiet", "", []history.State{history.Included, history.Rejected}, true},
		{"entries of one sender are lost", "drop-logs:127.0.0.6=20%", []history.State{history.Included, history.Unknown}, false},
		{"entries of all nodes are lost", "drop-logs:*=2%", []history.State{history.Included, history.Unknown}, false},
		{"senders restart", "restart:127.0.0.6@2; restart:127.0.0.7@3", []history.State{history.Included, history.Unknown}, false},
		{"senders die, a third is busy", "die:127.0.0.6@2; die:127.0.0.7@3; busy:127.0.0.8=2m@1", []history.State{history.Included, history.Unknown}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			uri := migrated(t)
			truth, text := ledgerWorld(t, uri, test.faults)
			runs, err := history.Import(t.Context(), uri, "run.record", bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			ledger, err := history.OpenLedger(t.Context(), uri, runs[0].ID)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := ledger.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}()
			if ledger.Deployment == nil {
				t.Fatal("the run has no deployment")
			}
			counts := compareLedger(t, ledger, truth, test.quiet)
			t.Log(counts)
			for _, state := range test.want {
				if counts[state] == 0 {
					t.Errorf("no transaction is %s: %v", state, counts)
				}
			}
		})
	}
}

// ledgerWorld runs the script of this file with the engine on a simulated network, on a virtual clock, while a collector stores the nodes' logs.
// It returns what really happened, and the record.
func ledgerWorld(t *testing.T, uri, faults string) (truth simnet.History, text []byte) {
	t.Helper()
	stderr, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	var f rehearseFlags
	p := program{stdin: strings.NewReader(ledgerScript), stdout: stderr, stderr: stderr}
	set := p.flags("rehearse")
	f.define(set)
	if err := errors.Join(set.Parse([]string{"-nodes", "8", "-producers", "3", "-seed", "1", "-faults", faults}), f.check()); err != nil {
		t.Fatal(err)
	}
	f.scene.evidence = true // the network knows the collector's key
	config := f.scene.config()
	plan, code, err := p.compileAlone(orchestrator.CompileOptions{Config: &config, Nodes: f.scene.nodes}, f)
	if plan == nil {
		t.Fatalf("the script is wrong: %d, %v", code, err)
	}
	kept, err := store.Open(t.Context(), uri, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "UPDATE deployment SET created_at = $1", rehearsedGenesis()); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	virtual := clock.NewVirtual(rehearsedGenesis())
	follower := &follower{progress: newProgress(stderr, virtual.Clock(), true), clock: virtual.Clock()}
	defer follower.Close()
	secrets := &redact.Redactor{}
	play := &play{
		scene: f.scene, script: plan.Source.Text, clock: virtual.Clock(), follower: follower, secrets: secrets, console: stderr, log: zap.NewNop(),
		random: f.scene.chance("new keys"),
	}
	var out bytes.Buffer
	virtual.Run(func() {
		err = play.store(context.WithoutCancel(t.Context()), plan, config, kept, record.NewWriter(&out, nil, secrets.Text, nil))
	})
	if err != nil {
		t.Fatal(err)
	}
	return play.network.History(), out.Bytes()
}

// store performs a plan, and has the nodes' logs stored until a while after it.
func (p *play) store(ctx context.Context, plan *orchestrator.Plan, config orchestrator.Config, kept *store.Store, writer *record.Writer) (err error) {
	props, accounts, err := newProps(p.scene.keys, p.script, p.scene.chance("keys"))
	if err != nil {
		return err
	}
	p.props = props
	options := p.scene.options(p.clock, accounts, p.log)
	options.JournalNodes = true
	if p.network, err = simnet.New(options); err != nil {
		return err
	}
	if err := p.network.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.network.Stop()) }()
	world, err := p.world(config)
	if err != nil {
		return err
	}
	key, err := itn.ParseKey("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=") // the seed of collectorKey
	if err != nil {
		return err
	}
	wire := &transport{inner: p.network.Transport(), clock: p.clock}
	nodes, err := uptime.NewOnlineList(p.network.OnlineURL(), wire, 0)
	if err != nil {
		return err
	}
	guarded := fetcher.Transport(wire)
	collector, err := fetcher.New(fetcher.Options{
		Discover: nodes, Store: kept, Clock: p.clock, QueueSize: rehearsedMaxLogs, Seed: p.scene.seed,
		Dial: func(address string) *itn.Client {
			return itn.New(address, key, itn.Options{Transport: guarded, Turn: p.clock.Turn()})
		},
	})
	if err != nil {
		return err
	}
	collecting, stop := context.WithCancel(ctx)
	defer stop()
	group, _ := p.clock.Group(collecting, 0)
	group.Go(func() error { return collector.Run(collecting) })
	result := orchestrator.NewRun(plan, config, world, writer, orchestrator.Options{ID: "truth", Seed: p.scene.seed, CleanupTimeout: rehearsedCleanup}).Do(ctx)
	err = p.clock.Sleep(ctx, 5*time.Minute) // until all is read
	saved := kept.SaveNodes(ctx, collector.Nodes())
	stop()
	err = errors.Join(err, saved, group.Wait())
	if result.Code != orchestrator.CodeOK {
		err = errors.Join(err, fmt.Errorf("the run ends with %d: %w", result.Code, result.Err))
	}
	return err
}

// compareLedger compares a ledger with what happened. On a quiet network nothing may be unknown.
func compareLedger(t *testing.T, ledger *history.Ledger, truth simnet.History, quiet bool) map[history.State]int {
	t.Helper()
	really := map[string]simnet.Transaction{} // by signature
	memos := map[string]bool{}
	for _, tx := range truth.Transactions() {
		if strings.HasPrefix(tx.Memo, "truth-") {
			really[tx.Signature], memos[tx.Memo] = tx, true
		}
	}
	counts := map[history.State]int{}
	told, unknown := map[string]bool{}, map[string]bool{}
	if err := ledger.Each(t.Context(), nil, func(got history.Transaction) error {
		counts[got.State]++
		if got.Signature == "" {
			switch {
			case got.State == history.Unknown:
				unknown[got.Memo()] = true
			case got.State != history.Unseen || memos[got.Memo()]:
				t.Errorf("%s is %s, and it was sent: %v", got.Memo(), got.State, memos[got.Memo()])
			}
		} else {
			if told[got.Signature] {
				t.Errorf("%s is there twice", got.Memo())
			}
			told[got.Signature] = true
			if diff := contradiction(got, really[got.Signature], quiet); diff != "" {
				t.Errorf("%s is %s, and in truth %s: %+v\n%+v", got.Memo(), got.State, diff, really[got.Signature], got)
			}
		}
		reasoned := got.State == history.Unknown || got.State == history.Unseen || got.State == history.Rejected
		if reasoned != (got.Reason != "") || got.State == history.Unknown && quiet {
			t.Errorf("%s is %s for the reason %q", got.Memo(), got.State, got.Reason)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for signature, tx := range really {
		if !told[signature] && !unknown[tx.Memo] {
			t.Errorf("the ledger lacks %s, and its index is not unknown", tx.Memo)
		}
	}
	return counts
}

// contradiction says how a transaction of the ledger differs from what it really is; "" when it does not.
func contradiction(got history.Transaction, tx simnet.Transaction, quiet bool) string {
	var block *simnet.TransactionBlock
	for i := range tx.Blocks {
		if tx.Blocks[i].OnChain {
			block = &tx.Blocks[i]
		}
	}
	state := history.Missing
	switch {
	case block != nil && block.Failure != "":
		state = history.Failed
	case block != nil:
		state = history.Included
	case tx.Rejected != "":
		state = history.Rejected
	}
	nodes := map[string]bool{}
	var first time.Time
	for _, r := range tx.Reports {
		nodes[r.Node] = true
		if first.IsZero() || r.At.Before(first) {
			first = r.At
		}
	}
	switch {
	case tx.Memo != got.Memo():
		return "it has the memo " + tx.Memo
	case tx.Node != got.Node:
		return "it was sent by " + tx.Node
	case got.State != state && got.State != history.Unknown:
		return string(state)
	case block != nil && got.State != history.Unknown && (got.Block != block.Hash || *got.Slot != block.Slot || *got.Height != block.Height):
		return "it is in the block " + block.Hash
	case got.SeenBy > len(nodes) || quiet && got.SeenBy != len(nodes):
		return fmt.Sprintf("seen by %d", len(nodes))
	case got.Received != nil && got.Received.Before(first.Truncate(time.Microsecond)), quiet && !got.Received.Equal(first.Truncate(time.Microsecond)):
		return fmt.Sprintf("first received at %v", first)
	}
	return ""
}
