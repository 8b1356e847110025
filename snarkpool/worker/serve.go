package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Prover makes the proofs of one kind. Serve calls it for one job at a time.
type Prover interface {
	// Prove proves a statement and returns the proof's bytes. An error fails the job, not the worker. When ctx ends it should return soon.
	Prove(ctx context.Context, statement json.RawMessage) ([]byte, error)
}

// Serve is the worker's side of the conversation: it says hello, proves job after job, and says bye when the agent does, when in ends, or when
// ctx ends. A job that is out is finished first, unless ctx ends: then it is dropped, and Serve returns the cause of ctx. Any other
// error means that the agent broke the protocol or no longer listens. Serve owns in and closes it before it returns, which must end a blocked
// read; out stays the caller's.
func Serve(ctx context.Context, in io.ReadCloser, out io.Writer, hello Hello, prover Prover) error {
	s := server{out: out, jobs: make(chan Job), done: make(chan struct{})}
	if err := s.send(hello); err != nil {
		return errors.Join(err, in.Close())
	}
	reading, stop := context.WithCancel(ctx)
	go s.read(reading, in)
	err := s.prove(ctx, prover)
	stop()
	if closeErr := in.Close(); closeErr != nil && err == nil {
		err = fmt.Errorf("close the jobs' stream: %w", closeErr)
	}
	<-s.done
	return err
}

type server struct {
	out     io.Writer
	jobs    chan Job // closed by the reader, after readErr is set
	readErr error
	done    chan struct{}
}

func (s *server) send(m Message) error {
	line, err := Append(nil, m)
	if err != nil {
		return err
	}
	if _, err := s.out.Write(line); err != nil {
		return fmt.Errorf("write %s to the agent: %w", m.typeName(), err)
	}
	return nil
}

func (s *server) read(ctx context.Context, in io.Reader) {
	defer close(s.done)
	defer close(s.jobs)
	var decoder Decoder
	buffer := make([]byte, 32<<10)
	for {
		n, err := in.Read(buffer)
		messages, bad := decoder.Feed(buffer[:n])
		for _, m := range messages {
			switch m := m.(type) {
			case Job:
				select {
				case s.jobs <- m:
				case <-ctx.Done():
					return
				}
			case Bye:
				return
			default:
				s.readErr = &ProtocolError{Err: fmt.Errorf("an agent does not send %s", m.typeName())}
				return
			}
		}
		switch {
		case bad != nil:
			s.readErr = bad
			return
		case errors.Is(err, io.EOF):
			s.readErr = decoder.End()
			return
		case err != nil:
			s.readErr = fmt.Errorf("read jobs: %w", err)
			return
		}
	}
}

func (s *server) prove(ctx context.Context, prover Prover) error {
	for {
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), s.send(Bye{Reason: "told to end"}))
		case job, ok := <-s.jobs:
			if !ok {
				return errors.Join(s.readErr, s.send(Bye{}))
			}
			if err := s.one(ctx, prover, job); err != nil {
				return err
			}
		}
	}
}

func (s *server) one(ctx context.Context, prover Prover, job Job) error {
	if err := s.send(Started{Job: job.ID, Attempt: job.Attempt}); err != nil {
		return err
	}
	begun := time.Now()
	proof, err := prover.Prove(ctx, job.Statement)
	if ctx.Err() != nil && err != nil {
		return nil //nolint:nilerr // the loop sees the end of ctx; the agent sees the job unanswered
	}
	if err != nil {
		return s.send(Failed{Job: job.ID, Attempt: job.Attempt, Reason: err.Error()})
	}
	return s.send(Proof{Job: job.ID, Attempt: job.Attempt, Proof: proof, Seconds: time.Since(begun).Seconds()})
}
