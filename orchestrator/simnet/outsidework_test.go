package simnet_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/internal/clock"
	"provingground/orchestrator/simnet"
	"provingground/snarkpool/coordinator"
)

// coordinatorAddress is where the coordinator is in virtual networks.
const coordinatorAddress = "127.0.0.1:8301"

// outside is a client of the network's coordinator, in process.
func (w *world) outside() *coordinator.Client {
	w.Helper()
	client, err := coordinator.New(w.CoordinatorURL(), coordinator.Options{Transport: w.Transport()})
	if err != nil {
		w.Fatal(err)
	}
	return client
}

// fetch takes at most so much work.
func (w *world) fetch(client *coordinator.Client, worker string, most int) []coordinator.Work {
	w.Helper()
	works, err := client.Work(w.Context(), worker, most)
	if err != nil {
		w.Fatal(err)
	}
	return works
}

// deliver hands in a proof and returns what became of it.
func (w *world) deliver(client *coordinator.Client, worker string, work coordinator.Work, proof string) coordinator.Verdict {
	w.Helper()
	verdict, err := client.Deliver(w.Context(), coordinator.Proof{ID: work.ID, Worker: worker, Statement: work.Statement, Proof: []byte(proof)})
	if err != nil {
		w.Fatal(err)
	}
	return verdict
}

func TestWorkProvenOutside(t *testing.T) {
	senders := keys(t, 4)
	options := simnet.Options{
		Nodes: 4, Producers: 2, Slot: time.Minute, Coordinator: coordinatorAddress, Accounts: accounts(senders, 1000*aMina), JournalNodes: true, Seed: 3,
	}
	inVirtualTime(t, options, func(w *world) {
		client := w.outside()
		if works := w.fetch(client, "bm7/cpu/0", 1); len(works) != 0 {
			t.Fatalf("before the first block there is work: %+v", works)
		}
		w.client(w.Nodes()[0]).text(schedulePayments, payments(senders[:2], map[string]any{"tps": 0.05, "durationMin": 10}))
		w.client(w.Nodes()[1]).text(scheduleZkapps, zkapps(senders[2:], map[string]any{"tps": 0.05, "durationMin": 10}))
		w.pass(5 * time.Minute)
		var listed []simnet.BlockWork
		for _, block := range facts[simnet.BlockProduced](w.History()) {
			listed = append(listed, block.Works...)
		}
		first := w.fetch(client, "bm7/cpu/0", 1)
		rest := w.fetch(client, "bm7/cpu/1", coordinator.MaxWork)
		kinds, seen := map[coordinator.Kind]bool{}, map[string]bool{}
		for i, work := range slices.Concat(first, rest) {
			if i < len(listed) && !slices.Equal(work.WorkIDs, listed[i].IDs) {
				t.Errorf("the work given as number %d has the IDs %v, the blocks say %v", i, work.WorkIDs, listed[i].IDs)
			}
			for j, kind := range work.Kinds {
				kinds[kind] = true
				if want, _, _ := strings.Cut(listed[i].Jobs[j][0], ":"); string(kind) != want {
					t.Errorf("job %d is called %s, the block says %v", work.WorkIDs[j], kind, listed[i].Jobs[j])
				}
			}
			if statement, err := hex.DecodeString(work.Statement); err != nil || len(statement) != 32 || seen[work.ID] || seen[work.Statement] {
				t.Errorf("work %s has the statement %s", work.ID, work.Statement)
			}
			if seen[work.ID], seen[work.Statement] = true, true; !work.Until.Equal(w.clock.Now().Add(420 * time.Second)) {
				t.Errorf("work %s is given until %v", work.ID, work.Until)
			}
		}
		if len(kinds) != 5 || len(first) != 1 || len(rest) != len(listed)-1 {
			t.Errorf("%d and %d works of %d are given, of the kinds %v", len(first), len(rest), len(listed), kinds)
		}

		// One proof of another statement, one empty, one accepted, one repeated, one too late, one of nothing that is wanted.
		work, other := first[0], rest[0]
		mixed := coordinator.Work{ID: work.ID, Statement: other.Statement}
		unwanted := coordinator.Work{ID: strings.Repeat("ab", 16), Statement: strings.Repeat("ab", 32)}
		for _, test := range []struct {
			worker, proof string
			work          coordinator.Work
			want          coordinator.Verdict
			counts        bool
		}{
			{"bm7/cpu/0", "proof", mixed, coordinator.Verdict{Status: coordinator.WrongShape, Reason: "the statement is not that of the work"}, false},
			{"bm7/cpu/0", "", work, coordinator.Verdict{Status: coordinator.WrongShape, Reason: "the proof is empty or too long"}, false},
			{"bm7/cpu/0", "proof", work, coordinator.Verdict{Status: coordinator.Accepted}, true},
			{"bm7/cpu/0", "proof", work, coordinator.Verdict{Status: coordinator.Slashed, Reason: coordinator.ReasonRepeated}, true},
			{"bm7/cpu/0", "other", work, coordinator.Verdict{Status: coordinator.Slashed, Reason: coordinator.ReasonProven}, false},
			{"bm7/cpu/1", "proof", work, coordinator.Verdict{Status: coordinator.Slashed, Reason: coordinator.ReasonProven}, false},
			{"bm7/cpu/1", "proof", unwanted, coordinator.Verdict{Status: coordinator.Slashed, Reason: coordinator.ReasonNotWanted}, false},
		} {
			if got := w.deliver(client, test.worker, test.work, test.proof); got != test.want || got.Counts() != test.counts {
				t.Errorf("proof %q of %s by %s is judged %+v, want %+v", test.proof, test.work.ID, test.worker, got, test.want)
			}
		}
		status, err := client.Status(t.Context())
		want := coordinator.Status{Out: len(rest), Proven: 1, Given: 1 + len(rest), Accepted: 1, Slashed: 4, WrongShape: 2}
		if err != nil || status != want {
			t.Errorf("the status is %+v, want %+v; %v", status, want, err)
		}
		// It is gossiped, and bought by the next blocks.
		for _, work := range rest {
			w.deliver(client, "bm7/cpu/1", work, "proof")
		}
		w.pass(5 * time.Minute)
		truth := w.History().Works()
		if len(truth[0].Bought) == 0 || len(truth[0].Attempts) != 7 || truth[0].Attempts[0].Worker != "bm7/cpu/0" {
			t.Errorf("what became of the first work: %+v", truth[0])
		}
		pools := map[string]bool{}
		for _, report := range truth[0].Reports {
			if report.Prover != "" && report.Reason == "" {
				pools[report.Node] = true
			}
		}
		if len(pools) != 4 {
			t.Errorf("the proof is in the pools of %v", pools)
		}
		if got := w.deliver(client, "bm7/cpu/0", work, "proof"); got.Reason != coordinator.ReasonRepeated {
			t.Errorf("a repetition after a block has bought the proof: %+v", got)
		}
	})
}

