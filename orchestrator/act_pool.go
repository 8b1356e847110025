package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"provingground/dsl"
)

// The action snark-pool, which the existing tool has not: for the length of a block, so many workers of a pool of SNARK workers take work.

// SnarkPool is the agent of a pool of SNARK workers (snark-pool, section 5). Its methods may be called by several goroutines at once. What they
// ask for twice is done once.
type SnarkPool interface {
	// Workers returns all workers of a target, in the order of their names. A target is WORKER, HOST, POOL, HOST/POOL, label=KEY=VALUE or all.
	Workers(ctx context.Context, target string) ([]PoolWorker, error)
	// Pause lets the workers of a target finish what they prove, and take nothing new until a wall time; the zero time is for ever.
	Pause(ctx context.Context, target string, until time.Time) error
	// Resume ends the pause of the workers of a target.
	Resume(ctx context.Context, target string) error
}

// PoolWorker is one worker of a pool.
type PoolWorker struct {
	Name string
	// Takes says that it is meant to take work, Paused that it is paused. One that is neither (stopped, frozen, on its way out) is left alone.
	Takes, Paused bool
	// Until is the wall time at which its pause ends by itself; zero: it does not.
	Until time.Time
}

// pausedWorker is, in a record, a worker that was paused before the block.
type pausedWorker struct {
	Worker string    `json:"worker"`
	Until  time.Time `json:"until,omitzero"`
}

const snarkPoolName = "snark-pool"

func snarkPoolAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: snarkPoolName, Doc: "Pauses, resumes or resizes a pool of SNARK workers for the length of the block behind it. What a worker proves it finishes; behind the block each worker does as it did before.",
			Params: []dsl.Param{
				{Name: "target", Kind: dsl.Word, Default: "all", Doc: "which workers: a worker, host, pool, HOST/POOL, label=KEY=VALUE or all"},
				{Name: "pause", Kind: dsl.Flag, Default: "false", Doc: "none of them takes work"},
				{Name: "resume", Kind: dsl.Flag, Default: "false", Doc: "all of them that are paused take work"},
				{Name: "workers", Kind: dsl.Int, Doc: "so many of them take work; a pool does not grow beyond the workers that it has"},
				{Name: "socket", Kind: dsl.Path, Default: "snarkPool of the configuration", Doc: "the socket of the pool's agent"},
			},
		},
		check:    checkSnarkPool,
		forecast: func(f *forecasting) forecast { return forecast{does: f.poolWords()} },
		run:      runSnarkPool,
	}
}

func checkSnarkPool(c *checking) {
	var asked []string
	for _, param := range []string{"pause", "resume"} {
		v, known := c.literal(param, dsl.Bool)
		if c.given(param) {
			asked = append(asked, param)
		}
		if known && c.given(param) && v.Text != "true" {
			c.report(param, "write pause: true or resume: true", "%s is true, or left out", param)
		}
	}
	if c.given("workers") {
		asked = append(asked, "workers")
		if n, known := c.number("workers"); known && n.Sign() < 0 {
			c.report("workers", "", "workers cannot be negative")
		}
	}
	if len(asked) != 1 {
		where := ""
		if len(asked) > 1 {
			where = asked[1]
		}
		c.report(where, "write snark-pool(target: \"cpu\", pause: true) { … }", "snark-pool has exactly one of pause, resume and workers")
	}
	for _, param := range []string{"target", "socket"} {
		if a, ok := c.step.Arg(param); ok && (a.Value.Secret || a.Formula != nil && a.Formula.Value.Secret) {
			c.report(param, "write it as a param, which -set gives a value", "%s cannot come from env(): the record names it, for stop to find it", param)
		}
	}
	if c.config != nil && c.config.SnarkPool == nil && !c.given("socket") {
		c.report("socket", "", "snark-pool needs socket, or snarkPool in the configuration")
	}
}

// poolWords says what a step does to the pool.
func (f *forecasting) poolWords() string {
	of := ""
	if target, known := f.text("target"); known && target != "" {
		of = " of " + target
	}
	switch n, known := f.number("workers"); {
	case f.given("pause"):
		return fmt.Sprintf("no SNARK worker%s takes work, for the block", of)
	case f.given("resume"):
		return fmt.Sprintf("all SNARK workers%s take work, for the block", of)
	case known:
		return fmt.Sprintf("%s SNARK workers%s take work, for the block", decimalText(n), of)
	default:
		return fmt.Sprintf("so many SNARK workers%s as it says take work, for the block", of)
	}
}

