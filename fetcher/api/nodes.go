package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"provingground/fetcher"
)

// freezeTime is how long a client waits for the nodes' readers to end; the freeze is in force before.
const freezeTime = 30 * time.Second

var errFreezeTime = errors.New("nodes are still being read")

func (s *Server) nodes(w http.ResponseWriter, r *http.Request) error {
	nodes := s.options.Collector.Nodes()
	if r.URL.Query().Get("all") != "1" {
		nodes = slices.DeleteFunc(nodes, func(n fetcher.NodeStatus) bool { return !n.Active })
	}
	if nodes == nil {
		nodes = []fetcher.NodeStatus{}
	}
	return writeJSON(w, http.StatusOK, nodes)
}

func (s *Server) reset(w http.ResponseWriter, r *http.Request) error {
	s.changed(r, "reset: nodes are discovered and connected anew")
	s.options.Collector.Reset()
	return write(w, http.StatusOK, nil)
}

func (s *Server) freeze(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeoutCause(r.Context(), freezeTime, errFreezeTime)
	defer cancel()
	s.changed(r, "frozen: no node is read until POST /unfreeze, or the next start")
	if err := s.options.Collector.Freeze(ctx); err != nil {
		return &problem{status: http.StatusServiceUnavailable, text: "the freeze is in force, but some nodes are still being read: ask again", retry: true, cause: err}
	}
	return write(w, http.StatusOK, nil)
}

func (s *Server) unfreeze(w http.ResponseWriter, r *http.Request) error {
	s.changed(r, "unfrozen: nodes are read again")
	s.options.Collector.Unfreeze()
	return write(w, http.StatusOK, nil)
}

// changed logs what a client has the fetcher do, and where the client is.
func (s *Server) changed(r *http.Request, what string, fields ...zap.Field) {
	s.log.Info(what, append(fields, zap.String("peer", r.RemoteAddr))...)
}

// parameter reads a text of the query string.
func parameter(r *http.Request, name string) (string, error) {
	text := r.URL.Query().Get(name)
	return text, checkText(name, text)
}

func isBlank(text string) bool { return strings.TrimSpace(text) == "" }
