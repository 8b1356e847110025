package service

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"provingground/internal/mina"
	"provingground/uptime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is when the tests take place that have no clock of their own.
func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// identity is what makes two submissions the same.
type identity struct {
	digest    [32]byte
	submitter mina.PublicKey
}

// fakeStore is a Store that can be told to fail, and counts.
type fakeStore struct {
	retention time.Duration
	perHour   int

	mu       sync.Mutex
	digests  map[identity]time.Time // when they may be forgotten
	hours    map[mina.PublicKey][]time.Time
	nodes    map[string]Online
	accepted int
	reads    int
	fail     error                           // of every method
	hold     func(ctx context.Context) error // called first by Accept and Online, without the lock
}

func newFakeStore() *fakeStore {
	return &fakeStore{
		retention: 20 * time.Minute, perHour: 120,
		digests: map[identity]time.Time{}, hours: map[mina.PublicKey][]time.Time{}, nodes: map[string]Online{},
	}
}

func (f *fakeStore) enter(ctx context.Context) error {
	f.mu.Lock()
	hold, fail := f.hold, f.fail
	f.mu.Unlock()
	if hold != nil {
		if err := hold(ctx); err != nil {
			return err
		}
	}
	return fail
}

func (f *fakeStore) Accept(ctx context.Context, a Accepted) error {
	if err := f.enter(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	hour := slices.DeleteFunc(f.hours[a.Submitter], func(at time.Time) bool { return a.ReceivedAt.Sub(at) >= time.Hour })
	if len(hour) >= f.perHour {
		return fmt.Errorf("fake: %w", ErrTooMany)
	}
	id := identity{a.Digest, a.Submitter}
	if until, known := f.digests[id]; known && a.ReceivedAt.Before(until) {
		return fmt.Errorf("fake: %w", ErrReplayed)
	}
	f.digests[id] = a.CreatedAt.Add(f.retention)
	f.hours[a.Submitter] = append(hour, a.ReceivedAt)
	f.accepted++
	node := a.Submitter.String() + "/" + a.PeerID
	if old, known := f.nodes[node]; known && old.CreatedAt.After(a.CreatedAt) {
		return nil
	}
	f.nodes[node] = Online{
		Submitter: a.Submitter.String(), RemoteAddr: a.RemoteAddr.String(), ControlPort: a.ControlPort, PeerID: a.PeerID,
		BuiltWithCommitSHA: a.BuiltWithCommitSHA, CreatedAt: a.CreatedAt, LastSeen: a.ReceivedAt,
	}
	return nil
}

func (f *fakeStore) Online(ctx context.Context, since time.Time) ([]Online, error) {
	if err := f.enter(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	nodes := slices.Collect(maps.Values(f.nodes))
	nodes = slices.DeleteFunc(nodes, func(n Online) bool { return !n.LastSeen.After(since) })
	slices.SortFunc(nodes, func(a, b Online) int {
		return cmp.Or(cmp.Compare(a.Submitter, b.Submitter), cmp.Compare(a.RemoteAddr, b.RemoteAddr), cmp.Compare(a.ControlPort, b.ControlPort), cmp.Compare(a.PeerID, b.PeerID))
	})
	return nodes, nil
}

func (f *fakeStore) Healthy(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail
}

func (f *fakeStore) set(change func(*fakeStore)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeStore) count() (accepted, reads int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.accepted, f.reads
}

// fakeWhitelist is a Whitelist that does not change while it is used.
type fakeWhitelist struct {
	keys   map[mina.PublicKey]bool
	loaded time.Time
	err    error
}

func (f *fakeWhitelist) Contains(key mina.PublicKey) bool { return f.keys[key] }
func (f *fakeWhitelist) Healthy() error                   { return f.err }
func (f *fakeWhitelist) Loaded() time.Time                { return f.loaded }
func (f *fakeWhitelist) Size() int                        { return len(f.keys) }

// fakeArchive remembers where submissions came from.
type fakeArchive struct {
	mu   sync.Mutex
	puts []netip.Addr
	err  error
}

func (f *fakeArchive) Put(_ context.Context, _ *uptime.Submission, remote netip.Addr, _ time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.puts = append(f.puts, remote)
	}
	return f.err
}

// clock is a clock that is set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// newKey makes a key that is the same in each run.
func newKey(tb testing.TB, number uint64) mina.PrivateKey {
	tb.Helper()
	var seed [32]byte
	seed[0], seed[1], seed[2] = byte(number), byte(number>>8), 'k'
	key, err := mina.GeneratePrivateKey(rand.NewChaCha8(seed))
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// report is a small report of a node, as of at.
func report(at time.Time) uptime.Report {
	return uptime.Report{Block: []byte("block"), CreatedAt: at, PeerID: "12D3KooWnode", ControlPort: 3086, BuiltWithCommitSHA: "36e0198c", Version: 1}
}

func sign(tb testing.TB, key mina.PrivateKey, r uptime.Report) []byte {
	tb.Helper()
	body, err := r.Sign(mina.Testnet, key)
	if err != nil {
		tb.Fatal(err)
	}
	return body
}

// world is a service with all around it.
type world struct {
	service   *Service
	store     *fakeStore
	whitelist *fakeWhitelist
	archive   *fakeArchive
	clock     *clock
	key       mina.PrivateKey // on the whitelist
	logs      *observer.ObservedLogs
}

// newWorld makes a world at noon, with whatever options change.
func newWorld(tb testing.TB, change func(*Options)) *world {
	tb.Helper()
	key := newKey(tb, 1)
	core, logs := observer.New(zap.DebugLevel)
	w := &world{
		store: newFakeStore(), archive: &fakeArchive{}, clock: &clock{now: noon()}, key: key, logs: logs,
		whitelist: &fakeWhitelist{keys: map[mina.PublicKey]bool{key.PublicKey(): true}, loaded: noon()},
	}
	options := Options{Store: w.store, Whitelist: w.whitelist, Archive: w.archive, Now: w.clock.Now, Logger: zap.New(core)}
	if change != nil {
		change(&options)
	}
	var err error
	if w.service, err = New(options); err != nil {
		tb.Fatal(err)
	}
	return w
}

// listen serves on loopback until the test ends, and returns the URL.
func (w *world) listen(tb testing.TB) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.service.Serve(ctx, listener) }()
	tb.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
	return "http://" + listener.Addr().String()
}

