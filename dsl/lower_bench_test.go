package dsl_test

import (
	"bytes"
	"fmt"
	"testing"

	"provingground/dsl"
)

// languageScript returns a script of that many statements and about that size: what people write, with named steps that refer to each other.
func languageScript(statements, size int) []byte {
	var text bytes.Buffer
	text.WriteString("experiment \"bench\"\nparam rate = 0.8 tps\nlet span = 30m\nkeys = load-keys(dir: \"./keys\")\nnodes = discovery(limit: 10)\n")
	for i := 0; i < statements; i += 2 {
		fmt.Fprintf(&text, "pay%d = payments(tps: rate * 0.5, duration: span, fee: 0.1..0.2 mina, amount: 1_000 nanomina, "+
			"receiver: \"B62qjsV6WQwTeEWrNrRRBP6VaaLvQhwWTnFi4WP4LQjGvpfZEumXzxb\",\n  fee-payers: keys, nodes: nodes)\n", i)
		fmt.Fprintf(&text, "wait(%dm)\n", i%50+1)
		for text.Len() < size*i/statements {
			text.WriteString("# as long as the longest of them lasts\n")
		}
	}
	return text.Bytes()
}

func BenchmarkCheckLanguage(b *testing.B) {
	b.Run("1MB", func(b *testing.B) {
		text := languageScript(10_000, 1<<20)
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			tree, found := dsl.Parse("bench", text)
			if _, more := tree.Lower(lowerOptions()); len(found)+len(more) > 0 {
				b.Fatal(found, more)
			}
		}
	})
	b.Run("1MB lowering alone", func(b *testing.B) {
		text := languageScript(10_000, 1<<20)
		tree, found := dsl.Parse("bench", text)
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			if _, more := tree.Lower(lowerOptions()); len(found)+len(more) > 0 {
				b.Fatal(found, more)
			}
		}
	})
	b.Run("100000 statements of a repeat", func(b *testing.B) {
		text := append(languageScript(2, 0), `repeat 25_000 as round {
  p = payments(tps: rate * 0.5, duration: span, fee: 0.1..0.2 mina, receiver: "B62", fee-payers: keys, nodes: nodes ?? [], experiment-name: "r-${round}")
  wait(5m)
  stop(receipts: p)
  log("round ${round}")
}
`...)
		b.ReportAllocs()
		for b.Loop() {
			tree, found := dsl.Parse("bench", text)
			if _, more := tree.Lower(lowerOptions()); len(found)+len(more) > 0 {
				b.Fatal(found, more)
			}
		}
	})
}
