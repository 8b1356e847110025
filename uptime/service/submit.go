package service

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"provingground/uptime"
)

const (
	verifyTime  = 30 * time.Second // for a turn to verify a signature: when a thousand nodes come at once, the last may wait for seconds
	storeTime   = 10 * time.Second
	archiveTime = 15 * time.Second
	// answerTime bounds the writing of an answer to a client that reads slowly, and what comes before it, but not a submission's body.
	answerTime = time.Minute
)

// arrival is a submission on its way through the checks.
type arrival struct {
	from       netip.Addr
	body       *body
	read       int               // bytes of its body
	wait       time.Duration     // until the address may submit again
	submission uptime.Submission // zero until it was parsed
}

// submit takes a submission (uptime, section 4). What is cheap to check comes before what costs memory, processor time or the database's.
func (s *Service) submit(w http.ResponseWriter, r *http.Request) {
	from, named, err := s.proxies.client(r)
	if err == nil && !named {
		s.metrics.unnamed.Inc()
	}
	a := &arrival{from: from, body: s.memory.open(originOf(from))}
	defer a.body.close()
	result := outcomeOf(err)
	if err == nil {
		result, err = s.take(w, r, a)
	}
	if r.ContentLength < 0 || int64(a.read) < r.ContentLength {
		leave(w)
	}
	s.conclude(w, a, result, err)
}

// take goes through the checks. The error is for the log.
func (s *Service) take(w http.ResponseWriter, r *http.Request, a *arrival) (outcome, error) {
	switch {
	case r.ContentLength < 0, r.ContentLength == 0 && r.Header.Get("Content-Length") == "":
		return noLength, nil
	case r.ContentLength > s.options.MaxBody:
		return tooLong, fmt.Errorf("%d bytes are announced, %d are taken", r.ContentLength, s.options.MaxBody)
	}
	of, now := originOf(a.from), s.options.Now()
	a.wait = s.failures.wait(of, now)
	if a.wait > 0 && (r.ContentLength > firstPart || !s.failures.spare(of, now)) {
		return limited, nil
	}
	content, err := a.body.read(w, r)
	a.read = len(content)
	if err != nil {
		return outcomeOf(err), err
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime)) // the body had its own time
	if a.submission, err = uptime.ParseSubmission(content); err != nil {
		return outcomeOf(err), err
	}
	if !s.options.Whitelist.Contains(a.submission.Submitter) {
		if isEmpty := s.noteWhitelist(); isEmpty {
			if err := s.options.Whitelist.Healthy(); err != nil {
				return noWhitelist, err // nobody knows who may submit
			}
		}
		return stranger, nil
	}
	if late := s.timely(a.submission.CreatedAt, s.options.Now()); late != taken {
		return late, nil
	}
	report, err := s.verify(r.Context(), a)
	if err != nil {
		return outcomeOf(err), err
	}
	return s.keep(r.Context(), a, report)
}

// timely compares a report's time with the clock. A report as old as the retention is refused, for nobody remembers any more whether it was received before.
func (s *Service) timely(created, now time.Time) outcome {
	switch age := now.Sub(created); {
	case age < -s.options.MaxFuture:
		return future
	case age >= s.options.Retention:
		return tooOld
	}
	return taken
}

var (
	errSignature = errors.New("the signature is not the submitter's")
	errBusy      = errors.New("too much is being done to take a submission in time")
)

// verify checks the signature, in turn, so that others have their share of the processors.
func (s *Service) verify(ctx context.Context, a *arrival) (Accepted, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, verifyTime, errBusy)
	defer cancel()
	s.metrics.waiting.Inc()
	select {
	case s.turns <- struct{}{}:
		s.metrics.waiting.Dec()
		defer func() { <-s.turns }()
	case <-ctx.Done():
		s.metrics.waiting.Dec()
		return Accepted{}, fmt.Errorf("waiting to verify a signature: %w", context.Cause(ctx))
	}
	began := time.Now()
	defer func() { s.metrics.verification.Observe(time.Since(began).Seconds()) }()
	digest := a.submission.Digest()
	if !a.submission.Submitter.Verify(s.options.Network, digest[:], a.submission.Signature) {
		return Accepted{}, errSignature
	}
	hash, err := a.submission.BlockHash()
	if err != nil {
		return Accepted{}, fmt.Errorf("%w: %w", uptime.ErrMalformed, err)
	}
	return Accepted{
		Digest: digest, Submitter: a.submission.Submitter, PeerID: a.submission.PeerID, RemoteAddr: a.from, ControlPort: a.submission.ControlPort,
		BuiltWithCommitSHA: a.submission.BuiltWithCommitSHA, CreatedAt: a.submission.CreatedAt, BlockHash: hash,
	}, nil
}

// keep has a verified submission recorded, and then archived: the other way round, a replay would get into the archive. So after a failure of the
// archive the list is right, the archive lacks the submission, and the node is told that it failed.
func (s *Service) keep(ctx context.Context, a *arrival, report Accepted) (outcome, error) {
	report.ReceivedAt = s.options.Now().UTC()
	if late := s.timely(report.CreatedAt, report.ReceivedAt); late != taken {
		return late, nil // it became too old while it waited for its turn
	}
	if err := s.accept(ctx, report); err != nil {
		return outcomeOf(err), err
	}
	s.list.changed()
	if s.options.Archive == nil {
		return taken, nil
	}
	ctx, cancel := context.WithTimeout(ctx, archiveTime)
	defer cancel()
	if err := s.options.Archive.Put(ctx, &a.submission, report.RemoteAddr, report.ReceivedAt); err != nil {
		return archiveFailed, fmt.Errorf("archiving a submission: %w", err)
	}
	return taken, nil
}

// accept gives a submission to the store.
func (s *Service) accept(ctx context.Context, report Accepted) error {
	ctx, cancel := context.WithTimeoutCause(ctx, storeTime, fmt.Errorf("%w: no answer within %s", ErrUnavailable, storeTime))
	defer cancel()
	err := s.options.Store.Accept(ctx, report)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

// conclude answers, counts and notes a submission, and charges the address for one that should not have come.
func (s *Service) conclude(w http.ResponseWriter, a *arrival, result outcome, err error) {
	verdict := result.verdict()
	s.metrics.submissions.WithLabelValues(string(result)).Inc()
	if cost := result.cost(a.read); cost > 0 {
		s.failures.charge(originOf(a.from), cost, s.options.Now())
	}
	if result != taken {
		s.log.refused(result, a, err)
	}
	switch {
	case result == limited:
		w.Header().Set("Retry-After", seconds(a.wait))
	case verdict.status == http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", seconds(retryTime))
	}
	switch {
	case result == taken:
		writeJSON(w, verdict.status, map[string]string{"status": "ok"})
	case verdict.message == "":
		w.WriteHeader(verdict.status)
	default:
		writeError(w, verdict.status, verdict.message)
	}
}

// retryTime is when a client may hope that what there was too much of has become less.
const retryTime = 5 * time.Second

// seconds writes a time for Retry-After, rounded up.
func seconds(wait time.Duration) string {
	return strconv.FormatFloat(math.Ceil(wait.Seconds()), 'f', 0, 64)
}
