package mina

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// orderP and orderQ give the moduli p and q as 32 bytes, least significant first.
func orderP() []byte {
	return littleEndian("40000000000000000000000000000000224698fc094cf91b992d30ed00000001")
}

func orderQ() []byte {
	return littleEndian("40000000000000000000000000000000224698fc0994a8dd8c46eb2100000001")
}

func littleEndian(bigEndianHex string) []byte {
	b, err := hex.DecodeString(bigEndianHex)
	if err != nil {
		panic(err)
	}
	slices.Reverse(b)
	return b
}

// plus adds two numbers of 32 bytes, least significant first.
func plus(a, b []byte) []byte {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Reverse(a)
	slices.Reverse(b)
	sum := new(big.Int).Add(new(big.Int).SetBytes(a), new(big.Int).SetBytes(b)).FillBytes(make([]byte, 32))
	slices.Reverse(sum)
	return sum
}

// knownPairs are the private and public keys of keyfiles section 4.
func knownPairs() [][2]string {
	return [][2]string{
		{knownPrivateKey, knownPublicKey},
		{"EKEeQGt7tWH2hudMz5GcSLfnuEcywGMhXavrjy5HZt1bo1wJYgSR", "B62qp7EvyefppzUyupxbPz8C2gcLj4MT58DDtHXs9ub5SaU9Ke3iCyF"},
		{"EKF83r3ibZ8eCC1PwcgrTAVLVoA3dKXt2iSGxb6vDnofs9nKUY3V", "B62qoEykaCCyw6JtF3EM4S33FpCon5F4HiZbgby5oPSgpVQ6MYYfxPC"},
	}
}

func TestKnownKeys(t *testing.T) {
	byKey := map[PublicKey]string{}
	for _, pair := range knownPairs() {
		key := mustPrivateKey(t, pair[0])
		if key.Base58() != pair[0] {
			t.Errorf("read and written again, %s is %s", pair[0], key.Base58())
		}
		if got := key.PublicKey().String(); got != pair[1] {
			t.Errorf("the public key is %s, want %s", got, pair[1])
		}
		if mustPublicKey(t, pair[1]) != key.PublicKey() || mustPrivateKey(t, pair[0]) != key {
			t.Errorf("%s: equal keys are not ==", pair[1])
		}
		byKey[key.PublicKey()] = pair[1]
	}
	if len(byKey) != len(knownPairs()) {
		t.Errorf("%d public keys in the map, want %d", len(byKey), len(knownPairs()))
	}
}

func TestKeysRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := privateKeys().Draw(t, "key")
		if read, err := ParsePrivateKey(key.Base58()); err != nil || read != key {
			t.Errorf("written and read again, the private key differs: %v", err)
		}
		if read, err := ParsePublicKey(key.PublicKey().String()); err != nil || read != key.PublicKey() {
			t.Errorf("written and read again, %v is %v, %v", key.PublicKey(), read, err)
		}
	})
}

func TestGeneratePrivateKey(t *testing.T) {
	for _, c := range []struct {
		name   string
		random io.Reader
		want   []byte // nil where an error is expected
	}{
		{"all bits set", bytes.NewReader(bytes.Repeat([]byte{0xff}, 32)), append(bytes.Repeat([]byte{0xff}, 31), 0x3f)},
		{"the number 1", bytes.NewReader(append([]byte{1}, make([]byte, 31)...)), append([]byte{1}, make([]byte, 31)...)},
		{"the number 0", bytes.NewReader(make([]byte, 32)), nil},
		{"the number 2^254", bytes.NewReader(append(make([]byte, 31), 0x40)), nil},
		{"too little", bytes.NewReader(make([]byte, 31)), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			key, err := GeneratePrivateKey(c.random)
			if (err == nil) != (c.want != nil) {
				t.Fatalf("error %v", err)
			}
			if c.want == nil {
				return
			}
			if want := EncodeBase58Check(versionPrivateKey, append([]byte{1}, c.want...)); key.Base58() != want {
				t.Errorf("the key is %s, want %s", key.Base58(), want)
			}
		})
	}
	if _, err := GeneratePrivateKey(bytes.NewReader(nil)); !errors.Is(err, io.EOF) {
		t.Errorf("without random bytes the error is %v", err)
	}
}

