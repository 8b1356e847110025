package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"provingground/snarkpool/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var digest = strings.Repeat("0a", 32)

func hello() worker.Hello {
	return worker.Hello{Protocol: worker.Protocol, Kind: "echo", VerifyingKey: digest, Threads: 2, PID: 7}
}

func job(id string) worker.Job {
	return worker.Job{ID: id, Attempt: 1, Lease: 3, Statement: json.RawMessage(`{"of":"` + id + `"}`)}
}

var conversation = []worker.Message{
	hello(), job("j1"), worker.Started{Job: "j1", Attempt: 1}, worker.Proof{Job: "j1", Attempt: 1, Proof: []byte{0, 255}, Seconds: 0.5},
	worker.Failed{Job: "j\"2\n", Attempt: 9, Reason: "ä"}, worker.Bye{}, worker.Bye{Reason: "drained"},
}

func TestLinesAsTheyAreDocumented(t *testing.T) {
	t.Parallel()
	for text, message := range map[string]worker.Message{
		`{"type":"hello","protocol":1,"kind":"echo","verifying_key":"` + digest + `","threads":2,"pid":7}`: hello(),
		`{"type":"job","id":"j1","attempt":1,"lease":3,"statement":{"of":"j1"}}`:                           job("j1"),
		`{"type":"started","job":"j1","attempt":1}`:                                                        worker.Started{Job: "j1", Attempt: 1},
		`{"type":"proof","job":"j1","attempt":1,"proof":"AP8=","seconds":0.5}`:                             worker.Proof{Job: "j1", Attempt: 1, Proof: []byte{0, 255}, Seconds: 0.5},
		`{"type":"failed","job":"j1","attempt":2,"reason":"no memory"}`:                                    worker.Failed{Job: "j1", Attempt: 2, Reason: "no memory"},
		`{"type":"bye"}`: worker.Bye{},
	} {
		line, err := worker.Append(nil, message)
		if err != nil || string(line) != text+"\n" {
			t.Errorf("written %s, %v\nwant    %s", line, err, text)
		}
		if got, err := worker.Parse([]byte(text)); err != nil || !cmp.Equal(got, message) {
			t.Errorf("%s was read as %+v, %v", text, got, err)
		}
	}
}

func TestWhatIsNotTheProtocol(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"", "garbage", "7", "null", "[]", `{}`, `{"type":"nonsense"}`, `{"type":7}`, `{"type":"bye"} {"type":"bye"}`, `{"type":"bye","more":1}`,
		`{"type":"started","job":"","attempt":1}`, `{"type":"started","job":"j","attempt":0}`, `{"type":"started","job":"j","attempt":1.5}`,
		`{"type":"started","job":"` + strings.Repeat("j", 257) + `","attempt":1}`,
		`{"type":"proof","job":"j","attempt":1,"proof":"","seconds":1}`, `{"type":"proof","job":"j","attempt":1,"proof":"AA==","seconds":-1}`,
		`{"type":"proof","job":"j","attempt":1,"proof":"A","seconds":1}`, `{"type":"failed","job":"j","attempt":1,"reason":""}`,
		`{"type":"job","id":"j","attempt":1,"lease":1}`, `{"type":"job","id":"j","attempt":1,"lease":1,"statement":null}`,
		`{"type":"hello","protocol":2,"kind":"echo","verifying_key":"` + digest + `","threads":2,"pid":7}`,
		`{"type":"hello","protocol":1,"kind":"echo","verifying_key":"` + strings.ToUpper(digest) + `","threads":2,"pid":7}`,
		`{"type":"hello","protocol":1,"kind":"echo","verifying_key":"` + digest + `","threads":0,"pid":7}`,
	} {
		var broken *worker.ProtocolError
		if m, err := worker.Parse([]byte(line)); !errors.As(err, &broken) {
			t.Errorf("%s was read as %+v, %v", line, m, err)
		}
	}
	if line, err := worker.Append([]byte("x"), worker.Started{}); err == nil || string(line) != "x" {
		t.Errorf("an invalid message was written: %s", line)
	}
	big := worker.Proof{Job: "j", Attempt: 1, Proof: make([]byte, worker.MaxLineBytes)}
	if _, err := worker.Append(nil, big); !errors.Is(err, worker.ErrLineTooLong) {
		t.Errorf("a line of more than 1 MiB: %v", err)
	}
}

