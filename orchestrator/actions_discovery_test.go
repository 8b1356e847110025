package orchestrator_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"provingground/orchestrator"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/simnet"
	"provingground/uptime"
)

// onlineFunc is an online list that a test makes up.
type onlineFunc func(ctx context.Context) ([]uptime.Node, error)

func (f onlineFunc) List(ctx context.Context) ([]uptime.Node, error) { return f(ctx) }

// withOnline are the options of a run whose online list goes through change.
func withOnline(change func(nodes []uptime.Node) []uptime.Node) options {
	return options{seed: 1, change: func(w *orchestrator.World) {
		online := w.Online
		w.Online = onlineFunc(func(ctx context.Context) ([]uptime.Node, error) {
			nodes, err := online.List(ctx)
			return change(nodes), err
		})
	}}
}

func TestDiscovery(t *testing.T) {
	n := newNetwork(t, nil)
	all, producers, others := n.Nodes(), n.Nodes()[:3], n.Nodes()[3:]

	for name, test := range map[string]struct {
		params params
		want   []string
	}{
		"all":                           {params{}, all},
		"a limit above what there is":   {params{"limit": 9}, all},
		"only block producers":          {params{"onlyBPs": true}, producers},
		"no block producers":            {params{"noBPs": true}, others},
		"exactly what there is":         {params{"limit": 3, "onlyBPs": true, "exactly": true}, producers},
		"exactly without a limit, warn": {params{"exactly": true}, all},
	} {
		t.Run(name, func(t *testing.T) {
			e := n.run(step("discovery", test.params)).mustEnd(t, orchestrator.CodeOK)
			mustEqual(t, "participants", test.want, outputsOf[string](t, e, 0, "participant"))
		})
	}

	t.Run("limit", func(t *testing.T) {
		// The seed decides the choice: the same one with the same seed, not always the same one.
		choices := map[string]bool{}
		for seed := range uint64(6) {
			var first []string
			for range 2 {
				e := n.run(step("discovery", params{"limit": 2}), options{seed: seed}).mustEnd(t, orchestrator.CodeOK)
				found := outputsOf[string](t, e, 0, "participant")
				if len(found) != 2 || !slices.IsSorted(found) || !slices.Contains(all, found[0]) || !slices.Contains(all, found[1]) {
					t.Fatalf("participants %v", found)
				}
				if first != nil {
					mustEqual(t, "participants with the same seed", first, found)
				}
				first = found
			}
			choices[fmt.Sprint(first)] = true
		}
		if len(choices) == 1 {
			t.Errorf("six seeds make one choice: %v", choices)
		}
	})

	t.Run("both filters", func(t *testing.T) {
		mustSay(t, n.findings(step("discovery", params{"onlyBPs": true, "noBPs": true})), "leave no node")
		mustSay(t, n.findings(step("discovery", params{"limit": -1})), "limit cannot be negative")
	})
}

func TestDiscoveryAsksNoMoreNodesThanItNeeds(t *testing.T) { // D19
	n := newNetwork(t, nil)
	n.config.Concurrency = 1
	e := n.run(step("discovery", params{"limit": 2})).mustEnd(t, orchestrator.CodeOK)
	found := outputsOf[string](t, e, 0, "participant")
	for _, address := range n.Nodes() {
		want := 0
		if slices.Contains(found, address) {
			want = 1
		}
		if got := n.answers(address, "auth"); got != want {
			t.Errorf("%s was asked %d times, want %d", address, got, want)
		}
	}
}

func TestDiscoveryLeavesOutWhatDoesNotAnswer(t *testing.T) {
	n := newNetwork(t, func(o *simnet.Options) {
		o.Faults = mustParse(t, "refuse:127.0.0.3; list-no-port")
	})
	e := n.run(step("discovery", params{})).mustEnd(t, orchestrator.CodeOK)
	up := slices.Delete(slices.Clone(n.Nodes()), 1, 2)
	mustEqual(t, "participants", up, outputsOf[string](t, e, 0, "participant"))
	mustSay(t, e.log, "left out of the discovery", n.Nodes()[1], "graphql_control_port")
}

func TestDiscoveryGivesOutANodeOnce(t *testing.T) { // D18: no duplicates
	n := newNetwork(t, nil)
	e := n.run(step("discovery", params{}), withOnline(func(nodes []uptime.Node) []uptime.Node {
		for _, moved := range nodes { // somebody else reports from the same place
			moved.Submitter = receiver
			nodes = append(nodes, moved)
		}
		return nodes
	})).mustEnd(t, orchestrator.CodeOK)
	mustEqual(t, "participants", n.Nodes(), outputsOf[string](t, e, 0, "participant"))
}