func TestReassignment(t *testing.T) {
	options := simnet.Options{Nodes: 2, Producers: 1, Slot: 10 * time.Second, Coordinator: coordinatorAddress, ReassignmentWait: time.Minute}
	inVirtualTime(t, options, func(w *world) {
		client := w.outside()
		w.pass(2 * time.Minute)
		held := w.fetch(client, "a", 1)[0]
		same := func(works []coordinator.Work) bool { return len(works) == 1 && works[0].ID == held.ID }
		if same(w.fetch(client, "b", 1)) {
			t.Fatal("two workers have the same work")
		}
		w.pass(59 * time.Second)
		if same(w.fetch(client, "c", 1)) {
			t.Fatal("it was given to another before its time had run out")
		}
		w.pass(time.Second)
		if !same(w.fetch(client, "d", 1)) {
			t.Fatal("it was not given to another although its time had run out")
		}
		// Who does not have it cannot give it back; who has it can.
		for _, test := range []struct {
			worker string
			freed  bool
		}{{"a", false}, {"d", true}} {
			if err := client.Failed(t.Context(), coordinator.Failure{ID: held.ID, Worker: test.worker, Reason: "out of memory"}); err != nil {
				t.Fatal(err)
			}
			if freed := same(w.fetch(client, "e", 1)); freed != test.freed {
				t.Errorf("after %s gave the work back, it was free: %v", test.worker, freed)
			}
		}
		if got := w.deliver(client, "a", held, "late"); got.Status != coordinator.Accepted {
			t.Errorf("the late proof of work that nobody has proven is judged %+v", got)
		}
		var told []string
		for _, entry := range w.History() {
			switch fact := entry.Fact.(type) {
			case simnet.WorkGiven:
				if fact.ID == held.ID {
					told = append(told, fmt.Sprintf("given to %s from %q", fact.Worker, fact.From))
				}
			case simnet.WorkFailed:
				told = append(told, fmt.Sprintf("failed by %s: %s, held %v", fact.Worker, fact.Reason, fact.Held))
			case simnet.ProofAccepted:
				told = append(told, fmt.Sprintf("proven by %s, late %v", fact.Worker, fact.Late))
			}
		}
		want := []string{
			`given to a from ""`, `given to d from "a"`, "failed by a: out of memory, held false", "failed by d: out of memory, held true",
			`given to e from ""`, "proven by a, late true",
		}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Errorf("the journal (-want +got):\n%s", diff)
		}
	})
}

