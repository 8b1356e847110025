package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"provingground/internal/mina"
	"provingground/uptime/service"
)

// sweepEvery is how often a Memory looks for what has expired, by the times at which submissions were received.
const sweepEvery = time.Minute

// Memory remembers submissions and nodes as long as the program runs. It is a service.Store, and always healthy. Make it with
// [NewMemory]. Safe for concurrent use.
type Memory struct {
	options Options

	mu      sync.Mutex
	keys    map[mina.PublicKey]*key
	entries int       // remembered submissions of all keys
	swept   time.Time // when the expired ones were last dropped
}

// key is what is known of one submitter.
type key struct {
	name        string
	submissions []submission // in the order in which they were received
	digests     map[[32]byte]struct{}
	nodes       map[string]service.Online // by peer ID
}

// submission is what one is known by, with its times in microseconds since 1970.
type submission struct {
	digest            [32]byte
	created, received int64
}

// NewMemory returns an empty Memory. It refuses options below 0.
func NewMemory(options Options) (*Memory, error) {
	options, err := options.complete()
	if err != nil {
		return nil, err
	}
	return &Memory{options: options, keys: make(map[mina.PublicKey]*key)}, nil
}

// Accept implements service.Store. Its errors wrap service.ErrTooMany, ErrReplayed or ErrFull.
func (m *Memory) Accept(_ context.Context, s service.Accepted) error {
	if err := m.options.prepare(&s); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.ReceivedAt.Sub(m.swept).Abs() >= sweepEvery { // also when the clock was set back
		m.sweep(s.ReceivedAt)
	}
	k := m.keys[s.Submitter]
	if k == nil {
		k = &key{name: s.Submitter.String(), digests: make(map[[32]byte]struct{}), nodes: make(map[string]service.Online)}
	}
	if err := k.refuse(&s, m.options.PerHour); err != nil {
		return err
	}
	if m.entries >= m.options.MaxEntries {
		return fmt.Errorf("%d submissions are remembered: %w", m.entries, service.ErrFull)
	}
	m.entries++
	m.keys[s.Submitter] = k
	k.remember(&s)
	old, known := k.nodes[s.PeerID]
	if known && old.CreatedAt.After(s.CreatedAt) && old.LastSeen.After(s.ReceivedAt.Add(-m.options.Retention)) {
		return nil
	}
	k.nodes[s.PeerID] = service.Online{
		Submitter: k.name, RemoteAddr: s.RemoteAddr.String(), ControlPort: s.ControlPort, PeerID: s.PeerID,
		BuiltWithCommitSHA: s.BuiltWithCommitSHA, CreatedAt: s.CreatedAt, LastSeen: s.ReceivedAt,
	}
	return nil
}

// refuse tells what keeps a submission of this key from being accepted.
func (k *key) refuse(s *service.Accepted, perHour int) error {
	if len(k.submissions)-k.until(s.ReceivedAt.Add(-hour)) >= perHour {
		return service.ErrTooMany
	}
	if _, repeated := k.digests[s.Digest]; repeated {
		return service.ErrReplayed
	}
	return nil
}

// remember adds a submission, nearly always as the last one.
func (k *key) remember(s *service.Accepted) {
	k.digests[s.Digest] = struct{}{}
	k.submissions = slices.Insert(k.submissions, k.until(s.ReceivedAt), submission{s.Digest, s.CreatedAt.UnixMicro(), s.ReceivedAt.UnixMicro()})
}

// until returns how many submissions were received at that time or before.
func (k *key) until(at time.Time) int {
	after := at.UnixMicro() + 1
	count, _ := slices.BinarySearchFunc(k.submissions, after, func(s submission, after int64) int { return cmp.Compare(s.received, after) })
	return count
}

// sweep drops what has expired. It takes time in proportion to all that is remembered, which is why it is not done each time.
func (m *Memory) sweep(now time.Time) {
	m.swept = now
	m.entries = 0
	before := now.Add(-m.options.needed()).UnixMicro()
	gone := now.Add(-m.options.Retention - slack)
	for public, k := range m.keys {
		k.submissions = slices.DeleteFunc(k.submissions, func(s submission) bool {
			isOld := max(s.created, s.received) < before
			if isOld {
				delete(k.digests, s.digest)
			}
			return isOld
		})
		for peer, node := range k.nodes {
			if node.LastSeen.Before(gone) {
				delete(k.nodes, peer)
			}
		}
		if len(k.submissions) == 0 { // it has no node then
			delete(m.keys, public)
		}
		m.entries += len(k.submissions)
	}
}

// Online implements service.Store. It returns no error.
func (m *Memory) Online(_ context.Context, since time.Time) ([]service.Online, error) {
	since = moment(since)
	m.mu.Lock()
	nodes := make([]service.Online, 0, len(m.keys))
	for _, k := range m.keys {
		for _, node := range k.nodes {
			if node.LastSeen.After(since) {
				nodes = append(nodes, node)
			}
		}
	}
	m.mu.Unlock()
	return sorted(nodes), nil
}

// Healthy implements service.Store: it returns nil.
func (m *Memory) Healthy(context.Context) error { return nil }
