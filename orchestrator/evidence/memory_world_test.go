package evidence

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"provingground/dsl"
	"provingground/fetcher"
	"provingground/fetcher/store"
	"provingground/internal/clock"
	"provingground/internal/mina"
	"provingground/internal/privatepg/pgtest"
	"provingground/internal/soak"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/simnet"
	"provingground/orchestrator/simnet/simnettest"
	"provingground/schema"
)

// This file compares what a Memory says of a simulated network with what really happened there.

// rehearsal is a simulated network on a virtual clock, whose nodes a collector reads into a Memory.
type rehearsal struct {
	testing.TB
	*simnettest.World
	options   simnet.Options
	clock     *clock.Clock
	memory    *Memory
	stored    *store.Store // the database's; nil where there is none
	sources   map[string]Source
	collector *fetcher.Collector
	ctx       context.Context
	run       Run
}

// rehearse lets a network live, whose nodes are read into memory at such intervals at least, and f act on it as a run does.
func rehearse(t testing.TB, options simnet.Options, interval time.Duration, f func(r *rehearsal)) {
	t.Helper()
	live(t, options, func(r *rehearsal) {
		r.memory = NewMemory(r.clock)
		r.sources = map[string]Source{"memory": r.memory}
		r.collect(r.memory, interval, f)
	})
}

