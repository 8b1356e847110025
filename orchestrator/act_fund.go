package orchestrator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"provingground/dsl"
	"provingground/internal/mina"
	"provingground/orchestrator/itn"
)

// The action fund-keys (orchestrator-scripts, section 3.6; itn-graphql, sections 4.8 and 5).

// creationFee is what the network takes for a new account.
const creationFee = mina.Nanomina(1_000_000_000)

// perCommand is how many accounts one funding command creates.
const perCommand = 8

func fundKeysAction() Action {
	return Action{
		Signature: dsl.Signature{
			Action: fundKeysName,
			Doc:    "Creates accounts, their key files and their balances. Steps of this action that follow each other run together.",
			Params: []dsl.Param{
				{Name: "amount", Kind: dsl.Nanomina, Required: true, Unit: "nanomina", Doc: "for all new accounts together; each pays 1 MINA of it for its creation"},
				{Name: "fee", Kind: dsl.Nanomina, Required: true, Unit: "nanomina", Doc: "for each funding transaction"},
				{Name: "prefix", Kind: dsl.Path, Required: true, Doc: "key files are <prefix>-<i>-<j>: j counts within the funding key i; the directory must not exist yet"},
				{Name: "num", Kind: dsl.Int, Required: true, Doc: "how many accounts"},
				{Name: "privkeys", Kind: dsl.Path, List: true, Required: true, Doc: "the funding keys' files"},
				{Name: "passwordEnv", Kind: dsl.EnvName, Default: "none: the empty password", Doc: "the variable with the password of the funding keys and of the new ones"},
			},
		},
		batch:    true,
		check:    checkFund,
		forecast: forecastFund,
		sizes: func(c *checking) map[string]int {
			if prefix, ok := c.text("prefix"); ok && prefix != "" {
				c.funded[path.Dir(path.Clean(prefix))] += (&forecasting{c}).integer("num")
			}
			return nil
		},
		runBatch: runFund,
	}
}

func checkFund(c *checking) {
	amount, ok1 := c.number("amount")
	num, ok2 := c.number("num")
	if ok2 && num.Sign() <= 0 {
		c.report("num", "", "num must be above 0")
		return
	}
	if prefix, ok := c.text("prefix"); ok && strings.HasSuffix(prefix, "/") {
		c.report("prefix", "write "+prefix+"key", "prefix is a directory, and key files would have no name")
	} else if ok && prefix != "" && path.Dir(prefix) == "." {
		c.report("prefix", "write ./keys/"+path.Base(prefix), "prefix has no directory: the new keys get one of their own, which must not exist yet")
	}
	if ok1 && ok2 {
		if each := amount.Quo(amount, num); floor(each).Uint64() <= uint64(creationFee) {
			c.report("amount", "", "each account gets %s nanomina, and its creation alone takes 1 MINA of that", floor(each))
		}
	}
	if a, ok := c.step.Arg("privkeys"); ok && a.Literal() {
		seen := map[string]bool{}
		for _, item := range a.Value.Items {
			if seen[path.Clean(item.Text)] {
				c.report("privkeys", "", "the funding key %q is given twice: two runs of one key spoil each other's nonces", item.Text)
			}
			seen[path.Clean(item.Text)] = true
		}
		if len(a.Value.Items) == 0 {
			c.report("privkeys", "", "privkeys is empty: there is nothing to fund from")
		}
		if ok2 && num.IsInt() && num.Num().IsInt64() && num.Num().Int64() < int64(len(a.Value.Items)) {
			c.warn("num", "", "%d funding keys for %s accounts: some create none", len(a.Value.Items), num.RatString())
		}
	}
}

func forecastFund(f *forecasting) forecast {
	num, keys := f.integer("num"), 1
	if n, ok := f.length("privkeys"); ok && n > 0 {
		keys = n
	}
	if num <= 0 {
		return forecast{note: "how many accounts are funded depends on an output"}
	}
	commands := 0
	for i := range keys {
		commands += (part(num, keys, i) + perCommand - 1) / perCommand
	}
	fees, err1 := f.nanomina("fee").Mul(uint64(commands))
	creation, err2 := creationFee.Mul(uint64(num))
	if err := errors.Join(err1, err2); err != nil {
		return forecast{note: "the amount it spends is beyond what can be counted"}
	}
	return forecast{fund: &fundForecast{keys: num, amount: f.nanomina("amount"), creation: creation, fees: fees}}
}

