package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"provingground/orchestrator/itn"
	"provingground/orchestrator/record"
)

// Remaining is what may still be running or in force on a node.
type Remaining struct {
	Step   int
	ID     string // the step's name; "" where it has none
	Action string
	Node   string
	Handle string    // of load; "" when nobody knows it
	Ends   time.Time // wall time at which load ends by itself; zero for what does not end by itself
	Why    string

	call int
}

// String says what remains, where, and until when.
func (r Remaining) String() string {
	text := fmt.Sprintf("%s (%s) on %s: %s", stepTitle(r.Step, r.ID), r.Action, r.Node, r.Why)
	if r.Handle != "" {
		text += ", handle " + r.Handle
	}
	if !r.Ends.IsZero() {
		text += ", ends by itself at " + r.Ends.Format("2006-01-02 15:04:05Z")
	}
	return text
}

func (r *run) remaining(e entry, why string) Remaining {
	left := Remaining{Step: e.step, ID: e.stepID, Action: e.action, Node: e.intent.Node, Handle: e.handle(), Why: why, call: e.intent.Call}
	if ends, ok := e.ends(); ok {
		left.Ends = r.world.Clock.ToWall(ends)
	}
	return left
}

// undoing is how it stands with what one call left behind.
type undoing struct {
	entry entry
	how   string // it is gone, and how; "" while it may remain
	why   string // then: why
	final bool   // then: another attempt would end the same
}

// undo undoes everything that the run may have left behind, the latest step first, on all nodes of a step at once. Nodes that do not answer
// are asked again, all of them, until ctx ends: they hold up nobody else. It returns what was undone, in words, and what remains.
func (r *run) undo(ctx context.Context) (undone []string, remains []Remaining) {
	const firstPause, longestPause = time.Second, 8 * time.Second // wall time
	steps := r.leftBehind()
	for pause := firstPause; r.undoAll(ctx, steps); pause = min(2*pause, longestPause) {
		if r.world.Clock.SleepWall(ctx, pause) != nil {
			break
		}
	}
	for _, calls := range steps {
		done := 0
		for _, u := range calls {
			if u.how == "" && !r.over(u) {
				remains = append(remains, r.remaining(u.entry, u.why))
				continue
			}
			done++
		}
		first := calls[0].entry
		undone = append(undone, fmt.Sprintf("%s (%s): undone on %d/%d", stepTitle(first.step, first.stepID), first.action, done, len(calls)))
	}
	return undone, remains
}

// leftBehind returns the calls that may have left something behind, by step, the latest first.
func (r *run) leftBehind() [][]*undoing {
	open := r.ledger.remaining()
	slices.Reverse(open)
	var steps [][]*undoing
	for i, e := range open {
		if i == 0 || open[i-1].step != e.step {
			steps = append(steps, nil)
		}
		last := len(steps) - 1
		steps[last] = append(steps[last], &undoing{entry: e})
	}
	return steps
}

// undoAll makes one attempt at everything that may remain, step by step. A node that did not answer is not asked about earlier steps either.
// It reports whether another round may do better.
func (r *run) undoAll(ctx context.Context, steps [][]*undoing) (again bool) {
	silent := map[string]error{}
	for i, calls := range steps {
		var order []string
		byNode := map[string][]*undoing{}
		for _, u := range calls {
			node := u.entry.intent.Node
			if u.how != "" || u.final {
				continue
			}
			if byNode[node] == nil && silent[node] == nil {
				order = append(order, node)
			}
			byNode[node] = append(byNode[node], u)
		}
		bounded, cancel := r.partOf(ctx, len(steps)-i)
		errs := each(bounded, r, order, func(ctx context.Context, _ int, node string) error {
			for _, u := range byNode[node] {
				if err := r.undoCall(ctx, u); err != nil {
					return err
				}
			}
			return nil
		})
		cancel()
		for j, node := range order {
			silent[node] = errs[j]
		}
		for node, left := range byNode {
			var internal *internalError
			if errors.As(silent[node], &internal) {
				r.log.Error("error inside the program, please report it", zap.Error(internal), zap.ByteString("stack", internal.stack))
			}
			for _, u := range left {
				if u.how != "" || u.final || silent[node] == nil {
					continue
				}
				u.why, u.final = r.world.Mask(silent[node].Error()), internal != nil
				again = again || !u.final
			}
		}
	}
	return again
}

