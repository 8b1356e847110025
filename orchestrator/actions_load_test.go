package orchestrator_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"provingground/orchestrator"
	"provingground/orchestrator/itn"
	"provingground/orchestrator/simnet"
)

// ratesOf returns the rates of schedules, and their sum.
func ratesOf(schedules []simnet.Schedule) (rates []float64, sum float64) {
	for _, s := range schedules {
		rates = append(rates, s.TPS)
		sum += s.TPS
	}
	return rates, sum
}

// mustHaveRate fails the test unless schedules have a rate together.
func mustHaveRate(t *testing.T, schedules []simnet.Schedule, want float64) {
	t.Helper()
	if rates, sum := ratesOf(schedules); math.Abs(sum-want) > 1e-9 {
		t.Errorf("the schedules have the rates %v, together %v, want %v", rates, sum, want)
	}
}

// keysOf returns the sender keys of schedules, sorted.
func keysOf(schedules []simnet.Schedule) []string {
	var keys []string
	for _, s := range schedules {
		keys = append(keys, s.Senders...)
	}
	return sorted(keys)
}

// mustGiveOut fails the test unless the receipts and participants of a step are those of the schedules.
func mustGiveOut(t *testing.T, e ending, step int, schedules []simnet.Schedule) {
	t.Helper()
	var receipts, participants []string
	for _, s := range schedules {
		receipts = append(receipts, s.Node+" "+s.Handle)
		participants = append(participants, s.Node)
	}
	var given []string
	for _, r := range outputsOf[orchestrator.Receipt](t, e, step, "receipt") {
		given = append(given, r.Address+" "+r.Handle)
	}
	mustEqual(t, "receipts", sorted(receipts), sorted(given))
	mustEqual(t, "participants", sorted(participants), sorted(outputsOf[string](t, e, step, "participant")))
}

func TestPaymentsDivideTheLoad(t *testing.T) {
	for name, test := range map[string]struct {
		keys   int
		params params
		nodes  int     // that carry the load
		rate   float64 // together
		sizes  []int   // of their keys, sorted
	}{
		"over all nodes, every key used (D34)":      {keys: 8, params: params{"tps": 0.3}, nodes: 6, rate: 0.3, sizes: []int{1, 1, 1, 1, 2, 2}},
		"over as many as get the least rate":        {keys: 7, params: params{"tps": 0.3, "minTps": 0.1}, nodes: 3, rate: 0.3, sizes: []int{2, 2, 3}},
		"a third of a rate":                         {keys: 3, params: params{"tps": 1, "minTps": 0.3}, nodes: 3, rate: 1, sizes: []int{1, 1, 1}},
		"less than the least rate (D12)":            {keys: 3, params: params{"tps": 0.05, "minTps": 0.1}, nodes: 1, rate: 0.05, sizes: []int{3}},
		"no least rate (D12)":                       {keys: 6, params: params{"tps": 0.3, "minTps": 0}, nodes: 6, rate: 0.3, sizes: []int{1, 1, 1, 1, 1, 1}},
		"fewer keys than nodes (D34)":               {keys: 2, params: params{"tps": 0.3}, nodes: 2, rate: 0.3, sizes: []int{1, 1}},
		"a node named twice counts once":            {keys: 2, params: params{"nodes": []string{"NODE", "NODE"}}, nodes: 1, rate: 0.3, sizes: []int{2}},
		"numbers written with an exponent":          {keys: 1, params: params{"amount": json.Number("1e3"), "tps": json.Number("3e-1")}, nodes: 1, rate: 0.3, sizes: []int{1}},
		"parameters spelled in another case of key": {keys: 1, params: params{"MINTPS": 0.02, "minTps": nil}, nodes: 1, rate: 0.3, sizes: []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			n, public := newLoadNetwork(t, test.keys, nil)
			changed := somePayments().with(test.params)
			if changed["minTps"] == nil {
				delete(changed, "minTps")
			}
			text := strings.ReplaceAll(script(discoverAndLoadKeys(), step("payments", changed)), "NODE", n.Nodes()[0])
			e := n.run(text).mustEnd(t, orchestrator.CodeOK)
			schedules := n.History().Schedules()
			mustHaveRate(t, schedules, test.rate)
			mustEqual(t, "keys", sorted(public), keysOf(schedules))
			mustGiveOut(t, e, 2, schedules)
			var sizes []int
			nodes := map[string]bool{}
			for _, s := range schedules {
				sizes = append(sizes, len(s.Senders))
				nodes[s.Node] = true
				if lasts := s.End.Sub(s.Accepted); lasts != 6000*time.Minute {
					t.Errorf("a schedule lasts %s", lasts)
				}
				if math.Abs(s.TPS-test.rate/float64(test.nodes)) > 1e-12 {
					t.Errorf("a node has the rate %v, want an equal share", s.TPS)
				}
			}
			slices.Sort(sizes)
			mustEqual(t, "sizes of the nodes' shares of the keys", test.sizes, sizes)
			mustEqual(t, "nodes", test.nodes, len(nodes))
			if overlaps := n.History().Overlaps(); len(overlaps) > 0 {
				t.Errorf("keys in two schedules: %v", overlaps)
			}
		})
	}
}

