package itn

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Key is an ITN key: the Ed25519 key that signs requests to the ITN port, of which the node knows the public half from its
// flag --itn-keys. Formatting shows the public half only. Its zero value signs nothing: requests fail unsent. Key is safe
// for concurrent use.
//
// The sequence number at the node belongs to the key, so two programs must not share one (itn-graphql, section 2.3).
type Key struct {
	public string // base64
	// sign returns the base64 of the signature of the concatenated parts. A function keeps the seed out of whatever prints
	// by reflection, also structs that hold a Key in an unexported field.
	sign func(parts ...[]byte) string
}

// ParseKey reads a key from the standard base64 of its 32-byte seed; white space around it is ignored. Errors do not
// quote the text.
func ParseKey(text string) (Key, error) {
	seed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return Key{}, errors.New("the ITN key is not standard base64 with padding")
	}
	if len(seed) != ed25519.SeedSize {
		return Key{}, fmt.Errorf("the ITN key has %d bytes; an Ed25519 seed has %d", len(seed), ed25519.SeedSize)
	}
	private := ed25519.NewKeyFromSeed(seed)
	public := base64.StdEncoding.EncodeToString(private[ed25519.SeedSize:])
	sign := func(parts ...[]byte) string {
		return base64.StdEncoding.EncodeToString(ed25519.Sign(private, bytes.Join(parts, nil)))
	}
	return Key{public, sign}, nil
}

// PublicKey returns the standard base64 of the public half, as --itn-keys takes it; empty for the zero Key.
func (k Key) PublicKey() string { return k.public }

// String shows the public half.
func (k Key) String() string { return "ITN key " + k.PublicKey() }

// Format writes String whatever the verb.
func (k Key) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, k.String()) }

// MarshalText shows the public half.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
