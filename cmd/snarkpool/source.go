//go:build linux

package main

import (
	"context"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"provingground/cmd/internal/boot"
	"provingground/snarkpool"
	"provingground/snarkpool/coordinator"
	"provingground/snarkpool/ledger"
	"provingground/snarkpool/worker/gnark"
)

// coordinatorSource has the work of a coordinator (package coordinator) proved by the gnark worker: the statement of a job is made from that of the work, so
// that the proof is for this work and no other. A job's ID is the work's ID and statement, with a colon between them.
type coordinatorSource struct {
	client       *coordinator.Client
	host         string // in whose name work is fetched
	keys         gnark.Options
	verifyingKey string
	log          *zap.Logger
}

// feeds returns the sources of jobs that the command line names. Close them when nobody asks them any more.
func (c call) feeds(ctx context.Context, host string, keys gnark.Options, log *zap.Logger) (all []snarkpool.Feed, closeAll func(), err error) {
	var clients []*coordinator.Client
	closeAll = func() {
		for _, client := range clients {
			client.Close()
		}
	}
	if len(c.sources) == 0 {
		return nil, closeAll, nil
	}
	verifyingKey, err := gnark.EnsureKeys(ctx, keys)
	if err != nil {
		return nil, nil, fmt.Errorf("the keys of prove gnark: %w", err)
	}
	for _, text := range c.sources {
		name, address, _ := strings.Cut(text, "=")
		client, err := coordinator.New(address, coordinator.Options{})
		if err != nil {
			closeAll()
			return nil, nil, boot.Usagef("-coordinator %s: %w", text, err)
		}
		clients = append(clients, client)
		all = append(all, snarkpool.Feed{Name: name, Source: &coordinatorSource{
			client: client, host: host, keys: keys, verifyingKey: verifyingKey, log: log.Named("coordinator").With(zap.String("coordinator", name)),
		}})
	}
	return all, closeAll, nil
}

// Next implements [ledger.Source].
func (s *coordinatorSource) Next(ctx context.Context, n int) ([]ledger.Job, error) {
	works, err := s.client.Work(ctx, s.host, min(n, coordinator.MaxWork))
	if err != nil {
		return nil, err //nolint:wrapcheck // names the coordinator
	}
	jobs := make([]ledger.Job, len(works))
	for i, work := range works {
		jobs[i] = ledger.Job{
			ID: work.ID + ":" + work.Statement, Kind: gnark.Kind, VerifyingKey: s.verifyingKey, Statement: s.keys.Statement(work.Statement, 0),
		}
	}
	return jobs, nil
}

// Deliver implements [ledger.Source]. A proof that the coordinator has no use for is delivered all the same: it would have none the next time either.
func (s *coordinatorSource) Deliver(ctx context.Context, proof ledger.Proof) error {
	id, statement, found := strings.Cut(proof.Job, ":")
	if !found {
		return fmt.Errorf("job %s is not of this coordinator: give each source a name of its own", proof.Job)
	}
	verdict, err := s.client.Deliver(ctx, coordinator.Proof{ID: id, Worker: proof.Worker, Statement: statement, Proof: proof.Proof})
	if err != nil {
		return err //nolint:wrapcheck // names the coordinator
	}
	if !verdict.Counts() {
		s.log.Warn("the coordinator did not take a proof", zap.String("job", id), zap.String("worker", proof.Worker), zap.String("verdict", string(verdict.Status)),
			zap.String("reason", verdict.Reason))
	}
	return nil
}
