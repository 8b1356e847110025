package service

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	firstPart  = 1 << 20 // bytes of a body that count as usual; what is beyond is on another account
	firstPiece = 64 << 10
	bodyTime   = 15 * time.Second // for a body to come, and a second for each bodyPace bytes of it
	bodyPace   = 256 << 10
	drainTime  = time.Second // for what a client has on the way when its body is refused
)

var (
	errNoMemory   = errors.New("too many submissions are being received")
	errBodyBroken = errors.New("the body is shorter than announced")
	errBodySlow   = errors.New("the body comes too slowly")
)

// memory is what bodies under way may take, by the buffers they really have. Safe for concurrent use.
type memory struct {
	limits Limits

	mu          sync.Mutex
	first, rest int64 // bytes in use
	addresses   map[origin]held
}

// held is what the bodies of one address have.
type held struct {
	first int64 // bytes
	large int   // bodies beyond firstPart
	all   int   // bodies
}

func newMemory(limits Limits) *memory {
	return &memory{limits: limits, addresses: map[origin]held{}}
}

// body is one body under way.
type body struct {
	memory *memory
	of     origin
	size   int64 // bytes of its buffer
}

// open is followed by close.
func (m *memory) open(of origin) *body {
	m.mu.Lock()
	defer m.mu.Unlock()
	has := m.addresses[of]
	has.all++
	m.addresses[of] = has
	return &body{memory: m, of: of}
}

// grow reserves memory for a buffer of size bytes, or returns errNoMemory.
func (b *body) grow(size int64) error {
	m := b.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	has := m.addresses[b.of]
	first := min(size, firstPart) - min(b.size, firstPart)
	rest := max(size-firstPart, 0) - max(b.size-firstPart, 0)
	if size > firstPart && b.size <= firstPart {
		has.large++
	}
	has.first += first
	switch {
	case m.first+first > m.limits.FirstMemory, has.first > m.limits.FirstMemory/4,
		m.rest+rest > m.limits.RestMemory, has.large > m.limits.LargePerAddress:
		return errNoMemory
	}
	m.first += first
	m.rest += rest
	m.addresses[b.of] = has
	b.size = size
	return nil
}

// close gives the memory back.
func (b *body) close() {
	m := b.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	first, rest := min(b.size, firstPart), max(b.size-firstPart, 0)
	m.first -= first
	m.rest -= rest
	has := m.addresses[b.of]
	has.first -= first
	if rest > 0 {
		has.large--
	}
	if has.all--; has.all == 0 {
		delete(m.addresses, b.of)
	} else {
		m.addresses[b.of] = has
	}
	b.size = 0
}

// inUse returns the bytes of both accounts.
func (m *memory) inUse() (first, rest int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.first, m.rest
}

// read returns a body of as many bytes as announced. Memory is reserved as they arrive, never by announcement, in a buffer that doubles; and so is
// time: a client that stops sending is given up after 15 s, and at any moment it must have sent what 256 KiB/s would have after these.
func (b *body) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	began := time.Now()
	control := http.NewResponseController(w)
	var content []byte
	for int64(len(content)) < r.ContentLength {
		if len(content) == cap(content) {
			size := min(r.ContentLength, max(firstPiece, 2*int64(cap(content))))
			if err := b.grow(size); err != nil {
				return content, err
			}
			content = append(make([]byte, 0, size), content...)
		}
		// A writer without deadlines is one of a test.
		_ = control.SetReadDeadline(began.Add(bodyTime + time.Duration(len(content))*time.Second/bodyPace))
		n, err := r.Body.Read(content[len(content):cap(content)])
		content = content[:len(content)+n]
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return content, errBodySlow
		case err != nil && int64(len(content)) < r.ContentLength:
			return content, fmt.Errorf("%w: %w", errBodyBroken, noEOF(err))
		}
	}
	_ = control.SetReadDeadline(time.Time{})
	return content, nil
}

// noEOF calls an end before the end what it is.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// leave ends the connection after the answer, without waiting for what is left of the body.
func leave(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(drainTime))
}
