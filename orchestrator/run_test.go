package orchestrator_test

import (
	"testing"

	"provingground/orchestrator"
)

func TestThinnestWholePath(t *testing.T) {
	n := newNetwork(t, nil)
	e := n.run(`
"find, fund, load"
{"action":"fund-keys","params":{"amount":100000000000,"fee":1000000000,"prefix":"./keys/pay/key","num":4,"privkeys":["private-keys/key-0"]}}
{"action":"discovery","params":{}}
{"action":"load-keys","params":{"dir":"./keys/pay"}}
{"action":"payments","params":{"experimentName":"thin","tps":0.1,"minTps":0.01,"durationMin":20,"minFee":100000000,"maxFee":200000000,"amount":1000,
 "receiver":"B62qiy32p8kAKnny8ZFwoMhYpBppM1DWVCqAPBYNcXnsAHhnfAAuXgg",
 "feePayers":{"type":"output","step":-1,"name":"key"},"nodes":{"type":"output","step":-2,"name":"participant"}}}
{"action":"wait","params":{"min":1}}
{"action":"stop","params":{"receipts":{"type":"output","step":-2,"name":"receipt"}}}
`).mustEnd(t, orchestrator.CodeOK)
	if got := len(e.outputs(t, 3, "receipt")); got != 4 {
		t.Errorf("%d receipts, want one for each of 4 keys' nodes\n%s", got, e.out)
	}
	if running := n.History().Unstopped(); len(running) > 0 {
		t.Errorf("still running: %v", running)
	}
}

// TestJoinedKeysStaySecret joins private keys, which the existing tool allows: what hands on a secret is as secret as that, also when the run
// is continued from a record that does not hold it.
func TestJoinedKeysStaySecret(t *testing.T) {
	n := newNetwork(t, nil)
	e := n.run(`
{"action":"fund-keys","params":{"amount":100000000000,"fee":1000000000,"prefix":"./keys/pay/key","num":4,"privkeys":["private-keys/key-0"]}}
{"action":"load-keys","params":{"dir":"./keys/pay","limit":2}}
{"action":"join","params":{"group1":{"type":"output","step":-1,"name":"key"}}}
{"action":"join","params":{"group1":{"type":"output","step":-1,"name":"group"}}}
{"action":"discovery","params":{}}
{"action":"payments","params":{"experimentName":"joined","tps":0.1,"minTps":0.01,"durationMin":20,"minFee":100000000,"maxFee":200000000,"amount":1000,
 "receiver":"B62qiy32p8kAKnny8ZFwoMhYpBppM1DWVCqAPBYNcXnsAHhnfAAuXgg",
 "feePayers":{"type":"output","step":3,"name":"group"},"nodes":{"type":"output","step":-1,"name":"participant"}}}
{"action":"stop","params":{"receipts":{"type":"output","step":-1,"name":"receipt"}}}
`).mustEnd(t, orchestrator.CodeOK)
	for step := 1; step <= 3; step++ {
		if printed := append(e.outputs(t, step, "key"), e.outputs(t, step, "group")...); len(printed) > 0 {
			t.Errorf("step %d printed %v", step, printed)
		}
	}
	if got := len(e.outputs(t, 5, "receipt")); got != 2 {
		t.Errorf("%d receipts, want 2", got)
	}
}
