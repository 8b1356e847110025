package mina

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"golang.org/x/sync/semaphore"
)

// OpenKeyFiles gives the private keys in the files at paths, in their order, all under one password. It calls read for one path after
// the other, and opens up to parallel files at once (less than 1 counts as 1) as long as they need no more than memoryBytes together
// (see KeyFileMemory). A file that needs more than that by itself is opened alone.
//
// When files fail, the error names every one of them with its path and its cause, ErrCannotDecrypt among them, and no key is given.
// When ctx ends, no further file is begun, those begun are finished (a derivation cannot be interrupted), and the error holds the cause.
// The garbage collector may let the process hold up to about twice memoryBytes for a while.
func OpenKeyFiles(
	ctx context.Context, paths []string, password []byte, memoryBytes uint64, parallel int, read func(path string) ([]byte, error),
) ([]PrivateKey, error) {
	return openKeyFiles(ctx, paths, memoryBytes, parallel, read, func(content []byte) (PrivateKey, error) {
		return OpenKeyFile(content, password)
	})
}

// openKeyFiles is OpenKeyFiles for any way to open a content.
func openKeyFiles(
	ctx context.Context, paths []string, memoryBytes uint64, parallel int,
	read func(path string) ([]byte, error), open func(content []byte) (PrivateKey, error),
) ([]PrivateKey, error) {
	memoryBound := int64(min(max(memoryBytes, 1), math.MaxInt64))
	memory := semaphore.NewWeighted(memoryBound)
	places := semaphore.NewWeighted(int64(max(parallel, 1)))
	keys := make([]PrivateKey, len(paths))
	failures := make([]error, len(paths))
	var stopped error
	var opening sync.WaitGroup
	for i, path := range paths {
		content, err := read(path)
		var need uint64
		if err == nil {
			need, err = KeyFileMemory(content)
		}
		if err != nil {
			failures[i] = fmt.Errorf("opening %s: %w", path, err)
			continue
		}
		share := min(int64(need), memoryBound)
		if places.Acquire(ctx, 1) != nil || memory.Acquire(ctx, share) != nil {
			stopped = fmt.Errorf("opening key files: stopped before %s, number %d of %d: %w", path, i+1, len(paths), context.Cause(ctx))
			break
		}
		opening.Go(func() {
			defer places.Release(1)
			defer memory.Release(share)
			key, err := open(content)
			if err != nil {
				failures[i] = fmt.Errorf("opening %s: %w", path, err)
			}
			keys[i] = key
		})
	}
	opening.Wait()
	if err := errors.Join(append(failures, stopped)...); err != nil {
		return nil, err
	}
	return keys, nil
}
