package fetcher_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"provingground/fetcher"
	"provingground/internal/clock"
	"provingground/internal/mina"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/simnet"
	"provingground/orchestrator/simnet/simnettest"
)

// world is a simulated network on a virtual clock, with a store. Some worlds have no network, but one fake node.
type world struct {
	simnettest.TB
	*simnettest.World
	clock  *clock.Clock
	store  *memoryStore
	sender mina.PrivateKey
	group  *clock.Group
	ctx    context.Context
}

// inVirtualTime runs f with a started network.
func inVirtualTime(t simnettest.TB, options simnet.Options, f func(w *world)) {
	t.Helper()
	options.KeepJournal, options.KeepLogs, options.SnarkCoordinators = true, true, -1
	senders := simnettest.Senders(t, 1)
	options.Accounts = simnettest.Rich(senders)
	simnettest.Live(t, options, func(live *simnettest.World) {
		w := &world{TB: t, World: live, clock: live.Clock, store: newMemoryStore(), sender: senders[0]}
		w.group, w.ctx = live.Clock.Group(live.Ctx(), 0)
		f(w)
	})
}

// Pass lets network time pass, in worlds without a network too.
func (w *world) Pass(span time.Duration) {
	w.Helper()
	if err := w.clock.Sleep(w.ctx, span); err != nil {
		w.Fatal(err)
	}
}

// load has a node send payments, of which each makes four entries on every node.
func (w *world) load(node int, tps float64, minutes int) {
	w.Helper()
	w.Payments(node, w.sender, "m", tps, minutes)
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
		Discover: w.Listed(), Dial: w.Dial, Store: w.store, Clock: w.clock,
		BackoffMax: 20 * time.Second,
	}
}

// collect runs a collector until stop is called, which returns when it has ended.
func (w *world) collect(options fetcher.Options) (collector *fetcher.Collector, stop func()) {
	w.Helper()
	return simnettest.Collect(w.ctx, w, options)
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
	names := w.Names()
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
