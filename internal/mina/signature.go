package mina

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/blake2b"

	"provingground/internal/mina/pallas"
)

// NetworkID says which network a signature is for; a signature for one is not valid for the other (uptime, section 3.1). Values
// other than Mainnet mean test networks.
type NetworkID uint8

// The networks.
const (
	Testnet NetworkID = 0 // every network but the main one
	Mainnet NetworkID = 1
)

// Signature is a legacy Schnorr signature of a byte string. Equal signatures are ==. The zero value verifies nothing.
type Signature struct {
	rx pallas.Fp
	s  pallas.Fq
}

// signaturePayloadLength is the length of a signature's payload: the tag 1, rx and s, least significant bytes first.
const signaturePayloadLength = 65

// ParseSignature reads the text of a signature, "7mX…" (uptime, section 3.1). It refuses numbers that are not below p and q, so that
// a signature has exactly one text. The errors of DecodeBase58Check can be tested for.
func ParseSignature(text string) (Signature, error) {
	payload, err := DecodeBase58Check(versionSignature, text)
	if err != nil {
		return Signature{}, fmt.Errorf("reading a signature: %w", err)
	}
	if len(payload) != signaturePayloadLength || payload[0] != 1 {
		return Signature{}, fmt.Errorf("reading a signature: not the tag 1 and 64 bytes, but %d bytes in all", len(payload))
	}
	rx, rxOK := pallas.FpFromBytes([32]byte(payload[1:33]))
	s, sOK := pallas.FqFromBytes([32]byte(payload[33:]))
	if !rxOK || !sOK {
		return Signature{}, errors.New("reading a signature: a number is out of range")
	}
	return Signature{rx, s}, nil
}

// String gives the text of the signature, "7mX…".
func (s Signature) String() string {
	rx, scalar := s.rx.Bytes(), s.s.Bytes()
	payload := append([]byte{1}, rx[:]...)
	return EncodeBase58Check(versionSignature, append(payload, scalar[:]...))
}

// Sign signs a message (uptime, section 3.2). The same key, network and message always give the same signature. The time it takes
// depends on the key; see the package comment.
func (k PrivateKey) Sign(network NetworkID, message []byte) Signature {
	if k == (PrivateKey{}) {
		return Signature{}
	}
	scalar := [32]byte([]byte(k.secret.Value()))
	nonce := deriveNonce(network, k.public, scalar, message)
	r, _ := pallas.BaseMult(nonce).Affine() // the neutral point only for the nonce 0, one in 2²⁵⁴
	if r.Y.IsOdd() {
		nonce = nonce.Neg()
	}
	e := challenge(network, k.public, r.X, message)
	key, _ := pallas.FqFromBytes(scalar) // below q since the key was made
	return Signature{rx: r.X, s: nonce.Add(e.Mul(key))}
}

// Verify tells whether s is a signature of message for the network, made with the private key that belongs to k (uptime,
// section 3.1).
func (k PublicKey) Verify(network NetworkID, message []byte, s Signature) bool {
	if k == (PublicKey{}) {
		return false
	}
	e := challenge(network, k, s.rx, message)
	r, ok := pallas.BaseMultAdd(s.s, e.Neg(), k.point).Affine()
	return ok && !r.Y.IsOdd() && r.X == s.rx
}

// challenge gives e, the hash that binds a signature to its network, key and message.
func challenge(network NetworkID, public PublicKey, rx pallas.Fp, message []byte) pallas.Fq {
	state := pallas.TestnetSignatures()
	if network == Mainnet {
		state = pallas.MainnetSignatures()
	}
	elements := append([]pallas.Fp{public.point.X, public.point.Y, rx}, messageElements(message)...)
	return pallas.FqFromFp(state.Digest(elements...))
}

// messageElements packs the bits of a message, the least significant of each byte first, into elements of 254 bits.
func messageElements(message []byte) []pallas.Fp {
	const elementBits = 254
	var elements []pallas.Fp
	for first := 0; first < 8*len(message); first += elementBits {
		var chunk bitString
		chunk.append(message, first, min(first+elementBits, 8*len(message)))
		var number [32]byte
		copy(number[:], chunk.bytes)
		element, _ := pallas.FpFromBytes(number) // 254 bits are always below p
		elements = append(elements, element)
	}
	return elements
}

// deriveNonce makes the secret number of a signature from everything that goes into it.
func deriveNonce(network NetworkID, public PublicKey, scalar [32]byte, message []byte) pallas.Fq {
	const fieldBits = 255
	x, y := public.point.X.Bytes(), public.point.Y.Bytes()
	var bits bitString
	bits.append(x[:], 0, fieldBits)
	bits.append(y[:], 0, fieldBits)
	bits.append(message, 0, 8*len(message))
	bits.append(scalar[:], 0, fieldBits)
	bits.append([]byte{byte(network)}, 0, 8)
	number := blake2b.Sum256(bits.bytes)
	number[31] &= 0x3f
	nonce, _ := pallas.FqFromBytes(number) // 254 bits are always below q
	return nonce
}

// bitString is a row of bits, packed into bytes from the least significant bit on and filled up with zeros.
type bitString struct {
	bytes  []byte
	length int // in bits
}

// append adds the bits of source from first to before end.
func (b *bitString) append(source []byte, first, end int) {
	for i := first; i < end; i++ {
		if b.length%8 == 0 {
			b.bytes = append(b.bytes, 0)
		}
		bit := source[i/8] >> (i % 8) & 1
		b.bytes[b.length/8] |= bit << (b.length % 8)
		b.length++
	}
}
