package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strconv"

	"provingground/dsl"
	"provingground/orchestrator/slots"
)

// The actions about won slots (orchestrator-scripts, section 3.9).

func slotsWonAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: "slots-won", Doc: "Asks block producers which slots of the current epoch they have won.",
			Params:  []dsl.Param{nodesParam("the nodes; those that produce no blocks are left out")},
			Outputs: []dsl.Output{{Name: "slotsWon", Kind: dsl.SlotsWon, List: true, Multi: true, Doc: "address and slots of each producer that answered"}},
			Main:    "slotsWon",
		},
		run: func(ctx context.Context, t *task) error {
			group := t.distinct("nodes")
			if err := t.args.err(); err != nil {
				return err
			}
			won := make([]*slots.Won, len(group))
			producers := make([]bool, len(group))
			errs := each(ctx, t.run, group, func(ctx context.Context, i int, address string) error {
				n := t.nodes.at(address)
				identity, err := n.who(ctx)
				producers[i] = err != nil || identity.BlockProducer
				if err != nil || !identity.BlockProducer {
					return err
				}
				numbers, err := n.client.SlotsWon(ctx)
				if err == nil {
					won[i] = &slots.Won{Address: address, Slots: numbers}
				}
				return err //nolint:wrapcheck // names operation and node
			})
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			t.warnEach("does not say which slots it won", group, errs)
			var answers []slots.Won
			var asked []error // of the producers
			for i, w := range won {
				if producers[i] {
					asked = append(asked, errs[i])
				}
				if w != nil {
					answers = append(answers, *w)
				}
			}
			if allFailed(asked) {
				return t.errAllFailed("slots won are known", asked)
			}
			return errors.Join(outputList(t, "slotsWon", answers), t.silence(len(asked), len(asked)-len(answers)))
		},
	}
}

func slotsCoveredCheckAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: "slots-covered-check", Doc: "Fails when too few of the slots from the least to the greatest won one are won by anybody.",
			Params: []dsl.Param{
				{Name: "threshold", Kind: dsl.Ratio, Required: true, Doc: "the least share of the slots"},
				{Name: "slotsWon", Kind: dsl.SlotsWon, List: true, Required: true, Doc: "the slots"},
			},
		},
		check: func(c *checking) {
			if threshold, ok := c.number("threshold"); ok && threshold.Cmp(big.NewRat(1, 1)) > 0 {
				c.report("threshold", "", "threshold is a share, from 0 to 1")
			}
		},
		run: func(_ context.Context, t *task) error {
			threshold, won := t.args.decimal("threshold"), elementsOf[slots.Won](t.args, "slotsWon")
			if err := t.args.err(); err != nil {
				return err
			}
			covered, err := slots.Cover(won)
			if err != nil {
				return err //nolint:wrapcheck // says it all
			}
			share := big.NewRat(int64(covered.Won), int64(covered.Range()))
			text := fmt.Sprintf("%s of the slots are covered (%d of %d, %d..%d)", share.FloatString(3), covered.Won, covered.Range(), covered.First, covered.Last)
			if share.Cmp(threshold) < 0 {
				return fmt.Errorf("%s, and at least %s must be", text, threshold.FloatString(3))
			}
			t.log.Info(text)
			return nil
		},
	}
}

func allocateSlotsAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: "allocate-slots", Doc: "Divides block producers into groups so that each group has won its share of the coming slots.",
			Params: []dsl.Param{
				{Name: "groups", Kind: dsl.Int, List: true, Required: true, Doc: "the weight of each group, 1 or more"},
				{Name: "slotsWon", Kind: dsl.SlotsWon, List: true, Required: true, Doc: "the slots that each node has won"},
				{Name: "minSlots", Kind: dsl.Int, Unit: "slots", Default: "0", Doc: "the window is at least this long, counted from the first empty slot"},
				{Name: "maxSlots", Kind: dsl.Int, Unit: "slots", Required: true, Doc: "the window is at most this long"},
			},
			Outputs: []dsl.Output{
				{Name: "nextEmptySlot", Kind: dsl.Int, Doc: "the first slot after the lowest won one that nobody won"},
				{Name: "lastSlot", Kind: dsl.Int, Doc: "the end of the window"},
			},
			Numbered: numbered("groups", "group", 0, dsl.Output{Kind: dsl.Address, List: true, Doc: "the nodes of the group"}),
		},
		check: func(c *checking) {
			if a, ok := c.step.Arg("groups"); ok && a.Literal() {
				for _, weight := range a.Value.Items {
					if n, ok := dsl.WholeNumber(weight.Text); ok && n.Sign() <= 0 {
						c.report("groups", "", "a weight of %s: each is 1 or more", weight.Text)
					}
				}
				if len(a.Value.Items) == 0 {
					c.report("groups", "", "groups is empty")
				}
			}
			least, ok1 := c.number("minSlots")
			most, ok2 := c.number("maxSlots")
			switch {
			case ok2 && most.Sign() <= 0:
				c.report("maxSlots", "", "maxSlots must be above 0")
			case ok1 && ok2 && least.Cmp(most) > 0:
				c.report("minSlots", "swap them", "minSlots is above maxSlots")
			}
		},
		run: func(_ context.Context, t *task) error {
			weights, won := t.args.integers("groups"), elementsOf[slots.Won](t.args, "slotsWon")
			least, most := t.args.integer("minSlots"), t.args.integer("maxSlots")
			if err := t.args.err(); err != nil {
				return err
			}
			allocation, err := slots.Allocate(won, weights, least, most)
			if err != nil {
				return err //nolint:wrapcheck // says it all
			}
			err = errors.Join(t.output("nextEmptySlot", allocation.NextEmptySlot), t.output("lastSlot", allocation.LastSlot))
			for i, group := range allocation.Groups {
				err = errors.Join(err, t.output("group"+strconv.Itoa(i), group))
			}
			return err
		},
	}
}
