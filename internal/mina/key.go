package mina

import (
	"errors"
	"fmt"
	"io"
	"unique"

	"provingground/internal/mina/pallas"
)

// PrivateKey is a Mina private key: a number from 1 to q−1, q being the order of Pallas. Equal keys are ==.
//
// However it is printed or marshalled it shows the mask "EK…(masked)"; only Base58 reveals it. The zero value is no key: it has no
// text, its public key is the zero PublicKey, and what it signs does not verify. Safe for concurrent use.
type PrivateKey struct {
	// secret holds the 32 bytes of the number, least significant first. It is a handle of a string because, where a key is in an
	// unexported field, package fmt prints what is in the key without asking it. Of this it prints an address: it looks through
	// some pointers, but never through one to a string.
	secret unique.Handle[string]
	public PublicKey
}

// privateKeyMask stands for a private key wherever it is printed.
const privateKeyMask = "EK…(masked)"

// ParsePrivateKey reads the text of a private key, "EK…" (keyfiles, section 1). Its errors do not repeat the text; those of
// DecodeBase58Check can be tested for.
func ParsePrivateKey(text string) (PrivateKey, error) {
	payload, err := DecodeBase58Check(versionPrivateKey, text)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("reading a private key: %w", err)
	}
	key, err := privateKeyFromPayload(payload)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("reading a private key: %w", err)
	}
	return key, nil
}

// GeneratePrivateKey makes a new private key from 32 bytes of random.
func GeneratePrivateKey(random io.Reader) (PrivateKey, error) {
	payload := make([]byte, privateKeyPayloadLength)
	payload[0] = 1
	scalar := payload[1:]
	if _, err := io.ReadFull(random, scalar); err != nil {
		return PrivateKey{}, fmt.Errorf("generating a private key: %w", err)
	}
	// What is left is below 2²⁵⁴, hence below q; the keys above 2²⁵⁴ that are never made are one in 2¹²⁸.
	scalar[31] &= 0x3f
	key, err := privateKeyFromPayload(payload)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("generating a private key: %w", err)
	}
	return key, nil
}

// privateKeyPayloadLength is the length of a private key's payload: the tag 1 and the number, least significant byte first.
const privateKeyPayloadLength = 33

// privateKeyFromPayload reads what the text and the file of a private key hold.
func privateKeyFromPayload(payload []byte) (PrivateKey, error) {
	if len(payload) != privateKeyPayloadLength || payload[0] != 1 {
		return PrivateKey{}, fmt.Errorf("not the tag 1 and 32 bytes, but %d bytes in all", len(payload))
	}
	scalar := [32]byte(payload[1:])
	k, ok := pallas.FqFromBytes(scalar)
	if !ok || k == (pallas.Fq{}) {
		return PrivateKey{}, errors.New("the number is 0 or not below the order of the curve")
	}
	point, _ := pallas.BaseMult(k).Affine() // never the neutral point, because k is not 0
	return PrivateKey{secret: unique.Make(string(scalar[:])), public: PublicKey{point}}, nil
}

// payload gives what privateKeyFromPayload reads. The key must not be the zero value.
func (k PrivateKey) payload() []byte { return append([]byte{1}, k.secret.Value()...) }

// Base58 reveals the key: its text, "EK…". It is empty for the zero value.
func (k PrivateKey) Base58() string {
	if k == (PrivateKey{}) {
		return ""
	}
	return EncodeBase58Check(versionPrivateKey, k.payload())
}

// PublicKey gives the public key that belongs to k.
func (k PrivateKey) PublicKey() PublicKey { return k.public }

// String gives the mask.
func (PrivateKey) String() string { return privateKeyMask }

// GoString gives the mask.
func (PrivateKey) GoString() string { return privateKeyMask }

// Format writes the mask, whatever the verb and flags.
func (PrivateKey) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, privateKeyMask) // package fmt's own buffer: it does not fail
}

// MarshalJSON gives the mask.
func (PrivateKey) MarshalJSON() ([]byte, error) { return []byte(`"` + privateKeyMask + `"`), nil }

// PublicKey is a Mina public key: a point of Pallas other than the neutral one, which was checked to be on the curve. Equal keys are
// ==, so a PublicKey can be a map's key. The zero value is no key: it has no text and verifies nothing.
type PublicKey struct{ point pallas.Affine }

// publicKeyPayloadLength is the length of a public key's payload: the tags 1 and 1, x with the least significant byte first, and
// whether y is odd.
const publicKeyPayloadLength = 35

// ParsePublicKey reads the text of a public key, "B62…" (keyfiles, sections 1 and 3). It refuses an x that is not below p, a parity
// other than 0 and 1, and an x that belongs to no point of the curve. The errors of DecodeBase58Check can be tested for.
func ParsePublicKey(text string) (PublicKey, error) {
	payload, err := DecodeBase58Check(versionPublicKey, text)
	if err != nil {
		return PublicKey{}, fmt.Errorf("reading a public key: %w", err)
	}
	if len(payload) != publicKeyPayloadLength || payload[0] != 1 || payload[1] != 1 {
		return PublicKey{}, fmt.Errorf("reading a public key: not the tags 1 and 1 and 33 bytes, but %d bytes in all", len(payload))
	}
	x, ok := pallas.FpFromBytes([32]byte(payload[2:34]))
	parity := payload[34]
	if !ok || parity > 1 {
		return PublicKey{}, errors.New("reading a public key: x or the parity of y is out of range")
	}
	point, ok := pallas.AffineFromX(x, parity == 1)
	if !ok {
		return PublicKey{}, errors.New("reading a public key: no point of the curve has this x")
	}
	return PublicKey{point}, nil
}

// String gives the text of the key, "B62…". It is empty for the zero value.
func (k PublicKey) String() string {
	if k == (PublicKey{}) {
		return ""
	}
	x := k.point.X.Bytes()
	payload := append([]byte{1, 1}, x[:]...)
	if k.point.Y.IsOdd() {
		payload = append(payload, 1)
	} else {
		payload = append(payload, 0)
	}
	return EncodeBase58Check(versionPublicKey, payload)
}