// rehearseBoth is the same with a database beside the memory.
func rehearseBoth(t testing.TB, options simnet.Options, interval time.Duration, f func(r *rehearsal)) {
	t.Helper()
	uri := pgtest.Database(t)
	if err := schema.Migrate(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	live(t, options, func(r *rehearsal) {
		var err error
		if r.stored, err = store.Open(r.ctx, uri, store.Options{Now: r.clock.Wall}); err != nil {
			t.Fatal(err)
		}
		defer r.stored.Close()
		database, err := Connect(r.ctx, uri, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		defer database.Close()
		r.memory = NewMemory(r.clock)
		r.sources = map[string]Source{"memory": r.memory, "database": database}
		r.collect(bothStores{r.memory, r.stored}, interval, f)
	})
}

// bothStores keeps the same in memory and in the database.
type bothStores struct {
	memory *Memory
	stored *store.Store
}

func (b bothStores) Cursor(ctx context.Context, node string) (fetcher.Cursor, error) {
	cursor, err := b.stored.Cursor(ctx, node)
	if known, _ := b.memory.Cursor(ctx, node); err == nil && (known.ServerUUID != cursor.ServerUUID || known.Next != cursor.Next) {
		err = fmt.Errorf("the memory's cursor of %s is %+v, the database's %+v", node, known, cursor)
	}
	return cursor, err
}

func (b bothStores) Save(ctx context.Context, batch fetcher.Batch) error {
	if err := b.stored.Save(ctx, batch); err != nil {
		return err
	}
	return b.memory.Save(ctx, batch)
}

// collect reads the nodes' logs while f acts.
func (r *rehearsal) collect(into fetcher.Store, interval time.Duration, f func(r *rehearsal)) {
	r.Helper()
	collector, end := simnettest.Collect(r.ctx, r, fetcher.Options{
		Discover: r.Listed(), Store: into, Clock: r.clock, QueueSize: r.options.MaxLogs, Interval: interval, BackoffMax: 20 * time.Second, Dial: r.Dial,
	})
	r.collector, r.memory.Nodes = collector, collector.Nodes
	f(r)
	end()
}

// rehearseUnread is the same without a collector.
func rehearseUnread(t testing.TB, options simnet.Options, _ time.Duration, f func(r *rehearsal)) {
	t.Helper()
	live(t, options, f)
}

// live lets a network live, on which f acts.
func live(t testing.TB, options simnet.Options, f func(r *rehearsal)) {
	t.Helper()
	options.Accounts = simnettest.Rich(simnettest.Senders(t, 12))
	simnettest.Live(t, options, func(w *simnettest.World) {
		f(&rehearsal{TB: t, World: w, options: options, clock: w.Clock, ctx: w.Ctx()})
	})
}

// begin is the beginning of the run.
func (r *rehearsal) begin() {
	r.run = Run{Clock: r.clock, Began: r.clock.Now(), Genesis: simnettest.Genesis(), Slot: r.options.Slot}
}

// load places load on a node, and tells the run. It tries again where the node is down.
func (r *rehearsal) load(node int, load Load, place func(client *itn.Client, prefix string) error, lasts time.Duration) {
	r.Helper()
	load.Node, load.From = r.Nodes()[node], r.clock.Now()
	r.Load(node, func(client *itn.Client) error { return place(client, memoPrefix(load)) })
	load.Until = r.clock.Now().Add(lasts)
	r.run.Loads = append(r.run.Loads, load)
}

// payments of which some are rejected where other load has the same senders, and fail where the receiver has no account.
func (r *rehearsal) payments(node int, name string, batch int, tps int64, minutes int, senders []mina.PrivateKey, receiver mina.PublicKey) {
	r.Helper()
	keys := make([]itn.PrivateKey, len(senders))
	for i, sender := range senders {
		keys[i] = itn.NewPrivateKey(sender.Base58())
	}
	rate := big.NewRat(tps, 10)
	perSecond, _ := rate.Float64()
	r.load(node, Load{Name: name, Batch: batch, Kind: Payments, TPS: rate}, func(client *itn.Client, prefix string) error {
		_, err := client.SchedulePayments(r.ctx, itn.PaymentsDetails{
			Senders: keys, Receiver: receiver.String(), Amount: 1, MinFee: 10_000_000, MaxFee: 20_000_000, MemoPrefix: prefix,
			TPS: perSecond, DurationMin: minutes,
		}, "", nil)
		return err
	}, time.Duration(minutes)*time.Minute)
}

func (r *rehearsal) zkapps(node int, name string, batch int, tps int64, minutes int, payers []mina.PrivateKey) {
	r.Helper()
	keys := make([]itn.PrivateKey, len(payers))
	for i, payer := range payers {
		keys[i] = itn.NewPrivateKey(payer.Base58())
	}
	updates := 2
	rate := big.NewRat(tps, 10)
	perSecond, _ := rate.Float64()
	r.load(node, Load{Name: name, Batch: batch, Kind: Zkapps, TPS: rate}, func(client *itn.Client, prefix string) error {
		_, err := client.ScheduleZkappCommands(r.ctx, itn.ZkappCommandsDetails{
			FeePayers: keys, NumZkappsToDeploy: 4, TPS: perSecond, DurationMin: minutes, MemoPrefix: prefix, MaxBalanceChange: 1000,
			MinNewZkappBalance: 1_000_000_000, MaxNewZkappBalance: 2_000_000_000, InitBalance: 5_000_000_000, MinFee: 1_000_000_000, MaxFee: 2_000_000_000,
			DeploymentFee: 1_000_000_000, AccountQueueSize: 3, MaxAccountUpdates: &updates,
		}, "", nil)
		return err
	}, time.Duration(minutes)*time.Minute)
}

// settle waits until nothing was logged since all nodes were read, those that can be; the others count as silent. It returns the moment at
// which the first of them was read.
func (r *rehearsal) settle() time.Time {
	r.Helper()
	for range 1000 {
		at := r.clock.Now()
		for _, node := range r.collector.Nodes() {
			if r.clock.Now().Sub(node.LastSuccess) <= patience && node.LastSuccess.Before(at) {
				at = node.LastSuccess
			}
		}
		if !r.happened(at) {
			return at
		}
		r.Pass(211 * time.Millisecond)
	}
	r.Fatalf("the nodes are not read: %+v", r.collector.Nodes())
	return time.Time{}
}

// happened reports whether a node logged anything since a moment.
func (r *rehearsal) happened(since time.Time) bool {
	return slices.ContainsFunc(r.History(), func(entry simnet.Entry) bool {
		switch entry.Fact.(type) {
		case simnet.LogsRead, simnet.LogsRetained, simnet.RequestAnswered:
			return false
		default:
			return !entry.Time.Before(since)
		}
	})
}

// busyRun places loads of both kinds in two rounds, of which some are rejected and some fail.
func (r *rehearsal) busyRun() {
	r.Helper()
	senders := simnettest.Senders(r, 40)
	r.Pass(45 * time.Second)
	r.begin()
	r.payments(0, "exp-0", 0, 5, 3, senders[:3], senders[0].PublicKey())
	r.payments(r.options.Nodes-2, "exp-0", 1, 3, 3, senders[2:5], senders[39].PublicKey())
	r.zkapps(2, "exp-0", 2, 3, 3, senders[5:9])
	r.Pass(100 * time.Second)
	r.payments(1, "exp-1", 0, 4, 2, senders[9:12], senders[0].PublicKey())
	r.Pass(150*time.Second + 300*time.Millisecond)
}

// really is what really happened on the network until a moment.
type really struct {
	*rehearsal
	at       time.Time
	history  simnet.History
	received map[string]Instant // by block: when the first node began with it
	produced map[string]simnet.BlockProduced
	best     map[string]bool // by block
}

// really tells a moment's truth.
func (r *rehearsal) really(at time.Time) *really {
	w := &really{rehearsal: r, at: at, received: map[string]Instant{}, produced: map[string]simnet.BlockProduced{}, best: map[string]bool{}}
	for _, entry := range r.History() {
		if !entry.Time.After(at) {
			w.history = append(w.history, entry)
		}
	}
	for _, entry := range w.history {
		switch fact := entry.Fact.(type) {
		case simnet.BlockProduced:
			w.produced[fact.Hash] = fact
		case simnet.BlockTraced:
			w.received[fact.Hash] = earliest(w.received[fact.Hash], InstantOf(fact.Began))
		}
	}
	tip := ""
	for hash, received := range w.received {
		if tip == "" || cmp.Or(cmp.Compare(w.produced[tip].Height, w.produced[hash].Height), cmp.Compare(received, w.received[tip]), cmp.Compare(hash, tip)) < 0 {
			tip = hash
		}
	}
	for ; w.received[tip] != 0; tip = w.produced[tip].Parent {
		w.best[tip] = true
	}
	return w
}

// value is the truth of a metric; nil where there is none.
func (w *really) value(metric string, scope dsl.Scope) *big.Rat {
	group, name := metric, ""
	if dot := bytes.LastIndexByte([]byte(metric), '.'); dot >= 0 {
		group, name = metric[:dot], metric[dot+1:]
	}
	began := InstantOf(w.run.Began)
	switch {
	case group == "tx" || group == "tx.latency":
		return w.transactions(group, name, scope)
	case metric == "block.count":
		return big.NewRat(int64(len(w.own())), 1)
	case metric == "block.orphaned":
		orphaned := 0
		for _, hash := range w.own() {
			if !w.best[hash] {
				orphaned++
			}
		}
		return share(orphaned, len(w.own()))
	case group == "block.application":
		return statisticOf(name, w.took(simnet.TraceReceived))
	case group == "block.production":
		return statisticOf(name, w.took(simnet.TraceProduced))
	case metric == "chain.longest-gap":
		return w.longestGap()
	case metric == "chain.reorganisation":
		deepest := 0
		for _, entry := range w.history {
			if tip, ok := entry.Fact.(simnet.TipChanged); ok && InstantOf(entry.Time) >= began {
				deepest = max(deepest, tip.Left)
			}
		}
		return big.NewRat(int64(deepest), 1)
	case metric == "chain.tips":
		tips := map[string]string{}
		for _, entry := range w.history {
			if tip, ok := entry.Fact.(simnet.TipChanged); ok {
				tips[entry.Node] = tip.Hash
			}
		}
		for _, down := range w.history.Down() {
			delete(tips, down)
		}
		distinct := map[string]bool{}
		for _, tip := range tips {
			distinct[tip] = true
		}
		return big.NewRat(int64(len(distinct)), 1)
	case metric == "snark.received":
		n := int64(0)
		for _, work := range w.works() {
			if work.Received >= began {
				n++
			}
		}
		return big.NewRat(n, 1)
	case group == "snark.latency":
		var took []time.Duration
		for _, work := range w.works() {
			if work.Added != 0 && work.Received >= began {
				took = append(took, span(work.Added, work.Received))
			}
		}
		return statisticOf(name, took)
	case metric == "snark.interruptions":
		n := int64(0)
		for hash, block := range w.produced {
			if block.Interrupted != nil && w.received[hash] >= began {
				n++
			}
		}
		return big.NewRat(n, 1)
	case metric == "log.lost":
		return big.NewRat(w.lost(), 1)
	case metric == "log.gaps":
		return big.NewRat(0, 1) // of a network that lost nothing
	case metric == "log.lag":
		return seconds(w.clock.Now().Sub(w.at)) // where all nodes are read
	}
	return nil
}

func share(n, of int) *big.Rat {
	if of == 0 {
		return nil
	}
	return big.NewRat(int64(n), int64(of))
}

// statisticOf works a statistic out, by the book.
func statisticOf(name string, took []time.Duration) *big.Rat {
	if len(took) == 0 {
		return nil
	}
	slices.Sort(took)
	switch name {
	case "min":
		return seconds(took[0])
	case "max":
		return seconds(took[len(took)-1])
	case "mean":
		sum := time.Duration(0)
		for _, d := range took {
			sum += d
		}
		return new(big.Rat).Quo(seconds(sum), big.NewRat(int64(len(took)), 1))
	}
	percent, err := strconv.Atoi(name[1:])
	if err != nil {
		return nil
	}
	return seconds(took[(len(took)*percent+99)/100-1])
}

// own are the run's blocks.
func (w *really) own() []string {
	var own []string
	for hash, received := range w.received {
		if received >= InstantOf(w.run.Began) {
			own = append(own, hash)
		}
	}
	return own
}

// took is how long the nodes took for their blocks, each node the first time.
func (w *really) took(source simnet.TraceSource) []time.Duration {
	var took []time.Duration
	seen := map[[2]string]bool{}
	for _, entry := range w.history {
		fact, ok := entry.Fact.(simnet.BlockTraced)
		if !ok || seen[[2]string{entry.Node, fact.Hash}] {
			continue
		}
		seen[[2]string{entry.Node, fact.Hash}] = true
		if began := InstantOf(fact.Began); fact.Source == source && w.received[fact.Hash] >= InstantOf(w.run.Began) {
			took = append(took, span(began, InstantOf(entry.Time)))
		}
	}
	return took
}

func (w *really) longestGap() *big.Rat {
	taken := map[int64]bool{}
	for hash := range w.best {
		taken[int64(w.produced[hash].Slot)] = true
	}
	longest, now := int64(0), int64(0)
	for slot := int64(w.run.Began.Sub(w.run.Genesis) / w.run.Slot); slot < int64(w.at.Sub(w.run.Genesis)/w.run.Slot); slot++ {
		if now++; taken[slot] {
			now = 0
		}
		longest = max(longest, now)
	}
	return big.NewRat(longest, 1)
}

// works are what the nodes that trace SNARK work traced of it.
func (w *really) works() []Work {
	older := w.Nodes()[w.options.Nodes-w.options.Old:]
	var works []Work
	for _, truth := range w.history.Works() {
		var work Work
		for _, report := range truth.Reports {
			switch {
			case report.Prover != "":
				work.Received = earliest(work.Received, InstantOf(report.Arrived))
			case report.Listed == simnet.WorkAdded && !slices.Contains(older, report.Node):
				work.Added = earliest(work.Added, InstantOf(report.At))
			}
		}
		works = append(works, work)
	}
	return works
}

// lost is how many entries no answer gave of which a reader can know.
func (w *really) lost() (n int64) {
	logs := w.KeptLogs()
	for i, run := range w.LogRuns() {
		for _, missed := range run.Missed() {
			for id := missed.First; id <= missed.Last; id++ {
				if at := logs[i].Logs[id-1].Timestamp; !at.Before(w.run.Began) && !at.After(w.at) {
					n++
				}
			}
		}
	}
	return n
}

// transactions is the truth of a metric of transactions.
func (w *really) transactions(group, name string, scope dsl.Scope) *big.Rat {
	counts := map[string]int{}
	var latencies []time.Duration
	for _, tx := range w.history.Transactions() {
		if !slices.ContainsFunc(w.run.Loads, func(load Load) bool {
			batch, _, ok := memoOf(tx.Memo)
			return ok && batch == memoPrefix(load) && (scope.Kind == "" || string(load.Kind) == scope.Kind) &&
				(scope.Round == nil || load.Name == fmt.Sprintf("exp-%d", *scope.Round))
		}) {
			continue
		}
		received := Instant(0)
		for _, report := range tx.Reports {
			received = earliest(received, InstantOf(report.At))
		}
		var in *simnet.TransactionBlock
		for _, block := range tx.Blocks {
			if w.best[block.Hash] && (in == nil || block.Height < in.Height) {
				in = &block
			}
		}
		counts["submitted"]++
		switch {
		case in != nil:
			counts["included"]++
			if in.Failure != "" {
				counts["failed"]++
			}
			latencies = append(latencies, span(received, w.received[in.Hash]))
		case tx.Rejected != "":
			counts["rejected"]++
		default:
			counts["missing"]++
		}
	}
	switch {
	case group == "tx.latency":
		return statisticOf(name, latencies)
	case name == "submitted":
		return big.NewRat(int64(counts[name]), 1)
	default:
		return share(counts[name], counts["submitted"])
	}
}

// rehearsedScopes are those that the loads of busyRun have.
func rehearsedScopes() []dsl.Scope {
	zero, one := int64(0), int64(1)
	return []dsl.Scope{{}, {Round: &zero}, {Round: &one}, {Kind: "payments"}, {Kind: "zkapps"}, {Round: &zero, Kind: "payments"}}
}

// verify compares what every source says of all metrics with the truth: exactly where the logs leave no doubt, else the truth must lie between the bounds. All
// sources say the same.
func (r *rehearsal) verify(exactly func(metric string) bool) {
	r.Helper()
	w := r.really(r.settle())
	if r.stored != nil {
		if err := r.stored.SaveNodes(r.ctx, r.collector.Nodes()); err != nil {
			r.Fatal(err)
		}
	}
	for _, metric := range Metrics() {
		asked := []dsl.Scope{{}}
		if metric.Scoped {
			asked = rehearsedScopes()
		}
		for _, scope := range asked {
			want := w.value(metric.Name, scope)
			answers := make(map[string]string, len(r.sources))
			for name, source := range r.sources {
				got := source.Measure(r.ctx, Question{Metric: metric.Name, Scope: scope, Run: r.run})
				answers[name] = fmt.Sprintf("%s..%s (%s; %s)", ratText(got.Low), ratText(got.High), got.Window, got.Missing)
				text := fmt.Sprintf("%s: %s%s is %s, really %s", name, metric.Name, scope.String(), answers[name], ratText(want))
				switch {
				case exactly(metric.Name):
					if (got.Low == nil) != (want == nil) || (got.High == nil) != (want == nil) || want != nil && (got.Low.Cmp(want) != 0 || got.High.Cmp(want) != 0) {
						r.Errorf("%s", text)
					}
				case want == nil || group(metric.Name) == "log":
				case got.Low != nil && got.Low.Cmp(want) > 0, got.High != nil && got.High.Cmp(want) < 0:
					r.Errorf("%s", text)
				case got.Missing == "" && (got.Low == nil || got.High == nil || got.Low.Cmp(got.High) != 0):
					r.Errorf("no reason: %s", text)
				}
			}
			if database, ok := answers["database"]; ok && database != answers["memory"] {
				r.Errorf("%s%s is %s by the database and %s by the memory", metric.Name, scope.String(), database, answers["memory"])
			}
		}
	}
}

// group is what a metric's name begins with.
func group(metric string) string {
	name, _, _ := strings.Cut(metric, ".")
	return name
}

func ratText(r *big.Rat) string {
	if r == nil {
		return "?"
	}
	return r.FloatString(6)
}

// Of a network in which nothing is lost, everything is known.
func TestAQuietNetworkIsKnown(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rehearseBoth(t, simnet.Options{
				Nodes: 6, Producers: 3, Old: 1, Seed: seed, Slot: 10 * time.Second, Latency: 2 * time.Second, ProofTime: 8 * time.Second, MaxLogs: 5000,
				KeepJournal: true, JournalNodes: true, KeepLogs: true,
			}, time.Second, func(r *rehearsal) {
				r.busyRun()
				r.verify(func(metric string) bool { return metric != "chain.reorganisation" && metric != "chain.tips" })
			})
		})
	}
}

