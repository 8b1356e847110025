//go:build linux

package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"provingground/snarkpool/gpu"
)

// driver is one that knows one figure of each GPU; nil is not known.
type driver struct{ free *uint64 }

func (d driver) Read(_ context.Context, uuid string) (gpu.Reading, error) {
	return gpu.Reading{UUID: uuid, MemoryFreeBytes: d.free}, nil
}

func TestGPUCheck(t *testing.T) {
	checker, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(asChecker, "1")
	for _, test := range []struct {
		name, command string
		free          *uint64
		wrong         string // "" passes
	}{
		{"right", checker, new(uint64(1 << 20)), ""},
		{"crashing", "false", new(uint64(1 << 20)), "did not pass the capability check: crashed"},
		{"missing", "no-such-checker", new(uint64(1 << 20)), "no-such-checker"},
		{"free memory not known", checker, nil, "the driver does not say"},
		{"no room", checker, new(uint64(100)), "checking GPU GPU-1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := call{options: &options{gpuChecker: test.command}}
			err := c.gpuCheck(driver{test.free})(t.Context(), gpu.Device{UUID: "GPU-1"})
			if (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("%v", err)
			}
		})
	}
	if (call{options: &options{}}).gpuCheck(driver{}) != nil {
		t.Error("without a checker there is a check")
	}
}
