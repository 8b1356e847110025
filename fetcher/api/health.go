package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"provingground/fetcher"
)

// pingTime leaves an answer within two seconds.
const pingTime = time.Second

// healthAnswer is the answer of /health. What is not known is null or left out.
type healthAnswer struct {
	Healthy    bool           `json:"healthy"`
	Reasons    []string       `json:"reasons"` // why it is not
	Database   databaseHealth `json:"database"`
	Discovery  discovery      `json:"discovery"`
	Deployment *int64         `json:"deployment"`
	Frozen     bool           `json:"frozen"`
	Nodes      map[string]int `json:"nodes"`       // by state
	NeverRead  int            `json:"never_read"`  // nodes that should be read and never were since the start
	LagSeconds *float64       `json:"lag_seconds"` // wall time since the node that is furthest behind, of those that were read, was read to its end
}

type databaseHealth struct {
	Reachable bool    `json:"reachable"`
	Seconds   float64 `json:"seconds"` // that it took to answer, or to give up
}

type discovery struct {
	Last   *time.Time `json:"last,omitempty"`
	Lists  uint64     `json:"lists"` // had since the start
	Errors uint64     `json:"errors"`
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) error {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(r.Context(), pingTime, errTimeout)
	defer cancel()
	pingErr := s.options.Pool.Ping(ctx)
	metrics := s.options.Collector.Metrics()
	given := healthAnswer{
		Reasons:   []string{},
		Database:  databaseHealth{Reachable: pingErr == nil, Seconds: time.Since(began).Seconds()},
		Discovery: discovery{Lists: metrics.Discoveries, Errors: metrics.DiscoveryErrors},
		Frozen:    s.options.Collector.Frozen(),
		Nodes:     map[string]int{},
		NeverRead: metrics.NeverRead,
	}
	for state, count := range nodesByState(metrics) {
		given.Nodes[string(state)] = count
	}
	if deployment := s.options.Deployment(); deployment != 0 {
		given.Deployment = &deployment
	}
	if lag, known := lagOf(metrics, time.Now()); known {
		seconds := lag.Seconds()
		given.LagSeconds = &seconds
	}
	if s.options.LastDiscovery != nil {
		if last := s.options.LastDiscovery(); !last.IsZero() {
			given.Discovery.Last = &last
		}
	}
	if pingErr != nil {
		given.Reasons = append(given.Reasons, "the database does not answer")
		s.log.Debug("health: database", zap.Error(pingErr))
	}
	if metrics.Discoveries == 0 {
		given.Reasons = append(given.Reasons, "no list of nodes was had yet")
	}
	if !given.Frozen {
		if reason := s.unread(metrics, time.Now()); reason != "" {
			given.Reasons = append(given.Reasons, reason)
		}
	}
	given.Healthy = len(given.Reasons) == 0
	if !given.Healthy {
		return writeJSON(w, http.StatusServiceUnavailable, given)
	}
	return writeJSON(w, http.StatusOK, given)
}

// unread says why no node is read although some should be; empty when one was of late.
func (s *Server) unread(m fetcher.Metrics, now time.Time) string {
	if m.Connecting+m.Running+m.Backoff == 0 || now.Sub(m.NewestSuccess) <= s.options.ReadWithin {
		return ""
	}
	reason := fmt.Sprintf("no node can be read: %d in %s, %d %s, %d %s", m.Backoff, fetcher.Backoff, m.Connecting, fetcher.Connecting, m.Running, fetcher.Running)
	if m.NewestSuccess.IsZero() {
		reason += ", none read since the start"
	} else {
		reason += ", none read since " + m.NewestSuccess.UTC().Format(time.RFC3339)
	}
	for _, node := range s.options.Collector.Nodes() {
		if node.Active && node.LastError != "" {
			return fmt.Sprintf("%s; the last error of %s: %s", reason, node.NodeName, node.LastError)
		}
	}
	return reason
}
