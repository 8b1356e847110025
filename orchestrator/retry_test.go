package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/orchestrator"
	"provingground/orchestrator/record"
	"provingground/orchestrator/simnet"
	"provingground/uptime"
)

// This file is about retry, and about what the seed of a script decides.

// failingList is an online list that cannot be read so many times. It notes when it was asked, in network time.
type failingList struct {
	orchestrator.Online
	n     *network
	fails int

	mu    sync.Mutex
	asked []time.Time
}

// in puts the list into a world.
func (l *failingList) in(w *orchestrator.World) { l.Online, w.Online = w.Online, l }

func (l *failingList) List(ctx context.Context) ([]uptime.Node, error) {
	l.mu.Lock()
	l.asked = append(l.asked, l.n.clock.Now())
	count := len(l.asked)
	l.mu.Unlock()
	if count <= l.fails {
		return nil, errors.New("simulated failure of the list")
	}
	return l.Online.List(ctx)
}

// mustPause fails the test unless the list was asked so often, with pauses of at least that.
func (l *failingList) mustPause(t *testing.T, times int, pause time.Duration) {
	t.Helper()
	mustEqual(t, "times asked", times, len(l.asked))
	for i := 1; i < len(l.asked); i++ {
		if paused := l.asked[i].Sub(l.asked[i-1]); paused < pause {
			t.Errorf("a pause of %s, want %s", paused, pause)
		}
	}
}

// retryLine is what a run records of a failed attempt.
type retryLine struct {
	Code  int
	Error string
}

// TestRetry makes so many attempts in all, with the pauses that the script asks for, in place of the action's own patience.
func TestRetry(t *testing.T) {
	n := newNetwork(t, nil)
	for _, test := range []struct {
		retry    string
		fails    int
		code     int
		attempts int
		pause    time.Duration
		says     string
	}{
		{"retry 3 every 2m", 2, orchestrator.CodeOK, 3, 2 * time.Minute, ""},
		{"retry 3 every 2m", 3, orchestrator.CodeStep, 3, 2 * time.Minute, "attempt 3 of 3: "},
		{"retry 2 every 1 slot", 1, orchestrator.CodeOK, 2, 3 * time.Minute, ""},
		{"retry 1 every 1m", 1, orchestrator.CodeStep, 1, 0, "simulated failure of the list"}, // discovery alone would try for twenty minutes
		{"retry 5 every 1s", 0, orchestrator.CodeOK, 1, 0, ""},
	} {
		t.Run(fmt.Sprintf("%s, %d failures", test.retry, test.fails), func(t *testing.T) {
			list := &failingList{n: n, fails: test.fails}
			e := n.try("nodes = discovery() "+test.retry+"\npreflight(nodes: nodes)", trial{world: list.in}).mustEnd(t, test.code)
			list.mustPause(t, test.attempts, test.pause)
			recorded := outputsOf[retryLine](t, e, 0, "_retry")
			mustEqual(t, "recorded", min(test.fails, test.attempts-1), len(recorded))
			for i, r := range recorded {
				mustEqual(t, "attempt", i+1, r.Code)
				mustSay(t, r.Error, "simulated failure")
			}
			if test.code == orchestrator.CodeOK {
				mustEqual(t, "participants", 6, len(e.outputs(t, 0, "participant")))
				mustEqual(t, "checked", 6, len(e.outputs(t, 1, "commit")))
				return
			}
			mustSay(t, e.shown(t), "test:1:9: discovery failed: ", test.says)
		})
	}
}

