package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// Outcome is what became of an entry.
type Outcome string

// The outcomes.
const (
	// Accepted: the proof counts. Other entries are accepted, too.
	Accepted Outcome = "accepted"
	// Late: the proof counts, though its lease was over.
	Late Outcome = "late"
	// Duplicate: another proof of the job is counted already. A verified one takes the place of one that is not, uncounted.
	Duplicate Outcome = "duplicate"
	// Repeated: this very delivery, or failure, was stored before; nothing has changed.
	Repeated Outcome = "repeated"
	// Refused: the proof does not count: it is invalid, not verified and from a broken worker, or not of what its worker was given.
	Refused Outcome = "refused"
)

// Result is what became of an entry.
type Result struct {
	Outcome Outcome
	// Reason says why a proof was refused; else "".
	Reason string
	// Revoked is how many proofs ceased to count with it, so that their jobs are proved again.
	Revoked int
}

// Accept stores one proof, whose verdict must be known, and says whether it counts. It may be repeated: the first delivery of a lease is the
// one that is stored, and a repeated one is Repeated.
func (l *Ledger) Accept(ctx context.Context, proof Proof) (Result, error) {
	return l.one(ctx, "accept a proof of "+proof.Worker, Entry{Proof: &proof})
}

// Fail stores a failure. It may be repeated.
func (l *Ledger) Fail(ctx context.Context, failure Failure) (Result, error) {
	return l.one(ctx, "note a failure of "+failure.Worker, Entry{Failure: &failure})
}

// Distrust marks a worker as broken, see [Distrust]. It may be repeated.
func (l *Ledger) Distrust(ctx context.Context, distrust Distrust) (Result, error) {
	return l.one(ctx, "distrust "+distrust.Worker, Entry{Distrust: &distrust})
}

// Audit stores a command at once, rather than through a [Spool]. When the answer is lost and it is repeated, it may be there twice.
func (l *Ledger) Audit(ctx context.Context, audit Audit) error {
	_, err := l.one(ctx, "audit a command", Entry{Audit: &audit})
	return err
}

func (l *Ledger) one(ctx context.Context, doing string, entry Entry) (Result, error) {
	entry, err := entry.prepared()
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", doing, err)
	}
	results, err := l.apply(ctx, doing, "", []Numbered{{Entry: entry}})
	if err != nil {
		return Result{}, err
	}
	return results[0], nil
}

// Apply stores entries of a spool, which must be in order, in one transaction with the note how far it came. Those that were stored before
// are Repeated. It may be repeated, and either all of it is done or nothing.
func (l *Ledger) Apply(ctx context.Context, spool string, entries []Numbered) ([]Result, error) {
	return l.apply(ctx, "store entries of a spool", spool, entries)
}

// Applied returns the number of the last entry of a spool that is stored; 0 for none.
func (l *Ledger) Applied(ctx context.Context, spool string) (uint64, error) {
	type row struct{ Applied int64 }
	rows, err := query[row](ctx, l, "ask how far a spool is stored", "SELECT applied FROM snark_pool_spool WHERE spool = $1::uuid", spool)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	return uint64(rows[0].Applied), nil
}

func (l *Ledger) apply(ctx context.Context, doing, spool string, entries []Numbered) (results []Result, err error) {
	for _, e := range entries {
		if e.Entry.Proof != nil && e.Entry.Proof.Verdict == "" {
			return nil, fmt.Errorf("%s: the proof of job %s has no verdict yet", doing, e.Entry.Proof.Job)
		}
	}
	err = l.ask(ctx, doing, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
			results, err = applyIn(ctx, tx, spool, entries)
			return err
		})
	})
	return results, err
}

