package orchestrator_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"provingground/internal/soak"
	"provingground/orchestrator"
	"provingground/orchestrator/record"
	"provingground/orchestrator/simnet"
)

// What a run that is killed leaves, in process: from one line of its record on nothing of it reaches the disk or a node any more, and no
// answer reaches it. (That whole processes are killed is tested with the command.)

// cutSeed gives the random choices of the runs that are cut off, and of those that they are compared with.
const cutSeed = 5

// mortal is the record file of a run that is killed at one of its lines: that number, or the first that is as wanted.
type mortal struct {
	at   int
	when func(line string) bool
	kill context.CancelFunc
	dead atomic.Bool
	text bytes.Buffer
}

// Write is called by one goroutine at a time.
func (m *mortal) Write(p []byte) (int, error) {
	if m.dead.Load() {
		return len(p), nil
	}
	if m.when != nil && m.when(string(p)) {
		m.dead.Store(true)
		defer m.kill()
	}
	return m.text.Write(p)
}

func (m *mortal) Sync() error { return nil }

func (m *mortal) after(lines int) {
	if lines == m.at {
		m.dead.Store(true)
		m.kill()
	}
}

// between lets nothing pass to a node or back from it once the run is dead. It answers in a way that ends all trying at once.
func (m *mortal) between(x exchange) (*http.Response, error) {
	if m.dead.Load() {
		return answered(x, http.StatusUnauthorized, "")
	}
	response, err := x.pass()
	if m.dead.Load() {
		return answered(x, http.StatusUnauthorized, "")
	}
	return response, err
}

