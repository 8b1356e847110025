package itnserver

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"provingground/internal/mina"
	"provingground/orchestrator/itn"
)

// signer makes headers without the client, so that both sides are not wrong alike.
type signer struct{ private ed25519.PrivateKey }

func newSigner(seed byte) signer {
	return signer{ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))}
}

func (s signer) public() string {
	return base64.StdEncoding.EncodeToString(s.private[ed25519.SeedSize:])
}

func (s signer) unsequenced(body string) string {
	return "Signature " + s.public() + " " + base64.StdEncoding.EncodeToString(ed25519.Sign(s.private, []byte(body)))
}

func (s signer) sequenced(body, uuid string, number uint16) string {
	message := binary.BigEndian.AppendUint16(nil, number)
	message = append(append(message, uuid...), body...)
	signature := base64.StdEncoding.EncodeToString(ed25519.Sign(s.private, message))
	return fmt.Sprintf("Signature %s %s ; Sequencing %s %d", s.public(), signature, uuid, number)
}

func newServer(t testing.TB, older bool) (*Server, signer) {
	t.Helper()
	allowed := newSigner(1)
	server, err := New(Config{
		Keys: []string{allowed.public(), newSigner(2).public()}, ServerUUID: testUUID, Older: older, Resolver: &resolver{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return server, allowed
}

func post(header, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://node:3085/graphql", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if header != "" {
		r.Header.Set("Authorization", header)
	}
	return r
}

func query(text string) string { return request(text, nil) }

func request(text string, variables map[string]any) string {
	body, err := json.Marshal(map[string]any{"query": text, "variables": variables})
	if err != nil {
		panic(err)
	}
	return string(body)
}

// TestOrderOfChecks is the table of itn-graphql, section 2.4, with what each row does to the counter.
func TestOrderOfChecks(t *testing.T) {
	stranger := newSigner(9)
	body := query("{ slotsWon }")
	auth := query("{ auth { serverUuid } }")
	other := "00000000-0000-4000-8000-000000000000"
	allowed := newSigner(1)
	for _, test := range []struct {
		name   string
		header string
		body   string
		status int
		text   string // the whole body
		counts bool
	}{
		{"row 1: no header", "", body, 401, "Unauthorized", false},
		{"row 1: other words", "Bearer x", body, 401, "Unauthorized", false},
		{"row 2: key of no curve point", strings.Replace(allowed.sequenced(body, testUUID, 5), allowed.public(), nonPoint, 1), body, 401, "Unauthorized", false},
		{"row 3: UUID of no shape", allowed.sequenced(body, "x", 5), body, 412, "Invalid server Uuid", false},
		{"row 3 before 5", stranger.sequenced(body, "x", 0), body, 412, "Invalid server Uuid", false},
		{"row 4: another UUID", allowed.sequenced(body, other, 5), body, 412, "Invalid sequence number", false},
		{"row 4: UUID in upper case", allowed.sequenced(body, strings.ToUpper(testUUID), 5), body, 412, "Invalid sequence number", false},
		{"row 4: number behind", allowed.sequenced(body, testUUID, 4), body, 412, "Invalid sequence number", false},
		{"row 4: number ahead", allowed.sequenced(body, testUUID, 6), body, 412, "Invalid sequence number", false},
		{"row 4: leading zero", strings.Replace(allowed.sequenced(body, testUUID, 5), testUUID+" 5", testUUID+" 05", 1), body, 412, "Invalid sequence number", false},
		{"row 4: sign", strings.Replace(allowed.sequenced(body, testUUID, 5), testUUID+" 5", testUUID+" +5", 1), body, 412, "Invalid sequence number", false},
		{"row 4 before 5: stranger with a number", stranger.sequenced(body, testUUID, 5), body, 412, "Invalid sequence number", false},
		{"row 5: stranger whose number is 0", stranger.sequenced(body, testUUID, 0), body, 401, "Unauthorized", false},
		{"row 5: stranger, unsequenced", stranger.unsequenced(auth), auth, 401, "Unauthorized", false},
		{"row 5: another body signed", allowed.sequenced(auth, testUUID, 5), body, 401, "Unauthorized", false},
		{"row 5: signature not base64", strings.Replace(allowed.unsequenced(auth), "==", "", 1), auth, 401, "Unauthorized", false},
		{"row 5: sequenced signature for the unsequenced form", strings.Split(allowed.sequenced(auth, testUUID, 5), " ;")[0], auth, 401, "Unauthorized", false},
		{"row 6: sequenced", allowed.sequenced(body, testUUID, 5), body, 200, `{"data":{"slotsWon":[1,2]}}`, true},
		{"row 6: auth sequenced", allowed.sequenced(auth, testUUID, 5), auth, 200, `{"data":{"auth":{"serverUuid":"` + testUUID + `"}}}`, true},
		{"row 6: unsequenced", allowed.unsequenced(auth), auth, 200, `{"data":{"auth":{"serverUuid":"` + testUUID + `"}}}`, false},
		{
			"unsequenced, another operation", allowed.unsequenced(body), body, 200,
			`{"data":null,"errors":[{"message":"Missing sequence information","path":["slotsWon"]}]}`, false,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, _ := newServer(t, false)
			server.next[publicKey(allowed.private[32:])] = 5
			answer := server.Answer(post(test.header, test.body))
			if answer.Status != test.status || string(answer.Body) != test.text {
				t.Errorf("got %d %s\nwant %d %s", answer.Status, answer.Body, test.status, test.text)
			}
			want := uint16(5)
			if test.counts {
				want = 6
			}
			if got := server.SequenceNumber(allowed.public()); got != want {
				t.Errorf("counter at %d, want %d", got, want)
			}
			if len(server.next) != 2 {
				t.Errorf("%d counters, strangers' included", len(server.next))
			}
		})
	}
}

// nonPoint is 32 bytes that are no point of the curve.
const nonPoint = "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

// TestEverythingAcceptedCounts: the number is used up before the body is looked at (itn-graphql, section 2.3).
func TestEverythingAcceptedCounts(t *testing.T) {
	for _, test := range []struct {
		name   string
		body   string
		change func(*http.Request)
		status int // 0 for no answer
		text   string
	}{
		{"no query", `{}`, nil, 400, "Must provide query string"},
		{"null query", `{"query":null}`, nil, 400, "Must provide query string"},
		{"not JSON", `query`, nil, 400, "invalid character 'q' looking for beginning of value"},
		{"empty", ``, nil, 400, "EOF"},
		{"junk behind", `{} {}`, nil, 400, "junk after the end of the JSON value"},
		{"not an object", `[]`, nil, 0, ""},
		{"query is no string", `{"query":1}`, nil, 0, ""},
		{"variables are no object", `{"query":"{slotsWon}","variables":[]}`, nil, 0, ""},
		{"operation name is no string", `{"query":"{slotsWon}","operationName":1}`, nil, 0, ""},
		{
			"charset", query("{slotsWon}"),
			func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-8") },
			400, "Must provide query string",
		},
		{"no content type", query("{slotsWon}"), func(r *http.Request) { r.Header.Del("Content-Type") }, 400, "Must provide query string"},
		{"another method", query("{slotsWon}"), func(r *http.Request) { r.Method = http.MethodPut }, 404, ""},
		{"GET is like POST", query("{slotsWon}"), func(r *http.Request) { r.Method = http.MethodGet }, 200, `{"data":{"slotsWon":[1,2]}}`},
		{
			"raw query", "{ slotsWon }", func(r *http.Request) { r.Header.Set("Content-Type", "application/graphql") },
			200, `{"data":{"slotsWon":[1,2]}}`,
		},
		{
			"the URL wins", query("{slotsWon}"),
			func(r *http.Request) {
				r.URL.RawQuery = url.Values{
					"query":         {"query a($n: Int!) {slotsWon} query b($n: Int!) {internalLogs(startLogId: $n) {id}}"},
					"operationName": {"b"}, "variables": {`{"n":2}`},
				}.Encode()
			},
			200, `{"data":{"internalLogs":[{"id":2}]}}`,
		},
		{
			"bad variables in the URL", query("{slotsWon}"),
			func(r *http.Request) { r.URL.RawQuery = "variables=[]" }, 0, "",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, allowed := newServer(t, false)
			r := post(allowed.sequenced(test.body, testUUID, 0), test.body)
			if test.change != nil {
				test.change(r)
			}
			answer := server.Answer(r)
			if answer.Raised != (test.status == 0) || answer.Status != test.status || string(answer.Body) != test.text {
				t.Errorf("got %+v %s, want %d %s", answer, answer.Body, test.status, test.text)
			}
			if got := server.SequenceNumber(allowed.public()); got != 1 || !answer.Sequenced {
				t.Errorf("counter at %d, sequenced %v, want 1, true", got, answer.Sequenced)
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	server, allowed := newServer(t, false)
	for path, want := range map[string]int{"/": 200, "/graphql/": 404, "/status2": 404, "/graphql": 401} {
		r := httptest.NewRequest(http.MethodPost, "http://node:3085"+path, nil)
		if answer := server.Answer(r); answer.Status != want || answer.FixedLength == (path == "/graphql") {
			t.Errorf("%s: %+v, want %d", path, answer, want)
		}
	}
	body := query("{slotsWon}")
	r := post(allowed.sequenced(body, testUUID, 0), body)
	r.URL.Path = "/graphql/"
	if answer := server.Answer(r); string(answer.Body) != "Route not found" || server.SequenceNumber(allowed.public()) != 0 {
		t.Errorf("an unknown route counted: %s", answer.Body)
	}
}

// TestTheOneVariableOfAuth is the quirk of itn-graphql, section 2.3.
func TestTheOneVariableOfAuth(t *testing.T) {
	server, first := newServer(t, false)
	second, stranger := newSigner(2), newSigner(9)
	body := query("{ auth { signerSequenceNumber } }")
	reported := func(header string) string {
		answer := string(server.Answer(post(header, body)).Body)
		answer = strings.TrimPrefix(answer, `{"data":{"auth":{"signerSequenceNumber":"`)
		return strings.TrimSuffix(answer, `"}}}`)
	}
	server.next[publicKey(first.private[32:])] = 7
	server.next[publicKey(second.private[32:])] = 9
	for _, step := range []struct{ name, header, want string }{
		{"first, unsequenced", first.unsequenced(body), "7"},
		{"second, sequenced: what the first left there", second.sequenced(body, testUUID, 9), "7"},
		{"second, unsequenced", second.unsequenced(body), "10"},
		{"a stranger sets it, though refused", stranger.unsequenced(body), "Unauthorized"},
		{"first, sequenced: the stranger's", first.sequenced(body, testUUID, 7), "0"},
		{"a wrong signature sets it too", strings.Replace(second.unsequenced(body), "==", "", 1), "Unauthorized"},
		{"first, sequenced: the second's", first.sequenced(body, testUUID, 8), "10"},
	} {
		if got := reported(step.header); got != step.want {
			t.Errorf("%s: got %s, want %s", step.name, got, step.want)
		}
	}
}

func TestCountersWrap(t *testing.T) {
	server, allowed := newServer(t, false)
	server.next[publicKey(allowed.private[32:])] = 65535
	body := query("{slotsWon}")
	for _, number := range []uint16{65535, 0, 1} {
		if answer := server.Answer(post(allowed.sequenced(body, testUUID, number), body)); answer.Status != 200 {
			t.Errorf("number %d: %d %s", number, answer.Status, answer.Body)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	good := newSigner(1).public()
	for name, config := range map[string]Config{
		"no keys":                {ServerUUID: testUUID},
		"key that is not base64": {ServerUUID: testUUID, Keys: []string{good, "?"}},
		"key that is no point":   {ServerUUID: testUUID, Keys: []string{nonPoint}},
		"no UUID":                {Keys: []string{good}},
	} {
		if _, err := New(config); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestGraphQLAnswers is itn-graphql, section 2.5, and the texts of section 4 that need no node state.
func TestGraphQLAnswers(t *testing.T) {
	key := mina.EncodeBase58Check(privateKeyVersion, make([]byte, 33))
	receiver := mina.EncodeBase58Check(publicKeyVersion, make([]byte, 35))
	payment := func(changes map[string]any) map[string]any {
		input := map[string]any{
			"senders": []any{key}, "receiver": receiver, "amount": "1", "minFee": "1", "maxFee": "2", "memoPrefix": "m",
			"tps": 1, "durationMin": 1,
		}
		for name, value := range changes {
			if value == "absent" {
				delete(input, name)
			} else {
				input[name] = value
			}
		}
		return map[string]any{"input": input}
	}
	const schedule = "mutation($input: PaymentsDetails!) { schedulePayments(input: $input) }"
	failure := func(message, path string) string {
		if path == "" {
			return `{"data":null,"errors":[{"message":` + strconv.Quote(message) + `}]}`
		}
		return `{"data":null,"errors":[{"message":` + strconv.Quote(message) + `,"path":["` + path + `"]}]}`
	}
	invalid := func(message string) string { return `{"errors":[{"message":` + strconv.Quote(message) + `}]}` }
	for _, test := range []struct {
		name      string
		older     bool
		text      string
		variables map[string]any
		want      string
	}{
		{name: "typename and alias", text: "{ __typename a: slotsWon }", want: `{"data":{"__typename":"query","a":[1,2]}}`},
		{name: "object", text: "{ auth { __typename x: libp2pPort peerId isBlockProducer commitId } }",
			want: `{"data":{"auth":{"__typename":"ItnAuth","x":"8302","peerId":null,"isBlockProducer":true,"commitId":"c"}}}`},
		{name: "object of an older daemon", older: true, text: "{ auth { peerId } }", want: `{"data":{"auth":{"peerId":""}}}`},
		{name: "fragments", text: "query { ...root } fragment root on query { auth { ...a ... on ItnAuth { libp2pPort } ... on ItnLog { id } } } fragment a on ItnAuth { isBlockProducer ...a }",
			want: `{"data":{"auth":{"isBlockProducer":true,"libp2pPort":"8302"}}}`},
		{name: "unknown field", text: "{ nothing }", want: invalid("Field 'nothing' is not defined on type 'query'")},
		{name: "unknown inner field", text: "{ auth { nothing } }", want: invalid("Field 'nothing' is not defined on type 'ItnAuth'")},
		{name: "commit of an older daemon", older: true, text: "{ auth { commitId } }", want: invalid("Field 'commitId' is not defined on type 'ItnAuth'")},
		{name: "newer query on an older daemon", older: true, text: "{ scheduledTransactions }", want: invalid("Field 'scheduledTransactions' is not defined on type 'query'")},
		{name: "newer mutation on an older daemon", older: true, text: "mutation { createAccounts }", want: invalid("Field 'createAccounts' is not defined on type 'mutation'")},
		{name: "no parse", text: "{", want: `"input:1:2: Expected Name, found \u003cEOF\u003e"`},
		{name: "no operation", text: "fragment a on query { slotsWon }", want: invalid("No operation found")},
		{name: "which operation", text: "query a { slotsWon } query b { slotsWon }", want: invalid("Operation name required")},
		{name: "subscription", text: "subscription { logs }", want: `{"logs":null}`},
		{name: "all root fields run, the first failure is the answer",
			text: `mutation { a: stopScheduledTransactions(handle: "x") b: flushInternalLogs(endLogId: 1) c: stopScheduledTransactions(handle: "y") }`,
			want: failure("Not a valid scheduled transactions handle: x", "a")},
		{name: "nullable root field", text: "mutation { zkAppCommandLimit(limit: -1) }",
			want: `{"data":{"zkAppCommandLimit":null},"errors":[{"message":"no","path":["zkAppCommandLimit"]}]}`},

		{name: "missing variable", text: "mutation($limit: Int) { zkAppCommandLimit(limit: $limit) }", want: failure("Missing variable `limit`", "")},
		{name: "missing variable inside", text: "mutation($t: Float!) { schedulePayments(input: {tps: $t}) }", want: failure("Missing variable `t`", "")},
		{name: "null variable", text: "mutation($limit: Int) { zkAppCommandLimit(limit: $limit) }", variables: map[string]any{"limit": nil}, want: `{"data":{"zkAppCommandLimit":null}}`},
		{name: "argument not in the text", text: "mutation { zkAppCommandLimit }", want: `{"data":{"zkAppCommandLimit":null}}`},
		{name: "default of the text", text: "mutation($limit: Int = 3) { zkAppCommandLimit(limit: $limit) }", want: `{"data":{"zkAppCommandLimit":3}}`},
		{name: "the entry wins over the default", text: "mutation($limit: Int = 3) { zkAppCommandLimit(limit: $limit) }", variables: map[string]any{"limit": 4}, want: `{"data":{"zkAppCommandLimit":4}}`},
		{name: "variable of another declared type", text: "mutation($limit: String) { zkAppCommandLimit(limit: $limit) }", variables: map[string]any{"limit": 5}, want: `{"data":{"zkAppCommandLimit":5}}`},
		{name: "unknown argument", text: `mutation { zkAppCommandLimit(limit: 1, other: "x") }`, want: `{"data":{"zkAppCommandLimit":1}}`},
		{name: "integer above 32 bits", text: "mutation { zkAppCommandLimit(limit: 5000000000) }", want: `{"data":{"zkAppCommandLimit":5000000000}}`},
		{name: "integer with a point", text: "mutation($limit: Int) { zkAppCommandLimit(limit: $limit) }", variables: map[string]any{"limit": json.RawMessage("5.0")},
			want: failure("Argument `limit` of type `Int` expected on field `zkAppCommandLimit`, found 5.0.", "")},
		{name: "integer as a string", text: `mutation { zkAppCommandLimit(limit: "5") }`,
			want: failure("Argument `limit` of type `Int` expected on field `zkAppCommandLimit`, found \"5\".", "")},
		{name: "required argument missing", text: "{ internalLogs { id } }",
			want: failure("Argument `startLogId` of type `Int!` expected on field `internalLogs`, but not provided.", "")},
		{name: "required argument null", text: "{ internalLogs(startLogId: null) { id } }",
			want: failure("Argument `startLogId` of type `Int!` expected on field `internalLogs`, found null.", "")},
		{name: "string for a string only", text: "mutation { stopScheduledTransactions(handle: 5) }",
			want: failure("Argument `handle` of type `String` expected on field `stopScheduledTransactions`, found 5.", "")},
		{name: "boolean", text: "mutation { stopDaemon(cleanConfig: 1) }",
			want: failure("Argument `cleanConfig` of type `Boolean` expected on field `stopDaemon`, found 1.", "")},
		{name: "enum", text: "mutation { stopDaemon(cleanConfig: yes) }",
			want: failure("Argument `cleanConfig` of type `Boolean` expected on field `stopDaemon`, found yes.", "")},
		{name: "object for a scalar", text: `mutation { zkAppCommandLimit(limit: {b: [true, 1.5], a: null}) }`,
			want: failure("Argument `limit` of type `Int` expected on field `zkAppCommandLimit`, found {a: null, b: [true, 1.5]}.", "")},
		{name: "scalar for an object", text: `mutation { schedulePayments(input: "x") }`,
			want: failure("Argument `input` of type `PaymentsDetails` expected on field `schedulePayments`, found \"x\".", "")},

		{name: "payment", text: schedule, variables: payment(nil), want: `{"data":{"schedulePayments":"none 1"}}`},
		{name: "single value for a list", text: schedule, variables: payment(map[string]any{"senders": key}), want: `{"data":{"schedulePayments":"none 1"}}`},
		{name: "integer for a float", text: schedule, variables: payment(map[string]any{"tps": 2}), want: `{"data":{"schedulePayments":"none 1"}}`},
		{name: "unknown input field", text: schedule, variables: payment(map[string]any{"other": 2}), want: `{"data":{"schedulePayments":"none 1"}}`},
		{name: "handle", text: "mutation($input: PaymentsDetails!) { schedulePayments(input: $input, handle: \"h\") }", variables: payment(nil), want: `{"data":{"schedulePayments":"h 1"}}`},
		{name: "handle on an older daemon", older: true, text: "mutation($input: PaymentsDetails!) { schedulePayments(input: $input, handle: \"h\") }", variables: payment(nil), want: `{"data":{"schedulePayments":"none 1"}}`},
		{name: "bad key quoted", text: schedule, variables: payment(map[string]any{"senders": []any{key, "EKsecret"}}),
			want: failure("Argument `senders` of type `PrivateKey` expected on field `schedulePayments`, found \"EKsecret\".", "")},
		{name: "public for private key", text: schedule, variables: payment(map[string]any{"senders": []any{receiver}}),
			want: failure("Argument `senders` of type `PrivateKey` expected on field `schedulePayments`, found \""+receiver+"\".", "")},
		{name: "bad receiver", text: schedule, variables: payment(map[string]any{"receiver": key}),
			want: failure("Argument `receiver` of type `PublicKey` expected on field `schedulePayments`, found \""+key+"\".", "")},
		{name: "null in a list", text: schedule, variables: payment(map[string]any{"senders": []any{nil}}),
			want: failure("Argument `senders` of type `PrivateKey!` expected on field `schedulePayments`, found null.", "")},
		{name: "missing input field", text: schedule, variables: payment(map[string]any{"maxFee": "absent"}),
			want: failure("Argument `maxFee` of type `Fee!` expected on field `schedulePayments`, but not provided.", "")},
		{name: "fee as a number", text: schedule, variables: payment(map[string]any{"minFee": 1}),
			want: failure("Argument `minFee` of type `Fee` expected on field `schedulePayments`, found 1.", "")},
		{name: "the first bad field is told", text: schedule, variables: payment(map[string]any{"durationMin": "x", "amount": 1}),
			want: failure("Argument `amount` of type `CurrencyAmount` expected on field `schedulePayments`, found 1.", "")},
		{name: "no senders", text: schedule, variables: payment(map[string]any{"senders": []any{}, "memoPrefix": strings.Repeat("m", 33)}),
			want: failure("Empty list of senders", "schedulePayments")},
		{name: "memo in bytes", text: schedule, variables: payment(map[string]any{"memoPrefix": strings.Repeat("é", 17), "maxFee": "0"}),
			want: failure("Memo too long, limited to 32 characters", "schedulePayments")},
		{name: "fees", text: schedule, variables: payment(map[string]any{"maxFee": "0"}),
			want: failure("Maximum fee less than mininum fee", "schedulePayments")},

		{name: "unknown handle", text: `mutation { stopScheduledTransactions(handle: "` + testUUID + `") }`,
			want: failure("Could not find scheduled transactions with handle "+testUUID, "stopScheduledTransactions")},
		{name: "known handle", text: `mutation { stopScheduledTransactions(handle: "zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz") }`,
			want: `{"data":{"stopScheduledTransactions":"Requesting stop of scheduled transactions with handle zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz"}}`},
		{name: "default delay", text: "mutation { stopDaemon }", want: `{"data":{"stopDaemon":"Stopping daemon in 5 seconds"}}`},
		{name: "short delay", text: "mutation { stopDaemon(delaySeconds: 4) }", want: failure("Delay of 4 seconds is less than minimum 5", "stopDaemon")},
		{name: "clean", text: "mutation { stopDaemon(delaySeconds: 6, cleanConfig: true) }",
			want: `{"data":{"stopDaemon":"Stopping daemon in 6 seconds, will clean configuration directory /config"}}`},
		{name: "deleted none", text: "mutation { flushInternalLogs(endLogId: 0) }", want: `{"data":{"flushInternalLogs":"Deleted 0 log"}}`},
		{name: "deleted one", text: "mutation { flushInternalLogs(endLogId: 1) }", want: `{"data":{"flushInternalLogs":"Deleted 1 log"}}`},
		{name: "deleted two", text: "mutation { flushInternalLogs(endLogId: 2) }", want: `{"data":{"flushInternalLogs":"Deleted 2 logs"}}`},
		{name: "gating", text: `mutation { updateGating(input: {trustedPeers: [], bannedPeers: [], addedPeers: {peerId: "p", host: "::1", libp2pPort: 99999}, isolate: false, cleanAddedPeers: true}) }`,
			want: `{"data":{"updateGating":"success"}}`},
		{name: "gating with a name", text: `mutation { updateGating(input: {trustedPeers: [], bannedPeers: [], addedPeers: {peerId: "p", host: "localhost", libp2pPort: 1}, isolate: false, cleanAddedPeers: true}) }`,
			want: failure("Invalid format for NetworkPeer.host", "updateGating")},
		{name: "no fee payers", text: "mutation($i: ZkappCommandsDetails!) { scheduleZkappCommands(input: $i) }", variables: map[string]any{"i": zkappInput()},
			want: failure("Empty list of fee payers", "scheduleZkappCommands")},
		{name: "handles", text: "{ scheduledTransactions }", want: `{"data":{"scheduledTransactions":[]}}`},
		{name: "logs", text: "{ internalLogs(startLogId: 3) { timestamp message process metadata { item value } } }",
			want: `{"data":{"internalLogs":[{"timestamp":"2024-02-29 12:00:00.000001Z","message":"m","process":null,"metadata":[]},` +
				`{"timestamp":"2024-02-29 12:00:00.000001Z","message":"m","process":"prover","metadata":[{"item":"i","value":{"a":1}}]}]}}`},
		{name: "accounts", text: `mutation { createAccounts(input: {amount: "1", fee: "1", numAccounts: 1, feePayer: "` + key + `"}) { handle accounts { publicKey privateKey } } }`,
			want: `{"data":{"createAccounts":{"handle":"none","accounts":[{"publicKey":"B62","privateKey":"` + key + `"}]}}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, allowed := newServer(t, test.older)
			for number := range uint16(2) { // the second time the text comes from the cache
				body := request(test.text, test.variables)
				answer := server.Answer(post(allowed.sequenced(body, testUUID, number), body))
				if answer.Status != 200 || string(answer.Body) != test.want {
					t.Fatalf("got  %d %s\nwant 200 %s", answer.Status, answer.Body, test.want)
				}
			}
		})
	}
}

func zkappInput() map[string]any {
	return map[string]any{
		"feePayers": []any{}, "numZkappsToDeploy": 1, "numNewAccounts": 1, "tps": 1, "durationMin": 1, "memoPrefix": "m",
		"noPrecondition": true, "minBalanceChange": "1", "maxBalanceChange": "1", "minNewZkappBalance": "1",
		"maxNewZkappBalance": "1", "initBalance": "1", "minFee": "1", "maxFee": "1", "deploymentFee": "1",
		"accountQueueSize": 1, "maxCost": true,
	}
}

func TestExceptionsCloseTheConnection(t *testing.T) {
	server, allowed := newServer(t, false)
	for number, text := range []string{"mutation { zkAppCommandLimit(limit: -2) }", "mutation { zkAppCommandLimit(limit: -3) }"} {
		body := query(text)
		answer := server.Answer(post(allowed.sequenced(body, testUUID, uint16(number)), body))
		if !answer.Raised || !answer.Sequenced || answer.Operation != "zkAppCommandLimit" {
			t.Errorf("%s: %+v", text, answer)
		}
	}
}

// TestOverHTTP looks at what an HTTP client sees: chunked, no media type; closed connections.
func TestOverHTTP(t *testing.T) {
	server, allowed := newServer(t, false)
	listening := httptest.NewServer(server)
	defer listening.Close()
	overTCP := itn.NewTransport()
	defer overTCP.CloseIdleConnections()
	transports := map[string]http.RoundTripper{
		"TCP":        overTCP,
		"in process": InProcess{Find: func(string) http.Handler { return server }},
	}
	number := uint16(0)
	for name, transport := range transports {
		send := func(path, body string) (*http.Response, string, error) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, listening.URL+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", allowed.sequenced(body, testUUID, number))
			response, err := transport.RoundTrip(r)
			if err != nil {
				return nil, "", err
			}
			defer func() { _ = response.Body.Close() }()
			text, err := io.ReadAll(response.Body)
			return response, string(text), err
		}
		response, text, err := send("/graphql", query("{slotsWon}"))
		if err != nil || text != `{"data":{"slotsWon":[1,2]}}` || response.ContentLength != -1 {
			t.Fatalf("%s: %v %q %v", name, response, text, err)
		}
		if types := response.Header.Values("Content-Type"); len(types) != 0 {
			t.Errorf("%s: Content-Type %q", name, types)
		}
		number++
		if response, text, err = send("/elsewhere", "{}"); err != nil || text != "Route not found" || response.StatusCode != 404 {
			t.Errorf("%s: %v %q %v", name, response, text, err)
		}
		if _, _, err = send("/graphql", "[]"); err == nil {
			t.Errorf("%s: an answer to a body that makes the daemon raise", name)
		}
		number++
	}
}

func TestInProcess(t *testing.T) {
	send := func(ctx context.Context, handler http.HandlerFunc) (string, error) {
		transport := InProcess{Find: func(address string) http.Handler {
			if address != "node:3085" {
				return nil
			}
			return handler
		}}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node:3085/graphql?x=1", strings.NewReader("sent"))
		if err != nil {
			t.Fatal(err)
		}
		if handler == nil {
			r.URL.Host = "other:1"
		}
		response, err := transport.RoundTrip(r)
		if err != nil {
			return "", err
		}
		text, err := io.ReadAll(response.Body)
		return strconv.Itoa(response.StatusCode) + " " + string(text), err
	}
	text, err := send(t.Context(), func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s %v", r.RequestURI, r.Host, body, err)
	})
	if text != "200 /graphql?x=1 node:3085 sent <nil>" || err != nil {
		t.Errorf("got %q, %v", text, err)
	}
	if text, err := send(t.Context(), func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(503)
		w.WriteHeader(200)
	}); text != "503 " || err != nil {
		t.Errorf("the first status counts: %q, %v", text, err)
	}
	if _, err := send(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "dial tcp: connection refused") {
		t.Errorf("nobody listens: %v", err)
	}
	if _, err := send(t.Context(), func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "not flushed")
		panic(http.ErrAbortHandler)
	}); !errors.Is(err, errCut) {
		t.Errorf("cut before the answer left: %v", err)
	}
	if text, err := send(t.Context(), func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}); text != "200 half" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut in the middle: %q, %v", text, err)
	}
	over := errors.New("over")
	ctx, cancel := context.WithCancelCause(t.Context())
	if _, err := send(ctx, func(w http.ResponseWriter, r *http.Request) {
		cancel(over)
		<-r.Context().Done()
		_, _ = io.WriteString(w, "too late")
	}); !errors.Is(err, over) {
		t.Errorf("the context ended: %v", err)
	}
	if _, err := send(ctx, func(http.ResponseWriter, *http.Request) { t.Error("called") }); !errors.Is(err, over) {
		t.Errorf("the context had ended: %v", err)
	}
	defer func() {
		if recover() != "a bug" {
			t.Error("a handler's own panic is swallowed")
		}
	}()
	_, _ = send(t.Context(), func(http.ResponseWriter, *http.Request) { panic("a bug") })
}

func TestLaxUint64(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "20": 20, "1.5": 1, "1_000": 1, "-1": 1<<64 - 1, "18446744073709551615": 1<<64 - 1,
		"18446744073709551616": 1<<64 - 1, "-18446744073709551616": 1<<64 - 1, "": 0, "x": 0,
	} {
		if got := laxUint64(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}

// TestTheCacheIsBounded sends more texts than are kept, at once.
func TestTheCacheIsBounded(t *testing.T) {
	documents, err := NewDocuments()
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range maxDocuments {
				if _, err := documents.parse(fmt.Sprintf("{ a%d_%d: slotsWon }", worker, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if len(documents.parsed) > maxDocuments {
		t.Errorf("%d documents are kept", len(documents.parsed))
	}
	if _, err := documents.parse(strings.Repeat("{", maxDocumentTokens+1)); err == nil {
		t.Error("a text of too many tokens is parsed")
	}
}

// FuzzRequest sends any body, well signed.
func FuzzRequest(f *testing.F) {
	f.Add(query("{ auth { serverUuid } }"))
	f.Add(request("mutation($i: PaymentsDetails!) { schedulePayments(input: $i) }", map[string]any{"i": map[string]any{}}))
	f.Add(`{"query":"query { ...a } fragment a on query { ...b } fragment b on query { ...a slotsWon }"}`)
	f.Add(`{"query":"subscription { x }","operationName":"y"}`)
	server, allowed := newServer(f, false)
	f.Fuzz(func(t *testing.T, body string) {
		number := server.SequenceNumber(allowed.public())
		answer := server.Answer(post(allowed.sequenced(body, testUUID, number), body))
		if !answer.Sequenced || answer.Raised == (answer.Status != 0) {
			t.Errorf("%q: %+v", body, answer)
		}
		if answer.Status == 200 && !json.Valid(answer.Body) {
			t.Errorf("%q: answer %s is not JSON", body, answer.Body)
		}
	})
}

// BenchmarkAnswer is one sequenced request, signature verified, on a server of its own counters.
func BenchmarkAnswer(b *testing.B) {
	server, allowed := newServer(b, false)
	body := query("{ slotsWon }")
	number := uint16(0)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		r := post(allowed.sequenced(body, testUUID, number), body)
		b.StartTimer()
		if answer := server.Answer(r); answer.Status != 200 {
			b.Fatal(string(answer.Body))
		}
		number++
	}
}

// BenchmarkInternalLogs answers a full queue of 500 entries.
func BenchmarkInternalLogs(b *testing.B) {
	server, _ := newServer(b, false)
	text := "{ internalLogs(startLogId: -500) { id timestamp message process metadata { item value } } }"
	b.ReportAllocs()
	for b.Loop() {
		answer := server.execute(b.Context(), graphqlRequest{query: &text}, true)
		if answer.Status != 200 || len(answer.Body) < 500 {
			b.Fatal(string(answer.Body))
		}
	}
}

// BenchmarkNew is what one of a thousand nodes costs.
func BenchmarkNew(b *testing.B) {
	documents, err := NewDocuments()
	if err != nil {
		b.Fatal(err)
	}
	config := Config{Keys: []string{newSigner(1).public()}, ServerUUID: testUUID, Resolver: &resolver{}, Documents: documents}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(config); err != nil {
			b.Fatal(err)
		}
	}
}

// resolver answers what the tests above look for.
type resolver struct{}

func (*resolver) Auth(context.Context) Auth {
	return Auth{Libp2pPort: 8302, BlockProducer: true, CommitID: "c"}
}

func (*resolver) SlotsWon(context.Context) ([]int, error) { return []int{1, 2}, nil }

func (*resolver) InternalLogs(_ context.Context, start int) ([]itn.Log, error) {
	if start > 0 && start < 3 {
		return []itn.Log{{ID: start}}, nil
	}
	at := time.Date(2024, 2, 29, 13, 0, 0, 1000, time.FixedZone("", 3600))
	logs := []itn.Log{{ID: 3, Timestamp: at, Message: "m"}, {
		ID: 4, Timestamp: at, Message: "m", Process: "prover",
		Metadata: []itn.LogMetadatum{{Item: "i", Value: json.RawMessage(`{"a":1}`)}},
	}}
	for id := start; id < 0; id++ {
		logs = append(logs, logs[1])
	}
	return logs, nil
}

func (*resolver) FlushInternalLogs(_ context.Context, end int) (int, error) { return end, nil }

func (*resolver) SchedulePayments(_ context.Context, details itn.PaymentsDetails, handle *string) (string, error) {
	return fmt.Sprint(named(handle), " ", len(details.Senders)), nil
}

func (*resolver) ScheduleZkappCommands(context.Context, itn.ZkappCommandsDetails, *string) (string, error) {
	return "", nil
}

func (*resolver) StopScheduledTransactions(_ context.Context, handle string) error {
	if handle == testUUID {
		return UnknownHandle(handle)
	}
	return nil
}

func (*resolver) UpdateGating(context.Context, itn.GatingUpdate) error { return nil }

func (*resolver) StopDaemon(context.Context, time.Duration, bool) (string, error) {
	return "/config", nil
}

func (*resolver) ZkAppCommandLimit(_ context.Context, limit *int) (*int, error) {
	switch {
	case limit != nil && *limit == -1:
		return nil, Refusal("no")
	case limit != nil && *limit == -2:
		return nil, ErrRaise
	case limit != nil && *limit == -3:
		return nil, errors.New("some other error")
	}
	return limit, nil
}

func (*resolver) ScheduledTransactions(context.Context) ([]string, error) { return nil, nil }

func (*resolver) CreateAccounts(
	_ context.Context, details itn.CreateAccountsDetails, handle *string,
) (itn.CreatedAccounts, error) {
	return itn.CreatedAccounts{
		Handle: named(handle), Accounts: []itn.Account{{PublicKey: "B62", PrivateKey: details.FeePayer}},
	}, nil
}

func named(handle *string) string {
	if handle == nil {
		return "none"
	}
	return *handle
}

func TestRefusals(t *testing.T) {
	if diff := cmp.Diff([]string{
		`Could not get nonces for accounts: "B62a","B62b"`, "Could not find scheduled transactions with handle h",
		"failed to add peers: a, b",
	}, []string{
		MissingAccounts([]string{"B62a", "B62b"}).Error(), UnknownHandle("h").Error(), FailedToAddPeers([]string{"a", "b"}).Error(),
	}); diff != "" {
		t.Error(diff)
	}
}
