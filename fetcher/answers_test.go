package fetcher_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"provingground/fetcher"
	"provingground/internal/clock"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/itn/itntest"
	"provingground/orchestrator/simnet/simnettest"
)

const (
	lone     = "-10.0.0.1-3085" // the node of itntest, without submitter
	longName = 4000             // bytes of a checkpoint's name, to make answers long
)

// withNode runs a collector against one node of itntest for a while of virtual time.
func withNode(t *testing.T, limit int64, span time.Duration, prepare func(node *itntest.Node), change func(*fetcher.Options)) (
	*memoryStore, *fetcher.Collector,
) {
	t.Helper()
	store := newMemoryStore()
	virtual := clock.NewVirtual(simnettest.Genesis())
	var collector *fetcher.Collector
	virtual.Run(func() {
		clock := virtual.Clock()
		node := itntest.New(t, itntest.Options{})
		prepare(node)
		options := fetcher.Options{
			Discover: fetcher.Fixed{simnettest.Entry(t, itntest.Address, "")}, Dial: dial(node.Key(), node.Transport(), clock, limit), Store: store, Clock: clock,
		}
		if change != nil {
			change(&options)
		}
		w := &world{TB: t, clock: clock}
		w.group, w.ctx = clock.Group(t.Context(), 0)
		var stop func()
		collector, stop = w.collect(options)
		w.Pass(span)
		stop()
	})
	return store, collector
}

func at(id int) time.Time { return simnettest.Genesis().Add(time.Duration(id) * time.Second) }

func entryText(id int) string {
	return fmt.Sprintf(`{"id":%d,"timestamp":%q,"message":"Checkpoint","metadata":[],"process":null}`, id,
		at(id).Format("2006-01-02 15:04:05.000000Z"))
}

func answer(entries ...string) itntest.Behaviour {
	return itntest.Body(`{"data":{"internalLogs":[` + strings.Join(entries, ",") + `]}}`)
}

// ids returns the IDs stored of the lone node's run, and those recorded as malformed.
func ids(s *memoryStore, run int) (stored, malformed []int) {
	for key := range s.rows {
		if key.uuid == itntest.ServerUUID(run) {
			stored = append(stored, key.id)
		}
	}
	for key := range s.malformed {
		if key.uuid == itntest.ServerUUID(run) {
			malformed = append(malformed, key.id)
		}
	}
	return stored, malformed
}

func sequence(from, to int) (list []int) {
	for id := from; id <= to; id++ {
		list = append(list, id)
	}
	return list
}

