package fetcher_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"provingground/fetcher"
	"provingground/internal/clock"
	"provingground/internal/mina"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/simnet"
	"provingground/uptime"
)

// key makes an ITN key, another one for each fill.
func key(t failer, fill byte) (itn.Key, ed25519.PublicKey) {
	t.Helper()
	seed := bytes.Repeat([]byte{fill}, ed25519.SeedSize)
	made, err := itn.ParseKey(base64.StdEncoding.EncodeToString(seed))
	if err != nil {
		t.Fatal(err)
	}
	public, ok := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	if !ok {
		t.Fatal("no Ed25519 key")
	}
	return made, public
}

// failer is what a *testing.T and a *rapid.T have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// world is a simulated network on a virtual clock, with a store.
type world struct {
	failer
	*simnet.Network
	clock  *clock.Clock
	store  *memoryStore
	loader itn.Key // of the load; the collector has another
	reader itn.Key
	sender mina.PrivateKey
	group  *clock.Group
	ctx    context.Context
}

func genesis() time.Time { return time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC) }

// inVirtualTime runs f with a started network.
func inVirtualTime(t failer, options simnet.Options, f func(w *world)) {
	t.Helper()
	virtual := clock.NewVirtual(genesis())
	options.Clock, options.KeepJournal, options.KeepLogs = virtual.Clock(), true, true
	options.SnarkCoordinators = -1
	reader, readerPublic := key(t, 1)
	loader, loaderPublic := key(t, 2)
	options.ITNKeys = []ed25519.PublicKey{readerPublic, loaderPublic}
	sender, err := mina.GeneratePrivateKey(rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	options.Accounts = map[mina.PublicKey]mina.Nanomina{sender.PublicKey(): 1_000_000_000_000_000}
	virtual.Run(func() {
		network, err := simnet.New(options)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if err := network.Start(ctx); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := network.Stop(); err != nil {
				t.Errorf("stopping the network: %v", err)
			}
		}()
		w := &world{
			failer: t, Network: network, clock: options.Clock, store: newMemoryStore(), loader: loader, reader: reader, sender: sender,
		}
		w.group, w.ctx = options.Clock.Group(ctx, 0)
		f(w)
	})
}

// pass lets network time pass.
func (w *world) pass(span time.Duration) {
	w.Helper()
	if err := w.clock.Sleep(w.ctx, span); err != nil {
		w.Fatal(err)
	}
}

// load has a node send payments, of which each makes four entries on every node.
func (w *world) load(node int, tps float64, minutes int) {
	w.Helper()
	client := itn.New(w.Nodes()[node], w.loader, itn.Options{Transport: w.Transport(), Turn: w.clock.Turn()})
	for tries := 1; ; tries++ {
		err := w.schedule(client, tps, minutes)
		switch {
		case err == nil:
			return
		case tries == 20:
			w.Fatal(err)
		}
		w.pass(time.Second)
	}
}

func (w *world) schedule(client *itn.Client, tps float64, minutes int) error {
	_, err := client.SchedulePayments(w.ctx, itn.PaymentsDetails{
		Senders: []itn.PrivateKey{itn.NewPrivateKey(w.sender.Base58())}, Receiver: w.sender.PublicKey().String(),
		Amount: 1, MinFee: 10_000_000, MaxFee: 10_000_000, MemoPrefix: "m", TPS: tps, DurationMin: minutes,
	}, "", nil)
	return err
}

// list is what discovery finds.
func (w *world) list() fetcher.Fixed {
	var nodes fetcher.Fixed
	for i, address := range w.Nodes() {
		nodes = append(nodes, entry(w, address, w.Submitters()[i].String()))
	}
	return nodes
}

func entry(t failer, address, submitter string) uptime.Node {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uptime.Node{RemoteAddr: host, ControlPort: uint16(number), Submitter: submitter}
}

// dial makes clients that take turns on the clock.
func dial(key itn.Key, transport http.RoundTripper, clock *clock.Clock, limit int64) func(string) *itn.Client {
	return func(address string) *itn.Client {
		return itn.New(address, key, itn.Options{
			Transport: fetcher.Transport(transport), Turn: clock.Turn(), MaxAnswerBytes: limit,
		})
	}
}

