package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"provingground/dsl"
	"provingground/fetcher"
	"provingground/fetcher/store"
	"provingground/orchestrator"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/record"
	"provingground/orchestrator/simnet"
	"provingground/uptime"
)

// This file is about claims that the nodes' own logs decide: in a rehearsal, and with a log fetcher and a database.

// askingScript places load of both kinds, lets it end, and asks for everything of which the network's own history tells the truth.
const askingScript = `
experiment "asking"
pkeys = load-keys(dir: "./pay", limit: 8)
zkeys = load-keys(dir: "./zk", limit: 8)
senders = discovery(no-block-producers: true)
parallel {
  payments(tps: 0.2 tps, duration: 10m, fee-payers: pkeys, nodes: senders, fee: 0.1..0.2 mina, amount: 1 mina, receiver: env("RECEIVER"))
  zkapp-txs(tps: 0.1 tps, duration: 10m, fee-payers: zkeys, nodes: senders, gap: 1m, fee: 1..2 mina, deployment-fee: 1 mina)
}
wait(30m)
expect tx.submitted >= 1 within 5m
expect tx.submitted(kind: payments) >= 1
expect tx.submitted(kind: zkapps) >= 1
expect tx.submitted(round: 0) >= 1
expect tx.included >= 0%
expect tx.included(kind: payments) >= 0%
expect tx.failed >= 0%
expect tx.missing <= 100%
expect tx.latency.max < 20 slots
expect block.count >= 1
expect chain.tips >= 1
expect log.lost == 0
`

// TestRehearsedEvidenceIsTrue compares what a rehearsal makes of its nodes' logs with what really happened.
func TestRehearsedEvidenceIsTrue(t *testing.T) {
	t.Parallel()
	for _, seed := range []string{"1", "2", "3"} {
		t.Run("seed "+seed, func(t *testing.T) {
			t.Parallel()
			done, out := rehearse(t, []byte(askingScript), "-nodes", "8", "-producers", "3", "-seed", seed)
			if done.result.Code != orchestrator.CodeOK {
				t.Fatalf("it ends with %d: %v", done.result.Code, done.result.Err)
			}
			got := actuals(t, out)
			sent := map[string]int{} // by kind, "" for both
			for _, entry := range done.history {
				if command, ok := entry.Fact.(simnet.CommandSent); ok && strings.HasPrefix(command.Memo, "asking-0-") {
					sent[command.Type]++
					sent[""]++
				}
			}
			included, failed := map[string]int{}, 0
			for _, block := range done.history.Chain() {
				for _, command := range block.Commands {
					if strings.HasPrefix(command.Memo, "asking-0-") {
						included[command.Type]++
						included[""]++
						if command.Failure != "" {
							failed++
						}
					}
				}
			}
			payment, zkapp := kindsOf(t, sent)
			for claim, want := range map[string]string{
				"tx.submitted >= 1": fmt.Sprint(sent[""]), "tx.submitted(round: 0) >= 1": fmt.Sprint(sent[""]),
				"tx.submitted(kind: payments) >= 1": fmt.Sprint(sent[payment]), "tx.submitted(kind: zkapps) >= 1": fmt.Sprint(sent[zkapp]),
				"tx.included >= 0%": share(included[""], sent[""]), "tx.included(kind: payments) >= 0%": share(included[payment], sent[payment]),
				"tx.failed >= 0%": share(failed, sent[""]), "log.lost == 0": "0",
			} {
				if got[claim] != want {
					t.Errorf("%s: actual %q, and in truth it was %q", claim, got[claim], want)
				}
			}
		})
	}
}

// kindsOf returns what the journal calls the two kinds of commands.
func kindsOf(t *testing.T, sent map[string]int) (payment, zkapp string) {
	t.Helper()
	for kind := range sent {
		switch {
		case kind == "":
		case strings.Contains(strings.ToLower(kind), "payment"):
			payment = kind
		default:
			zkapp = kind
		}
	}
	if payment == "" || zkapp == "" {
		t.Fatalf("the network sent %v", sent)
	}
	return payment, zkapp
}