func TestPaymentsAreThoseAskedFor(t *testing.T) {
	n, public := newLoadNetwork(t, 2, func(o *simnet.Options) { o.Nodes, o.Producers = 3, 1 })
	n.run(script(
		discoverAndLoadKeys(),
		step("payments", somePayments().with(params{"experimentName": "look", "tps": 0.5, "minTps": 0.5, "durationMin": 2, "amount": 12_345})),
		step("wait", params{"min": 4}),
	)).mustEnd(t, orchestrator.CodeOK)
	schedules := n.History().Schedules()
	if len(schedules) != 1 || schedules[0].MemoPrefix != "look-0" || schedules[0].Operation != "schedulePayments" {
		t.Fatalf("schedules %v, want one", schedules)
	}
	sent := toldOf[simnet.CommandSent](n)
	if len(sent) != 60 {
		t.Errorf("%d payments, want one every two seconds for two minutes", len(sent))
	}
	cheap, dear := false, false
	for i, s := range sent {
		c := s.fact
		cheap, dear = cheap || c.Fee < 120_000_000, dear || c.Fee > 180_000_000
		if c.Receiver != receiver || c.Amount != 12_345 || c.Fee < 100_000_000 || c.Fee > 200_000_000 || c.Memo != fmt.Sprintf("look-0-%d", i) ||
			c.Sender != public[i%2] || c.Type != "payment" {
			t.Errorf("payment %d: %+v", i, c)
		}
	}
	if !cheap || !dear {
		t.Error("the fees do not spread from the least to the greatest")
	}
	if ended := schedules[0].Ended; ended == nil || ended.Reason != simnet.EndExpired {
		t.Errorf("the schedule ended with %v", ended)
	}
}

func TestSameSeedSameNodesCarryTheLoad(t *testing.T) {
	n, _ := newLoadNetwork(t, 2, nil)
	given := n.Nodes()
	choices := map[string]bool{}
	for seed := range uint64(5) {
		var first []string
		for range 2 {
			e := n.run(script(
				discoverAndLoadKeys(),
				step("payments", somePayments().with(params{"minTps": 0.15, "nodes": given})),
				step("stop", params{"receipts": output(2, "receipt")}),
			), options{seed: seed}).mustEnd(t, orchestrator.CodeOK)
			slices.Reverse(given) // whatever order they are named in
			nodes := outputsOf[string](t, e, 2, "participant")
			if first != nil {
				mustEqual(t, "nodes with the same seed", first, nodes)
			}
			first = nodes
		}
		choices[fmt.Sprint(first)] = true
	}
	if len(choices) == 1 {
		t.Errorf("five seeds make one choice: %v", choices)
	}
}

