package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"provingground/dsl"
	"provingground/internal/mina"
	"provingground/orchestrator/itn"
)

// This file is what payments and zkapp-txs have in common: placing load on nodes.

// Receipt is the output of scheduled load: the node that carries it and the handle that stops it.
type Receipt struct {
	Address string `json:"address"`
	Handle  string `json:"handle"`
}

// maxMemo is the size of Mina's memo in bytes; the daemon checks the prefix only (itn-graphql, section 4.1).
const maxMemo = 32

// maxNodeTPS is the most that one node is asked for: below an interval of 1 ms the daemon's scheduler dies (itn-graphql, section 4.1).
const maxNodeTPS = 1000

// maxDurationMin bounds durationMin, in minutes: a century is beyond any experiment, and what a time.Duration holds is not much longer.
const maxDurationMin = 100 * 365 * 24 * 60

// minaSlot is the length of a slot on Mina's networks.
const minaSlot = 3 * time.Minute

// loadParams are the parameters that payments and zkapp-txs share.
func loadParams() []dsl.Param {
	return []dsl.Param{
		{Name: "experimentName", Kind: dsl.Word, Absent: dsl.ExperimentName, Doc: "begins the memos: <experimentName>-<batch>-<index>"},
		{Name: "tps", Kind: dsl.Rate, Required: true, Unit: "transactions per second", Doc: "the rate over all nodes together"},
		{Name: "minTps", Kind: dsl.Rate, Absent: "0.01", Unit: "transactions per second", Default: "0", Doc: "the least rate given to a node; bounds the number of nodes"},
		{Name: "durationMin", Kind: dsl.Int, Script: "duration", Required: true, Unit: "minutes", Doc: "how long the load lasts"},
		{Name: "minFee", Kind: dsl.Nanomina, Script: "fee", End: dsl.LowerEnd, Unit: "nanomina", Default: "0", Doc: "least fee of a transaction"},
		{Name: "maxFee", Kind: dsl.Nanomina, Script: "fee", End: dsl.UpperEnd, Unit: "nanomina", Default: "0", Doc: "greatest fee of a transaction"},
		{Name: "feePayers", Kind: dsl.PrivateKey, List: true, Required: true, Doc: "the keys that pay, divided over the nodes"},
		{Name: "nodes", Kind: dsl.Address, List: true, Required: true, Doc: "the nodes that may carry the load"},
		{Name: "minPlaced", Kind: dsl.Ratio, Default: "0.95", Doc: "the share of the rate that must be placed, or the step fails"},
	}
}

// loadOutputs are the outputs that payments and zkapp-txs share.
func loadOutputs() []dsl.Output {
	return []dsl.Output{
		{Name: "receipt", Kind: dsl.Receipt, List: true, Multi: true, Doc: "node and handle of each batch of the load"},
		{Name: "participant", Kind: dsl.Address, List: true, Multi: true, Doc: "the nodes that carry the load"},
	}
}

// load is a step's load.
type load struct {
	kind        Kind
	experiment  string
	rate        *big.Rat
	minRate     *big.Rat
	durationMin int
	minFee      mina.Nanomina
	maxFee      mina.Nanomina
	keys        []mina.PrivateKey
	nodes       []string
	minPlaced   *big.Rat
}

func (l load) duration() time.Duration { return time.Duration(l.durationMin) * time.Minute }

// readLoad reads and checks the shared parameters at run time, when all of them are known.
func (t *task) readLoad(kind Kind) (load, error) {
	a := t.args
	l := load{
		kind: kind, experiment: a.text("experimentName"), rate: a.decimal("tps"), minRate: a.decimal("minTps"),
		durationMin: a.integer("durationMin"), minFee: a.nanomina("minFee"), maxFee: a.nanomina("maxFee"),
		keys: a.keys("feePayers"), nodes: a.texts("nodes"), minPlaced: big.NewRat(95, 100),
	}
	if !a.null("minPlaced") {
		l.minPlaced = a.decimal("minPlaced")
	}
	if err := a.err(); err != nil {
		return load{}, err
	}
	slices.Sort(l.nodes)
	l.nodes = slices.Compact(l.nodes)
	seen := map[mina.PrivateKey]bool{}
	for _, k := range l.keys {
		if seen[k] {
			return load{}, errors.New("the same fee payer is given twice: two schedules with one key spoil each other's nonces")
		}
		seen[k] = true
	}
	switch {
	case len(l.nodes) == 0:
		return load{}, errors.New("there is no node to carry the load")
	case len(l.keys) == 0:
		return load{}, errors.New("there is no fee payer")
	case l.rate.Sign() <= 0:
		return load{}, errors.New("tps must be above 0")
	case l.durationMin <= 0:
		return load{}, errors.New("durationMin must be above 0")
	case l.durationMin > maxDurationMin:
		return load{}, errors.New("durationMin is more than a century")
	case l.minFee > l.maxFee:
		return load{}, errors.New("minFee is above maxFee")
	}
	return l, nil
}

