package simnet_test

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
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"time"

	"provingground/internal/clock"
	"provingground/internal/mina"
	"provingground/orchestrator/simnet"
)

// itnKey is the ITN key of all tests.
func itnKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
}

func itnPublicKey(t testing.TB) ed25519.PublicKey {
	t.Helper()
	key, ok := itnKey().Public().(ed25519.PublicKey)
	if !ok {
		t.Fatal("no Ed25519 key")
	}
	return key
}

func itnKeys(t testing.TB) []ed25519.PublicKey {
	t.Helper()
	return []ed25519.PublicKey{itnPublicKey(t)}
}

// genesis is when every virtual network begins.
func genesis() time.Time { return time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC) }

// keys makes funded accounts.
func keys(t testing.TB, count int) []mina.PrivateKey {
	t.Helper()
	random := rand.NewChaCha8([32]byte{1})
	made := make([]mina.PrivateKey, count)
	for i := range made {
		key, err := mina.GeneratePrivateKey(random)
		if err != nil {
			t.Fatal(err)
		}
		made[i] = key
	}
	return made
}

func accounts(keys []mina.PrivateKey, balance mina.Nanomina) map[mina.PublicKey]mina.Nanomina {
	funded := make(map[mina.PublicKey]mina.Nanomina, len(keys))
	for _, key := range keys {
		funded[key.PublicKey()] = balance
	}
	return funded
}

func base58s(keys []mina.PrivateKey) []string {
	texts := make([]string, len(keys))
	for i, key := range keys {
		texts[i] = key.Base58()
	}
	return texts
}

// world is a network on a virtual clock.
type world struct {
	testing.TB
	*simnet.Network
	clock *clock.Clock
}

// inVirtualTime runs f with a started network on a virtual clock, and stops it.
func inVirtualTime(t testing.TB, options simnet.Options, f func(w *world)) {
	t.Helper()
	virtual := clock.NewVirtual(genesis())
	options.Clock = virtual.Clock()
	options.ITNKeys = itnKeys(t)
	options.KeepJournal = options.Journal != io.Discard // which asks for a run that keeps nothing
	virtual.Run(func() {
		network, err := simnet.New(options)
		if err != nil {
			t.Fatal(err)
		}
		if err := network.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := network.Stop(); err != nil {
				t.Error(err)
			}
		}()
		f(&world{TB: t, Network: network, clock: options.Clock})
	})
}

// pass lets network time pass.
func (w *world) pass(span time.Duration) {
	w.Helper()
	if err := w.clock.Sleep(w.Context(), span); err != nil {
		w.Fatal(err)
	}
}

// client speaks to one node, and keeps its UUID and sequence number.
type client struct {
	testing.TB
	address   string
	transport http.RoundTripper
	uuid      string
	next      uint16
}

func (w *world) client(address string) *client {
	w.Helper()
	c := &client{TB: w.TB, address: address, transport: w.Transport()}
	c.authenticate()
	return c
}

// result is an answer to a request.
type result struct {
	status int
	body   []byte
	Data   map[string]json.RawMessage
	Errors []struct{ Message string }
}

func (r result) message() string {
	if len(r.Errors) == 0 {
		return ""
	}
	return r.Errors[0].Message
}

// send signs and sends a request. A sequenced one uses up the client's next number when the node accepted it.
func (c *client) send(sequenced bool, query string, variables map[string]any) (result, error) {
	c.Helper()
	return c.sendIn(c.Context(), sequenced, query, variables)
}

func (c *client) sendIn(ctx context.Context, sequenced bool, query string, variables map[string]any) (result, error) {
	c.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		c.Fatal(err)
	}
	signed, suffix := body, ""
	if sequenced {
		signed = append(append(binary.BigEndian.AppendUint16(nil, c.next), c.uuid...), body...)
		suffix = " ; Sequencing " + c.uuid + " " + strconv.Itoa(int(c.next))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.address+"/graphql", bytes.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", fmt.Sprintf("Signature %s %s%s", base64.StdEncoding.EncodeToString(itnPublicKey(c.TB)),
		base64.StdEncoding.EncodeToString(ed25519.Sign(itnKey(), signed)), suffix))
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return result{}, err
	}
	defer func() { _ = response.Body.Close() }()
	read := result{status: response.StatusCode}
	if sequenced && (read.status == http.StatusOK || read.status == http.StatusBadRequest) {
		c.next++
	}
	if read.body, err = io.ReadAll(response.Body); err != nil {
		return read, err
	}
	if read.status == http.StatusOK {
		if err := json.Unmarshal(read.body, &read); err != nil {
			c.Fatalf("answer %s: %v", read.body, err)
		}
	}
	return read, nil
}