func (w *world) options() fetcher.Options {
	return fetcher.Options{
		Discover: w.list(), Dial: dial(w.reader, w.Transport(), w.clock, 0), Store: w.store, Clock: w.clock,
		BackoffMax: 20 * time.Second,
	}
}

// collect runs a collector until stop is called, which returns when it has ended.
func (w *world) collect(options fetcher.Options) (collector *fetcher.Collector, stop func()) {
	w.Helper()
	collector, err := fetcher.New(options)
	if err != nil {
		w.Fatal(err)
	}
	group, ctx := w.clock.Group(w.ctx, 0)
	ctx, cancel := context.WithCancel(ctx)
	group.Go(func() error { return collector.Run(ctx) })
	return collector, func() {
		cancel()
		if err := group.Wait(); err != nil {
			w.Errorf("Run: %v", err)
		}
	}
}

// rowKey is what makes an entry the same entry.
type rowKey struct {
	node, uuid string
	id         int
}

// memoryStore is a Store that remembers, and checks what it is given.
type memoryStore struct {
	fail  func() (before, after error) // for one Save: instead of storing, or after it was stored; nil never fails
	check func(fetcher.Batch) error    // may refuse a batch

	mu        sync.Mutex
	cursors   map[string]fetcher.Cursor
	rows      map[rowKey]itn.Log
	malformed map[rowKey]fetcher.Malformed
	gaps      map[rowKey]fetcher.Gap
	restarts  []fetcher.Restart
	repeats   int // entries that were there already, with the same content
	wrong     []string
}

func newMemoryStore() *memoryStore {
	return &memoryStore{
		cursors: map[string]fetcher.Cursor{}, rows: map[rowKey]itn.Log{},
		malformed: map[rowKey]fetcher.Malformed{}, gaps: map[rowKey]fetcher.Gap{},
	}
}

func (s *memoryStore) Cursor(_ context.Context, node string) (fetcher.Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursors[node], nil
}

func (s *memoryStore) Save(ctx context.Context, batch fetcher.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var before, after error
	if s.fail != nil {
		before, after = s.fail()
	}
	if before == nil && s.check != nil {
		before = s.check(batch)
	}
	if before != nil {
		return before
	}
	old := s.cursors[batch.Node]
	previous := 0
	for _, log := range batch.Entries {
		key := rowKey{batch.Node, batch.Cursor.ServerUUID, log.ID}
		if log.ID <= previous || log.ID >= batch.Cursor.Next {
			s.wrong = append(s.wrong, fmt.Sprintf("entry %d after %d in a batch up to %d", log.ID, previous, batch.Cursor.Next))
		}
		previous = log.ID
		if stored, ok := s.rows[key]; ok {
			s.repeats++
			if !equal(stored, log) {
				s.wrong = append(s.wrong, "another entry of the same id: "+cmp.Diff(stored, log))
			}
		}
		s.rows[key] = log
	}
	if old.ServerUUID == batch.Cursor.ServerUUID && batch.Cursor.Next < old.Next {
		s.wrong = append(s.wrong, fmt.Sprintf("the cursor went back from %d to %d", old.Next, batch.Cursor.Next))
	}
	for _, gap := range batch.Gaps {
		s.gaps[rowKey{batch.Node, gap.ServerUUID, gap.From}] = gap
	}
	for _, malformed := range batch.Malformed {
		s.malformed[rowKey{batch.Node, batch.Cursor.ServerUUID, malformed.ID}] = malformed
	}
	if batch.Restart != nil {
		s.restarts = append(s.restarts, *batch.Restart)
	}
	s.cursors[batch.Node] = batch.Cursor
	return after
}

// gapRanges returns the gaps of a run whose ends are known, ascending and joined.
func (s *memoryStore) gapRanges(node, uuid string) []simnet.LogRange {
	var ranges []simnet.LogRange
	for _, key := range slices.SortedFunc(maps.Keys(s.gaps), func(a, b rowKey) int { return a.id - b.id }) {
		gap := s.gaps[key]
		switch {
		case key.node != node || key.uuid != uuid || gap.To == 0:
		case len(ranges) > 0 && ranges[len(ranges)-1].Last+1 == gap.From:
			ranges[len(ranges)-1].Last = gap.To
		default:
			ranges = append(ranges, simnet.LogRange{First: gap.From, Last: gap.To})
		}
	}
	return ranges
}

