package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"provingground/dsl"
	"provingground/internal/mina"
	"provingground/orchestrator/itn"
)

// The actions payments and zkapp-txs (orchestrator-scripts, sections 3.2 and 3.3).

func paymentsAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: "payments",
			Doc:    "Schedules payments on nodes, which send them on their own.",
			Params: append(loadParams(),
				dsl.Param{Name: "amount", Kind: dsl.Nanomina, Unit: "nanomina", Default: "0", Doc: "amount of each payment"},
				dsl.Param{Name: "receiver", Kind: dsl.PublicKey, Required: true, Doc: "receiver of every payment", Valid: validPublicKey},
			),
			Outputs: loadOutputs(), Main: "receipt",
		},
		check:    checkLoad,
		forecast: forecastPayments,
		run: func(ctx context.Context, t *task) error {
			l, err := t.readLoad(kindPayments)
			if err != nil {
				return err
			}
			amount, receiver := t.args.nanomina("amount"), t.args.text("receiver")
			if err := t.args.err(); err != nil {
				return err
			}
			if _, err := mina.ParsePublicKey(receiver); err != nil {
				return fmt.Errorf("receiver: %w", err)
			}
			return t.place(ctx, l, func(ctx context.Context, o offer, before itn.Before) (string, error) {
				return o.node.client.SchedulePayments(ctx, itn.PaymentsDetails{
					Senders: o.keys, Receiver: receiver, Amount: uint64(amount), MinFee: uint64(l.minFee), MaxFee: uint64(l.maxFee),
					MemoPrefix: o.memo, TPS: o.tps(), DurationMin: l.durationMin, RepeatUntil: o.until,
				}, o.handle, before) //nolint:wrapcheck // names operation and node
			})
		},
	}
}

func validPublicKey(v dsl.Value) string {
	if _, err := mina.ParsePublicKey(v.Text); err != nil {
		return fmt.Sprintf("is not a public key: %v", err)
	}
	return ""
}

func forecastPayments(f *forecasting) forecast {
	l, ok := f.load(kindPayments)
	if !ok {
		return forecast{note: "how much load is placed depends on an output"}
	}
	fee, amount := f.nanomina("maxFee"), f.nanomina("amount")
	each, err := fee.Add(amount)
	if err == nil {
		l.spent, err = each.Mul(l.transactions)
	}
	if err != nil {
		return forecast{load: l, broken: true, note: "the amount it spends is beyond what can be counted"}
	}
	return forecast{load: l}
}

// load returns the forecast of the shared parameters, and false where they are not all literals.
func (f *forecasting) load(kind Kind) (*loadForecast, bool) {
	rate, ok1 := f.number("tps")
	minRate, ok2 := f.number("minTps")
	minutes, ok3 := f.number("durationMin")
	if !ok1 || !ok2 || !ok3 || rate.Sign() <= 0 || minutes.Sign() <= 0 {
		return nil, false
	}
	return &loadForecast{
		kind: kind, rate: rate, nodes: f.nodesOf(rate, minRate), transactions: transactions(rate, minutes),
		duration: time.Duration(minutes.Num().Int64()) * time.Minute,
	}, true
}

// nanomina returns an amount written in the script; 0 where it is not known.
func (f *forecasting) nanomina(param string) mina.Nanomina {
	number, ok := f.number(param)
	if !ok || !number.IsInt() || !number.Num().IsUint64() {
		return 0
	}
	return mina.Nanomina(number.Num().Uint64())
}

// integer returns a whole number written in the script; 0 where it is not known.
func (f *forecasting) integer(param string) int {
	number, ok := f.number(param)
	if !ok || !number.IsInt() || !number.Num().IsInt64() {
		return 0
	}
	return int(number.Num().Int64())
}

func zkappTxsAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: "zkapp-txs",
			Doc:    "Schedules zkApp commands on nodes: each deploys zkApps, and then sends commands that use them.",
			Params: append(loadParams(),
				dsl.Param{Name: "zkapps", Kind: dsl.Int, Default: "0", Doc: "zkApps to deploy on each node; 0 derives the number from gap"},
				dsl.Param{Name: "queueSize", Kind: dsl.Int, Default: "0", Doc: "how many recently used accounts are kept out of reuse; used only with zkapps"},
				dsl.Param{Name: "gap", Kind: dsl.Int, Unit: "seconds", Default: "0", Doc: "least time between two uses of one account"},
				dsl.Param{Name: "newAccountRatio", Kind: dsl.Ratio, Default: "0", Doc: "new accounts as a share of the transactions"},
				dsl.Param{Name: "noPrecondition", Kind: dsl.Flag, Default: "false", Doc: "leave out preconditions in account updates"},
				dsl.Param{Name: "maxCost", Kind: dsl.Flag, Default: "false", Doc: "send commands of the greatest cost"},
				dsl.Param{Name: "minBalanceChange", Kind: dsl.Nanomina, Script: "balance-change", End: dsl.LowerEnd, Unit: "nanomina", Default: "0", Doc: "least balance change of an account update"},
				dsl.Param{Name: "maxBalanceChange", Kind: dsl.Nanomina, Script: "balance-change", End: dsl.UpperEnd, Unit: "nanomina", Default: "0", Doc: "greatest balance change of an account update"},
				dsl.Param{Name: "deploymentFee", Kind: dsl.Nanomina, Unit: "nanomina", Default: "0", Doc: "fee of each deployment"},
			),
			Outputs: loadOutputs(), Main: "receipt",
		},
		check:    checkZkapps,
		forecast: forecastZkapps,
		run: func(ctx context.Context, t *task) error {
			l, err := t.readLoad(kindZkapps)
			if err != nil {
				return err
			}
			z, err := t.readZkapps(l)
			if err != nil {
				return err
			}
			return t.place(ctx, l, func(ctx context.Context, o offer, before itn.Before) (string, error) {
				n, err := z.numbers(o.rate, l.durationMin)
				if err != nil {
					return "", &hopelessError{err}
				}
				two := 2
				return o.node.client.ScheduleZkappCommands(ctx, itn.ZkappCommandsDetails{
					FeePayers: o.keys, NumZkappsToDeploy: n.deploy, NumNewAccounts: n.newAccounts, TPS: o.tps(), DurationMin: l.durationMin,
					MemoPrefix: o.memo, NoPrecondition: z.noPrecondition, MinBalanceChange: uint64(z.minBalanceChange),
					MaxBalanceChange: uint64(z.maxBalanceChange), MinNewZkappBalance: uint64(n.minNewBalance),
					MaxNewZkappBalance: uint64(n.maxNewBalance), InitBalance: uint64(n.initBalance), MinFee: uint64(l.minFee),
					MaxFee: uint64(l.maxFee), DeploymentFee: uint64(z.deploymentFee), AccountQueueSize: n.queue, MaxCost: z.maxCost,
					MaxAccountUpdates: &two, RepeatUntil: o.until,
				}, o.handle, before) //nolint:wrapcheck // names operation and node
			})
		},
	}
}

// zkapps are the parameters of zkapp-txs beside those of all load.
type zkapps struct {
	fixed            int // zkApps to deploy, 0: derived from gap
	queueSize        int
	gap              int // seconds
	newAccountRatio  *big.Rat
	noPrecondition   bool
	maxCost          bool
	minBalanceChange mina.Nanomina
	maxBalanceChange mina.Nanomina
	deploymentFee    mina.Nanomina
}

func (t *task) readZkapps(l load) (zkapps, error) {
	a := t.args
	z := zkapps{
		fixed: a.integer("zkapps"), queueSize: a.integer("queueSize"), gap: a.integer("gap"), newAccountRatio: a.decimal("newAccountRatio"),
		noPrecondition: a.flag("noPrecondition"), maxCost: a.flag("maxCost"), minBalanceChange: a.nanomina("minBalanceChange"),
		maxBalanceChange: a.nanomina("maxBalanceChange"), deploymentFee: a.nanomina("deploymentFee"),
	}
	if err := a.err(); err != nil {
		return zkapps{}, err
	}
	switch {
	case z.fixed == 0 && z.gap == 0:
		return zkapps{}, errors.New("one of zkapps and gap must be above 0")
	case z.fixed < 0 || z.gap < 0 || z.queueSize < 0:
		return zkapps{}, errors.New("zkapps, gap and queueSize cannot be negative")
	case z.minBalanceChange > z.maxBalanceChange:
		return zkapps{}, errors.New("minBalanceChange is above maxBalanceChange")
	}
	return z, nil
}

