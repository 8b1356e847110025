package mina

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// testFiles reads key files from memory.
type testFiles map[string][]byte

func (f testFiles) read(path string) ([]byte, error) {
	content, ok := f[path]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return content, nil
}

// sealSome makes n small key files under a password, with their paths and keys in order.
func sealSome(tb testing.TB, n int, password string, cost KeyFileCost) (testFiles, []string, []PrivateKey) {
	tb.Helper()
	random := testRandom(byte(n))
	files, paths, keys := testFiles{}, make([]string, n), make([]PrivateKey, n)
	for i := range n {
		key, err := GeneratePrivateKey(random)
		if err != nil {
			tb.Fatal(err)
		}
		content, err := SealKeyFile(key, []byte(password), cost, random)
		if err != nil {
			tb.Fatal(err)
		}
		paths[i], keys[i] = fmt.Sprintf("keys/node-%d", i), key
		files[paths[i]] = content
	}
	return files, paths, keys
}

func TestOpenKeyFilesKeepsTheOrder(t *testing.T) {
	const password = "naughty blue worm"
	files, paths, keys := sealSome(t, 20, password, SmallestKeyFileCost())
	for _, parallel := range []int{-1, 0, 1, 4, 100} {
		for _, memory := range []uint64{0, 8 << 10, 20 << 10, 1<<64 - 1} {
			got, err := OpenKeyFiles(t.Context(), paths, []byte(password), memory, parallel, files.read)
			if err != nil || !slices.Equal(got, keys) {
				t.Errorf("%d at once in %d bytes: %v, or the keys differ", parallel, memory, err)
			}
		}
	}
	if got, err := OpenKeyFiles(t.Context(), nil, nil, 1, 1, files.read); err != nil || len(got) != 0 {
		t.Errorf("no paths give %v, %v", got, err)
	}
}

func TestOpenKeyFilesNamesEveryFailure(t *testing.T) {
	files, paths, _ := sealSome(t, 6, "", SmallestKeyFileCost())
	files[paths[1]] = []byte("{}")
	files[paths[3]] = edited(t, "another password", func(map[string]any) {})
	delete(files, paths[4])
	keys, err := OpenKeyFiles(t.Context(), paths, nil, 1<<20, 3, files.read)
	if err == nil || keys != nil {
		t.Fatalf("%d keys, error %v", len(keys), err)
	}
	want := []string{
		"opening keys/node-1: not a key file: it lacks the fields [box_primitive ciphertext nonce pw_primitive pwdiff pwsalt]",
		"opening keys/node-3: key file: cannot decrypt: wrong password or damaged file",
		"opening keys/node-4: open keys/node-4: file does not exist",
	}
	if diff := cmp.Diff(strings.Join(want, "\n"), err.Error()); diff != "" {
		t.Errorf("the error differs (-want +got):\n%s", diff)
	}
	if !errors.Is(err, ErrCannotDecrypt) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error does not hold its causes: %v", err)
	}
}

// opener stands in for the derivation: it says which files are being opened, and finishes one when told.
type opener struct {
	files  testFiles
	finish map[string]chan error

	mu   sync.Mutex
	open []string
}

// newOpener makes key files that need the given numbers of bytes.
func newOpener(t *testing.T, memory ...uint64) (o *opener, paths []string) {
	t.Helper()
	o = &opener{files: testFiles{}, finish: map[string]chan error{}}
	for i, bytes := range memory {
		path := fmt.Sprintf("file-%d", i)
		o.files[path] = append(edited(t, "", set("pwdiff", []uint64{bytes, 1})), strings.Repeat(" ", i)...)
		o.finish[path] = make(chan error)
		paths = append(paths, path)
	}
	return o, paths
}

func (o *opener) openContent(content []byte) (PrivateKey, error) {
	var path string
	for candidate := range o.files {
		if string(o.files[candidate]) == string(content) {
			path = candidate
		}
	}
	o.mu.Lock()
	o.open = append(o.open, path)
	o.mu.Unlock()
	err := <-o.finish[path]
	o.mu.Lock()
	o.open = slices.DeleteFunc(o.open, func(p string) bool { return p == path })
	o.mu.Unlock()
	return PrivateKey{}, err
}

