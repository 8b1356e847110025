package control

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Key is the Ed25519 key that signs an operator's commands. Formatting shows the public half only. The zero Key signs nothing. Safe for concurrent use.
type Key struct {
	public string // base64
	// sign is a function to keep the seed out of whatever prints by reflection.
	sign func(message []byte) []byte
}

// ParseKey reads a key from the standard base64 of its 32-byte seed, the form of an ITN key; white space around it is ignored. Errors do not quote the text.
func ParseKey(text string) (Key, error) {
	seed, ok := decodeBase64(strings.TrimSpace(text), ed25519.SeedSize)
	if !ok {
		return Key{}, fmt.Errorf("the control key is not the standard base64 of %d bytes: is this the file of a private half?", ed25519.SeedSize)
	}
	return keyOf(seed), nil
}

// GenerateKey returns a new key and the text from which [ParseKey] reads it, which is secret: write it into a file of mode 0600.
func GenerateKey(random io.Reader) (key Key, text string, err error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return Key{}, "", fmt.Errorf("making a control key: %w", err)
	}
	return keyOf(seed), base64.StdEncoding.EncodeToString(seed), nil
}

func keyOf(seed []byte) Key {
	private := ed25519.NewKeyFromSeed(seed)
	public := base64.StdEncoding.EncodeToString(private[ed25519.SeedSize:])
	return Key{public, func(message []byte) []byte { return ed25519.Sign(private, message) }}
}

// PublicKey returns the standard base64 of the public half, as a keys file holds it; empty for the zero Key.
func (k Key) PublicKey() string { return k.public }

// String shows the public half.
func (k Key) String() string { return "control key " + k.public }

// Format writes String whatever the verb.
func (k Key) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, k.String()) }

// MarshalText shows the public half.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// errNoKey says that a client was made with the zero Key.
var errNoKey = errors.New("there is no key to sign with")

// publicKey is an Ed25519 public key as a map key.
type publicKey [ed25519.PublicKeySize]byte

func (k publicKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// signed are the bytes under a signature with a number (itn-graphql, section 2.2).
func signed(uuid string, number uint16, body []byte) []byte {
	return bytes.Join([][]byte{binary.BigEndian.AppendUint16(nil, number), []byte(uuid), body}, nil)
}

// unsequenced returns the header of a body without a number.
func (k Key) unsequenced(body []byte) string {
	return "Signature " + k.public + " " + base64.StdEncoding.EncodeToString(k.sign(body))
}

// sequenced returns the header of a body under a number.
func (k Key) sequenced(uuid string, number uint16, body []byte) string {
	signature := base64.StdEncoding.EncodeToString(k.sign(signed(uuid, number, body)))
	return fmt.Sprintf("Signature %s %s ; Sequencing %s %d", k.public, signature, uuid, number)
}

// header is a parsed Authorization header.
type header struct {
	key       publicKey
	signature []byte
	sequenced bool
	uuid      string
	number    uint16
}

// parseHeader reads either form of the header (itn-graphql, sections 2.1 and 2.2), strictly: there is one text for each meaning.
func parseHeader(text string) (header, bool) {
	words := strings.Split(text, " ")
	sequenced := len(words) == 7
	if len(words) != 3 && !sequenced || words[0] != "Signature" {
		return header{}, false
	}
	key, keyOK := decodeBase64(words[1], ed25519.PublicKeySize)
	signature, signatureOK := decodeBase64(words[2], ed25519.SignatureSize)
	if !keyOK || !signatureOK {
		return header{}, false
	}
	parsed := header{key: publicKey(key), signature: signature, sequenced: sequenced}
	if !sequenced {
		return parsed, true
	}
	number, err := strconv.ParseUint(words[6], 10, 16)
	if err != nil || strconv.FormatUint(number, 10) != words[6] || words[3] != ";" || words[4] != "Sequencing" {
		return header{}, false
	}
	parsed.uuid, parsed.number = words[5], uint16(number)
	return parsed, true
}

// verify tells whether the signature is the key's, over the body and, if there is one, the number.
func (h header) verify(body []byte) bool {
	if h.sequenced {
		body = signed(h.uuid, h.number, body)
	}
	return ed25519.Verify(h.key[:], body, h.signature)
}

// decodeBase64 accepts the one text that standard base64 has for so many bytes.
func decodeBase64(text string, size int) ([]byte, bool) {
	decoded, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(decoded) != size || base64.StdEncoding.EncodeToString(decoded) != text {
		return nil, false
	}
	return decoded, true
}
