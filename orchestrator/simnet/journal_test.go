package simnet_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/internal/clock"
	"provingground/internal/mina"
	"provingground/orchestrator/simnet"
)

// fill sets every field of a fact to something that is not its zero value.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(0.7)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2024, 5, 1, 1, 2, 3, 4, time.UTC)))
			return
		}
		for _, field := range v.Fields() {
			fill(field)
		}
	default:
		panic("a fact has a field of kind " + v.Kind().String())
	}
}

func TestEveryFactIsReadAsItWasWritten(t *testing.T) {
	kinds := make(map[string]bool)
	for _, fact := range simnet.AllFacts() {
		for _, filled := range []bool{false, true} {
			value := reflect.New(reflect.TypeOf(fact)).Elem()
			if filled {
				fill(value)
			}
			written := simnet.Entry{Time: genesis(), Wall: genesis().Add(time.Second), Node: "127.0.0.2:3086", Fact: value.Interface().(simnet.Fact)}
			line, err := written.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			read, err := simnet.ReadHistory(bytes.NewReader(append(line, '\n')))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(simnet.History{written}, read); diff != "" {
				t.Errorf("%s (-written +read):\n%s", fact.Kind(), diff)
			}
		}
		if kinds[fact.Kind()] {
			t.Errorf("two facts are called %s", fact.Kind())
		}
		kinds[fact.Kind()] = true
	}
}

func TestWrittenJournalIsTheHistory(t *testing.T) {
	senders := keys(t, 6)
	var text bytes.Buffer
	var history simnet.History
	inVirtualTime(t, simnet.Options{Nodes: 3, Producers: 2, Slot: 10 * time.Second, Accounts: accounts(senders, 1000*aMina), Journal: &text}, func(w *world) {
		w.client(w.Nodes()[0]).text(schedulePayments, payments(senders[:3], nil))
		w.client(w.Nodes()[1]).text(scheduleZkapps, zkapps(senders[3:], nil))
		w.client(w.Nodes()[0]).must(createAccounts, createInput(senders[0], nil))
		w.pass(time.Minute)
		w.client(w.Nodes()[2]).text(stopDaemon, map[string]any{"clean": true})
		w.pass(time.Minute)
		history = w.History()
	})
	read, err := simnet.ReadHistory(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	last := read[len(read)-1]
	if _, ok := last.Fact.(simnet.NetworkStopped); !ok {
		t.Errorf("the journal ends with %s", last.Fact.Kind())
	}
	if diff := cmp.Diff(history, read[:len(history)]); diff != "" {
		t.Errorf("(-kept +written):\n%s", diff)
	}
	for _, key := range senders {
		if strings.Contains(text.String(), key.Base58()) {
			t.Error("a private key is in the journal")
		}
	}
	// A line that was cut short is left out, one that is no entry is an error.
	if cut, err := simnet.ReadHistory(strings.NewReader(text.String()[:text.Len()-5])); err != nil || len(cut) != len(read)-1 {
		t.Errorf("a torn last line: %d entries of %d, %v", len(cut), len(read), err)
	}
	if _, err := simnet.ReadHistory(strings.NewReader("{\"kind\":\"miracle\"}\n")); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("an unknown kind: %v", err)
	}
}