// clientFrom makes a client with an address of its own: all of 127.0.0.0/8 is this machine.
func clientFrom(tb testing.TB, address string) *http.Client {
	tb.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 1000}
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 2 * time.Minute}
}

// reply is an answer that was read.
type reply struct {
	status int
	header http.Header
	body   string
}

func send(tb testing.TB, client *http.Client, request *http.Request) reply {
	tb.Helper()
	got, err := exchange(client, request)
	if err != nil {
		tb.Fatal(err)
	}
	return got
}

func exchange(client *http.Client, request *http.Request) (reply, error) {
	response, err := client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return reply{status: response.StatusCode, header: response.Header, body: string(body)}, err
}

func newRequest(tb testing.TB, method, url string, body []byte) *http.Request {
	tb.Helper()
	request, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	return request
}

// submitted is what became of submissions so far, by the metric, without what did not happen.
func (w *world) submitted(tb testing.TB) map[string]int {
	tb.Helper()
	families, err := w.service.options.Registry.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	counts := map[string]int{}
	for _, family := range families {
		if family.GetName() != "uptime_submissions_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			if n := int(metric.GetCounter().GetValue()); n > 0 {
				counts[metric.GetLabel()[0].GetValue()] = n
			}
		}
	}
	return counts
}

// checkLogs proves that neither bodies nor signatures are logged.
func (w *world) checkLogs(tb testing.TB, secrets ...string) {
	tb.Helper()
	for _, entry := range w.logs.All() {
		text, err := json.Marshal(entry.ContextMap())
		if err != nil {
			tb.Fatal(err)
		}
		for _, secret := range append(secrets, "7mX", "block\"", "YmxvY2s") {
			if strings.Contains(string(text)+entry.Message, secret) {
				tb.Errorf("the log holds %q: %s %s", secret, entry.Message, text)
			}
		}
	}
}

var errFault = errors.New("fault")