// names maps addresses to the names under which the nodes are stored.
func (w *world) names() map[string]string {
	names := make(map[string]string)
	for _, node := range w.list() {
		names[net.JoinHostPort(node.RemoteAddr, strconv.Itoa(int(node.ControlPort)))] =
			fetcher.NodeName(node.Submitter, node.RemoteAddr, node.ControlPort)
	}
	return names
}

// verify compares the store with what the daemons really logged. Each entry is stored as it was, or lies in a gap, or lies after the last
// answer in a run. With lossless answers the gaps are exactly what no answer gave; otherwise what the node gave and we did not get
// must have been dropped by the node.
func (w *world) verify(answersArrive bool) (stored, lost int) {
	w.Helper()
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, wrong := range s.wrong {
		w.Errorf("store: %s", wrong)
	}
	names := w.names()
	runs := w.LogRuns()
	seen := 0
	for i, kept := range w.KeptLogs() {
		name, run := names[kept.Node], runs[i]
		gaps := s.gapRanges(name, kept.ServerUUID)
		if answersArrive {
			if diff := cmp.Diff(run.Gaps(), gaps, cmpopts.EquateEmpty()); diff != "" {
				w.Errorf("gaps of %s, run %s (-node +stored):\n%s", name, kept.ServerUUID, diff)
			}
		}
		inGap := func(id int) bool { return contains(gaps, id) }
		last := 0
		for _, log := range kept.Logs {
			row, ok := s.rows[rowKey{name, kept.ServerUUID, log.ID}]
			switch {
			case ok && inGap(log.ID):
				w.Errorf("%s: entry %d is stored and in a gap", name, log.ID)
			case ok:
				seen++
				stored++
				last = log.ID
				if !equal(log, row) {
					w.Errorf("%s: entry %d (-node +stored):\n%s", name, log.ID, cmp.Diff(log, row))
				}
			case inGap(log.ID):
				lost++
				last = log.ID
				if contains(run.Given, log.ID) && !contains(run.Dropped, log.ID) {
					w.Errorf("%s: entry %d is given up, but the node still had it", name, log.ID)
				}
			}
		}
		for id := range last {
			if _, ok := s.rows[rowKey{name, kept.ServerUUID, id + 1}]; !ok && !inGap(id+1) {
				w.Errorf("%s: entry %d is neither stored nor in a gap", name, id+1)
				break
			}
		}
		if cursor := s.cursors[name]; cursor.ServerUUID == kept.ServerUUID && cursor.Next != last+1 {
			w.Errorf("%s: the cursor is at %d, the last entry known of is %d", name, cursor.Next, last)
		}
		if end, ok := s.gaps[rowKey{name, kept.ServerUUID, last + 1}]; s.cursors[name].ServerUUID != kept.ServerUUID && last > 0 &&
			(!ok || end.To != 0 || end.Reason != fetcher.GapRestart) {
			w.Errorf("%s: the end of run %s after %d is not in the gaps", name, kept.ServerUUID, last)
		}
	}
	if seen != len(s.rows) {
		w.Errorf("%d rows are stored, %d entries are real", len(s.rows), seen)
	}
	return stored, lost
}

func contains(ranges []simnet.LogRange, id int) bool {
	return slices.ContainsFunc(ranges, func(r simnet.LogRange) bool { return r.First <= id && id <= r.Last })
}

var errStore = errors.New("the database is away")

// equal compares entries quicker than cmp does.
func equal(a, b itn.Log) bool {
	return a.ID == b.ID && a.Timestamp.Equal(b.Timestamp) && a.Message == b.Message && a.Process == b.Process &&
		slices.EqualFunc(a.Metadata, b.Metadata, func(a, b itn.LogMetadatum) bool {
			return a.Item == b.Item && bytes.Equal(a.Value, b.Value)
		})
}