func TestAnswersThatAreNotWhatTheyShouldBe(t *testing.T) {
	ascending := cmpopts.SortSlices(func(a, b int) bool { return a < b })
	for name, test := range map[string]struct {
		answer    []string
		stored    []int
		malformed []int
		gaps      []fetcher.Gap
		next      int
		check     func(fetcher.Metrics) bool
	}{
		"one bad timestamp": {
			answer: []string{entryText(1), strings.Replace(entryText(2), "2024-", "yesterday-", 1), entryText(3)},
			stored: []int{1, 3}, malformed: []int{2}, next: 4,
		},
		"wrong types": {
			answer: []string{entryText(1), `{"id":2,"timestamp":5,"message":[],"metadata":{}}`, `"text"`, `null`, entryText(5), `[]`},
			stored: []int{1, 5}, malformed: []int{2, 3, 4, 6}, next: 7,
		},
		"bad before good": {
			answer: []string{`{"id":"x"}`, `{}`, entryText(8)},
			stored: []int{8}, malformed: []int{6, 7}, next: 9,
			gaps: []fetcher.Gap{{From: 1, To: 5, After: at(8), Reason: fetcher.GapBeforeFirst}},
		},
		"an id beyond all bounds": {
			answer: []string{entryText(1), strings.Replace(entryText(2), ":2,", ":99999999999999999999,", 1), entryText(3)},
			stored: []int{1, 3}, malformed: []int{2}, next: 4,
		},
		"an absurd id": {
			answer: []string{entryText(1), strings.Replace(entryText(2), ":2,", ":9999999999999,", 1)},
			stored: []int{1}, malformed: []int{9999999999999}, next: 2,
		},
		"negative ids": {
			answer: []string{entryText(-5), entryText(0), entryText(1)}, stored: []int{1}, malformed: []int{-5, 0}, next: 2,
		},
		"repeated ids": {
			answer: []string{entryText(1), entryText(1), entryText(2), entryText(2)}, stored: []int{1, 2}, next: 3,
			check: func(m fetcher.Metrics) bool { return m.Repeated == 2 },
		},
		"ids that go back": {
			answer: []string{entryText(3), entryText(1), entryText(2)}, stored: []int{1, 2, 3}, next: 4,
			check: func(m fetcher.Metrics) bool { return m.OutOfOrder == 1 },
		},
		"ids that jump": {
			answer: []string{entryText(3), entryText(4), entryText(7)}, stored: []int{3, 4, 7}, next: 8,
			gaps: []fetcher.Gap{
				{From: 1, To: 2, After: at(3), Reason: fetcher.GapBeforeFirst},
				{From: 5, To: 6, Before: at(4), After: at(7), Reason: fetcher.GapDropped},
			},
		},
		"absurd times": {
			answer: []string{strings.Replace(entryText(1), "2024", "0001", 1), strings.Replace(entryText(2), "2024", "9999", 1)},
			stored: []int{1, 2}, next: 3, check: func(m fetcher.Metrics) bool { return m.OddTimes == 2 },
		},
		"NUL and what is no UTF-8": {
			answer: []string{
				strings.Replace(entryText(1), "Checkpoint", `a\u0000b`, 1),
				strings.Replace(entryText(2), "[]", "[{\"item\":\"x\\u0000\",\"value\":{\"a\\u0000\":[\"\\u0000\\ud800\",1e400]}},{\"item\":\"y\",\"value\":\"\xff\"}]", 1),
			},
			stored: []int{1, 2}, next: 3, check: func(m fetcher.Metrics) bool { return m.Mended == 2 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			store, collector := withNode(t, 0, time.Minute, func(node *itntest.Node) {
				// What a client cannot read it asks for once more.
				node.Script("internalLogs", answer(test.answer...), answer(test.answer...), answer())
			}, func(o *fetcher.Options) { o.Interval, o.MinInterval = 10*time.Minute, 10*time.Minute })
			stored, malformed := ids(store, 1)
			if diff := cmp.Diff(test.stored, stored, ascending, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.malformed, malformed, ascending, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("malformed (-want +got):\n%s", diff)
			}
			var gaps []fetcher.Gap
			for _, gap := range store.gaps {
				gaps = append(gaps, gap)
			}
			sorted := cmpopts.SortSlices(func(a, b fetcher.Gap) bool { return a.From < b.From })
			if diff := cmp.Diff(test.gaps, gaps, sorted, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(fetcher.Gap{}, "ServerUUID")); diff != "" {
				t.Errorf("gaps (-want +got):\n%s", diff)
			}
			if next := store.cursors[lone].Next; next != test.next {
				t.Errorf("the cursor is at %d, want %d", next, test.next)
			}
			if m := collector.Metrics(); test.check != nil && !test.check(m) {
				t.Errorf("metrics %+v", m)
			}
			for _, log := range store.rows {
				for _, metadatum := range log.Metadata {
					if text := metadatum.Item + string(metadatum.Value); !json.Valid(metadatum.Value) || strings.ToValidUTF8(text, "") != text ||
						strings.Contains(text, "\x00") || strings.Contains(text, `\u0000`) || strings.Contains(text, `\ud800`) {
						t.Errorf("entry %d keeps %q", log.ID, text)
					}
				}
			}
		})
	}
}

// long returns entries whose names make each about 4 kB long, but for one, which is of a size.
func long(last, odd, size int) []itn.Log {
	var logs []itn.Log
	for id := 1; id <= last; id++ {
		length := longName
		if id == odd {
			length = size
		}
		logs = append(logs, itn.Log{ID: id, Timestamp: at(id), Message: strings.Repeat("n", length)})
	}
	return logs
}