func TestParsePrivateKeyRefuses(t *testing.T) {
	good, err := DecodeBase58Check(versionPrivateKey, knownPrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		text string
		want error // nil for any
	}{
		{"empty", "", ErrNotBase58},
		{"a public key", knownPublicKey, ErrVersionByte},
		{"a letter changed", strings.Replace(knownPrivateKey, "EKEE", "EKEF", 1), ErrChecksum},
		{"another tag", EncodeBase58Check(versionPrivateKey, slices.Concat([]byte{2}, good[1:])), nil},
		{"too short", EncodeBase58Check(versionPrivateKey, good[:32]), nil},
		{"too long", EncodeBase58Check(versionPrivateKey, append(slices.Clone(good), 0)), nil},
		{"0", EncodeBase58Check(versionPrivateKey, append([]byte{1}, make([]byte, 32)...)), nil},
		{"q", EncodeBase58Check(versionPrivateKey, append([]byte{1}, orderQ()...)), nil},
		{"the key plus q", EncodeBase58Check(versionPrivateKey, append([]byte{1}, plus(good[1:], orderQ())...)), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			key, err := ParsePrivateKey(c.text)
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if key != (PrivateKey{}) {
				t.Error("a key comes with the error")
			}
			if c.text != "" && strings.Contains(err.Error(), c.text) {
				t.Errorf("the error repeats the text: %v", err)
			}
		})
	}
}

func TestParsePublicKeyRefuses(t *testing.T) {
	good, err := DecodeBase58Check(versionPublicKey, knownPublicKey)
	if err != nil {
		t.Fatal(err)
	}
	with := func(x []byte, parity byte) []byte { return slices.Concat([]byte{1, 1}, x, []byte{parity}) }
	for _, c := range []struct {
		name    string
		payload []byte
		want    string
	}{
		{"empty", nil, "tags"},
		{"another first tag", slices.Concat([]byte{0}, good[1:]), "tags"},
		{"another second tag", slices.Concat([]byte{1, 2}, good[2:]), "tags"},
		{"too short", good[:34], "tags"},
		{"too long", append(slices.Clone(good), 0), "tags"},
		{"parity 2", with(good[2:34], 2), "range"},
		{"x is p", with(orderP(), 0), "range"},
		{"x is p+1, the generator's plus p", with(plus(orderP(), append([]byte{1}, make([]byte, 31)...)), 1), "range"},
		{"x is 2^256-1", with(bytes.Repeat([]byte{0xff}, 32), 0), "range"},
		{"x is 0, of no point", with(make([]byte, 32), 0), "no point"},
	} {
		t.Run(c.name, func(t *testing.T) {
			key, err := ParsePublicKey(EncodeBase58Check(versionPublicKey, c.payload))
			if err == nil || !strings.Contains(err.Error(), c.want) || key != (PublicKey{}) {
				t.Errorf("read as %v, error %v", key, err)
			}
		})
	}
}

func TestBothParitiesAreKeys(t *testing.T) {
	payload, err := DecodeBase58Check(versionPublicKey, knownPublicKey)
	if err != nil {
		t.Fatal(err)
	}
	payload[34] ^= 1
	opposite := mustPublicKey(t, EncodeBase58Check(versionPublicKey, payload))
	known := mustPublicKey(t, knownPublicKey)
	if opposite == known || opposite.point.X != known.point.X || opposite.point.Y != known.point.Y.Neg() {
		t.Errorf("the key of the other parity is %v", opposite)
	}
}

// holders are values that hold a private key in every way that printing might look through.
func holders(key PrivateKey) map[string]any {
	type hidden struct{ key PrivateKey }
	type shown struct{ Key PrivateKey }
	type nested struct {
		hidden hidden
		more   []hidden
		by     map[string]hidden
		any    any
	}
	type embedded struct{ PrivateKey }
	return map[string]any{
		"key":                     key,
		"pointer":                 &key,
		"slice":                   []PrivateKey{key},
		"array":                   [1]PrivateKey{key},
		"map":                     map[string]PrivateKey{"key": key},
		"map key":                 map[PrivateKey]int{key: 1},
		"any":                     []any{key, &key},
		"exported field":          shown{key},
		"pointer to field":        &shown{key},
		"unexported field":        hidden{key},
		"pointer to hidden":       &hidden{key},
		"slice of hidden":         []hidden{{key}},
		"map of hidden":           map[hidden]hidden{{key}: {key}},
		"nested":                  nested{hidden{key}, []hidden{{key}}, map[string]hidden{"": {key}}, hidden{key}},
		"embedded":                embedded{key},
		"reflected":               reflect.ValueOf(hidden{key}),
		"reflected hidden field":  reflect.ValueOf(hidden{key}).Field(0),
		"reflected scalar":        reflect.ValueOf(key).Field(0),
		"error":                   fmt.Errorf("failed with %v", hidden{key}),
		"public key beside it":    []any{key.PublicKey(), key},
		"formatted with its mask": fmt.Sprint(key),
	}
}

