package mina

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestKnownBase58CheckTexts(t *testing.T) {
	one := append([]byte{1}, make([]byte, 31)...)
	for _, c := range []struct {
		name    string
		version byte
		payload []byte
		text    string
	}{
		{"default token id", 0x1c, one, "wSHV2S4qX9jFsLjQo8r1BsMLH2ZRKsZx6EJd1sbozGPieEC4Jf"},
		{"bitcoin's address of the hash 0, with leading zeros", 0x00, make([]byte, 20), "1111111111111111111114oLvT2"},
	} {
		if got := EncodeBase58Check(c.version, c.payload); got != c.text {
			t.Errorf("%s: encoded %s, want %s", c.name, got, c.text)
		}
		if got, err := DecodeBase58Check(c.version, c.text); err != nil || !bytes.Equal(got, c.payload) {
			t.Errorf("%s: decoded %x, %v, want %x", c.name, got, err, c.payload)
		}
	}
}

func TestBase58CheckRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		version := rapid.OneOf(rapid.Just(byte(0)), rapid.Byte()).Draw(t, "version")
		zeros := make([]byte, rapid.IntRange(0, 5).Draw(t, "zeros"))
		payload := slices.Concat(zeros, rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "payload"))
		text := EncodeBase58Check(version, payload)
		if got, err := DecodeBase58Check(version, text); err != nil || !bytes.Equal(got, payload) {
			t.Errorf("encoded as %s and decoded again, %x is %x, %v", text, payload, got, err)
		}
		if _, err := DecodeBase58Check(version+1, text); !errors.Is(err, ErrVersionByte) {
			t.Errorf("for another version byte the error is %v", err)
		}
		position := rapid.IntRange(0, len(text)-1).Draw(t, "position")
		digit := rapid.SampledFrom([]byte(base58Digits)).Draw(t, "digit")
		damaged := text[:position] + string(digit) + text[position+1:]
		if _, err := DecodeBase58Check(version, damaged); damaged != text && !errors.Is(err, ErrChecksum) {
			t.Errorf("for %s, damaged from %s, the error is %v", damaged, text, err)
		}
	})
}

func TestDecodeBase58CheckRefuses(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       error
	}{
		{"empty", "", ErrNotBase58},
		{"a letter outside the alphabet", strings.Replace(knownPublicKey, "q", "0", 1), ErrNotBase58},
		{"a look-alike", strings.Replace(knownPublicKey, "q", "l", 1), ErrNotBase58},
		{"a sign", "-" + knownPublicKey, ErrNotBase58},
		{"a space", knownPublicKey + " ", ErrNotBase58},
		{"a newline", knownPublicKey + "\n", ErrNotBase58},
		{"not ASCII", "é" + knownPublicKey, ErrNotBase58},
		{"a NUL", "\x00", ErrNotBase58},
		{"just too long", strings.Repeat("z", maxBase58Length+1), ErrNotBase58},
		{"hostile", strings.Repeat("z", 50_000_000), ErrNotBase58},
		{"one digit", "2", ErrChecksum},
		{"too short for a checksum", "1111", ErrChecksum},
		{"cut", knownPublicKey[:54], ErrChecksum},
		{"a zero byte in front", "1" + knownPublicKey, ErrChecksum},
		{"longest", strings.Repeat("z", maxBase58Length), ErrChecksum},
		{"a private key", knownPrivateKey, ErrVersionByte},
	} {
		t.Run(c.name, func(t *testing.T) {
			payload, err := DecodeBase58Check(versionPublicKey, c.text)
			if !errors.Is(err, c.want) || payload != nil {
				t.Fatalf("decoded %x, error %v, want %v", payload, err, c.want)
			}
			if len(c.text) > 4 && strings.Contains(err.Error(), c.text) {
				t.Errorf("the error repeats the text: %v", err)
			}
		})
	}
}

func FuzzDecodeBase58Check(f *testing.F) {
	for _, text := range []string{
		knownPublicKey, knownPrivateKey, "1111111111111111111114oLvT2", "wSHV2S4qX9jFsLjQo8r1BsMLH2ZRKsZx6EJd1sbozGPieEC4Jf", "", "1", "0",
	} {
		f.Add(byte(versionPublicKey), text)
	}
	f.Fuzz(func(t *testing.T, version byte, text string) {
		payload, err := DecodeBase58Check(version, text)
		if err == nil && EncodeBase58Check(version, payload) != text {
			t.Errorf("%q is decoded as %x", text, payload)
		}
	})
}

func BenchmarkDecodeBase58Check(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeBase58Check(versionPublicKey, knownPublicKey); err != nil {
			b.Fatal(err)
		}
	}
}
