package itn_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"provingground/orchestrator/itn"
	"provingground/orchestrator/itn/itntest"
)

func TestAddressForms(t *testing.T) {
	for address, url := range map[string]string{
		"10.0.4.9:3085":           "http://10.0.4.9:3085/graphql",
		"[fd00::1]:3085":          "http://[fd00::1]:3085/graphql",
		"node-1.example.org:3085": "http://node-1.example.org:3085/graphql",
	} {
		t.Run(address, func(t *testing.T) {
			node := itntest.New(t, itntest.Options{})
			var seen []*http.Request
			transport := roundTripper(func(request *http.Request) (*http.Response, error) {
				seen = append(seen, request)
				request.URL.Host = itntest.Address
				return node.Transport().RoundTrip(request)
			})
			var urls []string
			recording := roundTripper(func(request *http.Request) (*http.Response, error) {
				urls = append(urls, request.URL.String())
				return transport(request)
			})
			client := itn.New(address, node.Key(), itn.Options{Transport: recording})
			if client.Address() != address {
				t.Errorf("address %q", client.Address())
			}
			if _, err := client.Auth(t.Context()); err != nil {
				t.Fatal(err)
			}
			request := seen[0]
			if urls[0] != url || request.Method != http.MethodPost {
				t.Errorf("%s %s, want POST %s", request.Method, urls[0], url)
			}
			if got := request.Header.Values("Content-Type"); len(got) != 1 || got[0] != "application/json" {
				t.Errorf("Content-Type %q, want exactly application/json", got)
			}
		})
	}
}

// TestOverTCP runs the client with its own transport against a node that answers chunked and without Content-Type.
func TestOverTCP(t *testing.T) {
	node := itntest.New(t, itntest.Options{Older: true})
	client := itn.New(node.Listen(), node.Key(), itn.Options{})
	defer client.Close()
	node.Script("slotsWon", itntest.Serve, itntest.LoseAfter, itntest.Serve, itntest.CutBody, itntest.Serve)
	for range 3 {
		if _, err := client.SlotsWon(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if node.Order() != "AARRARRAR" {
		t.Errorf("requests %s, want AARRARRAR", node.Order())
	}
}

func TestALostReplyOverTCP(t *testing.T) {
	node := itntest.New(t, itntest.Options{})
	client := itn.New(node.Listen(), node.Key(), itn.Options{})
	defer client.Close()
	node.Script("updateGating", itntest.CutBody, itntest.LoseBefore)
	for _, outcome := range []itn.Outcome{itn.Accepted, itn.NotAccepted} {
		lost := asError[*itn.LostReplyError](t, client.UpdateGating(t.Context(), gating(), nil))
		if lost != nil && lost.Outcome != outcome {
			t.Errorf("got %v, want %v", lost, outcome)
		}
	}
}

func TestNoProxyOfTheEnvironment(t *testing.T) {
	if itn.NewTransport().Proxy != nil {
		t.Error("control requests may go through a proxy")
	}
}

// TestRedirectsAreNotFollowed offers one to a place that would answer.
func TestRedirectsAreNotFollowed(t *testing.T) {
	reached := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if encodings := r.Header.Values("Accept-Encoding"); len(encodings) != 0 {
			t.Errorf("compression is asked for: %q; its answers would grow past their bound", encodings)
		}
		reached = reached || r.URL.Path == "/elsewhere"
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	node := itntest.New(t, itntest.Options{})
	client := itn.New(strings.TrimPrefix(server.URL, "http://"), node.Key(), itn.Options{})
	defer client.Close()
	_, err := client.Auth(t.Context())
	if status := asError[*itn.StatusError](t, err); status != nil && status.Status != http.StatusTemporaryRedirect {
		t.Errorf("got %v", err)
	}
	if reached {
		t.Error("the redirect was followed")
	}
}

func TestARefusedConnectionIsNotSent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	noError(t, listener.Close())
	node := itntest.New(t, itntest.Options{})
	client := itn.New(address, node.Key(), itn.Options{})
	defer client.Close()
	_, err = client.Auth(t.Context())
	errorAs[*itn.NotSentError](t, err)
}

// TestATimeoutWhileDiallingIsNotSent has a dial that hangs, of which only net/http's transport can tell that nothing left.
func TestATimeoutWhileDiallingIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := itntest.New(t, itntest.Options{})
		transport := itn.NewTransport()
		given, ended := make(chan struct{}), make(chan struct{})
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			defer close(ended)
			<-given
			return nil, errors.New("given up")
		}
		client := itn.New(itntest.Address, node.Key(), itn.Options{Transport: transport})
		_, err := client.Auth(t.Context())
		errorAs[*itn.NotSentError](t, err)
		errorAs[*itn.TimeoutError](t, err)
		close(given)
		<-ended
	})
}

// TestAConnectionClosedAfterSendingIsNotUnsent has a connection closed by the other side, of which nothing is certain.
func TestAConnectionClosedAfterSendingIsNotUnsent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadFull(connection, make([]byte, 10))
			_ = connection.Close()
		}
	}()
	defer func() {
		_ = listener.Close()
		<-closed
	}()
	node := itntest.New(t, itntest.Options{})
	client := itn.New(listener.Addr().String(), node.Key(), itn.Options{})
	defer client.Close()
	_, err = client.Auth(t.Context())
	errorAs[*itn.NoAnswerError](t, err)
}

// BenchmarkRoundTrip is one signed query and its verification, in process.
func BenchmarkRoundTrip(b *testing.B) {
	node := itntest.New(b, itntest.Options{})
	// Straight to the server: the checks of itntest cost more than the protocol.
	client := itn.New(itntest.Address, node.Key(), itn.Options{Transport: inProcess(node.Server())})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.SlotsWon(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSchedulePayments sends the keys of a hundred senders.
func BenchmarkSchedulePayments(b *testing.B) {
	node := itntest.New(b, itntest.Options{})
	client := itn.New(itntest.Address, node.Key(), itn.Options{Transport: inProcess(node.Server())})
	details := payments()
	for n := range byte(98) {
		details.Senders = append(details.Senders, itntest.PrivateKey(n+10))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.SchedulePayments(b.Context(), details, handle, nil); err != nil {
			b.Fatal(err)
		}
	}
}
