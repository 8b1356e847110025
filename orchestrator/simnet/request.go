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

// sufferedKey is where a request's context holds the fault that the resolver has to act out.
type sufferedKey struct{}

// suffered returns the fault that struck a request and is left to its resolver; its kind is empty when there is none.
func suffered(ctx context.Context) Fault {
	fault, _ := ctx.Value(sufferedKey{}).(Fault)
	return fault
}

// ServeHTTP answers one request. Where there is no answer it panics with http.ErrAbortHandler, which closes the connection.
func (p port) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, node := p.node.net, p.node
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	operation := n.operationToBe(node, body)

	var slow, fault Fault
	n.do(func() {
		slow = n.strike(node, operation, FaultSlow)
		fault = n.strike(node, operation, faultsBefore(operation)...)
	})
	notRun := func(status int, why Fault) {
		n.do(func() {
			n.record(node, RequestAnswered{Operation: operation, Outcome: OutcomeNotRun, Status: status, Fault: why.String()})
		})
	}
	if slow.Kind != "" && n.waitWall(r.Context(), slow.Delay) != nil {
		notRun(0, slow)
		panic(http.ErrAbortHandler)
	}
	switch fault.Kind { //nolint:exhaustive // the others are acted out elsewhere
	case FaultHang:
		<-r.Context().Done()
		notRun(0, fault)
		panic(http.ErrAbortHandler)
	case FaultLoseRequest:
		notRun(0, fault)
		panic(http.ErrAbortHandler)
	case FaultSequencing:
		notRun(http.StatusPreconditionFailed, fault)
		itnserver.Answer{Status: http.StatusPreconditionFailed, Body: []byte("Invalid sequence number")}.Write(w)
		return
	case FaultStatus:
		notRun(fault.Status, fault)
		http.Error(w, "upstream not available", fault.Status)
		return
	}
	var server *itnserver.Server
	n.do(func() {
		if fault.Kind == FaultRestartBefore {
			n.restartNow(node, fault)
		}
		if node.daemon != nil {
			server = node.daemon.server
		}
	})
	if server == nil {
		panic(http.ErrAbortHandler) // it went down after the connection was made
	}
	if fault.Kind == "" {
		fault = slow
	}
	p.finish(w, server.Answer(r.WithContext(context.WithValue(r.Context(), sufferedKey{}, fault))), fault)
}

// faultsBefore lists the faults that may strike a request for an operation before it runs. One of them is all that a request can suffer.
func faultsBefore(operation string) []FaultKind {
	kinds := []FaultKind{FaultHang, FaultLoseRequest, FaultSequencing, FaultStatus, FaultRestartBefore}
	switch operation {
	case opSchedulePayments, opScheduleZkappCommands:
		kinds = append(kinds, FaultQuoteKey, FaultRefuseSchedule)
	case opSlotsWon:
		kinds = append(kinds, FaultVRF)
	}
	return kinds
}

// finish sends an answer, unless a fault keeps it back.
func (p port) finish(w http.ResponseWriter, answer itnserver.Answer, before Fault) {
	n, node := p.node.net, p.node
	outcome, message := outcomeOf(answer)
	fact := RequestAnswered{Operation: answer.Operation, Sequenced: answer.Sequenced, Outcome: outcome, Status: answer.Status}
	if before.Kind != "" {
		fact.Fault = before.String()
	}
	var after Fault
	n.do(func() {
		if after = n.strike(node, answer.Operation, FaultLoseReply, FaultStatusAfter, FaultCutBody); after.Kind != "" {
			fact.Fault = after.String()
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
	if answer.Refused {
		return OutcomeRefused, answer.Message
	}
	return OutcomeOK, ""
}

// strike returns the first fault of the kinds that strikes a request to a node now; its kind is empty when none does.
func (n *Network) strike(node *node, operation string, kinds ...FaultKind) Fault {
	for _, kind := range kinds {
		if fault, struck := n.faults.strike(kind, node.host, operation, n.slotOf(n.now)); struck {
			return fault
		}
	}
	return Fault{}
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

// find returns who listens at an address (HOST:PORT) now; nil when a connection would be refused.
func (n *Network) find(address string) http.Handler {
	node := n.byAddress[address]
	var handler http.Handler
	n.do(func() {
		switch {
		case node != nil && node.listening():
			handler = port{node}
		case address == n.listAddress() && n.opts.UptimeURL == "" && !n.stopped:
			handler = onlineList{n}
		case n.coordinator != nil && address == n.opts.Coordinator && n.coordinator.node.daemon != nil && !n.stopped:
			handler = n.coordinator
		}
	})
	return handler
}

// Transport returns a transport by which a client in the same process speaks to the nodes, the online list and the coordinator, without opening
// connections: it calls them in the client's own goroutine, which suits a virtual clock. Connections to a node that is down fail as
// refused ones do.
func (n *Network) Transport() http.RoundTripper { return itnserver.InProcess{Find: n.find} }