// TestRetryGivesOutTheLastAttempt alone: what a failed one gave out is neither printed nor referred to.
func TestRetryGivesOutTheLastAttempt(t *testing.T) {
	n := newNetwork(t, nil)
	var attempts atomic.Int32
	e := n.try(`nodes = discovery()
commits = preflight(nodes: nodes) retry 3 every 1m
expect count(commits) == 6`, trial{between: func(x exchange) (*http.Response, error) {
		if i := slices.Index(n.Nodes(), x.node); attempts.Load() > 0 && attempts.Load() < 3 && i > 0 && i < 5 {
			return refusedConnection()
		}
		return x.pass()
	}, step: func(number int, _ string) { attempts.Store(int32(number)) }, waiting: func(time.Time) { attempts.Add(1) }}).mustEnd(t, orchestrator.CodeOK)
	mustEqual(t, "failed attempts", 2, len(outputsOf[retryLine](t, e, 1, "_retry")))
	mustEqual(t, "commits", 6, len(e.outputs(t, 1, "commit")))
}

// refusals makes nodes refuse load, attempt by attempt: those with these indexes in the first, and so on.
type refusals struct {
	n       *network
	of      [][]int
	attempt atomic.Int32
}

func (r *refusals) between(x exchange) (*http.Response, error) {
	i := int(r.attempt.Load())
	if x.schedules() && i < len(r.of) && slices.Contains(r.of[i], slices.Index(r.n.Nodes(), x.node)) {
		return answered(x, http.StatusOK, `{"errors":[{"message":"Simulated refusal","path":["any"]}],"data":null}`)
	}
	return x.pass()
}

// TestRetryCompletesLoad that was placed in part: what runs stays, and only the rest is placed anew. No key is in two schedules.
func TestRetryCompletesLoad(t *testing.T) {
	for _, old := range []int{0, 3} {
		t.Run(fmt.Sprintf("%d older nodes", old), func(t *testing.T) {
			n, keys := newLoadNetwork(t, 6, func(o *simnet.Options) { o.Nodes, o.Old = 3, old })
			refuse := &refusals{n: n, of: [][]int{{0, 1}, {0}}}
			e := n.try(beginning+"pay = "+paying("")+" retry 3 every 1m\nexpect count(pay) == 3 and load.placed == 1 and load.rate == 0.6 tps",
				trial{between: refuse.between, waiting: func(time.Time) { refuse.attempt.Add(1) }}).mustEnd(t, orchestrator.CodeOK)
			n.mustBeTrue(t, e)
			running := n.mustRun(t, 3)
			mustEqual(t, "keys in use", sorted(keys), sendersOf(running))
			mustEqual(t, "schedules", 3, len(n.History().Schedules())) // none was stopped and placed again
			retries := outputsOf[retryLine](t, e, 2, "_retry")
			if len(retries) == 0 || !strings.Contains(retries[0].Error, "of 0.6 tps") {
				t.Errorf("failed attempts: %v", retries)
			}
			receipts := outputsOf[orchestrator.Receipt](t, e, 2, "receipt")
			mustEqual(t, "receipts", 3, len(receipts))
			for _, r := range receipts {
				if !slices.ContainsFunc(running, func(s simnet.Schedule) bool { return s.Node == r.Address && s.Handle == r.Handle }) {
					t.Errorf("the receipt %+v is of nothing that runs", r)
				}
			}
		})
	}
}

// TestRetryThatFails leaves nothing of any attempt running.
func TestRetryThatFails(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) { o.Nodes = 3 })
	refuse := &refusals{n: n, of: [][]int{{0, 1}, {0, 1}}}
	e := n.try(beginning+"pay = "+paying("")+" retry 2 every 1m", trial{between: refuse.between}).mustEnd(t, orchestrator.CodeStep)
	mustSay(t, e.shown(t), "test:5:7: payments failed: attempt 2 of 2: only 0.4 of 0.6 tps")
	n.mustBeTrue(t, e)
	n.mustRun(t, 0)
}

