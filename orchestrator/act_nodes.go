package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"provingground/dsl"
	"provingground/orchestrator/itn"
)

// The actions that change nodes: gating, soft limit, stopping and restarting (orchestrator-scripts, sections 3.10, 3.11, 3.13).

func nodesParam(doc string) dsl.Param {
	return dsl.Param{Name: "nodes", Kind: dsl.Address, List: true, Required: true, Doc: doc}
}

// distinct returns the addresses of a parameter, each once, sorted.
func (t *task) distinct(name string) []string {
	return slices.Compact(slices.Sorted(slices.Values(t.args.texts(name))))
}

func isolateAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: "isolate", Doc: "Cuts a group of nodes off from the rest of the network: each talks to the others of the group only.",
			Params: []dsl.Param{nodesParam("the group")},
		},
		run: func(ctx context.Context, t *task) error {
			group := t.distinct("nodes")
			if err := t.args.err(); err != nil {
				return err
			}
			peers := make([]itn.NetworkPeer, len(group))
			errs := each(ctx, t.run, group, func(ctx context.Context, i int, address string) (err error) {
				peers[i], err = t.nodes.at(address).peer(ctx)
				return err
			})
			if err := failures(errs); err != nil {
				return fmt.Errorf("nothing is isolated, for not every node of the group can be told of the others: %w", err)
			}
			errs = each(ctx, t.run, group, func(ctx context.Context, i int, address string) error {
				others := slices.Delete(slices.Clone(peers), i, i+1)
				_, err := t.sequenced(ctx, Intent{Kind: kindIsolate, Node: address}, func(before itn.Before) (string, error) {
					return "", t.nodes.at(address).client.UpdateGating(ctx, itn.GatingUpdate{
						TrustedPeers: others, AddedPeers: others, Isolate: true, CleanAddedPeers: true,
					}, before)
				})
				return err
			})
			return failures(errs)
		},
	}
}

func resetGatingAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: "reset-gating", Doc: "Lets nodes talk to everybody again, and gives them peers.",
			Params: []dsl.Param{
				nodesParam("the nodes"),
				{Name: "addRandomPeers", Kind: dsl.Int, Default: "0", Doc: "how many other nodes each is told to connect to, chosen by chance; all when there are not enough"},
			},
		},
		check: func(c *checking) {
			if n, ok := c.number("addRandomPeers"); ok && n.Sign() < 0 {
				c.report("addRandomPeers", "", "addRandomPeers cannot be negative")
			}
		},
		run: func(ctx context.Context, t *task) error {
			group, add := t.distinct("nodes"), t.args.integer("addRandomPeers")
			if err := t.args.err(); err != nil {
				return err
			}
			if add < 0 {
				return errors.New("addRandomPeers cannot be negative")
			}
			errs := each(ctx, t.run, group, func(ctx context.Context, _ int, address string) error {
				return t.ungate(ctx, address, itn.GatingUpdate{})
			})
			if err := failures(errs); err != nil || add == 0 {
				return err
			}
			known, _, err := t.nodes.online(ctx) // and not whom this process happens to know: a resumed run chooses the same
			if err != nil {
				return err
			}
			peers := t.livePeers(ctx, known)
			errs = each(ctx, t.run, group, func(ctx context.Context, _ int, address string) error {
				chosen := choosePeers(address, known, peers, add, t.chance("peers of "+address))
				if len(chosen) == 0 {
					return fmt.Errorf("node %s gets no peer: none of the %d known nodes can be one", address, len(known))
				}
				return t.ungate(ctx, address, itn.GatingUpdate{AddedPeers: chosen})
			})
			return failures(errs)
		},
	}
}

// ungate gives a node a gating without isolation, and closes what the ledger has open about its isolation.
func (t *task) ungate(ctx context.Context, address string, update itn.GatingUpdate) error {
	if err := t.nodes.at(address).client.UpdateGating(ctx, update, nil); err != nil {
		return err //nolint:wrapcheck // names operation and node
	}
	return t.close("reset by the script", func(e entry) bool { return e.intent.Kind == kindIsolate && e.intent.Node == address })
}

