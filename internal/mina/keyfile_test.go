package mina

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/crypto/nacl/secretbox"
	"pgregory.net/rapid"
)

// knownKeyFile is the file of keyfiles section 4, at the usual cost and with the empty password, as another program wrote it.
const knownKeyFile = `{
  "box_primitive": "xsalsa20poly1305",
  "pw_primitive": "argon2i",
  "nonce": "8p9B5WcoBtfKCFhLfurLPPUT9Kih5pH141hBYdK",
  "pwsalt": "98Q3JzhWcpGQFkyHs6khJUyY75Tx",
  "pwdiff": [134217728, 6],
  "ciphertext": "AVehFg79QEYuEqdb5a3CqKgRctLAfCxeiJxmiwEA5rThVEazV1w5h6QJBCcBnMbZpgE28AiJF"
}
`

// testRandom gives reproducible random bytes.
func testRandom(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

func TestOpenKeyFileOfAnotherProgram(t *testing.T) {
	key, err := OpenKeyFile([]byte(knownKeyFile), nil)
	if err != nil {
		t.Fatal(err)
	}
	if key.Base58() != knownPrivateKey || key.PublicKey().String() != knownPublicKey {
		t.Errorf("the file holds %s, %v", key.Base58(), key.PublicKey())
	}
	if memory, err := KeyFileMemory([]byte(knownKeyFile)); err != nil || memory != 128<<20 {
		t.Errorf("the derivation needs %d bytes, %v", memory, err)
	}
	// The same file written by this package differs in spaces only.
	file, err := parseKeyFile([]byte(knownKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	content, err := file.content()
	if want := strings.NewReplacer("\n", "", " ", "").Replace(knownKeyFile); err != nil || string(content) != want {
		t.Errorf("written again, the file is %s, %v, want %s", content, err, want)
	}
}

func TestKeyFilesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := privateKeys().Draw(t, "key")
		password := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "password")
		cost := KeyFileCost{
			MemoryBytes: rapid.Uint64Range(8<<10, 40<<10).Draw(t, "memory"),
			Passes:      rapid.Uint32Range(1, 3).Draw(t, "passes"),
		}
		content, err := SealKeyFile(key, password, cost, testRandom(rapid.Byte().Draw(t, "seed")))
		if err != nil {
			t.Fatal(err)
		}
		if read, err := OpenKeyFile(content, password); err != nil || read != key {
			t.Errorf("sealed and opened again, the key differs: %v", err)
		}
		wrong := append(password, 0)
		if read, err := OpenKeyFile(content, wrong); !errors.Is(err, ErrCannotDecrypt) || read != (PrivateKey{}) {
			t.Errorf("with a wrong password the error is %v", err)
		}
		if memory, err := KeyFileMemory(content); err != nil || memory != cost.MemoryBytes {
			t.Errorf("the derivation needs %d bytes, %v, want %d", memory, err, cost.MemoryBytes)
		}
	})
}

func TestSealKeyFileDrawsNonceAndSalt(t *testing.T) {
	key := mustPrivateKey(t, knownPrivateKey)
	random := testRandom(1)
	seen := map[string]bool{}
	for range 2 {
		content, err := SealKeyFile(key, nil, SmallestKeyFileCost(), random)
		if err != nil {
			t.Fatal(err)
		}
		var file keyFileJSON
		if err := json.Unmarshal(content, &file); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{file.Nonce, file.Salt, file.Ciphertext} {
			if seen[text] {
				t.Errorf("%s comes twice", text)
			}
			seen[text] = true
		}
	}
}

func TestSealKeyFileRefuses(t *testing.T) {
	key := mustPrivateKey(t, knownPrivateKey)
	smallest := SmallestKeyFileCost()
	for _, c := range []struct {
		name   string
		key    PrivateKey
		cost   KeyFileCost
		random io.Reader
	}{
		{"no key", PrivateKey{}, smallest, testRandom(1)},
		{"no cost", key, KeyFileCost{}, testRandom(1)},
		{"too little memory", key, KeyFileCost{8<<10 - 1, 1}, testRandom(1)},
		{"too much memory", key, KeyFileCost{1<<30 + 1, 1}, testRandom(1)},
		{"no passes", key, KeyFileCost{8 << 10, 0}, testRandom(1)},
		{"too many passes", key, KeyFileCost{8 << 10, 65}, testRandom(1)},
		{"no random bytes", key, smallest, strings.NewReader("")},
		{"too few random bytes", key, smallest, io.LimitReader(testRandom(1), nonceLength+saltLength-1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if content, err := SealKeyFile(c.key, nil, c.cost, c.random); err == nil || content != nil {
				t.Errorf("sealed %s", content)
			}
		})
	}
}

