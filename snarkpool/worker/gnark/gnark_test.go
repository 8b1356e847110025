//go:build linux

package gnark_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"provingground/snarkpool/worker"
	"provingground/snarkpool/worker/gnark"
	"provingground/snarkpool/worker/verify"
)

// links keeps the tests' circuit small; the benchmarks take the usual one.
const links = 4

// TestKeysAndProofs makes keys once, which takes seconds, and passes them from one test to the next.
func TestKeysAndProofs(t *testing.T) {
	options := gnark.Options{KeyDirectory: t.TempDir(), Links: links}
	t.Run("made once", func(t *testing.T) { testMadeOnce(t, options) })
	t.Run("hold for their own statement only", func(t *testing.T) { testProofs(t, options) })
	t.Run("processes", func(t *testing.T) { testProcesses(t, options) })
	t.Run("damaged", func(t *testing.T) { testDamaged(t, options) })
}

func testProofs(t *testing.T, options gnark.Options) {
	t.Helper()
	prover, verifier := load(t, options)
	if prover.VerifyingKey() != verifier.VerifyingKey() {
		t.Fatalf("prover and verifier have different keys: %s, %s", prover.VerifyingKey(), verifier.VerifyingKey())
	}
	mine, others := options.Statement("itn", 1), options.Statement("itn", 2)
	proof, err := prover.Prove(t.Context(), mine)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier.Verify(t.Context(), mine, proof); err != nil {
		t.Fatalf("a right proof: %v", err)
	}
	theirs, err := prover.Prove(t.Context(), others)
	if err != nil {
		t.Fatal(err)
	}
	wrongEnd := append(bytes.Clone(theirs[:32]), proof[32:]...)
	flipped := bytes.Clone(proof)
	flipped[len(flipped)/2] ^= 1
	for name, bad := range map[string][]byte{
		"of somebody else's job": theirs,
		"with another end":       wrongEnd,
		"flipped":                flipped,
		"cut":                    proof[:len(proof)-1],
		"longer":                 append(bytes.Clone(proof), 0),
		"garbage":                bytes.Repeat([]byte{0xff}, len(proof)),
		"all zero":               make([]byte, len(proof)),
		"only an end":            proof[:32],
		"empty":                  nil,
	} {
		if err := verifier.Verify(t.Context(), mine, bad); !errors.Is(err, verify.ErrRefused) {
			t.Errorf("a proof %s: %v, want it refused", name, err)
		}
	}
	if err := verifier.Verify(t.Context(), []byte(`{"circuit":"mimc-chain-64","input":"00"}`), proof); err == nil || errors.Is(err, verify.ErrRefused) {
		t.Errorf("a statement of another circuit: %v, want an error that does not blame the proof", err)
	}

	strange := gnark.Options{KeyDirectory: t.TempDir(), Links: links}
	_, stranger := load(t, strange)
	if stranger.VerifyingKey() == verifier.VerifyingKey() {
		t.Error("two pools have the same keys")
	}
	if err := stranger.Verify(t.Context(), mine, proof); !errors.Is(err, verify.ErrRefused) {
		t.Errorf("a proof of another verifying key: %v, want it refused", err)
	}
	strange.VerifyingKey = verifier.VerifyingKey()
	if _, err := gnark.NewProver(t.Context(), strange); !errors.Is(err, gnark.ErrOtherKeys) {
		t.Errorf("a directory with other keys than named: %v", err)
	}
	strange.KeyDirectory = t.TempDir()
	if _, err := gnark.EnsureKeys(t.Context(), strange); !errors.Is(err, gnark.ErrOtherKeys) {
		t.Errorf("no keys where some are named: %v", err)
	}
	options.VerifyingKey = verifier.VerifyingKey()
	if _, err := gnark.NewProver(t.Context(), options); err != nil {
		t.Errorf("the keys that are named: %v", err)
	}
}

// testMadeOnce starts several workers at once.
func testMadeOnce(t *testing.T, options gnark.Options) {
	t.Helper()
	digests := make([]string, 3)
	var group sync.WaitGroup
	for i := range digests {
		group.Go(func() {
			digest, err := gnark.EnsureKeys(t.Context(), options)
			if err != nil {
				t.Error(err)
			}
			digests[i] = digest
		})
	}
	group.Wait()
	if diff := cmp.Diff([]string{digests[0], digests[0], digests[0]}, digests); diff != "" || len(digests[0]) != 64 {
		t.Fatalf("workers that start at once have different keys:\n%s", diff)
	}
	var files []string
	err := filepath.WalkDir(options.KeyDirectory, func(path string, entry fs.DirEntry, err error) error {
		if !entry.IsDir() {
			files = append(files, entry.Name())
		}
		return err
	})
	if diff := cmp.Diff([]string{"lock", "digests.json", "proving.key", "verifying.key"}, files, cmp.Transformer("set", func(names []string) map[string]int {
		set := make(map[string]int)
		for _, name := range names {
			set[name]++
		}
		return set
	})); err != nil || diff != "" {
		t.Errorf("left on disk: %v\n%s", err, diff)
	}
}

