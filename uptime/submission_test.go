package uptime

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/blake2b"
	"pgregory.net/rapid"

	"provingground/internal/mina"
)

// The key of uptime section 3.3. It is public: never fund it on a real network.
const knownPrivateKey = "EKEEpMELfQkMbJDt2fB4cFXKwSf1x4t7YD4twREy5yuJ84HBZtF9"

func knownKey(tb testing.TB) mina.PrivateKey {
	tb.Helper()
	key, err := mina.ParsePrivateKey(knownPrivateKey)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// signedSubmission is a whole request that another implementation signed.
type signedSubmission struct {
	Network mina.NetworkID  `json:"network_id"`
	Request json.RawMessage `json:"request"`
}

func submissionsOfOthers(tb testing.TB) []signedSubmission {
	tb.Helper()
	content, err := os.ReadFile("testdata/signed-submissions.json")
	if err != nil {
		tb.Fatal(err)
	}
	var all []signedSubmission
	if err := json.Unmarshal(content, &all); err != nil {
		tb.Fatal(err)
	}
	if len(all) != 40 {
		tb.Fatalf("%d submissions, want 40", len(all))
	}
	return all
}

func mustParse(tb testing.TB, body []byte) Submission {
	tb.Helper()
	s, err := ParseSubmission(body)
	if err != nil {
		tb.Fatalf("%v: %.300s", err, body)
	}
	return s
}

func TestSubmissionsOfOthersVerify(t *testing.T) {
	for i, v := range submissionsOfOthers(t) {
		s := mustParse(t, v.Request)
		if !s.Verify(v.Network) {
			t.Errorf("submission %d does not verify", i)
		}
		if s.Verify(1 - v.Network) {
			t.Errorf("submission %d verifies for the other network, too", i)
		}
		var want struct {
			Data struct {
				Block     []byte `json:"block"`
				CreatedAt string `json:"created_at"`
				PeerID    string `json:"peer_id"`
				SnarkWork string `json:"snark_work"`
				Port      uint16 `json:"graphql_control_port"`
				Commit    string `json:"built_with_commit_sha"`
			}
			Submitter string
			Signature string
		}
		if err := json.Unmarshal(v.Request, &want); err != nil {
			t.Fatal(err)
		}
		got := want
		got.Submitter, got.Signature = s.Submitter.String(), s.Signature.String()
		got.Data.CreatedAt, got.Data.PeerID, got.Data.SnarkWork = s.CreatedAt.Format(time.RFC3339), s.PeerID, s.SnarkWork()
		got.Data.Port, got.Data.Commit = s.ControlPort, s.BuiltWithCommitSHA
		var err error
		if got.Data.Block, err = s.Block(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("submission %d (-want +got):\n%s", i, diff)
		}
		name, err := s.BlockHash()
		hash := blake2b.Sum256(want.Data.Block)
		if err != nil || name != mina.EncodeBase58Check(0x10, hash[:]) {
			t.Errorf("submission %d: the block is called %s, %v", i, name, err)
		}
	}
}

var someReport = Report{
	Block: []byte("a block"), CreatedAt: time.Date(2023, 6, 12, 15, 15, 55, 999, time.UTC), PeerID: "12D3KooWabc",
	SnarkWork: []byte("some work"), ControlPort: 3086, BuiltWithCommitSHA: "36e0198c", Version: 1,
}

// someBody is the body of someReport for test networks.
func someBody(tb testing.TB) string {
	tb.Helper()
	body, err := someReport.Sign(mina.Testnet, knownKey(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return string(body)
}

func TestWhatIsSignedIsParsedAndVerifies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		optional := func(g *rapid.Generator[[]byte], name string) []byte {
			return rapid.OneOf(rapid.Just([]byte(nil)), g).Draw(t, name)
		}
		r := Report{
			Block:              rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "block"),
			CreatedAt:          time.Unix(rapid.Int64Range(0, 1<<37).Draw(t, "created at"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")),
			PeerID:             rapid.StringMatching(`[0-9A-Za-z]{1,128}`).Draw(t, "peer ID"),
			SnarkWork:          optional(rapid.SliceOfN(rapid.Byte(), 0, 200), "SNARK work"),
			ControlPort:        rapid.Uint16().Draw(t, "port"),
			BuiltWithCommitSHA: rapid.StringMatching(`[0-9A-Fa-f]{0,64}`).Draw(t, "commit"),
			Version:            rapid.IntRange(-1, 1).Draw(t, "version"),
		}
		network := rapid.SampledFrom([]mina.NetworkID{mina.Testnet, mina.Mainnet}).Draw(t, "network")
		key, err := mina.ParsePrivateKey(knownPrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		body, err := r.Sign(network, key)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ParseSubmission(body)
		if err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if !s.Verify(network) || s.Verify(1-network) {
			t.Errorf("does not verify for its network alone: %s", body)
		}
		block, err := s.Block()
		if err != nil {
			t.Error(err)
		}
		work, err := base64.StdEncoding.DecodeString(s.SnarkWork())
		if err != nil {
			t.Error(err)
		}
		if !bytes.Equal(block, r.Block) || !bytes.Equal(work, r.SnarkWork) || !s.CreatedAt.Equal(r.CreatedAt.Truncate(time.Second)) ||
			s.PeerID != r.PeerID || s.ControlPort != r.ControlPort || s.BuiltWithCommitSHA != r.BuiltWithCommitSHA || s.Submitter != key.PublicKey() {
			t.Errorf("%+v was read as %v", r, s)
		}
		// The data of the body is the signed text to the byte, and version says what was asked for.
		var spelled struct {
			Version *int
			Data    json.RawMessage
		}
		if err := json.Unmarshal(body, &spelled); err != nil {
			t.Fatal(err)
		}
		if s.Digest() != blake2b.Sum256(spelled.Data) {
			t.Errorf("the signed text is not the data %s", spelled.Data)
		}
		if spelled.Version == nil != (r.Version == NoVersion) || spelled.Version != nil && *spelled.Version != r.Version {
			t.Errorf("version %d was written: %.30s", r.Version, body)
		}
	})
}

// The signed text is put together by hand here, in the order of uptime section 3.
func TestDigest(t *testing.T) {
	const start = `{"block":"YmxvY2s=","created_at":"2023-06-12T15:15:55Z","peer_id":"12D3KooWabc"`
	tests := []struct{ name, data, signed string }{
		{"oldest", start + `}`, start + `}`},
		{"everything", start + `,"snark_work":"d29yaw==","graphql_control_port":3086,"built_with_commit_sha":"36e0198c"}`,
			start + `,"snark_work":"d29yaw==","graphql_control_port":3086,"built_with_commit_sha":"36e0198c"}`},
		{"another order, and space", ` { "built_with_commit_sha" : "36e0198c" , "snark_work" : "d29yaw==" , "peer_id" : "12D3KooWabc",
			"graphql_control_port" : 3086 , "created_at" : "2023-06-12T15:15:55Z" , "block" : "YmxvY2s=" } `,
			start + `,"snark_work":"d29yaw==","graphql_control_port":3086,"built_with_commit_sha":"36e0198c"}`},
		{"unknown fields are not signed", start + `,"more":{"block":["]}\"\\"],"data":{}},"":0}`, start + `}`},
		{"port 0 and an empty commit", start + `,"graphql_control_port":0,"built_with_commit_sha":""}`, start + `}`},
		{"null", start + `,"snark_work":null,"graphql_control_port":null,"built_with_commit_sha":null}`, start + `}`},
		{"an empty SNARK work is signed as it stands", start + `,"snark_work":""}`, start + `,"snark_work":""}`},
		{"escapes of block and SNARK work are signed", strings.Replace(start, "YmxvY2s=", `YmxvY2s\u003d`, 1) + `,"snark_work":"\/\/\/\/"}`,
			strings.Replace(start, "YmxvY2s=", `YmxvY2s\u003d`, 1) + `,"snark_work":"\/\/\/\/"}`},
		{"other escapes are not", `{"block":"YmxvY2s=","created_at":"2023-06-12T15:15:55\u005a","peer_id":"\u00312D3KooWabc","built_with_commit_sha":"\u0061"}`,
			start + `,"built_with_commit_sha":"a"}`},
	}
	key := knownKey(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			digest := blake2b.Sum256([]byte(test.signed))
			s := mustParse(t, fmt.Appendf(nil, `{"data":%s,"submitter":"%s","signature":"%s"}`, test.data, key.PublicKey(), key.Sign(mina.Testnet, digest[:])))
			if s.Digest() != digest || !s.Verify(mina.Testnet) {
				t.Errorf("the digest is %x, want %x", s.Digest(), digest)
			}
			if block, err := s.Block(); string(block) != "block" || err != nil {
				t.Errorf("block %q, %v", block, err)
			}
			if name, err := s.BlockHash(); name != mina.EncodeBase58Check(0x10, sum([]byte("block"))) || err != nil {
				t.Errorf("block hash %s, %v", name, err)
			}
		})
	}
}