// Whatever workers do in whatever order, no two have the same work within its time, each work is accepted once, and in the end nothing is left
// unproven.
func TestNoWorkIsLostOrCountedTwice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type step struct {
			what, worker, pick, most int
			wait                     time.Duration
		}
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{
				what: rapid.IntRange(0, 6).Draw(rt, "what"), worker: rapid.IntRange(0, 3).Draw(rt, "worker"), pick: rapid.IntRange(0, 1<<20).Draw(rt, "pick"),
				most: rapid.IntRange(1, 5).Draw(rt, "most"), wait: time.Duration(rapid.IntRange(1, 60).Draw(rt, "wait")) * time.Second,
			}
		}), 20, 80).Draw(rt, "steps")
		const wait = 40 * time.Second
		options := simnet.Options{
			Nodes: 4, Producers: 3, Slot: 10 * time.Second, Latency: 4 * time.Second, Coordinator: coordinatorAddress, ReassignmentWait: wait,
			Seed: rapid.Uint64().Draw(rt, "seed"), BlockCapacity: 4,
		}
		inVirtualTime(t, options, func(w *world) {
			client := w.outside()
			type holding struct {
				worker string
				until  time.Time
			}
			held := map[string]holding{}
			accepted := map[string]int{}
			var taken []coordinator.Work
			var by []string // who took it
			fetch := func(worker string, most int) []coordinator.Work {
				works := w.fetch(client, worker, most)
				now := w.clock.Now()
				for _, work := range works {
					if has, ok := held[work.ID]; ok && now.Before(has.until) {
						rt.Fatalf("%s gets work %s that %s has until %v; now it is %v", worker, work.ID, has.worker, has.until, now)
					}
					if accepted[work.ID] > 0 {
						rt.Fatalf("%s gets work %s, which is proven", worker, work.ID)
					}
					held[work.ID] = holding{worker, now.Add(wait)}
					taken, by = append(taken, work), append(by, worker)
				}
				return works
			}
			deliver := func(worker string, work coordinator.Work, proof string) {
				verdict := w.deliver(client, worker, work, proof)
				if verdict.Status == coordinator.Accepted {
					accepted[work.ID]++
				}
				if accepted[work.ID] > 1 {
					rt.Fatalf("work %s is counted twice", work.ID)
				}
				if verdict.Counts() && accepted[work.ID] == 0 {
					rt.Fatalf("a proof of work %s counts that was never accepted", work.ID)
				}
				if verdict.Status == coordinator.WrongShape {
					rt.Fatalf("a good proof is judged %+v", verdict)
				}
				delete(held, work.ID)
			}
			for _, s := range steps {
				worker := fmt.Sprintf("bm7/cpu/%d", s.worker)
				switch {
				case s.what <= 1:
					fetch(worker, s.most)
				case s.what == 2:
					w.pass(s.wait)
				case len(taken) == 0:
				case s.what == 3: // its own, somebody else's, late or again
					deliver(worker, taken[s.pick%len(taken)], "proof")
				case s.what == 4: // its own
					deliver(by[s.pick%len(taken)], taken[s.pick%len(taken)], "proof")
				case s.what == 5:
					work := taken[s.pick%len(taken)]
					if err := client.Failed(t.Context(), coordinator.Failure{ID: work.ID, Worker: worker}); err != nil {
						rt.Fatal(err)
					}
					if held[work.ID].worker == worker {
						delete(held, work.ID)
					}
				case s.what == 6:
					work := taken[s.pick%len(taken)]
					work.Statement = work.Statement[:63] + "x"
					if verdict := w.deliver(client, worker, work, "proof"); verdict.Status != coordinator.WrongShape {
						rt.Fatalf("a proof of another statement is judged %+v", verdict)
					}
				}
			}
			w.pass(wait)
			for _, work := range fetch("last", coordinator.MaxWork) {
				deliver("last", work, "proof")
			}
			status, err := client.Status(t.Context())
			if err != nil || status.Pending != 0 || status.Out != 0 {
				rt.Fatalf("in the end the status is %+v, %v", status, err)
			}
			if facts := facts[simnet.ProofAccepted](w.History()); len(facts) != len(accepted) || status.Accepted != len(accepted) {
				rt.Fatalf("%d works were accepted, the journal says %d, the status %d", len(accepted), len(facts), status.Accepted)
			}
		})
	})
}

