package api_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"provingground/fetcher"
	"provingground/fetcher/api"
)

func sorted(numbers []string) []string {
	return slices.SortedFunc(slices.Values(numbers), func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
}

func reversed(list []string) []string {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

func TestNodes(t *testing.T) {
	t.Parallel()
	collector := &fakeCollector{}
	server := deaf(t, collector)
	if got := body(ask(server, "GET", "/nodes", "")); got != "[]" {
		t.Errorf("without nodes: %s", got)
	}
	isProducer := true
	collector.nodes = []fetcher.NodeStatus{
		{IP: "10.0.0.1", GraphQLPort: 3086, SubmitterPK: "B62x", InternalTracePort: 11000, IsBlockProducer: &isProducer, Name: "one", NodeName: "B62x-10.0.0.1-3086", Active: true,
			State: fetcher.Running, LastLogID: 7, LastSuccess: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), LostEntries: 3},
		{IP: "10.0.0.2", GraphQLPort: 3086, NodeName: "-10.0.0.2-3086", State: fetcher.Stopped},
	}
	const first = `{"ip":"10.0.0.1","graphql_port":3086,"submitter_pk":"B62x","internal_trace_port":11000,"is_block_producer":true,"name":"one","node_name":"B62x-10.0.0.1-3086",` +
		`"active":true,"state":"running","last_log_id":7,"last_success":"2026-11-20T12:00:00Z","lost_entries":3,"lost_unknown":0}`
	if diff := gocmp.Diff("["+first+"]", body(ask(server, "GET", "/nodes", ""))); diff != "" {
		t.Errorf("active nodes (-want +got):\n%s", diff)
	}
	if got := body(ask(server, "GET", "/nodes?all=1", "")); !strings.HasPrefix(got, "["+first+",") || strings.Count(got, `"ip"`) != 2 {
		t.Errorf("all nodes: %s", got)
	}
}

func TestFreezeUnfreezeReset(t *testing.T) {
	t.Parallel()
	collector := &fakeCollector{}
	core, logs := observer.New(zap.InfoLevel)
	server := deafWith(t, collector, zap.New(core))
	for _, step := range []struct {
		path   string
		frozen bool
		resets int
	}{{"/freeze", true, 0}, {"/freeze", true, 0}, {"/unfreeze", false, 0}, {"/reset", false, 1}} {
		answer := ask(server, "POST", step.path, "")
		if answer.Code != http.StatusOK || answer.Body.Len() != 0 || collector.frozen != step.frozen || collector.resets != step.resets {
			t.Errorf("%s: %d %q, then frozen %v, %d resets", step.path, answer.Code, answer.Body, collector.frozen, collector.resets)
		}
	}
	if answer := ask(server, "POST", "/api/deployments", `{"data":{"secret":"hunter2"}}`); answer.Code != http.StatusCreated {
		t.Errorf("a new deployment: %d %s", answer.Code, answer.Body)
	}
	var said []string
	for _, entry := range logs.All() {
		first, _, _ := strings.Cut(entry.Message, ":")
		said = append(said, fmt.Sprint(entry.Level, " ", first, " ", entry.ContextMap()["peer"]))
	}
	const peer = " 192.0.2.1:1234" // of httptest
	if diff := gocmp.Diff([]string{"info frozen" + peer, "info frozen" + peer, "info unfrozen" + peer, "info reset" + peer, "info a new deployment" + peer}, said); diff != "" {
		t.Errorf("the log (-want +got):\n%s", diff)
	}
	collector.freezeErr = errors.New("still busy")
	if answer := ask(server, "POST", "/freeze", ""); answer.Code != http.StatusServiceUnavailable || !strings.Contains(body(answer), "the freeze is in force") {
		t.Errorf("freeze that lasts: %d", answer.Code)
	}
}

func TestMethodsAndOrigins(t *testing.T) {
	t.Parallel()
	server := deaf(t, &fakeCollector{})
	for _, test := range []struct {
		method, path string
		status       int
		allow        string
		text         string
	}{
		{"OPTIONS", "/freeze", 200, "POST, OPTIONS", ""},
		{"OPTIONS", "/graphql", 200, "GET, POST, OPTIONS, HEAD", ""},
		{"OPTIONS", "/api/deployments", 200, "POST, OPTIONS", ""},
		{"GET", "/freeze", 405, "POST, OPTIONS", `{"error":"this path allows POST, OPTIONS"}`},
		{"DELETE", "/nodes", 405, "GET, OPTIONS, HEAD", `{"error":"this path allows GET, OPTIONS, HEAD"}`},
		{"BREW", "/x/graphql", 405, "GET, POST, OPTIONS, HEAD", `{"error":"this path allows GET, POST, OPTIONS, HEAD"}`},
		{"GET", "/nothing", 404, "", `{"error":"nothing is served at this path; GET / lists what is"}`},
		{"POST", "/nodes/x", 404, "", `{"error":"nothing is served at this path; GET / lists what is"}`},
		{"OPTIONS", "/nothing", 404, "", `{"error":"nothing is served at this path; GET / lists what is"}`},
		{"HEAD", "/nodes", 200, "", "[]"}, // the server, not the handler, leaves the body out
		{"GET", "/", 200, "", strings.TrimSuffix(index(t), "\n")},
	} {
		t.Run(test.method+test.path, func(t *testing.T) {
			t.Parallel()
			answer := ask(server, test.method, test.path, "")
			if answer.Code != test.status || answer.Header().Get("Allow") != test.allow || answer.Header().Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("status %d, headers %v", answer.Code, answer.Header())
			}
			if diff := gocmp.Diff(test.text, body(answer)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if test.method == "OPTIONS" && test.status == 200 &&
				(answer.Header().Get("Access-Control-Allow-Methods") != "GET, POST" || answer.Header().Get("Access-Control-Allow-Headers") != "content-type") {
				t.Errorf("preflight headers %v", answer.Header())
			}
		})
	}
}

func index(tb testing.TB) string {
	tb.Helper()
	text, err := os.ReadFile("index.txt")
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// TestIndexListsWhatIsServed asks for every path of the page.
func TestIndexListsWhatIsServed(t *testing.T) {
	t.Parallel()
	server := deaf(t, &fakeCollector{})
	lines := regexp.MustCompile(`(?m)^  (GET|POST) +(/\S+)`).FindAllStringSubmatch(index(t), -1)
	for _, line := range lines {
		if answer := ask(server, line[1], line[2], ""); answer.Code == http.StatusNotFound || answer.Code == http.StatusMethodNotAllowed {
			t.Errorf("%s %s: %d", line[1], line[2], answer.Code)
		}
	}
	if len(lines) != 15 {
		t.Errorf("%d paths, want 15", len(lines))
	}
}

// experiment stores two rounds: payments and a zkApp command, of which one failed and one was not included.
func (w *world) experiment() {
	w.exec(`SELECT store_received_txs($1, ARRAY['a','b','c','d'], ARRAY['payment','zkapp:1:1','payment','payment'],
		ARRAY['load-0-0-0','load-0-0-1','load-0-1-0','load-1-0-0'],
		ARRAY['2026-11-20T12:00:00.123456Z','2026-11-20T12:01:00Z','2026-11-20T12:05:00.2Z','2026-11-20T13:00:00Z']::timestamptz[])`, w.deployment)
	w.exec(`SELECT store_block($1, 'h1', NULL, 2, 3, '2026-11-20T12:03:00.5Z', ARRAY['a','b'], ARRAY['payment','zkapp:1:1'], ARRAY['load-0-0-0','load-0-0-1'], ARRAY['Applied','Failed'])`, w.deployment)
	w.exec(`SELECT settle_chain($1)`, w.deployment)
}

// TestExperimentsAsTheExistingAPIWritesThem compares every byte of the row.
func TestExperimentsAsTheExistingAPIWritesThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got := body(w.get("/api/experiments")); got != "[]" {
		t.Errorf("without experiments: %s", got)
	}
	w.experiment()
	const want = `[{"exp":"load","round":0,"deployment_id":1,"rate_min":"0.60","zkapp_rate_min":"0.20","payment_rate_min":"0.40","duration":{"minutes":5},` +
		`"max_latency":{"minutes":3,"milliseconds":376.544},"missed":"0.33","failed":"0.33","successful":"0.33","start":"2026-11-20T12:00:00.123Z","total":"3","zkapps":"1"},` +
		`{"exp":"load","round":1,"deployment_id":1,"rate_min":null,"zkapp_rate_min":null,"payment_rate_min":null,"duration":{},` +
		`"max_latency":null,"missed":"1.00","failed":"0.00","successful":"0.00","start":"2026-11-20T13:00:00.000Z","total":"1","zkapps":"0"}]`
	if diff := gocmp.Diff(want, body(w.get("/api/experiments"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	columns := one[[]string](w, `SELECT array_agg(column_name::text) FROM information_schema.columns WHERE table_name = 'experiments'`)
	var keys []string
	for _, row := range decoded[[]map[string]any](t, w.get("/api/experiments").Body.Bytes()) {
		keys = slices.Collect(maps.Keys(row))
	}
	slices.Sort(columns)
	slices.Sort(keys)
	if diff := gocmp.Diff(columns, keys); diff != "" {
		t.Errorf("columns of the view (-), of the answer (+):\n%s", diff)
	}
}

func TestExperimentState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(`INSERT INTO experiment_state (name, created_at, updated_at, status, setup_json, current_step_no, warnings, logs)
		VALUES ('ä / b', '2026-11-20 12:00:00', 'infinity', 'running', '{"a": [1]}', 3, ARRAY['w'], ARRAY['x', NULL])`)
	const want = `[{"name":"ä / b","description":null,"created_at":"2026-11-20T12:00:00.000Z","updated_at":null,"ended_at":null,"status":"running","comment":null,` +
		`"setup_json":{"a":[1]},"current_step_no":3,"current_step_name":null,"warnings":["w"],"errors":[],"logs":["x",null]}]`
	if diff := gocmp.Diff(want, body(w.get("/api/experiment/%C3%A4%20%2F%20b"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := body(w.get("/api/experiment/none")); got != "[]" {
		t.Errorf("unknown experiment: %s", got)
	}
	if answer := w.get("/api/experiment/%00"); answer.Code != http.StatusBadRequest {
		t.Errorf("NUL: %d", answer.Code)
	}
}

func TestDeployments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answer := w.post("/api/deployments", `{"data": {"b": 1.50, "a": "ü"}, "more": 1}`)
	if got, want := body(answer), `{"message":"deployment created","deployment_id":2}`; got != want || answer.Code != http.StatusCreated || w.deployment != 2 {
		t.Errorf("got %d %s", answer.Code, got)
	}
	if got := one[string](w, `SELECT metadata_json FROM deployment WHERE deployment_id = 2`); got != `{"a": "ü", "b": 1.50}` {
		t.Errorf("stored %s", got)
	}
	for sent, text := range map[string]string{
		``:                              "body, line 1, column 1: a JSON object is expected",
		`{}`:                            "data is missing",
		`{"data": null}`:                "data is missing",
		`{"data": 0}`:                   "data is missing",
		`{"data": false}`:               "data is missing",
		`{"data": ""}`:                  "data is missing",
		"{\"data\":\n x}":               "body, line 2, column 2: invalid character 'x'",
		`[1]`:                           "is to be an object, not array",
		`{"data": {"a": "\u0000"}}`:     "the database refuses a value",
		`{"data": {"a": "\ud800"}}`:     "the database refuses a value",
		`{"data": 1e999999}`:            "the database refuses a value",
		`{"data": ` + deep(20000) + `}`: "exceeded max depth",
	} {
		answer := w.post("/api/deployments", sent)
		if got := errorOf(t, answer); answer.Code != http.StatusBadRequest || !strings.Contains(got, text) {
			t.Errorf("%.40s: %d %s, want %s", sent, answer.Code, got, text)
		}
	}
	if answer := w.post("/api/deployments", `{"data":"`+strings.Repeat("x", 1<<20)+`"}`); answer.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("large body: %d", answer.Code)
	}
	if got := one[int](w, `SELECT count(*) FROM deployment`); got != 2 {
		t.Errorf("%d deployments", got)
	}
}

func deep(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }

func errorOf(t *testing.T, answer *httptest.ResponseRecorder) string {
	t.Helper()
	if answer.Header().Get("Content-Type") != "application/json" {
		t.Errorf("type of an error is %s", answer.Header().Get("Content-Type"))
	}
	return decoded[struct{ Error string }](t, answer.Body.Bytes()).Error
}

func TestNodeRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	second := one[int64](w, `SELECT create_deployment('{}')`)
	answer := w.post("/api/node-restarts", `{"node_name": "n1", "reason": "OOMKilled", "code": 0, "object_name": "pod", "object_namespace": "ns", "container_name": "mina", "restart_count": 0, "uid": "x"}`)
	got := decoded[struct {
		Message string
		ID      int
		Time    string
	}](t, answer.Body.Bytes())
	if answer.Code != http.StatusCreated || got.Message != "node restart recorded" || got.ID != 1 || !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`).MatchString(got.Time) {
		t.Errorf("got %d %+v", answer.Code, got)
	}
	for _, sent := range []string{`{"node_name": "n2", "code": "137", "restart_count": null}`, fmt.Sprintf(`{"node_name": "n3", "code": -1, "deployment_id": %d}`, second)} {
		if answer := w.post("/api/node-restarts", sent); answer.Code != http.StatusCreated {
			t.Errorf("%s: %d %s", sent, answer.Code, answer.Body)
		}
	}
	const want = `[{"deployment_id": 1, "node_name": "n1", "reason": "OOMKilled", "code": 0, "object_name": "pod", "object_namespace": "ns", "container_name": "mina", "restart_count": 0},` +
		` {"deployment_id": 1, "node_name": "n2", "reason": null, "code": 137, "object_name": null, "object_namespace": null, "container_name": null, "restart_count": null},` +
		` {"deployment_id": 2, "node_name": "n3", "reason": null, "code": -1, "object_name": null, "object_namespace": null, "container_name": null, "restart_count": null}]`
	stored := one[string](w, `SELECT jsonb_agg(to_jsonb(r) - 'id' - 'time' ORDER BY id) FROM node_restarts r`)
	if diff := gocmp.Diff(decoded[any](t, []byte(want)), decoded[any](t, []byte(stored))); diff != "" {
		t.Errorf("(-want +stored):\n%s", diff)
	}
	for sent, text := range map[string]string{
		`{}`:                              "node_name is missing",
		`{"node_name": " "}`:              "node_name is missing",
		`{"node_name": null}`:             "node_name is missing",
		`{"node_name": 1}`:                "node_name is to be a text, not number",
		`{"node_name": "x", "code": 1.5}`: "code is to be a whole number from -2147483648 to 2147483647, not 1.5",
		`{"node_name": "x", "restart_count": 2147483648}`: "restart_count is to be a whole number",
		`{"node_name": "x", "code": [1]}`:                 "code is to be a whole number",
		`{"node_name": "x", "reason": "\u0000"}`:          "reason is not UTF-8 text without NUL",
		`{"node_name": "x", "deployment_id": 77}`:         "there is no deployment 77",
	} {
		answer := w.post("/api/node-restarts", sent)
		if got := errorOf(t, answer); answer.Code != http.StatusBadRequest || !strings.Contains(got, text) {
			t.Errorf("%s: %d %s, want %s", sent, answer.Code, got, text)
		}
	}
	w.deployment = 0
	if answer := w.post("/api/node-restarts", `{"node_name": "x"}`); answer.Code != http.StatusServiceUnavailable || answer.Header().Get("Retry-After") == "" {
		t.Errorf("without a deployment: %d", answer.Code)
	}
}

func TestCleanUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	present := one[int64](w, `SELECT create_deployment('{}')`)
	for _, deployment := range []int64{w.deployment, present, one[int64](w, `SELECT create_deployment('{}')`)} {
		w.exec(`SELECT ensure_day($1, '2026-11-19'), ensure_day($1, '2026-11-20')`, deployment)
		base := deployment * 100
		w.exec(`INSERT INTO block_trace (block_trace_id, deployment_id, node_name, block_id, status) VALUES ($1, $2, 'n', 'a', 'Pending'), ($1 + 1, $2, 'n', 'b', 'Success'), ($1 + 2, $2, 'n', 'c', 'Failure')`, base, deployment)
		for i := range int64(6) {
			w.exec(`INSERT INTO block_trace_checkpoint (block_trace_checkpoint_id, block_trace_id, source, main_trace, is_control, name, started_at, deployment_id, loaded_on)
				VALUES ($1, $2, 'M', true, false, 'x', 1, $3, '2026-11-19'::date + ($4::bigint)::int)`, base+i, base+i%3, deployment, i/3)
			w.exec(`INSERT INTO tx_traces (block_trace_checkpoint_id, node_name, action, time, diff, deployment_id, loaded_on) VALUES ($1, 'n', 'received', now(), '[]', $2, '2026-11-19'::date + ($3::bigint)::int)`, base+i, deployment, i/3)
			w.exec(`INSERT INTO sw_traces (block_trace_checkpoint_id, node_name, action, time, fst_work_id, deployment_id, loaded_on) VALUES ($1, 'n', 'added', now(), 1, $2, '2026-11-19'::date + ($3::bigint)::int)`, base+i, deployment, i/3)
		}
		w.exec(`INSERT INTO sw_interruptions (block_trace_id, deployment_id, at, reason) VALUES ($1, $2, 1, 'x'), ($1 + 1, $2, 1, 'x')`, base, deployment)
	}
	w.deployment = present // the newest is the third
	counts := func() string {
		return one[string](w, `SELECT string_agg(concat_ws(' ', d.deployment_id,
				(SELECT count(*) FROM block_trace x WHERE x.deployment_id = d.deployment_id), (SELECT count(*) FROM block_trace_checkpoint x WHERE x.deployment_id = d.deployment_id),
				(SELECT count(*) FROM tx_traces x WHERE x.deployment_id = d.deployment_id), (SELECT count(*) FROM sw_traces x WHERE x.deployment_id = d.deployment_id),
				(SELECT count(*) FROM sw_interruptions x WHERE x.deployment_id = d.deployment_id)), ', ' ORDER BY d.deployment_id) FROM deployment d`)
	}
	for _, want := range []string{
		`{"message":"unfinished traces of old deployments deleted","block_traces":1,"checkpoints":2}`,
		`{"message":"unfinished traces of old deployments deleted","block_traces":0,"checkpoints":0}`,
	} {
		answer := w.post("/api/tracing/cleanup", "")
		if got := body(answer); answer.Code != http.StatusCreated || got != want {
			t.Errorf("got %d %s", answer.Code, got)
		}
		if got, want := counts(), "1 2 4 4 4 1, 2 3 6 6 6 2, 3 3 6 6 6 2"; got != want {
			t.Errorf("deployments now have %s, want %s", got, want)
		}
	}
	// What cannot be done as a whole is not done at all.
	w.exec(`UPDATE block_trace SET status = 'Pending' WHERE deployment_id = 1`)
	w.exec(`CREATE TABLE holder (block_trace_id int, FOREIGN KEY (block_trace_id) REFERENCES sw_interruptions)`)
	w.exec(`INSERT INTO holder SELECT block_trace_id FROM sw_interruptions WHERE deployment_id = 1`)
	if answer := w.post("/api/tracing/cleanup", ""); answer.Code != http.StatusInternalServerError {
		t.Errorf("clean-up that fails: %d", answer.Code)
	}
	if got, want := counts(), "1 2 4 4 4 1, 2 3 6 6 6 2, 3 3 6 6 6 2"; got != want {
		t.Errorf("after it failed, deployments have %s, want %s", got, want)
	}
}

func TestGaps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got, want := body(w.get("/gaps")), `{"gaps":[],"next":null}`; got != want {
		t.Errorf("without gaps: %s", got)
	}
	second := one[int64](w, `SELECT create_deployment('{}')`)
	w.exec(`INSERT INTO log_node (deployment_id, node_name) VALUES (1, 'a'), (1, 'b'), ($1, 'a')`, second)
	w.exec(`INSERT INTO log_gap (deployment_id, node_id, server_uuid, from_id, to_id, time_before, time_after, found_at, reason)
		SELECT deployment_id, node_id, '24511be6-320d-4ef2-8dff-89916bcb6751', i * 10, i * 10 + 4, '2026-11-20T12:00:00.000001Z', NULL, '2026-11-20T12:00:01Z', 'dropped'
		FROM log_node, generate_series(1, 3) i WHERE node_name = 'a' ORDER BY node_id, i`)
	w.exec(`INSERT INTO log_gap (deployment_id, node_id, server_uuid, from_id, time_before, time_after, found_at)
		VALUES (1, 2, '24511be6-320d-4ef2-8dff-89916bcb6751', 7, '99999-01-01T00:00:00Z', 'infinity', '2026-11-20T12:00:01Z')`)
	const first = `{"gap_id":1,"deployment_id":1,"node_name":"a","server_uuid":"24511be6-320d-4ef2-8dff-89916bcb6751","from_id":10,"to_id":14,"lost":5,` +
		`"time_before":"2026-11-20T12:00:00.000001Z","time_after":null,"reason":"dropped","found_at":"2026-11-20T12:00:01.000000Z"}`
	if diff := gocmp.Diff(`{"gaps":[`+first+`],"next":1}`, body(w.get("/gaps?limit=1"))); diff != "" {
		t.Errorf("first page (-want +got):\n%s", diff)
	}
	for path, want := range map[string]string{
		"/gaps":                           "1 2 3 7",
		"/gaps?node=a":                    "1 2 3",
		"/gaps?node=b":                    "7",
		"/gaps?deployment=2":              "4 5 6",
		"/gaps?limit=2":                   "1 2 next 2",
		"/gaps?limit=2&after=2":           "3 7",
		"/gaps?after=9223372036854775807": "",
	} {
		read := decoded[struct {
			Gaps []struct {
				ID json.Number `json:"gap_id"`
			}
			Next *json.Number
		}](t, w.get(path).Body.Bytes())
		var ids []string
		for _, gap := range read.Gaps {
			ids = append(ids, gap.ID.String())
		}
		if read.Next != nil {
			ids = append(ids, "next", read.Next.String())
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	w.collector.nodes = []fetcher.NodeStatus{{NodeName: "new"}} // which the database does not know yet
	for path, want := range map[string]string{
		"/gaps?node=c":                "deployment 1 has no node \"c\": it has a, b",
		"/gaps?deployment=2&node=b":   "deployment 2 has no node \"b\": it has a",
		"/gaps?deployment=2&node=new": "deployment 2 has no node \"new\": it has a",
		"/gaps?deployment=2147483647": "there is no deployment 2147483647: there are 2, 1",
		"/traces?deployment=7&node=a": "there is no deployment 7: there are 2, 1",
		"/traces?node=nosuch":         "deployment 1 has no node \"nosuch\": it has a, b",
	} {
		if answer := w.get(path); answer.Code != http.StatusNotFound || errorOf(t, answer) != want {
			t.Errorf("%s: %d %s", path, answer.Code, errorOf(t, answer))
		}
	}
	for path, want := range map[string]string{
		"/gaps?node=new": `{"gaps":[],"next":null}`, "/traces?node=a": `{"next":null,"traces":[]}`, "/gaps?deployment=2&node=a&after=6": `{"gaps":[],"next":null}`,
	} {
		if answer := w.get(path); answer.Code != http.StatusOK || body(answer) != want {
			t.Errorf("%s: %d", path, answer.Code)
		}
	}
	w.exec(`INSERT INTO log_node (deployment_id, node_name) SELECT 1, 'x' || to_char(i, 'FM00') FROM generate_series(1, 20) i`)
	if got := errorOf(t, w.get("/gaps?node=c")); !strings.HasSuffix(got, "it has a, b, x01, x02, x03, x04, x05, x06, x07, x08, and 12 more") {
		t.Errorf("of many nodes: %s", got)
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "after=-1", "after=9223372036854775808", "deployment=0", "deployment=2147483648", "node=%00", "node=%ff"} {
		answer := w.get("/gaps?" + query)
		name, _, _ := strings.Cut(query, "=")
		if got := errorOf(t, answer); answer.Code != http.StatusBadRequest || !strings.HasPrefix(got, name) {
			t.Errorf("%s: %d %s", query, answer.Code, got)
		}
	}
}

func TestTraces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.loadSample()
	w.exec(`INSERT INTO block_trace (block_trace_id, deployment_id, node_name, block_id) VALUES (1000, 1, $1, '99')`, sampleNode)
	var pages []string
	seen := map[string]bool{}
	path := "/traces?limit=5&node=" + sampleNode
	for path != "" {
		read := decoded[struct {
			Traces []map[string]any
			Next   *json.Number
		}](t, w.get(path).Body.Bytes())
		pages = append(pages, strconv.Itoa(len(read.Traces)))
		for _, one := range read.Traces {
			seen[one["block_id"].(string)] = true
		}
		path = ""
		if read.Next != nil {
			path = "/traces?limit=5&node=" + sampleNode + "&after=" + read.Next.String()
		}
	}
	if len(seen) != 13 || strings.Join(pages, " ") != "5 5 3" {
		t.Errorf("%d traces in pages of %v", len(seen), pages)
	}
	newest := decoded[struct{ Traces []any }](t, w.get("/traces?limit=2&node="+sampleNode).Body.Bytes())
	golden(t, "traces.golden.json", newest.Traces)
	if answer := w.get("/traces"); answer.Code != http.StatusBadRequest || !strings.Contains(errorOf(t, answer), "node is missing") {
		t.Errorf("without a node: %d", answer.Code)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answer := w.get("/health")
	if got := body(answer); answer.Code != http.StatusServiceUnavailable || !strings.Contains(got, `"reasons":["no list of nodes was had yet"]`) {
		t.Errorf("before the first list: %d %s", answer.Code, got)
	}
	w.collector.metrics = fetcher.Metrics{Discoveries: 2, DiscoveryErrors: 1, Connecting: 1, Running: 2, Backoff: 3, Stopped: 4, NeverRead: 2, OldestSuccess: time.Now().Add(-time.Hour)}
	w.collector.frozen = true
	last := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	server, err := api.New(api.Options{
		Collector: w.collector, Pool: w.pool, Deployment: func() int64 { return 5 }, LastDiscovery: func() time.Time { return last },
		NewDeployment: func(context.Context, json.RawMessage) (int64, error) { return 0, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	answer = ask(server, "GET", "/health", "")
	got := decoded[map[string]any](t, answer.Body.Bytes())
	lag, err := got["lag_seconds"].(json.Number).Float64()
	if err != nil || lag < 3600 || lag > 4000 {
		t.Errorf("lag %v of an hour", got["lag_seconds"])
	}
	delete(got, "lag_seconds")
	delete(got["database"].(map[string]any), "seconds")
	want := map[string]any{
		"healthy": true, "reasons": []any{}, "database": map[string]any{"reachable": true}, "deployment": 5, "frozen": true, "never_read": 2,
		"discovery": map[string]any{"last": "2026-11-20T12:00:00Z", "lists": 2, "errors": 1},
		"nodes":     map[string]any{"connecting": 1, "running": 2, "backoff": 3, "stopped": 4},
	}
	if diff := gocmp.Diff(viewed(t, want), any(got)); diff != "" || answer.Code != http.StatusOK {
		t.Errorf("status %d (-want +got):\n%s", answer.Code, diff)
	}
}

// TestHealthWithoutNodes: a fetcher that reads nothing although there are nodes says so, and why.
func TestHealthWithoutNodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const refused = "dial tcp 10.0.0.2:3086: connect: connection refused"
	w.collector.nodes = []fetcher.NodeStatus{
		{NodeName: "gone", State: fetcher.Stopped, LastError: "of a node that is not listed"}, {NodeName: "one", Active: true, State: fetcher.Connecting},
		{NodeName: "two", Active: true, State: fetcher.Backoff, LastError: refused},
	}
	some := fetcher.Metrics{Discoveries: 1, Connecting: 1, Backoff: 8}
	read := func(m fetcher.Metrics, ago time.Duration) fetcher.Metrics {
		m.NewestSuccess = time.Now().Add(-ago)
		return m
	}
	for _, test := range []struct {
		name    string
		metrics fetcher.Metrics
		frozen  bool
		reason  string // empty: healthy
	}{
		{"never one", some, false, "no node can be read: 8 in backoff, 1 connecting, 0 running, none read since the start; the last error of two: " + refused},
		{"none of late", read(some, 3*time.Minute), false, "none read since " + time.Now().UTC().Format("2006-")},
		{"one of late", read(some, 110*time.Second), false, ""},
		{"none listed", fetcher.Metrics{Discoveries: 1, Stopped: 3}, false, ""},
		{"frozen", some, true, ""},
	} {
		w.collector.metrics, w.collector.frozen = test.metrics, test.frozen
		answer := w.get("/health")
		got := decoded[struct {
			Healthy, Frozen bool
			Reasons         []string
		}](t, answer.Body.Bytes())
		healthy := test.reason == ""
		if got.Healthy != healthy || (answer.Code == http.StatusOK) != healthy || got.Frozen != test.frozen || !strings.Contains(strings.Join(got.Reasons, "\n"), test.reason) {
			t.Errorf("%s: %d %+v, want the reason %q", test.name, answer.Code, got, test.reason)
		}
	}
}

// TestDatabaseAway asks a server whose database is not there: what does not need it works, and nothing tells how to reach it.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	server := deaf(t, &fakeCollector{})
	for _, asked := range []struct{ method, path, body string }{
		{"GET", "/gaps", ""},
		{"GET", "/traces?node=x", ""},
		{"GET", "/api/experiments", ""},
		{"GET", "/api/experiment/x", ""},
		{"POST", "/api/node-restarts", `{"node_name":"x"}`},
		{"POST", "/api/tracing/cleanup", ""},
		{"POST", "/graphql", `{"query":"{deployments nodes}"}`},
	} {
		answer := ask(server, asked.method, asked.path, asked.body)
		text := body(answer)
		if answer.Code != http.StatusServiceUnavailable || answer.Header().Get("Retry-After") != "5" {
			t.Errorf("%s: %d %v", asked.path, answer.Code, answer.Header())
		}
		for _, secret := range []string{"somebody", "hunter2", "secretdb", "SELECT", "INSERT", t.TempDir()[:8]} {
			if strings.Contains(text, secret) {
				t.Errorf("%s tells of %s: %s", asked.path, secret, text)
			}
		}
	}
	answer := ask(server, "GET", "/health", "")
	if got := body(answer); answer.Code != http.StatusServiceUnavailable || !strings.Contains(got, `"reasons":["the database does not answer"]`) || strings.Contains(got, "hunter2") {
		t.Errorf("health: %d %s", answer.Code, got)
	}
	for _, path := range []string{"/", "/nodes", "/metrics"} {
		if answer := ask(server, "GET", path, ""); answer.Code != http.StatusOK {
			t.Errorf("%s: %d", path, answer.Code)
		}
	}
	if answer := ask(server, "POST", "/graphql", `{"query":"{__typename __schema {queryType {name}}}"}`); answer.Code != http.StatusOK {
		t.Errorf("introspection: %d", answer.Code)
	}
}

// TestDatabaseNotMigrated has a database without tables.
func TestDatabaseNotMigrated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(`DROP SCHEMA public CASCADE`)
	answer := w.get("/gaps")
	if got := errorOf(t, answer); answer.Code != http.StatusServiceUnavailable || answer.Header().Get("Retry-After") == "" || strings.Contains(got, "log_gap") {
		t.Errorf("%d %s", answer.Code, got)
	}
}

// TestSilentDatabase has one that takes connections and never says anything, over a real connection to the API.
func TestSilentDatabase(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	handler, err := api.New(api.Options{
		Collector: &fakeCollector{metrics: fetcher.Metrics{Discoveries: 1}}, Pool: newPool(t, "postgres://somebody@"+listener.Addr().String()+"/db?sslmode=disable"),
		Deployment: func() int64 { return 1 }, NewDeployment: func(context.Context, json.RawMessage) (int64, error) { return 0, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	served := httptest.NewServer(handler)
	t.Cleanup(served.Close)
	response, err := served.Client().Get(served.URL + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("status %d", response.StatusCode)
	}
}

// TestBusyDatabase holds the connections: health has one left, others are told to come again.
func TestBusyDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.collector.metrics.Discoveries = 1
	for range 2 {
		conn, err := w.pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Release)
	}
	if answer := w.get("/health"); answer.Code != http.StatusOK {
		t.Errorf("health with one connection left: %d", answer.Code)
	}
	last, err := w.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(last.Release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	recorder := httptest.NewRecorder()
	w.server.ServeHTTP(recorder, httptest.NewRequest("GET", "/gaps", nil).WithContext(ctx))
	if recorder.Code != http.StatusServiceUnavailable {
		t.Errorf("gaps without a connection: %d", recorder.Code)
	}
}

// TestMetricsAreThoseOfTheReadme compares names, types and texts.
func TestMetricsAreThoseOfTheReadme(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.collector.metrics = fetcher.Metrics{Entries: 1 << 40, LostEntries: 3, Running: 4, NeverRead: 2, Memory: fetcher.GateMetrics{Held: 5, Waited: 1500 * time.Millisecond}, OldestSuccess: time.Now().Add(-time.Hour)}
	w.collector.frozen = true
	w.get("/nodes")
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	for _, family := range families {
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", family.GetName(), strings.ToLower(family.GetType().String()), family.GetHelp())
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	const head = "| Name | Type | Help |\n|---|---|---|\n"
	before, after, found := strings.Cut(string(text), head)
	if !found {
		t.Fatal("README.md has no table of metrics")
	}
	if *update {
		if err := os.WriteFile("README.md", []byte(before+head+table.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		after = table.String()
	}
	if diff := gocmp.Diff(after, table.String()); diff != "" {
		t.Errorf("README.md (-) and the registry (+) differ, -update writes it:\n%s", diff)
	}
	shown := body(w.get("/metrics"))
	for _, line := range []string{
		"fetcher_entries_total 1.099511627776e+12", "fetcher_lost_entries_total 3", `fetcher_nodes{state="running"} 4`, "fetcher_memory_bytes 5", "fetcher_memory_wait_seconds_total 1.5",
		"fetcher_frozen 1", "fetcher_api_database_connections_limit 3", `fetcher_http_requests_total{code="200",method="GET",route="/nodes"} 1`,
		"fetcher_lag_seconds 3", "fetcher_never_read_nodes 2", `fetcher_http_request_duration_seconds_count{route="/nodes"} 1`,
	} {
		if !strings.Contains(shown, "\n"+line) {
			t.Errorf("/metrics lacks %s", line)
		}
	}
	w.collector.metrics.OldestSuccess = time.Time{}
	if strings.Contains(body(w.get("/metrics")), "fetcher_lag_seconds") {
		t.Error("a lag that is not known is shown")
	}
	ask(w.server, "BREW", "/nothing-of-the-sort", "")
	if !strings.Contains(body(w.get("/metrics")), `fetcher_http_requests_total{code="404",method="other",route="/"} 1`) {
		t.Error("a strange request makes a time series of its own")
	}
}

func TestNewSaysAllThatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := api.New(api.Options{})
	for _, name := range []string{"Collector", "Pool", "Deployment", "NewDeployment"} {
		if err == nil || !strings.Contains(err.Error(), "option "+name+" is missing") {
			t.Errorf("%v does not name %s", err, name)
		}
	}
	options := api.Options{
		Collector: &fakeCollector{}, Pool: newPool(t, "postgres://x@/db?host="+t.TempDir()), Deployment: func() int64 { return 0 },
		NewDeployment: func(context.Context, json.RawMessage) (int64, error) { return 0, nil }, Registry: prometheus.NewRegistry(),
	}
	if _, err := api.New(options); err != nil {
		t.Error(err)
	}
	if _, err := api.New(options); err == nil {
		t.Error("two servers share a registry")
	}
}

// TestLogIsForDebuggingOnly sees requests and failures at the level debug, and none of what a client sent.
func TestLogIsForDebuggingOnly(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	server, err := api.New(api.Options{
		Collector: &fakeCollector{}, Pool: newPool(t, "postgres://somebody:hunter2@/db?host="+t.TempDir()), Deployment: func() int64 { return 1 },
		NewDeployment: func(context.Context, json.RawMessage) (int64, error) { return 0, nil }, Log: zap.New(core),
	})
	if err != nil {
		t.Fatal(err)
	}
	ask(server, "GET", "/api/experiment/confidential", "")
	ask(server, "GET", "/nodes", "")
	ask(server, "POST", "/graphql", `{"query":"{nodes}"}`)
	requests := 0
	for _, entry := range logs.All() {
		text := fmt.Sprint(entry.Message, entry.ContextMap())
		if entry.Level != zap.DebugLevel || strings.Contains(text, "confidential") || strings.Contains(text, "hunter2") {
			t.Errorf("%v: %s", entry.Level, text)
		}
		if entry.Message == "request" {
			requests++
		}
	}
	if requests != 3 || len(logs.All()) != 5 {
		t.Errorf("%d requests in %d entries, want 3 in 5", requests, len(logs.All()))
	}
}

// TestRealConnection asks several times on one connection, so that deadlines of one request would end the next.
func TestRealConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	served := httptest.NewServer(w.server)
	t.Cleanup(served.Close)
	for range 3 { // on one connection
		response, err := served.Client().Post(served.URL+"/graphql", "application/json", strings.NewReader(`{"query":"{deployments}"}`))
		if err != nil {
			t.Fatal(err)
		}
		var read struct{ Data struct{ Deployments []int } }
		if err := json.NewDecoder(response.Body).Decode(&read); err != nil || len(read.Data.Deployments) != 1 {
			t.Errorf("%v %+v", err, read)
		}
		_ = response.Body.Close()
	}
	response, err := served.Client().Head(served.URL + "/nodes")
	if err != nil || response.StatusCode != http.StatusOK || response.ContentLength != 3 {
		t.Errorf("HEAD: %v %+v", err, response)
	}
}

func FuzzBodies(f *testing.F) {
	server := deaf(f, &fakeCollector{})
	paths := []string{"/api/deployments", "/api/node-restarts", "/graphql", "/x/graphql", "/api/tracing/cleanup"}
	f.Add(uint8(0), []byte(`{"data": {"a": [1, "x", null]}}`))
	f.Add(uint8(1), []byte(`{"node_name": "n", "code": "1", "restart_count": -0, "reason": "\ud800"}`))
	f.Add(uint8(1), []byte(`{"node_name": {"code": 1e400}}`))
	f.Add(uint8(2), []byte(`{"query": "{nodes}", "variables": {"a": {"b": []}}, "operationName": ""}`))
	f.Add(uint8(3), []byte(`[{"query": 1}]`))
	f.Fuzz(func(t *testing.T, which uint8, sent []byte) {
		path := paths[int(which)%len(paths)]
		answer := ask(server, http.MethodPost, path, string(sent))
		switch answer.Code {
		case http.StatusOK, http.StatusCreated, http.StatusBadRequest, http.StatusServiceUnavailable:
		default:
			t.Errorf("%s: status %d", path, answer.Code)
		}
		decoded[map[string]any](t, answer.Body.Bytes())
	})
}

// BenchmarkThousandNodes are the two endpoints that are asked all the time.
func BenchmarkThousandNodes(b *testing.B) {
	collector := &fakeCollector{metrics: fetcher.Metrics{Running: 1000}}
	for i := range 1000 {
		collector.nodes = append(collector.nodes, fetcher.NodeStatus{IP: "10.0.0.1", NodeName: fmt.Sprintf("node-%d", i), Active: true, State: fetcher.Running})
	}
	server := deaf(b, collector)
	for _, path := range []string{"/nodes", "/metrics"} {
		b.Run(path[1:], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ask(server, "GET", path, "")
			}
		})
	}
}
