package dsl_test

import (
	"fmt"
	"strings"
	"testing"
)

// largeScript is one of 10,000 statements and about a megabyte.
func largeScript() string {
	var text strings.Builder
	text.WriteString("experiment \"large\"  # comments, too\nlimit rate <= 2 tps\n")
	for i := range 2499 {
		fmt.Fprintf(&text, "let rate-%d = 0.8 tps * 0.5 + 10 / 20 - (0.1 + 0.%d)\n", i, i)
		fmt.Fprintf(&text, "pay-%d = payments(tps: rate-%d, duration: span / 2, fee-payers: pkeys, nodes: senders.group%d, fee: 0.1..0.2 mina,\n"+
			"  amount: 1 mina, receiver: receiver ?? none)  retry 5 every 2m\n", i, i, i)
		fmt.Fprintf(&text, "victims-%d = sample(group: producers, ratios: [30%%, 0.5], seed: \"${experiment}-%d\")  # of round %d\n", i, i, i)
		fmt.Fprintf(&text, "expect coverage(won-%d, from: now() + 5 slots) >= 0.9 and tx.latency.p95 < 3 slots within 15m\n", i)
	}
	return text.String()
}

func BenchmarkParse(b *testing.B) {
	text := []byte(largeScript())
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if tree := parsed(b, string(text)); len(tree.Statements) != 9998 {
			b.Fatal(len(tree.Statements))
		}
	}
}

func BenchmarkFormat(b *testing.B) {
	tree := parsed(b, largeScript())
	b.SetBytes(int64(len(tree.Source.Text)))
	b.ReportAllocs()
	for b.Loop() {
		tree.Format()
	}
}
