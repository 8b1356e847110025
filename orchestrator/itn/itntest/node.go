// Package itntest plays one Mina node's ITN port in tests. The node verifies each request as a daemon would (package
// itnserver), fails the test when a request is not what the schema says, and can be told to misbehave request by request:
// to lose a reply, to hang, to restart. It remembers the order of requests as a short string such as "ARDR".
//
// It is for tests only.
package itntest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"

	"provingground/orchestrator/itn"
	"provingground/orchestrator/itn/itnserver"
	"provingground/schema"
)

// Seed is the ITN key that a Node accepts: base64 of the Ed25519 seed of the test vectors (itn-graphql, section 2.7).
const Seed = "SzhpFfwa6RMFQTLLTyoriUJrUXYY9kyYxbNu5DsCm1k="

// Address is where a Node listens in process.
const Address = "10.0.0.1:3085"

// Decide names the sequenced auth in scripts, to tell it from the unsequenced one.
const Decide = "decide"

// Options say what daemon a Node plays.
type Options struct {
	// Older makes it an older daemon; see itnserver.Config.
	Older bool
	// Resolver is the node behind the port; nil means a new Stub.
	Resolver itnserver.Resolver
}

// Node is one fake node. Safe for concurrent use.
type Node struct {
	t         testing.TB
	options   Options
	key       itn.Key
	schema    *ast.Schema
	documents *itnserver.Documents
	stub      *Stub
	resolver  itnserver.Resolver

	mu     sync.Mutex
	server *itnserver.Server
	runs   int
	down   bool
	script map[string][]Behaviour
	order  strings.Builder
	bodies []string
}

// New returns a running node.
func New(t testing.TB, options Options) *Node {
	t.Helper()
	key, err := itn.ParseKey(Seed)
	if err != nil {
		t.Fatalf("itntest: %v", err)
	}
	loaded, err := gqlparser.LoadSchema(&ast.Source{Name: "itn.graphql", Input: schema.ITN})
	if err != nil {
		t.Fatalf("itntest: %v", err)
	}
	documents, err := itnserver.NewDocuments()
	if err != nil {
		t.Fatalf("itntest: %v", err)
	}
	n := &Node{
		t: t, options: options, key: key, schema: loaded, documents: documents, stub: NewStub(), resolver: options.Resolver,
		script: map[string][]Behaviour{},
	}
	if n.resolver == nil {
		n.resolver = n.stub
	}
	n.Restart()
	return n
}

// Key returns the ITN key that the node accepts.
func (n *Node) Key() itn.Key { return n.key }

// Stub returns the node's resolver, unless Options named another.
func (n *Node) Stub() *Stub { return n.stub }

// Client returns a client that speaks to the node in process; options name no transport.
func (n *Node) Client(options itn.Options) *itn.Client {
	options.Transport = n.Transport()
	return itn.New(Address, n.key, options)
}

// Transport reaches the node in process at Address, and nothing else.
func (n *Node) Transport() http.RoundTripper {
	return itnserver.InProcess{Find: func(address string) http.Handler {
		n.mu.Lock()
		defer n.mu.Unlock()
		if address != Address || n.down {
			return nil
		}
		return n
	}}
}

// Listen serves the node over TCP until the test ends, and returns HOST:PORT.
func (n *Node) Listen() string {
	server := httptest.NewServer(n)
	n.t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// SetDown makes the node refuse connections in process, or accept them again.
func (n *Node) SetDown(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
}

// Restart begins a new run of the daemon: another UUID, counters at 0, no schedulers.
func (n *Node) Restart() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.runs++
	server, err := itnserver.New(itnserver.Config{
		Keys:       []string{n.key.PublicKey()},
		ServerUUID: ServerUUID(n.runs),
		Older:      n.options.Older,
		Resolver:   n.resolver,
		Documents:  n.documents,
	})
	if err != nil {
		n.t.Errorf("itntest: %v", err)
		return
	}
	n.server = server
	n.stub.forget()
}

// ServerUUID returns the UUID of a node's run, which count from 1.
func ServerUUID(run int) string { return fmt.Sprintf("24511be6-320d-4ef2-8dff-%012d", run) }

// Server returns the current run.
func (n *Node) Server() *itnserver.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.server
}

// Script makes the next requests of an operation (a root field of the schema, or Decide) behave in turn as told. Later ones
// are served.
func (n *Node) Script(operation string, behaviours ...Behaviour) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.script[operation] = append(n.script[operation], behaviours...)
}

// Order returns the requests so far, a letter each: A for auth, D for auth sent sequenced, R for everything else.
func (n *Node) Order() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.order.String()
}

// Bodies returns the bodies of the requests so far.
func (n *Node) Bodies() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.bodies...)
}

// ServeHTTP implements http.Handler.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // the client went away
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	operation := n.check(body)
	letter := "R"
	if operation == "auth" {
		letter = "A"
		if strings.Contains(r.Header.Get("Authorization"), "Sequencing") {
			operation, letter = Decide, "D"
		}
	}
	n.next(operation, letter, string(body))(n, w, r)
}

// next records a request and takes the next behaviour of its script.
func (n *Node) next(operation, letter, body string) Behaviour {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.order.WriteString(letter)
	n.bodies = append(n.bodies, body)
	behaviours := n.script[operation]
	if len(behaviours) == 0 {
		return Serve
	}
	n.script[operation] = behaviours[1:]
	return behaviours[0]
}

// check fails the test when a request is not valid for the newer schema, unknown input fields included, which the daemon
// would ignore. It returns the root field.
func (n *Node) check(body []byte) string {
	var request struct {
		Query     string         `json:"query"`
		Variables map[string]any `json:"variables"`
	}
	if err := json.Unmarshal(body, &request); err != nil {
		n.t.Errorf("itntest: request body: %v", err)
		return ""
	}
	document, errs := gqlparser.LoadQueryWithRules(n.schema, request.Query, nil)
	if errs != nil {
		n.t.Errorf("itntest: request %q is not valid: %v", request.Query, errs)
		return ""
	}
	operation := document.Operations[0]
	if _, err := validator.VariableValues(n.schema, operation, request.Variables); err != nil {
		n.t.Errorf("itntest: variables of %q: %v", operation.Name, err)
	}
	for _, definition := range operation.VariableDefinitions {
		if _, sent := request.Variables[definition.Variable]; !sent {
			n.t.Errorf("itntest: variable %s of %q is not sent", definition.Variable, operation.Name)
		}
	}
	root, _ := operation.SelectionSet[0].(*ast.Field)
	if len(operation.SelectionSet) != 1 || root == nil {
		n.t.Errorf("itntest: %q has not exactly one root field", operation.Name)
		return ""
	}
	return root.Name
}