func runSnarkPool(ctx context.Context, t *task) error {
	target, wanted := t.args.text("target"), t.args.integer("workers")
	pause, resume, sized := t.args.flag("pause"), t.args.flag("resume"), !t.args.null("workers")
	socket := t.args.text("socket")
	if err := t.args.err(); err != nil {
		return err
	}
	if target == "" {
		target = "all"
	}
	switch {
	case wanted < 0:
		return errors.New("workers cannot be negative")
	case sized == (pause || resume), pause && resume:
		return errors.New("exactly one of pause, resume and workers says what is to be done")
	}
	agent, address, err := t.world.SnarkPool(socket)
	if err != nil {
		return err //nolint:wrapcheck // says it all
	}
	workers, err := agent.Workers(ctx, target)
	if err != nil {
		return fmt.Errorf("the workers of %s: %w", target, err)
	}
	intent := Intent{Kind: kindSnarkPool, Node: address, Target: target}
	if e, ok := t.earlier(intent); ok { // whose intent says how the pool was before
		if e.settled != nil && e.settled.Result == resultDone {
			return nil
		}
		return t.enter(ctx, agent, workers, e.intent)
	}
	if err := t.alone(address, workers); err != nil {
		return err
	}
	if intent.Paused, intent.Resumed, err = chooseWorkers(workers, func(all int) int {
		switch {
		case pause:
			return 0
		case resume:
			return all
		default:
			return wanted
		}
	}); err != nil {
		return fmt.Errorf("target %s: %w", target, err)
	}
	if len(intent.Paused)+len(intent.Resumed) == 0 {
		t.log.Warn("the pool is so already: nothing is changed for the block", zap.String("agent", address), zap.String("target", target))
		return nil
	}
	intent.Call = t.ledger.newCall()
	if err := t.intend(intent); err != nil {
		return err
	}
	return t.enter(ctx, agent, workers, intent)
}

// chooseWorkers says which workers are to be paused and which resumed so that as many take work as are wanted of all that can. Those that do
// so already go on first, in order.
func chooseWorkers(workers []PoolWorker, wanted func(all int) int) (pause []string, resume []pausedWorker, err error) {
	taking, all := 0, 0
	for _, w := range workers {
		if w.Takes {
			taking++
		}
		if w.Takes || w.Paused {
			all++
		}
	}
	n := wanted(all)
	switch {
	case all == 0:
		return nil, nil, fmt.Errorf("none of its %d workers takes work or is paused", len(workers))
	case n > all:
		return nil, nil, fmt.Errorf("%d workers are wanted, and it has %d that can take work: how many there are is the pool file's to say", n, all)
	}
	for _, w := range workers {
		switch {
		case w.Takes && n > 0:
			n--
		case w.Takes:
			pause = append(pause, w.Name)
		}
	}
	for _, w := range workers {
		if w.Paused && n > 0 {
			n--
			resume = append(resume, pausedWorker{w.Name, w.Until})
		}
	}
	return pause, resume, nil
}

// enter does what an intent says to a pool, and records what became of it.
func (t *task) enter(ctx context.Context, agent SnarkPool, workers []PoolWorker, intent Intent) error {
	pause := make([]pausedWorker, len(intent.Paused))
	for i, name := range intent.Paused {
		pause[i] = pausedWorker{Worker: name}
	}
	resume := make([]string, len(intent.Resumed))
	for i, w := range intent.Resumed {
		resume[i] = w.Worker
	}
	err := t.steer(ctx, agent, intent.Target, workers, pause, resume)
	s := Settled{Call: intent.Call, Result: resultDone}
	if err != nil { // some of it may be in force
		s.Result, s.Message = resultPartly, err.Error()
	}
	return errors.Join(err, t.settle(s))
}

