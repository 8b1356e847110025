package uptime

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/blake2b"

	"provingground/internal/mina"
)

// Errors of [ParseSubmission], for errors.Is; every error of it is exactly one of them. Neither quotes anything of the body but the
// names of its fields.
var (
	// ErrMalformed says that a body is no submission: it is not JSON, or a field is not of its form.
	ErrMalformed = errors.New("malformed submission")
	// ErrMissingField says that a body is JSON whose fields have their forms, but that one that a submission must have is absent,
	// null or the empty text.
	ErrMissingField = errors.New("a required field is missing")
)

const (
	// createdAtLayout is the one form of created_at, UTC (uptime, section 2).
	createdAtLayout = "2006-01-02T15:04:05Z"
	// maxPeerID and maxCommit bound, in bytes, what goes into the list of nodes; those of nodes have 52 and 8 or 40.
	maxPeerID = 128
	maxCommit = 64
	// maxEscaped bounds, in bytes, the texts that are copied to resolve their escapes.
	maxEscaped = 4 << 20
	// versionStateHash is the version byte of a block's hash (uptime, section 6.1).
	versionStateHash = 0x10
)

// Submission is one report as a node sent it: its fields have their forms, but nobody has verified the signature yet. It is made by
// [ParseSubmission]; the zero value is no submission. Printed, it names its submitter, time and peer ID alone. Safe for concurrent use
// as long as nobody writes to its fields or to the body that it was read from.
type Submission struct {
	// Submitter is the key that, as the body says, signed the report.
	Submitter mina.PublicKey
	// Signature is the submitter's signature of Digest.
	Signature mina.Signature
	// CreatedAt is when the node made the report, as it says: UTC, whole seconds.
	CreatedAt time.Time
	// PeerID is the node's libp2p peer ID: 1 to 128 ASCII letters and digits.
	PeerID string
	// ControlPort is the ITN port that the node claims to have, 0 when it named none.
	ControlPort uint16
	// BuiltWithCommitSHA is the commit that the node was built from: at most 64 hexadecimal digits, empty when it named none.
	BuiltWithCommitSHA string

	// The tokens of the body, quotes and escapes included, as they are signed. They are parts of the body, which may have 50 MB.
	block, snarkWork json.RawMessage // snarkWork is nil when absent
}

