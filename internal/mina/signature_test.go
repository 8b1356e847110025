package mina

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"provingground/internal/mina/pallas"
)

func TestSignaturesOfOthersVerify(t *testing.T) {
	for _, v := range signaturesOfOthers(t) {
		key, signature, message := mustPublicKey(t, v.PublicKey), mustSignature(t, v.Signature), v.message(t)
		if !key.Verify(v.NetworkID, message, signature) {
			t.Errorf("%+v does not verify", v)
		}
		if key.Verify(1-v.NetworkID, message, signature) {
			t.Errorf("%+v verifies for the other network, too", v)
		}
		if key.String() != v.PublicKey || signature.String() != v.Signature {
			t.Errorf("read and written again, %s and %s are %v and %v", v.PublicKey, v.Signature, key, signature)
		}
	}
}

// flipped gives a copy of b with one bit changed.
func flipped(b []byte, bit int) []byte {
	b = slices.Clone(b)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}

// verifiesTexts tells whether a signature verifies when key and signature come as the payloads of their texts.
func verifiesTexts(network NetworkID, key, message, signature []byte) bool {
	k, err := ParsePublicKey(EncodeBase58Check(versionPublicKey, key))
	if err != nil {
		return false
	}
	s, err := ParseSignature(EncodeBase58Check(versionSignature, signature))
	return err == nil && k.Verify(network, message, s)
}

func TestNoBitOfASignatureIsFree(t *testing.T) {
	// Every bit of a few, and some of each of the others.
	const complete, samples = 3, 6
	random := rand.New(rand.NewPCG(1, 2))
	vectors := signaturesOfOthers(t)
	slices.SortFunc(vectors, func(a, b signedMessage) int { return len(b.MessageHex)%67 - len(a.MessageHex)%67 })
	for i, v := range vectors {
		key, err := DecodeBase58Check(versionPublicKey, v.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		signature, err := DecodeBase58Check(versionSignature, v.Signature)
		if err != nil {
			t.Fatal(err)
		}
		message := v.message(t)
		if !verifiesTexts(v.NetworkID, key, message, signature) {
			t.Fatalf("%+v does not verify", v)
		}
		for _, part := range []struct {
			name     string
			length   int
			verifies func(bit int) bool
		}{
			{"key", len(key), func(bit int) bool { return verifiesTexts(v.NetworkID, flipped(key, bit), message, signature) }},
			{"message", len(message), func(bit int) bool { return verifiesTexts(v.NetworkID, key, flipped(message, bit), signature) }},
			{"signature", len(signature), func(bit int) bool { return verifiesTexts(v.NetworkID, key, message, flipped(signature, bit)) }},
		} {
			bits := random.Perm(8 * part.length)
			if i >= complete {
				bits = bits[:min(samples, len(bits))]
			}
			for _, bit := range bits {
				if part.verifies(bit) {
					t.Errorf("%+v verifies with bit %d of the %s flipped", v, bit, part.name)
				}
			}
		}
	}
}

// The checksum of a text refuses what the numbers inside might let pass.
func TestNoBitOfATextIsFree(t *testing.T) {
	for _, v := range signaturesOfOthers(t) {
		for bit := range 8 * len(v.PublicKey) {
			if text := string(flipped([]byte(v.PublicKey), bit)); parses(ParsePublicKey, text) {
				t.Errorf("%q is a public key", text)
			}
		}
		for bit := range 8 * len(v.Signature) {
			if text := string(flipped([]byte(v.Signature), bit)); parses(ParseSignature, text) {
				t.Errorf("%q is a signature", text)
			}
		}
		if !parses(ParsePublicKey, v.PublicKey) || !parses(ParseSignature, v.Signature) {
			t.Errorf("%+v does not parse", v)
		}
	}
}

func parses[T any](parse func(string) (T, error), text string) bool {
	_, err := parse(text)
	return err == nil
}

func TestSignGivesTheKnownSignatures(t *testing.T) {
	key := mustPrivateKey(t, knownPrivateKey)
	signed := 0
	for _, v := range knownSignatures() {
		if v.PublicKey != knownPublicKey {
			continue
		}
		signed++
		if got := key.Sign(v.NetworkID, v.message(t)).String(); got != v.Signature {
			t.Errorf("the signature for network %d is %s, want %s", v.NetworkID, got, v.Signature)
		}
	}
	if signed != 2 {
		t.Errorf("%d signatures compared, want 2", signed)
	}
}

// privateKeys draws private keys.
func privateKeys() *rapid.Generator[PrivateKey] {
	return rapid.Custom(func(t *rapid.T) PrivateKey {
		scalar := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "scalar")
		scalar[31] &= 0x3f // below the order
		scalar[0] |= 1     // and not 0
		key, err := privateKeyFromPayload(append([]byte{1}, scalar...))
		if err != nil {
			t.Fatal(err)
		}
		return key
	})
}

