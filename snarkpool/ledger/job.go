package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"provingground/internal/database"
)

// Digest is a SHA-256; as text it is lower-case hex.
type Digest [sha256.Size]byte

// String returns the digest in lower-case hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(text []byte) error {
	if n, err := hex.Decode(d[:], text[:min(len(text), hex.EncodedLen(len(d)))]); err != nil || n != len(d) || len(text) != hex.EncodedLen(n) {
		return errors.New("a digest is 64 hexadecimal digits")
	}
	return nil
}

// Job is something to be proved.
type Job struct {
	// ID names it, uniquely among all sources that share a ledger.
	ID string
	// Kind is the sort of proof, and VerifyingKey the SHA-256 in hex of the key that it must satisfy, as workers say them in their hello.
	Kind         string
	VerifyingKey string
	// Statement is one JSON value that provers of this kind understand. Its bytes are what counts.
	Statement json.RawMessage
}

// Digest returns the SHA-256 of the statement's bytes.
func (j Job) Digest() Digest { return sha256.Sum256(j.Statement) }

const maxStatement = 1 << 20 // bytes: a line of the fed workers' protocol holds no longer one

func (j Job) check() error {
	err := errors.Join(checkName("job", j.ID), checkName("kind", j.Kind), checkName("verifying key", j.VerifyingKey))
	if len(j.Statement) > maxStatement || !json.Valid(j.Statement) || !utf8.Valid(j.Statement) {
		err = errors.Join(err, fmt.Errorf("the statement must be one JSON value of at most %d bytes", maxStatement))
	}
	return err
}

// ConflictError says which jobs were not stored because the ledger knows others by their IDs.
type ConflictError struct {
	Jobs []string
}

// Error names the jobs.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("the ledger knows other jobs by the names %q: let each source give names of its own", e.Jobs)
}

// Source is where jobs come from and proofs go to: a coordinator.
type Source interface {
	// Next returns at most n jobs. It may return one again that it returned before, and sooner or later must, as long as no proof of it was
	// delivered: those that it returned last may have been lost.
	Next(ctx context.Context, n int) ([]Job, error)
	// Deliver takes the proof of a job. It may be called again for the same job, with the same proof, when the first answer was not noted, or
	// with another one, when the first turned out not to be trusted.
	Deliver(ctx context.Context, proof Proof) error
}

// Fetch takes at most n jobs from a source, by whose name their proofs go back to it, and stores them. It returns how many were new. A
// [*ConflictError] means that the others are stored.
func (l *Ledger) Fetch(ctx context.Context, name string, from Source, n int) (int, error) {
	jobs, err := from.Next(ctx, n)
	if err != nil {
		return 0, fmt.Errorf("ask %s for SNARK jobs: %w", name, err)
	}
	return l.Submit(ctx, name, jobs)
}

