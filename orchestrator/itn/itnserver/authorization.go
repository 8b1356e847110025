package itnserver

import (
	"crypto/ed25519"
	"encoding/base64"
	"math/big"
	"slices"
	"strings"
)

// publicKey is an Ed25519 public key as a map key.
type publicKey [ed25519.PublicKeySize]byte

// authorization is a parsed Authorization header (itn-graphql, sections 2.1 and 2.2).
type authorization struct {
	key       publicKey
	signature []byte // nil when it was not base64, which no check of a signature accepts
	sequenced bool
	uuid      string // of the sequenced form, as sent
	number    string // of the sequenced form, as sent
}

// parseAuthorization reads either form of the header. It reports false for what the daemon answers with 401 before it looks
// at anything else: other words, or a key that is not the base64 of 32 bytes (itn-graphql, section 2.4, rows 1 and 2).
// Whether those bytes are a point of the curve is isPoint's question.
func parseAuthorization(header string) (authorization, bool) {
	words := strings.Split(header, " ")
	sequenced := len(words) == 7
	if len(words) != 3 && !sequenced || words[0] != "Signature" {
		return authorization{}, false
	}
	if sequenced && (words[3] != ";" || words[4] != "Sequencing") {
		return authorization{}, false
	}
	key, ok := decodeBase64(words[1])
	if !ok || len(key) != ed25519.PublicKeySize {
		return authorization{}, false
	}
	parsed := authorization{key: publicKey(key), sequenced: sequenced}
	if signature, ok := decodeBase64(words[2]); ok {
		parsed.signature = signature
	}
	if sequenced {
		parsed.uuid, parsed.number = words[5], words[6]
	}
	return parsed, true
}

// decodeBase64 accepts the standard alphabet with padding, without looking at unused low bits. Go's decoder skips line
// breaks, the daemon's does not.
func decodeBase64(text string) ([]byte, bool) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, false
	}
	decoded, err := base64.StdEncoding.DecodeString(text)
	return decoded, err == nil
}

// hasUUIDShape tells whether the daemon can parse a UUID: 36 characters with dashes at places 9, 14, 19 and 24 and nowhere
// else; hex digits are not checked (itn-graphql, section 2.4, row 3).
func hasUUIDShape(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i := range len(text) {
		isDashPlace := i == 8 || i == 13 || i == 18 || i == 23
		if (text[i] == '-') != isDashPlace {
			return false
		}
	}
	return true
}

// isPoint tells whether a key decodes to a point of the Ed25519 curve −x² + y² = 1 + d·x²·y², that is whether
// (y²−1)/(d·y²+1) is a square. The standard library checks it only together with a signature, after which the daemon's
// order of answers could not be kept. It is slow, and only strangers' keys need it.
func isPoint(key publicKey) bool {
	p := new(big.Int).Lsh(big.NewInt(1), 255)
	p.Sub(p, big.NewInt(19))
	d := new(big.Int).ModInverse(big.NewInt(121666), p)
	d.Mul(d, big.NewInt(-121665))

	littleEndian := key
	littleEndian[31] &= 0x7f // the sign of x
	slices.Reverse(littleEndian[:])
	ySquared := new(big.Int).SetBytes(littleEndian[:])
	ySquared.Mul(ySquared, ySquared)

	numerator := new(big.Int).Sub(ySquared, big.NewInt(1))
	denominator := d.Mul(d, ySquared)
	denominator.Add(denominator, big.NewInt(1))
	// A quotient is a square when the product is: they differ by the square of the denominator.
	product := numerator.Mul(numerator, denominator)
	return big.Jacobi(product.Mod(product, p), p) >= 0
}