// What a check of the script, or the step before it sends anything, refuses (D12, D38).
func TestLoadThatCannotWork(t *testing.T) {
	n, _ := newLoadNetwork(t, 2, nil)
	for name, test := range map[string]struct {
		action string
		params params
		want   string
	}{
		"no rate":                       {"payments", params{"tps": 0}, "tps must be above 0"},
		"no duration":                   {"payments", params{"durationMin": 0}, "durationMin must be above 0"},
		"negative duration":             {"payments", params{"durationMin": -5}, "durationMin must be above 0"},
		"a duration beyond all time":    {"payments", params{"durationMin": 2_000_000_000}, "durationMin"},
		"fees the wrong way round":      {"payments", params{"minFee": 5, "maxFee": 4}, "minFee 5 is above maxFee 4"},
		"a memo that does not fit":      {"payments", params{"experimentName": "a-name-of-twenty-nine-letters"}, "shorten the name"},
		"a rate that kills a scheduler": {"payments", params{"tps": 9000, "nodes": []string{"127.0.0.2:1"}, "minTps": 9000}, "1000 transactions in a second"},
		"no node":                       {"payments", params{"nodes": []string{}}, "nodes is empty"},
		"no receiver":                   {"payments", params{"receiver": nil}, "receiver"},
		"a receiver that is no key":     {"payments", params{"receiver": "B62qqqq"}, "not a public key"},
		"a misspelled parameter (D73)":  {"payments", params{"senders": []string{}}, `no parameter "senders"`},
		"a negative fee":                {"payments", params{"minFee": -1}, "cannot be negative"},
		"neither zkapps nor gap":        {"zkapp-txs", params{"gap": 0}, "one of zkapps and gap"},
		"negative gap":                  {"zkapp-txs", params{"gap": -3}, "gap cannot be negative"},
		"balance changes swapped":       {"zkapp-txs", params{"minBalanceChange": 5, "maxBalanceChange": 4}, "minBalanceChange is above"},
		"deployment outlasts the load":  {"zkapp-txs", params{"zkapps": 1000, "durationMin": 5}, "outlasts the load"},
	} {
		t.Run(name, func(t *testing.T) {
			p := somePayments()
			if test.action == "zkapp-txs" {
				p = someZkapps()
			}
			mustSay(t, n.findings(script(discoverAndLoadKeys(), step(test.action, p.with(test.params)))), "test:3:", test.want)
		})
	}

	// The same where the check cannot see it, for it comes out of another run's outputs.
	writeFile(t, "other.out",
		`{"time":"2024-05-01T10:00:00Z","step":0,"name":"number","value":0}`,
		`{"time":"2024-05-01T10:00:00Z","step":0,"name":"huge","value":2000000000}`,
		`{"time":"2024-05-01T10:00:00Z","step":0,"name":"name","value":"a-name-of-thirty-and-more-letters"}`,
		`{"time":"2024-05-01T10:00:00Z","step":0,"name":"words","value":"many"}`,
		`{"time":"2024-05-01T10:00:00Z","step":0,"name":"empty","value":[]}`,
	)
	other := func(name string) params { return output(0, name).with(params{"file": "other.out"}) }
	for name, test := range map[string]struct {
		action string
		params params
		want   string
	}{
		"no rate":                    {"payments", params{"tps": other("number")}, "tps must be above 0"},
		"no duration":                {"payments", params{"durationMin": other("number")}, "durationMin must be above 0"},
		"a duration beyond all time": {"payments", params{"durationMin": other("huge")}, "durationMin"},
		"fees the wrong way round":   {"payments", params{"maxFee": other("number")}, "minFee is above maxFee"},
		"a memo that does not fit":   {"payments", params{"experimentName": other("name")}, "shorten experimentName"},
		"a word for a number":        {"payments", params{"amount": other("words")}, "amount"},
		"a receiver that is no key":  {"payments", params{"receiver": other("words")}, "receiver"},
		"no node":                    {"payments", params{"nodes": other("empty")}, "no node to carry the load"},
		"no fee payer":               {"payments", params{"feePayers": other("empty")}, "no fee payer"},
		"neither zkapps nor gap":     {"zkapp-txs", params{"gap": other("number")}, "one of zkapps and gap"},
	} {
		t.Run(name+" at run time", func(t *testing.T) {
			p := somePayments()
			if test.action == "zkapp-txs" {
				p = someZkapps()
			}
			e := n.run(script(discoverAndLoadKeys(), step(test.action, p.with(test.params)))).mustEnd(t, orchestrator.CodeStep)
			mustSay(t, e.Err.Error(), "test:3:", test.want)
		})
	}
	t.Run("a fee payer given twice at run time", func(t *testing.T) {
		e := n.run(script(
			discoverAndLoadKeys(),
			step("join", params{"group1": output(1, "key"), "group2": output(1, "key")}),
			step("payments", somePayments().with(params{"feePayers": output(2, "group")})),
		)).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "test:4:", "same fee payer is given twice")
	})
	t.Run("a rate that kills a scheduler at run time", func(t *testing.T) {
		e := n.run(script(discoverAndLoadKeys(), step("payments", somePayments().with(params{"tps": 5000})))).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "test:3:", "1000 transactions in a second")
	})
	if schedules := n.History().Schedules(); len(schedules) > 0 {
		t.Errorf("scheduled all the same: %v", schedules)
	}
}