// edited gives the content of a small key file after an edit of its fields.
func edited(tb testing.TB, password string, edit func(fields map[string]any)) []byte {
	tb.Helper()
	content, err := SealKeyFile(mustPrivateKey(tb, knownPrivateKey), []byte(password), SmallestKeyFileCost(), testRandom(7))
	if err != nil {
		tb.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(content, &fields); err != nil {
		tb.Fatal(err)
	}
	edit(fields)
	content, err = json.Marshal(fields)
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

// set gives an edit that sets one field.
func set(name string, value any) func(map[string]any) {
	return func(fields map[string]any) { fields[name] = value }
}

// changed gives an edit of the bytes of one base58check field.
func changed(tb testing.TB, name string, change func([]byte) []byte) func(map[string]any) {
	tb.Helper()
	return func(fields map[string]any) {
		payload, err := DecodeBase58Check(versionSecretBox, fields[name].(string))
		if err != nil {
			tb.Fatal(err)
		}
		fields[name] = EncodeBase58Check(versionSecretBox, change(payload))
	}
}

func TestDamagedKeyFiles(t *testing.T) {
	const password = "naughty blue worm"
	firstBit := func(b []byte) []byte { return flipped(b, 0) }
	lastBit := func(b []byte) []byte { return flipped(b, 8*len(b)-1) }
	shorter := func(b []byte) []byte { return b[1:] }
	longer := func(b []byte) []byte { return append(b, 0) }
	whole := string(edited(t, password, func(map[string]any) {}))
	edit := func(f func(map[string]any)) string { return string(edited(t, password, f)) }
	otherVersion := func(name string) func(map[string]any) {
		return func(fields map[string]any) {
			payload, err := DecodeBase58Check(versionSecretBox, fields[name].(string))
			if err != nil {
				t.Fatal(err)
			}
			fields[name] = EncodeBase58Check(versionSecretBox+1, payload)
		}
	}
	for _, c := range []struct {
		name, content, want string // a part of the error
	}{
		{"nonce damaged", edit(changed(t, "nonce", firstBit)), "cannot decrypt"},
		{"salt damaged", edit(changed(t, "pwsalt", lastBit)), "cannot decrypt"},
		{"ciphertext damaged in front", edit(changed(t, "ciphertext", firstBit)), "cannot decrypt"},
		{"ciphertext damaged behind", edit(changed(t, "ciphertext", lastBit)), "cannot decrypt"},
		{"another memory", edit(set("pwdiff", []uint64{16 << 10, 1})), "cannot decrypt"},
		{"another number of passes", edit(set("pwdiff", []uint64{8 << 10, 2})), "cannot decrypt"},
		{"memory of one byte", edit(set("pwdiff", []uint64{1, 1})), "cannot decrypt"},

		{"nonce too short", edit(changed(t, "nonce", shorter)), "nonce has 23 bytes"},
		{"nonce too long", edit(changed(t, "nonce", longer)), "nonce has 25 bytes"},
		{"salt too short", edit(changed(t, "pwsalt", shorter)), "pwsalt has 15 bytes"},
		{"salt too long", edit(changed(t, "pwsalt", longer)), "pwsalt has 17 bytes"},
		{"ciphertext too short", edit(changed(t, "ciphertext", shorter)), "ciphertext has 48 bytes"},
		{"ciphertext too long", edit(changed(t, "ciphertext", longer)), "ciphertext has 50 bytes"},
		{"nonce empty", edit(set("nonce", "")), "nonce: not base58"},
		{"nonce of another version", edit(otherVersion("nonce")), "nonce: another kind"},
		{"salt of another version", edit(otherVersion("pwsalt")), "pwsalt: another kind"},
		{"ciphertext of another version", edit(otherVersion("ciphertext")), "ciphertext: another kind"},
		{"salt not base58check", edit(set("pwsalt", "abc")), "pwsalt: checksum"},
		{"ciphertext hostile", edit(set("ciphertext", strings.Repeat("z", 5000))), "ciphertext: not base58"},

		{"no memory", edit(set("pwdiff", []uint64{0, 1})), "0 bytes and 1 passes"},
		{"no passes", edit(set("pwdiff", []uint64{8 << 10, 0})), "8192 bytes and 0 passes"},
		{"too much memory", edit(set("pwdiff", []uint64{1<<30 + 1, 1})), "1073741825 bytes"},
		{"memory of all bits", edit(set("pwdiff", []uint64{1<<64 - 1, 1})), "18446744073709551615 bytes"},
		{"too many passes", edit(set("pwdiff", []uint64{8 << 10, 65})), "65 passes"},
		{"passes that are 1 in 32 bits", edit(set("pwdiff", []uint64{8 << 10, 1<<32 + 1})), "4294967297 passes"},
		{"memory negative", edit(set("pwdiff", []int{-1, 1})), `"pwdiff" is damaged`},
		{"memory broken", edit(set("pwdiff", []float64{8192.5, 1})), `"pwdiff" is damaged`},
		{"memory a text", edit(set("pwdiff", []any{"8192", 1})), `"pwdiff" is damaged`},
		{"one number", edit(set("pwdiff", []uint64{8 << 10})), "pwdiff has 1 numbers"},
		{"three numbers", edit(set("pwdiff", []uint64{8 << 10, 1, 1})), "pwdiff has 3 numbers"},
		{"numbers null", edit(set("pwdiff", nil)), "pwdiff has 0 numbers"},

		{"another box", edit(set("box_primitive", "aes")), `box_primitive is "aes"`},
		{"another derivation", edit(set("pw_primitive", "argon2id")), `pw_primitive is "argon2id"`},
		{"nonce null", edit(set("nonce", nil)), "nonce: not base58"},
		{"nonce a number", edit(set("nonce", 1)), `"nonce" is damaged`},
		{"a further field", edit(set("version", 1)), `"version" is unknown`},
		{"a field in capitals", strings.Replace(whole, "nonce", "Nonce", 1), `"Nonce" is unknown`},
		{"a repeated field", strings.Replace(whole, "{", `{"pwdiff":[1,1],`, 1), `"pwdiff" is unknown or repeated`},
		{"a missing field", edit(func(f map[string]any) { delete(f, "pwsalt") }), "lacks the fields [pwsalt]"},
		{"no fields", "{}", "lacks the fields [box_primitive ciphertext nonce pw_primitive pwdiff pwsalt]"},

		{"empty", "", "not a JSON object"},
		{"null", "null", "not a JSON object"},
		{"a list", "[" + whole + "]", "not a JSON object"},
		{"a private key instead", knownPrivateKey, "not a JSON object"},
		{"cut", whole[:len(whole)-1], "JSON is damaged"},
		{"cut in a field", whole[:20], "damaged"},
		{"two files", whole + whole, "something follows"},
		{"a letter behind", whole + "x", "something follows"},
		{"too long", whole + strings.Repeat(" ", maxKeyFileLength), "want at most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			key, err := OpenKeyFile([]byte(c.content), []byte(password))
			if err == nil || !strings.Contains(err.Error(), c.want) || key != (PrivateKey{}) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			undecryptable := c.want == "cannot decrypt"
			if errors.Is(err, ErrCannotDecrypt) != undecryptable {
				t.Errorf("the error is ErrCannotDecrypt: %v", !undecryptable)
			}
			if strings.Contains(err.Error(), knownPrivateKey) || strings.Contains(err.Error(), password) {
				t.Errorf("the error reveals a secret: %v", err)
			}
			// What is refused without the password is refused by KeyFileMemory, too.
			if memory, err := KeyFileMemory([]byte(c.content)); (err == nil) != undecryptable || undecryptable && memory < 8<<10 {
				t.Errorf("the derivation needs %d bytes, %v", memory, err)
			}
		})
	}
	if _, err := OpenKeyFile([]byte(whole+" \r\n\t"), []byte(password)); err != nil {
		t.Errorf("the whole file with white space behind is refused: %v", err)
	}
}

func TestKeyFilesThatHoldNoKey(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload []byte
	}{
		{"another tag", append([]byte{2}, bytes.Repeat([]byte{1}, 32)...)},
		{"the number 0", append([]byte{1}, make([]byte, 32)...)},
		{"the number q", append([]byte{1}, orderQ()...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := keyFile{cost: SmallestKeyFileCost()}
			secretbox.Seal(file.ciphertext[:0], c.payload, &file.nonce, file.boxKey(nil))
			content, err := file.content()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := OpenKeyFile(content, nil); err == nil || !strings.Contains(err.Error(), "holds no private key") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func FuzzKeyFile(f *testing.F) {
	small := edited(f, "", func(map[string]any) {})
	f.Add(small)
	f.Add([]byte(knownKeyFile))
	f.Add([]byte(`{"pwdiff":[1,1],"pwdiff":[1,1]}`))
	f.Add([]byte(`{"nonce":null`))
	f.Add(edited(f, "", set("pwdiff", []uint64{1 << 30, 64})))
	f.Fuzz(func(t *testing.T, content []byte) {
		file, err := parseKeyFile(content)
		if err != nil {
			return
		}
		if memory, err := KeyFileMemory(content); err != nil || memory < 8<<10 || memory > 1<<30 {
			t.Errorf("the derivation needs %d bytes, %v", memory, err)
		}
		written, err := file.content()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseKeyFile(written); err != nil || *again != *file {
			t.Errorf("written and read again, the file is %+v, %v, want %+v", again, err, file)
		}
		// Derive only where it is cheap.
		if file.cost.MemoryBytes <= 64<<10 && file.cost.Passes <= 2 {
			key, err := OpenKeyFile(content, nil)
			if (err == nil) != (key != PrivateKey{}) {
				t.Errorf("a key comes with the error %v, or neither", err)
			}
		}
	})
}
