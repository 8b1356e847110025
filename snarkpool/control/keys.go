package control

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

const (
	maxKeysFile = 1 << 20 // bytes
	maxMistakes = 10      // wrong lines that an error names
)

// Keys are the public keys that may command an agent, from a file with one key per line: the standard base64 of the key, its role, its name; # begins
// a comment:
//
//	# who may command the pool
//	BaG9HYTNxkqyX7haFnz/HXL9FhYwS4gdQ7uYWiStgoY= operator alice
//
// The file may be changed or replaced at any time, and counts from the next command on. One that has anything wrong in it does not count as a whole: the
// keys of before stay, and the error is told. The same holds for a file that others than its owner can write to. Make it with [LoadKeys]. Safe for
// concurrent use.
type Keys struct {
	path string

	mu      sync.Mutex
	content []byte // that was looked at last
	known   map[publicKey]holder
	err     error
}

// holder is whose a key is.
type holder struct {
	name string
	role Role
}

// LoadKeys reads a file of keys. The error names each line that is wrong.
func LoadKeys(path string) (*Keys, error) {
	k := &Keys{path: path}
	if err := k.Refresh(); err != nil {
		return nil, err
	}
	return k, nil
}

// Refresh reads the file again. Its error is why the keys of before are still in use; nil when the keys are those of the file.
func (k *Keys) Refresh() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	content, err := readKeys(k.path)
	if err != nil {
		k.content, k.err = nil, fmt.Errorf("control keys: %w", err)
		return k.err
	}
	if k.content != nil && bytes.Equal(content, k.content) {
		return k.err
	}
	k.content, k.err = content, nil
	known, err := parseKeys(content)
	if err != nil {
		k.err = fmt.Errorf("control keys: %s: %w", k.path, err)
		return k.err
	}
	k.known = known
	return nil
}

// find returns whose a key is, by the file as it is now.
func (k *Keys) find(key publicKey) (holder, bool) {
	// An error is told by the server's own Refresh, and leaves the keys of before in use.
	_ = k.Refresh()
	k.mu.Lock()
	defer k.mu.Unlock()
	found, ok := k.known[key]
	return found, ok
}

// readKeys returns the content of a file, which is not nil.
func readKeys(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // the file that the operator names
	if err != nil {
		return nil, err
	}
	var content []byte
	info, err := file.Stat()
	if err == nil {
		content, err = io.ReadAll(io.LimitReader(file, maxKeysFile+1))
	}
	switch err := errors.Join(err, file.Close()); {
	case err != nil:
		return nil, err
	case info.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("%s: others than the owner can write to it (%v), and so command the pool: chmod go-w it", path, info.Mode().Perm())
	case len(content) > maxKeysFile:
		return nil, fmt.Errorf("%s: longer than %d bytes", path, maxKeysFile)
	}
	return content, nil
}

// parseKeys reads the content of a file. Its errors quote no keys.
func parseKeys(content []byte) (map[publicKey]holder, error) {
	known := map[publicKey]holder{}
	names := map[string]int{} // lines
	var wrong []error
	line := 0
	for text := range bytes.Lines(content) {
		line++
		text, _, _ := strings.Cut(string(text), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		key, who, err := parseHolder(words)
		if _, twice := known[key]; err == nil && twice {
			err = errors.New("this key stands there twice")
		}
		if before := names[who.name]; err == nil && before > 0 {
			err = fmt.Errorf("the name %s is that of line %d already", who.name, before)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("line %d: %w", line, err))
			continue
		}
		known[key], names[who.name] = who, line
	}
	if more := len(wrong) - maxMistakes; more > 0 {
		wrong = append(wrong[:maxMistakes], fmt.Errorf("and %d more", more))
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return known, nil
}

func parseHolder(words []string) (publicKey, holder, error) {
	if len(words) != 3 {
		return publicKey{}, holder{}, fmt.Errorf("%d words: write a public key, its role and its name", len(words))
	}
	key, ok := decodeBase64(words[0], ed25519.PublicKeySize)
	if !ok {
		return publicKey{}, holder{}, fmt.Errorf("the first word is not the standard base64 of a public key of %d bytes", ed25519.PublicKeySize)
	}
	who := holder{words[2], Role(words[1])}
	if who.role.rank() == 0 {
		return publicKey{}, holder{}, fmt.Errorf("%s is no role: write %s, %s or %s", shorten(words[1]), RoleReader, RoleOperator, RoleAdmin)
	}
	if !isName(who.name) {
		return publicKey{}, holder{}, fmt.Errorf("%s is no name: use letters, digits, dots, dashes and underscores", shorten(words[2]))
	}
	return publicKey(key), who, nil
}
