package orchestrator_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"provingground/internal/mina"
	"provingground/orchestrator"
	"provingground/orchestrator/simnet"
)

// transfer is a payment of a rotation.
type transfer struct {
	Node, From, To string
	Amount, Fee    uint64
	Memo           string
}

// transfers returns the payments that the journal holds.
func (n *network) transfers() []transfer {
	var found []transfer
	for _, sent := range toldOf[simnet.CommandSent](n) {
		c := sent.fact
		found = append(found, transfer{sent.node, c.Sender, c.Receiver, c.Amount, c.Fee, c.Memo})
	}
	slices.SortFunc(found, func(a, b transfer) int { return strings.Compare(a.From, b.From) })
	return found
}

// newRotationNetwork starts a network whose wallets hold a key with each of the balances.
func newRotationNetwork(t *testing.T, balances ...mina.Nanomina) (n *network, keys []string) {
	t.Helper()
	n = newNetwork(t, func(o *simnet.Options) {
		o.Nodes, o.Producers, o.WalletPassword = 3, 1, "correct horse"
		for i, key := range newKeys(t, len(balances)) {
			o.Accounts[key.PublicKey()] = balances[i]
			keys = append(keys, key.PublicKey().String())
		}
	})
	return n, keys
}

func TestRotateBalance(t *testing.T) {
	const fee = 2_000_000_000 // by default

	t.Run("exact amounts", func(t *testing.T) {
		for _, test := range []struct {
			balance mina.Nanomina
			ratio   string
			fee     any // nil: left out
			amount  uint64
		}{
			{10_000_000_001, "0.3", nil, 2_400_000_000},                              // 2400000000.3, rounded down
			{9_007_199_256_740_994, "1", nil, 9_007_197_256_740_994},                 // above 2⁵³ (D49)
			{8_000_000_000_000_000_003, "0.5", 1_000_001, 3_999_999_999_999_500_001}, // near 2⁶³
			{2_050_000_000, "0.3", nil, 15_000_000},                                  // less than nine digits (D50)
			{2_000_000_010, "0.1", nil, 1},                                           // one nanomina
			{2_150_000_000, "1", nil, 150_000_000},                                   // exactly nine digits (D50)
			{3_000_000_000, "1e-3", 1_000_000_000, 2_000_000},                        // the least ratio
			{5_000_000_000, "0.999", 1_000_000, 4_994_001_000},                       // 4999000000·0.999
		} {
			t.Run(test.balance.String(), func(t *testing.T) {
				n, keys := newRotationNetwork(t, test.balance, 1_000_000_000)
				p := params{
					"pubkeys": keys, "servers": []string{"", ""}, "mapping": []int{1, 0}, "ratio": json.Number(test.ratio), "passwordEnv": "PASS",
				}
				paid := uint64(fee)
				if test.fee != nil {
					p["fee"] = test.fee
					paid = uint64(test.fee.(int))
				}
				e := n.run(step("rotate-balance", p)).mustEnd(t, orchestrator.CodeOK)
				mustEqual(t, "transfers", []transfer{{n.Nodes()[0], keys[0], keys[1], test.amount, paid, "rotation"}}, less(n.transfers(), keys[1]))
				if strings.Contains(e.out+e.log, "correct horse") {
					t.Error("the password is in the output")
				}
			})
		}
	})

	t.Run("each key pays through its own server (D51)", func(t *testing.T) {
		n, keys := newRotationNetwork(t, 12_000_000_000, 22_000_000_000, 32_000_000_000, 42_000_000_000, 52_000_000_000)
		servers := []string{"", "3085", n.Nodes()[1], "http://" + n.Nodes()[2] + "/graphql", n.Nodes()[2]}
		n.run(step("rotate-balance", params{
			"pubkeys": keys, "servers": servers, "mapping": []int{1, 2, 0, 0, 4}, "ratio": 0.5, "passwordEnv": "PASS",
		})).mustEnd(t, orchestrator.CodeOK)
		first, second, third := n.Nodes()[0], n.Nodes()[1], n.Nodes()[2]
		want := []transfer{
			{first, keys[0], keys[1], 5_000_000_000, fee, "rotation"},
			{first, keys[1], keys[2], 10_000_000_000, fee, "rotation"},
			{second, keys[2], keys[0], 15_000_000_000, fee, "rotation"},
			{third, keys[3], keys[0], 20_000_000_000, fee, "rotation"},
			{third, keys[4], keys[4], 25_000_000_000, fee, "rotation"},
		}
		slices.SortFunc(want, func(a, b transfer) int { return strings.Compare(a.From, b.From) })
		mustEqual(t, "transfers", want, n.transfers())
	})

	t.Run("one failing transfer is a warning", func(t *testing.T) {
		n, keys := newRotationNetwork(t, 12_000_000_000, 1_999_999_999, 12_000_000_000) // the second one cannot pay the fee (D49)
		e := n.run(step("rotate-balance", params{
			"pubkeys": keys, "servers": []string{"", "", ""}, "mapping": []int{1, 0, 1}, "ratio": 1, "passwordEnv": "PASS",
		})).mustEnd(t, orchestrator.CodeOK)
		mustEqual(t, "transfers", 2, len(n.transfers()))
		mustEqual(t, "transfers of the poor key", 0, len(n.transfers())-len(less(n.transfers(), keys[1])))
		mustSay(t, e.log, "not paid", keys[1], "1.999999999 MINA does not cover the fee of 2 MINA")
	})

	t.Run("all transfers failing", func(t *testing.T) {
		n, keys := newRotationNetwork(t, 12_000_000_000, 13_000_000_000)
		e := n.run(step("rotate-balance", params{
			"pubkeys": keys, "servers": []string{"", ""}, "mapping": []int{1, 0}, "ratio": 0.5, "passwordEnv": "PW",
		})).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "on none of 2 nodes", "wrong password")
		mustSay(t, e.log, "unlock "+keys[0], "unlock "+keys[1]) // D51: with its cause
		mustEqual(t, "transfers", 0, len(n.transfers()))
	})

	t.Run("a balance that nobody tells", func(t *testing.T) {
		n, keys := newRotationNetwork(t, 12_000_000_000)
		e := n.run(step("rotate-balance", params{
			"pubkeys": []string{keys[0], receiver}, "servers": []string{"", ""}, "mapping": []int{1, 0}, "ratio": 0.5, "passwordEnv": "PASS",
		})).mustEnd(t, orchestrator.CodeStep)
		mustSay(t, e.Err.Error(), "balance of "+receiver, "no such account")
		mustEqual(t, "transfers", 0, len(n.transfers()))
	})

	n, keys := newRotationNetwork(t, 12_000_000_000, 13_000_000_000)
	base := params{"pubkeys": keys, "servers": []string{"", ""}, "mapping": []int{1, 0}, "ratio": 0.5}
	writeFile(t, "other.out", `{"time":"2024-05-01T10:00:00Z","step":0,"name":"mapping","value":[1,2]}`,
		`{"time":"2024-05-01T10:00:00Z","step":0,"name":"short","value":[1]}`, `{"time":"2024-05-01T10:00:00Z","step":0,"name":"ratio","value":0.0001}`)
	other := func(name string) params { return output(0, name).with(params{"file": "other.out"}) }
	for name, test := range map[string]struct {
		params params
		want   string
	}{
		"beyond the keys":            {params{"mapping": []int{1, 2}}, "mapping points to key 2 of 2"},
		"negative":                   {params{"mapping": []int{1, -1}}, "mapping points to key -1 of 2"},
		"too short":                  {params{"mapping": []int{1}}, "mapping has 1 elements for 2 keys"},
		"too few servers":            {params{"servers": []string{""}}, "servers has 1 elements for 2 keys"},
		"too small a ratio":          {params{"ratio": 0.0009}, "ratio must be from 0.001 to 1"},
		"too large a ratio":          {params{"ratio": 1.1}, "ratio must be from 0.001 to 1"},
		"a word for a key":           {params{"pubkeys": []string{"a", "b"}}, "not a public key"},
		"beyond the keys, at run":    {params{"mapping": other("mapping")}, "mapping points to key 2 of 2"},
		"too short, at run":          {params{"mapping": other("short")}, "1 places in the mapping"},
		"too small a ratio, at run":  {params{"ratio": other("ratio")}, "ratio must be from 0.001 to 1"},
		"an absent variable, at run": {params{"passwordEnv": "ABSENT"}, `"ABSENT"`},
	} {
		t.Run(fmt.Sprint("refused: ", name), func(t *testing.T) {
			text := step("rotate-balance", base.with(test.params))
			if !strings.HasSuffix(name, "at run") {
				mustSay(t, n.findings(text), test.want)
				return
			}
			mustSay(t, n.run(text).mustEnd(t, orchestrator.CodeStep).Err.Error(), test.want)
		})
	}
	mustEqual(t, "transfers", 0, len(n.transfers()))
}

// less returns the transfers that are not from a key.
func less(all []transfer, from string) []transfer {
	return slices.DeleteFunc(all, func(t transfer) bool { return t.From == from })
}