// zkappNumbers are the fields of a request that follow from the rate of one node (generator, section 4.1).
type zkappNumbers struct {
	deploy, queue, newAccounts                int
	minNewBalance, maxNewBalance, initBalance mina.Nanomina
}

// errDeployment says that the load would be over before its zkApps are deployed.
var errDeployment = errors.New("the deployment outlasts the load")

// numbers derives the fields for the rate of one node.
func (z zkapps) numbers(rate *big.Rat, durationMin int) (zkappNumbers, error) {
	var n zkappNumbers
	n.deploy, n.queue = z.fixed, z.queueSize
	if n.deploy == 0 {
		atOnce, err := small(ceil(new(big.Rat).Mul(rate, big.NewRat(int64(z.gap), 1)))) // transactions in one gap
		if err != nil {
			return n, err
		}
		n.deploy, n.queue = 4*atOnce, 3*atOnce
	}
	minutes := big.NewRat(int64(durationMin), 1)
	// Deployments are one interval apart (itn-graphql, section 4.2).
	takes := new(big.Rat).Quo(big.NewRat(int64(n.deploy), 1), rate)
	if takes.Cmp(new(big.Rat).Mul(minutes, big.NewRat(60, 1))) >= 0 {
		return n, fmt.Errorf("%w: a node that deploys %d zkApps at %s tps takes %s s, and the load lasts %d minutes; ask for a higher minTps, fewer zkapps or a longer duration",
			errDeployment, n.deploy, decimalText(rate), takes.FloatString(0), durationMin)
	}
	// Transactions that are not deployments. (The generator's formula subtracts the deployments from the seconds; that is defect D78.)
	after := new(big.Rat).Sub(new(big.Rat).Mul(new(big.Rat).Mul(rate, minutes), big.NewRat(60, 1)), big.NewRat(int64(n.deploy), 1))
	var err error
	if n.newAccounts, err = small(floor(after.Mul(after, z.newAccountRatio))); err != nil {
		return n, err
	}
	// How often an account is used: once in a gap. Without a gap that is taken from the number of accounts, with the same reserve of four.
	uses := new(big.Rat).Mul(minutes, big.NewRat(60, 1))
	if z.gap > 0 {
		uses.Quo(uses, big.NewRat(int64(z.gap), 1))
	} else {
		uses.Mul(uses, rate).Mul(uses, big.NewRat(4, int64(n.deploy)))
	}
	change := new(big.Int).SetUint64(uint64(z.maxBalanceChange))
	change.Mul(change, big.NewInt(2))
	moved := floor(uses.Mul(uses, new(big.Rat).SetInt(change)))
	minNew := moved.Mul(moved, big.NewInt(3))
	minNew.Add(minNew, big.NewInt(1_000_000_000))
	maxNew := new(big.Int).Mul(minNew, big.NewInt(3))
	share := big.NewInt(int64(3*n.newAccounts/n.deploy) + 1)
	initial := new(big.Int).Mul(new(big.Int).Mul(maxNew, big.NewInt(2)), share)
	if !initial.IsUint64() {
		return n, fmt.Errorf("the balance of a zkApp account: %w", mina.ErrOverflow)
	}
	n.minNewBalance, n.maxNewBalance = mina.Nanomina(minNew.Uint64()), mina.Nanomina(maxNew.Uint64())
	n.initBalance = mina.Nanomina(initial.Uint64())
	return n, nil
}

func ceil(r *big.Rat) *big.Int {
	whole, rest := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		whole.Add(whole, big.NewInt(1))
	}
	return whole
}

