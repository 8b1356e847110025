package simnet

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"provingground/internal/mina"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/itn/itnserver"
)

// maxMemo is the length of Mina's memo in bytes.
const maxMemo = 32

// Operations that leave something running.
const (
	opSchedulePayments      = "schedulePayments"
	opScheduleZkappCommands = "scheduleZkappCommands"
	opCreateAccounts        = "createAccounts"
)

// opSlotsWon is the operation that the fault vrf strikes.
const opSlotsWon = "slotsWon"

// sender is an account that a schedule sends from, with the nonce that the schedule believes to be the next one.
type sender struct {
	account accountID
	nonce   uint32
}

// schedule is a running load (itn-graphql, sections 4.1 and 4.2). Its ticks lie on a grid of whole milliseconds from its first one.
type schedule struct {
	daemon   *daemon
	handle   string
	senders  []sender
	prefix   string
	interval time.Duration
	end      time.Time
	random   *rand.Rand
	step     func(at time.Time) (next time.Time, alive bool) // what a tick does; not alive when it ended in an exception
	index    int
	stop     bool // asked to stop, heeded at the next tick
	ended    bool // runs no more, but may still be in the daemon's table

	sent, failed, missed int
}

// newSchedule registers a handle: the client's, or a new one.
func (n *Network) newSchedule(d *daemon, handle *string, prefix string, tps float64, durationMin int) *schedule {
	s := &schedule{
		daemon: d, prefix: prefix, interval: tickInterval(tps), end: n.now.Add(minutes(durationMin)),
		random: rand.New(rand.NewPCG(mix(n.opts.Seed, purposeFee, uint64(d.node.index)), mix(uint64(d.scheduled), hashText(d.uuid)))), //nolint:gosec // a simulation's randomness
	}
	if handle != nil {
		s.handle = *handle
	} else {
		s.handle = n.newUUID()
	}
	d.scheduled++
	d.schedules[s.handle] = s
	return s
}

// tickInterval is the distance of two ticks: 1/tps, in whole milliseconds as the daemon reckons. It is 0 for a rate above 1,000, and for
// one that is no rate at all; either kills the schedule at its second tick.
func tickInterval(tps float64) time.Duration {
	milliseconds := 1000 / tps
	if !(milliseconds >= 1) || math.IsInf(milliseconds, 0) { // NaN is not at least 1 either
		return 0
	}
	return time.Duration(min(milliseconds, 1e12)) * time.Millisecond // beyond 30 years all rates are alike
}

// minutes converts without overflow. A century is for ever.
func minutes(m int) time.Duration {
	const century = 100 * 365 * 24 * 60
	return time.Duration(min(max(m, -century), century)) * time.Minute
}

// ticks begins a schedule's ticks, the first one at an instant.
func (n *Network) ticks(s *schedule, first time.Time) {
	n.plan(first, func() { n.tick(s, first) })
}

// tick is one point of a schedule's grid.
func (n *Network) tick(s *schedule, at time.Time) {
	d := s.daemon
	if s.ended || d.node.daemon != d {
		return
	}
	if d.busy.After(n.now) {
		// The node notices the time only when it is free again: points of the grid that have passed by then are skipped.
		n.plan(d.busy, func() { n.skip(s, at) })
		return
	}
	switch {
	case s.stop:
		n.endSchedule(s, EndStopped)
		return
	case !n.now.Before(s.end):
		n.endSchedule(s, EndExpired)
		return
	}
	next, alive := s.step(at)
	if !alive || !next.After(at) { // a grid without width has no next point that is not missed
		n.endSchedule(s, EndDied)
		return
	}
	n.ticks(s, next)
}

// skip goes on at the first point of the grid from now on, the missed one being at.
func (n *Network) skip(s *schedule, at time.Time) {
	if s.ended || s.daemon.node.daemon != s.daemon {
		return
	}
	if s.interval == 0 {
		n.endSchedule(s, EndDied)
		return
	}
	behind := (n.now.Sub(at) + s.interval - 1) / s.interval
	s.missed += int(behind)
	n.ticks(s, at.Add(behind*s.interval))
}

// endSchedule ends a schedule. Its handle is forgotten, unless it died.
func (n *Network) endSchedule(s *schedule, reason EndReason) {
	if reason != EndDied {
		delete(s.daemon.schedules, s.handle)
	}
	if s.ended {
		return
	}
	s.ended = true
	n.record(s.daemon.node, ScheduleEnded{Handle: s.handle, Reason: reason, Sent: s.sent, Failed: s.failed, Missed: s.missed})
}

