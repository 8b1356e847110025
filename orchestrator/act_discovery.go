package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"provingground/dsl"
	"provingground/orchestrator/itn"
	"provingground/uptime"
)

// The actions that look for nodes: discovery and preflight (orchestrator-scripts, sections 3.1 and 3.14).

func discoveryAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: "discovery", Doc: "Finds the nodes that are online and answer.",
			Params: []dsl.Param{
				{Name: "limit", Kind: dsl.Int, Default: "0, no limit", Doc: "at most this many nodes, chosen by chance"},
				{Name: "onlyBPs", Script: "only-block-producers", Kind: dsl.Flag, Default: "false", Doc: "only block producers"},
				{Name: "noBPs", Script: "no-block-producers", Kind: dsl.Flag, Default: "false", Doc: "no block producers"},
				{Name: "exactly", Kind: dsl.Flag, Default: "false", Doc: "fail with fewer nodes than limit"},
			},
			Outputs: []dsl.Output{{Name: "participant", Kind: dsl.Address, List: true, Multi: true, Doc: "the nodes, in the order of their addresses"}},
			Main:    "participant",
		},
		check: func(c *checking) {
			only, _ := c.literal("onlyBPs", dsl.Bool)
			no, _ := c.literal("noBPs", dsl.Bool)
			if only.Text == "true" && no.Text == "true" {
				c.report("noBPs", "", "onlyBPs and noBPs together leave no node")
			}
			if limit, ok := c.number("limit"); ok && limit.Sign() < 0 {
				c.report("limit", "", "limit cannot be negative")
			} else if exactly, _ := c.literal("exactly", dsl.Bool); ok && limit.Sign() == 0 && exactly.Text == "true" {
				c.warn("exactly", "", "exactly means nothing without a limit")
			}
		},
		forecast: func(f *forecasting) forecast {
			only, _ := f.literal("onlyBPs", dsl.Bool)
			no, _ := f.literal("noBPs", dsl.Bool)
			which, limit := "every node", f.integer("limit")
			switch {
			case only.Text == "true":
				which = "block producers"
			case no.Text == "true":
				which = "nodes without block production"
			}
			if limit > 0 {
				which = fmt.Sprintf("%s, %d of them by chance", which, limit)
			}
			return forecast{does: which}
		},
		sizes: func(c *checking) map[string]int {
			limit, ok := c.number("limit")
			if !ok || limit.Sign() <= 0 || !limit.Num().IsInt64() {
				return map[string]int{"participant": c.nodes}
			}
			n := int(min(limit.Num().Int64(), math.MaxInt32))
			if exactly, _ := c.literal("exactly", dsl.Bool); exactly.Text != "true" {
				n = min(n, c.nodes)
			}
			return map[string]int{"participant": n}
		},
		run: func(ctx context.Context, t *task) error {
			want := wanted{
				limit: t.args.integer("limit"), onlyBPs: t.args.flag("onlyBPs"), noBPs: t.args.flag("noBPs"), exactly: t.args.flag("exactly"),
			}
			if err := t.args.err(); err != nil {
				return err
			}
			if want.limit < 0 || want.onlyBPs && want.noBPs {
				return errors.New("limit is negative, or onlyBPs and noBPs are both given")
			}
			found, err := t.discoverPatiently(ctx, want)
			if err != nil {
				return err
			}
			return outputList(t, "participant", found)
		},
	}
}

// wanted says which nodes a discovery looks for.
type wanted struct {
	limit                   int // 0: no limit
	onlyBPs, noBPs, exactly bool
}

// discoverPatiently tries again where that may help: nodes restart, and an uptime service that was restarted knows a node only when that
// has reported again, which takes five slots. Together the pauses, of network time, bridge that on a real network.
func (t *task) discoverPatiently(ctx context.Context, want wanted) ([]string, error) {
	if !t.patient() {
		return t.discover(ctx, want)
	}
	for _, pause := range []time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 3 * time.Minute, 5 * time.Minute, 10 * time.Minute} {
		found, err := t.discover(ctx, want)
		var list *uptime.ListError
		switch {
		case err == nil:
			return found, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.As(err, &list) && !list.Temporary, errors.Is(err, errKeyRefused):
			return nil, err
		}
		t.log.Warn("discovery failed, trying again", zap.Duration("in", pause), zap.Error(err))
		if err := t.pause(ctx, pause); err != nil {
			return nil, err
		}
	}
	return t.discover(ctx, want)
}

// errKeyRefused says that every node refused the ITN key, which does not pass.
var errKeyRefused = errors.New("none of the online nodes accepts the ITN key")