// checkLoad reports what cannot work in the shared parameters.
func checkLoad(c *checking) {
	if minFee, ok := c.number("minFee"); ok {
		if maxFee, ok := c.number("maxFee"); ok && minFee.Cmp(maxFee) > 0 {
			c.report("minFee", "swap them", "minFee %s is above maxFee %s", minFee.RatString(), maxFee.RatString())
		}
	}
	rate, rateKnown := c.number("tps")
	if rateKnown && rate.Sign() <= 0 {
		c.report("tps", "", "tps must be above 0")
	}
	minutes, minutesKnown := c.number("durationMin")
	if minutesKnown && minutes.Sign() <= 0 {
		c.report("durationMin", "", "durationMin must be above 0")
	}
	if minutesKnown && minutes.Cmp(big.NewRat(maxDurationMin, 1)) > 0 {
		c.report("durationMin", "durationMin is in minutes", "durationMin is more than a century")
		return
	}
	minRate, minKnown := c.number("minTps")
	if minKnown && minRate.Cmp(big.NewRat(maxNodeTPS, 1)) > 0 {
		c.report("minTps", "", "minTps asks one node for over %d transactions in a second, and its scheduler dies of that", maxNodeTPS)
	}
	if placed, ok := c.number("minPlaced"); ok && placed.Cmp(big.NewRat(1, 1)) > 0 {
		c.report("minPlaced", "", "minPlaced is a share, from 0 to 1")
	}
	for _, list := range []string{"nodes", "feePayers"} {
		if n, ok := c.length(list); ok && n == 0 && c.given(list) {
			c.report(list, "", "%s is empty: there is nothing to carry the load", list)
		}
	}
	name, nameKnown := c.text("experimentName")
	c.loads[name] = true // "" when it is not known
	if !rateKnown || !minutesKnown || !minKnown || !nameKnown || rate.Sign() <= 0 || minutes.Sign() <= 0 {
		return
	}
	n := c.nodesOf(rate, minRate)
	if each := new(big.Rat).Quo(rate, big.NewRat(int64(n), 1)); each.Cmp(big.NewRat(maxNodeTPS, 1)) > 0 {
		c.report("tps", "use more nodes", "each of %d nodes is asked for over %d transactions in a second, and its scheduler dies of that", n, maxNodeTPS)
	}
	c.batches[name] += n
	longest := fmt.Sprintf("%s-%d-%d", name, c.batches[name]-1, transactions(new(big.Rat).Quo(rate, big.NewRat(int64(n), 1)), minutes))
	if len(longest) > maxMemo {
		c.report("experimentName", fmt.Sprintf("shorten the name by %d bytes", len(longest)-maxMemo),
			"a memo such as %q has %d bytes, and Mina's has room for %d", longest, len(longest), maxMemo)
	}
}

// nodesOf estimates over how many nodes a load will be spread.
func (c *checking) nodesOf(rate, minRate *big.Rat) int {
	nodes, known := c.size("nodes")
	if !known || nodes == 0 {
		nodes = c.nodes
	}
	keys, known := c.size("feePayers")
	if !known || keys == 0 {
		keys = nodes
	}
	return max(1, nodesFor(rate, minRate, nodes, keys))
}

// transactions returns how many transactions a rate gives in so many minutes, rounded up.
func transactions(rate, minutes *big.Rat) uint64 {
	count := new(big.Rat).Mul(rate, minutes)
	count.Mul(count, big.NewRat(60, 1))
	whole, rest := new(big.Int).QuoRem(count.Num(), count.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		whole.Add(whole, big.NewInt(1))
	}
	if !whole.IsUint64() {
		return 1<<64 - 1
	}
	return whole.Uint64()
}

