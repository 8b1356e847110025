//go:build linux

package snarkpool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"provingground/snarkpool/ledger"
	"provingground/snarkpool/poolfile"
	"provingground/snarkpool/worker/verify"
)

// judge asks verifier processes about proofs, one process for each sort of proof. Safe for concurrent use.
type judge struct {
	start    map[string]func(context.Context) (verify.Process, error)
	sampling ledger.Sampling
	// dir keeps the jobs whose proofs may still have to be verified, for the next agent too.
	dir string

	mu        sync.Mutex
	clients   map[sort]*verify.Client
	fitFor    map[sort]bool
	rule      map[string]string          // by pool: all, sample or none
	standings map[string]ledger.Standing // by worker
	undecided map[ledger.Held]int
}

func newJudge(start map[string]func(context.Context) (verify.Process, error), secret [32]byte, dir string) *judge {
	return &judge{
		start: start, dir: dir, sampling: ledger.DefaultSampling(secret), clients: map[sort]*verify.Client{}, fitFor: map[sort]bool{},
		rule: map[string]string{}, standings: map[string]ledger.Standing{}, undecided: map[ledger.Held]int{},
	}
}

// errNoVerifier says that nobody can verify proofs of a kind.
var errNoVerifier = errors.New("no verifier for this kind of proof is configured")

func (j *judge) client(of sort) (*verify.Client, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if c := j.clients[of]; c != nil {
		return c, nil
	}
	start := j.start[of.kind]
	if start == nil {
		return nil, fmt.Errorf("%s: %w", of.kind, errNoVerifier)
	}
	c := verify.NewClient(verify.Options{Start: start, Kind: of.kind, VerifyingKey: of.key})
	j.clients[of] = c
	return c, nil
}

// fit returns nil if the verifier is able to judge proofs of a job's sort: it must refuse what is no proof. A job is given out only then, since nobody could
// use its proof.
func (j *judge) fit(ctx context.Context, p ledger.Prover, job ledger.Job) error {
	of := sort{p.Kind, p.VerifyingKey}
	j.mu.Lock()
	known := j.fitFor[of] || j.rule[poolOf(p.Worker)] == poolfile.VerifyNone
	j.mu.Unlock()
	if known {
		return nil
	}
	c, err := j.client(of)
	if err != nil {
		return err
	}
	verdict := c.Check(ctx, job.VerifyingKey, job.Statement, []byte{0})
	switch verdict.Outcome {
	case verify.Refused:
		j.mu.Lock()
		defer j.mu.Unlock()
		j.fitFor[of] = true
		return nil
	case verify.Accepted:
		return fmt.Errorf("the verifier of %s takes a zero byte for a proof: it cannot be trusted", p.Kind)
	case verify.Undecided:
	}
	return fmt.Errorf("the verifier of %s cannot judge: %s", p.Kind, verdict.Reason)
}

// patience is how often a proof is asked about that its verifier does not get through with, while it judges others.
const patience = 5

// errUndecided says that a verifier did not say whether a proof holds.
var errUndecided = errors.New("the verifier does not say whether the proof holds")

// verdict is what the courier asks of each proof.
func (j *judge) verdict(ctx context.Context, p ledger.Proof) (ledger.Verdict, error) {
	j.mu.Lock()
	rule, standing := j.rule[poolOf(p.Worker)], j.standings[p.Worker]
	j.mu.Unlock()
	standing.Worker = p.Worker
	if rule == poolfile.VerifyNone || rule == poolfile.VerifySample && !j.sampling.MustVerify(standing, p.Job, p.Epoch) {
		return ledger.Unverified, nil
	}
	held := ledger.Held{Job: p.Job, Epoch: p.Epoch}
	job, err := j.jobOf(held)
	if err != nil {
		return "", err
	}
	of := sort{job.Kind, p.VerifyingKey}
	c, err := j.client(of)
	if err != nil {
		return "", err
	}
	v := c.Check(ctx, p.VerifyingKey, job.Statement, p.Proof)
	j.mu.Lock()
	defer j.mu.Unlock()
	switch v.Outcome {
	case verify.Accepted:
		delete(j.undecided, held)
		return ledger.Valid, nil
	case verify.Refused:
		delete(j.undecided, held)
		return ledger.Invalid, nil
	case verify.Undecided:
	}
	if ctx.Err() == nil {
		j.undecided[held]++
	}
	if j.undecided[held] >= patience && j.fitFor[of] {
		delete(j.undecided, held)
		return ledger.Invalid, nil
	}
	return "", fmt.Errorf("proof of job %s: %w: %s", p.Job, errUndecided, v.Reason)
}

// keptJob is a job on disk, whose statement a verifier needs.
type keptJob struct {
	Kind      string          `json:"kind"`
	Statement json.RawMessage `json:"statement"`
}

func (j *judge) path(held ledger.Held) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", held.Epoch, held.Job))
	return filepath.Join(j.dir, hex.EncodeToString(sum[:]))
}

// keep writes a job down before it is given out.
func (j *judge) keep(held ledger.Held, job ledger.Job) error {
	return writeJSON(j.path(held), keptJob{job.Kind, job.Statement})
}

// drop forgets a job whose proof nobody will have to verify.
func (j *judge) drop(held ledger.Held) error {
	if err := os.Remove(j.path(held)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget job %s: %w", held.Job, err)
	}
	return nil
}

func (j *judge) jobOf(held ledger.Held) (keptJob, error) {
	var job keptJob
	found, err := readJSON(j.path(held), &job)
	if err == nil && !found {
		err = fmt.Errorf("the statement of job %s is not in %s any more: put the directory back, or move the spool away", held.Job, j.dir)
	}
	return job, err
}

// tidy drops the jobs that nobody needs any more.
func (j *judge) tidy(needed []ledger.Held) error {
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of jobs: %w", err)
	}
	files, err := os.ReadDir(j.dir)
	if err != nil {
		return fmt.Errorf("read the directory of jobs: %w", err)
	}
	paths := make([]string, 0, len(needed))
	for _, held := range needed {
		paths = append(paths, j.path(held))
	}
	for _, file := range files {
		if path := filepath.Join(j.dir, file.Name()); !slices.Contains(paths, path) {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("tidy the directory of jobs: %w", err)
			}
		}
	}
	return nil
}

// poolOf is the pool of a worker HOST/POOL/INDEX.
func poolOf(worker string) string {
	_, rest, _ := strings.Cut(worker, "/")
	pool, _, _ := strings.Cut(rest, "/")
	return pool
}

// know sets how a pool's proofs are verified.
func (j *judge) know(pool, rule string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.rule[pool] = rule
}

// trust sets how far a worker is trusted.
func (j *judge) trust(standing ledger.Standing) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.standings[standing.Worker] = standing
}

// verified raises a worker's standing by a proof that was found valid.
func (j *judge) verified(worker string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.standings[worker]
	s.Worker = worker
	s.Verified++
	j.standings[worker] = s
}

// close ends the verifier processes.
func (j *judge) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var errs []error
	for _, c := range j.clients {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
