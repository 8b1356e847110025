package gpu_test

import (
	"errors"
	"math"
	"testing"

	"provingground/snarkpool/gpu"
)

func TestEnergyPerProof(t *testing.T) {
	at := func(energy uint64) gpu.Reading { return gpu.Reading{UUID: "GPU-1", EnergyMillijoules: &energy} }
	tests := []struct {
		name          string
		before, after gpu.Reading
		proofs, want  uint64
		err           error
	}{
		{"300 W for 60 s, 120 proofs: 18,000 J, 150 J each", at(1_000), at(18_001_000), 120, 150_000, nil},
		{"rounded down", at(0), at(10), 3, 3, nil},
		{"rounded up", at(0), at(11), 3, 4, nil},
		{"a half goes up", at(0), at(5), 2, 3, nil},
		{"nothing used", at(7), at(7), 2, 0, nil},
		{"the largest", at(0), at(math.MaxUint64), 1, math.MaxUint64, nil},
		{"more proofs than millijoules", at(0), at(1), math.MaxUint64, 0, nil},
		{"no proofs", at(0), at(5), 0, 0, gpu.ErrNoProofs},
		{"the driver was loaded anew", at(5), at(4), 1, 0, gpu.ErrEnergyCounterReset},
		{"no count before", gpu.Reading{UUID: "GPU-1"}, at(4), 1, 0, gpu.ErrNoEnergyCounter},
		{"no count after", at(4), gpu.Reading{UUID: "GPU-1"}, 1, 0, gpu.ErrNoEnergyCounter},
	}
	for _, test := range tests {
		got, err := gpu.EnergyPerProof(test.before, test.after, test.proofs)
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: %d, %v; want %d, %v", test.name, got, err, test.want, test.err)
		}
	}
	if _, err := gpu.EnergyPerProof(at(1), gpu.Reading{UUID: "GPU-2", EnergyMillijoules: new(uint64(2))}, 1); err == nil {
		t.Error("readings of two GPUs gave an energy")
	}
}
