//go:build signercheck

// Package signercheck_test compares the signatures of package mina with those of mina-signer, the official signer, in both directions
// and for both networks. It needs Node.js and what npm installs here: run make signer-check.
package signercheck_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"math/big"
	"math/bits"
	mathrand "math/rand/v2"
	"os/exec"
	"slices"
	"testing"
	"unicode/utf8"

	"provingground/internal/mina"
)

// signed is a message as mina-signer's verifyMessage takes it, with its network.
type signed struct {
	Network    string    `json:"network"`
	Data       string    `json:"data"`
	PublicKey  string    `json:"publicKey"`
	PrivateKey string    `json:"privateKey,omitempty"`
	Signature  signature `json:"signature"`
}

// signature is a signature as mina-signer writes it: rx and s as decimal numbers.
type signature struct {
	Field  string `json:"field"`
	Scalar string `json:"scalar"`
}

// message gives the bytes for package mina that stand for mina-signer's text: it takes the bits of each byte from the most significant
// on, where package mina takes them from the least significant on.
func message(text string) []byte {
	b := []byte(text)
	for i := range b {
		b[i] = bits.Reverse8(b[i])
	}
	return b
}

// signatureVersion is the version byte of a signature's text, and numberLength the length of its numbers in bytes.
const signatureVersion, numberLength = 0x9a, 32

// text gives a signature's text.
func (s signature) text(t *testing.T) string {
	t.Helper()
	payload := []byte{1}
	for _, decimal := range []string{s.Field, s.Scalar} {
		number, ok := new(big.Int).SetString(decimal, 10)
		if !ok || number.BitLen() > 8*numberLength {
			t.Fatalf("mina-signer wrote the number %q", decimal)
		}
		littleEndian := number.FillBytes(make([]byte, numberLength))
		slices.Reverse(littleEndian)
		payload = append(payload, littleEndian...)
	}
	return mina.EncodeBase58Check(signatureVersion, payload)
}

// newSignature gives a signature as mina-signer reads it.
func newSignature(t *testing.T, s mina.Signature) signature {
	t.Helper()
	payload, err := mina.DecodeBase58Check(signatureVersion, s.String())
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(payload) // s, rx and the tag, most significant bytes first
	decimal := func(bigEndian []byte) string { return new(big.Int).SetBytes(bigEndian).String() }
	return signature{Field: decimal(payload[numberLength : 2*numberLength]), Scalar: decimal(payload[:numberLength])}
}

func networkID(t *testing.T, name string) mina.NetworkID {
	t.Helper()
	id := slices.Index([]string{"testnet", "mainnet"}, name)
	if id < 0 {
		t.Fatalf("there is no network %q", name)
	}
	return mina.NetworkID(id)
}

func TestAgainstMinaSigner(t *testing.T) {
	const messages = 1000
	ours := make([]signed, messages)
	for i := range ours {
		key, err := mina.GeneratePrivateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		text := make([]rune, mathrand.IntN(100))
		for j := range text {
			for text[j] = -1; !utf8.ValidRune(text[j]); { // of one to four bytes
				text[j] = mathrand.Int32N([]int32{0x80, 0x800, 0x10000, utf8.MaxRune + 1}[mathrand.IntN(4)])
			}
		}
		network := []string{"testnet", "mainnet"}[i%2]
		ours[i] = signed{
			Network: network, Data: string(text), PublicKey: key.PublicKey().String(),
			Signature: newSignature(t, key.Sign(networkID(t, network), message(string(text)))),
		}
	}
	input, err := json.Marshal(ours)
	if err != nil {
		t.Fatal(err)
	}

	var output, complaints bytes.Buffer
	signer := exec.CommandContext(t.Context(), "node", "check.mjs")
	signer.Stdin, signer.Stdout, signer.Stderr = bytes.NewReader(input), &output, &complaints
	if err := signer.Run(); err != nil {
		t.Fatalf("node check.mjs: %v\n%s", err, complaints.String())
	}
	var answer struct {
		Verdicts []struct{ Verified, VerifiedForOther bool }
		Ours     []signed
	}
	if err := json.Unmarshal(output.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Verdicts) != messages || len(answer.Ours) != messages {
		t.Fatalf("mina-signer answered %d verdicts and %d messages, want %d of each", len(answer.Verdicts), len(answer.Ours), messages)
	}

	for i, verdict := range answer.Verdicts {
		if !verdict.Verified || verdict.VerifiedForOther {
			t.Errorf("mina-signer on %+v: %+v", ours[i], verdict)
		}
	}
	for _, s := range answer.Ours {
		network, text := networkID(t, s.Network), s.Signature.text(t)
		public, err := mina.ParsePublicKey(s.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := mina.ParseSignature(text)
		if err != nil {
			t.Fatal(err)
		}
		private, err := mina.ParsePrivateKey(s.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		if private.PublicKey() != public {
			t.Errorf("the public key of mina-signer's %v is %v", public, private.PublicKey())
		}
		if !public.Verify(network, message(s.Data), theirs) || public.Verify(1-network, message(s.Data), theirs) {
			t.Errorf("%v on %s of %q does not verify for its network alone", theirs, s.Network, s.Data)
		}
		if own := private.Sign(network, message(s.Data)); own != theirs {
			t.Errorf("on %s we sign %q with %v, mina-signer with %v", s.Network, s.Data, own, theirs)
		}
	}
	t.Logf("compared %d signatures of ours and %d of mina-signer's", messages, messages)
}
