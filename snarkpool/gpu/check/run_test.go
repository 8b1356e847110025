//go:build linux

package check_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"provingground/snarkpool/gpu"
	"provingground/snarkpool/gpu/check"
	"provingground/snarkpool/gpu/check/reference"
	"provingground/snarkpool/gpu/gpufake"
)

// TestMain is the tests, or one of the checkers below when asked to be.
func TestMain(m *testing.M) {
	name, ok := os.LookupEnv("PROVINGGROUND_TEST_CHECKER")
	if !ok {
		os.Exit(m.Run())
	}
	if err := checkers[name](context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

// spoilt is the reference checker with its answers changed on their way out.
func spoilt(change func(message string) string) func(context.Context, io.Reader, io.Writer) error {
	return func(ctx context.Context, in io.Reader, out io.Writer) error {
		return reference.Serve(ctx, in, writer(func(line []byte) (int, error) {
			if _, err := io.WriteString(out, change(string(line))); err != nil {
				return 0, err
			}
			return len(line), nil
		}))
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(content []byte) (int, error) { return w(content) }

// talk is a checker's side, message by message, for those that do not compute what they should.
type talk struct {
	ctx       context.Context
	in        *bufio.Reader
	out       io.Writer
	task      check.Task
	challenge check.Challenge
}

func begin(ctx context.Context, in io.Reader, out io.Writer) (*talk, error) {
	t := &talk{ctx: ctx, in: bufio.NewReader(in), out: out}
	return t, check.ReadLine(t.in, 1<<20, &t.task)
}

func (t *talk) commit(root check.Hash) error {
	if err := check.WriteLine(t.out, check.Answer{Type: check.TypeCommitment, Root: fmt.Sprintf("%x", root[:])}); err != nil {
		return err
	}
	return check.ReadLine(t.in, 1<<20, &t.challenge)
}

// matrixFree is a checker that holds no matrix: it makes every row when it needs it, or makes rows up where computes says so.
func matrixFree(computes func(row uint64) bool, answersTruly bool) func(context.Context, io.Reader, io.Writer) error {
	return func(ctx context.Context, in io.Reader, out io.Writer) error {
		t, err := begin(ctx, in, out)
		if err != nil {
			return err
		}
		seed, err := check.ParseSeed(t.task.Seed)
		if err != nil {
			return err
		}
		matrices := check.NewMatrices(seed, t.task.Shape)
		a, b, c := make([]int8, t.task.Inner), make([]int8, t.task.Columns), make([]int32, t.task.Columns)
		compute := func(index uint64) {
			clear(c)
			matrices.RowOfA(index, a)
			for k, factor := range a {
				matrices.RowOfB(uint64(k), b)
				for j, value := range b {
					c[j] += int32(factor) * int32(value)
				}
			}
		}
		row := func(index uint64, truly bool) []byte {
			if truly {
				compute(index)
			} else {
				clear(c)
			}
			var content []byte
			for _, value := range c {
				content = binary.LittleEndian.AppendUint32(content, uint32(value))
			}
			return content
		}
		leaves := make([]check.Hash, t.task.Rows)
		for i := range leaves {
			leaves[i] = check.HashRow(uint64(i), row(uint64(i), computes(uint64(i))))
		}
		tree := check.NewTree(leaves)
		if err := t.commit(tree.Root()); err != nil {
			return err
		}
		vector, err := check.ParseSeed(t.challenge.Vector)
		if err != nil {
			return err
		}
		// A·(B·r) needs no product of matrices: the products are right, whatever was committed to
		r := check.Vector(vector, t.task.Columns)
		between := make([]uint64, t.task.Inner)
		for k := range between {
			matrices.RowOfB(uint64(k), b)
			between[k] = check.DotBytes(b, r)
		}
		products := make([]uint64, t.task.Rows)
		for i := range products {
			matrices.RowOfA(uint64(i), a)
			products[i] = check.DotBytes(a, between)
		}
		if err := check.WriteLine(out, check.Products(products)); err != nil {
			return err
		}
		for _, index := range t.challenge.Rows {
			if err := check.WriteLine(out, check.Row(index, row(index, answersTruly || computes(index)), tree.Path(index))); err != nil {
				return err
			}
		}
		var bye check.Bye
		return check.ReadLine(t.in, 1<<20, &bye)
	}
}

// forever waits for something that does not come, and does not mind its input ending.
func forever() {
	read, write, err := os.Pipe()
	if err != nil {
		return
	}
	_, _ = read.Read(make([]byte, 1))
	_ = write.Close()
}

func all(uint64) bool  { return true }
func none(uint64) bool { return false }
func half(row uint64) bool {
	return row%2 == 0
}

var checkers = map[string]func(context.Context, io.Reader, io.Writer) error{
	"honest":                 reference.Serve,
	"no matrix":              matrixFree(all, true),
	"zeros, true rows":       matrixFree(none, true),
	"zeros, committed rows":  matrixFree(none, false),
	"half of the rows":       matrixFree(half, false),
	"half of them, and lies": matrixFree(half, true),
	"crashes": func(context.Context, io.Reader, io.Writer) error {
		return errors.New("CUDA error: device-side assert")
	},
	"crashes after it committed": func(ctx context.Context, in io.Reader, out io.Writer) error {
		t, err := begin(ctx, in, out)
		if err == nil {
			err = t.commit(check.Hash{})
		}
		return errors.Join(err, errors.New("illegal address"))
	},
	"hangs": func(context.Context, io.Reader, io.Writer) error {
		forever()
		return nil
	},
	"hangs and leaves a child behind": func(context.Context, io.Reader, io.Writer) error {
		child := exec.Command(os.Args[0])
		child.Env = []string{"PROVINGGROUND_TEST_CHECKER=hangs"}
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // out of the process group, with the checker's output open
		if err := child.Start(); err != nil {
			return err
		}
		if err := os.WriteFile(os.Getenv("CHILD"), []byte(strconv.Itoa(child.Process.Pid)), 0o600); err != nil {
			return err
		}
		forever()
		return nil
	},
	"hangs after it committed": func(ctx context.Context, in io.Reader, out io.Writer) error {
		t, err := begin(ctx, in, out)
		if err == nil {
			err = t.commit(check.Hash{})
		}
		forever()
		return err
	},
	"commits to nonsense": func(ctx context.Context, in io.Reader, out io.Writer) error {
		_, err := io.WriteString(out, `{"type":"commitment","root":"00"}`+"\n")
		forever()
		return err
	},
	"gives up": func(ctx context.Context, in io.Reader, out io.Writer) error {
		return check.WriteLine(out, check.Answer{Type: check.TypeFailed, Reason: "cudaMalloc: out of memory"})
	},
	"babbles": func(ctx context.Context, in io.Reader, out io.Writer) error {
		_, err := io.WriteString(out, "Using device 0: NVIDIA H200\n")
		forever()
		return err
	},
	"floods": func(ctx context.Context, in io.Reader, out io.Writer) error {
		for {
			if _, err := out.Write(bytes.Repeat([]byte{'x'}, 1<<16)); err != nil {
				return err
			}
		}
	},
	"answers before it is asked": func(ctx context.Context, in io.Reader, out io.Writer) error {
		return check.WriteLine(out, check.Products(nil))
	},
	"breaks off": func(ctx context.Context, in io.Reader, out io.Writer) error {
		_, err := io.WriteString(out, `{"type":"commit`)
		return err
	},
	"adds fields": spoilt(func(message string) string { return strings.Replace(message, `{"type"`, `{"note":1,"type"`, 1) }),
	"goes on": spoilt(func(message string) string {
		if strings.Contains(message, `"products"`) {
			return message
		}
		return message + strings.Repeat(message, strings.Count(message, `"type":"row"`))
	}),
	"one product is wrong": spoilt(func(message string) string {
		var products check.Answer
		if check.ReadLine(bufio.NewReader(strings.NewReader(message)), 1<<20, &products) != nil || products.Type != check.TypeProducts {
			return message
		}
		content, err := base64.StdEncoding.DecodeString(products.Values)
		if err != nil {
			return message
		}
		content[8*5] ^= 1
		return strings.Replace(message, products.Values, base64.StdEncoding.EncodeToString(content), 1)
	}),
	"another index": spoilt(func(message string) string { return strings.Replace(message, `"index":`, `"index":1`, 1) }),
	"no index": spoilt(func(message string) string {
		return strings.Replace(message, `"index":`, `"reason":"","path":[],"index":null,"index":`, 1)
	}),
	"a short row": spoilt(func(message string) string {
		if !strings.Contains(message, `"row"`) {
			return message
		}
		return strings.Replace(message, `"values":"`, `"values":"AAAA`, 1)
	}),
	"a path of nonsense": spoilt(func(message string) string { return strings.Replace(message, `"path":["`, `"path":["zz`, 1) }),
	"a path too long": spoilt(func(message string) string {
		return strings.Replace(message, `"path":["`, `"path":["`+strings.Repeat("00", 32)+`","`, 1)
	}),
	"fails at the end": func(ctx context.Context, in io.Reader, out io.Writer) error {
		return errors.Join(reference.Serve(ctx, in, out), errors.New("cudaFree failed"))
	},
}

func options(t *testing.T, checker string) check.Options {
	t.Helper()
	return check.Options{Command: []string{os.Args[0]}, Env: []string{"PROVINGGROUND_TEST_CHECKER=" + checker, "CHILD=" + filepath.Join(t.TempDir(), "pid")},
		Shape: check.Shape{Rows: 61, Columns: 47, Inner: 33}, CommitWithin: time.Minute, AnswerWithin: time.Minute}
}

func TestCheckers(t *testing.T) {
	const brief = 300 * time.Millisecond // for those that do not answer at all, so that no wait is a race
	tests := []struct {
		checker, reason string
		failure         check.Failure
		change          func(*check.Options)
	}{
		{checker: "honest"},
		{checker: "no matrix"}, // computes all, and nobody looks at its memory
		{checker: "crashes", failure: check.Crashed, reason: "it ended before its commitment: exit status 3; its last words: CUDA error: device-side assert"},
		{checker: "crashes after it committed", failure: check.Crashed, reason: "before its products: exit status 3; its last words: illegal address"},
		{checker: "hangs", failure: check.CommittedLate, reason: "it was given 300ms", change: func(o *check.Options) { o.CommitWithin = brief }},
		{checker: "hangs after it committed", failure: check.AnsweredLate, reason: "it was given 300ms", change: func(o *check.Options) { o.AnswerWithin = brief }},
		{checker: "commits to nonsense", failure: check.BrokeProtocol, reason: "not 64 hexadecimal digits"},
		{checker: "gives up", failure: check.GaveUp, reason: "cudaMalloc: out of memory"},
		{checker: "babbles", failure: check.BrokeProtocol, reason: "not a message"},
		{checker: "floods", failure: check.BrokeProtocol, reason: "a line of more than"},
		{checker: "answers before it is asked", failure: check.BrokeProtocol, reason: `"products" came where its commitment was due`},
		{checker: "breaks off", failure: check.BrokeProtocol, reason: "a line that breaks off"},
		{checker: "adds fields", failure: check.BrokeProtocol, reason: `unknown field "note"`},
		{checker: "goes on", failure: check.BrokeProtocol, reason: "row"},
		{checker: "one product is wrong", failure: check.WrongResult, reason: "1 of 61 rows of the product are wrong, the first is row 5"},
		{checker: "zeros, true rows", failure: check.NotCommitted, reason: "is not the one committed to"},
		{checker: "zeros, committed rows", failure: check.WrongResult, reason: "which was committed to, is wrong"},
		{checker: "half of the rows", failure: check.WrongResult, reason: "which was committed to, is wrong", change: func(o *check.Options) { o.ChallengedRows = 64 }},
		{checker: "half of them, and lies", failure: check.NotCommitted, reason: "is not the one committed to", change: func(o *check.Options) { o.ChallengedRows = 64 }},
		{checker: "another index", failure: check.BrokeProtocol, reason: "another one came"},
		{checker: "no index", failure: "", reason: ""},
		{checker: "a short row", failure: check.BrokeProtocol, reason: "is not 47 numbers of 4 bytes"},
		{checker: "a path of nonsense", failure: check.BrokeProtocol, reason: "a hash of its path is not 64 hexadecimal digits"},
		{checker: "a path too long", failure: check.NotCommitted, reason: "is not the one committed to"},
		{checker: "fails at the end", failure: check.Crashed, reason: "after its answers: exit status 3; its last words: cudaFree failed"},
	}
	for _, test := range tests {
		t.Run(test.checker, func(t *testing.T) {
			o := options(t, test.checker)
			if test.change != nil {
				test.change(&o)
			}
			verdict, err := check.Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if verdict.Failure != test.failure || !strings.Contains(verdict.Reason, test.reason) || verdict.Passed != (test.failure == "") {
				t.Errorf("verdict %+v, want %q: …%s…", verdict, test.failure, test.reason)
			}
		})
	}
}

func TestMemoryIsLookedAt(t *testing.T) {
	shape, err := check.ShapeFor(96<<20, 2)
	if err != nil {
		t.Fatal(err)
	}
	for checker, want := range map[string]check.Failure{"honest": "", "no matrix": check.TooLittleMemory} {
		o := options(t, checker)
		o.Shape, o.UsedMemory = shape, check.MemoryOfHost
		verdict, err := check.Run(t.Context(), o)
		if err != nil || verdict.Failure != want || verdict.UsedBytes == nil {
			t.Errorf("%s: %+v, %v; want %q", checker, verdict, err, want)
		} else {
			t.Logf("%s: uses %d of %d bytes", checker, *verdict.UsedBytes, verdict.MemoryBytes)
		}
	}
}

func TestMemoryOnAGPU(t *testing.T) {
	fake := gpufake.New(gpufake.Devices(1, 24<<30, 1)...)
	uses := func(bytes *uint64) func(context.Context, int) (uint64, error) {
		return func(ctx context.Context, pid int) (uint64, error) {
			fake.Change("GPU-fake-0", func(r *gpu.Reading) { r.Processes = []gpu.Process{{PID: pid, MemoryBytes: bytes}} })
			return check.MemoryOnGPU(fake, "GPU-fake-0")(ctx, pid)
		}
	}
	tests := map[string]struct {
		used   func(context.Context, int) (uint64, error)
		want   check.Failure
		unseen string
	}{
		"all of it":            {uses(new(uint64(1 << 20))), "", ""},
		"too little":           {uses(new(uint64(100))), check.TooLittleMemory, ""},
		"the driver is silent": {uses(nil), "", "does not say"},
		"another process":      {check.MemoryOnGPU(gpufake.New(gpufake.Devices(1, 1, 1)...), "GPU-fake-0"), "", "does not say"},
		"no such GPU":          {check.MemoryOnGPU(fake, "GPU-2"), "", "gone"},
		"nobody looks":         {nil, "", "nobody looked"},
	}
	for name, test := range tests {
		o := options(t, "honest")
		o.UsedMemory = test.used
		verdict, err := check.Run(t.Context(), o)
		if err != nil || verdict.Failure != test.want || !strings.Contains(verdict.Unseen, test.unseen) || (verdict.Unseen == "") != (test.unseen == "") {
			t.Errorf("%s: %+v, %v", name, verdict, err)
		}
	}
}

// The child is out of reach of the process group, and holds the pipes: the check ends all the same.
func TestACheckerLeavesAChildBehind(t *testing.T) {
	o := options(t, "hangs and leaves a child behind")
	pidFile := strings.TrimPrefix(o.Env[1], "CHILD=")
	ctx, cancel := context.WithCancelCause(t.Context())
	errStop := errors.New("enough")
	o.CommitWithin = time.Hour
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for range ticker.C {
			if content, err := os.ReadFile(pidFile); err == nil && len(content) > 0 {
				cancel(errStop)
				return
			}
		}
	}()
	o.Env = append(o.Env, "GOTRACEBACK=none")
	_, err := check.Run(ctx, o)
	if !errors.Is(err, errStop) {
		t.Errorf("Run = %v, want %v", err, errStop)
	}
	<-stopped
	content, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(content))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the child was gone already: %v", err)
	}
}

func TestWhatIsNotTheCheckersDoing(t *testing.T) {
	tests := map[string]struct {
		change func(*check.Options)
		want   string
	}{
		"no shape":      {func(o *check.Options) { o.Shape = check.Shape{} }, "not within the bounds"},
		"no command":    {func(o *check.Options) { o.Command = nil }, "no checker is configured"},
		"not there":     {func(o *check.Options) { o.Command = []string{"/nowhere/checker"} }, "/nowhere/checker"},
		"no randomness": {func(o *check.Options) { o.Random = strings.NewReader("too short") }, "drawing random numbers"},
	}
	for name, test := range tests {
		o := options(t, "honest")
		test.change(&o)
		if _, err := check.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	errStop := errors.New("enough")
	cancel(errStop)
	if _, err := check.Run(ctx, options(t, "hangs")); !errors.Is(err, errStop) {
		t.Errorf("an ended context: %v", err)
	}
}

func TestSameRandomnessSameTask(t *testing.T) {
	o := options(t, "honest")
	o.Random = bytes.NewReader(make([]byte, 1<<10))
	verdict, err := check.Run(t.Context(), o)
	if err != nil || !verdict.Passed {
		t.Errorf("%+v, %v", verdict, err)
	}
}

func FuzzReadLine(f *testing.F) {
	f.Add([]byte(`{"type":"commitment","root":"00"}` + "\n"))
	f.Add([]byte(`{"type":"row","index":1,"values":"","path":["x"]}` + "\n{}"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		in := bufio.NewReaderSize(bytes.NewReader(content), 16)
		for {
			var answer check.Answer
			err := check.ReadLine(in, 64, &answer)
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, check.ErrLine) {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
		}
	})
}
