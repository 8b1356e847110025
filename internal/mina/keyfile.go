package mina

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/nacl/secretbox"
)

// Bounds of what a key file may ask for and hold (keyfiles, section 2). A file is untrusted input, and they are checked before any work.
const (
	maxKeyFileMemory = 1 << 30 // bytes
	maxKeyFilePasses = 64
	maxKeyFileLength = 16 << 10 // bytes; the files that tools write have some 400

	boxPrimitive      = "xsalsa20poly1305"
	passwordPrimitive = "argon2i"
	nonceLength       = 24
	saltLength        = 16
	sealedKeyLength   = privateKeyPayloadLength + secretbox.Overhead
)

// ErrCannotDecrypt says that a key file does not open with the password. A wrong password and damage that leaves the file's form
// intact look the same.
var ErrCannotDecrypt = errors.New("cannot decrypt: wrong password or damaged file")

// KeyFileCost is what deriving the key of a key file from its password costs, by Argon2i.
type KeyFileCost struct {
	MemoryBytes uint64 // up to 1 GiB, and at least 8 KiB when writing; only whole KiB count
	Passes      uint32 // 1 to 64
}

// DefaultKeyFileCost is the cost that Mina's tools write: 128 MiB and 6 passes, about half a second.
func DefaultKeyFileCost() KeyFileCost { return KeyFileCost{MemoryBytes: 128 << 20, Passes: 6} }

// SmallestKeyFileCost is the least that Argon2 allows: 8 KiB and 1 pass. It is for throw-away keys, which need no protection.
func SmallestKeyFileCost() KeyFileCost { return KeyFileCost{MemoryBytes: 8 << 10, Passes: 1} }

// check refuses a cost outside the bounds.
func (c KeyFileCost) check() error {
	if c.MemoryBytes < 1 || c.MemoryBytes > maxKeyFileMemory || c.Passes < 1 || c.Passes > maxKeyFilePasses {
		return fmt.Errorf("a cost of %d bytes and %d passes is outside 1 to %d bytes and 1 to %d passes",
			c.MemoryBytes, c.Passes, maxKeyFileMemory, maxKeyFilePasses)
	}
	return nil
}

// KeyFileMemory gives the memory, in bytes, that OpenKeyFile will need for the content, for callers that bound the sum. It refuses the
// contents that OpenKeyFile refuses without looking at the password.
func KeyFileMemory(content []byte) (uint64, error) {
	file, err := parseKeyFile(content)
	if err != nil {
		return 0, err
	}
	return max(file.cost.MemoryBytes, SmallestKeyFileCost().MemoryBytes), nil
}

// OpenKeyFile gives the private key in the content of a key file (keyfiles, section 2). The error is ErrCannotDecrypt when the password
// does not open it. Whatever is wrong with the form of the file, costs of more than 1 GiB or 64 passes included, is refused before
// the derivation from the password, which takes about half a second and 128 MiB at the usual cost.
func OpenKeyFile(content, password []byte) (PrivateKey, error) {
	file, err := parseKeyFile(content)
	if err != nil {
		return PrivateKey{}, err
	}
	payload, ok := secretbox.Open(nil, file.ciphertext[:], &file.nonce, file.boxKey(password))
	if !ok {
		return PrivateKey{}, fmt.Errorf("key file: %w", ErrCannotDecrypt)
	}
	key, err := privateKeyFromPayload(payload)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("key file: the password fits, but the file holds no private key of Mina: %w", err)
	}
	return key, nil
}

// SealKeyFile gives the content of a key file that holds key under password, with a nonce and a salt from random. The password may be
// empty. It refuses the zero key and costs out of range. Store the file readable by its owner only; Mina insists.
func SealKeyFile(key PrivateKey, password []byte, cost KeyFileCost, random io.Reader) ([]byte, error) {
	if key == (PrivateKey{}) {
		return nil, errors.New("sealing a key file: the private key is the zero value")
	}
	if err := cost.check(); err != nil {
		return nil, fmt.Errorf("sealing a key file: %w", err)
	}
	if least := SmallestKeyFileCost().MemoryBytes; cost.MemoryBytes < least {
		return nil, fmt.Errorf("sealing a key file: %d bytes are less than the %d that other readers insist on", cost.MemoryBytes, least)
	}
	file := keyFile{cost: cost}
	if _, err := io.ReadFull(random, file.nonce[:]); err != nil {
		return nil, fmt.Errorf("sealing a key file: %w", err)
	}
	if _, err := io.ReadFull(random, file.salt[:]); err != nil {
		return nil, fmt.Errorf("sealing a key file: %w", err)
	}
	secretbox.Seal(file.ciphertext[:0], key.payload(), &file.nonce, file.boxKey(password))
	return file.content()
}

// keyFile is a key file with all its bounds checked.
type keyFile struct {
	cost       KeyFileCost
	nonce      [nonceLength]byte
	salt       [saltLength]byte
	ciphertext [sealedKeyLength]byte
}