// share writes a share as verdicts do: with three decimals, cut off.
func share(part, of int) string {
	switch part {
	case of:
		return "1"
	case 0:
		return "0"
	}
	return fmt.Sprintf("0.%03d", part*1000/of)
}

// actuals returns what was measured of each claim of a run, by its text.
func actuals(t *testing.T, out []byte) map[string]string {
	t.Helper()
	all := map[string]string{}
	if _, err := record.Read("out", strings.NewReader(string(out)), func(l record.Line) error {
		if l.Name != "_verdict" {
			return nil
		}
		var v struct{ Text, Actual string }
		err := json.Unmarshal(l.Value, &v)
		all[v.Text], _, _ = strings.Cut(v.Actual, " slot")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestRehearsedLogsAreNotSaved: a rehearsal says what gather-logs would save, and writes no file.
func TestRehearsedLogsAreNotSaved(t *testing.T) {
	t.Chdir(t.TempDir())
	done, out := rehearse(t, []byte("all = discovery(limit: 3)\nwait(10m)\nkept = gather-logs(nodes: all, last: 5m)\nexpect count(kept) == 3"), "-seed", "1")
	if done.result.Code != orchestrator.CodeOK {
		t.Fatalf("it ends with %d: %v", done.result.Code, done.result.Err)
	}
	var summary strings.Builder
	done.write(&summary)
	if !regexp.MustCompile(`would be saved\s+run\.logs/kept/ beside the record, with the logs of 3 nodes: \d+ entries`).MatchString(summary.String()) {
		t.Errorf("the summary does not say what would be saved:\n%s", &summary)
	}
	if n := strings.Count(string(out), `"name":"gathered"`); n != 3 {
		t.Errorf("%d nodes are given out, want 3", n)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}

// TestRehearsalsWithoutEvidence read no logs: the key of the log fetcher is not even known to the network.
func TestRehearsalsWithoutEvidence(t *testing.T) {
	for script, want := range map[string]int{"all = discovery()\nexpect count(all) >= 1": 1, "all = discovery()\nexpect block.count >= 0": 2} {
		s := scene{nodes: 4, producers: 1, slot: time.Minute}
		parsed, found, err := dsl.Read("test", strings.NewReader(script), program{}.reading(nil, nil))
		if err != nil {
			t.Fatal(err)
		}
		plan, found := orchestrator.Compile(parsed, orchestrator.CompileOptions{Found: found})
		if plan == nil {
			t.Fatal(found)
		}
		s.evidence = plan.Evidence()
		if keys := s.options(nil, nil, nil).ITNKeys; len(keys) != want {
			t.Errorf("%d keys for %q, want %d", len(keys), script, want)
		}
	}
}

// TestRunsWithoutTheDatabase: one that the script needs and that cannot be reached ends the run before anything is sent, with its name and
// without its password; one that nobody asks is missed with a warning.
func TestRunsWithoutTheDatabase(t *testing.T) {
	n := newNetwork(t, t.TempDir(), usualScale, nil)
	n.useDatabase(t, fmt.Sprintf("postgres://tester:hunter2@127.0.0.1:%d/evidence_db", freePort(t)))
	for script, want := range map[string]int{
		"all = discovery()\nexpect block.count >= 0": orchestrator.CodeUsage, "all = discovery()\ngather-logs(nodes: all)": orchestrator.CodeUsage,
		"all = discovery()": orchestrator.CodeOK,
	} {
		before := len(n.History())
		cmd := n.command(t, n.config)
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		if code := exitCode(t, err); code != want {
			t.Errorf("%q: exit %d, want %d\n%s", script, code, want, out)
		}
		for _, part := range []string{"127.0.0.1", "evidence_db", "dbUri"} {
			if !strings.Contains(string(out), part) {
				t.Errorf("%q: it does not say %q:\n%s", script, part, out)
			}
		}
		if strings.Contains(string(out), "hunter2") {
			t.Errorf("%q: it shows the password:\n%s", script, out)
		}
		if want != orchestrator.CodeOK && len(n.sentSince(before)) > 0 {
			t.Errorf("%q: something was sent", script)
		}
	}
	cmd := n.command(t, "-stream", n.config)
	cmd.Stdin = strings.NewReader(`{"action":"discovery"} {"action":"gather-logs","params":{"nodes":{"type":"output","step":-1,"name":"participant"}}}`)
	out, err := cmd.CombinedOutput()
	if code := exitCode(t, err); code == orchestrator.CodeOK || !strings.Contains(string(out), "began without the database") || strings.Contains(string(out), "needs dbUri") {
		t.Errorf("a stream: exit %d\n%s", code, out)
	}
	left, err := filepath.Glob(filepath.Join(n.dir, "*.record"))
	if err != nil || len(left) > 2 {
		t.Errorf("records %v of two runs, %v", left, err)
	}
}

// sentSince returns what nodes were asked for by requests since the history had that length.
func (n *network) sentSince(length int) []simnet.Entry {
	var sent []simnet.Entry
	for _, entry := range n.History()[length:] {
		switch entry.Fact.(type) {
		case simnet.ScheduleAccepted, simnet.DaemonStopping, simnet.GatingSet:
			sent = append(sent, entry)
		}
	}
	return sent
}

// TestRunsThatNeedADatabase are wrong without one in the configuration, for run and plan; check knows of no configuration.
func TestRunsThatNeedADatabase(t *testing.T) {
	n := newNetwork(t, t.TempDir(), usualScale, nil)
	const script = "all = discovery()\nexpect tx.included >= 99%"
	for command, want := range map[string]int{"check": orchestrator.CodeOK, "plan": orchestrator.CodeScript, "run": orchestrator.CodeScript} {
		args := []string{command}
		if command != "check" {
			args = append(args, n.config)
		}
		cmd := n.command(t, args...)
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		if code := exitCode(t, err); code != want || want != 0 && !strings.Contains(string(out), "stdin:2:8: tx.included needs dbUri") {
			t.Errorf("%s: exit %d\n%s", command, code, out)
		}
	}
}

// collectInto has the logs of a network's nodes collected into a database until the test ends. key is one that the nodes accept, and nobody else
// uses.
func (n *network) collectInto(t *testing.T, uri string, key ed25519.PrivateKey) {
	t.Helper()
	parsed, err := itn.ParseKey(base64.StdEncoding.EncodeToString(key.Seed()))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := store.Open(t.Context(), uri, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	base := itn.NewTransport()
	guarded := fetcher.Transport(base)
	nodes, err := uptime.NewOnlineList(n.OnlineURL(), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	collector, err := fetcher.New(fetcher.Options{
		Discover: nodes, Store: kept, Interval: 500 * time.Millisecond, MinInterval: 20 * time.Millisecond, DiscoverEvery: time.Second, QueueSize: rehearsedMaxLogs,
		BackoffMin: 50 * time.Millisecond, BackoffMax: 500 * time.Millisecond,
		Dial: func(address string) *itn.Client { return itn.New(address, parsed, itn.Options{Transport: guarded}) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group errgroup.Group
	group.Go(func() error { return collector.Run(ctx) })
	group.Go(func() error {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := kept.SaveNodes(ctx, collector.Nodes()); err != nil && ctx.Err() == nil {
					return err
				}
			case <-ctx.Done():
				return nil
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
		kept.Close()
		base.CloseIdleConnections()
	})
}

// fetcherKey makes the key of a log fetcher, and has the nodes of a network accept it.
func fetcherKey(t *testing.T, o *simnet.Options) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	o.ITNKeys, o.MaxLogs = append(o.ITNKeys, publicHalf(key)), rehearsedMaxLogs
	return key
}
