//go:build !(nvml && linux && cgo)

package nvml_test

import (
	"errors"
	"testing"

	"provingground/snarkpool/gpu"
	"provingground/snarkpool/gpu/nvml"
)

func TestABuildWithoutNVMLSaysSo(t *testing.T) {
	reader := nvml.Open()
	_, listed := reader.List(t.Context())
	_, read := reader.Read(t.Context(), "GPU-1")
	watched := reader.Events(t.Context(), func(gpu.Event) {})
	for what, err := range map[string]error{"List": listed, "Read": read, "Events": watched} {
		var unavailable *gpu.UnavailableError
		if !errors.As(err, &unavailable) || unavailable.Reason != gpu.NoSupport {
			t.Errorf("%s = %v, want an UnavailableError with %q", what, err, gpu.NoSupport)
		}
	}
	if err := reader.Close(t.Context()); err != nil {
		t.Errorf("Close = %v", err)
	}
}
