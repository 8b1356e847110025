package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"provingground/snarkpool/worker"
)

// Protocol is the version of the verifier's protocol.
const Protocol = 1

// maxLineBytes bounds a line in both directions: the longest statement and the longest proof that a worker's line can carry, and some room.
const maxLineBytes = worker.MaxLineBytes + 4096

// ErrRefused is wrapped by the error of a [Verifier] that looked at the proof and found that it does not hold.
var ErrRefused = errors.New("the proof does not hold")

// Verifier checks proofs of one kind under one verifying key.
type Verifier interface {
	// Verify returns nil if the proof holds for the statement, an error that wraps [ErrRefused] if it does not, and any other error if the
	// verifier itself is in trouble, which says nothing about the proof.
	Verify(ctx context.Context, statement json.RawMessage, proof []byte) error
}

// About is the verifier's first line.
type About struct {
	Protocol     int    `json:"protocol"`
	Kind         string `json:"kind"`
	VerifyingKey string `json:"verifying_key"` // SHA-256 in lower-case hex
}

type question struct {
	ID           uint64          `json:"id"`
	VerifyingKey string          `json:"verifying_key"`
	Statement    json.RawMessage `json:"statement"`
	Proof        []byte          `json:"proof"`
}

type answer struct {
	ID      uint64 `json:"id"`
	Verdict string `json:"verdict"`
	Reason  string `json:"reason,omitempty"`
}

// Serve is the verifier's side: it answers questions one after the other until in ends, which is its ordinary end, or ctx does. Serve owns in
// and closes it when ctx ends, which must end a blocked read. A line that it cannot read is an error, since nothing after it can be trusted.
func Serve(ctx context.Context, in io.ReadCloser, out io.Writer, about About, verifier Verifier) error {
	about.Protocol = Protocol
	stop := context.AfterFunc(ctx, func() { _ = in.Close() })
	defer stop()
	if err := writeLine(out, about); err != nil {
		return err
	}
	lines := newLines(in)
	for {
		line, err := lines.next()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read a question: %w", err)
		}
		var q question
		if err := strict(line, &q); err != nil {
			return fmt.Errorf("read a question: %w", err)
		}
		if err := writeLine(out, reply(ctx, about, verifier, q)); err != nil {
			return err
		}
	}
}

func reply(ctx context.Context, about About, verifier Verifier, q question) answer {
	if q.VerifyingKey != about.VerifyingKey {
		return answer{ID: q.ID, Verdict: Refused.String(), Reason: "it is for another verifying key, " + q.VerifyingKey}
	}
	err := verifier.Verify(ctx, q.Statement, q.Proof)
	switch {
	case err == nil:
		return answer{ID: q.ID, Verdict: Accepted.String()}
	case errors.Is(err, ErrRefused):
		return answer{ID: q.ID, Verdict: Refused.String(), Reason: err.Error()}
	default:
		return answer{ID: q.ID, Verdict: Undecided.String(), Reason: err.Error()}
	}
}

func writeLine(out io.Writer, value any) error {
	line, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write a line: %w", err)
	}
	if _, err := out.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write a line: %w", err)
	}
	return nil
}

func strict(line []byte, value any) error {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		return err
	}
	if decoder.InputOffset() != int64(len(line)) {
		return errors.New("more than one value on a line")
	}
	return nil
}