// boxKey derives the key of the box from the password.
func (f *keyFile) boxKey(password []byte) *[32]byte {
	key := argon2.Key(password, f.salt[:], f.cost.Passes, uint32(f.cost.MemoryBytes/1024), 1, 32)
	return (*[32]byte)(key)
}

// keyFileJSON is a key file as it is written.
type keyFileJSON struct {
	BoxPrimitive      string   `json:"box_primitive"`
	PasswordPrimitive string   `json:"pw_primitive"`
	Nonce             string   `json:"nonce"`
	Salt              string   `json:"pwsalt"`
	Difficulty        []uint64 `json:"pwdiff"` // memory in bytes, passes
	Ciphertext        string   `json:"ciphertext"`
}

// content writes the file.
func (f *keyFile) content() ([]byte, error) {
	return json.Marshal(keyFileJSON{
		BoxPrimitive:      boxPrimitive,
		PasswordPrimitive: passwordPrimitive,
		Nonce:             EncodeBase58Check(versionSecretBox, f.nonce[:]),
		Salt:              EncodeBase58Check(versionSecretBox, f.salt[:]),
		Difficulty:        []uint64{f.cost.MemoryBytes, uint64(f.cost.Passes)},
		Ciphertext:        EncodeBase58Check(versionSecretBox, f.ciphertext[:]),
	})
}

// parseKeyFile reads a file and checks all its bounds.
func parseKeyFile(content []byte) (*keyFile, error) {
	if len(content) > maxKeyFileLength {
		return nil, fmt.Errorf("not a key file: %d bytes, want at most %d", len(content), maxKeyFileLength)
	}
	var raw keyFileJSON
	err := decodeExactly(content, map[string]any{
		"box_primitive": &raw.BoxPrimitive,
		"pw_primitive":  &raw.PasswordPrimitive,
		"nonce":         &raw.Nonce,
		"pwsalt":        &raw.Salt,
		"pwdiff":        &raw.Difficulty,
		"ciphertext":    &raw.Ciphertext,
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("not a key file: %w", err)
	case raw.BoxPrimitive != boxPrimitive:
		return nil, fmt.Errorf("key file: field box_primitive is %q, want %q", raw.BoxPrimitive, boxPrimitive)
	case raw.PasswordPrimitive != passwordPrimitive:
		return nil, fmt.Errorf("key file: field pw_primitive is %q, want %q", raw.PasswordPrimitive, passwordPrimitive)
	case len(raw.Difficulty) != 2:
		return nil, fmt.Errorf("key file: field pwdiff has %d numbers, want memory and passes", len(raw.Difficulty))
	case raw.Difficulty[1] > maxKeyFilePasses: // before it is cut to 32 bits
		return nil, fmt.Errorf("key file: field pwdiff: %d passes, want at most %d", raw.Difficulty[1], maxKeyFilePasses)
	}
	file := &keyFile{cost: KeyFileCost{MemoryBytes: raw.Difficulty[0], Passes: uint32(raw.Difficulty[1])}}
	if err := file.cost.check(); err != nil {
		return nil, fmt.Errorf("key file: field pwdiff: %w", err)
	}
	for _, field := range []struct {
		name, text string
		into       []byte
	}{
		{"nonce", raw.Nonce, file.nonce[:]},
		{"pwsalt", raw.Salt, file.salt[:]},
		{"ciphertext", raw.Ciphertext, file.ciphertext[:]},
	} {
		payload, err := DecodeBase58Check(versionSecretBox, field.text)
		if err != nil {
			return nil, fmt.Errorf("key file: field %s: %w", field.name, err)
		}
		if len(payload) != len(field.into) {
			return nil, fmt.Errorf("key file: field %s has %d bytes, want %d (a libp2p key file is none of Mina's key files)",
				field.name, len(payload), len(field.into))
		}
		copy(field.into, payload)
	}
	return file, nil
}

// decodeExactly reads a JSON object that has exactly the given fields, each once and spelled exactly so, and nothing after it.
func decodeExactly(content []byte, fields map[string]any) error {
	decoder := json.NewDecoder(bytes.NewReader(content))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return errors.New("it is not a JSON object")
	}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return fmt.Errorf("its JSON is damaged: %w", err)
		}
		name, _ := token.(string) // names in an object are always strings
		field, ok := fields[name]
		if !ok {
			return fmt.Errorf("its field %q is unknown or repeated", name)
		}
		delete(fields, name)
		if err := decoder.Decode(field); err != nil {
			return fmt.Errorf("its field %q is damaged: %w", name, err)
		}
	}
	if _, err := decoder.Token(); err != nil {
		return fmt.Errorf("its JSON is damaged: %w", err)
	}
	if len(fields) > 0 {
		return fmt.Errorf("it lacks the fields %v", slices.Sorted(maps.Keys(fields)))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows its JSON object")
	}
	return nil
}
