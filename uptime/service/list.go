package service

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// recentTime is how long an answer about the store serves others, too.
	recentTime = time.Second
	// listFloor is the least time between two makings of the list here, however many submissions come meanwhile: so long one may be unseen.
	listFloor = 250 * time.Millisecond
	// listTime is how long the store may take to tell who is online.
	listTime = 10 * time.Second
	// readingTime is how long a client may take to read the list, or the metrics: as long as one does, the list of that moment stays in memory.
	readingTime = 15 * time.Second
	// listsPerAddress is how many lists one address may have under way.
	listsPerAddress = 64
)

// list is the online list as it was read last.
type list struct {
	recent  recent[onlineList]
	changes atomic.Uint64 // submissions accepted here
}

// changed says that the list lacks what was just accepted.
func (l *list) changed() { l.changes.Add(1) }

// onlineList is what the store said at one time.
type onlineList struct {
	nodes          []Online
	err            error
	at             time.Time
	changes        uint64
	plain, details func() (document, error) // made when first asked for
}

// document is an answer with its entity tag.
type document struct {
	content []byte
	tag     string
}

// entry is one element of the list (uptime, section 5), the fields in the order of their names.
type entry struct {
	ControlPort uint16 `json:"graphql_control_port,omitempty"`
	RemoteAddr  string `json:"remote_addr"`
	Submitter   string `json:"submitter"`
}

// detailedEntry tells what else is known.
type detailedEntry struct {
	entry

	PeerID             string    `json:"peer_id"`
	CreatedAt          time.Time `json:"created_at"`
	LastSeen           time.Time `json:"last_seen"`
	BuiltWithCommitSHA string    `json:"built_with_commit_sha,omitempty"`
}

// nodes returns the list, at most a second old. All that was accepted here is in it, but for what came within listFloor before the call.
func (s *Service) nodes(ctx context.Context) (*onlineList, error) {
	changes := s.list.changes.Load()
	now := s.options.Now()
	online, err := s.list.recent.get(ctx, listTime, fmt.Errorf("%w: no answer within %s", ErrUnavailable, listTime),
		func(l *onlineList) bool {
			age := now.Sub(l.at).Abs() // below 0 if another caller asked while this one waited
			// A failure serves those who wait, even if there were submissions since: else each would wait for its own.
			return age < listFloor || age < recentTime && (l.changes >= changes || l.err != nil)
		}, s.readList)
	if err == nil {
		err = online.err
	}
	if err != nil {
		return nil, fmt.Errorf("reading who is online: %w", err)
	}
	return online, nil
}

// readList asks the store.
func (s *Service) readList(ctx context.Context) *onlineList {
	online := &onlineList{at: s.options.Now(), changes: s.list.changes.Load()}
	online.nodes, online.err = s.options.Store.Online(ctx, online.at.Add(-s.options.Retention).UTC())
	if online.err != nil {
		if ctx.Err() != nil {
			online.err = fmt.Errorf("%w: %w", context.Cause(ctx), online.err)
		}
		return online
	}
	s.metrics.online.WithLabelValues().Set(float64(len(online.nodes)))
	online.plain = sync.OnceValues(func() (document, error) { return newDocument(plainEntries(online.nodes)) })
	online.details = sync.OnceValues(func() (document, error) { return newDocument(detailedEntries(online.nodes)) })
	return online
}

// plainEntries are sorted, as the nodes are; nodes that differ in what is not told only are one.
func plainEntries(nodes []Online) []entry {
	entries := make([]entry, len(nodes))
	for i, node := range nodes {
		entries[i] = entry{ControlPort: node.ControlPort, RemoteAddr: node.RemoteAddr, Submitter: node.Submitter}
	}
	return slices.Compact(entries)
}

func detailedEntries(nodes []Online) []detailedEntry {
	entries := make([]detailedEntry, len(nodes))
	for i, node := range nodes {
		entries[i] = detailedEntry{
			entry:  entry{ControlPort: node.ControlPort, RemoteAddr: node.RemoteAddr, Submitter: node.Submitter},
			PeerID: node.PeerID, CreatedAt: node.CreatedAt.UTC(), LastSeen: node.LastSeen.UTC(), BuiltWithCommitSHA: node.BuiltWithCommitSHA,
		}
	}
	return entries
}

func newDocument(value any) (document, error) {
	content, err := json.Marshal(value)
	if err != nil {
		return document{}, fmt.Errorf("writing the online list: %w", err)
	}
	sum := sha256.Sum256(content)
	return document{content: content, tag: `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`}, nil
}

// online answers GET /v1/online.
func (s *Service) online(w http.ResponseWriter, r *http.Request) {
	detailed, err := wantsDetails(r)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	from, _, _ := s.proxies.client(r) // those of whom nothing is known are counted as one
	of := originOf(from)
	if !s.readers.enter(of) {
		writeBusy(w, "Too many lists are on their way to this address")
		return
	}
	defer s.readers.leave(of)
	nodes, err := s.nodes(r.Context())
	if err != nil {
		s.listFailed(w, err)
		return
	}
	form := nodes.plain
	if detailed {
		form = nodes.details
	}
	answer, err := form()
	if err != nil {
		s.listFailed(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache") // to be kept, and asked about each time
	w.Header().Set("ETag", answer.tag)
	hurry(w)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(answer.content))
}

// hurry gives a client readingTime for the answer that is written from now on. A writer without deadlines is one of a test.
func hurry(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(readingTime))
}

// crowd counts what is under way for each address. Safe for concurrent use.
type crowd struct {
	most int // of one address

	mu        sync.Mutex
	addresses map[origin]int
}

func newCrowd(most int) *crowd { return &crowd{most: most, addresses: map[origin]int{}} }

// enter tells whether an address may have one more; then it is followed by leave.
func (c *crowd) enter(of origin) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.addresses[of] >= c.most {
		return false
	}
	c.addresses[of]++
	return true
}

func (c *crowd) leave(of origin) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.addresses[of]--; c.addresses[of] == 0 {
		delete(c.addresses, of)
	}
}

// wantsDetails reads the query: other keys than details are ignored, as existing services do with all of them.
func wantsDetails(r *http.Request) (bool, error) {
	details := r.URL.Query()["details"]
	switch {
	case len(details) == 0, len(details) == 1 && details[0] == "false":
		return false, nil
	case len(details) == 1 && details[0] == "true":
		return true, nil
	}
	return false, errors.New("The query is not understood: details is true or false") //nolint:staticcheck // it is the answer's text
}

// listFailed answers when the list cannot be had: never with an empty one.
func (s *Service) listFailed(w http.ResponseWriter, err error) {
	result := outcomeOf(err)
	verdict := result.verdict()
	s.log.failed("list_failed", verdict.level, "the online list cannot be told", err)
	if verdict.status != http.StatusServiceUnavailable {
		writeError(w, verdict.status, verdict.message)
		return
	}
	writeBusy(w, "The list of nodes online cannot be had just now")
}