// ParseSubmission reads the body of POST /v1/submit (uptime, section 2). The submission keeps the body, which must not change
// afterwards. It takes time in proportion to the length of the body, and at most some 20 MB of memory beside it, next to none for what
// nodes send; how long a body may be is for the caller to say.
//
// What nodes never send is decided so that one signed text has one meaning:
//
//   - Unknown fields are ignored, and so is version, whatever it is: neither is signed. Names of fields are told apart by case.
//   - A field that stands twice, an escape in a field's name, invalid UTF-8 and anything after the object make the body malformed.
//   - A null is an absent field.
//   - A control port is a number from 0 to 65535 written as digits alone: neither 3086.0 nor 3e3.
//   - created_at has exactly the form 2006-01-02T15:04:05Z: a fraction of a second or an offset would not be signed.
//   - Block and SNARK work are padded standard base64 without line breaks. A text longer than 4 MiB has no escapes.
//   - A peer ID may have every letter and digit, not those of base58 alone: none needs an escape in JSON, which is what matters, and
//     there are signed submissions that have others.
func ParseSubmission(body []byte) (Submission, error) {
	if !utf8.Valid(body) || !json.Valid(body) {
		return Submission{}, fmt.Errorf("%w: not JSON", ErrMalformed)
	}
	var data, signature, submitter []byte
	if err := pick(body, map[string]*[]byte{"data": &data, "signature": &signature, "submitter": &submitter}); err != nil {
		return Submission{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var block, createdAt, peerID, snarkWork, port, commit []byte
	if data != nil {
		if err := pick(data, map[string]*[]byte{
			"block": &block, "created_at": &createdAt, "peer_id": &peerID, "snark_work": &snarkWork,
			"graphql_control_port": &port, "built_with_commit_sha": &commit,
		}); err != nil {
			return Submission{}, fmt.Errorf("%w: data: %w", ErrMalformed, err)
		}
	}

	s := Submission{block: block, snarkWork: snarkWork}
	var missing []string
	for _, field := range []struct {
		name     string
		token    []byte
		required bool
		read     func(text []byte) error // not called for an empty text
	}{
		{"data.block", block, true, checkBase64},
		{"data.created_at", createdAt, true, func(text []byte) (err error) { s.CreatedAt, err = parseCreatedAt(string(text)); return err }},
		{"data.peer_id", peerID, true, func(text []byte) error { s.PeerID = string(text); return checkPeerID(s.PeerID) }},
		{"data.snark_work", snarkWork, false, checkBase64},
		{"data.built_with_commit_sha", commit, false, func(text []byte) error {
			s.BuiltWithCommitSHA = string(text)
			return checkCommit(s.BuiltWithCommitSHA)
		}},
		{"signature", signature, true, func(text []byte) (err error) { s.Signature, err = mina.ParseSignature(string(text)); return err }},
		{"submitter", submitter, true, func(text []byte) (err error) { s.Submitter, err = mina.ParsePublicKey(string(text)); return err }},
	} {
		text, err := unquote(field.token)
		switch {
		case err != nil:
		case len(text) > 0:
			err = field.read(text)
		case field.required:
			missing = append(missing, field.name)
		}
		if err != nil {
			return Submission{}, fmt.Errorf("%w: %s: %w", ErrMalformed, field.name, err)
		}
	}
	if port != nil {
		number, err := strconv.ParseUint(string(port), 10, 16)
		if err != nil {
			return Submission{}, fmt.Errorf("%w: data.graphql_control_port: not a whole number from 0 to 65535", ErrMalformed)
		}
		s.ControlPort = uint16(number)
	}
	if missing != nil {
		return Submission{}, fmt.Errorf("%w: %s", ErrMissingField, strings.Join(missing, ", "))
	}
	return s, nil
}

// Digest is the message that is signed: BLAKE2b-256 of the signed text (uptime, section 3). It covers every field but the submitter and
// the signature; two reports are the same one if both Digest and Submitter are equal.
func (s Submission) Digest() [blake2b.Size256]byte {
	h := newHash()
	for _, part := range s.signedText() {
		_, _ = h.Write(part) // a hash does not fail
	}
	return [blake2b.Size256]byte(h.Sum(nil))
}

// Verify tells whether the submission was signed with the submitter's key for the network.
func (s Submission) Verify(network mina.NetworkID) bool {
	digest := s.Digest()
	return s.Submitter.Verify(network, digest[:], s.Signature)
}

// signedText is the text that is signed, in parts (uptime, section 3). What is put between quotes needs no escape: that was checked.
func (s Submission) signedText() [][]byte {
	parts := [][]byte{[]byte(`{"block":`), s.block, fmt.Appendf(nil, `,"created_at":"%s","peer_id":"%s"`, s.CreatedAt.Format(createdAtLayout), s.PeerID)}
	if s.snarkWork != nil {
		parts = append(parts, []byte(`,"snark_work":`), s.snarkWork)
	}
	if s.ControlPort != 0 {
		parts = append(parts, fmt.Appendf(nil, `,"graphql_control_port":%d`, s.ControlPort))
	}
	if s.BuiltWithCommitSHA != "" {
		parts = append(parts, fmt.Appendf(nil, `,"built_with_commit_sha":"%s"`, s.BuiltWithCommitSHA))
	}
	return append(parts, []byte{'}'})
}

// Block decodes the block. It does not fail for what ParseSubmission returned.
func (s Submission) Block() ([]byte, error) {
	text, err := unquote(s.block)
	if err != nil {
		return nil, fmt.Errorf("block of a submission: %w", err)
	}
	block, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return nil, fmt.Errorf("block of a submission: %w", err)
	}
	return block, nil
}

// BlockHash is the name that the block is stored under: the hash of its bytes, in base58check, which is not its state hash (uptime,
// section 6.1). It begins with Y or a letter soon after. It does not fail for what ParseSubmission returned.
func (s Submission) BlockHash() (string, error) {
	text, err := unquote(s.block)
	if err != nil {
		return "", fmt.Errorf("hash of a submission's block: %w", err)
	}
	h := newHash()
	if _, err := io.Copy(h, base64.NewDecoder(base64.StdEncoding, bytes.NewReader(text))); err != nil {
		return "", fmt.Errorf("hash of a submission's block: %w", err)
	}
	return mina.EncodeBase58Check(versionStateHash, h.Sum(nil)), nil
}

// SnarkWork is the SNARK work as base64 text, empty when there is none.
func (s Submission) SnarkWork() string {
	text, _ := unquote(s.snarkWork) // ParseSubmission has read it
	return string(text)
}

// Format writes who submitted, when and from which node, whatever the verb: neither the signature nor the block.
func (s Submission) Format(state fmt.State, _ rune) {
	_, _ = fmt.Fprintf(state, "submission of %s, created at %s by the node with peer ID %q", // package fmt's own buffer: it does not fail
		s.Submitter, s.CreatedAt.Format(createdAtLayout), s.PeerID)
}

// newHash returns BLAKE2b-256 without a key.
func newHash() hash.Hash {
	h, _ := blake2b.New256(nil) // it fails for long keys only
	return h
}

// parseCreatedAt reads the one form of created_at. Package time alone would take a fraction of a second, too.
func parseCreatedAt(text string) (time.Time, error) {
	at, err := time.Parse(createdAtLayout, text)
	if err != nil || at.Format(createdAtLayout) != text {
		return time.Time{}, errors.New("not a time such as 2006-01-02T15:04:05Z")
	}
	return at, nil
}

func checkPeerID(text string) error {
	if len(text) > maxPeerID || strings.ContainsFunc(text, func(r rune) bool { return !isDigit(r) && !isLetter(r, 'z') }) {
		return fmt.Errorf("not up to %d letters and digits", maxPeerID)
	}
	return nil
}

func checkCommit(text string) error {
	if len(text) > maxCommit || strings.ContainsFunc(text, func(r rune) bool { return !isDigit(r) && !isLetter(r, 'f') }) {
		return fmt.Errorf("not up to %d hexadecimal digits", maxCommit)
	}
	return nil
}

func isDigit(r rune) bool { return '0' <= r && r <= '9' }

// isLetter tells whether r is an ASCII letter from A to last, which is in lower case, of either case.
func isLetter(r, last rune) bool { return 'a' <= r && r <= last || 'A' <= r && r <= last-'a'+'A' }

// checkBase64 refuses what is not padded standard base64. Package base64 alone would take line breaks, and need memory.
func checkBase64(text []byte) error {
	digits := bytes.TrimRight(text, "=")
	isOther := func(c byte) bool { return !isDigit(rune(c)) && !isLetter(rune(c), 'z') && c != '+' && c != '/' }
	if len(text)%4 != 0 || len(text)-len(digits) > 2 || slices.ContainsFunc(digits, isOther) {
		return errors.New("not standard base64")
	}
	return nil
}

// pick finds the members of a JSON object by name, and leaves the others out. A null counts as absent. The object is known to be valid
// JSON, but not to be an object.
func pick(object []byte, wanted map[string]*[]byte) error {
	object = bytes.TrimLeft(object, jsonSpace)
	if object[0] != '{' {
		return errors.New("not a JSON object")
	}
	seen := make(map[string]bool, len(wanted))
	for name, value := range members(object) {
		if bytes.IndexByte(name, '\\') >= 0 {
			return errors.New("the name of a field has an escape")
		}
		target, ok := wanted[string(name)]
		if !ok {
			continue
		}
		if seen[string(name)] {
			return fmt.Errorf("%s stands twice", name)
		}
		seen[string(name)] = true
		if string(value) != "null" {
			*target = value
		}
	}
	return nil
}

const jsonSpace = " \t\r\n"

// members goes through the names, without their quotes but with their escapes, and the values, as they are written, of a JSON object
// that is known to be valid.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		rest := bytes.TrimLeft(object[1:], jsonSpace)
		for rest[0] != '}' {
			length := stringLength(rest)
			name := rest[1 : length-1]
			rest = bytes.TrimLeft(rest[length:], jsonSpace+":")
			length = valueLength(rest)
			if !yield(name, rest[:length]) {
				return
			}
			rest = bytes.TrimLeft(rest[length:], jsonSpace+",")
		}
	}
}