// Whatever is lost, what really happened lies between the bounds.
func TestNothingIsSaidThatIsNotSo(t *testing.T) {
	for seed := range uint64((soak.Rounds(t) + 1) / 2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			options := faulty(seed)
			rehearseBoth(t, options, time.Second, func(r *rehearsal) {
				r.busyRun()
				r.verify(func(string) bool { return false })
			})
			if t.Failed() {
				t.Logf("%+v %v", options, options.Faults)
			}
		})
	}
}

// faulty is a random network whose logs are not complete.
func faulty(seed uint64) simnet.Options {
	random := rand.New(rand.NewPCG(seed, 1))
	options := simnet.Options{
		Nodes: 3 + random.IntN(4), Producers: 1 + random.IntN(3), Old: random.IntN(2), Seed: seed, Slot: 10 * time.Second,
		Latency: time.Duration(1+random.IntN(3000)) * time.Millisecond, ProofTime: 8 * time.Second, MaxLogs: 5000,
		KeepJournal: true, JournalNodes: true, KeepLogs: true,
		RestartAfter: time.Duration(5+random.IntN(60)) * time.Second,
	}
	if random.IntN(3) == 0 {
		options.MaxLogs = 50 + random.IntN(200)
	}
	host := func() string { return fmt.Sprintf("127.0.0.%d", 2+random.IntN(options.Nodes)) }
	for range random.IntN(4) {
		fault := simnet.Fault{Kind: simnet.FaultRestart, Node: host(), Slot: 2 + random.IntN(25)}
		switch random.IntN(5) {
		case 0:
			fault.Kind, fault.Percent = simnet.FaultDropLogs, 1+random.IntN(30)
		case 1:
			fault.Kind, fault.Percent, fault.Node = simnet.FaultDropLogs, 1+random.IntN(5), ""
		case 2:
			fault.Kind, fault.Slot = simnet.FaultDie, 10+random.IntN(20)
		case 3:
			fault.Kind = simnet.FaultRedeploy
		}
		options.Faults = append(options.Faults, fault)
	}
	return options
}
