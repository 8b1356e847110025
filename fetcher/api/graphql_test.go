package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"provingground/fetcher"
	"provingground/fetcher/trace"
)

// Two blocks of the sample: one received, one produced.
const (
	received = "3NKPvaHButv9"
	produced = "3NLuT6ijs2kw"
)

func TestBlocksOfTheSampleAreThoseOfPackageTrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sample := w.loadSample()
	nesting := trace.NewNesting()
	jobs := 0
	for number, block := range sample.traces {
		got := w.query(`query($block: String!, $node: String!) {
			flat: blockTrace(block_identifier: $block, node_name: $node)
			tree: blockStructuredTrace(block_identifier: $block, node_name: $node)
		}`, map[string]any{"block": block.Block, "node": sampleNode})
		metadata, rows := sample.metadata[number], sample.rows[number]
		if diff := cmp.Diff(viewed(t, trace.Flat(block, w.deployment, metadata, rows)), got["flat"]); diff != "" {
			t.Errorf("flat trace of %s (-trace +api):\n%s", block.Block, diff)
		}
		if diff := cmp.Diff(viewed(t, nesting.Structured(block, w.deployment, metadata, rows)), got["tree"]); diff != "" {
			t.Errorf("structured trace of %s (-trace +api):\n%s", block.Block, diff)
		}
		for _, row := range rows {
			if row.Process == trace.Verifier {
				jobs++
			}
		}
	}
	if len(sample.traces) != 12 || jobs != 4 {
		t.Errorf("%d traces with %d rows of the verifier, want 12 and 4", len(sample.traces), jobs)
	}
}

// TestInterleavedCalls has calls that write their metadata after another call's checkpoint, a repeated processing, and two jobs at once.
func TestInterleavedCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	main := recordsOf(t, trace.Main, `{"current_block":"b"}`, `{"current_call_id":1,"current_call_tag":"t"}`, `["Begin_block_production",1700000000.5]`,
		`{"current_call_id":2}`, `["Verify_commands",1700000001.5]`, `{"current_call_id":1,"current_call_tag":"t"}`, `{"metadata":{"of":1,"x":1.50}}`,
		`{"current_call_id":2}`, `{"metadata":{"of":2}}`, `{"current_call_id":1,"current_call_tag":"t"}`, `{"metadata":{"x":2}}`,
		`{"current_call_id":3,"current_call_tag":"t"}`, `["Verify_commands",1700000002.5]`, `{"metadata":{"of":3}}`, `["Snark_work_added",1700000003.5]`, `{"metadata":{"work_ids":[1]}}`,
		`["Verify_commands_done",1700000004.5]`, `{"block_metadata":{"blockchain_length":5}}`)
	jobs := recordsOf(t, trace.Verifier, `{"current_call_id":1}`, `["Verifier_verify_commands",1700000001.5]`, `{"current_call_id":2}`, `["Verifier_verify_commands",1700000002.0]`,
		`{"current_call_id":1}`, `{"metadata":{"job":1}}`, `{"current_call_id":2}`, `{"metadata":{"job":2}}`, `["Verifier_verify_commands_done",1700000002.1]`,
		`{"current_call_id":1}`, `["Verifier_verify_commands_done",1700000002.2]`)
	l := w.load(main, jobs)
	for number, block := range l.traces {
		got := w.query(fmt.Sprintf(`{ blockTrace(block_identifier: "b", node_name: %q) }`, sampleNode), nil)
		if diff := cmp.Diff(viewed(t, trace.Flat(block, w.deployment, l.metadata[number], l.rows[number])), got["blockTrace"]); diff != "" {
			t.Errorf("(-trace +api):\n%s", diff)
		}
	}
	if len(l.traces) != 1 {
		t.Errorf("%d traces, want 1", len(l.traces))
	}
}

