// Package itnserver is the daemon's side of the ITN GraphQL port: the grammar of the Authorization header, the order of
// checks, sequence numbers, plain-text bodies, argument coercion and error texts, as itn-graphql, sections 1 to 4, has them.
// What a node then does is the business of a Resolver.
//
// A Server is one run of one daemon: its UUID and its counters begin with New. To restart a node, make a new Server. It is
// an http.Handler; Answer gives the reply without sending it, to those who want to delay, drop or cut it; and InProcess
// serves it without a network.
//
// Not played: the status routes, the web page that a browser gets, introspection, and the directives skip and include.
package itnserver

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
)

// maxBody bounds the body of a request, in bytes. The daemon has no such bound; a test node must not be filled up.
const maxBody = 64 << 20

// Config says what daemon a Server plays.
type Config struct {
	// Keys are the signers that may use the port: standard base64 of Ed25519 public keys, as --itn-keys takes them. At
	// least one is needed (itn-graphql, section 1).
	Keys []string
	// ServerUUID is the identifier of this run, in lower-case canonical form (36 characters).
	ServerUUID string
	// Older makes the Server know neither commitId nor handles, scheduledTransactions or createAccounts.
	Older bool
	// Resolver is the node.
	Resolver Resolver
	// Documents is shared by the Servers of a network; nil makes an own one.
	Documents *Documents
}

// Server is one run of one daemon's ITN port. Safe for concurrent use.
type Server struct {
	uuid      string
	older     bool
	resolver  Resolver
	documents *Documents

	mu       sync.Mutex
	next     map[publicKey]uint16 // of the allowed keys; a stranger's number is always 0, its entry never made
	reported uint16               // the daemon's one variable that auth reports (itn-graphql, section 2.3)
}

// New returns a Server with all counters at 0. It fails when a key or the UUID is malformed.
func New(config Config) (*Server, error) {
	if !hasUUIDShape(config.ServerUUID) {
		return nil, fmt.Errorf("itnserver: %q is not a server UUID", config.ServerUUID)
	}
	if len(config.Keys) == 0 {
		return nil, errors.New("itnserver: authentication is required, but no keys were provided")
	}
	next := make(map[publicKey]uint16, len(config.Keys))
	for _, text := range config.Keys {
		key, ok := decodeBase64(text)
		if !ok || len(key) != ed25519.PublicKeySize || !isPoint(publicKey(key)) {
			return nil, fmt.Errorf("itnserver: %q is not the base64 of an Ed25519 public key", text)
		}
		next[publicKey(key)] = 0
	}
	documents := config.Documents
	if documents == nil {
		var err error
		if documents, err = NewDocuments(); err != nil {
			return nil, err
		}
	}
	return &Server{
		uuid: config.ServerUUID, older: config.Older, resolver: config.Resolver, documents: documents, next: next,
	}, nil
}

// ServerUUID returns the identifier of this run.
func (s *Server) ServerUUID() string { return s.uuid }

// SequenceNumber returns the number that a key (standard base64) must use next; 0 for a stranger's.
func (s *Server) SequenceNumber(key string) uint16 {
	decoded, ok := decodeBase64(key)
	if !ok || len(decoded) != ed25519.PublicKeySize {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next[publicKey(decoded)]
}

// ServeHTTP is Answer and Write.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.Answer(r).Write(w) }

// Answer is what the port replies to one request.
type Answer struct {
	Status int
	Body   []byte
	// Raised means that the daemon closes the connection without an answer.
	Raised bool
	// FixedLength answers have a Content-Length; those of /graphql are chunked instead (itn-graphql, section 1).
	FixedLength bool
	// Operation is the root field that was asked for last, even in vain: auth, schedulePayments, …; empty without one.
	Operation string
	// Sequenced means that the request had the sequenced form and was accepted: it used up its number.
	Sequenced bool
	// Refused means that it is a GraphQL error, whose text is Message.
	Refused bool
	Message string
}

// Write sends the answer as the daemon does, without Content-Type. For a raised one it panics with http.ErrAbortHandler,
// net/http's way to close a connection, which InProcess knows too.
func (a Answer) Write(w http.ResponseWriter) {
	if a.Raised {
		panic(http.ErrAbortHandler)
	}
	w.Header()["Content-Type"] = nil // else net/http guesses one
	if a.FixedLength {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // a client that went away is its own concern
	_ = http.NewResponseController(w).Flush()
}

func plain(status int, text string) Answer { return Answer{Status: status, Body: []byte(text)} }

// Answer runs one request to its end, in the order of itn-graphql, section 2.4. It reads r.Body.
func (s *Server) Answer(r *http.Request) Answer {
	switch r.URL.Path {
	case "/graphql":
	case "/":
		return Answer{Status: http.StatusOK, Body: []byte("simulated Mina node"), FixedLength: true}
	default:
		return Answer{Status: http.StatusNotFound, Body: []byte("Route not found"), FixedLength: true}
	}
	authorization, ok := parseAuthorization(r.Header.Get("Authorization"))
	if !ok || !s.isWellFormed(authorization.key) {
		return plain(http.StatusUnauthorized, "Unauthorized")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		return Answer{Raised: true}
	}
	if turnedAway := s.admit(authorization, body); turnedAway.Status != 0 {
		return turnedAway
	}
	answer := s.graphql(r, body, authorization.sequenced)
	answer.Sequenced = authorization.sequenced
	return answer
}

// isWellFormed is the last part of row 2: an allowed key was checked by New.
func (s *Server) isWellFormed(key publicKey) bool {
	s.mu.Lock()
	_, allowed := s.next[key]
	s.mu.Unlock()
	return allowed || isPoint(key)
}

// admit makes the checks of rows 3 to 5 and, for an accepted sequenced request, counts its number, all in one step. The zero
// Answer means accepted.
func (s *Server) admit(request authorization, body []byte) Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	expected, allowed := s.next[request.key]
	signed := body
	if request.sequenced {
		switch {
		case !hasUUIDShape(request.uuid):
			return plain(http.StatusPreconditionFailed, "Invalid server Uuid")
		case request.uuid != s.uuid, request.number != strconv.Itoa(int(expected)):
			return plain(http.StatusPreconditionFailed, "Invalid sequence number")
		}
		signed = make([]byte, 0, 2+len(request.uuid)+len(body))
		signed = binary.BigEndian.AppendUint16(signed, expected)
		signed = append(signed, request.uuid...)
		signed = append(signed, body...)
	} else {
		s.reported = expected // even when the signature is refused below
	}
	if !allowed || !ed25519.Verify(request.key[:], signed, request.signature) {
		return plain(http.StatusUnauthorized, "Unauthorized")
	}
	if request.sequenced {
		s.next[request.key] = expected + 1 // 65535 wraps to 0
	}
	return Answer{}
}

func (s *Server) reportedNumber() uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reported
}

