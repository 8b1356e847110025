package mina

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"golang.org/x/crypto/blake2b"
)

// The key that keyfiles section 4 and uptime section 3.3 share. It is public: never fund it on a real network.
const (
	knownPrivateKey = "EKEEpMELfQkMbJDt2fB4cFXKwSf1x4t7YD4twREy5yuJ84HBZtF9"
	knownPublicKey  = "B62qrztYfPinaKqpXaYGY6QJ3SSW2NNKs7SajBLF1iFNXW9BoALN2Aq"
)

func mustPrivateKey(tb testing.TB, text string) PrivateKey {
	tb.Helper()
	key, err := ParsePrivateKey(text)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func mustPublicKey(tb testing.TB, text string) PublicKey {
	tb.Helper()
	key, err := ParsePublicKey(text)
	if err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return key
}

func mustSignature(tb testing.TB, text string) Signature {
	tb.Helper()
	signature, err := ParseSignature(text)
	if err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return signature
}

// signedMessage is a byte string signed by another implementation.
type signedMessage struct {
	PublicKey  string    `json:"public_key"`
	Signature  string    `json:"signature"`
	MessageHex string    `json:"message_hex"`
	NetworkID  NetworkID `json:"network_id"`
}

func (m signedMessage) message(tb testing.TB) []byte {
	tb.Helper()
	message, err := hex.DecodeString(m.MessageHex)
	if err != nil {
		tb.Fatal(err)
	}
	return message
}

// knownSignatures are those of uptime section 3.3.
func knownSignatures() []signedMessage {
	hello := blake2b.Sum256([]byte("hello"))
	return []signedMessage{
		{
			"B62qkaKV3BLvLTf7nYXRehSaZAd36NWijt3MEmy2QgHRavboeRGtBMN",
			"7mX7qCqaB8G5ry12EkqY9fcE6np8sdF1Kg3Hac77bRhwGq5PTBLEiNveEXn7oLgFs1dmxXyGwn5iCunBhamjNjrzNEdoJhwd",
			"0000", Mainnet,
		},
		{
			"B62qn4kByk45GFDMHwVf2smYEVTehGN638UBHMaQzyLJf52wtdtCjRA",
			"7mXTf2BWNYSPuKGa3LT4ywcNH4EAqY5YoaasShG4Dpm44oJZMu1BZmVuGGqeDbfxUhvt2UcPZgSSQcv567dFueK22JoHndk9",
			"80", Mainnet,
		},
		{
			"B62qkgvrx8WoDqTzXaUm2vqBRbkiqTts35Z9n4XcrFez1KG3MHKHTbn",
			"7mX6xdEWghp5vhuV33h1o4n8PQ8RYYMGNEwUXxk3rPm8inZ72Yxjw9zhvc3mtkFPnGAbqy3rxBYXdFrVBt9YbKzRKZ1RLLeC",
			"ff", Mainnet,
		},
		{
			knownPublicKey,
			"7mX3KhGtntsRe18ypYuQc9eJCyvWArk7gARe3gbXbVAGgmJg8BjGSMfzFke6Z9NrCY85DdHfG54JaDTj65ZsyZdAN2DbfrbX",
			hex.EncodeToString(hello[:]), Testnet,
		},
		{
			knownPublicKey,
			"7mX8LWiUKm32uLucyKzSiXhj3frLqTzdPuyZNz8eR9s1RnypPkYWhHX86WiYrJJyTKkpTj12J66dhoXR87BbrieCRQTUuzzR",
			hex.EncodeToString(hello[:]), Mainnet,
		},
	}
}

// signaturesOfOthers gives every known signature: those of the specification, those of the official signer over plain byte strings
// of many lengths, and those over the hashes of whole uptime submissions.
func signaturesOfOthers(tb testing.TB) []signedMessage {
	tb.Helper()
	all := knownSignatures()
	for _, name := range []string{"testdata/signed-messages.json", "testdata/signed-submissions.json"} {
		content, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		var some []signedMessage
		if err := json.Unmarshal(content, &some); err != nil {
			tb.Fatalf("%s: %v", name, err)
		}
		if len(some) < 10 {
			tb.Fatalf("%s holds %d signatures only", name, len(some))
		}
		all = append(all, some...)
	}
	return all
}