// A chain that comes back brings its work back: what was proven of it needs no second proof, and blocks hold it.
func TestWorkThatComesBackStaysProven(t *testing.T) {
	options := simnet.Options{
		Nodes: 9, Producers: 8, Slot: 10 * time.Second, Latency: 25 * time.Second, Coordinator: coordinatorAddress, JournalNodes: true, Seed: 2,
	}
	inVirtualTime(t, options, func(w *world) {
		client := w.outside()
		for range 240 { // prompt workers on a chain that forks all the time
			w.pass(5 * time.Second)
			for _, work := range w.fetch(client, "a", coordinator.MaxWork) {
				w.deliver(client, "a", work, "proof")
			}
		}
		own := map[int]int{} // proofs of a work that the coordinator took from nobody
		for _, fact := range facts[simnet.WorkReceived](w.History()) {
			if fact.Sender == "" {
				own[fact.IDs[0]]++
			}
		}
		accepted, again := facts[simnet.ProofAccepted](w.History()), 0
		for _, times := range own {
			if times > 1 {
				again++
			}
		}
		if len(own) != len(accepted) || again == 0 {
			t.Errorf("%d proofs were accepted, of %d works; %d of them came back", len(accepted), len(own), again)
		}
	})
}

// A restarted coordinator has forgotten what it gave to whom. Its proofs are still good.
func TestCoordinatorRestarts(t *testing.T) {
	options := simnet.Options{Nodes: 3, Producers: 1, Slot: 10 * time.Second, Coordinator: coordinatorAddress, RestartAfter: 5 * time.Second}
	inVirtualTime(t, options, func(w *world) {
		client := w.outside()
		w.pass(time.Minute)
		work := w.fetch(client, "a", 1)[0]
		if err := w.Restart(t.Context(), w.Hosts()[1], false); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Work(t.Context(), "a", 1); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a coordinator that is down answers %v", err)
		}
		w.pass(6 * time.Second)
		if again := w.fetch(client, "b", 1); len(again) != 1 || again[0].ID != work.ID {
			t.Errorf("the restarted coordinator gives out %+v, not %s", again, work.ID)
		}
		if got := w.deliver(client, "a", work, "proof"); got.Status != coordinator.Accepted {
			t.Errorf("the proof of work that was given before the restart is judged %+v", got)
		}
	})
}

// While nobody proves, blocks are interrupted; once somebody does, they are not. So it is with provers outside and with the model's.
func TestPausedProving(t *testing.T) {
	for name, address := range map[string]string{"outside": coordinatorAddress, "model": ""} {
		t.Run(name, func(t *testing.T) {
			options := simnet.Options{Nodes: 3, Producers: 1, Slot: 10 * time.Second, Coordinator: address, BlockCapacity: 4}
			inVirtualTime(t, options, func(w *world) {
				work := func(span time.Duration) {
					for range span / time.Second {
						w.pass(time.Second)
						if address == "" {
							continue
						}
						for _, work := range w.fetch(w.outside(), "a", coordinator.MaxWork) {
							w.deliver(w.outside(), "a", work, "proof")
						}
					}
				}
				span := func(from, to time.Time) (blocks, interrupted int) {
					for _, entry := range w.History() {
						if block, ok := entry.Fact.(simnet.BlockProduced); ok && entry.Time.After(from) && entry.Time.Before(to) {
							blocks++
							if block.Interrupted != nil {
								interrupted++
							}
						}
					}
					return blocks, interrupted
				}
				work(5 * time.Minute)
				paused := w.clock.Now()
				w.SetProvers(0)
				work(5 * time.Minute)
				resumed := w.clock.Now()
				w.SetProvers(simnet.AllProvers)
				work(5 * time.Minute)
				if blocks, interrupted := span(genesis(), paused); interrupted != 0 || blocks < 15 {
					t.Errorf("before the pause %d of %d blocks were interrupted", interrupted, blocks)
				}
				if blocks, interrupted := span(paused.Add(time.Minute), resumed); interrupted != blocks || blocks < 12 {
					t.Errorf("in the pause %d of %d blocks were interrupted", interrupted, blocks)
				}
				if blocks, interrupted := span(resumed.Add(time.Minute), w.clock.Now()); interrupted != 0 || blocks < 12 {
					t.Errorf("after the pause %d of %d blocks were interrupted", interrupted, blocks)
				}
				if set := facts[simnet.ProversSet](w.History()); !slices.Equal(set, []simnet.ProversSet{{Count: 0}, {Count: -1}}) {
					t.Errorf("the journal says %+v", set)
				}
			})
		})
	}
}