func TestGoldenAnswers(t *testing.T) {
	w := newWorld(t)
	sample := w.loadSample()
	node := map[string]any{"node": sampleNode, "received": sample.byBlock(t, received).Block, "produced": sample.byBlock(t, produced).Block}
	for name, query := range map[string]string{
		"block-traces.golden.json":   `query($node: String!) { blockTraces(node_name: $node, maxLength: 3, offset: 1) }`,
		"received-block.golden.json": `query($node: String!, $received: String!) { blockTrace(node_name: $node, block_identifier: $received) }`,
		"produced-tree.golden.json":  `query($node: String!, $produced: String!) { blockStructuredTrace(node_name: $node, block_identifier: $produced) }`,
		"distributions.golden.json":  `query($node: String!) { blockTracesDistribution(node_name: $node) }`,
		"introspection.golden.json":  introspection,
	} {
		t.Run(name, func(t *testing.T) {
			data := w.query(query, node)
			if list, is := data["blockTracesDistribution"].([]any); is {
				data["blockTracesDistribution"] = list[len(list)-2:] // the others are compared elsewhere
			}
			golden(t, name, data)
		})
	}
}

func TestListsOfTheSample(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sample := w.loadSample()
	w.exec(`INSERT INTO log_node (deployment_id, node_name) VALUES ($1, $2), ($1, 'silent')`, w.deployment, sampleNode)
	second := one[int64](w, `SELECT create_deployment('{}')`)

	got := w.query(fmt.Sprintf(`{
		deployments
		nodes
		others: nodes(deployment_id: %d)
		list: blockTracesDistribution(node_name: %q)
		tree: blockTracesDistributionStructured(node_name: %q, deploymentId: %d)
		none: blockTracesDistribution(node_name: %q, deploymentId: %d)
		noTree: blockTracesDistributionStructured(node_name: "nobody")
		noBlock: blockTrace(block_identifier: "nothing", node_name: %q)
		noBlockTree: blockStructuredTrace(block_identifier: "nothing", node_name: %q)
		noTraces: blockTraces(node_name: "nobody")
	}`, second, sampleNode, sampleNode, w.deployment, sampleNode, second, sampleNode, sampleNode), nil)
	want := map[string]any{
		"deployments": []any{w.deployment, second},
		"nodes":       []any{map[string]any{"id": w.deployment, "name": "silent"}, map[string]any{"id": w.deployment, "name": sampleNode}},
		"others":      []any{},
		"list":        sample.distributions.ByTotalTime(),
		"tree":        trace.NewNesting().Distributions(sample.distributions),
		"none":        []any{},
		"noTree":      []any{},
		"noBlock":     nil,
		"noBlockTree": nil,
		"noTraces":    map[string]any{"traces": []any{}, "produced_traces": []any{}},
	}
	if diff := cmp.Diff(viewed(t, want), any(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBlockTracesChooses(t *testing.T) {
	w := newWorld(t)
	w.loadSample()
	for _, test := range []struct {
		arguments string
		lengths   string
	}{
		{"", "0 461 461 462 463 464 465 466 467 468 469 470"},
		{"height: 465", "465"},
		{"height: 461", "461 461"},
		{"height: 465, chainLength: 3", "463 464 465"},
		{"height: 465, chainLength: 2147483647", "0 461 461 462 463 464 465"},
		{"height: -2147483648, chainLength: 2147483647", ""},
		{"height: 465, chainLength: 0", ""},
		{"global_slot: 859", "464"},
		{"global_slot: 859, chainLength: 2", "463 464"},
		{"global_slot: 859, height: 470", "464"},
		{"height: null", "0 461 461 462 463 464 465 466 467 468 469 470"},
		{"maxLength: 0", ""},
		{"maxLength: 2147483647, height: 461", "461 461"},
		{"offset: 100", ""},
	} {
		t.Run(test.arguments, func(t *testing.T) {
			got := w.query(fmt.Sprintf(`{ blockTraces(node_name: %q %s) }`, sampleNode, test.arguments), nil)
			lengths := strings.Fields(fmt.Sprint(lengthsOf(got)))
			if got, want := strings.Join(sorted(lengths), " "), test.lengths; got != want {
				t.Errorf("got lengths %s, want %s", got, want)
			}
		})
	}
	ascending := lengthsOf(w.query(fmt.Sprintf(`{ blockTraces(node_name: %q) }`, sampleNode), nil))
	descending := lengthsOf(w.query(fmt.Sprintf(`query($order: Order) { blockTraces(node_name: %q, order: $order) }`, sampleNode), map[string]any{"order": "Descending"}))
	if a, d := strings.Fields(ascending), strings.Fields(descending); len(a) != 12 || !cmp.Equal(a, reversed(d)) {
		t.Errorf("ascending %v is not descending %v the other way round", a, d)
	}
	page := lengthsOf(w.query(fmt.Sprintf(`{ blockTraces(node_name: %q, maxLength: 2, offset: 3) }`, sampleNode), nil))
	if got, want := strings.Fields(page), strings.Fields(ascending)[3:5]; !cmp.Equal(got, want) {
		t.Errorf("page is %v, want %v", got, want)
	}
}

func lengthsOf(data map[string]any) string {
	var lengths []string
	for _, one := range data["blockTraces"].(map[string]any)["traces"].([]any) {
		lengths = append(lengths, one.(map[string]any)["blockchain_length"].(json.Number).String())
	}
	return strings.Join(lengths, " ")
}

func TestGraphQLForms(t *testing.T) {
	w := newWorld(t)
	w.loadSample()
	const names = `{"data":{"nodes":[{"id":1,"name":"` + sampleNode + `"}]}}`
	for _, test := range []struct {
		name         string
		method, path string
		body         string
		want         string
	}{
		{"GET", "GET", "/graphql?query=" + url.QueryEscape(`{nodes}`), "", names},
		{"GET with variables and operation", "GET", "/graphql?operationName=B&variables=" + url.QueryEscape(`{"d":1}`) + "&query=" + url.QueryEscape(`query A {deployments} query B($d: Int) {nodes(deployment_id: $d)}`), "", names},
		{"POST", "POST", "/graphql", `{"query":"{nodes}"}`, names},
		{"null members", "POST", "/graphql", `{"query":"{nodes}","variables":null,"operationName":null,"extensions":{}}`, names},
		{"variable's default", "POST", "/graphql", `{"query":"query($d: Int = 1) {nodes(deployment_id: $d)}"}`, names},
		{"variable left out", "POST", "/graphql", `{"query":"query($d: Int) {nodes(deployment_id: $d)}"}`, names},
		{"variable is null", "POST", "/graphql", `{"query":"query($d: Int) {nodes(deployment_id: $d)}","variables":{"d":null}}`, names},
		{"fragments", "POST", "/graphql", `{"query":"query {...F ... on Query {nodes} ... {nodes}} fragment F on Query {nodes ...G} fragment G on Query {nodes}"}`, names},
		{"skip and include", "POST", "/graphql", `{"query":"query($yes: Boolean!) {nodes a: deployments @skip(if: $yes) b: deployments @include(if: false) ...F @skip(if: true)} fragment F on Query {c: nodes}","variables":{"yes":true}}`, names},
		{"nothing left", "POST", "/graphql", `{"query":"{nodes @skip(if: true)}"}`, `{"data":{}}`},
		{"aliases and order", "POST", "/graphql", `{"query":"{b: __typename a: deployments}"}`, `{"data":{"b":"Query","a":[1]}}`},
		{"type", "POST", "/graphql", `{"query":"{__type(name: \"Order\") {kind enumValues {name}} none: __type(name: \"X\") {name}}"}`, `{"data":{"__type":{"kind":"ENUM","enumValues":[{"name":"Ascending"},{"name":"Descending"}]},"none":null}}`},
		{"node of the path", "POST", "/" + sampleNode + "/graphql", `{"query":"{blockTrace(block_identifier: \"none\")}"}`, `{"data":{"blockTrace":null}}`},
		{"node of the path chooses", "GET", "/" + sampleNode + "/graphql?query=" + url.QueryEscape(`{blockTraces(height: 461, maxLength: 0) other: blockTraces(node_name: "x", maxLength: 1)}`), "", `{"data":{"blockTraces":{"traces":[],"produced_traces":[]},"other":{"traces":[],"produced_traces":[]}}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := ask(w.server, test.method, test.path, test.body)
			if answer.Code != http.StatusOK || answer.Header().Get("Content-Type") != "application/json" {
				t.Errorf("status %d, type %s", answer.Code, answer.Header().Get("Content-Type"))
			}
			if diff := cmp.Diff(test.want, body(answer)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	answer := ask(w.server, "GET", "/"+sampleNode+"/graphql?query="+url.QueryEscape(`{blockTraces}`), "")
	ofPath := decoded[struct{ Data map[string]any }](t, answer.Body.Bytes())
	if n := len(strings.Fields(lengthsOf(ofPath.Data))); n != 12 {
		t.Errorf("node of the path has %d traces, want 12", n)
	}
}

// TestGraphQLOfNoNode: a path that names no node is not one.
func TestGraphQLOfNoNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.loadSample()
	answer := w.post("/nosuchnode/graphql", `{"query":"{blockTraces}"}`)
	const want = `{"errors":[{"message":"there is no node \"nosuchnode\": there are ` + sampleNode + `"}]}`
	if got := body(answer); answer.Code != http.StatusNotFound || got != want {
		t.Errorf("%d %s", answer.Code, got)
	}
	w.collector.nodes = []fetcher.NodeStatus{{NodeName: "nosuchnode"}}
	if answer := w.post("/nosuchnode/graphql", `{"query":"{blockTraces}"}`); answer.Code != http.StatusOK {
		t.Errorf("a node that was just found: %d %s", answer.Code, answer.Body)
	}
}

func TestGraphQLErrors(t *testing.T) {
	w := newWorld(t)
	var aliases strings.Builder
	for i := range 30 {
		fmt.Fprintf(&aliases, "a%d: deployments ", i)
	}
	manyFields := "{" + strings.Repeat("deployments ", 10) + aliases.String()
	// Each fragment has the next one twice: 2¹⁰⁰ fields.
	var fragments strings.Builder
	for i := range 100 {
		fmt.Fprintf(&fragments, " fragment F%d on __Type {...F%d ...F%d}", i, i+1, i+1)
	}
	doubling := "{__schema {queryType {...F0}}}" + fragments.String()
	doubling += " fragment F100 on __Type {name}"
	for _, test := range []struct {
		name   string
		query  string
		vars   string
		status int
		text   string // that the first error's message contains
		path   string
	}{
		{name: "no query", query: "", status: 400, text: "no operation"},
		{name: "syntax", query: "{", status: 400, text: "Expected Name"},
		{name: "unknown field", query: "{blocks}", status: 400, text: "Cannot query field"},
		{name: "unknown argument", query: "{nodes(x: 1)}", status: 400, text: "Unknown argument"},
		{name: "missing argument", query: `{blockTraces}`, status: 400, text: "node_name"},
		{name: "missing variable", query: `query($n: String!) {blockTraces(node_name: $n)}`, status: 400, text: "must be defined"},
		{name: "variable of another type", query: `query($n: Int) {nodes(deployment_id: $n)}`, vars: `{"n":"x"}`, status: 400, text: "cannot use"},
		{name: "number as text", query: `query($n: Int) {nodes(deployment_id: $n)}`, vars: `{"n":"1"}`, status: 200, text: "a number is expected", path: "nodes"},
		{name: "selection of a scalar", query: `{nodes {id}}`, status: 400, text: "Cannot query field"},
		{name: "mutation", query: `mutation {reset}`, status: 400, text: "mutation"},
		{name: "subscription", query: `subscription {reset}`, status: 400, text: "subscription"},
		{name: "several operations", query: `query A {nodes} query B {nodes}`, status: 400, text: "operationName is missing"},
		{name: "fragment within itself", query: `{...F} fragment F on Query {...F}`, status: 400, text: "within itself"},
		{name: "unknown fragment", query: `{...F}`, status: 400, text: "Unknown fragment"},
		{name: "fragment not used", query: `{nodes} fragment F on Query {nodes}`, status: 400, text: "never used"},
		{name: "same key, other arguments", query: `{nodes nodes(deployment_id: 2)}`, status: 400, text: "conflict"},
		{name: "many fields", query: manyFields + "}", status: 400, text: "more than 20 fields"},
		{name: "doubling fragments", query: doubling, status: 400, text: "more than 1000 selections"},
		{name: "deep", query: strings.Repeat("{a", 300) + strings.Repeat("}", 300), status: 400, text: "50 deep"},
		{name: "many tokens", query: "{" + strings.Repeat("a ", 3000) + "}", status: 400, text: "token"},
		{name: "large number", query: `{nodes(deployment_id: 99999999999999999999)}`, status: 400, text: "99999999999999999999"},
		{name: "number of 33 bits", query: `{a: nodes(deployment_id: 4294967296)}`, status: 200, text: "32 bits", path: "a"},
		{name: "negative length", query: `{blockTraces(node_name: "x", maxLength: -1)}`, status: 200, text: "negative", path: "blockTraces"},
		{name: "negative offset", query: `{blockTraces(node_name: "x", offset: -1)}`, status: 200, text: "negative", path: "blockTraces"},
		{name: "unknown order", query: `{blockTraces(node_name: "x", order: Sideways)}`, status: 400, text: "Sideways"},
		{name: "NUL", query: `{blockTraces(node_name: "\u0000")}`, status: 200, text: "NUL", path: "blockTraces"},
	} {
		t.Run(test.name, func(t *testing.T) {
			vars := "{}"
			if test.vars != "" {
				vars = test.vars
			}
			text, err := json.Marshal(test.query)
			if err != nil {
				t.Fatal(err)
			}
			answer := w.post("/graphql", fmt.Sprintf(`{"query":%s,"variables":%s}`, text, vars))
			checkGraphQLError(t, answer, test.status, test.text, test.path)
		})
	}
	for name, sent := range map[string]struct{ method, path, body, text string }{
		"no body":         {"POST", "/graphql", "", "line 1, column 1"},
		"no query":        {"POST", "/graphql", "{}", "query is missing"},
		"not an object":   {"POST", "/graphql", "[]", "to be an object"},
		"query no text":   {"POST", "/graphql", "{\n \"query\": 1}", "line 2, column 12: query is to be a text"},
		"variables":       {"POST", "/graphql", `{"query":"{nodes}","variables":[]}`, "variables is to be an object"},
		"more":            {"POST", "/graphql", `{"query":"{nodes}"} x`, "column 21: more follows"},
		"GET no query":    {"GET", "/graphql", "", "query is missing"},
		"GET variables":   {"GET", "/graphql?query={nodes}&variables={", "", "variables, line 1"},
		"operation":       {"POST", "/graphql", `{"query":"{nodes}","operationName":"X"}`, `no operation "X"`},
		"no node anyhow":  {"POST", "/graphql", `{"query":"{blockTraces}"}`, "node_name"},
		"node with a NUL": {"GET", "/%00/graphql?query=" + url.QueryEscape(`{blockTraces}`), "", "NUL"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := ask(w.server, sent.method, sent.path, sent.body)
			checkGraphQLError(t, answer, http.StatusBadRequest, sent.text, "")
		})
	}
	t.Run("large body", func(t *testing.T) {
		answer := w.post("/graphql", `{"query":"`+strings.Repeat(" ", 1<<20)+`"}`)
		checkGraphQLError(t, answer, http.StatusRequestEntityTooLarge, "1048576 bytes", "")
	})
	t.Run("one field fails, another does not", func(t *testing.T) {
		answer := w.post("/graphql", `{"query":"{bad: blockTraces(node_name: \"x\", offset: -1) deployments}"}`)
		const want = `{"data":{"bad":null,"deployments":[1]},"errors":[{"message":"maxLength and offset cannot be negative","path":["bad"],"locations":[{"line":1,"column":2}]}]}`
		if got := body(answer); got != want || answer.Code != http.StatusOK {
			t.Errorf("got %d %s", answer.Code, got)
		}
	})
}

func checkGraphQLError(t *testing.T, answer *httptest.ResponseRecorder, status int, text, path string) {
	t.Helper()
	read := decoded[struct {
		Data   any
		Errors []struct {
			Message string
			Path    []string
		}
	}](t, answer.Body.Bytes())
	if answer.Code != status || len(read.Errors) == 0 {
		t.Fatalf("status %d, want %d, with errors %v", answer.Code, status, read.Errors)
	}
	first := read.Errors[0]
	if !strings.Contains(first.Message, text) || path != "" && !cmp.Equal(first.Path, []string{path}) {
		t.Errorf("error %q at %v, want %q at %s", first.Message, first.Path, text, path)
	}
	if status == http.StatusBadRequest && read.Data != nil {
		t.Errorf("data %v of a request that was not run", read.Data)
	}
}

func TestTraceWithTooManyRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.Limit(1_000_000, 100)
	w.exec(`SELECT ensure_day($1, '2026-11-20')`, w.deployment)
	w.exec(`INSERT INTO block_trace (block_trace_id, deployment_id, node_name, block_id) VALUES (1, $1, 'n', '0')`, w.deployment)
	w.exec(`INSERT INTO block_trace_checkpoint (block_trace_checkpoint_id, block_trace_id, source, main_trace, is_control, name, started_at, deployment_id, loaded_on)
		SELECT i, 1, 'M', true, false, 'Verify_commands', i, $1, '2026-11-20' FROM generate_series(1, 101) i`, w.deployment)
	const query = `{"query":"{blockTrace(node_name: \"n\", block_identifier: \"0\")}"}`
	checkGraphQLError(t, w.post("/graphql", query), http.StatusOK, "more than 100 records", "blockTrace")
	w.exec(`DELETE FROM block_trace_checkpoint WHERE block_trace_checkpoint_id = 5`)
	if answer := w.post("/graphql", query); answer.Code != http.StatusOK || strings.Contains(answer.Body.String(), `"errors"`) {
		t.Errorf("100 records: status %d, %.200s", answer.Code, answer.Body)
	}
	w.exec(`UPDATE block_trace_checkpoint SET is_control = true, name = 'metadata', metadata_json = jsonb_build_object('x', repeat('x', 1000001)) WHERE block_trace_checkpoint_id = 50`)
	checkGraphQLError(t, w.post("/graphql", query), http.StatusOK, "1000000 bytes", "blockTrace")
}

func TestLargeAnswerIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.Limit(100_000, 100)
	w.exec(`INSERT INTO block_trace (block_trace_id, deployment_id, node_name, block_id, metadata_json)
		SELECT i, $1, 'n', i, jsonb_build_object('diff_log', repeat('y', 100000), 'x', repeat('x', 10000)) FROM generate_series(1, 20) i`, w.deployment)
	checkGraphQLError(t, w.post("/graphql", `{"query":"{blockTraces(node_name: \"n\")}"}`), http.StatusOK, "longer than 100000 bytes", "blockTraces")
	if answer := w.post("/graphql", `{"query":"{blockTraces(node_name: \"n\", maxLength: 9)}"}`); answer.Body.Len() < 90_000 || strings.Contains(answer.Body.String(), "yyy") {
		t.Errorf("9 blocks: %d bytes, or with diff_log", answer.Body.Len())
	}
	// What fits alone does not fit twice.
	checkGraphQLError(t, w.post("/graphql", `{"query":"{a: blockTraces(node_name: \"n\", maxLength: 6) b: blockTraces(node_name: \"n\", maxLength: 6)}"}`), http.StatusOK, "100000 bytes", "b")
	w.experiment()
	w.server.Limit(100, 100)
	if answer := w.get("/api/experiments"); answer.Code != http.StatusUnprocessableEntity || !strings.Contains(errorOf(t, answer), "longer than 100 bytes") {
		t.Errorf("experiments: %d", answer.Code)
	}
}

// TestDamagedRows has what no loader writes: one field fails, with a warning for the operator and no detail for the client.
func TestDamagedRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(`INSERT INTO data (key, deployment_id, node_name, value) VALUES ('checkpoint_distributions', 1, 'n', '[["x"]]')`)
	w.exec(`SELECT ensure_day(1, '2026-11-20')`)
	w.exec(`INSERT INTO block_trace (block_trace_id, deployment_id, node_name, block_id, metadata_json) VALUES (1, 1, 'n', 'b', '[1]')`)
	const tree = `{"query":"{blockStructuredTrace(node_name: \"n\", block_identifier: \"b\")}"}`
	if answer := w.post("/graphql", tree); !strings.Contains(answer.Body.String(), `"metadata":{}`) {
		t.Errorf("metadata that is no object: %s", answer.Body)
	}
	w.exec(`INSERT INTO block_trace_checkpoint (block_trace_checkpoint_id, block_trace_id, source, main_trace, is_control, name, started_at, deployment_id, loaded_on)
		VALUES (1, 1, 'X', true, false, 'x', 1, 1, '2026-11-20')`)
	checkGraphQLError(t, w.post("/graphql", tree), http.StatusOK, "a reason that the fetcher's log has", "blockStructuredTrace")
	checkGraphQLError(t, w.post("/graphql", `{"query":"{blockTracesDistribution(node_name: \"n\")}"}`), http.StatusOK, "a reason that the fetcher's log has", "blockTracesDistribution")
}

// TestAnyTextAsNode asks a real database for nodes and blocks of any name.
func TestAnyTextAsNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rapid.Check(t, func(t *rapid.T) {
		text, err := json.Marshal(map[string]any{
			"query":     `query($n: String!, $b: String!) { blockTraces(node_name: $n) blockTrace(node_name: $n, block_identifier: $b) }`,
			"variables": map[string]any{"n": rapid.String().Draw(t, "node"), "b": rapid.String().Draw(t, "block")},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, answer := range []*httptest.ResponseRecorder{
			w.post("/graphql", string(text)), w.get("/gaps?node=" + url.QueryEscape(string(text))), w.get("/api/experiment/" + url.PathEscape(rapid.String().Draw(t, "experiment"))),
		} {
			if answer.Code >= 500 {
				t.Fatalf("status %d: %s", answer.Code, answer.Body)
			}
		}
	})
}

func FuzzGraphQL(f *testing.F) {
	server := deaf(f, &fakeCollector{})
	f.Add(introspection, "{}")
	f.Add(`query($n: String!, $o: Order = Descending) {blockTraces(node_name: $n, order: $o, maxLength: 3) @skip(if: false)}`, `{"n":"x","o":"Ascending"}`)
	f.Add(`{...F ... on Query @include(if: true) {__typename}} fragment F on Query {a: deployments}`, `null`)
	f.Add(`{__type(name: "Query") {fields(includeDeprecated: true) {args {type {ofType {name}}}}}}`, `{"a":[1,{"b":null}]}`)
	f.Add("{nodes(deployment_id: 99999999999999999999)}", "")
	f.Add("query A {nodes} mutation B {x}", `{"":"\ud800"}`)
	f.Fuzz(func(t *testing.T, query, variables string) {
		answer := ask(server, http.MethodGet, "/graphql?query="+url.QueryEscape(query)+"&variables="+url.QueryEscape(variables), "")
		switch answer.Code {
		case http.StatusOK, http.StatusBadRequest, http.StatusServiceUnavailable:
		default:
			t.Errorf("status %d", answer.Code)
		}
		decoded[map[string]any](t, answer.Body.Bytes())
	})
}

// introspection is what a client such as GraphiQL asks first.
const introspection = `query IntrospectionQuery {
	__schema {
		queryType { name } mutationType { name } subscriptionType { name }
		types { ...FullType }
		directives { name description locations args { ...InputValue } }
	}
}
fragment FullType on __Type {
	kind name description
	fields(includeDeprecated: true) { name description args { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason }
	inputFields { ...InputValue }
	interfaces { ...TypeRef }
	enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
	possibleTypes { ...TypeRef }
}
fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue }
fragment TypeRef on __Type {
	kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } }
}`
