package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.uber.org/zap"

	"provingground/dsl"
	"provingground/orchestrator/itn"
)

// The actions that stop load: stop and stop-all-scheduled (orchestrator-scripts, sections 3.4 and 3.14).

func stopAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: "stop", Doc: "Stops scheduled load. Load that has ended already is stopped.",
			Params: []dsl.Param{{Name: "receipts", Kind: dsl.Receipt, List: true, Required: true, Doc: "what to stop"}},
		},
		run: func(ctx context.Context, t *task) error {
			receipts := elementsOf[Receipt](t.args, "receipts")
			if err := t.args.err(); err != nil {
				return err
			}
			_, err := t.stopReceipts(ctx, receipts)
			return err
		},
	}
}

func stopAllScheduledAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: "stop-all-scheduled",
			Doc:    "Stops the load that this run has scheduled and, on the nodes it is given, everything that they list, other people's load included.",
			Params: []dsl.Param{{Name: "nodes", Kind: dsl.Address, List: true, Default: "none: only this run's load", Doc: "nodes whose whole load is stopped"}},
			Outputs: []dsl.Output{
				{Name: "receipt", Kind: dsl.Receipt, List: true, Multi: true, Doc: "what was stopped"},
			},
			Main: "receipt",
		},
		run: func(ctx context.Context, t *task) error {
			group := t.distinct("nodes")
			if err := t.args.err(); err != nil {
				return err
			}
			listed := make([][]string, len(group))
			errs := each(ctx, t.run, group, func(ctx context.Context, i int, address string) (err error) {
				listed[i], err = t.nodes.at(address).client.ScheduledTransactions(ctx)
				if errors.Is(err, itn.ErrNotSupported) {
					t.log.Warn("an older daemon does not list its load; only this run's load on it is stopped", zap.String("node", address))
					return nil
				}
				return err
			})
			ownOnly := t.args.null("nodes")
			on := map[string]bool{}
			seen := map[Receipt]bool{}
			var receipts []Receipt
			add := func(r Receipt) {
				if !seen[r] {
					seen[r] = true
					receipts = append(receipts, r)
				}
			}
			for i, address := range group {
				on[address] = true
				for _, handle := range listed[i] {
					add(Receipt{address, handle})
				}
			}
			var noHandle []error
			for _, e := range t.ledger.remainingOf(func(e entry) bool {
				return e.intent.Kind.load() && (ownOnly || on[e.intent.Node])
			}) {
				if e.handle() == "" {
					noHandle = append(noHandle, fmt.Errorf("%s: %w", t.remaining(e, "load that this run scheduled"), errNoHandle))
					continue
				}
				add(Receipt{e.intent.Node, e.handle()})
			}
			stopped, err := t.stopReceipts(ctx, receipts)
			return errors.Join(outputList(t, "receipt", stopped), failures(errs), err, failures(noHandle))
		},
	}
}

// stopReceipts stops load on many nodes at once, and returns what runs no longer. All are tried.
func (t *task) stopReceipts(ctx context.Context, receipts []Receipt) ([]Receipt, error) {
	var order []string
	byNode := map[string][]Receipt{}
	for _, r := range receipts {
		if byNode[r.Address] == nil {
			order = append(order, r.Address)
		}
		byNode[r.Address] = append(byNode[r.Address], r)
	}
	var mu sync.Mutex
	gone := map[Receipt]bool{}
	errs := each(ctx, t.run, order, func(ctx context.Context, _ int, address string) error {
		var err error
		for _, r := range byNode[address] {
			if failed := t.stopReceipt(ctx, r); failed != nil {
				err = errors.Join(err, failed)
				continue
			}
			mu.Lock()
			gone[r] = true
			mu.Unlock()
		}
		return err
	})
	var stopped []Receipt
	for _, r := range receipts {
		if gone[r] {
			stopped = append(stopped, r)
		}
	}
	return stopped, failures(errs)
}

// stopReceipt stops one schedule, if it may still run, and closes it in the ledger.
func (t *task) stopReceipt(ctx context.Context, r Receipt) error {
	mine := func(e entry) bool {
		return e.intent.Kind.load() && e.intent.Node == r.Address && e.handle() == r.Handle
	}
	calls := t.ledger.matching(mine)
	over := func(e entry) bool { // stopped before, gone with its daemon, or ended by itself
		ends, ok := e.ends()
		return !e.mayRemain() || ok && !t.world.Clock.Now().Before(ends)
	}
	if len(calls) > 0 && !slices.ContainsFunc(calls, func(e entry) bool { return !over(e) }) {
		return t.close("had ended", mine)
	}
	err := t.nodes.at(r.Address).client.StopScheduledTransactions(ctx, r.Handle)
	how := "stopped by the script"
	if errors.Is(err, itn.ErrUnknownHandle) {
		how, err = "had ended", nil
		t.log.Info("load had ended already", zap.String("node", r.Address), zap.String("handle", r.Handle))
	}
	if slices.ContainsFunc(calls, func(e entry) bool { return e.goneBy(err) }) {
		how, err = howWithDaemon, nil
	}
	if err != nil {
		return fmt.Errorf("stop %s: %w", r.Handle, err)
	}
	return t.close(how, mine)
}
