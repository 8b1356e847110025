//go:build linux

package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"provingground/snarkpool/gpu"
)

// Reader is what reads a GPU's figures, such as a reader of package gpu/nvml.
type Reader interface {
	Read(ctx context.Context, uuid string) (gpu.Reading, error)
}

// MemoryOnGPU tells how much of a GPU's memory a process uses. It fails where the driver does not list the process, which it does not within a
// container that numbers its processes differently, or for a checker that computes in a process of its own.
func MemoryOnGPU(reader Reader, uuid string) func(ctx context.Context, pid int) (uint64, error) {
	return func(ctx context.Context, pid int) (uint64, error) {
		reading, err := reader.Read(ctx, uuid)
		if err != nil {
			return 0, err
		}
		for _, process := range reading.Processes {
			if process.PID == pid && process.MemoryBytes != nil {
				return *process.MemoryBytes, nil
			}
		}
		return 0, fmt.Errorf("the driver does not say what process %d uses of GPU %s", pid, uuid)
	}
}

// MemoryOfHost tells how much of the host's memory a process uses: for checkers that compute on the CPU.
func MemoryOfHost(_ context.Context, pid int) (uint64, error) {
	path := fmt.Sprintf("/proc/%d/statm", pid)
	content, err := os.ReadFile(path) //nolint:gosec // the path is a number's, of a process that we started
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(content) // pages: size, resident, …
	if len(fields) < 2 {
		return 0, errors.New(path + " has no second field")
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return pages * uint64(os.Getpagesize()), nil
}