// cut runs a script, kills it at a line of its record, and returns the path of the record as it is on disk then: up to that line or, torn,
// up to the middle of it. ok is false when the run ended before.
func (n *network) cut(t *testing.T, text string, line int, torn bool) (path string, ok bool) {
	t.Helper()
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	m := &mortal{at: line, kill: kill}
	n.try(text, trial{
		ctx: ctx, seed: cutSeed, between: m.between, after: m.after, cleanup: time.Millisecond,
		file: func(record.File) record.File { return m },
	})
	if !m.dead.Load() {
		return "", false
	}
	lines := slices.Collect(bytes.Lines(m.text.Bytes()))[:line]
	if last := len(lines) - 1; torn {
		lines[last] = lines[last][:len(lines[last])/2]
	}
	path = fmt.Sprintf("cut-%d.record", line)
	if err := os.WriteFile(path, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, true
}

// leftover is what a run that was cut off left: a network that runs something of it, and its record.
type leftover struct {
	t      *testing.T
	n      *network
	old    int      // so many of its nodes are older
	payers []string // the public keys of all fee payers
	path   string   // of the record
}

// eachCut calls f for every line at which the script of everything can be cut off, with a network of its own that runs what the run left.
// Whether the line is whole or torn, and whether some nodes are older, takes turns; at ROUNDS=40 and more everything is tried.
func eachCut(t *testing.T, f func(leftover)) {
	t.Helper()
	turn := rand.IntN(4)
	variants := 1
	if soak.Rounds(t) >= 40 {
		variants = 4
	}
	for line := 1; ; line++ {
		for range variants {
			turn++
			old, torn := turn/2%2*2, turn%2 == 1
			if line == 1 && torn {
				continue // there is no record yet
			}
			over := false
			t.Run(fmt.Sprintf("line %d, torn %v, %d older nodes", line, torn, old), func(t *testing.T) {
				n, payers, zpayers := newEverythingNetwork(t, old)
				path, ok := n.cut(t, n.everything("cut"), line, torn)
				if over = !ok; ok {
					f(leftover{t, n, old, append(payers, zpayers...), path})
				}
			})
			if over {
				if line < 50 {
					t.Fatalf("the script has a record of %d lines only", line-1)
				}
				return
			}
		}
	}
}

// TestStopAfterEveryLine: whatever line a run was cut off at, stop leaves nothing behind but what it reports, and that can only be load of
// an older node whose answer nobody has.
func TestStopAfterEveryLine(t *testing.T) {
	eachCut(t, func(l leftover) {
		t, n, old, path := l.t, l.n, l.old, l.path
		first, log := n.stop(path, trial{})
		n.mustBeReported(t, first)
		n.mustBeUnstoppable(t, old, first, log)
		second, log := n.stop(path, trial{}) // asking again changes nothing, and claims nothing else
		n.mustBeReported(t, second)
		n.mustBeUnstoppable(t, old, second, log)
		mustEqual(t, "remains", len(first.Remains), len(second.Remains))
	})
}

// mustBeUnstoppable fails the test if anything remains that could have been undone, or that does not run.
func (n *network) mustBeUnstoppable(t *testing.T, old int, result orchestrator.Result, log string) {
	t.Helper()
	running := nodesOf(n.History().Unstopped())
	for _, r := range result.Remains {
		if i := slices.Index(n.Nodes(), r.Node); i < len(n.Nodes())-old || r.Handle != "" || running[r.Node] == 0 {
			t.Errorf("remains %v, running %v\n%s", r, running, log)
		}
	}
	if (result.Code == orchestrator.CodeOK) != (len(result.Remains) == 0) {
		t.Errorf("stop ended with %d, %v remains", result.Code, result.Remains)
	}
}

// state is what of a script is in force on a network, in words that are the same for another network of the same kind.
func (n *network) state(payers []string) []string {
	host := func(address string) string {
		host, _, _ := net.SplitHostPort(address)
		return host
	}
	var state []string
	history := n.History()
	for _, s := range history.Unstopped() {
		var keys []int
		for _, sender := range s.Senders {
			keys = append(keys, slices.Index(payers, sender))
		}
		state = append(state, fmt.Sprintf("%s on %s of %v tps from keys %v", s.Operation, host(s.Node), s.TPS, keys))
	}
	for node, limit := range history.Limits() {
		state = append(state, fmt.Sprintf("limit %d on %s", limit, host(node)))
	}
	for node, set := range history.Gating() {
		var trusted []string
		for _, peer := range set.Trusted {
			trusted = append(trusted, host(peer))
		}
		state = append(state, fmt.Sprintf("%s talks to %v", host(node), sorted(trusted)))
	}
	return sorted(state)
}

// done counts what was ever done on a network.
func (n *network) done() map[string]int {
	count := map[string]int{}
	for _, entry := range n.History() {
		switch fact := entry.Fact.(type) {
		case simnet.ScheduleAccepted:
			count[fact.Operation]++
		case simnet.LimitSet:
			count["limit"]++
		case simnet.GatingSet:
			count["gating"]++
		}
	}
	return count
}

// TestResumeAfterEveryLine: whatever line a run was cut off at, resume does what is left and nothing twice, and ends as the uninterrupted
// run does.
func TestResumeAfterEveryLine(t *testing.T) {
	whole, payers, zpayers := newEverythingNetwork(t, 0)
	uninterrupted := whole.try(whole.everything("cut"), trial{seed: cutSeed}).mustEnd(t, orchestrator.CodeOK)
	wantState, wantDone := whole.state(append(payers, zpayers...)), whole.done()
	wantLines := recordedNames(t, uninterrupted.out)

	eachCut(t, func(l leftover) {
		t, n, old, path := l.t, l.n, l.old, l.path
		recorded, err := orchestrator.ReadRecord(path)
		if err != nil {
			t.Fatal(err)
		}
		text := n.everything("cut")
		if err := recorded.Fits(n.compile(text), n.config); err != nil {
			t.Fatal(err)
		}
		e := n.try(text, trial{seed: 99, resume: recorded}).mustEnd(t, orchestrator.CodeOK) // the recorded seed counts
		n.mustBeTrue(t, e)
		mustEqual(t, "what was done in all", wantDone, n.done())
		state := n.state(l.payers)
		// Load of an older node whose answer was lost has no receipt, so the script's stop cannot stop it.
		state = slices.DeleteFunc(state, func(s string) bool {
			return old > 0 && strings.HasPrefix(s, "schedulePayments on ") && !slices.Contains(wantState, s)
		})
		mustEqual(t, "state at the end", wantState, state)

		// Its own record is whole: the old lines, but outputs of steps that were not finished, which give them out again.
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		finished := recordedNames(t, string(before[:recorded.Whole]))
		for line := range strings.Lines(string(before[:recorded.Whole])) {
			if strings.Contains(e.out, line) {
				continue
			}
			var old struct {
				Step int
				Name string
			}
			mustDecode(t, line, &old)
			if strings.HasPrefix(old.Name, "_") && old.Name != "_end" || finished[fmt.Sprintf("%d _done", old.Step)] > 0 {
				t.Errorf("this line of the old record is not in the new one: %s", line)
			}
		}
		lines := recordedNames(t, e.out)
		for name, want := range wantLines {
			if strings.Contains(name, " receipt") && old > 0 {
				continue
			}
			if got := lines[name]; !strings.Contains(name, " _") && got != want || strings.HasSuffix(name, " _done") && got != 1 {
				t.Errorf("the record has %d lines %q, that of the uninterrupted run %d", got, name, want)
			}
		}

		// And from it everything can be undone.
		result, log := n.stop(e.path, trial{})
		n.mustBeReported(t, result)
		n.mustBeUnstoppable(t, old, result, log)
	})
}

// recordedNames counts the lines of a record by step and name.
func recordedNames(t *testing.T, text string) map[string]int {
	t.Helper()
	count := map[string]int{}
	if _, err := record.Read("record", strings.NewReader(text), func(l record.Line) error {
		count[fmt.Sprintf("%d %s", l.Step, l.Name)]++
		return nil
	}); err != nil && !errors.Is(err, record.ErrNoRecord) {
		t.Fatal(err)
	}
	return count
}

// TestOtherRecords are refused: those of another network, of another script, of a stream, and what is none.
func TestOtherRecords(t *testing.T) {
	n, _ := newLoadNetwork(t, 2, nil)
	text := step("discovery", params{})
	e := n.try(text, trial{}).mustEnd(t, orchestrator.CodeOK)
	recorded, err := orchestrator.ReadRecord(e.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := recorded.Fits(n.compile(text), n.config); err != nil {
		t.Errorf("its own script and network are refused: %v", err)
	}
	if err := recorded.Fits(n.compile(text+" "), n.config); err == nil || !strings.Contains(err.Error(), "another script") {
		t.Errorf("another script: %v", err)
	}
	for name, change := range map[string]func(*orchestrator.Config){
		"another list":         func(c *orchestrator.Config) { c.OnlineURL += "2" },
		"another genesis":      func(c *orchestrator.Config) { c.Genesis = c.Genesis.Add(time.Second) },
		"from the list to AWS": func(c *orchestrator.Config) { c.OnlineURL, c.AWS = "", &orchestrator.AWS{Region: "r"} },
	} {
		other := n.config
		change(&other)
		for what, err := range map[string]error{"stop": recorded.FitsNetwork(other), "resume": recorded.Fits(n.compile(text), other)} {
			if err == nil || !strings.Contains(err.Error(), "another network") {
				t.Errorf("%s, %s: %v", what, name, err)
			}
		}
	}
	streamed := n.try("", trial{stream: strings.NewReader(text)}).mustEnd(t, orchestrator.CodeOK)
	if recorded, err = orchestrator.ReadRecord(streamed.path); err != nil {
		t.Fatal(err)
	}
	if err := recorded.Fits(n.compile(text), n.config); err == nil || !strings.Contains(err.Error(), "step by step") {
		t.Errorf("a stream: %v", err)
	}
	for name, content := range map[string]string{
		"empty": "", "torn in its first line": `{"time":"2024-05-01T10:00:00Z","st`, "no JSON": "hello\n",
		"of the existing tool": `{"time":"2024-05-01T10:00:00Z","step":0,"name":"participant","multi":true,"value":"10.0.0.1:3086"}` + "\n",
	} {
		if err := os.WriteFile("other.record", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := orchestrator.ReadRecord("other.record"); err == nil {
			t.Errorf("%s: it is taken for a record", name)
		}
	}
}

// TestResumeOfARunThatCleanedUp: what the clean-up undid of the failed step is done again, and not taken for done; and nodes that refused
// are asked again.
func TestResumeOfARunThatCleanedUp(t *testing.T) {
	for what, refused := range map[string]struct{ operation, step string }{
		"load":      {"schedulePayments", paymentsOn(params{"nodes": output(0, "participant")})},
		"isolation": {"updateGating", step("isolate", params{"nodes": output(0, "participant")})},
	} {
		t.Run(what, func(t *testing.T) {
			n, keys := newLoadNetwork(t, 6, func(o *simnet.Options) { o.Nodes = 3 })
			var healed atomic.Bool
			between := func(x exchange) (*http.Response, error) {
				if x.operation == refused.operation && x.mutates() && x.node != n.Nodes()[2] && !healed.Load() {
					return answered(x, http.StatusOK, `{"errors":[{"message":"Simulated refusal","path":["any"]}],"data":null}`)
				}
				return x.pass()
			}
			text := script(discoverAndLoadKeys(), refused.step)
			failed := n.try(text, trial{between: between}).mustEnd(t, orchestrator.CodeStep)
			n.mustBeTrue(t, failed)
			recorded, err := orchestrator.ReadRecord(failed.path)
			if err != nil {
				t.Fatal(err)
			}
			if code, ended := recorded.Ended(); !ended || code != orchestrator.CodeStep {
				t.Errorf("the record says: ended %v with %d", ended, code)
			}
			healed.Store(true)
			n.mustBeTrue(t, n.try(text, trial{between: between, resume: recorded}).mustEnd(t, orchestrator.CodeOK))
			if what == "load" {
				running := n.mustRun(t, 3)
				mustEqual(t, "keys in use", sorted(keys), sendersOf(running))
				mustEqual(t, "nodes", 3, len(nodesOf(running)))
			} else {
				mustEqual(t, "isolated", 3, len(n.History().Gating()))
			}
		})
	}
}

// TestResumeBehindWhatWasUndone goes on without it, and says so.
func TestResumeBehindWhatWasUndone(t *testing.T) {
	n, _ := newLoadNetwork(t, 6, nil)
	text := script(discoverAndLoadKeys(), paymentsOn(nil), failing())
	failed := n.try(text, trial{}).mustEnd(t, orchestrator.CodeStep)
	recorded, err := orchestrator.ReadRecord(failed.path)
	if err != nil {
		t.Fatal(err)
	}
	writeKey(t, "nowhere/key", newKeys(t, 1)[0], "")
	e := n.try(text, trial{resume: recorded}).mustEnd(t, orchestrator.CodeOK)
	mustSay(t, e.log, "it is not done again", `"step": 2`)
	n.mustRun(t, 0)
}