func TestDiscoveryForgetsNodesThatDied(t *testing.T) { // D20
	n := newNetwork(t, func(o *simnet.Options) { o.RestartAfter = -1 })
	last := n.Nodes()[5]
	e := n.run(script(
		step("discovery", params{}),
		step("stop-daemon", params{"nodes": []string{last}}),
		step("wait", params{"min": 1}),
		step("discovery", params{}),
		step("discovery", params{"noBPs": true}),
	)).mustEnd(t, orchestrator.CodeOK)
	mustEqual(t, "down", []string{last}, n.History().Down())
	mustEqual(t, "at first", n.Nodes(), outputsOf[string](t, e, 0, "participant"))
	mustEqual(t, "afterwards", n.Nodes()[:5], outputsOf[string](t, e, 3, "participant"))
	mustEqual(t, "no producers", n.Nodes()[3:5], outputsOf[string](t, e, 4, "participant"))
}

func TestDiscoveryTriesAgain(t *testing.T) { // D16, D18
	n := newNetwork(t, func(o *simnet.Options) { o.Faults = mustParse(t, "list-empty#2; list-status=503#1") })
	began := n.clock.Now()
	e := n.run(step("discovery", params{"limit": 4})).mustEnd(t, orchestrator.CodeOK)
	if found := outputsOf[string](t, e, 0, "participant"); len(found) != 4 {
		t.Errorf("participants %v, want four", found)
	}
	for _, asked := range toldOf[simnet.RequestAnswered](n) {
		if waited := asked.at.Sub(began); waited < 40*time.Second { // the first two pauses
			t.Errorf("a node was asked after %s, while the list was empty", waited)
		}
	}
}

func TestDiscoveryWaitsForExactlySoMany(t *testing.T) { // D18: what the failed attempts found is not given out twice
	n := newNetwork(t, func(o *simnet.Options) { o.Faults = mustParse(t, "refuse:127.0.0.3=8m") })
	e := n.run(step("discovery", params{"limit": 6, "exactly": true})).mustEnd(t, orchestrator.CodeOK)
	mustEqual(t, "participants", n.Nodes(), outputsOf[string](t, e, 0, "participant"))
}

func TestDiscoveryGivesUp(t *testing.T) {
	n := newNetwork(t, nil)
	e := n.run(step("discovery", params{"limit": 4, "onlyBPs": true, "exactly": true})).mustEnd(t, orchestrator.CodeStep)
	mustSay(t, e.Err.Error(), "3 of 6", "exactly 4")
	if found := outputsOf[string](t, e, 0, "participant"); len(found) > 0 { // D18
		t.Errorf("the failed step gave out %v", found)
	}
}

func TestDiscoveryWithAWrongKeyFailsAtOnce(t *testing.T) {
	n := newNetwork(t, nil)
	e := n.run(step("discovery", params{}), withWrongKey(t)).mustEnd(t, orchestrator.CodeStep)
	mustSay(t, e.Err.Error(), "none of the online nodes accepts the ITN key", "401")
	asked := toldOf[simnet.RequestAnswered](n)
	for _, a := range asked {
		if a.fact.Outcome != simnet.OutcomeUnauthorized {
			t.Errorf("%s answered %+v", a.node, a.fact)
		}
	}
	mustEqual(t, "requests, one to each node", 6, len(asked))
}

// withWrongKey are the options of a run that signs with a key that no node knows.
func withWrongKey(t *testing.T) options {
	t.Helper()
	stranger, err := itn.ParseKey("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	if err != nil {
		t.Fatal(err)
	}
	return options{seed: 1, change: func(w *orchestrator.World) {
		transport := itn.NewTransport()
		t.Cleanup(transport.CloseIdleConnections)
		w.Dial = func(address string) *itn.Client { return itn.New(address, stranger, itn.Options{Transport: transport}) }
	}}
}

func TestDiscoveryCanBeInterrupted(t *testing.T) { // D18
	n := newNetwork(t, func(o *simnet.Options) { o.Faults = mustParse(t, "list-empty") })
	for name, at := range map[string]string{"while it looks": "step begins", "while it waits": "discovery failed, trying again"} {
		t.Run(name, func(t *testing.T) {
			e := n.run(step("discovery", params{}), interruptedAt(t, at)).mustEnd(t, 130)
			if tries := strings.Count(e.log, "trying again"); tries > 1 {
				t.Errorf("it tried again %d times", tries)
			}
		})
	}
}