// A bounded number of model provers proves one after the other: fewer proofs than there is work.
func TestFewProvers(t *testing.T) {
	proofs := func(provers int) (made int) {
		inVirtualTime(t, simnet.Options{Nodes: 2, Producers: 1, Slot: 10 * time.Second, ProofTime: 8 * time.Second, JournalNodes: true}, func(w *world) {
			w.SetProvers(provers)
			w.pass(10 * time.Minute)
			for _, fact := range facts[simnet.WorkReceived](w.History()) {
				if fact.Sender == "" {
					made++
				}
			}
		})
		return made
	}
	none, one, all := proofs(0), proofs(1), proofs(simnet.AllProvers)
	// Ten minutes hold 60 to 100 proofs of 6 to 10 seconds, one after the other.
	if none != 0 || one < 35 || one > 100 || all < one {
		t.Errorf("no, one and any number of provers make %d, %d and %d proofs", none, one, all)
	}
}

func TestCoordinatorRefusesWhatIsNotItsProtocol(t *testing.T) {
	inVirtualTime(t, simnet.Options{Nodes: 1, Producers: 1, Coordinator: coordinatorAddress}, func(w *world) {
		for _, test := range []struct {
			method, path, kind, body string
			status                   int
			says                     string
		}{
			{"POST", "/v1/work", "application/json; charset=utf-8", `{"worker":"a","most":1}`, 200, `{"work":[]}`},
			{"POST", "/v1/work", "text/plain", `{"worker":"a","most":1}`, 415, "Content-Type"},
			{"POST", "/v1/work", "application/json", `{"worker":"a","most":1,"more":2}`, 400, "unknown field"},
			{"POST", "/v1/work", "application/json", `{"worker":"a","most":1}{}`, 400, "follows"},
			{"POST", "/v1/work", "application/json", `{"worker":"a b","most":0}`, 400, "give 1 to 1000"},
			{"POST", "/v1/work", "application/json", `null`, 400, "worker"},
			{"POST", "/v1/work", "application/json", `{"worker":"` + strings.Repeat("a", 10_000), 413, "longer than"},
			{"POST", "/v1/proof", "application/json", `{"id":"a","worker":"a","statement":"b","proof":"not base64!"}`, 400, "base64"},
			{"POST", "/v1/proof", "application/json", `{"id":"a","worker":"a","statement":"b","proof":"` + strings.Repeat("a", 2<<20), 413, "longer than"},
			{"POST", "/v1/proof", "application/json", `{"id":"a","worker":"a","statement":"b","proof":"YQ=="}`, 200, "wrong-shape"},
			{"POST", "/v1/failed", "application/json", `{"id":"","worker":"a","reason":""}`, 400, "id"},
			{"GET", "/v1/work", "", "", 405, ""},
			{"GET", "/v1/status", "", "", 200, `"pending":0`},
			{"GET", "/graphql", "", "", 404, ""},
		} {
			request, err := http.NewRequestWithContext(t.Context(), test.method, w.CoordinatorURL()+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", test.kind)
			response, err := w.Transport().RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			if text := readAll(t, response); response.StatusCode != test.status || !strings.Contains(text, test.says) {
				t.Errorf("%s %s %.60s answers %d %s, want %d and %q", test.method, test.path, test.body, response.StatusCode, text, test.status, test.says)
			}
			_ = response.Body.Close()
		}
		if refused := facts[simnet.ProofRefused](w.History()); len(refused) != 1 {
			t.Errorf("the journal says %+v", refused)
		}
	})
}

func TestCoordinatorOptions(t *testing.T) {
	for _, test := range []struct {
		options simnet.Options
		says    string
	}{
		{simnet.Options{Coordinator: "8301"}, "HOST:PORT"},
		{simnet.Options{Coordinator: ":8301"}, "HOST:PORT"},
		{simnet.Options{Coordinator: "127.0.0.1:0"}, "HOST:PORT"},
		{simnet.Options{Coordinator: coordinatorAddress, SnarkCoordinators: -1}, "no SNARK coordinator"},
		{simnet.Options{ReassignmentWait: -1}, "reassignment wait"},
		{simnet.Options{Coordinator: coordinatorAddress}, ""},
	} {
		test.options.Nodes, test.options.ITNKeys = 1, itnKeys(t)
		if err := test.options.Check(); test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
			t.Errorf("%+v: %v", test.options, err)
		}
	}
}

