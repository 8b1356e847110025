package orchestrator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	"provingground/dsl"
	"provingground/internal/redact"
	"provingground/orchestrator"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/record"
	"provingground/orchestrator/simnet"
)

// The files faults_*_test.go prove how a run behaves when something goes wrong: nodes, the online list, the disk, the process itself. The
// nodes are those of a simulated network behind TCP, and what the tests assert they read in its journal, which holds what really happened
// there. This file has what they share.

// trial is a run of which every part can be made to fail. What is not set is as in any run.
type trial struct {
	ctx      context.Context
	seed     uint64
	world    func(*orchestrator.World)
	between  func(exchange) (*http.Response, error) // stands between the run and the nodes
	step     func(number int, action string)        // called when a step begins
	waiting  func(until time.Time)                  // called when a step begins to wait
	cleaning func()                                 // called when the clean-up begins
	stdout   io.Writer                              // gets standard output as well, and its errors count
	file     func(record.File) record.File          // stands before the record file
	after    func(lines int)                        // called after each line of the record
	cleanup  time.Duration
	resume   *orchestrator.Recorded
	stream   io.Reader // of steps, in place of the script
}

// Step is part of orchestrator.Progress.
func (x trial) Step(number, _ int, action string) {
	if x.step != nil {
		x.step(number, action)
	}
}

// Waiting is part of orchestrator.Progress.
func (x trial) Waiting(until time.Time) {
	if x.waiting != nil && !until.IsZero() {
		x.waiting(until)
	}
}

// Comment is part of orchestrator.Progress.
func (trial) Comment(string) {}

// Cleaning is part of orchestrator.Progress.
func (x trial) Cleaning() {
	if x.cleaning != nil {
		x.cleaning()
	}
}

// try runs a script to its end, whatever goes wrong.
func (n *network) try(text string, x trial) ending {
	n.t.Helper()
	if x.ctx == nil {
		x.ctx = n.t.Context()
	}
	if x.cleanup == 0 {
		x.cleanup = 10 * time.Second
	}
	file, err := os.CreateTemp(n.dir, "run-*.record")
	if err != nil {
		n.t.Fatal(err)
	}
	defer file.Close()
	var disk record.File = file
	if x.file != nil {
		disk = x.file(file)
	}
	kept, log := &safeBuffer{}, &safeBuffer{}
	var stdout io.Writer = kept
	if x.stdout != nil {
		stdout = io.MultiWriter(kept, x.stdout)
	}
	writer := record.NewWriter(stdout, disk, redact.Text, x.after)
	settings := orchestrator.Options{
		Version: "test", Seed: x.seed, RecordPath: file.Name(), CleanupTimeout: x.cleanup, Progress: x, Resume: x.resume,
	}
	world := n.between(n.world(log), x)
	var run *orchestrator.Run
	if x.stream != nil {
		run = orchestrator.NewStreamRun(dsl.NewStream("test", x.stream), n.config, world, writer, settings)
	} else {
		run = orchestrator.NewRun(n.compile(text), n.config, world, writer, settings)
	}
	result := run.Do(x.ctx)
	return ending{Result: result, out: kept.String(), path: file.Name(), log: log.String()}
}

// compile makes the plan of a script.
func (n *network) compile(text string) *orchestrator.Plan {
	n.t.Helper()
	plan, found := n.read(text)
	if plan == nil {
		n.t.Fatalf("the script is wrong: %v", found)
	}
	return plan
}

// between changes a world as a trial wants it.
func (n *network) between(world orchestrator.World, x trial) orchestrator.World {
	n.t.Helper()
	if x.between != nil {
		key, err := itn.ParseKey(n.config.Key)
		if err != nil {
			n.t.Fatal(err)
		}
		direct := itn.NewTransport()
		n.t.Cleanup(direct.CloseIdleConnections)
		logger := world.Log
		world.Dial = func(address string) *itn.Client {
			return itn.New(address, key, itn.Options{
				Transport: meddler{direct, x.between}, RequestTimeout: n.config.RequestTimeout, Logger: logger, LogRequests: true,
			})
		}
	}
	if x.world != nil {
		x.world(&world)
	}
	return world
}

// stop undoes what a record says, as the command stop does.
func (n *network) stop(path string, x trial) (orchestrator.Result, string) {
	n.t.Helper()
	recorded, err := orchestrator.ReadRecord(path)
	if err != nil {
		n.t.Fatal(err)
	}
	if x.cleanup == 0 {
		x.cleanup = 10 * time.Second
	}
	ctx, cancel := context.WithTimeoutCause(n.t.Context(), x.cleanup, errors.New("the time of the stop is over"))
	defer cancel()
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(recorded.Whole); err != nil {
		n.t.Fatal(err)
	}
	log := &safeBuffer{}
	writer := record.NewWriter(nil, file, redact.Text, nil)
	return orchestrator.Stop(ctx, recorded, n.config, n.between(n.world(log), x), writer, orchestrator.Options{Version: "test"}), log.String()
}

// exchange is one request of the run to a node.
type exchange struct {
	*http.Request
	node      string // HOST:PORT
	operation string
	body      []byte
	pass      func() (*http.Response, error) // lets the node have it
}

// meddler is a transport that lets a test decide about each request.
type meddler struct {
	direct  http.RoundTripper
	between func(exchange) (*http.Response, error)
}

// RoundTrip implements http.RoundTripper.
func (m meddler) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	request.Body = io.NopCloser(bytes.NewReader(body))
	var sent struct {
		Query string `json:"query"`
	}
	if err := json.Unmarshal(body, &sent); err != nil {
		return nil, err
	}
	_, fields, _ := strings.Cut(sent.Query, "{")
	name := strings.FieldsFunc(fields, func(r rune) bool { return !unicode.IsLetter(r) })
	return m.between(exchange{
		Request: request, node: request.URL.Host, operation: name[0], body: body, pass: func() (*http.Response, error) { return m.direct.RoundTrip(request) },
	})
}