// part is how many of n things the i-th of parts gets; the first ones get one more where n does not divide evenly.
func part(n, parts, i int) int {
	if i < n%parts {
		return n/parts + 1
	}
	return n / parts
}

// funding is one step's work: several funding keys, each of which creates its part of the accounts.
type funding struct {
	*task
	position int // in the batch
	each     mina.Nanomina
	fee      mina.Nanomina
	prefix   string
	num      int
	from     []string // the funding keys' files
	password []byte
}

// runFund runs a batch. All of it is checked before any of it runs. Steps that share no funding key run at the same time.
func runFund(ctx context.Context, tasks []*task) error {
	batch := make([]*funding, len(tasks))
	prefixes := map[string]int{} // the step of each
	for i, t := range tasks {
		f, err := t.readFunding(i)
		if err != nil {
			return &stepError{t.step, err}
		}
		if other, taken := prefixes[path.Clean(f.prefix)]; taken {
			return &stepError{t.step, fmt.Errorf("prefix %s is that of step %d as well, and key files are never overwritten: give another prefix", f.prefix, other)}
		}
		prefixes[path.Clean(f.prefix)] = t.step.Number
		batch[i] = f
	}
	create, err := tasks[0].creator(ctx)
	if err != nil {
		return err
	}
	for len(batch) > 0 {
		n := together(batch)
		errs := each(ctx, tasks[0].run, batch[:n], func(ctx context.Context, _ int, f *funding) error { return f.run(ctx, create) })
		var failed error
		for i, err := range errs {
			if err != nil {
				failed = errors.Join(failed, &stepError{batch[i].step, err})
			}
		}
		if failed != nil {
			return failed
		}
		batch = batch[n:]
	}
	return nil
}

// together returns how many steps from the first on share no funding key.
func together(batch []*funding) int {
	used := map[string]bool{}
	for n, f := range batch {
		for _, key := range f.from {
			if used[path.Clean(key)] {
				return n
			}
		}
		for _, key := range f.from {
			used[path.Clean(key)] = true
		}
	}
	return len(batch)
}

func (t *task) readFunding(position int) (*funding, error) {
	f := &funding{
		task: t, position: position, fee: t.args.nanomina("fee"), prefix: t.args.text("prefix"), num: t.args.integer("num"),
		from: t.args.texts("privkeys"),
	}
	amount := t.args.nanomina("amount")
	if err := t.args.err(); err != nil {
		return nil, err
	}
	if f.num <= 0 || len(f.from) == 0 || f.prefix == "" {
		return nil, errors.New("num, privkeys and prefix must be given")
	}
	f.each = amount / mina.Nanomina(f.num)
	if f.each <= creationFee {
		return nil, fmt.Errorf("each account gets %d nanomina, and its creation alone takes 1 MINA of that", f.each)
	}
	cleaned := slices.Clone(f.from)
	for i, key := range cleaned {
		cleaned[i] = path.Clean(key)
	}
	slices.Sort(cleaned)
	if len(slices.Compact(cleaned)) < len(f.from) {
		return nil, errors.New("a funding key is given twice: two runs of one key spoil each other's nonces")
	}
	var err error
	if f.password, err = t.password(); err != nil {
		return nil, err
	}
	return f, t.newDirectory(f.prefix, t.resumed || t.attempt > 1)
}

// newDirectory returns an error when the directory for key files exists, unless an interrupted run, or an earlier attempt, was at work in it already.
func (r *run) newDirectory(prefix string, again bool) error {
	dir := path.Dir(prefix)
	ours := func(e entry) bool {
		return e.intent.Files != "" && path.Dir(e.intent.Files) == path.Dir(r.world.Mask(prefix))
	}
	if again && len(r.ledger.matching(ours)) > 0 {
		return nil
	}
	exists, err := r.world.Files.Exists(dir)
	if err != nil {
		return fmt.Errorf("see whether the directory for keys exists: %w", err)
	}
	if exists {
		return fmt.Errorf("the directory %s exists already: key files are never overwritten; remove it or give another prefix", dir)
	}
	return nil
}

