package check

import (
	"fmt"
	"testing"
)

// BenchmarkVerify is the agent's cost of a check, which grows with the sides of the matrices and not with their product.
func BenchmarkVerify(b *testing.B) {
	for _, gibibytes := range []uint64{1, 24, 134} {
		b.Run(fmt.Sprintf("%dGiB", gibibytes), func(b *testing.B) {
			b.ReportAllocs()
			shape, err := ShapeFor(gibibytes<<30, DefaultInner)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := newVerifier(b.Context(), Seed{1}, Seed{2}, shape); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
