package service

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"provingground/internal/mina"
	"provingground/internal/soak"
	"provingground/uptime"
)

// loadTime is how long the tests with load take: a minute in a soak, else 3 s.
func loadTime(tb testing.TB) time.Duration {
	tb.Helper()
	if soak.Rounds(tb) >= soak.Full {
		return time.Minute
	}
	return 3 * time.Second
}

// newBusyWorld is a world with the real time and a key for each submitter.
func newBusyWorld(tb testing.TB, submitters int, change func(*Options)) (*world, []mina.PrivateKey) {
	tb.Helper()
	w := newWorld(tb, func(o *Options) {
		o.Now, o.Archive = time.Now, nil
		if change != nil {
			change(o)
		}
	})
	w.store.perHour = 1 << 30
	keys := make([]mina.PrivateKey, submitters)
	for i := range keys {
		keys[i] = newKey(tb, uint64(100+i))
		w.whitelist.keys[keys[i].PublicKey()] = true
	}
	return w, keys
}

// submitter sends reports until it is told to stop.
type submitter struct {
	key    mina.PrivateKey
	client *http.Client
	url    string
	number int // of reports sent
	took   []time.Duration
}

// submit sends one report that is like no other.
func (s *submitter) submit(tb testing.TB) {
	tb.Helper()
	s.number++
	r := report(time.Now())
	r.Block = fmt.Appendf(nil, "%d %s", s.number, strings.Repeat("b", 20_000))
	body, err := r.Sign(mina.Testnet, s.key)
	if err != nil {
		tb.Error(err)
		return
	}
	request, err := http.NewRequest(http.MethodPost, s.url+submitPath, bytes.NewReader(body))
	if err != nil {
		tb.Error(err)
		return
	}
	began := time.Now()
	got, err := exchange(s.client, request)
	s.took = append(s.took, time.Since(began))
	if err != nil || got.status != http.StatusOK {
		tb.Errorf("a good submission: %v, %v", got, err)
	}
}

// figures logs how long submissions took, and returns how many there were.
func figures(tb testing.TB, submitters []*submitter, lasted time.Duration) int {
	tb.Helper()
	var all []time.Duration
	for _, s := range submitters {
		all = append(all, s.took...)
	}
	if len(all) == 0 {
		tb.Fatal("nobody submitted anything")
	}
	slices.Sort(all)
	at := func(share float64) time.Duration {
		return all[int(share*float64(len(all)-1))].Round(10 * time.Microsecond)
	}
	tb.Logf("%d submissions in %s, %.0f per second; p50 %s, p99 %s, most %s",
		len(all), lasted.Round(time.Millisecond), float64(len(all))/lasted.Seconds(), at(0.5), at(0.99), at(1))
	return len(all)
}

// Many nodes behind one address, in a soak five hundred, submit as fast as they are answered: nothing is lost, and all are online.
func TestManySubmitters(t *testing.T) {
	nodes := 100
	if soak.Rounds(t) >= soak.Full {
		nodes = 500
	}
	w, keys := newBusyWorld(t, nodes, nil)
	url := w.listen(t)
	began := time.Now()
	end := began.Add(loadTime(t))
	var wait sync.WaitGroup
	var all []*submitter
	for _, key := range keys {
		s := &submitter{key: key, client: clientFrom(t, "127.0.0.1"), url: url} // nodes share no connections
		all = append(all, s)
		wait.Go(func() {
			for ok := true; ok; ok = time.Now().Before(end) {
				s.submit(t)
			}
		})
	}
	wait.Wait()
	sent := figures(t, all, time.Since(began))
	if accepted, _ := w.store.count(); accepted != sent || w.submitted(t)["accepted"] != sent {
		t.Errorf("%d were sent, %d recorded, %v answered", sent, accepted, w.submitted(t))
	}
	online, err := w.service.nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(online.nodes) != nodes {
		t.Errorf("%d nodes are online, want %d", len(online.nodes), nodes)
	}
}

// attack runs until ctx ends; it has a number of its own.
type attack func(ctx context.Context, url string, number int)

