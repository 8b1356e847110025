package simnet

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/benbjohnson/immutable"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"provingground/internal/clock"
	"provingground/internal/mina"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/itn/itnserver"
)

// libp2pPort is the port that every node names as its libp2p port.
const libp2pPort = 8302

// Network is a simulated network. Make one with [New]. Safe for concurrent use.
type Network struct {
	opts       Options
	clock      *clock.Clock
	log        *zap.Logger
	journal    *journal
	logJournal *logJournal // nil when there is none; with mu
	documents  *itnserver.Documents
	itnKeys    []string
	tracer     *tracer
	producing  time.Duration // from a slot's start to the block

	mu          sync.Mutex
	now         time.Time // network time up to which everything has happened
	queue       eventQueue
	failure     error // the first failure that concerns the network as a whole
	nodes       []*node
	byAddress   map[string]*node
	byHost      map[string]*node
	byPeerID    map[string]*node
	accounts    accountNames
	publicKeys  map[itn.PrivateKey]accountID // what private keys seen so far belong to
	uuids       *rand.ChaCha8
	serial      uint64 // commands made so far
	best        *block
	highest     int
	blocks      map[int][]*block // by height, those that may still be linked to
	components  [][]*node        // nil: to be found again
	exchangeDue time.Time        // the exchange of chains planned last
	synced      int
	faults      *faultTable
	jobs        uint64           // SNARK jobs made so far
	provers     int              // works that each coordinator's model proves at once; negative for any number
	coordinator *coordinatorPort // nil when no work is proven outside
	workChange  workChange       // the one that was worked out last
	keptLogs    []*keptLog       // of all runs of all daemons; only with Options.KeepLogs
	reports     chan report      // nil when the network serves the online list itself
	ports       *ports           // nil while nothing listens

	started  bool
	stopped  bool // Stop was called: nobody listens any more
	ended    bool // no time passes any more
	driver   *clock.Group
	waitsFor time.Time               // what the driver sleeps until
	callOff  context.CancelCauseFunc // ends the driver's sleep
	end      context.CancelCauseFunc
}

// errRequeued ends the driver's sleep: something is to happen earlier than it thought.
var errRequeued = errors.New("an earlier event was planned")

// errStopped is the cause with which everything of a network ends.
var errStopped = errors.New("the network was stopped")

// New makes a network whose time begins now, with all nodes running and the genesis block as their tip. Nothing happens by itself before
// [Network.Start], but every request and every question first lets happen what is due. All that is wrong with the options is reported at
// once.
func New(options Options) (*Network, error) {
	opts, err := options.resolve()
	if err != nil {
		return nil, fmt.Errorf("simulated network: %w", err)
	}
	documents, err := itnserver.NewDocuments()
	if err != nil {
		return nil, fmt.Errorf("simulated network: %w", err)
	}
	// Another network has other daemons, also one with the same seed: whoever remembers those by their UUIDs must not take them for the same.
	var seed [32]byte
	for i := range 4 {
		word := mix(opts.Seed, purposeUUID, uint64(i), uint64(opts.Genesis.UnixNano()))
		for j := range 8 {
			seed[8*i+j] = byte(word >> (8 * j))
		}
	}
	n := &Network{
		opts: opts, clock: opts.Clock, log: opts.Logger.Named("simnet"), journal: newJournal(opts.Journal, opts.KeepJournal),
		documents: documents, producing: opts.Slot / 36, now: opts.Clock.Now(),
		byAddress: make(map[string]*node), byHost: make(map[string]*node), byPeerID: make(map[string]*node),
		publicKeys: make(map[itn.PrivateKey]accountID), uuids: rand.NewChaCha8(seed), blocks: make(map[int][]*block),
		faults: newFaultTable(opts.Faults), provers: AllProvers,
	}
	if opts.LogJournal != nil {
		n.logJournal = &logJournal{out: bufio.NewWriterSize(opts.LogJournal, 64<<10)}
	}
	n.tracer = newTracer(opts.Seed, opts.Latency, n.producing)
	if opts.UptimeURL != "" {
		n.reports = make(chan report, opts.Nodes)
	}
	for _, key := range opts.ITNKeys {
		n.itnKeys = append(n.itnKeys, base64.StdEncoding.EncodeToString(key))
	}
	if err := n.makeNodes(); err != nil {
		return nil, fmt.Errorf("simulated network: %w", err)
	}
	n.makeGenesis()
	n.record(nil, NetworkStarted{
		Seed: opts.Seed, Nodes: n.addresses(), Producers: opts.Producers, Old: opts.Old, Genesis: opts.Genesis,
		SlotMS: opts.Slot.Milliseconds(), LatencyMS: opts.Latency.Milliseconds(),
	})
	for _, node := range n.nodes {
		node.tip = n.best
		n.start(node)
	}
	n.reportAll()
	first := n.slotOf(n.now)
	if n.slotStart(first).Before(n.now) || first == 0 {
		first++
	}
	n.plan(n.slotStart(first), func() { n.beginSlot(first) })
	n.planFaults()
	return n, n.failure
}