// graphql answers an authenticated request.
func (s *Server) graphql(r *http.Request, body []byte, sequenced bool) Answer {
	if r.Method != http.MethodPost && r.Method != http.MethodGet {
		return plain(http.StatusNotFound, "")
	}
	var request graphqlRequest
	switch r.Header.Get("Content-Type") { // exactly: with a charset the daemon ignores the body
	case "application/json":
		read, err := readRequest(body)
		switch {
		case errors.Is(err, ErrRaise):
			return Answer{Raised: true}
		case err != nil:
			return plain(http.StatusBadRequest, err.Error())
		}
		request = read
	case "application/graphql":
		text := string(body)
		request.query = &text
	}
	if err := request.override(r.URL.Query()); err != nil {
		return Answer{Raised: true}
	}
	if request.query == nil {
		return plain(http.StatusBadRequest, "Must provide query string")
	}
	return s.execute(r.Context(), request, sequenced)
}

// graphqlRequest is the body of a request (itn-graphql, section 1).
type graphqlRequest struct {
	query         *string
	variables     map[string]any
	operationName *string
}

// readRequest reads a JSON body. Its error is ErrRaise for JSON of another shape, else the JSON parser's.
func readRequest(body []byte) (graphqlRequest, error) {
	members, err := readJSON(body)
	if err != nil {
		return graphqlRequest{}, err
	}
	object, isObject := members.(map[string]any)
	if !isObject {
		return graphqlRequest{}, ErrRaise
	}
	var request graphqlRequest
	if request.query, err = nullable[string](object["query"]); err != nil {
		return graphqlRequest{}, err
	}
	if request.operationName, err = nullable[string](object["operationName"]); err != nil {
		return graphqlRequest{}, err
	}
	sent, err := nullable[map[string]any](object["variables"])
	if sent != nil {
		request.variables = *sent
	}
	return request, err
}

// override merges in the members that stand in the URL, which win over the body.
func (g *graphqlRequest) override(parameters url.Values) error {
	if parameters.Has("query") {
		text := parameters.Get("query")
		g.query = &text
	}
	if parameters.Has("operationName") {
		text := parameters.Get("operationName")
		g.operationName = &text
	}
	if parameters.Has("variables") {
		decoded, err := readJSON([]byte(parameters.Get("variables")))
		if err != nil {
			return err
		}
		sent, err := nullable[map[string]any](decoded)
		if err != nil {
			return err
		}
		if sent != nil {
			g.variables = *sent
		}
	}
	return nil
}

// readJSON reads exactly one JSON value, its numbers as json.Number.
func readJSON(text []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var decoded any
	if err := decoder.Decode(&decoded); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("junk after the end of the JSON value")
	}
	return decoded, nil
}

// nullable reads a member that may be missing or null; another kind makes the daemon raise.
func nullable[T any](member any) (*T, error) {
	if member == nil {
		return nil, nil // absent is no error
	}
	typed, ok := member.(T)
	if !ok {
		return nil, ErrRaise
	}
	return &typed, nil
}
