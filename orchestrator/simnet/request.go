package simnet

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"provingground/internal/redact"
	"provingground/orchestrator/itn/itnserver"
)

// maxRequest bounds the body of a request, in bytes.
const maxRequest = 64 << 20

// port is a node's ITN port: the daemon that runs there at the moment, behind the faults in force.
type port struct{ node *node }

// ServeHTTP answers one request. Where there is no answer it panics with http.ErrAbortHandler, which closes the connection.
func (p port) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, node := p.node.net, p.node
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	operation := n.operationToBe(node, body)

	var before struct {
		slow, hang, lose, sequencing, status, restart Fault
	}
	var server *itnserver.Server
	n.do(func() {
		if node.daemon == nil {
			return
		}
		before.slow = n.strike(node, operation, FaultSlow)
		for _, kind := range []struct {
			kind FaultKind
			into *Fault
		}{
			{FaultHang, &before.hang}, {FaultLoseRequest, &before.lose}, {FaultSequencing, &before.sequencing},
			{FaultStatus, &before.status}, {FaultRestartBefore, &before.restart},
		} {
			if *kind.into = n.strike(node, operation, kind.kind); kind.into.Kind != "" {
				break // one of them is all that a request can suffer
			}
		}
		server = node.daemon.server
	})
	if server == nil {
		panic(http.ErrAbortHandler)
	}
	if before.slow.Kind != "" {
		if n.waitWall(r.Context(), before.slow.Delay) != nil {
			n.answered(node, RequestAnswered{Operation: operation, Outcome: OutcomeNotRun, Fault: before.slow.String()})
			panic(http.ErrAbortHandler)
		}
		n.do(func() { server = node.serverNow() })
	}
	switch {
	case before.hang.Kind != "":
		<-r.Context().Done()
		n.answered(node, RequestAnswered{Operation: operation, Outcome: OutcomeNotRun, Fault: before.hang.String()})
		panic(http.ErrAbortHandler)
	case before.lose.Kind != "":
		n.answered(node, RequestAnswered{Operation: operation, Outcome: OutcomeNotRun, Fault: before.lose.String()})
		panic(http.ErrAbortHandler)
	case before.sequencing.Kind != "":
		n.answered(node, RequestAnswered{Operation: operation, Outcome: OutcomeNotRun, Status: http.StatusPreconditionFailed, Fault: before.sequencing.String()})
		itnserver.Answer{Status: http.StatusPreconditionFailed, Body: []byte("Invalid sequence number")}.Write(w)
		return
	case before.status.Kind != "":
		n.answered(node, RequestAnswered{Operation: operation, Outcome: OutcomeNotRun, Status: before.status.Status, Fault: before.status.String()})
		http.Error(w, "upstream not available", before.status.Status)
		return
	case before.restart.Kind != "":
		n.do(func() { server = n.restartNow(node, before.restart) })
	}
	if server == nil {
		panic(http.ErrAbortHandler)
	}
	p.finish(w, server.Answer(r), before.slow)
}

// finish sends an answer, unless a fault keeps it back.
func (p port) finish(w http.ResponseWriter, answer itnserver.Answer, suffered Fault) {
	n, node := p.node.net, p.node
	outcome, message := outcomeOf(answer)
	fact := RequestAnswered{Operation: answer.Operation, Sequenced: answer.Sequenced, Outcome: outcome, Status: answer.Status}
	if suffered.Kind != "" {
		fact.Fault = suffered.String()
	}
	var after Fault
	n.do(func() {
		for _, kind := range []FaultKind{FaultLoseReply, FaultStatusAfter, FaultCutBody} {
			if after = n.strike(node, answer.Operation, kind); after.Kind != "" {
				fact.Fault = after.String()
				break
			}
		}
		switch {
		case after.Kind == FaultStatusAfter:
			fact.Status = after.Status
		case after.Kind == FaultLoseReply, answer.Raised:
			fact.Status = 0
		}
		if schedules := answer.Operation == opSchedulePayments || answer.Operation == opScheduleZkappCommands; schedules &&
			(outcome == OutcomeRefused || outcome == OutcomeRaised) {
			n.record(node, ScheduleRefused{Operation: answer.Operation, Reason: redact.Text(message)})
		}
		n.record(node, fact)
	})
	switch {
	case after.Kind == FaultLoseReply:
		panic(http.ErrAbortHandler)
	case after.Kind == FaultStatusAfter:
		http.Error(w, "upstream timed out", after.Status)
	case after.Kind == FaultCutBody && !answer.Raised:
		answer.Body = answer.Body[:len(answer.Body)/2]
		answer.FixedLength = false
		answer.Write(w)
		panic(http.ErrAbortHandler)
	default:
		answer.Write(w)
	}
}