func applyIn(ctx context.Context, tx pgx.Tx, spool string, entries []Numbered) ([]Result, error) {
	results := make([]Result, len(entries))
	known := 0
	if spool != "" {
		var applied int64
		const lock = `INSERT INTO snark_pool_spool AS s (spool, applied, applied_at) VALUES ($1, 0, now())
			ON CONFLICT (spool) DO UPDATE SET applied = s.applied RETURNING applied`
		if err := tx.QueryRow(ctx, lock, spool).Scan(&applied); err != nil {
			return nil, err
		}
		for known < len(entries) && entries[known].Seq <= uint64(applied) {
			results[known].Outcome = Repeated
			known++
		}
	}
	if known == len(entries) {
		return results, nil
	}
	b, err := loadBook(ctx, tx, entries[known:])
	if err != nil {
		return nil, err
	}
	for i, e := range entries[known:] {
		results[known+i] = b.enter(e.Entry)
	}
	batch := b.writes()
	if spool != "" {
		batch.Queue("UPDATE snark_pool_spool SET applied = $2, applied_at = now() WHERE spool = $1", spool, int64(entries[len(entries)-1].Seq))
	}
	if batch.Len() == 0 {
		return results, nil
	}
	return results, tx.SendBatch(ctx, batch).Close()
}

// book is the part of the ledger that a batch of entries concerns, as its transaction has locked it. Its rules are plain code: enter changes
// the book, writes says what to tell the database.
type book struct {
	now     time.Time
	workers map[string]*workerRow
	jobs    map[string]*jobRow
	leases  map[Held]*leaseRow
	proofs  map[Held]*proofRow
	minutes map[minuteKey]*minuteRow
	events  []Event
	audits  []Audit
}

type workerRow struct {
	Worker   string
	Verified int64
	Broken   bool

	reason  string // why it broke in this batch
	changed bool
}

type jobRow struct {
	JobID        string
	VerifyingKey string
	Digest       []byte
	Epoch        int64
	Holder       *string
	AvailableAt  time.Time
	Failures     int
	ProvedEpoch  *int64

	unverified bool // the proof that counts is not verified
	changed    bool
	revoked    bool // the proof that counted does not any more: the source gets another one
}

type leaseRow struct {
	JobID  string
	Epoch  int64
	Worker string
	Ending *string

	changed bool
}

type proofRow struct {
	JobID   string
	Epoch   int64
	Worker  string
	Verdict Verdict
	Revoked bool

	fresh   *Proof // to be inserted
	outcome Outcome
	changed bool
}

type minuteKey struct {
	worker string
	minute time.Time
}

type minuteRow struct {
	proofs, late, duplicates, refused, failures, revoked, timed int
	seconds                                                     float64
	secondsMax, cpu                                             *float64
	memory, energy                                              *int64
}