// TestAnySplit: however a stream is cut on its way, the same messages come of it, and the same error if it ends in one.
func TestAnySplit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		want := rapid.SliceOfN(rapid.SampledFrom(conversation), 0, 8).Draw(t, "messages")
		for _, m := range want {
			line, err := worker.Append(nil, m)
			if err != nil {
				t.Fatal(err)
			}
			stream = append(stream, line...)
		}
		tail := rapid.SampledFrom([]string{"", "garbage\nmore", `{"type":"bye"`}).Draw(t, "tail")
		stream = append(stream, tail...)
		var decoder worker.Decoder
		var got []worker.Message
		for len(stream) > 0 {
			n := rapid.IntRange(1, min(len(stream), 40)).Draw(t, "bytes")
			messages, _ := decoder.Feed(stream[:n])
			got = append(got, messages...)
			stream = stream[n:]
		}
		if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
			t.Fatal(diff)
		}
		err := decoder.End()
		if (err != nil) != (tail != "") || errors.Is(err, io.ErrUnexpectedEOF) != (tail == `{"type":"bye"`) {
			t.Fatalf("after %q: %v", tail, err)
		}
	})
}

func TestOversizeLineIsNotHeld(t *testing.T) {
	t.Parallel()
	var decoder worker.Decoder
	piece := bytes.Repeat([]byte{'x'}, worker.MaxLineBytes/4)
	for range 4 {
		if _, err := decoder.Feed(piece); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := decoder.Feed([]byte("x")); !errors.Is(err, worker.ErrLineTooLong) {
			t.Fatalf("one byte more than the longest line: %v", err)
		}
	}
}

func FuzzDecoder(f *testing.F) {
	for _, m := range conversation {
		line, err := worker.Append(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line, 3)
	}
	f.Add([]byte("{\"type\":\"bye\"}\ngarbage\n"), 5)
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		var whole, parts worker.Decoder
		want, wantErr := whole.Feed(stream)
		at := 0
		if len(stream) > 0 {
			at = int(uint(cut) % uint(len(stream)))
		}
		got, _ := parts.Feed(stream[:at])
		more, gotErr := parts.Feed(stream[at:])
		if diff := cmp.Diff(want, append(got, more...)); diff != "" || (wantErr == nil) != (gotErr == nil) {
			t.Fatalf("cut at %d: %v, %v\n%s", at, wantErr, gotErr, diff)
		}
		for _, m := range want {
			line, err := worker.Append(nil, m)
			if err != nil {
				t.Fatalf("%+v was read but cannot be written: %v", m, err)
			}
			if again, err := worker.Parse(line[:len(line)-1]); err != nil || !cmp.Equal(again, m) {
				t.Fatalf("%+v came back as %+v, %v", m, again, err)
			}
		}
	})
}

// echo proves a statement by repeating it.
type echo struct {
	hold chan struct{} // nil, or what a proof waits for
	err  error
}

