package orchestrator_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"provingground/orchestrator"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/simnet"
	"provingground/uptime"
)

// others returns the nodes less one.
func others(nodes []string, but string) []string {
	return slices.DeleteFunc(slices.Clone(nodes), func(node string) bool { return node == but })
}

// mustBeIsolated fails the test unless exactly these nodes are isolated, each trusting and knowing the others of them.
func (n *network) mustBeIsolated(t *testing.T, group []string) {
	t.Helper()
	gating := n.History().Gating()
	if len(gating) != len(group) {
		t.Errorf("%d nodes have a gating, want %d: %+v", len(gating), len(group), gating)
	}
	for _, node := range group {
		g := gating[node]
		if !g.Isolate || !g.CleanAddedPeers || len(g.Banned) > 0 || g.Unknown > 0 {
			t.Errorf("the gating of %s is %+v", node, g)
		}
		mustEqual(t, "trusted peers of "+node, sorted(others(group, node)), sorted(g.Trusted))
		mustEqual(t, "added peers of "+node, sorted(others(group, node)), sorted(g.Added))
	}
}

func TestIsolate(t *testing.T) {
	t.Run("a group", func(t *testing.T) {
		n := newNetwork(t, func(o *simnet.Options) { o.Old = 1 })
		group := []string{n.Nodes()[5], n.Nodes()[0], n.Nodes()[2], n.Nodes()[0]}
		n.run(step("isolate", params{"nodes": group})).mustEnd(t, orchestrator.CodeOK)
		n.mustBeIsolated(t, group[:3])
	})
	t.Run("one node", func(t *testing.T) {
		n := newNetwork(t, nil)
		n.run(step("isolate", params{"nodes": n.Nodes()[:1]})).mustEnd(t, orchestrator.CodeOK)
		n.mustBeIsolated(t, n.Nodes()[:1])
	})
	t.Run("nobody when a node of the group does not answer (D33)", func(t *testing.T) {
		n := newNetwork(t, func(o *simnet.Options) { o.Faults = mustParse(t, "refuse:127.0.0.3") })
		e := n.run(step("isolate", params{"nodes": n.Nodes()[:3]})).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "nothing is isolated", n.Nodes()[1])
		if set := toldOf[simnet.GatingSet](n); len(set) > 0 {
			t.Errorf("gatings were set: %+v", set)
		}
	})
	t.Run("when it fails midway it is undone (D33)", func(t *testing.T) {
		n := newNetwork(t, func(o *simnet.Options) {
			o.Faults = mustParse(t, "status:127.0.0.3/updateGating=400")
		})
		e := n.run(step("isolate", params{"nodes": n.Nodes()[:3]})).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), n.Nodes()[1])
		isolated := 0
		for _, set := range toldOf[simnet.GatingSet](n) {
			if set.fact.Isolate {
				isolated++
			}
		}
		mustEqual(t, "isolations in the meantime", 2, isolated)
		n.mustBeIsolated(t, nil)
	})
	t.Run("a node of the group has died since it was seen (D33)", func(t *testing.T) {
		// The others cannot add it as a peer and say so, and are isolated all the same (itn-graphql, section 4.4).
		n := newNetwork(t, func(o *simnet.Options) { o.RestartAfter = -1 })
		e := n.run(script(
			step("discovery", params{}),
			step("stop-daemon", params{"nodes": n.Nodes()[2:3]}),
			step("wait", params{"min": 1}),
			step("isolate", params{"nodes": n.Nodes()[:3]}),
		)).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), n.Nodes()[2])
		n.mustBeIsolated(t, nil)
	})
	t.Run("by the address that reports come from (D31)", func(t *testing.T) {
		n := newNetwork(t, nil)
		n.run(script(
			step("discovery", params{}),
			step("isolate", params{"nodes": []string{"node-2.example:80", "node-4.example:80"}}),
		), n.forwarded()).mustEnd(t, orchestrator.CodeOK)
		n.mustBeIsolated(t, []string{n.Nodes()[2], n.Nodes()[4]})
	})
	t.Run("the list is read for that where nothing else has read it", func(t *testing.T) { // as in a run that was resumed
		n := newNetwork(t, nil)
		n.run(step("isolate", params{"nodes": []string{"node-2.example:80", "node-4.example:80"}}), n.forwarded()).mustEnd(t, orchestrator.CodeOK)
		n.mustBeIsolated(t, []string{n.Nodes()[2], n.Nodes()[4]})
	})
	t.Run("not by the name of a forwarder (D31)", func(t *testing.T) {
		n := newNetwork(t, nil)
		o := n.forwarded()
		forwarded := o.change
		o.change = func(w *orchestrator.World) {
			forwarded(w)
			w.Online = onlineFunc(func(context.Context) ([]uptime.Node, error) { return nil, nil })
		}
		e := n.run(step("isolate", params{"nodes": []string{"node-2.example:80", "node-4.example:80"}}), o).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "node-2.example:80", "IP address is not known")
		n.mustBeIsolated(t, nil)
	})
}