func TestWhatIsSignedVerifies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := privateKeys().Draw(t, "key")
		message := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "message")
		network := rapid.SampledFrom([]NetworkID{Testnet, Mainnet}).Draw(t, "network")
		signature := key.Sign(network, message)
		if !key.PublicKey().Verify(network, message, signature) {
			t.Error("the signature does not verify")
		}
		if key.PublicKey().Verify(1-network, message, signature) {
			t.Error("the signature verifies for the other network, too")
		}
		if key.PublicKey().Verify(network, append(message, 1), signature) {
			t.Error("the signature verifies for a longer message, too")
		}
		if read, err := ParseSignature(signature.String()); err != nil || read != signature {
			t.Errorf("written and read again, the signature is %v, %v", read, err)
		}
	})
}

func TestForgedPointsAreRefused(t *testing.T) {
	key := mustPrivateKey(t, knownPrivateKey)
	scalar, ok := pallas.FqFromBytes([32]byte(key.payload()[1:]))
	if !ok {
		t.Fatal("the key is not below q")
	}
	message := []byte("message")
	good := key.Sign(Testnet, message)
	e := challenge(Testnet, key.public, good.rx, message)

	// R with the same x and an odd y: only the parity tells the two signatures apart.
	nonce := good.s.Sub(e.Mul(scalar))
	odd := Signature{rx: good.rx, s: nonce.Neg().Add(e.Mul(scalar))}
	if key.PublicKey().Verify(Testnet, message, odd) {
		t.Error("verifies with an odd y")
	}

	// R neutral, and rx as the zero coordinates that stand for no point.
	e = challenge(Testnet, key.public, pallas.Fp{}, message)
	if key.PublicKey().Verify(Testnet, message, Signature{s: e.Mul(scalar)}) {
		t.Error("verifies with the neutral point")
	}
}

func TestZeroValuesVerifyNothing(t *testing.T) {
	key := mustPrivateKey(t, knownPrivateKey)
	message := []byte("message")
	signature := key.Sign(Testnet, message)
	var noKey PrivateKey
	var noPublicKey PublicKey
	for _, c := range []struct {
		name      string
		key       PublicKey
		signature Signature
	}{
		{"no public key", noPublicKey, signature},
		{"no signature", key.PublicKey(), Signature{}},
		{"neither", noPublicKey, Signature{}},
		{"signed by no private key", key.PublicKey(), noKey.Sign(Testnet, message)},
		{"public key of no private key", noKey.PublicKey(), noKey.Sign(Testnet, message)},
	} {
		if c.key.Verify(Testnet, message, c.signature) {
			t.Errorf("%s: verifies", c.name)
		}
	}
	if noKey.Base58() != "" || noPublicKey.String() != "" || noKey.PublicKey() != noPublicKey {
		t.Errorf("the zero keys have texts %q and %q", noKey.Base58(), noPublicKey)
	}
}

func TestParseSignatureRefuses(t *testing.T) {
	good, err := DecodeBase58Check(versionSignature, knownSignatures()[3].Signature)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		payload []byte
	}{
		{"empty", nil},
		{"another tag", slices.Concat([]byte{2}, good[1:])},
		{"too short", good[:64]},
		{"too long", append(slices.Clone(good), 0)},
		{"rx is p", slices.Concat([]byte{1}, orderP(), good[33:])},
		{"s is q", slices.Concat(good[:33], orderQ())},
		{"s plus q", slices.Concat(good[:33], plus(good[33:], orderQ()))},
	} {
		t.Run(c.name, func(t *testing.T) {
			if signature, err := ParseSignature(EncodeBase58Check(versionSignature, c.payload)); err == nil {
				t.Errorf("read as %v", signature)
			}
		})
	}
	if _, err := ParseSignature(EncodeBase58Check(versionSignature, good)); err != nil {
		t.Errorf("the whole signature is refused, too: %v", err)
	}
}

func FuzzParseSignature(f *testing.F) {
	for _, v := range knownSignatures() {
		f.Add(v.Signature)
		f.Add(v.PublicKey)
	}
	f.Add(Signature{}.String())
	f.Add(EncodeBase58Check(versionSignature, slices.Concat([]byte{1}, orderP(), orderQ())))
	f.Fuzz(func(t *testing.T, text string) {
		signature, err := ParseSignature(text)
		if err == nil && signature.String() != text {
			t.Errorf("%q is read as %v", text, signature)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	b.ReportAllocs()
	key := mustPrivateKey(b, knownPrivateKey)
	message := make([]byte, 32)
	for b.Loop() {
		key.Sign(Testnet, message)
	}
}

func BenchmarkVerify(b *testing.B) {
	b.ReportAllocs()
	v := knownSignatures()[3]
	key, signature, message := mustPublicKey(b, v.PublicKey), mustSignature(b, v.Signature), v.message(b)
	for b.Loop() {
		if !key.Verify(v.NetworkID, message, signature) {
			b.Fatal("does not verify")
		}
	}
}

// BenchmarkVerifyTexts is BenchmarkVerify from the texts of key and signature on, as a service gets them.
func BenchmarkVerifyTexts(b *testing.B) {
	b.ReportAllocs()
	v := knownSignatures()[3]
	message := v.message(b)
	for b.Loop() {
		if !mustPublicKey(b, v.PublicKey).Verify(v.NetworkID, message, mustSignature(b, v.Signature)) {
			b.Fatal("does not verify")
		}
	}
}