// expect waits until nothing moves any more, and compares the files that are being opened.
func (o *opener) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	got := slices.Sorted(slices.Values(o.open))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("being opened (-want +got):\n%s", diff)
	}
}

func TestOpenKeyFilesKeepsWithinItsMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const kib = 1 << 10
		o, paths := newOpener(t, 20*kib, 20*kib, 20*kib, 90*kib, 10*kib, 30*kib, 1)
		done := make(chan error)
		go func() {
			_, err := openKeyFiles(t.Context(), paths, 50*kib, 3, o.files.read, o.openContent)
			done <- err
		}()
		o.expect(t, "file-0", "file-1") // the third would make it 60 KiB
		o.finish["file-1"] <- nil
		o.expect(t, "file-0", "file-2") // the fourth needs more than there is: it waits until it can be alone
		o.finish["file-0"] <- nil
		o.expect(t, "file-2")
		o.finish["file-2"] <- nil
		o.expect(t, "file-3")
		o.finish["file-3"] <- nil
		o.expect(t, "file-4", "file-5", "file-6") // 10, 30 and, for the least of all derivations, 8 KiB
		for _, path := range []string{"file-6", "file-5", "file-4"} {
			o.finish[path] <- nil
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestOpenKeyFilesKeepsWithinItsNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, paths := newOpener(t, 1, 1, 1)
		done := make(chan error)
		go func() {
			_, err := openKeyFiles(t.Context(), paths, 1<<30, 2, o.files.read, o.openContent)
			done <- err
		}()
		o.expect(t, "file-0", "file-1")
		o.finish["file-0"] <- nil
		o.expect(t, "file-1", "file-2")
		o.finish["file-1"] <- nil
		o.finish["file-2"] <- nil
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestOpenKeyFilesStops(t *testing.T) {
	for _, c := range []struct {
		name     string
		memory   uint64
		parallel int
	}{
		{"while it waits for a place", 1 << 30, 2},
		{"while it waits for memory", 16 << 10, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, paths := newOpener(t, 1, 1, 1, 1)
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				type result struct {
					keys []PrivateKey
					err  error
				}
				done := make(chan result, 1)
				go func() {
					keys, err := openKeyFiles(ctx, paths, c.memory, c.parallel, o.files.read, o.openContent)
					done <- result{keys, err}
				}()
				o.expect(t, "file-0", "file-1")
				stop := errors.New("the operator said stop")
				cancel(stop)
				o.expect(t, "file-0", "file-1") // what was begun is not abandoned
				if len(done) > 0 {
					t.Fatal("returned before what was begun has ended")
				}
				damaged := errors.New("damaged")
				o.finish["file-1"] <- damaged
				o.finish["file-0"] <- nil
				got := <-done
				if got.keys != nil || !errors.Is(got.err, stop) || !errors.Is(got.err, damaged) {
					t.Errorf("%d keys, error %v", len(got.keys), got.err)
				}
				want := "opening file-1: damaged\nopening key files: stopped before file-2, number 3 of 4: the operator said stop"
				if got.err != nil && got.err.Error() != want {
					t.Errorf("the error is %q, want %q", got.err, want)
				}
			})
		})
	}
}

func TestOpenKeyFilesDoesNotBeginAfterTheEnd(t *testing.T) {
	files, paths, _ := sealSome(t, 3, "", SmallestKeyFileCost())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	keys, err := OpenKeyFiles(ctx, paths, nil, 1<<20, 1, files.read)
	if keys != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%d keys, error %v", len(keys), err)
	}
}

func BenchmarkOpenKeyFile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := OpenKeyFile([]byte(knownKeyFile), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenKeyFiles opens twenty files of the usual cost.
func BenchmarkOpenKeyFiles(b *testing.B) {
	files, paths, _ := sealSome(b, 20, "", DefaultKeyFileCost())
	for _, parallel := range []int{1, 2} {
		b.Run(fmt.Sprintf("parallel=%d", parallel), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := OpenKeyFiles(b.Context(), paths, nil, 1<<30, parallel, files.read); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