// submit sends a schedule's next command from the sender whose turn it is. The index rises whatever comes of it, the nonce only on success.
// died reports an exception: the memo does not fit.
func (s *schedule) submit(kind, memo string, fee mina.Nanomina, moves func(from accountID) []move) (sent, died bool) {
	if len(memo) > maxMemo {
		return false, true
	}
	n := s.daemon.node.net
	from := &s.senders[s.index%len(s.senders)]
	s.index++
	if rejected := s.daemon.submit(n.newCommand(s.daemon.node, command{
		kind: kind, sender: from.account, nonce: from.nonce, fee: fee, memo: memo, moves: moves(from.account), schedule: s.handle,
	})); rejected != "" {
		s.failed++
		return false, false
	}
	s.sent++
	from.nonce++
	return true, false
}

// memo is the memo of the schedule's next command.
func (s *schedule) memo() string { return fmt.Sprintf("%s-%d", s.prefix, s.index) }

// newCommand completes a command that is submitted to a node now.
func (n *Network) newCommand(origin *node, c command) *command {
	n.serial++
	c.serial, c.origin, c.submitted = n.serial, origin, n.now
	c.cost = totalCost(c.sender, c.fee, c.moves)
	return &c
}

// between draws an amount from a closed range, whose ends may be in either order.
func between(random *rand.Rand, a, b mina.Nanomina) mina.Nanomina {
	low, high := min(a, b), max(a, b)
	if high-low == ^mina.Nanomina(0) {
		return mina.Nanomina(random.Uint64())
	}
	return low + mina.Nanomina(random.Uint64N(uint64(high-low)+1))
}

// schedulePayments begins a load of payments.
func (n *Network) schedulePayments(d *daemon, details itn.PaymentsDetails, handle *string) (string, error) {
	if handle != nil && d.schedules[*handle] != nil {
		return *handle, nil // it runs already
	}
	if d.node.tip == nil {
		return "", itnserver.NoBestTip
	}
	senders := make([]sender, 0, len(details.Senders))
	var missing []string
	for _, key := range details.Senders {
		id, err := n.accountOf(key)
		if err != nil {
			return "", err
		}
		a := d.node.tip.ledger.get(id)
		if !a.exists {
			missing = append(missing, n.accounts.text(id))
		}
		senders = append(senders, sender{account: id, nonce: a.nonce})
	}
	if len(missing) > 0 {
		return "", itnserver.MissingAccounts(missing)
	}
	receiver, amount := n.accounts.id(details.Receiver), mina.Nanomina(details.Amount)
	s := n.newSchedule(d, handle, details.MemoPrefix, details.TPS, details.DurationMin)
	s.senders = senders
	s.step = func(at time.Time) (time.Time, bool) {
		fee := between(s.random, mina.Nanomina(details.MinFee), mina.Nanomina(details.MaxFee))
		_, died := s.submit("payment", s.memo(), fee, func(from accountID) []move { return []move{{from: from, to: receiver, amount: amount}} })
		return at.Add(s.interval), !died
	}
	n.recordAccepted(s, opSchedulePayments, details.TPS)
	n.ticks(s, n.now)
	return s.handle, nil
}

// recordAccepted journals a schedule that runs from now on.
func (n *Network) recordAccepted(s *schedule, operation string, tps float64) {
	senders := make([]string, 0, len(s.senders))
	for _, from := range s.senders {
		senders = append(senders, n.accounts.text(from.account))
	}
	n.record(s.daemon.node, ScheduleAccepted{
		Handle: s.handle, Operation: operation, ServerUUID: s.daemon.uuid, Senders: senders, MemoPrefix: s.prefix, TPS: tps, End: s.end,
	})
}

// stopScheduled asks a schedule to stop, or forgets the handle of one that died.
func (n *Network) stopScheduled(d *daemon, handle string) error {
	if job := d.jobs[handle]; job != nil {
		job.stop = true
		n.record(d.node, StopRequested{Handle: handle})
		return nil
	}
	s := d.schedules[handle]
	if s == nil {
		return itnserver.UnknownHandle(handle)
	}
	s.stop = true
	n.record(d.node, StopRequested{Handle: handle})
	return nil
}

// accountOf returns the account that a private key belongs to, whether it exists or not.
func (n *Network) accountOf(key itn.PrivateKey) (accountID, error) {
	if id, ok := n.publicKeys[key]; ok {
		return id, nil
	}
	private, err := mina.ParsePrivateKey(key.Base58())
	if err != nil {
		return 0, fmt.Errorf("a private key of the request: %w", err)
	}
	id := n.accounts.id(private.PublicKey().String())
	n.publicKeys[key] = id
	return id, nil
}

// hashText folds a text into a number.
func hashText(text string) uint64 {
	h := uint64(len(text))
	for i := range len(text) {
		h = mix(h, uint64(text[i]))
	}
	return h
}