// loadBook locks and reads what the entries concern. Whoever locks locks workers first, then jobs, each in the order of their names.
func loadBook(ctx context.Context, tx pgx.Tx, entries []Numbered) (*book, error) {
	b := &book{workers: map[string]*workerRow{}, jobs: map[string]*jobRow{}, leases: map[Held]*leaseRow{}, proofs: map[Held]*proofRow{}, minutes: map[minuteKey]*minuteRow{}}
	var workers, jobs, suspects []string
	for _, e := range entries {
		if name := e.Entry.worker(); name != "" {
			workers = append(workers, name)
		}
		if id := e.Entry.job(); id != "" {
			jobs = append(jobs, id)
		}
		if e.Entry.Distrust != nil {
			suspects = append(suspects, e.Entry.Distrust.Worker)
		}
		if e.Entry.Proof != nil && e.Entry.Proof.Verdict == Invalid {
			suspects = append(suspects, e.Entry.Proof.Worker)
		}
	}
	slices.Sort(workers)
	workers = slices.Compact(workers)
	if len(workers) == 0 {
		return b, nil
	}
	var batch pgx.Batch
	batch.Queue(`INSERT INTO snark_pool_worker (worker) SELECT name FROM unnest($1::text[]) AS name
		WHERE NOT EXISTS (SELECT FROM snark_pool_worker WHERE worker = name) ORDER BY name ON CONFLICT DO NOTHING`, workers)
	batch.Queue("SELECT worker, verified, broken_at IS NOT NULL AS broken FROM snark_pool_worker WHERE worker = ANY($1) ORDER BY worker FOR UPDATE", workers).
		Query(collect(func(row workerRow) { b.workers[row.Worker] = &row }))
	// Nothing is added to a suspect's proofs while its row is locked.
	batch.Queue(`SELECT job_id, verifying_key, statement_digest AS digest, epoch, holder, available_at, failures, proved_epoch FROM snark_pool_job
		WHERE job_id = ANY($1) OR job_id IN (SELECT job_id FROM snark_pool_proof WHERE worker = ANY($2) AND verdict = 'unverified' AND revoked_at IS NULL)
		ORDER BY job_id FOR UPDATE`, jobs, suspects).
		Query(collect(func(row jobRow) { b.jobs[row.JobID] = &row }))
	batch.Queue("SELECT clock_timestamp()").QueryRow(func(row pgx.Row) error { return row.Scan(&b.now) })
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, err
	}
	if len(b.jobs) == 0 {
		return b, nil
	}
	// Leases and proofs change under the lock of their job only.
	var held []Held
	for _, e := range entries {
		if e.Entry.Proof != nil {
			held = append(held, Held{e.Entry.Proof.Job, e.Entry.Proof.Epoch})
		}
		if e.Entry.Failure != nil {
			held = append(held, Held{e.Entry.Failure.Job, e.Entry.Failure.Epoch})
		}
	}
	ids, epochs := split(held)
	var rest pgx.Batch
	rest.Queue("SELECT job_id, epoch, worker, ending FROM snark_pool_lease JOIN (SELECT DISTINCT * FROM unnest($1::text[], $2::bigint[]) AS u(job_id, epoch)) q USING (job_id, epoch)", ids, epochs).
		Query(collect(func(row leaseRow) { b.leases[Held{row.JobID, row.Epoch}] = &row }))
	rest.Queue(`SELECT job_id, epoch, worker, verdict, revoked_at IS NOT NULL AS revoked FROM snark_pool_proof
		WHERE (job_id, epoch) IN (SELECT * FROM unnest($1::text[], $2::bigint[])) OR worker = ANY($3) AND verdict = 'unverified' AND revoked_at IS NULL`, ids, epochs, suspects).
		Query(collect(func(row proofRow) { b.proofs[Held{row.JobID, row.Epoch}] = &row }))
	rest.Queue(`SELECT job_id FROM snark_pool_job j JOIN snark_pool_proof p USING (job_id)
		WHERE job_id = ANY($1) AND p.epoch = j.proved_epoch AND p.verdict = 'unverified'`, ids).
		Query(collect(func(row jobRow) { b.jobs[row.JobID].unverified = true }))
	return b, tx.SendBatch(ctx, &rest).Close()
}

// collect hands each row of a query on, by the columns' names.
func collect[T any](each func(T)) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		list, err := pgx.CollectRows(rows, pgx.RowToStructByNameLax[T])
		for _, row := range list {
			each(row)
		}
		return err
	}
}

// enter adds an entry to the book.
func (b *book) enter(e Entry) Result {
	switch {
	case e.Proof != nil:
		return b.proof(e.Proof)
	case e.Failure != nil:
		return b.failure(e.Failure)
	case e.Distrust != nil:
		return Result{Outcome: Accepted, Revoked: b.distrust(e.Distrust.Worker, e.Distrust.Reason, e.Distrust.At)}
	case e.Pulled != nil:
		m := b.minute(e.Pulled.Worker, e.Pulled.At)
		if e.Pulled.Delivered {
			m.proofs += e.Pulled.Proofs
			m.time(e.Pulled.Seconds)
		} else {
			m.refused += e.Pulled.Proofs
		}
	case e.Sample != nil:
		m := b.minute(e.Sample.Worker, e.Sample.At)
		m.cpu = sum(m.cpu, e.Sample.CPUSeconds)
		m.energy = sum(m.energy, e.Sample.EnergyMillijoules)
		if e.Sample.MemoryBytes != nil && (m.memory == nil || *m.memory < *e.Sample.MemoryBytes) {
			m.memory = e.Sample.MemoryBytes
		}
	case e.Event != nil:
		b.events = append(b.events, *e.Event)
	case e.Audit != nil:
		b.audits = append(b.audits, *e.Audit)
	}
	return Result{Outcome: Accepted}
}

