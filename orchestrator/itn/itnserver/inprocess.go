package itnserver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
)

// InProcess is an http.RoundTripper that calls handlers in the caller's goroutine instead of opening connections, as tests
// with testing/synctest and rehearsals need it. A handler must return when its request's context ends; like a real
// connection, RoundTrip then fails with the context's cause whatever the handler still wrote. A handler that panics with
// http.ErrAbortHandler cuts the connection: no answer when it had not flushed, a body cut short otherwise. Content types
// are not guessed and redirects not followed. Safe for concurrent use when Find is.
type InProcess struct {
	// Find returns the handler listening at an address (HOST:PORT as in the URL), or nil, which is a refused connection:
	// a *net.OpError whose Op is "dial".
	Find func(address string) http.Handler
}

// errCut is what the client sees of a connection closed without an answer.
var errCut = errors.New("in-process connection closed without an answer")

// RoundTrip implements http.RoundTripper.
func (t InProcess) RoundTrip(request *http.Request) (*http.Response, error) {
	body := request.Body
	if body == nil {
		body = http.NoBody
	}
	defer func() { _ = body.Close() }()
	ctx := request.Context()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	handler := t.Find(request.URL.Host)
	if handler == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}

	received := request.Clone(ctx)
	received.Body = body
	received.RequestURI = request.URL.RequestURI()
	received.Host = request.URL.Host
	answer := &recorder{header: http.Header{}}
	aborted := answer.serve(handler, received)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case aborted && !answer.flushed:
		return nil, errCut
	}
	return answer.response(request, aborted), nil
}

// recorder is the http.ResponseWriter of one request.
type recorder struct {
	header  http.Header
	status  int
	body    bytes.Buffer
	flushed bool
}

func (r *recorder) serve(handler http.Handler, request *http.Request) (aborted bool) {
	defer func() {
		switch failure := recover(); failure {
		case nil:
		case http.ErrAbortHandler: // recovered values are compared as net/http does
			aborted = true
		default:
			panic(failure)
		}
	}()
	handler.ServeHTTP(r, request)
	return false
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}

func (r *recorder) Flush() {
	r.WriteHeader(http.StatusOK)
	r.flushed = true
}

func (r *recorder) response(request *http.Request, cut bool) *http.Response {
	r.WriteHeader(http.StatusOK)
	var body io.Reader = &r.body
	if cut {
		body = io.MultiReader(body, cutReader{})
	}
	return &http.Response{
		Status:        http.StatusText(r.status),
		StatusCode:    r.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        r.header,
		Body:          io.NopCloser(body),
		ContentLength: -1,
		Request:       request,
	}
}

// cutReader ends a body as a closed connection does.
type cutReader struct{}

func (cutReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
