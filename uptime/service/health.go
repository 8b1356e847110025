package service

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap/zapcore"
)

// pingTime is how long the store may take to say that it is well.
const pingTime = 2 * time.Second

// storeHealth is what the store said at one time.
type storeHealth struct {
	err error
	at  time.Time
}

// healthAnswer is the answer of /health. The causes are in the log, since they may tell strangers too much.
type healthAnswer struct {
	Status   string   `json:"status"` // ok or unavailable
	Reasons  []string `json:"reasons,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// showHealth answers GET /health.
func (s *Service) showHealth(w http.ResponseWriter, r *http.Request) {
	answer, status := healthAnswer{Status: "ok"}, http.StatusOK
	if err := s.storeHealth(r.Context()); err != nil {
		if r.Context().Err() == nil { // that a client has gone says nothing about the store
			s.log.failed("store_unhealthy", zapcore.WarnLevel, "the store is not well", err)
		}
		answer.Reasons = append(answer.Reasons, "the store does not answer")
	}
	if err := s.options.Whitelist.Healthy(); err != nil {
		s.log.failed("whitelist_unhealthy", zapcore.WarnLevel, "the whitelist is missing or stale", err)
		if s.options.Whitelist.Loaded().IsZero() {
			answer.Reasons = append(answer.Reasons, "the whitelist was not loaded yet")
		} else {
			answer.Warnings = append(answer.Warnings, "the whitelist cannot be read any more: the keys of before count")
		}
	}
	if s.noteWhitelist() {
		answer.Warnings = append(answer.Warnings, errNobody.Error())
	}
	if len(answer.Reasons) > 0 {
		answer.Status, status = "unavailable", http.StatusServiceUnavailable
	}
	writeJSON(w, status, answer)
}

var errNobody = errors.New("the whitelist is empty: nobody can submit")

// noteWhitelist warns of an empty whitelist, and tells whether it is.
func (s *Service) noteWhitelist() bool {
	if s.options.Whitelist.Size() > 0 {
		return false
	}
	s.log.failed("whitelist_empty", zapcore.WarnLevel, "every submission is refused", errNobody)
	return true
}

// storeHealth asks the store how it is, or repeats what it said within the last second.
func (s *Service) storeHealth(ctx context.Context) error {
	now := time.Now()
	said, err := s.health.get(ctx, pingTime, ErrUnavailable,
		func(h *storeHealth) bool { return now.Sub(h.at) < recentTime },
		func(ctx context.Context) *storeHealth {
			return &storeHealth{err: s.options.Store.Healthy(ctx), at: time.Now()}
		})
	if err != nil {
		return err
	}
	return said.err
}