func (b *book) proof(p *Proof) Result {
	key := Held{p.Job, p.Epoch}
	if b.proofs[key] != nil {
		return Result{Outcome: Repeated}
	}
	minute := b.minute(p.Worker, p.At)
	job, lease := b.jobs[p.Job], b.leases[key]
	refuse := func(format string, arguments ...any) Result {
		minute.refused++
		result := Result{Outcome: Refused, Reason: fmt.Sprintf(format, arguments...)}
		if p.Verdict == Invalid {
			result.Revoked = b.distrust(p.Worker, "it delivered an invalid proof of job "+p.Job, p.At)
		}
		return result
	}
	switch {
	case job == nil:
		return refuse("the ledger knows no job %s", p.Job)
	case lease == nil || lease.Worker != p.Worker:
		return refuse("job %s was not given to %s as attempt %d", p.Job, p.Worker, p.Epoch)
	case !slices.Equal(job.Digest, p.Statement[:]) || job.VerifyingKey != p.VerifyingKey:
		return refuse("the proof is for another statement or verifying key than job %s has", p.Job)
	}
	row := &proofRow{JobID: p.Job, Epoch: p.Epoch, Worker: p.Worker, Verdict: p.Verdict, fresh: p}
	held := job.Epoch == p.Epoch && job.Holder != nil
	inTime := held && b.now.Before(job.AvailableAt)
	if held {
		job.Holder, job.AvailableAt, job.changed = nil, b.now, true
	}
	if p.Verdict == Invalid {
		row.outcome = Refused
		b.proofs[key] = row
		lease.end("invalid")
		return refuse("the proof of job %s by %s is invalid", p.Job, p.Worker)
	}
	worker := b.workers[p.Worker]
	if p.Verdict == Unverified && worker.Broken {
		if lease.Ending != nil && *lease.Ending == "refused" {
			return Result{Outcome: Repeated}
		}
		lease.end("refused")
		return refuse("the proof of job %s is not verified, and %s is broken", p.Job, p.Worker)
	}
	lease.end("delivered")
	b.proofs[key] = row
	if p.Verdict == Valid {
		worker.Verified++
		worker.changed = true
	}
	minute.time(p.Seconds)
	known, replaces := job.ProvedEpoch != nil, job.unverified && p.Verdict == Valid
	if known && !replaces {
		minute.duplicates++
		row.outcome = Duplicate
		return Result{Outcome: Duplicate}
	}
	epoch := p.Epoch
	job.ProvedEpoch, job.unverified, job.changed = &epoch, p.Verdict == Unverified, true
	row.outcome = Accepted
	if !inTime {
		row.outcome = Late
	}
	if known {
		// A verified proof takes the place of one that may have to be revoked. The job is counted once, and was.
		job.revoked = true
		minute.duplicates++
		return Result{Outcome: Duplicate}
	}
	minute.proofs++
	if !inTime {
		minute.late++
	}
	return Result{Outcome: row.outcome}
}

func (b *book) failure(f *Failure) Result {
	job, lease := b.jobs[f.Job], b.leases[Held{f.Job, f.Epoch}]
	switch {
	case job == nil:
		return Result{Outcome: Refused, Reason: "the ledger knows no job " + f.Job}
	case lease == nil || lease.Worker != f.Worker:
		return Result{Outcome: Refused, Reason: fmt.Sprintf("job %s was not given to %s as attempt %d", f.Job, f.Worker, f.Epoch)}
	case lease.Ending != nil && *lease.Ending != "expired":
		return Result{Outcome: Repeated}
	}
	lease.end("failed")
	b.minute(f.Worker, f.At).failures++
	job.Failures++
	job.changed = true
	if job.Epoch == f.Epoch {
		job.Holder = nil
		job.AvailableAt = b.now.Add(afterFailures(job.Failures))
	}
	b.events = append(b.events, workerEvent(f.Worker, "job-failed", fmt.Sprintf("job %s, attempt %d: %s", f.Job, f.Epoch, f.Reason), f.At))
	return Result{Outcome: Accepted}
}