func sum(content []byte) []byte {
	digest := blake2b.Sum256(content)
	return digest[:]
}

func TestParseSubmissionTakes(t *testing.T) {
	body := someBody(t)
	want := mustParse(t, []byte(body)).Digest()
	for _, c := range []struct{ name, old, new string }{
		{"as it is", "", ""},
		{"no version", `"version":1,`, ``},
		{"another version", `"version":1,`, `"version":1.5e3,`},
		{"a version that is no number", `"version":1,`, `"version":{"data":1},`},
		{"the version twice", `"version":1,`, `"version":1,"version":2,`},
		{"unknown fields", `"version":1,`, `"Data":1,"x":[[],{},"",-1.5e+3,true,false,null,"]}\\",{"data":{"a":"\""}}],`},
		{"unknown fields in data", `"block":`, `"Block":1,"x":"y","block":`},
		{"null twice is not even an unknown field twice", `"version":1,`, `"x":null,"x":null,"y":{"\u0061":0},`},
		{"space around", `{"version"`, " \t\r\n{\"version\""},
		{"long texts with escapes elsewhere", `"version":1,`, `"x":"\/` + strings.Repeat("A", 4<<20) + `",`},
		{"deep, but not too deep", `"version":1,`, `"x":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `,`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := ParseSubmission([]byte(strings.Replace(body, c.old, c.new, 1)))
			if err != nil || s.Digest() != want || !s.Verify(mina.Testnet) {
				t.Errorf("%v, %v", s, err)
			}
		})
	}
}

func TestParseSubmissionRefuses(t *testing.T) {
	body := someBody(t)
	if strings.Count(body, `\`) != 0 {
		t.Fatalf("the body has escapes: %s", body)
	}
	s := mustParse(t, []byte(body))
	signature, submitter := s.Signature.String(), s.Submitter.String()
	block, work := `"block":"YSBibG9jaw=="`, `"snark_work":"c29tZSB3b3Jr"`
	created, port := `"created_at":"2023-06-12T15:15:55Z"`, `"graphql_control_port":3086`
	at := func(text string) string { return `"created_at":` + text }
	tests := []struct {
		name, old, new string
		want           error
		says           string
	}{
		{"nothing", body, ``, ErrMalformed, "not JSON"},
		{"null", body, `null`, ErrMalformed, "not a JSON object"},
		{"an array", body, ` [{}]`, ErrMalformed, "not a JSON object"},
		{"a text", body, `"data"`, ErrMalformed, "not a JSON object"},
		{"cut off", body, body[:len(body)-1], ErrMalformed, "not JSON"},
		{"something after it", body, body + `{}`, ErrMalformed, "not JSON"},
		{"a byte order mark", body, "\ufeff" + body, ErrMalformed, "not JSON"},
		{"a comma too many", `"version":1,`, `"version":1,,`, ErrMalformed, "not JSON"},
		{"invalid UTF-8 in an unknown field", `"version":1,`, "\"x\":\"\xff\",", ErrMalformed, "not JSON"},
		{"too deep", `"version":1,`, `"x":` + strings.Repeat("[", 11000) + strings.Repeat("]", 11000) + `,`, ErrMalformed, "not JSON"},
		{"data twice", `"version":1,`, `"data":{},`, ErrMalformed, "data stands twice"},
		{"signature twice", `"version":1,`, `"signature":null,`, ErrMalformed, "signature stands twice"},
		{"an escape in a name", `"version":1,`, `"\u0073ubmitter":"` + submitter + `",`, ErrMalformed, "the name of a field has an escape"},
		{"an escape in a name in data", `"block"`, `"\u0062lock"`, ErrMalformed, "data: the name of a field has an escape"},
		{"block twice", block, block + `,` + block, ErrMalformed, "data: block stands twice"},
		{"an optional field twice", port, port + `,` + port, ErrMalformed, "data: graphql_control_port stands twice"},

		{"an empty object", body, `{}`, ErrMissingField, "data.block, data.created_at, data.peer_id, signature, submitter"},
		{"no data", `"data"`, `"dates"`, ErrMissingField, "data.block, data.created_at, data.peer_id"},
		{"data null", body, `{"data":null,"submitter":"` + submitter + `","signature":"` + signature + `"}`, ErrMissingField, "data.block, "},
		{"data no object", body, `{"data":[]}`, ErrMalformed, "data: not a JSON object"},
		{"no block", `"block"`, `"Block"`, ErrMissingField, "missing: data.block"},
		{"empty block", block, `"block":""`, ErrMissingField, "data.block"},
		{"block null", block, `"block":null`, ErrMissingField, "data.block"},
		{"no created_at", created + `,`, ``, ErrMissingField, "data.created_at"},
		{"no peer ID", `"peer_id"`, `"peer"`, ErrMissingField, "data.peer_id"},
		{"no signature", `"signature"`, `"sig"`, ErrMissingField, "missing: signature"},
		{"no submitter", `"submitter"`, `"Submitter"`, ErrMissingField, "missing: submitter"},
		{"empty submitter", `"` + submitter + `"`, `""`, ErrMissingField, "missing: submitter"},
		{"missing and malformed", body, `{"submitter":"B62"}`, ErrMalformed, "submitter: "},

		{"block no text", block, `"block":[]`, ErrMalformed, "data.block: not a text"},
		{"block of a length that is none", block, `"block":"YSBibG9jaw="`, ErrMalformed, "data.block: not standard base64"},
		{"block without padding", block, `"block":"YSBibG9jaw"`, ErrMalformed, "data.block: not standard base64"},
		{"block of padding", block, `"block":"===="`, ErrMalformed, "data.block: not standard base64"},
		{"padding inside", block, `"block":"YQ==YQ=="`, ErrMalformed, "data.block: not standard base64"},
		{"URL base64", block, `"block":"-_-_"`, ErrMalformed, "data.block: not standard base64"},
		{"line break in base64", block, `"block":"YSBi\n\n\n\nbG9jaw=="`, ErrMalformed, "data.block: not standard base64"},
		{"a long block with an escape", block, `"block":"\/` + strings.Repeat("A", 4<<20) + `AAA"`, ErrMalformed, "data.block: too long for a text with escapes"},
		{"SNARK work no text", work, `"snark_work":1`, ErrMalformed, "data.snark_work: not a text"},
		{"SNARK work no base64", work, `"snark_work":"c29tZSB3b3J?"`, ErrMalformed, "data.snark_work: not standard base64"},
		{"time with a fraction", created, at(`"2023-06-12T15:15:55.5Z"`), ErrMalformed, "data.created_at: not a time"},
		{"time with a fraction of 0", created, at(`"2023-06-12T15:15:55.0Z"`), ErrMalformed, "data.created_at: not a time"},
		{"time with an offset", created, at(`"2023-06-12T15:15:55+00:00"`), ErrMalformed, "data.created_at: not a time"},
		{"time with a small z", created, at(`"2023-06-12T15:15:55z"`), ErrMalformed, "data.created_at: not a time"},
		{"time with a space", created, at(`"2023-06-12 15:15:55Z"`), ErrMalformed, "data.created_at: not a time"},
		{"an hour of one digit", created, at(`"2023-06-12T5:15:55Z"`), ErrMalformed, "data.created_at: not a time"},
		{"no such day", created, at(`"2023-02-29T15:15:55Z"`), ErrMalformed, "data.created_at: not a time"},
		{"a leap second", created, at(`"2016-12-31T23:59:60Z"`), ErrMalformed, "data.created_at: not a time"},
		{"time in seconds", created, at(`1686582955`), ErrMalformed, "data.created_at: not a text"},
		{"a quote in the peer ID", `"12D3KooWabc"`, `"12D3KooWabc\",\"snark_work\":\"c29tZSB3b3Jr"`, ErrMalformed, "data.peer_id: not up to 128 letters and digits"},
		{"a letter of no base58 in the peer ID", `"12D3KooWabc"`, `"12D3KooWabč"`, ErrMalformed, "data.peer_id: not up to 128 letters and digits"},
		{"a backslash in the peer ID", `"12D3KooWabc"`, `"12D3KooWabc\\"`, ErrMalformed, "data.peer_id: not up to 128 letters and digits"},
		{"half a surrogate in the peer ID", `"12D3KooWabc"`, `"12D3KooWabc\ud800"`, ErrMalformed, "data.peer_id: not up to 128 letters and digits"},
		{"a long peer ID", `"12D3KooWabc"`, `"` + strings.Repeat("a", 129) + `"`, ErrMalformed, "data.peer_id: not up to 128 letters and digits"},
		{"peer ID no text", `"12D3KooWabc"`, `{}`, ErrMalformed, "data.peer_id: not a text"},
		{"commit no hex", `"36e0198c"`, `"36e0198g"`, ErrMalformed, "data.built_with_commit_sha: not up to 64 hexadecimal digits"},
		{"a quote in the commit", `"36e0198c"`, `"36\""`, ErrMalformed, "data.built_with_commit_sha: not up to 64 hexadecimal digits"},
		{"a long commit", `"36e0198c"`, `"` + strings.Repeat("a", 65) + `"`, ErrMalformed, "data.built_with_commit_sha: not up to 64 hexadecimal digits"},
		{"commit no text", `"36e0198c"`, `36`, ErrMalformed, "data.built_with_commit_sha: not a text"},
		{"port with a fraction", `3086`, `3086.0`, ErrMalformed, "data.graphql_control_port: not a whole number from 0 to 65535"},
		{"port with an exponent", `3086`, `3e3`, ErrMalformed, "data.graphql_control_port: not a whole number from 0 to 65535"},
		{"port too large", `3086`, `65536`, ErrMalformed, "data.graphql_control_port: not a whole number from 0 to 65535"},
		{"port far too large", `3086`, strings.Repeat("9", 1000), ErrMalformed, "data.graphql_control_port: not a whole number from 0 to 65535"},
		{"port below 0", `3086`, `-1`, ErrMalformed, "data.graphql_control_port: not a whole number from 0 to 65535"},
		{"port of minus 0", `3086`, `-0`, ErrMalformed, "data.graphql_control_port: not a whole number from 0 to 65535"},
		{"port as text", `3086`, `"3086"`, ErrMalformed, "data.graphql_control_port: not a whole number from 0 to 65535"},
		{"signature cut off", signature, signature[:len(signature)-1], ErrMalformed, "signature: "},
		{"a public key for a signature", signature, submitter, ErrMalformed, "signature: "},
		{"signature no text", `"` + signature + `"`, `true`, ErrMalformed, "signature: not a text"},
		{"submitter with a space", submitter, submitter + " ", ErrMalformed, "submitter: "},
		{"submitter no text", `"` + submitter + `"`, `0`, ErrMalformed, "submitter: not a text"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if strings.Count(body, test.old) == 0 {
				t.Fatalf("%s is not in the body", test.old)
			}
			s, err := ParseSubmission([]byte(strings.Replace(body, test.old, test.new, 1)))
			if !errors.Is(err, test.want) || errors.Is(err, ErrMalformed) == errors.Is(err, ErrMissingField) || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("%v; want %v that says %q", err, test.want, test.says)
			}
			if diff := cmp.Diff(fmt.Sprintf("%+v", Submission{}), fmt.Sprintf("%+v", s)); diff != "" {
				t.Errorf("something came with the error: %s", diff)
			}
			for _, secret := range []string{signature, submitter, "YSBibG9j", "12D3Koo", "36e"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%v quotes %s", err, secret)
				}
			}
		})
	}
}

// The signed text is bound to every byte of what is signed, and the signature to its key.
func TestNoBitOfASubmissionIsFree(t *testing.T) {
	body := []byte(someBody(t))
	data := body[bytes.Index(body, []byte(`{"block"`)):]
	taken := 0
	for bit := range 8 * len(data) {
		changed := slices.Clone(body)
		changed[len(body)-len(data)+bit/8] ^= 1 << (bit % 8)
		s, err := ParseSubmission(changed)
		if err != nil {
			continue
		}
		taken++
		if s.Verify(mina.Testnet) {
			t.Errorf("verifies with bit %d flipped: %s", bit, changed)
		}
	}
	if taken < 100 {
		t.Errorf("only %d of %d bits made another submission", taken, 8*len(data))
	}
}

func TestSubmissionsShowNoSignature(t *testing.T) {
	s := mustParse(t, []byte(someBody(t)))
	for _, value := range []any{s, &s, []Submission{s}, struct{ S Submission }{s}, map[string]*Submission{"s": &s}[`s`]} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(text, s.Signature.String()) || strings.Contains(text, hex.EncodeToString([]byte(s.Signature.String()))) ||
				strings.Contains(text, "YSBibG9jaw") || !strings.Contains(text, "submission of B62q") {
				t.Errorf("%s of %T: %s", verb, value, text)
			}
		}
	}
}

func TestZeroSubmission(t *testing.T) {
	var s Submission
	if s.Verify(mina.Testnet) || s.Verify(mina.Mainnet) || s.SnarkWork() != "" {
		t.Errorf("%v verifies, or has work %q", s, s.SnarkWork())
	}
}

// byName gives the members of an object; of several with one name the last.
func byName(t *testing.T, object []byte) map[string]json.RawMessage {
	t.Helper()
	all := make(map[string]json.RawMessage)
	for name, value := range members(object) {
		plain, err := unquote(fmt.Appendf(nil, `"%s"`, name))
		if err != nil {
			t.Fatal(err)
		}
		all[string(plain)] = value
	}
	return all
}

// FuzzMembers compares the walk through an object with that of package json.
func FuzzMembers(f *testing.F) {
	for _, seed := range []string{
		`{}`, "{ \t}", `{"a":1}`, `{"a":{"b":[{}, "]}"]},"a":-1.5e+3 }`, "{\"a\"\n:\r\"\\\"\\\\\",\"\\u0061\" : null, \"\":true}", `{"a":"\ud800","\ud83d\ude00":[]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		object = bytes.Trim(object, jsonSpace)
		if len(object) == 0 || object[0] != '{' || !utf8.Valid(object) || !json.Valid(object) {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(object, &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, byName(t, object)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", object, diff)
		}
		if got := byName(t, append([]byte(`{"outer":`), append(bytes.Clone(object), '}')...)); string(got["outer"]) != string(object) {
			t.Errorf("inside another one %q ends after %q", object, got["outer"])
		}
	})
}

// FuzzParseSubmission looks for bodies that stop the parser, and checks what it says of those that it takes.
func FuzzParseSubmission(f *testing.F) {
	body := someBody(f)
	f.Add([]byte(body))
	f.Add([]byte(strings.Replace(body, `"version":1`, `"x":[{"data":"\"]}"}]`, 1)))
	f.Add([]byte(strings.Replace(body, "YSBibG9jaw==", `YSBibG9ja\u0077==`, 1)))
	f.Add([]byte(strings.Replace(body, `"snark_work":"c29tZSB3b3Jr"`, `"snark_work":"\/\/\/\/"`, 1)))
	f.Add([]byte(strings.Replace(body, "3086", "null", 1)))
	f.Add([]byte(`{"data":{}}`))
	f.Add([]byte(`null`))
	for _, v := range submissionsOfOthers(f)[20:24] {
		f.Add([]byte(v.Request))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := ParseSubmission(body)
		if err != nil {
			if errors.Is(err, ErrMalformed) == errors.Is(err, ErrMissingField) {
				t.Errorf("%v is not exactly one kind of error", err)
			}
			return
		}
		block, err := s.Block()
		if err != nil || len(block) == 0 {
			t.Errorf("%d bytes of block, %v", len(block), err)
		}
		hash := blake2b.Sum256(block)
		if name, err := s.BlockHash(); err != nil || name != mina.EncodeBase58Check(0x10, hash[:]) {
			t.Errorf("block hash %s, %v", name, err)
		}
		if _, err := base64.StdEncoding.DecodeString(s.SnarkWork()); err != nil {
			t.Error(err)
		}
		// The signed text means what was read, and nothing else has the same one.
		text := bytes.Join(s.signedText(), nil)
		again, err := ParseSubmission(fmt.Appendf(nil, `{"data":%s,"signature":"%s","submitter":"%s"}`, text, s.Signature, s.Submitter))
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if diff := cmp.Diff(s, again, cmp.AllowUnexported(Submission{}), cmp.Comparer(func(a, b mina.PublicKey) bool { return a == b }),
			cmp.Comparer(func(a, b mina.Signature) bool { return a == b })); diff != "" {
			t.Errorf("of %s (-read +read again):\n%s", text, diff)
		}
	})
}

// BenchmarkParseSubmission reads a submission with a block of 32 KiB, and one as long as the service takes.
func BenchmarkParseSubmission(b *testing.B) {
	for _, c := range []struct {
		name  string
		block int
	}{{"32KiB", 32 << 10}, {"50MB", 37_000_000}} {
		b.Run(c.name, func(b *testing.B) {
			r := someReport
			r.Block = make([]byte, c.block)
			body, err := r.Sign(mina.Testnet, knownKey(b))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				mustParse(b, body)
			}
		})
	}
}

// BenchmarkVerifySubmission is all that a submission costs before it is stored: reading, hashing and verifying.
func BenchmarkVerifySubmission(b *testing.B) {
	r := someReport
	r.Block = make([]byte, 32<<10)
	body, err := r.Sign(mina.Testnet, knownKey(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if s := mustParse(b, body); !s.Verify(mina.Testnet) {
			b.Fatal("does not verify")
		}
	}
}

// BenchmarkSignReport spells and signs a report with a block of 32 KiB.
func BenchmarkSignReport(b *testing.B) {
	r, key := someReport, knownKey(b)
	r.Block = make([]byte, 32<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Sign(mina.Testnet, key); err != nil {
			b.Fatal(err)
		}
	}
}
