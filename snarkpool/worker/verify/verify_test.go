package verify_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"provingground/snarkpool/worker"
	"provingground/snarkpool/worker/verify"
)

const kind = "echo"

var digest = strings.Repeat("0b", 32)

// echo accepts a proof that repeats its statement.
type echo struct{}

func (echo) Verify(_ context.Context, statement json.RawMessage, proof []byte) error {
	if string(statement) == `"trouble"` {
		return errors.New("the verifier has no memory")
	}
	if !bytes.Equal(statement, proof) {
		return fmt.Errorf("%w: it is not the statement", verify.ErrRefused)
	}
	return nil
}

// TestMain is also the verifier process of the tests: VERIFIER says how it behaves.
func TestMain(m *testing.M) {
	switch os.Getenv("VERIFIER") {
	case "":
		os.Exit(m.Run())
	case "good":
		if err := verify.Serve(context.Background(), os.Stdin, os.Stdout, verify.About{Kind: kind, VerifyingKey: digest}, echo{}); err != nil {
			os.Exit(1)
		}
	case "crashes at once":
		os.Exit(3)
	case "hangs at once":
		<-time.NewTimer(time.Hour).C // not select {}, which the runtime would notice
	case "garbage at once":
		fmt.Println("Segmentation fault")
	case "another key":
		_ = verify.Serve(context.Background(), os.Stdin, os.Stdout, verify.About{Kind: kind, VerifyingKey: strings.Repeat("0c", 32)}, echo{})
	default:
		misbehave(os.Getenv("VERIFIER"))
	}
}

// misbehave says the right first line and does wrong at the first question.
func misbehave(how string) {
	fmt.Printf(`{"protocol":1,"kind":%q,"verifying_key":%q}`+"\n", kind, digest)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	switch how {
	case "crashes":
		panic("a proof that the library cannot bear")
	case "hangs":
		<-time.NewTimer(time.Hour).C // not select {}, which the runtime would notice
	case "garbage":
		fmt.Println("yes")
	case "oversize line":
		fmt.Println(strings.Repeat("x", 2<<20))
	case "unknown verdict":
		fmt.Println(`{"id":1,"verdict":"maybe"}`)
	case "unknown field":
		fmt.Println(`{"id":1,"verdict":"accepted","certainly":true}`)
	case "two answers on a line":
		fmt.Println(`{"id":1,"verdict":"accepted"} {"id":1,"verdict":"accepted"}`)
	case "another question's answer":
		fmt.Println(`{"id":999,"verdict":"accepted"}`)
	case "dies in its answer":
		fmt.Print(`{"id":1,"verdict":"acc`)
	}
}

func client(t testing.TB, how string, deadline time.Duration) *verify.Client {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := verify.NewClient(verify.Options{
		Start: verify.Command(executable, nil, append(os.Environ(), "VERIFIER="+how), io.Discard),
		Kind:  kind, VerifyingKey: digest, Deadline: deadline, StartDeadline: deadline,
	})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	c := client(t, "good", time.Minute)
	for range 2 {
		if v := c.Check(t.Context(), digest, []byte(`{"a":1}`), []byte(`{"a":1}`)); v != (verify.Verdict{Outcome: verify.Accepted}) {
			t.Errorf("a right proof: %+v", v)
		}
		if v := c.Check(t.Context(), digest, []byte(`{"a":1}`), []byte(`{"a":2}`)); v.Outcome != verify.Refused || v.Reason == "" {
			t.Errorf("a wrong proof: %+v", v)
		}
		if v := c.Check(t.Context(), digest, []byte(`"trouble"`), []byte(`x`)); v.Outcome != verify.Undecided || v.Reason == "" {
			t.Errorf("a verifier in trouble: %+v", v)
		}
		if v := c.Check(t.Context(), strings.Repeat("0c", 32), []byte(`1`), []byte(`1`)); v.Outcome != verify.Refused {
			t.Errorf("a proof for another verifying key: %+v", v)
		}
		if err := c.Close(); err != nil { // the next round starts another process
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v := c.Check(ctx, digest, []byte(`1`), []byte(`1`)); v.Outcome != verify.Undecided {
		t.Errorf("nobody waits for the answer: %+v", v)
	}
	if err := c.KeyOf(worker.Hello{Kind: kind, VerifyingKey: digest}); err != nil {
		t.Error(err)
	}
	if err := c.KeyOf(worker.Hello{Kind: kind, VerifyingKey: "other"}); err == nil {
		t.Error("a worker with other keys was welcome")
	}
}

// TestNothingButAClearYes: whatever a verifier does, a proof is not accepted unless it says so, and the proof is not refused either.
func TestNothingButAClearYes(t *testing.T) {
	t.Parallel()
	for _, how := range []string{
		"crashes at once", "hangs at once", "garbage at once", "another key", "crashes", "hangs", "garbage", "oversize line", "unknown verdict",
		"unknown field", "two answers on a line", "another question's answer", "dies in its answer",
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			deadline := time.Minute
			if strings.HasPrefix(how, "hangs") {
				deadline = 300 * time.Millisecond
			}
			c := client(t, how, deadline)
			for range 2 {
				if v := c.Check(t.Context(), digest, []byte(`1`), []byte(`1`)); v.Outcome != verify.Undecided || v.Reason == "" {
					t.Errorf("%+v", v)
				}
			}
		})
	}
	missing := verify.NewClient(verify.Options{Start: verify.Command("/no/such/verifier", nil, nil, nil), Kind: kind, VerifyingKey: digest})
	if v := missing.Check(t.Context(), digest, []byte(`1`), []byte(`1`)); v.Outcome != verify.Undecided {
		t.Errorf("no verifier at all: %+v", v)
	}
	if got := (verify.Verdict{}).Outcome; got == verify.Accepted {
		t.Error("the zero verdict accepts")
	}
}

func TestServeRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"garbage\n", `{"id":1,"more":2}` + "\n", strings.Repeat("x", 2<<20)} {
		var out bytes.Buffer
		if err := verify.Serve(t.Context(), io.NopCloser(strings.NewReader(line)), &out, verify.About{Kind: kind, VerifyingKey: digest}, echo{}); err == nil {
			t.Errorf("%.40q was read", line)
		}
		if strings.Contains(out.String(), "accepted") {
			t.Errorf("%.40q was accepted", line)
		}
	}
	reader, _ := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := verify.Serve(ctx, reader, io.Discard, verify.About{}, echo{}); !errors.Is(err, context.Canceled) {
		t.Errorf("told to end: %v", err)
	}
}

// BenchmarkCheck is what asking another process costs, beside the verifying.
func BenchmarkCheck(b *testing.B) {
	c := client(b, "good", time.Minute)
	b.ReportAllocs()
	for b.Loop() {
		if v := c.Check(b.Context(), digest, []byte(`1`), []byte(`1`)); v.Outcome != verify.Accepted {
			b.Fatal(v)
		}
	}
}
