package itnserver

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
)

const (
	testPublic = "BaG9HYTNxkqyX7haFnz/HXL9FhYwS4gdQ7uYWiStgoY="
	testUUID   = "24511be6-320d-4ef2-8dff-89916bcb6751"
	testSig    = "LSy0n5XkS2wuTWuVQbFFs+H7gmR+BIE/bqlwFGVcFv0awYMXl48vuAfvYEqqnpAVSNXt8YH6n0YNew4i0pYUBg=="
)

func TestParseAuthorization(t *testing.T) {
	unsequenced := "Signature " + testPublic + " " + testSig
	sequenced := unsequenced + " ; Sequencing " + testUUID + " 1"
	for _, test := range []struct {
		name, header string
		ok           bool
	}{
		{"unsequenced", unsequenced, true},
		{"sequenced", sequenced, true},
		{"signature that is not base64: refused later", "Signature " + testPublic + " ?", true},
		{"number that is none: refused later", unsequenced + " ; Sequencing x y", true},
		{"unused low bits of the key", "Signature " + strings.Replace(testPublic, "oY=", "ob=", 1) + " " + testSig, true},
		{"empty", "", false},
		{"two words", "Signature " + testPublic, false},
		{"four words", unsequenced + " ;", false},
		{"six words", unsequenced + " ; Sequencing " + testUUID, false},
		{"eight words", sequenced + " 2", false},
		{"another scheme", strings.Replace(unsequenced, "Signature", "Bearer", 1), false},
		{"lower case", strings.Replace(unsequenced, "Signature", "signature", 1), false},
		{"two spaces", strings.Replace(unsequenced, "Signature ", "Signature  ", 1), false},
		{"space in front", " " + unsequenced, false},
		{"space behind", unsequenced + " ", false},
		{"semicolon at the signature", strings.Replace(sequenced, " ; ", "; ", 1), false},
		{"another separator", strings.Replace(sequenced, ";", ",", 1), false},
		{"sequencing in lower case", strings.Replace(sequenced, "Sequencing", "sequencing", 1), false},
		{"key without padding", strings.Replace(unsequenced, "oY=", "oY", 1), false},
		{"key in the URL-safe alphabet", strings.Replace(unsequenced, "nz/H", "nz_H", 1), false},
		{"key of 31 bytes", "Signature " + base64.StdEncoding.EncodeToString(make([]byte, 31)) + " " + testSig, false},
		{"key of 33 bytes", "Signature " + base64.StdEncoding.EncodeToString(make([]byte, 33)) + " " + testSig, false},
		{"line break in the key", strings.Replace(unsequenced, "BaG9", "BaG9\n", 1), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, ok := parseAuthorization(test.header); ok != test.ok {
				t.Errorf("%q: got %v, want %v", test.header, ok, test.ok)
			}
		})
	}
	parsed, _ := parseAuthorization(sequenced)
	if !parsed.sequenced || parsed.uuid != testUUID || parsed.number != "1" || len(parsed.signature) != 64 {
		t.Errorf("parsed %+v", parsed)
	}
}

func TestUUIDShape(t *testing.T) {
	for text, want := range map[string]bool{
		testUUID:                               true,
		"zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz": true, // hex digits are not checked
		"":                                     false,
		testUUID[1:]:                           false,
		testUUID + "0":                         false,
		strings.ReplaceAll(testUUID, "-", "0"): false,
		"24511be-6320d-4ef2-8dff-89916bcb6751": false,
		"-4511be6-320d-4ef2-8dff-89916bcb6751": false,
	} {
		if got := hasUUIDShape(text); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

// TestIsPoint takes points from the standard library, which makes no others, and non-points from counting: about half of all y
// belong to no point.
func TestIsPoint(t *testing.T) {
	points := 0
	for i := range byte(32) {
		seed := bytes.Repeat([]byte{i}, ed25519.SeedSize)
		public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
		if !isPoint(publicKey(public)) {
			t.Errorf("the public key of seed %d is no point", i)
		}
		if isPoint(publicKey{i + 3}) {
			points++
		}
	}
	if points < 8 || points > 24 {
		t.Errorf("%d of 32 small y are points, want about half", points)
	}
	// y = 2 is the textbook non-point, y = 1 the neutral element.
	if isPoint(publicKey{2}) || !isPoint(publicKey{1}) {
		t.Error("y = 2 is taken for a point, or y = 1 is not")
	}
}

func FuzzAuthorization(f *testing.F) {
	f.Add("Signature " + testPublic + " " + testSig)
	f.Add("Signature " + testPublic + " " + testSig + " ; Sequencing " + testUUID + " 65535")
	f.Add("Signature  ; Sequencing")
	f.Add("Signature \r\n= x")
	f.Fuzz(func(t *testing.T, header string) {
		parsed, ok := parseAuthorization(header)
		if !ok {
			return
		}
		// What is accepted consists of exactly its words, with a key whose canonical form is accepted as well.
		words := []string{"Signature", base64.StdEncoding.EncodeToString(parsed.key[:]), strings.Split(header, " ")[2]}
		if parsed.sequenced {
			words = append(words, ";", "Sequencing", parsed.uuid, parsed.number)
		}
		again, ok := parseAuthorization(strings.Join(words, " "))
		if !ok || again.key != parsed.key || !bytes.Equal(again.signature, parsed.signature) ||
			again.uuid != parsed.uuid || again.number != parsed.number {
			t.Errorf("%q is read as %+v, its canonical form as %+v, %v", header, parsed, again, ok)
		}
	})
}