// Submit stores jobs of a source and returns how many were new; those that are known already, proved or not, stay as they are. A
// [*ConflictError] means that the others are stored.
func (l *Ledger) Submit(ctx context.Context, source string, jobs []Job) (int, error) {
	err := checkName("source", source)
	var ids, kinds, keys, statements []string
	var digests [][]byte
	for _, job := range jobs {
		if bad := job.check(); bad != nil {
			err = errors.Join(err, fmt.Errorf("job %.*q: %w", maxName, job.ID, bad))
			continue
		}
		digest := job.Digest()
		ids, kinds, keys = append(ids, job.ID), append(kinds, job.Kind), append(keys, job.VerifyingKey)
		statements, digests = append(statements, string(job.Statement)), append(digests, digest[:])
	}
	if err != nil {
		return 0, fmt.Errorf("store jobs of %s: %w", source, err)
	}
	if len(ids) == 0 {
		return 0, nil
	}
	// Two at once may wait for each other's rows: all insert in the order of the names.
	const insert = `INSERT INTO snark_pool_job (job_id, source, kind, verifying_key, statement, statement_digest, submitted_at, available_at)
		SELECT id, $1, kind, key, statement::json, digest, now(), now() - ($7 - place) * interval '1 microsecond'
		FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[]) WITH ORDINALITY AS q(id, kind, key, statement, digest, place) ORDER BY id
		ON CONFLICT (job_id) DO NOTHING`
	const differing = `SELECT DISTINCT q.id FROM unnest($2::text[], $3::text[], $4::text[], $5::bytea[]) AS q(id, kind, key, digest) JOIN snark_pool_job j ON j.job_id = q.id
		WHERE (j.source, j.kind, j.verifying_key, j.statement_digest) <> ($1, q.kind, q.key, q.digest) ORDER BY 1`
	var stored int64
	var conflicts []string
	err = l.ask(ctx, "store jobs of "+source, func(ctx context.Context) error {
		var batch pgx.Batch // without BEGIN, a batch is one transaction
		batch.Queue(insert, source, ids, kinds, keys, statements, digests, len(ids))
		batch.Queue(differing, source, ids, kinds, keys, digests)
		results := l.pool.SendBatch(ctx, &batch)
		tag, err := results.Exec()
		if err == nil {
			stored = tag.RowsAffected()
			var rows pgx.Rows
			if rows, err = results.Query(); err == nil {
				conflicts, err = pgx.CollectRows(rows, pgx.RowTo[string])
			}
		}
		return errors.Join(err, results.Close())
	})
	if err == nil && len(conflicts) > 0 {
		err = &ConflictError{Jobs: conflicts}
	}
	return int(stored), err
}

// Prover is a worker and what it proves, as its hello says.
type Prover struct {
	// Worker is its name, HOST/POOL/INDEX.
	Worker       string
	Kind         string
	VerifyingKey string
}

// Lease lets one worker prove one job for a time.
type Lease struct {
	Job Job
	// Epoch is 1 for the job's first lease, and higher for each later one; it is the number of the attempt, too.
	Epoch int64
	// Until is the end by this machine's clock, reckoned from before the database was asked: no later than the database's own reckoning.
	Until time.Time
}

// Lease gives a worker at most n jobs of its kind, longest waiting first, for a time from a millisecond to a day. It is empty when there is
// nothing to do, and for a worker that is broken. When the answer is lost, what was leased comes back when its time has run out.
func (l *Ledger) Lease(ctx context.Context, to Prover, n int, d time.Duration) ([]Lease, error) {
	doing := "lease jobs to " + to.Worker
	err := errors.Join(checkWorker(to.Worker), checkName("kind", to.Kind), checkName("verifying key", to.VerifyingKey), checkDuration(d))
	if n < 1 || n > 1000 {
		err = errors.Join(err, fmt.Errorf("%d jobs at once: want 1 to 1000", n))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	// Whoever locks workers and jobs locks workers first. Leases are told apart by their epochs, so a job's row is all that is locked.
	const know = "INSERT INTO snark_pool_worker (worker) SELECT $1 WHERE NOT EXISTS (SELECT FROM snark_pool_worker WHERE worker = $1) ON CONFLICT DO NOTHING"
	const lease = `WITH due AS MATERIALIZED (
			SELECT job_id, epoch AS old, holder AS old_holder FROM snark_pool_job
			WHERE proved_epoch IS NULL AND kind = $2 AND verifying_key = $3 AND available_at <= now()
			AND NOT EXISTS (SELECT FROM snark_pool_worker WHERE worker = $1 AND broken_at IS NOT NULL)
			ORDER BY available_at LIMIT $4 FOR UPDATE SKIP LOCKED
		), taken AS (
			UPDATE snark_pool_job j SET epoch = epoch + 1, holder = $1, available_at = now() + $5::interval FROM due WHERE j.job_id = due.job_id
			RETURNING j.job_id, j.kind, j.verifying_key, j.statement::text AS statement, j.epoch
		), leased AS (
			INSERT INTO snark_pool_lease (job_id, epoch, worker, leased_at) SELECT job_id, epoch, $1, now() FROM taken
		), expired AS (
			UPDATE snark_pool_lease l SET ended_at = now(), ending = 'expired' FROM due
			WHERE due.old_holder IS NOT NULL AND l.job_id = due.job_id AND l.epoch = due.old AND l.ended_at IS NULL
		) SELECT job_id, kind, verifying_key, statement, epoch FROM taken ORDER BY job_id`
	var leases []Lease
	until := time.Now().Add(d)
	err = l.ask(ctx, doing, func(ctx context.Context) error {
		var batch pgx.Batch
		batch.Queue(know, to.Worker)
		batch.Queue(lease, to.Worker, to.Kind, to.VerifyingKey, n, d).Query(func(rows pgx.Rows) (err error) {
			leases, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (lease Lease, err error) {
				var statement string
				lease.Until = until
				err = row.Scan(&lease.Job.ID, &lease.Job.Kind, &lease.Job.VerifyingKey, &statement, &lease.Epoch)
				lease.Job.Statement = json.RawMessage(statement)
				return lease, err
			})
			return err
		})
		return l.pool.SendBatch(ctx, &batch).Close()
	})
	if err != nil {
		return nil, err
	}
	return leases, nil
}