// makeGenesis makes the first block: the accounts of the options and of the producers.
func (n *Network) makeGenesis() {
	work := newDraft(ledger{immutable.NewList[account]()})
	for _, key := range sortedAccounts(n.opts.Accounts) {
		work.changed[n.accounts.id(key.text)] = account{balance: key.balance, exists: true}
	}
	for _, node := range n.nodes {
		if node.staked > 0 {
			work.changed[node.account] = account{balance: mina.Nanomina(node.staked) * nanominaPerMina, exists: true}
		}
	}
	// The genesis block has length 1, as Mina's.
	n.best = &block{height: 1, best: true, made: n.opts.Genesis}
	n.best.ledger, _ = work.seal()
	n.best.hash = stateHash(n.opts.Seed, n.best)
	n.highest = 1
	n.blocks[1] = []*block{n.best}
}

// Start lets the network live: a goroutine that belongs to it lets things happen when they are due, until Stop is called or ctx ends. On
// a virtual clock, Start and Stop are called by a goroutine that the clock knows.
func (n *Network) Start(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.started || n.stopped {
		return errors.New("simulated network: it was started, or stopped, before")
	}
	n.started = true
	ctx, n.end = context.WithCancelCause(ctx)
	n.driver, ctx = n.clock.Group(ctx, 0)
	n.driver.Go(func() error { return n.drive(ctx) })
	n.startReporting(ctx)
	return nil
}

// drive lets things happen at their time.
func (n *Network) drive(ctx context.Context) error {
	for {
		n.mu.Lock()
		n.catchUp()
		wait, callOff := context.WithCancelCause(ctx)
		n.callOff = callOff
		n.waitsFor, _ = n.queue.next() // there always is one: the next slot
		until := n.waitsFor
		n.mu.Unlock()
		err := n.clock.Until(wait, until)
		callOff(nil)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of the network, which is no failure
		}
		if err != nil && !errors.Is(err, errRequeued) {
			return fmt.Errorf("waiting for network time %s: %w", until.Format(time.RFC3339Nano), err)
		}
	}
}