// authenticate learns the node's UUID and the next number.
func (c *client) authenticate() {
	c.Helper()
	read, err := c.send(false, `{ auth { serverUuid signerSequenceNumber libp2pPort peerId isBlockProducer } }`, nil)
	if err != nil {
		c.Fatal(err)
	}
	var auth struct{ ServerUuid, SignerSequenceNumber string } //nolint:revive // as the schema spells it
	if err := json.Unmarshal(read.Data["auth"], &auth); err != nil {
		c.Fatalf("auth answered %d %s: %v", read.status, read.body, err)
	}
	number, err := strconv.ParseUint(auth.SignerSequenceNumber, 10, 16)
	if err != nil {
		c.Fatal(err)
	}
	c.uuid, c.next = auth.ServerUuid, uint16(number)
}

// must sends a sequenced request that has to succeed, and returns the value of its root field.
func (c *client) must(query string, variables map[string]any) json.RawMessage {
	c.Helper()
	read, err := c.send(true, query, variables)
	if err != nil {
		c.Fatal(err)
	}
	if read.status != http.StatusOK || len(read.Errors) > 0 || len(read.Data) != 1 {
		c.Fatalf("answered %d %s", read.status, read.body)
	}
	for _, value := range read.Data {
		return value
	}
	return nil
}

// text is must for a string.
func (c *client) text(query string, variables map[string]any) string {
	c.Helper()
	var text string
	if err := json.Unmarshal(c.must(query, variables), &text); err != nil {
		c.Fatal(err)
	}
	return text
}

// refused sends a sequenced request that has to end in a GraphQL error, and returns its message.
func (c *client) refused(query string, variables map[string]any) string {
	c.Helper()
	read, err := c.send(true, query, variables)
	if err != nil {
		c.Fatal(err)
	}
	if read.message() == "" {
		c.Fatalf("answered %d %s, want an error", read.status, read.body)
	}
	return read.message()
}

const schedulePayments = `mutation($input: PaymentsDetails!) { schedulePayments(input: $input) }`

// payments is the input of schedulePayments; change overrides fields.
func payments(senders []mina.PrivateKey, change map[string]any) map[string]any {
	input := map[string]any{
		"senders": base58s(senders), "receiver": senders[0].PublicKey().String(), "amount": "1000", "minFee": "100000000", "maxFee": "200000000",
		"memoPrefix": "exp-0-0", "tps": 1.0, "durationMin": 10,
	}
	maps.Copy(input, change)
	return map[string]any{"input": input}
}

// facts returns the facts of one type in a history.
func facts[F simnet.Fact](h simnet.History) []F {
	var found []F
	for _, entry := range h {
		if fact, ok := entry.Fact.(F); ok {
			found = append(found, fact)
		}
	}
	return found
}

var errAny = errors.New("any error")

func decode(t testing.TB, text json.RawMessage, into any) {
	t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

const (
	createAccounts = `mutation($input: CreateAccountsDetails!) { createAccounts(input: $input) { handle accounts { publicKey privateKey } } }`
	updateGating   = `mutation($input: GatingUpdate!) { updateGating(input: $input) }`
)

// zkapps is the input of scheduleZkappCommands; change overrides fields.
func zkapps(payers []mina.PrivateKey, change map[string]any) map[string]any {
	input := map[string]any{
		"feePayers": base58s(payers), "numZkappsToDeploy": 4, "numNewAccounts": 0, "tps": 0.5, "durationMin": 10, "memoPrefix": "zk-0-0",
		"noPrecondition": false, "minBalanceChange": "0", "maxBalanceChange": "1000", "minNewZkappBalance": "1000000000",
		"maxNewZkappBalance": "2000000000", "initBalance": "5000000000", "minFee": "1000000000", "maxFee": "2000000000",
		"deploymentFee": "1000000000", "accountQueueSize": 3, "maxCost": false, "maxAccountUpdates": 2,
	}
	maps.Copy(input, change)
	return map[string]any{"input": input}
}

// gating is the input of updateGating that isolates from everybody, or from nobody.
func gating(isolate bool) map[string]any {
	return map[string]any{"input": map[string]any{
		"trustedPeers": []any{}, "bannedPeers": []any{}, "isolate": isolate, "cleanAddedPeers": false, "addedPeers": []any{},
	}}
}

// logEntry is an entry of an internal log as the port answers it.
type logEntry struct {
	ID        int
	Timestamp string
	Message   string
	Metadata  []struct {
		Item  string
		Value json.RawMessage
	}
	Process *string
}

// logs reads the internal log from an ID on.
func (c *client) logs(start int) []logEntry {
	c.Helper()
	var entries []logEntry
	decode(c, c.must(`query($start: Int!) { internalLogs(startLogId: $start) { id timestamp message metadata { item value } process } }`,
		map[string]any{"start": start}), &entries)
	return entries
}

func readAll(t testing.TB, response *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