// newDirectories looks, before anything else is done, at the directories that the script spells out: it should not take hours of load to
// find out that one is in the way.
func (r *run) newDirectories(plan *Plan) error {
	return r.newDirectoriesOf(slices.Concat(plan.items, plan.finally))
}

func (r *run) newDirectoriesOf(items []planItem) error {
	for _, item := range items {
		inner := slices.Concat(item.parallel...)
		if item.deadline != nil {
			inner = item.deadline.items
		}
		inner = append(inner, item.body...)
		if err := r.newDirectoriesOf(inner); err != nil {
			return err
		}
		if item.step == nil || item.step.Action != fundKeysName || r.resumed && r.recorded.done[item.step.Number] {
			continue
		}
		prefix, given := item.step.Arg("prefix")
		if !given || !prefix.Literal() {
			continue
		}
		if err := r.newDirectory(prefix.Value.Text, r.resumed); err != nil {
			r.failed.Store(true)
			return &stepError{item.step, err}
		}
	}
	return nil
}

const fundKeysName = "fund-keys"

// creator creates the accounts of one funding key.
type creator func(ctx context.Context, f *funding, i, num int) error

// creator returns what creates accounts: the mina executable or a node, as the configuration says.
func (t *task) creator(ctx context.Context) (creator, error) {
	if t.config.FundThrough != "node" {
		missing := t.world.Programs.Find(t.config.MinaExec)
		if missing == nil {
			return createByProgram, nil
		}
		if t.config.FundThrough == "mina" {
			return nil, fmt.Errorf("the mina executable: %w", missing)
		}
	}
	addresses, _, err := t.nodes.online(ctx)
	if err != nil {
		return nil, err
	}
	able := make([]bool, len(addresses))
	errs := each(ctx, t.run, addresses, func(ctx context.Context, i int, address string) error {
		identity, err := t.nodes.at(address).who(ctx)
		able[i] = err == nil && identity.Newer
		return err
	})
	t.warnEach("does not create accounts", addresses, errs)
	var newer *node
	if first := slices.Index(able, true); first >= 0 {
		newer = t.nodes.at(addresses[first])
	}
	if newer == nil {
		return nil, fmt.Errorf("accounts cannot be created: there is no executable %q, and none of %d online nodes is new enough to do it; set minaExec",
			t.config.MinaExec, len(addresses))
	}
	t.log.Info("accounts are created by a node", zap.String("node", newer.address))
	return func(ctx context.Context, f *funding, i, num int) error { return createByNode(ctx, newer, f, i, num) }, nil
}

// run creates the step's accounts, from all its funding keys at once.
func (f *funding) run(ctx context.Context, create creator) error {
	errs := each(ctx, f.task.run, f.from, func(ctx context.Context, i int, _ string) error {
		num := part(f.num, len(f.from), i)
		if num == 0 {
			return nil
		}
		if err := f.finish(ctx, i, num, create); err != nil {
			return fmt.Errorf("funding key %s: %w", f.from[i], err)
		}
		return nil
	})
	return failures(errs)
}

// finish creates the accounts of one funding key, unless an interrupted run has done so. A node may be at it still.
func (f *funding) finish(ctx context.Context, i, num int, create creator) error {
	for _, e := range f.ledger.ofStep(f.step.Number) {
		switch {
		case e.settled == nil || e.settled.Result != resultDone || !equal(e.intent.Index, &i):
		case e.intent.Kind == kindAccounts:
			return f.awaitAccounts(ctx, f.nodes.at(e.intent.Node), e.intent.ServerUUID, e.handle(), f.filesOf(i))
		default:
			return nil
		}
	}
	return create(ctx, f, i, num)
}

// filesOf is the prefix of the key files that a funding key's run writes.
func (f *funding) filesOf(i int) string { return f.prefix + "-" + strconv.Itoa(i) }