// forwarded returns options of a run that reaches node i at node-i.example:80, through a forwarder, as urlOverrides say.
func (n *network) forwarded() options {
	n.config.URLOverrides = uptime.Overrides{"node-{}.example"}
	key, err := itn.ParseKey(n.config.Key)
	if err != nil {
		n.t.Fatal(err)
	}
	transport := itn.NewTransport()
	n.t.Cleanup(transport.CloseIdleConnections)
	o := withOnline(func(nodes []uptime.Node) []uptime.Node {
		for i := range nodes {
			place := slices.IndexFunc(n.Hosts(), func(host string) bool { return host == nodes[i].RemoteAddr })
			nodes[i].ControlPort = uint16(10_000 + place)
		}
		return nodes
	})
	online := o.change
	o.change = func(w *orchestrator.World) {
		online(w)
		w.Dial = func(address string) *itn.Client {
			return itn.New(address, key, itn.Options{Transport: forwarder{n, transport}, RequestTimeout: n.config.RequestTimeout})
		}
	}
	return o
}

// forwarder sends what is for node-i.example on to node i.
type forwarder struct {
	n *network
	http.RoundTripper
}

func (f forwarder) RoundTrip(request *http.Request) (*http.Response, error) {
	var i int
	if _, err := fmt.Sscanf(request.URL.Host, "node-%d.example:80", &i); err != nil {
		return nil, err
	}
	request = request.Clone(request.Context())
	request.URL.Host = f.n.Nodes()[i]
	return f.RoundTripper.RoundTrip(request)
}

