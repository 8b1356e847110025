package api

import (
	"context"
	"net/http"
	"time"

	"go.uber.org/zap"
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
	LagSeconds *float64       `json:"lag_seconds"` // wall time since the node that is furthest behind was read to its end
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
	given.Healthy = len(given.Reasons) == 0
	if !given.Healthy {
		return writeJSON(w, http.StatusServiceUnavailable, given)
	}
	return writeJSON(w, http.StatusOK, given)
}