func (e echo) Prove(ctx context.Context, statement json.RawMessage) ([]byte, error) {
	if e.hold != nil {
		select {
		case <-e.hold:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return statement, e.err
}

// pair starts a worker that serves and the session with it. The function waits for what Serve returned.
func pair(ctx context.Context, t testing.TB, prover worker.Prover) (*worker.Session, func() error) {
	t.Helper()
	jobsOut, jobsIn := io.Pipe()
	proofsOut, proofsIn := io.Pipe()
	served := make(chan error, 1)
	go func() {
		served <- worker.Serve(ctx, jobsOut, proofsIn, hello(), prover)
		_ = proofsIn.Close()
	}()
	session := worker.NewSession(proofsOut, jobsIn)
	return session, func() error { return <-served }
}

func expect[M worker.Message](t testing.TB, s *worker.Session) M {
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

func TestJobsAreProvedOneByOneAndTheWorkerDrained(t *testing.T) {
	t.Parallel()
	session, served := pair(t.Context(), t, echo{})
	if err := session.Send(t.Context(), job("early")); !errors.Is(err, worker.ErrNotReady) {
		t.Errorf("a job before the hello: %v", err)
	}
	expect[worker.Hello](t, session)
	for n := range 3 {
		want := job(fmt.Sprint("j", n))
		if err := session.Send(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		if err := session.Send(t.Context(), job("second")); !errors.Is(err, worker.ErrBusy) {
			t.Errorf("a second job: %v", err)
		}
		if n == 2 {
			if err := errors.Join(session.Bye(t.Context(), "drain"), session.Bye(t.Context(), "drain")); err != nil {
				t.Fatal(err)
			}
		}
		expect[worker.Started](t, session)
		if proof := expect[worker.Proof](t, session); proof.Job != want.ID || !bytes.Equal(proof.Proof, want.Statement) {
			t.Errorf("the proof is %+v", proof)
		}
	}
	expect[worker.Bye](t, session)
	if _, err := session.Receive(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("after the worker's bye: %v", err)
	}
	if err := session.Send(t.Context(), job("late")); !errors.Is(err, worker.ErrNotReady) {
		t.Errorf("a job after the bye: %v", err)
	}
	if err := errors.Join(session.Close(), session.Close(), served()); err != nil {
		t.Error(err)
	}
}

func TestAFailedJobLeavesTheWorkerReady(t *testing.T) {
	t.Parallel()
	session, served := pair(t.Context(), t, echo{err: errors.New("no memory")})
	expect[worker.Hello](t, session)
	for range 2 {
		if err := session.Send(t.Context(), job("j")); err != nil {
			t.Fatal(err)
		}
		expect[worker.Started](t, session)
		if failed := expect[worker.Failed](t, session); failed.Reason != "no memory" {
			t.Errorf("the reason is %q", failed.Reason)
		}
	}
	if err := errors.Join(session.Close(), served()); err == nil {
		t.Error("a worker whose agent is gone said nothing of it")
	}
}

func TestALateProofIsReceivedLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		session, served := pair(t.Context(), t, echo{hold: hold})
		expect[worker.Hello](t, session)
		if err := session.Send(t.Context(), job("slow")); err != nil {
			t.Fatal(err)
		}
		expect[worker.Started](t, session)
		deadline := errors.New("too late")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, deadline)
		defer cancel()
		if _, err := session.Receive(ctx); !errors.Is(err, deadline) {
			t.Fatalf("waiting for a proof that does not come: %v", err)
		}
		if out, ok := session.Outstanding(); !ok || out.ID != "slow" || out.Lease != 3 {
			t.Errorf("the job that is out: %+v", out)
		}
		close(hold)
		if proof := expect[worker.Proof](t, session); proof.Job != "slow" || proof.Seconds < 3600 {
			t.Errorf("the late proof: %+v", proof)
		}
		if _, ok := session.Outstanding(); ok {
			t.Error("an answered job is still out")
		}
		_ = session.Bye(t.Context(), "")
		expect[worker.Bye](t, session)
		if err := errors.Join(session.Close(), served()); err != nil {
			t.Error(err)
		}
	})
}

func TestAWorkerThatIsToldToEndDropsItsJob(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	session, served := pair(ctx, t, echo{hold: make(chan struct{})})
	expect[worker.Hello](t, session)
	if err := session.Send(t.Context(), job("dropped")); err != nil {
		t.Fatal(err)
	}
	expect[worker.Started](t, session)
	terminated := errors.New("terminated")
	cancel(terminated)
	expect[worker.Bye](t, session)
	if out, ok := session.Outstanding(); !ok || out.ID != "dropped" {
		t.Error("the dropped job is not known to be out")
	}
	if err := served(); !errors.Is(err, terminated) {
		t.Errorf("Serve returned %v", err)
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
}

// TestWorkersThatMisbehave plays workers that break the protocol with job j1 out.
func TestWorkersThatMisbehave(t *testing.T) {
	t.Parallel()
	line := func(m worker.Message) string {
		text, err := worker.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	started := line(worker.Started{Job: "j1", Attempt: 1})
	proof := worker.Proof{Job: "j1", Attempt: 1, Proof: []byte{1}}
	others, older := proof, proof
	others.Job = "j2"
	older.Attempt = 2
	for name, test := range map[string]struct {
		says string
		want error // nil = a *ProtocolError
	}{
		"a proof of somebody else's job": {says: started + line(others)},
		"a proof of another attempt":     {says: started + line(older)},
		"a proof that it never started":  {says: line(proof)},
		"the same proof twice":           {says: started + line(proof) + line(proof)},
		"started twice":                  {says: started + started},
		"a failure of another job":       {says: line(worker.Failed{Job: "j2", Attempt: 1, Reason: "?"})},
		"a second hello":                 {says: line(hello())},
		"what only an agent says":        {says: line(job("j1"))},
		"garbage":                        {says: started + "Segmentation fault\n"},
		"an oversize line":               {says: strings.Repeat("x", worker.MaxLineBytes+1), want: worker.ErrLineTooLong},
		"a line that it dies in":         {says: started + line(proof)[:40], want: io.ErrUnexpectedEOF},
		"nothing, and dies":              {says: "", want: worker.ErrEnded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			jobsOut, jobsIn := io.Pipe()
			proofsOut, proofsIn := io.Pipe()
			session := worker.NewSession(proofsOut, jobsIn)
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer proofsIn.Close()
				_, _ = io.WriteString(proofsIn, line(hello()))
				_, _ = io.ReadFull(jobsOut, make([]byte, len(line(job("j1")))))
				_, _ = io.WriteString(proofsIn, test.says)
			}()
			expect[worker.Hello](t, session)
			if err := session.Send(t.Context(), job("j1")); err != nil {
				t.Fatal(err)
			}
			var err error
			for err == nil {
				_, err = session.Receive(t.Context())
			}
			var broken *worker.ProtocolError
			if test.want == nil && !errors.As(err, &broken) || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("the session ended with %v", err)
			}
			if _, again := session.Receive(t.Context()); again == nil {
				t.Error("a session that failed was listened to again")
			}
			if err := session.Send(t.Context(), job("j3")); !errors.Is(err, worker.ErrNotReady) {
				t.Errorf("a job for a worker that misbehaved: %v", err)
			}
			if err := session.Close(); err != nil {
				t.Error(err)
			}
			<-done
		})
	}
}