// What workers outside are told and what becomes of their work is the same with the same seed.
func TestWorkOutsideIsDeterministic(t *testing.T) {
	run := func() string {
		var journal bytes.Buffer
		options := simnet.Options{Nodes: 5, Producers: 3, Slot: 10 * time.Second, Latency: 3 * time.Second, Coordinator: coordinatorAddress, Journal: &journal, Seed: 5}
		inVirtualTime(t, options, func(w *world) {
			client := w.outside()
			for i := range 60 {
				w.pass(7 * time.Second)
				for _, work := range w.fetch(client, fmt.Sprint("w", i%3), 4) {
					if i%5 > 0 {
						w.deliver(client, fmt.Sprint("w", i%3), work, "proof")
					}
				}
			}
		})
		return journal.String()
	}
	first := run()
	if again := run(); first != again || !strings.Contains(first, "proof-accepted") {
		t.Error("the same seed gave another journal")
	}
}

// Workers over TCP, several at once, on a clock that runs fast, while the coordinator restarts.
func TestWorkersOverTCP(t *testing.T) {
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	options := simnet.Options{
		Nodes: 5, Producers: 3, Slot: 10 * time.Second, Coordinator: address, RestartAfter: 10 * time.Second, ReassignmentWait: 30 * time.Second,
	}
	overTCP(t, options, 100, func(w *world) {
		var workers sync.WaitGroup
		end := w.clock.Now().Add(5 * time.Minute)
		for i := range 4 {
			workers.Go(func() {
				client, err := coordinator.New(w.CoordinatorURL(), coordinator.Options{})
				if err != nil {
					t.Error(err)
					return
				}
				defer client.Close()
				name := fmt.Sprintf("bm7/cpu/%d", i)
				for w.clock.Now().Before(end) {
					works, err := client.Work(t.Context(), name, 3)
					for _, work := range works {
						_, err = client.Deliver(t.Context(), coordinator.Proof{ID: work.ID, Worker: name, Statement: work.Statement, Proof: []byte(name)})
					}
					if err != nil || len(works) == 0 { // it is down for some time
						if _, refused := errors.AsType[*coordinator.StatusError](err); refused {
							t.Error(err)
							return
						}
						if err := w.clock.Sleep(t.Context(), time.Second); err != nil {
							t.Error(err)
							return
						}
					}
				}
			})
		}
		w.pass(2 * time.Minute)
		if err := w.Restart(t.Context(), w.Hosts()[3], false); err != nil {
			t.Error(err)
		}
		if err := connect(t, address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("the port of a coordinator that is down: %v", err)
		}
		workers.Wait()
		history := w.History()
		accepted := map[string]int{}
		runs := 0
		for _, entry := range history {
			switch fact := entry.Fact.(type) {
			case simnet.ProofAccepted:
				accepted[fmt.Sprint(runs, fact.ID)]++
			case simnet.DaemonStarted:
				if entry.Node == w.Nodes()[3] {
					runs++
				}
			}
		}
		for id, times := range accepted {
			if times > 1 {
				t.Errorf("work %s was accepted %d times in one run of the daemon", id, times)
			}
		}
		bought := 0
		for _, block := range facts[simnet.BlockProduced](history) {
			bought += len(block.Bought)
		}
		if runs != 2 || len(accepted) < 20 || bought < 20 {
			t.Errorf("%d proofs were accepted in %d runs of the daemon, %d works bought", len(accepted), runs, bought)
		}
	})
	if err := connect(t, address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the end the coordinator's port answers a connection with %v", err)
	}
}

// A port that is in use is said at the start.
func TestCoordinatorPortInUse(t *testing.T) {
	var config net.ListenConfig
	taken, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	network, err := simnet.New(simnet.Options{
		Nodes: 1, Clock: clock.Wall(), ITNKeys: itnKeys(t), Port: freePort(t), ListPort: freePort(t), Coordinator: taken.Addr().String(), Journal: io.Discard,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := network.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := network.Listen(t.Context()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a port in use: %v", err)
	}
	if err := network.Stop(); err != nil {
		t.Error(err)
	}
}
