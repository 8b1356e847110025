package fetcher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"provingground/orchestrator/itn"
)

// errOtherRun says that a request was made for another run of the daemon than the one that is there now, and was not sent.
var errOtherRun = errors.New("the daemon was restarted")

// Transport is the transport on which Options.Dial makes its clients; base sends the requests. A client hides restarts of the daemon: it
// signs the request again, for the new run, where the same log IDs mean other entries, to be stored under another server UUID and not
// to be flushed unread. The transport stops such a request before it leaves. It also lets the collector look at an answer of which the
// client could not read the whole, and has a long answer wait, before it is read, until no other one is in memory.
func Transport(base http.RoundTripper) http.RoundTripper { return guarded{base} }

type guarded struct{ base http.RoundTripper }

// usualAnswer is the length, in bytes, up to which answers are read at the same time. A full queue of 500 entries takes about 100 KiB.
const usualAnswer = 256 << 10

// exchange is what the transport knows and keeps of a collector's request, in whose context it is.
type exchange struct {
	serverUUID string                          // of the run that the request is for; auth is for whichever there is
	long       func(ctx context.Context) error // waits until an answer that is longer than usual may be read on
	guarded    bool                            // the transport saw it
	body       bytes.Buffer                    // of the last answer, as far as it was read
}

type exchangeKey struct{}

func (x *exchange) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, exchangeKey{}, x)
}

// RoundTrip implements http.RoundTripper.
func (g guarded) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return g.base.RoundTrip(request)
	}
	x.guarded = true
	x.body.Reset()
	words := strings.Fields(request.Header.Get("Authorization")) // itn-graphql, section 2.2
	if sequenced := len(words) == 7; sequenced && words[5] != x.serverUUID {
		if request.Body != nil {
			_ = request.Body.Close() // it is not sent
		}
		// As a refused connection, by which the client knows that the request did not leave.
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errOtherRun}
	}
	response, err := g.base.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = &observed{response.Body, x, func() error { return x.long(ctx) }}
	return response, nil
}

// observed is the body of an answer that the exchange keeps.
type observed struct {
	io.ReadCloser
	x    *exchange
	long func() error
}

// Read reads the usual length, and more when the exchange allows it.
func (o *observed) Read(p []byte) (int, error) {
	if usual := usualAnswer - o.x.body.Len(); usual > 0 {
		p = p[:min(len(p), usual)]
	} else if err := o.long(); err != nil {
		return 0, err
	}
	n, err := o.ReadCloser.Read(p)
	o.x.body.Write(p[:n])
	return n, err //nolint:wrapcheck // an io.Reader
}

// salvage reads an answer to internalLogs entry by entry. It fails when the answer as a whole is no such answer, for example cut short.
func salvage(body []byte) ([]itn.Log, []Malformed, error) {
	var answer struct {
		Data *struct {
			InternalLogs []json.RawMessage `json:"internalLogs"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, nil, fmt.Errorf("reading the answer entry by entry: %w", err)
	}
	if answer.Data == nil || answer.Data.InternalLogs == nil {
		return nil, nil, errors.New("reading the answer entry by entry: it holds no list of entries")
	}
	raws := answer.Data.InternalLogs
	logs := make([]itn.Log, 0, len(raws))
	var malformed []Malformed
	anchor := 0 // ID of the first entry less its place, once one is known
	var before []int
	for i, raw := range raws {
		log, err := decodeEntry(raw)
		if log.ID != 0 && anchor == 0 {
			anchor = log.ID - i
			for _, place := range before {
				malformed[place].ID = max(anchor+place, 0)
			}
		}
		if err == nil {
			logs = append(logs, log)
			anchor = log.ID - i
			continue
		}
		bad := Malformed{ID: log.ID, Reason: err.Error(), Raw: mendText(cut(string(raw), maxRaw))}
		switch {
		case bad.ID != 0:
		case anchor != 0:
			bad.ID = max(anchor+i, 0)
		default:
			before = append(before, len(malformed))
		}
		malformed = append(malformed, bad)
	}
	return logs, malformed, nil
}

// logTimestamp is the form of ItnLog.timestamp (itn-graphql, section 3.2).
const logTimestamp = "2006-01-02 15:04:05.000000Z"

// decodeEntry reads an ItnLog (itn-graphql, section 3.2). Also with an error it returns the ID, if that could be read.
func decodeEntry(raw []byte) (itn.Log, error) {
	var id struct {
		ID int `json:"id"`
	}
	if err := json.Unmarshal(raw, &id); err != nil {
		return itn.Log{}, fmt.Errorf("no readable id: %w", err)
	}
	var entry struct {
		Timestamp string  `json:"timestamp"`
		Message   string  `json:"message"`
		Process   *string `json:"process"`
		Metadata  []struct {
			Item  string          `json:"item"`
			Value json.RawMessage `json:"value"`
		} `json:"metadata"`
	}
	log := itn.Log{ID: id.ID}
	if err := json.Unmarshal(raw, &entry); err != nil {
		return log, fmt.Errorf("not an entry: %w", err)
	}
	timestamp, err := time.Parse(logTimestamp, entry.Timestamp)
	if err != nil {
		return log, errors.New("the timestamp is not of the form YYYY-MM-DD HH:MM:SS.ffffffZ")
	}
	log.Timestamp, log.Message = timestamp, entry.Message
	if entry.Process != nil {
		log.Process = *entry.Process
	}
	for _, metadatum := range entry.Metadata {
		log.Metadata = append(log.Metadata, itn.LogMetadatum(metadatum))
	}
	return log, nil
}