// written returns the key files that there are of a funding key's run.
func (f *funding) written(i, num int) ([]string, error) {
	var files []string
	for j := range num {
		name := f.filesOf(i) + "-" + strconv.Itoa(j)
		exists, err := f.world.Files.Exists(name)
		if err != nil {
			return nil, fmt.Errorf("see whether the key file exists: %w", err)
		}
		if exists {
			files = append(files, name)
		}
	}
	return files, nil
}

// errFundingUnknown says that a funding run may have moved money, or not.
var errFundingUnknown = errors.New("nobody knows whether these accounts were funded")

// unknownIfWritten returns an error when key files show that a failed or interrupted run had begun to create accounts.
func (f *funding) unknownIfWritten(i, num int) error {
	files, err := f.written(i, num)
	if err != nil || len(files) == 0 {
		return err
	}
	return fmt.Errorf("%w: the run wrote %d key files, %s to %s, and did not say that it succeeded; look at the balances, and take the files away before another run",
		errFundingUnknown, len(files), files[0], files[len(files)-1])
}

// createByProgram runs the mina executable. A run that fails is repeated, through the next daemon port, only if it wrote no key file.
func createByProgram(ctx context.Context, f *funding, i, num int) error {
	amount, err := f.each.Mul(uint64(num))
	if err != nil {
		return fmt.Errorf("the amount for %d accounts: %w", num, err)
	}
	if err := f.unknownIfWritten(i, num); err != nil {
		return err
	}
	if _, err := f.world.Files.ReadFile(f.from[i]); err != nil { // which the program would find out, attempt after attempt
		return fmt.Errorf("read the funding key: %w", err)
	}
	pauses := []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 0}
	if !f.patient() {
		pauses = pauses[len(pauses)-1:]
	}
	for attempt, pause := range pauses {
		args := []string{
			"advanced", "itn-create-accounts", "--amount", strconv.FormatUint(uint64(amount), 10), "--fee", strconv.FormatUint(uint64(f.fee), 10),
			"--key-prefix", f.filesOf(i), "--num-accounts", strconv.Itoa(num), "--privkey-path", f.from[i],
		}
		if ports := f.config.FundDaemonPorts; len(ports) > 0 {
			args = append(args, "--daemon-port", ports[(f.position+i+attempt)%len(ports)])
		}
		_, err = f.external(Intent{Kind: kindFund, Node: f.from[i], Index: &i, Files: f.filesOf(i), Count: num}, func() (Settled, error) {
			// A run that is cut short leaves accounts that nobody knows of: it may finish, up to a point.
			ctx, cancel := f.graceful(ctx)
			defer cancel()
			err := f.world.Programs.Run(ctx, Command{
				Path: f.config.MinaExec, Args: args, Line: f.programLine,
				Env: []string{"MINA_PRIVKEY_PASS=" + string(f.password), "ITN_FEATURES=1"},
			})
			return programResult(err), err
		})
		var exit *ExitError
		if err == nil || !errors.As(err, &exit) {
			break
		}
		if unknown := f.unknownIfWritten(i, num); unknown != nil {
			return errors.Join(unknown, err)
		}
		if pause == 0 || ctx.Err() != nil {
			break
		}
		f.log.Warn("funding failed before it wrote a key file, trying again", zap.Duration("in", pause), zap.Error(err))
		if err := f.pause(ctx, pause); err != nil {
			return err
		}
	}
	if err != nil {
		return errors.Join(f.unknownIfWritten(i, num), err)
	}
	return nil
}