func TestResetGating(t *testing.T) {
	// addedTo returns the peers that the last update of a node added.
	addedTo := func(n *network, node string) []string {
		var added []string
		for _, set := range toldOf[simnet.GatingSet](n) {
			if set.node == node {
				added = set.fact.Added
			}
		}
		return added
	}

	t.Run("lifts the isolation", func(t *testing.T) {
		n := newNetwork(t, nil)
		group := n.Nodes()[:3]
		n.run(script(step("isolate", params{"nodes": group}), step("reset-gating", params{"nodes": group}))).mustEnd(t, orchestrator.CodeOK)
		n.mustBeIsolated(t, nil)
		mustEqual(t, "updates", 6, len(toldOf[simnet.GatingSet](n)))
	})

	t.Run("and a later failure does not lift it again", func(t *testing.T) {
		n := newNetwork(t, nil)
		group := n.Nodes()[:3]
		n.run(script(
			step("isolate", params{"nodes": group}), step("reset-gating", params{"nodes": group[:2]}),
			step("slots-covered-check", params{"threshold": 1, "slotsWon": []params{}}),
		)).mustEnd(t, orchestrator.CodeStep)
		n.mustBeIsolated(t, nil)
		// Three isolations, two resets; the third one is undone, and gets its peers back.
		mustEqual(t, "updates", 7, len(toldOf[simnet.GatingSet](n)))
	})

	t.Run("adds random peers", func(t *testing.T) {
		n := newNetwork(t, nil)
		group := n.Nodes()[:3]
		text := script(
			step("discovery", params{}),
			step("isolate", params{"nodes": group}),
			step("reset-gating", params{"nodes": group, "addRandomPeers": 2}),
		)
		choices := map[string]bool{}
		for seed := range uint64(4) {
			var first string
			for range 2 {
				n.run(text, options{seed: seed}).mustEnd(t, orchestrator.CodeOK)
				var choice []string
				for _, node := range group {
					peers := addedTo(n, node)
					if len(peers) != 2 || peers[0] == peers[1] || slices.Contains(peers, node) {
						t.Errorf("%s was given the peers %v", node, peers)
					}
					choice = append(choice, peers...)
				}
				if first != "" {
					mustEqual(t, "peers with the same seed", first, fmt.Sprint(choice))
				}
				first = fmt.Sprint(choice)
			}
			choices[first] = true
		}
		if len(choices) == 1 {
			t.Errorf("four seeds make one choice: %v", choices)
		}
	})

	t.Run("all peers when there are not enough (D32)", func(t *testing.T) {
		n := newNetwork(t, nil)
		n.run(step("reset-gating", params{"nodes": n.Nodes()[:2], "addRandomPeers": 100})).mustEnd(t, orchestrator.CodeOK)
		for _, node := range n.Nodes()[:2] {
			mustEqual(t, "peers of "+node, others(n.Nodes(), node), sorted(addedTo(n, node)))
		}
	})

	t.Run("no dead peers (D32)", func(t *testing.T) {
		n := newNetwork(t, func(o *simnet.Options) { o.RestartAfter = -1 })
		dead := n.Nodes()[2]
		n.run(script(
			step("discovery", params{}),
			step("stop-daemon", params{"nodes": []string{dead}}),
			step("wait", params{"min": 1}),
			step("reset-gating", params{"nodes": n.Nodes()[:2], "addRandomPeers": 100}),
		)).mustEnd(t, orchestrator.CodeOK)
		for _, node := range n.Nodes()[:2] {
			mustEqual(t, "peers of "+node, others(others(n.Nodes(), node), dead), sorted(addedTo(n, node)))
		}
	})

	t.Run("no peer at all", func(t *testing.T) {
		n := newNetwork(t, func(o *simnet.Options) { o.Nodes, o.Producers = 1, 1 })
		e := n.run(step("reset-gating", params{"nodes": n.Nodes(), "addRandomPeers": 1})).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), n.Nodes()[0], "gets no peer")
	})

	t.Run("by the address that reports come from (D31)", func(t *testing.T) {
		n := newNetwork(t, nil)
		n.run(script(
			step("discovery", params{}),
			step("reset-gating", params{"nodes": []string{"node-1.example:80"}, "addRandomPeers": 5}),
		), n.forwarded()).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "peers", others(n.Nodes(), n.Nodes()[1]), sorted(addedTo(n, n.Nodes()[1])))
	})

	t.Run("negative (D32)", func(t *testing.T) {
		n := newNetwork(t, nil)
		mustSay(t, n.findings(step("reset-gating", params{"nodes": n.Nodes(), "addRandomPeers": -1})), "addRandomPeers cannot be negative")
	})

	t.Run("a node that does not answer fails the step (D29)", func(t *testing.T) {
		n := newNetwork(t, func(o *simnet.Options) { o.Faults = mustParse(t, "refuse:127.0.0.3") })
		e := n.run(step("reset-gating", params{"nodes": n.Nodes()})).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), n.Nodes()[1])
	})
}