// afterFailures is how long a job waits before it is leased again: 1 s, 2 s, 4 s, … 10 minutes.
func afterFailures(failures int) time.Duration {
	const longest = 10 * time.Minute
	return min(longest, time.Second<<min(failures-1, 10))
}

// distrust breaks a worker and returns how many of its proofs cease to count.
func (b *book) distrust(name, reason string, at time.Time) (revoked int) {
	worker := b.workers[name]
	if !worker.Broken {
		worker.Broken, worker.Verified, worker.reason, worker.changed = true, 0, cmp.Or(forPeople(reason), "no reason given"), true
		b.events = append(b.events, workerEvent(name, "distrusted", worker.reason, at))
	}
	for key, p := range b.proofs {
		if p.Worker != name || p.Verdict != Unverified || p.Revoked {
			continue
		}
		p.Revoked, p.changed = true, true
		job := b.jobs[key.Job]
		if job.ProvedEpoch != nil && *job.ProvedEpoch == key.Epoch {
			job.ProvedEpoch, job.unverified, job.changed, job.revoked = nil, false, true, true
			if job.Holder == nil { // else somebody is proving it again already
				job.AvailableAt = b.now
			}
			b.minute(name, at).revoked++
			revoked++
		}
	}
	return revoked
}

func workerEvent(worker, event, cause string, at time.Time) Event {
	host, _, _ := cutWorker(worker)
	return Event{At: at, Host: host, Worker: worker, Event: event, Cause: forPeople(cause)}
}

func (b *book) minute(worker string, at time.Time) *minuteRow {
	key := minuteKey{worker, at.UTC().Truncate(time.Minute)}
	if b.minutes[key] == nil {
		b.minutes[key] = &minuteRow{}
	}
	return b.minutes[key]
}

func (m *minuteRow) time(seconds *float64) {
	if seconds == nil {
		return
	}
	m.timed++
	m.seconds += *seconds
	if m.secondsMax == nil || *m.secondsMax < *seconds {
		m.secondsMax = seconds
	}
}

func (l *leaseRow) end(ending string) { l.Ending, l.changed = &ending, true }

// sum adds what may be unknown.
func sum[T int64 | float64](a, b *T) *T {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	total := *a + *b
	return &total
}