func TestAWorkerThatDoesNotReadCannotHoldTheAgent(t *testing.T) {
	t.Parallel()
	_, jobsIn := io.Pipe() // nobody reads
	proofsOut, proofsIn := io.Pipe()
	session := worker.NewSession(proofsOut, jobsIn)
	go func() {
		text, _ := worker.Append(nil, hello())
		_, _ = proofsIn.Write(text)
	}()
	expect[worker.Hello](t, session)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := session.Send(ctx, job("j1")); !errors.Is(err, worker.ErrEnded) {
		t.Errorf("a job nobody reads: %v", err)
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
}

func TestAgentsThatMisbehave(t *testing.T) {
	t.Parallel()
	for _, says := range []string{"garbage\n", `{"type":"started","job":"j","attempt":1}` + "\n", `{"type":"job"`} {
		var out bytes.Buffer
		err := worker.Serve(t.Context(), io.NopCloser(strings.NewReader(says)), &out, hello(), echo{})
		var broken *worker.ProtocolError
		if !errors.As(err, &broken) {
			t.Errorf("%q: Serve returned %v", says, err)
		}
	}
}

// TestInheritedPipesEndWhenTheyAreClosed uses real pipes: a Close must end the worker's blocked read.
func TestInheritedPipesEndWhenTheyAreClosed(t *testing.T) {
	t.Parallel()
	jobs, agent, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	served := make(chan error, 1)
	go func() { served <- worker.Serve(ctx, jobs, &out, hello(), echo{}) }()
	cancel()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Errorf("Serve returned %v", err)
	}
}

// BenchmarkRoundTrip is what the protocol costs per proof, over real pipes, beside the proving.
func BenchmarkRoundTrip(b *testing.B) {
	jobsOut, jobsIn, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	proofsOut, proofsIn, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- worker.Serve(b.Context(), jobsOut, proofsIn, hello(), echo{}) }()
	session := worker.NewSession(proofsOut, jobsIn)
	expect[worker.Hello](b, session)
	b.ReportAllocs()
	for b.Loop() {
		if err := session.Send(b.Context(), job("j")); err != nil {
			b.Fatal(err)
		}
		expect[worker.Started](b, session)
		expect[worker.Proof](b, session)
	}
	_ = session.Bye(b.Context(), "")
	expect[worker.Bye](b, session)
	if err := errors.Join(<-served, session.Close(), proofsIn.Close()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkParseProof reads a line as long as a Kimchi proof's.
func BenchmarkParseProof(b *testing.B) {
	line, err := worker.Append(nil, worker.Proof{Job: "j", Attempt: 1, Proof: make([]byte, 30_000), Seconds: 4})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		var decoder worker.Decoder
		if _, err := decoder.Feed(line); err != nil {
			b.Fatal(err)
		}
	}
}