func checkDuration(d time.Duration) error {
	if d < time.Millisecond || d > 24*time.Hour {
		return fmt.Errorf("a lease of %s: want a millisecond to a day", d)
	}
	return nil
}

// Held names a lease.
type Held struct {
	Job   string
	Epoch int64
}

func split(held []Held) (jobs []string, epochs []int64) {
	for _, h := range held {
		jobs, epochs = append(jobs, h.Job), append(epochs, h.Epoch)
	}
	return jobs, epochs
}

// mine selects the jobs of leases $2, $3 that a worker $1 still holds, in the order in which everybody locks jobs.
const mine = `WITH mine AS MATERIALIZED (
		SELECT job_id, j.epoch FROM snark_pool_job j JOIN unnest($2::text[], $3::bigint[]) AS q(job_id, epoch) USING (job_id)
		WHERE j.epoch = q.epoch AND j.holder = $1 AND j.proved_epoch IS NULL ORDER BY job_id FOR UPDATE OF j
	) `

// Renew lets leases of a worker end only after a further time from now on, and returns which it still holds: not those whose job was proved
// or leased to somebody else meanwhile. A lease whose time ran out is renewed, too, if nobody has the job. A proof of a lease that is not
// held any more is worth delivering all the same when it is nearly done: it may come first.
func (l *Ledger) Renew(ctx context.Context, worker string, d time.Duration, held ...Held) ([]Held, error) {
	if err := checkDuration(d); err != nil {
		return nil, fmt.Errorf("renew leases of %s: %w", worker, err)
	}
	jobs, epochs := split(held)
	return query[Held](ctx, l, "renew leases of "+worker, mine+`UPDATE snark_pool_job j SET available_at = now() + $4::interval FROM mine
		WHERE j.job_id = mine.job_id RETURNING j.job_id AS job, j.epoch`, worker, jobs, epochs, d)
}

// Release gives leases of a worker back unproved, so that the jobs come first for others. Those that it does not hold are left alone.
func (l *Ledger) Release(ctx context.Context, worker string, held ...Held) error {
	jobs, epochs := split(held)
	_, err := l.execute(ctx, "give back leases of "+worker, mine+`, freed AS (
			UPDATE snark_pool_job j SET available_at = least(available_at, submitted_at), holder = NULL FROM mine WHERE j.job_id = mine.job_id
		) UPDATE snark_pool_lease l SET ended_at = now(), ending = 'released' FROM mine
		WHERE l.job_id = mine.job_id AND l.epoch = mine.epoch AND l.ended_at IS NULL`, worker, jobs, epochs)
	return err
}