// writes returns what the database must be told, rows in the order of their names.
func (b *book) writes() *pgx.Batch {
	batch := &pgx.Batch{}
	for _, name := range slices.Sorted(maps.Keys(b.workers)) {
		if w := b.workers[name]; w.changed {
			batch.Queue(`UPDATE snark_pool_worker SET verified = $2, broken_at = CASE WHEN $3 THEN coalesce(broken_at, now()) END,
				broken_reason = CASE WHEN $3 THEN coalesce(broken_reason, $4) END WHERE worker = $1`, w.Worker, w.Verified, w.Broken, w.reason)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(b.jobs)) {
		if j := b.jobs[id]; j.changed {
			batch.Queue(`UPDATE snark_pool_job SET holder = $2, available_at = $3, failures = $4, proved_epoch = $5::bigint,
				proved_at = CASE WHEN $5::bigint IS NULL THEN NULL WHEN $6 OR proved_at IS NULL THEN now() ELSE proved_at END,
				delivered_at = CASE WHEN $6 THEN NULL ELSE delivered_at END WHERE job_id = $1`,
				j.JobID, j.Holder, j.AvailableAt, j.Failures, j.ProvedEpoch, j.revoked)
		}
	}
	byLease := func(a, b Held) int { return cmp.Or(cmp.Compare(a.Job, b.Job), cmp.Compare(a.Epoch, b.Epoch)) }
	for _, key := range slices.SortedFunc(maps.Keys(b.leases), byLease) {
		if l := b.leases[key]; l.changed {
			batch.Queue("UPDATE snark_pool_lease SET ended_at = now(), ending = $3 WHERE job_id = $1 AND epoch = $2", l.JobID, l.Epoch, l.Ending)
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(b.proofs), byLease) {
		switch p := b.proofs[key]; {
		case p.fresh != nil:
			content := p.fresh.Proof
			if p.outcome == Duplicate {
				content = nil
			}
			batch.Queue(`INSERT INTO snark_pool_proof (job_id, epoch, worker, received_at, stored_at, seconds, verdict, outcome, revoked_at, proof)
				VALUES ($1, $2, $3, $4, now(), $5, $6, $7, CASE WHEN $8 THEN now() END, $9)`,
				p.JobID, p.Epoch, p.Worker, p.fresh.At, p.fresh.Seconds, string(p.Verdict), string(p.outcome), p.Revoked, content)
		case p.changed:
			batch.Queue("UPDATE snark_pool_proof SET revoked_at = now() WHERE job_id = $1 AND epoch = $2", p.JobID, p.Epoch)
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(b.minutes), func(a, b minuteKey) int {
		return cmp.Or(cmp.Compare(a.worker, b.worker), a.minute.Compare(b.minute))
	}) {
		m := b.minutes[key]
		batch.Queue(`INSERT INTO snark_pool_minute AS m (worker, minute, proofs, late, duplicates, refused, failures, revoked, timed, seconds_total, seconds_max,
				cpu_seconds, memory_max_bytes, energy_millijoules) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
			ON CONFLICT (worker, minute) DO UPDATE SET proofs = m.proofs + excluded.proofs, late = m.late + excluded.late,
				duplicates = m.duplicates + excluded.duplicates, refused = m.refused + excluded.refused, failures = m.failures + excluded.failures,
				revoked = m.revoked + excluded.revoked, timed = m.timed + excluded.timed, seconds_total = m.seconds_total + excluded.seconds_total,
				seconds_max = greatest(m.seconds_max, excluded.seconds_max),
				cpu_seconds = CASE WHEN excluded.cpu_seconds IS NULL THEN m.cpu_seconds ELSE coalesce(m.cpu_seconds, 0) + excluded.cpu_seconds END,
				memory_max_bytes = greatest(m.memory_max_bytes, excluded.memory_max_bytes),
				energy_millijoules = CASE WHEN excluded.energy_millijoules IS NULL THEN m.energy_millijoules
					ELSE coalesce(m.energy_millijoules, 0) + excluded.energy_millijoules END`,
			key.worker, key.minute, m.proofs, m.late, m.duplicates, m.refused, m.failures, m.revoked, m.timed, m.seconds, m.secondsMax, m.cpu, m.memory, m.energy)
	}
	for _, v := range b.events {
		batch.Queue(`INSERT INTO snark_pool_event (at, host, worker, event, from_state, to_state, cause, detail)
			VALUES ($1, $2, nullif($3, ''), $4, nullif($5, ''), nullif($6, ''), nullif($7, ''), nullif($8::text, '')::json)`,
			v.At, v.Host, v.Worker, v.Event, v.From, v.To, v.Cause, string(v.Detail))
	}
	for _, a := range b.audits {
		batch.Queue(`INSERT INTO snark_pool_audit (at, agent, who, role, operation, target, allowed, result, detail)
			VALUES ($1, $2, $3, nullif($4, ''), $5, $6, $7, nullif($8, ''), nullif($9::text, '')::json)`,
			a.At, a.Agent, a.Who, a.Role, a.Operation, a.Target, a.Allowed, a.Result, string(a.Detail))
	}
	return batch
}

// errNoWorker is for operators who mistype.
var errNoWorker = errors.New("the ledger knows no such worker: see snarkpool status for the names")

// Readmit trusts a broken worker again, from nothing: all its proofs are verified for a while. What it made unverified before stays revoked.
func (l *Ledger) Readmit(ctx context.Context, worker string) error {
	changed, err := l.execute(ctx, "readmit "+worker, "UPDATE snark_pool_worker SET broken_at = NULL, broken_reason = NULL, verified = 0 WHERE worker = $1", worker)
	if err == nil && changed == 0 {
		return fmt.Errorf("readmit %.*q: %w", maxName, worker, errNoWorker)
	}
	return err
}