// offer is one batch as it is put to a node.
type offer struct {
	node   *node
	keys   []itn.PrivateKey
	rate   *big.Rat
	memo   string
	handle string // "" where the daemon chooses it
	until  time.Time
}

// tps is the rate as the request has it.
func (o offer) tps() float64 {
	f, _ := o.rate.Float64()
	return f
}

// place divides the load over the nodes and schedules it. It gives out the receipts and participants of what was placed also when it
// fails.
func (t *task) place(ctx context.Context, l load, send func(context.Context, offer, itn.Before) (string, error)) error {
	var err error
	if l.keys, err = t.free(l.keys); err != nil {
		return err
	}
	n := nodesFor(l.rate, l.minRate, len(l.nodes), len(l.keys))
	if each := new(big.Rat).Quo(l.rate, big.NewRat(int64(n), 1)); each.Cmp(big.NewRat(maxNodeTPS, 1)) > 0 {
		return fmt.Errorf("each of %d nodes is asked for over %d transactions in a second, and its scheduler dies of that: use more nodes and fee payers",
			n, maxNodeTPS)
	}
	if len(l.nodes) > n { // chance decides which nodes carry the load, and in which order the others stand in
		t.chance("nodes").Shuffle(len(l.nodes), func(i, j int) { l.nodes[i], l.nodes[j] = l.nodes[j], l.nodes[i] })
	}
	a := newAllotment(divide(l.rate, len(l.keys), n), l.nodes)
	var settled []Settled // of the attempts, in order
	var attempts []attempt
	keep := func(at attempt, s Settled) {
		attempts, settled = append(attempts, at), append(settled, s)
	}
	before := slices.DeleteFunc(t.ledger.ofStep(t.step.Number), func(e entry) bool { // of an interrupted run
		return e.intent.Share == nil || *e.intent.Share >= len(a.shares) || e.undone != nil // stopped since, or gone: it is placed anew
	})
	decided := make([]Settled, len(before))
	errs := each(ctx, t.run, before, func(ctx context.Context, i int, e entry) (err error) {
		decided[i], err = t.decide(ctx, e)
		return err
	})
	for i, e := range before {
		s, err := decided[i], errs[i]
		if err == nil && s.unstoppable(e.intent) && s.Payers == nil && e.intent.Keys != nil {
			s.Payers = l.payers(e.intent.Keys[0], e.intent.Keys[1])
			err = t.settle(s)
		}
		if err != nil {
			return err
		}
		at := attempt{share: *e.intent.Share, node: e.intent.Node}
		if verdictOf(s) == refused && (e.settled == nil && s.Result != resultRefused || t.again()) {
			continue // it was cut off before it came to that node, which has not refused anything; or the whole step is tried anew
		}
		a.replay(at, verdictOf(s))
		keep(at, s)
	}
	var failed error
	for failed == nil {
		wave := a.wave()
		if len(wave) == 0 {
			break
		}
		batches := make([]int, len(wave))
		for i := range wave {
			batches[i] = t.ledger.newBatch(t.world.Mask(l.experiment))
		}
		results := make([]Settled, len(wave))
		errs := each(ctx, t.run, wave, func(ctx context.Context, i int, at attempt) error {
			var err error
			results[i], err = t.offerShare(ctx, l, a.shares[at.share], at, batches[i], send)
			return err
		})
		for i, at := range wave {
			if results[i].Result == "" { // not even begun
				results[i] = Settled{Result: resultNotSent}
			}
			a.settle(at, verdictOf(results[i]))
			keep(at, results[i])
			failed = errors.Join(failed, t.hopeless(ctx, at, errs[i]))
		}
	}
	return errors.Join(t.giveOut(attempts, settled), t.judge(l, a, attempts, settled, failed))
}