func TestDiscoveryOfIPv6Nodes(t *testing.T) { // D21
	n := newNetwork(t, nil)
	var dialled []string
	o := withOnline(func(nodes []uptime.Node) []uptime.Node {
		return append(nodes, uptime.Node{RemoteAddr: "2001:db8::7", ControlPort: 3086}, uptime.Node{RemoteAddr: "127.0.0.9:41234", ControlPort: 3087})
	})
	online := o.change
	o.change = func(w *orchestrator.World) {
		online(w)
		dial := w.Dial
		w.Dial = func(address string) *itn.Client {
			dialled = append(dialled, address)
			return dial(n.Nodes()[0])
		}
	}
	n.run(step("discovery", params{}), o).mustEnd(t, orchestrator.CodeOK)
	for _, want := range []string{"[2001:db8::7]:3086", "127.0.0.9:3087"} {
		if !slices.Contains(dialled, want) {
			t.Errorf("%s is not among the addresses %v", want, dialled)
		}
	}
}

// mustParse reads faults of a network.
func mustParse(t *testing.T, text string) []simnet.Fault {
	t.Helper()
	faults, err := simnet.ParseFaults(text)
	if err != nil {
		t.Fatal(err)
	}
	return faults
}

func TestPreflight(t *testing.T) {
	const commit = "5100c0de5100c0de5100c0de5100c0de5100c0de" // of every newer node
	n := newNetwork(t, func(o *simnet.Options) {
		o.Nodes, o.Old = 4, 1
	})
	newer, old := n.Nodes()[:3], n.Nodes()[3]
	type nodeCommit struct {
		Address string
		Commit  *string
	}
	known := commit

	t.Run("all online nodes", func(t *testing.T) {
		e := n.run(step("preflight", params{})).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "commits", []nodeCommit{{newer[0], &known}, {newer[1], &known}, {newer[2], &known}, {old, nil}}, outputsOf[nodeCommit](t, e, 0, "commit"))
		for _, address := range n.Nodes() {
			if n.answers(address, "auth") == 0 {
				t.Errorf("%s was not asked", address)
			}
		}
	})
	t.Run("the expected commit", func(t *testing.T) {
		for _, expect := range []string{commit, "5100C0DE"} {
			e := n.run(step("preflight", params{"nodes": newer, "expectCommit": expect})).mustEnd(t, orchestrator.CodeOK)
			mustEqual(t, "nodes", 3, len(e.outputs(t, 0, "commit")))
		}
	})
	t.Run("a node named twice", func(t *testing.T) {
		e := n.run(step("preflight", params{"nodes": []string{newer[1], newer[0], newer[1]}})).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "commits", []nodeCommit{{newer[0], &known}, {newer[1], &known}}, outputsOf[nodeCommit](t, e, 0, "commit"))
	})
	t.Run("another commit", func(t *testing.T) {
		e := n.run(step("preflight", params{"nodes": newer[:1], "expectCommit": "abcdef"})).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), newer[0], commit, "abcdef is expected")
		mustEqual(t, "commits", []nodeCommit{{newer[0], &known}}, outputsOf[nodeCommit](t, e, 0, "commit"))
	})
	t.Run("an older node", func(t *testing.T) {
		e := n.run(step("preflight", params{"nodes": n.Nodes(), "expectCommit": commit})).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), old, "too old")
	})
	t.Run("a node that does not answer", func(t *testing.T) {
		nobody := fmt.Sprintf("127.0.0.1:%d", freePort(t))
		e := n.run(step("preflight", params{"nodes": []string{nobody, newer[0]}})).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), nobody)
		mustEqual(t, "commits", []nodeCommit{{newer[0], &known}}, outputsOf[nodeCommit](t, e, 0, "commit"))
	})
	t.Run("no node", func(t *testing.T) {
		mustSay(t, n.run(step("preflight", params{"nodes": []string{}})).mustEnd(t, orchestrator.CodeStep).Err.Error(), "no node to check")
	})
	t.Run("a wrong ITN key", func(t *testing.T) {
		e := n.run(step("preflight", params{"nodes": newer[:1]}), withWrongKey(t)).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "refused the ITN key")
	})
}