// discover looks once. Nodes are asked who they are each time, for what was true an hour ago may not be.
func (t *task) discover(ctx context.Context, want wanted) ([]string, error) {
	addresses, skipped, err := t.nodes.online(ctx)
	if err != nil {
		return nil, err
	}
	for _, err := range skipped {
		t.log.Warn("left out of the discovery", zap.Error(err))
	}
	if len(addresses) == 0 {
		return nil, fmt.Errorf("no node is online (%d entries of the online list cannot be used)", len(skipped))
	}
	// With a limit, chance decides which nodes are taken, and no more are asked than it takes to find that many.
	wave := len(addresses)
	if want.limit > 0 {
		t.chance("order").Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
		wave = max(want.limit, t.config.Concurrency)
	}
	var found []string
	var failed error // why one of them did not answer
	answered, refused := 0, 0
	for asked := range slices.Chunk(addresses, wave) {
		fits := make([]bool, len(asked))
		errs := each(ctx, t.run, asked, func(ctx context.Context, i int, address string) error {
			identity, err := t.nodes.at(address).authenticate(ctx)
			fits[i] = err == nil && want.fits(identity)
			return err
		})
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		t.warnEach("left out of the discovery", asked, errs)
		for i, address := range asked {
			var unauthorized *itn.UnauthorizedError
			switch {
			case errs[i] == nil:
				answered++
			case errors.As(errs[i], &unauthorized):
				refused++
			}
			failed = cmp.Or(failed, errs[i])
			if fits[i] {
				found = append(found, address)
			}
		}
		if want.limit > 0 && len(found) >= want.limit {
			found = found[:want.limit]
			break
		}
	}
	switch {
	case refused == len(addresses):
		return nil, fmt.Errorf("%w: %w", errKeyRefused, failed)
	case len(found) == 0 && failed != nil:
		return nil, fmt.Errorf("none of %d online nodes will do: %d answered, none is %s; another: %w", len(addresses), answered, want, failed)
	case len(found) == 0:
		return nil, fmt.Errorf("none of %d online nodes will do: none is %s", len(addresses), want)
	case want.exactly && len(found) < want.limit:
		return nil, fmt.Errorf("%d of %d online nodes will do, and exactly %d are wanted", len(found), len(addresses), want.limit)
	}
	slices.Sort(found)
	return found, nil
}

func (w wanted) fits(identity itn.Identity) bool {
	return (!w.onlyBPs || identity.BlockProducer) && (!w.noBPs || !identity.BlockProducer)
}

// String names what is looked for.
func (w wanted) String() string {
	switch {
	case w.onlyBPs:
		return "a block producer"
	case w.noBPs:
		return "without block production"
	default:
		return "reachable"
	}
}

// nodeCommit is the output of preflight.
type nodeCommit struct {
	Address string  `json:"address"`
	Commit  *string `json:"commit"` // null: an older daemon does not say
}

func preflightAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: "preflight", Doc: "Checks that every node answers, accepts the ITN key and runs the expected commit.",
			Params: []dsl.Param{
				{Name: "nodes", Kind: dsl.Address, List: true, Default: "all that are online", Doc: "the nodes"},
				{Name: "expectCommit", Kind: dsl.Word, Doc: "the commit, or its first characters"},
			},
			Outputs: []dsl.Output{{Name: "commit", Kind: dsl.Commit, List: true, Multi: true, Doc: "address and commit of each node; the commit of an older daemon is null"}},
			Main:    "commit",
		},
		run: func(ctx context.Context, t *task) error {
			addresses, expect := t.distinct("nodes"), strings.ToLower(t.args.text("expectCommit"))
			if err := t.args.err(); err != nil {
				return err
			}
			if t.args.null("nodes") {
				var skipped []error
				var err error
				if addresses, skipped, err = t.nodes.online(ctx); err != nil {
					return err
				}
				if err := failures(skipped); err != nil {
					return fmt.Errorf("the online list has entries without a usable address: %w", err)
				}
			}
			if len(addresses) == 0 {
				return errors.New("there is no node to check")
			}
			commits := make([]nodeCommit, len(addresses))
			errs := each(ctx, t.run, addresses, func(ctx context.Context, i int, address string) error {
				identity, err := t.nodes.at(address).authenticate(ctx)
				if err != nil {
					return err
				}
				commits[i].Address = address
				if identity.CommitID != "" {
					commits[i].Commit = &identity.CommitID
				}
				switch {
				case expect == "":
				case commits[i].Commit == nil:
					return fmt.Errorf("node %s is too old to tell its commit, and %s is expected", address, expect)
				case !strings.HasPrefix(strings.ToLower(identity.CommitID), expect):
					return fmt.Errorf("node %s runs the commit %s, and %s is expected", address, identity.CommitID, expect)
				}
				return nil
			})
			answered := slices.DeleteFunc(commits, func(c nodeCommit) bool { return c.Address == "" })
			return errors.Join(outputList(t, "commit", answered), failures(errs))
		},
	}
}
