package dsl_test

import (
	"bytes"
	"fmt"
	"testing"

	"provingground/dsl"
)

// trivialSteps returns a script of n steps, each of which refers to the one before it.
func trivialSteps(n int) []byte {
	var text bytes.Buffer
	text.WriteString(`{"action":"discovery","params":{"limit":10}}` + "\n")
	for range n - 1 {
		text.WriteString(`{"action":"except","params":{"group":{"type":"output","step":-1,"name":"group","onEmpty":[]}}}` + "\n")
	}
	return bytes.Replace(text.Bytes(), []byte(`"name":"group"`), []byte(`"name":"participant"`), 1)
}

// loadScript returns a script of the given size as the generator writes them: rounds of load with comments, and long lists of keys.
func loadScript(size int) []byte {
	var text bytes.Buffer
	text.WriteString(`{"action":"discovery","params":{"limit":10,"onlyBPs":true}}` + "\n")
	for round := 0; text.Len() < size; round++ {
		fmt.Fprintf(&text, "\"Round %d: twelve payments a minute – for half an hour\"\n", round)
		fmt.Fprintf(&text, `{"action":"payments","params":{"experimentName":"bench-%d","tps":0.2,"minTps":0.01,"durationMin":30,`+
			`"minFee":100000000,"maxFee":2e8,"amount":1000000000,"receiver":"B62qjsV6WQwTeEWrNrRRBP6VaaLvQhwWTnFi4WP4LQjGvpfZEumXzxb",`+
			`"feePayers":["key \u0031","key 2","key 3"],"nodes":{"type":"output","step":0,"name":"participant"}}}`+"\n", round)
		text.WriteString(`{"action":"wait","params":{"min":30}}` + "\n")
	}
	return text.Bytes()
}

func BenchmarkReadAndCheck(b *testing.B) {
	for _, bench := range []struct {
		name string
		text []byte
	}{
		{"1MB", loadScript(1 << 20)},
		{"100000steps", trivialSteps(100_000)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(bench.text)))
			b.ReportAllocs()
			for b.Loop() {
				script, err := dsl.ReadJSON("bench", bytes.NewReader(bench.text))
				if err != nil {
					b.Fatal(err)
				}
				if found := dsl.Check(script, signatures()); len(found) > 0 {
					b.Fatal(found[0])
				}
			}
		})
	}
}

func BenchmarkReadJSON(b *testing.B) {
	text := trivialSteps(100_000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := dsl.ReadJSON("bench", bytes.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}