// TestRetryNeverFollowsAnUnknownOutcome: what a node may be doing is not asked for again.
func TestRetryNeverFollowsAnUnknownOutcome(t *testing.T) {
	for _, old := range []int{0, 6} {
		n, _ := newLoadNetwork(t, 6, func(o *simnet.Options) { o.Old = old })
		quiet := &silence{node: n.Nodes()[2], acts: true}
		e := n.try(beginning+"pay = "+paying("")+" retry 5 every 1m", trial{between: quiet.between, cleanup: time.Second}).mustEnd(t, orchestrator.CodeRemains)
		mustSay(t, e.shown(t), "only 0.5 of 0.6 tps", "not tried again, for nobody knows whether some of it was done")
		mustEqual(t, "failed attempts that another one followed", 0, len(outputsOf[retryLine](t, e, 2, "_retry")))
		mustEqual(t, "schedules", 6, len(n.History().Schedules()))
		n.mustBeTrue(t, e)
	}
	t.Run("a limit", func(t *testing.T) {
		n := newNetwork(t, nil)
		var lost atomic.Bool
		e := n.try("set-zkapp-soft-limit(nodes: [\""+n.Nodes()[0]+"\"], limit: 3) retry 5 every 1m", trial{between: func(x exchange) (*http.Response, error) {
			if x.operation == "zkAppCommandLimit" && !lost.Swap(true) {
				return lostReply(x)
			}
			if lost.Load() {
				return answered(x, http.StatusUnauthorized, "")
			}
			return x.pass()
		}, cleanup: time.Second}).mustEnd(t, orchestrator.CodeRemains)
		mustSay(t, e.shown(t), "not tried again")
		mustEqual(t, "limits set", 1, len(toldOf[simnet.LimitSet](n)))
	})
}

// TestRetryAfterALostReplyThatIsDecided: what certainly did not happen may be tried again, and what did is not done twice.
func TestRetryAfterALostReplyThatIsDecided(t *testing.T) {
	n := newNetwork(t, nil)
	var count atomic.Int32
	e := n.try("nodes = discovery()\nset-zkapp-soft-limit(nodes: nodes, limit: 3) retry 2 every 1m\n", trial{between: func(x exchange) (*http.Response, error) {
		switch {
		case x.operation == "zkAppCommandLimit" && x.mutates() && count.Add(1) <= 6: // of all nodes the first request is lost before it arrives
			return nil, errors.New("connection reset by peer")
		}
		return x.pass()
	}}).mustEnd(t, orchestrator.CodeOK)
	mustEqual(t, "failed attempts", 1, len(outputsOf[retryLine](t, e, 1, "_retry")))
	mustEqual(t, "limits", 6, len(n.History().Limits()))
	mustEqual(t, "limits set", 6, len(toldOf[simnet.LimitSet](n)))
}

// TestRetryIsInterruptedAndResumed in its pause, which ends at once; resumed, it goes on counting.
func TestRetryIsInterruptedAndResumed(t *testing.T) {
	n, keys := newLoadNetwork(t, 6, func(o *simnet.Options) { o.Nodes = 3 })
	refuse := &refusals{n: n, of: [][]int{{0, 1}, {0, 1}, {0, 1}}}
	text := beginning + "pay = " + paying("") + " retry 3 every 100_000m"
	ctx, interrupt := interruption(t, syscall.SIGINT)
	e := n.try(text, trial{ctx: ctx, between: refuse.between, waiting: func(time.Time) { interrupt() }})
	e.mustBeInterrupted(t, 130)
	n.mustBeTrue(t, e)
	n.mustRun(t, 0)
	mustEqual(t, "failed attempts", 1, len(outputsOf[retryLine](t, e, 2, "_retry")))
	mustEqual(t, "receipts of the failed attempt", 0, len(e.outputs(t, 2, "receipt")))

	resume := func(x trial) ending {
		recorded, err := orchestrator.ReadRecord(e.path)
		if err != nil {
			t.Fatal(err)
		}
		x.between, x.resume = refuse.between, recorded
		return n.try(text, x)
	}
	ctx, interrupt = interruption(t, syscall.SIGINT)
	e = resume(trial{ctx: ctx, waiting: func(time.Time) { interrupt() }})
	e.mustBeInterrupted(t, 130)
	mustEqual(t, "failed attempts", []int{1, 2}, codes(outputsOf[retryLine](t, e, 2, "_retry")))

	e = resume(trial{}).mustEnd(t, orchestrator.CodeStep)
	mustSay(t, e.shown(t), "attempt 3 of 3")
	n.mustRun(t, 0)

	refuse.attempt.Store(3) // and who tries it once more has the last attempt again
	good := resume(trial{}).mustEnd(t, orchestrator.CodeOK)
	n.mustBeTrue(t, good)
	mustEqual(t, "keys in use", sorted(keys), sendersOf(n.mustRun(t, 3)))
	mustEqual(t, "receipts", 3, len(good.outputs(t, 2, "receipt")))
}