// offerShare puts one share to one node.
func (t *task) offerShare(ctx context.Context, l load, s share, at attempt, batch int, send func(context.Context, offer, itn.Before) (string, error)) (Settled, error) {
	n := t.nodes.at(at.node)
	identity, err := n.who(ctx)
	if err != nil {
		return Settled{Result: resultNotSent}, err
	}
	o := offer{node: n, rate: s.rate, memo: l.experiment + "-" + strconv.Itoa(batch)}
	if longest := fmt.Sprintf("%s-%d", o.memo, transactions(s.rate, big.NewRat(int64(l.durationMin), 1))); len(longest) > maxMemo {
		return Settled{Result: resultNotSent}, &hopelessError{fmt.Errorf("a memo such as %q has %d bytes, and Mina's has room for %d: shorten experimentName",
			longest, len(longest), maxMemo)}
	}
	for _, k := range l.keys[s.from:s.to] {
		o.keys = append(o.keys, itn.NewPrivateKey(k.Base58()))
	}
	if identity.Newer {
		o.handle = t.world.NewHandle()
	}
	lasts := l.lasts(s.rate, t.config.SlotDuration)
	clock := t.world.Clock
	o.until = clock.ToWall(clock.Now().Add(l.duration()))
	var ends time.Time
	intent := Intent{
		Call: t.ledger.newCall(), Kind: l.kind, Node: at.node, Handle: o.handle, Experiment: l.experiment, Batch: &batch, Share: &at.share,
		Keys: &[2]int{s.from, s.to}, TPS: exactText(s.rate), Ends: &ends, Minutes: l.durationMin,
	}
	// An answer that is under way when the run is told to end may hold the only handle there is.
	sending, cancel := t.graceful(ctx)
	defer cancel()
	return t.send(sending, intent, func(before itn.Before) (string, error) {
		return send(sending, o, func(a itn.Attempt) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			ends = clock.FromWall(clock.Wall().Add(t.config.RequestTimeout)).Add(lasts) // it begins when the request arrives
			return before(a)
		})
	}, func(result *Settled) {
		switch now := clock.Now().Add(lasts); result.Result {
		case resultDone, resultAccepted:
			ends = now
			result.Ends = &ends
		case resultUnknown:
			ends = latest(ends, now)
			result.Ends = &ends
		default: // it does not run
		}
		if result.unstoppable(intent) {
			result.Payers = l.payers(s.from, s.to)
		}
	})
}

// unstoppable reports whether load may run, and nobody knows whether or how to stop it.
func (s Settled) unstoppable(intent Intent) bool {
	return s.Result == resultUnknown || s.Result == resultAccepted && s.Handle == "" && intent.Handle == ""
}

// payers returns the public keys of some of the fee payers.
func (l load) payers(from, to int) []string {
	var payers []string
	for _, k := range l.keys[from:to] {
		payers = append(payers, k.PublicKey().String())
	}
	return payers
}

// free leaves out the fee payers that load of an earlier step may still use though nobody can stop it: two schedules with one key spoil each
// other's nonces. A step that an interrupted run began leaves out what it left out then, so that its shares are the same.
func (t *task) free(keys []mina.PrivateKey) ([]mina.PrivateKey, error) {
	var held []string
	var last time.Time
	begun := len(t.ledger.ofStep(t.step.Number)) > 0
	if begun {
		held = t.heldBack()
	} else {
		for _, e := range t.ledger.remaining() {
			if ends, ok := e.ends(); ok && e.settled != nil && e.settled.Payers != nil && t.world.Clock.Now().Before(ends) {
				held = append(held, e.settled.Payers...)
				last = latest(last, ends)
			}
		}
	}
	if len(held) == 0 {
		return keys, nil
	}
	var free []mina.PrivateKey
	var out []string
	for _, k := range keys {
		if payer := k.PublicKey().String(); slices.Contains(held, payer) {
			out = append(out, payer)
		} else {
			free = append(free, k)
		}
	}
	switch {
	case len(out) == 0:
		return keys, nil
	case len(free) == 0:
		return nil, fmt.Errorf("load that nobody can stop may use all the fee payers, until %s: wait until then, or use others",
			t.world.Clock.ToWall(last).Format(time.RFC3339))
	}
	t.log.Warn("fee payers are left out: load that nobody can stop may still use them", zap.Int("keys", len(out)), zap.Int("left", len(free)))
	if begun {
		return free, nil
	}
	t.holdBack(out)
	return free, t.note(lineHeld, out)
}

// heldBack returns the fee payers that the step left out when it began.
func (t *task) heldBack() []string {
	t.loads.mu.Lock()
	defer t.loads.mu.Unlock()
	if held, ok := t.loads.held[t.step.Number]; ok {
		return held
	}
	return t.recorded.held[t.step.Number]
}

