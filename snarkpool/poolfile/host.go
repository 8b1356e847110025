package poolfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ErrNoRule is that a pool file has no rule for a host.
var ErrNoRule = errors.New("no rule of the pool file matches")

// HostPools is what a pool file says for one host.
type HostPools struct {
	// FileDigest is the pool file's.
	FileDigest string
	// Rule is the number of the rule that was taken, from 0.
	Rule    int
	Reserve Reserve
	// Pools are sorted by name.
	Pools []HostPool
}

// HostPool is one pool's share of a host.
type HostPool struct {
	Name string
	Pool
	Share
}

// ForHost returns what the file says for a host with these labels: by the rule with the host's name, or else by the first in the file whose
// labels it has. The error is [ErrNoRule] when there is none.
func (f File) ForHost(host string, labels map[string]string) (HostPools, error) {
	matches := func(named bool) int {
		return slices.IndexFunc(f.Hosts, func(rule HostRule) bool {
			return named == (rule.Match.Host != "") && rule.Match.matches(host, labels)
		})
	}
	i := matches(true)
	if i < 0 {
		i = matches(false)
	}
	if i < 0 {
		return HostPools{}, fmt.Errorf("%w host %q with labels {%s}: add a rule to hosts, or give the host the labels of one", ErrNoRule, host, showLabels(labels))
	}
	rule := f.Hosts[i]
	pools := HostPools{FileDigest: f.Digest, Rule: i, Reserve: rule.Reserve}
	for _, name := range slices.Sorted(maps.Keys(rule.Pools)) {
		pools.Pools = append(pools.Pools, HostPool{Name: name, Pool: f.Pools[name], Share: rule.Pools[name]})
	}
	return pools, nil
}

func (m Match) matches(host string, labels map[string]string) bool {
	if m.Host != "" && m.Host != host {
		return false
	}
	for name, value := range m.Labels {
		if has, ok := labels[name]; !ok || has != value {
			return false
		}
	}
	return true
}

// shadows says whether a rule with this match takes every host from a later rule with the other.
func (m Match) shadows(later Match) bool {
	if m.Host != later.Host { // a host's name goes before labels, wherever it stands
		return false
	}
	for name, value := range m.Labels {
		if has, ok := later.Labels[name]; !ok || has != value {
			return false
		}
	}
	return true
}

func showLabels(labels map[string]string) string {
	var shown []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		shown = append(shown, name+"="+labels[name])
	}
	return strings.Join(shown, ", ")
}