// outcomeOf says what came of a request, and the message of a GraphQL error.
func outcomeOf(answer itnserver.Answer) (outcome Outcome, message string) {
	switch {
	case answer.Raised:
		return OutcomeRaised, ""
	case answer.Status == http.StatusUnauthorized:
		return OutcomeUnauthorized, ""
	case answer.Status == http.StatusPreconditionFailed:
		return OutcomeSequencing, ""
	case answer.Status != http.StatusOK || answer.Operation == "":
		return OutcomeMalformed, ""
	}
	var body struct {
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(answer.Body, &body); err != nil {
		return OutcomeMalformed, ""
	}
	if len(body.Errors) > 0 {
		return OutcomeRefused, body.Errors[0].Message
	}
	return OutcomeOK, ""
}

// answered journals a request.
func (n *Network) answered(node *node, fact RequestAnswered) {
	n.do(func() { n.record(node, fact) })
}

// strike returns the fault of a kind that strikes a request to a node now; its kind is empty when none does.
func (n *Network) strike(node *node, operation string, kind FaultKind) Fault {
	fault, _ := n.faults.strike(kind, node.host, operation, n.slotOf(n.now))
	return fault
}

// operationToBe finds the root field of a request that has not been run yet. It looks only where a fault may need it.
func (n *Network) operationToBe(node *node, body []byte) string {
	n.mu.Lock()
	needed := n.faults.any(node.host)
	n.mu.Unlock()
	if !needed {
		return ""
	}
	var request struct {
		Query string `json:"query"`
	}
	if json.Unmarshal(body, &request) != nil {
		return ""
	}
	document, err := parser.ParseQuery(&ast.Source{Input: request.Query})
	if err != nil || len(document.Operations) == 0 {
		return ""
	}
	for _, selection := range document.Operations[0].SelectionSet {
		if field, ok := selection.(*ast.Field); ok {
			return field.Name
		}
	}
	return ""
}

// waitWall waits for a span of wall time, or until ctx ends. A virtual clock has no wall: there it is network time.
func (n *Network) waitWall(ctx context.Context, span time.Duration) error {
	return n.clock.Until(ctx, n.clock.FromWall(n.clock.Wall().Add(span)))
}

// serverNow returns the port of the daemon that runs now, nil when none does.
func (node *node) serverNow() *itnserver.Server {
	if node.daemon == nil {
		return nil
	}
	return node.daemon.server
}

// find returns who listens at an address (HOST:PORT) now; nil when a connection would be refused.
func (n *Network) find(address string) http.Handler {
	if address == n.listAddress() && n.opts.UptimeURL == "" {
		return onlineList{n}
	}
	node := n.byAddress[address]
	if node == nil {
		return nil
	}
	var listening bool
	n.do(func() { listening = node.listening() })
	if !listening {
		return nil
	}
	return port{node}
}

// Transport returns a transport by which a client in the same process speaks to the nodes, and to the online list, without opening
// connections: it calls them in the client's own goroutine, which suits a virtual clock. Connections to a node that is down fail as
// refused ones do.
func (n *Network) Transport() http.RoundTripper { return itnserver.InProcess{Find: n.find} }