// wire is a transport that keeps the inputs of requests for load, which the journal does not hold in full.
type wire struct {
	http.RoundTripper
	asked func(query string) // is told of each request; may be nil

	mu     sync.Mutex
	inputs []map[string]any
}

func (w *wire) RoundTrip(request *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	request.Body = io.NopCloser(bytes.NewReader(text))
	var body struct {
		Query     string
		Variables struct{ Input map[string]any }
	}
	if err := json.Unmarshal(text, &body); err != nil {
		return nil, err
	}
	if w.asked != nil {
		w.asked(body.Query)
	}
	if body.Variables.Input != nil {
		w.mu.Lock()
		delete(body.Variables.Input, "feePayers")
		w.inputs = append(w.inputs, body.Variables.Input)
		w.mu.Unlock()
	}
	return w.RoundTripper.RoundTrip(request)
}

// tapped returns options of a run whose requests go over the wire.
func (n *network) tapped(w *wire) options {
	key, err := itn.ParseKey(n.config.Key)
	if err != nil {
		n.t.Fatal(err)
	}
	transport := itn.NewTransport()
	n.t.Cleanup(transport.CloseIdleConnections)
	w.RoundTripper = transport
	return options{seed: 1, change: func(world *orchestrator.World) {
		world.Dial = func(address string) *itn.Client {
			return itn.New(address, key, itn.Options{Transport: w, RequestTimeout: n.config.RequestTimeout})
		}
	}}
}

// The fields that follow from the rate of one node (generator, section 4.1).
func TestZkappRequest(t *testing.T) {
	n, _ := newLoadNetwork(t, 2, func(o *simnet.Options) { o.Nodes, o.Producers = 3, 1 })
	base := someZkapps().with(params{"minTps": 10, "newAccountRatio": 0})
	sent := func(changes params) map[string]any { // what is sent in any case, and the changes
		return params{
			"tps": 0.25, "durationMin": 20., "memoPrefix": "zk-0", "noPrecondition": false, "maxCost": false, "maxAccountUpdates": 2.,
			"minFee": "1000000000", "maxFee": "2000000000", "deploymentFee": "1000000000", "minBalanceChange": "0", "maxBalanceChange": "1000",
			"numNewAccounts": 0.,
		}.with(changes)
	}
	derived := func(deploy, queue float64, minNew, maxNew, initial string) params {
		return params{
			"numZkappsToDeploy": deploy, "accountQueueSize": queue, "minNewZkappBalance": minNew, "maxNewZkappBalance": maxNew, "initBalance": initial,
		}
	}
	for name, test := range map[string]struct{ params, want params }{
		"derived from the gap": {
			// ⌈0.25·180⌉ = 45 in a gap; 4 and 3 times that; 1200/180·2·1000 = 13333.3, cut off; ·3 + 10⁹; ·3; ·2.
			params{"tps": 0.25, "durationMin": 20, "gap": 180},
			derived(180, 135, "1000039999", "3000119997", "6000239994"),
		},
		"fixed": {
			// Without a gap an account is used (1200·0.25)·4/8 = 150 times; 150·2·1000 = 300000.
			params{"tps": 0.25, "durationMin": 20, "gap": 0, "zkapps": 8, "queueSize": 3, "noPrecondition": true, "maxCost": true},
			derived(8, 3, "1000900000", "3002700000", "6005400000").with(params{"noPrecondition": true, "maxCost": true}),
		},
		"a fixed number beside a gap": {
			params{"tps": 0.25, "durationMin": 20, "gap": 180, "zkapps": 8},
			derived(8, 0, "1000039999", "3000119997", "6000239994"),
		},
		"new accounts (D78)": {
			// 0.25·1200 − 180 = 120 commands are no deployments, a quarter of them makes an account; 3·30/180 is below 1.
			params{"tps": 0.25, "durationMin": 20, "gap": 180, "newAccountRatio": 0.25},
			derived(180, 135, "1000039999", "3000119997", "6000239994").with(params{"numNewAccounts": 30.}),
		},
		"many new accounts": {
			// 5·(60·10) − 8 = 2992; 3·2992/8 = 1122, and 1 more; 600/60·2·50 = 1000.
			params{"tps": 5, "durationMin": 10, "zkapps": 8, "gap": 60, "newAccountRatio": 1, "minBalanceChange": 7, "maxBalanceChange": 50},
			derived(8, 0, "1000003000", "3000009000", "6738020214000").with(params{
				"tps": 5., "durationMin": 10., "numNewAccounts": 2992., "minBalanceChange": "7", "maxBalanceChange": "50",
			}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := &wire{}
			e := n.run(script(discoverAndLoadKeys(), step("zkapp-txs", base.with(test.params)), step("stop", params{"receipts": output(2, "receipt")})), n.tapped(w))
			e.mustEnd(t, orchestrator.CodeOK)
			mustEqual(t, "inputs", []map[string]any{sent(test.want)}, w.inputs)
		})
	}
}