func (t *task) holdBack(payers []string) {
	t.loads.mu.Lock()
	defer t.loads.mu.Unlock()
	t.loads.held[t.step.Number] = payers
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// lasts is the longest that load of this rate runs on a node once it has begun. Its scheduler ends at its first tick at or after the end;
// one of zkApp commands looks only every block window, until its deployments are visible (itn-graphql, section 4.2).
func (l load) lasts(rate *big.Rat, slot time.Duration) time.Duration {
	interval, _ := new(big.Rat).Quo(big.NewRat(int64(time.Second), 1), rate).Float64()
	tick := time.Duration(min(interval, float64(l.duration())))
	if l.kind == kindZkapps {
		tick = max(tick, slot, minaSlot)
	}
	return l.duration() + tick
}

// verdictOf says what a result means for a share.
func verdictOf(s Settled) verdict {
	switch s.Result {
	case resultDone, resultAccepted:
		return carried
	case resultUnknown:
		return unknown
	default:
		return refused
	}
}

// hopelessError is a failure that would be the same on every node.
type hopelessError struct{ err error }

func (e *hopelessError) Error() string { return e.err.Error() }
func (e *hopelessError) Unwrap() error { return e.err }

// hopeless returns the error if it ends the step at once: a refusal that every node would repeat, a record that cannot be written, the
// end of the run. Other failures are logged: the share goes to another node.
func (t *task) hopeless(ctx context.Context, at attempt, err error) error {
	var refusal *itn.RefusedError
	var always *hopelessError
	var internal *internalError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil, errors.Is(err, errRecord), errors.As(err, &always), errors.As(err, &internal), errors.As(err, &refusal) && refusal.Everywhere():
		return err
	}
	t.log.Warn("the node does not carry its share", zap.String("node", at.node), zap.Error(err))
	return nil
}

// giveOut gives out the receipts and participants.
func (t *task) giveOut(attempts []attempt, settled []Settled) error {
	var receipts []Receipt
	var participants []string
	for i, s := range settled {
		if verdictOf(s) != carried {
			continue
		}
		if s.Handle != "" {
			receipts = append(receipts, Receipt{attempts[i].node, s.Handle})
		}
		participants = append(participants, attempts[i].node)
	}
	return errors.Join(outputList(t, "receipt", receipts), outputList(t, "participant", participants))
}

// judge compares the placed rate with the asked one.
func (t *task) judge(l load, a *allotment, attempts []attempt, settled []Settled, failed error) error {
	rate := a.rate(a.placed)
	report := placed{Asked: exactText(l.rate), Placed: exactText(rate), Nodes: len(a.carries)}
	if len(a.lost) > 0 {
		report.Unknown = exactText(a.rate(a.lost))
	}
	if len(a.open) > 0 {
		report.Unplaced = exactText(a.rate(a.open))
	}
	t.loads.add(t.step.Number, report)
	if err := t.note(linePlaced, report); err != nil {
		return errors.Join(failed, err)
	}
	t.log.Info("load placed", zap.String("tps", report.Placed), zap.String("of", report.Asked), zap.Int("nodes", report.Nodes))
	for i, s := range settled {
		said := []zap.Field{zap.String("node", attempts[i].node), zap.String("why", s.Message)}
		if s.Ends != nil {
			said = append(said, zap.Time("ends", t.world.Clock.ToWall(*s.Ends)))
		}
		switch {
		case s.Result == resultAccepted && s.Handle == "":
			t.log.Warn("load runs without a known handle, it cannot be stopped and ends by itself", said...)
		case s.Result == resultUnknown:
			t.log.Warn("nobody knows whether load runs; its keys are not used again", said...)
		}
	}
	least := new(big.Rat).Mul(l.rate, l.minPlaced)
	switch {
	case failed != nil:
		return failed
	case rate.Sign() == 0:
		return fmt.Errorf("no node carries any of the load of %s tps", report.Asked)
	case rate.Cmp(least) < 0:
		return fmt.Errorf("only %s of %s tps could be placed, and at least %s tps must be (minPlaced)", report.Placed, report.Asked, decimalText(least))
	}
	return nil
}
