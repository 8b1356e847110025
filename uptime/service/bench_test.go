package service

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"provingground/uptime"
)

// BenchmarkSubmission is a submission over loopback from beginning to end, with a real signature and a block of 20 kB, sent one after the other.
func BenchmarkSubmission(b *testing.B) {
	w, keys := newBusyWorld(b, 1, nil)
	url := w.listen(b)
	client := clientFrom(b, "127.0.0.1")
	bodies := make([][]byte, 0, 1000)
	for i := range cap(bodies) {
		r := report(time.Now())
		r.Block = append(fmt.Appendf(nil, "%d", i), make([]byte, 20_000)...)
		bodies = append(bodies, sign(b, keys[0], r))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%len(bodies) == 0 { // the fake forgets, so that they are new again
			w.store.set(func(f *fakeStore) { clear(f.digests); clear(f.hours) })
		}
		if got := send(b, client, newRequest(b, "POST", url+submitPath, bodies[i%len(bodies)])); got.status != http.StatusOK {
			b.Fatal(got)
		}
	}
}

// BenchmarkLargeSubmission is one of 50 MB whose signature is bad, the dearest refusal there is.
func BenchmarkLargeSubmission(b *testing.B) {
	w, keys := newBusyWorld(b, 1, func(o *Options) { o.Limits.Failures, o.Limits.FailuresPerSecond = 1000, 1000 })
	url := w.listen(b)
	client := clientFrom(b, "127.0.0.1")
	body := largeBody(b, keys[0], 50_000_000)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if got := send(b, client, newRequest(b, "POST", url+submitPath, body)); got.status != http.StatusUnauthorized {
			b.Fatal(got)
		}
	}
}

// BenchmarkVerify is the part of a submission of 20 kB that needs the processor: reading it, its digest, its signature, and its block's hash.
func BenchmarkVerify(b *testing.B) {
	w, keys := newBusyWorld(b, 1, nil)
	r := report(time.Now())
	r.Block = bytes.Repeat([]byte("b"), 20_000)
	body := sign(b, keys[0], r)
	b.ReportAllocs()
	for b.Loop() {
		submission, err := uptime.ParseSubmission(body)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.service.verify(b.Context(), &arrival{submission: submission}); err != nil {
			b.Fatal(err)
		}
	}
}

// nowhere is an answer that nobody reads.
type nowhere struct {
	header http.Header
	status int
}

func (n *nowhere) Header() http.Header             { return n.header }
func (n *nowhere) WriteHeader(status int)          { n.status = status }
func (n *nowhere) Write(piece []byte) (int, error) { return len(piece), nil }

// sortedStore knows who is online.
type sortedStore struct {
	*fakeStore

	nodes []Online
}

func (s sortedStore) Online(context.Context, time.Time) ([]Online, error) {
	return slices.Clone(s.nodes), nil
}

// BenchmarkList is the list of 10,000 nodes, without the store's own work but for a copy of them.
func BenchmarkList(b *testing.B) {
	for _, bench := range []struct {
		name     string
		anew     bool
		path     string
		isCached bool // at the client
	}{
		{name: "anew", anew: true, path: "/v1/online"},
		{name: "anew with details", anew: true, path: "/v1/online?details=true"},
		{name: "from memory", path: "/v1/online"},
		{name: "not modified", path: "/v1/online", isCached: true},
	} {
		b.Run(bench.name, func(b *testing.B) {
			w := newWorld(b, nil)
			nodes := make([]Online, 10_000)
			for i := range nodes {
				nodes[i] = Online{
					Submitter: fmt.Sprintf("B62qkaKV3BLvLTf7nYXRehSaZAd36NWijt3MEmy2QgHRavboe%05d", i), RemoteAddr: fmt.Sprintf("10.0.%d.%d", i/250, i%250),
					ControlPort: 3086, PeerID: fmt.Sprintf("12D3KooWEiGVAFC7curXWXiGZyMWnZK9h8BKr88U8D5PKV3d%04d", i), CreatedAt: noon(), LastSeen: noon(),
				}
			}
			w.service.options.Store = sortedStore{w.store, nodes}
			request := httptest.NewRequest(http.MethodGet, bench.path, nil)
			first := get(b, w.service, bench.path, nil)
			want := http.StatusOK
			if bench.isCached {
				request.Header.Set("If-None-Match", first.header.Get("ETag"))
				want = http.StatusNotModified
			}
			b.ReportAllocs()
			for b.Loop() {
				if bench.anew {
					w.clock.advance(listFloor)
					w.service.list.changed()
				}
				out := &nowhere{header: http.Header{}}
				w.service.ServeHTTP(out, request)
				if out.status != want {
					b.Fatal(out.status)
				}
			}
			b.ReportMetric(float64(len(first.body)), "answer-bytes")
		})
	}
}