// createByNode lets a newer node create the accounts, and writes their key files.
func createByNode(ctx context.Context, n *node, f *funding, i, num int) error {
	amount, err := f.each.Mul(uint64(num))
	if err != nil {
		return fmt.Errorf("the amount for %d accounts: %w", num, err)
	}
	payer, err := f.fundingKey(i)
	if err != nil {
		return err
	}
	intent := Intent{Kind: kindAccounts, Node: n.address, Handle: f.world.NewHandle(), Index: &i, Files: f.filesOf(i), Count: num}
	if e, ok := f.earlier(intent); ok {
		s, err := f.decide(ctx, e)
		switch {
		case err != nil:
			return err
		case s.Result == resultDone: // it still runs: the same handle gives the same accounts again
			intent.Handle = e.intent.Handle
		case s.Result == resultAccepted || s.Result == resultUnknown:
			return fmt.Errorf("%w: node %s was asked for %d accounts, and nobody has their keys", errFundingUnknown, n.address, num)
		}
	}
	if err := f.unknownIfWritten(i, num); err != nil {
		return err
	}
	intent.Call = f.ledger.newCall()
	daemon := "" // the server UUID of the one that creates the accounts
	// The job looks at the ledger ten seconds of network time after it began, not earlier, and may be over then.
	runsUntil := f.world.Clock.ToWall(f.world.Clock.Now().Add(10 * time.Second))
	_, err = f.send(ctx, intent, func(before itn.Before) (string, error) {
		created, err := n.client.CreateAccounts(ctx, itn.CreateAccountsDetails{
			Amount: uint64(amount), Fee: uint64(f.fee), NumAccounts: num, FeePayer: itn.NewPrivateKey(payer.Base58()),
			RepeatUntil: runsUntil,
		}, intent.Handle, func(a itn.Attempt) error {
			daemon = a.ServerUUID
			return before(a)
		})
		if err != nil {
			return "", err //nolint:wrapcheck // names operation and node
		}
		intent.Handle = created.Handle
		return created.Handle, f.writeKeys(i, created.Accounts)
	}, func(*Settled) {})
	if err != nil {
		return err
	}
	return f.awaitAccounts(ctx, n, daemon, intent.Handle, f.filesOf(i))
}

// fundingKey opens the file of a funding key.
func (f *funding) fundingKey(i int) (mina.PrivateKey, error) {
	content, err := f.world.Files.ReadFile(f.from[i])
	if err != nil {
		return mina.PrivateKey{}, fmt.Errorf("read the funding key: %w", err)
	}
	key, err := mina.OpenKeyFile(content, f.password)
	if err != nil {
		return mina.PrivateKey{}, fmt.Errorf("open the funding key %s: %w", f.from[i], err)
	}
	return key, nil
}

// writeKeys writes the key files of accounts that a node created. With the empty password the files protect nothing, so they do not cost
// half a second each either.
func (f *funding) writeKeys(i int, accounts []itn.Account) error {
	cost := mina.DefaultKeyFileCost()
	if len(f.password) == 0 {
		cost = mina.SmallestKeyFileCost()
	}
	for j, account := range accounts {
		key, err := mina.ParsePrivateKey(account.PrivateKey.Base58())
		if err != nil {
			return fmt.Errorf("account %d of the node is not a private key", j)
		}
		name := f.filesOf(i) + "-" + strconv.Itoa(j)
		content, err := mina.SealKeyFile(key, f.password, cost, rand.Reader)
		if err != nil {
			return fmt.Errorf("make the key file %s: %w", name, err)
		}
		if err := errors.Join(f.world.Files.Create(name, content), f.world.Files.Create(name+".pub", []byte(key.PublicKey().String()+"\n"))); err != nil {
			return fmt.Errorf("write the key file: %w", err)
		}
	}
	return nil
}

// awaitAccounts waits until the daemon lists the job no longer. Another daemon does not list it either, and knows nothing of it.
func (f *funding) awaitAccounts(ctx context.Context, n *node, daemon, handle, files string) error {
	const pause, most = 10 * time.Second, 30 * time.Minute // network time, as the mina executable waits
	for deadline := f.world.Clock.Now().Add(most); ; {
		handles, err := n.client.ScheduledTransactions(ctx)
		var now itn.Identity
		if err == nil && !slices.Contains(handles, handle) {
			now, err = n.authenticate(ctx)
		}
		switch {
		case now.ServerUUID == daemon:
			return nil
		case now.ServerUUID != "":
			return fmt.Errorf("%w: node %s was restarted meanwhile; look at the balances of the keys %s-*", errFundingUnknown, n.address, files)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case f.world.Clock.Now().After(deadline):
			return fmt.Errorf("%w: node %s is not done after %s (job %s)", errFundingUnknown, n.address, most, handle)
		case err != nil:
			f.log.Warn("the node does not say whether the accounts are funded", zap.String("node", n.address), zap.Error(err))
		}
		if err := f.pause(ctx, pause); err != nil {
			return err
		}
	}
}
