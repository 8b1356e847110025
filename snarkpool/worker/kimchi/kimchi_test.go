//go:build kimchi && linux

// Package kimchi_test runs the Kimchi worker and verifier, which are JavaScript, against the Go side of their protocols. It needs Node.js and
// an installed o1js: see the target kimchi of the Makefile.
package kimchi_test

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"provingground/snarkpool/worker"
	"provingground/snarkpool/worker/verify"
)

func TestProofsOfTheWorkerHold(t *testing.T) {
	environment := append(os.Environ(), "O1JS_BACKEND=native", "KIMCHI_CACHE="+t.TempDir())
	begun := time.Now()
	session, process := start(t, environment)
	hello := receive[worker.Hello](t, session)
	t.Logf("worker ready after %v, kind %s, verifying key %s, %d threads", time.Since(begun), hello.Kind, hello.VerifyingKey, hello.Threads)
	verifier := verify.NewClient(verify.Options{
		Start: verify.Command("node", []string{"verifier.mjs"}, environment, t.Output()),
		Kind:  hello.Kind, VerifyingKey: hello.VerifyingKey, Deadline: time.Minute, StartDeadline: 5 * time.Minute,
	})
	defer func() {
		if err := verifier.Close(); err != nil {
			t.Error(err)
		}
	}()

	statement := func(input string) json.RawMessage {
		return json.RawMessage(`{"circuit":"poseidon-chain-64","input":"` + input + `"}`)
	}
	var proofs []worker.Proof
	for _, input := range []string{"7", "8"} {
		send(t, session, "j"+input, statement(input))
		receive[worker.Started](t, session)
		proof := receive[worker.Proof](t, session)
		t.Logf("proof of %d bytes in %.2f s", len(proof.Proof), proof.Seconds)
		proofs = append(proofs, proof)
	}
	send(t, session, "wrong", json.RawMessage(`{"circuit":"another","input":"7"}`))
	receive[worker.Started](t, session)
	if failed := receive[worker.Failed](t, session); failed.Reason == "" {
		t.Error("a statement of another circuit failed without a reason")
	}

	// A field element in the middle of the proof, changed: still JSON, no longer a proof.
	changed := append([]byte(nil), proofs[0].Proof...)
	for i := len(changed) / 2; ; i++ {
		if changed[i] >= 'a' && changed[i] < 'y' {
			changed[i]++
			break
		}
	}
	for _, question := range []struct {
		name  string
		proof []byte
		want  verify.Outcome
	}{
		{"a right proof", proofs[0].Proof, verify.Accepted},
		{"a proof of somebody else's job", proofs[1].Proof, verify.Refused},
		{"a changed proof", changed, verify.Refused},
		{"garbage", []byte("garbage"), verify.Refused},
		{"an empty object", []byte(`{}`), verify.Refused},
		{"a right proof again", proofs[0].Proof, verify.Accepted},
	} {
		begun := time.Now()
		verdict := verifier.Check(t.Context(), hello.VerifyingKey, statement("7"), question.proof)
		t.Logf("%s: %v in %v", question.name, verdict, time.Since(begun))
		if verdict.Outcome != question.want {
			t.Errorf("%s: %+v", question.name, verdict)
		}
	}
	if verdict := verifier.Check(t.Context(), hello.VerifyingKey, json.RawMessage(`{"circuit":"another"}`), proofs[0].Proof); verdict.Outcome != verify.Undecided {
		t.Errorf("a statement of another circuit: %+v", verdict)
	}

	if err := session.Bye(t.Context(), "drain"); err != nil {
		t.Fatal(err)
	}
	receive[worker.Bye](t, session)
	if err := process.Wait(); err != nil {
		t.Errorf("the worker ended: %v", err)
	}
	t.Logf("the worker used %v of CPU", process.ProcessState.UserTime()+process.ProcessState.SystemTime())
}

// start starts a worker with its two descriptors.
func start(t *testing.T, environment []string) (*worker.Session, *exec.Cmd) {
	t.Helper()
	jobsOut, jobsIn := pipe(t)
	proofsOut, proofsIn := pipe(t)
	process := exec.CommandContext(t.Context(), "node", "worker.mjs")
	process.Env = environment
	process.ExtraFiles = []*os.File{jobsOut, proofsIn} // descriptors 3 and 4
	process.Stdout, process.Stderr = t.Output(), t.Output()
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	for _, end := range []io.Closer{jobsOut, proofsIn} {
		if err := end.Close(); err != nil {
			t.Fatal(err)
		}
	}
	session := worker.NewSession(proofsOut, jobsIn)
	t.Cleanup(func() {
		if err := session.Close(); err != nil {
			t.Error(err)
		}
	})
	return session, process
}

func pipe(t *testing.T) (*os.File, *os.File) {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return out, in
}

func send(t *testing.T, s *worker.Session, id string, statement json.RawMessage) {
	t.Helper()
	if err := s.Send(t.Context(), worker.Job{ID: id, Attempt: 1, Lease: 1, Statement: statement}); err != nil {
		t.Fatal(err)
	}
}

func receive[M worker.Message](t *testing.T, s *worker.Session) M {
	t.Helper()
	m, err := s.Receive(t.Context())
	if err != nil {
		t.Fatalf("waiting for a message: %v", err)
	}
	got, ok := m.(M)
	if !ok {
		t.Fatalf("got %#v", m)
	}
	return got
}
