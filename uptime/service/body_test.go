package service

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCost(t *testing.T) {
	t.Parallel()
	for read, want := range map[int]int{0: 1, 1000: 1, 1<<20 - 1: 1, 1 << 20: 2, 50_000_000: 48} {
		if got := malformed.cost(read); got != want {
			t.Errorf("%d bytes cost %d, want %d", read, got, want)
		}
		if got := tooMany.cost(read); got != want-1 {
			t.Errorf("%d bytes that are too many of a key cost %d, want %d", read, got, want-1)
		}
		for _, free := range []outcome{taken, limited, busy, unavailable} {
			if got := free.cost(read); got != 0 {
				t.Errorf("%s costs %d", free, got)
			}
		}
	}
}

// Whatever comes and goes: no account is overdrawn, none is forgotten, and in the end nothing is held.
func TestMemoryAccounts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{FirstMemory: 8 << 20, RestMemory: 20 << 20, LargePerAddress: 2}
		m := newMemory(limits)
		type open struct {
			body *body
			of   int
		}
		var bodies []open
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			switch at := rapid.IntRange(0, 2).Draw(t, "step"); {
			case at == 0 || len(bodies) == 0:
				of := rapid.IntRange(0, 3).Draw(t, "address")
				bodies = append(bodies, open{m.open(originOf(netip.AddrFrom4([4]byte{10, 0, 0, byte(of)}))), of})
			case at == 1:
				one := bodies[rapid.IntRange(0, len(bodies)-1).Draw(t, "body")]
				before := one.body.size
				size := before + rapid.Int64Range(1, 4<<20).Draw(t, "more")
				if err := one.body.grow(size); err != nil {
					if !errors.Is(err, errNoMemory) || one.body.size != before {
						t.Fatalf("%v, and the size is %d", err, one.body.size)
					}
				}
			default:
				i := rapid.IntRange(0, len(bodies)-1).Draw(t, "body")
				bodies[i].body.close()
				bodies = append(bodies[:i], bodies[i+1:]...)
			}
			var first, rest int64
			firsts, larges := map[int]int64{}, map[int]int{}
			for _, one := range bodies {
				part := min(one.body.size, firstPart)
				first, rest = first+part, rest+one.body.size-part
				firsts[one.of] += part
				if one.body.size > firstPart {
					larges[one.of]++
				}
			}
			if gotFirst, gotRest := m.inUse(); gotFirst != first || gotRest != rest || first > limits.FirstMemory || rest > limits.RestMemory {
				t.Fatalf("in use: %d and %d, want %d and %d", gotFirst, gotRest, first, rest)
			}
			for of := range 4 {
				if firsts[of] > limits.FirstMemory/4 || larges[of] > limits.LargePerAddress {
					t.Fatalf("address %d has %d bytes and %d large bodies", of, firsts[of], larges[of])
				}
			}
		}
		for _, one := range bodies {
			one.body.close()
		}
		if first, rest := m.inUse(); first != 0 || rest != 0 || len(m.addresses) != 0 {
			t.Fatalf("held in the end: %d, %d, %v", first, rest, m.addresses)
		}
	})
}

// Bodies of all lengths come as they were sent, in buffers no larger than announced and at most twice what came.
func TestRead(t *testing.T) {
	t.Parallel()
	for _, length := range []int{0, 1, firstPiece - 1, firstPiece, firstPiece + 1, firstPart, 3_000_000} {
		m := newMemory(Limits{}.withDefaults())
		b := m.open(origin{})
		sent := bytes.Repeat([]byte("0123456789"), length/10+1)[:length]
		got, err := b.read(httptest.NewRecorder(), &http.Request{ContentLength: int64(length), Body: io.NopCloser(bytes.NewReader(sent))})
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes: got %d, %v", length, len(got), err)
		}
		if first, rest := m.inUse(); first+rest != int64(length) || cap(got) != length {
			t.Errorf("%d bytes: %d reserved, capacity %d", length, first+rest, cap(got))
		}
		b.close()
	}
	m := newMemory(Limits{}.withDefaults())
	b := m.open(origin{})
	_, err := b.read(httptest.NewRecorder(), &http.Request{ContentLength: 50_000_000, Body: io.NopCloser(bytes.NewReader(make([]byte, 100_000)))})
	if first, rest := m.inUse(); !errors.Is(err, errBodyBroken) || first+rest != 2*firstPiece {
		t.Errorf("of a large announcement: %d reserved, %v", first+rest, err)
	}
}

// Memory is refused at once, and to the one who has too much already: not to others.
func TestNoMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	url := w.listen(t)
	for range 2 { // large bodies that stop on their way
		b := w.service.memory.open(originOf(netip.MustParseAddr("127.0.0.2")))
		if err := b.grow(firstPart + 1); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.close)
	}
	large := append(sign(t, w.key, report(noon())), bytes.Repeat([]byte{' '}, 2<<20)...)
	got := send(t, clientFrom(t, "127.0.0.2"), newRequest(t, "POST", url+submitPath, large))
	if got.status != 503 || got.header.Get("Retry-After") != "5" || got.body != `{"error":"Too many submissions are being received"}` {
		t.Errorf("the third large one: %v", got)
	}
	if got := send(t, clientFrom(t, "127.0.0.3"), newRequest(t, "POST", url+submitPath, large)); got.status != 200 {
		t.Errorf("another address: %v", got)
	}
	if got := send(t, clientFrom(t, "127.0.0.2"), newRequest(t, "POST", url+submitPath, sign(t, w.key, report(noon().Add(time.Second))))); got.status != 200 {
		t.Errorf("a small one: %v", got)
	}
	if diff := cmp.Diff(map[string]int{"no_memory": 1, "accepted": 2}, w.submitted(t)); diff != "" {
		t.Error(diff)
	}
}

// A body that stops is given up when it has had its time: 15 s, and a second for each 256 KiB that came.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	for sent, want := range map[int]time.Duration{1: 15 * time.Second, 512 << 10: 17 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			network := newPipes()
			stop := network.serve(t, w.service)
			conn := network.dial(t, "192.0.2.1")
			began := time.Now()
			go func() {
				fmt.Fprintf(conn, "POST /v1/submit HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n%s", strings.Repeat("x", sent))
			}()
			answer, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") || !strings.Contains(string(answer), "Connection: close") {
				t.Errorf("got %s, %v", answer, err)
			}
			// The server leaves half a second for the client to read the answer, and a second to drain.
			if took := time.Since(began); took < want || took > want+2*time.Second {
				t.Errorf("after %d bytes it took %s", sent, took)
			}
			if first, rest := w.service.memory.inUse(); first != 0 || rest != 0 {
				t.Errorf("held: %d, %d", first, rest)
			}
			if diff := cmp.Diff(map[string]int{"body_too_slow": 1}, w.submitted(t)); diff != "" {
				t.Error(diff)
			}
			stop()
		})
	}
}
