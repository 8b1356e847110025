//go:build !(nvml && linux && cgo)

package nvml

import "provingground/snarkpool/gpu"

// Reader answers every question with "no NVML support built in". It is safe for concurrent use.
type Reader struct {
	gpu.None
}

// Open returns the reader that this build has.
func Open() *Reader {
	return &Reader{gpu.None{Reason: gpu.NoSupport}}
}