// deadlineKey is the key of a context's value that says when it ends, as [run.bounded] bounds it.
type deadlineKey struct{}

// bounded returns a context that ends, for that cause, after a span of wall time; on a virtual clock, which has no wall, of network time. end
// must be called.
func (r *run) bounded(ctx context.Context, span time.Duration, cause error) (bounded context.Context, end func()) {
	c := r.world.Clock
	bounded, cancel := context.WithCancelCause(context.WithValue(ctx, deadlineKey{}, c.Wall().Add(span)))
	watching, stop := context.WithCancel(ctx)
	group, _ := c.Group(watching, 0)
	group.Go(func() error {
		if c.SleepWall(watching, span) == nil {
			cancel(fmt.Errorf("%w, %s", cause, span.Round(time.Millisecond)))
		}
		return nil
	})
	return bounded, func() {
		stop()
		_ = group.Wait() // it has no error
		cancel(nil)
	}
}

// left returns how much wall time is left of a context, and false where it does not end by the clock.
func (r *run) left(ctx context.Context) (time.Duration, bool) {
	deadline, ends := ctx.Value(deadlineKey{}).(time.Time)
	if own, bounded := ctx.Deadline(); bounded && (!ends || own.Before(deadline)) {
		deadline, ends = own, true
	}
	return deadline.Sub(r.world.Clock.Wall()), ends
}

// partOf bounds an attempt to its part of the time that is left, where that many attempts share it.
func (r *run) partOf(ctx context.Context, parts int) (context.Context, func()) {
	left, ends := r.left(ctx)
	if !ends || parts <= 1 {
		return context.WithCancel(ctx)
	}
	return r.bounded(ctx, left/time.Duration(parts), errors.New("no answer within its part of the clean-up's time"))
}

// keep records something about a call. A record that cannot be written does not stop a clean-up.
func (r *run) keep(e entry, name string, v any) {
	value, err := json.Marshal(v)
	if err == nil {
		line := record.Line{Time: r.world.Clock.Wall(), Step: e.step, ID: e.stepID, Action: e.action, Name: name, Multi: true, Value: value}
		err = errors.Join(r.ledger.take(line), r.write(line))
	}
	if err != nil && !r.record.Kept() {
		r.log.Warn("what was undone could not be recorded", zap.String("node", e.intent.Node), zap.Error(err))
	}
}

// gone records that what a call left behind is gone.
func (r *run) gone(u *undoing, how string) {
	u.how = how
	r.keep(u.entry, lineUndone, Undone{Call: u.entry.intent.Call, How: how})
}

// over reports whether load has ended by itself by now.
func (r *run) over(u *undoing) bool {
	ends, ok := u.entry.ends()
	if !ok || r.world.Clock.Now().Before(ends) {
		return false
	}
	r.gone(u, "ended by itself")
	return true
}

// undoCall makes one attempt to undo what one call left behind. An error says that the node does not answer.
func (r *run) undoCall(ctx context.Context, u *undoing) error {
	if r.over(u) {
		return nil
	}
	how, err := r.undoOnce(ctx, &u.entry)
	if u.entry.goneBy(err) {
		how, err = howWithDaemon, nil
	}
	if err == nil {
		r.gone(u, how)
		return nil
	}
	// What the node refused it refuses again, and that no handle is known does not change.
	var refused *itn.RefusedError
	var unauthorized *itn.UnauthorizedError
	u.final = errors.Is(err, errNoHandle) || errors.As(err, &refused) || errors.As(err, &unauthorized)
	r.log.Warn("not undone", zap.String("node", u.entry.intent.Node), zap.Int("step", u.entry.step), zap.Error(err))
	if u.final {
		u.why = r.world.Mask(err.Error())
		return nil
	}
	return err
}

