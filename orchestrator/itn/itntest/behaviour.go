package itntest

import (
	"bytes"
	"net/http"
	"strconv"

	"provingground/orchestrator/itn/itnserver"
)

// Behaviour is how a Node treats one request.
type Behaviour func(n *Node, w http.ResponseWriter, r *http.Request)

// Serve treats it as a daemon does.
func Serve(n *Node, w http.ResponseWriter, r *http.Request) { n.Server().Answer(r).Write(w) }

// LoseBefore closes the connection before the daemon sees the request.
func LoseBefore(*Node, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// LoseAfter has the daemon act, and closes the connection instead of answering.
func LoseAfter(n *Node, _ http.ResponseWriter, r *http.Request) {
	n.Server().Answer(r)
	panic(http.ErrAbortHandler)
}

// Hang never looks at the request, and holds the connection until the client gives up.
func Hang(_ *Node, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// HangAfter has the daemon act, and answers never.
func HangAfter(n *Node, _ http.ResponseWriter, r *http.Request) {
	n.Server().Answer(r)
	<-r.Context().Done()
}

// TurnAway answers 412 without a look at the request.
func TurnAway(_ *Node, w http.ResponseWriter, _ *http.Request) {
	itnserver.Answer{Status: http.StatusPreconditionFailed, Body: []byte("Invalid sequence number")}.Write(w)
}

// RestartFirst restarts the daemon, which then sees the request.
func RestartFirst(n *Node, w http.ResponseWriter, r *http.Request) {
	n.Restart()
	Serve(n, w, r)
}

// RestartAfter has the daemon act, and then restarts it instead of answering.
func RestartAfter(n *Node, _ http.ResponseWriter, r *http.Request) {
	n.Server().Answer(r)
	n.Restart()
	panic(http.ErrAbortHandler)
}

// Status answers as a proxy that does not pass the request on.
func Status(status int, body string) Behaviour {
	return func(_ *Node, w http.ResponseWriter, _ *http.Request) {
		itnserver.Answer{Status: status, Body: []byte(body), FixedLength: true}.Write(w)
	}
}

// StatusAfter has the daemon act, and answers as a proxy that lost the reply.
func StatusAfter(status int) Behaviour {
	return func(n *Node, w http.ResponseWriter, r *http.Request) {
		n.Server().Answer(r)
		Status(status, "upstream failed")(n, w, r)
	}
}

// Body has the daemon act, and answers 200 with another body.
func Body(body string) Behaviour {
	return func(n *Node, w http.ResponseWriter, r *http.Request) {
		n.Server().Answer(r)
		itnserver.Answer{Status: http.StatusOK, Body: []byte(body)}.Write(w)
	}
}

// Refuse counts the request, and answers a GraphQL error instead of running it: with the path of a resolver's error, or, for
// an empty path, without, as for a request that does not fit the schema. What the daemon turns away stays turned away.
func Refuse(message, path string) Behaviour {
	return func(n *Node, w http.ResponseWriter, r *http.Request) {
		counted := r.Clone(r.Context())
		counted.Header.Set("Content-Type", "text/plain") // the daemon then ignores the body, after it has counted
		if answer := n.Server().Answer(counted); answer.Status != http.StatusBadRequest {
			answer.Write(w)
			return
		}
		body := `{"errors":[{"message":` + strconv.Quote(message) + `}],"data":null}`
		if path != "" {
			body = `{"errors":[{"message":` + strconv.Quote(message) + `,"path":["` + path + `"]}],"data":null}`
		}
		itnserver.Answer{Status: http.StatusOK, Body: []byte(body)}.Write(w)
	}
}

// CutBody has the daemon act, and closes the connection in the middle of the answer.
func CutBody(n *Node, w http.ResponseWriter, r *http.Request) {
	answer := n.Server().Answer(r)
	answer.Body = answer.Body[:len(answer.Body)/2]
	answer.Write(w)
	panic(http.ErrAbortHandler)
}

// HugeBody answers 200 with a valid JSON text of about size bytes.
func HugeBody(size int) Behaviour {
	return func(n *Node, w http.ResponseWriter, r *http.Request) {
		n.Server().Answer(r)
		body := append([]byte(`{"data":"`), bytes.Repeat([]byte{'x'}, size)...)
		itnserver.Answer{Status: http.StatusOK, Body: append(body, `"}`...)}.Write(w)
	}
}
