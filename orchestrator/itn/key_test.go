package itn

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// The vectors of itn-graphql, section 2.7.
const (
	vectorSeed   = "SzhpFfwa6RMFQTLLTyoriUJrUXYY9kyYxbNu5DsCm1k="
	vectorPublic = "BaG9HYTNxkqyX7haFnz/HXL9FhYwS4gdQ7uYWiStgoY="
)

func TestKeyVectors(t *testing.T) {
	key, err := ParseKey(vectorSeed)
	if err != nil {
		t.Fatalf("ParseKey: %v", err)
	}
	if got := key.PublicKey(); got != vectorPublic {
		t.Errorf("public key %s, want %s", got, vectorPublic)
	}
	want := "FHec0MaPCe+qgApNyfTDVqldb/3D2Ri2iAJ+rjLtWTgJN9jDRgUD3z/bXE0HnBiMIjVXT+05cAgijA+GnrwcBA=="
	if got := key.sign([]byte("example "), []byte("data")); got != want {
		t.Errorf("signature of %q:\n got %s\nwant %s", "example data", got, want)
	}

	client := New("node:3085", key, Options{})
	defer client.Close()
	body := []byte("example body")
	want = "Signature " + vectorPublic +
		" 7a6Wx4HQ5h0JJKjJWh3zXxLAa7qql+UXAuyqbQh+XW5C/IcmRchtp/SjBPvhOQmtlYNJGjvCrbBWO0SqlrVcDQ=="
	if got := client.unsequenced()(body); got != want {
		t.Errorf("unsequenced header:\n got %s\nwant %s", got, want)
	}
	attempt := Attempt{"node:3085", "24511be6-320d-4ef2-8dff-89916bcb6751", 1}
	want = "Signature " + vectorPublic +
		" LSy0n5XkS2wuTWuVQbFFs+H7gmR+BIE/bqlwFGVcFv0awYMXl48vuAfvYEqqnpAVSNXt8YH6n0YNew4i0pYUBg==" +
		" ; Sequencing 24511be6-320d-4ef2-8dff-89916bcb6751 1"
	if got := client.sequenced(attempt)(body); got != want {
		t.Errorf("sequenced header:\n got %s\nwant %s", got, want)
	}
}

func TestParseKey(t *testing.T) {
	for _, test := range []struct{ name, text, wrong string }{
		{"as it is", vectorSeed, ""},
		{"with the line end of a file", " " + vectorSeed + "\n", ""},
		{"URL-safe alphabet", strings.Replace(vectorSeed, "SzhpFf", "Szh-_f", 1), "standard base64"},
		{"no padding", strings.TrimSuffix(vectorSeed, "="), "standard base64"},
		{"64 bytes", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==", "has 64 bytes"},
		{"empty", "", "has 0 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseKey(test.text)
			switch {
			case test.wrong == "" && err != nil:
				t.Errorf("ParseKey: %v", err)
			case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)):
				t.Errorf("got error %v, want one with %q", err, test.wrong)
			case err != nil && len(test.text) > 8 && strings.Contains(err.Error(), test.text[:8]):
				t.Errorf("the error quotes the key: %v", err)
			}
		})
	}
}

// TestSecretsAreNotShown prints keys in every way that might happen by accident, also from unexported fields.
func TestSecretsAreNotShown(t *testing.T) {
	key, err := ParseKey(vectorSeed)
	if err != nil {
		t.Fatalf("ParseKey: %v", err)
	}
	const text = "EKEnotAKeyJustTheShapeofone123456789abcdefghijkmnopqrs"
	seed, err := base64.StdEncoding.DecodeString(vectorSeed)
	if err != nil {
		t.Fatal(err)
	}
	private := NewPrivateKey(text)
	if private.Base58() != text || (PrivateKey{}).Base58() != "" {
		t.Fatalf("Base58 does not reveal the key")
	}
	if private != NewPrivateKey(text) || private == NewPrivateKey("EK") {
		t.Errorf("private keys do not compare by their text")
	}
	type holder struct {
		key     Key
		private PrivateKey
		details PaymentsDetails
	}
	for _, shown := range []any{
		key, &key, private, &private,
		PaymentsDetails{Senders: []PrivateKey{private}},
		&ZkappCommandsDetails{FeePayers: []PrivateKey{private}},
		CreateAccountsDetails{FeePayer: private},
		CreatedAccounts{Accounts: []Account{{"B62", private}}},
		holder{key, private, PaymentsDetails{Senders: []PrivateKey{private}}},
		New("node:3085", key, Options{}),
		map[PrivateKey]Key{private: key},
		struct{ client *Client }{New("node:3085", key, Options{})},
	} {
		prints := []string{fmt.Sprint(shown), fmt.Sprintf("%+v", shown), fmt.Sprintf("%#v", shown), fmt.Sprintf("%q", shown),
			fmt.Sprintf("%x", shown), fmt.Sprintf("%d", shown), fmt.Sprintf("%s", shown)}
		if encoded, err := json.Marshal(shown); err == nil {
			prints = append(prints, string(encoded))
		}
		for _, print := range prints {
			for _, secret := range []string{
				text, fmt.Sprintf("%x", text), vectorSeed,
				fmt.Sprintf("%x", seed), strings.Trim(fmt.Sprint(string(seed)), "[]"),
			} {
				if strings.Contains(print, secret) {
					t.Errorf("%T shows a secret: %s", shown, print)
				}
			}
		}
	}
}