// withstand has twenty nodes submit ten times a second each and somebody read the list, while a flood goes on. All of them must be served.
func withstand(t *testing.T, w *world, keys []mina.PrivateKey, attackers int, attack attack) {
	t.Helper()
	url := w.listen(t)
	ctx, stop := context.WithTimeout(t.Context(), loadTime(t))
	defer stop()
	var flood, honest sync.WaitGroup
	for i := range attackers {
		flood.Go(func() {
			for ctx.Err() == nil {
				attack(ctx, url, i)
			}
		})
	}
	every := func(pause time.Duration, do func()) {
		honest.Go(func() {
			ticks := time.NewTicker(pause)
			defer ticks.Stop()
			for {
				do()
				select {
				case <-ticks.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	began := time.Now()
	var all []*submitter
	for i, key := range keys {
		s := &submitter{key: key, client: clientFrom(t, fmt.Sprintf("127.0.2.%d", i+1)), url: url}
		all = append(all, s)
		every(100*time.Millisecond, func() { s.submit(t) })
	}
	reader := clientFrom(t, "127.0.3.1")
	var slowest time.Duration
	every(50*time.Millisecond, func() {
		asked := time.Now()
		got := send(t, reader, newRequest(t, "GET", url+onlinePath, nil))
		slowest = max(slowest, time.Since(asked))
		if got.status != http.StatusOK {
			t.Errorf("the list: %v", got)
		}
	})
	honest.Wait()
	flood.Wait()
	sent := figures(t, all, time.Since(began))
	t.Logf("slowest list: %s; submissions: %v", slowest.Round(10*time.Microsecond), w.submitted(t))
	if accepted, _ := w.store.count(); accepted != sent {
		t.Errorf("%d were sent, %d recorded", sent, accepted)
	}
	w.checkLogs(t)
	if lines := w.logs.Len(); lines > 20+20*int(loadTime(t)/quietTime) {
		t.Errorf("%d lines were logged", lines)
	}
}

// anywhere makes a client at one of thousands of addresses.
func anywhere() *http.Client {
	from := net.IPv4(127, 1, byte(rand.IntN(250)), byte(1+rand.IntN(250)))
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}, Timeout: time.Minute}
}

// post sends a body from anywhere, whatever comes of it.
func post(ctx context.Context, url string, body io.Reader, length int64) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+submitPath, body)
	if err != nil {
		panic(err)
	}
	request.ContentLength = length
	_, _ = exchange(anywhere(), request) // an attacker does not care
}

func TestFloodOfInvalidSignatures(t *testing.T) {
	w, keys := newBusyWorld(t, 20, nil)
	body := bytes.Replace(sign(t, keys[0], report(time.Now())), []byte("12D3KooWnode"), []byte("12D3KooWnodf"), 1)
	withstand(t, w, keys, 50, func(ctx context.Context, url string, _ int) { post(ctx, url, bytes.NewReader(body), int64(len(body))) })
	if w.submitted(t)["invalid_signature"] == 0 {
		t.Error("there was no flood")
	}
}

func TestFloodOfStrangers(t *testing.T) {
	w, keys := newBusyWorld(t, 20, nil)
	body := sign(t, newKey(t, 9), report(time.Now()))
	withstand(t, w, keys, 50, func(ctx context.Context, url string, _ int) { post(ctx, url, bytes.NewReader(body), int64(len(body))) })
	if w.submitted(t)["not_registered"] == 0 {
		t.Error("there was no flood")
	}
}

// All from one address, of which after its first failures nearly all is refused unread.
func TestFloodOfOneAddress(t *testing.T) {
	w, keys := newBusyWorld(t, 20, func(o *Options) { o.Limits.Failures = 20 })
	body := bytes.Replace(sign(t, keys[0], report(time.Now())), []byte("12D3KooWnode"), []byte("12D3KooWnodf"), 1)
	client := sync.OnceValue(func() *http.Client { return clientFrom(t, "127.0.0.66") }) // closed before the service
	withstand(t, w, keys, 50, func(ctx context.Context, url string, _ int) {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+submitPath, bytes.NewReader(body))
		if err != nil {
			panic(err)
		}
		_, _ = exchange(client(), request)
	})
	got := w.submitted(t)
	// What was under way when the account was used up is verified all the same, and so are two a second.
	if most := 20 + 50 + (1+sparedPerSecond)*(int(loadTime(t).Seconds())+2); got["invalid_signature"] > most || got["address_limited"] == 0 {
		t.Errorf("%d signatures were verified, at most %d should be: %v", got["invalid_signature"], most, got)
	}
}

// Bodies that stop on their way, as many as an address may have connections, from several addresses.
func TestFloodOfSlowBodies(t *testing.T) {
	w, keys := newBusyWorld(t, 20, func(o *Options) { o.Limits.ConnectionsPerAddress = 200 })
	var most atomic.Int64
	withstand(t, w, keys, 900, func(ctx context.Context, url string, number int) {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, 0, byte(1+number%3))}}
		conn, err := dialer.DialContext(ctx, "tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			return
		}
		defer conn.Close()
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			fmt.Fprintf(conn, "POST /v1/submit HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n%s", strings.Repeat("x", 200_000))
			_, _ = io.Copy(io.Discard, conn)
		}()
		first, rest := w.service.memory.inUse()
		most.Store(max(most.Load(), first+rest))
		select {
		case <-closed: // at once, if there are too many already
			pause := time.NewTimer(time.Second)
			defer pause.Stop()
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		case <-ctx.Done():
			_ = conn.Close()
			<-closed
		}
	})
	if most.Load() == 0 {
		t.Error("there was no flood")
	}
	t.Logf("at most %d MiB of bodies", most.Load()>>20)
}

// Bodies as large as may be, from many addresses: memory stays within what it is given.
func TestFloodOfLargeBodies(t *testing.T) {
	const memory = 100 << 20
	w, keys := newBusyWorld(t, 20, func(o *Options) { o.Limits.RestMemory = memory })
	large := largeBody(t, keys[0], 50_000_000)
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var peak atomic.Uint64
	withstand(t, w, keys, 20, func(ctx context.Context, url string, _ int) {
		post(ctx, url, bytes.NewReader(large), int64(len(large)))
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		peak.Store(max(peak.Load(), now.HeapInuse))
	})
	if w.submitted(t)["no_memory"] == 0 {
		t.Error("there was no flood")
	}
	grown := int64(peak.Load()) - int64(before.HeapInuse)
	t.Logf("memory grew by %d MiB", grown>>20)
	// The buffers in use, those outgrown, as much again before the garbage is collected, and twenty clients. Without a bound it is above 1 GB.
	if grown > 6*memory {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
}

// largeBody is a submission of so many bytes with a bad signature.
func largeBody(tb testing.TB, key mina.PrivateKey, size int) []byte {
	tb.Helper()
	r := uptime.Report{Block: bytes.Repeat([]byte("b"), size*3/4-1000), CreatedAt: time.Now(), PeerID: "12D3KooWnode"}
	return bytes.Replace(sign(tb, key, r), []byte("12D3KooWnode"), []byte("12D3KooWnodf"), 1)
}
