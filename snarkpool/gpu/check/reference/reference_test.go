package reference_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"provingground/snarkpool/gpu/check"
	"provingground/snarkpool/gpu/check/reference"
)

const seed = "000102030405060708090a0b0c0d0e0f"

// The root was computed apart from this code, from the words of the package's documentation. Every checker must commit to it.
func TestTheRootOfAKnownTask(t *testing.T) {
	task := check.Task{Seed: seed, Shape: check.Shape{Rows: 5, Columns: 7, Inner: 3}}
	p, err := reference.Multiply(t.Context(), task)
	if err != nil {
		t.Fatal(err)
	}
	root := p.Tree.Root()
	if got, want := fmt.Sprintf("%x", root[:]), "17762c7b19d35281f981c7baf5bd2c81e1a49378d9ccb98858aeb1023563360c"; got != want {
		t.Errorf("root %s, want %s", got, want)
	}
}

func TestServeRefuses(t *testing.T) {
	const task = `{"type":"task","protocol":1,"seed":"` + seed + `","rows":2,"columns":2,"inner":2,"memory_bytes":24}` + "\n"
	for name, test := range map[string]struct{ lines, want string }{
		"nothing":          {"", "reading the task: EOF"},
		"another message":  {`{"type":"bye"}` + "\n", "not a task of protocol 1"},
		"another protocol": {strings.Replace(task, `"protocol":1`, `"protocol":2`, 1), "not a task of protocol 1"},
		"a bad seed":       {strings.Replace(task, seed, "00", 1), "a seed is not"},
		"a huge task":      {strings.Replace(task, `"rows":2`, `"rows":99999999`, 1), "out of bounds"},
		"no challenge":     {task, "reading the challenge: EOF"},
		"no bye":           {task + `{"type":"challenge","vector":"` + seed + `","rows":[1]}` + "\n", "waiting for bye: EOF"},
		"a row too far":    {task + `{"type":"challenge","vector":"` + seed + `","rows":[2]}` + "\n", "row 2 of 2"},
		"a bad vector":     {task + `{"type":"challenge","vector":"","rows":[]}` + "\n", "the challenge: a seed is not"},
		"no such message":  {task + task, "not a message"},
		"another type":     {task + `{"type":"bye"}` + "\n", `"bye" came where the challenge was due`},
	} {
		err := reference.Serve(t.Context(), strings.NewReader(test.lines), io.Discard)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

func TestMultiplyGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	errStop := errors.New("enough")
	cancel(errStop)
	if _, err := reference.Multiply(ctx, check.Task{Seed: seed, Shape: check.Shape{Rows: 9, Columns: 9, Inner: 9}}); !errors.Is(err, errStop) {
		t.Errorf("Multiply = %v, want %v", err, errStop)
	}
}

func BenchmarkMultiply(b *testing.B) {
	for _, mebibytes := range []uint64{1, 16, 64} {
		b.Run(fmt.Sprintf("%dMiB", mebibytes), func(b *testing.B) {
			b.ReportAllocs()
			shape, err := check.ShapeFor(mebibytes<<20, 64)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(shape.MemoryBytes()))
			for b.Loop() {
				if _, err := reference.Multiply(b.Context(), check.Task{Seed: seed, Shape: shape}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
