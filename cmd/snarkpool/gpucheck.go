//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"provingground/snarkpool/gpu"
	"provingground/snarkpool/gpu/check"
)

// checkedShare is how much of a GPU's free memory the capability check fills, in percent.
const checkedShare = 95

// gpuCheck returns what has a GPU prove that it computes correctly; nil where no checker is named.
func (c call) gpuCheck(reader check.Reader) func(context.Context, gpu.Device) error {
	command := strings.Fields(c.gpuChecker)
	if len(command) == 0 {
		return nil
	}
	return func(ctx context.Context, device gpu.Device) error {
		reading, err := reader.Read(ctx, device.UUID)
		if err != nil {
			return fmt.Errorf("checking GPU %s: %w", device.UUID, err)
		}
		if reading.MemoryFreeBytes == nil {
			return fmt.Errorf("checking GPU %s: the driver does not say how much of its memory is free", device.UUID)
		}
		shape, err := check.ShapeFor(*reading.MemoryFreeBytes/100*checkedShare, check.DefaultInner)
		if err != nil {
			return fmt.Errorf("checking GPU %s: %w", device.UUID, err)
		}
		verdict, err := check.Run(ctx, check.Options{
			Command: command, Env: append(os.Environ(), "CUDA_VISIBLE_DEVICES="+device.UUID), Shape: shape, UsedMemory: check.MemoryOnGPU(reader, device.UUID),
		})
		if err != nil {
			return fmt.Errorf("checking GPU %s: %w", device.UUID, err)
		}
		if !verdict.Passed {
			return fmt.Errorf("GPU %s did not pass the capability check: %s: %s", device.UUID, verdict.Failure, verdict.Reason)
		}
		return nil
	}
}
