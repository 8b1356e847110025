package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"provingground/orchestrator/itn"
	"provingground/orchestrator/record"
)

// Remaining is what may still be running or in force on a node.
type Remaining struct {
	Step   int
	Action string
	Node   string
	Handle string    // of load; "" when nobody knows it
	Ends   time.Time // wall time at which load ends by itself; zero for what does not end by itself
	Why    string
}

// String says what remains, where, and until when.
func (r Remaining) String() string {
	text := fmt.Sprintf("step %d (%s) on %s: %s", r.Step, r.Action, r.Node, r.Why)
	if r.Handle != "" {
		text += ", handle " + r.Handle
	}
	if !r.Ends.IsZero() {
		text += ", ends by itself at " + r.Ends.Format("2006-01-02 15:04:05Z")
	}
	return text
}

func (r *run) remaining(e entry, why string) Remaining {
	left := Remaining{Step: e.step, Action: e.action, Node: e.intent.Node, Handle: e.handle(), Why: why}
	if ends, ok := e.ends(); ok {
		left.Ends = r.world.Clock.ToWall(ends)
	}
	return left
}

// undoing is how it stands with one call after the attempt to undo it.
type undoing struct {
	entry entry
	how   string // "" when it may remain
	why   string // then: why
}

// undo undoes everything that the run may have left behind, the latest step first, on all nodes of a step at once. It returns what was
// undone, in words, and what remains.
func (r *run) undo(ctx context.Context) (undone []string, remains []Remaining) {
	open := r.ledger.remaining()
	slices.Reverse(open)
	for len(open) > 0 {
		step := open[0].step
		n := slices.IndexFunc(open, func(e entry) bool { return e.step != step })
		if n < 0 {
			n = len(open)
		}
		results := r.undoStep(ctx, open[:n])
		done := 0
		for _, u := range results {
			if u.how != "" {
				done++
				continue
			}
			remains = append(remains, r.remaining(u.entry, u.why))
		}
		undone = append(undone, fmt.Sprintf("step %d (%s): undone on %d/%d", step, open[0].action, done, n))
		open = open[n:]
	}
	return undone, remains
}

// undoStep undoes the calls of one step: on one node one after the other, on many nodes at once.
func (r *run) undoStep(ctx context.Context, entries []entry) []undoing {
	var order []string
	byNode := map[string][]entry{}
	for _, e := range entries {
		if byNode[e.intent.Node] == nil {
			order = append(order, e.intent.Node)
		}
		byNode[e.intent.Node] = append(byNode[e.intent.Node], e)
	}
	var mu sync.Mutex
	var results []undoing
	each(ctx, r, order, func(ctx context.Context, _ int, node string) error {
		for _, e := range byNode[node] {
			u := undoing{entry: e}
			u.how, u.why = r.undoCall(ctx, e)
			if u.how != "" {
				r.settleUndone(e, u.how)
			} else {
				r.log.Warn("not undone", zap.String("node", node), zap.Int("step", e.step), zap.String("why", u.why))
			}
			mu.Lock()
			results = append(results, u)
			mu.Unlock()
		}
		return nil
	})
	reached := map[int]bool{}
	for _, u := range results {
		reached[u.entry.intent.Call] = true
	}
	for _, e := range entries { // the deadline came before their turn
		if !reached[e.intent.Call] {
			results = append(results, undoing{entry: e, why: context.Cause(ctx).Error()})
		}
	}
	slices.SortFunc(results, func(a, b undoing) int { return a.entry.intent.Call - b.entry.intent.Call })
	return results
}

// settleUndone records that what a call left behind is gone. A record that cannot be written does not stop a clean-up.
func (r *run) settleUndone(e entry, how string) {
	value, err := json.Marshal(Undone{Call: e.intent.Call, How: how})
	if err == nil {
		line := record.Line{
			Time: r.world.Clock.Wall(), Step: e.step, ID: e.stepID, Action: e.action, Name: lineUndone, Multi: true, Value: value,
		}
		err = errors.Join(r.ledger.take(line), r.write(line))
	}
	if err != nil {
		r.log.Warn("what was undone could not be recorded", zap.String("node", e.intent.Node), zap.Error(err))
	}
}

// undoCall undoes what one call left behind. It returns how that is gone, or else why it may remain. A node that does not answer is
// asked again until ctx ends or the load has ended by itself.
func (r *run) undoCall(ctx context.Context, e entry) (how, why string) {
	const firstPause, longestPause = time.Second, 8 * time.Second // wall time
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		if ends, ok := e.ends(); ok && !r.world.Clock.Now().Before(ends) {
			return "ended by itself", ""
		}
		how, final, err := r.undoOnce(ctx, &e)
		switch {
		case err == nil:
			return how, ""
		case final || ctx.Err() != nil:
			return "", err.Error()
		}
		if r.world.Clock.SleepWall(ctx, pause) != nil {
			return "", err.Error()
		}
	}
}

// errNoHandle says that load runs and nobody knows its handle.
var errNoHandle = errors.New("the node accepted it, but its handle is not known, so it cannot be stopped")

// undoOnce makes one attempt. final says that another one would end the same.
func (r *run) undoOnce(ctx context.Context, e *entry) (how string, final bool, err error) {
	client := r.nodes.at(e.intent.Node).client
	if e.settled == nil || e.settled.Result == resultUnknown {
		s := decide(ctx, r, *e)
		if s.Result == resultUnknown {
			return "", false, fmt.Errorf("the node does not answer: %s", s.Message)
		}
		e.settled = &s
		if !e.mayRemain() {
			return string(s.Result), true, nil
		}
	}
	switch e.intent.Kind {
	case kindPayments, kindZkapps:
		handle := e.handle()
		if handle == "" {
			return "", true, errNoHandle
		}
		err = client.StopScheduledTransactions(ctx, handle)
		how = "stopped"
		if errors.Is(err, itn.ErrUnknownHandle) {
			how, err = "had ended", nil
		}
	case kindIsolate:
		how = "isolation cleared"
		err = client.UpdateGating(ctx, itn.GatingUpdate{AddedPeers: r.peersFor(ctx, e.intent.Node)}, nil)
	case kindLimit:
		how = "limit cleared"
		_, err = client.SetZkAppCommandLimit(ctx, nil, nil)
	default:
		return "left as it is", true, nil
	}
	var refused *itn.RefusedError
	return how, errors.As(err, &refused), err
}

// peersFor returns the other nodes that answered in this run, to give a node its peers back.
func (r *run) peersFor(ctx context.Context, address string) []itn.NetworkPeer {
	var peers []itn.NetworkPeer
	for _, other := range r.nodes.answered() {
		if other == address {
			continue
		}
		if peer, err := r.nodes.at(other).peer(ctx); err == nil {
			peers = append(peers, peer)
		}
	}
	return peers
}