// What a clean-up, or stop, did to what a call left behind.
const (
	howStopped   = "stopped"
	howConnected = "isolation cleared"
	howUnlimited = "limit cleared"
	howGiven     = "workers as before"

	howWithDaemon = "gone with the daemon"
)

// errNoHandle says that load runs and nobody knows its handle.
var errNoHandle = errors.New("the node accepted it, but its handle is not known, so it cannot be stopped")

// undoOnce undoes what a call left behind, after finding out whether it did where that is not known. It returns how that is gone.
func (r *run) undoOnce(ctx context.Context, e *entry) (how string, err error) {
	if e.intent.Kind == kindSnarkPool { // whose workers say themselves how they are
		return howGiven, r.givePool(ctx, e.intent)
	}
	client := r.nodes.at(e.intent.Node).client
	if e.settled == nil || e.settled.Result == resultUnknown {
		s := decide(ctx, r, *e)
		if s.Message = r.world.Mask(s.Message); s.Result == resultUnknown {
			return "", fmt.Errorf("the node does not say whether it did it: %s", s.Message)
		}
		if e.settled != nil {
			s.Payers = e.settled.Payers
		}
		e.settled = &s
		r.keep(*e, lineSettled, s)
		if !e.mayRemain() {
			return string(s.Result), nil
		}
	}
	switch e.intent.Kind {
	case kindPayments, kindZkapps:
		handle := e.handle()
		if handle == "" {
			return "", errNoHandle
		}
		if err = client.StopScheduledTransactions(ctx, handle); errors.Is(err, itn.ErrUnknownHandle) {
			return "had ended", nil
		}
		return howStopped, err //nolint:wrapcheck // names operation and node
	case kindIsolate:
		if err = client.UpdateGating(ctx, itn.GatingUpdate{}, nil); err == nil {
			r.givePeers(ctx, client)
		}
		return howConnected, err //nolint:wrapcheck // names operation and node
	case kindLimit:
		_, err = client.SetZkAppCommandLimit(ctx, nil, nil)
		return howUnlimited, err //nolint:wrapcheck // names operation and node
	default:
		return "left as it is", nil
	}
}

// givePeers tells a node that is isolated no longer of the other nodes that the run knows. It finds its way without them too, so a failure
// (one of them is down, say) is only logged.
func (r *run) givePeers(ctx context.Context, client *itn.Client) {
	if r.meeting != nil {
		r.meeting.Do(func() { r.meet(ctx) })
	}
	var peers []itn.NetworkPeer
	for _, other := range r.nodes.answered() {
		if other == client.Address() {
			continue
		}
		if peer, err := r.nodes.at(other).peer(ctx); err == nil {
			peers = append(peers, peer)
		}
	}
	if len(peers) == 0 {
		return
	}
	if err := client.UpdateGating(ctx, itn.GatingUpdate{AddedPeers: peers}, nil); err != nil {
		r.log.Warn("not given all its peers back", zap.String("node", client.Address()), zap.Error(err))
	}
}

// meet asks the nodes that are online who they are. Who does not answer is missed as a peer, and nothing worse.
func (r *run) meet(ctx context.Context) {
	addresses, _, err := r.nodes.online(ctx)
	if err == nil {
		err = failures(each(ctx, r, addresses, func(ctx context.Context, _ int, address string) error {
			_, err := r.nodes.at(address).who(ctx)
			return err
		}))
	}
	if err != nil {
		r.log.Warn("not all nodes can be given back as peers", zap.Error(err))
	}
}