func TestSetZkappSoftLimit(t *testing.T) {
	n := newNetwork(t, func(o *simnet.Options) {
		o.Nodes, o.Producers, o.Old = 4, 2, 1
		o.Faults = mustParse(t, "refuse:127.0.0.3=90000h")
	})
	up := others(n.Nodes(), n.Nodes()[1])

	t.Run("set, one node failing", func(t *testing.T) {
		e := n.run(step("set-zkapp-soft-limit", params{"nodes": n.Nodes(), "limit": 7})).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "limits", map[string]int{up[0]: 7, up[1]: 7, up[2]: 7}, n.History().Limits())
		mustEqual(t, "participants", up, outputsOf[string](t, e, 0, "participant"))
		mustSay(t, e.log, "no soft limit", n.Nodes()[1])
	})
	t.Run("zero is a limit", func(t *testing.T) {
		n.run(step("set-zkapp-soft-limit", params{"nodes": up[:1], "limit": 0})).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "limits", map[string]int{up[0]: 0, up[1]: 7, up[2]: 7}, n.History().Limits())
	})
	t.Run("cleared by null", func(t *testing.T) {
		e := n.run(step("set-zkapp-soft-limit", params{"nodes": up[:2], "limit": nil})).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "limits", map[string]int{up[2]: 7}, n.History().Limits())
		mustEqual(t, "participants", up[:2], outputsOf[string](t, e, 0, "participant"))
	})
	t.Run("cleared by leaving it out", func(t *testing.T) {
		n.run(step("set-zkapp-soft-limit", params{"nodes": up[2:]})).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "limits", map[string]int{}, n.History().Limits())
	})
	t.Run("undone when the run fails, unless the script cleared it", func(t *testing.T) {
		before := len(toldOf[simnet.LimitSet](n))
		n.run(script(
			step("set-zkapp-soft-limit", params{"nodes": up, "limit": 3}),
			step("set-zkapp-soft-limit", params{"nodes": up[:1]}),
			step("slots-covered-check", params{"threshold": 1, "slotsWon": []params{}}),
		)).mustEnd(t, orchestrator.CodeStep)
		mustEqual(t, "limits", map[string]int{}, n.History().Limits())
		mustEqual(t, "updates", 6, len(toldOf[simnet.LimitSet](n))-before)
	})
	t.Run("all nodes failing (D29)", func(t *testing.T) {
		e := n.run(step("set-zkapp-soft-limit", params{"nodes": n.Nodes()[1:2], "limit": 7})).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "on none of 1 nodes", n.Nodes()[1])
		mustEqual(t, "participants", nil, outputsOf[string](t, e, 0, "participant"))
	})
	t.Run("negative", func(t *testing.T) {
		mustSay(t, n.findings(step("set-zkapp-soft-limit", params{"nodes": up, "limit": -1})), "limit cannot be negative", "null")
	})
}

func TestStopDaemon(t *testing.T) {
	n := newNetwork(t, func(o *simnet.Options) { o.Faults = mustParse(t, "refuse:127.0.0.7=90000h") })
	clean, kept, unreachable := n.Nodes()[0:2], n.Nodes()[2:4], n.Nodes()[5]
	e := n.run(script(
		step("stop-daemon", params{"nodes": append(slices.Clone(clean), unreachable), "clean": true}),
		step("stop-daemon", params{"nodes": kept}),
		step("wait", params{"min": 1}),
	)).mustEnd(t, orchestrator.CodeOK)
	mustSay(t, e.log, "not stopped", unreachable)
	var told []string
	for _, stopping := range toldOf[simnet.DaemonStopping](n) {
		told = append(told, stopping.node)
		if delay := stopping.fact.At.Sub(stopping.at); delay != 10*time.Second {
			t.Errorf("%s stops after %s, want ten seconds", stopping.node, delay)
		}
	}
	mustEqual(t, "daemons told to stop", n.Nodes()[:4], sorted(told))
	cleaned := map[string]bool{}
	for _, stopped := range toldOf[simnet.DaemonStopped](n) {
		cleaned[stopped.node] = stopped.fact.Clean
		if stopped.fact.Reason != simnet.StoppedByRequest {
			t.Errorf("%s was stopped by %s", stopped.node, stopped.fact.Reason)
		}
	}
	mustEqual(t, "stopped daemons, cleaned or not", map[string]bool{clean[0]: true, clean[1]: true, kept[0]: false, kept[1]: false}, cleaned)

	t.Run("all nodes failing (D29)", func(t *testing.T) {
		e := n.run(step("stop-daemon", params{"nodes": []string{unreachable}})).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "on none of 1 nodes", unreachable)
	})
}

// controlCalls keeps the calls of the control executable.
type controlCalls struct {
	programs
	run func(ctx context.Context, c orchestrator.Command) error // nil: the stand-in

	mu    sync.Mutex
	calls []string
}

func (p *controlCalls) Run(ctx context.Context, c orchestrator.Command) error {
	p.mu.Lock()
	p.calls = append(p.calls, c.Path+" "+strings.Join(c.Args, " "))
	p.mu.Unlock()
	if p.run != nil {
		return p.run(ctx, c)
	}
	return p.programs.Run(ctx, c)
}

func (n *network) controlledBy(p *controlCalls) options {
	p.programs = programs{n}
	return options{seed: 1, change: func(w *orchestrator.World) { w.Programs = p }}
}