// givePool gives the workers of a pool back what they had before a call: it asks how they are, and changes those that are still as the call
// left them.
func (r *run) givePool(ctx context.Context, intent Intent) error {
	agent, _, err := r.world.SnarkPool(intent.Node)
	if err != nil {
		return err //nolint:wrapcheck // says it all
	}
	workers, err := agent.Workers(ctx, intent.Target)
	if err != nil {
		return fmt.Errorf("the workers of %s: %w", intent.Target, err)
	}
	return r.steer(ctx, agent, intent.Target, workers, intent.Resumed, intent.Paused)
}

// steer pauses workers, with the ends of their pauses, and resumes others, where they are not so already. Where they are all that the target
// selects, one command does.
func (r *run) steer(ctx context.Context, agent SnarkPool, target string, workers []PoolWorker, pause []pausedWorker, resume []string) error {
	const atOnce = 4 // commands; an agent bears few more
	now := r.world.Clock.Wall()
	var pauses []pausedWorker
	for _, p := range pause {
		ended := !p.Until.IsZero() && !p.Until.After(now)
		if !ended && slices.ContainsFunc(workers, func(w PoolWorker) bool { return w.Takes && w.Name == p.Worker }) {
			pauses = append(pauses, p)
		}
	}
	var resumes []string
	for _, name := range resume {
		if slices.ContainsFunc(workers, func(w PoolWorker) bool { return w.Paused && w.Name == name }) {
			resumes = append(resumes, name)
		}
	}
	if len(pauses) == len(workers) && !slices.ContainsFunc(pauses, func(p pausedWorker) bool { return !p.Until.Equal(pauses[0].Until) }) && len(pauses) > 0 {
		pauses = []pausedWorker{{target, pauses[0].Until}}
	}
	if len(resumes) == len(workers) && len(resumes) > 0 {
		resumes = []string{target}
	}
	errs := eachOf(ctx, r, atOnce, pauses, func(ctx context.Context, _ int, p pausedWorker) error {
		return agent.Pause(ctx, p.Worker, p.Until) //nolint:wrapcheck // names agent and target
	})
	errs = append(errs, eachOf(ctx, r, atOnce, resumes, func(ctx context.Context, _ int, name string) error {
		return agent.Resume(ctx, name) //nolint:wrapcheck // names agent and target
	})...)
	return failures(errs)
}

// changes reports whether the call has changed a worker of a pool.
func (i Intent) changes(worker string) bool {
	return slices.Contains(i.Paused, worker) || slices.ContainsFunc(i.Resumed, func(w pausedWorker) bool { return w.Worker == worker })
}

// alone reports workers that another block of this script, which is under way at the same time, has changed: neither could restore what was.
func (t *task) alone(address string, workers []PoolWorker) error {
	if t.at.ending {
		return nil
	}
	for _, e := range t.ledger.remainingOf(func(e entry) bool {
		return e.intent.Kind == kindSnarkPool && e.intent.Node == address && !slices.Contains(t.at.inside, e.step)
	}) {
		for _, w := range workers {
			if e.intent.changes(w.Name) {
				return fmt.Errorf("worker %s is changed by %s already, whose block is not over: put one block into the other, or one behind the other",
					w.Name, stepTitle(e.step, e.stepID))
			}
		}
	}
	return nil
}

// hold carries out a step that is in force for the length of a block, and the block. After a block that did not end well what the step did is
// undone with all else that the run did.
func (r *run) hold(ctx context.Context, item planItem, at level) error {
	if err := r.steps(ctx, []planItem{item}, at); err != nil {
		return err
	}
	inner := at
	inner.inside = append(slices.Clip(at.inside), item.step.Number)
	if err := r.block(ctx, item.body, inner); err != nil {
		return err
	}
	t := &task{run: r, step: item.step, log: r.log.WithLazy(item.step.fields()...), began: r.world.Clock.Wall()}
	return r.ended(ctx, t, guard(func() error { return t.release(ctx) }))
}

// release undoes what the step did, since its block is over.
func (t *task) release(ctx context.Context) error {
	for _, e := range t.ledger.ofStep(t.step.Number) {
		if !e.mayRemain() {
			continue
		}
		if err := t.givePool(ctx, e.intent); err != nil {
			return fmt.Errorf("the end of its block: %w", err)
		}
		if err := t.note(lineUndone, Undone{Call: e.intent.Call, How: "its block is over"}); err != nil {
			return err
		}
	}
	return nil
}