func FuzzReadHistory(f *testing.F) {
	f.Add(`{"time":"2024-05-01T10:00:00Z","wall":"2024-05-01T10:00:00Z","node":"a","kind":"limit-set","fact":{"limit":3}}` + "\n")
	f.Add(`{"time":"2024-05-01T10:00:00Z","wall":"2024-05-01T10:00:00Z","node":"a","kind":"logs-read","fact":{"first":3,"last":1,"count":2,"retained":9,"withheld":[4,2]}}` + "\n")
	f.Add(`{"time":"2024-05-01T10:00:00Z","wall":"2024-05-01T10:00:00Z","node":"a","kind":"block-produced","fact":{"works":[{}],"bought":[[],[1]]}}` + "\n")
	f.Add("{\n")
	f.Fuzz(func(t *testing.T, text string) {
		history, err := simnet.ReadHistory(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, entry := range history {
			if entry.Fact == nil {
				t.Error("an entry without fact was read")
			}
		}
		_, _, _ = history.Schedules(), history.Chain(), history.Overlaps()
		_, _ = history.Transactions(), history.Works()
		for _, run := range history.LogRuns() {
			_, _ = run.Missed(), run.Gaps()
		}
	})
}

type failingWriter struct{ after int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.after--; w.after < 0 {
		return 0, errAny
	}
	return len(p), nil
}

func TestAJournalThatCannotBeWritten(t *testing.T) {
	virtual := clock.NewVirtual(genesis())
	virtual.Run(func() {
		network, err := simnet.New(simnet.Options{
			Nodes: 1, Producers: 1, Clock: virtual.Clock(), ITNKeys: itnKeys(t), Slot: time.Second, Journal: &failingWriter{after: 3},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := network.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := virtual.Clock().Sleep(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := network.Stop(); !errors.Is(err, errAny) {
				t.Errorf("the end of the network reports %v, want the journal's failure", err)
			}
		}
	})
}

func TestOptionsAreCheckedTogether(t *testing.T) {
	_, err := simnet.New(simnet.Options{
		Nodes: 0, Producers: 3, Old: -1, Slot: time.Millisecond, Latency: -1, MaxLogs: -1, BlockCapacity: -1, PoolSize: -1,
		Genesis: time.Now().Add(time.Hour), UptimeURL: "ftp://x", Faults: []simnet.Fault{{Kind: "sulk"}, {Kind: simnet.FaultHang, Node: "127.0.0.9"}},
		Accounts: map[mina.PublicKey]mina.Nanomina{keys(t, 1)[0].PublicKey(): 1 << 63},
	})
	if err == nil {
		t.Fatal("nonsense was accepted")
	}
	for _, want := range []string{
		"0 nodes", "3 producers", "-1 old", "slot of 1ms", "latency", "internal log", "block capacity", "pool of", "no ITN key", "future", "uptime URL",
		`"sulk:*"`, "127.0.0.9", "together",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not reported: %s\nin: %v", want, err)
		}
	}
	if _, err := simnet.New(simnet.Options{Nodes: 1, ITNKeys: itnKeys(t), Slot: 1500 * time.Microsecond}); err == nil {
		t.Error("a slot of one and a half milliseconds was accepted")
	}
}

func TestLifeOfANetwork(t *testing.T) {
	senders := keys(t, 1)
	virtual := clock.NewVirtual(genesis())
	virtual.Run(func() {
		network, err := simnet.New(simnet.Options{
			Nodes: 2, Producers: 1, Clock: virtual.Clock(), ITNKeys: itnKeys(t), Slot: 10 * time.Second, KeepJournal: true, Accounts: accounts(senders, 100*aMina),
		})
		if err != nil {
			t.Fatal(err)
		}
		// Without Start nothing happens by itself, but every request first lets happen what is due.
		w := &world{TB: t, Network: network, clock: virtual.Clock()}
		w.client(network.Nodes()[0]).text(schedulePayments, payments(senders, map[string]any{"tps": 0.1}))
		w.pass(time.Minute)
		if sent := len(facts[simnet.CommandSent](network.History())); sent != 7 {
			t.Errorf("%d payments were sent in a minute, want 7", sent)
		}
		if err := network.Stop(); err != nil {
			t.Errorf("stopping what was never started: %v", err)
		}
		end := len(network.History())
		w.pass(time.Minute)
		if now := len(network.History()); now != end {
			t.Errorf("after its end %d more facts happened", now-end)
		}
		if !w.refusesConnections(network.Nodes()[0]) {
			t.Error("a stopped network takes connections")
		}
		if _, err := network.Balance(t.Context(), "", senders[0].PublicKey()); !errors.Is(err, simnet.ErrNodeDown) {
			t.Errorf("a stopped network answers its wallets with %v", err)
		}
		if err := network.Start(t.Context()); err == nil {
			t.Error("a stopped network was started")
		}
	})
}

func TestStartTwice(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 1}, func(w *world) {
		if err := w.Start(t.Context()); err == nil {
			t.Error("a second start went through")
		}
	})
}

// The state never depends on when the driver was scheduled: a network that nobody drives, and looked at only at the end, has the same
// history as one that a goroutine drove all along.
func TestTheDriverChangesNothing(t *testing.T) {
	run := func(drive bool) simnet.History {
		senders := keys(t, 6)
		virtual := clock.NewVirtual(genesis())
		var history simnet.History
		virtual.Run(func() {
			network, err := simnet.New(simnet.Options{
				Nodes: 4, Producers: 3, Seed: 5, Clock: virtual.Clock(), ITNKeys: itnKeys(t), Slot: 2 * time.Second, KeepJournal: true,
				Accounts: accounts(senders, 5000*aMina),
			})
			if err != nil {
				t.Fatal(err)
			}
			w := &world{TB: t, Network: network, clock: virtual.Clock()}
			if drive {
				if err := network.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := network.Stop(); err != nil {
						t.Error(err)
					}
				}()
			}
			w.client(network.Nodes()[0]).text(schedulePayments, payments(senders[:3], map[string]any{"tps": 3.0}))
			w.client(network.Nodes()[1]).text(scheduleZkapps, zkapps(senders[3:], nil))
			w.client(network.Nodes()[1]).text(stopDaemon, map[string]any{"clean": true})
			w.pass(5 * time.Minute)
			history = network.History()
		})
		for i := range history {
			history[i].Wall = time.Time{} // of writing, which is later when nobody drives
		}
		return history
	}
	if diff := cmp.Diff(run(true), run(false)); diff != "" {
		t.Errorf("(-driven +not driven):\n%s", diff)
	}
}

// Journals must be complete when the program ends without warning: whatever has happened is written at once.
func TestJournalIsWrittenAtOnce(t *testing.T) {
	reader, writer := io.Pipe()
	defer func() { _ = reader.Close() }()
	lines := make(chan string, 1)
	go func() {
		first := make([]byte, 4096)
		read, _ := reader.Read(first)
		lines <- string(first[:read])
		_, _ = io.Copy(io.Discard, reader)
	}()
	network, err := simnet.New(simnet.Options{Nodes: 1, ITNKeys: itnKeys(t), Journal: writer})
	if err != nil {
		t.Fatal(err)
	}
	network.History() // anything that looks at the network
	if line := <-lines; !strings.Contains(line, `"kind":"network-started"`) {
		t.Errorf("the journal begins with %q", line)
	}
}