// Deliver takes at most n proofs that count to the source of their jobs, oldest first, and notes those that it took. It returns how many. A
// proof that the source refuses stops it, with the source's error, and is tried again next time. Several programs may call it at once: each
// takes others. The database's locks on these jobs are held until the source has answered.
func (l *Ledger) Deliver(ctx context.Context, name string, to Source, n int) (taken int, err error) {
	doing := "deliver proofs to " + name
	tx, err := l.begin(ctx, doing)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, undo(ctx, tx)) }()
	const due = `SELECT j.job_id, j.verifying_key, j.statement_digest, p.worker, p.epoch, p.proof, p.seconds, p.verdict, p.received_at
		FROM snark_pool_job j JOIN snark_pool_proof p ON p.job_id = j.job_id AND p.epoch = j.proved_epoch
		WHERE j.source = $1 AND j.proved_epoch IS NOT NULL AND j.delivered_at IS NULL ORDER BY j.proved_at LIMIT $2 FOR UPDATE OF j SKIP LOCKED`
	var proofs []Proof
	err = l.ask(ctx, doing, func(ctx context.Context) error {
		rows, err := tx.Query(ctx, due, name, n)
		if err != nil {
			return err
		}
		proofs, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Proof, err error) {
			var digest []byte
			err = row.Scan(&p.Job, &p.VerifyingKey, &digest, &p.Worker, &p.Epoch, &p.Proof, &p.Seconds, &p.Verdict, &p.At)
			copy(p.Statement[:], digest)
			p.At = p.At.UTC()
			return p, err
		})
		return err
	})
	if err != nil || len(proofs) == 0 {
		return 0, err
	}
	var delivered []string
	var refused error
	for _, p := range proofs {
		if refused = to.Deliver(ctx, p); refused != nil {
			refused = fmt.Errorf("deliver the proof of job %s to %s: %w", p.Job, name, refused)
			break
		}
		delivered = append(delivered, p.Job)
	}
	if len(delivered) == 0 {
		return 0, refused
	}
	// What was delivered is noted even when the caller gives up meanwhile, if the database is quick.
	err = l.ask(context.WithoutCancel(ctx), doing, func(ctx context.Context) error {
		if _, err := tx.Exec(ctx, "UPDATE snark_pool_job SET delivered_at = clock_timestamp() WHERE job_id = ANY($1)", delivered); err != nil {
			return err
		}
		return tx.Commit(ctx)
	})
	if err != nil {
		return 0, errors.Join(refused, err)
	}
	return len(delivered), refused
}

func (l *Ledger) begin(ctx context.Context, doing string) (tx pgx.Tx, err error) {
	err = l.ask(ctx, doing, func(ctx context.Context) error {
		tx, err = l.pool.Begin(ctx)
		return err
	})
	return tx, err
}

// undo rolls a transaction back unless it has ended. When even that gets no answer the connection is closed, which is as good.
func undo(ctx context.Context, tx pgx.Tx) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer cancel()
	if err := tx.Rollback(limited); err != nil && !errors.Is(err, pgx.ErrTxClosed) && !database.Passing(err) {
		return err
	}
	return nil
}

// Backlog is how much work of one kind there is.
type Backlog struct {
	Source       string
	Kind         string
	VerifyingKey string
	// Waiting may be leased now, Later after a failure's wait, Leased is held, Undelivered is proved and has not reached its source.
	Waiting, Later, Leased, Undelivered int64
}

// Backlogs returns how much there is to do, by source and kind; nothing when all is delivered.
func (l *Ledger) Backlogs(ctx context.Context) ([]Backlog, error) {
	return query[Backlog](ctx, l, "count the jobs", `SELECT source, kind, verifying_key,
		count(*) FILTER (WHERE proved_epoch IS NULL AND available_at <= now()) AS waiting,
		count(*) FILTER (WHERE proved_epoch IS NULL AND available_at > now() AND holder IS NULL) AS later,
		count(*) FILTER (WHERE proved_epoch IS NULL AND available_at > now() AND holder IS NOT NULL) AS leased,
		count(*) FILTER (WHERE proved_epoch IS NOT NULL) AS undelivered
		FROM snark_pool_job WHERE delivered_at IS NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`)
}