// testDamaged flips a bit of each key, so it comes last.
func testDamaged(t *testing.T, options gnark.Options) {
	t.Helper()
	damage := func(name string) {
		t.Helper()
		paths, err := filepath.Glob(filepath.Join(options.KeyDirectory, "*", name))
		if err != nil || len(paths) != 1 {
			t.Fatalf("%s: %v %v", name, paths, err)
		}
		content, err := os.ReadFile(paths[0])
		if err != nil {
			t.Fatal(err)
		}
		content[len(content)/2] ^= 1
		if err := os.WriteFile(paths[0], content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	damage("verifying.key")
	if _, err := gnark.NewVerifier(t.Context(), options); !errors.Is(err, gnark.ErrDamagedKeys) {
		t.Errorf("a damaged verifying key: %v", err)
	}
	damage("proving.key")
	if _, err := gnark.NewProver(t.Context(), options); !errors.Is(err, gnark.ErrDamagedKeys) {
		t.Errorf("a damaged proving key: %v", err)
	}
}

// testProcesses runs both mains in process, as the command line does with descriptors: a job becomes a proof that the verifier accepts.
func testProcesses(t *testing.T, options gnark.Options) {
	t.Helper()
	jobsOut, jobsIn := io.Pipe()
	proofsOut, proofsIn := io.Pipe()
	proving := make(chan error, 1)
	go func() { proving <- gnark.ProverMain(t.Context(), jobsOut, proofsIn, options) }()
	session := worker.NewSession(proofsOut, jobsIn)
	defer session.Close()
	receive := func() worker.Message {
		t.Helper()
		m, err := session.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	hello, ok := receive().(worker.Hello)
	if !ok || hello.Kind != gnark.Kind {
		t.Fatalf("the worker said %+v", hello)
	}
	verifying := make(chan error, 1)
	client := verify.NewClient(verify.Options{Kind: gnark.Kind, VerifyingKey: hello.VerifyingKey, Start: func(context.Context) (verify.Process, error) {
		questionsOut, questionsIn := io.Pipe()
		answersOut, answersIn := io.Pipe()
		go func() { verifying <- gnark.VerifierMain(t.Context(), questionsOut, answersIn, options) }()
		return process{answersOut, questionsIn}, nil
	}})
	job := worker.Job{ID: "j1", Attempt: 1, Statement: options.Statement("itn", 3)}
	if err := session.Send(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	receive()
	proof, ok := receive().(worker.Proof)
	if !ok {
		t.Fatal("no proof came")
	}
	t.Logf("proof of %d bytes in %.2f s", len(proof.Proof), proof.Seconds)
	if v := client.Check(t.Context(), hello.VerifyingKey, job.Statement, proof.Proof); v.Outcome != verify.Accepted {
		t.Errorf("the verifier says %+v", v)
	}
	if v := client.Check(t.Context(), hello.VerifyingKey, options.Statement("itn", 4), proof.Proof); v.Outcome != verify.Refused {
		t.Errorf("the verifier says of another statement %+v", v)
	}
	if err := session.Bye(t.Context(), ""); err != nil {
		t.Error(err)
	}
	receive()
	if err := errors.Join(<-proving, client.Close(), <-verifying); err != nil {
		t.Error(err)
	}
}

// process is a verifier in this process.
type process struct {
	*io.PipeReader
	in *io.PipeWriter
}

func (p process) Write(b []byte) (int, error) { return p.in.Write(b) }
func (p process) Close() error                { return errors.Join(p.in.Close(), p.PipeReader.Close()) }

func TestKeysWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("told to end")
	cancel(reason)
	directory := t.TempDir()
	hold(t, filepath.Join(directory, "lock"))
	if _, err := gnark.EnsureKeys(ctx, gnark.Options{KeyDirectory: directory}); !errors.Is(err, reason) {
		t.Errorf("waiting for a lock that is held: %v", err)
	}
}

func BenchmarkSetUp(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := gnark.EnsureKeys(b.Context(), gnark.Options{KeyDirectory: b.TempDir()}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProve(b *testing.B) {
	options := gnark.Options{KeyDirectory: b.TempDir()}
	prover, _ := load(b, options)
	statement := options.Statement("bench", 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := prover.Prove(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	options := gnark.Options{KeyDirectory: b.TempDir()}
	prover, verifier := load(b, options)
	statement := options.Statement("bench", 1)
	proof, err := prover.Prove(b.Context(), statement)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := verifier.Verify(b.Context(), statement, proof); err != nil {
			b.Fatal(err)
		}
	}
}

func load(t testing.TB, options gnark.Options) (*gnark.Prover, *gnark.Verifier) {
	t.Helper()
	prover, err := gnark.NewProver(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := gnark.NewVerifier(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return prover, verifier
}