// valueLength is the length of the value that text begins with, which is inside an object of valid JSON.
func valueLength(text []byte) int {
	depth := 0
	for i := 0; ; i++ {
		switch text[i] {
		case '"':
			i += stringLength(text[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		default:
			if depth == 0 { // a number or a word
				return bytes.IndexAny(text, jsonSpace+",}")
			}
		}
		if depth == 0 {
			return i + 1
		}
	}
}

// stringLength is the length, quotes included, of the string that text begins with, which is valid JSON. It ends at the first quote
// after an even number of backslashes.
func stringLength(text []byte) int {
	for end := 1; ; end++ {
		end += bytes.IndexByte(text[end:], '"')
		inside := text[1:end]
		if backslashes := len(inside) - len(bytes.TrimRight(inside, `\`)); backslashes%2 == 0 {
			return end + 1
		}
	}
}

// unquote gives the text of a string of valid JSON, without copying it if it has no escapes. Of no token it is empty.
func unquote(token []byte) ([]byte, error) {
	switch {
	case len(token) == 0:
		return nil, nil
	case token[0] != '"':
		return nil, errors.New("not a text")
	case bytes.IndexByte(token, '\\') < 0:
		return token[1 : len(token)-1], nil
	case len(token) > maxEscaped:
		return nil, errors.New("too long for a text with escapes")
	}
	var text string
	if err := json.Unmarshal(token, &text); err != nil {
		return nil, errors.New("not a text")
	}
	return []byte(text), nil
}
