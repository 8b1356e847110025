package control

import (
	"fmt"
	"strconv"
	"strings"
)

// Target selects workers. Its text is WORKER (bm7/gpu/0), HOST, POOL, HOST/POOL, label=KEY=VALUE, or all; a bare name means the host and the pool of
// that name, and host=NAME or pool=NAME only the one. The zero Target selects all workers. Targets are comparable.
type Target struct {
	kind       targetKind
	key, value string
}

type targetKind int

const (
	everyone      targetKind = iota
	byName                   // value is a host or a pool
	byHost                   // value
	byPool                   // value
	byHostAndPool            // key is the host, value the pool
	byWorker                 // value
	byLabel                  // key, value
)

// ParseTarget reads a target.
func ParseTarget(text string) (Target, error) {
	prefix, rest, isKeyed := strings.Cut(text, "=")
	switch {
	case text == "all":
		return Target{}, nil
	case isKeyed && prefix == "host" && isName(rest):
		return Target{kind: byHost, value: rest}, nil
	case isKeyed && prefix == "pool" && isName(rest):
		return Target{kind: byPool, value: rest}, nil
	case isKeyed && prefix == "label":
		key, value, found := strings.Cut(rest, "=")
		if found && isName(key) && isName(value) {
			return Target{byLabel, key, value}, nil
		}
	case !isKeyed:
		parts := strings.Split(text, "/")
		for _, part := range parts {
			if !isName(part) {
				return Target{}, badTarget(text)
			}
		}
		switch len(parts) {
		case 1:
			return Target{kind: byName, value: text}, nil
		case 2:
			return Target{byHostAndPool, parts[0], parts[1]}, nil
		case 3:
			if index, err := strconv.Atoi(parts[2]); err == nil && strconv.Itoa(index) == parts[2] && index >= 0 {
				return Target{kind: byWorker, value: text}, nil
			}
		}
	}
	return Target{}, badTarget(text)
}

func badTarget(text string) error {
	return fmt.Errorf("%s is no target: write a worker (bm7/gpu/0), a host, a pool, host=NAME, pool=NAME, label=KEY=VALUE, or all", shorten(text))
}

// IsZero tells whether the target is all workers.
func (t Target) IsZero() bool { return t == Target{} }

// String is the text that [ParseTarget] reads.
func (t Target) String() string {
	switch t.kind {
	case byName, byWorker:
		return t.value
	case byHost:
		return "host=" + t.value
	case byPool:
		return "pool=" + t.value
	case byHostAndPool:
		return t.key + "/" + t.value
	case byLabel:
		return "label=" + t.key + "=" + t.value
	case everyone:
	}
	return "all"
}

// MarshalText writes String.
func (t Target) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what [ParseTarget] reads.
func (t *Target) UnmarshalText(text []byte) error {
	parsed, err := ParseTarget(string(text))
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}

// Matches tells whether a worker is among those selected, by its name (host/pool/index) and its host's labels.
func (t Target) Matches(worker string, labels map[string]string) bool {
	host, rest, _ := strings.Cut(worker, "/")
	pool, _, _ := strings.Cut(rest, "/")
	switch t.kind {
	case everyone:
		return true
	case byName:
		return t.value == host || t.value == pool
	case byHost:
		return t.value == host
	case byPool:
		return t.value == pool
	case byHostAndPool:
		return t.key == host && t.value == pool
	case byWorker:
		return t.value == worker
	case byLabel:
		value, found := labels[t.key]
		return found && value == t.value
	}
	return false
}