// close records that what matching calls left behind is gone, because the script itself undid it.
func (t *task) close(how string, match func(entry) bool) error {
	var err error
	for _, e := range t.ledger.remainingOf(match) {
		err = errors.Join(err, t.note(lineUndone, Undone{Call: e.intent.Call, How: how}))
	}
	return err
}

// livePeers returns the nodes that answer now, as peers; nil for those that do not. One that is dead would make a node refuse them all.
func (t *task) livePeers(ctx context.Context, known []string) []*itn.NetworkPeer {
	peers := make([]*itn.NetworkPeer, len(known))
	errs := each(ctx, t.run, known, func(ctx context.Context, i int, address string) error {
		n := t.nodes.at(address)
		if _, err := n.authenticate(ctx); err != nil {
			return err
		}
		peer, err := n.peer(ctx)
		if err != nil {
			return err
		}
		peers[i] = &peer
		return nil
	})
	t.warnEach("cannot be a peer", known, errs)
	return peers
}

// choosePeers chooses so many of the peers by chance, the node itself left out. peers are those of the known nodes.
func choosePeers(address string, known []string, peers []*itn.NetworkPeer, n int, chance *rand.Rand) []itn.NetworkPeer {
	var chosen []itn.NetworkPeer
	for _, i := range chance.Perm(len(known)) {
		if peers[i] != nil && known[i] != address && len(chosen) < n {
			chosen = append(chosen, *peers[i])
		}
	}
	return chosen
}

func setZkappSoftLimitAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: "set-zkapp-soft-limit", Doc: "Limits how many zkApp commands the nodes put into a block.",
			Params: []dsl.Param{
				nodesParam("the nodes"),
				{Name: "limit", Kind: dsl.Int, Nullable: true, Default: "null, no limit", Doc: "zkApp commands in a block; null clears the limit"},
			},
			Outputs: []dsl.Output{{Name: "participant", Kind: dsl.Address, List: true, Multi: true, Doc: "the nodes where it worked"}},
			Main:    "participant",
		},
		check: func(c *checking) {
			if n, ok := c.number("limit"); ok && n.Sign() < 0 {
				c.report("limit", "write null to clear the limit", "limit cannot be negative")
			}
		},
		run: func(ctx context.Context, t *task) error {
			group := t.distinct("nodes")
			var limit *int
			if !t.args.null("limit") {
				n := t.args.integer("limit")
				limit = &n
			}
			if err := t.args.err(); err != nil {
				return err
			}
			if limit != nil && *limit < 0 {
				return errors.New("limit cannot be negative")
			}
			errs := each(ctx, t.run, group, func(ctx context.Context, _ int, address string) error {
				client := t.nodes.at(address).client
				if limit == nil {
					if _, err := client.SetZkAppCommandLimit(ctx, nil, nil); err != nil {
						return err //nolint:wrapcheck // names operation and node
					}
					return t.close("cleared by the script", func(e entry) bool { return e.intent.Kind == kindLimit && e.intent.Node == address })
				}
				_, err := t.sequenced(ctx, Intent{Kind: kindLimit, Node: address, Limit: limit}, func(before itn.Before) (string, error) {
					_, err := client.SetZkAppCommandLimit(ctx, limit, before)
					return "", err
				})
				return err
			})
			return t.bearFailures(ctx, "the soft limit is set", "no soft limit", group, errs)
		},
	}
}

// bearFailures ends a step that bears failures of single nodes: it gives out the nodes where it worked, where the action has that output,
// and fails when it worked on none.
func (t *task) bearFailures(ctx context.Context, what, warning string, group []string, errs []error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t.warnEach(warning, group, errs)
	var worked []string
	for i, address := range group {
		if errs[i] == nil {
			worked = append(worked, address)
		}
		var internal *internalError
		if errors.Is(errs[i], errRecord) || errors.As(errs[i], &internal) {
			return errs[i]
		}
	}
	if len(t.step.action.Outputs) > 0 {
		if err := outputList(t, "participant", worked); err != nil {
			return err
		}
	}
	if allFailed(errs) {
		return t.errAllFailed(what, errs)
	}
	return nil
}

const (
	stopDaemonName = "stop-daemon"
	// stopDelay is the network time for which a daemon goes on that accepted to stop.
	stopDelay = 10 * time.Second
)

func stopDaemonAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: stopDaemonName, Doc: "Tells daemons to end, ten seconds later. Whether they start again is up to their supervisor.",
			Params: []dsl.Param{
				nodesParam("the nodes"),
				{Name: "clean", Kind: dsl.Flag, Default: "false", Doc: "remove the ledgers and the frontier, so that the next start has to bootstrap"},
			},
		},
		forecast: func(*forecasting) forecast { return forecast{stops: "stops"} },
		run: func(ctx context.Context, t *task) error {
			group, clean := t.distinct("nodes"), t.args.flag("clean")
			if err := t.args.err(); err != nil {
				return err
			}
			errs := each(ctx, t.run, group, func(ctx context.Context, _ int, address string) error {
				s, err := t.sequenced(ctx, Intent{Kind: kindStopDaemon, Node: address, Clean: clean}, func(before itn.Before) (string, error) {
					_, err := t.nodes.at(address).client.StopDaemon(ctx, stopDelay, clean, before)
					return "", err
				})
				if s.Result == resultDone || s.Result == resultAccepted || s.Result == resultUnknown {
					for _, e := range t.ledger.ofStep(t.step.Number) {
						if e.intent.Kind == kindStopDaemon && e.intent.Node == address {
							t.nodes.stop(address, e.intent.ServerUUID)
						}
					}
				}
				return err
			})
			return t.bearFailures(ctx, "daemons are stopped", "not stopped", group, errs)
		},
	}
}

func restartAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: "restart", Doc: "Restarts nodes through the control executable.",
			Params: []dsl.Param{
				nodesParam("the nodes"),
				{Name: "clean", Kind: dsl.Flag, Default: "false", Doc: "redeploy the node from nothing"},
			},
		},
		check: func(c *checking) {
			if c.config != nil && c.config.ControlExec == "" {
				c.report("nodes", "", "restart needs controlExec in the configuration")
			}
		},
		forecast: func(*forecasting) forecast { return forecast{stops: "restarts"} },
		run:      runRestart,
	}
}

func runRestart(ctx context.Context, t *task) error {
	const atOnce, limit = 8, 10 * time.Minute // wall time for one node
	group, clean := t.distinct("nodes"), t.args.flag("clean")
	if err := t.args.err(); err != nil {
		return err
	}
	if t.config.ControlExec == "" {
		return errors.New("restart needs controlExec in the configuration")
	}
	hosts := make([]string, len(group)) // several nodes of one host are restarted together, by one call
	for i, address := range group {
		hosts[i] = hostOf(address)
	}
	hosts = slices.Compact(slices.Sorted(slices.Values(hosts)))
	verb := "restart"
	if clean {
		verb = "redeploy"
	}
	errs := eachOf(ctx, t.run, atOnce, hosts, func(ctx context.Context, _ int, host string) error {
		intent := Intent{Kind: kindRestart, Node: host, Clean: clean}
		if e, ok := t.earlier(intent); ok && e.settled != nil && e.settled.Result == resultDone {
			return nil
		}
		_, err := t.external(intent, func() (Settled, error) {
			ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done within %s", limit))
			defer cancel()
			err := t.world.Programs.Run(ctx, Command{Path: t.config.ControlExec, Args: []string{verb, host}, Line: t.programLine})
			return programResult(err), err
		})
		if err != nil {
			return fmt.Errorf("%s %s: %w", verb, host, err)
		}
		return nil
	})
	return failures(errs)
}

// programResult says what became of a call of a program.
func programResult(err error) Settled {
	var exit *ExitError
	var notStarted *notStartedError
	switch {
	case err == nil:
		return Settled{Result: resultDone}
	case errors.As(err, &notStarted):
		return Settled{Result: resultNotSent, Message: err.Error()}
	case errors.As(err, &exit) && exit.Code >= 0:
		return Settled{Result: resultRefused, Message: err.Error()}
	default:
		return Settled{Result: resultUnknown, Message: err.Error()}
	}
}

// programLine shows a line that a program printed.
func (t *task) programLine(text string, _ bool) {
	text = t.world.Mask(text)                  // here, before a log quotes it
	_, _ = fmt.Fprintln(t.world.Console, text) // the log has it too
	t.world.Shown.Info(text, zap.Int("step", t.step.Number))
}
