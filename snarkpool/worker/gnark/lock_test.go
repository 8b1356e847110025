//go:build linux

package gnark_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// hold takes the lock until the test ends, as another process would.
func hold(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
}