func codes(lines []retryLine) []int {
	var all []int
	for _, l := range lines {
		all = append(all, l.Code)
	}
	return all
}

// TestRetryIsCutOff in its pause, without a clean-up: what the first attempt placed stays, and is completed.
func TestRetryIsCutOff(t *testing.T) {
	n, keys := newLoadNetwork(t, 6, func(o *simnet.Options) { o.Nodes = 3 })
	refuse := &refusals{n: n, of: [][]int{{0, 1}}}
	text := beginning + "pay = " + paying("") + " retry 2 every 10m"
	path := n.cutAt(t, text, refuse.between, func(line string) bool { return strings.Contains(line, `"name":"_retry"`) })
	n.mustRun(t, 2)
	recorded, err := orchestrator.ReadRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	refuse.attempt.Store(1)
	e := n.try(text, trial{between: refuse.between, resume: recorded}).mustEnd(t, orchestrator.CodeOK)
	n.mustBeTrue(t, e)
	mustEqual(t, "keys in use", sorted(keys), sendersOf(n.mustRun(t, 3)))
	mustEqual(t, "schedules", 3, len(n.History().Schedules()))
	mustEqual(t, "receipts", 3, len(e.outputs(t, 2, "receipt")))
}

// passing lets everything pass.
func passing(x exchange) (*http.Response, error) { return x.pass() }

// cutAt runs a script, kills it behind the first line of its record that is as wanted, and returns the path of the record.
func (n *network) cutAt(t *testing.T, text string, between func(exchange) (*http.Response, error), when func(line string) bool) string {
	t.Helper()
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	m := &mortal{kill: kill, when: when}
	n.try(text, trial{
		ctx: ctx, seed: cutSeed, cleanup: time.Millisecond,
		between: func(x exchange) (*http.Response, error) {
			if m.dead.Load() {
				return m.between(x)
			}
			return between(x)
		},
		file: func(record.File) record.File { return m },
	})
	if !m.dead.Load() {
		t.Fatal("the run ended before it was cut off")
	}
	writeText(t, "cut.record", m.text.String())
	return "cut.record"
}

// choices is a script of all kinds of choices: which nodes are found, which are sampled and which carry load.
const choices = `
experiment "x"
keys = load-keys(dir: "keys")
some = discovery(limit: 4)
repeat 2 as round {
  half = sample(group: some, ratios: [50%, 25%])
}
nodes = discovery()
pay = payments(tps: 0.3 tps, min-tps: 0.1 tps, duration: 10h, fee: 0.1 mina, amount: 1 nanomina, receiver: "` + receiver + `", fee-payers: keys, nodes: nodes)
wait(0m)
`

// chosen returns what the runs of a network chose, in words that are the same for another network of the same kind.
func (n *network) chosen(t *testing.T, e ending) []string {
	t.Helper()
	index := func(address string) int { return slices.Index(n.Nodes(), address) }
	var all []string
	for step := 1; step <= 3; step++ {
		for _, name := range []string{"participant", "group1", "group2"} {
			for _, value := range e.outputs(t, step, name) {
				for _, address := range n.Nodes() {
					value = strings.ReplaceAll(value, address, fmt.Sprint(index(address)))
				}
				all = append(all, fmt.Sprintf("%d %s %s", step, name, value))
			}
		}
	}
	for _, s := range n.History().Unstopped() {
		all = append(all, fmt.Sprintf("load on %d, batch %s", index(s.Node), s.MemoPrefix))
	}
	return sorted(all)
}

