package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// peerKey is the context key of the process at the other end of the socket, a *unix.Ucred that may be nil.
type peerKey struct{}

// caller is who gave a command.
type caller struct {
	name  string
	role  Role
	key   publicKey // zero for one without a signature
	keyed bool
}

// accept reads a request and checks it, in the order of the package comment. It fills in the entry as it learns.
func (s *Server) accept(w http.ResponseWriter, r *http.Request, entry *Entry) (Command, caller, *RefusedError) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return Command{}, caller{}, refuse(BadMethod, "the method is not POST")
	}
	if r.Header.Get("Content-Type") != "application/json" {
		return Command{}, caller{}, refuse(BadMediaType, "the media type is not application/json")
	}
	body, refusal := readBody(w, r)
	if refusal != nil {
		return Command{}, caller{}, refusal
	}
	who, header, refusal := s.identify(r, body, entry)
	if refusal != nil {
		return Command{}, caller{}, refusal
	}
	entry.Who, entry.Role = who.name, who.role
	if who.keyed && header.sequenced && !s.numbers.take(header) {
		return Command{}, who, refuse(OutOfNumber, "another server UUID or sequence number is expected: the command was sent before, or somebody else used the key")
	}
	command, err := parseCommand(body)
	if err != nil {
		return Command{}, who, refuse(Malformed, "%v", err)
	}
	entry.Command = &command
	return command, who, s.check(command, who, !who.keyed || header.sequenced)
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *RefusedError) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime)) // unsupported by test doubles only
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, refuse(TooLarge, "a command has at most %d bytes", maxBody)
	}
	if err != nil {
		return nil, refuse(Malformed, "the body did not come whole: %v", err)
	}
	_ = control.SetReadDeadline(time.Time{})
	return body, nil
}

// identify finds out who a request is from.
func (s *Server) identify(r *http.Request, body []byte, entry *Entry) (caller, header, *RefusedError) {
	values := r.Header.Values("Authorization")
	peer, isLocal := r.Context().Value(peerKey{}).(*unix.Ucred)
	if isLocal && len(values) == 0 {
		return localCaller(peer)
	}
	if len(values) != 1 {
		return caller{}, header{}, refuse(Unauthorized, "the command is not signed")
	}
	parsed, ok := parseHeader(values[0])
	if !ok {
		return caller{}, header{}, refuse(Unauthorized, "the header of the signature is malformed")
	}
	entry.Key = parsed.key.String()
	if s.options.Keys == nil {
		return caller{}, header{}, refuse(Unauthorized, "this agent knows no keys: name its keys file in the pool file")
	}
	owner, known := s.options.Keys.find(parsed.key)
	if !known || !parsed.verify(body) {
		return caller{}, header{}, refuse(Unauthorized, "no known key signed this: is the public key in the agent's keys file?")
	}
	return caller{owner.name, owner.role, parsed.key, true}, parsed, nil
}

// localCaller judges a caller without a signature by its user: the socket's mode lets in nobody but the agent's own and root, unless somebody changed it.
func localCaller(peer *unix.Ucred) (caller, header, *RefusedError) {
	if peer == nil || peer.Uid != 0 && int(peer.Uid) != os.Geteuid() {
		return caller{}, header{}, refuse(Unauthorized, "the socket is for the agent's own user and root")
	}
	return caller{name: fmt.Sprintf("uid-%d", peer.Uid), role: RoleAdmin}, header{}, nil
}

// check judges a command that was read.
func (s *Server) check(command Command, who caller, sequenced bool) *RefusedError {
	if !sequenced && command.Operation != OpAuth {
		return refuse(Unauthorized, "only auth may come without a sequence number")
	}
	if err := command.Validate(); err != nil {
		return refuse(Malformed, "%v", err)
	}
	if command.Agent != "" && command.Agent != s.options.Name {
		return refuse(WrongAgent, "this is the agent %s, not %s", s.options.Name, command.Agent)
	}
	now := s.options.Now()
	expiry := command.Expiry.UTC().Format(time.RFC3339)
	if !now.Before(command.Expiry) {
		return refuse(Expired, "the command expired at %s, and here it is %s: compare the clocks", expiry, now.UTC().Format(time.RFC3339))
	}
	if command.Expiry.Sub(now) > MaxLifetime {
		return refuse(Expired, "the command expires at %s, more than %s from now, %s: compare the clocks", expiry, MaxLifetime, now.UTC().Format(time.RFC3339))
	}
	if needed := command.Role(); !who.role.May(needed) {
		return refuse(NotAllowed, "%s needs the role %s, and %s is %s", command.Operation, needed, who.name, who.role)
	}
	return nil
}

// still tells whether a caller may go on with what it was allowed to begin.
func (s *Server) still(who caller, needed Role) bool {
	if !who.keyed {
		return true
	}
	owner, known := s.options.Keys.find(who.key)
	return known && owner.role.May(needed)
}

// remoteOf says who is at the other end, as far as the transport knows.
func remoteOf(ctx context.Context, r *http.Request) (via, remote string) {
	peer, isLocal := ctx.Value(peerKey{}).(*unix.Ucred)
	switch {
	case !isLocal:
		return "https", r.RemoteAddr
	case peer == nil:
		return "socket", ""
	}
	return "socket", fmt.Sprintf("pid %d uid %d", peer.Pid, peer.Uid)
}