func TestPrivateKeysAreMasked(t *testing.T) {
	key := mustPrivateKey(t, knownPrivateKey)
	scalar := key.payload()[1:]
	reversed := slices.Clone(scalar)
	slices.Reverse(reversed)
	// What any form of the key would contain: some bytes from its middle are enough.
	secrets := []string{
		knownPrivateKey[10:20],
		hex.EncodeToString(scalar[10:16]),
		hex.EncodeToString(reversed[10:16]),
		strings.Trim(fmt.Sprintf("%d", scalar[10:16]), "[]"),
		strings.Trim(fmt.Sprintf("%#v", scalar[10:16]), "[]byte{}"),
		strings.Trim(fmt.Sprintf("%o", scalar[10:16]), "[]"),
		strings.Trim(fmt.Sprintf("%b", scalar[10:16]), "[]"),
		strings.Trim(fmt.Sprintf("%q", scalar[10:16]), `"`),
		strings.Trim(fmt.Sprintf("%#x", scalar[10:16]), "0x"),
		string(scalar[10:16]),
		base64.StdEncoding.EncodeToString(scalar)[13:20],
		base64.StdEncoding.EncodeToString(key.payload())[13:20],
	}
	reveals := func(output string) bool {
		lower := strings.ToLower(output)
		return slices.ContainsFunc(secrets, func(secret string) bool {
			return strings.Contains(output, secret) || strings.Contains(lower, strings.ToLower(secret))
		})
	}
	for _, form := range []string{key.Base58(), hex.EncodeToString(scalar), fmt.Sprintf("%d", scalar), fmt.Sprintf("%#v", scalar)} {
		if !reveals(form) {
			t.Fatalf("the key is not recognised in %q", form)
		}
	}
	check := func(t *testing.T, how, output string) {
		t.Helper()
		if reveals(output) {
			t.Errorf("%s reveals the key: %q", how, output)
		}
	}
	for name, value := range holders(key) {
		t.Run(name, func(t *testing.T) {
			for _, flags := range []string{"", "+", "#", " ", "-80", "0", "# ", "+#", ".3"} {
				for _, verb := range "vTtbcdoOqxXUeEfFgGspw" {
					format := "%" + flags + string(verb)
					check(t, format, fmt.Sprintf(format, value))
				}
			}
			check(t, "Print", fmt.Sprint(value))
			if encoded, err := json.Marshal(value); err == nil {
				check(t, "JSON", string(encoded))
			}
			if encoded, err := xml.Marshal(value); err == nil {
				check(t, "XML", string(encoded))
			}
			var encoded bytes.Buffer
			if err := gob.NewEncoder(&encoded).Encode(value); err == nil {
				check(t, "gob", encoded.String())
			}
			var log bytes.Buffer
			slog.New(slog.NewTextHandler(&log, nil)).Info("message", "value", value)
			slog.New(slog.NewJSONHandler(&log, nil)).Info("message", "value", value)
			check(t, "slog", log.String())
		})
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(format, key); got != privateKeyMask {
			t.Errorf("%s prints %s", format, got)
		}
	}
	if got := key.String(); got != privateKeyMask {
		t.Errorf("String gives %s", got)
	}
	if got := key.GoString(); got != privateKeyMask {
		t.Errorf("GoString gives %s", got)
	}
	if got, err := json.Marshal(struct{ Key PrivateKey }{key}); err != nil || string(got) != `{"Key":"EK…(masked)"}` {
		t.Errorf("JSON gives %s, %v", got, err)
	}
}

func FuzzParsePublicKey(f *testing.F) {
	for _, pair := range knownPairs() {
		f.Add(pair[0])
		f.Add(pair[1])
	}
	f.Add(EncodeBase58Check(versionPublicKey, slices.Concat([]byte{1, 1}, orderP(), []byte{0})))
	f.Add(EncodeBase58Check(versionPublicKey, slices.Concat([]byte{1, 1}, make([]byte, 32), []byte{1})))
	f.Fuzz(func(t *testing.T, text string) {
		key, err := ParsePublicKey(text)
		if err == nil && key.String() != text {
			t.Errorf("%q is read as %v", text, key)
		}
	})
}

func BenchmarkParsePublicKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		mustPublicKey(b, knownPublicKey)
	}
}

// BenchmarkPublicKey is the derivation of a public key, with the reading of the private key's text.
func BenchmarkPublicKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		mustPrivateKey(b, knownPrivateKey).PublicKey()
	}
}
