package whitelist

import (
	"fmt"
	"slices"
	"time"

	"provingground/internal/mina"
)

// Static is a list that does not change. Make it with [NewStatic]. Safe for concurrent use.
type Static struct {
	keys    *keys
	ignored []error
	loaded  time.Time
}

// NewStatic returns the list of those entries that are public keys, the existing service's way with a whitelist (uptime, section
// 4.2); [Static.Ignored] tells the others. now is what Loaded says.
func NewStatic(entries []string, now time.Time) *Static {
	s := &Static{keys: newKeys(), loaded: now}
	for i, entry := range entries {
		if err := s.keys.add(entry, newKeys()); err != nil {
			s.ignored = append(s.ignored, fmt.Errorf("whitelist: entry %d: %w", i, err))
		}
	}
	return s
}

// Ignored returns an error for each entry that is no public key, with its index, counted from 0. None quotes the entry.
func (s *Static) Ignored() []error { return slices.Clone(s.ignored) }

// Contains tells whether a key is on the list.
func (s *Static) Contains(submitter mina.PublicKey) bool {
	_, found := s.keys.set[submitter]
	return found
}

// Healthy returns nil.
func (s *Static) Healthy() error { return nil }

// Size is the number of keys.
func (s *Static) Size() int { return len(s.keys.set) }

// Loaded is when the list was made.
func (s *Static) Loaded() time.Time { return s.loaded }