func TestAnswersThatAreTooLong(t *testing.T) {
	for name, test := range map[string]struct {
		logs  []itn.Log
		limit int64
		lost  int // the first so many
	}{
		"too many entries":     {long(100, 0, 0), 20*longName + 5000, 80},
		"one huge entry":       {long(100, 97, 100_000), 20*longName + 5000, 97},
		"the last one is huge": {long(100, 100, 100_000), 20*longName + 5000, 100},
		"only one, and huge":   {long(1, 1, 100_000), 20*longName + 5000, 1},
	} {
		t.Run(name, func(t *testing.T) {
			store, collector := withNode(t, test.limit, time.Minute, func(node *itntest.Node) { node.Stub().SetLogs(test.logs...) }, nil)
			stored, _ := ids(store, 1)
			if diff := cmp.Diff(sequence(test.lost+1, len(test.logs)), stored, cmpopts.SortSlices(func(a, b int) bool { return a < b }),
				cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
			gap := store.gaps[rowKey{lone, itntest.ServerUUID(1), 1}]
			if gap.To != test.lost || gap.Reason != fetcher.GapTooLarge || store.cursors[lone].Next != len(test.logs)+1 {
				t.Errorf("gap %+v, cursor %+v", gap, store.cursors[lone])
			}
			m := collector.Metrics()
			if m.TooLarge != 1 || m.Requests > 40 {
				t.Errorf("metrics %+v", m)
			}
		})
	}
}

// huge is so many answers that are too long whatever is asked for.
func huge(count int) []itntest.Behaviour {
	behaviours := make([]itntest.Behaviour, count)
	for i := range behaviours {
		behaviours[i] = itntest.HugeBody(200_000)
	}
	return behaviours
}

func TestAnswersThatAreTooLongForAWhileLoseNothing(t *testing.T) {
	for _, count := range []int{1, 5, 15, 21, 22, 23, 40} {
		store, _ := withNode(t, 100_000, time.Minute, func(node *itntest.Node) {
			node.Stub().SetLogs(long(10, 0, 0)...)
			node.Script("internalLogs", huge(count)...)
		}, nil)
		if next := store.cursors[lone].Next; next != 11 || len(store.rows) != 10 {
			t.Errorf("after %d such answers %d of 10 entries are stored, gaps %v, the cursor is at %d", count, len(store.rows), store.gaps, next)
		}
	}
}

func TestHugeAnswersAreReported(t *testing.T) {
	_, collector := withNode(t, 100_000, 10*time.Second, func(node *itntest.Node) { node.Script("internalLogs", huge(500)...) }, nil)
	if m := collector.Metrics(); m.TooLarge == 0 || m.Entries != 0 || m.Memory.Held != 0 {
		t.Errorf("metrics %+v", m)
	}
	if status := collector.Nodes()[0]; status.LostEntries != 0 || !strings.Contains(status.LastError, itn.ErrAnswerTooLarge.Error()) {
		t.Errorf("status %+v", status)
	}
}

func TestFlushDoesNotReachAnotherRun(t *testing.T) {
	store, _ := withNode(t, 0, time.Minute, func(node *itntest.Node) {
		node.Stub().SetLogs(long(10, 0, 0)...)
		node.Script("flushInternalLogs", func(n *itntest.Node, w http.ResponseWriter, r *http.Request) {
			n.Stub().SetLogs(long(5, 0, 0)...) // the new run's, which a flush up to 10 would delete
			itntest.RestartFirst(n, w, r)
		})
	}, func(o *fetcher.Options) { o.Flush = true })
	first, _ := ids(store, 1)
	second, _ := ids(store, 2)
	if len(first) != 10 || len(second) != 5 {
		t.Errorf("%d entries of the first run and %d of the second one are stored, want 10 and 5", len(first), len(second))
	}
	if gap := store.gaps[rowKey{lone, itntest.ServerUUID(1), 11}]; gap.Reason != fetcher.GapRestart || gap.To != 0 || !gap.Before.Equal(at(10)) {
		t.Errorf("the end of the first run is told as %+v", gap)
	}
}

// TestGapsOfOneAnswerAreOneLine: a node whose log has many holes does not fill ours.
func TestGapsOfOneAnswerAreOneLine(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	withNode(t, 0, 5*time.Second, func(n *itntest.Node) {
		n.Script("internalLogs", answer(entryText(3), entryText(4), entryText(7), entryText(10)), answer())
	}, func(o *fetcher.Options) { o.Log = zap.New(core) })
	var said []map[string]any
	for _, line := range logs.FilterMessage("entries are missing").All() {
		said = append(said, line.ContextMap())
	}
	want := []map[string]any{{
		"node": lone, "server_uuid": itntest.ServerUUID(1), "gaps": int64(3), "entries": int64(6), "from": int64(1), "to": int64(9),
		"reasons": []any{"before-first-fetch", "dropped"},
	}}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUnauthorizedIsTriedAgainRarely(t *testing.T) {
	stranger, _ := simnettest.Key(t, 9)
	var node *itntest.Node
	_, collector := withNode(t, 0, 10*time.Minute, func(n *itntest.Node) { node = n }, func(o *fetcher.Options) {
		o.Dial = dial(stranger, node.Transport(), o.Clock, 0)
	})
	if m := collector.Metrics(); m.Requests < 8 || m.Requests > 12 {
		t.Errorf("%d requests in ten minutes", m.Requests)
	}
	if status := collector.Nodes()[0]; !strings.Contains(status.LastError, "--itn-keys") {
		t.Errorf("status %+v", status)
	}
}

func TestClientsWithoutOurTransportAreRefused(t *testing.T) {
	var node *itntest.Node
	store, collector := withNode(t, 0, 10*time.Second, func(n *itntest.Node) {
		node = n
		n.Stub().SetLogs(long(3, 0, 0)...)
	}, func(o *fetcher.Options) {
		o.Dial = func(string) *itn.Client { return node.Client(itn.Options{}) }
	})
	if status := collector.Nodes()[0]; len(store.rows) != 0 || !strings.Contains(status.LastError, "fetcher.Transport") {
		t.Errorf("%d rows, status %+v", len(store.rows), status)
	}
}