// Stop ends what Start and Listen began and waits for it: ports are closed, connections refused, the journal is written, and no time passes
// any more. It returns the first failure of the network's life, such as a journal that could not be written. A second call does nothing more
// and returns the same.
func (n *Network) Stop() error {
	n.mu.Lock()
	first, ports, driver := !n.stopped, n.ports, n.driver
	n.stopped, n.ports = true, nil
	n.mu.Unlock()
	var errs []error
	if first {
		if ports != nil {
			errs = append(errs, ports.shutdown())
		}
		if driver != nil {
			n.end(errStopped)
			errs = append(errs, driver.Wait())
		}
		n.do(func() {
			for _, retained := range n.retainedLogs() {
				n.journal.add(retained)
			}
			n.record(nil, NetworkStopped{})
			n.ended = true
		})
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return errors.Join(append(errs, n.failure)...)
}

// do lets happen what is due, and then f, all under the lock.
func (n *Network) do(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.catchUp()
	f()
	n.advance(n.now) // what f planned for this instant
	n.settle()
}

// catchUp lets everything happen that is due.
func (n *Network) catchUp() {
	n.advance(n.clock.Now())
	n.settle()
}

// settle ends a span of work under the lock: the journal is handed on, and the driver told when it sleeps too long.
func (n *Network) settle() {
	if err := n.journal.flush(); err != nil {
		n.fail(fmt.Errorf("writing the journal: %w", err))
	}
	if n.logJournal != nil {
		if err := n.logJournal.flush(); err != nil {
			n.fail(fmt.Errorf("writing the log journal: %w", err))
		}
	}
	if next, ok := n.queue.next(); ok && n.callOff != nil && next.Before(n.waitsFor) {
		n.callOff(errRequeued)
	}
}

// advance moves network time on to t. Time never goes back, whatever the wall clock does.
func (n *Network) advance(t time.Time) {
	for !n.ended {
		next, ok := n.queue.next()
		if !ok || next.After(t) {
			break
		}
		e := n.queue.take()
		n.now = e.at
		e.run()
	}
	if t.After(n.now) && !n.ended {
		n.now = t
	}
}

// plan lets run happen at an instant of network time; at once, within this span of work, when the instant has come already.
func (n *Network) plan(at time.Time, run func()) { n.queue.plan(at, run) }

// fail remembers a failure that concerns the network as a whole.
func (n *Network) fail(err error) {
	if n.failure == nil {
		n.failure = err
		n.log.Error("the simulated network failed", zap.Error(err))
	}
}

func (n *Network) record(node *node, fact Fact) { n.journal.add(n.entry(node, fact)) }

func (n *Network) entry(node *node, fact Fact) Entry {
	entry := Entry{Time: n.now, Wall: n.clock.Wall(), Fact: fact}
	if node != nil {
		entry.Node = node.address
	}
	return entry
}

func (n *Network) newUUID() string {
	id, err := uuid.NewRandomFromReader(n.uuids)
	if err != nil {
		n.fail(fmt.Errorf("drawing a UUID: %w", err))
	}
	return id.String()
}

// listening reports whether connections to a node's port are taken.
func (node *node) listening() bool { return node.daemon != nil && !node.closed && !node.net.stopped }

// portChanged opens or closes a node's TCP ports, where there are any, after what decides on it has changed.
func (n *Network) portChanged(node *node) {
	if n.ports == nil {
		return
	}
	fit := func(server *http.Server, address string, open bool) {
		if !open {
			n.ports.close(address)
		} else if err := n.ports.listen(server, address); err != nil {
			n.fail(fmt.Errorf("opening the port of node %s again: %w", node.address, err))
		}
	}
	fit(n.ports.server, node.address, node.listening())
	if n.coordinator != nil && n.coordinator.node == node {
		fit(n.ports.coordinator, n.opts.Coordinator, node.daemon != nil && !n.stopped)
	}
}

// Nodes returns the addresses (HOST:PORT) of all nodes, whether they run or not. The first ones are the producers.
func (n *Network) Nodes() []string { return n.addresses() }

// Submitters returns the public keys under which the nodes report to an uptime service, in the order of Nodes.
func (n *Network) Submitters() []mina.PublicKey {
	keys := make([]mina.PublicKey, 0, len(n.nodes))
	for _, node := range n.nodes {
		keys = append(keys, node.key.PublicKey())
	}
	return keys
}

// Genesis returns the network time at which slot 0 began.
func (n *Network) Genesis() time.Time { return n.opts.Genesis }

// Slot returns the length of a slot in network time.
func (n *Network) Slot() time.Duration { return n.opts.Slot }

// Hosts returns the IP addresses of all nodes, in the order of Nodes.
func (n *Network) Hosts() []string {
	hosts := make([]string, 0, len(n.nodes))
	for _, node := range n.nodes {
		hosts = append(hosts, node.host)
	}
	return hosts
}
