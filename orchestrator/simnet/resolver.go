package simnet

import (
	"context"
	"fmt"
	"time"

	"provingground/orchestrator/itn"
	"provingground/orchestrator/itn/itnserver"
)

// commitID is the build that the newer nodes claim to run.
const commitID = "5100c0de5100c0de5100c0de5100c0de5100c0de"

// resolver answers the operations of one daemon. A request that was begun before the daemon's end and comes here after it is cut off.
type resolver struct{ d *daemon }

// run lets happen what is due, and then f, unless the daemon has ended.
func (r resolver) run(f func(*Network) error) error {
	var err error
	n := r.d.node.net
	n.do(func() {
		if r.d.node.daemon != r.d {
			err = itnserver.ErrRaise
			return
		}
		err = f(n)
	})
	return err
}

// Auth implements itnserver.Resolver.
func (r resolver) Auth(context.Context) itnserver.Auth {
	node := r.d.node
	return itnserver.Auth{Libp2pPort: libp2pPort, PeerID: node.peerID, BlockProducer: node.staked > 0, CommitID: commitID}
}

// SlotsWon implements itnserver.Resolver.
func (r resolver) SlotsWon(ctx context.Context) (won []int, err error) {
	err = r.run(func(n *Network) error {
		if r.d.node.staked == 0 {
			return itnserver.NotBlockProducer
		}
		if suffered(ctx).Kind == FaultVRF {
			return itnserver.VRFNotCompleted
		}
		first := n.slotOf(n.now) / epochSlots * epochSlots
		for slot := first; slot < first+epochSlots; slot++ {
			if _, wins := n.wins(r.d.node, slot); wins {
				won = append(won, slot)
			}
		}
		return nil
	})
	return won, err
}

// InternalLogs implements itnserver.Resolver.
func (r resolver) InternalLogs(_ context.Context, startLogID int) (logs []itn.Log, err error) {
	err = r.run(func(n *Network) error {
		var withheld []int
		logs, withheld = r.d.log.from(n, r.d.node, startLogID)
		read := LogsRead{Start: startLogID, Count: len(logs), Retained: r.d.log.first, Withheld: withheld}
		if len(logs) > 0 {
			read.First, read.Last = logs[0].ID, logs[len(logs)-1].ID
		}
		n.record(r.d.node, read)
		return nil
	})
	return logs, err
}

// FlushInternalLogs implements itnserver.Resolver.
func (r resolver) FlushInternalLogs(_ context.Context, endLogID int) (deleted int, err error) {
	err = r.run(func(n *Network) error {
		retained := r.d.log.first
		deleted = r.d.log.flush(endLogID)
		n.record(r.d.node, LogsFlushed{End: endLogID, Deleted: deleted, Retained: retained})
		return nil
	})
	return deleted, err
}

// SchedulePayments implements itnserver.Resolver.
func (r resolver) SchedulePayments(ctx context.Context, details itn.PaymentsDetails, handle *string) (running string, err error) {
	err = r.run(func(n *Network) error {
		if err := refuseSchedule(ctx, details.Senders); err != nil {
			return err
		}
		running, err = n.schedulePayments(r.d, details, handle)
		return err
	})
	return running, err
}

// ScheduleZkappCommands implements itnserver.Resolver.
func (r resolver) ScheduleZkappCommands(ctx context.Context, details itn.ZkappCommandsDetails, handle *string) (running string, err error) {
	err = r.run(func(n *Network) error {
		if err := refuseSchedule(ctx, details.FeePayers); err != nil {
			return err
		}
		running, err = n.scheduleZkapps(r.d, details, handle)
		return err
	})
	return running, err
}

// StopScheduledTransactions implements itnserver.Resolver.
func (r resolver) StopScheduledTransactions(_ context.Context, handle string) error {
	return r.run(func(n *Network) error { return n.stopScheduled(r.d, handle) })
}

// UpdateGating implements itnserver.Resolver.
func (r resolver) UpdateGating(_ context.Context, update itn.GatingUpdate) error {
	return r.run(func(n *Network) error {
		failed := n.setGating(r.d, update)
		n.recordGating(r.d, update, failed)
		if len(failed) > 0 {
			return itnserver.FailedToAddPeers(failed)
		}
		return nil
	})
}

// StopDaemon implements itnserver.Resolver.
func (r resolver) StopDaemon(_ context.Context, delay time.Duration, clean bool) (configDir string, err error) {
	err = r.run(func(n *Network) error {
		n.arrangeStop(r.d, delay, clean)
		return nil
	})
	return fmt.Sprintf("/home/mina/%s/.mina-config", r.d.node.host), err
}

// ZkAppCommandLimit implements itnserver.Resolver.
func (r resolver) ZkAppCommandLimit(_ context.Context, limit *int) (*int, error) {
	err := r.run(func(n *Network) error {
		r.d.zkappLimit = limit
		n.record(r.d.node, LimitSet{Limit: limit})
		return nil
	})
	return limit, err
}

// ScheduledTransactions implements itnserver.Resolver.
func (r resolver) ScheduledTransactions(context.Context) (handles []string, err error) {
	err = r.run(func(*Network) error {
		handles = append(sortedKeys(r.d.schedules), sortedKeys(r.d.jobs)...)
		return nil
	})
	return handles, err
}

// CreateAccounts implements itnserver.Resolver.
func (r resolver) CreateAccounts(_ context.Context, details itn.CreateAccountsDetails, handle *string) (created itn.CreatedAccounts, err error) {
	err = r.run(func(n *Network) error {
		created, err = n.createAccounts(r.d, details, handle)
		return err
	})
	return created, err
}

// refuseSchedule is the refusal of a scheduling request by the fault that struck it, if one did.
func refuseSchedule(ctx context.Context, keys []itn.PrivateKey) error {
	switch suffered(ctx).Kind {
	case FaultQuoteKey:
		return itnserver.Refusal("Cannot schedule with the key " + keys[0].Base58())
	case FaultRefuseSchedule:
		return itnserver.Refusal("Simulated refusal")
	default:
		return nil
	}
}

// arrangeStop plans the end of a daemon's run. Cleaning is arranged at once, so that it also happens when something else ends the run
// earlier (itn-graphql, section 4.5).
func (n *Network) arrangeStop(d *daemon, delay time.Duration, clean bool) {
	d.clean = d.clean || clean
	at := n.now.Add(delay)
	n.record(d.node, DaemonStopping{At: at, Clean: clean})
	n.plan(at, func() {
		if d.node.daemon == d {
			n.stop(d, StoppedByRequest)
			n.resume(d.node, n.returnAfter(d.clean))
		}
	})
}
