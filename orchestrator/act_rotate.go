package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"go.uber.org/zap"

	"provingground/dsl"
	"provingground/internal/mina"
)

// The action rotate-balance (orchestrator-scripts, section 3.12).

func rotateBalanceAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: "rotate-balance", Doc: "Moves a share of each key's balance to another of the keys, so that stake changes hands.",
			Params: []dsl.Param{
				{Name: "pubkeys", Kind: dsl.PublicKey, List: true, Required: true, Doc: "the keys", Valid: validPublicKey},
				{Name: "servers", Kind: dsl.Server, List: true, Required: true, Doc: "for each key the server whose wallet holds it: empty, a port, HOST:PORT or a URL"},
				{Name: "mapping", Kind: dsl.Int, List: true, Required: true, Doc: "for each key the index of the key that it pays"},
				{Name: "ratio", Kind: dsl.Ratio, Required: true, Doc: "the share of the balance, at least 0.001"},
				{Name: "fee", Kind: dsl.Nanomina, Unit: "nanomina", Default: "2000000000", Doc: "fee of each payment"},
				{Name: "passwordEnv", Kind: dsl.EnvName, Default: "none: the empty password", Doc: "the variable with the wallets' password"},
			},
		},
		check: checkRotate,
		run:   runRotate,
	}
}

func checkRotate(c *checking) {
	n, known := c.length("pubkeys")
	for _, name := range []string{"servers", "mapping"} {
		if m, ok := c.length(name); ok && known && m != n && c.given(name) {
			c.report(name, "", "%s has %d elements for %d keys", name, m, n)
		}
	}
	if a, ok := c.step.Arg("mapping"); ok && a.Literal() && known {
		for _, item := range a.Value.Items {
			if to, ok := dsl.WholeNumber(item.Text); ok && (to.Sign() < 0 || to.Cmp(big.NewInt(int64(n))) >= 0) {
				c.report("mapping", "", "mapping points to key %s of %d", item.Text, n)
			}
		}
	}
	if ratio, ok := c.number("ratio"); ok {
		if err := checkRotation(ratio); err != nil {
			c.report("ratio", "", "%v", err)
		}
	}
}

func checkRotation(ratio *big.Rat) error {
	if ratio.Cmp(big.NewRat(1, 1000)) < 0 || ratio.Cmp(big.NewRat(1, 1)) > 0 {
		return errors.New("ratio must be from 0.001 to 1")
	}
	return nil
}

// rotation is a step's work.
type rotation struct {
	*task
	keys, servers []string
	mapping       []int
	ratio         *big.Rat
	fee           mina.Nanomina
	password      []byte
}

func runRotate(ctx context.Context, t *task) error {
	r := rotation{
		task: t, keys: t.args.texts("pubkeys"), servers: t.args.texts("servers"), mapping: t.args.integers("mapping"),
		ratio: t.args.decimal("ratio"), fee: t.args.nanomina("fee"),
	}
	if t.args.null("fee") {
		r.fee = 2_000_000_000
	}
	if err := errors.Join(t.args.err(), checkRotation(r.ratio)); err != nil {
		return err
	}
	if len(r.servers) != len(r.keys) || len(r.mapping) != len(r.keys) {
		return fmt.Errorf("%d keys, %d servers and %d places in the mapping: there must be as many of each", len(r.keys), len(r.servers), len(r.mapping))
	}
	for _, to := range r.mapping {
		if to < 0 || to >= len(r.keys) {
			return fmt.Errorf("mapping points to key %d of %d", to, len(r.keys))
		}
	}
	var err error
	if r.password, err = t.password(); err != nil {
		return err
	}
	if err := t.world.Programs.Find(t.config.MinaExec); err != nil {
		return fmt.Errorf("the mina executable: %w", err)
	}
	// All balances first: a payment of one key must not change what another one is to pay.
	balances := make([]mina.Nanomina, len(r.keys))
	errs := each(ctx, t.run, r.keys, func(ctx context.Context, i int, _ string) (err error) {
		balances[i], err = r.balance(ctx, i)
		return err
	})
	if err := failures(errs); err != nil {
		return err
	}
	errs = each(ctx, t.run, r.keys, func(ctx context.Context, i int, _ string) error { return r.pay(ctx, i, balances[i]) })
	return t.bearFailures(ctx, "balances are rotated", "not paid", r.keys, errs)
}

