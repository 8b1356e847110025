package mina

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// The version bytes of the objects of this package (keyfiles, section 1).
const (
	versionSecretBox  = 0x02
	versionPrivateKey = 0x5a
	versionSignature  = 0x9a
	versionPublicKey  = 0xcb
)

// maxBase58Length bounds the texts that are decoded, in bytes: the cost grows faster than the length. The longest text of a key file
// or a request takes a few hundred.
const maxBase58Length = 1024

const checksumLength = 4

// Errors of DecodeBase58Check, for errors.Is. None of them repeats the text, which may be a secret.
var (
	// ErrNotBase58 says that a text is empty or longer than 1024 bytes, or holds a character that base58 does not have.
	ErrNotBase58 = errors.New("not base58")
	// ErrChecksum says that a text is damaged: a character is wrong, missing or too many.
	ErrChecksum = errors.New("checksum does not match: a character is wrong, missing or too many")
	// ErrVersionByte says that a text is whole, but of another kind of object than the one asked for.
	ErrVersionByte = errors.New("another kind of object")
)

// The digits of base58 and those that math/big uses for the same values.
const (
	base58Digits = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	bigDigits    = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"
)

// EncodeBase58Check gives the base58check text of a payload: base58 of the version byte, the payload and a checksum of both
// (keyfiles, section 1). Its cost grows faster than the length of the payload; callers bound that.
func EncodeBase58Check(version byte, payload []byte) string {
	content := append([]byte{version}, payload...)
	content = append(content, checksum(content)...)
	zeros := len(content) - len(bytes.TrimLeft(content, "\x00"))
	text := []byte(strings.Repeat("1", zeros))
	if zeros < len(content) {
		for _, digit := range []byte(new(big.Int).SetBytes(content).Text(len(base58Digits))) {
			text = append(text, base58Digits[strings.IndexByte(bigDigits, digit)])
		}
	}
	return string(text)
}

// DecodeBase58Check gives the payload of a base58check text whose version byte must be the given one. The errors are ErrNotBase58,
// ErrChecksum and ErrVersionByte. A payload has exactly one text: what is decoded encodes to the same text again.
func DecodeBase58Check(version byte, text string) ([]byte, error) {
	if text == "" || len(text) > maxBase58Length {
		return nil, fmt.Errorf("%w: %d characters, want 1 to %d", ErrNotBase58, len(text), maxBase58Length)
	}
	digits := make([]byte, len(text))
	for i := range len(text) {
		value := strings.IndexByte(base58Digits, text[i])
		if value < 0 {
			return nil, fmt.Errorf("%w: character %d is not one of its digits", ErrNotBase58, i+1)
		}
		digits[i] = bigDigits[value]
	}
	zeros := len(text) - len(strings.TrimLeft(text, "1"))
	number, _ := new(big.Int).SetString(string(digits), len(base58Digits))
	content := append(make([]byte, zeros), number.Bytes()...)

	if len(content) < 1+checksumLength {
		return nil, ErrChecksum
	}
	content, sum := content[:len(content)-checksumLength], content[len(content)-checksumLength:]
	if !bytes.Equal(sum, checksum(content)) {
		return nil, ErrChecksum
	}
	if content[0] != version {
		return nil, fmt.Errorf("%w: its version byte is %#02x, want %#02x", ErrVersionByte, content[0], version)
	}
	return content[1:], nil
}

// checksum gives the checksum of a version byte and payload.
func checksum(content []byte) []byte {
	once := sha256.Sum256(content)
	twice := sha256.Sum256(once[:])
	return twice[:checksumLength]
}