func TestZkappsAreThoseAskedFor(t *testing.T) {
	// Short slots, so that what is deployed is soon in a block.
	n, public := newLoadNetwork(t, 4, func(o *simnet.Options) { o.Nodes, o.Producers, o.Slot = 3, 1, 15*time.Second })
	e := n.run(script(
		discoverAndLoadKeys(),
		step("zkapp-txs", someZkapps().with(params{"tps": 0.5, "minTps": 0.25, "durationMin": 5, "gap": 20, "newAccountRatio": 0.1})),
		step("wait", params{"min": 6}),
	)).mustEnd(t, orchestrator.CodeOK)
	history := n.History()
	schedules := history.Schedules()
	mustHaveRate(t, schedules, 0.5)
	mustEqual(t, "keys", sorted(public), keysOf(schedules))
	mustGiveOut(t, e, 2, schedules)
	if overlaps := history.Overlaps(); len(overlaps) > 0 {
		t.Errorf("keys in two schedules: %v", overlaps)
	}
	// Of each node: ⌈0.25·20⌉ = 5 in a gap, 20 deployments, (0.25·300 − 20)/10 = 5.5 new accounts; 300/20·2·1000·3 + 10⁹ is the least
	// balance of those, three times that the greatest, and twice that (2·(⌊3·5/20⌋ + 1)) that of a deployed one.
	const initial, least, most = 6_000_540_000, 1_000_090_000, 3_000_270_000
	for _, s := range schedules {
		deployments, others := 0, 0
		for _, sent := range toldOf[simnet.CommandSent](n) {
			switch c := sent.fact; {
			case c.Handle != s.Handle:
			case c.Type == "zkapp:2:0":
				deployments++
				if c.Fee != 1_000_000_000 {
					t.Errorf("a deployment pays %d", c.Fee)
				}
			default:
				others++
				if c.Type != "zkapp:6:2" || c.Fee < 1_000_000_000 || c.Fee > 2_000_000_000 {
					t.Errorf("command %+v", c)
				}
			}
		}
		if deployments != 20 || others == 0 {
			t.Errorf("%d deployments and %d other commands of %s", deployments, others, s.Handle)
		}
		if s.Ended == nil || s.Ended.Reason != simnet.EndExpired {
			t.Errorf("%s ended with %v", s.Handle, s.Ended)
		}
	}
	deployed, created := 0, 0
	for _, account := range toldOf[simnet.AccountCreated](n) {
		switch balance := int(account.fact.Balance); {
		case balance == initial:
			deployed++
		case balance >= least-1000 && balance <= most+1000: // it may have been used in the block that made it
			created++
		default:
			t.Errorf("an account with %d", balance)
		}
	}
	if deployed != 40 || created == 0 || created > 10 {
		t.Errorf("%d accounts deployed, want 40; %d created, want at most 10", deployed, created)
	}
}