// mina runs the mina executable about a key, at the key's own server, and returns what it printed.
func (r rotation) mina(ctx context.Context, i int, args ...string) (string, error) {
	const limit = 2 * time.Minute // wall time
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no end within %s", limit))
	defer cancel()
	if r.servers[i] != "" {
		args = append(args, "--rest-server", r.servers[i])
	}
	var printed strings.Builder
	err := r.world.Programs.Run(ctx, Command{
		Path: r.config.MinaExec, Args: args, Env: []string{"MINA_PRIVKEY_PASS=" + string(r.password)},
		Line: func(text string, own bool) {
			r.programLine(text, own)
			if own {
				printed.WriteString(text + "\n")
			}
		},
	})
	return printed.String(), err
}

func (r rotation) balance(ctx context.Context, i int) (mina.Nanomina, error) {
	printed, err := r.mina(ctx, i, "client", "get-balance", "--public-key", r.keys[i])
	if err != nil {
		return 0, fmt.Errorf("balance of %s: %w", r.keys[i], err)
	}
	_, text, found := strings.Cut(printed, "Balance: ")
	text, _, whole := strings.Cut(text, " mina")
	if !found || !whole {
		return 0, fmt.Errorf("balance of %s: the mina executable printed no line \"Balance: X mina\"", r.keys[i])
	}
	balance, err := mina.ParseMina(text)
	if err != nil {
		return 0, fmt.Errorf("balance of %s: %w", r.keys[i], err)
	}
	return balance, nil
}

// amount is the share of what is left of a balance after the fee, rounded down.
func (r rotation) amount(balance mina.Nanomina) (mina.Nanomina, error) {
	if balance <= r.fee {
		return 0, fmt.Errorf("the balance of %s MINA does not cover the fee of %s MINA", balance, r.fee)
	}
	rest := new(big.Rat).SetInt(new(big.Int).SetUint64(uint64(balance - r.fee)))
	amount := floor(rest.Mul(rest, r.ratio)).Uint64()
	if amount == 0 {
		return 0, fmt.Errorf("the share of a balance of %s MINA is nothing", balance)
	}
	return mina.Nanomina(amount), nil
}

// pay makes one transfer. One that an interrupted run may have made is not made again.
func (r rotation) pay(ctx context.Context, i int, balance mina.Nanomina) error {
	intent := Intent{Kind: kindTransfer, Node: r.servers[i], Index: &i}
	if e, ok := r.earlier(intent); ok && (e.settled == nil || e.settled.Result != resultRefused) {
		if e.settled == nil || e.settled.Result != resultDone {
			r.log.Warn("nobody knows whether the interrupted run made this payment; it is not made again", zap.String("sender", r.keys[i]))
		}
		return nil
	}
	amount, err := r.amount(balance)
	if err != nil {
		return err
	}
	if _, err := r.mina(ctx, i, "accounts", "unlock", "--public-key", r.keys[i]); err != nil {
		return fmt.Errorf("unlock %s: %w", r.keys[i], err)
	}
	_, err = r.external(intent, func() (Settled, error) {
		_, err := r.mina(ctx, i, "client", "send-payment", "--sender", r.keys[i], "--receiver", r.keys[r.mapping[i]],
			"--amount", amount.String(), "--fee", r.fee.String(), "--memo", "rotation")
		return programResult(err), err
	})
	if err != nil {
		return fmt.Errorf("payment from %s: %w", r.keys[i], err)
	}
	return nil
}