// The ways in which a meddler answers in a node's place.

func answered(x exchange, status int, body string) (*http.Response, error) {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: x.Request,
		Body: io.NopCloser(strings.NewReader(body)),
	}, nil
}

// refusedConnection is what dialling a node that is down gives.
func refusedConnection() (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
}

// lostReply lets the node have the request, and nobody the answer.
func lostReply(x exchange) (*http.Response, error) {
	response, err := x.pass()
	if err == nil {
		_ = response.Body.Close()
	}
	return nil, errors.New("connection reset by peer")
}

// schedules reports whether the request asks for load.
func (x exchange) schedules() bool {
	return x.operation == "schedulePayments" || x.operation == "scheduleZkappCommands"
}

// mutates reports whether the request leaves something behind, as opposed to asking or undoing.
func (x exchange) mutates() bool {
	var sent struct {
		Variables struct {
			Limit *int
			Input struct{ Isolate bool }
		}
	}
	if err := json.Unmarshal(x.body, &sent); err != nil {
		return true
	}
	switch x.operation {
	case "updateGating":
		return sent.Variables.Input.Isolate
	case "zkAppCommandLimit":
		return sent.Variables.Limit != nil
	case "stopDaemon", "createAccounts":
		return true
	default:
		return x.schedules()
	}
}

// countOf counts the requests of an operation that reached nodes, whatever came of them.
func (n *network) countOf(operation string) int {
	count := 0
	for _, answer := range toldOf[simnet.RequestAnswered](n) {
		if answer.fact.Operation == operation && answer.fact.Outcome != simnet.OutcomeNotRun {
			count++
		}
	}
	return count
}

// mustBeTrue checks what must hold after any run, whatever went wrong: no sender key in two schedules at a time, no memo prefix twice, and,
// of a run that cleaned up, nothing running but what it reported, with an end that is not too early.
func (n *network) mustBeTrue(t *testing.T, e ending) {
	t.Helper()
	history := n.History()
	n.mustNotOverlap(t)
	memos := map[string]bool{}
	for _, s := range history.Schedules() {
		if memos[s.MemoPrefix] {
			t.Errorf("the memo prefix %s was used twice", s.MemoPrefix)
		}
		memos[s.MemoPrefix] = true
	}
	if e.Code == orchestrator.CodeOK {
		return
	}
	n.mustBeReported(t, e.Result)
	if (e.Code == orchestrator.CodeRemains) != (len(e.Remains) > 0) {
		t.Errorf("the run ended with %d, and reports as remaining %v", e.Code, e.Remains)
	}
}

// mustNotOverlap checks that no sender key was in two schedules at a time. A schedule that was told to stop sends nothing any more.
func (n *network) mustNotOverlap(t *testing.T) {
	t.Helper()
	for _, o := range n.History().Overlaps() {
		if o.First.Stopping.IsZero() || o.First.Stopping.After(o.Second.Accepted) {
			t.Errorf("sender %s in two schedules at once: %+v and %+v", o.Sender, o.First, o.Second)
		}
	}
}

// mustBeReported checks that whatever a clean-up left behind is in its report.
func (n *network) mustBeReported(t *testing.T, result orchestrator.Result) {
	t.Helper()
	history := n.History()
	reported := map[string]int{} // by node
	for _, r := range result.Remains {
		reported[r.Node]++
	}
	left := map[string]int{}
	for _, s := range history.Unstopped() {
		if left[s.Node]++; left[s.Node] > reported[s.Node] {
			t.Errorf("load runs on %s and is not reported: %+v, reported %v", s.Node, s, result.Remains)
		}
		for _, r := range result.Remains {
			if r.Node == s.Node && !r.Ends.IsZero() && (r.Handle == "" || r.Handle == s.Handle) && n.clock.FromWall(r.Ends).Before(s.End.Add(-time.Millisecond)) {
				t.Errorf("load on %s is said to end at %s, and ends at %s", s.Node, n.clock.FromWall(r.Ends), s.End)
			}
		}
	}
	for node := range history.Gating() {
		if reported[node] == 0 {
			t.Errorf("node %s is isolated, and that is not reported: %v", node, result.Remains)
		}
	}
	for node := range history.Limits() {
		if reported[node] == 0 {
			t.Errorf("node %s has a limit, and that is not reported: %v", node, result.Remains)
		}
	}
}

// mustRun fails the test unless so many schedules run, each of them not told to stop.
func (n *network) mustRun(t *testing.T, want int) []simnet.Schedule {
	t.Helper()
	running := n.History().Unstopped()
	if len(running) != want {
		t.Errorf("%d schedules run, want %d: %+v", len(running), want, running)
	}
	return running
}

// sendersOf returns all sender keys of schedules, sorted, as often as they occur.
func sendersOf(schedules []simnet.Schedule) []string {
	var senders []string
	for _, s := range schedules {
		senders = append(senders, s.Senders...)
	}
	return sorted(senders)
}

// nodesOf returns how many of the schedules are on each node.
func nodesOf(schedules []simnet.Schedule) map[string]int {
	count := map[string]int{}
	for _, s := range schedules {
		count[s.Node]++
	}
	return count
}

// failing is a step that fails without asking anybody.
func failing() string { return step("load-keys", params{"dir": "nowhere"}) }

// paymentsOn are payments at a rate of 0.6 tps over all nodes and all keys, a tenth of it at least on each.
func paymentsOn(changes params) string {
	return step("payments", somePayments().with(params{"tps": 0.6, "minTps": 0.1}).with(changes))
}

// mustDecode reads JSON.
func mustDecode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}