// TestChance: script, seed and nodes decide every choice; another seed gives others.
func TestChance(t *testing.T) {
	run := func(text string, seed uint64) []string {
		n, _ := newLoadNetwork(t, 6, nil)
		return n.chosen(t, n.try(text, trial{seed: seed}).mustEnd(t, orchestrator.CodeOK))
	}
	first := run(choices, cutSeed)
	mustEqual(t, "choices of the same seed", first, run(choices, cutSeed))
	if other := run(choices, cutSeed+1); slices.Equal(first, other) {
		t.Errorf("another seed makes the same choices: %v", other)
	}
	rounds := map[string]bool{}
	for _, line := range first {
		for _, step := range []string{"2 ", "3 "} {
			if choice, ok := strings.CutPrefix(line, step); ok {
				rounds[choice] = true
			}
		}
	}
	if len(rounds) < 3 {
		t.Errorf("each round makes the same choices: %v", first)
	}
}

// TestChanceOfAResumedRun: cut off anywhere and resumed under another seed, a run makes the choices of the uninterrupted one.
func TestChanceOfAResumedRun(t *testing.T) {
	whole, _ := newLoadNetwork(t, 6, nil)
	want := whole.chosen(t, whole.try(choices, trial{seed: cutSeed}).mustEnd(t, orchestrator.CodeOK))
	for _, step := range []int{0, 1, 2, 3, 4, 5} {
		t.Run(fmt.Sprintf("behind step %d", step), func(t *testing.T) {
			n, _ := newLoadNetwork(t, 6, nil)
			pass := func(x exchange) (*http.Response, error) { return x.pass() }
			path := n.cutAt(t, choices, pass, func(line string) bool {
				return strings.Contains(line, fmt.Sprintf(`"step":%d,`, step)) && strings.Contains(line, `"name":"_done"`)
			})
			recorded, err := orchestrator.ReadRecord(path)
			if err != nil {
				t.Fatal(err)
			}
			e := n.try(choices, trial{seed: cutSeed + 1, resume: recorded}).mustEnd(t, orchestrator.CodeOK)
			mustEqual(t, "choices", want, n.chosen(t, e))
		})
	}
}

// TestChanceOfPeers: which peers a node gets depends on its address and the seed.
func TestChanceOfPeers(t *testing.T) {
	n := newNetwork(t, nil)
	peers := func(seed uint64) map[string][]string {
		before := len(toldOf[simnet.GatingSet](n))
		n.try("nodes = discovery()\nreset-gating(nodes: nodes, add-random-peers: 2)", trial{seed: seed}).mustEnd(t, orchestrator.CodeOK)
		given := map[string][]string{}
		for _, set := range toldOf[simnet.GatingSet](n)[before:] {
			given[set.node] = append(given[set.node], set.fact.Added...)
		}
		return given
	}
	first := peers(cutSeed)
	mustEqual(t, "peers of the same seed", first, peers(cutSeed))
	if cmp.Equal(first, peers(cutSeed+1)) {
		t.Errorf("another seed gives the same peers: %v", first)
	}
}

// TestTheSeedOfTheScript is part of its plan; the command hands it on to the run.
func TestTheSeedOfTheScript(t *testing.T) {
	n := newNetwork(t, nil)
	seed, ok := n.compile("seed 42\nwait(0m)").Seed()
	if !ok || seed != 42 {
		t.Errorf("the seed of the script is %d, %v", seed, ok)
	}
	if seed, ok := n.compile("wait(0m)").Seed(); ok {
		t.Errorf("a script without a seed has %d", seed)
	}
	e := n.try("seed 42\nwait(0m)", trial{seed: 42}).mustEnd(t, orchestrator.CodeOK)
	mustSay(t, e.outputs(t, -1, "_run")[0], `"seed":42`)
}