func TestRestart(t *testing.T) {
	// restarts returns what stopped daemons: their nodes, and whether they were cleaned.
	restarts := func(n *network) map[string]bool {
		found := map[string]bool{}
		for _, stopped := range toldOf[simnet.DaemonStopped](n) {
			if stopped.fact.Reason != simnet.StoppedByControl {
				t.Errorf("%s was stopped by %s", stopped.node, stopped.fact.Reason)
			}
			found[stopped.node] = stopped.fact.Clean
		}
		return found
	}

	t.Run("each host once (D56)", func(t *testing.T) {
		n := newNetwork(t, nil)
		p := &controlCalls{}
		nodes := []string{n.Nodes()[0], n.Hosts()[0] + ":9999", n.Nodes()[3], "[2001:db8::7]:3086", n.Nodes()[0]}
		p.run = func(ctx context.Context, c orchestrator.Command) error {
			if c.Args[1] == "2001:db8::7" { // no node of the network (D30)
				return nil
			}
			return p.programs.Run(ctx, c)
		}
		n.run(step("restart", params{"nodes": nodes}), n.controlledBy(p)).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "calls", []string{"control restart 127.0.0.2", "control restart 127.0.0.5", "control restart 2001:db8::7"}, sorted(p.calls))
		mustEqual(t, "restarts", map[string]bool{n.Nodes()[0]: false, n.Nodes()[3]: false}, restarts(n))
	})

	t.Run("clean", func(t *testing.T) {
		n := newNetwork(t, nil)
		p := &controlCalls{}
		n.run(step("restart", params{"nodes": n.Nodes()[4:5], "clean": true}), n.controlledBy(p)).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "calls", []string{"control redeploy 127.0.0.6"}, p.calls)
		mustEqual(t, "restarts", map[string]bool{n.Nodes()[4]: true}, restarts(n))
	})

	t.Run("a failing control program fails the step", func(t *testing.T) {
		n := newNetwork(t, nil)
		p := &controlCalls{}
		e := n.run(script(
			step("restart", params{"nodes": []string{"10.1.2.3:3086", n.Nodes()[0]}}),
			step("wait", params{"min": 1}),
		), n.controlledBy(p)).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "restart 10.1.2.3", "no node has the host")
		mustEqual(t, "calls", 2, len(p.calls)) // a node's failure keeps no other from its restart
		mustEqual(t, "restarts", map[string]bool{n.Nodes()[0]: false}, restarts(n))
	})

	t.Run("many hosts at once, and an interruption ends it (D56)", func(t *testing.T) {
		n := newNetwork(t, nil)
		ctx, cancel := context.WithCancelCause(t.Context())
		begun := make(chan struct{}, len(n.Nodes()))
		p := &controlCalls{run: func(ctx context.Context, _ orchestrator.Command) error {
			if begun <- struct{}{}; len(begun) == len(n.Nodes()) { // the last one to begin
				cancel(&orchestrator.Interrupted{Signal: syscall.SIGTERM})
			}
			<-ctx.Done()
			return context.Cause(ctx)
		}}
		o := n.controlledBy(p)
		o.ctx = ctx
		n.run(step("restart", params{"nodes": n.Nodes()}), o).mustEnd(t, 143)
	})

	t.Run("without a control program", func(t *testing.T) {
		n := newNetwork(t, nil)
		n.config.ControlExec = ""
		mustSay(t, n.findings(step("restart", params{"nodes": n.Nodes()})), "controlExec")
	})

	t.Run("what the daemon held is gone with it", func(t *testing.T) {
		n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) { o.RestartAfter = -1 })
		n.run(script(
			discoverAndLoadKeys(),
			step("payments", somePayments()),
			step("isolate", params{"nodes": n.Nodes()[:2]}),
			step("restart", params{"nodes": n.Nodes()[:1]}),
			step("stop", params{"receipts": output(2, "receipt")}), // the node is down
			step("reset-gating", params{"nodes": n.Nodes()[1:2]}),
		)).mustEnd(t, orchestrator.CodeOK)
		if left := n.History().Unstopped(); len(left) > 0 {
			t.Errorf("not stopped: %v", left)
		}
		n.mustBeIsolated(t, nil)
	})
}
