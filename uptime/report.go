package uptime

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"provingground/internal/mina"
)

// NoVersion is the Version of a report of the oldest nodes, which send none (uptime, section 2).
const NoVersion = -1

// Report is what a node has to say when it reports that it is up (uptime, section 2). Only Block, CreatedAt and PeerID are required.
type Report struct {
	// Block is the node's best tip, or a block that it has just produced.
	Block []byte
	// CreatedAt is when the report is made; fractions of a second are left out.
	CreatedAt time.Time
	// PeerID is the node's libp2p peer ID, up to 128 letters and digits.
	PeerID string
	// SnarkWork is a completed SNARK work, nil when there is none.
	SnarkWork []byte
	// ControlPort is the node's ITN port, 0 when it is not enabled.
	ControlPort uint16
	// BuiltWithCommitSHA is the commit that the node was built from, up to 64 hexadecimal digits; nodes name it in version 1 only.
	BuiltWithCommitSHA string
	// Version is 0, 1 or [NoVersion]. It is not signed, and services ignore it.
	Version int
}

// Sign gives the body of the request that submits the report, signed for the network. It refuses a report whose body ParseSubmission
// would refuse.
func (r Report) Sign(network mina.NetworkID, key mina.PrivateKey) ([]byte, error) {
	s := Submission{
		Submitter: key.PublicKey(), PeerID: r.PeerID, ControlPort: r.ControlPort, BuiltWithCommitSHA: r.BuiltWithCommitSHA,
		block: base64Token(r.Block),
	}
	if r.SnarkWork != nil {
		s.snarkWork = base64Token(r.SnarkWork)
	}
	var err error
	s.CreatedAt, err = parseCreatedAt(r.CreatedAt.UTC().Format(createdAtLayout))
	switch {
	case err != nil:
	case s.Submitter == mina.PublicKey{}:
		err = errors.New("there is no key to sign it with")
	case len(r.Block) == 0:
		err = errors.New("it has no block")
	case r.PeerID == "":
		err = errors.New("it has no peer ID")
	case r.Version < NoVersion || r.Version > 1:
		err = fmt.Errorf("there is no version %d", r.Version)
	default:
		err = errors.Join(checkPeerID(r.PeerID), checkCommit(r.BuiltWithCommitSHA))
	}
	if err != nil {
		return nil, fmt.Errorf("signing an uptime report: %w", err)
	}

	digest := s.Digest()
	version := ""
	if r.Version != NoVersion {
		version = fmt.Sprintf(`"version":%d,`, r.Version)
	}
	// The signed text is the data itself, as nodes write it.
	return slices.Concat(
		[]byte("{"+version+`"data":`), bytes.Join(s.signedText(), nil),
		fmt.Appendf(nil, `,"signature":"%s","submitter":"%s"}`, key.Sign(network, digest[:]), s.Submitter),
	), nil
}

// base64Token writes bytes as a JSON string.
func base64Token(content []byte) []byte {
	return append(base64.StdEncoding.AppendEncode([]byte{'"'}, content), '"')
}

// maxReply bounds what is read of a service's answer to a submission, in bytes.
const maxReply = 64 << 10

// Submit posts the body of a submission to a service's URL, once, and returns the HTTP status and text of the answer, the text without
// space around it and cut off after 64 KiB. It follows no redirect: a node's reports are taken where they are sent to, or not at all.
// The status is 0 when no answer came; an error beside a status says that the text broke off. Errors do not quote the URL but its host.
func Submit(ctx context.Context, transport http.RoundTripper, url string, body []byte) (status int, message string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, "", errors.New("submitting an uptime report: the service's address is no URL")
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, "", fmt.Errorf("submitting an uptime report to %s: %w", request.URL.Host, err)
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	reply, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	message = strings.TrimSpace(string(reply))
	if err != nil {
		return response.StatusCode, message, fmt.Errorf("submitting an uptime report to %s: the answer broke off: %w", request.URL.Host, err)
	}
	return response.StatusCode, message, nil
}
