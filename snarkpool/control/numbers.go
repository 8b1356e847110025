package control

import (
	"sync"

	"github.com/google/uuid"
)

// numbers are the next sequence numbers of all keys, in one run of the server. Once a key has used up its numbers there is a new UUID for all, so that
// no number of a key comes twice under one UUID. Safe for concurrent use.
type numbers struct {
	mu   sync.Mutex
	uuid string
	next map[publicKey]uint16 // of keys that were allowed once; also of those that are no longer, lest they begin anew when they are again
}

func newNumbers() *numbers { return &numbers{uuid: uuid.NewString(), next: map[publicKey]uint16{}} }

// peek returns the UUID and a key's next number.
func (n *numbers) peek(key publicKey) (string, uint16) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.uuid, n.next[key]
}

// take uses up the number of a header whose signature is that of an allowed key, or reports false when it is another than the next one.
func (n *numbers) take(h header) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h.uuid != n.uuid || h.number != n.next[h.key] {
		return false
	}
	n.next[h.key]++
	if n.next[h.key] == 0 {
		n.uuid = uuid.NewString()
		clear(n.next)
	}
	return true
}