func floor(r *big.Rat) *big.Int { return new(big.Int).Div(r.Num(), r.Denom()) }

// small returns a count that a request can hold.
func small(n *big.Int) (int, error) {
	if !n.IsInt64() || n.Int64() > 1<<30 {
		return 0, fmt.Errorf("%s accounts on one node are too many", n)
	}
	return max(0, int(n.Int64())), nil
}

func checkZkapps(c *checking) {
	checkLoad(c)
	z, minutes, ok := c.zkapps()
	if !ok {
		return
	}
	if z.fixed == 0 && z.gap == 0 {
		c.report("gap", "gap: 180 is usual", "one of zkapps and gap must be above 0")
		return
	}
	for name, n := range map[string]int{"zkapps": z.fixed, "gap": z.gap, "queueSize": z.queueSize} {
		if n < 0 {
			c.report(name, "", "%s cannot be negative", name)
			return
		}
	}
	if z.minBalanceChange > z.maxBalanceChange {
		c.report("minBalanceChange", "swap them", "minBalanceChange is above maxBalanceChange")
	}
	rate, ok1 := c.number("tps")
	minRate, ok2 := c.number("minTps")
	if !ok1 || !ok2 || rate.Sign() <= 0 || minutes <= 0 {
		return
	}
	n := c.nodesOf(rate, minRate)
	_, err := z.numbers(new(big.Rat).Quo(rate, big.NewRat(int64(n), 1)), minutes)
	_, alone := z.numbers(rate, minutes)
	switch {
	case alone != nil && err != nil: // however many nodes share the rate
		c.report("durationMin", "", "%v", err)
	case err != nil:
		c.warn("durationMin", "", "on %d nodes: %v", n, err)
	}
}

// zkapps reads the parameters of zkapp-txs that are literals; false when one that matters is not.
func (c *checking) zkapps() (zkapps, int, bool) {
	f := forecasting{c}
	var known [5]bool
	var z zkapps
	_, known[0] = c.number("zkapps")
	_, known[1] = c.number("gap")
	_, known[2] = c.number("durationMin")
	z.newAccountRatio, known[3] = c.number("newAccountRatio")
	_, known[4] = c.number("maxBalanceChange")
	z.fixed, z.gap, z.queueSize = f.integer("zkapps"), f.integer("gap"), f.integer("queueSize")
	z.minBalanceChange, z.maxBalanceChange, z.deploymentFee = f.nanomina("minBalanceChange"), f.nanomina("maxBalanceChange"), f.nanomina("deploymentFee")
	return z, f.integer("durationMin"), known == [5]bool{true, true, true, true, true}
}

func forecastZkapps(f *forecasting) forecast {
	l, ok := f.load(kindZkapps)
	z, minutes, ok2 := f.zkapps()
	if !ok || !ok2 {
		return forecast{note: "how much load is placed depends on an output"}
	}
	each := new(big.Rat).Quo(l.rate, big.NewRat(int64(l.nodes), 1))
	n, err := z.numbers(each, minutes)
	if err != nil {
		return forecast{load: l, broken: true, note: err.Error()}
	}
	deployed := uint64(n.deploy * l.nodes)
	fees, err1 := f.nanomina("maxFee").Mul(l.transactions)
	deployment, err2 := z.deploymentFee.Mul(deployed)
	creation, err3 := mina.Nanomina(1_000_000_000).Mul(deployed + uint64(n.newAccounts*l.nodes))
	locked, err4 := n.initBalance.Mul(deployed)
	spent, err5 := sum(fees, deployment, creation)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return forecast{load: l, broken: true, note: "the amount it spends is beyond what can be counted"}
	}
	l.spent, l.locked = spent, locked
	return forecast{load: l, note: fmt.Sprintf("%d zkApps deployed on each node", n.deploy)}
}

func sum(amounts ...mina.Nanomina) (mina.Nanomina, error) {
	var total mina.Nanomina
	var err error
	for _, a := range amounts {
		if total, err = total.Add(a); err != nil {
			return 0, err
		}
	}
	return total, nil
}
