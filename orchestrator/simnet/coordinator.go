package simnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"provingground/snarkpool/coordinator"
)

// Bounds of the coordinator's port. What it holds in memory for its clients is at most coordinatorBodies bodies.
const (
	maxCoordinatorMessage = 8 << 10                          // bytes of a body without a proof
	maxCoordinatorProof   = coordinator.MaxProof/3*4 + 8<<10 // bytes of a body with a proof in base64
	coordinatorBodies     = 32                               // requests whose bodies are read at once
	coordinatorTimeout    = 30 * time.Second                 // wall time for a request, and for its answer
)

// coordinatorPort is the HTTP port at which a coordinator gives its work to provers outside (package coordinator).
type coordinatorPort struct {
	net    *Network
	node   *node
	routes *http.ServeMux
}

func newCoordinatorPort(n *Network, node *node) *coordinatorPort {
	p := &coordinatorPort{net: n, node: node, routes: http.NewServeMux()}
	p.routes.HandleFunc("POST /v1/work", func(w http.ResponseWriter, r *http.Request) {
		var request coordinator.WorkRequest
		if readMessage(w, r, maxCoordinatorMessage, &request) {
			var answer coordinator.WorkAnswer
			p.ask(func(d *daemon) { answer.Work = d.give(request.Worker, request.Most) })
			answerJSON(w, http.StatusOK, answer)
		}
	})
	p.routes.HandleFunc("POST /v1/proof", func(w http.ResponseWriter, r *http.Request) {
		var proof coordinator.Proof
		if readMessage(w, r, maxCoordinatorProof, &proof) {
			var verdict coordinator.Verdict
			p.ask(func(d *daemon) { verdict = d.judge(proof) })
			answerJSON(w, http.StatusOK, verdict)
		}
	})
	p.routes.HandleFunc("POST /v1/failed", func(w http.ResponseWriter, r *http.Request) {
		var failure coordinator.Failure
		if readMessage(w, r, maxCoordinatorMessage, &failure) {
			p.ask(func(d *daemon) { d.giveUp(failure) })
			answerJSON(w, http.StatusOK, coordinator.FailureAnswer{Status: "noted"})
		}
	})
	p.routes.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		var status coordinator.Status
		p.ask(func(d *daemon) { status = d.status() })
		answerJSON(w, http.StatusOK, status)
	})
	return p
}

// ServeHTTP answers one request. Where there is no answer it panics with http.ErrAbortHandler, which closes the connection.
func (p *coordinatorPort) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.routes.ServeHTTP(w, r) }

// ask lets f act on the node's daemon. A daemon that has ended cuts the connection.
func (p *coordinatorPort) ask(f func(*daemon)) {
	up := false
	p.net.do(func() {
		if d := p.node.daemon; d != nil && !p.net.stopped {
			up = true
			f(d)
		}
	})
	if !up {
		panic(http.ErrAbortHandler)
	}
}

// readMessage reads a request's body, strictly: one JSON object of known fields that passes its check. Otherwise it answers what is wrong.
func readMessage(w http.ResponseWriter, r *http.Request, most int64, message interface{ Check() error }) bool {
	refuse := func(status int, why error) bool {
		answerJSON(w, status, coordinator.ErrorAnswer{Error: why.Error()})
		return false
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" { // no web page sends it unasked
		return refuse(http.StatusUnsupportedMediaType, errors.New("send Content-Type: application/json"))
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, most))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(message)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the JSON object")
		}
	}
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return refuse(http.StatusRequestEntityTooLarge, fmt.Errorf("the body is longer than %d bytes", most))
	}
	if err == nil {
		err = message.Check()
	}
	if err != nil {
		return refuse(http.StatusBadRequest, err)
	}
	return true
}

// answerJSON writes an answer. A client that is gone does not get it, which nobody can mend.
func answerJSON(w http.ResponseWriter, status int, answer any) {
	text, err := json.Marshal(answer)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // see above
}

// CoordinatorURL returns where provers outside find the coordinator that Options.Coordinator names; it is empty when there is none. Transport
// reaches it too.
func (n *Network) CoordinatorURL() string {
	if n.opts.Coordinator == "" {
		return ""
	}
	return "http://" + n.opts.Coordinator
}
