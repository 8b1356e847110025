package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"provingground/dsl"
	"provingground/orchestrator/evidence"
)

// The action gather-logs, which the existing tool has not.

const (
	// gatherTime bounds how long gather-logs waits, in wall time, for what the nodes logged and nobody has read yet: in on failure it shares
	// the clean-up's time with the statements behind it.
	gatherTime = 30 * time.Second

	gatherMinutes = 15 // where the script does not say
)

// needsEvidence is what a script needs that asks for the nodes' own logs.
const needsEvidence = `set "dbUri" to the database that the log fetcher writes`

func gatherLogsAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: "gather-logs", Doc: "Saves what the database has of some nodes' logs, raw lines and traces, beside the record: a folder for each node.",
			Params: []dsl.Param{
				nodesParam("the nodes"),
				{Name: "lastMin", Kind: dsl.Int, Script: "last", Unit: "minutes", Default: fmt.Sprint(gatherMinutes), Doc: "how much of the time before now"},
			},
			Outputs: []dsl.Output{{Name: "gathered", Kind: dsl.Any, List: true, Multi: true, Doc: "what was saved of each node, and what is missing"}},
			Main:    "gathered",
		},
		check: func(c *checking) {
			if c.noEvidence {
				c.report("", needsEvidence, "gather-logs needs dbUri in the configuration")
			}
			if minutes, ok := c.number("lastMin"); ok && c.given("lastMin") && minutes.Sign() <= 0 {
				c.report("lastMin", "write 15m", "lastMin must be above 0")
			}
		},
		forecast: func(f *forecasting) forecast {
			minutes := gatherMinutes
			if f.given("lastMin") {
				minutes = f.integer("lastMin")
			}
			if minutes == 0 {
				return forecast{does: "logs of a time that depends on an output"}
			}
			return forecast{does: fmt.Sprintf("logs of the last %s", time.Duration(minutes)*time.Minute)}
		},
		run: func(ctx context.Context, t *task) error {
			err := t.gather(ctx)
			if err == nil || !t.at.ending || ctx.Err() != nil || errors.Is(err, errRecord) {
				return err
			}
			t.log.Warn("no logs were gathered", zap.Error(err)) // what the run failed with is what counts
			return nil
		},
	}
}

// gather saves the logs, and says node by node what came of it.
func (t *task) gather(ctx context.Context) error {
	nodes, minutes := t.distinct("nodes"), gatherMinutes
	if !t.args.null("lastMin") {
		minutes = t.args.integer("lastMin")
	}
	if err := t.args.err(); err != nil {
		return err
	}
	switch {
	case t.world.Evidence == nil:
		return errors.New("it needs dbUri in the configuration: " + needsEvidence)
	case len(nodes) == 0:
		return errors.New("there is no node whose logs it could gather")
	case minutes <= 0 || minutes > maxDurationMin:
		return fmt.Errorf("lastMin must be from 1 to %d", maxDurationMin)
	}
	dir, err := t.logsFolder()
	if err != nil {
		return err
	}
	now, patience := t.world.Clock.Now(), gatherTime
	if left, ends := t.left(ctx); ends {
		patience = min(patience, left)
	}
	bounded, end := t.bounded(ctx, gatherTime, errors.New("the time for gathering logs is over"))
	defer end()
	gathered, err := t.world.Evidence.Gather(bounded, evidence.Gathering{
		Nodes: nodes, From: now.Add(-time.Duration(minutes) * time.Minute), To: now, Clock: t.world.Clock, Patience: patience * 2 / 3, Dir: dir,
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	some := false
	for i, g := range gathered {
		some = some || g.Entries+g.Traces > 0
		if gathered[i].Missing = t.world.Mask(g.Missing); g.Missing != "" {
			t.log.Warn("not all of the node's logs is there", zap.String("node", g.Node), zap.String("why", gathered[i].Missing))
		}
	}
	if len(gathered) > 0 {
		err = errors.Join(outputList(t, "gathered", gathered), err)
	}
	switch {
	case err != nil:
		return fmt.Errorf("gather the logs of %d nodes: %w", len(nodes), err)
	case !some:
		return fmt.Errorf("there is nothing of the logs of %d nodes: %s", len(nodes), nothingBecause(gathered))
	}
	t.log.Info("the nodes' logs are gathered", zap.String("folder", dir), zap.Int("nodes", len(gathered)))
	return nil
}

// nothingBecause says why there is nothing, as far as the first node says.
func nothingBecause(gathered []evidence.Gathered) string {
	for _, g := range gathered {
		if g.Missing != "" {
			return g.Node + ": " + g.Missing
		}
	}
	return "the fetcher reads other nodes, or has read none of them in that time"
}

// logsFolder is a folder that does not exist yet for what the step saves: beside the record, named after both.
func (t *task) logsFolder() (string, error) {
	record := t.options.RecordPath
	if record == "" {
		record = "run.record"
	}
	name := strings.NewReplacer("[", "-", "]", "", "/", "-").Replace(t.step.ID)
	if name == "" {
		name = fmt.Sprintf("step-%d", t.step.Number)
	}
	base := filepath.Join(strings.TrimSuffix(record, filepath.Ext(record))+".logs", name)
	const most = 1000 // attempts of one step
	for i := 1; i <= most; i++ {
		dir := base
		if i > 1 {
			dir = fmt.Sprintf("%s-%d", base, i)
		}
		exists, err := t.world.Files.Exists(dir)
		if err != nil {
			return "", fmt.Errorf("look for a folder to save logs in: %w", err)
		}
		if !exists {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%s and %d more folders are there already: move them away", base, most-1)
}
